/* SPDX-License-Identifier: MIT
 *
 * program: the frame of each program: terminal, signals, the last flush, options, suggestions,
 *          settings.
 *
 * INVARIANTS Each wrong option gives one line of cli_complain with the remedy; getopt_long prints
 *            nothing itself.
 * LIMITS     Words of more than 31 bytes get no suggestion. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cli/cli.h"
#include "kit/settings_list.h"

#define CLI_WORD 32u /* longest name that is suggested, and its end */

/* ---- start and end ---- */

static cli_terminal cli_look_at_terminal(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool out = isatty(STDOUT_FILENO) == 1;
    const bool smart = term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
    return (cli_terminal){
        .color = out && smart && (no_color == NULL || no_color[0] == '\0'),
        .progress = out && smart && isatty(STDERR_FILENO) == 1,
    };
}

int cli_program(int argc, char **argv, cli_run_fn run)
{
    /* A closed pipe becomes a write error, which is reported below. The program decides this: the
     * library installs no handler. */
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &ignore, NULL);

    const cli_terminal term = cli_look_at_terminal();
    const int code = run(argc, argv, &term);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_complain(NULL, "cannot write the output: %s; give stdout a place with room",
                     cli_errno_text(errno));
        return CLI_INTERNAL;
    }
    return code;
}

/* ---- suggestions ---- */

/* Return the least number of inserted, deleted, replaced or swapped letters that turn `a` into `b`.
 * Both have less than CLI_WORD bytes. */
static size_t cli_edits(const char *a, const char *b)
{
    size_t row[CLI_WORD + 1][CLI_WORD + 1];
    const size_t an = strlen(a), bn = strlen(b);
    for (size_t i = 0; i <= an; i++) { row[i][0] = i; }
    for (size_t k = 0; k <= bn; k++) { row[0][k] = k; }
    for (size_t i = 1; i <= an; i++) {
        for (size_t k = 1; k <= bn; k++) {
            size_t n = row[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            if (row[i - 1][k] + 1 < n) { n = row[i - 1][k] + 1; }
            if (row[i][k - 1] + 1 < n) { n = row[i][k - 1] + 1; }
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
                row[i - 2][k - 2] + 1 < n) {
                n = row[i - 2][k - 2] + 1;
            }
            row[i][k] = n;
        }
    }
    return row[an][bn];
}

cli_guess cli_guess_of(const char *word)
{
    /* One edit for each three letters is near. */
    return (cli_guess){ .word = word, .edits = strlen(word) / 3 + 1 };
}

void cli_guess_try(cli_guess *g, const char *name)
{
    if (strlen(g->word) >= CLI_WORD || strlen(name) >= CLI_WORD || name[0] == '\0') { return; }
    const size_t edits = cli_edits(g->word, name);
    if (edits < g->edits) {
        g->nearest = name;
        g->edits = edits;
    }
}

/* ---- options ---- */

/* Print why getopt_long did not know `word`: no such option, or the start of several. */
static void cli_option_unknown(const char *command, const char *word, const struct option *known)
{
    char name[CLI_WORD] = "";
    const bool whole = strncmp(word, "--", 2) == 0;
    const size_t len = strcspn(word + 1 + whole, "=");
    if (len < sizeof name) { memcpy(name, word + 1 + whole, len); }
    cli_guess guess = cli_guess_of(name);
    unsigned starts = 0;
    for (const struct option *o = known; o->name != NULL; o++) {
        cli_guess_try(&guess, o->name);
        starts += whole && strncmp(o->name, name, strlen(name)) == 0;
    }
    if (starts > 1) {
        cli_complain(command, "option \"%s\" is the start of %u options; write its whole name",
                     word, starts);
    } else if (guess.nearest != NULL) {
        cli_complain(command, "unknown option \"%s\"; did you mean \"--%s\"?", word, guess.nearest);
    } else {
        cli_complain(command, "unknown option \"%s\"; `cellar %s --help` lists the options", word,
                     command);
    }
}

/* Return the value of the next option in argv, -1 after the last one, or '?' after an error, which
 * is then printed for `command`. -h stands for --help. */
static int cli_option(const char *command, int argc, char **argv, const struct option *known)
{
    opterr = 0;
    const int before = optind == 0 ? 1 : optind;
    const int c = getopt_long(argc, argv, ":h", known, NULL);
    if (c != '?' && c != ':') { return c; }
    /* optopt: 0 for an unknown name, else the letter, or the value of an option in `known`. */
    const char *word = argv[optind > before ? optind - 1 : optind];
    const struct option *o = known;
    while (o->name != NULL && o->val != optopt) { o++; }
    if (c == ':' && o->name != NULL) {
        cli_complain(command, "option --%s needs a value; write --%s=VALUE", o->name, o->name);
    } else if (optopt == 0) {
        cli_option_unknown(command, word, known);
    } else if (o->name != NULL && strncmp(word, "--", 2) == 0) {
        cli_complain(command, "option --%s takes no value; write --%s alone", o->name, o->name);
    } else {
        const char letter[3] = { '-', (char)optopt, '\0' };
        cli_option_unknown(command, letter, known);
    }
    return '?';
}

int cli_options(const cli_command *command, int argc, char **argv, const struct option *known,
                cli_take_fn take, void *ctx)
{
    optind = 0;
    for (int c; (c = cli_option(command->name, argc, argv, known)) != -1;) {
        if (c == 'h') {
            fputs(command->help, stdout);
            return CLI_DONE;
        }
        if (c == '?' || (c != 0 && !take(c, ctx))) { return CLI_USAGE; }
    }
    return CLI_GO_ON;
}

int cli_no_arguments(const cli_command *command, int argc, char **argv)
{
    if (optind == argc) { return CLI_GO_ON; }
    cli_complain(command->name, "takes no arguments (got \"%s\"); write options alone",
                 argv[optind]);
    return CLI_USAGE;
}

/* ---- settings ---- */

/* Return whether a name, as it is in files or in the environment, is none of a setting. Write the
 * text behind the error to `hint`. */
static bool cli_setting_unknown(const char *name, char hint[2 * CLI_WORD])
{
    static const char *const names[] = {
#define CLI_ROW(name, kind, field, least, most, range, seed, standard, help) #name, seed,
        KIT_SETTINGS(CLI_ROW)
#undef CLI_ROW
    };
    const bool variable = strncmp(name, "CELLAR_", 7) == 0;
    char word[CLI_WORD];
    (void)snprintf(word, sizeof word, "%s", name + (variable ? 7 : 0));
    for (char *p = word; variable && *p != '\0'; p++) { *p = (char)tolower((unsigned char)*p); }
    cli_guess guess = cli_guess_of(word);
    hint[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(word, names[i]) == 0) { return false; } /* "" is a seed: no name, no hint */
        cli_guess_try(&guess, names[i]);
    }
    if (guess.nearest == NULL) { return true; }
    (void)snprintf(hint, 2 * CLI_WORD, "; did you mean \"%s%s\"?", variable ? "CELLAR_" : "",
                   guess.nearest);
    for (char *p = strchr(hint, '"'); variable && *p != '\0'; p++) {
        *p = (char)toupper((unsigned char)*p);
    }
    return true;
}

const char *cli_settings_text(const cellar_settings_note *note, char out[CLI_NOTE])
{
    char hint[2 * CLI_WORD] = "";
    if (note->level != CELLAR_LOG_INFO) { (void)cli_setting_unknown(note->name, hint); }
    (void)snprintf(out, CLI_NOTE, "%s%s", note->text, hint);
    return out;
}

/* Return whether Kubernetes sets such a variable beside a Service with a name like cellar. */
static bool cli_is_of_service(const char *name, const char *value)
{
    return strcmp(name, "CELLAR_PORT") == 0 || strstr(name, "_SERVICE_") != NULL ||
           strstr(name, "_PORT_") != NULL || strncmp(value, "tcp://", 6) == 0;
}

void cli_variables(void (*fn)(const cellar_settings_note *note, void *ctx), void *ctx)
{
    for (char **v = environ; *v != NULL; v++) {
        char name[2 * CLI_WORD], hint[2 * CLI_WORD], text[CLI_NOTE];
        const size_t len = strcspn(*v, "=");
        (void)snprintf(name, sizeof name, "%.*s", (int)len, *v);
        if (strncmp(name, "CELLAR_", 7) != 0 || !cli_setting_unknown(name, hint) ||
            cli_is_of_service(name, *v + len + ((*v)[len] == '='))) {
            continue;
        }
        (void)snprintf(text, sizeof text, "%s: warning: no setting has this variable", name);
        fn(&(cellar_settings_note){ CELLAR_LOG_WARNING, 0, 1, name, text }, ctx);
    }
}

static void cli_settings_note(const cellar_settings_note *note, void *ctx)
{
    char text[CLI_NOTE];
    const char *command = ctx;
    if (note->level == CELLAR_LOG_INFO && note->line != 0) { return; } /* of a file: for check */
    cli_complain(command, "%s", cli_settings_text(note, text));
}

int cli_settings(const char *command, const char *file, cellar_settings *s)
{
    cellar_err err = CELLAR_OK;
    char name[CLI_WORD];
    snprintf(name, sizeof name, "%s", command);
    if (file != NULL) { err = cellar_settings_read(s, file, NULL, 0, cli_settings_note, name); }
    if (err == CELLAR_OK) { err = cellar_settings_read(s, NULL, NULL, 0, cli_settings_note, name); }
    cli_variables(cli_settings_note, name);
    if (err == CELLAR_OK) { return CLI_DONE; }
    if (err != CELLAR_E_NOMEM) { return CLI_USAGE; } /* the note has said why */
    cli_complain(command, "out of memory; end other programs");
    return CLI_NO_START;
}
