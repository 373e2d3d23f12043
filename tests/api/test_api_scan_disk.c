/* SPDX-License-Identifier: MIT
 *
 * Aim:    A scan with CELLAR_SCAN_DISK visits each key that cellar_get finds, and no other: in
 *         memory, in the stage, on disk, after a reopen, and while entries move between the levels.
 * Method: Real directories, a clock of this file. The oracle is cellar_contains of each key. */
#include "tests/support/disk_store.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "tests/support/settings.h"

#define KEYS 3000u

static settings config(uint64_t max_entries)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20,
                     .config.max_entries = max_entries, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .host.no_threads = 1 };
    return cfg;
}

static cellar *open_it(uint64_t max_entries)
{
    const settings cfg = config(max_entries);
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

/* A step of a scan. A disk of a busy machine that does not answer is asked again. */
static cellar_err step(cellar *c, uint64_t *cursor, const cellar_scan_opts *o, cellar_scan_fn fn,
                       void *ctx)
{
    cellar_err err;
    while ((err = cellar_scan(c, cursor, o, fn, ctx)) == CELLAR_E_BUSY) { usleep(1000); }
    return err;
}

static size_t key_of(char *buf, uint32_t number)
{
    return (size_t)snprintf(buf, 32, "%s:%u", number % 3 == 0 ? "user" : "page", number);
}

/* Store an entry that the disk takes when memory evicts it: it was read. */
static void put(cellar *c, uint32_t number, size_t value_len, int64_t ttl_ms)
{
    static char value[20000];
    char key[32], got[20000];
    const size_t n = key_of(key, number);
    size_t len = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    memset(value, (int)('a' + number % 26), value_len);
    T_EQ_I64(cellar_set(c, key, n, value, value_len, &o), CELLAR_OK);
    T_EQ_I64(cellar_get(c, key, n, got, sizeof got, &len), CELLAR_OK);
}

static void fill(cellar *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        put(c, i, i % 50 == 7 ? 9000 : 40 + i % 300, i % 10 == 1 ? 60000 : 0);
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
}

typedef struct seen {
    uint32_t times[KEYS];
    uint32_t stop_every, visits, values;
    bool wrong;
} seen;

static bool note(const cellar_scan_entry *e, void *ctx)
{
    seen *s = ctx;
    char key[32];
    unsigned number = KEYS;
    if (e->key_len < sizeof key) {
        memcpy(key, e->key, e->key_len);
        key[e->key_len] = '\0';
        if (sscanf(key + 5, "%u", &number) != 1) { number = KEYS; }
    }
    if (number >= KEYS) {
        s->wrong = true;
        return true;
    }
    s->times[number]++;
    s->visits++;
    if (e->value != NULL && e->value_len > 0) {
        s->values++;
        s->wrong = s->wrong || *(const char *)e->value != (char)('a' + number % 26);
    }
    s->wrong = s->wrong || e->kind != CELLAR_KIND_VALUE ||
               (number % 10 == 1) != (e->ttl_left_ms != CELLAR_TTL_NONE);
    return s->stop_every == 0 || s->visits % s->stop_every != 0;
}

static cellar_scan_opts disk_opts(size_t buckets)
{
    cellar_scan_opts o = { .struct_size = sizeof o, .flags = CELLAR_SCAN_DISK,
                           .bucket_count = buckets };
    return o;
}

static void walk(cellar *c, const cellar_scan_opts *o, seen *s)
{
    uint64_t cursor = 0;
    uint32_t calls = 0;
    do {
        T_REQUIRE(step(c, &cursor, o, note, s) == CELLAR_OK);
        T_REQUIRE(++calls < 1000000);
    } while (cursor != 0);
}

/* Check a walk against the oracle. Return the number of keys that only the disk has. */
static uint32_t check(cellar *c, const seen *s)
{
    uint32_t below = 0, wrong = 0;
    seen *memory = calloc(1, sizeof *memory);
    cellar_scan_opts o = cellar_scan_opts_default();
    T_REQUIRE(memory != NULL);
    walk(c, &o, memory);
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        const bool there = cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
        const uint32_t most = memory->times[i] != 0 ? 3 : 2;
        wrong += there ? s->times[i] == 0 || s->times[i] > most : s->times[i] != 0;
        below += there && memory->times[i] == 0;
    }
    T_EQ_U64(wrong, 0);
    T_CHECK(!s->wrong);
    free(memory);
    return below;
}

static seen *fresh(uint32_t stop_every)
{
    seen *s = calloc(1, sizeof *s);
    T_REQUIRE(s != NULL);
    s->stop_every = stop_every;
    return s;
}

/* Walk with a place, after reads that leave entries on disk and in memory: each key that get finds
 * is visited once. */
static void check_once(cellar *c, size_t buckets)
{
    static char value[20000];
    for (uint32_t i = 0; i < KEYS; i += 20) {
        char key[32];
        size_t len;
        const size_t n = key_of(key, i);
        (void)cellar_get(c, key, n, value, sizeof value, &len);
        if (i % 40 == 0) { /* memory has a version that the disk lacks */
            cellar_entry_info info = { .struct_size = sizeof info };
            (void)cellar_entry_info_get(c, key, n, CELLAR_GET_WANT_VERSION, &info);
        }
    }
    seen *s = fresh(0);
    uint64_t place = 77;
    cellar_scan_opts o = disk_opts(buckets);
    o.place = &place;
    walk(c, &o, s);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        wrong += s->times[i] != (cellar_contains(c, key, key_of(key, i)) == CELLAR_OK);
    }
    T_EQ_U64(wrong, 0);
    T_CHECK(!s->wrong);
    free(s);
}

/* ---- cases ---- */

T_ALONE(scan_with_disk_visits_what_get_finds)
{
    store_begin();
    cellar *c = open_it(200);
    fill(c, 0, KEYS);
    for (uint32_t i = 0; i < KEYS; i += 7) { /* gone, or newer */
        char key[32];
        (void)cellar_delete(c, key, key_of(key, i));
        if (i % 2 == 0) { put(c, i, 50, i % 10 == 1 ? 60000 : 0); }
    }
    T_EQ_I64(cellar_delete_by_pattern(c, "page:1?5*", 9, NULL), CELLAR_OK);
    const size_t buckets[] = { 1, 3, 64, 100000 };
    for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++) {
        seen *s = fresh(0);
        const cellar_scan_opts o = disk_opts(buckets[i]);
        walk(c, &o, s);
        T_CHECK(check(c, s) > 1000);
        T_CHECK(s->values > 1000);
        free(s);
        check_once(c, buckets[i]);
    }
    seen *one = fresh(1); /* each call ends behind one entry */
    const cellar_scan_opts o = disk_opts(0);
    walk(c, &o, one);
    (void)check(c, one);
    free(one);
    T_EQ_I64(cellar_save(c, NULL), CELLAR_OK); /* memory has no addresses of these copies */
    check_once(c, 0);
    now_ms += 120000; /* those with a TTL are gone */
    seen *s = fresh(0);
    walk(c, &o, s);
    (void)check(c, s);
    T_EQ_U64(s->times[11], 0);
    free(s);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ALONE(scan_with_disk_after_a_reopen_visits_what_get_finds)
{
    store_begin();
    cellar *c = open_it(300);
    fill(c, 0, KEYS);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    c = open_it(300);
    seen *s = fresh(0);
    const cellar_scan_opts o = disk_opts(16);
    walk(c, &o, s);
    T_CHECK(check(c, s) > 2000);
    fill(c, 0, KEYS / 10); /* newer records in the stage, older ones on disk */
    memset(s, 0, sizeof *s);
    walk(c, &o, s);
    T_CHECK(check(c, s) > 1000);
    free(s);
    check_once(c, 16);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ALONE(entries_that_move_between_the_levels_are_visited)
{
    store_begin();
    cellar *c = open_it(200);
    fill(c, 0, KEYS);
    for (uint32_t round = 0; round < 4; round++) {
        seen *s = fresh(0);
        cellar_scan_opts o = disk_opts(1);
        uint64_t cursor = 0, place = 0, x = t_.seed + round;
        if (round % 2 == 1) { o.place = &place; }
        bool there[KEYS];
        for (uint32_t i = 0; i < KEYS; i++) {
            char key[32];
            there[i] = cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
        }
        do {
            T_REQUIRE(step(c, &cursor, &o, note, s) == CELLAR_OK);
            for (uint32_t n = 0; n < 20; n++) { /* reads bring entries up, others leave memory */
                char key[32], buf[20000];
                size_t len;
                x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
                (void)cellar_get(c, key, key_of(key, (uint32_t)(x >> 33) % KEYS), buf, sizeof buf,
                                 &len);
            }
            (void)cellar_tick(c, 200, NULL);
        } while (cursor != 0);
        uint32_t missed = 0;
        for (uint32_t i = 0; i < KEYS; i++) {
            char key[32];
            const bool still = cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
            missed += there[i] && still && s->times[i] == 0;
        }
        T_EQ_U64(missed, 0);
        T_CHECK(!s->wrong);
        free(s);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

static bool count_one(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint32_t *)ctx;
    return true;
}

T_ALONE(scan_with_disk_keeps_pattern_and_namespace)
{
    store_begin();
    cellar *c = open_it(200), *other = NULL, *memory = NULL;
    T_EQ_I64(cellar_namespace_open(c, "other", NULL, &other), CELLAR_OK);
    cellar_namespace_config vo = { .struct_size = sizeof vo, .tier = CELLAR_TIER_L1 };
    T_EQ_I64(cellar_namespace_open(c, "memory", &vo, &memory), CELLAR_OK);
    fill(c, 0, KEYS / 2);
    fill(other, KEYS / 2, KEYS);
    T_EQ_I64(cellar_set_str(memory, "user:1", "b", 60000), CELLAR_OK);
    seen *s = fresh(0);
    cellar_scan_opts o = disk_opts(32);
    walk(c, &o, s);
    (void)check(c, s);
    memset(s, 0, sizeof *s);
    o.pattern = "user:*";
    o.pattern_len = 6;
    walk(other, &o, s);
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        const bool there = i % 3 == 0 && cellar_contains(other, key, key_of(key, i)) == CELLAR_OK;
        T_EQ_U64(s->times[i] != 0, there);
    }
    free(s);
    uint32_t n = 0;
    uint64_t cursor = 0;
    o = disk_opts(10000);
    T_EQ_I64(step(memory, &cursor, &o, count_one, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_U64(cursor, 0);
    T_EQ_I64(cellar_clear(other), CELLAR_OK);
    n = 0;
    do {
        T_EQ_I64(step(other, &cursor, &o, count_one, &n), CELLAR_OK);
    } while (cursor != 0);
    T_EQ_U64(n, 0);
    T_EQ_I64(cellar_namespace_close(other), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(memory), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ALONE(any_cursor_ends_and_invents_no_entry)
{
    store_begin();
    cellar *c = open_it(200);
    fill(c, 0, KEYS);
    uint64_t x = t_.seed | 1;
    for (uint64_t i = 0, most = t_share(3000); i < most; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t cursor = x >> (i % 64);
        seen *s = fresh(0);
        const cellar_scan_opts o = disk_opts(4);
        for (uint32_t n = 0; n < 8; n++) {
            T_EQ_I64(step(c, &cursor, &o, note, s), CELLAR_OK);
            if (cursor == 0) { break; }
        }
        T_CHECK(!s->wrong);
        free(s);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

#define STORE(fn) T_WITHIN(fn, store_begin(), store_end())

T_CASE_ON(keys_of_any_length_are_visited, STORE)
{
    cellar *c = open_it(4);
    static char key[CELLAR_KEY_MAX];
    char buf[16];
    size_t len;
    memset(key, 'k', sizeof key);
    for (uint32_t i = 0; i < 40; i++) {
        const size_t n = i % 2 == 0 ? sizeof key - i : 300 + i * 20;
        T_EQ_I64(cellar_set(c, key, n, "v", 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, key, n, buf, sizeof buf, &len), CELLAR_OK);
    }
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    uint32_t there = 0, n = 0;
    for (uint32_t i = 0; i < 40; i++) {
        const size_t klen = i % 2 == 0 ? sizeof key - i : 300 + i * 20;
        there += cellar_contains(c, key, klen) == CELLAR_OK;
    }
    const cellar_scan_opts o = disk_opts(1);
    uint64_t cursor = 0;
    do {
        T_EQ_I64(step(c, &cursor, &o, count_one, &n), CELLAR_OK);
    } while (cursor != 0);
    T_CHECK(there > 20 && n >= there && n <= 3 * there);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_ALONE(scan_with_disk_of_a_full_store_needs_no_free_budget)
{
    store_begin();
    cellar *c = open_it(0);
    static char value[2000];
    char key[32], buf[sizeof value];
    size_t len;
    for (uint32_t i = 0; i < 9000; i++) {
        const size_t n = key_of(key, i);
        T_EQ_I64(cellar_set(c, key, n, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, key, n, buf, sizeof buf, &len), CELLAR_OK);
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
    uint32_t there = 0, n = 0;
    for (uint32_t i = 0; i < 9000; i++) {
        there += cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
    }
    const cellar_scan_opts o = disk_opts(100);
    uint64_t cursor = 0;
    do {
        T_REQUIRE(step(c, &cursor, &o, count_one, &n) == CELLAR_OK);
    } while (cursor != 0);
    T_CHECK(there > 3000 && n >= there);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_CASE_ON(wrong_options_of_a_scan_are_refused, STORE)
{
    cellar *c = open_it(0);
    uint64_t cursor = 0;
    uint32_t n = 0;
    cellar_scan_opts o = { .struct_size = sizeof o, .flags = 2 };
    T_EQ_I64(cellar_scan(c, &cursor, &o, count_one, &n), CELLAR_E_UNSUPPORTED);
    o = cellar_scan_opts_default();
    o.reserved0 = 1;
    T_EQ_I64(cellar_scan(c, &cursor, &o, count_one, &n), CELLAR_E_UNSUPPORTED);
    o = cellar_scan_opts_default();
    o.struct_size = 0;
    T_EQ_I64(cellar_scan(c, &cursor, &o, count_one, &n), CELLAR_E_INVAL);
    o = cellar_scan_opts_default();
    o.pattern_len = 3;
    T_EQ_I64(cellar_scan(c, &cursor, &o, count_one, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_scan(c, NULL, NULL, count_one, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_scan(c, &cursor, NULL, NULL, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_scan(NULL, &cursor, NULL, count_one, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_str(c, "user:3", "d", 0), CELLAR_OK);
    T_EQ_I64(step(c, &cursor, NULL, count_one, &n), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* ---- threads ---- */

static _Atomic bool over;

static void *stir(void *arg)
{
    cellar *c = arg;
    uint64_t x = 1;
    while (!atomic_load(&over)) {
        char key[32], buf[20000];
        size_t len;
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t number = (uint32_t)(x >> 33) % KEYS;
        if (number % 2 == 0) {
            (void)cellar_get(c, key, key_of(key, number), buf, sizeof buf, &len);
        } else {
            put(c, number, 40 + number % 300, number % 10 == 1 ? 60000 : 0);
        }
    }
    return NULL;
}

T_CASE_ON(scan_with_disk_beside_threads_visits_what_stays, STORE)
{
    settings cfg = config(500);
    cfg.host.no_threads = 0;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    fill(c, 0, KEYS);
    bool there[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        there[i] = cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
    }
    pthread_t thread;
    atomic_store(&over, false);
    T_REQUIRE(pthread_create(&thread, NULL, stir, c) == 0);
    seen *s = fresh(0);
    uint64_t place = 0;
    cellar_scan_opts o = disk_opts(2);
    if (t_.seed % 2 == 1) { o.place = &place; }
    walk(c, &o, s);
    atomic_store(&over, true);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    uint32_t missed = 0, kept = 0;
    for (uint32_t i = 0; i < KEYS; i += 2) { /* those are only read */
        char key[32];
        const bool still = cellar_contains(c, key, key_of(key, i)) == CELLAR_OK;
        kept += there[i] && still;
        missed += there[i] && still && s->times[i] == 0;
    }
    T_CHECK(kept > 100);
    T_EQ_U64(missed, 0);
    T_CHECK(!s->wrong);
    free(s);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_MAIN("api_scan_disk")
