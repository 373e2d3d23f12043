/* SPDX-License-Identifier: MIT
 *
 * open: open, tick, close and fork a scheduler.
 *
 * WALK       tick: see ticker.h
 *            close: no run begins -> wait for those that run -> join both kinds of threads -> free
 * COMPLETION Each run gives its place back: after its function, from the cleanup handler of a
 *            thread that ends inside it, or without having begun. The close waits for `running`;
 *            a worker between the queue and `running` is waited for by the join.
 * FORK       The child has no thread. It can only free the scheduler. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define SCHED_COUNT_DEFAULT 4096u
#define SCHED_COUNT_MAX 65536u
#define SCHED_WORKERS_DEFAULT 4u
#define SCHED_WORKERS_MAX 64u
#define SCHED_CLOSE_DEFAULT_MS 5000

/* Return whether this thread runs a job of the scheduler. */
static bool sched_is_mine(cellar_scheduler *s) SYNC_HOLDS(WHEEL)
{
    const int32_t tid = base_thread_id();
    sched_entry *e = s->all;
    for (bool first = true; e != NULL && (first || e != s->all); e = e->next, first = false) {
        for (uint32_t i = 0; i < e->run_count; i++) {
            if (e->run[i].state == SCHED_RUNNING && e->run[i].tid == tid) { return true; }
        }
    }
    return false;
}

/* ---- fork ---- */

static void sched_fork_prepare(void *ctx) SYNC_UNCHECKED
{
    cellar_scheduler *s = ctx;
    sync_take(QUEUE, &s->ticker.pool.lock);
    sync_take(WHEEL, &s->lock);
    sync_take(LOG, &s->log.lock);
    s->fork_in_job = sched_is_mine(s);
}

static void sched_fork_parent(void *ctx) SYNC_UNCHECKED
{
    cellar_scheduler *s = ctx;
    sync_drop(LOG, &s->log.lock);
    sync_drop(WHEEL, &s->lock);
    sync_drop(QUEUE, &s->ticker.pool.lock);
}

static void sched_fork_child(void *ctx)
{
    cellar_scheduler *s = ctx;
    sync_reset(&s->log.lock);
    sync_reset(&s->lock);
    base_pool_fork_child(&s->ticker.pool);
    s->forked = true;
}

/* ---- the tick ---- */

static cellar_err sched_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar_scheduler *s = object;
    return s->forked ? CELLAR_E_FORKED : work_ticker_step(&s->ticker, budget_us, wait_ms);
}

STATS_SERVICE(sched_service, sched_tick, sched_figures, cellar_scheduler_stats, 0, "scheduler",
              STATS_SCHEDULERS, NULL)

/* ---- open ---- */

static cellar_err sched_open_fail(cellar_err code, const char *why)
{
    return base_open_fail(code, 0, "cellar_scheduler_open: %s", why);
}

/* Copy and check the options of the caller. */
static cellar_err sched_config_in(const cellar_scheduler_config *cfg, cellar_scheduler_config *out,
                                  cellar_host_opts *host)
{
    const char *why;
    *out = cellar_scheduler_config_default();
    cellar_err err = base_open_opts(out, sizeof *out, cfg, "cellar_scheduler_open",
                                    "cellar_scheduler_config");
    if (err == CELLAR_OK) {
        err = base_host_in(host, out->host, "cellar_scheduler_open", "scheduler");
    }
    if (err != CELLAR_OK) { return err; }
    if (out->max_schedules == 0) { out->max_schedules = SCHED_COUNT_DEFAULT; }
    if (out->workers == 0) { out->workers = SCHED_WORKERS_DEFAULT; }
    if (out->close_timeout_ms == 0) { out->close_timeout_ms = SCHED_CLOSE_DEFAULT_MS; }
    if (base_broken(out->max_schedules > SCHED_COUNT_MAX, "max_schedules must be at most 65,536",
                    &why) ||
        base_broken(out->workers > SCHED_WORKERS_MAX, "workers must be at most 64", &why) ||
        base_broken(out->close_timeout_ms < 0, "close_timeout_ms must not be negative", &why)) {
        return sched_open_fail(CELLAR_E_INVAL, why);
    }
    return CELLAR_OK;
}

static void sched_init(cellar_scheduler *s, const cellar_scheduler_config *cfg,
                       const cellar_host_opts *host)
{
    base_host_init(host, &s->account, &s->clock, &s->log);
    s->wall_clock = cfg->wall_clock;
    s->ticker = (work_ticker){ .fire = sched_fire, .no_threads = host->no_threads != 0 };
    s->ticker.pool = (base_pool){ .run = sched_run_job, .ctx = s, .name = "cellar-work",
                                  .account = &s->account, .max_jobs = UINT32_MAX,
                                  .stack_bytes = host->stack_bytes,
                                  .max_workers = host->no_threads != 0 ? 0 : cfg->workers };
    s->max_schedules = cfg->max_schedules;
    s->close_ms = cfg->close_timeout_ms;
    s->tasks = cfg->pool != NULL && cfg->pool->journal != NULL ? cfg->pool : NULL;
    memcpy(s->name, host->name, strlen(host->name));
    const sched_time now = sched_now(s);
    s->offset_ms = now.wall_ms - now.mono_ms;
    wheel_init(&s->mono, now.mono_ms);
    wheel_init(&s->wall, now.wall_ms);
}

CELLAR_API cellar_err cellar_scheduler_open(const cellar_scheduler_config *cfg,
                                            cellar_scheduler **out)
{
    if (out == NULL) { return sched_open_fail(CELLAR_E_INVAL, "out must not be NULL"); }
    *out = NULL;
    cellar_scheduler_config full;
    cellar_host_opts host;
    const char *why = "no memory for the scheduler";
    const cellar_err err = sched_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    const base_alloc_hooks hooks = base_host_hooks(&host);
    void *raw = base_alloc_raw(&hooks, SCHED_BYTES);
    if (raw == NULL) { goto out; }
    cellar_scheduler *s = (void *)(uintptr_t)base_round_up((uintptr_t)raw, BASE_PAD);
    memset(s, 0, sizeof *s);
    s->kind = &sched_service.kind;
    s->raw = raw;
    sched_init(s, &full, &host);
    s->fork = (base_fork_node){ .prepare = sched_fork_prepare, .parent = sched_fork_parent,
                                .child = sched_fork_child, .ctx = s };
    why = "no memory for the fork handlers";
    if (!base_fork_register(&s->fork)) { goto drop_raw; }
    why = work_ticker_start(&s->ticker, "cellar-sched");
    if (why != NULL) { goto drop_ticker; }
    *out = s;
    return CELLAR_OK;
drop_ticker:
    (void)base_pool_join(&s->ticker.pool);
    base_fork_unregister(&s->fork);
drop_raw:
    base_free_raw(&hooks, raw, SCHED_BYTES);
out:
    return sched_open_fail(CELLAR_E_NOMEM, why);
}

/* ---- close ---- */

static void sched_closing(cellar_scheduler *s, bool closing)
{
    sync_take(WHEEL, &s->lock);
    s->closing = closing;
    sync_drop(WHEEL, &s->lock);
    base_pool_stop(&s->ticker.pool, closing);
    sched_ring(s);
}

/* Wait until no job runs. False: one still ran after close_timeout_ms. */
static bool sched_wait_idle(cellar_scheduler *s)
{
    const uint64_t ms = (uint64_t)BASE_MIN(s->close_ms, INT64_MAX / 4000000);
    const uint64_t until_ns = base_now_ns() + ms * 1000000u;
    for (uint32_t n; (n = base_load_acq(&s->running)) != 0;) {
        if (base_now_ns() >= until_ns) { return false; }
        (void)sync_wait(&s->running, n, until_ns);
    }
    return true;
}

/* Free every schedule. In a child that includes those with runs of lost threads. */
static void sched_free_all(cellar_scheduler *s) SYNC_UNCHECKED
{
    base_account *base_table_account = &s->account;
    const base_module base_table_module = BASE_MOD_STORE;
    HASH_CLEAR(hh, s->table);
    sched_entry *e = s->all;
    if (e != NULL) { e->prev->next = NULL; }
    while (e != NULL) {
        sched_entry *next = e->next;
        sched_free(e, true);
        e = next;
    }
}

CELLAR_API cellar_err cellar_scheduler_close(cellar_scheduler *s)
{
    if (s == NULL) { return CELLAR_OK; }
    sync_take(WHEEL, &s->lock);
    const bool mine = s->forked ? s->fork_in_job : sched_is_mine(s);
    sync_drop(WHEEL, &s->lock);
    if (mine) { return CELLAR_E_DEADLOCK; }
    if (!s->forked) {
        sched_closing(s, true);
        if (!sched_wait_idle(s)) {
            sched_closing(s, false);
            return CELLAR_E_BUSY;
        }
        work_ticker_end(&s->ticker);
    }
    for (base_job *j = base_pool_join(&s->ticker.pool); j != NULL;) {
        base_job *next = j->next;
        if (!s->forked) { sched_discard(j); }
        j = next;
    }
    base_fork_unregister(&s->fork);
    sched_free_all(s);
    BASE_ASSERT(s->forked || base_load_rlx(&s->account.used) == 0); /* lost threads may hold some */
    const base_alloc_hooks hooks = s->account.hooks;
    base_free_raw(&hooks, s->raw, SCHED_BYTES);
    return CELLAR_OK;
}

BASE_SIZE_END
