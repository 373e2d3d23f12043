/* SPDX-License-Identifier: MIT
 *
 * breaker_calls: functions of breaker_calls.c for the files above it. */
#ifndef LOADING_BREAKER_CALLS_H
#define LOADING_BREAKER_CALLS_H

#include "cache/error.h"
#include "cache/types.h"

CELLAR_PRIVATE cellar_err cache_breaker_check(const cellar_breaker_config *o, cache_broken *why);
CELLAR_PRIVATE cellar_err cache_breaker_start(cellar *c, const cellar_breaker_config *o);
CELLAR_PRIVATE int cache_breaker_state(const cellar *c); /* CELLAR_BREAKER_...; -1: no breaker */
/* Ask whether the source may be called. Report every pass once. */
CELLAR_PRIVATE bool cache_breaker_admit(cellar_breaker *b, uint32_t *pass);
CELLAR_PRIVATE int64_t cache_breaker_wait(cellar_breaker *b); /* ms until a call may pass */
CELLAR_PRIVATE void cache_breaker_report(cellar_breaker *b, uint32_t pass, breaker_outcome how);

#endif
