/* SPDX-License-Identifier: MIT
 *
 * refresher_open: open, tick, close and fork a refresher.
 *
 * WALK       tick: see ticker.h
 *            close: no step begins -> wait for those that run -> join both kinds of threads -> free
 * COMPLETION Each step gives its ticket back, also from the cleanup handler of a thread that ends
 *            inside it. The close waits for `ended`; the join waits for a worker behind it.
 * FORK       The child has no thread. It can only free the refresher. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/refresher.h"

BASE_SIZE_BEGIN

#define REFRESHER_ROWS_DEFAULT 4096u
#define REFRESHER_ROWS_MAX 65536u
#define REFRESHER_PARALLEL_DEFAULT 2u
#define REFRESHER_CLOSE_DEFAULT_MS 5000
#define REFRESHER_CLOSE_MAX_MS (INT64_C(366) * 86400000)

/* ---- fork ---- */

static void refresher_fork_prepare(void *ctx) SYNC_UNCHECKED
{
    cellar_refresher *r = ctx;
    sync_take(QUEUE, &r->ticker.pool.lock);
    sync_take(WHEEL, &r->lock);
    sync_take(LOG, &r->log.lock);
    r->fork_in_call = refresher_is_mine(r, NULL);
}

static void refresher_fork_parent(void *ctx) SYNC_UNCHECKED
{
    cellar_refresher *r = ctx;
    sync_drop(LOG, &r->log.lock);
    sync_drop(WHEEL, &r->lock);
    sync_drop(QUEUE, &r->ticker.pool.lock);
}

static void refresher_fork_child(void *ctx)
{
    cellar_refresher *r = ctx;
    sync_reset(&r->log.lock);
    sync_reset(&r->lock);
    base_pool_fork_child(&r->ticker.pool);
    r->forked = true;
}

/* ---- the tick ---- */

static cellar_err refresher_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar_refresher *r = object;
    return r->forked ? CELLAR_E_FORKED : work_ticker_step(&r->ticker, budget_us, wait_ms);
}

STATS_SERVICE(refresher_service, refresher_tick, refresher_figures, cellar_refresher_stats, 0,
              "refresher", STATS_REFRESHERS, refresher_figures_more)

/* ---- open ---- */

static cellar_err refresher_open_fail(cellar_err code, const char *why)
{
    return base_open_fail(code, 0, "cellar_refresher_open: %s", why);
}

/* Copy and check the options of the caller. */
static cellar_err refresher_config_in(const cellar_refresher_config *cfg,
                                      cellar_refresher_config *out, cellar_host_opts *host)
{
    const char *why;
    *out = cellar_refresher_config_default();
    cellar_err err = base_open_opts(out, sizeof *out, cfg, "cellar_refresher_open",
                                    "cellar_refresher_config");
    if (err == CELLAR_OK) {
        err = base_host_in(host, out->host, "cellar_refresher_open", "refresh");
    }
    if (err != CELLAR_OK) { return err; }
    if (out->max_rows == 0) { out->max_rows = REFRESHER_ROWS_DEFAULT; }
    if (out->max_parallel == 0) { out->max_parallel = REFRESHER_PARALLEL_DEFAULT; }
    if (out->close_timeout_ms == 0) { out->close_timeout_ms = REFRESHER_CLOSE_DEFAULT_MS; }
    if (base_broken(out->max_rows > REFRESHER_ROWS_MAX, "max_rows must be at most 65,536", &why) ||
        base_broken(out->max_parallel > REFRESHER_PARALLEL_MAX, "max_parallel must be at most 64",
                    &why) ||
        base_broken(out->close_timeout_ms < 0 || out->close_timeout_ms > REFRESHER_CLOSE_MAX_MS,
                    "close_timeout_ms must be 0..366 days", &why)) {
        return refresher_open_fail(CELLAR_E_INVAL, why);
    }
    return CELLAR_OK;
}

static void refresher_init(cellar_refresher *r, const cellar_refresher_config *cfg,
                           const cellar_host_opts *host, uint64_t seed)
{
    base_host_init(host, &r->account, &r->clock, &r->log);
    r->wall_clock = cfg->wall_clock;
    r->ticker = (work_ticker){ .fire = refresher_fire, .no_threads = host->no_threads != 0 };
    r->ticker.pool = (base_pool){ .run = refresher_run_job, .ctx = r, .name = "cellar-refresh",
                                  .account = &r->account, .max_jobs = UINT32_MAX,
                                  .stack_bytes = host->stack_bytes,
                                  .max_workers = host->no_threads != 0 ? 0 : cfg->max_parallel };
    r->max_rows = cfg->max_rows;
    r->max_parallel = cfg->max_parallel;
    r->close_ms = cfg->close_timeout_ms;
    memcpy(r->name, host->name, strlen(host->name));
    base_rng_seed(&r->rng, seed);
    for (uint32_t i = r->max_parallel; i-- > 0;) {
        r->ticket[i].next = r->free_tickets;
        r->free_tickets = &r->ticket[i];
    }
    const refresher_time now = refresher_now(r);
    r->offset_ms = now.wall_ms - now.mono_ms;
    wheel_init(&r->wheel, now.mono_ms);
}

CELLAR_API cellar_err cellar_refresher_open(cellar *c, const cellar_refresher_config *cfg,
                                            cellar_refresher **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || out == NULL) {
        return refresher_open_fail(CELLAR_E_INVAL, "c and out must not be NULL");
    }
    cellar_refresher_config full;
    cellar_host_opts host;
    uint64_t seed;
    const char *why = "no memory for the refresher";
    const cellar_err err = refresher_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    const base_alloc_hooks hooks = base_host_hooks(&host);
    void *raw = base_alloc_raw(&hooks, REFRESHER_BYTES);
    if (raw == NULL) { goto out; }
    why = "the system gave no random bytes";
    if (!base_random_bytes(&seed, sizeof seed)) { goto drop_raw; }
    cellar_refresher *r = (void *)(uintptr_t)base_round_up((uintptr_t)raw, BASE_PAD);
    memset(r, 0, sizeof *r);
    r->kind = &refresher_service.kind;
    r->raw = raw;
    r->store = c;
    refresher_init(r, &full, &host, seed);
    r->fork = (base_fork_node){ .prepare = refresher_fork_prepare, .parent = refresher_fork_parent,
                                .child = refresher_fork_child, .ctx = r };
    why = "no memory for the fork handlers";
    if (!base_fork_register(&r->fork)) { goto drop_raw; }
    why = work_ticker_start(&r->ticker, "cellar-renew");
    if (why != NULL) { goto drop_ticker; }
    *out = r;
    return CELLAR_OK;
drop_ticker:
    (void)base_pool_join(&r->ticker.pool);
    base_fork_unregister(&r->fork);
drop_raw:
    base_free_raw(&hooks, raw, REFRESHER_BYTES);
out:
    return refresher_open_fail(CELLAR_E_NOMEM, why);
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
    const uint64_t until_ns = base_now_ns() + (uint64_t)r->close_ms * 1000000u;
    for (;;) {
        const uint32_t ended = base_load_acq(&r->ended);
        if (refresher_closing(r, true) == 0) { return true; }
        if (base_now_ns() >= until_ns) { return false; }
        (void)sync_wait(&r->ended, ended, until_ns);
    }
}

/* Free every row and loader. In a child that includes rows with lost tickets. */
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
        base_free(&r->account, BASE_MOD_STORE, l, sizeof *l);
        l = next;
    }
}

CELLAR_API cellar_err cellar_refresher_close(cellar_refresher *r)
{
    if (r == NULL) { return CELLAR_OK; }
    bool mine = r->forked && r->fork_in_call;
    if (!r->forked) {
        sync_take(WHEEL, &r->lock);
        mine = refresher_is_mine(r, NULL);
        sync_drop(WHEEL, &r->lock);
    }
    if (mine) { return CELLAR_E_DEADLOCK; }
    if (!r->forked && !refresher_wait_idle(r)) {
        (void)refresher_closing(r, false);
        return CELLAR_E_BUSY;
    }
    if (!r->forked) {
        work_ticker_end(&r->ticker);
    } else {
        base_pool_stop(&r->ticker.pool, true);
    }
    (void)base_pool_join(&r->ticker.pool);
    base_fork_unregister(&r->fork);
    refresher_free_all(r);
    BASE_ASSERT(r->forked || base_load_rlx(&r->account.used) == 0); /* lost threads may hold some */
    const base_alloc_hooks hooks = r->account.hooks;
    base_free_raw(&hooks, r->raw, REFRESHER_BYTES);
    return CELLAR_OK;
}

BASE_SIZE_END
