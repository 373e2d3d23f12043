/* SPDX-License-Identifier: MIT
 *
 * increment: count in a value of 8 bytes.
 *
 * WALK       an existing counter needs neither clock nor options -> L1; else from the tier -> L1;
 *            else a new counter, with rounds against clears of the namespace
 * LIMITS     CACHE_ROUNDS rounds, then E_BUSY. */
#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/tier_calls.h"
#include "cache/tier_store.h"

static cellar_err cache_incr_once(cellar *c, const l1_key *k, int64_t delta, int64_t init,
                                  const l1_put_spec *if_new, bool only_if_present, int64_t *now)
{
    l1_gone gone = L1_GONE_NOTHING;
    cellar_err err;
    cache_filter filter = { NULL, 0, 0 };
    /* a present entry is in the filter already */
    if (!only_if_present) { cache_filter_begin(c, k, &filter); }
    if (BASE_LIKELY(!cache_is_observed(c->store))) {
        err = l1_incr_reported(c->l1, k, delta, init, if_new, only_if_present, now, NULL, &gone);
    } else {
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, false);
        cache_change_begin(&f, true, false);
        f.below = urge != CACHE_LATER;
        err = l1_incr_reported(c->l1, k, delta, init, if_new, only_if_present, now, NULL, &gone);
        if ((err == CELLAR_OK || err == CELLAR_E_RANGE) && urge != CACHE_LATER) {
            const cellar_err below = cache_change_stored(c, &f, k, NULL, urge);
            if (err == CELLAR_OK) { err = below; }
        } else {
            cache_change_end(c, &f, k);
        }
    }
    if (!only_if_present) { cache_filter_end(c, k, &filter); }
    cache_count_gone(c, gone, STATS_EVICT_REPLACED);
    return err;
}

static const l1_put_spec cache_incr_there = { .deadline_ms = BASE_NEVER_MS };

/* Increment a counter that may not exist. Return CONFLICT if the namespace was cleared in every
 * round. */
static cellar_err cache_incr_new(cellar *c, l1_key *k, int64_t delta, int64_t init, int64_t ttl_ms,
                                 bool only_if_present, int64_t *now)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    cache_plan plan;
    cellar_err err = cache_plan_make(c, &o, 0, &plan);
    if (err != CELLAR_OK) { return err; }
    plan.spec.change = L1_CHANGE_INCR;
    if (cache_urge_of(c, false) != CACHE_LATER) { plan.spec.l2_addr = L1_ADDR_LATER; }
    err = CELLAR_CONFLICT;
    for (unsigned round = 0; round < CACHE_ROUNDS && err == CELLAR_CONFLICT; round++) {
        if (round != 0) { cache_rekey(c, k); }
        if (cache_is_closed(c)) { return CELLAR_E_CLOSED; }
        plan.spec.deadline_ms = cache_plan_deadline(c, &plan, k->hash);
        err = cache_incr_once(c, k, delta, init, &plan.spec, only_if_present, now);
    }
    return err;
}

static cellar_err cache_incr_done(cellar *c, cellar_err err)
{
    const bool done = err == CELLAR_OK || err == CELLAR_E_RANGE || err == CELLAR_E_IO;
    if (done) { stats_add(cache_mine(c), STATS_SET, 1); }
    switch ((int)err) {
    case CELLAR_E_TYPE:
        return cache_fail(c, err, 0, "cellar_increment: the value is not an 8-byte counter");
    case CELLAR_E_IO: return cache_through(c, err);
    case CELLAR_E_RANGE: return cache_fail(c, err, 0,
                                           "cellar_increment: the sum does not fit int64");
    case CELLAR_E_SPACE:
    case CELLAR_E_NOMEM:
        cache_count_refused(cache_mine(c), err);
        return cache_fail(c, err, 0, "cellar_increment: no memory: raise memory_bytes");
    default: return err;
    }
}

CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, int64_t ttl_if_new_ms, uint32_t flags,
                                       int64_t *now_value)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_increment", key, key_len, "");
    }
    if ((flags & ~CELLAR_ONLY_IF_PRESENT) != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_increment: flags must be 0 or CELLAR_ONLY_IF_PRESENT");
    }
    if (ttl_if_new_ms < 0) {
        return cache_fail_number(c, "cellar_increment: ttl_if_new_ms must be 0 or more",
                                 ttl_if_new_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    l1_key k;
    cache_key(c, &k, key, key_len);
    int64_t now = 0;
    /* An existing counter needs neither clock nor options. */
    cellar_err err = cache_incr_once(c, &k, delta, init, &cache_incr_there, true, &now);
    if (err == CELLAR_MISS && cache_brought(c, &k)) {
        err = cache_incr_once(c, &k, delta, init, &cache_incr_there, true, &now);
    }
    if ((err == CELLAR_MISS && (flags & CELLAR_ONLY_IF_PRESENT) == 0) || err == CELLAR_CONFLICT) {
        err = cache_incr_new(c, &k, delta, init, ttl_if_new_ms,
                             (flags & CELLAR_ONLY_IF_PRESENT) != 0, &now);
    }
    if (err == CELLAR_CONFLICT) {
        stats_count(c->stats, STATS_LIMIT_RETRIES, 1);
        return cache_fail(c, CELLAR_E_BUSY, 0,
                          "the namespace was cleared in each of 64 tries: retry");
    }
    if (now_value != NULL &&
        (err == CELLAR_OK || err == CELLAR_E_RANGE || err == CELLAR_E_IO)) {
        *now_value = now;
    }
    return cache_acked(c, cache_incr_done(c, err));
}
