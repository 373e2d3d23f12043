/* SPDX-License-Identifier: MIT
 *
 * reclaim: free the place of the oldest segment. */
#ifndef L2_RECLAIM_H
#define L2_RECLAIM_H

#include "l2/types.h"

CELLAR_PRIVATE bool l2_reclaim(l2 *d);

#endif
