/* SPDX-License-Identifier: MIT
 *
 * recover: find the end of the log and its live records at an open. */
#ifndef L2_RECOVER_H
#define L2_RECOVER_H

#include "l2/types.h"

/* Find what the log has, or begin an empty one. alive: the contents may count. same_boot: all that
 * was written is in the file. Return an errno, ENOMEM, or 0. */
CELLAR_PRIVATE int l2_recover(l2 *d, bool alive, bool same_boot);

#endif
