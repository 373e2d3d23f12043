/* SPDX-License-Identifier: MIT
 *
 * refresh: functions of refresh.c for the files above it. */
#ifndef LOADING_REFRESH_H
#define LOADING_REFRESH_H

#include "loading/loading.h"

/* End all flights, join the workers, drop the jobs. Return false if loads still run after
 * close_ms. */
CELLAR_PRIVATE bool cache_load_close(cache_store *s);
CELLAR_PRIVATE void cache_load_destroy(cache_store *s);
CELLAR_PRIVATE bool cache_load_audit(cache_store *s);
/* Run jobs until the budget is spent, and expire leases. Return true if jobs are left. */
CELLAR_PRIVATE bool cache_load_tick(cache_store *s, uint64_t budget_us);
/* Set the options of the pool s->jobs. */
CELLAR_PRIVATE void cache_jobs_open(cache_store *s, const cellar_host_config *h);
/* Queue a refresh, unless one runs already or the queue is full. */
CELLAR_PRIVATE void cache_refresh_later(cache_call *call);

#endif
