/* SPDX-License-Identifier: MIT
 *
 * Aim:    A breaker opens exactly when its rule says so, admits one probe at a time, backs off, and
 *         closes again.
 * Method: Time is an argument. */
#include "tests/support/t.h"

#include "breaker/breaker.h"

static const breaker_rule rule = { 50, 20, 5, 3, 5000, 60000 };

static breaker fresh(int64_t now)
{
    breaker b;
    memset(&b, 0, sizeof b);
    breaker_init(&b, &rule, now);
    return b;
}

static breaker_change call(breaker *b, breaker_outcome how, int64_t now)
{
    uint32_t pass;
    T_CHECK(breaker_admit(b, now, &pass));
    return breaker_report(b, pass, how, now);
}

static bool refused(breaker *b, int64_t now)
{
    uint32_t pass;
    return !breaker_admit(b, now, &pass);
}

/* Return a breaker opened at `now`; the result is the time when the first probe may pass. */
static int64_t opened(breaker *b, int64_t now)
{
    for (int i = 0; i < 4; i++) { T_EQ_U64(call(b, BREAKER_FAILED, now), BREAKER_SAME); }
    T_EQ_U64(call(b, BREAKER_FAILED, now), BREAKER_OPENED);
    T_EQ_U64(breaker_state_of(b), BREAKER_OPEN);
    return now + breaker_wait_ms(b, now);
}

T_CASE(breaker_opens_after_failures_in_a_row)
{
    breaker b = fresh(100);
    for (int i = 0; i < 4; i++) { call(&b, BREAKER_FAILED, 200); }
    call(&b, BREAKER_WORKED, 200);
    const int64_t until = opened(&b, 300);
    T_CHECK(until > 300 && until <= 300 + 5000);
    T_CHECK(refused(&b, 300));
    T_CHECK(refused(&b, until - 1));
    T_CHECK(!refused(&b, until));
    T_CHECK(refused(&b, until)); /* that was the only probe */
    T_EQ_U64(base_load_rlx(&b.opens), 1);
    T_EQ_U64(base_load_rlx(&b.rejects), 3);
}

T_CASE(breaker_opens_at_half_of_twenty_in_ten_seconds)
{
    breaker b = fresh(0);
    for (int i = 0; i < 9; i++) { /* 18 calls, half of them failed: too few to judge */
        T_EQ_U64(call(&b, BREAKER_WORKED, 1000 * i), BREAKER_SAME);
        T_EQ_U64(call(&b, BREAKER_FAILED, 1000 * i), BREAKER_SAME);
    }
    T_EQ_U64(call(&b, BREAKER_WORKED, 9000), BREAKER_SAME);
    T_EQ_U64(call(&b, BREAKER_FAILED, 9000), BREAKER_OPENED);
    b = fresh(0);
    for (int i = 0; i < 9; i++) {
        call(&b, BREAKER_WORKED, 1000 * i);
        call(&b, BREAKER_FAILED, 1000 * i);
    }
    call(&b, BREAKER_WORKED, 10000); /* the first second has left the window */
    T_EQ_U64(call(&b, BREAKER_FAILED, 10000), BREAKER_SAME);
    b = fresh(0);
    for (int i = 0; i < 1000; i++) { /* 40 % */
        T_EQ_U64(call(&b, i % 5 < 2 ? BREAKER_FAILED : BREAKER_WORKED, i), BREAKER_SAME);
    }
    T_EQ_U64(breaker_state_of(&b), BREAKER_CLOSED);
}

/* Two seconds: a count that runs into the word of the second changes an even second only. */
T_CASE(breaker_stays_closed_beside_a_million_calls_that_worked)
{
    for (int64_t second = 2; second < 4; second++) {
        breaker b = fresh(0);
        for (uint32_t i = 0; i < 1u << 20; i++) { call(&b, BREAKER_WORKED, second * 1000); }
        for (uint32_t i = 0; i < 100; i++) {
            T_EQ_U64(call(&b, i % 3 == 0 ? BREAKER_WORKED : BREAKER_FAILED, second * 1000),
                     BREAKER_SAME);
        }
        T_EQ_U64(breaker_state_of(&b), BREAKER_CLOSED);
    }
}

T_CASE(breaker_ignores_calls_without_verdict)
{
    breaker b = fresh(0);
    for (int i = 0; i < 100; i++) { call(&b, BREAKER_SAID_NOTHING, 10); }
    T_EQ_U64(base_load_rlx(&b.calls), 0);
    const int64_t until = opened(&b, 20);
    T_EQ_U64(call(&b, BREAKER_SAID_NOTHING, until), BREAKER_SAME); /* its slot was returned */
    T_EQ_U64(call(&b, BREAKER_SAID_NOTHING, until), BREAKER_SAME);
    T_EQ_U64(breaker_state_of(&b), BREAKER_HALF_OPEN);
}

T_CASE(breaker_three_probes_close_it)
{
    breaker b = fresh(0);
    const int64_t until = opened(&b, 0);
    T_EQ_U64(call(&b, BREAKER_WORKED, until), BREAKER_SAME);
    T_EQ_U64(call(&b, BREAKER_WORKED, until), BREAKER_SAME);
    T_EQ_U64(call(&b, BREAKER_WORKED, until), BREAKER_CLOSED_AGAIN);
    for (int i = 0; i < 4; i++) { T_EQ_U64(call(&b, BREAKER_FAILED, until), BREAKER_SAME); }
    T_EQ_U64(breaker_state_of(&b), BREAKER_CLOSED); /* earlier failures are forgotten */
}

T_CASE(breaker_a_failed_probe_doubles_the_time)
{
    int64_t longest[8] = { 0 }, shortest = 60000;
    for (int round = 0; round < 300; round++) {
        breaker b = fresh(0);
        int64_t now = opened(&b, 0);
        for (int i = 0; i < 8; i++) {
            T_EQ_U64(call(&b, BREAKER_FAILED, now), BREAKER_OPENED);
            const int64_t stays = breaker_wait_ms(&b, now);
            T_CHECK(stays >= 1 && stays <= (i < 3 ? 10000 << i : 60000));
            if (stays > longest[i]) { longest[i] = stays; }
            if (stays < shortest) { shortest = stays; }
            now += stays;
        }
    }
    T_CHECK(longest[0] > 9000 && longest[1] > 18000 && longest[2] > 36000 && longest[7] > 54000);
    T_CHECK(shortest < 1000); /* full jitter */
}

T_CASE(breaker_ignores_late_reports)
{
    breaker b = fresh(0);
    uint32_t before, probe, other;
    T_CHECK(breaker_admit(&b, 0, &before));
    int64_t until = opened(&b, 0);
    T_EQ_U64(breaker_report(&b, before, BREAKER_FAILED, 1), BREAKER_SAME);
    T_EQ_I64(breaker_wait_ms(&b, 0), until);
    T_CHECK(breaker_admit(&b, until, &probe)); /* never reported in time */
    T_CHECK(refused(&b, until + 59999));
    T_CHECK(breaker_admit(&b, until + 60000, &other));
    T_EQ_U64(breaker_report(&b, probe, BREAKER_FAILED, until + 60001), BREAKER_SAME);
    T_EQ_U64(breaker_state_of(&b), BREAKER_HALF_OPEN);
    T_EQ_U64(breaker_report(&b, other, BREAKER_WORKED, until + 60002), BREAKER_SAME);
    /* a second report */
    T_EQ_U64(breaker_report(&b, other, BREAKER_FAILED, until + 60002), BREAKER_SAME);
    T_EQ_U64(breaker_state_of(&b), BREAKER_HALF_OPEN);
    breaker_reset(&b);
    T_EQ_U64(breaker_state_of(&b), BREAKER_CLOSED);
    T_CHECK(!refused(&b, 0));
}

T_CASE(breaker_options_are_checked)
{
    breaker_rule r = rule;
    T_CHECK(breaker_rule_ok(&r));
    const breaker_rule bad[] = {
        { 0, 20, 5, 3, 5000, 60000 },  { 101, 20, 5, 3, 5000, 60000 },
        { 50, 0, 5, 3, 5000, 60000 },  { 50, 20, 0, 3, 5000, 60000 },
        { 50, 20, 64, 3, 5000, 60000 }, { 50, 20, 5, 0, 5000, 60000 },
        { 50, 20, 5, 16, 5000, 60000 }, { 50, 20, 5, 3, 0, 60000 },
        { 50, 20, 5, 3, 5000, 4999 },  { 50, 20, 5, 3, 5000, INT64_MAX },
        { 50, 1000001, 5, 3, 5000, 60000 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) { T_CHECK(!breaker_rule_ok(&bad[i])); }
    breaker b = fresh(INT64_MAX - 5); /* clocks may start anywhere and may be read slightly late */
    T_CHECK(!refused(&b, 0));
}

T_MAIN("breaker")
