/* SPDX-License-Identifier: MIT
 *
 * sched: what is due fires; a firing becomes a run; a run ends.
 *
 * WALK       timer -> fold the firings that have passed into one (coalesce) -> too late: skip;
 *            no free run: skip, or park until a run ends; else a run into the queue of its name ->
 *            next firing, computed from the due time, never from now.
 *            With catch_up_on_start the end of a run writes the last due time that is settled.
 * INVARIANTS The due times of an interval are start + k * interval. After a schedule is removed,
 *            replaced or paused no attempt of its runs begins: a run leaves its queue, or the
 *            worker that has it drops it. A schedule in place of one with the same times is its
 *            heir: it takes instants and waiting runs, and counts the runs that have begun in
 *            `earlier`. An instant fires again if a change ended its run.
 * CLOCK      The wall clock stepped if wall minus monotonic clock moved by more than a second
 *            since the last look. Then the wheel of the wall clock is filled again: it never
 *            moves back.
 * LOCKING    sched.h. Clocks of the host are read before the lock is taken.
 * LIMITS     TASK_SLICE timers and as many cron instants for each call of task_fire. */
#include "work/sched.h"

BASE_SIZE_BEGIN

#define SCHED_PRIORITY 5u /* of runs */

static int64_t sched_clock(const sched_entry *e, work_time now)
{
    return e->kind == CELLAR_SCHEDULE_EVERY ? now.mono_ms : now.wall_ms;
}

/* Return a time on the clock of a schedule as one of the monotonic clock. */
static int64_t sched_mono_ms(const cellar_pool *p, const sched_entry *e, int64_t ms)
{
    return e->kind == CELLAR_SCHEDULE_EVERY ? ms
                                            : base_add_sat(ms, -base_load_rlx(&p->offset_ms));
}

static wheel *sched_wheel(cellar_pool *p, const sched_entry *e)
{
    return e->kind == CELLAR_SCHEDULE_EVERY ? &p->mono : &p->wall;
}

static sched_run *sched_run_of(const task *t) { return (sched_run *)(uintptr_t)t; }

/* ---- zones ---- */

static sched_zone *sched_zone_find(const cellar_pool *p, const char *name) SYNC_HOLDS(QUEUE)
{
    sched_zone *z = p->sched.zones;
    while (z != NULL && strcmp(z->name, name) != 0) { z = z->next; }
    if (z != NULL) { z->refs++; }
    return z;
}

CELLAR_PRIVATE cellar_err sched_zone_hold(cellar_pool *p, const char *name, sched_zone **out)
{
    const size_t len = strnlen(name, CRON_ZONE_MAX + 1);
    if (len > CRON_ZONE_MAX) { return CELLAR_E_NOT_FOUND; }
    sync_take(QUEUE, &p->lock);
    *out = sched_zone_find(p, name);
    sync_drop(QUEUE, &p->lock);
    if (*out != NULL) { return CELLAR_OK; }
    sched_zone *z = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *z, NULL);
    if (z == NULL) { return CELLAR_E_NOMEM; }
    const cellar_err err = base_tz_open(&p->obj.account.hooks, name, &z->tz);
    if (err == CELLAR_OK) {
        memcpy(z->name, name, len);
        z->refs = 1;
        sync_take(QUEUE, &p->lock);
        *out = sched_zone_find(p, name);
        if (*out == NULL) {
            z->next = p->sched.zones;
            p->sched.zones = *out = z;
            z = NULL;
        }
        sync_drop(QUEUE, &p->lock);
    }
    if (z != NULL) { base_tz_close(z->tz); }
    base_free(&p->obj.account, BASE_MOD_STORE, z, sizeof *z);
    return err;
}

static void sched_zone_drop(cellar_pool *p, sched_zone *z)
{
    if (z == NULL) { return; }
    sync_take(QUEUE, &p->lock);
    const bool last = --z->refs == 0;
    sched_zone **at = &p->sched.zones;
    while (last && *at != z) { at = &(*at)->next; }
    if (last) { *at = z->next; }
    sync_drop(QUEUE, &p->lock);
    if (!last) { return; }
    base_tz_close(z->tz);
    base_free(&p->obj.account, BASE_MOD_STORE, z, sizeof *z);
}

/* ---- due times ---- */

CELLAR_PRIVATE int64_t sched_next_ms(const sched_entry *e, int64_t due_ms)
{
    if (e->kind == CELLAR_SCHEDULE_AT) { return BASE_NEVER_MS; }
    return e->kind == CELLAR_SCHEDULE_CRON ? cron_next_ms(&e->cron, e->zone->tz, due_ms)
                                           : base_add_sat(due_ms, e->interval_ms);
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

CELLAR_PRIVATE void sched_disarm(cellar_pool *p, sched_entry *e)
{
    wheel_cancel(sched_wheel(p, e), &e->recur.task.timer);
    e->parked = false;
    e->missed_now = 0;
    e->caught_up = 0;
}

static void sched_arm(cellar_pool *p, sched_entry *e, task_after *a) SYNC_HOLDS(QUEUE)
{
    if (e->paused || !e->recur.present || e->due_ms == BASE_NEVER_MS) { return; }
    const int64_t leave_ms = sched_leave_ms(e, e->due_ms);
    task_look_at(p, sched_mono_ms(p, e, leave_ms), a);
    wheel_add(sched_wheel(p, e), &e->recur.task.timer, leave_ms);
}

CELLAR_PRIVATE int64_t sched_due_from(const sched_entry *e, int64_t clock_ms)
{
    if (e->kind == CELLAR_SCHEDULE_AT) { return e->due_ms; }
    if (e->kind == CELLAR_SCHEDULE_CRON) { /* the clock may have gone back: not before due_ms */
        return BASE_MAX(sched_next_ms(e, clock_ms), e->due_ms);
    }
    const int64_t passed = clock_ms <= e->start_ms
                               ? 0 : (clock_ms - e->start_ms - 1) / e->interval_ms + 1;
    /* A firing of this millisecond may have run: due_ms is the one after it. */
    return BASE_MAX(e->start_ms + passed * e->interval_ms, e->due_ms);
}

CELLAR_PRIVATE void sched_begin(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
{
    e->due_ms = sched_due_from(e, sched_clock(e, now));
    sched_arm(p, e, a);
}

CELLAR_PRIVATE int64_t sched_before_wall_ms(const sched_entry *e, int64_t first_ms, work_time now)
{
    if (e->kind == CELLAR_SCHEDULE_CRON) { return now.wall_ms; }
    if (e->kind == CELLAR_SCHEDULE_AT) { return e->due_ms - 1; }
    return first_ms - e->interval_ms + now.wall_ms - now.mono_ms;
}

CELLAR_PRIVATE int64_t sched_ended_wall_ms(const sched_entry *e)
{
    const sched_run *r = e->run; /* its only one */
    if (e->earlier != 0) { return e->earlier_wall_ms; }
    return r->task.state != TASK_FREE && !r->triggered
               ? r->due_wall_ms - BASE_MAX(e->interval_ms, 1) : e->settled_wall_ms;
}

CELLAR_PRIVATE void sched_resume(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
{
    e->paused = false;
    sched_begin(p, e, now, a);
    if (e->kind == CELLAR_SCHEDULE_AT) { return; }
    const int64_t last_ms = e->settled_wall_ms; /* later than now if the clock went back */
    e->settled_wall_ms = sched_before_wall_ms(e, e->due_ms, now);
    if (e->kind == CELLAR_SCHEDULE_CRON) {
        e->settled_wall_ms = BASE_MIN(BASE_MAX(e->settled_wall_ms, last_ms), e->due_ms - 1);
    }
}

CELLAR_PRIVATE bool sched_is_busy(const sched_entry *e)
{
    return e->busy + e->earlier >= e->run_count;
}

/* Let an instant fire again: a change ended its run. */
static void sched_unfire(sched_entry *e, int64_t due_ms)
{
    e->due_ms = due_ms;
    e->settled_wall_ms = due_ms - 1;
}

/* Return whether an instant fired and no run of it is left. */
static bool sched_is_done(const sched_entry *e)
{
    return e->kind == CELLAR_SCHEDULE_AT && e->due_ms == BASE_NEVER_MS &&
           e->busy + e->earlier == 0;
}

/* Take a run out; or let its worker drop it instead of another attempt, or of the one for which it
 * asks its limiter. */
static void sched_withdraw(cellar_pool *p, sched_run *r, task_after *a) SYNC_HOLDS(QUEUE)
{
    r->task.flags |= TASK_CANCEL;
    if (r->task.state != CELLAR_TASK_RUNNING) {
        task_detach(p, &r->task, a);
        sched_over(p, &r->task, CELLAR_TASK_CANCELLED, a);
    }
}

/* Move the runs of `old` that have not begun to `e`, and count those that run. */
static void sched_inherit_runs(cellar_pool *p, sched_entry *e, sched_entry *old, int64_t now_ms,
                               task_after *a) SYNC_HOLDS(QUEUE)
{
    e->earlier = old->earlier;
    e->earlier_wall_ms = old->catches_up ? sched_ended_wall_ms(old) : e->settled_wall_ms;
    for (uint32_t i = 0; i < old->run_count; i++) {
        e->earlier += old->run[i].begun && old->run[i].task.state == CELLAR_TASK_RUNNING;
    }
    for (uint32_t i = 0; i < old->run_count; i++) {
        sched_run *r = &old->run[i], was = *r;
        const bool moves = r->task.state != TASK_FREE && !r->begun &&
                           (r->task.flags & TASK_CANCEL) == 0 && !sched_is_busy(e) &&
                           (!e->paused || r->triggered);
        if (!moves) { continue; }
        sched_withdraw(p, r, a);
        const int64_t since_ms = BASE_MIN(was.task.timer.due_ms, now_ms); /* it may wait for more */
        sched_run *to = sched_start(p, e, since_ms, was.due_wall_ms, was.triggered, a);
        to->fire_ms = was.fire_ms;
        to->missed = was.missed;
        to->until_wall_ms = was.until_wall_ms;
    }
}

CELLAR_PRIVATE void sched_inherit(cellar_pool *p, sched_entry *e, sched_entry *old, work_time now,
                                  task_after *a)
{
    const int64_t first_ms = e->due_ms;
    e->line = old->line;
    e->start_ms = old->start_ms;
    e->due_ms = old->due_ms;
    e->settled_wall_ms = BASE_MAX(e->settled_wall_ms, old->settled_wall_ms);
    sched_inherit_runs(p, e, old, now.mono_ms, a);
    if (sched_is_done(e)) { sched_unfire(e, first_ms); }
    if (e->paused) {
        sched_begin(p, e, now, a);
        return;
    }
    if (old->paused) {
        sched_resume(p, e, now, a);
        return;
    }
    e->first_ms = old->first_ms;
    e->missed_now = old->missed_now;
    e->caught_up = old->caught_up;
    sched_arm(p, e, a);
}

CELLAR_PRIVATE void sched_continue(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
{
    const int64_t last_ms = e->settled_wall_ms, offset_ms = now.wall_ms - now.mono_ms;
    if (e->kind == CELLAR_SCHEDULE_EVERY) {
        e->start_ms = e->due_ms = last_ms + e->interval_ms - offset_ms;
    } else if (e->kind == CELLAR_SCHEDULE_CRON) {
        e->due_ms = sched_next_ms(e, last_ms);
    }
    sched_arm(p, e, a);
}

/* ---- schedules ---- */

static void sched_unlist(cellar_pool *p, sched_entry *e, task_after *a) SYNC_HOLDS(QUEUE)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    BASE_TABLE_REMOVE(hh, p->sched.table, e);
    e->recur.present = false;
    p->body_bytes -= task_body_bytes(e->body);
    task_recur_unref(&e->recur, a);
}

/* End an instant that fired, unless it has a run. */
static void sched_end(cellar_pool *p, sched_entry *e, task_after *a) SYNC_HOLDS(QUEUE)
{
    if (e->recur.present && sched_is_done(e)) { sched_unlist(p, e, a); }
}

CELLAR_PRIVATE void sched_detach(cellar_pool *p, sched_entry *e, task_after *a)
{
    e->recur.refs++; /* the end of its last run may take it out of the table */
    sched_drop_runs(p, e, true, a);
    sched_disarm(p, e);
    if (e->recur.present) { sched_unlist(p, e, a); }
    task_recur_unref(&e->recur, a);
}

CELLAR_PRIVATE void sched_free(cellar_pool *p, sched_entry *e, bool tell)
{
    task_body_drop(p, e->body, tell);
    task_ext_free(p, e->error);
    sched_zone_drop(p, e->zone);
    task_body_drop(p, e->row, false);
    base_free(&p->obj.account, BASE_MOD_STORE, e,
              sizeof *e + (size_t)e->run_count * sizeof e->run[0]);
}

CELLAR_PRIVATE void sched_free_all(cellar_pool *p)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    HASH_CLEAR(hh, p->sched.table);
    for (wheel_timer *at = p->sched.list.ring.next, *next; at != &p->sched.list.ring; at = next) {
        sched_entry *e = sched_of(&task_recur_of(at)->task);
        next = at->next;
        for (uint32_t i = 0; i < e->run_count; i++) { task_ext_free(p, e->run[i].task.ext); }
        sched_free(p, e, true);
    }
}

CELLAR_PRIVATE sched_entry *sched_find(cellar_pool *p, const char *name)
{
    const size_t len = strlen(name);
    return BASE_TABLE_FIND(hh, p->sched.table, name, len, (unsigned)cron_hash(name, len));
}

/* Return the schedule that continues `e`: itself while it is in the table; NULL: none. */
static sched_entry *sched_heir(cellar_pool *p, sched_entry *e) SYNC_HOLDS(QUEUE)
{
    sched_entry *heir = e->recur.present ? e : sched_find(p, e->name);
    return heir != NULL && heir->line == e->line ? heir : NULL;
}

/* ---- runs ---- */

CELLAR_PRIVATE sched_run *sched_start(cellar_pool *p, sched_entry *e, int64_t now_ms,
                                      int64_t due_wall_ms, bool triggered, task_after *a)
{
    sched_run *r = e->run;
    while (r->task.state != TASK_FREE) { r++; }
    BASE_ASSERT(r < e->run + e->run_count);
    *r = (sched_run){
        .task = { .body = e->body, .name = e->recur.task.name, .flags = TASK_RECURS,
                  .priority = SCHED_PRIORITY,
                  .max_attempts = (uint8_t)p->names[e->recur.task.name]->opts.max_attempts },
        .of = e, .fire_ms = now_ms, .due_wall_ms = due_wall_ms, .triggered = triggered,
        .until_wall_ms = triggered ? INT64_MIN : e->settled_wall_ms,
        .missed = triggered ? 0 : e->missed_now };
    p->sched.count[STATS_SCHEDULE_WAITING]++;
    e->busy++;
    e->recur.refs++;
    task_to_queue(p, &r->task, now_ms, a);
    return r;
}

CELLAR_PRIVATE void sched_drop_runs(cellar_pool *p, sched_entry *e, bool all, task_after *a)
{
    for (uint32_t i = 0; i < e->run_count; i++) {
        sched_run *r = &e->run[i];
        if (r->task.state == TASK_FREE || (r->triggered && !all) ||
            (r->task.state == CELLAR_TASK_RUNNING && (r->task.flags & TASK_CANCEL) != 0)) {
            continue;
        }
        const bool later = !all && e->kind == CELLAR_SCHEDULE_AT; /* it fires after the pause */
        e->skipped += !r->begun && !later;
        p->sched.count[STATS_SCHEDULE_SKIPPED_CHANGE] += !r->begun && !later;
        sched_withdraw(p, r, a);
    }
}

CELLAR_PRIVATE void sched_drained(cellar_pool *p, task *t)
{
    sched_run *r = sched_run_of(t);
    t->flags |= TASK_CANCEL;
    r->of->skipped += !r->begun;
    p->sched.count[STATS_SCHEDULE_SKIPPED_CHANGE] += !r->begun;
}

CELLAR_PRIVATE void sched_show(cellar_pool *p, task_run *r, const task *t)
{
    sched_run *run = sched_run_of(t);
    sched_entry *e = run->of;
    memcpy(r->tag, e->name, sizeof e->name);
    r->seen.id = (cellar_task_id){ 0, 0 };
    r->seen.due_wall_ms = run->due_wall_ms;
    r->seen.until_wall_ms = run->until_wall_ms;
    r->seen.missed = run->missed;
    r->seen.triggered = run->triggered;
    if (run->begun) { return; }
    run->begun = true;
    r->seen.late_ms = BASE_MAX(r->started_ms - run->fire_ms, 0);
    e->runs++;
    e->last_wall_ms = run->due_wall_ms;
    p->sched.count[STATS_SCHEDULE_WAITING]--;
    p->sched.count[STATS_SCHEDULE_STARTED]++;
    p->sched.count[STATS_SCHEDULE_TRIGGERED] += run->triggered;
}

CELLAR_PRIVATE bool sched_may_retry(const cellar_pool *p, const task *t, int64_t at_ms)
{
    const sched_entry *e = sched_run_of(t)->of;
    /* It has no next firing. */
    if (e->kind == CELLAR_SCHEDULE_AT && e->due_ms == BASE_NEVER_MS) { return true; }
    if (!e->recur.present || e->parked) { return false; }
    return e->paused || e->due_ms == BASE_NEVER_MS ||
           at_ms < sched_mono_ms(p, e, sched_leave_ms(e, e->due_ms));
}

/* Return whether a verdict ends a run, whatever time it is. */
static bool sched_ends(const task *t, cellar_verdict_kind kind)
{
    const bool again = kind == CELLAR_VERDICT_RETRY || kind == CELLAR_VERDICT_RETRY_AFTER;
    return kind != CELLAR_VERDICT_SNOOZE && (!again || t->attempt >= t->max_attempts);
}

/* Return the schedule that knows what the end of a run of `e` settles; NULL: it is not written. */
static const sched_entry *sched_has_row(cellar_pool *p, sched_entry *e) SYNC_HOLDS(QUEUE)
{
    const sched_entry *heir = sched_heir(p, e);
    return e->catches_up && heir != NULL && heir->catches_up ? heir : NULL;
}

/* Let the due time of a run be written that ends without a verdict which settles it: by a time-out,
 * its limiter, or the next firing. Also one that is settled since `written_ms` was. */
static void sched_settle_later(cellar_pool *p, sched_entry *e, int64_t written_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    const sched_entry *heir = sched_has_row(p, e);
    if (heir == NULL || heir->settled_wall_ms == written_ms) { return; }
    e->unwritten_wall_ms = heir->settled_wall_ms;
    if (e->unwritten) { return; }
    e->unwritten = true;
    p->sched.unwritten++;
    e->recur.refs++;
    e->unwritten_next = a->unwritten;
    a->unwritten = e;
}

CELLAR_PRIVATE sched_entry *sched_settles(cellar_pool *p, const task_run *r, int64_t *last_ms)
{
    sync_take(QUEUE, &p->lock);
    task *t = r->task;
    sched_entry *e = t != NULL && sched_ends(t, r->verdict.kind) ? sched_run_of(t)->of : NULL;
    const sched_entry *heir = e != NULL ? sched_has_row(p, e) : NULL;
    if (heir == NULL) { e = NULL; }
    if (e != NULL) {
        wheel_cancel(&p->mono, &t->timer); /* the write takes no time of it */
        sched_run_of(t)->written_wall_ms = *last_ms = heir->settled_wall_ms;
    }
    sync_drop(QUEUE, &p->lock);
    return e;
}

CELLAR_PRIVATE void sched_over(cellar_pool *p, task *t, cellar_task_state state, task_after *a)
{
    sched_run *r = sched_run_of(t);
    sched_entry *e = r->of, *heir = sched_heir(p, e);
    const bool failed = state == CELLAR_TASK_FAILED;
    /* Of a pause that has ended, or of a schedule that was replaced: it settles what passed. */
    const bool resumed = r->begun && t->state == CELLAR_TASK_RUNNING && heir != NULL &&
                         !heir->paused && e->kind != CELLAR_SCHEDULE_AT;
    if (r->begun) {
        p->sched.count[STATS_SCHEDULE_ENDED]++;
        if (heir != e && heir != NULL) { heir->earlier--; }
    } else {
        p->sched.count[STATS_SCHEDULE_WAITING]--;
    }
    p->sched.count[STATS_SCHEDULE_FAILED] += failed;
    e->failed += failed;
    a->failed = a->failed || failed;
    task_ext *spent = failed ? e->error : t->ext;
    if (failed) { e->error = t->ext; }
    if (spent != NULL) {
        spent->next = a->ext;
        a->ext = spent;
    }
    t->ext = NULL;
    t->state = TASK_FREE;
    e->busy--;
    if (heir != NULL && heir->parked) {
        heir->parked = false;
        sched_arm(p, heir, a);
    }
    const bool dropped = state == CELLAR_TASK_CANCELLED && (t->flags & TASK_CANCEL) != 0;
    if (!dropped || resumed) { sched_settle_later(p, e, r->written_wall_ms, a); }
    if (heir != NULL && dropped && !r->triggered && sched_is_done(heir)) {
        sched_unfire(heir, r->due_wall_ms);
        sched_arm(p, heir, a);
    } else if (heir != NULL) {
        sched_end(p, heir, a);
    }
    task_recur_unref(&e->recur, a);
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

static void sched_skip(cellar_pool *p, sched_entry *e, cellar_err why, stats_schedule counter,
                       task_after *a) SYNC_HOLDS(QUEUE)
{
    const uint64_t n = e->missed_now + 1;
    p->sched.count[counter] += n;
    e->skipped += n;
    a->news->skipped += n;
    a->news->why = why;
    memcpy(a->news->name, e->name, sizeof a->news->name);
}

CELLAR_PRIVATE void sched_tell(cellar_pool *p, const sched_news *news)
{
    if (news->skipped == 0) { return; }
    base_log(&p->obj.log, BASE_LOG_WARNING, "schedule", (int)news->why,
             "%llu firings skipped, the last one of \"%s\": %s",
             (unsigned long long)news->skipped, news->name,
             news->why == CELLAR_E_BUSY ? "max_running runs had not ended"
                                        : "later than misfire_grace_ms");
}

CELLAR_PRIVATE bool sched_due(cellar_pool *p, task *timer, work_time now, task_after *a)
{
    sched_entry *e = sched_of(timer);
    const int64_t clock = sched_clock(e, now);
    int64_t next_ms;
    if (p->intake != TASK_INTAKE_OPEN) { return true; }
    if (!sched_fold(e, clock, &p->sched.steps, &next_ms)) {
        sched_arm(p, e, a);
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
        sched_skip(p, e, CELLAR_E_TIMEOUT, STATS_SCHEDULE_SKIPPED_GRACE, a);
    } else if (busy) {
        sched_skip(p, e, CELLAR_E_BUSY, STATS_SCHEDULE_SKIPPED_OVERLAP, a);
    } else {
        sched_start(p, e, now.mono_ms, due_ms + offset_ms, false, a)->fire_ms =
            sched_mono_ms(p, e, fire_ms);
        p->sched.count[STATS_SCHEDULE_MISSED] += e->missed_now;
        e->missed += e->missed_now;
        ran = true;
    }
    e->caught_up = next_ms <= clock ? e->caught_up + ran : 0;
    e->missed_now = 0;
    e->due_ms = next_ms;
    sched_arm(p, e, a);
    sched_end(p, e, a);
    return true;
}

CELLAR_PRIVATE void sched_stepped(cellar_pool *p, work_time now, int64_t step_ms, task_after *a)
{
    const bool correction = step_ms > SCHED_CORRECTION_MS || step_ms < -SCHED_CORRECTION_MS;
    p->sched.count[STATS_SCHEDULE_CLOCK_STEPS]++;
    for (sched_entry *e = p->sched.table; e != NULL; e = e->hh.next) {
        if (e->kind == CELLAR_SCHEDULE_EVERY) { continue; }
        e->recur.task.timer = (wheel_timer){ .next = NULL };
        const bool follows = e->kind == CELLAR_SCHEDULE_CRON &&
                             (correction || (e->cron.flags & CRON_WILDCARD) != 0);
        /* By a clock that went back its time has not come. */
        if (e->parked && (!follows || e->due_ms <= now.wall_ms)) { continue; }
        if (follows) {
            e->parked = false;
            e->missed_now = 0;
            e->caught_up = 0;
            e->due_ms = sched_next_ms(e, now.wall_ms);
        }
        sched_arm(p, e, a);
    }
}

BASE_SIZE_END
