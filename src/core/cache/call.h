/* SPDX-License-Identifier: MIT
 *
 * call: what each call asks of its namespace: state, key, counters. */
#ifndef CACHE_CALL_H
#define CACHE_CALL_H

#include "base/hot_keys.h"
#include "cache/types.h"

BASE_INLINE int64_t cache_default(const cellar *c, unsigned which)
{
    return base_load_rlx(&c->def[which]);
}

/* Return whether the key has a forbidden length or is NULL. */
BASE_ALWAYS_INLINE bool cache_key_bad(const void *key, size_t key_len)
{
    return key == NULL || key_len - 1 >= CELLAR_KEY_MAX; /* 0 wraps to SIZE_MAX */
}

/* Return whether the array is NULL or longer than half an address space. */
BASE_INLINE bool cache_items_bad(const void *items, size_t count, size_t item_bytes)
{
    return (items == NULL && count != 0) || count > SIZE_MAX / 2 / item_bytes;
}

BASE_ALWAYS_INLINE void cache_key(cellar *c, l1_key *k, const void *key, size_t key_len)
{
    k->bytes = key;
    k->len = (uint32_t)key_len; /* <= CELLAR_KEY_MAX: cache_key_bad */
    k->generation = base_load_acq(&c->generation); /* release in cache_generation_take */
    k->hash = base_hash(c->hash_key, k->generation, key, key_len);
}

BASE_ALWAYS_INLINE stats_block *cache_mine(cellar *c) { return stats_mine(c->stats, c->slot); }

/* Count the entry of a key that was stored or removed: STATS_ENTRY_IN or _OUT. */
BASE_INLINE void cache_entry_slow(const cellar *c, const l1_key *k, uint64_t by)
{
    stats_entry_slow(c->stats, c->slot, k->generation, by);
}
BASE_ALWAYS_INLINE void cache_entry_counted(const cellar *c, const l1_key *k, stats_block *mine,
                                            uint64_t by)
{
    if (BASE_UNLIKELY(!stats_entry_add(mine, k->generation, by))) { cache_entry_slow(c, k, by); }
}
/* Count what a change ended, as listeners see it: an expired entry is not ended by the change. */
BASE_INLINE void cache_count_gone(stats_block *mine, l1_gone gone, stats_id cause)
{
    if (gone == L1_GONE_NOTHING) { return; }
    if (gone == L1_GONE_TAG) { cause = STATS_EVICT_TAG; }
    stats_add(mine, gone == L1_GONE_EXPIRED ? STATS_EVICT_EXPIRED : cause, 1);
}

/* Count a sampled get of a key. A hidden namespace keeps the hash alone. */
BASE_INLINE void cache_hot_note(cellar *c, const l1_key *k)
{
    (void)base_hot_note(c->store->hot, k->hash, c->id, k->bytes, c->secret ? 0 : k->len,
                        base_coarse_ms(&c->store->clock), &base_thread_self()->rng);
}

/* Count a get among the hot keys if it is sampled. */
BASE_INLINE void cache_hot_sample(cellar *c, base_thread_record *self, const l1_key *k)
{
    if (BASE_UNLIKELY(stats_sample(self))) { cache_hot_note(c, k); }
}

/* Return whether the handle is closed, also by a fork, which is an error. The caller handles other
 * states. */
BASE_INLINE bool cache_is_closed(const cellar *c)
{
    return (base_load_acq(&c->state) & CACHE_CLOSED) != 0;
}

/* Return whether the handle is closed or its namespace holds objects: no call of bytes. */
BASE_INLINE bool cache_no_bytes(const cellar *c)
{
    return (base_load_acq(&c->state) & (CACHE_CLOSED | CACHE_OBJECTS)) != 0;
}

/* Return whether the store belongs to the parent of this process. */
BASE_INLINE bool cache_is_forked(const cellar *c)
{
    return (base_load_rlx(&c->state) & CACHE_FORKED) != 0;
}

/* Return whether the log wants hits and misses: level INFO or DEBUG. */
BASE_INLINE bool cache_talks(const cellar *c)
{
    return BASE_UNLIKELY((base_load_rlx(&c->state) & CACHE_TALK) != 0);
}

BASE_INLINE bool cache_is_off(const cellar *c)
{
    return (base_load_rlx(&c->state) & CACHE_OFF) != 0;
}

/* Return flags of l1_put_spec that `carries` of a namespace adds. */
BASE_INLINE uint32_t cache_carried(uint32_t carries)
{
    return (carries & CACHE_CARRIES_BIRTH) != 0 ? L1_WANT_BORN : 0u;
}

/* Return the time left; unknown: -1. */
BASE_INLINE int64_t cache_left_ms(int64_t until_ms, int64_t now_ms)
{
    if (until_ms == BASE_NEVER_MS) { return CELLAR_TTL_NONE; }
    return until_ms < 0 ? -1 : BASE_MAX(until_ms - now_ms, 0);
}

#endif
