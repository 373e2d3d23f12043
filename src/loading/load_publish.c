/* SPDX-License-Identifier: MIT
 *
 * load_publish: store the result of a loader, or remember its failure.
 *
 * INVARIANTS A result is stored only while the flight is attached. Stored or not, it reaches the
 *            caller and all waiters. A shared tier that compares leases decides by itself.
 * TIMES      A value: TTL of the loader, else of the call, else of the namespace; jittered once. A
 *            failure with a value in L1: retry_at on that entry. A failure without one, with
 *            error_ttl: an entry of kind ERROR; `fails` doubles the pause up to error_ttl_max.
 *            retry_at of an error is signed milliseconds from its end, of a value the absolute
 *            time: neither wraps. */
#include "loading/load_publish.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/plan.h"
#include "cache/shared.h"
#include "cache/tier_store.h"
#include "cache/write_order.h"
#include "flight/flight.h"
#include "loading/load_call.h"
#include "loading/load_plan.h"

static bool cache_keeps(const struct cellar_load *ld)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p->flags & no) == 0 && !ld->no_store && !ld->call->unsure &&
           !cache_is_off(ld->call->c);
}

/* Mark the outcome if tags may end it: it is not for callers after their end. */
static void cache_tags_settle(const struct cellar_load *ld, flight_outcome *o)
{
    if (ld->tag_count != 0 || ld->call->c->proof_stale) { o->flags |= FLIGHT_TAGGED; }
}

CELLAR_PRIVATE void cache_outcome_found(const cache_call *call, flight_outcome *o)
{
    if (call->found.tag_count != 0) { o->flags |= FLIGHT_TAGGED; }
}

/* Fill a tier that does not compare, unless a change has ended the load. A change that comes later
 * finds the ordered write, and calls the tier behind it. */
static cellar_err cache_publish_blind(struct cellar_load *ld, cache_shared *h, const l1_key *k,
                                      const l1_put_spec *p)
{
    cache_call *call = ld->call;
    cache_store *s = h->store;
    cache_ordered ordered = { .bytes = k->bytes, .hash = k->hash, .len = k->len,
                              .generation = k->generation };
    cellar_err err = CELLAR_OK;
    bool alone;
    cache_write_order_use(s);
    (void)cache_ordered_list(s, &ordered);
    if (cache_ordered_begin(s, &ordered) && cache_generation_alive(s, k->generation) &&
        !flight_is_detached(call->t, ld->f, &alone)) {
        call->leased = false;
        err = cache_shared_fill(h, k, p, &call->lease);
        if (err == CELLAR_OK) { cache_ordered_done(s, &ordered); }
    }
    cache_ordered_leave(s, &ordered);
    return err;
}

/* Store the value in the shared tier, if the call holds its lease. It keeps the lease if a change
 * was first. */
static cellar_err cache_publish_shared(struct cellar_load *ld, const l1_key *k,
                                       const l1_put_spec *p)
{
    cache_call *call = ld->call;
    if (!call->leased || p->kind == (uint8_t)L1_ERROR) { return CELLAR_OK; }
    cache_shared *h = cache_shared_of(call->c);
    if (h == NULL || (p->tag_count != 0 && p->tag_text == NULL)) { return CELLAR_OK; }
    if (h->t.blind_fill != 0) { return cache_publish_blind(ld, h, k, p); }
    call->leased = false;
    return cache_shared_fill(h, k, p, &call->lease);
}

/* Store for this flight: the commit hook knows the flight by its key pointer. */
static cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o)
{
    cellar *c = ld->call->c;
    const flight_key fk = flight_key_of(ld->f);
    l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    p->change = L1_CHANGE_PUBLISH;
    const bool no_disk = ld->no_disk || (ld->call->p->flags & CELLAR_LOAD_NO_L2) != 0;
    if (no_disk && cache_tier_of(c) != NULL) { p->l2_addr = CACHE_NOT_ON_DISK; }
    BASE_POINT("flight.publish");
    const bool fills = ld->call->leased && !no_disk;
    if (fills) {
        const cellar_err shared = cache_publish_shared(ld, &k, p);
        if (shared != CELLAR_OK) {
            o->flags |= FLIGHT_NOT_STORED;
            if (shared == CELLAR_INVALIDATED) { o->flags |= FLIGHT_OVERTAKEN; }
            stats_add(cache_mine(c), STATS_LOAD_NOT_STORED, 1);
            return CELLAR_CONFLICT;
        }
        if (!ld->call->leased) { o->flags &= ~FLIGHT_NOT_SHARED; }
    }
    cache_change ch = { .c = c, .k = &k, .kind = CACHE_PUT, .spec = p };
    const cellar_err err = cache_change_run(&ch);
    if (fills && !ld->call->leased && err == CELLAR_CONFLICT) {
        return CELLAR_OK; /* the server has the value: it may report the fill itself as a change */
    }
    if (err == CELLAR_OK) { return err; }
    o->flags |= FLIGHT_NOT_STORED;
    if (err == CELLAR_CONFLICT) { o->flags |= FLIGHT_OVERTAKEN; }
    return err;
}

static int64_t cache_stale_window(const struct cellar_load *ld)
{
    return ld->ttl_ms == BASE_NEVER_MS ? 0 : ld->stale_ms;
}

/* Return the times that the call or its loader sets, which no policy changes. */
static uint8_t cache_publish_given(const struct cellar_load *ld, l1_kind kind)
{
    const cache_load_plan *load = ld->call->p;
    uint32_t given = load->own & (CACHE_GIVEN_STALE | CACHE_GIVEN_JITTER | CACHE_GIVEN_REFRESH);
    const bool ttl = kind == L1_NEGATIVE ? (load->own & CACHE_GIVEN_NEGATIVE) != 0 ||
                                               ld->negative_ttl_ms != load->negative_ttl_ms
                                         : (load->own & CACHE_GIVEN_TTL) != 0 ||
                                               ld->ttl_ms != load->ttl_ms;
    if (ttl) { given |= CACHE_GIVEN_TTL; }
    if (ld->stale_ms != load->stale_ms) { given |= CACHE_GIVEN_STALE; }
    return (uint8_t)given;
}

/* Plan the entry: `own` from the options of the load, or what a lease was fulfilled with; then ask
 * the policy of the namespace. Return NULL if it refuses the entry. */
static cache_plan *cache_publish_plan(struct cellar_load *ld, l1_kind kind, int64_t ttl_ms,
                                      cache_plan *own)
{
    const cache_load_plan *load = ld->call->p;
    cache_plan *plan = ld->given != NULL ? ld->given : own;
    l1_put_spec *p = &plan->spec;
    if (plan == own) {
        memset(plan, 0, CACHE_PLAN_COPIED);
        plan->ttl_ms = plan->asked_ms = ttl_ms;
        plan->most_ms = BASE_NEVER_MS;
        plan->now_ms = ld->call->now_ms;
        plan->jitter_pct = ttl_ms == BASE_NEVER_MS ? 0 : load->n[CACHE_JITTER_PCT];
        plan->jitter_mode = load->n[CACHE_JITTER_MODE];
        plan->policed = true;
        plan->given = cache_publish_given(ld, kind);
        plan->stale_ms = ld->stale_ms;
        p->flags = cache_carried(base_load_rlx(&ld->call->c->carries));
        p->tag_fps = ld->fps;
        p->tag_count = ld->tag_count;
        p->tag_text = ld->tag_text;
    }
    p->kind = (uint8_t)kind;
    p->stale_ms = cache_stale_window(ld);
    if (cache_plan_judge(ld->call->c, &ld->call->k, plan) != CELLAR_OK) { return NULL; }
    if (kind == L1_VALUE) { ld->ttl_ms = plan->ttl_ms; }
    if (p->tag_fps != ld->fps) { /* tags of fulfill, or of the policy */
        ld->tag_count = p->tag_count;
        if (p->tag_count != 0) { memcpy(ld->fps, p->tag_fps, p->tag_count * sizeof ld->fps[0]); }
    }
    return plan;
}

/* Complete the entry: its deadline and all its tags. */
static l1_put_spec *cache_publish_spec(const struct cellar_load *ld, cache_plan *plan)
{
    const cellar *c = ld->call->c;
    l1_put_spec *p = &plan->spec;
    p->deadline_ms = cache_plan_deadline(c, plan, ld->call->k.hash);
    const cache_shared *h = cache_shared_of(c);
    if (h != NULL) { p->deadline_ms = cache_shared_until(h, p->deadline_ms); }
    p->tag_fps = ld->fps;
    p->tag_count = ld->tag_count;
    p->tag_born = flight_tag_born(ld->f); /* never later: an older value is invalid after the end of
                                           * a tag */
    return p;
}

/* Set the cost of a loaded value, and its birth if it may be refreshed early. */
static void cache_publish_cost(const struct cellar_load *ld, l1_put_spec *p)
{
    const cache_call *call = ld->call;
    const bool early = cache_load_early(call->p) && ld->ttl_ms != BASE_NEVER_MS;
    const uint64_t took_us = ld->ns / 1000;
    uint32_t cost_us = ld->cost_us;
    stats_add(cache_mine(call->c), STATS_LOAD_COST, cost_us != 0 ? cost_us : took_us);
    if (cost_us == 0 && early) { cost_us = (uint32_t)BASE_MIN(took_us, UINT32_MAX) | 1u; }
    p->cost = cache_cost_code(cost_us);
    p->flags |= early ? L1_WANT_BORN : 0u;
}

/* Store the loaded value and fill the outcome, which owns `value` then. */
static void cache_publish_value(struct cellar_load *ld, flight_bytes *value, flight_outcome *o)
{
    cache_call *call = ld->call;
    cache_plan own;
    cache_filter_found(call->c, call->k.bytes, call->k.len);
    value->user_flags = ld->user_flags;
    cache_plan *plan =
        cache_keeps(ld) ? cache_publish_plan(ld, L1_VALUE, ld->ttl_ms, &own) : NULL;
    cache_tags_settle(ld, o);
    o->phase = FLIGHT_OK;
    o->value = value;
    o->deadline_ms = base_add_sat(call->now_ms, ld->ttl_ms);
    if (!cache_keeps(ld) || ld->ttl_ms == 0 || plan == NULL || plan->ttl_ms == 0) {
        o->flags |= FLIGHT_NOT_STORED;
        return;
    }
    l1_put_spec *p = cache_publish_spec(ld, plan);
    if (ld->given == NULL) { cache_publish_cost(ld, p); }
    p->value = value->data;
    p->value_len = value->len;
    p->user_flags = ld->user_flags;
    o->deadline_ms = p->deadline_ms;
    (void)cache_publish(ld, p, o);
}

static void cache_publish_none(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    int64_t ttl = ld->negative_ttl_ms;
    cache_plan own;
    if (call->p->n[CACHE_NO_NEGATIVE] != 0 && ld->given == NULL) { ttl = 0; }
    cache_plan *plan =
        cache_keeps(ld) ? cache_publish_plan(ld, L1_NEGATIVE, BASE_MAX(ttl, 1), &own) : NULL;
    cache_tags_settle(ld, o);
    o->phase = FLIGHT_NONE;
    /* without a TTL only to replace a value that would be served further */
    if (!cache_keeps(ld) || plan == NULL || (ttl == 0 && !call->old_current)) { return; }
    l1_put_spec *p = cache_publish_spec(ld, plan);
    if (ttl == 0) { p->deadline_ms = call->now_ms; } /* dead immediately */
    p->stale_ms = 0;
    (void)cache_publish(ld, p, o);
}

/* ---- not modified ---- */

static uint32_t cache_retry_field(int64_t retry_at_ms, int64_t expires_ms)
{
    int64_t d = retry_at_ms - expires_ms;
    d = BASE_MIN(BASE_MAX(d, (int64_t)INT32_MIN), (int64_t)INT32_MAX);
    return d == 0 ? 1u : (uint32_t)(int32_t)d;
}

static cellar_err cache_renew(struct cellar_load *ld, const l1_renewal *r)
{
    const flight_key fk = flight_key_of(ld->f);
    l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    flight_renews(ld->f);
    BASE_POINT("flight.publish");
    cache_change ch = { .c = ld->call->c, .k = &k, .kind = CACHE_RENEW, .renewal = r };
    return cache_change_run(&ch);
}

/* Renew the old value: in place, or from our copy if it was evicted meanwhile. Do not store the
 * copy if it had tags, one of which may have ended it. */
static void cache_publish_same(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    cache_plan own;
    ld->user_flags = call->found.user_flags;
    cache_outcome_found(call, o);
    cache_plan *plan =
        cache_keeps(ld) ? cache_publish_plan(ld, L1_VALUE, ld->ttl_ms, &own) : NULL;
    cache_tags_settle(ld, o);
    const uint32_t tags = cache_shared_rest(call->c, call->found.tag_count);
    if (call->leased && tags != 0) { ld->no_store = true; } /* texts are gone */
    if (!cache_keeps(ld) || ld->ttl_ms == 0 || plan == NULL || call->leased) {
        ld->no_store = ld->no_store || plan == NULL;
        cache_publish_value(ld, flight_bytes_ref(call->old), o);
        return;
    }
    const l1_put_spec *p = cache_publish_spec(ld, plan);
    const l1_renewal r = { .times = true, .deadline_ms = p->deadline_ms, .stale_ms = p->stale_ms,
                           .retry_at = p->retry_at, .loader_code = p->loader_code,
                           .fails = p->fails, .tag_fps = p->tag_fps, .tag_count = p->tag_count,
                           .tag_born = p->tag_born };
    const cellar_err err = cache_renew(ld, &r);
    if (err == CELLAR_MISS || err == CELLAR_E_SPACE) {
        if (tags != 0) { ld->no_store = true; }
        cache_publish_value(ld, flight_bytes_ref(call->old), o);
        return;
    }
    o->phase = FLIGHT_OK;
    o->value = flight_bytes_ref(call->old);
    o->deadline_ms = p->deadline_ms;
    if (err != CELLAR_OK) {
        o->flags |= FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN;
        stats_add(cache_mine(call->c), STATS_LOAD_NOT_STORED, 1);
    }
}

/* ---- failures ---- */

/* Return the pause: error_ttl doubled for each failure in a row, upper half at random. */
static int64_t cache_backoff_ms(const struct cellar_load *ld, uint32_t fails)
{
    const cache_load_plan *p = ld->call->p;
    const unsigned shift = BASE_MIN(fails - 1, 40u);
    int64_t span = p->ms[CACHE_ERROR_TTL];
    for (unsigned i = 0; i < shift && span < p->ms[CACHE_ERROR_MAX]; i++) {
        span = base_add_sat(span, span);
    }
    span = BASE_MIN(span, p->ms[CACHE_ERROR_MAX]);
    uint64_t draw = base_mix64(ld->call->k.hash ^ ld->call->c->hash_key->secret[0] ^
                               base_mix64((uint64_t)ld->call->now_ms));
    uint64_t high = (uint64_t)(span - span / 2) + 1;
    base_hash_mul(&draw, &high);
    return span / 2 + (int64_t)high;
}

static void cache_remember_error(struct cellar_load *ld, int32_t loader_err, flight_outcome *o)
{
    cache_call *call = ld->call;
    const uint32_t fails = BASE_MIN((uint32_t)call->fails + 1u, 255u);
    int64_t pause = cache_backoff_ms(ld, fails);
    pause = BASE_MAX(pause, ld->retry_after_ms);
    l1_put_spec p;
    memset(&p, 0, sizeof p);
    o->retry_at_ms = base_add_sat(call->now_ms, pause);
    p.kind = (uint8_t)L1_ERROR;
    p.fails = (uint8_t)fails;
    /* It outlives its pause, so that the next failure counts further. */
    p.deadline_ms = base_add_sat(o->retry_at_ms, call->p->ms[CACHE_ERROR_MAX]);
    p.retry_at = cache_retry_field(o->retry_at_ms, p.deadline_ms);
    p.loader_code = (uint32_t)loader_err;
    p.tag_born = flight_tag_born(ld->f);
    flight_outcome stored = { .phase = FLIGHT_FAILED };
    (void)cache_publish(ld, &p, &stored);
    o->flags |= FLIGHT_FINAL;
}

CELLAR_PRIVATE bool cache_error_is_ours(int32_t code)
{
    return code == CELLAR_E_CANCELLED || code == CELLAR_E_DEADLOCK || code == CELLAR_E_TIMEOUT ||
           code == CELLAR_E_LIMIT || code == CELLAR_E_DEPTH || code == CELLAR_E_CLOSED;
}

static bool cache_keeps_failure(const struct cellar_load *ld, int32_t loader_err)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p->flags & no) == 0 && !cache_is_off(ld->call->c) &&
           (ld->failed || !cache_error_is_ours(loader_err));
}

CELLAR_PRIVATE void cache_keep_failure(struct cellar_load *ld, int32_t loader_err,
                                       flight_outcome *o)
{
    cache_call *call = ld->call;
    if (!cache_keeps_failure(ld, loader_err)) { return; }
    if (call->old_current) {
        const int64_t pause = ld->retry_after_ms > 0 ? ld->retry_after_ms
                                                      : call->p->ms[CACHE_THROTTLE];
        o->retry_at_ms = base_add_sat(call->now_ms, pause);
        const l1_renewal r = { .retry_at = (uint32_t)o->retry_at_ms,
                               .loader_code = (uint32_t)((uint64_t)o->retry_at_ms >> 32) };
        (void)cache_renew(ld, &r); /* vetoed, gone or no room: no pause then */
    } else if (call->p->ms[CACHE_ERROR_TTL] > 0) {
        cache_remember_error(ld, loader_err, o);
    }
}

CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o)
{
    cache_call *call = ld->call;
    stats_add(cache_mine(call->c), STATS_LOAD_FAILED, 1);
    if (!call->old_current) {
        cache_why_note(call->c->store, call->k.hash, CELLAR_CAUSE_LOAD_FAILED);
    }
    o->phase = FLIGHT_FAILED;
    o->err = err;
    o->loader_err = loader_err;
    if ((ld->fail_flags & CELLAR_FAIL_FINAL) != 0 || ld->retry_after_ms > 0) {
        o->flags |= FLIGHT_FINAL;
    }
    if (ld->retry_after_ms > 0) { o->retry_at_ms = base_add_sat(call->now_ms, ld->retry_after_ms); }
    cache_keep_failure(ld, loader_err, o);
}

/* ---- result ---- */

/* Answer the leader with the result in the outcome. */
static void cache_answer_loaded(struct cellar_load *ld, const flight_outcome *o)
{
    cache_call *call = ld->call;
    if (o->phase == FLIGHT_NONE) {
        (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_LOADED);
    } else {
        call->value = flight_bytes_ref(o->value);
        call->user_flags = ld->user_flags;
        call->deadline_ms = o->deadline_ms;
        call->born_ms = call->now_ms;
        call->retry_at_ms = 0;
        (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_LOADED);
    }
    call->result_flags |= cache_result_flags(o->flags);
}

CELLAR_PRIVATE void cache_publish_result(struct cellar_load *ld, flight_outcome *o)
{
    flight_bytes *value = ld->r.value;
    ld->r.value = NULL;
    if (cache_shared_of(ld->call->c) != NULL) { o->flags |= FLIGHT_NOT_SHARED; } /* until filled */
    switch (ld->r.said) {
    case CACHE_REPORTED_NONE: cache_publish_none(ld, o); break;
    case CACHE_REPORTED_SAME: cache_publish_same(ld, o); break;
    default: cache_publish_value(ld, value, o); break;
    }
    cache_answer_loaded(ld, o);
}
