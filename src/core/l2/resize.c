/* SPDX-License-Identifier: MIT
 *
 * resize: add or remove places of data.seg while the store runs.
 *
 * PICTURE    grow    file longer -> SUPER{nseg} -> free places
 *            shrink  |0 1 2 .. to-1|to .. places-1|      highest first, one per step:
 *                    more live than will fit -> the oldest moves or is reclaimed; floor, SUPER
 *                    free, bad -> gone;   live -> copied to a free place below `to`, its own gone
 *                    all above gone -> SUPER{nseg}, file shorter
 * INVARIANTS Places in use are a permutation of 0 .. places-1. A segment that moves keeps its
 *            index, so no word changes. An index without a place is GONE until the store grows.
 *            SUPER never names a place beyond the file. The next open cuts a file that is too long.
 *            The trailer makes a copy valid and is written after the rest is synced. The old place
 *            is free when the trailer is synced. Two places with one number are both whole.
 *            Reclaimed segments lie below SUPER's floor before a copy takes their place and before
 *            the file is cut. So a later recovery cannot restore old values from their remains, and
 *            does not mistake half a segment for damage.
 * LOCKING    Worker only, one step per round of l2_work, so that slots are sealed meanwhile.
 *            Lists, and places of slots in use, change under L2_LOG. A reader of the old place gets
 *            the old bytes, or finds the file cut and retries (l2_get_disk).
 * LIMITS     Index and filter keep their size. At most 16 times the places of the open. A place
 *            that cannot be read ends a shrink with E_IO. */

#include <errno.h>

#include "l2/health.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/mapped_read.h"
#include "l2/progress.h"
#include "l2/steps.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

#define L2_COPY_BYTES ((uint32_t)256 << 10)
#define L2_IDLE_NS UINT64_C(5000000000) /* longest wait for slots to be sealed */

/* ---- rows of segments ---- */

/* Commit memory for `rows`. Return false if there is none. */
static bool l2_rows_add(l2 *d, uint64_t rows)
{
    const size_t want = (size_t)base_round_up(rows * sizeof *d->seg, BASE_PAGE);
    const size_t have = d->seg_have;
    if (want > d->seg_region.reserved_bytes) { return false; }
    if (want <= have) { return true; }
    if (!base_charge_room(d->cfg.account, BASE_MOD_L2, want - have)) { return false; }
    if (!base_region_commit(&d->seg_region, have, want - have)) {
        base_uncharge(d->cfg.account, BASE_MOD_L2, want - have);
        return false;
    }
    d->seg_have = want;
    return true;
}

CELLAR_PRIVATE bool l2_rows_open(l2 *d, uint64_t rows)
{
    const uint64_t most = L2_ADDR_MAX >> d->seg_shift;
    const uint64_t cap = BASE_MIN(BASE_MAX(rows * 16, 1024), BASE_MAX(most, rows));
    if (!base_region_reserve(&d->seg_region, (size_t)(cap * sizeof *d->seg),
                             (size_t)(rows * sizeof *d->seg)) ||
        !l2_rows_add(d, rows)) {
        return false;
    }
    d->seg = (l2_seg *)(void *)d->seg_region.base;
    return true;
}

CELLAR_PRIVATE void l2_rows_close(l2 *d)
{
    base_uncharge(d->cfg.account, BASE_MOD_L2, d->seg_have);
    if (d->seg_region.base != NULL) { base_region_release(&d->seg_region); }
    d->seg = NULL;
    d->seg_have = 0;
}

/* ---- grow ---- */

/* Store the new size in SUPER, then cut the file. PENDING: a reader still uses the mapping of the
 * part that is cut. */
static cellar_err l2_size_store(l2 *d, uint64_t bytes)
{
    if (d->uncut && !l2_map_shut(d)) { return CELLAR_PENDING; }
    d->super.l2_bytes = bytes;
    if (l2_super_store(d) != 0) { return CELLAR_E_IO; }
    BASE_POINT("l2.shrunk");
    if (!d->uncut) { return CELLAR_OK; }
    l2_beat(d);
    const int e = L2_DISK(d, truncate, d->data_file,
                          (uint64_t)d->places * d->form.seg_bytes);
    if (e != 0) { l2_io_failed(d, "l2_truncate", d->data_file, 0, e); }
    d->uncut = e != 0;
    return e == 0 ? CELLAR_OK : CELLAR_E_IO;
}

static uint32_t l2_gone_next(const l2 *d, uint32_t from)
{
    while (from < d->nseg && L2_SEG_STATE(base_load_acq(&d->seg[from].word)) != L2_SEG_GONE) {
        from++;
    }
    return from;
}

/* Add places up to `to`, highest first, so that the lowest is used first. */
static void l2_places_add(l2 *d, uint32_t to)
{
    sync_take(L2_LOG, &d->log_lock);
    uint32_t index = l2_gone_next(d, 0);
    for (uint32_t p = to; p > d->places; p--) {
        l2_seg *g = &d->seg[index];
        base_store_rlx(&g->place, p - 1);
        base_store_sc(&g->word, L2_SEG_WORD(L2_SEG_FREE, 0, 0));
        d->seg[d->free_count++].free_seg = index;
        if (index >= d->nseg) { d->nseg = index + 1; }
        index = index + 1 < d->nseg ? l2_gone_next(d, index + 1) : d->nseg;
    }
    d->places = to;
    base_store_rel(&d->nseg_seen, d->nseg); /* acquire of both in l2_stats_get */
    base_store_rel(&d->places_seen, to);
    sync_drop(L2_LOG, &d->log_lock);
}

static cellar_err l2_grow(l2 *d, uint32_t to, uint64_t bytes)
{
    const uint32_t from = d->places;
    const cellar_err cut = d->uncut ? l2_size_store(d, d->super.l2_bytes) : CELLAR_OK;
    if (cut != CELLAR_OK) { return cut; }
    uint32_t gone = 0;
    for (uint32_t i = l2_gone_next(d, 0); i < d->nseg; i = l2_gone_next(d, i + 1)) { gone++; }
    const uint64_t rows = (uint64_t)d->nseg + (to - from > gone ? to - from - gone : 0);
    if (rows > d->seg_region.reserved_bytes / sizeof *d->seg ||
        rows > L2_ADDR_MAX >> d->seg_shift) {
        return CELLAR_E_RANGE;
    }
    if (!l2_rows_add(d, rows)) { return CELLAR_E_NOMEM; }
    l2_beat(d);
    int e = L2_DISK(d, preallocate, d->data_file, (uint64_t)to * d->form.seg_bytes);
    if (e != 0) {
        (void)L2_DISK(d, truncate, d->data_file, (uint64_t)from * d->form.seg_bytes);
        return e == ENOSPC || e == EDQUOT || e == EFBIG ? CELLAR_E_SPACE : CELLAR_E_IO;
    }
    BASE_POINT("l2.grown");
    e = l2_sync_file(d, d->data_file);
    const uint64_t was = d->super.l2_bytes;
    d->super.nseg = to;
    d->super.l2_bytes = bytes;
    if (e == 0) { e = l2_super_store(d); }
    if (e != 0) { /* SUPER has one of the two sizes; the file has room for both. */
        d->super.nseg = from;
        d->super.l2_bytes = was;
        return CELLAR_E_IO;
    }
    l2_places_add(d, to);
    return CELLAR_OK;
}

/* ---- shrink ---- */

static SYNC_HOLDS(L2_LOG) uint32_t l2_low_free(const l2 *d, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->free_count; i++) {
        n += base_load_rlx(&d->seg[d->seg[i].free_seg].place) < to;
    }
    return n;
}

static SYNC_HOLDS(L2_LOG) void l2_seg_gone(l2 *d, uint32_t seg)
{
    base_store_rlx(&d->seg[seg].place, UINT32_MAX);
    base_store_sc(&d->seg[seg].word, L2_SEG_WORD(L2_SEG_GONE, 0, 0));
}

/* Remove free places from `to` on, if enough stay free below. Return false if too few do. */
static bool l2_free_high_gone(l2 *d, uint32_t to)
{
    sync_take(L2_LOG, &d->log_lock);
    const bool enough = l2_low_free(d, to) >= d->keep_free;
    uint32_t kept = 0;
    for (uint32_t i = 0; enough && i < d->free_count; i++) {
        const uint32_t seg = d->seg[i].free_seg;
        if (base_load_rlx(&d->seg[seg].place) >= to) {
            l2_seg_gone(d, seg);
        } else {
            d->seg[kept++].free_seg = seg;
        }
    }
    if (enough) { d->free_count = kept; }
    sync_drop(L2_LOG, &d->log_lock);
    return enough;
}

/* Return the live segment with the highest place from `to` on; bad places there become GONE. nseg:
 * none. */
static uint32_t l2_high_live(l2 *d, uint32_t to)
{
    uint32_t high = d->nseg, place = 0;
    sync_take(L2_LOG, &d->log_lock);
    for (uint32_t i = 0; i < d->nseg; i++) {
        const uint32_t state = L2_SEG_STATE(base_load_acq(&d->seg[i].word));
        const uint32_t p = base_load_rlx(&d->seg[i].place);
        if (state == L2_SEG_GONE || p < to) { continue; }
        if (state == L2_SEG_BAD) {
            l2_seg_gone(d, i);
        } else if (state != L2_SEG_FREE && p >= place) {
            high = i;
            place = p;
        }
    }
    sync_drop(L2_LOG, &d->log_lock);
    return high;
}

/* Take a free segment with a place below `to`. nseg: only reserved ones are left. */
static SYNC_HOLDS(L2_LOG) uint32_t l2_low_take(l2 *d, uint32_t to)
{
    if (l2_low_free(d, to) <= d->keep_free) { return d->nseg; }
    for (uint32_t i = d->free_count; i > 0; i--) {
        const uint32_t seg = d->seg[i - 1].free_seg;
        if (base_load_rlx(&d->seg[seg].place) >= to) { continue; }
        d->seg[i - 1].free_seg = d->seg[--d->free_count].free_seg;
        return seg;
    }
    return d->nseg;
}

static int l2_copy_part(l2 *d, unsigned char *buf, uint64_t from, uint64_t to, uint64_t at,
                        size_t n)
{
    l2_beat(d);
    const int e = l2_read(d, d->data_direct, buf, n, from + at);
    return e != 0 ? e : l2_write(d, d->data_direct, buf, n, to + at);
}

/* Copy a place. The trailer comes last; each part is synced before the next. */
static int l2_copy_place(l2 *d, uint32_t from, uint32_t to)
{
    const uint32_t seg = d->form.seg_bytes, step = BASE_MIN(L2_COPY_BYTES, seg / 2);
    unsigned char *raw = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)step + L2_PAGE, NULL);
    if (raw == NULL) { return ENOMEM; }
    unsigned char *buf = raw + (L2_PAGE - (uintptr_t)raw % L2_PAGE);
    const uint64_t a = (uint64_t)from * seg, b = (uint64_t)to * seg;
    int e = 0;
    for (uint32_t at = 0; at < seg - L2_PAGE && e == 0; at += step) {
        e = l2_copy_part(d, buf, a, b, at, BASE_MIN(step, seg - L2_PAGE - at));
        BASE_POINT("l2.move_chunk");
    }
    if (e == 0) { e = l2_sync_file(d, d->data_file); }
    if (e == 0) { e = l2_copy_part(d, buf, a, b, seg - L2_PAGE, L2_PAGE); }
    BASE_POINT("l2.move_trailer");
    if (e == 0) { e = l2_sync_file(d, d->data_file); }
    base_free(d->cfg.account, BASE_MOD_L2, raw, (size_t)step + L2_PAGE);
    return e;
}

/* Give the staged segment `seg` a free place below `to`. */
static bool l2_move_staged(l2 *d, uint32_t seg, uint32_t to)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t low = l2_low_take(d, to);
    if (low != d->nseg) {
        const uint32_t place = base_load_rlx(&d->seg[low].place);
        base_store_rlx(&d->seg[seg].place, place);
        d->slot[L2_SEG_SLOT(base_load_rlx(&d->seg[seg].word))].head.segid = place;
        l2_seg_gone(d, low);
    }
    sync_drop(L2_LOG, &d->log_lock);
    return low != d->nseg;
}

static int l2_move_sealed(l2 *d, uint32_t seg, uint32_t to, bool *moved)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t low = l2_low_take(d, to);
    sync_drop(L2_LOG, &d->log_lock);
    *moved = low != d->nseg;
    if (!*moved) { return 0; }
    const uint32_t place = base_load_rlx(&d->seg[low].place);
    const int e = l2_copy_place(d, base_load_rlx(&d->seg[seg].place), place);
    sync_take(L2_LOG, &d->log_lock);
    if (e == 0) {
        l2_map_forget(d, place);
        base_store_rel(&d->seg[seg].place, place); /* acquire in l2_get_disk */
        l2_seg_gone(d, low);
    } else {
        d->seg[d->free_count++].free_seg = low;
    }
    sync_drop(L2_LOG, &d->log_lock);
    return e;
}

static cellar_err l2_shrunk(l2 *d, uint32_t to, uint64_t bytes)
{
    l2_floor_to(d, base_load_rlx(&d->oldest_lsn)); /* above all reclaimed segments */
    sync_take(L2_LOG, &d->log_lock);
    d->places = to;
    sync_drop(L2_LOG, &d->log_lock);
    base_store_rel(&d->places_seen, to);
    uint32_t bad = 0;
    for (uint32_t i = 0; i < d->super.bad_count; i++) {
        if (d->super.bad[i] < to) { d->super.bad[bad++] = d->super.bad[i]; }
    }
    d->super.bad_count = bad;
    d->super.nseg = to;
    d->uncut = true;
    return l2_size_store(d, bytes);
}

/* Run one step. PENDING: more steps follow. *moved: this one made progress. */
static cellar_err l2_shrink_step(l2 *d, uint32_t to, uint64_t bytes, bool *moved)
{
    int e = 0;
    *moved = true;
    if (l2_segs_used(d) + d->keep_free > to) {
        (void)l2_dirty_now(d); /* nothing moves while SUPER says CLEAN */
        *moved = l2_room_step(d);
        return CELLAR_PENDING;
    }
    if (!d->goal.floored) { /* after most segments are reclaimed, before their places are used */
        d->goal.floored = true;
        l2_floor_to(d, base_load_rlx(&d->oldest_lsn));
        return l2_super_store(d) == 0 ? CELLAR_PENDING : CELLAR_E_IO;
    }
    *moved = false;
    if (l2_free_high_gone(d, to)) {
        const uint32_t high = l2_high_live(d, to);
        if (high == d->nseg) {
            /* A slot may have been opened in a free place just now: retry. */
            return l2_free_high_gone(d, to) && l2_high_live(d, to) == d->nseg
                       ? l2_shrunk(d, to, bytes) : CELLAR_PENDING;
        }
        if (L2_SEG_STATE(base_load_acq(&d->seg[high].word)) == L2_SEG_STAGE) {
            *moved = l2_move_staged(d, high, to);
        } else {
            e = l2_move_sealed(d, high, to, moved);
        }
    }
    if (e != 0) { return e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO; }
    if (!*moved) { *moved = l2_room_step(d); }
    return CELLAR_PENDING;
}

/* ---- the goal ---- */

CELLAR_PRIVATE void l2_goal_over(l2 *d, cellar_err result)
{
    d->goal = (l2_goal){ .result = result };
    d->keep_free = l2_free_kept(d->places);
    l2_map_set(d);
}

CELLAR_PRIVATE bool l2_resize_work(l2 *d)
{
    l2_goal *g = &d->goal;
    if (!g->on) { return false; }
    /* Nothing moves during an index rebuild: a shrink would drop what lives. */
    if (g->places < d->places && base_load_acq(&d->rebuilding) != 0 && l2_move_may(d)) {
        g->moved_ns = base_now_ns();
        return false;
    }
    /* The reserve of the small store. That of the large one would drop records needlessly. */
    if (g->places < d->places) { d->keep_free = l2_free_kept(g->places); }
    bool moved = true;
    cellar_err err = CELLAR_OK;
    if (g->places > d->places) {
        err = l2_grow(d, g->places, g->bytes);
    } else if (g->places < d->places) {
        err = l2_shrink_step(d, g->places, g->bytes, &moved);
    } else if (d->super.l2_bytes != g->bytes || d->uncut) {
        err = l2_size_store(d, g->bytes);
    }
    if (g->places >= d->places) { moved = err != CELLAR_PENDING; }
    const uint64_t now_ns = base_now_ns();
    if (moved || g->moved_ns == 0) { g->moved_ns = now_ns; }
    if (err == CELLAR_PENDING && now_ns - g->moved_ns > L2_IDLE_NS) { err = CELLAR_E_BUSY; }
    if (err == CELLAR_PENDING) { return true; }
    l2_goal_over(d, err);
    return false;
}

BASE_SIZE_END
