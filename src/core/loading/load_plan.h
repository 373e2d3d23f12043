/* SPDX-License-Identifier: MIT
 *
 * load_plan: load options of a namespace and of the store. */
#ifndef LOADING_LOAD_PLAN_H
#define LOADING_LOAD_PLAN_H

#include "cache/error.h"
#include "cache/types.h"

/* Check the load options of a namespace. Set *why to the broken rule. */
CELLAR_PRIVATE cellar_err cache_load_namespace_check(const cellar_namespace_config *o,
                                                     cache_broken *why);
/* Set what loads of the namespace leave open: `o`, merged with the defaults of the store. NULL: no
 * options. */
CELLAR_PRIVATE void cache_load_defaults(cellar *v, const cellar_load_opts *o);
CELLAR_PRIVATE void cache_load_namespace_apply(cellar *v, const cellar_namespace_config *o)
    SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg);

#endif
