/* SPDX-License-Identifier: MIT
 *
 * flight: enter a flight as leader or waiter, lead it, end it.
 *
 * COMPLETION One thread completes a flight: its leader, or the thread that takes the flight over,
 *            expires its lease or closes the store.
 * SEE ALSO   table.c: records and references; wait.c; flight/README.md: proofs. */
#include "flight/flight.h"


/* ---- enter ---- */

typedef struct flight_turn { /* result of one look under the lock */
    flight_entry entry;
    flight *f;
    bool again;          /* a record must be allocated first */
    flight_ended late;   /* the flight taken over: late.f, NULL: none */
} flight_turn;

static bool flight_stuck(const flight *f, const flight_ask *ask)
{
    const uint32_t takeovers = FLIGHT_TAKEOVERS(base_load_rlx(&f->state));
    const int64_t grace = base_add_sat(f->hard_at_ms,
                                       BASE_MIN(ask->hard_timeout_ms, INT64_MAX / 10) * 10);
    return takeovers >= ask->leader_retries && ask->now_ms < grace;
}

/* Let the job of a queued flight begin. */
SYNC_HOLDS(FLIGHT) static void flight_begin(flight *f, int64_t now_ms, int64_t hard_timeout_ms)
{
    const uint32_t state = base_load_rlx(&f->state);
    f->start_ms = now_ms;
    f->hard_at_ms = base_add_sat(now_ms, hard_timeout_ms); /* read in flight_sleep */
    base_store_rel(&f->state, (state & ~7u) | (uint32_t)FLIGHT_LOADING);
}

SYNC_HOLDS(FLIGHT)
static void flight_turn_found(flight_table *t, flight *f, const flight_ask *ask, flight_turn *turn)
{
    const uint32_t state = base_load_rlx(&f->state);
    turn->f = f;
    if (FLIGHT_PHASE(state) == FLIGHT_QUEUED && ask->take_queued) {
        flight_begin(f, ask->now_ms, ask->hard_timeout_ms);
        (void)base_add_rlx(&f->refs, 1u);
        f->kind = (uint8_t)ask->kind;
        turn->entry = FLIGHT_LED;
        return;
    }
    turn->entry = FLIGHT_TAKEN;
    if (!ask->join && ask->sub == NULL) { return; }
    if (base_add_rlx(&t->waiters, 1u) >= t->max_waiters) {
        (void)base_sub_ar(&t->waiters, 1u);
        turn->entry = FLIGHT_CROWDED;
    } else if (ask->join) {
        (void)base_add_rlx(&f->refs, 1u);
        base_store_rel(&f->state, state | FLIGHT_WAITERS);
        turn->entry = FLIGHT_JOINED;
    } else {
        ask->sub->next = f->subs;
        f->subs = ask->sub;
    }
}

/* Get the record for a new flight. Return false if none is at hand. */
SYNC_HOLDS(FLIGHT)
static bool flight_turn_record(flight_table *t, flight_shard *s, const flight_ask *ask,
                               flight **fresh, flight_turn *turn)
{
    if (base_add_rlx(&t->open, 1u) >= t->max_flights) {
        (void)base_sub_ar(&t->open, 1u);
        turn->entry = FLIGHT_FULL;
        return false;
    }
    if (*fresh == NULL) { *fresh = flight_spare_take(s, ask->key.len); }
    if (*fresh == NULL) {
        (void)base_sub_ar(&t->open, 1u);
        turn->again = true;
        return false;
    }
    return true;
}

SYNC_HOLDS(FLIGHT)
static void flight_turn_take(flight_table *t, flight_shard *s, const flight_ask *ask,
                             flight **fresh, flight_turn *turn)
{
    flight *f = flight_find(s, &ask->key, false, NULL);
    uint32_t takeovers = 0;
    if (ask->kind == FLIGHT_SIDE) { f = NULL; }
    const bool late = f != NULL && ask->now_ms >= f->hard_at_ms;
    if (f != NULL && !late) {
        flight_turn_found(t, f, ask, turn);
        return;
    }
    if (ask->only_join) {
        turn->entry = FLIGHT_TAKEN;
        return;
    }
    if (late && flight_stuck(f, ask)) {
        turn->entry = FLIGHT_STUCK;
        return;
    }
    if (!flight_turn_record(t, s, ask, fresh, turn)) { return; }
    if (late) {
        takeovers = BASE_MIN(FLIGHT_TAKEOVERS(base_load_rlx(&f->state)) + 1u, 15u);
        flight_cancel(s, f, &turn->late);
    }
    flight_init(*fresh, ask, takeovers);
    flight_attach(s, *fresh);
    turn->f = *fresh;
    turn->entry = FLIGHT_LED;
    *fresh = NULL;
}

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out)
{
    flight_shard *s = flight_shard_of(t, ask->key.hash);
    flight *fresh = NULL;
    flight_turn turn;
    for (;;) {
        turn.again = false;
        turn.f = turn.late.f = NULL;
        BASE_POINT("flight.enter");
        sync_take(FLIGHT, &s->lock);
        flight_turn_take(t, s, ask, &fresh, &turn);
        sync_drop(FLIGHT, &s->lock);
        if (!turn.again) { break; }
        fresh = flight_record_new(t, ask->key.len);
        if (fresh == NULL) { return FLIGHT_NO_MEMORY; }
    }
    if (turn.late.f != NULL) { flight_cancelled(t, &turn.late, true); }
    flight_record_free(t, fresh);
    if (turn.entry == FLIGHT_LED) {
        base_fence_sc(); /* between count and the second look: flight/README.md */
        BASE_POINT("flight.lead");
    } else {
        BASE_POINT("flight.join");
    }
    *out = turn.f;
    return turn.entry;
}

CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    flight_ended ended = { .f = NULL };
    sync_take(FLIGHT, &s->lock);
    const uint32_t state = base_load_rlx(&f->state);
    const bool ours = FLIGHT_PHASE(state) == FLIGHT_QUEUED && f->attached;
    if (FLIGHT_PHASE(state) == FLIGHT_QUEUED && !f->attached) { /* its entry changed */
        flight_settle(f, &FLIGHT_HANDS_OVER, &ended);
    } else if (ours) {
        flight_begin(f, now_ms, hard_timeout_ms);
    }
    sync_drop(FLIGHT, &s->lock);
    flight_announce(t, &ended);
    return ours;
}

/* ---- leaders ---- */

CELLAR_PRIVATE uint32_t flight_depth(void)
{
    const base_thread_record *self = base_thread_self();
    const flight *f = self->index != 0 ? self->leads : NULL; /* many threads share index 0 */
    return f != NULL ? f->depth : 0;
}

CELLAR_PRIVATE void flight_lead_begin(flight *f, uint32_t depth)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* no token */
    f->outer = self->leads;
    f->depth = depth;
    base_store_rel(&f->leader, self); /* acquire in flight_cycle */
    self->leads = f;
}

CELLAR_PRIVATE void flight_lead_end(flight *f)
{
    base_thread_record *self = base_thread_self();
    if (self->index != 0) { self->leads = f->outer; }
}

CELLAR_PRIVATE bool flight_led_at(const flight *f, uint32_t depth)
{
    base_thread_record *self = base_thread_self();
    return self->index != 0 && base_load_acq(&f->leader) == self && f->depth == depth;
}

/* ---- the end ---- */

CELLAR_PRIVATE bool flight_may_publish(flight_table *t, const flight_key *key)
{
    flight_shard *s = flight_shard_of(t, key->hash);
    sync_take(FLIGHT, &s->lock);
    flight *f = flight_find(s, key, true, NULL), *own = f;
    while (own != NULL && own->key != (const unsigned char *)key->bytes) {
        own = flight_find(s, key, true, own);
    }
    const bool may = own != NULL && !(own->renews && own->replaced);
    for (flight *next; may && f != NULL; f = next) {
        next = flight_find(s, key, true, f);
        /* Of parallel loads without single flight, the first one that ends is stored. The flight of
         * another leader continues, but the old value that it may know is gone. */
        if (f == own || f->kind == FLIGHT_SIDE) {
            flight_unlink(s, f);
        } else {
            f->replaced = true;
        }
    }
    sync_drop(FLIGHT, &s->lock);
    return may;
}

CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    flight_ended ended;
    flight_rest rest = { .record = NULL };
    sync_take(FLIGHT, &s->lock);
    if (f->attached) { flight_unlink(s, f); }
    flight_settle(f, o, &ended);
    const bool taken = f->result.value == o->value;
    /* refs == 1 and unlinked: no other thread can reach the flight, so the ref is dropped here. */
    const bool alone = base_load_acq(&f->refs) == 1 && ended.subs == NULL;
    if (alone) { rest = flight_let_go(s, f); }
    sync_drop(FLIGHT, &s->lock);
    flight_bytes *untaken = taken ? NULL : o->value;
    if (alone) {
        flight_rest_free(t, &rest);
    } else {
        flight_announce(t, &ended);
        flight_unref(t, f);
    }
    flight_bytes_drop(untaken);
}
