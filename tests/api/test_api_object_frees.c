/* SPDX-License-Identifier: MIT
 *
 * Aim:    free_fn may block, call the library, fork, and end its thread: each object is freed once,
 *         other threads go on, a child of a fork frees nothing.
 * Method: One free_fn does what the case says, once or for each object. A count of births and frees
 *         is compared after each case, and the blocks of the store. */
#include "tests/support/api_kit.h"
#include "tests/support/scan.h"
#include "tests/support/spaces.h"

#include "cellar_object.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

static cellar *root, *ns;
static _Atomic uint64_t born, freed;
static _Atomic unsigned depth, deepest;
static void (*_Atomic in_free)(void); /* free_fn does this */
static sem_t entered, go_on;

static void free_number(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
    atomic_fetch_add(&freed, 1);
    void (*const act)(void) = atomic_load(&in_free);
    if (act == NULL) { return; }
    const unsigned now = atomic_fetch_add(&depth, 1) + 1;
    if (now > atomic_load(&deepest)) { atomic_store(&deepest, now); }
    act();
    atomic_fetch_sub(&depth, 1);
}

static void begin_with(uint64_t budget)
{
    settings s = api_config(budget);
    const cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_number };
    atomic_store(&born, 0);
    atomic_store(&freed, 0);
    atomic_store(&depth, 0);
    atomic_store(&deepest, 0);
    atomic_store(&in_free, (void (*)(void))NULL);
    T_REQUIRE(settings_open(&s, &root) == CELLAR_OK);
    closed_later(root);
    ns = space_with(root, "things", SPACE_OPTS(.object = &oc));
}

static void begin(void) { begin_with(4u << 20); }

static void end(void)
{
    T_AFTER_U64(left_close(), atomic_load(&freed), atomic_load(&born));
}

static void put(const char *key, size_t charge)
{
    T_EQ_I64(cellar_object_set(ns, key, strlen(key), &root, charge, NULL), CELLAR_OK);
    atomic_fetch_add(&born, 1);
}

static cellar_held take(const char *key)
{
    cellar_held h;
    T_EQ_I64(cellar_object_acquire(ns, key, strlen(key), &h), CELLAR_OK);
    return h;
}

static void *delete_a(void *arg)
{
    (void)arg;
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    return NULL;
}

/* ---- blocks ---- */
static void block(void)
{
    atomic_store(&in_free, (void (*)(void))NULL);
    sem_post(&entered);
    while (sem_wait(&go_on) != 0) { }
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(free_fn_that_blocks_stops_no_other_thread, STORE)
{
    pthread_t thread;
    uint64_t n;
    T_REQUIRE(sem_init(&entered, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    put("a", 100);
    put("b", 100);
    atomic_store(&in_free, block);
    T_REQUIRE(pthread_create(&thread, NULL, delete_a, NULL) == 0);
    while (sem_wait(&entered) != 0) { }
    cellar_held b = take("b");
    put("a", 100); /* the key of the object that is being freed */
    put("a", 200);
    T_EQ_I64(cellar_delete(ns, "b", 1), CELLAR_OK);
    cellar_object_release(&b);
    T_EQ_I64(cellar_delete_by_pattern(ns, "a*", 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    put("c", 300);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    T_EQ_I64(cellar_tick(root, UINT64_MAX, NULL), CELLAR_OK);
    T_EQ_I64(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, 2 << 20), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), atomic_load(&born));
    sem_post(&go_on);
    T_EQ_I64(pthread_join(thread, NULL), 0);
}

/* ---- calls ---- */
static cellar_err load_number(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_fetch_add(&born, 1);
    return cellar_load_object(load, &root, 50);
}

static bool see(const cellar_scan_entry *e, void *ctx) { (void)e, (void)ctx; return true; }

static void hear(const cellar_event *e, void *ctx) { (void)e, (void)ctx; }

static unsigned rounds_left;
static bool may_lack; /* the store is full: what ends inside free_fn counts until it returns */

static bool worked(cellar_err err, cellar_err want)
{
    const bool lacks = err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE || err == CELLAR_E_BUSY;
    if (may_lack && lacks) { return false; }
    T_EQ_I64(err, want);
    return err == want;
}

/* Each kind of call, on the namespace and on the bytes of the root. */
static void call_all(void)
{
    static const cellar_bytes tag = { "t", 1 };
    cellar_result r = cellar_result_default();
    cellar_held h, more;
    cellar_lease lease;
    cellar *other;
    char buf[16];
    size_t len;
    uint64_t n = 0, cursor = 0;
    if (rounds_left == 0) { return; }
    rounds_left--;
    put("x", 10);
    T_EQ_I64(cellar_object_set(ns, "y", 1, &root, 10, SET_OPTS(.tags = &tag, .tag_count = 1)),
             CELLAR_OK);
    atomic_fetch_add(&born, 1);
    h = take("x");
    T_EQ_I64(cellar_object_retain(&h, &more), CELLAR_OK);
    put("x", 20);
    cellar_object_release(&h);
    cellar_object_release(&more);
    const cellar_err loaded =
        cellar_object_get_or_load(ns, "l", 1, NULL, load_number, NULL, &h);
    if (worked(loaded, CELLAR_OK)) {
        T_AFTER_I64(cellar_object_release(&h), cellar_contains(ns, "l", 1), CELLAR_OK);
        T_EQ_I64(cellar_touch(ns, "l", 1, 1000), CELLAR_OK);
        (void)key_info(ns, "l");
        T_EQ_I64(cellar_object_lease_acquire(ns, "m", 1, NULL, NULL, &lease, &h), CELLAR_LEASED);
        T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, &root, 30, NULL), CELLAR_OK);
        atomic_fetch_add(&born, 1);
        T_EQ_I64(cellar_object_lease_acquire(ns, "n", 1, NULL, NULL, &lease, &h), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(ns, &lease, 0), CELLAR_OK);
    }
    T_EQ_I64(cellar_scan(ns, &cursor, SCAN(NULL, 0, 100), see, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(ns, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(ns, "m*", 2, &n), CELLAR_OK);
    T_EQ_I64(cellar_version_set(ns, 0, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(root, "k", 1, "value", 5, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(root, "k", 1, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_I64(cellar_get_or_load(root, "none", 4, NULL, NULL, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_namespace_open(root, "other", NULL, &other), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(root, "other"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(other), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(ns, 0, hear, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_listener_remove(ns, n), CELLAR_OK);
    (void)store_stats(root);
    (void)worked(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, 3 << 20), CELLAR_OK);
    T_EQ_I64(cellar_option_set(root, CELLAR_OPT_MEMORY_BYTES, 4 << 20), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_CHECK(cellar_tick(root, 1000, NULL) != CELLAR_E_INVAL);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
}

T_CASE(free_fn_calls_the_library_at_each_end)
{
    for (unsigned form = 0; form < 6; form++) {
        begin();
        put("a", 100);
        cellar_held h = take("a");
        rounds_left = 2;
        may_lack = form == 5;
        atomic_store(&in_free, call_all);
        switch (form) {
        case 0: T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK); break;
        case 1: put("a", 100); break;
        case 2: T_EQ_I64(cellar_clear(ns), CELLAR_OK); break;
        case 3: T_EQ_I64(cellar_touch(ns, "a", 1, 1), CELLAR_OK); break;
        case 4: T_EQ_I64(cellar_delete_by_pattern(ns, "a", 1, NULL), CELLAR_OK); break;
        default: break;
        }
        cellar_object_release(&h);
        atomic_fetch_add(&api_now_ms, 5);
        while (cellar_tick(root, 1000000, NULL) == CELLAR_PENDING) { }
        for (unsigned i = 0; form == 5 && i < 200; i++) { /* evicts */
            put(t_numbered("e", i), 50000);
        }
        T_EQ_U64(rounds_left, 0);
        T_EQ_U64(atomic_load(&deepest), 1); /* never inside another free_fn */
        end();
    }
}

static void call_closed(void)
{
    cellar_held h;
    const cellar_err err = cellar_object_acquire(ns, "a", 1, &h);
    T_CHECK(err == CELLAR_E_CLOSED || err == CELLAR_MISS);
    T_CHECK(cellar_delete(ns, "a", 1) < 0);
    T_CHECK(cellar_object_set(ns, "a", 1, &root, 1, NULL) < 0);
}

T_CASE(free_fn_of_a_close_is_refused_by_the_store)
{
    begin();
    put("a", 1);
    put("b", 1);
    atomic_store(&in_free, call_closed);
    close_now(root);
    T_EQ_U64(atomic_load(&freed), 2);
}

T_CASE(objects_that_a_call_of_bytes_evicts_are_freed_by_it)
{
    cellar_result r = cellar_result_default();
    const cellar_load_opts *o = LOAD_OPTS(.flags = CELLAR_LOAD_ONLY_IF_CACHED);
    for (unsigned step = 0; step < 16; step++) { /* another rest of the budget in each store */
        begin_with(1u << 20);
        for (unsigned i = 0; i < 400; i++) {
            put(t_numbered("k", i), 4000 + 16 * step);
        }
        (void)cellar_get_or_load(root, "x", 1, NULL, NULL, NULL, &r);
        (void)cellar_get_or_load(root, "x", 1, o, NULL, NULL, &r); /* makes the table of loads */
        T_EQ_U64(atomic_load(&born) - atomic_load(&freed), space_stats(ns).entries);
        end();
    }
}

/* ---- thread exit, fork ---- */
static void leave(void)
{
    (void)cellar_delete(ns, "b", 1); /* waits for this free_fn, and is freed */
    (void)cellar_delete(ns, "c", 1);
    pthread_exit(NULL);
}

T_CASE_ON(thread_that_ends_in_free_fn_frees_what_waits, STORE)
{
    pthread_t thread;
    put("a", 1);
    put("b", 1);
    put("c", 1);
    atomic_store(&in_free, leave);
    T_REQUIRE(pthread_create(&thread, NULL, delete_a, NULL) == 0);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(atomic_load(&freed), 3);
    atomic_store(&in_free, (void (*)(void))NULL);
    put("a", 1);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 4);
    T_EQ_I64(cellar_tick(root, UINT64_MAX, NULL), CELLAR_OK);
}

static cellar_held forked_hold;
static void fork_here(void)
{
    int status = 0;
    atomic_store(&in_free, (void (*)(void))NULL);
    const uint64_t before = atomic_load(&freed);
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        cellar_object_release(&forked_hold);
        const bool none = atomic_load(&freed) == before && forked_hold.object == NULL;
        _exit(cellar_delete(ns, "b", 1) == CELLAR_E_FORKED && none ? 0 : 1);
    }
    T_REQUIRE(waitpid(child, &status, 0) == child);
    T_EQ_I64(status, 0);
}

T_CASE_ON(free_fn_that_forks_frees_nothing_in_the_child, STORE)
{
    put("a", 1);
    put("b", 1);
    forked_hold = take("b");
    T_EQ_I64(cellar_delete(ns, "b", 1), CELLAR_OK);
    put("b", 1);
    atomic_store(&in_free, fork_here);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
    T_AFTER_U64(cellar_object_release(&forked_hold), atomic_load(&freed), 2);
}

T_MAIN("api_object_frees")
