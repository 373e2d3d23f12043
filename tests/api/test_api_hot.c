/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_hot_keys names the keys that are read most, with their share and rate, of one
 *         namespace or of the store; of a hidden namespace the hash alone.
 * Method: Some thousand gets of a few keys in fixed shares; the clock of the test. */
#include "tests/support/api_kit.h"
#include "tests/support/spaces.h"

#include "cellar_object.h"

#define GETS 64000u

static void read_many(cellar *c, const char *key, unsigned times)
{
    char buf[8];
    for (unsigned i = 0; i < times; i++) {
        (void)cellar_get(c, key, strlen(key), buf, sizeof buf, NULL);
    }
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(16u << 20), api_shut(c))

T_CASE_ON(most_read_key_comes_first, STORE)
{
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
}

T_CASE_ON(scope_limits_the_keys_to_a_namespace, STORE)
{
    cellar_hot_key top[8];
    size_t n;
    cellar_namespace_config o = { .struct_size = sizeof o, .hidden = true };
    cellar *a = space_with(c, "a", NULL), *hidden = space_with(c, "secret", &o);
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
}

T_CASE(json_names_hot_keys_as_log_keys_says)
{
    static const struct { cellar_log_keys log_keys; const char *has, *lacks; } row[] = {
        { CELLAR_LOG_KEYS_DEFAULT, "\"key\":\"#", "grüße" },
        { CELLAR_LOG_KEYS_NONE, "\"hot_keys\":[]", "grüße" },
        { CELLAR_LOG_KEYS_HASH, "\"key\":\"#", "grüße" },
        { CELLAR_LOG_KEYS_PREFIX, "\"key\":\"ab grü...\"", "grüß" }, /* not inside a letter */
        { CELLAR_LOG_KEYS_FULL, "\"key\":\"ab grüße\"", "..." },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        static char text[1 << 16];
        settings s = api_config(16u << 20);
        s.host.log_keys = row[i].log_keys;
        cellar_namespace_config o = { .struct_size = sizeof o, .hidden = true };
        cellar *c = api_open_with(&s), *hidden = space_with(c, "h", &o);
        read_many(c, "ab grüße", GETS);
        read_many(hidden, "password", GETS);
        T_EQ_I64(cellar_stats_json(c, text, sizeof text, NULL), CELLAR_OK);
        const char *list = strstr(text, "\"hot_keys\":[");
        T_REQUIRE(list != NULL);
        T_CHECK(strstr(list, row[i].has) != NULL && strstr(list, row[i].lacks) == NULL);
        T_CHECK(strstr(list, "password") == NULL);
        api_shut(c);
    }
}

static cellar_err load(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, len);
}

static cellar_err no_load(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    return CELLAR_E_IO;
}

static bool load_many(cellar *c, const char *key)
{
    cellar_result r = cellar_result_default();
    cellar_load_item item = { .key = key, .key_len = strlen(key), .result = &r };
    const bool ok = cellar_get_or_load_many(c, &item, 1, NULL, no_load, NULL) == CELLAR_OK;
    cellar_result_free(&r);
    return ok;
}

/* Read a key once, by one of the calls that read. Return whether it was there. */
static bool read_by(cellar *c, unsigned call, const char *key)
{
    const size_t len = strlen(key);
    char buf[16];
    size_t n;
    cellar_get_item item = { .key = key, .key_len = len, .buf = buf, .buf_cap = sizeof buf };
    cellar_get_opts with = cellar_get_opts_default();
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    cellar_pinned pin;
    void *block = NULL;
    bool ok = false;
    switch (call) {
    case 0: return cellar_get(c, key, len, buf, sizeof buf, &n) == CELLAR_OK;
    case 1: return cellar_get_str(c, key, buf, sizeof buf) == CELLAR_OK;
    case 2: return cellar_get_with(c, key, len, &with, buf, sizeof buf, &n) == CELLAR_OK;
    case 3: ok = cellar_get_alloc(c, key, len, &block, &n) == CELLAR_OK; break;
    case 4: /* read-through into a buffer */
        r.buf = buf;
        r.buf_cap = sizeof buf;
        ok = cellar_get_or_load(c, key, len, NULL, load, NULL, &r) == CELLAR_OK;
        break;
    case 5:
        o.ttl_ms = 1000;
        ok = cellar_get_or_load(c, key, len, &o, load, NULL, &r) == CELLAR_OK;
        break;
    case 6:
        o.flags = CELLAR_LOAD_PIN;
        ok = cellar_get_or_load(c, key, len, &o, load, NULL, &r) == CELLAR_OK;
        break;
    case 7: return load_many(c, key);
    case 8: /* from here on: not counted */
        ok = cellar_pin(c, key, len, &pin) == CELLAR_OK;
        cellar_unpin(&pin);
        break;
    default: return cellar_get_many(c, &item, 1, &n) == CELLAR_OK && n == 1;
    }
    cellar_free(block);
    cellar_result_free(&r);
    return ok;
}

#define CALLS 10u
#define COUNTED 8u

/* cellar_pin, cellar_get_many and a peek are not counted; the others are. */
T_CASE_ON(each_call_that_loads_or_copies_counts, STORE)
{
    cellar_hot_key top[CALLS + 2];
    char key[CALLS][8], buf[16];
    size_t n;
    cellar_get_opts peek = { .struct_size = sizeof peek, .flags = CELLAR_GET_PEEK };
    for (unsigned i = 0; i < CALLS; i++) {
        (void)snprintf(key[i], sizeof key[i], "by %u", i);
        T_EQ_I64(cellar_set_str(c, key[i], "value", 0), CELLAR_OK);
    }
    T_EQ_I64(cellar_set_str(c, "peek", "value", 0), CELLAR_OK);
    for (unsigned i = 0; i < GETS / 8; i++) {
        for (unsigned call = 0; call < CALLS; call++) { T_CHECK(read_by(c, call, key[call])); }
        T_EQ_I64(cellar_get_with(c, "peek", 4, &peek, buf, sizeof buf, &n), CELLAR_OK);
    }
    T_EQ_I64(cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, CALLS + 2, &n), CELLAR_OK);
    T_EQ_U64(n, COUNTED);
    for (size_t i = 0; i < n; i++) {
        T_CHECK(top[i].share > 0.06 && top[i].share < 0.21);
        T_CHECK(strtoul(top[i].key + 3, NULL, 10) < COUNTED);
    }
}

static void keep_object(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
}

/* A hit of cellar_object_acquire was not counted, a miss was. */
T_CASE_ON(holds_of_objects_are_not_counted, STORE)
{
    static int object;
    const cellar_object_config of = { .struct_size = sizeof of, .free_fn = keep_object };
    cellar *v = space_with(c, "objects", SPACE_OPTS(.object = &of));
    cellar_held held;
    cellar_hot_key top[2];
    size_t n;
    T_EQ_I64(cellar_object_set(v, "there", 5, &object, 1, NULL), CELLAR_OK);
    for (unsigned i = 0; i < GETS; i++) {
        (void)cellar_object_acquire(v, i % 2 == 0 ? "there" : "other", 5, &held);
        cellar_object_release(&held);
    }
    T_EQ_I64(cellar_hot_keys(v, CELLAR_SCOPE_NAMESPACE, top, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 0);
}

T_ONE_THREAD;
T_MAIN("api_hot")
