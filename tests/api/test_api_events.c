/* SPDX-License-Identifier: MIT
 *
 * Aim:    A process forks with eight busy threads, its threads end or are cancelled, signals arrive
 *         ten thousand times a second: the cache stays usable.
 * Method: Children continue, audit and report by exit code. Threads are cancelled at any
 *         instruction. An interval timer interrupts threads that check their reads. An alarm ends a
 *         hung run. */
#include "tests/support/scan.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"
#include "tests/support/told.h"

/* Fewer rounds where a sanitizer makes each step ten times slower. */
#define EVENTS_SLOW (T_COST > 1 ? 8 : 1)

static cellar *open_bytes(uint64_t bytes, uint32_t no_threads)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = bytes, .host.no_threads = no_threads };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static bool count_entry(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint64_t *)ctx;
    return true;
}

static uint64_t scan_all(cellar *c)
{
    uint64_t cursor = 0, n = 0;
    do {
        if (cellar_scan(c, &cursor, SCAN(NULL, 0, 64), count_entry, &n) != CELLAR_OK) { return 0; }
    } while (cursor != 0);
    return n;
}

/* ---- threads that call everything ---- */

typedef struct busy {
    cellar *c;
    _Atomic int stop, pause;
    _Atomic uint64_t ops;
    _Atomic uint32_t number;
    _Atomic int settled; /* threads that have made their first calls */
} busy;

static void one_step(cellar *c, uint32_t x)
{
    unsigned char value[3000];
    const uint32_t key = (x >> 10) % 4000;
    memset(value, (int)(key & 255u), sizeof value);
    switch ((x >> 3) & 7u) {
    case 0: (void)cellar_delete(c, &key, sizeof key); break;
    case 1: (void)cellar_increment(c, "n", 1, 1, 0, NULL, NULL); break;
    case 2: (void)cellar_set(c, &key, sizeof key, value, x % 60, NULL); break;
    case 3: (void)cellar_set(c, &key, sizeof key, value, x % sizeof value, NULL); break;
    case 4: case 5: (void)cellar_set(c, &key, sizeof key, value, 24, NULL); break;
    default: {
        size_t len = 0;
        const cellar_err err = cellar_get(c, &key, sizeof key, value, sizeof value, &len);
        if (err == CELLAR_OK && len != 0) { T_EQ_U64(value[len - 1], key & 255u); }
    }
    }
}

/* Calls after which a thread allocates no more: it has its counters, and its sampled calls (one in
 * 64) have made the histograms. */
enum { SETTLED = 4096 };

/* gcc's ASan leaves red zones where the frame of a cancelled thread was; this frame has none. */
__attribute__((no_sanitize("address"))) static void *work(void *arg)
{
    busy *b = arg;
    uint32_t x = atomic_fetch_add(&b->number, 1) * 77777u + 1;
    uint32_t steps = 0;
    while (!atomic_load(&b->stop)) {
        while (atomic_load(&b->pause)) { usleep(500); }
        x = x * 1664525u + 1013904223u;
        one_step(b->c, x);
        atomic_fetch_add(&b->ops, 1);
        if (++steps == SETTLED) { atomic_fetch_add(&b->settled, 1); }
        pthread_testcancel();
    }
    return NULL;
}

/* ---- fork ---- */

/* In the child: the store of the parent refuses, a store of its own works. Return 0 if all is
 * well. */
static int child_work(busy *b)
{
    char buf[8];
    alarm(30 * t_patience());
    if (cellar_set(b->c, "k", 1, "v", 1, NULL) != CELLAR_E_FORKED) { return 2; }
    if (cellar_get(b->c, "k", 1, buf, sizeof buf, NULL) != CELLAR_E_FORKED) { return 3; }
    if (cellar_get(b->c, "", 0, buf, sizeof buf, NULL) != CELLAR_E_FORKED) { return 4; }
    if (cellar_tick(b->c, 1000, NULL) != CELLAR_E_FORKED) { return 5; }
    if (cellar_close(b->c) != CELLAR_OK) { return 6; }
    cellar *own = open_bytes(4u << 20, 1);
    for (uint32_t i = 0; i < 400; i++) { one_step(own, i * 2654435761u); }
    if (scan_all(own) == 0 || cellar_integrity_check(own) != CELLAR_OK) { return 7; }
    if (cellar_close(own) != CELLAR_OK) { return 8; }
    return t_failed();
}

T_CASE(fork_from_eight_busy_threads)
{
    enum { THREADS = 8 };
    const int forks = (int)t_share(200 / EVENTS_SLOW);
    busy b = { .c = open_bytes(32u << 20, 0) };
    pthread_t t[THREADS];
    alarm(110 * t_patience());
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_create(&t[i], NULL, work, &b) == 0); }
    /* The allocator of a sanitizer is not fork-safe: a thread of the parent that is inside malloc
     * or free at the fork leaves a lock taken, and the child waits for it forever. Threads allocate
     * in their start and in their first calls, so such a build forks after those. */
    while (T_COST > 1 && atomic_load(&b.settled) < THREADS) { usleep(500); }
    for (int i = 0; i < forks; i++) {
        const uint64_t seen = atomic_load(&b.ops);
        while (atomic_load(&b.ops) < seen + 50) { usleep(50); }
        fflush(stdout);
        const pid_t pid = fork();
        T_REQUIRE(pid >= 0);
        if (pid == 0) { _exit(child_work(&b)); }
        atomic_store(&b.pause,
                     1); /* they were busy at the fork; now the child has the processors */
        int status = 0;
        T_REQUIRE(waitpid(pid, &status, 0) == pid);
        atomic_store(&b.pause, 0);
        if (!T_CHECK(WIFEXITED(status)) || !T_EQ_I64(WEXITSTATUS(status), 0)) {
            printf("# child %d ended with status 0x%x\n", i, (unsigned)status);
            break;
        }
    }
    atomic_store(&b.stop, 1);
    for (int i = 0; i < THREADS; i++) { pthread_join(t[i], NULL); }
    alarm(0);
    T_EQ_I64(cellar_integrity_check(b.c), CELLAR_OK);
    T_EQ_I64(cellar_close(b.c), CELLAR_OK);
}

/* ---- threads that end ---- */

/* Cancel threads at any instruction of their work. They end at their next cancellation point, never
 * inside a call. */
T_CASE(cancelled_threads_lose_nothing)
{
    enum { THREADS = 4 };
    const int rounds = (int)t_share(200 / EVENTS_SLOW);
    busy b = { .c = open_bytes(4u << 20, 0) };
    alarm(110 * t_patience());
    for (int i = 0; i < rounds; i++) {
        pthread_t t[THREADS];
        const uint64_t seen = atomic_load(&b.ops);
        for (int k = 0; k < THREADS; k++) { T_REQUIRE(pthread_create(&t[k], NULL, work, &b) == 0); }
        while (atomic_load(&b.ops) < seen + 100) { usleep(50); }
        for (int k = 0; k < THREADS; k++) { T_EQ_I64(pthread_cancel(t[k]), 0); }
        for (int k = 0; k < THREADS; k++) {
            void *end = NULL;
            T_REQUIRE(pthread_join(t[k], &end) == 0);
            T_CHECK(end == PTHREAD_CANCELED);
        }
        T_EQ_I64(cellar_set(b.c, "after", 5, "x", 1, NULL), CELLAR_OK);
    }
    alarm(0);
    T_EQ_I64(cellar_integrity_check(b.c), CELLAR_OK);
    T_EQ_I64(cellar_close(b.c), CELLAR_OK);
}

static void *call_with_a_cancel_pending(void *arg)
{
    int *reached = arg;
    (void)pthread_cancel(pthread_self()); /* takes effect at the first cancellation point */
    cellar *c = open_bytes(2u << 20, 0);  /* starts a thread */
    for (uint32_t i = 0; i < 20000; i++) { one_step(c, i * 2654435761u); }
    T_CHECK(scan_all(c) > 0);
    T_CHECK(cellar_tick(c, 1000, NULL) >= CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK); /* joins it */
    *reached = 1;
    pthread_testcancel();
    return NULL;
}

T_CASE(no_call_is_a_cancellation_point)
{
    pthread_t t;
    int reached = 0;
    void *end = NULL;
    T_REQUIRE(pthread_create(&t, NULL, call_with_a_cancel_pending, &reached) == 0);
    T_REQUIRE(pthread_join(t, &end) == 0);
    T_EQ_I64(reached, 1);
    T_CHECK(end == PTHREAD_CANCELED);
}

static void *use_and_end(void *arg)
{
    busy *b = arg;
    const uint32_t n = atomic_fetch_add(&b->number, 1);
    for (uint32_t i = 0; i < 20; i++) { one_step(b->c, (n * 20 + i) * 2654435761u); }
    if (n % 2 == 0) { pthread_exit(NULL); }
    return NULL;
}

/* Run twenty threads at a time, end half of them by pthread_exit, and measure the held memory. */
T_CASE(ended_threads_leave_no_memory)
{
    busy b = { .c = open_bytes(4u << 20, 0) };
    uint64_t most = 0;
    for (int round = 0; round < 100 / EVENTS_SLOW; round++) {
        pthread_t t[20];
        for (int i = 0; i < 20; i++) {
            T_REQUIRE(pthread_create(&t[i], NULL, use_and_end, &b) == 0);
        }
        for (int i = 0; i < 20; i++) { T_REQUIRE(pthread_join(t[i], NULL) == 0); }
        const cellar_stats st = store_stats(b.c);
        most = st.used_bytes > most ? st.used_bytes : most;
        if (!T_CHECK(st.used_bytes <= st.budget_bytes)) { break; }
    }
    printf("# %" PRIu32 " threads, at most %" PRIu64 " bytes\n", atomic_load(&b.number), most);
    T_EQ_I64(cellar_integrity_check(b.c), CELLAR_OK);
    T_EQ_I64(cellar_close(b.c), CELLAR_OK);
}

/* ---- signals ---- */

static _Atomic uint64_t signals_seen;

static void on_signal(int sig) { (void)sig; atomic_fetch_add(&signals_seen, 1); }

static void *read_and_write(void *arg)
{
    busy *b = arg;
    const uint32_t mine = atomic_fetch_add(&b->number, 1);
    for (uint32_t i = 0; !atomic_load(&b->stop); i++) {
        const uint32_t key[2] = { mine, i % 2000 };
        uint32_t got[8] = { 0 }, want[8];
        for (uint32_t k = 0; k < 8; k++) { want[k] = i * 8 + k; }
        if (!T_EQ_I64(cellar_set(b->c, key, sizeof key, want, sizeof want, NULL), CELLAR_OK) ||
            !T_EQ_I64(cellar_get(b->c, key, sizeof key, got, sizeof got, NULL), CELLAR_OK) ||
            !T_EQ_MEM(got, want, sizeof want)) {
            break;
        }
        atomic_fetch_add(&b->ops, 1);
    }
    return NULL;
}

/* 10,000 signals a second over four threads and the library's own, which blocks signals. */
static void soak(int flags)
{
    enum { THREADS = 4 };
    const uint64_t signals = t_share(3000 / EVENTS_SLOW);
    struct sigaction sa, before;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sa.sa_flags = flags;
    T_REQUIRE(sigaction(SIGALRM, &sa, &before) == 0);
    atomic_store(&signals_seen, 0);
    const struct itimerval every = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
    busy b = { .c = open_bytes(16u << 20, 0) };
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, read_and_write, &b) == 0);
    }
    T_REQUIRE(setitimer(ITIMER_REAL, &every, NULL) == 0);
    unsigned rounds = 0;
    while (atomic_load(&signals_seen) < signals && !t_failed()) {
        T_CHECK(cellar_tick(b.c, 500, NULL) >= CELLAR_OK);
        cellar *own = open_bytes(1u << 20, 0); /* threads start and are joined under signals */
        T_EQ_I64(cellar_set(own, "k", 1, "v", 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_close(own), CELLAR_OK);
        rounds++;
    }
    atomic_store(&b.stop, 1);
    for (int i = 0; i < THREADS; i++) { pthread_join(t[i], NULL); }
    T_REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
    sa.sa_handler = SIG_IGN; /* one may still be pending: valgrind delivers them late */
    T_REQUIRE(sigaction(SIGALRM, &sa, NULL) == 0);
    T_REQUIRE(sigaction(SIGALRM, &before, NULL) == 0);
    printf("# %" PRIu64 " signals, %" PRIu64 " pairs of calls, %u stores\n",
           atomic_load(&signals_seen), atomic_load(&b.ops), rounds);
    T_EQ_I64(cellar_integrity_check(b.c), CELLAR_OK);
    T_EQ_I64(cellar_close(b.c), CELLAR_OK);
}

T_CASE(signal_soak_with_restart) { soak(SA_RESTART); }
T_CASE(signal_soak_without_restart) { soak(0); }

/* First the setup that no earlier call may have done: the first store asks the system. */
T_MAIN("api_events")
