/* SPDX-License-Identifier: MIT
 *
 * cell: a workload run on all chosen subjects, from opening to printed rows; and the options of one
 * run of the bench. */
#ifndef BENCH_HARNESS_CELL_H
#define BENCH_HARNESS_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/harness/subject.h"
#include "bench/harness/workload.h"

#define CELL_NAMES 1024 /* bytes of a list of names, end included */

typedef struct cell_options {
    const char *mixes;     /* folder of .wl files */
    const char *peers;     /* NULL: the usual ones; else names or beginnings of names */
    const char *only;      /* NULL: all; else the only workloads that suites run */
    const char *ref;       /* NULL; else a subject to which all ratios are printed as well */
    const char *scratch;   /* folder for files; exists */
    uint32_t rounds, window_ms;
    bool quick, full, warm; /* warm: each subject alone in a child of its own */
    bool all_subjects;          /* all subjects take part, processes too */
    uint32_t patience_ms;   /* a subject without progress for this time hangs; 0: 5 minutes */
    uint64_t until_ns;      /* host_wall_ns after which no workload and no suite begins; 0: never */
    uint32_t block_s;       /* after it a block with 9 clean rounds ends; 0: no limit */
} cell_options;

/* Exit status of a part: the worst one counts. */
enum { CELL_OK = 0, CELL_WRONG = 1 /* a value was wrong, a crash */, CELL_USAGE = 2 };

/* RAW and ours always; others when the workload names them and `peers` includes them (without
 * `peers`: the usual ones, all with `full` or when the workload names its subjects itself). */
bool cell_chosen(const cell_options *o, const workload *w, const char *subject);

/* Run one workload in a forked child, so that a crash ends this workload only. */
int cell_run_forked(const cell_options *o, const char *bench, const char *workload_name);

/* Run a workload in this process, with subjects of the caller (tests). */
int cell_run(const cell_options *o, const char *bench, const workload *w,
             const bench_subject *const *subjects, uint32_t subject_count);

/* near < 60 ns <= mid <= 120 ns < far; one: a single CPU, or a lane of one thread. */
typedef enum cell_state { CELL_NEAR, CELL_MID, CELL_FAR, CELL_ONE, CELL_STATES } cell_state;
cell_state cell_state_of(uint64_t c2c_ns);
const char *cell_state_name(cell_state s);

/* Sort; return the value linear between neighbours; NAN for no values. */
double cell_quantile(double *values, uint32_t count, double q);

#endif
