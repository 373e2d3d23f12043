/* SPDX-License-Identifier: MIT
 *
 * limit: the private names that tests use besides cellar_limit.h. */
#ifndef LIMIT_LIMIT_H
#define LIMIT_LIMIT_H

#include "base/port.h"
#include "cellar_limit.h"

/* Walk the table and check its invariants. Return false with the first broken one in `*why`.
 * No other call may run. For tests. */
BASE_SPARE CELLAR_PRIVATE bool limit_audit(cellar_limiter *l, const char **why);

#endif
