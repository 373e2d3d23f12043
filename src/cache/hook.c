/* SPDX-License-Identifier: MIT
 *
 * hook: answers to L1 inside its windows, and the order in which a tier learns of changes.
 *
 * PICTURE    change: L1 window {commit: generation current? stamp + 1, pending + 1} -> tier kill ->
 *            pending - 1 -> return. If the tier has nothing of the key, pending goes back in the
 *            window.
 *            eviction: L1 window {commit: watch the stamp, capture it} -> left hook (events.c) ->
 *            tier put, which asks stamp_is when it has its place
 *            stored change: a put in the place of the kill; kill if it fails; order of one key:
 *            turn.c
 * PROTOCOL   A stamp word is {8 bits tags, 40 bits changes, watched, 15 bits pending}.
 *            A thread that will compare a stamp sets `watched` first; each raise clears it.
 *            An unwatched stamp with nothing below need not rise: README.md, "Stamps".
 *            Else the stamp rises with pending, and the tier is asked again, as a kill asks it.
 * INVARIANTS pending counts changes with a kill or put that has not returned. tags is the sum of
 *            the tags of their keys, mod 256.
 *            Words are shared by hash: a change of another key costs a back-fill, but stores
 *            nothing wrong.
 * LOCKING    commit runs in odd windows: atomic words, and the shard lock of the flights. The
 *            window orders its store to the stamp; the back-fill reads acquire, stamp_is seq_cst.
 * LIMITS     2^40 changes of a class until their count repeats; 32,767 changes of one class at a
 *            time between window and kill.
 * SEE ALSO   README.md, "Stamps" (proofs, reads, rejected designs); src/load/README.md (flights);
 *            change.c, lookup.c, delete_pattern.c. */
#include "cache/hook.h"

#include "cache/dependency_table.h"
#include "cache/error.h"
#include "cache/events.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/turn.h"
#include "load/flight.h"

/* ---- the commit hook ---- */

/* Return whether the entry leaves without a call that changes its key. */
static bool cache_leaves(l1_change change)
{
    return change >= L1_CHANGE_EVICT;
}

/* Count an entry that leaves for its namespace, if the generation table still knows it. An expired
 * entry stays expired even if its generation is dead, as its listeners are told. */
static void cache_count_end(const cache_store *s, uint32_t generation, l1_change change)
{
    const bool expired = change == L1_CHANGE_EXPIRE;
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    stats_id id = expired ? STATS_EVICT_EXPIRED
                  : change == L1_CHANGE_UNTAG ? STATS_EVICT_TAG
                  : change == L1_CHANGE_UNDEPEND ? STATS_EVICT_DEPENDENCY : STATS_EVICT_CAPACITY;
    /* forgotten generation: counted at the root */
    if (CACHE_CELL_GENERATION(w) != generation || w == 0) {
        stats_add(stats_held(s->stats, 0), STATS_EVICT_CLEARED, 1);
        return;
    }
    if (!expired && (w & CACHE_CELL_ALIVE) == 0) {
        id = CACHE_CELL_CAUSE(w) == CELLAR_CAUSE_VERSION ? STATS_EVICT_BUMPED : STATS_EVICT_CLEARED;
    }
    stats_add(stats_held(s->stats, CACHE_CELL_SLOT(w)), id, 1);
}

/* Raise the stamp for a change that the tier may have to know. `none`: nothing lies below, but a
 * thread watches the stamp. */
BASE_NOINLINE static void cache_stamp_raise_noted(const cache_store *s, uint64_t hash,
                                                  _Atomic uint64_t *word, cache_frame *frame,
                                                  uint64_t *stamp, bool none)
{
    const uint64_t part = cache_stamp_part(hash);
    uint64_t w, next;
    do {
        w = base_load_sc(word);
        next = CACHE_STAMP_CHANGES(w + CACHE_STAMP_ONE) << 16 |
               CACHE_STAMP_TAGS(w) << 56 | CACHE_STAMP_PENDING(w);
        next += part;
        if (frame->below) { next |= CACHE_STAMP_WATCHED; }
    } while (!base_cas_sc(word, w, next));
    *stamp = cache_captured(s, next);
    if (none && cache_nothing_below(s, hash)) { /* nothing came meanwhile, and nothing will */
        (void)base_sub_ar(word, part);
        return;
    }
    BASE_ASSERT(frame->raised == 0 || frame->word == word);
    frame->word = word;
    frame->raised += part;
}

/* Raise the stamp for a change by a call. If nothing lies below and no thread watches the stamp, it
 * may stay: README.md. */
BASE_ALWAYS_INLINE void cache_stamp_raise(const cache_store *s, uint64_t hash,
                                          _Atomic uint64_t *word, cache_frame *frame,
                                          uint64_t *stamp)
{
    const uint64_t w = base_load_sc(word);
    const bool none = !frame->below && cache_nothing_below(s, hash);
    if (BASE_LIKELY(none && (w & CACHE_STAMP_WATCHED) == 0 && base_load_sc(word) == w)) {
        *stamp = cache_captured(s, w);
        return;
    }
    cache_stamp_raise_noted(s, hash, word, frame, stamp, none);
}

/* Count an entry that leaves by itself. Return its stamp for the tier. */
BASE_NOINLINE static uint64_t cache_commit_left(cache_store *s, uint64_t hash, uint32_t generation,
                                                l1_change change)
{
    cache_count_end(s, generation, change);
    if (s->stamps == NULL) { return 0; }
    _Atomic uint64_t *word = cache_stamp(s, hash);
    const bool down = change == L1_CHANGE_EVICT;
    return cache_captured(s, down ? cache_stamp_watch(word) : base_load_acq(word));
}

/* Decide whether a copy of the entry on the tier may enter L1, or L1's copy may count as saved. */
BASE_NOINLINE static bool cache_commit_copy(cache_store *s, uint64_t hash, l1_change change,
                                            uint64_t *stamp)
{
    cache_frame *frame = base_thread_self()->load_frames;
    BASE_ASSERT(frame != NULL);
    /* Under the bucket lock: no newer change of the key has had its window. */
    if (change == L1_CHANGE_CLEAN) { return !cache_turn_overtaken(s, &frame->turn); }
    const uint64_t now = base_load_acq(cache_stamp(s, hash));
    *stamp = cache_captured(s, now);
    /* no change of the key was pending at the start: cache_tier_fetch */
    return CACHE_STAMP_CHANGES(now) == frame->expect &&
           base_load_acq(&s->glob_epoch) == frame->globs;
}

/* List the turn of the change after the raise of its stamp: see cache_turns_use. */
BASE_NOINLINE static void cache_commit_turn(const cache_store *s, uint64_t hash,
                                            uint32_t generation, const void *key, size_t key_len,
                                            uint64_t *stamp)
{
    cache_frame *frame = base_thread_self()->load_frames;
    cache_turn *t = &frame->turn;
    t->bytes = key;
    t->hash = hash;
    t->len = (uint32_t)key_len;
    t->generation = generation;
    if (cache_turn_list(s, t) && frame->raised == 0) {
        frame->below = true; /* an older change of the key is about to write */
        cache_stamp_raise(s, hash, cache_stamp(s, hash), frame, stamp);
    }
}

/* Return whether a call changes the value. A published value is judged after its window. */
static bool cache_changes(l1_change change)
{
    return change <= L1_CHANGE_UPDATE;
}

/* Update the running loads of this key. A change invalidates them; the leader may publish only if
 * its own load is still valid. Without open loads this reads two rarely written lines. */
BASE_NOINLINE static bool cache_commit_flights(flight_table *t, uint64_t hash, uint32_t generation,
                                               const void *bytes, size_t key_len, l1_change change)
{
    const flight_key key = { bytes, (uint32_t)key_len, generation, hash };
    if (change == L1_CHANGE_PUBLISH) { return flight_may_publish(t, &key); }
    if (!cache_changes(change)) { return true; }
    if (flight_any(t, hash)) { flight_invalidate(t, &key); }
    return true;
}

/* Decide whether a change may happen. A write of an ended generation may not, because it would
 * revive a value from before the clear. An entry that leaves by itself invalidates no load. */
static bool cache_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                         size_t key_len, l1_change change, uint64_t *stamp)
{
    cache_store *s = ctx;
    if (cache_leaves(change)) {
        *stamp = cache_commit_left(s, hash, generation, change);
        return true;
    }
    const bool adds = change == L1_CHANGE_SET || change == L1_CHANGE_INCR ||
                      change == L1_CHANGE_UPDATE || change == L1_CHANGE_BACKFILL ||
                      change == L1_CHANGE_PUBLISH;
    if (adds && BASE_UNLIKELY(!cache_generation_alive(s, generation))) { return false; }
    flight_table *flights = base_load_sc(&s->flights); /* NULL before the first load */
    if (BASE_UNLIKELY(flights != NULL) &&
        !cache_commit_flights(flights, hash, generation, key, key_len, change)) {
        return false;
    }
    if (BASE_UNLIKELY(s->deps != NULL) && cache_changes(change)) {
        cache_deps_changed(s, hash, generation);
    }
    if (s->stamps == NULL) {
        *stamp = 0;
        return true;
    }
    if (change == L1_CHANGE_CLEAN || change == L1_CHANGE_BACKFILL) {
        return cache_commit_copy(s, hash, change, stamp);
    }
    cache_frame *frame = base_thread_self()->load_frames;
    BASE_ASSERT(frame != NULL);
    cache_stamp_raise(s, hash, cache_stamp(s, hash), frame, stamp);
    if (BASE_UNLIKELY(base_load_sc(&s->turns_used) != 0)) {
        cache_commit_turn(s, hash, generation, key, key_len, stamp);
    }
    return true;
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

static void cache_ended(void *ctx, uint64_t hash, uint32_t generation, l1_cause cause,
                        int64_t born_ms, unsigned uses)
{
    cache_store *s = ctx;
    cellar_cause why = cause == L1_LEFT_EXPIRED ? CELLAR_CAUSE_EXPIRED : CELLAR_CAUSE_EVICTED;
    if (cause == L1_LEFT_CLEARED) { why = cache_generation_cause(s, generation); }
    if (cause == L1_LEFT_TAG) { why = CELLAR_CAUSE_TAG; }
    if (cause == L1_LEFT_DEPENDENCY) { why = CELLAR_CAUSE_DEPENDENCY; }
    cache_why_ended(s, hash, why, born_ms, uses);
}

/* Keep an entry in L1 while a change reads it back for the tier (tier_store.c). */
static bool cache_key_in_turn(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                              size_t key_len)
{
    return cache_turn_listed(ctx, hash, generation, key, key_len);
}

CELLAR_PRIVATE void cache_hooks(cache_store *s, l1_hooks *out)
{
    out->ctx = s;
    out->commit = cache_commit;
    out->left = cache_left;
    out->generation_alive = cache_hook_generation_alive;
    out->quota_of = cache_quota_of;
    out->namespace_of = cache_namespace_of;
    out->tags_valid = cache_tags_valid;
    out->tags_ended = cache_tags_ended;
    out->ended = cache_ended;
    out->writing = cache_key_in_turn;
    out->soon = s->why != NULL ? cache_why_soon : NULL;
}

/* ---- stamps ---- */

static bool cache_stamp_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    const cache_store *s = ctx;
    return s->stamps != NULL && (stamp == CACHE_STAMP_NONE ||
                                 cache_captured(s, base_load_sc(cache_stamp(s, hash))) == stamp);
}

static int64_t cache_tier_now(void *ctx)
{
    const cache_store *s = ctx;
    return base_now_ms(&s->clock);
}

CELLAR_PRIVATE cellar_err cache_stamps_open(cache_store *s, uint64_t memory_bytes)
{
    const uint64_t count = base_clamp(base_pow2_floor(memory_bytes / 4096), 256, 16384);
    s->stamps = base_alloc(&s->account, BASE_MOD_STAMP, (size_t)count * sizeof *s->stamps, NULL);
    if (s->stamps == NULL || !cache_turns_open(s)) {
        return cache_open_refuse(CELLAR_E_NOMEM, "no memory for the stamps");
    }
    s->stamp_mask = count - 1;
    s->tier_host = (cache_tier_host){ s, cache_stamp_is, cache_tier_now };
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_stamps_close(cache_store *s)
{
    _Atomic uint64_t *all = s->stamps != NULL ? s->stamps : s->stamps_parent;
    if (all == NULL) { return; }
    base_free(&s->account, BASE_MOD_STAMP, all, (size_t)(s->stamp_mask + 1) * sizeof *all);
    s->stamps = s->stamps_parent = NULL;
    cache_turns_close(s);
}
