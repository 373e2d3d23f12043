/* SPDX-License-Identifier: MIT
 *
 * tier_attach: functions of tier_attach.c for the files above it. */
#ifndef STORE_TIER_ATTACH_H
#define STORE_TIER_ATTACH_H

#include "cache/types.h"

/* Prepare the store for its first tier. Return false if no memory is left. */
CELLAR_PRIVATE bool cache_tier_ready(cache_store *s);

/* Attach tiers of a store: one thread at a time. */
CELLAR_PRIVATE void cache_attach_begin(cache_store *s);
CELLAR_PRIVATE void cache_attach_end(cache_store *s);

#endif
