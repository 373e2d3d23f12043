/* SPDX-License-Identifier: MIT
 *
 * futex: the slow half of locks, waits on words, yielding.
 *
 * PICTURE    lock word   0 free --cas--> 1 held --xchg by a waiter--> 2 held, a waiter may sleep
 *                        drop: xchg 0; if it was 2, wake one waiter
 * INVARIANTS A waiter sleeps only on 2, and the drop of a 2 wakes: no wake-up is lost. A woken
 *            waiter takes the lock as 2, because it cannot know whether others sleep; the price is
 *            one needless wake-up.
 * EVENTS     FUTEX_WAIT_BITSET with an absolute CLOCK_MONOTONIC deadline, so that a signal does not
 *            extend the wait. Private futexes only.
 * LIMITS     A waiter sleeps after 64 pauses; on one CPU after one.
 * SOURCE     Drepper 2011, "Futexes are tricky" (the third mutex). Own code.
 * SEE ALSO   README.md in this folder: why not ticket locks. */
#include "base/futex.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Constants of linux/futex.h, which a musl toolchain does not find. They are kernel ABI. */
#define SYNC_FUTEX_WAKE_PRIVATE 129
#define SYNC_FUTEX_WAIT_BITSET_PRIVATE 137
#define SYNC_FUTEX_ANY 0xffffffffu

#define SYNC_SPINS 64

BASE_SIZE_BEGIN

#if BASE_SIM
#include "base/sim_hooks.h"

CELLAR_PRIVATE int sync_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                                   const char *point)
{
    return base_sim_wait(word, expected, deadline_ns, point) ? 0 : ETIMEDOUT;
}

static void sync_futex_wake(_Atomic uint32_t *word, int count) { base_sim_wake(word, count); }

CELLAR_PRIVATE unsigned base_cpu_count(void) { return 2; }

CELLAR_PRIVATE void base_yield(void) { base_sim_point("pause"); }
CELLAR_PRIVATE void base_sleep_ns(uint64_t ns) { base_sim_sleep(ns); }

CELLAR_PRIVATE int sync_spins(void) { return 2; }

#else

/* Choose the call by the width of time_t: where it is wider than long, the old call misreads it. */
static long sync_futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *until)
{
    long number = SYS_futex;
#if defined(SYS_futex_time64)
    if (sizeof until->tv_sec > sizeof(long)) { number = SYS_futex_time64; }
#endif
    return syscall(number, (uint32_t *)(void *)word, op, value, until, NULL, SYNC_FUTEX_ANY);
}

CELLAR_PRIVATE int sync_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                                   const char *point)
{
    (void)point;
    struct timespec until = { 0, 0 };
    bool limited = deadline_ns / 1000000000u < (uint64_t)INT32_MAX; /* 68 years: no limit */
    if (limited) {
        until.tv_sec = (time_t)(deadline_ns / 1000000000u);
        until.tv_nsec = (long)(deadline_ns % 1000000000u);
    }
    long r = sync_futex(word, SYNC_FUTEX_WAIT_BITSET_PRIVATE, expected, limited ? &until : NULL);
    return r == 0 ? 0 : errno;
}

static void sync_futex_wake(_Atomic uint32_t *word, int count)
{
    (void)sync_futex(word, SYNC_FUTEX_WAKE_PRIVATE, (uint32_t)count, NULL);
}

CELLAR_PRIVATE void base_yield(void) { (void)sched_yield(); }

CELLAR_PRIVATE void base_sleep_ns(uint64_t ns)
{
    struct timespec left = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
    int saved = errno, state;
    /* Cancellation off: the sleeping thread may hold a stripe. */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {}
    (void)pthread_setcancelstate(state, &state);
    errno = saved;
}

CELLAR_PRIVATE unsigned base_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1u;
}

CELLAR_PRIVATE int sync_spins(void)
{
    static _Atomic int spins; /* racing threads store the same value */
    int n = base_load_rlx(&spins);
    if (n == 0) {
        n = base_cpu_count() > 1 ? SYNC_SPINS : 1;
        base_store_rlx(&spins, n);
    }
    return n;
}

#endif

/* ---- locks: the same code in the simulation ---- */

static bool sync_lock_spin(sync_lock *l)
{
    for (int i = sync_spins(); i > 0; i--) {
        base_pause();
        if (base_load_rlx(&l->word) == 0u && base_cas_ar(&l->word, 0u, 1u)) { return true; }
    }
    return false;
}

CELLAR_PRIVATE void sync_lock_slow(sync_lock *l)
{
    if (sync_lock_spin(l)) { return; }
    int saved = errno;
    while (base_xchg_ar(&l->word, 2u) != 0u) {
        (void)sync_futex_wait(&l->word, 2u, UINT64_MAX, "sync.lock"); /* any return: try again */
    }
    errno = saved;
}

CELLAR_PRIVATE bool sync_lock_until(sync_lock *l, uint64_t deadline_ns)
{
    if (sync_lock_spin(l)) { return true; }
    int saved = errno, e = 0;
    while (e != ETIMEDOUT && base_xchg_ar(&l->word, 2u) != 0u) {
        e = sync_futex_wait(&l->word, 2u, deadline_ns, "sync.lock_until");
    }
    errno = saved;
    return e != ETIMEDOUT; /* a 2 left behind costs the holder one needless wake */
}

CELLAR_PRIVATE void sync_wake_slow(sync_lock *l)
{
    int saved = errno;
    sync_futex_wake(&l->word, 1);
    errno = saved;
}

CELLAR_PRIVATE void sync_wake(_Atomic uint32_t *word, int count)
{
    int saved = errno;
    sync_futex_wake(word, count);
    errno = saved;
}

BASE_SIZE_END
