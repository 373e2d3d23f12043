/* SPDX-License-Identifier: MIT
 *
 * write_order: functions of write_order.c for the files above it. */
#ifndef CACHE_WRITE_ORDER_H
#define CACHE_WRITE_ORDER_H

#include "cache/types.h"
#include "cellar_tier.h"

CELLAR_PRIVATE bool cache_write_order_open(cache_store *s); /* false: no memory */
CELLAR_PRIVATE void cache_write_order_close(cache_store *s);
/* Return what a request saw: the changes of its key; `epochs`: and the epoch of tags. */
BASE_INLINE uint64_t cache_missed_seen(const cellar_tier_ticket *t, bool epochs)
{
    return base_mix64(base_mix64(t->changes + 1) + (epochs ? t->born : 0));
}
/* Note that a tier answered MISS, or with `unsure` that it could not answer. The next acquire of
 * the key does not ask again if it sees the same: else another process may have stored a value. A
 * note may be lost, which costs one more request. */
CELLAR_PRIVATE void cache_missed_note(const cache_store *s, uint64_t hash, uint64_t seen,
                                      bool unsure);
CELLAR_PRIVATE bool cache_missed_take(const cache_store *s, uint64_t hash, uint64_t seen,
                                      bool *unsure);
/* List changes as ordered writes from now on. Call it before the first change that writes
 * through. */
CELLAR_PRIVATE void cache_write_order_use(cache_store *s);
/* List an ordered write inside the window of the key; bytes, len, hash and generation are set.
 * Return true if another ordered write of the key is listed. */
CELLAR_PRIVATE bool cache_ordered_list(const cache_store *s, cache_ordered *t);
/* Wait until this change may call the tier. Until done or pause no other change of the key calls
 * it. Return false if a newer change has reached the tier: nothing is left to do. */
CELLAR_PRIVATE bool cache_ordered_begin(const cache_store *s, cache_ordered *t);
CELLAR_PRIVATE void cache_ordered_pause(const cache_store *s, cache_ordered *t);
CELLAR_PRIVATE void cache_ordered_done(const cache_store *s, cache_ordered *t);
/* Return whether a newer change of the key is listed or has reached the tier. */
CELLAR_PRIVATE bool cache_ordered_overtaken(const cache_store *s, const cache_ordered *t);
/* Return whether a change of the key has an ordered write: a hook of L1. key_len: at most
 * CELLAR_KEY_MAX. */
CELLAR_PRIVATE bool cache_ordered_any(void *store, uint64_t hash, uint32_t generation,
                                      const void *key, size_t key_len);
CELLAR_PRIVATE void cache_ordered_leave(const cache_store *s, cache_ordered *t);
/* Pass all ordered writes of the generation with a matching key; match NULL: all fills of loads.
 * Wait until none of them is busy. */
CELLAR_PRIVATE void cache_write_order_match(const cache_store *s, uint32_t generation,
                                            bool (*match)(void *ctx, const void *key, size_t len),
                                            void *ctx);

#endif
