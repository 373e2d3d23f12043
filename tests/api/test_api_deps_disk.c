/* SPDX-License-Identifier: MIT
 *
 * Aim:    A change invalidates dependents on disk, too: evicted, written through, refreshed, or in
 *         a namespace without an open handle. No reopened store serves them, after a close or a
 *         kill. A change also reaches dependents through evicted values.
 * Method: Dishes d0, d1, .. depend on a0, a1, ..; courses c0, .. depend on dishes. Memory is
 *         flooded, so that dishes are only on disk. The folder is opened again, with the table of
 *         the store or without it. */
#include "tests/support/folder.h"
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"

#include <sys/wait.h>
#include <unistd.h>

enum { PAIRS = 100, FLOOD = 1400 }; /* FLOOD: entries of 4 KiB, slightly more than memory holds */

#define MEMORY (4u << 20)

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static const uint8_t secret[32] = { 9 };

static void begin(void)
{
    t_folder(folder);
    snprintf(store, sizeof store, "%s/store", folder);
    atomic_store(&kit_now_ms, 1000000);
}

static void end(void)
{
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

static cellar *open_it(bool disk, bool deps, uint32_t mode, uint64_t bytes)
{
    settings cfg = settings_default();
    cellar_namespace_opts root = cellar_namespace_opts_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = bytes;
    cfg.host.no_threads = 1;
    cfg.host.clock = kit_clock;
    cfg.tuning.hash_key = secret;
    cfg.tuning.track_dependencies = deps;
    cfg.tuning.jitter_pct = CELLAR_OFF;
    if (disk) {
        cfg.tuning.hash_key = NULL; /* the folder has its own */
        cfg.config.l2_path = store;
        cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    }
    root.track_dependencies = deps;
    root.l2_write = mode;
    cfg.config.root = &root;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static cellar *open_disk(uint32_t mode) { return open_it(true, true, mode, MEMORY); }

static void put(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

static cellar_err get(cellar *c, const char *key)
{
    char buf[64];
    size_t len;
    return cellar_get(c, key, strlen(key), buf, sizeof buf, &len);
}

typedef struct cook {
    cellar *c, *from;   /* from NULL: c */
    bool same, nothing; /* reports not modified; reads nothing */
    const cellar_bytes *tags;
    size_t tag_count;
} cook;

static cellar_err cook_load(cellar_load *ld, const void *key, size_t key_len, void *ctx);

/* d7 reads a7; c7 loads d7; o7 reads nothing. */
static cellar_err cook_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const cook *k = ctx;
    char read[64], buf[64];
    size_t len;
    cellar_result r = cellar_result_default();
    T_REQUIRE(key_len < sizeof read);
    memcpy(read, key, key_len);
    if (read[0] == 'c') {
        read[0] = 'd';
        T_CHECK(cellar_get_or_load(k->c, read, key_len, NULL, cook_load, ctx, &r) >= 0);
        cellar_result_free(&r);
    } else if (read[0] == 'd' && !k->nothing) {
        read[0] = 'a';
        (void)cellar_get(k->from != NULL ? k->from : k->c, read, key_len, buf, sizeof buf, &len);
    }
    if (k->same) { return cellar_load_not_modified(ld); }
    if (k->tag_count != 0) { T_EQ_I64(cellar_load_set_tags(ld, k->tags, k->tag_count), CELLAR_OK); }
    return cellar_load_value(ld, "dish", 4);
}

static uint32_t dish_with(cook *k, const char *key, uint32_t flags)
{
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = flags;
    T_EQ_I64(cellar_get_or_load(k->c, key, strlen(key), &o, cook_load, k, &r), CELLAR_OK);
    const uint32_t from = r.source;
    cellar_result_free(&r);
    return from;
}
static uint32_t dish(cook *k, const char *key) { return dish_with(k, key, 0); }

static const char *name(char kind, int i)
{
    static char text[4][16];
    static unsigned at;
    at = (at + 1) % 4;
    snprintf(text[at], sizeof text[at], "%c%d", kind, i);
    return text[at];
}

/* Evict unused entries; `keep`: a kind of key that is read all the time. */
static void flood(cellar *c, char keep)
{
    static char value[4096];
    char buf[64], key[32];
    size_t len;
    for (int i = 0; i < FLOOD; i++) {
        snprintf(key, sizeof key, "flood%d", i);
        T_EQ_I64(cellar_set(c, key, strlen(key), value, sizeof value, NULL), CELLAR_OK);
        for (int j = 0; keep != 0 && i % 20 == 0 && j < PAIRS; j++) {
            (void)peek(c, name(keep, j), strlen(name(keep, j)), buf, sizeof buf, &len);
            (void)cellar_get(c, name(keep, j), strlen(name(keep, j)), buf, sizeof buf, &len);
        }
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
}

static bool in_memory(cellar *c, const char *key)
{
    cellar_entry_info info = cellar_entry_info_default();
    return cellar_entry_info_get(c, key, strlen(key), 0, &info) == CELLAR_OK &&
        info.tier == CELLAR_TIER_L1;
}

/* Check dishes that are only on disk. With `change` each one misses after the change of its source;
 * without it each one hits. */
static int pairs_of_disk(cellar *c, bool change)
{
    int below = 0;
    for (int i = 0; i < PAIRS; i++) {
        if (in_memory(c, name('d', i))) { continue; }
        if (change) {
            put(c, name('a', i), "new");
            below += !T_EQ_I64(get(c, name('d', i)), CELLAR_MISS);
        } else {
            below += get(c, name('d', i)) == CELLAR_OK;
        }
    }
    return below;
}

static void change_invalidates_dependents_only_on_disk(void)
{
    begin();
    cellar *c = open_disk(CELLAR_L2_WRITE_THROUGH);
    cook k = { .c = c };
    for (int change = 0; change < 2; change++) {
        for (int i = 0; i < PAIRS; i++) {
            put(c, name('a', i), "1");
            (void)dish(&k, name('d', i));
        }
        flood(c, 0);
        /* First check that they hit; they return to memory and leave it again. */
        if (change == 0) { T_CHECK(pairs_of_disk(c, false) > PAIRS / 4); }
        if (change == 1) { T_EQ_I64(pairs_of_disk(c, true), 0); }
    }
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    end();
}

static void check_next_life(bool deps, bool killed)
{
    begin();
    if (killed) {
        const pid_t child = fork();
        T_REQUIRE(child >= 0);
        if (child == 0) {
            cellar *c = open_disk(CELLAR_L2_WRITE_THROUGH);
            cook k = { .c = c };
            put(c, "a1", "1");
            (void)dish(&k, "d1");
            (void)dish(&k, "o1");
            _exit(get(c, "d1") == CELLAR_OK ? 0 : 1);
        }
        int status = 0;
        T_REQUIRE(waitpid(child, &status, 0) == child);
        T_EQ_I64(status, 0);
    } else {
        cellar *c = open_disk(CELLAR_L2_WRITE_ON_EVICTION);
        cook k = { .c = c };
        put(c, "a1", "1");
        (void)dish(&k, "d1");
        (void)dish(&k, "o1");
        k.same = k.nothing = true; /* the bytes depend on a1; the answer read nothing */
        (void)dish_with(&k, "d1", CELLAR_LOAD_REFRESH);
        T_EQ_I64(get(c, "d1"), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    cellar *c = open_it(true, deps, CELLAR_L2_WRITE_ON_EVICTION, MEMORY);
    T_EQ_I64(get(c, "a1"), CELLAR_OK);
    T_EQ_I64(get(c, "o1"), CELLAR_OK); /* no dependencies */
    T_EQ_I64(get(c, "d1"), CELLAR_MISS);
    cook k = { .c = c };
    T_EQ_U64(dish(&k, "d1"), CELLAR_SOURCE_LOADED);
    put(c, "a1", "2");
    T_EQ_I64(get(c, "d1"), deps ? CELLAR_MISS : CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_HARD), CELLAR_OK); /* a newer epoch */
    T_EQ_U64(dish(&k, "d1"), deps ? CELLAR_SOURCE_LOADED : CELLAR_SOURCE_L1);
    T_EQ_I64(get(c, "d1"), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    end();
}
static void reopened_store_serves_no_dependent_values(void)
{
    check_next_life(true, false);
    check_next_life(false, false);
}
static void store_reopened_after_kill_serves_no_dependent_values(void)
{
    check_next_life(true, true);
}

static void changed_source_invalidates_value_with_sixteen_tags(void)
{
    static char text[CELLAR_TAGS_MAX][4];
    cellar_bytes tags[CELLAR_TAGS_MAX];
    for (size_t i = 0; i < CELLAR_TAGS_MAX; i++) {
        snprintf(text[i], sizeof text[i], "t%zu", i);
        tags[i] = (cellar_bytes){ text[i], strlen(text[i]) };
    }
    begin();
    cellar *c = open_disk(CELLAR_L2_WRITE_THROUGH);
    cook k = { .c = c, .tags = tags, .tag_count = CELLAR_TAGS_MAX };
    put(c, "a1", "1");
    (void)dish(&k, "d1");
    (void)dish(&k, "o1");
    T_EQ_I64(get(c, "d1"), CELLAR_OK);
    put(c, "a1", "2");
    T_EQ_I64(get(c, "d1"), CELLAR_MISS);
    (void)dish(&k, "d1");
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    c = open_disk(CELLAR_L2_WRITE_THROUGH);
    T_EQ_I64(get(c, "d1"), CELLAR_MISS);
    T_EQ_I64(get(c, "o1"), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    end();
}

static void change_invalidates_dependents_of_closed_namespace(void)
{
    begin();
    for (int disk = 0; disk < 2; disk++) {
        cellar *c = open_it(disk != 0, true, CELLAR_L2_WRITE_ON_EVICTION, MEMORY), *v = NULL;
        cellar_namespace_opts o = cellar_namespace_opts_default();
        o.track_dependencies = 1;
        T_EQ_I64(cellar_namespace_open(c, "v", &o, &v), CELLAR_OK);
        put(c, "a1", "1");
        cook k = { .c = v, .from = c };
        (void)dish(&k, "d1");
        (void)dish(&k, "d2");
        T_EQ_I64(cellar_close(v), CELLAR_OK);
        put(c, "a1", "2");
        T_EQ_I64(cellar_namespace_open(c, "v", &o, &v), CELLAR_OK);
        T_EQ_I64(get(v, "d1"), CELLAR_MISS);
        T_EQ_I64(get(v, "d2"), CELLAR_OK);
        T_EQ_I64(cellar_close(v), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    end();
}

/* Courses stay in memory, their dishes leave it, ticks look for free places; then a source
 * changes. */
static void change_reaches_dependents_through_evicted_values(void)
{
    int gone = 0;
    begin();
    cellar *c = open_it(false, true, 0, MEMORY);
    cook k = { .c = c };
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_EVICTION, CELLAR_EVICT_S3FIFO), CELLAR_OK);
    for (int i = 0; i < PAIRS; i++) {
        put(c, name('a', i), "1");
        (void)dish(&k, name('d', i));
        (void)dish(&k, name('c', i));
    }
    flood(c, 'c');
    for (int i = 0; i < 200; i++) { (void)cellar_tick(c, 1000, NULL); }
    for (int i = 0; i < PAIRS; i++) {
        if (in_memory(c, name('d', i)) || !in_memory(c, name('c', i))) { continue; }
        gone++;
        put(c, name('a', i), "2");
        T_EQ_I64(get(c, name('c', i)), CELLAR_MISS);
    }
    T_CHECK(gone > 5);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(rmdir(folder), 0);
}

/* More keys than places in the table: newer values are stored, and a change invalidates what is
 * stored. */
static void keys_without_place_in_the_table_still_invalidate(void)
{
    enum { MANY = 1000 };
    begin();
    cellar *c = open_disk(CELLAR_L2_WRITE_THROUGH);
    cook k = { .c = c };
    int kept = 0, served = 0;
    for (int i = 0; i < MANY; i++) {
        put(c, name('a', i), "1");
        (void)dish(&k, name('d', i));
        kept += i >= MANY - 100 && in_memory(c, name('d', i));
        if (i % 100 == 99 && i < MANY - 100) { flood(c, 0); }
    }
    T_CHECK(kept > 50);
    for (int i = 0; i < MANY; i++) {
        if (get(c, name('d', i)) != CELLAR_OK) { continue; }
        served++;
        put(c, name('a', i), "2");
        T_EQ_I64(get(c, name('d', i)), CELLAR_MISS);
    }
    T_CHECK(served > 0); /* a change of a key without a place ends many values at once */
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    end();
}

T_ONE_THREAD;
T_MAIN("cellar_api_deps_disk", T_CASE(change_invalidates_dependents_only_on_disk),
       T_CASE(reopened_store_serves_no_dependent_values),
       T_CASE(store_reopened_after_kill_serves_no_dependent_values),
       T_CASE(changed_source_invalidates_value_with_sixteen_tags),
       T_CASE(change_invalidates_dependents_of_closed_namespace),
       T_CASE(change_reaches_dependents_through_evicted_values),
       T_CASE(keys_without_place_in_the_table_still_invalidate))
