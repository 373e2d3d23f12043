/* SPDX-License-Identifier: MIT
 *
 * main: the `cellar` program; finds the command and hands over.
 *
 * WALK       first argument: a command, or --version, --help. The command reads its own options
 *            with getopt_long; `help CMD` and `CMD --help` print the same text.
 * FORMAT     exit codes: 0 done, 1 finding, 2 wrong usage or bad input, 3 cannot start, 4 internal
 *            error. Results go to stdout, complaints and the live line to stderr.
 * NOT HERE   what a command does. */
#include <string.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cli/cli.h"

static int gate_version_run(int argc, char **argv, const gate_terminal *term);
static int gate_help_run(int argc, char **argv, const gate_terminal *term);

static const gate_command gate_version = {
    "version", "", "print the version",
    "Usage: cellar version\n"
    "       cellar --version\n"
    "\n"
    "Prints the version and the source the program was built from.\n",
    gate_version_run
};

static const gate_command gate_help = {
    "help", "", "print help on a command",
    "Usage: cellar help [COMMAND]\n"
    "\n"
    "Prints the list of commands, or what COMMAND does and takes.\n",
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
    fputs("cellar: an in-process cache library, and this program to see it work\n"
          "\n"
          "Usage: cellar COMMAND [OPTION]... [ARGUMENT]...\n"
          "       cellar --version | --help\n"
          "\n"
          "Commands:\n", to);
    for (size_t i = 0; i < GATE_COMMANDS; i++) {
        fprintf(to, "  %-10s %s\n", gate_commands[i]->name, gate_commands[i]->line);
    }
    fputs("\n"
          "`cellar COMMAND --help` tells the options of each.\n"
          "Exit codes: 0 done, 1 something wrong was found, 2 wrong usage or bad input,\n"
          "            3 cannot start, 4 internal error.\n"
          "NO_COLOR in the environment turns colours off.\n"
          "\n"
          "Examples:\n"
          "  cellar tour --memory=16M /usr/share\n"
          "  cellar replay --policy=adaptive,lru --capacity=1%,10% requests.csv.zst\n"
          "  cellar inspect --verify /var/cache/app\n", to);
}

static int gate_unknown(const char *name)
{
    fputs("cellar: unknown command '", stderr);
    gate_plain(stderr, name);
    fputs("' (`cellar help` lists them)\n", stderr);
    return GATE_USAGE;
}

static int gate_version_run(int argc, char **argv, const gate_terminal *term)
{
    (void)argv;
    (void)term;
    if (argc > 1) {
        gate_complain("version takes no arguments");
        return GATE_USAGE;
    }
    printf("cellar %s (source %s)\n", cellar_version(), cellar_source_id());
    return GATE_DONE;
}

static int gate_help_run(int argc, char **argv, const gate_terminal *term)
{
    (void)term;
    if (argc > 2) {
        gate_complain("help takes one command");
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
