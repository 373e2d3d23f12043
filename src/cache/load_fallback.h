/* SPDX-License-Identifier: MIT
 *
 * load_fallback: functions of load_fallback.c for the files above it. */
#ifndef CACHE_LOAD_FALLBACK_H
#define CACHE_LOAD_FALLBACK_H

#include "cache/load_types.h"

/* Answer a failed loader with a fallback, else with the failure. */
CELLAR_PRIVATE void cache_lead_failed(struct cellar_load *ld, cellar_err err, int32_t loader_err,
                                      flight_outcome *o);
/* Answer without the loader: the breaker is open, or call->instead. */
CELLAR_PRIVATE void cache_guard_refused(struct cellar_load *ld, flight_outcome *o);

#endif
