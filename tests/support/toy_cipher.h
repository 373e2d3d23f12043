/* SPDX-License-Identifier: MIT
 *
 * toy_cipher: a cipher of tests for cellar_l2_cipher, NOT for keeping secrets. `ctx` is the key, a
 * uint64_t; overhead_bytes is sizeof(uint64_t). */
#ifndef CELLAR_TESTS_TOY_CIPHER_H
#define CELLAR_TESTS_TOY_CIPHER_H

#include <stdint.h>
#include <string.h>

/* The tag: a sum over all bytes. */
static inline uint64_t toy_sum(const void *ctx, const unsigned char *nonce, const void *aad,
                               size_t aad_len, const unsigned char *sealed, size_t n)
{
    uint64_t h = *(const uint64_t *)ctx;
    for (size_t i = 0; i < 12; i++) { h = (h ^ nonce[i]) * UINT64_C(0x100000001b3); }
    for (size_t i = 0; i < aad_len; i++) {
        h = (h ^ ((const unsigned char *)aad)[i]) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < n; i++) { h = (h ^ sealed[i]) * UINT64_C(0x100000001b3); }
    return h;
}

static inline int toy_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                           const void *in, size_t in_len, void *out, void *ctx)
{
    unsigned char *to = out;
    for (size_t i = 0; i < in_len; i++) {
        to[i] = ((const unsigned char *)in)[i] ^ (unsigned char)(nonce[i % 12] + 77 + i);
    }
    const uint64_t tag = toy_sum(ctx, nonce, aad, aad_len, to, in_len);
    memcpy(to + in_len, &tag, sizeof tag);
    return 0;
}

static inline int toy_open(const unsigned char *nonce, const void *aad, size_t aad_len,
                           const void *in, size_t in_len, void *out, void *ctx)
{
    const unsigned char *from = in;
    const size_t n = in_len - sizeof(uint64_t);
    const uint64_t tag = toy_sum(ctx, nonce, aad, aad_len, from, n);
    if (memcmp(&tag, from + n, sizeof tag) != 0) { return -1; }
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)out)[i] = from[i] ^ (unsigned char)(nonce[i % 12] + 77 + i);
    }
    return 0;
}

#endif
