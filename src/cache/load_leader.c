/* SPDX-License-Identifier: MIT
 *
 * load_leader: the leader of a flight looks again, loads, stores, and ends the flight.
 *
 * PICTURE    flight.lead -> second look -> tier -> [flight.load] loader -> [flight.publish] store;
 *            its window unlinks the flight -> end: outcome, [flight.wake], own ref
 * INVARIANTS The flight is attached and counted before the second look, and the look waits for an
 *            open window: the look sees each change that did not see the flight.
 *            The outcome is filled once and the flight ended once, also if the thread ends inside
 *            the loader.
 * LOCKING    None of its own. No code in this file but the loader is a place where a thread may
 *            end.
 * SEE ALSO   load.c (enter and wait), load_run.c (the loader), load_publish.c (its result). */
#include "cache/load_leader.h"

#include "cache/call.h"
#include "cache/dependency_table.h"
#include "cache/job.h"
#include "cache/load_call.h"
#include "cache/load_fallback.h"
#include "cache/load_guard.h"
#include "cache/load_plan.h"
#include "cache/load_publish.h"
#include "cache/load_run.h"
#include "cache/load_wait.h"
#include "cache/lookup.h"

static bool cache_blind(const cache_call *call)
{
    return (call->p.flags & CELLAR_LOAD_REFRESH) != 0;
}

/* ---- second look and tier ---- */

CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight_outcome *o)
{
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
    const uint64_t looked = cache_deps_epoch(c->store);
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
    call->identity = o->identity = base_thread_self()->tags_read;
    if (call->identity > 1) { o->looked = looked; }
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

/* Hand the flight over to a waiter, because the thread ended inside the loader. */
static void cache_lead_left(struct cellar_load *ld)
{
    cache_call *call = ld->call;
    cache_store *s = call->c->store;
    flight_lead_end(ld->f);
    cache_flight_cancel(ld->t, ld->f); /* drops the draft, too */
    cache_call_forget(call);
    if (call->job != NULL) { cache_job_free(s, call->job); } /* may free the namespace */
    cache_load_end(s);
}

/* Return the verdict on return code and results of the loader. */
static cellar_err cache_verdict(const struct cellar_load *ld)
{
    if (ld->twice) { return CELLAR_E_RESULT_TWICE; }
    if (ld->setter_err == CELLAR_E_TOOBIG) { return CELLAR_E_TOOBIG; }
    if (ld->returned != CELLAR_OK || ld->failed) { return CELLAR_E_LOADER; }
    if (ld->setter_err != CELLAR_OK) { return ld->setter_err; }
    if (ld->said == CACHE_REPORTED_NOTHING) { return CELLAR_E_NO_RESULT; }
    if (ld->said == CACHE_REPORTED_SAME && !ld->call->old_current) { return CELLAR_E_NO_RESULT; }
    return CELLAR_OK;
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
    if (ld->said == CACHE_REPORTED_NONE) {
        cache_publish_none(ld, o);
    } else if (ld->said == CACHE_REPORTED_SAME) {
        cache_publish_same(ld, o);
    } else {
        cache_publish_value(ld, value, o);
    }
    cache_answer_loaded(ld, o);
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
    if (!(looks &&
          (cache_second_look(call, &o) || (call->old == NULL && cache_tier_look(call, &o))))) {
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
