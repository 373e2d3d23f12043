/* SPDX-License-Identifier: MIT
 *
 * hist: log-linear histogram.
 *
 * PICTURE    value:   0 .. 127 | 128 .. 255 | 256 .. 511 | ...
 *            slot:    0 .. 127 | 64 slots   | 64 slots   | ...     width 1, 2, 4, ...
 * INVARIANTS slot o * 64 + (v >> o) for v in octave o, where v >> o lies in 64..127: slots of
 *            neighbouring octaves meet without a gap; count == sum of slots.
 * LIMITS     values up to 2^46; larger ones land in the last slot, max stays exact. */
#include "bench/harness/hist.h"

#include <string.h>

void hist_clear(hist *h) { memset(h, 0, sizeof *h); }

void hist_merge(hist *into, const hist *from)
{
    for (uint32_t i = 0; i < HIST_SLOTS; i++) {
        into->slot[i] += from->slot[i];
    }
    into->count += from->count;
    if (from->max > into->max) {
        into->max = from->max;
    }
}

uint64_t hist_middle(uint32_t slot)
{
    if (slot < 2 * HIST_STEPS) {
        return slot;
    }
    const uint32_t octave = slot / HIST_STEPS - 1;
    const uint64_t low = (uint64_t)(slot - octave * HIST_STEPS) << octave;
    return low + (UINT64_C(1) << octave) / 2;
}

uint64_t hist_percentile(const hist *h, uint32_t per_million)
{
    /* The smallest value with at least this many values at or below it; rounded up, at least
     * one. */
    uint64_t rank = h->count / 1000000 * per_million;
    rank += (h->count % 1000000 * per_million + 999999) / 1000000;
    if (rank == 0) {
        rank = 1;
    }
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HIST_SLOTS; i++) {
        seen += h->slot[i];
        if (seen >= rank) {
            const uint64_t v = hist_middle(i);
            return v < h->max ? v : h->max;
        }
    }
    return h->max;
}
