/* SPDX-License-Identifier: MIT
 *
 * task_list: lists of tasks, figures of a pool.
 *
 * LOCKING    A list copies a task under the lock and shows it without it.
 * LIMITS     TASK_SLICE slots or one queue under one lock.
 * SEE ALSO   task_types.h */
#include "base/opts.h"
#include "base/user_callback.h"
#include "work/bus.h"
#include "work/refresher.h"
#include "work/sched.h"

BASE_SIZE_BEGIN


static bool task_matches(const cellar_pool *p, const task *t, const cellar_task_filter *f)
{
    return (f->states == 0 || (f->states >> task_state_of(t) & 1) != 0) &&
           (f->name == NULL || strcmp(f->name, p->names[t->name]->name) == 0) &&
           t->body->wall_ms >= f->from_wall_ms &&
           (f->until_wall_ms == 0 || t->body->wall_ms < f->until_wall_ms) &&
           (f->tag == NULL || strcmp(f->tag, task_tag_of(t)) == 0);
}

typedef struct task_lister { /* one call of cellar_task_list */
    cellar_pool *p;
    cellar_task_filter filter;
    cellar_task_list_fn fn;
    void *ctx;
    uint64_t at;             /* slot to look at next */
    cellar_task_status status;
    task_body *body;         /* counted; its payload is shown. NULL: no task was found */
    bool more;               /* the function wants further ones */
} task_lister;

/* Copy the next task, of TASK_SLICE slots. False: no slot is left. */
static bool task_list_next(task_lister *l, work_time now)
{
    cellar_pool *p = l->p;
    l->body = NULL;
    task_after a = task_lock_recall(p);
    const uint64_t slots = (uint64_t)p->chunk_count * TASK_CHUNK;
    for (uint32_t i = 0; i < TASK_SLICE && l->body == NULL && l->at < slots; i++) {
        const task *t = task_slot_at(p, l->at++);
        if (t == NULL || !task_matches(p, t, &l->filter)) { continue; }
        task_describe(p, t, now, &l->status);
        const cellar_bytes payload = task_payload(t->body);
        l->status.payload = payload.data;
        l->status.payload_len = payload.len;
        l->body = task_body_hold(t->body);
    }
    const bool left = l->at < slots;
    task_unlock(p, &a);
    return left;
}

static void task_list_call(void *arg)
{
    task_lister *l = arg;
    l->more = l->fn(&l->status, l->ctx);
}

/* Give the body back; also if the function ends its thread. */
static void task_list_drop(void *arg)
{
    const task_lister *l = arg;
    task_body_drop(l->p, l->body, true);
}

CELLAR_API cellar_err cellar_task_list(cellar_pool *p, const cellar_task_filter *filter,
                                       uint64_t *cursor, cellar_task_list_fn fn, void *ctx)
{
    task_lister l = { .p = p, .filter = cellar_task_filter_default(), .fn = fn, .ctx = ctx,
                      .at = cursor != NULL ? *cursor : 0, .more = true };
    if (p == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const cellar_err err =
        filter != NULL ? base_opts_in(&l.filter, sizeof l.filter, filter) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    if (l.filter.reserved0 != 0) { return CELLAR_E_INVAL; }
    const work_time now = work_now(&p->obj);
    for (bool left = true; left && l.more;) {
        left = task_list_next(&l, now);
        if (l.body != NULL) {
            base_run_callback(task_list_call, task_list_drop, &l, BASE_CANCEL_STAYS);
            task_list_drop(&l);
        }
    }
    if (cursor != NULL) { *cursor = l.more ? 0 : l.at; }
    return CELLAR_OK;
}

/* ---- figures ---- */

/* Sum up the figures of the pool, or of one name. */
static void task_sum(cellar_pool *p, const task_name *of, uint64_t v[STATS_TASK_COUNT])
    SYNC_HOLDS(QUEUE)
{
    memset(v, 0, STATS_TASK_COUNT * sizeof *v);
    if (of == NULL) { memcpy(v, p->count, sizeof p->count); }
    for (uint32_t i = 0; i < p->name_count; i++) {
        const task_name *n = p->names[i];
        if (of != NULL && n != of) { continue; }
        for (uint32_t k = 0; k < STATS_TASK_COUNT; k++) { v[k] += n->count[k]; }
        v[STATS_TASK_RUNNING] += n->running;
        v[STATS_TASK_PARKED] += n->parked.count;
        if (n->missing) { v[STATS_TASK_UNREGISTERED] += task_live_of(n->count); }
    }
    v[STATS_TASK_LIVE] = task_live_of(v);
    v[STATS_TASK_DEAD] = v[STATS_TASK_FAILED] - v[STATS_TASK_REQUEUED] -
                         v[STATS_TASK_DEAD_DROPPED] - v[STATS_TASK_DEAD_PURGED];
    if (of != NULL) { return; }
    const task_journal *j = p->journal;
    BASE_ASSERT(v[STATS_TASK_DEAD] == p->dead_count);
    BASE_ASSERT(v[STATS_TASK_LIVE] == p->live || (j != NULL && j->submitting != 0));
    v[STATS_TASK_JOURNAL_PENDING] = j != NULL ? j->dirty_count + j->writing_count : 0;
    v[STATS_TASK_WORKERS] = p->active;
    v[STATS_TASK_STUCK] = p->stuck;
    v[STATS_TASK_PAYLOAD_BYTES] = p->live_bytes;
    v[STATS_TASK_BYTES] = base_object_bytes(&p->obj) + p->body_bytes;
}

CELLAR_PRIVATE const char *task_figures(void *object, uint64_t *value)
{
    cellar_pool *p = object;
    task_after a = task_lock_recall(p);
    task_sum(p, NULL, value);
    task_unlock(p, &a);
    return p->obj.name;
}

CELLAR_API cellar_err cellar_pool_stats_get(cellar_pool *p, const char *name,
                                            cellar_pool_stats *out)
{
    stats_struct full;
    const task_name *of = NULL;
    if (p == NULL || out == NULL || name == NULL) { return stats_get(p, out); }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    task_after a = task_lock_recall(p);
    of = task_name_find(p, name);
    if (of != NULL) { task_sum(p, of, full.value); }
    task_unlock(p, &a);
    return of != NULL ? base_opts_out(out, &full, sizeof *out) : CELLAR_E_NOT_FOUND;
}

#ifndef CELLAR_OMIT_TEXT
static void task_queue_figures(stats_out *o, const stats_owner *pool, cellar_pool *p)
{
    static const struct { const char *family, *help; int digits; } family[] = {
        { "cellar_queue_tasks", "Queued tasks, by queue.", 0 },
        { "cellar_queue_payload_bytes", "Payload bytes of queued tasks, by queue.", 0 },
        { "cellar_queue_oldest_seconds", "Age of the oldest queued task, by queue.", 3 },
    };
    const work_time now = task_near(p);
    for (size_t k = 0; k < sizeof family / sizeof family[0]; k++) {
        stats_family(o, family[k].family, family[k].help, "gauge");
        sync_take(QUEUE, &p->lock);
        for (const task_queue *q = p->queues; q != NULL; q = q->hh.next) { /* it stays */
            const uint64_t value[] = { q->levels.count, q->levels.bytes,
                                       (uint64_t)task_queue_age(q, now.mono_ms) };
            sync_drop(QUEUE, &p->lock);
            const stats_owner of = { "queue", q->name, strlen(q->name), NULL };
            const stats_owner owner = { pool->label, pool->value, pool->value_len, &of };
            stats_put_sample(o, family[k].family, "", &owner, "", family[k].digits, value[k]);
            sync_take(QUEUE, &p->lock);
        }
        sync_drop(QUEUE, &p->lock);
    }
}

CELLAR_PRIVATE void task_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                      const uint64_t *value)
{
    static const struct { const char *family, *help; } row[] = {
#define TASK_X(id, family, help) { family, help },
        STATS_TASK_WAITS(TASK_X)
#undef TASK_X
    };
    cellar_pool *p = object;
    stats_waits waits[STATS_TASK_WAIT_COUNT];
    uint64_t sched[STATS_SCHEDULE_COUNT], bus[STATS_BUS_COUNT], refresh[STATS_REFRESHER_COUNT];
    (void)value;
    refresher_read(p, refresh);
    sync_take(QUEUE, &p->lock);
    memcpy(waits, p->waits, sizeof waits);
    memcpy(sched, p->sched.count, sizeof sched);
    memcpy(bus, p->bus.count, sizeof bus);
    sched[STATS_SCHEDULE_SCHEDULES] = HASH_COUNT(p->sched.table);
    sched[STATS_SCHEDULE_RUNNING] = sched[STATS_SCHEDULE_STARTED] - sched[STATS_SCHEDULE_ENDED];
    bus[STATS_BUS_ROUTES] = p->bus.route_count;
    bus[STATS_BUS_SUBSCRIBERS] = p->bus.subscriber_count;
    const bool schedules = p->sched.list.last_id != 0, loaders = p->refresh->loaders != NULL;
    const bool messages = p->bus.generation != 0 || p->bus.last_subscriber != 0;
    const stats_waits late = p->refresh->late;
    sync_drop(QUEUE, &p->lock);
    for (int i = 0; i < STATS_TASK_WAIT_COUNT; i++) {
        stats_tell_waits(o, row[i].family, row[i].help, owner, &waits[i]);
    }
    task_queue_figures(o, owner, p);
    if (schedules) {
        stats_tell_list(o, "" STATS_SCHEDULES(STATS_LINE), STATS_SCHEDULE_COUNT, owner, sched);
    }
    if (messages) { stats_tell_list(o, "" STATS_BUSES(STATS_LINE), STATS_BUS_COUNT, owner, bus); }
    if (loaders) {
        stats_tell_list(o, "" STATS_REFRESHERS(STATS_LINE), STATS_REFRESHER_COUNT, owner, refresh);
        stats_tell_waits(o, "cellar_refresh_late_seconds",
                         "From the due time of a row to the begin of its run.", owner, &late);
    }
}
#endif

BASE_SIZE_END
