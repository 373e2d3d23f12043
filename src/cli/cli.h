/* SPDX-License-Identifier: MIT
 *
 * gate: what the commands of the `cellar` program share: exit codes, options, words to people. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes. */
enum {
    GATE_DONE = 0,
    GATE_FINDING = 1,  /* it ran, and found something wrong */
    GATE_USAGE = 2,    /* wrong usage or bad input */
    GATE_NO_START = 3, /* cannot start: memory, threads */
    GATE_INTERNAL = 4  /* output cannot be written, and what should not happen */
};

typedef struct gate_terminal {
    bool color;    /* stdout: a terminal, NO_COLOR not set, TERM not dumb */
    bool progress; /* stdout and stderr are terminals: a live line on stderr */
} gate_terminal;

typedef int (*gate_run_fn)(int argc, char **argv, const gate_terminal *term);

typedef struct gate_command {
    const char *name, *alias; /* alias "" for none */
    const char *line;         /* for the list of commands */
    const char *help;         /* for --help: usage, options, exit codes */
    gate_run_fn run;          /* argv[0] is the command */
} gate_command;

extern const gate_command gate_tour;
extern const gate_command gate_replay;
extern const gate_command gate_inspect;

/* The whole of a main: `run` between the settings and the last flush; its exit code. */
int gate_program(int argc, char **argv, gate_run_fn run);

/* "cellar: ..." to stderr. */
void gate_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What an errno means, for messages; static text. */
const char *gate_errno_text(int error);

/* ---- text (text.c); each returns `out` ---- */
#define GATE_TEXT 40 /* bytes of `out` */
char *gate_count(char out[GATE_TEXT], uint64_t n);        /* 20,000 */
char *gate_bytes(char out[GATE_TEXT], uint64_t bytes);    /* 1.5 MiB */
char *gate_duration(char out[GATE_TEXT], uint64_t ns);    /* 61.2 us */
char *gate_percent(char out[GATE_TEXT], uint64_t part, uint64_t whole); /* 99.0 % */
/* "16M" and the like, powers of 1024. False: not a size. */
bool gate_parse_bytes(const char *text, uint64_t *bytes);
bool gate_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *n);
/* As a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void gate_json_string(FILE *to, const char *text);
/* For people: control characters as '?', so that no name can steer the terminal. */
void gate_plain(FILE *to, const char *text);

#endif
