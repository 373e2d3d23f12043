/* SPDX-License-Identifier: MIT
 *
 * resync: store the bytes since the last good sync again after a sync failed. */
#ifndef L2_RESYNC_H
#define L2_RESYNC_H

#include "l2/types.h"

/* Store the bytes since the last good sync again, if one failed. If some are lost, end all that is
 * older than the loss. Return an errno, or 0. `working` is held. */
CELLAR_PRIVATE int l2_resync(l2 *d);
/* Write the bytes since the last good sync again, up to one that cannot be read. The open calls
 * this. */
CELLAR_PRIVATE void l2_span_again(l2 *d);

#endif
