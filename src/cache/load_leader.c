/* SPDX-License-Identifier: MIT
 *
 * load_leader: the leader of a flight looks again, loads, stores, and ends the flight.
 *
 * PICTURE    flight.lead -> second look -> tier -> [flight.load] loader -> [flight.publish] store;
 *            its window unlinks the flight -> end: outcome, [flight.wake], own ref
 * INVARIANTS The flight is attached and counted before the second look, and the look waits for an
 *            open window: the look sees each change that did not see the flight.
 *            A result is stored only while the flight is attached. Stored or not, it reaches the
 *            caller and all waiters. The outcome is filled once and the flight ended once, also if
 *            the thread ends inside the loader.
 * LOCKING    None of its own. The loader runs with the cancel state of the caller; no other code in
 *            this file is a place where a thread may end.
 * TIMES      A value: TTL of the loader, else of the call, else of the namespace; jittered once. A
 *            failure with a value in L1: retry_at on that entry. A failure without one, with
 *            error_ttl: an entry of kind ERROR; `fails` doubles the pause up to error_ttl_max.
 *            retry_at of an error is signed milliseconds from its end, of a value the absolute
 *            time: neither wraps.
 * SEE ALSO   load.c (enter and wait), loader_api.c (calls of a loader). */
#include "cache/load_int.h"

static bool cache_blind(const cache_call *call)
{
    return (call->p.flags & CELLAR_LOAD_REFRESH) != 0;
}

static bool cache_keeps(const struct cellar_load *ld)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    return (ld->call->p.flags & no) == 0 && !ld->no_store && !ld->unrecorded &&
           !cache_is_off(ld->call->c);
}

/* ---- reads of the loader ---- */

CELLAR_PRIVATE void cache_record_begin(struct cellar_load *ld, flight *f)
{
    cellar *c = ld->call->c;
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    if (c->store->deps == NULL || base_load_rlx(&c->deps) == 0) { return; }
    if (ld->run == NULL && !ld->unrecorded && (ld->call->p.flags & no) == 0) {
        ld->run = cache_run_begin(c);
        ld->unrecorded = ld->run == NULL;
        if (ld->unrecorded) { stats_count(c->stats, STATS_LIMIT_DEPS, 1); }
    }
    if (ld->run != NULL) { flight_notes_set(f, cache_run_share(ld->run)); }
    if (ld->unrecorded) { flight_detach(ld->t, f); } /* no later caller joins it */
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

/* ---- second look and tier ---- */

/* Mark the outcome as tagged if the entry found in L1 has tags. */
static void cache_outcome_found(const cache_call *call, flight_outcome *o)
{
    o->tag_born = call->tag_born;
    if (call->found.tag_count != 0 && !BASE_MUTANT("tag.found_untagged")) {
        o->flags |= FLIGHT_TAGGED;
    }
}

CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight *f, flight_outcome *o)
{
    if (BASE_MUTANT("flight.no_second_probe")) { return false; }
    if (BASE_MUTANT("flight.takeover_no_probe") && (flight_takeovers(f) > 0 || call->job != NULL)) {
        return false;
    }
    const int64_t seen_ms = call->early ? call->found.deadline_ms : -1;
    const bool was_early = call->early;
    const cellar_err look = cache_look(call);
    BASE_POINT("flight.second");
    if (call->hold_ms != 0) { /* the failure may be forgotten now */
        call->instead = false;
        call->hold_ms = 0;
    }
    call->old_current = look == CELLAR_OK || look == CELLAR_STALE;
    if (cache_blind(call)) { return false; }
    switch ((int)look) {
    case CELLAR_OK:
        if (was_early && call->found.deadline_ms == seen_ms) { return false; }
        cache_answer_old(call, CELLAR_SOURCE_L1);
        cache_outcome_found(call, o);
        o->phase = FLIGHT_OK;
        o->value = flight_bytes_ref(call->value);
        o->deadline_ms = call->deadline_ms;
        return true;
    case CELLAR_ABSENT:
        cache_outcome_found(call, o);
        o->phase = FLIGHT_NONE;
        (void)cache_answer(call, look, CELLAR_SOURCE_NEGATIVE);
        return true;
    case CELLAR_E_LOADER:
        if (!cache_failure_heard(call, look, CELLAR_SOURCE_ERROR_ENTRY, 0)) { return false; }
        o->phase = FLIGHT_FAILED;
        o->err = look;
        o->flags = FLIGHT_FINAL;
        o->loader_err = call->loader_err;
        o->retry_at_ms = call->retry_at_ms;
        return true;
    case CELLAR_MISS:
        if (call->job == NULL) { return false; }
        o->phase = FLIGHT_CANCELLED; /* a refresh belongs to its entry, which is gone */
        return true;
    default: return false; /* no memory for a copy: load it */
    }
}

CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o)
{
    cellar *c = call->c;
    size_t len = 512;
    cellar_err err = CELLAR_E_BUFFER, kept;
    cache_tier_meta m;
    flight_bytes *b = NULL;
    base_thread_self()->tags_read = 0;
    if (BASE_LIKELY(c->store->tier == NULL) ||
        call->hold_ms != 0) { /* L1 remembers a newer failure */
        return false;
    }
    if (cache_is_off(c) || cache_blind(call) || (call->p.flags & CELLAR_LOAD_NO_L2) != 0) {
        return false;
    }
    for (unsigned round = 0; err == CELLAR_E_BUFFER && round < CACHE_ROUNDS; round++) {
        flight_bytes_drop(b);
        b = flight_bytes_new(&c->store->hooks, len);
        if (b == NULL) { return false; }
        err = cache_tier_fetch(c, &call->k, b->data, b->len, &len, &m, &kept);
    }
    call->tag_born = o->tag_born = base_thread_self()->tags_read;
    if (err != CELLAR_OK) { flight_bytes_drop(b); }
    if ((err == CELLAR_OK || err == CELLAR_ABSENT) && m.tag_count != 0) {
        o->flags |= FLIGHT_TAGGED;
    }
    if (err == CELLAR_ABSENT) {
        o->phase = FLIGHT_NONE;
        (void)cache_answer(call, err, CELLAR_SOURCE_NEGATIVE);
        return true;
    }
    if (err != CELLAR_OK) { return false; }
    b->len = len;
    b->user_flags = m.user_flags;
    call->value = b;
    call->user_flags = m.user_flags;
    call->deadline_ms = -1;
    o->phase = FLIGHT_OK;
    o->value = flight_bytes_ref(b);
    o->deadline_ms = -1;
    (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_L2);
    return true;
}

/* ---- store ---- */

/* Store for this flight: the commit hook knows the flight by its key pointer. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o)
{
    cellar *c = ld->call->c;
    const flight_key fk = flight_key_of(ld->f);
    const l1_key k = { fk.bytes, fk.len, fk.generation, fk.hash };
    p->change = L1_CHANGE_PUBLISH;
    const bool no_disk = ld->no_disk || (ld->call->p.flags & CELLAR_LOAD_NO_L2) != 0;
    if (no_disk && c->store->tier != NULL) { p->l2_addr = CACHE_NOT_ON_DISK; }
    if (BASE_MUTANT("flight.late_store")) { p->change = L1_CHANGE_BACKFILL; }
    if (BASE_MUTANT("flight.unlink_before_window")) {
        if (!flight_may_publish(ld->t, &fk)) { return CELLAR_CONFLICT; }
        p->change = L1_CHANGE_BACKFILL;
    }
    BASE_POINT("flight.publish");
    const cellar_err err = cache_put_once(c, &k, p);
    if (err == CELLAR_OK) {
        cache_put_count(c, p);
        o->tag_born = p->tag_count != 0 ? p->tag_born : 0;
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
    if (BASE_MUTANT("tag.born_late")) { p->tag_born = base_load_acq(&s->tag_epoch); }
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
    if (ld->run != NULL) { cache_run_keeps(ld->run, was + user, count - user, born); }
    cache_record_settle(ld, o);
    for (uint32_t i = 0; i < ld->list_count; i++) {
        const bool bound = i == ld->tag_count + 1;
        *more = *more || (!bound && !cache_has_tag(was, count, ld->fps[i]));
    }
    return true;
}

/* Renew the old value: in place, or from our copy if it was evicted meanwhile. Do not store the
 * copy if it had tags, one of which may have ended it, or dependencies, which may be forgotten with
 * the entry. */
static void cache_publish_same(struct cellar_load *ld, flight_outcome *o)
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
    o->tag_born = ld->list_count != 0 ? ld->tag_born : BASE_MAX(call->tag_born, ld->tag_born);
    /* Dependants took over the later end and not these tags. */
    if (err == CELLAR_OK && deps && (more || r.deadline_ms < was_ms)) {
        cache_deps_changed(call->c->store, call->k.hash, call->k.generation);
    }
    if (err == CELLAR_MISS || err == CELLAR_E_SPACE) {
        if ((call->found.tag_count != 0 && !BASE_MUTANT("tag.same_untagged")) ||
            (err == CELLAR_MISS && ld->run != NULL)) {
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

CELLAR_PRIVATE bool cache_error_is_ours(int32_t code)
{
    return code == CELLAR_E_CANCELLED || code == CELLAR_E_DEADLOCK || code == CELLAR_E_TIMEOUT ||
           code == CELLAR_E_LIMIT || code == CELLAR_E_DEPTH || code == CELLAR_E_CLOSED;
}

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

/* Remember the failure: on the value in L1, else in an entry of its own. */
static void cache_keep_failure(struct cellar_load *ld, int32_t loader_err, flight_outcome *o)
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

/* ---- the loader ---- */

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
    cache_guard_report(ld, CELLAR_E_CANCELLED);
    ld->left(ld);
}

/* Free what the lost frames owned beside the flight, after a longjmp. */
static void cache_loader_lost(flight_will *w)
{
    flight_bytes_drop(w->a);
    flight_bytes_drop(w->b);
    if (w->c != NULL) { cache_breaker_report(w->c, w->n, BREAKER_SAID_NOTHING); }
}

CELLAR_PRIVATE void cache_run_loader(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    const uint64_t since_ns = base_now_ns();
    const flight_will will = { ld->lost != NULL ? ld->lost : cache_loader_lost, ld->host, call->old,
                               ld->breaker, ld->pass };
    flight *holder = ld->f != NULL ? ld->f : ld->noted; /* innermost flight led here */
    flight_will_set(holder, &will);
    if (ld->run != NULL) { cache_run_reads(ld->run, true); }
    BASE_POINT("flight.load");
    base_callout(cache_loader_body, cache_loader_left, ld, call->cancel);
    flight_will_set(holder, NULL);
    if (ld->run != NULL) { cache_run_reads(ld->run, false); }
    ld->ns = base_now_ns() - since_ns;
    call->load_us = ld->ns / 1000;
    call->now_ms = base_now_ms(&call->c->store->clock);
    stats_block *mine = cache_mine(call->c);
    stats_add(mine, STATS_LOAD, 1);
    stats_add(mine, STATS_LOAD_NS, ld->ns);
}

/* Hand the flight over to a waiter, because the thread ended inside the loader. */
static void cache_lead_left(struct cellar_load *ld)
{
    static const flight_outcome cancelled = { .phase = FLIGHT_CANCELLED };
    cache_call *call = ld->call;
    cellar *c = call->c;
    flight_lead_end(ld->f);
    flight_end(ld->t, ld->f, &cancelled); /* drops the draft, too */
    cache_call_forget(call);
    if (call->job != NULL) { cache_job_left(call); }
    cache_load_end(c);
}

/* Return the verdict on return code and results of the loader. */
static cellar_err cache_verdict(const struct cellar_load *ld)
{
    if (ld->twice) { return CELLAR_E_RESULT_TWICE; }
    if (ld->trouble == CELLAR_E_TOOBIG) { return CELLAR_E_TOOBIG; }
    if (ld->returned != CELLAR_OK || ld->failed) { return CELLAR_E_LOADER; }
    if (ld->trouble != CELLAR_OK) { return ld->trouble; }
    if (ld->said == CACHE_SAID_NOTHING) { return CELLAR_E_NO_RESULT; }
    if (ld->said == CACHE_SAID_SAME && !ld->call->old_current) { return CELLAR_E_NO_RESULT; }
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_lead_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                      flight_outcome *o)
{
    cache_call *call = ld->call;
    struct cellar_load instead = *ld; /* the failure is reported with the results of the first
                                       * loader */
    base_log(&call->c->store->log, BASE_LOG_WARNING, "loader", (int)err,
             "a loader failed (its code: %d)", (int)loader_err);
    if (ld->retry_after_ms > 0 && call->p.error_ttl_ms > 0) {
        call->hold_ms = base_add_sat(call->now_ms, ld->retry_after_ms);
    }
    if (cache_fallbacks(&instead, o)) {
        stats_add(cache_mine(call->c), STATS_LOAD_FAILED, 1);
        call->loader_err = loader_err;
        if (instead.no_store && call->hold_ms != 0) {
            flight_outcome pause = { .phase = FLIGHT_FAILED };
            cache_keep_failure(ld, loader_err, &pause);
        }
        return;
    }
    cache_publish_failed(ld, err, loader_err, o);
    call->loader_err = loader_err;
    call->retry_at_ms = o->retry_at_ms;
    (void)cache_answer_failed(call, err);
}

static void cache_lead_conclude(struct cellar_load *ld, flight_outcome *o)
{
    const cellar_err err = cache_verdict(ld);
    flight_bytes *value = ld->value;
    flight_draft(ld->f, NULL);
    ld->value = NULL;
    cache_guard_report(ld, err);
    if (err != CELLAR_OK) {
        int32_t loader_err = (int32_t)err;
        if (err == CELLAR_E_LOADER) {
            loader_err = ld->failed ? ld->loader_err : (int32_t)ld->returned;
        }
        flight_bytes_drop(value);
        cache_lead_failed(ld, err, loader_err, o);
        return;
    }
    if (ld->said == CACHE_SAID_NONE) {
        cache_publish_none(ld, o);
    } else if (ld->said == CACHE_SAID_SAME) {
        cache_publish_same(ld, o);
    } else {
        cache_publish_value(ld, value, o);
    }
    cache_answer_loaded(ld, o);
}

CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    call->tag_born = o->tag_born;
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

CELLAR_PRIVATE void cache_lead(cache_call *call, flight_table *t, flight *f)
{
    struct cellar_load ld;
    flight_outcome o;
    memset(&o, 0, sizeof o);
    const l1_key own = call->k;
    const flight_key fk = flight_key_of(f);
    call->k.bytes = fk.bytes;
    flight_lead_begin(f, (uintptr_t)__builtin_frame_address(0));
    const bool looks = (call->p.flags & CELLAR_LOAD_BYPASS) == 0 && !cache_is_off(call->c);
    if (flight_takeovers(f) > 0) { stats_add(cache_mine(call->c), STATS_LOAD_TAKEOVER, 1); }
    if (!(looks && (cache_second_look(call, f, &o) ||
                    (call->old == NULL && cache_tier_look(call, &o))))) {
        memset(&ld, 0, sizeof ld);
        ld.call = call;
        ld.t = t;
        ld.f = f;
        ld.left = cache_lead_left;
        const bool admitted = !call->instead && cache_guard_admit(&ld);
        if (admitted || cache_load_has_instead(call->o)) { /* fallbacks read, too */
            cache_record_begin(&ld, f);
        }
        if (admitted) {
            cache_run_loader(&ld);
            cache_lead_conclude(&ld, &o);
        } else {
            cache_guard_refused(&ld, &o);
        }
    }
    o.source = call->source;
    o.load_us = call->load_us;
    flight_lead_end(f);
    flight_end(t, f, &o);
    call->k = own; /* the key copy of the flight may be freed */
}
