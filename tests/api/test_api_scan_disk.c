/* SPDX-License-Identifier: MIT
 *
 * Aim:    A scan with CELLAR_SCAN_DISK visits each key that cellar_get finds, and no other: in
 *         memory, in the stage, on disk, after a reopen, and while entries move between the levels.
 * Method: Real directories, a clock of this file. The oracle is cellar_contains of each key. */
#include "tests/support/disk_store.h"
#include "tests/support/refusals.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"
#include "tests/support/toy_cipher.h"

#include "cellar_invalidate.h"
#include "cellar_l2.h"

#define KEYS 3000u

static settings config(uint64_t max_entries)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20,
                     .config.max_entries = max_entries, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.close_ms = CELLAR_TTL_NONE,
                     .host.clock = read_clock, .host.no_threads = 1 };
    return cfg;
}

static cellar *open_it(uint64_t max_entries)
{
    const settings cfg = config(max_entries);
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    closed_later(c);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static void end_folder(void *unused) { (void)unused, store_end(); }

/* Open a store in a new folder, both for the case. */
static cellar *begin(uint64_t max_entries)
{
    store_begin();
    left_add(store, end_folder);
    return open_it(max_entries);
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

static bool there(cellar *c, uint32_t number)
{
    char key[32];
    return cellar_contains(c, key, key_of(key, number)) == CELLAR_OK;
}

/* Read an entry, which may bring it into memory. */
static void read_it(cellar *c, uint32_t number)
{
    char key[32], buf[20000];
    size_t len;
    (void)cellar_get(c, key, key_of(key, number), buf, sizeof buf, &len);
}

/* Store an entry that the disk takes when memory evicts it: it was read. */
static void put(cellar *c, uint32_t number, size_t value_len, int64_t ttl_ms)
{
    static char value[20000];
    char key[32], got[20000];
    const size_t n = key_of(key, number);
    size_t len = 0;
    memset(value, (int)('a' + number % 26), value_len);
    T_EQ_I64(cellar_set(c, key, n, value, value_len, SET_OPTS(.ttl_ms = ttl_ms)), CELLAR_OK);
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
        const uint32_t most = memory->times[i] != 0 ? 3 : 2;
        wrong += there(c, i) ? s->times[i] == 0 || s->times[i] > most : s->times[i] != 0;
        below += there(c, i) && memory->times[i] == 0;
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
    for (uint32_t i = 0; i < KEYS; i += 20) {
        char key[32];
        read_it(c, i);
        if (i % 40 != 0) { continue; }
        cellar_entry_info info = { .struct_size = sizeof info }; /* the disk lacks this version */
        (void)cellar_entry_info_get(c, key, key_of(key, i), CELLAR_GET_WANT_VERSION, &info);
    }
    seen *s = fresh(0);
    uint64_t place = 77;
    cellar_scan_opts o = disk_opts(buckets);
    o.place = &place;
    walk(c, &o, s);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < KEYS; i++) { wrong += s->times[i] != there(c, i); }
    T_EQ_U64(wrong, 0);
    T_CHECK(!s->wrong);
    free(s);
}

/* ---- cases ---- */

T_ALONE(scan_with_disk_visits_what_get_finds)
{
    cellar *c = begin(200);
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
}

T_ALONE(scan_with_disk_after_a_reopen_visits_what_get_finds)
{
    cellar *c = begin(300);
    fill(c, 0, KEYS);
    close_now(c);
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
}

T_ALONE(entries_that_move_between_the_levels_are_visited)
{
    cellar *c = begin(200);
    fill(c, 0, KEYS);
    for (uint32_t round = 0; round < 4; round++) {
        seen *s = fresh(0);
        cellar_scan_opts o = disk_opts(1);
        uint64_t cursor = 0, place = 0, x = t_.seed + round;
        if (round % 2 == 1) { o.place = &place; }
        bool was[KEYS];
        for (uint32_t i = 0; i < KEYS; i++) { was[i] = there(c, i); }
        do {
            T_REQUIRE(step(c, &cursor, &o, note, s) == CELLAR_OK);
            for (uint32_t n = 0; n < 20; n++) { /* reads bring entries up, others leave memory */
                x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
                read_it(c, (uint32_t)(x >> 33) % KEYS);
            }
            (void)cellar_tick(c, 200, NULL);
        } while (cursor != 0);
        uint32_t missed = 0;
        for (uint32_t i = 0; i < KEYS; i++) { missed += was[i] && there(c, i) && s->times[i] == 0; }
        T_EQ_U64(missed, 0);
        T_CHECK(!s->wrong);
        free(s);
    }
}

static bool count_one(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint32_t *)ctx;
    return true;
}

static uint32_t count(cellar *c, size_t buckets)
{
    const cellar_scan_opts o = disk_opts(buckets);
    uint64_t cursor = 0;
    uint32_t n = 0;
    do {
        T_REQUIRE(step(c, &cursor, &o, count_one, &n) == CELLAR_OK);
    } while (cursor != 0);
    return n;
}

T_ALONE(scan_with_disk_keeps_pattern_and_namespace)
{
    cellar *c = begin(200), *other = space_of(c, "other");
    cellar *memory = space_with(c, "memory", SPACE_OPTS(.tier = CELLAR_TIER_L1));
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
        T_EQ_U64(s->times[i] != 0, i % 3 == 0 && there(other, i));
    }
    free(s);
    T_EQ_U64(count(memory, 10000), 1);
    T_EQ_I64(cellar_clear(other), CELLAR_OK);
    T_EQ_U64(count(other, 10000), 0);
}

T_ALONE(any_cursor_ends_and_invents_no_entry)
{
    cellar *c = begin(200);
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
}

T_CASE(keys_of_any_length_are_visited)
{
    cellar *c = begin(4);
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
    uint32_t kept = 0;
    const uint32_t n = count(c, 1);
    for (uint32_t i = 0; i < 40; i++) {
        const size_t klen = i % 2 == 0 ? sizeof key - i : 300 + i * 20;
        kept += cellar_contains(c, key, klen) == CELLAR_OK;
    }
    T_CHECK(kept > 20 && n >= kept && n <= 3 * kept);
}

T_ALONE(scan_with_disk_of_a_full_store_needs_no_free_budget)
{
    cellar *c = begin(0);
    static char value[2000];
    char key[32], buf[sizeof value];
    size_t len;
    for (uint32_t i = 0; i < 9000; i++) {
        const size_t n = key_of(key, i);
        T_EQ_I64(cellar_set(c, key, n, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, key, n, buf, sizeof buf, &len), CELLAR_OK);
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < 9000; i++) { kept += there(c, i); }
    T_CHECK(kept > 3000 && count(c, 100) >= kept);
}

static bool note_left(const cellar_scan_entry *e, void *left_ms)
{
    *(int64_t *)left_ms = e->ttl_left_ms;
    return true;
}

T_CASE(scan_tells_the_end_that_a_use_in_memory_has_moved)
{
    store_begin();
    left_add(store, end_folder);
    settings cfg = config(0);
    cfg.l2.write = CELLAR_L2_WRITE_ON_SET;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    closed_later(c);
    T_EQ_I64(cellar_set(c, "user:0", 6, "v", 1, SET_OPTS(.idle_ms = 40000)), CELLAR_OK);
    now_ms += 30000;
    read_it(c, 0);
    uint64_t cursor = 0, place = 0;
    int64_t left_ms = 0;
    cellar_scan_opts o = disk_opts(1 << 20);
    o.place = &place;
    T_EQ_I64(step(c, &cursor, &o, note_left, &left_ms), CELLAR_OK);
    T_EQ_U64(cursor, 0);
    T_EQ_I64(left_ms, 40000);
}

T_CASE(wrong_options_of_a_scan_are_refused)
{
    cellar *c = begin(0);
    uint64_t cursor = 0;
    uint32_t n = 0;
#define SCANS(...) \
    cellar_scan(c, &cursor, &(const cellar_scan_opts){ __VA_ARGS__ }, count_one, &n)
    const size_t size = sizeof(cellar_scan_opts);
    REFUSALS("scans", { CELLAR_E_UNSUPPORTED, SCANS(.struct_size = size, .flags = 2) },
             { CELLAR_E_UNSUPPORTED, SCANS(.struct_size = size, .reserved0 = 1) },
             INVAL(SCANS(.struct_size = 0)), INVAL(SCANS(.struct_size = size, .pattern_len = 3)),
             INVAL(cellar_scan(c, NULL, NULL, count_one, &n)),
             INVAL(cellar_scan(c, &cursor, NULL, NULL, &n)),
             INVAL(cellar_scan(NULL, &cursor, NULL, count_one, &n)));
    T_EQ_I64(cellar_set_str(c, "user:3", "d", 0), CELLAR_OK);
    T_EQ_I64(step(c, &cursor, NULL, count_one, &n), CELLAR_OK);
}

/* ---- threads ---- */

static _Atomic bool over;

static void *stir(void *arg)
{
    cellar *c = arg;
    uint64_t x = 1;
    while (!atomic_load(&over)) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t number = (uint32_t)(x >> 33) % KEYS;
        if (number % 2 == 0) {
            read_it(c, number);
        } else {
            put(c, number, 40 + number % 300, number % 10 == 1 ? 60000 : 0);
        }
    }
    return NULL;
}

T_CASE(scan_with_disk_beside_threads_visits_what_stays)
{
    store_begin();
    left_add(store, end_folder);
    settings cfg = config(500);
    cfg.host.no_threads = 0;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    closed_later(c);
    fill(c, 0, KEYS);
    bool was[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) { was[i] = there(c, i); }
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
        const bool still = was[i] && there(c, i);
        kept += still;
        missed += still && s->times[i] == 0;
    }
    T_CHECK(kept > 100);
    T_EQ_U64(missed, 0);
    T_CHECK(!s->wrong);
    free(s);
}

static struct {
    cellar *c;
    pthread_t scans;
    uint64_t secret;
    uint32_t seals;
    _Atomic uint32_t visits;
} on_its_way; /* the first entry that memory evicts, while a scan runs */

static bool note_visit(const cellar_scan_entry *e, void *ctx)
{
    (void)ctx;
    if (memcmp(e->key, "user:0", 6) == 0) { atomic_fetch_add(&on_its_way.visits, 1); }
    return true;
}

static void *scan_all(void *arg)
{
    const cellar_scan_opts o = disk_opts(1 << 20);
    uint64_t cursor = 0;
    do {
        T_EQ_I64(step(on_its_way.c, &cursor, &o, note_visit, NULL), CELLAR_OK);
    } while (cursor != 0);
    atomic_store(&over, true);
    return arg;
}

/* A scan that does not wait for the put ends before it. */
static int seal_beside_a_scan(const unsigned char *nonce, const void *aad, size_t aad_len,
                              const void *in, size_t in_len, void *out, void *ctx)
{
    if (++on_its_way.seals == 1) {
        T_REQUIRE(pthread_create(&on_its_way.scans, NULL, scan_all, NULL) == 0);
        for (int i = 0; i < 100 && !atomic_load(&over); i++) { usleep(1000); }
    }
    return toy_seal(nonce, aad, aad_len, in, in_len, out, ctx);
}

T_CASE(scan_visits_an_entry_on_its_way_to_disk)
{
    store_begin();
    left_add(store, end_folder);
    settings cfg = config(1);
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &on_its_way.secret,
                               .seal = seal_beside_a_scan, .open = toy_open,
                               .overhead_bytes = sizeof(uint64_t) };
    cfg.l2.cipher = &crypt;
    T_REQUIRE(settings_open(&cfg, &on_its_way.c) == CELLAR_OK);
    closed_later(on_its_way.c);
    atomic_store(&over, false);
    put(on_its_way.c, 0, 1, 0);
    put(on_its_way.c, 3, 1, 0); /* evicts the other one */
    T_EQ_I64(pthread_join(on_its_way.scans, NULL), 0);
    T_EQ_U64(on_its_way.visits, 1);
}

T_MAIN("api_scan_disk")
