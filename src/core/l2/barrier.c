/* SPDX-License-Identifier: MIT
 *
 * barrier: make headers and records durable at levels KEEP and ALWAYS; store bytes again after a
 * failed sync.
 *
 * PICTURE    free slot -> header stored -> stage synced -> READY;   every sync_ms: stage, data.seg
 *            a sync fails -> resync: stage pages dirtied, records verified; segments written again
 *            -> both files synced -> commits succeed again
 * INVARIANTS At KEEP and ALWAYS a header is durable before a record follows it. A power cut leaves
 *            no gap in the chain of headers, so a gap is damage.
 *            After a failed sync the kernel may drop the bytes and report success next time. So no
 *            sync counts until the bytes since the last good one were stored again: `data_syncs`
 *            frees no slot, no commit succeeds, and SUPER is not marked CLEAN. That includes a sync
 *            during which another one failed, and later syncs of the same round.
 *            If a record of the stage or of a segment does not verify, its tombstone may be lost:
 *            all records are dropped, and commits wait for a durable header with that floor.
 * LOCKING    Worker only; L2_LOG for states of slots and commit_floor. */
#include "l2/steps.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/health.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

/* ---- failed syncs ---- */

CELLAR_PRIVATE int l2_sync_file(l2 *d, base_vfs_file *f)
{
    int e = l2_datasync(d, f);
    /* The kernel reports an error once. Another sync, or a commit, has got it. */
    if (e == 0 && base_load_acq(&d->resync) != 0) { e = EIO; }
    if (e == 0 && f == d->data_file) {
        d->data_syncs++;
        for (uint32_t i = 0; i < d->nseg; i++) { d->seg[i].unsynced = false; }
    }
    return e;
}

/* Permit commits again unless a sync failed meanwhile, or a newer header must be durable first. */
static SYNC_HOLDS(L2_LOG) void l2_commit_healed(l2 *d)
{
    const bool durable = base_load_acq(&d->header_floor) >= d->commit_floor;
    if (durable && base_load_rlx(&d->resync) == 0) { base_store_rel(&d->commit_errno, 0u); }
}

/* Drop all records: bytes of a failed sync are lost. */
static void l2_bytes_lost(l2 *d)
{
    l2_lost_all(d, L2_LOST_sync);
    L2_COUNT(d, holes);
    sync_take(L2_LOG, &d->log_lock);
    if (base_load_acq(&d->broken) != L2_BROKEN_STAGE) { l2_overflow(d); }
    if (d->cfg.level != L2_DROP) {
        d->commit_floor = base_load_rlx(&d->floor_lsn);
        base_store_rel(&d->commit_errno, (uint32_t)EIO);
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* ---- bytes stored again ---- */

/* Return true if a record verifies, is void by its footer line, or is below the floor. */
static bool l2_record_holds(const l2 *d, const unsigned char *seg, uint64_t segseq, uint32_t off,
                            uint32_t end, const unsigned char *line)
{
    static const uint64_t none = L2_VOID_H48;
    l2_rec r;
    if (l2_lsn(d, segseq, off) < base_load_acq(&d->floor_lsn)) { return true; }
    if (!l2_rec_marked(&d->form, seg + off, segseq, off, end, &r)) { return false; }
    return l2_rec_whole(&d->form, seg + off, segseq, off, &r) ||
           (l2_r32(seg + off) == 0 && line[9] == L2_KIND_TOMB && memcmp(line, &none, 6) == 0);
}

CELLAR_PRIVATE bool l2_records_hold(const l2 *d, const unsigned char *seg, uint64_t segseq,
                                    uint32_t pos, uint32_t entries)
{
    uint32_t off = 0;
    for (uint32_t i = 0; i < entries; i++) {
        const unsigned char *page =
            seg + d->form.seg_bytes - (size_t)(i / L2_FOOT_ENTRIES + 2) * L2_PAGE;
        const unsigned char *line = page + L2_FOOT_HEAD +
                                    (size_t)(i % L2_FOOT_ENTRIES) * L2_ENTRY_BYTES;
        if (i % L2_FOOT_ENTRIES == 0) {
            if (l2_r64(page + 16) != segseq) { return false; }
            off = l2_r32(page + 8) * d->form.granule;
        }
        if (off < L2_HEAD_BYTES || off > pos - L2_RECORD_HEAD ||
            !l2_record_holds(d, seg, segseq, off, pos, line)) {
            return false;
        }
        uint32_t dist = 0;
        memcpy(&dist, line + 6, 3);
        off += dist * d->form.granule; /* the newest line of an open slot has none yet */
    }
    return true;
}

/* Make the pages of a slot dirty again, then verify what they hold. */
static bool l2_slot_again(l2 *d, const l2_slot *s, uint32_t pos, uint32_t entries, int *e)
{
    const uint32_t seg = d->form.seg_bytes;
    const uint32_t pages = (entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    *e = l2_arm_pages(d, s, 0, pos);
    if (*e == 0) { *e = l2_arm_pages(d, s, seg - (size_t)(pages + 1) * L2_PAGE, seg); }
    l2_head h;
    return *e != 0 || (l2_head_read(&d->form, s->base, &h) && h.segseq == s->head.segseq &&
                       l2_records_hold(d, s->base, h.segseq, pos, entries));
}

/* Make all bytes of the stage dirty that data.seg may lack. Return false if some are lost. */
static bool l2_stage_again(l2 *d, int *e)
{
    bool whole = true;
    for (uint32_t i = 0; i < d->nstage && whole && *e == 0; i++) {
        const l2_slot *s = &d->slot[i];
        sync_take(L2_LOG, &d->log_lock);
        while (base_load_acq(&s->writers) != 0) { base_yield(); } /* no new ones under the lock */
        const uint32_t state = s->state, pos = s->pos, entries = s->entries;
        sync_drop(L2_LOG, &d->log_lock);
        if (state != L2_SLOT_FREE) { whole = l2_slot_again(d, s, pos, entries, e); }
    }
    return whole;
}

/* Write a sealed segment once more. The bytes come from its slot, or from the disk past the page
 * cache. Return false if they are lost. */
static bool l2_segment_again(l2 *d, uint32_t seg, uint64_t segseq, int *e)
{
    const uint32_t bytes = d->form.seg_bytes;
    const uint64_t at = (uint64_t)base_load_rlx(&d->seg[seg].place) * bytes;
    const l2_slot *s = l2_slot_of(d, seg, segseq);
    unsigned char *raw = NULL;
    const unsigned char *from = s != NULL ? s->base : NULL;
    bool whole = true;
    if (s == NULL) {
        raw = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)bytes + L2_PAGE, NULL);
        unsigned char *to = raw != NULL ? raw + (L2_PAGE - (uintptr_t)raw % L2_PAGE) : NULL;
        *e = raw != NULL ? l2_read(d, d->data_direct, to, bytes, at) : ENOMEM;
        l2_trailer t;
        whole = *e != 0 || (l2_trailer_read(&d->form, to + bytes - L2_PAGE, &t) &&
                            t.head.segseq == segseq && t.data_end == d->seg[seg].data_end &&
                            l2_records_hold(d, to, segseq, t.data_end, t.entries));
        from = to;
    }
    if (whole && *e == 0) { *e = l2_write(d, d->data_direct, from, bytes, at); }
    if (raw != NULL) { base_free(d->cfg.account, BASE_MOD_L2, raw, (size_t)bytes + L2_PAGE); }
    return whole;
}

static bool l2_data_again(l2 *d, int *e)
{
    bool whole = true;
    for (uint32_t i = 0; i < d->nseg && whole && *e == 0; i++) {
        const uint64_t w = base_load_acq(&d->seg[i].word);
        if (!d->seg[i].unsynced || L2_SEG_STATE(w) != L2_SEG_DISK ||
            l2_lsn(d, L2_SEG_SEQ(w) + 1, 0) <= base_load_acq(&d->floor_lsn)) {
            continue;
        }
        whole = l2_segment_again(d, i, L2_SEG_SEQ(w), e);
    }
    return whole;
}

CELLAR_PRIVATE int l2_resync(l2 *d)
{
    if (base_xchg_ar(&d->resync, 0u) == 0) { return 0; }
    int e = 0;
    if (!l2_stage_again(d, &e) || (e == 0 && !l2_data_again(d, &e))) { l2_bytes_lost(d); }
    l2_disarm(d);
    if (e == 0) { e = l2_datasync(d, d->stage_file); }
    if (e == 0) { e = l2_sync_file(d, d->data_file); }
    sync_take(L2_LOG, &d->log_lock);
    if (e != 0) { base_store_rel(&d->resync, 1u); } else { l2_commit_healed(d); }
    sync_drop(L2_LOG, &d->log_lock);
    return e;
}

/* ---- barriers ---- */

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
    const int e = l2_sync_file(d, d->stage_file);
    BASE_POINT("l2.prepared");
    sync_take(L2_LOG, &d->log_lock);
    if (e != 0) {
        l2_slot_unmake(d, s); /* The state of its pages is unknown: make the header again. */
    } else {
        base_store_rel(&d->header_floor, s->head.floor_lsn);
        l2_commit_healed(d);
        s->state = L2_SLOT_READY;
    }
    sync_drop(L2_LOG, &d->log_lock);
    l2_room_made(d);
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
    int e = due ? l2_sync_file(d, d->stage_file) : 0;
    if (e == 0) { e = l2_sync_file(d, d->data_file); }
    if (e == 0 && due) { L2_COUNT(d, barriers); }
}

BASE_SIZE_END
