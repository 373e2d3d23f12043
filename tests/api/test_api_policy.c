/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each call that stores a value obeys the first matching rule of the policy file.
 *         Options of the call win over rules, rules over `set` lines, these over the namespace.
 * Method: Rules from texts, the file tests/data/s4.policy, a clock that the test turns, threads
 *         that write while rules are replaced. */
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/loader.h"
#include "tests/support/policy_kit.h"
#include "tests/support/said.h"
#include "tests/support/spaces.h"

#define M (60 * S)
#define H (60 * M)

/* ---- the file of the table ---- */

typedef struct row { const char *key; int64_t ttl_ms; } row;

static void check_ttls(cellar *c, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!T_EQ_I64(ttl_after_set(c, rows[i].key), rows[i].ttl_ms)) {
            printf("# key %s\n", rows[i].key);
        }
    }
}

/* D28, S4:234: the fill after a miss passes no TTL, so each entry gets the default of two hours and
 * not the time of its row.
 * Sequence: a miss, then a set without TTL, for each example key of the table. */
T_CASE(seed_filled_entry_has_its_rows_ttl)
{
    settings cfg = api_config(4 << 20);
    rules_of_file(&cfg.config, "tests/data/s4.policy");
    cellar *root = closed_later(api_open_with(&cfg)), *c = space_of(root, "zsxq");
    T_EQ_STR(api_look(c, "zsxq:projects:list:ongoing"), "MISS");
    static const row rows[] = {
        { "zsxq:projects:list:ongoing", 2 * H }, { "zsxq:project:1141152412:info", 2 * H },
        { "zsxq:project:1141152412:stats", 1 * H },
        { "zsxq:project:1141152412:leaderboard:continuous", 1 * H },
        { "zsxq:project:1141152412:topics", 10 * M }, { "project:7:topics", 10 * M },
        { "project:7:other", 2 * H }, { "project::topics", 2 * H },
        { "project:7:8:topics", 2 * H }, { "xzsxq:project:7:topics", 2 * H },
    };
    check_ttls(c, rows, sizeof rows / sizeof rows[0]);
    const int64_t daily = ttl_after_set(c, "zsxq:project:1141152412:daily_stats");
    T_CHECK(daily > 0 && daily <= 30 * M); /* less before midnight */
    T_EQ_I64(ttl_after_set(root, "project:7:topics"), CELLAR_TTL_NONE);
    T_EQ_I64(cellar_set(c, "project:8:topics", 16, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)),
             CELLAR_OK);
    T_EQ_I64(ttl_of(c, "project:8:topics"), 60 * S);
    T_EQ_I64(api_put(c, "my:Access-Token:7", "v", NULL), CELLAR_E_DENIED);
    T_EQ_I64(api_put(c, "AUTHORIZATION", "v", NULL), CELLAR_E_DENIED);
    rules_drop(&cfg.config); /* the store has a copy */
}

T_CASE(namespace_that_opens_later_gets_its_section)
{
    cellar *root = closed_later(api_open(4 << 20));
    T_EQ_I64(rules(root, "[late]\nset default_ttl=5s\n[other]\nset default_ttl=6s\n"
                         "[*]\nset default_ttl=7s\n", NULL), CELLAR_OK);
    cellar *late = space_of(root, "late");
    cellar_namespace_config o = { .struct_size = sizeof o, .policy_section = "other" };
    cellar *named = space_with(root, "named", &o);
    T_EQ_I64(ttl_after_set(late, "k"), 5 * S);
    T_EQ_I64(ttl_after_set(named, "k"), 6 * S);
    T_EQ_I64(ttl_after_set(root, "k"), 7 * S);
    close_now(named);
    T_EQ_I64(rules(root, "", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(root, "k"), CELLAR_TTL_NONE);
    char long_name[CELLAR_NAME_MAX + 2];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    o.policy_section = long_name;
    T_EQ_I64(cellar_namespace_open(root, "named", &o, &named), CELLAR_E_INVAL);
}

/* ---- each writing call ---- */

static cellar_err append(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)old, (void)len, (void)ctx;
    return cellar_buf_append(out, "u", 1);
}

static cellar_err write_source(const void *key, size_t key_len, const void *value,
                               size_t value_len, void *ctx)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    (*(unsigned *)ctx)++;
    return CELLAR_OK;
}

static unsigned loads;
static cellar_err load_row(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const char *how = ctx;
    (void)key, (void)len;
    loads++;
    if (how != NULL && strcmp(how, "absent") == 0) { return cellar_load_absent(ld); }
    if (how != NULL && strcmp(how, "same") == 0) { return cellar_load_not_modified(ld); }
    if (how != NULL && strcmp(how, "ttl") == 0) { (void)loader_ttl(ld, 9 * S); }
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

static cellar_err load_rows(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)ctx;
    for (size_t i = 0; i < count; i++) { (void)loader_value(ld, i, "row", 3); }
    return CELLAR_OK;
}

static const char *const ways[] = { "set", "str", "many", "update", "n", "through", "load", "bulk",
                                    "lease", "warm" };
#define WAYS (sizeof ways / sizeof ways[0])

/* Return the key of a way to store. Valid until the next call. */
static const char *key_by(size_t way)
{
    static char key[16];
    (void)snprintf(key, sizeof key, "c:%s", ways[way]);
    return key;
}

/* Store a value by each call, under the key of the call. */
static void write_each_way(cellar *c)
{
    const cellar_bytes warm = { "c:warm", 6 };
    const cellar_warm_opts w = { .struct_size = sizeof w, .keys = &warm, .key_count = 1,
                                 .loader = load_row };
    cellar_warm_report report = cellar_warm_report_default();
    cellar_set_item item = { .key = "c:many", .key_len = 6, .value = "v", .value_len = 1 };
    cellar_result r = cellar_result_default();
    cellar_load_item one = { .key = "c:bulk", .key_len = 6, .result = &r };
    cellar_lease lease;
    unsigned written = 0;
    T_EQ_I64(api_put(c, "c:set", "v", NULL), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "c:str", "v", 0), CELLAR_OK);
    T_EQ_I64(cellar_set_many(c, &item, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(c, "c:update", 8, NULL, append, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "c:n", 3, 1, 0, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_write_through(c, "c:through", 9, "v", 1, NULL, write_source, &written),
             CELLAR_OK);
    T_EQ_I64(load_key(c, "c:load", NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_or_load_many(c, &one, 1, NULL, load_rows, NULL), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_acquire(c, "c:lease", 7, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "row", 3, NULL), CELLAR_OK);
    T_EQ_I64(cellar_warm(c, &w, &report), CELLAR_OK);
}

static void check_each_way(cellar *c, int64_t ttl_ms)
{
    for (size_t i = 0; i < WAYS; i++) {
        if (!T_EQ_I64(ttl_of(c, key_by(i)), ttl_ms)) { printf("# %s\n", ways[i]); }
    }
}

T_CASE(each_writing_call_obeys_the_rules)
{
    cellar *c = closed_later(api_open(4 << 20));
    unsigned written = 0;
    int64_t now;
    size_t stored = 0;
    T_EQ_I64(rules(c, "[*]\nglob c:* ttl=1s jitter=0%\ndeny *token*\n", NULL), CELLAR_OK);
    write_each_way(c);
    check_each_way(c, S);
    T_EQ_I64(cellar_increment(c, "c:n", 3, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 2);
    cellar_set_item items[3] = { { .key = "c:many", .key_len = 6, .value = "v", .value_len = 1 },
                                 { .key = "my-token", .key_len = 8, .value = "v", .value_len = 1 },
                                 { .key = "free", .key_len = 4, .value = "v", .value_len = 1 } };
    T_EQ_I64(cellar_set_many(c, items, 3, NULL, &stored), CELLAR_OK);
    T_EQ_U64(stored, 2);
    T_EQ_I64(items[1].status, CELLAR_E_DENIED);
    T_EQ_I64(ttl_of(c, "free"), CELLAR_TTL_NONE);
    T_EQ_I64(cellar_update(c, "token", 5, NULL, append, NULL), CELLAR_E_DENIED);
    T_EQ_I64(cellar_increment(c, "token:n", 7, 1, 0, NULL, &now), CELLAR_E_DENIED);
    T_EQ_I64(cellar_write_through(c, "token", 5, "v", 1, NULL, write_source, &written),
             CELLAR_E_DENIED);
    T_EQ_U64(written, 1);
    T_FIELDS(space_stats(c), denied, 4, write_errors, 0);
    cellar_reason why = cellar_reason_default();
    T_EQ_I64(cellar_why(c, "token:n", 7, &why), CELLAR_OK);
    T_FIELDS(why, answer, CELLAR_WHY_GONE, cause, CELLAR_CAUSE_DENIED);
    T_EQ_STR(cellar_cause_name(CELLAR_CAUSE_DENIED), "denied");
    T_EQ_I64(api_put(c, "token", "v", NULL), CELLAR_E_DENIED);
    T_EQ_STR(error_text(c), "denied by line 3 of the policy file");
}

static cellar_err lease_key(cellar *c, const char *key, const cellar_load_opts *o)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, key, strlen(key), o, NULL, &lease, &r), CELLAR_LEASED);
    return cellar_lease_fulfill(c, &lease, "row", 3, NULL);
}

static cellar_err lease_none(cellar *c, const char *key)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, key, strlen(key), NULL, NULL, &lease, &r), CELLAR_LEASED);
    return cellar_lease_fulfill(c, &lease, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE));
}

T_CASE(loads_leases_and_warm_obey_the_rules)
{
    settings cfg = api_config(4 << 20);
    cfg.tuning.jitter_pct = CELLAR_OFF;
    cfg.config.default_ttl_ms = 100 * S;
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(rules(c, "[*]\nkey r:{x} ttl=2s stale=3s tags=rows negative=4s\nglob m:* ttl_max=6s\n"
                      "deny *token*\n", NULL), CELLAR_OK);
    const cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 7 * S };
    const struct { const char *key, *how; const cellar_load_opts *o; int64_t ttl_ms; } rows[] = {
        { "r:1", NULL, NULL, 2 * S }, { "r:2", NULL, &o, 7 * S }, { "r:3", "ttl", NULL, 9 * S },
        { "r:4", "absent", NULL, 4 * S }, { "m:1", NULL, &o, 6 * S },
        { "free", NULL, NULL, 100 * S },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        T_EQ_I64(load_key(c, rows[i].key, rows[i].o, rows[i].how),
                 i == 3 ? CELLAR_ABSENT : CELLAR_OK);
        if (!T_EQ_I64(ttl_of(c, rows[i].key), rows[i].ttl_ms)) { printf("# %s\n", rows[i].key); }
    }
    T_EQ_I64(key_info(c, "r:1").stale_left_ms, 5 * S);
    loads = 0; /* the load of a denied key answers and stores nothing */
    T_EQ_I64(load_key(c, "token", NULL, NULL), CELLAR_OK);
    T_EQ_I64(load_key(c, "token", NULL, NULL), CELLAR_OK);
    T_EQ_U64(loads, 2);
    T_EQ_STR(api_look(c, "token"), "MISS");
    T_EQ_U64(space_stats(c).denied, 2);
    T_EQ_I64(cellar_delete_by_tag(c, "rows", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_STR(api_look(c, "r:1"), "MISS");
    const cellar_bytes keys[2] = { { "r:5", 3 }, { "m:5", 3 } };
    cellar_warm_report report = cellar_warm_report_default();
    cellar_warm_opts w = { .struct_size = sizeof w, .keys = keys, .key_count = 2,
                           .loader = load_row };
    T_EQ_I64(cellar_warm(c, &w, &report), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:5"), 2 * S);
    T_EQ_I64(ttl_of(c, "m:5"), 6 * S);
    T_EQ_I64(lease_key(c, "r:6", NULL), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:6"), 2 * S);
    T_EQ_I64(lease_key(c, "r:7", &o), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:7"), 7 * S);
    T_EQ_I64(lease_key(c, "token", NULL), CELLAR_DROPPED);
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "token", 5, NULL, load_row, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED);
    cellar_result_free(&r);
    T_EQ_I64(lease_none(c, "token"), CELLAR_DROPPED); /* "absent" is refused as a value is */
}

static unsigned failed;
static cellar_err fail_row(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ld, (void)key, (void)len, (void)ctx;
    failed++;
    return CELLAR_E_IO;
}

static cellar_err load_own_times(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    const cellar_set_opts *o = ctx;
    T_EQ_I64(cellar_load_opts_set(ld, o), CELLAR_OK);
    return (o->flags & CELLAR_NEGATIVE) != 0 ? cellar_load_absent(ld)
                                             : cellar_load_value(ld, "row", 3);
}

T_CASE(times_of_loader_and_fallback_win_also_if_the_namespace_has_the_same)
{
    settings cfg = api_config(4 << 20);
    cellar_result r = cellar_result_default();
    cfg.tuning.jitter_pct = CELLAR_OFF;
    cfg.config.default_ttl_ms = cfg.config.negative_ttl_ms = 9 * S;
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(rules(c, "[*]\nkey r:{x} ttl=20s stale=3s negative=20s\n", NULL), CELLAR_OK);
    const cellar_load_opts o = { .struct_size = sizeof o, .fallback_ttl_ms = 9 * S,
                                 .fallback = { { load_row, NULL } } };
    T_EQ_I64(cellar_get_or_load(c, "r:1", 3, &o, fail_row, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(ttl_of(c, "r:1"), 9 * S);
    cellar_set_opts own = { .struct_size = sizeof own, .ttl_ms = 9 * S,
                            .stale_ms = CELLAR_TTL_NONE };
    T_EQ_I64(cellar_get_or_load(c, "r:2", 3, NULL, load_own_times, &own, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(ttl_of(c, "r:2"), 9 * S);
    T_EQ_I64(key_info(c, "r:2").stale_left_ms, 0);
    own.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_get_or_load(c, "r:3", 3, NULL, load_own_times, &own, &r), CELLAR_ABSENT);
    T_EQ_I64(ttl_of(c, "r:3"), 9 * S);
}

/* Load or lease 16 keys behind a prefix. Return how many have this TTL. */
static unsigned with_ttl(cellar *c, const char *prefix, bool lease, const char *how, int64_t ttl_ms)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 16; i++) {
        const char *key = t_numbered(prefix, i);
        T_CHECK((lease ? lease_key(c, key, NULL) : load_key(c, key, NULL, how)) >= 0);
        n += ttl_of(c, key) == ttl_ms;
    }
    return n;
}

T_CASE(jitter_spreads_a_ttl_that_a_rule_alone_sets)
{
    settings cfg = api_config(4 << 20);
    cfg.tuning.jitter_pct = 50;
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(rules(c, "[*]\nglob r?:* ttl=100s\nglob m?:* ttl_max=100s\n", NULL), CELLAR_OK);
    T_CHECK(with_ttl(c, "r0:", false, NULL, 100 * S) < 16);
    T_CHECK(with_ttl(c, "m0:", false, NULL, 100 * S) < 16);
    T_CHECK(with_ttl(c, "r1:", true, NULL, 100 * S) < 16);
    T_CHECK(with_ttl(c, "m1:", true, NULL, 100 * S) < 16);
}

T_CASE(jitter_of_a_rule_spreads_no_absent_result)
{
    cellar *c = closed_later(api_open(4 << 20));
    T_EQ_I64(rules(c, "[*]\nglob r:* negative=100s jitter=50%\n", NULL), CELLAR_OK);
    T_EQ_U64(with_ttl(c, "r:", false, "absent", 100 * S), 16);
    T_EQ_I64(lease_none(c, "r:lease"), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:lease"), 100 * S);
}

T_CASE(value_that_was_not_modified_gets_the_idle_time_of_its_rule)
{
    cellar *c = closed_later(api_open(4 << 20));
    T_EQ_I64(load_key(c, "i:1", NULL, NULL), CELLAR_OK);
    T_EQ_I64(rules(c, "[*]\nglob i:* idle=3s\n", NULL), CELLAR_OK);
    T_EQ_I64(load_key(c, "i:1", LOAD_OPTS(.flags = CELLAR_LOAD_REFRESH), "same"), CELLAR_OK);
    T_FIELDS(key_info(c, "i:1"), idle_ms, 3 * S, ttl_left_ms, 3 * S);
    T_EQ_I64(rules(c, "[*]\nglob i:* idle=never\n", NULL), CELLAR_OK);
    T_EQ_I64(load_key(c, "i:1", LOAD_OPTS(.flags = CELLAR_LOAD_REFRESH), "same"), CELLAR_OK);
    T_EQ_I64(key_info(c, "i:1").idle_ms, 0);
}

T_CASE(failure_is_remembered_if_its_fallback_is_not_kept_as_long)
{
    static char absent[] = "absent";
    static const char *const keys[] = { "token", "m:1", "none", "i:1" };
    cellar_result r = cellar_result_default();
    cellar *c = closed_later(api_open(4 << 20));
    T_EQ_I64(rules(c, "[*]\nglob m:* ttl_max=1s\nkey i:{n} idle=1s\ndeny *token*\n", NULL),
             CELLAR_OK);
    const cellar_load_opts plain = { .struct_size = sizeof plain, .error_ttl_ms = 60 * S };
    cellar_load_opts o = plain;
    o.fallback_ttl_ms = 100 * S;
    o.fallback[0].fn = load_row;
    failed = 0;
    for (unsigned i = 0; i < 4; i++) {
        o.fallback[0].ctx = i == 2 ? absent : NULL;
        o.flags = i == 2 ? CELLAR_LOAD_NO_NEGATIVE : 0;
        const size_t len = strlen(keys[i]);
        T_EQ_I64(cellar_get_or_load(c, keys[i], len, &o, fail_row, NULL, &r),
                 i == 2 ? CELLAR_ABSENT : CELLAR_OK);
        T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED);
        cellar_result_free(&r);
        T_EQ_I64(cellar_get_or_load(c, keys[i], len, &plain, fail_row, NULL, &r), CELLAR_E_LOADER);
        T_EQ_U64(failed, i + 1);
    }
}

static cellar_err fail_for_a_second(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_fail(ld, 5, 1 * S, 0);
}

/* Fault: with a remembered failure the old value stayed. */
T_CASE(absent_fallback_of_a_forced_load_ends_the_old_value)
{
    static char absent[] = "absent";
    cellar_result r = cellar_result_default();
    cellar *c = closed_later(api_open(4 << 20));
    const cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 60 * S,
                                 .flags = CELLAR_LOAD_NO_NEGATIVE | CELLAR_LOAD_REFRESH,
                                 .fallback = { { load_row, absent } } };
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(api_put(c, "k", "old", NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_or_load(c, "k", 1, &o, i == 0 ? fail_row : fail_for_a_second, NULL, &r),
                 CELLAR_ABSENT);
        T_EQ_STR(api_look(c, "k"), "MISS");
    }
}

T_CASE(denied_set_removes_the_old_value_unless_it_is_kept)
{
    static const uint32_t keeps[] = { CELLAR_KEEP_OLD_VALUE, CELLAR_ONLY_IF_ABSENT,
                                      CELLAR_ONLY_IF_PRESENT };
    cellar *c = closed_later(api_open(4 << 20));
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
    const cellar_stats st = store_stats(c);
    T_CHECK(st.ended[CELLAR_CAUSE_REJECTED] == 1 && st.ended[CELLAR_CAUSE_DELETED] == 0);
    T_CHECK(st.entries == 0 && st.deletes == 0);
}

T_CASE(class_of_a_rule_holds_for_each_call_that_stores)
{
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    settings cfg = api_config(4 << 20);
    cfg.tuning.jitter_pct = CELLAR_OFF;
    cellar *root = closed_later(api_open_with(&cfg));
    cellar *c = space_with(root, "a", SPACE_OPTS(.ttl_classes = classes, .ttl_class_count = 2));
    T_EQ_I64(rules(root, "[a]\nset negative=9s\nkey c:{x} class=cold\nkey u:{x} class=warm\n"
                         "[*]\nkey u:{x} class=warm\n", NULL), CELLAR_OK);
    write_each_way(c);
    check_each_way(c, 50 * S);
    T_EQ_I64(api_put(c, "c:set", "v", SET_OPTS(.ttl_class = 1)), CELLAR_OK); /* the call wins */
    T_EQ_I64(ttl_of(c, "c:set"), 5 * S);
    T_EQ_I64(cellar_set(c, "c:none", 6, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "c:none"), 9 * S);
    T_EQ_I64(ttl_after_set(c, "u:1"), 5 * S); /* an unknown class: the fallback */
    T_EQ_I64(ttl_after_set(root, "u:1"), CELLAR_TTL_NONE); /* a namespace without classes */
}

/* ---- refresh ---- */

static unsigned fetched;      /* calls of the loader of the namespace */
static const char *fetch_how; /* "": a value */

static cellar_err fetch(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    fetched++;
    if (strcmp(fetch_how, "fail") == 0) { return cellar_load_fail(ld, 1, 0, 0); }
    if (strcmp(fetch_how, "same") == 0) { return cellar_load_not_modified(ld); }
    return cellar_load_value(ld, "new", 3);
}

static cellar_err fetch_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)ctx;
    fetched++;
    for (size_t i = 0; i < count; i++) { (void)loader_value(ld, i, "new", 3); }
    return CELLAR_OK;
}

/* Open a store with a loader, and with rules. */
static cellar *refreshing(const char *text)
{
    settings cfg = api_config(4 << 20);
    cfg.tuning.jitter_pct = CELLAR_OFF;
    cfg.config.root = SPACE_OPTS(.loader = fetch, .loader_many = fetch_many);
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(rules(c, text, NULL), CELLAR_OK);
    fetched = 0;
    fetch_how = "";
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

T_CASE(load_refreshes_at_the_age_of_its_rule)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s\n");
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    T_AFTER_STR(later(c, 4 * S - 1), demand(c, "r:1", NULL), "old");
    T_AFTER_STR(later(c, 1), api_look(c, "r:1"), "old"); /* a get never refreshes */
    T_AFTER_U64(later(c, 0), fetched, 0);
    T_EQ_STR(demand(c, "r:1", NULL), "old, refreshing");
    T_EQ_STR(demand(c, "r:1", NULL), "old");
    T_AFTER_U64(later(c, 0), fetched, 1);
    T_EQ_STR(demand(c, "r:1", NULL), "new");
    T_EQ_I64(ttl_of(c, "r:1"), 10 * S);
    later(c, 4 * S - 1); /* the loaded value has its own time */
    T_EQ_STR(demand(c, "r:1", NULL), "new");
    T_AFTER_STR(later(c, 1), demand(c, "r:1", NULL), "new, refreshing");
    T_AFTER_U64(later(c, 0), fetched, 2);
    later(c, 4 * S); /* a loader on the stack of the call cannot run in the background */
    loads = 0;
    T_EQ_I64(load_key(c, "r:1", NULL, NULL), CELLAR_OK);
    T_EQ_U64(loads, 1);
    T_EQ_STR(api_look(c, "r:1"), "row");
}

T_CASE(each_writing_call_stores_the_refresh_time)
{
    cellar *c = refreshing("[*]\nset refresh=4s\n"); /* and no end */
    write_each_way(c);
    later(c, 4 * S);
    for (size_t i = 0; i < WAYS; i++) {
        const bool due = T_CHECK(strstr(demand(c, key_by(i), NULL), ", refreshing") != NULL);
        later(c, 0);
        if (!T_EQ_STR(demand(c, key_by(i), NULL), "new") || !due) { printf("# %s\n", ways[i]); }
    }
    T_EQ_I64(ttl_of(c, "c:set"), CELLAR_TTL_NONE);
}

T_CASE(failed_refresh_pauses_and_unmodified_value_gets_a_new_time)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=100s refresh=4s\n");
    cellar_load_opts o = { .struct_size = sizeof o, .retry_throttle_ms = 2 * S };
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    later(c, 4 * S);
    fetch_how = "fail";
    T_EQ_STR(demand(c, "r:1", &o), "old, refreshing");
    T_AFTER_U64(later(c, 0), fetched, 1);
    T_AFTER_STR(later(c, 2 * S - 1), demand(c, "r:1", &o), "old");
    T_AFTER_STR(later(c, 1), demand(c, "r:1", &o), "old, refreshing");
    fetch_how = "same";
    T_AFTER_U64(later(c, 0), fetched, 2);
    T_EQ_I64(ttl_of(c, "r:1"), 100 * S);
    T_AFTER_STR(later(c, 4 * S - 1), demand(c, "r:1", &o), "old");
    T_AFTER_STR(later(c, 1), demand(c, "r:1", &o), "old, refreshing");
    T_EQ_I64(rules(c, "[*]\n", NULL), CELLAR_OK);
    later(c, 0); /* the rule is gone: no further refresh */
    T_EQ_U64(fetched, 3);
    T_AFTER_STR(later(c, 50 * S), demand(c, "r:1", &o), "old");
}

T_CASE(value_that_is_not_modified_keeps_its_tags_beside_those_of_a_rule)
{
    static const cellar_bytes tag[2] = { { "own", 3 }, { "ruled", 5 } };
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH };
    cellar *c = refreshing("");
    fetch_how = "same";
    for (size_t i = 0; i < 2; i++) {
        T_EQ_I64(rules(c, "", NULL), CELLAR_OK);
        T_EQ_I64(api_put(c, "r:1", "old", SET_OPTS(.tags = tag, .tag_count = 1)), CELLAR_OK);
        T_EQ_I64(rules(c, "[*]\nkey r:{x} tags=ruled\n", NULL), CELLAR_OK);
        T_EQ_STR(demand(c, "r:1", &o), "old");
        T_EQ_STR(api_look(c, "r:1"), "old");
        T_EQ_I64(cellar_delete_by_tag(c, tag[i].data, tag[i].len, CELLAR_TAG_HARD), CELLAR_OK);
        T_EQ_STR(api_look(c, "r:1"), "MISS");
    }
}

typedef struct joining { /* a load that another one joins after the delete of a tag */
    cellar *c;
    pthread_t thread;
    bool inside;
} joining;

static cellar_err load_old(cellar_load *ld, const void *key, size_t len, void *ctx);

static void *load_new(void *arg)
{
    joining *j = arg;
    char text[4] = "";
    cellar_result r = { .struct_size = sizeof r, .buf = text, .buf_cap = 3 };
    T_EQ_I64(cellar_get_or_load(j->c, "r:1", 3, NULL, load_old, j, &r), CELLAR_OK);
    T_EQ_STR(text, "new");
    return NULL;
}

/* The source changes, and the tag of the rule is deleted; then another call wants the key. */
static cellar_err load_old(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    joining *j = ctx;
    (void)key, (void)len;
    if (j->inside) { return cellar_load_value(ld, "new", 3); }
    j->inside = true;
    T_EQ_I64(cellar_delete_by_tag(j->c, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_REQUIRE(pthread_create(&j->thread, NULL, load_new, j) == 0);
    while (store_stats(j->c).load_waiters == 0) { sched_yield(); }
    return cellar_load_value(ld, "old", 3);
}

T_CASE(joiner_gets_no_value_from_before_the_delete_of_a_tag_of_a_rule)
{
    cellar *c = refreshing("[*]\nkey r:{x} tags=t\n");
    for (uint32_t flags = 0; flags <= CELLAR_LOAD_NO_STORE; flags += CELLAR_LOAD_NO_STORE) {
        joining j = { .c = c };
        cellar_result r = cellar_result_default();
        const cellar_load_opts *o = LOAD_OPTS(.flags = flags);
        T_EQ_I64(cellar_get_or_load(c, "r:1", 3, o, load_old, &j, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_I64(pthread_join(j.thread, NULL), 0);
        T_EQ_I64(cellar_clear(c), CELLAR_OK);
    }
}

T_CASE(refresh_time_of_a_rule_delays_no_other_refresh)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s stale=5s tags=t\n"
                           "key end:{x} ttl=4s refresh=4s\n");
    T_EQ_I64(api_put(c, "r:1", "old", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "r:2", "old", NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_SOFT), CELLAR_OK);
    T_EQ_STR(demand(c, "r:1", NULL), "old, stale, refreshing");
    T_AFTER_STR(later(c, 0), demand(c, "r:1", NULL), "new");
    T_EQ_I64(api_put(c, "r:2", "old", NULL), CELLAR_OK);
    const cellar_load_opts *o = LOAD_OPTS(.eager_refresh_pct = CELLAR_OFF); /* of a call: it wins */
    T_AFTER_STR(later(c, 5 * S), demand(c, "r:2", o), "old");
    T_EQ_STR(demand(c, "r:2", LOAD_OPTS(.flags = 0)), "old, refreshing");
    later(c, 0);
    T_EQ_I64(api_put(c, "end:1", "old", NULL), CELLAR_OK); /* no age before the end */
    T_AFTER_STR(later(c, 4 * S - 1), demand(c, "end:1", NULL), "old");
    later(c, 1);
    fetched = 0;
    T_EQ_STR(demand(c, "end:1", NULL), "new");
    T_EQ_U64(fetched, 1);
}

T_CASE(value_that_keeps_a_long_ttl_is_refreshed_in_time)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=3s refresh=4s\n");
    T_EQ_I64(api_put(c, "r:1", "old", SET_OPTS(.ttl_ms = 100 * S)), CELLAR_OK);
    T_EQ_I64(api_put(c, "r:1", "old", SET_OPTS(.flags = CELLAR_KEEP_TTL)), CELLAR_OK);
    T_AFTER_STR(later(c, 4 * S - 1), demand(c, "r:1", NULL), "old");
    T_AFTER_STR(later(c, 1), demand(c, "r:1", NULL), "old, refreshing");
}

T_CASE(refresh_time_beyond_the_end_delays_no_early_refresh)
{
    const cellar_load_opts load = { .struct_size = sizeof load, .eager_refresh_pct = 50 };
    settings cfg = api_config(4 << 20);
    cfg.config.root = SPACE_OPTS(.loader = fetch, .load = &load, .exact_age = 1);
    cellar *c = closed_later(api_open_with(&cfg));
    T_EQ_I64(rules(c, "[*]\nkey r:{x} ttl=3s refresh=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "r:1", "old", SET_OPTS(.flags = CELLAR_KEEP_TTL)), CELLAR_OK);
    T_AFTER_STR(later(c, 2 * S), demand(c, "r:1", NULL), "old, refreshing");
}

T_CASE(due_value_is_refreshed_by_leases_bulk_loads_and_pins)
{
    cellar *c = refreshing("[*]\nkey r:{x} ttl=10s refresh=4s\n");
    for (unsigned i = 1; i < 4; i++) {
        T_EQ_I64(api_put(c, t_numbered("r:", i), "old", NULL), CELLAR_OK);
    }
    cellar_load_opts pin = { .struct_size = sizeof pin, .flags = CELLAR_LOAD_PIN };
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
}

/* ---- quotas ---- */

static uint64_t most_bytes(cellar *c) { return space_stats(c).quota_max_bytes; }

/* Return whether the shares are equal: the whole changes with the size of the rules. */
static bool about(uint64_t got, uint64_t want)
{
    return got > want - want / 100 && got < want + want / 100;
}

/* Open a store with its log lines in `said`. */
static cellar *open_heard(void)
{
    settings cfg = api_config(4 << 20);
    cfg.host.log = listen_to;
    said[0] = '\0';
    return api_open_with(&cfg);
}

T_CASE(quota_of_a_section_is_applied_at_open_and_at_reload)
{
    cellar *root = closed_later(open_heard()), *none = space_of(root, "none");
    cellar *own = space_with(root, "own", SPACE_OPTS(.quota_max_pct = 10));
    T_EQ_I64(rules(root, "[a]\nset quota_max=10%\n[b]\nglob * quota_max=20%\n"
                         "[own]\nset quota_max=60%\n", NULL), CELLAR_OK);
    T_EQ_STR(said, "");
    cellar *a = space_of(root, "a"), *b = space_of(root, "b");
    const uint64_t tenth = most_bytes(a);
    T_CHECK(tenth != 0);
    T_CHECK(about(most_bytes(b), 2 * tenth) && about(most_bytes(own), 6 * tenth));
    /* own options wait until the rules are gone */
    (void)space_with(root, "own", SPACE_OPTS(.quota_max_pct = 30));
    T_CHECK(about(most_bytes(own), 6 * tenth));
    T_EQ_I64(rules(root, "[a]\nset quota_max=80%\n[b]\nset quota_max=70%\n", NULL), CELLAR_OK);
    T_CHECK(about(most_bytes(a), 8 * tenth) && about(most_bytes(b), 7 * tenth));
    T_CHECK(about(most_bytes(own), 3 * tenth));
    for (unsigned i = 0; i < 2000; i++) { /* integrity_check compares the counts */
        T_EQ_I64(api_put(i % 2 != 0 ? a : b, t_numbered("", i), "value", NULL), CELLAR_OK);
    }
    T_EQ_I64(rules(root, "", NULL), CELLAR_OK);
    T_CHECK(about(most_bytes(own), 3 * tenth));
    T_EQ_U64(most_bytes(a), 0);
    T_EQ_STR(said, "");
    T_EQ_I64(rules(root, "[none]\nset negative=1s\nset quota_max=10%\n", NULL), CELLAR_OK);
    T_EQ_I64(lines_with("the quota of line 3 of the policy file is not in force"), 1);
    (void)atomic_fetch_add(&api_now_ms, 2 * S); /* the log holds back equal lines of a second */
    (void)space_with(root, "none", SPACE_OPTS(.quota_max_pct = 0));
    T_EQ_I64(lines_with("the quota of a rule is not in force"), 1);
#define TENTH(name) { .struct_size = sizeof(cellar_policy_rule), .kind = CELLAR_POLICY_SET, \
                      .section = name, .quota_max_pct = 10 }
    const cellar_policy_rule r[2] = { TENTH("none"), TENTH("too") };
    T_EQ_I64(rules(root, "", NULL), CELLAR_OK);
    (void)space_of(root, "too");
    (void)atomic_fetch_add(&api_now_ms, 2 * S);
    T_EQ_I64(cellar_policy_set(root, r, 2), CELLAR_OK);
    T_EQ_I64(lines_with("the quota of rules[0] of the policy is not in force (and 1 more)"), 1);
    T_EQ_U64(most_bytes(none), 0);
}

T_CASE(quota_of_the_root_is_applied_at_open)
{
    const cellar_policy_rule quota = { .struct_size = sizeof quota, .kind = CELLAR_POLICY_SET,
                                       .quota_max_pct = 20 };
    settings cfg = api_config(4 << 20);
    cfg.config.rules = &quota;
    cfg.config.rule_count = 1;
    cellar *root = closed_later(api_open_with(&cfg));
    const uint64_t fifth = most_bytes(root);
    T_CHECK(fifth != 0);
    T_EQ_I64(api_put(root, "k", "value", NULL), CELLAR_OK);
    T_EQ_U64(space_stats(root).quota_entries, 1);
    T_EQ_I64(rules(root, "[*]\nset quota_max=40%\n", NULL), CELLAR_OK);
    T_CHECK(about(most_bytes(root), 2 * fifth));
    T_EQ_U64(space_stats(root).quota_entries, 1);
}

/* ---- precedence ---- */

T_CASE(call_wins_over_rule_over_set_over_namespace)
{
    cellar *root = closed_later(api_open(4 << 20));
    cellar *c = space_with(root, "a", SPACE_OPTS(.default_ttl_ms = 100 * S));
    T_EQ_I64(rules(root, "[*]\nset default_ttl=50s stale=9s\n"
                         "[a]\nset jitter=0%\nkey r:{x} ttl=20s\nglob m:* ttl=20s ttl_max=30s\n",
                   NULL), CELLAR_OK);
    cellar_set_opts of_call = { .struct_size = sizeof of_call, .ttl_ms = 40 * S };
    T_EQ_I64(ttl_after_set(c, "r:1"), 20 * S);
    T_EQ_I64(ttl_after_set(c, "free"), 50 * S);
    T_EQ_I64(api_put(c, "r:1", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "r:1"), 40 * S);
    T_EQ_I64(api_put(c, "m:1", "v", &of_call), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "m:1"), 30 * S);
    T_EQ_I64(rules(root, "[a]\nkey r:{x} ttl=20s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), 100 * S);
    T_EQ_I64(ttl_of(c, "r:1"), 40 * S); /* stored entries keep their deadlines */
}

T_CASE(maximum_age_of_call_and_rule_wins_over_the_namespace)
{
    cellar *root = closed_later(api_open(4 << 20));
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    cellar *c = space_with(root, "a", SPACE_OPTS(.idle_ms = 1000 * S, .max_age_ms = 100 * S));
    T_EQ_I64(rules(root, "[a]\nkey age:{x} max_age=200s\nkey never:{x} idle=never\n"
                         "key idle:{x} idle=900s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "free"), 100 * S);
    T_EQ_I64(ttl_after_set(c, "age:1"), 200 * S);
    T_EQ_I64(ttl_after_set(c, "never:1"), CELLAR_TTL_NONE);
    T_EQ_I64(ttl_after_set(c, "idle:1"), 100 * S);
    cellar_set_opts of_call = { .struct_size = sizeof of_call, .ttl_ms = 150 * S };
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
        const char *key = t_numbered("idle:", i);
        T_EQ_I64(api_put(c, key, "v", &of_call), CELLAR_OK);
        T_CHECK(ttl_of(c, key) <= 30 * S);
    }
}

T_CASE(first_rule_of_the_file_wins_across_sections)
{
    cellar *root = closed_later(api_open(4 << 20)), *c = space_of(root, "a");
    T_EQ_I64(rules(root, "[*]\nglob x:* ttl=1s\n[a]\nkey x:{n} ttl=2s\nkey y:{n} ttl=3s\n"
                         "[*]\nglob y:* ttl=4s\n", NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "x:1"), 1 * S);
    T_EQ_I64(ttl_after_set(c, "y:1"), 3 * S);
    T_EQ_I64(ttl_after_set(c, "y:1:2"), 4 * S);
    T_EQ_I64(ttl_after_set(root, "y:1"), 4 * S);
}

/* Times of the keys of one letter reach from `from_ms` to `to_ms`, within a fifth. */
static void check_spread(cellar *c, char letter, int64_t from_ms, int64_t to_ms)
{
    const int64_t near_ms = (to_ms - from_ms) / 5;
    int64_t least = INT64_MAX, most = 0;
    for (unsigned i = 0; i < 200; i++) {
        const int64_t ttl = ttl_after_set(c, t_numbered((const char[]){ letter, ':', '\0' }, i));
        least = ttl < least ? ttl : least;
        most = ttl > most ? ttl : most;
    }
    T_CHECK(least >= from_ms && least < from_ms + near_ms && most > to_ms - near_ms &&
            most <= to_ms);
}

T_CASE(options_of_a_rule_reach_the_entry)
{
    cellar *root = closed_later(api_open(4 << 20));
    const cellar_ttl_class classes[2] = { { "hot", 5 * S }, { "cold", 50 * S } };
    cellar *c = space_with(root, "a", SPACE_OPTS(.ttl_classes = classes, .ttl_class_count = 2));
    T_EQ_I64(rules(root, "[a]\nkey i:{n} ttl=20s idle=3s max_age=10s\nkey s:{n} ttl=4s stale=2s\n"
                         "key c:{n} class=cold\nkey t:{n} tags=red,blue\n"
                         "key j:{n} ttl=100s jitter=+50%\nkey l:{n} ttl=100s jitter=50%\n"
                         "key b:{n} ttl=100s jitter=+-50%\nkey never:{n} ttl=never\n"
                         "set default_ttl=30s\n",
                   NULL), CELLAR_OK);
    T_EQ_I64(ttl_after_set(c, "i:1"), 3 * S);
    T_EQ_I64(key_info(c, "i:1").idle_ms, 3 * S);
    for (int i = 0; i < 5; i++) {
        T_AFTER_STR(atomic_fetch_add(&api_now_ms, 2 * S), api_look(c, "i:1"), i < 4 ? "v" : "MISS");
    }
    T_EQ_I64(ttl_after_set(c, "s:1"), 4 * S);
    T_EQ_I64(key_info(c, "s:1").stale_left_ms, 6 * S);
    T_EQ_I64(api_put(c, "s:1", "v", SET_OPTS(.stale_ms = 7 * S)), CELLAR_OK);
    T_EQ_I64(ttl_of(c, "s:1"), 4 * S); /* of the rule */
    T_EQ_I64(key_info(c, "s:1").stale_left_ms, 11 * S);
    T_EQ_I64(ttl_after_set(c, "c:1"), 50 * S);
    T_EQ_I64(ttl_after_set(c, "never:1"), CELLAR_TTL_NONE);
    check_spread(c, 'j', 100 * S, 150 * S);
    check_spread(c, 'l', 50 * S, 100 * S);
    check_spread(c, 'b', 50 * S, 150 * S);
    const cellar_bytes mine = { "mine", 4 };
    cellar_set_opts tagged = { .struct_size = sizeof tagged, .tags = &mine, .tag_count = 1 };
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
}

static int64_t wall_ms; /* 0: the wall clock of the system */

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (id != CLOCK_REALTIME || wall_ms == 0) { return (int)syscall(SYS_clock_gettime, id, t); }
    *t = (struct timespec){ wall_ms / 1000, wall_ms % 1000 * 1000000 };
    return 0;
}

T_CASE(at_ends_entries_at_the_next_such_moment)
{
    cellar *c = closed_later(api_open(4 << 20));
    T_EQ_I64(rules(c, "[*]\nkey a:{n} at=00:00@+00:00\nkey b:{n} at=12:00@+00:00\n"
                      "key c:{n} at=00:00@+05:30\n", NULL), CELLAR_OK);
    for (int64_t hour = 0; hour < 24; hour++) {
        wall_ms = (20000 * 24 + hour) * H + 5 * M;
        T_EQ_I64(ttl_after_set(c, "a:1"), (24 - hour) * H - 5 * M);
        T_EQ_I64(ttl_after_set(c, "b:1"), (hour < 12 ? 12 : 36) * H - hour * H - 5 * M);
        T_EQ_I64(ttl_after_set(c, "c:1"), (hour <= 18 ? 18 : 42) * H + 25 * M - hour * H);
    }
    wall_ms = 0;
}

T_CASE(at_follows_a_wall_clock_that_is_set_back)
{
    cellar *c = closed_later(api_open(4 << 20));
    T_EQ_I64(rules(c, "[*]\nkey a:{n} at=00:00@+00:00\n", NULL), CELLAR_OK);
    wall_ms = 20000 * 24 * H + 5 * M;
    T_EQ_I64(ttl_after_set(c, "a:1"), 24 * H - 5 * M);
    wall_ms -= 10 * M; /* midnight is to come again */
    T_EQ_I64(ttl_after_set(c, "a:1"), 5 * M);
    wall_ms = INT64_C(1774740900000); /* 2026-03-29 00:35 in Berlin: a day of 23 hours */
    if (rules(c, "[*]\nkey b:{n} at=00:30@Europe/Berlin\n", NULL) == CELLAR_OK) {
        T_EQ_I64(ttl_after_set(c, "b:1"), 23 * H - 5 * M); /* else there are no zone files */
        wall_ms -= 10 * M;
        T_EQ_I64(ttl_after_set(c, "b:1"), 5 * M);
    }
    wall_ms = 0;
}

T_CASE(at_ends_stale_windows_too)
{
    cellar *c = closed_later(api_open(4 << 20));
    const cellar_load_opts o = { .struct_size = sizeof o, .stale_ms = H };
    T_EQ_I64(rules(c, "[*]\nset jitter=0%\nkey a:{n} ttl=10m stale=1h at=00:00@+00:00\n"
                      "key b:{n} at=00:00@+00:00\n"
                      "key c:{n} ttl=10m stale=1h jitter=+10% at=00:00@+00:00\n", NULL), CELLAR_OK);
    wall_ms = 20000 * 24 * H - 15 * M;
    T_EQ_I64(ttl_after_set(c, "a:1"), 10 * M);
    T_EQ_I64(key_info(c, "a:1").stale_left_ms, 15 * M);
    T_EQ_I64(load_key(c, "b:1", &o, NULL), CELLAR_OK);
    T_FIELDS(key_info(c, "b:1"), ttl_left_ms, 15 * M, stale_left_ms, 0);
    T_EQ_I64(api_put(c, "c:1", "v", NULL), CELLAR_OK);
    T_CHECK(key_info(c, "c:1").stale_left_ms <= 15 * M);
    wall_ms -= 12 * H; /* the window ends long before */
    T_EQ_I64(api_put(c, "c:1", "v", NULL), CELLAR_OK);
    const cellar_entry_info i = key_info(c, "c:1");
    T_EQ_I64(i.stale_left_ms - i.ttl_left_ms, H);
    wall_ms = 0;
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

T_CASE(reload_under_load_uses_the_old_or_the_new_rules)
{
    static const char *const text[3] = {
        "[*]\nkey k:{n}:{t} ttl=1s tags=one\ndeny *token*\n",
        "[busy]\nkey k:{n}:{t} ttl=2s tags=two,three\n[*]\ndeny *token*\n",
        "[busy]\nkey k:{n} ttl=3\n" /* no unit */
    };
    pthread_t thread[3];
    cellar *root = closed_later(api_open(8 << 20));
    T_EQ_I64(rules(root, text[0], NULL), CELLAR_OK);
    busy = space_of(root, "busy");
    atomic_store(&stop, false);
    for (intptr_t i = 0; i < 3; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, writer, (void *)i), 0);
    }
    const unsigned most = (unsigned)t_share(2000);
    for (unsigned i = 1; i <= most; i++) {
        T_EQ_I64(rules(root, text[i % 3], NULL), i % 3 == 2 ? CELLAR_E_CONFIG : CELLAR_OK);
        if (i % 50 == 0) { /* namespaces open and close meanwhile */
            close_now(space_of(root, i % 100 == 0 ? "x" : "y"));
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    static char out[65536];
    T_EQ_I64(cellar_metrics_write(root, out, sizeof out, NULL), CELLAR_OK);
    T_CHECK(strstr(out, "cellar_policy_reloads_total{") != NULL);
    T_CHECK(strstr(out, "cellar_denied_total{") != NULL);
}

T_MAIN("api_policy")
