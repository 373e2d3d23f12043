/* SPDX-License-Identifier: MIT
 *
 * recovery: load what the files prove after a restart, and drop everything else.
 *
 * PICTURE    places and slots (recovery_place.c) -> controls, floor, chain (recovery_chain.c)
 *            -> tables -> the last slot or a new one is open -> (after the open) footers, newest
 *            first: words
 * PROTOCOL   Copy: each part is bound to its position in the log, so missing parts are found.
 * INVARIANTS Nothing on disk changes before SUPER permits it: a store that was CLEAN at level DROP
 *            stays as it is or says DIRTY first, and only SUPER ends an epoch. Each step may be
 *            interrupted and repeated.
 * LOCKING    None: no other thread uses the store yet.
 * SEE ALSO   README.md: copied directories. open.c, index_rebuild.c, index_snapshot.c. */
#include "l2/recovery.h"

#include <errno.h>

#include "l2/health.h"
#include "l2/index_rebuild.h"
#include "l2/index_snapshot.h"
#include "l2/log.h"
#include "l2/recovery_parts.h"
#include "l2/slot.h"
#include "l2/steps.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"

BASE_SIZE_BEGIN

#define L2_FUTURE_MS 120000
#define L2_GENERATION_SKIP 65536u

/* ---- tables ---- */

/* Return the next generation behind `next` and the largest of the records. A clear that was
 * interrupted may have left records with a generation that no control has. */
static uint64_t l2_generation_behind(uint64_t next, uint32_t largest)
{
    const uint64_t half = UINT64_C(0x7fffffff);
    const uint64_t whole = (next & ~(uint64_t)UINT32_MAX) | largest;
    if (largest == 0) { return next; }
    if (((whole ^ (next - 1)) & ~half) == 0) { return BASE_MAX(next, whole + 1); }
    /* A segment with records of two halves has the largest of the older one: skip as many as calls
     * that were interrupted may have drawn. */
    return BASE_MAX(next, BASE_MIN(next + L2_GENERATION_SKIP, next | half));
}

static SYNC_HOLDS(L2_LOG) void l2_adopt(l2 *d, l2_finds *f)
{
    const int64_t wall = l2_wall_now(d);
    uint64_t oldest = UINT64_MAX;
    uint32_t generation = 0;
    d->order_count = d->order_at = 0;
    base_store_rlx(&d->floor_lsn, f->floor);
    for (uint32_t i = 0; i < f->count; i++) {
        const l2_find *g = &f->at[i];
        d->newest_segseq = BASE_MAX(d->newest_segseq, g->segseq);
        if (l2_lsn(d, g->segseq + 1, 0) <= f->floor) { continue; }
        l2_seg *s = &d->seg[g->place];
        generation = BASE_MAX(generation, g->max_generation);
        oldest = BASE_MIN(oldest, l2_lsn(d, g->segseq, 0));
        s->era = l2_era_begin(d, g->segseq);
        s->controls = g->controls;
        s->footer_pages = g->footer_pages;
        d->sort.lines += g->entries;
        s->data_end = g->data_end;
        s->unread = true;
        base_store_rlx(&s->future, g->base_wall_ms > wall + L2_FUTURE_MS ? 1u : 0u);
        const bool kept = f->kept != NULL && g->segseq == f->kept_head.segseq;
        const uint64_t slot = kept ? (uint64_t)(f->kept - d->slot) : 0;
        base_store_rlx(&s->word, L2_SEG_WORD(kept ? L2_SEG_STAGE : L2_SEG_DISK, slot, g->segseq));
        d->order[d->nseg - ++d->order_count] = g->place;
        L2_COUNT(d, recovered);
    }
    d->meta_done = (uint32_t)BASE_MIN(d->meta_serial, UINT32_MAX);
    memmove(d->order, d->order + d->nseg - d->order_count, d->order_count * sizeof *d->order);
    d->next_segseq = BASE_MAX(d->newest_segseq + 1, d->super.segseq_end);
    d->super.segseq_end = d->segseq_end = d->next_segseq + L2_SEGSEQ_STEP;
    base_store_rlx(&d->oldest_lsn, oldest != UINT64_MAX ? oldest : l2_lsn(d, d->next_segseq, 0));
    for (uint32_t p = d->nseg; p > 0; p--) {
        const uint32_t state = L2_SEG_STATE(base_load_rlx(&d->seg[p - 1].word));
        if (state == L2_SEG_FREE && l2_place_is_bad(d, p - 1)) {
            base_store_rlx(&d->seg[p - 1].word, L2_SEG_WORD(L2_SEG_BAD, 0, 0));
        } else if (state == L2_SEG_FREE) {
            d->seg[d->free_count++].free_seg = p - 1;
        }
    }
    for (uint32_t i = 0; i < d->nstage; i++) {
        d->slot[i].state = L2_SLOT_FREE;
        d->slot[i].armed_end = d->form.seg_bytes; /* mapping the stage armed all of it */
        d->slot[i].past = true;
        d->slot[i].armed_lines = d->slot[i].armed_soon = UINT32_MAX;
    }
    if (f->kept != NULL) {
        f->kept->state = L2_SLOT_OPEN;
        f->kept->head = f->kept_head;
        f->kept->kept_end = f->kept->pos;
        d->open_slot = f->kept;
        base_store_rel(&d->header_floor, f->kept_head.floor_lsn);
    }
    d->arm_window = BASE_MIN((uint32_t)256 << 10, d->form.seg_bytes);
    sync_take(L2_DEV, &d->namespace_lock);
    d->next_generation = l2_generation_behind(d->next_generation, generation);
    sync_drop(L2_DEV, &d->namespace_lock);
}

static void l2_tables_reset(l2 *d)
{
    for (uint32_t i = 0; i < d->nseg; i++) {
        base_store_rlx(&d->seg[i].word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
        base_store_rlx(&d->seg[i].place, i);
    }
    for (uint32_t i = 0; i < d->nstage; i++) { memset(&d->slot[i].head, 0, sizeof(l2_head)); }
    sync_take(L2_LOG, &d->log_lock);
    d->newest_segseq = 0;
    sync_drop(L2_LOG, &d->log_lock);
}

static int l2_epoch_next(l2 *d, l2_finds *f)
{
    d->super.epoch++;
    d->form.epoch = d->super.epoch;
    d->super.state = L2_DIRTY;
    d->super.closed = 0;
    d->super.born = d->super.born_end = 0;
    d->super.meta = 0; /* META is of an earlier epoch */
    base_store_rlx(&d->floor_lsn, (uint64_t)0);
    f->count = 0;
    f->floor = 0;
    f->clean_lsn = 0;
    f->kept = NULL;
    return l2_super_store(d);
}

/* ---- a copy ---- */

/* Return true if the newest segment of a copy ends where the close ended, or the close left an
 * empty slot. */
static bool l2_copy_ends(const l2 *d, const l2_finds *f, const l2_find *top)
{
    const uint64_t last = top != NULL ? top->segseq : 0, seg = f->clean_lsn / d->form.seg_bytes;
    bool ends = top != NULL && l2_lsn(d, last, top->data_end) == f->clean_lsn;
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_head *h = &d->slot[i].head;
        ends = ends || (h->segseq == seg && h->prev_segseq == last && last < seg);
    }
    return ends;
}

/* Return false if a part of a copy is newer than the close in its SUPER. */
static bool l2_copy_holds(l2 *d, l2_finds *f)
{
    const l2_find *top = NULL;
    for (uint32_t i = 0; i < f->count; i++) {
        if (top == NULL || f->at[i].segseq > top->segseq) { top = &f->at[i]; }
    }
    if (top != NULL && l2_lsn(d, top->segseq, top->data_end) > f->clean_lsn) { return false; }
    if (!l2_copy_ends(d, f, top)) {
        f->floor = BASE_MAX(f->floor, f->clean_lsn);
        L2_COUNT(d, holes);
    }
    return true;
}

/* Restore SUPER after a failed open of a copy, so that the next open can find all of it. Everything
 * that no longer shows, because slots are sealed, is below the floor. */
static void l2_copy_back(l2 *d, const l2_finds *f, const l2_stage_id *stage_was)
{
    l2_floor_to(d, f->floor);
    d->super.state = L2_CLEAN;
    d->super.closed = 1;
    d->super.stage = *stage_was;
    (void)l2_super_store(d);
}

/* ---- the scan ---- */

static int l2_scan(l2 *d, l2_finds *f)
{
    const uint64_t holes = base_load_rlx(&d->n.holes);
    int e = f->copy ? l2_found_dirty(d, f) : 0;
    if (e != 0) { return e; }
    l2_places_read(d, f);
    e = l2_slots_settle(d, f);
    if (e == 0 && f->copy && !l2_copy_holds(d, f)) { e = ENODATA; }
    if (e == ENODATA) {
        l2_tables_reset(d);
        L2_COUNT(d, holes);
        return l2_epoch_next(d, f);
    }
    if (e != 0) { return e; }
    e = d->vfs->datasync(d->vfs->ctx, d->data_file);
    /* The process may have died before that sync; headers will rely on META. */
    if (e == 0 && (d->cfg.level != L2_DROP || d->lasting)) {
        e = d->vfs->datasync(d->vfs->ctx, d->meta[d->meta_serial & 1]);
    }
    l2_tables_reset(d);
    l2_finds_sort(f);
    if (e != 0) { return e; }
    l2_controls_read(d, f);
    l2_chain(d, f);
    l2_meta_missed(d, f);
    f->meta_due = l2_meta_owes(d, f);
    /* A header of this run must have the floor of a hole. */
    const bool dead = f->kept != NULL && l2_lsn(d, f->kept_head.segseq + 1, 0) <= f->floor;
    if (dead || (f->kept != NULL && base_load_rlx(&d->n.holes) != holes)) {
        e = l2_kept_seal(d, f);
    }
    return e;
}

/* Wipe the free slots; their records are settled. The header of an unused slot would stand between
 * two others at the next recovery and look like a gap. */
static void l2_slots_wipe(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state == L2_SLOT_FREE) { l2_slot_wipe(d, &d->slot[i]); }
    }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Continue in the kept slot. Its header is older than the run. So SUPER has the floor of headers
 * that are wiped, and the log has a mark of the run. A store that was CLEAN at level DROP, and ends
 * where that says, stays CLEAN until the first change: that one stores the mark. Return an errno,
 * or 0. */
static int l2_go_on(l2 *d, const l2_finds *f)
{
    const bool wiped = f->newest > f->kept_head.segseq;
    const bool ended = d->super.state == L2_CLEAN && d->cfg.level == L2_DROP &&
                       l2_lsn(d, f->kept_head.segseq, f->kept->pos) == f->clean_lsn;
    d->unmarked = ended && d->super.level == L2_DROP && !wiped;
    if (d->unmarked) { return 0; }
    int e = l2_found_dirty(d, f);
    if (e == 0 && wiped) { e = l2_super_store(d); }
    BASE_POINT("l2.kept_floor");
    if (e != 0) { return e; }
    l2_slots_wipe(d);
    l2_run_mark(d);
    return 0;
}

/* Open the first slot. From here on there is always an open slot, so each change can log. */
static bool l2_first_slot(l2 *d)
{
    for (uint32_t i = 0; i <= d->nseg; i++) {
        if (l2_prepare(d) != 0) { return false; }
        sync_take(L2_LOG, &d->log_lock);
        const bool open = l2_slot_open(d);
        sync_drop(L2_LOG, &d->log_lock);
        if (open) { return true; }
        if (!l2_reclaim(d)) { return false; }
    }
    return false;
}

/* Return the bytes of the found segments that the floor ends. */
static uint64_t l2_finds_below(const l2 *d, const l2_finds *f)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        const uint64_t end = l2_lsn(d, f->at[i].segseq, f->at[i].data_end);
        if (end <= l2_floor(d)) { bytes += f->at[i].data_end; }
    }
    return bytes;
}

CELLAR_PRIVATE uint64_t l2_recover_bytes(const l2_super *s)
{
    return ((uint64_t)s->nseg + s->nstage) * sizeof(l2_find) + s->seg_bytes + L2_PAGE;
}

CELLAR_PRIVATE cellar_err l2_recover(l2 *d, bool alive, bool same_boot, bool copy,
                                     const l2_stage_id *stage_was, int *sys_errno)
{
    l2_finds f = { .same_boot = same_boot, .copy = copy, .floor = d->super.floor_lsn,
                   .meta = d->super.meta,
                   .clean_lsn = d->super.state == L2_CLEAN ? d->super.clean_lsn : 0,
                   .settled = d->super.state == L2_CLEAN &&
                              (d->super.closed != 0 || d->super.level == L2_DROP) };
    const size_t bytes = (size_t)(d->nseg + d->nstage) * sizeof *f.at;
    f.at = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (f.at == NULL) { return CELLAR_E_NOMEM; }
    const uint64_t epoch = d->form.epoch;
    l2_tables_reset(d);
    cellar_err err = l2_meta_load(d);
    int e = 0;
    bool slotted = false;
    if (err == CELLAR_OK) { e = alive ? l2_scan(d, &f) : l2_epoch_next(d, &f); }
    if (err == CELLAR_OK && e == 0) {
        sync_take(L2_LOG, &d->log_lock);
        l2_adopt(d, &f);
        sync_drop(L2_LOG, &d->log_lock);
        if (f.meta_due) { e = l2_meta_store(d); }
        const uint64_t newest = BASE_MAX(f.newest, f.count > 0 ? f.at[f.count - 1].segseq : 0);
        const bool cold = d->order_count > 0 && !l2_snap_take(d, newest);
        if (d->order_count == 0) {
            d->opened = d->form.epoch == epoch || d->super.opens == 1 ? L2_OPENED_EMPTY
                                                                      : L2_OPENED_RESET;
        }
        base_store_rlx(&d->rebuilding, cold ? 1u : 0u);
        if (cold && !l2_rebuild_begin(d)) { err = CELLAR_E_NOMEM; }
        slotted = err == CELLAR_OK && e == 0;
        if (slotted && f.kept != NULL) {
            if (cold) { l2_rebuild_slot(d, f.kept); }
            e = l2_go_on(d, &f);
        } else if (slotted) {
            e = l2_found_dirty(d, &f);
            if (e == 0) { e = l2_first_slot(d) ? 0 : EIO; }
            /* The new header must be on disk before the old ones are wiped, as at KEEP. */
            if (e == 0 && d->cfg.level == L2_DROP && d->lasting) {
                e = d->vfs->datasync(d->vfs->ctx, d->stage_file);
            }
            if (e == 0) { l2_slots_wipe(d); }
            sync_take(L2_LOG, &d->log_lock);
            d->super.born = d->newest_segseq; /* of the open slot */
            sync_drop(L2_LOG, &d->log_lock);
            d->super.born_end = 0;
        }
        d->invalidations.open = true;
        const uint64_t below = l2_finds_below(d, &f);
        if (d->opened == L2_OPENED_RESET) {
            l2_lost(d, L2_LOST_open, (uint64_t)d->places * d->form.seg_bytes); /* at most */
        } else if (base_load_rlx(&d->n.holes) != 0 && below != 0) {
            l2_lost(d, L2_LOST_damage, below);
        }
    }
    const bool failed = err != CELLAR_OK || e != 0;
    if (failed && !slotted && f.copy && f.clean_lsn != 0) { l2_copy_back(d, &f, stage_was); }
    base_free(d->cfg.account, BASE_MOD_L2, f.at, bytes);
    *sys_errno = e;
    if (e != 0) { return e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO; }
    return err;
}

BASE_SIZE_END
