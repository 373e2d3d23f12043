/* SPDX-License-Identifier: MIT
 *
 * cache: what the floors above use beside include/cellar.h, and what tests of the seams need. */
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
#include "cellar_memo.h"
#include "cellar_warm.h"

/* cellar_open with a tier below L1. The tier outlives the store; NULL: none. Generations
 * begin at first_vgen; 0 = 1. */
CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const cache_tier *tier,
                                     uint32_t first_vgen, cellar **out);
/* Everything tagged before now is a miss from now on: what a full table of invalidated tags falls
 * back to. */
BASE_SPARE CELLAR_PRIVATE void cache_tag_floor(cellar *c);

#endif
