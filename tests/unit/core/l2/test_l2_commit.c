/* SPDX-License-Identifier: MIT
 *
 * Aim:    committed changes survive a power cut. A failed sync, and changes that rely on the stall
 *         marker, are never committed. One sync serves all waiting callers. A change of a key that
 *         the disk never had needs no sync.
 * Method: an in-memory disk that loses the bytes of a failed sync, and its power cuts; threads
 *         on real files. */
#include "l2/log.h"
#include "l2/segment.h"
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <pthread.h>

#define KEYS L2_KIT_KEYS

static l2_dev dev, cut;
static l2_kit kit, after;

static void begin(l2_level level) { l2_kit_begin(&kit, &dev, level); l2_dev_init(&cut); }

static void end(void) { l2_kit_end(&kit, &dev); l2_dev_fini(&cut); }

/* A store at ALWAYS with all keys in version 1, committed. */
static void begin_filled(void)
{
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
}

#define FILLED(fn) T_WITHIN(fn, begin_filled(), end())

/* Open the disk that a power cut leaves now. */
static void open_cut(base_rng *r)
{
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&after, &cut);
    after.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
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

/* A byte that no record has yet shows whether its place was written. */
T_CASE(place_is_zeroed_at_always_in_the_first_round_alone)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        const uint64_t seg = kit.cfg.seg_bytes, places = kit.cfg.seg_count;
        unsigned char *bytes = l2_dev_find(&dev, "data.seg")->live;
        uint32_t puts = 0;
        for (uint64_t seq = 2; seq < 2 * places; seq++) {
            unsigned char *byte = bytes + seq % places * seg + seg / 2;
            *byte = 0xff;
            while (base_load_acq(&kit.d->tail) < seq * seg) {
                puts++;
                T_EQ_I64(l2_kit_put(&kit, puts % KEYS, puts, L2_KIT_GENERATION), CELLAR_OK);
                (void)l2_tick(kit.d, 1000);
            }
            T_EQ_U64(*byte, level == L2_ALWAYS && seq < places ? 0 : 0xff);
        }
        end();
    }
}

#define BLOCK ((uint64_t)16 << 10)

/* Bytes that no record has yet show what was written: zeros up to the end of a block, or, at ALWAYS,
 * of a page; none where the rows will be. */
T_CASE(first_write_into_a_block_fills_it_up_to_the_rows)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        l2 *d = kit.d;
        const uint64_t seg = kit.cfg.seg_bytes, block = level == L2_ALWAYS ? 4096 : BLOCK;
        const uint64_t from = base_load_acq(&d->tail) / seg * seg;
        unsigned char *at = l2_dev_find(&dev, "data.seg")->live + from % (seg * kit.cfg.seg_count);
        memset(at + BLOCK, 0xff, seg - BLOCK);
        uint64_t off = 0, rows = seg;
        for (uint32_t i = 1; rows - off > 4096; i++) {
            T_EQ_I64(l2_kit_put(&kit, i % KEYS, i, L2_KIT_GENERATION), CELLAR_OK);
            T_EQ_I64(l2_flush(d, UINT64_MAX, L2_NO_LIMIT_NS), 0);
            off = base_load_acq(&d->tail) - from;
            rows = l2_rows_at(&d->form, l2_row_pages(d->row_count) - 1);
            T_REQUIRE(off <= rows);
            const uint64_t end = BASE_MIN(base_round_up(off, block), rows);
            if (off > BLOCK && off < end) { T_EQ_U64(at[end - 1], 0); }
            if (off > BLOCK) { T_EQ_U64(at[end], 0xff); }
        }
        end();
    }
}

T_CASE_ON(a_commit_without_new_records_needs_no_sync, FILLED)
{
    const uint32_t syncs = dev.calls[DEV_DATASYNC];
    for (uint32_t i = 1000; i < 1100; i++) {
        l2_kit_del(&kit, i);
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        T_EQ_U64(dev.calls[DEV_DATASYNC], syncs);
    }
    l2_kit_del(&kit, 3);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_U64(dev.calls[DEV_DATASYNC], syncs + 1);
    l2_kit_del(&kit, 3); /* no word is left */
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_U64(dev.calls[DEV_DATASYNC], syncs + 1);
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
    begin_filled();
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

/* The kernel dropped the page of the tombstone, which shows the bytes of the disk now. */
T_CASE(lost_bytes_of_a_failed_sync_empty_the_tier)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    commit_fails();
    l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    const size_t at = (size_t)((base_load_acq(&kit.d->tail) - 1) % l2_size(kit.d)) / 4096 * 4096;
    memcpy(f->live + at, f->durable + at, 4096);
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
    T_EQ_I64(kit.vfs.bell(kit.vfs.ctx, kit.d->marker_id, BASE_VFS_BELL_MAKE), 0);
    base_store_rel(&kit.d->owed_lsn, UINT64_MAX); /* the disk does not answer */
    base_store_sc(&kit.d->closed, 1u);
    l2_kit_del(&kit, 3);
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

/* A pass frees places after a sync of its FLOOR. The kernel reports an error once, so a sync after
 * the failed one succeeds. */
T_CASE(a_sync_after_a_failed_one_frees_no_place)
{
    begin(L2_KEEP);
    for (uint32_t i = 0; !l2_pass_due(kit.d); i++) {
        T_EQ_I64(l2_kit_put(&kit, i % KEYS, 1 + i, L2_KIT_GENERATION), CELLAR_OK);
    }
    const uint64_t head = base_load_acq(&kit.d->head);
    dev.fail_site = DEV_DATASYNC;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
    (void)l2_tick(kit.d, 1000);
    T_EQ_U64(dev.fail_at, 0);
    T_EQ_U64(base_load_acq(&kit.d->head), head);
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    T_EQ_U64(base_load_acq(&kit.d->head), head);
    for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
    T_CHECK(base_load_acq(&kit.d->head) > head);
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
