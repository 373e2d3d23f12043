/* SPDX-License-Identifier: MIT
 *
 * Aim:    P13: a disk that does not answer blocks no caller for longer than its limit and loses no
 *         change. That holds if the process continues, and if it dies before the disk answers.
 * Method: an in-memory disk. The test holds the role of a writer, as a thread in a write that hangs
 *         does, or switches the disk off. Then real files and threads: each call of the disk waits,
 *         and the other threads must make progress.
 * SEE ALSO test_log_slow: one caller waits; the thread of the store writes for callers. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/random.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "tests/support/folder.h"
#include "tests/support/log_kit.h"
#include "tests/support/many_threads.h"

#define SOME 40u /* keys of fill */

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

static void start(l2_level level)
{
    begin(level);
    l2_dev_init(&dev);
    dev.flat = true;
    open_on(&dev);
    for (uint32_t i = 0; i < SOME; i++) { T_EQ_I64(put_key(i, 1, true), CELLAR_OK); }
}

static void end(void)
{
    l2_close(d);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
}

static void kill_and_open(void) { l2_discard(d); open_on(&dev); }

/* A write hangs, and did for two seconds. */
static void freeze(void)
{
    sync_role_take(&d->writing);
    base_store_rlx(&d->write_ns, base_now_ns() - UINT64_C(2000000000));
}

static void thaw(void) { base_store_rlx(&d->write_ns, (uint64_t)0); l2_writing_drop(d); }

/* Check which of the keys 0..SOME - 1 are served: those from `first` on, in version 1. */
static void served_from(uint32_t first)
{
    for (uint32_t i = 0; i < SOME; i++) { T_EQ_U64(look(i), i >= first); }
}

#define AT_DROP(fn) T_WITHIN(fn, start(L2_DROP), end())
#define AT_KEEP(fn) T_WITHIN(fn, start(L2_KEEP), end())

T_CASE(a_delete_during_a_stall_survives_a_process_death)
{
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        start((l2_level)level);
        freeze();
        T_EQ_I64(put_once(5, 2, false), CELLAR_DROPPED);
        const uint64_t before = figures().tombstones;
        end_one(5);
        T_CHECK(dev.bell);
        end_one(5); /* its tombstone is in the buffer */
        end_one(6);
        T_EQ_U64(figures().relied, 3);
        T_EQ_U64(figures().tombstones - before, 2);
        T_EQ_U64(look(5), 0);
        kill_and_open(); /* the process dies here */
        T_CHECK(!dev.bell);
        served_from(SOME);
        T_EQ_I64(put_key(5, 3, true), CELLAR_OK);
        T_EQ_U64(look(5), 3);
        end();
    }
}

T_CASE(the_tier_goes_on_when_the_disk_answers_again)
{
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        start((l2_level)level);
        freeze();
        end_one(0);
        T_CHECK(dev.bell);
        thaw();
        (void)l2_tick(d, 1000);
        T_CHECK(!dev.bell);
        served_from(1);
        T_EQ_I64(put_key(0, 2, true), CELLAR_OK);
        T_EQ_U64(figures().closings, 0);
        kill_and_open();
        T_EQ_U64(look(0), 2);
        end_one(0);
        served_from(1);
        end();
    }
}

/* A change without room in the buffer closes the tier. */
T_CASE_ON(more_changes_than_the_buffer_holds_empty_the_tier, AT_KEEP)
{
    for (uint32_t i = 100; i < 4000; i++) { T_EQ_I64(put_key(i, 1, false), CELLAR_OK); }
    base_store_rel(&d->disk, (uint32_t)L2_DISK_OFF);
    for (uint32_t i = 0; i < 4000; i++) { end_one(i); }
    T_EQ_U64(figures().closings, 1);
    T_CHECK(dev.bell && l2_is_closed(d));
    T_EQ_U64(look(3), 0);
    base_store_rel(&d->disk, (uint32_t)L2_DISK_OK);
    (void)l2_tick(d, 1000);
    T_CHECK(!dev.bell && !l2_is_closed(d));
    T_CHECK(base_load_rlx(&d->lost_entries[L2_LOST_stall]) > 0);
    served_from(SOME);
    T_EQ_I64(put_key(3, 2, true), CELLAR_OK);
    kill_and_open();
    for (uint32_t i = 0; i < SOME; i++) { T_EQ_U64(look(i), i == 3 ? 2 : 0); }
}

static void count_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)hard, (void)soft;
    *(uint32_t *)ctx += fp == 0x1234;
}

T_CASE_ON(a_pattern_and_a_tag_of_a_stall_stay_in_force, AT_KEEP)
{
    uint64_t floor, walk;
    uint32_t tags = 0;
    const uint64_t epoch = l2_tags_known(d, &floor, count_tag, &tags);
    freeze();
    T_EQ_I64(l2_glob_begin(d, generation_now, "[^\1-\47]*", 7, &walk), CELLAR_OK); /* key 0 */
    l2_glob_end(d, walk);
    l2_tag_invalidate(d, 0x1234, epoch + 1, false);
    T_EQ_U64(figures().relied, 2);
    thaw();
    (void)l2_tick(d, 1000);
    T_CHECK(!dev.bell);
    served_from(1);
    kill_and_open();
    served_from(1);
    (void)l2_tags_known(d, &floor, count_tag, &tags);
    T_EQ_U64(tags, 1);
}

T_CASE(a_clear_during_a_stall_stays_in_force)
{
    const uint32_t was = GENERATION;
    for (int dies = 0; dies < 2; dies++) {
        start(L2_DROP);
        const l2_namespace v = { .id = 1, .generation = was + 1 };
        freeze();
        T_EQ_I64(l2_namespace_set(d, &v, "all", 3, NULL), CELLAR_OK);
        T_CHECK(dev.bell);
        if (!dies) {
            thaw();
            (void)l2_tick(d, 1000);
        }
        kill_and_open();
        T_CHECK(!dev.bell);
        T_EQ_U64(generation_now, dies ? was : was + 1); /* the first one: an empty store begins */
        served_from(SOME);
        end();
    }
}

static uint64_t floor_before;

/* Change a namespace once, while the FLOOR of a tier that reopens is written. */
static void change_at_the_floor(void *ctx)
{
    const l2_namespace *next = ctx;
    if (l2_floor(d) == floor_before) { return; }
    dev.hook = NULL;
    T_EQ_I64(l2_namespace_set(d, next, next->generation != 0 ? "all" : NULL, 3, NULL), CELLAR_OK);
}

/* Change a namespace while the tier reopens. The log is full of controls, and no pass ends. Return
 * the generation of "other". */
static uint32_t reopen_beside(l2_namespace next)
{
    l2_namespace v = { .id = 2, .generation = GENERATION + 2 };
    sync_role_take(&d->working);
    for (; v.generation < 100000 && !l2_is_closed(d); v.generation++) {
        T_EQ_I64(l2_namespace_set(d, &v, "other", 5, NULL), CELLAR_OK);
    }
    T_REQUIRE(l2_is_closed(d));
    sync_role_drop(&d->working);
    floor_before = l2_floor(d);
    dev.hook = change_at_the_floor;
    dev.hook_ctx = &next;
    for (int i = 0; i < 4 && (l2_is_closed(d) || dev.bell); i++) { (void)l2_tick(d, 1000); }
    T_CHECK(dev.hook == NULL && !dev.bell && !l2_is_closed(d));
    T_EQ_U64(figures().closings, 1);
    return (uint32_t)v.generation - 1;
}

/* A put that began before comes behind the drop. An open takes the generation of a known name. */
T_CASE_ON(a_drop_while_the_tier_reopens_stays_in_force, AT_KEEP)
{
    l2_namespace got;
    generation_now = reopen_beside((l2_namespace){ .id = 2 });
    T_EQ_I64(put_key(3, 2, true), CELLAR_OK);
    kill_and_open();
    const bool back = l2_namespace_find(d, "other", 5, &got);
    T_CHECK(!back);
    if (back) { generation_now = (uint32_t)got.generation; }
    T_EQ_U64(back ? look(3) : 0, 0);
}

T_CASE_ON(a_clear_while_the_tier_reopens_stays_in_force, AT_KEEP)
{
    (void)reopen_beside((l2_namespace){ .id = 1, .generation = GENERATION + 1, .version = 2 });
    generation_now = GENERATION + 1;
    T_EQ_I64(put_key(3, 2, true), CELLAR_OK);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    kill_and_open();
    T_EQ_U64(generation_now, GENERATION + 1);
    T_EQ_U64(look(3), 2);
}

static void *answer_a_waiter(void *arg)
{
    for (int i = 0; i < 60000 && figures().waits == 0; i++) { usleep(1000); }
    thaw();
    return arg;
}

T_CASE_ON(without_a_stall_marker_a_change_waits_and_is_counted, AT_KEEP)
{
    pthread_t t;
    dev.fail_site = DEV_BELL;
    dev.fail_errno = EACCES;
    dev.fail_at = 1;
    dev.fail_sticky = true;
    freeze();
    T_REQUIRE(pthread_create(&t, NULL, answer_a_waiter, NULL) == 0);
    end_one(0);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_CHECK(figures().waits > 0 && figures().relied == 0 && !dev.bell);
    dev.fail_at = 0;
    kill_and_open();
    served_from(1);
}

T_CASE_ON(a_read_that_has_just_begun_is_not_stuck, AT_DROP)
{
    T_CHECK(!l2_standing(d));
    base_store_rel(&d->reads_out, 1u);
    bool stands = true;
    for (int i = 0; i < 20 && stands; i++) { /* this thread may be stopped between the two */
        base_store_rlx(&d->read_ns, base_now_ns());
        stands = l2_standing(d);
    }
    T_CHECK(!stands);
    base_store_rlx(&d->read_ns, base_now_ns() - 2 * L2_STALLED_NS);
    T_CHECK(l2_standing(d));
    base_store_rel(&d->reads_out, 0u);
    T_CHECK(!l2_standing(d));
}

/* ---- the stall marker ---- */

T_CASE_ON(a_failed_look_for_the_stall_marker_empties_the_store, AT_DROP)
{
    freeze();
    end_one(5);
    T_CHECK(dev.bell);
    l2_discard(d);
    dev.fail_site = DEV_BELL;
    dev.fail_errno = EMFILE;
    dev.fail_at = 1;
    open_on(&dev);
    served_from(SOME);
}

T_CASE_ON(a_copy_leaves_the_stall_marker_to_its_store, AT_KEEP)
{
    freeze();
    end_one(5);
    l2_dev_clone(&dev, &other, NULL);
    l2_dev_find(&other, "data.seg")->ino += 100;
    other.dir_ino = 100;
    l2_discard(d);
    for (uint32_t times = 0; times < 2; times++) {
        open_on(&other);
        T_CHECK(other.bell); /* the original may still be opened */
        T_EQ_U64(look(5), 0);
        T_EQ_U64(look(6), times); /* emptied once; independent from then on */
        T_EQ_I64(put_key(6, 1, true), CELLAR_OK);
        l2_close(d);
    }
    open_on(&dev);
    T_CHECK(!dev.bell);
    served_from(SOME);
}

static uint32_t makes;

/* Make the stall marker only after the disk has answered. */
static int late_bell(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    if (how == BASE_VFS_BELL_MAKE && makes++ == 0) {
        thaw();
        T_EQ_I64(l2_flush(d, base_load_acq(&d->tail), 0), 0);
    }
    return l2_dev_bell(ctx, id, how);
}

T_CASE_ON(a_late_stall_marker_is_removed, AT_DROP)
{
    freeze();
    vfs.bell = late_bell;
    makes = 0;
    end_one(0);
    T_EQ_U64(makes, 1);
    (void)l2_tick(d, 1000);
    T_CHECK(!dev.bell && !l2_is_closed(d));
    T_EQ_I64(put_key(0, 2, true), CELLAR_OK);
    kill_and_open();
    T_EQ_U64(look(0), 2);
    T_EQ_U64(look(1), 1);
}

/* ---- threads on real files ---- */

#define WRITERS 3u
#define EACH 512u

static const base_vfs *real;
static _Atomic bool frozen; /* no futex: each thread polls it every millisecond */
static _Atomic uint64_t ops[WRITERS];
static _Atomic bool over;

static void wait_for_thaw(void)
{
    while (atomic_load(&frozen)) { usleep(1000); }
}

static int slow_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                       size_t *done)
{
    wait_for_thaw();
    return real->pwrite(ctx, f, buf, n, at, done);
}

static int slow_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at, size_t *done)
{
    wait_for_thaw();
    return real->pread(ctx, f, buf, n, at, done);
}

static int slow_datasync(void *ctx, base_vfs_file *f)
{
    wait_for_thaw();
    return real->datasync(ctx, f);
}

static int slow_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    wait_for_thaw();
    return real->stat(ctx, f, out);
}

static void *writer(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg, first = me * EACH;
    static uint32_t all[WRITERS][EACH];
    uint32_t *now = all[me], version = 0;
    memset(now, 0, sizeof all[me]);
    base_rng r;
    base_rng_seed(&r, t_seed() + first);
    while (!atomic_load(&over) && !t_failed()) {
        const uint32_t n = (uint32_t)base_rng_below(&r, EACH), key = first + n;
        end_one(key);
        now[n] = base_rng_below(&r, 10) == 0 ? 0 : ++version;
        if (now[n] != 0) { (void)put_once(key, version, false); }
        atomic_fetch_add(&ops[me], 1);
        if (!atomic_load(&frozen)) { usleep(50); }
    }
    for (uint32_t n = 0; n < EACH; n++) {
        const uint32_t got = look(first + n);
        T_CHECK(got == 0 || got == now[n]);
    }
    return arg;
}

/* Read. Reads that have begun wait for the disk. */
static void *reader(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    while (!atomic_load(&over) && !t_failed()) {
        (void)look((uint32_t)base_rng_below(&r, WRITERS * EACH));
        usleep(50);
    }
    return arg;
}

/* Wait until all writers, but `less` of them, have made `by` operations. A writer that hangs in a
 * call of the disk is one. */
static bool all_get_on(uint64_t by, uint32_t less)
{
    uint64_t from[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) { from[i] = atomic_load(&ops[i]); }
    for (uint64_t i = 0; i < 60000 * t_patience(); i++) { /* a watchdog, far above normal times */
        uint32_t on = 0;
        for (uint32_t n = 0; n < WRITERS; n++) { on += atomic_load(&ops[n]) - from[n] >= by; }
        if (on + less >= WRITERS) { return true; }
        usleep(1000);
    }
    return false;
}

static void threads_get_on_while_the_disk_stands_still(l2_level level)
{
    char folder[T_FOLDER_MAX];
    pthread_t t[WRITERS + 1];
    int e = 0;
    t_folder(folder);
    begin(level);
    real = base_vfs_system();
    vfs = *real;
    vfs.pwrite = slow_pwrite;
    vfs.pread = slow_pread;
    vfs.pread_now = NULL;
    vfs.datasync = slow_datasync;
    vfs.stat = slow_stat;
    cfg.vfs = &vfs;
    cfg.path = folder;
    cfg.no_thread = false;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
    const l2_namespace ns = { .id = 1, .generation = GENERATION };
    T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
    atomic_store(&over, false);
    for (uint32_t i = 0; i < WRITERS; i++) { atomic_store(&ops[i], 0); }
    start_numbered(t, WRITERS, writer, 0);
    start_threads(&t[WRITERS], 1, reader, NULL);
    T_CHECK(all_get_on(1000, 0));
    atomic_store(&frozen, true);
    T_CHECK(all_get_on(3, 1));
    for (uint64_t i = 0; i < 60000 * t_patience() && figures().relied == 0; i++) { usleep(1000); }
    T_CHECK(figures().relied > 0);
    atomic_store(&frozen, false);
    T_CHECK(all_get_on(500, 0));
    const uint64_t before = figures().hits;
    for (uint64_t i = 0; i < 60000 * t_patience() && figures().hits == before; i++) { usleep(1000); }
    T_CHECK(figures().hits > before && !l2_is_closed(d)); /* it serves again */
    atomic_store(&over, true);
    join_threads(t, WRITERS + 1);
    printf("# level %d: %" PRIu64 " closings, %" PRIu64 " stalled, %" PRIu64 " relied, %" PRIu64
           " waits\n", (int)level, figures().closings, figures().stalled, figures().relied,
           figures().waits);
    l2_close(d);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    t_wipe(folder);
}

T_CASE(threads_progress_during_a_stall_at_drop)
{
    threads_get_on_while_the_disk_stands_still(L2_DROP);
}
T_CASE(threads_progress_during_a_stall_at_keep)
{
    threads_get_on_while_the_disk_stands_still(L2_KEEP);
}

T_MAIN("l2_frozen")
