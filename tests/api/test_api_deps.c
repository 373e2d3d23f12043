/* SPDX-License-Identifier: MIT
 *
 * Aim:    A loaded value is invalidated by a change of any key that its loader read. This holds for
 *         every kind of change, during the load and after it, through chains, fans and cycles of
 *         any size, when the change returns. Keys beyond the limits are invalidated with their
 *         namespace. A load with a read that cannot be noted is not stored. Namespaces without the
 *         option note nothing.
 * Method: Loaders read a list of keys and answer with the values. They run as single loads, after
 *         plain gets and in bulk, on a clock of this file. Small tables reach the bounds. */
#include "tests/support/load_kit.h"
#include "tests/support/figures.h"
#include "tests/support/settings.h"

typedef struct cook { /* its loader reads the keys `reads` and returns their values in order */
    cellar *c;
    cellar *from;          /* namespace of the keys; NULL: c */
    const char *const *reads;
    size_t count;
    source *first;         /* loads reads[0] through the cache; NULL: plain gets */
    void (*after)(struct cook *k);
    int calls;
    int64_t ttl_ms;
} cook;

static cellar_err cook_read(cook *k, size_t i, char text[64])
{
    cellar *from = k->from != NULL ? k->from : k->c;
    const char *key = k->reads[i];
    size_t len = 0;
    text[0] = '\0';
    if (i == 0 && k->first != NULL) { return kit_load(from, key, NULL, k->first, text, NULL); }
    const cellar_err err = cellar_get(from, key, strlen(key), text, 63, &len);
    text[err == CELLAR_OK ? len : 0] = '\0';
    return err;
}

static cellar_err cook_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    cook *k = ctx;
    char all[256] = "", one[64];
    (void)key;
    (void)key_len;
    k->calls++;
    for (size_t i = 0; i < k->count; i++) {
        (void)cook_read(k, i, one);
        if (strlen(all) + strlen(one) + 2 < sizeof all) {
            strcat(all, one);
            strcat(all, ".");
        }
    }
    if (k->after != NULL) { k->after(k); }
    if (k->ttl_ms > 0) { T_EQ_I64(cellar_load_set_ttl(ld, k->ttl_ms), CELLAR_OK); }
    return cellar_load_value(ld, all, strlen(all));
}

static cellar *open_deps(uint64_t bytes)
{
    settings cfg = settings_default();
    cellar_namespace_opts root = cellar_namespace_opts_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = bytes;
    cfg.host.no_threads = 1;
    cfg.host.clock = kit_clock;
    cfg.tuning.track_dependencies = 1;
    cfg.tuning.jitter_pct = CELLAR_OFF;
    root.track_dependencies = 1;
    cfg.config.root = &root;
    atomic_store(&kit_now_ms, 1000000);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static void put(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

static cellar_err has(cellar *c, const char *key) { return cellar_contains(c, key, strlen(key)); }

static uint32_t cause_of(cellar *c, const char *key)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, key, strlen(key), &r), CELLAR_OK);
    return r.answer == CELLAR_WHY_GONE ? r.cause : 0;
}

static uint32_t result_flags;

static const char *dish(cook *k, const char *key)
{
    static char text[256];
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(k->c, key, strlen(key), NULL, cook_load, k, &r), CELLAR_OK);
    snprintf(text, sizeof text, "%.*s", (int)r.value_len, (const char *)r.value);
    result_flags = r.flags;
    cellar_result_free(&r);
    return text;
}

static double metric(cellar *c, const char *line)
{
    const char *text = figures_text(c);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++) {
        if (at == text || at[-1] == '\n') { return strtod(at + strlen(line), NULL); }
    }
    return -1;
}

/* Watched keys, and the namespaces that have them. */
static double watched(cellar *c) { return metric(c, "cellar_dependencies "); }

/* ---- what invalidates dependents ---- */

static void set_delete_and_increment_invalidate_dependents(void)
{
    static const char *const reads[] = { "a", "b", "n" };
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = reads, .count = 3 };
    int64_t n;
    put(c, "a", "1");
    T_EQ_STR(dish(&k, "d"), "1...");
    T_EQ_STR(dish(&k, "d"), "1...");
    T_EQ_I64(k.calls, 1);
    put(c, "a", "2");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_U64(cause_of(c, "d"), CELLAR_CAUSE_DEPENDENCY);
    T_EQ_STR(dish(&k, "d"), "2...");
    put(c, "b", "7"); /* the loader read the key as absent; that has changed, too */
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_STR(dish(&k, "d"), "2.7..");
    T_EQ_I64(cellar_delete(c, "b", 1), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_STR(dish(&k, "d"), "2...");
    /* memory has nothing, but the disk tier may have */
    T_EQ_I64(cellar_delete(c, "b", 1), CELLAR_MISS);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d");
    T_EQ_I64(cellar_increment(c, "n", 1, 5, 0, 0, 0, &n), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d");
    put(c, "other", "1");
    T_EQ_I64(cellar_touch(c, "a", 1, CELLAR_TTL_NONE), CELLAR_OK); /* same value, same expiry */
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, "a", 1, 5000), CELLAR_OK); /* an earlier expiry */
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_U64(cause_of(c, "d"), CELLAR_CAUSE_DEPENDENCY);
    T_EQ_I64(k.calls, 6);
    kit_close(c);
}

static cellar_err double_it(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    (void)cellar_buf_append(out, old, len);
    return cellar_buf_append(out, old, len);
}

static void pattern_update_and_bulk_set_invalidate_dependents(void)
{
    static const char *const reads[] = { "a1" };
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = reads, .count = 1 };
    uint64_t n;
    put(c, "a1", "x");
    T_EQ_STR(dish(&k, "d"), "x.");
    T_EQ_I64(cellar_update(c, "a1", 2, NULL, double_it, NULL), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_STR(dish(&k, "d"), "xx.");
    cellar_set_item set = { .key = "a1", .key_len = 2, .value = "y", .value_len = 1 };
    T_EQ_I64(cellar_set_many(c, &set, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_STR(dish(&k, "d"), "y.");
    T_EQ_I64(cellar_delete_by_pattern(c, "a*", 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_U64(cause_of(c, "d"), CELLAR_CAUSE_DEPENDENCY);
    kit_close(c);
}

static void cleared_namespace_and_deleted_tag_invalidate_dependents(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20), *v = NULL;
    cellar_namespace_opts vo = cellar_namespace_opts_default();
    cellar_set_opts so = cellar_set_opts_default();
    const cellar_bytes tag = { "t", 1 };
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_OK);
    cook k = { .c = c, .from = v, .reads = reads, .count = 1 };
    for (int how = 0; how < 5; how++) {
        so.tags = &tag;
        so.tag_count = 1;
        T_EQ_I64(cellar_set(v, "a", 1, "x", 1, &so), CELLAR_OK);
        T_EQ_STR(dish(&k, "d"), "x.");
        T_EQ_I64(has(c, "d"), CELLAR_OK);
        switch (how) {
        case 0: T_EQ_I64(cellar_clear(v), CELLAR_OK); break;
        case 1: T_EQ_I64(cellar_version_increment(v, NULL), CELLAR_OK); break;
        case 2: T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_HARD), CELLAR_OK); break;
        case 3: T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_SOFT), CELLAR_OK); break;
        default: T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK); break;
        }
        T_EQ_I64(has(c, "d"), CELLAR_MISS);
    }
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    kit_close(c);
}

static void dependent_expires_no_later_than_its_sources(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20);
    cellar_set_opts so = cellar_set_opts_default();
    cook k = { .c = c, .reads = reads, .count = 1, .ttl_ms = 60000 };
    so.ttl_ms = 1000;
    T_EQ_I64(cellar_set(c, "a", 1, "x", 1, &so), CELLAR_OK);
    (void)dish(&k, "d");
    atomic_fetch_add(&kit_now_ms, 999);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    source s = SOURCE_INIT; /* a nested load: its expiry is known only after the read */
    s.ttl_ms = 500;
    k.first = &s;
    T_EQ_STR(dish(&k, "e"), "1.");
    T_EQ_I64(has(c, "e"), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 500);
    T_EQ_I64(has(c, "e"), CELLAR_MISS);
    kit_close(c);
}

static void touch_keeps_dependent_expiring_no_later_than_source(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20);
    cellar_set_opts so = cellar_set_opts_default();
    cook k = { .c = c, .reads = reads, .count = 1, .ttl_ms = 60000 };
    const cook chain = { .c = c, .reads = (const char *const[]){ "d" }, .count = 1 };
    so.ttl_ms = 1000;
    T_EQ_I64(cellar_set(c, "a", 1, "x", 1, &so), CELLAR_OK);
    (void)dish(&k, "d");
    T_EQ_I64(cellar_touch(c, "a", 1, 2000), CELLAR_OK); /* a later expiry changes no dependent */
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    /* no later than the expiry that a had when it was read */
    T_EQ_I64(cellar_touch(c, "d", 1, 5000), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d"); /* once more: a has 1,000 ms left */
    cook more = chain;
    (void)dish(&more, "e");
    T_EQ_I64(cellar_touch(c, "d", 1, 300), CELLAR_OK); /* e depends on d */
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(has(c, "e"), CELLAR_MISS);
    T_EQ_I64(cellar_touch(c, "d", 1, CELLAR_TTL_NONE), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 999);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    put(c, "d", "mine"); /* a set value has no dependencies, so nothing bounds it */
    T_EQ_I64(cellar_touch(c, "d", 1, 5000), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 4999);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    kit_close(c);
}

static void touch_that_moves_the_record_invalidates_dependents(void)
{
    static const char *const reads[] = { "a" };
    const int64_t far = INT64_C(1) << 40; /* a deadline that needs a field of its own */
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = reads, .count = 1 };
    put(c, "a", "x");
    (void)dish(&k, "d");
    T_EQ_I64(cellar_touch(c, "a", 1, far), CELLAR_OK); /* it had no deadline before */
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d");
    T_EQ_I64(cellar_touch(c, "a", 1, far + 1), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, "a", 1, far - 1), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    kit_close(c);
}

static void idle_time_of_source_bounds_dependent(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20);
    cellar_set_opts so = cellar_set_opts_default();
    cook k = { .c = c, .reads = reads, .count = 1, .ttl_ms = 60000 };
    char text[64];
    so.idle_ms = 1000;
    so.max_age_ms = 10000;
    T_EQ_I64(cellar_set(c, "a", 1, "x", 1, &so), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 900);
    (void)dish(&k, "d"); /* the read is a use: 1,000 ms from now */
    atomic_fetch_add(&kit_now_ms, 999);
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(cook_read(&k, 0, text), CELLAR_OK); /* a stays; its dependent has expired */
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d");
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(has(c, "a"), CELLAR_MISS);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    kit_close(c);
}

static void not_modified_keeps_dependencies(void)
{
    static const char *const reads[] = { "a", "b" };
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = reads, .count = 1 };
    source s = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    char text[64];
    put(c, "a", "x");
    (void)dish(&k, "d");
    atomic_store(&s.say, SAY_SAME); /* the loader reads nothing, but the bytes still depend on a */
    o.flags = CELLAR_LOAD_REFRESH;
    T_EQ_I64(kit_load(c, "d", &o, &s, text, NULL), CELLAR_OK);
    T_EQ_STR(text, "x.");
    T_EQ_I64((int64_t)watched(c), 1 + 1);
    put(c, "a", "y");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_I64((int64_t)watched(c), 0 + 1);
    kit_close(c);
}

static void refresh(cellar *c, source *s, int64_t ttl_ms)
{
    cellar_load_opts o = cellar_load_opts_default();
    char text[64];
    o.flags = CELLAR_LOAD_REFRESH;
    s->ttl_ms = ttl_ms;
    T_EQ_I64(kit_load(c, "a", &o, s, text, NULL), CELLAR_OK);
    T_EQ_STR(text, "x");
}

static void not_modified_with_shorter_ttl_or_other_tags_invalidates_dependents(void)
{
    static const char *const reads[] = { "a" };
    static const cellar_bytes tags[] = { { "red", 3 }, { "blue", 4 } };
    cellar *c = open_deps(4u << 20);
    source s = SOURCE_INIT;
    cook k = { .c = c, .reads = reads, .count = 1, .ttl_ms = 60000 };
    s.text = "x";
    refresh(c, &s, 10000);
    (void)dish(&k, "d");
    atomic_store(&s.say, SAY_SAME);
    refresh(c, &s, 20000); /* more time: the entry expires at its old time */
    refresh(c, &s, 15000);
    T_EQ_I64(has(c, "d"), CELLAR_MISS); /* a reader may have copied the 20 s */
    (void)dish(&k, "d");
    refresh(c, &s, 15000);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    refresh(c, &s, 1000);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_U64(cause_of(c, "d"), CELLAR_CAUSE_DEPENDENCY);
    (void)dish(&k, "d");
    atomic_fetch_add(&kit_now_ms, 999);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    atomic_store(&s.say, SAY_VALUE);
    s.tags = tags;
    s.tag_count = 1;
    refresh(c, &s, 10000);
    (void)dish(&k, "d");
    atomic_store(&s.say, SAY_SAME);
    refresh(c, &s, 10000);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    s.tag_count = 2;
    refresh(c, &s, 10000);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    (void)dish(&k, "d");
    refresh(c, &s, 10000);
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    kit_close(c);
}

/* ---- loads ---- */

static void nested_loads_are_stored_and_linked(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20);
    source s = SOURCE_INIT;
    char text[64];
    cook k = { .c = c, .reads = reads, .count = 1, .first = &s };
    /* a is loaded during the load of d; this does not invalidate d */
    T_EQ_STR(dish(&k, "d"), "1.");
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    cellar_load_opts again = cellar_load_opts_default();
    again.flags = CELLAR_LOAD_REFRESH;
    T_EQ_I64(kit_load(c, "a", &again, &s, text, NULL), CELLAR_OK);
    T_EQ_I64(has(c, "d"), CELLAR_MISS); /* a newer value replaced the value that was read */
    T_EQ_STR(dish(&k, "d"), "2.");
    s.no_store = true; /* a value that is not stored has no dependents */
    T_EQ_I64(cellar_delete(c, "a", 1), CELLAR_OK);
    T_EQ_STR(dish(&k, "d"), "3.");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_CHECK((result_flags & CELLAR_RESULT_NOT_STORED) != 0);
    kit_close(c);
}

static void change_now(cook *k) { put(k->c, k->reads[0], "new"); }
static void clear_now(cook *k) { T_EQ_I64(cellar_clear(k->from), CELLAR_OK); }

static void change_during_load_discards_dependent_value(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20), *v = NULL;
    put(c, "a", "old");
    cook k = { .c = c, .reads = reads, .count = 1, .after = change_now };
    T_EQ_STR(dish(&k, "d"), "old."); /* its caller gets it, no later caller does */
    T_CHECK((result_flags & CELLAR_RESULT_INVALIDATED) != 0);
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    k.after = NULL;
    T_EQ_STR(dish(&k, "d"), "new.");
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    k.from = v;
    k.after = clear_now;
    put(v, "a", "old");
    T_EQ_STR(dish(&k, "e"), "old.");
    T_EQ_I64(has(c, "e"), CELLAR_MISS);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    kit_close(c);
}

static cellar_err many_cooks(cellar_load *ld, const cellar_bytes *keys, size_t n, void *ctx)
{
    cook *k = ctx;
    char one[64];
    (void)keys;
    k->calls++;
    for (size_t i = 0; i < k->count; i++) { (void)cook_read(k, i, one); }
    for (size_t i = 0; i < n; i++) {
        T_EQ_I64(cellar_load_item_value(ld, i, "v", 1), CELLAR_OK);
    }
    return CELLAR_OK;
}

static void reads_of_bulk_loader_count_for_all_its_keys(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20);
    cellar_load_item items[3];
    cook k = { .c = c, .reads = reads, .count = 1 };
    memset(items, 0, sizeof items);
    put(c, "a", "x");
    for (int i = 0; i < 3; i++) {
        items[i].key = &"xyz"[i];
        items[i].key_len = 1;
        items[i].result = fresh_result();
    }
    T_EQ_I64(cellar_get_or_load_many(c, items, 3, NULL, many_cooks, &k), CELLAR_OK);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(items[i].status, CELLAR_OK);
        cellar_result_free(items[i].result);
    }
    T_EQ_I64(has(c, "x"), CELLAR_OK);
    T_EQ_I64((int64_t)watched(c), 1 + 1);
    put(c, "a", "y");
    T_EQ_I64(has(c, "x"), CELLAR_MISS);
    T_EQ_I64(has(c, "y"), CELLAR_MISS);
    T_EQ_I64(has(c, "z"), CELLAR_MISS);
    T_EQ_I64((int64_t)watched(c), 0 + 1);
    kit_close(c);
}

/* ---- every reading call ---- */

static cellar_err reader_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    cellar *c = ctx;
    char buf[64];
    size_t len;
    void *p;
    (void)key_len;
    switch (*(const char *)key) {
    case '0': (void)cellar_get(c, "a", 1, buf, sizeof buf, &len); break;
    case '1': {
        cellar_get_opts o = cellar_get_opts_default();
        (void)cellar_get_with(c, "a", 1, &o, buf, sizeof buf, &len);
        break;
    }
    case '2': (void)peek(c, "a", 1, buf, sizeof buf, &len); break;
    case '3': (void)cellar_contains(c, "a", 1); break;
    case '4': {
        cellar_entry_info i = cellar_entry_info_default();
        (void)cellar_entry_info_get(c, "a", 1, 0, &i);
        break;
    }
    case '5':
        if (cellar_get_alloc(c, "a", 1, &p, &len) == CELLAR_OK) { cellar_free(p); }
        break;
    case '6': {
        cellar_pinned pin;
        if (cellar_pin(c, "a", 1, &pin) == CELLAR_OK) { cellar_unpin(&pin); }
        break;
    }
    case '7': {
        cellar_get_item it = { .key = "a", .key_len = 1, .buf = buf, .buf_cap = sizeof buf };
        (void)cellar_get_many(c, &it, 1, NULL);
        break;
    }
    case '8': {
        cellar_load_item it = { .key = "a", .key_len = 1 };
        cellar_load_opts o = cellar_load_opts_default();
        it.result = fresh_result();
        o.flags = CELLAR_LOAD_ONLY_IF_CACHED;
        (void)cellar_get_or_load_many(c, &it, 1, &o, NULL, NULL);
        cellar_result_free(it.result);
        break;
    }
    default: {
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        (void)cellar_lease_acquire(c, "a", 1, NULL, NULL, &lease, &r);
        cellar_result_free(&r);
        break;
    }
    }
    return cellar_load_value(ld, "v", 1);
}

static void every_reading_call_notes_a_dependency(void)
{
    cellar *c = open_deps(4u << 20);
    for (int i = 0; i < 10; i++) {
        const char key[2] = { (char)('0' + i), 0 };
        cellar_result r = cellar_result_default();
        put(c, "a", "x");
        T_EQ_I64(cellar_get_or_load(c, key, 1, NULL, reader_load, c, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_I64(has(c, key), CELLAR_OK);
        put(c, "a", "y");
        if (!T_EQ_I64(has(c, key), CELLAR_MISS)) { printf("# way %d\n", i); }
    }
    kit_close(c);
}

static void reads_of_fallback_behind_open_breaker_are_noted(void)
{
    static const char *const reads[] = { "a" };
    cellar *c = open_deps(4u << 20), *v = NULL;
    cellar_breaker_opts bo = cellar_breaker_opts_default();
    cellar_namespace_opts vo = cellar_namespace_opts_default();
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    source s = SOURCE_INIT;
    char text[64];
    bo.consecutive_failures = 1;
    vo.breaker = &bo;
    vo.track_dependencies = 1;
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_OK);
    cook k = { .c = v, .from = c, .reads = reads, .count = 1 };
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(kit_load(v, "x", NULL, &s, text, NULL), CELLAR_E_LOADER); /* the breaker opens */
    o.fallback[0] = (cellar_fallback){ cook_load, &k };
    for (int how = 0; how < 3; how++) {
        cellar_lease lease;
        cellar_load_item it = { .key = "d", .key_len = 1, .result = fresh_result() };
        put(c, "a", "1");
        if (how == 0) {
            T_EQ_I64(cellar_get_or_load(v, "d", 1, &o, source_load, &s, &r), CELLAR_OK);
        } else if (how == 1) {
            T_EQ_I64(cellar_get_or_load_many(v, &it, 1, &o, many_cooks, &k), CELLAR_OK);
            T_EQ_I64(it.status, CELLAR_OK);
            cellar_result_free(it.result);
        } else {
            T_EQ_I64(cellar_lease_acquire(v, "d", 1, &o, NULL, &lease, &r), CELLAR_OK);
        }
        cellar_result_free(&r);
        T_EQ_I64(has(v, "d"), CELLAR_OK);
        put(c, "a", "2");
        if (!T_EQ_I64(has(v, "d"), CELLAR_MISS)) { printf("# way %d\n", how); }
    }
    T_EQ_I64(k.calls, 3);
    T_EQ_I64(atomic_load(&s.calls), 1);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    kit_close(c);
}

/* ---- bounds ---- */

static void load_over_dependency_limit_depends_on_whole_namespace(void)
{
    static char name[CELLAR_DEPENDENCIES_MAX + 1][8];
    static const char *reads[CELLAR_DEPENDENCIES_MAX + 1];
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = reads, .count = CELLAR_DEPENDENCIES_MAX };
    for (size_t i = 0; i <= CELLAR_DEPENDENCIES_MAX; i++) {
        snprintf(name[i], sizeof name[i], "k%zu", i);
        reads[i] = name[i];
    }
    (void)dish(&k, "d");
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    T_EQ_I64((int64_t)watched(c), CELLAR_DEPENDENCIES_MAX + 1);
    put(c, "other", "x");
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    put(c, reads[CELLAR_DEPENDENCIES_MAX - 1], "x");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    k.count++; /* one more key: each change of its namespace stands for it */
    for (int i = 0; i < 3; i++) {
        (void)dish(&k, "d");
        T_CHECK((result_flags & CELLAR_RESULT_NOT_STORED) == 0);
        T_EQ_I64(has(c, "d"), CELLAR_OK);
        put(c, i == 0 ? reads[CELLAR_DEPENDENCIES_MAX] : i == 1 ? reads[0] : "other", "x");
        T_EQ_I64(has(c, "d"), CELLAR_MISS);
    }
    (void)dish(&k, "d");
    const char *const chain = "d"; /* a value made of it has as many */
    cook more = { .c = c, .reads = &chain, .count = 1 };
    (void)dish(&more, "e");
    T_EQ_I64(has(c, "e"), CELLAR_OK);
    put(c, "other", "y");
    T_EQ_I64(has(c, "e"), CELLAR_MISS);
    T_CHECK(metric(c, "cellar_limit_reached_total{limit=\"dependencies\"} ") >= 1);
    kit_close(c);
}

static void chain_of_dependents_is_invalidated_completely(void)
{
    char names[12][8];
    cellar *c = open_deps(4u << 20);
    put(c, "r", "x");
    for (int i = 0; i < 12; i++) {
        const char *const read = i == 0 ? "r" : names[i - 1];
        snprintf(names[i], sizeof names[i], "c%d", i);
        cook k = { .c = c, .reads = &read, .count = 1 };
        (void)dish(&k, names[i]);
    }
    put(c, "r", "y");
    for (int i = 0; i < 12; i++) {
        T_EQ_I64(has(c, names[i]), CELLAR_MISS);
        T_EQ_U64(cause_of(c, names[i]), CELLAR_CAUSE_DEPENDENCY);
    }
    kit_close(c);
}

static void fan_of_dependents_is_invalidated_completely(void)
{
    static const char *const read = "r";
    cellar *c = open_deps(16u << 20);
    cook k = { .c = c, .reads = &read, .count = 1 };
    char key[16];
    put(c, "r", "x");
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "f%d", i);
        (void)dish(&k, key);
    }
    put(c, "r", "y");
    int left = 0;
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "f%d", i);
        left += has(c, key) == CELLAR_OK;
    }
    T_EQ_I64(left, 0);
    for (int i = 0; i < 300; i++) { /* counted when their memory is reclaimed */
        snprintf(key, sizeof key, "f%d", i);
        (void)dish(&k, key);
        T_EQ_I64(has(c, key), CELLAR_OK);
    }
    T_EQ_I64((int64_t)metric(c, "cellar_evictions_total{namespace=\"\",cause=\"dependency\"} "),
             300);
    kit_close(c);
}

static void cyclic_dependencies_end(void)
{
    static const char *const a = "a", *const b = "b";
    cellar *c = open_deps(4u << 20);
    cook reads_a = { .c = c, .reads = &a, .count = 1 };
    cook reads_b = { .c = c, .reads = &b, .count = 1 };
    (void)dish(&reads_a, "b"); /* b depends on a, which is absent */
    (void)dish(&reads_b, "a"); /* a depends on b; a value for an absent key is no change */
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    T_EQ_I64(has(c, "b"), CELLAR_OK);
    T_EQ_I64((int64_t)watched(c), 2 + 1);
    put(c, "a", "set"); /* now a has no dependencies */
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    T_EQ_I64(has(c, "b"), CELLAR_MISS);
    T_EQ_I64((int64_t)watched(c), 1 + 1);
    (void)dish(&reads_a, "a"); /* a hit */
    T_EQ_I64(cellar_delete(c, "a", 1), CELLAR_OK);
    (void)dish(&reads_a, "a"); /* a depends on itself */
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    put(c, "a", "mine");
    T_EQ_I64(has(c, "a"), CELLAR_OK);
    kit_close(c);
}

enum { VALUES = 1500 }; /* the table of 1 MiB has 512 places */

/* Value number i of c reads key number i of v. */
static const char *made_of(cellar *c, cellar *v, int i)
{
    static char key[16], name[16];
    const char *const read = name;
    cook k = { .c = c, .from = v, .reads = &read, .count = 1 };
    snprintf(key, sizeof key, "f%d", i);
    snprintf(name, sizeof name, "a%d", i);
    (void)dish(&k, key);
    T_CHECK((result_flags & CELLAR_RESULT_NOT_STORED) == 0);
    return key;
}

static const char *value_name(int i, char kind)
{
    static char key[16];
    snprintf(key, sizeof key, "%c%d", kind, i);
    return key;
}

static int served(cellar *c)
{
    int n = 0;
    for (int i = 0; i < VALUES; i++) { n += has(c, value_name(i, 'f')) == CELLAR_OK; }
    return n;
}

static void full_dependency_table_watches_whole_namespaces(void)
{
    cellar *c = open_deps(1u << 20), *v = NULL;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    for (int i = 0; i < VALUES; i++) { T_EQ_I64(has(c, made_of(c, v, i)), CELLAR_OK); }
    const int all = served(c);
    T_CHECK(all > VALUES / 3); /* 760 +- 4 by seed */
    put(c, "other", "x"); /* no key of v */
    T_EQ_I64(served(c), all);
    put(v, "other", "x"); /* ends each value with a key without place, and no others */
    const int exact = served(c);
    T_CHECK(exact > 100 && exact < all && exact <= 512);
    for (int i = 0; i < VALUES; i++) {
        put(v, value_name(i, 'a'), "x");
        T_EQ_I64(has(c, value_name(i, 'f')), CELLAR_MISS);
    }
    T_CHECK(metric(c, "cellar_limit_reached_total{limit=\"dependencies\"} ") >= 1);
    const double bytes = metric(c, "  dependency ");
    T_CHECK(bytes > 0 && bytes < (1 << 20) / 100 + 4096);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    kit_close(c);
}

static void full_dependency_table_reuses_places_of_changed_keys(void)
{
    cellar *c = open_deps(1u << 20), *v = NULL;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    for (int i = 0; i < VALUES; i++) { (void)made_of(c, v, i); }
    for (int i = 0; i < VALUES; i++) { put(v, value_name(i, 'a'), "x"); }
    T_CHECK(watched(c) <= 4); /* namespaces */
    for (int i = VALUES; i < VALUES + 20; i++) { (void)made_of(c, v, i); }
    put(v, "other", "x");
    for (int i = VALUES; i < VALUES + 20; i++) {
        T_EQ_I64(has(c, value_name(i, 'f')), CELLAR_OK);
        put(v, value_name(i, 'a'), "x");
        T_EQ_I64(has(c, value_name(i, 'f')), CELLAR_MISS);
    }
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    kit_close(c);
}

static void reload_drops_dependencies_it_no_longer_reads(void)
{
    static const char *const both[] = { "a", "b" };
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = both, .count = 2 };
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    o.flags = CELLAR_LOAD_REFRESH;
    (void)dish(&k, "d");
    T_EQ_I64((int64_t)watched(c), 2 + 1);
    k.count = 1;
    T_EQ_I64(cellar_get_or_load(c, "d", 1, &o, cook_load, &k, &r), CELLAR_OK);
    cellar_result_free(&r);
    put(c, "b", "x");
    T_EQ_I64(has(c, "d"), CELLAR_OK);
    put(c, "a", "x");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    kit_close(c);
}

/* ---- switched off, refused ---- */

static void heard(const cellar_event *e, void *ctx)
{
    if (e->cause == CELLAR_CAUSE_DEPENDENCY) { (*(int *)ctx)++; }
}

static void listeners_receive_events_of_dependents(void)
{
    static const char *const read = "a";
    cellar *c = open_deps(4u << 20);
    cook k = { .c = c, .reads = &read, .count = 1 };
    int count = 0;
    uint64_t id;
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DEPENDENCY), heard, &count, &id), CELLAR_OK);
    (void)dish(&k, "d");
    put(c, "a", "x");
    T_EQ_I64(has(c, "d"), CELLAR_MISS);
    T_EQ_I64(count, 0);
    (void)dish(&k, "d"); /* reclaims the memory of the invalid entry */
    T_EQ_I64(count, 1);
    put(c, "a", "y");
    T_EQ_I64(cellar_delete(c, "d", 1), CELLAR_MISS);
    T_EQ_I64(count, 2);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.ended[CELLAR_CAUSE_DEPENDENCY], 2);
    kit_close(c);
}

static void namespaces_without_dependencies_note_nothing(void)
{
    static const char *const read = "a";
    cellar *c = open_deps(4u << 20), *plain = NULL;
    T_EQ_I64(cellar_namespace_open(c, "plain", NULL, &plain), CELLAR_OK);
    cook k = { .c = plain, .from = c, .reads = &read, .count = 1 };
    put(c, "a", "x");
    (void)dish(&k, "d");
    T_EQ_I64((int64_t)watched(c), 0);
    put(c, "a", "y");
    T_EQ_I64(has(plain, "d"), CELLAR_OK);
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar *other = kit_open(1u << 20), *v = NULL;
    o.track_dependencies = 1;
    /* the store tracks no dependencies */
    T_EQ_I64(cellar_namespace_open(other, "v", &o, &v), CELLAR_E_INVAL);
    o.track_dependencies = 2;
    T_EQ_I64(cellar_namespace_open(c, "w", &o, &v), CELLAR_E_INVAL);
    cook across = { .c = c, .from = other, .reads = &read, .count = 1 };
    (void)dish(&across, "e"); /* keys of other stores are not noted */
    T_EQ_I64((int64_t)watched(c), 0);
    T_EQ_I64(cellar_close(plain), CELLAR_OK);
    kit_close(other);
    kit_close(c);
}

/* ---- no memory ---- */

static _Atomic int64_t fail_at = -1;
static _Atomic int64_t asked;

static void *stingy_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    return atomic_fetch_add(&asked, 1) == atomic_load(&fail_at) ? NULL : malloc(bytes);
}
static void stingy_free(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    (void)bytes;
    free(p);
}

static void load_with_unnoted_dependency_is_not_stored(void)
{
    static const char *const read = "a";
    int not_stored = 0;
    for (int64_t i = 0; i < 12; i++) {
        settings cfg = settings_default();
        cellar_namespace_opts root = cellar_namespace_opts_default();
        cellar *c = NULL;
        cellar_result r = cellar_result_default();
        root.track_dependencies = 1;
        cfg.config.memory_bytes = 4u << 20;
        cfg.host.no_threads = 1;
        cfg.tuning.track_dependencies = 1;
        cfg.config.root = &root;
        cfg.host.alloc = stingy_alloc;
        cfg.host.free = stingy_free;
        atomic_store(&fail_at, -1);
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        cook k = { .c = c, .reads = &read, .count = 1 };
        put(c, "a", "x");
        (void)dish(&k, "warm"); /* allocate the table of loads first */
        atomic_store(&fail_at, atomic_load(&asked) + i);
        const cellar_err err = cellar_get_or_load(c, "d", 1, NULL, cook_load, &k, &r);
        atomic_store(&fail_at, -1);
        cellar_result_free(&r);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM || err == CELLAR_E_LOADER);
        not_stored += err == CELLAR_OK && has(c, "d") == CELLAR_MISS;
        put(c, "a", "y");
        T_EQ_I64(has(c, "d"), CELLAR_MISS);
        T_EQ_I64(has(c, "warm"), CELLAR_MISS);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    T_CHECK(not_stored >= 1); /* the failed allocation of the list of keys */
}

T_ONE_THREAD;
T_MAIN("cellar_api_deps", T_CASE(set_delete_and_increment_invalidate_dependents),
       T_CASE(pattern_update_and_bulk_set_invalidate_dependents),
       T_CASE(cleared_namespace_and_deleted_tag_invalidate_dependents),
       T_CASE(dependent_expires_no_later_than_its_sources),
       T_CASE(touch_keeps_dependent_expiring_no_later_than_source),
       T_CASE(touch_that_moves_the_record_invalidates_dependents),
       T_CASE(idle_time_of_source_bounds_dependent), T_CASE(not_modified_keeps_dependencies),
       T_CASE(not_modified_with_shorter_ttl_or_other_tags_invalidates_dependents),
       T_CASE(nested_loads_are_stored_and_linked),
       T_CASE(change_during_load_discards_dependent_value),
       T_CASE(reads_of_bulk_loader_count_for_all_its_keys),
       T_CASE(every_reading_call_notes_a_dependency),
       T_CASE(reads_of_fallback_behind_open_breaker_are_noted),
       T_CASE(load_over_dependency_limit_depends_on_whole_namespace),
       T_CASE(chain_of_dependents_is_invalidated_completely),
       T_CASE(fan_of_dependents_is_invalidated_completely), T_CASE(cyclic_dependencies_end),
       T_CASE(full_dependency_table_watches_whole_namespaces),
       T_CASE(full_dependency_table_reuses_places_of_changed_keys),
       T_CASE(reload_drops_dependencies_it_no_longer_reads),
       T_CASE(listeners_receive_events_of_dependents),
       T_CASE(namespaces_without_dependencies_note_nothing),
       T_CASE(load_with_unnoted_dependency_is_not_stored))
