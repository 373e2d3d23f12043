/* SPDX-License-Identifier: MIT
 *
 * stall: keep callers running, and deletes safe, while the disk does not answer (a stall). */
#ifndef L2_STALL_H
#define L2_STALL_H

#include "l2/types.h"

#define L2_OWED_LEN_MAX BASE_MAX(L2_CTL_BYTES_MAX, CELLAR_KEY_MAX) /* bytes of a change */

/* NOT_OWED: the tier is open, log the change. OWED: the list has the change, which is finished.
 * OWED_FLOOR: finished without room in the list: a FLOOR comes before the tier opens. */
typedef enum l2_owing { L2_NOT_OWED, L2_OWED, L2_OWED_FLOOR } l2_owing;

/* Return the bytes of the list of a store. */
CELLAR_PRIVATE size_t l2_owed_bytes(uint64_t memory_bytes);
CELLAR_PRIVATE bool l2_owed_open(l2 *d);
CELLAR_PRIVATE void l2_owed_close(l2 *d);
/* Copy the oldest change of the list. Return false if the list is empty. */
CELLAR_PRIVATE bool l2_owed_first(l2 *d, l2_change *c, unsigned char bytes[L2_OWED_LEN_MAX]);
CELLAR_PRIVATE void l2_owed_remove(l2 *d, const l2_change *c); /* the one of l2_owed_first */
/* Remove all changes of keys: a FLOOR replaces them. */
CELLAR_PRIVATE void l2_owed_floored(l2 *d);
/* Enter a change of `c->len` bytes into the list if the tier is closed. */
CELLAR_PRIVATE l2_owing l2_closed_over(l2 *d, const l2_change *c, const void *bytes);
/* Close the tier, then enter the change as l2_closed_over does. */
CELLAR_PRIVATE l2_owing l2_close_tier(l2 *d, const l2_change *c, const void *bytes);
/* Remove the marker of an open tier. MARKED keeps other threads from closing the tier meanwhile,
 * so no change relies on the marker that is removed. late: it was made after the opening. */
CELLAR_PRIVATE void l2_marker_tidy(l2 *d, bool late);
/* Derive the name of the stall marker from the identity of the stage. A copy has another name. */
CELLAR_PRIVATE void l2_marker_name(l2 *d, const l2_stage_id *stage);
/* Return true if the stall marker exists, or if that is unknown. */
CELLAR_PRIVATE bool l2_marker_found(l2 *d);
CELLAR_PRIVATE void l2_marker_remove(l2 *d);
CELLAR_PRIVATE void l2_marker_make(l2 *d); /* the next open begins an empty store */

#endif
