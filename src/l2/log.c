/* SPDX-License-Identifier: MIT
 *
 * log: append records to mapped slots; seal, write and reclaim segments.
 *
 * PICTURE    reserve (lock) -> copy (no lock) -> check -> .. slot full -> worker seals: footers,
 *            trailer, one write to its place -> slot free
 *            slot FREE -> [READY at KEEP, ALWAYS] -> OPEN -> FULL -> WRITTEN -> FREE
 *            seg  FREE -> STAGE -> DISK -> (reclaimed, oldest first) FREE
 * INVARIANTS Lengths and mark are in the slot before the lock is dropped. So an incomplete record
 *            never hides acknowledged records behind it.
 *            After each reservation there is room for one FLOOR.
 *            A slot is reused when its bytes are in data.seg (at KEEP and ALWAYS: synced), its
 *            writers are done and no reader has it pinned.
 *            At KEEP and ALWAYS a header is durable before a record follows it. A power cut leaves
 *            no gap in the chain of headers, so a gap is damage.
 *            Reclaim is strictly oldest first: tombstones and newer values hide older values.
 * LOCKING    L2_LOG for states and positions of slots and for free segments. Only the worker
 *            (`working`) seals, reclaims, syncs and does I/O.
 * LIMITS     A KEEP record (tombstone, control) that finds neither room nor a free slot drops all
 *            stored records with a FLOOR: no delete is lost. Puts leave room for KEEP records in
 *            the open slot, unless another slot is available. Without an open slot no FLOOR is
 *            needed. A place with a failed write is reused only after the disk recovered
 *            (health.c).
 * SEE ALSO   write.c: what is logged; recovery.c: what is found again; README.md: write sizes. */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_CHUNK ((size_t)1 << 20)
#define L2_CHUNK_MOST ((size_t)4 << 20)
#define L2_CHUNK_FAST_NS UINT64_C(5000000)
#define L2_CHUNK_SLOW_NS UINT64_C(20000000)
#define L2_TRY_ROUNDS 2000 /* of a put for the log lock: about 50 us */
#define L2_PATIENCE_NS UINT64_C(1000000) /* wait of a change before it checks the disk */
#define L2_RETRY_PLACES 3
#define L2_META_EVERY 64u
#define L2_META_MS 10000
#define L2_SEEN_MS 60000

/* ---- slots ---- */

CELLAR_PRIVATE uint32_t l2_data_limit(const l2 *d, uint32_t entries)
{
    const uint32_t pages = (entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    return d->form.seg_bytes - (pages + 1) * L2_PAGE;
}

static unsigned char *l2_slot_foot(const l2 *d, const l2_slot *s, uint32_t page)
{
    return s->base + d->form.seg_bytes - (size_t)(page + 2) * L2_PAGE;
}

static unsigned char *l2_slot_back(const l2 *d, const l2_slot *s)
{
    return s->base + d->form.seg_bytes - L2_PAGE + 128;
}

/* Store a header of a slot. A process death in between leaves "begun" in its first bytes. */
static void l2_slot_head_store(unsigned char *at, const unsigned char head[L2_HEAD_BYTES])
{
    base_store_rlx((_Atomic uint64_t *)(void *)at, L2_HEAD_BEGUN);
    base_fence_rel();
    memcpy(at + 8, head + 8, L2_HEAD_BYTES - 8);
    BASE_POINT("l2.head_begun");
    base_store_rel((_Atomic uint64_t *)(void *)at, l2_r64(head));
}

/* Write both headers. A process death in between must not look like damage. Until the copy is
 * complete the first page keeps its old contents. Those are zero in a wiped slot, so the copy says
 * "begun" meanwhile (l2_slot_head_find). Then the first page does (l2_slot_is_fresh). */
static void l2_slot_heads_write(l2 *d, l2_slot *s)
{
    unsigned char head[L2_HEAD_BYTES] BASE_ALIGNED(8);
    l2_head_write(&d->form, head, &s->head);
    memset(s->base + d->form.seg_bytes - L2_PAGE, 0, L2_PAGE);
    l2_slot_head_store(l2_slot_back(d, s), head);
    BASE_POINT("l2.head_copy");
    l2_slot_head_store(s->base, head);
}

CELLAR_PRIVATE void l2_slot_head(l2 *d, l2_slot *s, uint32_t seg)
{
    const uint64_t floor = base_load_acq(&d->floor_lsn), oldest = base_load_acq(&d->oldest_lsn);
    const uint64_t segseq = d->next_segseq++;
    s->head = (l2_head){ .epoch = d->form.epoch, .segseq = segseq,
                         .prev_segseq = d->newest_segseq, .floor_lsn = BASE_MAX(floor, oldest),
                         .base_wall_ms = l2_wall_now(d), .segid = base_load_rlx(&d->seg[seg].place),
                         .meta = d->meta_done };
    d->newest_segseq = segseq;
    s->seg = seg;
    s->pos = (uint32_t)base_round_up(L2_HEAD_BYTES, d->form.granule);
    s->entries = s->tombs = s->controls = s->max_generation = s->last_off = 0;
    l2_slot_heads_write(d, s);
    d->seg[seg].era = l2_era_begin(d, segseq);
    d->seg[seg].controls = 0;
    base_store_rlx(&d->seg[seg].future, 0u);
    base_store_sc(&d->seg[seg].word,
                  L2_SEG_WORD(L2_SEG_STAGE, (uint64_t)(s - d->slot), segseq));
}

static l2_slot *l2_slot_in(l2 *d, uint32_t state) SYNC_HOLDS(L2_LOG);
static l2_slot *l2_slot_in(l2 *d, uint32_t state)
{
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state == state) { return &d->slot[i]; }
    }
    return NULL;
}

static bool l2_slot_make(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
static bool l2_slot_make(l2 *d, l2_slot *s)
{
    if (s == NULL || d->free_count == 0 || d->next_segseq >= d->segseq_end) { return false; }
    l2_slot_head(d, s, d->seg[--d->free_count].free_seg);
    return true;
}

CELLAR_PRIVATE bool l2_slot_open(l2 *d)
{
    /* The log lacks a namespace's new generation: records of the old one must not follow. */
    if (base_load_acq(&d->lost_controls) != d->meta_lost) { return false; }
    l2_slot *s = l2_slot_in(d, L2_SLOT_READY);
    if (s == NULL) {
        s = l2_slot_in(d, L2_SLOT_FREE);
        if (d->cfg.level != L2_DROP || !l2_slot_make(d, s)) { return false; }
        base_store_rel(&d->header_floor, s->head.floor_lsn);
    }
    if (d->open_slot != NULL) { d->open_slot->state = L2_SLOT_FULL; }
    s->state = L2_SLOT_OPEN;
    s->past = true;
    d->open_slot = s;
    base_store_rlx(&d->emptied, 0u);
    BASE_POINT("l2.slot_open");
    return true;
}

/* Set the distance in the newest footer line: the next record begins at `next`. */
static void l2_slot_dist(const l2 *d, const l2_slot *s, uint32_t next)
{
    if (s->entries == 0) { return; }
    const uint32_t last = s->entries - 1, dist = (next - s->last_off) / d->form.granule;
    unsigned char *page = l2_slot_foot(d, s, last / L2_FOOT_ENTRIES);
    memcpy(l2_foot_entry(page, last % L2_FOOT_ENTRIES) + 6, &dist, 3);
}

/* Return true if recovery notes the lines of this page again. They stay meanwhile: a process death
 * may interrupt it. */
static bool l2_foot_is_same(const l2 *d, const l2_slot *s, const unsigned char *page, uint32_t off)
{
    return l2_r64(page + 16) == s->head.segseq && l2_r32(page + 8) == off / d->form.granule &&
           l2_r16(page + 14) == s->entries / L2_FOOT_ENTRIES;
}

CELLAR_PRIVATE void l2_slot_note(l2 *d, l2_slot *s, uint64_t h48, const l2_rec *r, uint32_t off)
{
    l2_slot_dist(d, s, off);
    const uint32_t index = s->entries / L2_FOOT_ENTRIES, line = s->entries % L2_FOOT_ENTRIES;
    unsigned char *page = l2_slot_foot(d, s, index);
    if (line == 0 && !l2_foot_is_same(d, s, page, off)) {
        memset(page, 0, L2_PAGE);
        l2_w32(page + 8, off / d->form.granule);
        l2_w16(page + 14, (uint16_t)index);
        l2_w64(page + 16, s->head.segseq);
    }
    l2_entry_write(l2_foot_entry(page, line), h48, r->kind, r->flags);
    l2_w16(page + 12, (uint16_t)(line + 1));
    s->entries++;
    s->last_off = off;
    s->tombs += r->kind == L2_KIND_TOMB;
    s->controls += r->kind == L2_KIND_CONTROL;
    s->max_generation = BASE_MAX(s->max_generation, r->generation);
}

/* Return true if a change that does not fit into the open slot can use another one immediately.
 * Puts need not leave room in this slot then. */
static bool l2_slot_ahead(const l2 *d) SYNC_HOLDS(L2_LOG);
static bool l2_slot_ahead(const l2 *d)
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
static bool l2_slot_fits(const l2 *d, const l2_slot *s, l2_room room, uint32_t bytes,
                         uint32_t *off) SYNC_HOLDS(L2_LOG);
static bool l2_slot_fits(const l2 *d, const l2_slot *s, l2_room room, uint32_t bytes,
                         uint32_t *off)
{
    *off = l2_rec_start(s->pos, bytes);
    const uint32_t limit = l2_data_limit(d, s->entries + (room == L2_ROOM_FLOOR ? 1 : 2));
    const uint64_t end = (uint64_t)*off + bytes + (room == L2_ROOM_FLOOR ? 0 : L2_FLOOR_ROOM);
    if (room != L2_ROOM_PUT) { return end <= limit; }
    return end - L2_FLOOR_ROOM + d->reserve <= limit || (end <= limit && l2_slot_ahead(d));
}

/* Return true if a caller can store up to `end` without a wait for the disk. A put leaves some
 * armed bytes for tombstones. */
static bool l2_slot_armed(const l2 *d, const l2_slot *s, l2_room room, uint64_t end)
    SYNC_HOLDS(L2_LOG);
static bool l2_slot_armed(const l2 *d, const l2_slot *s, l2_room room, uint64_t end)
{
    if (s->armed_end == d->form.seg_bytes || d->cfg.level == L2_ALWAYS) { return true; }
    const uint32_t keep = room == L2_ROOM_PUT ? d->reserve : 0;
    const uint32_t lines = room == L2_ROOM_PUT ? L2_FOOT_ENTRIES : 0;
    return end + keep <= s->armed_end && s->entries + lines < s->armed_lines;
}

static void l2_slot_take(l2 *d, uint64_t h48, const l2_rec *r, uint32_t off, uint32_t bytes,
                         l2_spot *out) SYNC_HOLDS(L2_LOG);
static void l2_slot_take(l2 *d, uint64_t h48, const l2_rec *r, uint32_t off, uint32_t bytes,
                         l2_spot *out)
{
    l2_slot *s = d->open_slot;
    *out = (l2_spot){ s, s->base + off, s->head.segseq, s->seg, off, d->seg[s->seg].era };
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

/* Log a FLOOR in the open slot: all older records are dead. */
static void l2_overflow(l2 *d) SYNC_HOLDS(L2_LOG);
static void l2_overflow(l2 *d)
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

CELLAR_PRIVATE void l2_empty(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    l2_overflow(d);
    sync_drop(L2_LOG, &d->log_lock);
}

static bool l2_log_take(l2 *d, bool try_only) SYNC_UNCHECKED;
static bool l2_log_take(l2 *d, bool try_only)
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
static l2_took l2_slot_next(l2 *d, l2_room room) SYNC_HOLDS(L2_LOG);
static l2_took l2_slot_next(l2 *d, l2_room room)
{
    const l2_slot *s = l2_slot_in(d, L2_SLOT_READY);
    if (s == NULL) { s = l2_slot_in(d, L2_SLOT_FREE); }
    if (s != NULL && s->armed_end == 0 && d->cfg.level != L2_ALWAYS) {
        if (room == L2_ROOM_PUT) { return L2_IS_STALLED; }
        if (l2_quiet(d)) { return l2_frozen(d) ? L2_IS_FROZEN : L2_IS_STALLED; }
    }
    return l2_slot_open(d) ? L2_TOOK : L2_NO_ROOM;
}

/* Set the filter bits of a put, then check its stamp: see write.c, PROTOCOL. Called only when the
 * put has room, because bits of a dropped put would stay. */
static bool l2_put_named(l2 *d, uint64_t h48, const l2_terms *t) SYNC_HOLDS(L2_LOG);
static bool l2_put_named(l2 *d, uint64_t h48, const l2_terms *t)
{
    const uint32_t era = d->seg[d->open_slot->seg].era;
    const bool late = BASE_MUTANT("l2.filter_after_look") || BASE_MUTANT("l2.filter_after_lock");
    if (!late) { l2_filter_add(d, h48, era); }
    BASE_POINT("l2.put_named");
    const bool may = l2_is_current(t);
    if (may && BASE_MUTANT("l2.filter_after_look")) {
        BASE_POINT("l2.put_looked");
        l2_filter_add(d, h48, era);
    }
    return may;
}

static l2_took l2_reserve_held(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                               const l2_terms *terms, l2_spot *out) SYNC_HOLDS(L2_LOG);
static l2_took l2_reserve_held(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                               const l2_terms *terms, l2_spot *out)
{
    const uint32_t bytes = l2_rec_room(&d->form, (size_t)r->ext * 8, r->klen, r->vlen);
    uint32_t off = 0;
    if (d->cfg.level == L2_DROP && base_load_rlx(&d->dirty) != L2_NOW_DIRTY) {
        return L2_IS_CLEAN;
    }
    /* checked under the lock: see l2_reopen */
    if (terms != NULL && l2_is_closed(d)) { return L2_NO_ROOM; }
    /* No invalidation of this put has an earlier place in the log. */
    if (terms != NULL && base_load_sc(&d->ends.ends) != terms->ends &&
        !BASE_MUTANT("l2.put_past_ends")) {
        return L2_IS_ENDED;
    }
    bool fits = d->open_slot != NULL && l2_slot_fits(d, d->open_slot, room, bytes, &off);
    if (!fits) {
        const l2_took took = l2_slot_next(d, room);
        if (took != L2_TOOK && took != L2_NO_ROOM) { return took; }
        fits = took == L2_TOOK && l2_slot_fits(d, d->open_slot, room, bytes, &off);
    }
    if (fits && !l2_slot_armed(d, d->open_slot, room, (uint64_t)off + bytes)) {
        if (room == L2_ROOM_PUT) { return L2_IS_STALLED; }
        if (l2_quiet(d)) { return l2_frozen(d) ? L2_IS_FROZEN : L2_IS_STALLED; }
    }
    if (fits && terms != NULL && !l2_put_named(d, h48, terms)) { return L2_IS_OLD; }
    if (fits) {
        l2_slot_take(d, h48, r, off, bytes, out);
        d->logged_controls += r->kind == L2_KIND_CONTROL;
        return L2_TOOK;
    }
    if (room == L2_ROOM_PUT) { return L2_NO_ROOM; }
    if (r->kind == L2_KIND_CONTROL) { (void)base_add_ar(&d->lost_controls, 1u); }
    BASE_ASSERT(d->open_slot != NULL || base_load_rlx(&d->emptied) != 0);
    l2_overflow(d);
    return L2_IS_EMPTY;
}

CELLAR_PRIVATE l2_took l2_reserve(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                                  const l2_terms *terms, l2_spot *out) SYNC_UNCHECKED;
CELLAR_PRIVATE l2_took l2_reserve(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                                  const l2_terms *terms, l2_spot *out)
{
    if (!l2_log_take(d, terms != NULL)) { return terms != NULL ? L2_NO_ROOM : L2_IS_FROZEN; }
    const uint32_t before = d->open_slot != NULL ? d->open_slot->state : L2_SLOT_FULL;
    const l2_slot *was = d->open_slot;
    const l2_took took = l2_reserve_held(d, room, h48, r, terms, out);
    const bool filled = before == L2_SLOT_OPEN && d->open_slot != was;
    const bool soon = d->open_slot != NULL && d->open_slot->pos > d->open_slot->armed_soon;
    sync_drop(L2_LOG, &d->log_lock);
    if (filled) { l2_ring(d); }
    if (soon || took == L2_IS_STALLED) { l2_arm_wish(d); }
    return took;
}

/* ---- sealing ---- */

static void l2_seal_build(l2 *d, l2_slot *s)
{
    l2_slot_dist(d, s, s->pos);
    const uint32_t pages = (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    for (uint32_t i = 0; i < pages; i++) {
        unsigned char *page = l2_slot_foot(d, s, i);
        const uint32_t lines = BASE_MIN(s->entries - i * L2_FOOT_ENTRIES, L2_FOOT_ENTRIES);
        const size_t used = L2_FOOT_HEAD + (size_t)lines * L2_ENTRY_BYTES;
        memset(page + used, 0, L2_PAGE - used); /* lines of records that recovery dropped */
        l2_foot_close(&d->form, page, s->head.segseq);
    }
    const uint32_t end = l2_data_limit(d, s->entries);
    BASE_ASSERT(s->pos <= end);
    memset(s->base + s->pos, 0, end - s->pos);
    const l2_trailer t = { .head = s->head, .data_end = s->pos, .entries = s->entries,
                           .footer_pages = pages, .tombs = s->tombs, .controls = s->controls,
                           .max_generation = s->max_generation };
    l2_head_write(&d->form, s->base, &s->head);
    l2_trailer_write(&d->form, s->base + d->form.seg_bytes - L2_PAGE, &t);
}

/* Give the segment another place. The bad place is not used any more. */
static bool l2_seal_elsewhere(l2 *d, l2_slot *s)
{
    sync_take(L2_LOG, &d->log_lock);
    const bool any = d->free_count > 0;
    const uint32_t other = any ? d->seg[--d->free_count].free_seg : 0;
    sync_drop(L2_LOG, &d->log_lock);
    if (!any) { return false; }
    const uint32_t bad = base_load_rlx(&d->seg[s->seg].place);
    base_store_rlx(&d->seg[s->seg].place, base_load_rlx(&d->seg[other].place));
    base_store_rlx(&d->seg[other].place, bad);
    base_store_sc(&d->seg[other].word, L2_SEG_WORD(L2_SEG_BAD, 0, 0));
    if (d->super.bad_count < L2_BAD_MAX) { d->super.bad[d->super.bad_count++] = bad; }
    s->head.segid = base_load_rlx(&d->seg[s->seg].place);
    s->head.floor_lsn = BASE_MAX(s->head.floor_lsn, BASE_MAX(base_load_acq(&d->floor_lsn),
                                                             base_load_acq(&d->oldest_lsn)));
    s->head.floor_lsn = BASE_MIN(s->head.floor_lsn, l2_lsn(d, s->head.segseq, 0));
    s->head.meta = d->meta_done; /* the serial that reclaim relied on; only the worker changes it */
    return true;
}

/* Adapt the write size. A fast disk gets larger writes and handles their parts in parallel. A slow
 * disk gets small ones, so that the worker reports progress. */
static void l2_chunk_next(l2 *d, uint64_t ns)
{
    if (ns < L2_CHUNK_FAST_NS) {
        d->chunk = BASE_MIN(BASE_MAX(d->chunk, L2_CHUNK) * 2, L2_CHUNK_MOST);
    } else if (ns > L2_CHUNK_SLOW_NS) {
        d->chunk = L2_CHUNK;
    }
}

CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s)
{
    int e = EIO;
    for (int i = 0; i < L2_RETRY_PLACES; i++) {
        l2_seal_build(d, s);
        const uint64_t at = (uint64_t)base_load_rlx(&d->seg[s->seg].place) * d->form.seg_bytes;
        e = 0;
        for (size_t n = 0, most; n < d->form.seg_bytes && e == 0; n += most) {
            most = BASE_MIN(BASE_MAX(d->chunk, L2_CHUNK), d->form.seg_bytes - n);
            const uint64_t since = base_now_ns();
            e = l2_write(d, d->data_direct, s->base + n, most, at + n);
            l2_chunk_next(d, base_now_ns() - since);
            BASE_POINT("l2.seal_chunk");
        }
        /* EFAULT: the stage was truncated (health.c), the place is not at fault. */
        if (e == 0 || e == EFAULT || !l2_seal_elsewhere(d, s)) { break; }
    }
    if (e != 0) { return e; }
    l2_seg *g = &d->seg[s->seg];
    g->controls = s->controls;
    g->footer_pages = (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    g->data_end = s->pos;
    s->synced_at = d->data_syncs + 1;
    l2_map_forget(d, base_load_rlx(&g->place));
    /* seq_cst: pairs with the pin in l2_get */
    base_store_sc(&g->word, L2_SEG_WORD(L2_SEG_DISK, 0, s->head.segseq));
    BASE_POINT("l2.sealed");
    L2_COUNT(d, sealed);
    L2_COUNT_BY(d, sealed_bytes, d->form.seg_bytes);
    return 0;
}

/* Return the FULL slot with the lowest number if its writers are done, else NULL. */
static l2_slot *l2_slot_due(l2 *d)
{
    l2_slot *due = NULL;
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        l2_slot *s = &d->slot[i];
        if (s->state != L2_SLOT_FULL) { continue; }
        if (due == NULL || s->head.segseq < due->head.segseq) { due = s; }
    }
    sync_drop(L2_LOG, &d->log_lock);
    return due != NULL && base_load_acq(&due->writers) == 0 ? due : NULL;
}

static void l2_slot_state(l2 *d, l2_slot *s, uint32_t state)
{
    sync_take(L2_LOG, &d->log_lock);
    s->state = state;
    sync_drop(L2_LOG, &d->log_lock);
}

static bool l2_seal_work(l2 *d)
{
    l2_slot *s = l2_slot_due(d);
    if (s == NULL) { return false; }
    const int e = l2_seal(d, s);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e, "a segment cannot be written");
        return false;
    }
    d->sealed_ms = base_now_ms(d->cfg.clock);
    l2_slot_state(d, s, L2_SLOT_WRITTEN);
    return true;
}

static void l2_recycle(l2 *d)
{
    for (uint32_t i = 0; i < d->nstage; i++) {
        l2_slot *s = &d->slot[i];
        sync_take(L2_LOG, &d->log_lock);
        const bool due = s->state == L2_SLOT_WRITTEN &&
                         (d->cfg.level == L2_DROP || d->data_syncs >= s->synced_at);
        if (due && base_load_sc(&s->pins) == 0) {
            s->state = L2_SLOT_FREE;
            /* writeback has cleaned the pages since */
            s->armed_end = s->armed_lines = s->armed_soon = 0;
            base_store_rlx(&d->arm_wanted, 1u);
        }
        sync_drop(L2_LOG, &d->log_lock);
    }
}

/* Seal the slots that are full now. Others may fill up meanwhile. */
CELLAR_PRIVATE void l2_drain(l2 *d)
{
    for (uint32_t i = 0; i < d->nstage && l2_seal_work(d); i++) {}
    l2_recycle(d);
}

/* ---- reclaim ---- */

CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index)
{
    const uint64_t at = (uint64_t)base_load_rlx(&g->place) * d->form.seg_bytes +
                        d->form.seg_bytes - (uint64_t)(index + 2) * L2_PAGE;
    const l2_feet *feet = &d->feet;
    if (feet->bytes != 0 && at >= feet->at && at + L2_PAGE <= feet->at + feet->bytes) {
        memcpy(d->page, feet->buf + (at - feet->at), L2_PAGE);
        if (l2_foot_ok(&d->form, d->page, segseq, index)) { return true; }
    }
    l2_beat(d);
    if (l2_read(d, d->data_file, d->page, L2_PAGE, at) != 0) { return false; }
    if (l2_foot_ok(&d->form, d->page, segseq, index)) { return true; }
    if (l2_read(d, d->data_direct, d->page, L2_PAGE, at) != 0) { return false; }
    if (l2_foot_ok(&d->form, d->page, segseq, index)) { return true; }
    const bool healed = l2_foot_heal(&d->form, d->page, segseq, index);
    if (healed) { L2_COUNT(d, healed); }
    return healed;
}

CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx)
{
    uint32_t offs[L2_FOOT_ENTRIES + 1];
    const uint32_t count = l2_r16(d->page + 12);
    uint64_t off = (uint64_t)l2_r32(d->page + 8) * d->form.granule;
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *line = l2_foot_entry(d->page, i);
        uint32_t dist = 0;
        memcpy(&dist, line + 6, 3);
        offs[i] = (uint32_t)off;
        off += (uint64_t)dist * d->form.granule;
        l2_entry e;
        if (offs[i] < L2_HEAD_BYTES || dist == 0 || off > data_end || !l2_entry_kind(line, &e)) {
            return false;
        }
    }
    offs[count] = (uint32_t)off;
    for (uint32_t n = 0; n < count; n++) {
        const uint32_t i = newest_first ? count - 1 - n : n;
        const unsigned char *line = l2_foot_entry(d->page, i);
        l2_entry e = { .off = offs[i], .bytes = offs[i + 1] - offs[i] };
        (void)l2_entry_kind(line, &e);
        memcpy(&e.h48, line, 6);
        fn(d, ctx, &e);
    }
    return true;
}

static void l2_reclaim_line(l2 *d, void *ctx, const l2_entry *e)
{
    const uint32_t seg = *(const uint32_t *)ctx;
    if (e->kind == L2_KIND_CONTROL) { return; }
    l2_index_drop(d, e->h48, ((uint64_t)seg << d->seg_shift) + e->off / d->form.granule);
}

static bool l2_word_in(const l2 *d, uint64_t word, uint64_t seg)
{
    return l2_word_seg(d, word) == seg;
}

static void l2_reclaim_words(l2 *d, uint32_t seg, uint64_t segseq)
{
    l2_seg *g = &d->seg[seg];
    bool read = true;
    for (uint32_t i = 0; i < g->footer_pages && read; i++) {
        read = l2_foot_load(d, g, segseq, i) &&
               l2_foot_each(d, g->data_end, false, l2_reclaim_line, &seg);
    }
    if (!read) { l2_index_sweep(d, l2_word_in, seg); }
}

/* Return the live segment with the lowest number. *next: second lowest number. */
static uint32_t l2_seg_oldest(const l2 *d, uint64_t *next)
{
    uint32_t oldest = UINT32_MAX;
    uint64_t least = UINT64_MAX;
    *next = UINT64_MAX;
    for (uint32_t i = 0; i < d->nseg; i++) {
        const uint64_t w = base_load_acq(&d->seg[i].word);
        if (L2_SEG_STATE(w) != L2_SEG_STAGE && L2_SEG_STATE(w) != L2_SEG_DISK) { continue; }
        if (L2_SEG_SEQ(w) < least) {
            *next = least;
            least = L2_SEG_SEQ(w);
            oldest = i;
        } else if (L2_SEG_SEQ(w) < *next) {
            *next = L2_SEG_SEQ(w);
        }
    }
    return oldest;
}

/* Return true if a slot keeps the bytes of the segment for the next sync. */
static bool l2_seg_kept(l2 *d, uint32_t seg, uint64_t segseq)
{
    bool kept = false;
    sync_take(L2_LOG, &d->log_lock); /* a put may be opening another slot */
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        kept = kept ||
               (s->state == L2_SLOT_WRITTEN && s->seg == seg && s->head.segseq == segseq);
    }
    sync_drop(L2_LOG, &d->log_lock);
    return kept;
}

CELLAR_PRIVATE bool l2_reclaim(l2 *d)
{
    uint64_t next;
    const uint32_t seg = l2_seg_oldest(d, &next);
    if (seg == UINT32_MAX || next == UINT64_MAX) { return false; }
    l2_seg *g = &d->seg[seg];
    const uint64_t w = base_load_acq(&g->word);
    if (L2_SEG_STATE(w) != L2_SEG_DISK || l2_seg_kept(d, seg, L2_SEG_SEQ(w))) { return false; }
    if (g->controls > 0 && d->meta_lsn < l2_lsn(d, L2_SEG_SEQ(w) + 1, 0) && l2_meta_store(d) != 0) {
        return false;
    }
    /* Set before the words are removed: of two words for records of one key the newer may leave
     * first. */
    base_store_rel(&d->leaving_lsn, l2_lsn(d, next, 0)); /* acquire in l2_get_word */
    /* an index rebuild in progress may have added some */
    const bool words = !g->unread || d->order_at > 0;
    if (g->unread) { l2_warm_skip(d, seg); }
    if (words) { l2_reclaim_words(d, seg, L2_SEG_SEQ(w)); }
    BASE_POINT("l2.reclaim");
    base_store_rel(&d->oldest_lsn, l2_lsn(d, next, 0));
    base_store_sc(&g->word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
    sync_take(L2_LOG, &d->log_lock);
    d->seg[d->free_count++].free_seg = seg;
    sync_drop(L2_LOG, &d->log_lock);
    L2_COUNT(d, reclaimed);
    return true;
}

/* ---- the worker ---- */

CELLAR_PRIVATE bool l2_worker_try(l2 *d)
{
    if (!base_cas_ar(&d->working, 0u, 1u)) { return false; }
    base_store_rlx(&d->beat, base_now_ns());
    return true;
}

CELLAR_PRIVATE void l2_worker_take(l2 *d)
{
    sync_assert_none();
    if (l2_worker_try(d)) { return; }
    while (base_xchg_ar(&d->working, 2u) != 0) {
        (void)sync_wait(&d->working, 2u, UINT64_MAX);
    }
    base_store_rlx(&d->beat, base_now_ns());
}

CELLAR_PRIVATE void l2_worker_drop(l2 *d)
{
    base_store_rlx(&d->beat, (uint64_t)0);
    if (base_xchg_ar(&d->working, 0u) == 2) { sync_wake(&d->working, INT32_MAX); }
}

CELLAR_PRIVATE void l2_ring(l2 *d)
{
    if (!d->threaded) { return; }
    (void)base_add_ar(&d->bell, 1u);
    sync_wake(&d->bell, 1);
}

static uint32_t l2_free_places(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t n = d->free_count;
    sync_drop(L2_LOG, &d->log_lock);
    return n;
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

/* Reset the armed limits. A sync of the stage cleans its pages, and puts drop rather than wait. */
CELLAR_PRIVATE void l2_disarm(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        d->slot[i].armed_end = d->slot[i].armed_lines = d->slot[i].armed_soon = 0;
    }
    sync_drop(L2_LOG, &d->log_lock);
    base_store_rlx(&d->arm_wanted, 1u);
}

CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s)
{
    static const unsigned char none[L2_HEAD_BYTES] BASE_ALIGNED(8);
    l2_slot_head_store(s->base, none);
    l2_slot_head_store(l2_slot_back(d, s), none);
}

/* Undo a slot that was made but never opened. It has the newest number. */
static void l2_slot_unmake(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
static void l2_slot_unmake(l2 *d, l2_slot *s)
{
    BASE_ASSERT(s->entries == 0 && s->head.segseq == d->newest_segseq);
    l2_slot_wipe(d, s);
    d->newest_segseq = s->head.prev_segseq;
    base_store_sc(&d->seg[s->seg].word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
    d->seg[d->free_count++].free_seg = s->seg;
    memset(&s->head, 0, sizeof s->head);
    s->state = L2_SLOT_FREE;
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

/* Return true if the day's budget exceeds the value in SUPER. */
static bool l2_day_spent(const l2 *d)
{
    return d->cfg.write_bpd != 0 && (base_load_rlx(&d->day.window) != d->super.day ||
                                     base_load_rlx(&d->day.used) > d->super.bytes_today);
}

static void l2_upkeep(l2 *d)
{
    const int64_t now = base_now_ms(d->cfg.clock);
    bool store = false;
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t logged = d->logged_controls;
    if (d->next_segseq + L2_SEGSEQ_STEP / 4 > d->segseq_end) { store = true; }
    sync_drop(L2_LOG, &d->log_lock);
    if (store) {
        d->super.segseq_end += L2_SEGSEQ_STEP;
        if (l2_super_store(d) == 0) {
            sync_take(L2_LOG, &d->log_lock);
            d->segseq_end = d->super.segseq_end;
            sync_drop(L2_LOG, &d->log_lock);
        } else {
            d->super.segseq_end -= L2_SEGSEQ_STEP;
        }
    } else if ((now - d->seen_ms >= L2_SEEN_MS || l2_day_spent(d)) &&
               base_load_rlx(&d->dirty) == L2_NOW_DIRTY) {
        (void)l2_super_store(d);
        d->seen_ms = now;
    }
    const uint64_t fresh = logged - d->meta_controls;
    /* only the worker changes it */
    const bool lost = base_load_acq(&d->lost_controls) != d->meta_lost;
    if (lost || fresh >= L2_META_EVERY || (fresh > 0 && now - d->meta_ms >= L2_META_MS)) {
        if (l2_meta_store(d) == 0) { d->meta_ms = now; }
    }
}

static void l2_barrier_work(l2 *d)
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

CELLAR_PRIVATE bool l2_work(l2 *d, uint64_t budget_us)
{
    const uint64_t end_ns = base_now_ns() + budget_us * 1000;
    bool more = true;
    l2_reads_look(d);
    l2_map_work(d);
    if (!l2_heartbeat(d) || !l2_disk_works(d)) { return false; }
    l2_reopen(d);
    if (base_load_acq(&d->want_dirty) != 0) { (void)l2_dirty_now(d); }
    while (more) {
        l2_beat(d);
        more = l2_seal_work(d);
        l2_barrier_work(d);
        l2_recycle(d);
        l2_scrap_work(d);
        if (l2_free_places(d) < d->keep_free) { more = l2_reclaim(d) || more; }
        (void)l2_prepare(d);
        l2_arm_work(d);
        l2_upkeep(d);
        more = l2_warm_step(d) || more;
        more = l2_era_work(d) || more;
        more = l2_resize_work(d) || more;
        if (base_load_acq(&d->disk) != L2_DISK_OK || d->forked) { return false; }
        if (base_now_ns() >= end_ns) { break; }
    }
    return more;
}
