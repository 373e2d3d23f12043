/* SPDX-License-Identifier: MIT
 *
 * fork: functions of fork.c for the files above it. */
#ifndef STORE_FORK_H
#define STORE_FORK_H

#include "cache/types.h"

CELLAR_PRIVATE bool cache_fork_register(cache_store *s); /* false: no memory */

#endif
