/* SPDX-License-Identifier: MIT
 *
 * index_rebuild: the index rebuild: fill index and filter from the footers after an open without
 * index.snap. */
#ifndef L2_INDEX_REBUILD_H
#define L2_INDEX_REBUILD_H

#include "l2/types.h"

/* Allocate the buffers. Return false if memory is short. */
CELLAR_PRIVATE bool l2_rebuild_begin(l2 *d);
CELLAR_PRIVATE void l2_rebuild_free(l2 *d);
/* Read the lines of the slot in which the log continues. It has the newest segment. */
CELLAR_PRIVATE void l2_rebuild_slot(l2 *d, const l2_slot *s);
CELLAR_PRIVATE bool l2_rebuild_step(l2 *d);
/* Skip an `unread` segment that is reclaimed: add its puts to the filter, not to the index. */
CELLAR_PRIVATE void l2_rebuild_skip(l2 *d, uint32_t seg);

#endif
