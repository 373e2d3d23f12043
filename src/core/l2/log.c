/* SPDX-License-Identifier: MIT
 *
 * log: reserve records in the open slot.
 *
 * PICTURE    reserve (lock) -> copy (no lock) -> check -> .. slot full -> next slot
 * INVARIANTS Lengths and mark are in the slot before the lock is dropped. So an incomplete record
 *            never hides acknowledged records behind it.
 *            After each reservation there is room for one FLOOR.
 * LOCKING    L2_LOG for states and positions of slots and for free segments. A put waits about
 *            50 us for it, a change as long as the disk makes progress.
 * LIMITS     A KEEP record (tombstone, control) that finds neither room nor a free slot waits for
 *            the worker (control.c): it is never dropped. Puts leave room for KEEP records in the
 *            open slot, unless another slot is available. Without an open slot since a FLOOR no
 *            record is needed.
 *            While records of old segments move (l2.moving), KEEP records leave two slots to the
 *            copies, puts leave three and 1/64 of the places: the records of one segment, their
 *            links and the room for KEEP records need at most two.
 * SEE ALSO   write.c: what is logged; seal.c: full slots; recovery.c: what is found again. */
#include "l2/log.h"

#include "l2/format.h"
#include "l2/progress.h"
#include "l2/slot.h"
#include "l2/tombstone_filter.h"

#define L2_TRY_ROUNDS 2000 /* of a put for the log lock: about 50 us */
#define L2_PATIENCE_NS UINT64_C(1000000) /* wait of a change before it checks the disk */

/* ---- room ---- */

/* Return true if a change that does not fit into the open slot can use another one immediately.
 * Puts need not leave room in this slot then. */
static SYNC_HOLDS(L2_LOG) bool l2_slot_ahead(const l2 *d)
{
    if (base_load_acq(&d->lost_controls) != d->meta_lost) { return false; }
    const bool makes = d->cfg.level == L2_DROP && d->free_count > 0 &&
                       d->next_segseq < d->segseq_end;
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        const bool armed = s->armed_end > d->reserve || d->cfg.level == L2_ALWAYS;
        if (armed && (s->state == L2_SLOT_READY || (makes && s->state == L2_SLOT_FREE))) {
            return true;
        }
    }
    return false;
}

/* Return true if a record of `bytes` fits; *off is its start. */
static SYNC_HOLDS(L2_LOG) bool l2_slot_fits(const l2 *d, const l2_slot *s, l2_room room,
                                            uint32_t bytes, uint32_t *off)
{
    *off = l2_rec_start(s->pos, bytes);
    const uint32_t limit = l2_data_limit(d, s->entries + (room == L2_ROOM_FLOOR ? 1 : 2));
    const uint64_t end = (uint64_t)*off + bytes + (room == L2_ROOM_FLOOR ? 0 : L2_FLOOR_ROOM);
    if (room > L2_ROOM_MOVE) { return end <= limit; }
    return end - L2_FLOOR_ROOM + d->reserve <= limit || (end <= limit && l2_slot_ahead(d));
}

/* Return true if a caller can store up to `end` without a wait for the disk. A put leaves some
 * armed bytes for tombstones. */
static SYNC_HOLDS(L2_LOG) bool l2_slot_armed(const l2 *d, const l2_slot *s, l2_room room,
                                             uint64_t end)
{
    if (s->armed_end == d->form.seg_bytes || d->cfg.level == L2_ALWAYS) { return true; }
    const uint32_t keep = room <= L2_ROOM_MOVE ? d->reserve : 0;
    const uint32_t lines = room <= L2_ROOM_MOVE ? L2_FOOT_ENTRIES : 0;
    return end + keep <= s->armed_end && s->entries + lines < s->armed_lines;
}

CELLAR_PRIVATE uint32_t l2_slots_left(const l2 *d)
{
    uint32_t n = d->free_count;
    for (uint32_t i = 0; i < d->nstage; i++) { n += d->slot[i].state == L2_SLOT_READY; }
    return n;
}

/* Return the slots that a record leaves to others while records of old segments move. */
static SYNC_HOLDS(L2_LOG) uint32_t l2_slots_kept(const l2 *d, l2_room room)
{
    const uint32_t kept = room == L2_ROOM_PUT ? 3 + d->places / 64 : room == L2_ROOM_KEEP ? 2 : 0;
    return d->moving ? kept : 0;
}

/* ---- reservations ---- */

static SYNC_HOLDS(L2_LOG) void l2_slot_take(l2 *d, uint64_t h48, const l2_rec *r, uint32_t off,
                                            uint32_t bytes, l2_spot *out)
{
    l2_slot *s = d->open_slot;
    *out = (l2_spot){ s, s->base + off, s->head.segseq, s->seg, off, d->seg[s->seg].era, false };
    /* Recovery must not mistake old bytes for the body of an incomplete control. */
    if (r->kind == L2_KIND_CONTROL) { out->at[L2_RECORD_HEAD] = 0; }
    l2_rec_begin(&d->form, out->at, s->head.segseq, off, r);
    l2_slot_note(d, s, h48, r, off);
    s->pos = off + bytes;
    (void)base_add_rlx(&s->writers, 1u);
    (void)base_add_rlx(&d->logged, (uint64_t)1); /* after `writers`: l2_commit_sees */
}

CELLAR_PRIVATE void l2_spot_done(l2 *d, l2_spot *s)
{
    l2_rec_end(&d->form, s->at, s->segseq, s->off);
    BASE_POINT("l2.complete");
    (void)base_sub_ar(&s->slot->writers, 1u); /* acquire in l2_slot_due */
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_overflow(l2 *d)
{
    l2_slot *s = d->open_slot;
    if (s == NULL) { return; } /* dropped before, or still opening */
    const l2_rec r = { .kind = L2_KIND_CONTROL, .vlen = 16 };
    const uint32_t bytes = l2_rec_room(&d->form, 0, 0, r.vlen);
    uint32_t off;
    l2_spot spot;
    const bool fits = l2_slot_fits(d, s, L2_ROOM_FLOOR, bytes, &off);
    BASE_REQUIRE(fits);
    const uint64_t lsn = l2_lsn(d, s->head.segseq, off);
    l2_slot_take(d, 0, &r, off, bytes, &spot);
    memset(spot.at + L2_RECORD_HEAD, 0, 16);
    spot.at[L2_RECORD_HEAD] = L2_CTL_FLOOR;
    l2_w64(spot.at + L2_RECORD_HEAD + 8, lsn);
    BASE_POINT("l2.overflow");
    l2_spot_done(d, &spot);
    base_store_rel(&d->floor_lsn, lsn); /* acquire in l2_get */
    s->state = L2_SLOT_FULL;
    d->open_slot = NULL;
    base_store_rlx(&d->emptied, 1u);
    d->logged_controls++;
    L2_COUNT(d, emptied);
}

CELLAR_PRIVATE void l2_run_mark(l2 *d)
{
    static const char key = 'r';
    const l2_rec r = { .kind = L2_KIND_TOMB, .klen = L2_RUN_KLEN };
    const uint64_t h48 = l2_h48(base_hash(&d->hash_key, r.generation, &key, r.klen));
    l2_spot at;
    d->unmarked = false;
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t bytes = l2_rec_room(&d->form, 0, r.klen, 0);
    const bool there = d->open_slot != NULL; /* else a FLOOR ended it, and the next one is new */
    if (there) {
        l2_slot_take(d, h48, &r, l2_rec_start(d->open_slot->pos, bytes), bytes, &at);
        d->super.born = d->open_slot->head.segseq;
        d->super.born_end = d->open_slot->pos;
        d->super.made = d->next_segseq;
    }
    sync_drop(L2_LOG, &d->log_lock);
    if (!there) { return; }
    at.at[L2_RECORD_HEAD] = (unsigned char)key;
    BASE_POINT("l2.run_mark");
    l2_spot_done(d, &at);
}

CELLAR_PRIVATE void l2_floor_to(l2 *d, uint64_t lsn)
{
    sync_take(L2_LOG, &d->log_lock);
    base_store_rel(&d->floor_lsn, BASE_MAX(base_load_rlx(&d->floor_lsn), lsn));
    sync_drop(L2_LOG, &d->log_lock);
}

CELLAR_PRIVATE uint64_t l2_floor_begin(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t lsn = l2_log_end(d);
    base_store_rel(&d->floor_lsn, BASE_MAX(base_load_rlx(&d->floor_lsn), lsn));
    sync_drop(L2_LOG, &d->log_lock);
    return lsn;
}

CELLAR_PRIVATE void l2_empty(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    l2_overflow(d);
    sync_drop(L2_LOG, &d->log_lock);
}

BASE_SIZE_END

static SYNC_UNCHECKED bool l2_log_take(l2 *d, bool try_only)
{
    if (!try_only) {
        if (sync_try(L2_LOG, &d->log_lock)) { return true; }
        while (!sync_until(L2_LOG, &d->log_lock, base_now_ns() + L2_PATIENCE_NS)) {
            if (l2_frozen(d)) { return false; }
        }
        return true;
    }
    for (int i = 0; i < L2_TRY_ROUNDS; i++) {
        if (sync_try(L2_LOG, &d->log_lock)) { return true; }
        base_pause();
    }
    return false;
}

/* Open the next slot. The header of a new slot is also a store into the mapping. */
static SYNC_HOLDS(L2_LOG) l2_took l2_slot_next(l2 *d, l2_room room)
{
    const l2_slot *s = l2_slot_in(d, L2_SLOT_READY);
    if (s == NULL) { s = l2_slot_in(d, L2_SLOT_FREE); }
    if (l2_slots_left(d) <= l2_slots_kept(d, room)) { return L2_NO_ROOM; }
    if (s != NULL && s->armed_end == 0 && d->cfg.level != L2_ALWAYS) {
        if (room <= L2_ROOM_MOVE) { return L2_IS_STALLED; }
        if (l2_quiet(d)) { return l2_frozen(d) ? L2_IS_FROZEN : L2_IS_STALLED; }
    }
    return l2_slot_open(d) ? L2_TOOK : L2_NO_ROOM;
}

/* Set the filter bits of a put, then check its stamp: see write.c, PROTOCOL. Called only when the
 * put has room, because bits of a dropped put would stay. */
static SYNC_HOLDS(L2_LOG) bool l2_put_named(l2 *d, uint64_t h48, const l2_terms *t)
{
    const uint32_t era = d->seg[d->open_slot->seg].era;
    l2_filter_add(d, h48, era);
    BASE_POINT("l2.put_named");
    return l2_is_current(t);
}

static SYNC_HOLDS(L2_LOG) l2_took l2_reserve_held(l2 *d, l2_room room, uint64_t h48,
                                                  const l2_rec *r, const l2_terms *terms,
                                                  l2_spot *out)
{
    const uint32_t bytes = l2_rec_room(&d->form, (size_t)r->ext * 8, r->klen, r->vlen);
    uint32_t off = 0;
    if (d->cfg.level == L2_DROP && base_load_rlx(&d->dirty) != L2_NOW_DIRTY) {
        return L2_IS_CLEAN;
    }
    /* checked under the lock: see l2_reopen */
    if (terms != NULL && l2_is_closed(d)) { return L2_NO_ROOM; }
    /* No invalidation of this put has an earlier place in the log. */
    if (terms != NULL && base_load_sc(&d->invalidations.count) != terms->invalidations) {
        return L2_IS_INVALID;
    }
    if (terms != NULL && terms->lsn != 0 && terms->lsn < base_load_rlx(&d->floor_lsn)) {
        return L2_IS_OLD;
    }
    if (room == L2_ROOM_PUT && l2_slots_left(d) < l2_slots_kept(d, room)) { return L2_NO_ROOM; }
    bool fits = d->open_slot != NULL && l2_slot_fits(d, d->open_slot, room, bytes, &off);
    if (!fits) {
        const l2_took took = l2_slot_next(d, room);
        if (took != L2_TOOK && took != L2_NO_ROOM) { return took; }
        fits = took == L2_TOOK && l2_slot_fits(d, d->open_slot, room, bytes, &off);
    }
    if (fits && !l2_slot_armed(d, d->open_slot, room, (uint64_t)off + bytes)) {
        if (room <= L2_ROOM_MOVE) { return L2_IS_STALLED; }
        if (l2_quiet(d)) { return l2_frozen(d) ? L2_IS_FROZEN : L2_IS_STALLED; }
    }
    if (fits && terms != NULL && !l2_put_named(d, h48, terms)) { return L2_IS_OLD; }
    if (fits) {
        l2_slot_take(d, h48, r, off, bytes, out);
        d->logged_controls += r->kind == L2_KIND_CONTROL;
        return L2_TOOK;
    }
    if (room <= L2_ROOM_MOVE || d->open_slot != NULL) { return L2_NO_ROOM; }
    BASE_ASSERT(base_load_rlx(&d->emptied) != 0);
    if (r->kind == L2_KIND_CONTROL) { (void)base_add_ar(&d->lost_controls, 1u); }
    return L2_IS_EMPTY;
}

CELLAR_PRIVATE SYNC_UNCHECKED l2_took l2_reserve(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                                                 const l2_terms *terms, l2_spot *out)
{
    if (!l2_log_take(d, terms != NULL)) { return terms != NULL ? L2_NO_ROOM : L2_IS_FROZEN; }
    const uint32_t before = d->open_slot != NULL ? d->open_slot->state : L2_SLOT_FULL;
    const l2_slot *was = d->open_slot;
    const l2_took took = l2_reserve_held(d, room, h48, r, terms, out);
    const bool filled = before == L2_SLOT_OPEN && d->open_slot != was;
    const bool soon = d->open_slot != NULL && d->open_slot->pos > d->open_slot->armed_soon;
    sync_drop(L2_LOG, &d->log_lock);
    if (filled) { l2_worker_wake(d); }
    if (soon || took == L2_IS_STALLED) { l2_arm_wish(d); }
    return took;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint64_t l2_log_end(const l2 *d)
{
    const l2_slot *s = d->open_slot;
    if (s != NULL) { return l2_lsn(d, s->head.segseq, s->pos); }
    uint64_t end = l2_lsn(d, d->newest_segseq + 1, 0);
    for (uint32_t i = 0; i < d->nstage; i++) {
        s = &d->slot[i];
        const bool fresh = s->state == L2_SLOT_READY ||
                           (s->state == L2_SLOT_WRITTEN && s->synced_at == UINT64_MAX);
        if (fresh) { end = BASE_MIN(end, l2_lsn(d, s->head.segseq, 0)); }
    }
    return end;
}

BASE_SIZE_END
