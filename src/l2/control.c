/* SPDX-License-Identifier: MIT
 *
 * control: log a control; wait for the disk if a change cannot be logged now.
 *
 * INVARIANTS A control that cannot be logged is counted in lost_controls. New slots wait until META
 *            has it (slot.c).
 * LOCKING    None: a caller that waits holds no lock.
 * SEE ALSO   namespaces.c and invalidations.c: the controls. */
#include "l2/control.h"

#include "l2/heartbeat.h"
#include "l2/log.h"
#include "l2/stall.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

#define L2_STALLED_SLEEP_NS UINT64_C(1000000)

CELLAR_PRIVATE bool l2_logged_else(l2 *d, l2_took took)
{
    if (took == L2_IS_CLEAN) {
        l2_dirty_wait(d);
    } else if (took == L2_IS_FROZEN && l2_close_tier(d)) {
        return true;
    } else {
        L2_COUNT(d, waits);
        base_sleep_ns(L2_STALLED_SLEEP_NS);
    }
    return d->forked; /* A callback of the closing forked: a shell has no log. */
}

CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation)
{
    const l2_rec r = { .kind = L2_KIND_CONTROL, .vlen = bytes, .generation = generation };
    if (base_load_rlx(&d->broken) == L2_BROKEN_STAGE) { return 0; }
    l2_spot at;
    l2_took took;
    while ((took = l2_reserve(d, L2_ROOM_KEEP, h48, &r, NULL, &at)) > L2_IS_EMPTY ||
           took == L2_IS_CLEAN) {
        (void)base_add_ar(&d->lost_controls, took == L2_IS_FROZEN ? 1u : 0u);
        /* META has the control before any other record */
        if (l2_logged_else(d, took)) { return 0; }
    }
    if (took == L2_TOOK) {
        memcpy(at.at + L2_RECORD_HEAD, value, bytes);
        l2_spot_done(d, &at);
    }
    l2_stage_look(d); /* a FLOOR is also a store into the stage */
    if (took != L2_TOOK) { return 0; } /* all records were dropped, of all namespaces */
    L2_COUNT(d, controls);
    return l2_lsn(d, at.segseq, at.off);
}

BASE_SIZE_END
