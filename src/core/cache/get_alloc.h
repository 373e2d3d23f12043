/* SPDX-License-Identifier: MIT
 *
 * get_alloc: functions of get_alloc.c for the files above it. */
#ifndef CACHE_GET_ALLOC_H
#define CACHE_GET_ALLOC_H

#include "cache/types.h"

/* Allocate a block for `len` bytes and a zero byte; cellar_free frees it. Return NULL if no memory
 * is left. */
CELLAR_PRIVATE unsigned char *cache_dup_new(const cache_store *s, size_t len);

#endif
