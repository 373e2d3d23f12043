/* SPDX-License-Identifier: MIT
 *
 * large: lists of blocks (large_list.c), runs of units (large_alloc.c), the retire list (retire.c),
 * blocks for oversized values and keys (large_value.c). */
#ifndef L1_LARGE_H
#define L1_LARGE_H

#include "l1/types.h"

/* ---- large_list.c ---- */
CELLAR_PRIVATE void l1_bigs_open(l1 *c);
/* Move a block into the list and the sums of `where`. */
CELLAR_PRIVATE void l1_bigs_move(l1 *c, l1_big *b, l1_where where) SYNC_HOLDS(L1_BIG);
/* Take the lock and move a block. A block is linked in the window that sets its slot, and in
 * hand before the slot is cleared. A block that is not linked is in a list. A block is in hand for
 * the first time, and nowhere when its units are free, under L1_PAGES. */
CELLAR_PRIVATE void l1_big_to(l1 *c, l1_big *b, l1_where where);

/* ---- large_alloc.c ---- */
/* Return whether a store has short segments, for many lanes, and short units: blocks hold what such
 * segments hold badly. */
BASE_INLINE bool l1_is_small(uint64_t budget)
{
    return budget >= (uint64_t)4 << 20 && budget < (uint64_t)64 << 20;
}
/* Return the largest reservation. SIZE_MAX limits the addresses; a larger budget is not cut. */
BASE_INLINE uint64_t l1_reserve_most(uint64_t budget)
{
    return BASE_MAX((uint64_t)SIZE_MAX / 8, budget);
}
CELLAR_PRIVATE bool l1_runs_reserve(l1 *c, uint64_t budget, uint64_t factor);
CELLAR_PRIVATE bool l1_runs_open(l1 *c, uint64_t budget);
CELLAR_PRIVATE void l1_runs_close(l1 *c);
/* Return the size of a block for that many bytes. */
CELLAR_PRIVATE uint64_t l1_run_bytes(const l1 *c, uint64_t bytes);
typedef enum l1_run { L1_RUN_OK, L1_RUN_CHARGE, L1_RUN_NONE } l1_run;
/* Take a run. CHARGE: the budget lacks *need bytes. NONE: no run that long, or no memory. */
CELLAR_PRIVATE l1_run l1_run_take(l1 *c, uint64_t bytes, l1_big **out, uint64_t *need);
CELLAR_PRIVATE void l1_run_give(l1 *c, l1_big *b);
/* Reuse the first bytes of a block off the retire list for a new one, and free its end. The block
 * is in the hand of this thread. */
CELLAR_PRIVATE void l1_run_reuse(l1 *c, l1_big *b, uint64_t bytes);
CELLAR_PRIVATE const char *l1_runs_audit(l1 *c);

/* ---- retire.c ---- */
CELLAR_PRIVATE void l1_large_retire(l1 *c, l1_big *b);
/* Free `bytes` of the retire list, or all that no reader uses. Return the freed bytes. A piece of a
 * long block may do. */
CELLAR_PRIVATE uint64_t l1_retired_sweep(l1 *c, uint64_t bytes);
/* Reclaim until the budget has `bytes` free, or only pinned blocks are left. */
CELLAR_PRIVATE void l1_retired_for(l1 *c, uint64_t bytes);
/* Reclaim as much as any set can afford. */
#define L1_SWEEP_LOOKS 64u
CELLAR_PRIVATE void l1_retired_some(l1 *c);
/* Go through the whole retire list once, in pieces. False: the time ran out. */
CELLAR_PRIVATE bool l1_retired_turn(l1 *c, uint64_t end_ns);
/* Reclaim like l1_retired_some, but keep one unpinned block of at least `want` bytes in the hand of
 * this thread and return it; NULL: none. */
CELLAR_PRIVATE l1_big *l1_retired_keep(l1 *c, uint64_t want);
/* Wait a bounded time for memory on its way: blocks that another thread reclaims, and segments
 * being given back. Neither is free or on the retire list yet. After that the retire list holds
 * only pinned blocks. */
CELLAR_PRIVATE void l1_retired_wait(l1 *c);

/* ---- large_value.c ---- */
/* Count bytes beyond those of the log in the budget; evict for them. E_TOOBIG, E_SPACE, E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_charge(l1 *c, uint64_t bytes);
BASE_INLINE void l1_uncharge(l1 *c, uint64_t bytes)
{
    base_sub_rlx(&c->charges, bytes);
    base_uncharge(c->account, BASE_MOD_OBJECT, bytes);
}
/* Make a block with these bytes for k, in the hand of this thread. apart: its key follows the
 * value; either may be missing. */
CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const l1_key *k, const void *value, uint64_t len,
                                      bool apart, l1_big **out);
/* Move the reserved block with exactly the `len` bytes at `value` into the hand of this
 * thread. Return NULL if no reserved block has exactly these bytes. */
CELLAR_PRIVATE l1_big *l1_big_adopt(l1 *c, const void *value, uint64_t len);

#endif
