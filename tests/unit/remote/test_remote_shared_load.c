/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_get_or_load runs one loader for a cold key of all processes; limiters and locks
 *         work through cellar_remote_open.
 * Method: 8 processes of 8 threads load the same keys. The loaders count in memory that all share. */
#include <sys/mman.h>

#include "cellar_load.h"

#include "tests/support/shared_side.h"

enum { PROCESSES = 8, THREADS = 8, KEYS = 60 };

typedef struct board {
    _Atomic uint64_t loads[KEYS];
    _Atomic uint64_t answers, wrong;
    _Atomic int ready;
} board;

typedef struct worker {
    const side *s;
    board *b;
} worker;

static engine server;


static cellar_err load_slowly(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    board *b = ctx;
    char text[16] = "";
    memcpy(text, key, key_len);
    atomic_fetch_add(&b->loads[strtoul(text, NULL, 10)], 1);
    engine_pause_ms(2);
    return cellar_load_value(load, text, key_len);
}

static void *get_all(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        const int len = snprintf(key, sizeof key, "%d", i);
        cellar_result r = cellar_result_default();
        const cellar_err err = cellar_get_or_load(w->s->users, key, (size_t)len, NULL, load_slowly,
                                                  w->b, &r);
        const bool right = err == CELLAR_OK && r.value_len == (size_t)len &&
                           memcmp(r.value, key, (size_t)len) == 0;
        atomic_fetch_add(right ? &w->b->answers : &w->b->wrong, 1);
        cellar_result_free(&r);
    }
    return NULL;
}

static void run_process(board *b)
{
    side s;
    pthread_t t[THREADS];
    worker w = { .s = &s, .b = b };
    cellar_remote_opts o = cellar_remote_opts_default();
    o.io_ms = 5000;
    side_open(&s, server.socket, &o, NULL);
    atomic_fetch_add(&b->ready, 1);
    while (atomic_load(&b->ready) < PROCESSES) { sched_yield(); }
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_create(&t[i], NULL, get_all, &w) == 0); }
    for (int i = 0; i < THREADS; i++) { pthread_join(t[i], NULL); }
    side_close(&s);
}

static void cold_keys_load_once_over_all_processes(void)
{
    if (!engine_start(&server, NULL)) { return; }
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[PROCESSES];
    T_REQUIRE(b != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            run_process(b);
            _exit(t_failed());
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        T_EQ_I64(waitpid(child[i], &status, 0), child[i]);
        T_EQ_I64(status, 0);
    }
    for (int i = 0; i < KEYS; i++) { T_EQ_U64(atomic_load(&b->loads[i]), 1); }
    T_EQ_U64(atomic_load(&b->answers), (uint64_t)PROCESSES * THREADS * KEYS);
    T_EQ_U64(atomic_load(&b->wrong), 0);
    munmap(b, sizeof *b);
    engine_stop(&server);
}

static void *acquire(void *arg)
{
    cellar_remote_lock *lk = arg;
    return cellar_remote_lock_acquire((cellar_remote *)(uintptr_t)lk->fence, "k", 1, NULL, lk) ==
                   CELLAR_OK ? lk : NULL;
}

static void limiter_and_lock_use_the_real_link(void)
{
    if (!engine_start(&server, NULL)) { return; }
    side a, b;
    cellar_remote_limiter *la, *lb;
    cellar_remote_lock lk, next;
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    cellar_remote_limiter_opts o = cellar_remote_limiter_opts_default();
    cellar_remote_opts ro = cellar_remote_opts_default();
    uint64_t n = 0;
    o.hold_ms = 60000;
    o.batch = 40;
    ro.io_ms = 5000;
    side_open(&a, server.socket, &ro, NULL);
    side_open(&b, server.socket, &ro, NULL);
    T_REQUIRE(cellar_remote_limiter_open(a.r, &rule, &o, &la) == CELLAR_OK);
    T_REQUIRE(cellar_remote_limiter_open(b.r, &rule, &o, &lb) == CELLAR_OK);
    n += cellar_remote_limiter_check(la, "k", 1, 1, NULL) == CELLAR_OK;
    cellar_remote_limiter_close(la);
    for (int i = 0; i < 200; i++) { n += cellar_remote_limiter_check(lb, "k", 1, 1, NULL) == 0; }
    T_CHECK(n >= 81 && n <= 100); /* what is left of less than half a batch is a denial */
    cellar_remote_limiter_close(lb);
    T_EQ_I64(cellar_remote_lock_try(a.r, "k", 1, NULL, &lk), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_try(b.r, "k", 1, NULL, &next), CELLAR_E_BUSY);
    pthread_t t;
    next.fence = (uint64_t)(uintptr_t)b.r;
    T_REQUIRE(pthread_create(&t, NULL, acquire, &next) == 0);
    engine_pause_ms(5); /* either order is right; usually the thread waits by now */
    T_EQ_I64(cellar_remote_lock_release(a.r, "k", 1, &lk), CELLAR_OK);
    void *got = NULL;
    pthread_join(t, &got);
    T_CHECK(got == &next);
    T_EQ_I64(cellar_remote_lock_release(b.r, "k", 1, &next), CELLAR_OK);
    side_close(&a);
    side_close(&b);
    engine_stop(&server);
}

T_MAIN("remote_shared_load", T_CASE(cold_keys_load_once_over_all_processes),
       T_CASE(limiter_and_lock_use_the_real_link))
