/* SPDX-License-Identifier: MIT
 *
 * task_mark: notes for the journal.
 *
 * PICTURE    change of a task -> its row in `dirty` -> task_commit writes what the task is then
 *            attempt begins   -> entry of the board
 * INVARIANTS A row is in `dirty` once, however often its task changed. A task with a final state
 *            keeps its slot until its row is gone or final on the disk.
 * SEE ALSO   task_commit.c, journal_board.c */
#include "work/task.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void task_row_list(task_journal *j, task_row *r, task *t)
{
    BASE_ASSERT((r->flags & (TASK_ROW_LISTED | TASK_ROW_WRITING)) == 0);
    r->flags |= TASK_ROW_LISTED;
    r->next = NULL;
    if (j->dirty == NULL) {
        j->dirty = t;
    } else {
        j->row[j->dirty_last->index / TASK_CHUNK][j->dirty_last->index % TASK_CHUNK].next = t;
    }
    j->dirty_last = t;
    j->dirty_count++;
}

CELLAR_PRIVATE void task_mark(cellar_pool *p, task *t, task_after *a)
{
    task_journal *j = p->journal;
    if (j == NULL || (t->flags & TASK_RECURS) != 0) { return; }
    task_row *r = task_row_of(p, t);
    if ((r->flags & TASK_ROW_WRITING) != 0) {
        r->flags |= TASK_ROW_AGAIN;
        j->again = true;
    } else if ((r->flags & TASK_ROW_LISTED) == 0) {
        task_row_list(j, r, t);
        if (j->asleep) {
            j->asleep = false;
            a->journal = true;
        }
    }
}

CELLAR_PRIVATE void task_mark_payload(cellar_pool *p, task *t, task_after *a)
{
    if (p->journal == NULL) { return; }
    task_row_of(p, t)->flags |= TASK_ROW_PAYLOAD;
    task_mark(p, t, a);
}

CELLAR_PRIVATE void task_mark_end(cellar_pool *p, task *t, cellar_task_state before, task_after *a)
{
    if (p->journal == NULL) { return; }
    task_row *r = task_row_of(p, t);
    BASE_ASSERT(r->result == NULL);
    t->flags |= TASK_UNCOMMITTED;
    t->order = before;
    r->started_wall_ms = t == a->run_of ? a->started_wall_ms : 0;
    r->result = t == a->run_of ? task_body_hold(a->result) : NULL;
    task_mark(p, t, a);
}

CELLAR_PRIVATE void task_mark_begin(cellar_pool *p, const task *t, cellar_task_id id)
{
    if (p->journal == NULL || (t->flags & TASK_RECURS) != 0) { return; }
    journal_board_set(p->journal->board, t->index, id, ++task_row_of(p, t)->begun, t->attempt);
}

BASE_SIZE_END
