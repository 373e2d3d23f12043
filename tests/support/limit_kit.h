/* SPDX-License-Identifier: MIT
 *
 * limit_kit: a clock the test turns, limiters on it, short names for checks. */
#ifndef CELLAR_TESTS_LIMIT_KIT_H
#define CELLAR_TESTS_LIMIT_KIT_H

#include "cellar_admin.h"
#include "tests/support/limit_audit.h"
#include "tests/support/t.h"

#define KIT_S CELLAR_SECOND_NS
#define KIT_MS UINT64_C(1000000)

static struct kit {
    _Atomic uint64_t now_ns, wall_ms, boot_ms;
} kit = { UINT64_C(1000000000000), UINT64_C(1767225600000), UINT64_C(5000000) };

static uint64_t kit_clock(void *ctx)
{
    (void)ctx;
    return atomic_load_explicit(&kit.now_ns, memory_order_relaxed);
}
static uint64_t kit_wall(void *ctx) { (void)ctx; return atomic_load(&kit.wall_ms); }
static uint64_t kit_boot(void *ctx) { (void)ctx; return atomic_load(&kit.boot_ms); }
/* All three go on together. */
T_INLINE void kit_pass(uint64_t ns)
{
    atomic_fetch_add(&kit.now_ns, ns);
    atomic_fetch_add(&kit.wall_ms, ns / KIT_MS);
    atomic_fetch_add(&kit.boot_ms, ns / KIT_MS);
}

T_INLINE cellar_limiter_config kit_config(void)
{
    static const uint8_t hash_key[32] = { 7, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                                          17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28 };
    cellar_limiter_config c = cellar_limiter_config_default();
    c.max_bytes = 1u << 20;
    c.clock_ns = kit_clock;
    c.wall_ms = kit_wall;
    c.boot_ms = kit_boot;
    c.hash_key = hash_key;
    return c;
}
T_INLINE cellar_limiter *kit_open(const cellar_rule *rules, uint32_t count)
{
    const cellar_limiter_config c = kit_config();
    cellar_limiter *l = NULL;
    T_REQUIRE(cellar_limiter_open(&c, rules, count, &l) == CELLAR_OK);
    return l;
}
T_INLINE cellar_limiter *kit_open1(cellar_rule rule) { return kit_open(&rule, 1); }
T_INLINE void kit_close(cellar_limiter *l)
{
    const char *why = "";
    if (!T_CHECK(limit_audit(l, &why))) { printf("# audit: %s\n", why); }
    cellar_limiter_close(l);
}
/* Decide without effect. */
T_INLINE cellar_err kit_look(cellar_limiter *l, const void *key, size_t key_len, uint64_t cost,
                             cellar_limiter_result *r)
{
    cellar_check_opts o = { .struct_size = sizeof o, .flags = CELLAR_CHECK_PEEK };
    return cellar_limiter_check_with(l, key, key_len, cost, &o, r);
}
/* Decide at a reading of the clock. */
T_INLINE cellar_err kit_check_at(cellar_limiter *l, const void *key, size_t key_len, uint64_t cost,
                                 uint64_t now_ns, cellar_limiter_result *r)
{
    cellar_check_opts o = { .struct_size = sizeof o, .now_ns = now_ns };
    return cellar_limiter_check_with(l, key, key_len, cost, &o, r);
}
/* Decide by rules of the call. */
T_INLINE cellar_err kit_check_rules(cellar_limiter *l, const void *key, size_t key_len,
                                    uint64_t cost, const cellar_rule *rules, uint32_t count,
                                    cellar_limiter_result *r)
{
    cellar_check_opts o = { .struct_size = sizeof o, .rules = rules, .rule_count = count };
    return cellar_limiter_check_with(l, key, key_len, cost, &o, r);
}
/* 1 admitted, 0 denied. */
T_INLINE int kit_check(cellar_limiter *l, const char *key, uint64_t cost)
{
    const cellar_err e = cellar_limiter_check(l, key, strlen(key), cost, NULL);
    T_CHECK(e == CELLAR_OK || e == CELLAR_LIMITED);
    return e == CELLAR_OK;
}
/* How many of `tries` single checks pass. */
T_INLINE uint64_t kit_admit(cellar_limiter *l, const char *key, uint64_t tries)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < tries; i++) { n += (uint64_t)kit_check(l, key, 1); }
    return n;
}

/* Small, repeatable numbers. */
T_INLINE uint64_t kit_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
T_INLINE uint64_t kit_below(uint64_t *state, uint64_t n) { return kit_random(state) % n; }

#endif
