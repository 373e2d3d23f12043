/* SPDX-License-Identifier: MIT
 *
 * hist: duration histograms of operations, in a fixed number of bytes.
 *
 * PICTURE    528 counters of 4 bytes: values 0..15 ns one each, then 32 octaves of 16 steps:
 *                index = 16 + (e - 4) * 16 + the 4 bits after the leading one,  e = floor(log2 ns)
 *            one table per operation and stripe, made when first used
 *            stats_sample counts the calls of a thread down; at 0 the caller reads the clock twice
 *            and calls stats_time
 * INVARIANTS A bucket never decreases and never wraps: at 2^32 - 1 it stops.
 *            count and sum_ns have 64 bits and are always right. max_ns is exact.
 * LOCKING    None: relaxed atomic adds. Adds are rare, because gets and sets are sampled (one in 64
 *            on average). Threads are spread over the stripes by their index.
 * LIMITS     Relative width 6.25 %. Values from 2^36 ns (69 s) on share the last bucket. Sampling
 *            costs 0.6 ns per call: two clock reads of 20 ns in 64 calls.
 * SEE ALSO   README.md in this folder: why the sampling distance is random. */
#include "stats/hist.h"

#include "base/num.h"
#include "stats/counters.h"

#define STATS_LINEAR 16u   /* buckets of 1 ns at the bottom, and steps per octave */
#define STATS_LINEAR_LOG2 4u
#define STATS_TOP_LOG2 36u /* values from 2^36 ns on share the last bucket */

_Static_assert(STATS_LINEAR == 1u << STATS_LINEAR_LOG2, "one step is one value of 4 bits");
_Static_assert(STATS_LINEAR + (STATS_TOP_LOG2 - STATS_LINEAR_LOG2) * STATS_LINEAR == STATS_BUCKETS,
               "the octaves fill the table");

static uint32_t stats_bucket_of(uint64_t ns)
{
    if (ns < STATS_LINEAR) { return (uint32_t)ns; }
    const uint32_t e = base_log2_floor(ns);
    if (e >= STATS_TOP_LOG2) { return STATS_BUCKETS - 1; }
    const uint32_t step = (uint32_t)(ns >> (e - STATS_LINEAR_LOG2)) & (STATS_LINEAR - 1);
    return STATS_LINEAR + (e - STATS_LINEAR_LOG2) * STATS_LINEAR + step;
}

/* Return the largest value of a bucket (of the last one: 2^36 - 1). */
static uint64_t stats_bucket_end(uint32_t bucket)
{
    if (bucket < STATS_LINEAR) { return bucket; }
    const uint32_t shift = (bucket - STATS_LINEAR) / STATS_LINEAR;
    const uint64_t step = (bucket - STATS_LINEAR) % STATS_LINEAR;
    return ((STATS_LINEAR + step + 1) << shift) - 1;
}

CELLAR_PRIVATE uint32_t stats_sample_redraw(base_thread_record *self)
{
    /* Threads of record 0 would race on its countdown: they do not sample. */
    if (self->index == 0) { return 0; }
    const bool first = self->countdown == 0;
    self->countdown = 1 + (uint32_t)base_rng_below(&self->rng, 127);
    return first ? 0 : 1;
}

static stats_hist *stats_hist_mine(stats *st, stats_op op)
{
    const uint32_t index = base_thread_self()->index;
    void *_Atomic *at = &st->hist[op][index & (st->stripes - 1)];
    stats_hist *h = base_load_acq(at);
    if (h != NULL || index == 0 || !stats_ask(st, index)) { return h; }
    h = stats_install(st, at, sizeof *h); /* acquire above */
    stats_asked(st, index, h != NULL);
    return h;
}

static void stats_bucket_add(stats_hist *h, uint32_t bucket)
{
    uint32_t seen;
    do {
        seen = base_load_rlx(&h->bucket[bucket]);
    } while (seen != UINT32_MAX && !base_cas_ar(&h->bucket[bucket], seen, seen + 1));
}

/* Record a time. NULL: the allocation of the table was refused; drop the time. */
static void stats_time_in(stats_hist *h, uint64_t ns)
{
    if (h == NULL) { return; }
    (void)base_add_rlx(&h->count, 1u);
    (void)base_add_rlx(&h->sum_ns, ns);
    stats_bucket_add(h, stats_bucket_of(ns));
    for (uint64_t max = base_load_rlx(&h->max_ns); ns > max; max = base_load_rlx(&h->max_ns)) {
        if (base_cas_ar(&h->max_ns, max, ns)) { return; }
    }
}

CELLAR_PRIVATE void stats_time(stats *st, stats_op op, uint64_t ns)
{
    BASE_ASSERT(op < STATS_OP_COUNT);
    stats_time_in(stats_hist_mine(st, op), ns);
}

CELLAR_PRIVATE void stats_time_open(stats *st, stats_op op)
{
    (void)stats_install(st, &st->hist[op][0], sizeof(stats_hist));
}

CELLAR_PRIVATE void stats_time_held(const stats *st, stats_op op, uint64_t ns)
{
    BASE_ASSERT(op < STATS_OP_COUNT);
    stats_time_in(base_load_acq(&st->hist[op][0]), ns);
}

BASE_SIZE_BEGIN

static uint64_t stats_bucket_sum(const stats *st, stats_op op, uint32_t bucket)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < st->stripes; i++) {
        const stats_hist *h = base_load_acq(&st->hist[op][i]);
        if (h != NULL) { sum += base_load_rlx(&h->bucket[bucket]); }
    }
    return sum;
}

CELLAR_PRIVATE uint64_t stats_times_below(const stats *st, stats_op op, uint64_t limit_ns)
{
    const uint32_t last = stats_bucket_of(limit_ns);
    BASE_ASSERT(stats_bucket_end(last) == limit_ns);
    uint64_t sum = 0;
    for (uint32_t b = 0; b <= last; b++) { sum += stats_bucket_sum(st, op, b); }
    return sum;
}

static uint64_t stats_hist_max(const stats *st, stats_op op)
{
    uint64_t max = 0;
    for (uint32_t i = 0; i < st->stripes; i++) {
        const stats_hist *h = base_load_acq(&st->hist[op][i]);
        if (h != NULL) { max = BASE_MAX(max, base_load_rlx(&h->max_ns)); }
    }
    return max;
}

CELLAR_PRIVATE uint64_t stats_quantile(const stats *st, stats_op op, uint64_t ppm)
{
    BASE_ASSERT(op < STATS_OP_COUNT && ppm <= 1000000);
    uint64_t total = 0;
    for (uint32_t b = 0; b < STATS_BUCKETS; b++) { total += stats_bucket_sum(st, op, b); }
    if (total == 0) { return 0; }
    /* Rank of the wanted value, 1..total, rounded up without overflow: total = q * 10^6 + r. */
    uint64_t rank = total / 1000000 * ppm + (total % 1000000 * ppm + 999999) / 1000000;
    rank = base_clamp(rank, 1, total);
    const uint64_t max = stats_hist_max(st, op);
    uint64_t below = 0;
    for (uint32_t b = 0; b + 1 < STATS_BUCKETS; b++) {
        below += stats_bucket_sum(st, op, b);
        if (below >= rank) { return BASE_MIN(stats_bucket_end(b), max); }
    }
    return max; /* the largest value is the upper end of the last bucket */
}

CELLAR_PRIVATE void stats_read_times(const stats *st, stats_op op, stats_times *out)
{
    BASE_ASSERT(op < STATS_OP_COUNT);
    *out = (stats_times){ .max_ns = stats_hist_max(st, op) };
    for (uint32_t i = 0; i < st->stripes; i++) {
        const stats_hist *h = base_load_acq(&st->hist[op][i]);
        if (h == NULL) { continue; }
        out->count += base_load_rlx(&h->count);
        out->sum_ns += base_load_rlx(&h->sum_ns);
    }
    out->p50_ns = stats_quantile(st, op, 500000);
    out->p90_ns = stats_quantile(st, op, 900000);
    out->p99_ns = stats_quantile(st, op, 990000);
    out->p999_ns = stats_quantile(st, op, 999000);
}

BASE_SIZE_END
