/* SPDX-License-Identifier: MIT
 *
 * cli: what the commands of the `cellar` program share: exit codes, options, errors, text. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes. */
enum {
    CLI_DONE = 0,
    CLI_FINDING = 1,  /* the command ran and found something wrong in what it read */
    CLI_USAGE = 2,    /* wrong usage, or an argument that cannot be read */
    CLI_NO_START = 3, /* no memory, no threads */
    CLI_INTERNAL = 4  /* the output cannot be written, or an internal error */
};

typedef struct cli_terminal {
    bool color;    /* stdout is a terminal, NO_COLOR is not set, TERM is not dumb */
    bool progress; /* stdout and stderr are terminals: a live line on stderr */
} cli_terminal;

typedef int (*cli_run_fn)(int argc, char **argv, const cli_terminal *term);

typedef struct cli_command {
    const char *name, *alias; /* alias "" for none */
    const char *line;         /* for the list of commands */
    const char *help;         /* for --help and the man page: usage, options, exit codes */
    cli_run_fn run;          /* argv[0] is the command */
} cli_command;

extern const cli_command cli_tour;
extern const cli_command cli_replay;
extern const cli_command cli_inspect;
extern const cli_command cli_check;
extern const cli_command cli_serve;
extern const cli_command cli_bench;
extern const cli_command cli_load;
extern const cli_command cli_remote;

/* ---- program (program.c) ---- */

/* Run `run` as the whole of a main: set up signals, flush stdout at the end. Return the exit code
 * of `run`, or CLI_INTERNAL if stdout could not be written. */
int cli_program(int argc, char **argv, cli_run_fn run);

/* A search for the known name nearest to a mistyped word. */
typedef struct cli_guess {
    const char *word;
    const char *nearest; /* NULL: no name is near enough */
    size_t edits;        /* of `nearest`; a later name must need fewer */
} cli_guess;
cli_guess cli_guess_of(const char *word);
void cli_guess_try(cli_guess *g, const char *name);

struct option; /* of <getopt.h> */
/* Keep an option: its value in the table; its text is optarg. Return false after printing why it is
 * refused. */
typedef bool (*cli_take_fn)(int option, void *ctx);
#define CLI_GO_ON (-1)
/* Read the options in argv, with "help" as 'h' among them. An option with a flag sets it to its
 * value, which no other option has; `take` gets the others. Return CLI_GO_ON, with the first
 * argument in optind, or the exit code after printing the help or an error. */
int cli_options(const cli_command *command, int argc, char **argv, const struct option *known,
                cli_take_fn take, void *ctx);
/* Return CLI_GO_ON, or CLI_USAGE after printing that the command takes no arguments. */
int cli_no_arguments(const cli_command *command, int argc, char **argv);

struct cellar_settings;
struct cellar_settings_note;
/* Read settings from `file` (NULL: none), then from the environment. Print errors, and what the
 * environment sets without effect, for `command`. Return CLI_DONE or the exit code. */
int cli_settings(const char *command, const char *file, struct cellar_settings *s);
#define CLI_NOTE 600 /* bytes of `out` */
/* Write the text of a note about settings into `out`, with a suggestion for an unknown name. Return
 * `out`. */
const char *cli_settings_text(const struct cellar_settings_note *note, char out[CLI_NOTE]);
/* Give `fn` a warning for each variable CELLAR_.. of the environment that is no setting, but not
 * for those that Kubernetes sets beside a Service. */
void cli_variables(void (*fn)(const struct cellar_settings_note *note, void *ctx), void *ctx);

/* ---- text (text.c) ---- */

/* Print "cellar: COMMAND: SENTENCE" to stderr; "cellar: SENTENCE" if `command` is NULL. Control
 * characters become '?'; an argument of `format` may hold any bytes. */
void cli_complain(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Return the meaning of an errno as static text. */
const char *cli_errno_text(int error);
/* Return the monotonic time in nanoseconds. */
uint64_t cli_clock_ns(void);

/* The next four write into `out` and return it. */
#define CLI_TEXT 40 /* bytes of `out` */
char *cli_count(char out[CLI_TEXT], uint64_t n);        /* 20,000 */
char *cli_bytes(char out[CLI_TEXT], uint64_t bytes);    /* 1.5 MiB */
char *cli_duration(char out[CLI_TEXT], uint64_t ns);    /* 61.2 us */
char *cli_percent(char out[CLI_TEXT], uint64_t part, uint64_t whole); /* 99.0 % */
/* Parse "16M" and its like, in powers of 1024. Return false if `text` is no size. */
bool cli_parse_bytes(const char *text, uint64_t *bytes);
bool cli_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *n);
/* Print a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void cli_json_string(FILE *to, const char *text);
/* Print `text` with control characters as '?': no name can control the terminal. */
void cli_plain(FILE *to, const char *text);

#endif
