/* SPDX-License-Identifier: MIT
 *
 * io: read, write and sync files of the store; count and report errors.
 *
 * INVARIANTS Short transfers and interruptions are continued, at most 64 times. A read beyond the
 *            end of a file is ENODATA.
 * LOCKING    None. Writes and syncs belong to the worker, reads to any thread.
 * SEE ALSO   health.c: what errors cause. */
#include "l2/io.h"

#include <errno.h>

#include "l2/health.h"
#include "l2/progress.h"

#define L2_ROUNDS 64 /* short transfers and interruptions */

CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    for (int i = 0; i < L2_ROUNDS && got < n; i++) {
        size_t done = 0;
        int e = d->vfs->pread(d->vfs->ctx, f, (unsigned char *)buf + got, n - got, at + got,
                              &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e == 0 && done == 0) { e = ENODATA; } /* end of the file */
        if (e != 0) { return e; }
    }
    return got == n ? 0 : EINTR; /* repeated interruptions */
}

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    const int e = l2_read_only(d, f, buf, n, at);
    if (e == EINTR) { return EIO; }
    if (e != 0) { l2_io_failed(d, "l2_read", f, at, e); }
    return e;
}

CELLAR_PRIVATE int l2_write_as(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                               bool worker)
{
    const unsigned char *p = buf;
    size_t put = 0;
    for (int i = 0; i < L2_ROUNDS && put < n; i++) {
        size_t done = 0;
        if (worker) { l2_beat(d); }
        const int e = d->vfs->pwrite(d->vfs->ctx, f, p + put, n - put, at + put, &done);
        put += done & ~(size_t)(L2_PAGE / 8 - 1); /* O_DIRECT continues at a sector boundary. */
        if (e == 0 || e == EINTR || e == EAGAIN) { continue; }
        l2_io_failed(d, "l2_write", f, at + put, e);
        return e;
    }
    return put == n ? 0 : EIO;
}

CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at)
{
    return l2_write_as(d, f, buf, n, at, true);
}

CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f)
{
    l2_beat(d);
    const int e = d->vfs->datasync(d->vfs->ctx, f);
    if (e != 0) { l2_io_failed(d, "l2_sync", f, 0, e); }
    return e;
}
