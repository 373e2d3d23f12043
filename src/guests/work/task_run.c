/* SPDX-License-Identifier: MIT
 *
 * task_run: one attempt of a task, its verdict, its time-outs; the threads of a pool.
 *
 * WALK       worker: next task -> limiter of its name (LIMITED: park it, close the gate)
 *            -> function of the host -> verdict -> end, wheel, or queue; none: sleep on `work`
 *            timer: soft time-out -> flag; hard time-out -> the attempt has failed, `task` of the
 *            run is NULL, the worker counts as stuck, another thread takes its place
 * INVARIANTS A task that runs is the `task` of one run. A run without a task gives no verdict: its
 *            result is discarded and counted. active + stuck == threads that have not ended.
 * COMPLETION Each run ends once: after its function, or from the cleanup handler of a thread that
 *            ends inside it.
 * LIMITS     `target` workers, and as many again in place of stuck ones. TASK_SLICE tasks are moved
 *            under one lock.
 * SEE ALSO   task_types.h */
#include "base/user_callback.h"
#ifndef CELLAR_OMIT_LIMIT
#include "cellar_limit.h"
#endif
#include "work/bus.h"
#include "work/refresher.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define TASK_AFTER_MAX_MS (INT64_C(7) * 86400000)
#define TASK_AGAIN_NOW (-2)
#define TASK_THREADS_START 1u /* of `threads`: a call starts them */
#define TASK_THREADS_RUN 2u

/* End a task, or a run of a schedule, that is in no list. */
static void task_over(cellar_pool *p, task *t, cellar_task_state state, int64_t now_ms,
                      task_after *a) SYNC_HOLDS(QUEUE)
{
    if (sched_is_run(p, t)) {
        sched_over(p, t, state, a);
    } else if (state != CELLAR_TASK_FAILED || !task_die(p, t, now_ms, a)) {
        task_end(p, t, state, now_ms, a);
    }
}

/* Finish what comes after the lock, and write the due times of runs that ended. */
static void task_settle_runs(cellar_pool *p, task_after *a)
{
    task_settle(p, a);
    while (a->unwritten != NULL) {
        sched_entry *e = a->unwritten;
        task_after b = task_lock(p);
        const int64_t last_ms = e->unwritten_wall_ms;
        a->unwritten = e->unwritten_next;
        e->unwritten = false;
        sync_drop(QUEUE, &p->lock);
        task_commit_row(p, e, JOURNAL_SCHEDULE_SET, last_ms);
        sync_take(QUEUE, &p->lock);
        p->sched.unwritten--;
        b.ended = p->watching != 0;
        task_recur_unref(&e->recur, &b);
        task_unlock(p, &b);
    }
}

/* ---- begin ---- */

CELLAR_PRIVATE bool task_take(cellar_pool *p, task_run *r, task_queue *from, int64_t now_ms,
                              bool *more, task_after *a)
{
    uint32_t budget = TASK_SLICE;
    task *t;
    /* A thread that is not needed ends in task_worker_idle. */
    const bool stop = base_load_acq(&p->ticker.stop) != 0;
    const bool needed = !r->pooled || (!stop && p->active <= p->target);
    while (needed && !p->hold && (t = task_queue_next(p, from, now_ms, &budget)) != NULL) {
        task_name *n = p->names[t->name];
        /* A drain lets no run of a schedule begin. */
        const bool dropped = p->intake != TASK_INTAKE_OPEN && sched_is_run(p, t);
        /* The process ended during its last delivery. */
        const bool spent = t->body->message && t->attempt >= t->max_attempts;
        if (!dropped && !spent && task_expires_ms(t) > now_ms) {
            const task_ext *e = t->ext;
            task_to_running(p, t);
            r->task = t;
            r->name = n;
            r->body = task_body_hold(t->body);
            r->before = e != NULL ? e->before : NULL;
            if (r->before != NULL) { r->before->refs++; }
            r->next = &p->runs;
            r->prev = p->runs.prev;
            r->prev->next = r;
            p->runs.prev = r;
            p->run_count++;
            return true;
        }
        if (dropped) { sched_drained(p, t); }
        task_over(p, t, dropped ? CELLAR_TASK_CANCELLED
                        : spent ? CELLAR_TASK_FAILED : CELLAR_TASK_EXPIRED, now_ms, a);
        task_queue_release(p, n, a);
    }
    *more = budget == 0;
    return false;
}

/* Fill in what the function sees of a task, but for its rare parts. Without the lock the task is
 * one of a burst, which this thread has claimed: no other thread changes it, but for its timer. */
static void task_show(cellar_pool *p, task_run *r, const task *t, int64_t since_ms) SYNC_UNCHECKED
{
    task_body *b = t->body;
    r->calls = p->names[t->name];
    r->shown = b;
    r->seen.struct_size = sizeof r->seen;
    r->seen.id = task_id_of(p, t);
    r->seen.name = r->calls->name;
    const cellar_bytes payload = task_payload(b);
    r->seen.payload = payload.data;
    r->seen.payload_len = payload.len;
    r->seen.content_type = b->message ? "" : task_body_type(b);
    r->seen.late_ms = BASE_MAX(r->started_ms - since_ms, 0);
    r->seen.tag = r->tag;
    r->seen.attempt = t->attempt;
    r->seen.max_attempts = t->max_attempts;
}

CELLAR_PRIVATE void task_begin(cellar_pool *p, task_run *r, int64_t ms, int64_t now_ms,
                               task_after *a)
{
    task *t = r->task;
    const task_ext *e = t->ext;
    t->attempt++;
    /* The clock may have been read before the task was queued. */
    r->started_ms = now_ms = BASE_MAX(now_ms, t->timer.due_ms);
    r->name->count[STATS_TASK_STARTED]++;
    task_note_wait(p, t, now_ms);
    task_show(p, r, t, t->timer.due_ms);
    task_mark_begin(p, t, r->seen.id);
    r->seen.input_count = r->before != NULL ? r->before->count : 0;
    if (e != NULL) {
        memcpy(r->tag, task_tag_of(t), strlen(task_tag_of(t)) + 1);
        memcpy(r->trace, e->trace, sizeof r->trace);
        if (e->has_trace) { r->seen.trace = r->trace; }
    }
    if (sched_is_run(p, t)) { sched_show(p, r, t); }
    if (ms != 0) {
        const int64_t due_ms = task_time_add(now_ms, ms);
        task_look_at(p, due_ms, a);
        wheel_add(&p->mono, &t->timer, due_ms);
    }
}

/* ---- end of an attempt ---- */

/* Count attempts in a row without success, and pause the name after too many. */
static void task_note_outcome(cellar_pool *p, task_name *n, cellar_verdict_kind kind,
                              int64_t now_ms, task_after *a) SYNC_HOLDS(QUEUE)
{
    const cellar_task_opts *o = &n->opts;
    if (o->break_after == 0 || kind == CELLAR_VERDICT_SNOOZE || kind == CELLAR_VERDICT_CANCELLED) {
        return;
    }
    n->failures = kind == CELLAR_VERDICT_OK ? 0 : BASE_MIN(n->failures + 1, o->break_after);
    if (n->failures < o->break_after) { return; }
    n->count[STATS_TASK_BREAKS]++;
    const int64_t open_ms = task_time_add(now_ms, o->break_ms);
    task_gate_close(p, &n->gate, open_ms);
    task_look_at(p, open_ms, a);
}

/* End the attempt of a run and return its task. */
static task *task_attempt_over(cellar_pool *p, task_run *r) SYNC_HOLDS(QUEUE)
{
    task *t = r->task;
    wheel_cancel(&p->mono, &t->timer);
    r->task = NULL;
    r->name->running--;
    return t;
}

/* Let a task wait for its next attempt, or end it after the last one. delay_ms -1: the backoff;
 * TASK_AGAIN_NOW: it is queued. */
static void task_again(cellar_pool *p, task *t, int64_t delay_ms, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    task_name *n = p->names[t->name];
    const bool last = t->attempt >= t->max_attempts;
    if ((t->flags & TASK_CANCEL) != 0 && !(last && sched_is_run(p, t))) {
        task_over(p, t, CELLAR_TASK_CANCELLED, now_ms, a);
    } else if (last) {
        task_over(p, t, CELLAR_TASK_FAILED, now_ms, a);
    } else {
        if (delay_ms == -1) { delay_ms = task_backoff_ms(p, n, t->attempt); }
        const int64_t at_ms = task_time_add(now_ms, BASE_MAX(delay_ms, 0));
        if (sched_is_run(p, t) && !sched_may_retry(p, t, at_ms)) {
            task_over(p, t, CELLAR_TASK_FAILED, now_ms, a);
            return;
        }
        t->flags &= TASK_RECURS;
        n->count[STATS_TASK_RETRIED]++;
        if (delay_ms == TASK_AGAIN_NOW) {
            task_to_queue(p, t, now_ms, a);
        } else if (delay_ms != 0 || n->group == NULL) {
            task_to_wheel(p, t, CELLAR_TASK_RETRY, at_ms, a);
        } else {
            t->timer.due_ms = now_ms;
            task_mark(p, t, a);
            if (n->parked.count == 0) {
                task_to_front(p, t, a);
            } else {
                task_to_parked(p, t); /* the caller releases the oldest */
            }
        }
    }
}

static void task_snooze(cellar_pool *p, task *t, int64_t delay_ms, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    const int64_t at_ms = task_time_add(now_ms, delay_ms);
    if ((t->flags & TASK_CANCEL) != 0 ||
        (sched_is_run(p, t) && !sched_may_retry(p, t, at_ms))) {
        task_over(p, t, CELLAR_TASK_CANCELLED, now_ms, a);
        return;
    }
    t->flags &= TASK_RECURS;
    t->attempt--;
    p->names[t->name]->count[STATS_TASK_SNOOZED] += !sched_is_run(p, t);
    task_to_wheel(p, t, CELLAR_TASK_SCHEDULED, at_ms, a);
}

static void task_obey(cellar_pool *p, task *t, cellar_verdict v, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    const int64_t delay_ms = BASE_MIN(BASE_MAX(v.delay_ms, 0), TASK_AFTER_MAX_MS);
    switch (v.kind) {
    case CELLAR_VERDICT_OK: task_over(p, t, CELLAR_TASK_SUCCEEDED, now_ms, a); return;
    case CELLAR_VERDICT_RETRY: task_again(p, t, -1, now_ms, a); return;
    case CELLAR_VERDICT_RETRY_AFTER: task_again(p, t, delay_ms, now_ms, a); return;
    case CELLAR_VERDICT_SNOOZE: task_snooze(p, t, delay_ms, now_ms, a); return;
    case CELLAR_VERDICT_CANCELLED:
        t->flags &= (uint8_t)~TASK_CANCEL; /* no change of its schedule ends it */
        task_over(p, t, CELLAR_TASK_CANCELLED, now_ms, a);
        return;
    case CELLAR_VERDICT_EXTEND:
    case CELLAR_VERDICT_FAIL: break;
    }
    task_over(p, t, CELLAR_TASK_FAILED, now_ms, a);
}

/* Keep a constant error text. `spare`: rare parts for a task without; NULL: no memory. */
static void task_keep_error(task *t, const char *error, task_ext **spare) SYNC_HOLDS(QUEUE)
{
    if (t->ext == NULL) {
        t->ext = *spare;
        *spare = NULL;
        if (t->ext == NULL) { return; }
        t->ext->of = t;
    }
    t->ext->error = error;
}

/* Keep the error text of an attempt in *room, and hand the room of the last one back. */
static void task_keep_room(task *t, char **room, task_ext **spare) SYNC_HOLDS(QUEUE)
{
    if (*room == NULL) { return; } /* without memory it is lost */
    task_keep_error(t, *room, spare);
    if (t->ext == NULL) { return; }
    char *last = t->ext->room;
    t->ext->room = *room;
    *room = last;
}

/* Add the durations of `n` functions of a run to the histogram. */
static void task_note_run(cellar_pool *p, const task_run *r, int64_t now_ms, uint32_t n)
    SYNC_HOLDS(QUEUE)
{
    const uint64_t ms = (uint64_t)BASE_MAX(now_ms - r->started_ms, 0);
    r->name->slow = ms > n;
    if (r->name->recurs) { return; }
    if (n != 0) { stats_waits_add(&p->waits[STATS_TASK_WAIT_RUN], ms / n, n); }
}

/* Take a run out of the ring. */
static void task_run_over(cellar_pool *p, task_run *r, task_after *a) SYNC_HOLDS(QUEUE)
{
    task_group_unref(r->before, a);
    r->next->prev = r->prev;
    r->prev->next = r->next;
    p->run_count--;
    a->ended = a->ended || p->watching != 0;
}

CELLAR_PRIVATE bool task_run_end(task_run *r, bool thread_ended)
{
    cellar_pool *p = r->of;
    task_after a = { .done = NULL };
    int64_t last_ms;
    const sched_entry *e = NULL;
    if (p->journal != NULL && r->seen.due_wall_ms != 0) { e = sched_settles(p, r, &last_ms); }
    if (e != NULL) { task_commit_row(p, e, JOURNAL_SCHEDULE_SET, last_ms); }
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    const bool said = r->error[0] != '\0';
    task_ext *spare = said ? task_ext_make(p, NULL, NULL) : NULL;
    const bool may_die = r->calls->group != NULL && r->calls->group->dead_queue[0] != '\0' &&
                         r->verdict.kind != CELLAR_VERDICT_OK && !r->filtered;
    if (may_die) { a.dead_ext = task_ext_make(p, NULL, NULL); }
    char *room = said ? task_room_make(p, r->error) : NULL;
    sync_take(QUEUE, &p->lock);
    task_burst_recall(p, r, &a);
    task_note_run(p, r, now_ms, r->ran + 1);
    r->name->count[STATS_TASK_FILTERED] += r->filtered && r->task != NULL;
    const uint64_t failed = r->name->count[STATS_TASK_FAILED];
    const bool in_time = r->task != NULL;
    if (in_time && r->name->recurs) {
        refresher_over(p, task_attempt_over(p, r), now_ms, &a);
        task_queue_release(p, r->name, &a);
    } else if (in_time) {
        task *t = task_attempt_over(p, r);
        task_keep_room(t, &room, &spare);
        a.run_of = t;
        a.started_wall_ms = r->started_ms + base_load_rlx(&p->offset_ms);
        if (r->verdict.kind == CELLAR_VERDICT_OK) {
            task_give_result(t, r->result);
            a.result = r->result;
        }
        task_note_outcome(p, r->name, r->verdict.kind, now_ms, &a);
        task_obey(p, t, r->verdict, now_ms, &a);
        task_queue_release(p, r->name, &a);
    } else {
        r->name->count[STATS_TASK_LATE]++;
    }
    r->name->count[STATS_TASK_THREAD_ENDS] += thread_ended;
    if (r->stuck) {
        p->stuck--;
        p->active++;
    }
    if (r->pooled && thread_ended) { p->active--; }
    task_run_over(p, r, &a);
    a.timer = a.timer || thread_ended;
    const bool fails = a.failed || r->name->count[STATS_TASK_FAILED] != failed;
    char name[CELLAR_NAME_MAX + 1]; /* the place of a name may get another one */
    if (fails) { memcpy(name, r->name->name, sizeof name); }
    sync_drop(QUEUE, &p->lock);
    if (fails) {
        base_log(&p->obj.log, BASE_LOG_WARNING, "task", CELLAR_OK,
                 "\"%s\" failed for good at attempt %u of %u", name, r->seen.attempt,
                 r->seen.max_attempts);
    }
    task_settle_runs(p, &a);
    task_body_drop(p, r->body, true);
    task_body_drop(p, r->lost, true);
    task_body_drop(p, r->result, true);
    task_ext_free(p, spare);
    task_ext_free(p, a.dead_ext);
    task_room_free(p, room);
    return in_time;
}

static void task_left(void *arg);

static void task_call(void *arg)
{
    task_run *r = arg;
    const bus_group *g = r->calls->group;
    r->filtered = g != NULL && bus_has_filter(g) && !bus_wants(g, &r->seen);
    if (r->filtered) {
        r->verdict = cellar_verdict_cancelled();
    } else if (r->calls->fn != NULL) {
        r->verdict = r->calls->fn(&r->seen, r->calls->ctx);
    }
}

/* Note the thread inside a filter of a take; 0: it has left the filter. */
static void task_run_tid(task_run *r, int32_t tid)
{
    sync_take(QUEUE, &r->of->lock);
    r->tid = tid;
    sync_drop(QUEUE, &r->of->lock);
}

/* Run the filters of a group on a task that was taken. False: it has ended, and so has the run. */
CELLAR_PRIVATE bool task_passes(task_run *r)
{
    if (r->calls->group == NULL || !bus_has_filter(r->calls->group)) { return true; }
    const int cancel = base_cancel_off();
    task_run_tid(r, base_thread_id());
    base_run_callback(task_call, task_left, r, cancel);
    task_run_tid(r, 0);
    base_cancel_set(cancel);
    if (!r->filtered) { return true; }
    (void)task_run_end(r, false);
    return false;
}

static void task_left(void *arg)
{
    task_run *r = arg;
    if (r->calls->recurs) { refresher_left(r->task); }
    r->verdict = cellar_verdict_retry();
    if (r->error[0] == '\0') { memcpy(r->error, "ended its thread", sizeof "ended its thread"); }
    (void)task_run_end(r, true);
}

/* ---- limiters ---- */

#ifndef CELLAR_OMIT_LIMIT
/* Ask the limiter of a name about the task of a run. *keyed: about the key of the task alone. */
static cellar_err task_limit_check(const task_run *r, cellar_limiter_result *result, bool *keyed)
{
    char text[CELLAR_TASK_TEXT_MAX];
    const cellar_task_opts *o = &r->name->opts;
    const task_body *b = r->body;
    const size_t n = o->rate_key == NULL
                         ? 0 : o->rate_key(b->data, b->len, text, sizeof text, r->name->ctx);
    *keyed = n - 1 < sizeof text;
    const char *key = *keyed ? text : r->name->name;
    return cellar_limiter_check(o->rate, key, *keyed ? n : strlen(key), 1, result);
}

/* Begin the attempt of a task that was taken. False: its limiter denied it, and the task is parked,
 * or has failed; or its schedule was changed meanwhile. The run is over. */
static bool task_start(cellar_pool *p, task_run *r)
{
    cellar_limiter_result result = { .allowed = 0 };
    bool keyed;
    if (r->burst_len != 0 || r->name->opts.rate == NULL) { return true; }
    const cellar_err err = task_limit_check(r, &result, &keyed);
    const int64_t now_ms = base_now_ms(&p->obj.clock); /* the limiter may have taken long */
    const bool never = err != CELLAR_OK && (err != CELLAR_LIMITED || result.never != 0);
    task_ext *spare = never ? task_ext_make(p, NULL, NULL) : NULL;
    task_after a = task_lock(p);
    const bool cancelled = (r->task->flags & TASK_CANCEL) != 0;
    const bool begins = err == CELLAR_OK && !(cancelled && sched_is_run(p, r->task));
    task *t = begins ? NULL : task_attempt_over(p, r);
    if (begins) {
        task_begin(p, r, task_first_timeout_ms(r->name), now_ms, &a);
    } else if (cancelled) {
        task_over(p, t, CELLAR_TASK_CANCELLED, now_ms, &a);
    } else if (never) {
        task_keep_error(t, "the limiter never admits it", &spare);
        task_over(p, t, CELLAR_TASK_FAILED, now_ms, &a);
    } else {
        const uint64_t wait_ms = BASE_MAX(result.retry_after_ns / 1000000 + 1, 1);
        const int64_t open_ms = task_time_add(now_ms, (int64_t)wait_ms);
        if (keyed) {
            r->name->count[STATS_TASK_PARKED_RATE]++;
            task_to_wheel(p, t, CELLAR_TASK_SCHEDULED, open_ms, &a);
        } else {
            task_gate_close(p, &r->name->gate, open_ms);
            task_look_at(p, open_ms, &a);
            task_to_parked(p, t);
        }
    }
    task_queue_release(p, r->name, &a);
    if (!begins) { task_run_over(p, r, &a); }
    sync_drop(QUEUE, &p->lock);
    task_settle_runs(p, &a);
    if (!begins) { task_body_drop(p, r->body, true); }
    task_ext_free(p, spare);
    return begins;
}
#else
static bool task_start(cellar_pool *p, task_run *r)
{
    (void)p, (void)r;
    return true;
}
#endif

/* ---- run ---- */

static void task_run_one(task_run *r)
{
    const int cancel = base_cancel_off();
    const task *t;
    do {
        base_run_callback(task_call, task_left, r, cancel);
        t = task_burst_next(r);
        if (t != NULL) { task_show(r->of, r, t, r->since_ms[r->ran]); }
    } while (t != NULL);
    base_cancel_set(cancel);
    if (!r->exhausted) { (void)task_run_end(r, false); }
}

/* Prepare a run that is in no list. */
static void task_run_clear(cellar_pool *p, task_run *r, bool pooled)
{
    memset(r, 0, offsetof(task_run, message));
    r->message[0] = r->error[0] = r->tag[0] = '\0';
    r->bursting = r->timed = r->exhausted = false;
    r->burst_len = r->ran = 0;
    r->of = p;
    r->pooled = pooled;
    r->tid = base_thread_id();
}

CELLAR_PRIVATE bool task_run_next(cellar_pool *p, task_run *r, bool pooled)
{
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    bool more = false;
    task_body *held = NULL;
    task_after a = task_lock(p);
    if (pooled && r->exhausted) {
        task_burst_recall(p, r, &a);
        task_note_run(p, r, now_ms, r->ran);
        task_run_over(p, r, &a);
        held = r->body;
    }
    task_run_clear(p, r, pooled);
    const bool taken = task_take(p, r, NULL, now_ms, &more, &a);
    if (taken && r->name->opts.rate == NULL) {
        task_begin(p, r, task_first_timeout_ms(r->name), now_ms, &a);
        task_queue_release(p, r->name, &a); /* after a pause by break_after */
        task_burst_fill(p, r);
    }
    sync_drop(QUEUE, &p->lock);
    task_body_drop(p, held, true);
    task_settle(p, &a);
    if (taken && task_start(p, r)) { task_run_one(r); }
    return taken || more;
}

/* ---- workers ---- */

/* Sleep until there is work. False: this thread is not needed any more. */
static bool task_worker_idle(cellar_pool *p)
{
    task_after a = task_lock(p);
    const uint32_t seen = base_load_acq(&p->work);
    const bool ends = base_load_acq(&p->ticker.stop) != 0 || p->active > p->target;
    if (ends) { p->active--; }
    if (!ends && !task_queue_ready(p)) { task_bursts_recall(p, &a); }
    const bool sleeps = !ends && !task_queue_ready(p);
    p->sleeping += sleeps;
    task_unlock(p, &a);
    if (sleeps) {
        (void)sync_wait(&p->work, seen, UINT64_MAX);
        sync_take(QUEUE, &p->lock);
        if (p->woken != 0) {
            p->woken--;
        } else {
            p->sleeping--; /* early, or for all of them */
        }
        sync_drop(QUEUE, &p->lock);
    }
    return !ends;
}

static void task_worker_main(void *arg)
{
    task_worker *w = arg;
    cellar_pool *p = w->of;
    for (;;) {
        if (!task_run_next(p, &w->run, true) && !task_worker_idle(p)) { break; }
    }
    work_ticker_ring(&p->ticker);
    work_wake(&p->ended, INT32_MAX);
}

/* Join and free a chain of workers. */
static void task_workers_free(cellar_pool *p, task_worker *w)
{
    for (task_worker *next; w != NULL; w = next) {
        next = w->next;
        base_thread_join(&w->thread);
        base_free(&p->obj.account, BASE_MOD_STORE, w, sizeof *w);
    }
}

/* Join and free the workers that ended. */
static void task_workers_join(cellar_pool *p)
{
    task_worker *over = NULL;
    sync_take(QUEUE, &p->lock);
    for (task_worker **at = &p->workers; *at != NULL;) {
        task_worker *w = *at;
        if (base_load_acq(&w->thread.running) != 0) {
            at = &w->next;
        } else {
            *at = w->next;
            w->next = over;
            over = w;
        }
    }
    sync_drop(QUEUE, &p->lock);
    task_workers_free(p, over);
}

static bool task_worker_start(cellar_pool *p)
{
    task_worker *w = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *w, NULL);
    if (w == NULL) { return false; }
    w->of = p;
    if (base_thread_start(&w->thread, task_worker_main, w, "cellar-task",
                          p->obj.stack_bytes) != 0) {
        base_free(&p->obj.account, BASE_MOD_STORE, w, sizeof *w);
        return false;
    }
    sync_take(QUEUE, &p->lock);
    w->next = p->workers;
    p->workers = w;
    sync_drop(QUEUE, &p->lock);
    return true;
}

/* Start missing workers, and join those that ended. False: a thread is missing and none could be
 * started. */
static bool task_workers_mend(cellar_pool *p)
{
    bool missing = true, up = true;
    task_workers_join(p);
    while (missing && up) {
        sync_take(QUEUE, &p->lock);
        missing = base_load_acq(&p->ticker.stop) == 0 && p->active < p->target &&
                  p->stuck <= p->target;
        if (missing) { p->active++; }
        sync_drop(QUEUE, &p->lock);
        if (missing && !task_worker_start(p)) {
            up = false;
            sync_take(QUEUE, &p->lock);
            p->active--;
            p->count[STATS_TASK_THREAD_REFUSED]++;
            sync_drop(QUEUE, &p->lock);
        }
    }
    return up;
}

CELLAR_PRIVATE void task_threads_free(cellar_pool *p) SYNC_UNCHECKED
{
    task_workers_free(p, p->workers);
    BASE_ASSERT(p->obj.forked || p->sleeping + p->woken == 0); /* each counted its awakening */
}

/* ---- time ---- */

/* End an attempt that is past its hard time-out. */
static void task_hard(cellar_pool *p, task_run *r, int64_t now_ms, task_ext **spare,
                      task_after *a) SYNC_HOLDS(QUEUE)
{
    task *t = task_attempt_over(p, r);
    /* Its function still reads the payload of a later task of a burst. */
    if (t->body != r->body) { r->lost = task_body_hold(t->body); }
    r->name->count[STATS_TASK_TIMEOUT]++;
    a->timed_out = r->name;
    if (r->pooled) {
        r->stuck = true;
        p->stuck++;
        p->active--;
    }
    task_keep_error(t, "timed out", spare);
    task_note_outcome(p, r->name, CELLAR_VERDICT_RETRY, now_ms, a);
    task_again(p, t, -1, now_ms, a);
    task_queue_release(p, r->name, a);
}

/* Queue a task again that was not acknowledged in time. A message returns as after a retry. */
static void task_hold_over(cellar_pool *p, task_run *r, int64_t now_ms, task_ext **spare,
                            task_after *a) SYNC_HOLDS(QUEUE)
{
    task *t = task_attempt_over(p, r);
    r->name->count[STATS_TASK_TIMEOUT]++;
    task_keep_error(t, "not acknowledged in time", spare);
    task_again(p, t, r->name->group != NULL ? -1 : TASK_AGAIN_NOW, now_ms, a);
    task_queue_release(p, r->name, a);
}

/* Handle a timer of a task that left its wheel. */
static void task_due(cellar_pool *p, task *t, work_time now, task_ext **spare, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    if (t->state != CELLAR_TASK_RUNNING) {
        const int64_t due_ms = (t->flags & TASK_ETA) != 0
                                   ? t->timer.due_ms - now.wall_ms + now.mono_ms : t->timer.due_ms;
        t->flags &= (uint8_t)~TASK_ETA;
        stats_waits_add(&p->waits[STATS_TASK_WAIT_LATE],
                        (uint64_t)BASE_MAX(now.mono_ms - due_ms, 0), 1);
        if (task_expires_ms(t) <= now.mono_ms) {
            task_over(p, t, CELLAR_TASK_EXPIRED, now.mono_ms, a);
        } else {
            task_to_queue(p, t, BASE_MAX(due_ms, 0), a);
        }
        return;
    }
    task_run *r = task_run_of(p, t);
    task_burst_recall(p, r, a);
    if (r->task != t) { return; } /* it ended; the task that runs has a timer of its own */
    const cellar_task_opts *o = &r->name->opts;
    base_store_rlx(&r->cancelled, 1u);
    if (r->taken) {
        task_hold_over(p, r, now.mono_ms, spare, a);
    } else if ((t->flags & TASK_SOFT) != 0 || o->timeout_ms == 0) {
        task_hard(p, r, now.mono_ms, spare, a);
    } else {
        t->flags |= TASK_SOFT;
        wheel_add(&p->mono, &t->timer,
                  task_time_add(t->timer.due_ms, o->hard_timeout_ms - o->timeout_ms));
    }
}

/* Fill the wheel of the wall clock again, after a step. */
static void task_stepped(cellar_pool *p, work_time now, int64_t step_ms, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    refresher_stepped(p, now, a);
    wheel_init(&p->wall, now.wall_ms);
    sched_stepped(p, now, step_ms, a);
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK; i++) {
        task *t = task_slot_at(p, i);
        if (t == NULL || (t->flags & TASK_ETA) == 0) { continue; }
        const int64_t due_ms = t->timer.due_ms;
        t->timer = (wheel_timer){ .next = NULL };
        wheel_add(&p->wall, &t->timer, due_ms);
    }
}

/* Pop one wheel. Return false if more is due. */
static bool task_pop(cellar_pool *p, wheel *w, int64_t clock, work_time now, task_ext **spare,
                     task_after *a) SYNC_HOLDS(QUEUE)
{
    uint32_t budget = TASK_SLICE;
    const bool had = *spare != NULL;
    wheel_timer *t;
    while ((!had || *spare != NULL) && (t = wheel_pop(w, clock, &budget)) != NULL) {
        task *of = task_of_timer(t);
        if (of->body == NULL) {
            if (!sched_due(p, of, now, a)) { return false; }
        } else if (p->names[of->name]->recurs) {
            refresher_due(p, of, now.mono_ms, a);
        } else {
            task_due(p, of, now, spare, a);
        }
    }
    return budget != 0 && (!had || *spare != NULL);
}

CELLAR_PRIVATE void task_fire(cellar_pool *p, int64_t *next_ms)
{
    const uint32_t looks = base_load_acq(&p->looks);
    work_time now = work_now(&p->obj);
    sched_news news = { .skipped = 0 };
    task_after a = { .news = &news };
    /* A time-out of a task without rare parts keeps its text here, and the next look begins. */
    task_ext *spare = base_xchg_ar(&p->spare, NULL);
    if (spare == NULL) { spare = task_ext_make(p, NULL, NULL); }
    sync_take(QUEUE, &p->lock);
    p->sched.steps = TASK_SLICE;
    if (base_add_ar(&p->looks, 1u) != looks) { /* by a later reading, perhaps */
        now.mono_ms = BASE_MAX(now.mono_ms, p->mono.now_ms);
        now.wall_ms = now.mono_ms + base_load_rlx(&p->offset_ms);
    }
    const int64_t offset_ms = now.wall_ms - now.mono_ms;
    const int64_t step_ms = offset_ms - base_load_rlx(&p->offset_ms);
    base_store_rlx(&p->offset_ms, offset_ms);
    if (step_ms > WORK_STEP_MS || step_ms < -WORK_STEP_MS) { task_stepped(p, now, step_ms, &a); }
    if (p->journal != NULL && step_ms < -WORK_STEP_MS) { p->journal->went_back = true; }
    const bool mono = task_pop(p, &p->mono, now.mono_ms, now, &spare, &a);
    const bool wall = task_pop(p, &p->wall, now.wall_ms, now, &spare, &a);
    const int64_t mono_ms = wheel_next_ms(&p->mono), wall_ms = wheel_next_ms(&p->wall);
    const int64_t gate_ms = task_gates_open(p, now.mono_ms, &a);
    const int64_t dead_ms = task_dead_expire(p, now.mono_ms, &a);
    task_throttle_sweep(p, now.mono_ms, TASK_SLICE, &a);
    const int64_t first_ms = BASE_MIN(BASE_MIN(mono_ms, gate_ms), dead_ms);
    *next_ms = first_ms != BASE_NEVER_MS ? BASE_MAX(first_ms - now.mono_ms, 1) : BASE_NEVER_MS;
    if (wall_ms != BASE_NEVER_MS) {
        *next_ms = BASE_MIN(*next_ms, BASE_MAX(wall_ms - now.wall_ms, 1));
    }
    if (!mono || !wall) { *next_ms = 0; }
    /* An attempt that ends in time leaves the look for its time-out to the next attempts. */
    if (p->look_ms <= now.mono_ms) { p->look_ms = BASE_NEVER_MS; }
    p->look_ms = BASE_MIN(p->look_ms, base_add_sat(now.mono_ms, *next_ms));
    char name[CELLAR_NAME_MAX + 1];
    if (a.timed_out != NULL) { memcpy(name, a.timed_out->name, sizeof name); }
    sync_drop(QUEUE, &p->lock);
    if (a.timed_out != NULL) {
        base_log(&p->obj.log, BASE_LOG_WARNING, "task", CELLAR_E_TIMEOUT,
                 "an attempt of \"%s\" passed hard_timeout_ms", name);
    }
    sched_tell(p, &news);
    a.timer = false; /* this is the thread, or a tick that returns the time */
    task_settle_runs(p, &a);
    task_ext_free(p, base_xchg_ar(&p->spare, spare));
}

/* ---- the threads ---- */

CELLAR_PRIVATE int64_t task_timers_look(void *pool)
{
    cellar_pool *p = pool;
    int64_t look_ms;
    task_fire(p, &look_ms);
    const int64_t most_ms = task_workers_mend(p) ? WORK_LOOK_MS : WORK_MEND_MS;
    sync_take(QUEUE, &p->lock);
    look_ms = p->look_ms;
    sync_drop(QUEUE, &p->lock);
    return BASE_MIN(BASE_MAX(look_ms - base_now_ms(&p->obj.clock), 0), most_ms);
}

CELLAR_PRIVATE cellar_err task_threads_start(cellar_pool *p)
{
    if (p->obj.no_threads) { return CELLAR_OK; }
    for (;;) {
        const uint32_t state = base_load_acq(&p->threads);
        if (state == TASK_THREADS_RUN) { return CELLAR_OK; }
        if (state == TASK_THREADS_START) {
            (void)sync_wait(&p->threads, state, UINT64_MAX);
        } else if (base_cas_ar(&p->threads, 0u, TASK_THREADS_START)) {
            break;
        }
    }
    const bool up = task_workers_mend(p) && work_ticker_start(&p->ticker, "cellar-timer");
    base_store_rel(&p->threads, up ? TASK_THREADS_RUN : 0u);
    sync_wake(&p->threads, INT32_MAX);
    return up ? CELLAR_OK : CELLAR_E_NOMEM;
}

/* ---- inside a task ---- */

CELLAR_API bool cellar_task_cancelled(const cellar_task *t)
{
    return t != NULL && base_load_rlx(&task_run_in(t)->cancelled) != 0;
}

CELLAR_API cellar_err cellar_task_progress(const cellar_task *t, uint64_t current, uint64_t total,
                                           const char *message)
{
    if (t == NULL) { return CELLAR_E_INVAL; }
    task_run *r = task_run_in(t);
    if (r->of->obj.forked) { return CELLAR_E_FORKED; }
    const size_t len = message != NULL ? strnlen(message, CELLAR_TASK_MESSAGE_MAX) : 0;
    task_after a = task_lock(r->of);
    task_burst_recall(r->of, r, &a); /* the progress is one of this task alone */
    const bool lost = r->task == NULL;
    r->current = current;
    r->total = total;
    if (message != NULL) { memcpy(r->message, message, len); }
    r->message[len] = '\0';
    task_unlock(r->of, &a);
    return lost ? CELLAR_E_LOST : CELLAR_OK;
}

CELLAR_API cellar_err cellar_task_error(const cellar_task *t, const char *text)
{
    if (t == NULL || text == NULL) { return CELLAR_E_INVAL; }
    task_run *r = task_run_in(t);
    if (r->of->obj.forked) { return CELLAR_E_FORKED; }
    const size_t len = strnlen(text, CELLAR_TASK_TEXT_MAX);
    memcpy(r->error, text, len);
    r->error[len] = '\0';
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_task_result_set(const cellar_task *t, const void *result, size_t len)
{
    if (t == NULL || (result == NULL && len != 0)) { return CELLAR_E_INVAL; }
    task_run *r = task_run_in(t);
    if (r->of->obj.forked) { return CELLAR_E_FORKED; }
    if (len > task_most_bytes(r->of)) { return CELLAR_E_TOOBIG; }
    task_body *b = task_body_make(r->of, result, len, "", NULL, NULL);
    if (b == NULL) { return CELLAR_E_NOMEM; }
    task_body_drop(r->of, r->result, true);
    r->result = b;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_task_input(const cellar_task *t, uint32_t index, cellar_bytes *out)
{
    if (t == NULL || out == NULL || index >= t->input_count) { return CELLAR_E_INVAL; }
    const task_body *b = task_run_in(t)->before->result[index];
    *out = (cellar_bytes){ b != NULL ? b->data : NULL, b != NULL ? b->len : 0 };
    return b != NULL ? CELLAR_OK : CELLAR_MISS;
}

BASE_SIZE_END
