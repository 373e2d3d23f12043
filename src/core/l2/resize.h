/* SPDX-License-Identifier: MIT
 *
 * resize: give the log a file of another size while the store runs. */
#ifndef L2_RESIZE_H
#define L2_RESIZE_H

#include "l2/types.h"

/* Make the next step of a change of the size. Return true if more is to do now. `working` is
 * held. */
CELLAR_PRIVATE bool l2_resize_work(l2 *d);
/* Ask for the size of the open's configuration, if the store has another one. */
CELLAR_PRIVATE void l2_resize_open(l2 *d);

#endif
