/* SPDX-License-Identifier: MIT
 *
 * stall: keep callers running, and deletes safe, while the disk does not answer (a stall).
 *
 * PICTURE    worker without progress (progress.c) for 100 ms: stalled, 500 ms: frozen
 *            put    beyond the armed end, log busy, or stalled -> dropped
 *            get    that needs a read while stalled            -> miss
 * PROTOCOL   A delete beyond the armed end stores directly while the worker made progress within
 *            20 ms, and waits for longer silences. When the disk is frozen, the delete closes the
 *            tier, makes the stall marker (a file in /dev/shm) and returns.
 *            When the disk answers: FLOOR logged -> stall marker removed -> tier open.
 *            After a process death: the next open finds the marker and begins an empty store.
 * INVARIANTS While the tier is closed gets miss and puts are dropped. A change is finished once it
 *            has counted itself in `closed` with MARKED set. The reopening clears both bits and
 *            writes its FLOOR before that, so it comes later than each such change.
 *            A put checks `closed`, checks its stamp and reserves within one hold of the log lock.
 *            The FLOOR is written under that lock. So no put that saw an old stamp follows the
 *            FLOOR. At level DROP a change relies on the marker only while SUPER says DIRTY.
 *            New slots wait until META has each control that could not be logged.
 * LOCKING    `closed` by CAS; puts read it under L2_LOG.
 * LIMITS     Each thread may send one read to the stalled disk. At level DROP the first change
 *            after a sync waits until SUPER says DIRTY. Without /dev/shm changes wait and are
 *            counted. The marker is lost if a container gets a fresh /dev/shm within one boot, or
 *            if systemd removes files there (RemoveIPC).
 * SEE ALSO   arm.c. README.md: why a slow lock alone does not close the tier. */
#include "l2/stall.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/log.h"

BASE_SIZE_BEGIN

/* ---- the marker ---- */

static int l2_marker(l2 *d, base_vfs_bell how)
{
    if (d->forked || d->vfs->bell == NULL) { return ENOSYS; }
    return d->vfs->bell(d->vfs->ctx, d->marker_id, how);
}

CELLAR_PRIVATE void l2_marker_name(l2 *d, const l2_stage_id *stage)
{
    const uint64_t device = stage->device != 0 ? base_mix64(stage->device) : 0;
    const uint64_t born = stage->born_ns != 0 ? base_mix64((uint64_t)stage->born_ns) : 0;
    memcpy(d->marker_id, d->super.uuid, sizeof d->marker_id);
    l2_w64(d->marker_id, l2_r64(d->marker_id) ^ stage->inode);
    l2_w64(d->marker_id + 8, l2_r64(d->marker_id + 8) ^ device ^ born);
}

/* Look for the marker. Only these codes prove that there is none, or no place for one. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d)
{
    const int e = l2_marker(d, BASE_VFS_BELL_LOOK);
    return e != ENOENT && e != ENOTDIR && e != EACCES && e != ENOSYS;
}

CELLAR_PRIVATE void l2_marker_remove(l2 *d) { (void)l2_marker(d, BASE_VFS_BELL_REMOVE); }

CELLAR_PRIVATE void l2_marker_make(l2 *d) { (void)l2_marker(d, BASE_VFS_BELL_MAKE); }

BASE_SIZE_END

/* ---- the closed tier ---- */

/* Return true if SUPER must be marked DIRTY first. Only level DROP waits for that. */
static bool l2_must_mark(const l2 *d)
{
    return d->cfg.level == L2_DROP && base_load_sc(&d->dirty) != L2_NOW_DIRTY;
}

CELLAR_PRIVATE bool l2_closed_over(l2 *d)
{
    uint32_t w = base_load_acq(&d->closed);
    bool made = false;
    while ((w & L2_CLOSED) != 0 && !l2_must_mark(d)) {
        if ((w & L2_MARKED) == 0) {
            if (l2_marker(d, BASE_VFS_BELL_MAKE) != 0) { break; }
            BASE_POINT("l2.bell_made");
            made = true;
        }
        const uint32_t next = (w | L2_MARKED) + L2_CLOSED_ONE;
        if (base_cas_sc(&d->closed, w, next)) { /* l2_reopen clears both bits. */
            L2_COUNT(d, relied);
            /* seq_cst, paired with l2_sync: one of the two sees the other. */
            return !l2_must_mark(d);
        }
        w = base_load_acq(&d->closed);
    }
    /* The worker removed the marker just before this one was made. No change relies on it. */
    if (made && !l2_is_closed(d)) { base_store_rel(&d->marker_late, 1u); }
    return false;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_close_tier(l2 *d)
{
    const uint32_t w = base_load_acq(&d->closed);
    const bool mine = (w & (L2_CLOSED | L2_MARKED)) == 0 &&
                      base_cas_sc(&d->closed, w, w | L2_CLOSED);
    if (mine) { L2_COUNT(d, closings); }
    const bool over = l2_closed_over(d);
    /* The log line follows the marker, because the host may write its log to the same disk. */
    if (mine) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "the disk does not answer: the store continues in memory until it does, "
                 "then with an empty disk tier");
    }
    return over;
}

/* Remove a late marker. MARKED alone keeps other threads from closing the tier, so no change can
 * rely on the marker that is removed. */
static void l2_marker_tidy(l2 *d)
{
    const uint32_t w = base_load_acq(&d->closed);
    if ((w & L2_CLOSED) != 0 || !base_cas_sc(&d->closed, w, w | L2_MARKED)) { return; }
    base_store_rel(&d->marker_late, 0u);
    l2_marker_remove(d);
    (void)base_xchg_ar(&d->closed, w + L2_CLOSED_ONE);
}

CELLAR_PRIVATE void l2_reopen(l2 *d)
{
    if (base_load_acq(&d->marker_late) != 0) { l2_marker_tidy(d); }
    if (!l2_is_closed(d)) { return; }
    BASE_POINT("l2.reopen");
    l2_empty(d);
    BASE_POINT("l2.reopen_floor");
    const uint32_t before = base_load_acq(&d->closed);
    l2_marker_remove(d);
    BASE_POINT("l2.reopen_open");
    uint32_t w = base_load_acq(&d->closed);
    while (!base_cas_sc(&d->closed, w, (w & ~(L2_CLOSED | L2_MARKED)) + L2_CLOSED_ONE)) {
        /* acquire in l2_reserve_held: each stamp raised before is visible there */
        w = base_load_acq(&d->closed);
    }
    /* A change came to rely on the marker meanwhile and may have made it after its removal. */
    if (w != before) { base_store_rel(&d->marker_late, 1u); }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "the disk answers again: the disk tier restarts empty");
}

BASE_SIZE_END
