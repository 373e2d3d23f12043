/* SPDX-License-Identifier: MIT
 *
 * namespace: functions of namespace.c for the files above it. */
#ifndef STORE_NAMESPACE_H
#define STORE_NAMESPACE_H

#include "cache/types.h"

CELLAR_PRIVATE cellar_err cache_namespaces_open(cache_store *s, const cache_settings *cfg);
/* Open the Bloom filter and the breaker that the options ask for. */
CELLAR_PRIVATE cellar_err cache_guards_start(cellar *v, const cellar_namespace_config *o);
CELLAR_PRIVATE void cache_namespaces_talk(cache_store *s);

#endif
