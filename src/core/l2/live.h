/* SPDX-License-Identifier: MIT
 *
 * live: segments in use; live bytes of each namespace, as passes of the log count them. */
#ifndef L2_LIVE_H
#define L2_LIVE_H

#include "l2/types.h"

CELLAR_PRIVATE uint32_t l2_segs_used(const l2 *d); /* segments with records */
/* Count `bytes` of live records of a generation, unless it is over. Worker only, as all of the next
 * functions. */
CELLAR_PRIVATE void l2_live_add(l2 *d, uint32_t generation, uint64_t bytes);
/* Count `bytes` less of a generation in a part of the round: their value is dead. */
CELLAR_PRIVATE void l2_live_take(l2 *d, uint32_t generation, uint32_t part, uint64_t bytes);
/* Begin a part of a round of the log: forget what the last round counted in it. */
CELLAR_PRIVATE void l2_live_part(l2 *d, uint32_t part);
/* Return the live bytes of all generations that the last round counted, `most` at most; live_bytes
 * gets them. Any thread. */
CELLAR_PRIVATE uint64_t l2_live_sum(l2 *d, uint64_t most);
CELLAR_PRIVATE void l2_live_save(l2 *d); /* to d->super */
CELLAR_PRIVATE void l2_live_load(l2 *d); /* from d->super */
/* Forget what was counted of the generation of a row: it is over. */
CELLAR_PRIVATE void l2_live_forget(l2 *d, l2_namespace_row *row) SYNC_HOLDS(L2_DEV);
CELLAR_PRIVATE void l2_live_none(l2 *d); /* nothing is live */

#endif
