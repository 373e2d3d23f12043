/* SPDX-License-Identifier: MIT
 *
 * task_mark: notes for the journal: which rows have changed, which attempts have begun. */
#ifndef WORK_TASK_MARK_H
#define WORK_TASK_MARK_H

#include "work/task_types.h"

BASE_INLINE task_row *task_row_of(const cellar_pool *p, const task *t)
{
    return &p->journal->row[t->index / TASK_CHUNK][t->index % TASK_CHUNK];
}
/* Note that the row of a task has changed. Without a journal: nothing. */
CELLAR_PRIVATE void task_mark(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Note that the payload of a task has changed. */
CELLAR_PRIVATE void task_mark_payload(cellar_pool *p, task *t, task_after *a) SYNC_HOLDS(QUEUE);
/* Note that a task has ended: callers see the state `before` until the commit. */
CELLAR_PRIVATE void task_mark_end(cellar_pool *p, task *t, cellar_task_state before, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Note that an attempt begins: it counts even if it ends the process. */
CELLAR_PRIVATE void task_mark_begin(cellar_pool *p, const task *t, cellar_task_id id)
    SYNC_HOLDS(QUEUE);
/* Add a row to those that wait for the next transaction. */
CELLAR_PRIVATE void task_row_list(task_journal *j, task_row *r, task *t);

#endif
