/* SPDX-License-Identifier: MIT
 *
 * sched: functions of sched.c for the files above it. */
#ifndef WORK_SCHED_H
#define WORK_SCHED_H

#include "work/types.h"

#define SCHED_CORRECTION_MS (3 * 3600000) /* a larger step of the wall clock is a correction */

CELLAR_PRIVATE void sched_after_init(sched_after *a);
/* Return the schedule of a name; NULL: none. */
CELLAR_PRIVATE sched_entry *sched_find(cellar_scheduler *s, const char *name) SYNC_HOLDS(WHEEL);
/* Queue the runs, free the schedules and log, after the lock. */
CELLAR_PRIVATE void sched_settle(cellar_scheduler *s, sched_after *a);
/* Wake the thread that fires. */
CELLAR_PRIVATE void sched_ring(cellar_scheduler *s);
/* Compute the first firing of a schedule that is not armed, and arm it unless it is paused. */
CELLAR_PRIVATE void sched_begin(sched_entry *e, work_time now) SYNC_HOLDS(WHEEL);
/* Arm a schedule that is not armed at the firing after settled_wall_ms, unless it is paused. */
CELLAR_PRIVATE void sched_continue(sched_entry *e, work_time now) SYNC_HOLDS(WHEEL);
/* Let a schedule go on in place of `old`, which has the same times: with its instants and its runs
 * that wait for a thread. Arm it unless it is paused. */
CELLAR_PRIVATE void sched_inherit(sched_entry *e, sched_entry *old, work_time now, sched_after *a)
    SYNC_HOLDS(WHEEL);
/* Carry out `op` of a schedule in the journal. Hold no lock.
 * returns: as task_commit_write */
CELLAR_PRIVATE cellar_err sched_row(cellar_scheduler *s, journal_schedule *row);
/* Write a due time that is settled into the journal. Hold no lock. */
CELLAR_PRIVATE void sched_note(cellar_scheduler *s, const char *name, int64_t settled_wall_ms);
/* Return the firing after `due_ms`; BASE_NEVER_MS: none. Needs no lock. */
CELLAR_PRIVATE int64_t sched_next_ms(const sched_entry *e, int64_t due_ms);
/* Return the first firing at `clock_ms` or later, of a cron expression after it. Needs no lock. */
CELLAR_PRIVATE int64_t sched_due_from(const sched_entry *e, int64_t clock_ms);
/* Take a schedule out of the wheels and of the table. No run of it begins any more. */
CELLAR_PRIVATE void sched_detach(sched_entry *e, sched_after *a) SYNC_HOLDS(WHEEL);
/* Drop the runs that have not begun. */
CELLAR_PRIVATE void sched_drop_runs(sched_entry *e, bool triggered) SYNC_HOLDS(WHEEL);
CELLAR_PRIVATE void sched_disarm(sched_entry *e) SYNC_HOLDS(WHEEL);
/* Return whether max_running runs have not ended, with those of schedules that `e` continues. */
CELLAR_PRIVATE bool sched_is_busy(const sched_entry *e) SYNC_HOLDS(WHEEL);
/* Take a free run and return it. The schedule has one. */
CELLAR_PRIVATE sched_run *sched_start(sched_entry *e, int64_t fire_ms, int64_t due_wall_ms,
                                      bool triggered, sched_after *a) SYNC_HOLDS(WHEEL);
/* Give a reference back. */
CELLAR_PRIVATE void sched_unref(sched_entry *e, sched_after *a) SYNC_HOLDS(WHEEL);
/* Free a schedule and its zone. With `tell`, call free_fn. Hold no lock. */
CELLAR_PRIVATE void sched_free(sched_entry *e, bool tell);
/* Fire what is due. *next_ms: ms until there is more to do; 0: now. */
CELLAR_PRIVATE void sched_fire(void *scheduler, int64_t *next_ms);
/* Run a queued run, or drop it. The `run` of the pool. */
CELLAR_PRIVATE void sched_run_job(void *scheduler, base_job *j);
/* End a run that was queued and did not begin. */
CELLAR_PRIVATE void sched_discard(base_job *j);
/* Read the figures: see stats_service. */
CELLAR_PRIVATE const char *sched_figures(void *object, uint64_t *value);

#endif
