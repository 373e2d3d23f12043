/* SPDX-License-Identifier: MIT
 *
 * stopped: what a tick does about a lane that a stopped thread holds. One tick at a time. */
#ifndef L1_STOPPED_H
#define L1_STOPPED_H

#include "l1/types.h"

#define L1_STOPPED_MISSES 4u /* ticks in a row, each of which waited for the lane */

/* Return whether the time of a tick ended while it emptied a lane. */
CELLAR_PRIVATE bool l1_emptying(const l1 *c);
/* Note that a tick did not get the lane. Empty the lane if its thread has stopped. */
CELLAR_PRIVATE void l1_lane_missed(l1 *c, l1_lane *n, int64_t now_ms, uint64_t end_ns);
/* Move the entries in sealed segments of the lane to other lanes, and make these segments hollow.
 * When the time ends, leave the rest to the next call. The thread in the lane may go on at any
 * time. */
CELLAR_PRIVATE void l1_lane_empty(l1 *c, l1_lane *n, uint64_t end_ns);

#endif
