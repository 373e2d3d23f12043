/* SPDX-License-Identifier: MIT
 *
 * Aim:    byte moves are exact at every offset and length, touch nothing outside, and a reader that
 *         checks the version never accepts a mix.
 * Method: all offsets and lengths up to 40 against memcpy between guard bytes; threads around a
 *         version word (ThreadSanitizer uses the atomic form, other builds the plain one). */
#include "tests/support/t.h"

#include "base/seqlock.h"
#include "base/sync.h"

T_CASE(moves_at_every_offset_and_length_are_exact)
{
    _Alignas(16) unsigned char a[96], b[96], want[96];
    for (size_t off = 0; off < 17; off++) {
        for (size_t n = 0; n <= 60; n++) {
            for (size_t i = 0; i < 96; i++) {
                a[i] = (unsigned char)(i + 1);
                b[i] = want[i] = 0xee;
            }
            memcpy(want + 8, a + off, n);
            base_seq_load(b + 8, a + off, n);
            T_EQ_MEM(b, want, 96);
            T_CHECK(base_seq_equal(a + off, b + 8, n));
            for (size_t i = 0; i < n; i += 7) {
                b[8 + i] ^= 0x10;
                T_CHECK(!base_seq_equal(a + off, b + 8, n));
                b[8 + i] ^= 0x10;
            }
            memset(b, 0xee, 96);
            memset(want, 0xee, 96);
            memcpy(want + off, a + 3, n);
            base_seq_store(b + off, a + 3, n);
            T_EQ_MEM(b, want, 96);
            memset(b, 0xee, 96);
            base_seq_move(b + off, a + 3, n);
            T_EQ_MEM(b, want, 96);
            if (t_failed()) { return; }
        }
    }
}

T_CASE(long_moves_are_exact)
{
    static unsigned char a[3000], b[3000];
    for (size_t i = 0; i < sizeof a; i++) { a[i] = (unsigned char)(i * 7); }
    base_seq_move(b + 1, a + 2, 2900);
    T_EQ_MEM(b + 1, a + 2, 2900);
    T_CHECK(base_seq_equal(b + 1, a + 2, 2900));
    b[2000] ^= 1;
    T_CHECK(!base_seq_equal(b + 1, a + 2, 2900));
}

T_CASE(near_forms_agree_with_plain_forms)
{
    static unsigned char a[600], b[600], want[600];
    for (size_t i = 0; i < sizeof a; i++) { a[i] = (unsigned char)(i * 11 + 3); }
    for (size_t off = 0; off < 9; off++) {
        for (size_t n = 0; n <= BASE_SEQ_NEAR; n = n < 70 ? n + 1 : n + 13) {
            memset(b, 0xee, sizeof b);
            memset(want, 0xee, sizeof want);
            memcpy(want + 8, a + off, n);
            base_seq_load_near(b + 8, a + off, n);
            T_EQ_MEM(b, want, sizeof b);
        }
        for (size_t n = 4; n <= 32; n++) {
            memcpy(b, a + off, n);
            T_CHECK(base_seq_equal_near(a + off, b, n));
            for (size_t i = 0; i < n; i++) {
                b[i] ^= 0x40;
                T_CHECK(!base_seq_equal_near(a + off, b, n));
                b[i] ^= 0x40;
            }
        }
        if (t_failed()) { return; }
    }
    _Alignas(16) _Atomic uint16_t tags[9];
    for (unsigned m = 0; m < 512; m++) {
        for (unsigned i = 0; i < 9; i++) {
            base_store_rlx(&tags[i], (uint16_t)((m >> i & 1) != 0 ? 0x8001u : 0x8000u));
        }
        T_EQ_U64(base_seq_match8(tags, 0x8001u), m & 255u);
    }
    unsigned char bytes[17];
    for (unsigned m = 0; m < 1u << 17; m++) {
        for (unsigned i = 0; i < 17; i++) { bytes[i] = (m >> i & 1) != 0 ? 0xff : 0x7f; }
        T_EQ_U64(base_match16(bytes, 0xff), m & 0xffffu);
    }
}

T_CASE(words_at_every_offset_are_exact)
{
    _Alignas(8) unsigned char a[32];
    for (size_t off = 0; off < 16; off++) {
        memset(a, 0xee, sizeof a);
        base_seq_store_u32(a + off, 0x01020304u);
        T_EQ_U64(base_seq_u32(a + off), 0x01020304u);
        T_EQ_U64(a[off], 4);
        T_EQ_U64(a[off + 4], 0xee);
        base_seq_store_u64(a + off, UINT64_C(0x0102030405060708));
        T_EQ_U64(base_seq_u64(a + off), UINT64_C(0x0102030405060708));
        T_EQ_U64(a[off + 7], 1);
        T_EQ_U64(a[off + 8], 0xee);
    }
}

/* ---- a version word around 100 bytes ---- */

static struct { _Atomic uint32_t ver BASE_ALIGNED(64); unsigned char bytes[120]; } shared;
static _Atomic uint32_t stop;
static uint64_t accepted;

static void write_main(void *arg)
{
    (void)arg;
    unsigned char image[100];
    for (uint32_t v = 1; base_load_rlx(&stop) == 0; v++) {
        memset(image, (int)(v & 0xff), sizeof image);
        uint32_t ver = base_load_rlx(&shared.ver);
        (void)base_cas_sc(&shared.ver, ver, ver + 1);
        base_fence_rel();
        base_seq_store(shared.bytes + 5, image, sizeof image);
        base_store_rel(&shared.ver, ver + 2);
        for (uint32_t i = v % 64; i > 0; i--) { base_pause(); } /* gives the reader a chance */
    }
}

static void read_main(void *arg)
{
    (void)arg;
    unsigned char copy[100];
    /* A reader that is always late continues until it meets the writer in a pause. */
    for (int i = 0; i < 300000 || accepted == 0; i++) {
        if (i >= 300000) { base_yield(); }
        uint32_t ver = base_load_acq(&shared.ver);
        if ((ver & 1) != 0) {
            base_pause();
            continue;
        }
        base_seq_load(copy, shared.bytes + 5, sizeof copy);
        base_fence_acq();
        if (base_load_rlx(&shared.ver) != ver) { continue; }
        accepted++;
        for (size_t b = 1; b < sizeof copy; b++) {
            if (copy[b] != copy[0]) {
                T_CHECK(copy[b] == copy[0]);
                return;
            }
        }
    }
}

T_CASE(checked_read_never_returns_a_mix)
{
    base_thread writer, reader;
    base_store_rel(&stop, 0u);
    T_REQUIRE(base_thread_start(&writer, write_main, NULL, "writer", 0) == 0);
    T_REQUIRE(base_thread_start(&reader, read_main, NULL, "reader", 0) == 0);
    base_thread_join(&reader);
    base_store_rel(&stop, 1u);
    base_thread_join(&writer);
    T_CHECK(accepted > 0);
    T_EQ_U64(shared.bytes[4], 0);
    T_EQ_U64(shared.bytes[105], 0);
}

T_MAIN("base_seqlock")
