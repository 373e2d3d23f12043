/* SPDX-License-Identifier: MIT
 *
 * evict: move the cursor (evict.c), free room (room.c). */
#ifndef L1_EVICT_H
#define L1_EVICT_H

#include "l1/large.h"
#include "l1/types.h"
#include "l1/unlink.h"

/* ---- evict.c ---- */
typedef enum l1_step { L1_STEP_END, L1_STEP_DEAD, L1_STEP_DROPPED, L1_STEP_KEPT } l1_step;
/* Move a cursor of the lane over one record. force: keep no live record. */
CELLAR_PRIVATE l1_step l1_step_evict(l1 *c, l1_lane *n, bool force, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_LANE);
/* Move the slot of a kept record to a copy at `to`. Return false when another thread was faster:
 * then the room for the copy is free again. */
CELLAR_PRIVATE bool l1_keep(l1 *c, l1_lane *n, const l1_entry *e, uint8_t freq, uint64_t to)
    SYNC_HOLDS(L1_LANE);
/* Return whether a new entry needs room that another entry has. */
CELLAR_PRIVATE bool l1_lane_full(const l1 *c, const l1_lane *n);
/* Choose the queue of a new entry; may move the cursor one step. */
CELLAR_PRIVATE unsigned l1_queue_for(l1 *c, l1_lane *n, l1_stripe *s, uint64_t hash, l1_toll *t,
                                     l1_victims *v)
    SYNC_HOLDS(L1_LANE);
/* Note the cost of a stored entry (l1_put_spec.cost). */
CELLAR_PRIVATE void l1_cost_seen(l1_lane *n, uint8_t cost) SYNC_HOLDS(L1_LANE);

/* ---- reclaim.c ---- */
#define L1_COARSE_MS 16 /* the coarse clock may be so late */
BASE_INLINE uint64_t l1_tag_epoch(const l1 *c)
{
    return c->hooks.tag_epoch != NULL ? base_load_rlx(c->hooks.tag_epoch) : 0;
}
/* Return whether a generation or a tag ended since the last round of a lane began. */
BASE_INLINE SYNC_HOLDS(L1_LANE) bool l1_ended(const l1 *c, const l1_lane *n)
{
    return n->dead_round != base_load_rlx(&c->dead_round) || n->tag_epoch != l1_tag_epoch(c);
}
/* Return whether so much may have ended since the last round of a lane that sets begin one. A hint:
 * without its lock. */
CELLAR_PRIVATE bool l1_much_ended(const l1 *c, const l1_lane *n);
/* Begin a round of sets if one is due. Return whether it began. */
CELLAR_PRIVATE bool l1_round_start(l1 *c, l1_lane *n) SYNC_HOLDS(L1_LANE);
/* Begin a round. seek: sets drop no live entry before its end. Else for a tick, unless one runs or
 * nothing has ended. */
CELLAR_PRIVATE void l1_round_begin(l1 *c, l1_lane *n, bool seek) SYNC_HOLDS(L1_LANE);
/* Find a segment with records that are over; L1_NONE: there is none before *next. For a set: all of
 * them, else half. */
CELLAR_PRIVATE uint32_t l1_due_find(const l1 *c, const l1_lane *n, uint64_t now, bool tick,
                                    uint64_t *next) SYNC_HOLDS(L1_LANE);
/* Examine one record of such a segment: drop it if it is over. tick_ms: the time of a tick; 0: for
 * a set. Return false when there is none. */
CELLAR_PRIVATE bool l1_due_step(l1 *c, l1_lane *n, uint64_t tick_ms, l1_victims *v,
                                l1_freed *freed) SYNC_HOLDS(L1_LANE);
/* Return the segment that takes the live records of emptied ones of a queue. */
CELLAR_PRIVATE uint32_t l1_clean_seg(const l1 *c, const l1_lane *n, unsigned q)
    SYNC_HOLDS(L1_LANE);
/* Move one record out of a segment with many dead ones. END: there is none, or no room. */
CELLAR_PRIVATE l1_step l1_step_clean(l1 *c, l1_lane *n, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_LANE);
/* Free dead records of a lane, with so many looks and moves. Return whether there were some. */
CELLAR_PRIVATE bool l1_reclaim(l1 *c, l1_lane *n, unsigned looks, unsigned moves, l1_victims *v,
                               l1_freed *freed) SYNC_HOLDS(L1_LANE);
/* Free one dead record, or move one out of its segment; else move the cursor. */
CELLAR_PRIVATE l1_step l1_step_any(l1 *c, l1_lane *n, bool force, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_LANE);
/* Return whether the lane drops no live entry now: a pass goes on. */
BASE_INLINE SYNC_HOLDS(L1_LANE) bool l1_waits(const l1_lane *n)
{
    return n->seeks || n->due_pass.seg != 0;
}

/* ---- room.c ---- */
/* Free room, reserve `size` bytes in queue q, and get an entry ticket (new_entry), and one of its
 * namespace. AGAIN: drop the lane lock, hand over, call again; t->full: after l1_cap_room. With
 * any result the caller returns a t->ticket that no link has used. */
CELLAR_PRIVATE l1_room l1_room_for(l1 *c, l1_lane *n, unsigned q, uint32_t size,
                                   bool new_entry, l1_toll *t, l1_victims *v, uint64_t *pos)
    SYNC_HOLDS(L1_LANE);
/* Return the records that one set examines at most before it fails for lack of room. */
CELLAR_PRIVATE uint64_t l1_most_examined(const l1 *c, uint32_t size);
/* Return whether `bytes` fit if every entry were evicted. */
CELLAR_PRIVATE bool l1_may_fit(const l1 *c, uint64_t bytes);
/* State between rounds. A round ends with as many victims as it can hold, less than a segment. Each
 * round in another lane would leave many segments half consumed and none free. */
typedef struct l1_round {
    l1_lane *n; /* NULL: one is chosen */
    uint32_t held_segs;
    bool dead; /* chosen for its dead records: others may have some, too */
    l1_freed freed;
} l1_round;
/* Evict about `bytes` from some lane: one round with its own locking and hand-over. */
CELLAR_PRIVATE uint64_t l1_evict_round(l1 *c, uint64_t bytes, l1_round *r);
/* Evict entries of some lane while a lowered bound is exceeded, and return the unused tickets of
 * the lane. Return false if it had none. */
CELLAR_PRIVATE bool l1_evict_excess(l1 *c);

/* ---- fit.c ---- */
/* Count the entries of the full store, or estimate them while it fills. Fit ghosts and shadow
 * caches to them. */
BASE_COLD CELLAR_PRIVATE void l1_fit(l1 *c);
/* Finish a set without a lock. While sets free room, retired blocks give theirs first: they stay
 * charged until then. A pass looks at pinned blocks again when more blocks have come. A set with
 * a block had its choice among them. */
BASE_INLINE void l1_after_set(l1 *c, bool block)
{
    const uint32_t after = base_load_rlx(&c->after);
    if (BASE_LIKELY(after == 0)) { return; }
    if (BASE_UNLIKELY((after & L1_AFTER_FIT) != 0)) { l1_fit(c); }
    if (!block && BASE_UNLIKELY(base_load_rlx(&c->retired_fresh) >= c->seg_bytes)) {
        l1_retired_some(c);
    }
}

#endif
