/* SPDX-License-Identifier: MIT
 *
 * hist: durations of operations. */
#ifndef STATS_HIST_H
#define STATS_HIST_H

#include "stats/types.h"

CELLAR_PRIVATE uint32_t stats_sample_redraw(base_thread_record *self);

/* Return whether this call is sampled: one in 64 on average, the distance drawn from 1..127. */
BASE_INLINE bool stats_sample(base_thread_record *self)
{
    if (BASE_LIKELY(self->countdown > 1)) {
        self->countdown--;
        return false;
    }
    return stats_sample_redraw(self) != 0;
}

/* Record that `op` took `ns`. The first use allocates: hold no ranked lock. */
CELLAR_PRIVATE void stats_time(stats *st, stats_op op, uint64_t ns);
/* Make one table for an operation that all threads record in. Hold no ranked lock. */
CELLAR_PRIVATE void stats_time_open(stats *st, stats_op op);
/* Add a time to that table. Never allocates; any lock may be held. */
CELLAR_PRIVATE void stats_time_held(const stats *st, stats_op op, uint64_t ns);

typedef struct stats_times {
    uint64_t count, sum_ns, max_ns; /* max is exact */
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns; /* upper ends of buckets: within 6.25 % */
} stats_times;
CELLAR_PRIVATE void stats_read_times(const stats *st, stats_op op, stats_times *out);
/* Return the smallest bucket end that at least `ppm` millionths of the times do not exceed; 0
 * without times. */
CELLAR_PRIVATE uint64_t stats_quantile(const stats *st, stats_op op, uint64_t ppm);
/* Count the times <= limit_ns. limit_ns + 1 must be the lower end of a bucket: a power of two from
 * 16 on. */
CELLAR_PRIVATE uint64_t stats_times_below(const stats *st, stats_op op, uint64_t limit_ns);

#endif
