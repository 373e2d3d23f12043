/* SPDX-License-Identifier: MIT
 *
 * load_wait: wait for the load of another call, and use its outcome or its failure.
 *
 * INVARIANTS A waiter that times out does not load. A failure of another load is answered with the
 *            stale value, else by the own fallbacks, which the call runs as leader, else with the
 *            default value, else with the error.
 * COMPLETION The end of a flight wakes all its waiters; each continues by itself. */
#include "cache/load_wait.h"

#include "cache/call.h"
#include "cache/dependencies.h"
#include "cache/dependency_table.h"
#include "cache/load_call.h"

/* ---- no source answers ---- */

CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cellar_load_opts *o)
{
    uint64_t mix = 0;
    for (unsigned i = 0; o != NULL && i < CELLAR_FALLBACKS_MAX; i++) {
        if (o->fallback[i].fn != NULL) { mix = base_mix64(mix ^ (uintptr_t)o->fallback[i].fn); }
    }
    return mix == 0 ? 0 : (uint32_t)mix | 1u;
}

CELLAR_PRIVATE bool cache_has_stale(const cache_call *call)
{
    return call->old != NULL && (call->p.flags & CELLAR_LOAD_REFRESH) == 0;
}

CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call)
{
    const cellar_bytes *from = call->o != NULL ? call->o->default_value : NULL;
    if (from == NULL) { return NULL; }
    flight_bytes *value = flight_bytes_new(&call->c->store->hooks, from->len);
    if (value != NULL && from->len != 0) { memcpy(value->data, from->data, from->len); }
    return value;
}

/* Answer with the stale value, the default value or the error, if no source could be asked in
 * time. */
static cellar_err cache_answer_in_vain(cache_call *call, cellar_err err)
{
    flight_bytes *value = cache_has_stale(call) ? NULL : cache_default_value(call);
    if (value == NULL) { return cache_answer_failed(call, err); }
    flight_bytes_drop(call->value);
    call->value = value;
    call->user_flags = 0;
    call->deadline_ms = call->born_ms = -1;
    call->result_flags |= CELLAR_RESULT_NOT_STORED;
    stats_add(cache_mine(call->c), STATS_LOAD_INSTEAD, 1);
    return cache_answer(call, CELLAR_OK, CELLAR_SOURCE_DEFAULT);
}

CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked)
{
    const uint32_t own = cache_fallbacks_of(call->o);
    if ((call->p.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { /* only a cached answer is wanted */
        (void)cache_answer(call, err, source);
        return true;
    }
    if (own != 0 && own != asked && !cache_has_stale(call) && !flight_deep(base_thread_self())) {
        call->instead = true;
        call->failed = err;
        call->hold_ms = source == CELLAR_SOURCE_ERROR_ENTRY ? call->retry_at_ms : 0;
        return false;
    }
    if (cache_answer_in_vain(call, err) == err) { call->source = source; }
    return true;
}

/* ---- join ---- */

CELLAR_PRIVATE void cache_ask(cache_call *call, flight_kind kind, flight_ask *ask)
{
    const bool queued = kind == FLIGHT_CALL || kind == FLIGHT_LEASE;
    *ask = (flight_ask){
        .key = { call->k.bytes, call->k.len, call->k.generation, call->k.hash },
        .namespace_id = call->c->id,
        .kind = kind,
        .join = kind == FLIGHT_CALL && !call->p.no_wait,
        .take_queued = queued && call->old == NULL,
        .leader_retries = (uint8_t)call->p.takeovers, /* <= 15: load_plan.c */
        .now_ms = call->now_ms,
        .hard_timeout_ms = call->p.hard_timeout_ms,
        .tag_born = base_load_acq(&call->c->store->tag_epoch),
    };
    call->deps_epoch = cache_deps_epoch(call->c->store);
}

CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry)
{
    cellar_err err = CELLAR_E_NOMEM;
    if (entry == FLIGHT_STUCK) {
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        err = CELLAR_E_TIMEOUT;
    } else if (entry == FLIGHT_FULL || entry == FLIGHT_CROWDED) {
        stats_count(call->c->stats,
                    entry == FLIGHT_FULL ? STATS_LIMIT_FLIGHTS : STATS_LIMIT_WAITERS, 1);
        err = CELLAR_E_LIMIT;
    }
    return cache_answer_in_vain(call, err);
}

/* Use the outcome of a joined flight. Return true if it answers the call. */
static bool cache_take_outcome(cache_call *call, const flight_outcome *o, bool untagged)
{
    call->loader_err = o->loader_err;
    if ((o->flags & FLIGHT_TAGGED) != 0 && !untagged) { return false; }
    if (o->looked != 0 && call->deps_epoch > o->looked) { return false; }
    switch (o->phase) {
    case FLIGHT_OK:
        flight_bytes_drop(call->value);
        call->value = flight_bytes_ref(o->value);
        call->user_flags = o->value->user_flags;
        call->deadline_ms = o->deadline_ms;
        call->load_us = o->load_us;
        call->identity = o->identity;
        (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_NONE:
        call->identity = o->identity;
        (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_FAILED:
        call->failures++;
        if ((o->flags & FLIGHT_FINAL) == 0 && call->failures <= call->p.handovers) { return false; }
        call->retry_at_ms = o->retry_at_ms;
        if (!cache_failure_heard(call, o->err, CELLAR_SOURCE_JOINED, o->asked)) { return false; }
        break;
    case FLIGHT_QUEUED:
    case FLIGHT_LOADING:
    case FLIGHT_CANCELLED: call->losses++; return false;
    }
    call->result_flags |= (o->flags & FLIGHT_NOT_STORED) != 0 ? CELLAR_RESULT_NOT_STORED : 0u;
    call->result_flags |= (o->flags & FLIGHT_OVERTAKEN) != 0 ? CELLAR_RESULT_INVALIDATED : 0u;
    return true;
}

/* Return the end of the wait: soft_timeout_ms with a stale value, else wait_timeout_ms. */
static int64_t cache_patience(cache_call *call)
{
    if (call->patience_ms == 0) {
        call->patience_ms = base_add_sat(call->now_ms, call->p.wait_timeout_ms);
    }
    if (call->old == NULL) { return call->patience_ms; }
    if (call->soft_at_ms == 0) {
        call->soft_at_ms = base_add_sat(call->now_ms, call->p.soft_timeout_ms);
    }
    return BASE_MIN(call->soft_at_ms, call->patience_ms);
}

CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch)
{
    flight_outcome o;
    memset(&o, 0, sizeof o);
    const bool untagged = epoch == flight_tag_born(f);
    const bool deps = call->c->store->deps != NULL;
    const bool blind = !deps;
    if (!blind && !cache_run_fits(flight_notes(f), call->deps_epoch)) {
        flight_detach(t, f);
        flight_leave(t, f);
        return false;
    }
    if (deps) { flight_hold(f); }
    const flight_waited how = flight_wait(t, f, cache_patience(call), &o);
    if (deps) {
        /* The loader may have read values meanwhile that were made before this call. */
        if (how == FLIGHT_DONE && !blind && !cache_run_fits(flight_notes(f), call->deps_epoch)) {
            o.phase = FLIGHT_CANCELLED;
        }
        flight_unref(t, f);
    }
    bool answered = false;
    call->now_ms = base_now_ms(&call->c->store->clock);
    switch (how) {
    case FLIGHT_DONE:
        answered = cache_take_outcome(call, &o, untagged);
        flight_bytes_drop(o.value);
        break;
    case FLIGHT_LATE:
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        if (call->old != NULL) {
            cache_answer_old(call, CELLAR_SOURCE_STALE_SOFT_TIMEOUT);
        } else {
            (void)cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
        }
        answered = true;
        break;
    case FLIGHT_HARD: call->losses++; break;
    case FLIGHT_CYCLE:
        stats_add(cache_mine(call->c), STATS_LOAD_CYCLE, 1);
        (void)cache_answer_failed(call, CELLAR_E_DEADLOCK);
        answered = true;
        break;
    }
    return answered;
}
