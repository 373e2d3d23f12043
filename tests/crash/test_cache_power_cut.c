/* SPDX-License-Identifier: MIT
 *
 * Aim:    A power cut after a disk has healed leaves each entry that cellar_sync or cellar_save
 *         acknowledged, and no older value.
 * Method: A store without threads on the disk of l2_dev.h. One kind of call fails once, twice, in a
 *         burst or until the disk heals, while the store changes entries. After that a good sync,
 *         at times some more changes, and disks that a power cut can leave. Each level of sync and
 *         each mode. After more changes SYNC_MANUAL promises nothing. */
#include "store/store.h"
#include "tests/support/l2_dev.h"
#include "tests/support/settings.h"
#include "tests/support/versioned.h"

#define KEYS 60u
#define BYTES 300u
#define CRASHES 4
#define LATER 30u /* version of the changes after the sync */

static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
static l2_dev dev, crash;
static int64_t now_ms;
static base_rng rng;
static uint32_t now[KEYS], synced[KEYS]; /* versions; 0: deleted */
static bool later[KEYS]; /* changed since the sync */

static int64_t read_clock(void *ctx) { (void)ctx; return now_ms; }

static cellar *open_on(l2_dev *d, cellar_l2_sync sync, cellar_l2_write write)
{
    static base_vfs vfs[2];
    base_vfs *v = &vfs[d == &crash];
    cellar *c = NULL;
    *v = l2_dev_vfs(d);
    const l2_config disk = { .vfs = v, .seg_bytes = 65536, .seg_count = 8 };
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = "d",
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.sync = sync, .l2.write = write,
                     .l2.retry_ms = 20, .l2.retry_max_ms = 20, .host.no_threads = 1,
                     .host.clock = read_clock, .tuning.hash_key = secret };
    const cellar_config linked = settings_config(&cfg);
    T_REQUIRE(cache_open(&linked, &disk, 0, &c) == CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static void change(cellar *c, uint32_t count, uint32_t version)
{
    unsigned char value[BYTES];
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t key = (uint32_t)base_rng_below(&rng, KEYS);
        versioned_fill(value, sizeof value, key, version);
        later[key] = true;
        now[key] = i % 7 == 3 ? 0 : version;
        (void)(now[key] == 0 ? cellar_delete(c, &key, sizeof key)
                             : cellar_set(c, &key, sizeof key, value, sizeof value, NULL));
        now_ms += 5;
        (void)cellar_tick(c, 100000, NULL);
    }
}

static void cut(cellar_l2_sync sync, cellar_l2_write write, bool changed)
{
    l2_dev_clone(&dev, &crash, &rng);
    cellar *c = open_on(&crash, sync, write);
    for (uint32_t k = 0; k < KEYS; k++) {
        const uint32_t got = versioned_look(c, k, BYTES);
        if (later[k] && sync == CELLAR_L2_SYNC_ALWAYS) {
            T_CHECK(got == 0 || got == now[k]);
        } else if (later[k]) {
            T_CHECK(got == 0 || got == LATER || got == synced[k]);
        } else if (got != 0 || !changed || sync != CELLAR_L2_SYNC_MANUAL) {
            T_EQ_U64(got, now[k]);
        }
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void one(uint32_t i)
{
    static const int sites[] = { DEV_DATASYNC, DEV_PWRITE, DEV_PREAD };
    static const cellar_l2_write modes[] = { CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_WRITE_ON_SET,
                                             CELLAR_L2_WRITE_THROUGH };
    const cellar_l2_sync sync = (cellar_l2_sync)(i % 3);
    const cellar_l2_write write = modes[i / 3 % 3];
    cellar_err err = CELLAR_E_IO;
    uint64_t missed = 0;
    now_ms = 1000000;
    memset(now, 0, sizeof now);
    l2_dev_init(&dev);
    l2_dev_init(&crash);
    crash.flat = true;
    cellar *c = open_on(&dev, sync, write);
    change(c, 100, 1);
    dev.fail_site = sites[base_rng_below(&rng, 3)];
    dev.fail_errno = EIO;
    for (uint32_t n = (uint32_t)base_rng_below(&rng, 12) + 1; n > 0; n--) {
        dev.fail_at = 1 + base_rng_below(&rng, 4);
        dev.fail_sticky = base_rng_below(&rng, 4) == 0;
        change(c, 10, 20 - n);
        (void)cellar_sync(c);
    }
    dev.fail_at = 0;
    for (int n = 0; n < 200 && err != CELLAR_OK; n++) {
        now_ms += 25;
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
        err = cellar_save(c, &missed);
    }
    T_EQ_I64(err, CELLAR_OK);
    memcpy(synced, now, sizeof now);
    memset(later, 0, sizeof later);
    for (int n = 0; n < CRASHES; n++) { cut(sync, write, false); }
    change(c, 10, LATER);
    for (int n = 0; n < CRASHES; n++) { cut(sync, write, true); }
    if (t_failed()) { printf("# run %u, site %d\n", i, dev.fail_site); }
    (void)cellar_close(c);
    l2_dev_fini(&dev);
    l2_dev_fini(&crash);
}

T_CASE(power_cut_after_a_heal_leaves_what_was_saved)
{
    base_rng_seed(&rng, t_seed());
    const uint32_t count = (uint32_t)t_env_u64("CUTS", t_share(144));
    for (uint32_t i = 0; i < count && !t_failed(); i++) { one(i); }
}

T_ONE_THREAD;
T_MAIN("cache_power_cut")
