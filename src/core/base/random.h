/* SPDX-License-Identifier: MIT
 *
 * random: secrets come from the kernel, all else from a small generator that the caller owns. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/port.h"

/* Fill `out` with kernel randomness (getrandom, repeated on EINTR; /dev/urandom if it is refused).
 * False: the system gave none. Under simulation: from the seed of the run. */
CELLAR_PRIVATE bool base_random_bytes(void *out, size_t len);

/* Generator of the xoroshiro class: 16 bytes of state, not for secrets. */
typedef struct base_rng {
    uint64_t s[2];
} base_rng;
CELLAR_PRIVATE void base_rng_seed(base_rng *r, uint64_t seed);
CELLAR_PRIVATE uint64_t base_rng_next(base_rng *r);
/* Draw a uniform number of [0, n), n >= 1, by multiply-shift with rejection: unbiased. */
CELLAR_PRIVATE uint64_t base_rng_below(base_rng *r, uint64_t n);

#endif
