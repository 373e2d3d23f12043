/* SPDX-License-Identifier: MIT
 *
 * load_plan: functions of load_plan.c for the files above it. */
#ifndef LOADING_LOAD_PLAN_H
#define LOADING_LOAD_PLAN_H

#include "cache/load_types.h"

/* Check the load options of a namespace. Set *why to the broken rule. */
CELLAR_PRIVATE cellar_err cache_load_namespace_check(const cellar_namespace_opts *o,
                                                     const char **why);
CELLAR_PRIVATE void cache_load_namespace_apply(cellar *v, const cellar_namespace_opts *o)
    SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE void cache_load_open(cache_store *s, const cache_settings *cfg);
/* Check the options (NULL: none) and fill the plan. */
CELLAR_PRIVATE cellar_err cache_load_plan_make(cellar *c, const cellar_load_opts *o,
                                               cache_load_plan *p);
/* Return whether values are refreshed before they expire. */
BASE_INLINE bool cache_load_early(const cache_load_plan *p)
{
    return (p->n[CACHE_EAGER] | p->n[CACHE_XFETCH]) != 0;
}
/* Return whether the plan has a fallback or a default value. */
CELLAR_PRIVATE bool cache_load_has_instead(const cache_load_plan *p);

#endif
