/* SPDX-License-Identifier: MIT
 *
 * options: functions of options.c for the files above it. */
#ifndef CACHE_OPTIONS_H
#define CACHE_OPTIONS_H

#include "cache/types.h"

typedef char cache_class_name[CELLAR_TTL_CLASS_NAME_MAX + 1];

CELLAR_PRIVATE cellar_err cache_namespace_opts_check(const cellar_namespace_opts *o,
                                                     const char **why);
/* Set a default of the namespace; 0: the default of the store. */
CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own);
/* Set the quota of the root, which is created before L1; nothing is stored yet. Return false if no
 * memory is left. */
CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cache_settings *cfg);
/* Set the options that stay the same for the life of the namespace. */
CELLAR_PRIVATE void cache_namespace_fix(cellar *v, const cellar_namespace_opts *o);
/* Allocate what the options of a namespace need, before the lock. */
CELLAR_PRIVATE bool cache_namespace_opts_room(cache_store *s, const cellar_namespace_opts *o,
                                              cache_class_name **names);
CELLAR_PRIVATE void cache_class_names_free(cache_store *s, cache_class_name *names);
/* Apply checked options. Use *names if the namespace has no space for names yet. */
CELLAR_PRIVATE void cache_namespace_opts_apply(cellar *v, const cellar_namespace_opts *o,
                                               cache_class_name **names) SYNC_HOLDS(NAMESPACE);
/* Allocate what quotas need, before the lock. */
CELLAR_PRIVATE bool cache_quota_room(cache_store *s, const cellar_namespace_opts *o);
/* Set the quota of a namespace. Its number is set before its first generation or never: entries
 * stored without a number were not counted. */
CELLAR_PRIVATE cellar_err cache_quota_take(cache_store *s, cellar *v,
                                           const cellar_namespace_opts *o)
    SYNC_HOLDS(NAMESPACE);
/* Free the quota number: entries of the namespace are dead, or never existed. */
CELLAR_PRIVATE void cache_quota_give(cache_store *s, const cellar *v) SYNC_HOLDS(NAMESPACE);

#endif
