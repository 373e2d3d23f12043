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

/* Return the bytes that segments and blocks may take, within the budget. */
BASE_INLINE uint64_t l1_log_limit(const l1 *c)
{
    const base_account *a = c->account;
    const uint64_t log = base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) +
                         base_load_rlx(&a->by_module[BASE_MOD_BIG]);
    const uint64_t used = base_load_rlx(&a->used), limit = base_load_rlx(&a->limit);
    const uint64_t others = used > log ? used - log : 0;
    return limit > others ? limit - others : 0;
}

CELLAR_PRIVATE bool l1_log_open(l1 *c);
/* Return the segments that blocks leave to the log. */
CELLAR_PRIVATE uint32_t l1_reserve_segs(const l1 *c, uint64_t budget);
/* Reserve `size` bytes at the head of queue q; the record there is not linked. Stripe lock. */
CELLAR_PRIVATE bool l1_log_reserve(l1 *c, l1_stripe *s, unsigned q, uint32_t size, uint64_t *pos)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_log_undo(l1 *c, l1_stripe *s, unsigned q, uint64_t pos, uint32_t size)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_live_add(l1 *c, l1_stripe *s, uint64_t pos, uint64_t weight);
/* Subtract a record, inside the odd window of its bucket. */
CELLAR_PRIVATE void l1_live_sub(l1 *c, l1_stripe *s, uint64_t pos, uint64_t weight);
CELLAR_PRIVATE void l1_due_note(l1 *c, uint64_t pos, int64_t first_ms); /* lowers min_due_ms */
/* Note when a record expires and when its stale window ends. */
CELLAR_PRIVATE void l1_dues(l1 *c, uint64_t pos, const l1_rec *r) SYNC_HOLDS(L1_STRIPE);
/* Return a pass over the segment, from its cursor on. */
BASE_INLINE l1_pass l1_pass_of(const l1 *c, uint32_t seg)
{
    return (l1_pass){ seg + 1, base_load_rlx(&c->seg[seg].seq), c->seg[seg].cursor };
}
/* Read the next record of a pass. Return false when the pass is over. */
CELLAR_PRIVATE bool l1_pass_next(l1 *c, l1_pass *p, uint64_t *pos, l1_rec *r)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_seg_unqueue(l1 *c, l1_stripe *s, uint32_t seg) SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_seg_release(l1 *c, uint32_t seg);
CELLAR_PRIVATE void l1_free_emptied(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Check up to `limit` parked segments again and judge `low`. Return true when one became free. */
CELLAR_PRIVATE bool l1_unpark(l1 *c, unsigned limit);
/* Give back free segments until the budget has `bytes` free or the log has only `leave` left.
 * Return whether the budget has them free. */
CELLAR_PRIVATE bool l1_give_back(l1 *c, uint64_t bytes, uint32_t leave);
CELLAR_PRIVATE bool l1_log_rest(l1 *c, uint64_t end_ns);
CELLAR_PRIVATE void l1_log_child(l1 *c);
/* Make one more huge page of the arena (2 MiB); false: nothing to do. Called by the tick. */
CELLAR_PRIVATE bool l1_log_collapse(l1 *c);
CELLAR_PRIVATE bool l1_collapse_due(l1 *c);

/* Overwrite bytes of the log that no slot links; readers may still look at them. */
CELLAR_PRIVATE void l1_zero(l1 *c, uint64_t pos, uint64_t bytes);
/* Overwrite the value of a record that no slot links, unless a pin may read it: then its bytes go
 * with its segment. The segment stays: the caller has the stripe lock, or raised `busy`. */
CELLAR_PRIVATE void l1_wipe_value(l1 *c, uint64_t pos, const l1_rec *r);
BASE_INLINE void l1_wipe(l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_UNLIKELY(base_load_rlx(&c->wipes) != 0)) { l1_wipe_value(c, pos, r); }
}

#endif
