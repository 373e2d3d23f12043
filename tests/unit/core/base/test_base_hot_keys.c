/* SPDX-License-Identifier: MIT
 *
 * Aim:    The table of hot keys names the keys with most gets; a count never exceeds the gets of its
 *         key; counts are halved with time.
 * Method: Gets of 10^6 keys drawn with Zipf's law (s = 1); the exact counts are the oracle. A
 *         clock of the test. */
#include "tests/support/t.h"

#include <math.h>
#include <pthread.h>

#include "base/hot_keys.h"
#include "base/num.h"
#include "base/random.h"

#define KEYS 1000000u
#define SAMPLES 60000u
#define TOP 20u
#define SETS 255u

static base_rng rng;
static uint32_t exact[KEYS];

static base_hot *begin(uint32_t sets)
{
    base_rng_seed(&rng, t_seed());
    base_hot *h = malloc(base_hot_bytes(sets));
    T_REQUIRE(h != NULL);
    base_hot_init(h, sets, 0);
    return h;
}

static uint32_t note(base_hot *h, uint32_t key, int64_t now_ms)
{
    return base_hot_note(h, base_mix64(key + 1), 7, &key, sizeof key, now_ms, &rng);
}

static uint64_t samples;
static int64_t window_ms;

static size_t top_of(base_hot *h, uint32_t owner, base_hot_key *top, size_t most, int64_t now_ms)
{
    return base_hot_top(h, owner, top, most, now_ms, &samples, &window_ms);
}

static uint32_t key_of(const base_hot_key *k)
{
    uint32_t key;
    memcpy(&key, k->key, sizeof key);
    return key;
}

/* Draw a key by Zipf's law: a number from 1 to KEYS, uniform in its logarithm. */
static uint32_t draw(void)
{
    const double x = (double)base_rng_below(&rng, (uint64_t)1 << 53) / 9007199254740992.0;
    return (uint32_t)exp(x * log(KEYS)) - 1;
}

static int falling(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

#define BASE_HOT(fn) T_WITH(fn, base_hot *h, h, begin(SETS), free(h))
#define ONE_SET(fn) T_WITH(fn, base_hot *h, h, begin(1), free(h))

T_CASE_ON(top_keys_of_zipf_are_found, BASE_HOT)
{
    base_hot_key top[TOP];
    unsigned found = 0;
    T_CHECK(base_hot_bytes(SETS) <= 64u << 10);
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const uint32_t key = draw();
        exact[key]++;
        note(h, key, i / 4); /* 15 s: nothing is halved */
    }
    const size_t n = top_of(h, UINT32_MAX, top, TOP, SAMPLES / 4);
    T_EQ_U64(n, TOP);
    T_CHECK(samples == SAMPLES);
    uint32_t most[1000]; /* a key beyond them is not among the first 20 */
    memcpy(most, exact, sizeof most);
    qsort(most, 1000, sizeof most[0], falling);
    for (size_t i = 0; i < n; i++) {
        T_CHECK(top[i].count <= exact[key_of(&top[i])]);
        T_CHECK(i == 0 || top[i - 1].count >= top[i].count);
        found += exact[key_of(&top[i])] >= most[TOP - 1];
    }
    T_CHECK(found >= TOP - 1); /* recall 0.95 */
}

T_CASE_ON(counts_are_halved_every_30_seconds, BASE_HOT)
{
    base_hot_key top[2];
    for (unsigned i = 0; i < 800; i++) { note(h, 1, 0); }
    T_EQ_U64(top_of(h, 7, top, 2, 29999), 1);
    T_EQ_U64(top[0].count, 800);
    T_CHECK(window_ms == 29999);
    T_EQ_U64(top_of(h, 7, top, 2, 60000), 1);
    T_EQ_U64(top[0].count, 200);
    T_CHECK(samples == 200);
    T_EQ_U64(top_of(h, 7, top, 2, 3000000), 0);
}

T_CASE_ON(without_a_generator_a_full_set_stays, ONE_SET)
{
    for (uint32_t i = 0; i < BASE_HOT_WAYS; i++) {
        T_EQ_U64(base_hot_note(h, 10 + i, 1, &i, sizeof i, 0, NULL), 1);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        T_EQ_U64(base_hot_note(h, 99, 1, &i, sizeof i, 0, NULL), 0);
    }
    T_EQ_U64(base_hot_note(h, 10, 1, &(uint32_t){ 0 }, 4, 0, NULL), 2);
}

#define THREADS 4u
#define NOTES 20000u

static void *note_often(void *arg)
{
    for (uint32_t i = 0; i < NOTES; i++) {
        const uint32_t key = i % 2;
        (void)base_hot_note(arg, 100 + key, 7, &key, sizeof key, 0, NULL);
    }
    return NULL;
}

/* Threads that begin together may give a key two slots of its set. The two keys have two sets. */
T_CASE_ON(samples_of_threads_add_up_to_one_key, BASE_HOT)
{
    base_hot_key top[4];
    pthread_t t[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, note_often, h) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    T_EQ_U64(top_of(h, 7, top, 4, 0), 2);
    T_EQ_U64(top[0].count, THREADS * NOTES / 2);
    T_EQ_U64(top[1].count, THREADS * NOTES / 2);
    T_EQ_U64(samples, THREADS * NOTES);
}

T_CASE_ON(slots_of_one_key_are_shown_as_one, ONE_SET)
{
    base_hot_key top[4];
    const uint32_t key = 3;
    (void)base_hot_note(h, 50, 1, &key, sizeof key, 0, NULL);
    (void)base_hot_note(h, 51, 1, &key, sizeof key, 0, NULL);
    (void)base_hot_note(h, 51, 1, &key, sizeof key, 0, NULL);
    base_store_rlx(&h->slot[1].hash, (uint64_t)50); /* as after a race for an empty set */
    T_EQ_U64(top_of(h, 1, top, 4, 0), 1);
    T_EQ_U64(top[0].count, 3);
}

T_CASE_ON(owners_do_not_mix, BASE_HOT)
{
    base_hot_key top[4];
    base_hot_note(h, 5, 1, "a", 1, 0, &rng);
    base_hot_note(h, 5, 2, "a", 1, 0, &rng);
    T_EQ_U64(top_of(h, 1, top, 4, 0), 1);
    T_EQ_U64(top_of(h, UINT32_MAX, top, 4, 0), 2);
    T_EQ_U64(top_of(h, 3, top, 4, 0), 0);
    T_EQ_U64(top_of(h, UINT32_MAX, top, 0, 0), 0);
}

T_CASE_ON(long_key_keeps_its_first_bytes, BASE_HOT)
{
    base_hot_key top[1];
    char key[500];
    memset(key, 'x', sizeof key);
    base_hot_note(h, 9, 1, key, sizeof key, 0, &rng);
    T_EQ_U64(top_of(h, 1, top, 1, 0), 1);
    T_EQ_U64(top[0].key_len, sizeof key);
    T_EQ_MEM(top[0].key, key, BASE_HOT_KEY_BYTES);
}

T_MAIN("base_hot_keys")
