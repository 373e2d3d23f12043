/* SPDX-License-Identifier: MIT
 *
 * Aim:    a disk that is slow, or hangs, stops one caller at most for longer than its limit. After
 *         a slow write the thread of the store writes for all, until writes are quick again.
 * Method: a store with a thread on real files. Reads, writes and syncs of its disk wait for a gate,
 *         or take the time that the test says. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "l2/progress.h"
#include "l2/reopen.h"
#include "tests/support/folder.h"
#include "tests/support/log_kit.h"

#define SLOW_US 150000u
#define IMAGE_BYTES ((uint32_t)1 << 20)

#define AWAIT(fact) \
    do { \
        unsigned ms_ = 0; \
        for (; !(fact) && ms_ < 60000 * t_patience(); ms_++) { (void)usleep(1000); } \
        T_REQUIRE(ms_ < 60000 * t_patience()); \
    } while (0)

/* ---- the disk ---- */

static const base_vfs *below;
static _Atomic bool reads_wait, writes_wait, syncs_wait, write_is_slow;
static _Atomic bool supers_pass;      /* writes of SUPER do not wait */
static _Atomic bool hold_super, super_shut; /* the next sync of SUPER waits while it is shut */
static _Atomic uint32_t super_syncs;
static _Atomic uint32_t waiting;      /* calls at a gate */
static _Atomic uint32_t own_writes;   /* of the thread that runs the test */
static _Atomic int64_t clock_ms;
static pthread_t self;

static void gate(_Atomic bool *shut)
{
    if (!atomic_load(shut)) { return; }
    atomic_fetch_add(&waiting, 1);
    while (atomic_load(shut)) { (void)usleep(500); }
    atomic_fetch_sub(&waiting, 1);
}

static int slow_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at, size_t *done)
{
    gate(&reads_wait);
    return below->pread(ctx, f, buf, n, at, done);
}

static int slow_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                       size_t *done)
{
    if (pthread_equal(pthread_self(), self)) { atomic_fetch_add(&own_writes, 1); }
    if (!atomic_load(&supers_pass) || f != d->super_file) { gate(&writes_wait); }
    if (atomic_exchange(&write_is_slow, false)) { (void)usleep(SLOW_US); }
    return below->pwrite(ctx, f, buf, n, at, done);
}

static int slow_datasync(void *ctx, base_vfs_file *f)
{
    gate(&syncs_wait);
    if (d != NULL && f == d->super_file && atomic_exchange(&hold_super, false)) {
        gate(&super_shut);
    }
    const int e = below->datasync(ctx, f);
    if (d != NULL && f == d->super_file) { atomic_fetch_add(&super_syncs, 1); }
    return e;
}

/* ---- the store ---- */

static uint32_t object_bytes; /* of the next store; a large one has a small index */
static char path[T_FOLDER_MAX];

static int64_t later_ms(void *ctx) { (void)ctx; return 1000000 + atomic_load(&clock_ms); }

static void give_image(void *ctx, l2_images *to)
{
    static const unsigned char bytes[4096];
    const uint64_t note[2] = { 1, 2 };
    bool ok = true;
    (void)ctx;
    if (!l2_image_begin(to, "all", 3, IMAGE_BYTES, note)) { return; }
    for (uint32_t n = 0; n < IMAGE_BYTES && ok; n += sizeof bytes) {
        ok = l2_image_give(to, bytes, sizeof bytes);
    }
    (void)l2_image_end(to, ok);
}

static void start(l2_level level)
{
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    int e = 0;
    begin(level);
    t_folder(path);
    self = pthread_self();
    below = base_vfs_system();
    vfs = *below;
    vfs.pread = slow_pread;
    vfs.pwrite = slow_pwrite;
    vfs.datasync = slow_datasync;
    clock_now = (base_clock){ later_ms, later_ms, NULL };
    cfg.path = path;
    cfg.vfs = &vfs;
    cfg.bytes = cfg.memory_bytes = (uint64_t)16 << 20;
    cfg.seg_bytes = cfg.seg_count = 0;
    cfg.no_thread = false;
    cfg.images = give_image;
    cfg.avg_object_bytes = object_bytes;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
    T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
}

static void end(void)
{
    l2_close(d);
    d = NULL;
    atomic_store(&supers_pass, false);
    t_wipe(path);
}

#define DROP(fn) T_WITHIN(fn, start(L2_DROP), end())

static cellar_err put_as(uint32_t i, bool durable)
{
    static const char value[500];
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = durable };
    return l2_put(d, &k, value, sizeof value, &m, NULL);
}

static cellar_err put(uint32_t i) { return put_as(i, true); }

static bool lives(uint32_t i)
{
    char value[500];
    size_t n = 0;
    l2_meta m;
    const l2_key k = key_of(&i);
    return l2_get(d, &k, value, sizeof value, &n, &m) == CELLAR_OK;
}

static void end_key(uint32_t i) { const l2_key k = key_of(&i); l2_invalidate(d, &k); }

/* ---- cases ---- */

/* Let a write be slow. Return whether the thread then wrote for most puts: a busy one is late. */
static bool thread_writes_most(void)
{
    uint32_t own, quick = 0;
    for (uint32_t i = 0; i < 10 || base_load_rlx(&d->slow) != 0; i++) { (void)put(i % 10); }
    atomic_store(&write_is_slow, true);
    T_EQ_I64(put(10), CELLAR_OK);
    T_CHECK(base_load_rlx(&d->slow) != 0);
    own = atomic_load(&own_writes);
    T_CHECK(own != 0);
    for (; base_load_rlx(&d->slow) > 1 && quick < 100000; quick++) {
        const cellar_err err = put(quick);
        T_CHECK(err == CELLAR_OK || err == CELLAR_DROPPED);
    }
    T_CHECK(quick >= 90);
    return atomic_load(&own_writes) - own < quick / 2;
}

T_CASE_ON(thread_writes_for_callers_after_a_slow_write, DROP)
{
    uint32_t rounds = 0;
    while (!thread_writes_most() && rounds < 20) { rounds++; }
    T_CHECK(rounds < 20);
    const uint32_t own = atomic_load(&own_writes);
    for (uint32_t i = 0; atomic_load(&own_writes) == own && i < 100000; i++) { (void)put(i); }
    T_CHECK(atomic_load(&own_writes) != own);
}

static void *put_100(void *ctx) { (void)put(100); return ctx; }

static void *commit_once(void *ctx) { (void)l2_commit(d); return ctx; }

T_CASE(commit_returns_while_the_sync_of_another_caller_hangs)
{
    pthread_t t;
    start(L2_ALWAYS);
    T_EQ_I64(put(1), CELLAR_OK);
    atomic_store(&syncs_wait, true);
    T_REQUIRE(pthread_create(&t, NULL, commit_once, NULL) == 0);
    AWAIT(atomic_load(&waiting) != 0);
    T_EQ_I64(put(2), CELLAR_OK);
    T_EQ_I64(l2_commit(d), CELLAR_E_IO);
    T_CHECK(lives(2));
    atomic_store(&syncs_wait, false);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    T_EQ_I64(l2_commit(d), CELLAR_OK);
    end();
}

/* A write takes long while the thread of the store syncs: then that thread writes nothing. */
T_CASE(slow_write_during_a_sync_closes_nothing)
{
    l2_stats st;
    uint32_t n = 100;
    start(L2_KEEP);
    for (uint32_t i = 0; i < 4; i++) { T_EQ_I64(put(i), CELLAR_OK); }
    atomic_store(&syncs_wait, true);
    atomic_fetch_add(&clock_ms, 2000);
    AWAIT(atomic_load(&waiting) != 0);
    atomic_store(&write_is_slow, true);
    T_EQ_I64(put(10), CELLAR_OK);
    T_CHECK(base_load_rlx(&d->slow) != 0);
    T_EQ_I64(put(11), CELLAR_OK);
    while (put_as(n, false) == CELLAR_OK) { n++; } /* the buffer is full */
    T_CHECK(n > 300 && n < 10000);
    for (uint32_t i = 0; i < 3; i++) { end_key(i); }
    T_CHECK(!l2_is_closed(d));
    l2_stats_get(d, &st);
    T_EQ_U64(st.closings, 0);
    T_EQ_U64(st.relied, 0);
    atomic_store(&syncs_wait, false);
    T_CHECK(lives(3) && lives(11) && lives(100) && !lives(0));
    end();
}

/* The thread of the store stores SUPER each minute. */
T_CASE_ON(super_stored_while_a_write_hangs_leaves_puts_dropped, DROP)
{
    pthread_t t;
    T_EQ_I64(put(1), CELLAR_OK);
    atomic_store(&supers_pass, true);
    atomic_store(&writes_wait, true);
    T_REQUIRE(pthread_create(&t, NULL, put_100, NULL) == 0);
    AWAIT(l2_stalled(d));
    const uint32_t syncs = atomic_load(&super_syncs);
    atomic_fetch_add(&clock_ms, 120000);
    l2_worker_wake(d);
    AWAIT(atomic_load(&super_syncs) != syncs);
    T_CHECK(l2_stalled(d));
    T_EQ_I64(put(2), CELLAR_DROPPED);
    atomic_store(&writes_wait, false);
    T_REQUIRE(pthread_join(t, NULL) == 0);
}

static void *sync_once(void *ctx)
{
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    return ctx;
}

static void *resize_once(void *ctx)
{
    T_EQ_I64(l2_resize(d, 2 * cfg.bytes), CELLAR_OK);
    return ctx;
}

/* Put while the sync of a SUPER takes long, which `call` stores. */
static void puts_beside(l2_level level, void *(*call)(void *ctx))
{
    pthread_t t;
    start(level);
    T_EQ_I64(put(1), CELLAR_OK);
    atomic_store(&super_shut, true);
    atomic_store(&hold_super, true);
    T_REQUIRE(pthread_create(&t, NULL, call, NULL) == 0);
    AWAIT(atomic_load(&waiting) != 0);
    for (uint32_t i = 100; i < 150; i++) { T_EQ_I64(put(i), CELLAR_OK); }
    end_key(1);
    T_EQ_U64(base_load_acq(&d->owed_lsn), 0);
    atomic_store(&super_shut, false);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    T_CHECK(lives(100) && lives(149) && !lives(1));
    end();
}

T_CASE(sync_of_the_super_of_a_save_delays_no_put) { puts_beside(L2_DROP, sync_once); }
T_CASE(sync_of_the_super_of_another_size_delays_no_put) { puts_beside(L2_KEEP, resize_once); }

static void *reopen_once(void *ctx)
{
    l2_reopen(d);
    return ctx;
}

static pthread_t reopener;

/* Close the tier behind the look of a put, which holds the lock of the log, and open it again. */
static bool close_and_reopen(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx, (void)hash, (void)stamp;
    base_store_rel(&d->owed_lsn, UINT64_MAX);
    base_store_sc(&d->closed, 1u);
    T_REQUIRE(pthread_create(&reopener, NULL, reopen_once, NULL) == 0);
    AWAIT(base_load_acq(&d->log_lock.word) == 2); /* another thread waits for it */
    return true;
}

T_CASE_ON(put_that_came_before_the_tier_closed_is_below_its_floor, DROP)
{
    const uint32_t i = 5;
    const l2_current current = { close_and_reopen, NULL, 0 };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    const l2_key k = key_of(&i);
    sync_role_take(&d->working);
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, &current), CELLAR_OK);
    T_REQUIRE(pthread_join(reopener, NULL) == 0);
    sync_role_drop(&d->working);
    T_CHECK(!l2_is_closed(d) && !lives(5));
}

static _Atomic bool returned;

static void *save_images(void *ctx)
{
    l2_images_save(d, false);
    atomic_store(&returned, true);
    return ctx;
}

/* The rest of the buffer is left to deletes. */
T_CASE_ON(save_of_images_returns_while_a_write_hangs, DROP)
{
    pthread_t t, saver;
    l2_stats st;
    T_EQ_I64(put(1), CELLAR_OK);
    atomic_store(&writes_wait, true);
    T_REQUIRE(pthread_create(&t, NULL, put_100, NULL) == 0);
    AWAIT(atomic_load(&waiting) != 0);
    const uint64_t tail = base_load_acq(&d->tail);
    atomic_store(&returned, false);
    T_REQUIRE(pthread_create(&saver, NULL, save_images, NULL) == 0);
    AWAIT(atomic_load(&returned) || base_load_acq(&d->tail) - tail > d->buf_bytes / 2);
    T_CHECK(atomic_load(&returned));
    end_key(1);
    l2_stats_get(d, &st);
    T_EQ_U64(st.closings, 0);
    atomic_store(&writes_wait, false);
    T_REQUIRE(pthread_join(saver, NULL) == 0 && pthread_join(t, NULL) == 0);
    T_CHECK(lives(100));
}

/* ---- reads ---- */

static bool pass_all(void *ctx, const l2_key *k, const void *value, size_t len, const l2_meta *m)
{
    (void)ctx, (void)k, (void)value, (void)len, (void)m;
    return true;
}

static cellar_err scan(void)
{
    uint64_t at = 0;
    return l2_visit(d, GENERATION, &at, 100000, pass_all, NULL);
}

static void *scan_once(void *ctx) { (void)scan(); return ctx; }

static void *call_many(void *ctx)
{
    T_EQ_I64(scan(), CELLAR_E_BUSY);
    for (uint32_t i = 0; i < 100; i++) { (void)put(2000000 + i); }
    atomic_store(&returned, true);
    return ctx;
}

/* A put into a full index reads heads of other entries: it may take the place of one. */
T_CASE(hanging_read_stops_no_other_scan_and_no_put)
{
    pthread_t t, caller;
    uint32_t i = 0;
    object_bytes = 65536;
    start(L2_DROP);
    object_bytes = 0;
    while (base_load_rlx(&d->index.full) == 0) { (void)put(1000000 + i++); }
    const uint64_t tail = base_load_acq(&d->tail);
    while (base_load_acq(&d->written) < tail + d->form.seg_bytes + d->buf_bytes) {
        (void)put(1000000);
    }
    atomic_store(&reads_wait, true);
    T_REQUIRE(pthread_create(&t, NULL, scan_once, NULL) == 0);
    AWAIT(atomic_load(&waiting) != 0);
    AWAIT(l2_standing(d));
    atomic_store(&returned, false);
    T_REQUIRE(pthread_create(&caller, NULL, call_many, NULL) == 0);
    AWAIT(atomic_load(&returned) || atomic_load(&waiting) > 1);
    T_CHECK(atomic_load(&returned));
    atomic_store(&reads_wait, false);
    T_REQUIRE(pthread_join(caller, NULL) == 0 && pthread_join(t, NULL) == 0);
    end();
}

T_MAIN("log_slow")
