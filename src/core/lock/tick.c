/* SPDX-License-Identifier: MIT
 *
 * tick: remove idle records, report lost locks.
 *
 * LOCKING    One stripe lock at a time. */
#include "lock/tick.h"

#include "lock/record.h"

BASE_SIZE_BEGIN

#define LOCK_TICK_MS 1000

/* Tick one record: remove it if idle; if lost, make it idle and prepare the report. Return true if
 * it was lost. */
static bool lock_tick_one(cellar_locks *t, lock_stripe *s, lock_record *r, int64_t now_ms,
                          bool report, lock_after *a) SYNC_HOLDS(LOCK)
{
    cellar_lock_lost cause = CELLAR_LOCK_LOST_EXPIRED;
    const uint64_t w = lock_freeze(r);
    const bool held = (w & LOCK_HELD) != 0;
    if (report && held && r->first == NULL && lock_over(r, w, now_ms, &cause)) {
        lock_note_lost(s, r, lock_fence(w), now_ms, cause, a);
        s->acquired--; /* the fence rises without a new owner, so that late handles are lost */
        lock_settle(t, s, r, lock_fence(w) + 1, false, false, a);
        return true;
    }
    lock_settle(t, s, r, lock_fence(w), held, true, a);
    return false;
}

/* Report at most one lost lock of a stripe; remove its idle records. Return true if one was
 * lost. */
static bool lock_tick_stripe(cellar_locks *t, lock_stripe *s, int64_t now_ms, bool report)
{
    lock_after a = { .chunk = NULL };
    bool lost = false;
    sync_take(LOCK, &s->lock);
    for (lock_record *r = lock_behind(t, s, NULL), *next = NULL; r != NULL && !lost; r = next) {
        next = lock_behind(t, s, r);
        lost = lock_tick_one(t, s, r, now_ms, report, &a);
    }
    for (lock_chunk *c = s->chunks, *next = NULL; c != NULL; c = next) {
        next = c->next;
        if (c->used == 0) { lock_chunk_detach(t, s, c, &a); }
    }
    lock_credit_return(t, s, s->credit);
    lock_leave(t, s, &a);
    return lost;
}

CELLAR_PRIVATE void lock_sweep(cellar_locks *t)
{
    for (uint32_t i = 0; i < t->stripe_count; i++) {
        (void)lock_tick_stripe(t, &t->stripe[i], 0, false);
    }
}

CELLAR_PRIVATE cellar_err lock_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar_locks *t = object;
    const int64_t now_ms = base_now_ms(&t->obj.clock);
    (void)budget_us;
    for (uint32_t i = 0; i < t->stripe_count; i++) {
        /* Bounded: a lost lock is not held any more, and new holds end after now_ms. */
        while (lock_tick_stripe(t, &t->stripe[i], now_ms, true)) {}
    }
    *wait_ms = LOCK_TICK_MS;
    return CELLAR_OK;
}

BASE_SIZE_END
