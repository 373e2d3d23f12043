/* SPDX-License-Identifier: MIT
 *
 * tombs: the set of keys that a tombstone ended, during an open. */
#ifndef L2_TOMBS_H
#define L2_TOMBS_H

#include "l2/types.h"

typedef struct l2_tombs { /* 56 bits of hashes; an open table, at most half full */
    uint64_t *at;
    uint64_t cap, count;
    bool failed; /* memory is short: the set is not complete */
} l2_tombs;

/* Make room for n more keys. Without memory `failed` is set. No lock held. */
CELLAR_PRIVATE void l2_tombs_reserve(l2 *d, l2_tombs *t, uint64_t n);
/* Add a key for which there is room. */
CELLAR_PRIVATE void l2_tombs_add(l2_tombs *t, uint64_t hash);
CELLAR_PRIVATE bool l2_tombs_has(const l2_tombs *t, uint64_t hash);
CELLAR_PRIVATE void l2_tombs_free(l2 *d, l2_tombs *t);

#endif
