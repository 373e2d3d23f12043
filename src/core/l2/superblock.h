/* SPDX-License-Identifier: MIT
 *
 * superblock: store SUPER and META, and sync the whole store. */
#ifndef L2_SUPERBLOCK_H
#define L2_SUPERBLOCK_H

#include "l2/types.h"

/* ---- superblock.c ---- */

CELLAR_PRIVATE int l2_super_store(l2 *d); /* write serial + 1 to the other copy and sync it */
CELLAR_PRIVATE int l2_dirty_now(l2 *d);   /* make L2_NOW_DIRTY durable; worker only */
/* Wait until L2_NOW_DIRTY is durable. The caller has no lock and is not the worker. */
CELLAR_PRIVATE void l2_dirty_wait(l2 *d);

/* ---- meta.c ---- */

CELLAR_PRIVATE int l2_meta_store(l2 *d);
/* Load the valid copy of META with the higher serial. d->meta_lsn is its lsn. */
CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d);

/* ---- sync.c ---- */

CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing);

#endif
