/* SPDX-License-Identifier: MIT
 *
 * stats_int: declarations that the files of this folder share. */
#ifndef STATS_STATS_INT_H
#define STATS_STATS_INT_H

#include "stats/stats.h"

/* Enter and leave an allocation that may make the store evict. stats_ask false: do not allocate. */
CELLAR_PRIVATE bool stats_ask(stats *st, uint32_t index);
CELLAR_PRIVATE void stats_asked(stats *st, uint32_t index, bool granted);

struct stats_hist { /* one stripe of one operation; relaxed atomics, written by any thread */
    _Atomic uint64_t count, sum_ns, max_ns;
    _Atomic uint32_t saturated; /* 1: a bucket has stopped at 2^32 - 1 */
    _Atomic uint32_t bucket[STATS_BUCKETS];
};

CELLAR_PRIVATE void stats_hists_free(stats *st);

#endif
