/* SPDX-License-Identifier: MIT
 *
 * sched: the schedules of a pool, and the functions of sched.c.
 *
 * PICTURE    pool -- table by name, ring of all --> schedule -- run[max_running]
 *            schedule: a task without a body, in the wheel of the monotonic clock (intervals) or of
 *            the wall clock (cron expressions, instants)
 *            run: a task that recurs: due -> a free run -> queue of its name -> a worker or a tick
 *            -> verdict: RETRY -> wheel, or the end of the run
 * INVARIANTS A schedule is armed unless it is parked, is paused, has no next firing, or was due in
 *            a drain. An instant that fired is in the table until its runs end. `busy` is the
 *            number of its runs that are not free. refs == (in the table) + busy + lists and looks
 *            that are at it. A run is in no list of tasks; after the begin of a drain none begins.
 * LOCKING    The lock of the pool, around everything that is not atomic or constant. */
#ifndef WORK_SCHED_H
#define WORK_SCHED_H

#include "base/timezone.h"
#include "work/cron.h"
#include "work/task.h"

#define SCHED_CORRECTION_MS (3 * 3600000) /* a larger step of the wall clock is a correction */

typedef struct sched_run { /* place for one run of a schedule */
    task task;              /* first field; state TASK_FREE: no run; its index and id are unused */
    struct sched_entry *of;
    int64_t fire_ms;        /* due time with jitter, monotonic */
    int64_t due_wall_ms, until_wall_ms; /* as in cellar_task, with those below */
    uint64_t missed;
    bool triggered;
    bool begun;             /* its first attempt began */
    int64_t written_wall_ms; /* what its end gave to the journal; 0: nothing yet */
} sched_run;

typedef struct sched_zone { /* a time zone that schedules share */
    struct sched_zone *next;
    base_tz *tz;
    uint32_t refs;
    char name[CRON_ZONE_MAX + 1];
} sched_zone;

typedef struct sched_entry { /* a schedule */
    task_recur recur;       /* first field; body NULL; its timer is that of the next firing */
    UT_hash_handle hh;
    uint64_t times;         /* hash of expression or interval and zone; constant, as all down to
                             * interval_ms */
    cellar_phase phase;
    uint64_t line;          /* id of the first schedule of those that continue each other */
    uint64_t hash;          /* cron_hash of the name */
    cellar_schedule_kind kind;
    bool catches_up;        /* the journal has its row; run_count is 1 */
    task_body *row;         /* of catches_up: its spec, with its zone as the type; else NULL */
    cron cron;
    sched_zone *zone;       /* of a cron expression, else NULL; counted */
    task_body *body;        /* payload of its runs; counted */
    cellar_coalesce coalesce;
    cellar_overlap overlap;
    int64_t grace_ms;       /* BASE_NEVER_MS: none */
    int64_t jitter_ms;
    int64_t interval_ms;    /* of EVERY */
    int64_t start_ms;       /* of EVERY: the first firing; all are start + k * interval */
    int64_t due_ms;         /* next firing, without jitter; EVERY: monotonic, else wall clock.
                             * BASE_NEVER_MS: none */
    int64_t first_ms;       /* with missed > 0: the earliest firing that is folded into due_ms */
    uint64_t missed_now;    /* firings folded into due_ms */
    uint32_t caught_up;     /* runs of a series of COALESCE_ALL so far */
    uint32_t busy;
    uint32_t earlier;       /* runs of schedules that this one continues, not ended */
    bool paused;
    bool parked;            /* due, and waits for the end of a run */
    bool unwritten;         /* in a chain of task_after, which counts in refs */
    uint64_t runs, missed, skipped, failed;
    int64_t last_wall_ms;   /* INT64_MIN: none */
    int64_t settled_wall_ms; /* last due time that ran, was skipped, or was folded into another */
    int64_t unwritten_wall_ms; /* settled_wall_ms of an end that is not in the journal */
    int64_t earlier_wall_ms; /* sched_ended_wall_ms of the one before, with earlier > 0 */
    struct sched_entry *unwritten_next; /* in task_after */
    task_ext *error;        /* of the last run, if it failed with a text; NULL: none */
    char name[CELLAR_NAME_MAX + 1];
    uint32_t run_count;
    sched_run run[];        /* run_count of them */
} sched_entry;

/* Firings that one call skipped, to log. */
typedef struct sched_news {
    uint64_t skipped;
    cellar_err why;         /* of the last one: E_BUSY overlap, E_TIMEOUT grace */
    char name[CELLAR_NAME_MAX + 1]; /* its schedule */
} sched_news;

BASE_INLINE sched_entry *sched_of(task *clock) { return (sched_entry *)(void *)clock; }
/* Return whether a task is a run of a schedule. */
BASE_INLINE bool sched_is_run(const cellar_pool *p, const task *t)
{
    return (t->flags & TASK_RECURS) != 0 && !p->names[t->name]->recurs;
}

/* Return the schedule of a name; NULL: none. */
CELLAR_PRIVATE sched_entry *sched_find(cellar_pool *p, const char *name) SYNC_HOLDS(QUEUE);
/* Return the due time before `first_ms`: the one that the journal has until a run has ended. */
CELLAR_PRIVATE int64_t sched_before_wall_ms(const sched_entry *e, int64_t first_ms, work_time now);
/* Return the last due time that is settled and not that of an open run, of a schedule that catches
 * up: the end of the run writes more. */
CELLAR_PRIVATE int64_t sched_ended_wall_ms(const sched_entry *e) SYNC_HOLDS(QUEUE);
/* End a pause. The firings that passed in it are settled. */
CELLAR_PRIVATE void sched_resume(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Compute the first firing of a schedule that is not armed, and arm it unless it is paused. */
CELLAR_PRIVATE void sched_begin(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Arm a schedule that is not armed at the firing after settled_wall_ms, unless it is paused. */
CELLAR_PRIVATE void sched_continue(cellar_pool *p, sched_entry *e, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Let a schedule go on in place of `old`, which has the same times: with its instants and its runs
 * that have not begun. Arm it unless it is paused. */
CELLAR_PRIVATE void sched_inherit(cellar_pool *p, sched_entry *e, sched_entry *old, work_time now,
                                  task_after *a) SYNC_HOLDS(QUEUE);
/* Return the firing after `due_ms`; BASE_NEVER_MS: none. Needs no lock. */
CELLAR_PRIVATE int64_t sched_next_ms(const sched_entry *e, int64_t due_ms);
/* Return the first firing at `clock_ms` or later, of a cron expression after it. */
CELLAR_PRIVATE int64_t sched_due_from(const sched_entry *e, int64_t clock_ms) SYNC_HOLDS(QUEUE);
/* Take a schedule out of the wheels and of the table. No run of it begins any more. */
CELLAR_PRIVATE void sched_detach(cellar_pool *p, sched_entry *e, task_after *a) SYNC_HOLDS(QUEUE);
/* Drop the runs that have not begun, and the next attempts of the others; of triggered ones as
 * well, if `all`. */
CELLAR_PRIVATE void sched_drop_runs(cellar_pool *p, sched_entry *e, bool all, task_after *a)
    SYNC_HOLDS(QUEUE);
CELLAR_PRIVATE void sched_disarm(cellar_pool *p, sched_entry *e) SYNC_HOLDS(QUEUE);
/* Return whether max_running runs have not ended, with those of schedules that `e` continues. */
CELLAR_PRIVATE bool sched_is_busy(const sched_entry *e) SYNC_HOLDS(QUEUE);
/* Queue a free run at `now_ms`, monotonic; its fire_ms is the same. The schedule has one. */
CELLAR_PRIVATE sched_run *sched_start(cellar_pool *p, sched_entry *e, int64_t now_ms,
                                      int64_t due_wall_ms, bool triggered, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Share a zone by its name, or open it. Hold no lock. */
CELLAR_PRIVATE cellar_err sched_zone_hold(cellar_pool *p, const char *name, sched_zone **out);
/* Free a schedule that is in no list. `tell`: its free_fn runs. Hold no lock. */
CELLAR_PRIVATE void sched_free(cellar_pool *p, sched_entry *e, bool tell);
/* Free all schedules, after the last run. */
CELLAR_PRIVATE void sched_free_all(cellar_pool *p);

/* Fire a schedule: its timer left its wheel. False: the bound of a call is used up; it is armed
 * again. */
CELLAR_PRIVATE bool sched_due(cellar_pool *p, task *clock, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Log the firings that were skipped. Hold no lock. */
CELLAR_PRIVATE void sched_tell(cellar_pool *p, const sched_news *news);
/* Fill in what the function of a run sees, when an attempt begins. */
CELLAR_PRIVATE void sched_show(cellar_pool *p, task_run *r, const task *t) SYNC_HOLDS(QUEUE);
/* Return whether a run may be tried again at `at_ms`: before the next firing. */
CELLAR_PRIVATE bool sched_may_retry(const cellar_pool *p, const task *t, int64_t at_ms)
    SYNC_HOLDS(QUEUE);
/* Return the schedule of a run that its verdict ends, if the journal gets its due time: *last_ms.
 * The time-out of the run ends then. NULL: nothing to write. Hold no lock. */
CELLAR_PRIVATE sched_entry *sched_settles(cellar_pool *p, const task_run *r, int64_t *last_ms);
/* Mark a run that a drain takes from its queue, and count its firing. */
CELLAR_PRIVATE void sched_drained(cellar_pool *p, task *t) SYNC_HOLDS(QUEUE);
/* End a run, which is in no list: its place is free, and a firing that waits for it goes on. */
CELLAR_PRIVATE void sched_over(cellar_pool *p, task *t, cellar_task_state state, task_after *a)
    SYNC_HOLDS(QUEUE);
/* Compute the firings of the wall clock again after a step of it. */
CELLAR_PRIVATE void sched_stepped(cellar_pool *p, work_time now, int64_t step_ms, task_after *a)
    SYNC_HOLDS(QUEUE);

#endif
