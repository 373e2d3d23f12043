/* SPDX-License-Identifier: MIT
 *
 * main: the `cellar` program: find the command and call it.
 *
 * WALK       The first argument is a command, --version or --help. The command reads its own
 *            options with gate_option. `help COMMAND` and `COMMAND --help` print one text, the
 *            text of the man page (src/apidoc.awk, mode=program).
 * FORMAT     Exit codes: 0 done, 1 finding, 2 wrong usage or an unreadable argument, 3 cannot
 *            start, 4 internal error. Results go to stdout; errors and the live line to stderr. An
 *            error is one line, "cellar: COMMAND: SENTENCE". */
#include <string.h>

#include "base/pack.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cli/cli.h"

/* mimalloc, where the program is linked with it. */
extern int mi_version(void) __attribute__((weak));

static int gate_version_run(int argc, char **argv, const gate_terminal *term);
static int gate_help_run(int argc, char **argv, const gate_terminal *term);

static const gate_command gate_version = {
    "version", "", "print version, source and compiler",
    "Usage: cellar version\n"
    "       cellar --version\n"
    "\n"
    "Prints the version, the id of the source, the compiler, and the libraries that this program\n"
    "was built with.\n"
    "\n"
    "Exit codes: 0 printed, 2 wrong usage.\n",
    gate_version_run
};

static const gate_command gate_help = {
    "help", "", "print help on a command",
    "Usage: cellar help [COMMAND]\n"
    "       cellar --help\n"
    "       cellar COMMAND --help\n"
    "\n"
    "Prints the list of commands, or the usage and the options of COMMAND.\n"
    "\n"
    "Exit codes: 0 printed, 2 unknown command.\n",
    gate_help_run
};

static const gate_command *const gate_commands[] = {
    &gate_tour, &gate_replay, &gate_inspect, &gate_version, &gate_help
};
#define GATE_COMMANDS (sizeof gate_commands / sizeof gate_commands[0])

static const gate_command *gate_find(const char *name)
{
    for (size_t i = 0; i < GATE_COMMANDS; i++) {
        const gate_command *c = gate_commands[i];
        if (strcmp(name, c->name) == 0) { return c; }
        if (c->alias[0] != '\0' && strcmp(name, c->alias) == 0) { return c; }
    }
    return NULL;
}

static void gate_overview(FILE *to)
{
    fputs("cellar: the program of the cellar cache library: demonstrate, measure, inspect\n"
          "\n"
          "Usage: cellar COMMAND [OPTION]... [ARGUMENT]...\n"
          "       cellar --version | --help\n"
          "\n"
          "Commands:\n", to);
    for (size_t i = 0; i < GATE_COMMANDS; i++) {
        fprintf(to, "  %-10s %s\n", gate_commands[i]->name, gate_commands[i]->line);
    }
    fputs("\n"
          "`cellar COMMAND --help` prints the options of a command.\n"
          "Exit codes: 0 done, 1 something wrong was found, 2 wrong usage or an argument that\n"
          "            cannot be read, 3 cannot start, 4 internal error.\n"
          "NO_COLOR in the environment turns colours off.\n"
          "\n"
          "Examples:\n"
          "  cellar tour --memory=16M /usr/share\n"
          "  cellar replay --policy=adaptive,lru --capacity=1%,10% requests.csv.zst\n"
          "  cellar inspect --verify /var/cache/app\n"
          "\n"
          "See also: cellar_advice_get(3), cellar_open(3), cellar_source_id(3), cellar(7)\n", to);
}

static int gate_unknown(const char *name)
{
    gate_guess guess = gate_guess_of(name);
    const bool option = name[0] == '-';
    if (option) {
        gate_guess_try(&guess, "--version");
        gate_guess_try(&guess, "--help");
    }
    for (size_t i = 0; i < GATE_COMMANDS && !option; i++) {
        gate_guess_try(&guess, gate_commands[i]->name);
        gate_guess_try(&guess, gate_commands[i]->alias);
    }
    const char *const what = option ? "option" : "command";
    if (guess.nearest != NULL) {
        gate_complain(NULL, "unknown %s \"%s\"; did you mean \"%s\"?", what, name, guess.nearest);
    } else {
        gate_complain(NULL, "unknown %s \"%s\"; `cellar help` prints the %s", what, name,
                      option ? "usage" : "list of commands");
    }
    return GATE_USAGE;
}

static int gate_version_run(int argc, char **argv, const gate_terminal *term)
{
    (void)term;
    if (argc > 1) {
        gate_complain("version", "takes no arguments (got \"%s\"); write `cellar version` alone",
                      argv[1]);
        return GATE_USAGE;
    }
    /* clang names itself in __VERSION__, gcc does not. */
    const bool named = strstr(__VERSION__, "lang") != NULL;
    printf("cellar %s (source %s)\n", cellar_version(), cellar_source_id());
    printf("compiler   %s%s, C standard %ld, %zu bits\n", named ? "" : "gcc ", __VERSION__,
           __STDC_VERSION__, sizeof(void *) * 8);
    printf("allocator  %s\n", mi_version != NULL ? "mimalloc" : "malloc");
    printf("lz4        %s\n", base_pack_there() ? "yes" : "no");
    return GATE_DONE;
}

static int gate_help_run(int argc, char **argv, const gate_terminal *term)
{
    (void)term;
    if (argc > 2) {
        gate_complain("help", "takes one command (got \"%s\" and \"%s\"); name one of them",
                      argv[1], argv[2]);
        return GATE_USAGE;
    }
    if (argc < 2) {
        gate_overview(stdout);
        return GATE_DONE;
    }
    const gate_command *c = gate_find(argv[1]);
    if (c == NULL) { return gate_unknown(argv[1]); }
    fputs(c->help, stdout);
    return GATE_DONE;
}

static int gate_dispatch(int argc, char **argv, const gate_terminal *term)
{
    if (argc < 2) {
        gate_overview(stderr);
        return GATE_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) { return gate_version_run(argc - 1, argv + 1, term); }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return gate_help_run(argc - 1, argv + 1, term);
    }
    const gate_command *c = gate_find(argv[1]);
    if (c == NULL) { return gate_unknown(argv[1]); }
    if (argc > 2 && strcmp(argv[2], "--help") == 0) {
        fputs(c->help, stdout);
        return GATE_DONE;
    }
    return c->run(argc - 1, argv + 1, term);
}

int main(int argc, char **argv) { return gate_program(argc, argv, gate_dispatch); }
