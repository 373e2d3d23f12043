/* SPDX-License-Identifier: MIT
 *
 * health: count errors and damaged records, and switch the tier off after too many; report events
 * that take entries in bulk. */
#ifndef L2_HEALTH_H
#define L2_HEALTH_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_health_init(l2 *d); /* set the defaults of cfg */
/* Count a failed call to the disk and log it as an error. `op` is the module of the line: "l2_" and
 * the verb. So each kind of call has its own line, at most one per second (base/log.h). */
CELLAR_PRIVATE void l2_io_failed(l2 *d, const char *op, const base_vfs_file *f, uint64_t at,
                                 int e);
CELLAR_PRIVATE void l2_read_damaged(l2 *d);     /* the same for a record that does not verify */
/* Count and log an event that takes about `bytes` of the log. No lock held. */
CELLAR_PRIVATE void l2_lost(l2 *d, l2_loss why, uint64_t bytes);
/* Count and log the event, of `entries`. */
CELLAR_PRIVATE void l2_lost_entries(l2 *d, l2_loss why, uint64_t entries, uint64_t bytes);
CELLAR_PRIVATE void l2_lost_all(l2 *d, l2_loss why); /* one that takes all entries */
/* Switch the disk off for off_ms. */
CELLAR_PRIVATE void l2_off_now(l2 *d, int64_t now, int64_t off_ms) SYNC_HOLDS(L2_DEV);

#endif
