/* SPDX-License-Identifier: MIT
 *
 * options: functions of options.c for the files above it. */
#ifndef STORE_OPTIONS_H
#define STORE_OPTIONS_H

#include <stddef.h>

#include "base/service.h"
#include "cache/error.h"
#include "cache/types.h"

/* The defaults of a cellar_namespace_config or cellar_config. */
#define CACHE_TIMES(o) \
    { (o)->default_ttl_ms, (o)->negative_ttl_ms, (o)->idle_ms, (o)->max_age_ms, (o)->stale_ms }

/* Copy the options of the caller and check them. `disk`: the store was opened with l2_path. */
CELLAR_PRIVATE cellar_err cache_namespace_opts_read(cellar_namespace_config *full,
                                                    const cellar_namespace_config *o, bool disk,
                                                    cache_broken *why);
/* Set a default of the namespace; 0: the default of the store. */
CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own);
/* Set the quota of the root like cache_quota_take, and with `o` its bound of entries, while nothing
 * is stored: the root is created before L1. Return false if no memory is left. */
CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cellar_namespace_config *o,
                                     uint32_t ruled, bool *missed);
/* Set the options that stay the same for the life of the namespace. */
CELLAR_PRIVATE void cache_namespace_fix(cellar *v, const cellar_namespace_config *o);
/* Prepare what the options of a namespace need of the tier, before the lock. */
CELLAR_PRIVATE bool cache_namespace_opts_room(const cache_store *s,
                                              const cellar_namespace_config *o);
/* Apply checked options. */
CELLAR_PRIVATE void cache_namespace_opts_apply(cellar *v, const cellar_namespace_config *o)
    SYNC_HOLDS(NAMESPACE);
/* Allocate what quotas need, before the lock. */
CELLAR_PRIVATE bool cache_quota_room(cache_store *s, const cellar_namespace_config *o);
/* Set the quota of a namespace: `ruled` of its policy, else of `o`, NULL: of its options so far.
 * *missed: the quota of the policy is not possible. A number is set before the first generation or
 * never: entries stored without a number were not counted. */
CELLAR_PRIVATE cellar_err cache_quota_take(cache_store *s, cellar *v,
                                           const cellar_namespace_config *o, uint32_t ruled,
                                           bool *missed)
    SYNC_HOLDS(NAMESPACE);
/* Set the bound of entries of a namespace that may have entries, and evict what is beyond it.
 * Return E_NOMEM or E_SPACE if no memory is left; then there is no bound. Hold no lock. */
CELLAR_PRIVATE cellar_err cache_max_entries_set(cellar *v, uint32_t max);
/* Set the bound of a namespace that has a slot and no entries, before cache_generation_take. Return
 * false if no memory is left. */
CELLAR_PRIVATE bool cache_max_entries_begin(cellar *v, const cellar_namespace_config *o);
/* Overwrite values of the store from now on, and keep them out of core dumps. Call before the first
 * hidden namespace can be used. */
CELLAR_PRIVATE void cache_hide(cache_store *s);
/* Free the quota number: entries of the namespace are dead, or never existed. */
CELLAR_PRIVATE void cache_quota_give(cache_store *s, const cellar *v) SYNC_HOLDS(NAMESPACE);

#endif
