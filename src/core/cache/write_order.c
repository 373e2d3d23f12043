/* SPDX-License-Identifier: MIT
 *
 * write_order: the order in which changes of one key reach the tier.
 *
 * PURPOSE    A tombstone of an older change must not end a record that a newer call has written,
 *            and no change may end what a newer change has written.
 * PICTURE    L1 window of the key: an ordered write is listed, newest first -> window closed,
 *            listeners run -> begin {passed? wait until none of the key is busy; busy} -> put or
 *            kill -> done {not busy; all older ones of the key are passed} -> removed from the list
 *            A change that failed, or that a shared tier judged, passes no older ordered write. Nor
 *            does one that a write-only tier does not get: the older write has to reach its source.
 * INVARIANTS Ordered writes of one key stand in the list in the order of their L1 windows. At most
 *            one ordered write of a key is busy.
 *            A passed ordered write calls the tier no more: a newer change has written its own
 *            record or tombstone, which also hides what the passed change would have hidden.
 *            A change that finds another ordered write of its key calls the tier in any case, even
 *            if nothing lies below: the older ordered write may be about to write. So a put of an
 *            ordered write needs no stamp: only changes of other keys move the stamp then.
 * LOCKING    WRITE_ORDER, one lock per shard, a leaf, taken inside odd windows of L1. No lock is
 *            held while an ordered write is busy. A busy ordered write waits for the disk alone,
 *            never for user code.
 * LIMITS     Ordered writes are listed from the first call that writes through (write_order_used).
 *            That call waits at most 100 ms for the changes that began before. A delete by pattern
 *            passes matching ordered writes itself: the tier ends their keys. A clear of a tier
 *            with blind_fill passes fills of loads alone: it may fail, and sets have to arrive.
 * SEE ALSO   stamp.c, tier_store.c, delete_pattern.c. */
#include "cache/write_order.h"

#include "cache/stamp.h"

BASE_SIZE_BEGIN

#define CACHE_WRITE_ORDER_SHARDS 64u
#define CACHE_WRITE_ORDER_YIELDS 64u
#define CACHE_WRITE_ORDER_SLEEP_NS UINT64_C(50000)
#define CACHE_WRITE_ORDER_BEFORE_NS UINT64_C(100000000)

typedef struct cache_write_order_shard {
    sync_lock lock BASE_ALIGNED(BASE_LINE); /* rank WRITE_ORDER; guards `first` and the ordered
                                             * writes of its list */
    cache_ordered *first;
} cache_write_order_shard;

struct cache_write_order {
    cache_write_order_shard shard[CACHE_WRITE_ORDER_SHARDS];
    _Atomic uint64_t missed[CACHE_WRITE_ORDER_SHARDS]; /* note of a key that a tier lacks; 0:
                                                        * none */
};

static cache_write_order_shard *cache_write_order_shard_of(const cache_store *s, uint64_t hash)
{
    return &s->write_order->shard[base_mix64(hash) % CACHE_WRITE_ORDER_SHARDS];
}

CELLAR_PRIVATE bool cache_write_order_open(cache_store *s)
{
    s->write_order = base_alloc(&s->account, BASE_MOD_STAMP, sizeof *s->write_order, NULL);
    return s->write_order != NULL;
}

CELLAR_PRIVATE void cache_write_order_close(cache_store *s)
{
    if (s->write_order == NULL) { return; }
    base_free(&s->account, BASE_MOD_STAMP, s->write_order, sizeof *s->write_order);
    s->write_order = NULL;
}

#define CACHE_MISSED_NOTED ((uint64_t)1)
#define CACHE_MISSED_UNSURE ((uint64_t)2)

static uint64_t cache_missed_word(uint64_t hash, uint64_t seen)
{
    return (base_mix64(hash ^ seen) & ~CACHE_MISSED_UNSURE) | CACHE_MISSED_NOTED;
}

CELLAR_PRIVATE void cache_missed_note(const cache_store *s, uint64_t hash, uint64_t seen,
                                      bool unsure)
{
    const uint64_t word = cache_missed_word(hash, seen);
    base_store_rlx(&s->write_order->missed[base_mix64(hash) % CACHE_WRITE_ORDER_SHARDS],
                   unsure ? word | CACHE_MISSED_UNSURE : word);
}

CELLAR_PRIVATE bool cache_missed_take(const cache_store *s, uint64_t hash, uint64_t seen,
                                      bool *unsure)
{
    _Atomic uint64_t *at = &s->write_order->missed[base_mix64(hash) % CACHE_WRITE_ORDER_SHARDS];
    const uint64_t word = base_load_rlx(at);
    if ((word & ~CACHE_MISSED_UNSURE) != cache_missed_word(hash, seen)) { return false; }
    *unsure = (word & CACHE_MISSED_UNSURE) != 0;
    return base_cas_ar(at, word, (uint64_t)0);
}

static void cache_ordered_wait(uint32_t waits)
{
    if (waits < CACHE_WRITE_ORDER_YIELDS) {
        base_yield();
    } else {
        base_sleep_ns(CACHE_WRITE_ORDER_SLEEP_NS);
    }
}

/* Enable the write order. A change raises its stamp, then reads write_order_used; this call does
 * the opposite. All four accesses are seq_cst: it sees a change without an ordered write as
 * pending. */
CELLAR_PRIVATE void cache_write_order_use(cache_store *s)
{
    if (BASE_LIKELY(base_load_acq(&s->write_order_used) != 0) || !cache_has_stamps(s)) { return; }
    base_store_sc(&s->write_order_used, 1u);
    const uint64_t until_ns = base_now_ns() + CACHE_WRITE_ORDER_BEFORE_NS;
    for (uint64_t i = 0; i <= s->stamp_mask; i++) {
        const _Atomic uint64_t *word = &base_load_acq(&s->stamps)[i];
        for (uint32_t waits = 0; CACHE_STAMP_PENDING(base_load_sc(word)) != 0; waits++) {
            if (base_now_ns() >= until_ns) { return; } /* the call of a listener may be pending */
            cache_ordered_wait(waits);
        }
    }
}

static bool cache_ordered_same(const cache_ordered *a, const cache_ordered *b)
{
    return a->hash == b->hash && a->generation == b->generation && a->len == b->len &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

CELLAR_PRIVATE bool cache_ordered_list(const cache_store *s, cache_ordered *t)
{
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    bool others = false;
    sync_take(WRITE_ORDER, &sh->lock);
    cache_ordered **at = &sh->first;
    while (*at != NULL) { /* a call may change its key twice: its ordered write is the later one */
        if (*at == t) {
            *at = t->next;
            continue;
        }
        others = others || cache_ordered_same(*at, t);
        at = &(*at)->next;
    }
    t->busy = t->passed = false;
    t->listed = true;
    t->next = sh->first;
    sh->first = t;
    sync_drop(WRITE_ORDER, &sh->lock);
    return others;
}

/* Return whether no ordered write of the key is busy. */
static bool cache_ordered_free(const cache_write_order_shard *sh, const cache_ordered *t)
    SYNC_HOLDS(WRITE_ORDER);
static bool cache_ordered_free(const cache_write_order_shard *sh, const cache_ordered *t)
{
    for (const cache_ordered *o = sh->first; o != NULL; o = o->next) {
        if (o->busy && cache_ordered_same(o, t)) { return false; }
    }
    return true;
}

CELLAR_PRIVATE bool cache_ordered_begin(const cache_store *s, cache_ordered *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return true; }
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    for (uint32_t waits = 0;; waits++) {
        sync_take(WRITE_ORDER, &sh->lock);
        const bool passed = t->passed;
        t->busy = !passed && cache_ordered_free(sh, t);
        const bool begun = t->busy;
        sync_drop(WRITE_ORDER, &sh->lock);
        if (begun || passed) { return begun; }
        cache_ordered_wait(waits);
    }
}

CELLAR_PRIVATE void cache_ordered_pause(const cache_store *s, cache_ordered *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return; }
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    sync_take(WRITE_ORDER, &sh->lock);
    t->busy = false;
    sync_drop(WRITE_ORDER, &sh->lock);
}

CELLAR_PRIVATE void cache_ordered_done(const cache_store *s, cache_ordered *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return; }
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    sync_take(WRITE_ORDER, &sh->lock);
    t->busy = false;
    for (cache_ordered *o = t->next; o != NULL; o = o->next) {
        if (cache_ordered_same(o, t)) { o->passed = true; }
    }
    sync_drop(WRITE_ORDER, &sh->lock);
}

CELLAR_PRIVATE bool cache_ordered_any(void *store, uint64_t hash, uint32_t generation,
                                      const void *key, size_t key_len)
{
    const cache_store *s = store;
    if (!cache_has_stamps(s) || base_load_acq(&s->write_order_used) == 0) { return false; }
    const cache_ordered t = {
        .bytes = key, .hash = hash, .len = (uint32_t)key_len, .generation = generation
    };
    cache_write_order_shard *sh = cache_write_order_shard_of(s, hash);
    bool listed = false;
    sync_take(WRITE_ORDER, &sh->lock);
    for (const cache_ordered *o = sh->first; o != NULL && !listed; o = o->next) {
        listed = cache_ordered_same(o, &t);
    }
    sync_drop(WRITE_ORDER, &sh->lock);
    return listed;
}

CELLAR_PRIVATE bool cache_ordered_overtaken(const cache_store *s, const cache_ordered *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return false; }
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    sync_take(WRITE_ORDER, &sh->lock);
    bool over = t->passed;
    for (const cache_ordered *o = sh->first; o != t && !over; o = o->next) {
        over = cache_ordered_same(o, t);
    }
    sync_drop(WRITE_ORDER, &sh->lock);
    return over;
}

CELLAR_PRIVATE void cache_ordered_leave(const cache_store *s, cache_ordered *t)
{
    cache_write_order_shard *sh = cache_write_order_shard_of(s, t->hash);
    sync_take(WRITE_ORDER, &sh->lock);
    cache_ordered **at = &sh->first;
    while (*at != t) { at = &(*at)->next; }
    *at = t->next;
    sync_drop(WRITE_ORDER, &sh->lock);
    t->listed = false;
}

/* Pass the matching ordered writes of one shard. Return false if one of them is busy. */
static bool cache_write_order_pass(cache_write_order_shard *sh, uint32_t generation,
                                   bool (*match)(void *ctx, const void *key, size_t len), void *ctx)
{
    bool all = true;
    sync_take(WRITE_ORDER, &sh->lock);
    for (cache_ordered *t = sh->first; t != NULL; t = t->next) {
        if (t->generation != generation) { continue; }
        if (match != NULL ? !match(ctx, t->bytes, t->len) : !t->fill) { continue; }
        t->passed = true;
        all = all && !t->busy;
    }
    sync_drop(WRITE_ORDER, &sh->lock);
    return all;
}

CELLAR_PRIVATE void cache_write_order_match(const cache_store *s, uint32_t generation,
                                            bool (*match)(void *ctx, const void *key, size_t len),
                                            void *ctx)
{
    if (!cache_has_stamps(s) || base_load_sc(&s->write_order_used) == 0) { return; }
    for (uint32_t i = 0; i < CACHE_WRITE_ORDER_SHARDS; i++) {
        uint32_t waits = 0;
        while (!cache_write_order_pass(&s->write_order->shard[i], generation, match, ctx)) {
            cache_ordered_wait(waits++);
        }
    }
}

BASE_SIZE_END
