/* SPDX-License-Identifier: MIT
 *
 * task_burst: several tasks that a worker takes under one lock.
 *
 * PICTURE    burst | 0 ended | 1 ended | 2 runs | 3 | 4 |     claim == 3
 *            worker: claim + 1 after each function, without the lock
 *            recall: claim = TASK_BURST_OVER -> 0, 1 end; 2 is the task of the run; 3, 4 are queued
 * INVARIANTS Tasks of a burst are RUNNING. They are plain: no rare parts, no expiry, no limit, one
 *            time-out for all, and without `results` and journal. A task in a burst that did not
 *            return OK, or that looks at the pool, recalls its own burst first. All bursts have
 *            tasks of one level, each those of one queue, which owes the turns of the others.
 * TIME-OUT   The timer of the first task serves the burst: at its time the burst is recalled, and
 *            the task that runs gets its own timer, from the begin of its function on.
 * LOCKING    Each exchange of `claim` decides which side ends a task: a worker that reads
 *            TASK_BURST_OVER lost its burst, and ends the running task under the lock. Calls that
 *            look at the state of tasks recall all bursts first.
 * LIMITS     TASK_BURST_MAX tasks, and at most the share of one worker.
 * SEE ALSO   README.md in this folder: figures, rejected designs. */
#include "work/task.h"

#include "work/bus_types.h"

BASE_SIZE_BEGIN

#define TASK_BURST_OVER (UINT32_MAX / 2)

static bool task_is_plain(const cellar_pool *p, const task *t, int64_t timeout_ms)
    SYNC_HOLDS(QUEUE)
{
    const task_name *n = p->names[t->name];
    const bool expires = t->body->message && bus_extra_of(t->body)->until_ms != BASE_NEVER_MS;
    return t->ext == NULL && !expires && (t->flags & (TASK_RELEASED | TASK_RECURS)) == 0 &&
           n->plain && task_first_timeout_ms(n) == timeout_ms;
}

CELLAR_PRIVATE void task_burst_fill(cellar_pool *p, task_run *r)
{
    task *t = r->task;
    task_queue *q = r->name->queue;
    const uint32_t level = t->priority, share = q->levels.count / BASE_MAX(p->active, 1u);
    const uint32_t weight = p->cfg.order == CELLAR_POOL_STRICT ? q->weight : TASK_WEIGHT_MAX;
    const bool alike = p->bursts == 0 ||
                       (p->burst_priority == level && p->burst_weight == weight);
    if (!r->pooled || share == 0 || p->watching != 0 || !alike || p->cfg.results != NULL ||
        p->journal != NULL || q->levels.used != 1u << level || t->ext != NULL || !r->name->plain ||
        (t->flags & TASK_RECURS) != 0) {
        return;
    }
    /* Other queues wait for short functions only. */
    const bool alone = p->offered == q->weight;
    if (r->name->slow && !alone) { return; }
    const int64_t timeout_ms = task_first_timeout_ms(r->name);
    uint32_t n = 1;
    r->burst[0] = t;
    while (n < TASK_BURST_MAX && n <= share) {
        t = task_of_timer(q->levels.ring[level].next);
        if (!task_is_plain(p, t, timeout_ms)) { break; }
        task_queue_leave(p, t);
        task_to_running(p, t);
        t->attempt++;
        p->names[t->name]->count[STATS_TASK_STARTED]++;
        task_note_wait(p, t, r->started_ms);
        r->since_ms[n] = t->timer.due_ms;
        r->burst[n++] = t;
    }
    if (n == 1) { return; }
    r->burst_len = n;
    r->bursting = true;
    r->timed = timeout_ms != 0;
    base_store_rlx(&r->claim, 1u);
    if (alone || p->bursts == 0) { p->burst_queue = alone ? q : NULL; }
    p->bursts++;
    p->burst_priority = level;
    p->burst_weight = weight;
    if (!alone) { task_queue_charge(p, q, n - 1); }
}

CELLAR_PRIVATE const task *task_burst_next(task_run *r)
{
    if (r->burst_len == 0 || r->verdict.kind != CELLAR_VERDICT_OK || r->result != NULL ||
        r->error[0] != '\0') {
        return NULL;
    }
    /* The hold of the next task begins now; a recall reads it behind `claim`. */
    if (r->timed) { base_store_rlx(&r->began_ms, base_now_ms(&r->of->obj.clock)); }
    const uint32_t next = base_add_ar(&r->claim, 1u);
    r->ran++;
    r->exhausted = next == r->burst_len;
    return next < r->burst_len ? r->burst[next] : NULL;
}

CELLAR_PRIVATE void task_burst_recall(cellar_pool *p, task_run *r, task_after *a)
{
    if (!r->bursting) { return; }
    const uint32_t begun = base_xchg_ar(&r->claim, TASK_BURST_OVER), ended = begun - 1;
    r->bursting = false;
    p->bursts--;
    if (ended != 0) { wheel_cancel(&p->mono, &r->burst[0]->timer); }
    for (uint32_t i = 0; i < ended; i++) {
        p->names[r->burst[i]->name]->running--;
        task_end(p, r->burst[i], CELLAR_TASK_SUCCEEDED, r->started_ms, a);
    }
    r->task = ended < r->burst_len ? r->burst[ended] : NULL;
    if (r->task != NULL) { r->name = p->names[r->task->name]; }
    if (r->task != NULL && r->timed && ended != 0) {
        const int64_t due_ms = task_time_add(base_load_rlx(&r->began_ms),
                                             task_first_timeout_ms(r->name));
        wheel_add(&p->mono, &r->task->timer, due_ms);
        task_look_at(p, due_ms, a);
    }
    for (uint32_t i = r->burst_len; i > begun; i--) {
        task *t = r->burst[i - 1];
        t->attempt--;
        p->names[t->name]->count[STATS_TASK_STARTED]--;
        p->names[t->name]->running--;
        task_to_front(p, t, a);
    }
}

CELLAR_PRIVATE void task_bursts_recall(cellar_pool *p, task_after *a)
{
    if (p->bursts == 0) { return; }
    for (task_run *r = p->runs.next; r != &p->runs; r = r->next) { task_burst_recall(p, r, a); }
}

BASE_SIZE_END
