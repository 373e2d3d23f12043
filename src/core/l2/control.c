/* SPDX-License-Identifier: MIT
 *
 * control: log a control; wait for the disk if a change cannot be logged now.
 *
 * INVARIANTS A control that neither the log nor the list of a stall takes is counted in
 *            lost_controls. New slots wait until META has it (slot.c).
 * LOCKING    None: a caller that waits holds no lock.
 * SEE ALSO   namespaces.c and invalidations.c: the controls. */
#include "l2/control.h"

#include "l2/format.h"
#include "l2/health.h"
#include "l2/heartbeat.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

#define L2_STALLED_SLEEP_NS UINT64_C(1000000)

CELLAR_PRIVATE l2_owing l2_logged_else(l2 *d, l2_took took, l2_waiting *w, const l2_change *c,
                                       const void *bytes)
{
    if (took == L2_IS_CLEAN) {
        l2_dirty_wait(d);
        return L2_NOT_OWED;
    }
    if (w->since_ns == 0) { w->since_ns = base_now_ns(); }
    const bool stands = took == L2_NO_ROOM && l2_stands(d, w->since_ns);
    l2_owing owing = L2_NOT_OWED;
    if (stands || took == L2_IS_FROZEN) { owing = l2_close_tier(d, c, bytes); }
    if (owing != L2_NOT_OWED) { return owing; }
    L2_COUNT(d, waits);
    if (stands && l2_is_closed(d)) { /* no place for a marker */
        l2_empty(d);
        l2_lost_all(d, L2_LOST_stall);
    }
    if (took == L2_NO_ROOM) {
        l2_room_wait(d, w->seen);
    } else {
        base_sleep_ns(L2_STALLED_SLEEP_NS);
    }
    return L2_NOT_OWED;
}

CELLAR_PRIVATE l2_took l2_control_try(l2 *d, uint64_t h48, const unsigned char *value,
                                      uint32_t bytes, uint32_t generation, uint64_t *lsn)
{
    const l2_rec r = { .kind = L2_KIND_CONTROL, .vlen = bytes, .generation = generation };
    l2_spot at;
    *lsn = 0; /* L2_IS_EMPTY: all records were dropped, of all namespaces */
    const l2_took took = l2_reserve(d, L2_ROOM_KEEP, h48, &r, NULL, &at);
    if (took == L2_TOOK) {
        unsigned char *to = at.at + L2_RECORD_HEAD;
        memcpy(to + 8, value + 8, bytes - 8);
        BASE_POINT("l2.control_body");
        /* The type comes last: recovery completes a control that has one. */
        base_store_rel((_Atomic uint64_t *)(void *)to, l2_r64(value));
        l2_spot_done(d, &at);
        L2_COUNT(d, controls);
        *lsn = l2_lsn(d, at.segseq, at.off);
    }
    if (took == L2_TOOK || took == L2_IS_EMPTY) {
        l2_stage_look(d); /* a FLOOR is also a store into the stage */
    }
    return took;
}

CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation, uint64_t row)
{
    const l2_change c = { .hash = h48, .row = row, .generation = generation, .len = bytes,
                          .kind = L2_KIND_CONTROL };
    uint64_t lsn = 0;
    if (base_load_rlx(&d->broken) == L2_BROKEN_STAGE) { return 0; }
    l2_waiting w = { 0, 0 };
    for (;;) {
        l2_owing owing = l2_closed_over(d, &c, value);
        w.seen = base_load_acq(&d->room);
        if (owing == L2_NOT_OWED) {
            const l2_took took = l2_control_try(d, h48, value, bytes, generation, &lsn);
            if (took == L2_TOOK || took == L2_IS_EMPTY) { return lsn; }
            owing = l2_logged_else(d, took, &w, &c, value);
        }
        if (owing != L2_NOT_OWED) { return owing == L2_OWED ? L2_LSN_OWED : 0; }
    }
    return 0;
}

CELLAR_PRIVATE void l2_floor_log(l2 *d, uint64_t lsn, l2_loss loss)
{
    unsigned char value[16] = { L2_CTL_FLOOR };
    l2_w64(value + 8, lsn);
    (void)l2_control_log(d, 0, value, sizeof value, 0, 0);
    const uint64_t oldest = base_load_rlx(&d->oldest_lsn);
    l2_lost(d, loss, lsn > oldest ? lsn - oldest : 0);
}

BASE_SIZE_END
