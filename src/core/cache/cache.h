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

struct cache_plan;
typedef cellar_err (*cache_policy_fn)(cellar *c, const void *key, size_t key_len,
                                      struct cache_plan *plan);

#endif
