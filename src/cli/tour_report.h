/* SPDX-License-Identifier: MIT
 *
 * tour_report: what the acts of `cellar tour` share: the report of an act, and the acts. */
#ifndef CLI_TOUR_REPORT_H
#define CLI_TOUR_REPORT_H

#include "cli/cli.h"

#define TOUR_FACTS 16u
#define TOUR_CROWD 64u   /* threads of a stampede */
#define TOUR_VALUE 100u /* bytes of a value */
#define TOUR_SHORT "no memory, thread or process is left; end other programs"

typedef struct tour_report { /* of one act */
    bool json, color;           /* json: print no text */
    const struct tour_act *act; /* its name and sentences wait for the first text; then NULL */
    unsigned facts, findings;
    struct { const char *name; uint64_t value; } fact[TOUR_FACTS]; /* for --json */
    const char *skipped;        /* why the act cannot run here; NULL: it ran */
    const char *url;            /* of --remote; NULL: a server of the tour */
} tour_report;

typedef struct tour_act {
    const char *name, *sentences;
    const char *(*run)(tour_report *r); /* NULL, or why it cannot start */
} tour_act;

#define TOUR_ACTS 5u
extern const tour_act tour_acts[TOUR_ACTS];
extern const tour_act tour_work, tour_port, tour_remote;

/* ---- tour_report.c; without text if the report is JSON ---- */

void tour_say(tour_report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Print a bar of `part` in `whole` after `label`. */
void tour_bar(tour_report *r, const char *label, uint64_t part, uint64_t whole);
/* Keep a figure, and print it with a bar of `whole` (0: no bar) and `words` (NULL: print nothing).
 * The end of `name` decides the unit: _bytes, _ns, or a count. */
void tour_figure(tour_report *r, const char *name, uint64_t value, uint64_t whole,
                 const char *words);
/* Count and print a finding unless `holds`. */
void tour_check(tour_report *r, bool holds, const char *finding);
/* Print and check what the processes of --remote saw. */
void tour_remote_tell(tour_report *r, uint64_t loads, uint64_t compared, uint64_t stale);

/* Run `fn` in `count` threads, TOUR_CROWD at most. Return false if one did not start. */
bool tour_threads(void *(*fn)(void *), void *arg, uint32_t count);
void tour_pause_us(unsigned us);
/* Make a folder below TMPDIR. Return false and set r->skipped if there is none. */
bool tour_folder_make(tour_report *r, char *folder, size_t cap);
void tour_folder_remove(const char *folder);
void tour_fill(unsigned char value[TOUR_VALUE], uint32_t n); /* the value of key n */

#endif
