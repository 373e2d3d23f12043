/* SPDX-License-Identifier: MIT
 *
 * task_commit: the journal of a pool: group commit, and what waits for it. */
#ifndef WORK_TASK_COMMIT_H
#define WORK_TASK_COMMIT_H

#include "work/task_types.h"

/* Write the tasks of a submit, and wait for their commit. Drops the lock meanwhile.
 * returns: OK; E_SPACE, E_IO, E_NOMEM, E_CORRUPT, E_TOOBIG: the journal has none of them */
CELLAR_PRIVATE cellar_err task_commit_submit(cellar_pool *p, const task_draft *d, uint32_t count,
                                             work_time now, const cellar_task_id *ids)
    SYNC_HOLDS(QUEUE);
/* Carry out `op` of a schedule in a transaction, and wait for its commit. The caller holds no lock.
 * returns: OK; E_FORKED; else as task_commit_submit, counted: nothing was written */
CELLAR_PRIVATE cellar_err task_commit_schedule(cellar_pool *p, journal_schedule *row);
/* Wait for the commit of all changes so far. Drops the lock meanwhile. Without a journal: OK.
 * returns: OK; the error of the disk: the changes stay, and are tried again */
CELLAR_PRIVATE cellar_err task_commit_wait(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Commit all changes on this thread, before others use the pool. Drops the lock meanwhile. */
CELLAR_PRIVATE cellar_err task_commit_now(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Commit all changes so far, with no_threads. */
CELLAR_PRIVATE void task_commit_tick(cellar_pool *p);
/* Start the thread. Return 0 or an errno. */
CELLAR_PRIVATE int task_commit_start(cellar_pool *p);
/* End the thread, after `stop`, and close the files. In a child: free what it can. */
CELLAR_PRIVATE void task_commit_close(cellar_pool *p);

#endif
