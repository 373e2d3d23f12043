/* SPDX-License-Identifier: MIT
 *
 * segment: segments of the log and the counts of their linked records. */
#ifndef L1_SEGMENT_H
#define L1_SEGMENT_H

#include "l1/types.h"

/* Return the bytes still to be freed so that `bytes` are available. */
BASE_INLINE uint64_t l1_lack(const l1 *c, uint64_t bytes)
{
    const uint64_t used = base_load_rlx(&c->account->used);
    const uint64_t limit = base_load_rlx(&c->account->limit);
    const uint64_t want = bytes > UINT64_MAX - used ? UINT64_MAX : used + bytes;
    return want > limit ? want - limit : 0;
}

/* Return whether pins keep a lowered budget from holding. Until it holds, no set takes memory that
 * is charged already. */
BASE_INLINE bool l1_is_above_limit(const l1 *c)
{
    return l1_lack(c, 0) != 0 && base_load_rlx(&c->resizing) == 0;
}

/* Return the bytes that segments, blocks and objects may take, within the budget. */
BASE_INLINE uint64_t l1_log_limit(const l1 *c)
{
    const base_account *a = c->account;
    const uint64_t log = base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) +
                         base_load_rlx(&a->by_module[BASE_MOD_BIG]) +
                         base_load_rlx(&a->by_module[BASE_MOD_OBJECT]);
    const uint64_t used = base_load_rlx(&a->used), limit = base_load_rlx(&a->limit);
    const uint64_t others = used > log ? used - log : 0;
    return limit > others ? limit - others : 0;
}

#define L1_LANES_WAIT_NS 1000000000u /* for all lanes; then a call fails or does without */
/* Take all lane locks, ascending. Return false, with none, if a thread keeps one until `end_ns`. */
CELLAR_PRIVATE bool l1_lanes_take(l1 *c, uint64_t end_ns);
CELLAR_PRIVATE void l1_lanes_drop(l1 *c, uint32_t first); /* the first ones */
/* Lock a lane for work that another call can do. Return false if a thread keeps it for long and
 * there are others. */
CELLAR_PRIVATE bool l1_lane_get(const l1 *c, l1_lane *n) SYNC_TRIES(L1_LANE) SYNC_UNCHECKED;
/* Lock the lane where this thread appends, or the next one that no thread holds. */
CELLAR_PRIVATE l1_lane *l1_lane_next(l1 *c) SYNC_TAKES(L1_LANE) SYNC_UNCHECKED;
BASE_ALWAYS_INLINE SYNC_UNCHECKED l1_lane *l1_lane_take(l1 *c)
{
    l1_lane *n = &c->lane[base_load_rlx(&base_thread_self()->lane) & c->stripe_mask];
    return BASE_LIKELY(sync_try(L1_LANE, &n->lock)) ? n : l1_lane_next(c);
}
/* Return the unused tickets of a lane to the pool. A delete leaves its ticket to its lane, so the
 * next set there need not touch the pool. If deletes and later sets favor different lanes, some
 * lanes would evict while others keep unused tickets: each turn and each tick ends with this. */
CELLAR_PRIVATE bool l1_tickets_back(l1 *c, l1_lane *n) SYNC_HOLDS(L1_LANE);
/* Return the unused tickets of a lane. While its lock is held there are at least so many. */
BASE_INLINE uint32_t l1_tickets_idle(const l1_lane *n)
{
    const uint64_t count = l1_lane_entries(n);
    base_fence_acq(); /* a count without a record that moved away: granted without its ticket */
    const uint32_t granted = base_load_rlx(&n->granted);
    return granted > count ? granted - (uint32_t)count : 0;
}
/* Take the ticket of a record along to the lane of its copy, before it is counted out. */
BASE_INLINE SYNC_HOLDS(L1_LANE) void l1_ticket_moves(l1 *c, l1_lane *to, uint64_t from)
{
    if (BASE_LIKELY(base_load_rlx(&c->max_entries) == 0) || l1_lane_of(c, from) == to) { return; }
    base_sub_rlx(&l1_lane_of(c, from)->granted, 1u);
    base_add_rlx(&to->granted, 1u);
    base_fence_rel(); /* here; acquire in l1_tickets_idle */
}
/* Add the entries of a lane, and `more` that are expected, to those of the store. */
CELLAR_PRIVATE void l1_lane_tell(l1 *c, l1_lane *n, uint32_t more) SYNC_HOLDS(L1_LANE);
/* End a turn: this thread moves on to the next lane. Turns differ in length, so that not all heads
 * are full at the same time. */
CELLAR_PRIVATE void l1_turn_end(l1 *c, l1_lane *n, uint64_t hash) SYNC_HOLDS(L1_LANE);
/* Count a new record. last: it has a block. */
BASE_INLINE SYNC_HOLDS(L1_LANE) void l1_lane_used(l1 *c, l1_lane *n, uint64_t hash, bool last)
{
    if (BASE_LIKELY(n->turn > 1 && !last)) { n->turn--; } else { l1_turn_end(c, n, hash); }
}
/* Note that the store is full, because a block needs room; `low` counts segments only. */
CELLAR_PRIVATE void l1_full_of_blocks(l1 *c);
CELLAR_PRIVATE bool l1_log_open(l1 *c);
/* Return the segments that blocks leave to the log. */
CELLAR_PRIVATE uint32_t l1_reserve_segs(const l1 *c, uint64_t budget);
/* Reserve `size` bytes at the head of queue q, or in the segment before it, which a longer record
 * closed; the record there is not linked. */
CELLAR_PRIVATE bool l1_log_reserve(l1 *c, l1_lane *n, unsigned q, uint32_t size, uint64_t *pos)
    SYNC_HOLDS(L1_LANE);
CELLAR_PRIVATE void l1_log_undo(l1 *c, uint64_t pos, uint32_t size)
    SYNC_HOLDS(L1_LANE);
/* Take a segment: the head of queue q, or behind `after` in it. NONE: no memory. */
CELLAR_PRIVATE uint32_t l1_seg_take(l1 *c, l1_lane *n, unsigned q, uint32_t after)
    SYNC_HOLDS(L1_LANE);
BASE_INLINE SYNC_HOLDS(L1_LANE) uint64_t l1_seg_append(l1 *c, uint32_t seg, uint32_t size)
{
    const uint64_t pos = ((uint64_t)seg << c->seg_shift) + c->seg[seg].used_bytes;
    c->seg[seg].used_bytes += size;
    base_sub_rlx(&c->seg[seg].waste, size);
    return pos;
}
#define L1_SPARSE_PART 4u /* of a segment: if so much of it is waste, it is emptied */
#define L1_WASTEFUL_MOST 64u /* searches of a lane, each of 64 segments */
/* Note that a lane may have one more segment to empty: one more search. Any lock, or none. */
CELLAR_PRIVATE void l1_wasteful(l1 *c, l1_lane *n);
/* Note that a search has begun. */
CELLAR_PRIVATE void l1_wasteful_less(l1 *c, l1_lane *n) SYNC_HOLDS(L1_LANE);
/* Return whether deadlines cannot be relative to the opening of a segment any more. */
BASE_INLINE bool l1_seg_is_old(const l1 *c, uint32_t seg)
{
    const int64_t opened = (int64_t)base_load_rlx(&c->seg_base_ms[seg]);
    return base_load_rlx(&c->rough_ms) - opened > (int64_t)INT32_MAX;
}
/* Return the queue of a segment: exact under its lane lock. */
BASE_INLINE unsigned l1_seg_queue(const l1_seg *g)
{
    return base_load_rlx(&g->state) == L1_SEG_MAIN;
}
BASE_INLINE void l1_live_add(l1 *c, uint64_t pos, uint64_t weight)
{
    l1_seg *g = &c->seg[l1_seg_of(c, pos)];
    base_add_rlx(&g->live, L1_LIVE(weight, 1));
    base_add_rlx(&l1_lane_of_seg(c, g)->queue[l1_seg_queue(g)].live, L1_LIVE(weight, 1));
}
/* Subtract a record of `size` bytes in the log, in the odd window of its bucket. tell: no cursor is
 * there; note if enough of its segment may be waste now to empty it. */
CELLAR_PRIVATE void l1_live_sub(l1 *c, uint64_t pos, uint64_t weight, uint32_t size, bool tell);
CELLAR_PRIVATE void l1_due_note(l1 *c, uint64_t pos, int64_t first_ms); /* lowers min_due_ms */
/* Lower it for a record that was changed without the lane lock: a pass may read it now. */
CELLAR_PRIVATE void l1_due_changed(l1 *c, uint64_t pos, int64_t first_ms);
/* Note when a record expires and when its stale window ends. */
CELLAR_PRIVATE void l1_dues(l1 *c, uint64_t pos, const l1_rec *r) SYNC_HOLDS(L1_LANE);
/* Return a pass over the segment, from its cursor on. */
BASE_INLINE l1_pass l1_pass_of(const l1 *c, uint32_t seg)
{
    return (l1_pass){ seg + 1, base_load_rlx(&c->seg[seg].seq), c->seg[seg].cursor };
}
/* Read the next record of a pass. Return false when the pass is over. */
CELLAR_PRIVATE bool l1_pass_next(l1 *c, l1_pass *p, uint64_t *pos, l1_rec *r)
    SYNC_HOLDS(L1_LANE);
CELLAR_PRIVATE void l1_seg_unqueue(l1 *c, l1_lane *n, uint32_t seg) SYNC_HOLDS(L1_LANE);
CELLAR_PRIVATE void l1_seg_release(l1 *c, uint32_t seg);
CELLAR_PRIVATE void l1_seg_move(l1 *c, l1_lane *n, uint32_t seg) SYNC_HOLDS(L1_LANE);
CELLAR_PRIVATE void l1_free_all_emptied(l1 *c, l1_lane *n) SYNC_HOLDS(L1_LANE);
BASE_INLINE SYNC_HOLDS(L1_LANE) void l1_free_emptied(l1 *c, l1_lane *n)
{
    if (BASE_UNLIKELY(base_load_rlx(&n->empty) != 0)) { l1_free_all_emptied(c, n); }
}
/* Check up to `limit` parked segments again and judge `low`. Return true when one became free. */
CELLAR_PRIVATE bool l1_unpark(l1 *c, unsigned limit);
/* Judge `low` again after a charge of objects, `used` bytes before: sets must not evict for a
 * shortage that is over. It depends on whole segments of room. */
BASE_INLINE void l1_used_moved(l1 *c, uint64_t used)
{
    const uint64_t limit = base_load_rlx(&c->account->limit);
    const uint64_t now = base_load_rlx(&c->account->used);
    const bool segment = (limit - used) >> c->seg_shift != (limit - now) >> c->seg_shift;
    if (segment && base_load_rlx(&c->low) != 0) { (void)l1_unpark(c, 0); }
}
/* Give back free segments until the budget has `bytes` free or the log has only `leave` left.
 * Return whether the budget has them free. */
CELLAR_PRIVATE bool l1_give_back(l1 *c, uint64_t bytes, uint32_t leave);
CELLAR_PRIVATE bool l1_log_rest(l1 *c, uint64_t end_ns);
/* Make one more huge page of the arena (2 MiB); false: nothing to do. Called by the tick. */
CELLAR_PRIVATE bool l1_log_collapse(l1 *c);
CELLAR_PRIVATE bool l1_collapse_due(l1 *c);

/* Overwrite bytes of the log that no slot links; readers may still look at them. */
CELLAR_PRIVATE void l1_zero(l1 *c, uint64_t pos, uint64_t bytes);
/* Overwrite the value of a record that no slot links, unless a pin may read it: then its bytes go
 * with its segment. The segment stays: the caller has the lane lock, or raised `busy`. */
CELLAR_PRIVATE void l1_wipe_value(l1 *c, uint64_t pos, const l1_rec *r);
BASE_INLINE void l1_wipe(l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_UNLIKELY(base_load_rlx(&c->wipes) != 0)) { l1_wipe_value(c, pos, r); }
}

#endif
