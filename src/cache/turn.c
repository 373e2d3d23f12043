/* SPDX-License-Identifier: MIT
 *
 * turn: the order in which changes of one key reach the tier.
 *
 * PURPOSE    A tombstone of an older change must not end a record that a newer call has written,
 *            and no change may end what a newer change has written.
 * PICTURE    L1 window of the key: a turn is listed, newest first -> window closed, listeners run
 *            -> begin {passed? wait until no turn of the key is busy; busy} -> put or kill
 *            -> done {not busy; all older turns of the key are passed} -> removed from the list
 *            A change that failed, or that a shared tier judged, passes no older turn. Nor does one
 *            that a tier of writes does not get: the older write has to reach its source.
 * INVARIANTS Turns of one key stand in the list in the order of their L1 windows. At most one turn
 *            of a key is busy.
 *            A passed turn calls the tier no more: a newer change has written its own record or
 *            tombstone, which also hides what the passed change would have hidden.
 *            A change that finds another turn of its key calls the tier in any case, even if
 *            nothing lies below: the older turn may be about to write. So a put under a turn needs
 *            no stamp: only changes of other keys move the stamp then.
 * LOCKING    TURN, one lock per shard, a leaf, taken inside odd windows of L1. No lock is held
 *            while a turn is busy. A busy turn waits for the disk alone, never for user code.
 * LIMITS     Turns are listed from the first call that writes through (turns_used). That call waits
 *            at most 100 ms for the changes that began before. A delete by pattern passes matching
 *            turns itself: the tier ends their keys.
 * SEE ALSO   stamp.c, tier_store.c, delete_pattern.c. */
#include "cache/turn.h"

#include "cache/stamp.h"

BASE_SIZE_BEGIN

#define CACHE_TURN_SHARDS 64u
#define CACHE_TURN_YIELDS 64u
#define CACHE_TURN_SLEEP_NS UINT64_C(50000)
#define CACHE_TURN_BEFORE_NS UINT64_C(100000000)

typedef struct cache_turn_shard {
    sync_lock lock BASE_ALIGNED(BASE_LINE); /* rank TURN; guards `first` and the turns of its
                                             * list */
    cache_turn *first;
} cache_turn_shard;

struct cache_turns {
    cache_turn_shard shard[CACHE_TURN_SHARDS];
    _Atomic uint64_t missed[CACHE_TURN_SHARDS]; /* note of a key that a tier lacks; 0: none */
};

static cache_turn_shard *cache_turn_shard_of(const cache_store *s, uint64_t hash)
{
    return &s->turns->shard[base_mix64(hash) % CACHE_TURN_SHARDS];
}

CELLAR_PRIVATE bool cache_turns_open(cache_store *s)
{
    s->turns = base_alloc(&s->account, BASE_MOD_STAMP, sizeof *s->turns, NULL);
    return s->turns != NULL;
}

CELLAR_PRIVATE void cache_turns_close(cache_store *s)
{
    if (s->turns == NULL) { return; }
    base_free(&s->account, BASE_MOD_STAMP, s->turns, sizeof *s->turns);
    s->turns = NULL;
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
    base_store_rlx(&s->turns->missed[base_mix64(hash) % CACHE_TURN_SHARDS],
                   unsure ? word | CACHE_MISSED_UNSURE : word);
}

CELLAR_PRIVATE bool cache_missed_take(const cache_store *s, uint64_t hash, uint64_t seen,
                                      bool *unsure)
{
    _Atomic uint64_t *at = &s->turns->missed[base_mix64(hash) % CACHE_TURN_SHARDS];
    const uint64_t word = base_load_rlx(at);
    if ((word & ~CACHE_MISSED_UNSURE) != cache_missed_word(hash, seen)) { return false; }
    *unsure = (word & CACHE_MISSED_UNSURE) != 0;
    return base_cas_ar(at, word, (uint64_t)0);
}

static void cache_turn_wait(uint32_t waits)
{
    if (waits < CACHE_TURN_YIELDS) {
        base_yield();
    } else {
        base_sleep_ns(CACHE_TURN_SLEEP_NS);
    }
}

/* Enable turns. A change raises its stamp, then reads turns_used; this call does the opposite. All
 * four accesses are seq_cst: it sees a change without a turn as pending. */
CELLAR_PRIVATE void cache_turns_use(cache_store *s)
{
    if (BASE_LIKELY(base_load_acq(&s->turns_used) != 0) || !cache_has_stamps(s)) { return; }
    base_store_sc(&s->turns_used, 1u);
    const uint64_t until_ns = base_now_ns() + CACHE_TURN_BEFORE_NS;
    for (uint64_t i = 0; i <= s->stamp_mask; i++) {
        const _Atomic uint64_t *word = &base_load_acq(&s->stamps)[i];
        for (uint32_t waits = 0; CACHE_STAMP_PENDING(base_load_sc(word)) != 0; waits++) {
            if (base_now_ns() >= until_ns) { return; } /* the call of a listener may be pending */
            cache_turn_wait(waits);
        }
    }
}

static bool cache_turn_same(const cache_turn *a, const cache_turn *b)
{
    return a->hash == b->hash && a->generation == b->generation && a->len == b->len &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

CELLAR_PRIVATE bool cache_turn_list(const cache_store *s, cache_turn *t)
{
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    bool others = false;
    sync_take(TURN, &sh->lock);
    cache_turn **at = &sh->first;
    while (*at != NULL) { /* a call may change its key twice: its turn is the later one */
        if (*at == t) {
            *at = t->next;
            continue;
        }
        others = others || cache_turn_same(*at, t);
        at = &(*at)->next;
    }
    t->busy = t->passed = false;
    t->listed = true;
    t->next = sh->first;
    sh->first = t;
    sync_drop(TURN, &sh->lock);
    return others;
}

/* Return whether no turn of the key is busy. */
static bool cache_turn_free(const cache_turn_shard *sh, const cache_turn *t) SYNC_HOLDS(TURN);
static bool cache_turn_free(const cache_turn_shard *sh, const cache_turn *t)
{
    for (const cache_turn *o = sh->first; o != NULL; o = o->next) {
        if (o->busy && cache_turn_same(o, t)) { return false; }
    }
    return true;
}

CELLAR_PRIVATE bool cache_turn_begin(const cache_store *s, cache_turn *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return true; }
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    for (uint32_t waits = 0;; waits++) {
        sync_take(TURN, &sh->lock);
        const bool passed = t->passed;
        t->busy = !passed && cache_turn_free(sh, t);
        const bool begun = t->busy;
        sync_drop(TURN, &sh->lock);
        if (begun || passed) { return begun; }
        cache_turn_wait(waits);
    }
}

CELLAR_PRIVATE void cache_turn_pause(const cache_store *s, cache_turn *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return; }
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    sync_take(TURN, &sh->lock);
    t->busy = false;
    sync_drop(TURN, &sh->lock);
}

CELLAR_PRIVATE void cache_turn_done(const cache_store *s, cache_turn *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return; }
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    sync_take(TURN, &sh->lock);
    t->busy = false;
    for (cache_turn *o = t->next; o != NULL; o = o->next) {
        if (cache_turn_same(o, t)) { o->passed = true; }
    }
    sync_drop(TURN, &sh->lock);
}

CELLAR_PRIVATE bool cache_turn_listed(const cache_store *s, uint64_t hash, uint32_t generation,
                                      const void *key, size_t key_len)
{
    if (!cache_has_stamps(s) || base_load_acq(&s->turns_used) == 0) { return false; }
    const cache_turn t = {
        .bytes = key, .hash = hash, .len = (uint32_t)key_len, .generation = generation
    };
    cache_turn_shard *sh = cache_turn_shard_of(s, hash);
    bool listed = false;
    sync_take(TURN, &sh->lock);
    for (const cache_turn *o = sh->first; o != NULL && !listed; o = o->next) {
        listed = cache_turn_same(o, &t);
    }
    sync_drop(TURN, &sh->lock);
    return listed;
}

CELLAR_PRIVATE bool cache_turn_overtaken(const cache_store *s, const cache_turn *t)
{
    if (!t->listed || !cache_has_stamps(s)) { return false; }
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    sync_take(TURN, &sh->lock);
    bool over = t->passed;
    for (const cache_turn *o = sh->first; o != t && !over; o = o->next) {
        over = cache_turn_same(o, t);
    }
    sync_drop(TURN, &sh->lock);
    return over;
}

CELLAR_PRIVATE void cache_turn_leave(const cache_store *s, cache_turn *t)
{
    if (!cache_has_stamps(s)) { return; } /* forked child: the list belongs to the parent */
    cache_turn_shard *sh = cache_turn_shard_of(s, t->hash);
    sync_take(TURN, &sh->lock);
    cache_turn **at = &sh->first;
    while (*at != t) { at = &(*at)->next; }
    *at = t->next;
    sync_drop(TURN, &sh->lock);
    t->listed = false;
}

/* Pass the matching turns of one shard. Return false if one of them is busy. */
static bool cache_turns_pass(cache_turn_shard *sh, uint32_t generation,
                             bool (*match)(void *ctx, const void *key, size_t len), void *ctx)
{
    bool all = true;
    sync_take(TURN, &sh->lock);
    for (cache_turn *t = sh->first; t != NULL; t = t->next) {
        if (t->generation != generation || !match(ctx, t->bytes, t->len)) { continue; }
        t->passed = true;
        all = all && !t->busy;
    }
    sync_drop(TURN, &sh->lock);
    return all;
}

CELLAR_PRIVATE void cache_turns_match(const cache_store *s, uint32_t generation,
                                      bool (*match)(void *ctx, const void *key, size_t len),
                                      void *ctx)
{
    if (!cache_has_stamps(s) || base_load_sc(&s->turns_used) == 0) { return; }
    for (uint32_t i = 0; i < CACHE_TURN_SHARDS; i++) {
        uint32_t waits = 0;
        while (!cache_turns_pass(&s->turns->shard[i], generation, match, ctx)) {
            cache_turn_wait(waits++);
        }
    }
}

BASE_SIZE_END
