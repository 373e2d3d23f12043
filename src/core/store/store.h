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

#endif
