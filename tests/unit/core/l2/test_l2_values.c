/* SPDX-License-Identifier: MIT
 *
 * Aim:    a value in parts is served byte by byte, whole or by ranges, from the buffer, from disk and
 *         after a reopen; it is a miss as a whole if it was changed, or if one part is gone, and
 *         unknown after a failed read. Nothing is copied into a buffer that is too small. The disk
 *         reads ahead what memory lacks.
 * Method: stores of 32 segments of 32 KiB on an in-memory disk, with the worker run by hand. The
 *         limit of a value is 256 KiB there. A record has at most 8 KiB: three fill a segment. For
 *         reads part by part 12 segments of 1 MiB. The read function of the disk counts reads of
 *         data.seg, fails, or changes the store at the n-th one. */
#include "base/pack.h"
#include "l2/control.h"
#include "l2/index.h"
#include "l2/log.h"
#include "l2/part.h"
#include "tests/support/l2_kit.h"
#include "tests/support/toy_cipher.h"

#define LONG ((size_t)60000)
#define LIMIT ((size_t)32 * L2_KIT_SEG / 4)
#define PART ((size_t)8064) /* bytes of a part */

static l2_dev dev;
static l2_kit kit;
static unsigned char value[LIMIT + 1], got[LIMIT + 2];
static bool stamp_right;
static uint32_t reads, act_at; /* reads of data.seg since the last `watch`; act_at 0: none */
static void (*act)(void);
static size_t read_bytes;      /* of data.seg */
static int read_errno;         /* of the reads from act_at on; 0: they work */
static uint32_t lasting;       /* number of the reads that fail */

static void open_again(void) { dev.locked = false; T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); }

static int watched_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off,
                         size_t *done)
{
    const bool data = kit.d != NULL && l2_is_ring(kit.d, f);
    reads += data;
    read_bytes += data ? n : 0;
    if (data && read_errno != 0 && reads >= act_at && reads < act_at + lasting) {
        *done = 0;
        return read_errno;
    }
    const int e = l2_dev_pread(ctx, f, buf, n, off, done);
    if (data && reads == act_at && act != NULL) { act(); }
    return e;
}

/* Run `then` after the read `at` of data.seg. */
static void watch(uint32_t at, void (*then)(void))
{
    reads = 0;
    act_at = at;
    act = then;
    read_errno = 0;
}

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.vfs.pread = watched_pread;
    kit.cfg.seg_count = 32;
    kit.cfg.memory_bytes = 4 << 20;
    kit.cfg.avg_object_bytes = 64;
    kit.cfg.off_damaged_pct = 100;
    watch(0, NULL);
    open_again();
    const l2_namespace v = { 1, 7, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1, NULL), CELLAR_OK);
}

static void end(void) { l2_kit_end(&kit, &dev); }

static void fill(uint32_t version, size_t n)
{
    base_rng r;
    base_rng_seed(&r, version);
    for (size_t i = 0; i < n; i++) {
        value[i] = (unsigned char)(i % 64 < 32 ? base_rng_next(&r) : version); /* compressible */
    }
}

static l2_key key_of(const char *name) { return l2_kit_key(&kit, name, strlen(name), 7); }

static bool stamp_is(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx, (void)hash, (void)stamp;
    return stamp_right;
}

/* Put once. */
static cellar_err put_once(const char *name, uint32_t version, size_t n, l2_meta *m)
{
    const l2_key k = key_of(name);
    const l2_current current = { stamp_is, NULL, 1 };
    if (m->deadline_ms == 0) { m->deadline_ms = BASE_NEVER_MS; }
    m->user_flags = version;
    fill(version, n);
    return l2_put(kit.d, &k, value, n, m, &current);
}

/* Put as a caller that waits for room. */
static cellar_err put_with(const char *name, uint32_t version, size_t n, l2_meta *m)
{
    l2_parts parts = { 0, 0 };
    cellar_err err = CELLAR_DROPPED;
    stamp_right = true;
    m->parts = &parts;
    for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
        err = put_once(name, version, n, m);
        (void)l2_tick(kit.d, 1000);
    }
    m->parts = NULL;
    return err;
}

static cellar_err put(const char *name, uint32_t version, size_t n)
{
    l2_meta m = { .change = true, .durable = true };
    return put_with(name, version, n, &m);
}

/* Put until the log has room for some parts of a long value. Passes would make more. */
static void fill_log(uint32_t more)
{
    l2_meta m = { .deadline_ms = 0 };
    stamp_right = true;
    while (l2_segs_free(kit.d, base_load_acq(&kit.d->tail)) > L2_PUT_LEAVES + 1) {
        T_REQUIRE(put_once("fill", 1, 5000, &m) == CELLAR_OK);
    }
    while (more-- > 0) { T_REQUIRE(put_once("fill", 1, 5000, &m) == CELLAR_OK); }
}

/* Begin the put of a long value in a log that has room for some of its parts. */
static void put_some(const char *name, uint32_t version, uint32_t more, l2_meta *m)
{
    fill_log(more);
    T_EQ_I64(put_once(name, version, LONG, m), CELLAR_DROPPED);
    T_CHECK(m->parts->id != 0 && m->parts->done != 0 && m->parts->done < LONG);
}

/* Go on with a put until there is room. Return the code. */
static cellar_err put_rest(const char *name, uint32_t version, l2_meta *m)
{
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
        (void)l2_tick(kit.d, 1000);
        err = put_once(name, version, LONG, m);
    }
    return err;
}

/* Put more other values than the log has room for: all that is older leaves it. */
static void replace_all(void)
{
    char name[8];
    for (uint32_t n = 1; n < 250; n++) {
        (void)snprintf(name, sizeof name, "f%u", n);
        T_EQ_I64(put(name, n, 5000), CELLAR_OK);
    }
}

static uint64_t lsn_of(const char *name)
{
    size_t len = 0;
    l2_meta m;
    const l2_key k = key_of(name);
    T_REQUIRE(l2_get(kit.d, &k, got, sizeof got, &len, &m) == CELLAR_OK);
    return m.addr;
}

static bool may_lack_parts; /* ranges of a value that is a miss may have all their parts */

/* Return the version that is served, 0: a miss. Each range must have the bytes of the whole. */
static uint32_t look(const char *name, size_t n)
{
    size_t len = 0, total = 0;
    l2_meta m;
    const l2_key k = key_of(name);
    const cellar_err err = l2_get(kit.d, &k, got, sizeof got, &len, &m);
    const cellar_err room = l2_get(kit.d, &k, got, 0, &total, &m);
    if (err == CELLAR_MISS) {
        T_EQ_I64(room, CELLAR_MISS);
        const cellar_err half = l2_get_range(kit.d, &k, n / 2, got, 10, &total, &m);
        T_CHECK(half == CELLAR_MISS || (may_lack_parts && half == CELLAR_OK));
        if (half != CELLAR_OK) { return 0; }
        fill(m.user_flags, n);
        T_CHECK(memcmp(got, value + n / 2, 10) == 0);
        return 0;
    }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_I64(room, CELLAR_E_BUFFER);
    T_EQ_U64(len, n);
    T_EQ_U64(total, n);
    fill(m.user_flags, n);
    T_CHECK(l2_get(kit.d, &k, got, sizeof got, &len, &m) == CELLAR_OK &&
            memcmp(got, value, n) == 0);
    return m.user_flags;
}

static void range_is(const char *name, size_t n, uint64_t offset, size_t cap)
{
    size_t total = 0;
    l2_meta m;
    const l2_key k = key_of(name);
    memset(got, 0xa5, sizeof got);
    T_EQ_I64(l2_get_range(kit.d, &k, offset, got, cap, &total, &m), CELLAR_OK);
    T_EQ_U64(total, n);
    const size_t want = offset < n ? BASE_MIN(cap, n - (size_t)offset) : 0;
    T_CHECK(want == 0 || memcmp(got, value + offset, want) == 0);
    T_EQ_U64(got[want], 0xa5);
}

static void ranges_are_right(const char *name, uint32_t version, size_t n)
{
    fill(version, n);
    const uint64_t at[] = { 0, 1, 5800, PART - 1, PART, PART + 1, n / 2, n - 1, n, n + 1, UINT64_MAX };
    const size_t cap[] = { 0, 1, 100, PART, 20000, n };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        for (size_t j = 0; j < sizeof cap / sizeof cap[0]; j++) { range_is(name, n, at[i], cap[j]); }
    }
    range_is(name, n, PART * 2, PART * 3);
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(values_of_any_length_are_served_from_buffer_disk_and_after_a_reopen, STORE)
{
    static const size_t size[] = { 5800,     7900,         8000,  PART, PART + 1,
                                   2 * PART, 2 * PART + 1, 30000, LONG, 100 };
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        T_EQ_I64(put("k", 10 + (uint32_t)i, size[i]), CELLAR_OK);
        T_EQ_U64(look("k", size[i]), 10 + i);
        for (uint32_t n = 0; n < 4; n++) { (void)put("other", n + 1, 5000); } /* to the disk */
        T_EQ_U64(look("k", size[i]), 10 + i);
        l2_close(kit.d);
        open_again();
        T_EQ_U64(look("k", size[i]), 10 + i);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", size[i]), 10 + i);
    }
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.miss_parts, 0);
    T_EQ_U64(st.refused_size, 0);
    T_EQ_I64(put("k", 98, LIMIT), CELLAR_OK);
    T_EQ_U64(look("k", LIMIT), 98);
    T_EQ_I64(put("k", 99, LIMIT + 1), L2_REFUSED);
    T_EQ_U64(l2_kit_figures(&kit).refused_size, 1);
}

/* Put a short and a long value; check their ranges in this life of the store and in the next one. */
static void ranges_in_two_lives(int pack)
{
    l2_meta m = { .pack = pack == 1, .change = true };
    T_EQ_I64(put_with("short", 3, 5000, &m), CELLAR_OK);
    T_EQ_I64(put_with("long", 4, LONG, &m), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).packed != 0, pack == 1 && base_pack_there());
    ranges_are_right("short", 3, 5000);
    ranges_are_right("long", 4, LONG);
    l2_close(kit.d);
    open_again();
    ranges_are_right("short", 3, 5000);
    ranges_are_right("long", 4, LONG);
}

T_CASE_ON(ranges_of_values_are_the_bytes_of_the_whole, STORE)
{
    for (int pack = 0; pack <= 1; pack++) { ranges_in_two_lives(pack); }
}

T_CASE_ON(changed_values_are_misses, STORE)
{
    const l2_key k = key_of("k");
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    T_EQ_I64(put("k", 2, LONG - 1), CELLAR_OK);
    T_EQ_U64(look("k", LONG - 1), 2);
    T_EQ_I64(put("k", 3, 100), CELLAR_OK);
    T_EQ_U64(look("k", 100), 3);
    T_EQ_I64(put("k", 4, LONG), CELLAR_OK);
    l2_invalidate(kit.d, &k);
    T_EQ_U64(look("k", LONG), 0);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(look("k", LONG), 0);
    T_EQ_I64(put("k", 5, LONG), CELLAR_OK);
    uint64_t walk;
    T_EQ_I64(l2_glob_begin(kit.d, 7, "k*", 2, &walk), CELLAR_OK);
    l2_glob_end(kit.d, walk);
    T_EQ_U64(look("k", LONG), 0);
    const uint64_t tag = 77;
    l2_meta m = { .tag_count = 1, .tag_born = 5, .tag_fps = &tag, .change = true };
    T_EQ_I64(put_with("k", 6, LONG, &m), CELLAR_OK);
    T_EQ_U64(look("k", LONG), 6);
    l2_tag_invalidate(kit.d, tag, 9, false);
    T_EQ_U64(look("k", LONG), 0);
    m = (l2_meta){ .deadline_ms = kit.now_ms + 5000, .change = true };
    T_EQ_I64(put_with("k", 7, LONG, &m), CELLAR_OK);
    T_EQ_U64(look("k", LONG), 7);
    kit.now_ms += 5001;
    kit.wall_ms += 5001;
    T_EQ_U64(look("k", LONG), 0);
}

/* Stop a put of a change after several numbers of parts: the old value never comes back, and the
 * parts of two values never mix. */
T_CASE(a_put_that_stops_between_parts_leaves_no_old_value)
{
    for (uint32_t more = 0; more < 10; more++) {
        begin();
        T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts, .change = true, .durable = true };
        put_some("k", 2, more / 2, &m);
        if (more % 2 != 0) { T_EQ_I64(put_rest("k", 2, &m), CELLAR_OK); }
        const uint32_t now = more % 2 != 0 ? 2 : 0;
        T_EQ_U64(look("k", LONG), now);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), now);
        T_EQ_I64(put("k", 3, LONG), CELLAR_OK);
        T_EQ_U64(look("k", LONG), 3);
        end();
    }
}

/* Four values at the limit fill the data file. Parts of 6 KiB take a segment of 16 KiB each here. A
 * tick passes as many segments as its time allows, so the log may lose parts of a value before the
 * next put. */
T_CASE(values_that_fill_the_file_are_whole_or_misses)
{
    static const char *const name[] = { "a", "b", "c", "d" };
    uint32_t found = 0;
    begin();
    may_lack_parts = true;
    for (uint32_t round = 0; round < 12; round++) {
        cellar_err err = CELLAR_DROPPED; /* a slow machine makes no room in time */
        for (int n = 0; err == CELLAR_DROPPED && n < 100; n++) {
            err = put(name[round % 4], 1 + round, LIMIT);
        }
        T_EQ_I64(err, CELLAR_OK);
        const uint32_t newest = look(name[round % 4], LIMIT);
        T_CHECK(newest == 0 || newest == 1 + round);
        found += newest != 0;
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t got_version = look(name[i], LIMIT);
            T_CHECK(got_version == 0 || got_version % 4 == (i + 1) % 4);
        }
        if (round % 3 == 2) { l2_kit_killed(&kit, &dev); }
    }
    may_lack_parts = false;
    T_CHECK(found > 6);
    T_EQ_U64(l2_kit_figures(&kit).refused_size, 0);
    end();
}

/* The newest value that fits stays whole. The limit of a value follows the room. */
T_CASE(a_shrink_below_the_live_values_keeps_whole_ones)
{
    static const char *const name[] = { "a", "b", "c", "d", "e", "f" };
    const size_t most = (size_t)14 * L2_KIT_SEG / 4;
    begin();
    for (uint32_t i = 0; i < 6; i++) { T_EQ_I64(put(name[i], 1 + i, LONG), CELLAR_OK); }
    for (uint32_t i = 0; i < 6; i++) { T_EQ_U64(look(name[i], LONG), 1 + i); }
    l2_kit_resize(&kit, 14);
    uint32_t left = 0;
    may_lack_parts = true;
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t now = look(name[i], LONG);
        T_CHECK(now == 0 || now == 1 + i);
        left += now != 0;
    }
    may_lack_parts = false;
    T_EQ_U64(look("f", LONG), 6);
    T_CHECK(left < 6);
    T_EQ_I64(put("k", 8, most + 1), L2_REFUSED);
    T_EQ_I64(put("k", 9, most), CELLAR_OK);
    T_EQ_U64(look("k", most), 9);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(look("k", most), 9);
    end();
}

T_CASE_ON(a_put_whose_stamp_moves_between_parts_stores_nothing, STORE)
{
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    l2_parts parts = { 0, 0 };
    l2_meta m = { .parts = &parts };
    put_some("k", 2, 0, &m);
    stamp_right = false;
    T_EQ_I64(put_once("k", 2, LONG, &m), L2_REFUSED);
    T_EQ_U64(look("k", LONG), 1); /* no change of the key was told */
}

T_CASE_ON(an_unchanged_value_is_not_written_again, STORE)
{
    uint64_t where = 0;
    l2_meta m = { .where = &where };
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    const uint64_t parts = l2_kit_figures(&kit).parts;
    m.addr = where;
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).parts, parts);
    T_EQ_U64(l2_kit_figures(&kit).identical, 1);
}

/* Without a word of its first part the whole value is a miss, not its last part. An unchanged value
 * of memory is written again then. */
T_CASE_ON(a_value_without_its_first_part_is_a_miss, STORE)
{
    uint64_t where = 0;
    l2_meta m = { .where = &where }, seen;
    l2_part part;
    size_t total = 0;
    const l2_key k = key_of("k");
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    T_EQ_I64(l2_get_range(kit.d, &k, 0, got, 10, &total, &seen), CELLAR_OK);
    l2_part_name(kit.d, l2_h48(k.hash), seen.part_id, 0, &part);
    const uint64_t hash = l2_mix(part.key.hash);
    sync_take(L2_TOMBSTONE_LOCK, &l2_shard_of(kit.d, hash)->lock);
    l2_index_drop(kit.d, hash);
    sync_drop(L2_TOMBSTONE_LOCK, &l2_shard_of(kit.d, hash)->lock);
    T_EQ_I64(l2_get(kit.d, &k, got, sizeof got, &total, &seen), CELLAR_MISS);
    T_CHECK(l2_kit_figures(&kit).miss_parts != 0);
    fill(1, LONG);
    range_is("k", LONG, LONG - 100, 100);
    range_is("k", LONG, LONG / 2, 0);
    T_EQ_I64(l2_get_range(kit.d, &k, 0, got, 10, &total, &seen), CELLAR_MISS);
    m.addr = where;
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    T_EQ_U64(look("k", LONG), 1);
}

/* Damage each part in turn. The parts hold whole blocks of 32 bytes that no other place has. */
T_CASE_ON(a_damaged_part_makes_the_whole_value_a_miss, STORE)
{
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    T_EQ_I64(put("behind", 2, LONG), CELLAR_OK); /* no part of "k" stays in the stage */
    l2_close(kit.d);
    open_again();
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    const l2_key k = key_of("k");
    uint32_t damaged = 0;
    size_t len;
    l2_meta m;
    for (size_t part = 0; part < LONG; part += 4096) {
        fill(1, LONG);
        for (size_t at = 0; at + 32 <= f->size; at++) {
            if (memcmp(f->live + at, value + part / 64 * 64, 32) != 0) { continue; }
            f->live[at] ^= 3; /* two bits: not repaired */
            T_EQ_I64(l2_get(kit.d, &k, got, sizeof got, &len, &m), CELLAR_MISS);
            T_EQ_I64(l2_get_range(kit.d, &k, part, got, 64, &len, &m), CELLAR_MISS);
            f->live[at] ^= 3;
            damaged++;
            break;
        }
    }
    T_EQ_U64(damaged, (LONG + 4095) / 4096);
    T_EQ_U64(look("k", LONG), 1);
}

/* A pass asks the head whether the value still has its parts. */
T_CASE_ON(a_value_is_found_after_its_head_failed_once_in_a_pass, STORE)
{
    T_EQ_I64(put("long", 1, LONG), CELLAR_OK);
    const uint64_t lsn = lsn_of("long");
    T_CHECK(l2_seq_of(kit.d, lsn) > l2_seq_of(kit.d, base_load_acq(&kit.d->head)) + 1);
    fill_log(1);
    T_CHECK(l2_pass_due(kit.d));
    dev.bad_at = lsn % l2_size(kit.d);
    dev.bad_end = dev.bad_at + 1;
    (void)l2_tick(kit.d, 0);
    T_EQ_U64(base_load_rlx(&kit.d->n.io_errors), 1);
    dev.bad_end = 0;
    while (base_load_acq(&kit.d->head) <= lsn) {
        (void)l2_tick(kit.d, 0);
        l2_meta m = { .deadline_ms = 0 };
        (void)put_once("fill", 1, 5000, &m);
    }
    T_EQ_U64(look("long", LONG), 1);
}

/* The head of a value has its key, which may be longer than a page. */
T_CASE_ON(a_value_with_a_key_longer_than_a_page_is_found_after_passes, STORE)
{
    static char name[6000];
    memset(name, 'k', sizeof name - 1);
    T_EQ_I64(put(name, 1, LONG), CELLAR_OK);
    const uint64_t lsn = lsn_of(name);
    while (base_load_acq(&kit.d->head) <= lsn) {
        (void)l2_tick(kit.d, 0);
        l2_meta m = { .deadline_ms = 0 };
        (void)put_once("fill", 1, 5000, &m);
    }
    T_EQ_U64(look(name, LONG), 1);
}

/* Begin a value, let the log lose its first parts, and go on. */
T_CASE(a_put_whose_parts_left_the_log_begins_again)
{
    for (int floor = 0; floor <= 1; floor++) {
        begin();
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts, .durable = true };
        put_some("k", 2, 0, &m);
        const uint64_t id = parts.id;
        if (floor != 0) { l2_floor_log(kit.d, l2_floor_begin(kit.d), L2_LOST_numbers); }
        if (floor == 0) { replace_all(); }
        T_EQ_I64(put_rest("k", 2, &m), CELLAR_OK);
        T_CHECK(parts.id != id);
        T_EQ_U64(look("k", LONG), 2);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), 2);
        end();
    }
}

static l2_meta *waiting; /* of a put of "k" that has stopped between two parts */
static cellar_err went_on;

/* Go on with that put once a pass has found that its parts have no head. */
static void go_on_beside_a_pass(void)
{
    const bool found = kit.d->want_id == waiting->parts->id && !kit.d->want_it;
    act_at = found ? 0 : reads + 1;
    if (found) { went_on = put_once("k", 2, LONG, waiting); }
}

/* The pass removes the words of the first parts later: the head comes between. */
T_CASE(a_head_put_while_a_pass_takes_its_parts_is_no_success)
{
    uint32_t ran = 0;
    for (uint32_t more = 0; more < 6; more++) {
        begin();
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts, .durable = true }, other = { .deadline_ms = 0 };
        put_some("k", 2, more, &m);
        waiting = &m;
        went_on = CELLAR_PENDING;
        watch(1, go_on_beside_a_pass);
        for (int i = 0; i < 1000 && went_on == CELLAR_PENDING; i++) {
            (void)put_once("fill", 1, 5000, &other);
            if (l2_pass_due(kit.d)) { (void)l2_tick(kit.d, 0); }
        }
        watch(0, NULL);
        ran += went_on != CELLAR_PENDING;
        if (went_on == CELLAR_DROPPED) { T_EQ_I64(put_rest("k", 2, &m), CELLAR_OK); }
        T_EQ_U64(look("k", LONG), 2);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), 2);
        end();
    }
    T_CHECK(ran != 0);
}

T_CASE(a_value_over_the_write_budget_writes_no_part)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 32;
    kit.cfg.write_bps = LONG / 2;
    open_again();
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(put("k", 1, LONG), L2_REFUSED);
        T_EQ_I64(put("small", 2, 5000), CELLAR_OK);
        kit.now_ms += 1000;
        kit.wall_ms += 1000;
    }
    T_EQ_U64(l2_kit_figures(&kit).parts, 0);
    T_EQ_U64(l2_kit_figures(&kit).refused_budget, 3);
    T_EQ_U64(look("k", LONG), 0);
    end();
}

T_CASE(a_value_that_expires_between_parts_is_a_miss)
{
    for (int change = 0; change <= 1; change++) {
        begin();
        T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts, .change = change != 0,
                      .deadline_ms = kit.now_ms + 20000 };
        put_some("k", 2, 0, &m);
        kit.now_ms += 20001;
        kit.wall_ms += 20001;
        (void)l2_tick(kit.d, 1000);
        T_EQ_I64(put_once("k", 2, LONG, &m), L2_REFUSED);
        T_EQ_U64(look("k", LONG), change != 0 ? 0 : 1);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), change != 0 ? 0 : 1);
        end();
    }
}

/* ---- a change of the key by another call, between two parts ---- */

static void replaced(void)
{
    const uint32_t at = act_at;
    act_at = 0;
    T_EQ_I64(put("k", 3, LONG), CELLAR_OK); /* the same length: mixed parts would fit */
    act_at = at;
}

static void deleted(void) { const l2_key k = key_of("k"); l2_invalidate(kit.d, &k); }

static void tag_deleted(void) { l2_tag_invalidate(kit.d, 77, 9, false); }

static void pattern_deleted(void)
{
    uint64_t walk;
    T_EQ_I64(l2_glob_begin(kit.d, 7, "k*", 2, &walk), CELLAR_OK);
    l2_glob_end(kit.d, walk);
}

/* Nothing asks for the cleared generation again. */
static void cleared(void)
{
    const l2_namespace v = { 1, 8, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0, NULL), CELLAR_OK);
}

static void expired(void) { kit.now_ms += 20001; kit.wall_ms += 20001; }

static void filled(void)
{
    const uint32_t at = act_at;
    act_at = 0;
    replace_all();
    act_at = at;
}

static void (*const change[])(void) = { replaced, deleted, tag_deleted, pattern_deleted, cleared,
                                        expired, filled };
#define CHANGES (sizeof change / sizeof change[0])

static const uint64_t red = 77;

static l2_meta tagged(void)
{
    return (l2_meta){ .tag_count = 1, .tag_born = 5, .tag_fps = &red,
                      .deadline_ms = kit.now_ms + 20000 };
}

/* Return the version of generation 7, or what the namespace shows: nothing once it is cleared. */
static uint32_t look_in_namespace(void)
{
    l2_namespace v;
    T_REQUIRE(l2_namespace_find(kit.d, "v", 1, &v));
    return v.generation == 7 ? look("k", LONG) : 0;
}

/* The cache raises the stamp of a key that a call replaces or deletes. */
T_CASE(change_while_parts_are_put_ends_the_value)
{
    for (size_t c = 0; c < CHANGES; c++) {
        if (change[c] == filled) { continue; } /* a_put_whose_parts_left_the_log_begins_again */
        begin();
        l2_meta m = tagged();
        T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        m = tagged();
        m.parts = &parts;
        m.change = true;
        put_some("k", 2, 0, &m);
        act = change[c];
        act();
        stamp_right = act == tag_deleted || act == cleared || act == expired;
        T_EQ_I64(put_rest("k", 2, &m), act == cleared ? CELLAR_OK : L2_REFUSED);
        const uint32_t want = act == replaced ? 3 : 0;
        T_EQ_U64(look_in_namespace(), want);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look_in_namespace(), want);
        end();
    }
}

/* Put `k` to disk. Return the number of reads of a get. */
static uint32_t put_to_disk(void)
{
    l2_meta m = tagged();
    size_t len;
    const l2_key k = key_of("k");
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    for (uint32_t n = 1; n < 4; n++) { T_EQ_I64(put("fill", n, 5000), CELLAR_OK); }
    l2_close(kit.d);
    open_again();
    watch(0, NULL);
    T_EQ_I64(l2_get(kit.d, &k, got, sizeof got, &len, &m), CELLAR_OK);
    return reads;
}

/* Check the bytes that a get, or a range without both ends, serves during a change. */
static void served_is_whole(bool range)
{
    size_t len = 0;
    l2_meta m;
    const l2_key k = key_of("k");
    const size_t from = range ? 100 : 0, n = LONG - 2 * from;
    const cellar_err err = range ? l2_get_range(kit.d, &k, from, got, n, &len, &m)
                                 : l2_get(kit.d, &k, got, sizeof got, &len, &m);
    if (err == CELLAR_MISS) { return; }
    T_EQ_I64(err, CELLAR_OK);
    T_CHECK(m.user_flags == 1 || (act == replaced && m.user_flags == 3));
    T_EQ_U64(len, LONG);
    fill(m.user_flags, LONG);
    T_CHECK(memcmp(got, value + from, n) == 0);
}

T_CASE(change_while_parts_are_read_gives_a_whole_value_or_a_miss)
{
    const uint32_t step = t_reduced() ? 3 : 1;
    for (size_t c = 0; c < 2 * CHANGES; c++) {
        uint32_t n = 1;
        for (uint32_t at = 1; at <= n; at += step) {
            begin();
            n = put_to_disk();
            T_CHECK(n >= 9);
            watch(at, change[c / 2]);
            served_is_whole(c % 2 != 0);
            T_CHECK(reads >= at);
            act_at = 0;
            const uint32_t now = look_in_namespace();
            T_CHECK(now == 0 || (act == replaced && now == 3));
            l2_kit_killed(&kit, &dev);
            T_EQ_U64(look_in_namespace(), now);
            end();
        }
    }
}

T_CASE_ON(a_full_disk_between_parts_leaves_no_old_value, STORE)
{
    kit.cfg.off_ms = 1000;
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    dev.fail_site = DEV_PWRITE;
    dev.fail_errno = ENOSPC;
    dev.fail_sticky = true;
    dev.fail_at = 1;
    l2_parts parts = { 0, 0 };
    l2_meta m = { .parts = &parts, .change = true, .durable = true };
    for (int i = 0; i < 100; i++) {
        T_CHECK(put_once("k", 2, LONG, &m) != CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_U64(look("k", LONG), 0);
    dev.fail_at = 0;
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
        kit.now_ms += 1000;
        kit.wall_ms += 1000;
        (void)l2_tick(kit.d, 1000);
        err = put_once("k", 2, LONG, &m);
    }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(look("k", LONG), 2);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(look("k", LONG), 2);
}

/* ---- encrypted ---- */

static uint64_t secret = 7;
static const cellar_l2_cipher toy = { .struct_size = sizeof toy, .ctx = &secret, .seal = toy_seal,
                                      .open = toy_open, .overhead_bytes = sizeof secret };

T_CASE(ranges_of_encrypted_values_are_the_bytes_of_the_whole)
{
    for (int pack = 0; pack <= 1; pack++) {
        l2_dev_init(&dev);
        l2_kit_init(&kit, &dev);
        kit.cfg.seg_count = 32;
        kit.cfg.memory_bytes = 4 << 20;
        kit.cfg.crypt = &toy;
        open_again();
        ranges_in_two_lives(pack);
        T_EQ_U64(look("long", LONG), 4);
        end();
    }
}

/* Parts of replaced values have words until a pass drops them. No pass is due yet. */
T_CASE(replaced_values_leave_room_for_unused_entries)
{
    begin();
    for (uint32_t v = 1; v <= 9; v++) { T_EQ_I64(put("a", v, LONG), CELLAR_OK); }
    T_EQ_U64(l2_kit_figures(&kit).reclaimed, 0);
    T_CHECK(base_load_rlx(&kit.d->live_bytes) > (uint64_t)32 * L2_KIT_SEG / 100 * 40);
    l2_meta m = { .unused = true };
    const uint32_t wake = base_load_acq(&kit.d->wake);
    kit.d->threaded = true; /* the first refused one wakes the thread: else it sleeps for 100 ms */
    T_EQ_I64(put_once("b", 1, 100, &m), L2_REFUSED);
    T_EQ_I64(put_once("d", 1, 100, &m), L2_REFUSED);
    kit.d->threaded = false;
    T_EQ_U64(base_load_acq(&kit.d->wake), wake + 1);
    (void)l2_tick(kit.d, 1000);
    T_EQ_I64(put_once("c", 1, 100, &m), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).reclaimed, 0);
    end();
}

/* ---- longer values, in parts of more than a page, and segments of 1 MiB ---- */

#define LONGER ((size_t)270000)
#define MOST ((size_t)300000)

static unsigned char longer[MOST], got_longer[MOST + 1];
static uint64_t memory_from; /* offset of the first part in data.seg */

static void begin_wide(void)
{
    l2_dev_init(&dev);
    dev.flat = true;
    l2_kit_init(&kit, &dev);
    kit.vfs.pread = watched_pread;
    kit.cfg.seg_bytes = (uint32_t)1 << 20;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.avg_object_bytes = 65536; /* a small index */
    kit.cfg.off_damaged_pct = 100;
    kit.cfg.off_errors = 60;
    watch(0, NULL);
    open_again();
}

static void end_wide(void) { watch(0, NULL); end(); }

#define WIDE(fn) T_WITHIN(fn, begin_wide(), end_wide())

static void fill_longer(uint32_t version, size_t n)
{
    base_rng r;
    base_rng_seed(&r, version);
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t word = base_rng_next(&r);
        memcpy(longer + i, &word, BASE_MIN(n - i, (size_t)8));
    }
}

static void put_longer(const char *name, uint32_t version, size_t n)
{
    const l2_key k = key_of(name);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
    fill_longer(version, n);
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; i < 100 && err == CELLAR_DROPPED; i++) {
        err = l2_put(kit.d, &k, longer, n, &m, NULL);
        while (l2_tick(kit.d, 1000)) {}
    }
    T_EQ_I64(err, CELLAR_OK);
}

/* Put the value. It is not in the buffer then. */
static void put_on_disk(void)
{
    memory_from = base_load_acq(&kit.d->tail);
    put_longer("k", 1, LONGER);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
}

static bool unknown; /* the last get read nothing */

/* Return the version that is served, whole and right; 0: none. */
static uint32_t served(const char *name, size_t n)
{
    size_t len = 0;
    l2_meta m;
    const l2_key k = key_of(name);
    memset(got_longer, 0xa5, sizeof got_longer);
    const cellar_err err = l2_get(kit.d, &k, got_longer, n, &len, &m);
    T_EQ_U64(got_longer[n], 0xa5);
    unknown = err == CELLAR_E_TIMEOUT;
    if (err == CELLAR_MISS || unknown) { return 0; }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(len, n);
    fill_longer(m.user_flags, n);
    T_CHECK(memcmp(got_longer, longer, n) == 0);
    return m.user_flags;
}

static uint32_t served_longer(void) { return served("k", LONGER); }

/* Return the reads of data.seg that a get of the value takes. */
static uint32_t reads_of_a_get(void)
{
    watch(0, NULL);
    T_EQ_U64(served_longer(), 1);
    T_CHECK(reads > 1); /* otherwise no part is tested */
    return reads;
}

T_CASE(values_around_the_edges_of_reads_are_served)
{
    static const uint32_t edge[] = { 32768, 4100, 100000, 262144 };
    char long_key[5000];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    begin_wide();
    for (uint32_t i = 0; i < sizeof edge / sizeof edge[0]; i++) {
        for (uint32_t less = 0; less < 200; less += 1 + less % 3 * 13) {
            char name[20];
            snprintf(name, sizeof name, "%u less %u", edge[i], less);
            put_longer(name, 1 + less, edge[i] + 100 - less);
            for (int n = 0; n < 4 && less % 27 == 0; n++) { put_longer("other", 1, LONGER); }
            T_EQ_U64(served(name, edge[i] + 100 - less), 1 + less);
        }
    }
    put_longer(long_key, 5, LONGER);
    for (int i = 0; i < 4; i++) { put_longer("other", 1, LONGER); }
    T_EQ_U64(served(long_key, LONGER), 5);
    end_wide();
}

/* As one record of 250 KiB, and in parts. */
T_CASE_ON(longer_encrypted_values_are_served, WIDE)
{
    l2_close(kit.d);
    kit.cfg.crypt = &toy;
    open_again();
    put_longer("whole", 2, (size_t)250 << 10);
    T_EQ_U64(l2_kit_figures(&kit).parts, 0);
    put_on_disk();
    T_EQ_U64(served("whole", (size_t)250 << 10), 2);
    T_EQ_U64(served_longer(), 1);
    T_EQ_U64(l2_kit_figures(&kit).miss_sealed, 0);
}

static size_t in_memory;     /* bytes from there on that reads without a wait find */

static size_t pread_now(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off)
{
    size_t done = 0;
    if (off - memory_from >= in_memory) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, in_memory - (off - memory_from));
    return l2_dev_pread(ctx, f, buf, n, off, &done) == 0 ? done : 0;
}

/* The disk is asked to read ahead only for the bytes that memory lacks. */
T_CASE_ON(long_value_in_memory_requests_nothing_of_the_disk, WIDE)
{
    const size_t some[] = { 0, 3000, 100000, LONGER / 2, SIZE_MAX };
    put_on_disk();
    kit.vfs.pread_now = pread_now;
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        const uint64_t aheads = dev.aheads;
        in_memory = some[i];
        T_EQ_U64(served_longer(), 1);
        T_EQ_I64(dev.aheads == aheads, some[i] == SIZE_MAX);
    }
}

T_CASE_ON(long_value_is_served_by_a_disk_that_reads_nothing_ahead, WIDE)
{
    put_on_disk();
    kit.vfs.ahead = NULL;
    T_EQ_U64(served_longer(), 1);
}

/* A read of another thread has not ended for long. */
T_CASE_ON(read_beside_a_stall_serves_what_memory_has, WIDE)
{
    put_on_disk();
    kit.vfs.pread_now = pread_now;
    watch(0, NULL);
    base_store_rlx(&kit.d->read_ns, (uint64_t)1); /* 1 ns after the boot */
    base_store_rlx(&kit.d->reads_out, 1u);
    in_memory = SIZE_MAX;
    T_EQ_U64(served_longer(), 1);
    in_memory = LONGER / 2;
    T_EQ_U64(served_longer(), 0);
    T_CHECK(unknown);
    T_EQ_U64(reads, 0);
    base_store_rlx(&kit.d->reads_out, 0u);
    in_memory = 0;
    T_EQ_U64(served_longer(), 1);
}

T_CASE_ON(too_small_buffer_is_left_alone, WIDE)
{
    put_on_disk();
    const l2_key k = key_of("k");
    for (size_t cap = 0; cap < LONGER; cap += LONGER - 1) {
        size_t len = 0;
        l2_meta m;
        memset(got_longer, 0xa5, sizeof got_longer);
        T_EQ_I64(l2_get(kit.d, &k, got_longer, cap, &len, &m), CELLAR_E_BUFFER);
        T_EQ_U64(len, LONGER);
        T_EQ_U64(m.user_flags, 1);
        for (size_t i = 0; i < sizeof got_longer; i++) {
            if (!T_EQ_U64(got_longer[i], 0xa5)) { break; }
        }
    }
}

/* A range reads the parts that it touches, and a part that is lost elsewhere does not matter. */
T_CASE_ON(range_of_a_value_above_256_kib_reads_one_part, WIDE)
{
    const size_t at = MOST / 2;
    size_t total = 0;
    l2_meta m;
    put_longer("whole", 1, (size_t)250 << 10);
    T_EQ_U64(l2_kit_figures(&kit).parts, 0);
    put_longer("k", 1, MOST);
    T_EQ_U64(l2_kit_figures(&kit).parts, 5);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    fill_longer(1, MOST);
    const l2_key k = key_of("k");
    watch(0, NULL);
    read_bytes = 0;
    T_EQ_I64(l2_get_range(kit.d, &k, at, got_longer, 4096, &total, &m), CELLAR_OK);
    T_CHECK(memcmp(got_longer, longer + at, 4096) == 0);
    T_CHECK(read_bytes < 80000);
    unsigned char first[18] = { 0 }; /* key of part 0: number, hash48, index */
    const uint64_t h48 = l2_h48(k.hash);
    memcpy(first, &m.part_id, 8);
    memcpy(first + 8, &h48, 6);
    const l2_key part = l2_kit_key(&kit, first, sizeof first, 0);
    l2_invalidate(kit.d, &part);
    T_EQ_U64(served("k", MOST), 0);
    T_EQ_I64(l2_get_range(kit.d, &k, at, got_longer, 4096, &total, &m), CELLAR_OK);
    T_CHECK(memcmp(got_longer, longer + at, 4096) == 0);
}

T_CASE_ON(failed_read_of_a_part_is_unknown, WIDE)
{
    static const int error[] = { EIO, EINTR };
    put_on_disk();
    const uint32_t n = reads_of_a_get();
    for (int e = 0; e < 2; e++) {
        for (uint32_t i = 1; i <= n; i++) {
            for (uint32_t times = 1; times < 2000; times *= 1000) { /* EINTR: continued 64 times */
                const bool goes_on = e == 1 && times == 1;
                watch(i, NULL);
                read_errno = error[e];
                lasting = times;
                T_EQ_U64(served_longer(), goes_on ? 1 : 0);
                T_EQ_I64(unknown, !goes_on);
                watch(0, NULL);
                T_EQ_U64(served_longer(), 1);
            }
        }
    }
    T_EQ_U64(l2_kit_figures(&kit).io_errors, 2 * n); /* each EIO is reported once */
}

T_CASE_ON(short_read_of_a_part_is_continued, WIDE)
{
    put_on_disk();
    const uint32_t n = reads_of_a_get();
    for (uint32_t i = 1; i <= n; i++) {
        dev.fail_site = DEV_PREAD;
        dev.fail_errno = -1; /* half of the bytes */
        dev.fail_at = i;
        watch(0, NULL);
        T_EQ_U64(served_longer(), 1);
        T_EQ_U64(reads, n + 1);
    }
}

T_ONE_THREAD;
T_MAIN("l2_values")
