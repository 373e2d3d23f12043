/* SPDX-License-Identifier: MIT
 *
 * policy_set: functions of policy_set.c for the files above it. */
#ifndef STORE_POLICY_SET_H
#define STORE_POLICY_SET_H

#include "cache/types.h"

/* Give the namespace the rules of its section. */
CELLAR_PRIVATE void cache_policy_bind(cellar *v) SYNC_HOLDS(NAMESPACE);
/* Return the quota that the rules give a namespace, percent; 0: none.
 * `o`: options that it is about to get; NULL: it keeps its own. */
CELLAR_PRIVATE uint32_t cache_policy_share(const cellar *v, const cellar_namespace_config *o)
    SYNC_HOLDS(NAMESPACE);
/* Log that a quota of the rules is not in force. */
CELLAR_PRIVATE void cache_policy_share_missed(cache_store *s);
/* Put the rules of the config into force before the first call. Keeps the reason of a failure for
 * cellar_last_error(NULL). */
CELLAR_PRIVATE cellar_err cache_policies_open(cellar *root, const cellar_policy_rule *rules,
                                              size_t count);
CELLAR_PRIVATE void cache_policies_close(cache_store *s);

#endif
