/* SPDX-License-Identifier: MIT
 *
 * limits: many threads on one key of a rate limiter, counted from outside. */
#ifndef CLI_LIMITS_H
#define CLI_LIMITS_H

#include "cli/cli.h"

#define LIMITS_KINDS 2

typedef struct limits_figures { /* of one limiter */
    const char *name;
    uint64_t checks, admitted;
    uint64_t most;      /* admitted in any window of a second, anchored at each admission */
    uint64_t check_ns;  /* CPU time of a check, mean */
    uint64_t odd;       /* codes that should not have come, stamps without room */
} limits_figures;

typedef struct limits_report {
    uint32_t threads;
    uint64_t limit, elapsed_ns;
    limits_figures of[LIMITS_KINDS];
} limits_report;

/* Takes a little over a second. False: no memory, no threads. */
bool limits_run(limits_report *out);
/* Limiters that let too many through, or none. */
uint64_t limits_findings(const limits_report *r);
void limits_print(const limits_report *r);
void limits_print_json(const limits_report *r);

#endif
