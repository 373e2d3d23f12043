/* SPDX-License-Identifier: MIT
 *
 * Aim:    histograms answer within their width, keep their size and never wrap; sampling is fair.
 * Method: random durations up to a minute against a sorted array; a bucket set to its maximum. */
#include "tests/support/t.h"

#include <math.h>
#include <pthread.h>

#include "stats/stats.h"

static base_account account;

static stats *open_stats(void)
{
    base_account_init(&account, 64u << 20, NULL);
    stats *st = stats_create(&account);
    T_REQUIRE(st != NULL);
    return st;
}

#define STATS(fn) T_WITH(fn, stats *st, st, open_stats(), stats_destroy(st))

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

T_CASE_ON(histogram_quantiles_within_width, STATS)
{
    enum { N = 200000 };
    static const uint64_t ppm[] = { 0, 1, 100000, 500000, 900000, 990000, 999000, 999900, 1000000 };
    uint64_t *value = malloc(N * sizeof *value);
    T_REQUIRE(value != NULL);
    base_rng rng;
    base_rng_seed(&rng, t_seed());
    for (size_t i = 0; i < N; i++) {
        /* Uniform in the logarithm: every octave below 2^36 gets values. */
        value[i] = (uint64_t)exp2((double)base_rng_below(&rng, 36000000) / 1e6);
        stats_time(st, STATS_OP_TICK, value[i]);
    }
    qsort(value, N, sizeof *value, by_value);
    for (size_t i = 0; i < sizeof ppm / sizeof ppm[0]; i++) {
        size_t rank = (size_t)((N * ppm[i] + 999999) / 1000000);
        const uint64_t exact = value[rank > 0 ? rank - 1 : 0];
        const uint64_t got = stats_quantile(st, STATS_OP_TICK, ppm[i]);
        T_CHECK(got >= exact);
        T_CHECK((double)got <= (double)exact * 1.0625);
    }
    stats_times t;
    stats_read_times(st, STATS_OP_TICK, &t);
    uint64_t sum = 0;
    for (size_t i = 0; i < N; i++) { sum += value[i]; }
    T_EQ_U64(t.count, N);
    T_EQ_U64(t.sum_ns, sum);
    T_EQ_U64(t.max_ns, value[N - 1]);
    T_EQ_U64(stats_quantile(st, STATS_OP_TICK, 1000000), value[N - 1]);
    free(value);
}

T_CASE_ON(small_values_are_exact_and_large_ones_have_a_place, STATS)
{
    T_EQ_U64(stats_quantile(st, STATS_OP_SET, 500000), 0);
    for (uint64_t ns = 0; ns < 16; ns++) { stats_time(st, STATS_OP_SET, ns); }
    T_EQ_U64(stats_quantile(st, STATS_OP_SET, 500000), 7);
    T_EQ_U64(stats_times_below(st, STATS_OP_SET, 15), 16);
    stats_time(st, STATS_OP_SET, UINT64_MAX);
    stats_time(st, STATS_OP_SET, (uint64_t)1 << 36);
    T_EQ_U64(stats_quantile(st, STATS_OP_SET, 1000000), UINT64_MAX);
    T_EQ_U64(stats_times_below(st, STATS_OP_SET, ((uint64_t)1 << 35) - 1), 16);
}

/* D19, S2:652-663: the seed appends every duration to a list without a bound and reports only the
 * mean. Here a million durations use the same bytes as one. */
T_CASE_ON(seed_histogram_size_is_constant, STATS)
{
    stats_time(st, STATS_OP_GET_HIT, 5);
    const uint64_t bytes = base_load_rlx(&account.used);
    base_rng rng;
    base_rng_seed(&rng, t_seed());
    for (int i = 0; i < 1000000; i++) {
        stats_time(st, STATS_OP_GET_HIT, base_rng_next(&rng) >> (28 + i % 36));
    }
    T_EQ_U64(base_load_rlx(&account.used), bytes);
    stats_times t;
    stats_read_times(st, STATS_OP_GET_HIT, &t);
    T_EQ_U64(t.count, 1000001);
    T_CHECK(t.p50_ns < t.p90_ns && t.p90_ns < t.p99_ns && t.p99_ns <= t.p999_ns);
}

T_CASE_ON(full_bucket_stops_and_sets_saturated, STATS)
{
    stats_times t;
    stats_time(st, STATS_OP_SET, 3);
    const uint32_t stripe = base_thread_self()->index & (st->stripes - 1);
    stats_hist *h = base_load_acq(&st->hist[STATS_OP_SET][stripe]);
    T_REQUIRE(h != NULL);
    base_store_rlx(&h->bucket[3], UINT32_MAX - 1);
    stats_time(st, STATS_OP_SET, 3);
    T_EQ_U64(base_load_rlx(&h->bucket[3]), UINT32_MAX);
    stats_time(st, STATS_OP_SET, 3);
    stats_read_times(st, STATS_OP_SET, &t);
    T_EQ_U64(base_load_rlx(&h->bucket[3]), UINT32_MAX);
    T_EQ_U64(t.count, 3); /* the 64-bit count continues */
}

static void *time_many(void *arg)
{
    for (uint64_t i = 0; i < 100000; i++) { stats_time(arg, STATS_OP_DELETE, i & 1023); }
    return NULL;
}

T_CASE_ON(eight_threads_time_exactly, STATS)
{
    pthread_t id[8];
    for (int i = 0; i < 8; i++) { T_REQUIRE(pthread_create(&id[i], NULL, time_many, st) == 0); }
    for (int i = 0; i < 8; i++) { pthread_join(id[i], NULL); }
    stats_times t;
    stats_read_times(st, STATS_OP_DELETE, &t);
    T_EQ_U64(t.count, 800000);
    T_EQ_U64(t.max_ns, 1023);
    T_EQ_U64(stats_times_below(st, STATS_OP_DELETE, 1023), 800000);
}

T_CASE(sampling_takes_one_in_64_without_a_period)
{
    enum { CALLS = 640000 };
    base_thread_record *self = base_thread_self();
    uint64_t taken = 0, gap = 0, longest = 0, by_phase[64] = { 0 };
    T_REQUIRE(self->index != 0);
    for (uint64_t i = 0; i < CALLS; i++) {
        gap++;
        if (!stats_sample(self)) { continue; }
        if (gap > longest && taken > 0) { longest = gap; }
        gap = 0;
        taken++;
        by_phase[i % 64]++;
    }
    /* 10,000 expected, standard deviation of the count about 57. */
    T_CHECK(taken > 9500 && taken < 10500);
    T_CHECK(longest <= 127);
    /* A period of 64 would put all of them into one phase; 156 expected in each. */
    for (int i = 0; i < 64; i++) { T_CHECK(by_phase[i] > 60 && by_phase[i] < 300); }
}

T_MAIN("stats_hist")
