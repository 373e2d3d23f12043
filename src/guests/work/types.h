/* SPDX-License-Identifier: MIT
 *
 * types: the structs of the scheduler.
 *
 * PICTURE    scheduler -- table by name, list of all --> schedule -- run[max_running]
 *                  \-- wheel of the monotonic clock: intervals
 *                  \-- wheel of the wall clock: cron expressions, instants
 *            due -> a free run -> pool -> a worker, or a tick -> the function of the host
 * INVARIANTS A schedule is armed, parked, paused, or has no next firing: one of these. `busy` is
 *            the number of its runs that are not free. refs == (in the table) + busy.
 * LOCKING    One lock, rank WHEEL, around everything that is not atomic or constant. User code,
 *            allocations of memory and the queue of the pool come outside of it. */
#ifndef WORK_TYPES_H
#define WORK_TYPES_H

#include "base/clock.h"
#include "base/num.h"
#include "base/service.h"
#include "base/table.h"
#include "cellar_schedule.h"
#include "stats/stats.h"
#include "wheel/wheel.h"
#include "work/cron.h"
#include "work/task_types.h"
#include "work/ticker.h"

typedef enum sched_state { SCHED_FREE, SCHED_WAITING, SCHED_DROPPED, SCHED_RUNNING } sched_state;

typedef struct sched_run { /* place for one run of a schedule */
    base_job queued;        /* first field */
    struct sched_entry *of;
    sched_state state;      /* DROPPED: waits in the queue, but must not begin */
    int32_t tid;            /* while RUNNING */
    int64_t fire_ms;        /* due time with jitter, on the clock of the schedule */
    cellar_firing firing;
} sched_run;

typedef struct sched_entry { /* a schedule */
    UT_hash_handle hh;
    struct sched_entry *next, *prev; /* ring of all schedules, removed ones with runs as well */
    wheel_timer timer;      /* in `mono` or `wall` of the scheduler */
    cellar_scheduler *of;   /* constant, as all down to interval_ms */
    uint64_t id;            /* rises with each schedule */
    uint64_t times;         /* hash of expression or interval, zone and phase */
    uint64_t line;          /* id of the first schedule of those that continue each other */
    uint32_t earlier;       /* runs of schedules that this one continues, not ended */
    uint64_t hash;          /* cron_hash of the name */
    cellar_schedule_kind kind;
    cron cron;
    base_tz *zone;          /* of a cron expression, else NULL; owned */
    cellar_schedule_fn fn;
    void *ctx;
    cellar_schedule_free_fn free_fn;
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
    uint32_t refs, busy;
    bool present;           /* in the table */
    bool paused;
    bool parked;            /* due, and waits for the end of a run */
    uint64_t runs, missed, skipped;
    int64_t last_wall_ms;   /* INT64_MIN: none */
    bool catches_up;        /* constant: the journal has its row; run_count is 1 */
    int64_t settled_wall_ms; /* last due time that ran, was skipped, or was folded into another */
    char name[CELLAR_NAME_MAX + 1];
    uint32_t run_count;
    sched_run run[];        /* run_count of them */
} sched_entry;

struct cellar_scheduler {
    base_object obj;        /* first; max_schedules bounds its account */
    work_ticker ticker;
    uint32_t max_schedules;
    int64_t close_ms;
    cellar_pool *tasks;     /* its journal has the due times; NULL: none */
    _Atomic uint32_t running; /* runs inside the function of the host; raised under the lock; futex
                               * word of the close */
    sync_lock lock;         /* rank WHEEL; guards everything below */
    bool closing;           /* true: no run begins */
    int64_t offset_ms;      /* wall clock minus monotonic clock, at the last firing */
    uint64_t last_id;
    sched_entry *table;     /* uthash by name, in order of creation */
    sched_entry *all;       /* ring; NULL: none */
    wheel mono, wall;
    uint64_t count[STATS_SCHEDULER_COUNT]; /* counters of the registry; gauges stay 0 */
};

/* Work for after the lock. */
typedef struct sched_after {
    base_job *first, **end;      /* runs to queue; end: where the next one is linked */
    sched_entry *ended;          /* to free: removed, and without runs; NULL: none */
    uint64_t skipped;            /* firings skipped */
    cellar_err why;              /* of the last one: E_BUSY overlap, E_TIMEOUT grace */
    char name[CELLAR_NAME_MAX + 1]; /* its schedule */
} sched_after;

#endif
