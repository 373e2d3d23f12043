/* SPDX-License-Identifier: MIT
 *
 * counters: exact counters without a shared write. */
#ifndef STATS_COUNTERS_H
#define STATS_COUNTERS_H

#include "stats/types.h"

/* Make the counters of a store and open slot 0. Charge to module STATS of `account`. NULL:
 * refused. */
CELLAR_PRIVATE stats *stats_create(base_account *account);
CELLAR_PRIVATE void stats_destroy(stats *st); /* NULL accepted; no thread may count during it */

/* Open `slot` for a namespace. Its figures start at 0; those of a former namespace stay in the
 * totals. False: refused, nothing changed. Hold no ranked lock. */
CELLAR_PRIVATE bool stats_slot_open(stats *st, uint32_t slot);

CELLAR_PRIVATE stats_block *stats_mine_slow(stats *st, uint32_t slot);

/* Return the block of this thread for an open slot, never NULL. The first call of a thread
 * allocates: hold no ranked lock. If the allocation is refused return the shared block; later calls
 * try again. */
BASE_INLINE stats_block *stats_mine(stats *st, uint32_t slot)
{
    const base_thread_record *self = base_thread_self();
    if (BASE_LIKELY(self->mine_tag == (st->id | slot))) { return (stats_block *)self->mine; }
    return stats_mine_slow(st, slot);
}

/* Return the key under which a thread remembers its block of an open slot, for stats_add_mine. */
BASE_INLINE uint64_t stats_tag(const stats *st, uint32_t slot) { return st->id | slot; }
/* Add to a counter of the namespace of `tag`, with the record of the calling thread. */
BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n);

/* Return the block of this thread if it exists, else the shared block. Never allocates; any lock
 * may be held. */
CELLAR_PRIVATE stats_block *stats_held(const stats *st, uint32_t slot);

/* Add to a counter of a block that is not shared. */
BASE_INLINE void stats_add_own(stats_block *block, stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT && !block->shared);
    base_store_rlx(&block->cell[id], base_load_rlx(&block->cell[id]) + n);
}

/* Add to a counter of a namespace. */
BASE_INLINE void stats_add(stats_block *block, stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_UNLIKELY(block->shared)) {
        (void)base_add_rlx(&block->cell[id], n);
    } else {
        base_store_rlx(&block->cell[id], base_load_rlx(&block->cell[id]) + n);
    }
}

BASE_ALWAYS_INLINE void stats_add_mine(stats *st, uint64_t tag, const base_thread_record *self,
                                       stats_id id, uint64_t n)
{
    BASE_ASSERT(id < STATS_NAMESPACE_COUNT);
    if (BASE_LIKELY(self->mine_tag == tag)) { /* `mine` is never a shared block: stats_mine_slow */
        _Atomic uint64_t *cell = &((stats_block *)self->mine)->cell[id];
        base_store_rlx(cell, base_load_rlx(cell) + n);
    } else {
        stats_add(stats_mine_slow(st, (uint32_t)tag & (STATS_SLOTS_MAX - 1)), id, n);
    }
}

#define STATS_ENTRY_IN ((uint64_t)1 << 32)
#define STATS_ENTRY_OUT ((uint64_t)UINT32_MAX << 32)
/* Count an entry that is stored (STATS_ENTRY_IN) or removed (_OUT). Return false if the block does
 * not count this generation: call stats_entry_slow. Any lock may be held. */
BASE_ALWAYS_INLINE bool stats_entry_add(stats_block *block, uint32_t generation, uint64_t by)
{
    const uint64_t was = base_load_rlx(&block->entries);
    if (BASE_UNLIKELY((uint32_t)was != generation || block->shared)) { return false; }
    base_store_rlx(&block->entries, was + by);
    return true;
}
/* Count likewise in the block of this thread for an open slot, or in the shared one. Ignore entries
 * of an ended generation. */
BASE_COLD CELLAR_PRIVATE void stats_entry_slow(const stats *st, uint32_t slot, uint32_t generation,
                                               uint64_t by);
/* Begin a generation of the namespace in an open slot, without entries. Publish its number after
 * the call. */
CELLAR_PRIVATE void stats_entries_begin(const stats *st, uint32_t slot, uint32_t generation);

/* Add to a counter of the store. Never allocates; any lock may be held. */
CELLAR_PRIVATE void stats_count(stats *st, stats_id id, uint64_t n);

/* Return the zeroed memory at *at; the first caller allocates it. NULL: refused. */
CELLAR_PRIVATE void *stats_install(stats *st, void *_Atomic *at, size_t bytes);
/* Enter and leave an allocation that may make the store evict. stats_ask false: do not allocate. */
CELLAR_PRIVATE bool stats_ask(stats *st, uint32_t index);
CELLAR_PRIVATE void stats_asked(stats *st, uint32_t index, bool granted);

/* ---- reading: no lock, any thread; exact while no thread counts ---- */
CELLAR_PRIVATE uint64_t stats_read(const stats *st, uint32_t slot, stats_id id); /* of a slot */
CELLAR_PRIVATE void stats_read_slot(const stats *st, uint32_t slot,
                                    uint64_t out[STATS_NAMESPACE_COUNT]);
/* Return the entries of the last generation of a slot. */
CELLAR_PRIVATE uint64_t stats_entries(const stats *st, uint32_t slot);
/* Sum one counter of all namespaces, or each of them; dropped namespaces included. */
CELLAR_PRIVATE uint64_t stats_read_sum(const stats *st, stats_id id);
CELLAR_PRIVATE void stats_read_all(const stats *st, uint64_t out[STATS_NAMESPACE_COUNT]);
CELLAR_PRIVATE uint64_t stats_read_store(const stats *st, stats_id id);
BASE_INLINE uint64_t stats_gets(const uint64_t namespace[STATS_NAMESPACE_COUNT])
{
    return namespace[STATS_HIT_L1] + namespace[STATS_HIT_L2] + namespace[STATS_STALE] +
           namespace[STATS_NEGATIVE] + namespace[STATS_MISS];
}
/* Return the share of answered gets; 0 without gets. */
CELLAR_PRIVATE double stats_hit_ratio(const uint64_t namespace[STATS_NAMESPACE_COUNT]);

#endif
