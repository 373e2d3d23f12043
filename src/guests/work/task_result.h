/* SPDX-License-Identifier: MIT
 *
 * task_result: final states in a namespace, status, waits. */
#ifndef WORK_TASK_RESULT_H
#define WORK_TASK_RESULT_H

#include "work/task_types.h"

/* Take the lock for a change. Return what is left to do after the lock: nothing. */
CELLAR_PRIVATE task_after task_lock(cellar_pool *p) SYNC_TAKES(QUEUE);
/* The same, and recall the bursts. */
CELLAR_PRIVATE task_after task_lock_recall(cellar_pool *p) SYNC_TAKES(QUEUE);
/* Drop the lock and do what is left: see task_settle. */
CELLAR_PRIVATE void task_unlock(cellar_pool *p, task_after *a) SYNC_DROPS(QUEUE);
/* Store final states, free and wake, as `a` says, after the lock. */
CELLAR_PRIVATE void task_settle(cellar_pool *p, task_after *a);
/* Store the final state of a task, as `from` says, and free its slot, unless a wait keeps it. */
CELLAR_PRIVATE void task_finish(cellar_pool *p, task *t, const task_after *from);
/* Return whether the namespace of results has a final state of an id. Hold no lock. */
CELLAR_PRIVATE bool task_recorded(cellar_pool *p, cellar_task_id id);
/* Return the final state of a task that is not live, and its result, which the caller drops; NULL:
 * none. E_NOT_FOUND: it is forgotten. Hold no lock. */
CELLAR_PRIVATE cellar_err task_final(cellar_pool *p, cellar_task_id id, cellar_task_state *state,
                                     task_body **result);
/* Describe a task. */
CELLAR_PRIVATE void task_describe(cellar_pool *p, const task *t, work_time now,
                                  cellar_task_status *out) SYNC_HOLDS(QUEUE);
/* Return the run of this thread; NULL: it runs no task of the pool. */
CELLAR_PRIVATE task_run *task_run_mine(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Return the run of a task; NULL: it does not run. */
CELLAR_PRIVATE task_run *task_run_of(cellar_pool *p, const task *t) SYNC_HOLDS(QUEUE);
/* Sleep until a task ends, or until_ns. Drops the lock meanwhile. */
CELLAR_PRIVATE void task_sleep(cellar_pool *p, const task_run *mine, uint64_t until_ns)
    SYNC_HOLDS(QUEUE);
/* Return whether a run must not sleep: no other thread of the pool would be awake. */
CELLAR_PRIVATE bool task_must_not_sleep(const cellar_pool *p, const task_run *mine)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void task_wake_ended(cellar_pool *p);
/* Wake the calls of cellar_task_take that wait. */
CELLAR_PRIVATE void task_wake_arrived(cellar_pool *p);

#endif
