/* SPDX-License-Identifier: MIT
 *
 * sha256: the digest of FIPS 180-4, in pieces.
 *
 *     base_sha256 s;
 *     base_sha256_init(&s);  base_sha256_add(&s, p, n) ...  base_sha256_end(&s, digest); */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/port.h"

typedef struct base_sha256 {
    uint32_t h[8];
    uint64_t total;          /* bytes added so far; block holds the last total % 64 of them */
    unsigned char block[64];
} base_sha256;

CELLAR_PRIVATE void base_sha256_init(base_sha256 *s);
CELLAR_PRIVATE void base_sha256_add(base_sha256 *s, const void *data, size_t len);
/* Write the digest; s is spent afterwards. */
CELLAR_PRIVATE void base_sha256_end(base_sha256 *s, unsigned char out[32]);

#endif
