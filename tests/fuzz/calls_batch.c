/* SPDX-License-Identifier: MIT
 *
 * calls_batch: rows of batchers and write-behind. See calls.h. */
#include "tests/fuzz/calls.h"

/* ---- Batcher and write-behind ---------------------------------------------------------------- */

static cellar_batcher *calls_batcher, *calls_behind; /* the second belongs to the store */
static _Atomic int64_t calls_items;                  /* items without a verdict */

static cellar_err flush_batch(const cellar_batch *b, void *ctx)
{
    (void)ctx;
    MUST(b->item_count >= 1);
    for (size_t i = 0; i < b->item_count; i++) { MUST(b->items[i].len <= 5); }
    calls_back();
    return chance(85) ? CELLAR_OK : CELLAR_E_IO;
}
static void batch_done(const cellar_batch_result *r, void *ctx)
{
    (void)ctx;
    MUST(r->verdict <= CELLAR_BATCH_ABANDONED);
    atomic_fetch_sub(&calls_items, 1);
    calls_back();
}

static cellar_batcher_config draw_batcher(const cellar_host_config *host)
{
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = host };
    MAYBE(cfg.max_bytes, 0, 10, 1000);
    MAYBE(cfg.linger_ms, 0, 1, 1000);
    MAYBE(cfg.max_delay_ms, 0, 5000);
    MAYBE(cfg.retry_base_ms, 0, 1);
    MAYBE(cfg.retry_cap_ms, 0, 10);
    cfg.block_timeout_ms = cfg.close_timeout_ms = 1;
    MAYBE(cfg.max_items, 0, 1, 3, CELLAR_BATCH_ITEMS_MAX);
    MAYBE(cfg.queue_items, 0, 500, 1000);
    MAYBE(cfg.max_groups, 0, 1, 2);
    MAYBE(cfg.max_attempts, 0, 1, 2);
    MAYBE(cfg.workers, 0, 1, 64);
    MAYBE(cfg.parallel, 0, 1, 3);
    cfg.on_failure = (cellar_batch_on_failure)draw(3);
    cfg.on_full = (cellar_batch_on_full)draw(2);
    return cfg;
}

static cellar_err write_many(const cellar_write *writes, size_t count, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        calls_key k;
        if (writes[i].deleted == 0 &&
            key_of_loader(&k, writes[i].key, writes[i].key_len,
                          &calls_space_numbers[CALLS_BEHIND])) {
            (void)calls_parse(&k, writes[i].value, writes[i].value_len, "write behind");
        }
    }
    calls_back();
    return chance(90) ? CELLAR_OK : CELLAR_E_IO;
}
static void write_failed(const cellar_write *write, cellar_err err, void *ctx)
{
    (void)write, (void)ctx;
    MUST(err != CELLAR_OK);
}

static void batchers_open(void)
{
    const cellar_host_config host = draw_host("batcher");
    cellar_batcher_config cfg = draw_batcher(&host);
    bool bad = spoil(&cfg, sizeof cfg);
    cellar_err err = told(NULL, CALL(cellar_batcher_open)(&cfg, flush_batch, NULL, &calls_batcher));
    refused(bad, err);
    cellar *c = atomic_load(&world.space[CALLS_BEHIND].c);
    if (c == NULL || chance(30)) { return; }
    cfg = draw_batcher(&host);
    bad = spoil(&cfg, sizeof cfg);
    err = told(NULL, CALL(cellar_namespace_batch)(c, &cfg, write_many, write_failed, NULL,
                                                  &calls_behind));
    refused(bad, err);
}

static void row_batch(void)
{
    static const char *const groups[] = { "", "g1", "g2" };
    cellar_batcher *b = chance(70) || calls_behind == NULL ? calls_batcher : calls_behind;
    int64_t wait = 0;
    if (b == NULL) { return; }
    if (b == calls_batcher && chance(50)) {
        cellar_batch_add_opts o = cellar_batch_add_opts_default();
        const size_t len = draw(6);
        if (chance(60)) { o.done = batch_done; }
        if (chance(30)) { o.coalesce_key = "key", o.coalesce_key_len = 1 + draw(3); }
        (void)spoil(&o, sizeof o);
        atomic_fetch_add(&calls_items, o.done != NULL);
        const cellar_err err = plain(CALL(cellar_batch_add)(b, groups[draw(3)], "bytes", len, &o));
        if (err != CELLAR_OK) { atomic_fetch_sub(&calls_items, o.done != NULL); }
        return;
    }
    switch (draw(6)) {
    case 0: plain(CALL(cellar_batcher_flush)(b, chance(50) ? NULL : groups[draw(3)])); break;
    case 1: {
        cellar_batcher_stats s = cellar_batcher_stats_default();
        if (plain(CALL(cellar_batcher_stats_get)(b, &s)) == CELLAR_OK && calls_exact()) {
            MUST(s.added == s.ok + s.failed + s.replaced + s.abandoned + s.items);
        }
        break;
    }
    case 2: WRITE_TEXT(cellar_metrics_write, b); break;
    case 3: WRITE_TEXT(cellar_stats_json, b); break;
    case 4:
        if (b == calls_batcher && chance(5)) {
            cellar_batch_report r = cellar_batch_report_default();
            plain(CALL(cellar_batcher_drain)(b, ONE_OF(0, 1, -1), &r));
        }
        break;
    default: plain(CALL(cellar_tick)(b, tick_us(0), &wait));
    }
}

static void batchers_close(void)
{
    cellar_batch_report r = cellar_batch_report_default();
    cellar_err err = CELLAR_OK;
    do { err = plain(CALL(cellar_batcher_close)(calls_batcher, &r)); } while (err == CELLAR_E_BUSY);
    MUST(err == CELLAR_OK);
    MUST(atomic_load(&calls_items) == 0);
    calls_batcher = calls_behind = NULL;
}
