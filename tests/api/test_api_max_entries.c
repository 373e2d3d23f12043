/* SPDX-License-Identifier: MIT
 *
 * Aim:    max_entries of a namespace: after each call the namespace has at most that many entries
 *         in memory. Entries of the same namespace make room, old unused ones first, with the cause
 *         "evicted". Other namespaces lose nothing. Each way in and out is counted.
 * Method: Each way to store, by hand. A random mix in three namespaces, against an oracle that
 *         counts: a set of an absent key adds one, up to the bound. Threads, then a count at rest
 *         and the audit, which compares the lists of namespaces with the index. */
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/api_kit.h"
#include "tests/support/folder.h"
#include "tests/support/rules.h"

#define OTHERS 300u

static cellar *open_bound(cellar *c, const char *name, uint32_t max)
{
    cellar *v = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .max_entries = max };
    T_REQUIRE(cellar_namespace_open(c, name, &o, &v) == CELLAR_OK);
    return v;
}

static uint64_t entries(cellar *v)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    return st.namespace_entries;
}

static uint64_t evicted(cellar *v)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    return st.ended[CELLAR_CAUSE_EVICTED];
}

static bool has(cellar *v, const char *key)
{
    return cellar_contains(v, key, strlen(key)) == CELLAR_OK;
}

static void put(cellar *v, const char *key) { T_EQ_I64(api_put(v, key, "value", NULL), CELLAR_OK); }

static void put_number(cellar *v, unsigned n)
{
    char key[16];
    (void)snprintf(key, sizeof key, "%u", n);
    put(v, key);
}

static void put_numbers(cellar *v, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) { put_number(v, i); }
}

T_CASE(every_way_in_and_out_is_counted)
{
    cellar *c = api_open(8u << 20), *a = open_bound(c, "a", 0);
    cellar_set_opts brief = { .struct_size = sizeof brief, .ttl_ms = 10 };
    cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_NEGATIVE };
    int64_t number;
    uint64_t many = 0;
    cellar_stats st = cellar_stats_default();
    T_EQ_U64(entries(a), 0);
    T_EQ_I64(api_put(a, "k", "1", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "1", NULL), CELLAR_OK);
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(api_put(a, "k", "2", NULL), CELLAR_OK); /* in place */
    T_EQ_I64(api_put(a, "k", "a value of another length", NULL), CELLAR_OK);
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(cellar_set(a, "none", 4, NULL, 0, &absent), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_MISS);
    T_EQ_I64(cellar_delete(a, "none", 4), CELLAR_MISS); /* a negative entry is removed */
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(api_put(a, "short", "1", &brief), CELLAR_OK);
    T_EQ_I64(api_put(a, "again", "1", &brief), CELLAR_OK);
    T_EQ_I64(api_put(a, "count", "12345678", &brief), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 20);
    T_EQ_U64(entries(a), 4); /* not yet reclaimed */
    T_EQ_I64(api_put(a, "again", "2", NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "count", 5, 1, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "short", 5), CELLAR_MISS);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(api_put(a, "short", "1", &brief), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 20);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete_by_pattern(a, "a*", 2, &many), CELLAR_OK);
    T_EQ_U64(entries(a), 2);
    T_EQ_U64(entries(c), 1);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.namespace_entries == 0 && st.entries == 3);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    api_shut(c);
}

static uint64_t numbers(cellar *v, unsigned from, unsigned to)
{
    uint64_t n = 0;
    char key[16];
    for (unsigned i = from; i < to; i++) {
        (void)snprintf(key, sizeof key, "%u", i);
        n += has(v, key);
    }
    return n;
}

static cellar_err bound(cellar *v, int64_t max)
{
    return cellar_option_set(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, max);
}

static cellar_err load_it(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(load, key, key_len);
}

static cellar_err append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old != NULL) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "+", 1);
}

static void bulk_set(cellar *v, unsigned from)
{
    char key[64][16];
    cellar_set_item items[64];
    memset(items, 0, sizeof items);
    for (unsigned i = 0; i < 64; i++) {
        const int n = snprintf(key[i], sizeof key[i], "%u", from + i);
        items[i] = (cellar_set_item){ key[i], (size_t)n, "v", 1, CELLAR_OK, 0 };
    }
    size_t stored = 0;
    T_EQ_I64(cellar_set_many(v, items, 64, NULL, &stored), CELLAR_OK);
    T_EQ_U64(stored, 64);
}

static void load_one(cellar *v, const char *key)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(v, key, strlen(key), NULL, load_it, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
}

static void lease_one(cellar *v, const char *key)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(v, key, strlen(key), NULL, NULL, &lease, &r),
             CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(v, &lease, "leased", 6, NULL), CELLAR_OK);
    cellar_result_free(&r);
}

T_CASE(each_way_to_store_keeps_the_bound)
{
    cellar *c = api_open(8u << 20), *v = open_bound(c, "v", 10);
    int64_t number;
    char key[16];
    put_numbers(c, 0, OTHERS);
    for (unsigned i = 0; i < 50; i++) {
        put_number(v, i);
        T_EQ_U64(entries(v), i < 10 ? i + 1 : 10);
        T_EQ_U64(numbers(v, i, i + 1), 1);
    }
    cellar_set_opts o = cellar_set_opts_default();
    for (unsigned i = 0; i < 15; i++) {
        (void)snprintf(key, sizeof key, "i%u", i);
        T_EQ_I64(cellar_increment(v, key, strlen(key), 1, 5, NULL, &number), CELLAR_OK);
        T_EQ_U64(entries(v), 10);
        (void)snprintf(key, sizeof key, "u%u", i);
        T_EQ_I64(cellar_update(v, key, strlen(key), NULL, append, NULL), CELLAR_OK);
        T_EQ_U64(entries(v), 10);
        (void)snprintf(key, sizeof key, "l%u", i);
        load_one(v, key);
        T_EQ_U64(entries(v), 10);
        (void)snprintf(key, sizeof key, "s%u", i);
        lease_one(v, key);
        T_EQ_U64(entries(v), 10);
        (void)snprintf(key, sizeof key, "t%u", i);
        o.ttl_ms = 5000;
        o.flags = CELLAR_ONLY_IF_ABSENT;
        T_EQ_I64(api_put(v, key, "v", &o), CELLAR_OK);
        T_EQ_U64(entries(v), 10);
        (void)snprintf(key, sizeof key, "n%u", i);
        o.ttl_ms = 0;
        o.flags = CELLAR_NEGATIVE;
        T_EQ_I64(cellar_set(v, key, strlen(key), NULL, 0, &o), CELLAR_OK);
        T_EQ_U64(entries(v), 10);
    }
    bulk_set(v, 1000);
    T_EQ_U64(entries(v), 10);
    T_EQ_U64(numbers(c, 0, OTHERS), OTHERS);
    T_EQ_U64(evicted(c), 0);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_CASE(old_unused_entries_leave_first)
{
    static const uint32_t policies[] = { CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_S3FIFO,
                                         CELLAR_EVICT_LRU, CELLAR_EVICT_FIFO };
    for (unsigned p = 0; p < 4; p++) {
        settings s = api_config(8u << 20);
        s.config.eviction = policies[p];
        cellar *c = api_open_with(&s), *v = open_bound(c, "v", 20);
        const bool fifo = policies[p] == CELLAR_EVICT_FIFO;
        put_numbers(v, 0, 20);
        for (unsigned i = 0; i < 5; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%u", i);
            T_EQ_STR(api_look(v, key), "value"); /* used */
        }
        put_numbers(v, 20, 30);
        T_EQ_U64(numbers(v, 0, 5), fifo ? 0 : 5);
        T_EQ_U64(numbers(v, 5, 15), fifo ? 5 : 0);
        T_EQ_U64(numbers(v, 15, 30), 15);
        put_numbers(v, 30, 35);
        T_EQ_U64(numbers(v, 20, 35), 15);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        api_shut(c);
    }
}

T_CASE(set_over_an_entry_is_a_use)
{
    for (int64_t p = CELLAR_EVICT_ADAPTIVE; p <= CELLAR_EVICT_FIFO; p++) {
        cellar *c = api_open(8u << 20), *v = open_bound(c, "v", 3);
        const bool fifo = p == CELLAR_EVICT_FIFO;
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_EVICTION, p), CELLAR_OK);
        put(v, "a");
        put(v, "b");
        put(v, "c");
        put(v, "a"); /* in place */
        put(v, "d");
        T_CHECK(has(v, fifo ? "b" : "a") && !has(v, fifo ? "a" : "b") && has(v, "d"));
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        api_shut(c);
    }
}

T_CASE(change_of_an_entry_evicts_nothing)
{
    cellar *c = api_open(8u << 20), *v = open_bound(c, "v", 3);
    put(v, "a");
    put(v, "b");
    put(v, "c");
    T_EQ_I64(api_put(v, "a", "in the place of the old value, but longer", NULL), CELLAR_OK);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 9000 };
    T_EQ_I64(api_put(v, "b", "v", &o), CELLAR_OK);
    T_EQ_I64(cellar_touch(v, "c", 1, 70000), CELLAR_OK);
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(api_put(v, "c", "v", &o), CELLAR_EXISTS);
    o.flags = CELLAR_ONLY_IF_PRESENT;
    T_EQ_I64(api_put(v, "d", "v", &o), CELLAR_MISS);
    T_EQ_U64(entries(v), 3);
    T_EQ_U64(evicted(v), 0);
    put(v, "d"); /* "c" is the oldest by its last set */
    T_CHECK(has(v, "a") && has(v, "b") && has(v, "d"));
    T_EQ_I64(cellar_delete(v, "a", 1), CELLAR_OK);
    put(v, "e");
    T_EQ_U64(evicted(v), 1);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_CASE(bound_changes_at_run_time)
{
    cellar *c = api_open(16u << 20), *v = open_bound(c, "v", 100), *w = open_bound(c, "w", 0);
    int64_t now = 0;
    put_numbers(v, 0, 100);
    put_numbers(w, 0, 5000);
    T_EQ_I64(bound(v, 10), CELLAR_OK);
    T_EQ_U64(entries(v), 10);
    T_EQ_U64(numbers(v, 90, 100), 10);
    T_EQ_I64(bound(v, 1000), CELLAR_OK);
    put_numbers(v, 100, 1200);
    T_EQ_U64(entries(v), 1000);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
    T_EQ_I64(now, 1000);
    T_EQ_I64(bound(v, 0), CELLAR_OK);
    put_numbers(v, 0, 1200);
    T_EQ_U64(entries(v), 1200);
    T_EQ_I64(bound(v, 700), CELLAR_OK); /* of entries that are there */
    T_EQ_U64(entries(v), 700);
    put_numbers(v, 2000, 2700);
    T_EQ_U64(entries(v), 700);
    T_EQ_U64(numbers(v, 2650, 2700), 50);
    T_EQ_I64(bound(w, 400), CELLAR_OK);
    T_EQ_U64(entries(w), 400);
    T_EQ_I64(bound(c, 5), CELLAR_OK); /* of the root, which has none */
    put_numbers(c, 0, 50);
    T_EQ_U64(entries(c), 5);
    T_EQ_U64(entries(v), 700);
    T_EQ_I64(bound(v, -1), CELLAR_E_INVAL);
    T_EQ_I64(bound(v, INT64_C(1) << 32), CELLAR_E_INVAL);
    T_EQ_I64(bound(v, UINT32_MAX), CELLAR_OK);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
    T_EQ_I64(now, UINT32_MAX);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(w), CELLAR_OK);
    api_shut(c);
}

T_ALONE(first_bound_keeps_younger_entries)
{
    settings s = api_config(32u << 20);
    s.tuning.stripes = 4;
    cellar *c = api_open_with(&s), *v = open_bound(c, "v", 0);
    put_numbers(v, 0, 40000);
    T_EQ_I64(bound(v, 10000), CELLAR_OK);
    T_EQ_U64(entries(v), 10000);
    T_CHECK(numbers(v, 20000, 40000) >= 9900); /* eighths of the age of the store */
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

/* Set the bound once more when the first entry leaves for it: most are not in the list yet. */
typedef struct second { cellar *v; int64_t max; bool done; } second;

static void bound_again(const cellar_event *e, void *ctx)
{
    second *s = ctx;
    if (s->done || e->cause != CELLAR_CAUSE_EVICTED) { return; }
    s->done = true;
    T_EQ_I64(bound(s->v, s->max), CELLAR_OK);
    T_EQ_U64(entries(s->v), s->max);
}

T_CASE(bound_holds_when_a_call_returns_although_another_still_sets_it)
{
    static const int64_t then[] = { 50, 20, 80 };
    for (unsigned i = 0; i < 3; i++) {
        cellar *c = api_open(8u << 20), *v = open_bound(c, "v", 0);
        second s = { v, then[i], false };
        uint64_t id;
        put_numbers(v, 0, 400);
        T_EQ_I64(cellar_listener_add(v, 0, bound_again, &s, &id), CELLAR_OK);
        T_EQ_I64(bound(v, 50), CELLAR_OK);
        T_CHECK(s.done);
        T_EQ_U64(entries(v), then[i]);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        api_shut(c);
    }
}

T_CASE(options_at_open_set_the_bound)
{
    settings s = api_config(8u << 20);
    cellar_namespace_config root = { .struct_size = sizeof root, .max_entries = 7 };
    s.config.root = &root;
    cellar *c = api_open_with(&s), *v, *again;
    put_numbers(c, 0, 30);
    T_EQ_U64(entries(c), 7);
    v = open_bound(c, "v", 50);
    put_numbers(v, 0, 100);
    again = open_bound(c, "v", 20); /* options replace those of before */
    T_EQ_U64(entries(v), 20);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "v", NULL, &again) == CELLAR_OK);
    put_numbers(again, 0, 100);
    T_EQ_U64(entries(v), 20);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    again = open_bound(c, "v", 0);
    put_numbers(again, 0, 100);
    T_EQ_U64(entries(v), 100);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_CASE(evicted_entries_go_to_disk_and_come_back)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8], key[16];
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/store", folder);
    settings s = api_config(16u << 20);
    s.config.l2_path = path;
    s.config.l2_bytes = 64u << 20;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    cellar *v = open_bound(c, "v", 10);
    for (unsigned i = 0; i < 100; i++) { /* used in memory: worth its bytes on disk */
        (void)snprintf(key, sizeof key, "%u", i);
        put(v, key);
        T_EQ_STR(api_look(v, key), "value");
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 100; i++) {
            (void)snprintf(key, sizeof key, "%u", i);
            T_EQ_STR(api_look(v, key), "value");
            T_CHECK(entries(v) <= 10);
        }
    }
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.hits_l2 > 250);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    v = open_bound(c, "v", 5); /* options are not on the disk */
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof key, "%u", i);
        (void)api_look(v, key);
        T_CHECK(entries(v) <= 5);
    }
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
    t_wipe(path);
    T_EQ_I64(rmdir(folder), 0);
}

T_ALONE(bound_and_quota_of_the_root_hold_over_a_disk)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8], rules[T_FOLDER_MAX + 8], key[16];
    cellar_stats st = cellar_stats_default();
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/store", folder);
    (void)snprintf(rules, sizeof rules, "%s/rules", folder);
    FILE *f = fopen(rules, "w");
    T_REQUIRE(f != NULL);
    T_CHECK(fputs("[*]\nset quota_max=40%\n", f) >= 0);
    T_EQ_I64(fclose(f), 0);
    settings s = api_config(16u << 20);
    cellar_namespace_config root = { .struct_size = sizeof root, .max_entries = 10,
                                     .l2_write = CELLAR_L2_WRITE_ON_SET };
    s.config.root = &root;
    rules_of_file(&s.config, rules);
    s.config.l2_path = path;
    s.config.l2_bytes = 64u << 20;
    for (unsigned life = 0; life < 3; life++) {
        cellar *c = NULL;
        T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
        for (unsigned i = 0; i < 50; i++) {
            (void)snprintf(key, sizeof key, "%u", i);
            if (life == 0) { put(c, key); }
            T_EQ_STR(api_look(c, key), "value");
            T_CHECK(entries(c) <= 10);
        }
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        T_EQ_U64(st.quota_entries, 10);
        T_CHECK(st.quota_max_bytes != 0);
        api_shut(c);
    }
    rules_drop(&s.config);
    t_wipe(path);
    t_wipe(folder);
}

/* ---- memory ---- */

static _Atomic int64_t allocations_left;

static void *some_memory(size_t bytes, void *ctx)
{
    (void)ctx;
    void *p = NULL;
    if (atomic_fetch_sub(&allocations_left, 1) <= 0) { return NULL; }
    return posix_memalign(&p, 16, bytes) == 0 ? p : NULL;
}

static void free_memory(void *p, size_t bytes, void *ctx) { (void)bytes, (void)ctx; free(p); }

T_CASE(refused_memory_is_a_code)
{
    settings s = api_config(4u << 20);
    s.host.alloc = some_memory;
    s.host.free = free_memory;
    atomic_store(&allocations_left, INT64_MAX);
    cellar *c = api_open_with(&s), *v = open_bound(c, "v", 0);
    put_numbers(v, 0, 1000);
    bool done = false;
    for (int64_t n = 0; !done && n < 100; n++) {
        int64_t now = -1;
        atomic_store(&allocations_left, n);
        const cellar_err err = bound(v, 600);
        atomic_store(&allocations_left, INT64_MAX);
        done = err == CELLAR_OK;
        T_CHECK(done || err == CELLAR_E_NOMEM);
        T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
        T_EQ_I64(now, done ? 600 : 0);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    }
    T_CHECK(done);
    T_EQ_U64(entries(v), 600);
    T_EQ_I64(bound(v, 100000), CELLAR_OK);
    atomic_store(&allocations_left, 0); /* no node for more: it evicts its own instead */
    for (unsigned i = 5000; i < 7000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i);
        T_EQ_I64(api_put(v, key, "value", NULL), CELLAR_OK);
    }
    T_CHECK(evicted(v) > 2000 && entries(v) < 2000);
    atomic_store(&allocations_left, INT64_MAX);
    put_number(v, 8000);
    T_EQ_U64(numbers(v, 8000, 8001), 1);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

/* ---- model ---- */

#define NAMESPACES 3u

static uint64_t below(uint64_t *r, uint64_t n)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (*r >> 33) % n;
}

typedef struct model { cellar *v; uint64_t max, count; } model;

/* Make one random change, and count it. */
static void act(model *m, uint64_t *r)
{
    static const char value[400];
    char key[16];
    int64_t number;
    const size_t n = (size_t)snprintf(key, sizeof key, "%u", (unsigned)below(r, 400));
    const uint64_t what = below(r, 20);
    const bool there = cellar_contains(m->v, key, n) == CELLAR_OK;
    cellar_set_opts o = cellar_set_opts_default();
    bool stored = true;
    if (what < 4) {
        T_EQ_I64(cellar_delete(m->v, key, n), there ? CELLAR_OK : CELLAR_MISS);
        m->count -= there;
        return;
    }
    if (what == 4 && below(r, 30) == 0) {
        T_EQ_I64(cellar_clear(m->v), CELLAR_OK);
        m->count = 0;
        return;
    }
    if (what == 5 && below(r, 10) == 0) {
        m->max = below(r, 4) == 0 ? 0 : 1 + below(r, 200);
        T_EQ_I64(bound(m->v, (int64_t)m->max), CELLAR_OK);
        if (m->max != 0 && m->count > m->max) { m->count = m->max; }
        return;
    }
    if (what == 6) {
        stored = cellar_increment(m->v, key, n, 1, 1, NULL, &number) != CELLAR_E_TYPE;
    } else if (what == 7) {
        o.flags = CELLAR_ONLY_IF_PRESENT;
        stored = cellar_set(m->v, key, n, value, below(r, 400), &o) == CELLAR_OK;
        T_EQ_I64(stored, there);
    } else if (what == 8) {
        load_one(m->v, key);
    } else if (what < 12) {
        (void)api_look(m->v, key);
        stored = false;
    } else {
        o.ttl_ms = below(r, 2) != 0 ? 100000 : 0;
        T_EQ_I64(cellar_set(m->v, key, n, value, below(r, 400), &o), CELLAR_OK);
    }
    if (stored && !there && (m->max == 0 || m->count < m->max)) { m->count++; }
    if (stored) { T_EQ_I64(cellar_contains(m->v, key, n), CELLAR_OK); }
}

T_ALONE(random_mix_agrees_with_counts)
{
    cellar *c = api_open(16u << 20);
    model m[NAMESPACES] = { { c, 0, 0 }, { open_bound(c, "a", 30), 30, 0 },
                            { open_bound(c, "b", 1), 1, 0 } };
    uint64_t r = t_seed();
    for (unsigned i = 0; i < 60000; i++) {
        act(&m[below(&r, NAMESPACES)], &r);
        for (unsigned k = 0; k < NAMESPACES; k++) {
            if (!T_EQ_U64(entries(m[k].v), m[k].count)) { printf("# step %u of %u\n", i, k); }
        }
        if (i % 5000 == 0) { T_EQ_I64(cellar_integrity_check(c), CELLAR_OK); }
    }
    for (unsigned k = 1; k < NAMESPACES; k++) {
        T_EQ_I64(cellar_namespace_close(m[k].v), CELLAR_OK);
    }
    api_shut(c);
}

/* ---- threads ---- */

typedef struct work { cellar **v; unsigned number; } work;

static void *run_mix(void *arg)
{
    static const char value[400];
    const work *w = arg;
    uint64_t r = t_seed() + w->number;
    for (unsigned i = 0; i < 8000; i++) {
        char key[16];
        cellar *v = w->v[below(&r, NAMESPACES)];
        const size_t n = (size_t)snprintf(key, sizeof key, "%u", (unsigned)below(&r, 300));
        const uint64_t what = below(&r, 16);
        if (what < 3) {
            (void)cellar_delete(v, key, n);
        } else if (what == 3 && below(&r, 40) == 0) {
            (void)cellar_clear(v);
        } else if (what == 4 && below(&r, 40) == 0 && v != w->v[0]) {
            T_EQ_I64(bound(v, (int64_t)(5 + below(&r, 60))), CELLAR_OK);
        } else {
            T_EQ_I64(cellar_set(v, key, n, value, below(&r, sizeof value), NULL), CELLAR_OK);
        }
    }
    return NULL;
}

T_CASE(threads_never_pass_the_bound)
{
    cellar *c = api_open(8u << 20);
    cellar *v[NAMESPACES] = { c, open_bound(c, "a", 20), open_bound(c, "b", 3) };
    for (unsigned round = 0; round < (T_TSAN ? 2 : 5); round++) {
        pthread_t t[4];
        work w[4];
        for (unsigned i = 0; i < 4; i++) {
            w[i] = (work){ v, i + 4 * round };
            T_REQUIRE(pthread_create(&t[i], NULL, run_mix, &w[i]) == 0);
        }
        for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
        for (unsigned i = 1; i < NAMESPACES; i++) {
            int64_t max = 0;
            T_EQ_I64(cellar_option_get(v[i], CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &max), CELLAR_OK);
            T_CHECK(entries(v[i]) <= (uint64_t)max);
        }
        T_EQ_U64(evicted(c), 0);
    }
    for (unsigned i = NAMESPACES; i-- > 1;) { T_EQ_I64(cellar_namespace_close(v[i]), CELLAR_OK); }
    api_shut(c);
}

static void *fill(void *arg)
{
    const work *w = arg;
    for (unsigned i = 0; i < 100; i++) { put_number(w->v[0], w->number * 1000 + i); }
    return NULL;
}

T_CASE(threads_that_fit_evict_nothing)
{
    for (unsigned round = 0; round < 20; round++) {
        cellar *c = api_open(8u << 20), *v = open_bound(c, "v", 400);
        pthread_t t[4];
        work w[4];
        for (unsigned i = 0; i < 4; i++) {
            w[i] = (work){ &v, i };
            T_REQUIRE(pthread_create(&t[i], NULL, fill, &w[i]) == 0);
        }
        for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
        T_EQ_U64(entries(v), 400);
        T_EQ_U64(evicted(v), 0);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        api_shut(c);
    }
}

/* A set of 1 MiB into new pages faults in 256 of them. The entry that makes room leaves its own. */
T_ALONE(long_value_takes_the_pages_of_the_evicted_one)
{
    enum { BYTES = 1 << 20, SETS = 100 };
    cellar *c = api_open(64u << 20), *v = open_bound(c, "bound", 2);
    char *value = calloc(1, BYTES), key[16];
    struct rusage before, after;
    T_REQUIRE(value != NULL);
    for (unsigned i = 0; i < 2 * SETS; i++) {
        const int len = snprintf(key, sizeof key, "%u", i % 8);
        if (i == SETS) { (void)getrusage(RUSAGE_THREAD, &before); }
        T_EQ_I64(cellar_set(v, key, (size_t)len, value, BYTES, NULL), CELLAR_OK);
    }
    (void)getrusage(RUSAGE_THREAD, &after);
    T_CHECK(after.ru_minflt - before.ru_minflt < SETS * 16);
    T_EQ_U64(entries(v), 2);
    free(value);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_MAIN("api_max_entries")
