/* SPDX-License-Identifier: MIT
 *
 * seal: write full slots to their places in data.seg.
 *
 * PICTURE    slot FULL -> footers, trailer, zeros -> one write to its place -> WRITTEN -> FREE
 *            seg  STAGE -> DISK
 * INVARIANTS A slot is reused when its bytes are in data.seg (at KEEP and ALWAYS: synced), its
 *            writers are done and no reader has it pinned.
 * LOCKING    Worker only; L2_LOG for states of slots and for free segments.
 * LIMITS     A place with a failed write is reused only after the disk recovered (heartbeat.c).
 * SEE ALSO   README.md: write sizes. */
#include "l2/steps.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/io.h"
#include "l2/mapped_read.h"
#include "l2/progress.h"
#include "l2/slot.h"

BASE_SIZE_BEGIN

#define L2_CHUNK ((size_t)1 << 20)
#define L2_CHUNK_MOST ((size_t)4 << 20)
#define L2_CHUNK_FAST_NS UINT64_C(5000000)
#define L2_CHUNK_SLOW_NS UINT64_C(20000000)
#define L2_RETRY_PLACES 3

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
                           .max_generation = s->max_generation, .hole = s->hole };
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
        /* EFAULT: the stage was truncated (heartbeat.c), the place is not at fault. */
        if (e == 0 || e == EFAULT || !l2_seal_elsewhere(d, s)) { break; }
    }
    if (e != 0) { return e; }
    l2_seg *g = &d->seg[s->seg];
    g->controls = s->controls;
    g->footer_pages = (s->entries + L2_FOOT_ENTRIES - 1) / L2_FOOT_ENTRIES;
    g->data_end = s->pos;
    g->unsynced = true;
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

CELLAR_PRIVATE bool l2_seal_work(l2 *d)
{
    l2_slot *s = l2_slot_due(d);
    if (s == NULL) { return false; }
    const int e = l2_seal(d, s);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e, "a segment cannot be written");
        return false;
    }
    d->sealed_ms = base_now_ms(d->cfg.clock);
    sync_take(L2_LOG, &d->log_lock);
    s->state = L2_SLOT_WRITTEN;
    sync_drop(L2_LOG, &d->log_lock);
    return true;
}

CELLAR_PRIVATE void l2_recycle(l2 *d)
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
            base_store_rlx(&d->arm_wanted, (uint32_t)L2_ARM_MORE);
        }
        sync_drop(L2_LOG, &d->log_lock);
        if (due) { l2_room_made(d); }
    }
}

/* Seal the slots that are full now. Others may fill up meanwhile. */
CELLAR_PRIVATE void l2_drain(l2 *d)
{
    for (uint32_t i = 0; i < d->nstage && l2_seal_work(d); i++) {}
    l2_recycle(d);
}

BASE_SIZE_END
