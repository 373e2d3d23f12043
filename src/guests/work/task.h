/* SPDX-License-Identifier: MIT
 *
 * task: functions of task_submit.c, task_run.c, task_result.c, task_commit.c and task_restore.c. */
#ifndef WORK_TASK_H
#define WORK_TASK_H

#include "work/task_turns.h"

/* ---- task_submit.c: what publishes share with submits ---- */

/* Register a name. `full` has all defaults filled in; group NULL: of tasks. */
CELLAR_PRIVATE cellar_err task_name_make(cellar_pool *p, const char *name, cellar_task_fn fn,
                                         void *ctx, const cellar_task_opts *full,
                                         struct bus_group *group);
/* Return whether a name has room for `count` tasks of `bytes` in sum. */
CELLAR_PRIVATE bool task_name_fits(const task_name *n, uint32_t count, uint64_t bytes)
    SYNC_HOLDS(QUEUE);
/* Return whether the pool takes tasks of this caller: OK, E_CLOSED. */
CELLAR_PRIVATE cellar_err task_intake_of(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Make tasks of all drafts, or of none. EXISTS and PENDING: only with one draft. */
CELLAR_PRIVATE cellar_err task_insert(cellar_pool *p, task_draft *d, uint32_t count, work_time now,
                                      task_after *a, cellar_task_id *ids) SYNC_HOLDS(QUEUE);

/* ---- task_run.c: attempts, verdicts, time-outs, and the threads that run them ---- */

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
/* Handle what is due, and start missing workers: the thread of the timers. Return how long it
 * sleeps, in ms. */
CELLAR_PRIVATE int64_t task_timers_look(void *pool);
/* Start the workers and the thread of the timers, unless they run: the first name needs them.
 * E_NOMEM: the system refused one. */
CELLAR_PRIVATE cellar_err task_threads_start(cellar_pool *p);
/* Join the workers and free them, after `stop`. */
CELLAR_PRIVATE void task_threads_free(cellar_pool *p);

/* ---- task_result.c: final states in a namespace, status, waits ---- */

/* Take the lock for a change. Return an empty list of work for task_unlock. */
CELLAR_PRIVATE task_after task_lock(cellar_pool *p) SYNC_TAKES(QUEUE);
/* Take the lock for a change, and recall the bursts. */
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

/* ---- task_commit.c: the journal of a pool: group commit, and what waits for it ---- */

/* Write the tasks of a submit, or a schedule, and wait for the commit. Drops the lock meanwhile.
 * returns: OK; E_SPACE, E_IO, E_NOMEM, E_CORRUPT, E_TOOBIG: the journal has none of them */
CELLAR_PRIVATE cellar_err task_commit_ticket(cellar_pool *p, task_ticket *k) SYNC_HOLDS(QUEUE);
/* Carry out `op` of a schedule in a transaction, and wait for its commit. `then` is that of the
 * ticket; without a journal it is called at once. The caller holds no lock.
 * returns: OK; E_FORKED; else as task_commit_ticket, counted: nothing was written */
CELLAR_PRIVATE cellar_err task_commit_schedule(cellar_pool *p, journal_schedule *row,
                                               void (*then)(cellar_pool *p, void *ctx), void *ctx);
/* Carry out `op` for the row of a schedule that catches up, and wait for the commit: behind all
 * adds and removes so far, and not if the row is that of another schedule then. An error is
 * counted, and logged by the pool. The caller has a ref and no lock. */
CELLAR_PRIVATE void task_commit_row(cellar_pool *p, const struct sched_entry *e,
                                    journal_statement op, int64_t last_due_wall_ms);
/* Wait for the commit of all changes so far. Drops the lock meanwhile. Without a journal: OK.
 * returns: OK; the error of the disk: the changes stay, and are tried again */
CELLAR_PRIVATE cellar_err task_commit_wait(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Commit all changes on this thread, before others use the pool. Drops the lock meanwhile. */
CELLAR_PRIVATE cellar_err task_commit_now(cellar_pool *p) SYNC_HOLDS(QUEUE);
/* Commit all changes so far, with no_threads. The pool has a journal. */
CELLAR_PRIVATE void task_commit_tick(cellar_pool *p);
/* Start the thread. Return 0 or an errno. */
CELLAR_PRIVATE int task_commit_start(cellar_pool *p);
/* End the thread, after `stop`, and close the files. In a child: free what it can. */
CELLAR_PRIVATE void task_commit_close(cellar_pool *p);

/* ---- task_restore.c: the tasks of a journal become tasks of a pool that opens ---- */

/* Open the journal of cfg.journal_path, if there is one, and set p->journal, chunk_max and name_max
 * for its rows. *why: what is wrong. */
CELLAR_PRIVATE cellar_err task_journal_open(cellar_pool *p, const char **why);
/* Make tasks of all rows, count the attempts that the last process did not end, and commit that.
 * No other thread uses the pool. */
CELLAR_PRIVATE cellar_err task_restore(cellar_pool *p, const char **why);

#endif
