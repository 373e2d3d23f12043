/* SPDX-License-Identifier: MIT
 *
 * hash: a 64-bit check of bytes, and SHA-256.
 *
 * INVARIANTS remote_check is a chain of bijections of its state for each word: two inputs of one
 *            length that differ in one word have different checks.
 * NOT HERE   secrets of the store: processes must agree on names without a common secret.
 * SOURCE     FIPS 180-4. */
#include "remote/hash.h"

#include <string.h>

/* Read 8 bytes, little-endian. Compilers make one load of it. */
static uint64_t remote_word(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

static uint64_t remote_check_word(uint64_t h, uint64_t w)
{
    h = (h ^ w) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

CELLAR_PRIVATE uint64_t remote_check(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t i = 0;
    uint64_t last = 0;
    for (; len - i >= 8; i += 8) { h = remote_check_word(h, remote_word(p + i)); }
    for (size_t k = 0; i + k < len; k++) { last |= (uint64_t)p[i + k] << (8 * k); }
    if (i < len) { h = remote_check_word(h, last); }
    h = (h ^ (uint64_t)len) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 29;
}

typedef struct remote_digest {
    uint32_t h[8];
    uint8_t block[64];
    uint64_t len; /* bytes so far; len % 64 of them are in block */
} remote_digest;

static const uint32_t REMOTE_SHA256_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static uint32_t remote_rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void remote_sha256_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (remote_rotate(a, 7) ^ remote_rotate(a, 18) ^ a >> 3) +
               (remote_rotate(b, 17) ^ remote_rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        const uint32_t e = s[4], a = s[0];
        const uint32_t t1 = s[7] + (remote_rotate(e, 6) ^ remote_rotate(e, 11) ^
                                    remote_rotate(e, 25)) +
                            ((e & s[5]) ^ (~e & s[6])) + REMOTE_SHA256_K[i] + w[i];
        const uint32_t t2 = (remote_rotate(a, 2) ^ remote_rotate(a, 13) ^ remote_rotate(a, 22)) +
                            ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) { h[i] += s[i]; }
}

static void remote_digest_add(remote_digest *c, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) {
        c->block[c->len++ % 64] = p[i];
        if (c->len % 64 == 0) { remote_sha256_block(c->h, c->block); }
    }
}

CELLAR_PRIVATE void remote_sha256(const void *bytes, size_t len, uint8_t out[REMOTE_SHA256_BYTES])
{
    remote_digest c = { .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                               0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
    static const uint8_t one = 0x80, zero = 0;
    remote_digest_add(&c, bytes, len);
    remote_digest_add(&c, &one, 1);
    while (c.len % 64 != 56) { remote_digest_add(&c, &zero, 1); }
    for (int i = 0; i < 8; i++) {
        const uint8_t b = (uint8_t)((uint64_t)len * 8 >> (56 - 8 * i));
        remote_digest_add(&c, &b, 1);
    }
    for (int i = 0; i < 32; i++) { out[i] = (uint8_t)(c.h[i / 4] >> (24 - 8 * (i % 4))); }
}
