/* SPDX-License-Identifier: MIT
 *
 * Aim:    CELLAR_LOAD_RECURSE: loads in each other run where they would be E_DEPTH or E_DEADLOCK.
 * Method: Loaders that load through the cache, in a thread with a stack for 1,000 of them. Calls of
 *         loaders are counted, and the counter of the library beside them. */
#include "tests/support/load_callers.h"
#include "tests/support/spaces.h"

#define STACK_BYTES ((size_t)256 << 20) /* sanitizers take ten times the usual stack */

static cellar *c;
static cellar_load_opts with; /* of all loads here */
static _Atomic int calls, deepest;

static void begin(uint32_t flags)
{
    c = kit_open(8 << 20);
    with = cellar_load_opts_default();
    with.flags = flags;
    atomic_store(&calls, 0);
    atomic_store(&deepest, 0);
}

/* Load a key in the cache, and check that it works. */
static void loads(const void *key, size_t key_len, cellar_loader_fn fn, void *ctx)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, key, key_len, &with, fn, ctx, &r), CELLAR_OK);
    cellar_result_free(&r);
}

static uint64_t recursions(void) { return figures(c).load_recursions; }

/* Run `body` in a thread with a large stack. */
static void run_deep(void *(*body)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t t;
    T_REQUIRE(pthread_attr_init(&attr) == 0);
    T_REQUIRE(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
    T_REQUIRE(pthread_create(&t, &attr, body, arg) == 0);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    (void)pthread_attr_destroy(&attr);
}

/* ---- memoized recursion ---- */

static cellar_err sum_load(cellar_load *ld, const void *key, size_t key_len, void *ctx);

/* Return f(n) = f(n - 1) + f(n - 2), modulo 2^32. */
static cellar_err sum_of(uint32_t n, uint32_t *sum)
{
    cellar_result r = { .struct_size = sizeof r, .buf = sum, .buf_cap = sizeof *sum };
    const cellar_err err = cellar_get_or_load(c, &n, sizeof n, &with, sum_load, NULL, &r);
    cellar_result_free(&r);
    return err;
}

static cellar_err sum_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    uint32_t n, a = 1, b = 0;
    (void)ctx;
    T_REQUIRE(key_len == sizeof n);
    memcpy(&n, key, sizeof n);
    atomic_fetch_add(&calls, 1);
    if (n >= 2) {
        cellar_err err = sum_of(n - 1, &a);
        if (err == CELLAR_OK) { err = sum_of(n - 2, &b); }
        if (err != CELLAR_OK) { return err; }
    }
    a += b;
    return cellar_load_value(ld, &a, sizeof a);
}

typedef struct sum { uint32_t n, value; cellar_err err; } sum;

static void *sum_main(void *arg)
{
    sum *s = arg;
    s->err = sum_of(s->n, &s->value);
    return NULL;
}

T_CASE(recursion_runs_each_loader_once_and_stores_its_value)
{
    uint32_t want = 1, before = 1;
    sum s = { .n = 300 };
    for (uint32_t i = 2; i <= s.n; i++) {
        const uint32_t next = want + before;
        before = want;
        want = next;
    }
    begin(CELLAR_LOAD_RECURSE);
    run_deep(sum_main, &s);
    T_FIELDS(s, err, CELLAR_OK, value, want);
    T_EQ_I64(atomic_load(&calls), 301);
    T_EQ_U64(figures(c).entries, 301);
    T_EQ_U64(recursions(), 301 - 16);
    kit_close(c);

    begin(0);
    run_deep(sum_main, &s);
    T_EQ_I64(s.err, CELLAR_E_LOADER); /* E_DEPTH of the innermost */
    T_EQ_I64(atomic_load(&calls), 16);
    T_EQ_U64(recursions(), 0);
    kit_close(c);
}

/* ---- limits ---- */

static cellar_err deeper_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const int level = atomic_fetch_add(&calls, 1) + 1;
    cellar_err *last = ctx;
    cellar_result r = cellar_result_default();
    (void)key, (void)key_len;
    atomic_store(&deepest, level);
    const cellar_err err = cellar_get_or_load(c, &level, sizeof level, &with, deeper_load, ctx, &r);
    cellar_result_free(&r);
    if (err != CELLAR_OK) { *last = err; }
    return cellar_load_value(ld, "up", 2);
}

static void *deeper_main(void *arg)
{
    loads("top", 3, deeper_load, arg);
    return NULL;
}

T_CASE(recursion_ends_at_a_thousand_loads)
{
    cellar_err last = CELLAR_OK;
    begin(CELLAR_LOAD_RECURSE);
    run_deep(deeper_main, &last);
    T_EQ_I64(atomic_load(&deepest), 1000);
    T_EQ_I64(last, CELLAR_E_DEPTH);
    T_EQ_U64(recursions(), 1000 - 16);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    kit_close(c);
}

/* ---- waits that would never end ---- */

static cellar_err own_key_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    int *left = ctx;
    atomic_fetch_add(&calls, 1);
    if (--*left > 0) { loads(key, key_len, own_key_load, ctx); }
    return cellar_load_value(ld, "floor", 5);
}

T_CASE(load_of_own_key_runs)
{
    int left = 5;
    begin(CELLAR_LOAD_RECURSE);
    loads("k", 1, own_key_load, &left);
    T_EQ_I64(atomic_load(&calls), 5);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    T_CHECK(recursions() >= 1); /* the innermost value may answer the others */
    T_EQ_U64(figures(c).load_deadlocks, 0);
    kit_close(c);
}

typedef struct crossing { const char *outer, *inner; cellar_err err; } crossing;

static _Atomic int both;

static cellar_err inner_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, key_len);
}

static cellar_err outer_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    crossing *x = ctx;
    cellar_result r = cellar_result_default();
    atomic_fetch_add(&both, 1);
    while (atomic_load(&both) < 2) { kit_nap(); }
    x->err = cellar_get_or_load(c, x->inner, 1, &with, inner_load, NULL, &r);
    cellar_result_free(&r);
    return cellar_load_value(ld, key, key_len);
}

static void *cross_main(void *arg)
{
    crossing *x = arg;
    loads(x->outer, 1, outer_load, x);
    return NULL;
}

/* Each of two threads loads the key of the other inside its loader. */
T_CASE(threads_that_load_each_others_key_do_not_wait)
{
    for (unsigned recurse = 0; recurse < 2; recurse++) {
        crossing x[2] = { { "a", "b", CELLAR_OK }, { "b", "a", CELLAR_OK } };
        begin(recurse != 0 ? CELLAR_LOAD_RECURSE : 0u);
        atomic_store(&both, 0);
        together(2, cross_main, x, sizeof x[0]);
        const int refused = (x[0].err == CELLAR_E_DEADLOCK) + (x[1].err == CELLAR_E_DEADLOCK);
        T_EQ_I64(refused, recurse != 0 ? 0 : 1);
        T_EQ_U64(recursions(), recurse);
        kit_close(c);
    }
}

/* ---- other kinds of loads ---- */

static cellar_err never_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    T_CHECK(false);
    return CELLAR_E_IO;
}

static cellar_err bulk_inside(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    cellar_result r = cellar_result_default();
    cellar_load_item it[1] = { { key, key_len, &r, CELLAR_OK, 0 } };
    (void)ctx;
    T_EQ_I64(cellar_get_or_load_many(c, it, 1, &with, never_many, NULL), CELLAR_OK);
    T_EQ_I64(it[0].status, CELLAR_E_DEADLOCK);
    cellar_result_free(&r);
    return cellar_load_value(ld, "v", 1);
}

T_CASE(bulk_load_ignores_the_flag)
{
    begin(CELLAR_LOAD_RECURSE);
    loads("k", 1, bulk_inside, NULL);
    T_EQ_U64(recursions(), 0);
    kit_close(c);
}

T_MAIN("api_load_recurse")
