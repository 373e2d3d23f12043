/* SPDX-License-Identifier: MIT
 *
 * l1_calls: short forms of calls of L1 for tests that do not ask what a change ended, and that
 * unpin by reference. */
#ifndef CELLAR_TESTS_L1_CALLS_H
#define CELLAR_TESTS_L1_CALLS_H

#include "l1/l1.h"

BASE_INLINE cellar_err l1_del(l1 *c, const l1_key *k, uint64_t *stamp)
{
    l1_gone gone;
    return l1_del_reported(c, k, stamp, &gone);
}

BASE_INLINE cellar_err l1_incr(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                               const l1_put_spec *if_new, bool only_if_present, int64_t *now_value,
                               uint64_t *stamp)
{
    l1_gone gone;
    return l1_incr_reported(c, k, delta, init, if_new, only_if_present, now_value, stamp, &gone);
}

/* Reclaim like l1_upkeep. Return the number of removed entries. */
BASE_INLINE uint64_t l1_tick(l1 *c, uint64_t budget_us)
{
    uint64_t removed;
    (void)l1_upkeep(c, budget_us, &removed);
    return removed;
}

BASE_INLINE void l1_unpin(l1 *c, l1_pin_ref *ref)
{
    BASE_ASSERT(ref->slot != UINT32_MAX);
    l1_unpin_slot(c, ref->slot);
    ref->slot = UINT32_MAX;
    ref->value = NULL;
}

#endif
