/* SPDX-License-Identifier: MIT
 *
 * Aim:    Beside four threads each object is freed exactly once, none is used after it was freed,
 *         and none is left after the close and the last release.
 * Method: Births, holds and frees stand in a ledger. A life of the store: four threads run random
 *         calls over few keys (sets, deletes, deadlines, tags, patterns, clears, drops, budgets,
 *         loads, leases), hand holds to each other, and end with holds. free_fn calls the cache.
 *         Threads release the last holds beside the close. ACQUIRES=n: as many in all. */
#include "tests/support/api_kit.h"

#include "cellar_object.h"

#include <pthread.h>

#define ALIVE UINT64_C(0x616c697665)
#define KEYS 24u
#define THREADS 4u
#define HOLDS 12u
#define PARKED 16u

typedef struct thing {
    uint64_t unused[2];     /* free() writes here: `alive` keeps what it was */
    _Atomic uint64_t alive; /* ALIVE until it is freed */
    uint64_t number;        /* tells it from a later one in the same memory */
    size_t charge;
    _Atomic int32_t held;
} thing;

typedef struct held_thing {
    cellar_held h;
    uint64_t number;
} held_thing;

static _Atomic uint64_t born, freed, acquired, causes[CELLAR_CAUSE_COUNT];
static cellar *ledger_store, *ledger_ns;
static _Thread_local bool calling; /* free_fn calls the cache: no close can be beside it */
static pthread_rwlock_t handle = PTHREAD_RWLOCK_INITIALIZER; /* of `ledger_ns` */

/* Holds that one thread leaves to another. */
static pthread_mutex_t parking = PTHREAD_MUTEX_INITIALIZER;
static held_thing parked[PARKED];
static unsigned parked_count;

static thing *ledger_born(size_t charge)
{
    thing *t = calloc(1, sizeof *t);
    T_REQUIRE(t != NULL);
    t->charge = charge;
    t->number = atomic_fetch_add(&born, 1) + 1;
    atomic_store(&t->alive, ALIVE);
    return t;
}

static void ledger_kept(thing *t) /* by the caller: it never was an object of the store */
{
    T_REQUIRE(atomic_exchange(&t->alive, 0) == ALIVE);
    atomic_fetch_add(&freed, 1);
    free(t);
}

static void ledger_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    static _Atomic uint32_t turn;
    thing *t = object;
    (void)ctx;
    T_REQUIRE(atomic_exchange(&t->alive, 0) == ALIVE);
    T_REQUIRE(atomic_load(&t->held) == 0);
    T_REQUIRE(t->charge == charge);
    T_REQUIRE((unsigned)why < CELLAR_CAUSE_COUNT);
    atomic_fetch_add(&causes[why], 1);
    atomic_fetch_add(&freed, 1);
    free(t);
    const uint32_t n = atomic_fetch_add(&turn, 1);
    if (n % 16 != 0 || !calling) { return; }
    if (pthread_rwlock_tryrdlock(&handle) != 0) { return; }
    char key[8];
    (void)snprintf(key, sizeof key, "k%u", n / 16 % KEYS);
    (void)cellar_delete(ledger_ns, key, strlen(key));
    (void)pthread_rwlock_unlock(&handle);
}

static void ledger_hold(held_thing *x)
{
    thing *t = x->h.object;
    T_REQUIRE(atomic_load(&t->alive) == ALIVE);
    T_REQUIRE(x->h.charge == t->charge);
    x->number = t->number;
    atomic_fetch_add(&t->held, 1);
    atomic_fetch_add(&acquired, 1);
}

static void ledger_release(held_thing *x)
{
    thing *t = x->h.object;
    T_REQUIRE(atomic_load(&t->alive) == ALIVE);
    T_REQUIRE(t->number == x->number);
    atomic_fetch_sub(&t->held, 1);
    cellar_object_release(&x->h);
}

/* Leave a hold to any thread, or release one that another thread left. */
static void ledger_park(held_thing *x)
{
    held_thing other = *x;
    (void)pthread_mutex_lock(&parking);
    if (parked_count == PARKED) {
        const unsigned i = (unsigned)(x->number % PARKED);
        other = parked[i];
        parked[i] = *x;
    } else {
        parked[parked_count++] = *x;
        other.h.object = NULL;
    }
    (void)pthread_mutex_unlock(&parking);
    if (other.h.object != NULL) { ledger_release(&other); }
}

static bool ledger_unpark(held_thing *x)
{
    (void)pthread_mutex_lock(&parking);
    const bool any = parked_count != 0;
    if (any) { *x = parked[--parked_count]; }
    (void)pthread_mutex_unlock(&parking);
    return any;
}

static cellar_err ledger_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const uint64_t draw = *(const uint64_t *)ctx;
    if (draw % 8 == 0) { (void)cellar_delete(ledger_ns, key, key_len); }
    if (draw % 8 == 1) { return CELLAR_ABSENT; }
    if (draw % 8 == 3) { return cellar_load_fail(load, -5, 0, 0); }
    const size_t charge = (size_t)(draw >> 8) % 60000;
    const cellar_err err = cellar_load_object(load, ledger_born(charge), charge);
    if (draw % 32 == 2) { (void)cellar_load_object(load, ledger_born(1), 1); }
    return err;
}

static cellar_err ledger_instead(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_object(load, ledger_born(88), 88);
}

static void ledger_hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    T_REQUIRE(e->value == NULL || e->value_len == 0); /* an object, or a negative entry */
}

/* ---- one call of each kind ---- */
static void ledger_set(cellar *ns, const char *key, uint64_t draw)
{
    cellar_set_opts o = cellar_set_opts_default();
    const cellar_bytes tag = { (draw & 16) != 0 ? "a" : "b", 1 };
    const size_t charge = (size_t)(draw >> 8) % ((draw & 31) == 0 ? 600000 : 20000);
    if ((draw & 1) != 0) { o.ttl_ms = 1 + (int64_t)(draw >> 6) % 50; }
    if ((draw & 6) == 2) {
        o.tags = &tag;
        o.tag_count = 1;
    }
    if ((draw & 6) == 4) { o.flags = CELLAR_ONLY_IF_ABSENT; }
    if ((draw & 126) == 6) {
        o.flags = CELLAR_NEGATIVE;
        (void)cellar_set(ns, key, strlen(key), NULL, 0, &o);
        return;
    }
    if ((draw & 62) == 38) { o.idle_ms = 30; }
    if ((draw & 62) == 22) { o.flags = CELLAR_KEEP_TTL; }
    thing *const t = ledger_born(charge);
    if (cellar_object_set(ns, key, strlen(key), t, charge, &o) != CELLAR_OK) { ledger_kept(t); }
}

/* End a lease: of a miss, or of a stale object. */
static void ledger_lease_end(cellar *ns, cellar_lease *lease, uint64_t draw)
{
    if ((draw & 16) != 0) {
        const cellar_err err = cellar_lease_release(ns, lease, -1);
        /* E_LEASE: other threads moved the clock past its end meanwhile */
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_CLOSED || err == CELLAR_E_LEASE);
        return;
    }
    thing *const t = ledger_born(77);
    if (cellar_object_lease_fulfill(ns, lease, t, 77, NULL) < 0) { ledger_kept(t); }
}

static bool ledger_get(cellar *ns, const char *key, uint64_t draw, held_thing *out)
{
    static const uint32_t flags[8] = { 0, 0, 0, CELLAR_LOAD_REFRESH, CELLAR_LOAD_BYPASS,
                                       CELLAR_LOAD_NO_STORE, CELLAR_LOAD_NO_JOIN,
                                       CELLAR_LOAD_NO_WAIT };
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    const size_t len = strlen(key);
    cellar_err err;
    if (draw % 16 < 13) {
        err = cellar_object_acquire(ns, key, len, &out->h);
    } else if (draw % 16 < 15) {
        lo.ttl_ms = 1 + (int64_t)(draw >> 4) % 40;
        lo.stale_ms = 20;
        lo.flags = flags[draw >> 12 & 7];
        lo.eager_refresh_pct = (draw >> 15 & 7) == 0 ? 50 : 0;
        lo.ctx_bytes = (draw >> 22 & 1) != 0 ? (uint32_t)sizeof draw : 0;
        if ((draw >> 18 & 3) == 0) { lo.fallback[0].fn = ledger_instead; }
        if ((draw >> 20 & 3) == 0) { lo.result = &r; }
        err = cellar_object_get_or_load(ns, key, len, &lo, ledger_load, &draw, &out->h);
    } else {
        err = cellar_object_lease_acquire(ns, key, len, &lo, NULL, &lease, &out->h);
        if (lease.opaque[0] != 0) { ledger_lease_end(ns, &lease, draw); }
    }
    if (err != CELLAR_OK && err != CELLAR_STALE) { return false; }
    ledger_hold(out);
    return true;
}

/* Ends of many entries together. */
static void ledger_end_many(cellar *ns, uint64_t draw)
{
    uint64_t n;
    switch (draw % 9) {
    case 0: (void)cellar_clear(ns); break;
    case 1: (void)cellar_delete_by_tag(ns, (draw & 8) != 0 ? "a" : "b", 1, CELLAR_TAG_HARD); break;
    case 2: (void)cellar_delete_by_pattern(ns, "k1*", 3, &n); break;
    case 3: (void)cellar_option_set(ledger_store, CELLAR_OPT_MEMORY_BYTES, 1 << 20); break;
    case 4: (void)cellar_option_set(ledger_store, CELLAR_OPT_MEMORY_BYTES, 3 << 20); break;
    case 5: (void)cellar_tick(ns, 100, NULL); break;
    case 6: atomic_fetch_add(&api_now_ms, 1 + (int64_t)(draw >> 4) % 20); break;
    case 7: (void)cellar_version_set(ns, 0, NULL); break;
    default: /* ends are told for a while */
        if (cellar_listener_add(ledger_store, 0, ledger_hear, NULL, &n) != CELLAR_OK) { return; }
        (void)cellar_clear(ns);
        (void)cellar_tick(ns, 100, NULL);
        T_EQ_I64(cellar_listener_remove(ledger_store, n), CELLAR_OK);
        break;
    }
}

/* Open the namespace. With held objects alone in the budget there is no room for it. */
static void ledger_open_ns(void)
{
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = ledger_free };
    static unsigned bound; /* under the write lock of `handle` */
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc,
                                  .max_entries = ++bound % 3 == 0 ? 9 : 0 };
    const cellar_err err = cellar_namespace_open(ledger_store, "things", &o, &ledger_ns);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE);
}

static void ledger_drop_ns(void)
{
    const cellar_err err = cellar_namespace_drop(ledger_store, "things"); /* beside the others */
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND); /* another thread dropped it */
    (void)pthread_rwlock_wrlock(&handle);
    cellar *const old = ledger_ns;
    ledger_open_ns();
    (void)pthread_rwlock_unlock(&handle);
    T_EQ_I64(cellar_namespace_close(old), CELLAR_OK);
    held_thing h;
    if (ledger_unpark(&h)) { ledger_release(&h); } /* room for the next try */
}

static void ledger_call(held_thing *h, unsigned *n, uint64_t draw)
{
    char key[8];
    const unsigned op = (unsigned)(draw >> 8) % 128;
    const uint64_t more = draw >> 16;
    (void)snprintf(key, sizeof key, "k%u", (unsigned)(draw % KEYS));
    if (op >= 60 && op < 108) {
        if (*n == 0) { return; }
        const unsigned i = (unsigned)more % *n;
        if (op < 100) { ledger_release(&h[i]); } else { ledger_park(&h[i]); }
        h[i] = h[--*n];
        return;
    }
    (void)pthread_rwlock_rdlock(&handle);
    cellar *const ns = ledger_ns;
    if (ns == NULL || (op == 127 && more % 64 == 0)) {
        (void)pthread_rwlock_unlock(&handle);
        ledger_drop_ns();
        return;
    }
    if (op < 60) {
        if (*n < HOLDS) {
            *n += ledger_get(ns, key, more, &h[*n]);
        }
    } else if (op < 113) {
        if (*n != 0 && *n < HOLDS && cellar_object_retain(&h[0].h, &h[*n].h) == CELLAR_OK) {
            ledger_hold(&h[(*n)++]);
        }
    } else if (op < 120) {
        ledger_set(ns, key, more);
    } else if (op < 124) {
        (void)cellar_delete(ns, key, strlen(key));
    } else if (op < 125) {
        (void)cellar_touch(ns, key, strlen(key), (more & 1) != 0 ? 10 : CELLAR_TTL_NONE);
    } else if (more % 16 < 2) {
        ledger_end_many(ns, more >> 4);
    }
    (void)pthread_rwlock_unlock(&handle);
}

/* ---- lives ---- */
typedef struct ledger_thread {
    uint64_t state, acquires; /* of this thread in this life */
    pthread_barrier_t *closes;
} ledger_thread;

static uint64_t ledger_draw(uint64_t *x)
{
    *x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint64_t a = *x ^ *x >> 31;
    return (a * UINT64_C(0x9e3779b97f4a7c15)) >> 8;
}

static void *ledger_worker(void *arg)
{
    ledger_thread *const me = arg;
    held_thing h[HOLDS + 1];
    unsigned n = 0;
    calling = true;
    for (uint64_t i = 0; i < me->acquires * 2; i++) { ledger_call(h, &n, ledger_draw(&me->state)); }
    const bool ends = ledger_draw(&me->state) % 2 == 0;
    while (ends && n != 0) { ledger_park(&h[--n]); } /* and ends: its holds stay */
    calling = false;
    (void)pthread_barrier_wait(me->closes);
    if (ends) { return NULL; }
    while (n != 0) { ledger_release(&h[--n]); } /* beside the close */
    while (ledger_unpark(&h[0])) { ledger_release(&h[0]); }
    return NULL;
}

static void ledger_life(uint64_t *state, uint64_t acquires)
{
    pthread_t thread[THREADS];
    ledger_thread arg[THREADS];
    pthread_barrier_t closes;
    settings s = api_config(1u << 20);
    T_REQUIRE(settings_open(&s, &ledger_store) == CELLAR_OK);
    ledger_open_ns();
    T_REQUIRE(pthread_barrier_init(&closes, NULL, THREADS + 1) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        arg[i] = (ledger_thread){ ledger_draw(state), acquires / THREADS, &closes };
        T_REQUIRE(pthread_create(&thread[i], NULL, ledger_worker, &arg[i]) == 0);
    }
    (void)pthread_barrier_wait(&closes);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(ledger_store, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.release_errors, 0);
    T_EQ_I64(cellar_namespace_close(ledger_ns), CELLAR_OK);
    T_EQ_I64(cellar_close(ledger_store), CELLAR_OK);
    for (unsigned i = 0; i < THREADS; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    (void)pthread_barrier_destroy(&closes);
    held_thing h;
    while (ledger_unpark(&h)) { ledger_release(&h); }
    T_EQ_U64(atomic_load(&freed), atomic_load(&born));
}

T_CASE(each_object_is_freed_once_beside_random_calls)
{
    const uint64_t all = t_env_u64("ACQUIRES", t_share(800000) / T_COST);
    uint64_t state = t_seed();
    while (atomic_load(&acquired) < all && !t_failed()) {
        ledger_life(&state, all < 1000000 ? all / 4 : 100000);
    }
    T_CHECK(atomic_load(&causes[CELLAR_CAUSE_EVICTED]) != 0);
    T_CHECK(atomic_load(&causes[CELLAR_CAUSE_CLOSED]) != 0);
}

T_MAIN("object_ledger")
