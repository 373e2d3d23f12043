/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes on disk have fixed offsets and are bound to epoch, segment and offset. Each flipped
 *         bit is detected. The index keeps heavy words, loses few plain ones, and keeps one word
 *         per bunch.
 * Method: pages and records made by hand, every bit flipped; words against a naive table. */
#include "tests/support/l2_kit.h"

static l2_form form;

static void form_make(void)
{
    base_sum_key_init(&form.sum, l2_kit_secret);
    form.epoch = 5;
    form.seg_bytes = 16384;
    form.granule = 8;
}

static uint32_t record(unsigned char *at, uint64_t segseq, uint32_t off, const char *key,
                       const char *value)
{
    l2_rec r = { .klen = (uint16_t)strlen(key), .vlen = (uint32_t)strlen(value), .generation = 9,
                 .expiry_wall_ms = 1234567890123 };
    l2_rec_begin(&form, at, segseq, off, &r);
    memcpy(at + 24, key, r.klen);
    memcpy(at + 24 + r.klen, value, r.vlen);
    l2_rec_end(&form, at, segseq, off);
    return 24u + r.klen + r.vlen;
}

T_CASE(records_verify_only_at_their_position)
{
    form_make();
    unsigned char at[128] BASE_ALIGNED(8) = { 0 };
    const uint32_t n = record(at, 7, 640, "some key", "and its value");
    l2_rec r;
    T_CHECK(l2_rec_marked(&form, at, 7, 640, 8192, &r));
    T_CHECK(l2_rec_whole(&form, at, 7, 640, &r));
    T_EQ_U64(r.bytes, n);
    T_EQ_U64(r.klen, 8);
    T_EQ_U64(r.vlen, 13);
    T_EQ_U64(r.generation, 9);
    T_EQ_I64(r.expiry_wall_ms, 1234567890123);
    T_EQ_U64(l2_r16(at + 6), 8); /* the offsets of the format */
    T_EQ_U64(l2_r32(at + 8), 13);
    T_EQ_U64(l2_r32(at + 20), 9);
    T_EQ_MEM(at + 24, "some key", 8);
    T_CHECK(!l2_rec_whole(&form, at, 8, 640, &r)); /* an earlier segment of the place */
    T_CHECK(!l2_rec_whole(&form, at, 7, 648, &r)); /* moved */
    form.epoch = 6;
    T_CHECK(!l2_rec_whole(&form, at, 7, 640, &r)); /* another epoch */
    form.epoch = 5;
    form.sum.k[3]++;
    T_CHECK(!l2_rec_whole(&form, at, 7, 640, &r)); /* another store */
    form_make();
    for (uint32_t bit = 0; bit < n * 8; bit++) {
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        T_CHECK(!l2_rec_marked(&form, at, 7, 640, 8192, &r) ||
                !l2_rec_whole(&form, at, 7, 640, &r));
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    T_CHECK(!l2_rec_marked(&form, at, 7, 640, 640 + n - 1, &r)); /* beyond the end */
    T_CHECK(!l2_rec_marked(&form, at, 7, 640, 650, &r));
}

T_CASE(lengths_are_readable_before_the_body)
{
    form_make();
    unsigned char at[64] BASE_ALIGNED(8) = { 0 };
    const l2_rec head = { .klen = 3, .vlen = 5 };
    l2_rec r;
    l2_rec_begin(&form, at, 7, 64, &head);
    T_CHECK(l2_rec_marked(&form, at, 7, 64, 8192, &r) && !l2_rec_whole(&form, at, 7, 64, &r));
    T_EQ_U64(r.bytes, 32);
    memset(at, 0, sizeof at);
    T_CHECK(!l2_rec_marked(&form, at, 7, 64, 8192, &r)); /* zeros are no record */
}

T_CASE(any_flipped_bit_of_a_page_is_detected_and_repaired)
{
    form_make();
    static unsigned char page[L2_PAGE], copy[L2_PAGE];
    const l2_trailer t = { .head = { .epoch = 5, .segseq = 7, .prev_segseq = 6,
                                     .floor_lsn = 3 * 16384, .base_wall_ms = 99, .segid = 2,
                                     .meta = 16384 },
                           .data_end = 8000, .entries = 408, .footer_pages = 2, .tombs = 3,
                           .controls = 4, .max_generation = 11 };
    l2_trailer u;
    l2_trailer_write(&form, page, &t);
    T_CHECK(l2_trailer_read(&form, page, &u) == (8000 + 3 * 4096 <= 16384));
    l2_trailer v = t;
    v.data_end = 4000;
    l2_trailer_write(&form, page, &v);
    T_CHECK(l2_trailer_read(&form, page, &u));
    T_CHECK(u.head.segseq == 7 && u.head.prev_segseq == 6 && u.head.floor_lsn == 3 * 16384 &&
            u.head.base_wall_ms == 99 && u.head.segid == 2 && u.entries == 408 && u.tombs == 3 &&
            u.controls == 4 && u.max_generation == 11 && u.footer_pages == 2);
    memcpy(copy, page, L2_PAGE);
    for (uint32_t bit = 0; bit < L2_PAGE * 8; bit++) {
        page[bit / 8] ^= (unsigned char)(1u << bit % 8);
        T_CHECK(!l2_trailer_read(&form, page, &u));
        page[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    page[2000] ^= 4;
    T_CHECK(l2_trailer_heal(&form, page, &u));
    T_EQ_MEM(page, copy, L2_PAGE);
    page[10] ^= 1;
    page[3000] ^= 1; /* two bits: not repaired */
    T_CHECK(!l2_trailer_heal(&form, page, &u));
    memset(page, 0, L2_PAGE);
    l2_w16(page + 14, 3);
    l2_w64(page + 16, 7);
    l2_foot_close(&form, page, 7);
    T_CHECK(l2_foot_ok(&form, page, 7, 3) && !l2_foot_ok(&form, page, 7, 2) &&
            !l2_foot_ok(&form, page, 8, 3));
    page[1234] ^= 16;
    T_CHECK(!l2_foot_ok(&form, page, 7, 3) && l2_foot_heal(&form, page, 7, 3));
}

T_CASE(sums_are_bit_exact)
{
    static const struct { size_t len; uint64_t sum; } vectors[] = {
        { 0, UINT64_C(0xc722f66d516e04be) }, { 1, UINT64_C(0x28cb757496b9eba8) },
        { 8, UINT64_C(0x7478607c1f700104) }, { 13, UINT64_C(0xc5db21e96b65e1b8) },
        { 33, UINT64_C(0xb05ccbe4484b1605) }, { 62, UINT64_C(0x41fb5ecbbc8b261e) },
    };
    unsigned char secret[32], bytes[64];
    base_sum_key key;
    for (int i = 0; i < 32; i++) { secret[i] = (unsigned char)(i * 7 + 1); }
    for (int i = 0; i < 64; i++) { bytes[i] = (unsigned char)(i * 131); }
    base_sum_key_init(&key, secret);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const size_t n = vectors[i].len;
        T_EQ_U64(base_sum(&key, n * 3, bytes, n), vectors[i].sum);
    }
    static unsigned char big[5000];
    for (size_t i = 0; i < sizeof big; i++) { big[i] = (unsigned char)(i * 131 >> 3); }
    const uint64_t sum = base_sum(&key, 1, big, sizeof big);
    for (size_t n = 0; n < sizeof big; n += 64) {
        base_sum_parts parts;
        base_sum_begin(&key, 1, &parts);
        base_sum_add(&key, &parts, big, n);
        base_sum_add(&key, &parts, big + n, sizeof big - n);
        T_EQ_U64(base_sum_end(&key, &parts), sum);
    }
    T_CHECK(sum != base_sum(&key, 2, big, sizeof big));
    T_CHECK(sum != base_sum(&key, 1, big, sizeof big - 1));
    for (size_t bit = 0; bit < sizeof big * 8; bit += 3) {
        big[bit / 8] ^= (unsigned char)(1u << bit % 8);
        T_CHECK(base_sum(&key, 1, big, sizeof big) != sum);
        big[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
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

static bool form_has(l2 *d, uint64_t i)
{
    uint64_t word[L2_BUNCH_WORDS];
    const uint32_t n = l2_index_all(d, l2_h48(i), word);
    for (uint32_t at = 0; at < n; at++) {
        const uint64_t w = word[at];
        if (l2_word_off(d, w) == 64 + (uint32_t)(i / 64) * 8 && l2_word_seg(d, w) == i % 64) {
            T_CHECK(l2_word_bytes(d, w) >= 100 && l2_word_bytes(d, w) <= 128);
            return true;
        }
    }
    return false;
}

/* Fill an index for `objects` with as many keys. At most `most` words may be lost. */
static void words_lost(uint64_t flags, uint64_t most)
{
    static l2_kit kit;
    static l2 d;
    l2_kit_init(&kit, NULL);
    memset(&d, 0, sizeof d);
    d.cfg.account = &kit.account;
    d.form.granule = 8;
    d.seg_shift = 20;
    const uint64_t objects = 200000;
    static l2_seg segs[64];
    memset(segs, 0, sizeof segs);
    for (uint64_t i = 0; i < 64; i++) {
        base_store_rlx(&segs[i].word, L2_SEG_WORD(L2_SEG_DISK, 0, i + 1));
    }
    d.seg = segs;
    d.nseg = 64;
    d.form.seg_bytes = 1u << 23;
    T_REQUIRE(l2_index_open(&d, objects));
    for (uint64_t i = 0; i < objects; i++) {
        const uint64_t h48 = l2_h48(i);
        const uint32_t off = 64 + (uint32_t)(i / 64) * 8;
        l2_index_link(&d, h48, l2_word_make(&d, (uint32_t)(i % 64), off, h48, 100) | flags, 0);
    }
    uint64_t lost = 0;
    for (uint64_t i = 0; i < objects; i++) { lost += !form_has(&d, i); }
    const double slots = (double)d.index.buckets * L2_SHARDS * L2_WAYS;
    printf("# %" PRIu64 " of %" PRIu64 " lost (%.4f %%) at load %.3f, %.2f B a key\n", lost,
           objects, 100.0 * (double)lost / (double)objects, (double)objects / slots,
           8.0 * slots / (double)objects);
    T_CHECK(lost <= most);
    for (uint64_t i = 0; i < objects; i++) {
        uint64_t word[L2_BUNCH_WORDS];
        const uint32_t n = l2_index_all(&d, l2_h48(i), word);
        for (uint32_t at = 0; at < n; at++) {
            l2_index_drop(&d, l2_h48(i), L2_WORD_ADDR(word[at]));
        }
    }
    T_EQ_U64(base_load_rlx(&d.index.words), 0);
    l2_index_close(&d);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
}

T_CASE(few_plain_words_are_lost_at_the_intended_load) { words_lost(0, 200); } /* 0.1 % */
T_CASE(no_kept_word_is_lost_at_the_intended_load) { words_lost(L2_WORD_DURABLE, 0); }

T_CASE(size_hints_round_up_a_little)
{
    static l2 d;
    d.form.granule = 8;
    d.form.seg_bytes = 1u << 23;
    d.seg_shift = 20;
    for (uint32_t bytes = 24; bytes < d.form.seg_bytes; bytes += 1 + bytes / 7) {
        const uint64_t w = l2_word_make(&d, 1, 64, 0, bytes);
        const uint32_t hint = l2_word_bytes(&d, w);
        T_CHECK(hint >= bytes && hint <= bytes + bytes / 8 + 16);
    }
    d.form.granule = 64; /* 4 TiB: the last granule of the last segment */
    d.form.seg_bytes = 1u << 23;
    d.seg_shift = 17;
    const uint32_t last = (uint32_t)(((uint64_t)1 << 42) >> 23) - 1;
    const uint64_t w = l2_word_make(&d, last, d.form.seg_bytes - 64, 0xffff, 64);
    T_EQ_U64(l2_word_seg(&d, w), last);
    T_EQ_U64(l2_word_off(&d, w), d.form.seg_bytes - 64);
}

T_ONE_THREAD;
T_MAIN("l2_format")
