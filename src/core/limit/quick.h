/* SPDX-License-Identifier: MIT
 *
 * quick: the commonest check: one token bucket and a known key. */
#ifndef LIMIT_QUICK_H
#define LIMIT_QUICK_H

#include "limit/types.h"

/* Decide the commonest case. The slots have one word. Return false, without effect, for every other
 * case. */
CELLAR_PRIVATE bool limit_quick(cellar_limiter *l, uint64_t fp, uint64_t now_ns, uint64_t cost,
                                cellar_limiter_result *result, cellar_err *err);

#endif
