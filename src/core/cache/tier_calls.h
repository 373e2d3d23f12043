/* SPDX-License-Identifier: MIT
 *
 * tier_calls: functions of tier_calls.c for the files above it. */
#ifndef CACHE_TIER_CALLS_H
#define CACHE_TIER_CALLS_H

#include "cache/types.h"

/* Find the numbers of the namespace that the disk stored last. False: unknown, or no disk. */
CELLAR_PRIVATE bool cache_tier_namespace_find(const cellar *v, l2_namespace *out);
/* Tell the disk the present state of the namespace. The caller has raised `unreported`. No lock
 * held. */
CELLAR_PRIVATE void cache_tier_namespace_tell(cellar *v);
/* Run background work of the tier. Return whether more work is left. */
CELLAR_PRIVATE bool cache_tier_tick(const cache_tier *t, uint64_t budget_us);
/* Call each tier of the store. Tick returns whether more work is left. */
CELLAR_PRIVATE bool cache_tiers_tick(cache_store *s, uint64_t budget_us);
CELLAR_PRIVATE void cache_tiers_close(cache_store *s, int64_t deadline_ms);
CELLAR_PRIVATE void cache_tiers_forked(cache_store *s); /* they close their files */
/* Add a tier; changes are observed from now on. One thread at a time. */
CELLAR_PRIVATE void cache_tiers_add(cache_store *s, const cache_tier *t);
/* Return `below`; record an error text if the tier does not have what was promised. */
CELLAR_PRIVATE cellar_err cache_tier_code(cellar *c, cellar_err below);
/* Return the code of a shared server; record an error text for an error. */
CELLAR_PRIVATE cellar_err cache_server_code(cellar *c, cellar_err said);
/* Make the changes on this tier safe against a power cut. Return err, or E_IO. */
CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, const cache_tier *t, cellar_err err);

/* Commit the change before it is acknowledged, if the tier `t` commits each change. */
BASE_INLINE cellar_err cache_acked_by(cellar *c, const cache_tier *t, cellar_err err)
{
    return t == NULL || !t->commit_each ? err : cache_tier_commit(c, t, err);
}
BASE_INLINE cellar_err cache_acked(cellar *c, cellar_err err)
{
    return cache_acked_by(c, cache_tier_of(c), err);
}

#endif
