/* SPDX-License-Identifier: MIT
 *
 * Aim:    A value that its reader cannot decode is removed if it is still the same, and counted;
 *         the next get misses, and a load brings a new one.
 * Method: The reader replaces the value between its get and its report. Threads damage values while
 *         others read and report them. */
#include "tests/support/api_kit.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

#include <pthread.h>

#define STORE_BYTES (4u << 20)
#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(STORE_BYTES), api_shut(c))

static uint64_t damaged(cellar *c)
{
    cellar_stats st = space_stats(c);
    T_EQ_U64(st.gets, st.hits_l1 + st.hits_l2 + st.stale_hits + st.negative_hits + st.misses);
    return st.decode_errors;
}

/* Read a value that begins with #, as cellar.hpp does. Return whether there is one. */
static bool has(cellar *c, const char *key, const char *value, bool replace)
{
    char buf[8];
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf, &len);
    if (replace) { T_EQ_I64(cellar_set_str(c, key, "#99", 0), CELLAR_OK); }
    if (err == CELLAR_OK && buf[0] != '#') {
        const cellar_err gone = cellar_value_damaged(c, key, strlen(key), buf, len);
        T_CHECK(gone == CELLAR_OK || gone == CELLAR_MISS);
        return false;
    }
    if (err == CELLAR_OK && value != NULL) {
        T_EQ_U64(len, strlen(value));
        T_EQ_MEM(buf, value, strlen(value));
    }
    return err == CELLAR_OK;
}

static cellar_err no_database(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)load, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_IO;
}

T_CASE_ON(load_store_and_decode_errors_are_counted_apart, STORE)
{
    static char huge[3 << 20]; /* over half the budget */
    cellar_result r = cellar_result_default();
    cellar_stats st = cellar_stats_default(), none = st;
    cellar *other = space_with(c, "other", NULL);
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(cellar_get_or_load(c, "row", 3, NULL, no_database, NULL, &r), CELLAR_E_LOADER);
        cellar_result_free(&r);
    }
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(cellar_set(c, "huge", 4, huge, sizeof huge, NULL), CELLAR_E_TOOBIG);
    }
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "k", 1, "damaged", 7), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_FIELDS(st, loads_failed, 3, write_errors, 2, decode_errors, 1);
    T_EQ_I64(cellar_stats_get(other, CELLAR_SCOPE_NAMESPACE, &none), CELLAR_OK);
    T_EQ_U64(none.loads_failed + none.write_errors + none.decode_errors, 0);
}

T_CASE_ON(damaged_value_is_removed_and_misses, STORE)
{
    static char text[6000];
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_CHECK(!has(c, "k", NULL, false));
    T_EQ_U64(damaged(c), 1);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    T_EQ_I64(cellar_value_damaged(c, "k", 1, "damaged", 7), CELLAR_MISS); /* reported again */
    memset(text, ' ', sizeof text);
    T_EQ_I64(cellar_set(c, "long", 4, text, sizeof text, NULL), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "long", 4, text, sizeof text - 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "long", 4), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "long", 4, text, sizeof text), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "long", 4), CELLAR_MISS);
    T_EQ_I64(cellar_set(c, "empty", 5, NULL, 0, NULL), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "empty", 5, NULL, 0), CELLAR_OK);
    T_EQ_U64(damaged(c), 5);
}

T_CASE_ON(value_replaced_during_decoding_stays, STORE)
{
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_CHECK(!has(c, "k", NULL, true));
    T_CHECK(has(c, "k", "#99", false));
    T_EQ_U64(damaged(c), 1);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "n", 1, NULL, 0), CELLAR_MISS);
    char buf[8];
    T_EQ_I64(cellar_get(c, "n", 1, buf, sizeof buf, NULL), CELLAR_ABSENT);
}

static unsigned loads;
static cellar_err load_item(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    loads++;
    return cellar_load_value(ld, "#41", 3);
}

T_CASE_ON(damaged_value_is_loaded_again, STORE)
{
    cellar_result r = cellar_result_default();
    loads = 0;
    T_EQ_I64(cellar_set(c, "k", 1, "damaged", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load_item, NULL, &r), CELLAR_OK);
    T_EQ_I64(cellar_value_damaged(c, "k", 1, r.value, r.value_len), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load_item, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "#41", 3);
    cellar_result_free(&r);
    T_EQ_U64(loads, 1);
    T_EQ_U64(damaged(c), 1);
}

static cellar *shared;
static void *damager(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 5000; i++) {
        (void)cellar_set(shared, "k", 1, "damaged", 7, NULL);
        T_EQ_I64(cellar_set(shared, "k", 1, "#1", 2, NULL), CELLAR_OK);
        /* The reader may remove the damaged value only: the good one stays. */
        T_CHECK(has(shared, "k", "#1", false));
    }
    return NULL;
}

static void *reader(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20000; i++) { (void)has(shared, "k", NULL, false); }
    return NULL;
}

T_CASE(removal_never_ends_a_newer_value)
{
    pthread_t thread[3];
    shared = api_open(STORE_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, i == 0 ? damager : reader, NULL), 0);
    }
    for (unsigned i = 0; i < 3; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    api_shut(shared);
}

T_MAIN("api_damaged")
