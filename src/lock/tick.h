/* SPDX-License-Identifier: MIT
 *
 * tick: remove idle records, report lost locks, check the table. */
#ifndef LOCK_TICK_H
#define LOCK_TICK_H

#include "lock/types.h"

/* Remove every idle record of every stripe. */
CELLAR_PRIVATE void lock_sweep(cellar_locks *t);

/* Run what is due: see base_service_kind. */
CELLAR_PRIVATE cellar_err lock_tick(void *object, uint64_t budget_us, int64_t *wait_ms);

/* Walk and check counts, rings, hashes, pages. Return false if any is wrong. For tests. */
BASE_SPARE CELLAR_PRIVATE bool lock_audit(cellar_locks *t);

#endif
