/* SPDX-License-Identifier: MIT
 *
 * task_burst: several tasks that a worker takes under one lock. */
#ifndef WORK_TASK_BURST_H
#define WORK_TASK_BURST_H

#include "work/task_types.h"

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
