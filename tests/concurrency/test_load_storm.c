/* SPDX-License-Identifier: MIT
 *
 * Aim:    Many threads and loading: one load for each generation, waiters that return in time, lost
 *         loaders, changes that win over loads.
 * Method: Real threads. The source counts loads exactly. A gate in the loader replaces sleeps, and
 *         the test turns the clock. A watchdog with a wide margin ends a hung run. */
#include <sched.h>

#include "tests/support/load_callers.h"
#include "tests/support/loader.h"
#include "tests/support/many_threads.h"
#include "tests/support/settings.h"

#define THREADS_MOST 64

/* ---- storms ---- */

typedef struct storm {
    cellar *c;
    source *s;
    pthread_barrier_t go;
    unsigned keys;
    _Atomic uint64_t wrong;
} storm;

static void *storm_main(void *arg)
{
    storm *st = arg;
    (void)pthread_barrier_wait(&st->go);
    for (uint32_t i = 0; i < st->keys; i++) {
        cellar_result r = cellar_result_default();
        const cellar_err err = cellar_get_or_load(st->c, &i, sizeof i, NULL, source_load, st->s,
                                                  &r);
        if (err != CELLAR_OK || r.value_len != 1) { atomic_fetch_add(&st->wrong, 1); }
        cellar_result_free(&r);
    }
    return NULL;
}

static void storm_run(unsigned threads, unsigned keys)
{
    cellar *c = kit_open(16 << 20);
    source s = SOURCE_INIT;
    pthread_t *t = calloc(threads, sizeof *t);
    storm st = { .c = c, .s = &s, .keys = keys };
    pthread_attr_t attr;
    T_REQUIRE(t != NULL && pthread_attr_init(&attr) == 0);
    T_REQUIRE(pthread_attr_setstacksize(&attr, (size_t)256 << 10) == 0);
    T_REQUIRE(pthread_barrier_init(&st.go, NULL, threads) == 0);
    s.text = "v";
    for (unsigned i = 0; i < threads; i++) {
        T_REQUIRE(pthread_create(&t[i], &attr, storm_main, &st) == 0);
    }
    join_threads(t, threads);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_barrier_destroy(&st.go);
    free(t);
    T_EQ_U64(atomic_load(&st.wrong), 0);
    T_EQ_I64(atomic_load(&s.calls), (int)keys); /* one generation for each key */
    const cellar_stats f = figures(c);
    T_EQ_U64(f.loads, keys);
    T_EQ_U64(f.misses, keys);
    T_EQ_U64(f.gets, (uint64_t)threads * keys);
    kit_close(c);
}

T_CASE(storm_on_one_key_loads_once_per_generation)
{
    storm_run(THREADS_MOST, 1);
    storm_run(THREADS_MOST, 1000 / KIT_SLOW);
    if (KIT_SLOW == 1) {
        storm_run(1000, 1);
        storm_run(1000, 20);
    }
}

/* ---- loads that do not join ---- */

#define SIDES 12

T_CASE(loads_without_join_run_each_loader_and_one_value_stays)
{
    for (int round = 0; round < 40 / KIT_SLOW; round++) {
        cellar *c = kit_open(4 << 20);
        source s = SOURCE_INIT;
        static caller k[SIDES];
        char kept[64] = "";
        int stored = 0;
        cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_NO_JOIN };
        atomic_store(&s.gate, 1);
        for (int i = 0; i < SIDES; i++) { start(&k[i], c, &s, &o, "k"); }
        wait_for(&s.inside, SIDES); /* all loaders run at once, so none waits for another */
        T_EQ_U64(figures(c).load_waiters, 0);
        atomic_store(&s.gate, 0);
        for (int i = 0; i < SIDES; i++) { join(&k[i]); }
        T_EQ_I64(atomic_load(&s.calls), SIDES);
        T_EQ_U64(figures(c).loads, SIDES);
        size_t len = 0;
        T_EQ_I64(cellar_get(c, "k", 1, kept, sizeof kept - 1, &len), CELLAR_OK);
        kept[len] = '\0';
        for (int i = 0; i < SIDES; i++) {
            T_EQ_I64(k[i].err, CELLAR_OK);
            for (int j = 0; j < i; j++) { T_CHECK(strcmp(k[i].text, k[j].text) != 0); }
            if ((k[i].r.flags & CELLAR_RESULT_NOT_STORED) != 0) { continue; }
            T_EQ_STR(k[i].text, kept);
            stored++;
        }
        T_EQ_I64(stored, 1);
        kit_close(c);
    }
}

/* ---- bulk loads of a switched-off namespace ---- */

#define BULK_KEYS 8
#define BULK_THREADS 6

typedef struct bulk {
    cellar *c;
    _Atomic int calls, inside;
    _Atomic int gate; /* 1: the loader waits */
} bulk;

static cellar_err bulk_load(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    bulk *b = ctx;
    atomic_fetch_add(&b->calls, (int)count);
    atomic_fetch_add(&b->inside, 1);
    while (atomic_load(&b->gate) != 0) { kit_nap(); }
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(loader_value(ld, i, keys[i].data, keys[i].len), CELLAR_OK);
    }
    return CELLAR_OK;
}

static void *bulk_main(void *arg)
{
    bulk *b = arg;
    uint32_t keys[BULK_KEYS];
    cellar_result r[BULK_KEYS];
    cellar_load_item items[BULK_KEYS];
    for (uint32_t i = 0; i < BULK_KEYS; i++) {
        keys[i] = i;
        r[i] = cellar_result_default();
        items[i] = (cellar_load_item){ .key = &keys[i], .key_len = sizeof keys[i],
                                       .result = &r[i] };
    }
    T_EQ_I64(cellar_get_or_load_many(b->c, items, BULK_KEYS, NULL, bulk_load, b), CELLAR_OK);
    for (uint32_t i = 0; i < BULK_KEYS; i++) {
        T_EQ_I64(items[i].status, CELLAR_OK);
        T_REQUIRE(r[i].value_len == sizeof i);
        T_EQ_MEM(r[i].value, &i, sizeof i);
        cellar_result_free(&r[i]);
    }
    return NULL;
}

/* Run bulk loads in `count` threads. enable: switch the namespace on while the first one loads. */
static void bulk_threads(bulk *b, unsigned count, bool enable)
{
    pthread_t t[BULK_THREADS];
    atomic_store(&b->gate, 1);
    atomic_store(&b->calls, 0);
    atomic_store(&b->inside, 0);
    start_threads(t, count, bulk_main, b);
    wait_for(&b->inside, 1);
    if (enable) { T_EQ_I64(cellar_option_set(b->c, CELLAR_OPT_ENABLED, 1), CELLAR_OK); }
    atomic_store(&b->gate, 0);
    join_threads(t, count);
}

/* A switched-off namespace loads in bulk and keeps nothing, also if it is switched on during the
 * load. */
T_CASE(bulk_loads_of_disabled_namespace_store_nothing)
{
    for (int round = 0; round < 20 / KIT_SLOW; round++) {
        bulk b = { .c = kit_open(4 << 20) };
        uint32_t value;
        T_EQ_I64(cellar_option_set(b.c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
        bulk_threads(&b, BULK_THREADS, false);
        T_CHECK(atomic_load(&b.calls) >= BULK_KEYS);
        T_CHECK(atomic_load(&b.calls) <= BULK_KEYS * BULK_THREADS);
        T_EQ_U64(figures(b.c).entries, 0);
        T_EQ_I64(cellar_option_set(b.c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
        for (uint32_t i = 0; i < BULK_KEYS; i++) {
            T_EQ_I64(cellar_get(b.c, &i, sizeof i, &value, sizeof value, NULL), CELLAR_MISS);
        }
        bulk_threads(&b, BULK_THREADS, false); /* on again: one loader call for each key */
        T_EQ_I64(atomic_load(&b.calls), BULK_KEYS);
        T_EQ_U64(figures(b.c).entries, BULK_KEYS);
        T_EQ_I64(cellar_clear(b.c), CELLAR_OK);
        T_EQ_I64(cellar_option_set(b.c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
        T_EQ_I64(cellar_tick(b.c, 100000, NULL), CELLAR_OK);
        bulk_threads(&b, 1, true);
        T_EQ_I64(atomic_load(&b.calls), BULK_KEYS);
        T_EQ_U64(figures(b.c).entries, 0);
        kit_close(b.c);
    }
}

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))

/* Seed: a thousand callers of one cold key counted a thousand misses. */
T_CASE_ON(seed_counts, STORE)
{
    source s = SOURCE_INIT;
    static caller k[20];
    s.text = "v";
    atomic_store(&s.gate, 1);
    for (int i = 0; i < 20; i++) { start(&k[i], c, &s, NULL, "k"); }
    wait_for(&s.inside, 1);
    wait_for_waiters(c, 19);
    atomic_store(&s.gate, 0);
    for (int i = 0; i < 20; i++) {
        join(&k[i]);
        T_EQ_I64(k[i].err, CELLAR_OK);
    }
    const cellar_stats f = figures(c);
    T_EQ_I64(atomic_load(&s.calls), 1);
    T_EQ_U64(f.gets, 20);
    T_EQ_U64(f.misses, 1);
    T_EQ_U64(f.hits_l1, 19);
    T_CHECK(f.loads_joined >= 1 && f.loads_joined <= 19);
}

/* Seed: the lock table grew by one for every requested key. */
T_CASE_ON(seed_locks_grow, STORE)
{
    source s = SOURCE_INIT;
    char buf[8];
    s.text = "v";
    cellar_result r = { .struct_size = sizeof r, .buf = buf, .buf_cap = sizeof buf };
    T_EQ_U64(figures(c).load_bytes, 0); /* nothing before the first load */
    T_EQ_I64(cellar_get_or_load(c, "first", 5, NULL, source_load, &s, &r), CELLAR_OK);
    const uint64_t baseline = figures(c).load_bytes;
    T_CHECK(baseline > 0);
    for (uint32_t i = 0; i < 20000; i++) {
        T_EQ_I64(cellar_get_or_load(c, &i, sizeof i, NULL, source_load, &s, &r), CELLAR_OK);
    }
    T_EQ_U64(figures(c).load_bytes, baseline);
}

typedef struct asker { cellar *c; source *s; uint32_t from, count; } asker;

static void *ask_main(void *arg)
{
    asker *a = arg;
    char buf[8];
    char key[100] = { 0 };
    for (uint32_t i = a->from; i < a->from + a->count; i++) {
        cellar_result r = { .struct_size = sizeof r, .buf = buf, .buf_cap = sizeof buf };
        memcpy(key, &i, sizeof i); /* every tenth key is longer than a spare record takes */
        (void)cellar_get_or_load(a->c, key, i % 10 == 0 ? sizeof key : 8, NULL, source_load, a->s,
                                 &r);
    }
    return NULL;
}

/* A million distinct keys by four threads: afterwards flights hold exactly the same bytes as
 * before. */
T_CASE_ON(million_loads_return_flight_memory, STORE)
{
    source s = SOURCE_INIT;
    s.text = "v";
    pthread_t t[4];
    asker a[4];
    cellar_result r = cellar_result_default();
    const uint32_t keys = (uint32_t)t_env_u64("LOAD_KEYS", t_share(1000000)) / KIT_SLOW;
    T_EQ_I64(cellar_get_or_load(c, "first", 5, NULL, source_load, &s, &r), CELLAR_OK);
    cellar_result_free(&r);
    const uint64_t baseline = figures(c).load_bytes;
    for (uint32_t i = 0; i < 4; i++) {
        a[i] = (asker){ c, &s, i * (keys / 4), keys / 4 };
        T_REQUIRE(pthread_create(&t[i], NULL, ask_main, &a[i]) == 0);
    }
    join_threads(t, 4);
    T_EQ_U64(figures(c).load_bytes, baseline);
    T_EQ_U64(figures(c).loads_running, 0);
    T_CHECK(atomic_load(&s.calls) >= (int)(keys / 4 * 4));
}

/* Seed: one slow load stopped every key of the process. */
T_CASE_ON(seed_slow_load_delays_no_other_key, STORE)
{
    source slow = SOURCE_INIT, fast = SOURCE_INIT;
    caller k;
    char text[64], key[16];
    atomic_store(&slow.gate, 1);
    start(&k, c, &slow, NULL, "slow");
    wait_for(&slow.inside, 1);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        T_EQ_I64(kit_load(c, key, NULL, &fast, text, NULL), CELLAR_OK);
    }
    T_EQ_I64(atomic_load(&fast.calls), 500);
    T_EQ_I64(atomic_load(&slow.inside), 1);
    atomic_store(&slow.gate, 0);
    join(&k);
    T_EQ_I64(k.err, CELLAR_OK);
}

/* ---- cycles ---- */

typedef struct knot {
    cellar *c;
    pthread_barrier_t both;
    _Atomic int refused, loaded;
} knot;
typedef struct side { knot *k; const char *mine, *other; } side;

static cellar_err knot_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    side *sd = ctx;
    cellar_result r = cellar_result_default();
    source inner = SOURCE_INIT;
    (void)key;
    (void)key_len;
    (void)pthread_barrier_wait(&sd->k->both);
    const cellar_err err = cellar_get_or_load(sd->k->c, sd->other, 1, NULL, source_load, &inner,
                                              &r);
    cellar_result_free(&r);
    if (err == CELLAR_E_DEADLOCK) { atomic_fetch_add(&sd->k->refused, 1); }
    if (err == CELLAR_OK) { atomic_fetch_add(&sd->k->loaded, 1); }
    return cellar_load_value(ld, sd->mine, 1);
}

static void *knot_main(void *arg)
{
    side *sd = arg;
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(sd->k->c, sd->mine, 1, NULL, knot_load, sd, &r), CELLAR_OK);
    cellar_result_free(&r);
    return NULL;
}

/* Two threads, each loading a key that the other waits for: exactly one wait is refused. */
T_CASE_ON(load_cycle_of_two_threads_is_refused, STORE)
{
    for (int i = 0; i < 200 / KIT_SLOW; i++) {
        knot k = { .c = c };
        side sd[2] = { { &k, "a", "b" }, { &k, "b", "a" } };
        pthread_t t[2];
        T_REQUIRE(pthread_barrier_init(&k.both, NULL, 2) == 0);
        for (int j = 0; j < 2; j++) {
            T_REQUIRE(pthread_create(&t[j], NULL, knot_main, &sd[j]) == 0);
        }
        join_threads(t, 2);
        T_EQ_I64(atomic_load(&k.refused), 1);
        T_EQ_I64(atomic_load(&k.loaded), 1);
        (void)pthread_barrier_destroy(&k.both);
        (void)cellar_clear(c);
    }
}

static void load_b_inside(source *s, cellar_load *ld)
{
    source inner = SOURCE_INIT;
    char text[64];
    (void)ld;
    atomic_store(&s->old_seen, (int)kit_load(s->arg, "b", NULL, &inner, text, NULL));
}

/* A caller leads a and waits for b; a worker loads b, and its loader waits for a. */
T_CASE(load_cycle_through_worker_is_refused)
{
    source b = SOURCE_INIT;
    char text[64];
    cellar *c = STORE_OF(.host.clock = kit_clock, .host.load_threads = 1,
                         .config.memory_bytes = 4 << 20);
    source a = SOURCE_INIT;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 60000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "b", &o, &b, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 100);
    /* the refresh of b gets a, and its load gets b: b is stale, so no thread waits */
    a.during = load_b_inside;
    a.arg = c;
    T_EQ_I64(kit_load(c, "b", &o, &b, text, NULL), CELLAR_STALE);
    T_EQ_I64(kit_load(c, "a", NULL, &a, text, NULL), CELLAR_OK);
    T_CHECK(atomic_load(&a.old_seen) == CELLAR_OK || atomic_load(&a.old_seen) == CELLAR_STALE);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* The only worker waits for a refresh that is queued behind its own job: it runs the refresh
 * itself. */
static cellar_err starve_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    source *s = ctx;
    char text[64];
    (void)key_len;
    atomic_fetch_add(&s->calls, 1);
    while (atomic_load(&s->gate) != 0) { kit_nap(); }
    if (*(const char *)key == 'a') {
        source inner = SOURCE_INIT;
        /* no stale value: the next call needs the load itself */
        (void)cellar_delete(s->arg, "b", 1);
        const cellar_err err = kit_load(s->arg, "b", NULL, &inner, text, NULL);
        T_EQ_I64(err, CELLAR_OK);
    }
    return cellar_load_value(ld, "v", 1);
}

T_CASE(worker_that_waits_for_queued_refresh_runs_it)
{
    cellar *c = STORE_OF(.host.clock = kit_clock, .host.load_threads = 1,
                         .config.memory_bytes = 4 << 20);
    source s = SOURCE_INIT;
    s.arg = c;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 60000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(cellar_set(c, "a", 1, "x", 1, NULL), CELLAR_OK);
    cellar_set_opts so = { .struct_size = sizeof so, .ttl_ms = 100, .stale_ms = 60000 };
    T_EQ_I64(cellar_set(c, "a", 1, "x", 1, &so), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "b", 1, "x", 1, &so), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 100);
    atomic_store(&s.gate, 1);
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "a", 1, &o, starve_load, &s, &r), CELLAR_STALE);
    cellar_result_free(&r);
    wait_for(&s.calls, 1);
    T_EQ_I64(cellar_get_or_load(c, "b", 1, &o, starve_load, &s, &r), CELLAR_STALE);
    cellar_result_free(&r);
    atomic_store(&s.gate, 0);
    char buf[8];
    size_t len = 0;
    for (int i = 0; i < 500000; i++) { /* the refresh of a ends */
        if (cellar_get(c, "a", 1, buf, sizeof buf, &len) == CELLAR_OK && buf[0] == 'v') { break; }
        kit_nap();
    }
    T_EQ_MEM(buf, "v", 1);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* ---- changes win over loads ---- */

typedef struct history {
    cellar *c;
    _Atomic uint64_t db;      /* the source: a rising number */
    _Atomic uint64_t floor_;  /* a returned change guarantees at least this number */
    _Atomic int stop;
    _Atomic uint64_t stale, reads;
    int how;
} history;

enum { HISTORY_ALL = 6 }; /* number of ways to change; `how` takes them in turn */

static cellar_err history_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    history *h = ctx;
    (void)key;
    (void)key_len;
    const uint64_t now = atomic_load(&h->db);
    for (volatile int i = 0; i < 200; i++) {} /* a window for the writers */
    const cellar_bytes tag = { "red", 3 };
    if (loader_tags(ld, &tag, 1) != CELLAR_OK) { return CELLAR_E_INVAL; }
    return cellar_load_value(ld, &now, sizeof now);
}

static void *history_reader(void *arg)
{
    history *h = arg;
    while (atomic_load(&h->stop) == 0) {
        const uint64_t least = atomic_load(&h->floor_);
        cellar_result r = cellar_result_default();
        uint64_t got;
        const cellar_err err = cellar_get_or_load(h->c, "k", 1, NULL, history_load, h, &r);
        if (err == CELLAR_OK && r.value_len == sizeof got) {
            memcpy(&got, r.value, sizeof got);
            if (got < least) { atomic_fetch_add(&h->stale, 1); }
            atomic_fetch_add(&h->reads, 1);
        }
        cellar_result_free(&r);
    }
    return NULL;
}

static void history_write(history *h, uint64_t round)
{
    const uint64_t now = atomic_fetch_add(&h->db, 1) + 1;
    switch (h->how == HISTORY_ALL ? (int)(round % HISTORY_ALL) : h->how) {
    case 0: (void)cellar_delete(h->c, "k", 1); break;
    case 1: (void)cellar_clear(h->c); break;
    case 2: (void)cellar_version_set(h->c, 0, NULL); break;
    case 3: (void)cellar_delete_by_tag(h->c, "red", 3, CELLAR_TAG_HARD); break;
    case 4: (void)cellar_delete_by_pattern(h->c, "k*", 2, NULL); break;
    default: (void)cellar_set(h->c, "k", 1, &now, sizeof now, NULL); break;
    }
    atomic_store(&h->floor_, now);
}

/* A get that starts after a returned change (delete, clear, version increment, tag or pattern
 * delete, set) sees no value loaded before it. */
T_CASE(get_after_change_sees_no_older_load)
{
    for (int how = 0; how <= HISTORY_ALL; how++) {
        history h = { .how = how };
        pthread_t t[3];
        h.c = kit_open(4 << 20);
        start_threads(t, 3, history_reader, &h);
        for (uint64_t i = 0; i < 20000 / KIT_SLOW || atomic_load(&h.reads) < 1000; i++) {
            history_write(&h, i);
        }
        atomic_store(&h.stop, 1);
        join_threads(t, 3);
        T_EQ_U64(atomic_load(&h.stale), 0);
        T_CHECK(atomic_load(&h.reads) > 0);
        kit_close(h.c);
    }
}

/* ---- lost loaders ---- */

static void *exit_main(void *arg)
{
    caller *k = arg;
    (void)kit_load(k->c, k->key, k->o, k->s, k->text, NULL);
    return NULL;
}

T_CASE_ON(thread_exit_of_leader_hands_load_over, STORE)
{
    source dies = SOURCE_INIT, lives = SOURCE_INIT;
    static caller k[6];
    atomic_store(&dies.say, SAY_EXIT);
    atomic_store(&dies.gate, 1);
    k[0] = (caller){ .c = c, .s = &dies, .key = "k" };
    T_REQUIRE(pthread_create(&k[0].thread, NULL, exit_main, &k[0]) == 0);
    wait_for(&dies.inside, 1);
    for (int i = 1; i < 6; i++) { start(&k[i], c, &lives, NULL, "k"); }
    wait_for_waiters(c, 5);
    atomic_store(&dies.gate, 0);
    for (int i = 0; i < 6; i++) { join(&k[i]); }
    for (int i = 1; i < 6; i++) { T_EQ_I64(k[i].err, CELLAR_OK); }
    T_EQ_I64(atomic_load(&lives.calls), 1);
    T_CHECK(figures(c).load_takeovers >= 1);
}

/* Overwrite freed blocks, so that a read after the free finds no pointer. */
static void *wiped_alloc(size_t bytes, void *ctx) { (void)ctx; return malloc(bytes); }
static void wiped_free(void *p, size_t bytes, void *ctx)
{
    volatile unsigned char *b = p;
    (void)ctx;
    for (size_t i = 0; p != NULL && i < bytes; i++) { b[i] = 0xdb; }
    free(p);
}

static void *tick_main(void *arg)
{
    caller *k = arg;
    k->err = cellar_tick(k->c, 1000000, NULL);
    return NULL;
}

/* Make "k" stale in c and queue its refresh by s. */
static void queue_refresh(cellar *c, source *s)
{
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 60000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "k", &o, s, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, s, text, NULL), CELLAR_STALE);
}

/* The refresh holds the last ref of the namespace when its thread ends. */
T_CASE(thread_exit_in_refresh_of_dropped_namespace_ends_load)
{
    cellar *ns;
    source s = SOURCE_INIT;
    caller k;
    cellar *c = STORE_OF(.config.memory_bytes = 4 << 20, .host.no_threads = 1,
                         .host.clock = kit_clock, .host.alloc = wiped_alloc,
                         .host.free = wiped_free);
    T_REQUIRE(cellar_namespace_open(c, "ns", NULL, &ns) == CELLAR_OK);
    queue_refresh(ns, &s);
    atomic_store(&s.say, SAY_EXIT);
    atomic_store(&s.gate, 1);
    k = (caller){ .c = c, .err = CELLAR_E_INVAL };
    T_REQUIRE(pthread_create(&k.thread, NULL, tick_main, &k) == 0);
    wait_for(&s.inside, 1);
    T_EQ_I64(cellar_namespace_drop(c, "ns"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    atomic_store(&s.gate, 0);
    join(&k);
    T_EQ_I64(k.err, CELLAR_E_INVAL); /* the tick did not return */
    T_EQ_U64(figures(c).loads_running, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK); /* no load is counted */
}

/* A loader may end the thread of a worker; the next refresh has a worker again. */
T_CASE(worker_that_a_loader_ended_is_replaced)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 3600000,
                           .retry_throttle_ms = 1, .jitter_pct = CELLAR_OFF,
                           .flags = CELLAR_LOAD_CTX_STATIC };
    cellar *c = STORE_OF(.config.memory_bytes = 4 << 20, .host.load_threads = 1,
                         .host.clock = kit_clock);
    for (int i = 0; i < 3; i++) {
        atomic_store(&s.say, SAY_VALUE);
        while (kit_load(c, "k", &o, &s, text, NULL) != CELLAR_OK) { /* refreshed by a worker */
            atomic_fetch_add(&kit_now_ms, 2);
            sched_yield();
        }
        const int calls = atomic_load(&s.calls);
        atomic_store(&s.say, SAY_EXIT);
        atomic_fetch_add(&kit_now_ms, 1001);
        T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_STALE);
        wait_for(&s.calls, calls + 1);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

typedef struct fuzz {
    cellar *c;
    _Atomic uint64_t begun, ended;
    uint32_t keys;
} fuzz;

static cellar_err fuzz_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    fuzz *f = ctx;
    uint32_t n;
    (void)key_len;
    memcpy(&n, key, sizeof n);
    const uint64_t turn = atomic_fetch_add(&f->begun, 1);
    (void)cellar_load_value(ld, key, sizeof n);
    for (int i = 0; i < 3; i++) { /* a cancellation point without a sanitizer's wrapper */
        pthread_testcancel();
        sched_yield();
    }
    switch (turn % 5) {
    case 0: pthread_exit(NULL);
    case 1: return CELLAR_E_IO;
    case 2: {
        cellar_result r = cellar_result_default();
        const uint32_t other = n + 1;
        if (n + 1 < f->keys) {
            (void)cellar_get_or_load(f->c, &other, sizeof other, NULL, fuzz_load, f, &r);
            cellar_result_free(&r);
        }
        break;
    }
    default: break;
    }
    return CELLAR_OK;
}

static void *fuzz_main(void *arg)
{
    fuzz *f = arg;
    for (int turn = 0; turn < 8; turn++) {
        cellar_result r = cellar_result_default();
        const uint32_t key = (uint32_t)atomic_load(&f->begun) % f->keys;
        (void)cellar_get_or_load(f->c, &key, sizeof key, NULL, fuzz_load, f, &r);
        cellar_result_free(&r);
        (void)cellar_delete(f->c, &key, sizeof key);
    }
    atomic_fetch_add(&f->ended, 1);
    return NULL;
}

/* Threads are cancelled or end anywhere in loads: no thread hangs, no flight stays open. */
T_CASE_ON(cancelled_loading_threads_leave_nothing, STORE)
{
    fuzz f = { .c = c, .keys = 5 };
    const uint64_t rounds = t_env_u64("LOAD_CANCELS", t_share(10000)) / 8 / KIT_SLOW;
    for (uint64_t i = 0; i < rounds; i++) {
        pthread_t t[8];
        start_threads(t, 8, fuzz_main, &f);
        for (int j = 0; j < 8; j++) {
            if (((i + (uint64_t)j) & 1) != 0) { (void)pthread_cancel(t[j]); }
        }
        join_threads(t, 8);
    }
    T_EQ_U64(figures(c).loads_running, 0);
}

/* ---- close ---- */

static void *close_main(void *arg)
{
    caller *k = arg;
    k->err = cellar_close(k->c);
    return NULL;
}

/* A close waits for loaders and gives up after close_timeout_ms. Loads that wait go on: for a loader
 * in a thread, for a retry behind a failed one, for a lease. */
T_CASE(close_that_is_busy_ends_no_waiting_load)
{
    cellar *dropped;
    source s = SOURCE_INIT, failing = SOURCE_INIT, none = SOURCE_INIT;
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    caller k, f, w[3], e = { .err = CELLAR_E_INVAL };
    char text[64];
    cellar *c = STORE_OF(.host.no_threads = 1, .config.memory_bytes = 4 << 20,
                         .tuning.close_timeout_ms = 50);
    T_EQ_I64(cellar_namespace_open(c, "dropped", NULL, &dropped), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(c, "dropped"), CELLAR_OK);
    T_EQ_I64(cellar_lease_acquire(c, "leased", 6, NULL, NULL, &lease, &r), CELLAR_LEASED);
    atomic_store(&s.gate, 1);
    atomic_store(&failing.gate, 1);
    atomic_store(&failing.say, SAY_FAIL);
    start(&k, c, &s, NULL, "k");
    start(&f, c, &failing, NULL, "f");
    wait_for(&s.inside, 1);
    wait_for(&failing.inside, 1);
    start(&w[0], c, &s, NULL, "k");
    start(&w[1], c, &s, NULL, "f");
    start(&w[2], c, &none, NULL, "leased");
    wait_for_waiters(c, 3);
    T_EQ_I64(cellar_close(c), CELLAR_E_BUSY);
    T_EQ_U64(figures(c).load_waiters, 3);
    source other = SOURCE_INIT;
    T_EQ_I64(kit_load(c, "other", NULL, &other, text, NULL), CELLAR_OK); /* it stays open */
    T_EQ_I64(cellar_set(dropped, "k", 1, "v", 1, NULL), CELLAR_E_CLOSED); /* it stays closed */
    T_EQ_I64(cellar_namespace_close(dropped), CELLAR_OK);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "fulfilled", 9, NULL), CELLAR_OK);
    join(&w[2]);
    T_EQ_I64(w[2].err, CELLAR_OK);
    T_EQ_STR(w[2].text, "fulfilled");
    e.c = c;
    T_REQUIRE(pthread_create(&e.thread, NULL, close_main, &e) == 0);
    atomic_store(&failing.gate, 0);
    join(&f);
    wait_for(&s.inside, 2); /* the waiter retries, also beside a close */
    atomic_store(&s.gate, 0);
    join(&e);
    join(&k);
    T_EQ_I64(f.err, CELLAR_E_LOADER);
    T_EQ_I64(k.err, CELLAR_OK);
    for (int i = 0; i < 2; i++) {
        join(&w[i]);
        T_EQ_I64(w[i].err, CELLAR_OK);
    }
    if (e.err != CELLAR_OK) { T_EQ_I64(cellar_close(c), CELLAR_OK); }
}

/* A wait for a lease may never end: once no other load runs, the close ends it. */
T_CASE(close_ends_loads_that_wait_for_a_lease)
{
    source s = SOURCE_INIT;
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    caller w[2];
    cellar *c = STORE_OF(.config.memory_bytes = 4 << 20, .tuning.close_timeout_ms = 3600000);
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r), CELLAR_LEASED);
    for (int i = 0; i < 2; i++) { start(&w[i], c, &s, NULL, "k"); }
    wait_for_waiters(c, 2);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    for (int i = 0; i < 2; i++) {
        join(&w[i]);
        T_EQ_I64(w[i].err, CELLAR_E_CLOSED);
    }
    T_EQ_I64(atomic_load(&s.calls), 0);
}

static void close_inside(source *s, cellar_load *ld)
{
    cellar_error_info e = cellar_error_info_default();
    (void)ld;
    T_EQ_I64(cellar_close(s->arg), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_last_error(s->arg, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_DEADLOCK);
}

/* It would wait for itself: an hour here. A caller, a fallback, a thread of the store and a tick run
 * the loader. */
T_CASE(close_in_a_loader_is_refused)
{
    for (uint32_t no_threads = 0; no_threads < 2; no_threads++) {
        source s = SOURCE_INIT, fails = SOURCE_INIT;
        char text[64];
        cellar *c = STORE_OF(.config.memory_bytes = 4 << 20, .host.no_threads = no_threads,
                             .host.clock = kit_clock, .tuning.close_timeout_ms = 3600000);
        s.during = close_inside;
        s.arg = c;
        cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_CTX_STATIC,
                               .ttl_ms = 1000, .stale_ms = 1000000 };
        T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_OK);
        atomic_fetch_add(&kit_now_ms, 2000);
        T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_STALE);
        while (atomic_load(&s.calls) < 2) {
            (void)cellar_tick(c, 1000, NULL);
            kit_nap();
        }
        o.fallback[0] = (cellar_fallback){ source_load, &s };
        atomic_store(&fails.say, SAY_FAIL);
        T_EQ_I64(kit_load(c, "fails", &o, &fails, text, NULL), CELLAR_OK);
        T_EQ_I64(atomic_load(&s.calls), 3);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
}

/* ---- limits ---- */

T_CASE(load_limits_return_codes)
{
    source s = SOURCE_INIT;
    caller k, w;
    char text[64];
    cellar *c = STORE_OF(.host.no_threads = 1, .config.memory_bytes = 4 << 20,
                         .host.clock = kit_clock, .tuning.max_loads = 1,
                         .tuning.max_load_waiters = 1);
    atomic_store(&s.gate, 1);
    start(&k, c, &s, NULL, "k");
    wait_for(&s.inside, 1);
    T_EQ_I64(kit_load(c, "other", NULL, &s, text, NULL), CELLAR_E_LIMIT);
    start(&w, c, &s, NULL, "k");
    wait_for_waiters(c, 1);
    T_EQ_I64(kit_load(c, "k", NULL, &s, text, NULL), CELLAR_E_LIMIT);
    atomic_store(&s.gate, 0);
    join(&k);
    join(&w);
    T_EQ_I64(w.err, CELLAR_OK);
    kit_close(c);
}

T_MAIN("load_storm")
