/* SPDX-License-Identifier: MIT
 *
 * barrier: make headers and records durable at levels KEEP and ALWAYS.
 *
 * PICTURE    free slot -> header stored -> stage synced -> READY;   every sync_ms: stage, data.seg
 * INVARIANTS At KEEP and ALWAYS a header is durable before a record follows it. A power cut leaves
 *            no gap in the chain of headers, so a gap is damage.
 *            A failed sync is final: the lost bytes may never reach the disk, and a second sync
 *            would not report them. All records are dropped. No commit succeeds until a header with
 *            that floor is durable (group_commit.c).
 * LOCKING    Worker only, except l2_sync_failed; L2_LOG for states of slots and commit_floor. */
#include "l2/steps.h"

#include "l2/io.h"
#include "l2/log.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

/* Refuse commits until older records are durable again. */
static SYNC_HOLDS(L2_LOG) void l2_commit_failed(l2 *d, int e)
{
    if (d->cfg.level == L2_DROP) { return; }
    d->commit_floor = base_load_rlx(&d->floor_lsn);
    base_store_rel(&d->committed, (uint64_t)0);
    base_store_rel(&d->commit_errno, (uint32_t)e); /* acquire in l2_commit_barred */
}

/* Permit commits again if a header with this floor is durable after the last failure. */
static SYNC_HOLDS(L2_LOG) void l2_commit_healed(l2 *d, uint64_t floor)
{
    if (floor >= d->commit_floor) { base_store_rel(&d->commit_errno, 0u); }
}

/* Drop all records after a failed sync. Its bytes may be lost, and a second sync would not report
 * it. */
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e)
{
    base_log(d->cfg.log, BASE_LOG_ERROR, "l2", e, "a sync failed: all records on disk are dropped");
    sync_take(L2_LOG, &d->log_lock);
    /* The stage still accepts stores. */
    const bool there = base_load_acq(&d->broken) != L2_BROKEN_STAGE;
    if (there) { l2_overflow(d); }
    l2_commit_failed(d, e);
    sync_drop(L2_LOG, &d->log_lock);
}

/* Make the next slot's header durable before the slot is used, at KEEP and ALWAYS. If its floor is
 * older than a failed sync, make the header again, so that commits can succeed. */
CELLAR_PRIVATE int l2_prepare(l2 *d)
{
    if (d->cfg.level == L2_DROP) { return 0; }
    sync_take(L2_LOG, &d->log_lock);
    l2_slot *s = l2_slot_in(d, L2_SLOT_READY);
    if (s != NULL && s->head.floor_lsn < d->commit_floor) {
        l2_slot_unmake(d, s);
        s = NULL;
    }
    s = s == NULL ? l2_slot_in(d, L2_SLOT_FREE) : NULL;
    const bool made = l2_slot_make(d, s);
    /* not usable until READY */
    if (made) { s->state = L2_SLOT_WRITTEN; s->synced_at = UINT64_MAX; }
    sync_drop(L2_LOG, &d->log_lock);
    if (!made) { return 0; }
    l2_disarm(d);
    const int e = l2_datasync(d, d->stage_file);
    BASE_POINT("l2.prepared");
    if (e != 0) { l2_sync_failed(d, e); }
    sync_take(L2_LOG, &d->log_lock);
    if (e != 0) {
        l2_slot_unmake(d, s); /* The state of its pages is unknown: make the header again. */
    } else {
        base_store_rel(&d->header_floor, s->head.floor_lsn);
        l2_commit_healed(d, s->head.floor_lsn);
        s->state = L2_SLOT_READY;
    }
    sync_drop(L2_LOG, &d->log_lock);
    return e;
}

CELLAR_PRIVATE void l2_barrier_work(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    bool waiting = false; /* A slot waits for a sync: the barrier comes early. */
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        waiting = waiting || (s->state == L2_SLOT_WRITTEN && s->synced_at != UINT64_MAX &&
                              d->data_syncs < s->synced_at);
    }
    sync_drop(L2_LOG, &d->log_lock);
    const bool due = d->cfg.level == L2_KEEP && now - d->barrier_ms >= d->cfg.sync_ms;
    if (d->cfg.level == L2_DROP || (!waiting && !due)) { return; }
    d->barrier_ms = now;
    if (due) { l2_disarm(d); }
    int e = due ? l2_datasync(d, d->stage_file) : 0;
    if (e == 0) { e = l2_datasync(d, d->data_file); }
    if (e != 0) { l2_sync_failed(d, e); }
    if (e == 0 && due) { L2_COUNT(d, barriers); }
    d->data_syncs++;
}

BASE_SIZE_END
