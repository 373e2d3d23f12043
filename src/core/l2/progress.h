/* SPDX-License-Identifier: MIT
 *
 * progress: which thread is the worker, and whether the worker makes progress. */
#ifndef L2_PROGRESS_H
#define L2_PROGRESS_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_worker_take(l2 *d);
CELLAR_PRIVATE bool l2_worker_try(l2 *d);
CELLAR_PRIVATE void l2_worker_drop(l2 *d);
CELLAR_PRIVATE void l2_worker_wake(l2 *d);
CELLAR_PRIVATE bool l2_quiet(const l2 *d);   /* no progress of the worker for 20 ms */
CELLAR_PRIVATE bool l2_stalled(const l2 *d); /* for 100 ms */
CELLAR_PRIVATE bool l2_frozen(const l2 *d);  /* for 500 ms */
/* Return true if callers read only what the page cache has. */
CELLAR_PRIVATE bool l2_standing(const l2 *d);
/* Return true if the worker made no progress for 500 ms, nor any since a time. */
CELLAR_PRIVATE bool l2_stands(const l2 *d, uint64_t since_ns);
CELLAR_PRIVATE void l2_room_made(l2 *d);     /* wake callers that wait for room in the log */
CELLAR_PRIVATE void l2_beat(l2 *d);          /* call it before each call to the disk */
CELLAR_PRIVATE void l2_reads_look(l2 *d);
CELLAR_PRIVATE void l2_arm_wish(l2 *d);

#endif
