/* SPDX-License-Identifier: MIT
 *
 * load_publish: functions of load_publish.c for the files above it. */
#ifndef CACHE_LOAD_PUBLISH_H
#define CACHE_LOAD_PUBLISH_H

#include "cache/load_types.h"

/* Store for the flight of ld. Record a failure in the flags of the outcome. */
CELLAR_PRIVATE cellar_err cache_publish(struct cellar_load *ld, l1_put_spec *p, flight_outcome *o);
/* Store the loaded value and fill the outcome, which owns `value` then. */
CELLAR_PRIVATE void cache_publish_value(struct cellar_load *ld, flight_bytes *value,
                                        flight_outcome *o);
CELLAR_PRIVATE void cache_publish_none(struct cellar_load *ld, flight_outcome *o);
/* Renew the old value: in place, or from our copy if it was evicted meanwhile. Do not store the
 * copy if it had tags, one of which may have ended it, or dependencies, which may be forgotten with
 * the entry. */
CELLAR_PRIVATE void cache_publish_same(struct cellar_load *ld, flight_outcome *o);
CELLAR_PRIVATE void cache_publish_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                         flight_outcome *o);
/* Remember the failure: on the value in L1, else in an entry of its own. */
CELLAR_PRIVATE void cache_keep_failure(struct cellar_load *ld, int32_t loader_err,
                                       flight_outcome *o);
/* Mark the outcome as tagged if the entry found in L1 has tags. */
CELLAR_PRIVATE void cache_outcome_found(const cache_call *call, flight_outcome *o);
/* Answer the leader with the result in the outcome. */
CELLAR_PRIVATE void cache_answer_loaded(struct cellar_load *ld, flight_outcome *o);

#endif
