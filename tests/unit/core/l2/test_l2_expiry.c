/* SPDX-License-Identifier: MIT
 *
 * Aim:    all entries on disk expire at one instant while threads read, and as many live entries
 *         replace them. No expired entry is served from that instant on, nor after a process death.
 *         All live ones are served, except one in a thousand.
 * Method: real files, a clock set by the test, one worker, one writer, two readers. A value has
 *         its key. 250,000 entries, or EXPIRY_KEYS=n: a million in `make check`
 *         (slow_l2_proof.sh). */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <pthread.h>

/* Fewer entries where each step is ten times slower. */
#define EXPIRY_SLOW (T_COST > 1 ? 20u : 1u)

#define SEG ((uint32_t)1 << 18)
#define START INT64_C(1000000)
#define ENDS (START + 60000) /* expiry time of the first kind */
#define RECORD_MOST 128u /* bytes of the log for each record; rows of smaller ones find no place */

static l2_kit kit;
static char folder[T_FOLDER_MAX];
static uint32_t keys;
static unsigned char *lives; /* bit of keys + n: the entry was admitted */
static _Atomic int64_t now_ms;
static _Atomic uint32_t over;
static _Atomic uint64_t hits;

static int64_t the_time(void *ctx) { (void)ctx; return atomic_load(&now_ms); }

static int64_t the_wall(void *ctx) { return the_time(ctx) + INT64_C(1700000000000); }

static void store_init(void)
{
    t_folder(folder);
    l2_kit_init(&kit, NULL);
    atomic_store(&now_ms, START);
    kit.clock = (base_clock){ the_time, the_time, NULL };
    kit.cfg.wall_ms = the_wall;
    kit.cfg.path = folder;
    kit.cfg.seg_bytes = SEG;
    kit.cfg.seg_count = keys / (SEG / RECORD_MOST) * 3 / 2 + 8;
    kit.cfg.avg_object_bytes = 48;
    kit.cfg.memory_bytes = 256u << 20;
}

static cellar_err put(uint32_t key, int64_t deadline_ms)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
    const l2_meta m = { .deadline_ms = deadline_ms };
    return l2_put(kit.d, &id, &key, sizeof key, &m, NULL);
}

/* Read a key. If it is served, it had not expired at the start of the get. */
static bool look(uint32_t key)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
    const int64_t before = atomic_load(&now_ms);
    uint32_t value;
    size_t len;
    l2_meta m;
    const cellar_err err = l2_get(kit.d, &id, &value, sizeof value, &len, &m);
    if (err != CELLAR_OK) {
        T_CHECK(err == CELLAR_MISS || err == CELLAR_E_TIMEOUT);
        return false;
    }
    T_CHECK(len == sizeof value && value == key && m.deadline_ms > before);
    return true;
}

static void *reader(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_.seed + *(const uint32_t *)arg);
    while (atomic_load(&over) == 0 && !t_failed()) {
        atomic_fetch_add(&hits, look((uint32_t)base_rng_below(&r, 2 * (uint64_t)keys)));
    }
    return NULL;
}

static void *worker(void *arg)
{
    while (atomic_load(&over) == 0) { (void)l2_tick(kit.d, 1000); }
    return arg;
}

/* Put as many entries again, which do not expire. Both kinds together have no room. */
static void *writer(void *arg)
{
    for (uint32_t n = 0; n < keys && !t_failed(); n++) {
        cellar_err err;
        while ((err = put(keys + n, BASE_NEVER_MS)) == CELLAR_DROPPED) { usleep(100); }
        T_EQ_I64(err, CELLAR_OK);
        lives[n] = 1;
    }
    return arg;
}

static void none_that_ended_is_served(void)
{
    for (uint32_t key = 0; key < keys; key++) { T_CHECK(!look(key)); }
}

static void all_end_under_load(void)
{
    pthread_t t[4];
    static const uint32_t ids[2] = { 1, 2 };
    T_REQUIRE(pthread_create(&t[0], NULL, worker, NULL) == 0);
    T_REQUIRE(pthread_create(&t[1], NULL, writer, NULL) == 0);
    T_REQUIRE(pthread_create(&t[2], NULL, reader, (void *)(uintptr_t)&ids[0]) == 0);
    T_REQUIRE(pthread_create(&t[3], NULL, reader, (void *)(uintptr_t)&ids[1]) == 0);
    while (atomic_load(&hits) < 1000 && !t_failed()) { usleep(100); }
    atomic_store(&now_ms, ENDS);
    T_EQ_I64(pthread_join(t[1], NULL), 0);
    atomic_store(&over, 1);
    T_EQ_I64(pthread_join(t[0], NULL), 0);
    T_EQ_I64(pthread_join(t[2], NULL), 0);
    T_EQ_I64(pthread_join(t[3], NULL), 0);
}

T_CASE(all_entries_that_expire_together_miss)
{
    /* At least more than the stage holds, or nothing is reclaimed. */
    keys = BASE_MAX((uint32_t)t_env_u64("EXPIRY_KEYS", t_share(250000)) / EXPIRY_SLOW, 50000u) /
           t_patience();
    lives = calloc(keys, 1);
    T_REQUIRE(lives != NULL);
    store_init();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace ns = { 1, L2_KIT_GENERATION, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &ns, "all", 3, NULL), CELLAR_OK);
    for (uint32_t key = 0; key < keys; key++) {
        cellar_err err;
        while ((err = put(key, ENDS)) == CELLAR_DROPPED) { (void)l2_tick(kit.d, 1000); }
        T_EQ_I64(err, CELLAR_OK);
    }
    uint32_t there = 0;
    for (uint32_t key = 0; key < keys; key++) { there += look(key); }
    T_REQUIRE(there >= keys - keys / 1000); /* the index may lose one in a thousand */
    all_end_under_load();
    none_that_ended_is_served();
    const l2_stats st = l2_kit_figures(&kit);
    T_CHECK(st.miss_expired > 0 && st.reclaimed > 0 && st.emptied == 0 && st.miss_damage == 0);
    uint32_t alive = 0;
    for (uint32_t n = 0; n < keys; n++) { alive += lives[n] != 0 && look(keys + n); }
    printf("# %u keys: %u found, %" PRIu64 " expired misses, %" PRIu64 " reclaimed; %u live\n",
           keys, there, st.miss_expired, st.reclaimed, alive);
    T_CHECK(alive >= keys - keys / 1000); /* there is room for all of them */
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_kit_kill(&kit);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    none_that_ended_is_served();
    uint32_t again = 0;
    for (uint32_t n = 0; n < keys; n++) { again += look(keys + n); }
    /* The index chooses again which words it drops: an entry lost before may be there again. */
    T_CHECK(again >= keys - keys / 1000);
    l2_close(kit.d);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    free(lives);
    t_wipe(folder);
}

T_MAIN("l2_expiry")
