/* SPDX-License-Identifier: MIT
 *
 * wide_int: what wide.c needs of ring.c: the exact sliding log. */
#ifndef LIMIT_WIDE_INT_H
#define LIMIT_WIDE_INT_H

#include "limit/limit_int.h"

/* A log: value of its word, and the cells, both of one slot. cell NULL: nobody saw the key. */
typedef struct limit_ring {
    _Atomic uint64_t *cell;
    uint32_t size;
} limit_ring;

BASE_INLINE uint64_t limit_ring_written(uint64_t v) { return v >> 13; }
BASE_INLINE uint64_t limit_ring_used(uint64_t v) { return v & 0x1fff; }

CELLAR_PRIVATE void limit_ring_take(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, uint64_t cost, limit_says *out);
CELLAR_PRIVATE void limit_ring_show(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, limit_says *out);
/* Bucket lock held for the following; the word is BUSY meanwhile. */
CELLAR_PRIVATE uint64_t limit_ring_push(const limit_at *at, limit_ring g, uint64_t v,
                                        uint64_t cost, uint64_t *stamp);
CELLAR_PRIVATE uint64_t limit_ring_give(limit_ring g, uint64_t v, uint64_t units, uint64_t stamp);
CELLAR_PRIVATE uint64_t limit_ring_refund(limit_ring g, uint64_t v, uint64_t cost);
CELLAR_PRIVATE uint64_t limit_ring_newest(limit_ring g, uint64_t v); /* 0: none */
CELLAR_PRIVATE void limit_ring_shift(limit_ring g, uint64_t v, uint64_t shift);

#endif
