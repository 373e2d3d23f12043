/* SPDX-License-Identifier: MIT
 *
 * open: open, tick and close a scheduler.
 *
 * WALK       tick: see ticker.h
 *            close: no run begins -> wait for those that run -> join both kinds of threads -> free
 * COMPLETION Each run gives its place back: after its function, from the cleanup handler of a
 *            thread that ends inside it, or without having begun. The close waits for `running`;
 *            a worker between the queue and `running` is waited for by the join. */

#include "base/open_error.h"
#include "base/service.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define SCHED_OPEN "cellar_scheduler_open"

/* Return whether this thread runs a job of the scheduler. */
static bool sched_is_mine(const void *scheduler) SYNC_HOLDS(WHEEL)
{
    const cellar_scheduler *s = scheduler;
    const int32_t tid = base_thread_id();
    const sched_entry *e = s->all;
    for (bool first = true; e != NULL && (first || e != s->all); e = e->next, first = false) {
        for (uint32_t i = 0; i < e->run_count; i++) {
            if (e->run[i].state == SCHED_RUNNING && e->run[i].tid == tid) { return true; }
        }
    }
    return false;
}

/* ---- the tick ---- */

WORK_TICKS(cellar_scheduler);
STATS_SERVICE(sched_service, work_tick, sched_figures, cellar_scheduler_stats, 0, "scheduler",
              STATS_SCHEDULERS, NULL)

/* ---- open ---- */

static const base_number sched_numbers[] = {
    BASE_NUMBER(cellar_scheduler_config, max_schedules, 4096, 0, 65536,
                "max_schedules must be at most 65,536"),
    BASE_NUMBER(cellar_scheduler_config, workers, 4, 0, 64, "workers must be at most 64"),
    BASE_NUMBER(cellar_scheduler_config, close_timeout_ms, 5000, 0, INT64_MAX,
                "close_timeout_ms must not be negative"),
};

static void sched_init(cellar_scheduler *s, const cellar_scheduler_config *cfg)
{
    s->obj.wall_clock = cfg->wall_clock;
    s->ticker = (work_ticker){ .object = &s->obj, .lock = &s->lock, .fire = sched_fire,
                               .is_mine = sched_is_mine,
                               .pool = { .run = sched_run_job, .name = "cellar-work" } };
    s->max_schedules = cfg->max_schedules;
    s->close_ms = cfg->close_timeout_ms;
    s->tasks = cfg->pool != NULL && cfg->pool->journal != NULL ? cfg->pool : NULL;
    const work_time now = work_now(&s->obj);
    s->offset_ms = now.wall_ms - now.mono_ms;
    wheel_init(&s->mono, now.mono_ms);
    wheel_init(&s->wall, now.wall_ms);
}

CELLAR_API cellar_err cellar_scheduler_open(const cellar_scheduler_config *cfg,
                                            cellar_scheduler **out)
{
    if (out == NULL) { return base_refuse(CELLAR_E_INVAL, SCHED_OPEN, "out must not be NULL"); }
    *out = NULL;
    cellar_scheduler_config full;
    cellar_host_config host;
    const cellar_err err = BASE_CONFIG_IN(cellar_scheduler_config, &full, cfg, &host, SCHED_OPEN,
                                          "scheduler", BASE_NUMBERS(sched_numbers));
    if (err != CELLAR_OK) { return err; }
    const char *why = "no memory for the scheduler";
    cellar_scheduler *s = base_object_new(&sched_service.kind, &host, sizeof *s);
    if (s == NULL) { goto out; }
    sched_init(s, &full);
    why = work_ticker_init(&s->ticker, full.workers);
    if (why != NULL) { goto drop_object; }
    why = work_ticker_start(&s->ticker, "cellar-sched");
    if (why != NULL) { goto drop_ticker; }
    *out = s;
    return CELLAR_OK;
drop_ticker:
    (void)work_ticker_end(&s->ticker);
drop_object:
    base_object_free(&s->obj);
out:
    return base_refuse(CELLAR_E_NOMEM, SCHED_OPEN, why);
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

/* Free every schedule. */
static void sched_free_all(cellar_scheduler *s) SYNC_UNCHECKED
{
    BASE_TABLE_CHARGE(&s->obj.account, BASE_MOD_STORE);
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
    if (s == NULL || s->obj.forked) { return CELLAR_OK; }
    if (work_ticker_is_mine(&s->ticker)) { return CELLAR_E_DEADLOCK; }
    sched_closing(s, true);
    if (!work_wait_idle(&s->running, s->close_ms)) {
        sched_closing(s, false);
        return CELLAR_E_BUSY;
    }
    for (base_job *j = work_ticker_end(&s->ticker); j != NULL;) {
        base_job *next = j->next;
        sched_discard(j);
        j = next;
    }
    sched_free_all(s);
    base_object_free(&s->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
