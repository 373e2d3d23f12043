/* SPDX-License-Identifier: MIT
 *
 * tick: remove idle records, report lost locks. */
#ifndef LOCK_TICK_H
#define LOCK_TICK_H

#include "lock/types.h"

/* Remove every idle record of every stripe. */
CELLAR_PRIVATE void lock_sweep(cellar_locks *t);

/* Run what is due: see base_service_kind. */
CELLAR_PRIVATE cellar_err lock_tick(void *object, uint64_t budget_us, int64_t *wait_ms);

#endif
