/* SPDX-License-Identifier: MIT
 *
 * clock: int64 milliseconds on the boot-time scale (CLOCK_BOOTTIME: a suspend counts as time).
 *
 * A store owns one base_clock. `coarse` lags behind `precise` by at most BASE_COARSE_LAG_MS and
 * costs 2.5 ns instead of 20 ns. Neither runs backwards. A test installs its own functions and may
 * let the coarse one lag. Wall time exists only for the disk and cron. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <time.h>

#include "base/thread_record.h"

#define BASE_COARSE_LAG_MS 20
/* Upper bound of the time in which the CPU's counter moves by one span. It holds for a counter of
 * at least 2^16 counts per millisecond; x86-64 counters make 8 to 80 times as many. */
#define BASE_FAR_MS 64

typedef struct base_clock {
    int64_t (*precise_ms)(void *ctx); /* NULL: the system clock */
    int64_t (*coarse_ms)(void *ctx);  /* NULL: the system clock; set together with precise_ms */
    void *ctx;                        /* argument of both; outlives the store */
} base_clock;

CELLAR_PRIVATE int64_t base_now_ms(const base_clock *c);    /* exact to 1 ms */
CELLAR_PRIVATE int64_t base_coarse_ms(const base_clock *c); /* lags <= BASE_COARSE_LAG_MS */
/* Return whether the deadline is reached. Read the precise clock if the counter cannot decide;
 * without the counter first the coarse one. */
CELLAR_PRIVATE bool base_clock_look(const base_clock *c, int64_t deadline_ms);
/* Return a time beyond which no deadline is reached now: one reading decides many deadlines. */
CELLAR_PRIVATE int64_t base_clock_sure(const base_clock *c);
/* Decide once per process whether the counter or the coarse clock proves deadlines far. Call before
 * the first reading that should profit. If the counter is trusted, measure both in about 50 us. */
CELLAR_PRIVATE void base_clock_ready(void);
/* Override that decision, also after base_clock_ready. Threads follow within a tick or span. */
CELLAR_PRIVATE void base_clock_choose(bool counter);
/* Return whether the kernel keeps its own time by the CPU's counter. False also after a thread has
 * detected a stopped counter. */
CELLAR_PRIVATE bool base_counter_trusted(void);

/* The CPU's counter, unordered with the instructions around it. A test replaces it. */
#ifndef BASE_COUNTER
#if BASE_SIM
#define BASE_COUNTER() ((uint64_t)0)
#elif defined(__x86_64__) || defined(__i386__)
#define BASE_COUNTER() ((uint64_t)__builtin_ia32_rdtsc())
#elif defined(__aarch64__)
#define BASE_COUNTER() base_counter_read()
BASE_ALWAYS_INLINE uint64_t base_counter_read(void)
{
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
}
#else
#define BASE_COUNTER() ((uint64_t)0)
#endif
#endif

/* Prove a deadline far by the counter: this thread read the clock less than a span ago, and the
 * deadline is more than BASE_FAR_MS beyond that reading. */
BASE_ALWAYS_INLINE bool base_counter_far(const base_thread_record *self, int64_t deadline_ms)
{
    return deadline_ms > self->far_ms && BASE_COUNTER() - self->count_from < self->count_span;
}

/* Prove a deadline far by the coarse clock: the clock has not changed since this thread's last
 * reading, and the deadline is beyond the lag. */
BASE_ALWAYS_INLINE bool base_coarse_far(const base_thread_record *self, int64_t deadline_ms)
{
#if BASE_SIM
    (void)self;
    (void)deadline_ms;
    return false;
#else
    struct timespec t = { 0, 0 };
    if (deadline_ms <= self->coarse_ms + BASE_COARSE_LAG_MS) { return false; }
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_nsec == self->coarse_ns && t.tv_sec == self->coarse_s;
#endif
}

/* Return true only if the deadline is certainly not reached by the system clock. False proves
 * nothing. Proof: README.md, "Far deadlines". */
BASE_ALWAYS_INLINE bool base_clock_far(const base_clock *c, const base_thread_record *self,
                                       int64_t deadline_ms)
{
    if (BASE_UNLIKELY(c->precise_ms != NULL)) { return false; }
    return self->far_ms != INT64_MAX ? base_counter_far(self, deadline_ms)
                                     : base_coarse_far(self, deadline_ms);
}

/* Return a time that has not passed yet and is at most BASE_FAR_MS ahead. *from_ms: a time that has
 * passed. Use the counter, else the coarse clock. After a suspend the result may lag until the span
 * ends (README.md, "Far deadlines"). */
CELLAR_PRIVATE int64_t base_clock_ahead_look(const base_clock *c, int64_t *from_ms);
BASE_ALWAYS_INLINE int64_t base_clock_ahead(const base_clock *c, const base_thread_record *self,
                                            int64_t *from_ms)
{
    if (BASE_LIKELY(c->precise_ms == NULL && self->far_ms != INT64_MAX &&
                    BASE_COUNTER() - self->count_from < self->count_span)) {
        *from_ms = self->far_ms - BASE_FAR_MS;
        return self->far_ms;
    }
    return base_clock_ahead_look(c, from_ms);
}

/* Return whether `deadline_ms` is reached (deadline <= now), exact to 1 ms. Read the precise clock
 * at most once, and not at all when the counter or the coarse clock decides. BASE_NEVER_MS: false
 * without any reading. The coarse clock is not inlined here: only gets gain by that. */
BASE_INLINE bool base_clock_reached(const base_clock *c, int64_t deadline_ms)
{
    if (BASE_LIKELY(c->precise_ms == NULL && base_counter_far(base_thread_self(), deadline_ms))) {
        return false;
    }
    return base_clock_look(c, deadline_ms);
}
/* Return base_now_ms. While the counter proves that the millisecond of the thread's last reading
 * has not ended, read no clock. Proof: README.md, "The same millisecond". */
CELLAR_PRIVATE int64_t base_quick_ms(const base_clock *c);
CELLAR_PRIVATE uint64_t base_now_ns(void); /* monotonic, for durations; virtual in simulation */
/* Return when `ms` from now have passed; below 0: now. */
BASE_INLINE uint64_t base_until_ns(int64_t ms)
{
    const int64_t most_ms = INT64_MAX / 4000000;
    return base_now_ns() + (uint64_t)(ms < 0 ? 0 : ms < most_ms ? ms : most_ms) * 1000000u;
}
/* Return the same scale at a third of the cost, from the processor's counter if it is invariant and
 * the kernel trusts it. Two threads may read values a few microseconds apart, also backwards. */
BASE_SPARE CELLAR_PRIVATE uint64_t base_tsc_ns(void);
BASE_SPARE CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void);
BASE_SPARE CELLAR_PRIVATE int64_t base_wall_us(void);   /* UNIX epoch */
BASE_INLINE int64_t base_wall_ms(void) { return base_wall_us() / 1000; }

#endif
