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
 *            miss: tier has the key? watch the stamp -> tier get -> put into L1 as BACKFILL; the
 *            window compares. Calls that change or pin an entry bring it up first; calls that only
 *            look leave it below, unless they want a version.
 * PROTOCOL   A stamp word is {8 bits tags, 40 bits changes, watched, 15 bits pending}.
 *            A thread that will compare a stamp sets `watched` first; each raise clears it.
 *            An unwatched stamp with nothing below need not rise: README.md, "Stamps".
 *            Else the stamp rises with pending, and the tier is asked again, as a kill asks it.
 *            A read asks the tier only if no change of its key is pending. (One pending change with
 *            another tag belongs to another key.) Else it waits at most CACHE_READ_WAITS times. If
 *            it still may not ask, or if the tier has nothing and the stamp moved, it asks L1
 *            again. After CACHE_LOOKS looks it misses.
 * INVARIANTS pending counts changes with a kill or put that has not returned. tags is the sum of
 *            the tags of their keys, mod 256. Each raise is taken back once, by the call that made
 *            it: its frame has the sum.
 *            Words are shared by hash: a change of another key costs a back-fill, but stores
 *            nothing wrong.
 * LOCKING    commit runs in odd windows: atomic words, and the shard lock of the flights. The
 *            window orders its store to the stamp; the back-fill reads acquire, stamp_is seq_cst.
 * LIMITS     2^40 changes of a class until their count repeats; 32,767 changes of one class at a
 *            time between window and kill.
 * SEE ALSO   README.md, "Stamps" (proofs, reads, rejected designs); src/load/README.md (flights);
 *            delete_pattern.c. */
#include "cache/cache_int.h"
#include "load/flight.h"

#include <stddef.h>

#define CACHE_STAMP_ONE ((uint64_t)1 << 16)
#define CACHE_STAMP_WATCHED ((uint64_t)0x8000)
#define CACHE_STAMP_CHANGES(w) ((w) >> 16 & (((uint64_t)1 << 40) - 1))
#define CACHE_STAMP_TAGS(w) ((w) >> 56)
#define CACHE_BRING_TRY 512u /* bytes tried on the stack */
#define CACHE_BRING_ROUNDS 16u
#define CACHE_BRING_WAITS 64u
#define CACHE_WAIT_YIELDS 16u /* waits that yield; later waits sleep */
#define CACHE_WAIT_NS 50000u
#define CACHE_READ_WAITS 18u
#define CACHE_STAMP_GLOBS 40 /* captured stamp: 40 bits of changes, 24 bits of glob_epoch above */

static _Atomic uint64_t *cache_stamp(const cache_store *s, uint64_t hash)
{
    return &s->stamps[base_mix64(hash) & s->stamp_mask];
}

/* Return what a change of the key adds to the word until its kill has returned. */
static uint64_t cache_stamp_part(uint64_t hash)
{
    return base_mix64(hash) >> 56 << 56 | 1;
}

/* Return whether a change of this key may be pending in the word. */
static bool cache_stamp_holds(uint64_t word, uint64_t hash)
{
    const uint64_t pending = CACHE_STAMP_PENDING(word);
    return pending > 1 ||
           (pending == 1 && CACHE_STAMP_TAGS(word) == CACHE_STAMP_TAGS(cache_stamp_part(hash)));
}

/* Return the stamp that an entry takes along to the tier. It wrongly stays valid only after exactly
 * 2^24 walks, or 2^40 changes of its class. */
static uint64_t cache_captured(const cache_store *s, uint64_t word)
{
    return CACHE_STAMP_CHANGES(word) | base_load_acq(&s->glob_epoch) << CACHE_STAMP_GLOBS;
}

/* Watch the word: the next change of its class raises it. Return its value. */
static uint64_t cache_stamp_watch(_Atomic uint64_t *word)
{
    const uint64_t w = base_load_acq(word);
    return (w & CACHE_STAMP_WATCHED) != 0 ? w
                                          : base_or_sc(word, CACHE_STAMP_WATCHED) |
                                                CACHE_STAMP_WATCHED;
}

static bool cache_nothing_below(const cache_store *s, uint64_t hash)
{
    return s->tier->nothing != NULL && s->tier->nothing(s->tier->ctx, hash);
}

/* Return whether the tier cannot have the key. Ask before each look: a listener may run between two
 * looks and fork, and the child has no tier. */
static bool cache_never_below(const cellar *c, const l1_key *k)
{
    return c->no_disk || c->store->tier == NULL || cache_nothing_below(c->store, k->hash);
}

/* ---- the commit hook ---- */

/* Return whether the entry leaves without a call that changes its key. */
static bool cache_leaves(l1_change change)
{
    return change == L1_CHANGE_EVICT || change == L1_CHANGE_EXPIRE || change == L1_CHANGE_UNTAG ||
           change == L1_CHANGE_UNDEPEND;
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

/* Raise the stamp for a change by a call. If nothing lies below and no thread watches the stamp, it
 * may stay: README.md. */
BASE_ALWAYS_INLINE void cache_stamp_raise(const cache_store *s, uint64_t hash,
                                          _Atomic uint64_t *word, cache_frame *frame,
                                          uint64_t *stamp)
{
    uint64_t w = base_load_sc(word), next;
    const bool none = !frame->below && cache_nothing_below(s, hash);
    const uint64_t part = cache_stamp_part(hash);
    if (BASE_LIKELY(none && (w & CACHE_STAMP_WATCHED) == 0 && base_load_sc(word) == w)) {
        *stamp = cache_captured(s, w);
        return;
    }
    for (;;) {
        next = CACHE_STAMP_CHANGES(w + CACHE_STAMP_ONE) << 16 |
               CACHE_STAMP_TAGS(w) << 56 | CACHE_STAMP_PENDING(w);
        next += part;
        if (frame->below) { next |= CACHE_STAMP_WATCHED; }
        if (base_cas_sc(word, w, next)) { break; }
        w = base_load_sc(word);
    }
    *stamp = cache_captured(s, next);
    if (none && cache_nothing_below(s, hash)) { /* nothing came meanwhile, and nothing will */
        (void)base_sub_ar(word, part);
        return;
    }
    BASE_ASSERT(frame->raised == 0 || frame->word == word);
    frame->word = word;
    frame->raised += part;
}

static bool cache_commit_stamped(cache_store *s, uint64_t hash, l1_change change, uint64_t *stamp)
{
    _Atomic uint64_t *word = cache_stamp(s, hash);
    cache_frame *frame = base_thread_self()->load_frames;
    if (cache_leaves(change)) {
        const bool down = change == L1_CHANGE_EVICT && !BASE_MUTANT("tier.unwatched_evict");
        *stamp = cache_captured(s, down ? cache_stamp_watch(word) : base_load_acq(word));
        return true;
    }
    BASE_ASSERT(frame != NULL);
    /* Under the bucket lock: no newer change of the key has had its window. */
    if (change == L1_CHANGE_CLEAN) { return !cache_turn_overtaken(s, &frame->turn); }
    if (change == L1_CHANGE_BACKFILL) {
        const uint64_t now = base_load_acq(word);
        *stamp = cache_captured(s, now);
        /* no change of the key was pending at the start: cache_tier_fetch */
        return CACHE_STAMP_CHANGES(now) == frame->expect &&
               (BASE_MUTANT("tier.backfill_past_glob") ||
                base_load_acq(&s->glob_epoch) == frame->globs);
    }
    cache_stamp_raise(s, hash, word, frame, stamp);
    return true;
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

/* For the mutant that looks before the window opens; used by simulation fibers only. */
static bool cache_flights_seen;

CELLAR_PRIVATE void cache_flights_peek(const cache_store *s, uint64_t hash)
{
    const flight_table *t = base_load_sc(&s->flights);
    cache_flights_seen = t != NULL && flight_any(t, hash);
}

/* Return whether a call changes the value. A published value is judged after its window. */
static bool cache_changes(l1_change change)
{
    return change == L1_CHANGE_SET || change == L1_CHANGE_DEL || change == L1_CHANGE_INCR ||
           change == L1_CHANGE_UPDATE;
}

/* Update the running loads of this key. A change invalidates them; the leader may publish only if
 * its own load is still valid. Without open loads this reads two rarely written lines. */
BASE_NOINLINE static bool cache_commit_flights(flight_table *t, uint64_t hash, uint32_t generation,
                                               const void *bytes, size_t key_len, l1_change change)
{
    const flight_key key = { bytes, (uint32_t)key_len, generation, hash };
    if (change == L1_CHANGE_PUBLISH) { return flight_may_publish(t, &key); }
    if (!cache_changes(change)) { return true; }
    const bool early = BASE_MUTANT("flight.count_before_window");
    if (early ? cache_flights_seen : flight_any(t, hash)) { flight_overtake(t, &key); }
    return true;
}

/* Decide whether a change may happen. A write of an ended generation may not, because it would
 * revive a value from before the clear. An entry that leaves by itself invalidates no load. */
static bool cache_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                         size_t key_len, l1_change change, uint64_t *stamp)
{
    cache_store *s = ctx;
    if (cache_leaves(change)) {
        cache_count_end(s, generation, change);
    } else {
        const bool adds = change == L1_CHANGE_SET || change == L1_CHANGE_INCR ||
                          change == L1_CHANGE_UPDATE || change == L1_CHANGE_BACKFILL ||
                          change == L1_CHANGE_PUBLISH;
        if (adds && BASE_UNLIKELY(!cache_generation_alive(s, generation))) { return false; }
        flight_table *flights = base_load_sc(&s->flights); /* NULL before the first load */
        if (BASE_UNLIKELY(flights != NULL) &&
            !cache_commit_flights(flights, hash, generation, key, key_len, change)) {
            return false;
        }
        const bool moved = change == L1_CHANGE_SET &&
                           (BASE_MUTANT("deps.raised_early") || BASE_MUTANT("deps.raised_late"));
        if (BASE_UNLIKELY(s->deps != NULL) && cache_changes(change) && !moved) {
            cache_deps_changed(s, hash, generation);
        }
    }
    if (BASE_UNLIKELY(s->stamps != NULL)) {
        const bool may = cache_commit_stamped(s, hash, change, stamp);
        if (BASE_UNLIKELY(base_load_sc(&s->turns_used) != 0) && !cache_leaves(change) &&
            change != L1_CHANGE_BACKFILL && change != L1_CHANGE_CLEAN) {
            cache_commit_turn(s, hash, generation, key, key_len, stamp);
        }
        return may;
    }
    *stamp = 0;
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
    cache_why_ended(s, hash, generation, cause, born_ms, uses);
}

/* Keep an entry in L1 while a change reads it back for the tier (tier.c). */
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
        cache_fail_open(CELLAR_E_NOMEM, 0, "cellar_open: no memory for the stamps");
        return CELLAR_E_NOMEM;
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

/* ---- around a change ---- */

CELLAR_PRIVATE void cache_change_begin(cache_frame *f, bool stores, bool negative)
{
    base_thread_record *self = base_thread_self();
    f->outer = self->load_frames;
    f->stores = stores;
    f->negative = negative;
    f->matched = f->below = f->turn.listed = false;
    f->expect = f->globs = 0;
    f->word = NULL;
    f->raised = 0;
    self->load_frames = f;
}

static void cache_tier_key_of(const cellar *c, const l1_key *k, cache_tier_key *out)
{
    *out = (cache_tier_key){ k->bytes, k->len, k->hash, c->id, k->generation };
}

/* Call the tier under the turn of the change. */
BASE_NOINLINE static void cache_change_kill(cellar *c, cache_frame *f, const l1_key *k)
{
    cache_store *s = c->store;
    if (f->raised != 0 && s->tier != NULL && !c->no_disk && cache_turn_begin(s, &f->turn)) {
        cache_tier_key key;
        cache_tier_key_of(c, k, &key);
        s->tier->kill(s->tier->ctx, &key);
        cache_turn_done(s, &f->turn);
    }
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
    cache_turn_leave(s, &f->turn);
}

CELLAR_PRIVATE void cache_change_end(cellar *c, cache_frame *f, const l1_key *k)
{
    cache_store *s = c->store;
    BASE_ASSERT(base_thread_self()->load_frames == f);
    base_thread_self()->load_frames = f->outer;
    if (BASE_UNLIKELY(f->turn.listed)) {
        cache_change_kill(c, f, k);
        return;
    }
    if (f->raised != 0 && s->tier != NULL && !c->no_disk) {
        cache_tier_key key;
        cache_tier_key_of(c, k, &key);
        s->tier->kill(s->tier->ctx, &key);
    }
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
}

CELLAR_PRIVATE cellar_err cache_change_stored(cellar *c, cache_frame *f, const l1_key *k,
                                              const l1_put_spec *p, cache_urge urge)
{
    cache_store *s = c->store;
    cellar_err err = CELLAR_OK;
    BASE_ASSERT(base_thread_self()->load_frames == f);
    if (f->raised != 0 && s->tier != NULL && !c->no_disk) {
        err = cache_tier_store(c, k, p, urge, &f->turn);
    }
    base_thread_self()->load_frames = f->outer; /* until here for l1_clean */
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
    if (f->turn.listed) { cache_turn_leave(s, &f->turn); }
    return err;
}

/* ---- after a miss ---- */

/* Watch the stamp of the key and store it in *word. Wait until no change of the key is pending.
 * Return false if one is pending after `waits` waits, or if this thread may make it itself: a
 * listener reads inside the change that it observes. */
static bool cache_tier_settled(const cache_store *s, uint64_t hash, unsigned waits, uint64_t *word)
{
    _Atomic uint64_t *stamp = cache_stamp(s, hash);
    for (unsigned i = 0;; i++) {
        *word = cache_stamp_watch(stamp);
        if (BASE_LIKELY(!cache_stamp_holds(*word, hash)) || BASE_MUTANT("tier.read_pending")) {
            return true;
        }
        if (i == waits || base_thread_self()->load_frames != NULL) { return false; }
        if (i < CACHE_WAIT_YIELDS) {
            base_yield();
        } else {
            base_sleep_ns(CACHE_WAIT_NS);
        }
    }
}

/* Put an entry of the tier into L1. Return CONFLICT if the key has changed since. */
static cellar_err cache_backfill(cellar *c, const l1_key *k, const void *value, size_t value_len,
                                 const cache_tier_meta *m, uint64_t expect, uint64_t globs)
{
    l1_put_spec p;
    memset(&p, 0, sizeof p);
    p.value = value;
    p.value_len = value_len;
    p.deadline_ms = m->deadline_ms;
    p.flags = L1_IF_ABSENT | L1_KEEP_OLD;
    p.change = L1_CHANGE_BACKFILL;
    p.idle_ms = m->idle_ms;
    p.stale_ms = m->stale_ms;
    p.user_flags = m->user_flags;
    p.kind = m->kind;
    p.cost = m->cost;
    p.l2_addr = m->l2_addr;
    p.tag_fps = m->tags;
    p.tag_count = m->tag_count;
    p.tag_born = m->tag_born;
    cache_frame f;
    cache_change_begin(&f, true, false);
    f.expect = expect;
    f.globs = globs;
    cache_filter filter;
    cache_filter_begin(c, k, &filter);
    const uint64_t read = base_thread_self()->tags_read;
    const cellar_err err = l1_put(c->l1, k, &p);
    base_thread_self()->tags_read = read; /* it may have judged entries to evict */
    cache_change_end(c, &f, k); /* a back-fill raises no stamp */
    cache_filter_end(c, k, &filter);
    return err;
}

/* Ask the tier. Return OK, ABSENT or E_BUFFER (*value_len is set) if the entry lives; *m has its
 * other fields. */
static cellar_err cache_tier_ask(const cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, cache_tier_meta *m)
{
    const cache_store *s = c->store;
    cache_tier_key key;
    cache_tier_key_of(c, k, &key);
    memset(m, 0, offsetof(cache_tier_meta, tags));
    m->deadline_ms = BASE_NEVER_MS;
    const cellar_err err = s->tier->get(s->tier->ctx, &key, buf, buf_cap, value_len, m);
    const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    if (there && !base_clock_reached(&s->clock, m->deadline_ms)) { return err; }
    *value_len = 0;
    return CELLAR_MISS;
}

/* Return CONFLICT for a miss if the stamp counted a change since `word`: the entry may be in L1
 * now. A callback inside the call of the tier may have forked: the child has no stamps. */
static cellar_err cache_tier_missed(const cellar *c, const l1_key *k, uint64_t word, cellar_err err)
{
    if (BASE_LIKELY(err != CELLAR_MISS) || c->store->stamps == NULL) { return err; }
    const uint64_t now = base_load_acq(cache_stamp(c->store, k->hash));
    return CACHE_STAMP_CHANGES(now) == CACHE_STAMP_CHANGES(word) ? err : CELLAR_CONFLICT;
}

CELLAR_PRIVATE cellar_err cache_tier_peek(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, cache_tier_meta *m)
{
    uint64_t word;
    if (cache_never_below(c, k)) { return CELLAR_MISS; }
    if (!cache_tier_settled(c->store, k->hash, CACHE_READ_WAITS, &word)) { return CELLAR_CONFLICT; }
    return cache_tier_missed(c, k, word, cache_tier_ask(c, k, buf, buf_cap, value_len, m));
}

CELLAR_PRIVATE cellar_err cache_tier_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, cache_tier_meta *m, cellar_err *kept)
{
    const cache_store *s = c->store;
    uint64_t word;
    if (cache_never_below(c, k)) { return CELLAR_MISS; }
    if (!cache_tier_settled(s, k->hash, CACHE_READ_WAITS, &word)) { return CELLAR_CONFLICT; }
    const uint64_t globs = base_load_acq(&s->glob_epoch);
    const cellar_err err = cache_tier_ask(c, k, buf, buf_cap, value_len, m);
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return cache_tier_missed(c, k, word, err); }
    if (err == CELLAR_OK) { cache_filter_found(c, k->bytes, k->len); }
    m->kind = err == CELLAR_ABSENT ? (uint8_t)L1_NEGATIVE : m->kind;
    *kept = cache_backfill(c, k, buf, err == CELLAR_OK ? *value_len : 0, m,
                           CACHE_STAMP_CHANGES(word), globs);
    return err;
}

CELLAR_PRIVATE cellar_err cache_tier_read(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len)
{
    cache_tier_meta m;
    cellar_err kept; /* vetoed or no room: the caller has the bytes anyway */
    cellar_err err = cache_tier_fetch(c, k, buf, buf_cap, value_len, &m, &kept);
    for (unsigned i = 0; BASE_UNLIKELY(err == CELLAR_CONFLICT) && i < CACHE_LOOKS; i++) {
        err = l1_get(c->l1, k, buf, buf_cap, value_len, 0);
        if (err != CELLAR_MISS) { return err; }
        err = cache_tier_fetch(c, k, buf, buf_cap, value_len, &m, &kept);
    }
    return err == CELLAR_CONFLICT ? CELLAR_MISS : err;
}

/* Fetch once, with room for the value. */
static cellar_err cache_bring_once(cellar *c, const l1_key *k, cellar_err *kept)
{
    unsigned char small[CACHE_BRING_TRY];
    unsigned char *room = small;
    size_t cap = sizeof small, len = 0;
    cache_tier_meta m;
    cellar_err err = cache_tier_fetch(c, k, room, cap, &len, &m, kept);
    /* the value may be longer each time */
    for (unsigned i = 0; err == CELLAR_E_BUFFER && i < CACHE_ROUNDS; i++) {
        base_account *a = &c->store->account;
        if (room != small) { base_free(a, BASE_MOD_STORE, room, cap); }
        cap = len;
        room = base_alloc(a, BASE_MOD_STORE, cap, NULL);
        if (room == NULL) { return CELLAR_E_NOMEM; }
        err = cache_tier_fetch(c, k, room, cap, &len, &m, kept);
    }
    if (room != small) { base_free(&c->store->account, BASE_MOD_STORE, room, cap); }
    return err;
}

CELLAR_PRIVATE bool cache_tier_bring(cellar *c, const l1_key *k)
{
    uint64_t word;
    for (unsigned round = 0; round < CACHE_BRING_ROUNDS; round++) {
        cellar_err kept = CELLAR_E_NOMEM;
        if (cache_never_below(c, k)) { return false; }
        if (!cache_tier_settled(c->store, k->hash, CACHE_BRING_WAITS, &word)) { return true; }
        const cellar_err err = cache_bring_once(c, k, &kept);
        if (err == CELLAR_CONFLICT) { return true; }
        if (err != CELLAR_OK && err != CELLAR_ABSENT) { return false; }
        if (kept != CELLAR_CONFLICT) { return kept == CELLAR_OK || kept == CELLAR_EXISTS; }
        /* it will not be kept either */
        if (!cache_generation_alive(c->store, k->generation)) { return false; }
        base_yield(); /* lets the thread of the other change run */
    }
    return false;
}
