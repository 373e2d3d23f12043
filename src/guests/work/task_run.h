/* SPDX-License-Identifier: MIT
 *
 * task_run: attempts, verdicts, time-outs, and the threads that run them. */
#ifndef WORK_TASK_RUN_H
#define WORK_TASK_RUN_H

#include "work/task_types.h"

/* Run the task that is next on this thread, in `run`. False: no task may run. */
CELLAR_PRIVATE bool task_run_next(cellar_pool *p, task_run *run, bool pooled);
/* Take the next task for a run: of a pull queue `from`, else for a worker. False: none may run.
 * *more: the budget was used up. */
CELLAR_PRIVATE bool task_take(cellar_pool *p, task_run *r, task_queue *from, int64_t now_ms,
                              bool *more, task_after *a) SYNC_HOLDS(QUEUE);
/* Begin the attempt: count it, fill in what the function sees, arm its time-out after `ms`, unless
 * that is 0. */
CELLAR_PRIVATE void task_begin(cellar_pool *p, task_run *r, int64_t ms, int64_t now_ms,
                               task_after *a) SYNC_HOLDS(QUEUE);
/* Run the filters of the group of a task that was taken. False: it has ended, and so has the
 * run. */
CELLAR_PRIVATE bool task_passes(task_run *r);
/* End a run: obey its verdict, unless the attempt ended before. Return false in that case. */
CELLAR_PRIVATE bool task_run_end(task_run *r, bool thread_ended);
/* Move what is due: delays, time-outs, gates, dead letters. *next_ms: ms until there is more to do;
 * 0: now. */
CELLAR_PRIVATE void task_fire(cellar_pool *p, int64_t *next_ms);
/* Start the workers and the thread of the timers, unless they run: the first name needs them.
 * E_NOMEM: the system refused one. */
CELLAR_PRIVATE cellar_err task_threads_start(cellar_pool *p);
/* Join all threads and free them, after `stop`. */
CELLAR_PRIVATE void task_threads_free(cellar_pool *p);

#endif
