/* SPDX-License-Identifier: MIT
 *
 * side: what compare calls in each of two libraries. side.c is compiled with the header of its own
 * commit, so that structs may differ between the two. */
#ifndef BENCH_COMPARE_SIDE_H
#define BENCH_COMPARE_SIDE_H

#include <stddef.h>
#include <stdint.h>

typedef struct compare_side {
    const char *(*version)(void);
    void *(*open)(uint64_t bytes, uint64_t entries); /* entries 0: bounded by bytes; NULL: failed */
    void (*close)(void *store);
    int (*get)(void *store, const void *key, size_t key_len, void *buf, size_t cap); /* 1: hit */
    int (*set)(void *store, const void *key, size_t key_len, const void *value, size_t len);
    int (*del)(void *store, const void *key, size_t key_len);
} compare_side;

#define COMPARE_SIDE "compare_side_table" /* const compare_side */

#endif
