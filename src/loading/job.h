/* SPDX-License-Identifier: MIT
 *
 * job: functions of job.c for the files above it. */
#ifndef LOADING_JOB_H
#define LOADING_JOB_H

#include "cache/load_types.h"

CELLAR_PRIVATE void cache_job_free(cache_store *s, cache_job *j);
CELLAR_PRIVATE cache_job *cache_job_new(const cache_call *call, flight *f);
/* Return whether the loader of this call may run after the call. */
CELLAR_PRIVATE bool cache_background(const cache_call *call);

#endif
