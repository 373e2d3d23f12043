/* SPDX-License-Identifier: MIT
 *
 * stall: deletes stay safe while the disk does not answer. */
#ifndef L2_STALL_H
#define L2_STALL_H

#include "l2/log.h"

CELLAR_PRIVATE void l2_marker_name(l2 *d);
/* Return true if the stall marker exists, or if that is unknown. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d);
CELLAR_PRIVATE void l2_marker_remove(l2 *d);
/* Return when a kill does not lose the change at lsn..end any more: it is written, or the stall
 * marker exists. No lock held. */
CELLAR_PRIVATE void l2_ensure(l2 *d, uint64_t end);
/* Remove the marker if all that relied on it is written. Return false if some is not: the next open
 * begins empty. */
CELLAR_PRIVATE bool l2_all_written(l2 *d);

typedef struct l2_waiting { /* a change that waits for room */
    uint32_t seen;     /* `room` before the last try */
    uint64_t since_ns; /* 0: the first try */
} l2_waiting;
/* Wait after a try without a record. Return false if the change is finished without one: the tier
 * is closed, and will be empty when it opens. */
CELLAR_PRIVATE bool l2_wait(l2 *d, l2_took took, l2_waiting *w);

#endif
