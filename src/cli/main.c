/* SPDX-License-Identifier: MIT
 *
 * main: the `cellar` program: find the command and call it.
 *
 * WALK       The first argument is a command, --version or --help. The command reads its own
 *            options with cli_option. `help COMMAND` and `COMMAND --help` print one text, the
 *            text of the man page (src/tools/mdoc.awk, mode=program).
 * FORMAT     Exit codes: 0 done, 1 finding, 2 wrong usage or an unreadable argument, 3 cannot
 *            start, 4 internal error. Results go to stdout; errors and the live line to stderr. An
 *            error is one line, "cellar: COMMAND: SENTENCE". */
#include <string.h>

#include "base/pack.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cli/cli.h"
#include "tls/tls.h"

/* mimalloc and SQLite, where the program is linked with them. */
extern int mi_version(void) __attribute__((weak));
extern const char *sqlite3_libversion(void) __attribute__((weak));

static int cli_version_run(int argc, char **argv, const cli_terminal *term);
static int cli_help_run(int argc, char **argv, const cli_terminal *term);

static const cli_command cli_version = {
    "version", "", "print version, source and compiler",
    "Usage: cellar version\n"
    "       cellar --version\n"
    "\n"
    "Prints the version, the id of the source, the compiler, and the libraries that this program\n"
    "was built with.\n"
    "\n"
    "Exit codes: 0 printed, 2 wrong usage.\n",
    cli_version_run
};

static const cli_command cli_help = {
    "help", "", "print help on a command",
    "Usage: cellar help [COMMAND]\n"
    "       cellar --help\n"
    "       cellar COMMAND --help\n"
    "\n"
    "Prints the list of commands, or the usage and the options of COMMAND.\n"
    "\n"
    "Exit codes: 0 printed, 2 unknown command.\n",
    cli_help_run
};

static const cli_command *const cli_commands[] = {
    &cli_tour, &cli_replay, &cli_inspect, &cli_check, &cli_serve, &cli_remote, &cli_bench,
    &cli_load, &cli_version, &cli_help
};
#define CLI_COMMANDS (sizeof cli_commands / sizeof cli_commands[0])

static const cli_command *cli_find(const char *name)
{
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        const cli_command *c = cli_commands[i];
        if (strcmp(name, c->name) == 0) { return c; }
        if (c->alias[0] != '\0' && strcmp(name, c->alias) == 0) { return c; }
    }
    return NULL;
}

static void cli_overview(FILE *to)
{
    fputs("cellar: the program of the cellar cache library: demonstrate, measure, inspect\n"
          "\n"
          "Usage: cellar COMMAND [OPTION]... [ARGUMENT]...\n"
          "       cellar --version | --help\n"
          "\n"
          "Commands:\n", to);
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        fprintf(to, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->line);
    }
    fputs("\n"
          "`cellar COMMAND --help` prints the options of a command.\n"
          "Exit codes: 0 done, 1 something wrong was found, 2 wrong usage or an argument that\n"
          "            cannot be read, 3 cannot start, 4 internal error.\n"
          "NO_COLOR in the environment turns colours off.\n"
          "\n"
          "Examples:\n"
          "  cellar tour --work\n"
          "  cellar replay --policy=adaptive,lru --capacity=1%,10% requests.csv.zst\n"
          "  cellar inspect --verify /var/cache/app\n"
          "  cellar check --strict app.policy\n"
          "  cellar serve --memory=256M\n"
          "\n"
          "See also: cellar_advice_get(3), cellar_dump_write(3), cellar_open(3), cellar(7)\n", to);
}

static int cli_unknown(const char *name)
{
    cli_guess guess = cli_guess_of(name);
    const bool option = name[0] == '-';
    if (option) {
        cli_guess_try(&guess, "--version");
        cli_guess_try(&guess, "--help");
    }
    for (size_t i = 0; i < CLI_COMMANDS && !option; i++) {
        cli_guess_try(&guess, cli_commands[i]->name);
        cli_guess_try(&guess, cli_commands[i]->alias);
    }
    const char *const what = option ? "option" : "command";
    if (guess.nearest != NULL) {
        cli_complain(NULL, "unknown %s \"%s\"; did you mean \"%s\"?", what, name, guess.nearest);
    } else {
        cli_complain(NULL, "unknown %s \"%s\"; `cellar help` prints the %s", what, name,
                     option ? "usage" : "list of commands");
    }
    return CLI_USAGE;
}

static int cli_version_run(int argc, char **argv, const cli_terminal *term)
{
    (void)term;
    if (argc > 1) {
        cli_complain("version", "takes no arguments (got \"%s\"); write `cellar version` alone",
                     argv[1]);
        return CLI_USAGE;
    }
    /* clang names itself in __VERSION__, gcc does not. */
    const bool named = strstr(__VERSION__, "lang") != NULL;
    printf("cellar %s (source %s)\n", cellar_version(), CELLAR_SOURCE_ID);
    printf("compiler   %s%s, C standard %ld, %zu bits\n", named ? "" : "gcc ", __VERSION__,
           __STDC_VERSION__, sizeof(void *) * 8);
    printf("allocator  %s\n", mi_version != NULL ? "mimalloc" : "malloc");
    printf("lz4        %s\n", base_pack_there() ? "yes" : "no");
    printf("SQLite     %s\n", sqlite3_libversion != NULL ? "yes" : "no");
    printf("TLS        %s\n", tls_is_built() ? "yes" : "no");
    return CLI_DONE;
}

static int cli_help_run(int argc, char **argv, const cli_terminal *term)
{
    (void)term;
    if (argc > 2) {
        cli_complain("help", "takes one command (got \"%s\" and \"%s\"); name one of them", argv[1],
                     argv[2]);
        return CLI_USAGE;
    }
    if (argc < 2) {
        cli_overview(stdout);
        return CLI_DONE;
    }
    const cli_command *c = cli_find(argv[1]);
    if (c == NULL) { return cli_unknown(argv[1]); }
    fputs(c->help, stdout);
    return CLI_DONE;
}

static int cli_dispatch(int argc, char **argv, const cli_terminal *term)
{
    if (argc < 2) {
        cli_overview(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) { return cli_version_run(argc - 1, argv + 1, term); }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return cli_help_run(argc - 1, argv + 1, term);
    }
    const cli_command *c = cli_find(argv[1]);
    if (c == NULL) { return cli_unknown(argv[1]); }
    if (argc > 2 && strcmp(argv[2], "--help") == 0) {
        fputs(c->help, stdout);
        return CLI_DONE;
    }
    return c->run(argc - 1, argv + 1, term);
}

int main(int argc, char **argv) { return cli_program(argc, argv, cli_dispatch); }
