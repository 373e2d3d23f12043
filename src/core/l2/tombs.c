/* SPDX-License-Identifier: MIT
 *
 * tombs: the set of keys that a tombstone ended, during an open.
 *
 * INVARIANTS A key is in the set once. 0 is an empty place: each key has a bit above its hash.
 * LOCKING    Only the open uses this file.
 * SEE ALSO   recover.c: tombstones have places of the index as long as it has room. */
#include "l2/tombs.h"

BASE_SIZE_BEGIN

#define L2_TOMBS_STEP 1024u /* places of the first table; a power of two */

static uint64_t l2_tomb_key(uint64_t hash) { return hash >> 8 | (uint64_t)1 << 56; }

/* Return the place of a key, or the empty one where the search ends. */
static uint64_t *l2_tomb_at(const l2_tombs *t, uint64_t key)
{
    uint64_t i = key & (t->cap - 1);
    while (t->at[i] != 0 && t->at[i] != key) { i = (i + 1) & (t->cap - 1); }
    return &t->at[i];
}

CELLAR_PRIVATE void l2_tombs_reserve(l2 *d, l2_tombs *t, uint64_t n)
{
    l2_tombs more = { .cap = BASE_MAX(t->cap, L2_TOMBS_STEP), .count = t->count };
    while (t->count + n > more.cap / 2) { more.cap *= 2; }
    if (more.cap == t->cap || t->failed) { return; }
    more.at = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)more.cap * sizeof *more.at, NULL);
    if (more.at == NULL) {
        t->failed = true;
        return;
    }
    memset(more.at, 0, (size_t)more.cap * sizeof *more.at);
    for (uint64_t i = 0; i < t->cap; i++) {
        if (t->at[i] != 0) { *l2_tomb_at(&more, t->at[i]) = t->at[i]; }
    }
    l2_tombs_free(d, t);
    *t = more;
}

CELLAR_PRIVATE void l2_tombs_add(l2_tombs *t, uint64_t hash)
{
    const uint64_t key = l2_tomb_key(hash);
    BASE_ASSERT(t->count < t->cap / 2);
    uint64_t *at = l2_tomb_at(t, key);
    t->count += *at == 0;
    *at = key;
}

CELLAR_PRIVATE bool l2_tombs_has(const l2_tombs *t, uint64_t hash)
{
    return t->count != 0 && *l2_tomb_at(t, l2_tomb_key(hash)) != 0;
}

CELLAR_PRIVATE void l2_tombs_free(l2 *d, l2_tombs *t)
{
    base_free(d->cfg.account, BASE_MOD_L2, t->at, (size_t)t->cap * sizeof *t->at);
    *t = (l2_tombs){ .failed = t->failed };
}

BASE_SIZE_END
