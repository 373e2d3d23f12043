/* SPDX-License-Identifier: MIT
 *
 * io: read and write the files of the store; count and report errors.
 *
 * INVARIANTS Short transfers and interruptions are continued, at most 64 times. A read beyond the
 *            end of a file is ENODATA.
 * LOCKING    None. data.seg belongs to the holder of `writing`. Reads of the log are counted: the
 *            file of a ring that is gone closes when there are none.
 * SEE ALSO   health.c: what errors cause. */
#include "l2/io.h"

#include "l2/health.h"
#include "stats/hist.h"

#define L2_ROUNDS 64 /* short transfers and interruptions */
#define L2_PAGES_NS UINT64_C(1000000000) /* for reads of single pages */
#define L2_QUICK_WRITES 100u /* in a row, until callers write again */

static void l2_timed(const l2 *d, stats_op op, uint64_t ns)
{
    if (d->cfg.stats != NULL) { stats_time_held(d->cfg.stats, op, ns); }
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
    const uint64_t now_ns = base_now_ns();
    base_store_rlx(&d->read_ns, now_ns);
    (void)base_sub_ar(&d->reads_out, 1u);
    if (base_load_rlx(&d->ready) != 0) { l2_timed(d, STATS_OP_L2_READ, now_ns - since_ns); }
    return e;
}

CELLAR_PRIVATE int l2_log_read_pages(l2 *d, unsigned char *buf, size_t n, uint64_t lsn)
{
    const uint64_t since_ns = base_now_ns();
    const int e = l2_log_read(d, buf, n, lsn);
    bool any = e == 0;
    for (size_t off = 0, part; e != 0 && off < n; off += part) {
        /* Not known: does the disk fail, or these pages? */
        const bool unknown = base_load_acq(&d->disk) != L2_DISK_OK ||
                             base_load_acq(&d->stop) != 0 || base_now_ns() - since_ns > L2_PAGES_NS;
        if (unknown && base_load_rlx(&d->ready) != 0) { return e; }
        part = BASE_MIN(L2_PAGE - (size_t)((lsn + off) % L2_PAGE), n - off);
        const bool read = l2_log_read(d, buf + off, part, lsn + off) == 0;
        if (!read) { memset(buf + off, 0, part); }
        any = any || read;
    }
    return any ? 0 : e;
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

/* Note how long a write took that callers wait for. The caller holds `writing`. */
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
    /* A SUPER of the holder of `working` says nothing of a write that callers wait for. */
    const bool awaited = f != d->super_file;
    if (awaited) { base_store_rlx(&d->write_ns, since_ns); }
    for (int i = 0; i < L2_ROUNDS && put < n; i++) {
        size_t done = 0;
        e = L2_DISK(d, pwrite, f, p + put, n - put, at + put, &done);
        put += done;
        if (e != 0 && e != EINTR && e != EAGAIN) { break; }
    }
    const uint64_t took_ns = base_now_ns() - since_ns;
    if (awaited) {
        base_store_rlx(&d->write_ns, (uint64_t)0);
        l2_write_took(d, took_ns);
    }
    l2_timed(d, STATS_OP_L2_WRITE, took_ns);
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

CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f)
{
    const int e = L2_DISK(d, datasync, f);
    if (e != 0) { l2_io_failed(d, "l2_sync", f, 0, e); }
    return e;
}

CELLAR_PRIVATE bool l2_files_there(l2 *d)
{
    base_vfs_stat st = { 0 };
    base_vfs_file *f = base_load_acq(&l2_ring_now(d)->file);
    if (base_load_rlx(&d->broken) != 0) { return false; }
    const int e = L2_DISK(d, stat, f, &st);
    if (e != 0) { l2_io_failed(d, "l2_stat", f, 0, e); }
    if (e != 0 || (st.links != 0 && st.size_bytes >= l2_size(d))) { return true; }
    base_store_rel(&d->broken, 1u);
    l2_lost_all(d, L2_LOST_files);
    return false;
}
