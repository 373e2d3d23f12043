/* SPDX-License-Identifier: MIT
 *
 * suite: a unit of `make bench SUITE=name`: a list of workloads, or a function where a window of
 * operations shows nothing: growth, memory, churn, the drop-in itself. */
#ifndef BENCH_SUITES_SUITE_H
#define BENCH_SUITES_SUITE_H

#include "bench/harness/cell.h"

typedef struct bench_suite {
    const char *name;
    const char *help;
    int (*run)(const cell_options *o);   /* NULL: `workloads` */
    const char *const *workloads;        /* names of .wl files, ended by NULL */
    const char *const *full;             /* these too with FULL=1; NULL: none */
    bool asked;                          /* runs only when it is named, with every subject */
    bool library;                        /* measures the library itself: see SUITE_OF_LIBRARY */
    uint32_t block_s;                    /* cell_options has it; none with FULL=1 */
} bench_suite;

extern const bench_suite suite_l1, suite_many, suite_hot, suite_pin, suite_objects, suite_scale,
    suite_sceptic;
extern const bench_suite suite_grow, suite_memory, suite_churn, suite_dropin, suite_lock, suite_limit,
    suite_load, suite_peers, suite_servers, suite_storm, suite_stampede, suite_expire,
    suite_hitratio, suite_open, suite_l2, suite_kit, suite_work, suite_port, suite_remote, suite_workers;

/* The program can be built without the library. A suite of the library then keeps its name and
 * prints a skip when it runs: its file ends with this instead of the suite. */
#if BENCH_HAVE_CELLAR
#define SUITE_OF_LIBRARY(id, help, run, asked) \
    const bench_suite suite_##id = { #id, help, run, NULL, NULL, asked, true, 0 }
#else
#define SUITE_OF_LIBRARY(id, help, run, asked) \
    const bench_suite suite_##id = { #id, help, NULL, NULL, NULL, asked, true, 0 }
#endif

/* Run the process that the memory suite starts for one subject; return its exit status. */
int suite_memory_child(const char *subject, uint64_t entries);

/* One figure with its spread over repetitions, as row and as table line. */
void suite_say(const char *bench, const char *subject, const char *workload, const char *metric,
               double *values, uint32_t count, const char *clock, const char *note);

#define SUITE_ROUNDS_MAX 200u
/* A rate of interleaved rounds, alone, or with its ratio to another subject of the same rounds. */
typedef struct suite_rate {
    const char *bench, *subject, *workload, *metric, *clock;
    const char *unit;              /* as printed, of millions a second: "Mpairs" */
    uint32_t threads, rounds;      /* rounds: at most SUITE_ROUNDS_MAX */
    uint64_t c2c_ns;
    const double *mops;            /* one a round */
    const char *vs;                /* NULL: alone */
    const double *ratio;           /* with vs, one a round */
} suite_rate;
void suite_say_rate(const suite_rate *r);

#endif
