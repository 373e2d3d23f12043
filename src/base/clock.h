/* SPDX-License-Identifier: MIT
 *
 * clock: int64 milliseconds on the boot-time scale (CLOCK_BOOTTIME: suspend counts as time passed).
 *
 * A store owns one base_clock. `coarse` may lag behind `precise` by up to BASE_COARSE_LAG_MS and
 * costs 2.5 ns against 20; both never run backwards. A test installs its own functions, and may let
 * the coarse one lag. Wall time exists only for the disk and cron. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <time.h>

#include "base/sync.h"

#define BASE_COARSE_LAG_MS 20
/* While the CPU's counter moves by one span, less than this passes: true of any counter that makes
 * 2^16 counts a millisecond or more; those of x86-64 make 8 to 80 times as many. */
#define BASE_FAR_MS 64

typedef struct base_clock {
    int64_t (*precise_ms)(void *ctx); /* NULL: the system's */
    int64_t (*coarse_ms)(void *ctx);  /* NULL: the system's; set together with precise_ms */
    void *ctx;                        /* handed to both; lives as long as the store */
} base_clock;

CELLAR_PRIVATE int64_t base_now_ms(const base_clock *c);    /* exact to 1 ms */
CELLAR_PRIVATE int64_t base_coarse_ms(const base_clock *c); /* lags <= BASE_COARSE_LAG_MS */
/* Judged by reading a clock: the coarse one, and the precise one where that cannot decide. */
CELLAR_PRIVATE bool base_clock_look(const base_clock *c, int64_t deadline_ms);
/* Deadlines beyond it are not reached now: one reading for many. */
CELLAR_PRIVATE int64_t base_clock_sure(const base_clock *c);
/* Decide once per process whether the counter or the coarse clock proves deadlines far. Call before
 * the first reading that should profit. Measures both, some 50 us, if the counter is trusted. */
CELLAR_PRIVATE void base_clock_ready(void);
/* Fix that decision, also after base_clock_ready. Each thread follows within a tick or a span. */
CELLAR_PRIVATE void base_clock_choose(bool counter);
/* Return whether the kernel keeps its own time by the CPU's counter. False also after a thread
 * found the counter standing still. */
CELLAR_PRIVATE bool base_counter_trusted(void);

/* The CPU's counter, in no order with the instructions around it. A test forges it. */
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

/* Prove a deadline far by the counter: this thread looked at the clock less than a span ago, and
 * the deadline is BASE_FAR_MS beyond what the clock showed. */
BASE_ALWAYS_INLINE bool base_counter_far(const base_self_t *self, int64_t deadline_ms)
{
    return deadline_ms > self->far_ms && BASE_COUNTER() - self->count_from < self->count_span;
}

/* Prove a deadline far by the coarse clock: the clock shows what it showed this thread at its last
 * look, and the deadline is beyond the lag. */
BASE_ALWAYS_INLINE bool base_coarse_far(const base_self_t *self, int64_t deadline_ms)
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

/* Certainly not reached, by the system's clock. False says nothing. See clock.c, FAR. */
BASE_ALWAYS_INLINE bool base_clock_far(const base_clock *c, const base_self_t *self,
                                       int64_t deadline_ms)
{
    if (BASE_UNLIKELY(c->precise_ms != NULL)) { return false; }
    return self->far_ms != INT64_MAX ? base_counter_far(self, deadline_ms)
                                     : base_coarse_far(self, deadline_ms);
}

/* Not passed yet, and at most BASE_FAR_MS ahead; *from_ms: passed. The counter decides, else the
 * coarse clock. After a suspend it may lie back until the span ends, as above. */
CELLAR_PRIVATE int64_t base_clock_ahead_look(const base_clock *c, int64_t *from_ms);
BASE_ALWAYS_INLINE int64_t base_clock_ahead(const base_clock *c, const base_self_t *self,
                                            int64_t *from_ms)
{
    if (BASE_LIKELY(c->precise_ms == NULL && self->far_ms != INT64_MAX &&
                    BASE_COUNTER() - self->count_from < self->count_span)) {
        *from_ms = self->far_ms - BASE_FAR_MS;
        return self->far_ms;
    }
    return base_clock_ahead_look(c, from_ms);
}

/* Is `deadline_ms` reached (deadline <= now)? At most one precise reading, none when the counter or
 * the coarse clock decides; exact to 1 ms. BASE_NEVER_MS: false without any reading. The coarse
 * clock is not in line here: only gets gain by it. */
BASE_INLINE bool base_clock_reached(const base_clock *c, int64_t deadline_ms)
{
    if (BASE_LIKELY(c->precise_ms == NULL && base_counter_far(base_self(), deadline_ms))) {
        return false;
    }
    return base_clock_look(c, deadline_ms);
}
CELLAR_PRIVATE uint64_t base_now_ns(void); /* monotonic, for durations; virtual in simulation */
/* The same scale at a third of the price, from the processor's counter where that is invariant and
 * the kernel trusts it. Two threads may see it a few microseconds apart, also backwards. */
BASE_SPARE CELLAR_PRIVATE uint64_t base_quick_ns(void);
BASE_SPARE CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void);
BASE_SPARE CELLAR_PRIVATE int64_t base_wall_ms(void);   /* UNIX epoch */

#endif
