/* SPDX-License-Identifier: MIT
 *
 * task_turns: functions of task_queue.c and task_burst.c: which task runs next. */
#ifndef WORK_TASK_TURNS_H
#define WORK_TASK_TURNS_H

#include "work/task_data.h"

/* ---- task_queue.c: queued tasks: levels, queues, names that wait for their limit ---- */

BASE_INLINE task *task_of_timer(wheel_timer *t) { return (task *)(void *)t; } /* first field */

CELLAR_PRIVATE void task_levels_init(task_levels *l);
/* Queue a task: in its queue, or parked if its name waits. It has state QUEUED, `order` and the
 * time of queueing. */
CELLAR_PRIVATE void task_queue_add(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Let the next row of the lane of a row that ends, or leaves its name, be queued. */
CELLAR_PRIVATE void task_lane_leave(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Give the rows of a name their lanes, and queue the parked ones again. */
CELLAR_PRIVATE void task_lanes_enter(cellar_pool *p, task_name *n, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Park a task that was taken, in front of the younger tasks of its name and level. */
CELLAR_PRIVATE void task_queue_park(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Take a task of a plain name out of its queue. */
CELLAR_PRIVATE void task_queue_leave(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* Put it back, in front of all. */
CELLAR_PRIVATE void task_queue_return(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Take a QUEUED task out. */
CELLAR_PRIVATE void task_queue_remove(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Take the task out that runs next: of a pull queue `from`, or of all others if it is NULL. NULL:
 * none, or *budget is used up. */
CELLAR_PRIVATE task *task_queue_next(cellar_pool *p, task_queue *from, int64_t now_ms,
                                     uint32_t *budget) SYNC_HOLDS(QUEUE);
/* Return how long the first task of a level has been queued, of the level where it is longest. */
CELLAR_PRIVATE int64_t task_queue_age(const task_queue *q, int64_t now_ms) SYNC_HOLDS(QUEUE);
/* Return whether a queue for workers that is not paused has tasks. */
CELLAR_PRIVATE bool task_queue_ready(const cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Return the oldest task of the lowest level of all queues, or of a name, parked ones as well;
 * NULL: none. */
CELLAR_PRIVATE task *task_queue_oldest(cellar_pool *p, task_name *of) SYNC_HOLDS(QUEUE);
/* Queue parked tasks of a name, as many as may run. */
CELLAR_PRIVATE void task_queue_release(cellar_pool *p, task_name *n, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Prepare a queue that is all zero. */
CELLAR_PRIVATE void task_queue_init(task_queue *q);
/* Make a queue. NULL: no memory. */
CELLAR_PRIVATE task_queue *task_queue_make(cellar_pool *p, const char *name, bool pull);
/* Enter a queue that is not there. Return OK, E_LIMIT or E_NOMEM. */
CELLAR_PRIVATE cellar_err task_queue_enter(cellar_pool *p, task_queue *q) SYNC_HOLDS(QUEUE);
/* Count tasks that a queue gave beyond its turn. */
CELLAR_PRIVATE void task_queue_charge(cellar_pool *p, task_queue *q, uint32_t tasks)
    SYNC_HOLDS(QUEUE);
/* Set the weight of a queue. */
CELLAR_PRIVATE void task_queue_weigh(cellar_pool *p, task_queue *q, uint32_t weight)
    SYNC_HOLDS(QUEUE);
/* Return a queue by its name; NULL: there is none. */
CELLAR_PRIVATE task_queue *task_queue_find(cellar_pool *p, const char *name) SYNC_HOLDS(QUEUE);
/* Let the tasks of a name wait in another queue, queued ones as well. */
CELLAR_PRIVATE void task_queue_move(cellar_pool *p, task_name *n, task_queue *to, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Close a gate until a time. */
CELLAR_PRIVATE void task_gate_close(cellar_pool *p, task_gate *g, int64_t until_ms)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_gate_open(cellar_pool *p, task_gate *g, task_after *a) SYNC_HOLDS(QUEUE);
/* Open the gates that are due. Return when the next one is; BASE_NEVER_MS: none is closed. */
CELLAR_PRIVATE int64_t task_gates_open(cellar_pool *p, int64_t now_ms, task_after *a)
    SYNC_HOLDS(QUEUE);

/* ---- task_burst.c: several tasks that a worker takes under one lock ---- */

/* Take more tasks for a run that began a plain one, if nothing could tell the difference. */
CELLAR_PRIVATE void task_burst_fill(cellar_pool *p, task_run *r) SYNC_HOLDS(QUEUE);
/* End the function that ran, and return the next task of the burst. NULL: the lock decides; with
 * r->exhausted all tasks of the burst have ended. */
CELLAR_PRIVATE const task *task_burst_next(task_run *r);
/* End the tasks of a burst that ran, and queue those that have not begun. The one in between
 * becomes the task of the run. */
CELLAR_PRIVATE void task_burst_recall(cellar_pool *p, task_run *r, task_after *a) SYNC_HOLDS(QUEUE);
/* Recall all bursts: each task is in the state that callers see. */
CELLAR_PRIVATE void task_bursts_recall(cellar_pool *p, task_after *a) SYNC_HOLDS(QUEUE);

#endif
