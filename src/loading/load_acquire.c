/* SPDX-License-Identifier: MIT
 *
 * load_acquire: enter the flight of a key: lead it, or wait for its leader.
 *
 * PICTURE    flight_enter -> LED: second look -> tier -> [answered, or led]
 *                         -> JOINED: cache_join -> its outcome, its failure, or look again
 *                         -> TAKEN: stale value, or PENDING
 * INVARIANTS A waiter that times out does not load.
 * COMPLETION The end of a flight wakes all its waiters; each continues by itself. */
#include "loading/load_acquire.h"

#include "cache/call.h"
#include "cache/proof.h"
#include "loading/load_call.h"
#include "loading/load_look.h"

/* ---- enter ---- */

CELLAR_PRIVATE flight_entry cache_enter(cache_call *call, flight_kind kind, bool join,
                                        flight_sub *sub, flight **f)
{
    const bool side = (call->p->flags & (CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_JOIN)) != 0;
    const flight_ask ask = {
        .key = { call->k.bytes, call->k.len, call->k.generation, call->k.hash },
        .namespace_id = call->c->id,
        .kind = kind == FLIGHT_CALL && side ? FLIGHT_SIDE : kind,
        .join = join,
        .only_join = call->only_join,
        .take_queued = kind != FLIGHT_JOB && call->old == NULL,
        .leader_retries = (uint8_t)call->p->n[CACHE_TAKEOVERS], /* <= 15: load_plan.c */
        .now_ms = call->now_ms,
        .hard_timeout_ms = call->p->ms[CACHE_HARD],
        .tag_born = base_load_acq(&call->c->store->tag_epoch),
        .sub = call->old == NULL ? sub : NULL,
    };
    call->tag_epoch = ask.tag_born;
    return flight_enter(call->t, &ask, f);
}

CELLAR_PRIVATE void cache_release(cache_call *call, flight *f, flight_outcome *o)
{
    o->source = call->source;
    o->load_us = call->load_us;
    flight_end(call->t, f, o);
    call->k.bytes = call->key; /* the copy of the flight may be freed */
}

CELLAR_PRIVATE bool cache_asks_tier(const cache_call *call)
{
    return call->old == NULL ||
           (call->c->proof_stale && !call->early && call->now_ms < call->found.expires_ms &&
            !cache_is_unproven(call->c));
}

CELLAR_PRIVATE bool cache_led(cache_call *call, flight *f)
{
    flight_outcome o = { .phase = FLIGHT_QUEUED };
    call->k.bytes = flight_key_of(f).bytes;
    if (flight_takeovers(f) > 0) { stats_add(cache_mine(call->c), STATS_LOAD_TAKEOVER, 1); }
    if ((call->p->flags & CELLAR_LOAD_BYPASS) != 0 || cache_is_off(call->c)) { return false; }
    if (!cache_second_look(call, &o) && !(cache_asks_tier(call) && cache_tier_look(call, &o))) {
        return false;
    }
    cache_release(call, f, &o);
    return true;
}

CELLAR_PRIVATE cache_acquired cache_acquire(cache_call *call, flight_kind kind, bool join,
                                            flight_sub *sub, flight **f)
{
    cellar_err err = CELLAR_E_NOMEM;
    switch (cache_enter(call, kind, join, sub, f)) {
    case FLIGHT_LED: return cache_led(call, *f) ? CACHE_ANSWERED : CACHE_LED;
    case FLIGHT_JOINED: return CACHE_JOINED;
    case FLIGHT_TAKEN:
        if (call->only_join) { /* the refresh ended: look at its result, do not refresh again */
            call->only_join = false;
            call->soft_over = true;
            call->losses++;
            return CACHE_AGAIN;
        }
        if (call->old == NULL) {
            (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
            return CACHE_PENDING;
        }
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        return CACHE_ANSWERED;
    case FLIGHT_STUCK:
        stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
        err = CELLAR_E_TIMEOUT;
        break;
    case FLIGHT_FULL:
        stats_count(call->c->stats, STATS_LIMIT_FLIGHTS, 1);
        err = CELLAR_E_LIMIT;
        break;
    case FLIGHT_CROWDED:
        stats_count(call->c->stats, STATS_LIMIT_WAITERS, 1);
        err = CELLAR_E_LIMIT;
        break;
    case FLIGHT_NO_MEMORY: break;
    }
    (void)cache_answer_in_vain(call, err);
    return CACHE_ANSWERED;
}

/* ---- join ---- */

/* Use the outcome of a joined flight. Return true if it answers the call. */
static bool cache_take_outcome(cache_call *call, const flight_outcome *o, bool untagged)
{
    call->loader_err = o->loader_err;
    if ((o->flags & FLIGHT_TAGGED) != 0 && !untagged) { return false; }
    switch (o->phase) {
    case FLIGHT_OK:
        flight_bytes_drop(call->value);
        call->value = flight_bytes_ref(o->value);
        call->user_flags = o->value->user_flags;
        call->deadline_ms = o->deadline_ms;
        call->load_us = o->load_us;
        (void)cache_answer(call, CELLAR_OK, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_NONE:
        (void)cache_answer(call, CELLAR_ABSENT, CELLAR_SOURCE_JOINED);
        break;
    case FLIGHT_FAILED:
        call->failures++;
        if ((o->flags & FLIGHT_FINAL) == 0 && !call->no_retry &&
            call->failures <= call->p->n[CACHE_HANDOVERS]) {
            return false;
        }
        call->retry_at_ms = o->retry_at_ms;
        if (!cache_failure_heard(call, o->err, CELLAR_SOURCE_JOINED, o->asked)) { return false; }
        break;
    case FLIGHT_QUEUED:
    case FLIGHT_LOADING:
    case FLIGHT_CANCELLED: call->losses++; return false;
    }
    call->result_flags |= cache_result_flags(o->flags);
    return true;
}

/* Return the end of the wait: soft_timeout_ms with a stale value, else wait_timeout_ms. */
CELLAR_PRIVATE int64_t cache_patience(cache_call *call)
{
    if (call->patience_ms == 0) {
        call->patience_ms = base_add_sat(call->now_ms, call->p->ms[CACHE_WAIT]);
    }
    if (call->old == NULL) { return call->patience_ms; }
    if (call->soft_at_ms == 0) {
        call->soft_at_ms = base_add_sat(call->now_ms, call->p->ms[CACHE_SOFT]);
    }
    return BASE_MIN(call->soft_at_ms, call->patience_ms);
}

CELLAR_PRIVATE bool cache_join(cache_call *call, flight *f)
{
    flight_outcome o = { .phase = FLIGHT_QUEUED };
    const bool untagged = call->tag_epoch == flight_tag_born(f);
    const flight_waited how = flight_wait(call->t, f, cache_patience(call), &o);
    bool answered = true;
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
        break;
    case FLIGHT_HARD:
        call->losses++;
        answered = false;
        break;
    case FLIGHT_CYCLE:
        stats_add(cache_mine(call->c), STATS_LOAD_CYCLE, 1);
        (void)cache_answer_failed(call, CELLAR_E_DEADLOCK);
        break;
    }
    return answered;
}
