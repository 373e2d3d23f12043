/* SPDX-License-Identifier: MIT
 *
 * task_take: tasks that the program takes out of a queue and settles.
 *
 * WALK       take -> none: sleep on `arrived`, which each task of a queue without functions wakes
 *            -> a run in a block of its own, the hold as the time-out of the attempt
 *            -> settle: the verdict is obeyed; or the hold is over: the task is queued again, and
 *            the verdict is late
 * INVARIANTS A run of a hold belongs to the caller of the take until its verdict, in time or late.
 * LIMITS     As many holds as tasks; max_running of a name holds for them.
 * SEE ALSO   task_run.c */

#include "work/task.h"

BASE_SIZE_BEGIN

/* Take one task, and wait for it until `until_ns`. *spare: a run; NULL after it was used. */
static cellar_err task_take_one(cellar_pool *p, const char *queue, int64_t hold_ms,
                                uint64_t until_ns, task_run **spare, bool *more)
{
    task_run *r = *spare;
    for (bool waits = false;;) {
        const int64_t now_ms = base_now_ms(&p->obj.clock);
        const bool over = base_now_ns() >= until_ns;
        cellar_err err = CELLAR_OK;
        *more = false;
        task_after a = task_lock(p);
        const uint32_t seen = base_load_acq(&p->arrived);
        p->takers -= waits;
        waits = false;
        task_queue *q = task_queue_find(p, queue);
        if (q == NULL || !q->pull) {
            err = CELLAR_E_NOT_FOUND;
        } else if (p->hold) {
            err = CELLAR_E_CLOSED;
        } else if (task_take(p, r, q, now_ms, more, &a)) {
            task_begin(p, r, hold_ms, now_ms, &a);
            task_queue_release(p, r->name, &a);
            *spare = NULL;
            *more = true;
        } else {
            waits = !*more && !over;
            p->takers += waits;
        }
        task_unlock(p, &a);
        if (!waits) { return err; }
        (void)sync_wait(&p->arrived, seen, until_ns);
    }
}

CELLAR_API cellar_err cellar_task_take(cellar_pool *p, const char *queue, int64_t hold_ms,
                                       int64_t wait_ms, const cellar_task **out, uint32_t max,
                                       uint32_t *found)
{
    if (found != NULL) { *found = 0; }
    if (p == NULL || queue == NULL || out == NULL || found == NULL || max == 0 || wait_ms < 0 ||
        hold_ms < 1 || hold_ms > CELLAR_POOL_DELAY_MAX_MS) {
        return CELLAR_E_INVAL;
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    uint64_t until_ns = wait_ms != 0 ? base_until_ns(wait_ms) : 0;
    cellar_err err = CELLAR_OK;
    task_run *r = NULL;
    for (bool more = true; more && err == CELLAR_OK && *found < max;) {
        if (r == NULL) { r = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *r, NULL); }
        if (r == NULL) {
            err = CELLAR_E_NOMEM;
        } else {
            r->of = p;
            r->taken = true;
            task_run *taken = r;
            err = task_take_one(p, queue, hold_ms, until_ns, &r, &more);
            if (err == CELLAR_OK && r == NULL && !task_passes(taken)) {
                base_free(&p->obj.account, BASE_MOD_STORE, taken, sizeof *taken);
            } else if (err == CELLAR_OK && r == NULL) {
                out[(*found)++] = &taken->seen;
                until_ns = 0;
            }
        }
    }
    base_free(&p->obj.account, BASE_MOD_STORE, r, sizeof *r);
    return *found != 0 ? CELLAR_OK : err;
}

/* Let a hold end `hold_ms` from now. */
static cellar_err task_extend(task_run *r, int64_t hold_ms)
{
    cellar_pool *p = r->of;
    if (hold_ms < 1 || hold_ms > CELLAR_POOL_DELAY_MAX_MS) { return CELLAR_E_INVAL; }
    const int64_t until_ms = task_time_add(base_now_ms(&p->obj.clock), hold_ms);
    task_after a = task_lock(p);
    const bool in_time = r->task != NULL;
    if (in_time) {
        wheel_cancel(&p->mono, &r->task->timer);
        wheel_add(&p->mono, &r->task->timer, until_ms);
        task_look_at(p, until_ms, &a);
    }
    task_unlock(p, &a);
    return in_time ? CELLAR_OK : CELLAR_E_LOST;
}

CELLAR_API cellar_err cellar_task_settle(const cellar_task *t, cellar_verdict verdict)
{
    if (t == NULL || !task_run_in(t)->taken) { return CELLAR_E_INVAL; }
    task_run *r = task_run_in(t);
    cellar_pool *p = r->of;
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    if (verdict.kind == CELLAR_VERDICT_EXTEND) { return task_extend(r, verdict.delay_ms); }
    r->verdict = verdict;
    const bool in_time = task_run_end(r, false);
    base_free(&p->obj.account, BASE_MOD_STORE, r, sizeof *r);
    return in_time ? CELLAR_OK : CELLAR_E_LOST;
}

BASE_SIZE_END
