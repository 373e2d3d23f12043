/* SPDX-License-Identifier: MIT
 *
 * load_publish: functions of load_publish.c for the files above it. */
#ifndef LOADING_LOAD_PUBLISH_H
#define LOADING_LOAD_PUBLISH_H

#include "cache/load_types.h"

/* Store the result of the loader, fill the outcome, and answer the leader with it. */
CELLAR_PRIVATE void cache_publish_result(struct cellar_load *ld, flight_outcome *o);
CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o);
/* Remember the failure: on the value in L1, else in an entry of its own. */
CELLAR_PRIVATE void cache_keep_failure(struct cellar_load *ld, int32_t loader_err,
                                       flight_outcome *o);
/* Return whether the error concerns this call, not the source. */
CELLAR_PRIVATE bool cache_error_is_ours(int32_t code);
/* Mark the outcome as tagged if the entry found in L1 has tags. */
CELLAR_PRIVATE void cache_outcome_found(const cache_call *call, flight_outcome *o);

#endif
