/* SPDX-License-Identifier: MIT
 *
 * fork: a store in the child of a fork.
 *
 * WALK       prepare takes NAMESPACE, LISTEN, lanes and stripes of L1, loads, TAG, ERROR, LOG
 *            in rank order. The child resets the locks, drops the tier and has no thread. */
#include "store/fork.h"

#include "cache/bloom_guard.h"
#include "cache/handle.h"
#include "cache/stamp.h"
#include "cache/tier_calls.h"
#include "loading/refresh.h"

BASE_SIZE_BEGIN

SYNC_UNCHECKED static void cache_fork_prepare(void *ctx)
{
    cache_store *s = ctx;
    sync_take(NAMESPACE, &s->namespace_lock); /* `ended` cannot change after it */
    sync_take(LISTEN, &s->listen_lock);
    if (!s->ended) {
        l1_fork_prepare(s->l1);
        cache_load_fork_prepare(s);
        sync_take(TAG, &s->tag_lock); /* no child sees half moved records */
    }
    sync_take(ERROR, &s->error_lock);
    sync_take(LOG, &s->log.lock);
}

SYNC_UNCHECKED static void cache_fork_parent(void *ctx)
{
    cache_store *s = ctx;
    sync_drop(LOG, &s->log.lock);
    sync_drop(ERROR, &s->error_lock);
    if (!s->ended) {
        sync_drop(TAG, &s->tag_lock);
        cache_load_fork_parent(s);
        l1_fork_parent(s->l1);
    }
    sync_drop(LISTEN, &s->listen_lock);
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static void cache_fork_child(void *ctx)
{
    cache_store *s = ctx;
    sync_reset(&s->log.lock);
    sync_reset(&s->error_lock);
    sync_reset(&s->listen_lock);
    sync_reset(&s->demoted_lock);
    sync_reset(&s->tag_lock);
    sync_reset(&s->namespace_lock);
    s->forks++;
    if (s->ended) { return; } /* only closed handles are left */
    cache_load_fork_child(s);
    l1_fork_child(s->l1);
    stats_forked(s->stats);
    cache_filters_forked(s);
    base_store_rlx(&s->thread_state, (uint32_t)CACHE_THREAD_OFF);
    base_store_rlx(&s->thread_stop, 0u);
    base_store_rlx(&s->ticking, 0u);
    base_store_rlx(&s->paused, 0u);
    base_store_rlx(&s->flights_turn, 0u);
    base_store_rlx(&s->attaching, 0u);
    for (unsigned i = 0; i < CACHE_LISTENERS_MAX; i++) {
        base_store_rlx(&s->listener[i].running, 0u);
    }
    cache_tiers_forked(s);
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        base_store_rlx(&v->tier, (const cache_tier *)NULL);
        if (base_load_rlx(&v->proven_ms) != BASE_NEVER_MS) { /* the child hears of no change */
            base_store_rlx(&v->proven_ms, (int64_t)0);
        }
    }
    if (cache_has_stamps(s)) { s->stamps_parent = base_load_rlx(&s->stamps); } /* for the close */
    base_store_rlx(&s->stamps, (_Atomic uint64_t *)NULL);
    base_store_rlx(&s->windows, base_load_rlx(&s->windows) & ~CACHE_WINDOW_STAMPS);
}

CELLAR_PRIVATE bool cache_fork_register(cache_store *s)
{
    s->fork_node = (base_fork_node){ .prepare = cache_fork_prepare, .parent = cache_fork_parent,
                                     .child = cache_fork_child, .ctx = s };
    return base_fork_register(&s->fork_node);
}

BASE_SIZE_END
