/* SPDX-License-Identifier: MIT
 *
 * quota: ceilings of namespaces, as the cursor and a set apply them. */
#ifndef L1_QUOTA_H
#define L1_QUOTA_H

#include "l1/types.h"

#define L1_QUOTA_LOOKS 128u /* and one more for each byte of the set */
/* Return whether the generation of a live record under the cursor is above its ceiling. */
BASE_COLD CELLAR_PRIVATE bool l1_quota_is_over(l1 *c, l1_lane *n, uint32_t generation)
    SYNC_HOLDS(L1_LANE);
/* Drop entries of a generation at its ceiling before it stores one. Return false to let the lock go
 * first. */
CELLAR_PRIVATE bool l1_quota_pay(l1 *c, l1_lane *n, uint32_t size, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_LANE);
/* Drop entries of a generation near its ceiling in all lanes, before an entry that is too long for
 * the log takes room. stays: NULL, or of an entry that is not dropped. Hold no lock. */
BASE_COLD CELLAR_PRIVATE void l1_quota_room(l1 *c, uint32_t generation, const l1_key *stays,
                                            uint64_t weight);
/* Make room for one more entry without value, near their ceiling by dropping others of them. Like
 * l1_room_for; NONE: there is none of them to drop. */
BASE_COLD CELLAR_PRIVATE l1_room l1_absent_pay(l1 *c, l1_lane *n, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_LANE);

#endif
