/* SPDX-License-Identifier: MIT
 *
 * num: arithmetic that cannot overflow silently, powers of two, bit mixing. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/port.h"

#define BASE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BASE_MAX(a, b) ((a) > (b) ? (a) : (b))
#define BASE_NEVER_MS INT64_MAX

/* Add two sizes. False: overflow, *out is unspecified. */
BASE_INLINE bool base_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
/* Add a duration >= 0 to a time; saturate at BASE_NEVER_MS. */
BASE_INLINE int64_t base_add_sat(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_add_overflow(a, b, &r) ? BASE_NEVER_MS : r;
}
BASE_INLINE uint64_t base_round_up(uint64_t n, uint64_t pow2)
{
    return (n + pow2 - 1) & ~(pow2 - 1);
}
BASE_INLINE unsigned base_log2_floor(uint64_t n) { return 63u - (unsigned)__builtin_clzll(n | 1); }
BASE_INLINE uint64_t base_pow2_floor(uint64_t n) { return (uint64_t)1 << base_log2_floor(n); }
BASE_INLINE uint64_t base_pow2_ceil(uint64_t n)
{
    return n <= 1 ? 1 : (uint64_t)1 << (base_log2_floor(n - 1) + 1);
}
BASE_INLINE uint64_t base_clamp(uint64_t v, uint64_t lo, uint64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}
BASE_INLINE uint64_t base_rotl(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }
/* Mix 64 bits by a bijection (multiply, fold, multiply). A part that reuses the hash of a key for a
 * second choice (ghosts, sketch, sample, L2) mixes it first: the stripes are the first choice. */
BASE_INLINE uint64_t base_mix64(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

#endif
