/* SPDX-License-Identifier: MIT
 *
 * calls: add, change, trigger and list schedules.
 *
 * WALK       A call checks its arguments and makes the schedule without the lock; with a journal it
 *            reads or deletes the row of the name in a transaction; then one short
 *            lock puts it into table and wheel. Whatever it replaced is freed after the lock.
 * LOCKING    types.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define SCHED_INTERVAL_MAX_MS (INT64_C(366) * 86400000)
#define SCHED_LIST_BATCH 8
#define SCHED_TEXT_EXTRA 48 /* room of the text of a schedule beside an expression */

#define SCHED_ADD "cellar_schedule_add"

static cellar_err sched_check(const cellar_scheduler *s, const char *name)
{
    if (s == NULL || name == NULL || *name == '\0' ||
        strnlen(name, CELLAR_NAME_MAX + 1) > CELLAR_NAME_MAX) {
        return CELLAR_E_INVAL;
    }
    return s->obj.forked ? CELLAR_E_FORKED : CELLAR_OK;
}

/* ---- add ---- */

/* Return the rule that a spec breaks; NULL: none. */
static const char *sched_spec_broken(const cellar_schedule_spec *o)
{
    const char *why = NULL;
    const int times = (o->interval_ms != 0) + (o->cron != NULL) + (o->at_wall_ms != 0);
    (void)(base_broken(o->fn == NULL, "fn must not be NULL", &why) ||
           base_broken(times != 1, "set one of interval_ms, cron and at_wall_ms", &why) ||
           base_broken(o->interval_ms < 0 || o->interval_ms > SCHED_INTERVAL_MAX_MS ||
                       o->jitter_ms < 0 || o->jitter_ms > SCHED_INTERVAL_MAX_MS ||
                       o->misfire_grace_ms < 0,
                       "interval_ms, jitter_ms or misfire_grace_ms is out of its range", &why) ||
           base_broken((unsigned)o->coalesce > CELLAR_COALESCE_ALL ||
                       (unsigned)o->overlap > CELLAR_OVERLAP_QUEUE ||
                       (unsigned)o->phase > CELLAR_PHASE_ALIGNED ||
                       (unsigned)o->conflict > CELLAR_CONFLICT_ERROR,
                       "coalesce, overlap, phase or conflict is no number of its enum", &why) ||
           base_broken(o->paused > 1 || o->catch_up_on_start > 1 || o->reserved0 != 0,
                       "paused and catch_up_on_start must be 0 or 1, reserved0 0", &why) ||
           base_broken(o->max_running > CELLAR_SCHEDULE_RUNS_MAX ||
                       (o->catch_up_on_start != 0 && o->max_running > 1),
                       "max_running is above its range, or above 1 with catch_up_on_start", &why));
    return why;
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

/* Make a schedule that is in no table yet. */
static cellar_err sched_make(cellar_scheduler *s, const char *name, const cellar_schedule_spec *o,
                             sched_entry **out)
{
    const size_t bytes = sizeof(sched_entry) + o->max_running * sizeof(sched_run);
    if (o->catch_up_on_start != 0 && s->tasks == NULL) { return CELLAR_E_UNSUPPORTED; }
    sched_entry *e = base_alloc(&s->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (e == NULL) { return CELLAR_E_NOMEM; }
    e->of = s;
    e->hash = cron_hash(name);
    e->kind = o->cron != NULL ? CELLAR_SCHEDULE_CRON
              : o->interval_ms != 0 ? CELLAR_SCHEDULE_EVERY : CELLAR_SCHEDULE_AT;
    e->interval_ms = o->interval_ms;
    e->due_ms = o->at_wall_ms;
    e->fn = o->fn;
    e->ctx = o->ctx;
    e->free_fn = o->free_fn;
    e->coalesce = o->coalesce;
    e->overlap = o->overlap;
    e->grace_ms = o->misfire_grace_ms;
    e->jitter_ms = o->jitter_ms;
    e->paused = o->paused != 0;
    e->catches_up = o->catch_up_on_start != 0;
    e->last_wall_ms = INT64_MIN;
    e->run_count = o->max_running;
    memcpy(e->name, name, strlen(name));
    *out = e;
    return CELLAR_OK;
}

/* Return when the interval of a new schedule begins. */
static int64_t sched_phase_ms(const sched_entry *e, cellar_phase phase, work_time now)
{
    const int64_t over_ms = now.wall_ms % e->interval_ms;
    switch (phase) {
    case CELLAR_PHASE_HASH:
        return now.mono_ms + (int64_t)(e->hash % (uint64_t)e->interval_ms);
    case CELLAR_PHASE_NOW: break;
    case CELLAR_PHASE_ALIGNED:
        return now.mono_ms + (over_ms != 0 ? e->interval_ms - over_ms : 0);
    }
    return now.mono_ms;
}

/* Return the due time before `first_ms`: the one that the journal has until a run has ended. */
static int64_t sched_before_wall_ms(const sched_entry *e, int64_t first_ms, work_time now)
{
    switch (e->kind) {
    case CELLAR_SCHEDULE_EVERY: return first_ms - e->interval_ms + now.wall_ms - now.mono_ms;
    case CELLAR_SCHEDULE_CRON: return now.wall_ms;
    case CELLAR_SCHEDULE_AT: break;
    }
    return e->due_ms - 1;
}

/* Read from the journal where a schedule continues, or write where it begins. E_NEVER: the run of
 * the instant has ended. */
static cellar_err sched_recall(sched_entry *e, const char *text, const char *zone, work_time now)
{
    cellar_scheduler *s = e->of;
    const int64_t first_wall_ms = sched_before_wall_ms(e, e->start_ms, now);
    journal_schedule row = { e->catches_up ? JOURNAL_SCHEDULE_OPEN : JOURNAL_SCHEDULE_DELETE,
                             e->name, text, zone, first_wall_ms };
    const cellar_err err = s->tasks != NULL ? sched_row(s, &row) : CELLAR_OK;
    if (err != CELLAR_OK || !e->catches_up) { return err; }
    const int64_t last_ms = BASE_MAX(row.last_due_wall_ms, now.wall_ms - SCHED_INTERVAL_MAX_MS);
    const int64_t ahead_ms = e->kind == CELLAR_SCHEDULE_CRON ? SCHED_CORRECTION_MS : 0;
    e->settled_wall_ms = last_ms - ahead_ms > now.wall_ms ? now.wall_ms : last_ms;
    sync_take(WHEEL, &s->lock);
    s->count[STATS_SCHEDULER_CONTINUED] += row.last_due_wall_ms != first_wall_ms;
    sync_drop(WHEEL, &s->lock);
    return e->kind == CELLAR_SCHEDULE_AT && row.last_due_wall_ms >= e->due_ms ? CELLAR_E_NEVER
                                                                              : CELLAR_OK;
}

/* Return whether a new schedule has a place: OK, or the code of the call. */
static cellar_err sched_admit(cellar_scheduler *s, const char *name,
                              cellar_schedule_conflict conflict) SYNC_HOLDS(WHEEL)
{
    const sched_entry *old = sched_find(s, name);
    if (old != NULL && conflict != CELLAR_CONFLICT_REPLACE) {
        return conflict == CELLAR_CONFLICT_KEEP ? CELLAR_EXISTS : CELLAR_E_BUSY;
    }
    if (old == NULL && HASH_COUNT(s->table) >= s->max_schedules) {
        s->count[STATS_SCHEDULER_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    return CELLAR_OK;
}

/* Put a schedule into the table in place of the one of its name. */
static cellar_err sched_insert(sched_entry *e, cellar_schedule_conflict conflict, work_time now,
                               sched_after *a) SYNC_HOLDS(WHEEL)
{
    cellar_scheduler *s = e->of;
    BASE_TABLE_CHARGE(&s->obj.account, BASE_MOD_STORE);
    sched_entry *old = sched_find(s, e->name);
    const cellar_err err = sched_admit(s, e->name, conflict);
    if (err != CELLAR_OK) { return err; }
    const unsigned hash = (unsigned)e->hash; /* add, then detach: a failure leaves the old one */
    BASE_TABLE_ADD(hh, s->table, e->name, strlen(e->name), hash, e);
    if (e->hh.tbl == NULL) { return CELLAR_E_NOMEM; }
    e->id = e->line = ++s->last_id;
    e->refs = 1;
    e->present = true;
    sched_entry *first = s->all != NULL ? s->all : e;
    e->next = first;
    e->prev = s->all != NULL ? first->prev : e;
    e->prev->next = e;
    first->prev = e;
    s->all = first;
    if (old != NULL && old->times == e->times) {
        sched_inherit(e, old, now, a);
    } else if (e->catches_up) {
        sched_continue(e, now);
    } else {
        sched_begin(e, now);
    }
    if (old != NULL) { sched_detach(old, a); }
    return CELLAR_OK;
}

/* Add a schedule. `text` and `zone` name its due times in the journal. */
static cellar_err sched_add(sched_entry *e, const cellar_schedule_spec *o, const char *text,
                            const char *zone)
{
    cellar_scheduler *s = e->of;
    const work_time now = work_now(&s->obj);
    sched_after a;
    sched_after_init(&a);
    e->times = base_mix64(cron_hash(text) + (uint64_t)o->phase) ^ cron_hash(zone);
    if (e->kind == CELLAR_SCHEDULE_EVERY) { e->start_ms = sched_phase_ms(e, o->phase, now); }
    if (e->kind == CELLAR_SCHEDULE_AT && now.wall_ms > e->due_ms &&
        now.wall_ms - e->due_ms > e->grace_ms) {
        sched_free(e, false);
        return CELLAR_E_NEVER;
    }
    sync_take(WHEEL, &s->lock);
    cellar_err err = sched_admit(s, e->name, o->conflict);
    sync_drop(WHEEL, &s->lock);
    if (err == CELLAR_OK) { err = sched_recall(e, text, zone, now); }
    if (err == CELLAR_OK) {
        sync_take(WHEEL, &s->lock);
        err = sched_insert(e, o->conflict, now, &a);
        sync_drop(WHEEL, &s->lock);
    }
    sched_settle(s, &a);
    if (err != CELLAR_OK) {
        sched_free(e, false);
    } else {
        sched_ring(s);
    }
    return err;
}

CELLAR_API cellar_err cellar_schedule_add(cellar_scheduler *s, const char *name,
                                          const cellar_schedule_spec *spec)
{
    cellar_schedule_spec full;
    cellar_cron_opts cron_opts;
    char own[CRON_ZONE_MAX + 1] = "", text[CELLAR_CRON_MAX + SCHED_TEXT_EXTRA];
    uint32_t flags;
    cron_fault fault;
    sched_entry *e;
    cron c = { .every_ms = 0 };
    cellar_err err = sched_check(s, name);
    if (err == CELLAR_E_INVAL) {
        return base_refuse(err, SCHED_ADD, "s must not be NULL, name must have 1..64 bytes");
    }
    if (err == CELLAR_OK) { err = sched_spec_in(spec, &full, &cron_opts, &flags); }
    if (err != CELLAR_OK) { return err; }
    const char *hashed = cron_opts.hash_name != NULL ? cron_opts.hash_name : name;
    const char *zone = full.zone != NULL && full.cron != NULL ? full.zone : "";
    if (full.cron != NULL) {
        err = cron_parse(full.cron, cron_hash(hashed), flags, &c, own, &fault);
        if (err == CELLAR_E_NEVER) {
            return base_refuse(err, SCHED_ADD, "cron never comes: no month has that day");
        }
        if (err == CELLAR_E_TOOBIG) {
            return base_refuse(err, SCHED_ADD, "cron must have at most 255 bytes");
        }
        if (err != CELLAR_OK) {
            return base_open_fail(err, 0, SCHED_ADD ": cron is wrong at character %u: %s",
                                  fault.column, fault.rule);
        }
    }
    if (err == CELLAR_OK) { err = sched_make(s, name, &full, &e); }
    if (err != CELLAR_OK) { return err; }
    if (own[0] != '\0') { zone = own; }
    if (c.every_ms != 0) {
        e->kind = CELLAR_SCHEDULE_EVERY;
        e->interval_ms = c.every_ms;
    } else if (full.cron != NULL) {
        e->cron = c;
        err = cron_zone_open(&s->obj.account.hooks, zone, &e->zone);
    }
    if (err != CELLAR_OK) {
        sched_free(e, false);
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
                       cron_hash(hashed));
    }
    return sched_add(e, &full, text, *zone != '\0' ? zone : "UTC");
}

/* ---- change ---- */

typedef enum sched_change {
    SCHED_REMOVE, SCHED_PAUSE, SCHED_RESUME, SCHED_TRIGGER
} sched_change;

static cellar_err sched_change_held(sched_entry *e, sched_change change, work_time now,
                                    sched_after *a) SYNC_HOLDS(WHEEL)
{
    switch (change) {
    case SCHED_REMOVE: sched_detach(e, a); break;
    case SCHED_PAUSE:
        if (e->paused) { break; }
        e->paused = true;
        sched_disarm(e);
        sched_drop_runs(e, false);
        break;
    case SCHED_RESUME:
        if (!e->paused) { break; }
        e->paused = false;
        sched_begin(e, now);
        e->settled_wall_ms = sched_before_wall_ms(e, e->due_ms, now);
        break;
    case SCHED_TRIGGER:
        if (sched_is_busy(e)) { return CELLAR_E_BUSY; }
        (void)sched_start(e, 0, now.wall_ms, true, a);
        break;
    }
    return CELLAR_OK;
}

static cellar_err sched_change_of(cellar_scheduler *s, const char *name, sched_change change)
{
    cellar_err err = sched_check(s, name);
    if (err != CELLAR_OK) { return err; }
    if (change == SCHED_REMOVE && s->tasks != NULL) {
        journal_schedule row = { .op = JOURNAL_SCHEDULE_DELETE, .name = name };
        err = sched_row(s, &row);
        if (err != CELLAR_OK) { return err; }
    }
    work_time now = work_now(&s->obj);
    sched_after a;
    sched_after_init(&a);
    sync_take(WHEEL, &s->lock);
    /* Another thread may have fired since: its time counts, or a resume would fire again. */
    now.mono_ms = BASE_MAX(now.mono_ms, s->mono.now_ms);
    now.wall_ms = BASE_MAX(now.wall_ms, s->wall.now_ms);
    sched_entry *e = sched_find(s, name);
    err = e != NULL ? sched_change_held(e, change, now, &a) : CELLAR_E_NOT_FOUND;
    const bool resumed = e != NULL && change == SCHED_RESUME, notes = resumed && e->catches_up;
    const int64_t settled_wall_ms = notes ? e->settled_wall_ms : 0;
    sync_drop(WHEEL, &s->lock);
    sched_settle(s, &a);
    if (notes) { sched_note(s, name, settled_wall_ms); }
    if (resumed) { sched_ring(s); }
    return err;
}

CELLAR_API cellar_err cellar_schedule_remove(cellar_scheduler *s, const char *name)
{
    return sched_change_of(s, name, SCHED_REMOVE);
}

CELLAR_API cellar_err cellar_schedule_pause(cellar_scheduler *s, const char *name, bool pause)
{
    return sched_change_of(s, name, pause ? SCHED_PAUSE : SCHED_RESUME);
}

CELLAR_API cellar_err cellar_schedule_trigger(cellar_scheduler *s, const char *name)
{
    return sched_change_of(s, name, SCHED_TRIGGER);
}

/* ---- look ---- */

CELLAR_API cellar_err cellar_schedule_next(cellar_scheduler *s, const char *name, int64_t *out,
                                           size_t count, size_t *found)
{
    if (found != NULL) { *found = 0; }
    if (found == NULL || (out == NULL && count != 0)) { return CELLAR_E_INVAL; }
    const cellar_err err = sched_check(s, name);
    if (err != CELLAR_OK) { return err; }
    const work_time now = work_now(&s->obj);
    sched_after a;
    sched_after_init(&a);
    sync_take(WHEEL, &s->lock);
    sched_entry *e = sched_find(s, name);
    int64_t at = e != NULL ? e->due_ms : BASE_NEVER_MS;
    const bool paused = e != NULL && e->paused;
    if (e != NULL) { e->refs++; } /* zone and expression stay while they are read */
    sync_drop(WHEEL, &s->lock);
    if (e == NULL) { return CELLAR_E_NOT_FOUND; }
    const bool every = e->kind == CELLAR_SCHEDULE_EVERY;
    const int64_t offset = every ? now.wall_ms - now.mono_ms : 0;
    const int64_t clock = every ? now.mono_ms : now.wall_ms;
    if (paused) { at = sched_due_from(e, clock); }
    for (; *found < count && at != BASE_NEVER_MS; at = sched_next_ms(e, at)) {
        out[(*found)++] = at + offset;
    }
    sync_take(WHEEL, &s->lock);
    sched_unref(e, &a);
    sync_drop(WHEEL, &s->lock);
    sched_settle(s, &a);
    return CELLAR_OK;
}

/* Copy up to SCHED_LIST_BATCH schedules with an id above *last. Return their number. */
static uint32_t sched_copy(cellar_scheduler *s, uint64_t *last, work_time now,
                           cellar_schedule_info *info, char (*names)[CELLAR_NAME_MAX + 1])
{
    uint32_t n = 0;
    sync_take(WHEEL, &s->lock);
    for (const sched_entry *e = s->table; e != NULL && n < SCHED_LIST_BATCH; e = e->hh.next) {
        if (e->id <= *last) { continue; }
        const bool every = e->kind == CELLAR_SCHEDULE_EVERY;
        info[n] = cellar_schedule_info_default();
        memcpy(names[n], e->name, sizeof e->name);
        info[n].name = names[n];
        info[n].interval_ms = e->interval_ms;
        info[n].next_wall_ms = e->paused ? BASE_NEVER_MS : e->due_ms;
        if (every && !e->paused) { info[n].next_wall_ms += now.wall_ms - now.mono_ms; }
        info[n].last_wall_ms = e->last_wall_ms;
        info[n].runs = e->runs;
        info[n].missed = e->missed;
        info[n].skipped = e->skipped;
        info[n].kind = e->kind;
        info[n].running = e->busy;
        info[n].paused = e->paused;
        *last = e->id;
        n++;
    }
    sync_drop(WHEEL, &s->lock);
    return n;
}

CELLAR_API cellar_err cellar_schedule_list(cellar_scheduler *s, cellar_schedule_list_fn fn,
                                           void *ctx)
{
    cellar_schedule_info info[SCHED_LIST_BATCH];
    char names[SCHED_LIST_BATCH][CELLAR_NAME_MAX + 1];
    uint64_t last = 0;
    if (s == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (s->obj.forked) { return CELLAR_E_FORKED; }
    const work_time now = work_now(&s->obj);
    for (;;) {
        const uint32_t n = sched_copy(s, &last, now, info, names);
        for (uint32_t i = 0; i < n; i++) {
            if (!fn(&info[i], ctx)) { return CELLAR_OK; }
        }
        if (n < SCHED_LIST_BATCH) { return CELLAR_OK; }
    }
}

/* ---- figures ---- */

CELLAR_PRIVATE const char *sched_figures(void *object, uint64_t *value)
{
    cellar_scheduler *s = object;
    sync_take(WHEEL, &s->lock);
    memcpy(value, s->count, sizeof s->count);
    value[STATS_SCHEDULER_SCHEDULES] = HASH_COUNT(s->table);
    value[STATS_SCHEDULER_RUNNING] = value[STATS_SCHEDULER_STARTED] - value[STATS_SCHEDULER_ENDED];
    sync_drop(WHEEL, &s->lock);
    value[STATS_SCHEDULER_BYTES] = base_object_bytes(&s->obj);
    return s->obj.name;
}

CELLAR_API cellar_err cellar_scheduler_stats_get(cellar_scheduler *s, cellar_scheduler_stats *out)
{
    return stats_get(s, out);
}

BASE_SIZE_END
