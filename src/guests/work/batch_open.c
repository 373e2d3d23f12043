/* SPDX-License-Identifier: MIT
 *
 * batch_open: open, tick, drain and close a batcher.
 *
 * WALK       tick: see ticker.h
 *            drain: no add -> everything is due -> wait until no item is left -> give up the rest
 *            close: drain -> stop and join the threads -> free
 * COMPLETION Each item ends: after its done function, or from the cleanup handler of a thread that
 *            ends inside it. A drain waits for `ended`; the join waits for a worker behind it. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/batch.h"

BASE_SIZE_BEGIN

#define BATCH_OPEN "cellar_batcher_open"
#define BATCH_GRACE_MS 1000 /* wait of a drain for calls that run, after its time */
#define BATCH_MS_MAX (INT64_C(366) * 86400000) /* longest time of an option */

/* ---- the tick ---- */

WORK_TICKS(cellar_batcher);

static bool batch_jobs_wait(void *batcher)
{
    return base_pool_mend(&((cellar_batcher *)batcher)->pool);
}

static int64_t batch_sleep_ms(void *batcher)
{
    int64_t next_ms;
    batch_fire(batcher, &next_ms);
    return BASE_MIN(next_ms, batch_jobs_wait(batcher) ? WORK_MEND_MS : WORK_LOOK_MS);
}

static const work_ticks batch_ticks = { batch_fire, batch_sleep_ms, batch_help, batch_jobs_wait };
STATS_SERVICE(batch_service, work_tick, batch_figures, cellar_batcher_stats, 0, "batcher",
              STATS_BATCHERS, NULL)

/* ---- open ---- */

#define BATCH_NUMBER(field, none, max, why) \
    BASE_NUMBER(cellar_batcher_config, field, none, 0, max, why)
#define BATCH_TIME(field, none) \
    BATCH_NUMBER(field, none, BATCH_MS_MAX, #field " must be 0..366 days")
static const base_number batch_numbers[] = {
    BATCH_NUMBER(max_bytes, UINT64_C(1) << 20, UINT32_MAX, "max_bytes must be below 4 GiB"),
    BATCH_TIME(linger_ms, 50), BATCH_TIME(max_delay_ms, 0), BATCH_TIME(retry_base_ms, 1000),
    BATCH_TIME(retry_cap_ms, 600000), BATCH_TIME(block_timeout_ms, 5000),
    BATCH_TIME(close_timeout_ms, 5000),
    BATCH_NUMBER(max_items, 100, CELLAR_BATCH_ITEMS_MAX, "max_items must be at most 65,536"),
    BATCH_NUMBER(queue_items, 65536, UINT32_MAX, ""),
    BATCH_NUMBER(max_groups, 4096, UINT32_MAX, ""),
    BATCH_NUMBER(max_attempts, 4, UINT32_MAX, ""),
    BATCH_NUMBER(workers, 4, 64, "workers must be at most 64"),
    BATCH_NUMBER(parallel, 1, 64, "parallel must be at most 64"),
    BATCH_NUMBER(on_failure, 0, CELLAR_BATCH_RETRY, "on_failure must be a cellar_batch_on_failure"),
    BATCH_NUMBER(on_full, 0, CELLAR_BATCH_ERROR, "on_full must be a cellar_batch_on_full"),
};

/* Copy and check the options of the caller. */
static cellar_err batch_config_in(const cellar_batcher_config *cfg, cellar_batcher_config *out,
                                  cellar_host_config *host)
{
    const char *why;
    const cellar_err err = BASE_CONFIG_IN(cellar_batcher_config, out, cfg, host, BATCH_OPEN,
                                          "batcher", BASE_NUMBERS(batch_numbers));
    if (err != CELLAR_OK) { return err; }
    if (out->queue_bytes == 0) { out->queue_bytes = BASE_MAX(UINT64_C(64) << 20, out->max_bytes); }
    return base_broken(out->queue_bytes < out->max_bytes, "queue_bytes must be at least max_bytes",
                       &why) ||
           base_broken(out->max_delay_ms != 0 && out->max_delay_ms < out->linger_ms,
                       "max_delay_ms must be at least linger_ms, or 0", &why)
               ? base_refuse(CELLAR_E_INVAL, BATCH_OPEN, why)
               : CELLAR_OK;
}

static void batch_init(cellar_batcher *b, const cellar_batcher_config *cfg,
                       const unsigned char secret[40])
{
    uint64_t seed;
    memcpy(&seed, secret + 32, sizeof seed);
    base_hash_key_init(&b->hash_key, BASE_HASH_FOLD, secret);
    base_rng_seed(&b->rng, seed);
    b->ticker = (work_ticker){ .object = b, .ticks = &batch_ticks };
    b->pool = (base_pool){ .run = batch_run_job, .name = "cellar-batch", .ctx = b,
                           .account = &b->obj.account, .max_jobs = UINT32_MAX,
                           .stack_bytes = b->obj.stack_bytes,
                           .max_workers = b->obj.no_threads ? 0 : cfg->workers };
    b->cfg = *cfg;
    b->cfg.host = NULL;
    b->wake_ms = BASE_NEVER_MS;
    wheel_ring_init(&b->open);
    wheel_init(&b->wheel, BASE_MAX(base_now_ms(&b->obj.clock), 0));
}

CELLAR_PRIVATE void batch_stop(cellar_batcher *b)
{
    base_pool_stop(&b->pool, true);
    work_ticker_stop(&b->ticker);
}

static void batch_end(cellar_batcher *b)
{
    batch_stop(b);
    (void)base_pool_join(&b->pool);
    base_fork_unregister(&b->obj.fork);
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
    why = "no memory for the fork handlers";
    if (!base_object_forks(&b->obj, base_object_forked)) { goto drop_object; }
    if (!b->obj.no_threads) {
        base_pool_room(&b->pool);
        why = "no memory for the workers";
        if (b->pool.worker == NULL) { goto drop_threads; }
        why = "no thread: the system refused one";
        if (!work_ticker_start(&b->ticker, "cellar-linger")) { goto drop_threads; }
    }
    *out = b;
    return CELLAR_OK;
drop_threads:
    batch_end(b);
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
        if (b->obj.no_threads && batch_help(b)) { continue; }
        /* Without threads, another tick may queue a job without an end. */
        const uint64_t look_ns = base_now_ns() + WORK_MEND_MS * 1000000u;
        (void)sync_wait(&b->ended, ended,
                        b->obj.no_threads ? BASE_MIN(until_ns, look_ns) : until_ns);
    }
    (void)base_sub_ar(&b->sleepers, 1u);
}

/* Begin a drain, or end its time. Fill *report with the counters so far. */
static cellar_err batch_drain_step(cellar_batcher *b, bool abandon, uint64_t *count)
{
    batch_after a;
    batch_lock(b, &a);
    const bool mine = batch_is_mine(b);
    if (!mine) {
        b->draining = true;
        b->abandon |= abandon;
        batch_drain_all(b, &a);
    }
    memcpy(count, b->count, sizeof b->count);
    batch_unlock(b, &a);
    batch_tell_sleepers(b); /* adds that wait are refused */
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
    if (b == NULL || timeout_ms < 0 || timeout_ms > BATCH_MS_MAX) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const cellar_err err = batch_report_check(report);
    return err == CELLAR_OK ? batch_drain(b, timeout_ms, report) : err;
}

CELLAR_API cellar_err cellar_batcher_close(cellar_batcher *b, cellar_batch_report *report)
{
    if (b == NULL || b->obj.forked) { return CELLAR_OK; }
    cellar_err err = batch_report_check(report);
    if (err == CELLAR_OK) { err = batch_drain(b, b->cfg.close_timeout_ms, report); }
    if (err != CELLAR_OK) { return err; }
    batch_end(b);
    BASE_ASSERT(b->groups == NULL); /* a group leaves with its last item */
    base_object_free(&b->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
