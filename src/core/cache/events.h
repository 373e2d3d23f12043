/* SPDX-License-Identifier: MIT
 *
 * events: functions of events.c for the files above it. */
#ifndef CACHE_EVENTS_H
#define CACHE_EVENTS_H

#include "cache/types.h"

/* Put an evicted entry into the tier. */
CELLAR_PRIVATE void cache_evicted(void *ctx, const l1_left *what);
/* Tell the listeners of an entry that ended. */
CELLAR_PRIVATE void cache_left(void *ctx, const l1_left *what);
/* Hook of L1: why an entry of an object ended. */
CELLAR_PRIVATE unsigned cache_left_cause(void *ctx, l1_cause cause, uint32_t generation);

#endif
