/* SPDX-License-Identifier: MIT
 *
 * super: store SUPER, and what it says of states that a power cut leaves. */
#ifndef L2_SUPER_H
#define L2_SUPER_H

#include "l2/types.h"

CELLAR_PRIVATE int l2_super_store(l2 *d); /* write serial + 1 to the other copy and sync it */
/* Ensure that an open after a power cut walks no record below `end`: its place is used again, and
 * headers that were written since may be lost. One SUPER for each round of the ring. Return false
 * if SUPER cannot be stored. `working` is held. */
CELLAR_PRIVATE bool l2_walk_above(l2 *d, uint64_t end);
/* Let the next SUPER say that the state at `synced` is durable as a whole, if nothing was written
 * since: a power cut at DROP leaves it. A write before that SUPER says that it is over. `working`
 * and `writing` are held. */
CELLAR_PRIVATE void l2_settle(l2 *d);
/* Note durably that the state SUPER names is over. The caller holds `writing`, and writes then. */
CELLAR_PRIVATE int l2_unsettle(l2 *d);
/* Return the number of the last durable state that is over. If unknown, all are. */
CELLAR_PRIVATE uint64_t l2_settled_over(l2 *d);

#endif
