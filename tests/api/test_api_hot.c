/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_hot_keys names the keys that are read most, with their share and rate, of one
 *         namespace or of the store; of a hidden namespace the hash alone.
 * Method: Some thousand gets of a few keys in fixed shares; the clock of the test. */
#include "tests/support/api_kit.h"

#define GETS 64000u

static void read_many(cellar *c, const char *key, unsigned times)
{
    char buf[8];
    for (unsigned i = 0; i < times; i++) {
        (void)cellar_get(c, key, strlen(key), buf, sizeof buf, NULL);
    }
}

static cellar *begin(void)
{
    settings s = api_config(16u << 20);
    cellar *c = NULL;
    T_EQ_I64(settings_open(&s, &c), CELLAR_OK);
    return c;
}

static void most_read_key_comes_first(void)
{
    cellar *c = begin();
    cellar_hot_key top[8];
    size_t n = 9;
    T_EQ_I64(cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 0);
    T_EQ_I64(cellar_set(c, "hot", 3, "1", 1, NULL), CELLAR_OK);
    for (unsigned i = 0; i < 100; i++) { /* 90 to 10; a miss counts as well */
        read_many(c, "hot", GETS * 9 / 1000);
        read_many(c, "missing", GETS / 1000);
    }
    atomic_fetch_add(&api_now_ms, 10000);
    T_EQ_I64(cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    T_EQ_STR(top[0].key, "hot");
    T_EQ_STR(top[1].key, "missing");
    T_EQ_STR(top[0].namespace_name, "");
    T_CHECK(top[0].share > 0.8 && top[0].share < 0.97);
    T_CHECK(top[0].gets_per_s > 4000 && top[0].gets_per_s < 7500);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void scope_limits_the_keys_to_a_namespace(void)
{
    cellar *c = begin(), *a = NULL, *hidden = NULL;
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar_hot_key top[8];
    size_t n;
    o.hidden = true;
    T_EQ_I64(cellar_namespace_open(c, "a", NULL, &a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "secret", &o, &hidden), CELLAR_OK);
    read_many(c, "k", GETS);
    read_many(a, "k", GETS / 4);
    read_many(hidden, "password", GETS / 2);
    T_EQ_I64(cellar_hot_keys(a, CELLAR_SCOPE_NAMESPACE, top, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_STR(top[0].namespace_name, "a");
    T_EQ_I64(cellar_hot_keys(a, CELLAR_SCOPE_STORE, top, 8, &n), CELLAR_OK);
    T_EQ_U64(n, 3);
    T_EQ_STR(top[1].namespace_name, "secret");
    T_EQ_U64(top[1].key_len, 0);
    T_EQ_STR(top[1].key, "");
    T_CHECK(top[1].hash != 0);
    T_EQ_I64(cellar_hot_keys(a, CELLAR_SCOPE_STORE, top, 1, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_I64(cellar_hot_keys(a, CELLAR_SCOPE_STORE, NULL, 1, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_close(a), CELLAR_OK);
    T_EQ_I64(cellar_close(hidden), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static cellar_err load(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, len);
}

static void hits_of_read_through_count(void)
{
    cellar *c = begin();
    cellar_hot_key top[2];
    size_t n;
    for (unsigned i = 0; i < GETS / 8; i++) {
        char buf[8];
        cellar_result r = cellar_result_default();
        r.buf = buf;
        r.buf_cap = sizeof buf;
        T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load, NULL, &r), CELLAR_OK);
        cellar_result_free(&r);
    }
    T_EQ_I64(cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_STR(top[0].key, "k");
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_MAIN("api_hot", T_CASE(most_read_key_comes_first), T_CASE(scope_limits_the_keys_to_a_namespace),
       T_CASE(hits_of_read_through_count))
