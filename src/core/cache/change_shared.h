/* SPDX-License-Identifier: MIT
 *
 * change_shared: functions of change_shared.c for the files above it. */
#ifndef CACHE_CHANGE_SHARED_H
#define CACHE_CHANGE_SHARED_H

#include "cache/change.h"
#include "cache/shared.h"

#define CACHE_SHARED_ROUNDS 16u /* tries of one call against other processes */

/* Read a key from the shared tier, past memory. OK, ABSENT, MISS, E_BUFFER, or the code of the
 * call. *e: its fields. */
CELLAR_PRIVATE cellar_err cache_shared_fresh(const cellar *c, const l1_key *k, void *buf,
                                             size_t buf_cap, size_t *value_len,
                                             cellar_tier_entry *e);
/* Put the entry of `p`, or remove the key with NULL, if the key has the state `check`. flags:
 * CELLAR_TIER_SAME_TAGS or 0. CONFLICT: it has another one. *check: the new state. */
CELLAR_PRIVATE cellar_err cache_shared_change(cellar *c, l1_key *k, l1_put_spec *p, uint32_t flags,
                                              uint64_t *check);
/* End loads of a key in all processes, for a change of a present value that finds none: they may
 * have read the source before the caller wrote there. MISS; CONFLICT: there is a value now; or the
 * code of the call. */
CELLAR_PRIVATE cellar_err cache_shared_none(cellar *c, l1_key *k);
/* Remove a key from memory that another process has changed, as a delete that the tier reports. */
CELLAR_PRIVATE void cache_shared_changed(cellar *c, l1_key *k);
/* Make the changes that depend on the state of a key: see cache_tier. */
CELLAR_PRIVATE cellar_err cache_put_shared(cellar *c, l1_key *k, cache_plan *plan);
CELLAR_PRIVATE cellar_err cache_increment_shared(cellar *c, l1_key *k, int64_t delta, int64_t init,
                                                 const cellar_set_opts *if_new, int64_t *number);
CELLAR_PRIVATE cellar_err cache_touch_shared(cellar *c, l1_key *k, int64_t deadline_ms);

#endif
