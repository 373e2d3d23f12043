/* SPDX-License-Identifier: MIT
 *
 * hash: FOLD for the lengths that base/hash.h does not inline, SipHash-1-3, and the checksum SUM.
 *
 * FORMAT     FOLD  fold(a, b) = low ^ high half of a * b.
 *                  1..3 bytes  a = first, middle and last byte
 *                  4..7, 8..16 a, b = the first and the last 4 or 8 bytes, overlapping
 *                  17..        three lanes of 16 bytes while > 48 are left, then one lane, then the
 *                              last 16 bytes, overlapping
 *                  end         fold(a ^ s2 ^ len, b ^ s3) after one full multiplication
 *            SUM   lane i += low * high 32 bits of (word ^ key[i] + n C); its neighbour += word.
 *                  n counts stripes, so that swapped stripes differ. Lanes are folded every 16
 *                  stripes and at the end, together with the length.
 *            SIP13 SipHash-1-3 of the key followed by the salt in four little-endian bytes.
 * INVARIANTS The same value on every machine. Secrets of FOLD are odd, so that no multiplier is 0,
 *            and masked, so that weak secrets do no harm. Appending bytes, a zero byte included,
 *            changes the length and with it the value.
 * LIMITS     FOLD: an input word that equals its secret word folds to 0. Without the secret, input
 *            meets one with probability 2^-63 per block. Collisions can be made from the secret.
 * SOURCE     Wang Yi, wyhash (public domain); Aumasson and Bernstein 2012, SipHash; Yann Collet,
 *            XXH3. Own code.
 * SEE ALSO   README.md in this folder: figures, and why SIP13 is not the default. */
#include "base/hash.h"

#include "base/check.h"
#include "base/num.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

CELLAR_PRIVATE void base_hash_key_init(base_hash_key *k, base_hash_algo algo,
                                       const unsigned char secret[32])
{
    BASE_ASSERT(algo == BASE_HASH_FOLD || algo == BASE_HASH_SIP13);
    /* Arbitrary constants. Without them the words of a mostly-zero secret would be 1, and short
     * keys would collide often. */
    static const uint64_t mask[4] = { UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b),
                                      UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1) };
    for (size_t i = 0; i < 4; i++) {
        const uint64_t word = base_hash_r8(secret + 8 * i);
        k->secret[i] = algo == BASE_HASH_FOLD ? (word ^ mask[i]) | 1 : word;
    }
    k->algo = (uint32_t)algo;
    k->near_lens = algo == BASE_HASH_FOLD ? 9 : 0;
}

static uint64_t base_hash_fold_long(const base_hash_key *k, uint32_t salt,
                                    const unsigned char *p, size_t len)
{
    uint64_t seed = base_hash_seed(k, salt);
    uint64_t a, b;
    if (len <= 3) {
        a = len == 0 ? 0 : ((uint64_t)p[0] << 16) | ((uint64_t)p[len >> 1] << 8) | p[len - 1];
        b = 0;
    } else if (len <= 7) {
        a = base_hash_r4(p);
        b = base_hash_r4(p + len - 4);
    } else if (len <= 16) {
        a = base_hash_r8(p);
        b = base_hash_r8(p + len - 8);
    } else {
        size_t left = len;
        if (left > 48) {
            uint64_t lane1 = seed, lane2 = seed;
            do {
                seed = base_hash_fold(base_hash_r8(p) ^ k->secret[1], base_hash_r8(p + 8) ^ seed);
                lane1 = base_hash_fold(base_hash_r8(p + 16) ^ k->secret[2],
                                       base_hash_r8(p + 24) ^ lane1);
                lane2 = base_hash_fold(base_hash_r8(p + 32) ^ k->secret[3],
                                       base_hash_r8(p + 40) ^ lane2);
                p += 48;
                left -= 48;
            } while (left > 48);
            seed ^= lane1 ^ lane2;
        }
        while (left > 16) {
            seed = base_hash_fold(base_hash_r8(p) ^ k->secret[1], base_hash_r8(p + 8) ^ seed);
            p += 16;
            left -= 16;
        }
        a = base_hash_r8(p + left - 16);
        b = base_hash_r8(p + left - 8);
    }
    return base_hash_end(k, seed, a, b, len);
}

static void base_hash_sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = base_rotl(v[1], 13) ^ v[0];
    v[0] = base_rotl(v[0], 32);
    v[2] += v[3];
    v[3] = base_rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = base_rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = base_rotl(v[1], 17) ^ v[2];
    v[2] = base_rotl(v[2], 32);
}

static void base_hash_sip_word(uint64_t v[4], uint64_t m)
{
    v[3] ^= m;
    base_hash_sip_round(v);
    v[0] ^= m;
}

static uint64_t base_hash_sip13(const base_hash_key *k, uint32_t salt, const unsigned char *p,
                                size_t len)
{
    uint64_t k0 = k->secret[0], k1 = k->secret[1];
    uint64_t v[4] = { k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
                      k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573) };
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) { base_hash_sip_word(v, base_hash_r8(p)); }
    /* Remaining bytes, salt, zeros, and the message length in the last byte: one or two words. */
    unsigned char tail[16] = { 0 };
    if (left > 0) { memcpy(tail, p, left); }
    memcpy(tail + left, &salt, 4); /* little-endian machines only: base/port.h checks */
    size_t words = left + 4 >= 8 ? 2 : 1;
    tail[words * 8 - 1] = (unsigned char)(len + 4);
    for (size_t i = 0; i < words; i++) { base_hash_sip_word(v, base_hash_r8(tail + 8 * i)); }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) { base_hash_sip_round(v); }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

CELLAR_PRIVATE uint64_t base_hash_long(const base_hash_key *k, uint32_t salt, const void *key,
                                       size_t len)
{
    const unsigned char *p = (const unsigned char *)key;
    return k->algo == BASE_HASH_SIP13 ? base_hash_sip13(k, salt, p, len)
                                      : base_hash_fold_long(k, salt, p, len);
}

/* ---- sum ---- */

#define BASE_SUM_STEP UINT64_C(0x9e3779b97f4a7c15)
#define BASE_SUM_PRIME UINT64_C(0x9e3779b1)
#define BASE_SUM_ROUND 16 /* stripes between two foldings */

CELLAR_PRIVATE void base_sum_key_init(base_sum_key *key, const unsigned char secret[32])
{
    for (size_t i = 0; i < 8; i++) {
        const uint64_t a = base_hash_r8(secret + 8 * (i & 3));
        key->k[i] = base_mix64(a + (i + 1) * BASE_SUM_STEP);
    }
}

/* Add `n` stripes of 64 bytes to the lanes; the first one is stripe number `from`. */
#if defined(__SSE2__)
BASE_ALWAYS_INLINE __m128i base_sum_lane(__m128i acc, __m128i key, const unsigned char *p)
{
    const __m128i d = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i x = _mm_xor_si128(d, key);
    const __m128i product = _mm_mul_epu32(x, _mm_srli_epi64(x, 32));
    return _mm_add_epi64(acc, _mm_add_epi64(product, _mm_shuffle_epi32(d, 0x4e)));
}
BASE_ALWAYS_INLINE __m128i base_sum_load(const uint64_t *two)
{
    return _mm_loadu_si128((const __m128i *)(const void *)two);
}
static void base_sum_stripes(const base_sum_key *key, uint64_t acc[8], const unsigned char *p,
                             size_t n, uint64_t from)
{
    const __m128i step = _mm_set1_epi64x((long long)BASE_SUM_STEP);
    const __m128i at = _mm_set1_epi64x((long long)(from * BASE_SUM_STEP));
    __m128i k0 = _mm_add_epi64(base_sum_load(key->k), at), a0 = base_sum_load(acc);
    __m128i k1 = _mm_add_epi64(base_sum_load(key->k + 2), at), a1 = base_sum_load(acc + 2);
    __m128i k2 = _mm_add_epi64(base_sum_load(key->k + 4), at), a2 = base_sum_load(acc + 4);
    __m128i k3 = _mm_add_epi64(base_sum_load(key->k + 6), at), a3 = base_sum_load(acc + 6);
    for (; n > 0; n--, p += 64) {
        a0 = base_sum_lane(a0, k0, p);
        a1 = base_sum_lane(a1, k1, p + 16);
        a2 = base_sum_lane(a2, k2, p + 32);
        a3 = base_sum_lane(a3, k3, p + 48);
        k0 = _mm_add_epi64(k0, step);
        k1 = _mm_add_epi64(k1, step);
        k2 = _mm_add_epi64(k2, step);
        k3 = _mm_add_epi64(k3, step);
    }
    _mm_storeu_si128((__m128i *)(void *)acc, a0);
    _mm_storeu_si128((__m128i *)(void *)(acc + 2), a1);
    _mm_storeu_si128((__m128i *)(void *)(acc + 4), a2);
    _mm_storeu_si128((__m128i *)(void *)(acc + 6), a3);
}
#else
static void base_sum_stripes(const base_sum_key *key, uint64_t acc[8], const unsigned char *p,
                             size_t n, uint64_t from)
{
    for (uint64_t at = from * BASE_SUM_STEP; n > 0; n--, p += 64, at += BASE_SUM_STEP) {
        for (size_t i = 0; i < 8; i++) {
            const uint64_t d = base_hash_r8(p + 8 * i), x = d ^ (key->k[i] + at);
            acc[i] += (x & UINT32_MAX) * (x >> 32);
            acc[i ^ 1] += d;
        }
    }
}
#endif

CELLAR_PRIVATE uint64_t base_sum(const base_sum_key *key, uint64_t seed, const void *bytes,
                                 size_t len)
{
    const unsigned char *p = (const unsigned char *)bytes;
    uint64_t acc[8], stripe = 0, h = len * BASE_SUM_STEP ^ seed;
    for (size_t i = 0; i < 8; i++) { acc[i] = (seed + i) * BASE_SUM_STEP ^ key->k[7 - i]; }
    while (len >= 64) {
        const size_t n = BASE_MIN(len / 64, (size_t)BASE_SUM_ROUND);
        base_sum_stripes(key, acc, p, n, stripe);
        stripe += n;
        for (size_t i = 0; n == BASE_SUM_ROUND && i < 8; i++) {
            acc[i] = (acc[i] ^ acc[i] >> 47 ^ key->k[i]) * BASE_SUM_PRIME;
        }
        p += 64 * n;
        len -= 64 * n;
    }
    if (len > 0) {
        unsigned char tail[64] = { 0 };
        memcpy(tail, p, len);
        base_sum_stripes(key, acc, tail, 1, stripe);
    }
    for (size_t i = 0; i < 8; i += 2) {
        h += base_hash_fold(acc[i] ^ key->k[i + 1], acc[i + 1] ^ key->k[i]);
    }
    return base_mix64(h);
}
