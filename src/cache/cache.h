/* SPDX-License-Identifier: MIT
 *
 * cache: interface for the modules above, in addition to include/, and for tests of inner seams. */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "cache/tier.h"
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_admin.h"

/* Open a store like cellar_open, with a tier below L1. The tier must outlive the store; NULL: none.
 * The first generation is first_generation; 0: 1. */
CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const cache_tier *tier,
                                     uint32_t first_generation, cellar **out);
/* Invalidate all entries that were tagged before now. A full table of invalidated tags does the
 * same. */
BASE_SPARE CELLAR_PRIVATE void cache_tag_floor(cellar *c);

#endif
