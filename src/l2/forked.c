/* SPDX-License-Identifier: MIT
 *
 * forked: what the child of a fork has of a disk level: nothing, in a shell that does no harm.
 *
 * PICTURE    fork -> l2_forked, in the child: files closed, so that the lock is the parent's alone
 *            -> no slots, no mappings, a vfs that refuses -> whoever was inside leaves -> l2_close
 * INVARIANTS no call on a shell reaches a file, a doorbell or a byte that the parent maps. `l2` and
 *            its tables stay until l2_close: a listener may fork while a call in here makes room,
 *            the caller's functions (cipher, log) may, and the child comes back into that call.
 *            It finds what it held: tables as they were, locks free, no slot, `broken`, and an
 *            error for each thing it asks of the disk. What it reads in place, out of the stage, it
 *            must not read after it has called: see l2_alloc, l2_box_open.
 * LOCKING    one thread is there. Locks are as if they had never been taken; what a lost thread
 *            had half done in a table stays so, and nobody changes a table any more but who was
 *            inside already.
 * LIMITS     the tables' memory stays charged in the child until it closes the store.
 * TRIED      freeing all of it in the fork: an l2_get that had made room for its record went on in
 *            freed memory. To count forks and compare after each allocation: a dozen places, with
 *            an error of their own through every caller up to the worker's loop. */
#include "l2/l2_int.h"

#include <errno.h>

BASE_SIZE_BEGIN

static int l2_gone_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                        base_vfs_file **out)
{
    (void)ctx;
    (void)dir;
    (void)name;
    (void)flags;
    *out = NULL;
    return EBADF;
}

static int l2_gone_read(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at, size_t *done)
{
    (void)ctx;
    (void)f;
    (void)buf;
    (void)n;
    (void)at;
    *done = 0;
    return EBADF;
}

static int l2_gone_write(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                         size_t *done)
{
    (void)ctx;
    (void)f;
    (void)buf;
    (void)n;
    (void)at;
    *done = 0;
    return EBADF;
}

static int l2_gone_arm(void *ctx, base_vfs_file *f, void *map, size_t at, size_t bytes)
{
    (void)ctx;
    (void)f;
    (void)map;
    (void)at;
    (void)bytes;
    return EBADF;
}

static int l2_gone_file(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f;
    return EBADF;
}

static int l2_gone_size(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    (void)ctx;
    (void)f;
    (void)bytes;
    return EBADF;
}

static int l2_gone_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    (void)ctx;
    (void)dir;
    (void)from;
    (void)to;
    return EBADF;
}

static int l2_gone_unlink(void *ctx, base_vfs_file *dir, const char *name)
{
    (void)ctx;
    (void)dir;
    (void)name;
    return EBADF;
}

static int l2_gone_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    (void)ctx;
    (void)f;
    memset(out, 0, sizeof *out);
    return EBADF;
}

/* Of the real one it keeps only how to give back what a call still holds. What an open needs is not
 * there: a shell is never opened. */
static void l2_gone_vfs(l2 *d)
{
    d->gone = (base_vfs){
        .open = l2_gone_open, .close = d->vfs->close, .preallocate = l2_gone_size,
        .pread = l2_gone_read, .pwrite = l2_gone_write, .unmap = d->vfs->unmap, .arm = l2_gone_arm,
        .datasync = l2_gone_file, .sync_dir = l2_gone_file, .truncate = l2_gone_size,
        .rename = l2_gone_rename, .unlink = l2_gone_unlink, .stat = l2_gone_stat,
        .ctx = d->vfs->ctx,
    };
    d->vfs = &d->gone;
}

/* Whoever held one is not here. */
static void l2_locks_reset(l2 *d) SYNC_UNCHECKED;
static void l2_locks_reset(l2 *d)
{
    for (uint32_t i = 0; i < L2_SHARDS; i++) { sync_reset(&d->index.shard[i].lock); }
    for (uint32_t i = 0; d->gates != NULL && i < d->gate_count; i++) {
        sync_reset(&d->gates[i].lock);
    }
    sync_reset(&d->ends.lock);
    sync_reset(&d->trouble.lock);
    sync_reset(&d->log_lock);
    sync_reset(&d->view_lock);
    base_store_rel(&d->working, 0u);
    base_store_rel(&d->imaging, 0u);
    base_store_rel(&d->committing, 0u);
    base_store_rlx(&d->beat, (uint64_t)0); /* nobody is at work: nothing stalls */
    base_store_rlx(&d->commit_ns, (uint64_t)0);
    base_store_rlx(&d->reads_stuck, 0u);
}

CELLAR_PRIVATE void l2_forked(l2 *d) SYNC_UNCHECKED;
CELLAR_PRIVATE void l2_forked(l2 *d)
{
    l2_locks_reset(d);
    l2_files_close(d, true);
    l2_gone_vfs(d);
    d->nstage = 0;
    d->open_slot = NULL;
    d->forked = true;
    d->threaded = false; /* its worker's thread stayed with the parent */
    base_store_rel(&d->stop, 1u); /* or it is the one that forked */
    base_store_rlx(&d->lost, 0u);
    base_store_rlx(&d->closed, 0u);
    base_store_rel(&d->broken, (uint32_t)L2_BROKEN_STAGE);
}

CELLAR_PRIVATE void *l2_alloc(l2 *d, size_t bytes)
{
    void *p = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (BASE_LIKELY(!d->forked)) { return p; }
    base_free(d->cfg.account, BASE_MOD_L2, p, p != NULL ? bytes : 0);
    return NULL;
}

BASE_SIZE_END
