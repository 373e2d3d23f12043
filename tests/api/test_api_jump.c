/* SPDX-License-Identifier: MIT
 *
 * Aim:    Code of the host that leaves a callback by thread exit leaves nothing behind. Places: a
 *         loader with a stale value in hand, a bulk loader with reported results, fallbacks of
 *         single loads, of bulk loads, of remembered failures, of refused and of released leases.
 *         A waiter or the next call takes the load over, memory returns to the byte, breaker passes
 *         are returned.
 * Method: Every block of the store is counted. A thread exits in each place. */
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"
#include "tests/support/told.h"

enum { PLACE_LOADER, PLACE_FALLBACK, PLACE_BULK, PLACE_BULK_FALLBACK, PLACE_ABANDON, PLACE_REFUSED,
       PLACE_REMEMBERED, PLACE_BULK_REMEMBERED, PLACES };

static _Atomic int64_t blocks;
static _Atomic int told;

static void *counted_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    void *p = malloc(bytes);
    if (p != NULL) { atomic_fetch_add(&blocks, 1); }
    return p;
}
static void counted_free(void *p, size_t bytes, void *ctx)
{
    (void)ctx, (void)bytes;
    if (p != NULL) { atomic_fetch_sub(&blocks, 1); }
    free(p);
}

static void hear(void *ctx) { (void)ctx; atomic_fetch_add(&told, 1); }

/* A thread that waits for k when another one leaves; NULL: none. */
static cellar *waits_on;
static pthread_t waiter;

static void *load_k(void *c)
{
    source s = { .text = "after" };
    char text[64];
    KIT_LOADS(c, "k", NULL, &s, text, NULL, "after");
    return NULL;
}

static void leave(void)
{
    if (waits_on != NULL) {
        T_REQUIRE(pthread_create(&waiter, NULL, load_k, waits_on) == 0);
        while (store_stats(waits_on).load_waiters == 0) { kit_nap(); }
    }
    pthread_exit(NULL);
}

static cellar_err leave_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    T_EQ_I64(cellar_load_value(ld, "draft", 5), CELLAR_OK);
    leave();
    return CELLAR_OK;
}

static cellar_err fail_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ld, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_IO;
}

static cellar_err leave_many(cellar_load *ld, const cellar_bytes *keys, size_t n, void *ctx)
{
    (void)keys, (void)ctx;
    for (size_t i = 0; i + 1 < n; i++) {
        T_EQ_I64(loader_value(ld, i, "draft", 5), CELLAR_OK);
    }
    leave();
    return CELLAR_OK;
}

static cellar_err fail_many(cellar_load *ld, const cellar_bytes *keys, size_t n, void *ctx)
{
    (void)keys, (void)ctx;
    if (n > 1) { T_EQ_I64(loader_value(ld, 0, "kept", 4), CELLAR_OK); }
    return CELLAR_E_IO;
}

typedef struct place {
    cellar *c;
    int where;
    cellar_lease lease; /* PLACE_ABANDON */
} place;

/* Keys a, b, s (stale) and k; other threads wait for k. */
static void go(place *p)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    cellar_load_item it[4];
    cellar_lease lease;
    const cellar_bytes d = { "default", 7 };
    const bool falls = p->where != PLACE_LOADER && p->where != PLACE_BULK;
    if (p->where >= PLACE_REMEMBERED) { o.error_ttl_ms = 2000; }
    if (falls) {
        o.fallback[0] = (cellar_fallback){ leave_load, NULL };
        o.default_value = &d;
    }
    for (int i = 0; i < 4; i++) {
        const cellar_load_item one = { .key = &"absk"[i], .key_len = 1,
                                       .result = fresh_result() };
        it[i] = one;
    }
    switch (p->where) {
    case PLACE_LOADER:
        (void)cellar_get_or_load(p->c, "s", 1, &o, leave_load, NULL, &r);
        break;
    case PLACE_FALLBACK:
    case PLACE_REMEMBERED:
        (void)cellar_get_or_load(p->c, "k", 1, &o, fail_load, NULL, &r);
        break;
    case PLACE_BULK: (void)cellar_get_or_load_many(p->c, it, 4, &o, leave_many, NULL); break;
    case PLACE_BULK_FALLBACK:
    case PLACE_BULK_REMEMBERED:
        (void)cellar_get_or_load_many(p->c, it, 4, &o, fail_many, NULL);
        break;
    case PLACE_ABANDON: (void)cellar_lease_release(p->c, &p->lease, 42); break;
    default: (void)cellar_lease_acquire(p->c, "k", 1, &o, NULL, &lease, &r); break;
    }
    T_CHECK(false); /* not reached */
}

static void *go_main(void *arg) { go(arg); return NULL; }

/* Counters of an ended thread are reused by the next thread. */
static void *warm_main(void *arg)
{
    source s = SOURCE_INIT;
    char text[64];
    T_EQ_I64(kit_load(arg, "warm", NULL, &s, text, NULL), CELLAR_OK);
    return NULL;
}

static cellar_err begin(cellar *c, const char *key, const cellar_load_opts *o,
                        const cellar_subscriber *w, cellar_lease *lease)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, key, 1, o, w, lease, &r);
    cellar_result_free(&r);
    return err;
}

static cellar *open_counted(bool breaker)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar *c = NULL;
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    if (breaker) { root.breaker = &bo; }
    settings cfg = { SETTINGS_SIZES, .config.root = &root, .config.memory_bytes = 4u << 20,
                     .host.no_threads = 1, .host.clock = kit_clock, .host.alloc = counted_alloc,
                     .host.free = counted_free };
    atomic_store(&kit_now_ms, 1000000);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    cellar_set_opts so = { .struct_size = sizeof so, .ttl_ms = 10, .stale_ms = 100000 };
    T_EQ_I64(cellar_set(c, "s", 1, "stale", 5, &so), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 20);
    return c;
}

static const char *const places[PLACES] = { "loader", "fallback", "bulk loader", "bulk fallback",
                                            "abandon", "refused", "remembered", "bulk remembered" };

static void leave_from(int where)
{
    place p;
    cellar_lease ticket;
    const cellar_subscriber w = { hear, NULL };
    source s = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    char text[64];
    p = (place){ .c = open_counted(where == PLACE_REFUSED), .where = where };
    T_EQ_I64(kit_load(p.c, "warm", NULL, &s, text, NULL), CELLAR_OK); /* the tables exist */
    if (where == PLACE_REFUSED) { /* the breaker opens */
        T_EQ_I64(begin(p.c, "x", NULL, NULL, &ticket), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(p.c, &ticket, 1), CELLAR_OK);
    }
    if (where >= PLACE_REMEMBERED) {
        atomic_store(&s.say, SAY_FAIL);
        o.error_ttl_ms = 2000;
        T_EQ_I64(kit_load(p.c, "a", &o, &s, text, NULL), CELLAR_E_LOADER);
        T_EQ_I64(kit_load(p.c, "b", &o, &s, text, NULL), CELLAR_E_LOADER);
        T_EQ_I64(kit_load(p.c, "k", &o, &s, text, NULL), CELLAR_E_LOADER);
        atomic_store(&s.say, SAY_VALUE);
    }
    t_live_and_end(warm_main, p.c);
    const int64_t before = atomic_load(&blocks);
    atomic_store(&told, 0);
    if (where == PLACE_ABANDON) {
        const cellar_bytes d = { "default", 7 };
        o.fallback[0] = (cellar_fallback){ leave_load, NULL };
        o.default_value = &d;
        T_EQ_I64(begin(p.c, "k", &o, NULL, &p.lease), CELLAR_LEASED);
        T_EQ_I64(begin(p.c, "k", NULL, &w, &ticket), CELLAR_PENDING);
    }
    t_live_and_end(go_main, &p);
    T_EQ_U64(store_stats(p.c).loads_running, 0);
    T_EQ_I64(atomic_load(&told), where == PLACE_ABANDON ? 1 : 0);
    if (!T_EQ_I64(atomic_load(&blocks) - before, 0)) {
        printf("# %s\n", places[where]);
    }
    atomic_fetch_add(&kit_now_ms, 2000); /* no failure is remembered */
    if (where != PLACE_REFUSED) {
        T_EQ_I64(kit_load(p.c, "k", NULL, &s, text, NULL), CELLAR_OK); /* no thread leads it */
    }
    T_EQ_I64(cellar_integrity_check(p.c), CELLAR_OK);
    T_EQ_I64(cellar_close(p.c), CELLAR_OK);
    T_EQ_I64(atomic_load(&blocks), 0);
}

T_CASE(thread_exit_in_callback_leaves_nothing)
{
    for (int i = 0; i < PLACES; i++) { leave_from(i); }
}

T_CASE(waiter_takes_the_load_of_a_thread_that_left)
{
    for (int where = PLACE_FALLBACK; where <= PLACE_BULK_FALLBACK; where++) {
        place p = { .c = open_counted(false), .where = where };
        waits_on = p.c;
        t_live_and_end(go_main, &p);
        T_EQ_I64(pthread_join(waiter, NULL), 0);
        waits_on = NULL;
        T_EQ_U64(store_stats(p.c).loads_running, 0);
        T_EQ_I64(cellar_close(p.c), CELLAR_OK);
    }
}

/* A half-open breaker admits one probe. A lost probe returns its pass. */
T_CASE(lost_probe_of_breaker_returns_its_pass)
{
    place p;
    for (int where = PLACE_LOADER; where <= PLACE_BULK; where += PLACE_BULK - PLACE_LOADER) {
        source s = SOURCE_INIT;
        char text[64];
        p = (place){ .c = open_counted(true), .where = where };
        atomic_store(&s.say, SAY_FAIL);
        T_EQ_I64(kit_load(p.c, "x", NULL, &s, text, NULL), CELLAR_E_LOADER);
        T_EQ_I64(kit_load(p.c, "x", NULL, &s, text, NULL), CELLAR_E_BREAKER_OPEN);
        atomic_fetch_add(&kit_now_ms, 61000);
        atomic_store(&s.say, SAY_VALUE);
        t_live_and_end(go_main, &p);
        T_EQ_I64(kit_load(p.c, "x", NULL, &s, text, NULL), CELLAR_OK); /* the next probe */
        T_EQ_I64(cellar_close(p.c), CELLAR_OK);
        T_EQ_I64(atomic_load(&blocks), 0);
    }
}

T_MAIN("cellar_api_jump")
