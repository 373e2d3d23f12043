/* SPDX-License-Identifier: MIT
 *
 * task_hand: several tasks that a worker takes under one lock.
 *
 * PICTURE    hand  | 0 ended | 1 ended | 2 runs | 3 | 4 |     claim == 3
 *            worker: claim + 1 after each function, without the lock
 *            recall: claim = TASK_HAND_OVER -> 0, 1 end; 2 is the task of the run; 3, 4 are queued
 * INVARIANTS Tasks of a hand are RUNNING. They are plain: no rare parts, no limit, no time-out, and
 *            without `results` and journal. A task in a hand that did not return OK, or that looks
 *            at the pool, recalls its own hand first. All hands have tasks of one level of one
 *            queue, and no task is queued that goes before them.
 * LOCKING    Each exchange of `claim` decides which side ends a task: a worker that reads
 *            TASK_HAND_OVER lost its hand, and ends the running task under the lock. Calls that
 *            look at the state of tasks recall all hands first.
 * LIMITS     TASK_HAND_MAX tasks, and at most the share of one worker.
 * SEE ALSO   README.md in this folder: figures, rejected designs. */
#include "work/task_hand.h"

#include "work/task_queue.h"
#include "work/task_slab.h"
#include "work/task_state.h"

BASE_SIZE_BEGIN

#define TASK_HAND_OVER (UINT32_MAX / 2)

/* Return whether no other queue has tasks for workers. */
static bool task_hand_alone(const cellar_pool *p, const task_queue *q) SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < p->queue_count; i++) {
        const task_queue *other = p->queues[i];
        if (other != q && !other->pull && other->levels.count != 0) { return false; }
    }
    return true;
}

static bool task_is_plain(const cellar_pool *p, const task *t) SYNC_HOLDS(QUEUE)
{
    return t->ext == NULL && (t->flags & TASK_RELEASED) == 0 && p->names[t->name]->plain;
}

CELLAR_PRIVATE void task_hand_fill(cellar_pool *p, task_run *r)
{
    task *t = r->task;
    task_queue *q = r->name->queue;
    const uint32_t level = t->priority, share = q->levels.count / BASE_MAX(p->active, 1u);
    const bool alike = p->hands == 0 || (p->hand_queue == q && p->hand_priority == level);
    if (!r->pooled || share == 0 || p->watching != 0 || !alike || p->cfg.results != NULL ||
        p->journal != NULL || q->levels.used != 1u << level || t->ext != NULL || !r->name->plain ||
        !task_hand_alone(p, q)) {
        return;
    }
    uint32_t n = 1;
    r->hand[0] = t;
    while (n < TASK_HAND_MAX && n <= share) {
        t = task_of_timer(q->levels.ring[level].next);
        if (!task_is_plain(p, t)) { break; }
        task_queue_leave(p, t);
        task_to_running(p, t);
        t->attempt++;
        p->names[t->name]->count[STATS_TASK_STARTED]++;
        task_note_wait(p, t, r->started_ms);
        r->hand[n++] = t;
    }
    if (n == 1) { return; }
    r->hand_len = n;
    r->handed = true;
    base_store_rlx(&r->claim, 1u);
    p->hands++;
    p->hand_queue = q;
    p->hand_priority = level;
}

CELLAR_PRIVATE const task *task_hand_next(task_run *r)
{
    if (r->hand_len == 0 || r->verdict.kind != CELLAR_VERDICT_OK || r->result != NULL ||
        r->error[0] != '\0') {
        return NULL;
    }
    const uint32_t next = base_add_ar(&r->claim, 1u);
    r->ran++;
    r->exhausted = next == r->hand_len;
    return next < r->hand_len ? r->hand[next] : NULL;
}

CELLAR_PRIVATE void task_hand_recall(cellar_pool *p, task_run *r, task_after *a)
{
    if (!r->handed) { return; }
    const uint32_t begun = base_xchg_ar(&r->claim, TASK_HAND_OVER), ended = begun - 1;
    r->handed = false;
    p->hands--;
    for (uint32_t i = 0; i < ended; i++) {
        p->names[r->hand[i]->name]->running--;
        task_end(p, r->hand[i], CELLAR_TASK_SUCCEEDED, r->started_ms, a);
    }
    r->task = ended < r->hand_len ? r->hand[ended] : NULL;
    if (r->task != NULL) { r->name = p->names[r->task->name]; }
    for (uint32_t i = r->hand_len; i > begun; i--) {
        task *t = r->hand[i - 1];
        t->attempt--;
        p->names[t->name]->count[STATS_TASK_STARTED]--;
        p->names[t->name]->running--;
        task_to_front(p, t, a);
    }
}

CELLAR_PRIVATE void task_hands_recall(cellar_pool *p, task_after *a)
{
    if (p->hands == 0) { return; }
    for (task_run *r = p->runs.next; r != &p->runs; r = r->next) { task_hand_recall(p, r, a); }
}

BASE_SIZE_END
