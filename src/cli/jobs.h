/* SPDX-License-Identifier: MIT
 *
 * jobs: tasks, a schedule and a batch at work, for the tour. */
#ifndef CLI_JOBS_H
#define CLI_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#define JOBS_FIRINGS 3u

typedef struct jobs_result {
    uint64_t threads, tasks, faulty;   /* faulty: their first attempt fails */
    uint64_t attempts, succeeded;      /* by the pool */
    uint64_t once;                     /* tasks that succeeded exactly once, by their functions */
    uint64_t items, calls, ok, failed; /* of the batch with one bad item; verdicts of its items */
    uint64_t firings;                  /* 0: the system has no zone database */
    int64_t firing_ms[JOBS_FIRINGS];   /* UNIX time */
    uint64_t task_ns, batch_ns;        /* duration of each part */
} jobs_result;

/* Run all three parts. Return false without memory or threads. */
bool jobs_run(jobs_result *r);
/* Return the number of broken promises. */
uint64_t jobs_findings(const jobs_result *r);
void jobs_print(const jobs_result *r);
void jobs_print_json(const jobs_result *r);

#endif
