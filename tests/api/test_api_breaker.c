/* SPDX-License-Identifier: MIT
 *
 * Aim:    Breakers through public calls: clock of the store, counters, log lines, bad input,
 *         lifetime.
 * Method: A clock that the test turns, and the log. */
#include "tests/support/api_kit.h"
#include "tests/support/said.h"
#include "tests/support/spaces.h"

static cellar *open_store(void)
{
    settings cfg = api_config(2u << 20);
    cfg.host.log = listen_to;
    said[0] = '\0';
    return api_open_with(&cfg);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(), api_shut(c))

static cellar_breaker_info info(cellar_breaker *b)
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
    cellar *c = open_store();
    cellar_breaker *b = NULL;
    uint32_t pass;
    cellar_breaker_config o = { .struct_size = sizeof o, .consecutive_failures = 2,
                                .half_open_successes = 1, .open_ms = 100 };
    T_EQ_I64(cellar_breaker_create(c, &o, &b), CELLAR_OK);
    fail(b, 2);
    T_EQ_U64(info(b).state, CELLAR_BREAKER_OPEN);
    T_EQ_I64(lines_with("\n"), 1);
    const int64_t wait = info(b).retry_after_ms;
    T_CHECK(wait >= 1 && wait <= 100);
    T_EQ_I64(cellar_breaker_allow(b, &pass), CELLAR_E_BREAKER_OPEN);
    atomic_fetch_add(&api_now_ms, wait);
    T_EQ_I64(cellar_breaker_allow(b, &pass), CELLAR_OK);
    T_EQ_U64(info(b).state, CELLAR_BREAKER_HALF_OPEN);
    T_EQ_I64(cellar_breaker_record(b, pass, CELLAR_BREAKER_SUCCESS), CELLAR_OK);
    const cellar_breaker_info i = info(b);
    T_EQ_U64(i.state, CELLAR_BREAKER_CLOSED);
    T_EQ_U64(i.calls, 3);
    T_EQ_U64(i.failures, 2);
    T_EQ_U64(i.rejects, 1);
    T_EQ_U64(i.opens, 1);
    static char text[100000];
    T_EQ_I64(cellar_metrics_write(c, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "cellar_breaker_opens_total 1\n") != NULL);
    T_CHECK(strstr(text, "cellar_breaker_rejects_total 1\n") != NULL);
    fail(b, 2);
    T_EQ_I64(cellar_breaker_reset(b), CELLAR_OK);
    T_EQ_U64(info(b).state, CELLAR_BREAKER_CLOSED);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    fail(b, 2); /* the breaker outlives the store */
    T_EQ_U64(info(b).state, CELLAR_BREAKER_OPEN);
    cellar_breaker_destroy(b);
}

T_CASE_ON(breaker_outlives_dropped_namespace, STORE)
{
    cellar *v = space(c, "v", NULL);
    cellar_breaker *b = NULL;
    T_EQ_I64(cellar_breaker_create(v, NULL, &b), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    fail(b, 5);
    T_EQ_U64(info(b).state, CELLAR_BREAKER_OPEN);
    cellar_breaker_destroy(b);
}

/* Options: see bounds_of_stores_namespaces_and_breakers_are_exact. */
T_CASE_ON(bad_input_of_breakers, STORE)
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

static bool told(cellar *c, cellar_err (*write)(void *, char *, size_t, size_t *),
                 const char *line)
{
    static char text[131072];
    T_EQ_I64(write(c, text, sizeof text, NULL), CELLAR_OK);
    return strstr(text, line) != NULL;
}

T_CASE_ON(breaker_of_namespace_is_in_metrics_and_dump, STORE)
{
    cellar_result out = cellar_result_default();
    T_CHECK(!told(c, cellar_metrics_write, "cellar_breaker_state"));
    T_CHECK(!told(c, dump, "breaker"));
    cellar_breaker_config o = { .struct_size = sizeof o, .consecutive_failures = 1,
                                .open_ms = 100 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .breaker = &o };
    cellar *v = space(c, "v", &vo);
    T_CHECK(told(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 0\n"));
    T_CHECK(told(c, dump, ", breaker closed\n"));
    T_CHECK(!told(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"\"}"));
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, never_works, NULL, &out), CELLAR_E_LOADER);
    T_CHECK(told(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 1\n"));
    T_CHECK(told(c, dump, ", breaker open\n"));
    atomic_fetch_add(&api_now_ms, 100);
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, never_works, NULL, &out), CELLAR_E_LOADER);
    T_CHECK(told(c, cellar_metrics_write, "cellar_breaker_state{namespace=\"v\"} 1\n"));
}

T_ONE_THREAD;
T_MAIN("api_breaker")
