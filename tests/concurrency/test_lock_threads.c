/* SPDX-License-Identifier: MIT
 *
 * Aim:    keyed locks under real threads: never two owners, first come first served, deadlines
 *         kept, nothing lost by threads that exit or are cancelled, by holds that end while others
 *         wait, by forks.
 * Method: owners write into a fake store that rejects smaller fences and notes the owner inside;
 *         queues are built one waiter at a time (the table says how many wait); the clock is the
 *         system's. LOCK_OPS=100000000 for the long run. */
#include "tests/support/lock_audit.h"
#include "tests/support/many_threads.h"
#include "tests/support/no_wait.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "cellar_lock.h"
#include "lock/record.h"

#define SLOW (T_COST > 1 ? 10u : 1u)

static cellar_locks *open_table(const cellar_locks_config *cfg)
{
    cellar_locks *t = NULL;
    T_REQUIRE(cellar_locks_open(cfg, &t) == CELLAR_OK);
    return t;
}

static cellar_locks_stats figures(cellar_locks *t)
{
    cellar_locks_stats s = cellar_locks_stats_default();
    T_EQ_I64(cellar_locks_stats_get(t, &s), CELLAR_OK);
    return s;
}

static void shut(cellar_locks *t)
{
    T_CHECK(lock_audit(t));
    T_EQ_U64(figures(t).waiting, 0);
    cellar_locks_close(t);
}

static void wait_for_waiters(cellar_locks *t, uint64_t count)
{
    while (figures(t).waiting != count) { base_sleep_ns(200000); }
}

static cellar_lock_opts opts(int64_t wait_timeout_ms, int64_t hold_ms, uint32_t flags)
{
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = wait_timeout_ms,
                           .hold_ms = hold_ms, .flags = flags };
    return o;
}

/* ---- never two owners ---- */

enum { THREADS = 4, KEYS = 6 };

static struct {
    cellar_locks *t;
    _Atomic uint32_t inside[KEYS]; /* owners in the store now */
    _Atomic uint64_t fence[KEYS];  /* the store's: the highest it has seen */
    _Atomic uint64_t done;
    uint64_t plain[KEYS];          /* unprotected: ThreadSanitizer looks on */
    uint64_t ops;
    uint32_t many;
} store;

static void store_write(unsigned k, uint64_t fence)
{
    T_CHECK(atomic_fetch_add(&store.inside[k], 1) == 0);
    T_CHECK(atomic_load(&store.fence[k]) < fence);
    atomic_store(&store.fence[k], fence);
    store.plain[k]++;
    T_CHECK(atomic_fetch_sub(&store.inside[k], 1) == 1);
}

static void *own_one(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() + (uint64_t)(uintptr_t)arg);
    while (atomic_fetch_add(&store.done, 1) < store.ops) {
        /* One hot key among quieter ones, so that fast and slow ways meet. */
        const unsigned k = (unsigned)(base_rng_below(&r, 4) == 0 ? 0 : base_rng_below(&r, KEYS));
        const char key[2] = { 'k', (char)('0' + k) };
        cellar_lock lk;
        const bool waits = base_rng_below(&r, 8) != 0;
        const uint32_t bound = base_rng_below(&r, 16) == 0 ? CELLAR_LOCK_THREAD_BOUND : 0;
        const cellar_lock_opts o = opts(60000, 60000, bound | (waits ? 0 : CELLAR_LOCK_NO_WAIT));
        const cellar_err err = cellar_lock_acquire(store.t, key, 2, &o, &lk);
        if (err != CELLAR_OK) {
            T_CHECK(err == CELLAR_E_BUSY && !waits);
            continue;
        }
        store_write(k, lk.fence);
        if (base_rng_below(&r, 32) == 0) {
            T_EQ_I64(cellar_lock_extend(store.t, &lk, 60000), CELLAR_OK);
        }
        T_EQ_I64(cellar_lock_release(store.t, &lk), CELLAR_OK);
        if (base_rng_below(&r, 4096) == 0) { (void)cellar_tick(store.t, 0, NULL); }
    }
    return NULL;
}

static void run_threads(void *(*fn)(void *))
{
    pthread_t t[THREADS];
    start_numbered(t, THREADS, fn, 0);
    join_threads(t, THREADS);
}

T_CASE(lock_never_two_owners)
{
    for (uint32_t barging = 0; barging < 2; barging++) {
        cellar_locks_config cfg = { .struct_size = sizeof cfg, .barging = barging };
        memset(&store, 0, sizeof store);
        store.t = open_table(&cfg);
        store.ops = t_env_u64("LOCK_OPS", t_share(1100000 / SLOW)) / (barging != 0 ? 10 : 1);
        run_threads(own_one);
        uint64_t sum = 0;
        for (unsigned k = 0; k < KEYS; k++) { sum += store.plain[k]; }
        const cellar_locks_stats s = figures(store.t);
        T_EQ_U64(s.acquired, sum);
        T_EQ_U64(sum + s.busy, store.ops);
        T_EQ_U64(s.held, 0);
        printf("# %" PRIu64 " acquisitions, %" PRIu64 " handed over, %" PRIu64 " refused busy\n",
               sum, s.handed_over, s.busy);
        shut(store.t);
    }
}

/* Keys that come and go, so that records, pages and stripes change hands under the fast way. */
static void *own_fleeting(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() * 3 + (uint64_t)(uintptr_t)arg);
    while (atomic_fetch_add(&store.done, 1) < store.ops) {
        const unsigned k = (unsigned)base_rng_below(&r, KEYS);
        uint64_t key[2] = { k, 0 };
        cellar_lock lk, side;
        T_EQ_I64(cellar_lock_acquire(store.t, key, sizeof key, NULL, &lk), CELLAR_OK);
        store_write(k, lk.fence);
        key[1] = base_rng_next(&r) | 1;
        T_EQ_I64(cellar_lock_acquire(store.t, key, sizeof key, NULL, &side), CELLAR_OK);
        T_EQ_I64(cellar_lock_release(store.t, &side), CELLAR_OK);
        T_EQ_I64(cellar_lock_release(store.t, &lk), CELLAR_OK);
        if (base_rng_below(&r, 64) == 0) { (void)cellar_tick(store.t, 0, NULL); }
    }
    return NULL;
}

T_CASE(records_change_keys_under_their_users)
{
    memset(&store, 0, sizeof store);
    store.t = open_table(NULL);
    store.ops = 100000 / SLOW;
    run_threads(own_fleeting);
    const cellar_locks_stats s = figures(store.t);
    T_EQ_U64(s.acquired, 2 * store.ops);
    (void)cellar_tick(store.t, 0, NULL);
    T_EQ_U64(figures(store.t).records, 0);
    shut(store.t);
}

/* ---- the queue ---- */

static struct {
    cellar_locks *t;
    _Atomic uint32_t next;
    uint32_t order[8];
    uint64_t fence[5]; /* of the hold of each thread */
} line;

static void *stand_in_line(void *arg)
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(60000, 60000, 0);
    T_EQ_I64(cellar_lock_acquire(line.t, "line", 4, &o, &lk), CELLAR_OK);
    line.order[atomic_fetch_add(&line.next, 1)] = (uint32_t)(uintptr_t)arg;
    T_EQ_I64(cellar_lock_release(line.t, &lk), CELLAR_OK);
    return NULL;
}

T_CASE(lock_fair_order)
{
    memset(&line, 0, sizeof line);
    line.t = open_table(NULL);
    for (int round = 0; round < 10; round++) {
        atomic_store(&line.next, 0u);
        cellar_lock lk;
        pthread_t t[8];
        T_EQ_I64(cellar_lock_acquire(line.t, "line", 4, NULL, &lk), CELLAR_OK);
        for (unsigned i = 0; i < 8; i++) {
            T_REQUIRE(pthread_create(&t[i], NULL, stand_in_line, (void *)(uintptr_t)i) == 0);
            wait_for_waiters(line.t, i + 1);
        }
        T_EQ_I64(cellar_lock_release(line.t, &lk), CELLAR_OK);
        /* A running thread does not get in before the waiters. */
        while (atomic_load(&line.next) < 7) {
            if (cellar_lock_acquire(line.t, "line", 4, NO_WAIT, &lk) == CELLAR_OK) {
                T_CHECK(atomic_load(&line.next) >= 8);
                T_EQ_I64(cellar_lock_release(line.t, &lk), CELLAR_OK);
            }
        }
        join_threads(t, 8);
        for (unsigned i = 0; i < 8; i++) { T_EQ_U64(line.order[i], i); }
    }
    T_EQ_U64(figures(line.t).handed_over, 80);
    shut(line.t);
}

/* ---- deadlines ---- */

static void *hold_bound(void *arg) /* takes a key and ends without giving it back */
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(0, 1000000, CELLAR_LOCK_THREAD_BOUND);
    T_EQ_I64(cellar_lock_acquire(arg, "k", 1, &o, &lk), CELLAR_OK);
    return NULL;
}

#define LOCKS(fn) T_WITH(fn, cellar_locks *t, t, open_table(NULL), shut(t))

T_CASE_ON(lock_timeout_is_never_early, LOCKS)
{
    cellar_lock lk, other;
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lk), CELLAR_OK);
    for (int64_t wait_timeout_ms = 1; wait_timeout_ms <= 64; wait_timeout_ms *= 2) {
        const cellar_lock_opts o = opts(wait_timeout_ms, 60000, 0);
        const uint64_t start_ns = base_now_ns();
        T_EQ_I64(cellar_lock_acquire(t, "k", 1, &o, &other), CELLAR_E_TIMEOUT);
        T_CHECK((int64_t)((base_now_ns() - start_ns) / 1000000) + 1 >= wait_timeout_ms);
    }
    T_EQ_U64(figures(t).timeouts, 7);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
}

/* A hold ends while others wait for the key: the first of them has it at that moment, and the
 * second watches the hold of the first. */
static void *take_and_keep(void *arg)
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(60000, 30, 0);
    T_EQ_I64(cellar_lock_acquire(line.t, "line", 4, &o, &lk), CELLAR_OK);
    line.fence[(uintptr_t)arg] = lk.fence;
    return NULL; /* the hold ends it */
}

/* False: the hold ended before all five stood there; their order is any then. */
static bool five_inherit_a_hold(int64_t hold_ms)
{
    memset(&line, 0, sizeof line);
    line.t = open_table(NULL);
    cellar_lock lk;
    const cellar_lock_opts o = opts(0, hold_ms, 0);
    pthread_t t[5];
    T_EQ_I64(cellar_lock_acquire(line.t, "line", 4, &o, &lk), CELLAR_OK);
    for (unsigned i = 0; i < 5; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, take_and_keep, (void *)(uintptr_t)i) == 0);
        while (figures(line.t).waiting != i + 1 && figures(line.t).expired == 0) {
            base_sleep_ns(200000);
        }
    }
    const bool in_time = figures(line.t).expired == 0;
    join_threads(t, 5);
    for (unsigned i = 1; i < 5 && in_time; i++) { T_CHECK(line.fence[i - 1] < line.fence[i]); }
    T_CHECK(figures(line.t).expired >= 5);
    T_EQ_I64(cellar_lock_release(line.t, &lk), CELLAR_E_LOST);
    shut(line.t);
    return in_time;
}

T_CASE(hold_ends_while_others_wait)
{
    int64_t hold_ms = 150;
    while (hold_ms < 60000 && !five_inherit_a_hold(hold_ms)) { hold_ms *= 2; }
    T_CHECK(hold_ms < 60000);
}

/* A shorter hold wakes a waiter that sleeps by the longer one. */
T_CASE(shortened_holds_are_noticed)
{
    memset(&line, 0, sizeof line);
    line.t = open_table(NULL);
    cellar_lock lk;
    pthread_t t;
    const cellar_lock_opts o = opts(0, 1000000, 0);
    T_EQ_I64(cellar_lock_acquire(line.t, "line", 4, &o, &lk), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, take_and_keep, NULL) == 0);
    wait_for_waiters(line.t, 1);
    T_EQ_I64(cellar_lock_extend(line.t, &lk, 5), CELLAR_OK);
    T_REQUIRE(pthread_join(t, NULL) == 0); /* in 5 ms, not in 1,000 s */
    T_EQ_I64(cellar_lock_release(line.t, &lk), CELLAR_E_LOST);
    shut(line.t);
}

/* ---- threads that end ---- */

static _Atomic uint32_t inside;

static unsigned died;
static void on_death(const void *key, size_t key_len, uint64_t fence, int64_t held_ms,
                     cellar_lock_lost cause, void *ctx)
{
    (void)ctx;
    (void)fence;
    (void)held_ms;
    T_CHECK(key_len == 1 && memcmp(key, "k", 1) == 0);
    died += cause == CELLAR_LOCK_LOST_OWNER_DIED;
}

static void *wait_for_k(void *arg)
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(60000, 60000, 0);
    T_EQ_I64(cellar_lock_acquire(arg, "k", 1, &o, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(arg, &lk), CELLAR_OK);
    return NULL;
}

T_CASE(lock_thread_exit_cancel)
{
#if defined(__SANITIZE_ADDRESS__)
    T_SKIP("AddressSanitizer takes the stack of a cancelled thread for overrun");
    return;
#endif
    cellar_locks *t = open_table(NULL);
    pthread_t b;
    cellar_lock lk;
    /* A waiter that is cancelled waits on: acquire is no cancellation point. */
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lk), CELLAR_OK);
    T_REQUIRE(pthread_create(&b, NULL, wait_for_k, t) == 0);
    wait_for_waiters(t, 1);
    T_EQ_I64(pthread_cancel(b), 0);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    T_REQUIRE(pthread_join(b, NULL) == 0);
    T_EQ_U64(figures(t).held, 0);
    shut(t);
}

/* A thread ends while it holds a bound lock: a later call gets the lock immediately, a waiter
 * within 100 ms, both long before the end of the hold. */
T_CASE_ON(bound_locks_end_with_their_thread, LOCKS)
{
    cellar_lock lk;
    T_EQ_I64(cellar_locks_watch(t, on_death, NULL), CELLAR_OK);
    died = 0;
    t_live_and_end(hold_bound, t);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lk), CELLAR_OK);
    T_EQ_U64(died, 1);
    T_EQ_I64(cellar_lock_release(t, &lk), CELLAR_OK);
    t_live_and_end(hold_bound, t);
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_EQ_U64(died, 2);
    T_EQ_U64(figures(t).owner_died, 2);
}

static _Atomic uint32_t may_end;
static void *hold_bound_for_a_while(void *arg)
{
    cellar_lock lk;
    const cellar_lock_opts o = opts(0, 1000000, CELLAR_LOCK_THREAD_BOUND);
    T_EQ_I64(cellar_lock_acquire(arg, "k", 1, &o, &lk), CELLAR_OK);
    atomic_store(&inside, 1u);
    while (atomic_load(&may_end) == 0) { base_sleep_ns(100000); }
    return NULL;
}

T_CASE_ON(waiters_notice_a_dead_owner, LOCKS)
{
    pthread_t a, b;
    atomic_store(&inside, 0u);
    atomic_store(&may_end, 0u);
    T_REQUIRE(pthread_create(&a, NULL, hold_bound_for_a_while, t) == 0);
    while (atomic_load(&inside) == 0) { base_sleep_ns(100000); }
    T_REQUIRE(pthread_create(&b, NULL, wait_for_k, t) == 0);
    wait_for_waiters(t, 1);
    atomic_store(&may_end, 1u);
    T_REQUIRE(pthread_join(a, NULL) == 0 && pthread_join(b, NULL) == 0);
    T_EQ_U64(figures(t).owner_died, 1);
}

/* ---- several keys ---- */

static void *own_many(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() * 7 + (uint64_t)(uintptr_t)arg);
    for (uint64_t i = 0; i < store.ops; i++) {
        char text[3][2];
        cellar_bytes keys[3];
        cellar_lock lk[3];
        const unsigned first = (unsigned)base_rng_below(&r, KEYS);
        for (unsigned k = 0; k < 3; k++) { /* three different ones, in any order */
            text[k][0] = 'k';
            text[k][1] = (char)('0' + (first + k * 5) % KEYS);
            keys[k] = (cellar_bytes){ text[k], 2 };
        }
        const cellar_lock_opts o = opts(60000, 60000, 0);
        T_EQ_I64(cellar_lock_acquire_many(store.t, keys, 3, &o, lk), CELLAR_OK);
        for (unsigned k = 0; k < 3; k++) {
            store_write((unsigned)(text[k][1] - '0'), lk[k].fence);
        }
        T_EQ_I64(cellar_lock_release_many(store.t, lk, 3), CELLAR_OK);
    }
    return NULL;
}

T_CASE(many_never_wait_in_a_circle)
{
    memset(&store, 0, sizeof store);
    store.t = open_table(NULL);
    store.ops = 5000 / SLOW;
    run_threads(own_many);
    T_EQ_U64(figures(store.t).timeouts, 0);
    T_EQ_U64(figures(store.t).acquired, THREADS * 3 * store.ops);
    shut(store.t);
}

/* ---- fork ---- */

static _Atomic uint32_t stop;
static void *own_until_stopped(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() * 11 + (uint64_t)(uintptr_t)arg);
    while (atomic_load(&stop) == 0) {
        const unsigned k = (unsigned)base_rng_below(&r, KEYS);
        const char key[2] = { 'k', (char)('0' + k) };
        cellar_lock lk;
        T_EQ_I64(cellar_lock_acquire(store.t, key, 2, NULL, &lk), CELLAR_OK);
        store_write(k, lk.fence);
        T_EQ_I64(cellar_lock_release(store.t, &lk), CELLAR_OK);
    }
    return NULL;
}

static void in_the_child(cellar_lock mine)
{
    (void)alarm(60);
    T_EQ_I64(cellar_lock_release(store.t, &mine), CELLAR_E_FORKED);
    T_EQ_I64(cellar_lock_extend(store.t, &mine, 10), CELLAR_E_FORKED);
    T_EQ_I64(cellar_lock_check(store.t, &mine), CELLAR_E_FORKED);
    cellar_lock lk;
    for (unsigned i = 0; i < KEYS; i++) {
        const char key[2] = { 'k', (char)('0' + i) };
        T_EQ_I64(cellar_lock_acquire(store.t, key, 2, NULL, &lk), CELLAR_E_FORKED);
    }
    cellar_locks_close(store.t);
    cellar_locks *own = open_table(NULL);
    T_EQ_I64(cellar_lock_acquire(own, "k", 1, NULL, &lk), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(own, &lk), CELLAR_OK);
    shut(own);
    _exit(t_failed());
}

T_CASE(child_is_refused_by_the_table_of_its_parent)
{
    memset(&store, 0, sizeof store);
    atomic_store(&stop, 0u);
    store.t = open_table(NULL);
    pthread_t t[THREADS];
    cellar_lock mine;
    char key[60]; /* with a block of its own */
    memset(key, 'm', sizeof key);
    const cellar_lock_opts long_hold = opts(0, 1000000, 0);
    T_EQ_I64(cellar_lock_acquire(store.t, key, sizeof key, &long_hold, &mine), CELLAR_OK);
    start_numbered(t, THREADS, own_until_stopped, 0);
    for (int round = 0; round < (BASE_TSAN ? 3 : 30); round++) {
        const pid_t pid = fork();
        T_REQUIRE(pid >= 0);
        if (pid == 0) { in_the_child(mine); }
        int status = -1;
        T_REQUIRE(waitpid(pid, &status, 0) == pid);
        T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1u);
    join_threads(t, THREADS);
    T_EQ_I64(cellar_lock_release(store.t, &mine), CELLAR_OK); /* the parent noticed nothing */
    shut(store.t);
}

/* ---- no memory ---- */

/* One table's life: every call may say that memory is missing, and then works. */
static uint64_t life(uint64_t nth, bool sticky)
{
    static const char *const keys[] = { "a", "b", "d",
                                        "c, and so much more that it needs a block of its own" };
    cellar_locks *t = NULL;
    (void)base_fault_alloc_arm(nth, sticky);
    cellar_err err = cellar_locks_open(NULL, &t);
    if (t == NULL) {
        T_CHECK(err == CELLAR_E_NOMEM);
        const uint64_t seen = base_fault_alloc_arm(0, false);
        T_REQUIRE(cellar_locks_open(NULL, &t) == CELLAR_OK);
        cellar_locks_close(t);
        return seen;
    }
    cellar_lock lk[4];
    for (unsigned i = 0; i < 4; i++) {
        err = cellar_lock_acquire(t, keys[i], strlen(keys[i]), NULL, &lk[i]);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        T_EQ_U64(lk[i].fence != 0, err == CELLAR_OK);
    }
    const uint64_t seen = base_fault_alloc_arm(0, false);
    T_CHECK(lock_audit(t));
    uint64_t held = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (lk[i].fence == 0) {
            T_EQ_I64(cellar_lock_acquire(t, keys[i], strlen(keys[i]), NULL, &lk[i]), CELLAR_OK);
        } else {
            held++;
        }
    }
    T_EQ_U64(figures(t).rejected_memory, 4 - held);
    T_EQ_I64(cellar_lock_release_many(t, lk, 4), CELLAR_OK);
    T_EQ_I64(cellar_tick(t, 0, NULL), CELLAR_OK);
    T_EQ_U64(figures(t).records, 0);
    shut(t);
    return seen;
}

T_CASE(lock_oom)
{
    const uint64_t calls = life(0, false);
    T_CHECK(calls >= 6);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        (void)life(nth, false);
        (void)life(nth, true);
    }
    printf("# %" PRIu64 " allocations, each failed once and for good\n", calls);
}

T_MAIN("cellar_lock_threads")
