/* SPDX-License-Identifier: MIT
 *
 * steps: steps of the worker's round that other files also call. */
#ifndef L2_STEPS_H
#define L2_STEPS_H

#include "l2/types.h"

/* ---- arm.c ---- */

CELLAR_PRIVATE void l2_disarm(l2 *d); /* call it before a sync of the stage */
CELLAR_PRIVATE void l2_arm_work(l2 *d);

/* ---- seal.c ---- */

/* Write footers, trailer and zeros, then write the slot to its place. */
CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s);
/* Seal the full slots. */
CELLAR_PRIVATE void l2_drain(l2 *d);
CELLAR_PRIVATE bool l2_seal_work(l2 *d);
CELLAR_PRIVATE void l2_recycle(l2 *d);

/* ---- reclaim.c ---- */

CELLAR_PRIVATE bool l2_reclaim(l2 *d);

/* ---- barrier.c ---- */

CELLAR_PRIVATE int l2_prepare(l2 *d);
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e);
CELLAR_PRIVATE void l2_barrier_work(l2 *d);

/* ---- stage_trim.c ---- */

CELLAR_PRIVATE void l2_trim_work(l2 *d); /* periodic; worker only */
/* Zero all of the stage that its next sync need not write. No thread appends. */
CELLAR_PRIVATE void l2_trim_all(l2 *d);

#endif
