/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_get_or_load and cellar_get_or_load_many run one loader for a cold key of all
 *         processes; limiters and locks work through cellar_remote_open.
 * Method: 8 processes load the same keys. The loaders count in memory that all share. T_SCALE=n: n
 *         times as many keys, in rounds. */
#include <sys/mman.h>

#include "cellar_invalidate.h"
#include "cellar_load.h"

#include "tests/support/loader.h"
#include "tests/support/shared_side.h"

enum { PROCESSES = 8, THREADS = 8, KEYS = 60, BULK = 300 };

typedef struct board {
    _Atomic uint64_t loads[BULK];
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

static void run_process(board *b, int number, void (*work)(const side *s, board *b, int number))
{
    side s;
    side_open(&s, server.socket, NULL, NULL);
    atomic_fetch_add(&b->ready, 1);
    while (atomic_load(&b->ready) < PROCESSES) { sched_yield(); }
    work(&s, b, number);
    side_close(&s);
}

static void work_by_threads(const side *s, board *b, int number)
{
    pthread_t t[THREADS];
    worker w = { .s = s, .b = b };
    (void)number;
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_create(&t[i], NULL, get_all, &w) == 0); }
    for (int i = 0; i < THREADS; i++) { pthread_join(t[i], NULL); }
}

static cellar_err load_many_slowly(cellar_load *load, const cellar_bytes *keys, size_t count,
                                   void *ctx)
{
    board *b = ctx;
    engine_pause_ms(2);
    for (size_t i = 0; i < count; i++) {
        char text[16] = "";
        memcpy(text, keys[i].data, keys[i].len);
        atomic_fetch_add(&b->loads[strtoul(text, NULL, 10)], 1);
        (void)loader_value(load, i, keys[i].data, keys[i].len);
    }
    return CELLAR_OK;
}

/* Load all keys, beginning at another one in each process, with three calls. */
static void work_in_bulk(const side *s, board *b, int number)
{
    static char text[BULK][16];
    static cellar_load_item item[BULK];
    static cellar_result r[BULK];
    for (int i = 0; i < BULK; i++) {
        const int len = snprintf(text[i], sizeof text[i], "%d", (i + number * 37) % BULK);
        r[i] = cellar_result_default();
        item[i] = (cellar_load_item){ .key = text[i], .key_len = (size_t)len, .result = &r[i] };
    }
    for (int i = 0; i < BULK; i += BULK / 3) {
        T_EQ_I64(cellar_get_or_load_many(s->users, item + i, BULK / 3, NULL, load_many_slowly, b),
                 CELLAR_OK);
    }
    for (int i = 0; i < BULK; i++) {
        const bool right = item[i].status == CELLAR_OK && r[i].value_len == item[i].key_len &&
                           memcmp(r[i].value, text[i], item[i].key_len) == 0;
        atomic_fetch_add(right ? &b->answers : &b->wrong, 1);
        cellar_result_free(&r[i]);
    }
}

/* Run `work` in 8 processes. Each key is loaded once, and each of `answers` is right. */
static void load_in_processes(void (*work)(const side *s, board *b, int number), int keys,
                              uint64_t answers)
{
    if (!engine_start(&server, NULL)) { return; }
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[PROCESSES];
    T_REQUIRE(b != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            run_process(b, i, work);
            _exit(t_failed());
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        T_EQ_I64(waitpid(child[i], &status, 0), child[i]);
        T_EQ_I64(status, 0);
    }
    for (int i = 0; i < keys; i++) { T_EQ_U64(atomic_load(&b->loads[i]), 1); }
    T_EQ_U64(atomic_load(&b->answers), answers);
    T_EQ_U64(atomic_load(&b->wrong), 0);
    munmap(b, sizeof *b);
    engine_stop(&server);
}

T_CASE(cold_keys_load_once_over_all_processes)
{
    for (uint64_t i = t_env_u64("T_SCALE", 1); i > 0 && !t_failed(); i--) {
        load_in_processes(work_by_threads, KEYS, (uint64_t)PROCESSES * THREADS * KEYS);
    }
}

T_CASE(bulk_loads_load_cold_keys_once_over_all_processes)
{
    load_in_processes(work_in_bulk, BULK, (uint64_t)PROCESSES * BULK);
}

/* ---- a server that goes ---- */

static _Atomic bool leads, led; /* the loader of the first process runs; that of the second ran */

/* Keep the lease until the other process has loaded the key; 20 s at most. */
static cellar_err load_until_led(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_store(&leads, true);
    for (unsigned ms = 0; ms < 20000 * t_patience() && !atomic_load(&led); ms++) {
        engine_pause_ms(1);
    }
    T_CHECK(atomic_load(&led));
    return cellar_load_value(load, "v", 1);
}

static cellar_err load_alone(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_store(&led, true);
    return cellar_load_value(load, "v", 1);
}

static void *load_by(void *s, cellar_loader_fn fn)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(((side *)s)->users, "k", 1, NULL, fn, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    return NULL;
}

static void *load_first(void *s) { return load_by(s, load_until_led); }
static void *load_second(void *s) { return load_by(s, load_alone); }

T_CASE(load_waits_for_no_other_process_when_the_server_is_gone)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    cellar_remote_config ro = { .struct_size = sizeof ro, .proof_ms = 1000, .close_ms = 1 };
    for (unsigned way = 0; way < 4; way++) {
        side a, b;
        pthread_t t[2];
        o.offline = way < 2 ? CELLAR_REMOTE_MISS : CELLAR_REMOTE_TRUST;
        if (!engine_start(&server, NULL)) { return; }
        side_open(&a, server.socket, &ro, &o);
        side_open(&b, server.socket, &ro, &o);
        atomic_store(&leads, false);
        atomic_store(&led, false);
        T_REQUIRE(pthread_create(&t[0], NULL, load_first, &a) == 0);
        while (!atomic_load(&leads)) { engine_pause_ms(1); }
        T_REQUIRE(pthread_create(&t[1], NULL, load_second, &b) == 0);
        while (side_stats(&b).leases_waited == 0 && !atomic_load(&led)) { engine_pause_ms(1); }
        if (way % 2 == 0) { engine_kill(&server); } else { engine_signal(&server, SIGSTOP); }
        for (unsigned i = 0; i < 2; i++) { pthread_join(t[i], NULL); }
        side_close(&a);
        side_close(&b);
        engine_stop(&server);
    }
}

/* ---- refreshes ---- */

enum { ROUNDS = 5, SIDES = 3 };

typedef struct refresher {
    const side *s;
    _Atomic uint64_t *loads;
    _Atomic bool *go;
    uint64_t stale, fresh, wrong;
} refresher;

static cellar_err load_new(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    _Atomic uint64_t *loads = ctx;
    (void)key, (void)key_len;
    atomic_fetch_add(loads, 1);
    engine_pause_ms(2);
    (void)loader_ttl(load, 60000);
    return cellar_load_value(load, "new", 3);
}

/* Get the key until the new value comes; before it the old one is right. */
static void *refresh(void *arg)
{
    refresher *w = arg;
    while (!atomic_load(w->go)) { sched_yield(); }
    for (int i = 0; i < 100000 && w->fresh < 3; i++) {
        cellar_result r = cellar_result_default();
        const cellar_err err = cellar_get_or_load(w->s->users, "k", 1, NULL, load_new,
                                                  (void *)w->loads, &r);
        if (err == CELLAR_OK && memcmp(r.value, "new", 3) == 0) { w->fresh++; }
        else if (err == CELLAR_STALE && memcmp(r.value, "old", 3) == 0) { w->stale++; }
        else { w->wrong++; }
        cellar_result_free(&r);
    }
    return NULL;
}

/* Bring a value that expires soon into the memory of all sides, and wait until it is stale. */
static void stale_everywhere(side *s)
{
    bool all = false;
    cellar_set_opts o = { .struct_size = sizeof o, .stale_ms = 60000 };
    for (int i = 0; i < 1000 && !all; i++) {
        o.ttl_ms = 50 + 10 * i;
        T_EQ_I64(cellar_set(s[0].users, "k", 1, "old", 3, &o), CELLAR_OK);
        all = true;
        for (int j = 0; j < SIDES; j++) { all = side_has(&s[j], "k", "old") && all; }
    }
    T_REQUIRE(all);
    while (!side_has(&s[0], "k", NULL)) { engine_pause_ms(1); }
    for (int j = 1; j < SIDES; j++) {
        while (!side_has(&s[j], "k", NULL)) { engine_pause_ms(1); }
    }
}

T_CASE(stale_value_is_refreshed_once_over_all_processes)
{
    side s[SIDES];
    if (!engine_start(&server, NULL)) { return; }
    for (int i = 0; i < SIDES; i++) { side_open(&s[i], server.socket, NULL, NULL); }
    T_EQ_I64(side_set(&s[0], "first", "1"), CELLAR_OK); /* makes the generation: all entries end */
    for (int i = 0; i < SIDES; i++) { side_fence(&s[i]); }
    for (int round = 0; round < ROUNDS; round++) {
        _Atomic uint64_t loads = 0;
        _Atomic bool go = false;
        pthread_t t[2 * SIDES];
        refresher w[2 * SIDES];
        stale_everywhere(s);
        for (int i = 0; i < 2 * SIDES; i++) {
            w[i] = (refresher){ .s = &s[i / 2], .loads = &loads, .go = &go };
            T_REQUIRE(pthread_create(&t[i], NULL, refresh, &w[i]) == 0);
        }
        atomic_store(&go, true);
        for (int i = 0; i < 2 * SIDES; i++) {
            pthread_join(t[i], NULL);
            T_EQ_U64(w[i].wrong, 0);
            T_EQ_U64(w[i].fresh, 3);
        }
        T_EQ_U64(atomic_load(&loads), 1);
    }
    for (int i = 0; i < SIDES; i++) { side_close(&s[i]); }
}

/* A process without the old value in memory loads, and keeps what it loaded. */
T_CASE(cold_process_refreshes_a_stale_value_once)
{
    side s[2];
    _Atomic uint64_t loads = 0;
    if (!engine_start(&server, NULL)) { return; }
    side_open(&s[0], server.socket, NULL, NULL);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 50, .stale_ms = 60000 };
    T_EQ_I64(cellar_set(s[0].users, "k", 1, "old", 3, &o), CELLAR_OK);
    while (!side_has(&s[0], "k", NULL)) { engine_pause_ms(1); }
    side_open(&s[1], server.socket, NULL, NULL);
    for (int i = 0; i < 10; i++) {
        cellar_result r = cellar_result_default();
        (void)cellar_get_or_load(s[1].users, "k", 1, NULL, load_new, (void *)&loads, &r);
        cellar_result_free(&r);
        engine_pause_ms(5);
    }
    T_EQ_U64(atomic_load(&loads), 1);
    T_CHECK(side_has(&s[1], "k", "new"));
    side_fence(&s[0]);
    T_CHECK(side_has(&s[0], "k", "new"));
    for (int i = 0; i < 2; i++) { side_close(&s[i]); }
}

/* ---- leases of the host ---- */

/* Acquire the lease or the value of a key, as an event loop does: again until an answer is there. */
static cellar_err acquired(const side *s, const char *key, cellar_lease *lease, const char *want)
{
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 10000 && err == CELLAR_PENDING; i++) {
        cellar_result r = cellar_result_default();
        err = cellar_lease_acquire(s->users, key, strlen(key), NULL, NULL, lease, &r);
        if (err == CELLAR_OK) { T_EQ_MEM(r.value, want, strlen(want)); }
        cellar_result_free(&r);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    return err;
}

static void *acquire_value(void *arg)
{
    cellar_lease lease;
    T_EQ_I64(acquired(arg, "k", &lease, "v"), CELLAR_OK);
    return NULL;
}

T_CASE(lease_of_the_host_is_one_over_processes)
{
    static side a, b;
    cellar_lease lease;
    pthread_t t;
    if (!engine_start(&server, NULL)) { return; }
    side_open(&a, server.socket, NULL, NULL);
    side_open(&b, server.socket, NULL, NULL);
    T_EQ_I64(acquired(&a, "k", &lease, NULL), CELLAR_LEASED);
    T_REQUIRE(pthread_create(&t, NULL, acquire_value, &b) == 0);
    while (side_stats(&b).leases_waited == 0) { engine_pause_ms(1); }
    T_EQ_I64(cellar_lease_fulfill(a.users, &lease, "v", 1, NULL), CELLAR_OK);
    pthread_join(t, NULL);
    T_EQ_U64(side_stats(&a).leases_taken, 1);
    T_EQ_U64(side_stats(&b).leases_taken, 0);
    T_EQ_I64(acquired(&a, "d", &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:d")), 1);
    T_EQ_I64(cellar_lease_fulfill(a.users, &lease, "v", 1, NULL), CELLAR_INVALIDATED);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:d")), 0);
    T_EQ_I64(acquired(&b, "d", &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(b.users, &lease, 0), CELLAR_OK);
    T_EQ_I64(acquired(&a, "d", &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(a.users, &lease, "2", 1, NULL), CELLAR_OK);
    T_EQ_I64(acquired(&b, "d", &lease, "2"), CELLAR_OK);
}

/* The number of the tag is read before the value is judged. */
T_CASE(host_gets_a_value_whose_tag_is_new_to_its_process)
{
    static side a, b;
    cellar_lease lease;
    if (!engine_start(&server, NULL)) { return; }
    side_open(&a, server.socket, NULL, NULL);
    side_open(&b, server.socket, NULL, NULL);
    T_EQ_I64(side_set_tagged(&a, "k", "v", "t"), CELLAR_OK);
    side_fence(&b);
    T_EQ_I64(acquired(&b, "k", &lease, "v"), CELLAR_OK);
    T_EQ_U64(side_stats(&b).leases_taken, 0);
    T_EQ_I64(cellar_delete_by_tag(a.users, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    side_fence(&b);
    T_EQ_I64(acquired(&b, "k", &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(b.users, &lease, "2", 1, NULL), CELLAR_OK);
}

static void *acquire(void *arg)
{
    cellar_remote_lock *lk = arg;
    return cellar_remote_lock_acquire((cellar_remote *)(uintptr_t)lk->fence, "k", 1, NULL, lk) ==
                   CELLAR_OK ? lk : NULL;
}

T_CASE(limiter_and_lock_use_the_real_link)
{
    if (!engine_start(&server, NULL)) { return; }
    static side a, b;
    cellar_remote_limiter *la, *lb;
    cellar_remote_lock lk, next;
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    uint64_t n = 0;
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .hold_ms = 60000, .batch = 40 };
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 5000 };
    side_open(&a, server.socket, &ro, NULL);
    side_open(&b, server.socket, &ro, NULL);
    T_REQUIRE(cellar_remote_limiter_open(a.r, &rule, &o, &la) == CELLAR_OK);
    T_REQUIRE(cellar_remote_limiter_open(b.r, &rule, &o, &lb) == CELLAR_OK);
    n += cellar_remote_limiter_check(la, "k", 1, 1, NULL) == CELLAR_OK;
    cellar_remote_limiter_close(la);
    for (int i = 0; i < 200; i++) { n += cellar_remote_limiter_check(lb, "k", 1, 1, NULL) == 0; }
    T_CHECK(n >= 61 && n <= 100); /* a port takes no units back; less than half a batch is denied */
    cellar_remote_limiter_close(lb);
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "k", 1, NO_WAIT, &lk), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(b.r, "k", 1, NO_WAIT, &next), CELLAR_E_BUSY);
    pthread_t t;
    next.fence = (uint64_t)(uintptr_t)b.r;
    T_REQUIRE(pthread_create(&t, NULL, acquire, &next) == 0);
    engine_pause_ms(5); /* either order is right; usually the thread waits by now */
    T_EQ_I64(cellar_remote_lock_release(a.r, "k", 1, &lk), CELLAR_OK);
    void *got = NULL;
    pthread_join(t, &got);
    T_CHECK(got == &next);
    T_EQ_I64(cellar_remote_lock_release(b.r, "k", 1, &next), CELLAR_OK);
}

T_MAIN("remote_shared_load")
