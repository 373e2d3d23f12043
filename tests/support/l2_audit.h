/* SPDX-License-Identifier: MIT
 *
 * l2_audit: compare all structures of a disk tier with each other.
 *
 * PICTURE    segments against slots and the free list -> each word: a live segment, a valid place,
 *            a correct count -> each put on disk: its bits are in the tombstone filter
 * LOCKING    Takes the worker. No other call may run. */
#ifndef TESTS_SUPPORT_L2_AUDIT_H
#define TESTS_SUPPORT_L2_AUDIT_H

#include "l2/index.h"
#include "l2/io.h"
#include "l2/progress.h"
#include "l2/tombstone_filter.h"
#include "l2/types.h"

SYNC_HOLDS(L2_LOG) static inline const char *l2_audit_segments(const l2 *d)
{
    uint32_t free = 0, staged = 0, places = 0;
    for (uint32_t i = 0; i < d->nseg; i++) {
        const uint64_t w = base_load_acq(&d->seg[i].word);
        free += L2_SEG_STATE(w) == L2_SEG_FREE;
        if (L2_SEG_STATE(w) == L2_SEG_STAGE) {
            const l2_slot *s = &d->slot[L2_SEG_SLOT(w)];
            staged++;
            if (s->head.segseq != L2_SEG_SEQ(w) || s->seg != i) { return "slot of a segment"; }
            if (s->state == L2_SLOT_FREE) { return "a segment in a free slot"; }
        }
        if (L2_SEG_STATE(w) == L2_SEG_GONE) { continue; }
        places++;
        if (base_load_rlx(&d->seg[i].place) >= d->places) { return "a place outside the file"; }
    }
    if (places != d->places) { return "wrong number of places"; }
    if (free != d->free_count) { return "wrong list of free segments"; }
    if (staged > d->nstage) { return "more staged segments than slots"; }
    return NULL;
}

static inline const char *l2_audit_words(l2 *d)
{
    const uint32_t ways = d->index.buckets * L2_WAYS;
    uint64_t words = 0;
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        _Atomic uint64_t *way = d->index.shard[i].way;
        for (uint32_t j = 0; j < ways; j++) {
            const uint64_t w = base_load_rlx(&way[j]);
            if (w == 0) { continue; }
            words++;
            if (l2_word_seg(d, w) >= d->nseg) { return "a word outside the file"; }
            const bool tomb = (w & L2_WORD_TOMB) != 0;
            const bool rebuilding = base_load_rlx(&d->rebuilding) != 0;
            const bool alone = (w & (L2_WORD_LINKED | L2_WORD_TWIN)) == 0;
            if (tomb && alone && !rebuilding) { return "a tomb word without a bunch"; }
            if (!(tomb && rebuilding) && l2_word_lsn(d, w) == 0) {
                return "a word of a free place";
            }
        }
    }
    return words == base_load_rlx(&d->index.words) ? NULL : "wrong count of words";
}

static inline void l2_audit_line(l2 *d, void *ctx, const l2_entry *e)
{
    if (e->kind == L2_KIND_PUT && !l2_filter_maybe(d, e->h48)) { *(bool *)ctx = true; }
}

static inline const char *l2_audit_filter(l2 *d)
{
    bool absent = false;
    for (uint32_t i = 0; i < d->nseg; i++) {
        const l2_seg *g = &d->seg[i];
        const uint64_t w = base_load_acq(&g->word);
        if (L2_SEG_STATE(w) != L2_SEG_DISK || base_load_rlx(&d->rebuilding) != 0 ||
            l2_lsn(d, L2_SEG_SEQ(w), 0) < base_load_acq(&d->floor_lsn)) {
            continue;
        }
        (void)l2_foot_walk(d, g, L2_SEG_SEQ(w), false, l2_audit_line, &absent);
    }
    return absent ? "a put on disk that the filter denies" : NULL;
}

/* Return the first fault; NULL: none. */
static inline const char *l2_audit(l2 *d)
{
    l2_worker_take(d);
    sync_take(L2_LOG, &d->log_lock);
    const char *bad = l2_audit_segments(d);
    sync_drop(L2_LOG, &d->log_lock);
    if (bad == NULL) { bad = l2_audit_words(d); }
    if (bad == NULL) { bad = l2_audit_filter(d); }
    l2_worker_drop(d);
    return bad;
}

#endif
