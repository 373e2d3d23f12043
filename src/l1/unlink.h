/* SPDX-License-Identifier: MIT
 *
 * unlink: remove entries from the index and hand them over. */
#ifndef L1_UNLINK_H
#define L1_UNLINK_H

#include "l1/types.h"

/* Unlink one slot inside its window, for `cause`. Note it as a victim if a listener wants it. */
CELLAR_PRIVATE void l1_unlink(l1 *c, l1_hold *h, l1_slot *slot, l1_cause cause, uint64_t hash,
                              uint64_t stamp, l1_victims *out);
/* Hand over the victims after the locks: left hook, retire list, busy down. */
CELLAR_PRIVATE void l1_hand_over(l1 *c, l1_victims *v);
/* Reset busy in a forked child to what this thread was handing over. */
CELLAR_PRIVATE void l1_victims_child(l1 *c);

/* Find the slot of the record at `pos`, under validation. */
CELLAR_PRIVATE bool l1_linked(l1 *c, l1_stripe *s, uint64_t pos, uint64_t hash, l1_bucket **b,
                              uint32_t *ver, l1_slot *slot) SYNC_HOLDS(L1_STRIPE);
/* Unlink the record of a slot, both read at version `ver` of `b`. */
CELLAR_PRIVATE bool l1_drop(l1 *c, l1_stripe *s, uint64_t hash, l1_bucket *b, uint32_t ver,
                            l1_slot *slot, unsigned cause, l1_victims *v) SYNC_HOLDS(L1_STRIPE);

#endif
