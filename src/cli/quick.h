/* SPDX-License-Identifier: MIT
 *
 * quick: what `cellar bench` measures. Its code is bench/quick.c: it uses the harness and the
 * subjects of bench/, so that both measure the same way. */
#ifndef CLI_QUICK_H
#define CLI_QUICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUICK_SUBJECTS 3 /* RAW, uthash with LRU, cellar */
#define QUICK_ROWS 4

typedef struct quick_plan {
    uint64_t entries;    /* keys of the workload */
    uint32_t rounds;     /* from 1: windows of each subject and row */
    uint32_t window_ms;
    uint32_t most_ms;    /* of the whole run: no round begins later, but the first of each row */
    void (*tell)(void *ctx, const char *row, uint32_t round); /* before each round; NULL: none */
    void *ctx;
} quick_plan;

/* One operation, all subjects. */
typedef struct quick_row {
    const char *what;                    /* static text */
    uint32_t threads;
    bool part[QUICK_SUBJECTS];           /* takes part; RAW has no bound */
    double mops[QUICK_SUBJECTS];         /* median of its windows, million requests a second */
    double of[QUICK_SUBJECTS];           /* speed of cellar / this one: median of the rounds */
    double hit_ratio[QUICK_SUBJECTS];    /* bounded: of the same requests; 0: no bound */
} quick_row;

typedef struct quick_report {
    const char *subject[QUICK_SUBJECTS]; /* static texts */
    quick_row row[QUICK_ROWS];
    uint32_t rows;
    uint32_t windows, disturbed;         /* disturbed: by other work on the machine */
    uint64_t wrong;                      /* hits with another value than the stored one */
    const char *cpu;
    uint32_t cpus;
} quick_report;

/* Measure. Return false with the reason in `why` if there is no memory or no thread. */
bool quick_run(const quick_plan *plan, quick_report *out, char *why, size_t why_cap);

#endif
