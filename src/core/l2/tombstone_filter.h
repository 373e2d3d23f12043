/* SPDX-License-Identifier: MIT
 *
 * tombstone_filter: the tombstone filter: it decides which changes of a key must log a tombstone.
 */
#ifndef L2_TOMBSTONE_FILTER_H
#define L2_TOMBSTONE_FILTER_H

#include "l2/types.h"

/* Return the number of tombstone locks of a store. */
CELLAR_PRIVATE uint32_t l2_tombstone_locks_in(uint64_t memory_bytes);
CELLAR_PRIVATE uint32_t l2_lines_in(uint64_t objects);      /* lines of its filter */
CELLAR_PRIVATE bool l2_tombstone_locks_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_tombstone_locks_close(l2 *d);
/* Return the tombstone lock of a bunch. Fingerprint and shard select it, so that a bunch has one
 * lock. */
BASE_INLINE l2_tombstone_lock *l2_tombstone_lock_of(l2 *d, uint64_t h48)
{
    return &d->tombstone_locks[((h48 & 0xffffu) | h48 >> 42 << 16) & (d->cli_count - 1)];
}
/* Wait until each thread that held a tombstone lock before the call has released it. */
CELLAR_PRIVATE void l2_tombstone_locks_pass(l2 *d);
CELLAR_PRIVATE bool l2_memo_knows(const l2_tombstone_lock *g, uint64_t h48)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_memo_note(l2_tombstone_lock *g, uint64_t h48) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_memo_forget(l2_tombstone_lock *g, uint64_t h48)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_filter_ahead(const l2 *d, uint64_t h48); /* prefetch the line of a key */
CELLAR_PRIVATE void l2_filter_add(l2 *d, uint64_t h48, uint32_t era);
CELLAR_PRIVATE bool l2_filter_maybe(const l2 *d, uint64_t h48);
/* Begin a segment. Return its era. */
CELLAR_PRIVATE uint32_t l2_era_begin(l2 *d, uint64_t segseq) SYNC_HOLDS(L2_LOG);
/* Clear a piece of a dropped era. Return true if more is left. */
CELLAR_PRIVATE bool l2_era_work(l2 *d);
/* Take the tombstone lock for a change. Return false if the disk is frozen. */
CELLAR_PRIVATE bool l2_tombstone_lock_take(l2 *d, l2_tombstone_lock *g)
    SYNC_TRIES(L2_TOMBSTONE_LOCK);

#endif
