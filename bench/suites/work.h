/* SPDX-License-Identifier: MIT
 *
 * work: what the files of suite `work` share. */
#ifndef BENCH_SUITES_WORK_H
#define BENCH_SUITES_WORK_H

#include "bench/suites/suite.h"

/* Write a row of values; CELL_WRONG if something went wrong `bad` times. */
int work_say(const char *subject, const char *shape, const char *metric, const char *clock,
             double *values, uint32_t rounds, uint64_t bad);
/* Return a tenth for QUICK=1. */
uint32_t work_count(const cell_options *o, uint32_t count);

/* The figures that need SQLite. */
int work_journal_run(const cell_options *o);

#endif
