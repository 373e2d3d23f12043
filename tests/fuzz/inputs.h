/* SPDX-License-Identifier: MIT
 *
 * inputs: seeded inputs for a fuzz target, which the test includes before. FUZZ_RUNS=n: n inputs. */
#ifndef CELLAR_FUZZ_INPUTS_H
#define CELLAR_FUZZ_INPUTS_H

#include "tests/support/draw.h"

enum { FUZZ_INPUT = 2048 }; /* bytes of the longest input */

/* Run the target on inputs that `make` writes, `usual` of them, each in a block of its own length: a
 * read beyond the end is found. Return their number. */
T_INLINE uint64_t fuzz_inputs(uint64_t usual, uint64_t salt, size_t (*make)(char *to))
{
    static char in[FUZZ_INPUT];
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(usual) / T_COST);
    draw_state = t_seed() + salt;
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        const size_t n = make(in);
        uint8_t *exact = malloc(n + (n == 0));
        T_REQUIRE(n <= sizeof in && exact != NULL);
        memcpy(exact, in, n);
        (void)LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    T_CHECK(most > 0);
    return most;
}

#endif
