/* SPDX-License-Identifier: MIT
 *
 * Aim:    P12: any I/O call may fail, with any errno, once or for good. Every call of l2 returns,
 *         nothing stale is served, and a reopen works after the fault.
 * Method: one piece of work on an in-memory disk. The n-th call of each site fails. Then the
 *         store is closed or killed, opened on the healthy disk and compared with the oracle.
 *         Then each allocation of the same work fails, one by one. */
#include "tests/support/l2_kit.h"

#define KEYS 24u

static l2_dev dev;
static l2_kit kit;
static uint32_t now[KEYS];
static uint64_t runs, failed_opens, hits;

static const char *const site_names[] = { "open_dir", "list", "open", "preallocate", "pread",
    "pwrite", "map_shared", "arm", "datasync", "sync_dir", "truncate", "rename", "unlink", "lock",
    "stat", "boot_id", "bell", "zero" };
static const int errnos[] = { EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EFBIG, EMFILE, EROFS, ENOMEM };

static size_t length_of(uint32_t key, uint32_t version)
{
    return 8 + (key * 131 + version * 37) % 400;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void check_all(void)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        unsigned char buf[512], want[512];
        size_t len;
        l2_meta m;
        const l2_key id = l2_kit_key(&kit, &key, sizeof key, 3);
        if (l2_get(kit.d, &id, buf, sizeof buf, &len, &m) != CELLAR_OK) { continue; }
        fill(want, sizeof want, key, now[key]);
        hits++;
        T_CHECK(now[key] != 0 && m.user_flags == now[key] && len == length_of(key, now[key]) &&
                memcmp(buf, want, len) == 0);
    }
}

/* Open, change, store, read, sync, overflow and close, whatever fails. */
static void work(uint32_t *version)
{
    if (l2_kit_open(&kit) != CELLAR_OK) {
        failed_opens++;
        return;
    }
    for (uint32_t i = 0; i < 60; i++) {
        const uint32_t key = i * 7 % KEYS;
        const l2_key id = l2_kit_key(&kit, &key, sizeof key, 3);
        unsigned char buf[512];
        now[key] = i % 5 == 4 ? 0 : ++*version;
        l2_invalidate(kit.d, &id);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = now[key] };
        fill(buf, sizeof buf, key, now[key]);
        if (now[key] != 0) {
            (void)l2_put(kit.d, &id, buf, length_of(key, now[key]), &m, NULL);
        }
        if (i % 3 == 0) { (void)l2_tick(kit.d, 0); }
        if (i % 16 == 15) { check_all(); }
        if (i == 40) { (void)l2_sync(kit.d); }
        kit.now_ms += 90;
    }
    const l2_namespace v = { 1, 4, 1 };
    (void)l2_namespace_set(kit.d, &v, "v", 1);
    check_all();
}

static void one(int site, int error, uint64_t nth, bool sticky, bool closes, l2_level level)
{
    uint32_t version = 0;
    memset(now, 0, sizeof now);
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 4;
    kit.cfg.level = level;
    dev.fail_site = -2;
    work(&version); /* a history first */
    if (kit.d != NULL) { l2_close(kit.d); }
    kit.d = NULL;
    dev.fail_site = site;
    dev.fail_errno = error;
    dev.fail_at = nth;
    dev.fail_sticky = sticky;
    work(&version);
    runs++;
    if (kit.d != NULL && closes) {
        l2_close(kit.d);
        kit.d = NULL;
    }
    dev.fail_at = 0;
    l2_kit_kill(&kit);
    dev.locked = false;
    const cellar_err err = l2_kit_open(&kit);
    if (T_CHECK(err == CELLAR_OK)) {
        l2_kit_warm(&kit);
        check_all();
        T_EQ_STR(l2_audit(kit.d), NULL);
        l2_close(kit.d);
    }
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    if (t_failed()) {
        printf("# %s, errno %d, call %" PRIu64 ", %s, %s, level %d, open %d/%d\n", site_names[site],
               error, nth, sticky ? "for good" : "once", closes ? "closed" : "killed", (int)level,
               (int)err, kit.sys_errno);
    }
    l2_dev_fini(&dev);
}

static uint32_t calls_of(int site, l2_level level)
{
    uint32_t version = 0;
    memset(now, 0, sizeof now);
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 4;
    kit.cfg.level = level;
    work(&version);
    l2_close(kit.d);
    memset(dev.calls, 0, sizeof dev.calls);
    work(&version);
    l2_close(kit.d);
    kit.d = NULL;
    const uint32_t n = dev.calls[site];
    l2_dev_fini(&dev);
    return n;
}

T_CASE(every_call_can_fail_with_every_errno)
{
    runs = failed_opens = hits = 0;
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        for (int site = 0; site < DEV_SITES && !t_failed(); site++) {
            const uint32_t n = calls_of(site, (l2_level)level);
            printf("# level %d, %s: %u calls\n", level, site_names[site], n);
            for (uint32_t i = 1; i <= n && !t_failed(); i++) {
                for (size_t e = 0; e < 9 && !t_failed(); e++) {
                    one(site, errnos[e], i, false, i % 2 == 0, (l2_level)level);
                }
                one(site, EIO, i, true, i % 2 == 0, (l2_level)level);
                one(site, ENOSPC, i, true, i % 2 != 0, (l2_level)level);
                if (site == DEV_PREAD || site == DEV_PWRITE) {
                    one(site, -1, i, false, i % 2 == 0, (l2_level)level);
                }
            }
        }
    }
    printf("# %" PRIu64 " runs, %" PRIu64 " opens failed, %" PRIu64 " hits\n", runs, failed_opens,
           hits);
}

T_CASE(each_armed_allocation_fails)
{
    uint32_t version = 0;
    uint64_t n = 0;
    bool more = true;
    for (uint64_t nth = 1; more && !t_failed(); nth++) {
        memset(now, 0, sizeof now);
        l2_dev_init(&dev);
        l2_kit_init(&kit, &dev);
        work(&version);
        l2_close(kit.d);
        kit.d = NULL;
        (void)base_fault_alloc_arm(nth, false);
        work(&version);
        if (kit.d != NULL) { l2_close(kit.d); }
        kit.d = NULL;
        more = base_fault_alloc_arm(0, false) >= nth;
        dev.locked = false;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        l2_kit_warm(&kit);
        check_all();
        l2_close(kit.d);
        kit.d = NULL;
        T_EQ_U64(base_load_rlx(&kit.account.used), 0);
        l2_dev_fini(&dev);
        n = nth;
    }
    printf("# %" PRIu64 " allocations\n", n - 1);
    T_CHECK(n > 10);
}

T_ONE_THREAD;
T_MAIN("l2_fault")
