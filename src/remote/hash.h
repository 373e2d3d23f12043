/* SPDX-License-Identifier: MIT
 *
 * hash: the check of envelopes and the digests of names. */
#ifndef REMOTE_HASH_H
#define REMOTE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "remote/port.h"

enum { REMOTE_SHA256_BYTES = 32 };

/* Return the check of `len` bytes, continuing from `h` (0: the start). */
CELLAR_PRIVATE uint64_t remote_check(uint64_t h, const void *bytes, size_t len);

/* Compute SHA-256 of `len` bytes. */
CELLAR_PRIVATE void remote_sha256(const void *bytes, size_t len, uint8_t out[REMOTE_SHA256_BYTES]);

#endif
