/* SPDX-License-Identifier: MIT
 *
 * set: functions of set.c for the files above it. */
#ifndef CACHE_SET_H
#define CACHE_SET_H

#include "cache/plan.h"
#include "cache/types.h"

/* Put the value of plan->spec, with retries after a veto, tier and counters. */
CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan);
/* Put one value and inform the observers. cache_put_count and cache_put_failed count the result. */
CELLAR_PRIVATE cellar_err cache_put_once(cellar *c, const l1_key *k, l1_put_spec *p);
CELLAR_PRIVATE void cache_put_count(cellar *c, const l1_put_spec *p);
CELLAR_PRIVATE cellar_err cache_put_failed(cellar *c, const l1_put_spec *p, cellar_err err);

#endif
