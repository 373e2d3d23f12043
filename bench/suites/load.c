/* SPDX-License-Identifier: MIT
 *
 * load: the cost of reading through the cache, compared with the plain calls that it consists of.
 *
 * FIGURES    load_hit        gets a second through cellar_get_or_load / through cellar_get: hits of
 *                            1 M keys, 16 B, 100 B, popularity 1/rank, the caller's own buffer
 *            load_miss_over  ns of a miss with an instant loader, less ns of set + get of such a
 *                            key
 *            load_calls   loader calls when 1000 threads request one cold key; it is loaded when
 *                         all of them have asked, and 1 ms later
 *            load_last_us from the loader's return until the last of them has the value
 *            load_bare_us the same for 1000 threads asleep on one word, woken by one call of the
 *                         kernel: the machine's own time
 *            load_last_x  load_last_us / load_bare_us of the same round
 *            absent_get   time of gets of absent keys, each requested once, under an authoritative
 *                         Bloom filter of the 1 M cached keys / without one
 *            absent_load  the same for cellar_get_or_load with a loader that returns "absent"
 *            bloom_over   share of those keys that pass the filter / its configured rate
 * WALK       rounds; in each both sides one after the other on the same keys, every second round in
 *            turned order; a ratio or difference is taken within its round.
 * CLOCK      CPU time of the thread for the first two, wall for the storm. */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "cellar.h"
#include "cellar_load.h"
#include "cellar_bloom.h"
#include "cellar_admin.h"

#define LOAD_KEYS 1000000u
#define LOAD_KEY_LEN 16u
#define LOAD_VALUE_LEN 100u
#define LOAD_BATCH 200000u
#define LOAD_THREADS 1000u
#define LOAD_ROUNDS_MAX 200u

static unsigned char load_bytes[LOAD_VALUE_LEN];

static uint64_t load_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void load_key(char key[LOAD_KEY_LEN], uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)number);
    memcpy(key, text, LOAD_KEY_LEN);
}

/* Ranks with probability 1/rank: 2^u for u uniform over the octaves, then uniform inside. */
static uint32_t load_rank(uint64_t *s)
{
    const unsigned octave = (unsigned)(load_random(s) % 20);
    const uint32_t rank = (1u << octave) + (uint32_t)(load_random(s) & ((1u << octave) - 1));
    return rank < LOAD_KEYS ? rank : rank % LOAD_KEYS;
}

static cellar_err load_instant(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key;
    (void)key_len;
    (void)ctx;
    return cellar_load_value(ld, load_bytes, sizeof load_bytes);
}

static cellar *load_open(uint64_t bytes)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    cfg.memory_bytes = bytes;
    cellar_host_config host = cellar_host_config_default();
    host.no_threads = 1;
    cfg.host = &host;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* ns an operation, by this thread's CPU time. */
static double load_gets(cellar *c, char (*keys)[LOAD_KEY_LEN], bool through, uint64_t *bad)
{
    char buf[LOAD_VALUE_LEN];
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = sizeof buf;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < LOAD_BATCH; i++) {
        size_t len;
        const cellar_err err =
            through ? cellar_get_or_load(c, keys[i], LOAD_KEY_LEN, NULL, load_instant, NULL, &r)
                    : cellar_get(c, keys[i], LOAD_KEY_LEN, buf, sizeof buf, &len);
        *bad += err != CELLAR_OK;
    }
    return (double)(host_thread_cpu_ns() - from) / LOAD_BATCH;
}

static int load_hits(uint32_t rounds)
{
    cellar *c = load_open(512ull << 20);
    char(*keys)[LOAD_KEY_LEN] = malloc((size_t)LOAD_BATCH * LOAD_KEY_LEN);
    double ratio[LOAD_ROUNDS_MAX];
    uint64_t bad = 0, seed = 88172645463325252ull;
    if (c == NULL || keys == NULL) {
        free(keys);
        return CELL_WRONG;
    }
    for (uint32_t i = 0; i < LOAD_KEYS; i++) {
        char key[LOAD_KEY_LEN];
        load_key(key, i);
        bad += cellar_set(c, key, sizeof key, load_bytes, sizeof load_bytes, NULL) != CELLAR_OK;
    }
    for (uint32_t i = 0; i < LOAD_BATCH; i++) {
        load_key(keys[i], load_rank(&seed));
    }
    for (uint32_t n = 0; n < rounds; n++) {
        const bool first = (n & 1) != 0;
        const double a = load_gets(c, keys, first, &bad);
        const double b = load_gets(c, keys, !first, &bad);
        ratio[n] = first ? b / a : a / b;
    }
    suite_say("load", "cellar", "load1m", "load_hit", ratio, rounds, "cpu",
              bad != 0 ? "bad" : NULL);
    free(keys);
    cellar_close(c);
    return bad != 0 ? CELL_WRONG : CELL_OK;
}

static void load_number_key(char key[LOAD_KEY_LEN], uint64_t number)
{
    memset(key, 'k', LOAD_KEY_LEN);
    memcpy(key, &number, sizeof number);
}

/* Fresh keys: a load through, or a set and a get. */
static double load_fresh(cellar *c, uint64_t *next, bool through, uint64_t *bad)
{
    char buf[LOAD_VALUE_LEN], key[LOAD_KEY_LEN];
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = sizeof buf;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < LOAD_BATCH / 4; i++) {
        size_t len;
        load_number_key(key, (*next)++);
        if (through) {
            *bad += cellar_get_or_load(c, key, sizeof key, NULL, load_instant, NULL, &r) !=
                    CELLAR_OK;
        } else {
            *bad += cellar_set(c, key, sizeof key, load_bytes, sizeof load_bytes, NULL) !=
                    CELLAR_OK;
            *bad += cellar_get(c, key, sizeof key, buf, sizeof buf, &len) != CELLAR_OK;
        }
    }
    return (double)(host_thread_cpu_ns() - from) / (LOAD_BATCH / 4);
}

static int load_misses(uint32_t rounds)
{
    cellar *c = load_open(64ull << 20);
    double over[LOAD_ROUNDS_MAX];
    uint64_t bad = 0, next = 0;
    if (c == NULL) { return CELL_WRONG; }
    for (int i = 0; i < 8; i++) { /* full: evictions from here on, for both */
        (void)load_fresh(c, &next, (i & 1) != 0, &bad);
    }
    for (uint32_t n = 0; n < rounds; n++) {
        const bool first = (n & 1) != 0;
        const double a = load_fresh(c, &next, first, &bad);
        const double b = load_fresh(c, &next, !first, &bad);
        over[n] = first ? a - b : b - a;
    }
    suite_say("load", "cellar", "loadmiss", "load_miss_over", over, rounds, "cpu",
              bad != 0 ? "bad" : NULL);
    cellar_close(c);
    return bad != 0 ? CELL_WRONG : CELL_OK;
}

static cellar_err load_none(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key;
    (void)key_len;
    (void)ctx;
    return cellar_load_absent(ld);
}

typedef struct load_source {
    uint64_t at;
    char key[LOAD_KEY_LEN];
} load_source;

static cellar_err load_next(cellar_bytes *key, void *ctx)
{
    load_source *s = ctx;
    if (s->at == LOAD_KEYS) { return CELLAR_MISS; }
    load_number_key(s->key, s->at++);
    *key = (cellar_bytes){ s->key, sizeof s->key };
    return CELLAR_OK;
}

/* Store the keys 0 to LOAD_KEYS - 1; with an authoritative filter, or without one. */
static cellar *load_open_known(bool filter)
{
    cellar *c = load_open(512ull << 20);
    load_source source = { 0 };
    bool ok = c != NULL;
    for (uint64_t i = 0; ok && i < LOAD_KEYS; i++) {
        char key[LOAD_KEY_LEN];
        load_number_key(key, i);
        ok = cellar_set(c, key, sizeof key, load_bytes, sizeof load_bytes, NULL) == CELLAR_OK;
    }
    if (ok && filter) {
        ok = cellar_option_set(c, CELLAR_OPT_BLOOM_KEYS, LOAD_KEYS) == CELLAR_OK &&
             cellar_bloom_feed(c, load_next, &source, NULL) == CELLAR_OK;
    }
    if (ok) { return c; }
    if (c != NULL) { cellar_close(c); }
    return NULL;
}

/* ns a new key; each is answered as absent. */
static double load_absent(cellar *c, uint64_t *next, bool load, uint64_t *bad)
{
    char buf[LOAD_VALUE_LEN], key[LOAD_KEY_LEN];
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = sizeof buf;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < LOAD_BATCH; i++) {
        size_t len;
        load_number_key(key, (*next)++);
        if (load) {
            *bad += cellar_get_or_load(c, key, sizeof key, NULL, load_none, NULL, &r) !=
                    CELLAR_ABSENT;
        } else {
            const cellar_err err = cellar_get(c, key, sizeof key, buf, sizeof buf, &len);
            *bad += err != CELLAR_MISS && err != CELLAR_ABSENT;
        }
    }
    return (double)(host_thread_cpu_ns() - from) / LOAD_BATCH;
}

static int load_absents(uint32_t rounds)
{
    cellar *with = load_open_known(true), *without = load_open_known(false);
    double ratio[2][LOAD_ROUNDS_MAX], over = 0;
    uint64_t bad = 0, next = LOAD_KEYS;
    const bool ok = with != NULL && without != NULL;
    for (uint32_t load = 0; ok && load < 2; load++) {
        for (uint32_t n = 0; n < rounds; n++) {
            uint64_t same = next;
            const bool first = (n & 1) != 0;
            const double a = load_absent(first ? with : without, &same, load != 0, &bad);
            const double b = load_absent(first ? without : with, &next, load != 0, &bad);
            ratio[load][n] = first ? a / b : b / a;
        }
        if (load == 0) {
            cellar_bloom_info i = cellar_bloom_info_default();
            bad += cellar_bloom_info_get(with, &i) != CELLAR_OK;
            const double asked = (double)(next - LOAD_KEYS);
            over = (asked - (double)i.rejects) / asked / i.false_positive_rate;
        }
    }
    if (ok) {
        const char *note = bad != 0 ? "bad" : NULL;
        suite_say("load", "cellar", "absent", "absent_get", ratio[0], rounds, "cpu", note);
        suite_say("load", "cellar", "absent", "absent_load", ratio[1], rounds, "cpu", note);
        suite_say("load", "cellar", "absent", "bloom_over", &over, 1, "cpu", note);
    }
    if (with != NULL) { cellar_close(with); }
    if (without != NULL) { cellar_close(without); }
    return !ok || bad != 0 ? CELL_WRONG : CELL_OK;
}

typedef struct load_storm {
    cellar *c;
    pthread_mutex_t gate; /* held by the main thread: no thread ends while others still wake */
    bool bare;            /* no cache: all threads sleep on `word` */
    _Atomic uint32_t word;
    atomic_uint calls, bad, asking, done, index;
    _Atomic uint64_t loaded_ns;
    uint64_t done_ns[LOAD_THREADS];
} load_storm;

static void load_ms(void)
{
    const struct timespec ms = { 0, 1000000 };
    nanosleep(&ms, NULL);
}

static cellar_err load_slow(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    load_storm *s = ctx;
    (void)key;
    (void)key_len;
    atomic_fetch_add(&s->calls, 1);
    while (atomic_load(&s->asking) < LOAD_THREADS) { load_ms(); }
    load_ms();
    const cellar_err err = cellar_load_value(ld, load_bytes, sizeof load_bytes);
    atomic_store(&s->loaded_ns, host_wall_ns());
    return err;
}

static void load_futex(_Atomic uint32_t *word, int op, uint32_t n)
{
    (void)syscall(SYS_futex, (uint32_t *)(void *)word, op, n, NULL, NULL, 0);
}

static void *load_asker(void *arg)
{
    load_storm *s = arg;
    char buf[LOAD_VALUE_LEN];
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = sizeof buf;
    const unsigned i = atomic_fetch_add(&s->index, 1);
    size_t len; /* a thread's first call allocates its counters: before the race */
    (void)cellar_get(s->c, "other", 5, buf, sizeof buf, &len);
    atomic_fetch_add(&s->asking, 1);
    if (s->bare) {
        while (atomic_load(&s->word) == 0) { load_futex(&s->word, FUTEX_WAIT_PRIVATE, 0); }
    } else if (cellar_get_or_load(s->c, "cold", 4, NULL, load_slow, s, &r) != CELLAR_OK) {
        atomic_fetch_add(&s->bad, 1);
    }
    s->done_ns[i] = host_wall_ns();
    atomic_fetch_add(&s->done, 1);
    pthread_mutex_lock(&s->gate);
    pthread_mutex_unlock(&s->gate);
    return NULL;
}

static void load_bare_wake(load_storm *s)
{
    while (atomic_load(&s->asking) < LOAD_THREADS) { load_ms(); }
    load_ms();
    atomic_store(&s->loaded_ns, host_wall_ns());
    atomic_store(&s->word, 1);
    load_futex(&s->word, FUTEX_WAKE_PRIVATE, INT_MAX);
}

/* Of one storm: loader calls, and microseconds until the last thread had the value. */
static bool load_one_storm(load_storm *s, bool bare, double *calls, double *last_us)
{
    static pthread_t threads[LOAD_THREADS];
    pthread_attr_t attr;
    s->bare = bare;
    atomic_store(&s->calls, 0);
    atomic_store(&s->index, 0);
    atomic_store(&s->asking, 0);
    atomic_store(&s->done, 0);
    atomic_store(&s->word, 0);
    cellar_delete(s->c, "cold", 4);
    pthread_mutex_init(&s->gate, NULL);
    pthread_mutex_lock(&s->gate);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)64 << 10);
    for (uint32_t i = 0; i < LOAD_THREADS; i++) {
        if (pthread_create(&threads[i], &attr, load_asker, s) != 0) { return false; }
    }
    if (bare) { load_bare_wake(s); }
    while (atomic_load(&s->done) < LOAD_THREADS) { load_ms(); }
    pthread_mutex_unlock(&s->gate);
    for (uint32_t i = 0; i < LOAD_THREADS; i++) { pthread_join(threads[i], NULL); }
    pthread_attr_destroy(&attr);
    pthread_mutex_destroy(&s->gate);
    uint64_t last = 0;
    const uint64_t loaded = atomic_load(&s->loaded_ns);
    for (uint32_t i = 0; i < LOAD_THREADS; i++) {
        last = s->done_ns[i] > last ? s->done_ns[i] : last;
    }
    if (!bare) { *calls = atomic_load(&s->calls); }
    *last_us = last > loaded ? (double)(last - loaded) / 1e3 : 0;
    return true;
}

static int load_storms(uint32_t rounds)
{
    load_storm *s = calloc(1, sizeof *s);
    double calls[LOAD_ROUNDS_MAX], last[LOAD_ROUNDS_MAX], bare[LOAD_ROUNDS_MAX];
    double times[LOAD_ROUNDS_MAX];
    if (s == NULL) { return CELL_WRONG; }
    s->c = load_open(16ull << 20);
    bool ok = s->c != NULL;
    for (uint32_t n = 0; ok && n < rounds; n++) {
        const bool first = (n & 1) != 0;
        if (first) { ok = load_one_storm(s, true, &calls[n], &bare[n]); }
        ok = ok && load_one_storm(s, false, &calls[n], &last[n]);
        if (!first) { ok = ok && load_one_storm(s, true, &calls[n], &bare[n]); }
        times[n] = ok && bare[n] > 0 ? last[n] / bare[n] : 0;
    }
    if (!ok) {
        json_say("load", "cellar", "storm1000", "skip", "1000 threads could not be started");
    } else {
        suite_say("load", "cellar", "storm1000", "load_calls", calls, rounds, "wall", NULL);
        suite_say("load", "cellar", "storm1000", "load_last_us", last, rounds, "wall", NULL);
        suite_say("load", "bare", "storm1000", "load_bare_us", bare, rounds, "wall", NULL);
        suite_say("load", "cellar", "storm1000", "load_last_x", times, rounds, "wall", NULL);
    }
    const bool bad = atomic_load(&s->bad) != 0;
    if (s->c != NULL) { cellar_close(s->c); }
    free(s);
    return bad ? CELL_WRONG : CELL_OK;
}

static int load_run(const cell_options *o)
{
    uint32_t rounds = o->rounds < LOAD_ROUNDS_MAX ? o->rounds : LOAD_ROUNDS_MAX;
    if (rounds < 5) { rounds = 5; }
    memset(load_bytes, 'v', sizeof load_bytes);
    printf("\nload  (1 M keys, 16 B, 100 B; instant loader; 1000 threads)\n");
    const int hits = load_hits(rounds), misses = load_misses(rounds);
    const int absents = load_absents(rounds), storms = load_storms(rounds);
    return hits | misses | absents | storms;
}
#endif

SUITE_OF_LIBRARY(load, "reading through the cache beside plain calls", load_run, false);
