/* SPDX-License-Identifier: MIT
 *
 * expire: reclaim in the background: expired entries, dead generations, idle memory.
 *
 * PICTURE    tick -> retire list
 *                 -> each lane: emptied segments, segments with a passed deadline, all of them
 *                    once a generation or tag ended; contraction of the index
 *                 -> give back segments that no set used since the last tick -> huge pages
 * INVARIANTS Reads never depend on a tick: each read compares the deadline of its own entry.
 *            min_due_ms of a segment is at most the first time one of its records may expire.
 *            A pass sets min_due_ms to never; then every survivor, and every writer, lowers it. A
 *            pass, and a writer in place, stores its word before it reads that of the other.
 * LOCKING    One tick at a time: a flag, not a lock, because listeners run inside. The lane lock
 *            is held for pieces of 64 records; victims are handed over between the pieces. A lane
 *            that another thread keeps is left to the next tick.
 * LIMITS     budget_us, checked every 64 records or retired blocks and with each segment that is
 *            given back. A pass over one segment may take several ticks. */
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/large.h"
#include "l1/segment.h"
#include "l1/unlink.h"

#define L1_PIECE 64u
#define L1_MISSES 4u /* ticks in a row that wait for a lane which another thread keeps */
#define L1_COLLAPSE_EVERY_MS 5

BASE_SIZE_BEGIN

static bool l1_time_left(uint64_t end_ns) { return base_now_ns() < end_ns; }

/* Close segments that take records and have none, so that an empty store holds no segment. */
static SYNC_HOLDS(L1_LANE) void l1_rest_lane(l1 *c, l1_lane *n)
{
    (void)l1_tickets_back(c, n);
    l1_lane_tell(c, n, 0);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned q = i % 2;
        const uint32_t seg = i < 2 ? l1_clean_seg(c, n, q) : n->queue[q].head;
        if (seg != L1_NONE && base_load_acq(&c->seg[seg].live) == 0) {
            l1_seg_unqueue(c, n, seg);
            l1_seg_release(c, seg);
        }
    }
}

/* Lock a lane for a tick. One that four ticks in a row waited for has no more of their time. */
static SYNC_UNCHECKED bool l1_sweep_get(l1 *c, l1_lane *n) SYNC_TRIES(L1_LANE);
static bool l1_sweep_get(l1 *c, l1_lane *n)
{
    return base_load_rlx(&n->missed) < L1_MISSES ? l1_lane_get(c, n)
                                                         : sync_try(L1_LANE, &n->lock);
}

/* Reclaim from the segments of a lane with passed deadlines; from all after the end of a generation
 * or a tag. When the time runs out, the pass stays in the lane: the next tick continues it, or a
 * set that needs room. A restart would lose the deadlines that survivors have noted, and with short
 * ticks a pass would never end. */
static bool l1_sweep_lane(l1 *c, l1_lane *n, uint64_t now, uint64_t end_ns, uint64_t *removed)
{
    l1_freed freed = {0};
    l1_victims v;
    v.n = 0;
    for (bool more = true; more;) {
        if (!l1_sweep_get(c, n)) { /* left to the next tick: this one goes on to other lanes */
            const uint32_t missed = base_load_rlx(&n->missed);
            base_store_rlx(&n->missed, missed + (missed < L1_MISSES));
            return true;
        }
        base_store_rlx(&n->missed, 0u);
        const uint64_t before = l1_lane_removed(n);
        l1_free_emptied(c, n);
        l1_round_begin(c, n, false);
        for (unsigned i = 0; i < L1_PIECE && more && v.n < L1_VICTIMS; i++) {
            more = l1_due_step(c, n, now, &v, &freed);
        }
        more = more || l1_ended(c, n); /* since the round began that ended now */
        *removed += l1_lane_removed(n) - before;
        l1_free_emptied(c, n);
        if (!more) { l1_rest_lane(c, n); }
        sync_drop(L1_LANE, &n->lock);
        l1_hand_over(c, &v);
        if (more && !l1_time_left(end_ns)) { return false; }
    }
    return true;
}

/* Return whether a tick at this time would still remove a record of the lane. */
static bool l1_sweep_left(l1 *c, l1_lane *n, uint64_t now)
{
    if (!sync_try(L1_LANE, &n->lock)) { return false; }
    uint64_t next;
    const bool left = n->due_pass.seg != 0 || l1_ended(c, n) ||
                      l1_due_find(c, n, now, true, &next) != L1_NONE;
    sync_drop(L1_LANE, &n->lock);
    return left;
}

CELLAR_PRIVATE cellar_err l1_upkeep(l1 *c, uint64_t budget_us, uint64_t *removed)
{
    *removed = 0;
    if (!base_cas_ar(&c->ticking, 0u, 1u)) { return CELLAR_E_BUSY; }
    const uint64_t start = base_now_ns();
    const uint64_t span = budget_us > UINT64_MAX / 2000 ? UINT64_MAX / 2 : budget_us * 1000;
    const uint64_t end_ns = start + span < start ? UINT64_MAX : start + span;
    const uint64_t now = (uint64_t)BASE_MAX(base_now_ms(c->clock), 1);
    base_store_rlx(&c->rough_ms, BASE_MAX(base_load_rlx(&c->rough_ms), base_coarse_ms(c->clock)));
    const bool swept = l1_retired_turn(c, end_ns);
    bool done = true;
    const uint32_t first = c->sweep_lane;
    uint32_t i = 0;
    for (; i < c->stripe_count; i++) {
        l1_lane *n = &c->lane[(first + i) & c->stripe_mask];
        c->sweep_lane = n->number;
        done = l1_sweep_lane(c, n, now, end_ns, removed);
        if (!done) { break; }
        if (!l1_time_left(end_ns)) {
            c->sweep_lane = (n->number + 1) & c->stripe_mask;
            break;
        }
    }
    for (i++; done && i < c->stripe_count; i++) { /* lanes that this tick did not reach */
        done = !l1_sweep_left(c, &c->lane[(first + i) & c->stripe_mask], now);
    }
    for (uint32_t j = 0; j == 0 || (j < c->stripe_count && l1_time_left(end_ns)); j++) {
        l1_contract(c, &c->stripe[c->rest_stripe++ & c->stripe_mask], L1_CONTRACT_PCT, end_ns);
    }
    /* The rest of a shrink that pins stopped. */
    while (base_load_rlx(&c->tickets) < 0 && l1_time_left(end_ns) && l1_evict_excess(c)) { }
    done = done && base_load_rlx(&c->tickets) >= 0;
    const bool rested = l1_log_rest(c, end_ns);
    while (l1_time_left(end_ns) && (l1_index_collapse(c) || l1_log_collapse(c))) { }
    base_store_rel(&c->ticking, 0u);
    return done && swept && rested ? CELLAR_OK : CELLAR_PENDING;
}

CELLAR_PRIVATE int64_t l1_next_due_ms(l1 *c)
{
    uint64_t due = UINT64_MAX;
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t fresh = c->fresh;
    sync_drop(L1_SEG, &c->seg_lock);
    for (uint32_t i = 0; i < fresh; i++) {
        const uint64_t at = base_load_rlx(&c->seg[i].min_due_ms);
        /* A tick cannot reclaim from a lane that it does not get. */
        if (at < due && base_load_rlx(&l1_lane_of_seg(c, &c->seg[i])->missed) == 0) { due = at; }
    }
    const int64_t index_ms = l1_index_collapse_due_ms(c);
    if (index_ms != BASE_NEVER_MS) {
        const int64_t soon = base_coarse_ms(c->clock) + L1_COLLAPSE_EVERY_MS;
        due = BASE_MIN(due, (uint64_t)BASE_MAX(index_ms, soon));
    }
    if (l1_collapse_due(c)) { /* soon, but spread over time */
        due = BASE_MIN(due, (uint64_t)base_coarse_ms(c->clock) + L1_COLLAPSE_EVERY_MS);
    }
    return due >= (uint64_t)BASE_NEVER_MS ? BASE_NEVER_MS : (int64_t)due;
}

BASE_SIZE_END
