/* SPDX-License-Identifier: MIT
 *
 * Aim:    many threads put, change and read while the worker seals, reclaims and syncs: each key's
 *         owner reads its current version or nothing, others a whole version, never an older one
 *         than they have seen end; and so it is after a reopen.
 * Method: four threads on real files, each the only writer of its keys; an array says which version
 *         was current when a read began. THREADS_OPS=n for longer runs. */
#include "tests/l2_kit.h"

#include <dirent.h>
#include <pthread.h>

#define WRITERS 4u
#define EACH 64u
#define KEYS (WRITERS * EACH)

static l2_kit kit;
static char folder[256];
static _Atomic uint32_t ended[KEYS]; /* all versions up to it are over, acknowledged */
static _Atomic uint64_t hits, stored;
static uint64_t ops;

static size_t length_of(uint32_t key, uint32_t version)
{
    return 16 + (key * 131 + version * 37) % 700;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

/* The version that is served; 0: a miss. */
static uint32_t look(uint32_t key)
{
    unsigned char buf[1024], want[1024];
    size_t len = 0;
    l2_meta m;
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 3);
    if (l2_get(kit.d, &k, buf, sizeof buf, &len, &m) != CELLAR_OK) { return 0; }
    fill(want, sizeof want, key, m.user_flags);
    T_CHECK(len == length_of(key, m.user_flags) && memcmp(buf, want, len) == 0);
    atomic_fetch_add(&hits, 1);
    return m.user_flags;
}

static void *writer(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg * EACH;
    uint32_t now[EACH] = { 0 }, version = 0;
    base_rng r;
    base_rng_seed(&r, t_.seed + first);
    for (uint64_t i = 0; i < ops && !t_failed(); i++) {
        const uint32_t n = (uint32_t)base_rng_below(&r, EACH), key = first + n;
        const l2_key k = l2_kit_key(&kit, &key, sizeof key, 3);
        const uint64_t what = base_rng_below(&r, 10);
        if (what < 4) { /* a change, then what it left may go down */
            unsigned char buf[1024];
            l2_kill(kit.d, &k);
            if (now[n] != 0) { atomic_store(&ended[key], now[n]); }
            now[n] = 0;
            if (what == 0) { continue; }
            const size_t len = length_of(key, ++version);
            const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
            fill(buf, len, key, version);
            now[n] = version;
            const cellar_err err = l2_put(kit.d, &k, buf, len, &m, NULL);
            atomic_fetch_add(&stored, err == CELLAR_OK);
            if (err == CELLAR_DROPPED) { (void)l2_tick(kit.d, 0); } /* a turn for the worker */
        } else if (what < 7) {
            const uint32_t got = look(key);
            T_CHECK(got == 0 || got == now[n]);
        } else if (what < 9) { /* somebody else's */
            const uint32_t other = (uint32_t)base_rng_below(&r, KEYS);
            const uint32_t over = atomic_load(&ended[other]);
            const uint32_t got = look(other);
            T_CHECK(got == 0 || got > over);
        } else if (i % 500 == 9) {
            T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        }
    }
    for (uint32_t n = 0; n < EACH; n++) { /* only what is current may be there from here on */
        const uint32_t key = first + n;
        const uint32_t got = look(key);
        T_CHECK(got == 0 || got == now[n]);
        atomic_store(&ended[key], now[n] == 0 ? UINT32_MAX : now[n] - 1);
    }
    return NULL;
}

static void run(l2_level level)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/cellar-l2-XXXXXX", tmp != NULL ? tmp : "/tmp");
    T_REQUIRE(mkdtemp(folder) != NULL);
    l2_kit_init(&kit, NULL);
    kit.clock = (base_clock){ NULL, NULL, NULL };
    kit.cfg.path = folder;
    kit.cfg.seg_bytes = 65536;
    kit.cfg.seg_count = 12;
    kit.cfg.stage_count = 4;
    kit.cfg.bytes = 0;
    kit.cfg.level = level;
    kit.cfg.sync_ms = 20;
    kit.cfg.no_thread = false;
    ops = t_env_u64("THREADS_OPS", 4000);
    hits = stored = 0;
    memset(ended, 0, sizeof ended);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    pthread_t t[WRITERS];
    uint32_t id[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        id[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, writer, &id[i]) == 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    printf("# %" PRIu64 " stored, %" PRIu64 " hits, %" PRIu64 " sealed, %" PRIu64 " reclaimed, %"
           PRIu64 " dropped, %" PRIu64 " emptied\n", stored, hits, st.sealed, st.reclaimed,
           st.dropped, st.emptied);
    T_CHECK(hits > 100 && st.sealed > 0);
    l2_close(kit.d);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    for (uint32_t key = 0; key < KEYS; key++) { /* also while it warms up */
        const uint32_t over = ended[key], got = look(key);
        T_CHECK(got == 0 || got == over + 1);
    }
    l2_close(kit.d);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    DIR *d = opendir(folder);
    T_REQUIRE(d != NULL);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') { T_EQ_I64(unlink(path), 0); }
    }
    closedir(d);
    T_EQ_I64(rmdir(folder), 0);
}

static void threads_at_level_drop(void) { run(L2_DROP); }
static void threads_at_level_keep(void) { run(L2_KEEP); }

T_MAIN("l2_threads", T_CASE(threads_at_level_drop), T_CASE(threads_at_level_keep))
