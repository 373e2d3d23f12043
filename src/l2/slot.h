/* SPDX-License-Identifier: MIT
 *
 * slot: one slot of the stage: headers, footer lines, state. */
#ifndef L2_SLOT_H
#define L2_SLOT_H

#include "l2/types.h"

CELLAR_PRIVATE uint32_t l2_data_limit(const l2 *d, uint32_t entries);
CELLAR_PRIVATE void l2_slot_note(l2 *d, l2_slot *s, uint64_t h48, const l2_rec *r, uint32_t off);
CELLAR_PRIVATE bool l2_slot_open(l2 *d) SYNC_HOLDS(L2_LOG);
/* Clear both headers of a slot. */
CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s);
CELLAR_PRIVATE unsigned char *l2_slot_foot(const l2 *d, const l2_slot *s, uint32_t page);
CELLAR_PRIVATE l2_slot *l2_slot_in(l2 *d, uint32_t state) SYNC_HOLDS(L2_LOG);
CELLAR_PRIVATE bool l2_slot_make(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
/* Undo a slot that was made but never opened. It has the newest number. */
CELLAR_PRIVATE void l2_slot_unmake(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
CELLAR_PRIVATE void l2_slot_state(l2 *d, l2_slot *s, uint32_t state);
/* Set the distance in the newest footer line: the next record begins at `next`. */
CELLAR_PRIVATE void l2_slot_dist(const l2 *d, const l2_slot *s, uint32_t next);

#endif
