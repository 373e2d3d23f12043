/* SPDX-License-Identifier: MIT
 *
 * io: read and write the files of the store; count and report errors.
 *
 * INVARIANTS Short transfers and interruptions are continued, at most 64 times. A read beyond the
 *            end of a file is ENODATA.
 * LOCKING    None. SUPER belongs to the holder of `working`, its last page and data.seg to that of
 *            `writing`. Reads of the log are counted: the file of a ring that is gone closes when
 *            there are none.
 * SEE ALSO   health.c: what errors cause. */
#include "l2/health.h"
#include "l2/log.h"
#include "l2/segment.h"
#include "stats/hist.h"

#define L2_ROUNDS 64 /* short transfers and interruptions */
#define L2_QUICK_WRITES 100u /* in a row, until callers write again */

static void l2_timed(const l2 *d, stats_op op, uint64_t since_ns)
{
    if (d->cfg.stats != NULL) { stats_time_held(d->cfg.stats, op, base_now_ns() - since_ns); }
}

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    bool again = base_load_rlx(&d->ready) == 0; /* an open tries a read that failed once more */
    for (int i = 0; i < L2_ROUNDS && got < n; i++) {
        size_t done = 0;
        int e = L2_DISK(d, pread, f, (unsigned char *)buf + got, n - got, at + got, &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e != 0 && again) {
            again = false;
            continue;
        }
        if (e == 0 && done == 0) { e = ENODATA; } /* end of the file */
        if (e != 0 && e != ENODATA) { l2_io_failed(d, "l2_read", f, at + got, e); }
        if (e != 0) { return e; }
    }
    return got == n ? 0 : EIO;
}

CELLAR_PRIVATE base_vfs_file *l2_ring_take(l2 *d, uint64_t lsn, uint64_t *at)
{
    (void)base_add_sc(&d->readers, 1u); /* seq_cst, as in l2_ring_close: one sees the other */
    const l2_ring *r = l2_ring_at(d, lsn);
    base_vfs_file *f = base_load_sc(&r->file);
    if (f != NULL) { *at = lsn % base_load_acq(&r->size); }
    return f;
}

CELLAR_PRIVATE void l2_ring_drop(l2 *d) { (void)base_sub_ar(&d->readers, 1u); }

CELLAR_PRIVATE int l2_log_read(l2 *d, void *buf, size_t n, uint64_t lsn)
{
    const uint64_t since_ns = base_now_ns();
    uint64_t at = 0;
    if (base_load_acq(&d->reads_out) == 0) { base_store_rlx(&d->read_ns, since_ns); }
    (void)base_add_ar(&d->reads_out, 1u);
    base_vfs_file *f = l2_ring_take(d, lsn, &at);
    const int e = f != NULL ? l2_read(d, f, buf, n, at) : ENODATA;
    l2_ring_drop(d);
    base_store_rlx(&d->read_ns, base_now_ns());
    (void)base_sub_ar(&d->reads_out, 1u);
    if (base_load_rlx(&d->ready) != 0) { l2_timed(d, STATS_OP_L2_READ, since_ns); }
    return e;
}

CELLAR_PRIVATE bool l2_log_read_now(l2 *d, void *buf, size_t n, uint64_t lsn)
{
    const base_vfs *v = d->vfs;
    uint64_t at = 0;
    base_vfs_file *f = l2_ring_take(d, lsn, &at);
    const bool got = f != NULL && v->pread_now != NULL && v->pread_now(v->ctx, f, buf, n, at) == n;
    l2_ring_drop(d);
    return got;
}

/* Note how long a write of data.seg took. The caller holds `writing`. */
static void l2_write_took(l2 *d, uint64_t ns)
{
    const uint32_t slow = base_load_rlx(&d->slow);
    if (ns > L2_STALLED_NS) { base_store_rlx(&d->slow, L2_QUICK_WRITES); }
    if (ns <= L2_STALLED_NS && slow != 0) { base_store_rlx(&d->slow, slow - 1); }
}

CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at)
{
    const unsigned char *p = buf;
    size_t put = 0;
    int e = 0;
    const uint64_t since_ns = base_now_ns();
    base_store_rlx(&d->write_ns, since_ns);
    for (int i = 0; i < L2_ROUNDS && put < n; i++) {
        size_t done = 0;
        e = L2_DISK(d, pwrite, f, p + put, n - put, at + put, &done);
        put += done;
        if (e != 0 && e != EINTR && e != EAGAIN) { break; }
    }
    base_store_rlx(&d->write_ns, (uint64_t)0);
    if (l2_is_ring(d, f)) { l2_write_took(d, base_now_ns() - since_ns); }
    l2_timed(d, STATS_OP_L2_WRITE, since_ns);
    if (put == n) { return 0; }
    e = e != 0 ? e : EIO;
    l2_io_failed(d, "l2_write", f, at + put, e);
    return e;
}

CELLAR_PRIVATE int64_t l2_wall_clock(const l2 *d)
{
    const int64_t ms = d->cfg.wall_ms != NULL ? d->cfg.wall_ms(d->cfg.wall_ctx) : base_wall_ms();
    return BASE_MIN(BASE_MAX(ms, 0), L2_WALL_END_MS);
}

CELLAR_PRIVATE int l2_super_store(l2 *d)
{
    unsigned char page[L2_PAGE];
    l2_super *s = &d->super;
    s->last_seen_wall_ms = BASE_MAX(s->last_seen_wall_ms, l2_wall_now(d));
    s->clock_ms = l2_wall_clock(d);
    s->day = base_load_rlx(&d->day.window);
    s->bytes_today = base_load_rlx(&d->day.used);
    if (s->closed == 0) { s->bytes_today += d->cfg.write_bpd / L2_DAY_STEPS; }
    s->serial++;
    l2_super_write(page, s);
    int e = l2_write(d, d->super_file, page, L2_PAGE, (s->serial & 1) * L2_PAGE);
    if (e == 0) {
        e = L2_DISK(d, datasync, d->super_file);
        if (e != 0) { l2_io_failed(d, "l2_sync", d->super_file, 0, e); }
    }
    if (e != 0) { s->serial--; } /* the next try writes the same copy */
    if (e == 0) { base_store_rel(&d->doubt, 0u); }
    return e;
}

/* ---- states that a power cut at DROP leaves ---- */

CELLAR_PRIVATE uint64_t l2_settled_over(l2 *d)
{
    unsigned char at[16] = { 0 };
    const int e = l2_read(d, d->super_file, at, sizeof at, (uint64_t)2 * L2_PAGE);
    return e == 0 && l2_r64(at) == ~l2_r64(at + 8) ? l2_r64(at) : UINT64_MAX;
}

CELLAR_PRIVATE int l2_settle(l2 *d)
{
    sync_role_take(&d->writing);
    d->super.synced = base_load_acq(&d->synced);
    if (base_load_acq(&d->written) == d->super.synced) { d->settled = ++d->super.settled; }
    const int e = l2_super_store(d); /* also where nothing changed: the last one may have failed */
    l2_writing_drop(d);
    return e;
}

CELLAR_PRIVATE int l2_unsettle(l2 *d)
{
    unsigned char page[L2_PAGE] = { 0 };
    l2_w64(page, d->settled);
    l2_w64(page + 8, ~d->settled);
    int e = l2_write(d, d->super_file, page, sizeof page, (uint64_t)2 * L2_PAGE);
    if (e == 0) {
        e = L2_DISK(d, datasync, d->super_file);
        if (e != 0) { l2_io_failed(d, "l2_sync", d->super_file, 0, e); }
    }
    if (e == 0) { d->settled = 0; }
    return e;
}
