/* SPDX-License-Identifier: MIT
 *
 * sched_calls: add, change, trigger and list schedules.
 *
 * WALK       A call checks its arguments and makes the schedule without the lock; with a journal it
 *            reads or deletes the row of the name in a transaction, and the end of its round puts
 *            the schedule into table and wheel: rows and schedules change in one order. Whatever it
 *            replaced is freed after the lock.
 * LIMITS     max_rows schedules.
 * LOCKING    sched.h. */
#include <inttypes.h>
#include <stdio.h>
#include "base/open_error.h"
#include "base/opts.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define SCHED_INTERVAL_MAX_MS (INT64_C(366) * 86400000)
#define SCHED_TEXT_EXTRA 48 /* room of the text of a schedule beside an expression */

#define SCHED_ADD "cellar_schedule_add"

static cellar_err sched_check(const cellar_pool *p, const char *name)
{
    return task_is_name(name) ? task_check(p) : CELLAR_E_INVAL;
}

/* ---- add ---- */

/* Return the rule that a spec breaks; NULL: none. */
static const char *sched_spec_broken(const cellar_schedule_spec *o)
{
    const int times = (o->interval_ms != 0) + (o->cron != NULL) + (o->at_wall_ms != 0);
    const base_rule rules[] = {
        { o->task == NULL || (o->payload == NULL && o->payload_len != 0),
          "task must not be NULL, nor payload of more than 0 bytes" },
        { times != 1, "set one of interval_ms, cron and at_wall_ms" },
        { o->interval_ms < 0 || o->interval_ms > SCHED_INTERVAL_MAX_MS || o->jitter_ms < 0 ||
          o->jitter_ms > SCHED_INTERVAL_MAX_MS || o->misfire_grace_ms < 0,
          "interval_ms, jitter_ms or misfire_grace_ms is out of its range" },
        { (unsigned)o->coalesce > CELLAR_COALESCE_ALL ||
          (unsigned)o->overlap > CELLAR_OVERLAP_QUEUE ||
          (unsigned)o->phase > CELLAR_PHASE_ALIGNED ||
          (unsigned)o->conflict > CELLAR_CONFLICT_ERROR,
          "coalesce, overlap, phase or conflict is no number of its enum" },
        { o->paused > 1 || o->catch_up_on_start > 1 || o->reserved0 != 0,
          "paused and catch_up_on_start must be 0 or 1, reserved0 0" },
        { o->max_running > CELLAR_SCHEDULE_RUNS_MAX ||
          (o->catch_up_on_start != 0 && o->max_running > 1),
          "max_running is above its range, or above 1 with catch_up_on_start" },
    };
    return BASE_RULES_BROKEN(rules);
}

/* Copy and check the spec of a schedule. */
static cellar_err sched_spec_in(const cellar_schedule_spec *spec, cellar_schedule_spec *full,
                                cellar_cron_opts *cron_opts, uint32_t *flags)
{
    const cellar_err err = spec != NULL ? base_opts_in(full, sizeof *full, spec) : CELLAR_E_INVAL;
    if (err != CELLAR_OK) {
        return base_refuse(err, SCHED_ADD, "start from cellar_schedule_spec_default()");
    }
    const char *const why = sched_spec_broken(full);
    if (why != NULL) { return base_refuse(CELLAR_E_INVAL, SCHED_ADD, why); }
    if (full->at_wall_ms < 0 || full->at_wall_ms > CRON_WALL_MAX_MS) {
        return base_refuse(CELLAR_E_RANGE, SCHED_ADD, "at_wall_ms is negative or too late");
    }
    if (full->max_running == 0) { full->max_running = 1; }
    if (full->misfire_grace_ms == 0) { full->misfire_grace_ms = BASE_NEVER_MS; }
    const cellar_err bad = cron_opts_in(full->cron_opts, cron_opts, flags);
    return bad == CELLAR_OK ? bad
                            : base_refuse(bad, SCHED_ADD, "start from cellar_cron_opts_default()");
}

/* Make a schedule that is in no table yet. With any code but OK the payload stays with the
 * caller. */
static cellar_err sched_make(cellar_pool *p, const char *name, const cellar_schedule_spec *o,
                             sched_entry **out)
{
    const size_t bytes = sizeof(sched_entry) + o->max_running * sizeof(sched_run);
    if (o->catch_up_on_start != 0 && p->journal == NULL) { return CELLAR_E_UNSUPPORTED; }
    if (o->payload_len > p->cfg.queue_bytes) { return CELLAR_E_TOOBIG; }
    sched_entry *e = base_alloc(&p->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (e == NULL) { return CELLAR_E_NOMEM; }
    e->run_count = o->max_running;
    e->body = task_body_make(p, o->payload, o->payload_len, "", o->free_fn, o->free_ctx);
    if (e->body == NULL) {
        sched_free(p, e, false);
        return CELLAR_E_NOMEM;
    }
    e->recur.task.flags = TASK_RECURS;
    e->hash = cron_hash(name, strlen(name));
    e->kind = o->cron != NULL ? CELLAR_SCHEDULE_CRON
              : o->interval_ms != 0 ? CELLAR_SCHEDULE_EVERY : CELLAR_SCHEDULE_AT;
    e->interval_ms = o->interval_ms;
    e->due_ms = o->at_wall_ms;
    e->coalesce = o->coalesce;
    e->overlap = o->overlap;
    e->grace_ms = o->misfire_grace_ms;
    e->jitter_ms = o->jitter_ms;
    e->paused = o->paused != 0;
    e->catches_up = o->catch_up_on_start != 0;
    e->last_wall_ms = INT64_MIN;
    memcpy(e->name, name, strlen(name));
    *out = e;
    return CELLAR_OK;
}

/* Return when the interval of a new schedule begins. */
static int64_t sched_phase_ms(const sched_entry *e, cellar_phase phase, work_time now)
{
    const int64_t over_ms = now.wall_ms % e->interval_ms;
    const int64_t hashed_ms = (int64_t)(e->hash % (uint64_t)e->interval_ms);
    return now.mono_ms + (phase == CELLAR_PHASE_HASH ? hashed_ms
                          : phase == CELLAR_PHASE_ALIGNED && over_ms != 0
                              ? e->interval_ms - over_ms : 0);
}

/* Let a schedule continue from the due time of its row. E_NEVER: the run of the instant has
 * ended. */
static cellar_err sched_recall(cellar_pool *p, sched_entry *e, int64_t last_due_wall_ms,
                               work_time now) SYNC_HOLDS(QUEUE)
{
    if (!e->catches_up) { return CELLAR_OK; }
    const int64_t last_ms = BASE_MAX(last_due_wall_ms, now.wall_ms - SCHED_INTERVAL_MAX_MS);
    const bool fixed = e->kind == CELLAR_SCHEDULE_CRON && (e->cron.flags & CRON_WILDCARD) == 0;
    const int64_t ahead_ms = fixed ? SCHED_CORRECTION_MS : 0; /* it fires at no time twice */
    e->settled_wall_ms = last_ms - ahead_ms > now.wall_ms ? now.wall_ms : last_ms;
    p->sched.count[STATS_SCHEDULE_CONTINUED] +=
        last_due_wall_ms != sched_before_wall_ms(e, e->start_ms, now);
    return e->kind == CELLAR_SCHEDULE_AT && last_due_wall_ms >= e->due_ms ? CELLAR_E_NEVER
                                                                          : CELLAR_OK;
}

/* Return whether a new schedule of `task` has a place: OK, or the code of the call. */
static cellar_err sched_admit(cellar_pool *p, const char *name, const cellar_schedule_spec *o,
                              uint16_t *number) SYNC_HOLDS(QUEUE)
{
    const sched_entry *old = sched_find(p, name);
    const task_name *n = task_name_find(p, o->task);
    if (p->intake != TASK_INTAKE_OPEN) { return CELLAR_E_CLOSED; }
    if (n == NULL || n->missing) { return CELLAR_E_NOT_FOUND; }
    *number = n->number;
    if (old != NULL && o->conflict != CELLAR_CONFLICT_REPLACE) {
        return o->conflict == CELLAR_CONFLICT_KEEP ? CELLAR_EXISTS : CELLAR_E_BUSY;
    }
    if (old == NULL && HASH_COUNT(p->sched.table) >= p->cfg.max_rows) {
        p->sched.count[STATS_SCHEDULE_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    return CELLAR_OK;
}

/* Return the time, not before that of the last look: `now` was read without the lock, and an
 * instant that fired since must not fire again. */
static work_time sched_latest(const cellar_pool *p, work_time now) SYNC_HOLDS(QUEUE)
{
    return (work_time){ BASE_MAX(now.mono_ms, p->mono.now_ms),
                        BASE_MAX(now.wall_ms, p->wall.now_ms) };
}

static void sched_let_go(cellar_pool *p, sched_entry *e)
{
    task_after a = task_lock(p);
    task_recur_unref(&e->recur, &a);
    task_unlock(p, &a);
}

/* Unlock, and write the row of `e`: what the end of a pause settled, or with OPEN the row itself,
 * which the call has changed. NULL: neither. */
static void sched_unlock(cellar_pool *p, sched_entry *e, journal_statement op, task_after *a)
    SYNC_DROPS(QUEUE)
{
    /* The end of an earlier run writes what the pause settled. */
    const bool notes = e != NULL && e->catches_up &&
                       (op == JOURNAL_SCHEDULE_OPEN ||
                        (e->kind != CELLAR_SCHEDULE_AT && e->earlier == 0));
    const int64_t last_ms = notes ? sched_ended_wall_ms(e) : 0;
    if (notes) { e->recur.refs++; } /* its texts stay until they are written */
    task_unlock(p, a);
    if (notes) {
        task_commit_row(p, e, op, last_ms);
        sched_let_go(p, e);
    }
}

typedef struct sched_step {  /* a change of a schedule with its row; on the stack of the call */
    journal_schedule row;
    sched_entry *e;          /* to add; NULL: remove */
    const cellar_schedule_spec *o;
    work_time now;
    task_after a;
    bool resumes;            /* `e` ends a pause, and is counted in its refs */
    cellar_err err;
} sched_step;

/* Put a schedule into the table in place of the one of its name. */
static cellar_err sched_insert(cellar_pool *p, sched_step *c, task_after *a) SYNC_HOLDS(QUEUE)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    sched_entry *e = c->e, *old = sched_find(p, e->name);
    const cellar_err err = sched_admit(p, e->name, c->o, &e->recur.task.name);
    if (err != CELLAR_OK) { return err; }
    const unsigned hash = (unsigned)e->hash; /* add, then detach: a failure leaves the old one */
    BASE_TABLE_ADD(hh, p->sched.table, e->name, strlen(e->name), hash, e);
    if (e->hh.tbl == NULL) { return CELLAR_E_NOMEM; }
    work_time from = c->now;
    if (old != NULL) { from.wall_ms = sched_latest(p, from).wall_ms; }
    task_recur_enter(&p->sched.list, &e->recur);
    e->line = e->recur.id;
    p->body_bytes += task_body_bytes(e->body);
    /* Both catch up: the phase was that of the first one. */
    const bool same = old != NULL && old->times == e->times &&
                      (old->phase == e->phase || (old->catches_up && e->catches_up));
    c->resumes = same && old->paused && !e->paused;
    e->recur.refs += c->resumes;
    if (same) {
        sched_inherit(p, e, old, from, a);
    } else if (e->catches_up) {
        sched_continue(p, e, c->now, a);
    } else {
        sched_begin(p, e, from, a);
    }
    if (old != NULL && old->recur.present) { sched_detach(p, old, a); }
    return CELLAR_OK;
}

static void sched_enter(cellar_pool *p, void *ctx) SYNC_HOLDS(QUEUE)
{
    sched_step *c = ctx;
    c->err = sched_recall(p, c->e, c->row.last_due_wall_ms, c->now);
    if (c->err == CELLAR_OK) { c->err = sched_insert(p, c, &c->a); }
}

/* Add a schedule. `text` and `zone` name its due times in the journal. */
static cellar_err sched_add(cellar_pool *p, sched_entry *e, const cellar_schedule_spec *o,
                            const char *text, const char *zone)
{
    const work_time now = work_now(&p->obj);
    e->times = base_mix64(cron_hash(text, strlen(text))) ^ cron_hash(zone, strlen(zone));
    e->phase = o->phase;
    if (e->kind == CELLAR_SCHEDULE_EVERY) { e->start_ms = sched_phase_ms(e, o->phase, now); }
    if (e->kind == CELLAR_SCHEDULE_AT && now.wall_ms > e->due_ms &&
        now.wall_ms - e->due_ms > e->grace_ms) {
        return CELLAR_E_NEVER;
    }
    sched_step c = { .e = e, .o = o, .now = now };
    sync_take(QUEUE, &p->lock);
    cellar_err err = sched_admit(p, e->name, o, &e->recur.task.name);
    sync_drop(QUEUE, &p->lock);
    if (err == CELLAR_OK && e->catches_up) {
        e->row = task_body_make(p, text, strlen(text) + 1, zone, NULL, NULL);
        if (e->row == NULL) { err = CELLAR_E_NOMEM; }
    }
    c.row = (journal_schedule){ e->catches_up ? JOURNAL_SCHEDULE_OPEN : JOURNAL_SCHEDULE_DELETE,
                                e->name, text, zone, sched_before_wall_ms(e, e->start_ms, now), 0 };
    if (err == CELLAR_OK) { err = task_commit_schedule(p, &c.row, sched_enter, &c); }
    if (err != CELLAR_OK) { return err; }
    sync_take(QUEUE, &p->lock);
    if (c.err == CELLAR_OK) {
        sched_unlock(p, c.resumes ? e : NULL, JOURNAL_SCHEDULE_SET, &c.a);
        if (c.resumes) { sched_let_go(p, e); }
    } else { /* a schedule that stays gets its row back; else a new row goes */
        const bool fresh = c.row.last_due_wall_ms == sched_before_wall_ms(e, e->start_ms, now);
        sched_unlock(p, sched_find(p, e->name), JOURNAL_SCHEDULE_OPEN, &c.a);
        if (e->catches_up && fresh) { task_commit_row(p, e, JOURNAL_SCHEDULE_DELETE, 0); }
    }
    return c.err;
}

CELLAR_API cellar_err cellar_schedule_add(cellar_pool *p, const char *name,
                                          const cellar_schedule_spec *spec)
{
    cellar_schedule_spec full;
    cellar_cron_opts cron_opts;
    char own[CRON_ZONE_MAX + 1] = "", text[CELLAR_CRON_MAX + SCHED_TEXT_EXTRA];
    uint32_t flags;
    cron_fault fault;
    sched_entry *e;
    cron c = { .every_ms = 0 };
    cellar_err err = sched_check(p, name);
    if (err == CELLAR_E_INVAL) {
        return base_refuse(err, SCHED_ADD, "p must not be NULL, name must have 1..64 bytes");
    }
    if (err == CELLAR_OK) { err = sched_spec_in(spec, &full, &cron_opts, &flags); }
    if (err != CELLAR_OK) { return err; }
    const char *hashed = cron_opts.hash_name != NULL ? cron_opts.hash_name : name;
    const char *zone = full.zone != NULL && full.cron != NULL ? full.zone : "";
    if (full.cron != NULL) {
        err = cron_parse(full.cron, cron_hash(hashed, strlen(hashed)), flags, &c, own, &fault);
        if (err == CELLAR_E_NEVER || err == CELLAR_E_TOOBIG) {
            return base_refuse(err, SCHED_ADD, err == CELLAR_E_NEVER
                               ? "cron never comes: no month has that day"
                               : "cron must have at most 255 bytes");
        }
        if (err != CELLAR_OK) {
            return base_open_fail(err, 0, SCHED_ADD ": cron is wrong at character %u: %s",
                                  fault.column, fault.rule);
        }
    }
    if (err == CELLAR_OK) { err = sched_make(p, name, &full, &e); }
    if (err != CELLAR_OK) { return err; }
    if (own[0] != '\0') { zone = own; }
    if (c.every_ms != 0) {
        e->kind = CELLAR_SCHEDULE_EVERY;
        e->interval_ms = c.every_ms;
    } else if (full.cron != NULL) {
        e->cron = c;
        err = sched_zone_hold(p, zone, &e->zone);
    }
    if (err != CELLAR_OK) {
        sched_free(p, e, false);
        return base_refuse(err, SCHED_ADD, err == CELLAR_E_NOT_FOUND
                           ? "zone is unknown: give a name of the zone database, as Europe/Berlin"
                           : "the file of zone cannot be read, or there is no memory for it");
    }
    int len = full.cron != NULL ? snprintf(text, sizeof text, "%s", full.cron)
              : full.interval_ms != 0
                  ? snprintf(text, sizeof text, "@every %" PRId64 "ms", full.interval_ms)
                  : snprintf(text, sizeof text, "at %" PRId64, full.at_wall_ms);
    if (full.cron != NULL && (flags != 0 || hashed != name)) {
        (void)snprintf(text + len, SCHED_TEXT_EXTRA, " [%x, %016" PRIx64 "]", flags,
                       cron_hash(hashed, strlen(hashed)));
    }
    err = sched_add(p, e, &full, text, *zone != '\0' ? zone : "UTC");
    if (err != CELLAR_OK) { sched_free(p, e, false); }
    return err;
}

/* ---- change ---- */

typedef enum sched_change { SCHED_PAUSE, SCHED_RESUME, SCHED_TRIGGER } sched_change;

static cellar_err sched_change_held(cellar_pool *p, sched_entry *e, sched_change change,
                                    work_time now, task_after *a) SYNC_HOLDS(QUEUE)
{
    switch (change) {
    case SCHED_PAUSE:
        if (e->paused) { break; }
        e->paused = true;
        sched_disarm(p, e);
        sched_drop_runs(p, e, false, a);
        break;
    case SCHED_RESUME:
        if (e->paused) { sched_resume(p, e, now, a); }
        break;
    case SCHED_TRIGGER:
        if (p->intake != TASK_INTAKE_OPEN) { return CELLAR_E_CLOSED; }
        if (sched_is_busy(e)) { return CELLAR_E_BUSY; }
        (void)sched_start(p, e, now.mono_ms, now.wall_ms, true, a);
        break;
    }
    return CELLAR_OK;
}

static cellar_err sched_change_of(cellar_pool *p, const char *name, sched_change change)
{
    cellar_err err = sched_check(p, name);
    if (err != CELLAR_OK) { return err; }
    const work_time now = work_now(&p->obj);
    task_after a = task_lock(p);
    sched_entry *e = sched_find(p, name);
    err = e != NULL ? sched_change_held(p, e, change, sched_latest(p, now), &a)
                    : CELLAR_E_NOT_FOUND;
    sched_unlock(p, change == SCHED_RESUME ? e : NULL, JOURNAL_SCHEDULE_SET, &a);
    return err;
}

static void sched_remove(cellar_pool *p, void *ctx) SYNC_HOLDS(QUEUE)
{
    sched_step *c = ctx;
    sched_entry *e = sched_find(p, c->row.name);
    c->err = e != NULL ? CELLAR_OK : CELLAR_E_NOT_FOUND;
    if (e != NULL) { sched_detach(p, e, &c->a); }
}

CELLAR_API cellar_err cellar_schedule_remove(cellar_pool *p, const char *name)
{
    cellar_err err = sched_check(p, name);
    if (err != CELLAR_OK) { return err; }
    sched_step c = { .row = { .op = JOURNAL_SCHEDULE_DELETE, .name = name } };
    err = task_commit_schedule(p, &c.row, sched_remove, &c);
    task_settle(p, &c.a);
    return err == CELLAR_OK ? c.err : err;
}

CELLAR_API cellar_err cellar_schedule_pause(cellar_pool *p, const char *name, bool pause)
{
    return sched_change_of(p, name, pause ? SCHED_PAUSE : SCHED_RESUME);
}

CELLAR_API cellar_err cellar_schedule_trigger(cellar_pool *p, const char *name)
{
    return sched_change_of(p, name, SCHED_TRIGGER);
}

/* ---- look ---- */

CELLAR_API cellar_err cellar_schedule_next(cellar_pool *p, const char *name, int64_t *out,
                                           size_t count, size_t *found)
{
    if (found != NULL) { *found = 0; }
    if (found == NULL || (out == NULL && count != 0)) { return CELLAR_E_INVAL; }
    const cellar_err err = sched_check(p, name);
    if (err != CELLAR_OK) { return err; }
    const work_time now = work_now(&p->obj);
    sync_take(QUEUE, &p->lock);
    sched_entry *e = sched_find(p, name);
    int64_t at = e != NULL ? e->due_ms : BASE_NEVER_MS;
    const bool paused = e != NULL && e->paused;
    const bool every = e != NULL && e->kind == CELLAR_SCHEDULE_EVERY;
    const int64_t offset = every ? now.wall_ms - now.mono_ms : 0;
    if (paused) { at = sched_due_from(e, every ? now.mono_ms : now.wall_ms); }
    if (e != NULL) { e->recur.refs++; } /* zone and expression stay while they are read */
    sync_drop(QUEUE, &p->lock);
    if (e == NULL) { return CELLAR_E_NOT_FOUND; }
    for (; *found < count && at != BASE_NEVER_MS; at = sched_next_ms(e, at)) {
        out[(*found)++] = at + offset;
    }
    sched_let_go(p, e);
    return CELLAR_OK;
}

static void sched_describe(const sched_entry *e, work_time now, cellar_schedule_info *out,
                           char error[CELLAR_TASK_TEXT_MAX + 1]) SYNC_HOLDS(QUEUE)
{
    const char *text = e->error != NULL ? e->error->error : "";
    const bool every = e->kind == CELLAR_SCHEDULE_EVERY;
    memcpy(error, text, strlen(text) + 1);
    *out = cellar_schedule_info_default();
    out->name = e->name;
    out->error = error;
    out->interval_ms = e->interval_ms;
    out->next_wall_ms = e->paused ? BASE_NEVER_MS : e->due_ms;
    if (every && !e->paused) { out->next_wall_ms += now.wall_ms - now.mono_ms; }
    out->last_wall_ms = e->last_wall_ms;
    out->runs = e->runs;
    out->missed = e->missed;
    out->skipped = e->skipped;
    out->failed = e->failed;
    out->kind = e->kind;
    out->running = e->busy;
    out->paused = e->paused;
}

CELLAR_API cellar_err cellar_schedule_list(cellar_pool *p, cellar_schedule_list_fn fn, void *ctx)
{
    char error[CELLAR_TASK_TEXT_MAX + 1];
    if (p == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const work_time now = work_now(&p->obj);
    task_recur *row = NULL;
    uint64_t last_id = 0; /* fn may add schedules without end: those are not in the list */
    for (bool more = true;;) {
        cellar_schedule_info info;
        task_after a = task_lock(p);
        task_recur *const last = row;
        if (last == NULL) { last_id = p->sched.list.last_id; }
        row = more ? task_recur_next(&p->sched.list, last, last_id) : NULL;
        if (row != NULL) { sched_describe(sched_of(&row->task), now, &info, error); }
        if (last != NULL) { task_recur_unref(last, &a); }
        task_unlock(p, &a);
        if (row == NULL) { return CELLAR_OK; }
        more = fn(&info, ctx);
    }
}

BASE_SIZE_END
