/* SPDX-License-Identifier: MIT
 *
 * Aim:    Namespaces are isolated and counted, keep their entries, and clear in O(1).
 * Method: public calls only. */
#include "tests/support/api_kit.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

#include <time.h>

static cellar_err put(cellar *c, const char *key, const char *value)
{
    return cellar_set(c, key, strlen(key), value, strlen(value), NULL);
}

T_CASE(closed_and_reopened_namespace_keeps_entries)
{
    cellar *c = closed_later(api_open(4u << 20)), *a = space_of(c, "a"), *again = space_of(c, "a");
    T_CHECK(a == again);
    put(a, "k", "v");
    close_now(a);
    T_EQ_STR(api_look(a, "k"), "v"); /* opened twice, closed once */
    close_now(a);
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    a = space_of(c, "a");
    T_EQ_STR(api_look(a, "k"), "v");
    T_EQ_STR(api_look(c, "k"), "MISS");
    /* Any namespace leads to all others, and the root handle may be closed last. */
    cellar *b = space_of(a, "b");
    T_AFTER_STR(put(b, "k", "w"), api_look(a, "k"), "v");
}

T_CASE(dropped_namespace_is_empty_and_closed)
{
    cellar *c = closed_later(api_open(4u << 20)), *a = space_of(c, "a"), *b = space_of(c, "b");
    put(a, "k", "old");
    put(b, "k", "other");
    T_EQ_I64(cellar_namespace_drop(c, "a"), CELLAR_OK);
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    T_EQ_I64(cellar_namespace_drop(c, "a"), CELLAR_E_NOT_FOUND);
    cellar *fresh = space_of(c, "a");
    T_CHECK(fresh != a);
    T_EQ_STR(api_look(fresh, "k"), "MISS");
    T_AFTER_STR(put(fresh, "k", "new"), api_look(fresh, "k"), "new");
    T_EQ_STR(api_look(a, "k"), "E_CLOSED");
    close_now(a);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_E_CLOSED);
    T_EQ_STR(api_look(b, "k"), "other");
    T_EQ_I64(cellar_namespace_drop(b, "b"), CELLAR_OK); /* a drop through its own handle */
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
    cellar *c = closed_later(api_open(4u << 20)), *a = space_of(c, "a"), *b = space_of(c, "b");
    cellar *hidden = space_with(c, "h", SPACE_OPTS(.hidden = 1));
    (void)space_of(c, "d");
    put(a, "k", "v");
    put(b, "k", "v");
    put(b, "l", "v");
    put(hidden, "k", "v");
    T_EQ_I64(cellar_namespace_drop(c, "d"), CELLAR_OK);
    close_now(b); /* it keeps its entries */
    seen_names seen = { .most = 9 };
    T_EQ_I64(cellar_namespace_list(a, note_name, &seen), CELLAR_OK);
    T_EQ_STR(seen.text, ";a;b;");
    T_EQ_U64(seen.entries, 3);
    seen = (seen_names){ .most = 2 };
    T_EQ_I64(cellar_namespace_list(c, note_name, &seen), CELLAR_OK);
    T_EQ_STR(seen.text, ";a;");
}

T_CASE(namespace_names_are_bytes)
{
    cellar *c = closed_later(api_open(4u << 20)), *v[4];
    char longest[CELLAR_NAME_MAX + 1];
    memset(longest, 'x', CELLAR_NAME_MAX);
    longest[CELLAR_NAME_MAX] = '\0';
    const char *const names[4] = { longest, "\xff\x01\n", " ", "\xc3\xa4" };
    for (int i = 0; i < 4; i++) {
        v[i] = space_of(c, names[i]);
        put(v[i], "k", names[i]);
    }
    for (int i = 0; i < 4; i++) { T_EQ_STR(api_look(v[i], "k"), names[i]); }
    static char text[200000];
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_EQ_I64(cellar_dump_write(c, text, sizeof text, NULL), CELLAR_OK);
}

T_CASE(namespaces_over_limit_are_refused)
{
    cellar *v[100], *more;
    settings cfg = api_config(4u << 20);
    cfg.tuning.max_namespaces = 101; /* the root is one */
    cellar *c = closed_later(api_open_with(&cfg));
    for (int i = 0; i < 100; i++) {
        v[i] = space_of(c, t_numbered("namespace-", (uint64_t)i));
        T_EQ_I64(cellar_set(v[i], "k", 1, &i, sizeof i, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_namespace_open(c, "one more", NULL, &more), CELLAR_E_LIMIT);
    T_CHECK(more == NULL);
    T_EQ_I64(cellar_namespace_drop(c, "namespace-7"), CELLAR_OK);
    /* its handle is still open */
    T_EQ_I64(cellar_namespace_open(c, "one more", NULL, &more), CELLAR_E_LIMIT);
    close_now(v[7]);
    v[7] = space_of(c, "one more");
    for (int i = 0; i < 100; i++) {
        int seen = -1;
        const cellar_err want = i == 7 ? CELLAR_MISS : CELLAR_OK;
        T_EQ_I64(cellar_get(v[i], "k", 1, &seen, sizeof seen, NULL), want);
        if (i != 7) { T_EQ_I64(seen, i); }
    }
}

T_CASE(opened_and_dropped_namespaces_leave_no_memory)
{
    cellar *c = closed_later(api_open(2u << 20));
    uint64_t used = 0;
    for (unsigned i = 0; i < 3000; i++) {
        const char *name = t_numbered("v", i);
        cellar *v = space_of(c, name);
        put(v, "k", "v");
        T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
        close_now(v);
        T_EQ_I64(cellar_namespace_drop(c, name), CELLAR_OK);
        if (i == 100) { used = store_stats(c).used_bytes; }
    }
    const cellar_stats st = store_stats(c);
    T_CHECK(st.used_bytes <= used + 40000); /* segments of the log come and go, namespaces do not */
    T_EQ_U64(st.sets, 3000); /* counts of dropped namespaces stay in the sum */
}

T_CASE(namespace_options_and_ttl_classes_apply)
{
    cellar *c = closed_later(api_open(4u << 20)), *same;
    const cellar_ttl_class three[3] = { { "processing", 300000 }, { "success", 3600000 },
                                        { "forever", CELLAR_TTL_NONE } };
    uint32_t cls = 9;
    cellar_namespace_config o = { .struct_size = sizeof o, .default_ttl_ms = 5000,
                                  .ttl_classes = three, .ttl_class_count = 3,
                                  .ttl_class_fallback = 2, .exact_age = 1 };
    cellar *v = space_with(c, "v", &o);
    T_EQ_I64(cellar_ttl_class_find(v, "processing", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    T_EQ_I64(cellar_ttl_class_find(v, "unknown", &cls), CELLAR_OK);
    T_EQ_U64(cls, 2);
    T_EQ_I64(cellar_ttl_class_find(v, "forever", &cls), CELLAR_OK);
    cellar_set_opts s = { .struct_size = sizeof s, .ttl_class = cls };
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_OK);
    const cellar_entry_info i = key_info(v, "k");
    T_EQ_I64(i.ttl_left_ms, CELLAR_TTL_NONE);
    T_CHECK((i.flags & CELLAR_INFO_AGE_APPROX) == 0);
    s.ttl_class = 1;
    s.ttl_ms = 77; /* the option of the call wins */
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_OK);
    T_CHECK(key_info(v, "k").ttl_left_ms <= 77);
    s.ttl_class = 4;
    T_EQ_I64(cellar_set(v, "k", 1, "x", 1, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_ttl_class_find(c, "processing", &cls), CELLAR_MISS);
    T_EQ_U64(cls, 0);
    same = space_of(c, "v"); /* no options: unchanged */
    T_EQ_I64(cellar_ttl_class_find(v, "success", &cls), CELLAR_OK);
    T_EQ_U64(cls, 2);
    o.ttl_class_count = 1;
    o.ttl_class_fallback = 0;
    close_now(same);
    same = space_with(c, "v", &o);
    T_EQ_I64(cellar_ttl_class_find(v, "success", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    T_EQ_U64(space_stats(v).ttl_class_fallbacks, 2);
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
        T_AFTER_U64(fill(v, n), there_of_1000(v, n), 1000);
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
    cellar *c = closed_later(api_open(((uint64_t)64 << 20) + (uint64_t)most * 64));
    cellar *v = space_of(c, "v"), *w = space_of(c, "w");
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
}

T_CASE(version_at_open_begins_keeps_or_changes)
{
    cellar *c = closed_later(api_open(2u << 20)), *again;
    cellar *v = space_with(c, "v", SPACE_OPTS(.version = 7));
    uint32_t version = 0;
    put(v, "k", "first");
    for (uint32_t same = 0; same <= 7; same += 7) { /* 0 and the same one keep it */
        close_now(space_with(c, "v", SPACE_OPTS(.version = same)));
        T_EQ_STR(api_look(v, "k"), "first");
    }
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 8);
    put(v, "k", "second");
    again = space_with(c, "v", SPACE_OPTS(.version = 5)); /* another one: like cellar_version_set */
    T_EQ_STR(api_look(v, "k"), "MISS");
    T_FIELDS(space_stats(v), version_changes, 2, clears, 0);
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 6);
    T_EQ_I64(cellar_version_set(v, UINT32_MAX, NULL), CELLAR_OK);
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_E_RANGE);
    close_now(again);
    close_now(v);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    v = space_of(c, "v"); /* new, without options */
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
    T_EQ_U64(version, 2);
}

T_CASE(root_has_options_and_name)
{
    const cellar_ttl_class one = { "only", 1000 };
    uint32_t cls;
    static char text[100000];
    settings cfg = api_config(2u << 20);
    cfg.config.root = SPACE_OPTS(.ttl_classes = &one, .ttl_class_count = 1, .default_ttl_ms = 4000,
                                 .version = 7);
    cfg.config.default_ttl_ms = 9000;
    cfg.host.name = "main";
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(cellar_ttl_class_find(c, "only", &cls), CELLAR_OK);
    T_EQ_U64(cls, 1);
    int64_t value;
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, 4000);
    cellar *v = space_of(c, "v");
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, 9000);
    T_EQ_I64(cellar_version_set(c, 0, &cls), CELLAR_OK);
    T_EQ_U64(cls, 8);
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "namespace=\"main\"") != NULL);
}

T_ONE_THREAD;
T_CASE(many_stores_are_independent)
{
    enum { STORES = 60 };
    cellar *c[STORES];
    char value[16];
    for (int i = 0; i < STORES; i++) {
        c[i] = api_open(1u << 20);
        snprintf(value, sizeof value, "%d", i);
        put(c[i], "k", value);
    }
    for (int i = 0; i < STORES; i++) {
        snprintf(value, sizeof value, "%d", i);
        T_EQ_STR(api_look(c[i], "k"), value);
        T_EQ_I64(cellar_close(c[i]), CELLAR_OK);
    }
}

T_MAIN("api_namespaces")
