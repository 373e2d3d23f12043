/* SPDX-License-Identifier: MIT
 *
 * recovery_chain: decide which of the found segments count. */
#ifndef L2_RECOVERY_CHAIN_H
#define L2_RECOVERY_CHAIN_H

#include "l2/recovery_types.h"
#include "l2/types.h"

/* Sort the segments by number. Of two places with one segment, left by a move, the lower stays. */
CELLAR_PRIVATE void l2_finds_sort(l2_finds *f);
CELLAR_PRIVATE int l2_controls_read(l2 *d, l2_finds *f);
/* Walk the chain from the newest header down. A break above the floor raises the floor. */
CELLAR_PRIVATE void l2_chain(l2 *d, l2_finds *f);
/* Detect a missing META. If records were reclaimed that the older copy does not cover, controls are
 * missing, and later records may be invalid: nothing is believed. The next META replaces the
 * damaged copy. */
CELLAR_PRIVATE void l2_meta_missed(l2 *d, l2_finds *f);
/* Return true if META must have controls below the floor: their places are reused immediately. */
CELLAR_PRIVATE bool l2_meta_owes(const l2 *d, const l2_finds *f);

#endif
