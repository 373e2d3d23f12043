/* SPDX-License-Identifier: MIT
 *
 * jobs: 100,000 tasks of which every tenth fails once, a schedule over a change of the clocks, a
 * batch with one bad item.
 *
 * PICTURE    100,000 tasks on 4 threads, 10,000 fail once  -> 110,000 attempts, each task succeeds
 *            02:30 each day, Europe/Berlin, 29 March 2026  -> 02:30, 03:00 (no 02:30), 02:30
 *            64 items in one batch, item 40 is refused     -> halves, down to the one bad item
 * LOCKING    done[i] is atomic; counts of the batch belong to its one worker.
 * LIMITS     some 200 ms. Without tzdata the schedule is left out. */
#include "cli/jobs.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_batch.h"
#include "cellar_schedule.h"
#include "cellar_task.h"
#include "cli/cli.h"
#include "cli/walk.h"

#define JOBS_TASKS 100000u
#define JOBS_THREADS 4u
#define JOBS_ITEMS 64u
#define JOBS_BAD 40u
#define JOBS_AFTER_MS INT64_C(1774612800000) /* 27 March 2026, 12:00 UTC */

/* ---- tasks ---- */

typedef struct jobs_tasks {
    _Atomic unsigned char *done; /* one for each task: times that it succeeded */
} jobs_tasks;

static cellar_verdict jobs_task(const cellar_task *t, void *ctx)
{
    jobs_tasks *tasks = ctx;
    uint32_t i;
    memcpy(&i, t->payload, sizeof i);
    if (i % 10 == 0 && t->attempt == 1) { return cellar_verdict_retry(); }
    atomic_fetch_add(&tasks->done[i], 1);
    return cellar_verdict_ok();
}

static bool jobs_submit_all(cellar_pool *p, jobs_tasks *tasks, jobs_result *r)
{
    cellar_task_opts o = cellar_task_opts_default();
    cellar_pool_stats st = cellar_pool_stats_default();
    o.base_ms = 5;
    if (cellar_task_register(p, "tour", jobs_task, tasks, &o) != CELLAR_OK) { return false; }
    for (uint32_t i = 0; i < JOBS_TASKS; i++) {
        if (cellar_task_submit(p, "tour", &i, sizeof i, NULL, NULL) != CELLAR_OK) { return false; }
    }
    if (cellar_pool_drain(p, CELLAR_DRAIN_ALL, 10000, NULL) != CELLAR_OK ||
        cellar_pool_stats_get(p, NULL, &st) != CELLAR_OK) {
        return false;
    }
    r->attempts = st.started;
    r->succeeded = st.ok;
    for (uint32_t i = 0; i < JOBS_TASKS; i++) { r->once += atomic_load(&tasks->done[i]) == 1; }
    return true;
}

static bool jobs_tasks_run(jobs_result *r)
{
    cellar_pool_config cfg = cellar_pool_config_default();
    jobs_tasks tasks = { calloc(JOBS_TASKS, sizeof *tasks.done) };
    cellar_pool *p = NULL;
    cfg.workers = JOBS_THREADS;
    cfg.queue_cap = JOBS_TASKS;
    r->threads = JOBS_THREADS;
    r->tasks = JOBS_TASKS;
    r->faulty = JOBS_TASKS / 10;
    const bool fine = tasks.done != NULL && cellar_pool_open(&cfg, &p) == CELLAR_OK &&
                      jobs_submit_all(p, &tasks, r);
    (void)cellar_pool_close(p);
    free(tasks.done);
    return fine;
}

/* ---- batch ---- */

static cellar_err jobs_flush(const cellar_batch *b, void *ctx)
{
    jobs_result *r = ctx;
    r->calls++;
    for (size_t k = 0; k < b->item_count; k++) {
        uint32_t i;
        memcpy(&i, b->items[k].data, sizeof i);
        if (i == JOBS_BAD) { return CELLAR_E_INVAL; }
    }
    return CELLAR_OK;
}

static void jobs_done(const cellar_batch_result *result, void *ctx)
{
    jobs_result *r = ctx;
    *(result->verdict == CELLAR_BATCH_OK ? &r->ok : &r->failed) += 1;
}

static bool jobs_batch_run(jobs_result *r)
{
    cellar_batcher_config cfg = cellar_batcher_config_default();
    cellar_batch_add_opts o = cellar_batch_add_opts_default();
    cellar_batcher *b;
    cfg.workers = 1;
    cfg.max_items = JOBS_ITEMS; /* its flush is the first one, however slow the machine is */
    cfg.linger_ms = 60000;
    cfg.on_failure = CELLAR_BATCH_BISECT;
    o.done = jobs_done;
    o.done_ctx = r;
    r->items = JOBS_ITEMS;
    if (cellar_batcher_open(&cfg, jobs_flush, r, &b) != CELLAR_OK) { return false; }
    bool fine = true;
    for (uint32_t i = 0; i < JOBS_ITEMS; i++) {
        fine = cellar_batch_add(b, NULL, &i, sizeof i, &o) == CELLAR_OK && fine;
    }
    return cellar_batcher_close(b, NULL) == CELLAR_OK && fine;
}

/* ---- all ---- */

bool jobs_run(jobs_result *r)
{
    memset(r, 0, sizeof *r);
    const uint64_t start_ns = cli_clock_ns();
    bool fine = jobs_tasks_run(r);
    r->task_ns = cli_clock_ns() - start_ns;
    fine = jobs_batch_run(r) && fine;
    r->batch_ns = cli_clock_ns() - start_ns - r->task_ns;
    size_t found = 0;
    const cellar_err err = cellar_cron_next("30 2 * * *", "Europe/Berlin", NULL, JOBS_AFTER_MS,
                                            r->firing_ms, JOBS_FIRINGS, &found);
    r->firings = err == CELLAR_OK ? found : 0;
    return fine && err != CELLAR_E_NOMEM;
}
