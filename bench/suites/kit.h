/* SPDX-License-Identifier: MIT
 *
 * kit: what the two files of suite `kit` share: rounds of two sides, and their rows. */
#ifndef BENCH_SUITES_KIT_H
#define BENCH_SUITES_KIT_H

#include "bench/suites/suite.h"
#include "cellar.h"

#define KIT_KEY_LEN 16u
#define KIT_VALUE_LEN 100u
#define KIT_BATCH 50000u /* operations of one turn */

/* Run one turn of a side; return ns an operation, and count failed calls in *bad. */
typedef double (*kit_side)(void *ctx, uint64_t *bad);

typedef enum kit_form {
    KIT_RATIO, /* speed of ours / speed of the other */
    KIT_MORE   /* ns of ours - ns of the other */
} kit_form;

/* Measure both sides in turns and write the row. Return CELL_OK, or CELL_WRONG after failed calls. */
int kit_pair(const char *shape, const char *metric, kit_form form, kit_side ours, kit_side other,
             void *ctx, uint32_t rounds);
/* Write a row of values that are already there. */
int kit_say(const char *shape, const char *metric, const char *clock, double *values,
            uint32_t rounds, uint64_t bad);

/* Open a store without threads of its own; NULL: refused. */
cellar *kit_open(uint64_t memory_bytes);

/* Write the key of a number: 16 bytes, not terminated. */
void kit_key(char key[KIT_KEY_LEN], const char *prefix, uint32_t number);
/* Return a rank below `count` with probability 1 / rank. */
uint32_t kit_rank(uint64_t *state, uint32_t count);

/* The figures of include/cellar_kit.h. */
int kit_ready_run(const cell_options *o);

#endif
