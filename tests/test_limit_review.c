/* SPDX-License-Identifier: MIT
 *
 * Aim:    what a second reading of the limiters asked for: calls that take nothing change nothing,
 *         and the bounds and edges of the contract hold where two rules of it meet.
 * Method: a clock the test turns; full tables, foreign tickets, bans, windows longer than the
 *         rule's; the figures of the limiter tell what was forgotten. */
#include "tests/limit_kit.h"

#include "cellar_limit.h"

static cellar_rl_stats figures(cellar_limiter *l)
{
    cellar_rl_stats s = CELLAR_RL_STATS_INIT;
    T_EQ_I64(cellar_rl_stats_get(l, &s), CELLAR_OK);
    return s;
}

/* Live keys until the table is full of them. */
static void fill(cellar_limiter *l)
{
    for (uint64_t k = 0; figures(l).live_evicted < 100; k++) {
        for (int i = 0; i < 512; i++, k++) {
            T_EQ_I64(cellar_rl_check(l, &k, sizeof k, 5, NULL), CELLAR_OK);
        }
    }
}

/* A check of cost 0 takes nothing: no key may be forgotten for it. */
static void cost_0_makes_nobody_forgotten(void)
{
    const cellar_rl_rule one = cellar_rl_gcra(10, CELLAR_RL_HOUR, 10);
    const cellar_rl_rule several[2] = { one, cellar_rl_gcra(1000, CELLAR_RL_DAY, 1000) };
    const cellar_rl_rule others[3] = { cellar_rl_sliding_count(10, CELLAR_RL_HOUR),
                                       cellar_rl_sliding_log(10, CELLAR_RL_HOUR),
                                       cellar_rl_fixed(10, CELLAR_RL_PER_DAY) };
    cellar_limiter *of[5] = { kit_open1(one), kit_open(several, 2), kit_open1(others[0]),
                              kit_open1(others[1]), kit_open1(others[2]) };
    for (unsigned n = 0; n < 5; n++) {
        fill(of[n]);
        const cellar_rl_stats before = figures(of[n]);
        for (uint64_t k = 0; k < 20000; k++) {
            const uint64_t key[2] = { k, 1 };
            T_EQ_I64(cellar_rl_check(of[n], key, sizeof key, 0, NULL), CELLAR_OK);
            T_EQ_I64(cellar_rl_peek(of[n], key, sizeof key, 1, NULL), CELLAR_OK);
            T_EQ_I64(cellar_rl_refund(of[n], key, sizeof key, 1), CELLAR_OK);
            T_EQ_I64(cellar_rl_charge(of[n], key, sizeof key, 0), CELLAR_OK);
        }
        const cellar_rl_stats after = figures(of[n]);
        T_EQ_U64(after.live_evicted, before.live_evicted);
        T_EQ_U64(after.keys, before.keys);
        kit_close(of[n]);
    }
}

/* The same by reserve, and by a ticket that is settled at what was taken. */
static void tickets_of_nothing_make_nobody_forgotten(void)
{
    cellar_limiter *l = kit_open1(cellar_rl_gcra(10, CELLAR_RL_HOUR, 10));
    fill(l);
    const uint64_t before = figures(l).live_evicted;
    for (uint64_t k = 0; k < 5000; k++) {
        const uint64_t key[2] = { k, 2 };
        cellar_rl_ticket t;
        T_EQ_I64(cellar_rl_reserve(l, key, sizeof key, 0, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_rl_settle(l, &t, 0), CELLAR_OK);
        T_EQ_I64(cellar_rl_settle(l, &t, 0), CELLAR_E_STALE);
    }
    T_EQ_U64(figures(l).live_evicted, before);
    kit_close(l);
    /* An estimate of nothing is settled in full. */
    const cellar_rl_rule rules[2] = { cellar_rl_gcra(10, CELLAR_RL_HOUR, 10),
                                      cellar_rl_gcra(1000, CELLAR_RL_DAY, 1000) };
    for (uint32_t count = 1; count <= 2; count++) {
        l = kit_open(rules, count);
        cellar_rl_ticket t;
        cellar_rl_result r;
        T_EQ_I64(cellar_rl_reserve(l, "k", 1, 0, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_rl_settle(l, &t, 7), CELLAR_OK);
        T_EQ_I64(cellar_rl_peek(l, "k", 1, 0, &r), CELLAR_OK);
        T_EQ_U64(r.remaining, 3);
        T_EQ_I64(cellar_rl_reserve(l, "j", 1, 0, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_rl_cancel(l, &t), CELLAR_OK);
        T_EQ_I64(cellar_rl_cancel(l, &t), CELLAR_E_STALE);
        T_EQ_U64(figures(l).keys, 1);
        kit_close(l);
    }
}

/* The user limiter's windows are longer than the second it is opened with: nobody is idle before
 * the longest is over, however many others come. */
static void long_windows_survive_a_flood(void)
{
    const cellar_rl_config cfg = kit_config();
    cellar_limiter *l = NULL;
    T_REQUIRE(cellar_user_limiter_open(&cfg, &l) == CELLAR_OK);
    for (int i = 0; i < 5; i++) {
        T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_OK);
    }
    for (uint64_t s = 0; s < 59; s++) {
        kit_pass(KIT_S);
        for (uint64_t k = 0; k < 40; k++) {
            const uint64_t key[2] = { s, k };
            T_EQ_I64(cellar_user_limiter_check(l, key, sizeof key, 5, 1, NULL), CELLAR_OK);
        }
        T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_LIMITED);
    }
    T_CHECK(figures(l).live_evicted > 0); /* the table was full: all count as live for a minute */
    kit_pass(KIT_S);
    T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_OK);
    kit_close(l);
}

/* A penalty is a whole one: nothing passes before, then one probe, whatever was charged, refunded
 * or given back meanwhile by others. */
static void bans_outlive_refunds_of_nothing(void)
{
    const cellar_rl_rule rules[3] = { cellar_rl_gcra(100, KIT_S, 50),
                                      cellar_rl_sliding_count(100, KIT_S),
                                      cellar_rl_fixed(100000, CELLAR_RL_PER_DAY) };
    for (unsigned n = 0; n < 3; n++) {
        cellar_limiter *l = kit_open1(rules[n]);
        T_EQ_I64(cellar_rl_penalize(l, "k", 1, 10 * KIT_S), CELLAR_OK);
        for (int i = 0; i < 99; i++) {
            T_EQ_I64(kit_check(l, "k", 1), 0);
            T_EQ_I64(kit_check(l, "k", 1), 0);
            kit_pass(KIT_S / 10);
        }
        T_EQ_I64(kit_check(l, "k", 1), 0);
        kit_pass(KIT_S / 10);
        T_EQ_I64(kit_check(l, "k", 1), 1);
        kit_close(l);
    }
}

/* Windows of the capped bucket over every burst: exactly as many as fit, never more than N. */
static void capped_buckets_never_pass_their_limit(void)
{
    for (uint64_t n = 1; n <= 40; n += 3) {
        for (uint64_t b = 1; b <= n; b += 2) {
            cellar_limiter *l = kit_open1(cellar_rl_rule_capped(n, KIT_S, b));
            uint64_t stamp[4096], count = 0, first = 0;
            for (uint64_t t = 0; t < 3000; t++) { /* 3 s in ms, two checks each */
                for (int i = 0; i < 2; i++) {
                    if (kit_check(l, "k", 1) && count < 4096) {
                        stamp[count++] = atomic_load(&kit.now_ns);
                    }
                }
                kit_pass(KIT_MS);
            }
            for (uint64_t i = 0; i < count; i++) {
                while (stamp[i] - stamp[first] >= KIT_S) { first++; }
                if (i - first + 1 > n) { T_EQ_U64(i - first + 1, n); }
            }
            T_CHECK(count >= 2 * (n - b + 1) + b - 1);
            kit_close(l);
        }
    }
}

/* Retry-After and reset are in seconds, rounded up, at least 1. */
static void header_seconds_are_rounded_up(void)
{
    cellar_limiter *l = kit_open1(cellar_rl_gcra(1000, KIT_S, 1));
    cellar_rl_result r;
    char text[512];
    T_EQ_I64(cellar_rl_check(l, "k", 1, 1, &r), CELLAR_OK);
    T_EQ_I64(cellar_rl_check(l, "k", 1, 1, &r), CELLAR_LIMITED);
    T_CHECK(r.retry_after_ns > 0 && r.retry_after_ns <= KIT_MS);
    (void)cellar_rl_http_headers(l, &r, CELLAR_RL_HEADERS_RETRY, text, sizeof text);
    T_EQ_STR(text, "Retry-After: 1");
    r.never = 1;
    T_EQ_U64(cellar_rl_http_headers(l, &r, CELLAR_RL_HEADERS_RETRY, text, sizeof text), 0);
    kit_close(l);
}

/* Four rewrites bring a slot's colour back; resets and plans count alike. */
static void tickets_end_with_a_reset_whatever_came_between(void)
{
    for (uint32_t wide = 0; wide < 2; wide++) {
        const cellar_rl_rule rules[2] = { cellar_rl_gcra(1, KIT_S, 10),
                                          cellar_rl_gcra(1, KIT_S, 10) };
        cellar_limiter *l = kit_open(rules, 1 + wide);
        cellar_rl_ticket t;
        T_EQ_I64(cellar_rl_reserve(l, "k", 1, 10, 0, &t, NULL, NULL), CELLAR_OK);
        (void)cellar_rl_reset(l, "k", 1, NULL);
        T_EQ_I64(cellar_rl_override(l, "k", 1, rules, 1 + wide), CELLAR_OK);
        T_EQ_I64(cellar_rl_override(l, "k", 1, NULL, 0), CELLAR_OK);
        (void)cellar_rl_reset(l, "k", 1, NULL);
        T_EQ_U64(kit_admit(l, "k", 20), 10);
        (void)cellar_rl_cancel(l, &t);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        kit_close(l);
    }
}

T_MAIN("cellar_limit_review", T_CASE(cost_0_makes_nobody_forgotten),
       T_CASE(tickets_of_nothing_make_nobody_forgotten), T_CASE(long_windows_survive_a_flood),
       T_CASE(bans_outlive_refunds_of_nothing), T_CASE(capped_buckets_never_pass_their_limit),
       T_CASE(header_seconds_are_rounded_up),
       T_CASE(tickets_end_with_a_reset_whatever_came_between))
