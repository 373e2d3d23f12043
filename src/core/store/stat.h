/* SPDX-License-Identifier: MIT
 *
 * stat: functions of stat.c for the files above it. */
#ifndef STORE_STAT_H
#define STORE_STAT_H

#include "cache/types.h"

/* What reads without misses would have cost as loads: ns and units of cost. */
typedef struct cache_saved { double ns, cost; } cache_saved;

CELLAR_PRIVATE cache_saved cache_saved_of(const uint64_t v[STATS_NAMESPACE_COUNT]);
/* Figures of a quota, in the order of cellar_stats and of STATS_NAMESPACE_QUOTA_... */
#define CACHE_QUOTA_FIGURES (STATS_NAMESPACE_QUOTA_CEILING - STATS_NAMESPACE_QUOTA_ENTRIES + 1)
/* Read the figures of a quota. Return false if it has no maximum: then that figure is 0. */
CELLAR_PRIVATE bool cache_quota_read(const cache_store *s, unsigned quota,
                                     uint64_t out[CACHE_QUOTA_FIGURES]);
#define CACHE_WHOLE_STORE UINT32_MAX /* slot number for the whole store */
/* Read the counters of a slot or CACHE_WHOLE_STORE. */
CELLAR_PRIVATE void cache_read_counters(const cache_store *s, uint32_t slot,
                                        uint64_t out[STATS_NAMESPACE_COUNT]);
/* Advise for a slot or CACHE_WHOLE_STORE, based on the hit ratio of the counters `v`. */
CELLAR_PRIVATE cellar_err cache_advise(const cache_store *s, uint32_t slot,
                                       const uint64_t v[STATS_NAMESPACE_COUNT], l1_advice *out);

#endif
