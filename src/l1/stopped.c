/* SPDX-License-Identifier: MIT
 *
 * stopped: empty a lane that a stopped thread holds.
 *
 * PICTURE    ticks miss the lane, its counts stay -> each sealed segment of it:
 *                hold its bytes (busy) -> each linked record: ended? drop : move to another lane
 *                -> nothing linked: hollow, its memory is given back
 *            If the thread goes on, it finds the emptied segments on the stack of its lane and
 *            frees them. The open segments stay: the thread may be about to append there.
 * INVARIANTS Each effect on an entry happens in the window of its bucket, as by any other thread.
 *            No slot links a record of a hollow segment. The thread in the lane looks at the slot
 *            of a record after each look at the bytes of the record. So it may look at bytes that
 *            are gone.
 * LOCKING    Not the lock of that lane. L1_SEG for the segment; lane of this thread, then bucket.
 * LIMITS     A call takes at least one record, however little time it has. A record in a bucket
 *            that a thread holds stays until a later call.
 * SEE ALSO   README.md, Stopped lanes. rewrite.c: why a record needs no lane to leave it. */
#include "l1/change.h"
#include "l1/index.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/stopped.h"
#include "l1/unlink.h"

#define L1_STOPPED_MS 1000 /* since the first missed tick */

BASE_SIZE_BEGIN

/* Take one record out of a held segment. Leave a record of a locked bucket, and one that a change
 * still reads. */
static SYNC_UNCHECKED void l1_stopped_take(l1 *c, uint64_t pos, const l1_rec *r)
{
    l1_entry e;
    l1_cause cause;
    const uint64_t hash = l1_hash_of(c, pos, r);
    const l1_stripe *const s = l1_stripe_of(c, hash);
    const l1_bucket *const b = l1_bucket_at(s, l1_number(base_load_acq(&s->ls), hash));
    if ((base_load_acq(&b->ver) & 1u) != 0 || !l1_entry_at(c, pos, r, &e)) { return; }
    if (!l1_is_over(c, pos, &e.slot.rec, &cause)) {
        const l1_key k = {.bytes = l1_at(c, pos) + r->key_off, .len = r->klen, .hash = hash,
                          .generation = r->generation};
        /* A key in a block has no bytes here that stay: its entry is evicted. */
        if ((r->mask & L1_X_APART) == 0 && l1_move(c, &k) != CELLAR_E_SPACE) { return; }
        if (l1_is_written(c, pos, r, hash)) { return; }
        cause = L1_LEFT_CAPACITY;
    }
    l1_victims v;
    v.n = 0;
    l1_lane *const n = l1_lane_take(c);
    (void)l1_drop(c, n, &e, cause, &v);
    sync_drop(L1_LANE, &n->lock);
    l1_hand_over(c, &v);
}

CELLAR_PRIVATE void l1_lane_empty(l1 *c, l1_lane *n, uint64_t end_ns)
{
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t fresh = c->fresh;
    sync_drop(L1_SEG, &c->seg_lock);
    l1_pass *const p = &n->left;
    bool in_time = true;
    while (in_time && p->seg < fresh) { /* here `seg` is the segment itself */
        const uint32_t seg = p->seg, seq = l1_seg_hold(c, n, seg);
        if (seq != p->seq) { *p = (l1_pass){.seg = seg, .seq = seq}; }
        l1_rec r;
        for (; seq != 0 && in_time && p->at < c->seg[seg].used_bytes &&
               L1_LIVE_LINKED(base_load_rlx(&c->seg[seg].live)) != 0; p->at += r.size) {
            const uint64_t pos = ((uint64_t)seg << c->seg_shift) + p->at;
            const bool ok = l1_decode(c, pos, &r);
            BASE_REQUIRE(ok);
            l1_stopped_take(c, pos, &r);
            in_time = base_now_ns() < end_ns;
        }
        BASE_POINT("l1.stopped.emptied");
        if (in_time) { *p = (l1_pass){.seg = seg + 1}; }
        if (seq != 0) { l1_seg_let(c, seg, seq); }
    }
    if (in_time) { *p = (l1_pass){0}; }
    l1_lane_tell(c, n, 0);
}

CELLAR_PRIVATE bool l1_emptying(const l1 *c)
{
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        const l1_lane *const n = &c->lane[i];
        if (base_load_rlx(&n->missed) == L1_STOPPED_MISSES && n->left.seg != 0) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void l1_lane_missed(l1 *c, l1_lane *n, int64_t now_ms, uint64_t end_ns)
{
    uint64_t work = 0;
#define L1_X(name) work += base_load_rlx(&n->name);
    L1_COUNTS(L1_X)
#undef L1_X
    uint32_t missed = base_load_rlx(&n->missed);
    if (missed == 0 || work != n->missed_work || now_ms < n->missed_ms) {
        n->missed_ms = now_ms;
        n->missed_work = work;
        missed = 0;
    }
    missed += missed < L1_STOPPED_MISSES;
    base_store_rlx(&n->missed, missed);
    if (missed == L1_STOPPED_MISSES && now_ms - n->missed_ms >= L1_STOPPED_MS) {
        l1_lane_empty(c, n, end_ns);
    }
}

BASE_SIZE_END
