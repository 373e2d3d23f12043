/* SPDX-License-Identifier: MIT
 *
 * scrap: what has gone to data.seg is not written to stage.buf as well.
 *
 * PICTURE    slot   |records .. pos|  past of the slot  |footer lines|trailer|
 *            sync   |    kept      |      zeros         |   kept     | kept  |   the open slot
 *                   |                    zeros                             |   a drained one
 * WHY        the kernel writes each page of the stage that was stored into, at the next sync or
 *            30 s later, although its segment is in data.seg since it was sealed. A range that is
 *            made zeros loses its dirty pages, and keeps its blocks.
 * INVARIANTS only FREE slots, and of the open one what lies between its records and its footer
 *            lines, and that only while nobody appends. A FREE slot's bytes are in data.seg,
 *            durable where this is done before the stage is synced. Recovery takes zeros for a slot
 *            that was never used; what an older write of its pages left on disk is of a segment
 *            that is in data.seg, or lies below the floor of the header that took its place.
 *            While appends go on one FREE slot is left to them: a change that finds none gives up
 *            all that is stored.
 * LOCKING    the worker's. A slot that is taken out meanwhile is WRITTEN, which only the worker
 *            ends.
 * LIMITS     level DROP: at the others barriers have written the pages long before. A page that was
 *            scrapped faults when it is filled anew, and that costs a store that is busy more than
 *            the write, which comes every 30 s: while segments are sealed only syncs scrap. Where
 *            the file system cannot do it (tmpfs), all is written as ever.
 *            XFS takes other blocks for the zeros: should it find none, the store is memory alone
 *            until the next open.
 * MEASURED   bytes written from open to close a byte put (BENCH_L2=put), by write_bytes less
 *            cancelled_write_bytes, 109 to 195 MB put at once, segments of 4 MiB; with it, and with
 *            puts that take the reserve of a slot (log.c): 256 B 1.429 -> 1.182, 4 KiB 1.242 ->
 *            1.014, 64 KiB 1.21 -> 1.024. Of the 1.182 records are 1.088, footers 0.037,
 *            index.snap 0.054. A sync had the stage armed anew, 8 MiB, and a close wrote that, too.
 */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_SCRAP_QUIET_MS 1000

/* Some file systems give the blocks back and take others; on a full one there may be none by then,
 * and who stores there gets a signal. So nobody stores any more: the next open begins anew. */
static void l2_scrap_refill(l2 *d)
{
    const uint64_t bytes = (uint64_t)d->nstage * d->form.seg_bytes;
    const int e = d->vfs->preallocate(d->vfs->ctx, d->stage_file, bytes);
    if (e == ENOSPC || e == EDQUOT) { l2_stage_lost(d); }
}

/* Once refused, never asked again: whatever became of the bytes, they count for nothing. */
static bool l2_scrap_range(l2 *d, const l2_slot *s, size_t from, size_t end)
{
    if (d->no_scrap || d->vfs->zero == NULL || from >= end) { return false; }
    l2_beat(d);
    const uint64_t at = (uint64_t)(s->base - d->map) + from;
    const int e = d->vfs->zero(d->vfs->ctx, d->stage_file, at, end - from);
    d->no_scrap = e != 0;
    if (e != 0 && e != EOPNOTSUPP) { l2_scrap_refill(d); }
    BASE_POINT("l2.scrapped");
    if (d->no_scrap) { return false; }
    L2_COUNT_BY(d, scrapped_bytes, end - from);
    return true;
}

/* A FREE slot whose pages may be dirty, taken out; all: nobody appends, and the few that were armed
 * count, too. NULL: none, or the last one. */
static l2_slot *l2_scrap_take(l2 *d, bool all)
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

static void l2_scrap_free(l2 *d, bool all)
{
    l2_slot *s;
    while (!d->no_scrap && (s = l2_scrap_take(d, all)) != NULL) {
        (void)l2_scrap_range(d, s, 0, d->form.seg_bytes);
        if (base_load_acq(&d->broken) == L2_BROKEN_STAGE) { return; } /* nobody takes it again */
        sync_take(L2_LOG, &d->log_lock);
        s->past = false;
        s->armed_end = s->armed_lines = s->armed_soon = 0;
        s->state = L2_SLOT_FREE;
        sync_drop(L2_LOG, &d->log_lock);
        d->arm_ms = INT64_MIN / 2; /* the next one must be armed again, at once */
    }
}

CELLAR_PRIVATE void l2_scrap_work(l2 *d)
{
    if (d->cfg.level != L2_DROP ||
        base_now_ms(d->cfg.clock) - d->sealed_ms < L2_SCRAP_QUIET_MS) {
        return;
    }
    l2_scrap_free(d, false);
}

CELLAR_PRIVATE void l2_scrap_all(l2 *d)
{
    BASE_ASSERT(d->cfg.level == L2_DROP && base_load_rlx(&d->dirty) != L2_NOW_DIRTY);
    l2_scrap_free(d, true);
    sync_take(L2_LOG, &d->log_lock);
    const l2_slot *s = d->open_slot;
    const size_t from = s != NULL ? (size_t)base_round_up(s->pos, L2_PAGE) : 0;
    const size_t end = s != NULL ? l2_data_limit(d, s->entries) : 0;
    sync_drop(L2_LOG, &d->log_lock);
    if (s != NULL) { (void)l2_scrap_range(d, s, from, end); }
}
