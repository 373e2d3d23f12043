/* SPDX-License-Identifier: MIT
 *
 * task_hand: several tasks that a worker takes under one lock. */
#ifndef WORK_TASK_HAND_H
#define WORK_TASK_HAND_H

#include "work/task_types.h"

/* Take more tasks for a run that began a plain one, if nothing could tell the difference. */
CELLAR_PRIVATE void task_hand_fill(cellar_pool *p, task_run *r) SYNC_HOLDS(QUEUE);
/* End the function that ran, and return the next task of the hand. NULL: the lock decides; with
 * r->exhausted all tasks of the hand have ended. */
CELLAR_PRIVATE const task *task_hand_next(task_run *r);
/* End the tasks of a hand that ran, and queue those that have not begun. The one in between becomes
 * the task of the run. */
CELLAR_PRIVATE void task_hand_recall(cellar_pool *p, task_run *r, task_after *a) SYNC_HOLDS(QUEUE);
/* Recall all hands: each task is in the state that callers see. */
CELLAR_PRIVATE void task_hands_recall(cellar_pool *p, task_after *a) SYNC_HOLDS(QUEUE);

#endif
