/* SPDX-License-Identifier: MIT
 *
 * stopped: empty a lane that a thread keeps which does not go on.
 *
 * PICTURE    tick misses the lane again and again -> each sealed segment of it:
 *                hold its bytes (busy) -> each linked record: ended? drop : move to another lane
 *                -> nothing linked: hollow, its memory is given back
 *            The thread goes on: it finds the emptied segments on the stack of its lane and frees
 *            them. Its two open segments are all that it costs.
 * INVARIANTS Each effect on an entry happens in the window of its bucket, as by any other thread.
 *            No slot links a record of a hollow segment. The thread in the lane checks the link of
 *            a record behind each look at its bytes, so it may look at bytes that are gone.
 * LOCKING    Not the lane: it is kept. L1_SEG for the segment; lane of this thread, then bucket.
 * SEE ALSO   README.md, Stopped lanes. rewrite.c: why a record needs no lane to leave it. */
#include "l1/change.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/stopped.h"
#include "l1/unlink.h"

#define L1_STOPPED_MISSES 4u /* ticks in a row, each of which waited for the lane */
#define L1_STOPPED_MS 1000   /* since the first of them */

BASE_SIZE_BEGIN

/* Take one record out of a held segment. Return false if no other lane has room for it. */
static SYNC_UNCHECKED bool l1_stopped_take(l1 *c, uint64_t pos, const l1_rec *r)
{
    l1_entry e;
    l1_cause cause;
    l1_victims v;
    v.n = 0;
    l1_lane *const n = l1_lane_take(c);
    bool moves = false;
    if (l1_entry_at(c, pos, r, &e)) {
        const bool over = l1_is_over(c, pos, &e.slot.rec, &cause);
        /* A key in a block has no bytes here that stay: its entry is evicted. */
        moves = !over && (r->mask & L1_X_APART) == 0;
        if (!moves) { (void)l1_drop(c, n, &e, over ? cause : L1_LEFT_CAPACITY, &v); }
    }
    sync_drop(L1_LANE, &n->lock);
    l1_hand_over(c, &v);
    if (!moves) { return true; }
    const l1_key k = {.bytes = l1_at(c, pos) + r->key_off, .len = r->klen, .hash = e.hash,
                      .generation = r->generation};
    return l1_move(c, &k) != CELLAR_E_SPACE;
}

CELLAR_PRIVATE bool l1_lane_empty(l1 *c, l1_lane *n, uint64_t end_ns)
{
    bool room = true, in_time = true;
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t fresh = c->fresh;
    sync_drop(L1_SEG, &c->seg_lock);
    for (uint32_t seg = 0; room && in_time && seg < fresh; seg++) {
        const uint32_t seq = l1_seg_hold(c, n, seg);
        if (seq == 0) { continue; }
        l1_rec r;
        for (uint32_t at = 0; room && in_time && at < c->seg[seg].used_bytes; at += r.size) {
            const uint64_t pos = ((uint64_t)seg << c->seg_shift) + at;
            const bool ok = l1_decode(c, pos, &r);
            BASE_REQUIRE(ok);
            room = l1_stopped_take(c, pos, &r);
            in_time = base_now_ns() < end_ns;
        }
        BASE_POINT("l1.stopped.emptied");
        l1_seg_let(c, seg, seq);
    }
    l1_lane_tell(c, n, 0);
    return in_time;
}

CELLAR_PRIVATE bool l1_lane_missed(l1 *c, l1_lane *n, int64_t now_ms, uint64_t end_ns)
{
    const uint32_t missed = base_load_rlx(&n->missed);
    if (missed == 0) { n->missed_ms = now_ms; }
    if (missed < L1_STOPPED_MISSES) { base_store_rlx(&n->missed, missed + 1); }
    const bool stopped = missed == L1_STOPPED_MISSES && now_ms - n->missed_ms >= L1_STOPPED_MS;
    return !stopped || l1_lane_empty(c, n, end_ns);
}

BASE_SIZE_END
