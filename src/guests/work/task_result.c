/* SPDX-License-Identifier: MIT
 *
 * task_result: final states, results, status and waits.
 *
 * WALK       A task that ended stays in its slot until its final state is in the namespace: so each
 *            status call finds one of the two. Without a namespace the slot is free immediately,
 *            unless a call of cellar_task_wait keeps it.
 * FORMAT     key "t" + 16 bytes of the id, high byte first; value: task_record, name, tag, error,
 *            result
 * LOCKING    task_types.h. The namespace is used with no lock held. */
#include "base/opts.h"
#include "work/refresher.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define TASK_RECORD_VERSION 1
#define TASK_RECORD_KEY 17

typedef struct task_record { /* head of a value in the namespace */
    uint8_t version, state, attempt, max_attempts;
    uint8_t priority, lost, name_len, tag_len;
    uint8_t error_len;
    uint8_t reserved[7];
    int64_t wall_ms, started_wall_ms, ended_wall_ms;
    uint64_t result_len;
} task_record;
_Static_assert(sizeof(task_record) == 48, "the format of the namespace");

/* Write the final state, and the result of its run. False: not stored. */
static bool task_record_set(cellar_pool *p, const task *t, const task_after *a, bool lost)
{
    const bool ran = t == a->run_of;
    const task_body *result = ran && !lost ? a->result : NULL;
    const task_ext *e = t->ext;
    const char *name = p->names[t->name]->name, *tag = task_tag_of(t);
    const char *error = e != NULL ? e->error : "";
    unsigned char key[TASK_RECORD_KEY] = "t";
    const size_t result_len = result != NULL ? result->len : 0;
    task_record r = { .version = TASK_RECORD_VERSION, .state = t->state, .attempt = t->attempt,
                      .max_attempts = t->max_attempts, .priority = t->priority, .lost = lost,
                      .name_len = (uint8_t)strlen(name), .tag_len = (uint8_t)strlen(tag),
                      .error_len = (uint8_t)strlen(error), .wall_ms = t->body->wall_ms,
                      .started_wall_ms = ran ? a->started_wall_ms : 0,
                      .ended_wall_ms = task_near(p).wall_ms,
                      .result_len = result_len };
    const size_t texts = (size_t)r.name_len + r.tag_len + r.error_len;
    const size_t len = sizeof r + texts + result_len;
    char *value = base_alloc(&p->obj.account, BASE_MOD_STORE, len, NULL);
    if (value == NULL) { return false; }
    memcpy(value, &r, sizeof r);
    memcpy(value + sizeof r, name, r.name_len);
    memcpy(value + sizeof r + r.name_len, tag, r.tag_len);
    memcpy(value + sizeof r + r.name_len + r.tag_len, error, r.error_len);
    if (result_len != 0) { memcpy(value + sizeof r + texts, result->data, result_len); }
    sync_take(QUEUE, &p->lock);
    journal_id_out(task_id_of(p, t), key + 1);
    sync_drop(QUEUE, &p->lock);
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = t->state == CELLAR_TASK_SUCCEEDED ? p->cfg.success_ttl_ms : p->cfg.failed_ttl_ms;
    const cellar_err err = cellar_set(p->cfg.results, key, sizeof key, value, len, &o);
    base_free(&p->obj.account, BASE_MOD_STORE, value, len);
    return err == CELLAR_OK;
}

/* Read a record. OK: the caller frees *value with cellar_free. */
static cellar_err task_record_get(cellar_pool *p, cellar_task_id id, char **value, task_record *r)
{
    unsigned char key[TASK_RECORD_KEY] = "t";
    void *raw;
    size_t len;
    if (p->cfg.results == NULL) { return CELLAR_E_NOT_FOUND; }
    journal_id_out(id, key + 1);
    const cellar_err err = cellar_get_alloc(p->cfg.results, key, sizeof key, &raw, &len);
    if (err != CELLAR_OK) { return err == CELLAR_E_NOMEM ? err : CELLAR_E_NOT_FOUND; }
    *r = (task_record){ .version = 0 };
    if (len >= sizeof *r) { memcpy(r, raw, sizeof *r); }
    const size_t texts = (size_t)r->name_len + r->tag_len + r->error_len;
    if (r->version != TASK_RECORD_VERSION || r->name_len > CELLAR_NAME_MAX ||
        r->state < CELLAR_TASK_SUCCEEDED || r->state > CELLAR_TASK_EXPIRED ||
        len < sizeof *r + texts || len - sizeof *r - texts != r->result_len) {
        cellar_free(raw); /* a value of the host under such a key */
        return CELLAR_E_NOT_FOUND;
    }
    *value = raw;
    return CELLAR_OK;
}

CELLAR_PRIVATE bool task_recorded(cellar_pool *p, cellar_task_id id)
{
    char *value;
    task_record r;
    if (task_record_get(p, id, &value, &r) != CELLAR_OK) { return false; }
    cellar_free(value);
    return true;
}

/* Return whether a task has a final state that another thread stores right now. *state: of its
 * slot, FAILED for a dead letter that was requeued; TASK_FREE: no slot. *result: of a task that
 * waits for its commit; else NULL. */
static bool task_in_store(cellar_pool *p, cellar_task_id id, uint32_t *state, task_body **result)
{
    sync_take(QUEUE, &p->lock);
    const task *t = task_find(p, id);
    const task_row *r = t != NULL && p->journal != NULL ? task_row_of(p, t) : NULL;
    const bool waits = r != NULL && ((t->flags & TASK_UNCOMMITTED) != 0 ||
                                     (r->flags & TASK_ROW_OVER) != 0);
    *result = waits ? task_body_hold(r->result) : NULL;
    *state = t == NULL ? TASK_FREE : task_is_live(t) ? CELLAR_TASK_FAILED : t->state;
    const bool stores = t != NULL && !waits && p->cfg.results != NULL &&
                        *state != CELLAR_TASK_FAILED && (t->flags & TASK_RECORDED) == 0;
    sync_drop(QUEUE, &p->lock);
    return stores;
}

CELLAR_PRIVATE cellar_err task_final(cellar_pool *p, cellar_task_id id, cellar_task_state *state,
                                     task_body **result)
{
    uint32_t of_slot;
    char *value;
    task_record r;
    while (task_in_store(p, id, &of_slot, result)) { base_yield(); }
    *state = (cellar_task_state)of_slot;
    if (*result != NULL) { return CELLAR_OK; }
    const cellar_err err = task_record_get(p, id, &value, &r);
    if (err != CELLAR_OK) { return of_slot != TASK_FREE ? CELLAR_OK : err; }
    if (of_slot == TASK_FREE) { *state = (cellar_task_state)r.state; }
    const size_t texts = (size_t)r.name_len + r.tag_len + r.error_len;
    if (r.result_len != 0) {
        *result = task_body_make(p, value + sizeof r + texts, (size_t)r.result_len, "", NULL, NULL);
    }
    const bool lost = r.result_len != 0 && *result == NULL;
    cellar_free(value);
    return lost ? CELLAR_E_NOMEM : CELLAR_OK;
}

/* ---- after the lock ---- */

/* Free the parts of slots that are free. */
static void task_free_parts(cellar_pool *p, task_after *a)
{
    while (a->body != NULL) {
        task_body *b = a->body;
        a->body = b->next;
        task_body_drop(p, b, true);
    }
    while (a->ext != NULL) {
        task_ext *e = a->ext;
        a->ext = e->next;
        task_ext_free(p, e);
    }
    while (a->group != NULL) {
        task_group *g = a->group;
        a->group = g->next;
        task_group_free(p, g);
    }
    while (a->throttle != NULL) {
        task_throttle *h = a->throttle;
        a->throttle = (task_throttle *)(void *)h->link.next; /* its first field */
        task_throttle_free(p, h);
    }
    while (a->gone != NULL) {
        task *t = a->gone;
        a->gone = (task *)(void *)t->timer.next; /* its first field */
        if (t->body == NULL) {
            sched_free(p, sched_of(t), true);
        } else {
            refresher_row_free(p, refresher_row_of(t));
        }
    }
}

CELLAR_PRIVATE void task_finish(cellar_pool *p, task *t, const task_after *from)
{
    const bool lost = p->cfg.results != NULL && !t->body->message &&
                      !task_record_set(p, t, from, false);
    if (lost) { (void)task_record_set(p, t, from, true); }
    task_after a = task_lock(p);
    p->names[t->name]->count[STATS_TASK_RESULT_LOST] += lost;
    const bool waits = t->waiters != 0;
    if (waits) {
        t->flags |= TASK_RECORDED;
    } else {
        task_to_free(p, t, &a);
    }
    sync_drop(QUEUE, &p->lock);
    task_free_parts(p, &a);
    if (waits) { work_wake(&p->ended, INT32_MAX); }
}

CELLAR_PRIVATE void task_settle(cellar_pool *p, task_after *a)
{
    if (a->recall) {
        sync_take(QUEUE, &p->lock);
        task_bursts_recall(p, a);
        sync_drop(QUEUE, &p->lock);
    }
    if (a->work != 0) { work_wake(&p->work, (int32_t)a->work); }
    if (a->timer) { work_ticker_ring(&p->ticker); }
    if (a->arrived) { work_wake(&p->arrived, INT32_MAX); }
    if (a->journal) { work_wake(&p->journal->bell, 1); }
    while (a->done != NULL) {
        task *t = a->done;
        a->done = (task *)(void *)t->timer.next; /* its first field */
        t->timer.next = NULL;
        task_finish(p, t, a);
    }
    task_free_parts(p, a);
    if (a->ended) { work_wake(&p->ended, INT32_MAX); }
}

CELLAR_PRIVATE task_after task_lock(cellar_pool *p)
{
    sync_take(QUEUE, &p->lock);
    return (task_after){ .done = NULL };
}

CELLAR_PRIVATE task_after task_lock_recall(cellar_pool *p)
{
    task_after a = task_lock(p);
    task_bursts_recall(p, &a);
    return a;
}

CELLAR_PRIVATE void task_unlock(cellar_pool *p, task_after *a)
{
    sync_drop(QUEUE, &p->lock);
    task_settle(p, a);
}

/* ---- runs ---- */

CELLAR_PRIVATE task_run *task_run_mine(cellar_pool *p)
{
    const int32_t tid = base_thread_id();
    for (task_run *r = p->runs.next; r != &p->runs; r = r->next) {
        if (r->tid == tid) { return r; }
    }
    return NULL;
}

CELLAR_PRIVATE task_run *task_run_of(cellar_pool *p, const task *t)
{
    for (task_run *r = p->runs.next; r != &p->runs; r = r->next) {
        if (r->task == t) { return r; }
    }
    return NULL;
}

/* ---- status ---- */

CELLAR_PRIVATE void task_describe(cellar_pool *p, const task *t, work_time now,
                                  cellar_task_status *out)
{
    const task_run *r = t->state == CELLAR_TASK_RUNNING ? task_run_of(p, t) : NULL;
    const bool in_wheel = t->state == CELLAR_TASK_SCHEDULED || t->state == CELLAR_TASK_RETRY;
    *out = cellar_task_status_default();
    out->id = task_id_of(p, t);
    out->submitted_wall_ms = t->body->wall_ms;
    if (in_wheel) {
        out->due_wall_ms = (t->flags & TASK_ETA) != 0
                               ? t->timer.due_ms : t->timer.due_ms - now.mono_ms + now.wall_ms;
    }
    out->state = task_state_of(t);
    if (out->state == CELLAR_TASK_FAILED) { /* due_ms of a dead letter: its end */
        out->ended_wall_ms = t->timer.due_ms - now.mono_ms + now.wall_ms;
    }
    out->attempt = t->attempt;
    out->max_attempts = t->max_attempts;
    out->priority = t->priority;
    memcpy(out->name, p->names[t->name]->name, sizeof out->name);
    if (t->ext != NULL) {
        memcpy(out->error, t->ext->error, strlen(t->ext->error));
        memcpy(out->tag, task_tag_of(t), strlen(task_tag_of(t)));
    }
    if (r != NULL) {
        out->cancel_requested = base_load_rlx(&r->cancelled);
        out->started_wall_ms = r->started_ms - now.mono_ms + now.wall_ms;
        out->progress_current = r->current;
        out->progress_total = r->total;
        memcpy(out->message, r->message, sizeof out->message);
    }
}

/* Describe a finished task from the namespace. */
static cellar_err task_status_recorded(cellar_pool *p, cellar_task_id id, cellar_task_status *out)
{
    task_record r;
    char *value;
    const cellar_err err = task_record_get(p, id, &value, &r);
    if (err != CELLAR_OK) { return err; }
    *out = cellar_task_status_default();
    out->id = id;
    out->submitted_wall_ms = r.wall_ms;
    out->started_wall_ms = r.started_wall_ms;
    out->ended_wall_ms = r.ended_wall_ms;
    out->result_len = r.result_len;
    out->state = (cellar_task_state)r.state;
    out->attempt = r.attempt;
    out->max_attempts = r.max_attempts;
    out->priority = r.priority;
    out->result_lost = r.lost;
    memcpy(out->name, value + sizeof r, r.name_len);
    memcpy(out->tag, value + sizeof r + r.name_len, r.tag_len);
    memcpy(out->error, value + sizeof r + r.name_len + r.tag_len, r.error_len);
    cellar_free(value);
    return CELLAR_OK;
}

/* Return whether callers see that a task has not ended: also while its end is being stored. */
static bool task_is_open(const cellar_pool *p, const task *t)
{
    return task_looks_live(t) || (p->cfg.results != NULL && t->state != CELLAR_TASK_FAILED &&
                                  (t->flags & TASK_RECORDED) == 0);
}

CELLAR_API cellar_err cellar_task_result_get(cellar_pool *p, cellar_task_id id, void *buf,
                                             size_t buf_cap, size_t *len)
{
    task_record r;
    char *value;
    if (len != NULL) { *len = 0; }
    if (p == NULL || (buf == NULL && buf_cap != 0)) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    task_after a = task_lock_recall(p);
    const task *t = task_find(p, id);
    const bool live = t != NULL && task_is_open(p, t);
    task_unlock(p, &a);
    if (live) { return CELLAR_PENDING; }
    cellar_err err = task_record_get(p, id, &value, &r);
    if (err != CELLAR_OK) { return err; }
    const size_t texts = (size_t)r.name_len + r.tag_len + r.error_len;
    const size_t result_len = (size_t)r.result_len;
    if (len != NULL) { *len = result_len; }
    if (r.lost != 0) {
        err = CELLAR_E_LOST;
    } else if (result_len > buf_cap) {
        err = CELLAR_E_BUFFER;
    } else if (result_len != 0) {
        memcpy(buf, value + sizeof r + texts, result_len);
    }
    cellar_free(value);
    return err;
}

/* ---- waits ---- */

CELLAR_PRIVATE bool task_must_not_sleep(const cellar_pool *p, const task_run *mine)
{
    return mine != NULL && (p->obj.no_threads || (mine->pooled && p->asleep + 1 >= p->active));
}

CELLAR_PRIVATE void task_sleep(cellar_pool *p, const task_run *mine, uint64_t until_ns)
{
    task_after a = { .done = NULL };
    const uint32_t seen = base_load_acq(&p->ended);
    task_bursts_recall(p, &a);
    p->watching++;
    const bool works = mine != NULL && mine->pooled; /* not in a filter of a take */
    p->asleep += works;
    task_unlock(p, &a);
    (void)sync_wait(&p->ended, seen, until_ns);
    sync_take(QUEUE, &p->lock);
    p->watching--;
    p->asleep -= works;
}

/* Return whether the runs that `t` waits for, one after another, include `mine`. */
static bool task_wait_cycle(cellar_pool *p, const task *t, const task_run *mine) SYNC_HOLDS(QUEUE)
{
    for (uint32_t steps = 0; t != NULL && steps <= p->run_count; steps++) {
        const task_run *r = task_run_of(p, t);
        if (r == NULL) { return false; }
        if (r == mine) { return true; }
        t = r->waits_for.hi != 0 ? task_find(p, r->waits_for) : NULL;
    }
    return false;
}

/* Wait until the task is final. The caller holds the lock and a place in `waiters`. */
static cellar_err task_wait_held(cellar_pool *p, task *t, task_run *mine, uint64_t until_ns)
    SYNC_HOLDS(QUEUE)
{
    while (task_is_open(p, t)) {
        /* The thread of the journal makes an end visible. */
        const bool runs = task_is_live(t) || p->obj.no_threads;
        if (mine != NULL && runs && (task_wait_cycle(p, t, mine) || task_must_not_sleep(p, mine))) {
            return CELLAR_E_DEADLOCK;
        }
        if (mine != NULL && runs && p->hold && t->state != CELLAR_TASK_RUNNING) {
            return CELLAR_E_CLOSED;
        }
        if (base_now_ns() >= until_ns) { return CELLAR_E_TIMEOUT; }
        task_sleep(p, mine, until_ns);
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_task_wait(cellar_pool *p, cellar_task_id id, int64_t timeout_ms,
                                       cellar_task_status *out)
{
    cellar_task_status full;
    if (p == NULL || timeout_ms < 0) { return CELLAR_E_INVAL; }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const uint64_t until_ns = base_until_ns(timeout_ms);
    const work_time now = work_now(&p->obj);
    cellar_err err = CELLAR_E_LIMIT;
    task_after a = task_lock_recall(p);
    task *t = task_find(p, id);
    if (t != NULL && timeout_ms == 0) {
        err = task_is_open(p, t) ? CELLAR_PENDING : CELLAR_OK;
        task_describe(p, t, now, &full);
    } else if (t != NULL && t->waiters != UINT8_MAX) {
        task_run *mine = task_run_mine(p);
        const bool live = task_is_open(p, t);
        t->waiters += live;
        if (mine != NULL) { mine->waits_for = id; }
        err = task_wait_held(p, t, mine, until_ns);
        if (mine != NULL) { mine->waits_for = (cellar_task_id){ .hi = 0 }; }
        t->waiters -= live;
        task_describe(p, t, now, &full);
        if ((t->flags & TASK_RECORDED) != 0 && t->waiters == 0) { task_to_free(p, t, &a); }
    }
    task_unlock(p, &a);
    if (t == NULL) { err = task_status_recorded(p, id, &full); }
    if (out == NULL || (err != CELLAR_OK && err != CELLAR_PENDING && err != CELLAR_E_TIMEOUT)) {
        return err;
    }
    const cellar_err written = base_opts_out(out, &full, sizeof full);
    return written == CELLAR_OK ? err : written;
}

BASE_SIZE_END
