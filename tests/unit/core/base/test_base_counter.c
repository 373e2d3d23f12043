/* SPDX-License-Identifier: MIT
 *
 * Aim:    a deadline is called far without reading a clock only while that is certainly true. A
 *         counter that stops, goes back, jumps or is not trusted makes the thread read the clock.
 * Method: clock.c with forged counter and clocks: each step of a counter of any rate against the
 *         forged time; the clock of a host; the real counter against the real clock. */
#include "tests/support/t.h"

#include <time.h>

static uint64_t forged_count;      /* value of the counter */
static int64_t forged_ns;          /* boot-time clock; all clocks of the machine agree */
static int64_t forged_coarse_lag_ns; /* of the coarse clock, besides its steps */
static int64_t forged_slept_ns;    /* part of forged_ns in which the machine was suspended */
static unsigned forged_readings;   /* of precise clocks */
static unsigned forged_counts;     /* readings of the counter */
/* Cost of a reading of the counter and of the coarse clock. */
static int64_t forged_counter_cost_ns, forged_coarse_cost_ns;
/* Time that passes just before and just after the next reading of a clock; 2 counts per ns. */
static int64_t forged_pause_ns, forged_after_ns;

static int forged_gettime(clockid_t id, struct timespec *t)
{
    forged_ns += forged_pause_ns;
    forged_count += (uint64_t)forged_pause_ns * 2;
    /* A 100 Hz kernel: the coarse clock moves in steps. */
    int64_t ns = id == CLOCK_BOOTTIME ? forged_ns : forged_ns - forged_slept_ns;
    if (id == CLOCK_MONOTONIC_COARSE) {
        ns -= forged_coarse_lag_ns + ns % 10000000;
        forged_ns += forged_coarse_cost_ns;
    }
    forged_readings += id != CLOCK_MONOTONIC_COARSE;
    forged_ns += forged_after_ns;
    forged_count += (uint64_t)forged_after_ns * 2;
    forged_pause_ns = forged_after_ns = 0;
    t->tv_sec = (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return 0;
}

static uint64_t forged_counter(void)
{
    forged_counts++;
    forged_ns += forged_counter_cost_ns;
    return forged_count;
}

#define BASE_COUNTER() forged_counter()
#define clock_gettime forged_gettime
#include "base/clock.c"
#undef clock_gettime

static const base_clock system_clock; /* all NULL: the system clock, forged here */

/* Set the state after base_clock_ready with a good counter; the thread has read no clock yet. */
static void forge(uint64_t counts_per_span)
{
    forged_ns = INT64_C(5000) * 1000000000;
    forged_count = UINT64_MAX - 1000; /* it wraps soon */
    forged_readings = forged_counts = 0;
    forged_slept_ns = forged_coarse_lag_ns = 0;
    forged_counter_cost_ns = forged_coarse_cost_ns = 0;
    forged_pause_ns = forged_after_ns = 0;
    base_store_rlx(&base_count_asked, 1u);
    base_store_rlx(&base_count_span, counts_per_span);
    base_clock_choose(true);
    base_thread_self()->far_ms = INT64_MAX;
    base_thread_self()->ms_counts = base_thread_self()->pace_ns = 0;
    base_thread_self()->pace[0] = base_thread_self()->pace[1] = 0;
    base_thread_self()->coarse_ns = -1;
    base_thread_self()->coarse_s = -1;
    base_thread_self()->coarse_ms = 0;
    base_thread_self()->boot_offset_ms = 0;
}

static int64_t forged_ms(void) { return forged_ns / 1000000; }

static bool far_from_now(int64_t ms)
{
    return base_clock_far(&system_clock, base_thread_self(), forged_ms() + ms);
}

static void pass(int64_t ns, uint64_t counts) { forged_ns += ns; forged_count += counts; }

#define SPAN ((uint64_t)BASE_FAR_MS << 16)
#define HOUR_MS INT64_C(3600000)

T_CASE(deadline_is_far_only_after_a_clock_reading)
{
    forge(SPAN);
    T_CHECK(!far_from_now(HOUR_MS));
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS)); /* reads the clock */
    T_CHECK(far_from_now(HOUR_MS));
    T_CHECK(!far_from_now(BASE_FAR_MS));
    T_CHECK(far_from_now(BASE_FAR_MS + 1));
    const unsigned before = forged_readings;
    for (int i = 0; i < 1000; i++) {
        T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    }
    T_EQ_U64(forged_readings, before);
    T_CHECK(!base_clock_reached(&system_clock, BASE_NEVER_MS));
}

/* Check at any rate from the lowest up, and any step: a far deadline is never reached, and
 * "reached" is exact with counter and coarse clock. */
static void far_is_never_reached_by(bool counter)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    uint64_t proofs = 0;
    for (int round = 0; round < 300; round++) {
        forge(SPAN);
        base_clock_choose(counter);
        /* 65,536 counts per ms is the slowest accepted rate; real counters: 500,000 and more */
        const uint64_t rate = 65536 + base_rng_below(&r, 6000000);
        for (int step = 0; step < 300; step++) {
            const int64_t us = (int64_t)base_rng_below(&r, step % 10 == 0 ? 200000 : 900);
            pass(us * 1000, (uint64_t)us * rate / 1000);
            const int64_t off = (int64_t)base_rng_below(&r, 300) - 100;
            const int64_t deadline = forged_ms() + off;
            const bool far = base_clock_far(&system_clock, base_thread_self(), deadline);
            T_CHECK(!far || off > 0);
            proofs += far;
            T_CHECK(base_clock_reached(&system_clock, deadline) == (off <= 0));
            if (t_failed()) { return; }
        }
        T_CHECK(base_load_rlx(&base_count_span) == SPAN); /* an honest counter stays trusted */
    }
    T_CHECK(proofs > 1000);
}

T_CASE(deadline_far_by_counter_is_never_reached) { far_is_never_reached_by(true); }

T_CASE(deadline_far_by_coarse_clock_is_never_reached)
{
    far_is_never_reached_by(false);
    T_EQ_U64(forged_counts, 0);
}

/* The next tick of the coarse clock makes each thread read the boot-time offset again. */
T_CASE(suspend_is_detected_at_the_next_coarse_tick)
{
    forge(SPAN);
    base_clock_choose(false);
    const int64_t deadline = forged_ms() + HOUR_MS;
    T_CHECK(!base_clock_reached(&system_clock, deadline));
    T_CHECK(far_from_now(HOUR_MS));
    forged_slept_ns = 2 * HOUR_MS * 1000000;
    pass(forged_slept_ns, 0);
    pass(10000000, SPAN);
    T_CHECK(!base_clock_far(&system_clock, base_thread_self(), deadline));
    T_CHECK(base_clock_reached(&system_clock, deadline));
}

/* A thread with a reading of one proof uses the other proof after the choice has changed. */
T_CASE(thread_follows_a_changed_clock_choice)
{
    forge(SPAN);
    for (int i = 0; i < 20; i++) {
        const bool counter = i % 2 != 0;
        base_clock_choose(counter);
        pass(20000000, SPAN + 1); /* the span and the tick are over */
        T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
        const unsigned counts = forged_counts;
        T_CHECK(far_from_now(HOUR_MS));
        T_EQ_U64(forged_counts - counts, counter ? 1 : 0);
    }
}

T_CASE(choice_follows_measured_costs)
{
    forge(SPAN);
    forged_counter_cost_ns = 40;
    forged_coarse_cost_ns = 5;
    T_CHECK(!base_pace_prefers_counter());
    forged_counter_cost_ns = 5;
    T_CHECK(base_pace_prefers_counter());
    T_CHECK(!base_pace_choice(466, 456, 152));  /* waits for loads */
    T_CHECK(base_pace_choice(466, 900, 152));   /* reads overlap */
    T_CHECK(base_pace_choice(466, 456, 1200));  /* the coarse clock is a call to the kernel */
}

T_CASE(choice_is_measured_once_with_a_trusted_counter)
{
    forge(0);
    base_store_rlx(&base_far_by, (uint32_t)BASE_FAR_UNASKED);
    base_clock_ready();
    T_EQ_U64(base_load_rlx(&base_far_by), BASE_FAR_UNASKED);
    T_EQ_U64(forged_counts, 0);
    forge(SPAN);
    base_store_rlx(&base_far_by, (uint32_t)BASE_FAR_UNASKED);
    forged_counter_cost_ns = 40;
    base_clock_ready();
    T_EQ_U64(base_load_rlx(&base_far_by), BASE_FAR_COARSE);
    const unsigned counts = forged_counts;
    T_CHECK(counts != 0);
    base_clock_ready();
    T_EQ_U64(forged_counts, counts);
}

/* Machine and counter were suspended: until the span ends no thread can detect it. Then the counter
 * is dropped for all threads. */
T_CASE(stopped_counter_is_detected_and_dropped)
{
    forge(SPAN);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    const int64_t deadline = forged_ms() + HOUR_MS;
    pass(2 * HOUR_MS * 1000000, 0);
    pass(10000000, SPAN); /* the span is over: 10 ms of a counter of 420 MHz */
    T_CHECK(base_clock_reached(&system_clock, deadline));
    T_EQ_U64(base_load_rlx(&base_count_span), 0);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    const unsigned counts = forged_counts;
    T_CHECK(far_from_now(HOUR_MS)); /* by the coarse clock */
    T_EQ_U64(forged_counts, counts);
    pass(1000000, 1000);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + 1));
    T_CHECK(base_clock_reached(&system_clock, forged_ms()));
}

T_CASE(counter_that_went_back_reads_the_clock)
{
    forge(SPAN);
    forged_count = (uint64_t)1 << 50;
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    T_CHECK(far_from_now(HOUR_MS));
    const int64_t deadline = forged_ms() + HOUR_MS;
    pass(2 * HOUR_MS * 1000000, 0);
    forged_count -= 1;
    T_CHECK(!base_clock_far(&system_clock, base_thread_self(), deadline));
    T_CHECK(base_clock_reached(&system_clock, deadline));
    T_CHECK(far_from_now(HOUR_MS)); /* new span */
    forged_count = 5;               /* reset, as after a sleep */
    pass(HOUR_MS * 1000000, 0);
    T_CHECK(!far_from_now(2 * HOUR_MS));
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + 1));
    T_EQ_U64(base_load_rlx(&base_count_span), SPAN);
}

/* A jump ahead (migrated machine, other core) ends the span early and proves nothing false. */
T_CASE(counter_that_jumped_ahead_reads_the_clock)
{
    forge(SPAN);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    forged_count += UINT64_MAX / 3;
    T_CHECK(!far_from_now(HOUR_MS));
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    T_CHECK(far_from_now(HOUR_MS));
}

/* A pause before or after a clock reading makes no deadline far too long and does not make the
 * counter look slow. */
T_CASE(pause_during_a_reading_keeps_far_exact)
{
    forge(SPAN);
    for (int i = 0; i < 64; i++) {
        pass(10000000, SPAN + 1); /* the span is over: the next call reads the clock */
        forged_pause_ns = (i & 1) != 0 ? INT64_C(300) * 1000000 : 0;
        forged_after_ns = (i & 2) != 0 ? INT64_C(300) * 1000000 : 0;
        T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
        for (int64_t off = 0; off <= 2 * BASE_FAR_MS; off++) {
            T_CHECK(!base_clock_far(&system_clock, base_thread_self(), forged_ms() - off));
        }
        T_CHECK(base_clock_reached(&system_clock, forged_ms()));
    }
    T_EQ_U64(base_load_rlx(&base_count_span), SPAN);
}

static int64_t hosts_clock(void *ctx) { return *(int64_t *)ctx; }

T_CASE(host_clock_bypasses_the_counter)
{
    forge(SPAN);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    int64_t now = 1000;
    const base_clock hosts = { hosts_clock, hosts_clock, &now };
    const int64_t deadline = forged_ms() + HOUR_MS;
    T_CHECK(!base_clock_far(&hosts, base_thread_self(), deadline));
    T_CHECK(!base_clock_reached(&hosts, deadline));
    T_EQ_I64(base_quick_ms(&hosts), now);
    now = deadline;
    T_CHECK(base_clock_reached(&hosts, deadline));
}

static int64_t quick_ms(void) { return base_quick_ms(&system_clock); }

T_CASE(untrusted_counter_is_never_read)
{
    forge(0);
    for (int i = 0; i < 10; i++) {
        pass(1000, 1);
        T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
        T_CHECK(far_from_now(HOUR_MS)); /* by the coarse clock */
        T_EQ_I64(quick_ms(), forged_ms());
    }
    T_EQ_U64(forged_counts, 0);
}

/* Check at any rate that moves by a tenth, and any step: the result is the clock's. */
T_CASE(quick_time_is_the_time_of_the_clock)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    unsigned calls = 0, readings = 0;
    for (int round = 0; round < 300; round++) {
        forge(SPAN);
        const uint64_t rate = 65536 + base_rng_below(&r, 6000000);
        for (int step = 0; step < 300; step++) {
            const uint64_t now_rate = rate - base_rng_below(&r, rate / 10);
            const int64_t ns = (int64_t)base_rng_below(&r, step % 100 == 0 ? 900000000 : 90000);
            pass(ns, (uint64_t)ns * now_rate / 1000000);
            T_EQ_I64(quick_ms(), forged_ms());
            if (t_failed()) { return; }
        }
        calls += 300;
        readings += forged_readings;
    }
    T_CHECK(readings < calls / 2);
}

/* A millisecond of 2 counts per ns is known to last 875 us, less the margin. */
static void warm_quick_time(void)
{
    forge(SPAN);
    for (int i = 0; i < 3; i++) {
        pass(1000000, 2000000);
        T_EQ_I64(quick_ms(), forged_ms());
    }
    const unsigned before = forged_readings;
    pass(870000, 1740000);
    T_EQ_I64(quick_ms(), forged_ms());
    T_EQ_U64(forged_readings, before);
}

T_CASE(quick_time_survives_a_broken_counter)
{
    warm_quick_time();
    forged_count += (uint64_t)1 << 30; /* jumps ahead: one rate is far too high */
    for (int i = 0; i < 40; i++) {
        pass(100000, 200000);
        T_EQ_I64(quick_ms(), forged_ms());
    }
    warm_quick_time();
    forged_count -= 100000000; /* goes back */
    for (int i = 0; i < 40; i++) {
        pass(100000, 200000);
        T_EQ_I64(quick_ms(), forged_ms());
    }
    warm_quick_time();
    pass(HOUR_MS * 1000000, 0); /* stands still: early, and until the counts are used up */
    T_CHECK(quick_ms() <= forged_ms());
    pass(1000000, 2000000);
    T_EQ_I64(quick_ms(), forged_ms());
}

T_CASE(pause_during_a_reading_keeps_quick_time_exact)
{
    warm_quick_time();
    for (int i = 0; i < 64; i++) {
        pass(1000000, 2000000);
        forged_pause_ns = (i & 1) != 0 ? 700000 : 0;
        forged_after_ns = (i & 2) != 0 ? 700000 : 0;
        (void)quick_ms();
        for (int j = 0; i % 8 == 0 && j < 4; j++) { /* ever shorter pauses: rates look high */
            pass(1000000, 2000000);
            forged_pause_ns = (3 - j) * 400000;
            (void)quick_ms();
        }
        for (int step = 0; step < 20; step++) {
            if (i % 8 >= 4) { forged_pause_ns = 300000; } /* each reading: rates look low */
            const int64_t got = quick_ms();
            T_EQ_I64(got, forged_ms());
            forged_pause_ns = 0;
            pass(60000, 120000);
        }
    }
}

/* The shared record of threads beyond the limit stores no reading. */
T_CASE(shared_record_keeps_no_reading)
{
    forge(SPAN);
    base_thread_record *self = base_thread_self();
    const uint32_t index = self->index;
    self->index = 0;
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS));
    T_CHECK(!far_from_now(HOUR_MS));
    for (int i = 0; i < 4; i++) {
        pass(100000, 200000);
        T_EQ_I64(quick_ms(), forged_ms());
    }
    T_EQ_U64(self->ms_counts, 0);
    self->index = index;
}

T_CASE(clock_sure_has_not_passed_and_is_near)
{
    for (int counter = 0; counter < 2; counter++) {
        const int64_t most_ms = counter != 0 ? BASE_FAR_MS : BASE_COARSE_LAG_MS;
        forge(SPAN);
        base_clock_choose(counter != 0);
        for (int64_t off = 0; off < 200; off++) {
            pass(1000000, 2000000);
            const int64_t sure = base_clock_sure(&system_clock);
            T_CHECK(sure >= forged_ms() && sure <= forged_ms() + most_ms);
        }
    }
}

/* A hypervisor pauses the machine: the counter and the precise clock go on, and the coarse clock
 * shows the time of before until the next tick. */
T_CASE(stopped_coarse_clock_keeps_no_entry_alive)
{
    forge(SPAN);
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + HOUR_MS)); /* the thread has a span */
    forged_coarse_lag_ns = INT64_C(640) * 1000000;
    pass(forged_coarse_lag_ns, UINT64_C(1280) * 1000000);
    int64_t from_ms;
    T_CHECK(base_clock_ahead(&system_clock, base_thread_self(), &from_ms) > forged_ms());
    T_CHECK(from_ms <= forged_ms());
    T_CHECK(base_clock_reached(&system_clock, forged_ms() - 137));
    T_CHECK(base_clock_reached(&system_clock, forged_ms()));
    T_CHECK(!base_clock_reached(&system_clock, forged_ms() + 1));
    T_CHECK(base_clock_sure(&system_clock) >= forged_ms());
    T_EQ_I64(quick_ms(), forged_ms());
}

#if defined(__x86_64__)
/* The counter of this CPU, if the kernel trusts it, is within the rates that the proof assumes. */
T_CASE(real_counter_is_at_least_as_fast_as_assumed)
{
    if (!base_kernel_counts() || base_counter_span() == 0) {
        T_SKIP("the kernel keeps no time by it");
        return;
    }
    const uint64_t counts = __builtin_ia32_rdtsc();
    struct timespec a, b;
    (void)clock_gettime(CLOCK_BOOTTIME, &a);
    do {
        (void)clock_gettime(CLOCK_BOOTTIME, &b);
    } while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 20);
    T_CHECK(__builtin_ia32_rdtsc() - counts > UINT64_C(20) * 4 * base_counter_span() / BASE_FAR_MS);
}
#else
T_CASE(real_counter_is_at_least_as_fast_as_assumed) { T_SKIP("x86-64 only"); }
#endif

T_MAIN("base_counter")
