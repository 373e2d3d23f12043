/* SPDX-License-Identifier: MIT
 *
 * limit: what modules above and tests of the seams may use beside cellar_limit.h. */
#ifndef LIMIT_LIMIT_H
#define LIMIT_LIMIT_H

#include "base/port.h"
#include "cellar_limit.h"

/* Walks the table and counts again: true, or the first fact that does not hold is in *why. No call
 * beside it. Tests only. */
BASE_SPARE CELLAR_PRIVATE bool limit_audit(cellar_limiter *l, const char **why);

#endif
