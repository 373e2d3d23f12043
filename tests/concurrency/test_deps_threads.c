/* SPDX-License-Identifier: MIT
 *
 * Aim:    No read that begins after a change has returned gets a value made of an older one:
 *         through chains of 8 loaders, with changes at the same time that share dependants, with
 *         joined loads, evictions, clears, tags, full tables, many keys per loader, and a disk.
 * Method: Threads read and change at random. A source is a counter that rises before its key
 *         changes. A value holds the least count of each source that it was made of. `sure` rises
 *         when a change has returned: a read compares what it gets with what was sure before.
 *         DEPS_READS=1000000 sets the reads of each test; `make test` takes about 2 s. */
#include "tests/support/folder.h"
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"

#include <unistd.h>

enum { THREADS = 4, SOURCES = 8, DISHES = 160, WIDE = 70 };

typedef struct counts { uint32_t of[SOURCES]; } counts; /* UINT32_MAX: not made of it */

static struct soup {
    cellar *c, *v;          /* values; sources */
    int levels;             /* dish i has level i % levels; it is made of dishes of lower levels */
    bool wide, tags, clears;
    uint64_t reads;         /* for all threads */
    size_t padding;         /* bytes behind the counts of a dish */
    _Atomic uint32_t db[SOURCES], sure[SOURCES];
    _Atomic uint64_t judged, old, changes, refused;
    pthread_mutex_t changing[SOURCES];
} soup;

/* ---- loaders ---- */

static cellar_err load_source(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const uint32_t now = atomic_load(&soup.db[((const char *)key)[1] - '0']);
    (void)key_len;
    (void)ctx;
    return cellar_load_value(ld, &now, sizeof now);
}

static void use_source(counts *n, int i, uint32_t salt)
{
    char key[16];
    uint32_t got = 0;
    size_t len = 0;
    snprintf(key, sizeof key, "s%d", i);
    if (salt % 3 != 0) {
        cellar_result r = cellar_result_default();
        if (cellar_get_or_load(soup.v, key, 2, NULL, load_source, NULL, &r) == CELLAR_OK) {
            memcpy(&got, r.value, sizeof got);
        }
        cellar_result_free(&r);
    } else if (cellar_get(soup.v, key, 2, &got, sizeof got, &len) != CELLAR_OK) {
        got = atomic_load(&soup.db[i]);
    }
    n->of[i] = got < n->of[i] ? got : n->of[i];
}

static cellar_err use_dish(counts *n, int i);

static cellar_err load_dish(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    unsigned char bytes[sizeof(counts) + 4096];
    counts n;
    int i = 0;
    (void)ctx;
    for (size_t at = 1; at < key_len; at++) { i = i * 10 + ((const char *)key)[at] - '0'; }
    const int level = i % soup.levels;
    const uint32_t salt = (uint32_t)i * 2654435761u >> 8;
    memset(&n, 0xff, sizeof n);
    if (level == 0) {
        use_source(&n, (int)(salt % SOURCES), salt);
    } else { /* two dishes one level below */
        cellar_err err = use_dish(&n, i - 1);
        if (err == CELLAR_OK) { err = use_dish(&n, (i + soup.levels * 7 - 1) % DISHES); }
        if (err != CELLAR_OK) { return err; }
        if (salt % 4 == 0) { use_source(&n, (int)(salt / 4 % SOURCES), salt); }
    }
    for (int j = 0; soup.wide && j < WIDE; j++) { /* more keys than a value can carry */
        char more[16];
        snprintf(more, sizeof more, "w%d", (int)(salt % 7) + j);
        (void)cellar_contains(soup.v, more, strlen(more));
    }
    memcpy(bytes, &n, sizeof n);
    memset(bytes + sizeof n, 0, soup.padding);
    return cellar_load_value(ld, bytes, sizeof n + soup.padding);
}

static cellar_err use_dish(counts *n, int i)
{
    char key[16];
    counts got;
    cellar_result r = cellar_result_default();
    snprintf(key, sizeof key, "d%d", i);
    const cellar_err err = cellar_get_or_load(soup.c, key, strlen(key), NULL, load_dish, NULL, &r);
    if (err == CELLAR_OK) {
        memcpy(&got, r.value, sizeof got);
        for (int j = 0; j < SOURCES; j++) {
            n->of[j] = got.of[j] < n->of[j] ? got.of[j] : n->of[j];
        }
    }
    cellar_result_free(&r);
    return err;
}

/* ---- threads ---- */

static void judge(uint64_t draw)
{
    uint32_t sure[SOURCES];
    counts n;
    memset(&n, 0xff, sizeof n);
    for (int j = 0; j < SOURCES; j++) { sure[j] = atomic_load(&soup.sure[j]); }
    if (use_dish(&n, (int)(draw % DISHES)) != CELLAR_OK) {
        atomic_fetch_add(&soup.refused, 1);
        return;
    }
    bool old = false;
    for (int j = 0; j < SOURCES; j++) { old = old || n.of[j] < sure[j]; }
    atomic_fetch_add(&soup.old, old);
    atomic_fetch_add(&soup.judged, 1);
}

static void change(uint64_t draw)
{
    const int i = (int)(draw % SOURCES);
    char key[16];
    cellar_set_opts o = cellar_set_opts_default();
    const cellar_bytes tag = { key, 2 };
    snprintf(key, sizeof key, "s%d", i);
    (void)pthread_mutex_lock(&soup.changing[i]);
    const uint32_t now = atomic_fetch_add(&soup.db[i], 1) + 1;
    const uint64_t how = draw >> 8;
    if (soup.tags && how % 4 == 0) { o.tags = &tag; }
    o.tag_count = o.tags != NULL;
    if (how % 4 < 2 || (!soup.tags && how % 4 == 2)) {
        T_EQ_I64(cellar_set(soup.v, key, 2, &now, sizeof now, &o), CELLAR_OK);
    } else if (soup.tags && how % 4 == 2) { /* the key may lack the tag: delete it, too */
        T_EQ_I64(cellar_delete_by_tag(soup.c, key, 2, CELLAR_TAG_HARD), CELLAR_OK);
        T_CHECK(cellar_delete(soup.v, key, 2) >= 0);
    } else if (soup.clears && how % 64 == 3) {
        T_EQ_I64(cellar_clear(soup.v), CELLAR_OK);
    } else {
        T_CHECK(cellar_delete(soup.v, key, 2) >= 0);
    }
    atomic_store(&soup.sure[i], now);
    (void)pthread_mutex_unlock(&soup.changing[i]);
    atomic_fetch_add(&soup.changes, 1);
}

static void *thread_main(void *arg)
{
    uint64_t x = t_seed() * 2 + 1 + (uint64_t)(uintptr_t)arg * UINT64_C(0x9e3779b97f4a7c15);
    while (atomic_load(&soup.judged) + atomic_load(&soup.refused) < soup.reads) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if ((x >> 40) % 8 == 0) { change(x >> 16); } else { judge(x >> 16); }
    }
    return NULL;
}

static void run(uint64_t share, uint64_t memory_bytes, const char *path)
{
    settings cfg = settings_default();
    cellar_namespace_opts o = cellar_namespace_opts_default();
    pthread_t thread[THREADS];
    soup.reads = t_env_u64("DEPS_READS", t_share(share) / T_COST);
    o.track_dependencies = 1;
    cfg.config.memory_bytes = memory_bytes;
    cfg.config.root = &o;
    cfg.config.l2_path = path;
    cfg.config.l2_bytes = path != NULL ? CELLAR_L2_BYTES_MIN : 0;
    cfg.tuning.track_dependencies = 1;
    T_REQUIRE(settings_open(&cfg, &soup.c) == CELLAR_OK);
    o.track_dependencies = 0;
    T_REQUIRE(cellar_namespace_open(soup.c, "v", &o, &soup.v) == CELLAR_OK);
    for (int i = 0; i < SOURCES; i++) {
        atomic_store(&soup.db[i], 1);
        atomic_store(&soup.sure[i], 1);
        T_REQUIRE(pthread_mutex_init(&soup.changing[i], NULL) == 0);
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, thread_main, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < THREADS; i++) { T_REQUIRE(pthread_join(thread[i], NULL) == 0); }
    printf("# %llu old of %llu reads, %llu changes, %llu refused\n",
           (unsigned long long)atomic_load(&soup.old), (unsigned long long)atomic_load(&soup.judged),
           (unsigned long long)atomic_load(&soup.changes),
           (unsigned long long)atomic_load(&soup.refused));
    T_EQ_U64(atomic_load(&soup.old), 0);
    T_CHECK(atomic_load(&soup.refused) <= atomic_load(&soup.judged) / 10);
    T_EQ_I64(cellar_integrity_check(soup.c), CELLAR_OK);
    T_EQ_I64(cellar_close(soup.v), CELLAR_OK);
    T_EQ_I64(cellar_close(soup.c), CELLAR_OK);
}

/* 160 values of 6 levels: the changes of two sources end values that overlap. */
static void overlapping_changes_leave_no_old_value(void)
{
    soup = (struct soup){ .levels = 6 };
    run(80000, 64u << 20, NULL);
}

/* Values leave memory, and their loads are joined. */
static void no_call_joins_a_load_that_read_an_old_key(void)
{
    soup = (struct soup){ .levels = 6, .padding = 4096 };
    run(32000, 1u << 20, NULL);
}

static void clears_and_tags_reach_chains_of_eight_loaders(void)
{
    soup = (struct soup){ .levels = 8, .tags = true, .clears = true };
    run(60000, 16u << 20, NULL);
}

/* Each value reads more keys than it can carry, and the table is small. */
static void full_tables_and_many_keys_leave_no_old_value(void)
{
    soup = (struct soup){ .levels = 4, .wide = true, .clears = true, .padding = 1024 };
    run(16000, 1u << 20, NULL);
}

static void disk_returns_no_old_value(void)
{
    char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
    t_folder(folder);
    snprintf(store, sizeof store, "%s/store", folder);
    soup = (struct soup){ .levels = 5, .tags = true, .clears = true, .padding = 4096 };
    run(24000, 1u << 20, store);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

T_MAIN("deps_threads", T_CASE(overlapping_changes_leave_no_old_value),
       T_CASE(no_call_joins_a_load_that_read_an_old_key),
       T_CASE(clears_and_tags_reach_chains_of_eight_loaders),
       T_CASE(full_tables_and_many_keys_leave_no_old_value), T_CASE(disk_returns_no_old_value))
