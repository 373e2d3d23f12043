/* SPDX-License-Identifier: MIT
 *
 * hook: functions of hook.c for the files above it. */
#ifndef CACHE_HOOK_H
#define CACHE_HOOK_H

#include "cache/types.h"

CELLAR_PRIVATE void cache_hooks(cache_store *s, l1_hooks *out);

#endif
