/* SPDX-License-Identifier: MIT
 *
 * Aim:    many threads put, change and read while the worker seals, reclaims and syncs. The writer
 *         of a key reads its current version or nothing. Other threads read a whole version, never
 *         an older one than they saw invalidated by change, tag or pattern. The same holds with a
 *         cipher, and after a reopen.
 * Method: four threads on real files, each the only writer of its keys. An array has the version
 *         that was current when a read began. THREADS_OPS=n for longer runs. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"
#include "tests/support/many_threads.h"
#include "tests/support/toy_cipher.h"

#include <pthread.h>

#define WRITERS 4u
#define EACH 64u
#define KEYS (WRITERS * EACH)

static l2_kit kit;
static char folder[T_FOLDER_MAX];
static _Atomic uint32_t ended[KEYS]; /* versions up to it are dead, acknowledged */
static _Atomic uint64_t hits, stored, epoch;
static uint64_t ops;

/* ---- the work ---- */

static size_t length_of(uint32_t key, uint32_t version)
{
    return 16 + (key * 131 + version * 37) % 700;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

/* Return the version that is served; 0: a miss. */
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

/* Invalidate all keys of one writer, by their tag or by their first byte, which is the key. */
static void end_all(uint32_t first, uint32_t now[EACH], bool by_tag)
{
    if (by_tag) {
        l2_tag_invalidate(kit.d, 1 + first, atomic_fetch_add(&epoch, 1) + 1, false);
    } else {
        const char pattern[6] = { '[', (char)first, '-', (char)(first + EACH - 1), ']', '*' };
        uint64_t walk = 0;
        T_EQ_I64(l2_glob_begin(kit.d, 3, pattern, sizeof pattern, &walk), CELLAR_OK);
        l2_glob_end(kit.d, walk);
    }
    for (uint32_t n = 0; n < EACH; n++) {
        if (now[n] != 0) { atomic_store(&ended[first + n], now[n]); }
        now[n] = 0;
    }
}

/* Return true while more work is needed. A busy machine drops most puts, most of all at KEEP. */
static bool goes_on(uint64_t i)
{
    if (i < ops || i % 256 != 0) { return true; }
    l2_stats st;
    l2_stats_get(kit.d, &st);
    usleep(1000);
    return i < 4000 * ops && (atomic_load(&hits) <= 100 || st.sealed == 0);
}

static void *writer(void *arg)
{
    const uint32_t first = (uint32_t)(uintptr_t)arg * EACH;
    uint32_t now[EACH] = { 0 }, version = 0;
    base_rng r;
    base_rng_seed(&r, t_.seed + first);
    for (uint64_t i = 0; goes_on(i) && !t_failed(); i++) {
        const uint32_t n = (uint32_t)base_rng_below(&r, EACH), key = first + n;
        const l2_key k = l2_kit_key(&kit, &key, sizeof key, 3);
        const uint64_t what = base_rng_below(&r, 10);
        if (what < 4) { /* a change; its result may be stored later */
            unsigned char buf[1024];
            l2_invalidate(kit.d, &k);
            if (now[n] != 0) { atomic_store(&ended[key], now[n]); }
            now[n] = 0;
            if (what == 0) { continue; }
            const size_t len = length_of(key, ++version);
            const uint64_t tag = 1 + first;
            const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version,
                                .tag_count = 1, .tag_born = atomic_load(&epoch),
                                .tag_fps = &tag };
            fill(buf, len, key, version);
            now[n] = version;
            const cellar_err err = l2_put(kit.d, &k, buf, len, &m, NULL);
            atomic_fetch_add(&stored, err == CELLAR_OK);
            if (err == CELLAR_DROPPED) { (void)l2_tick(kit.d, 0); } /* a turn for the worker */
        } else if (what < 7) {
            const uint32_t got = look(key);
            T_CHECK(got == 0 || got == now[n]);
        } else if (what < 9) { /* a key of another thread */
            const uint32_t other = (uint32_t)base_rng_below(&r, KEYS);
            const uint32_t over = atomic_load(&ended[other]);
            const uint32_t got = look(other);
            T_CHECK(got == 0 || got > over);
        } else if (i % 500 == 9) {
            T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        } else if (i % 40 < 2) {
            end_all(first, now, i % 2 != 0);
        }
    }
    for (uint32_t n = 0; n < EACH; n++) { /* from here on only current versions may be served */
        const uint32_t key = first + n;
        const uint32_t got = look(key);
        T_CHECK(got == 0 || got == now[n]);
        atomic_store(&ended[key], now[n] == 0 ? UINT32_MAX : now[n] - 1);
    }
    return NULL;
}

static void run(l2_level level, const cellar_l2_cipher *crypt)
{
    uint64_t floor;
    t_folder(folder);
    l2_kit_init(&kit, NULL);
    kit.clock = (base_clock){ NULL, NULL, NULL };
    kit.cfg.path = folder;
    kit.cfg.seg_bytes = 65536;
    kit.cfg.seg_count = 12;
    kit.cfg.bytes = 0;
    kit.cfg.level = level;
    kit.cfg.sync_ms = 20;
    kit.cfg.no_thread = false;
    kit.cfg.crypt = crypt;
    ops = t_env_u64("THREADS_OPS", t_share(4000));
    hits = stored = 0;
    memset(ended, 0, sizeof ended);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    epoch = l2_tags_known(kit.d, &floor, l2_dev_no_tag, NULL);
    const l2_namespace ns = { 1, 3, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &ns, "all", 3, NULL), CELLAR_OK);
    pthread_t t[WRITERS];
    start_numbered(t, WRITERS, writer, 0);
    join_threads(t, WRITERS);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    printf("# %" PRIu64 " stored, %" PRIu64 " hits, %" PRIu64 " sealed, %" PRIu64 " reclaimed, %"
           PRIu64 " dropped, %" PRIu64 " emptied\n", stored, hits, st.sealed, st.reclaimed,
           st.dropped, st.emptied);
    T_CHECK(hits > 100 && st.sealed > 0);
    l2_close(kit.d);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint32_t over = ended[key], got = look(key);
        T_CHECK(got == 0 || got == over + 1);
    }
    l2_close(kit.d);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    t_wipe(folder);
}

T_CASE(threads_at_level_drop_read_no_old_value) { run(L2_DROP, NULL); }
T_CASE(threads_at_level_keep_read_no_old_value) { run(L2_KEEP, NULL); }

T_CASE(threads_with_a_cipher_read_no_old_value)
{
    uint64_t secret = 7;
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &secret, .seal = toy_seal,
                               .open = toy_open, .overhead_bytes = sizeof secret };
    run(L2_DROP, &crypt);
}

T_MAIN("l2_threads")
