/* SPDX-License-Identifier: MIT
 *
 * store: interface for the modules above and for tests: open a store, attach a tier to it. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "cache/cache.h"

/* Open a store like cellar_open, for tests. `disk`: settings of the disk that no option has; NULL:
 * none. The first generation is first_generation; 0: 1. */
CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const l2_config *disk,
                                     uint32_t first_generation, cellar **out);
/* Give the namespace the tier `t`, which must outlive the store. The caller clears the namespace.
 * E_BUSY: the namespace has a tier. E_LIMIT: the store has CACHE_TIERS_MAX tiers. E_NOMEM. */
CELLAR_PRIVATE BASE_SPARE cellar_err cache_tier_attach(cellar *c, const cache_tier *t);

#endif
