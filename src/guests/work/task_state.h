/* SPDX-License-Identifier: MIT
 *
 * task_state: the changes of state of a task. */
#ifndef WORK_TASK_STATE_H
#define WORK_TASK_STATE_H

#include "work/task_types.h"

/* Read the monotonic clock; the wall clock with the offset of the last look. Hold no lock. */
CELLAR_PRIVATE work_time task_near(const cellar_pool *p);
/* Return the sum of two times, 0 to BASE_NEVER_MS - 1. */
CELLAR_PRIVATE int64_t task_time_add(int64_t a, int64_t b);
/* Wake the thread of the timers, unless it looks again at `due_ms` or before. */
CELLAR_PRIVATE void task_look_at(cellar_pool *p, int64_t due_ms, task_after *a) SYNC_HOLDS(QUEUE);
/* Add the wait of a task that begins to the histogram. */
BASE_INLINE void task_note_wait(cellar_pool *p, const task *t, int64_t now_ms)
{
    const int64_t ms = BASE_MAX(now_ms - t->timer.due_ms, 0);
    if ((t->flags & TASK_RECURS) != 0) { return; }
    stats_waits_add(&p->waits[STATS_TASK_WAIT_WAIT], (uint64_t)ms, 1);
}
/* Queue a task that is in no list. */
CELLAR_PRIVATE void task_to_queue(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a task that is in no list wait until a time: SCHEDULED or RETRY. */
CELLAR_PRIVATE void task_to_wheel(cellar_pool *p, task *t, cellar_task_state state, int64_t due_ms,
                                  task_after *a) SYNC_HOLDS(QUEUE);
/* Let a task that is in no list wait until a time of the wall clock. */
CELLAR_PRIVATE void task_to_wall(cellar_pool *p, task *t, int64_t wall_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a new task wait for the tasks before it. */
CELLAR_PRIVATE void task_to_waiting(task *t) SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_to_running(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Park a running task before its attempt began: it keeps its place. */
CELLAR_PRIVATE void task_to_parked(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Queue a task again that was taken, but did not begin, in front of all. */
CELLAR_PRIVATE void task_to_front(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Take a live task that does not run out of its list. */
CELLAR_PRIVATE void task_detach(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Give a live task, which is in no list, its final state. Cancel the tasks that wait for it, or
 * queue them. */
CELLAR_PRIVATE void task_end(cellar_pool *p, task *t, cellar_task_state state, int64_t now_ms,
                             task_after *a) SYNC_HOLDS(QUEUE);
/* Queue the task that waits for a group, if all its members ended. Return that task if the caller
 * must cancel it; else NULL. */
CELLAR_PRIVATE task *task_group_decide(cellar_pool *p, task_group *g, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Note the result of a member for its group. */
CELLAR_PRIVATE void task_give_result(task *t, task_body *result) SYNC_HOLDS(QUEUE);
/* Move a row that failed for good to the dead queue of its group. False: it has none. */
CELLAR_PRIVATE bool task_die(cellar_pool *p, task *t, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Make a dead letter a live task again, without an attempt. `spare`: rare parts for a message
 * without. */
CELLAR_PRIVATE void task_revive(cellar_pool *p, task *t, int64_t now_ms, task_ext **spare,
                                task_after *a) SYNC_HOLDS(QUEUE);
/* Make a dead letter of the journal one of the pool. */
CELLAR_PRIVATE void task_to_dead(cellar_pool *p, task *t, int64_t ended_ms) SYNC_HOLDS(QUEUE);
/* Remove a dead letter. */
CELLAR_PRIVATE void task_dead_drop(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Remove dead letters that are too old. Return when the next one is; BASE_NEVER_MS: none. */
CELLAR_PRIVATE int64_t task_dead_expire(cellar_pool *p, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Free a slot with a final state that is in no list, and move its parts to `a`. */
CELLAR_PRIVATE void task_to_free(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE bool task_expired(const task *t, int64_t now_ms);
/* Return the first time-out of an attempt; 0: none. */
BASE_INLINE int64_t task_first_timeout_ms(const task_name *n)
{
    return n->opts.timeout_ms != 0 ? n->opts.timeout_ms : n->opts.hard_timeout_ms;
}
/* Return the delay before the attempt after `attempt`. */
CELLAR_PRIVATE int64_t task_backoff_ms(cellar_pool *p, const task_name *n, uint32_t attempt)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_wake_timer(cellar_pool *p);

#endif
