/* SPDX-License-Identifier: MIT
 *
 * buf: functions of buf.c for the files above it. */
#ifndef LOADING_BUF_H
#define LOADING_BUF_H

#include "cache/load_types.h"

#define CACHE_BUF_INLINE 512u
/* Start a buffer. `room` has CACHE_BUF_INLINE bytes and outlives the buffer. */
CELLAR_PRIVATE void cache_buf_init(cellar_buf *b, cache_store *s, unsigned char *room);
CELLAR_PRIVATE void cache_buf_fini(cellar_buf *b);
/* Make room for `len` bytes in all; keep the present ones. */
CELLAR_PRIVATE cellar_err cache_buf_grow(cellar_buf *b, size_t len);

#endif
