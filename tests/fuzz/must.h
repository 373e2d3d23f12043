/* SPDX-License-Identifier: MIT
 *
 * must: a fact of a fuzz target. A false one ends the program, so that the fuzzer keeps the input. */
#ifndef CELLAR_FUZZ_MUST_H
#define CELLAR_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define FUZZ_MUST(fact) \
    do { \
        if (!(fact)) { \
            fprintf(stderr, "fuzz: %s\n", #fact); \
            abort(); \
        } \
    } while (0)

#endif
