/* SPDX-License-Identifier: MIT
 *
 * pass: free the oldest segments: their live records are appended again, or leave the index. */
#ifndef L2_PASS_H
#define L2_PASS_H

#include "l2/types.h"

/* Pass the oldest segments if few are free. Return true if more is to do now. `working` is held. */
CELLAR_PRIVATE bool l2_pass_work(l2 *d);

#endif
