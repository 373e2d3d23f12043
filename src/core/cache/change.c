/* SPDX-License-Identifier: MIT
 *
 * change: the write path. Each change of a key passes through this file.
 *
 * PICTURE    set, update, delete, increment, touch, fulfill, loads -> cache_change_run
 *            round:  parts before -> L1 step {window: generation, flights, stamp}
 *                    -> parts after
 *            end:    parts at the end, once
 * PARTS      CACHE_PARTS has a row for each part of the store that hears of changes, in order. A
 *            new part is a row and its functions. A part that wants to hear of sets has a bit in
 *            `carries` of the namespace or is counted in `observers`: the short path of set.c
 *            leaves such sets to this file.
 * INVARIANTS A part hears of each change once at the end, and of each of its rounds before and
 *            after the step, if a part wants that.
 *            A veto in the window means that the namespace was cleared meanwhile. The change
 *            retries with the new generation, so a set that returns after a clear has happened
 *            after it. A delete retries, too: no load of the new generation may outlive it.
 * LOCKING    None of its own. The window runs under the bucket lock: atomic words, and the shard
 *            lock of the flights.
 * LIMITS     CACHE_ROUNDS rounds against clears of the namespace, then E_BUSY.
 * SEE ALSO   lookup.c (reads), stamp.c, tier_store.c, README.md. */
#include "cache/change.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/lookup.h"
#include "cache/shared.h"
#include "cache/stamp.h"
#include "cache/tier_calls.h"
#include "cache/tier_request.h"
#include "cache/tier_store.h"
#include "cache/write_order.h"
#include "flight/flight.h"

/* ---- inside the window ---- */

/* Return whether a read has returned a newer reply of the shared tier. */
BASE_NOINLINE static bool cache_is_late(uint64_t hash)
{
    const cache_scope *scope = base_thread_self()->change_scopes;
    return scope != NULL && scope->order != 0 && cache_tier_is_shared(scope->tier) &&
           cache_tier_newest(scope->tier->ctx, hash) > scope->order;
}

/* Return whether a change of the key is on its way to a tier that is no disk. A value that was
 * loaded meanwhile may be older, and no report of the tier would end it. */
BASE_NOINLINE static bool cache_is_on_its_way(cache_store *s, uint64_t hash, uint32_t generation,
                                              const void *key, size_t key_len)
{
    const cache_scope *scope = base_thread_self()->change_scopes;
    return scope != NULL && scope->tier != NULL && cache_tier_disk(scope->tier) == NULL &&
           cache_ordered_any(s, hash, generation, key, key_len);
}

/* Decide whether a copy of the entry on the tier may enter L1, or L1's copy may count as saved. */
BASE_NOINLINE static bool cache_commit_copy(cache_store *s, uint64_t hash, l1_change change,
                                            uint64_t *stamp)
{
    cache_scope *scope = base_thread_self()->change_scopes;
    BASE_ASSERT(scope != NULL);
    /* Under the bucket lock: no newer change of the key has had its window. */
    if (change == L1_CHANGE_CLEAN && scope->ordered.listed) {
        return !cache_ordered_overtaken(s, &scope->ordered);
    }
    const uint64_t now = base_load_sc(cache_stamp(s, hash)); /* as in cache_shared_came */
    *stamp = cache_captured(s, now);
    if (change == L1_CHANGE_BACKFILL && cache_is_late(hash)) { return false; }
    /* no change of the key was pending at the start: cache_tier_fetch */
    return CACHE_STAMP_CHANGES(now) == scope->expect &&
           base_load_acq(&s->glob_epoch) == scope->globs;
}

/* List the ordered write of the change after the raise of its stamp: see cache_write_order_use. */
BASE_NOINLINE static void cache_commit_ordered(const cache_store *s, uint64_t hash,
                                               uint32_t generation, const void *key, size_t key_len,
                                               uint64_t *stamp)
{
    cache_scope *scope = base_thread_self()->change_scopes;
    cache_ordered *t = &scope->ordered;
    t->bytes = key;
    t->hash = hash;
    t->len = (uint32_t)key_len;
    t->generation = generation;
    t->fill = false;
    if (cache_ordered_list(s, t) && scope->raised == 0) {
        scope->below = CACHE_BELOW_CALL; /* an older change of the key is about to write */
        cache_stamp_raise(s, hash, cache_stamp(s, hash), scope, stamp);
    }
}

/* Update the running loads of this key. A change invalidates them; the leader may publish only if
 * its own load is still valid. Without open loads this reads two rarely written lines. */
BASE_NOINLINE static bool cache_commit_flights(flight_table *t, uint64_t hash, uint32_t generation,
                                               const void *bytes, size_t key_len, l1_change change)
{
    const flight_key key = { bytes, (uint32_t)key_len, generation, hash };
    if (change == L1_CHANGE_PUBLISH) { return flight_may_publish(t, &key); }
    if (change > L1_CHANGE_UPDATE) { return true; } /* the value stays */
    if (flight_any(t, hash)) { flight_invalidate(t, &key, NULL); }
    return true;
}

/* Refuse a write of an ended generation: it would revive a value from before the clear. */
CELLAR_PRIVATE bool cache_change_window(void *ctx, uint64_t hash, uint32_t generation,
                                        const void *key, size_t key_len, l1_change change,
                                        uint64_t *stamp)
{
    cache_store *s = ctx;
    const bool adds = change == L1_CHANGE_SET || change == L1_CHANGE_INCR ||
                      change == L1_CHANGE_UPDATE || change == L1_CHANGE_BACKFILL ||
                      change == L1_CHANGE_PUBLISH;
    if (adds && BASE_UNLIKELY(!cache_generation_alive(s, generation))) { return false; }
    const uint32_t windows = base_load_sc(&s->windows);
    if (BASE_LIKELY(windows == 0)) {
        *stamp = 0;
        return true;
    }
    /* Before the flights: a value that is refused unlinks no load, and a change that is not on its
     * way any more has detached the loads that began beside it (cache_tier_tell). */
    if (change == L1_CHANGE_PUBLISH && (windows & CACHE_WINDOW_STAMPS) != 0 &&
        (cache_is_late(hash) || cache_is_on_its_way(s, hash, generation, key, key_len))) {
        return false;
    }
    if (BASE_UNLIKELY((windows & CACHE_WINDOW_FLIGHTS) != 0)) {
        flight_table *flights = base_load_sc(&s->flights); /* NULL before the first load */
        if (flights != NULL &&
            !cache_commit_flights(flights, hash, generation, key, key_len, change)) {
            return false;
        }
    }
    cache_scope *scope = NULL;
    /* Without a tier nothing lies below. A change without a scope began before the first tier. */
    if ((windows & CACHE_WINDOW_STAMPS) == 0 ||
        (scope = base_thread_self()->change_scopes) == NULL || scope->tier == NULL) {
        *stamp = 0;
        return true;
    }
    if (change == L1_CHANGE_CLEAN || change == L1_CHANGE_BACKFILL) {
        return cache_commit_copy(s, hash, change, stamp);
    }
    cache_stamp_raise(s, hash, cache_stamp(s, hash), scope, stamp);
    if (BASE_UNLIKELY(base_load_sc(&s->write_order_used) != 0) &&
        scope->below != CACHE_BELOW_KNOWS) {
        cache_commit_ordered(s, hash, generation, key, key_len, stamp);
    }
    return true;
}

/* ---- the parts ---- */

typedef struct cache_step { /* one round of a change; on the stack */
    cache_scope scope;
    cache_filter filter;
    cache_promise promise;
} cache_step;

/* Return whether the change makes a value visible. */
BASE_INLINE bool cache_stores_value(const cache_change *ch, cache_change_kind kind)
{
    return kind == CACHE_PUT ? ch->spec->kind == (uint8_t)L1_VALUE
                                 : kind == CACHE_INCREMENT && ch->spec != NULL;
}

/* Return whether the step was made. A MISS of a delete refuses only a condition that wants a
 * value. */
BASE_INLINE bool cache_is_done(const cache_change *ch, cache_change_kind kind)
{
    const bool any = ch->spec == NULL || (ch->spec->flags & L1_IF_ABSENT) != 0;
    return ch->err == CELLAR_OK || (kind == CACHE_INCREMENT && ch->err == CELLAR_E_RANGE) ||
           (kind == CACHE_DELETE && any && ch->err == CELLAR_MISS);
}

BASE_INLINE bool cache_is_load(const cache_change *ch, cache_change_kind kind)
{
    return kind == CACHE_RENEW || (kind == CACHE_PUT && ch->plan == NULL);
}

/* ---- part: policy ---- */

/* Return whether the code of a failed write comes from the policy, which has counted it. */
static bool cache_policy_refused(cellar_err err)
{
    return err == CELLAR_E_DENIED || err == CELLAR_E_LIMIT || err == CELLAR_E_UNSUPPORTED;
}

BASE_INLINE bool cache_policy_wants(const cellar *c, bool adds)
{
    return adds && (base_load_rlx(&c->carries) & CACHE_CARRIES_POLICY) != 0;
}

/* Let the policy of the namespace change the plan, or refuse the write. */
static void cache_policy_before(cache_change *ch, cache_step *r)
{
    (void)r;
    if (ch->plan == NULL || ch->spec == NULL || (ch->flags & CACHE_JUDGED) != 0) { return; }
    ch->flags |= CACHE_JUDGED;
    ch->spec->replaced = false; /* without a step, these two would be of an earlier key */
    ch->spec->gone = L1_GONE_NOTHING;
    ch->err = cache_plan_judge(ch->c, ch->k, ch->plan);
}

/* ---- part: tier ---- */

BASE_INLINE bool cache_tier_wants(const cellar *c, bool adds)
{
    (void)adds;
    return cache_is_observed(c->store); /* listeners, too: the step is told in order */
}

/* Return whether a call of the program writes the value of a key, or deletes it. */
static bool cache_is_write(const cache_change *ch)
{
    const uint32_t not_written = CACHE_MATCHED | CACHE_OUTSIDE | CACHE_COPY;
    switch (ch->kind) {
    case CACHE_PUT:
        return ch->spec->change != L1_CHANGE_PUBLISH &&
               (ch->spec->kind == (uint8_t)L1_VALUE || cache_shared_of(ch->c) != NULL);
    case CACHE_DELETE: return (ch->flags & not_written) == 0;
    case CACHE_INCREMENT: return true;
    case CACHE_TOUCH:
    case CACHE_RENEW: break;
    }
    return false;
}

/* Return the promise of the change. */
static cache_promise cache_change_promise(const cache_change *ch)
{
    const cache_tier *t = cache_tier_of(ch->c);
    if (t == NULL) { return CACHE_LATER; }
    if (cache_tier_is_behind(t) || cache_tier_is_shared(t)) {
        if ((ch->flags & CACHE_ASKS) != 0) { return CACHE_ASKED; }
        if (!cache_is_write(ch)) { return CACHE_LATER; }
        cache_write_order_use(ch->c->store);
        return CACHE_THROUGH;
    }
    return ch->kind == CACHE_DELETE || (ch->flags & CACHE_OUTSIDE) != 0
               ? CACHE_LATER : cache_promise_of(ch->c, (ch->flags & CACHE_DURABLE_SET) != 0);
}

#define CACHE_DELETE_OTHER (CACHE_MATCHED | CACHE_REMOTE | CACHE_ASKS | CACHE_FAILED)

/* Return the cause of a delete. */
static cellar_cause cache_delete_cause(uint32_t flags, const cache_ask *ask)
{
    if (ask != NULL && ask->stores) { return CELLAR_CAUSE_REPLACED; }
    return (flags & CACHE_MATCHED) != 0  ? CELLAR_CAUSE_PATTERN
           : (flags & CACHE_FAILED) != 0 ? CELLAR_CAUSE_REJECTED
           : (flags & CACHE_REMOTE) != 0 ? CELLAR_CAUSE_REMOTE : CELLAR_CAUSE_DELETED;
}

/* Begin the scope, by which the window raises the stamp of the key. */
static void cache_tier_before(cache_change *ch, cache_step *r)
{
    const bool stores = ch->kind == CACHE_PUT || ch->kind == CACHE_INCREMENT;
    l1_put_spec *p = stores ? ch->spec : NULL;
    r->promise = cache_change_promise(ch);
    cache_scope_push(&r->scope, ch->c, stores, p != NULL && p->kind == (uint8_t)L1_NEGATIVE);
    r->scope.ask = ch->ask;
    r->scope.order = ch->order;
    const bool other = (ch->flags & CACHE_DELETE_OTHER) != 0;
    r->scope.cause = other ? (uint8_t)cache_delete_cause(ch->flags, ch->ask) : 0;
    const cache_tier *t = cache_tier_of(ch->c);
    const bool knows = t != NULL && cache_tier_disk(t) == NULL && /* else it kills a copy */
                       (ch->kind != CACHE_DELETE || (ch->flags & CACHE_COPY) != 0);
    r->scope.below = (ch->flags & CACHE_OUTSIDE) != 0 ? CACHE_BELOW_KNOWS
                     : r->promise != CACHE_LATER ? CACHE_BELOW_CALL
                     : knows ? CACHE_BELOW_KNOWS : CACHE_BELOW_KILL;
    const bool shared = cache_shared_of(ch->c) != NULL;
    if (r->promise != CACHE_LATER && p != NULL && p->l2_addr == 0 && !shared) {
        p->l2_addr = L1_ADDR_LATER;
    }
}

/* What a delete puts into a tier that takes writes. */
static const l1_put_spec cache_absent = { .deadline_ms = BASE_NEVER_MS,
                                          .kind = (uint8_t)L1_NEGATIVE };

/* Tell the shared tier, after all older changes of the key. p NULL: remove the key. */
static cellar_err cache_share(cellar *c, cache_shared *h, const l1_key *k, const l1_put_spec *p,
                              cache_ask *ask, cache_ordered *ordered)
{
    const cache_store *s = c->store;
    if (!cache_ordered_begin(s, ordered)) { /* a newer change has its own code */
        return ask != NULL ? CELLAR_CONFLICT : CELLAR_OK;
    }
    const cellar_err said = ask != NULL ? ask->fn(ask, h, k)
                            : p != NULL ? cache_shared_put(h, k, p) : cache_shared_remove(h, k);
    /* Only an unconditional change hides the older ones. An ask did not see them, and after an
     * error the tier has the old value: they follow in their order. */
    const bool hides = ask == NULL && (said == CELLAR_OK || said == CELLAR_DEFERRED);
    if (hides) { cache_ordered_done(s, ordered); } else { cache_ordered_pause(s, ordered); }
    return said;
}

/* Detach the loads that began beside the change: they may have read the source or the tier before
 * the tier had the change. No later call joins them, and memory keeps none of their results. */
static void cache_tier_ends_loads(const cache_store *s, const l1_key *k)
{
    flight_table *t = base_load_sc(&s->flights);
    const flight_key key = { k->bytes, k->len, k->generation, k->hash };
    base_fence_sc(); /* a load that is not seen here finds what the tier has now */
    if (t != NULL && flight_any(t, k->hash)) { flight_invalidate(t, &key, NULL); }
}

/* Call the tier, as the ordered write of the change if it has one, and lower the stamp: with a
 * promise, store the entry there, `p`, or with NULL what L1 has; else kill the copy. */
BASE_NOINLINE static cellar_err cache_tier_tell(cellar *c, const l1_key *k, cache_scope *f,
                                                const l1_put_spec *p, cache_promise promise)
{
    const cache_store *s = c->store;
    const cache_tier *t = cache_tier_of(c);
    cellar_err below = CELLAR_OK;
    if (f->raised != 0 && t != NULL) {
        l2 *d = cache_tier_disk(t);
        if (cache_tier_is_shared(t)) {
            below =
                cache_share(c, t->ctx, k, promise != CACHE_LATER && p != &cache_absent ? p : NULL,
                            promise == CACHE_ASKED ? f->ask : NULL, &f->ordered);
        } else if (promise != CACHE_LATER) {
            below = cache_tier_store(c, k, p, promise, &f->ordered);
        } else if (d != NULL && cache_ordered_begin(s, &f->ordered)) {
            const l2_key key = cache_disk_key(k);
            l2_invalidate(d, &key);
            cache_ordered_done(s, &f->ordered);
        }
        if (d == NULL) { cache_tier_ends_loads(s, k); }
    }
    cache_scope_pop(f); /* until here for l1_clean */
    if (f->raised != 0) { (void)base_sub_ar(f->word, f->raised); }
    if (f->ordered.listed) { cache_ordered_leave(s, &f->ordered); }
    return below;
}

/* Tell a queue the sum of a counter. */
BASE_NOINLINE static cellar_err cache_tier_tell_sum(cache_change *ch, cache_scope *f,
                                                    cache_promise promise)
{
    l1_put_spec sum = { .deadline_ms = 0 }; /* ONLY_IF_PRESENT: no counter is new */
    if (ch->spec != NULL) { sum = *ch->spec; }
    sum.change = L1_CHANGE_INCR;
    sum.value = &ch->number;
    sum.value_len = sizeof ch->number;
    return cache_tier_tell(ch->c, ch->k, f, &sum, promise);
}

/* End the present entry of the key, without a call of the tier. */
BASE_COLD static void cache_write_ends(const cache_change *ch)
{
    l1_key now = *ch->k;
    cache_rekey(ch->c, &now);
    cache_change end = { .c = ch->c, .k = &now, .kind = CACHE_DELETE,
                         .flags = CACHE_OUTSIDE | CACHE_BATCH };
    (void)cache_change_run(&end);
}

/* Return whether memory must not keep the present entry of the key. `done`: the step changed it.
 * After a clear the entry is of a change that does not wait for the ordered write of this one, or
 * of a read: it may be older than what the tier has now. A write that a shared tier does not have
 * must not be in memory either. */
static bool cache_write_must_end(const cache_change *ch, const cache_step *r, bool done)
{
    const cache_tier *t = cache_tier_of(ch->c);
    if (t == NULL || r->scope.raised == 0) { return false; }
    const bool through = done && r->promise == CACHE_THROUGH, shared = cache_tier_is_shared(t);
    if (through && shared && ch->below != CELLAR_OK && ch->kind != CACHE_DELETE) { return true; }
    return (shared || (through && cache_tier_is_behind(t))) &&
           BASE_UNLIKELY(!cache_generation_alive(ch->c->store, ch->k->generation));
}

/* Return whether the disk has an entry of the key that the step did not find in memory. */
static bool cache_was_on_disk(const cache_change *ch)
{
    const cache_tier *t = cache_tier_of(ch->c);
    l2 *d = t != NULL && ch->gone == L1_GONE_NOTHING ? cache_tier_disk(t) : NULL;
    return d != NULL && l2_indexed(d, ch->k->hash);
}

static void cache_tier_after(cache_change *ch, cache_step *r)
{
    if (r->scope.raised == 0 && !r->scope.ordered.listed) {
        cache_scope_pop(&r->scope);
        return;
    }
    const bool deletes = ch->kind == CACHE_DELETE;
    const bool done = cache_is_done(ch, ch->kind);
    if (deletes && cache_was_on_disk(ch)) { ch->flags |= CACHE_WAS_ON_DISK; }
    const cache_promise promise = done ? r->promise : CACHE_LATER;
    const cache_tier *t = cache_tier_of(ch->c);
    ch->below = ch->kind == CACHE_INCREMENT && t != NULL && cache_tier_is_behind(t)
        ? cache_tier_tell_sum(ch, &r->scope, promise)
        : cache_tier_tell(ch->c, ch->k, &r->scope,
                          deletes ? &cache_absent : ch->kind == CACHE_PUT ? ch->spec : NULL,
                          promise);
    if (BASE_UNLIKELY(cache_write_must_end(ch, r, done))) { cache_write_ends(ch); }
}

/* ---- part: a disk that did not open ---- */

BASE_INLINE bool cache_lack_wants(const cellar *c, bool adds)
{
    return adds && (base_load_rlx(&c->carries) & CACHE_CARRIES_LACK) != 0;
}

static void cache_lack_after(const cache_change *ch, const cache_step *r)
{
    (void)r;
    const bool adds = ch->kind == CACHE_PUT || ch->kind == CACHE_INCREMENT;
    if (!cache_lack_wants(ch->c, adds) || ch->err != CELLAR_OK ||
        (ch->spec != NULL && ch->spec->kind == (uint8_t)L1_ERROR)) {
        return;
    }
    stats_count(ch->c->stats, STATS_L2_NOT_THROUGH, 1);
}

/* ---- part: Bloom filter ---- */

BASE_INLINE bool cache_bloom_wants(const cellar *c, bool adds)
{
    return adds && base_load_acq(&c->bloom) != NULL;
}

/* Add the key to the filter before its value is visible. */
static void cache_bloom_before(cache_change *ch, cache_step *r)
{
    r->filter = (cache_filter){ NULL, 0, 0 };
    if (cache_stores_value(ch, ch->kind)) { cache_filter_begin(ch->c, ch->k, &r->filter); }
}

static void cache_bloom_after(cache_change *ch, cache_step *r)
{
    if (cache_stores_value(ch, ch->kind)) { cache_filter_end(ch->c, ch->k, &r->filter); }
}

/* Add the key to a filter that was opened meanwhile. */
BASE_ALWAYS_INLINE void cache_bloom_late(const cache_change *ch, cache_change_kind kind)
{
    cache_filter none = { NULL, 0, 0 };
    if (cache_stores_value(ch, kind)) { cache_filter_end(ch->c, ch->k, &none); }
}

/* ---- part: what the change ended ---- */

static cellar_cause cache_cause_of(l1_gone gone, cellar_cause cause)
{
    if (BASE_LIKELY(gone <= L1_GONE_NEGATIVE)) { return cause; }
    return gone == L1_GONE_EXPIRED ? CELLAR_CAUSE_EXPIRED : CELLAR_CAUSE_TAG;
}

/* Note why a step stored no value. */
BASE_ALWAYS_INLINE void cache_explain_failed(const cache_change *ch, cache_change_kind kind)
{
    cache_store *s = ch->c->store;
    if (kind == CACHE_PUT && BASE_UNLIKELY(ch->err != CELLAR_OK)) {
        if (cache_is_load(ch, kind) && ch->err == CELLAR_CONFLICT) {
            cache_why_note(s, ch->k->hash, CELLAR_CAUSE_INVALIDATED);
        } else if (!cache_is_load(ch, kind) && ch->err < 0) {
            cache_why_note(s, ch->k->hash, ch->err == CELLAR_E_DENIED ? CELLAR_CAUSE_DENIED
                                                                      : CELLAR_CAUSE_REJECTED);
        }
    } else if (kind == CACHE_INCREMENT && BASE_UNLIKELY(ch->err == CELLAR_E_DENIED)) {
        cache_why_note(s, ch->k->hash, CELLAR_CAUSE_DENIED);
    }
}

CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err)
{
    stats_add(mine, STATS_STORE_ERROR, 1);
    if (err == CELLAR_E_TOOBIG) {
        stats_add(mine, STATS_REFUSED_TOOBIG, 1);
    } else {
        stats_add(mine, err == CELLAR_E_SPACE ? STATS_REFUSED_SPACE : STATS_REFUSED_NOMEM, 1);
    }
}

BASE_ALWAYS_INLINE void cache_ended_put(const cache_change *ch, stats_block *mine)
{
    const l1_put_spec *p = ch->spec;
    const stats_id id = p->kind == (uint8_t)L1_NEGATIVE ? STATS_EVICT_NEGATIVE
                                                        : STATS_EVICT_REPLACED;
    if (BASE_LIKELY(ch->err == CELLAR_OK)) {
        if (!cache_is_load(ch, CACHE_PUT)) { stats_add(mine, STATS_SET, 1); }
        if (p->replaced) {
            stats_add(mine, id, 1);
        } else if (BASE_UNLIKELY(p->gone != L1_GONE_NOTHING)) {
            cache_count_gone(mine, p->gone, id);
        } else {
            cache_entry_counted(ch->c, ch->k, mine, STATS_ENTRY_IN);
        }
        return;
    }
    if (p->gone != L1_GONE_NOTHING) {
        cache_entry_counted(ch->c, ch->k, mine, STATS_ENTRY_OUT);
    }
    if (ch->err > 0) { /* EXISTS, MISS, CONFLICT */
        if (p->change == L1_CHANGE_SET) { stats_add(mine, STATS_CONDITION, 1); }
        return;
    }
    const bool judged = (ch->flags & CACHE_JUDGED) != 0 && cache_policy_refused(ch->err);
    if (!judged) { cache_count_refused(mine, ch->err); }
    cache_count_gone(mine, p->gone, STATS_EVICT_REJECTED);
}

/* Return the counter of a removed entry. */
static stats_id cache_delete_counter(cellar_cause cause)
{
    return cause == CELLAR_CAUSE_PATTERN ? STATS_EVICT_GLOB
           : cause == CELLAR_CAUSE_REMOTE ? STATS_EVICT_REMOTE
           : cause == CELLAR_CAUSE_REJECTED ? STATS_EVICT_REJECTED
           : cause == CELLAR_CAUSE_REPLACED ? STATS_EVICT_REPLACED : STATS_EVICT_DELETED;
}

BASE_ALWAYS_INLINE void cache_ended_delete(const cache_change *ch, stats_block *mine)
{
    const bool found = ch->err == CELLAR_OK, counted = (ch->flags & CACHE_COUNTED) != 0;
    if (!found && ch->gone == L1_GONE_NOTHING && (ch->flags & CACHE_WAS_ON_DISK) == 0) { return; }
    const bool other = BASE_UNLIKELY((ch->flags & CACHE_DELETE_OTHER) != 0);
    const cellar_cause cause =
        other ? cache_delete_cause(ch->flags, ch->ask) : CELLAR_CAUSE_DELETED;
    cache_why_note_by(ch->c->store, ch->k->hash, cache_cause_of(ch->gone, cause), ch->by);
    if (BASE_LIKELY(found && !counted && !other &&
                    stats_entry_add(mine, ch->k->generation, STATS_ENTRY_OUT))) {
        stats_add_own(mine, STATS_DELETE, 1); /* not shared: stats_entry_add */
        stats_add_own(mine, STATS_EVICT_DELETED, 1);
        return;
    }
    const bool deletes = (ch->flags & (CACHE_OUTSIDE | CACHE_ASKS | CACHE_FAILED)) == 0 ||
                         (ch->flags & CACHE_MATCHED) != 0;
    if (found && deletes) { stats_add(mine, STATS_DELETE, 1); }
    cache_count_gone(mine, found ? L1_GONE_VALUE : ch->gone, cache_delete_counter(cause));
    if (!counted) { cache_entry_slow(ch->c, ch->k, STATS_ENTRY_OUT); }
}

/* Note and count what the change ended, and why it failed. */
BASE_ALWAYS_INLINE void cache_ended_end(cache_change *ch, cache_change_kind kind)
{
    stats_block *mine = cache_mine(ch->c);
    cache_explain_failed(ch, kind);
    switch (kind) {
    case CACHE_PUT: cache_ended_put(ch, mine); return;
    case CACHE_DELETE: cache_ended_delete(ch, mine); return;
    case CACHE_INCREMENT:
        if (ch->err == CELLAR_OK || ch->err == CELLAR_E_RANGE) {
            cache_count_gone(mine, ch->gone, STATS_EVICT_REPLACED);
            stats_add(mine, STATS_SET, 1);
        } else if (ch->err == CELLAR_E_SPACE || ch->err == CELLAR_E_NOMEM ||
                   ch->err == CELLAR_E_TOOBIG) {
            cache_count_gone(mine, ch->gone, STATS_EVICT_REJECTED);
            cache_count_refused(mine, ch->err);
            cache_why_note(ch->c->store, ch->k->hash, CELLAR_CAUSE_REJECTED);
        }
        return;
    case CACHE_TOUCH:
    case CACHE_RENEW: return;
    }
}

/* ---- part: durability ---- */

/* Return the public call that makes the change, for texts. */
static const char *cache_change_call(cache_change_kind kind, uint32_t flags,
                                     const l1_put_spec *spec)
{
    switch (kind) {
    case CACHE_PUT:
        return (flags & CACHE_BATCH) != 0 ? "cellar_set_many"
               : (spec->flags & L1_OBJECT) != 0 ? "cellar_object_set"
               : spec->change == L1_CHANGE_UPDATE ? "cellar_update"
               : spec->change == L1_CHANGE_PUBLISH ? "load" : "cellar_set";
    case CACHE_INCREMENT: return "cellar_increment";
    case CACHE_TOUCH:
    case CACHE_RENEW: return "cellar_touch";
    case CACHE_DELETE: break;
    }
    return "cellar_delete";
}

/* Acknowledge the change if the tier has what was promised. */
BASE_COLD static cellar_err cache_ack(cellar *c, uint32_t flags, cellar_err err)
{
    if ((flags & CACHE_BATCH) != 0) { return err; }
    return (flags & CACHE_DURABLE_SET) != 0 ? cache_tier_commit(c, cache_tier_of(c), err)
                                            : cache_acked(c, err);
}

/* Wait for the tier. A load answers with its value even if the tier does not have it. */
BASE_ALWAYS_INLINE void cache_durability_end(cache_change *ch, cache_change_kind kind)
{
    if (BASE_UNLIKELY(cache_tier_of(ch->c) != NULL) && cache_is_done(ch, kind) &&
        !cache_is_load(ch, kind)) {
        ch->err = ch->below != CELLAR_OK && ch->err >= CELLAR_OK
                      ? cache_tier_code(ch->c, cache_change_call(kind, ch->flags, ch->spec),
                                        ch->below)
                      : cache_ack(ch->c, ch->flags, ch->err);
    }
}

/* List the parts, a row for each: whether it wants to hear of each step of the change; functions
 * before a step, after it, after a step that no part wanted, and at the end of the change. */
#define CACHE_PARTS(X)                                                                      \
    X(cache_policy_wants, cache_policy_before, CACHE_SKIP, CACHE_SKIP, CACHE_SKIP)          \
    X(cache_tier_wants, cache_tier_before, cache_tier_after, CACHE_SKIP, CACHE_SKIP)        \
    X(cache_lack_wants, CACHE_SKIP, cache_lack_after, CACHE_SKIP, CACHE_SKIP)               \
    X(cache_bloom_wants, cache_bloom_before, cache_bloom_after, cache_bloom_late, CACHE_SKIP) \
    X(CACHE_NEVER, CACHE_SKIP, CACHE_SKIP, CACHE_SKIP, cache_ended_end)                     \
    X(CACHE_NEVER, CACHE_SKIP, CACHE_SKIP, CACHE_SKIP, cache_durability_end)

#define CACHE_NEVER(...) false
#define CACHE_SKIP(...) (void)0
#define CACHE_PART_WANTS(wants, before, after, late, end) || wants(c, adds)
#define CACHE_PART_BEFORE(wants, before, after, late, end) before(ch, &r);
#define CACHE_PART_AFTER(wants, before, after, late, end) after(ch, &r);
#define CACHE_PART_LATE(wants, before, after, late, end) late(ch, kind);
#define CACHE_PART_END(wants, before, after, late, end) end(ch, kind);

/* Return whether a part wants to hear of each step of the change. */
BASE_ALWAYS_INLINE bool cache_parts_want(const cellar *c, cache_change_kind kind)
{
    const bool adds = kind == CACHE_PUT || kind == CACHE_INCREMENT;
    return false CACHE_PARTS(CACHE_PART_WANTS);
}

/* ---- one round ---- */

BASE_ALWAYS_INLINE void cache_step_deadline(const cache_change *ch)
{
    if (ch->plan != NULL && ch->spec != NULL) {
        ch->spec->deadline_ms = cache_plan_deadline(ch->c, ch->plan, ch->k->hash);
    }
}

BASE_ALWAYS_INLINE cellar_err cache_step_l1(cache_change *ch, cache_change_kind kind)
{
    static const l1_put_spec there = { .deadline_ms = BASE_NEVER_MS };
    l1 *l = ch->c->l1;
    l1_gone gone = L1_GONE_NOTHING; /* results in locals: `ch` stays in registers */
    int64_t number = 0;
    cellar_err err = CELLAR_OK;
    switch (kind) {
    case CACHE_PUT: return l1_put(l, ch->k, ch->spec);
    case CACHE_DELETE:
        err = ch->spec == NULL ? l1_del_reported(l, ch->k, NULL, &gone)
                               : l1_del_if(l, ch->k, ch->spec, &gone);
        break;
    case CACHE_INCREMENT:
        err = l1_incr_reported(l, ch->k, ch->delta, ch->init,
                               ch->spec != NULL ? ch->spec : &there, ch->spec == NULL,
                               &number, NULL, &gone);
        ch->number = number;
        break;
    case CACHE_TOUCH:
        err = l1_touch(l, ch->k, ch->deadline_ms, -1, NULL);
        break;
    case CACHE_RENEW: return l1_renew(l, ch->k, ch->renewal, NULL);
    }
    if (gone != L1_GONE_NOTHING) { ch->gone = gone; }
    return err;
}

/* Make a step that stores with the tag of the life of the namespace in front of its tags. A load
 * has its birth from its flight, a write without tags is born now. */
static cellar_err cache_step_with_life(cache_change *ch, const cache_shared *h)
{
    uint64_t fps[BASE_TAGS_MAX];
    l1_put_spec *p = ch->spec;
    if (ch->kind == CACHE_RENEW && ch->renewal->tag_count != 0) {
        l1_renewal r = *ch->renewal;
        r.tag_count = cache_shared_tags(h, r.tag_fps, r.tag_count, fps);
        r.tag_fps = fps;
        return l1_renew(ch->c->l1, ch->k, &r, NULL);
    }
    if (ch->kind != CACHE_PUT) { return cache_step_l1(ch, ch->kind); }
    const uint64_t *const own = p->tag_fps;
    const uint32_t count = p->tag_count;
    if (count == 0 && p->change != L1_CHANGE_PUBLISH) {
        p->tag_born = base_load_acq(&ch->c->store->tag_epoch);
    }
    p->tag_count = cache_shared_tags(h, own, count, fps);
    p->tag_fps = fps;
    const cellar_err err = cache_step_l1(ch, CACHE_PUT);
    p->tag_fps = own; /* the tier gets the tags of the program */
    p->tag_count = count;
    return err;
}

/* Make a step between what the parts do before and after it. */
static void cache_step_with_parts(cache_change *ch)
{
    cache_step r;
    ch->err = CELLAR_OK;
    CACHE_PARTS(CACHE_PART_BEFORE)
    cache_step_deadline(ch);
    const cache_shared *h = cache_shared_of(ch->c);
    if (h != NULL && ch->spec != NULL) {
        ch->spec->deadline_ms = cache_shared_until(h, ch->spec->deadline_ms);
    }
    if (ch->err == CELLAR_OK) {
        ch->err = h != NULL && h->life != 0 ? cache_step_with_life(ch, h)
                                            : cache_step_l1(ch, ch->kind);
    }
    CACHE_PARTS(CACHE_PART_AFTER)
}

/* Make a step that no part wants to hear of. */
BASE_ALWAYS_INLINE void cache_step_without_parts(cache_change *ch, cache_change_kind kind)
{
    cache_step_deadline(ch);
    ch->err = cache_step_l1(ch, kind);
    CACHE_PARTS(CACHE_PART_LATE)
}

/* ---- rounds ---- */

/* Look for the entry in the tier. Return whether to ask L1 again. A MISS stays if the tier has
 * none. To an increment a negative entry is none. */
static bool cache_change_brings(cache_change *ch)
{
    if (ch->err != CELLAR_MISS || ch->spec != NULL) { return false; }
    ch->wait.call = cache_change_call(ch->kind, ch->flags, NULL);
    const cellar_err err = cache_bring(ch->c, ch->k, &ch->wait);
    ch->err = err == CELLAR_ABSENT && ch->kind == CACHE_INCREMENT ? CELLAR_MISS : err;
    return err == CELLAR_OK;
}

CELLAR_PRIVATE bool cache_older_load_ends(const cellar *c, const l1_key *k)
{
    flight_table *t = base_load_sc(&c->store->flights);
    const flight_key key = { k->bytes, k->len, k->generation, k->hash };
    int64_t start_ms;
    if (t == NULL || cache_shared_of(c) != NULL || !flight_since(t, &key, &start_ms)) {
        return false;
    }
    flight_invalidate(t, &key, NULL);
    return true;
}

/* Plan a new counter, unless the call wants only an existing one. */
static bool cache_change_creates(cache_change *ch)
{
    if (ch->err != CELLAR_MISS || ch->plan == NULL || ch->spec != NULL) { return false; }
    ch->err = cache_plan_make(ch->c, ch->opts, CACHE_FOR_INCREMENT, ch->plan);
    if (ch->err != CELLAR_OK) { return false; }
    ch->spec = &ch->plan->spec;
    ch->spec->change = L1_CHANGE_INCR;
    return true;
}

/* Retry with the new generation of the namespace. */
static bool cache_change_rekeys(cache_change *ch, unsigned rounds)
{
    if (cache_is_closed(ch->c)) {
        ch->err = CELLAR_E_CLOSED;
    } else if (rounds == CACHE_ROUNDS) {
        ch->err = CELLAR_E_BUSY;
    } else {
        cache_rekey(ch->c, ch->k);
        return true;
    }
    return false;
}

/* Return whether the change needs one more round. The same for a delete: a load of the new
 * generation must not outlive it. */
BASE_COLD static bool cache_change_repeats(cache_change *ch, unsigned rounds)
{
    const cache_store *s = ch->c->store;
    switch (ch->kind) {
    case CACHE_PUT:
        if (ch->plan == NULL) { return false; } /* of a load */
        if (ch->err == CELLAR_MISS) { return cache_older_load_ends(ch->c, ch->k); }
        return (ch->spec->flags & (L1_IF_VERSION | L1_IF_SAME)) == 0 &&
               cache_change_rekeys(ch, rounds);
    case CACHE_INCREMENT:
        return cache_change_brings(ch) || cache_change_creates(ch) ||
               (ch->err == CELLAR_MISS && cache_older_load_ends(ch->c, ch->k)) ||
               (ch->err == CELLAR_CONFLICT && cache_change_rekeys(ch, rounds));
    case CACHE_DELETE:
        if (ch->err == CELLAR_OK) { ch->flags |= CACHE_FOUND; }
        if (ch->spec == NULL && (ch->flags & CACHE_ASKS) == 0 && rounds <= CACHE_ROUNDS &&
            !cache_is_closed(ch->c) && !cache_generation_alive(s, ch->k->generation)) {
            cache_rekey(ch->c, ch->k);
            return true;
        }
        if ((ch->flags & CACHE_FOUND) != 0) { ch->err = CELLAR_OK; }
        return false;
    case CACHE_TOUCH: return cache_change_brings(ch);
    case CACHE_RENEW: break;
    }
    return false;
}

/* Return whether cache_change_repeats has to be asked. Without flights no value was ever loaded. */
BASE_ALWAYS_INLINE bool cache_change_may_repeat(const cache_change *ch, cache_change_kind kind)
{
    switch (kind) {
    case CACHE_PUT:
    case CACHE_INCREMENT: return ch->err == CELLAR_CONFLICT || ch->err == CELLAR_MISS;
    case CACHE_DELETE: return ch->spec == NULL && base_load_sc(&ch->c->store->flights) != NULL;
    case CACHE_TOUCH: return ch->err == CELLAR_MISS;
    case CACHE_RENEW: break;
    }
    return false;
}

/* Note why a change failed. Return its code. cache_ack has noted the code of a tier. */
BASE_COLD static cellar_err cache_change_failed(cellar *c, cache_change_kind kind, uint32_t flags,
                                                cellar_err err, cellar_err below,
                                                const l1_put_spec *spec)
{
    const char *const call = cache_change_call(kind, flags, spec);
    if (err == CELLAR_E_CLOSED) { return cache_closed(c, call); }
    if (err == CELLAR_E_BUSY) {
        static const cache_broken cleared = { .rule = "the namespace was cleared in each of 64 "
                                                      "tries: retry" };
        stats_count(c->stats, STATS_LIMIT_RETRIES, 1);
        return cache_fail_broken(c, err, call, &cleared);
    }
    if (kind != CACHE_PUT || err == CELLAR_E_IO || err == below) { return err; }
    cache_broken b = { .rule = "no memory for the value: the system gave none" };
    if (err == CELLAR_E_TOOBIG && (spec->flags & L1_OBJECT) == 0 &&
        spec->value_len > l1_max_value(c->l1)) {
        return cache_fail_long(c, call, spec->value_len);
    }
    if (err == CELLAR_E_TOOBIG) {
        (void)cache_breaks_size(&b, err, "weight_bytes must be at most half of memory_bytes: raise "
                                         "memory_bytes", spec->charge);
    } else if (err == CELLAR_E_SPACE) {
        (void)cache_breaks_size(&b, err, "the value does not fit: raise memory_bytes",
                                spec->value_len);
    } else if (err != CELLAR_E_NOMEM) {
        return err;
    }
    return cache_fail_broken(c, err, call, &b);
}

BASE_ALWAYS_INLINE cellar_err cache_change_end(cache_change *ch, cache_change_kind kind)
{
    CACHE_PARTS(CACHE_PART_END)
    if (BASE_LIKELY(ch->err >= 0)) { return ch->err; }
    return cache_change_failed(ch->c, kind, ch->flags, ch->err, ch->below,
                               kind == CACHE_PUT ? ch->spec : NULL);
}

/* Count the entry that a step of a delete removed, or that a step of an increment made. A later
 * round may have another generation. */
static void cache_count_step(cache_change *ch, l1_gone before)
{
    const bool stored = ch->kind == CACHE_INCREMENT &&
                        (ch->err == CELLAR_OK || ch->err == CELLAR_E_RANGE);
    const bool removed = ch->gone != L1_GONE_NOTHING;
    if (stored != removed && (ch->kind == CACHE_INCREMENT || ch->kind == CACHE_DELETE)) {
        cache_entry_slow(ch->c, ch->k, stored ? STATS_ENTRY_IN : STATS_ENTRY_OUT);
    }
    if (!removed) { ch->gone = before; }
}

BASE_NOINLINE CELLAR_PRIVATE cellar_err cache_change_run(cache_change *ch)
{
    unsigned rounds = 0;
    do {
        l1_gone before = L1_GONE_NOTHING;
        if ((ch->flags & CACHE_STEPPED) == 0) {
            before = ch->gone;
            ch->gone = L1_GONE_NOTHING;
            if (cache_parts_want(ch->c, ch->kind)) {
                cache_step_with_parts(ch);
            } else {
                cache_step_without_parts(ch, ch->kind);
            }
        }
        cache_count_step(ch, before);
        ch->flags = (ch->flags & ~CACHE_STEPPED) | CACHE_COUNTED;
    } while (cache_change_may_repeat(ch, ch->kind) && cache_change_repeats(ch, ++rounds));
    if (ch->err == CELLAR_E_BUSY || ch->err == CELLAR_E_CLOSED) {
        return cache_change_failed(ch->c, ch->kind, ch->flags, ch->err, ch->below, ch->spec);
    }
    return cache_change_end(ch, ch->kind);
}

/* Make the change as cache_change_run does, for a kind that is known here: `ch` stays in registers
 * as long as one step that no part wants to hear of is enough. */
BASE_ALWAYS_INLINE cellar_err cache_change_run_inline(cache_change *ch, cache_change_kind kind)
{
    uint32_t flags = ch->flags;
    if (BASE_LIKELY(!cache_parts_want(ch->c, kind))) {
        cache_step_without_parts(ch, kind);
        if (BASE_LIKELY(!cache_change_may_repeat(ch, kind))) { return cache_change_end(ch, kind); }
        flags |= CACHE_STEPPED;
    }
    /* field by field: no other line needs `ch` in memory */
    cache_change all = { .c = ch->c, .k = ch->k, .kind = kind, .flags = flags, .by = ch->by,
                         .spec = ch->spec, .plan = ch->plan, .opts = ch->opts, .delta = ch->delta,
                         .init = ch->init, .err = ch->err, .gone = ch->gone };
    const cellar_err err = cache_change_run(&all);
    ch->number = all.number;
    return err;
}

CELLAR_PRIVATE cellar_err cache_increment_key(cellar *c, l1_key *k, int64_t delta, int64_t init,
                                              const cellar_set_opts *if_new, int64_t *number)
{
    cache_plan plan; /* of a new counter: an existing one needs neither clock nor options */
    cache_change ch = { .c = c, .k = k, .plan = if_new != NULL ? &plan : NULL, .opts = if_new,
                        .delta = delta, .init = init };
    const cellar_err err = cache_change_run_inline(&ch, CACHE_INCREMENT);
    *number = ch.number;
    return err;
}

/* Remove the old value of a key that a set failed to replace, unless it has a flag of `keeps`. */
BASE_COLD static void cache_put_removes(cellar *c, l1_key *k, const cache_plan *plan,
                                        uint32_t keeps, cellar_cause cause)
{
    keeps |= L1_IF_ABSENT | L1_IF_VERSION | L1_IF_SAME | L1_KEEP_OLD;
    if ((plan->spec.flags & keeps) != 0) { return; }
    cache_change end = { .c = c, .k = k, .kind = CACHE_DELETE,
                         .flags = CACHE_COPY | CACHE_FAILED |
                                  (plan->commit_later ? CACHE_BATCH : 0u) };
    (void)cache_change_run(&end);
    cache_why_note(c->store, k->hash, cause);
}

/* Make a put. more: a flag of this step. */
BASE_ALWAYS_INLINE cellar_err cache_put_step(cellar *c, l1_key *k, cache_plan *plan, uint32_t more)
{
    cache_change ch = { .c = c, .k = k, .spec = &plan->spec, .plan = plan,
                        .flags = (plan->durable ? CACHE_DURABLE_SET : 0u) |
                                 (plan->commit_later ? CACHE_BATCH : 0u) };
    plan->spec.flags |= more;
    const cellar_err err = cache_change_run_inline(&ch, CACHE_PUT);
    plan->spec.flags &= ~more;
    if (BASE_UNLIKELY(err == CELLAR_E_DENIED)) {
        cache_put_removes(c, k, plan, L1_IF_PRESENT, CELLAR_CAUSE_DENIED);
    }
    if (err == CELLAR_OK && plan->version_out != NULL) { *plan->version_out = plan->spec.version; }
    return err;
}

/* Let the tier make a conditional put. Or bring the key from the tier, because conditions on its
 * presence include the tier, and put if memory has a value. If memory evicts that before the step,
 * it is brought again. PENDING: there is no value. */
BASE_COLD static cellar_err cache_put_if(cellar *c, l1_key *k, cache_plan *plan)
{
    const cache_tier *t = cache_tier_of(c);
    const uint32_t flags = plan->spec.flags;
    l1_info info;
    if (t != NULL && t->put_if != NULL) { return t->put_if(c, k, plan); }
    if (t == NULL || (flags & (L1_IF_ABSENT | L1_IF_PRESENT | L1_KEEP_TTL)) == 0) {
        return CELLAR_PENDING;
    }
    cellar_err err = CELLAR_OK;
    cache_wait w = { .call = plan->commit_later ? "cellar_set_many" : "cellar_set",
                     .until_ns = plan->until_ns };
    while (err == CELLAR_OK) {
        const cellar_err here = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK);
        if (here == CELLAR_OK) {
            const cellar_err put = cache_put_step(c, k, plan, L1_IF_PRESENT & ~flags);
            if (put != CELLAR_MISS) { return put; }
        } else if (here != CELLAR_MISS) {
            break;
        }
        err = cache_bring(c, k, &w);
    }
    plan->until_ns = w.until_ns;
    if (err == CELLAR_E_TOOBIG || err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM) {
        /* the old value is there, on disk */
        cache_count_refused(cache_mine(c), err);
        cache_put_removes(c, k, plan, 0, CELLAR_CAUSE_REJECTED);
    }
    return err < 0 ? err : CELLAR_PENDING;
}

CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan)
{
    const l1_put_spec *p = &plan->spec;
    const uint32_t conditions = L1_IF_ABSENT | L1_IF_PRESENT | L1_IF_VERSION | L1_KEEP_TTL |
                                L1_WANT_VERSION;
    if (BASE_UNLIKELY((p->flags & conditions) != 0) && p->change == L1_CHANGE_SET) {
        const cellar_err said = cache_put_if(c, k, plan);
        if (said != CELLAR_PENDING) { return said; }
    }
    return cache_put_step(c, k, plan, 0);
}

CELLAR_PRIVATE cellar_err cache_delete(cellar *c, l1_key *k, bool batch)
{
    cache_change ch = { .c = c, .k = k, .flags = batch ? CACHE_BATCH : 0u };
    return cache_change_run_inline(&ch, CACHE_DELETE);
}

CELLAR_PRIVATE cellar_err cache_delete_if(cellar *c, l1_key *k, l1_put_spec *only_if, bool copy)
{
    cache_change ch = { .c = c, .k = k, .kind = CACHE_DELETE, .spec = only_if,
                        .flags = copy ? CACHE_COPY : 0u };
    return cache_change_run(&ch);
}

/* Stay out of line: a set without a tier needs no space for a scope. */
BASE_NOINLINE CELLAR_PRIVATE bool cache_overwrite(cellar *c, const l1_key *k, const void *value,
                                                  size_t value_len, int64_t deadline_ms)
{
    const cache_store *s = c->store;
    cache_scope f;
    const uint32_t tiers = base_load_rlx(&s->observers_tier_only);
    if (base_load_rlx(&s->observers) > tiers) { return false; }
    cache_scope_push(&f, c, true, false);
    const bool done =
        l1_set_hit(c->l1, k, value, value_len, deadline_ms, INT64_MAX) == L1_OVER_DONE;
    if (BASE_LIKELY(f.raised == 0 && !f.ordered.listed)) {
        cache_scope_pop(&f);
    } else {
        (void)cache_tier_tell(c, k, &f, NULL, CACHE_LATER);
    }
    return done;
}
