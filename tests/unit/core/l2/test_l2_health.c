/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store on a failing disk misses and drops, and logs that once. It does not use the disk
 *         while the tier is off. It keeps every delete and recovers by itself when the disk does.
 * Method: an in-memory disk with calls that fail on request; a clock set by the test. */
#include "tests/support/l2_kit.h"
#include "tests/support/said.h"

#define KEYS L2_KIT_KEYS

static l2_dev dev;
static l2_kit kit;

static void begin(l2_level level)
{
    said[0] = '\0';
    l2_kit_begin(&kit, &dev, level);
    base_log_init(&kit.log, &kit.clock, listen_to, NULL, BASE_LOG_WARNING);
}

static void end(void) { l2_kit_end(&kit, &dev); }
static void del(uint32_t key) { l2_kit_del(&kit, key); }
static uint32_t look(uint32_t key) { return l2_kit_look(&kit, key, L2_KIT_GENERATION); }

static cellar_err put(uint32_t key, uint32_t version)
{
    return l2_kit_put(&kit, key, version, L2_KIT_GENERATION);
}

static void fill(uint32_t version)
{
    l2_kit_fill(&kit, version);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK); /* most of it lies in data.seg now */
}

static void fail_with(int site, int error)
{
    dev.fail_site = site;
    dev.fail_errno = error;
    dev.fail_at = 1;
    dev.fail_sticky = true;
}

static void pass(int64_t ms)
{
    kit.now_ms += ms;
    (void)l2_tick(kit.d, 1000);
}

static bool is_off(void) { return l2_kit_figures(&kit).off; }

/* Reads fail, deletes continue, then the disk recovers. */
T_CASE(failed_reads_switch_the_tier_off_until_a_probe_succeeds)
{
    begin(L2_DROP);
    fill(1);
    fail_with(DEV_PREAD, EIO);
    for (uint32_t i = 0; i < 20; i++) { T_EQ_U64(look(i % 8), 0); }
    T_CHECK(is_off());
    T_EQ_I64(lines_with("in memory for now"), 1);
    T_EQ_I64(put(7, 2), CELLAR_DROPPED);
    const uint32_t reads = dev.calls[DEV_PREAD], writes = dev.calls[DEV_PWRITE];
    for (uint32_t i = 0; i < KEYS; i++) { (void)look(i); }
    for (int i = 0; i < 9; i++) { pass(100); }
    T_EQ_U64(dev.calls[DEV_PREAD], reads); /* no call uses the disk while the tier is off */
    T_EQ_U64(dev.calls[DEV_PWRITE], writes);
    for (uint32_t i = 0; i < 4; i++) { del(i); }
    int64_t waited = 900;
    while (waited < 200000) { /* probed after 1 s, then after twice as long, up to a minute */
        pass(100);
        waited += 100;
    }
    T_CHECK(is_off());
    T_CHECK(dev.calls[DEV_PWRITE] >= writes + 6 && dev.calls[DEV_PWRITE] <= writes + 9);
    dev.fail_at = 0;
    pass(60000);
    T_CHECK(!is_off());
    T_EQ_I64(lines_with("the disk works again"), 1);
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = look(i);
        T_CHECK(i < 4 ? got == 0 : got == 1 || got == 0);
    }
    T_EQ_U64(look(KEYS - 1), 1);
    T_EQ_I64(put(7, 2), CELLAR_OK);
    T_EQ_U64(look(7), 2);
    end();
}

/* Places with failed writes are used again once the disk works. */
T_CASE(places_with_failed_writes_are_used_again)
{
    static const int errors[] = { EIO, ENOSPC, EROFS, EDQUOT };
    for (size_t e = 0; e < 4; e++) {
        begin(e % 2 == 0 ? L2_DROP : L2_KEEP);
        fill(1);
        l2_stats st = l2_kit_figures(&kit);
        const uint64_t places = st.segments_live + st.segments_free;
        fail_with(DEV_PWRITE, errors[e]);
        for (uint32_t i = 0; i < 400; i++) {
            del(i % KEYS);
            (void)put(i % KEYS, 2 + i);
            if (i % 4 == 0) { pass(10); }
        }
        T_CHECK(is_off());
        dev.fail_at = 0;
        pass(60000);
        pass(100);
        T_CHECK(!is_off());
        for (int i = 0; i < 20; i++) { pass(10); }
        st = l2_kit_figures(&kit);
        T_EQ_U64(st.bad_places, 0);
        T_EQ_U64(st.segments_live + st.segments_free, places);
        fill(1000);
        uint32_t hits = 0;
        for (uint32_t i = 0; i < KEYS; i++) { hits += look(i) == 1000; }
        T_EQ_U64(hits, KEYS);
        end();
    }
}

/* The source bytes were missing, so the place is not at fault. */
T_CASE(an_unreadable_stage_marks_no_place_as_bad)
{
    begin(L2_DROP);
    fill(1);
    while (put(0, 2) == CELLAR_DROPPED) { pass(1); } /* SUPER says DIRTY before that */
    fail_with(DEV_PWRITE, EFAULT);
    for (uint32_t i = 0; i < 400 && l2_kit_figures(&kit).io_errors == 0; i++) {
        (void)put(i % KEYS, 2 + i);
        if (i % 4 == 0) { pass(1); }
    }
    T_EQ_U64(l2_kit_figures(&kit).io_errors, 1);
    T_EQ_U64(l2_kit_figures(&kit).bad_places, 0);
    dev.fail_at = 0;
    end();
}

T_CASE(failed_syncs_drop_no_record)
{
    begin(L2_KEEP);
    fill(1);
    fail_with(DEV_DATASYNC, EIO);
    for (int i = 0; i < 12; i++) {
        del((uint32_t)i);
        pass(1000);
    }
    T_CHECK(is_off());
    dev.fail_at = 0;
    for (int i = 0; i < 130; i++) { pass(1000); }
    T_CHECK(!is_off());
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), i >= 12); }
    T_EQ_U64(l2_kit_figures(&kit).emptied, 0);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), i >= 12); }
    fill(9);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), 9); }
    end();
}

/* Each sync and each write of SUPER of a call of l2_sync fails once. The next call succeeds, and a
 * power cut finds everything. */
T_CASE(each_failed_call_of_a_sync_drops_no_record)
{
    static l2_dev after;
    static const int sites[] = { DEV_DATASYNC, DEV_PWRITE };
    base_rng r;
    uint32_t failed = 0;
    base_rng_seed(&r, t_.seed);
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (int n = 0; n < 16; n++) {
            begin((l2_level)level);
            fill(1);
            del(0); /* SUPER says DIRTY from here on */
            l2_kit_fill(&kit, 2);
            fail_with(sites[n % 2], EIO);
            dev.fail_sticky = false;
            dev.fail_at = 1 + (uint32_t)n / 2;
            const cellar_err first = l2_sync(kit.d);
            failed += first == CELLAR_E_IO;
            T_CHECK(first == CELLAR_OK || first == CELLAR_E_IO);
            dev.fail_at = 0;
            if (first != CELLAR_OK) { T_EQ_I64(l2_sync(kit.d), CELLAR_OK); }
            T_EQ_U64(l2_kit_figures(&kit).emptied, 0);
            l2_dev_clone(&dev, &after, &r);
            l2_kit cut;
            l2_kit_init(&cut, &after);
            cut.cfg.seg_count = kit.cfg.seg_count;
            cut.cfg.level = kit.cfg.level;
            T_REQUIRE(l2_kit_open(&cut) == CELLAR_OK);
            l2_kit_warm(&cut);
            for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(l2_kit_look(&cut, i, 3), 2); }
            l2_kit_kill(&cut);
            l2_dev_fini(&after);
            l2_kit_killed(&kit, &dev);
            for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), 2); }
            end();
        }
    }
    T_CHECK(failed >= 12);
}

/* One damaged record in a thousand is no failing disk; many are. */
T_CASE(many_damaged_records_switch_the_tier_off)
{
    begin(L2_DROP);
    fill(1);
    l2_dev_file *data = l2_dev_find(&dev, "data.seg");
    T_REQUIRE(data != NULL);
    uint32_t bad = 0;
    for (uint32_t i = 0; i < KEYS; i++) { /* flip a bit in the value of each record on disk */
        const l2_key id = l2_kit_key(&kit, &i, sizeof i, 3);
        const uint64_t word = l2_index_find(kit.d, l2_h48(id.hash));
        const l2_seg *g = &kit.d->seg[l2_word_seg(kit.d, word)];
        if (word == 0 || L2_SEG_STATE(base_load_acq(&g->word)) != L2_SEG_DISK) { continue; }
        data->live[(size_t)g->place * 16384 + l2_word_off(kit.d, word) + 40] ^= 1;
        bad++;
    }
    T_REQUIRE(bad >= 16);
    for (uint32_t n = 0; n < 1000; n++) { (void)look(1000 + n); } /* no word: nothing is read */
    for (uint32_t i = 0; i < 7; i++) { (void)look(i); }
    T_CHECK(!is_off());
    for (uint32_t i = 7; i < KEYS && !is_off(); i++) { (void)look(i); }
    T_CHECK(is_off());
    T_EQ_I64(lines_with("damaged"), 1);
    pass(1100); /* the disk itself is fine */
    T_CHECK(!is_off());
    end();
}

T_CASE(removed_files_close_the_tier_until_the_next_open)
{
    for (int how = 0; how < 4; how++) {
        begin(L2_DROP);
        fill(1);
        del(0); /* from here on SUPER says DIRTY */
        l2_dev_file *f = l2_dev_find(&dev, how % 2 == 0 ? "stage.buf" : "data.seg");
        T_REQUIRE(f != NULL);
        if (how < 2) {
            f->name[0] = '\0';
        } else {
            f->size /= 2;
        }
        pass(1100);
        T_CHECK(l2_kit_figures(&kit).broken);
        T_EQ_I64(lines_with("until the next open"), 1);
        const uint32_t calls = dev.calls[DEV_PREAD] + dev.calls[DEV_PWRITE];
        for (uint32_t i = 0; i < KEYS; i++) {
            T_EQ_U64(look(i), 0);
            T_EQ_I64(put(i, 2), CELLAR_DROPPED);
            del(i);
        }
        for (int i = 0; i < 20; i++) { pass(1000); }
        T_EQ_U64(dev.calls[DEV_PREAD] + dev.calls[DEV_PWRITE], calls);
        T_EQ_I64(lines_with("until the next open"), 1);
        l2_close(kit.d);
        kit.d = NULL;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        l2_kit_warm(&kit);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), 0); }
        fill(3);
        T_EQ_U64(look(5), 3);
        end();
    }
}

static int (*fast_pread)(void *ctx, base_vfs_file *file, void *buf, size_t n, uint64_t off,
                         size_t *done);

/* Read so slowly that the worker counts as stalled, and no page is armed any more. */
static int slow_pread(void *ctx, base_vfs_file *file, void *buf, size_t n, uint64_t off,
                      size_t *done)
{
    const int e = fast_pread(ctx, file, buf, n, off, done);
    if (kit.d != NULL && base_load_rlx(&kit.d->beat) != 0) {
        l2_disarm(kit.d);
        base_store_rlx(&kit.d->beat, base_now_ns() - UINT64_C(30000000));
    }
    return e;
}

/* Footers that one open could not read are readable at the next. Changes in between were not
 * logged, because no older value was known. Those values must not come back. */
T_CASE(a_hole_found_by_a_slow_read_is_logged)
{
    begin(L2_DROP);
    fill(1);
    l2_dev_file *data = l2_dev_find(&dev, "data.seg");
    unsigned char *copy = malloc(data->size);
    T_REQUIRE(copy != NULL);
    memcpy(copy, data->live, data->size);
    for (size_t at = 0; at < data->size; at += 16384) { /* the footer page of each segment */
        memset(data->live + at + 8192 + 24, 255, 64);
    }
    l2_kit_kill(&kit);
    dev.locked = false;
    fast_pread = kit.vfs.pread;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    kit.vfs.pread = slow_pread;
    l2_kit_warm(&kit);
    kit.vfs.pread = fast_pread;
    T_CHECK(l2_kit_figures(&kit).holes > 0);
    uint32_t hidden = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        hidden += look(key) == 0;
        del(key);
    }
    T_CHECK(hidden > 0);
    l2_kit_kill(&kit);
    for (size_t at = 0; at < data->size; at += 16384) { /* unless it was written again */
        unsigned char *foot = data->live + at + 8192 + 24;
        if (foot[0] == 255 && foot[63] == 255) { memcpy(foot, copy + at + 8192 + 24, 64); }
    }
    free(copy);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    for (uint32_t key = 0; key < KEYS; key++) { T_EQ_U64(look(key), 0); }
    end();
}

/* The first page of a slot may reach the disk during the write of its header, the last page before
 * it. Neither is readable then, and nothing lies between. */
T_CASE(a_header_interrupted_by_a_power_cut_is_no_damage)
{
    begin(L2_KEEP);
    fill(1);
    kit.now_ms += 2000;
    while (l2_tick(kit.d, 1000)) {}
    unsigned char *slot = NULL;
    for (uint32_t i = 0; i < kit.d->nstage; i++) {
        if (kit.d->slot[i].state != L2_SLOT_OPEN) { slot = kit.d->slot[i].base; }
    }
    T_REQUIRE(slot != NULL);
    l2_kit_kill(&kit);
    const uint64_t begun = L2_HEAD_BEGUN;
    memcpy(slot, &begun, sizeof begun);
    memset(slot + 12288, 0, 4096);
    dev.locked = false;
    dev.boot[15]++;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    uint32_t there = 0;
    for (uint32_t key = 0; key < KEYS; key++) { there += look(key) == 1; }
    T_EQ_U64(there, KEYS);
    end();
}

T_CASE(the_limits_and_pauses_of_health_are_configurable)
{
    begin(L2_DROP);
    fill(1);
    l2_close(kit.d);
    kit.cfg.off_errors = 3;
    kit.cfg.off_ms = 20;
    kit.cfg.off_max_ms = 40;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    fail_with(DEV_PREAD, EIO);
    for (uint32_t i = 0; i < 2; i++) { T_EQ_U64(look(i), 0); }
    T_CHECK(!is_off());
    T_EQ_U64(look(2), 0);
    T_CHECK(is_off());
    dev.fail_site = DEV_PWRITE; /* the disk is readable by now, but the probe writes first */
    const uint32_t writes = dev.calls[DEV_PWRITE];
    pass(19);
    T_EQ_U64(dev.calls[DEV_PWRITE], writes);
    pass(1);
    /* the probe failed: a pause twice as long, not longer */
    T_CHECK(dev.calls[DEV_PWRITE] > writes);
    for (int i = 0; i < 3; i++) {
        const uint32_t tried = dev.calls[DEV_PWRITE];
        pass(39);
        T_EQ_U64(dev.calls[DEV_PWRITE], tried);
        pass(1);
        T_CHECK(dev.calls[DEV_PWRITE] > tried);
        T_CHECK(is_off());
    }
    dev.fail_at = 0;
    pass(40);
    T_CHECK(!is_off());
    T_EQ_U64(look(KEYS - 1), 1);
    l2_dev_file *data = l2_dev_find(&dev, "data.seg");
    T_REQUIRE(data != NULL);
    for (size_t at = 0; at < data->size; at += 64) { data->live[at + 40] ^= 1; }
    kit.d->cfg.off_damaged_pct = 100; /* 100 percent is never exceeded */
    for (uint32_t i = 0; i < KEYS; i++) { (void)look(i); }
    T_CHECK(!is_off());
    end();
}

/* The worker has checked in this millisecond. A sync must not report success for missing bytes. */
T_CASE(a_sync_of_truncated_files_fails)
{
    static const char *const name[] = { "stage.buf", "data.seg" };
    for (int i = 0; i < 2; i++) {
        begin(i == 0 ? L2_DROP : L2_KEEP);
        fill(1);
        pass(2000);
        l2_dev_file *f = l2_dev_find(&dev, name[i]);
        const size_t was = f->size;
        f->size -= 4096;
        T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO);
        T_CHECK(l2_kit_figures(&kit).broken);
        T_EQ_I64(lines_with("truncated"), 1);
        T_CHECK(l2_kit_figures(&kit).lost_files > 0);
        f->size = was;
        T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO); /* not before the next open */
        end();
    }
}

/* A stale page in the page cache: the bytes on disk are served, and nothing is damaged. */
T_CASE(a_record_that_does_not_verify_is_read_past_the_page_cache)
{
    begin(L2_DROP);
    fill(1);
    l2_kit_fill(&kit, 2); /* the first versions are in data.seg */
    uint32_t from_disk = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        dev.stale = 1;
        const uint64_t before = l2_kit_figures(&kit).reread;
        T_EQ_U64(look(i), 2);
        if (dev.stale != 0) { continue; } /* it lay in the stage */
        from_disk++;
        T_EQ_U64(l2_kit_figures(&kit).reread, before + 1);
        T_EQ_U64(dev.read_at % L2_PAGE, 0);
        T_EQ_U64(dev.read_n % L2_PAGE, 0);
    }
    T_CHECK(from_disk > 5);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    dev.stale = 0;
    const uint32_t first = 0; /* damaged on disk, too: one of the oldest */
    const l2_key id = l2_kit_key(&kit, &first, sizeof first, L2_KIT_GENERATION);
    const uint64_t word = l2_index_find(kit.d, l2_h48(id.hash));
    const l2_seg *g = &kit.d->seg[l2_word_seg(kit.d, word)];
    T_EQ_U64(L2_SEG_STATE(base_load_rlx(&g->word)), L2_SEG_DISK);
    l2_dev_find(&dev, "data.seg")->live[(size_t)base_load_rlx(&g->place) * 16384 +
                                        l2_word_off(kit.d, word) + 40] ^= 1;
    T_EQ_U64(look(first), 0);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 1);
    T_EQ_U64(l2_kit_figures(&kit).reread, from_disk + 1);
    end();
}

T_ONE_THREAD;
T_MAIN("l2_health")
