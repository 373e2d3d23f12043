/* SPDX-License-Identifier: MIT
 *
 * clock: the store's milliseconds, exact where it matters and cheap where it does not.
 *
 * PICTURE    deadline against coarse:   ...expired...| coarse |...20 ms: ask precise...|...alive...
 * INVARIANTS coarse <= precise at the same instant, precise - coarse <= BASE_COARSE_LAG_MS on a
 *            running machine; neither runs backwards in one thread.
 * FAR        even the coarse clock is some 65 instructions, and in a get they keep the next get's
 *            memory accesses out of the CPU's window. So a thread that looks at the precise clock
 *            notes {counter before, clock + BASE_FAR_MS}; while the counter then moved by less than
 *            a span, BASE_FAR_MS has not passed, and a deadline beyond is alive without any clock.
 *            Proof: span = BASE_FAR_MS at 2^16 counts a millisecond, and no counter we take is so
 *            slow (a span lasts 1 to 8 ms). A counter that went back is far ahead in unsigned
 *            arithmetic: a clock is read. One that stood still (suspend) deceives until the span
 *            ends, no longer than a coarse tick; the next look sees more time than counts, and no
 *            thread uses it again. Taken only where the CPU calls it invariant and the kernel keeps
 *            its own time by it; the host's clock bypasses it all.
 * CHOICE     Some CPUs finish all earlier loads before they read the counter. Consecutive gets then
 *            do not overlap, and the coarse clock is the faster proof. The first open measures
 *            which kind of CPU this is. The coarse clock is compared in line: while it shows what
 *            it showed at the thread's last look, a deadline beyond its lag is alive.
 * SUSPEND    CLOCK_MONOTONIC stands still while the machine sleeps and does not jump when it wakes,
 *            so a jump in it can tell nobody. There is no coarse boot-time clock. Hence: coarse =
 *            CLOCK_MONOTONIC_COARSE + offset, offset = BOOTTIME - MONOTONIC, kept per thread and
 *            read again whenever the coarse clock shows another value than last time. That is once
 *            a tick (1 to 10 ms) and thread for 40 ns, and a suspend is seen at the first new tick.
 *            The measured offset can only be too small (BOOTTIME is read first), and the true one
 *            only grows: the largest seen is right, and coarse never runs ahead.
 * LIMITS     a hypervisor that stops the time-keeping CPU stops the coarse clock with it; entries
 *            then live longer by what its lag exceeds BASE_COARSE_LAG_MS.
 * TRIED      CLOCK_BOOTTIME on each deadline: 20 ns, a whole hit. One offset per store, refreshed
 *            by tick: late by a tick period after a suspend, and a shared line. Time published by
 *            the maintenance thread: a bound from below, where the proof needs one from above. get
 *            with 1 h to live, 1 thread, x RAW, Zen 5: coarse clock .40, counter .51, no look .60.
 *            CPU time of a get, Sapphire Rapids: counter 236 ns, coarse 154, no deadline 139. The
 *            second of time(2), a third of the counter's 40 cycles: 1.08 times as fast in the
 *            cache, no look 1.13; but a clock set back deceives a thread that was away as long.
 * NOT HERE   schedules by wall clock. */
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/fd.h"
#include "base/num.h"
#include "base/sync.h"

#if (defined(__x86_64__) || defined(__i386__)) && !BASE_SIM
#include <cpuid.h>
#endif

#if BASE_SIM
#include "base/sim.h"

static int64_t base_system_precise_ms(void) { return base_sim_now_ms(); }

/* Lags by up to 10 ms, like a 100 Hz kernel. */
static int64_t base_system_coarse_ms(void)
{
    int64_t now = base_sim_now_ms();
    return now - now % 10;
}

static void base_count_anew(base_self_t *self) { (void)self; }
CELLAR_PRIVATE void base_clock_ready(void) {}
CELLAR_PRIVATE void base_clock_choose(bool counter) { (void)counter; }
CELLAR_PRIVATE bool base_counter_trusted(void) { return false; }

CELLAR_PRIVATE uint64_t base_now_ns(void) { return base_sim_now_ns(); }
CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void) { return base_sim_now_ns(); }
CELLAR_PRIVATE int64_t base_wall_ms(void) { return base_sim_wall_ms(); }

#else

static int64_t base_read_ns(clockid_t id)
{
    struct timespec t = { 0, 0 };
    (void)clock_gettime(id, &t); /* these ids cannot fail on a kernel that has futexes */
    return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_nsec;
}

static int64_t base_system_precise_ms(void) { return base_read_ns(CLOCK_BOOTTIME) / 1000000; }

static int64_t base_offset_ms(void)
{
    int64_t boot = base_read_ns(CLOCK_BOOTTIME);
    return (boot - base_read_ns(CLOCK_MONOTONIC)) / 1000000;
}

/* The coarse clock shows another value than last time: once a tick and thread. */
BASE_COLD static int64_t base_coarse_moved(base_self_t *self, const struct timespec *t)
{
    const int64_t ms = (int64_t)t->tv_sec * 1000 + (int64_t)t->tv_nsec / 1000000;
    const int64_t offset = base_offset_ms();
    if (self->index == 0) { return ms + offset; } /* shared by many: nothing may be kept in it */
    if (self->coarse_ns < 0 || offset > self->boot_offset_ms) { self->boot_offset_ms = offset; }
    self->coarse_s = (int64_t)t->tv_sec;
    self->coarse_ns = (int64_t)t->tv_nsec;
    self->coarse_ms = ms + self->boot_offset_ms;
    return self->coarse_ms;
}

static int64_t base_system_coarse_ms(void)
{
    base_self_t *self = base_self();
    struct timespec t = { 0, 0 };
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    if (BASE_LIKELY(t.tv_nsec == self->coarse_ns && t.tv_sec == self->coarse_s)) {
        return self->coarse_ms;
    }
    return base_coarse_moved(self, &t);
}

/* ---- the counter ---- */

/* Counts of a span; 0: not asked yet, or no counter that can be trusted. Written by
 * base_counter_ready and, to 0 for good, by the thread that caught it standing still. */
static _Atomic uint64_t base_count_span;
static _Atomic uint32_t base_count_asked; /* 1: base_counter_ready has been here */

/* A build may fix the choice: -DBASE_FAR_BY=2 or 3. 0: the first open measures. */
#ifndef BASE_FAR_BY
#define BASE_FAR_BY 0
#endif
enum { BASE_FAR_UNASKED, BASE_FAR_MEASURING, BASE_FAR_COUNTER, BASE_FAR_COARSE };
static _Atomic uint32_t base_far_by = BASE_FAR_BY;

/* Counts of the longest span BASE_FAR_MS may stand for; 0: this CPU has no usable counter. */
static uint64_t base_counter_span(void)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d = 0;
    int allowed = 0;
    if (!__get_cpuid(0x80000007u, &a, &b, &c, &d) || (d & 1u << 8) == 0) { return 0; }
    if (prctl(PR_GET_TSC, &allowed) != 0 || allowed != PR_TSC_ENABLE) { return 0; }
    return (uint64_t)BASE_FAR_MS << 16;
#elif defined(__aarch64__)
    uint64_t hz;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    return hz >= 1000000 ? hz / 1000 * (BASE_FAR_MS / 8) : 0; /* the CPU says its rate */
#else
    return 0;
#endif
}

static bool base_kernel_counts(void)
{
    char name[32] = { 0 };
    const int fd = base_fd_open(
        AT_FDCWD, "/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY);
    if (fd < 0) { return false; }
    const ssize_t n = base_fd_read(fd, name, sizeof name - 1);
    base_fd_close(fd);
    return n > 0 && (strcmp(name, "tsc\n") == 0 || strcmp(name, "arch_sys_counter\n") == 0);
}

static void base_counter_ready(void)
{
    if (base_load_acq(&base_count_asked) != 0) { return; }
    const int saved = errno;
    const uint64_t span = base_kernel_counts() ? base_counter_span() : 0;
    errno = saved;
    /* Two threads may both have asked: the one that is first is heard. */
    if (base_cas_ar(&base_count_asked, 0u, 1u)) { base_store_rel(&base_count_span, span); }
}

CELLAR_PRIVATE bool base_counter_trusted(void)
{
    base_counter_ready();
    return base_load_rlx(&base_count_span) != 0;
}

/* ---- the choice between the counter and the coarse clock ---- */

#define BASE_PACE_ROUNDS 8
#define BASE_PACE_READS 32
#define BASE_PACE_LOADS 24

static const volatile uint32_t base_pace_next[4] = { 2, 3, 1, 0 };
static volatile uint32_t base_pace_sum;

/* Time reads like those of gets: a chain of dependent loads, then one proof of a deadline that
 * comes out of the chain. `serial`: each chain starts where the one before ended. */
BASE_ALWAYS_INLINE uint64_t base_pace_round(bool counter, bool serial)
{
    base_self_t self = { .count_span = UINT64_MAX };
    struct timespec t = { 0, 0 };
    uint32_t at = 0, sum = 0;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    self.coarse_s = (int64_t)t.tv_sec;
    self.coarse_ns = (int64_t)t.tv_nsec;
    self.count_from = BASE_COUNTER();
    const uint64_t from = base_now_ns();
    for (uint32_t i = 0; i < BASE_PACE_READS; i++) {
        if (!serial) { at = i & 3; }
        for (int k = 0; k < BASE_PACE_LOADS; k++) { at = base_pace_next[at]; }
        const int64_t far = (int64_t)at + 3600000;
        sum += counter ? base_counter_far(&self, far) : base_coarse_far(&self, far);
    }
    base_pace_sum = sum;
    return base_now_ns() - from;
}

static BASE_NOINLINE uint64_t base_pace_counter(void) { return base_pace_round(true, false); }
static BASE_NOINLINE uint64_t base_pace_serial(void) { return base_pace_round(true, true); }
static BASE_NOINLINE uint64_t base_pace_coarse(void) { return base_pace_round(false, false); }

/* A counter that waits for earlier loads makes independent reads as slow as serial ones. */
static bool base_pace_choice(uint64_t counter, uint64_t serial, uint64_t coarse)
{
    return counter <= coarse || serial > counter + counter / 4;
}

/* Return false if the counter makes the CPU wait for all earlier loads, and the coarse clock is
 * faster. Compare the shortest rounds: other threads and the host only lengthen a round. */
static bool base_pace_prefers_counter(void)
{
    uint64_t counter = UINT64_MAX, serial = UINT64_MAX, coarse = UINT64_MAX;
    for (int i = 0; i < BASE_PACE_ROUNDS; i++) {
        const uint64_t a = base_pace_counter(), b = base_pace_serial(), c = base_pace_coarse();
        counter = BASE_MIN(counter, a);
        serial = BASE_MIN(serial, b);
        coarse = BASE_MIN(coarse, c);
    }
    return base_pace_choice(counter, serial, coarse);
}

CELLAR_PRIVATE void base_clock_choose(bool counter)
{
    base_store_rel(&base_far_by, (uint32_t)(counter ? BASE_FAR_COUNTER : BASE_FAR_COARSE));
}

CELLAR_PRIVATE void base_clock_ready(void)
{
    if (!base_counter_trusted()) { return; }
    if (base_load_rlx(&base_far_by) == BASE_FAR_UNASKED &&
        base_cas_ar(&base_far_by, (uint32_t)BASE_FAR_UNASKED, (uint32_t)BASE_FAR_MEASURING)) {
        base_clock_choose(base_pace_prefers_counter());
    }
}

/* The thread's span is over, or it has none: note counter and clock anew. */
static void base_count_anew(base_self_t *self)
{
    const uint64_t span =
        base_load_rlx(&base_far_by) == BASE_FAR_COUNTER ? base_load_rlx(&base_count_span) : 0;
    if (self->index == 0) { return; } /* shared by many */
    const bool noted = self->far_ms != INT64_MAX;
    if (span == 0) {
        self->far_ms = INT64_MAX;
        return;
    }
    const uint64_t before = BASE_COUNTER(), from = self->count_from;
    if (noted && before - from < span) { return; }
    const int64_t now = base_system_precise_ms(), then = self->far_ms - BASE_FAR_MS;
    const uint64_t after = BASE_COUNTER(); /* so these counts cover all of now - then */
    /* The clock is cut to whole milliseconds at both ends: one of them may be none. */
    if (noted && after - from <= UINT64_MAX / 2 && now > then + 1 &&
        (uint64_t)(now - then - 1) > (after - from) / (span / BASE_FAR_MS)) {
        base_store_rlx(&base_count_span, (uint64_t)0);
        self->far_ms = INT64_MAX;
        return;
    }
    self->count_from = before; /* so they cover all time since the clock was read */
    self->count_span = span;
    self->far_ms = now + BASE_FAR_MS;
}

CELLAR_PRIVATE uint64_t base_now_ns(void) { return (uint64_t)base_read_ns(CLOCK_MONOTONIC); }
CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void)
{
    return (uint64_t)base_read_ns(CLOCK_THREAD_CPUTIME_ID);
}
CELLAR_PRIVATE int64_t base_wall_ms(void) { return base_read_ns(CLOCK_REALTIME) / 1000000; }

#endif

CELLAR_PRIVATE int64_t base_now_ms(const base_clock *c)
{
    return c->precise_ms != NULL ? c->precise_ms(c->ctx) : base_system_precise_ms();
}

CELLAR_PRIVATE int64_t base_coarse_ms(const base_clock *c)
{
    return c->coarse_ms != NULL ? c->coarse_ms(c->ctx) : base_system_coarse_ms();
}

/* The deadline is at most BASE_COARSE_LAG_MS after `coarse_ms`: ask precisely. */
static bool base_clock_near(const base_clock *c, int64_t deadline_ms, int64_t coarse_ms)
{
    return deadline_ms <= coarse_ms || deadline_ms <= base_now_ms(c);
}

CELLAR_PRIVATE BASE_NOINLINE bool base_clock_look(const base_clock *c, int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX) { return false; }
    if (c->precise_ms == NULL) { base_count_anew(base_self()); }
    const int64_t coarse = base_coarse_ms(c);
    if (BASE_LIKELY(deadline_ms > 0 && deadline_ms - BASE_COARSE_LAG_MS > coarse)) { return false; }
    return base_clock_near(c, deadline_ms, coarse);
}

CELLAR_PRIVATE BASE_NOINLINE int64_t base_clock_ahead_look(const base_clock *c, int64_t *from_ms)
{
    *from_ms = base_coarse_ms(c);
    return c->precise_ms != NULL ? base_now_ms(c) : base_add_sat(*from_ms, BASE_COARSE_LAG_MS);
}

CELLAR_PRIVATE int64_t base_clock_sure(const base_clock *c)
{
    const int64_t coarse = base_coarse_ms(c);
    return coarse > INT64_MAX - BASE_COARSE_LAG_MS ? INT64_MAX : coarse + BASE_COARSE_LAG_MS;
}
