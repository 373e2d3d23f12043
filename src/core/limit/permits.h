/* SPDX-License-Identifier: MIT
 *
 * permits: the public calls on permits. */
#ifndef LIMIT_PERMITS_H
#define LIMIT_PERMITS_H

#include "limit/types.h"

/* End permits with an expired hold, found in `looks` records. */
CELLAR_PRIVATE void limit_permits_reclaim(cellar_limiter *l, uint64_t now_ns, uint32_t looks);

#endif
