/* SPDX-License-Identifier: MIT
 *
 * worker: the rounds of the worker, its thread, and calls that wait for them. */
#ifndef L2_WORKER_H
#define L2_WORKER_H

#include "l2/types.h"

/* Resize to `places` and wait. Return like l2_resize. */
CELLAR_PRIVATE cellar_err l2_resize_to(l2 *d, uint32_t places, uint64_t bytes);
/* Run rounds until `stop`; the main function of the worker's thread. */
CELLAR_PRIVATE void l2_thread_main(void *arg);
/* Stop the thread and wait for its end. */
CELLAR_PRIVATE void l2_thread_end(l2 *d);

#endif
