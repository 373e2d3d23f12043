/* SPDX-License-Identifier: MIT
 *
 * flight: enter a flight as leader or waiter, lead it, end it.
 *
 * COMPLETION One thread completes a flight: its leader, or the thread that takes the flight over,
 *            expires its lease or closes the store.
 * SEE ALSO   table.c: records and references; wait.c; src/load/README.md: proofs. */
#include "load/flight.h"

#include "base/user_callback.h"

/* ---- enter ---- */

typedef struct flight_turn { /* result of one look under the lock */
    flight_entry entry;
    flight *f;
    bool again;          /* a record must be allocated first */
    flight_ended ended;  /* of the flight taken over; we hold a ref of that flight */
    flight *late;
    bool lost;           /* the late flight was an open lease */
} flight_turn;

static bool flight_stuck(const flight *f, const flight_ask *ask)
{
    const uint32_t takeovers = FLIGHT_TAKEOVERS(base_load_rlx(&f->state));
    const int64_t grace = base_add_sat(f->hard_at_ms,
                                       BASE_MIN(ask->hard_timeout_ms, INT64_MAX / 10) * 10);
    return takeovers >= ask->leader_retries && ask->now_ms < grace;
}

/* Let the job of a queued flight begin. */
static void flight_begin(flight *f, int64_t now_ms, int64_t hard_timeout_ms) SYNC_HOLDS(FLIGHT);
static void flight_begin(flight *f, int64_t now_ms, int64_t hard_timeout_ms)
{
    const uint32_t state = base_load_rlx(&f->state);
    f->start_ms = now_ms;
    f->hard_at_ms = base_add_sat(now_ms, hard_timeout_ms); /* read in flight_sleep */
    base_store_rel(&f->state, (state & ~7u) | (uint32_t)FLIGHT_LOADING);
}

static void flight_turn_found(flight_table *t, flight *f, const flight_ask *ask, flight_turn *turn)
    SYNC_HOLDS(FLIGHT);
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
static bool flight_turn_record(flight_table *t, flight_shard *s, const flight_ask *ask,
                               flight **fresh, flight_turn *turn) SYNC_HOLDS(FLIGHT);
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

static void flight_turn_take(flight_table *t, flight_shard *s, const flight_ask *ask,
                             flight **fresh, flight_turn *turn) SYNC_HOLDS(FLIGHT);
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
        flight_unlink(s, f);
        flight_settle(f, &FLIGHT_HANDS_OVER, &turn->ended);
        turn->lost = f->lease_open;
        if (f->lease_open) {
            f->lease_open = false; /* the ref of the lease becomes ours */
        } else {
            (void)base_add_rlx(&f->refs, 1u);
        }
        turn->late = f;
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
    if (BASE_UNLIKELY(base_load_rlx(&t->lost) != NULL)) { flight_free_lost(t); }
    for (;;) {
        memset(&turn, 0, sizeof turn);
        BASE_POINT("flight.enter");
        sync_take(FLIGHT, &s->lock);
        flight_turn_take(t, s, ask, &fresh, &turn);
        sync_drop(FLIGHT, &s->lock);
        if (!turn.again) { break; }
        fresh = flight_record_new(t, ask->key.len);
        if (fresh == NULL) { return FLIGHT_NO_MEMORY; }
    }
    if (turn.late != NULL) {
        if (turn.lost) { flight_tell_lost(t, turn.late); }
        flight_announce(t, &turn.ended);
        flight_unref(t, turn.late);
    }
    flight_record_free(t, fresh);
    if (turn.entry == FLIGHT_LED) {
        base_fence_sc(); /* between count and the second look: src/load/README.md */
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
    flight_ended ended = { NULL, NULL };
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

CELLAR_PRIVATE bool flight_deep(const base_thread_record *self)
{
    const flight *f = self->index != 0 ? self->leads : NULL;
    return f != NULL && f->depth >= FLIGHT_DEPTH_MAX;
}

CELLAR_PRIVATE void flight_lead_begin(flight *f, uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* many threads share index 0: no token */
    flight *outer = self->leads;
    f->outer = outer;
    f->frame = frame;
    f->depth = outer == NULL ? 1 : outer->frame == frame ? outer->depth : outer->depth + 1;
    base_store_rel(&f->leader, self); /* acquire in flight_cycle */
    self->leads = f;
}

CELLAR_PRIVATE void flight_lead_end(flight *f)
{
    base_thread_record *self = base_thread_self();
    if (self->index != 0) { self->leads = f->outer; }
}

CELLAR_PRIVATE bool flight_led_from(const flight *f, uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    return self->index != 0 && base_load_acq(&f->leader) == self && f->frame == frame;
}

CELLAR_PRIVATE void flight_reap(uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    if (BASE_LIKELY(self->leads == NULL) || self->index == 0) { return; }
    for (flight *f = self->leads; f != NULL && base_frame_is_gone(self, f->frame, frame);) {
        flight *outer = f->outer;
        flight_table *t = f->table;
        flight_will will = f->will;
        const bool last = outer == NULL || outer->frame != f->frame;
        self->leads = outer;
        flight_end(t, f, &FLIGHT_HANDS_OVER);
        if (will.lost != NULL) { will.lost(&will); }
        if (last) { t->call_lost(t->ctx); } /* the table may be freed after this */
        f = outer;
    }
}

CELLAR_PRIVATE void flight_will_set(flight *f, const flight_will *will)
{
    static const flight_will none = { .lost = NULL };
    f->will = will != NULL ? *will : none;
}

/* ---- the end ---- */

static void flight_end_locked(flight_shard *s, flight *f, const flight_outcome *o,
                              flight_ended *ended) SYNC_HOLDS(FLIGHT);
static void flight_end_locked(flight_shard *s, flight *f, const flight_outcome *o,
                              flight_ended *ended)
{
    if (f->attached) { flight_unlink(s, f); }
    flight_settle(f, o, ended);
}

CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    flight_ended ended;
    flight_rest rest = { NULL, NULL, NULL, NULL };
    sync_take(FLIGHT, &s->lock);
    flight_end_locked(s, f, o, &ended);
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
