/* SPDX-License-Identifier: MIT
 *
 * sha256: the digest of FIPS 180-4 in its plain form.
 *
 * WALK       add: complete the started block, take whole blocks from the caller, keep the rest.
 *            end: one 1 bit, zeros, the length in bits as 64-bit big-endian.
 * LIMITS     2^61 - 1 bytes: the length in bits must fit 64 bits.
 * SOURCE     FIPS 180-4, sections 4.1.2, 4.2.2, 5.3.3, 6.2. Vectors: test_base_sha256.c. */
#include "base/sha256.h"

#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t base_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t base_sha256_rotr(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static uint32_t base_sha256_word(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void base_sha256_round(uint32_t v[8], uint32_t kw)
{
    const uint32_t a = v[0], e = v[4];
    const uint32_t s1 = base_sha256_rotr(e, 6) ^ base_sha256_rotr(e, 11) ^ base_sha256_rotr(e, 25);
    const uint32_t t1 = v[7] + s1 + ((e & v[5]) ^ (~e & v[6])) + kw;
    const uint32_t s0 = base_sha256_rotr(a, 2) ^ base_sha256_rotr(a, 13) ^ base_sha256_rotr(a, 22);
    const uint32_t t2 = s0 + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    v[7] = v[6];
    v[6] = v[5];
    v[5] = e;
    v[4] = v[3] + t1;
    v[3] = v[2];
    v[2] = v[1];
    v[1] = a;
    v[0] = t1 + t2;
}

static void base_sha256_block(base_sha256 *s, const unsigned char *p)
{
    uint32_t w[64], v[8];
    for (int t = 0; t < 16; t++) { w[t] = base_sha256_word(p + 4 * t); }
    for (int t = 16; t < 64; t++) {
        const uint32_t x = w[t - 15], y = w[t - 2];
        const uint32_t s0 = base_sha256_rotr(x, 7) ^ base_sha256_rotr(x, 18) ^ x >> 3;
        const uint32_t s1 = base_sha256_rotr(y, 17) ^ base_sha256_rotr(y, 19) ^ y >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    memcpy(v, s->h, sizeof v);
    for (int t = 0; t < 64; t++) { base_sha256_round(v, base_sha256_k[t] + w[t]); }
    for (int i = 0; i < 8; i++) { s->h[i] += v[i]; }
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void base_sha256_init(base_sha256 *s)
{
    /* The first 32 bits of the fractional parts of the square roots of the first 8 primes. */
    static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    memcpy(s->h, start, sizeof start);
    s->total = 0;
}

CELLAR_PRIVATE void base_sha256_add(base_sha256 *s, const void *data, size_t len)
{
    const unsigned char *p = data;
    size_t kept = (size_t)(s->total % 64);
    s->total += len;
    if (kept != 0) {
        const size_t room = 64 - kept, take = len < room ? len : room;
        memcpy(s->block + kept, p, take);
        p += take;
        len -= take;
        if (kept + take < 64) { return; }
        base_sha256_block(s, s->block);
    }
    for (; len >= 64; p += 64, len -= 64) { base_sha256_block(s, p); }
    if (len != 0) { memcpy(s->block, p, len); }
}

CELLAR_PRIVATE void base_sha256_end(base_sha256 *s, unsigned char out[32])
{
    static const unsigned char pad[64] = { 0x80 };
    unsigned char length[8];
    const uint64_t bits = s->total * 8;
    const size_t kept = (size_t)(s->total % 64);
    for (int i = 0; i < 8; i++) { length[i] = (unsigned char)(bits >> (56 - 8 * i)); }
    base_sha256_add(s, pad, kept < 56 ? 56 - kept : 120 - kept);
    base_sha256_add(s, length, sizeof length);
    for (int i = 0; i < 32; i++) { out[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4))); }
}

BASE_SIZE_END
