/* SPDX-License-Identifier: MIT
 *
 * struct_sizes: hand a struct of the public interface to the library with every struct_size. */
#ifndef TESTS_STRUCT_SIZES_H
#define TESTS_STRUCT_SIZES_H

#include "cellar.h"
#include "tests/support/t.h"

enum { BEHIND = 64, ROOM = 2048, FIRST = sizeof(size_t) };

static union room {
    max_align_t align;
    unsigned char bytes[ROOM];
} room;

/* The first `size` bytes as the caller's header made them, zero up to the size if the caller's
 * struct is larger than ours, 0xAA behind. */
static void *lay_out(const void *init, size_t init_size, size_t size)
{
    memset(room.bytes, 0xAA, ROOM);
    memset(room.bytes, 0, size);
    memcpy(room.bytes, init, init_size < size ? init_size : size);
    memcpy(room.bytes, &size, sizeof size);
    return room.bytes;
}

static bool untouched_from(size_t offset)
{
    for (size_t i = offset; i < ROOM; i++) {
        if (room.bytes[i] != 0xAA) return false;
    }
    return true;
}

/* What a struct_size of `n` must give; `ok` where a struct of that size is possible. */
static cellar_err expected(size_t n, cellar_err ok)
{
    return n < FIRST ? CELLAR_E_INVAL : n % FIRST != 0 ? CELLAR_E_ABI : ok;
}

/* `least`: a smaller struct lacks a field that must be set. */
static void check_in(const char *name, const void *init, size_t size, size_t least,
                     cellar_err (*use)(void *))
{
    for (size_t n = 0; n <= size + BEHIND; n++) {
        cellar_err err = use(lay_out(init, size, n));
        cellar_err ok = n < least ? CELLAR_E_INVAL : CELLAR_OK;
        if (!T_EQ_I64(err, expected(n, ok))) printf("# %s with struct_size %zu\n", name, n);
    }
    for (size_t n = size + 1; n <= size + BEHIND; n++) {
        unsigned char *p = lay_out(init, size, n);
        p[n - 1] = 1;
        if (!T_EQ_I64(use(p), expected(n, CELLAR_E_UNSUPPORTED))) {
            printf("# %s, byte %zu set\n", name, n - 1);
        }
    }
}

#define CHECK_IN(type, init, use)                                                                  \
    do {                                                                                           \
        const type defaults = init;                                                                \
        check_in(#type, &defaults, sizeof(type), FIRST, use);                                      \
    } while (0)

T_INLINE void check_out(const char *name, size_t size, cellar_err (*fill)(void *))
{
    for (size_t n = 0; n <= size + BEHIND; n++) {
        size_t said = 0;
        memset(room.bytes, 0xAA, ROOM);
        memcpy(room.bytes, &n, sizeof n);
        cellar_err err = fill(room.bytes);
        bool ok = T_EQ_I64(err, expected(n, CELLAR_OK));
        memcpy(&said, room.bytes, sizeof said);
        ok = T_CHECK(untouched_from(err == CELLAR_OK ? n : FIRST)) && ok;
        ok = T_EQ_U64(said, n) && ok;
        if (!ok) printf("# %s with struct_size %zu\n", name, n);
    }
}

#endif
