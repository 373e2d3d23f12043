/* SPDX-License-Identifier: MIT
 *
 * Aim:    The Bloom filter of a namespace decides only after its owner has declared the keys
 *         complete. The filter never denies a stored key and gives its authority up at the first
 *         doubt.
 * Method: public calls; the source is an array of numbers that the test knows. */
#include "tests/support/api_kit.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

#include <pthread.h>

static cellar_err put(cellar *c, uint32_t key)
{
    return cellar_set(c, &key, sizeof key, "value", 5, NULL);
}

static cellar_err look(cellar *c, uint32_t key)
{
    char buf[16];
    return cellar_get(c, &key, sizeof key, buf, sizeof buf, NULL);
}

static cellar_err says(cellar *c, uint32_t key) { return cellar_bloom_check(c, &key, sizeof key); }

static cellar_bloom_info info(cellar *c)
{
    cellar_bloom_info i = cellar_bloom_info_default();
    T_EQ_I64(cellar_bloom_info_get(c, &i), CELLAR_OK);
    return i;
}

typedef struct source {
    uint32_t at, end;
    cellar_err last; /* returned instead of MISS */
} source;

static cellar_err next_key(cellar_bytes *key, void *ctx)
{
    static uint32_t now;
    source *s = ctx;
    if (s->at >= s->end) { return s->last != CELLAR_OK ? s->last : CELLAR_MISS; }
    now = s->at++;
    *key = (cellar_bytes){ &now, sizeof now };
    return CELLAR_OK;
}

static cellar_err feed(cellar *c, uint32_t from, uint32_t end, uint64_t *count)
{
    source s = { from, end, CELLAR_OK };
    return cellar_bloom_feed(c, next_key, &s, count);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(8u << 20), api_shut(c))
#define STORE2(fn) T_WITH(fn, cellar *c, c, api_open(16u << 20), api_shut(c))

/* The seed: a filter that begins empty answers "absent" before the source is asked. The filter
 * learns only from results of the source, so it stays empty and every key misses. */
T_CASE_ON(bloom_seed_bug, STORE)
{
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_I64(says(c, 1), CELLAR_MISS); /* the key was not added, but the filter does not decide */
    T_EQ_I64(look(c, 1), CELLAR_MISS);
    T_EQ_U64(info(c).rejects, 0);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_I64(put(c, 1), CELLAR_OK); /* the source was asked and had the key */
    T_EQ_I64(look(c, 1), CELLAR_OK);
    T_EQ_I64(says(c, 1), CELLAR_OK);
    uint64_t count = 9;
    source broken = { 0, 500, CELLAR_E_IO }; /* an enumeration that fails is no declaration */
    T_EQ_I64(cellar_bloom_feed(c, next_key, &broken, &count), CELLAR_E_IO);
    T_EQ_U64(count, 501);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_I64(feed(c, 0, 500, &count), CELLAR_OK);
    for (uint32_t key = 0; key < 500; key++) { T_EQ_I64(says(c, key), CELLAR_OK); }
    uint32_t absent = 0;
    for (uint32_t key = 500; key < 1500; key++) { absent += says(c, key) == CELLAR_ABSENT; }
    T_CHECK(absent > 970);
}

T_CASE_ON(absent_get_with_authority_is_answered_by_filter, STORE2)
{
    for (uint32_t key = 0; key < 20000; key++) { T_EQ_I64(put(c, key), CELLAR_OK); }
    T_EQ_I64(bloom_size(c, 20000), CELLAR_OK);
    T_EQ_I64(feed(c, 0, 20000, NULL), CELLAR_OK);
    for (uint32_t key = 20000; key < 120000; key++) { T_EQ_I64(look(c, key), CELLAR_MISS); }
    cellar_stats st = space_stats(c);
    T_EQ_U64(st.misses, 100000);
    T_CHECK(info(c).rejects > 98000 && info(c).rejects <= 100000);
    /* Now the filter is asked first. A cached key still hits and counts once. */
    for (uint32_t key = 0; key < 20000; key++) { T_EQ_I64(look(c, key), CELLAR_OK); }
    st = space_stats(c);
    T_EQ_U64(st.hits_l1, 20000);
    T_EQ_U64(st.gets, 120000);
    T_EQ_I64(put(c, 500000), CELLAR_OK);
    T_EQ_I64(look(c, 500000), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_EQ_I64(look(c, 500000), CELLAR_MISS);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_I64(look(c, 500000), CELLAR_OK);
}

T_CASE(namespace_options_open_a_filter)
{
    cellar_namespace_config o = { .struct_size = sizeof o, .bloom_keys = 1000000 };
    cellar *c = api_open(8u << 20), *v = space_with(c, "v", &o), *w = NULL;
    const cellar_bloom_info i = info(v);
    T_EQ_U64(i.state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(i.expected_keys, 1000000);
    T_CHECK(i.false_positive_rate > 0.0099 && i.false_positive_rate < 0.0101);
    T_CHECK(i.bytes >= 1230000 && i.bytes <= 1245000); /* 9.9 bits a key */
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OFF);
    T_EQ_U64(info(space_with(c, "v", &o)).bytes, i.bytes); /* the same filter */
    o.bloom_keys = ((uint64_t)1 << 40) + 1;
    T_EQ_I64(cellar_namespace_open(c, "w", &o, &w), CELLAR_E_INVAL);
    o.bloom_keys = 1000000;
    static const uint32_t wrong[] = { 1, 99, 500001, UINT32_MAX };
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        o.bloom_fpr_ppm = wrong[at];
        T_EQ_I64(cellar_namespace_open(c, "w", &o, &w), CELLAR_E_INVAL);
    }
    T_CHECK(w == NULL);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    api_shut(c);
    o.bloom_fpr_ppm = 500000;
    settings cfg = api_config(1u << 20);
    cfg.config.root = &o;
    o.bloom_keys = 10000000;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_SPACE);
    T_CHECK(c == NULL);
    cfg.config.memory_bytes = 8u << 20;
    o.bloom_keys = 1000000;
    c = api_open_with(&cfg);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OBSERVING);
    api_shut(c);
}

/* Options of an open namespace: another size is of the next feed, 0 keeps the filter. */
T_CASE(new_size_waits_for_the_next_feed)
{
    int64_t keys = 0;
    cellar_namespace_config o = { .struct_size = sizeof o, .bloom_keys = 1000 };
    cellar *c = api_open(8u << 20), *v = space_with(c, "v", &o);
    T_EQ_I64(feed(v, 0, 500, NULL), CELLAR_OK);
    o.bloom_keys = 5000;
    o.bloom_fpr_ppm = 1000;
    (void)space_with(c, "v", &o);
    T_EQ_U64(info(v).expected_keys, 1000);
    T_EQ_U64(info(v).state, CELLAR_BLOOM_AUTHORITATIVE);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_BLOOM_KEYS, &keys), CELLAR_OK);
    T_EQ_I64(keys, 5000);
    o.bloom_keys = 0;
    (void)space_with(c, "v", &o);
    T_EQ_I64(feed(v, 0, 500, NULL), CELLAR_OK);
    T_EQ_U64(info(v).expected_keys, 5000);
    T_CHECK(info(v).false_positive_rate > 0.00099 && info(v).false_positive_rate < 0.00101);
    T_EQ_I64(bloom_size(v, 0), CELLAR_OK);
    T_EQ_U64(info(v).state, CELLAR_BLOOM_OFF);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_BLOOM_KEYS, &keys), CELLAR_OK);
    T_EQ_I64(keys, 0);
    T_EQ_I64(bloom_size(v, 2000), CELLAR_OK); /* a new one, empty, with the rate of before */
    T_EQ_U64(info(v).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(info(v).keys, 0);
    T_CHECK(info(v).false_positive_rate < 0.00101);
    api_shut(c);
}

typedef struct during { /* what a feed meets between two keys */
    cellar *c;
    uint32_t at, end;
    cellar_err (*inside)(cellar *c);
} during;

static cellar_err next_during(cellar_bytes *key, void *ctx)
{
    during *d = ctx;
    if (d->at == d->end / 2) { T_EQ_I64(d->inside(d->c), CELLAR_OK); }
    if (d->at == d->end) { return CELLAR_MISS; }
    d->at++;
    *key = (cellar_bytes){ &d->at, sizeof d->at };
    return CELLAR_OK;
}

static cellar_err feed_meets(cellar *c, cellar_err (*inside)(cellar *c))
{
    during d = { c, 0, 400, inside };
    return cellar_bloom_feed(c, next_during, &d, NULL);
}

static cellar_err doubt_comes_up(cellar *c)
{
    for (uint32_t key = 0; key < 8000; key++) { T_EQ_I64(put(c, key), CELLAR_OK); }
    T_EQ_U64(info(c).doubt, CELLAR_BLOOM_DOUBT_FULL);
    T_EQ_U64(info(c).doubts, 1);
    return CELLAR_OK;
}

static cellar_err filter_is_dropped(cellar *c)
{
    T_EQ_U64(info(c).filling, 1);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_AUTHORITATIVE);
    T_EQ_I64(says(c, 90000), CELLAR_ABSENT); /* the filter of before answers */
    T_EQ_I64(bloom_feed_none(c), CELLAR_E_BUSY);
    return bloom_size(c, 0);
}

static cellar_err filter_is_new(cellar *c)
{
    T_EQ_I64(bloom_size(c, 0), CELLAR_OK);
    return bloom_size(c, 1000);
}

T_CASE_ON(doubt_or_drop_during_a_feed_voids_it, STORE2)
{
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_I64(feed(c, 0, 500, NULL), CELLAR_OK);
    T_EQ_I64(feed_meets(c, doubt_comes_up), CELLAR_E_BUSY);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(info(c).filling, 0);
    T_EQ_I64(bloom_feed_none(c), CELLAR_E_LIMIT); /* of the size of before */
    T_EQ_I64(bloom_size(c, 20000), CELLAR_OK);
    T_EQ_I64(feed(c, 0, 500, NULL), CELLAR_OK);
    for (uint32_t key = 0; key < 8000; key++) { T_EQ_I64(says(c, key), CELLAR_OK); }
    source broken = { 0, 500, CELLAR_E_IO };
    T_EQ_I64(cellar_bloom_feed(c, next_key, &broken, NULL), CELLAR_E_IO);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_AUTHORITATIVE);
    T_EQ_I64(feed_meets(c, filter_is_dropped), CELLAR_E_BUSY);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OFF);
    T_EQ_U64(info(c).bytes, 0);
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_I64(feed_meets(c, filter_is_new), CELLAR_E_BUSY); /* the new one lacks the first keys */
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_I64(says(c, 1), CELLAR_MISS);
}

T_CASE(filter_bytes_are_charged_and_returned)
{
    cellar *c = api_open(4u << 20);
    for (uint32_t key = 0; key < 100000; key++) { (void)put(c, key); } /* the budget is full */
    T_EQ_I64(bloom_size(c, 100000000), CELLAR_E_SPACE);
    T_EQ_I64(bloom_size(c, 500000), CELLAR_OK); /* entries are evicted for the filter */
    cellar_stats st = store_stats(c);
    T_CHECK(st.used_bytes <= 4u << 20);
    T_CHECK(info(c).bytes > 500000);
    const uint64_t full = st.used_bytes;
    T_EQ_I64(bloom_size(c, 0), CELLAR_OK);
    T_CHECK(store_stats(c).used_bytes + 500000 < full);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OFF);
    T_EQ_I64(says(c, 1), CELLAR_OK);
    api_shut(c);
}

/* ---- during writes ---- */

static struct { cellar *c; atomic_bool stop; atomic_uint done; uint64_t wrong, asked; } load;

static void *writer(void *arg)
{
    (void)arg;
    for (uint32_t key = 0; key < 30000 && !atomic_load(&load.stop); key++) {
        if (put(load.c, key) == CELLAR_OK) { atomic_store(&load.done, key + 1); }
    }
    return NULL;
}

static void *reader(void *arg)
{
    (void)arg;
    uint32_t at = 0;
    while (!atomic_load(&load.stop)) {
        const uint32_t done = atomic_load(&load.done);
        if (done == 0) { continue; }
        at = (at + 104729) % done;
        load.wrong += says(load.c, at) == CELLAR_ABSENT;
        load.asked++;
    }
    return NULL;
}

T_CASE(rebuild_during_writes_denies_no_key)
{
    memset(&load, 0, sizeof load);
    load.c = api_open(32u << 20);
    pthread_t w, r;
    T_EQ_I64(bloom_size(load.c, 1000), CELLAR_OK);
    T_EQ_I64(bloom_feed_none(load.c), CELLAR_OK);
    T_REQUIRE(pthread_create(&w, NULL, writer, NULL) == 0);
    T_REQUIRE(pthread_create(&r, NULL, reader, NULL) == 0);
    for (unsigned round = 0; round < 8; round++) { /* the owner knows only the cached keys */
        T_EQ_I64(bloom_size(load.c, 40000), CELLAR_OK);
        const cellar_err err = bloom_feed_none(load.c);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY); /* a doubt occurred meanwhile */
    }
    pthread_join(w, NULL);
    atomic_store(&load.stop, true);
    pthread_join(r, NULL);
    T_EQ_U64(load.wrong, 0);
    for (uint32_t key = 0; key < 30000; key++) { T_CHECK(says(load.c, key) != CELLAR_ABSENT); }
    api_shut(load.c);
}

/* Handles that are NULL or closed: see each_call.h. */
T_CASE_ON(bad_input_of_filters, STORE)
{
    cellar_bloom_info i = cellar_bloom_info_default();
    T_EQ_I64(bloom_size(c, -1), CELLAR_E_INVAL);
    T_EQ_I64(bloom_size(c, ((int64_t)1 << 40) + 1), CELLAR_E_INVAL);
    T_EQ_U64(info(c).state, CELLAR_BLOOM_OFF);
    T_EQ_I64(bloom_size(c, 0), CELLAR_OK);
    T_EQ_I64(feed(c, 0, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bloom_add(c, "k", 1), CELLAR_MISS);
    T_EQ_I64(bloom_size(c, 10), CELLAR_OK);
    T_EQ_I64(cellar_bloom_feed(c, NULL, NULL, NULL), CELLAR_E_INVAL);
    source odd = { 0, 0, CELLAR_PENDING }; /* neither a key nor the end nor an error */
    T_EQ_I64(cellar_bloom_feed(c, next_key, &odd, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bloom_add(c, NULL, 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bloom_add(c, "k", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bloom_check(c, "k", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bloom_info_get(c, NULL), CELLAR_E_INVAL);
    i.struct_size = 3;
    T_EQ_I64(cellar_bloom_info_get(c, &i), CELLAR_E_INVAL);
}

T_MAIN("api_bloom")
