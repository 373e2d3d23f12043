/* SPDX-License-Identifier: MIT
 *
 * Aim:    committed changes survive a power cut. A failed sync, and changes that rely on the stall
 *         marker, are never committed. One sync serves all waiting callers. A change of a key that
 *         the disk never had needs no sync.
 * Method: an in-memory disk that loses the bytes of a failed sync, and its power cuts; threads
 *         on real files with counted syncs. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <pthread.h>
#include <unistd.h>

#define KEYS L2_KIT_KEYS

static l2_dev dev, cut;
static l2_kit kit, after;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(l2_level level)
{
    l2_kit_begin(&kit, &dev, level);
    l2_dev_init(&cut);
}

static void end(void)
{
    l2_kit_end(&kit, &dev);
    l2_dev_fini(&cut);
}

/* Open the disk that a power cut leaves now. */
static void open_cut(base_rng *r)
{
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&after, &cut);
    after.cfg.seg_count = kit.cfg.seg_count;
    after.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
    l2_kit_warm(&after);
}

/* Cut the power some times: key 3 is deleted, the others have version 1. */
static void all_outlive_power_cuts_but_3(base_rng *r)
{
    for (int n = 0; n < 20; n++) {
        open_cut(r);
        for (uint32_t i = 0; i < KEYS; i++) {
            T_EQ_U64(l2_kit_look(&after, i, L2_KIT_GENERATION), i != 3);
        }
        l2_kit_kill(&after);
    }
}

T_CASE(committed_changes_survive_a_power_cut)
{
    for (int level = L2_KEEP; level <= L2_ALWAYS; level++) {
        base_rng r;
        base_rng_seed(&r, t_.seed);
        begin((l2_level)level);
        l2_kit_fill(&kit, 1);
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        for (uint32_t i = 0; i < KEYS; i += 2) {
            l2_kit_del(&kit, i);
            (void)l2_tick(kit.d, 1000); /* at KEEP puts wait for armed pages */
            if (i % 4 == 0) { T_EQ_I64(l2_kit_put(&kit, i, 2, L2_KIT_GENERATION), CELLAR_OK); }
        }
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        for (int n = 0; n < 20; n++) {
            open_cut(&r);
            for (uint32_t i = 0; i < KEYS; i++) {
                const uint32_t want = i % 4 == 0 ? 2 : i % 2 == 0 ? 0 : 1;
                T_EQ_U64(l2_kit_look(&after, i, L2_KIT_GENERATION), want);
            }
            l2_kit_kill(&after);
        }
        end();
    }
}

T_CASE(a_commit_without_new_records_needs_no_sync)
{
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    const uint32_t syncs = dev.calls[DEV_DATASYNC];
    const uint64_t denied = l2_kit_figures(&kit).denied;
    for (uint32_t i = 1000; i < 1100; i++) {
        l2_kit_del(&kit, i);
        /* a false positive of the filter */
        if (l2_kit_figures(&kit).denied != denied + (i - 1000) + 1) { break; }
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        T_EQ_U64(dev.calls[DEV_DATASYNC], syncs);
    }
    l2_kit_del(&kit, 3);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_U64(dev.calls[DEV_DATASYNC], syncs + 1);
    l2_kit_del(&kit, 3); /* the memo has it: that tombstone is durable */
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_U64(dev.calls[DEV_DATASYNC], syncs + 1);
    end();
}

/* After a power cut key 5 has version 2, key 3 is deleted, the others have version `others`. */
static void cuts_show(base_rng *r, uint32_t others)
{
    for (int n = 0; n < 20; n++) {
        open_cut(r);
        for (uint32_t i = 0; i < KEYS; i++) {
            const uint32_t want = i == 5 ? 2 : i == 3 ? 0 : others;
            T_EQ_U64(l2_kit_look(&after, i, L2_KIT_GENERATION), want);
        }
        l2_kit_kill(&after);
    }
}

/* Delete key 3; the sync of the commit fails. */
static void commit_fails(void)
{
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    l2_kit_del(&kit, 3);
    dev.fail_site = DEV_DATASYNC;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
}

T_CASE(commits_fail_after_a_failed_sync_until_its_bytes_are_stored_again)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    commit_fails();
    /* the disk reports success now, which would be wrong */
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    dev.fail_at = 1;
    dev.fail_sticky = true;
    (void)l2_tick(kit.d, 1000); /* the sync of the bytes that were stored again fails, too */
    dev.fail_at = 0;
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_I64(l2_kit_put(&kit, 5, 2, L2_KIT_GENERATION), CELLAR_OK);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    cuts_show(&r, 1);
    end();
}

/* The kernel dropped a page of the stage, which shows the bytes of the disk now. */
T_CASE(lost_bytes_of_a_failed_sync_empty_the_tier)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    commit_fails();
    l2_dev_file *stage = l2_dev_find(&dev, "stage.buf");
    const size_t at = (size_t)(kit.d->open_slot->base - kit.d->map) +
                      kit.d->open_slot->pos / 4096 * 4096;
    memcpy(stage->live + at, stage->durable + at, 4096);
    for (int i = 0; i < 4; i++) { (void)l2_tick(kit.d, 1000); }
    T_EQ_U64(l2_kit_figures(&kit).emptied, 1);
    T_CHECK(l2_kit_figures(&kit).lost_sync > 0);
    T_EQ_I64(l2_kit_put(&kit, 5, 2, L2_KIT_GENERATION), CELLAR_OK);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    cuts_show(&r, 0);
    end();
}

T_CASE(commits_fail_while_changes_rely_on_the_stall_marker)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    (void)base_or_sc(&kit.d->closed, L2_CLOSED); /* the disk does not answer */
    l2_kit_del(&kit, 3);
    T_EQ_U64(l2_kit_figures(&kit).relied, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    (void)l2_tick(kit.d, 1000); /* it answers again */
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    for (int n = 0; n < 20; n++) {
        open_cut(&r);
        T_EQ_U64(l2_kit_look(&after, 3, L2_KIT_GENERATION), 0);
        l2_kit_kill(&after);
    }
    end();
}

T_CASE(commits_fail_after_the_files_were_removed)
{
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    (void)kit.vfs.unlink(&dev, NULL, "stage.buf");
    kit.now_ms += 2000;
    (void)l2_tick(kit.d, 1000);
    T_CHECK(l2_kit_figures(&kit).broken);
    l2_kit_del(&kit, 3);
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    l2_kit_kill(&kit);
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
}

/* ---- a failed sync and other syncs ---- */

/* The kernel reports an error once. So the next sync of the same round succeeds. */
T_CASE(a_sync_after_a_failed_one_frees_no_slot)
{
    begin(L2_KEEP);
    (void)l2_tick(kit.d, 1000); /* the second slot is READY */
    const l2_slot *s = kit.d->open_slot;
    for (uint32_t i = 0; s->state == L2_SLOT_OPEN && i < 1000; i++) {
        base_store_rlx(&kit.d->arm_wanted, 1u);
        l2_arm_work(kit.d);
        (void)l2_kit_put(&kit, i % KEYS, 1 + i, L2_KIT_GENERATION);
    }
    T_REQUIRE(s->state == L2_SLOT_FULL);
    const uint64_t syncs = kit.d->data_syncs;
    dev.fail_site = DEV_DATASYNC;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
    (void)l2_tick(kit.d, 10000000);
    T_EQ_U64(dev.fail_at, 0);
    T_EQ_U64(kit.d->data_syncs, syncs);
    (void)l2_tick(kit.d, 10000000);
    T_CHECK(kit.d->data_syncs > syncs);
    end();
}

/* These sync data.seg, too, and get the error of bytes that were written before. */
T_CASE(a_failed_sync_of_a_probe_or_a_resize_stores_bytes_again)
{
    begin(L2_KEEP);
    l2_kit_fill(&kit, 1);
    for (int probe = 0; probe < 2; probe++) {
        dev.fail_site = DEV_DATASYNC;
        dev.fail_errno = EIO;
        dev.fail_at = 1;
        if (probe) {
            base_store_rel(&kit.d->disk, (uint32_t)L2_DISK_OFF);
            T_CHECK(!l2_disk_works(kit.d));
            kit.now_ms += 100000;
        } else {
            kit.d->goal = (l2_goal){ .on = true, .places = kit.d->places + 1,
                                     .bytes = kit.d->super.l2_bytes + kit.d->form.seg_bytes };
            T_CHECK(!l2_resize_work(kit.d));
            T_EQ_I64(kit.d->goal.result, CELLAR_E_IO);
        }
        T_EQ_U64(dev.fail_at, 0);
        T_EQ_U64(base_load_rlx(&kit.d->resync), 1);
        T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
        for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    }
    end();
}

static bool commit_beside;

/* While the worker syncs the stage, a commit gets the error, and the sync of the worker succeeds. */
static int sync_beside(void *ctx, base_vfs_file *file)
{
    if (commit_beside && file == kit.d->stage_file) {
        commit_beside = false;
        dev.fail_site = DEV_DATASYNC;
        dev.fail_errno = EIO;
        dev.fail_at = 1;
        T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    }
    return l2_dev_datasync(ctx, file);
}

T_CASE(a_sync_fails_if_a_commit_fails_meanwhile)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    l2_kit_del(&kit, 3);
    kit.vfs.datasync = sync_beside;
    commit_beside = true;
    T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO);
    T_CHECK(!commit_beside);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    all_outlive_power_cuts_but_3(&r);
    end();
}

/* ---- a disk that does not answer ---- */

static _Atomic uint32_t stands, waiting;

static int sync_waits(void *ctx, base_vfs_file *file)
{
    if (atomic_load(&stands) != 0) {
        atomic_store(&waiting, 1);
        while (atomic_load(&stands) != 0) { usleep(1000); }
    }
    return l2_dev_datasync(ctx, file);
}

static int64_t turning_clock(void *ctx)
{
    l2_kit *k = ctx;
    if (atomic_load(&waiting) != 0) { k->now_ms += 100; }
    return k->now_ms;
}

static void *leads(void *arg)
{
    *(cellar_err *)arg = l2_commit(kit.d);
    return NULL;
}

/* The leader waits for the disk; the other callers wait for the leader. */
T_CASE(commit_beside_a_stalled_one_ends_after_a_second)
{
    base_rng r;
    pthread_t t;
    cellar_err led = CELLAR_MISS;
    base_rng_seed(&r, t_.seed);
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    kit.vfs.datasync = sync_waits;
    kit.clock = (base_clock){ turning_clock, turning_clock, &kit };
    const int64_t since_ms = kit.now_ms;
    atomic_store(&waiting, 0);
    atomic_store(&stands, 1);
    T_REQUIRE(pthread_create(&t, NULL, leads, &led) == 0);
    while (atomic_load(&waiting) == 0) { usleep(1000); }
    l2_kit_del(&kit, 3);
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    T_CHECK(kit.now_ms - since_ms >= 1000 && kit.now_ms - since_ms < 2000);
    atomic_store(&stands, 0);
    T_EQ_I64(pthread_join(t, NULL), 0);
    atomic_store(&waiting, 0);
    T_EQ_I64(led, CELLAR_OK);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    all_outlive_power_cuts_but_3(&r);
    end();
}

/* ---- the thread of commits, on real files ---- */

static l2_kit real;
static base_vfs delayed;
static char real_folder[T_FOLDER_MAX];
static _Atomic uint32_t own_syncs;
static pthread_t caller;
static _Atomic uint32_t sync_us; /* least time of a sync */

static int sync_delayed(void *ctx, base_vfs_file *file)
{
    if (pthread_equal(pthread_self(), caller) != 0) { (void)atomic_fetch_add(&own_syncs, 1); }
    if (atomic_load(&sync_us) != 0) { usleep(atomic_load(&sync_us)); }
    while (atomic_load(&stands) != 0) { usleep(1000); }
    return base_vfs_system()->datasync(ctx, file);
}

/* The clock of the calls turns while the disk stands still. */
static int64_t standing_clock(void *ctx)
{
    (void)ctx;
    static _Atomic int64_t now_ms = 1000000;
    return atomic_load(&stands) != 0 ? atomic_fetch_add(&now_ms, 50) : atomic_load(&now_ms);
}

static void real_begin(uint32_t us)
{
    t_folder(real_folder);
    delayed = *base_vfs_system();
    delayed.datasync = sync_delayed;
    atomic_store(&sync_us, us);
    atomic_store(&stands, 0);
    caller = pthread_self();
    l2_kit_init(&real, NULL);
    real.cfg.no_thread = false;
    real.cfg.path = real_folder;
    real.cfg.level = L2_ALWAYS;
    real.cfg.seg_bytes = 65536;
    real.cfg.seg_count = 16;
    real.cfg.stage_count = 4;
    real.cfg.vfs = &delayed;
    real.clock = (base_clock){ standing_clock, standing_clock, NULL };
    T_REQUIRE(l2_kit_open(&real) == CELLAR_OK);
    l2_kit_fill(&real, 1);
    atomic_store(&own_syncs, 0); /* of the open */
}

static void real_end(void)
{
    l2_close(real.d);
    real.d = NULL;
    t_wipe(real_folder);
}

static void *waits_a_second(void *arg)
{
    const uint32_t key = *(const uint32_t *)arg;
    const int64_t since_ms = base_now_ms(&real.clock);
    l2_kit_del(&real, key);
    T_EQ_I64(l2_commit(real.d), CELLAR_E_IO);
    T_CHECK(base_now_ms(&real.clock) - since_ms >= 1000);
    return NULL;
}

/* All callers have ended before the disk answers. Syncs of 100 us before that are quick ones; on a
 * busy machine some take longer. */
T_CASE(no_caller_waits_for_a_stalled_sync)
{
    real_begin(100);
    const _Atomic uint64_t *const mean_ns = &real.d->commit_mean_ns;
    for (uint32_t i = 0; i < 200 || (i < 10000 && base_load_rlx(mean_ns) >= L2_COMMIT_FIRST_NS);
         i++) {
        l2_kit_del(&real, 4 + i % 4);
        T_EQ_I64(l2_kit_put(&real, 4 + i % 4, 1, L2_KIT_GENERATION), CELLAR_OK);
        T_EQ_I64(l2_commit(real.d), CELLAR_OK);
    }
    T_CHECK(base_load_rlx(mean_ns) < L2_COMMIT_FIRST_NS);
    atomic_store(&stands, 1);
    pthread_t t[4];
    uint32_t key[4];
    for (uint32_t i = 0; i < 4; i++) {
        key[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, waits_a_second, &key[i]) == 0);
    }
    for (uint32_t i = 0; i < 4; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    atomic_store(&stands, 0);
    T_EQ_I64(l2_commit(real.d), CELLAR_OK);
    T_EQ_U64(atomic_load(&own_syncs), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        T_EQ_U64(l2_kit_look(&real, i, L2_KIT_GENERATION), i >= 4);
    }
    real_end();
}

/* A hand-over costs more than it is worth then. A sync that takes a second ends that. */
T_CASE(callers_lead_while_syncs_are_quick)
{
    real_begin(0);
    for (uint32_t i = 0; i < 2; i++) {
        if (i != 0) { base_store_rlx(&real.d->commit_mean_ns, (uint64_t)1000); }
        l2_kit_del(&real, i);
        T_EQ_I64(l2_commit(real.d), CELLAR_OK);
        T_EQ_U64(atomic_load(&own_syncs), i);
    }
    atomic_store(&sync_us, 20000);
    base_store_rlx(&real.d->commit_mean_ns, (uint64_t)1000);
    for (uint32_t i = 2; i < 6; i++) { /* the first one is slow */
        l2_kit_del(&real, i);
        T_EQ_I64(l2_commit(real.d), CELLAR_OK);
        T_EQ_U64(atomic_load(&own_syncs), 2);
    }
    real_end();
}

/* ---- an unused READY slot ---- */

/* A header left in its slot next to records of the next run would be a gap in the chain. */
T_CASE(an_unused_slot_leaves_no_gap_for_the_next_run)
{
    begin(L2_KEEP);
    for (uint32_t i = 0; i < 8; i++) {
        T_EQ_I64(l2_kit_put(&kit, i, 1, L2_KIT_GENERATION), CELLAR_OK);
    }
    (void)l2_tick(kit.d, 1000); /* the second slot is READY and empty */
    for (int life = 0; life < 2; life++) {
        l2_kit_kill(&kit);
        dev.locked = false;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_EQ_I64(l2_kit_put(&kit, 8 + (uint32_t)life, 1, L2_KIT_GENERATION), CELLAR_OK);
    } /* killed before the worker prepares the next slot */
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(l2_kit_figures(&kit).holes, 0);
    for (uint32_t i = 0; i < 10; i++) { T_EQ_U64(l2_kit_look(&kit, i, L2_KIT_GENERATION), 1); }
    end();
}

/* ---- many threads, on real files ---- */

#define THREADS 8u
#define EACH 60u

static _Atomic uint64_t done;

static void *changes(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < EACH; i++) {
        const uint32_t key = first * EACH + i;
        l2_kit_del(&kit, key);
        (void)l2_kit_put(&kit, key, 7, L2_KIT_GENERATION);
        l2_kit_del(&kit, key);
        if (T_CHECK(l2_commit(kit.d) == CELLAR_OK)) { (void)atomic_fetch_add(&done, 1); }
    }
    return NULL;
}

T_CASE(one_sync_serves_all_waiting_commits)
{
    char folder[T_FOLDER_MAX];
    t_folder(folder);
    l2_kit_init(&kit, NULL);
    kit.cfg.path = folder;
    kit.cfg.level = L2_ALWAYS;
    kit.cfg.seg_bytes = 65536;
    kit.cfg.seg_count = 16;
    kit.cfg.stage_count = 4;
    kit.cfg.no_thread = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    pthread_t t[THREADS];
    uint32_t id[THREADS];
    atomic_store(&done, 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        id[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, changes, &id[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(atomic_load(&done), THREADS * EACH);
    T_CHECK(st.commits > 0 && st.commits <= THREADS * EACH);
    printf("# %u changes, %" PRIu64 " syncs\n", THREADS * EACH, st.commits);
    l2_close(kit.d);
    kit.d = NULL;
    t_wipe(folder);
}

T_MAIN("l2_commit")
