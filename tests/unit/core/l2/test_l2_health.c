/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store on a failing disk misses and drops, and logs that once. It does not use the disk
 *         while the tier is off. It keeps every delete and recovers by itself when the disk does.
 *         Committed changes survive a power cut. A failed sync, and changes that rely on the stall
 *         marker, are never committed. A change of a key that the disk never had needs no sync.
 * Method: an in-memory disk with calls that fail on request, that loses the bytes of a failed sync,
 *         and its power cuts; a clock set by the test. */
#include "l2/index.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/segment.h"
#include "tests/support/l2_kit.h"
#include "tests/support/said.h"

#define KEYS L2_KIT_KEYS

static l2_dev dev, cut;
static l2_kit kit, after;

static void begin(l2_level level)
{
    said[0] = '\0';
    l2_kit_begin(&kit, &dev, level);
    l2_dev_init(&cut);
    base_log_init(&kit.log, &kit.clock, listen_to, NULL, BASE_LOG_WARNING);
}

static void end(void) { l2_kit_end(&kit, &dev); l2_dev_fini(&cut); }
static l2_stats figures(void) { return l2_kit_figures(&kit); }

static void del(uint32_t key) { l2_kit_del(&kit, key); }
static uint32_t look(uint32_t key) { return l2_kit_look(&kit, key, L2_KIT_GENERATION); }

static void all_have(uint32_t version)
{
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), version); }
}

static cellar_err put(uint32_t key, uint32_t version)
{
    return l2_kit_put(&kit, key, version, L2_KIT_GENERATION);
}

static void fill(uint32_t version)
{
    l2_kit_fill(&kit, version);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK); /* most of it lies in data.seg now */
}

static void begin_filled(void)
{
    begin(L2_DROP);
    fill(1);
}

#define FILLED(fn) T_WITHIN(fn, begin_filled(), end())

static void fail_with(int site, int error)
{
    dev.fail_site = site;
    dev.fail_errno = error;
    dev.fail_at = 1;
    dev.fail_sticky = true;
}

static void fail_once(int site)
{
    fail_with(site, EIO);
    dev.fail_sticky = false;
}

static void pass(int64_t ms) { kit.now_ms += ms; (void)l2_tick(kit.d, 1000); }

static bool is_off(void) { return figures().off; }

T_CASE_ON(read_that_ends_beside_one_that_hangs_is_progress, FILLED)
{
    unsigned char head[L2_HEAD_BYTES];
    (void)base_add_ar(&kit.d->reads_out, 1u);
    base_store_rlx(&kit.d->read_ns, (uint64_t)1); /* it began long ago */
    T_EQ_I64(l2_log_read(kit.d, head, sizeof head, base_load_acq(&kit.d->head)), 0);
    T_CHECK(base_load_rlx(&kit.d->read_ns) > 1);
    (void)base_sub_ar(&kit.d->reads_out, 1u);
}

T_CASE(no_generation_shares_the_sum_of_parts)
{
    for (uint32_t i = 1; i < 3 * L2_LIVE_SLOTS; i++) {
        const uint32_t slot = l2_live_slot(i);
        if (!T_CHECK(slot != 0 && slot < L2_LIVE_SLOTS)) { break; }
    }
}

T_CASE_ON(log_goes_on_in_the_segment_of_the_last_close, FILLED)
{
    const uint32_t used = l2_segs_used(kit.d);
    for (uint32_t i = 0; i < 8; i++) {
        l2_close(kit.d);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    }
    T_EQ_U64(l2_segs_used(kit.d), used);
}

/* A library of another version finds the marker by this name. */
T_CASE_ON(marker_has_the_name_of_uuid_and_directory, FILLED)
{
    const unsigned char *uuid = kit.d->super.uuid;
    T_EQ_U64(l2_r64(kit.d->marker_id), l2_r64(uuid) ^ dev.dir_ino);
    T_EQ_U64(l2_r64(kit.d->marker_id + 8), l2_r64(uuid + 8)); /* no device, no time of birth */
}

/* Return the segment that the log of a store is in. */
static uint64_t segment_of(const l2 *d) { return l2_seq_of(d, base_load_acq(&d->tail)); }

/* Write until the log has gone on to the next segment. */
static void fill_segment(l2_kit *k, uint32_t version)
{
    const uint64_t from = segment_of(k->d);
    for (uint32_t i = 0; segment_of(k->d) == from; i++) {
        T_EQ_I64(l2_kit_put(k, i % KEYS, version, L2_KIT_GENERATION), CELLAR_OK);
        (void)l2_tick(k->d, 1000);
    }
}

/* Run 1 writes a full segment and some of the next one. A power cut takes all but the begin of the
 * former and all of the latter. Run 2 fills the former, and a power cut takes what it wrote behind. */
T_CASE(segment_of_a_run_that_was_cut_is_no_part_of_the_log)
{
    static unsigned char late[L2_KIT_SEG];
    begin(L2_ALWAYS);
    T_EQ_I64(put(1, 1), CELLAR_OK);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_dev_clone(&dev, &cut, NULL);
    cut.boot[15]++;
    fill_segment(&kit, 1);
    T_EQ_I64(put(99, 1), CELLAR_OK);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    const uint64_t seg = segment_of(kit.d), at = seg * L2_KIT_SEG % l2_size(kit.d);
    memcpy(late, l2_dev_find(&dev, "data.seg")->live + at, sizeof late);
    l2_kit_init(&after, &cut);
    after.cfg.level = L2_ALWAYS;
    T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
    fill_segment(&after, 2);
    T_EQ_U64(segment_of(after.d), seg);
    l2_kit_kill(&after);
    memcpy(l2_dev_find(&cut, "data.seg")->live + at, late, sizeof late);
    cut.locked = false;
    cut.boot[15]++;
    T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
    T_EQ_U64(l2_kit_look(&after, 1, L2_KIT_GENERATION), 2);
    T_EQ_U64(l2_kit_look(&after, 99, L2_KIT_GENERATION), 0);
    l2_kit_kill(&after);
    end();
}

/* Reads fail, deletes continue, then the disk recovers. */
T_CASE_ON(failed_reads_switch_the_tier_off_until_a_probe_succeeds, FILLED)
{
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
}

/* Places with failed writes are used again once the disk works. */
T_CASE(places_with_failed_writes_are_used_again)
{
    static const int errors[] = { EIO, ENOSPC, EROFS, EDQUOT };
    for (size_t e = 0; e < 4; e++) {
        begin(e % 2 == 0 ? L2_DROP : L2_KEEP);
        fill(1);
        l2_stats st = figures();
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
        st = figures();
        T_EQ_U64(st.segments_live + st.segments_free, places);
        fill(1000);
        all_have(1000);
        end();
    }
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
    T_EQ_U64(figures().emptied, 0);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), i >= 12); }
    fill(9);
    all_have(9);
    end();
}

/* Open the disk that a power cut leaves now. */
static void open_cut(base_rng *r)
{
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&after, &cut);
    after.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
}

/* Each sync and each write of SUPER of a call of l2_sync fails once. The next call succeeds, and a
 * power cut finds everything. */
T_CASE(each_failed_call_of_a_sync_drops_no_record)
{
    static const int sites[] = { DEV_DATASYNC, DEV_PWRITE };
    base_rng r;
    uint32_t failed = 0;
    base_rng_seed(&r, t_.seed);
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (int n = 0; n < 6; n++) {
            begin((l2_level)level);
            fill(1);
            l2_kit_fill(&kit, 2);
            T_EQ_I64(put(KEYS, 2), CELLAR_OK); /* it is not written yet */
            fail_with(sites[n % 2], EIO);
            dev.fail_sticky = false;
            dev.fail_at = 1 + (uint32_t)n / 2;
            const cellar_err first = l2_sync(kit.d);
            failed += first == CELLAR_E_IO;
            T_CHECK(first == CELLAR_OK || first == CELLAR_E_IO);
            dev.fail_at = 0;
            if (first != CELLAR_OK) { T_EQ_I64(l2_sync(kit.d), CELLAR_OK); }
            T_EQ_U64(figures().emptied, 0);
            open_cut(&r);
            for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(l2_kit_look(&after, i, 3), 2); }
            l2_kit_kill(&after);
            l2_kit_killed(&kit, &dev);
            all_have(2);
            end();
        }
    }
    T_CHECK(failed >= 6);
}

/* One damaged record in a thousand is no failing disk; many are. */
T_CASE_ON(many_damaged_records_switch_the_tier_off, FILLED)
{
    l2_dev_file *data = l2_dev_find(&dev, "data.seg");
    T_REQUIRE(data != NULL);
    uint32_t bad = 0;
    for (uint32_t i = 0; i < KEYS; i++) { /* flip a bit in the value of each record on disk */
        const l2_key id = l2_kit_key(&kit, &i, sizeof i, L2_KIT_GENERATION);
        const uint64_t hash = l2_mix(id.hash);
        sync_take(L2_TOMBSTONE_LOCK, &l2_shard_of(kit.d, hash)->lock);
        const l2_word word = l2_index_find(kit.d, hash);
        sync_drop(L2_TOMBSTONE_LOCK, &l2_shard_of(kit.d, hash)->lock);
        data->live[word.lsn % l2_size(kit.d) + 40] ^= 1;
        bad += word.lsn != 0;
    }
    T_EQ_U64(bad, KEYS);
    for (uint32_t n = 0; n < 1000; n++) { (void)look(1000 + n); } /* no word: nothing is read */
    for (uint32_t i = 0; i < 7; i++) { (void)look(i); }
    T_CHECK(!is_off());
    for (uint32_t i = 7; i < KEYS && !is_off(); i++) { (void)look(i); }
    T_CHECK(is_off());
    T_EQ_I64(lines_with("damaged"), 1);
    pass(1100); /* the disk itself is fine */
    T_CHECK(!is_off());
}

T_CASE(removed_files_close_the_tier_until_the_next_open)
{
    for (int how = 0; how < 2; how++) {
        begin(how == 0 ? L2_ALWAYS : L2_DROP);
        fill(1);
        l2_dev_file *f = l2_dev_find(&dev, "data.seg");
        T_REQUIRE(f != NULL);
        if (how == 0) {
            f->name[0] = '\0';
        } else {
            f->size /= 2;
        }
        pass(1100);
        T_CHECK(figures().broken);
        T_EQ_I64(lines_with("until the next open"), 1);
        const uint32_t calls = dev.calls[DEV_PREAD] + dev.calls[DEV_PWRITE];
        for (uint32_t i = 0; i < KEYS; i++) {
            T_EQ_U64(look(i), 0);
            T_EQ_I64(put(i, 2), CELLAR_DROPPED);
            del(i);
        }
        if (how == 0) { T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO); }
        for (int i = 0; i < 20; i++) { pass(1000); }
        T_EQ_U64(dev.calls[DEV_PREAD] + dev.calls[DEV_PWRITE], calls);
        T_EQ_I64(lines_with("until the next open"), 1);
        l2_close(kit.d);
        kit.d = NULL;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        all_have(0);
        fill(3);
        T_EQ_U64(look(5), 3);
        end();
    }
}

T_CASE_ON(the_limits_and_pauses_of_health_are_configurable, FILLED)
{
    l2_close(kit.d);
    kit.cfg.off_errors = 3;
    kit.cfg.off_ms = 20;
    kit.cfg.off_max_ms = 40;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
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
}

/* The worker has checked in this millisecond. A sync must not report success for missing bytes. */
T_CASE(a_sync_of_truncated_files_fails)
{
    for (int i = 0; i < 2; i++) {
        begin(i == 0 ? L2_DROP : L2_KEEP);
        fill(1);
        pass(2000);
        l2_dev_file *f = l2_dev_find(&dev, "data.seg");
        const size_t was = f->size;
        f->size -= 4096;
        T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO);
        T_CHECK(figures().broken);
        T_EQ_I64(lines_with("truncated"), 1);
        T_CHECK(figures().lost_files > 0);
        f->size = was;
        T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO); /* not before the next open */
        end();
    }
}

/* ---- commits ---- */

/* A store at ALWAYS with all keys in version 1, committed. */
static void begin_committed(void)
{
    begin(L2_ALWAYS);
    l2_kit_fill(&kit, 1);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
}

#define COMMITTED(fn) T_WITHIN(fn, begin_committed(), end())

T_CASE(committed_changes_survive_a_power_cut)
{
    for (int level = L2_KEEP; level <= L2_ALWAYS; level++) {
        base_rng r;
        base_rng_seed(&r, t_.seed);
        begin((l2_level)level);
        l2_kit_fill(&kit, 1);
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        for (uint32_t i = 0; i < KEYS; i += 2) {
            del(i);
            if (i % 4 == 0) { T_EQ_I64(put(i, 2), CELLAR_OK); }
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
                T_EQ_I64(put(puts % KEYS, puts), CELLAR_OK);
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
            T_EQ_I64(put(i % KEYS, i), CELLAR_OK);
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

T_CASE_ON(a_commit_without_new_records_needs_no_sync, COMMITTED)
{
    const uint32_t syncs = dev.calls[DEV_DATASYNC];
    for (uint32_t i = 1000; i < 1100; i++) {
        del(i);
        T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
        T_EQ_U64(dev.calls[DEV_DATASYNC], syncs);
    }
    del(3);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    T_EQ_U64(dev.calls[DEV_DATASYNC], syncs + 1);
    del(3); /* no word is left */
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
    begin_committed();
    del(3);
    fail_once(DEV_DATASYNC);
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
    T_EQ_I64(put(5, 2), CELLAR_OK);
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
    T_EQ_U64(figures().emptied, 1);
    T_CHECK(figures().lost_sync > 0);
    T_EQ_I64(put(5, 2), CELLAR_OK);
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
    del(3);
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
        T_EQ_I64(put(i % KEYS, 1 + i), CELLAR_OK);
    }
    const uint64_t head = base_load_acq(&kit.d->head);
    fail_once(DEV_DATASYNC);
    (void)l2_tick(kit.d, 1000);
    T_EQ_U64(dev.fail_at, 0);
    T_EQ_U64(base_load_acq(&kit.d->head), head);
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    T_EQ_U64(base_load_acq(&kit.d->head), head);
    for (int i = 0; i < 3; i++) { (void)l2_tick(kit.d, 1000); }
    T_CHECK(base_load_acq(&kit.d->head) > head);
    end();
}

T_ONE_THREAD;
T_MAIN("l2_health")
