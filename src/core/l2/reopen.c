/* SPDX-License-Identifier: MIT
 *
 * reopen: open the tier again when a disk answers after a stall.
 *
 * PICTURE    tier closed -> each change of the list (stall.c) logged, oldest first
 *            -> list empty: tier open, in the same hold of `owed.lock` -> stall marker removed
 * INVARIANTS A change leaves the list after its record is complete. So the record of each change
 *            that relied on the marker precedes all puts of the open tier.
 *            The marker stays until the tier is open: after a process death before that, the next
 *            open begins an empty store.
 *            If the list had no room for a change, a FLOOR drops all records first.
 * LOCKING    Worker only. The tier stays closed while a caller holds a lock of the log on a disk
 *            that stopped again.
 * SEE ALSO   README.md, "A disk that does not answer". */
#include "l2/steps.h"

#include "l2/control.h"
#include "l2/health.h"
#include "l2/invalidations.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/stall.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

/* Log one change of the list. Return false if it must wait for a later round. */
static bool l2_owed_log(l2 *d, const l2_change *c, const unsigned char *bytes)
{
    l2_took took;
    uint64_t lsn = 0;
    do {
        l2_beat(d);
        if (c->kind == L2_KIND_TOMB) {
            const l2_key k = { bytes, c->len, c->generation, c->hash };
            took = l2_tombstone_try(d, &k);
        } else {
            took = l2_control_try(d, c->hash, bytes, c->len, c->generation, &lsn);
        }
        if (took == L2_IS_CLEAN) { (void)l2_dirty_now(d); }
    } while (took == L2_IS_CLEAN);
    if (took != L2_TOOK && took != L2_IS_EMPTY) { return false; }
    if (c->kind == L2_KIND_CONTROL) { l2_invalidation_logged(d, bytes, c->row, lsn); }
    return true;
}

/* Drop all records if a change found no room in the list. */
static void l2_owed_floor(l2 *d)
{
    sync_take(L2_STALL, &d->owed.lock);
    const bool over = d->owed.over;
    sync_drop(L2_STALL, &d->owed.lock);
    if (!over) { return; }
    l2_empty(d);
    BASE_POINT("l2.reopen_floor");
    l2_owed_floored(d);
    l2_lost_all(d, L2_LOST_stall);
}

/* Open the tier if the list is empty. */
static bool l2_owed_over(l2 *d)
{
    l2_owed *o = &d->owed;
    sync_take(L2_STALL, &o->lock);
    const bool empty = o->first == o->end && !o->over;
    const uint32_t w = base_load_rlx(&d->closed);
    if (empty) {
        /* release: the acquire in l2_reserve_held shows each stamp that was raised before */
        base_store_sc(&d->closed, w & ~L2_CLOSED);
    }
    sync_drop(L2_STALL, &o->lock);
    return empty;
}

CELLAR_PRIVATE bool l2_reopen(l2 *d)
{
    l2_change c;
    unsigned char bytes[L2_OWED_LEN_MAX];
    uint64_t count = 0;
    if (base_load_acq(&d->marker_late) != 0) { l2_marker_tidy(d, true); }
    if (!l2_is_closed(d)) { return false; }
    BASE_POINT("l2.reopen");
    do {
        l2_owed_floor(d);
        while (l2_owed_first(d, &c, bytes)) {
            if (!l2_owed_log(d, &c, bytes)) { return count > 0; }
            BASE_POINT("l2.owed_logged");
            l2_owed_remove(d, &c);
            count++;
        }
    } while (!l2_owed_over(d));
    BASE_POINT("l2.reopen_open");
    l2_marker_tidy(d, false);
    base_store_rlx(&d->arm_wanted, 1u); /* writeback may have cleaned pages during the stall */
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "the disk answers again: %llu changes of the stall are logged",
             (unsigned long long)count);
    return true;
}

BASE_SIZE_END
