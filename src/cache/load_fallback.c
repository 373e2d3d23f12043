/* SPDX-License-Identifier: MIT
 *
 * load_fallback: what runs if the loader failed or may not run.
 *
 * PICTURE    breaker open, loader failed, failure remembered -> stale value, else fallbacks, else
 *            default value, else the error
 * INVARIANTS A fallback result is marked: source FALLBACK or DEFAULT, kept for fallback_ttl_ms, in
 *            memory only.
 *            A loader that answers "absent" has succeeded: no fallback runs.
 * LOCKING    None; fallbacks run like loaders.
 * LIMITS     3 fallbacks. Fallbacks and default value belong to foreground loads. A bulk load asks
 *            them per key, a lease asks them when it is refused or released with an error. */
#include "cache/load_fallback.h"

#include "cache/breaker_calls.h"
#include "cache/call.h"
#include "cache/load_call.h"
#include "cache/load_publish.h"
#include "cache/load_run.h"
#include "cache/load_wait.h"

/* Reset the handle of the loader to its first state. */
static void cache_load_anew(struct cellar_load *ld)
{
    ld->value = NULL;
    ld->buf.load = NULL;
    ld->said = CACHE_REPORTED_NOTHING;
    ld->twice = ld->no_store = ld->failed = false;
    ld->has_ttl = ld->has_negative = ld->has_stale = false;
    ld->setter_err = CELLAR_OK;
    ld->loader_err = 0;
    ld->fail_flags = ld->cost_us = ld->user_flags = 0;
    ld->retry_after_ms = 0;
    ld->tag_count = 0;
    ld->returned = CELLAR_OK;
}

/* Return whether a stored fallback would expire before the source may be asked again. With it the
 * remembered failure would be lost. */
static bool cache_ends_early(const struct cellar_load *ld, bool none)
{
    const cache_load_plan *p = &ld->call->p;
    if (ld->call->hold_ms == 0) { return false; }
    int64_t ttl_ms = ld->ttl_ms;
    if (none) { ttl_ms = ld->has_negative ? ld->negative_ttl_ms : p->negative_ttl_ms; }
    if (ttl_ms == BASE_NEVER_MS) { return false; }
    if (p->jitter_pct != 0) { ttl_ms -= ttl_ms / 100 * p->jitter_pct + 100; }
    return base_add_sat(ld->call->now_ms, ttl_ms) < ld->call->hold_ms;
}

static void cache_instead(struct cellar_load *ld, flight_bytes *value, uint32_t source,
                          flight_outcome *o)
{
    cache_call *call = ld->call;
    ld->no_disk = true;
    if (!ld->has_ttl) {
        ld->has_ttl = true;
        ld->ttl_ms = call->p.fallback_ttl_ms;
    }
    if (cache_ends_early(ld, value == NULL)) { ld->no_store = true; }
    if (value != NULL) {
        cache_publish_value(ld, value, o);
    } else {
        cache_publish_none(ld, o);
    }
    cache_answer_loaded(ld, o);
    call->source = source;
    stats_add(cache_mine(call->c), STATS_LOAD_INSTEAD, 1);
}

static bool cache_fallback_one(struct cellar_load *ld, const cellar_fallback *f, flight_outcome *o)
{
    cache_call *call = ld->call;
    cache_load_anew(ld);
    call->fn = f->fn;
    call->ctx = f->ctx;
    cache_run_loader(ld);
    flight_bytes *value = ld->value;
    flight_draft(ld->f, NULL);
    ld->value = NULL;
    const bool told = ld->said == CACHE_REPORTED_VALUE || ld->said == CACHE_REPORTED_NONE;
    if (ld->twice || ld->failed || ld->returned != CELLAR_OK || ld->setter_err != CELLAR_OK ||
        !told) {
        flight_bytes_drop(value);
        return false;
    }
    cache_instead(ld, value, CELLAR_SOURCE_FALLBACK, o);
    return true;
}

/* Answer with a fallback or the default value, if there is no stale value. Return true if the call
 * is answered. */
static bool cache_fallbacks(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const cellar_load_opts *opts = call->o;
    if (opts == NULL || cache_has_stale(call) || call->job != NULL) { return false; }
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) {
        if (opts->fallback[i].fn != NULL && cache_fallback_one(ld, &opts->fallback[i], o)) {
            return true;
        }
    }
    o->asked = cache_fallbacks_of(opts);
    flight_bytes *value = cache_default_value(call);
    if (value == NULL) { return false; }
    cache_load_anew(ld);
    cache_instead(ld, value, CELLAR_SOURCE_DEFAULT, o);
    return true;
}

CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o)
{
    cache_call *call = ld->call;
    const bool open = !call->instead;
    const cellar_err err = open ? CELLAR_E_BREAKER_OPEN : call->failed;
    call->now_ms = base_now_ms(&call->c->store->clock);
    ld->returned = err;
    if (cache_fallbacks(ld, o)) { return; }
    if (open) {
        call->retry_at_ms = base_add_sat(call->now_ms, cache_breaker_wait(call->p.breaker));
    }
    o->phase = FLIGHT_FAILED;
    o->err = err;
    o->loader_err = call->loader_err;
    /* Only waiters of the failed flight get its error: later callers may ask the source. */
    if (open || call->hold_ms != 0) { o->flags |= FLIGHT_FINAL; }
    o->retry_at_ms = call->retry_at_ms;
    (void)cache_answer_failed(call, err);
    if (!open && call->code == err) {
        call->source = call->hold_ms != 0 ? CELLAR_SOURCE_ERROR_ENTRY : CELLAR_SOURCE_JOINED;
    }
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
