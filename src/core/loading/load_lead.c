/* SPDX-License-Identifier: MIT
 *
 * load_lead: the leader of a flight runs the loader, stores its result and ends the flight.
 *
 * PICTURE    led -> breaker -> [flight.load] loader -> verdict -> [flight.publish] store; the
 *            window of the store unlinks the flight -> answer -> outcome, [flight.wake], own ref
 *            breaker open, loader failed, failure remembered -> stale value, else fallbacks, else
 *            default value, else the error
 * INVARIANTS The flight is ended once, and each pass of the breaker is reported once, also if the
 *            thread ends inside the loader.
 *            A result is stored only while the flight is attached. Stored or not, it reaches the
 *            caller and all waiters. A shared tier that compares leases decides by itself.
 *            A fallback result is marked: source FALLBACK or DEFAULT, kept for fallback_ttl_ms, in
 *            memory only. A loader that answers "absent" has succeeded: no fallback runs.
 * LOCKING    The loader runs without a lock, with the cancel state of the caller. No other code in
 *            this file is a place where a thread may end.
 * TIMES      A value: TTL of the loader, else of the call, else of the namespace; jittered once. A
 *            failure with a value in L1: retry_at on that entry. A failure without one, with
 *            error_ttl: an entry of kind ERROR; `fails` doubles the pause up to error_ttl_max.
 *            retry_at of an error is signed milliseconds from its end, of a value the absolute
 *            time: neither wraps.
 * LIMITS     3 fallbacks. Fallbacks and default value belong to foreground loads. A bulk load asks
 *            them per key, a lease asks them when it is refused or released with an error.
 * SEE ALSO   load_call.c, breaker_calls.c. */
#include "base/user_callback.h"
#include "cache/bloom_guard.h"
#include "cache/change.h"
#include "cache/change_shared.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/plan.h"
#include "cache/shared.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/talk.h"
#include "cache/tier_store.h"
#include "cache/write_order.h"
#include "loading/breaker_calls.h"
#include "loading/load_shared.h"
#include "loading/loading.h"

/* ---- store ---- */

static bool cache_keeps(const struct cellar_load *ld)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p->flags & no) == 0 && !ld->opts.no_store && !ld->call->unsure &&
           !cache_is_off(ld->call->c);
}

/* Fill a tier that does not compare, unless a change has ended the load. A change that comes later
 * finds the ordered write, and calls the tier behind it. */
static cellar_err cache_publish_blind(struct cellar_load *ld, cache_shared *h, const l1_key *k,
                                      const l1_put_spec *p, uint64_t *order)
{
    cache_call *call = ld->call;
    cache_store *s = h->store;
    cache_ordered ordered = { .bytes = k->bytes, .hash = k->hash, .len = k->len,
                              .generation = k->generation, .fill = true };
    cellar_err err = CELLAR_OK;
    bool alone;
    cache_write_order_use(s);
    (void)cache_ordered_list(s, &ordered);
    if (cache_ordered_begin(s, &ordered) && cache_generation_alive(s, k->generation) &&
        !flight_is_detached(call->t, call->f, &alone)) {
        call->leased = false;
        err = cache_shared_fill(h, k, p, &call->lease, order);
        if (err == CELLAR_OK) { cache_ordered_done(s, &ordered); }
    }
    cache_ordered_leave(s, &ordered);
    return err;
}

/* Store the value in the shared tier, if the call holds its lease. It keeps the lease if a change
 * was first. */
static cellar_err cache_publish_shared(struct cellar_load *ld, const l1_key *k,
                                       const l1_put_spec *p, uint64_t *order)
{
    cache_call *call = ld->call;
    if (!call->leased || p->kind == (uint8_t)L1_ERROR) { return CELLAR_OK; }
    cache_shared *h = cache_shared_of(call->c);
    if (h == NULL || (p->tag_count != 0 && p->tag_text == NULL)) { return CELLAR_OK; }
    if (h->t.blind_fill != 0) { return cache_publish_blind(ld, h, k, p, order); }
    call->leased = false;
    return cache_shared_fill(h, k, p, &call->lease, order);
}

/* Store for this flight: the commit hook knows the flight by its key pointer. */
static void cache_publish(struct cellar_load *ld, l1_put_spec *p)
{
    cache_call *call = ld->call;
    cellar *c = call->c;
    const flight_key fk = flight_key_of(ld->call->f);
    l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    p->change = L1_CHANGE_PUBLISH;
    const bool no_disk = ld->no_disk || (call->p->flags & CELLAR_LOAD_NO_L2) != 0;
    if (no_disk && cache_tier_of(c) != NULL) { p->l2_addr = CACHE_NOT_ON_DISK; }
    BASE_POINT("flight.publish");
    const bool fills = call->leased && !no_disk;
    if (fills) {
        const cellar_err shared = cache_publish_shared(ld, &k, p, &call->order);
        if (shared != CELLAR_OK) {
            call->flags |= FLIGHT_NOT_STORED;
            if (shared == CELLAR_INVALIDATED) { call->flags |= FLIGHT_OVERTAKEN; }
            return;
        }
        if (!call->leased) { call->flags &= ~FLIGHT_NOT_SHARED; }
    }
    cache_change ch = { .c = c, .k = &k, .kind = CACHE_PUT, .spec = p, .order = call->order };
    /* A remembered error says nothing of a value that lies below: that may be served later. */
    if (p->kind == (uint8_t)L1_ERROR) { ch.flags = CACHE_OUTSIDE; }
    const cellar_err err = cache_change_run(&ch);
    if (err == CELLAR_OK) {
        if (cache_tags_valid(c->store, p->tag_born, p->tag_fps, p->tag_count) == 2) {
            call->flags |= FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN; /* no read returns it */
        }
        return;
    }
    if (fills && !call->leased && err == CELLAR_CONFLICT) { /* the fill may be reported, too */
        /* Memory may have a reply from before the fill. A newer own set ends as well: the tier has
         * it. */
        if (cache_generation_alive(c->store, k.generation)) { cache_shared_changed(c, &k); }
        return;
    }
    call->flags |= FLIGHT_NOT_STORED;
    if (err == CELLAR_CONFLICT) { call->flags |= FLIGHT_OVERTAKEN; }
}

/* Return the times that the call or its loader sets, which no policy changes. */
static uint8_t cache_publish_given(uint32_t own, l1_kind kind)
{
    const uint32_t ttl = kind == L1_NEGATIVE ? CACHE_GIVEN_NEGATIVE : CACHE_GIVEN_TTL;
    const uint32_t rest = CACHE_GIVEN_STALE | CACHE_GIVEN_JITTER | CACHE_GIVEN_REFRESH;
    return (uint8_t)((own & rest) | ((own & ttl) != 0 ? CACHE_GIVEN_TTL : 0u));
}

/* Plan the entry: `own` from the options of the load, or what a lease was fulfilled with; then ask
 * the policy of the namespace. Return NULL if the entry is not kept. */
static cache_plan *cache_publish_plan(struct cellar_load *ld, l1_kind kind, int64_t ttl_ms,
                                      cache_plan *own)
{
    const cache_load_plan *load = ld->call->p;
    cache_plan *plan = ld->given != NULL ? ld->given : own;
    l1_put_spec *p = &plan->spec;
    if (!cache_keeps(ld)) { return NULL; }
    if (plan == own) {
        memset(plan, 0, offsetof(cache_plan, fps)); /* its tags are those of the load */
        plan->ttl_ms = plan->asked_ms = ttl_ms;
        plan->most_ms = BASE_NEVER_MS;
        plan->now_ms = ld->call->now_ms;
        plan->jitter_pct = kind == L1_NEGATIVE ? 0 : load->n[CACHE_JITTER_PCT];
        plan->jitter_mode = load->n[CACHE_JITTER_MODE];
        plan->policed = true;
        plan->given = cache_publish_given(ld->opts.own, kind);
        plan->stale_ms = ld->opts.stale_ms;
        p->flags = cache_carried(base_load_rlx(&ld->call->c->carries));
        if (ld->r.said == CACHE_REPORTED_SAME) { p->idle_ms = ld->call->found.idle_ms; }
        p->tag_fps = ld->opts.fps;
        p->tag_count = ld->opts.tag_count;
        p->tag_text = ld->opts.tag_text;
    }
    p->kind = (uint8_t)kind;
    if (kind == L1_NEGATIVE) { plan->given |= CACHE_GIVEN_JITTER; }
    p->stale_ms = ld->opts.ttl_ms == BASE_NEVER_MS ? 0 : ld->opts.stale_ms;
    if (cache_plan_judge(ld->call->c, &ld->call->k, plan) != CELLAR_OK) { return NULL; }
    if (ld->left_ms != 0) {
        plan->ttl_ms = BASE_MIN(plan->ttl_ms, ld->left_ms);
        p->stale_ms = BASE_MIN(p->stale_ms, ld->left_ms - plan->ttl_ms);
    }
    if (kind == L1_VALUE) { ld->opts.ttl_ms = plan->ttl_ms; }
    uint64_t *fps = ld->opts.fps;
    if (p->tag_fps != fps) { /* tags of fulfill, or of the policy */
        ld->opts.tag_count = p->tag_count;
        if (p->tag_count != 0) { memcpy(fps, p->tag_fps, p->tag_count * sizeof fps[0]); }
    }
    return plan;
}

/* Complete the entry: its deadline, all its tags, and its birth if it may be refreshed early. */
static l1_put_spec *cache_publish_spec(const struct cellar_load *ld, cache_plan *plan)
{
    const cellar *c = ld->call->c;
    l1_put_spec *p = &plan->spec;
    p->deadline_ms = cache_plan_deadline(c, plan, ld->call->k.hash);
    const cache_shared *h = cache_shared_of(c);
    if (h != NULL) { p->deadline_ms = cache_shared_until(h, p->deadline_ms); }
    p->tag_fps = ld->opts.fps;
    p->tag_count = ld->opts.tag_count;
    const bool early = cache_load_early(ld->call->p) && plan->ttl_ms != BASE_NEVER_MS;
    if (p->kind == (uint8_t)L1_VALUE && early) { p->flags |= L1_WANT_BORN; }
    /* never later: an older value is invalid after the end of a tag */
    p->tag_born = flight_tag_born(ld->call->f);
    return p;
}

/* Return whether a fallback would end before the source may be asked again. With it the remembered
 * failure would be lost. */
static bool cache_ends_early(const cache_call *call, const l1_put_spec *p)
{
    return p->deadline_ms < call->hold_ms ||
           (p->idle_ms != 0 && p->idle_ms < call->hold_ms - call->now_ms);
}

/* Set the cost of a loaded value. */
static void cache_publish_cost(const struct cellar_load *ld, l1_put_spec *p)
{
    const cache_call *call = ld->call;
    const bool early = cache_load_early(call->p) && ld->opts.ttl_ms != BASE_NEVER_MS;
    const uint64_t took_us = ld->ns / 1000;
    uint32_t cost_us = ld->opts.cost_us;
    stats_add(cache_mine(call->c), STATS_LOAD_COST, cost_us != 0 ? cost_us : took_us);
    if (cost_us == 0 && early) { cost_us = (uint32_t)BASE_MIN(took_us, UINT32_MAX) | 1u; }
    if (cost_us != 0) { p->cost = cache_cost_code(cost_us); }
}

/* Answer with the loaded value, and store it. */
static void cache_publish_value(struct cellar_load *ld, flight_bytes *value)
{
    cache_call *call = ld->call;
    cache_plan own;
    cache_filter_found(call->c, call->k.bytes, call->k.len);
    value->user_flags = ld->opts.user_flags;
    cache_plan *plan = cache_publish_plan(ld, L1_VALUE, ld->opts.ttl_ms, &own);
    cache_answer_value(call, value, base_add_sat(call->now_ms, ld->opts.ttl_ms),
                       CELLAR_SOURCE_LOADED);
    l1_put_spec *p = plan != NULL ? cache_publish_spec(ld, plan) : NULL;
    if (p == NULL || plan->ttl_ms == 0 || cache_ends_early(call, p)) {
        call->flags |= FLIGHT_NOT_STORED;
        return;
    }
    if (ld->given == NULL) { cache_publish_cost(ld, p); }
    p->value = value->data;
    p->value_len = value->len;
    if (BASE_UNLIKELY(call->c->object_class != UINT32_MAX)) { p->flags |= L1_OBJECT; }
    p->user_flags = ld->opts.user_flags;
    p->charge = ld->opts.weight_bytes;
    /* The last look found no value, unless it did not ask. */
    p->untagged = call->old == NULL && (call->p->flags & CELLAR_LOAD_REFRESH) == 0;
    call->deadline_ms = p->deadline_ms;
    cache_publish(ld, p);
}

/* Return whether a value of the key may be served further: by memory, by a tier that the load did
 * not ask, or by the disk: there it may lie, or be on its way from memory. */
static bool cache_old_may_stay(const cache_call *call)
{
    const cache_tier *t = cache_tier_of(call->c);
    return call->old_current ||
           (t != NULL &&
            (cache_tier_disk(t) != NULL || (call->p->flags & CELLAR_LOAD_REFRESH) != 0));
}

static void cache_publish_none(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    int64_t ttl = ld->opts.negative_ttl_ms;
    cache_plan own;
    if (call->p->n[CACHE_NO_NEGATIVE] != 0 && ld->given == NULL) { ttl = 0; }
    cache_plan *plan = cache_publish_plan(ld, L1_NEGATIVE, BASE_MAX(ttl, 1), &own);
    cache_answer_value(call, NULL, BASE_NEVER_MS, CELLAR_SOURCE_LOADED);
    if (plan == NULL) { call->flags |= FLIGHT_NOT_STORED; }
    /* without a TTL only to replace a value that would be served further */
    if (plan == NULL || (ttl == 0 && call->hold_ms == 0 && !cache_old_may_stay(call))) { return; }
    l1_put_spec *p = cache_publish_spec(ld, plan);
    if (ttl == 0) { p->deadline_ms = call->now_ms; } /* dead immediately */
    /* with REFRESH it must end the old value, which would be served further */
    const bool ends = ttl == 0 && (call->p->flags & CELLAR_LOAD_REFRESH) != 0;
    if (cache_ends_early(call, p) && !(ends && cache_old_may_stay(call))) {
        call->flags |= FLIGHT_NOT_STORED;
        return;
    }
    p->charge = ttl != 0 ? ld->opts.weight_bytes : 0;
    p->stale_ms = 0;
    cache_publish(ld, p);
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
    const flight_key fk = flight_key_of(ld->call->f);
    l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    flight_renews(ld->call->f);
    BASE_POINT("flight.publish");
    cache_change ch = { .c = ld->call->c, .k = &k, .kind = CACHE_RENEW, .renewal = r };
    return cache_change_run(&ch);
}

/* Let a rule add its tags to those of the old value, which an entry with new tags loses. */
static void cache_publish_tags(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    uint64_t fps[BASE_TAGS_MAX], born;
    if (ld->opts.tag_count != 0 || call->found.tag_count == 0 ||
        (base_load_rlx(&call->c->carries) & CACHE_CARRIES_POLICY) == 0) {
        return;
    }
    const uint32_t all = l1_tags_of(call->c->l1, &call->k, fps, &born);
    ld->opts.tag_count = BASE_MIN(cache_shared_rest(call->c, all), (uint32_t)CELLAR_TAGS_MAX);
    memcpy(ld->opts.fps, fps + (all - ld->opts.tag_count), ld->opts.tag_count * sizeof fps[0]);
    if (all != call->found.tag_count) { ld->opts.no_store = true; } /* another entry by now */
}

/* Renew the old value: in place, or from our copy if it was evicted meanwhile. Do not store the
 * copy if it had tags, one of which may have ended it. */
static void cache_publish_same(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    cache_plan own;
    ld->opts.user_flags = call->found.user_flags;
    ld->opts.weight_bytes = call->found.charge;
    ld->opts.cost_us = cache_cost_us(call->found.cost);
    cache_found_tags(call);
    cache_publish_tags(ld);
    cache_plan *plan = cache_publish_plan(ld, L1_VALUE, ld->opts.ttl_ms, &own);
    const uint32_t tags = cache_shared_rest(call->c, call->found.tag_count);
    const bool renews = plan != NULL && !call->leased;
    cellar_err err = CELLAR_OK;
    if (renews) {
        const l1_put_spec *p = cache_publish_spec(ld, plan);
        const l1_renewal r = { .times = true, .deadline_ms = p->deadline_ms,
                               .stale_ms = p->stale_ms, .idle_ms = p->idle_ms,
                               .retry_at = p->retry_at,
                               .loader_code = p->loader_code, .fails = p->fails,
                               .flags = p->flags & L1_WANT_BORN,
                               .tag_fps = p->tag_fps, .tag_count = p->tag_count,
                               .tag_born = p->tag_born };
        err = cache_renew(ld, &r);
    }
    if (!renews || err == CELLAR_MISS || err == CELLAR_E_SPACE) {
        /* a tag may have ended the copy, and the tier cannot get texts of tags that are gone */
        if (plan == NULL || tags != 0) { ld->opts.no_store = true; }
        cache_publish_value(ld, flight_bytes_ref(call->old));
        return;
    }
    cache_answer_value(call, flight_bytes_ref(call->old), plan->spec.deadline_ms,
                       CELLAR_SOURCE_LOADED);
    if (err != CELLAR_OK) {
        call->flags |= FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN;
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

static void cache_remember_error(struct cellar_load *ld, int32_t loader_err)
{
    cache_call *call = ld->call;
    const uint32_t fails = BASE_MIN((uint32_t)call->fails + 1u, 255u), flags = call->flags;
    int64_t pause = cache_backoff_ms(ld, fails);
    pause = BASE_MAX(pause, ld->r.retry_after_ms);
    l1_put_spec p = {0};
    call->retry_at_ms = base_add_sat(call->now_ms, pause);
    p.kind = (uint8_t)L1_ERROR;
    p.fails = (uint8_t)fails;
    /* It outlives its pause, so that the next failure counts further. */
    p.deadline_ms = base_add_sat(call->retry_at_ms, call->p->ms[CACHE_ERROR_MAX]);
    p.retry_at = cache_retry_field(call->retry_at_ms, p.deadline_ms);
    p.loader_code = (uint32_t)loader_err;
    p.tag_born = flight_tag_born(call->f);
    cache_publish(ld, &p);
    call->flags = flags | FLIGHT_FINAL; /* whether it is stored concerns no result */
}

/* Return whether the error concerns this call, not the source. */
static bool cache_error_is_ours(int32_t code)
{
    return code == CELLAR_E_CANCELLED || code == CELLAR_E_DEADLOCK || code == CELLAR_E_TIMEOUT ||
           code == CELLAR_E_LIMIT || code == CELLAR_E_DEPTH || code == CELLAR_E_CLOSED;
}

/* Remember the failure: on the value in L1, else in an entry of its own. */
static void cache_keep_failure(struct cellar_load *ld, int32_t loader_err)
{
    cache_call *call = ld->call;
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    if ((call->p->flags & no) != 0 || cache_is_off(call->c) ||
        (!ld->r.failed && cache_error_is_ours(loader_err))) {
        return;
    }
    if (call->old_current) {
        const int64_t pause = ld->r.retry_after_ms > 0 ? ld->r.retry_after_ms
                                                      : call->p->ms[CACHE_THROTTLE];
        call->retry_at_ms = base_add_sat(call->now_ms, pause);
        const l1_renewal r = { .retry_at = (uint32_t)call->retry_at_ms,
                               .loader_code = (uint32_t)((uint64_t)call->retry_at_ms >> 32) };
        (void)cache_renew(ld, &r); /* vetoed, gone or no room: no pause then */
    } else if (call->p->ms[CACHE_ERROR_TTL] > 0) {
        cache_remember_error(ld, loader_err);
    }
}

/* Return the time until which the failure would be remembered, or 0. */
static int64_t cache_failure_hold(const struct cellar_load *ld, int32_t loader_err)
{
    const cache_call *call = ld->call;
    int64_t pause = ld->r.retry_after_ms;
    if (call->p->ms[CACHE_ERROR_TTL] <= 0 || (!ld->r.failed && cache_error_is_ours(loader_err))) {
        return 0;
    }
    if (!call->old_current) {
        const uint32_t fails = BASE_MIN((uint32_t)call->fails + 1u, 255u);
        pause = BASE_MAX(pause, cache_backoff_ms(ld, fails));
    }
    return pause > 0 ? base_add_sat(call->now_ms, pause) : 0;
}

/* ---- results ---- */

/* Answer the call with the result of the loader, and store it. */
static void cache_publish_result(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    flight_bytes *value = ld->r.value;
    ld->r.value = NULL;
    if (cache_shared_of(call->c) != NULL) { call->flags |= FLIGHT_NOT_SHARED; } /* until filled */
    switch (ld->r.said) {
    case CACHE_REPORTED_NONE: cache_publish_none(ld); break;
    case CACHE_REPORTED_SAME: cache_publish_same(ld); break;
    default: cache_publish_value(ld, value); break;
    }
    /* Tags may end the outcome: it is not for callers after their end. A value that is not kept
     * lacks those of a rule. */
    const bool ruled = (base_load_rlx(&call->c->carries) & CACHE_CARRIES_POLICY) != 0;
    if (ld->opts.tag_count != 0 || ruled || call->c->proof_stale) { call->flags |= FLIGHT_TAGGED; }
    call->born_ms = call->now_ms;
    call->retry_at_ms = 0;
    call->result_flags |= cache_result_flags(call->flags);
}

/* ---- begin ---- */

/* Hand the flight over to a waiter, because the thread ended inside the loader. */
static void cache_lead_left(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    cache_store *s = call->c->store;
    cache_shared_unlease(call);
    flight_lead_end(call->f);
    cache_hand_over(call, CACHE_CALL_ANSWERED);
    cache_call_forget(call);
    if (call->job != NULL) { cache_job_free(s, call->job); } /* may free the namespace */
    cache_load_end(s);
}

CELLAR_PRIVATE void cache_lead_begin(struct cellar_load *ld, cache_call *call)
{
    memset(ld, 0, offsetof(struct cellar_load, opts.fps));
    ld->call = call;
    ld->left = cache_lead_left;
    ld->led = true;
    cache_load_opts_begin(&ld->opts, call->p);
    flight_lead_begin(call->f, flight_depth() + 1);
}

CELLAR_PRIVATE void cache_lead_admit(struct cellar_load *ld)
{
    cellar_breaker *b = ld->call->p->breaker;
    ld->refused = ld->call->instead || (b != NULL && !cache_breaker_admit(b, &ld->pass));
    ld->breaker = ld->refused ? NULL : b; /* no pass: nothing to report */
}

/* ---- the loader ---- */

CELLAR_PRIVATE void cache_lead_report(struct cellar_load *ld, cellar_err verdict)
{
    if (ld->breaker == NULL) { return; }
    breaker_outcome how = BREAKER_SAID_NOTHING;
    const int64_t hard_timeout_ms = ld->call->p->ms[CACHE_HARD];
    const bool late = ld->ns / 1000000 >= (uint64_t)hard_timeout_ms;
    if (late || (verdict == CELLAR_E_LOADER && !cache_error_is_ours((int32_t)ld->returned)) ||
        verdict == CELLAR_E_NO_RESULT) {
        how = BREAKER_FAILED;
    } else if (verdict == CELLAR_OK) {
        how = BREAKER_WORKED;
    }
    cache_breaker_report(ld->breaker, ld->pass, how);
    ld->breaker = NULL;
}

static void cache_loader_body(void *arg)
{
    struct cellar_load *ld = arg;
    const cache_call *call = ld->call;
    sync_assert_none();
    if (ld->many != NULL) {
        ld->returned = ld->many(ld, ld->keys, ld->item_count, ld->many_ctx);
    } else {
        ld->returned = call->fn(ld, call->k.bytes, call->k.len, call->ctx);
    }
}

static void cache_loader_left(void *arg)
{
    struct cellar_load *ld = arg;
    stats_add(cache_mine(ld->call->c), STATS_LOAD_TAKEOVER, 1);
    cache_lead_report(ld, CELLAR_E_CANCELLED);
    flight_bytes_drop(ld->r.value);
    ld->left(ld);
}

CELLAR_PRIVATE void cache_lead_run(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    const uint64_t since_ns = base_now_ns();
    BASE_POINT("flight.load");
    base_run_callback(cache_loader_body, cache_loader_left, ld, call->cancel);
    ld->ns = base_now_ns() - since_ns;
    call->load_us = ld->ns / 1000;
    call->now_ms = base_now_ms(&call->c->store->clock);
    stats_block *mine = cache_mine(call->c);
    stats_add(mine, STATS_LOAD, 1);
    stats_add(mine, STATS_LOAD_NS, ld->ns);
    stats_time(call->c->stats, STATS_OP_LOAD, ld->ns);
}

CELLAR_PRIVATE cellar_err cache_lead_verdict(const struct cellar_load *ld, int32_t *code)
{
    cellar_err err = CELLAR_OK;
    if (ld->refused) {
        err = ld->call->instead ? ld->call->failed : CELLAR_E_BREAKER_OPEN;
    } else if (ld->r.twice) {
        err = CELLAR_E_RESULT_TWICE;
    } else if (ld->r.setter_err == CELLAR_E_TOOBIG) {
        err = CELLAR_E_TOOBIG;
    } else if (ld->returned != CELLAR_OK || ld->r.failed) {
        *code = ld->r.failed ? ld->r.loader_err : (int32_t)ld->returned;
        return CELLAR_E_LOADER;
    } else if (ld->r.setter_err != CELLAR_OK) {
        err = ld->r.setter_err;
    } else if (ld->r.said == CACHE_REPORTED_NOTHING ||
               (ld->r.said == CACHE_REPORTED_SAME && !ld->call->old_current)) {
        err = CELLAR_E_NO_RESULT;
    }
    *code = (int32_t)err;
    return err;
}

/* ---- fallbacks ---- */

/* Reset the handle of the loader to its first state. */
static void cache_load_anew(struct cellar_load *ld)
{
    const struct cellar_load old = *ld;
    *ld = (struct cellar_load){ .call = old.call, .left = old.left, .bulk = old.bulk,
                                .led = old.led, .no_disk = true, .ns = old.ns };
    cache_load_opts_begin(&ld->opts, old.call->p);
    ld->opts.ttl_ms = old.call->p->fallback_ttl_ms;
    ld->opts.own |= CACHE_GIVEN_TTL;
}

static void cache_instead(struct cellar_load *ld, uint32_t source)
{
    cache_publish_result(ld);
    ld->call->source = source;
    stats_add(cache_mine(ld->call->c), STATS_LOAD_INSTEAD, 1);
}

/* Answer with a fallback or the default value, if there is no stale value. Return true if the call
 * is answered. */
static bool cache_fallbacks(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    int32_t code;
    /* a lease may be refused or released at any depth */
    if (cache_has_stale(call) || flight_depth() > cache_depth_most(call->p)) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        const cellar_fallback *f = &call->p->fallback[i];
        if (f->fn == NULL) { continue; }
        cache_load_anew(ld);
        call->fn = f->fn;
        call->ctx = f->ctx;
        cache_lead_run(ld);
        if (ld->r.said != CACHE_REPORTED_SAME && cache_lead_verdict(ld, &code) == CELLAR_OK) {
            cache_instead(ld, CELLAR_SOURCE_FALLBACK);
            return true;
        }
        flight_bytes_drop(ld->r.value);
    }
    call->asked = cache_fallbacks_of(call->p);
    cache_load_anew(ld);
    ld->r = (cache_item){ .value = cache_default_value(call), .said = CACHE_REPORTED_VALUE };
    if (ld->r.value == NULL) { return false; }
    cache_instead(ld, CELLAR_SOURCE_DEFAULT);
    return true;
}

/* ---- settle ---- */

/* Answer a load without its loader. Return true if a fallback answers it. */
static bool cache_settle_refused(struct cellar_load *ld, cellar_err err)
{
    cache_call *call = ld->call;
    const bool open = !call->instead;
    call->now_ms = base_now_ms(&call->c->store->clock);
    if (cache_fallbacks(ld)) { return true; }
    if (open) {
        call->retry_at_ms = base_add_sat(call->now_ms, cache_breaker_wait(call->p->breaker));
    }
    /* Only waiters of the failed flight get its error: later callers may ask the source. */
    if (open || call->hold_ms != 0) { call->flags |= FLIGHT_FINAL; }
    cache_answer_failed(call, err);
    if (call->code == err && !open) {
        call->source = call->hold_ms != 0 ? CELLAR_SOURCE_ERROR_ENTRY : CELLAR_SOURCE_JOINED;
    }
    return false;
}

/* Log the failure of a loader. */
BASE_NOINLINE static void cache_failed_tell(const cache_call *call, cellar_err err, int32_t code)
{
    char name[CACHE_KEY_NAME];
    cache_key_name(call->c, &call->k, name);
    base_log_line(&call->c->store->log, BASE_LOG_WARNING, "loader", (int)err,
                  "a loader failed (its code: %d)%s", (int)code, name);
}

/* Answer a failed loader. The failure is reported with the results of that loader. Return true if a
 * fallback answers it. */
static bool cache_settle_failed(struct cellar_load *ld, cellar_err err, int32_t code)
{
    cache_call *call = ld->call;
    struct cellar_load instead = *ld;
    const int64_t after_ms = ld->r.retry_after_ms;
    const int64_t retry_at_ms = after_ms > 0 ? base_add_sat(call->now_ms, after_ms) : 0;
    if ((int)BASE_LOG_WARNING <= cache_log_limit(call->c)) { cache_failed_tell(call, err, code); }
    if (err == CELLAR_E_NO_RESULT) {
        cache_error_keep(call->c, err, 0, "load: the loader returned without a result: let it call "
                                          "cellar_load_value, _absent or _fail");
    }
    call->hold_ms = cache_failure_hold(ld, code);
    const bool brought = cache_fallbacks(&instead);
    stats_add(cache_mine(call->c), STATS_LOAD_FAILED, 1);
    call->loader_err = code;
    if (brought) {
        const uint32_t why = call->flags & (FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN);
        if (why == FLIGHT_NOT_STORED && call->hold_ms != 0) { cache_keep_failure(ld, code); }
        return true;
    }
    if (!call->old_current) {
        cache_why_note(call->c->store, call->k.hash, CELLAR_CAUSE_LOAD_FAILED);
    }
    if ((ld->r.fail_flags & CELLAR_FAIL_FINAL) != 0 || after_ms > 0) {
        call->flags |= FLIGHT_FINAL;
    }
    call->retry_at_ms = retry_at_ms;
    cache_keep_failure(ld, code);
    cache_answer_failed(call, err);
    return false;
}

CELLAR_PRIVATE uint32_t cache_lead_settle(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    bool brought = true;
    int32_t code;
    const cellar_err err = cache_lead_verdict(ld, &code);
    cache_lead_report(ld, err);
    if (err == CELLAR_OK) {
        cache_publish_result(ld);
    } else {
        flight_bytes_drop(ld->r.value);
        ld->r.value = NULL;
        brought = ld->refused ? cache_settle_refused(ld, err)
                              : cache_settle_failed(ld, err, code);
        call->failed = err;
    }
    if (brought && (call->flags & FLIGHT_NOT_STORED) != 0) {
        stats_add(cache_mine(call->c), STATS_LOAD_NOT_STORED, 1);
    }
    if (call->leased) { cache_shared_unlease(call); }
    if (ld->led) { flight_lead_end(call->f); }
    cache_release(call, !brought ? FLIGHT_FAILED
                        : call->code == CELLAR_ABSENT ? FLIGHT_NONE : FLIGHT_OK);
    return call->flags;
}

CELLAR_PRIVATE void cache_lead(cache_call *call)
{
    struct cellar_load ld;
    cache_lead_begin(&ld, call);
    cache_lead_admit(&ld);
    if (!ld.refused) { cache_lead_run(&ld); }
    (void)cache_lead_settle(&ld);
}
