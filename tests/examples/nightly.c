/* SPDX-License-Identifier: MIT
 *
 * nightly: a report each night at half past two. Its schedule submits a task. A task that fails is
 * tried again in another thread, with pauses of a minute to an hour; the last failure is an alarm.
 * The journal keeps the task over the end of the process and a power cut. If the program does not
 * run at half past two, it makes the report at its next start. The bytes of the report are on disk
 * before the journal says that the task is done. To keep its name over a power cut, sync the folder
 * as well.
 *
 *     cc -O2 nightly.c -lcellar -pthread          with the library of make SQLITE=1
 *     drop-in: cc -O2 -DCELLAR_WITH_SQLITE=1 nightly.c dist/cellar_all.c -Idist -Idist/include \
 *              -lsqlite3 -pthread
 *     ./a.out JOURNAL REPORT [MS]                 MS: now as well, and the first pause */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cellar_schedule.h"
#include "cellar_task.h"

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(NULL, &e); /* of the open, register or add that failed */
    fprintf(stderr, "%s: %s\n", what, e.text);
    exit(1);
}

/* A crash may repeat it: the journal promises at least one run. */
static cellar_verdict report(const cellar_task *t, void *path)
{
    char fresh[4096]; /* a failure leaves the last report in place */
    snprintf(fresh, sizeof fresh, "%s.new", (const char *)path);
    FILE *const out = fopen(fresh, "w"); /* a program queries and writes here */
    const int written = out != NULL && fprintf(out, "attempt %d\n", (int)t->attempt) > 0 &&
        fflush(out) == 0 && fsync(fileno(out)) == 0; /* before the journal says that it is done */
    if (out != NULL && fclose(out) == 0 && written && rename(fresh, path) == 0) {
        return cellar_verdict_ok();
    }
    const char *const next = t->attempt < t->max_attempts ? "later again" : "ALARM: the last one";
    fprintf(stderr, "report: attempt %d failed, %s\n", (int)t->attempt, next);
    return cellar_verdict_retry();
}

static void submit(const cellar_firing *firing, void *pool)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    o.unique_key = firing->name, o.firing = firing; /* EXISTS: the last one still waits */
    const cellar_err err = cellar_task_submit(pool, firing->name, NULL, 0, &o, NULL);
    if (err < 0) { fprintf(stderr, "ALARM: %s: %s\n", firing->name, cellar_strerror(err)); }
}

int main(int argc, char **argv)
{
    cellar_pool_config tasks = cellar_pool_config_default();
    cellar_scheduler_config times = cellar_scheduler_config_default();
    cellar_task_opts retry = cellar_task_opts_default();
    cellar_schedule_spec night = cellar_schedule_spec_default();
    cellar_scheduler *s;
    sigset_t ends;
    int number;
    if (argc < 3) { return fputs("usage: nightly JOURNAL REPORT [MS]\n", stderr), 2; }
    sigemptyset(&ends), sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before any thread starts */
    tasks.journal_path = argv[1], tasks.journal_level = CELLAR_JOURNAL_SYNC;
    if (cellar_pool_open(&tasks, &times.pool) != CELLAR_OK) { die("pool"); }
    if (cellar_scheduler_open(&times, &s) != CELLAR_OK) { die("scheduler"); }
    retry.base_ms = argc > 3 ? atoll(argv[3]) : 60000, retry.cap_ms = 3600000;
    retry.max_attempts = 8, retry.jitter = CELLAR_TASK_JITTER_EQUAL; /* in one to two hours */
    night.cron = "30 2 * * *", night.zone = "UTC"; /* or "Europe/Berlin", also as clocks change */
    night.fn = submit, night.ctx = times.pool, night.catch_up_on_start = 1;
    if (cellar_task_register(times.pool, "report", report, argv[2], &retry)) { die("report"); }
    if (cellar_schedule_add(s, "report", &night) != CELLAR_OK) { die("schedule"); }
    if (argc > 3 && cellar_schedule_trigger(s, "report") != CELLAR_OK) { die("trigger"); }
    sigwait(&ends, &number);
    while (cellar_scheduler_close(s) == CELLAR_E_BUSY) {} /* submit still uses the pool */
    return cellar_pool_close(times.pool) == CELLAR_OK ? 0 : 1; /* what waits is in the journal */
}
