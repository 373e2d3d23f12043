/* SPDX-License-Identifier: MIT
 *
 * Aim:    locks exclude, ranks abort, events lose no wake-up, waits end in time, threads start with
 *         all signals blocked and with their name.
 * Method: threads that count; forked children that break the order and must die by SIGABRT; signals
 *         sent into a wait; mask and name read from inside the thread. */
#include "tests/support/t.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sync.h"

/* ---- locks ---- */

static sync_lock lock_a, lock_b, lock_c;
static uint64_t counter;

static void count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100000; i++) {
        sync_take(STATS, &lock_a);
        counter++;
        sync_drop(STATS, &lock_a);
    }
}

T_CASE(lock_excludes_other_threads)
{
    base_thread t[4];
    counter = 0;
    for (int i = 0; i < 4; i++) {
        T_REQUIRE(base_thread_start(&t[i], count_up, NULL, "count", 0) == 0);
    }
    for (int i = 0; i < 4; i++) { base_thread_join(&t[i]); }
    T_EQ_U64(counter, 400000);
    T_EQ_U64(base_load_rlx(&lock_a.word), 0);
}

T_CASE(try_on_a_held_lock_does_not_wait)
{
    T_REQUIRE(sync_try(STATS, &lock_a));
    T_CHECK(!sync_try(STATS, &lock_a));
    sync_drop(STATS, &lock_a);
    T_REQUIRE(sync_try(STATS, &lock_a));
    sync_reset(&lock_a); /* as in a forked child, which also resets the rank record */
    sync_rank_pop(SYNC_RANK_STATS, &lock_a);
    T_CHECK(sync_try(STATS, &lock_a));
    sync_drop(STATS, &lock_a);
}

/* ---- ranks: each break_... must kill its process, each keep_... must not ---- */

static sync_lock pair[2];

static SYNC_UNCHECKED void break_order(void) { sync_take(STATS, &lock_a); sync_take(L1_BUCKET, &lock_b); }
static SYNC_UNCHECKED void break_equal(void) { sync_take(L1_LANE, &pair[0]); sync_take(L1_LANE, &pair[1]); }
static SYNC_UNCHECKED void break_ascending(void)
{
    sync_take(L1_BUCKET, &pair[1]);
    sync_take(L1_BUCKET, &pair[0]);
}
static SYNC_UNCHECKED void break_drop(void) { sync_drop(STATS, &lock_a); }
static SYNC_UNCHECKED void break_drop_rank(void) { sync_take(STATS, &lock_a); sync_drop(LOG, &lock_a); }
static SYNC_UNCHECKED void break_wait(void)
{
    static _Atomic uint32_t word;
    sync_take(STATS, &lock_a);
    (void)sync_wait(&word, 0, base_now_ns() + 1000000);
}
static SYNC_UNCHECKED void break_log(void)
{
    static const base_clock system = { NULL, NULL, NULL };
    base_log l;
    base_log_init(&l, &system, NULL, NULL, BASE_LOG_DEBUG);
    base_store_rlx(&l.level, BASE_LOG_DEBUG);
    sync_take(STATS, &lock_a);
    base_log(&l, BASE_LOG_ERROR, "m", 1, "under a lock");
}
static SYNC_UNCHECKED void keep_order(void)
{
    sync_take(L1_LANE, &pair[0]);
    if (!sync_try(L1_LANE, &pair[1])) { abort(); } /* equal rank, by a try that never waits */
    sync_take(L1_BUCKET, &lock_a);
    sync_drop(L1_LANE, &pair[0]); /* locks may be dropped in any order */
    sync_take(STATS, &lock_c);
    sync_drop(STATS, &lock_c);
    sync_drop(L1_BUCKET, &lock_a);
    sync_drop(L1_LANE, &pair[1]);
    sync_take(L1_BUCKET, &pair[0]);
    sync_take(L1_BUCKET, &pair[1]);
    sync_drop(L1_BUCKET, &pair[0]);
    sync_drop(L1_BUCKET, &pair[1]);
    sync_assert_none();
}
static SYNC_UNCHECKED void keep_many(void)
{
    static sync_lock many[200];
    for (int i = 0; i < 200; i++) { sync_take(L1_BUCKET, &many[i]); }
    for (int i = 0; i < 200; i++) { sync_drop(L1_BUCKET, &many[i]); }
    sync_assert_none();
}

/* Run fn in a child. Return the signal that ended the child, 0 if it exited. */
static int signal_of(void (*fn)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = { 0, 0 };
        (void)setrlimit(RLIMIT_CORE, &none);
        if (freopen("/dev/null", "w", stderr) == NULL) { _exit(2); }
        fn();
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) { return -1; }
    if (WIFSIGNALED(status)) { return WTERMSIG(status); }
    return WEXITSTATUS(status) == 0 ? 0 : -2;
}

T_CASE(wrong_lock_order_aborts)
{
    static void (*const broken[])(void) = { break_order, break_equal, break_ascending, break_drop,
                                            break_drop_rank, break_wait, break_log };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        T_EQ_I64(signal_of(broken[i]), SIGABRT);
    }
    T_EQ_I64(signal_of(keep_order), 0);
    T_EQ_I64(signal_of(keep_many), 0);
}

/* ---- events ---- */

static struct { _Atomic uint32_t turn; uint32_t rounds; } ping;

static void ping_main(void *arg)
{
    uint32_t mine = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < 20000; i++) {
        while (base_load_acq(&ping.turn) != mine) {
            (void)sync_wait(&ping.turn, 1 - mine, UINT64_MAX);
        }
        ping.rounds++;
        base_store_sc(&ping.turn, 1 - mine);
        sync_wake(&ping.turn, 1);
    }
}

T_CASE(no_wake_up_is_lost)
{
    base_thread t[2];
    memset(&ping, 0, sizeof ping);
    T_REQUIRE(base_thread_start(&t[0], ping_main, (void *)0, "ping", 0) == 0);
    T_REQUIRE(base_thread_start(&t[1], ping_main, (void *)1, "pong", 0) == 0);
    base_thread_join(&t[0]);
    base_thread_join(&t[1]);
    T_EQ_U64(ping.rounds, 40000);
}

T_CASE(wait_ends_at_its_deadline)
{
    _Atomic uint32_t word = 3;
    T_CHECK(sync_wait(&word, 4, UINT64_MAX)); /* the word differs already */
    uint64_t start = base_now_ns();
    T_CHECK(!sync_wait(&word, 3, start + 5000000));
    T_CHECK(base_now_ns() - start >= 5000000);
    T_CHECK(!sync_wait(&word, 3, 1)); /* deadline in the past */
    errno = 77;
    T_CHECK(!sync_wait(&word, 3, base_now_ns() + 1));
    sync_wake(&word, INT32_MAX); /* no waiter: harmless */
    T_EQ_I64(errno, 77);
}

static void on_alarm(int number) { (void)number; }

/* One signal per millisecond, without SA_RESTART: the wait neither ends early nor grows. */
T_CASE(signal_neither_ends_nor_extends_a_wait)
{
    struct sigaction action = { .sa_handler = on_alarm }, old;
    T_REQUIRE(sigaction(SIGALRM, &action, &old) == 0);
    timer_t timer = NULL;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    T_REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
    T_REQUIRE(timer_settime(timer, 0, &every, NULL) == 0);
    _Atomic uint32_t word = 0;
    uint64_t start = base_now_ns();
    T_CHECK(!sync_wait(&word, 0, start + 30000000));
    T_CHECK(base_now_ns() - start >= 30000000);
    start = base_now_ns();
    base_sleep_ns(20000000);
    T_CHECK(base_now_ns() - start >= 20000000);
    timer_delete(timer);
    sigaction(SIGALRM, &old, NULL);
}

/* ---- threads ---- */

static struct { sigset_t mask; char name[16]; uint32_t running; base_thread thread; } born;

static void look_around(void *arg)
{
    T_CHECK(arg == &born);
    pthread_sigmask(SIG_SETMASK, NULL, &born.mask);
    prctl(PR_GET_NAME, born.name);
    born.running = base_load_acq(&born.thread.running);
}

T_CASE(thread_starts_named_with_signals_blocked)
{
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    T_REQUIRE(base_thread_start(&born.thread, look_around, &born, "cellar-test-xyz", 0) == 0);
    base_thread_join(&born.thread);
    static const int numbers[] = { SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGPIPE, SIGPROF };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        T_CHECK(sigismember(&born.mask, numbers[i]) == 1);
    }
    T_EQ_STR(born.name, "cellar-test-xyz");
    T_EQ_U64(born.running, 1);
    T_EQ_U64(base_load_acq(&born.thread.running), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int n = 1; n < 32; n++) { T_EQ_I64(sigismember(&after, n), sigismember(&before, n)); }
}

T_CASE(failed_thread_start_returns_a_code)
{
    base_thread t = { 0 };
    (void)base_fault_alloc_arm(1, false);
    T_EQ_I64(base_thread_start(&t, look_around, &born, "never", 0), EAGAIN);
    T_EQ_STR(base_fault_alloc_site(), "base.thread_start");
    (void)base_fault_alloc_arm(0, false);
    T_CHECK(base_thread_try_join(&t)); /* there is none to wait for */
    T_CHECK(base_cpu_count() >= 1);
    base_yield();
}

static void *sleep_with_a_cancel_pending(void *arg)
{
    base_thread t;
    unsigned char bytes[16];
    _Atomic uint32_t never = 0;
    (void)pthread_cancel(pthread_self());
    base_sleep_ns(1000);
    T_CHECK(base_random_bytes(bytes, sizeof bytes));
    T_CHECK(!sync_wait(&never, 0, base_now_ns() + 1000));
    T_REQUIRE(base_thread_start(&t, look_around, &born, "cancel", 0) == 0);
    base_thread_join(&t);
    *(bool *)arg = true;
    pthread_testcancel();
    return NULL;
}

/* A waiting thread may hold a lock: no wait of the library is a cancellation point. */
T_CASE(no_wait_is_a_cancellation_point)
{
#if defined(__SANITIZE_ADDRESS__)
    T_SKIP("AddressSanitizer reports the stack of a cancelled thread as overrun");
    return;
#endif
    pthread_t t;
    bool reached = false;
    void *end = NULL;
    T_REQUIRE(pthread_create(&t, NULL, sleep_with_a_cancel_pending, &reached) == 0);
    T_REQUIRE(pthread_join(t, &end) == 0);
    T_CHECK(reached);
    T_CHECK(end == PTHREAD_CANCELED);
}

T_MAIN("base_sync")
