/* SPDX-License-Identifier: MIT
 *
 * clock: milliseconds of a store; the cheapest clock that can decide a deadline is read.
 *
 * PICTURE    deadline against far_ms:  ..read precise..| far_ms |..alive, by the counter..
 *            without a counter:  ..expired..| coarse |..20 ms: read precise..|..alive..
 *            coarse = CLOCK_MONOTONIC_COARSE + offset;   offset = BOOTTIME - MONOTONIC, per thread
 * INVARIANTS coarse <= precise at the same instant. precise - coarse <= BASE_COARSE_LAG_MS on a
 *            running machine. Neither runs backwards in one thread.
 *            A deadline beyond far_ms is alive while the CPU's counter has moved by less than one
 *            span since the thread read the precise clock (proof: README.md, "Far deadlines").
 *            The measured offset is never above the true one, and the true one only grows.
 * LOCKING    None. Each thread keeps its last readings in base_thread_self(). base_count_span and
 *            base_far_by are process-wide atomics.
 * SUSPEND    CLOCK_MONOTONIC stops while the machine sleeps. Each thread reads the offset again
 *            when its coarse clock shows a new value (every 1 to 10 ms), so it detects a suspend
 *            at the first new tick.
 * CHOICE     On some CPUs a counter read waits for all earlier loads; the coarse clock is then the
 *            faster proof. base_clock_ready measures once per process which one to use.
 * LIMITS     A hypervisor that stops the time-keeping CPU, or pauses the machine, stops the coarse
 *            clock, too. So the coarse clock decides only where the counter does not: entries then
 *            live longer by the lag in excess of BASE_COARSE_LAG_MS.
 * SEE ALSO   README.md in this folder: proofs, rejected clocks, figures. */
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/fd.h"
#include "base/num.h"

#if (defined(__x86_64__) || defined(__i386__)) && !BASE_SIM
#include <cpuid.h>
#endif

#if BASE_SIM
#include "base/sim_hooks.h"

static int64_t base_system_precise_ms(void) { return base_sim_now_ms(); }

/* Return a time that lags by up to 10 ms, as on a 100 Hz kernel. */
static int64_t base_system_coarse_ms(void)
{
    int64_t now = base_sim_now_ms();
    return now - now % 10;
}

static void base_count_anew(base_thread_record *self) { (void)self; }
static int64_t base_ms_anew(void) { return base_system_precise_ms(); }
CELLAR_PRIVATE void base_clock_ready(void) {}
CELLAR_PRIVATE void base_clock_choose(bool counter) { (void)counter; }
CELLAR_PRIVATE bool base_counter_trusted(void) { return false; }

CELLAR_PRIVATE uint64_t base_now_ns(void) { return base_sim_now_ns(); }
CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void) { return base_sim_now_ns(); }
CELLAR_PRIVATE int64_t base_wall_us(void) { return base_sim_wall_ms() * 1000; }

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

/* Update the thread's offset after the coarse clock changed: once per tick and thread. */
BASE_COLD static int64_t base_coarse_moved(base_thread_record *self, const struct timespec *t)
{
    const int64_t ms = (int64_t)t->tv_sec * 1000 + (int64_t)t->tv_nsec / 1000000;
    const int64_t offset = base_offset_ms();
    if (self->index == 0) { return ms + offset; } /* shared record: it keeps no readings */
    if (self->coarse_ns < 0 || offset > self->boot_offset_ms) { self->boot_offset_ms = offset; }
    self->coarse_s = (int64_t)t->tv_sec;
    self->coarse_ns = (int64_t)t->tv_nsec;
    self->coarse_ms = ms + self->boot_offset_ms;
    return self->coarse_ms;
}

static int64_t base_system_coarse_ms(void)
{
    base_thread_record *self = base_thread_self();
    struct timespec t = { 0, 0 };
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    if (BASE_LIKELY(t.tv_nsec == self->coarse_ns && t.tv_sec == self->coarse_s)) {
        return self->coarse_ms;
    }
    return base_coarse_moved(self, &t);
}

/* ---- the counter ---- */

/* Counts of one span. 0: not measured yet, or the counter is not trusted. Written by
 * base_counter_ready; a thread that detects a stopped counter stores 0 permanently. */
static _Atomic uint64_t base_count_span;
static _Atomic uint32_t base_count_asked; /* 1: base_counter_ready has stored the span */

/* A build may fix the choice: -DBASE_FAR_BY=2 or 3. Default 0: the first open measures. */
#ifndef BASE_FAR_BY
#define BASE_FAR_BY 0
#endif
enum { BASE_FAR_UNASKED, BASE_FAR_MEASURING, BASE_FAR_COUNTER, BASE_FAR_COARSE };
static _Atomic uint32_t base_far_by = BASE_FAR_BY;

BASE_SIZE_BEGIN

/* Return the counts of the longest span within BASE_FAR_MS; 0: the CPU has no usable counter. */
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
    return hz >= 1000000 ? hz / 1000 * (BASE_FAR_MS / 8) : 0; /* the CPU reports its rate */
#else
    return 0;
#endif
}

static bool base_kernel_counts(void)
{
    char name[32] = { 0 };
    size_t len;
    return base_fd_read_file(
               AT_FDCWD, "/sys/devices/system/clocksource/clocksource0/current_clocksource", name,
               sizeof name - 1, &len) == 0 &&
           (strcmp(name, "tsc\n") == 0 || strcmp(name, "arch_sys_counter\n") == 0);
}

static void base_counter_ready(void)
{
    if (base_load_acq(&base_count_asked) != 0) { return; }
    const int saved = errno;
    const uint64_t span = base_kernel_counts() ? base_counter_span() : 0;
    errno = saved;
    /* Two threads may arrive here; the first one stores its result. */
    if (base_cas_ar(&base_count_asked, 0u, 1u)) { base_store_rel(&base_count_span, span); }
}

CELLAR_PRIVATE bool base_counter_trusted(void)
{
    base_counter_ready();
    return base_load_rlx(&base_count_span) != 0;
}

BASE_SIZE_END

/* ---- the choice between the counter and the coarse clock ---- */

#define BASE_PACE_ROUNDS 8
#define BASE_PACE_READS 32
#define BASE_PACE_LOADS 24

static const volatile uint32_t base_pace_next[4] = { 2, 3, 1, 0 };
static volatile uint32_t base_pace_sum;

/* Measure reads like those of gets: a chain of dependent loads, then one proof of a deadline that
 * the chain yields. `serial`: each chain starts at the end of the previous one. */
BASE_ALWAYS_INLINE uint64_t base_pace_round(bool counter, bool serial)
{
    base_thread_record self = { .count_span = UINT64_MAX };
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

/* Return whether the counter is the better proof. A counter that waits for earlier loads makes
 * independent reads as slow as serial ones. */
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

/* Start a new span if the thread has none: store counter and clock. */
static void base_count_anew(base_thread_record *self)
{
    const uint64_t span =
        base_load_rlx(&base_far_by) == BASE_FAR_COUNTER ? base_load_rlx(&base_count_span) : 0;
    if (self->index == 0) { return; } /* shared record */
    const bool noted = self->far_ms != INT64_MAX;
    if (span == 0) {
        self->far_ms = INT64_MAX;
        return;
    }
    const uint64_t before = BASE_COUNTER(), from = self->count_from;
    if (noted && before - from < span) { return; }
    const int64_t now = base_system_precise_ms(), then = self->far_ms - BASE_FAR_MS;
    const uint64_t after = BASE_COUNTER(); /* read last: the counts cover all of now - then */
    /* Both readings are truncated to whole milliseconds: the difference may be 1 ms too long. */
    if (noted && after - from <= UINT64_MAX / 2 && now > then + 1 &&
        (uint64_t)(now - then - 1) > (after - from) / (span / BASE_FAR_MS)) {
        base_store_rlx(&base_count_span, (uint64_t)0);
        self->far_ms = INT64_MAX;
        return;
    }
    self->count_from = before; /* read first: covers all time since the clock was read */
    self->count_span = span;
    self->far_ms = now + BASE_FAR_MS;
}

#define BASE_PACE_LEAST 65536    /* ns between two readings that measure the counter */
#define BASE_PACE_MOST (1 << 30) /* the same, at most; counts in that time are below 2^34 */
#define BASE_MS_MARGIN_NS 1000   /* a counter may be read that much earlier than the code says */

/* Return a rate that the counter had at least, in counts per 2^20 ns: the lower one of the last
 * two measurements, because a counter that jumped ahead spoils one of them. */
static uint64_t base_pace_of(base_thread_record *self, uint64_t before, uint64_t ns, uint64_t after)
{
    const uint64_t gone = ns - self->pace_ns, counts = before - self->pace_count;
    if (gone >= BASE_PACE_LEAST) {
        const bool known = gone <= BASE_PACE_MOST && counts >> 34 == 0;
        self->pace[1] = self->pace[0];
        self->pace[0] = known ? (counts << 20) / gone : 0;
        self->pace_ns = ns;
        self->pace_count = after;
    }
    return BASE_MIN(self->pace[0], self->pace[1]);
}

/* Read the precise clock, and note for how many counts its millisecond certainly lasts. */
static int64_t base_ms_anew(void)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0 || !base_counter_trusted()) { return base_system_precise_ms(); }
    const uint64_t before = BASE_COUNTER();
    const uint64_t ns = (uint64_t)base_read_ns(CLOCK_BOOTTIME);
    const uint64_t rate = base_pace_of(self, before, ns, BASE_COUNTER());
    const uint64_t left = 1000000 - ns % 1000000;
    self->ms_now = (int64_t)(ns / 1000000);
    self->ms_from = before; /* read first: covers all time since the clock was read */
    /* An eighth less: the kernel may let its clock run faster by a tenth. */
    self->ms_counts = left <= BASE_MS_MARGIN_NS
                          ? 0
                          : ((left - BASE_MS_MARGIN_NS) * (rate - rate / 8)) >> 20;
    return self->ms_now;
}

CELLAR_PRIVATE uint64_t base_now_ns(void) { return (uint64_t)base_read_ns(CLOCK_MONOTONIC); }
CELLAR_PRIVATE uint64_t base_thread_cpu_ns(void)
{
    return (uint64_t)base_read_ns(CLOCK_THREAD_CPUTIME_ID);
}
CELLAR_PRIVATE int64_t base_wall_us(void) { return base_read_ns(CLOCK_REALTIME) / 1000; }

#endif

CELLAR_PRIVATE int64_t base_now_ms(const base_clock *c)
{
    return c->precise_ms != NULL ? c->precise_ms(c->ctx) : base_system_precise_ms();
}

CELLAR_PRIVATE BASE_NOINLINE int64_t base_quick_ms(const base_clock *c)
{
    const base_thread_record *self = base_thread_self();
    if (c->precise_ms != NULL) { return c->precise_ms(c->ctx); }
    if (BASE_LIKELY(self->ms_counts != 0 && BASE_COUNTER() - self->ms_from < self->ms_counts)) {
        return self->ms_now;
    }
    return base_ms_anew();
}

CELLAR_PRIVATE int64_t base_coarse_ms(const base_clock *c)
{
    return c->coarse_ms != NULL ? c->coarse_ms(c->ctx) : base_system_coarse_ms();
}

/* Start a new span if the thread has none. Return whether the counter decides deadlines. */
static bool base_counts_anew(void)
{
    base_thread_record *self = base_thread_self();
    base_count_anew(self);
    return self->far_ms != INT64_MAX;
}

/* Decide a deadline at most BASE_COARSE_LAG_MS after `coarse_ms` by the precise clock. */
static bool base_clock_near(const base_clock *c, int64_t deadline_ms, int64_t coarse_ms)
{
    return deadline_ms <= coarse_ms || deadline_ms <= base_now_ms(c);
}

CELLAR_PRIVATE BASE_NOINLINE bool base_clock_look(const base_clock *c, int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX) { return false; }
    if (c->precise_ms == NULL && base_counts_anew()) {
        return !base_counter_far(base_thread_self(), deadline_ms) && deadline_ms <= base_now_ms(c);
    }
    const int64_t coarse = base_coarse_ms(c);
    if (BASE_LIKELY(deadline_ms > 0 && deadline_ms - BASE_COARSE_LAG_MS > coarse)) { return false; }
    return base_clock_near(c, deadline_ms, coarse);
}

CELLAR_PRIVATE BASE_NOINLINE int64_t base_clock_ahead_look(const base_clock *c, int64_t *from_ms)
{
    if (c->precise_ms == NULL && base_counts_anew()) {
        *from_ms = base_thread_self()->far_ms - BASE_FAR_MS;
        return base_thread_self()->far_ms;
    }
    *from_ms = base_coarse_ms(c);
    return c->precise_ms != NULL ? base_now_ms(c) : base_add_sat(*from_ms, BASE_COARSE_LAG_MS);
}

CELLAR_PRIVATE BASE_COLD int64_t base_clock_sure(const base_clock *c)
{
    if (c->precise_ms == NULL && base_counts_anew()) { return base_thread_self()->far_ms; }
    const int64_t coarse = base_coarse_ms(c);
    return coarse > INT64_MAX - BASE_COARSE_LAG_MS ? INT64_MAX : coarse + BASE_COARSE_LAG_MS;
}
