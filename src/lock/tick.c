/* SPDX-License-Identifier: MIT
 *
 * tick: remove idle records, report lost locks, check the table.
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
    for (lock_record *r = s->index, *next = NULL; r != NULL && !lost; r = next) {
        next = r->hh.next;
        lost = lock_tick_one(t, s, r, now_ms, report, &a);
    }
    for (lock_chunk *c = s->chunks, *next = NULL; c != NULL; c = next) {
        next = c->next;
        if (c->used == 0) { lock_chunk_detach(t, s, c, &a); }
    }
    lock_leave(t, s, &a);
    return lost;
}

CELLAR_PRIVATE void lock_sweep(cellar_locks *t)
{
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) {
        (void)lock_tick_stripe(t, &t->stripe[i], 0, false);
    }
}

CELLAR_PRIVATE cellar_err lock_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar_locks *t = object;
    const int64_t now_ms = base_now_ms(&t->obj.clock);
    (void)budget_us;
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) {
        /* Bounded: a lost lock is not held any more, and new leases end after now_ms. */
        while (lock_tick_stripe(t, &t->stripe[i], now_ms, true)) {}
    }
    *wait_ms = LOCK_TICK_MS;
    return CELLAR_OK;
}

/* ---- audit ---- */

static bool lock_audit_record(cellar_locks *t, const lock_stripe *s, const lock_record *r)
{
    const uint64_t word = base_load_acq(&r->word);
    uint32_t waiters = 0;
    for (const lock_waiter *w = r->first; w != NULL; w = w->next != r->first ? w->next : NULL) {
        if (w->next->prev != w) { return false; }
        waiters++;
    }
    return (waiters == 0 || (word & LOCK_FROZEN) != 0) && r->key_len > 0 &&
           lock_stripe_of(t, base_load_rlx(&r->hash)) == s &&
           base_hash(&t->hash_key, 0, lock_key(r), r->key_len) == base_load_rlx(&r->hash) &&
           lock_chunk_of(t, r)->stripe == (uint32_t)(s - t->stripe) + 1;
}

static bool lock_audit_stripe(cellar_locks *t, lock_stripe *s)
{
    sync_take(LOCK, &s->lock);
    uint32_t records = 0, spare = 0;
    bool ok = true;
    for (const lock_record *r = s->index; r != NULL; r = r->hh.next) {
        ok = ok && lock_audit_record(t, s, r);
        records++;
    }
    for (const lock_chunk *c = s->chunks; c != NULL; c = c->next) {
        uint32_t here = 0;
        for (const lock_record *r = c->spare; r != NULL; r = r->key.next_spare) {
            /* A record outside the index cannot be taken. */
            ok = ok && (base_load_rlx(&r->word) & LOCK_BITS) != LOCK_HELD;
            here++;
        }
        ok = ok && here == LOCK_PER_CHUNK - c->used && here > 0;
        spare += here;
    }
    ok = ok && spare == s->spare_count && records == base_load_rlx(&s->record_count);
    sync_drop(LOCK, &s->lock);
    return ok;
}

CELLAR_PRIVATE bool lock_audit(cellar_locks *t)
{
    bool ok = true;
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { ok = lock_audit_stripe(t, &t->stripe[i]) && ok; }
    return ok;
}

BASE_SIZE_END
