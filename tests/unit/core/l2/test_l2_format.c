/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes on disk have fixed offsets and are bound to run, segment and offset. Each flipped
 *         bit is detected. The index finds each word, and its tables keep to their budget. An index
 *         that is full, or has no memory, brings no ended entry back: a change of a key without a
 *         place is found by the next open, an entry that gives its place up is a miss for all
 *         opens, durable entries keep theirs. Keys that share a word never show an older value of
 *         another.
 * Method: pages and records made by hand, every bit flipped; an index without a store; a store of
 *         16 MiB on an in-memory disk with an index for MANY keys, or with the least one. A process
 *         death is l2_discard, which writes nothing. */
#include "base/fault.h"
#include "l2/control.h"
#include "l2/geometry.h"
#include "l2/index.h"
#include "l2/log.h"
#include "l2/segment.h"
#include "tests/support/log_kit.h"

static l2_form form;

static void form_make(void)
{
    base_sum_key_init(&form.sum, secret);
    form.epoch = 5;
    form.seg_bytes = 16384;
    form.granule = 8;
}

static uint32_t record(unsigned char *at, uint64_t segseq, uint32_t off, const char *key,
                       const char *value)
{
    l2_rec r = { .klen = (uint16_t)strlen(key), .vlen = (uint32_t)strlen(value), .generation = 9,
                 .expiry_wall_ms = 1234567890123 };
    l2_rec_begin(at, &r);
    memcpy(at + 24, key, r.klen);
    memcpy(at + 24 + r.klen, value, r.vlen);
    l2_rec_end(&form, at, segseq, off);
    return 24u + r.klen + r.vlen;
}

T_CASE(generations_are_ordered_across_the_wrap_of_40_bits)
{
    const uint64_t half = UINT64_C(1) << 39;
    T_CHECK(l2_generation_after(half - 1, 0) && !l2_generation_after(0, half - 1));
    T_CHECK(l2_generation_after(0, L2_GENERATION_MOST));
}

/* The mark verifies head and key without the value. It has 16 bits: with the fixed secret of this
 * test it finds each single bit. */
T_CASE(records_verify_only_at_their_position)
{
    form_make();
    static unsigned char at[8192 - 640] BASE_ALIGNED(8); /* a flipped length ends in it */
    const uint32_t n = record(at, 7, 640, "some key", "and its value");
    l2_rec r;
    T_CHECK(l2_rec_parse(at, 640, 8192, &r) && l2_rec_marked(&form, at, 7, 640, &r));
    T_CHECK(l2_rec_whole(&form, at, 7, 640, &r));
    T_FIELDS(r, bytes, n, klen, 8, vlen, 13, generation, 9, expiry_wall_ms, 1234567890123);
    T_EQ_U64(l2_rec_named(&r), 24 + 8);
    T_EQ_U64(l2_r16(at + 6), 8); /* the offsets of the format */
    T_EQ_U64(l2_r32(at + 8), 13);
    T_EQ_U64(l2_r32(at + 20), 9);
    T_EQ_MEM(at + 24, "some key", 8);
    T_CHECK(!l2_rec_whole(&form, at, 8, 640, &r)); /* an earlier segment of the place */
    T_CHECK(!l2_rec_whole(&form, at, 7, 648, &r)); /* moved */
    form.epoch = 6;
    T_CHECK(!l2_rec_whole(&form, at, 7, 640, &r)); /* another run */
    form.epoch = 5;
    form.sum.k[3]++;
    T_CHECK(!l2_rec_whole(&form, at, 7, 640, &r)); /* another store */
    form_make();
    for (uint32_t bit = 0; bit < n * 8; bit++) {
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        const bool parsed = l2_rec_parse(at, 640, 8192, &r);
        T_CHECK(!parsed || !l2_rec_whole(&form, at, 7, 640, &r));
        if (bit >= L2_RECORD_CHECK * 8) {
            T_EQ_I64(parsed && l2_rec_marked(&form, at, 7, 640, &r), bit >= (24 + 8) * 8);
        }
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    T_CHECK(!l2_rec_parse(at, 640, 640 + n - 1, &r)); /* beyond the end */
    T_CHECK(!l2_rec_parse(at, 640, 650, &r));
    memset(at, 0, sizeof at);
    T_CHECK(!l2_rec_parse(at, 640, 8192, &r)); /* zeros are no record */
}

/* Flip each bit of n bytes. `ok` tells whether they verify. */
static void no_bit_passes(unsigned char *at, size_t n, bool (*ok)(const unsigned char *at))
{
    T_CHECK(ok(at));
    for (size_t bit = 0; bit < n * 8; bit++) {
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        T_CHECK(!ok(at));
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static const l2_trailer trailer = { .seq = 7, .run = 5, .rows = 3, .data_end = 4000, .full = 1 };
static const l2_head header = { .seq = 8, .run = 5, .synced = 99,
                                .before = { .seq = 7, .run = 5, .rows = 3, .data_end = 4000,
                                            .full = 1 } };

static bool trailer_ok(const unsigned char *at)
{
    l2_trailer t;
    return l2_trailer_read(&form, at, &t) && t.seq == 7 && t.run == 5 && t.rows == 3 &&
           t.data_end == 4000 && t.full == 1;
}

static bool header_ok(const unsigned char *at)
{
    l2_head h;
    return l2_head_read(&form, at, &h) && h.seq == 8 && h.run == 5 && h.synced == 99 &&
           h.before.seq == 7 && h.before.rows == 3 && h.before.data_end == 4000;
}

static bool rows_ok(const unsigned char *at) { return l2_rows_ok(&form, at, &trailer, 2); }

static bool super_ok(const unsigned char *at)
{
    l2_super s;
    return l2_super_read(at, &s) == CELLAR_OK && s.serial == 11 && s.nseg == 12;
}

T_CASE(any_flipped_bit_of_a_page_is_detected)
{
    static unsigned char page[L2_PAGE];
    form_make();
    l2_trailer_write(&form, page, &trailer);
    T_EQ_U64(l2_r32(page + 4), 3); /* the offsets of the format */
    T_EQ_U64(l2_r64(page + 8), 7);
    T_EQ_U64(l2_r32(page + 24), 4000);
    no_bit_passes(page, L2_TRAILER_BYTES, trailer_ok);
    l2_trailer beyond = trailer; /* rows and records overlap */
    beyond.data_end = form.seg_bytes - L2_PAGE + 8;
    l2_trailer_write(&form, page, &beyond);
    T_CHECK(!l2_trailer_read(&form, page, &beyond));
    l2_head_write(&form, page, &header);
    T_EQ_U64(l2_r64(page + 24), 99);
    no_bit_passes(page, 80, header_ok);
    memset(page, 0, sizeof page);
    const l2_row row = { 77, 9, 640, 128, L2_KIND_TOMB };
    l2_row back;
    l2_row_write(page + L2_ROW_FIRST, &row);
    l2_row_read(page + L2_ROW_FIRST, &back);
    T_EQ_MEM(&back, &row, sizeof row);
    l2_rows_close(&form, page, &trailer, 2);
    no_bit_passes(page, L2_ROW_FIRST + L2_ROWS_PAGE * L2_ROW_BYTES, rows_ok);
    T_CHECK(!l2_rows_ok(&form, page, &trailer, 1)); /* another page */
    l2_trailer later = trailer;
    later.run = 6;
    T_CHECK(!l2_rows_ok(&form, page, &later, 2)); /* another run */
    const l2_super s = { .major = L2_MAJOR, .serial = 11, .seg_bytes = 65536, .nseg = 12,
                         .granule = 8, .room_max = 8192 };
    l2_super_write(page, &s);
    T_EQ_MEM(page, "CELLARL2", 8);
    T_EQ_U64(l2_r16(page + 8), 4);
    no_bit_passes(page, L2_PAGE, super_ok);
}

T_CASE(sums_are_bit_exact)
{
    static const struct { size_t len; uint64_t sum; } vectors[] = {
        { 0, UINT64_C(0xc722f66d516e04be) }, { 1, UINT64_C(0x28cb757496b9eba8) },
        { 8, UINT64_C(0x7478607c1f700104) }, { 13, UINT64_C(0xc5db21e96b65e1b8) },
        { 33, UINT64_C(0xb05ccbe4484b1605) }, { 62, UINT64_C(0x41fb5ecbbc8b261e) },
    };
    unsigned char key_bytes[32], bytes[64];
    base_sum_key key;
    for (int i = 0; i < 32; i++) { key_bytes[i] = (unsigned char)(i * 7 + 1); }
    for (int i = 0; i < 64; i++) { bytes[i] = (unsigned char)(i * 131); }
    base_sum_key_init(&key, key_bytes);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const size_t n = vectors[i].len;
        T_EQ_U64(base_sum(&key, n * 3, bytes, n), vectors[i].sum);
    }
    static unsigned char big[5000];
    for (size_t i = 0; i < sizeof big; i++) { big[i] = (unsigned char)(i * 131 >> 3); }
    const uint64_t sum = base_sum(&key, 1, big, sizeof big);
    T_CHECK(sum != base_sum(&key, 2, big, sizeof big));
    T_CHECK(sum != base_sum(&key, 1, big, sizeof big - 1));
    for (size_t a = 0; a + 128 <= sizeof big; a += 64) { /* swapped stripes */
        unsigned char was[128];
        memcpy(was, big + a, 128);
        memcpy(big + a, was + 64, 64);
        memcpy(big + a + 64, was, 64);
        T_CHECK(base_sum(&key, 1, big, sizeof big) != sum);
        memcpy(big + a, was, 128);
    }
}

T_CASE(unknown_extensions_are_skipped_or_refused)
{
    l2_meta m;
    memset(&m, 0, sizeof m);
    const unsigned char known[] = { 3, 4, 1, 0, 0, 0, 0, 0 };
    T_CHECK(l2_ext_read(known, 8, &m) && m.user_flags == 1);
    const unsigned char skipped[] = { 99, 2, 7, 7, 6, 1, 1, 0 };
    T_CHECK(l2_ext_read(skipped, 8, &m) && m.kind == 1);
    const unsigned char must[] = { 128, 2, 7, 7, 0, 0, 0, 0 };
    T_CHECK(!l2_ext_read(must, 8, &m));
    const unsigned char beyond[] = { 99, 7, 7, 7, 0, 0, 0, 0 };
    T_CHECK(!l2_ext_read(beyond, 8, &m));
    const unsigned char short_field[] = { 3, 3, 1, 0, 0, 0, 0, 0 };
    T_CHECK(!l2_ext_read(short_field, 8, &m));
}

/* ---- index ---- */

static l2 bare; /* an index alone */

static void index_begin(uint64_t words)
{
    begin(L2_DROP);
    memset(&bare, 0, sizeof bare);
    bare.cfg.account = &account;
    bare.form.granule = 8;
    T_REQUIRE(l2_index_open(&bare, words));
}

static void index_end(void) { l2_index_close(&bare); T_EQ_U64(base_load_rlx(&account.used), 0); }

T_CASE(each_word_is_found_until_it_is_removed)
{
    const uint64_t words = 180000;
    uint64_t wrong = 0;
    index_begin(words / 9 * 10);
    for (uint64_t i = 0; i < words; i++) {
        wrong += !l2_index_room(&bare, base_mix64(i));
        l2_index_set(&bare, base_mix64(i), 8 * (i + 1), 100);
    }
    T_EQ_U64(base_load_rlx(&bare.index.words), words);
    for (uint64_t i = 0; i < words; i += 2) { l2_index_drop(&bare, base_mix64(i)); }
    for (uint64_t i = 0; i < words; i++) {
        const l2_word w = l2_index_find(&bare, base_mix64(i));
        wrong += i % 2 == 0 ? w.lsn != 0 : w.lsn != 8 * (i + 1) || w.bytes < 100 || w.bytes > 104;
    }
    for (uint64_t i = 1; i < words; i += 2) { l2_index_drop(&bare, base_mix64(i)); }
    T_EQ_U64(wrong, 0);
    T_EQ_U64(base_load_rlx(&bare.index.words), 0);
    index_end();
}

/* Three keys with the last place of their shard as the first one: two lie at its begin. */
T_CASE(oldest_near_word_is_found_over_the_end_of_a_shard)
{
    const uint64_t end = UINT64_C(0xffffffff) << 16;
    uint64_t found = 0;
    index_begin(64);
    for (uint64_t i = 0; i < 3; i++) { l2_index_set(&bare, end | i << 8, 24 - 8 * i, 100); }
    for (uint64_t i = 3; i-- > 0;) {
        T_EQ_U64(l2_index_near(&bare, end, 16 - 8 * i, &found).lsn, 24 - 8 * i);
        T_EQ_U64(found, end | i << 8);
    }
    T_EQ_U64(l2_index_near(&bare, end, 24, &found).lsn, 0);
    index_end();
}

T_CASE(size_hints_round_up_a_little)
{
    for (uint32_t bytes = 24; bytes < 1u << 23; bytes += 1 + bytes / 7) {
        const uint32_t hint = l2_word_bytes(bytes);
        T_CHECK(hint >= bytes && hint <= bytes + bytes / 64 + 16);
    }
}

/* 4 TiB with 64 bytes a granule: a word leads ahead of the head, wherever that is. */
T_CASE(places_reach_4_tib_from_the_head_on)
{
    const uint64_t span = UINT64_C(1) << 42;
    index_begin(64);
    bare.form.granule = 64;
    for (uint64_t head = 0; head < 3 * span; head += span / 4 * 3) {
        base_store_rel(&bare.head, head);
        for (uint64_t past = 0; past < span; past += span / 4 + 64) {
            l2_index_set(&bare, 99, head + past, 64);
            T_EQ_U64(l2_index_find(&bare, 99).lsn, head + past);
        }
        l2_index_set(&bare, 99, head + span - 64, 64);
        T_EQ_U64(l2_index_find(&bare, 99).lsn, head + span - 64);
    }
    index_end();
}

static void sized(l2_super *made, uint64_t mib, uint64_t memory_mib, uint64_t mean)
{
    *made = (l2_super){ .nseg = 0 };
    cfg.seg_count = cfg.seg_bytes = 0;
    cfg.bytes = mib << 20;
    cfg.memory_bytes = memory_mib << 20;
    cfg.avg_object_bytes = mean;
    T_EQ_I64(l2_geometry(&cfg, made), CELLAR_OK);
}

/* A long value has a record for each 64 KiB. */
T_CASE(index_has_a_place_for_each_64_kib)
{
    l2_super made;
    begin(L2_DROP);
    for (uint64_t mib = 16; mib <= 16384; mib *= 4) {
        sized(&made, mib, 64, UINT32_MAX);
        T_CHECK(l2_words_for(&cfg, &made) >= (uint64_t)made.nseg * made.seg_bytes / 65536);
    }
}

T_CASE(tables_take_a_quarter_of_the_budget)
{
    l2_super made;
    begin(L2_DROP);
    for (uint64_t memory = 4; memory <= 4096; memory *= 2) {
        for (uint64_t mib = 16; mib <= 65536; mib *= 4) {
            for (uint64_t mean = 0; mean <= 65536; mean = mean * 16 + 256) {
                sized(&made, mib, memory, mean);
                T_CHECK(l2_tables_bytes(&cfg, &made) <= cfg.memory_bytes / 4 + 65536);
            }
        }
    }
}

/* The buffers have room for the longest record of the open that made the store. */
T_CASE(small_budget_keeps_a_quarter_of_the_words)
{
    l2_super fresh, made;
    begin(L2_DROP);
    sized(&fresh, 64, 4, 0);
    const uint64_t words = l2_words_for(&cfg, &fresh);
    sized(&made, 64, 1024, 0);
    cfg.memory_bytes = 4 << 20;
    T_CHECK(words > 40000 && l2_words_for(&cfg, &made) >= words / 4);
    T_CHECK(l2_tables_bytes(&cfg, &made) + l2_rows_bytes(&made) < cfg.memory_bytes * 3 / 4);
}

/* ---- an index that is full, or has no memory ---- */

#define MANY 6000u /* more keys than the least index has places */

/* Prepare a store with an index for each key. */
static void start(void)
{
    begin(L2_DROP);
    cfg.bytes = (uint64_t)16 << 20;
    cfg.memory_bytes = (uint64_t)16 << 20;
    cfg.seg_bytes = cfg.seg_count = 0;
    l2_dev_init(&dev);
    dev.flat = true;
}

static void open_it(void) { open_on(&dev); }

/* Open with an index that has no place for a part of the keys. */
static void open_small(void)
{
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_it();
}

static void stop(void)
{
    l2_close(d);
    l2_dev_fini(&dev);
}

static void put_small(uint32_t i, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = durable };
    cellar_err err = CELLAR_DROPPED;
    while (err == CELLAR_DROPPED) {
        err = l2_put(d, &k, "value", 5, &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(d, 0); }
    }
    T_EQ_I64(err, CELLAR_OK);
}

static void put_many(bool durable)
{
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, durable); }
}

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

/* Return how many of the keys from `from` on, each `step`-th, have a word. */
static uint32_t indexed(uint32_t from, uint32_t step)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < MANY; i += step) {
        const l2_key k = key_of(&i);
        n += l2_indexed(d, k.hash);
    }
    return n;
}

static void end_many(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        l2_invalidate(d, &k);
    }
}

/* The index of the second open has no place for a part of the records. */
T_CASE(change_of_a_key_without_a_place_is_found_by_the_next_open)
{
    start();
    open_it();
    put_many(true);
    l2_close(d);
    open_small();
    T_CHECK(figures().index_full > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        T_CHECK(!l2_nothing(d, k.hash));
        l2_invalidate(d, &k);
    }
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_it();
    T_EQ_U64(indexed(0, 1), 0);
    stop();
}

/* The allocations behind the one that fails succeed. */
T_CASE(failed_allocation_of_an_open_brings_no_deleted_entry)
{
    uint32_t lacking = 0;
    bool more = true;
    start();
    open_it();
    put_many(true);
    end_many();
    l2_discard(d);
    cfg.avg_object_bytes = (uint64_t)1 << 20; /* a part of the tombstones finds no place */
    for (uint64_t nth = 1; more && !t_failed(); nth++) {
        int e = 0;
        dev.locked = false;
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = l2_open(&cfg, &d, &e);
        more = base_fault_alloc_arm(0, false) >= nth;
        if (err != CELLAR_OK) {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            continue;
        }
        T_EQ_U64(indexed(0, 1), 0);
        lacking += l2_lacks_words(d);
        l2_discard(d);
    }
    T_CHECK(lacking > 0);
    l2_dev_fini(&dev);
}

/* An ordinary entry gives its place up. It is a miss then, also for the next open. */
T_CASE(full_index_takes_new_keys_and_brings_no_old_value_back)
{
    start();
    open_small();
    put_many(false);
    const uint32_t there = indexed(0, 1);
    for (uint32_t i = 1; i < MANY; i += 2) {
        const l2_key k = key_of(&i);
        l2_invalidate(d, &k);
    }
    T_CHECK(there > 1000 && there < MANY);
    T_FIELDS(figures(), index_full, 0, lost_index, MANY - there);
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_it();
    T_EQ_U64(indexed(1, 2), 0);
    stop();
}

/* The log has no room for the end of an entry that would give its place up. */
T_CASE(put_into_a_full_shard_waits_for_room_of_the_log)
{
    const unsigned char value[16] = { L2_CTL_FLOOR };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    uint64_t lsn, end;
    l2_took took;
    start();
    open_small();
    put_many(false);
    do {
        took = l2_control_try(d, L2_USE_KEEP, L2_KIND_CONTROL, 0, value, sizeof value, &lsn, &end);
    } while (took == L2_TOOK || l2_make_way(d, took, L2_NO_LIMIT_NS) == L2_TOOK);
    for (uint32_t i = MANY; i < MANY + 100; i++) {
        const l2_key k = key_of(&i);
        T_EQ_I64(l2_put(d, &k, "", 0, &m, NULL), CELLAR_DROPPED);
    }
    for (int i = 0; i < 3; i++) { (void)l2_tick(d, 0); }
    put_small(MANY, false);
    stop();
}

T_CASE(durable_entries_keep_their_places)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    uint32_t stored = 0;
    start();
    open_small();
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        const cellar_err err = l2_put(d, &k, "value", 5, &m, NULL);
        T_CHECK(err == CELLAR_OK || err == L2_REFUSED);
        stored += err == CELLAR_OK;
    }
    T_CHECK(stored > 1000 && stored < MANY);
    T_EQ_U64(indexed(0, 1), stored);
    end_many(); /* makes room */
    for (uint32_t i = 0; i < stored / 4; i++) { put_small(MANY + i, true); }
    stop();
}

/* ---- keys that share a word ---- */

#define PAIRS 4u
#define PAIR_GENERATION 7u
/* Two keys of one row have the same upper 56 bits of l2_mix, with the secret of the kit and this
 * generation. All 2^32 keys were searched for those with five first bits. */
static const uint32_t pair[PAIRS][2] = { { 1942208957, 2568209154 }, { 2132671910, 2831927796 },
                                         { 2211692864, 4191557500 }, { 2861124810, 3192733765 } };

static void put_of_pair(uint32_t i, uint32_t v, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
    T_EQ_I64(l2_put(d, &k, &i, sizeof i, &m, NULL), CELLAR_OK);
}

/* Return the version that is served; 0: none. */
static uint32_t look_of_pair(uint32_t i)
{
    const l2_key k = key_of(&i);
    uint32_t value = 0;
    size_t n = 0;
    l2_meta m;
    if (l2_get(d, &k, &value, sizeof value, &n, &m) != CELLAR_OK) { return 0; }
    T_CHECK(n == sizeof value && value == i);
    return m.user_flags;
}

/* The records of other keys let the log come round. */
static void fill_a_segment(base_rng *r)
{
    generation_now = GENERATION;
    for (uint32_t n = 0; n < 300; n++) { put_small((uint32_t)base_rng_below(r, 1500), true); }
    (void)l2_tick(d, 0);
    generation_now = PAIR_GENERATION;
}

static void open_pairs(void)
{
    const l2_namespace ns = { .id = 2, .generation = PAIR_GENERATION };
    open_it();
    T_EQ_I64(l2_namespace_set(d, &ns, "pairs", 5, NULL), CELLAR_OK);
    generation_now = PAIR_GENERATION;
}

T_CASE(no_key_restores_an_older_value_of_another_with_its_bits)
{
    uint32_t now[PAIRS][2] = { { 0 } }, hits = 0;
    base_rng rng;
    base_rng_seed(&rng, t_seed());
    start();
    cfg.seg_bytes = 65536;
    cfg.seg_count = 12;
    cfg.bytes = 12 * 65536;
    open_pairs();
    for (uint32_t i = 0; i < PAIRS; i++) {
        const l2_key a = key_of(&pair[i][0]), b = key_of(&pair[i][1]);
        T_REQUIRE(base_mix64(a.hash) >> 8 == base_mix64(b.hash) >> 8);
    }
    for (uint32_t step = 1; step < 20000 && !t_failed(); step++) {
        const uint64_t r = base_rng_next(&rng), i = r % PAIRS, side = r >> 8 & 1;
        uint32_t *is = &now[i][side];
        if ((r >> 16) % 3 == 0) {
            const l2_key k = key_of(&pair[i][side]);
            l2_invalidate(d, &k);
            *is = 0;
        } else {
            put_of_pair(pair[i][side], *is = step, (r >> 24 & 1) != 0);
        }
        if ((r >> 32) % 100 == 0) { fill_a_segment(&rng); }
        if ((r >> 40) % 200 == 0) {
            l2_discard(d);
            open_pairs();
        }
        for (uint32_t k = 0; k < 2 * PAIRS; k++) {
            const uint32_t got = look_of_pair(pair[k / 2][k % 2]);
            T_CHECK(got == 0 || got == now[k / 2][k % 2]);
            hits += got != 0;
        }
    }
    T_CHECK(hits > 20000);
    stop();
}

T_ONE_THREAD;
T_MAIN("l2_format")
