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
typedef cellar_err (*cache_policy_fn)(void *ctx, cellar *c, const void *key, size_t key_len,
                                      struct cache_plan *plan);

/* Open a store like cellar_open, with a tier below L1. The tier must outlive the store; NULL: none.
 * The first generation is first_generation; 0: 1. */
CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const cache_tier *tier,
                                     uint32_t first_generation, cellar **out);
/* Give the namespace the tier `t`, which must outlive the store. Its entries are cleared. E_BUSY:
 * the namespace has a tier. E_LIMIT: the store has CACHE_TIERS_MAX tiers. E_NOMEM. */
CELLAR_PRIVATE BASE_SPARE cellar_err cache_tier_attach(cellar *c, const cache_tier *t);
/* Call `fn` before each write that stores a value, with the plan of the write: `fn` may change its
 * times, or refuse the write with an error. Never called for reads. NULL: no hook. */
CELLAR_PRIVATE BASE_SPARE void cache_policy_set(cellar *c, cache_policy_fn fn, void *ctx);
/* Invalidate all entries that were tagged before now. A full table of invalidated tags does the
 * same. */
BASE_SPARE CELLAR_PRIVATE void cache_tag_floor(cellar *c);

#ifndef CELLAR_OMIT_WORK
/* Return whether the namespace is switched on. */
CELLAR_PRIVATE bool cache_is_enabled(const cellar *c);
/* Return how often a key in memory was used since the last call, 0..3, and begin again at 0. */
CELLAR_PRIVATE unsigned cache_uses_take(cellar *c, const void *key, size_t key_len);

typedef struct cache_refresh_rule { /* a policy rule with a refresh interval; texts are borrowed */
    cellar_bytes prefix;  /* of its section; len 0: none */
    char separator;       /* between prefix and key, unless the prefix ends with it */
    cellar_bytes pattern;
    cellar_bytes loader;  /* len 0: none */
    cellar_bytes at;      /* "HH:MM@zone"; len 0: none */
    bool is_key;          /* the pattern has no placeholder and is no glob pattern */
    int64_t refresh_ms;
    int64_t ttl_ms;       /* 0: of the namespace */
    uint32_t priority;    /* 1 low, 2 mid, 3 high; 0: none */
} cache_refresh_rule;
/* Call `fn` for each rule of the namespace that has a refresh interval, in the order of the file,
 * until it returns false. A reload waits meanwhile: `fn` must not load rules. */
CELLAR_PRIVATE void cache_refresh_rules(cellar *c, bool (*fn)(const cache_refresh_rule *, void *),
                                        void *ctx);
#endif

#endif
