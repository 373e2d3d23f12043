/* SPDX-License-Identifier: MIT
 *
 * maintenance: functions of maintenance.c for the files above it. */
#ifndef STORE_MAINTENANCE_H
#define STORE_MAINTENANCE_H

#include "cache/types.h"

/* Run what is due: see base_service_kind. */
CELLAR_PRIVATE cellar_err cache_tick(void *object, uint64_t budget_us, int64_t *wait_ms);
CELLAR_PRIVATE cellar_err cache_thread_start(cache_store *s);
/* Stop the thread. Return E_BUSY if another thread starts or stops it. */
CELLAR_PRIVATE cellar_err cache_thread_end(cache_store *s);
CELLAR_PRIVATE void cache_thread_stop(cache_store *s); /* the same; waits for another thread */
/* Return whether the maintenance thread makes this call, in a callback. It cannot join itself. */
CELLAR_PRIVATE bool cache_thread_is_mine(const cache_store *s);
/* Stop background work between the two calls, except work of this thread itself. */
CELLAR_PRIVATE void cache_tick_pause(cache_store *s);
CELLAR_PRIVATE void cache_tick_resume(cache_store *s);

#endif
