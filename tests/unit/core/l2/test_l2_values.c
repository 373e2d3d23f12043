/* SPDX-License-Identifier: MIT
 *
 * Aim:    a value in parts is served byte by byte, whole or by ranges, from the stage, from disk and
 *         after a reopen; it is a miss as a whole if it was changed, or if one part is gone.
 * Method: stores of 32 segments of 16 KiB on an in-memory disk, with the worker run by hand. The
 *         limit of a value is 128 KiB there. A record has at most 6 KiB, and each segment has one. */
#include "base/pack.h"
#include "tests/support/l2_kit.h"

#define LONG ((size_t)60000)
#define LIMIT ((size_t)32 * 16384 / 4)

static l2_dev dev;
static l2_kit kit;
static unsigned char value[LIMIT + 1], got[LIMIT + 2];
static bool stamp_right;
static uint32_t reads, act_at; /* reads of data.seg since the last `watch`; act_at 0: none */
static void (*act)(void);

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void open_again(void)
{
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static int watched_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off,
                         size_t *done)
{
    const bool data = kit.d != NULL && (f == kit.d->data_file || f == kit.d->data_direct);
    const int e = l2_dev_pread(ctx, f, buf, n, off, done);
    reads += data;
    if (data && reads == act_at) { act(); }
    return e;
}

/* Run `then` after the read `at` of data.seg. */
static void watch(uint32_t at, void (*then)(void))
{
    reads = 0;
    act_at = at;
    act = then;
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
    l2_meta m = { .change = true };
    return put_with(name, version, n, &m);
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
    const uint64_t at[] = { 0, 1, 5800, 6015, 6016, 6017, n / 2, n - 1, n, n + 1, UINT64_MAX };
    const size_t cap[] = { 0, 1, 100, 6016, 20000, n };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        for (size_t j = 0; j < sizeof cap / sizeof cap[0]; j++) { range_is(name, n, at[i], cap[j]); }
    }
    range_is(name, n, 6016 * 2, 6016 * 3);
}

T_CASE(values_of_any_length_are_served_from_stage_disk_and_after_a_reopen)
{
    static const size_t size[] = { 5700, 5800, 6000, 6016, 6017, 12032, 12033, 30000, LONG };
    begin();
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
    end();
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

T_CASE(ranges_of_values_are_the_bytes_of_the_whole)
{
    begin();
    for (int pack = 0; pack <= 1; pack++) { ranges_in_two_lives(pack); }
    end();
}

/* The second read of a page, and later ones, are those of the mapping. */
T_CASE(mapped_ranges_of_values_are_the_bytes_of_the_whole)
{
    for (int pack = 0; pack <= 1; pack++) {
        begin();
        l2_close(kit.d);
        kit.cfg.sigbus = kit.cfg.mmap_read = true;
        open_again();
        ranges_in_two_lives(pack);
        T_EQ_I64(put("behind", 5, LONG), CELLAR_OK); /* no part of "long" stays in the stage */
        while (l2_tick(kit.d, 1000)) {}
        const uint64_t mapped = l2_kit_figures(&kit).mapped_reads;
        T_CHECK(mapped > 100);
        const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
        const l2_key k = key_of("long");
        size_t len;
        l2_meta m;
        fill(4, LONG);
        for (size_t at = 0; pack == 0 && at + 32 <= f->size; at++) { /* the last part */
            if (memcmp(f->live + at, value + (LONG - 64) / 64 * 64, 32) == 0) { f->live[at] ^= 3; }
        }
        const cellar_err want = pack == 0 ? CELLAR_MISS : CELLAR_OK;
        T_EQ_I64(l2_get(kit.d, &k, got, sizeof got, &len, &m), want);
        T_EQ_I64(l2_get_range(kit.d, &k, LONG - 64, got, 64, &len, &m), want);
        end();
    }
}

T_CASE(changed_values_are_misses)
{
    begin();
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
    end();
}

/* Stop a put of a change after each number of calls: the old value never comes back, and the parts
 * of two values never mix. */
T_CASE(a_put_that_stops_between_parts_leaves_no_old_value)
{
    for (int calls = 1; calls < 12; calls++) {
        begin();
        T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts, .change = true };
        cellar_err err = CELLAR_DROPPED;
        stamp_right = true;
        for (int i = 0; i < calls && err == CELLAR_DROPPED; i++) {
            err = put_once("k", 2, LONG, &m);
            if (err == CELLAR_DROPPED && i + 1 < calls) { (void)l2_tick(kit.d, 1000); }
        }
        const uint32_t now = err == CELLAR_OK ? 2 : 0;
        T_EQ_U64(look("k", LONG), now);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), now);
        T_EQ_I64(put("k", 3, LONG), CELLAR_OK);
        T_EQ_U64(look("k", LONG), 3);
        end();
    }
}

T_CASE(a_put_whose_stamp_moves_between_parts_stores_nothing)
{
    begin();
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    l2_parts parts = { 0, 0 };
    l2_meta m = { .parts = &parts };
    T_EQ_I64(put_once("k", 2, LONG, &m), CELLAR_DROPPED);
    T_CHECK(parts.done != 0 && parts.done < LONG);
    stamp_right = false;
    (void)l2_tick(kit.d, 1000);
    T_EQ_I64(put_once("k", 2, LONG, &m), L2_REFUSED);
    T_EQ_U64(look("k", LONG), 1); /* no change of the key was told */
    end();
}

T_CASE(an_unchanged_value_is_not_written_again)
{
    begin();
    uint64_t where = 0;
    l2_meta m = { .where = &where };
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    const uint64_t parts = l2_kit_figures(&kit).parts;
    m.addr = where;
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).parts, parts);
    T_EQ_U64(l2_kit_figures(&kit).identical, 1);
    end();
}

/* Fill the log until the first part is reclaimed: the whole value is a miss from then on, not its
 * last part. An unchanged value of memory is written again then. */
T_CASE(a_value_without_its_first_part_is_a_miss)
{
    begin();
    uint64_t where = 0;
    l2_meta m = { .where = &where };
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    uint32_t n = 0;
    may_lack_parts = true;
    while (look("k", LONG) == 1 && n < 200) { T_EQ_I64(put("fill", ++n, 5000), CELLAR_OK); }
    T_CHECK(n > 8 && n < 200);
    T_CHECK(l2_kit_figures(&kit).miss_parts != 0);
    may_lack_parts = false;
    fill(1, LONG);
    range_is("k", LONG, LONG - 100, 100);
    range_is("k", LONG, LONG / 2, 0);
    size_t total = 0;
    l2_meta seen;
    const l2_key k = key_of("k");
    T_EQ_I64(l2_get_range(kit.d, &k, 0, got, 10, &total, &seen), CELLAR_MISS);
    m.addr = where;
    T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
    T_EQ_U64(look("k", LONG), 1);
    end();
}

/* The words of parts are heavy: a put of another key of the bunch does not replace them. */
T_CASE(no_other_key_takes_the_word_of_a_part)
{
    begin();
    l2_meta m = { .deadline_ms = 0 };
    T_EQ_I64(put_with("k", 1, 40000, &m), CELLAR_OK);
    const uint64_t parts = l2_kit_figures(&kit).parts;
    uint64_t heavy = 0;
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        const _Atomic uint64_t *way = kit.d->index.shard[i].way;
        for (uint32_t n = 0; n < kit.d->index.buckets * L2_WAYS; n++) {
            heavy += (base_load_rlx(&way[n]) & L2_WORD_DURABLE) != 0;
        }
    }
    T_CHECK(parts > 3);
    T_EQ_U64(heavy, parts);
    end();
}

/* Damage each part in turn. The parts hold whole blocks of 32 bytes that no other place has. */
T_CASE(a_damaged_part_makes_the_whole_value_a_miss)
{
    begin();
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
    end();
}

/* Begin a value, let the log lose its first parts, and go on. */
T_CASE(a_put_whose_parts_left_the_log_begins_again)
{
    for (int floor = 0; floor <= 1; floor++) {
        begin();
        T_EQ_I64(put("other", 1, LONG), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        l2_meta m = { .parts = &parts };
        T_EQ_I64(put_once("k", 2, LONG, &m), CELLAR_DROPPED);
        const uint64_t id = parts.id;
        T_CHECK(id != 0 && parts.done != 0 && parts.done < LONG);
        if (floor != 0) { l2_empty(kit.d); }
        for (uint32_t n = 1; n < 60; n++) { T_EQ_I64(put("fill", n, 5000), CELLAR_OK); }
        cellar_err err = CELLAR_DROPPED;
        for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
            err = put_once("k", 2, LONG, &m);
            (void)l2_tick(kit.d, 1000);
        }
        T_EQ_I64(err, CELLAR_OK);
        T_CHECK(parts.id != id);
        T_EQ_U64(look("k", LONG), 2);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", LONG), 2);
        end();
    }
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

/* Four values at the limit fill the data file. Parts of 6 KiB take a segment of 16 KiB each here. */
T_CASE(values_that_fill_the_file_are_whole_or_misses)
{
    static const char *const name[] = { "a", "b", "c", "d" };
    begin();
    for (uint32_t round = 0; round < 12; round++) {
        T_EQ_I64(put(name[round % 4], 1 + round, LIMIT), CELLAR_OK);
        T_EQ_U64(look(name[round % 4], LIMIT), 1 + round);
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t got_version = look(name[i], LIMIT);
            T_CHECK(got_version == 0 || got_version % 4 == (i + 1) % 4);
        }
        if (round % 3 == 2) { l2_kit_killed(&kit, &dev); }
    }
    T_EQ_U64(l2_kit_figures(&kit).refused_size, 0);
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
        T_EQ_I64(put_once("k", 2, LONG, &m), CELLAR_DROPPED);
        T_CHECK(parts.done != 0 && parts.done < LONG);
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

static void deleted(void)
{
    const l2_key k = key_of("k");
    l2_invalidate(kit.d, &k);
}

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
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK);
}

static void expired(void)
{
    kit.now_ms += 20001;
    kit.wall_ms += 20001;
}

static void filled(void)
{
    const uint32_t at = act_at;
    act_at = 0;
    for (uint32_t n = 1; n < 60; n++) { T_EQ_I64(put("fill", n, 5000), CELLAR_OK); }
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

static void begin_with_a_namespace(void)
{
    begin();
    const l2_namespace v = { 1, 7, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
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
        begin_with_a_namespace();
        l2_meta m = tagged();
        T_EQ_I64(put_with("k", 1, LONG, &m), CELLAR_OK);
        l2_parts parts = { 0, 0 };
        m = tagged();
        m.parts = &parts;
        m.change = true;
        T_EQ_I64(put_once("k", 2, LONG, &m), CELLAR_DROPPED);
        T_CHECK(parts.done != 0 && parts.done < LONG);
        act = change[c];
        act();
        stamp_right = act == tag_deleted || act == cleared || act == expired;
        cellar_err err = CELLAR_DROPPED;
        for (int i = 0; err == CELLAR_DROPPED && i < 1000; i++) {
            (void)l2_tick(kit.d, 1000);
            err = put_once("k", 2, LONG, &m);
        }
        T_EQ_I64(err, act == cleared ? CELLAR_OK : L2_REFUSED);
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
            begin_with_a_namespace();
            n = put_to_disk();
            T_CHECK(n >= 10);
            watch(at, change[c / 2]);
            served_is_whole(c % 2 != 0);
            T_CHECK(reads >= at);
            act_at = 0;
            base_store_rlx(&kit.d->reads_stuck, 0u); /* a change inside a read may take long */
            const uint32_t now = look_in_namespace();
            T_CHECK(now == 0 || (act == replaced && now == 3));
            l2_kit_killed(&kit, &dev);
            T_EQ_U64(look_in_namespace(), now);
            end();
        }
    }
}

/* ---- less room ---- */

/* The newest value that fits stays whole. The limit of a value follows the room. */
T_CASE(a_shrink_below_the_live_values_keeps_whole_ones)
{
    static const char *const name[] = { "a", "b", "c", "d", "e", "f" };
    const size_t most = (size_t)14 * 16384 / 4;
    for (int moves = 0; moves <= 1; moves++) {
        begin();
        l2_close(kit.d);
        kit.cfg.move_pct = moves != 0 ? 55 : 0;
        open_again();
        for (uint32_t i = 0; i < 6; i++) { T_EQ_I64(put(name[i], 1 + i, 25000), CELLAR_OK); }
        for (uint32_t i = 0; i < 6; i++) { T_EQ_U64(look(name[i], 25000), 1 + i); }
        T_EQ_I64(l2_resize_to(kit.d, 14, 14 * 16384), CELLAR_OK);
        uint32_t left = 0;
        may_lack_parts = true;
        for (uint32_t i = 0; i < 6; i++) {
            const uint32_t now = look(name[i], 25000);
            T_CHECK(now == 0 || now == 1 + i);
            left += now != 0;
        }
        may_lack_parts = false;
        T_EQ_U64(look("f", 25000), 6);
        T_CHECK(left < 6);
        T_EQ_I64(put("k", 8, most + 1), L2_REFUSED);
        T_EQ_I64(put("k", 9, most), CELLAR_OK);
        T_EQ_U64(look("k", most), 9);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(look("k", most), 9);
        end();
    }
}

T_CASE(a_full_disk_between_parts_leaves_no_old_value)
{
    begin();
    kit.cfg.off_ms = 1000;
    T_EQ_I64(put("k", 1, LONG), CELLAR_OK);
    dev.fail_site = DEV_PWRITE;
    dev.fail_errno = ENOSPC;
    dev.fail_sticky = true;
    dev.fail_at = 1;
    l2_parts parts = { 0, 0 };
    l2_meta m = { .parts = &parts, .change = true };
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
    end();
}

/* ---- a toy cipher ---- */

static uint64_t toy_sum(const void *bytes, size_t n)
{
    uint64_t h = 7;
    for (size_t i = 0; i < n; i++) { h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u; }
    return h;
}

static int toy_seal(const unsigned char *nonce, const void *aad, size_t aad_len, const void *in,
                    size_t n, void *bytes, void *ctx)
{
    unsigned char *to = bytes;
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        to[i] = (unsigned char)(((const unsigned char *)in)[i] ^ nonce[i % 12]);
    }
    const uint64_t sum = toy_sum(aad, aad_len);
    memcpy(to + n, &sum, 8);
    return 0;
}

static int toy_open(const unsigned char *nonce, const void *aad, size_t aad_len, const void *in,
                    size_t n, void *bytes, void *ctx)
{
    (void)ctx;
    n -= 8;
    const uint64_t sum = toy_sum(aad, aad_len);
    if (memcmp((const unsigned char *)in + n, &sum, 8) != 0) { return 1; }
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)bytes)[i] =
            (unsigned char)(((const unsigned char *)in)[i] ^ nonce[i % 12]);
    }
    return 0;
}

T_CASE(ranges_of_encrypted_values_are_the_bytes_of_the_whole)
{
    const cellar_l2_cipher toy = { .struct_size = sizeof toy, .seal = toy_seal, .open = toy_open,
                                   .overhead_bytes = 8 };
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

T_ONE_THREAD;
T_MAIN("l2_values")
