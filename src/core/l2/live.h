/* SPDX-License-Identifier: MIT
 *
 * live: the sum of live bytes, and what of it each generation has. */
#ifndef L2_LIVE_H
#define L2_LIVE_H

#include "l2/types.h"

/* Return which sum a generation has. 0: that of parts and images, of generation 0. */
BASE_INLINE uint32_t l2_live_slot(uint32_t generation)
{
    return generation != 0 ? 1 + generation % (L2_LIVE_SLOTS - 1) : 0;
}
/* Return the bytes that are alive: the sum without what passes found dead in it. */
BASE_INLINE uint64_t l2_live(const l2 *d)
{
    const uint64_t sum = base_load_rlx(&d->live_bytes);
    return sum - sum / 256 * base_load_rlx(&d->live_dead);
}
CELLAR_PRIVATE uint32_t l2_segs_used(const l2 *d); /* segments with records */
/* Count the record of a word that came, or went. */
CELLAR_PRIVATE void l2_live_add(l2 *d, uint32_t generation, uint32_t bytes);
CELLAR_PRIVATE void l2_live_take(l2 *d, uint32_t generation, uint32_t bytes);
/* Forget what was counted of the generation of a row: it is over. */
CELLAR_PRIVATE void l2_live_forget(l2 *d, l2_namespace_row *row) SYNC_HOLDS(L2_DEV);
/* Remove the sums of all generations that no namespace has. */
CELLAR_PRIVATE void l2_live_check(l2 *d);
CELLAR_PRIVATE void l2_live_none(l2 *d); /* nothing is live */

#endif
