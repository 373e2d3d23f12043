/* SPDX-License-Identifier: MIT
 *
 * Aim:    size_aware, cost_aware: the worth of a record improves the choice of the policy. With
 *         `favor_objects` fewer requests miss; with costs less cost is paid again; equal records
 *         change nothing.
 * Method: generated mixes. Each runs twice with the same requests, with and without the feature;
 *         fixed seeds and hash keys repeat a run exactly. */
#include "tests/support/l1_kit.h"

#define KEYS 20000u
#define REQUESTS 150000u

enum { COST_ALIKE, COST_ANY, COST_RARE_DEAR, COST_HOT_DEAR, COST_TWO, COST_MIXES };

static kit_zipf popular;
static void popular_open(double theta) { kit_zipf_open(&popular, KEYS, theta); }
static uint32_t draw(kit_rng *r) { return kit_zipf_draw(&popular, r); }

static uint32_t cost_of(unsigned mix, uint32_t id)
{
    const uint64_t h = kit_mix(id + 77);
    switch (mix) {
    case COST_ALIKE: return 1000;
    case COST_ANY: return (uint32_t)(64u << (h % 12));
    case COST_RARE_DEAR: return id < KEYS / 20 ? 100 : 20000;
    case COST_HOT_DEAR: return id < KEYS / 20 ? 20000 : 100;
    default: return h % 10 == 0 ? 50000 : 500;
    }
}

/* Encode a cost as the cache does: 1 + eighths of the binary logarithm. */
static uint8_t code_of(uint32_t us)
{
    const unsigned e = base_log2_floor(us);
    return (uint8_t)(1 + (e << 3 | ((unsigned)(((uint64_t)us << 3) >> e) & 7u)));
}

static bool put(kit *k, uint32_t id, size_t len, uint32_t cost_us)
{
    static unsigned char value[70000];
    kit_key key;
    l1_put_spec p = {.value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                     .change = L1_CHANGE_SET, .cost = cost_us != 0 ? code_of(cost_us) : 0};
    return l1_put(k->c, kit_key_of(k, &key, 0, id), &p) == CELLAR_OK;
}

static double paid(l1_policy policy, unsigned mix, bool told, uint64_t seed)
{
    kit k;
    const l1_config cfg = {.max_entries = 3000, .policy = policy};
    kit_init(&k, KIT_MIB(32), seed);
    T_REQUIRE(kit_try_open(&k, &cfg) == CELLAR_OK);
    kit_rng r = {seed};
    double sum = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        const uint32_t id = draw(&r);
        uint64_t buf[16];
        size_t len;
        if (kit_get(&k, id, buf, sizeof buf, &len) == CELLAR_OK) { continue; }
        sum += cost_of(mix, id);
        T_CHECK(put(&k, id, 100, told ? cost_of(mix, id) : 0));
    }
    kit_close(&k);
    return sum;
}

T_CASE(cost_aware)
{
    if (KIT_SLOW > 8) { T_SKIP("one thread only"); return; }
    popular_open(.8);
    for (unsigned p = t_reduced() ? 1 : 0; p < 2; p++) {
        const l1_policy policy = p == 0 ? L1_S3FIFO : L1_ADAPTIVE;
        for (unsigned mix = 0; mix < COST_MIXES; mix++) {
            double plain = 0, told = 0;
            for (uint64_t seed = 1; seed <= 2; seed++) {
                plain += paid(policy, mix, false, seed);
                told += paid(policy, mix, true, seed);
            }
            printf("# policy %u, mix %u: %.1f %% less cost\n", (unsigned)policy, mix,
                   100 - told * 100 / plain);
            if (mix == COST_ALIKE) {
                T_CHECK(fabs(told - plain) <= plain * .001);
            } else {
                T_CHECK(told <= plain);
            }
        }
    }
}

/* Run sizes from 64 bytes to 64 KiB, independent of popularity. */
static uint64_t missed(bool objects, l1_policy policy, uint64_t *bytes)
{
    kit k;
    const l1_config cfg = {.policy = policy, .favor_objects = objects, .mean_entry_bytes = 4000};
    kit_init(&k, KIT_MIB(8), 5);
    T_REQUIRE(kit_try_open(&k, &cfg) == CELLAR_OK);
    kit_rng r = {11};
    uint64_t n = 0;
    static unsigned char buf[70000];
    for (unsigned i = 0; i < REQUESTS; i++) {
        const uint32_t id = draw(&r);
        const size_t size = (size_t)64 << (kit_mix(id) % 11);
        size_t len;
        if (kit_get(&k, id, buf, sizeof buf, &len) == CELLAR_OK) { continue; }
        n++;
        *bytes += size;
        (void)put(&k, id, size, 0);
    }
    kit_close(&k);
    return n;
}

T_CASE(size_aware)
{
    if (KIT_SLOW > 8) { T_SKIP("one thread only"); return; }
    popular_open(.8);
    for (unsigned p = t_reduced() ? 1 : 0; p < 2; p++) {
        const l1_policy policy = p == 0 ? L1_S3FIFO : L1_ADAPTIVE;
        uint64_t plain_bytes = 0, bytes = 0;
        const uint64_t plain = missed(false, policy, &plain_bytes);
        const uint64_t sized = missed(true, policy, &bytes);
        printf("# policy %u: %.1f %% fewer misses, %.1f %% more bytes missed\n", (unsigned)policy,
               100 - (double)sized * 100 / (double)plain,
               (double)bytes * 100 / (double)plain_bytes - 100);
        T_CHECK(sized * 100 <= plain * 95); /* 94 with the 16 lanes of 8 MiB, 91 with one */
        T_CHECK(bytes > plain_bytes); /* the cost of fewer misses */
    }
}

T_ONE_THREAD;
T_MAIN("l1_worth")
