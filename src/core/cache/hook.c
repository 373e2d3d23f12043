/* SPDX-License-Identifier: MIT
 *
 * hook: answers to L1 about entries that leave, generations, quotas and tags.
 *
 * PICTURE    change of a call: L1 window -> change.c
 *            eviction, expiry: L1 window {capture the stamp, count} -> hooks (events.c)
 * LOCKING    The hooks run in odd windows or under a lane lock: atomic words only.
 * SEE ALSO   stamp.c, change.c, events.c. */
#include "cache/hook.h"

#include "cache/change.h"
#include "cache/events.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/write_order.h"

/* ---- the commit hook ---- */

/* Return whether the entry leaves without a call that changes its key. */
static bool cache_leaves(l1_change change)
{
    return change >= L1_CHANGE_EVICT;
}

/* Count an entry that leaves for its namespace, if the generation table still knows it. An expired
 * entry stays expired even if its generation is dead, as its listeners are told. */
static void cache_count_end(const cache_store *s, uint32_t generation, l1_cause cause)
{
    const bool expired = cause == L1_LEFT_EXPIRED;
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    stats_id id = expired ? STATS_EVICT_EXPIRED
                  : cause == L1_LEFT_TAG ? STATS_EVICT_TAG : STATS_EVICT_CAPACITY;
    /* a generation that is forgotten, or its namespace gone: counted at the root */
    if (CACHE_CELL_GENERATION(w) != generation || w == 0 ||
        CACHE_CELL_SLOT(w) == CACHE_CELL_NO_SLOT) {
        stats_add(stats_held(s->stats, 0), STATS_EVICT_CLEARED, 1);
        return;
    }
    if (!expired && (w & CACHE_CELL_ALIVE) == 0) {
        id = CACHE_CELL_CAUSE(w) == CELLAR_CAUSE_VERSION  ? STATS_EVICT_BUMPED
             : CACHE_CELL_CAUSE(w) == CELLAR_CAUSE_REMOTE ? STATS_EVICT_REMOTE
                                                          : STATS_EVICT_CLEARED;
    }
    stats_block *mine = stats_held(s->stats, CACHE_CELL_SLOT(w));
    stats_add(mine, id, 1);
    if (BASE_UNLIKELY(!stats_entry_add(mine, generation, STATS_ENTRY_OUT))) {
        stats_entry_slow(s->stats, CACHE_CELL_SLOT(w), generation, STATS_ENTRY_OUT);
    }
}

/* Return the stamp for the tier of an entry that leaves by itself. */
BASE_NOINLINE static uint64_t cache_commit_left(cache_store *s, uint64_t hash, l1_change change)
{
    if (!cache_has_stamps(s)) { return 0; }
    _Atomic uint64_t *word = cache_stamp(s, hash);
    const bool down = change == L1_CHANGE_EVICT;
    return cache_captured(s, down ? cache_stamp_watch(word) : base_load_acq(word));
}

/* Answer L1 inside the window of a change. An entry that leaves by itself changes no key. */
static bool cache_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                         size_t key_len, l1_change change, uint64_t *stamp)
{
    if (cache_leaves(change)) {
        *stamp = cache_commit_left(ctx, hash, change);
        return true;
    }
    return cache_change_window(ctx, hash, generation, key, key_len, change, stamp);
}

/* Return the quota of a living generation. Entries of a dead one count for no namespace. */
static unsigned cache_quota_of(void *ctx, uint32_t generation)
{
    const cache_store *s = ctx;
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    return CACHE_CELL_GENERATION(w) == generation ? CACHE_CELL_QUOTA(w) : 0;
}

static uint32_t cache_namespace_of(void *ctx, uint32_t generation)
{
    const cache_store *s = ctx;
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    return CACHE_CELL_GENERATION(w) == generation && (w & CACHE_CELL_ALIVE) != 0
               ? CACHE_CELL_SLOT(w)
               : L1_NO_NAMESPACE;
}

static bool cache_hook_generation_alive(void *ctx, uint32_t generation)
{
    return cache_generation_alive(ctx, generation);
}

/* Count and explain an entry that ended without a call. */
static void cache_ended(void *ctx, uint64_t hash, uint32_t generation, l1_cause cause,
                        int64_t born_ms, unsigned uses)
{
    cache_store *s = ctx;
    cache_count_end(s, generation, cause);
    cellar_cause why = cause == L1_LEFT_EXPIRED ? CELLAR_CAUSE_EXPIRED : CELLAR_CAUSE_EVICTED;
    if (cause == L1_LEFT_CLEARED) { why = cache_generation_cause(s, generation); }
    if (cause == L1_LEFT_TAG) { why = CELLAR_CAUSE_TAG; }
    cache_why_ended(s, hash, why, born_ms, uses);
}

/* Return whether few requests hit, and misses are half of the sets at least: some sets come without
 * a request. */
static bool cache_few_hit(void *ctx)
{
    const cache_store *s = ctx;
    const uint64_t hits = stats_read_sum(s->stats, STATS_HIT_L1);
    const uint64_t misses = stats_read_sum(s->stats, STATS_MISS);
    return l1_few_hit(hits, hits + misses) &&
           misses * 2 >= stats_read_sum(s->stats, STATS_SET);
}

CELLAR_PRIVATE void cache_hooks(cache_store *s, l1_hooks *out)
{
    *out = (l1_hooks){
        .ctx = s, .commit = cache_commit, .informs = &s->windows,
        .evicted = cache_evicted, .left = cache_left, .cause = cache_left_cause,
        .generation_alive = cache_hook_generation_alive, .quota_of = cache_quota_of,
        .namespace_of = cache_namespace_of,
        .tags_valid = cache_tags_valid, .tag_epoch = &s->tag_epoch,
        .tags_ended = cache_tags_ended, .ended = cache_ended, .few_hit = cache_few_hit,
        .writing = cache_ordered_any, /* tier_store.c reads the entry back */
        .soon = s->why != NULL ? cache_why_soon : NULL,
    };
}
