/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each call that stores a value obeys the first matching rule of the policy file. Options
 *         of the call win over rules, rules over `set` lines, these over the namespace. Errors have
 *         line and column, all are reported, and the present rules stay. Each finding of the linter
 *         has a file that causes it.
 * Method: Rules from texts, the file tests/data/s4.policy, a clock that the test turns, threads that
 *         write while rules are replaced. */
#include <pthread.h>
#include <sys/wait.h>

#include "tests/support/api_kit.h"
#include "tests/support/folder.h"

#define S INT64_C(1000)
#define M (60 * S)
#define H (60 * M)

static int64_t ttl_of(cellar *c, const char *key)
{
    cellar_entry_info info = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(c, key, strlen(key), 0, &info);
    return err == CELLAR_OK || err == CELLAR_ABSENT ? info.ttl_left_ms : -1;
}

static int64_t ttl_after_set(cellar *c, const char *key)
{
    T_EQ_I64(api_put(c, key, "v", NULL), CELLAR_OK);
    return ttl_of(c, key);
}

static cellar *space(cellar *root, const char *name)
{
    cellar *c = NULL;
    T_REQUIRE(cellar_namespace_open(root, name, NULL, &c) == CELLAR_OK);
    return c;
}

/* ---- notes ---- */

typedef struct notes {
    unsigned count, warnings;
    uint32_t line, column; /* of the first note */
    char text[4096];       /* all notes, a line each */
} notes;

static void note(const cellar_policy_note *n, void *ctx)
{
    notes *all = ctx;
    const size_t used = strlen(all->text);
    if (all->count == 0) {
        all->line = n->line;
        all->column = n->column;
    }
    all->count++;
    all->warnings += n->warning;
    (void)snprintf(all->text + used, sizeof all->text - used, "%s\n", n->text);
}

static cellar_err rules(cellar *c, const char *text, notes *n)
{
    if (n != NULL) { memset(n, 0, sizeof *n); }
    return cellar_policy_set(c, text, strlen(text), n != NULL ? note : NULL, n);
}

/* ---- the file of the table ---- */

/* D28, S4:234: the fill after a miss passes no TTL, so each entry gets the default of two hours and
 * not the time of its row.
 * Sequence: a miss, then a set without TTL, for each example key of the table. */
static void seed_filled_entry_has_its_rows_ttl(void)
{
    settings cfg = api_config(4 << 20);
    cfg.config.policy_file = "tests/data/s4.policy";
    cellar *root = api_open_with(&cfg), *c = space(root, "zsxq");
    T_EQ_STR(api_look(c, "zsxq:projects:list:ongoing"), "MISS");
    T_EQ_I64(ttl_after_set(c, "zsxq:projects:list:ongoing"), 2 * H);
    T_EQ_I64(ttl_after_set(c, "zsxq:project:1141152412:info"), 2 * H);
    T_EQ_I64(ttl_after_set(c, "zsxq:project:1141152412:stats"), 1 * H);
    const int64_t daily = ttl_after_set(c, "zsxq:project:1141152412:daily_stats");
    T_CHECK(daily > 0 && daily <= 30 * M); /* less before midnight */
    T_EQ_I64(ttl_after_set(c, "zsxq:project:1141152412:leaderboard:continuous"), 1 * H);
    T_EQ_I64(ttl_after_set(c, "zsxq:project:1141152412:topics"), 10 * M);
    T_EQ_I64(ttl_after_set(c, "project:7:topics"), 10 * M);
    T_EQ_I64(ttl_after_set(c, "project:7:other"), 2 * H);
    T_EQ_I64(ttl_after_set(c, "project::topics"), 2 * H);
    T_EQ_I64(ttl_after_set(c, "project:7:8:topics"), 2 * H);
    T_EQ_I64(ttl_after_set(c, "xzsxq:project:7:topics"), 2 * H);
    T_EQ_I64(ttl_after_set(root, "project:7:topics"), CELLAR_TTL_NONE);
    cellar_set_opts none = cellar_set_opts_default();
    none.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "project:8:topics", 16, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "project:8:topics"), 60 * S);
    T_EQ_I64(api_put(c, "my:Access-Token:7", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(api_put(c, "AUTHORIZATION", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void namespace_that_opens_later_gets_its_section(void)
{
    cellar *root = api_open(4 << 20);
    T_EQ_I64(rules(root, "[late]\nset default_ttl=5s\n[other]\nset default_ttl=6s\n[*]\nset default_ttl=7s\n",
                   NULL), CELLAR_OK);
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar *late = space(root, "late"), *named = NULL;
    o.policy_section = "other";
    T_EQ_I64(cellar_namespace_open(root, "named", &o, &named), CELLAR_OK);
    T_EQ_I64(ttl_after_set(late, "k"), 5 * S);
    T_EQ_I64(ttl_after_set(named, "k"), 6 * S);
    T_EQ_I64(ttl_after_set(root, "k"), 7 * S);
    T_EQ_I64(cellar_close(late), CELLAR_OK);
    T_EQ_I64(cellar_close(named), CELLAR_OK);
    T_EQ_I64(rules(root, "", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(root, "k"), CELLAR_TTL_NONE);
    char long_name[CELLAR_NAME_MAX + 2];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    o.policy_section = long_name;
    T_EQ_I64(cellar_namespace_open(root, "named", &o, &named), CELLAR_E_INVAL);
    api_shut(root);
}

/* ---- each writing call ---- */

static cellar_err append(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)old;
    (void)len;
    (void)ctx;
    return cellar_buf_append(out, "u", 1);
}

static cellar_err write_source(const void *key, size_t key_len, const void *value,
                               size_t value_len, void *ctx)
{
    (void)key;
    (void)key_len;
    (void)value;
    (void)value_len;
    (*(unsigned *)ctx)++;
    return CELLAR_OK;
}

static void each_writing_call_obeys_the_rules(void)
{
    cellar *c = api_open(4 << 20);
    unsigned written = 0;
    T_EQ_I64(rules(c, "[*]\nglob s:* ttl=1s\nkey n:{id} ttl=2s\ndeny *token*\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "s:set"), S);
    cellar_set_item items[3] = { { .key = "s:many", .key_len = 6, .value = "v", .value_len = 1 },
                                 { .key = "my-token", .key_len = 8, .value = "v", .value_len = 1 },
                                 { .key = "free", .key_len = 4, .value = "v", .value_len = 1 } };
    size_t stored = 0;
    T_EQ_I64(cellar_set_many(c, items, 3, NULL, &stored), CELLAR_OK);
    T_EQ_U64(stored, 2);
    T_EQ_I64(items[1].status, CELLAR_E_DENIED);
    T_EQ_I64(ttl_of(c, "s:many"), S);
    T_EQ_I64(ttl_of(c, "free"), CELLAR_TTL_NONE);
    T_EQ_I64(cellar_update(c, "s:update", 8, NULL, append, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "s:update"), S);
    T_EQ_I64(cellar_update(c, "token", 5, NULL, append, NULL), CELLAR_E_DENIED);
    int64_t now;
    T_EQ_I64(cellar_increment(c, "n:1", 3, 1, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "n:1"), 2 * S);
    T_EQ_I64(cellar_increment(c, "n:1", 3, 1, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 2);
    T_EQ_I64(cellar_increment(c, "token:n", 7, 1, 0, 0, 0, &now), CELLAR_E_DENIED);
    T_EQ_I64(cellar_write_through(c, "s:through", 9, "v", 1, NULL, write_source, &written),
             CELLAR_OK);
    T_EQ_I64(ttl_of(c, "s:through"), S);
    T_EQ_I64(cellar_write_through(c, "token", 5, "v", 1, NULL, write_source, &written),
             CELLAR_E_DENIED);
    T_EQ_U64(written, 2);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.denied, 4);
    T_EQ_U64(st.write_errors, 0);
    cellar_reason why = cellar_reason_default();
    T_EQ_I64(cellar_why(c, "token:n", 7, &why), CELLAR_OK);
    T_EQ_U64(why.answer, CELLAR_WHY_GONE);
    T_EQ_U64(why.cause, CELLAR_CAUSE_DENIED);
    T_EQ_STR(cellar_cause_name(CELLAR_CAUSE_DENIED), "denied");
    T_EQ_I64(CELLAR_CAUSE_DENIED, 14);
    T_EQ_I64(CELLAR_E_DENIED, -14);
    T_EQ_I64(CELLAR_E_CONFIG, -15);
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(api_put(c, "token", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "denied by line 4 of the policy file");
    api_shut(c);
}

static unsigned loads;
static cellar_err load_row(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const char *how = ctx;
    (void)key;
    (void)len;
    loads++;
    if (how != NULL && strcmp(how, "absent") == 0) { return cellar_load_absent(ld); }
    if (how != NULL && strcmp(how, "ttl") == 0) { (void)cellar_load_set_ttl(ld, 9 * S); }
    return cellar_load_value(ld, "row", 3);
}

static cellar_err load_key(cellar *c, const char *key, const cellar_load_opts *o, const char *how)
{
    static char held[16];
    cellar_result r = cellar_result_default();
    if (how != NULL) { (void)snprintf(held, sizeof held, "%s", how); }
    const cellar_err err = cellar_get_or_load(c, key, strlen(key), o, load_row,
                                              how != NULL ? held : NULL, &r);
    cellar_result_free(&r);
    return err;
}

static void loads_leases_and_warm_obey_the_rules(void)
{
    settings cfg = api_config(4 << 20);
    cfg.tuning.jitter_pct = CELLAR_OFF;
    cfg.config.default_ttl_ms = 100 * S;
    cellar *c = api_open_with(&cfg);
    T_EQ_I64(rules(c, "[*]\nkey r:{x} ttl=2s stale=3s tags=rows negative=4s\nglob m:* ttl_max=6s\n"
                      "deny *token*\n", NULL), CELLAR_OK);
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 7 * S;
    T_EQ_I64(load_key(c, "r:1", NULL, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:1"), 2 * S);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "r:1", 3, 0, &info), CELLAR_OK);
    T_EQ_I64(info.stale_left_ms, 5 * S);
    T_EQ_I64(load_key(c, "r:2", &o, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:2"), 7 * S);
    T_EQ_I64(load_key(c, "r:3", NULL, "ttl"), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:3"), 9 * S);
    T_EQ_I64(load_key(c, "r:4", NULL, "absent"), CELLAR_ABSENT);
    T_EQ_I64(ttl_of(c, "r:4"), 4 * S);
    T_EQ_I64(load_key(c, "m:1", &o, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "m:1"), 6 * S);
    T_EQ_I64(load_key(c, "free", NULL, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "free"), 100 * S);
    loads = 0; /* the load of a denied key answers and stores nothing */
    T_EQ_I64(load_key(c, "token", NULL, NULL), CELLAR_OK);
    T_EQ_I64(load_key(c, "token", NULL, NULL), CELLAR_OK);
    T_EQ_U64(loads, 2);
    T_EQ_STR(api_look(c, "token"), "MISS");
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.denied, 2);
    T_EQ_I64(cellar_delete_by_tag(c, "rows", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "r:1"), "MISS");
    const cellar_bytes keys[2] = { { "r:5", 3 }, { "m:5", 3 } };
    cellar_warm_opts w = cellar_warm_opts_default();
    cellar_warm_report report = cellar_warm_report_default();
    w.keys = keys;
    w.key_count = 2;
    w.loader = load_row;
    T_EQ_I64(cellar_warm(c, &w, &report), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:5"), 2 * S);
    T_EQ_I64(ttl_of(c, "m:5"), 6 * S);
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, "r:6", 3, NULL, NULL, &lease, &r), CELLAR_LEASED);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "row", 3, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:6"), 2 * S);
    T_EQ_I64(cellar_lease_acquire(c, "r:7", 3, &o, NULL, &lease, &r), CELLAR_LEASED);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "row", 3, NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:7"), 7 * S);
    api_shut(c);
}

static void denied_set_removes_the_old_value_unless_it_is_kept(void)
{
    static const uint32_t keeps[] = { CELLAR_KEEP_OLD_VALUE, CELLAR_ONLY_IF_ABSENT,
                                      CELLAR_ONLY_IF_PRESENT };
    cellar *c = api_open(4 << 20);
    cellar_reason why = cellar_reason_default();
    cellar_set_opts o = cellar_set_opts_default();
    T_EQ_I64(api_put(c, "a", "old", NULL), CELLAR_OK);
    T_EQ_I64(rules(c, "[*]\ndeny a\n", NULL), CELLAR_OK);
    for (size_t i = 0; i < sizeof keeps / sizeof keeps[0]; i++) {
        o.flags = keeps[i];
        T_EQ_I64(api_put(c, "a", "new", &o), CELLAR_E_DENIED);
        T_EQ_STR(api_look(c, "a"), "old");
    }
    T_EQ_I64(cellar_update(c, "a", 1, NULL, append, NULL), CELLAR_E_DENIED);
    T_EQ_STR(api_look(c, "a"), "old");
    T_EQ_I64(api_put(c, "a", "new", NULL), CELLAR_E_DENIED);
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_EQ_I64(cellar_why(c, "a", 1, &why), CELLAR_OK);
    T_EQ_U64(why.cause, CELLAR_CAUSE_DENIED);
    api_shut(c);
}

static cellar_err load_rows(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys;
    (void)ctx;
    for (size_t i = 0; i < count; i++) { (void)cellar_load_item_value(ld, i, "row", 3); }
    return CELLAR_OK;
}

static void class_of_a_rule_holds_for_each_call_that_stores(void)
{
    static const char *const keys[] = { "c:set", "c:str", "c:many", "c:update", "c:n", "c:through",
                                        "c:load", "c:bulk", "c:lease", "c:warm" };
    settings cfg = api_config(4 << 20);
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar *root = NULL, *c = NULL;
    unsigned written = 0;
    int64_t now = 0;
    cfg.tuning.jitter_pct = CELLAR_OFF;
    root = api_open_with(&cfg);
    o.ttl_classes = classes;
    o.ttl_class_count = 2;
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(rules(root, "[a]\nset negative=9s\nkey c:{x} class=cold\nkey u:{x} class=warm\n"
                         "[*]\nkey u:{x} class=warm\n", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "c:set", "v", NULL), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "c:str", "v", 0), CELLAR_OK);
    cellar_set_item item = { .key = "c:many", .key_len = 6, .value = "v", .value_len = 1 };
    T_EQ_I64(cellar_set_many(c, &item, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(c, "c:update", 8, NULL, append, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "c:n", 3, 1, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(cellar_write_through(c, "c:through", 9, "v", 1, NULL, write_source, &written),
             CELLAR_OK);
    T_EQ_I64(load_key(c, "c:load", NULL, NULL), CELLAR_OK);
    cellar_result r = cellar_result_default();
    cellar_load_item one = { .key = "c:bulk", .key_len = 6, .result = &r };
    T_EQ_I64(cellar_get_or_load_many(c, &one, 1, NULL, load_rows, NULL), CELLAR_OK);
    cellar_result_free(&r);
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, "c:lease", 7, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "row", 3, NULL), CELLAR_OK);
    const cellar_bytes warm = { "c:warm", 6 };
    cellar_warm_opts w = cellar_warm_opts_default();
    cellar_warm_report report = cellar_warm_report_default();
    w.keys = &warm;
    w.key_count = 1;
    w.loader = load_row;
    T_EQ_I64(cellar_warm(c, &w, &report), CELLAR_OK);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        T_EQ_I64(ttl_of(c, keys[i]), 50 * S);
    }
    cellar_set_opts of_call = cellar_set_opts_default();
    of_call.ttl_class = 1; /* of the call, which wins */
    T_EQ_I64(api_put(c, "c:set", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "c:set"), 5 * S);
    of_call = cellar_set_opts_default();
    of_call.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "c:none", 6, NULL, 0, &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "c:none"), 9 * S);
    T_EQ_I64(ttl_after_set(c, "u:1"), 5 * S); /* an unknown class: the fallback */
    T_EQ_I64(ttl_after_set(root, "u:1"), CELLAR_TTL_NONE); /* a namespace without classes */
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

/* ---- refresh ---- */

static unsigned fetched;      /* calls of the loader of the namespace */
static const char *fetch_how; /* NULL: a value */

static cellar_err fetch(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    fetched++;
    if (fetch_how != NULL && strcmp(fetch_how, "fail") == 0) { return cellar_load_fail(ld, 1, 0, 0); }
    if (fetch_how != NULL && strcmp(fetch_how, "same") == 0) { return cellar_load_not_modified(ld); }
    return cellar_load_value(ld, "new", 3);
}

static cellar_err fetch_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys;
    (void)ctx;
    fetched++;
    for (size_t i = 0; i < count; i++) { (void)cellar_load_item_value(ld, i, "new", 3); }
    return CELLAR_OK;
}

/* Open a store with a loader, and with rules. */
static cellar *refreshing(const char *text)
{
    settings cfg = api_config(4 << 20);
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cfg.tuning.jitter_pct = CELLAR_OFF;
    o.loader = fetch;
    o.loader_many = fetch_many;
    cfg.config.root = &o;
    cellar *c = api_open_with(&cfg);
    T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
    fetched = 0;
    fetch_how = NULL;
    return c;
}

/* Load a key. Return "value" or "value, refreshing", else the name of the code. */
static const char *demand(cellar *c, const char *key, const cellar_load_opts *o)
{
    static char text[64];
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(c, key, strlen(key), o, NULL, NULL, &r);
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)r.value_len, (const char *)r.value,
                       err == CELLAR_STALE ? ", stale" : "",
                       (r.flags & CELLAR_RESULT_REFRESHING) != 0 ? ", refreshing" : "");
    } else {
        (void)snprintf(text, sizeof text, "%s", cellar_code_name(err));
    }
    cellar_result_free(&r);
    return text;
}

static void later(cellar *c, int64_t ms)
{
    (void)atomic_fetch_add(&api_now_ms, ms);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
}

static void load_refreshes_at_the_age_of_its_rule(void)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s\n");
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    later(c, 4 * S - 1);
    T_EQ_STR(demand(c, "r:1", NULL), "old");
    later(c, 1);
    T_EQ_STR(api_look(c, "r:1"), "old"); /* a get never refreshes */
    later(c, 0);
    T_EQ_U64(fetched, 0);
    T_EQ_STR(demand(c, "r:1", NULL), "old, refreshing");
    T_EQ_STR(demand(c, "r:1", NULL), "old");
    later(c, 0);
    T_EQ_U64(fetched, 1);
    T_EQ_STR(demand(c, "r:1", NULL), "new");
    T_EQ_I64(ttl_of(c, "r:1"), 10 * S);
    later(c, 4 * S - 1); /* the loaded value has its own time */
    T_EQ_STR(demand(c, "r:1", NULL), "new");
    later(c, 1);
    T_EQ_STR(demand(c, "r:1", NULL), "new, refreshing");
    later(c, 0);
    T_EQ_U64(fetched, 2);
    later(c, 4 * S); /* a loader on the stack of the call cannot run in the background */
    loads = 0;
    T_EQ_I64(load_key(c, "r:1", NULL, NULL), CELLAR_OK);
    T_EQ_U64(loads, 1);
    T_EQ_STR(api_look(c, "r:1"), "row");
    api_shut(c);
}

static void each_writing_call_stores_the_refresh_time(void)
{
    static const char *const keys[] = { "r:set", "r:many", "r:update", "r:through", "r:lease",
                                        "r:load", "r:bulk" };
    cellar *c = refreshing("[*]\nset refresh=4s\n"); /* and no end */
    unsigned written = 0;
    T_EQ_I64(api_put(c, "r:set", "v", NULL), CELLAR_OK);
    cellar_set_item item = { .key = "r:many", .key_len = 6, .value = "v", .value_len = 1 };
    T_EQ_I64(cellar_set_many(c, &item, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(c, "r:update", 8, NULL, append, NULL), CELLAR_OK);
    T_EQ_I64(cellar_write_through(c, "r:through", 9, "v", 1, NULL, write_source, &written),
             CELLAR_OK);
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, "r:lease", 7, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "v", 1, NULL), CELLAR_OK);
    T_EQ_STR(demand(c, "r:load", NULL), "new");
    cellar_load_item one = { .key = "r:bulk", .key_len = 6, .result = &r };
    T_EQ_I64(cellar_get_or_load_many(c, &one, 1, NULL, NULL, NULL), CELLAR_OK);
    cellar_result_free(&r);
    int64_t n = 0;
    T_EQ_I64(cellar_increment(c, "r:n", 3, 1, 0, 0, 0, &n), CELLAR_OK);
    later(c, 4 * S);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        T_CHECK(strstr(demand(c, keys[i], NULL), ", refreshing") != NULL);
        later(c, 0);
        T_EQ_STR(demand(c, keys[i], NULL), "new");
    }
    T_CHECK(strstr(demand(c, "r:n", NULL), ", refreshing") != NULL);
    T_EQ_I64(ttl_of(c, "r:set"), CELLAR_TTL_NONE);
    api_shut(c);
}

static void failed_refresh_pauses_and_unmodified_value_gets_a_new_time(void)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=100s refresh=4s\n");
    cellar_load_opts o = cellar_load_opts_default();
    o.retry_throttle_ms = 2 * S;
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    later(c, 4 * S);
    fetch_how = "fail";
    T_EQ_STR(demand(c, "r:1", &o), "old, refreshing");
    later(c, 0);
    T_EQ_U64(fetched, 1);
    later(c, 2 * S - 1);
    T_EQ_STR(demand(c, "r:1", &o), "old");
    later(c, 1);
    T_EQ_STR(demand(c, "r:1", &o), "old, refreshing");
    fetch_how = "same";
    later(c, 0);
    T_EQ_U64(fetched, 2);
    T_EQ_I64(ttl_of(c, "r:1"), 100 * S);
    later(c, 4 * S - 1);
    T_EQ_STR(demand(c, "r:1", &o), "old");
    later(c, 1);
    T_EQ_STR(demand(c, "r:1", &o), "old, refreshing");
    T_EQ_I64(rules(c, "[*]\n", NULL), CELLAR_OK);
    later(c, 0); /* the rule is gone: no further refresh */
    T_EQ_U64(fetched, 3);
    later(c, 50 * S);
    T_EQ_STR(demand(c, "r:1", &o), "old");
    api_shut(c);
}

static void refresh_time_of_a_rule_delays_no_other_refresh(void)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s stale=5s tags=t\n"
                           "key end:{x} ttl=4s refresh=4s\n");
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "r:2", "old", NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_SOFT), CELLAR_OK);
    T_EQ_STR(demand(c, "r:1", NULL), "old, stale, refreshing");
    later(c, 0);
    T_EQ_STR(demand(c, "r:1", NULL), "new");
    T_EQ_I64(api_put(c, "r:2", "old", NULL), CELLAR_OK);
    cellar_load_opts o = cellar_load_opts_default();
    o.eager_refresh_pct = CELLAR_OFF; /* options of a call win */
    later(c, 5 * S);
    T_EQ_STR(demand(c, "r:2", &o), "old");
    o.eager_refresh_pct = 0;
    T_EQ_STR(demand(c, "r:2", &o), "old, refreshing");
    later(c, 0);
    T_EQ_I64(api_put(c, "end:1", "old", NULL), CELLAR_OK); /* no age before the end */
    later(c, 4 * S - 1);
    T_EQ_STR(demand(c, "end:1", NULL), "old");
    later(c, 1);
    fetched = 0;
    T_EQ_STR(demand(c, "end:1", NULL), "new");
    T_EQ_U64(fetched, 1);
    api_shut(c);
}

static void due_value_is_refreshed_by_leases_bulk_loads_and_pins(void)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s\n");
    static const char *const keys[] = { "r:1", "r:2", "r:3" };
    for (int i = 0; i < 3; i++) { T_EQ_I64(api_put(c, keys[i], "old", NULL), CELLAR_OK); }
    cellar_load_opts pin = cellar_load_opts_default();
    pin.flags = CELLAR_LOAD_PIN;
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "r:3", 3, &pin, NULL, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags, CELLAR_RESULT_PINNED);
    cellar_result_free(&r);
    later(c, 4 * S);
    cellar_lease lease, other;
    T_EQ_I64(cellar_lease_acquire(c, "r:1", 3, NULL, NULL, &lease, &r), CELLAR_OK);
    T_CHECK(r.value_len == 3 && lease.opaque[0] != 0);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_acquire(c, "r:1", 3, NULL, NULL, &other, &r), CELLAR_OK);
    T_CHECK(r.value_len == 3 && other.opaque[0] == 0);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "new", 3, NULL), CELLAR_OK);
    T_EQ_STR(api_look(c, "r:1"), "new");
    T_EQ_I64(cellar_lease_acquire(c, "r:1", 3, NULL, NULL, &lease, &r), CELLAR_OK);
    T_CHECK(lease.opaque[0] == 0);
    cellar_result_free(&r);
    cellar_result of[2] = { cellar_result_default(), cellar_result_default() };
    cellar_load_item items[2] = { { .key = "r:1", .key_len = 3, .result = &of[0] },
                                  { .key = "r:2", .key_len = 3, .result = &of[1] } };
    T_EQ_I64(cellar_get_or_load_many(c, items, 2, NULL, NULL, NULL), CELLAR_OK);
    T_EQ_U64(fetched, 1);
    T_EQ_STR(api_look(c, "r:2"), "new");
    for (int i = 0; i < 2; i++) { cellar_result_free(&of[i]); }
    T_EQ_I64(cellar_get_or_load(c, "r:3", 3, &pin, NULL, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags, CELLAR_RESULT_REFRESHING);
    cellar_result_free(&r);
    api_shut(c);
}

/* ---- quotas ---- */

static uint64_t least_bytes(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    return st.quota_min_bytes;
}

/* Return whether the shares are equal: the whole changes with the size of the rules. */
static bool about(uint64_t got, uint64_t want)
{
    return got > want - want / 100 && got < want + want / 100;
}

static void quota_of_a_section_is_applied_at_open_and_at_reload(void)
{
    cellar *root = api_open(4 << 20), *own = NULL;
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.quota_min_pct = 10;
    notes n;
    cellar *none = space(root, "none");
    T_EQ_I64(cellar_namespace_open(root, "own", &o, &own), CELLAR_OK);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(rules(root, "[a]\nset quota=10%-40%\n[b]\nglob * quota=20%\n"
                         "[own]\nset quota=20%-60%\n", &n), CELLAR_OK);
    T_EQ_U64(n.count, 0);
    cellar *a = space(root, "a"), *b = space(root, "b");
    const uint64_t tenth = least_bytes(a);
    T_CHECK(tenth != 0);
    T_EQ_I64(cellar_stats_get(a, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(about(st.quota_max_bytes, 4 * tenth));
    T_EQ_I64(cellar_stats_get(b, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(about(st.quota_min_bytes, 2 * tenth) && st.quota_max_bytes == 0);
    T_EQ_I64(cellar_stats_get(own, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(about(st.quota_min_bytes, 2 * tenth) && about(st.quota_max_bytes, 6 * tenth));
    o.quota_min_pct = 30; /* own options wait until the rules are gone */
    cellar *again = NULL;
    T_EQ_I64(cellar_namespace_open(root, "own", &o, &again), CELLAR_OK);
    T_CHECK(about(least_bytes(own), 2 * tenth));
    T_EQ_I64(rules(root, "", NULL), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(own, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(about(st.quota_min_bytes, 3 * tenth) && st.quota_max_bytes == 0);
    T_EQ_I64(cellar_stats_get(a, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.quota_min_bytes == 0 && st.quota_max_bytes == 0);
    T_EQ_I64(rules(root, "[none]\nset negative=1s\nset quota=10%\n", &n), CELLAR_OK);
    T_CHECK(n.count == 1 && n.warnings == 1 && n.line == 1);
    T_CHECK(strstr(n.text, "policy:1:1: warning: the quota of the policy is not in force") != NULL);
    T_EQ_U64(least_bytes(none), 0);
    cellar *const all[] = { none, own, again, a, b };
    for (size_t i = 0; i < 5; i++) { T_EQ_I64(cellar_close(all[i]), CELLAR_OK); }
    api_shut(root);
}

static void quotas_change_places_and_never_exceed_the_whole(void)
{
    cellar *root = api_open(4 << 20);
    notes n;
    T_EQ_I64(rules(root, "[a]\nset quota=10%\n[b]\nset quota=80%\n[c]\nset quota=20%\n", &n),
             CELLAR_OK);
    cellar *a = space(root, "a"), *b = space(root, "b");
    cellar *c = space(root, "c"); /* 110 %: it opens without */
    const uint64_t tenth = least_bytes(a);
    T_CHECK(tenth != 0);
    T_CHECK(about(least_bytes(b), 8 * tenth));
    T_EQ_U64(least_bytes(c), 0);
    T_EQ_I64(rules(root, "[a]\nset quota=80%\n[b]\nset quota=10%\n", &n), CELLAR_OK);
    T_EQ_STR(n.text, "");
    T_CHECK(about(least_bytes(a), 8 * tenth));
    T_CHECK(about(least_bytes(b), tenth));
    T_EQ_I64(rules(root, "[a]\nset quota=80%\n[b]\n# big\nset quota=30%\n", &n), CELLAR_OK);
    T_EQ_U64(n.count, 1);
    T_CHECK(about(least_bytes(a), 8 * tenth));
    T_EQ_U64(least_bytes(b), 0);
    for (unsigned i = 0; i < 2000; i++) { /* integrity_check compares the counts */
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i);
        T_EQ_I64(api_put(i % 2 != 0 ? a : b, key, "value", NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_close(a), CELLAR_OK);
    T_EQ_I64(cellar_close(b), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void quota_of_the_root_is_applied_at_open(void)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 16];
    settings cfg = api_config(4 << 20);
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/p", folder);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs("[*]\nset quota=10%-40%\n", f);
    fclose(f);
    cfg.config.policy_file = path;
    cellar *root = api_open_with(&cfg);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(root, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.quota_min_bytes != 0);
    T_EQ_U64(st.quota_max_bytes, 4 * st.quota_min_bytes);
    T_EQ_I64(api_put(root, "k", "value", NULL), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(root, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.quota_entries, 1);
    T_EQ_I64(rules(root, "[*]\nset quota=20%\n", NULL), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(root, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.quota_min_bytes != 0 && st.quota_max_bytes == 0 && st.quota_entries == 1);
    api_shut(root);
    t_wipe(folder);
}

/* ---- precedence ---- */

static void call_wins_over_rule_over_set_over_namespace(void)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.default_ttl_ms = 100 * S;
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(rules(root, "[*]\nset default_ttl=50s stale=9s\n"
                         "[a]\nset jitter=0%\nkey r:{x} ttl=20s\nglob m:* ttl=20s ttl_max=30s\n",
                   NULL), CELLAR_OK);
    cellar_set_opts of_call = cellar_set_opts_default();
    of_call.ttl_ms = 40 * S;
    T_EQ_I64(ttl_after_set(c, "r:1"), 20 * S);
    T_EQ_I64(ttl_after_set(c, "free"), 50 * S);
    T_EQ_I64(api_put(c, "r:1", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:1"), 40 * S);
    T_EQ_I64(api_put(c, "m:1", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "m:1"), 30 * S);
    T_EQ_I64(rules(root, "[a]\nkey r:{x} ttl=20s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), 100 * S);
    T_EQ_I64(ttl_of(c, "r:1"), 40 * S); /* stored entries keep their deadlines */
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void maximum_age_of_call_and_rule_wins_over_the_namespace(void)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    o.idle_ms = 1000 * S;
    o.max_age_ms = 100 * S;
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(rules(root, "[a]\nkey age:{x} max_age=200s\nkey never:{x} idle=never\n"
                         "key idle:{x} idle=900s\n", NULL), CELLAR_OK);
    cellar_set_opts of_call = cellar_set_opts_default();
    T_EQ_I64(ttl_after_set(c, "free"), 100 * S);
    T_EQ_I64(ttl_after_set(c, "age:1"), 200 * S);
    T_EQ_I64(ttl_after_set(c, "never:1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "idle:1"), 100 * S);
    of_call.ttl_ms = 150 * S;
    T_EQ_I64(api_put(c, "age:1", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "age:1"), 150 * S);
    T_EQ_I64(cellar_lease_acquire(c, "age:2", 5, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "v", 1, &of_call), CELLAR_OK);
    T_CHECK(ttl_of(c, "age:2") >= 135 * S); /* leases have 10 % jitter */
    of_call.ttl_ms = 0;
    of_call.max_age_ms = 30 * S;
    of_call.jitter_pct = 100;
    of_call.jitter_mode = CELLAR_JITTER_PLUS;
    for (unsigned i = 0; i < 20; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "idle:%u", i);
        T_EQ_I64(api_put(c, key, "v", &of_call), CELLAR_OK);
        T_CHECK(ttl_of(c, key) <= 30 * S);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void first_rule_of_the_file_wins_across_sections(void)
{
    cellar *root = api_open(4 << 20), *c = space(root, "a");
    T_EQ_I64(rules(root, "[*]\nglob x:* ttl=1s\n[a]\nkey x:{n} ttl=2s\nkey y:{n} ttl=3s\n"
                         "[*]\nglob y:* ttl=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "x:1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "y:1"), 3 * S);
    T_EQ_I64(ttl_after_set(c, "y:1:2"), 4 * S);
    T_EQ_I64(ttl_after_set(root, "y:1"), 4 * S);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void options_of_a_rule_reach_the_entry(void)
{
    cellar *c = NULL, *root = api_open(4 << 20);
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.ttl_classes = classes;
    o.ttl_class_count = 2;
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(rules(root, "[a]\nkey i:{n} ttl=20s idle=3s max_age=10s\nkey s:{n} ttl=4s stale=2s\n"
                         "key c:{n} class=cold\nkey t:{n} tags=red,blue\n"
                         "key j:{n} ttl=100s jitter=+50%\nkey never:{n} ttl=never\n"
                         "set default_ttl=30s\n",
                   NULL), CELLAR_OK);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(ttl_after_set(c, "i:1"), 3 * S);
    T_EQ_I64(cellar_entry_info_get(c, "i:1", 3, 0, &info), CELLAR_OK);
    T_EQ_I64(info.idle_ms, 3 * S);
    for (int i = 0; i < 5; i++) {
        (void)atomic_fetch_add(&api_now_ms, 2 * S);
        T_EQ_STR(api_look(c, "i:1"), i < 4 ? "v" : "MISS");
    }
    T_EQ_I64(ttl_after_set(c, "s:1"), 4 * S);
    T_EQ_I64(cellar_entry_info_get(c, "s:1", 3, 0, &info), CELLAR_OK);
    T_EQ_I64(info.stale_left_ms, 6 * S);
    cellar_set_opts window = cellar_set_opts_default();
    window.stale_ms = 7 * S; /* of the call, with the TTL of the rule */
    T_EQ_I64(api_put(c, "s:1", "v", &window), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, "s:1", 3, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, 4 * S);
    T_EQ_I64(info.stale_left_ms, 11 * S);
    T_EQ_I64(ttl_after_set(c, "c:1"), 50 * S);
    T_EQ_I64(ttl_after_set(c, "never:1"), CELLAR_TTL_NONE);
    int64_t least = INT64_MAX, most = 0;
    for (unsigned i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "j:%u", i);
        const int64_t ttl = ttl_after_set(c, key);
        least = ttl < least ? ttl : least;
        most = ttl > most ? ttl : most;
    }
    T_CHECK(least >= 100 * S && least < 110 * S && most > 140 * S && most <= 150 * S);
    cellar_set_opts tagged = cellar_set_opts_default();
    const cellar_bytes mine = { "mine", 4 };
    tagged.tags = &mine;
    tagged.tag_count = 1;
    T_EQ_I64(api_put(c, "t:1", "v", &tagged), CELLAR_OK);
    T_EQ_I64(api_put(c, "t:2", "v", NULL), CELLAR_OK);
    cellar_set_item items[2] = { { .key = "t:3", .key_len = 3, .value = "v", .value_len = 1 },
                                 { .key = "u:4", .key_len = 3, .value = "v", .value_len = 1 } };
    T_EQ_I64(cellar_set_many(c, items, 2, &tagged, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "t:1"), "MISS");
    T_EQ_STR(api_look(c, "t:2"), "MISS");
    T_EQ_STR(api_look(c, "t:3"), "MISS");
    T_EQ_STR(api_look(c, "u:4"), "v");
    T_EQ_I64(api_put(c, "t:1", "v", &tagged), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "mine", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "t:1"), "MISS");
    T_EQ_STR(api_look(c, "u:4"), "MISS");
    cellar_bytes many[CELLAR_TAGS_MAX];
    for (unsigned i = 0; i < CELLAR_TAGS_MAX; i++) { many[i] = mine; }
    tagged.tags = many;
    tagged.tag_count = CELLAR_TAGS_MAX;
    T_EQ_I64(api_put(c, "t:1", "v", &tagged), CELLAR_E_LIMIT);
    T_EQ_I64(api_put(c, "u:1", "v", &tagged), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void at_ends_entries_at_the_next_such_moment(void)
{
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nkey a:{n} at=00:00@+00:00\nkey b:{n} at=12:00@+00:00\n"
                      "key c:{n} at=00:00@+05:30\n", NULL), CELLAR_OK);
    const int64_t a = ttl_after_set(c, "a:1"), b = ttl_after_set(c, "b:1");
    const int64_t other = ttl_after_set(c, "c:1");
    T_CHECK(a > 0 && a <= 24 * H && b > 0 && b <= 24 * H && other > 0 && other <= 24 * H);
    const int64_t apart = a > b ? a - b : b - a;
    T_CHECK(apart > 12 * H - 10 * S && apart < 12 * H + 10 * S);
    const int64_t zone = (a - other + 24 * H) % (24 * H);
    T_CHECK(zone > 5 * H + 30 * M - 10 * S && zone < 5 * H + 30 * M + 10 * S);
    api_shut(c);
}

/* ---- patterns ---- */

static void placeholders_take_one_or_more_bytes_without_separator(void)
{
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nkey a:{x}-{y}.json ttl=1s\nkey {x} ttl=2s\nkey {x}:end ttl=3s\n"
                      "key \"quoted \\\"{x}\\\"\\x21\" ttl=4s\nkey exact:key ttl=5s\n"
                      "glob g:[ab]?* ttl=6s\nkey {x}ab{y}:z ttl=7s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a:1-2.json"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a:1-2-3.json.json"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a:-2.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1-.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1:-2.json"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:1-2.jsonx"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "plain"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "x"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "x:end"), 3 * S);
    T_EQ_I64(ttl_after_set(c, ":end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "x:y:end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "exact:key"), 5 * S);
    T_EQ_I64(ttl_after_set(c, "exact:keys"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "g:a1"), 6 * S);
    T_EQ_I64(ttl_after_set(c, "g:c1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "1ab2ab3:z"), 7 * S);
    T_EQ_I64(ttl_after_set(c, "ab2:z"), CELLAR_TTL_NONE);
    T_EQ_I64(rules(c, "[*]\nset separator=/ prefix=app\nkey a/{x} ttl=1s\nkey b:{x} ttl=2s\n",
                   NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "app/a/1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "a/1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "appa/1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "b:1:2"), 2 * S);
    T_EQ_I64(rules(c, "[*]\nkey \"quoted \\\"{x}\\\"\\x21\" ttl=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "quoted \"7\"!"), 4 * S);
    api_shut(c);
}

/* Compare the index with a plain search in file order, which the keys of one rule each allow. */
static void fifty_rules_and_more_find_the_same_rule(void)
{
    static char text[200000];
    size_t used = (size_t)snprintf(text, sizeof text, "[*]\n");
    cellar *c = api_open(16 << 20);
    for (unsigned i = 0; i < 1000; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "key g%u:{id}:f%u ttl=%us\n",
                                 i % 10, i / 10, i + 1);
    }
    T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
    for (unsigned i = 0; i < 1000; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "g%u:some id:f%u", i % 10, i / 10);
        T_EQ_I64(ttl_after_set(c, key), (i + 1) * S);
    }
    api_shut(c);
}

static void deny_ignores_case_in_keys_of_any_length(void)
{
    static char key[70000];
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\ndeny *ToKen*\ndeny A[a-c]?\nno_l2 *secret*\nglob * ttl=1s\n", NULL),
             CELLAR_OK);
    T_EQ_I64(api_put(c, "xTOKENx", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(api_put(c, "aB1", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(ttl_after_set(c, "aD1"), S);
    T_EQ_I64(ttl_after_set(c, "toke"), S);
    T_EQ_I64(ttl_after_set(c, "SECRET"), S);
    memset(key, 'x', sizeof key);
    for (size_t len = 200; len <= CELLAR_KEY_MAX; len = len * 3 / 2) {
        memcpy(key + len - 5, "TOKEN", 5);
        T_EQ_I64(cellar_set(c, key, len, "v", 1, NULL), CELLAR_E_DENIED);
        memcpy(key + len - 5, "xxxxx", 5);
        T_EQ_I64(cellar_set(c, key, len, "v", 1, NULL), CELLAR_OK);
    }
    api_shut(c);
}

/* Only A to Z have another case; each byte stands in a word of 8 bytes and behind it. */
static void deny_folds_no_byte_but_ascii_capitals(void)
{
    cellar *c = api_open(4 << 20);
    for (unsigned byte = 1; byte < 256; byte++) {
        const bool capital = byte >= 'A' && byte <= 'Z', small = byte >= 'a' && byte <= 'z';
        char text[64], key[16] = "aaa.aaaaaa.a";
        if (strchr("*?[]\\^-", (int)byte) != NULL) { continue; }
        const unsigned low = capital ? byte + 32 : byte;
        (void)snprintf(text, sizeof text, "[*]\ndeny \"aaa\\x%02Xaaaaaa\\x%02Xa\"\n", low, low);
        T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
        key[3] = key[10] = (char)byte;
        T_EQ_I64(cellar_set(c, key, 12, "v", 1, NULL), CELLAR_E_DENIED);
        key[3] = (char)(byte ^ 32);
        T_EQ_I64(cellar_set(c, key, 12, "v", 1, NULL),
                 capital || small ? CELLAR_E_DENIED : CELLAR_OK);
    }
    api_shut(c);
}

static void globs_match_whatever_their_end_is(void)
{
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nglob *:end ttl=1s\nglob *:verylongend ttl=2s\nglob [*z ttl=3s\n"
                      "glob \"b*\\\\*\" ttl=4s\nglob c*[xy]z ttl=5s\nglob *d?f ttl=6s\n", NULL),
             CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a:end"), 1 * S);
    T_EQ_I64(ttl_after_set(c, ":end"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "end"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "a:verylongend"), 2 * S);
    T_EQ_I64(ttl_after_set(c, "a:varylongend"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "*"), 3 * S); /* an open class of '*' and 'z' */
    T_EQ_I64(ttl_after_set(c, "z"), 3 * S);
    T_EQ_I64(ttl_after_set(c, "az"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "b1*"), 4 * S);
    T_EQ_I64(ttl_after_set(c, "b1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "c1yz"), 5 * S);
    T_EQ_I64(ttl_after_set(c, "c1z"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "1def"), 6 * S);
    T_EQ_I64(ttl_after_set(c, "1df"), CELLAR_TTL_NONE);
    api_shut(c);
}

/* ---- errors ---- */

typedef struct bad {
    const char *text, *note; /* the note behind "policy:" */
} bad;

static void errors_have_line_and_column(void)
{
    static const bad list[] = {
        { "key a ttl=1s\n", "1:1: error: write [name] or [*] before the first rule" },
        { "[*]\nkey a ttl=10\n", "2:7: error: ttl \"10\" has no unit (ms s m h d w)" },
        { "[*]\n  key a  ttl=\n", "2:10: error: option ttl needs a value" },
        { "[*]\nkey a ttl=0s\n", "2:7: error: ttl \"0s\" must be at least 1ms" },
        { "[*]\nkey a ttl=x\n", "2:7: error: ttl \"x\" is no duration: write 90s, 1h30m or never" },
        { "[*]\nkey a ttl=99999999999999999999s\n", NULL },
        { "[*]\nkey a ttl=999999999999w\n", NULL },
        { "[*]\nkey a idle=60d\n", "2:7: error: idle \"60d\" must be at most 2^32 - 1 ms" },
        { "[*]\nkey a ttl=1s ttl=2s\n", "2:14: error: option ttl is given twice" },
        { "[*]\nkey a color=red\n", "2:7: error: unknown option \"color\"" },
        { "[*]\nkey a default_ttl=1s\n", "2:7: error: unknown option \"default_ttl\"" },
        { "[*]\nset ttl=1s\n", "2:5: error: unknown option \"ttl\"" },
        { "[*]\nset eviction_cost=5\n", "2:5: error: unknown option \"eviction_cost\"" },
        { "[*]\nset hidden\n", "2:5: error: unknown option \"hidden\"" },
        { "[*]\nset default_ttl=1s\nset default_ttl=2s\n",
          "3:1: error: an option of the section is set twice" },
        { "[*]\nkey a jitter=101%\n", NULL },
        { "[*]\nkey a priority=top\n", "2:7: error: priority \"top\" must be low, mid or high" },
        { "[*]\nkey a max_items=0\n", NULL },
        { "[*]\nkey a no_l2=1\n", "2:7: error: option no_l2 takes no value" },
        { "[*]\nset quota=40%-10%\n", NULL },
        { "[*]\nkey a quota=10%\n", "2:7: error: quota belongs to a set line, or to the pattern *" },
        { "[*]\ndeny a ttl=1s\n",
          "2:8: error: a deny or no_l2 rule has no options (got \"ttl\")" },
        { "[*]\nkey a at=24:00@UTC\n", NULL },
        { "[*]\nkey a at=10:00@Nowhere/Land\n",
          "2:7: error: at \"10:00@Nowhere/Land\": unknown time zone" },
        { "[*]\nkey a tags=x,,y\n", "2:7: error: tags \"x,,y\": a tag has 1..128 bytes" },
        { "[*]\nkey a tags=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g,h\n", NULL },
        { "[*]\nkey\n", "2:4: error: the rule has no pattern" },
        { "[*]\nkey \"\" ttl=1s\n", "2:5: error: a pattern must have 1..1,024 bytes" },
        { "[*]\nkey a{b ttl=1s\n", "2:5: error: pattern \"a{b\": { without }" },
        { "[*]\nkey ab} ttl=1s\n", "2:5: error: pattern \"ab}\": } without {" },
        { "[*]\nkey a{} ttl=1s\n", "2:5: error: pattern \"a{}\": a placeholder needs a name" },
        { "[*]\nkey {a}{b} ttl=1s\n",
          "2:5: error: pattern \"{a}{b}\": two placeholders need text between them" },
        { "[*]\nkey \"a ttl=1s\n", "2:5: error: the string has no closing quote" },
        { "[*]\nkey \"a\\q\" ttl=1s\n", "2:7: error: unknown escape: write \\\" \\\\ \\n or \\xHH" },
        { "[*]\nkey \"a\"b ttl=1s\n", "2:8: error: a string ends with a blank or the line" },
        { "[*\nkey a\n", "1:1: error: the section has no ]" },
        { "[]\n", "1:2: error: the name of a section must have 1..64 bytes" },
        { "[a] b\n", "1:5: error: only a comment may follow here" },
        { "[*]\nkeys a\n",
          "2:1: error: \"keys\" must be [name], set, key, glob, deny or no_l2" },
        { "[*]\nset separator=ab\n", NULL },
        { "[*]\rkey a\n", "1:4: error: a carriage return inside a line" },
    };
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nkey kept ttl=5s\n", NULL), CELLAR_OK);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        notes n;
        char want[256];
        T_EQ_I64(rules(c, list[i].text, &n), CELLAR_E_CONFIG);
        T_CHECK(n.count == 1 && n.warnings == 0 && n.line > 0 && n.column > 0);
        if (list[i].note == NULL) { continue; }
        (void)snprintf(want, sizeof want, "policy:%s\n", list[i].note);
        T_EQ_STR(n.text, want);
    }
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S); /* the rules before the errors are in force */
    static const char nul[] = "[*]\nkey a\0b ttl=1s\n";
    notes n = { 0 };
    T_EQ_I64(cellar_policy_set(c, nul, sizeof nul - 1, note, &n), CELLAR_E_CONFIG);
    T_EQ_STR(n.text, "policy:2:6: error: a NUL byte\n");
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_CONFIG);
    T_EQ_STR(e.text, "policy:2:6: error: a NUL byte");
    static const char quoted[] = "[*]\nkey \"a\0b\" ttl=1s\n", remark[] = "[*] # \0\n";
    T_EQ_I64(cellar_policy_set(c, quoted, sizeof quoted - 1, NULL, NULL), CELLAR_E_CONFIG);
    T_EQ_I64(cellar_policy_set(c, remark, sizeof remark - 1, NULL, NULL), CELLAR_E_CONFIG);
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S);
    api_shut(c);
}

static void all_errors_are_reported_up_to_a_hundred(void)
{
    static char text[8000];
    cellar *c = api_open(4 << 20);
    notes n;
    T_EQ_I64(rules(c, "[*]\nkey a ttl=1 idle=2 stale=3\nbad\nkey b{ ttl=4\n", &n),
             CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 6);
    size_t used = 0;
    for (unsigned i = 0; i < 300; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "bad %u\n", i);
    }
    T_EQ_I64(rules(c, text, &n), CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 100);
    api_shut(c);
}

static void bom_carriage_returns_and_comments_are_skipped(void)
{
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "\xef\xbb\xbf# first\r\n\r\n[*] # all\r\nkey a#b ttl=1s # text\r\n"
                      "\tkey \"c # d\"\tttl=2s\r", NULL), CELLAR_E_CONFIG);
    T_EQ_I64(rules(c, "\xef\xbb\xbf# first\r\n\r\n[*] # all\r\nkey a#b ttl=1s # text\r\n"
                      "\tkey \"c # d\"\tttl=2s", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "a#b"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "c # d"), 2 * S);
    api_shut(c);
}

static void limits_of_a_file_hold(void)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 16];
    cellar *c = api_open(32 << 20);
    notes n = { 0 };
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/p", folder);
    T_EQ_I64(cellar_policy_reload(c, NULL, note, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_E_IO);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    for (unsigned i = 0; i < 1 << 20; i++) { fputc('\n', f); }
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, path, note, &n), CELLAR_OK);
    fputc('\n', f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, NULL, note, &n), CELLAR_E_CONFIG);
    T_CHECK(n.count == 1 && strstr(n.text, ":1:1: error: the file is larger than 1 MiB") != NULL);
    f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs("[*]\n", f);
    for (unsigned i = 0; i < 4096; i++) { fprintf(f, "key k%u:{n} ttl=%us\n", i, i + 1); }
    T_EQ_I64(fflush(f), 0);
    T_EQ_I64(cellar_policy_reload(c, NULL, note, &n), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    memset(&n, 0, sizeof n);
    fputs("key one:more ttl=1s\n", f);
    fclose(f);
    T_EQ_I64(cellar_policy_reload(c, NULL, note, &n), CELLAR_E_CONFIG);
    T_EQ_U64(n.count, 1);
    T_EQ_U64(n.line, 4098);
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    static char lines[(1 << 20) + 1];
    memset(lines, '\n', sizeof lines);
    T_EQ_I64(cellar_policy_set(c, lines, sizeof lines, NULL, NULL), CELLAR_E_CONFIG);
    for (unsigned i = 0; i < 4097; i++) { memcpy(lines + 4 * (size_t)i, "[a]", 3); }
    memset(&n, 0, sizeof n);
    T_EQ_I64(cellar_policy_set(c, lines, sizeof lines - 1, note, &n), CELLAR_E_CONFIG);
    T_EQ_STR(n.text, "policy:4097:2: error: more than 4,096 sections\n");
    T_EQ_I64(ttl_after_set(c, "k4095:x"), 4096 * S);
    memcpy(lines + 4 * (size_t)4096, "   ", 3);
    T_EQ_I64(cellar_policy_set(c, lines, sizeof lines - 1, NULL, NULL), CELLAR_OK);
    settings cfg = api_config(4 << 20);
    cellar *none = NULL;
    cfg.config.policy_file = path;
    T_EQ_I64(settings_open(&cfg, &none), CELLAR_E_CONFIG);
    T_CHECK(none == NULL);
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_CONFIG);
    cfg.config.policy_file = "/no/such/file";
    T_EQ_I64(settings_open(&cfg, &none), CELLAR_E_IO);
    api_shut(c);
    t_wipe(folder);
}

static void file_cut_at_every_byte_is_read_or_refused(void)
{
    static char text[4096];
    FILE *f = fopen("tests/data/s4.policy", "r");
    T_REQUIRE(f != NULL);
    const size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    T_REQUIRE(len > 500 && len < sizeof text);
    cellar *c = api_open(4 << 20);
    unsigned good = 0;
    for (size_t i = 0; i <= len; i++) {
        char *cut = malloc(i > 0 ? i : 1); /* so that a read beyond the end is found */
        T_REQUIRE(cut != NULL);
        memcpy(cut, text, i);
        notes n = { 0 };
        const cellar_err err = cellar_policy_set(c, cut, i, note, &n);
        T_CHECK(err == CELLAR_OK ? n.count == 0 : err == CELLAR_E_CONFIG && n.count > 0);
        good += err == CELLAR_OK;
        free(cut);
    }
    T_CHECK(good > 100 && good < len);
    api_shut(c);
}

/* ---- rules as structs ---- */

static cellar_err set_rules(cellar *c, const cellar_policy_rule *r, size_t count, notes *n)
{
    memset(n, 0, sizeof *n);
    return cellar_policy_set_rules(c, r, count, note, n);
}

static cellar_policy_rule key_rule(const char *pattern, int64_t ttl_ms)
{
    cellar_policy_rule r = cellar_policy_rule_default();
    r.pattern = pattern;
    r.ttl_ms = ttl_ms;
    return r;
}

static void structs_say_what_a_file_says(void)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    const cellar_ttl_class classes[1] = { { "cold", 50 * S } };
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.ttl_classes = classes;
    o.ttl_class_count = 1;
    o.quota_min_pct = 1;
    cellar_policy_rule r[10];
    notes n;
    for (size_t i = 0; i < 10; i++) { r[i] = key_rule(NULL, 0); }
    r[0].kind = CELLAR_POLICY_SET;
    r[0].section = "a";
    r[0].ttl_ms = 30 * S;
    r[0].negative_ttl_ms = 7 * S;
    r[0].quota_min_pct = 10;
    r[0].quota_max_pct = 40;
    r[0].prefix = "app/";
    r[0].separator = "/";
    r[1] = key_rule("all/{x}", 20 * S);
    r[1].ttl_max_ms = 25 * S;
    r[1].idle_ms = 3 * S;
    r[1].max_age_ms = 10 * S;
    r[1].max_items = 5;
    r[1].loader = "rows";
    r[1].priority = 3;
    r[2] = key_rule("stale/{x}", 4 * S);
    r[2].stale_ms = 2 * S;
    r[2].jitter_pct = CELLAR_OFF;
    r[2].tags = "red,blue";
    r[3] = key_rule("c*", 0);
    r[3].kind = CELLAR_POLICY_GLOB;
    r[3].ttl_class = "cold";
    r[4] = key_rule("never", CELLAR_TTL_NONE);
    r[5] = key_rule("j/{x}", 100 * S);
    r[5].jitter_pct = 50;
    r[5].jitter_mode = CELLAR_JITTER_PLUS;
    r[6] = key_rule("at/{x}", 0);
    r[6].at = "00:00@+00:00";
    r[6].refresh_ms = S;
    r[7] = key_rule("*token*", 0);
    r[7].kind = CELLAR_POLICY_DENY;
    r[8] = key_rule("*secret*", 0);
    r[8].kind = CELLAR_POLICY_NO_L2;
    r[9] = key_rule("disk", 0);
    r[9].no_l2 = 1;
    for (size_t i = 1; i < 10; i++) { r[i].section = i == 7 ? NULL : "a"; }
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(set_rules(root, r, 10, &n), CELLAR_OK);
    T_EQ_STR(n.text, "");
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(ttl_after_set(c, "app/all/1"), 3 * S);
    T_EQ_U64(cellar_policy_max_items(c, "all/1", 5), 5);
    T_EQ_I64(ttl_after_set(c, "stale/1"), 4 * S);
    T_EQ_I64(cellar_entry_info_get(c, "stale/1", 7, 0, &info), CELLAR_OK);
    T_EQ_I64(info.stale_left_ms, 6 * S);
    T_EQ_I64(ttl_after_set(c, "c1"), 50 * S);
    T_EQ_I64(ttl_after_set(c, "never"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "free"), 30 * S);
    const int64_t spread = ttl_after_set(c, "j/1");
    T_CHECK(spread >= 100 * S && spread <= 150 * S);
    const int64_t day = ttl_after_set(c, "at/1");
    T_CHECK(day > 0 && day <= 30 * S); /* or less, before midnight */
    cellar_set_opts none = cellar_set_opts_default();
    none.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "neg", 3, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "neg"), 7 * S);
    T_EQ_I64(api_put(c, "my-token", "v", NULL), CELLAR_E_DENIED);
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "denied by rules[7] of the policy");
    T_EQ_I64(api_put(root, "my-token", "v", NULL), CELLAR_E_DENIED);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.quota_max_bytes, 4 * st.quota_min_bytes);
    T_EQ_I64(cellar_delete_by_tag(c, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "stale/1"), "MISS");
    T_EQ_I64(set_rules(root, NULL, 0, &n), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), CELLAR_TTL_NONE);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

#define WRONG(says, ...) { cellar_policy_rule w = key_rule("k", S); __VA_ARGS__; \
    const cellar_policy_rule two[2] = { key_rule("good", S), w }; notes n; \
    T_EQ_I64(set_rules(c, two, 2, &n), CELLAR_E_CONFIG); \
    T_EQ_STR(n.text, "rules[1]: error: " says "\n"); \
    T_CHECK(n.count == 1 && n.line == 1 && n.column == 0); }

static void errors_of_structs_name_the_index(void)
{
    static cellar_policy_rule many[4097];
    cellar *c = api_open(16 << 20);
    T_EQ_I64(rules(c, "[*]\nkey kept ttl=5s\n", NULL), CELLAR_OK);
    WRONG("the rule has no pattern", w.pattern = NULL)
    WRONG("a pattern must have 1..1,024 bytes", w.pattern = "")
    WRONG("pattern \"a{b\": { without }", w.pattern = "a{b")
    WRONG("kind must be a cellar_policy_kind", w.kind = (cellar_policy_kind)5)
    WRONG("pattern must be NULL in a CELLAR_POLICY_SET", w.kind = CELLAR_POLICY_SET)
    WRONG("the name of a section must have 1..64 bytes", w.section = "")
    WRONG("ttl \"-5ms\" is no duration: write 90s, 1h30m or never", w.ttl_ms = -5)
    WRONG("idle \"4294967296ms\" must be at most 2^32 - 1 ms", w.idle_ms = INT64_C(1) << 32)
    WRONG("refresh \"never\" must have an end", w.refresh_ms = CELLAR_TTL_NONE)
    WRONG("jitter \"101%\" must be 0%..100%, with + for longer times only", w.jitter_pct = 101)
    WRONG("jitter \"jitter_mode 5%\" must be 0%..100%, with + for longer times only",
          w.jitter_pct = 5; w.jitter_mode = (cellar_jitter)9)
    WRONG("priority \"4\" must be low, mid or high", w.priority = 4)
    WRONG("max_items \"1000001\" must be 1..1000000", w.max_items = 1000001)
    WRONG("quota belongs to a set line, or to the pattern *", w.quota_min_pct = 10)
    WRONG("quota \"40%-10%\" must have a maximum that is not below the minimum",
          w.kind = CELLAR_POLICY_SET; w.pattern = NULL; w.quota_min_pct = 40; w.quota_max_pct = 10)
    WRONG("option no_l2 takes no value", w.no_l2 = 2)
    WRONG("option loader needs a value", w.loader = "")
    WRONG("tags \"x,,y\": a tag has 1..128 bytes", w.tags = "x,,y")
    WRONG("at \"10:00@Nowhere/Land\": unknown time zone", w.at = "10:00@Nowhere/Land")
    WRONG("unknown option \"prefix\"", w.prefix = "x")
    WRONG("unknown option \"ttl_max\"", w.kind = CELLAR_POLICY_SET; w.pattern = NULL;
          w.ttl_max_ms = 5)
    WRONG("a deny or no_l2 rule has no options (got \"ttl\")", w.kind = CELLAR_POLICY_DENY)
    notes n;
    cellar_policy_rule two[2] = { key_rule("a", -1), key_rule("b", -1) };
    two[1].tags = ",";
    T_EQ_I64(set_rules(c, two, 2, &n), CELLAR_E_CONFIG); /* all errors, like those of a file */
    T_EQ_U64(n.count, 3);
    for (size_t i = 0; i < 4097; i++) { many[i] = key_rule("k:{x}", S); }
    T_EQ_I64(set_rules(c, many, 4097, &n), CELLAR_E_CONFIG);
    T_EQ_STR(n.text, "rules[4096]: error: more than 4,096 rules\n");
    T_EQ_I64(ttl_after_set(c, "kept"), 5 * S);
    T_EQ_I64(set_rules(c, many, 4096, &n), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
    cellar_error_info e = cellar_error_info_default();
    two[1] = key_rule("b", S);
    two[1].struct_size = 0;
    T_EQ_I64(set_rules(c, two, 2, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "cellar_policy_set_rules: rules[1]: start from cellar_policy_rule_default()");
    T_EQ_I64(set_rules(c, NULL, 1, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_policy_set_rules(NULL, two, 1, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(ttl_after_set(c, "k:1"), S);
    api_shut(c);
}

/* ---- the linter ---- */

static cellar_err lint(cellar *c, const char *text, notes *n)
{
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 16];
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/p", folder);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
    memset(n, 0, sizeof *n);
    const cellar_err err = cellar_policy_lint(c, path, note, n);
    t_wipe(folder);
    return err;
}

static void linter_has_a_finding_for_each_mistake(void)
{
    static const bad list[] = {
        { "[*]\nkey a ttl=1h refresh=40m loader=x\n", "2:1: warning: ttl is less than twice" },
        { "[*]\nset default_ttl=1h refresh=40m\n", "1:1: warning: ttl is less than twice" },
        { "[*]\nkey a:{x} ttl=1s\nkey a:{y} ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nglob a* ttl=1s\nkey a:{y}:b ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nkey a:{x} ttl=1s\nkey a:b-{x} ttl=2s\n", "3:1: warning: the rule of line 2" },
        { "[*]\nglob a?c ttl=1s\nkey abc ttl=2s\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nglob a[bc]* ttl=1s\nglob a[bc]d* ttl=2s\n", "3:1: warning: the rule of line 2" },
        { "[*]\nglob * ttl=1s\n[a]\nkey b ttl=2s\n", "4:1: warning: the rule of line 2 matches" },
        { "[*]\ndeny *a*\ndeny *ab*\n", "3:1: warning: the rule of line 2 matches" },
        { "[*]\nkey my:TOKEN:{x} ttl=1s\ndeny *token*\n",
          "2:1: warning: the deny rule of line 3 matches every key" },
        { "[*]\nkey a ttl=1h refresh=20m\n", "2:1: warning: refresh without loader" },
        { "[*]\nkey a ttl=2h ttl_max=1h\n", "2:1: warning: ttl is longer than ttl_max" },
        { "[*]\nkey a ttl=2h idle=1m max_age=1h\n", "2:1: warning: ttl is longer than max_age" },
        { "[*]\nkey a ttl=1m negative=2m\n", "2:1: warning: negative is longer than ttl" },
        { "[*]\nkey a ttl=1h jitter=10% at=00:00@UTC\n", "2:1: warning: jitter would pass" },
        { "[*]\nglob a* ttl=1h max_items=5\n", "2:1: warning: max_items on a glob" },
    };
    static const char *const good[] = {
        "[*]\nkey a:{x} ttl=1s\nkey a:{y}:{z} ttl=2s\nkey {x}:b ttl=3s\n",
        "[*]\nkey a:b-{x} ttl=2s\nkey a:{x} ttl=1s\nglob * ttl=4s\n",
        "[*]\nkey {x} ttl=2s\nkey a:b ttl=1s\nglob a?? ttl=4s\nglob ab* ttl=4s\n",
        "[a]\nkey x ttl=2s\n[b]\nkey x ttl=1s\ndeny y\n",
        "[*]\ndeny *tokens*\nkey token:{x} ttl=1s\nno_l2 *tokens*\n",
    };
    notes n;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        T_EQ_I64(lint(NULL, list[i].text, &n), CELLAR_OK);
        T_CHECK(n.count == 1 && n.warnings == 1);
        if (strstr(n.text, list[i].note) == NULL) { T_EQ_STR(n.text, list[i].note); }
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        T_EQ_I64(lint(NULL, good[i], &n), CELLAR_OK);
        T_EQ_STR(n.text, "");
    }
    memset(&n, 0, sizeof n);
    T_EQ_I64(cellar_policy_lint(NULL, "tests/data/s4.policy", note, &n), CELLAR_OK);
    T_EQ_STR(n.text, "");
    T_EQ_I64(cellar_policy_lint(NULL, "/no/such/file", note, &n), CELLAR_E_IO);
    T_EQ_I64(lint(NULL, "bad\n", &n), CELLAR_E_CONFIG);
}

static cellar_err no_load(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_absent(ld);
}

static void linter_compares_with_an_open_store(void)
{
    cellar *root = api_open(4 << 20), *c = NULL;
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.ttl_classes = classes;
    o.ttl_class_count = 2;
    notes n;
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(lint(root, "[b]\nkey x ttl=1s\n", &n), CELLAR_OK);
    T_CHECK(strstr(n.text, ":1:1: warning: no namespace \"b\" is open") != NULL);
    T_EQ_I64(lint(root, "[a]\nkey x class=warm\nkey y class=hot\n", &n), CELLAR_OK);
    T_EQ_U64(n.warnings, 2);
    T_CHECK(strstr(n.text, ":2:1: warning: the namespace has no TTL class \"warm\"") != NULL);
    T_CHECK(strstr(n.text, ":1:1: warning: no rule uses TTL class 2") != NULL);
    T_EQ_I64(lint(root, "[a]\nkey x ttl=1s loader=rows\n", &n), CELLAR_OK);
    T_CHECK(strstr(n.text, ":2:1: warning: loader: the namespace has no loader") != NULL);
    o.loader = no_load;
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(root, "a", &o, &c), CELLAR_OK);
    T_EQ_I64(lint(root, "[a]\nkey x ttl=1s loader=rows\n", &n), CELLAR_OK);
    T_EQ_U64(n.count, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    api_shut(root);
}

static void forked_child_keeps_the_rules(void)
{
    cellar *c = api_open(4 << 20);
    T_EQ_I64(rules(c, "[*]\nkey a ttl=5s\ndeny b\n", NULL), CELLAR_OK);
    const pid_t pid = fork();
    if (pid == 0) {
        const bool ok = ttl_after_set(c, "a") == 5 * S &&
                        api_put(c, "b", "v", NULL) == CELLAR_E_DENIED &&
                        rules(c, "", NULL) == CELLAR_E_FORKED && ttl_after_set(c, "a") == 5 * S;
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(status, 0);
    api_shut(c);
}

/* ---- reload under load ---- */

static cellar *busy;
static _Atomic bool stop;

/* Write keys. Each has the TTL of one of the two texts. */
static void *writer(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        for (unsigned i = 0; i < 50; i++) {
            char key[32];
            (void)snprintf(key, sizeof key, "k:%u:%p", i, arg);
            T_EQ_I64(api_put(busy, key, "v", NULL), CELLAR_OK);
            const int64_t ttl = ttl_of(busy, key);
            T_CHECK(ttl == 1 * S || ttl == 2 * S);
        }
        const cellar_err err = api_put(busy, "token", "v", NULL);
        T_CHECK(err == CELLAR_E_DENIED);
    }
    return NULL;
}

static void reload_under_load_uses_the_old_or_the_new_rules(void)
{
    static const char *const text[3] = {
        "[*]\nkey k:{n}:{t} ttl=1s tags=one\ndeny *token*\n",
        "[busy]\nkey k:{n}:{t} ttl=2s tags=two,three\n[*]\ndeny *token*\n",
        "[busy]\nkey k:{n} ttl=3\n" /* no unit */
    };
    pthread_t thread[3];
    cellar *root = api_open(8 << 20);
    T_EQ_I64(rules(root, text[0], NULL), CELLAR_OK);
    busy = space(root, "busy");
    atomic_store(&stop, false);
    for (intptr_t i = 0; i < 3; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, writer, (void *)i), 0);
    }
    const unsigned most = (unsigned)t_share(2000);
    for (unsigned i = 1; i <= most; i++) {
        T_EQ_I64(rules(root, text[i % 3], NULL), i % 3 == 2 ? CELLAR_E_CONFIG : CELLAR_OK);
        if (i % 50 == 0) { /* namespaces open and close meanwhile */
            cellar *other = space(root, i % 100 == 0 ? "x" : "y");
            T_EQ_I64(cellar_close(other), CELLAR_OK);
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    static char out[65536];
    T_EQ_I64(cellar_metrics_write(root, out, sizeof out, NULL), CELLAR_OK);
    T_CHECK(strstr(out, "cellar_policy_reloads_total{") != NULL);
    T_CHECK(strstr(out, "cellar_denied_total{") != NULL);
    T_EQ_I64(cellar_close(busy), CELLAR_OK);
    api_shut(root);
}

static void max_items_is_that_of_the_rule_of_a_key(void)
{
    static const char rules[] = "[*]\nkey p:{x}:b max_items=3\nkey p:{x}:all max_items=1000000\n"
                                "key other ttl=1s\ndeny p:no:b\n";
    cellar *c = api_open(4 << 20), *v = NULL;
    T_EQ_U64(cellar_policy_max_items(c, "p:1:b", 5), 0);
    T_EQ_I64(cellar_policy_set(c, rules, sizeof rules - 1, NULL, NULL), CELLAR_OK);
    T_EQ_U64(cellar_policy_max_items(c, "p:1:b", 5), 3);
    T_EQ_U64(cellar_policy_max_items(c, "p:1:all", 7), 1000000);
    T_EQ_U64(cellar_policy_max_items(c, "other", 5), 0);
    T_EQ_U64(cellar_policy_max_items(c, "p:no:b", 6), 0);
    T_EQ_U64(cellar_policy_max_items(c, "", 0), 0);
    T_EQ_U64(cellar_policy_max_items(NULL, "p:1:b", 5), 0);
    T_EQ_I64(cellar_policy_set(c, "[n]\nkey p:{x} max_items=1\n", 26, NULL, NULL), CELLAR_OK);
    T_EQ_U64(cellar_policy_max_items(c, "p:1", 3), 0);
    T_EQ_I64(cellar_namespace_open(c, "n", NULL, &v), CELLAR_OK);
    T_EQ_U64(cellar_policy_max_items(v, "p:1", 3), 1);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    api_shut(c);
}

T_MAIN("api_policy", T_CASE(seed_filled_entry_has_its_rows_ttl),
       T_CASE(namespace_that_opens_later_gets_its_section),
       T_CASE(each_writing_call_obeys_the_rules),
       T_CASE(loads_leases_and_warm_obey_the_rules),
       T_CASE(denied_set_removes_the_old_value_unless_it_is_kept),
       T_CASE(class_of_a_rule_holds_for_each_call_that_stores),
       T_CASE(load_refreshes_at_the_age_of_its_rule),
       T_CASE(each_writing_call_stores_the_refresh_time),
       T_CASE(failed_refresh_pauses_and_unmodified_value_gets_a_new_time),
       T_CASE(refresh_time_of_a_rule_delays_no_other_refresh),
       T_CASE(due_value_is_refreshed_by_leases_bulk_loads_and_pins),
       T_CASE(quota_of_a_section_is_applied_at_open_and_at_reload),
       T_CASE(quotas_change_places_and_never_exceed_the_whole),
       T_CASE(quota_of_the_root_is_applied_at_open),
       T_CASE(call_wins_over_rule_over_set_over_namespace),
       T_CASE(maximum_age_of_call_and_rule_wins_over_the_namespace),
       T_CASE(first_rule_of_the_file_wins_across_sections),
       T_CASE(options_of_a_rule_reach_the_entry), T_CASE(at_ends_entries_at_the_next_such_moment),
       T_CASE(placeholders_take_one_or_more_bytes_without_separator),
       T_CASE(fifty_rules_and_more_find_the_same_rule),
       T_CASE(deny_ignores_case_in_keys_of_any_length),
       T_CASE(deny_folds_no_byte_but_ascii_capitals), T_CASE(globs_match_whatever_their_end_is),
       T_CASE(errors_have_line_and_column),
       T_CASE(all_errors_are_reported_up_to_a_hundred),
       T_CASE(bom_carriage_returns_and_comments_are_skipped), T_CASE(limits_of_a_file_hold),
       T_CASE(file_cut_at_every_byte_is_read_or_refused),
       T_CASE(structs_say_what_a_file_says), T_CASE(errors_of_structs_name_the_index),
       T_CASE(max_items_is_that_of_the_rule_of_a_key), T_CASE(forked_child_keeps_the_rules),
       T_CASE(linter_has_a_finding_for_each_mistake), T_CASE(linter_compares_with_an_open_store),
       T_CASE(reload_under_load_uses_the_old_or_the_new_rules))
