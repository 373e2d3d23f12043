/* SPDX-License-Identifier: MIT
 *
 * stall: keep callers running, and deletes safe, while the disk does not answer (a stall). */
#ifndef L2_STALL_H
#define L2_STALL_H

#include "l2/types.h"

/* Return true if the tier is closed and the change may rely on the stall marker. */
CELLAR_PRIVATE bool l2_closed_over(l2 *d);
CELLAR_PRIVATE bool l2_close_tier(l2 *d); /* like l2_closed_over, but closes the tier first */
CELLAR_PRIVATE void l2_reopen(l2 *d);     /* worker only */
/* Derive the name of the stall marker from the identity of the stage. A copy has another name. */
CELLAR_PRIVATE void l2_marker_name(l2 *d, const l2_stage_id *stage);
/* Return true if the stall marker exists, or if that is unknown. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d);
CELLAR_PRIVATE void l2_marker_remove(l2 *d);
CELLAR_PRIVATE void l2_marker_make(l2 *d); /* the next open begins an empty store */

#endif
