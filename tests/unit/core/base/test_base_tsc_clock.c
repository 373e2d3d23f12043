/* SPDX-License-Identifier: MIT
 *
 * Aim:    the quick clock follows CLOCK_MONOTONIC for any counter: rates, restarts, jumps, a long
 *         pause, many threads. Without a trusted counter it is the clock itself.
 * Method: base/tsc_clock.c over a counter and a clock that the test sets, each reading costing
 *         time; then the real ones compared. */
#include <pthread.h>

#include "base/clock.h"
#include "tests/support/t.h"

/* The forged pair: the counter moves by `per_us` counts per microsecond of the clock. */
static struct {
    uint64_t count, part, ns, per_us, cost_ns; /* part: thousandths of a count */
    bool trusted;
} forged;

static void pass_ns(uint64_t ns)
{
    forged.ns += ns;
    forged.part += ns % 1000 * forged.per_us;
    forged.count += ns / 1000 * forged.per_us + forged.part / 1000;
    forged.part %= 1000;
}
static uint64_t forged_counter(void) { pass_ns(forged.cost_ns); return forged.count; }
static uint64_t forged_now_ns(void) { pass_ns(forged.cost_ns); return forged.ns; }

#undef BASE_COUNTER
#define BASE_COUNTER() forged_counter()
#define base_now_ns() forged_now_ns()
#define base_counter_trusted() (forged.trusted)
#define base_tsc_ns forged_quick_ns
uint64_t forged_quick_ns(void);
#include "base/tsc_clock.c"
#undef base_tsc_ns
#undef base_now_ns

static void forge(uint64_t per_us)
{
    memset(&base_line, 0, sizeof base_line);
    forged.count = UINT64_C(123456789012);
    forged.ns = UINT64_C(1000000000000);
    forged.per_us = per_us;
    forged.cost_ns = 20;
    forged.trusted = true;
}

/* Return the distance of the quick clock from the clock in ns; positive: ahead. */
static int64_t off(void)
{
    const uint64_t quick = forged_quick_ns();
    return (int64_t)(quick - forged.ns);
}
static bool near(int64_t most_ns)
{
    const int64_t d = off();
    if (d <= most_ns && d >= -most_ns) { return true; }
    printf("# off by %" PRId64 " ns\n", d);
    return false;
}

T_CASE(quick_clock_follows_the_clock_at_any_rate)
{
    static const uint64_t rates[] = { 24, 100, 1000, 2400, 3999, 5500 }; /* 24 MHz to 5.5 GHz */
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        forge(rates[r]);
        uint64_t last = 0, rng = t_seed();
        for (int i = 0; i < 100000; i++) {
            rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
            pass_ns((rng >> 40) % (i % 1000 == 0 ? 30000000 : 200000));
            const uint64_t now = forged_quick_ns();
            /* In one thread, with a steady counter, it goes back by at most the bend of the
             * line. */
            T_CHECK(now + 2000 >= last);
            last = now;
            const bool early = forged.ns < UINT64_C(1001300000000); /* the first 1.3 s */
            if (!T_CHECK(near(early ? 30000 : 3000))) {
                printf("# rate %" PRIu64 ", %d\n", rates[r], i);
                return;
            }
        }
    }
}

T_CASE(quick_clock_after_a_pause_is_near_the_clock)
{
    forge(2400);
    (void)forged_quick_ns();
    for (uint64_t pause = 1000; pause < UINT64_C(400) * 86400 * 1000000000; pause = pause * 7 / 2) {
        pass_ns(pause);
        T_CHECK(near(30000));
        pass_ns(1000000);
        if (!T_CHECK(near(30000))) { printf("# pause %" PRIu64 "\n", pause); }
    }
}

/* Follow the clock for `steps` of 10 ms. The line is measured again within 12 of them. */
static bool settles(int steps)
{
    for (int i = 0; i < steps; i++) {
        pass_ns(10000000);
        const int64_t d = off();
        const bool right = d < 30000 && d > -30000;
        if (!T_CHECK(d < 60000000 && d > -60000000 && (i < 12 || right))) {
            printf("# step %d: %" PRId64 "\n", i, d);
            return false;
        }
    }
    return true;
}

/* After a restart (suspend), a step back or a jump ahead of the counter, the line is measured again
 * at the end of the stretch at the latest. */
T_CASE(restart_or_jump_of_counter_ends_with_the_stretch)
{
    static const int64_t leaps[] = { INT64_MIN, -1000000000, -1, 1, 100000000, 2300000000,
                                     INT64_C(2300000000) * 3600 };
    for (size_t k = 0; k < sizeof leaps / sizeof leaps[0]; k++) {
        for (int warm = 1; warm < 200; warm += 30) {
            forge(2400);
            for (int i = 0; i < warm; i++) {
                pass_ns(20000000);
                (void)forged_quick_ns();
            }
            if (leaps[k] == INT64_MIN) { forged.count = 5000; }
            else { forged.count += (uint64_t)leaps[k]; }
            if (!settles(200)) {
                printf("# leap %zu warm %d\n", k, warm);
                return;
            }
        }
    }
}

/* The rate changes when a virtual machine migrates. */
T_CASE(changed_counter_rate_is_measured_again)
{
    forge(2400);
    for (int i = 0; i < 100; i++) {
        pass_ns(20000000);
        (void)forged_quick_ns();
    }
    forged.per_us = 3000;
    (void)settles(500);
}

/* Also a reader that arrives while another thread lays the line: it does not wait. */
T_CASE(untrusted_counter_or_a_new_line_reads_the_clock)
{
    for (unsigned laid = 0; laid < 2; laid++) {
        forge(2400);
        forged.trusted = laid != 0;
        (void)forged_quick_ns();
        base_store_rlx(&base_line.seq, base_load_rlx(&base_line.seq) + laid);
        for (int i = 0; i < 100; i++) {
            pass_ns(1000000);
            const uint64_t quick = forged_quick_ns();
            T_EQ_U64(quick, forged.ns);
        }
        T_CHECK(laid != 0 || base_load_rlx(&base_line.slope) == 0);
    }
}

/* ---- the real clock ---- */

extern uint64_t base_now_ns(void);
extern uint64_t base_tsc_ns(void);

static _Atomic uint64_t far_off;

static void *look(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200000; i++) {
        const uint64_t before = base_now_ns(), quick = base_tsc_ns(), after = base_now_ns();
        /* After a pause between two readings only their order is certain. */
        atomic_fetch_add(&far_off, quick + 200000 < before || quick > after + 200000);
    }
    return NULL;
}

T_CASE(threads_read_values_near_the_clock)
{
    uint64_t least = UINT64_MAX;
    /* A pause of the host during a pair spoils one stretch of the line, not every round. */
    for (int round = 0; round < 50 && least >= 80000; round++) {
        pthread_t t[4];
        atomic_store(&far_off, 0);
        for (int i = 0; i < 4; i++) { T_REQUIRE(pthread_create(&t[i], NULL, look, NULL) == 0); }
        for (int i = 0; i < 4; i++) { pthread_join(t[i], NULL); }
        least = atomic_load(&far_off) < least ? atomic_load(&far_off) : least;
    }
    T_CHECK(least < 80000);
}

T_MAIN("base_tsc_clock")
