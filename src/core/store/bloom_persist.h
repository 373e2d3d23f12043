/* SPDX-License-Identifier: MIT
 *
 * bloom_persist: functions of bloom_persist.c for the files above it. */
#ifndef STORE_BLOOM_PERSIST_H
#define STORE_BLOOM_PERSIST_H

#include "cache/types.h"

CELLAR_PRIVATE void cache_keep_all(void *s, l2_images *to);
/* Load the stored filter of a namespace that is being opened. Pass the result to cache_keep_end
 * when the namespace can be found by name, or its open failed. No ranked lock is held at either
 * call. */
CELLAR_PRIVATE l2_image *cache_keep_begin(cellar *v, bool no_disk);
CELLAR_PRIVATE void cache_keep_end(l2_image *im, bool opened);

#endif
