/* SPDX-License-Identifier: MIT
 *
 * load_shared: one load of a key over all processes that share its namespace.
 *
 * PICTURE    led, nothing in the tier -> lease -> LEASED: loader -> fill -> memory
 *                                             -> PENDING: end the flight, wait -> again
 *                                             -> a value: end the flight -> again
 *                                             -> other: loader; the tier gets nothing
 * INVARIANTS A lease is filled or given back once, by the call that holds it, also if its thread
 *            ends inside the loader.
 *            The bell is read before the tier is asked: a change after the question ends the wait.
 * LOCKING    None. Each change from outside rings the bell of the store.
 * LIMITS     A wait ends at the wait limit of the call. Leases of the host and bulk loads load once
 *            for each process.
 * SEE ALSO   load_acquire.c, load_leader.c, shared.c. */
#include "cache/load_shared.h"

#include "cache/call.h"
#include "cache/load_call.h"
#include "cache/load_look.h"
#include "cache/shared.h"

#define CACHE_SHARED_SLICE_MS 50 /* longest sleep: a close, or a clock of the host, ends the wait */

/* Return the table if the load takes a lease; NULL: it does not. */
static const cache_shared *cache_shared_leases(const cache_call *call)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE | CELLAR_LOAD_NO_L2;
    const cache_shared *h = cache_shared_of(call->c);
    const bool leases = h != NULL && h->t.lease != NULL && (call->p->flags & no) == 0 &&
                        !call->instead && !cache_is_off(call->c);
    return leases ? h : NULL;
}

/* Sleep until the bell rings, at most to the deadline, in slices. */
static void cache_shared_sleep(const cache_call *call, const cache_shared *h, uint32_t bell,
                               int64_t until_ms)
{
    cache_store *s = h->store;
    while (base_load_acq(&s->shared_bell) == bell && !cache_is_closed(call->c)) {
        const int64_t left_ms = until_ms - base_now_ms(&s->clock);
        if (left_ms <= 0) { return; }
        const int64_t slice_ms = h->t.tick != NULL ? 1 : BASE_MIN(left_ms, CACHE_SHARED_SLICE_MS);
        if (h->t.tick != NULL) { (void)h->t.tick(h->t.ctx, 1000); }
        (void)sync_wait(&s->shared_bell, bell, base_now_ns() + (uint64_t)slice_ms * 1000000u);
    }
}

/* Wait for the lease of another process. The flight ends first: a change detaches it. */
static cache_acquired cache_shared_wait(cache_call *call, flight *f, const cache_shared *h,
                                        uint32_t bell, int64_t held_ms)
{
    cache_store *s = h->store;
    cache_flight_cancel(call->t, f);
    call->k.bytes = call->key;
    if (call->job != NULL) { return CACHE_ANSWERED; } /* that process refreshes the entry */
    if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
        return CACHE_ANSWERED;
    }
    const int64_t patience_ms = cache_patience(call);
    if ((call->p->flags & CELLAR_LOAD_NO_WAIT) != 0) {
        (void)cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
        return CACHE_ANSWERED;
    }
    cache_shared_sleep(call, h, bell, BASE_MIN(patience_ms, held_ms));
    if (base_now_ms(&s->clock) < patience_ms) { return CACHE_AGAIN; }
    stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
    (void)cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
    return CACHE_ANSWERED;
}

CELLAR_PRIVATE cache_acquired cache_shared_lead(cache_call *call, flight *f)
{
    const cache_shared *h = cache_shared_leases(call);
    if (BASE_LIKELY(h == NULL)) { return CACHE_LED; }
    const cellar_tier_key key = cache_shared_key(call->k.bytes, call->k.len, call->k.hash);
    const uint32_t bell = base_load_acq(&h->store->shared_bell);
    cellar_tier_entry e;
    memset(&e, 0, sizeof e);
    if (call->old != NULL) { e.flags = CELLAR_TIER_REFRESH; }
    const cellar_err err = h->t.lease(h->t.ctx, &key, call->p->ms[CACHE_HARD], &e, &call->lease);
    call->leased = err == CELLAR_LEASED;
    if (err == CELLAR_PENDING) { return cache_shared_wait(call, f, h, bell, e.deadline_ms); }
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return CACHE_LED; }
    if (call->job == NULL && ++call->losses < CACHE_ROUNDS) { /* it came since the look */
        cache_flight_cancel(call->t, f);
        call->k.bytes = call->key;
        return CACHE_AGAIN;
    }
    return CACHE_LED;
}
