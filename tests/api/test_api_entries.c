/* SPDX-License-Identifier: MIT
 *
 * Aim:    namespace_entries is the number of entries of a namespace in memory, however they
 *         are stored and removed.
 * Method: Each way in and out by hand. A random mix in four namespaces, counted by a scan, and by
 *         the index of the store, which counts the entries of all namespaces. Threads, then a count
 *         at rest. */
#include <pthread.h>

#include "tests/support/api_kit.h"
#include "tests/support/folder.h"
#include "tests/support/scan.h"

#define NAMESPACES 4u

static uint64_t entries(cellar *v)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    return st.namespace_entries;
}

static uint64_t in_index(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.namespace_entries, 0);
    return st.entries;
}

static cellar *begin(uint64_t bytes)
{
    settings s = api_config(bytes);
    cellar *c = NULL;
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    return c;
}

static cellar *open_named(cellar *c, const char *name)
{
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, NULL, &v) == CELLAR_OK);
    return v;
}

static void put(cellar *v, const char *key, const char *value, int64_t ttl_ms)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    T_EQ_I64(cellar_set(v, key, strlen(key), value, strlen(value), &o), CELLAR_OK);
}

static void put_negative(cellar *v, const char *key)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(v, key, strlen(key), NULL, 0, &o), CELLAR_OK);
}

static void reclaim_all(cellar *c)
{
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
}

T_CASE(every_way_in_and_out_is_counted)
{
    cellar *c = begin(8u << 20), *a = open_named(c, "a");
    int64_t number;
    uint64_t many = 0;
    T_EQ_U64(entries(a), 0);
    put(a, "k", "1", 0);
    put(c, "k", "1", 0);
    T_EQ_U64(entries(a), 1);
    put(a, "k", "2", 0); /* in place */
    put(a, "k", "a value of another length", 0);
    T_EQ_U64(entries(a), 1);
    put_negative(a, "none");
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_MISS);
    T_EQ_I64(cellar_delete(a, "none", 4), CELLAR_MISS); /* a negative entry is removed */
    T_EQ_U64(entries(a), 1);
    put(a, "short", "1", 10);
    put(a, "again", "1", 10);
    put(a, "count", "12345678", 10);
    atomic_fetch_add(&api_now_ms, 20);
    T_EQ_U64(entries(a), 4); /* not yet reclaimed */
    put(a, "again", "2", 0);
    T_EQ_I64(cellar_increment(a, "count", 5, 1, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "short", 5), CELLAR_MISS);
    T_EQ_U64(entries(a), 3);
    put(a, "short", "1", 10);
    atomic_fetch_add(&api_now_ms, 20);
    reclaim_all(c);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete_by_pattern(a, "a*", 2, &many), CELLAR_OK);
    T_EQ_U64(entries(a), 2);
    T_EQ_U64(entries(c), 1);
    T_EQ_U64(in_index(c), 3);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE(clear_and_drop_set_the_count_to_0)
{
    cellar *c = begin(8u << 20), *a = open_named(c, "a");
    char key[16];
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof key, "%u", i);
        put(a, key, "v", 0);
        put(c, key, "v", 0);
    }
    T_EQ_I64(cellar_clear(a), CELLAR_OK);
    T_EQ_U64(entries(a), 0);
    put(a, "5", "v", 0);
    T_EQ_U64(entries(a), 1);
    reclaim_all(c);
    T_EQ_U64(entries(a), 1);
    T_EQ_U64(entries(c), 100);
    uint32_t version;
    T_EQ_I64(cellar_version_set(a, 0, &version), CELLAR_OK);
    T_EQ_U64(entries(a), 0);
    put(a, "5", "v", 0);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(c, "a"), CELLAR_OK);
    cellar *b = open_named(c, "b"); /* takes the slot */
    T_EQ_U64(entries(b), 0);
    reclaim_all(c);
    T_EQ_U64(entries(b), 0);
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_U64(entries(c), 0);
    reclaim_all(c);
    T_EQ_U64(in_index(c), 0);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static bool count_one(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint64_t *)ctx;
    return true;
}

static uint64_t scanned(cellar *v)
{
    uint64_t cursor = 0, n = 0;
    do {
        T_EQ_I64(cellar_scan(v, &cursor, SCAN(NULL, 0, 1u << 20), count_one, &n), CELLAR_OK);
    } while (cursor != 0);
    return n;
}

static uint64_t below(uint64_t *r, uint64_t n)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (*r >> 33) % n;
}

/* Make one random change. */
static void act(cellar *v, uint64_t *r)
{
    static const char value[4000];
    char key[16];
    int64_t number;
    const size_t n = (size_t)snprintf(key, sizeof key, "%u", (unsigned)(size_t)below(r, 3000));
    const size_t len = (size_t)below(r, 20) == 0 ? (size_t)below(r, sizeof value) : (size_t)below(r, 100);
    cellar_set_opts o = cellar_set_opts_default();
    switch ((size_t)below(r, 12)) {
    case 0: case 1: (void)cellar_delete(v, key, n); return;
    case 2: (void)cellar_increment(v, key, n, 1, 0, NULL, &number); return;
    case 3: put_negative(v, key); return;
    case 4:
        o.flags = (size_t)below(r, 2) != 0 ? CELLAR_ONLY_IF_ABSENT : CELLAR_ONLY_IF_PRESENT;
        (void)cellar_set(v, key, n, value, len, &o);
        return;
    case 5:
        if (below(r, 1000) == 0) { (void)cellar_clear(v); }
        return;
    default: (void)cellar_set(v, key, n, value, len, NULL);
    }
}

static void check_at_rest(cellar *c, cellar *const *v)
{
    uint64_t sum = 0;
    reclaim_all(c);
    for (unsigned i = 0; i < NAMESPACES; i++) { sum += entries(v[i]); }
    T_EQ_U64(sum, in_index(c));
    for (unsigned i = 0; i < NAMESPACES; i++) {
        const uint64_t n = scanned(v[i]);
        T_CHECK(n <= entries(v[i])); /* a scan leaves negative entries out */
    }
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
}

T_ALONE(random_mix_with_evictions_is_counted)
{
    cellar *c = begin(1u << 20);
    cellar *v[NAMESPACES] = { c, open_named(c, "a"), open_named(c, "b"), open_named(c, "c") };
    uint64_t r = t_seed();
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 5000; i++) { act(v[below(&r, NAMESPACES)], &r); }
        check_at_rest(c, v);
    }
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.ended[CELLAR_CAUSE_EVICTED] != 0);
    for (unsigned i = NAMESPACES; i-- > 1;) { T_EQ_I64(cellar_namespace_close(v[i]), CELLAR_OK); }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

typedef struct work {
    cellar **v;
    unsigned number;
} work;

static void *run_mix(void *arg)
{
    const work *w = arg;
    uint64_t r = t_seed() + w->number;
    for (unsigned i = 0; i < (T_COST > 1 ? 2500u : 20000u); i++) { act(w->v[below(&r, NAMESPACES)], &r); }
    return NULL;
}

T_CASE(threads_leave_an_exact_count)
{
    cellar *c = begin(1u << 20);
    cellar *v[NAMESPACES] = { c, open_named(c, "a"), open_named(c, "b"), open_named(c, "c") };
    for (unsigned round = 0; round < 3; round++) {
        pthread_t t[4];
        work w[4];
        for (unsigned i = 0; i < 4; i++) {
            w[i] = (work){ v, i };
            T_REQUIRE(pthread_create(&t[i], NULL, run_mix, &w[i]) == 0);
        }
        for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
        check_at_rest(c, v);
    }
    for (unsigned i = NAMESPACES; i-- > 1;) { T_EQ_I64(cellar_namespace_close(v[i]), CELLAR_OK); }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE(entry_from_disk_is_counted_when_it_is_in_memory)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8], buf[8];
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/store", folder);
    settings s = api_config(16u << 20);
    s.config.l2_path = path;
    s.config.l2_bytes = 64u << 20;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    put(c, "a", "1", 0);
    put(c, "b", "1", 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    T_EQ_U64(entries(c), 0);
    T_EQ_I64(cellar_get(c, "a", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(entries(c), 1);
    T_EQ_I64(cellar_get(c, "a", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(entries(c), 1);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    t_wipe(path);
    T_EQ_I64(rmdir(folder), 0);
}

T_MAIN("api_entries")
