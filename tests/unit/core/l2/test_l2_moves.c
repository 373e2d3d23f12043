/* SPDX-License-Identifier: MIT
 *
 * Aim:    while less than half of the room is alive, no live record is dropped for room: it moves.
 *         What ended a record also ends its copy: a newer put, a delete, a clear, a tag, a pattern,
 *         an expiry. Above half the oldest segment is dropped with its records. A full disk changes
 *         nothing of that.
 * Method: a store of 16 segments of 64 KiB on an in-memory disk, at each level. Some keys are put
 *         once and kept, others churn through the log many times. The source of read.c is part of
 *         this program, so records can move at its points. */
#include "base/check.h"
#include "tests/support/t.h"

static void at_point(const char *name);
#undef BASE_POINT
#define BASE_POINT(name) at_point(name)
#include "l2/read.c"
#include "tests/support/l2_kit.h"

#define PLACES 16u
#define BYTES 200u /* of a value */
#define BYTES_MOST 22000u
#define VALUES 1500u
#define TAG UINT64_C(77)

static l2_dev dev;
static l2_kit kit;
static uint32_t generation, places = PLACES;
static size_t value_bytes;
static uint64_t version_of[2 * VALUES], newest;

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx, (void)fp, (void)hard, (void)soft;
}

/* Open the store with a namespace. Return the birth of its tags. */
static uint64_t open_it(void)
{
    uint64_t floor;
    const l2_namespace v = { 1, generation, 1 };
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_REQUIRE(l2_namespace_set(kit.d, &v, "v", 1, NULL) == CELLAR_OK);
    return l2_tags_known(kit.d, &floor, no_tag, NULL);
}

/* Begin with another configuration: change kit.cfg, then call open_it. */
static void begin_again(void)
{
    l2_close(kit.d);
    l2_dev_fini(&dev);
    l2_dev_init(&dev);
    dev.flat = true;
}

static void end(void) { l2_kit_end(&kit, &dev); }

static uint64_t begin(l2_level level)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    dev.flat = true;
    kit.cfg.seg_count = places;
    kit.cfg.seg_bytes = 65536;
    kit.cfg.bytes = places * 65536;
    kit.cfg.avg_object_bytes = 64;
    kit.cfg.memory_bytes = 4 << 20;
    kit.cfg.level = level;
    kit.cfg.sync_ms = 10;
    kit.cfg.move_pct = 55;
    generation = 5;
    memset(version_of, 0, sizeof version_of);
    newest = 0;
    value_bytes = BYTES;
    return open_it();
}

#define KEPT(fn) T_WITHIN(fn, begin(L2_KEEP), end())

static void work(void)
{
    kit.now_ms += 20;
    for (int i = 0; i < 8 && l2_tick(kit.d, 1000); i++) {}
}

static cellar_err put_as(uint32_t key, uint64_t version, const l2_meta *like)
{
    static unsigned char buf[BYTES_MOST];
    memset(buf, (int)(key + version), value_bytes);
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    l2_meta m = *like;
    m.version = version;
    if (m.deadline_ms == 0) { m.deadline_ms = BASE_NEVER_MS; }
    for (int i = 0; i < 50; i++) {
        const cellar_err err = l2_put(kit.d, &id, buf, value_bytes, &m, NULL);
        if (err != CELLAR_DROPPED) { return err; }
        work();
    }
    return CELLAR_DROPPED;
}

static void delete_key(uint32_t key)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    l2_invalidate(kit.d, &id);
}

static void put(uint32_t key, bool kept)
{
    static const l2_meta plain = { .durable = false }, durable = { .durable = true };
    const uint64_t version = ++newest;
    T_EQ_I64(put_as(key, version, kept ? &durable : &plain), CELLAR_OK);
    version_of[key] = version;
}

/* Put the keys below `end`, to be kept. */
static void put_to(uint32_t end)
{
    for (uint32_t key = 0; key < end; key++) {
        put(key, true);
        work();
    }
}

static void change(uint32_t key, bool kept)
{
    delete_key(key);
    put(key, kept);
}

/* Return the version that a get returns; 0: a miss. */
static uint64_t look(uint32_t key)
{
    static unsigned char buf[BYTES_MOST];
    size_t len = 0;
    l2_meta m;
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    if (l2_get(kit.d, &id, buf, sizeof buf, &len, &m) != CELLAR_OK) { return 0; }
    T_CHECK(len == value_bytes && buf[0] == (unsigned char)(key + m.version) &&
            buf[0] == buf[len - 1]);
    return m.version;
}

static void all_are_found(uint32_t from, uint32_t to)
{
    for (uint32_t key = from; key < to; key++) { T_EQ_U64(look(key), version_of[key]); }
}

/* Put `n` new versions of the keys VALUES .. VALUES + keys - 1. */
static void churn(uint32_t n, uint32_t keys, bool kept)
{
    for (uint32_t i = 0; i < n; i++) {
        change(VALUES + i % keys, kept);
        work();
    }
}

static uint32_t reads_left; /* until records move */
static uint32_t moves_left; /* times that all records move between the word of a part and its use */

static void at_point(const char *name)
{
    if (strcmp(name, "l2.get_word") != 0 || moves_left == 0) { return; }
    if (reads_left != 0) { /* the head */
        reads_left--;
        return;
    }
    if (base_load_rlx(&kit.d->working) != 0) { return; } /* the pass itself */
    moves_left--;
    churn(6000, 64, true);
}

static void killed(void) { l2_kit_killed(&kit, &dev); work(); }

/* 1,500 records of 248 bytes: 40 % of the room with 64 others, which churn through it. */
T_CASE(live_records_survive_many_laps)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (int kept = 0; kept < 2; kept++) {
            begin((l2_level)level);
            for (uint32_t key = 0; key < VALUES; key++) { put(key, kept != 0); work(); }
            for (int round = 0; round < 4; round++) {
                churn(6000, 64, kept != 0);
                all_are_found(0, VALUES + 64);
                const l2_stats st = l2_kit_figures(&kit);
                T_CHECK(st.moved > 1000 && st.reclaimed > 50);
                T_CHECK(st.moved_bytes < 2 * st.put_bytes);
                T_EQ_U64(st.emptied, 0);
                if (round == 1) { killed(); }
                if (round == 2) {
                    l2_close(kit.d);
                    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
                }
            }
            all_are_found(0, VALUES);
            end();
        }
    }
}

/* Put as callers that take each place as soon as a pass makes it free: no pass gets ahead. */
static void churn_without_room(uint32_t n, uint32_t keys)
{
    static const unsigned char buf[BYTES_MOST];
    static const l2_meta durable = { .durable = true, .deadline_ms = BASE_NEVER_MS };
    for (uint32_t i = 0; i < n; i++) {
        cellar_err err = CELLAR_DROPPED;
        for (int tick = 0; err == CELLAR_DROPPED && tick < 50; tick++) {
            const uint32_t key = VALUES + i % keys;
            const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
            err = l2_put(kit.d, &id, buf, value_bytes, &durable, NULL);
            if (err != CELLAR_DROPPED) { break; }
            kit.now_ms += 20;
            (void)l2_tick(kit.d, 0);
        }
        T_REQUIRE(err == CELLAR_OK);
    }
}

static void records_stay_without_room(uint32_t kept, size_t bytes)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        value_bytes = bytes;
        put_to(kept);
        for (int round = 0; round < 4; round++) {
            churn_without_room(6000 * BYTES / (uint32_t)bytes, bytes > BYTES ? 2 : 64);
            all_are_found(0, kept);
            T_EQ_U64(l2_kit_figures(&kit).lost_room, 0);
            if (round == 1) { killed(); }
        }
        end();
    }
}

/* Full segments of live records come one behind the other. These leave no room for a FLOOR. */
T_CASE(many_live_records_stay_while_puts_take_each_free_place)
{
    records_stay_without_room(VALUES, 160);
}

/* Two records fill a segment to two thirds, and 18 take 38 % of the room. */
T_CASE(long_live_records_that_leave_gaps_stay_while_puts_take_each_free_place)
{
    records_stay_without_room(16, BYTES_MOST);
}

/* 3,000 records are 71 % of the room. They move until more than the share is known to be live, then
 * the oldest ones are dropped, and at last the rest moves again. */
T_CASE(segment_above_the_share_is_dropped_with_its_records)
{
    begin(L2_DROP);
    uint32_t found = 0;
    put_to(2 * VALUES);
    for (uint32_t i = 0; i < 12000; i++) {
        put(2 * VALUES - 1 - i % 8, true);
        work();
    }
    l2_stats st = l2_kit_figures(&kit);
    for (uint32_t key = 0; key < 2 * VALUES; key++) { found += look(key) == version_of[key]; }
    T_CHECK(found > VALUES && found < 2 * VALUES);
    T_CHECK(st.reclaimed > 30 && st.live_bytes < PLACES * 65536 / 100 * 55);
    all_are_found(2 * VALUES - 8, 2 * VALUES);
    l2_close(kit.d);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint64_t after = l2_kit_figures(&kit).live_bytes; /* the count of the last run */
    T_CHECK(after > PLACES * 65536 / 5 && after < PLACES * 65536 / 100 * 55);
    end();
}

/* Each way to end a record, while its segment is the oldest and its neighbours move. */
T_CASE(delete_or_expiry_of_a_record_ends_its_copy)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        const uint64_t born = begin((l2_level)level), tag = TAG;
        const l2_meta tagged = { .tag_count = 1, .tag_fps = &tag, .tag_born = born,
                                 .durable = true };
        const l2_meta brief = { .deadline_ms = kit.now_ms + 600000, .durable = true };
        for (uint32_t key = 0; key < VALUES; key++) {
            if (key % 5 == 1) {
                T_EQ_I64(put_as(key, ++newest, &tagged), CELLAR_OK);
            } else if (key % 5 == 2) {
                T_EQ_I64(put_as(key, ++newest, &brief), CELLAR_OK);
            } else {
                put(key, true);
            }
            version_of[key] = newest;
            work();
        }
        churn(5000, 32, true);
        const uint64_t moved = l2_kit_figures(&kit).moved;
        all_are_found(0, VALUES);
        T_CHECK(moved > VALUES); /* so most records are copies by now */
        for (uint32_t key = 0; key < VALUES; key++) {
            if (key % 5 == 3) {
                l2_kit_del(&kit, UINT32_MAX); /* another generation: logs nothing */
                delete_key(key);
                version_of[key] = 0;
            }
            if (key % 5 == 1 || key % 5 == 2) { version_of[key] = 0; }
        }
        l2_tag_invalidate(kit.d, TAG, born + 1, false);
        kit.now_ms += 600000;
        kit.wall_ms += 600000;
        for (int round = 0; round < 3; round++) {
            churn(5000, 32, true);
            all_are_found(0, VALUES);
            killed();
            all_are_found(0, VALUES);
        }
        uint64_t seq;
        T_EQ_I64(l2_glob_begin(kit.d, generation, "*", 1, &seq), CELLAR_OK);
        l2_glob_end(kit.d, seq);
        for (uint32_t key = 0; key < 2 * VALUES; key++) { version_of[key] = 0; }
        churn(5000, 32, true);
        all_are_found(0, VALUES);
        const uint64_t before = l2_kit_figures(&kit).moved;
        churn(5000, 32, true);
        T_CHECK(l2_kit_figures(&kit).moved - before < 5000); /* the dead ones do not move */
        all_are_found(0, VALUES + 32);
        killed();
        all_are_found(0, VALUES + 32);
        end();
    }
}

static int says_valid(void *ctx, uint64_t born, const void *fps, uint32_t count)
{
    (void)ctx, (void)born, (void)fps, (void)count;
    return 0;
}

/* The worker runs before the cache has read the tags of an earlier run. */
T_CASE(records_of_a_tag_that_the_cache_does_not_know_yet_do_not_move)
{
    const uint64_t born = begin(L2_KEEP), tag = TAG;
    const l2_meta tagged = { .tag_count = 1, .tag_fps = &tag, .tag_born = born, .durable = true };
    for (uint32_t key = 0; key < 100; key++) { T_EQ_I64(put_as(key, 1, &tagged), CELLAR_OK); }
    l2_tag_invalidate(kit.d, TAG, born + 1, false);
    l2_kit_kill(&kit);
    dev.locked = false;
    kit.cfg.tags_valid = says_valid;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    churn(8000, 32, true);
    T_CHECK(l2_kit_figures(&kit).reclaimed > 16);
    for (uint32_t key = 0; key < 100; key++) { T_EQ_U64(look(key), 0); }
    end();
}

/* A clear ends all records; those of another namespace move. */
T_CASE(records_of_a_cleared_namespace_do_not_move)
{
    begin(L2_DROP);
    put_to(VALUES);
    const l2_namespace v = { 1, 6, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0, NULL), CELLAR_OK);
    generation = 6;
    churn(8000, 32, true);
    const l2_stats st = l2_kit_figures(&kit);
    T_CHECK(st.reclaimed > 10 && st.moved < 8000);
    generation = 5;
    for (uint32_t key = 0; key < VALUES; key++) { T_EQ_U64(look(key), 0); }
    generation = 6;
    all_are_found(VALUES, VALUES + 32);
    end();
}

/* Reads of the disk fail now and then: a record is not given up because of that. */
T_CASE(failed_reads_lose_no_record)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        kit.cfg.off_errors = 60;
        put_to(VALUES);
        for (uint32_t i = 0; i < 6000; i++) {
            if (i % 50 == 0) {
                dev.fail_site = DEV_PREAD;
                dev.fail_errno = EIO;
                dev.fail_at = 1 + i % 7;
            }
            change(VALUES + i % 32, true);
            work();
        }
        dev.fail_at = 0;
        T_CHECK(l2_kit_figures(&kit).moved > VALUES);
        kit.now_ms += 100000; /* after errors the disk is off for a while */
        work();
        all_are_found(0, VALUES + 32);
        end();
    }
}

/* Writes fail while records move. A delete that finds no room may drop everything, so few keys
 * change meanwhile. */
T_CASE(full_disk_while_records_move_loses_no_record)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (uint32_t at = 1; at < 12; at += 5) {
            begin((l2_level)level);
            put_to(VALUES);
            churn(6000, 32, true);
            const uint64_t moved = l2_kit_figures(&kit).moved;
            T_CHECK(moved > VALUES);
            dev.fail_site = DEV_PWRITE;
            dev.fail_errno = ENOSPC;
            dev.fail_sticky = true;
            dev.fail_at = at;
            uint32_t dropped = 0, lost = 0;
            for (uint32_t i = 0; i < 5000 && dropped < 20; i++) {
                const uint32_t key = i % 3 == 0 ? i % VALUES : VALUES + i % 32;
                const l2_meta m = { .durable = true };
                delete_key(key);
                version_of[key] = ++newest;
                dropped += put_as(key, newest, &m) != CELLAR_OK; /* it is the newest all the same */
            }
            T_EQ_U64(dropped, 20);
            T_CHECK(l2_kit_figures(&kit).offs > 0);
            dev.fail_at = 0;
            dev.fail_sticky = false;
            for (int i = 0; i < 100; i++) { /* the disk is off for a while */
                kit.now_ms += 1000;
                work();
            }
            T_CHECK(!l2_kit_figures(&kit).off);
            T_EQ_U64(l2_kit_figures(&kit).emptied, 0);
            for (uint32_t key = 0; key < VALUES + 32; key++) {
                if (look(key) == 0) { lost++; version_of[key] = 0; }
            }
            T_CHECK(lost <= dropped);
            all_are_found(0, VALUES + 32);
            churn(6000, 32, true);
            T_CHECK(l2_kit_figures(&kit).moved > moved + VALUES);
            all_are_found(0, VALUES + 32);
            killed();
            all_are_found(0, VALUES + 32);
            end();
        }
    }
}

/* ---- values in parts ---- */

#define LONG ((size_t)100000) /* of a quarter of the room */

static void fill_long(unsigned char *value, uint64_t version)
{
    base_rng r;
    base_rng_seed(&r, version);
    for (size_t i = 0; i < LONG; i++) { value[i] = (unsigned char)base_rng_next(&r); }
}

static void put_long(const char *name, uint64_t version)
{
    static unsigned char value[LONG];
    const l2_key id = l2_kit_key(&kit, name, strlen(name), generation);
    l2_parts parts = { 0, 0 };
    const l2_meta m = { .version = version, .deadline_ms = BASE_NEVER_MS, .durable = true,
                        .change = true, .parts = &parts };
    cellar_err err = CELLAR_DROPPED;
    fill_long(value, version);
    for (int i = 0; i < 200 && err == CELLAR_DROPPED; i++) {
        err = l2_put(kit.d, &id, value, LONG, &m, NULL);
        work();
    }
    T_EQ_I64(err, CELLAR_OK);
}

static uint64_t look_long(const char *name)
{
    static unsigned char value[LONG], got[LONG];
    size_t len = 0;
    l2_meta m;
    const l2_key id = l2_kit_key(&kit, name, strlen(name), generation);
    if (l2_get(kit.d, &id, got, sizeof got, &len, &m) != CELLAR_OK) { return 0; }
    fill_long(value, m.version);
    T_CHECK(len == LONG && memcmp(got, value, LONG) == 0);
    return m.version;
}

/* Parts move one by one, away from each other and from their head. */
T_CASE_ON(parts_that_move_during_a_get_are_found, KEPT)
{
    put_long("a", 1);
    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t moved = l2_kit_figures(&kit).moved;
        moves_left = 1 + i % 2;
        reads_left = 1 + i;
        T_EQ_U64(look_long("a"), 1);
        T_EQ_U64(moves_left, 0);
        T_CHECK(l2_kit_figures(&kit).moved > moved);
    }
}

T_CASE(parts_of_live_values_move_until_the_value_ends)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level);
        put_long("a", 1);
        put_long("b", 2);
        for (int lap = 0; lap < 3; lap++) {
            churn(6000, 64, true);
            T_EQ_U64(look_long("a"), 1);
            T_EQ_U64(look_long("b"), 2);
            killed();
            T_EQ_U64(look_long("a"), 1);
            T_EQ_U64(look_long("b"), 2);
        }
        put_long("a", 3);
        const l2_key b = l2_kit_key(&kit, "b", 1, generation);
        l2_invalidate(kit.d, &b);
        churn(6000, 64, true); /* the parts of both versions pass the end of the log */
        const l2_stats before = l2_kit_figures(&kit);
        churn(6000, 64, true);
        const l2_stats after = l2_kit_figures(&kit);
        const uint64_t laps = (after.put_bytes - before.put_bytes) / (PLACES * 65536 / 2);
        T_CHECK(laps > 0 && after.moved_bytes - before.moved_bytes < (laps + 2) * 3 * LONG / 2);
        T_EQ_U64(look_long("a"), 3);
        T_EQ_U64(look_long("b"), 0);
        killed();
        T_EQ_U64(look_long("a"), 3);
        T_EQ_U64(look_long("b"), 0);
        end();
    }
}

/* ---- what ends much in bulk ---- */

/* Fill 30 % of the room with keys from `first` on, tagged, in the current generation. */
static void fill(uint32_t first, const l2_meta *m)
{
    for (uint32_t key = first; key < first + 1200; key++) {
        T_EQ_I64(put_as(key, ++newest, m), CELLAR_OK);
        if (key % 8 == 0) { work(); }
    }
}

/* Most of what has a word is parts of values that are over, behind short records. Two fifths of the
 * room are alive. */
T_CASE_ON(records_stay_wherever_parts_of_replaced_values_lie, KEPT)
{
    static unsigned char value[LONG];
    uint32_t next = 0;
    for (uint32_t key = 0; key < 1200; key++) { put(key, true); }
    for (uint32_t i = 0; i < 300; i++) {
        const l2_key id = l2_kit_key(&kit, "a", 1, generation);
        l2_parts parts = { 0, 0 };
        const l2_meta m = { .version = 1 + i, .deadline_ms = BASE_NEVER_MS, .durable = true,
                            .change = true, .parts = &parts };
        fill_long(value, 1 + i);
        for (int n = 0; n < 400 && l2_put(kit.d, &id, value, LONG, &m, NULL) != CELLAR_OK; n++) {
            kit.now_ms += 20;
            (void)l2_tick(kit.d, 0);
            put(next++ % 1200, true);
        }
    }
    T_CHECK(l2_kit_figures(&kit).reclaimed > 8 * PLACES);
    all_are_found(0, 1200);
}

static void records_stay_when_others_end_by(const char *how, l2_level level)
{
    const uint64_t tag = TAG;
    uint64_t born = begin(level);
    put_to(100);
    l2_namespace v = { 2, 6, 1 };
    T_REQUIRE(l2_namespace_set(kit.d, &v, "w", 1, NULL) == CELLAR_OK);
    for (uint32_t round = 0; round < 12; round++) {
        const l2_meta m = { .tag_count = 1, .tag_fps = &tag, .tag_born = born, .durable = true,
                            .deadline_ms = kit.now_ms + 60000 };
        generation = (uint32_t)v.generation;
        fill(10000 * round + 10000, &m);
        if (how[0] == 'c') {
            v.generation++;
            T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0, NULL), CELLAR_OK);
        } else if (how[0] == 't') {
            l2_tag_invalidate(kit.d, TAG, ++born, false);
        } else {
            kit.now_ms += 60000;
            kit.wall_ms += 60000;
        }
    }
    generation = 5;
    T_CHECK(l2_kit_figures(&kit).reclaimed > 2 * PLACES);
    all_are_found(0, 100);
    killed();
    all_are_found(0, 100);
    end();
}

T_CASE(records_stay_when_many_others_end_in_bulk)
{
    static const char *const how[] = { "clear", "tag", "expiry" };
    for (uint32_t i = 0; i < 3; i++) {
        for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
            records_stay_when_others_end_by(how[i], (l2_level)level);
        }
    }
}

/* A refused unused value starts a look, which finds all alive. Then most of the log ends. */
T_CASE(look_before_many_records_ended_does_not_count_for_a_pass)
{
    const uint64_t born = begin(L2_KEEP), tag = TAG;
    const l2_meta tagged = { .tag_count = 1, .tag_fps = &tag, .tag_born = born, .durable = true };
    const l2_meta unused = { .unused = true }, durable = { .durable = true };
    for (uint32_t key = 0; key < 100; key++) { put(key, true); }
    for (uint32_t key = 10000; key < 11900; key++) {
        T_EQ_I64(put_as(key, ++newest, &tagged), CELLAR_OK);
    }
    T_EQ_I64(put_as(20000, ++newest, &unused), L2_REFUSED);
    const uint64_t read = l2_kit_figures(&kit).passed_bytes;
    work();
    T_CHECK(l2_kit_figures(&kit).passed_bytes > read && l2_kit_figures(&kit).reclaimed == 0);
    l2_tag_invalidate(kit.d, TAG, born + 1, false);
    for (uint32_t key = 30000; key < 31200; key++) {
        T_EQ_I64(put_as(key, ++newest, &durable), CELLAR_OK);
    }
    T_CHECK(l2_kit_figures(&kit).reclaimed > 0);
    all_are_found(0, 100);
    end();
}

/* Two thirds of the room are another namespace, so records are dropped. After its end none is. */
static void end_of_a_namespace(uint32_t next_generation)
{
    begin(L2_KEEP);
    l2_namespace v = { 2, 6, 1 };
    T_REQUIRE(l2_namespace_set(kit.d, &v, "w", 1, NULL) == CELLAR_OK);
    const l2_meta m = { .durable = true };
    generation = 6;
    for (uint32_t round = 0; round < 6; round++) { fill(10000 * round, &m); }
    generation = 5;
    put_to(100);
    generation = 6;
    fill(60000, &m);
    v.generation = next_generation;
    const uint64_t live = base_load_rlx(&kit.d->live_bytes);
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0, NULL), CELLAR_OK);
    T_CHECK(base_load_rlx(&kit.d->live_bytes) < live / 2);
    generation = 5;
    churn(8000, 32, true);
    all_are_found(0, 100);
    end();
}
T_CASE(clear_of_a_namespace_ends_the_drops) { end_of_a_namespace(7); }
T_CASE(drop_of_a_namespace_ends_the_drops) { end_of_a_namespace(0); }

/* Two thirds of the room are puts that come between the new row of their namespace and its begin.
 * No get finds them. They count as alive until passes look. */
T_CASE_ON(puts_during_a_clear_drop_no_other_entry, KEPT)
{
    const l2_namespace v = { 2, 6, 1 }, cleared = { 2, 7, 1 };
    const l2_meta m = { .durable = true };
    T_REQUIRE(l2_namespace_set(kit.d, &v, "w", 1, NULL) == CELLAR_OK);
    put_to(100);
    T_EQ_I64(l2_namespace_set(kit.d, &cleared, "w", 1, NULL), CELLAR_OK);
    generation = 6;
    for (uint32_t round = 0; round < 2; round++) { fill(10000 * round, &m); }
    generation = 5;
    churn(8000, 32, true);
    all_are_found(0, 100);
    T_CHECK(base_load_rlx(&kit.d->live_bytes) < BYTES * 2 * (100 + 32));
}

/* Controls take all room that passes make, for three rounds of the log. No put comes meanwhile. */
T_CASE_ON(flood_of_controls_on_a_slow_disk_drops_no_entry, KEPT)
{
    put_to(VALUES);
    const uint64_t until = base_load_acq(&kit.d->tail) + 3 * PLACES * 65536;
    for (uint32_t n = 1; base_load_acq(&kit.d->tail) < until; n++) {
        T_REQUIRE(n < 100000);
        if (l2_pass_due(kit.d)) {
            kit.now_ms += 20;
            (void)l2_tick(kit.d, 0);
        }
        for (int i = 0; i < 64; i++) { l2_tag_invalidate(kit.d, n, n, false); }
    }
    T_EQ_U64(l2_kit_figures(&kit).waits, 0);
    all_are_found(0, VALUES);
}

#define NAMES 1500u /* their rows fill three segments */

static l2_namespace name_of(uint32_t i, char name[L2_NAME_MAX + 1])
{
    (void)snprintf(name, L2_NAME_MAX + 1, "%064u", i);
    return (l2_namespace){ 10 + i, 10 + i, 1 };
}

/* Controls take all room that they may have, and wait for passes. No put comes meanwhile. */
static void flood_with_names(uint32_t names)
{
    char name[L2_NAME_MAX + 1];
    begin(L2_KEEP);
    for (uint32_t i = 0; i < names; i++) {
        const l2_namespace v = name_of(i, name);
        T_EQ_I64(l2_namespace_set(kit.d, &v, name, L2_NAME_MAX, NULL), CELLAR_OK);
    }
    for (uint32_t key = 0; key < VALUES; key++) { put(key, true); }
    for (uint32_t round = 0; round < 3; round++) {
        const uint64_t until = base_load_acq(&kit.d->tail) + 2 * places * 65536;
        for (uint32_t n = 1; base_load_acq(&kit.d->tail) < until; n++) {
            T_REQUIRE(n < 200000);
            l2_tag_invalidate(kit.d, n, n, false);
        }
        T_EQ_U64(l2_kit_figures(&kit).lost_room, 0);
        T_EQ_U64(l2_kit_figures(&kit).closings, 0);
        killed();
        for (uint32_t i = 0; i < names; i++) {
            const l2_namespace v = name_of(i, name);
            l2_namespace got = { 0, 0, 0 };
            T_CHECK(l2_namespace_find(kit.d, name, L2_NAME_MAX, &got));
            T_CHECK(l2_namespace_same(&got, &v));
        }
    }
    all_are_found(0, VALUES);
    end();
}
T_CASE(flood_of_controls_leaves_room_to_copies) { flood_with_names(0); }
/* All controls of names lie in the four segments of one pass at some time. */
T_CASE(names_that_fill_segments_leave_room_to_their_copies)
{
    places = 4 * PLACES;
    flood_with_names(NAMES);
    places = PLACES;
}

/* Change keys of the first namespace until a place of the log is beyond `lsn`. */
static void churn_past(const _Atomic uint64_t *place, uint64_t lsn)
{
    for (uint32_t n = 0; base_load_acq(place) <= lsn; n++) {
        T_REQUIRE(n < 50000);
        change(n % 64, true);
        work();
    }
}

/* The control of an older clear is logged four segments behind that of a newer one. A FLOOR between
 * the two appends the newer one again, also if the process died before. */
T_CASE(control_that_is_logged_late_hides_no_newer_one)
{
    for (int dies = 0; dies < 2; dies++) {
        begin(L2_KEEP);
        const l2_namespace older = { 2, 6, 1 }, newer = { 2, 7, 2 };
        l2_namespace got = { 0, 0, 0 };
        const uint64_t at = base_load_acq(&kit.d->tail);
        T_REQUIRE(l2_namespace_set(kit.d, &newer, "w", 1, NULL) == CELLAR_OK);
        churn_past(&kit.d->tail, at + 4 * 65536);
        const uint64_t late = base_load_acq(&kit.d->tail);
        T_REQUIRE(l2_namespace_set(kit.d, &older, "w", 1, NULL) == CELLAR_OK);
        if (dies != 0) { killed(); }
        churn_past(&kit.d->floor_lsn, at);
        T_CHECK(base_load_acq(&kit.d->floor_lsn) <= late);
        killed();
        T_CHECK(l2_namespace_find(kit.d, "w", 1, &got) && l2_namespace_same(&got, &newer));
        end();
    }
}

/* A store that is full of live records drops the oldest, also in its next run. */
T_CASE_ON(share_of_live_records_outlives_the_run, KEPT)
{
    const l2_meta m = { .durable = true };
    for (uint32_t round = 0; round < 6; round++) { fill(10000 * round, &m); }
    for (int run = 0; run < 2; run++) {
        if (run == 0) {
            l2_close(kit.d);
            T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        } else {
            killed();
        }
        fill(100000 + 10000 * (uint32_t)run, &m);
        T_EQ_U64(l2_kit_figures(&kit).moved, 0);
        T_CHECK(l2_kit_figures(&kit).reclaimed > 3);
    }
}

/* ---- bytes read ---- */

T_CASE_ON(pass_reads_a_segment_once_and_an_eighth_of_one_that_is_dropped, KEPT)
{
    begin_again();
    kit.cfg.seg_bytes = 524288;
    kit.cfg.bytes = PLACES * 524288;
    kit.cfg.memory_bytes = UINT64_C(64) << 20; /* an index that is never full */
    (void)open_it();
    const l2_meta m = { .durable = true };
    l2_stats was = l2_kit_figures(&kit), st;
    for (uint32_t i = 0; i < 120; i++) { put_long(i % 20 == 0 ? "a" : "b", 1 + i); }
    for (uint32_t i = 0; i < 8; i++) { fill(0, &m); }
    st = l2_kit_figures(&kit);
    T_CHECK(st.reclaimed > PLACES);
    T_CHECK(st.passed_bytes * 100 <= (st.sealed_bytes - was.sealed_bytes) * 105);
    for (uint32_t i = 0; i < 60; i++) { fill(10000 * i, &m); }
    was = l2_kit_figures(&kit);
    for (uint32_t i = 60; i < 120; i++) { fill(10000 * i, &m); }
    st = l2_kit_figures(&kit);
    T_CHECK(st.reclaimed - was.reclaimed > PLACES);
    T_CHECK((st.passed_bytes - was.passed_bytes) * 100 <=
            (st.sealed_bytes - was.sealed_bytes) * 15);
}

#define LOOKS 64u /* of a decision of passes */

static bool looked_at[3 * LOOKS];

/* A look reads records. Headers, trailers and rows have other sizes. */
static int pread_noted(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at, size_t *done)
{
    const bool record = n < L2_PAGE && n != L2_HEAD_BYTES && n != L2_TRAILER_BYTES;
    if (record) { looked_at[at / 65536 % (3 * LOOKS)] = true; }
    return l2_dev_pread(ctx, f, buf, n, at, done);
}

/* Entries of one time lie together. */
T_CASE(looks_of_a_pass_lie_evenly_over_the_log)
{
    static const l2_meta durable = { .durable = true };
    begin(L2_DROP);
    begin_again();
    kit.cfg.seg_count = 3 * LOOKS;
    kit.cfg.bytes = 3 * LOOKS * 65536;
    kit.cfg.memory_bytes = 16 << 20;
    kit.cfg.move_pct = 10;
    (void)open_it();
    const uint64_t first = l2_seq_of(kit.d, base_load_acq(&kit.d->head));
    for (uint32_t i = 0; !l2_pass_due(kit.d); i++) { (void)put_as(i, 1, &durable); }
    const uint64_t span = base_load_acq(&kit.d->sealed_seq) - first;
    memset(looked_at, 0, sizeof looked_at);
    kit.vfs.pread = pread_noted;
    (void)l2_tick(kit.d, 0);
    uint64_t looks = 0, from = first;
    for (uint64_t seq = first; seq < first + span; seq++) {
        if (!looked_at[seq % (3 * LOOKS)]) { continue; }
        T_CHECK(seq - from <= span / LOOKS + 2);
        from = seq;
        looks++;
    }
    T_CHECK(span > 2 * LOOKS && looks == LOOKS && first + span - from <= span / LOOKS + 2);
    end();
}

T_ONE_THREAD;
T_MAIN("l2_moves")
