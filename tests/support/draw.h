/* SPDX-License-Identifier: MIT
 *
 * draw: numbers for random tests, from one state that the test seeds. splitmix64. */
#ifndef CELLAR_TESTS_DRAW_H
#define CELLAR_TESTS_DRAW_H

#include "tests/support/t.h"

static uint64_t draw_state;

/* Return a number below n. */
T_INLINE uint64_t draw(uint64_t n)
{
    draw_state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = draw_state;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) % n;
}

#endif
