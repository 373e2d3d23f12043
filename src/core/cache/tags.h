/* SPDX-License-Identifier: MIT
 *
 * tags: functions of tags.c for the files above it. */
#ifndef CACHE_TAGS_H
#define CACHE_TAGS_H

#include "cache/types.h"

CELLAR_PRIVATE int cache_tags_valid(void *ctx, uint64_t born, const void *fps, uint32_t count);
CELLAR_PRIVATE int64_t cache_tags_ended(void *ctx, uint64_t born, const void *fps, uint32_t count);
/* Invalidate all entries of the store with a tag, without the shared tiers. */
CELLAR_PRIVATE void cache_tag_delete(cellar *c, const void *tag, size_t tag_len, uint32_t mode);
/* Invalidate what was born with a tag until now. Return the new epoch. */
CELLAR_PRIVATE uint64_t cache_tag_invalidate(cache_store *s, uint64_t fp, bool soft);
CELLAR_PRIVATE uint64_t cache_tag_epoch_next(cache_store *s); /* raises the epoch; no tag ends */
CELLAR_PRIVATE void cache_tags_open(cache_store *s); /* loads the invalidations that the tier has
                                                      * stored */
CELLAR_PRIVATE void cache_tags_close(cache_store *s);

#endif
