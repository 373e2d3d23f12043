/* SPDX-License-Identifier: MIT
 *
 * sync: make the whole store durable.
 *
 * PICTURE    files synced while appends continue -> lsn taken; at DROP appends wait -> META
 *            -> the rest synced -> SUPER {CLEAN, lsn}
 * INVARIANTS A sync succeeds only if no change relies on the stall marker and the files at the path
 *            are the ones that were synced.
 *            After a failed sync SUPER may say CLEAN or not. It says DIRTY again before anything is
 *            acknowledged. No record is dropped: the next sync stores the bytes again (barrier.c).
 * LOCKING    Each call becomes the worker.
 * SEE ALSO   superblock.c: CLEAN and DIRTY; stage_trim.c: why a stage is synced late. */
#include "l2/superblock.h"

#include <errno.h>

#include "l2/heartbeat.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/steps.h"

BASE_SIZE_BEGIN

static void l2_writers_wait(l2 *d)
{
    for (uint32_t i = 0; i < d->nstage; i++) {
        while (base_load_acq(&d->slot[i].writers) != 0) { base_yield(); }
    }
}

/* Sync data and stage. quiet: no thread appends. A stage that stage_trim.c zeroes is synced only
 * then; it holds less than one segment that is not in data.seg. */
static int l2_sync_files(l2 *d, bool quiet)
{
    const bool drop = d->cfg.level == L2_DROP, trims = drop && !d->no_trim;
    if (drop) { l2_drain(d); }
    const int e = l2_sync_file(d, d->data_file);
    if (e != 0 || (trims && !quiet)) { return e; }
    if (trims) { l2_trim_all(d); }
    l2_disarm(d);
    return l2_sync_file(d, d->stage_file);
}

/* Begin a sync and return its lsn. At DROP, appends wait from here until SUPER says DIRTY again. */
static uint64_t l2_sync_begin(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t lsn = l2_log_end(d);
    if (d->cfg.level == L2_DROP) { base_store_sc(&d->dirty, (uint32_t)L2_NOW_MOVING); }
    sync_drop(L2_LOG, &d->log_lock);
    l2_writers_wait(d);
    return lsn;
}

/* Sync everything. closing: the last action of this run on its log. */
CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing)
{
    l2_worker_take(d);
    L2_COUNT(d, syncs);
    if (!l2_files_there(d)) { /* The files at the path are not the ones that would be synced. */
        l2_worker_drop(d);
        return CELLAR_E_IO;
    }
    (void)l2_reopen(d);
    const uint32_t before = base_load_rlx(&d->dirty);
    int e = l2_resync(d);
    if (e == 0) { e = l2_sync_files(d, false); } /* most of the bytes, while appends continue */
    const uint64_t lsn = l2_sync_begin(d);
    BASE_POINT("l2.sync_begun");
    if (e == 0) { e = l2_meta_store(d); }
    if (e == 0) { e = l2_sync_files(d, true); }
    const bool unlogged = (base_load_sc(&d->closed) & L2_CLOSED) != 0; /* changes that no log has */
    if (e == 0 && unlogged) { e = EAGAIN; }
    if (e == 0 && !l2_files_there(d)) { e = EFAULT; } /* truncated during the sync */
    if (e == 0) {
        d->super.state = L2_CLEAN;
        d->super.clean_lsn = lsn;
        d->super.closed = closing;
        e = l2_super_store(d);
    }
    if (e == 0) {
        base_store_rel(&d->want_dirty, 0u);
        base_store_rel(&d->dirty, d->cfg.level == L2_DROP ? (uint32_t)L2_NOW_CLEAN
                                                          : (uint32_t)L2_NOW_DIRTY);
        if (!closing) { l2_arm_work(d); }
        l2_worker_drop(d);
        return CELLAR_OK;
    }
    /* SUPER may say CLEAN or not. It must say DIRTY again before anything is acknowledged. */
    base_store_rel(&d->dirty, before == L2_NOW_CLEAN ? (uint32_t)L2_NOW_CLEAN
                                                     : (uint32_t)L2_NOW_MOVING);
    (void)l2_dirty_now(d);
    l2_worker_drop(d);
    return CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err l2_sync(l2 *d) { return l2_sync_as(d, false); }

BASE_SIZE_END
