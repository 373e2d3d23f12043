/* SPDX-License-Identifier: MIT
 *
 * Aim:    The meaning of each call: conditions, TTLs to the millisecond, failing sets, counters,
 *         updates, pins, copies, scans, options, hooks of the configuration.
 * Method: public calls only, a clock of this file; small stores. Inventory rows 15, 43, 70, 85, 122
 *         and the table of porting semantics (Redis, Django) are driven here too. */
#include "tests/support/api_kit.h"
#include "tests/support/counter.h"
#include "tests/support/scan.h"
#include "tests/support/settings.h"

static cellar *open_store(void) { return api_open(8u << 20); }

static int64_t ttl_left(cellar *c, const char *key)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, key, strlen(key), 0, &i) >= 0 ? i.ttl_left_ms : -1;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(), api_shut(c))

/* ---- reading ---- */

T_CASE_ON(buffer_sizes, STORE)
{
    char buf[8];
    size_t len = 77;
    api_put(c, "k", "12345", NULL);
    T_EQ_I64(cellar_get(c, "k", 1, buf, 4, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 5);
    T_EQ_I64(cellar_get(c, "k", 1, NULL, 0, &len), CELLAR_E_BUFFER); /* returns the size only */
    T_EQ_U64(len, 5);
    T_EQ_I64(cellar_get(c, "k", 1, buf, 5, &len), CELLAR_OK);
    T_EQ_MEM(buf, "12345", 5);
    T_EQ_I64(cellar_get(c, "k", 1, buf, 5, NULL), CELLAR_OK); /* the length is optional */
    T_EQ_I64(cellar_set(c, "e", 1, NULL, 0, NULL), CELLAR_OK);
    /* an empty value fits into no bytes */
    T_EQ_I64(cellar_get(c, "e", 1, NULL, 0, &len), CELLAR_OK);
    T_EQ_U64(len, 0);
    len = 77;
    T_EQ_I64(cellar_get(c, "none", 4, buf, 8, &len), CELLAR_MISS);
    T_EQ_U64(len, 0);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.hits_l1, 5); /* a value that does not fit counts as a hit */
    T_EQ_U64(st.misses, 1);
}

T_CASE(values_of_any_size_are_returned_or_refused)
{
    cellar *c = api_open(64u << 20);
    static const size_t sizes[] = { 0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 1023, 1024, 1025, 4095,
                                    4096,
                                    65535, 65536, 262143, 262144, 1000000, 5000000 };
    unsigned char *want = malloc(5000000), *got = malloc(5000000);
    T_REQUIRE(want != NULL && got != NULL);
    for (size_t i = 0; i < 5000000; i++) { want[i] = (unsigned char)(i * 131 + (i >> 8)); }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t len = 0;
        void *copy;
        cellar_pinned pin;
        T_EQ_I64(cellar_set(c, &i, sizeof i, want, sizes[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, &i, sizeof i, got, 5000000, &len), CELLAR_OK);
        T_EQ_U64(len, sizes[i]);
        T_EQ_MEM(got, want, sizes[i]);
        T_EQ_I64(cellar_get_alloc(c, &i, sizeof i, &copy, &len), CELLAR_OK);
        T_CHECK(copy != NULL);
        T_EQ_U64(len, sizes[i]);
        T_EQ_MEM(copy, want, sizes[i]);
        cellar_free(copy);
        T_EQ_I64(cellar_pin(c, &i, sizeof i, &pin), CELLAR_OK);
        T_EQ_U64(pin.value_len, sizes[i]);
        T_EQ_MEM(pin.value, want, sizes[i]);
        cellar_unpin(&pin);
        T_CHECK(pin.value == NULL);
        T_EQ_U64(pin.opaque[0], 0);
        cellar_unpin(&pin); /* zeroed: nothing happens */
    }
    free(want);
    free(got);
    api_shut(c);
}

T_CASE_ON(peek_contains_and_info_count_as_no_use, STORE)
{
    char buf[8];
    cellar_entry_info i = cellar_entry_info_default();
    cellar_stats st = cellar_stats_default();
    cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 100 };
    api_put(c, "k", "v", &o);
    atomic_fetch_add(&api_now_ms, 60);
    T_EQ_I64(peek(c, "k", 1, buf, 8, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
    T_EQ_U64(i.hits, 0);
    cellar_get_opts g = { .struct_size = sizeof g, .flags = CELLAR_GET_PEEK, .info = &i };
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, NULL), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 40);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.gets, 0);
    T_EQ_STR(api_look(c, "k"), "v");
    T_EQ_I64(ttl_left(c, "k"), 100);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
    T_EQ_U64(i.hits, 1);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.gets, 1);
}

/* ---- times ---- */

T_CASE(ttl_expires_at_exact_millisecond)
{
    static const int64_t ttls[] = { 1, 2, 3, 7, 8, 9, 999, 1000, 1001, 65535, 65536, 2147483647,
                                    2147483648, 4294967295, 4294967296, 8640000000, INT64_MAX / 2 };
    for (size_t i = 0; i < sizeof ttls / sizeof ttls[0]; i++) {
        cellar *c = open_store();
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttls[i] };
        T_EQ_I64(api_put(c, "k", "v", &o), CELLAR_OK);
        T_EQ_I64(ttl_left(c, "k"), ttls[i]);
        atomic_fetch_add(&api_now_ms, ttls[i] - 1);
        T_EQ_STR(api_look(c, "k"), "v");
        T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
        atomic_fetch_add(&api_now_ms, 1);
        T_EQ_STR(api_look(c, "k"), "MISS");
        T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
        T_EQ_I64(cellar_touch(c, "k", 1, 50), CELLAR_MISS); /* a dead entry is not revived */
        T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_MISS);
        api_shut(c);
    }
}

T_CASE_ON(stale_value_is_returned_only_on_request, STORE)
{
    char buf[8];
    size_t len;
    cellar_entry_info i = cellar_entry_info_default();
    cellar_get_opts g = { .struct_size = sizeof g, .flags = CELLAR_GET_ALLOW_STALE, .info = &i };
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 50 };
    T_EQ_I64(api_put(c, "k", "v", &o), CELLAR_OK);
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, &len), CELLAR_OK);
    T_EQ_I64(i.stale_left_ms, 150);
    atomic_fetch_add(&api_now_ms, 100);
    T_EQ_STR(api_look(c, "k"), "MISS");
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, &len), CELLAR_STALE);
    T_EQ_U64(len, 1);
    T_EQ_MEM(buf, "v", 1);
    T_CHECK((i.flags & CELLAR_INFO_STALE) != 0);
    T_EQ_I64(i.ttl_left_ms, 0);
    T_EQ_I64(i.stale_left_ms, 50);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_STALE);
    g.info = NULL;
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, &len), CELLAR_STALE);
    atomic_fetch_add(&api_now_ms, 49);
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, &len), CELLAR_STALE);
    atomic_fetch_add(&api_now_ms, 1);
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, &len), CELLAR_MISS);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.stale_hits, 3);
    T_EQ_U64(st.misses, 2);
}

T_CASE_ON(clock_steps_change_nothing_between_calls, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000 };
    api_put(c, "short", "v", &o);
    api_put(c, "long", "v", NULL);
    atomic_fetch_add(&api_now_ms, INT64_C(10) * 365 * 86400 * 1000);
    T_EQ_STR(api_look(c, "short"), "MISS");
    T_EQ_STR(api_look(c, "long"), "v");
    api_put(c, "short", "w", &o);
    T_EQ_STR(api_look(c, "short"), "w");
}

/* ---- conditions ---- */

T_CASE_ON(conditional_set_follows_its_condition, STORE)
{
    uint64_t v1 = 0, v2 = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(api_put(c, "k", "x", &o), CELLAR_MISS);
    T_EQ_STR(api_look(c, "k"), "MISS");
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(api_put(c, "k", "a", &o), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "b", &o), CELLAR_EXISTS);
    T_EQ_STR(api_look(c, "k"), "a");
    o.flags = CELLAR_ONLY_IF_PRESENT;
    o.new_version = &v1;
    T_EQ_I64(api_put(c, "k", "c", &o), CELLAR_OK);
    T_CHECK(v1 != 0);
    o.flags = CELLAR_ONLY_IF_VERSION;
    o.if_version = v1 + 1;
    o.new_version = &v2;
    T_EQ_I64(api_put(c, "k", "d", &o), CELLAR_CONFLICT);
    T_EQ_STR(api_look(c, "k"), "c");
    o.if_version = v1;
    T_EQ_I64(api_put(c, "k", "d", &o), CELLAR_OK);
    T_CHECK(v2 > v1);
    T_EQ_I64(api_put(c, "k", "e", &o), CELLAR_CONFLICT); /* v1 is dead */
    T_EQ_STR(api_look(c, "k"), "d");
    cellar_delete(c, "k", 1);
    o.if_version = v2;
    T_EQ_I64(api_put(c, "k", "f", &o), CELLAR_CONFLICT);
    api_put(c, "k", "d", NULL); /* the same bytes again are another version: no ABA */
    T_EQ_I64(api_put(c, "k", "f", &o), CELLAR_CONFLICT);
}

T_CASE_ON(version_is_returned_on_request, STORE)
{
    cellar_entry_info i = cellar_entry_info_default();
    api_put(c, "k", "a", NULL);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
    T_CHECK((i.flags & CELLAR_INFO_VERSION) == 0);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &i), CELLAR_OK);
    T_CHECK((i.flags & CELLAR_INFO_VERSION) != 0);
    const uint64_t version = i.version;
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &i), CELLAR_OK);
    T_EQ_U64(i.version, version);
    T_EQ_STR(api_look(c, "k"), "a");
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_VERSION,
                          .if_version = version };
    T_EQ_I64(api_put(c, "k", "b", &o), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "c", &o), CELLAR_CONFLICT);
    T_EQ_I64(cellar_entry_info_get(c, "none", 4, CELLAR_GET_WANT_VERSION, &i), CELLAR_MISS);
    char buf[8];
    cellar_get_opts g = { .struct_size = sizeof g, .flags = CELLAR_GET_WANT_VERSION, .info = &i };
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, 8, NULL), CELLAR_OK);
    T_CHECK(i.version > version);
}

static uint32_t taken(cellar *c, cellar_err want)
{
    cellar_entry_info i = { .struct_size = sizeof i, .hits = 9 };
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_TAKE_HITS, &i), want);
    return i.hits;
}
T_CASE_ON(hits_are_taken_once_also_of_an_expired_entry, STORE)
{
    T_EQ_U64(taken(c, CELLAR_MISS), 0);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000 };
    api_put(c, "k", "a", &o);
    (void)taken(c, CELLAR_OK);
    T_EQ_U64(taken(c, CELLAR_OK), 0);
    T_EQ_STR(api_look(c, "k"), "a");
    T_EQ_U64(taken(c, CELLAR_OK), 1);
    T_EQ_U64(taken(c, CELLAR_OK), 0);
    T_EQ_STR(api_look(c, "k"), "a");
    atomic_fetch_add(&api_now_ms, 1000);
    T_EQ_U64(taken(c, CELLAR_MISS), 1);
}

T_CASE_ON(keep_ttl_keeps_remaining_ttl, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000 };
    api_put(c, "k", "a", &o);
    atomic_fetch_add(&api_now_ms, 300);
    o.flags = CELLAR_KEEP_TTL;
    o.ttl_ms = 50;
    T_EQ_I64(api_put(c, "k", "b", &o), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 700);
    T_EQ_I64(api_put(c, "k", "a longer value than before", &o), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 700);
    T_EQ_I64(api_put(c, "new", "b", &o), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "new"), 50);
    T_EQ_I64(api_put(c, "k", "b", NULL), CELLAR_OK); /* a plain set drops it, as Redis' SET does */
    T_EQ_I64(ttl_left(c, "k"), CELLAR_TTL_NONE);
    T_EQ_I64(api_put(c, "k", "c", &o), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), CELLAR_TTL_NONE);
}

/* ---- counters, updates ---- */

T_CASE_ON(increment_follows_its_contract, STORE)
{
    int64_t n = 99;
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, COUNTER_PRESENT, &n), CELLAR_MISS);
    T_EQ_I64(n, 99);
    /* created with its TTL */
    T_EQ_I64(cellar_increment(c, "n", 1, 3, 10, COUNTER_OPTS(500, 0), &n), CELLAR_OK);
    T_EQ_I64(n, 13);
    T_EQ_I64(ttl_left(c, "n"), 500);
    atomic_fetch_add(&api_now_ms, 100);
    T_EQ_I64(cellar_increment(c, "n", 1, -20, 10, COUNTER_OPTS(900, 0), &n), CELLAR_OK);
    T_EQ_I64(n, -7);
    T_EQ_I64(ttl_left(c, "n"), 400);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, COUNTER_PRESENT, NULL), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 400);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_OK); /* starts a new entry */
    T_EQ_I64(n, 1);
    T_EQ_I64(ttl_left(c, "n"), CELLAR_TTL_NONE);
    static const char *const no_number[] = { "abc", " 5", "05", "-0", "+5", "", "1.5" };
    for (size_t i = 0; i < sizeof no_number / sizeof no_number[0]; i++) {
        api_put(c, "t", no_number[i], NULL);
        T_EQ_I64(cellar_increment(c, "t", 1, 1, 0, NULL, &n), CELLAR_E_TYPE);
        T_EQ_STR(api_look(c, "t"), no_number[i]);
    }
    n = INT64_MAX - 1;
    T_EQ_I64(cellar_set(c, "m", 1, &n, 8, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "m", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "m", 1, 1, 0, NULL, &n), CELLAR_E_RANGE);
    T_EQ_I64(n, INT64_MAX);
    T_EQ_I64(cellar_increment(c, "m", 1, INT64_MIN, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, -1);
    T_EQ_I64(cellar_increment(c, "m", 1, INT64_MIN, 0, NULL, &n), CELLAR_E_RANGE);
    T_EQ_I64(n, INT64_MIN);
    T_EQ_I64(cellar_increment(c, "z", 1, 1, INT64_MAX, NULL, &n), CELLAR_E_RANGE); /* a new one */
    T_EQ_I64(cellar_increment(c, "z", 1, 0, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, INT64_MAX);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(c, "g", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "g", 1, 5, 1, COUNTER_PRESENT, &n), CELLAR_MISS);
    T_EQ_I64(cellar_increment(c, "g", 1, 5, 1, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 6);
}

/* A new counter has the options of the call, as an entry that cellar_set stores; a live one keeps
 * its own. */
T_CASE_ON(increment_options_belong_to_a_new_counter, STORE)
{
    const cellar_bytes tag = { "t", 1 }, other = { "u", 1 };
    cellar_entry_info i = cellar_entry_info_default();
    int64_t n = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 5000, .tags = &tag, .tag_count = 1,
                          .user_flags = 7 };
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 1, &o, &n), CELLAR_OK);
    T_EQ_I64(n, 2);
    o.tags = &other;
    o.user_flags = 8;
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 1, &o, &n), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 1, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 4);
    T_EQ_I64(cellar_entry_info_get(c, "n", 1, 0, &i), CELLAR_OK);
    T_EQ_U64(i.user_flags, 7);
    T_EQ_I64(ttl_left(c, "n"), 5000);
    T_EQ_I64(cellar_delete_by_tag(c, "u", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "n", 1), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "n", 1), CELLAR_MISS);
}

typedef struct script { /* actions of an update function, round by round */
    cellar *c;
    unsigned runs, interfere;
    cellar_err answer;
    const char *seen;
} script;

static cellar_err run_script(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    script *s = ctx;
    s->seen = old == NULL ? "(none)" : "";
    if (s->runs++ < s->interfere) { api_put(s->c, "k", s->runs % 2 ? "odd" : "even", NULL); }
    if (old != NULL) { T_EQ_I64(cellar_buf_append(out, old, old_len), CELLAR_OK); }
    T_EQ_I64(cellar_buf_append(out, "+", 1), CELLAR_OK);
    return s->answer;
}

T_CASE_ON(update_follows_its_contract, STORE)
{
    script s = { c, 0, 0, CELLAR_OK, NULL };
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(cellar_update(c, "k", 1, &o, run_script, &s), CELLAR_MISS);
    T_EQ_U64(s.runs, 0);
    T_EQ_I64(cellar_update(c, "k", 1, NULL, run_script, &s), CELLAR_OK);
    T_EQ_STR(s.seen, "(none)");
    T_EQ_STR(api_look(c, "k"), "+");
    o.flags = 0;
    o.ttl_ms = 400;
    T_EQ_I64(cellar_update(c, "k", 1, &o, run_script, &s), CELLAR_OK);
    T_EQ_STR(api_look(c, "k"), "++");
    T_EQ_I64(ttl_left(c, "k"), 400);
    atomic_fetch_add(&api_now_ms, 100);
    o.flags = CELLAR_KEEP_TTL;
    T_EQ_I64(cellar_update(c, "k", 1, &o, run_script, &s), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 300);
    s.answer = CELLAR_E_IO; /* the code of the function is returned, nothing changes */
    T_EQ_I64(cellar_update(c, "k", 1, NULL, run_script, &s), CELLAR_E_IO);
    s.answer = CELLAR_CONFLICT;
    s.runs = 0;
    T_EQ_I64(cellar_update(c, "k", 1, NULL, run_script, &s), CELLAR_CONFLICT);
    T_EQ_U64(s.runs, 1);
    T_EQ_STR(api_look(c, "k"), "+++");
    s = (script){ c, 0, 3, CELLAR_OK, NULL }; /* three writers change the entry meanwhile */
    T_EQ_I64(cellar_update(c, "k", 1, NULL, run_script, &s), CELLAR_OK);
    T_EQ_U64(s.runs, 4);
    T_EQ_STR(api_look(c, "k"), "odd+");
    s = (script){ c, 0, 1000, CELLAR_OK, NULL };
    T_EQ_I64(cellar_update(c, "k", 1, NULL, run_script, &s), CELLAR_E_BUSY);
    T_EQ_U64(s.runs, 64);
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "g", 1, NULL, 0, &o), CELLAR_OK);
    s = (script){ c, 0, 0, CELLAR_OK, NULL };
    T_EQ_I64(cellar_update(c, "g", 1, NULL, run_script, &s), CELLAR_OK);
    T_EQ_STR(s.seen, "(none)");
}

/* Append the given parts to the buffer and ignore the codes. */
static cellar_err misuse(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *p;
    (void)old, (void)old_len;
    T_EQ_I64(cellar_buf_append(out, "half", 4), CELLAR_OK);
    if (*(const int *)ctx == 0) { T_EQ_I64(cellar_buf_append(out, NULL, 3), CELLAR_E_INVAL); }
    if (*(const int *)ctx == 1) { T_EQ_I64(cellar_buf_resize(out, 5, NULL), CELLAR_E_INVAL); }
    if (*(const int *)ctx == 2) {
        T_EQ_I64(cellar_buf_append(out, "x", SIZE_MAX), CELLAR_E_TOOBIG);
        T_EQ_I64(cellar_buf_append(out, NULL, 3), CELLAR_E_TOOBIG); /* the first code counts */
        T_EQ_I64(cellar_buf_resize(out, 5, NULL), CELLAR_E_TOOBIG);
    }
    const cellar_err first = *(const int *)ctx == 2 ? CELLAR_E_TOOBIG : CELLAR_E_INVAL;
    T_EQ_I64(cellar_buf_append(out, "whole", 5), first);
    T_EQ_I64(cellar_buf_resize(out, 4, &p), first);
    return CELLAR_OK;
}

T_CASE_ON(update_fails_when_its_buffer_refused_bytes, STORE)
{
    api_put(c, "k", "stays", NULL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(cellar_update(c, "k", 1, NULL, misuse, &i),
                 i == 2 ? CELLAR_E_TOOBIG : CELLAR_E_INVAL);
        T_EQ_STR(api_look(c, "k"), "stays");
    }
}

/* ---- scan ---- */

typedef struct seen { /* numbered keys that a scan visited */
    cellar *c;
    unsigned char count[5000];
    unsigned calls, stop_after;
    int mode;
} seen;

static bool note_entry(const cellar_scan_entry *e, void *ctx)
{
    seen *s = ctx;
    int i;
    T_EQ_U64(e->key_len, sizeof i);
    memcpy(&i, e->key, sizeof i);
    if (!T_CHECK(i >= 0 && i < 5000)) { return false; }
    if (s->count[i] < 255) { s->count[i]++; }
    if (s->mode == 1) { T_EQ_I64(cellar_delete(s->c, e->key, e->key_len), CELLAR_OK); }
    if (s->mode == 2) {
        int more = i + 2500;
        if (i < 2500) { T_EQ_I64(cellar_set(s->c, &more, sizeof more, "x", 1, NULL), CELLAR_OK); }
    }
    return ++s->calls != s->stop_after;
}

T_CASE_ON(scan_visits_every_entry, STORE)
{
    seen *s = calloc(1, sizeof *s);
    T_REQUIRE(s != NULL);
    s->c = c;
    for (int i = 0; i < 2500; i++) { cellar_set(c, &i, sizeof i, "x", 1, NULL); }
    uint64_t cursor = 0;
    unsigned steps = 0;
    do {
        s->stop_after = s->calls + 1; /* stopping after each entry loses nothing */
        T_EQ_I64(cellar_scan(c, &cursor, SCAN(NULL, 0, 16), note_entry, s), CELLAR_OK);
        T_REQUIRE(++steps < 100000);
    } while (cursor != 0);
    for (int i = 0; i < 2500; i++) { T_CHECK(s->count[i] >= 1); }
    T_CHECK(steps > 16);
    memset(s, 0, sizeof *s);
    s->c = c;
    s->mode = 2; /* sets during the scan: the index splits */
    do {
        T_EQ_I64(cellar_scan(c, &cursor, NULL, note_entry, s), CELLAR_OK);
    } while (cursor != 0);
    for (int i = 0; i < 2500; i++) { T_CHECK(s->count[i] >= 1); }
    memset(s, 0, sizeof *s);
    s->c = c;
    s->mode = 1;
    do {
        T_EQ_I64(cellar_scan(c, &cursor, NULL, note_entry, s), CELLAR_OK);
    } while (cursor != 0);
    T_EQ_U64(s->calls, 5000);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.entries, 0);
    free(s);
}

typedef struct told {
    unsigned entries, negative;
    size_t bytes;
    int64_t ttl;
    uint32_t flags;
} told;

static bool sum_entry(const cellar_scan_entry *e, void *ctx)
{
    told *t = ctx;
    t->entries++;
    t->negative += e->kind == CELLAR_KIND_NEGATIVE;
    t->bytes += e->value_len;
    t->ttl = e->ttl_left_ms;
    t->flags |= e->user_flags;
    return true;
}

T_CASE_ON(scan_matches_pattern_and_describes_entries, STORE)
{
    uint64_t cursor = 0;
    told t = { 0, 0, 0, 0, 0 };
    api_put(c, "user:1", "one", NULL);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 500, .user_flags = 6 };
    api_put(c, "user:2", "three", &o);
    api_put(c, "group:1", "x", NULL);
    T_EQ_I64(cellar_scan(c, &cursor, SCAN("user:*", 6, 100000), sum_entry, &t), CELLAR_OK);
    T_EQ_U64(cursor, 0);
    T_EQ_U64(t.entries, 2);
    T_EQ_U64(t.bytes, 8);
    T_EQ_U64(t.flags, 6);
    atomic_fetch_add(&api_now_ms, 500);
    t = (told){ 0, 0, 0, 0, 0 };
    T_EQ_I64(cellar_scan(c, &cursor, SCAN("*:[1-2]", 7, 100000), sum_entry, &t), CELLAR_OK);
    T_EQ_U64(t.entries, 2); /* user:2 has expired */
    cellar_clear(c);
    t = (told){ 0, 0, 0, 0, 0 };
    T_EQ_I64(cellar_scan(c, &cursor, SCAN(NULL, 0, 100000), sum_entry, &t), CELLAR_OK);
    T_EQ_U64(t.entries, 0);
}

/* ---- options at run time, hooks ---- */

T_CASE(options_change_at_run_time)
{
    cellar *c = api_open(16u << 20), *v;
    int64_t value = 0;
    char bytes[1000] = { 0 };
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    for (int i = 0; i < 10000; i++) { cellar_set(c, &i, sizeof i, bytes, sizeof bytes, NULL); }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 4 << 20), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= 4u << 20);
    T_EQ_U64(st.budget_bytes, 4u << 20);
    T_CHECK(st.entries > 500);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_MEMORY_BYTES, &value), CELLAR_OK);
    T_EQ_I64(value, 4 << 20);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 32 << 20), CELLAR_OK);
    for (int i = 0; i < 10000; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, bytes, sizeof bytes, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.entries == 10000);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, INT64_C(1) << 50), CELLAR_E_RANGE);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAX_ENTRIES, 100), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.entries <= 100);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_MAX_ENTRIES, &value), CELLAR_OK);
    T_EQ_I64(value, 100);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAX_ENTRIES, 0), CELLAR_OK);
    for (int rule = CELLAR_EVICT_ADAPTIVE; rule <= CELLAR_EVICT_FIFO; rule++) {
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_EVICTION, rule), CELLAR_OK);
        T_EQ_I64(cellar_option_get(c, CELLAR_OPT_EVICTION, &value), CELLAR_OK);
        T_EQ_I64(value, rule);
    }
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, CELLAR_TTL_NONE);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_DEFAULT_TTL_MS, 250), CELLAR_OK);
    T_EQ_I64(api_put(v, "k", "x", NULL), CELLAR_OK);
    T_EQ_I64(ttl_left(v, "k"), 250);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, CELLAR_TTL_NONE);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_DEFAULT_TTL_MS, 0), CELLAR_OK);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_DEFAULT_TTL_MS, &value), CELLAR_OK);
    T_EQ_I64(value, CELLAR_TTL_NONE);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_STALE_MS, 70), CELLAR_OK);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_IDLE_MS, 80), CELLAR_OK);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_MAX_AGE_MS, 90), CELLAR_OK);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_NEGATIVE_TTL_MS, 60), CELLAR_OK);
    const cellar_option of[] = { CELLAR_OPT_NEGATIVE_TTL_MS, CELLAR_OPT_STALE_MS,
                                 CELLAR_OPT_IDLE_MS, CELLAR_OPT_MAX_AGE_MS };
    for (int i = 0; i < 4; i++) {
        T_EQ_I64(cellar_option_get(v, of[i], &value), CELLAR_OK);
        T_EQ_I64(value, 60 + 10 * i);
    }
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_MAINTENANCE_THREAD, &value), CELLAR_OK);
    T_EQ_I64(value, 0);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 1), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 1), CELLAR_OK);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_MAINTENANCE_THREAD, &value), CELLAR_OK);
    T_EQ_I64(value, 1);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 0), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

static size_t hook_blocks, hook_bytes;

static void *hook_alloc(size_t size, void *ctx)
{
    T_CHECK(ctx == &hook_blocks);
    hook_blocks++;
    hook_bytes += size;
    return malloc(size);
}

static void hook_free(void *block, size_t size, void *ctx)
{
    T_CHECK(ctx == &hook_blocks);
    hook_blocks--;
    hook_bytes -= size;
    free(block);
}

T_CASE(allocator_of_host_is_used)
{
    cellar *c = NULL, *v = NULL;
    void *copy;
    size_t len;
    char *big = calloc(1, 300000);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.no_threads = 1,
                     .host.alloc = hook_alloc, .host.free = hook_free,
                     .host.alloc_ctx = &hook_blocks };
    T_REQUIRE(big != NULL && settings_open(&cfg, &c) == CELLAR_OK);
    T_CHECK(hook_blocks > 0);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    T_EQ_I64(cellar_set(v, "k", 1, big, 300000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_alloc(v, "k", 1, &copy, &len), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(hook_blocks, 1); /* the blocks that the caller holds */
    cellar_free(copy);
    T_EQ_U64(hook_blocks, 0);
    T_EQ_U64(hook_bytes, 0);
    free(big);
}

/* cellar_get_alloc allocates between its two reads of the entry: there the value changes. */
static cellar *dup_store;
static size_t dup_next_len;

static void *alloc_and_change(size_t size, void *ctx)
{
    static char value[20000];
    void *block = hook_alloc(size, ctx);
    cellar *c = dup_store;
    if (c != NULL) {
        dup_store = NULL; /* once */
        if (dup_next_len == 0) {
            T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
        } else {
            memset(value, 'n', sizeof value);
            T_EQ_I64(cellar_set(c, "k", 1, value, dup_next_len, NULL), CELLAR_OK);
        }
    }
    return block;
}

T_CASE(get_alloc_returns_value_changed_during_allocation)
{
    cellar *c;
    static char value[20000];
    /* longer, shorter, almost as long, absent */
    static const size_t next[4] = { 9000, 20, 700, 0 };
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.no_threads = 1,
                     .host.alloc = alloc_and_change, .host.free = hook_free,
                     .host.alloc_ctx = &hook_blocks };
    hook_blocks = hook_bytes = 0;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    memset(value, 'o', sizeof value);
    T_EQ_I64(cellar_set(c, "k", 1, value, 600, NULL), CELLAR_OK);
    /* At least one call in 127 is timed, and the first of its kind allocates a histogram: do this
     * now, so that the counted blocks are the copies'. */
    for (int i = 0; i < 300; i++) { T_EQ_I64(cellar_set(c, "k", 1, value, 600, NULL), CELLAR_OK); }
    for (int i = 0; i < 300; i++) { (void)cellar_get(c, "k", 1, NULL, 0, NULL); }
    for (int i = 0; i < 300; i++) { (void)cellar_get(c, "none", 4, NULL, 0, NULL); }
    for (int i = 0; i < 300; i++) { T_EQ_I64(cellar_delete(c, "none", 4), CELLAR_MISS); }
    const size_t before = hook_blocks;
    for (int i = 0; i < 4; i++) {
        void *copy = &cfg;
        size_t len = 99;
        T_EQ_I64(cellar_set(c, "k", 1, value, 600, NULL), CELLAR_OK);
        dup_next_len = next[i];
        dup_store = c;
        const cellar_err err = cellar_get_alloc(c, "k", 1, &copy, &len);
        T_CHECK(dup_store == NULL); /* it did change meanwhile */
        T_EQ_I64(err, next[i] == 0 ? CELLAR_MISS : CELLAR_OK);
        T_EQ_U64(len, next[i]);
        if (err == CELLAR_OK) {
            T_EQ_U64(((char *)copy)[0], 'n');
            T_EQ_U64(((char *)copy)[len - 1], 'n');
            T_EQ_U64(hook_blocks, before + 1);
        }
        cellar_free(copy);
        T_EQ_U64(hook_blocks, before);
    }
    api_shut(c);
    T_EQ_U64(hook_blocks, 0);
}

typedef struct lines {
    unsigned count[6];
    char last[200];
    cellar *c;
} lines;

static void take_line(cellar_log_level level, const char *module, cellar_err code, const char *text,
                      void *ctx)
{
    lines *l = ctx;
    (void)code;
    T_CHECK(level >= CELLAR_LOG_ERROR && level <= CELLAR_LOG_DEBUG);
    T_CHECK(strstr(text, "secret") == NULL); /* neither keys nor values */
    l->count[level]++;
    snprintf(l->last, sizeof l->last, "%s: %s", module, text);
    if (l->c != NULL) { (void)cellar_contains(l->c, "x", 1); } /* no lock is held */
}

T_CASE(log_is_quiet_by_default)
{
    cellar *c;
    lines l = { { 0 }, "", NULL };
    char buf[8];
    int64_t level;
    atomic_store(&api_now_ms, 1000);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2u << 20,
                     .tuning.max_value_bytes = 100000, .host.no_threads = 1,
                     .host.clock = api_clock, .host.log = take_line, .host.log_ctx = &l };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    l.c = c;
    api_put(c, "secret-key", "secret-value", NULL);
    (void)api_look(c, "secret-key");
    (void)api_look(c, "secret-none");
    T_EQ_U64(l.count[CELLAR_LOG_INFO] + l.count[CELLAR_LOG_DEBUG], 0);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_DEBUG), CELLAR_OK);
    T_EQ_STR(api_look(c, "secret-key"), "secret-value");
    T_EQ_STR(api_look(c, "secret-none"), "MISS");
    T_EQ_U64(l.count[CELLAR_LOG_DEBUG], 1); /* a hit */
    T_EQ_U64(l.count[CELLAR_LOG_INFO], 1);  /* a miss */
    for (int i = 0; i < 100; i++) { (void)cellar_get(c, "secret-none", 11, buf, 8, NULL); }
    T_EQ_U64(l.count[CELLAR_LOG_INFO], 1); /* equal lines once a second */
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_LOG_LEVEL, &level), CELLAR_OK);
    T_EQ_I64(level, CELLAR_LOG_DEBUG);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_OFF), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 5000);
    (void)api_look(c, "secret-none");
    T_EQ_U64(l.count[CELLAR_LOG_INFO], 1);
    api_shut(c);
}

T_CASE(same_hash_key_gives_same_hashes)
{
    static const uint8_t secret[32] = { 1, 2, 3 };
    uint64_t order[2][3] = { { 0 } };
    for (uint32_t hash = CELLAR_HASH_DEFAULT; hash <= CELLAR_HASH_SIPHASH13; hash++) {
        for (int run = 0; run < 2; run++) {
            cellar *c;
            uint64_t cursor = 0, digest = 0;
            seen *s = calloc(1, sizeof *s);
            T_REQUIRE(s != NULL);
            settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.no_threads = 1,
                             .tuning.hash = hash, .tuning.hash_key = secret };
            T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
            for (int i = 0; i < 1000; i++) { cellar_set(c, &i, sizeof i, "x", 1, NULL); }
            do {
                T_EQ_I64(cellar_scan(c, &cursor, SCAN(NULL, 0, 1), note_entry, s), CELLAR_OK);
                digest = digest * 31 + s->calls;
            } while (cursor != 0);
            order[run][hash] = digest;
            free(s);
            api_shut(c);
        }
        T_EQ_U64(order[0][hash], order[1][hash]);
    }
    T_CHECK(order[0][0] != order[0][1]);
}

T_CASE(small_budgets_hold_mostly_payload)
{
    cellar *c;
    static char value[1000];
    uint64_t payload = 0;
    cellar_stats st = cellar_stats_default();
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = CELLAR_MEMORY_MIN,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (int i = 0; i < 3000; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
        if (!T_CHECK(st.used_bytes <= CELLAR_MEMORY_MIN)) { break; }
    }
    payload = st.entries * (sizeof value + sizeof(int));
    T_CHECK(payload >= CELLAR_MEMORY_MIN / 10 * 6);
    printf("# 1 MiB holds %llu bytes of payload\n", (unsigned long long)payload);
    api_shut(c);
}

static cellar_err dump(void *c, char *buf, size_t cap, size_t *len)
{
    return cellar_dump_write(c, buf, cap, len);
}

T_CASE_ON(text_that_does_not_fit_returns_its_length, STORE)
{
    static char text[100000], part[100];
    size_t need = 0, len = 0;
    cellar_err (*const writer[])(void *, char *, size_t, size_t *) = {
        cellar_metrics_write, dump, cellar_stats_json
    };
    api_put(c, "private-key", "private-value", NULL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(writer[i](c, NULL, 0, &need), CELLAR_E_BUFFER);
        T_CHECK(need > 100 && need < sizeof text);
        T_EQ_I64(writer[i](c, part, sizeof part, &len), CELLAR_E_BUFFER);
        T_EQ_U64(strlen(part), sizeof part - 1);
        T_EQ_I64(writer[i](c, text, need + 1, &len), CELLAR_OK);
        T_EQ_U64(strlen(text), len);
        T_CHECK(strstr(text, "private") == NULL);
    }
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "# TYPE cellar_hits_total counter") != NULL);
}

T_CASE_ON(tags_are_stored_and_returned, STORE)
{
    cellar_entry_info i = cellar_entry_info_default();
    const cellar_bytes tags[2] = { { "red", 3 }, { "green", 5 } };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = tags, .tag_count = 2, .cost_us = 1500 };
    T_EQ_I64(api_put(c, "k", "v", &o), CELLAR_OK);
    T_EQ_STR(api_look(c, "k"), "v");
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
    T_CHECK((i.flags & CELLAR_INFO_TAGGED) != 0);
    T_CHECK(i.cost_us >= 1400 && i.cost_us <= 1600);
    static const uint32_t costs[] = { 1, 2, 3, 10, 100, 12345, 1000000, UINT32_MAX };
    for (size_t j = 0; j < sizeof costs / sizeof costs[0]; j++) {
        o.cost_us = costs[j];
        T_EQ_I64(api_put(c, "k", "v", &o), CELLAR_OK);
        T_EQ_I64(cellar_entry_info_get(c, "k", 1, 0, &i), CELLAR_OK);
        const double ratio = (double)i.cost_us / costs[j];
        T_CHECK(ratio > 0.87 && ratio < 1.07);
    }
}

T_MAIN("api_semantics")
