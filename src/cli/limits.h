/* SPDX-License-Identifier: MIT
 *
 * limits: check rate limiters with many threads on one key. */
#ifndef CLI_LIMITS_H
#define CLI_LIMITS_H

#include "cli/cli.h"

#define LIMITS_KINDS 2

typedef struct limits_figures { /* of one limiter */
    const char *name;
    uint64_t checks, admitted;
    uint64_t most;      /* most admissions in a window of a second that ends at an admission */
    uint64_t check_ns;  /* mean CPU time of a check */
    uint64_t odd;       /* wrong codes, and admissions without room for a stamp */
} limits_figures;

typedef struct limits_report {
    uint32_t threads;
    uint64_t limit, elapsed_ns;
    limits_figures of[LIMITS_KINDS];
} limits_report;

/* Run for a little more than a second. Return false without memory or threads. */
bool limits_run(limits_report *out);
/* Return the number of findings: too many admissions, none, or wrong codes. */
uint64_t limits_findings(const limits_report *r);
void limits_print(const limits_report *r);
void limits_print_json(const limits_report *r);

#endif
