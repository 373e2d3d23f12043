/* SPDX-License-Identifier: MIT
 *
 * seqlock: read bytes that another thread may be writing, under a version word (l1/index).
 *
 * PICTURE    Two complete implementations: memcpy behind compiler barriers (production), and atomic
 *            words (seqlock.c: ThreadSanitizer, MemorySanitizer, simulation).
 * INVARIANTS A reader may see any mix of old and new bytes; the version check afterwards discards
 *            it. No access outside [p, p + n).
 * SEE ALSO   README.md in this folder: why atomic words are not the default. */
#ifndef BASE_SEQLOCK_H
#define BASE_SEQLOCK_H

#include <string.h>

#include "base/atomic.h"

#if BASE_HAVE_SSE2
#include <emmintrin.h>
#endif

#if !BASE_SEQ_ATOMIC

/* Hide the origin of a pointer, so that the compiler can neither repeat nor merge reads across the
 * call. */
BASE_ALWAYS_INLINE const unsigned char *base_seq_in(const void *p)
{
    const unsigned char *q = (const unsigned char *)p;
    __asm__ volatile("" : "+r"(q) : : "memory");
    return q;
}
BASE_ALWAYS_INLINE unsigned char *base_seq_out(void *p)
{
    unsigned char *q = (unsigned char *)p;
    __asm__ volatile("" : "+r"(q) : : "memory");
    return q;
}
BASE_ALWAYS_INLINE uint32_t base_seq_u32(const void *shared)
{
    uint32_t v;
    memcpy(&v, shared, 4);
    __asm__ volatile("" : "+r"(v)); /* the value is read once, before this point */
    return v;
}
BASE_ALWAYS_INLINE uint64_t base_seq_u64(const void *shared)
{
    uint64_t v;
    memcpy(&v, shared, 8);
    __asm__ volatile("" : "+r"(v));
    return v;
}
BASE_ALWAYS_INLINE void base_seq_store_u32(void *shared, uint32_t v)
{
    memcpy(base_seq_out(shared), &v, 4);
}
BASE_ALWAYS_INLINE void base_seq_store_u64(void *shared, uint64_t v)
{
    memcpy(base_seq_out(shared), &v, 8);
}
BASE_ALWAYS_INLINE void base_seq_load(void *out, const void *shared, size_t n)
{
    memcpy(out, base_seq_in(shared), n);
    __asm__ volatile("" : : : "memory");
}
BASE_ALWAYS_INLINE void base_seq_store(void *shared, const void *in, size_t n)
{
    memcpy(base_seq_out(shared), in, n);
    __asm__ volatile("" : : : "memory");
}
/* Move bytes between two shared ranges that do not overlap. */
BASE_ALWAYS_INLINE void base_seq_move(void *shared_to, const void *shared_from, size_t n)
{
    memcpy(base_seq_out(shared_to), base_seq_in(shared_from), n);
    __asm__ volatile("" : : : "memory");
}
/* Return 0 if 8..16 bytes are equal. */
BASE_ALWAYS_INLINE uint64_t base_seq_differ(const unsigned char *a, const unsigned char *b,
                                            size_t n)
{
    uint64_t a0, a1, b0, b1;
    memcpy(&a0, a, 8);
    memcpy(&a1, a + n - 8, 8);
    memcpy(&b0, b, 8);
    memcpy(&b1, b + n - 8, 8);
    return (a0 ^ b0) | (a1 ^ b1);
}
BASE_ALWAYS_INLINE bool base_seq_equal(const void *shared, const void *mine, size_t n)
{
    const unsigned char *a = base_seq_in(shared), *b = (const unsigned char *)mine;
    return n >= 8 && n <= 16 ? base_seq_differ(a, b, n) == 0 : memcmp(a, b, n) == 0;
}

/* Compare 8..16 bytes without a call: for the path of a hit. */
BASE_ALWAYS_INLINE bool base_seq_equal_16(const void *shared, const void *mine, size_t n)
{
    const unsigned char *a = (const unsigned char *)shared, *b = (const unsigned char *)mine;
    uint64_t b0, b1;
    memcpy(&b0, b, 8);
    memcpy(&b1, b + n - 8, 8);
    return ((base_seq_u64(a) ^ b0) | (base_seq_u64(a + n - 8) ^ b1)) == 0;
}

/* Compare 4..32 bytes. */
BASE_ALWAYS_INLINE bool base_seq_equal_near(const void *shared, const void *mine, size_t n)
{
    const unsigned char *a = base_seq_in(shared), *b = (const unsigned char *)mine;
    if (BASE_LIKELY(n >= 8)) {
        uint64_t diff = base_seq_differ(a, b, n);
        if (n > 16) { diff |= base_seq_differ(a + 8, b + 8, n - 16); }
        return diff == 0;
    }
    uint32_t c0, c1, d0, d1;
    memcpy(&c0, a, 4);
    memcpy(&c1, a + n - 4, 4);
    memcpy(&d0, b, 4);
    memcpy(&d1, b + n - 4, 4);
    return ((c0 ^ d0) | (c1 ^ d1)) == 0;
}

#if BASE_HAVE_SSE2
BASE_ALWAYS_INLINE void base_seq_16(unsigned char *d, const unsigned char *a)
{
    _mm_storeu_si128((__m128i *)(void *)d, _mm_loadu_si128((const __m128i *)(const void *)a));
}
BASE_ALWAYS_INLINE void base_seq_32(unsigned char *d, const unsigned char *a)
{
    base_seq_16(d, a);
    base_seq_16(d + 16, a + 16);
}
BASE_ALWAYS_INLINE void base_seq_64(unsigned char *d, const unsigned char *a)
{
    base_seq_32(d, a);
    base_seq_32(d + 32, a + 32);
}
/* Load without a call: for the path of a hit. Meant for at most BASE_SEQ_NEAR bytes. */
BASE_ALWAYS_INLINE void base_seq_load_near(void *out, const void *shared, size_t n)
{
    const unsigned char *a = base_seq_in(shared);
    unsigned char *d = (unsigned char *)out;
    if (BASE_LIKELY(n - 65 < 64)) {
        base_seq_64(d, a);
        base_seq_64(d + n - 64, a + n - 64); /* overlaps: no loop over the rest */
    } else if (n > 128) {
        size_t i = 0;
        for (; i + 64 < n; i += 64) { base_seq_64(d + i, a + i); }
        base_seq_64(d + n - 64, a + n - 64);
    } else if (n >= 32) {
        base_seq_32(d, a);
        base_seq_32(d + n - 32, a + n - 32);
    } else if (n >= 16) {
        base_seq_16(d, a);
        base_seq_16(d + n - 16, a + n - 16);
    } else if (n >= 8) {
        uint64_t x, y;
        memcpy(&x, a, 8);
        memcpy(&y, a + n - 8, 8);
        memcpy(d, &x, 8);
        memcpy(d + n - 8, &y, 8);
    } else {
        for (size_t i = 0; i < n; i++) { d[i] = a[i]; }
    }
    __asm__ volatile("" : : : "memory");
}
#define BASE_SEQ_LOAD_NEAR 1

BASE_ALWAYS_INLINE uint32_t base_seq_match8(const _Atomic uint16_t *tags, uint16_t tag)
{
    const __m128i want = _mm_set1_epi16((short)tag); /* same bits, signed */
    __m128i have = _mm_loadu_si128((const __m128i *)(const void *)tags);
    __asm__ volatile("" : "+x"(have));
    const __m128i eq = _mm_packs_epi16(_mm_cmpeq_epi16(want, have), _mm_setzero_si128());
    return (uint32_t)_mm_movemask_epi8(eq);
}
#define BASE_SEQ_MATCH8 1

BASE_ALWAYS_INLINE uint32_t base_match16(const unsigned char *bytes, unsigned char byte)
{
    const __m128i have = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set1_epi8((char)byte), have));
}
#endif

#else

CELLAR_PRIVATE void base_seq_load(void *out, const void *shared, size_t n);
CELLAR_PRIVATE void base_seq_store(void *shared, const void *in, size_t n);
CELLAR_PRIVATE void base_seq_move(void *shared_to, const void *shared_from, size_t n);
CELLAR_PRIVATE bool base_seq_equal(const void *shared, const void *mine, size_t n);
CELLAR_PRIVATE uint32_t base_seq_u32(const void *shared);
CELLAR_PRIVATE uint64_t base_seq_u64(const void *shared);
CELLAR_PRIVATE void base_seq_store_u32(void *shared, uint32_t v);
CELLAR_PRIVATE void base_seq_store_u64(void *shared, uint64_t v);

#endif

#define BASE_SEQ_NEAR 512u /* bytes base_seq_load_near is meant for */
#ifndef BASE_SEQ_LOAD_NEAR
#define base_seq_load_near(out, shared, n) base_seq_load((out), (shared), (n))
#endif
#if BASE_SEQ_ATOMIC
#define base_seq_equal_near(shared, mine, n) base_seq_equal((shared), (mine), (n))
#define base_seq_equal_16(shared, mine, n) base_seq_equal((shared), (mine), (n))
#endif

/* Compare eight tags with `tag` and return the equal ones as bits 0..7. The result may be torn
 * between tags, never within one. */
#ifndef BASE_SEQ_MATCH8
BASE_ALWAYS_INLINE uint32_t base_seq_match8(const _Atomic uint16_t *tags, uint16_t tag)
{
    uint32_t m = 0;
    for (unsigned i = 0; i < 8; i++) { m |= (uint32_t)(base_load_rlx(&tags[i]) == tag) << i; }
    return m;
}

/* Compare 16 bytes that other threads may write. Return the equal ones as bits 0..15. */
BASE_ALWAYS_INLINE uint32_t base_match16(const unsigned char *bytes, unsigned char byte)
{
    uint32_t m = 0;
    for (unsigned i = 0; i < 16; i++) {
        m |= (uint32_t)(base_load_rlx((const _Atomic unsigned char *)&bytes[i]) == byte) << i;
    }
    return m;
}
#endif

#endif
