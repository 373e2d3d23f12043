/* SPDX-License-Identifier: MIT
 *
 * stage_trim: zero pages of stage.buf after their segment is in data.seg, so that the kernel skips
 * them.
 *
 * PICTURE    slot   |records .. pos|  old bytes        |footer lines|trailer|
 *            sync   |    kept      |      zeros        |   kept     | kept  |   the open slot
 *                   |                    zeros                            |   a FREE slot
 *            The kernel writes each dirty page of the stage at the next sync or 30 s later. A
 *            zeroed range loses its dirty pages and keeps its blocks.
 * INVARIANTS Zeroed are FREE slots and, while no thread appends, the gap between records and footer
 *            lines of the open slot. The bytes of a FREE slot are in data.seg, durable if this runs
 *            before a sync of the stage. Recovery treats zeros as an unused slot. Older versions of
 *            the pages on disk are of a segment in data.seg, or below the floor of a later header.
 *            One FREE slot is left while appends continue. A change without one would drop all.
 * LOCKING    Worker only. A slot is WRITTEN meanwhile; only the worker ends that state.
 * LIMITS     Level DROP only: at the others barriers have written the pages before. A zeroed page
 *            faults when it is filled again, which costs a busy store more than the write. So only
 *            syncs zero while segments are sealed. Without support (tmpfs) all pages are written.
 *            XFS uses new blocks for zeros. If it has none, the store continues in memory.
 * SEE ALSO   README.md: bytes written per byte put. */
#include "l2/steps.h"

#include <errno.h>

#include "l2/heartbeat.h"
#include "l2/progress.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

#define L2_TRIM_QUIET_MS 1000

/* Allocate the blocks again. Some file systems free the blocks of zeros, and a store into a page
 * without a block raises a signal. On a full disk nothing is stored any more; the next open begins
 * empty. */
static void l2_trim_refill(l2 *d)
{
    const uint64_t bytes = (uint64_t)d->nstage * d->form.seg_bytes;
    const int e = L2_DISK(d, preallocate, d->stage_file, bytes);
    if (e == ENOSPC || e == EDQUOT) { l2_stage_lost(d); }
}

/* Zero a range. After a failure no further attempt is made. The bytes do not count in any case. */
static bool l2_trim_range(l2 *d, const l2_slot *s, size_t from, size_t end)
{
    if (d->no_trim || d->vfs->zero == NULL || from >= end) { return false; }
    l2_beat(d);
    const uint64_t at = (uint64_t)(s->base - d->map) + from;
    const int e = L2_DISK(d, zero, d->stage_file, at, end - from);
    d->no_trim = e != 0;
    if (e != 0 && e != EOPNOTSUPP) { l2_trim_refill(d); }
    BASE_POINT("l2.scrapped");
    if (d->no_trim) { return false; }
    L2_COUNT_BY(d, trimmed_bytes, end - from);
    return true;
}

/* Take out a FREE slot with dirty pages. all: no thread appends, and armed pages count, too. NULL:
 * there is none, or only the last one. */
static l2_slot *l2_trim_take(l2 *d, bool all)
{
    l2_slot *s = NULL;
    uint32_t spare = 0;
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state != L2_SLOT_FREE) { continue; }
        spare++;
        if (d->slot[i].past || (all && d->slot[i].armed_end != 0)) { s = &d->slot[i]; }
    }
    if (spare < 2 && !all) { s = NULL; }
    if (s != NULL) { s->state = L2_SLOT_WRITTEN; }
    sync_drop(L2_LOG, &d->log_lock);
    return s;
}

static void l2_trim_free(l2 *d, bool all)
{
    l2_slot *s;
    while (!d->no_trim && (s = l2_trim_take(d, all)) != NULL) {
        (void)l2_trim_range(d, s, 0, d->form.seg_bytes);
        /* the slot is not used again */
        if (base_load_acq(&d->broken) == L2_BROKEN_STAGE) { return; }
        sync_take(L2_LOG, &d->log_lock);
        s->past = false;
        s->armed_end = s->armed_lines = s->armed_soon = 0;
        s->state = L2_SLOT_FREE;
        sync_drop(L2_LOG, &d->log_lock);
        d->arm_ms = INT64_MIN / 2; /* arm the next slot immediately */
    }
}

CELLAR_PRIVATE void l2_trim_work(l2 *d)
{
    if (d->cfg.level != L2_DROP ||
        base_now_ms(d->cfg.clock) - d->sealed_ms < L2_TRIM_QUIET_MS) {
        return;
    }
    l2_trim_free(d, false);
}

CELLAR_PRIVATE void l2_trim_all(l2 *d)
{
    BASE_ASSERT(d->cfg.level == L2_DROP && base_load_rlx(&d->dirty) != L2_NOW_DIRTY);
    l2_trim_free(d, true);
    sync_take(L2_LOG, &d->log_lock);
    const l2_slot *s = d->open_slot;
    const size_t from = s != NULL ? (size_t)base_round_up(s->pos, L2_PAGE) : 0;
    const size_t end = s != NULL ? l2_data_limit(d, s->entries) : 0;
    sync_drop(L2_LOG, &d->log_lock);
    if (s != NULL) { (void)l2_trim_range(d, s, from, end); }
}

BASE_SIZE_END
