/* SPDX-License-Identifier: MIT
 *
 * sha256: the digest of FIPS 180-4, in pieces.
 *
 *     cli_sha256 s;
 *     cli_sha256_init(&s);  cli_sha256_add(&s, p, n) ...  cli_sha256_end(&s, digest); */
#ifndef CLI_SHA256_H
#define CLI_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct cli_sha256 {
    uint32_t h[8];
    uint64_t total;          /* bytes added so far; block holds the last total % 64 of them */
    unsigned char block[64];
} cli_sha256;

void cli_sha256_init(cli_sha256 *s);
void cli_sha256_add(cli_sha256 *s, const void *data, size_t len);
void cli_sha256_end(cli_sha256 *s, unsigned char out[32]); /* s is spent afterwards */

#endif
