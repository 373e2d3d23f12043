/* SPDX-License-Identifier: MIT
 *
 * Aim:    each call does exactly what its contract says, in every algorithm; the program this
 *         stands in for had three defects, which are driven here as they were. Each call gives a
 *         defined answer for a key in each state: unknown, used, banned, planned, banned and
 *         planned, reset, all reset.
 * Method: a turned clock; numbers worked out by hand. */
#include <pthread.h>
#include <sched.h>

#include "cellar_observe.h"
#include "stats/metrics.h"
#include "tests/support/limit_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/same_metrics.h"

static cellar_limiter_stats figures(cellar_limiter *l)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    return s;
}

/* ---- reset, one test for each algorithm ---- */

static void reset_is_exact(cellar_rule rule, uint64_t n)
{
    cellar_limiter *l = kit_open1(rule);
    bool existed = true;
    T_CHECK(cellar_limiter_reset(l, "k", 1, &existed) == CELLAR_OK && !existed);
    T_EQ_U64(kit_admit(l, "k", 2 * n + 5), n);
    T_EQ_U64(kit_admit(l, "other", 1), 1);
    T_CHECK(cellar_limiter_reset(l, "k", 1, &existed) == CELLAR_OK && existed);
    T_EQ_U64(kit_admit(l, "k", 2 * n + 5), n);
    existed = false;
    T_CHECK(cellar_limiter_reset(l, NULL, 0, &existed) == CELLAR_OK && existed);
    T_CHECK(cellar_limiter_reset(l, NULL, 0, &existed) == CELLAR_OK && !existed);
    T_EQ_U64(kit_admit(l, "k", 2 * n + 5), n);
    T_EQ_U64(kit_admit(l, "other", 2 * n + 5), n);
    kit_close(l);
}

T_CASE(limit_reset_exact_token_bucket)
{
    reset_is_exact(cellar_rule_token_bucket(10, KIT_S, 5), 5);
}
T_CASE(limit_reset_exact_sliding_log) { reset_is_exact(cellar_rule_sliding_log(9, KIT_S), 9); }
T_CASE(limit_reset_exact_sliding_window)
{
    reset_is_exact(cellar_rule_sliding_window(8, KIT_S), 8);
}
T_CASE(limit_reset_exact_fixed_window)
{
    reset_is_exact(cellar_rule_fixed_window(7, CELLAR_PER_DAY), 7);
}

/* ---- decisions ---- */

T_CASE(result_tells_limit_remaining_and_times)
{
    cellar_limiter *l = kit_open1(cellar_rule_token_bucket(10, KIT_S, 4));
    cellar_limiter_result r;
    T_CHECK(cellar_limiter_check(l, "k", 1, 3, &r) == CELLAR_OK);
    T_CHECK(r.allowed == 1 && r.limit == 10 && r.remaining == 1 && r.retry_after_ns == 0);
    T_EQ_U64(r.reset_after_ns, 300 * KIT_MS);
    T_CHECK(cellar_limiter_check(l, "k", 1, 2, &r) == CELLAR_LIMITED);
    T_CHECK(r.allowed == 0 && r.never == 0 && r.rule == 0);
    T_EQ_U64(r.remaining, 1);
    T_EQ_U64(r.retry_after_ns, 100 * KIT_MS);
    T_CHECK(cellar_limiter_check(l, "k", 1, 5, &r) == CELLAR_LIMITED && r.never == 1);
    T_CHECK(r.remaining == 0 && r.retry_after_ns == CELLAR_NEVER_NS);
    T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.remaining == 0);
    kit_close(l);
}

T_CASE(limit_dry_run)
{
    cellar_rule dry[2] = { cellar_rule_token_bucket(1, KIT_S, 1),
        cellar_rule_token_bucket(3, KIT_S, 3) };
    dry[0].flags |= CELLAR_RULE_DRY_RUN;
    for (uint32_t count = 1; count <= 2; count++) {
        cellar_limiter *l = kit_open(dry, count);
        cellar_limiter_result r;
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.would_deny == 0);
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.would_deny == 1);
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.would_deny == 1);
        const cellar_err last = cellar_limiter_check(l, "k", 1, 1, &r);
        T_CHECK(count == 1 ? last == CELLAR_OK : last == CELLAR_LIMITED && r.rule == 1);
        kit_pass(KIT_S); /* what the dry rule denied it did not charge */
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.would_deny == 0);
        T_EQ_U64(figures(l).would_deny, count == 1 ? 3 : 2);
        kit_close(l);
    }
}

/* What a ban leaves: test_limit_snapshot. */
T_CASE(ban_without_an_end_ends_with_a_reset)
{
    const cellar_rule rules[4] = { cellar_rule_token_bucket(10, KIT_S, 5),
                                   cellar_rule_sliding_log(5, KIT_S),
                                   cellar_rule_sliding_window(5, KIT_S),
                                   cellar_rule_fixed_window(5, CELLAR_PER_DAY) };
    for (int i = 0; i < 4; i++) {
        cellar_limiter *l = kit_open1(rules[i]);
        T_CHECK(cellar_limiter_ban(l, "k", 1, CELLAR_NEVER_NS) == CELLAR_OK); /* saturates */
        T_EQ_U64(kit_admit(l, "k", 5), 0);
        T_CHECK(cellar_limiter_reset(l, "k", 1, NULL) == CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 9), 5);
        kit_close(l);
    }
}

/* ---- giving back ---- */

static void limit_take(cellar_limiter *l, const char *key, uint64_t cost, cellar_limiter_ticket *t)
{
    T_CHECK(cellar_limiter_reserve(l, key, strlen(key), cost, 0, t, NULL, NULL) == CELLAR_OK);
}

/* Several tickets of one key at a time: by one word, and under a lock beside another rule. */
T_CASE(two_tickets_never_mint)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 3),
                                      cellar_rule_sliding_log(1000, KIT_S) };
    for (uint32_t n = 1; n <= 2; n++) {
        cellar_limiter *l = kit_open(rules, n);
        cellar_limiter_ticket a, b;
        limit_take(l, "k", 1, &a);
        limit_take(l, "k", 1, &b);
        kit_pass(50 * KIT_MS); /* half of A is paid: half of it comes back */
        T_CHECK(cellar_limiter_commit(l, &a, 0) == CELLAR_OK);
        kit_pass(50 * KIT_MS);
        T_EQ_U64(kit_admit(l, "k", 1), 1);
        T_CHECK(cellar_limiter_commit(l, &b, 0) == CELLAR_OK);
        /* As if neither had been taken: one of three is gone, and nothing was paid of it. */
        T_EQ_U64(kit_admit(l, "k", 9), 2);
        kit_pass(100 * KIT_MS - 1);
        T_EQ_U64(kit_admit(l, "k", 9), 0);
        kit_close(l);
    }
}

/* Tickets given back in reverse come back whole; a take in between keeps its units. */
T_CASE(tickets_in_reverse_come_back_whole)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                      cellar_rule_sliding_log(1000, KIT_S) };
    for (uint32_t n = 1; n <= 2; n++) {
        cellar_limiter *l = kit_open(rules, n);
        cellar_limiter_ticket t[5];
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 5; i++) { limit_take(l, "k", 2, &t[i]); }
            T_EQ_U64(kit_admit(l, "k", 1), 0);
            for (int i = 5; i-- > 0;) { T_CHECK(cellar_limiter_commit(l, &t[i], 0) == CELLAR_OK); }
        }
        limit_take(l, "k", 4, &t[0]);
        limit_take(l, "k", 4, &t[1]);
        T_EQ_U64(kit_admit(l, "k", 1), 1);
        /* at once, if not the last: all of it */
        T_CHECK(cellar_limiter_commit(l, &t[1], 0) == CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 4), 4);
        /* four came back since, out of order */
        T_CHECK(cellar_limiter_commit(l, &t[0], 0) == CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 9), 1);
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 1, 0, &t[0], NULL, NULL), CELLAR_LIMITED);
        T_EQ_I64(cellar_limiter_commit(l, &t[0], 0), CELLAR_OK); /* nothing was taken */
        T_EQ_U64(kit_admit(l, "k", 9), 0);
        kit_close(l);
    }
}

/* Charges that can be paid: test_limit_oracle. */
T_CASE(charges_saturate)
{
    const cellar_rule rules[4] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                   cellar_rule_sliding_log(4, KIT_S),
                                   cellar_rule_sliding_window(4, KIT_S),
                                   cellar_rule_fixed_window(4, CELLAR_PER_MINUTE) };
    for (int i = 0; i < 4; i++) {
        cellar_limiter *l = kit_open1(rules[i]);
        cellar_limiter_result r;
        T_CHECK(cellar_limiter_adjust(l, "k", 1, 3) == CELLAR_OK);
        T_CHECK(cellar_limiter_adjust(l, "k", 1, INT64_MAX) == CELLAR_OK);
        T_CHECK(kit_look(l, "k", 1, 1, &r) == CELLAR_LIMITED);
        T_CHECK(r.reset_after_ns <= CELLAR_PERIOD_MAX_NS);
        if (i > 0) {
            kit_pass(120 * KIT_S);
            T_EQ_U64(kit_admit(l, "k", 9), 4);
        }
        kit_close(l);
    }
}

/* On the clock of the system. */
T_CASE(wait_returns_immediately_when_it_takes_too_long)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(100, KIT_S, 1),
                                   cellar_rule_sliding_log(1, 10 * KIT_MS) };
    for (int i = 0; i < 2; i++) {
        cellar_limiter *l;
        cellar_limiter_result r;
        T_REQUIRE(cellar_limiter_open(NULL, &rules[i], 1, &l) == CELLAR_OK);
        for (int k = 0; k < 4; k++) {
            T_CHECK(cellar_limiter_wait(l, "k", 1, 1, 60 * KIT_S, NULL) == CELLAR_OK);
        }
        T_CHECK(cellar_limiter_wait(l, "k", 1, 2, KIT_S, NULL) == CELLAR_E_NEVER);
        /* A ban that is shorter is waited for. */
        T_CHECK(cellar_limiter_ban(l, "b", 1, 10 * KIT_MS) == CELLAR_OK);
        T_EQ_I64(cellar_limiter_wait(l, "b", 1, 1, 3600 * KIT_S, &r), CELLAR_OK);
        T_CHECK(r.allowed == 1);
        T_CHECK(cellar_limiter_ban(l, "b", 1, 3600 * KIT_S) == CELLAR_OK);
        T_EQ_I64(cellar_limiter_wait(l, "b", 1, 1, KIT_S, &r), CELLAR_E_TIMEOUT);
        T_EQ_U64(r.rule, CELLAR_RULE_BAN);
        cellar_rule slow = rules[i];
        slow.period_ns = CELLAR_HOUR_NS;
        slow.limit = 1;
        T_CHECK(kit_check_rules(l, "s", 1, 1, &slow, 1, NULL) == CELLAR_OK);
        T_CHECK(cellar_limiter_rules_set(l, NULL, 0, NULL, &slow, 1) == CELLAR_OK);
        T_CHECK(cellar_limiter_wait(l, "s", 1, 1, KIT_MS, NULL) == CELLAR_E_TIMEOUT);
        cellar_limiter_close(l);
    }
}

/* ---- several rules ---- */

T_CASE(limit_multi_rule_atomic)
{
    const cellar_rule rules[4] = { cellar_rule_token_bucket(100, KIT_S, 100),
                                      cellar_rule_sliding_log(5, KIT_S),
                                      cellar_rule_sliding_window(50, KIT_S),
                                      cellar_rule_fixed_window(8, CELLAR_PER_DAY) };
    cellar_limiter *l = kit_open(rules, 4);
    cellar_limiter_result r;
    atomic_store(&kit.now_ns, atomic_load(&kit.now_ns) / KIT_S * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 5), 5);
    for (int i = 0; i < 1000; i++) { /* the log denies; no other rule is charged */
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_LIMITED && r.rule == 1);
        T_EQ_U64(r.limit, 5);
    }
    kit_pass(KIT_S);
    T_EQ_U64(kit_admit(l, "k", 3), 3); /* 8 of the day: now that denies, and longest */
    T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_LIMITED && r.rule == 3);
    T_CHECK(r.remaining == 0 && r.retry_after_ns > KIT_S);
    T_CHECK(cellar_limiter_check(l, "k", 1, 6, &r) == CELLAR_LIMITED && r.never == 1 &&
            r.rule == 1);
    const cellar_limiter_stats s = figures(l);
    T_EQ_U64(s.allowed, 8);
    T_EQ_U64(s.denied_by_rule[1], 1001);
    T_EQ_U64(s.denied_by_rule[3], 1);
    kit_close(l);
}

T_CASE(limit_chain_never_over_in_order)
{
    cellar_limiter *users = kit_open1(cellar_rule_token_bucket(1, KIT_S, 3));
    cellar_limiter *site = kit_open1(cellar_rule_sliding_log(5, KIT_S));
    uint32_t by;
    cellar_limiter_result r;
    for (int i = 0; i < 5; i++) {
        const cellar_limiter_link both[2] = { { users, i < 3 ? "a" : "b", 1, 1 },
            { site, "s", 1, 1 } };
        T_CHECK(cellar_limiter_check_chain(both, 2, &r, &by) == CELLAR_OK && r.allowed == 1);
    }
    const cellar_limiter_link a[2] = { { users, "a", 1, 1 }, { site, "s", 1, 1 } };
    const cellar_limiter_link b[2] = { { users, "b", 1, 1 }, { site, "s", 1, 1 } };
    T_CHECK(cellar_limiter_check_chain(a, 2, &r, &by) == CELLAR_LIMITED && by == 0);
    for (int i = 0; i < 10; i++) { /* the site denies; user b keeps its third */
        T_CHECK(cellar_limiter_check_chain(b, 2, &r, &by) == CELLAR_LIMITED && by == 1);
    }
    T_EQ_U64(kit_admit(users, "b", 5), 1);
    T_CHECK(cellar_limiter_check_chain(NULL, 1, NULL, NULL) == CELLAR_E_INVAL);
    T_CHECK(cellar_limiter_check_chain(a, 0, NULL, NULL) == CELLAR_E_INVAL);
    T_CHECK(cellar_limiter_check_chain(a, 9, NULL, NULL) == CELLAR_E_INVAL);
    kit_close(users);
    kit_close(site);
}

/* Each link alone would pass. */
T_CASE(chain_that_names_a_key_twice_takes_nothing_of_one_unit)
{
    cellar_limiter *l = kit_open1(cellar_rule_sliding_log(1, KIT_S));
    const cellar_limiter_link twice[2] = { { l, "k", 1, 1 }, { l, "k", 1, 1 } };
    uint32_t by = 0;
    T_EQ_I64(cellar_limiter_check_chain(twice, 2, NULL, &by), CELLAR_LIMITED);
    T_EQ_U64(by, 1);
    T_EQ_U64(figures(l).chain_rollbacks, 1);
    T_EQ_U64(kit_admit(l, "k", 5), 1);
    kit_close(l);
}

/* Fault: a chain returned the wait of the peek, without the ban or the charge that its denial made.
 * The call that it named as the next to pass was denied. */
T_CASE(chain_that_denies_names_the_wait_after_its_ban_or_charge)
{
    cellar_rule rules[2] = { cellar_rule_sliding_log(2, KIT_S),
                             cellar_rule_token_bucket(2, KIT_S, 2) };
    rules[0].ban_ns = 100 * KIT_S;
    rules[1].flags = CELLAR_RULE_CHARGE_DENIED;
    for (int i = 0; i < 2; i++) {
        cellar_limiter *chained = kit_open1(rules[i]), *single = kit_open1(rules[i]);
        const cellar_limiter_link link = { chained, "k", 1, 1 };
        cellar_limiter_result a, b;
        for (int n = 0; n < 4; n++) {
            const cellar_err err = cellar_limiter_check(single, "k", 1, 1, &b);
            T_EQ_I64(cellar_limiter_check_chain(&link, 1, &a, NULL), err);
            T_EQ_U64(a.retry_after_ns, b.retry_after_ns);
        }
        kit_close(chained);
        kit_close(single);
    }
}

/* ---- rules that change ---- */

T_CASE(plans_are_a_keys_own_rules)
{
    for (int wide = 0; wide < 2; wide++) {
        const cellar_rule base[2] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                         cellar_rule_token_bucket(1000, KIT_S, 1000) };
        const cellar_rule gold[2] = { cellar_rule_token_bucket(40, KIT_S, 40),
                                         cellar_rule_token_bucket(1000, KIT_S, 1000) };
        cellar_limiter *l = kit_open(base, 1 + (uint32_t)wide);
        const uint32_t n = 1 + (uint32_t)wide;
        T_EQ_U64(kit_admit(l, "k", 5), 5);
        T_CHECK(cellar_limiter_rules_set(l, "k", 1, "gold", NULL, 0) == CELLAR_E_NOT_FOUND);
        T_CHECK(cellar_limiter_rules_set(l, NULL, 0, "gold", gold, n) == CELLAR_OK);
        T_CHECK(cellar_limiter_rules_set(l, "k", 1, "gold", NULL, 0) == CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 100), 20); /* half used stays half used */
        T_EQ_U64(kit_admit(l, "other", 100), 10);
        T_CHECK(cellar_limiter_rules_set(l, NULL, 0, "gold", base, n) == CELLAR_E_BUSY);
        T_CHECK(cellar_limiter_reset(l, "k", 1, NULL) == CELLAR_OK); /* the plan stays */
        T_EQ_U64(kit_admit(l, "k", 100), 40);
        T_CHECK(cellar_limiter_rules_set(l, "k", 1, NULL, NULL, 0) == CELLAR_OK);
        T_CHECK(cellar_limiter_rules_set(l, NULL, 0, "gold", base, n) == CELLAR_OK);
        kit_pass(2 * KIT_S);
        T_EQ_U64(kit_admit(l, "k", 100), 10);
        /* before its first call */
        T_CHECK(cellar_limiter_rules_set(l, "new", 3, NULL, gold, n) == CELLAR_OK);
        T_EQ_U64(kit_admit(l, "new", 100), 40);
        T_EQ_U64(figures(l).overrides, 1);
        T_CHECK(cellar_limiter_rules_set(l, "new", 3, NULL, NULL, 0) == CELLAR_OK);
        T_EQ_U64(figures(l).overrides, 0);
        T_EQ_U64(kit_admit(l, "new", 100), 0);
        kit_close(l);
    }
}

T_CASE(overrides_and_plans_are_bounded)
{
    cellar_limiter_config c = kit_config();
    c.max_overrides = 3;
    c.max_plans = 2;
    const cellar_rule base = cellar_rule_token_bucket(10, KIT_S, 10);
    cellar_rule own = base;
    cellar_limiter *l;
    T_REQUIRE(cellar_limiter_open(&c, &base, 1, &l) == CELLAR_OK);
    for (int i = 0; i < 4; i++) {
        char key[2] = { (char)('a' + i), 0 };
        own.burst = 3;
        T_CHECK(cellar_limiter_rules_set(l, key, 1, NULL, &own, 1) == (i < 3 ? CELLAR_OK :
                                                                     CELLAR_E_LIMIT));
    }
    own.burst = 4;
    T_CHECK(cellar_limiter_rules_set(l, "a", 1, NULL, &own, 1) == CELLAR_OK);
    T_CHECK(cellar_limiter_rules_set(l, "b", 1, "", NULL, 0) == CELLAR_E_INVAL);
    own.burst = 5; /* no plan is free */
    T_CHECK(cellar_limiter_rules_set(l, "b", 1, NULL, &own, 1) == CELLAR_E_LIMIT);
    T_EQ_U64(figures(l).overrides_full, 2);
    kit_close(l);
}

#define LIMITER(fn) T_WITH(fn, cellar_limiter *l, l, kit_open1(cellar_rule_token_bucket(10, KIT_S, 2)), kit_close(l))

T_CASE_ON(check_with_defaults_is_check, LIMITER)
{
    const cellar_check_opts o = cellar_check_opts_default();
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &o, NULL), CELLAR_LIMITED);
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, NULL, NULL), CELLAR_LIMITED);
    cellar_check_opts bad = o;
    bad.flags = 2;
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &bad, NULL), CELLAR_E_UNSUPPORTED);
    bad = o;
    bad.rule_count = 1;
    T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &bad, NULL), CELLAR_E_INVAL);
}

T_CASE(check_with_joins_time_rules_and_peek)
{
    const cellar_rule base[2] = { cellar_rule_token_bucket(10, KIT_S, 2),
                                  cellar_rule_token_bucket(1000, KIT_S, 1000) };
    const cellar_rule big[2] = { cellar_rule_token_bucket(10, KIT_S, 6), base[1] };
    for (uint32_t n = 1; n <= 2; n++) {
        cellar_limiter *l = kit_open(base, n);
        cellar_limiter_result r;
        cellar_check_opts o = { .struct_size = sizeof o, .now_ns = kit_clock(NULL) + 500 * KIT_MS,
                                .flags = CELLAR_CHECK_PEEK, .rules = big, .rule_count = n };
        for (int i = 0; i < 3; i++) { /* no effect */
            T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 5, &o, &r), CELLAR_OK);
            T_EQ_U64(r.remaining, 6);
        }
        o.flags = 0;
        T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 5, &o, &r), CELLAR_OK);
        T_EQ_U64(r.now_ns, o.now_ns);
        T_EQ_U64(r.remaining, 1);
        T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 2, &o, &r), CELLAR_LIMITED);
        T_EQ_U64(r.retry_after_ns, 100 * KIT_MS);
        o.now_ns = 0; /* the clock of the limiter is half a second behind */
        T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &o, &r), CELLAR_LIMITED);
        T_EQ_U64(r.retry_after_ns, 500 * KIT_MS);
        o.now_ns = kit_clock(NULL) + 2 * KIT_S;
        T_EQ_I64(cellar_limiter_check_with(l, "new", 3, 1, &o, NULL), CELLAR_E_CLOCK);
        kit_close(l);
    }
}

/* ---- permits ---- */

T_CASE(permits_end_with_their_hold)
{
    cellar_limiter *l = kit_open1(cellar_rule_concurrency(3));
    uint64_t t[4];
    cellar_limiter_result r;
    for (int i = 0; i < 3; i++) {
        T_CHECK(cellar_permit_acquire(l, "db", 2, 1000 + 100 * i, &t[i], &r) == CELLAR_OK);
        T_EQ_U64(r.remaining, 2 - (uint64_t)i);
    }
    T_CHECK(cellar_permit_acquire(l, "db", 2, 1000, &t[3], &r) == CELLAR_LIMITED);
    T_EQ_U64(r.retry_after_ns, KIT_S);
    T_CHECK(cellar_permit_extend(l, "db", 2, t[0], 5000) == CELLAR_OK);
    kit_pass(1100 * KIT_MS);
    T_CHECK(cellar_permit_release(l, "db", 2, t[1]) == CELLAR_E_NOT_OWNER); /* ended */
    T_CHECK(cellar_permit_extend(l, "db", 2, t[1], 9) == CELLAR_E_NOT_OWNER);
    T_CHECK(cellar_permit_release(l, "db", 2, t[0]) == CELLAR_OK);
    T_CHECK(cellar_permit_release(l, "db", 2, t[0]) == CELLAR_E_NOT_OWNER);
    T_CHECK(cellar_permit_release(l, "other", 5, t[2]) == CELLAR_E_NOT_OWNER);
    T_CHECK(cellar_permit_acquire(l, "db", 2, 1000, &t[0], &r) == CELLAR_OK);
    T_CHECK(cellar_permit_acquire(l, "db", 2, 1000, &t[1], &r) == CELLAR_OK);
    T_CHECK(cellar_permit_acquire(l, "db", 2, 1000, &t[3], &r) == CELLAR_LIMITED);
    T_CHECK(cellar_limiter_check(l, "db", 2, 1, NULL) == CELLAR_E_INVAL);
    T_FIELDS(figures(l), permits, 3, permits_expired, 1);
    kit_close(l);
}

T_CASE(permits_beside_other_rules)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 2),
                                   cellar_rule_concurrency(5) };
    cellar_limiter *l = kit_open(rules, 2);
    uint64_t token;
    for (int i = 0; i < 2; i++) {
        T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
        T_CHECK(cellar_permit_release(l, "k", 1, token) == CELLAR_OK);
    }
    T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_LIMITED); /* the rate */
    kit_close(l);
}

/* Fault: a denied acquire took a slot for a key that it charged nothing. */
T_CASE(denied_permit_of_a_new_key_keeps_what_it_charges)
{
    cellar_rule rules[3] = { cellar_rule_concurrency(5), cellar_rule_token_bucket(0, KIT_S, 1),
                             cellar_rule_token_bucket(1, KIT_S, 5) };
    for (int charges = 0; charges < 2; charges++) {
        cellar_limiter_result r;
        uint64_t token;
        rules[2].flags = charges != 0 ? CELLAR_RULE_CHARGE_DENIED : 0;
        cellar_limiter *l = kit_open(rules, 3);
        for (int i = 0; i < 3; i++) {
            T_EQ_I64(cellar_permit_acquire(l, "k", 1, 1000, &token, &r), CELLAR_LIMITED);
            T_EQ_U64(r.rule, 1);
        }
        T_EQ_U64(figures(l).keys, charges);
        kit_close(l);
    }
}

/* ---- the program this stands in for ---- */

T_CASE(seed_limiter_reset_takes_effect)
{
    /* There: reset deleted a key without the second in it; the user stayed denied. */
    const cellar_limiter_config c = kit_config();
    cellar_limiter *l;
    T_REQUIRE(cellar_user_limiter_open(&c, &l) == CELLAR_OK);
    for (int i = 0; i < 5; i++) {
        T_CHECK(cellar_user_limiter_check(l, "u", 1, 5, 1, NULL) == CELLAR_OK);
    }
    T_CHECK(cellar_user_limiter_check(l, "u", 1, 5, 1, NULL) == CELLAR_LIMITED);
    T_CHECK(cellar_limiter_reset(l, "u", 1, NULL) == CELLAR_OK);
    T_CHECK(cellar_user_limiter_check(l, "u", 1, 5, 1, NULL) == CELLAR_OK);
    T_CHECK(cellar_user_limiter_check(l, "u", 1, 5, 0, NULL) == CELLAR_E_INVAL);
    T_CHECK(cellar_user_limiter_check(l, "u", 1, 257, 1, NULL) == CELLAR_E_RANGE);
    kit_close(l);
}

T_CASE(seed_limiter_no_double_at_second_boundary)
{
    /* There: 10 in the last 30 ms of a second and 10 in the first 30 ms of the next. */
    const cellar_limiter_config c = kit_config();
    cellar_limiter *l;
    T_REQUIRE(cellar_user_limiter_open(&c, &l) == CELLAR_OK);
    atomic_store(&kit.now_ns, atomic_load(&kit.now_ns) / KIT_S * KIT_S + 970 * KIT_MS);
    uint64_t n = 0;
    for (int ms = 0; ms < 60; ms++) {
        for (int i = 0; i < 10; i++) {
            n += cellar_user_limiter_check(l, "u", 1, 10, 1, NULL) == CELLAR_OK;
        }
        kit_pass(KIT_MS);
    }
    T_EQ_U64(n, 10);
    kit_close(l);
}

static cellar_limiter *race;
static atomic_int race_ready, race_passed;
static void *race_one(void *arg)
{
    atomic_fetch_add(&race_ready, 1);
    while (atomic_load(&race_ready) < 16) { sched_yield(); }
    for (int i = 0; i < 3; i++) {
        if (cellar_user_limiter_check(race, arg, 4, 5, 1, NULL) == CELLAR_OK) {
            atomic_fetch_add(&race_passed, 1);
        }
    }
    return NULL;
}
T_CASE(seed_limiter_first_use_race)
{
    /* There: the first sixteen found no counter and all set it to 1. */
    const cellar_limiter_config c = kit_config();
    for (int round = 0; round < 30; round++) {
        pthread_t t[16];
        char user[8];
        snprintf(user, sizeof user, "u%03d", round);
        if (round == 0) { T_REQUIRE(cellar_user_limiter_open(&c, &race) == CELLAR_OK); }
        atomic_store(&race_ready, 0);
        atomic_store(&race_passed, 0);
        for (int i = 0; i < 16; i++) { T_REQUIRE(!pthread_create(&t[i], NULL, race_one, user)); }
        for (int i = 0; i < 16; i++) { pthread_join(t[i], NULL); }
        T_EQ_U64(atomic_load(&race_passed), 5);
    }
    kit_close(race);
}

/* ---- host options ---- */

static void *count_alloc(size_t size, void *ctx) { ++*(int *)ctx; return malloc(size); }
static void count_free(void *block, size_t size, void *ctx)
{
    (void)size;
    --*(int *)ctx;
    free(block);
}

T_CASE(host_gives_name_and_memory)
{
    int blocks = 0;
    cellar_host_config host = { .struct_size = sizeof host, .name = "api", .alloc = count_alloc,
                                .free = count_free, .alloc_ctx = &blocks };
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 2);
    cellar_limiter *l = NULL;
    char text[8192];
    c.host = &host;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_I64(blocks, 1);
    T_EQ_I64(cellar_metrics_write(l, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "{limiter=\"api\",result=\"allowed\"} 0\n") != NULL);
    kit_close(l);
    T_EQ_I64(blocks, 0);
}

/* ---- bad input ---- */

static cellar_err try_open(cellar_rule r)
{
    const cellar_limiter_config c = kit_config();
    cellar_limiter *l = NULL;
    const cellar_err e = cellar_limiter_open(&c, &r, 1, &l);
    T_CHECK((e == CELLAR_OK) == (l != NULL));
    cellar_limiter_close(l);
    return e;
}

T_CASE(calls_without_a_limiter_are_refused)
{
    cellar_limiter_result r;
    cellar_limiter_ticket ticket;
    uint64_t wait_ns = 0;
    bool existed = false;
    cellar_limiter_stats st = cellar_limiter_stats_default();
    const cellar_rule rule = cellar_rule_token_bucket(1, KIT_S, 1);
    REFUSALS("calls without a limiter", INVAL(cellar_limiter_check(NULL, "k", 1, 1, &r)),
             INVAL(cellar_limiter_check_with(NULL, "k", 1, 1, NULL, &r)),
             INVAL(cellar_limiter_wait(NULL, "k", 1, 1, 1, &r)),
             INVAL(cellar_limiter_reserve(NULL, "k", 1, 1, 1, &ticket, &wait_ns, &r)),
             INVAL(cellar_limiter_adjust(NULL, "k", 1, -1)),
             INVAL(cellar_limiter_adjust(NULL, "k", 1, 1)),
             INVAL(cellar_limiter_ban(NULL, "k", 1, 1)),
             INVAL(cellar_limiter_reset(NULL, "k", 1, &existed)),
             INVAL(cellar_limiter_reset(NULL, NULL, 0, NULL)),
             INVAL(cellar_limiter_rules_set(NULL, NULL, 0, NULL, &rule, 1)),
             INVAL(cellar_limiter_stats_get(NULL, &st)), INVAL(cellar_tick(NULL, 0, NULL)),
             INVAL(cellar_user_limiter_open(NULL, NULL)));
    cellar_limiter *l = kit_open1(cellar_rule_token_bucket(10, KIT_S, 5));
    T_EQ_U64(kit_admit(l, "k", 2), 2);
    REFUSALS("calls without a key", /* a lost key is not all */
             INVAL(cellar_limiter_reset(l, NULL, 1, NULL)),
             INVAL(cellar_limiter_reset(l, "", 0, NULL)),
             INVAL(cellar_limiter_rules_set(l, NULL, 1, NULL, &rule, 1)),
             INVAL(cellar_limiter_rules_set(l, NULL, 0, NULL, NULL, 0)),
             INVAL(cellar_limiter_rules_set(l, NULL, 0, "gold", NULL, 0)),
             INVAL(cellar_limiter_rules_set(l, "k", 1, "gold", &rule, 1)));
    T_EQ_U64(kit_admit(l, "k", 9), 3);
    kit_close(l);
    T_EQ_U64(cellar_limiter_now(NULL), 0);
    T_EQ_U64(cellar_limiter_fingerprint(NULL, "k", 1), 0);
    cellar_limiter_close(NULL);
}

/* The values at the bounds. Other refusals, with their texts: test_limit_refusals. */
T_CASE(limit_bad_input)
{
    REFUSALS("rules at their bounds",
             { CELLAR_OK, try_open(cellar_rule_token_bucket(64, 1, 1)) }, /* 64e9 a second */
             { CELLAR_E_RANGE, try_open(cellar_rule_token_bucket(65, 1, 1)) },
             { CELLAR_OK, try_open(cellar_rule_token_bucket(1, CELLAR_PERIOD_MAX_NS, 1)) },
             { CELLAR_E_RANGE, try_open(cellar_rule_token_bucket(1, CELLAR_PERIOD_MAX_NS, 2)) },
             { CELLAR_E_RANGE, try_open(cellar_rule_token_bucket(1, UINT64_MAX, 1)) },
             { CELLAR_OK, try_open(cellar_rule_sliding_log(4096, KIT_S)) },
             INVAL(try_open(cellar_rule_token_bucket_strict(3, KIT_S, 4))),
             INVAL(try_open(cellar_rule_fixed_window(1, (cellar_calendar)0))));
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_DAY_NS, 1);
    cellar_limiter *l = NULL;
    c.coarse_clock = 1;
    c.clock_ns = NULL;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 2), 1);
    cellar_limiter_close(l);
}

T_CASE(bad_keys_and_costs)
{
    static char huge[CELLAR_KEY_MAX + 1];
    const cellar_rule rules[3] = { cellar_rule_token_bucket(10, KIT_S, 5),
        cellar_rule_sliding_log(5, KIT_S),
                                      cellar_rule_fixed_window(5, CELLAR_PER_DAY) };
    for (int i = 0; i < 3; i++) {
        cellar_limiter *l = kit_open1(rules[i]);
        cellar_limiter_result r;
        T_CHECK(cellar_limiter_check(l, huge, sizeof huge, 1, NULL) == CELLAR_E_INVAL);
        T_CHECK(cellar_limiter_check(l, huge, CELLAR_KEY_MAX, 1, NULL) == CELLAR_OK);
        T_CHECK(cellar_limiter_check(l, NULL, 1, 1, NULL) == CELLAR_E_INVAL);
        T_CHECK(cellar_limiter_fingerprint(l, "k", 0) == 0);
        T_CHECK(cellar_limiter_check(l, "k", 1, 6, &r) == CELLAR_LIMITED && r.never == 1);
        T_CHECK(cellar_limiter_check(l, "k", 1, UINT64_MAX, &r) == CELLAR_LIMITED && r.never == 1);
        T_EQ_U64(kit_admit(l, "k", 9), 5); /* no state was changed */
        for (int k = 0; k < 10; k++) { T_CHECK(kit_check(l, "k", 0) == 1); }
        T_CHECK(cellar_permit_release(l, "k", 1, 5) == CELLAR_E_INVAL);
        kit_close(l);
    }
    cellar_rule none = cellar_rule_token_bucket(0, KIT_S, 1); /* limit 0 denies everything */
    cellar_limiter *l = kit_open1(none);
    cellar_limiter_result r;
    T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_LIMITED && r.never == 1);
    T_CHECK(r.retry_after_ns == CELLAR_NEVER_NS && r.remaining == 0);
    T_CHECK(cellar_limiter_ban(l, "k", 1, 5) == CELLAR_OK);
    T_CHECK(cellar_limiter_adjust(l, "k", 1, 5) == CELLAR_OK);
    kit_close(l);
}

T_CASE(clocks_at_their_wraps)
{
    const uint64_t starts[4] = { 0, UINT64_C(4294967295) * KIT_MS - KIT_S,
                                 (UINT64_C(1) << 63) - KIT_S, KIT_S / 2 };
    const uint64_t before = kit_clock(NULL);
    const cellar_rule rules[3] = { cellar_rule_token_bucket(10, KIT_S, 5),
        cellar_rule_sliding_log(5, KIT_S),
                                      cellar_rule_sliding_window(5, KIT_S) };
    for (int i = 0; i < 12; i++) {
        atomic_store(&kit.now_ns, starts[i / 3]);
        cellar_limiter *l = kit_open1(rules[i % 3]);
        uint64_t n = 0;
        for (int step = 0; step < 400; step++) {
            n += kit_admit(l, "k", 5);
            kit_pass(10 * KIT_MS);
        }
        T_CHECK(i % 3 == 0 ? n == 44 || n == 45 : n == 20 || (i % 3 == 2 && n >= 12 && n <= 24));
        kit_close(l);
    }
    atomic_store(&kit.now_ns, before);
}

/* ---- text, figures, walking ---- */

T_CASE(limit_headers)
{
    cellar_rule rules[2] = { cellar_rule_token_bucket(100, 60 * KIT_S, 100),
                                cellar_rule_fixed_window(1000, CELLAR_PER_DAY) };
    rules[1].name = "a \"day\"\\";
    cellar_limiter *l = kit_open(rules, 2);
    cellar_limiter_result r;
    char text[400];
    T_CHECK(cellar_limiter_check(l, "k", 1, 50, &r) == CELLAR_OK);
    const char *ietf = "RateLimit-Policy: \"default\";q=100;w=60, "
                       "\"a \\\"day\\\"\\\\\";q=1000;w=86400"
                       "\r\nRateLimit: \"default\";r=50;t=30\r\n";
    size_t n = 0;
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF | CELLAR_HEADERS_RETRY_AFTER,
                                          text, sizeof text, &n), CELLAR_OK);
    T_EQ_STR(text, ietf);
    T_EQ_U64(n, strlen(ietf));
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF, NULL, 0, &n),
             CELLAR_E_BUFFER);
    T_EQ_U64(n, strlen(ietf));
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF, text, n, NULL),
             CELLAR_E_BUFFER);
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF, text, n + 1, NULL),
             CELLAR_OK);
    T_EQ_STR(text, ietf);
    T_CHECK(cellar_limiter_check(l, "k", 1, 51, &r) == CELLAR_LIMITED);
    r.retry_after_ns = 1; /* rounded up, at least 1 */
    atomic_store(&kit.wall_ms, UINT64_C(1767225600000));
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_DRAFT6 | CELLAR_HEADERS_X |
                                          CELLAR_HEADERS_RETRY_AFTER, text, sizeof text, NULL),
             CELLAR_OK);
    T_EQ_STR(text, "RateLimit-Limit: 100\r\nRateLimit-Remaining: 50\r\nRateLimit-Reset: 30\r\n"
                   "X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 50\r\n"
                   "X-RateLimit-Reset: 1767225630\r\nRetry-After: 1\r\n");
    char small[10];
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_DRAFT6, small, sizeof small, &n),
             CELLAR_E_BUFFER);
    T_EQ_U64(n, 68);
    T_CHECK(cellar_limiter_check(l, "k", 1, 101, &r) == CELLAR_LIMITED && r.never == 1);
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_RETRY_AFTER, text, sizeof text,
                                          &n), CELLAR_OK);
    T_CHECK(n == 0 && text[0] == '\0');
    T_EQ_I64(cellar_limiter_headers_write(l, &r, 16, text, sizeof text, &n), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_limiter_headers_write(NULL, &r, 15, text, sizeof text, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_headers_write(l, NULL, 15, text, sizeof text, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_headers_write(l, &r, 15, NULL, 1, &n), CELLAR_E_INVAL);
    kit_close(l);
}

/* A full bucket has more units than the limit of its period. */
T_CASE(headers_never_say_more_than_the_limit)
{
    const cellar_rule rule = cellar_rule_token_bucket(5, KIT_S, 20);
    const cellar_rule gold = cellar_rule_token_bucket(50, KIT_S, 200);
    cellar_limiter *l = kit_open1(rule);
    cellar_limiter_result r;
    char text[200];
    T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.remaining == 19);
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF | CELLAR_HEADERS_DRAFT6, text,
                                          sizeof text, NULL), CELLAR_OK);
    T_EQ_STR(text, "RateLimit-Policy: \"default\";q=5;w=1\r\nRateLimit: \"default\";r=5;t=1\r\n"
                   "RateLimit-Limit: 5\r\nRateLimit-Remaining: 5\r\nRateLimit-Reset: 1\r\n");
    T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, &gold, 1), CELLAR_OK);
    T_CHECK(cellar_limiter_check(l, "k", 1, 1, &r) == CELLAR_OK && r.remaining > 50);
    T_EQ_I64(cellar_limiter_headers_write(l, &r, CELLAR_HEADERS_IETF, text, sizeof text, NULL),
             CELLAR_OK);
    T_EQ_STR(text, "RateLimit-Policy: \"default\";q=50;w=1\r\n"
                   "RateLimit: \"default\";r=50;t=1\r\n");
    kit_close(l);
}

T_CASE_ON(metrics_name_every_figure, LIMITER)
{
    char text[8192];
    T_EQ_U64(kit_admit(l, "k", 5), 2);
    size_t n = 0, again = 0;
    T_EQ_I64(cellar_metrics_write(l, text, sizeof text, &n), CELLAR_OK);
    T_CHECK(n > 0 && n == strlen(text));
    T_CHECK(strstr(text, "cellar_limiter_decisions_total{limiter=\"default\","
                         "result=\"allowed\"} 2\n"));
    T_CHECK(strstr(text, "cellar_limiter_decisions_total{limiter=\"default\","
                         "result=\"denied\"} 3\n"));
    T_CHECK(strstr(text, "cellar_limiter_denied_total{limiter=\"default\",number=\"0\","
                         "rule=\"default\"} 3\n"));
    static char json[16384];
    T_EQ_I64(cellar_stats_json(l, json, sizeof json, NULL), CELLAR_OK);
    metrics_are_the_same(text, json);
    T_EQ_I64(cellar_stats_json(NULL, json, sizeof json, NULL), CELLAR_E_INVAL);
#define NAMED(id, family, label, shown) \
    T_CHECK(*family == '\0' || strstr(text, "# TYPE " family " ") != NULL);
    STATS_LIMITERS(NAMED)
#undef NAMED
    T_EQ_I64(cellar_metrics_write(l, NULL, 0, &again), CELLAR_E_BUFFER);
    T_EQ_U64(again, n);
    T_EQ_I64(cellar_metrics_write(l, NULL, 1, &again), CELLAR_E_INVAL);
    T_EQ_I64(cellar_metrics_write(NULL, text, sizeof text, NULL), CELLAR_E_INVAL);
}

static struct { uint64_t fp; uint32_t seen; cellar_limiter_entry e; } walk;
static bool walk_one(const cellar_limiter_entry *e, void *ctx)
{
    (void)ctx;
    walk.seen++;
    if (e->fingerprint == walk.fp) { walk.e = *e; }
    return true;
}
static bool walk_three(const cellar_limiter_entry *e, void *ctx)
{
    (void)e;
    return ++*(uint32_t *)ctx < 3;
}
T_CASE(scan_shows_every_key_until_told_to_end)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                      cellar_rule_sliding_log(20, KIT_S) };
    for (uint32_t n = 1; n <= 2; n++) {
        cellar_limiter *l = kit_open(rules, n);
        memset(&walk, 0, sizeof walk);
        for (int i = 0; i < 100; i++) {
            char key[8];
            snprintf(key, sizeof key, "k%d", i);
            T_EQ_U64(kit_admit(l, key, 3), 3);
        }
        walk.fp = cellar_limiter_fingerprint(l, "k7", 2);
        T_CHECK(cellar_limiter_scan(l, walk_one, NULL) == CELLAR_OK);
        T_EQ_U64(walk.seen, 100);
        T_EQ_U64(walk.e.remaining[0], 7);
        T_EQ_U64(walk.e.reset_after_ns[0], 300 * KIT_MS);
        if (n == 2) { T_EQ_U64(walk.e.remaining[1], 17); }
        uint32_t three = 0;
        T_CHECK(cellar_limiter_scan(l, walk_three, &three) == CELLAR_OK);
        T_EQ_U64(three, 3);
        T_CHECK(cellar_limiter_scan(l, NULL, NULL) == CELLAR_E_INVAL);
        kit_close(l);
    }
}

/* ---- each call on a key in each state ---- */

/* Every form of limiter x every state x every call. The result starts full of 0xa5 and must be
 * complete afterwards. A sanitizer sees reads of values that no rule wrote: an undefined bool shows
 * as a trap of UBSan, any other value under valgrind or MSan. */
enum { FORMS = 8, STATES = 8, CALLS = 18 };

typedef struct form {
    cellar_rule rule[3];
    uint32_t count;
    bool permits;
} form;

static form form_of(int number)
{
    form f = { { cellar_rule_token_bucket(10, KIT_S, 5), cellar_rule_sliding_log(4, KIT_S),
                 cellar_rule_concurrency(2) }, 1, false };
    switch (number) {
    case 0: break;
    case 1: f.rule[0] = cellar_rule_sliding_window(5, KIT_S); break;
    case 2: f.rule[0] = cellar_rule_fixed_window(5, CELLAR_PER_DAY); break;
    case 3: f.rule[0] = cellar_rule_sliding_log(5, KIT_S); break;
    case 4: f.count = 2; break;
    case 5: f.rule[0] = cellar_rule_concurrency(2); f.permits = true; break;
    case 6: f.count = 3; f.permits = true; break;
    default: /* each denial bans */
        f.count = 3;
        f.permits = true;
        f.rule[0].ban_ns = f.rule[1].ban_ns = KIT_S;
        f.rule[0].flags |= CELLAR_RULE_CHARGE_DENIED;
    }
    return f;
}

/* Bring the key "k" into a state. Return whether it is banned then. */
static bool reach(cellar_limiter *l, const form *f, int state)
{
    uint64_t token;
    const bool used = state != 0, banned = state == 2 || state == 4 || state >= 5;
    const bool planned = state == 3 || state == 4 || state == 7;
    if (used && f->permits) {
        T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    } else if (used) {
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, NULL) == CELLAR_OK);
    }
    if (planned) {
        T_CHECK(cellar_limiter_rules_set(l, "k", 1, NULL, f->rule, f->count) == CELLAR_OK);
    }
    if (banned) { T_CHECK(cellar_limiter_ban(l, "k", 1, 10 * KIT_S) == CELLAR_OK); }
    if (state == 5 || state == 7) { T_CHECK(cellar_limiter_reset(l, "k", 1, NULL) == CELLAR_OK); }
    if (state == 6) { T_CHECK(cellar_limiter_reset(l, NULL, 0, NULL) == CELLAR_OK); }
    return state == 2 || state == 4;
}

/* Check that every field of a result was written. */
static bool is_complete(const form *f, const cellar_limiter_result *r, cellar_err err, bool banned)
{
    const bool admitted = err == CELLAR_OK;
    bool ok = r->allowed == admitted && r->would_deny == 0 && r->never == 0;
    ok = ok && r->now_ns == kit_clock(NULL) && r->limit <= 10 && r->remaining <= 5;
    ok = ok && r->reset_after_ns <= CELLAR_DAY_NS;
    if (!banned) { return ok && r->rule < f->count && admitted && r->retry_after_ns == 0; }
    ok = ok && !admitted && r->retry_after_ns == 10 * KIT_S;
    return ok && r->rule == CELLAR_RULE_BAN;
}

static bool count_entry(const cellar_limiter_entry *e, void *ctx)
{
    *(uint64_t *)ctx += e->rule_count >= 1 && e->rule_count <= 3 && e->overridden <= 1;
    return true;
}

/* The calls that fill a result; E_INVAL: this form of limiter has no such call. */
static cellar_err decide(cellar_limiter *l, const form *f, int call, cellar_limiter_result *r)
{
    const cellar_limiter_link link = { l, "k", 1, 1 };
    cellar_limiter_ticket t;
    uint64_t token, wait_ns;
    switch (call) {
    case 0: return cellar_limiter_check(l, "k", 1, 1, r);
    case 1: return kit_check_at(l, "k", 1, 1, kit_clock(NULL), r);
    case 2: return kit_check_rules(l, "k", 1, 1, f->rule, f->count, r);
    case 3: return kit_look(l, "k", 1, 1, r);
    case 4: return cellar_limiter_check_chain(&link, 1, r, NULL);
    case 5: return cellar_limiter_reserve(l, "k", 1, 1, 0, &t, &wait_ns, r);
    case 6: return cellar_limiter_wait(l, "k", 1, 1, 0, r);
    default: return cellar_permit_acquire(l, "k", 1, 1000, &token, r);
    }
}

/* The calls without a result. */
static void act(cellar_limiter *l, const form *f, int call)
{
    uint64_t seen = 0;
    cellar_limiter_stats s = cellar_limiter_stats_default();
    const cellar_err mine = f->permits ? CELLAR_E_NOT_OWNER : CELLAR_E_INVAL;
    switch (call) {
    case 8: T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -2), CELLAR_OK); break;
    case 9: T_EQ_I64(cellar_limiter_adjust(l, "k", 1, 2), CELLAR_OK); break;
    case 10: T_EQ_I64(cellar_limiter_ban(l, "k", 1, KIT_S), CELLAR_OK); break;
    case 11: T_EQ_I64(cellar_permit_release(l, "k", 1, 99), mine); break;
    case 12: T_EQ_I64(cellar_permit_extend(l, "k", 1, 99, 5), mine); break;
    case 13: T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, f->rule, f->count), CELLAR_OK);
        break;
    case 14: T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, f->rule, f->count), CELLAR_OK);
        break;
    case 15: T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, NULL, 0), CELLAR_OK); break;
    case 16: T_EQ_I64(cellar_limiter_reset(l, "k", 1, NULL), CELLAR_OK); break;
    default: T_EQ_I64(cellar_tick(l, 0, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_limiter_scan(l, count_entry, &seen), CELLAR_OK);
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    T_CHECK(seen == s.keys);
}

static void one_call(const form *f, int state, int call)
{
    cellar_limiter *l = kit_open(f->rule, f->count);
    const bool banned = reach(l, f, state);
    if (call >= 8) {
        act(l, f, call);
        kit_close(l);
        return;
    }
    cellar_limiter_result r;
    char text[400];
    memset(&r, 0xa5, sizeof r);
    const cellar_err err = decide(l, f, call, &r);
    if (call != 3 && (call == 7) != f->permits) {
        T_EQ_I64(err, CELLAR_E_INVAL);
    } else {
        const cellar_err no = call == 6 ? CELLAR_E_TIMEOUT : CELLAR_LIMITED;
        T_EQ_I64(err, banned ? no : CELLAR_OK);
        T_CHECK(is_complete(f, &r, err, banned));
        T_EQ_I64(cellar_limiter_headers_write(l, &r, 15, text, sizeof text, NULL), CELLAR_OK);
    }
    kit_close(l);
}

T_ALONE(each_call_answers_for_a_key_in_each_state)
{
    for (int n = 0; n < FORMS; n++) {
        const form f = form_of(n);
        for (int state = 0; state < STATES; state++) {
            for (int call = 0; call < CALLS; call++) {
                if (t_failed()) { return; }
                one_call(&f, state, call);
                if (t_failed()) {
                    printf("# form %d, state %d, call %d\n", n, state, call);
                }
            }
        }
    }
}

/* A ban that a permit met is not longer afterwards, and writes nothing else. */
T_ALONE(permit_of_a_banned_key_changes_nothing)
{
    const form f = form_of(7);
    cellar_limiter *l = kit_open(f.rule, f.count);
    cellar_limiter_result r;
    uint64_t token;
    T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    T_CHECK(cellar_limiter_ban(l, "k", 1, KIT_S / 2) == CELLAR_OK);
    for (int i = 0; i < 20; i++) {
        T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, &r) == CELLAR_LIMITED);
        T_CHECK(r.rule == CELLAR_RULE_BAN && r.retry_after_ns == KIT_S / 2 && token == 0);
    }
    kit_pass(KIT_S / 2);
    T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    kit_close(l);
}

T_MAIN("cellar_limit_calls")
