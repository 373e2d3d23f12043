/* SPDX-License-Identifier: MIT
 *
 * Aim:    A child of a fork is refused and harms no process: each call on an object of its parent
 *         returns E_FORKED or does nothing, each call on an object of its own works. The child
 *         has neither log nor files of its parent.
 * Method: One list of calls on a store with disk, namespace, pin, lease and breaker, on limiters,
 *         locks and tasks. Forks inside a load, during opens and closes, and in a child. The memory of the
 *         parent's log is probed with a system call; the lock of the disk after the death of a
 *         parent. Children report by exit code; an alarm ends a hung child. */
#include "tests/support/disk_store.h"
#include "tests/support/api_kit.h"
#include "tests/support/each_call.h"
#include "tests/support/told.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "cellar_limit.h"
#include "cellar_lock.h"
#include "cellar_object.h"
#include "cellar_task.h"
#include "cellar_tier.h"

/* What a parent has when it forks. */
static struct parent {
    cellar *c, *v;
    cellar_breaker *breaker;
    cellar_limiter *limiter, *several;
    cellar_locks *locks;
    cellar_pinned pin, room;
    cellar_held held;
    cellar *objects; /* a namespace */
    cellar_result loaded;
    cellar_lease lease;
    cellar_lock lock;
    cellar_limiter_ticket ticket;
    cellar_pool *pool;
    const cellar_task *task;
} p;

static cellar_err give(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "loaded", 6);
}

static cellar_err attached(void *ctx, const cellar_tier_host *host)
{
    (void)ctx, (void)host;
    return CELLAR_OK;
}

static settings disk_config(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.close_ms = CELLAR_TTL_NONE };
    return cfg;
}

static int freed_objects;
static void object_freed(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
    freed_objects++;
}

static void parent_opens(void)
{
    const settings cfg = disk_config();
    static char value[100000];
    const cellar_rule bucket = cellar_rule_token_bucket(10, CELLAR_SECOND_NS, 10);
    const cellar_rule both[2] = { bucket, cellar_rule_concurrency(4) };
    memset(&p, 0, sizeof p);
    store_begin();
    T_REQUIRE(settings_open(&cfg, &p.c) == CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(p.c, "v", NULL, &p.v), CELLAR_OK);
    T_EQ_I64(cellar_set(p.c, "k", 1, "value", 5, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(p.v, "long", 4, value, sizeof value, NULL), CELLAR_OK);
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = object_freed };
    cellar_namespace_config objects = { .struct_size = sizeof objects, .object = &oc };
    freed_objects = 0;
    T_REQUIRE(cellar_namespace_open(p.c, "objects", &objects, &p.objects) == CELLAR_OK);
    T_EQ_I64(cellar_object_set(p.objects, "k", 1, value, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_acquire(p.objects, "k", 1, &p.held), CELLAR_OK);
    T_EQ_I64(cellar_pin(p.c, "k", 1, &p.pin), CELLAR_OK);
    T_EQ_I64(cellar_reserve(p.c, 5000, &p.room), CELLAR_OK);
    p.loaded = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(p.c, "l", 1, NULL, give, NULL, &p.loaded), CELLAR_OK);
    cellar_result none = cellar_result_default();
    T_EQ_I64(cellar_lease_acquire(p.c, "leased", 6, NULL, NULL, &p.lease, &none), CELLAR_LEASED);
    T_EQ_I64(cellar_breaker_create(p.c, NULL, &p.breaker), CELLAR_OK);
    T_EQ_I64(cellar_limiter_open(NULL, &bucket, 1, &p.limiter), CELLAR_OK);
    T_EQ_I64(cellar_limiter_open(NULL, both, 2, &p.several), CELLAR_OK);
    T_EQ_I64(cellar_limiter_reserve(p.limiter, "u", 1, 1, 0, &p.ticket, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_locks_open(NULL, &p.locks), CELLAR_OK);
    T_EQ_I64(cellar_lock_acquire(p.locks, "k", 1, NULL, &p.lock), CELLAR_OK);
    uint32_t taken = 0;
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = 1 };
    cellar_pool_config tasks = { .struct_size = sizeof tasks, .host = &host };
    cellar_task_opts leased = { .struct_size = sizeof leased, .queue = "q" };
    T_REQUIRE(cellar_pool_open(&tasks, &p.pool) == CELLAR_OK);
    T_EQ_I64(cellar_task_register(p.pool, "t", NULL, NULL, &leased), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p.pool, "t", "x", 1, NULL, NULL), CELLAR_OK);
    T_REQUIRE(cellar_task_take(p.pool, "q", 60000, 0, &p.task, 1, &taken) == CELLAR_OK && taken == 1);
}

static void parent_closes(void)
{
    T_EQ_I64(cellar_task_settle(p.task, cellar_verdict_ok()), CELLAR_OK);
    T_EQ_I64(cellar_pool_close(p.pool), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(p.locks, &p.lock), CELLAR_OK);
    cellar_locks_close(p.locks);
    cellar_limiter_close(p.limiter);
    cellar_limiter_close(p.several);
    cellar_breaker_destroy(p.breaker);
    T_EQ_I64(cellar_lease_release(p.c, &p.lease, 0), CELLAR_OK);
    cellar_result_free(&p.loaded);
    cellar_unpin(&p.room);
    cellar_unpin(&p.pin);
    T_EQ_I64(cellar_integrity_check(p.c), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(p.v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(p.objects), CELLAR_OK);
    T_EQ_I64(cellar_close(p.c), CELLAR_OK);
    T_EQ_I64(freed_objects, 0);
    cellar_object_release(&p.held);
    T_EQ_I64(freed_objects, 1);
    store_end();
}

static void await_child(pid_t pid)
{
    int status = 1;
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status));
    T_EQ_I64(WIFEXITED(status) ? WEXITSTATUS(status) : status, 0);
}

/* Run a function in a child. An alarm ends one that hangs. */
static void run_child(void (*fn)(void *arg), void *arg)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(60 * t_patience());
        fn(arg);
        fflush(stdout);
        _exit(t_failed());
    }
    await_child(pid);
}

#define REFUSED(call) T_EQ_I64((call), CELLAR_E_FORKED)

static void objects_and_breakers_are_refused(void)
{
    uint32_t pass = 0;
    cellar_held held = p.held, other;
    cellar_breaker_info info = cellar_breaker_info_default();
    REFUSED(cellar_object_lease_fulfill(p.c, &p.lease, &held, 1, NULL));
    REFUSED(cellar_object_retain(&held, &other));
    cellar_object_release(&held);
    REFUSED(cellar_lease_fulfill(p.c, &p.lease, "v", 1, NULL));
    REFUSED(cellar_lease_release(p.c, &p.lease, 0));
    REFUSED(cellar_lease_unsubscribe(p.c, &p.lease));
    REFUSED(cellar_breaker_allow(p.breaker, &pass));
    REFUSED(cellar_breaker_record(p.breaker, 0, CELLAR_BREAKER_SUCCESS));
    REFUSED(cellar_breaker_reset(p.breaker));
    REFUSED(cellar_breaker_info_get(p.breaker, &info));
    cellar_breaker_destroy(p.breaker);
}

static void handle_is_refused(cellar *c)
{
    cellar_tier_table table = { .struct_size = sizeof table, .attached = attached };
    REFUSED(cellar_get(c, "", 0, NULL, 0, NULL)); /* E_INVAL would be kept as the last error */
    each_call_is(c, CELLAR_E_FORKED);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    REFUSED(cellar_tier_attach(c, &table));
    cellar_error_info error = error_info(c);
    T_EQ_I64(error.code, CELLAR_E_FORKED);
    T_EQ_STR(error.text, "the store belongs to the parent of this process: open a store after the "
                         "fork");
}

static void limiters_are_refused(cellar_limiter *l)
{
    uint64_t token = 0;
    int64_t wait_ms = 0;
    size_t n = 0;
    char text[64];
    cellar_limiter_stats stats = cellar_limiter_stats_default();
    if (l == p.several) {
        REFUSED(cellar_permit_acquire(l, "u", 1, 1000, &token, NULL));
        REFUSED(cellar_permit_extend(l, "u", 1, 1, 1000));
        REFUSED(cellar_permit_release(l, "u", 1, 1));
    } else {
        cellar_limiter_ticket ticket;
        REFUSED(cellar_limiter_check(l, "u", 1, 1, NULL));
        REFUSED(cellar_limiter_check(l, "new", 3, 1, NULL));
        REFUSED(cellar_limiter_reserve(l, "u", 1, 1, 0, &ticket, NULL, NULL));
        REFUSED(cellar_limiter_commit(l, &p.ticket, 0));
        REFUSED(cellar_limiter_wait(l, "u", 1, 1, 1000, NULL));
        REFUSED(cellar_limiter_rules_set(l, "u", 1, NULL, NULL, 0));
    }
    REFUSED(cellar_limiter_adjust(l, "u", 1, 1));
    REFUSED(cellar_limiter_ban(l, "u", 1, 1000));
    REFUSED(cellar_limiter_reset(l, NULL, 0, NULL));
    REFUSED(cellar_limiter_stats_get(l, &stats));
    const cellar_limiter_result allowed = { .allowed = 1 };
    REFUSED(cellar_limiter_headers_write(l, &allowed, CELLAR_HEADERS_X, text, sizeof text, &n));
    REFUSED(cellar_metrics_write(l, text, sizeof text, &n));
    REFUSED(cellar_tick(l, 1000, &wait_ms));
    T_EQ_U64(cellar_limiter_now(l), 0);
    T_EQ_U64(cellar_limiter_fingerprint(l, "u", 1), 0);
    cellar_limiter_close(l);
}

static void locks_are_refused(void)
{
    cellar_lock lock, held = p.lock;
    const cellar_bytes keys[2] = { { "a", 1 }, { "b", 1 } };
    cellar_lock many[2];
    int64_t wait_ms = 0;
    cellar_lock_info info = cellar_lock_info_default();
    cellar_locks_stats stats = cellar_locks_stats_default();
    REFUSED(cellar_lock_acquire(p.locks, "new", 3, NULL, &lock));
    REFUSED(cellar_lock_acquire(p.locks, "k", 1, NULL, &lock));
    REFUSED(cellar_lock_acquire_many(p.locks, keys, 2, NULL, many));
    REFUSED(cellar_lock_release(p.locks, &held));
    REFUSED(cellar_lock_release_many(p.locks, &held, 1));
    REFUSED(cellar_lock_extend(p.locks, &held, 1000));
    REFUSED(cellar_lock_check(p.locks, &held));
    REFUSED(cellar_lock_info_get(p.locks, "k", 1, &info));
    REFUSED(cellar_locks_stats_get(p.locks, &stats));
    REFUSED(cellar_locks_watch(p.locks, NULL, NULL));
    REFUSED(cellar_tick(p.locks, 1000, &wait_ms));
    cellar_locks_close(p.locks);
}

static void tasks_are_refused(void)
{
    cellar_pool_stats stats = cellar_pool_stats_default();
    cellar_task_id id;
    REFUSED(cellar_pool_stats_get(p.pool, NULL, &stats));
    REFUSED(cellar_pool_stats_get(p.pool, "t", &stats));
    REFUSED(cellar_task_submit(p.pool, "t", "x", 1, NULL, &id));
    REFUSED(cellar_task_progress(p.task, 1, 2, "half"));
    REFUSED(cellar_task_error(p.task, "why"));
    REFUSED(cellar_task_result_set(p.task, "r", 1));
    REFUSED(cellar_task_settle(p.task, cellar_verdict_ok()));
    T_EQ_I64(cellar_pool_close(p.pool), CELLAR_OK);
}

/* A store in memory, a limiter and a lock of the child itself. */
static void own_objects_work(void)
{
    char buf[8];
    int64_t wait_ms = 0;
    cellar *own = NULL;
    cellar_limiter *l = NULL;
    cellar_locks *t = NULL;
    cellar_lock lock;
    const cellar_rule bucket = cellar_rule_token_bucket(1, CELLAR_SECOND_NS, 1);
    settings cfg = settings_default(); /* with a maintenance thread, unless TSan refuses one */
    cfg.config.memory_bytes = 2u << 20;
    cfg.host.no_threads = T_TSAN;
    T_REQUIRE(settings_open(&cfg, &own) == CELLAR_OK);
    for (uint32_t i = 0; i < 3000; i++) {
        T_EQ_I64(cellar_set(own, &i, sizeof i, "some value", 10, NULL), CELLAR_OK);
    }
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(own, "l", 1, NULL, give, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    cellar_pinned pin;
    T_EQ_I64(cellar_pin(own, "l", 1, &pin), CELLAR_OK);
    T_EQ_MEM(pin.value, "loaded", 6);
    cellar_unpin(&pin);
    T_EQ_I64(cellar_get(own, "l", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_I64(cellar_tick(own, 1000, &wait_ms) < 0, 0);
    T_EQ_I64(cellar_integrity_check(own), CELLAR_OK);
    T_EQ_I64(cellar_close(own), CELLAR_OK);
    T_EQ_I64(cellar_close(own), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_limiter_open(NULL, &bucket, 1, &l), CELLAR_OK);
    T_EQ_I64(cellar_limiter_check(l, "u", 1, 1, NULL), CELLAR_OK);
    cellar_limiter_close(l);
    T_EQ_I64(cellar_locks_open(NULL, &t), CELLAR_OK);
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lock), CELLAR_OK);
    T_EQ_I64(cellar_lock_release(t, &lock), CELLAR_OK);
    cellar_locks_close(t);
}

/* Return whether the kernel can read the byte. */
static bool is_mapped(const void *at)
{
    int fd[2];
    T_REQUIRE(pipe(fd) == 0);
    const bool there = write(fd[1], at, 1) == 1;
    T_CHECK(there || errno == EFAULT);
    T_EQ_I64(close(fd[0]) | close(fd[1]), 0);
    return there;
}

static void child_of_all(void *arg)
{
    cellar_error_info error = cellar_error_info_default();
    (void)arg;
    T_EQ_I64(cellar_last_error(NULL, &error), CELLAR_OK);
    T_EQ_I64(error.code, CELLAR_OK); /* the last refused open was one of the parent */
    handle_is_refused(p.c);
    handle_is_refused(p.v);
    objects_and_breakers_are_refused();
    limiters_are_refused(p.limiter);
    limiters_are_refused(p.several);
    locks_are_refused();
    tasks_are_refused();
    T_CHECK(!is_mapped(p.pin.value) && !is_mapped(p.room.value));
    cellar_unpin(&p.pin);
    cellar_unpin(&p.room);
    cellar_result_free(&p.loaded);
    T_EQ_I64(cellar_namespace_close(p.v), CELLAR_OK);
    T_EQ_I64(cellar_close(p.c), CELLAR_OK);
    T_EQ_I64(cellar_close(p.c), CELLAR_OK);
    T_EQ_I64(freed_objects, 0);
    REFUSED(cellar_get(p.c, "k", 1, NULL, 0, NULL));
    own_objects_work();
}

T_CASE(each_call_on_an_object_of_the_parent_is_refused)
{
    parent_opens();
    settings bad = { SETTINGS_SIZES, .config.memory_bytes = 1 };
    cellar *none = NULL;
    T_EQ_I64(settings_open(&bad, &none), CELLAR_E_INVAL);
    run_child(child_of_all, NULL);
    T_EQ_MEM(p.pin.value, "value", 5);
    T_EQ_I64(cellar_limiter_check(p.limiter, "u", 1, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_lock_check(p.locks, &p.lock), CELLAR_OK);
    parent_closes();
}

/* ---- threads that the child lacks ---- */

static _Atomic int inside, go;

static cellar_err wait_inside(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_store(&inside, 1);
    while (atomic_load(&go) == 0) { usleep(100); }
    return cellar_load_value(load, "v", 1);
}

static void *loads_long(void *c)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "slow", 4, NULL, wait_inside, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    return NULL;
}

static void child_of_a_load(void *c)
{
    cellar_result r = cellar_result_default();
    REFUSED(cellar_get_or_load(c, "slow", 4, NULL, give, NULL, &r));
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    own_objects_work();
}

T_CASE(child_of_a_parent_inside_a_load_waits_for_nothing)
{
    pthread_t t;
    cellar *c = api_open(4u << 20);
    atomic_store(&inside, 0);
    atomic_store(&go, 0);
    T_REQUIRE(pthread_create(&t, NULL, loads_long, c) == 0);
    while (atomic_load(&inside) == 0) { usleep(100); }
    run_child(child_of_a_load, c);
    atomic_store(&go, 1);
    pthread_join(t, NULL);
    api_shut(c);
}

static int freed_in_child;
static void count_in_child(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
    freed_in_child++;
}

static void child_of_a_loader(void *load)
{
    int object;
    REFUSED(cellar_load_object(load, &object, 1));
    T_EQ_I64(freed_in_child, 0);
}

static cellar_err fork_and_report(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    run_child(child_of_a_loader, load);
    return cellar_load_object(load, ctx, 1);
}

T_CASE(child_of_a_loader_reports_no_object)
{
    cellar *ns, *c = api_open(4u << 20);
    cellar_held h;
    int object;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = count_in_child };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &ns) == CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, NULL, fork_and_report, &object, &h), CELLAR_OK);
    cellar_object_release(&h);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    api_shut(c);
    T_EQ_I64(freed_in_child, 1);
}

/* ---- opens and closes during a fork ---- */

static _Atomic int stop;

static void *opens_and_closes(void *shared)
{
    char name[16];
    for (uint32_t i = 0; atomic_load(&stop) == 0; i++) {
        cellar *v = NULL, *c = NULL;
        settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1 };
        if (i % 2 == 0) {
            cfg.config.l2_path = store;
            cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        }
        (void)snprintf(name, sizeof name, "n%u", i % 7);
        T_EQ_I64(cellar_namespace_open(shared, name, NULL, &v), CELLAR_OK);
        T_EQ_I64(cellar_set(v, "k", 1, "v", 1, NULL), CELLAR_OK);
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        T_EQ_I64(cellar_namespace_drop(shared, name), CELLAR_OK);
    }
    return NULL;
}

static void child_of_opens(void *c)
{
    REFUSED(cellar_get(c, "k", 1, NULL, 0, NULL));
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    own_objects_work();
}

T_CASE(fork_during_opens_and_closes_marks_every_store)
{
    if (T_COST > 1) {
        T_SKIP("the allocator of a sanitizer is not safe in a fork");
        return;
    }
    pthread_t t;
    store_begin();
    cellar *c = api_open(8u << 20);
    atomic_store(&stop, 0);
    T_REQUIRE(pthread_create(&t, NULL, opens_and_closes, c) == 0);
    for (int i = 0; i < 60 && !t_failed(); i++) {
        run_child(child_of_opens, c);
    }
    atomic_store(&stop, 1);
    pthread_join(t, NULL);
    api_shut(c);
    store_end();
}

/* ---- the lock of the disk ---- */

/* Open the directory, fork a child that lives on, and die. */
static void parent_dies(int told)
{
    const settings cfg = disk_config();
    cellar *c = NULL;
    if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
    if (fork() == 0) { /* the files of the parent are closed by now */
        const pid_t self = getpid();
        if (write(told, &self, sizeof self) != sizeof self) { _exit(3); }
        for (;;) { pause(); }
    }
    (void)raise(SIGKILL);
}

T_CASE(lock_of_the_disk_ends_with_the_parent)
{
    int fd[2], status = 0;
    pid_t child = 0;
    store_begin();
    T_REQUIRE(pipe(fd) == 0);
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) { parent_dies(fd[1]); }
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    T_REQUIRE(read(fd[0], &child, sizeof child) == sizeof child && child > 0);
    const settings cfg = disk_config();
    cellar *c = NULL;
    T_EQ_I64(kill(child, 0), 0);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(kill(child, SIGKILL), 0);
    T_EQ_I64(close(fd[0]) | close(fd[1]), 0);
    store_end();
}

/* ---- handlers of the program ---- */

static cellar *early_store;
static cellar_err early_code;

static void early_child(void)
{
    char buf[8];
    if (early_store != NULL) {
        early_code = cellar_get(early_store, "k", 1, buf, sizeof buf, NULL);
    }
}

__attribute__((constructor)) static void early_register(void)
{
    (void)pthread_atfork(NULL, NULL, early_child);
}

static void child_of_a_handler(void *arg)
{
    (void)arg;
    REFUSED(early_code);
}

T_CASE(handler_from_before_the_first_call_is_refused)
{
    early_store = api_open(2u << 20);
    T_EQ_I64(cellar_set(early_store, "k", 1, "v", 1, NULL), CELLAR_OK);
    run_child(child_of_a_handler, NULL);
    api_shut(early_store);
    early_store = NULL;
}

/* ---- children of children ---- */

static void grandchild(void *stores)
{
    cellar **c = stores;
    REFUSED(cellar_get(c[0], "k", 1, NULL, 0, NULL));
    REFUSED(cellar_get(c[1], "k", 1, NULL, 0, NULL));
    own_objects_work();
}

static void child_with_a_child(void *c)
{
    cellar *stores[2] = { c, api_open(2u << 20) };
    T_EQ_I64(cellar_set(stores[1], "k", 1, "v", 1, NULL), CELLAR_OK);
    run_child(grandchild, stores);
    T_EQ_I64(cellar_contains(stores[1], "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_close(stores[1]), CELLAR_OK);
}

T_CASE(grandchild_is_refused_by_both_stores)
{
    cellar *c = api_open(2u << 20);
    run_child(child_with_a_child, c);
    api_shut(c);
}

T_MAIN("api_fork")
