/* SPDX-License-Identifier: MIT
 *
 * hash: keyed 64-bit hashes, bit-exact on every machine. Test vectors: test_base_hash.c.
 *
 * FOLD       Folded 64x64 -> 128 multiplication over 16-byte blocks, four secret words. Default.
 * SIP13      SipHash-1-3: a PRF with published analysis, 4 to 6 times slower on short keys.
 * SUM        Checksum of the disk formats: 64-byte stripes into eight lanes, seeded. Not for
 *            tables. A change of SUM changes every format that uses it.
 * INVARIANTS The hash key is made once per store, before the first cache key is hashed; a disk tier
 *            brings its own. `salt` (the generation of an entry) is part of the input.
 * LIMITS     Keys of 8..16 bytes are hashed inline.
 * SOURCE     Wang Yi, wyhash (folded multiplication, reading of 1..16 bytes); Aumasson and
 *            Bernstein 2012, SipHash; Yann Collet, XXH3 (32x32 -> 64 products of keyed lanes).
 *            Own code. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <string.h>

#include "base/port.h"

typedef enum base_hash_algo { BASE_HASH_FOLD = 0, BASE_HASH_SIP13 = 1 } base_hash_algo;

typedef struct base_hash_key {
    uint64_t secret[4]; /* FOLD: four odd words; SIP13: the first two words */
    uint32_t algo;      /* base_hash_algo */
    uint32_t near_lens; /* FOLD: 9, lengths 8..16 are hashed inline; SIP13: 0, none */
} base_hash_key;

/* Make a hash key from 32 secret bytes. */
CELLAR_PRIVATE void base_hash_key_init(base_hash_key *k, base_hash_algo algo,
                                       const unsigned char secret[32]);
/* Hash a key of any length with any algorithm. Callers use base_hash. */
CELLAR_PRIVATE uint64_t base_hash_long(const base_hash_key *k, uint32_t salt, const void *key,
                                       size_t len);

typedef struct base_sum_key {
    uint64_t k[8];
} base_sum_key;
/* Make a checksum key from 32 secret bytes. */
CELLAR_PRIVATE void base_sum_key_init(base_sum_key *key, const unsigned char secret[32]);
/* Return the checksum of `len` bytes. `seed` adds facts that the bytes do not contain: their place
 * and the generation of the store. */
CELLAR_PRIVATE uint64_t base_sum(const base_sum_key *key, uint64_t seed, const void *bytes,
                                 size_t len);

BASE_INLINE uint64_t base_hash_r8(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
BASE_INLINE uint64_t base_hash_r4(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
BASE_INLINE void base_hash_mul(uint64_t *a, uint64_t *b)
{
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 base_u128;
    base_u128 r = (base_u128)*a * *b;
    *a = (uint64_t)r;
    *b = (uint64_t)(r >> 64);
#else
    uint64_t ha = *a >> 32, la = (uint32_t)*a, hb = *b >> 32, lb = (uint32_t)*b;
    uint64_t ll = la * lb, hl = ha * lb, lh = la * hb, hh = ha * hb;
    uint64_t mid = (ll >> 32) + (uint32_t)hl + (uint32_t)lh;
    *a = (mid << 32) | (uint32_t)ll;
    *b = hh + (hl >> 32) + (lh >> 32) + (mid >> 32);
#endif
}
BASE_INLINE uint64_t base_hash_fold(uint64_t a, uint64_t b)
{
    base_hash_mul(&a, &b);
    return a ^ b;
}

BASE_ALWAYS_INLINE uint64_t base_hash_seed(const base_hash_key *k, uint32_t salt)
{
    return k->secret[0] ^ ((uint64_t)salt * UINT64_C(0x9e3779b97f4a7c15));
}
BASE_ALWAYS_INLINE uint64_t base_hash_end(const base_hash_key *k, uint64_t seed, uint64_t a,
                                          uint64_t b, size_t len)
{
    a ^= k->secret[1];
    b ^= seed;
    base_hash_mul(&a, &b);
    return base_hash_fold(a ^ k->secret[2] ^ (uint64_t)len, b ^ k->secret[3]);
}

/* Return whether base_hash_near accepts a key of this length. */
BASE_ALWAYS_INLINE bool base_hash_is_near(const base_hash_key *k, size_t len)
{
    return len - 8 < k->near_lens;
}
BASE_ALWAYS_INLINE uint64_t base_hash_near(const base_hash_key *k, uint32_t salt, const void *key,
                                           size_t len)
{
    const unsigned char *p = (const unsigned char *)key;
    return base_hash_end(k, base_hash_seed(k, salt), base_hash_r8(p), base_hash_r8(p + len - 8),
                         len);
}

BASE_INLINE uint64_t base_hash(const base_hash_key *k, uint32_t salt, const void *key, size_t len)
{
    if (BASE_UNLIKELY(!base_hash_is_near(k, len))) { return base_hash_long(k, salt, key, len); }
    return base_hash_near(k, salt, key, len);
}

#endif
