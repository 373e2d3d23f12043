/* SPDX-License-Identifier: MIT
 *
 * Aim:    a deadline is judged exactly although the cheap clock lags, with as few readings as said.
 * Method: clocks the test turns, at every offset and lag; the system's clocks against each
 * other. */
#include "tests/t.h"

#include "base/clock.h"
#include "base/num.h"
#include "base/sync.h"

static struct { int64_t now, lag; int precise_reads, coarse_reads; } fake;

static int64_t precise(void *ctx)
{
    T_CHECK(ctx == &fake);
    fake.precise_reads++;
    return fake.now;
}
static int64_t coarse(void *ctx)
{
    T_CHECK(ctx == &fake);
    fake.coarse_reads++;
    return fake.now - fake.lag;
}
static const base_clock clock_ = { precise, coarse, &fake };

static void exact_at_every_offset_and_lag(void)
{
    for (int64_t lag = 0; lag <= BASE_COARSE_LAG_MS; lag++) {
        for (int64_t off = -50; off <= 50; off++) {
            fake.now = 5000000;
            fake.lag = lag;
            fake.precise_reads = fake.coarse_reads = 0;
            bool reached = base_clock_reached(&clock_, fake.now + off);
            T_CHECK(reached == (off <= 0));
            T_EQ_I64(fake.coarse_reads, 1);
            bool sure = off <= -lag || off + lag > BASE_COARSE_LAG_MS;
            T_EQ_I64(fake.precise_reads, sure ? 0 : 1);
        }
    }
}

static void extremes(void)
{
    fake.now = 1000;
    fake.lag = 0;
    fake.precise_reads = fake.coarse_reads = 0;
    T_CHECK(!base_clock_reached(&clock_, BASE_NEVER_MS));
    T_EQ_I64(fake.coarse_reads + fake.precise_reads, 0);
    T_CHECK(base_clock_reached(&clock_, INT64_MIN));
    T_CHECK(base_clock_reached(&clock_, -1));
    T_CHECK(!base_clock_reached(&clock_, INT64_MAX - 1));
    fake.now = INT64_MAX - 3; /* coarse + lag saturates */
    T_CHECK(!base_clock_reached(&clock_, INT64_MAX - 1));
    T_CHECK(base_clock_reached(&clock_, INT64_MAX - 3));
    fake.now = INT64_MIN + 5;
    T_CHECK(!base_clock_reached(&clock_, 0));
}

/* A loaded machine may stop this thread between two readings: only the order is certain then. */
static void system_clocks_agree(void)
{
    static const base_clock system = { NULL, NULL, NULL };
    int64_t last_coarse = INT64_MIN, last_precise = INT64_MIN;
    uint64_t late = 0;
    for (int i = 0; i < 200000; i++) {
        int64_t before = base_now_ms(&system);
        int64_t c = base_coarse_ms(&system);
        int64_t after = base_now_ms(&system);
        T_CHECK(c <= after);
        T_CHECK(c >= last_coarse && before >= last_precise);
        late += c + BASE_COARSE_LAG_MS < before;
        last_coarse = c;
        last_precise = before;
        if (t_failed()) { return; }
    }
    T_CHECK(late < 2000); /* the tick itself may be late for a moment on a virtual machine */
}

static void suspend_is_seen_with_the_next_tick(void)
{
    static const base_clock system = { NULL, NULL, NULL };
    (void)base_coarse_ms(&system);
    base_self_t *self = base_self();
    int64_t before = self->boot_offset_ms;
    /* As if the offset had been measured before a sleep of an hour: it comes back by itself. */
    self->boot_offset_ms = before - 3600000;
    self->coarse_ns = -1;
    int64_t c = base_coarse_ms(&system);
    T_CHECK(self->boot_offset_ms >= before);
    T_CHECK(base_now_ms(&system) - c < 1000);
}

static void durations_and_wall(void)
{
    uint64_t a = base_now_ns(), cpu = base_thread_cpu_ns();
    base_sleep_ns(3000000);
    T_CHECK(base_now_ns() - a >= 3000000);
    T_CHECK(base_thread_cpu_ns() >= cpu);
    int64_t wall = base_wall_ms();
    T_CHECK(wall / 1000 - (int64_t)time(NULL) <= 1 && (int64_t)time(NULL) - wall / 1000 <= 1);
}

T_MAIN("base_clock", T_CASE(exact_at_every_offset_and_lag), T_CASE(extremes),
       T_CASE(system_clocks_agree), T_CASE(suspend_is_seen_with_the_next_tick),
       T_CASE(durations_and_wall))
