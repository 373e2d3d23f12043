/* SPDX-License-Identifier: MIT
 *
 * must: a fuzz target, and its facts. A false fact ends the program: the fuzzer keeps the input. */
#ifndef CELLAR_FUZZ_MUST_H
#define CELLAR_FUZZ_MUST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* `data` lies in a block of its own length. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_MUST(fact) \
    do { \
        if (!(fact)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #fact); \
            abort(); \
        } \
    } while (0)

#endif
