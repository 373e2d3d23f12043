/* SPDX-License-Identifier: MIT
 *
 * seal: write full slots to their places in data.seg. */
#ifndef L2_SEAL_H
#define L2_SEAL_H

#include "l2/types.h"

/* Write footers, trailer and zeros, then write the slot to its place. */
CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s);
/* Seal the full slots. */
CELLAR_PRIVATE void l2_drain(l2 *d);
CELLAR_PRIVATE bool l2_seal_work(l2 *d);
CELLAR_PRIVATE void l2_recycle(l2 *d);

#endif
