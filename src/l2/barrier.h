/* SPDX-License-Identifier: MIT
 *
 * barrier: make headers and records durable at levels KEEP and ALWAYS. */
#ifndef L2_BARRIER_H
#define L2_BARRIER_H

#include "l2/types.h"

CELLAR_PRIVATE int l2_prepare(l2 *d);
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e);

/* Refuse commits until older records are durable again. */
CELLAR_PRIVATE void l2_commit_failed(l2 *d, int e) SYNC_HOLDS(L2_LOG);
/* Permit commits again if a header with this floor is durable after the last failure. */
CELLAR_PRIVATE void l2_commit_healed(l2 *d, uint64_t floor) SYNC_HOLDS(L2_LOG);
CELLAR_PRIVATE void l2_barrier_work(l2 *d);

#endif
