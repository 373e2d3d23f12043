/* SPDX-License-Identifier: MIT
 *
 * option: functions of option.c for the files above it. */
#ifndef STORE_OPTION_H
#define STORE_OPTION_H

#include "cache/types.h"

CELLAR_PRIVATE l1_policy cache_policy(uint32_t eviction); /* CELLAR_EVICT_... */

#endif
