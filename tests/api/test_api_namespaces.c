/* SPDX-License-Identifier: MIT
 *
 * Aim:    Namespaces are isolated and counted, keep their entries, and clear in O(1).
 * Method: public calls only. */
#include "tests/support/api_kit.h"
#include "tests/support/settings.h"

#include <time.h>

static cellar *open_bytes(uint64_t bytes)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = bytes, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static cellar *namespace(cellar *c, const char *name)
{
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, NULL, &v) == CELLAR_OK);
    return v;
}

static cellar_err put(cellar *c, const char *key, const char *value)
{
    return cellar_set(c, key, strlen(key), value, strlen(value), NULL);
}

T_CASE(closed_and_reopened_namespace_keeps_entries)
{
    cellar *c = open_bytes(4u << 20);
    cellar *a = namespace(c, "a"), *again = namespace(c, "a");
    T_CHECK(a == again);
    put(a, "k", "v");
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_STR(api_look(a, "k"), "v"); /* opened twice, closed once */
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    a = namespace(c, "a");
    T_EQ_STR(api_look(a, "k"), "v");
    T_EQ_STR(api_look(c, "k"), "MISS");
    /* Any namespace leads to all others, and the root handle may be closed last. */
    cellar *b = namespace(a, "b");
    put(b, "k", "w");
    T_EQ_STR(api_look(a, "k"), "v");
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    api_shut(c);
}

T_CASE(dropped_namespace_is_empty_and_closed)
{
    cellar *c = open_bytes(4u << 20);
    cellar *a = namespace(c, "a"), *b = namespace(c, "b");
    put(a, "k", "old");
    put(b, "k", "other");
    T_EQ_I64(cellar_namespace_drop(c, "a"), CELLAR_OK);
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    T_EQ_I64(cellar_namespace_drop(c, "a"), CELLAR_E_NOT_FOUND);
    cellar *fresh = namespace(c, "a");
    T_CHECK(fresh != a);
    T_EQ_STR(api_look(fresh, "k"), "MISS");
    put(fresh, "k", "new");
    T_EQ_STR(api_look(fresh, "k"), "new");
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_E_CLOSED);
    T_EQ_STR(api_look(b, "k"), "other");
    T_EQ_I64(cellar_namespace_drop(b, "b"), CELLAR_OK); /* a drop through its own handle */
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(fresh), CELLAR_OK);
    api_shut(c);
}

typedef struct seen_names { /* those that a list has passed */
    char text[64];
    unsigned most;
    uint64_t entries;
} seen_names;

static bool note_name(const char *name, const cellar_stats *st, void *ctx)
{
    seen_names *seen = ctx;
    strcat(strcat(seen->text, name), ";");
    seen->entries += st->namespace_entries;
    T_EQ_U64(st->sets, st->namespace_entries);
    return --seen->most != 0;
}

T_CASE(list_has_each_namespace_but_hidden_ones)
{
    cellar *c = open_bytes(4u << 20), *hidden = NULL;
    cellar *a = namespace(c, "a"), *b = namespace(c, "b"), *d = namespace(c, "d");
    cellar_namespace_config o = { .struct_size = sizeof o, .hidden = 1 };
    T_EQ_I64(cellar_namespace_open(c, "h", &o, &hidden), CELLAR_OK);
    put(a, "k", "v");
    put(b, "k", "v");
    put(b, "l", "v");
    put(hidden, "k", "v");
    T_EQ_I64(cellar_namespace_drop(c, "d"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK); /* it keeps its entries */
    seen_names seen = { .most = 9 };
    T_EQ_I64(cellar_namespace_list(a, note_name, &seen), CELLAR_OK);
    T_EQ_STR(seen.text, ";a;b;");
    T_EQ_U64(seen.entries, 3);
    seen = (seen_names){ .most = 2 };
    T_EQ_I64(cellar_namespace_list(c, note_name, &seen), CELLAR_OK);
    T_EQ_STR(seen.text, ";a;");
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(d), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(hidden), CELLAR_OK);
    api_shut(c);
}

T_CASE(namespace_names_are_bytes)
{
    cellar *c = open_bytes(4u << 20), *v[4];
    char longest[CELLAR_NAME_MAX + 1];
    memset(longest, 'x', CELLAR_NAME_MAX);
    longest[CELLAR_NAME_MAX] = '\0';
    const char *const names[4] = { longest, "\xff\x01\n", " ", "\xc3\xa4" };
    for (int i = 0; i < 4; i++) {
        v[i] = namespace(c, names[i]);
        put(v[i], "k", names[i]);
    }
    for (int i = 0; i < 4; i++) { T_EQ_STR(api_look(v[i], "k"), names[i]); }
    static char text[200000];
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_EQ_I64(cellar_dump_write(c, text, sizeof text, NULL), CELLAR_OK);
    for (int i = 0; i < 4; i++) { T_EQ_I64(cellar_namespace_close(v[i]), CELLAR_OK); }
    api_shut(c);
}

T_CASE(namespaces_over_limit_are_refused)
{
    cellar *c, *v[200], *more;
    char name[32];
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.no_threads = 1,
                     .tuning.max_namespaces = 101 }; /* the root is one */
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "namespace-%d", i);
        v[i] = namespace(c, name);
        T_EQ_I64(cellar_set(v[i], "k", 1, &i, sizeof i, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_namespace_open(c, "one more", NULL, &more), CELLAR_E_LIMIT);
    T_CHECK(more == NULL);
    T_EQ_I64(cellar_namespace_drop(c, "namespace-7"), CELLAR_OK);
    /* its handle is still open */
    T_EQ_I64(cellar_namespace_open(c, "one more", NULL, &more), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_namespace_close(v[7]), CELLAR_OK);
    v[7] = namespace(c, "one more");
    for (int i = 0; i < 100; i++) {
        int seen = -1;
        const cellar_err want = i == 7 ? CELLAR_MISS : CELLAR_OK;
        T_EQ_I64(cellar_get(v[i], "k", 1, &seen, sizeof seen, NULL), want);
        if (i != 7) { T_EQ_I64(seen, i); }
    }
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    for (int i = 0; i < 100; i++) { T_EQ_I64(cellar_namespace_close(v[i]), CELLAR_OK); }
    api_shut(c);
}

T_CASE(opened_and_dropped_namespaces_leave_no_memory)
{
    cellar *c = open_bytes(2u << 20);
    cellar_stats st = cellar_stats_default();
    uint64_t used = 0;
    char name[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "v%d", i);
        cellar *v = namespace(c, name);
        put(v, "k", "v");
        T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        T_EQ_I64(cellar_namespace_drop(c, name), CELLAR_OK);
        if (i == 100) {
            T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
            used = st.used_bytes;
        }
    }
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= used + 40000); /* segments of the log come and go, namespaces do not */
    T_EQ_U64(st.sets, 3000); /* counts of dropped namespaces stay in the sum */
    api_shut(c);
}

T_CASE(namespace_options_and_ttl_classes_apply)
{
    cellar *c = open_bytes(4u << 20), *v, *same;
    const cellar_ttl_class three[3] = { { "processing", 300000 }, { "success", 3600000 },
                                        { "forever", CELLAR_TTL_NONE } };
    cellar_entry_info i = cellar_entry_info_default();
    uint32_t cls = 9;
    cellar_namespace_config o = { .struct_size = sizeof o, .default_ttl_ms = 5000,
                                  .ttl_classes = three, .ttl_class_count = 3,
                                  .ttl_class_fallback = 2, .exact_age = 1 };
    T_EQ_I64(cellar_namespace_open(c, "v", &o, &v), CELLAR_OK);
    T_EQ_I64(cellar_ttl_class_find(v, "processing", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    T_EQ_I64(cellar_ttl_class_find(v, "unknown", &cls), CELLAR_OK);
    T_EQ_U64(cls, 2);
    T_EQ_I64(cellar_ttl_class_find(v, "forever", &cls), CELLAR_OK);
    cellar_set_opts s = { .struct_size = sizeof s, .ttl_class = cls };
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(v, "k", 1, 0, &i), CELLAR_OK);
    T_EQ_I64(i.ttl_left_ms, CELLAR_TTL_NONE);
    T_CHECK((i.flags & CELLAR_INFO_AGE_APPROX) == 0);
    s.ttl_class = 1;
    s.ttl_ms = 77; /* the option of the call wins */
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(v, "k", 1, 0, &i), CELLAR_OK);
    T_CHECK(i.ttl_left_ms <= 77);
    s.ttl_class = 4;
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_ttl_class_find(c, "processing", &cls), CELLAR_MISS);
    T_EQ_U64(cls, 0);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &same), CELLAR_OK); /* no options: unchanged */
    T_EQ_I64(cellar_ttl_class_find(v, "success", &cls), CELLAR_OK);
    T_EQ_U64(cls, 2);
    o.ttl_class_count = 1;
    o.ttl_class_fallback = 0;
    T_EQ_I64(cellar_namespace_close(same), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "v", &o, &same), CELLAR_OK);
    T_EQ_I64(cellar_ttl_class_find(v, "success", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.ttl_class_fallbacks, 2);
    T_EQ_I64(cellar_namespace_close(same), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

enum { CLEAR_ENTRIES = 200000 };

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fill(cellar *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) { cellar_set(v, &i, sizeof i, "value", 5, NULL); }
}

/* Count the names of 1,000 in n that exist. */
static unsigned there_of_1000(cellar *v, uint32_t n)
{
    unsigned there = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        const uint32_t id = (uint32_t)((uint64_t)i * n / 1000);
        there += cellar_contains(v, &id, sizeof id) == CELLAR_OK;
    }
    return there;
}

/* Return the quickest of several clears of a namespace of n entries, with another of m. At the end
 * many bytes are written, so that the processor's caches hold the same for any n and m. */
static uint64_t clear_ns(cellar *v, uint32_t n, cellar *beside, uint32_t m, int rounds)
{
    uint64_t best = UINT64_MAX;
    fill(beside, m);
    for (int round = 0; round < rounds; round++) {
        fill(v, n);
        T_EQ_U64(there_of_1000(v, n), 1000);
        fill(n < m ? beside : v, CLEAR_ENTRIES);
        const uint64_t start = cpu_ns();
        T_EQ_I64(cellar_clear(v), CELLAR_OK);
        const uint64_t took = cpu_ns() - start;
        if (took < best) { best = took; }
        const uint32_t first = 0;
        T_EQ_I64(cellar_contains(v, &first, sizeof first), CELLAR_MISS);
    }
    return best;
}

/* CLEAR_ENTRIES=10000000: so many entries (slow_api_clear.sh). */
T_CASE(clear_is_o1_and_frees_memory)
{
    const uint32_t most = (uint32_t)t_env_u64("CLEAR_ENTRIES", CLEAR_ENTRIES);
    const int rounds = most > CLEAR_ENTRIES ? 3 : 9;
    cellar *c = open_bytes(((uint64_t)64 << 20) + (uint64_t)most * 64);
    cellar *v = namespace(c, "v"), *w = namespace(c, "w");
    bool alike = false;
    for (int i = 0; i < 10 && !alike && !t_failed(); i++) { /* a machine may change meanwhile */
        const uint64_t few = clear_ns(v, 1000, w, most, rounds);
        T_EQ_I64(cellar_clear(w), CELLAR_OK);
        const uint64_t many = clear_ns(w, most, v, 1000, rounds);
        T_EQ_I64(cellar_clear(v), CELLAR_OK);
        printf("# clear of 1,000 entries %llu ns, of %u %llu ns\n", (unsigned long long)few, most,
               (unsigned long long)many);
        alike = many < 2 * few + 2000; /* the resolution of the clock */
    }
    T_CHECK(alike);
    T_EQ_I64(cellar_namespace_close(w), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
    /* full, cleared: the same amount fits again, and no live entry is evicted */
    c = open_bytes(8u << 20);
    v = namespace(c, "v");
    static char value[1000];
    for (int i = 0; i < 20000; i++) { cellar_set(v, &i, sizeof i, value, sizeof value, NULL); }
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    for (int i = 0; i < 4000; i++) {
        T_EQ_I64(cellar_set(v, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    int there = 0;
    for (int i = 0; i < 4000; i++) { there += cellar_contains(v, &i, sizeof i) == CELLAR_OK; }
    T_EQ_I64(there, 4000);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_CASE(version_increment_counts_up)
{
    cellar *c = open_bytes(2u << 20), *v = namespace(c, "v");
    uint32_t version = 0;
    put(v, "k", "1");
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 2);
    T_EQ_STR(api_look(v, "k"), "MISS");
    put(v, "k", "2");
    T_EQ_I64(cellar_version_set(v, 1, NULL), CELLAR_OK); /* backwards: dead entries stay dead */
    T_EQ_STR(api_look(v, "k"), "MISS");
    T_EQ_I64(cellar_version_set(v, UINT32_MAX, NULL), CELLAR_OK);
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_E_RANGE);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.version_changes, 3);
    T_EQ_U64(st.clears, 0);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

/* Open "v" with a version. */
static cellar *namespace_at(cellar *c, uint32_t version)
{
    cellar *v = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .version = version };
    T_REQUIRE(cellar_namespace_open(c, "v", &o, &v) == CELLAR_OK);
    return v;
}

T_CASE(version_at_open_begins_keeps_or_changes)
{
    cellar *c = open_bytes(2u << 20), *v = namespace_at(c, 7), *again;
    cellar_stats st = cellar_stats_default();
    uint32_t version = 0;
    put(v, "k", "first");
    again = namespace_at(c, 7); /* the same number: nothing changes */
    T_EQ_STR(api_look(v, "k"), "first");
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    again = namespace_at(c, 0); /* 0 keeps it */
    T_EQ_STR(api_look(v, "k"), "first");
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 8);
    put(v, "k", "second");
    again = namespace_at(c, 5); /* another number: like cellar_version_set */
    T_EQ_STR(api_look(v, "k"), "MISS");
    T_EQ_I64(cellar_stats_get(v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.version_changes, 2);
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 6);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    v = namespace(c, "v"); /* new, without options */
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 2);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_CASE(many_stores_are_independent)
{
    enum { STORES = 60 };
    cellar *c[STORES];
    char value[16];
    for (int i = 0; i < STORES; i++) {
        c[i] = open_bytes(1u << 20);
        snprintf(value, sizeof value, "%d", i);
        put(c[i], "k", value);
    }
    for (int i = 0; i < STORES; i++) {
        snprintf(value, sizeof value, "%d", i);
        T_EQ_STR(api_look(c[i], "k"), value);
        T_EQ_I64(cellar_close(c[i]), CELLAR_OK);
    }
}

T_CASE(root_has_options_and_name)
{
    const cellar_ttl_class one = { "only", 1000 };
    cellar *c;
    uint32_t cls;
    static char text[100000];
    cellar_namespace_config o = { .struct_size = sizeof o, .ttl_classes = &one,
                                  .ttl_class_count = 1, .default_ttl_ms = 4000 };
    settings cfg = { SETTINGS_SIZES, .config.root = &o, .host.name = "main" };
    o.version = 7;
    cfg.config.default_ttl_ms = 9000;
    cfg.host.no_threads = 1;
    cfg.config.memory_bytes = 2u << 20;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_ttl_class_find(c, "only", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    int64_t value;
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, 4000);
    cellar *v = namespace(c, "v");
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, 9000);
    T_EQ_I64(cellar_version_set(c, 0, &cls), CELLAR_OK);
    T_EQ_U64(cls, 8);
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "namespace=\"main\"") != NULL);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_ONE_THREAD;
T_MAIN("api_namespaces")
