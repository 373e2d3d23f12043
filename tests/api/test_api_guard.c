/* SPDX-License-Identifier: MIT
 *
 * Aim:    The parts between loads and a failing source: filter, breaker, fallbacks, default values,
 *         write-through, warm-up, memoized functions, and cellar_why.
 * Method: Sources with prepared answers, on a clock of the test (load_kit.h). */
#include "tests/support/bloom_kit.h"
#include "tests/support/load_kit.h"
#include "tests/support/figures.h"
#include "tests/support/said.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

static cellar_bloom_info bloom_info(cellar *c)
{
    cellar_bloom_info i = cellar_bloom_info_default();
    T_EQ_I64(cellar_bloom_info_get(c, &i), CELLAR_OK);
    return i;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(8 << 20), kit_close(c))
#define STORE2(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))

/* ---- filter ---- */

/* The seed asks its empty filter before the source and answers None to every call. */
T_CASE_ON(bloom_seed_bug_with_loads, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_result r;
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_I64(kit_load(c, "user:7", NULL, &s, text, &r), CELLAR_OK); /* the source has the key */
    T_EQ_U64(r.source, CELLAR_SOURCE_LOADED);
    T_EQ_U64(bloom_info(c).unknown_keys_found, 1);
    T_EQ_I64(cellar_delete(c, "user:7", 6), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    T_EQ_I64(kit_load(c, "user:7", NULL, &s, text, &r), CELLAR_OK); /* the load added the key */
    T_EQ_I64(kit_load(c, "user:8", NULL, &s, text, &r), CELLAR_ABSENT);
    T_EQ_U64(r.source, CELLAR_SOURCE_BLOOM);
    r.buf = text; /* room of the caller: there is no value in it */
    r.buf_cap = sizeof text;
    T_EQ_I64(cellar_get_or_load(c, "user:8", 6, NULL, source_load, &s, &r), CELLAR_ABSENT);
    T_CHECK(r.value == NULL);
    T_EQ_I64(atomic_load(&s.calls), 2);
}

/* The owner declared an empty source that was not empty. Audits, one load in 1,024, detect it. */
T_CASE_ON(bloom_audit_revokes_false_authority, STORE)
{
    source s = SOURCE_INIT;
    char text[64], key[32];
    T_EQ_I64(bloom_size(c, 100000), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    int i = 0;
    for (; i < 100000 && bloom_info(c).doubts == 0; i++) {
        snprintf(key, sizeof key, "user:%d", i);
        const cellar_err err = kit_load(c, key, NULL, &s, text, NULL);
        T_CHECK(err == CELLAR_ABSENT || err == CELLAR_OK);
    }
    const cellar_bloom_info info = bloom_info(c);
    T_EQ_U64(info.state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(info.doubt, CELLAR_BLOOM_DOUBT_FOUND);
    T_CHECK(info.check_loads >= 1 && i < 40000);
    T_EQ_I64(kit_load(c, "user:1", NULL, &s, text, NULL), CELLAR_OK); /* now the key is loaded */
}

static cellar_err load_all(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
    for (size_t i = 0; i < count; i++) {
        if (loader_value(ld, i, keys[i].data, keys[i].len) != CELLAR_OK) {
            return CELLAR_E_NOMEM;
        }
    }
    return CELLAR_OK;
}

T_CASE_ON(flood_of_absent_keys_calls_no_loader, STORE)
{
    source s = SOURCE_INIT;
    char text[64], key[32];
    cellar_load_opts o = cellar_load_opts_default();
    T_EQ_I64(bloom_size(c, 10000), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "here", 4, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    atomic_store(&s.say, SAY_NONE);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "absent:%d", i);
        o.soft_timeout_ms = i & 1; /* with options and without */
        T_EQ_I64(kit_load(c, key, i & 1 ? &o : NULL, &s, text, NULL), CELLAR_ABSENT);
    }
    const cellar_bloom_info info = bloom_info(c);
    T_EQ_U64(info.rejects + info.check_loads, 20000);
    T_EQ_U64((uint64_t)atomic_load(&s.calls), info.check_loads);
    T_CHECK(info.check_loads < 60);
    T_EQ_I64(kit_load(c, "here", NULL, &s, text, NULL), CELLAR_OK);
    _Atomic int calls = 0;
    cellar_load_item items[2] = { { "absent:1", 8, fresh_result(), CELLAR_OK, 0 },
                                  { "here", 4, fresh_result(), CELLAR_OK, 0 } };
    T_EQ_I64(cellar_get_or_load_many(c, items, 2, NULL, load_all, &calls), CELLAR_OK);
    T_EQ_I64(items[0].status, atomic_load(&calls) == 0 ? CELLAR_ABSENT : CELLAR_OK);
    T_EQ_I64(items[1].status, CELLAR_OK);
    cellar_result_free(items[0].result);
    cellar_result_free(items[1].result);
    /* a call that does not read the cache does not ask the filter */
    o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_REFRESH;
    const int before = atomic_load(&s.calls);
    T_EQ_I64(kit_load(c, "absent:2", &o, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&s.calls), before + 1);
}

/* ---- breaker ---- */

T_CASE_ON(open_breaker_stops_loads_and_serves_stale, STORE)
{
    source s = SOURCE_INIT;
    char text[64], key[16];
    cellar_result r;
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 3,
                                 .half_open_successes = 1, .open_ms = 1000 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .breaker = &bo, .default_ttl_ms = 100,
                                   .stale_ms = 1000000 };
    cellar *v = space_with(c, "v", &vo);
    T_EQ_I64(kit_load(v, "old", NULL, &s, text, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 200);
    atomic_store(&s.say, SAY_FAIL);
    for (int i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "k%d", i);
        T_EQ_I64(kit_load(v, key, NULL, &s, text, NULL), CELLAR_E_LOADER);
    }
    const int calls = atomic_load(&s.calls);
    T_EQ_I64(kit_load(v, "k9", NULL, &s, text, &r), CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(kit_load(v, "old", NULL, &s, text, &r), CELLAR_STALE);
    T_EQ_STR(text, "1");
    T_EQ_U64(r.source, CELLAR_SOURCE_STALE_IF_ERROR);
    T_EQ_I64(atomic_load(&s.calls), calls);
    _Atomic int many = 0;
    cellar_load_item item = { "k8", 2, fresh_result(), CELLAR_OK, 0 };
    T_EQ_I64(cellar_get_or_load_many(v, &item, 1, NULL, load_all, &many), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(atomic_load(&many), 0);
    cellar_result_free(item.result);
    /* the breaker of another namespace is closed */
    T_EQ_I64(kit_load(c, "k9", NULL, &s, text, NULL), CELLAR_E_LOADER);
    atomic_fetch_add(&kit_now_ms, 1001);
    atomic_store(&s.say, SAY_NONE); /* "absent" is an answer of a healthy source */
    T_EQ_I64(kit_load(v, "k9", NULL, &s, text, NULL), CELLAR_ABSENT);
    atomic_store(&s.say, SAY_VALUE);
    T_EQ_I64(kit_load(v, "k8", NULL, &s, text, NULL), CELLAR_OK);
}

static cellar *open_logged(void)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2u << 20, .host.no_threads = 1,
                     .host.clock = kit_clock, .host.log = listen_to };
    atomic_store(&kit_now_ms, 1000000);
    said[0] = '\0';
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

#define LOGGED(fn) T_WITH(fn, cellar *c, c, open_logged(), kit_close(c))

static cellar_breaker_info breaker_info(cellar_breaker *b)
{
    cellar_breaker_info i = cellar_breaker_info_default();
    T_EQ_I64(cellar_breaker_info_get(b, &i), CELLAR_OK);
    return i;
}

static void fail(cellar_breaker *b, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        uint32_t pass = 0;
        T_EQ_I64(cellar_breaker_allow(b, &pass), CELLAR_OK);
        T_EQ_I64(cellar_breaker_record(b, pass, CELLAR_BREAKER_FAILURE), CELLAR_OK);
    }
}

T_CASE(breaker_uses_clock_of_its_store)
{
    cellar *c = open_logged();
    cellar_breaker *b = NULL;
    uint32_t pass;
    cellar_breaker_config o = { .struct_size = sizeof o, .consecutive_failures = 2,
                                .half_open_successes = 1, .open_ms = 100 };
    T_EQ_I64(cellar_breaker_create(c, &o, &b), CELLAR_OK);
    fail(b, 2);
    T_EQ_U64(breaker_info(b).state, CELLAR_BREAKER_OPEN);
    T_EQ_I64(lines_with("\n"), 1);
    const int64_t wait = breaker_info(b).retry_after_ms;
    T_CHECK(wait >= 1 && wait <= 100);
    T_EQ_I64(cellar_breaker_allow(b, &pass), CELLAR_E_BREAKER_OPEN);
    atomic_fetch_add(&kit_now_ms, wait);
    T_EQ_I64(cellar_breaker_allow(b, &pass), CELLAR_OK);
    T_EQ_U64(breaker_info(b).state, CELLAR_BREAKER_HALF_OPEN);
    T_EQ_I64(cellar_breaker_record(b, pass, CELLAR_BREAKER_SUCCESS), CELLAR_OK);
    const cellar_breaker_info i = breaker_info(b);
    T_FIELDS(i, state, CELLAR_BREAKER_CLOSED, calls, 3, failures, 2, rejects, 1, opens, 1);
    static char text[100000];
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "cellar_breaker_opens_total 1\n") != NULL);
    T_CHECK(strstr(text, "cellar_breaker_rejects_total 1\n") != NULL);
    fail(b, 2);
    T_EQ_I64(cellar_breaker_reset(b), CELLAR_OK);
    T_EQ_U64(breaker_info(b).state, CELLAR_BREAKER_CLOSED);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    fail(b, 2); /* the breaker outlives the store */
    T_EQ_U64(breaker_info(b).state, CELLAR_BREAKER_OPEN);
    cellar_breaker_destroy(b);
}

T_CASE_ON(breaker_outlives_dropped_namespace, LOGGED)
{
    cellar *v = space_with(c, "v", NULL);
    cellar_breaker *b = NULL;
    T_EQ_I64(cellar_breaker_create(v, NULL, &b), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    fail(b, 5);
    T_EQ_U64(breaker_info(b).state, CELLAR_BREAKER_OPEN);
    cellar_breaker_destroy(b);
}

/* Options: see bounds_of_stores_namespaces_and_breakers_are_exact. */
T_CASE_ON(bad_input_of_breakers, LOGGED)
{
    cellar *v = NULL;
    cellar_breaker *b = NULL;
    uint32_t pass;
    cellar_breaker_config o = { .struct_size = sizeof o, .open_ms = -1 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .breaker = &o };
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_create(c, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_create(c, &o, &b), CELLAR_E_INVAL);
    T_CHECK(b == NULL);
    T_EQ_I64(cellar_breaker_create(c, NULL, &b), CELLAR_OK);
    T_EQ_I64(cellar_breaker_allow(NULL, &pass), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_allow(b, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_record(NULL, 0, CELLAR_BREAKER_SUCCESS), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_record(b, 0, 3), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_reset(NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_breaker_info_get(b, NULL), CELLAR_E_INVAL);
    cellar_breaker_destroy(NULL);
    cellar_breaker_destroy(b);
}

static cellar_err never_works(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ld, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_IO;
}

static cellar_err dump(void *c, char *buf, size_t cap, size_t *len)
{
    return cellar_dump_write(c, buf, cap, len);
}

static bool has_line(cellar *c, cellar_err (*write)(void *, char *, size_t, size_t *),
                 const char *line)
{
    static char text[131072];
    T_EQ_I64(write(c, text, sizeof text, NULL), CELLAR_OK);
    return strstr(text, line) != NULL;
}

T_CASE_ON(breaker_of_namespace_is_in_metrics_and_dump, LOGGED)
{
    cellar_result out = cellar_result_default();
    T_CHECK(!has_line(c, cellar_metrics_write, "cellar_breaker_state"));
    T_CHECK(!has_line(c, dump, "breaker"));
    cellar_breaker_config o = { .struct_size = sizeof o, .consecutive_failures = 1,
                                .open_ms = 100 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .breaker = &o };
    cellar *v = space_with(c, "v", &vo);
    T_CHECK(has_line(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 0\n"));
    T_CHECK(has_line(c, dump, ", breaker closed\n"));
    T_CHECK(!has_line(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"\"}"));
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, never_works, NULL, &out), CELLAR_E_LOADER);
    T_CHECK(has_line(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 1\n"));
    T_CHECK(has_line(c, dump, ", breaker open\n"));
    atomic_fetch_add(&kit_now_ms, 100);
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, never_works, NULL, &out), CELLAR_E_LOADER);
    T_CHECK(has_line(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 1\n"));
}

/* ---- fallbacks ---- */

T_CASE_ON(fallbacks_run_in_documented_order, STORE)
{
    source s = SOURCE_INIT, f1 = SOURCE_INIT, f2 = SOURCE_INIT;
    char text[64];
    cellar_result r;
    const cellar_bytes last = { "default", 7 };
    s.text = "source";
    f2.text = "second";
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .jitter_pct = CELLAR_OFF };
    o.fallback[0] = (cellar_fallback){ source_load, &f1 };
    o.fallback[1] = (cellar_fallback){ source_load, &f2 };
    o.default_value = &last;
    o.fallback_ttl_ms = 500;
    atomic_store(&s.say, SAY_FAIL);
    atomic_store(&f1.say, SAY_FAIL);
    KIT_LOADS(c, "k", &o, &s, text, &r, "second");
    T_EQ_U64(r.source, CELLAR_SOURCE_FALLBACK);
    T_EQ_I64(r.ttl_left_ms, 500);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK); /* stored for this time */
    T_EQ_U64(r.source, CELLAR_SOURCE_L1);
    atomic_fetch_add(&kit_now_ms, 500);
    atomic_store(&f2.say, SAY_NOTHING);
    KIT_LOADS(c, "k", &o, &s, text, &r, "default");
    T_EQ_U64(r.source, CELLAR_SOURCE_DEFAULT);
    atomic_fetch_add(&kit_now_ms, 500);
    o.default_value = NULL;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_E_LOADER); /* the error of the first one */
    T_EQ_I64(r.loader_err, CELLAR_E_IO);
    T_EQ_I64(atomic_load(&f1.calls), 3);
    /* "absent" is an answer: no further fallback is called. */
    atomic_store(&s.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "n", &o, &s, text, &r), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&f1.calls), 3);
    /* A stale value comes before any fallback. */
    o.stale_ms = 10000;
    atomic_store(&s.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "s", &o, &s, text, &r), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 61000);
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "s", &o, &s, text, &r), CELLAR_STALE);
    T_EQ_STR(text, "source");
    T_EQ_I64(atomic_load(&f1.calls), 3);
    T_EQ_U64(space_stats(c).load_fallbacks, 2);
}

T_CASE(fallbacks_serve_an_open_breaker)
{
    cellar *c = kit_open(8 << 20);
    cellar_breaker *b = NULL;
    source s = SOURCE_INIT;
    const cellar_bytes last = { "", 0 };
    char text[64];
    cellar_result r;
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    T_EQ_I64(cellar_breaker_create(c, &bo, &b), CELLAR_OK);
    cellar_load_opts o = { .struct_size = sizeof o, .breaker = b };
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "a", &o, &s, text, NULL), CELLAR_E_LOADER);
    o.default_value = &last;
    T_EQ_I64(kit_load(c, "b", &o, &s, text, &r), CELLAR_OK); /* an empty value is a value */
    T_EQ_U64(r.source, CELLAR_SOURCE_DEFAULT);
    T_EQ_I64(atomic_load(&s.calls), 1);
    cellar_load_item item = { "c", 1, fresh_result(), CELLAR_OK, 0 };
    _Atomic int many = 0;
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &o, load_all, &many), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_OK);
    T_EQ_U64(item.result->source, CELLAR_SOURCE_DEFAULT);
    T_EQ_I64(atomic_load(&many), 0);
    cellar_result_free(item.result);
    const cellar_bytes bad = { NULL, 3 };
    o.default_value = &bad;
    T_EQ_I64(kit_load(c, "b", &o, &s, text, &r), CELLAR_E_INVAL);
    kit_close(c);
    cellar_breaker_destroy(b);
}

/* ---- why, saved ---- */

static cellar *why_store;

static void why_inside(source *s, cellar_load *ld)
{
    (void)s, (void)ld;
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(why_store, "k", 1, &r), CELLAR_OK);
    T_EQ_U64(r.answer, CELLAR_WHY_LOADING);
}

static void del_inside(source *s, cellar_load *ld)
{
    (void)s, (void)ld;
    T_EQ_I64(cellar_delete(why_store, "d", 1), CELLAR_MISS);
}

static uint32_t why_cause(cellar *c, const char *key)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, key, 1, &r), CELLAR_OK);
    return r.answer == CELLAR_WHY_GONE ? r.cause : 100 + r.answer;
}

T_CASE_ON(why_reports_loads, STORE)
{
    why_store = c;
    source s = SOURCE_INIT;
    char text[64];
    s.during = why_inside;
    atomic_store(&s.say, SAY_FAIL);
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_NO_JOIN };
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_LOADER);
    o.flags = 0;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_LOADER);
    T_EQ_U64(why_cause(c, "k"), CELLAR_CAUSE_LOAD_FAILED);
    s.during = del_inside;
    atomic_store(&s.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "d", NULL, &s, text, NULL), CELLAR_OK);
    T_EQ_U64(why_cause(c, "d"), CELLAR_CAUSE_INVALIDATED);
    s.during = NULL;
    atomic_store(&s.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "n", NULL, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_U64(why_cause(c, "n"), 100 + CELLAR_WHY_NEGATIVE);
    o.error_ttl_ms = 1000;
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "e", &o, &s, text, NULL), CELLAR_E_LOADER);
    T_EQ_U64(why_cause(c, "e"), 100 + CELLAR_WHY_ERROR);
}

static void dear(source *s, cellar_load *ld)
{
    (void)s;
    T_EQ_I64(loader_cost(ld, 2000000), CELLAR_OK);
}

T_CASE_ON(saved_time_and_cost_are_estimated, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_stats st = cellar_stats_default();
    s.during = dear;
    for (int i = 0; i < 12; i++) { /* two keys: their mean cost counts */
        T_EQ_I64(kit_load(c, i % 2 != 0 ? "j" : "k", NULL, &s, text, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.saved_cost > 19.99 && st.saved_cost < 20.01); /* ten hits, 2 units each */
    T_CHECK(st.saved_seconds > 0 &&
            st.saved_seconds <= 10 * (double)st.load_ns * 1e-9 * 1.001);
}

/* Return the number in the line of a family and a namespace; -1 if no line matches. */
static double told(const char *text, const char *family, const char *name)
{
    char line[96];
    snprintf(line, sizeof line, "\n%s{namespace=\"%s\"} ", family, name);
    const char *at = strstr(text, line);
    return at != NULL ? strtod(at + strlen(line), NULL) : -1;
}

T_CASE_ON(dump_states_savings_of_each_namespace, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    T_CHECK(strstr(figures_text(c), "cellar_saved") == NULL); /* nothing was loaded */
    cellar *one = space_with(c, "one", NULL), *never = space_with(c, "never", NULL);
    s.during = dear;
    for (int i = 0; i < 4; i++) { T_EQ_I64(kit_load(one, "k", NULL, &s, text, NULL), CELLAR_OK); }
    for (int i = 0; i < 9; i++) { T_EQ_I64(kit_load(c, "k", NULL, &s, text, NULL), CELLAR_OK); }
    T_EQ_I64(cellar_set(never, "k", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(never, "k", 1, text, sizeof text, NULL), CELLAR_OK);
    const char *metrics = figures_text(c);
    const double of_one = told(metrics, "cellar_saved_cost_us", "one");
    const double of_root = told(metrics, "cellar_saved_cost_us", "");
    T_CHECK(of_one > 5999900 && of_one < 6000100); /* three hits, 2 units each */
    T_CHECK(of_root > 15999900 && of_root < 16000100);
    T_CHECK(told(metrics, "cellar_saved_cost_us", "never") < 0);
    T_CHECK(told(metrics, "cellar_saved_seconds", "never") < 0);
    cellar_stats st = space_stats(one);
    const double seconds = told(metrics, "cellar_saved_seconds", "one");
    T_CHECK(seconds > 0 && seconds > st.saved_seconds - 2e-9 && seconds <= st.saved_seconds + 2e-9);
    T_CHECK(st.saved_seconds <= 3 * (double)st.load_ns * 1e-9 * 1.001);
    T_CHECK(st.saved_cost > 5.99 && st.saved_cost < 6.01);
}

/* ---- writing through ---- */

typedef struct table {
    char value[16];
    cellar_err say;
    int calls;
    bool before; /* the cache still had the old value when the writer ran */
    cellar *c;
} table;

static cellar_err write_row(const void *key, size_t key_len, const void *value, size_t value_len,
                            void *ctx)
{
    table *t = ctx;
    char buf[16];
    t->calls++;
    t->before = cellar_get(t->c, key, key_len, buf, sizeof buf, NULL) == CELLAR_OK;
    if (t->say != CELLAR_OK) { return t->say; }
    memcpy(t->value, value, value_len);
    t->value[value_len] = '\0';
    return CELLAR_OK;
}

T_CASE_ON(write_through_writes_source_before_cache, STORE2)
{
    table t = { .say = CELLAR_OK, .c = c };
    char buf[16];
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    T_EQ_I64(cellar_write_through(c, "k", 1, "new", 3, NULL, write_row, &t), CELLAR_OK);
    T_CHECK(t.before);
    T_EQ_STR(t.value, "new");
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_MEM(buf, "new", 3);
}

T_CASE_ON(failed_write_through_invalidates_key, STORE2)
{
    table t = { .say = CELLAR_E_IO, .c = c };
    static char big[4 << 20];
    char buf[16];
    T_EQ_I64(bloom_size(c, 100), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    T_EQ_I64(cellar_write_through(c, "k", 1, "new", 3, NULL, write_row, &t), CELLAR_E_IO);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_write_through(c, "q", 1, "new", 3, NULL, write_row, &t), CELLAR_E_IO);
    T_EQ_I64(cellar_bloom_check(c, "q", 1), CELLAR_OK); /* the source may still have the key */
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    t.say = CELLAR_LIMITED; /* an outcome of the writer is a failure, too */
    T_EQ_I64(cellar_write_through(c, "k", 1, "new", 3, NULL, write_row, &t), CELLAR_LIMITED);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_KEEP_OLD_VALUE };
    t.say = CELLAR_OK;
    t.calls = 0;
    T_EQ_I64(cellar_write_through(c, "k", 1, big, 0, &o, NULL, &t), CELLAR_E_INVAL);
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(cellar_write_through(c, "k", 1, "v", 1, &o, write_row, &t), CELLAR_E_INVAL);
    T_EQ_I64(t.calls, 0);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0),
             CELLAR_OK); /* not stored: the old value goes, too */
    T_EQ_I64(cellar_write_through(c, "k", 1, "v", 1, NULL, write_row, &t), CELLAR_DISABLED);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
}

static cellar_err write_and_end(const void *key, size_t key_len, const void *value,
                                size_t value_len, void *ctx)
{
    (void)ctx, (void)key, (void)key_len, (void)value, (void)value_len;
    pthread_exit(NULL);
}

static void *write_in_a_thread(void *c)
{
    (void)cellar_write_through(c, "k", 1, "new", 3, NULL, write_and_end, NULL);
    T_CHECK(false);
    return NULL;
}

T_CASE_ON(thread_exit_in_writer_leaves_no_old_value, STORE2)
{
    pthread_t t;
    char buf[16];
    T_EQ_I64(bloom_size(c, 100), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    T_EQ_I64(cellar_bloom_check(c, "k", 1), CELLAR_ABSENT);
    for (int i = 0; i < 2; i++) { /* first a new key, then an existing one */
        T_REQUIRE(pthread_create(&t, NULL, write_in_a_thread, c) == 0);
        T_EQ_I64(pthread_join(t, NULL), 0);
        T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
        T_EQ_I64(cellar_bloom_check(c, "k", 1), CELLAR_OK); /* the source may have the key now */
        T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    }
}

T_CASE_ON(disabled_namespace_still_invalidates, STORE2)
{
    source s = SOURCE_INIT;
    char text[64], buf[8];
    T_EQ_I64(cellar_set(c, "a", 1, "1", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "b", 1, "1", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "a", 1, buf, sizeof buf, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_set(c, "a", 1, "2", 1, NULL), CELLAR_DISABLED);
    T_EQ_I64(kit_load(c, "l", NULL, &s, text, NULL), CELLAR_OK); /* loads reach the source */
    T_EQ_I64(cellar_delete(c, "a", 1), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "a", 1, buf, sizeof buf, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_get(c, "b", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "l", 1, buf, sizeof buf, NULL), CELLAR_MISS);
}

/* ---- warming up ---- */

static cellar_err odd_source(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    uint32_t n;
    T_EQ_U64(key_len, sizeof n);
    memcpy(&n, key, sizeof n);
    atomic_fetch_add((_Atomic int *)ctx, 1);
    if (n % 10 == 1) { return cellar_load_absent(ld); }
    if (n % 10 == 2) { return CELLAR_E_IO; }
    return cellar_load_value(ld, &n, sizeof n);
}

static void sums_up(const cellar_warm_report *r)
{
    T_EQ_U64(r->keys, r->hits + r->loaded + r->absent + r->failed + r->skipped);
}

/* Return keys of the numbers below `count`. */
static const cellar_bytes *numbers(uint32_t count)
{
    static uint32_t number[1000];
    static cellar_bytes keys[1000];
    T_REQUIRE(count <= 1000);
    for (uint32_t i = 0; i < count; i++) {
        number[i] = i;
        keys[i] = (cellar_bytes){ &number[i], sizeof number[i] };
    }
    return keys;
}

T_CASE(warm_report_counts_every_key)
{
    enum { KEYS = 1000 };
    const cellar_bytes *keys = numbers(KEYS);
    for (uint32_t parallel = 0; parallel <= 4; parallel += 2) {
        cellar *c = kit_open(8 << 20);
        _Atomic int calls = 0;
        cellar_warm_report r = cellar_warm_report_default();
        for (uint32_t i = 5; i < 100; i += 10) {
            T_EQ_I64(cellar_set(c, &i, sizeof i, "x", 1, NULL), CELLAR_OK);
        }
        cellar_warm_opts o = { .struct_size = sizeof o, .keys = keys, .key_count = KEYS,
                               .loader = odd_source, .loader_ctx = &calls, .threads = parallel };
        T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
        sums_up(&r);
        T_FIELDS(r, keys, KEYS, hits, 10, absent, KEYS / 10, failed, KEYS / 10, skipped, 0);
        T_EQ_I64(r.stopped, CELLAR_OK);
        T_EQ_I64(atomic_load(&calls), KEYS - 10);
        o.max_failure_pct = 5; /* 10 % fail: the warm-up stops */
        T_EQ_I64(cellar_clear(c), CELLAR_OK);
        T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
        sums_up(&r);
        T_EQ_U64(r.keys, KEYS);
        T_EQ_I64(r.stopped, CELLAR_E_LOADER);
        T_CHECK(r.skipped > 900);
        kit_close(c);
    }
}

static cellar_err end_of_thread(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    _Atomic int *calls = ctx;
    if (atomic_fetch_add(calls, 1) == 3) { pthread_exit(NULL); }
    return cellar_load_value(ld, key, key_len);
}

static cellar_err end_of_bulk(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    pthread_exit(NULL);
}

typedef struct warming { cellar *c; cellar_warm_opts o; cellar_warm_report r; } warming;

static void *warm_here(void *arg)
{
    warming *w = arg;
    (void)cellar_warm(w->c, &w->o, &w->r);
    return w;
}

/* More keys than two chunks for each thread: after the exits no thread would empty a chunk. */
T_CASE(thread_exit_during_warm_ends_warm)
{
    enum { KEYS = 300 };
    const cellar_bytes *keys = numbers(KEYS);
    for (uint32_t round = 0; round < 4; round++) {
        cellar *c = kit_open(8 << 20);
        _Atomic int calls = 0;
        warming w = { c, cellar_warm_opts_default(), cellar_warm_report_default() };
        pthread_t t;
        void *ended = NULL;
        w.o.keys = keys;
        w.o.key_count = KEYS;
        w.o.loader_ctx = &calls;
        if (round % 2 == 0) {
            w.o.loader = end_of_thread;
        } else {
            w.o.loader_many = end_of_bulk;
            w.o.batch_keys = 10;
        }
        w.o.threads = round < 2 ? 1 : 0;
        T_REQUIRE(pthread_create(&t, NULL, warm_here, &w) == 0);
        T_EQ_I64(pthread_join(t, &ended), 0);
        T_CHECK((ended != NULL) == (round < 2)); /* otherwise the thread of the caller exited */
        if (round < 2) {
            sums_up(&w.r);
            T_FIELDS(w.r, keys, KEYS, failed, round == 0 ? 1 : 10, loaded, round == 0 ? 3 : 0);
            T_EQ_I64(w.r.stopped, CELLAR_E_LOADER);
        }
        kit_close(c);
    }
}

typedef struct names { uint32_t at, end; } names;

static cellar_err next_name(cellar_bytes *key, void *ctx)
{
    static uint32_t now;
    names *n = ctx;
    if (n->at == n->end) { return CELLAR_MISS; }
    now = n->at++;
    *key = (cellar_bytes){ &now, sizeof now };
    return CELLAR_OK;
}

T_CASE_ON(bulk_warm_keeps_its_limits, STORE)
{
    _Atomic int calls = 0;
    names n = { 0, 1000 };
    cellar_warm_report r = cellar_warm_report_default();
    cellar_warm_opts o = { .struct_size = sizeof o, .next = next_name, .next_ctx = &n,
                           .loader_many = load_all, .loader_ctx = &calls, .batch_keys = 100,
                           .threads = 1 };
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
    sums_up(&r);
    T_EQ_U64(r.loaded, 1000);
    T_EQ_I64(atomic_load(&calls), 10);
    n = (names){ 0, 1000000000 };
    o.timeout_ms = 30;
    o.keys_per_s = 10000;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
    sums_up(&r);
    T_EQ_I64(r.stopped, CELLAR_E_TIMEOUT);
    T_CHECK(r.elapsed_ms >= 30 && r.keys <= 1 + r.elapsed_ms * 10 + 10);
    n = (names){ 2000, 1000000000 };
    o.timeout_ms = 0;
    o.keys_per_s = 0;
    o.max_used_pct = 40;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
    sums_up(&r);
    T_EQ_I64(r.stopped, CELLAR_E_SPACE);
}

/* A source that stands still for 300 ms is not asked for the keys of that time at once. */
static cellar_err stands_still(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    if (atomic_fetch_add((_Atomic int *)ctx, 1) == 0) { (void)usleep(300000); }
    return cellar_load_value(ld, key, key_len);
}

T_CASE_ON(warm_keeps_its_pace_behind_a_slow_load, STORE)
{
    _Atomic int calls = 0;
    cellar_warm_report r = cellar_warm_report_default();
    const cellar_warm_opts o = { .struct_size = sizeof o, .keys = numbers(301), .key_count = 301,
                                 .loader = stands_still, .loader_ctx = &calls,
                                 .keys_per_s = 1000 };
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
    T_EQ_U64(r.loaded, 301);
    T_CHECK(r.elapsed_ms >= 300 + 280);
}

T_CASE_ON(bad_input_of_warm, STORE2)
{
    cellar_warm_opts o = cellar_warm_opts_default();
    cellar_warm_report r = cellar_warm_report_default();
    const cellar_bytes key = { "k", 1 }, none = { "", 0 };
    _Atomic int calls = 0;
    names n = { 0, 1 };
    T_EQ_I64(cellar_warm(NULL, &o, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_warm(c, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_warm(c, &o, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL); /* neither keys nor next */
    o.keys = &key;
    o.key_count = 1;
    o.loader = odd_source;
    o.loader_many = load_all;
    o.loader_ctx = &calls;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    o.loader = NULL;
    const struct { uint32_t threads, rate, fail, full; int64_t timeout_ms; } bad[] = {
        { 65, 0, 0, 0, 0 }, { 0, 1000000001, 0, 0, 0 }, { 0, 0, 101, 0, 0 }, { 0, 0, 0, 101, 0 },
        { 0, 0, 0, 0, -1 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cellar_warm_opts w = o;
        w.threads = bad[i].threads;
        w.keys_per_s = bad[i].rate;
        w.max_failure_pct = bad[i].fail;
        w.max_used_pct = bad[i].full;
        w.timeout_ms = bad[i].timeout_ms;
        if (!T_EQ_I64(cellar_warm(c, &w, &r), CELLAR_E_INVAL)) { printf("# row %zu\n", i); }
    }
    o.next = next_name; /* beside keys, and beside their number alone */
    o.next_ctx = &n;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    o.keys = NULL;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    o.next = NULL;
    o.keys = &none;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    o.keys = &key;
    r.struct_size = 1;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    r.struct_size = sizeof r;
    o.keys_per_s = 1000000000;
    o.max_failure_pct = o.max_used_pct = 100;
    o.loader_many = NULL; /* the namespace has no loader either: each key fails with a code */
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_OK);
    T_EQ_U64(r.failed, 1);
    /* load options are refused before the first load */
    cellar_load_opts lo = cellar_load_opts_default();
    o.loader_many = load_all;
    o.load = &lo;
    lo.flags = 0x1000;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    lo.flags = 0;
    lo.soft_timeout_ms = 30001;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    lo.soft_timeout_ms = 0;
    lo.struct_size = 1;
    T_EQ_I64(cellar_warm(c, &o, &r), CELLAR_E_INVAL);
    T_EQ_U64(r.keys + r.failed, 0);
    T_EQ_I64(atomic_load(&calls), 0);
}

/* ---- memoize ---- */

static _Atomic int weather_calls;

static cellar_err weather(cellar_load *ld, const cellar_arg *args, size_t count, void *ctx)
{
    char text[64];
    (void)ctx;
    T_EQ_U64(count, 2);
    T_EQ_U64(args[0].type, CELLAR_ARG_I64);
    T_EQ_U64(args[1].type, CELLAR_ARG_TEXT);
    atomic_fetch_add(&weather_calls, 1);
    snprintf(text, sizeof text, "%d in %.*s", (int)args[0].as.i64, (int)args[1].as.bytes.len,
             (const char *)args[1].as.bytes.data);
    return cellar_load_value(ld, text, strlen(text));
}

T_CASE_ON(memoized_call_runs_once, STORE2)
{
    cellar_result r = cellar_result_default();
    CELLAR_ARGS(a, 7, "berlin");
    atomic_store(&weather_calls, 0);
    T_EQ_I64(cellar_memoize(c, "weather", 1, a, sizeof a / sizeof a[0], NULL, weather, NULL, &r),
             CELLAR_OK);
    T_EQ_U64(r.value_len, 11);
    T_EQ_MEM(r.value, "7 in berlin", 11);
    cellar_result_free(&r);
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 1, NULL, weather, NULL, &r, 7L, "berlin"), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(atomic_load(&weather_calls), 1);
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 2, NULL, weather, NULL, &r, 7, "berlin"), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 1, NULL, weather, NULL, &r, 7, "berlin2"), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(atomic_load(&weather_calls), 3);
    static char city[2001];
    memset(city, 'x', 2000);
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 1, NULL, weather, NULL, &r, 7, &city[0]), CELLAR_OK);
    cellar_result_free(&r);
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 1000 };
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 3, &o, weather, NULL, &r, 1, "b"), CELLAR_OK);
    cellar_result_free(&r);
    atomic_fetch_add(&kit_now_ms, 150);
    const int before = atomic_load(&weather_calls);
    T_EQ_I64(CELLAR_MEMOIZE(c, "weather", 3, &o, weather, NULL, &r, 1, "b"), CELLAR_STALE);
    cellar_result_free(&r);
    T_EQ_I64(atomic_load(&weather_calls), before);
    kit_tick(c); /* the refresh takes its arguments from the key */
    T_EQ_I64(atomic_load(&weather_calls), before + 1);
    T_EQ_I64(cellar_memoize(c, "weather", 1, a, 2, NULL, NULL, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memoize(c, "", 1, a, 2, NULL, weather, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memoize(c, "w", 1, a, 2, NULL, weather, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memoize(NULL, "w", 1, a, 2, NULL, weather, NULL, &r), CELLAR_E_INVAL);
}

T_MAIN("api_guard")
