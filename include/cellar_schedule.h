/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_schedule: tasks of a pool at intervals, at times of cron expressions, at instants.
 *
 * CALL PATTERN
 *     #include "cellar_schedule.h"    // drop-in: part of "cellar_all.h"
 *     static cellar_verdict report(const cellar_task *t, void *ctx)
 *     {
 *         return send_report(t->due_wall_ms) ? cellar_verdict_ok() : cellar_verdict_retry();
 *     }
 *     cellar_pool *p;
 *     if (cellar_pool_open(NULL, &p) != CELLAR_OK) return 1;
 *     cellar_task_register(p, "report", report, NULL, NULL);
 *     cellar_schedule_spec spec = cellar_schedule_spec_default();
 *     spec.task = "report", spec.cron = "0 9 * * MON-FRI", spec.zone = "Asia/Shanghai";
 *     cellar_schedule_add(p, "weekdays", &spec);
 *
 * RUNS    A firing runs its task, with the options of the name, on the workers of the pool, which
 *         jobs share with other tasks; a second pool keeps them apart. A run has no id, and is in
 *         no list, result or dead letter of tasks, nor in queue_cap. No run begins after a drain
 *         began.
 * AGAIN   RETRY and SNOOZE try again before the next firing; else the run failed, or was snoozed.
 * TIMES   An interval follows the monotonic clock and never drifts. Cron expressions and instants
 *         follow the wall clock, in UNIX milliseconds, expressions in seconds. TZ plays no role.
 * LOSS    Schedules live in memory, but see CATCH-UP. The page of metrics counts skipped firings
 *         with the reason, except for those in a pause, in a drain, or passed by a clock step.
 * CHANGES Each change is in force when its call returns: no attempt of the old one begins later. */
#ifndef CELLAR_SCHEDULE_H
#define CELLAR_SCHEDULE_H

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Cron expressions ----------------------------------------------------------------------- */

/* Longest text of a cron expression. */
#define CELLAR_CRON_MAX 255u /* bytes of an expression */

/* What happens to a fixed time that the zone skips in spring. */
typedef enum cellar_cron_gap {
    CELLAR_CRON_GAP_RUN = 0, /* fires once, at the first instant after the gap */
    CELLAR_CRON_GAP_SKIP = 1 /* does not fire */
} cellar_cron_gap;

/* What happens to a fixed time that occurs twice in autumn. */
typedef enum cellar_cron_fold {
    CELLAR_CRON_FOLD_FIRST = 0,  /* once, at the first one */
    CELLAR_CRON_FOLD_SECOND = 1, /* once, at the second one */
    CELLAR_CRON_FOLD_BOTH = 2    /* at both */
} cellar_cron_fold;

/* Options of a cron expression, for cellar_cron_next and cellar_schedule_spec.cron_opts. Start from
 * cellar_cron_opts_default(). */
typedef struct cellar_cron_opts {
    size_t   struct_size;    /* set by cellar_cron_opts_default()                                 */
    const char *hash_name;   /* chooses the values of H. Default NULL: name of the schedule, or   */
                             /* ""                                                                */
    cellar_cron_gap  gap;    /* what a skipped time does. Default GAP_RUN                         */
    cellar_cron_fold fold;   /* what a time does that occurs twice. Default FOLD_FIRST            */
    uint32_t day_and;        /* 1: day of month and weekday must both match. Default 0: either    */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_cron_opts;
CELLAR_STRUCT(cellar_cron_opts, reserved0);

/* Compute the next instants of a cron expression, or check an expression: with count 0 the call
 * checks expression and zone only.
 * in:      expr of 1..CELLAR_CRON_MAX bytes: see CRON EXPRESSIONS;
 *          zone: NULL or "UTC", "+08:00", or a name of the zone database such as "Europe/Berlin".
 *          CRON_TZ= in the expression wins;
 *          o from cellar_cron_opts_default; NULL = defaults;
 *          after_wall_ms: UNIX ms in the years 1970..9999; count: room of out
 * out:     out: instants after after_wall_ms in rising order, UNIX ms;
 *          *found: their number; with E_INVAL the column of the first error in expr, from 1, or 0
 *          when another argument is wrong
 * returns: OK (also with fewer than count);
 *          E_INVAL (also: expr is wrong at column *found), E_TOOBIG (expr is over CELLAR_CRON_MAX
 *          bytes);
 *          E_NEVER (the expression matches no date, or none within 100 years);
 *          E_RANGE (after_wall_ms is before 1970 or after 9999), E_NOMEM;
 *          E_NOT_FOUND (the time zone is unknown: install tzdata, or use an offset);
 *          E_CORRUPT (the zone file is damaged)
 * thread:  any, also in a forked child
 * cost:    reads the zone file; under 1 us for each instant
 * example:
 *     int64_t next;
 *     size_t n;
 *     cellar_cron_next("30 2 * * *", "Europe/Berlin", NULL, 1700000000000,
 *                      &next, 1, &n);                                                            */
CELLAR_API cellar_err cellar_cron_next(const char *expr, const char *zone,
                                       const cellar_cron_opts *o, int64_t after_wall_ms,
                                       int64_t *out, size_t count, size_t *found);

/* ---- Types ---------------------------------------------------------------------------------- */

/* Limits of a schedule. */
#define CELLAR_SCHEDULE_RUNS_MAX    64u  /* largest max_running                                   */
#define CELLAR_SCHEDULE_CATCH_UP_MAX 100u /* missed firings that CELLAR_COALESCE_ALL runs         */

/* What makes a schedule due; cellar_schedule_info reports it. */
typedef enum cellar_schedule_kind {
    CELLAR_SCHEDULE_EVERY = 1, /* interval_ms, or "@every" */
    CELLAR_SCHEDULE_CRON = 2,  /* times of `cron` */
    CELLAR_SCHEDULE_AT = 3     /* once, at at_wall_ms */
} cellar_schedule_kind;

/* Which of several missed firings run. */
typedef enum cellar_coalesce {
    CELLAR_COALESCE_LATEST = 0,   /* one run, for the latest                                      */
    CELLAR_COALESCE_EARLIEST = 1, /* one run, for the earliest                                    */
    CELLAR_COALESCE_ALL = 2       /* one after another, at most CELLAR_SCHEDULE_CATCH_UP_MAX      */
} cellar_coalesce;

/* What a firing does while max_running runs of its schedule have not ended. */
typedef enum cellar_overlap {
    CELLAR_OVERLAP_SKIP = 0, /* does not run                                                      */
    CELLAR_OVERLAP_QUEUE = 1 /* one waits for the end of a run; later ones count as missed        */
} cellar_overlap;

/* When an interval begins. */
typedef enum cellar_phase {
    CELLAR_PHASE_HASH = 0,   /* after hash(name) mod interval: equal intervals are spread         */
    CELLAR_PHASE_NOW = 1,    /* now                                                               */
    CELLAR_PHASE_ALIGNED = 2 /* at the next multiple of the interval on the wall clock            */
} cellar_phase;

/* What a call does when a schedule of its name exists. */
typedef enum cellar_schedule_conflict {
    CELLAR_CONFLICT_REPLACE = 0, /* replaces the present schedule                                 */
    CELLAR_CONFLICT_KEEP = 1,    /* keeps the present schedule; the call returns EXISTS           */
    CELLAR_CONFLICT_ERROR = 2    /* keeps the present schedule; the call returns E_BUSY           */
} cellar_schedule_conflict;

/* What a schedule runs, and when, for cellar_schedule_add. Start from
 * cellar_schedule_spec_default(). Exactly one of interval_ms, cron and at_wall_ms is set. Texts and
 * cron_opts are copied. */
typedef struct cellar_schedule_spec {
    size_t   struct_size;    /* set by cellar_schedule_spec_default()                             */
    const char *task;        /* name of a task of the pool: the job. Required                     */
    const void *payload;     /* payload of each run                                               */
    size_t   payload_len;    /* bytes of `payload`. Default 0                                     */
    cellar_payload_free_fn free_fn; /* takes the payload over; called once, after the schedule    */
                             /* and its last run ended, with no lock held. Default NULL: the      */
                             /* payload is copied                                                 */
    void    *free_ctx;       /* given to free_fn                                                  */
    int64_t  interval_ms;    /* runs at this interval. Range 1..31,622,400,000 ms (366 days). 0:  */
                             /* not this                                                          */
    const char *cron;        /* runs at the times of this expression; "@every 90s" is an interval.*/
                             /* NULL: not this                                                    */
    const char *zone;        /* time zone of the expression, as of cellar_cron_next.              */
                             /* Default NULL: UTC                                                 */
    int64_t  at_wall_ms;     /* runs once, at this instant in UNIX ms, or now if it has passed;   */
                             /* the schedule ends with the run. Range 1..253,402,300,799,999 (the */
                             /* end of the year 9999). 0: not this                                */
    int64_t  misfire_grace_ms; /* a firing that is later does not run; its wait for a thread does */
                             /* not count. Range 1..2^63 - 1 ms. Default 0: no limit              */
    int64_t  jitter_ms;      /* delays each firing by hash(name, due) up to it; never up to the   */
                             /* next firing. Range 1..31,622,400,000 ms (366 days). Default 0:    */
                             /* none                                                              */
    const cellar_cron_opts *cron_opts; /* options of the expression. Default NULL: its defaults   */
    cellar_coalesce coalesce; /* which of several missed firings run. Default LATEST              */
    cellar_overlap  overlap;  /* what a firing does past max_running. Default SKIP                */
    cellar_phase    phase;    /* when an interval begins. Default HASH                            */
    cellar_schedule_conflict conflict; /* what the call does if the name is there. Default REPLACE*/
    uint32_t max_running;    /* runs at the same time. Range 1..CELLAR_SCHEDULE_RUNS_MAX.         */
                             /* Default 1                                                         */
    uint32_t paused;         /* 1: the schedule begins paused. Default 0                          */
    uint32_t catch_up_on_start; /* 1: the schedule continues from its last due time in the        */
                             /* journal of the pool, see CATCH-UP; max_running 1. Default 0       */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_schedule_spec;
CELLAR_STRUCT(cellar_schedule_spec, reserved0);

/* Description of a schedule, for the function of cellar_schedule_list. Times are UNIX ms. */
typedef struct cellar_schedule_info {
    size_t   struct_size;    /* set by the library                                                */
    const char *name;        /* valid until the function returns, as is error                     */
    const char *error;       /* error text of the last run that failed; "": none                  */
    int64_t  interval_ms;    /* interval in ms; 0: the schedule has none                          */
    int64_t  next_wall_ms;   /* next firing, without jitter; INT64_MAX: none, or paused           */
    int64_t  last_wall_ms;   /* due time of the last run that began; INT64_MIN: none              */
    uint64_t runs;           /* runs that began                                                   */
    uint64_t missed;         /* firings that another run stood for                                */
    uint64_t skipped;        /* firings that did not run: overlap, misfire_grace_ms, pause        */
    uint64_t failed;         /* runs that failed                                                  */
    cellar_schedule_kind kind; /* interval, cron expression or instant                            */
    uint32_t running;        /* runs that have not ended                                          */
    uint32_t paused;         /* 1: paused                                                         */
    uint32_t reserved0;      /* 0                                                                 */
} cellar_schedule_info;
CELLAR_STRUCT(cellar_schedule_info, reserved0);

/* Receive one schedule of cellar_schedule_list.
 * in:      info: valid until the function returns; ctx of the list
 * returns: true: continue; false: end the list
 * owns:    nothing is kept after the list has returned
 * thread:  the caller of the list, with no lock held. The function may block, and may call every
 *          function of the pool, except its close. The function must not end its thread
 * cost:    the list waits for it                                                                 */
typedef bool (*cellar_schedule_list_fn)(const cellar_schedule_info *info, void *ctx);

/* ---- Schedules ------------------------------------------------------------------------------ */

/* Add a schedule: from now on its task runs at the times of the spec. If the schedule replaces
 * one with the same times, zone and phase, it keeps the instants of that one: a program may add its
 * schedules again at any time. Runs of the old schedule that have not begun move to the new one;
 * those that have begun count for its max_running, and are not tried again. A schedule with
 * at_wall_ms fires again if its run waited for an attempt. After the end of the run, the call
 * begins a new one, which runs again unless misfire_grace_ms or catch_up_on_start makes that
 * E_NEVER.
 * in:      name of 1..CELLAR_NAME_MAX bytes; spec from cellar_schedule_spec_default
 * returns: OK;
 *          EXISTS (the name has a schedule, and conflict is KEEP), E_BUSY (the same, and conflict
 *          is ERROR);
 *          E_NEVER (the expression matches no date; at_wall_ms passed more than misfire_grace_ms
 *          ago; with catch_up_on_start: its run has ended);
 *          E_TOOBIG (the expression is over CELLAR_CRON_MAX bytes, the payload over queue_bytes),
 *          E_NOT_FOUND (the time zone is unknown, or the task not registered), E_CORRUPT (the zone
 *          file is damaged);
 *          E_RANGE (at_wall_ms is negative or after the year 9999), E_INVAL (also: the expression;
 *          cellar_last_error of NULL names its column), E_LIMIT (max_rows is reached),
 *          E_CLOSED (the pool is drained), E_NOMEM;
 *          E_UNSUPPORTED (also: catch_up_on_start without a journal);
 *          E_SPACE, E_IO: the disk of the journal failed: try again.
 *          With any code but OK nothing is added
 * owns:    OK: a payload with free_fn belongs to the schedule. Else it stays that of the caller,
 *          and free_fn is not called
 * thread:  any, also a job; with catch_up_on_start, calls that add one name must not overlap
 * cost:    two allocations, one short lock; the first schedule of a zone reads its file; with a
 *          journal one commit
 * example:
 *     cellar_schedule_spec poll = cellar_schedule_spec_default();
 *     poll.task = "poll";
 *     poll.interval_ms = 30000;
 *     cellar_schedule_add(p, "poll", &poll);                                                     */
CELLAR_API cellar_err cellar_schedule_add(cellar_pool *p, const char *name,
                                          const cellar_schedule_spec *spec);

/* Remove a schedule. An attempt that has begun ends normally; the call does not wait for
 * it.
 * in:      name of a schedule; a row of it in the journal ends also without a schedule
 * returns: OK; E_NOT_FOUND (no schedule has this name: also after its only run);
 *          E_SPACE, E_IO: the disk of the journal failed, and nothing changed
 * owns:    free_fn runs before the return, or after the last run
 * thread:  any, also a job
 * cost:    one short lock; runs free_fn; with a journal one commit
 * example: cellar_schedule_remove(p, "poll");                                                    */
CELLAR_API cellar_err cellar_schedule_remove(cellar_pool *p, const char *name);

/* Pause or resume a schedule. While it is paused, only cellar_schedule_trigger begins a run. After
 * a resume the firings of the pause are neither run nor counted. An instant that passed fires now,
 * also one with a run that the pause ended.
 * in:      name of a schedule; pause true: pause, false: resume
 * returns: OK (also if nothing changed); E_NOT_FOUND (no schedule has this name)
 * owns:    nothing changes; attempts that have begun end normally, and no other one follows
 * thread:  any, also a job
 * cost:    one short lock; a resume with catch_up_on_start: one commit
 * example: cellar_schedule_pause(p, "poll", true);                                               */
CELLAR_API cellar_err cellar_schedule_pause(cellar_pool *p, const char *name, bool pause);

/* Run a schedule now, in addition to its firings, also while it is paused.
 * in:      name of a schedule
 * returns: OK (the run is queued); E_BUSY (max_running runs have not ended: nothing is queued),
 *          E_NOT_FOUND (no schedule has this name), E_CLOSED (the pool is drained)
 * thread:  any, also a job; the run begins on a worker of the pool, or in a later tick
 * cost:    one short lock
 * example: cellar_schedule_trigger(p, "nightly");                                                */
CELLAR_API cellar_err cellar_schedule_trigger(cellar_pool *p, const char *name);

/* Compute the next firings of a schedule, as if it were not paused.
 * in:      name of a schedule; count: room of out
 * out:     out: due times without jitter in rising order, UNIX ms; *found: their number
 * returns: OK (also with fewer than count); E_NOT_FOUND (no schedule has this name)
 * thread:  any, also a job
 * cost:    O(count), under 1 us each
 * example:
 *     int64_t next[5];
 *     size_t n;
 *     cellar_schedule_next(p, "nightly", next, 5, &n);                                           */
CELLAR_API cellar_err cellar_schedule_next(cellar_pool *p, const char *name, int64_t *out,
                                           size_t count, size_t *found);

/* Call a function for each schedule, in order of creation. Schedules that come or go meanwhile may
 * be in the list or not.
 * in:      fn: see cellar_schedule_list_fn;
 *          ctx: given to fn
 * returns: OK, also when fn ended the list
 * owns:    fn and ctx are not used after the return
 * thread:  any, also a job; fn runs on it with no lock held
 * cost:    O(schedules)
 * example: cellar_schedule_list(p, print_schedule, stdout);                                      */
CELLAR_API cellar_err cellar_schedule_list(cellar_pool *p, cellar_schedule_list_fn fn, void *ctx);

/* CRON EXPRESSIONS
 *     expr  = ["CRON_TZ=" zone] ( 5 fields | 6 fields, seconds first ) | @yearly @annually @monthly
 *             @weekly @daily @midnight @hourly | @every DUR        DUR: 90s, 1h30m, 2d; from 1s
 *     field = item {"," item}, at most 64
 *     item  = "*" ["/" n] | "?" | a ["-" b] ["/" n] | "H" ["(" a "-" b ")"] ["/" n]
 *     seconds, minutes 0-59   hours 0-23   day of month 1-31, L, L-n, nW, LW   month 1-12, JAN-DEC
 *     weekday 0-7 (0 and 7: Sunday), SUN-SAT, d#1 to d#5, dL
 *   Letters have no case. a/n counts from a to the end of the field. ? is * in the two day fields.
 *   L: last day; L-n: n days before it; nW: weekday (Monday to Friday) nearest to day n in the same
 *   month; LW: the last one; d#n: nth weekday d of the month; dL: the last one. H: a value, or with
 *   /n an offset, that the name chooses: the same in every process.
 *   Day rule: a day field that begins with * or ? does not restrict. If both restrict, a day
 *   matches by either of them (option day_and: by both).
 *
 * CLOCK CHANGES
 *   Daylight saving, for changes up to 3 hours. A job with a minute or hour field that begins with
 *   * follows the clock: an hour that occurs twice counts twice, a skipped hour not at all. Any
 *   other job has fixed times: option gap says what a skipped time does, option fold what a time
 *   does that occurs twice. A larger change of the zone is a correction: the expression continues
 *   on the new clock.
 *
 * CLOCK STEPS
 *   The pool sees a step of the wall clock within 0.5 s, or by the next tick. After a step of
 *   up to 3 hours, fixed times that were jumped over fire once, and no fixed time fires twice. Jobs
 *   that follow the clock, and all jobs after a larger step, continue on the new clock. Intervals
 *   run as before; their due times in UNIX milliseconds move with the clock.
 *
 * CATCH-UP
 *   With catch_up_on_start the journal of the pool keeps the last due time that is settled: that
 *   ran, was skipped, or that another run stood for. The call that adds a schedule of the same
 *   name, time and zone continues from it. What the process missed runs by misfire_grace_ms,
 *   coalesce and overlap, at most 366 days back. phase counts for a new schedule only. An instant
 *   that ran is E_NEVER.
 *
 *   Another interval, expression, zone or option of the expression begins a new schedule: nothing
 *   is caught up. So does a due time in the future: of an interval, or by more than 3 hours. A call
 *   that adds the name without the option, and cellar_schedule_remove, delete the due time. The
 *   pause of a schedule is not kept: after a restart its firings count as missed.
 *
 *   The due time is written when the run ends: by the worker, by the caller of cellar_task_settle,
 *   and after a time-out by the thread of the timers or a tick. If the process ends before, the
 *   firing runs again at the start: its function must be idempotent. So does a firing that a drain
 *   dropped. If a write fails, the end of the next run writes again. Calls that add one name must
 *   not overlap.
 *
 * RESTRICTIONS
 *   See RESTRICTIONS of cellar_task.h. In the child of a fork the cron calls work. */

#ifdef __cplusplus
}
#endif

#endif
