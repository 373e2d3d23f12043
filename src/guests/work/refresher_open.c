/* SPDX-License-Identifier: MIT
 *
 * refresher_open: open, tick and close a refresher.
 *
 * WALK       tick: see ticker.h
 *            close: no step begins -> wait for those that run -> join both kinds of threads -> free
 * COMPLETION Each step gives its ticket back, also from the cleanup handler of a thread that ends
 *            inside it. The close waits for `ended`; the join waits for a worker behind it. */

#include "base/open_error.h"
#include "base/service.h"
#include "work/refresher.h"

BASE_SIZE_BEGIN

#define REFRESHER_OPEN "cellar_refresher_open"

/* ---- the tick ---- */

WORK_TICKS(cellar_refresher);
STATS_SERVICE(refresher_service, work_tick, refresher_figures, cellar_refresher_stats, 0,
              "refresher", STATS_REFRESHERS, refresher_figures_more)

/* ---- open ---- */

static const base_number refresher_numbers[] = {
    BASE_NUMBER(cellar_refresher_config, max_rows, 4096, 0, 65536,
                "max_rows must be at most 65,536"),
    BASE_NUMBER(cellar_refresher_config, max_parallel, 2, 0, REFRESHER_PARALLEL_MAX,
                "max_parallel must be at most 64"),
    BASE_NUMBER(cellar_refresher_config, close_timeout_ms, 5000, 0, INT64_C(366) * 86400000,
                "close_timeout_ms must be 0..366 days"),
};

static void refresher_init(cellar_refresher *r, const cellar_refresher_config *cfg, uint64_t seed)
{
    r->obj.wall_clock = cfg->wall_clock;
    r->ticker = (work_ticker){ .object = &r->obj, .lock = &r->lock, .fire = refresher_fire,
                               .is_mine = refresher_is_mine,
                               .pool = { .run = refresher_run_job, .name = "cellar-refresh" } };
    r->max_rows = cfg->max_rows;
    r->max_parallel = cfg->max_parallel;
    r->close_ms = cfg->close_timeout_ms;
    base_rng_seed(&r->rng, seed);
    for (uint32_t i = r->max_parallel; i-- > 0;) {
        r->ticket[i].next = r->free_tickets;
        r->free_tickets = &r->ticket[i];
    }
    const work_time now = work_now(&r->obj);
    r->offset_ms = now.wall_ms - now.mono_ms;
    wheel_init(&r->wheel, now.mono_ms);
}

CELLAR_API cellar_err cellar_refresher_open(cellar *c, const cellar_refresher_config *cfg,
                                            cellar_refresher **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || out == NULL) {
        return base_refuse(CELLAR_E_INVAL, REFRESHER_OPEN, "c and out must not be NULL");
    }
    cellar_refresher_config full;
    cellar_host_config host;
    uint64_t seed;
    const cellar_err err = BASE_CONFIG_IN(cellar_refresher_config, &full, cfg, &host,
                                          REFRESHER_OPEN, "refresh",
                                          BASE_NUMBERS(refresher_numbers));
    if (err != CELLAR_OK) { return err; }
    const char *why = "no memory for the refresher";
    cellar_refresher *r = base_object_new(&refresher_service.kind, &host, sizeof *r);
    if (r == NULL) { goto out; }
    why = "the system gave no random bytes";
    if (!base_random_bytes(&seed, sizeof seed)) { goto drop_object; }
    r->store = c;
    refresher_init(r, &full, seed);
    why = work_ticker_init(&r->ticker, full.max_parallel);
    if (why != NULL) { goto drop_object; }
    why = work_ticker_start(&r->ticker, "cellar-renew");
    if (why != NULL) { goto drop_ticker; }
    *out = r;
    return CELLAR_OK;
drop_ticker:
    (void)work_ticker_end(&r->ticker);
drop_object:
    base_object_free(&r->obj);
out:
    return base_refuse(CELLAR_E_NOMEM, REFRESHER_OPEN, why);
}

/* ---- close ---- */

/* Let steps begin, or none. Return the number of steps that run. */
static uint64_t refresher_closing(cellar_refresher *r, bool closing)
{
    refresher_after a;
    refresher_after_init(&a);
    base_pool_stop(&r->ticker.pool, closing);
    sync_take(WHEEL, &r->lock);
    r->closing = closing;
    const uint64_t running = r->count[STATS_REFRESHER_RUNNING];
    for (uint64_t i = closing ? 0 : r->count[STATS_REFRESHER_DUE]; i > 0; i--) {
        refresher_dispatch(r, &a);
    }
    sync_drop(WHEEL, &r->lock);
    a.ring = true;
    refresher_settle(r, &a);
    return running;
}

/* Wait until no step runs. False: one still ran after close_timeout_ms. */
static bool refresher_wait_idle(cellar_refresher *r)
{
    const uint64_t until_ns = base_until_ns(r->close_ms);
    for (;;) {
        const uint32_t ended = base_load_acq(&r->ended);
        if (refresher_closing(r, true) == 0) { return true; }
        if (base_now_ns() >= until_ns) { return false; }
        (void)sync_wait(&r->ended, ended, until_ns);
    }
}

/* Free every row and loader. */
static void refresher_free_all(cellar_refresher *r) SYNC_UNCHECKED
{
    if (r->all != NULL) { r->all->prev->next = NULL; }
    for (refresher_row *row = r->all; row != NULL;) {
        refresher_row *next = row->next;
        refresher_row_free(row);
        row = next;
    }
    for (refresher_loader *l = r->loaders; l != NULL;) {
        refresher_loader *next = l->next;
        if (l->own_breaker) { cellar_breaker_destroy(l->breaker); }
        base_free(&r->obj.account, BASE_MOD_STORE, l, sizeof *l);
        l = next;
    }
}

CELLAR_API cellar_err cellar_refresher_close(cellar_refresher *r)
{
    if (r == NULL || r->obj.forked) { return CELLAR_OK; }
    if (work_ticker_is_mine(&r->ticker)) { return CELLAR_E_DEADLOCK; }
    if (!refresher_wait_idle(r)) {
        (void)refresher_closing(r, false);
        return CELLAR_E_BUSY;
    }
    (void)work_ticker_end(&r->ticker);
    refresher_free_all(r);
    base_object_free(&r->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
