/* SPDX-License-Identifier: MIT
 *
 * health: count errors and damaged records, and switch the tier off after too many; report events
 * that take entries in bulk.
 *
 * PICTURE    OK --8 errors, or more than 1 % damaged reads, in 10 s--> OFF --1 s, 2 s .. 60 s-->
 *            (defaults of cfg.off_errors, off_damaged_pct, off_ms, off_max_ms)
 *            TRYING: probe (worker.c) --right--> OK, else OFF
 * INVARIANTS While OFF only the probe uses the disk. Gets of records on disk miss, puts are
 *            dropped, tombstones and controls go to the buffer, behind the stall marker (stall.c).
 *            A full buffer closes the tier, and a FLOOR ends all records. So no old value is served
 *            afterwards.
 * LOCKING    L2_DEV (`health.lock`) for times and counts. All threads read `disk`.
 * SEE ALSO   stall.c: a disk that does not answer at all. */
#include "l2/health.h"

#include "base/text.h"
#include "l2/live.h"

BASE_SIZE_BEGIN

#define L2_WINDOW_MS 10000
#define L2_DAMAGED_LEAST 8u

CELLAR_PRIVATE void l2_health_init(l2 *d)
{
    l2_config *c = &d->cfg;
    if (c->off_errors == 0) { c->off_errors = 8; }
    if (c->off_damaged_pct == 0) { c->off_damaged_pct = 1; }
    if (c->off_ms == 0) { c->off_ms = c->off_max_ms != 0 ? BASE_MIN(c->off_max_ms, 1000) : 1000; }
    if (c->off_max_ms == 0) { c->off_max_ms = BASE_MAX(c->off_ms, 60000); }
    BASE_ASSERT(c->off_errors <= L2_ERRORS_MOST && c->off_ms <= c->off_max_ms);
}

CELLAR_PRIVATE bool l2_off(const l2 *d)
{
    return base_load_rlx(&d->broken) != 0 || base_load_rlx(&d->disk) != L2_DISK_OK;
}

CELLAR_PRIVATE void l2_off_now(l2 *d, int64_t now, int64_t off_ms)
{
    d->health.off_ms = off_ms;
    d->health.until_ms = base_add_sat(now, off_ms);
    base_store_rel(&d->disk, (uint32_t)L2_DISK_OFF);
    L2_COUNT(d, offs);
}

/* ---- losses ---- */

static const struct { const char *name, *text; } l2_losses[] = {
#define L2_X(name, text) { #name, text },
    L2_LOSSES(L2_X)
#undef L2_X
};
_Static_assert(L2_LOSS_COUNT < 16, "l2.loss");
#define L2_LOST_MEAN 1024u /* bytes of an entry, if no better number is known */

static uint64_t l2_log_bytes(const l2 *d) { return (uint64_t)l2_segs_used(d) * d->form.seg_bytes; }

CELLAR_PRIVATE void l2_lost_entries(l2 *d, l2_loss why, uint64_t entries, uint64_t bytes)
{
    const uint64_t now = (uint64_t)BASE_MAX(base_now_ms(d->cfg.clock), 0);
    (void)base_add_rlx(&d->lost_entries[why], entries);
    base_store_rlx(&d->loss, now << 4 | ((uint64_t)why + 1));
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2_loss", 0, "%s (about %llu entries, %llu bytes)",
             l2_losses[why].text, (unsigned long long)entries, (unsigned long long)bytes);
}

CELLAR_PRIVATE void l2_lost(l2 *d, l2_loss why, uint64_t bytes)
{
    bytes = BASE_MIN(bytes, (uint64_t)base_load_acq(&d->places_seen) * d->form.seg_bytes);
    const uint64_t words = base_load_rlx(&d->index.words);
    const uint64_t mean = words != 0 ? l2_log_bytes(d) / words : d->cfg.avg_object_bytes;
    l2_lost_entries(d, why, bytes / (mean != 0 ? mean : L2_LOST_MEAN), bytes);
}

CELLAR_PRIVATE void l2_lost_all(l2 *d, l2_loss why)
{
    l2_lost(d, why, l2_log_bytes(d));
    l2_live_none(d);
}

CELLAR_PRIVATE const char *l2_loss_last(const l2 *d, int64_t *at_ms)
{
    const uint64_t w = base_load_rlx(&d->loss);
    *at_ms = (int64_t)(w >> 4);
    return w != 0 ? l2_losses[(w & 15) - 1].name : NULL;
}

/* ---- errors ---- */

CELLAR_PRIVATE void l2_io_failed(l2 *d, const char *op, const base_vfs_file *f, uint64_t at,
                                 int e)
{
    base_log(d->cfg.log, BASE_LOG_ERROR, op, (int)CELLAR_E_IO,
             "%s of %s at byte %llu failed: %s (errno %d)", op + sizeof "l2_" - 1,
             l2_file_name(d, f), (unsigned long long)at, base_errno_text(e), e);
    const int64_t now = base_now_ms(d->cfg.clock);
    l2_health *t = &d->health;
    L2_COUNT(d, io_errors);
    if (base_load_rlx(&d->ready) == 0) { return; } /* an open goes on behind a page that it lacks */
    sync_take(L2_DEV, &t->lock);
    const uint32_t most = d->cfg.off_errors;
    t->error_ms[t->errors++ % most] = now;
    /* time of the oldest of the last `most` errors */
    const int64_t first = t->error_ms[t->errors % most];
    const bool off = base_load_rlx(&d->disk) == L2_DISK_OK && t->errors >= most &&
                     now - first <= L2_WINDOW_MS;
    if (off) { l2_off_now(d, now, d->cfg.off_ms); }
    sync_drop(L2_DEV, &t->lock);
    if (off) {
        /* The log limits lines per code, so this line does not use the errno as its code. */
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", (int)CELLAR_E_IO,
                 "the disk fails: the store continues in memory for now (errno %d)", e);
    }
}

CELLAR_PRIVATE void l2_read_damaged(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    const uint64_t reads = base_load_rlx(&d->n.gets);
    l2_health *t = &d->health;
    L2_COUNT(d, miss_damage);
    sync_take(L2_DEV, &t->lock);
    if (t->damaged == 0 || now - t->damage_ms > L2_WINDOW_MS) {
        t->damaged = 0;
        t->damage_ms = now;
        t->damage_reads = reads - (reads != 0); /* without this one */
    }
    t->damaged++;
    const bool off = base_load_rlx(&d->disk) == L2_DISK_OK && t->damaged >= L2_DAMAGED_LEAST &&
                     (uint64_t)t->damaged * 100 >
                         (uint64_t)d->cfg.off_damaged_pct * (reads - t->damage_reads);
    if (off) { l2_off_now(d, now, d->cfg.off_ms); }
    sync_drop(L2_DEV, &t->lock);
    if (off) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", (int)CELLAR_E_CORRUPT,
                 "many records on disk are damaged: the store continues in memory for now");
    }
}

BASE_SIZE_END
