/* SPDX-License-Identifier: MIT
 *
 * Aim:    Objects go through the codec of their namespace. A value that does not decode is removed
 *         if it is still the same, counts and misses; a load then brings a new one.
 * Method: Objects of one number, stored as text with a check byte. The codec interferes: it
 *         replaces the value while it decodes it. Threads damage values while others read. */
#include "tests/support/api_kit.h"

#include <pthread.h>

typedef struct item { long number; } item;

static _Atomic long made, freed;
static cellar *replaced; /* not NULL: decode replaces the value of "k" */
static cellar *noted;    /* not NULL: encode stores "note" */

static cellar_err encode(void *ctx, const void *object, cellar_buf *out)
{
    char text[32];
    (void)ctx;
    if (noted != NULL) { T_EQ_I64(cellar_set(noted, "note", 4, "#5", 2, NULL), CELLAR_OK); }
    if (((const item *)object)->number < 0) { return CELLAR_E_RANGE; }
    (void)snprintf(text, sizeof text, "#%ld", ((const item *)object)->number);
    return cellar_buf_append(out, text, strlen(text));
}

static cellar_err decode(void *ctx, const void *value, size_t len, void **object)
{
    char text[32] = "";
    (void)ctx;
    if (replaced != NULL) {
        cellar *c = replaced;
        replaced = NULL;
        T_EQ_I64(cellar_set(c, "k", 1, "#99", 3, NULL), CELLAR_OK);
    }
    if (len == 0 || len >= sizeof text || *(const char *)value != '#') { return CELLAR_E_TYPE; }
    memcpy(text, (const char *)value + 1, len - 1);
    item *i = malloc(sizeof *i);
    i->number = strtol(text, NULL, 10);
    *object = i;
    atomic_fetch_add(&made, 1);
    return CELLAR_OK;
}

static void release(void *ctx, void *object)
{
    (void)ctx;
    free(object);
    atomic_fetch_add(&freed, 1);
}

static cellar_codec codec(void)
{
    cellar_codec d = cellar_codec_default();
    d.encode = encode;
    d.decode = decode;
    d.free = release;
    return d;
}

static cellar *begin(void)
{
    settings s = api_config(4u << 20);
    cellar_namespace_config o = cellar_namespace_config_default();
    const cellar_codec d = codec();
    cellar *c = NULL;
    o.codec = &d;
    s.config.root = &o;
    T_EQ_I64(settings_open(&s, &c), CELLAR_OK);
    atomic_store(&made, 0);
    atomic_store(&freed, 0);
    return c;
}

static void end(cellar *c)
{
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(atomic_load(&made), atomic_load(&freed));
}

static void has(cellar *c, const char *key, long number)
{
    void *object = NULL;
    T_EQ_I64(cellar_get_obj(c, key, strlen(key), &object), CELLAR_OK);
    if (object != NULL) { T_EQ_I64(((item *)object)->number, number); }
    cellar_obj_free(c, object);
}

static uint64_t damaged(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.gets, st.hits_l1 + st.hits_l2 + st.stale_hits + st.negative_hits + st.misses);
    return st.decode_errors;
}

static void object_comes_back_as_stored(void)
{
    cellar *c = begin();
    const item i = { 7 };
    void *object = &object;
    T_EQ_I64(cellar_set_obj(c, "k", 1, &i, NULL), CELLAR_OK);
    has(c, "k", 7);
    T_EQ_I64(cellar_get_obj(c, "none", 4, &object), CELLAR_MISS);
    T_CHECK(object == NULL);
    char buf[8];
    size_t len;
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_MEM(buf, "#7", 2);
    T_EQ_U64(damaged(c), 0);
    end(c);
}

static cellar_err load_seven(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const item i = { 7 };
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_obj(load, &i);
}

/* A lock that is held here would be taken twice, which debug builds refuse. */
static void codec_may_call_the_cache(void)
{
    cellar *c = begin();
    const item i = { 1 };
    void *object = NULL;
    noted = c;
    T_EQ_I64(cellar_set_obj(c, "k", 1, &i, NULL), CELLAR_OK);
    has(c, "note", 5);
    T_EQ_I64(cellar_delete(c, "note", 4), CELLAR_OK);
    replaced = c;
    T_EQ_I64(cellar_get_or_load_obj(c, "new", 3, NULL, load_seven, NULL, &object), CELLAR_OK);
    cellar_obj_free(c, object);
    noted = NULL;
    has(c, "note", 5); /* encode in the loader */
    has(c, "k", 99);   /* decode of the loaded value */
    has(c, "new", 7);
    end(c);
}

static void object_that_does_not_encode_changes_nothing(void)
{
    cellar *c = begin();
    const item good = { 1 }, bad = { -1 };
    T_EQ_I64(cellar_set_obj(c, "k", 1, &good, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set_obj(c, "k", 1, &bad, NULL), CELLAR_E_RANGE);
    has(c, "k", 1);
    end(c);
}

static cellar_err no_database(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)load, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_IO;
}

static void load_store_and_decode_errors_are_counted_apart(void)
{
    static char huge[3 << 20]; /* over half the budget */
    cellar *c = begin(), *other = NULL;
    cellar_result r = cellar_result_default();
    cellar_stats st = cellar_stats_default(), none = st;
    void *object;
    T_EQ_I64(cellar_namespace_open(c, "other", NULL, &other), CELLAR_OK);
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(cellar_get_or_load(c, "row", 3, NULL, no_database, NULL, &r), CELLAR_E_LOADER);
        cellar_result_free(&r);
    }
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(cellar_set(c, "huge", 4, huge, sizeof huge, NULL), CELLAR_E_TOOBIG);
    }
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_obj(c, "k", 1, &object), CELLAR_MISS);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.loads_failed, 3);
    T_EQ_U64(st.write_errors, 2);
    T_EQ_U64(st.decode_errors, 1);
    T_EQ_I64(cellar_stats_get(other, CELLAR_SCOPE_NAMESPACE, &none), CELLAR_OK);
    T_EQ_U64(none.loads_failed + none.write_errors + none.decode_errors, 0);
    T_EQ_I64(cellar_namespace_close(other), CELLAR_OK);
    end(c);
}

static void damaged_value_is_removed_and_misses(void)
{
    cellar *c = begin();
    void *object;
    cellar_stats before = cellar_stats_default(), after = before;
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &before), CELLAR_OK);
    T_EQ_I64(cellar_get_obj(c, "k", 1, &object), CELLAR_MISS);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &after), CELLAR_OK);
    T_EQ_U64(after.misses, before.misses + 1);
    T_EQ_U64(after.hits_l1, before.hits_l1);
    T_EQ_U64(damaged(c), 1);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    end(c);
}

static void value_replaced_during_decoding_stays(void)
{
    cellar *c = begin();
    void *object;
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    replaced = c;
    T_EQ_I64(cellar_get_obj(c, "k", 1, &object), CELLAR_MISS);
    has(c, "k", 99);
    T_EQ_U64(damaged(c), 1);
    end(c);
}

static unsigned loads;
static cellar_err load_item(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const item i = { 40 + (long)++loads };
    (void)key, (void)len;
    return ctx != NULL ? cellar_load_value(ld, "damaged", 7) : cellar_load_obj(ld, &i);
}

static void load_reports_an_object(void)
{
    cellar *c = begin();
    void *object;
    loads = 0;
    T_EQ_I64(cellar_get_or_load_obj(c, "k", 1, NULL, load_item, NULL, &object), CELLAR_OK);
    T_EQ_I64(((item *)object)->number, 41);
    cellar_obj_free(c, object);
    T_EQ_I64(cellar_get_or_load_obj(c, "k", 1, NULL, load_item, NULL, &object), CELLAR_OK);
    T_EQ_I64(((item *)object)->number, 41);
    cellar_obj_free(c, object);
    T_EQ_U64(loads, 1);
    end(c);
}

static void damaged_value_is_loaded_again(void)
{
    cellar *c = begin();
    void *object;
    loads = 0;
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_or_load_obj(c, "k", 1, NULL, load_item, NULL, &object), CELLAR_OK);
    T_EQ_I64(((item *)object)->number, 41);
    cellar_obj_free(c, object);
    T_EQ_U64(damaged(c), 1);
    /* a loader that brings damaged bytes each time */
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_get_or_load_obj(c, "k", 1, NULL, load_item, c, &object), CELLAR_E_TYPE);
    T_CHECK(object == NULL);
    T_EQ_U64(loads, 3);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    end(c);
}

static void long_object_and_negative_entry(void)
{
    cellar *c = begin();
    static char text[6000];
    void *object;
    memset(text, ' ', sizeof text);
    T_EQ_I64(cellar_set(c, "long", 4, text, sizeof text, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_obj(c, "long", 4, &object), CELLAR_MISS); /* no check byte */
    T_EQ_U64(damaged(c), 1);
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    o.ttl_ms = 1000;
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_I64(cellar_get_obj(c, "n", 1, &object), CELLAR_ABSENT);
    end(c);
}

static void bad_input_is_refused(void)
{
    cellar *c = begin(), *plain = NULL, *bad = NULL;
    cellar_namespace_config o = cellar_namespace_config_default();
    cellar_codec half = codec();
    const item i = { 1 };
    void *object;
    half.encode = NULL;
    o.codec = &half;
    T_EQ_I64(cellar_namespace_open(c, "bad", &o, &bad), CELLAR_E_INVAL);
    T_EQ_I64(cellar_namespace_open(c, "plain", NULL, &plain), CELLAR_OK);
    T_EQ_I64(cellar_set_obj(plain, "k", 1, &i, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_obj(plain, "k", 1, &object), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_obj(c, "k", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_obj(c, "", 0, &object), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_obj(c, "k", 1, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load_obj(c, "k", 1, NULL, NULL, NULL, &object), CELLAR_E_INVAL);
    cellar_obj_free(c, NULL);
    T_EQ_I64(cellar_namespace_close(plain), CELLAR_OK);
    end(c);
}

static cellar *shared;
static void *damager(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 5000; i++) {
        const item it = { (long)i };
        (void)cellar_set(shared, "k", 1, "damaged", 7, NULL);
        T_EQ_I64(cellar_set_obj(shared, "k", 1, &it, NULL), CELLAR_OK);
        /* The reader may remove the damaged value only: the object stays. */
        has(shared, "k", (long)i);
    }
    return NULL;
}

static void *reader(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20000; i++) {
        void *object;
        const cellar_err err = cellar_get_obj(shared, "k", 1, &object);
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        cellar_obj_free(shared, object);
    }
    return NULL;
}

static void removal_never_ends_a_newer_value(void)
{
    pthread_t thread[3];
    shared = begin();
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, i == 0 ? damager : reader, NULL), 0);
    }
    for (unsigned i = 0; i < 3; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    end(shared);
}

T_MAIN("api_objects", T_CASE(object_comes_back_as_stored),
       T_CASE(codec_may_call_the_cache),
       T_CASE(object_that_does_not_encode_changes_nothing),
       T_CASE(load_store_and_decode_errors_are_counted_apart),
       T_CASE(damaged_value_is_removed_and_misses), T_CASE(value_replaced_during_decoding_stays),
       T_CASE(load_reports_an_object), T_CASE(damaged_value_is_loaded_again),
       T_CASE(long_object_and_negative_entry), T_CASE(bad_input_is_refused),
       T_CASE(removal_never_ends_a_newer_value))
