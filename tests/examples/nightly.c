/* SPDX-License-Identifier: MIT
 *
 * nightly: a report each night at half past two. Its schedule submits a task. A task that fails is
 * tried again, in another thread and later; one that still waits is not submitted twice. With
 * journal_path tasks survive the process, with catch_up_on_start a night without it as well.
 *
 *     cc -O2 nightly.c -lcellar -pthread;   ./a.out, or ./a.out report to run it now as well */
#include <signal.h>
#include <stdio.h>

#include "cellar_schedule.h"
#include "cellar_task.h"

static cellar_verdict report(const cellar_task *t, void *ctx)
{
    (void)ctx;
    if (t->attempt == 1) { return cellar_verdict_retry(); } /* here: the database is busy */
    printf("report, attempt %d\n", (int)t->attempt);
    fflush(stdout);
    return cellar_verdict_ok();
}

static void submit(const cellar_firing *firing, void *pool)
{
    cellar_submit_opts o = cellar_submit_opts_default();
    o.unique_key = firing->name;
    const cellar_err err = cellar_task_submit(pool, firing->name, NULL, 0, &o, NULL);
    if (err < 0) { fprintf(stderr, "%s: %s\n", firing->name, cellar_strerror(err)); }
}

static int add_all(cellar_scheduler *s, cellar_pool *pool)
{
    cellar_task_opts retry = cellar_task_opts_default();
    cellar_schedule_spec night = cellar_schedule_spec_default();
    retry.base_ms = 50; /* then 100, 200, .. */
    retry.max_attempts = 5;
    night.cron = "30 2 * * *";
    night.zone = "UTC"; /* or "Europe/Berlin": also in the night in which the clocks change */
    night.fn = submit;
    night.ctx = pool;
    return cellar_task_register(pool, "report", report, NULL, &retry) == CELLAR_OK &&
           cellar_schedule_add(s, "report", &night) == CELLAR_OK;
}

int main(int argc, char **argv)
{
    sigset_t ends;
    int signal_number;
    cellar_pool *pool;
    cellar_scheduler *s;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before any thread starts */
    if (cellar_pool_open(NULL, &pool) != CELLAR_OK || cellar_scheduler_open(NULL, &s) != CELLAR_OK ||
        !add_all(s, pool)) { return 1; }
    if (argc > 1 && cellar_schedule_trigger(s, argv[1]) != CELLAR_OK) { return 1; }
    sigwait(&ends, &signal_number);
    while (cellar_scheduler_close(s) == CELLAR_E_BUSY) {} /* submit still uses the pool */
    return cellar_pool_close(pool) == CELLAR_OK ? 0 : 1;
}
