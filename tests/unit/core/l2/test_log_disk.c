/* SPDX-License-Identifier: MIT
 *
 * Aim:    a page that is lost costs its own records, and brings no older value. After a failed
 *         sync, or changes without one, a power cut shows the state of one moment since the last
 *         sync.
 * Method: a store of 12 segments of 64 KiB on an in-memory disk. Each page is zeroed in turn. Power
 *         cuts keep or lose each write since the last sync, and sectors of it, on their own.
 * SEE ALSO test_l2_crash, test_log_kill: power cuts at any call and at any step. */
#define DEV_WRITES 800 /* a place is used again many writes after the copies of its records */
#include "l2/log.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/rows.h"
#include "l2/segment.h"
#include "tests/support/log_kit.h"

#define SEGMENTS ((size_t)12)
#define SEGMENT ((size_t)65536)
#define PAGE ((size_t)4096)
#define HEADER ((size_t)128)

/* Begin with an empty disk. */
static void start(l2_level level)
{
    begin(level);
    l2_dev_init(&dev);
    open_on(&dev);
}

static void finish(void) { l2_dev_fini(&dev); l2_dev_fini(&other); }

static void stop(void)
{
    l2_close(d);
    finish();
}

static void some_changes(base_rng *r, uint32_t most)
{
    for (uint64_t n = base_rng_below(r, most); n > 0; n--) {
        change_key((uint32_t)base_rng_below(r, KEYS), base_rng_below(r, 5) == 0,
                   base_rng_below(r, 2) == 0);
        if (base_rng_below(r, 4) == 0) { (void)l2_tick(d, 0); }
        if (base_rng_below(r, 1500) == 0) {
            T_EQ_I64(l2_sync(d), CELLAR_OK);
            synced = changes;
        }
    }
}

/* ---- lost pages ---- */

static void copy_without(size_t at, size_t bytes)
{
    l2_dev_clone(&dev, &other, NULL);
    l2_dev_file *f = l2_dev_find(&other, "data.seg");
    T_REQUIRE(f != NULL && at + bytes <= f->size);
    memset(f->live + at, 0, bytes);
}

static uint32_t want[KEYS];
static size_t last_page; /* of the log */

static void fill_and_end(bool closes)
{
    start(L2_DROP);
    for (uint32_t n = 0; n < 2000; n++) {
        change_key(n * 7 % KEYS, n % 11 == 0, true);
        (void)l2_tick(d, 0);
    }
    for (uint32_t i = 0; i < KEYS; i++) { want[i] = look(i); }
    last_page = (size_t)((base_load_acq(&d->tail) - 1) % (SEGMENTS * SEGMENT)) / PAGE * PAGE;
    if (closes) {
        T_EQ_I64(l2_end(d), CELLAR_OK);
        l2_close(d);
    } else {
        l2_discard(d);
    }
}

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

static uint64_t holes_of_other;

/* Return the entries that an open of the other disk lacks. */
static uint32_t lost_on_other(void)
{
    uint32_t lost = 0, old = 0;
    open_on(&other);
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = look(i);
        lost += got == 0 && want[i] != 0;
        old += got != 0 && got != want[i];
    }
    holes_of_other = figures().holes;
    l2_discard(d);
    T_EQ_U64(old, 0);
    return lost;
}

/* Open without some bytes. Return the entries that are lost then. */
static uint32_t lost_without(size_t at, size_t bytes)
{
    copy_without(at, bytes);
    return lost_on_other();
}

T_CASE(lost_page_costs_its_own_records)
{
    uint32_t most = 0;
    fill_and_end(true);
    for (size_t page = 0; page < SEGMENTS * SEGMENT; page += PAGE) {
        most = BASE_MAX(most, lost_without(page, PAGE));
    }
    T_CHECK(most <= PAGE / LEAST_RECORD + 1);
    finish();
}

/* A page of rows is made again from its own records: damage of others costs these alone. */
T_CASE(lost_page_of_rows_and_a_page_of_other_records_cost_these)
{
    uint32_t tried = 0;
    fill_and_end(true);
    copy_without(0, 0);
    open_on(&other);
    const uint64_t first = l2_seq_of(d, base_load_acq(&d->head));
    const size_t rows = l2_rows_at(&d->form, 0);
    for (uint64_t seq = first; seq < first + SEGMENTS; seq++) {
        l2_trailer t;
        if (!l2_trailer_find(d, seq, &t) || l2_row_pages(t.rows) < 2) { continue; }
        const size_t begin = (size_t)(seq % SEGMENTS) * SEGMENT;
        const size_t page = begin + t.data_end / PAGE * PAGE - PAGE;
        l2_discard(d);
        copy_without(begin + rows, PAGE);
        memset(l2_dev_find(&other, "data.seg")->live + page, 0, PAGE);
        T_CHECK(lost_on_other() <= PAGE / LEAST_RECORD + 1);
        T_EQ_U64(holes_of_other, 0);
        tried++;
        copy_without(0, 0);
        open_on(&other);
    }
    l2_discard(d);
    T_CHECK(tried > 0);
    finish();
}

static uint32_t flipped, live_flipped;

/* Flip the last bit of the value of a row. */
static int value_flipped(l2 *l, void *ctx, const l2_row *row)
{
    const uint64_t begin = *(const uint64_t *)ctx;
    unsigned char *at = l2_dev_find(&other, "data.seg")->live + begin % l2_size(l) + row->off;
    l2_rec r;
    if (row->kind != L2_KIND_PUT) { return 0; }
    T_REQUIRE(l2_rec_parse(at, row->off, SEGMENT, &r) && r.vlen != 0);
    at[r.bytes - 1] ^= 1;
    flipped++;
    live_flipped += l2_indexed_at(l, row->hash, begin + row->off);
    return 0;
}

static int row_counted(l2 *l, void *ctx, const l2_row *row)
{
    (void)l, (void)row;
    ++*(uint32_t *)ctx;
    return 0;
}

/* The mark of a record verifies its key: damage of the value leaves the row. */
T_CASE(lost_page_of_rows_of_damaged_values_costs_these)
{
    fill_and_end(true);
    flipped = 0;
    for (uint64_t seq = 1, page = 0; seq <= SEGMENTS; page++) {
        l2_trailer t;
        uint64_t begin = seq * SEGMENT;
        copy_without(0, 0);
        open_on(&other);
        const bool there = l2_trailer_find(d, seq, &t) && page < l2_row_pages(t.rows);
        live_flipped = 0;
        if (there) {
            const size_t rows = begin % l2_size(d) + l2_rows_at(&d->form, (uint32_t)page);
            uint32_t made = 0;
            l2_rows_walk w = { .made = 0 };
            for (uint32_t i = 0; i < page; i++) {
                T_EQ_I64(l2_rows_page(d, &t, i, &w, row_counted, &made), 0);
            }
            l2_rows_walk again = w;
            made = 0;
            T_EQ_I64(l2_rows_page(d, &t, (uint32_t)page, &w, value_flipped, &begin), 0);
            memset(l2_dev_find(&other, "data.seg")->live + rows, 0, PAGE);
            T_EQ_I64(l2_rows_page(d, &t, (uint32_t)page, &again, row_counted, &made), 0);
            T_EQ_U64(made, BASE_MIN(t.rows - (uint32_t)page * L2_ROWS_PAGE, L2_ROWS_PAGE));
        } else {
            seq++;
            page = UINT64_MAX;
        }
        l2_discard(d);
        T_EQ_U64(lost_on_other(), live_flipped);
        T_EQ_U64(holes_of_other, 0);
    }
    T_CHECK(flipped != 0);
    finish();
}

static bool entry_counted(void *ctx, const l2_key *k, const void *value, size_t len,
                          const l2_meta *m)
{
    (void)k, (void)value, (void)len, (void)m;
    ++*(uint32_t *)ctx;
    return true;
}

/* Fill segment 1, of 128 KiB, with 60 keys and newer values of half of them; then go on until a
 * pass is due, or one segment more is full. */
static void fill_wide(bool due)
{
    same_size = true;
    begin(L2_DROP);
    cfg.seg_bytes = 2 * SEGMENT;
    cfg.bytes = SEGMENTS * cfg.seg_bytes;
    l2_dev_init(&dev);
    open_on(&dev);
    for (uint32_t i = 0; i < KEYS; i++) { change_key(i, false, true); }
    if (due) { /* a run begins within the segment */
        l2_discard(d);
        open_on(&dev);
    }
    for (uint32_t i = 0; due ? !l2_pass_due(d) : l2_seq_of(d, base_load_acq(&d->tail)) < 3; i++) {
        change_key(i % (KEYS / 2), false, true);
    }
}

static void end_wide(void)
{
    dev.bad_end = 0;
    l2_close(d);
    l2_dev_fini(&dev);
    same_size = false;
}

/* Let the last pages of segment 1, which are rows, be unreadable. */
static void rows_unreadable(uint32_t pages)
{
    dev.bad_end = 2 * cfg.seg_bytes;
    dev.bad_at = dev.bad_end - (uint64_t)pages * PAGE;
}

/* Return the entries that a scan passes. */
static uint32_t scanned(void)
{
    uint32_t seen = 0;
    uint64_t at = 0;
    while (l2_visit(d, generation_now, &at, 100, entry_counted, &seen) == CELLAR_OK) {}
    return seen;
}

/* A segment with a page of rows that cannot be read gives them by its records: one error in all. */
T_CASE(pages_of_rows_that_a_pass_cannot_read_leave_the_disk_on)
{
    for (uint32_t pages = 1; pages <= 5; pages++) {
        uint32_t found = 0;
        fill_wide(true);
        rows_unreadable(pages);
        (void)l2_tick(d, 0);
        T_CHECK(l2_seq_of(d, base_load_acq(&d->head)) > 1);
        for (uint32_t i = 0; i < KEYS; i++) { found += look(i) != 0; }
        T_EQ_U64(found, KEYS);
        T_CHECK(base_load_rlx(&d->n.io_errors) <= 1);
        T_EQ_U64(figures().offs, 0);
        T_EQ_U64(base_load_rlx(&d->lost_entries[L2_LOST_unread]), 0);
        end_wide();
    }
}

T_CASE(pages_of_rows_that_a_scan_cannot_read_leave_the_disk_on)
{
    for (uint32_t pages = 1; pages <= 5; pages++) {
        fill_wide(false);
        rows_unreadable(pages);
        T_EQ_U64(scanned(), KEYS);
        T_CHECK(base_load_rlx(&d->n.io_errors) <= 1);
        T_EQ_U64(figures().offs, 0);
        end_wide();
    }
}

/* A scan passes the entries of a lost page of rows, and makes no lost page below its place. */
T_CASE(scan_passes_entries_of_a_lost_page_of_rows)
{
    fill_wide(false);
    uint32_t reads = dev.calls[DEV_PREAD];
    T_EQ_U64(scanned(), KEYS);
    const uint32_t usual = dev.calls[DEV_PREAD] - reads;
    memset(l2_dev_find(&dev, "data.seg")->live + cfg.seg_bytes + l2_rows_at(&d->form, 0), 0, PAGE);
    reads = dev.calls[DEV_PREAD];
    T_EQ_U64(scanned(), KEYS);
    T_CHECK(dev.calls[DEV_PREAD] - reads < usual + 5 * L2_ROWS_PAGE);
    end_wide();
}

/* The rows of the open segment were in memory. So its page may cost all, but brings no old value,
 * unless it is the last one: nothing tells that the log had it. */
T_CASE(lost_page_after_a_kill_brings_no_older_value)
{
    uint32_t wide = 0;
    fill_and_end(false);
    for (size_t page = 0; page < SEGMENTS * SEGMENT; page += PAGE) {
        wide += page != last_page && lost_without(page, PAGE) > PAGE / LEAST_RECORD + 1;
    }
    T_CHECK(wide <= SEGMENT / PAGE);
    finish();
}

T_CASE(lost_header_costs_nothing_after_a_kill)
{
    fill_and_end(false);
    for (size_t at = 0; at < SEGMENTS * SEGMENT; at += SEGMENT) {
        T_EQ_U64(lost_without(at, HEADER), 0);
    }
    finish();
}

/* ---- a delete ---- */

static bool none_below; /* during a write the tier said that key 1 has nothing on disk */

static void look_below(void *ctx)
{
    const uint32_t i = 1;
    const l2_key k = key_of(&i);
    (void)ctx;
    none_below = none_below || l2_nothing(d, k.hash);
}

T_CASE(deleted_key_has_something_below_until_its_tombstone_is_written)
{
    start(L2_DROP);
    T_EQ_I64(put_key(1, 1, true), CELLAR_OK);
    const uint32_t i = 1;
    const l2_key k = key_of(&i);
    none_below = false;
    dev.hook = look_below;
    l2_invalidate(d, &k);
    dev.hook = NULL;
    T_CHECK(!none_below);
    T_CHECK(l2_nothing(d, k.hash));
    l2_discard(d);
    l2_dev_fini(&dev);
}

/* ---- failed syncs ---- */

/* Let the kernel drop pages that no sync made durable. */
static void pages_are_dropped(base_rng *r)
{
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    for (size_t at = 0; at < f->size; at += PAGE) {
        if (base_rng_below(r, 64) == 0) { memcpy(f->live + at, f->durable + at, PAGE); }
    }
}

static void commit(cellar_err want_err)
{
    T_EQ_I64(l2_commit(d), want_err);
    if (want_err == CELLAR_OK) { synced = changes; }
}

static void sync_fails_next(void)
{
    dev.fail_site = DEV_DATASYNC;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
}

/* Fail a sync. Then go on until commits succeed. */
static void sync_fails(base_rng *r, bool drops)
{
    some_changes(r, 300);
    change_key(0, false, true);
    sync_fails_next();
    commit(CELLAR_E_IO);
    commit(CELLAR_E_IO); /* the disk reports the error once */
    if (drops) { pages_are_dropped(r); }
    for (uint64_t n = base_rng_below(r, 20); n > 0; n--) {
        change_key((uint32_t)base_rng_below(r, KEYS), n % 5 == 0, n % 2 == 0);
    }
    (void)l2_tick(d, 0);
    if (figures().holes != 0) {
        for (uint32_t i = 0; i < KEYS; i++) { history[changes++] = (change){ i, 0 }; }
        state_is(changes);
    }
    some_changes(r, 300);
    commit(CELLAR_OK);
}

static void cut_now(base_rng *r)
{
    l2_dev_clone(&dev, &other, r);
    l2_discard(d);
    const l2_dev swap = dev;
    dev = other;
    other = swap;
    open_on(&dev);
}

static void failed_syncs(l2_level level, bool drops)
{
    base_rng r;
    uint32_t emptied = 0;
    base_rng_seed(&r, t_seed());
    for (uint32_t s = 0; s < 40 && !t_failed(); s++) {
        start(level);
        some_changes(&r, 2000);
        sync_fails(&r, drops);
        emptied += figures().holes != 0;
        cut_now(&r);
        T_CHECK(moment(synced) != UINT32_MAX);
        stop();
    }
    T_CHECK(drops ? emptied != 0 : emptied == 0);
}

T_CASE(bytes_of_a_failed_sync_are_stored_again) { failed_syncs(L2_ALWAYS, false); }
T_CASE(bytes_of_a_failed_periodic_sync_are_stored_again) { failed_syncs(L2_KEEP, false); }
/* The process dies before its store has stored them again. */
T_CASE(bytes_of_a_failed_sync_are_stored_again_by_the_next_open)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    for (uint32_t s = 0; s < 20 && !t_failed(); s++) {
        start(L2_ALWAYS);
        some_changes(&r, 2000);
        commit(CELLAR_OK);
        some_changes(&r, 300);
        change_key(0, false, true);
        sync_fails_next();
        commit(CELLAR_E_IO);
        l2_discard(d);
        open_on(&dev);
        const uint32_t at = moment(ensured);
        T_REQUIRE(at != UINT32_MAX);
        state_is(at);
        commit(CELLAR_OK);
        cut_now(&r);
        T_CHECK(moment(synced) != UINT32_MAX);
        stop();
    }
}

T_CASE(bytes_that_a_failed_sync_lost_end_all_that_is_older) { failed_syncs(L2_ALWAYS, true); }

/* Without syncs in between, places are used again: the log that SUPER knew is gone. */
T_CASE(state_of_a_sync_survives_a_power_cut_without_periodic_syncs)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    for (uint32_t s = 0; s < 10 && !t_failed(); s++) {
        start(L2_DROP);
        for (uint32_t n = 0; n < 6000; n++) {
            change_key((uint32_t)base_rng_below(&r, KEYS), n % 7 == 3, n % 3 == 0);
            if (n % 4 == 0) { (void)l2_tick(d, 0); }
        }
        T_EQ_I64(l2_sync(d), CELLAR_OK);
        cut_now(&r);
        T_EQ_U64(moment(changes), changes);
        stop();
    }
}

/* The changes since the sync may be there, or not: an older value must not come back. */
T_CASE(power_cut_after_changes_without_a_sync_leaves_nothing)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    for (uint32_t s = 0; s < 60 && !t_failed(); s++) {
        start(L2_DROP);
        some_changes(&r, 300);
        T_EQ_I64(l2_sync(d), CELLAR_OK);
        if (s % 4 == 1) { cut_now(&r); } /* an open alone changes nothing */
        if (s % 4 == 2) { l2_close(d); open_on(&dev); }
        if (s % 4 == 3) { /* a run at another level is killed */
            cfg.level = L2_KEEP;
            l2_close(d);
            open_on(&dev);
            change_key(2, false, true);
            l2_discard(d);
            cfg.level = L2_DROP;
            open_on(&dev);
            if (s % 8 == 3) { cut_now(&r); }
        }
        T_EQ_U64(moment(changes), changes);
        change_key(1, false, true);
        change_key(1, s % 2 == 0, true);
        cut_now(&r);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), 0); }
        stop();
    }
}

/* Put until a segment begins, or until there is no room. */
static void put_without_passes(uint64_t seq)
{
    uint32_t n = 0;
    while (base_load_acq(&d->tail) / SEGMENT < seq &&
           put_once(n % KEYS, changes + 1, true) == CELLAR_OK) {
        history[changes] = (change){ n++ % KEYS, changes + 1 };
        changes++;
    }
}

/* Passes wait for a change that needs their room: before it they are no write. */
static void passes_wait(l2_level before)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    begin(before);
    cfg.seg_count = 16;
    cfg.bytes = 16 * SEGMENT;
    l2_dev_init(&dev);
    open_on(&dev);
    put_without_passes(UINT64_MAX);
    T_EQ_I64(l2_flush(d, base_load_acq(&d->tail), 0), 0);
    if (before == L2_DROP) {
        T_EQ_I64(l2_sync(d), CELLAR_OK);
    } else {
        cfg.level = L2_DROP;
        l2_discard(d);
        open_on(&dev);
    }
    for (int i = 0; i < 100; i++) { (void)l2_tick(d, 0); }
    cut_now(&r);
    T_EQ_U64(moment(changes), changes);
    T_EQ_I64(put_once(0, changes + 1, true), CELLAR_DROPPED);
    T_EQ_I64(put_key(0, changes + 1, true), CELLAR_OK);
    stop();
}

T_CASE(passes_leave_the_state_of_a_sync) { passes_wait(L2_DROP); }
T_CASE(passes_behind_an_open_leave_what_another_level_kept) { passes_wait(L2_KEEP); }

/* All passes come late, so one place of the first round is used again before a header that tells of
 * their syncs is durable. The power cut takes the headers since, and nothing else. */
T_CASE(place_used_again_without_its_header_does_not_end_the_log)
{
    enum { segments = 16 };
    unsigned char header[segments][DEV_SECTOR];
    begin(L2_KEEP);
    cfg.seg_count = segments;
    cfg.bytes = segments * SEGMENT;
    l2_dev_init(&dev);
    open_on(&dev);
    put_without_passes(segments - 2);
    synced = changes;
    while (l2_pass_due(d)) { (void)l2_tick(d, 0); }
    const uint64_t since = base_load_acq(&d->synced) / SEGMENT + 1;
    for (size_t i = 0; i < segments; i++) {
        memcpy(header[i], l2_dev_find(&dev, "data.seg")->live + i * SEGMENT, DEV_SECTOR);
    }
    put_without_passes(UINT64_MAX);
    const uint64_t end = base_load_acq(&d->tail) / SEGMENT;
    T_CHECK(end > segments && base_load_acq(&d->synced) / SEGMENT + 1 == since);
    T_EQ_I64(l2_flush(d, base_load_acq(&d->tail), 0), 0);
    l2_dev_clone(&dev, &other, NULL);
    other.boot[15]++;
    for (uint64_t seq = since; seq <= end; seq++) {
        unsigned char *at = l2_dev_find(&other, "data.seg")->live + seq % segments * SEGMENT;
        memcpy(at, header[seq % segments], DEV_SECTOR);
    }
    l2_discard(d);
    open_on(&other);
    T_CHECK(moment(synced) != UINT32_MAX);
    l2_discard(d);
    finish();
}

/* ---- clocks ---- */

#define YEAR_MS (INT64_C(366) * 86400000)

static uint32_t warned;

static void count_warnings(cellar_log_level level, const char *module, cellar_err code,
                           const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)ctx;
    warned += strstr(text, "ahead of the last use") != NULL;
}

static void put_for(uint32_t i, int64_t ttl_ms)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = ms + ttl_ms, .user_flags = i + 1, .durable = true };
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
}

static bool lives(uint32_t i)
{
    char buf[8];
    size_t n = 0;
    l2_meta m;
    const l2_key k = key_of(&i);
    return l2_get(d, &k, buf, sizeof buf, &n, &m) == CELLAR_OK;
}

static void boots_at(int64_t wall_first, bool other_boot)
{
    l2_close(d);
    wall_first_ms = wall_first - ms;
    dev.boot[1] += other_boot;
    open_on(&dev);
}

static void clock_begin(void)
{
    begin(L2_DROP);
    base_log_init(&lines, &clock_now, count_warnings, NULL, BASE_LOG_WARNING);
    warned = 0;
    l2_dev_init(&dev);
    ms = 5000;
    open_on(&dev);
}

T_CASE(ttl_counts_all_runs_of_a_clock_that_begins_again)
{
    clock_begin();
    put_for(1, 100000);
    ms += 60000;
    const int64_t wall = wall_ms(NULL);
    l2_close(d);
    ms = 0;
    wall_first_ms = wall + 10000; /* between the runs */
    open_on(&dev);
    T_CHECK(lives(1));
    ms += 29000;
    T_CHECK(lives(1));
    ms += 2000;
    T_CHECK(!lives(1));
    stop();
}

T_CASE(wall_clock_that_was_ahead_does_not_stop_ttls)
{
    clock_begin();
    const int64_t wall = wall_ms(NULL);
    boots_at(wall + 10 * YEAR_MS, true);
    T_EQ_U64(warned, 1);
    put_for(1, 1000000);
    boots_at(wall + 1000, true);
    put_for(2, 100000);
    T_CHECK(lives(1));
    boots_at(wall + 90000, true);
    T_CHECK(lives(2));
    boots_at(wall + 102000, true);
    T_CHECK(!lives(2));
    T_CHECK(lives(1));
    T_EQ_U64(warned, 1);
    stop();
}

/* ---- segments for the device ---- */

static void start_large(l2_level level)
{
    begin(level);
    cfg.seg_count = 64;
    cfg.bytes = 64 * SEGMENT;
    cfg.memory_bytes = 16 << 20;
    l2_dev_init(&dev);
    open_on(&dev);
}

static uint64_t seq_now(void) { return l2_seq_of(d, base_load_acq(&d->tail)); }

static uint32_t handed_over;

static void count_writeback(void *ctx, base_vfs_file *f, uint64_t at, uint64_t n)
{
    (void)ctx, (void)f, (void)at;
    handed_over += n == SEGMENT;
}

/* Else bytes that a sync has to write gather while the disk is slower than the puts. */
T_CASE(writer_hands_segments_over_once_sixteen_wait_for_the_thread)
{
    for (uint32_t level = L2_DROP; level <= L2_ALWAYS; level++) {
        start_large((l2_level)level);
        vfs.writeback = count_writeback;
        const uint64_t seq = seq_now();
        handed_over = 0;
        for (uint32_t i = 1000; seq_now() < seq + 16; i++) {
            T_EQ_I64(put_once(i, 7, false), CELLAR_OK);
        }
        T_EQ_U64(handed_over, 0);
        for (uint32_t i = 1000; seq_now() < seq + 19; i++) {
            T_EQ_I64(put_once(i, 8, false), CELLAR_OK);
        }
        const uint32_t by_writer = level == L2_DROP ? 0 : 3;
        T_EQ_U64(handed_over, by_writer);
        (void)l2_tick(d, 0);
        T_EQ_U64(handed_over, by_writer + 19);
        stop();
    }
}

static void fill_a_segment(void *ctx, base_vfs_file *f, uint64_t at, uint64_t n)
{
    const uint64_t seq = seq_now();
    count_writeback(ctx, f, at, n);
    for (uint32_t i = 1000; seq_now() == seq; i++) {
        T_REQUIRE(put_once(i, 9, false) == CELLAR_OK);
    }
}

/* Syncs and passes wait for the tick. */
T_CASE(segment_that_fills_during_a_hand_over_waits_for_the_next_tick)
{
    start_large(L2_DROP);
    const uint64_t seq = seq_now();
    for (uint32_t i = 1000; seq_now() < seq + 6; i++) {
        T_EQ_I64(put_once(i, 7, false), CELLAR_OK);
    }
    handed_over = 0;
    vfs.writeback = fill_a_segment;
    (void)l2_tick(d, 0);
    T_EQ_U64(handed_over, 6);
    stop();
}

T_ONE_THREAD;
T_MAIN("log_disk")
