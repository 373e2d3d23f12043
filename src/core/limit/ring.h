/* SPDX-License-Identifier: MIT
 *
 * ring: the sliding log: the stamps of the last N admissions of a key. */
#ifndef LIMIT_RING_H
#define LIMIT_RING_H

#include "limit/rule.h"

/* The cells of a log, which lie in the slot of its word. cell NULL: the key has no slot. */
typedef struct limit_ring {
    _Atomic uint64_t *cell;
    uint32_t size;
} limit_ring;

BASE_INLINE limit_ring limit_ring_of(const cellar_limiter *l, limit_slot *s, uint32_t rule)
{
    limit_ring g = { NULL, l->ring[rule] };
    if (s != NULL) {
        g.cell = (_Atomic uint64_t *)(void *)((unsigned char *)s + l->ring_at[rule]);
    }
    return g;
}

#define LIMIT_RING_BITS 22u
#define LIMIT_RING_MASK (((uint64_t)1 << LIMIT_RING_BITS) - 1)
BASE_INLINE uint64_t limit_ring_written(uint64_t v) { return v >> LIMIT_RING_BITS; }
BASE_INLINE uint64_t limit_ring_count(uint64_t v) { return v & LIMIT_RING_MASK; }
BASE_INLINE uint64_t limit_ring_used(limit_ring g, uint64_t v)
{
    return limit_min_u64(limit_ring_count(v), g.size);
}

/* Return the j-th newest stamp, from 0; j < used. */
CELLAR_PRIVATE uint64_t limit_ring_stamp(limit_ring g, uint64_t v, uint64_t j);
CELLAR_PRIVATE void limit_ring_take(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, uint64_t cost, limit_verdict *out);
CELLAR_PRIVATE void limit_ring_show(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, limit_verdict *out);
/* Append `cost` stamps. Caller of this and the following holds the bucket lock and made the word
 * BUSY. */
CELLAR_PRIVATE uint64_t limit_ring_push(const limit_at *at, limit_ring g, uint64_t v,
                                        uint64_t cost, uint64_t *stamp);
/* Charge without a decision; `window`: the longest one that any call named, units. */
CELLAR_PRIVATE uint64_t limit_ring_charge(uint64_t window, const limit_at *at, limit_ring g,
                                          uint64_t v, uint64_t cost);
CELLAR_PRIVATE uint64_t limit_ring_give(uint64_t window, const limit_at *at, limit_ring g,
                                        uint64_t v, uint64_t units, uint64_t stamp);
CELLAR_PRIVATE uint64_t limit_ring_refund(uint64_t window, const limit_at *at, limit_ring g,
                                          uint64_t v, uint64_t cost);
/* Add `over` units that were charged beyond the ring, when a snapshot is read. */
CELLAR_PRIVATE uint64_t limit_ring_add_over(limit_ring g, uint64_t v, uint64_t over);
CELLAR_PRIVATE uint64_t limit_ring_newest(limit_ring g, uint64_t v); /* 0: none */
CELLAR_PRIVATE void limit_ring_shift(limit_ring g, uint64_t v, uint64_t shift);

#endif
