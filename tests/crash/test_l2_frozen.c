/* SPDX-License-Identifier: MIT
 *
 * Aim:    P13: a disk that does not answer blocks no caller and loses no change. That holds if the
 *         process continues, and if it dies before the disk answers.
 * Method: an in-memory disk, with the worker's silence set in its word and armed pages taken
 *         away. Then real files and threads: each disk call blocks, and each page of the stage
 *         that is not armed is protected. A thread that stores into one waits in the signal
 *         handler, as it would in the kernel. The other threads must make progress. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEYS L2_KIT_KEYS

static l2_dev dev;
static l2_kit kit;

static void begin(l2_level level) { l2_kit_begin(&kit, &dev, level); }
static void end(void) { l2_kit_end(&kit, &dev); }
static void fill(uint32_t version) { l2_kit_fill(&kit, version); }
static void del(uint32_t key) { l2_kit_del(&kit, key); }
static l2_stats figures(void) { return l2_kit_figures(&kit); }

static cellar_err put_as(uint32_t key, uint32_t version, uint32_t generation)
{
    return l2_kit_put(&kit, key, version, generation);
}

static uint32_t look_as(uint32_t key, uint32_t generation)
{
    return l2_kit_look(&kit, key, generation);
}

/* Freeze the disk: the worker hangs in a call, and no page accepts a store without a wait. */
static void freeze(void)
{
    for (uint32_t i = 0; i < kit.d->nstage; i++) {
        kit.d->slot[i].armed_end = kit.d->slot[i].armed_lines = 0;
    }
    base_store_rlx(&kit.d->beat, base_now_ns() - UINT64_C(2000000000));
}

T_CASE(a_delete_during_a_stall_survives_a_process_death)
{
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        begin((l2_level)level);
        fill(1);
        freeze();
        T_EQ_U64(look_as(5, 3) <= 1, 1);
        T_EQ_I64(put_as(5, 2, 3), CELLAR_DROPPED);
        del(5);
        T_EQ_U64(figures().closings, 1);
        T_CHECK(dev.bell);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), 0); }
        del(6);
        T_EQ_U64(figures().relied, 2);
        l2_kit_killed(&kit, &dev); /* the process dies here */
        T_CHECK(!dev.bell);
        T_EQ_U64(look_as(5, 3), 0);
        T_EQ_U64(look_as(6, 3), 0);
        fill(3);
        T_EQ_U64(look_as(5, 3), 3);
        end();
    }
}

T_CASE(the_tier_reopens_when_the_disk_answers_again)
{
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        begin((l2_level)level);
        fill(1);
        freeze();
        del(5);
        T_CHECK(dev.bell);
        (void)l2_tick(kit.d, 1000); /* the call of the worker has returned */
        T_CHECK(!dev.bell);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i != 5); }
        for (uint32_t i = 0; i < 20; i++) {
            T_EQ_I64(put_as(i, 2, 3), CELLAR_OK);
            (void)l2_tick(kit.d, 1000);
        }
        T_EQ_U64(figures().closings, 1);
        T_EQ_U64(figures().emptied, 0);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i < 20 ? 2 : 1); }
        l2_kit_killed(&kit, &dev);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i < 20 ? 2 : 1); }
        end();
    }
}

/* A key that changes again and again during a stall takes room in the list once. */
T_CASE(changes_of_a_stall_are_logged_once_for_each_key)
{
    begin(L2_KEEP);
    fill(1);
    freeze();
    for (int times = 0; times < 10000; times++) { del((uint32_t)times % 10); }
    T_EQ_U64(figures().relied, 10000);
    const uint64_t before = figures().tombstones;
    (void)l2_tick(kit.d, 1000);
    T_EQ_U64(figures().tombstones - before, 10);
    T_EQ_U64(figures().emptied, 0);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i >= 10); }
    l2_kit_killed(&kit, &dev);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i >= 10); }
    end();
}

T_CASE(more_changes_than_the_list_holds_empty_the_tier)
{
    begin(L2_KEEP);
    fill(1);
    base_store_rlx(&kit.d->rebuilding, 1u); /* the filter denies no key */
    freeze();
    for (uint32_t i = 0; i < kit.d->owed.cap / 32; i++) { del(i); }
    T_EQ_U64(figures().emptied, 0);
    (void)l2_tick(kit.d, 1000);
    base_store_rlx(&kit.d->rebuilding, 0u);
    T_EQ_U64(figures().emptied, 1);
    T_CHECK(figures().lost_stall > 0);
    T_CHECK(!l2_is_closed(kit.d) && !dev.bell);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), 0); }
    T_EQ_I64(put_as(3, 2, 3), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i == 3 ? 2 : 0); }
    end();
}

/* The row of a pattern waits for the reopening; its records are dead before and after. */
T_CASE(a_pattern_and_a_tag_of_a_stall_are_logged_by_the_reopening)
{
    begin(L2_KEEP);
    fill(1);
    freeze();
    uint64_t seq;
    T_EQ_I64(l2_glob_begin(kit.d, 3, "\7*", 2, &seq), CELLAR_OK);
    l2_glob_end(kit.d, seq);
    l2_tag_invalidate(kit.d, 0x1234, kit.d->super.opens << 32 | 1, false);
    T_EQ_U64(figures().relied, 2);
    T_EQ_U64(kit.d->invalidations.tag[0].pending, 1);
    (void)l2_tick(kit.d, 1000);
    T_EQ_U64(kit.d->invalidations.tag[0].pending, 0);
    T_CHECK(kit.d->invalidations.tag[0].lsn != 0);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i != 7); }
    l2_kit_killed(&kit, &dev);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), i != 7); }
    T_EQ_U64(kit.d->invalidations.tag_count, 1);
    end();
}

/* The table has room for 256 patterns. The rows of a stall wait for their controls. */
T_CASE(more_patterns_than_the_table_holds_are_taken_during_a_stall)
{
    for (int distinct = 0; distinct < 2; distinct++) {
        begin(L2_KEEP);
        fill(1);
        freeze();
        for (unsigned i = 0; i < 270; i++) {
            const char text[4] = { 7, (char)(distinct ? i / 255 + 1 : 1),
                                   (char)(distinct ? i % 255 + 1 : 1), '*' };
            uint64_t seq;
            T_EQ_I64(l2_glob_begin(kit.d, 3, i == 0 ? "\7*" : text, i == 0 ? 2 : 4, &seq),
                     CELLAR_OK);
            l2_glob_end(kit.d, seq);
        }
        (void)l2_tick(kit.d, 1000);
        T_CHECK(!l2_is_closed(kit.d) && !dev.bell);
        T_EQ_U64(figures().emptied > 0, distinct);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), !distinct && i != 7); }
        l2_kit_killed(&kit, &dev);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look_as(i, 3), !distinct && i != 7); }
        end();
    }
}

/* No log has the clear. Records of the old generation must not come back. */
T_CASE(a_clear_during_a_stall_stays_in_force)
{
    begin(L2_DROP);
    l2_namespace v = { 1, 3, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    (void)put_as(0, 1, 3); /* dropped, but it has the store marked DIRTY */
    (void)l2_tick(kit.d, 1000);
    fill(1);
    freeze();
    v.generation = 4;
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK);
    T_CHECK(dev.bell);
    (void)l2_tick(kit.d, 1000);
    T_EQ_I64(put_as(7, 9, 3), CELLAR_OK); /* read before the clear, put late */
    T_EQ_I64(put_as(8, 9, 4), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    l2_namespace now;
    T_REQUIRE(l2_namespace_find(kit.d, "v", 1, &now));
    T_EQ_U64(now.generation, 4);
    T_EQ_U64(look_as(7, (uint32_t)now.generation), 0);
    T_EQ_U64(look_as(8, (uint32_t)now.generation), 9);
    end();
}

static void *answer_a_waiter(void *arg)
{
    (void)arg;
    for (int ms = 0; ms < 30000 && figures().waits == 0; ms++) { usleep(1000); }
    base_store_rlx(&kit.d->beat, (uint64_t)0);
    return NULL;
}

T_CASE(without_a_stall_marker_a_change_waits_and_is_counted)
{
    begin(L2_KEEP);
    fill(1);
    dev.fail_site = DEV_BELL;
    dev.fail_errno = EACCES;
    dev.fail_at = 1;
    dev.fail_sticky = true;
    freeze();
    pthread_t t;
    T_REQUIRE(pthread_create(&t, NULL, answer_a_waiter, NULL) == 0);
    del(5);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_CHECK(figures().waits > 0 && figures().relied == 0 && !dev.bell);
    dev.fail_at = 0;
    (void)l2_tick(kit.d, 1000);
    T_EQ_U64(look_as(5, 3), 0);
    end();
}

static bool stuck_after_a_look(void)
{
    kit.d->reads_ns = 0; /* long ago */
    l2_reads_look(kit.d);
    return base_load_rlx(&kit.d->reads_stuck) != 0;
}

T_CASE(a_read_that_has_just_begun_is_not_stuck)
{
    begin(L2_DROP);
    T_EQ_U64(stuck_after_a_look(), 0);
    (void)base_add_rlx(&kit.d->reads_begun, (uint64_t)1);
    T_EQ_U64(stuck_after_a_look(), 0);
    T_EQ_U64(stuck_after_a_look(), 1);
    (void)base_add_ar(&kit.d->reads_done, (uint64_t)1);
    T_EQ_U64(stuck_after_a_look(), 0);
    end();
}

/* ---- the stall marker ---- */

T_CASE(a_failed_look_for_the_stall_marker_empties_the_store)
{
    begin(L2_DROP);
    fill(1);
    freeze();
    del(5);
    T_CHECK(dev.bell);
    l2_kit_kill(&kit);
    dev.locked = false;
    dev.fail_site = DEV_BELL;
    dev.fail_errno = EMFILE;
    dev.fail_at = 1;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_EQ_U64(look_as(5, 3), 0);
    end();
}

T_CASE(a_copy_leaves_the_stall_marker_to_its_store)
{
    static l2_dev copy;
    begin(L2_KEEP);
    fill(1);
    freeze();
    del(5);
    l2_dev_init(&copy);
    l2_dev_clone(&dev, &copy, NULL);
    l2_dev_find(&copy, "stage.buf")->ino += 100;
    l2_kit_kill(&kit);
    l2_kit_init(&kit, &copy);
    kit.cfg.level = L2_KEEP;
    for (int times = 0; times < 2; times++) {
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_CHECK(copy.bell); /* the original may still be opened */
        l2_kit_warm(&kit);
        T_EQ_U64(look_as(5, 3), 0);
        T_EQ_U64(look_as(6, 3), times); /* emptied once; independent from then on */
        T_EQ_I64(put_as(6, 1, 3), CELLAR_OK);
        l2_close(kit.d);
    }
    kit.d = NULL;
    l2_dev_fini(&copy);
    l2_dev_fini(&dev);
}

static bool closes_again;
static uint32_t makes;

/* Delay the first stall marker until the disk answers again. */
static int late_bell(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    const bool late = how == BASE_VFS_BELL_MAKE && makes++ == 0;
    if (late && !closes_again) { (void)l2_tick(kit.d, 1000); }
    const int e = l2_dev_bell(ctx, id, how);
    if (late && closes_again) { /* then it freezes again, and another thread notices first */
        (void)l2_tick(kit.d, 1000);
        T_CHECK(!dev.bell);
        (void)base_or_sc(&kit.d->closed, L2_CLOSED);
    }
    return e;
}

T_CASE(a_late_stall_marker_is_removed)
{
    begin(L2_DROP);
    fill(1);
    freeze();
    kit.vfs.bell = late_bell;
    closes_again = false;
    makes = 0;
    del(5);
    T_EQ_U64(makes, 1);
    T_CHECK(!l2_is_closed(kit.d));
    (void)l2_tick(kit.d, 1000);
    T_CHECK(!dev.bell);
    T_EQ_I64(put_as(6, 2, 3), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(look_as(5, 3), 0);
    T_EQ_U64(look_as(6, 3), 2);
    end();
}

T_CASE(no_change_relies_on_the_stall_marker_of_an_earlier_stall)
{
    begin(L2_DROP);
    fill(1);
    freeze();
    kit.vfs.bell = late_bell;
    closes_again = true;
    makes = 0;
    del(5);
    T_EQ_U64(figures().relied, 1);
    T_CHECK(dev.bell);
    end();
}

/* Make the stall marker while a sync begins: SUPER stops saying DIRTY. */
static int bell_in_sync(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    if (how == BASE_VFS_BELL_MAKE && makes++ == 0) {
        base_store_sc(&kit.d->dirty, (uint32_t)L2_NOW_MOVING);
    }
    return l2_dev_bell(ctx, id, how);
}

T_CASE(a_tag_of_a_stall_that_meets_a_sync_enters_the_list_once)
{
    begin(L2_DROP);
    fill(1);
    freeze();
    kit.vfs.bell = bell_in_sync;
    makes = 0;
    l2_tag_invalidate(kit.d, 0x1234, kit.d->super.opens << 32 | 1, false);
    for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
    T_EQ_U64(kit.d->invalidations.tag[0].pending, 0);
    T_CHECK(!dev.bell && !l2_is_closed(kit.d));
    end();
}

/* ---- threads on real files ---- */

#define WRITERS 3u
#define EACH 2048u /* more keys than the memos hold */

static const base_vfs *real;
static _Atomic uint32_t frozen; /* no futex: each thread polls it every millisecond */
static _Atomic uint64_t ops[WRITERS];
static _Atomic uint32_t over;
static unsigned char *map;
static size_t map_bytes;
static char folder[T_FOLDER_MAX];

static void wait_for_thaw(void)
{
    while (atomic_load(&frozen) != 0) { usleep(1000); }
}

/* The worker waits in a call that only the worker makes. */
static _Atomic uint32_t worker_waits;

static void worker_waits_for_thaw(void)
{
    if (atomic_load(&frozen) == 0) { return; }
    atomic_fetch_add(&worker_waits, 1);
    wait_for_thaw();
    atomic_fetch_sub(&worker_waits, 1);
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
    (void)ctx;
    const unsigned char *at = info->si_addr;
    if (at < map || at >= map + map_bytes) {
        signal(sig, SIG_DFL);
        return;
    }
    wait_for_thaw(); /* then the call runs again */
}

static int slow_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t at,
                       size_t *done)
{
    worker_waits_for_thaw();
    return real->pwrite(ctx, f, buf, n, at, done);
}

static int slow_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at, size_t *done)
{
    wait_for_thaw();
    return real->pread(ctx, f, buf, n, at, done);
}

static int slow_arm(void *ctx, base_vfs_file *f, void *p, size_t at, size_t n)
{
    worker_waits_for_thaw();
    return real->arm(ctx, f, p, at, n);
}

static int slow_datasync(void *ctx, base_vfs_file *f)
{
    worker_waits_for_thaw();
    return real->datasync(ctx, f);
}

static int slow_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    worker_waits_for_thaw();
    return real->stat(ctx, f, out);
}

static void *writer(void *arg)
{
    const uint32_t me = *(const uint32_t *)arg, first = me * EACH;
    static uint32_t all[WRITERS][EACH];
    uint32_t *now = all[me], version = 0;
    memset(now, 0, sizeof all[me]);
    base_rng r;
    base_rng_seed(&r, t_.seed + first);
    while (atomic_load(&over) == 0 && !t_failed()) {
        const uint32_t n = (uint32_t)base_rng_below(&r, EACH), key = first + n;
        del(key);
        now[n] = base_rng_below(&r, 10) == 0 ? 0 : ++version;
        if (now[n] != 0) { (void)put_as(key, version, 3); }
        atomic_fetch_add(&ops[me], 1);
        if (atomic_load(&frozen) == 0) { usleep(50); }
    }
    for (uint32_t n = 0; n < EACH; n++) {
        const uint32_t got = look_as(first + n, 3);
        T_CHECK(got == 0 || got == now[n]);
    }
    return NULL;
}

/* Read. Only a read that was active at the freeze may wait for the disk. */
static void *reader(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    while (atomic_load(&over) == 0 && !t_failed()) {
        (void)look_as((uint32_t)base_rng_below(&r, WRITERS * EACH), 3);
        usleep(50);
    }
    return arg;
}

/* Protect the stage, except the armed pages. */
static void protect(void)
{
    l2 *d = kit.d;
    bool clear = false;
    atomic_store(&frozen, 1);
    /* Wait until the worker hangs, at the latest in its heartbeat. A worker that merely lacks a CPU
     * may have armed pages without a report. */
    while (!l2_stalled(d) || atomic_load(&worker_waits) == 0) { usleep(1000); }
    while (!clear) { /* A copy in progress is the one moment that may block. */
        sync_take(L2_LOG, &d->log_lock);
        clear = true;
        for (uint32_t i = 0; i < d->nstage; i++) {
            clear = clear && base_load_acq(&d->slot[i].writers) == 0;
        }
        if (!clear) { sync_drop(L2_LOG, &d->log_lock); }
    }
    if (d->open_slot != NULL) { /* little is armed, so soon no thread proceeds by that */
        l2_slot *s = d->open_slot;
        s->armed_end = (uint32_t)BASE_MIN(s->armed_end, s->pos / 4096 * 4096 + 8192);
        s->armed_lines = BASE_MIN(s->armed_lines, s->entries + 400);
    }
    for (uint32_t i = 0; i < d->nstage; i++) {
        const l2_slot *s = &d->slot[i];
        const size_t seg = d->form.seg_bytes;
        for (size_t at = 0; at < seg; at += 4096) {
            const bool head = s->armed_end > 0 && (at == 0 || at == seg - 4096);
            const bool body = at + 4096 > s->pos && at < s->armed_end;
            const size_t pages = s->armed_lines == UINT32_MAX ? seg / 4096
                                                              : s->armed_lines / 407 + 1;
            const bool foot = s->armed_end > 0 && at >= seg - (pages + 2) * 4096;
            if (head || body || foot || s->armed_end == seg) { continue; }
            T_EQ_I64(mprotect(s->base + at, 4096, PROT_READ), 0);
        }
    }
    sync_drop(L2_LOG, &d->log_lock);
}

static bool all_get_on(uint64_t by)
{
    uint64_t from[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) { from[i] = atomic_load(&ops[i]); }
    for (int ms = 0; ms < 30000; ms++) { /* a watchdog, far above the normal time */
        bool all = true;
        for (uint32_t i = 0; i < WRITERS; i++) {
            all = all && atomic_load(&ops[i]) - from[i] >= by;
        }
        if (all) { return true; }
        usleep(1000);
    }
    printf("# a thread makes no progress: %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", ops[0] - from[0],
           ops[1] - from[1], ops[2] - from[2]);
    return false;
}

static void threads_get_on_while_the_disk_stands_still(l2_level level)
{
    t_folder(folder);
    real = base_vfs_system();
    base_vfs vfs = *real;
    vfs.pwrite = slow_pwrite;
    vfs.pread = slow_pread;
    vfs.arm = slow_arm;
    vfs.datasync = slow_datasync;
    vfs.stat = slow_stat;
    l2_kit_init(&kit, NULL);
    kit.clock = (base_clock){ NULL, NULL, NULL };
    kit.cfg.vfs = &vfs;
    kit.cfg.path = folder;
    kit.cfg.seg_bytes = 1 << 20;
    kit.cfg.seg_count = 8;
    kit.cfg.stage_count = 3;
    kit.cfg.bytes = 0;
    kit.cfg.level = level;
    kit.cfg.no_thread = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    map = kit.d->map;
    map_bytes = kit.d->map_bytes;
    const struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    struct sigaction was;
    T_REQUIRE(sigaction(SIGSEGV, &act, &was) == 0);
    atomic_store(&over, 0);
    pthread_t t[WRITERS + 1];
    uint32_t id[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        id[i] = i;
        atomic_store(&ops[i], 0);
        T_REQUIRE(pthread_create(&t[i], NULL, writer, &id[i]) == 0);
    }
    T_REQUIRE(pthread_create(&t[WRITERS], NULL, reader, NULL) == 0);
    T_CHECK(all_get_on(3000));
    protect();
    for (int ms = 0; ms < 30000 && !l2_is_closed(kit.d); ms++) { usleep(1000); }
    T_CHECK(l2_is_closed(kit.d));
    const uint64_t closings = figures().closings; /* a slow disk may have caused one before */
    T_CHECK(all_get_on(2000));
    T_EQ_U64(figures().closings, closings);
    T_EQ_I64(mprotect(map, map_bytes, PROT_READ | PROT_WRITE), 0);
    atomic_store(&frozen, 0);
    T_CHECK(all_get_on(500));
    for (int ms = 0; ms < 30000 && l2_is_closed(kit.d); ms++) { usleep(1000); }
    T_CHECK(!l2_is_closed(kit.d));
    const uint64_t before = figures().hits;
    for (int ms = 0; ms < 30000 && figures().hits == before; ms++) { usleep(1000); }
    T_CHECK(figures().hits > before); /* it serves again */
    atomic_store(&over, 1);
    for (uint32_t i = 0; i <= WRITERS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    printf("# level %d: %" PRIu64 " closings, %" PRIu64 " stalled, %" PRIu64 " relied, %" PRIu64
           " waits\n", (int)level, closings, figures().stalled, figures().relied, figures().waits);
    T_EQ_I64(sigaction(SIGSEGV, &was, NULL), 0);
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_close(kit.d);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
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
