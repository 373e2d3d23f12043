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
    GATE_DONE = 0,
    GATE_FINDING = 1,  /* the command ran and found something wrong in what it read */
    GATE_USAGE = 2,    /* wrong usage, or an argument that cannot be read */
    GATE_NO_START = 3, /* no memory, no threads */
    GATE_INTERNAL = 4  /* the output cannot be written, or an internal error */
};

typedef struct gate_terminal {
    bool color;    /* stdout is a terminal, NO_COLOR is not set, TERM is not dumb */
    bool progress; /* stdout and stderr are terminals: a live line on stderr */
} gate_terminal;

typedef int (*gate_run_fn)(int argc, char **argv, const gate_terminal *term);

typedef struct gate_command {
    const char *name, *alias; /* alias "" for none */
    const char *line;         /* for the list of commands */
    const char *help;         /* for --help and the man page: usage, options, exit codes */
    gate_run_fn run;          /* argv[0] is the command */
} gate_command;

extern const gate_command gate_tour;
extern const gate_command gate_replay;
extern const gate_command gate_inspect;

/* ---- program (program.c) ---- */

/* Run `run` as the whole of a main: set up signals, flush stdout at the end. Return the exit code
 * of `run`, or GATE_INTERNAL if stdout could not be written. */
int gate_program(int argc, char **argv, gate_run_fn run);

/* A search for the known name nearest to a mistyped word. */
typedef struct gate_guess {
    const char *word;
    const char *nearest; /* NULL: no name is near enough */
    size_t edits;        /* of `nearest`; a later name must need fewer */
} gate_guess;
gate_guess gate_guess_of(const char *word);
void gate_guess_try(gate_guess *g, const char *name);

struct option; /* of <getopt.h> */
/* Return the value of the next option in argv, -1 after the last one, or '?' after an error, which
 * is then printed for `command`. -h stands for --help. Set optind to 0 before the first call. */
int gate_option(const char *command, int argc, char **argv, const struct option *known);

/* ---- text (text.c) ---- */

/* Print "cellar: COMMAND: SENTENCE" to stderr; "cellar: SENTENCE" if `command` is NULL. Control
 * characters become '?'; an argument of `format` may hold any bytes. */
void gate_complain(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Return the meaning of an errno as static text. */
const char *gate_errno_text(int error);

/* The next four write into `out` and return it. */
#define GATE_TEXT 40 /* bytes of `out` */
char *gate_count(char out[GATE_TEXT], uint64_t n);        /* 20,000 */
char *gate_bytes(char out[GATE_TEXT], uint64_t bytes);    /* 1.5 MiB */
char *gate_duration(char out[GATE_TEXT], uint64_t ns);    /* 61.2 us */
char *gate_percent(char out[GATE_TEXT], uint64_t part, uint64_t whole); /* 99.0 % */
/* Parse "16M" and its like, in powers of 1024. Return false if `text` is no size. */
bool gate_parse_bytes(const char *text, uint64_t *bytes);
bool gate_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *n);
/* Print a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void gate_json_string(FILE *to, const char *text);
/* Print `text` with control characters as '?': no name can control the terminal. */
void gate_plain(FILE *to, const char *text);

#endif
