/* SPDX-License-Identifier: MIT
 *
 * Aim:    a call of the disk that fails at one moment brings no older value back later, and the log
 *         keeps the room that it needs to go on.
 * Method: a store of 12 segments of 64 KiB on an in-memory disk. Pages become zero for one open,
 *         and have their bytes again for the next one. Calls come in the middle of a write. */
#include "l2/control.h"
#include "l2/index.h"
#include "l2/log.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/reopen.h"
#include "l2/rows.h"
#include "l2/segment.h"
#include "l2/super.h"
#include "tests/support/log_kit.h"

#define SEGMENTS ((size_t)12)
#define SEGMENT ((size_t)65536)
#define PAGE ((size_t)4096)
#define OLD 30u /* keys 0..OLD - 1 are put once */

static unsigned char kept_bytes[SEGMENT];

static l2_dev_file *data_file(void)
{
    l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    T_REQUIRE(f != NULL && f->size >= SEGMENTS * SEGMENT);
    return f;
}

static void zero_bytes(uint64_t lsn, size_t n)
{
    unsigned char *at = data_file()->live + lsn % (SEGMENTS * SEGMENT);
    memcpy(kept_bytes, at, n);
    memset(at, 0, n);
}

static void bytes_again(uint64_t lsn, size_t n)
{
    memcpy(data_file()->live + lsn % (SEGMENTS * SEGMENT), kept_bytes, n);
}

static void start_at(l2_level level)
{
    begin(level);
    l2_dev_init(&dev);
    open_on(&dev);
}

static void start(void) { start_at(L2_DROP); }

static void fail_once(int site)
{
    dev.fail_site = site;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
}

static void stop(void)
{
    l2_close(d);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
}

static void kill_and_open(void) { l2_discard(d); open_on(&dev); }

#define STORE(fn) T_WITHIN(fn, start(), stop())

static uint64_t tail(void) { return base_load_acq(&d->tail); }
static uint64_t seq_now(void) { return l2_seq_of(d, tail()); }

/* Put keys that replace each other until segment `seq` begins. */
static void fill_to(uint64_t seq)
{
    for (uint32_t n = 0; seq_now() < seq; n++) { change_key(OLD + n % OLD, false, true); }
}

static void put_old(void)
{
    for (uint32_t i = 0; i < OLD; i++) { change_key(i, false, true); }
}

static void start_old(void)
{
    start();
    put_old();
}

/* A store with the keys that are put once. */
#define OLD_KEYS(fn) T_WITHIN(fn, start_old(), stop())

static uint32_t old_found(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < OLD; i++) { n += look(i) != 0; }
    return n;
}

static void end_key(uint32_t i)
{
    const l2_key k = key_of(&i);
    l2_invalidate(d, &k);
}

static void end_old(void)
{
    for (uint32_t i = 0; i < OLD; i++) { end_key(i); }
}

/* ---- room ---- */

static uint32_t control_bytes = 16;

/* Append controls until there is no room for the use. Each is dead when it is appended. */
static l2_took fill_use(l2_use use, uint64_t *most)
{
    unsigned char value[16] = { L2_CTL_FLOOR };
    uint64_t lsn = 0, end = 0;
    l2_took took;
    do {
        took = l2_control_try(d, use, L2_KIND_CONTROL, 0, value, control_bytes, &lsn, &end);
        *most += took == L2_TOOK;
    } while (took == L2_TOOK || l2_make_way(d, took, L2_NO_LIMIT_NS) == L2_TOOK);
    return took;
}

static l2_took fill_all(uint64_t *most) { return fill_use(L2_USE_COPY, most); }

T_CASE_ON(segment_that_has_no_place_does_not_begin, STORE)
{
    uint64_t n = 0;
    T_EQ_I64(fill_all(&n), L2_NO_ROOM);
    const uint64_t seq = seq_now();
    const uint64_t first = l2_seq_of(d, base_load_acq(&d->head));
    /* An append may have seen the last free place, which another thread took. */
    for (int i = 0; i < 3; i++) { (void)l2_make_way(d, L2_SEG_FULL, L2_WAIT_NS); }
    sync_role_take(&d->writing);
    for (uint64_t s = seq; s < seq + 3; s++) { (void)l2_seal(d, s, 0); }
    l2_writing_drop(d);
    T_CHECK(seq_now() < first + SEGMENTS);
    T_CHECK(l2_segs_free(d, tail()) < SEGMENTS);
}

static uint32_t disk_calls;

static void count_call(void *ctx) { (void)ctx; T_REQUIRE(++disk_calls < 10); }

/* Another thread wrote the buffer after an append found it full. */
T_CASE_ON(buffer_that_was_written_meanwhile_is_not_written_again, OLD_KEYS)
{
    T_EQ_I64(l2_flush(d, tail(), L2_NO_LIMIT_NS), 0);
    disk_calls = 0;
    dev.hook = count_call;
    T_EQ_I64(l2_make_way(d, L2_BUF_FULL, L2_NO_LIMIT_NS), L2_TOOK);
    T_EQ_I64(l2_flush(d, UINT64_MAX, L2_NO_LIMIT_NS), 0);
    dev.hook = NULL;
    T_EQ_U64(disk_calls, 0);
}

/* ---- opens ---- */

T_CASE_ON(hole_of_one_open_ends_older_records_for_all_opens, OLD_KEYS)
{
    fill_to(seq_now() + 2);
    const uint64_t lost = seq_now() * SEGMENT;
    fill_to(seq_now() + 2);
    zero_bytes(lost, SEGMENT);
    kill_and_open();
    T_EQ_U64(old_found(), 0);
    end_old(); /* nothing to log */
    l2_discard(d);
    bytes_again(lost, SEGMENT);
    open_on(&dev);
    T_EQ_U64(old_found(), 0);
}

static void put_filler(uint32_t i)
{
    unsigned char value[BYTES] = { 1 };
    const l2_key k = { &i, sizeof i, 9, base_hash(l2_hash_key(d), 9, &i, sizeof i) };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    T_REQUIRE(l2_put(d, &k, value, sizeof value, &m, NULL) == CELLAR_OK);
}

/* The control that clears a namespace is alone in pages that become zero. */
static uint64_t clear_between(void)
{
    l2_namespace ns = { .id = 2, .generation = 9 };
    T_EQ_I64(l2_namespace_set(d, &ns, "filler", 6, NULL), CELLAR_OK);
    put_old();
    for (uint32_t i = 0; i < OLD; i++) { put_filler(i); }
    ns = (l2_namespace){ .id = 1, .generation = 10 };
    const uint64_t lsn = tail();
    T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
    const uint64_t seq = seq_now() + 2;
    for (uint32_t i = 0; seq_now() < seq; i++) { put_filler(i % OLD); }
    return lsn;
}

/* Namespaces of older controls survive it. */
T_CASE_ON(clear_with_a_control_that_cannot_be_read_is_not_undone, STORE)
{
    l2_namespace ns = { .id = 0 };
    const uint64_t lsn = clear_between() & ~(uint64_t)(PAGE - 1);
    zero_bytes(lsn, PAGE);
    kill_and_open();
    T_EQ_U64(old_found(), 0);
    kill_and_open();
    T_CHECK(l2_namespace_find(d, "filler", 6, &ns) && ns.generation == 9);
}

/* Parts and images have generation 0. */
T_CASE_ON(records_without_a_generation_leave_the_next_one, STORE)
{
    const uint32_t i = 1;
    const l2_namespace ns = { .id = 2, .generation = (UINT64_C(1) << 31) + 5 };
    T_EQ_I64(l2_namespace_set(d, &ns, "late", 4, NULL), CELLAR_OK);
    const uint64_t next = l2_next_generation(d);
    T_EQ_U64(next, ns.generation + 1);
    const l2_key k = { &i, sizeof i, 0, base_hash(l2_hash_key(d), 0, &i, sizeof i) };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    T_EQ_I64(l2_put(d, &k, "part", 4, &m, NULL), CELLAR_OK);
    kill_and_open();
    T_EQ_U64(l2_next_generation(d), next);
}

/* The rows of one segment fail page by page. Its records give them again. */
T_CASE_ON(open_that_cannot_read_some_pages_does_not_turn_the_disk_off, OLD_KEYS)
{
    l2_trailer t;
    const uint64_t seq = seq_now();
    fill_to(seq + 3);
    T_REQUIRE(l2_trailer_find(d, seq + 1, &t));
    const uint32_t pages = l2_row_pages(t.rows);
    dev.bad_end = (seq + 2) * SEGMENT;
    dev.bad_at = dev.bad_end - pages * PAGE;
    cfg.off_errors = pages + 1; /* also the first read of the rows fails, and one of the segment */
    kill_and_open();
    T_EQ_U64(base_load_acq(&d->disk), L2_DISK_OK);
    T_EQ_U64(old_found(), OLD);
    dev.bad_end = 0;
    fail_once(DEV_PREAD); /* the errors of the open do not count */
    (void)look(0);
    T_EQ_U64(dev.fail_at, 0);
    T_EQ_U64(base_load_acq(&d->disk), L2_DISK_OK);
}

/* After a kill an open writes all since the last sync again. A page that it cannot read has records
 * that replaced older ones. Its rows are read. */
T_CASE(unreadable_page_behind_the_last_sync_costs_its_records)
{
    begin(L2_KEEP);
    cfg.off_errors = L2_ERRORS_MOST;
    l2_dev_init(&dev);
    open_on(&dev);
    put_old();
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    fill_to(seq_now() + 1);
    const uint64_t from = tail();
    for (uint32_t i = 0; i < OLD; i++) { change_key(i, i % 3 == 0, false); }
    fill_to(seq_now() + 2);
    T_CHECK(base_load_acq(&d->synced) <= from);
    dev.bad_at = from % (SEGMENTS * SEGMENT) / PAGE * PAGE;
    dev.bad_end = dev.bad_at + PAGE;
    for (uint32_t round = 0; round < 4; round++) {
        uint32_t found = 0, lost = 0;
        if (round == 2) { dev.boot[0]++; }
        if (round == 3) { dev.bad_end = 0; }
        kill_and_open();
        for (uint32_t i = 0; i < KEYS; i++) {
            const uint32_t seen = look(i);
            T_CHECK(seen == last[i] || seen == 0);
            found += seen != 0;
            lost += seen != last[i];
        }
        T_CHECK(found >= OLD && (lost != 0) == (round < 3));
    }
    stop();
}

static uint64_t page_at, page_reads, data_reads; /* place in data.seg; reads of its page; of all */

/* Fail all reads of a page but the first. */
static int pread_page_once(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at,
                           size_t *done)
{
    const bool reads = at < page_at + PAGE && at + n > page_at;
    page_reads += reads;
    data_reads++;
    return reads && page_reads > 1 ? EIO : l2_dev_pread(ctx, f, buf, n, at, done);
}

/* Put `bytes`. Segments are longer than what an open has of them in memory. */
static void start_long_segments(l2_level level, uint64_t bytes)
{
    begin(level);
    l2_dev_init(&dev);
    cfg.seg_bytes = 8 * SEGMENT;
    cfg.bytes = SEGMENTS * 8 * SEGMENT;
    cfg.memory_bytes = 4 << 20;
    cfg.off_errors = L2_ERRORS_MOST;
    open_on(&dev);
    T_REQUIRE(d->work_bytes < bytes);
    const uint64_t end = base_load_acq(&d->head) + bytes;
    for (uint32_t n = 0; tail() < end; n++) { put_filler(n); }
    generation_now = 3;
}

static void kill_and_open_reading(uint64_t page)
{
    int e;
    l2_discard(d);
    page_at = page;
    page_reads = data_reads = 0;
    dev.locked = false;
    vfs.pread = pread_page_once;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
    vfs.pread = l2_dev_pread;
}

T_CASE(open_reads_the_page_in_which_the_log_goes_on_once)
{
    start_long_segments(L2_DROP, 3 * SEGMENT);
    put_old();
    kill_and_open_reading(tail() / PAGE * PAGE);
    T_EQ_U64(old_found(), OLD);
    change_key(OLD, false, true);
    T_EQ_U64(old_found(), OLD);
    stop();
}

/* The bytes since the last sync are read page by page as far as the page that fails. */
T_CASE(open_reads_pieces_again_behind_a_page_that_cannot_be_read)
{
    start_long_segments(L2_KEEP, 9 * SEGMENT);
    dev.bad_at = base_load_acq(&d->head) % cfg.bytes + 2 * PAGE;
    dev.bad_end = dev.bad_at + PAGE;
    kill_and_open_reading(UINT64_MAX / 2);
    T_CHECK(data_reads < 8 * SEGMENT / PAGE);
    dev.bad_end = 0;
    stop();
}

/* The disk works again, but for the page of the log that is read first. */
T_CASE_ON(probe_reads_another_page_where_one_is_bad, STORE)
{
    cfg.off_errors = 1;
    put_old();
    fill_to(seq_now() + 2);
    kill_and_open();
    fail_once(DEV_PREAD);
    (void)look(0);
    T_CHECK(base_load_acq(&d->disk) != L2_DISK_OK);
    dev.bad_at = base_load_acq(&d->head) % (SEGMENTS * SEGMENT);
    dev.bad_end = dev.bad_at + PAGE;
    T_REQUIRE(dev.bad_at >= 3 * PAGE); /* SUPER has no such bytes */
    ms += 60000;
    (void)l2_tick(d, 0);
    T_EQ_U64(base_load_acq(&d->disk), L2_DISK_OK);
    dev.bad_end = 0;
}

/* A power cut at MANUAL after a close: either copy of SUPER says that the log is whole. */
T_CASE(close_is_found_by_either_copy_of_super)
{
    for (uint64_t page = 0; page < 2; page++) {
        start();
        put_old();
        T_EQ_I64(l2_end(d), CELLAR_OK);
        l2_close(d);
        l2_dev_find(&dev, "SUPER")->live[page * PAGE + 100] ^= 1;
        dev.boot[0]++;
        open_on(&dev);
        T_EQ_U64(old_found(), OLD);
        stop();
    }
}

/* A SUPER that cannot be stored does not count for passes. */
T_CASE(pass_goes_on_behind_a_super_that_is_stored)
{
    start_at(L2_KEEP);
    const uint64_t before = d->walks_from;
    fail_once(DEV_PWRITE);
    dev.fail_sticky = true;
    d->super.synced = tail();
    T_CHECK(l2_super_store(d) != 0);
    T_EQ_U64(d->walks_from, before);
    dev.fail_at = 0;
    T_EQ_I64(l2_super_store(d), 0);
    T_EQ_U64(d->walks_from, tail());
    stop();
}

T_CASE_ON(open_reads_the_other_copy_of_super, STORE)
{
    fill_to(seq_now() + 1);
    put_old();
    for (uint64_t page = 0; page < 2; page++) {
        dev.bad_at = page * PAGE;
        dev.bad_end = dev.bad_at + PAGE;
        kill_and_open();
        T_EQ_U64(old_found(), OLD);
    }
    dev.bad_end = 0;
}

/* ---- a tier that is closed ---- */

static void (*in_write)(void); /* runs once, before the next write of data.seg */

static void at_disk_call(void *ctx)
{
    void (*now)(void) = in_write;
    (void)ctx;
    in_write = NULL;
    if (now != NULL) { now(); }
}

/* Close the tier as a change without room does, and open it again in a round of the worker. */
static void close_and_reopen(void (*meanwhile)(void))
{
    T_EQ_I64(dev.bell, false);
    T_EQ_I64(vfs.bell(vfs.ctx, d->marker_id, BASE_VFS_BELL_MAKE), 0);
    base_store_rel(&d->owed_lsn, UINT64_MAX);
    base_store_sc(&d->closed, 1u);
    in_write = meanwhile;
    dev.hook = at_disk_call;
    (void)l2_tick(d, 0);
    dev.hook = NULL;
    T_CHECK(in_write == NULL && !l2_is_closed(d) && !dev.bell);
}

/* As a put that looked at `closed` before the tier closed. */
static void put_late(void)
{
    base_store_sc(&d->closed, 0u);
    T_EQ_I64(put_once(1, 7, false), CELLAR_OK);
    base_store_sc(&d->closed, 1u);
}

T_CASE_ON(put_during_a_reopen_is_ended_by_a_later_delete, OLD_KEYS)
{
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    close_and_reopen(put_late);
    end_key(1);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    kill_and_open();
    T_EQ_U64(look(1), 0);
    T_EQ_U64(old_found(), 0);
}

/* The tier closes while a put is written. */
static void close_now(void)
{
    T_EQ_I64(vfs.bell(vfs.ctx, d->marker_id, BASE_VFS_BELL_MAKE), 0);
    base_store_rel(&d->owed_lsn, UINT64_MAX);
    base_store_sc(&d->closed, 1u);
}

T_CASE_ON(durable_put_is_refused_while_the_next_open_begins_empty, STORE)
{
    in_write = close_now;
    dev.hook = at_disk_call;
    T_EQ_I64(put_once(1, 7, true), CELLAR_DROPPED);
    dev.hook = NULL;
    kill_and_open();
    T_EQ_U64(look(1), 0);
}

static void clear_late(void)
{
    const l2_namespace ns = { .id = 1, .generation = 10 };
    T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
}

/* A control that was logged while the tier was closed is in the buffer when it opens. */
T_CASE_ON(marker_stays_until_controls_of_a_closed_tier_are_written, OLD_KEYS)
{
    l2_namespace ns = { .id = 0 };
    close_now();
    in_write = clear_late;
    dev.hook = at_disk_call;
    l2_reopen(d);
    dev.hook = NULL;
    T_CHECK(in_write == NULL && !l2_is_closed(d) && !dev.bell);
    kill_and_open();
    T_CHECK(l2_namespace_find(d, "all", 3, &ns));
    T_EQ_U64(ns.generation, 10);
}

/* The words of a closed tier leave before its FLOOR is durable. */
T_CASE_ON(closed_tier_does_not_say_that_it_lacks_a_key, OLD_KEYS)
{
    const uint32_t i = 1;
    const l2_key k = key_of(&i);
    T_CHECK(!l2_nothing(d, k.hash));
    close_now();
    l2_index_sweep(d, false);
    T_CHECK(!l2_nothing(d, k.hash));
    base_store_sc(&d->closed, 0u);
    T_CHECK(l2_nothing(d, k.hash));
    base_store_sc(&d->closed, 1u);
}

/* ---- failed writes ---- */

T_CASE_ON(pass_that_fails_makes_no_place_free, OLD_KEYS)
{
    while (!l2_pass_due(d)) { change_key(OLD, false, true); }
    fail_once(DEV_PWRITE);
    const uint64_t head = base_load_acq(&d->head);
    (void)l2_tick(d, 0);
    T_EQ_U64(dev.fail_at, 0);
    T_EQ_U64(base_load_acq(&d->head), head);
    (void)l2_tick(d, 0);
    T_CHECK(base_load_acq(&d->head) > head);
    T_EQ_U64(old_found(), OLD);
}

T_CASE_ON(record_of_a_failed_write_is_written_by_the_next_round, STORE)
{
    T_EQ_I64(put_once(1, 7, false), CELLAR_OK);
    fail_once(DEV_PWRITE);
    (void)l2_tick(d, 0);
    T_EQ_U64(dev.fail_at, 0);
    T_CHECK(base_load_acq(&d->written) < tail());
    (void)l2_tick(d, 0);
    T_EQ_U64(base_load_acq(&d->written), tail());
}

/* The sync of the SUPER that names data.new fails, though the disk has its bytes. */
static void change_of_the_size_fails(void)
{
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    fail_once(DEV_DATASYNC);
    dev.fail_at = 2; /* data.new, SUPER */
    T_EQ_I64(l2_resize(d, L2_BYTES_MIN), CELLAR_E_IO);
    T_EQ_U64(dev.fail_at, 0);
    T_CHECK(l2_dev_find(&dev, "data.new") != NULL);
}

T_CASE_ON(file_of_a_change_of_the_size_that_failed_goes_with_the_next_super, OLD_KEYS)
{
    change_of_the_size_fails();
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_CHECK(l2_dev_find(&dev, "data.new") == NULL);
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
}

/* The next change fails to store another SUPER. */
T_CASE_ON(file_that_super_may_name_stays_until_super_names_another, OLD_KEYS)
{
    change_of_the_size_fails();
    T_CHECK(base_load_acq(&d->doubt) != 0);
    dev.fail_sticky = true;
    fail_once(DEV_PWRITE);
    T_EQ_I64(l2_resize(d, L2_BYTES_MIN), CELLAR_E_IO);
    dev.fail_sticky = false;
    dev.fail_at = 0;
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
}

/* ---- room that is left ---- */

/* Put without a round of the worker until there is no room. Return how often that went well. */
static uint32_t put_all(void)
{
    uint32_t n = 0;
    while (put_once(OLD + n % OLD, 7, true) == CELLAR_OK) { n++; }
    return n;
}

T_CASE_ON(puts_leave_segments_to_controls_and_controls_leave_one_to_copies, STORE)
{
    uint64_t n = 0, copies = 0;
    T_CHECK(put_all() > 100);
    const uint64_t seq = seq_now();
    const unsigned char value[16] = { L2_CTL_FLOOR };
    while (seq_now() == seq) { (void)l2_control_log(d, value, sizeof value); }
    T_EQ_I64(put_once(1, 7, true), CELLAR_DROPPED);
    T_EQ_I64(fill_use(L2_USE_KEEP, &n), L2_NO_ROOM);
    T_CHECK(n > 30);
    T_EQ_U64(l2_segs_free(d, tail()), L2_KEEP_LEAVES);
    T_CHECK(tail() % SEGMENT <= SEGMENT / L2_KEEP_PART); /* the rest is for copies */
    T_EQ_I64(fill_all(&copies), L2_NO_ROOM);
    T_CHECK(copies > 400);
    T_EQ_U64(l2_segs_free(d, tail()), 0);
    T_CHECK(tail() % SEGMENT <= SEGMENT / L2_KEEP_PART); /* the rest is for FLOORs */
}

/* The shortest records use up the rows of a segment before its bytes. */
T_CASE(log_without_room_for_changes_goes_on)
{
    for (control_bytes = 16; control_bytes >= 8; control_bytes -= 8) {
        uint64_t n = 0;
        start();
        for (uint32_t id = 2; id < 9; id++) {
            const l2_namespace ns = { .id = id, .generation = 100 + id };
            T_EQ_I64(l2_namespace_set(d, &ns, (const char *)&id, sizeof id, NULL), CELLAR_OK);
        }
        put_old();
        (void)put_all();
        T_EQ_I64(fill_all(&n), L2_NO_ROOM);
        for (uint32_t i = 0; i < 2 * SEGMENTS; i++) { (void)l2_tick(d, 0); }
        T_CHECK(l2_segs_free(d, tail()) > L2_PUT_LEAVES);
        T_EQ_I64(put_once(1, 7, true), CELLAR_OK);
        stop();
    }
    control_bytes = 16;
}

T_CASE_ON(log_without_room_opens_after_a_kill, OLD_KEYS)
{
    uint64_t n = 0;
    (void)put_all();
    T_EQ_I64(fill_all(&n), L2_NO_ROOM);
    T_EQ_I64(l2_flush(d, tail(), L2_NO_LIMIT_NS), 0);
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
    T_EQ_I64(put_key(1, 7, true), CELLAR_OK);
}

/* Each try to pass takes room for the copies: those of the try before are not made again. */
T_CASE_ON(failed_passes_without_room_drop_nothing, OLD_KEYS)
{
    (void)put_all();
    dev.fail_sticky = true;
    for (uint32_t i = 0; i < 5; i++) {
        fail_once(DEV_PWRITE);
        (void)l2_tick(d, 0);
        dev.fail_at = 0;
    }
    dev.fail_sticky = false;
    ms += 86400000; /* the disk may be off until then */
    for (uint32_t i = 0; i < SEGMENTS; i++) { (void)l2_tick(d, 0); }
    T_EQ_U64(old_found(), OLD);
    T_EQ_I64(put_key(1, 7, true), CELLAR_OK);
}

/* ---- tombstones ---- */

#define ENDED 8000u /* keys that were put and deleted behind the old ones */

/* All entries have a place in the index, until tombstones take it during an open. */
static void end_many(void)
{
    begin(L2_DROP);
    l2_dev_init(&dev);
    cfg.seg_count = 48;
    cfg.bytes = 48 * SEGMENT;
    cfg.avg_object_bytes = 4096;
    open_on(&dev);
    put_old();
    T_CHECK(d->index.per < 32);
    for (uint32_t i = 0; i < ENDED; i++) {
        const uint32_t key = 1000 + i;
        const l2_key k = key_of(&key);
        T_EQ_I64(put_once(key, 1, false), CELLAR_OK);
        l2_invalidate(d, &k);
    }
    T_EQ_U64(l2_seq_of(d, base_load_acq(&d->head)), 1); /* nothing was passed */
}

static uint32_t ended_found(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ENDED; i++) { n += look(1000 + i) != 0; }
    return n;
}

T_CASE(tombstones_of_an_open_take_no_place_of_an_older_entry)
{
    end_many();
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
    T_EQ_U64(ended_found(), 0);
    T_CHECK(!l2_lacks_words(d));
    stop();
}

/* Without memory for the tombstones entries lose their places, and no deleted one comes back. */
T_CASE(open_without_memory_for_tombstones_brings_no_deleted_entry)
{
    end_many();
    const uint64_t used = base_load_rlx(&account.used);
    l2_discard(d);
    base_account_init(&account, used + SEGMENT + 48 * 1024, NULL);
    open_on(&dev);
    T_CHECK(l2_lacks_words(d));
    T_EQ_U64(ended_found(), 0);
    end_old(); /* each has a tombstone, with a word or without */
    l2_discard(d);
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    open_on(&dev);
    T_EQ_U64(old_found(), 0);
    T_EQ_U64(ended_found(), 0);
    stop();
}

/* ---- lost pages ---- */

/* The oldest segment has records of one run, and the rows of later ones name a second run. */
T_CASE_ON(lost_header_of_the_oldest_segment_costs_no_run, OLD_KEYS)
{
    const uint64_t first = base_load_acq(&d->head);
    fill_to(seq_now() + 2);
    kill_and_open();
    fill_to(seq_now() + 2);
    T_EQ_U64(base_load_acq(&d->head), first);
    zero_bytes(first, L2_HEAD_BYTES);
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
}

/* The place of the segment that begins next has the header of a dead end. */
T_CASE_ON(trailer_of_the_segment_just_full_is_not_that_of_a_dead_end, STORE)
{
    l2_trailer t;
    uint64_t lsn = 0, end = 0;
    const unsigned char value[16] = { L2_CTL_FLOOR };
    while (l2_control_try(d, L2_USE_KEEP, L2_KIND_CONTROL, 0, value, sizeof value, &lsn, &end) !=
           L2_SEG_FULL) {
        T_EQ_I64(l2_flush(d, end, L2_NO_LIMIT_NS), 0);
    }
    T_EQ_I64(l2_make_way(d, L2_SEG_FULL, L2_NO_LIMIT_NS), L2_TOOK);
    const uint64_t seq = seq_now();
    const l2_head dead = { seq, 1, 0, { seq - 1, 1, 5, 4096, 1 } };
    unsigned char *at = data_file()->live + seq * SEGMENT % (SEGMENTS * SEGMENT);
    T_EQ_U64(base_load_acq(&d->written), seq * SEGMENT);
    l2_head_write(&d->form, at, &dead);
    T_CHECK(l2_trailer_find(d, seq - 1, &t));
    T_CHECK(t.rows != 5 && t.run == d->form.epoch);
}

T_CASE_ON(damaged_trailer_and_that_of_another_segment_are_refused, STORE)
{
    l2_trailer t;
    fill_to(5);
    unsigned char *end = data_file()->live + 4 * SEGMENT - L2_TRAILER_BYTES;
    zero_bytes(4 * SEGMENT, L2_HEAD_BYTES); /* it tells the trailer, too */
    T_CHECK(l2_trailer_find(d, 3, &t));
    end[L2_TRAILER_BYTES - 1] ^= 1;
    T_CHECK(!l2_trailer_find(d, 3, &t));
    memcpy(end, end - SEGMENT, L2_TRAILER_BYTES);
    T_CHECK(!l2_trailer_find(d, 3, &t));
}

/* A page of rows that cannot be read in a pass costs the live bytes of its own words. */
T_CASE_ON(pass_with_a_lost_page_takes_the_live_bytes_of_the_others, STORE)
{
    for (uint32_t i = 0; seq_now() == 1; i++) {
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
        const uint32_t key = 1000 + i;
        const l2_key k = key_of(&key);
        T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
    }
    const uint64_t live = base_load_rlx(&d->live_bytes);
    d->cfg.move_pct = 0; /* what is live leaves */
    while (!l2_pass_due(d)) { change_key(OLD, false, true); }
    zero_bytes(SEGMENT + l2_rows_at(&d->form, 0), PAGE); /* of segment 1 */
    zero_bytes(SEGMENT + L2_HEAD_BYTES, 8); /* nor can rows be made of the records */
    (void)l2_tick(d, 0);
    T_EQ_U64(l2_seq_of(d, base_load_acq(&d->head)), 2);
    T_CHECK(live > 400 * 40 && base_load_rlx(&d->live_bytes) < live * 2 / 3);
}

static bool count_entry(void *ctx, const l2_key *k, const void *value, size_t len,
                        const l2_meta *m)
{
    (void)k, (void)value, (void)len, (void)m;
    ++*(uint32_t *)ctx;
    return true;
}

/* A damaged head may name any length. ASan sees a key behind the buffer. */
T_CASE(scan_reads_no_key_beyond_what_it_has_of_a_record)
{
    static const unsigned char value[200000];
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    const l2_rec long_key = { .kind = L2_KIND_PUT, .generation = GENERATION, .klen = UINT16_MAX,
                              .ext = UINT8_MAX, .vlen = 1 };
    uint64_t at = 0;
    uint32_t count = 0;
    begin(L2_DROP);
    l2_dev_init(&dev);
    cfg.seg_bytes = 8 * SEGMENT;
    cfg.bytes = SEGMENTS * cfg.seg_bytes;
    cfg.memory_bytes = 64 << 20;
    open_on(&dev);
    const uint64_t lsn = tail();
    for (uint32_t i = 0; i < 8; i++) {
        const l2_key k = key_of(&i);
        T_EQ_I64(l2_put(d, &k, value, sizeof value, &m, NULL), CELLAR_OK);
        T_CHECK(i != 0 || l2_indexed_at(d, l2_mix(k.hash), lsn));
    }
    T_CHECK(base_load_acq(&d->written) == tail() && lsn < d->base);
    l2_rec_begin(data_file()->live + lsn % l2_size(d), &long_key);
    T_EQ_I64(l2_visit(d, GENERATION, &at, 1000, count_entry, &count), CELLAR_MISS);
    T_EQ_U64(count, 7);
    stop();
}

T_CASE_ON(copy_below_a_floor_is_refused, OLD_KEYS)
{
    uint64_t lsn = 0;
    const l2_record r = { .rec = { .kind = L2_KIND_PUT, .generation = GENERATION, .klen = 4,
                                   .bytes = L2_RECORD_HEAD + 4 },
                          .kind = L2_KIND_PUT, .hash = 1, .key = "key" };
    const uint64_t count = base_load_sc(&d->invalidations.count);
    const l2_terms below = { count, NULL, 0, tail() - 1 }, above = { count, NULL, 0, tail() };
    l2_floor_to(d, tail());
    T_EQ_I64(l2_append(d, L2_USE_COPY, &r, &below, &lsn), L2_IS_OLD);
    T_EQ_I64(l2_append(d, L2_USE_COPY, &r, &above, &lsn), L2_TOOK);
}

/* Faulty sequence: data.seg is cut, and an open fails behind the call that gives it its size again.
 * The next open finds a file of the right size, without the changes behind the cut. */
T_CASE(cut_file_is_not_believed_after_an_open_that_failed)
{
    for (uint64_t nth = 1; nth < 60 && !t_failed(); nth++) {
        start();
        for (uint32_t i = 0; i < 2 * KEYS; i++) { change_key(i % KEYS, false, true); }
        const size_t end = SEGMENT + (size_t)(tail() % SEGMENT) / 2;
        T_REQUIRE(seq_now() == 1);
        l2_discard(d);
        data_file()->size = end;
        dev.locked = false;
        dev.fail_site = -1;
        dev.fail_errno = EIO;
        dev.fail_at = nth;
        dev.fail_sticky = true;
        int e = 0;
        if (l2_open(&cfg, &d, &e) == CELLAR_OK) { l2_discard(d); }
        dev.fail_at = 0;
        open_on(&dev);
        for (uint32_t i = 0; i < KEYS; i++) {
            const uint32_t now = look(i);
            T_CHECK(now == 0 || now == last[i]);
        }
        stop();
    }
}

/* ---- pages that cannot be read ---- */

static void bad_page(uint64_t lsn)
{
    T_REQUIRE(lsn % (SEGMENTS * SEGMENT) >= SEGMENT); /* SUPER has no such bytes */
    dev.bad_at = lsn % (SEGMENTS * SEGMENT) / PAGE * PAGE;
    dev.bad_end = dev.bad_at + PAGE;
}

static uint64_t lost_unread(void) { return base_load_rlx(&d->lost_entries[L2_LOST_unread]); }

/* Return the live keys of 0..OLD - 1 with a record in a page. */
static uint32_t old_in_page(uint64_t lsn)
{
    const uint64_t page = lsn / PAGE * PAGE;
    uint32_t n = 0;
    for (uint32_t i = 0; i < OLD; i++) {
        const l2_key k = key_of(&i);
        const l2_word w = l2_index_find(d, l2_mix(k.hash));
        n += w.lsn != 0 && w.lsn < page + PAGE && w.lsn + w.bytes > page;
    }
    return n;
}

/* The page in which a closed log goes on is lost: it fails, or has zeros. begins: the last run
 * begins in it, too. */
static void last_page_lost(l2_level level, bool zeros, bool begins)
{
    begin(level);
    l2_dev_init(&dev);
    cfg.off_errors = L2_ERRORS_MOST; /* gets read the page, too */
    open_on(&dev);
    put_old();
    if (begins) { kill_and_open(); }
    const uint64_t last_page = (tail() - 1) / PAGE * PAGE;
    const uint32_t costs = old_in_page(last_page), seq = (uint32_t)seq_now();
    T_REQUIRE(costs > 0 && costs < OLD && seq == 1);
    l2_close(d);
    if (zeros) { zero_bytes(last_page, PAGE); } else { bad_page(last_page); }
    open_on(&dev);
    T_EQ_U64(old_found(), OLD - costs);
    change_key(OLD, false, true);
    end_key(0);
    for (int i = 0; i < 2; i++) {
        kill_and_open();
        T_EQ_U64(old_found(), OLD - costs - 1);
        T_EQ_U64(look(OLD), last[OLD]);
        if (i == 0 && level != L2_DROP) { dev.boot[0]++; }
    }
    if (zeros) { bytes_again(last_page, PAGE); }
    dev.bad_end = 0;
    kill_and_open();
    T_EQ_U64(look(0), 0);
    T_EQ_U64(look(OLD), last[OLD]);
    stop();
}

T_CASE(closed_log_goes_on_behind_a_last_page_that_is_lost)
{
    for (int zeros = 0; zeros < 2; zeros++) {
        last_page_lost(L2_DROP, zeros != 0, false);
        last_page_lost(L2_KEEP, zeros != 0, true);
        last_page_lost(L2_ALWAYS, zeros != 0, false);
    }
}

T_CASE_ON(page_that_a_pass_cannot_read_costs_its_own_records, OLD_KEYS)
{
    const uint64_t page = SEGMENT + PAGE;
    const uint32_t costs = old_in_page(page);
    T_REQUIRE(costs > 0 && costs < OLD && seq_now() == 1);
    while (!l2_pass_due(d)) { change_key(OLD, false, true); }
    bad_page(page);
    (void)l2_tick(d, 0);
    T_EQ_U64(l2_seq_of(d, base_load_acq(&d->head)), 2);
    T_EQ_U64(old_found(), OLD - costs);
    T_EQ_U64(lost_unread(), costs);
    T_EQ_U64(base_load_acq(&d->disk), L2_DISK_OK);
    kill_and_open();
    T_EQ_U64(old_found(), OLD - costs);
    dev.bad_end = 0;
}

/* No page of the segment can be read: the disk is at fault, and nothing is dropped. */
T_CASE_ON(segment_that_cannot_be_read_at_all_waits, OLD_KEYS)
{
    while (!l2_pass_due(d)) { change_key(OLD, false, true); }
    dev.bad_at = SEGMENT;
    dev.bad_end = 2 * SEGMENT - PAGE; /* its trailer can */
    (void)l2_tick(d, 0);
    T_EQ_U64(l2_seq_of(d, base_load_acq(&d->head)), 1);
    dev.bad_end = 0;
    ms += 86400000; /* the disk may be off until then */
    for (uint32_t i = 0; i < SEGMENTS; i++) { (void)l2_tick(d, 0); }
    T_EQ_U64(old_found(), OLD);
}

#define VALUE_BYTES 60000u /* in parts of 24 KiB */

/* Its first part lies in segment 1, its head in another one. */
static uint64_t put_in_parts(void)
{
    static unsigned char value[VALUE_BYTES];
    const uint32_t i = KEYS;
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    while (tail() < SEGMENT + SEGMENT / 2) { change_key(OLD, false, true); }
    T_EQ_I64(l2_put(d, &k, value, sizeof value, &m, NULL), CELLAR_OK);
    return l2_index_find(d, l2_mix(k.hash)).lsn;
}

T_CASE_ON(head_that_cannot_be_read_delays_no_pass, STORE)
{
    const uint64_t lsn = put_in_parts(), end = l2_seq_of(d, lsn);
    T_REQUIRE(end > 1);
    while (!l2_pass_due(d)) { change_key(OLD, false, true); }
    bad_page(lsn);
    while (l2_seq_of(d, base_load_acq(&d->head)) <= end) {
        const uint64_t head = base_load_acq(&d->head);
        while (!l2_pass_due(d)) { change_key(OLD, false, true); }
        for (int i = 0; i < 2; i++) { (void)l2_tick(d, 0); } /* it is read once again */
        T_REQUIRE(base_load_acq(&d->head) > head);
    }
    T_EQ_U64(base_load_rlx(&d->n.offs), 0);
    dev.bad_end = 0;
}

T_CASE_ON(delete_of_a_key_longer_than_any_record_returns, OLD_KEYS)
{
    static unsigned char key[65000];
    d->unplaced = tail(); /* as of an open with a full index */
    const l2_key k = { key, sizeof key, GENERATION,
                       base_hash(l2_hash_key(d), GENERATION, key, sizeof key) };
    T_CHECK(L2_RECORD_HEAD + sizeof key > d->room_max);
    const uint64_t before = tail();
    l2_invalidate(d, &k);
    T_CHECK(tail() > before && tail() < before + PAGE);
    kill_and_open();
    T_EQ_U64(old_found(), OLD);
}

/* ---- sums and files ---- */

static bool in_sync;

static int sync_with_puts(void *ctx, base_vfs_file *f)
{
    for (uint32_t i = OLD; in_sync && i < KEYS; i++) {
        T_EQ_I64(put_once(i, 7, true), CELLAR_OK);
    }
    in_sync = false;
    return l2_dev_datasync(ctx, f);
}

/* Faulty sequence: a sync fails, bytes are lost, and puts come while the FLOOR is synced. */
T_CASE(puts_behind_lost_bytes_count_as_live)
{
    start_at(L2_KEEP);
    put_old();
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    const uint64_t page = tail() / PAGE * PAGE + PAGE;
    while (tail() < page + PAGE) { change_key(0, false, true); }
    fail_once(DEV_DATASYNC);
    T_EQ_I64(l2_commit(d), CELLAR_E_IO);
    zero_bytes(page, PAGE);
    const uint64_t emptied = base_load_rlx(&d->n.emptied);
    in_sync = true;
    vfs.datasync = sync_with_puts;
    (void)l2_tick(d, 0);
    T_CHECK(!in_sync);
    T_EQ_U64(base_load_rlx(&d->n.emptied), emptied + 1);
    T_CHECK(base_load_rlx(&d->live_bytes) >= (uint64_t)(KEYS - OLD) * LEAST_RECORD);
    stop();
}

/* Lose bytes while no place is free: the FLOOR takes that of the oldest segment. dies: a kill comes
 * before the sync of the FLOOR. With more names than a segment has rows the FLOOR finds no room
 * until the tier is closed. */
static void bytes_lost_without_room(bool dies, uint32_t names)
{
    uint64_t n = 0;
    start_at(L2_KEEP);
    for (uint32_t id = 2; id < 2 + names; id++) {
        const l2_namespace ns = { .id = id, .generation = 100 + id };
        T_EQ_I64(l2_namespace_set(d, &ns, (const char *)&id, sizeof id, NULL), CELLAR_OK);
    }
    put_old();
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    (void)put_all();
    end_old();
    T_EQ_I64(fill_all(&n), L2_NO_ROOM);
    T_EQ_U64(l2_segs_free(d, tail()), names / 512);
    fail_once(DEV_DATASYNC);
    T_EQ_I64(l2_commit(d), CELLAR_E_IO);
    const uint64_t page = (seq_now() - 2) * SEGMENT + PAGE;
    zero_bytes(page, PAGE);
    if (dies) {
        fail_once(DEV_DATASYNC);
        (void)l2_tick(d, 0);
        T_EQ_U64(dev.fail_at, 0);
        kill_and_open();
    }
    for (int i = 0; i < 3; i++) { (void)l2_tick(d, 0); }
    T_EQ_U64(base_load_acq(&d->resync), names / 512);
    if (names != 0) { close_and_reopen(NULL); }
    T_EQ_U64(old_found(), 0);
    T_EQ_I64(put_once(1, 7, true), CELLAR_OK);
    T_EQ_I64(l2_commit(d), CELLAR_OK);
    kill_and_open();
    T_EQ_U64(old_found(), 1);
    stop();
}
T_CASE(bytes_lost_without_room_end_all_that_is_older) { bytes_lost_without_room(false, 0); }
T_CASE(bytes_lost_with_more_names_than_rows_end_the_rest) { bytes_lost_without_room(false, 600); }
T_CASE(kill_before_sync_of_floor_without_room_keeps_the_result) { bytes_lost_without_room(true, 0); }

/* A clear takes the bytes of its entries from the sum at once. */
T_CASE_ON(looks_of_passes_leave_out_what_a_clear_took, STORE)
{
    l2_namespace ns = { .id = 2, .generation = 9 };
    T_EQ_I64(l2_namespace_set(d, &ns, "filler", 6, NULL), CELLAR_OK);
    for (uint32_t i = 0; seq_now() < 4; i++) { put_filler(i); }
    ns.generation = 10;
    T_EQ_I64(l2_namespace_set(d, &ns, NULL, 0, NULL), CELLAR_OK);
    generation_now = 3;
    for (uint32_t i = 1000; !l2_pass_due(d); i++) { T_EQ_I64(put_once(i, 7, true), CELLAR_OK); }
    d->cfg.move_pct = 10;
    (void)l2_tick(d, 0);
    T_CHECK(d->looked != 0);
    T_EQ_U64(d->dead, 0);
}

T_ONE_THREAD;
T_MAIN("log_faults")
