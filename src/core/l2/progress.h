/* SPDX-License-Identifier: MIT
 *
 * progress: whether the disk answers; wake-ups of the worker, and of callers that wait for room. */
#ifndef L2_PROGRESS_H
#define L2_PROGRESS_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_worker_wake(l2 *d);
CELLAR_PRIVATE bool l2_stalled(const l2 *d);  /* a write takes longer than 100 ms */
CELLAR_PRIVATE bool l2_standing(const l2 *d); /* the same, or no read has ended for 100 ms */
CELLAR_PRIVATE void l2_room_made(l2 *d);     /* wake callers that wait for room in the log */

#endif
