/* SPDX-License-Identifier: MIT
 *
 * batch_open: open, tick, drain, close and fork a batcher.
 *
 * WALK       tick: see ticker.h
 *            drain: no add -> everything is due -> wait until no item is left -> give up the rest
 *            close: drain -> stop and join the threads -> free
 * COMPLETION Each item ends: after its done function, or from the cleanup handler of a thread that
 *            ends inside it. A drain waits for `ended`; the join waits for a worker behind it.
 * FORK       The child has no thread. It can only free the batcher. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/batch.h"

BASE_SIZE_BEGIN

#define BATCH_OPEN "cellar_batcher_open"
#define BATCH_GRACE_MS 1000 /* wait of a drain for calls that run, after its time */
#define BATCH_WORKERS_MAX 64u
#define BATCH_MS_MAX (INT64_C(366) * 86400000) /* longest time of an option */

/* ---- the tick ---- */

static cellar_err batch_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    return work_ticker_step(&((cellar_batcher *)object)->ticker, budget_us, wait_ms);
}

STATS_SERVICE(batch_service, batch_tick, batch_figures, cellar_batcher_stats, 0, "batcher",
              STATS_BATCHERS, NULL)

/* ---- open ---- */

/* Set the defaults. */
static void batch_defaults(cellar_batcher_config *c)
{
    if (c->max_bytes == 0) { c->max_bytes = UINT64_C(1) << 20; }
    if (c->queue_bytes == 0) { c->queue_bytes = BASE_MAX(UINT64_C(64) << 20, c->max_bytes); }
    if (c->linger_ms == 0) { c->linger_ms = 50; }
    if (c->retry_base_ms == 0) { c->retry_base_ms = 1000; }
    if (c->retry_cap_ms == 0) { c->retry_cap_ms = 600000; }
    if (c->block_timeout_ms == 0) { c->block_timeout_ms = 5000; }
    if (c->close_timeout_ms == 0) { c->close_timeout_ms = 5000; }
    if (c->max_items == 0) { c->max_items = 100; }
    if (c->queue_items == 0) { c->queue_items = 65536; }
    if (c->max_groups == 0) { c->max_groups = 4096; }
    if (c->max_attempts == 0) { c->max_attempts = 4; }
    if (c->workers == 0) { c->workers = 4; }
    if (c->parallel == 0) { c->parallel = 1; }
}

/* Return whether a time of the options is in its range. */
static bool batch_time(int64_t ms) { return ms >= 0 && ms <= BATCH_MS_MAX; }

/* Name the first field that breaks its rule. False: none does. */
static bool batch_config_broken(const cellar_batcher_config *c, const char **why)
{
    return base_broken(c->max_bytes > UINT32_MAX, "max_bytes must be below 4 GiB", why) ||
           base_broken(c->queue_bytes < c->max_bytes, "queue_bytes must be at least max_bytes",
                       why) ||
           base_broken(!batch_time(c->linger_ms) || !batch_time(c->max_delay_ms),
                       "linger_ms and max_delay_ms must be 0..366 days", why) ||
           base_broken(c->max_delay_ms != 0 && c->max_delay_ms < c->linger_ms,
                       "max_delay_ms must be at least linger_ms, or 0", why) ||
           base_broken(!batch_time(c->retry_base_ms) || !batch_time(c->retry_cap_ms),
                       "retry_base_ms and retry_cap_ms must be 0..366 days", why) ||
           base_broken(!batch_time(c->block_timeout_ms) || !batch_time(c->close_timeout_ms),
                       "block_timeout_ms and close_timeout_ms must be 0..366 days", why) ||
           base_broken(c->max_items > CELLAR_BATCH_ITEMS_MAX, "max_items must be at most 65,536",
                       why) ||
           base_broken(c->workers > BATCH_WORKERS_MAX, "workers must be at most 64", why) ||
           base_broken((unsigned)c->on_failure > CELLAR_BATCH_RETRY,
                       "on_failure must be a cellar_batch_on_failure", why) ||
           base_broken((unsigned)c->on_full > CELLAR_BATCH_ERROR,
                       "on_full must be a cellar_batch_on_full", why) ||
           base_broken(c->parallel > BATCH_WORKERS_MAX, "parallel must be at most 64", why);
}

/* Copy and check the options of the caller. */
static cellar_err batch_config_in(const cellar_batcher_config *cfg, cellar_batcher_config *out,
                                  cellar_host_config *host)
{
    const char *why;
    const cellar_err err = BASE_CONFIG_IN(cellar_batcher_config, out, cfg, host, BATCH_OPEN,
                                          "batcher");
    if (err != CELLAR_OK) { return err; }
    batch_defaults(out);
    return batch_config_broken(out, &why) ? base_refuse(CELLAR_E_INVAL, BATCH_OPEN, why)
                                          : CELLAR_OK;
}

static void batch_init(cellar_batcher *b, const cellar_batcher_config *cfg,
                       const unsigned char secret[40])
{
    uint64_t seed;
    memcpy(&seed, secret + 32, sizeof seed);
    base_hash_key_init(&b->hash_key, BASE_HASH_FOLD, secret);
    base_rng_seed(&b->rng, seed);
    b->ticker = (work_ticker){ .object = &b->obj, .lock = &b->lock, .fire = batch_fire,
                               .is_mine = batch_is_mine,
                               .pool = { .run = batch_run_job, .name = "cellar-batch" } };
    b->cfg = *cfg;
    b->cfg.host = NULL;
    b->wake_ms = BASE_NEVER_MS;
    wheel_init(&b->wheel, BASE_MAX(base_now_ms(&b->obj.clock), 0));
}

CELLAR_API cellar_err cellar_batcher_open(const cellar_batcher_config *cfg,
                                          cellar_batch_flush_fn flush, void *ctx,
                                          cellar_batcher **out)
{
    if (out != NULL) { *out = NULL; }
    if (out == NULL || flush == NULL) {
        return base_refuse(CELLAR_E_INVAL, BATCH_OPEN, "flush and out must not be NULL");
    }
    cellar_batcher_config full;
    cellar_host_config host;
    unsigned char secret[40];
    const cellar_err err = batch_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    const char *why = "no memory for the batcher";
    cellar_batcher *b = base_object_new(&batch_service.kind, &host, sizeof *b);
    if (b == NULL) { goto out; }
    why = "the system gave no random bytes";
    if (!base_random_bytes(secret, sizeof secret)) { goto drop_object; }
    b->flush = flush;
    b->ctx = ctx;
    batch_init(b, &full, secret);
    why = work_ticker_init(&b->ticker, full.workers);
    if (why != NULL) { goto drop_object; }
    why = work_ticker_start(&b->ticker, "cellar-linger");
    if (why != NULL) { goto drop_ticker; }
    *out = b;
    return CELLAR_OK;
drop_ticker:
    (void)work_ticker_end(&b->ticker);
drop_object:
    base_object_free(&b->obj);
out:
    return base_refuse(CELLAR_E_NOMEM, BATCH_OPEN, why);
}

/* ---- drain and close ---- */

/* Return the number of items that have not ended. */
static uint64_t batch_live(cellar_batcher *b)
{
    sync_take(WHEEL, &b->lock);
    const uint64_t n = b->count[STATS_BATCHER_ITEMS];
    sync_drop(WHEEL, &b->lock);
    return n;
}

/* Wait until no item is left, or `ms` have passed. With no_threads, run what is queued. */
static void batch_wait(cellar_batcher *b, int64_t ms)
{
    const uint64_t until_ns = base_until_ns(ms);
    (void)base_add_ar(&b->sleepers, 1u);
    for (;;) {
        const uint32_t ended = base_load_acq(&b->ended);
        if (batch_live(b) == 0 || base_now_ns() >= until_ns) { break; }
        base_job *j = b->obj.no_threads ? base_pool_help(&b->ticker.pool) : NULL;
        if (j != NULL) {
            batch_run_job(b, j);
        } else { /* without threads, another tick may queue a job without an end */
            const uint64_t look_ns = base_now_ns() + WORK_MEND_MS * 1000000u;
            (void)sync_wait(&b->ended, ended,
                            b->obj.no_threads ? BASE_MIN(until_ns, look_ns) : until_ns);
        }
    }
    (void)base_sub_ar(&b->sleepers, 1u);
}

/* Begin a drain, or end its time. Fill *report with the counters so far. */
static cellar_err batch_drain_step(cellar_batcher *b, bool abandon, uint64_t *count)
{
    batch_after a;
    batch_after_init(&a);
    sync_take(WHEEL, &b->lock);
    const bool mine = batch_is_mine(b);
    if (!mine) {
        b->draining = true;
        b->abandon |= abandon;
        batch_drain_all(b, &a);
    }
    memcpy(count, b->count, sizeof b->count);
    sync_drop(WHEEL, &b->lock);
    batch_tell_sleepers(b); /* adds that wait are refused */
    batch_settle(b, &a);
    return mine ? CELLAR_E_DEADLOCK : CELLAR_OK;
}

static cellar_err batch_drain(cellar_batcher *b, int64_t timeout_ms, cellar_batch_report *report)
{
    uint64_t from[STATS_BATCHER_COUNT], to[STATS_BATCHER_COUNT];
    cellar_batch_report r = { .struct_size = sizeof r };
    const cellar_err err = batch_drain_step(b, false, from);
    if (err != CELLAR_OK) { return err; }
    batch_wait(b, timeout_ms);
    if (batch_live(b) != 0) {
        (void)batch_drain_step(b, true, to);
        batch_wait(b, BATCH_GRACE_MS);
    }
    sync_take(WHEEL, &b->lock);
    memcpy(to, b->count, sizeof b->count);
    sync_drop(WHEEL, &b->lock);
    r.live = from[STATS_BATCHER_ITEMS];
    r.ok = to[STATS_BATCHER_OK] - from[STATS_BATCHER_OK];
    r.failed = to[STATS_BATCHER_FAILED] - from[STATS_BATCHER_FAILED];
    r.replaced = to[STATS_BATCHER_REPLACED] - from[STATS_BATCHER_REPLACED];
    r.abandoned = to[STATS_BATCHER_ABANDONED] - from[STATS_BATCHER_ABANDONED];
    r.still_running = to[STATS_BATCHER_ITEMS];
    if (r.abandoned != 0) {
        base_log(&b->obj.log, BASE_LOG_WARNING, "batch", (int)CELLAR_E_TIMEOUT,
                 "%llu items abandoned by a drain", (unsigned long long)r.abandoned);
    }
    if (report != NULL) { (void)base_opts_out(report, &r, sizeof r); }
    return r.still_running != 0 ? CELLAR_E_BUSY : CELLAR_OK;
}

/* Check the struct of a caller that receives a report. */
static cellar_err batch_report_check(const cellar_batch_report *report)
{
    size_t size;
    return report != NULL ? base_opts_size(report, &size) : CELLAR_OK;
}

CELLAR_API cellar_err cellar_batcher_drain(cellar_batcher *b, int64_t timeout_ms,
                                           cellar_batch_report *report)
{
    if (b == NULL || !batch_time(timeout_ms)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const cellar_err err = batch_report_check(report);
    return err == CELLAR_OK ? batch_drain(b, timeout_ms, report) : err;
}

static void batch_free_list(cellar_batcher *b, batch_list *l)
{
    for (batch_item *i = l->first; i != NULL;) {
        batch_item *next = i->next;
        batch_item_free(b, i);
        i = next;
    }
}

/* Free every group. In a child that includes those with items. */
static void batch_free_all(cellar_batcher *b) SYNC_UNCHECKED
{
    BASE_TABLE_CHARGE(&b->obj.account, BASE_MOD_STORE);
    batch_group *g = b->groups;
    HASH_CLEAR(hh, b->keys);
    HASH_CLEAR(hh, b->groups);
    while (g != NULL) {
        batch_group *next = g->hh.next;
        batch_free_list(b, &g->waiting);
        batch_free_list(b, &g->flight);
        batch_free_list(b, &g->finished);
        batch_group_free(g);
        g = next;
    }
}

CELLAR_API cellar_err cellar_batcher_close(cellar_batcher *b, cellar_batch_report *report)
{
    if (b == NULL) { return CELLAR_OK; }
    cellar_err err = batch_report_check(report);
    if (err == CELLAR_OK && b->obj.forked && b->obj.fork_in_call) { err = CELLAR_E_DEADLOCK; }
    if (err == CELLAR_OK && !b->obj.forked) {
        err = batch_drain(b, b->cfg.close_timeout_ms, report);
    }
    if (err != CELLAR_OK) { return err; }
    (void)work_ticker_end(&b->ticker);
    batch_free_all(b);
    base_object_free(&b->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
