/* SPDX-License-Identifier: MIT
 *
 * slot: one slot of the stage: headers, footer lines, state.
 *
 * PICTURE    FREE -> [READY at KEEP, ALWAYS] -> OPEN -> FULL -> WRITTEN -> FREE
 *            |header|records .. pos|      ..      |footer lines, last page first|trailer, header|
 * INVARIANTS A slot has its header twice. A process death between the two stores must not look like
 *            damage: until the copy is complete the first page keeps its old contents.
 *            A footer line has the distance to the next record. The line of the newest record gets
 *            it from the next one.
 *            A slot without a header counts as unused.
 * LOCKING    L2_LOG for states and positions; the worker alone uses a slot from FULL on.
 * SEE ALSO   log.c: which records go to the open slot; recovery_slot.c: slots after a restart. */
#include "l2/slot.h"

#include "l2/format.h"
#include "l2/tombstone_filter.h"

/* ---- positions ---- */

CELLAR_PRIVATE uint32_t l2_data_limit(const l2 *d, uint32_t entries)
{
    const uint32_t pages = (entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    return d->form.seg_bytes - (pages + 1) * L2_PAGE;
}

CELLAR_PRIVATE unsigned char *l2_slot_foot(const l2 *d, const l2_slot *s, uint32_t page)
{
    return s->base + d->form.seg_bytes - (size_t)(page + 2) * L2_PAGE;
}

static unsigned char *l2_slot_back(const l2 *d, const l2_slot *s)
{
    return s->base + d->form.seg_bytes - L2_PAGE + 128;
}

BASE_SIZE_BEGIN

/* ---- headers ---- */

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

/* Give slot and segment a number and a header. The caller decides when it may be used. */
static SYNC_HOLDS(L2_LOG) void l2_slot_head(l2 *d, l2_slot *s, uint32_t seg)
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
    s->entries = s->tombs = s->controls = s->max_generation = s->last_off = s->kept_end = 0;
    l2_slot_heads_write(d, s);
    d->seg[seg].era = l2_era_begin(d, segseq);
    d->seg[seg].controls = 0;
    base_store_rlx(&d->seg[seg].future, 0u);
    base_store_sc(&d->seg[seg].word,
                  L2_SEG_WORD(L2_SEG_STAGE, (uint64_t)(s - d->slot), segseq));
}

CELLAR_PRIVATE l2_slot *l2_slot_in(l2 *d, uint32_t state)
{
    for (uint32_t i = 0; i < d->nstage; i++) {
        if (d->slot[i].state == state) { return &d->slot[i]; }
    }
    return NULL;
}

CELLAR_PRIVATE bool l2_slot_make(l2 *d, l2_slot *s)
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

CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s)
{
    static const unsigned char none[L2_HEAD_BYTES] BASE_ALIGNED(8);
    l2_slot_head_store(s->base, none);
    l2_slot_head_store(l2_slot_back(d, s), none);
}

CELLAR_PRIVATE void l2_slot_unmake(l2 *d, l2_slot *s)
{
    BASE_ASSERT(s->entries == 0 && s->head.segseq == d->newest_segseq);
    l2_slot_wipe(d, s);
    d->newest_segseq = s->head.prev_segseq;
    base_store_sc(&d->seg[s->seg].word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
    d->seg[d->free_count++].free_seg = s->seg;
    memset(&s->head, 0, sizeof s->head);
    s->state = L2_SLOT_FREE;
}

/* ---- search ---- */

CELLAR_PRIVATE uint32_t l2_seg_oldest(const l2 *d, uint64_t from, uint64_t *word, uint64_t *next)
{
    uint32_t oldest = UINT32_MAX;
    uint64_t least = UINT64_MAX;
    *word = 0;
    *next = UINT64_MAX;
    for (uint32_t i = 0; i < base_load_acq(&d->nseg_seen); i++) {
        const uint64_t w = base_load_acq(&d->seg[i].word);
        if (!L2_SEG_USED(w) || L2_SEG_SEQ(w) < from) { continue; }
        if (L2_SEG_SEQ(w) < least) {
            *next = least;
            least = L2_SEG_SEQ(w);
            oldest = i;
            *word = w;
        } else if (L2_SEG_SEQ(w) < *next) {
            *next = L2_SEG_SEQ(w);
        }
    }
    return oldest;
}

CELLAR_PRIVATE const l2_slot *l2_slot_of(l2 *d, uint32_t seg, uint64_t segseq)
{
    const l2_slot *found = NULL;
    sync_take(L2_LOG, &d->log_lock); /* a put may be opening another slot */
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        const bool has = s->state == L2_SLOT_WRITTEN && s->seg == seg && s->head.segseq == segseq;
        if (has) { found = s; }
    }
    sync_drop(L2_LOG, &d->log_lock);
    return found;
}

BASE_SIZE_END

/* ---- footer lines ---- */

CELLAR_PRIVATE void l2_slot_dist(const l2 *d, const l2_slot *s, uint32_t next)
{
    if (s->entries == 0) { return; }
    const uint32_t last = s->entries - 1, dist = (next - s->last_off) / d->form.granule;
    unsigned char *page = l2_slot_foot(d, s, last / L2_FOOT_ENTRIES);
    memcpy(l2_foot_entry(page, last % L2_FOOT_ENTRIES) + 6, &dist, 3);
}

CELLAR_PRIVATE void l2_slot_note(l2 *d, l2_slot *s, uint64_t h48, const l2_rec *r, uint32_t off)
{
    l2_slot_dist(d, s, off);
    const uint32_t index = s->entries / L2_FOOT_ENTRIES, line = s->entries % L2_FOOT_ENTRIES;
    unsigned char *page = l2_slot_foot(d, s, index);
    if (line == 0) {
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
