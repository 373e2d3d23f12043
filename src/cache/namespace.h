/* SPDX-License-Identifier: MIT
 *
 * namespace: functions of namespace.c for the files above it. */
#ifndef CACHE_NAMESPACE_H
#define CACHE_NAMESPACE_H

#include "cache/types.h"

CELLAR_PRIVATE cellar_err cache_namespaces_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_namespaces_talk(cache_store *s, bool talk);

#endif
