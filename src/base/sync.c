/* SPDX-License-Identifier: MIT
 *
 * sync: the slow half of locks, events, rank checks, threads.
 *
 * PICTURE    lock word   0 free --cas--> 1 held --xchg by a waiter--> 2 held, a waiter may sleep
 *                        drop: xchg 0; if it was 2, wake one waiter
 * INVARIANTS A waiter sleeps only on 2, and the drop of a 2 wakes: no wake-up is lost. A woken
 *            waiter takes the lock as 2, because it cannot know whether others sleep; the price is
 *            one needless wake-up.
 * LOCKING    BASE_DEBUG keeps the held locks of a thread in its record. A lock is taken only above
 *            every rank held; at an equal ORDERED rank above every address of that rank; by
 *            sync_try at any equal rank. Not checked in fork handlers: there one thread takes the
 *            locks of all stores while no other thread can wait for two of them.
 * EVENTS     FUTEX_WAIT_BITSET with an absolute CLOCK_MONOTONIC deadline, so that a signal does not
 *            extend the wait. Private futexes only.
 * LIMITS     A waiter sleeps after 64 pauses; on one CPU after one.
 * SOURCE     Drepper 2011, "Futexes are tricky" (the third mutex). Own code.
 * SEE ALSO   README.md in this folder: why not ticket locks. */
#include "base/sigbus.h"
#include "base/sync.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* Constants of linux/futex.h, which a musl toolchain does not find. They are kernel ABI. */
#define SYNC_FUTEX_WAKE_PRIVATE 129
#define SYNC_FUTEX_WAIT_BITSET_PRIVATE 137
#define SYNC_FUTEX_ANY 0xffffffffu

#define SYNC_SPINS 64
#define SYNC_STACK_BYTES ((size_t)256 << 10)

/* ---- ranks ---- */

#if BASE_DEBUG
static bool sync_rank_ordered(sync_rank r)
{
    switch (r) {
#define SYNC_X(name, number, ordered) case SYNC_RANK_##name: return (ordered) != 0;
        SYNC_RANKS(SYNC_X)
#undef SYNC_X
    case SYNC_RANK_NONE: break;
    }
    return false;
}
#endif

CELLAR_PRIVATE void sync_rank_push(sync_rank r, const void *lock, bool tried)
{
#if BASE_DEBUG
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* shared record: it keeps no locks */
    for (uint32_t i = 0; i < self->noted_count && !self->forking; i++) {
        BASE_REQUIRE(self->held[i].lock != lock); /* taken twice */
        BASE_REQUIRE(self->held[i].rank <= r);    /* out of order */
        if (self->held[i].rank == r && !tried) {
            BASE_REQUIRE(sync_rank_ordered(r));
            BASE_REQUIRE((uintptr_t)self->held[i].lock < (uintptr_t)lock);
        }
    }
    if (self->noted_count < SYNC_HELD_MAX) {
        self->held[self->noted_count].rank = r;
        self->held[self->noted_count].lock = lock;
        self->noted_count++;
    }
    self->held_count++;
#else
    (void)r;
    (void)lock;
    (void)tried;
#endif
}

CELLAR_PRIVATE void sync_rank_pop(sync_rank r, const void *lock)
{
#if BASE_DEBUG
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; }
    BASE_REQUIRE(self->held_count > 0);
    uint32_t n = self->noted_count;
    for (uint32_t i = n; i-- > 0;) {
        if (self->held[i].lock != lock) { continue; }
        BASE_REQUIRE(self->held[i].rank == r);
        memmove(&self->held[i], &self->held[i + 1], (n - i - 1) * sizeof self->held[0]);
        self->noted_count--;
        self->held_count--;
        return;
    }
    BASE_REQUIRE(self->held_count > n); /* else: not held by this thread */
    self->held_count--;
#else
    (void)r;
    (void)lock;
#endif
}

CELLAR_PRIVATE void sync_assert_none(void)
{
#if BASE_DEBUG
    base_thread_record *self = base_thread_self();
    BASE_ASSERT(self->index == 0 || self->held_count == 0);
#endif
}

CELLAR_PRIVATE void sync_assert_not(sync_rank r)
{
#if BASE_DEBUG
    base_thread_record *self = base_thread_self();
    for (uint32_t i = 0; self->index != 0 && i < self->noted_count && !self->forking; i++) {
        BASE_ASSERT(self->held[i].rank != r);
    }
#else
    (void)r;
#endif
}

/* ---- futex: 0 woken or spurious, else EAGAIN (the word changed), EINTR, ETIMEDOUT ---- */

#if BASE_SIM
#include "base/sim.h"

static int sync_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                           const char *point)
{
    return base_sim_wait(word, expected, deadline_ns, point) ? 0 : ETIMEDOUT;
}

static void sync_futex_wake(_Atomic uint32_t *word, int count) { base_sim_wake(word, count); }

CELLAR_PRIVATE unsigned base_cpu_count(void) { return 2; }

static int sync_spins(void) { return 2; }

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

static int sync_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
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

CELLAR_PRIVATE unsigned base_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1u;
}

/* Return the number of pauses before the first sleep. Racing threads store the same value. */
static int sync_spins(void)
{
    static _Atomic int spins;
    int n = base_load_rlx(&spins);
    if (n == 0) {
        n = base_cpu_count() > 1 ? SYNC_SPINS : 1;
        base_store_rlx(&spins, n);
    }
    return n;
}

#endif

/* ---- locks and events: the same code in the simulation ---- */

CELLAR_PRIVATE void sync_lock_slow(sync_lock *l)
{
    for (int i = sync_spins(); i > 0; i--) {
        base_pause();
        if (base_load_rlx(&l->word) == 0u && base_cas_ar(&l->word, 0u, 1u)) { return; }
    }
    int saved = errno;
    uint32_t mark = BASE_MUTANT("sync.waiter_takes_as_1") ? 1u : 2u;
    while (base_xchg_ar(&l->word, mark) != 0u) {
        (void)sync_futex_wait(&l->word, 2u, UINT64_MAX, "sync.lock"); /* any return: try again */
    }
    errno = saved;
}

CELLAR_PRIVATE bool sync_lock_until(sync_lock *l, uint64_t deadline_ns)
{
    int saved = errno, e = 0;
    while (e != ETIMEDOUT && base_xchg_ar(&l->word, 2u) != 0u) {
        e = sync_futex_wait(&l->word, 2u, deadline_ns, "sync.lock_until");
    }
    errno = saved;
    return e != ETIMEDOUT; /* a 2 left behind costs the holder one needless wake */
}

CELLAR_PRIVATE void sync_wake_slow(sync_lock *l)
{
    if (BASE_MUTANT("sync.drop_without_wake")) { return; }
    int saved = errno;
    sync_futex_wake(&l->word, 1);
    errno = saved;
}

CELLAR_PRIVATE bool sync_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    sync_assert_none();
    int saved = errno;
    int e = 0;
    while (base_load_acq(word) == expected) {
        e = sync_futex_wait(word, expected, deadline_ns, "sync.wait");
        if (e != EINTR) { break; }
    }
    errno = saved;
    return e != ETIMEDOUT;
}

CELLAR_PRIVATE void sync_wake(_Atomic uint32_t *word, int count)
{
    int saved = errno;
    sync_futex_wake(word, count);
    errno = saved;
}

CELLAR_PRIVATE void base_guarded(void (*fn)(void *), void (*end)(void *), void *ctx)
{
    pthread_cleanup_push(end, ctx);
    fn(ctx);
    pthread_cleanup_pop(1);
}

#if BASE_SIM

CELLAR_PRIVATE void base_yield(void) { base_sim_point("pause"); }
CELLAR_PRIVATE void base_sleep_ns(uint64_t ns) { base_sim_sleep(ns); }

CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name)
{
    if (base_fault_alloc("base.thread_start")) { return EAGAIN; }
    t->fn = fn;
    t->arg = arg;
    return base_sim_thread_start(t, name);
}

CELLAR_PRIVATE void base_thread_join(base_thread *t)
{
    sync_assert_none();
    base_sim_thread_join(t);
}

#else

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

/* ---- threads ---- */

static void *sync_thread_main(void *p)
{
    base_thread *t = p;
    int old;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    (void)pthread_setname_np(pthread_self(), t->name); /* failure is harmless */
    base_sigbus_hear();
    t->fn(t->arg);
    base_store_rel(&t->running, 0u);
    return NULL;
}

/* Start the thread with all signals blocked from its first instruction: it inherits the mask of its
 * creator. */
CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name)
{
    BASE_ASSERT(strlen(name) < sizeof t->name);
    if (base_fault_alloc("base.thread_start")) { return EAGAIN; }
    t->fn = fn;
    t->arg = arg;
    snprintf(t->name, sizeof t->name, "%s", name);
    base_store_rlx(&t->running, 1u);
    pthread_attr_t attr;
    int e = pthread_attr_init(&attr);
    if (e != 0) { goto out; }
    long least = sysconf(_SC_THREAD_STACK_MIN);
    size_t stack = SYNC_STACK_BYTES;
    if (least > 0 && stack < (size_t)least * 2) { stack = (size_t)least * 2; }
    (void)pthread_attr_setstacksize(&attr, stack); /* refused: the default size applies */
    sigset_t all, before;
    sigfillset(&all);
    e = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (e != 0) { goto drop_attr; }
    pthread_t thread;
    e = pthread_create(&thread, &attr, sync_thread_main, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e == 0) {
        _Static_assert(sizeof thread <= sizeof t->handle, "a pthread_t fits the handle");
        t->handle = 0;
        memcpy(&t->handle, &thread, sizeof thread);
    }
drop_attr:
    (void)pthread_attr_destroy(&attr);
out:
    if (e != 0) { base_store_rlx(&t->running, 0u); }
    return e;
}

CELLAR_PRIVATE void base_thread_join(base_thread *t)
{
    sync_assert_none();
    pthread_t thread;
    memcpy(&thread, &t->handle, sizeof thread);
    int state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* a close must complete */
    int e = pthread_join(thread, NULL);
    (void)pthread_setcancelstate(state, &state);
    BASE_REQUIRE(e == 0);
}

#endif
