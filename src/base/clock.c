/* SPDX-License-Identifier: MIT
 *
 * clock: the store's milliseconds, exact where it matters and cheap where it does not.
 *
 * PICTURE    deadline against coarse:   ...expired...| coarse |...20 ms: ask precise...|...alive...
 * INVARIANTS coarse <= precise at the same instant, precise - coarse <= BASE_COARSE_LAG_MS on a
 *            running machine; neither runs backwards in one thread.
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
 *            by tick: late by a tick period after a suspend, and a shared line.
 * NOT HERE   schedules by wall clock. */
#include "base/clock.h"

#include <time.h>

#include "base/num.h"
#include "base/sync.h"

#if BASE_SIM
#include "base/sim.h"

static int64_t base_system_precise_ms(void) { return base_sim_now_ms(); }

/* Lags by up to 10 ms, like a 100 Hz kernel. */
static int64_t base_system_coarse_ms(void)
{
    int64_t now = base_sim_now_ms();
    return now - now % 10;
}

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

CELLAR_PRIVATE bool base_clock_near(const base_clock *c, int64_t deadline_ms, int64_t coarse_ms)
{
    return deadline_ms <= coarse_ms || deadline_ms <= base_now_ms(c);
}
