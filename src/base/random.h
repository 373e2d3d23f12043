/* SPDX-License-Identifier: MIT
 *
 * random: secrets come from the kernel, everything else from a small generator the caller owns. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/port.h"

/* Fill with kernel randomness (getrandom, EINTR looped; /dev/urandom if it is refused). False: the
 * system gave none. Under simulation: from the run's seed. */
CELLAR_PRIVATE bool base_random_bytes(void *out, size_t len);

/* xoroshiro-class generator: 16 bytes of state, not for secrets. */
typedef struct base_rng {
    uint64_t s[2];
} base_rng;
CELLAR_PRIVATE void base_rng_seed(base_rng *r, uint64_t seed);
CELLAR_PRIVATE uint64_t base_rng_next(base_rng *r);
/* Uniform in [0, n) by multiply-shift with rejection: unbiased. n >= 1. */
CELLAR_PRIVATE uint64_t base_rng_below(base_rng *r, uint64_t n);

#endif
