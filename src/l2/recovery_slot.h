/* SPDX-License-Identifier: MIT
 *
 * recovery_slot: settle the slots of the stage: walk them record by record, then seal them. */
#ifndef L2_RECOVERY_SLOT_H
#define L2_RECOVERY_SLOT_H

#include "l2/recovery_types.h"
#include "l2/types.h"

/* Find the header of a slot. Return false if both are damaged. segseq 0: the slot is empty. */
CELLAR_PRIVATE bool l2_slot_head_find(const l2 *d, l2_slot *s);
/* Rebuild the slot's counters and footer from its bytes. Return 0 or ENOMEM. *hole: lost records
 * may hide others. */
CELLAR_PRIVATE int l2_slot_walk(l2 *d, const l2_finds *f, l2_slot *s, bool *hole);

#endif
