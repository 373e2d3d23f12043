/* SPDX-License-Identifier: MIT
 *
 * evict: move the cursor (evict.c), free room (room.c). */
#ifndef L1_EVICT_H
#define L1_EVICT_H

#include "l1/large.h"
#include "l1/types.h"

/* ---- evict.c ---- */
typedef enum l1_step {
    L1_STEP_END, L1_STEP_DEAD, L1_STEP_DROPPED, L1_STEP_KEPT,
    L1_STEP_STUCK /* a live record cannot move now: no free segment */
} l1_step;
/* Move a cursor of the lane over one record. force: keep no live record. */
CELLAR_PRIVATE l1_step l1_step_any(l1 *c, l1_lane *n, bool force, l1_victims *v, l1_freed *freed)
    SYNC_HOLDS(L1_LANE);
/* Find a segment with expired records; L1_NONE: there is none before *next. For a set, each at most
 * once per second: with a bound of entries any such segment; else one with only expired records,
 * because memory is freed by the segment. */
CELLAR_PRIVATE uint32_t l1_due_find(const l1 *c, const l1_lane *n, uint64_t now, bool tick,
                                    uint64_t *next) SYNC_HOLDS(L1_LANE);
/* Examine one record of such a segment: drop it if its time has come or its generation is dead.
 * tick_ms: the time of a tick; 0: for a set. Return false when there is none. */
CELLAR_PRIVATE bool l1_due_step(l1 *c, l1_lane *n, uint64_t tick_ms, l1_victims *v,
                                l1_freed *freed) SYNC_HOLDS(L1_LANE);
/* Move one record of a sparse segment of main to the head of main, while the policy takes records
 * from small. Drop a record that is expired or of a cleared namespace. The segment is free after
 * its last one. Return false if there is none to move. */
CELLAR_PRIVATE bool l1_compact_step(l1 *c, l1_lane *n, l1_victims *v) SYNC_HOLDS(L1_LANE);
/* Return whether a new entry needs room that another entry has. */
CELLAR_PRIVATE bool l1_lane_full(const l1 *c, const l1_lane *n);
/* Choose the queue of a new entry; may move the cursor one step. */
CELLAR_PRIVATE unsigned l1_queue_for(l1 *c, l1_lane *n, l1_stripe *s, uint64_t hash, l1_toll *t,
                                     l1_victims *v)
    SYNC_HOLDS(L1_LANE);
/* Note the cost of a stored entry (l1_put_spec.cost). */
CELLAR_PRIVATE void l1_cost_seen(l1_lane *n, uint8_t cost) SYNC_HOLDS(L1_LANE);
/* Return whether a lane has not yet seen the last death of a generation. l1_rotate_step moves one
 * of its records; false: the lane has seen it now. */
CELLAR_PRIVATE bool l1_rotating(l1 *c, l1_lane *n) SYNC_HOLDS(L1_LANE);
CELLAR_PRIVATE bool l1_rotate_step(l1 *c, l1_lane *n, l1_victims *v) SYNC_HOLDS(L1_LANE);

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
