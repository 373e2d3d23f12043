/* SPDX-License-Identifier: MIT
 *
 * clear: functions of clear.c for the files above it. */
#ifndef CACHE_CLEAR_H
#define CACHE_CLEAR_H

#include "cache/types.h"

/* End all entries of the namespace, without a call of its shared tier. */
CELLAR_PRIVATE cellar_err cache_clear_here(cellar *c, cellar_cause cause);

#endif
