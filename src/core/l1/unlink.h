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

typedef struct l1_entry { /* a record of a lane and its slot */
    l1_slot slot; /* pos and rec set by the caller; b and i by l1_linked */
    uint64_t hash;
    l1_bucket *primary;
    uint32_t ver; /* of `primary`, under which the slot pointed to the record */
} l1_entry;
/* Find the slot of a record, under validation. Read its `due` again as of that version. */
CELLAR_PRIVATE bool l1_linked(l1 *c, l1_entry *e) SYNC_HOLDS(L1_LANE);
/* Find the slot of the record at `pos`, decoded to *r. */
CELLAR_PRIVATE bool l1_entry_at(l1 *c, uint64_t pos, const l1_rec *r, l1_entry *e)
    SYNC_HOLDS(L1_LANE);
/* Unlink the record of an entry that l1_linked found; lane n counts it. False: another thread
 * changed it since. */
CELLAR_PRIVATE bool l1_drop(l1 *c, l1_lane *n, l1_entry *e, l1_cause cause, l1_victims *v)
    SYNC_HOLDS(L1_LANE);

#endif
