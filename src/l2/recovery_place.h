/* SPDX-License-Identifier: MIT
 *
 * recovery_place: read what is at the places of data.seg, and find a place for each slot. */
#ifndef L2_RECOVERY_PLACE_H
#define L2_RECOVERY_PLACE_H

#include "l2/recovery_types.h"
#include "l2/types.h"

CELLAR_PRIVATE bool l2_place_is_bad(const l2 *d, uint32_t place);
CELLAR_PRIVATE void l2_places_read(l2 *d, l2_finds *f);
/* Settle all slots, lowest number first, so that a full store drops its oldest records. */
CELLAR_PRIVATE int l2_slots_settle(l2 *d, l2_finds *f);

#endif
