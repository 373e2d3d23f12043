/* SPDX-License-Identifier: MIT
 *
 * load_leader: the leader of a flight runs the loader, stores its result and ends the flight.
 *
 * PICTURE    led -> breaker -> [flight.load] loader -> verdict -> [flight.publish] store; the
 *            window of the store unlinks the flight -> end: outcome, [flight.wake], own ref
 *            breaker open, loader failed, failure remembered -> stale value, else fallbacks, else
 *            default value, else the error
 * INVARIANTS The outcome is filled once and the flight ended once, and each pass of the breaker is
 *            reported once, also if the thread ends inside the loader.
 *            A fallback result is marked: source FALLBACK or DEFAULT, kept for fallback_ttl_ms, in
 *            memory only. A loader that answers "absent" has succeeded: no fallback runs.
 * LOCKING    The loader runs without a lock, with the cancel state of the caller. No other code in
 *            this file is a place where a thread may end.
 * LIMITS     3 fallbacks. Fallbacks and default value belong to foreground loads. A bulk load asks
 *            them per key, a lease asks them when it is refused or released with an error.
 * SEE ALSO   load_acquire.c, load_publish.c (the result), breaker_calls.c. */
#include "base/user_callback.h"
#include "loading/load_leader.h"

#include "cache/call.h"
#include "cache/shared.h"
#include "cache/talk.h"
#include "loading/breaker_calls.h"
#include "loading/job.h"
#include "loading/load_acquire.h"
#include "loading/load_call.h"
#include "loading/load_look.h"
#include "loading/load_plan.h"
#include "loading/load_publish.h"
#include "loading/load_shared.h"

/* ---- begin ---- */

/* Hand the flight over to a waiter, because the thread ended inside the loader. */
static void cache_lead_left(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    cache_store *s = call->c->store;
    cache_shared_unlease(call);
    flight_lead_end(ld->f);
    cache_flight_cancel(call->t, ld->f);
    cache_call_forget(call);
    if (call->job != NULL) { cache_job_free(s, call->job); } /* may free the namespace */
    cache_load_end(s);
}

CELLAR_PRIVATE void cache_lead_begin(struct cellar_load *ld, cache_call *call, flight *f)
{
    memset(ld, 0, sizeof *ld);
    ld->call = call;
    ld->f = f;
    ld->left = cache_lead_left;
    ld->led = true;
    ld->ttl_ms = call->p->ttl_ms;
    ld->negative_ttl_ms = call->p->negative_ttl_ms;
    ld->stale_ms = call->p->stale_ms;
    flight_lead_begin(f, flight_depth() + 1);
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
    } else if (ld->returned != CELLAR_OK || ld->failed) {
        *code = ld->failed ? ld->loader_err : (int32_t)ld->returned;
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
    *ld = (struct cellar_load){ .call = old.call, .f = old.f, .left = old.left, .bulk = old.bulk,
                                .led = old.led, .no_disk = true, .ns = old.ns,
                                .ttl_ms = old.call->p->fallback_ttl_ms,
                                .negative_ttl_ms = old.call->p->negative_ttl_ms,
                                .stale_ms = old.call->p->stale_ms };
}

/* Return whether a stored fallback would expire before the source may be asked again. With it the
 * remembered failure would be lost. */
static bool cache_ends_early(const struct cellar_load *ld)
{
    const uint32_t jitter_pct = ld->call->p->n[CACHE_JITTER_PCT];
    int64_t ttl_ms = ld->r.said == CACHE_REPORTED_NONE ? ld->negative_ttl_ms : ld->ttl_ms;
    if (ld->call->hold_ms == 0 || ttl_ms == BASE_NEVER_MS) { return false; }
    if (jitter_pct != 0) { ttl_ms -= ttl_ms / 100 * jitter_pct + 100; }
    return base_add_sat(ld->call->now_ms, ttl_ms) < ld->call->hold_ms;
}

static void cache_instead(struct cellar_load *ld, uint32_t source, flight_outcome *o)
{
    if (cache_ends_early(ld)) { ld->no_store = true; }
    cache_publish_result(ld, o);
    ld->call->source = source;
    stats_add(cache_mine(ld->call->c), STATS_LOAD_INSTEAD, 1);
}

/* Answer with a fallback or the default value, if there is no stale value. Return true if the call
 * is answered. */
static bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    int32_t code;
    /* a lease may be refused or released at any depth */
    if (cache_has_stale(call) || flight_depth() > FLIGHT_DEPTH_MAX) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        const cellar_fallback *f = &call->p->fallback[i];
        if (f->fn == NULL) { continue; }
        cache_load_anew(ld);
        call->fn = f->fn;
        call->ctx = f->ctx;
        cache_lead_run(ld);
        if (ld->r.said != CACHE_REPORTED_SAME && cache_lead_verdict(ld, &code) == CELLAR_OK) {
            cache_instead(ld, CELLAR_SOURCE_FALLBACK, o);
            return true;
        }
        flight_bytes_drop(ld->r.value);
    }
    o->asked = cache_fallbacks_of(call->p);
    cache_load_anew(ld);
    ld->r = (cache_item){ .value = cache_default_value(call), .said = CACHE_REPORTED_VALUE };
    if (ld->r.value == NULL) { return false; }
    cache_instead(ld, CELLAR_SOURCE_DEFAULT, o);
    return true;
}

/* ---- settle ---- */

/* Answer a load without its loader. */
static void cache_settle_refused(struct cellar_load *ld, cellar_err err, flight_outcome *o)
{
    cache_call *call = ld->call;
    const bool open = !call->instead;
    call->now_ms = base_now_ms(&call->c->store->clock);
    if (cache_fallbacks(ld, o)) { return; }
    if (open) {
        call->retry_at_ms = base_add_sat(call->now_ms, cache_breaker_wait(call->p->breaker));
    }
    o->phase = FLIGHT_FAILED;
    o->err = err;
    o->loader_err = call->loader_err;
    o->retry_at_ms = call->retry_at_ms;
    /* Only waiters of the failed flight get its error: later callers may ask the source. */
    if (open || call->hold_ms != 0) { o->flags |= FLIGHT_FINAL; }
    if (cache_answer_failed(call, err) == err && !open) {
        call->source = call->hold_ms != 0 ? CELLAR_SOURCE_ERROR_ENTRY : CELLAR_SOURCE_JOINED;
    }
}

/* Log the failure of a loader. */
BASE_NOINLINE static void cache_failed_tell(const cache_call *call, cellar_err err, int32_t code)
{
    char name[CACHE_KEY_NAME];
    cache_key_name(call->c, &call->k, name);
    base_log_line(&call->c->store->log, BASE_LOG_WARNING, "loader", (int)err,
                  "a loader failed (its code: %d)%s", (int)code, name);
}

/* Answer a failed loader. The failure is reported with the results of that loader. */
static void cache_settle_failed(struct cellar_load *ld, cellar_err err, int32_t code,
                                flight_outcome *o)
{
    cache_call *call = ld->call;
    struct cellar_load instead = *ld;
    if ((int)BASE_LOG_WARNING <= cache_log_limit(call->c)) { cache_failed_tell(call, err, code); }
    if (ld->retry_after_ms > 0 && call->p->ms[CACHE_ERROR_TTL] > 0) {
        call->hold_ms = base_add_sat(call->now_ms, ld->retry_after_ms);
    }
    if (cache_fallbacks(&instead, o)) {
        stats_add(cache_mine(call->c), STATS_LOAD_FAILED, 1);
        if (instead.no_store && call->hold_ms != 0) {
            flight_outcome pause = { .phase = FLIGHT_FAILED };
            cache_keep_failure(ld, code, &pause);
        }
    } else {
        cache_publish_failed(ld, err, code, o);
        call->retry_at_ms = o->retry_at_ms;
        (void)cache_answer_failed(call, err);
    }
    call->loader_err = code;
}

CELLAR_PRIVATE uint32_t cache_lead_settle(struct cellar_load *ld)
{
    flight_outcome o = { .phase = FLIGHT_QUEUED };
    int32_t code;
    const cellar_err err = cache_lead_verdict(ld, &code);
    cache_lead_report(ld, err);
    if (err == CELLAR_OK) {
        cache_publish_result(ld, &o);
    } else {
        flight_bytes_drop(ld->r.value);
        ld->r.value = NULL;
        if (ld->refused) {
            cache_settle_refused(ld, err, &o);
        } else {
            cache_settle_failed(ld, err, code, &o);
        }
    }
    cache_shared_unlease(ld->call);
    if (ld->led) { flight_lead_end(ld->f); }
    cache_release(ld->call, ld->f, &o);
    return o.flags;
}

CELLAR_PRIVATE void cache_lead(cache_call *call, flight *f)
{
    struct cellar_load ld;
    cache_lead_begin(&ld, call, f);
    cache_lead_admit(&ld);
    if (!ld.refused) { cache_lead_run(&ld); }
    (void)cache_lead_settle(&ld);
}
