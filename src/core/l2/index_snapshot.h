/* SPDX-License-Identifier: MIT
 *
 * index_snapshot: save index and filter to index.snap at a close; the next open needs no footers.
 */
#ifndef L2_INDEX_SNAPSHOT_H
#define L2_INDEX_SNAPSHOT_H

#include "l2/types.h"

/* Return the most bytes of a snapshot of tables for `objects` and `segs`. */
CELLAR_PRIVATE uint64_t l2_snap_room(uint64_t objects, uint64_t segs);
/* Write index.snap at the end of a close, when nothing changes any more. */
CELLAR_PRIVATE void l2_snap_save(l2 *d);
/* Open index.snap and unlink its name, so that no other open finds it. Remove an incomplete file
 * (`rest`). The caller syncs the directory before anything else. */
CELLAR_PRIVATE void l2_snap_open(l2 *d, bool there, bool rest);
CELLAR_PRIVATE void l2_snap_close(l2 *d);
/* Load index.snap, after l2_adopt, for a store that was CLEAN. newest: highest segseq found. Return
 * true if words, filter and eras are complete. */
CELLAR_PRIVATE bool l2_snap_take(l2 *d, uint64_t newest);

#endif
