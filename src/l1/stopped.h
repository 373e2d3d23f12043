/* SPDX-License-Identifier: MIT
 *
 * stopped: what a tick does about a lane that another thread keeps. One tick at a time. */
#ifndef L1_STOPPED_H
#define L1_STOPPED_H

#include "l1/types.h"

/* Note that a tick did not get the lane; empty the lane if that goes on. Return false when the time
 * ran out. */
CELLAR_PRIVATE bool l1_lane_missed(l1 *c, l1_lane *n, int64_t now_ms, uint64_t end_ns);
/* Move the entries in sealed segments of the lane to other lanes, and make these segments hollow.
 * The thread in the lane may go on at any time. Return false when the time ran out. */
CELLAR_PRIVATE bool l1_lane_empty(l1 *c, l1_lane *n, uint64_t end_ns);

#endif
