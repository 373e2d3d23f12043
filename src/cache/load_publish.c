/* SPDX-License-Identifier: MIT
 *
 * load_publish: store the result of a loader, or remember its failure.
 *
 * INVARIANTS A result is stored only while the flight is attached. Stored or not, it reaches the
 *            caller and all waiters.
 * TIMES      A value: TTL of the loader, else of the call, else of the namespace; jittered once. A
 *            failure with a value in L1: retry_at on that entry. A failure without one, with
 *            error_ttl: an entry of kind ERROR; `fails` doubles the pause up to error_ttl_max.
 *            retry_at of an error is signed milliseconds from its end, of a value the absolute
 *            time: neither wraps. */
#include "cache/load_publish.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/dependencies.h"
#include "cache/dependency_table.h"
#include "cache/explain_record.h"
#include "cache/load_call.h"
#include "cache/load_guard.h"
#include "cache/plan.h"
#include "cache/set.h"
#include "cache/tier_store.h"

static bool cache_keeps(const struct cellar_load *ld)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p.flags & no) == 0 && !ld->no_store && !ld->unrecorded &&
           !cache_is_off(ld->call->c);
}

/* Complete the tags of the result. Keep it only if all reads were recorded and none has changed. */
static void cache_record_settle(struct cellar_load *ld, flight_outcome *o)
{
    ld->list_count = ld->tag_count;
    ld->tag_born = flight_tag_born(ld->f); /* never later: an older value is invalid after the
                                            * end of a tag */
    if (ld->run == NULL) { return; }
    const cache_run_verdict verdict = cache_run_settle(ld->run, ld);
    ld->unrecorded = verdict != CACHE_RUN_SOUND;
    if (verdict == CACHE_RUN_ENDED) {
        cache_why_note(ld->call->c->store, ld->call->k.hash, CELLAR_CAUSE_INVALIDATED);
        o->flags |= FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN;
    }
}

CELLAR_PRIVATE void cache_outcome_found(const cache_call *call, flight_outcome *o)
{
    o->identity = call->identity;
    if (call->identity > 1) { o->looked = call->looked; } /* it has dependencies */
    if (call->found.tag_count != 0) { o->flags |= FLIGHT_TAGGED; }
}

/* Store for this flight: the commit hook knows the flight by its key pointer. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o)
{
    cellar *c = ld->call->c;
    const flight_key fk = flight_key_of(ld->f);
    const l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    p->change = L1_CHANGE_PUBLISH;
    const bool no_disk = ld->no_disk || (ld->call->p.flags & CELLAR_LOAD_NO_L2) != 0;
    if (no_disk && c->store->tier != NULL) { p->l2_addr = CACHE_NOT_ON_DISK; }
    BASE_POINT("flight.publish");
    const cellar_err err = cache_put_once(c, &k, p);
    if (err == CELLAR_OK) {
        cache_put_count(c, p);
        o->identity = cache_deps_identity(p->tag_fps, p->tag_count);
        return err;
    }
    o->flags |= FLIGHT_NOT_STORED;
    if (err == CELLAR_CONFLICT) {
        cache_why_note(c->store, k.hash, CELLAR_CAUSE_INVALIDATED);
        o->flags |= FLIGHT_OVERTAKEN;
    } else if (err < 0) {
        (void)cache_put_failed(c, p, err);
    }
    stats_add(cache_mine(c), STATS_LOAD_NOT_STORED, 1);
    return err;
}

static void cache_publish_plan(const struct cellar_load *ld, int64_t ttl_ms, cache_plan *plan)
{
    const cache_load_plan *p = &ld->call->p;
    memset(plan, 0, sizeof *plan);
    plan->ttl_ms = ttl_ms;
    plan->most_ms = BASE_NEVER_MS;
    plan->now_ms = ld->call->now_ms;
    plan->jitter_pct = ttl_ms == BASE_NEVER_MS ? 0 : p->jitter_pct;
    plan->jitter_mode = p->jitter_mode;
    plan->spec.deadline_ms = cache_plan_deadline(ld->call->c, plan, ld->call->k.hash);
    if (ld->run != NULL) { /* not longer than its dependencies */
        plan->spec.deadline_ms = BASE_MIN(plan->spec.deadline_ms, cache_run_until(ld->run));
    }
}

static void cache_publish_tags(struct cellar_load *ld, l1_put_spec *p)
{
    const cache_store *s = ld->call->c->store;
    p->tag_fps = ld->fps;
    p->tag_count = ld->list_count;
    p->tag_born = ld->tag_born;
    /* Without epochs of the tier a later life of the store would believe the tags. */
    if (ld->list_count != ld->tag_count && s->tier != NULL && s->tag_life == 0) {
        p->l2_addr = CACHE_NOT_ON_DISK;
    }
}

/* Mark the outcome as tagged. Callers after the end of a tag do not use it. */
static void cache_outcome_said(const struct cellar_load *ld, flight_outcome *o)
{
    if (ld->tag_count != 0) { o->flags |= FLIGHT_TAGGED; }
}

static int64_t cache_stale_window(const struct cellar_load *ld, int64_t ttl_ms)
{
    if (ttl_ms == BASE_NEVER_MS) { return 0; }
    return ld->has_stale ? ld->stale_ms : ld->call->p.stale_ms;
}

CELLAR_PRIVATE void cache_publish_value(struct cellar_load *ld, flight_bytes *value,
                                        flight_outcome *o)
{
    cache_call *call = ld->call;
    const int64_t ttl = ld->has_ttl ? ld->ttl_ms : call->p.ttl_ms;
    cache_filter_found(call->c, call->k.bytes, call->k.len);
    value->user_flags = ld->user_flags;
    cache_record_settle(ld, o);
    cache_outcome_said(ld, o);
    o->phase = FLIGHT_OK;
    o->value = value;
    o->deadline_ms = base_add_sat(call->now_ms, ttl);
    if (!cache_keeps(ld) || ttl == 0) {
        if (ld->unrecorded) { stats_add(cache_mine(call->c), STATS_LOAD_NOT_STORED, 1); }
        o->flags |= FLIGHT_NOT_STORED;
        return;
    }
    const bool early = (call->p.eager_refresh_pct | call->p.xfetch) != 0 && ttl != BASE_NEVER_MS;
    const uint64_t took_us = ld->ns / 1000;
    uint32_t cost_us = ld->cost_us;
    stats_add(cache_mine(call->c), STATS_LOAD_COST, cost_us != 0 ? cost_us : took_us);
    if (cost_us == 0 && early) { cost_us = (uint32_t)BASE_MIN(took_us, UINT32_MAX) | 1u; }
    cache_plan plan;
    cache_publish_plan(ld, ttl, &plan);
    l1_put_spec *p = &plan.spec;
    p->value = value->data;
    p->value_len = value->len;
    p->stale_ms = cache_stale_window(ld, ttl);
    p->user_flags = ld->user_flags;
    p->cost = cache_cost_code(cost_us);
    p->flags |= (early ? L1_WANT_BORN : 0u) | cache_carried(base_load_rlx(&call->c->carries));
    cache_publish_tags(ld, p);
    o->deadline_ms = p->deadline_ms;
    (void)cache_publish(ld, p, o);
}

CELLAR_PRIVATE void cache_publish_none(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    int64_t ttl = ld->has_negative ? ld->negative_ttl_ms : call->p.negative_ttl_ms;
    if (call->p.no_negative) { ttl = 0; }
    cache_record_settle(ld, o);
    cache_outcome_said(ld, o);
    o->phase = FLIGHT_NONE;
    if (!cache_keeps(ld)) { return; }
    if (ttl == 0 && !call->old_current) { return; } /* no value that would be served further */
    cache_plan plan;
    cache_publish_plan(ld, BASE_MAX(ttl, 1), &plan);
    if (ttl == 0) { plan.spec.deadline_ms = call->now_ms; } /* dead immediately; replaces the old
                                                             * value */
    plan.spec.kind = (uint8_t)L1_NEGATIVE;
    plan.spec.flags |= cache_carried(base_load_rlx(&call->c->carries));
    cache_publish_tags(ld, &plan.spec);
    (void)cache_publish(ld, &plan.spec, o);
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
    cellar *c = ld->call->c;
    const flight_key fk = flight_key_of(ld->f);
    const l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    BASE_POINT("flight.publish");
    if (!cache_is_observed(c->store)) { return l1_renew(c->l1, &k, r, NULL); }
    cache_frame frame;
    const cache_urge urge = cache_urge_of(c, false);
    cache_change_begin(&frame, false, false);
    frame.below = urge != CACHE_LATER;
    const cellar_err err = l1_renew(c->l1, &k, r, NULL);
    if (err == CELLAR_OK && urge != CACHE_LATER) {
        (void)cache_change_stored(c, &frame, &k, NULL, urge); /* counted there; the value is
                                                               * returned anyway */
    } else {
        cache_change_end(c, &frame, &k);
    }
    return err;
}

static bool cache_has_tag(const uint64_t *fps, uint32_t count, uint64_t fp)
{
    for (uint32_t i = 0; i < count; i++) {
        if (fps[i] == fp) { return true; }
    }
    return false;
}

/* Merge the tags of the present entry into those of this load: its bytes still depend on what they
 * were made of. Only its load changes them: a set would invalidate the flight. *more: readers of
 * the entry lack a tag. Return false if the load has no record of its reads for them. */
static bool cache_same_tags(struct cellar_load *ld, flight_outcome *o, bool *more)
{
    uint64_t was[BASE_TAGS_MAX], born = 0;
    const uint32_t count = l1_tags_of(ld->call->c->l1, &ld->call->k, was, &born),
                   user = cache_deps_from(was, count);
    if (ld->run == NULL && user < count && ld->tag_count != 0) { return false; }
    if (ld->run != NULL && ld->tag_count == 0) {
        memcpy(ld->fps, was, user * sizeof was[0]);
        ld->tag_count = user;
    }
    if (ld->run != NULL) { cache_run_keeps(ld->run, was + user, count - user); }
    cache_record_settle(ld, o);
    for (uint32_t i = 0; i < ld->list_count; i++) {
        const bool own = i == ld->tag_count + 1 || i == ld->tag_count + 2; /* bound, born */
        *more = *more || (!own && !cache_has_tag(was, count, ld->fps[i]));
    }
    return true;
}

CELLAR_PRIVATE void cache_publish_same(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const int64_t ttl = ld->has_ttl ? ld->ttl_ms : call->p.ttl_ms;
    cache_plan plan;
    bool more = false;
    ld->user_flags = call->found.user_flags;
    cache_outcome_found(call, o);
    const bool kept = cache_same_tags(ld, o, &more);
    if (!cache_keeps(ld) || ttl == 0) {
        cache_publish_value(ld, flight_bytes_ref(call->old), o);
        return;
    }
    cache_outcome_said(ld, o);
    cache_publish_plan(ld, ttl, &plan);
    int64_t was_ms = 0;
    const l1_renewal r = { .times = true, .deadline_ms = plan.spec.deadline_ms,
                           .stale_ms = cache_stale_window(ld, ttl), .tag_fps = ld->fps,
                           .tag_count = ld->list_count, .tag_born = ld->tag_born,
                           .was_ms = &was_ms };
    const bool deps = call->c->store->deps != NULL;
    const cellar_err err = kept ? cache_renew(ld, &r) : CELLAR_E_SPACE;
    if (ld->list_count != 0) { o->identity = cache_deps_identity(ld->fps, ld->list_count); }
    /* Dependants took over the later end and not these tags. */
    if (err == CELLAR_OK && deps && (more || r.deadline_ms < was_ms)) {
        cache_deps_changed(call->c->store, call->k.hash, call->k.generation);
    }
    if (err == CELLAR_MISS || err == CELLAR_E_SPACE) {
        if (call->found.tag_count != 0 || (err == CELLAR_MISS && ld->run != NULL)) {
            ld->no_store = true;
        }
        cache_publish_value(ld, flight_bytes_ref(call->old), o);
        return;
    }
    o->phase = FLIGHT_OK;
    o->value = flight_bytes_ref(call->old);
    o->deadline_ms = plan.spec.deadline_ms;
    if (err != CELLAR_OK) {
        o->flags |= FLIGHT_NOT_STORED | FLIGHT_OVERTAKEN;
        stats_add(cache_mine(call->c), STATS_LOAD_NOT_STORED, 1);
    }
}

/* ---- failures ---- */

/* Return the pause: error_ttl doubled for each failure in a row, upper half at random. */
static int64_t cache_backoff_ms(const struct cellar_load *ld, uint32_t fails)
{
    const cache_load_plan *p = &ld->call->p;
    const unsigned shift = BASE_MIN(fails - 1, 40u);
    int64_t span = p->error_ttl_ms;
    for (unsigned i = 0; i < shift && span < p->error_max_ms; i++) {
        span = base_add_sat(span, span);
    }
    span = BASE_MIN(span, p->error_max_ms);
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
    p.deadline_ms = base_add_sat(o->retry_at_ms, call->p.error_max_ms);
    p.retry_at = cache_retry_field(o->retry_at_ms, p.deadline_ms);
    p.loader_code = (uint32_t)loader_err;
    flight_outcome stored = { .phase = FLIGHT_FAILED };
    (void)cache_publish(ld, &p, &stored);
    o->flags |= FLIGHT_FINAL;
}

static bool cache_keeps_failure(const struct cellar_load *ld, int32_t loader_err)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p.flags & no) == 0 && !cache_is_off(ld->call->c) &&
           (ld->failed || !cache_error_is_ours(loader_err));
}

CELLAR_PRIVATE void cache_keep_failure(struct cellar_load *ld, int32_t loader_err,
                                       flight_outcome *o)
{
    cache_call *call = ld->call;
    if (!cache_keeps_failure(ld, loader_err)) { return; }
    if (call->old_current) {
        const int64_t pause = ld->retry_after_ms > 0 ? ld->retry_after_ms :
            call->p.retry_throttle_ms;
        o->retry_at_ms = base_add_sat(call->now_ms, pause);
        const l1_renewal r = { .retry_at = (uint32_t)o->retry_at_ms,
                               .loader_code = (uint32_t)((uint64_t)o->retry_at_ms >> 32) };
        (void)cache_renew(ld, &r); /* vetoed, gone or no room: no pause then */
    } else if (call->p.error_ttl_ms > 0) {
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

/* ---- answer ---- */

CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    call->identity = o->identity;
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
    if ((o->flags & FLIGHT_NOT_STORED) != 0) { call->result_flags |= CELLAR_RESULT_NOT_STORED; }
    if ((o->flags & FLIGHT_OVERTAKEN) != 0) { call->result_flags |= CELLAR_RESULT_INVALIDATED; }
}
