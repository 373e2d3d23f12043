/* SPDX-License-Identifier: MIT
 *
 * Aim:    after a close index.snap is used and equals the result of an index rebuild, filter and
 *         eras included. It is not used if it is of another run, geometry or directory, truncated,
 *         or has a flipped bit. Then the rebuild runs: no old value comes back, nothing is lost.
 *         The file is unlinked before the store is open. A bad place stays unused.
 * Method: small stores on an in-memory disk; the state from a snapshot against the state from
 *         the footers; the file of an older close restored by hand. */
#include "tests/support/l2_kit.h"

static l2_dev dev, cut;
static l2_kit kit, other;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static l2_dev_file *snap_of(l2_dev *v) { return l2_dev_find(v, "index.snap"); }

/* Make a store that has reclaimed, overwritten and deleted. */
static void begin(l2_level level)
{
    l2_kit_begin(&kit, &dev, level);
    l2_dev_init(&cut);
    for (uint32_t v = 1; v < 12; v++) { l2_kit_fill(&kit, v); }
    for (uint32_t i = 0; i < L2_KIT_KEYS; i += 7) { l2_kit_del(&kit, i); }
}

static void end(void)
{
    l2_dev_fini(&cut);
    l2_kit_end(&kit, &dev);
}

static void closed(void)
{
    l2_close(kit.d);
    kit.d = NULL;
}

/* Return a checksum of all served values. */
static uint64_t served(l2_kit *k)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) {
        sum += (uint64_t)(i + 1) * l2_kit_look(k, i, L2_KIT_GENERATION) * 1000003u;
    }
    return sum;
}

/* Open a copy of the disk. Return true if it used a snapshot. *sum: what it serves. l2_dev_clone
 * keeps the inodes, so the store does not see a copy. */
static bool looked(uint64_t *sum)
{
    l2_kit_init(&other, &cut);
    other.cfg = kit.cfg;
    other.cfg.vfs = &other.vfs;
    other.cfg.clock = &other.clock;
    other.cfg.log = &other.log;
    other.cfg.wall_ctx = &other;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    const bool used = l2_kit_figures(&other).snaps != 0;
    T_CHECK(!used || !l2_kit_figures(&other).rebuilding);
    l2_kit_warm(&other);
    T_EQ_STR(l2_audit(other.d), NULL);
    T_CHECK(snap_of(&cut) == NULL);
    *sum = served(&other);
    l2_kit_kill(&other);
    return used;
}

T_CASE(a_saved_index_equals_a_rebuilt_one)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        for (int round = 0; round < 3; round++) {
            uint64_t by_snap, by_feet;
            const uint64_t want = served(&kit);
            T_CHECK(want != 0);
            closed();
            T_REQUIRE(snap_of(&dev) != NULL);
            l2_dev_clone(&dev, &cut, NULL);
            T_CHECK(looked(&by_snap));
            l2_dev_clone(&dev, &cut, NULL);
            snap_of(&cut)->name[0] = '\0';
            T_CHECK(!looked(&by_feet));
            T_EQ_U64(by_snap, want);
            T_EQ_U64(by_feet, want);
            T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
            T_EQ_U64(l2_kit_figures(&kit).snaps, 1);
            l2_kit_fill(&kit, 100 + (uint32_t)round); /* reclaim and eras continue */
            l2_kit_del(&kit, 3);
            T_EQ_U64(l2_kit_look(&kit, 3, L2_KIT_GENERATION), 0);
        }
        end();
    }
}

static l2_opened opened_as(l2_kit *k)
{
    const l2_stats st = l2_kit_figures(k);
    T_EQ_U64(st.snaps, st.opened == L2_OPENED_SAVED);
    return st.opened;
}

/* Close or kill the store, apply `change`, and open it. Return the source of the index. */
static l2_opened opened_after(bool close, void (*change)(void))
{
    if (close) {
        closed();
    } else {
        l2_kit_kill(&kit);
    }
    dev.locked = false;
    if (change != NULL) { change(); }
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_opened as = opened_as(&kit);
    l2_kit_warm(&kit);
    return as;
}

static void no_snap(void) { snap_of(&dev)->name[0] = '\0'; }
static void bad_snap(void) { snap_of(&dev)->live[5000] ^= 1; }
static void another_boot(void) { dev.boot[15]++; }

static void other_stage(void) { l2_dev_find(&dev, "stage.buf")->ino += 100; }

T_CASE(an_open_reports_the_source_of_its_index)
{
    begin(L2_DROP); /* and filled */
    T_EQ_I64(opened_as(&kit), L2_OPENED_EMPTY);
    T_EQ_I64(opened_after(true, NULL), L2_OPENED_SAVED);
    T_EQ_I64(opened_after(false, NULL), L2_OPENED_KILLED);
    T_EQ_I64(opened_after(true, no_snap), L2_OPENED_NO_SNAP);
    T_EQ_I64(opened_after(true, bad_snap), L2_OPENED_UNFIT);
    T_EQ_I64(opened_after(true, another_boot), L2_OPENED_SAVED);
    T_EQ_I64(opened_after(true, other_stage), L2_OPENED_KILLED); /* a copy of a closed store */
    T_CHECK(served(&kit) != 0);
    T_EQ_I64(opened_after(false, other_stage), L2_OPENED_RESET); /* a copy of a store in use */
    T_EQ_U64(served(&kit), 0);
    T_EQ_I64(opened_after(true, NULL), L2_OPENED_EMPTY);
    l2_kit_fill(&kit, 7);
    T_EQ_I64(opened_after(false, another_boot), L2_OPENED_RESET); /* a power cut */
    end();
}

/* After a full round of the log, old segments lie in the places of new ones. */
T_CASE(a_full_store_saves_its_index_too)
{
    for (uint32_t places = 6; places <= 12; places++) {
        l2_dev_init(&dev);
        l2_dev_init(&cut);
        l2_kit_init(&kit, &dev);
        kit.cfg.seg_count = places;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        uint32_t version = 0;
        while (l2_kit_figures(&kit).reclaimed < 3) { l2_kit_fill(&kit, ++version); }
        for (uint32_t life = 0; life < 40; life++) {
            const uint64_t want = served(&kit);
            T_EQ_I64(opened_after(true, NULL), L2_OPENED_SAVED);
            T_EQ_U64(served(&kit), want);
            if (life % 3 == 0) { l2_kit_fill(&kit, ++version); }
            for (uint32_t i = 0; i < life % 5; i++) { l2_kit_del(&kit, i); }
        }
        end();
    }
}

static uint32_t sick = UINT32_MAX; /* writes to this place are lost; UINT32_MAX: none */
static bool sickens;               /* the next place written becomes the bad one */

static int sick_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t off,
                       size_t *done)
{
    if (strcmp(((const l2_dev_file *)(const void *)f)->name, "data.seg") == 0) {
        if (sickens) { sick = (uint32_t)(off / kit.cfg.seg_bytes); }
        sickens = false;
        *done = 0;
        if (off / kit.cfg.seg_bytes == sick) { return EIO; }
    }
    return l2_dev_pwrite(ctx, f, buf, n, off, done);
}

static uint32_t open_place(void)
{
    return base_load_rlx(&kit.d->seg[kit.d->open_slot->seg].place);
}

/* Fill until the open slot is meant for the highest place, which is not the bad one. */
static void fill_to_the_top(uint32_t *version)
{
    for (uint32_t n = 0; n < 2000 && open_place() != kit.d->places - 1; n++) {
        l2_kit_del(&kit, n % L2_KIT_KEYS);
        (void)l2_tick(kit.d, 1000);
        T_EQ_I64(l2_kit_put(&kit, n % L2_KIT_KEYS, ++*version, L2_KIT_GENERATION), CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_U64(open_place(), kit.d->places - 1);
}

/* A place that refuses writes keeps its old contents: the oldest segment of all. An open that finds
 * no other place for the open slot must not choose it. */
T_CASE(a_bad_place_is_not_chosen_again)
{
    uint32_t tried = 0;
    for (uint32_t places = 9; places <= 12; places++) {
        l2_dev_init(&dev);
        l2_dev_init(&cut);
        l2_kit_init(&kit, &dev);
        kit.cfg.seg_count = places;
        kit.vfs.pwrite = sick_pwrite;
        sick = UINT32_MAX;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        uint32_t version = 0;
        while (l2_kit_figures(&kit).reclaimed < 3) { l2_kit_fill(&kit, ++version); }
        sickens = true;
        for (uint32_t n = 0; n < 6; n++) { l2_kit_fill(&kit, ++version); }
        T_EQ_U64(l2_kit_figures(&kit).bad_places, 1);
        tried += sick < places - 1;
        if (sick < places - 1) { /* the slot's header names a place that is cut off later */
            fill_to_the_top(&version);
            T_EQ_I64(l2_resize_to(kit.d, places - 1, 1), CELLAR_OK);
        }
        for (uint32_t life = 0; life < 6; life++) {
            const uint64_t want = served(&kit);
            T_CHECK(want != 0);
            const l2_opened as = opened_after(true, NULL);
            T_CHECK(as == L2_OPENED_SAVED || (life == 0 && as == L2_OPENED_UNFIT));
            T_EQ_U64(served(&kit), want);
            T_EQ_U64(l2_kit_figures(&kit).bad_places, 1);
            if (life % 2 == 0) { l2_kit_fill(&kit, ++version); }
        }
        end();
    }
    T_CHECK(tried > 0);
}

/* A change after a reopen is logged if a put before the close is still on disk. */
T_CASE(a_change_after_a_saved_index_logs_its_tombstone)
{
    begin(L2_DROP);
    closed();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).snaps, 1);
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) { l2_kit_del(&kit, i); }
    T_CHECK(l2_kit_figures(&kit).tombstones > 0);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(l2_kit_figures(&kit).snaps, 0);
    T_EQ_U64(served(&kit), 0);
    end();
}

T_CASE(a_saved_index_of_an_earlier_run_is_not_used)
{
    begin(L2_KEEP);
    closed();
    l2_dev older;
    l2_dev_init(&older);
    l2_dev_clone(&dev, &older, NULL);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    for (int how = 0; how < 3; how++) {
        uint64_t sum;
        if (how == 1) { l2_kit_fill(&kit, 50); } /* a change, then a process death */
        const uint64_t want = served(&kit);
        if (how == 2) { closed(); }              /* a close without a change since */
        l2_dev_clone(&dev, &cut, NULL);
        cut.locked = false;
        l2_dev_file *f = snap_of(&cut);
        for (int i = 0; i < DEV_FILES && f == NULL; i++) {
            if (cut.file[i].name[0] == '\0') { f = &cut.file[i]; }
        }
        const l2_dev_file *was = snap_of(&older);
        T_REQUIRE(f != NULL && was != NULL);
        l2_dev_room(f, was->size);
        snprintf(f->name, sizeof f->name, "index.snap");
        memcpy(f->live, was->live, was->size);
        f->size = was->size;
        T_CHECK(!looked(&sum));
        T_EQ_U64(sum, want);
    }
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_dev_fini(&older);
    end();
}

T_CASE(a_saved_index_with_a_flipped_bit_or_another_length_is_not_used)
{
    uint64_t want, sum;
    uint32_t used = 0, tried = 0;
    begin(L2_DROP);
    want = served(&kit);
    closed();
    const size_t bytes = snap_of(&dev)->size;
    cut.flat = true;
    for (size_t bit = t_.seed % 97; bit < bytes * 8; bit += bit < 65536 ? 97 : 1499) {
        l2_dev_clone(&dev, &cut, NULL);
        snap_of(&cut)->live[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        used += looked(&sum);
        tried++;
        T_EQ_U64(sum, want);
    }
    /* No checksum covers the zeros after the filter's lines, up to the end of the page. */
    T_CHECK(used < tried / 50);
    for (size_t n = 0; n < bytes; n += 512) {
        l2_dev_clone(&dev, &cut, NULL);
        snap_of(&cut)->size = n;
        T_CHECK(!looked(&sum));
        T_EQ_U64(sum, want);
    }
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    end();
}

T_CASE(another_geometry_or_directory_rebuilds_the_index)
{
    uint64_t want, sum;
    begin(L2_DROP);
    want = served(&kit);
    closed();
    kit.cfg.avg_object_bytes = 8; /* larger tables */
    l2_dev_clone(&dev, &cut, NULL);
    T_CHECK(!looked(&sum));
    T_EQ_U64(sum, want);
    kit.cfg.avg_object_bytes = 0;
    l2_dev_clone(&dev, &cut, NULL); /* a copy: its stage is another file */
    l2_dev_find(&cut, "stage.buf")->ino += 1000;
    T_CHECK(!looked(&sum));
    T_EQ_U64(sum, want);
    l2_dev_clone(&dev, &cut, NULL); /* another boot does not matter */
    cut.boot[15]++;
    T_CHECK(looked(&sum));
    T_EQ_U64(sum, want);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    end();
}

/* Each call that can fail fails, while the file is written and while it is read. */
T_CASE(a_failing_disk_costs_only_the_saved_index)
{
    static const int sites[] = { DEV_OPEN, DEV_PREAD, DEV_PWRITE, DEV_DATASYNC, DEV_RENAME,
                                 DEV_UNLINK, DEV_STAT };
    uint32_t without = 0;
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        for (uint64_t nth = 1; nth < 40; nth++) {
            begin(L2_DROP);
            const uint64_t want = served(&kit);
            dev.fail_site = sites[i];
            dev.fail_errno = nth % 2 != 0 ? EIO : ENOSPC;
            dev.fail_at = nth;
            closed();
            dev.fail_at = nth / 2 + 1;
            if (l2_kit_open(&kit) != CELLAR_OK) {
                dev.fail_at = 0;
                dev.locked = false;
                T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
            }
            dev.fail_at = 0;
            without += l2_kit_figures(&kit).snaps == 0;
            l2_kit_warm(&kit);
            const uint64_t got = served(&kit);
            T_CHECK(got == want || l2_kit_figures(&kit).snaps == 0);
            T_CHECK(l2_dev_find(&dev, "index.new") == NULL || sites[i] == DEV_UNLINK);
            end();
        }
    }
    T_CHECK(without > 0);
}

/* The file counts towards the size of the store. */
T_CASE(the_saved_index_counts_towards_the_size)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    dev.flat = cut.flat = true;
    kit.cfg.seg_bytes = kit.cfg.seg_count = kit.cfg.stage_count = 0;
    kit.cfg.bytes = L2_BYTES_MIN;
    kit.cfg.memory_bytes = 64 << 20;
    for (uint64_t avg = 32; avg <= 1024; avg *= 32) {
        kit.cfg.avg_object_bytes = avg;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
        closed();
        uint64_t sum = 0;
        for (int i = 0; i < DEV_FILES; i++) {
            if (dev.file[i].name[0] != '\0') { sum += dev.file[i].size; }
        }
        T_CHECK(sum <= L2_BYTES_MIN + ((uint64_t)512 << 10));
        T_CHECK(snap_of(&dev) != NULL);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_EQ_U64(l2_kit_figures(&kit).snaps, 1);
        T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 7);
        T_EQ_STR(l2_audit(kit.d), NULL);
        closed();
        for (int i = 0; i < DEV_FILES; i++) { dev.file[i].name[0] = '\0'; }
    }
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    l2_dev_fini(&cut);
    l2_dev_fini(&dev);
}

T_ONE_THREAD;
T_MAIN("l2_index_snapshot")
