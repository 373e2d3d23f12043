/* SPDX-License-Identifier: MIT
 *
 * recovery_place: read what is at the places of data.seg, and find a place for each slot.
 *
 * PICTURE    headers and trailers of all places -> slots walked (recovery_slot.c) -> sealed
 * PROTOCOL   A walked slot is sealed to its own place, else to a free one, else to the place of the
 *            oldest segment found. A bad place is never used.
 *            The last slot is kept, and its settled state stored in it, if nothing is in doubt.
 *            A segment in a slot and at its place: the place counts if all of it verifies, or if
 *            only the process died and the trailer exists; else the slot.
 * INVARIANTS A slot is overwritten only after its records are synced at their place. A hole in a
 *            slot stays a hole: the trailer of the sealed slot says so.
 * LOCKING    None: no other thread uses the store yet.
 * LIMITS     Both headers of a slot damaged, or one header in two slots: the store begins empty. */
#include "l2/recovery_parts.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/io.h"
#include "l2/slot.h"
#include "l2/steps.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

/* ---- places ---- */

static void l2_find_of(const l2 *d, const l2_trailer *t, uint32_t place, l2_find *out)
{
    const uint64_t floor = t->hole != 0 ? l2_lsn(d, t->head.segseq + 1, 0) : t->head.floor_lsn;
    *out = (l2_find){ t->head.segseq, t->head.prev_segseq, floor, t->head.base_wall_ms, place,
                      t->controls, t->footer_pages, t->data_end, t->entries, t->max_generation,
                      t->head.meta };
}

static bool l2_place_read(l2 *d, uint32_t place, l2_find *out)
{
    const uint64_t at = (uint64_t)place * d->form.seg_bytes;
    l2_trailer t;
    l2_head h;
    if (l2_read(d, d->data_file, d->page, L2_PAGE, at + d->form.seg_bytes - L2_PAGE) != 0) {
        return false;
    }
    bool ok = l2_trailer_read(&d->form, d->page, &t);
    if (!ok) { /* Torn, damaged or empty: a repair is tried only if the place has a header. */
        unsigned char head[512] BASE_ALIGNED(8);
        if (l2_read(d, d->data_file, head, sizeof head, at) != 0 ||
            !l2_head_read(&d->form, head, &h)) {
            return false;
        }
        ok = l2_trailer_heal(&d->form, d->page, &t) && t.head.segseq == h.segseq;
        if (ok) { L2_COUNT(d, healed); }
    }
    if (ok) { l2_find_of(d, &t, place, out); }
    return ok;
}

CELLAR_PRIVATE bool l2_place_is_bad(const l2 *d, uint32_t place)
{
    for (uint32_t i = 0; i < d->super.bad_count; i++) {
        if (d->super.bad[i] == place) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void l2_places_read(l2 *d, l2_finds *f)
{
    for (uint32_t p = 0; p < d->nseg; p++) {
        if (l2_place_read(d, p, &f->at[f->count])) { f->count++; }
    }
}

static l2_find *l2_find_seq(l2_finds *f, uint64_t segseq)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].segseq == segseq) { return &f->at[i]; }
    }
    return NULL;
}

/* Return true if every byte of the segment at `place` verifies. */
static bool l2_place_whole(l2 *d, const l2_find *g)
{
    const size_t bytes = d->form.seg_bytes;
    unsigned char *seg = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (seg == NULL) { return false; }
    bool ok = l2_read(d, d->data_file, seg, bytes, (uint64_t)g->place * bytes) == 0 &&
              g->footer_pages == (g->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    for (uint32_t p = 0; p < g->footer_pages && ok; p++) {
        ok = l2_foot_ok(&d->form, seg + bytes - (size_t)(p + 2) * L2_PAGE, g->segseq, p);
    }
    ok = ok && l2_records_hold(d, seg, g->segseq, g->data_end, g->entries);
    base_free(d->cfg.account, BASE_MOD_L2, seg, bytes);
    return ok;
}

static l2_find *l2_place_find(const l2_finds *f, uint32_t place)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].place == place) { return &f->at[i]; }
    }
    return NULL;
}

/* Return true if only this segment has its controls. */
static bool l2_find_needed(const l2 *d, const l2_find *g)
{
    return g->controls > 0 && d->meta_lsn < l2_lsn(d, g->segseq + 1, 0);
}

/* Return true if the slot can go to its own place. The place usually holds a reclaimed segment. */
static bool l2_place_meant(l2 *d, l2_finds *f, uint32_t meant)
{
    if (meant >= d->nseg || l2_place_is_bad(d, meant)) { return false; }
    l2_find *past = l2_place_find(f, meant);
    if (past == NULL) { return true; }
    if (l2_lsn(d, past->segseq + 1, 0) > f->floor || l2_find_needed(d, past)) { return false; }
    *past = f->at[--f->count];
    return true;
}

/* Choose a place for a walked slot: its own place, which index.snap names, or the least useful one.
 * nseg: no place is good, or none may be overwritten. */
static uint32_t l2_place_for(l2 *d, l2_finds *f, const l2_slot *s)
{
    const uint32_t meant = s->head.segid;
    if (l2_place_meant(d, f, meant)) { return meant; }
    for (uint32_t p = 0; p < d->nseg; p++) {
        if (l2_place_find(f, p) == NULL && !l2_place_is_bad(d, p)) { return p; }
    }
    l2_find *oldest = NULL; /* reclaimed and not yet overwritten, or the oldest */
    for (uint32_t i = 0; i < f->count; i++) {
        if (l2_place_is_bad(d, f->at[i].place)) { continue; } /* the next write would fail, too */
        if (oldest == NULL || f->at[i].segseq < oldest->segseq) { oldest = &f->at[i]; }
    }
    if (oldest == NULL) { return d->nseg; }
    if (l2_find_needed(d, oldest)) { return d->nseg; }
    const uint32_t place = oldest->place;
    f->floor = BASE_MAX(f->floor, l2_lsn(d, oldest->segseq + 1, 0));
    *oldest = f->at[--f->count];
    L2_COUNT(d, reclaimed);
    return place;
}

/* ---- slots ---- */

static l2_find l2_find_slot(const l2 *d, const l2_slot *s)
{
    return (l2_find){ s->head.segseq, s->head.prev_segseq, s->head.floor_lsn, s->head.base_wall_ms,
                      base_load_rlx(&d->seg[s->seg].place), s->controls,
                      (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES, s->pos, s->entries,
                      s->max_generation, s->head.meta };
}

CELLAR_PRIVATE int l2_found_dirty(l2 *d, const l2_finds *f)
{
    if (d->super.state != L2_CLEAN || (d->super.level != L2_DROP && !f->copy)) { return 0; }
    const l2_stage_id stage = d->super.stage;
    d->super.state = L2_DIRTY;
    d->super.closed = 0;
    /* DIRTY at DROP would begin empty after a power cut. The open ends with a sync. */
    d->super.level = (uint32_t)BASE_MAX(d->cfg.level, L2_KEEP);
    /* After its slots are sealed a copy no longer shows what it lacks. So an interrupted copy has
     * no stage in SUPER and begins empty. */
    if (f->copy) { d->super.stage.inode = 0; }
    const int e = l2_super_store(d);
    d->super.stage = stage;
    return e;
}

/* Return true if the next run may continue in the slot: nothing is damaged, its end is known, and a
 * change still finds room. */
static bool l2_slot_goes_on(l2 *d, l2_finds *f, const l2_slot *s)
{
    const bool ended = f->settled && l2_lsn(d, s->head.segseq, s->pos) == f->clean_lsn;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].segseq > s->head.segseq) { return false; }
    }
    return !f->copy && (f->same_boot || ended) &&
           l2_lsn(d, s->head.segseq + 1, 0) > f->floor &&
           s->pos + d->reserve / 2 + L2_FLOOR_ROOM <= l2_data_limit(d, s->entries + 2) &&
           l2_place_meant(d, f, s->head.segid);
}

/* Return the slot with the end of the log; NULL: none. The newest one may have its header only. */
static const l2_slot *l2_slot_last(const l2 *d, const l2_finds *f)
{
    const l2_slot *last = NULL, *below = NULL;
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        if (s->head.segseq == f->staged) { last = s; }
        if (s->head.segseq == f->staged_prev) { below = s; }
    }
    if (f->staged == 0) { return NULL; }
    return f->staged_prev != 0 && below != NULL && l2_slot_is_unused(d, last) ? below : last;
}

/* Seal a slot and add it to the segments found, or keep it if it is the last one. s->base is a copy
 * of `found`, the slot in the stage. */
static int l2_slot_seal(l2 *d, l2_finds *f, l2_slot *s, bool newest, bool last,
                        unsigned char *found)
{
    l2_find *twin = l2_find_seq(f, s->head.segseq);
    const uint64_t end = l2_lsn(d, s->head.segseq + 1, 0);
    /* After a power cut, bytes in neither of the two were synced in neither: no caller has a
     * promise. */
    const bool all = twin != NULL && l2_strict(d, f, s->head.segseq, twin->data_end);
    const uint32_t expect = all ? twin->entries : 0;
    if (twin != NULL) { *twin = f->at[--f->count]; }
    bool damaged = false;
    s->hole = l2_slot_walk(d, f, s, found, &damaged);
    f->marked = f->marked || (s->head.segseq == d->super.born && s->pos >= d->super.born_end);
    /* Shorter than the sync said: records at its end are lost. */
    const bool cut = f->clean_lsn > l2_lsn(d, s->head.segseq, s->pos) && f->clean_lsn < end;
    /* A close has sealed all slots except the one in which it ended. */
    const bool half = f->copy && twin == NULL && end <= f->clean_lsn;
    s->hole = s->hole || cut || half || s->entries < expect;
    if (s->hole) {
        f->floor = BASE_MAX(f->floor, end);
        L2_COUNT(d, holes);
    }
    /* opened, never used, or by void records only: no record names it */
    if (newest && s->entries == 0) { return 0; }
    if (last && twin == NULL && !damaged && !s->hole && l2_slot_goes_on(d, f, s) &&
        l2_slot_keep(d, s, found)) {
        s->seg = s->head.segid;
        f->kept = s;
        f->kept_head = s->head;
        f->at[f->count++] = l2_find_slot(d, s);
        return 0;
    }
    s->seg = l2_place_for(d, f, s);
    if (s->seg == d->nseg) { return ENODATA; }
    s->head.segid = s->seg;
    int e = l2_found_dirty(d, f);
    if (e == 0) { e = l2_seal(d, s); }
    if (e != 0) { return e; }
    f->at[f->count++] = l2_find_slot(d, s);
    return 0;
}

/* Return true if the slot has the mark of the run that SUPER knows. */
static bool l2_slot_has_mark(const l2 *d, const l2_slot *s)
{
    const uint32_t end = d->super.born_end, bytes = l2_rec_room(&d->form, 0, L2_RUN_KLEN, 0);
    l2_rec r;
    return end >= bytes &&
           l2_rec_marked(&d->form, s->base + end - bytes, s->head.segseq, end - bytes, end, &r);
}

/* Settle a slot in a copy: an open that is interrupted finds the slot unchanged. */
static int l2_slot_settle(l2 *d, l2_finds *f, l2_slot *s, bool newest, bool last)
{
    const l2_find *twin = l2_find_seq(f, s->head.segseq);
    if (twin != NULL && (f->same_boot || l2_place_whole(d, twin))) {
        f->marked = f->marked || (s->head.segseq == d->super.born && l2_slot_has_mark(d, s));
        return 0;
    }
    unsigned char *const found = s->base;
    const size_t bytes = d->form.seg_bytes + (size_t)L2_PAGE;
    unsigned char *copy = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (copy == NULL) { return ENOMEM; }
    s->base = copy + (L2_PAGE - (uintptr_t)copy % L2_PAGE);
    memcpy(s->base, found, d->form.seg_bytes);
    const int e = l2_slot_seal(d, f, s, newest, last, found);
    s->base = found;
    s->hole = false;
    base_free(d->cfg.account, BASE_MOD_L2, copy, bytes);
    return e;
}

CELLAR_PRIVATE int l2_slots_settle(l2 *d, l2_finds *f)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (!l2_slot_head_find(d, &d->slot[i])) { return ENODATA; }
        f->newest = BASE_MAX(f->newest, d->slot[i].head.segseq);
        if (d->slot[i].head.segseq > f->staged) {
            f->staged = d->slot[i].head.segseq;
            f->staged_prev = d->slot[i].head.prev_segseq;
        }
        /* Also for an empty slot: filter, tags and patterns have relied on its floor. */
        f->floor = BASE_MAX(f->floor, d->slot[i].head.floor_lsn);
        f->meta = BASE_MAX(f->meta, d->slot[i].head.meta);
        for (uint32_t j = 0; j < i; j++) { /* one header in two slots */
            const uint64_t segseq = d->slot[j].head.segseq;
            if (segseq != 0 && segseq == d->slot[i].head.segseq) { return ENODATA; }
        }
    }
    const l2_slot *const last = l2_slot_last(d, f);
    for (uint32_t n = 0; n < d->nstage; n++) {
        l2_slot *s = NULL;
        for (uint32_t i = 0; i < d->nstage; i++) {
            l2_slot *c = &d->slot[i];
            if (c->head.segseq > done && (s == NULL || c->head.segseq < s->head.segseq)) { s = c; }
        }
        if (s == NULL) { break; }
        done = s->head.segseq;
        const int e = l2_slot_settle(d, f, s, done == f->newest, s == last);
        if (e != 0) { return e; }
    }
    return 0;
}

CELLAR_PRIVATE int l2_kept_seal(l2 *d, l2_finds *f)
{
    l2_slot *s = f->kept;
    f->kept = NULL;
    s->head = f->kept_head;
    int e = l2_found_dirty(d, f);
    if (e == 0) { e = l2_seal(d, s); }
    return e == 0 ? d->vfs->datasync(d->vfs->ctx, d->data_file) : e;
}

BASE_SIZE_END
