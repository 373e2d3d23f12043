/* SPDX-License-Identifier: MIT
 *
 * Aim:    P12: any I/O call may fail, with any errno, once or for good. Every call of l2 returns,
 *         nothing stale is served, and a reopen works after the fault.
 * Method: one piece of work on an in-memory disk. The n-th call of each site fails. Then the
 *         store is closed or killed, opened on the healthy disk and compared with the oracle.
 *         Then each allocation of the same work fails, one by one. */
#include "tests/support/log_kit.h"

#define FEW 24u /* keys */
#define LONGEST 4008u

static uint32_t now[FEW];
static uint64_t runs, failed_opens, hits, passed; /* passed: segments */

static const char *const site_names[] = { "open_dir", "list", "open", "preallocate", "pread",
    "pwrite", "datasync", "sync_dir", "truncate", "rename", "unlink", "lock",
    "stat", "boot_id", "bell" };
static const int errnos[] = { EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EFBIG, EMFILE, EROFS, ENOMEM };

static size_t length_of(uint32_t key, uint32_t version)
{
    return 8 + (key * 131 + version * 997) % 4000;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void check_all(void)
{
    for (uint32_t key = 0; key < FEW; key++) {
        unsigned char buf[LONGEST], want[LONGEST];
        size_t len;
        l2_meta m;
        const l2_key id = key_of(&key);
        if (l2_get(d, &id, buf, sizeof buf, &len, &m) != CELLAR_OK) { continue; }
        fill(want, sizeof want, key, now[key]);
        hits++;
        T_CHECK(now[key] != 0 && m.user_flags == now[key] && len == length_of(key, now[key]) &&
                memcmp(buf, want, len) == 0);
    }
}

static cellar_err open_it(void)
{
    d = NULL;
    return open_may_fail(&dev);
}

static void start(l2_level level)
{
    begin(level);
    memset(now, 0, sizeof now);
    l2_dev_init(&dev);
    cfg.seg_bytes = 32768;
    cfg.seg_count = 6; /* one run fills it */
}

/* Open, change, store, read, sync, overflow and close, whatever fails. */
static void work(uint32_t *version)
{
    if (open_it() != CELLAR_OK) {
        failed_opens++;
        return;
    }
    for (uint32_t i = 0; i < 80; i++) {
        const uint32_t key = i * 7 % FEW;
        const l2_key id = key_of(&key);
        unsigned char buf[LONGEST];
        now[key] = i % 5 == 4 ? 0 : ++*version;
        l2_invalidate(d, &id);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = now[key] };
        fill(buf, sizeof buf, key, now[key]);
        if (now[key] != 0) {
            (void)l2_put(d, &id, buf, length_of(key, now[key]), &m, NULL);
        }
        if (i % 3 == 0) { (void)l2_tick(d, 0); }
        if (i % 16 == 15) { check_all(); }
        if (i == 40) { (void)l2_sync(d); }
        ms += 90;
    }
    const l2_namespace v = { 1, 4, 1 };
    (void)l2_namespace_set(d, &v, "v", 1, NULL);
    check_all();
    l2_stats st;
    l2_stats_get(d, &st);
    passed += st.reclaimed;
}

/* The disk works again: the store opens, and serves nothing old. */
static cellar_err opens_again(void)
{
    dev.fail_at = 0;
    const cellar_err err = open_it();
    if (T_CHECK(err == CELLAR_OK)) {
        check_all();
        l2_close(d);
    }
    T_EQ_U64(base_load_rlx(&account.used), 0);
    l2_dev_fini(&dev);
    return err;
}

static void one(int site, int error, uint64_t nth, bool sticky, bool closes, l2_level level)
{
    uint32_t version = 0;
    start(level);
    work(&version); /* a history first */
    l2_close(d);
    dev.fail_site = site;
    dev.fail_errno = error;
    dev.fail_at = nth;
    dev.fail_sticky = sticky;
    work(&version);
    runs++;
    if (d != NULL && closes) { l2_close(d); }
    dev.fail_at = 0;
    if (d != NULL && !closes) { l2_discard(d); }
    const cellar_err err = opens_again();
    if (t_failed()) {
        printf("# %s, errno %d, call %" PRIu64 ", %s, %s, level %d, open %d\n", site_names[site],
               error, nth, sticky ? "for good" : "once", closes ? "closed" : "killed", (int)level,
               (int)err);
    }
}

static uint32_t calls_of(int site, l2_level level)
{
    uint32_t version = 0;
    start(level);
    work(&version);
    l2_close(d);
    memset(dev.calls, 0, sizeof dev.calls);
    work(&version);
    l2_close(d);
    const uint32_t n = dev.calls[site];
    l2_dev_fini(&dev);
    return n;
}

T_CASE(every_call_can_fail_with_every_errno)
{
    const size_t step = t_reduced() ? 5 : 1; /* of the errnos */
    /* `make test` fails each call, a run with a smaller share every second one or fewer. */
    const uint32_t stride = (uint32_t)BASE_MAX(10 / t_share(40), 1);
    runs = failed_opens = hits = passed = 0;
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        for (int site = 0; site < DEV_SITES && !t_failed(); site++) {
            const uint32_t n = calls_of(site, (l2_level)level);
            printf("# level %d, %s: %u calls\n", level, site_names[site], n);
            for (uint32_t i = 1 + (uint32_t)t_seed() % stride; i <= n && !t_failed(); i += stride) {
                for (size_t e = i % step; e < 9 && !t_failed(); e += step) {
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
    printf("# %" PRIu64 " runs, %" PRIu64 " opens failed, %" PRIu64 " hits, %" PRIu64 " passed\n",
           runs, failed_opens, hits, passed);
    T_CHECK(passed > runs && hits > runs * FEW);
}

T_CASE(each_armed_allocation_fails)
{
    uint32_t version = 0;
    uint64_t n = 0;
    bool more = true;
    for (uint64_t nth = 1; more && !t_failed(); nth++) {
        start(L2_DROP);
        work(&version);
        l2_close(d);
        (void)base_fault_alloc_arm(nth, false);
        work(&version);
        if (d != NULL) { l2_close(d); }
        more = base_fault_alloc_arm(0, false) >= nth;
        (void)opens_again();
        n = nth;
    }
    printf("# %" PRIu64 " allocations\n", n - 1);
    T_CHECK(n > 5);
}

T_ONE_THREAD;
T_MAIN("l2_fault")
