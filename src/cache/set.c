/* SPDX-License-Identifier: MIT
 *
 * set: write one key.
 *
 * INVARIANTS A veto of the commit hook means that the namespace was cleared meanwhile. The call
 *            retries with the new generation, so a set that returns after a clear has happened
 *            after it.
 * WALK       cellar_set -> plain entry, no options, no observer except a tier: l1_set_hit {commit
 *            hook} -> [tier kill] -> counters; new key without observers: l1_set_new {commit hook}
 *            -> counters; else cache_plan_make -> cache_put (rounds) -> l1_put {commit hook} ->
 *            listeners
 * LIMITS     64 rounds against clears of the namespace, then E_BUSY.
 * SEE ALSO   plan.c (options), change.c, update.c, many.c. */
#include "cache/set.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/dependency_table.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/tier_calls.h"
#include "cache/tier_store.h"

/* ---- the only way to store ---- */

BASE_COLD CELLAR_PRIVATE cellar_err cache_put_failed(cellar *c, const l1_put_spec *p,
                                                     cellar_err err)
{
    if (err > 0) { /* EXISTS, MISS, CONFLICT */
        if (p->change == L1_CHANGE_SET) { stats_add(cache_mine(c), STATS_CONDITION, 1); }
        return err;
    }
    cache_count_refused(cache_mine(c), err);
    if (p->gone != L1_GONE_NOTHING) { cache_count_gone(c, p->gone, STATS_EVICT_REJECTED); }
    if (err == CELLAR_E_TOOBIG) {
        return cache_fail(c, err, 0, "value is longer than tuning.max_value_bytes");
    }
    return cache_fail(c, err, 0, err == CELLAR_E_SPACE ? "value does not fit: raise memory_bytes"
                                                       : "no memory for the value");
}

/* Invalidate the dependants of the value that this put ended outside the window of a change. A load
 * that replaced nothing ends none: its readers wait for its value. */
BASE_NOINLINE static void cache_put_depends(cache_store *s, const l1_key *k, const l1_put_spec *p,
                                            cellar_err err)
{
    const bool live = p->replaced || p->gone == L1_GONE_VALUE || p->gone == L1_GONE_NEGATIVE;
    if (live && (p->change == L1_CHANGE_PUBLISH ? err == CELLAR_OK : err < 0)) {
        cache_deps_changed(s, k->hash, k->generation);
    }
}

/* Put one value and inform the observers. *below: OK, or E_IO if the tier breaks its promise. */
BASE_ALWAYS_INLINE cellar_err cache_put_here(cellar *c, const l1_key *k, l1_put_spec *p,
                                             bool durable, cellar_err *below)
{
    cache_filter filter = { NULL, 0, 0 };
    const bool value = p->kind == (uint8_t)L1_VALUE;
    cellar_err err;
    if (value) { cache_filter_begin(c, k, &filter); }
    if (BASE_LIKELY(!cache_is_observed(c->store))) {
        err = l1_put(c->l1, k, p);
    } else {
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, durable);
        cache_change_begin(&f, true, p->kind == (uint8_t)L1_NEGATIVE);
        f.below = urge != CACHE_LATER;
        if (f.below && p->l2_addr == 0) { p->l2_addr = L1_ADDR_LATER; }
        err = l1_put(c->l1, k, p);
        if (err == CELLAR_OK && urge != CACHE_LATER) {
            *below = cache_change_stored(c, &f, k, p, urge);
        } else {
            cache_change_end(c, &f, k);
        }
        if (c->store->deps != NULL) { cache_put_depends(c->store, k, p, err); }
    }
    if (value) { cache_filter_end(c, k, &filter); }
    return err;
}

BASE_ALWAYS_INLINE void cache_count_here(cellar *c, const l1_put_spec *p)
{
    stats_block *mine = cache_mine(c);
    stats_add(mine, STATS_SET, 1);
    if (p->replaced) {
        stats_add(mine, p->kind == (uint8_t)L1_NEGATIVE ? STATS_EVICT_NEGATIVE
                                                        : STATS_EVICT_REPLACED, 1);
    } else if (BASE_UNLIKELY(p->gone != L1_GONE_NOTHING)) {
        cache_count_gone(c, p->gone, p->kind == (uint8_t)L1_NEGATIVE ? STATS_EVICT_NEGATIVE
                                                                     : STATS_EVICT_REPLACED);
    }
}

/* Put for leaders of loads; a separate function keeps the plain set inline. */
CELLAR_PRIVATE cellar_err cache_put_once(cellar *c, const l1_key *k, l1_put_spec *p)
{
    cellar_err below; /* counted; the loaded value is returned anyway */
    return cache_put_here(c, k, p, false, &below);
}
CELLAR_PRIVATE void cache_put_count(cellar *c, const l1_put_spec *p) { cache_count_here(c, p); }

BASE_COLD static cellar_err cache_put_acked(cellar *c, const cache_plan *plan, cellar_err below)
{
    if (c->store->tier == NULL) { return CELLAR_OK; } /* only listeners observe */
    if (below != CELLAR_OK || plan->commit_later) { return cache_through(c, below); }
    return plan->durable ? cache_tier_commit(c, CELLAR_OK) : cache_acked(c, CELLAR_OK);
}

/* Bring the key from the tier, because conditions on its presence include the tier. */
BASE_COLD static void cache_put_bring(cellar *c, const l1_key *k)
{
    l1_info info;
    if (l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK) == CELLAR_MISS) { (void)cache_brought(c, k); }
}

CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan)
{
    l1_put_spec *p = &plan->spec;
    if (BASE_UNLIKELY((p->flags & (L1_IF_ABSENT | L1_IF_PRESENT | L1_KEEP_TTL)) != 0) &&
        p->change == L1_CHANGE_SET && c->store->tier != NULL) {
        cache_put_bring(c, k);
    }
    cellar_err err = CELLAR_E_BUSY, below = CELLAR_OK;
    for (unsigned round = 0; round < CACHE_ROUNDS; round++) {
        p->deadline_ms = cache_plan_deadline(c, plan, k->hash);
        err = cache_put_here(c, k, p, plan->durable, &below);
        if (BASE_LIKELY(err != CELLAR_CONFLICT) ||
            (p->flags & (L1_IF_VERSION | L1_IF_SAME)) != 0) {
            break;
        }
        if (cache_is_closed(c)) { return cache_closed(c); }
        cache_rekey(c, k);
        err = CELLAR_E_BUSY;
    }
    if (BASE_UNLIKELY(err == CELLAR_E_BUSY)) {
        stats_count(c->stats, STATS_LIMIT_RETRIES, 1);
        return cache_fail(c, err, 0, "the namespace was cleared in each of 64 tries: retry");
    }
    if (BASE_UNLIKELY(err != CELLAR_OK)) {
        if (err < 0) { cache_why_note(c->store, k->hash, CELLAR_CAUSE_REJECTED); }
        return cache_put_failed(c, p, err);
    }
    cache_count_here(c, p);
    if (plan->version_out != NULL) { *plan->version_out = p->version; }
    return BASE_LIKELY(!cache_is_observed(c->store)) ? CELLAR_OK : cache_put_acked(c, plan, below);
}

BASE_COLD static cellar_err cache_set_refuse(cellar *c, const void *key, size_t key_len)
{
    return cache_fail_key(c, "cellar_set", key, key_len,
                          "value must not be NULL; a negative entry has no value");
}

/* Compute the deadline of a set for which the namespace sets only a time to live. Return false in
 * doubt. */
BASE_ALWAYS_INLINE bool cache_set_plain(const cellar *c, int64_t *deadline_ms)
{
    if (BASE_UNLIKELY(base_load_acq(&c->state) != 0 || base_load_rlx(&c->carries) != 0 ||
                      base_load_acq(&c->bloom) != NULL) ||
        BASE_UNLIKELY((cache_default(c, CACHE_IDLE) | cache_default(c, CACHE_STALE)) != 0)) {
        return false;
    }
    const int64_t ttl = cache_default(c, CACHE_TTL);
    *deadline_ms =
        ttl == CELLAR_TTL_NONE ? BASE_NEVER_MS : base_add_sat(base_now_ms(&c->store->clock), ttl);
    return true;
}

BASE_ALWAYS_INLINE void cache_set_counted(cellar *c, const base_thread_record *self,
                                          const l1_key *k)
{
    cache_filter none = { NULL, 0, 0 };
    cache_filter_end(c, k, &none);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_SET, 1);
}

/* Set the most common case: only a time to live, over an entry of the same size, without observers;
 * `observed`: with a tier only. Return false in doubt, with nothing done: the caller starts
 * over. */
BASE_ALWAYS_INLINE bool cache_set_over(cellar *c, const base_thread_record *self, const l1_key *k,
                                       const void *value, size_t value_len, const bool observed)
{
    int64_t deadline;
    if (!cache_set_plain(c, &deadline)) { return false; }
    cache_frame f;
    if (observed) { cache_change_begin(&f, true, false); }
    const bool done = l1_set_hit(c->l1, k, value, value_len, deadline);
    if (observed) { cache_change_end(c, &f, k); }
    if (!done) { return false; }
    cache_set_counted(c, self, k);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_EVICT_REPLACED, 1);
    return true;
}

/* Set the second most common case: the same for a new key. */
BASE_ALWAYS_INLINE bool cache_set_new(cellar *c, const base_thread_record *self, const l1_key *k,
                                      const void *value, size_t value_len)
{
    int64_t deadline;
    if (BASE_UNLIKELY(cache_is_observed(c->store)) || !cache_set_plain(c, &deadline) ||
        !l1_set_new(c->l1, k, value, value_len, deadline)) {
        return false;
    }
    cache_set_counted(c, self, k);
    return true;
}

/* Set over a tier, out of line: a set without a tier needs no space for a frame. */
BASE_NOINLINE static bool cache_set_over_tier(cellar *c, const base_thread_record *self,
                                              const l1_key *k, const void *value, size_t value_len)
{
    const cache_store *s = c->store;
    return base_load_rlx(&s->observers) <= s->observers_tier_only && c->disk_mode == 0 &&
           cache_set_over(c, self, k, value, value_len, true);
}

CELLAR_API cellar_err cellar_set(cellar *c, const void *key, size_t key_len,
                                 const void *value, size_t value_len, const cellar_set_opts *o)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) ||
                      (value == NULL && value_len != 0))) {
        return cache_set_refuse(c, key, key_len);
    }
    if (BASE_UNLIKELY((base_load_acq(&c->state) & CACHE_CLOSED) != 0)) { return cache_closed(c); }
    base_thread_record *const self = base_thread_self();
    const bool sampled = stats_sample(self);
    l1_key k;
    cache_key(c, &k, key, key_len);
    const bool tagged = l1_tagged(c->l1, &k);
    if (o == NULL && BASE_LIKELY(!sampled) &&
        (!tagged ? cache_set_new(c, self, &k, value, value_len)
         : BASE_LIKELY(!cache_is_observed(c->store))
             ? cache_set_over(c, self, &k, value, value_len, false)
             : cache_set_over_tier(c, self, &k, value, value_len))) {
        return CELLAR_OK;
    }
    cache_plan plan;
    cellar_err err = cache_plan_make(c, o, 0, &plan);
    if (BASE_UNLIKELY(err != CELLAR_OK)) { return err; }
    if (plan.spec.kind == (uint8_t)L1_NEGATIVE && value_len != 0) {
        return cache_set_refuse(c, key, key_len);
    }
    if (BASE_UNLIKELY(cache_is_off(c))) { return CELLAR_DISABLED; }
    plan.spec.value = value;
    plan.spec.value_len = value_len;
    plan.spec.untagged = !tagged;
    if (BASE_LIKELY(!sampled)) { return cache_put(c, &k, &plan); }
    const uint64_t since_ns = base_now_ns();
    err = cache_put(c, &k, &plan);
    stats_time(c->stats, STATS_OP_SET, base_now_ns() - since_ns);
    return err;
}

CELLAR_API cellar_err cellar_set_str(cellar *c, const char *key, const char *value,
                                     int64_t ttl_ms)
{
    if (key == NULL || value == NULL) {
        return cache_fail_key(c, "cellar_set_str", key, 1, "value must not be NULL");
    }
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    return cellar_set(c, key, strlen(key), value, strlen(value), &o);
}
