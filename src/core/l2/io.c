/* SPDX-License-Identifier: MIT
 *
 * io: read, write and sync files of the store; count and report errors.
 *
 * INVARIANTS Short transfers and interruptions are continued, at most 64 times. A read beyond the
 *            end of a file is ENODATA.
 * LOCKING    None, except L2_LOG after a failed sync. Writes and syncs belong to the worker, reads
 *            to any thread.
 * SEE ALSO   health.c: what errors cause. */
#include "l2/io.h"

#include <errno.h>

#include "l2/health.h"
#include "l2/progress.h"

#define L2_ROUNDS 64 /* short transfers and interruptions */
#define L2_READ_TRIES 4

CELLAR_PRIVATE void l2_timed(const l2 *d, stats_op op, uint64_t since_ns)
{
    if (d->cfg.stats != NULL) { stats_time_held(d->cfg.stats, op, base_now_ns() - since_ns); }
}

CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    for (int i = 0; i < L2_ROUNDS && got < n; i++) {
        size_t done = 0;
        int e = L2_DISK(d, pread, f, (unsigned char *)buf + got, n - got, at + got,
                        &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e == 0 && done == 0) { e = ENODATA; } /* end of the file */
        if (e != 0) { return e; }
    }
    return got == n ? 0 : EINTR; /* repeated interruptions */
}

CELLAR_PRIVATE int l2_read_counted(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    (void)base_add_rlx(&d->reads_begun, (uint64_t)1);
    const int e = l2_read_only(d, f, buf, n, at);
    (void)base_add_ar(&d->reads_done, (uint64_t)1);
    return e;
}

CELLAR_PRIVATE size_t l2_read_now(l2 *d, void *buf, size_t n, uint64_t at)
{
    if (d->vfs->pread_now == NULL) { return 0; }
    return d->vfs->pread_now(d->vfs->ctx, d->data_file, buf, n, at);
}

CELLAR_PRIVATE void l2_ahead(l2 *d, uint64_t at, uint64_t n)
{
    if (d->vfs->ahead == NULL) { return; }
    (void)base_add_rlx(&d->reads_begun, (uint64_t)1);
    d->vfs->ahead(d->vfs->ctx, d->data_file, at, n);
    (void)base_add_ar(&d->reads_done, (uint64_t)1);
}

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    int e = EIO;
    /* What recovery cannot read is lost for good. An end of the file does not pass. */
    for (int i = 0; i < L2_READ_TRIES && e != 0 && e != ENODATA; i++) {
        e = l2_read_only(d, f, buf, n, at);
    }
    if (e == EINTR) { return EIO; }
    if (e != 0) { l2_io_failed(d, "l2_read", f, at, e); }
    return e;
}

CELLAR_PRIVATE int l2_write_as(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                               bool worker)
{
    const unsigned char *p = buf;
    size_t put = 0;
    const uint64_t since_ns = base_now_ns();
    for (int i = 0; i < L2_ROUNDS && put < n; i++) {
        size_t done = 0;
        if (worker) { l2_beat(d); }
        const int e = L2_DISK(d, pwrite, f, p + put, n - put, at + put, &done);
        put += done & ~(size_t)(L2_PAGE / 8 - 1); /* O_DIRECT continues at a sector boundary. */
        if (e == 0 || e == EINTR || e == EAGAIN) { continue; }
        l2_io_failed(d, "l2_write", f, at + put, e);
        return e;
    }
    l2_timed(d, STATS_OP_L2_WRITE, since_ns);
    return put == n ? 0 : EIO;
}

CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at)
{
    return l2_write_as(d, f, buf, n, at, true);
}

CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e)
{
    sync_take(L2_LOG, &d->log_lock);
    if (d->cfg.level != L2_DROP) {
        base_store_rel(&d->committed, (uint64_t)0);
        base_store_rel(&d->commit_errno, (uint32_t)e); /* acquire in l2_commit_barred */
    }
    base_store_rel(&d->resync, 1u); /* under the lock: l2_commit_healed */
    sync_drop(L2_LOG, &d->log_lock);
    base_log(d->cfg.log, BASE_LOG_ERROR, "l2", e,
             "a sync failed: the records since the last sync are stored again");
}

CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f)
{
    l2_beat(d);
    const int e = L2_DISK(d, datasync, f);
    if (e == 0) { return 0; }
    if (f == d->data_file || f == d->stage_file) { l2_sync_failed(d, e); }
    l2_io_failed(d, "l2_sync", f, 0, e);
    return e;
}
