/* SPDX-License-Identifier: MIT
 *
 * ready: three ready-made parts at work: status of a task, embeddings, hot keys. */
#ifndef CLI_READY_H
#define CLI_READY_H

#include <stdbool.h>
#include <stdint.h>

#define READY_HOT 5u

typedef struct ready_result {
    uint64_t threads, merges, runs; /* runs: of the merge function */
    uint64_t merged;                /* merges by the value of the task */
    uint64_t texts, present;        /* requested by the second batch; stored before it */
    uint64_t calls, loaded;         /* loader calls of the second batch, and their texts */
    uint64_t wrong;                 /* texts without their vector */
    uint64_t gets, keys, hottest;   /* hottest: keys at their place in `hot` */
    uint32_t share_ppm[READY_HOT];  /* of all gets, as cellar_hot_keys estimates */
    char hot[READY_HOT][16];        /* its answer, most gets first */
    uint64_t merge_ns, batch_ns, hot_ns; /* duration of each part */
} ready_result;

/* Run all three parts. Return false without memory or threads. */
bool ready_run(ready_result *r);
/* Return the number of broken promises. */
uint64_t ready_findings(const ready_result *r);
void ready_print(const ready_result *r);
void ready_print_json(const ready_result *r);

#endif
