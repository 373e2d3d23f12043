/* SPDX-License-Identifier: MIT
 *
 * seqlock: read bytes that another thread may be writing, as atomic words.
 *
 * PICTURE    ..|b b b|w w w w w w w w|w w w w w w w w|b b|..    bytes up to an 8-byte boundary,
 *                                                              aligned words, remaining bytes
 * INVARIANTS No access outside [p, p + n), and only atomic accesses, for any offset and length.
 * LOCKING    Loads acquire, stores release. ThreadSanitizer knows no fences (gcc 12 refuses them),
 *            so the data itself carries the order that the fences of the version word carry in
 *            production. Under simulation each word is a yield point: a reader meets half-written
 *            values.
 * SEE ALSO   base/seqlock.h: the production half, inline. README.md: cost of this half. */
#include "base/seqlock.h"

#if BASE_SEQ_ATOMIC

typedef _Atomic uint64_t base_seq_word;
typedef _Atomic unsigned char base_seq_byte;

/* Count the bytes before the first aligned word of [p, p + n). */
static size_t base_seq_head(const void *p, size_t n)
{
    size_t head = (size_t)(-(uintptr_t)p & 7);
    return head < n ? head : n;
}

static void base_seq_load_bytes(unsigned char *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) { out[i] = base_load_acq((const base_seq_byte *)p + i); }
}

static void base_seq_store_bytes(unsigned char *p, const unsigned char *in, size_t n)
{
    for (size_t i = 0; i < n; i++) { base_store_rel((base_seq_byte *)p + i, in[i]); }
}

CELLAR_PRIVATE void base_seq_load(void *out, const void *shared, size_t n)
{
    const unsigned char *p = shared;
    unsigned char *to = out;
    size_t head = base_seq_head(p, n);
    base_seq_load_bytes(to, p, head);
    p += head, to += head, n -= head;
    for (; n >= 8; n -= 8, p += 8, to += 8) {
        uint64_t word = base_load_acq((const base_seq_word *)(const void *)p);
        memcpy(to, &word, 8);
    }
    base_seq_load_bytes(to, p, n);
}

CELLAR_PRIVATE void base_seq_store(void *shared, const void *in, size_t n)
{
    unsigned char *p = shared;
    const unsigned char *from = in;
    size_t head = base_seq_head(p, n);
    base_seq_store_bytes(p, from, head);
    p += head, from += head, n -= head;
    for (; n >= 8; n -= 8, p += 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        base_store_rel((base_seq_word *)(void *)p, word);
    }
    base_seq_store_bytes(p, from, n);
}

CELLAR_PRIVATE void base_seq_move(void *shared_to, const void *shared_from, size_t n)
{
    unsigned char piece[256];
    unsigned char *to = shared_to;
    const unsigned char *from = shared_from;
    while (n > 0) {
        size_t step = n < sizeof piece ? n : sizeof piece;
        base_seq_load(piece, from, step);
        base_seq_store(to, piece, step);
        to += step, from += step, n -= step;
    }
}

CELLAR_PRIVATE bool base_seq_equal(const void *shared, const void *mine, size_t n)
{
    unsigned char piece[256];
    const unsigned char *a = shared, *b = mine;
    while (n > 0) {
        size_t step = n < sizeof piece ? n : sizeof piece;
        base_seq_load(piece, a, step);
        if (memcmp(piece, b, step) != 0) { return false; }
        a += step, b += step, n -= step;
    }
    return true;
}

CELLAR_PRIVATE uint32_t base_seq_u32(const void *shared)
{
    uint32_t v;
    if (((uintptr_t)shared & 3) == 0) {
        v = base_load_acq((const _Atomic uint32_t *)shared);
    } else {
        base_seq_load(&v, shared, 4);
    }
    return v;
}

CELLAR_PRIVATE uint64_t base_seq_u64(const void *shared)
{
    uint64_t v;
    base_seq_load(&v, shared, 8);
    return v;
}

CELLAR_PRIVATE void base_seq_store_u32(void *shared, uint32_t v)
{
    if (((uintptr_t)shared & 3) == 0) {
        base_store_rel((_Atomic uint32_t *)shared, v);
    } else {
        base_seq_store(shared, &v, 4);
    }
}

CELLAR_PRIVATE void base_seq_store_u64(void *shared, uint64_t v) { base_seq_store(shared, &v, 8); }

#endif
