/* SPDX-License-Identifier: MIT
 *
 * worker: the rounds of the store's thread. */
#ifndef L2_WORKER_H
#define L2_WORKER_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_thread_main(void *arg); /* rounds until `stop` */
CELLAR_PRIVATE void l2_thread_end(l2 *d);      /* stop the thread and wait for its end */

#endif
