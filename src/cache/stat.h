/* SPDX-License-Identifier: MIT
 *
 * stat: functions of stat.c for the files above it. */
#ifndef CACHE_STAT_H
#define CACHE_STAT_H

#include "cache/types.h"

/* What reads without misses would have cost as loads: ns and units of cost. */
typedef struct cache_saved { double ns, cost; } cache_saved;

CELLAR_PRIVATE cache_saved cache_saved_of(const uint64_t v[STATS_NAMESPACE_COUNT]);
/* Advise for a slot or STATS_STORE_SLOT, based on the counted hit ratio in *now. */
CELLAR_PRIVATE cellar_err cache_advise(const cache_store *s, uint32_t slot, double *now,
                                       l1_advice *out);

#endif
