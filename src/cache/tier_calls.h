/* SPDX-License-Identifier: MIT
 *
 * tier_calls: functions of tier_calls.c for the files above it. */
#ifndef CACHE_TIER_CALLS_H
#define CACHE_TIER_CALLS_H

#include "cache/types.h"

/* Find the numbers of the namespace that the tier stored last. */
CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, cache_tier_namespace *out);
/* Tell the tier the present state of the namespace. The caller has raised `unreported`. No lock
 * held. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v);
/* Tell the tier the end of a generation; 0: the namespace was dropped. */
CELLAR_PRIVATE void cache_tier_namespace_died(cellar *v, uint32_t generation);
/* Call each tier of the store. Tick returns whether more work is left. */
CELLAR_PRIVATE bool cache_tiers_tick(cache_store *s, uint64_t budget_us);
CELLAR_PRIVATE void cache_tiers_tag(cache_store *s, uint64_t fp, uint64_t epoch, bool soft);
CELLAR_PRIVATE void cache_tiers_retire(cache_store *s);
CELLAR_PRIVATE void cache_tiers_close(cache_store *s, int64_t deadline_ms);
CELLAR_PRIVATE void cache_tiers_forked(cache_store *s); /* and detach them */
/* Add a tier; changes are observed from now on. One thread at a time. */
CELLAR_PRIVATE void cache_tiers_add(cache_store *s, const cache_tier *t);
/* Return `below`; record an error text if the tier does not have what was promised. */
CELLAR_PRIVATE cellar_err cache_tier_code(cellar *c, cellar_err below);
/* Make the changes of this namespace safe against a power cut. Return err, or E_IO. */
CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, cellar_err err);

/* Commit the change before it is acknowledged, if the tier commits each change. */
BASE_INLINE cellar_err cache_acked(cellar *c, cellar_err err)
{
    const cache_tier *t = cache_tier_of(c);
    return t == NULL || !t->commit_each ? err : cache_tier_commit(c, err);
}

#endif
