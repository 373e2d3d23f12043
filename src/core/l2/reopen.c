/* SPDX-License-Identifier: MIT
 *
 * reopen: open a closed tier, or remove the stall marker, once the disk answers.
 *
 * PICTURE    closed -> FLOOR at the tail, written -> words removed -> open, empty -> marker removed
 *            open, marker there -> buffer written -> marker removed
 * INVARIANTS While the tier is closed changes log nothing. So it opens behind a FLOOR alone, and
 *            behind the control of each namespace: a clear may come after the FLOOR. A drop may
 *            come behind a copy of its control, and log no end: then another FLOOR ends the copy.
 * LOCKING    `working`.
 * SEE ALSO   stall.c: what closes the tier. */
#include "l2/reopen.h"

#include "l2/control.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/log.h"
#include "l2/stall.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_reopen(l2 *d)
{
    uint64_t owed = base_load_acq(&d->owed_lsn);
    if (owed == 0 || base_load_acq(&d->disk) != L2_DISK_OK) { return; }
    if (l2_is_closed(d)) {
        base_store_sc(&d->dropped, 0u);
        sync_take(L2_LOG, &d->log_lock); /* a put that came before the tier closed has ended */
        const uint64_t tail = base_load_rlx(&d->tail);
        sync_drop(L2_LOG, &d->log_lock);
        if (l2_floor_write(d, tail) != 0) { return; }
        l2_index_cut(d, tail);
        l2_lost_all(d, L2_LOST_stall);
        L2_COUNT(d, emptied);
        for (bool open = false; !open;) {
            const bool full = l2_namespace_again(d, tail) == ENOSPC;
            if (full || base_load_acq(&d->dropped) != 0) { return; }
            sync_role_take(&d->marking);
            open = l2_namespaces_open(d, tail);
            owed = base_load_acq(&d->tail); /* with the controls that were logged meanwhile */
            if (open) { base_store_rel(&d->owed_lsn, owed); }
            sync_role_drop(&d->marking);
        }
    }
    if (l2_flush(d, owed, L2_WAIT_NS) == 0) { (void)l2_all_written(d); }
}

BASE_SIZE_END
