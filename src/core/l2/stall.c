/* SPDX-License-Identifier: MIT
 *
 * stall: deletes stay safe while the disk does not answer.
 *
 * PICTURE    change in the buffer, not written for 500 ms -> stall marker (a file in /dev/shm), and
 *            the call returns; written -> marker removed
 *            no room for the change, and no pass ends for 500 ms -> marker, tier closed: gets miss,
 *            puts are dropped, changes need no record. The disk answers -> FLOOR -> open, empty
 * INVARIANTS The next open that finds the marker begins empty. So a change is safe if the marker
 *            exists. It is removed only when all that relied on it is written.
 * LOCKING    `marking` is a role: its holder calls the file system of the marker.
 * LIMITS     Without /dev/shm a change waits for the disk. */
#include "l2/stall.h"

#include "l2/record.h"

BASE_SIZE_BEGIN

static int l2_marker(l2 *d, base_vfs_bell how)
{
    if (d->vfs->bell == NULL) { return ENOSYS; }
    return d->vfs->bell(d->vfs->ctx, d->marker_id, how);
}

CELLAR_PRIVATE void l2_marker_name(l2 *d)
{
    base_vfs_stat st = { 0 }; /* of the directory: a copy of it has another marker */
    (void)d->vfs->stat(d->vfs->ctx, d->dir, &st);
    const uint64_t device = st.device != 0 ? base_mix64(st.device) : 0;
    const uint64_t born = st.born_ns != 0 ? base_mix64((uint64_t)st.born_ns) : 0;
    memcpy(d->marker_id, d->super.uuid, sizeof d->marker_id);
    l2_w64(d->marker_id, l2_r64(d->marker_id) ^ st.inode);
    l2_w64(d->marker_id + 8, l2_r64(d->marker_id + 8) ^ device ^ born);
}

/* Look for the marker. Only these codes prove that there is none, or no place for one. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d)
{
    const int e = l2_marker(d, BASE_VFS_BELL_LOOK);
    return e != ENOENT && e != ENOTDIR && e != EACCES && e != ENOSYS;
}

CELLAR_PRIVATE void l2_marker_remove(l2 *d) { (void)l2_marker(d, BASE_VFS_BELL_REMOVE); }

/* Rely on the marker until all below `end` is written. Return false if there is no place for it. */
static bool l2_rely(l2 *d, uint64_t end, bool close)
{
    sync_role_take(&d->marking);
    const uint64_t owed = base_load_rlx(&d->owed_lsn);
    const bool there = owed != 0 || l2_marker(d, BASE_VFS_BELL_MAKE) == 0;
    BASE_POINT("l2.bell_made");
    if (there) { base_store_rel(&d->owed_lsn, BASE_MAX(owed, end)); }
    const bool closes = there && close && !l2_is_closed(d);
    if (closes) { base_store_sc(&d->closed, 1u); }
    sync_role_drop(&d->marking);
    if (there) { L2_COUNT(d, relied); }
    if (closes) {
        L2_COUNT(d, closings);
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "the disk does not answer: the store continues in memory until it does");
    }
    return there;
}

CELLAR_PRIVATE bool l2_all_written(l2 *d)
{
    if (base_load_acq(&d->owed_lsn) == 0) { return true; }
    sync_role_take(&d->marking);
    const uint64_t owed = base_load_rlx(&d->owed_lsn);
    const bool all = !l2_is_closed(d) && base_load_acq(&d->written) >= owed;
    if (all && owed != 0) {
        l2_marker_remove(d);
        base_store_rel(&d->owed_lsn, (uint64_t)0);
    }
    sync_role_drop(&d->marking);
    return all;
}

CELLAR_PRIVATE void l2_ensure(l2 *d, uint64_t end)
{
    while (base_load_acq(&d->written) < end) {
        const bool off = base_load_acq(&d->disk) != L2_DISK_OK || l2_is_closed(d);
        const int e = off ? EIO : l2_flush(d, end, L2_WAIT_NS);
        if (e != 0 && l2_rely(d, end, false)) { return; }
        if (e == 0) { continue; }
        L2_COUNT(d, waits);
        base_sleep_ns(L2_WAIT_NS / 100);
    }
    (void)l2_all_written(d);
}

CELLAR_PRIVATE bool l2_wait(l2 *d, l2_took took, l2_waiting *w)
{
    if (l2_make_way(d, took, L2_WAIT_NS) == L2_TOOK) { return true; }
    const uint64_t now = base_now_ns();
    if (w->since_ns == 0) { w->since_ns = now; }
    const uint64_t last = BASE_MAX(base_load_rlx(&d->moved_ns), w->since_ns);
    const bool off = base_load_acq(&d->disk) != L2_DISK_OK;
    L2_COUNT(d, waits);
    if ((off || now - last > L2_WAIT_NS) && l2_rely(d, UINT64_MAX, true)) { return false; }
    l2_room_wait(d, w->seen);
    return true;
}

BASE_SIZE_END
