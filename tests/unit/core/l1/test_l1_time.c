/* SPDX-License-Identifier: MIT
 *
 * Aim:    a deadline is exact to 1 ms on every read, with any coarse clock or tick.
 * Method: a virtual clock. Deadlines at every offset around a tick with a coarse reading that lags
 *         0 to 10 ms. TTLs from 1 ms to INT64_MAX in powers of two, each read 1 ms before and at
 *         its end. Clocks that start before 2^31, 2^32, 2^40, 2^53. test_l1_model judges idle
 *         times, stale windows, updates in place and records that move. */
#include "tests/support/l1_kit.h"

static kit z; /* the store of the running case */

static cellar_err read_at(kit *k, uint64_t id, int64_t at_ms)
{
    unsigned char buf[64];
    size_t len;
    kit_key key;
    atomic_store(&k->clock.now_ms, at_ms);
    kit_key_of(k, &key, 0, id);
    cellar_err got = l1_get(k->c, &key.key, buf, sizeof buf, &len, L1_PEEK);
    /* All ways of reading agree. */
    l1_info info;
    l1_pin_ref ref;
    T_EQ_I64(l1_inspect(k->c, &key.key, buf, sizeof buf, &info, L1_PEEK), got);
    cellar_err pinned = kit_pin(k->c, &key.key, &ref, L1_PEEK);
    T_EQ_I64(pinned, got);
    if (pinned == CELLAR_OK) { l1_unpin(k->c, &ref); }
    cellar_get_item one = kit_item(&key, buf, sizeof buf);
    kit_get_many(k, &one, 1, L1_PEEK);
    T_EQ_I64(one.status, got);
    return got;
}

static void put_until(kit *k, uint64_t id, int64_t deadline)
{
    T_EQ_I64(kit_put_until(k, 0, id, id, 20, deadline), CELLAR_OK);
}

T_CASE(deadline_is_exact_at_every_offset)
{
    kit_open(&z, KIT_MIB(8), NULL);
    uint64_t id = 0;
    for (int64_t lag = 0; lag <= 10; lag++) {
        atomic_store(&z.clock.lag_ms, lag);
        for (int64_t ttl = 1; ttl <= 45; ttl++) {
            int64_t start = kit_now(&z);
            put_until(&z, ++id, start + ttl);
            for (int64_t at = 0; at < ttl; at++) {
                if (!T_EQ_I64(read_at(&z, id, start + at), CELLAR_OK)) { return; }
            }
            if (ttl % 7 == 0) { (void)l1_tick(z.c, UINT64_MAX); }
            T_EQ_I64(read_at(&z, id, start + ttl), CELLAR_MISS);
            T_EQ_I64(read_at(&z, id, start + ttl + 1), CELLAR_MISS);
        }
    }
    kit_close(&z);
}

/* Set an entry at `start`, and read it then, before its deadline and at it. */
static void ends_exactly(kit *k, uint64_t id, int64_t start, int64_t deadline)
{
    atomic_store(&k->clock.now_ms, start);
    atomic_store(&k->clock.coarse_ms, 0);
    put_until(k, id, deadline);
    T_EQ_I64(read_at(k, id, start), CELLAR_OK);
    T_EQ_I64(read_at(k, id, deadline - 1), CELLAR_OK);
    T_EQ_I64(read_at(k, id, deadline), deadline == BASE_NEVER_MS ? CELLAR_OK : CELLAR_MISS);
}

T_CASE(ttl_of_every_size_is_exact)
{
    kit_open(&z, KIT_MIB(8), NULL);
    uint64_t id = 0;
    for (unsigned bit = 0; bit < 63; bit++) {
        for (int64_t off = -2; off <= 2; off++) {
            const int64_t start = KIT_START_MS + bit, ttl = (INT64_C(1) << bit) + off;
            if (ttl >= 1) { ends_exactly(&z, ++id, start, base_add_sat(start, ttl)); }
        }
    }
    ends_exactly(&z, ++id, KIT_START_MS, BASE_NEVER_MS);
    put_until(&z, ++id, 5); /* long past: stored dead */
    T_EQ_I64(read_at(&z, id, INT64_MAX - 1), CELLAR_MISS);
    kit_close(&z);
}

/* Clocks one second before a word would wrap. */
T_CASE(deadline_is_exact_when_the_clock_wraps)
{
    static const unsigned bits[] = {15, 16, 31, 32, 33, 40, 48, 53, 62};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        kit_open(&z, KIT_MIB(2), NULL);
        const int64_t start = (INT64_C(1) << bits[i]) - 1000;
        atomic_store(&z.clock.lag_ms, 10);
        for (int64_t ttl = 1; ttl < 3000; ttl += 97) {
            ends_exactly(&z, (uint64_t)ttl, start, start + ttl);
        }
        kit_close(&z);
    }
}

/* ahead == 2^32 - 2: one more than the field holds. */
T_CASE(farthest_relative_deadline_is_exact)
{
    for (int64_t off = -3; off <= 3; off++) {
        kit_open(&z, KIT_MIB(2), NULL);
        put_until(&z, 1, BASE_NEVER_MS); /* opens the segment */
        put_until(&z, 3, BASE_NEVER_MS);
        const int64_t late = KIT_START_MS + INT32_MAX;
        ends_exactly(&z, 2, late, late + INT32_MAX + off);
        const int64_t last = KIT_START_MS + UINT32_MAX; /* updated in place */
        atomic_store(&z.clock.now_ms, last - 1000);
        (void)l1_tick(z.c, 0);
        ends_exactly(&z, 3, last - 1000, last + off);
        kit_close(&z);
    }
}

T_CASE(refresh_time_is_a_miss_only_for_loads)
{
    kit_key key;
    l1_pin_ref ref;
    kit_open(&z, KIT_MIB(2), NULL);
    const int64_t due = kit_now(&z) + 10;
    l1_put_spec p = {.value = "a value", .value_len = 7, .deadline_ms = BASE_NEVER_MS,
                     .fails = L1_REFRESH_AT, .retry_at = (uint32_t)due,
                     .loader_code = (uint32_t)(due >> 32), .change = L1_CHANGE_SET};
    T_EQ_I64(l1_put(z.c, kit_key_of(&z, &key, 0, 1), &p), CELLAR_OK);
    T_EQ_I64(read_at(&z, 1, due - 1), CELLAR_OK);
    T_EQ_I64(l1_pin(z.c, &key.key, &ref, L1_NOT_DUE), CELLAR_OK);
    l1_unpin(z.c, &ref);
    T_EQ_I64(read_at(&z, 1, due), CELLAR_OK);
    T_EQ_I64(l1_pin(z.c, &key.key, &ref, L1_NOT_DUE), CELLAR_MISS);
    kit_close(&z);
}

/* Use the clocks of the system. No entry is returned at or after its deadline, and none is missed
 * before. A lag of the coarse clock beyond BASE_COARSE_LAG_MS is no failure. Return the hits of
 * entries that live for most_ms at most. */
static uint64_t exact_within(bool counter, int64_t most_ms)
{
    enum { ENTRIES = 300 };
    kit_rng r = {t_seed()};
    int64_t until[ENTRIES];
    uint64_t early = 0, hits = 0;
    kit_init(&z, KIT_MIB(4), t_seed());
    kit_real_clock(&z);
    T_REQUIRE(kit_try_open(&z, NULL) == CELLAR_OK);
    base_clock_ready();
    base_clock_choose(counter);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        until[i] = kit_now(&z) + 1 + (int64_t)kit_below(&r, (uint64_t)most_ms);
        put_until(&z, i, until[i]);
    }
    const int64_t end = kit_now(&z) + most_ms + 5;
    for (int64_t now = 0; now < end && t_failed() == 0;) {
        for (uint64_t i = 0; i < ENTRIES; i++) {
            unsigned char buf[64];
            size_t len;
            kit_key key;
            kit_key_of(&z, &key, 0, i);
            const int64_t coarse = base_coarse_ms(&z.base);
            now = kit_now(&z);
            const cellar_err got = l1_get(z.c, &key.key, buf, sizeof buf, &len, 0);
            const bool lags = coarse + BASE_COARSE_LAG_MS < now;
            T_CHECK(got == CELLAR_OK || got == CELLAR_MISS);
            T_CHECK(got != CELLAR_OK || now < until[i] || lags);
            early += got == CELLAR_MISS && kit_now(&z) < until[i];
            hits += got == CELLAR_OK;
        }
    }
    T_EQ_U64(early, 0);
    kit_close(&z);
    return hits;
}

static void exact_by_the_system_clock(bool counter)
{
    uint64_t hits = 0;
    for (int64_t most_ms = 150; hits == 0 && most_ms < 20000 && t_failed() == 0; most_ms *= 2) {
        hits = exact_within(counter, most_ms);
    }
    T_CHECK(hits > 0);
}

T_CASE(exact_by_the_system_clock_and_the_counter) { exact_by_the_system_clock(true); }
T_CASE(exact_by_the_system_clock_and_the_coarse_clock)
{
    exact_by_the_system_clock(false);
}

T_ONE_THREAD;
T_MAIN("l1_time")
