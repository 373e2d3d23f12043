/* SPDX-License-Identifier: MIT
 *
 * Aim:    A back-fill is as current as a load. A get that starts after a returned delete, set, tag
 *         or pattern delete sees no older value. This holds for values that were loaded, read from
 *         disk, or on their way from disk into memory.
 * Method: More keys than memory holds, so that most answers are back-fills; a source of rising
 *         numbers; for each key the smallest number that may still be seen. Reads from disk are
 *         counted: a run without any fails. */
#include "tests/support/folder.h"
#include "tests/support/load_kit.h"
#include "tests/support/many_threads.h"
#include "tests/support/settings.h"

#include <stdlib.h>
#include <unistd.h>

enum { KEYS = 600, GROUPS = 8, READERS = 3, VALUE = 4000, ROUNDS = 6000 / KIT_SLOW,
       FROM_DISK = 1000 / KIT_SLOW };

typedef struct world {
    cellar *c;
    _Atomic uint64_t db[KEYS], least[KEYS];
    _Atomic int stop;
    _Atomic uint64_t stale, reads;
} world;

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];

static void wipe(void) { t_wipe(store); T_EQ_I64(rmdir(folder), 0); }

/* The number of the key, the number of its tag, and the bytes of a value. */
static cellar_err load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    world *w = ctx;
    uint32_t k;
    void *p;
    (void)key_len;
    memcpy(&k, (const char *)key + 1, sizeof k);
    const uint64_t now = atomic_load(&w->db[k]);
    for (volatile int i = 0; i < 200; i++) {} /* a window for the writer */
    const cellar_bytes tag = { &"01234567"[k % GROUPS], 1 };
    if (loader_tags(ld, &tag, 1) != CELLAR_OK ||
        cellar_buf_resize(cellar_load_buf(ld), VALUE, &p) != CELLAR_OK) {
        return CELLAR_E_NOMEM;
    }
    memset(p, (int)('a' + k % 26), VALUE);
    memcpy(p, &now, sizeof now);
    return CELLAR_OK;
}

static void name(char key[5], uint32_t k)
{
    key[0] = (char)('A' + k % GROUPS);
    memcpy(key + 1, &k, sizeof k);
}

static void *reader(void *arg)
{
    world *w = arg;
    char key[5];
    for (uint32_t i = 1; atomic_load(&w->stop) == 0; i = i * 1664525u + 1013904223u) {
        const uint32_t k = (i >> 8) % KEYS;
        const uint64_t least = atomic_load(&w->least[k]);
        cellar_result r = cellar_result_default();
        uint64_t got;
        name(key, k);
        if (cellar_get_or_load(w->c, key, sizeof key, NULL, load, w, &r) == CELLAR_OK) {
            T_EQ_U64(r.value_len, VALUE);
            memcpy(&got, r.value, sizeof got);
            if (got < least) { atomic_fetch_add(&w->stale, 1); }
            atomic_fetch_add(&w->reads, 1);
        }
        cellar_result_free(&r);
    }
    return NULL;
}

/* All keys of a group, or one key. */
static void change(world *w, uint32_t round)
{
    static char value[VALUE];
    static uint64_t now[KEYS];
    const uint32_t k = round * 2654435761u % KEYS;
    const bool all = round % 4 >= 2;
    char key[5];
    name(key, k);
    for (uint32_t i = 0; i < KEYS; i++) {
        if (i == k || (all && i % GROUPS == k % GROUPS)) {
            now[i] = atomic_fetch_add(&w->db[i], 1) + 1;
        }
    }
    switch (round % 4) {
    case 0: (void)cellar_delete(w->c, key, sizeof key); break;
    case 1:
        memcpy(value, &now[k], sizeof now[k]);
        T_EQ_I64(cellar_set(w->c, key, sizeof key, value, VALUE, NULL), CELLAR_OK);
        break;
    case 2:
        T_CHECK(cellar_delete_by_tag(w->c, &"01234567"[k % GROUPS], 1, CELLAR_TAG_HARD) >= 0);
        /* a set value has no tag */
        for (uint32_t i = k % GROUPS; i < KEYS; i += GROUPS) {
            name(key, i);
            (void)cellar_delete(w->c, key, sizeof key);
        }
        break;
    default: {
        const char pattern[2] = { (char)('A' + k % GROUPS), '*' };
        T_CHECK(cellar_delete_by_pattern(w->c, pattern, sizeof pattern, NULL) >= 0);
        break;
    }
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        if (i == k || (all && i % GROUPS == k % GROUPS)) { atomic_store(&w->least[i], now[i]); }
    }
}

static uint64_t from_disk(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_REQUIRE(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    return st.hits_l2;
}

T_CASE(get_after_change_sees_no_older_backfill)
{
    static world w;
    pthread_t t[READERS];
    t_folder(folder);
    snprintf(store, sizeof store, "%s/store", folder);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = kit_clock };
    atomic_store(&kit_now_ms, 1000000);
    cfg.host.no_threads = 1;
    T_REQUIRE(settings_open(&cfg, &w.c) == CELLAR_OK);
    while (cellar_tick(w.c, 100000, NULL) == CELLAR_PENDING) {}
    start_threads(t, READERS, reader, &w);
    uint32_t rounds = 0;
    while (rounds < ROUNDS || (from_disk(w.c) < FROM_DISK && rounds < 100 * ROUNDS)) {
        change(&w, rounds++);
        if (rounds % 16 == 0) { (void)cellar_tick(w.c, 1000, NULL); }
    }
    atomic_store(&w.stop, 1);
    join_threads(t, READERS);
    printf("# %u changes, %llu reads, %llu from disk\n", (unsigned)rounds,
           (unsigned long long)atomic_load(&w.reads), (unsigned long long)from_disk(w.c));
    T_EQ_U64(atomic_load(&w.stale), 0);
    T_CHECK(from_disk(w.c) >= FROM_DISK);
    T_EQ_I64(cellar_integrity_check(w.c), CELLAR_OK);
    T_EQ_I64(cellar_close(w.c), CELLAR_OK);
    wipe();
}

T_MAIN("load_backfill")
