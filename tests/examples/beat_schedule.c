/* SPDX-License-Identifier: MIT
 *
 * beat_schedule: four periodic jobs, each firing of which submits a task, as Celery beat does. The
 * program passes a week around each change of the clocks in three zones.
 *
 *     cc -O2 beat_schedule.c -lcellar -pthread
 *     drop-in: cc beat_schedule.c dist/cellar_all.c -Idist -Idist/include -pthread */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_schedule.h"
#include "cellar_task.h"

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

/* ---- what an application writes ---- */

typedef struct beat_job {
    const char *task, *cron; /* cron NULL: every 30 s */
} beat_job;

static const beat_job beat_schedule[] = {
    { "tasks.cleanup_expired_sessions", "0 2 * * *" }, /* daily at 02:00 */
    { "tasks.send_daily_reports", "0 9 * * *" },       /* daily at 09:00 */
    { "tasks.backup_database", "0 3 * * 1" },          /* on Mondays at 03:00 */
    { "tasks.process_analytics", NULL }
};
enum { JOBS = sizeof beat_schedule / sizeof beat_schedule[0] };

static cellar_pool *pool;

/* Submit the task of a schedule, once for each due time. */
static void submit(const cellar_firing *firing, void *ctx)
{
    const beat_job *job = ctx;
    cellar_submit_opts o = cellar_submit_opts_default();
    char key[128];
    snprintf(key, sizeof key, "%s@%lld", job->task, (long long)firing->due_wall_ms);
    o.unique_key = key;
    cellar_task_submit(pool, job->task, &firing->due_wall_ms, sizeof firing->due_wall_ms, &o, NULL);
}

static int schedule_all(cellar_scheduler *s, const char *zone)
{
    int failures = 0;
    for (int i = 0; i < JOBS; i++) {
        cellar_schedule_spec spec = cellar_schedule_spec_default();
        spec.fn = submit;
        spec.ctx = (void *)(uintptr_t)&beat_schedule[i];
        spec.cron = beat_schedule[i].cron;
        spec.zone = zone;
        if (spec.cron == NULL) { spec.interval_ms = 30 * SECOND; }
        failures += cellar_schedule_add(s, beat_schedule[i].task, &spec) != CELLAR_OK;
    }
    return failures;
}

/* ---- the example checks itself ---- */

#define RUNS_MAX 16

static int passed, failed;
static int64_t now_ms; /* clocks that this example turns; programs leave them out */
static int64_t due[JOBS][RUNS_MAX]; /* of the cron jobs */
static int runs[JOBS], late;

static void check(int ok, const char *what, const char *zone)
{
    printf("%s - %s: %s\n", ok ? "ok" : "not ok", zone, what);
    *(ok ? &passed : &failed) += 1;
}

static int64_t clock_read(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static cellar_verdict note(const cellar_task *t, void *ctx)
{
    const int job = (int)((const beat_job *)ctx - beat_schedule);
    int64_t due_wall_ms;
    memcpy(&due_wall_ms, t->payload, sizeof due_wall_ms);
    late += due_wall_ms != now_ms;
    if (beat_schedule[job].cron != NULL && runs[job] < RUNS_MAX) {
        due[job][runs[job]] = due_wall_ms;
    }
    runs[job]++;
    return cellar_verdict_ok();
}

/* Let time pass in the steps in which something is due. */
static void pass_until(cellar_scheduler *s, int64_t end_ms)
{
    for (;;) {
        int64_t wait_ms;
        while (cellar_tick(s, 1000000, &wait_ms) == CELLAR_PENDING) { }
        while (cellar_tick(pool, 1000000, NULL) == CELLAR_PENDING) { }
        if (now_ms == end_ms) { return; }
        now_ms = wait_ms < end_ms - now_ms ? now_ms + wait_ms : end_ms;
    }
}

/* A Sunday on which the clocks change, in UNIX seconds; local times are seconds of that Sunday. */
typedef struct change {
    const char *zone, *name;
    int64_t midnight_s; /* its local midnight */
    int change_s;       /* by so much the clocks go forward; negative: back */
    int two_s;          /* real time from midnight to the run for 02:00 */
} change;

static const change changes[] = {
    { "Europe/Berlin", "31 March, 02:00 to 03:00", 1711839600, 3600, 7200 },
    { "Europe/Berlin", "27 October, 03:00 to 02:00", 1729980000, -3600, 7200 },
    { "America/New_York", "10 March, 02:00 to 03:00", 1710046800, 3600, 7200 },
    { "America/New_York", "3 November, 02:00 to 01:00", 1730606400, -3600, 10800 },
    { "Australia/Lord_Howe", "6 October, 02:00 to 02:30", 1728135000, 1800, 7200 },
    { "Australia/Lord_Howe", "7 April, 02:00 to 01:30", 1712408400, -1800, 9000 }
};

/* Return whether a daily job ran once a day at `hour`, from the Thursday on to the Wednesday. */
static int daily(const change *c, int job, int hour, int64_t sunday_s)
{
    int right = runs[job] == 7;
    for (int day = -3; day <= 3 && right; day++) {
        int64_t want = c->midnight_s + day * 86400 + hour * 3600;
        if (day > 0) { want -= c->change_s; }
        if (day == 0) { want = c->midnight_s + sunday_s; }
        right = due[job][day + 3] == want * SECOND;
    }
    return right;
}

static void check_week(const change *c)
{
    const int64_t monday_s = c->midnight_s + 86400 - c->change_s;
    check(daily(c, 0, 2, c->two_s), "the clean-up runs once a day, at 02:00 or after the gap",
          c->name);
    check(daily(c, 1, 9, 9 * 3600 - c->change_s), "the reports go out at 09:00 by the clock",
          c->name);
    check(runs[2] == 1 && due[2][0] == (monday_s + 3 * 3600) * SECOND,
          "the backup runs on Monday at 03:00", c->name);
    check(runs[3] == (7 * 86400 - c->change_s) / 30, "the analytics run each 30 s of real time",
          c->name);
    check(late == 0, "no task runs late", c->name);
}

static void pass_week(const change *c)
{
    const int64_t begin_ms = (c->midnight_s - 3 * 86400) * SECOND;
    cellar_host_config host = cellar_host_config_default();
    cellar_scheduler_config schedules = cellar_scheduler_config_default();
    cellar_pool_config tasks = cellar_pool_config_default();
    cellar_scheduler *s = NULL;
    host.clock = clock_read;
    host.no_threads = 1;
    schedules.host = tasks.host = &host;
    schedules.wall_clock = tasks.wall_clock = clock_read;
    now_ms = begin_ms;
    late = 0;
    memset(runs, 0, sizeof runs);
    int failures = cellar_scheduler_open(&schedules, &s) != CELLAR_OK;
    failures += cellar_pool_open(&tasks, &pool) != CELLAR_OK;
    for (int i = 0; i < JOBS; i++) {
        failures += cellar_task_register(pool, beat_schedule[i].task, note,
                                         (void *)(uintptr_t)&beat_schedule[i], NULL) != CELLAR_OK;
    }
    failures += schedule_all(s, c->zone);
    printf("# %s 2024, %s\n", c->zone, c->name);
    check(failures == 0, "four schedules and four tasks", c->name);
    if (failures == 0) {
        pass_until(s, begin_ms + 7 * DAY - c->change_s * SECOND - 1);
        check_week(c);
    }
    cellar_scheduler_close(s);
    cellar_pool_close(pool);
}

int main(void)
{
    char zones[PATH_MAX];
    if (realpath("tests/data/zoneinfo", zones) != NULL) { setenv("TZDIR", zones, 0); }
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) { pass_week(&changes[i]); }
    printf("beat_schedule: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
