/* SPDX-License-Identifier: MIT
 *
 * tier_attach: functions of tier_attach.c for the files above it. */
#ifndef STORE_TIER_ATTACH_H
#define STORE_TIER_ATTACH_H

#include "cache/types.h"

/* Prepare the store for its first tier. Return false if no memory is left. */
CELLAR_PRIVATE bool cache_tier_ready(cache_store *s);

/* Give a namespace the tier of its own: one thread at a time, with a free slot for a tier. */
CELLAR_PRIVATE void cache_tier_set(cellar *c, const cache_tier *t);

/* End the entry of a key that changed below memory, as a delete does. Loads of the key that run
 * store nothing. The tier is not told. No lock held. */
CELLAR_PRIVATE void cache_tier_changed(cache_store *s, uint32_t generation,
                                       const void *key, size_t len);

#endif
