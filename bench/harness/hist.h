/* SPDX-License-Identifier: MIT
 *
 * hist: log-linear histogram, 64 steps an octave: a percentile is within 1.6 % of the truth. */
#ifndef BENCH_HARNESS_HIST_H
#define BENCH_HARNESS_HIST_H

#include <stdint.h>

#define HIST_STEPS 64
#define HIST_OCTAVES 40
#define HIST_SLOTS (HIST_STEPS * HIST_OCTAVES)

/* 20 KB; one writer each, merged after the window. */
typedef struct hist {
    uint64_t count;
    uint64_t max;
    uint64_t slot[HIST_SLOTS];
} hist;

/* Values below 128 have a slot each; above, a slot is 1/64 of its octave wide. */
static inline uint32_t hist_slot(uint64_t value)
{
    if (value < 2 * HIST_STEPS) {
        return (uint32_t)value;
    }
    const uint32_t octave = 57 - (uint32_t)__builtin_clzll(value); /* >= 1 */
    const uint32_t slot = octave * HIST_STEPS + (uint32_t)(value >> octave);
    return slot < HIST_SLOTS ? slot : HIST_SLOTS - 1;
}

static inline void hist_add(hist *h, uint64_t value)
{
    h->slot[hist_slot(value)]++;
    h->count++;
    if (value > h->max) {
        h->max = value;
    }
}

void hist_clear(hist *h);
void hist_merge(hist *into, const hist *from);
uint64_t hist_middle(uint32_t slot); /* of the values a slot stands for */
/* Return the value that `per_million` of all do not exceed: the middle of its slot, never above
 * max. */
uint64_t hist_percentile(const hist *h, uint32_t per_million);

#endif
