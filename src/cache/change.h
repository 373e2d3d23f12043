/* SPDX-License-Identifier: MIT
 *
 * change: functions of change.c for the files above it. */
#ifndef CACHE_CHANGE_H
#define CACHE_CHANGE_H

#include "cache/tier_store.h"
#include "cache/types.h"

/* Return whether changes are observed (listeners, tier, dependencies). Then cache_change_begin and
 * cache_change_end enclose each change. The frame describes the change to the hooks and sums what
 * the stamp must be lowered by. */
BASE_ALWAYS_INLINE bool cache_is_observed(const cache_store *s)
{
    return base_load_rlx(&s->observers) != 0;
}

CELLAR_PRIVATE void cache_change_begin(cache_frame *f, bool stores, bool negative);
CELLAR_PRIVATE void cache_change_end(cellar *c, cache_frame *f, const l1_key *k);
/* End a change by storing the entry in the tier: `p`, or with NULL what L1 has. A key that cannot
 * be stored is deleted there. frame->below must be set before the change. Return OK or E_IO. */
CELLAR_PRIVATE cellar_err cache_change_stored(cellar *c, cache_frame *f, const l1_key *k,
                                              const l1_put_spec *p, cache_urge urge);
CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err);
/* Count what a change ended, as listeners see it: an expired entry is not ended by the change. */
CELLAR_PRIVATE void cache_count_gone(cellar *c, l1_gone gone, stats_id cause);

#endif
