/* SPDX-License-Identifier: MIT
 *
 * Aim:    a deadline is decided exactly although the cheap clock lags, with the promised number of
 *         readings.
 * Method: a clock that the test sets, at every offset and lag; system clocks compared with each
 *         other. */
#include "tests/support/t.h"

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

T_CASE(deadline_is_exact_at_every_offset_and_lag)
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

T_CASE(extreme_deadlines_and_times_are_decided)
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

static const base_clock host = { NULL, NULL, NULL };

/* Count the coarse readings of 200,000 that lag by more than the bound. A loaded machine may stop
 * this thread between two readings: then only their order is certain. */
static uint64_t late_readings(void)
{
    int64_t last_coarse = INT64_MIN, last_precise = INT64_MIN;
    uint64_t late = 0;
    for (int i = 0; i < 200000; i++) {
        int64_t before = base_now_ms(&host);
        int64_t c = base_coarse_ms(&host);
        int64_t after = base_now_ms(&host);
        T_CHECK(c <= after);
        T_CHECK(c >= last_coarse && before >= last_precise);
        late += c + BASE_COARSE_LAG_MS < before;
        last_coarse = c;
        last_precise = before;
        if (t_failed()) { break; }
    }
    return late;
}

/* Repeat the readings: the tick of a virtual machine may be late for a while, but not always. */
T_CASE(coarse_and_precise_system_clocks_agree)
{
    uint64_t late = UINT64_MAX;
    for (int i = 0; i < 200 && late >= 2000 && !t_failed(); i++) { late = late_readings(); }
    T_CHECK(late < 2000);
}

T_CASE(suspend_is_detected_at_the_next_tick)
{
    base_thread_record *self = base_thread_self();
    bool back = false;
    /* A pause between the two readings of an offset makes it too small: not in every round. */
    for (int i = 0; i < 200 && !back; i++) {
        (void)base_coarse_ms(&host);
        const int64_t before = self->boot_offset_ms, from = base_now_ms(&host);
        /* As if measured before a suspend of one hour: the next tick must correct it. */
        self->boot_offset_ms = before - 3600000;
        self->coarse_ns = -1;
        const int64_t c = base_coarse_ms(&host);
        back = self->boot_offset_ms >= before && c > from - 1000;
    }
    T_CHECK(back);
}

T_CASE(sleep_and_wall_clock_match_the_system)
{
    uint64_t a = base_now_ns(), cpu = base_thread_cpu_ns();
    base_sleep_ns(3000000);
    T_CHECK(base_now_ns() - a >= 3000000);
    T_CHECK(base_thread_cpu_ns() >= cpu);
    const int64_t from = (int64_t)time(NULL), wall = base_wall_ms(), until = (int64_t)time(NULL);
    T_CHECK(wall / 1000 >= from - 1 && wall / 1000 <= until + 1);
}

T_MAIN("base_clock")
