/* SPDX-License-Identifier: MIT
 *
 * progress: whether the disk answers, and waits for it. */
#ifndef L2_PROGRESS_H
#define L2_PROGRESS_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_worker_wake(l2 *d);
CELLAR_PRIVATE bool l2_stalled(const l2 *d);  /* a write takes longer than 100 ms */
CELLAR_PRIVATE bool l2_standing(const l2 *d); /* the same, or no read has ended for 100 ms */
CELLAR_PRIVATE void l2_room_made(l2 *d);     /* wake callers that wait for room in the log */

/* ---- worker.c ---- */

CELLAR_PRIVATE void l2_thread_main(void *arg); /* rounds until `stop` */
/* Return false if data.seg was removed or truncated: then the tier is broken until the next open.
 * `working` is held. */
CELLAR_PRIVATE bool l2_files_there(l2 *d);
CELLAR_PRIVATE void l2_thread_end(l2 *d);      /* stop the thread and wait for its end */

/* ---- pass.c ---- */

CELLAR_PRIVATE bool l2_pass_due(const l2 *d); /* few segments are free */
/* Pass the oldest segments if few are free. Return true if more is to do now. `working` is held. */
CELLAR_PRIVATE bool l2_pass_work(l2 *d);

/* ---- resize.c ---- */

/* Make the next step of a change of the size. Return true if more is to do now. `working` is
 * held. */
CELLAR_PRIVATE bool l2_resize_work(l2 *d);
/* Ask for the size of the open's configuration, if the store has another one. */
CELLAR_PRIVATE void l2_resize_open(l2 *d);

#endif
