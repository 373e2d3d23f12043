/* SPDX-License-Identifier: MIT
 *
 * reclaim: free the place of the oldest segment.
 *
 * PICTURE    words of the oldest segment removed -> its place is free
 *            seg  DISK -> FREE
 * INVARIANTS Strictly oldest first: tombstones and newer values hide older values.
 *            META has the controls of a segment before its place is free.
 * LOCKING    Worker only; L2_LOG for the stack of free segments. */
#include "l2/steps.h"

#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/io.h"
#include "l2/progress.h"
#include "l2/slot.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

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
    if (!l2_foot_walk(d, &d->seg[seg], segseq, false, l2_reclaim_line, &seg)) {
        l2_index_sweep(d, l2_word_in, seg);
    }
}

CELLAR_PRIVATE bool l2_reclaim(l2 *d)
{
    uint64_t w, next;
    const uint32_t seg = l2_seg_oldest(d, 0, &w, &next);
    if (seg == UINT32_MAX || next == UINT64_MAX) { return false; }
    l2_seg *g = &d->seg[seg];
    if (L2_SEG_STATE(w) != L2_SEG_DISK || l2_slot_of(d, seg, L2_SEG_SEQ(w)) != NULL) {
        return false;
    }
    if (g->controls > 0 && d->meta_lsn < l2_lsn(d, L2_SEG_SEQ(w) + 1, 0) && l2_meta_store(d) != 0) {
        return false;
    }
    /* Set before the words are removed: of two words for records of one key the newer may leave
     * first. */
    base_store_rel(&d->leaving_lsn, l2_lsn(d, next, 0)); /* acquire in l2_get_word */
    /* an index rebuild in progress may have added some */
    const bool words = !g->unread || d->order_at > 0 || d->sort.part > 0;
    if (g->unread) { l2_rebuild_skip(d, seg); }
    if (words) { l2_reclaim_words(d, seg, L2_SEG_SEQ(w)); }
    BASE_POINT("l2.reclaim");
    base_store_rel(&d->oldest_lsn, l2_lsn(d, next, 0));
    base_store_sc(&g->word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
    sync_take(L2_LOG, &d->log_lock);
    d->seg[d->free_count++].free_seg = seg;
    sync_drop(L2_LOG, &d->log_lock);
    l2_room_made(d);
    L2_COUNT(d, reclaimed);
    return true;
}

BASE_SIZE_END
