/* SPDX-License-Identifier: MIT
 *
 * sched: what is due fires; a firing becomes a run; a run ends.
 *
 * WALK       wheel_pop -> fold the firings that have passed into one (coalesce) -> too late: skip;
 *            no free run: skip, or park until a run ends; else a run for the pool -> next firing,
 *            computed from the due time, never from now.
 *            With catch_up_on_start the end of a run writes the last due time that is settled.
 * INVARIANTS The due times of an interval are start + k * interval. A run that has not begun when
 *            its schedule is removed, replaced or paused never begins: a worker looks at its state
 *            under the lock. A schedule in place of one with the same times is its heir: it takes
 *            instants and waiting runs, and counts the runs that have begun in `earlier`.
 * CLOCK      The wall clock stepped if wall minus monotonic clock moved by more than a second
 *            since the last firing. Then the wheel of the wall clock is filled again: it never
 *            moves back.
 * LOCKING    types.h. Clocks of the host are read before the lock is taken.
 * LIMITS     SCHED_SLICE timers and SCHED_SLICE cron instants for each call of sched_fire. */
#include "work/sched.h"

#include <string.h>

#include "base/user_callback.h"
#include "work/task_commit.h"

BASE_SIZE_BEGIN

#define SCHED_SLICE 1024u

CELLAR_PRIVATE void sched_ring(cellar_scheduler *s)
{
    work_ticker_ring(&s->ticker);
}

static int64_t sched_clock(const sched_entry *e, work_time now)
{
    return e->kind == CELLAR_SCHEDULE_EVERY ? now.mono_ms : now.wall_ms;
}

/* ---- due times ---- */

CELLAR_PRIVATE int64_t sched_next_ms(const sched_entry *e, int64_t due_ms)
{
    switch (e->kind) {
    case CELLAR_SCHEDULE_EVERY: return base_add_sat(due_ms, e->interval_ms);
    case CELLAR_SCHEDULE_CRON: return cron_next_ms(&e->cron, e->zone, due_ms);
    case CELLAR_SCHEDULE_AT: break;
    }
    return BASE_NEVER_MS;
}

/* Return the time at which the firing of `due_ms` leaves: with its jitter, before the next one. */
static int64_t sched_leave_ms(const sched_entry *e, int64_t due_ms)
{
    if (e->jitter_ms == 0) { return due_ms; }
    const int64_t next_ms = sched_next_ms(e, due_ms);
    const int64_t most = next_ms != BASE_NEVER_MS ? BASE_MIN(e->jitter_ms, next_ms - due_ms - 1)
                                                  : e->jitter_ms;
    const int64_t which = e->kind == CELLAR_SCHEDULE_EVERY
                              ? (due_ms - e->start_ms) / e->interval_ms : due_ms;
    const uint64_t hash = base_mix64(e->hash + (uint64_t)which);
    return base_add_sat(due_ms, (int64_t)(hash % ((uint64_t)most + 1)));
}

CELLAR_PRIVATE void sched_disarm(sched_entry *e)
{
    wheel_cancel(e->kind == CELLAR_SCHEDULE_EVERY ? &e->of->mono : &e->of->wall, &e->timer);
    e->parked = false;
    e->missed_now = 0;
    e->caught_up = 0;
}

static void sched_arm(sched_entry *e) SYNC_HOLDS(WHEEL)
{
    if (e->paused || !e->present || e->due_ms == BASE_NEVER_MS) { return; }
    wheel_add(e->kind == CELLAR_SCHEDULE_EVERY ? &e->of->mono : &e->of->wall, &e->timer,
              sched_leave_ms(e, e->due_ms));
}

CELLAR_PRIVATE int64_t sched_due_from(const sched_entry *e, int64_t clock_ms)
{
    switch (e->kind) {
    case CELLAR_SCHEDULE_EVERY: break;
    case CELLAR_SCHEDULE_CRON: return sched_next_ms(e, clock_ms);
    case CELLAR_SCHEDULE_AT: return e->due_ms;
    }
    const int64_t passed = clock_ms <= e->start_ms
                               ? 0 : (clock_ms - e->start_ms - 1) / e->interval_ms + 1;
    /* A firing of this millisecond may have run: due_ms is the one after it. */
    return BASE_MAX(e->start_ms + passed * e->interval_ms, e->due_ms);
}

CELLAR_PRIVATE void sched_begin(sched_entry *e, work_time now)
{
    e->due_ms = sched_due_from(e, sched_clock(e, now));
    sched_arm(e);
}

CELLAR_PRIVATE bool sched_is_busy(const sched_entry *e)
{
    return e->busy + e->earlier >= e->run_count;
}

/* Move the runs of `old` that wait for a thread to `e`, and count those that run. */
static void sched_inherit_runs(sched_entry *e, sched_entry *old, sched_after *a) SYNC_HOLDS(WHEEL)
{
    e->earlier = old->earlier;
    for (uint32_t i = 0; i < old->run_count; i++) {
        sched_run *r = &old->run[i];
        e->earlier += r->state == SCHED_RUNNING;
        const bool moves = r->state == SCHED_WAITING && e->busy < e->run_count &&
                           (!e->paused || r->firing.triggered != 0);
        if (!moves) { continue; }
        r->state = SCHED_DROPPED;
        sched_run *to = sched_start(e, r->fire_ms, r->firing.due_wall_ms, false, a);
        to->firing = r->firing;
        to->firing.name = e->name;
    }
}

CELLAR_PRIVATE void sched_inherit(sched_entry *e, sched_entry *old, work_time now, sched_after *a)
{
    e->line = old->line;
    e->start_ms = old->start_ms;
    e->due_ms = old->due_ms;
    e->settled_wall_ms = BASE_MAX(e->settled_wall_ms, old->settled_wall_ms);
    sched_inherit_runs(e, old, a);
    if (old->paused || e->paused) {
        sched_begin(e, now);
        return;
    }
    e->first_ms = old->first_ms;
    e->missed_now = old->missed_now;
    e->caught_up = old->caught_up;
    sched_arm(e);
}

CELLAR_PRIVATE void sched_continue(sched_entry *e, work_time now)
{
    const int64_t last_ms = e->settled_wall_ms, offset_ms = now.wall_ms - now.mono_ms;
    switch (e->kind) {
    case CELLAR_SCHEDULE_EVERY:
        e->start_ms = e->due_ms = last_ms + e->interval_ms - offset_ms;
        break;
    case CELLAR_SCHEDULE_CRON: e->due_ms = sched_next_ms(e, last_ms); break;
    case CELLAR_SCHEDULE_AT: break;
    }
    sched_arm(e);
}

static cellar_err sched_row_write(journal *db, void *row)
{
    return journal_schedule_write(db, row);
}

CELLAR_PRIVATE cellar_err sched_row(cellar_scheduler *s, journal_schedule *row)
{
    const cellar_err err = task_commit_write(s->tasks, sched_row_write, NULL, row);
    if (err == CELLAR_OK) { return err; }
    sync_take(WHEEL, &s->lock);
    s->count[STATS_SCHEDULER_JOURNAL_ERRORS]++;
    sync_drop(WHEEL, &s->lock);
    return err;
}

CELLAR_PRIVATE void sched_note(cellar_scheduler *s, const char *name, int64_t settled_wall_ms)
{
    journal_schedule row = { .op = JOURNAL_SCHEDULE_SET, .name = name,
                             .last_due_wall_ms = settled_wall_ms };
    (void)sched_row(s, &row); /* counted, and logged by the pool */
}

/* ---- runs ---- */

CELLAR_PRIVATE void sched_after_init(sched_after *a)
{
    *a = (sched_after){ .first = NULL };
    a->end = &a->first;
}

CELLAR_PRIVATE sched_run *sched_start(sched_entry *e, int64_t fire_ms, int64_t due_wall_ms,
                                      bool triggered, sched_after *a)
{
    sched_run *r = e->run;
    while (r->state != SCHED_FREE) { r++; }
    BASE_ASSERT(r < e->run + e->run_count);
    r->state = SCHED_WAITING;
    r->of = e;
    r->fire_ms = fire_ms;
    r->firing = cellar_firing_default();
    r->firing.name = e->name;
    r->firing.due_wall_ms = due_wall_ms;
    r->firing.until_wall_ms = triggered ? INT64_MIN : e->settled_wall_ms;
    r->firing.triggered = triggered;
    r->firing.missed = triggered ? 0 : e->missed_now;
    e->of->count[STATS_SCHEDULER_WAITING]++;
    e->busy++;
    e->refs++;
    r->queued.next = NULL;
    *a->end = &r->queued;
    a->end = &r->queued.next;
    return r;
}

CELLAR_PRIVATE void sched_drop_runs(sched_entry *e, bool triggered)
{
    for (uint32_t i = 0; i < e->run_count; i++) {
        sched_run *r = &e->run[i];
        if (r->state != SCHED_WAITING || (r->firing.triggered != 0 && !triggered)) { continue; }
        r->state = SCHED_DROPPED;
        e->skipped++;
        e->of->count[STATS_SCHEDULER_SKIPPED_CHANGE]++;
    }
}

CELLAR_PRIVATE void sched_unref(sched_entry *e, sched_after *a)
{
    cellar_scheduler *s = e->of;
    if (--e->refs != 0) { return; }
    e->next->prev = e->prev;
    e->prev->next = e->next;
    if (s->all == e) { s->all = e->next != e ? e->next : NULL; }
    e->next = a->ended;
    a->ended = e;
}

CELLAR_PRIVATE void sched_detach(sched_entry *e, sched_after *a)
{
    BASE_TABLE_CHARGE(&e->of->obj.account, BASE_MOD_STORE);
    sched_drop_runs(e, true);
    sched_disarm(e);
    BASE_TABLE_REMOVE(hh, e->of->table, e);
    e->present = false;
    sched_unref(e, a);
}

CELLAR_PRIVATE void sched_free(sched_entry *e, bool tell)
{
    const cellar_schedule_free_fn free_fn = tell ? e->free_fn : NULL;
    void *ctx = e->ctx;
    base_tz_close(e->zone);
    base_free(&e->of->obj.account, BASE_MOD_STORE, e,
              sizeof *e + (size_t)e->run_count * sizeof e->run[0]);
    sync_assert_none();
    if (free_fn != NULL) { free_fn(ctx); }
}

CELLAR_PRIVATE void sched_settle(cellar_scheduler *s, sched_after *a)
{
    while (a->first != NULL) {
        base_job *j = a->first;
        a->first = j->next;
        if (!base_pool_push(&s->ticker.pool, j)) { sched_discard(j); }
    }
    while (a->ended != NULL) {
        sched_entry *e = a->ended;
        a->ended = e->next;
        sched_free(e, true);
    }
    if (a->skipped != 0) {
        base_log(&s->obj.log, BASE_LOG_WARNING, "schedule", (int)a->why,
                 "%llu firings skipped, the last one of \"%s\": %s",
                 (unsigned long long)a->skipped, a->name,
                 a->why == CELLAR_E_BUSY ? "max_running runs had not ended"
                                         : "later than misfire_grace_ms");
    }
}

CELLAR_PRIVATE sched_entry *sched_find(cellar_scheduler *s, const char *name)
{
    const unsigned hash = (unsigned)cron_hash(name);
    return BASE_TABLE_FIND(hh, s->table, name, strlen(name), hash);
}

/* Return the schedule that continues `e`: itself while it is in the table; NULL: none. */
static sched_entry *sched_heir(sched_entry *e) SYNC_HOLDS(WHEEL)
{
    sched_entry *heir = e->present ? e : sched_find(e->of, e->name);
    return heir != NULL && heir->line == e->line ? heir : NULL;
}

/* Let the schedule go on that waits for the end of a run. */
static void sched_end_run(sched_run *r, bool ended_thread)
{
    sched_entry *e = r->of;
    cellar_scheduler *s = e->of;
    sched_after a;
    sched_after_init(&a);
    sync_take(WHEEL, &s->lock);
    const bool ran = r->state == SCHED_RUNNING;
    sched_entry *heir = sched_heir(e);
    if (ran && e->catches_up &&
        ((heir != NULL && heir->catches_up) || e->kind == CELLAR_SCHEDULE_AT)) {
        const int64_t settled_wall_ms = e->settled_wall_ms;
        sync_drop(WHEEL, &s->lock);
        sched_note(s, e->name, settled_wall_ms);
        sync_take(WHEEL, &s->lock);
        heir = sched_heir(e);
    }
    if (heir != e && heir != NULL) { heir->earlier -= ran; }
    const bool go_on = heir != NULL && heir->parked;
    if (ran) {
        s->count[STATS_SCHEDULER_ENDED]++;
        s->count[STATS_SCHEDULER_THREAD_ENDS] += ended_thread;
    } else {
        s->count[STATS_SCHEDULER_WAITING]--;
    }
    r->state = SCHED_FREE;
    e->busy--;
    if (go_on) {
        heir->parked = false;
        sched_arm(heir);
    }
    sched_unref(e, &a);
    sync_drop(WHEEL, &s->lock);
    sched_settle(s, &a);
    if (go_on || ended_thread) { sched_ring(s); }
    if (ran) {
        (void)base_sub_ar(&s->running, 1u);
        sync_wake(&s->running, INT32_MAX);
    }
}

CELLAR_PRIVATE void sched_discard(base_job *j)
{
    sched_end_run((sched_run *)(void *)j, false); /* its first field */
}

static void sched_call(void *arg)
{
    const sched_run *r = arg;
    const cellar_firing seen = r->firing;
    r->of->fn(&seen, r->of->ctx);
}

static void sched_left(void *arg) { sched_end_run(arg, true); }

CELLAR_PRIVATE void sched_run_job(void *scheduler, base_job *j)
{
    cellar_scheduler *s = scheduler;
    sched_run *r = (sched_run *)(void *)j; /* its first field */
    sched_entry *e = r->of;
    const int64_t now = sched_clock(e, work_now(&s->obj));
    sync_take(WHEEL, &s->lock);
    const bool begins = r->state == SCHED_WAITING && !s->closing;
    if (begins) {
        r->state = SCHED_RUNNING;
        r->tid = base_thread_id();
        r->firing.late_ms = r->firing.triggered == 0 ? BASE_MAX(now - r->fire_ms, 0) : 0;
        e->runs++;
        e->last_wall_ms = r->firing.due_wall_ms;
        s->count[STATS_SCHEDULER_WAITING]--;
        s->count[STATS_SCHEDULER_STARTED]++;
        s->count[STATS_SCHEDULER_TRIGGERED] += r->firing.triggered;
        (void)base_add_ar(&s->running, 1u);
    }
    sync_drop(WHEEL, &s->lock);
    if (begins) {
        const int cancel = base_cancel_off();
        base_run_callback(sched_call, sched_left, r, cancel);
        base_cancel_set(cancel);
    }
    sched_end_run(r, false);
}

/* ---- firing ---- */

/* Fold the firings that have passed into due_ms, so far as coalesce says. *next_ms: the firing
 * after it. False: *steps are used up. */
static bool sched_fold(sched_entry *e, int64_t now, uint32_t *steps, int64_t *next_ms)
{
    const bool each = e->coalesce == CELLAR_COALESCE_ALL &&
                      e->caught_up + 1 < CELLAR_SCHEDULE_CATCH_UP_MAX;
    if (e->missed_now == 0) { e->first_ms = e->due_ms; }
    if (!each && e->kind == CELLAR_SCHEDULE_EVERY) {
        const int64_t passed = (now - e->due_ms) / e->interval_ms;
        e->missed_now += (uint64_t)passed;
        e->due_ms += passed * e->interval_ms;
    }
    for (;;) {
        *next_ms = sched_next_ms(e, e->due_ms);
        if (each || *next_ms > now) { return true; }
        if (*steps == 0) { return false; }
        --*steps;
        e->missed_now++;
        e->due_ms = *next_ms;
    }
}

static void sched_skip(sched_entry *e, cellar_err why, stats_scheduler counter, sched_after *a)
    SYNC_HOLDS(WHEEL)
{
    const uint64_t n = e->missed_now + 1;
    e->of->count[counter] += n;
    e->skipped += n;
    a->skipped += n;
    a->why = why;
    memcpy(a->name, e->name, sizeof a->name);
}

/* Fire a schedule that left its wheel. False: *steps are used up; it is armed again. */
static bool sched_due(sched_entry *e, work_time now, uint32_t *steps, sched_after *a)
    SYNC_HOLDS(WHEEL)
{
    cellar_scheduler *s = e->of;
    const int64_t clock = sched_clock(e, now);
    int64_t next_ms;
    if (!sched_fold(e, clock, steps, &next_ms)) {
        sched_arm(e);
        return false;
    }
    const bool early = e->coalesce == CELLAR_COALESCE_EARLIEST &&
                       clock - e->first_ms <= e->grace_ms;
    const int64_t due_ms = early ? e->first_ms : e->due_ms;
    const int64_t fire_ms = sched_leave_ms(e, due_ms);
    const int64_t offset_ms = e->kind == CELLAR_SCHEDULE_EVERY ? now.wall_ms - now.mono_ms : 0;
    const int64_t settled_wall_ms = e->due_ms + offset_ms;
    const bool busy = sched_is_busy(e);
    bool ran = false;
    if (busy && clock - fire_ms <= e->grace_ms &&
        (e->overlap == CELLAR_OVERLAP_QUEUE || e->caught_up != 0)) {
        e->parked = true;
        return true;
    }
    e->settled_wall_ms = settled_wall_ms;
    if (clock - fire_ms > e->grace_ms) {
        sched_skip(e, CELLAR_E_TIMEOUT, STATS_SCHEDULER_SKIPPED_GRACE, a);
    } else if (busy) {
        sched_skip(e, CELLAR_E_BUSY, STATS_SCHEDULER_SKIPPED_OVERLAP, a);
    } else {
        (void)sched_start(e, fire_ms, due_ms + offset_ms, false, a);
        s->count[STATS_SCHEDULER_MISSED] += e->missed_now;
        e->missed += e->missed_now;
        ran = true;
    }
    e->caught_up = next_ms <= clock ? e->caught_up + ran : 0;
    e->missed_now = 0;
    e->due_ms = next_ms;
    if (e->kind == CELLAR_SCHEDULE_AT) { /* its run keeps it alive, and must not be dropped */
        BASE_TABLE_CHARGE(&s->obj.account, BASE_MOD_STORE);
        BASE_TABLE_REMOVE(hh, s->table, e);
        e->present = false;
        sched_unref(e, a);
    } else {
        sched_arm(e);
    }
    return true;
}

/* Fill the wheel of the wall clock again, after a step by `step_ms`. */
static void sched_stepped(cellar_scheduler *s, work_time now, int64_t step_ms) SYNC_HOLDS(WHEEL)
{
    const bool correction = step_ms > SCHED_CORRECTION_MS || step_ms < -SCHED_CORRECTION_MS;
    s->count[STATS_SCHEDULER_CLOCK_STEPS]++;
    wheel_init(&s->wall, now.wall_ms);
    for (sched_entry *e = s->table; e != NULL; e = e->hh.next) {
        if (e->kind == CELLAR_SCHEDULE_EVERY) { continue; }
        e->timer = (wheel_timer){ .next = NULL };
        if (e->parked) { continue; }
        if (e->kind == CELLAR_SCHEDULE_CRON &&
            (correction || (e->cron.flags & CRON_WILDCARD) != 0)) {
            e->missed_now = 0;
            e->caught_up = 0;
            e->due_ms = sched_next_ms(e, now.wall_ms);
        }
        sched_arm(e);
    }
}

/* Pop one wheel. Return false if more is due. */
static bool sched_pop(wheel *w, int64_t clock, work_time now, sched_after *a) SYNC_HOLDS(WHEEL)
{
    uint32_t budget = SCHED_SLICE, steps = SCHED_SLICE;
    wheel_timer *t;
    while ((t = wheel_pop(w, clock, &budget)) != NULL) {
        sched_entry *e = (sched_entry *)(void *)((char *)t - offsetof(sched_entry, timer));
        if (!sched_due(e, now, &steps, a)) { return false; }
    }
    return budget != 0;
}

CELLAR_PRIVATE void sched_fire(void *scheduler, int64_t *next_ms)
{
    cellar_scheduler *s = scheduler;
    const work_time now = work_now(&s->obj);
    sched_after a;
    sched_after_init(&a);
    *next_ms = BASE_NEVER_MS;
    sync_take(WHEEL, &s->lock);
    if (!s->closing) {
        const int64_t offset_ms = now.wall_ms - now.mono_ms, step_ms = offset_ms - s->offset_ms;
        s->offset_ms = offset_ms;
        if (step_ms > WORK_STEP_MS || step_ms < -WORK_STEP_MS) { sched_stepped(s, now, step_ms); }
        const bool mono = sched_pop(&s->mono, now.mono_ms, now, &a);
        const bool wall = sched_pop(&s->wall, now.wall_ms, now, &a);
        const int64_t mono_ms = wheel_next_ms(&s->mono), wall_ms = wheel_next_ms(&s->wall);
        if (mono_ms != BASE_NEVER_MS) { *next_ms = BASE_MAX(mono_ms - now.mono_ms, 1); }
        if (wall_ms != BASE_NEVER_MS) {
            *next_ms = BASE_MIN(*next_ms, BASE_MAX(wall_ms - now.wall_ms, 1));
        }
        if (!mono || !wall) { *next_ms = 0; }
    }
    sync_drop(WHEEL, &s->lock);
    sched_settle(s, &a);
}

BASE_SIZE_END
