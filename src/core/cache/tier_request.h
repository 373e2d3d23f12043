/* SPDX-License-Identifier: MIT
 *
 * tier_request: functions of tier_request.c for the files above it. */
#ifndef CACHE_TIER_REQUEST_H
#define CACHE_TIER_REQUEST_H

#include "cache/shared.h"

/* Begin a read of a key; `changes`: of its stamp. PENDING: the caller asks the tier, then calls
 * cache_tier_request_end if *mine is not NULL. Else the answer of an equal request, which the call
 * has waited for: CONFLICT, memory may have the value; MISS; E_BUFFER, with length and flags. */
CELLAR_PRIVATE cellar_err cache_tier_request_begin(const cache_shared *h, uint64_t hash,
                                                   uint64_t changes, size_t *value_len,
                                                   uint32_t *user_flags, cache_tier_request **mine);
/* Answer the reads that wait for this one. PENDING: they have to ask for themselves. */
CELLAR_PRIVATE void cache_tier_request_end(const cache_shared *h, cache_tier_request *mine,
                                           cellar_err answer, size_t value_len,
                                           uint32_t user_flags);
/* Note that a read returns a reply. Look at memory behind the call: an older reply is there by
 * then, or it will not be kept. */
CELLAR_PRIVATE void cache_tier_reply_returned(cache_shared *h, uint64_t hash, uint64_t order);
/* Return the number of the newest reply that was noted; h NULL: 0. */
BASE_INLINE uint64_t cache_tier_newest(const cache_shared *h, uint64_t hash)
{
    return h != NULL ? base_load_sc(&h->returned[base_mix64(hash) % CACHE_TIER_RETURNED]) : 0;
}

#endif
