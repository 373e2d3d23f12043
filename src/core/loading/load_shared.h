/* SPDX-License-Identifier: MIT
 *
 * load_shared: functions of load_shared.c for the files above it. */
#ifndef LOADING_LOAD_SHARED_H
#define LOADING_LOAD_SHARED_H

#include "loading/loading.h"

/* Ask the shared tier for the lease of a call that LEADS. If it still LEADS, the loader may run.
 * Else the flight has ended: ANSWERED, or LOOKS. */
CELLAR_PRIVATE void cache_shared_lead(cache_call *call);

/* Return whether an answer of the tier leaves open whether it has a value. */
BASE_INLINE bool cache_shared_unsure(cellar_err err)
{
    return err == CELLAR_E_BUSY || err == CELLAR_E_LIMIT || err == CELLAR_E_TIMEOUT;
}

/* Return the table if the load takes a lease; NULL: it does not. */
CELLAR_PRIVATE const struct cache_shared *cache_shared_leases(const cache_call *call);

/* Give the lease of the shared tier back, if the call still holds it. */
CELLAR_PRIVATE void cache_shared_unlease(cache_call *call);
/* Release the lease of the shared tier, if the call holds it, and end the entry of its key in
 * memory. Listeners run. */
CELLAR_PRIVATE void cache_shared_drop(cache_call *call);

/* Take the lease of the tier that was granted for an acquire of the key. Return false if there is
 * none. Not `leased`: a change may have ended it, and the load goes on without a lease. */
CELLAR_PRIVATE bool cache_tier_lease_take(cache_call *call);
/* Ask for a value or the lease, without waiting. */
CELLAR_PRIVATE bool cache_tier_lease_ask(const struct cache_shared *h, const l1_key *k,
                                         int64_t hold_ms, const cellar_tier_ticket *ticket);
/* Take the answer LEASED, with `lease`, or PENDING. */
CELLAR_PRIVATE void cache_tier_lease_answered(cellar *c, struct cache_shared *h,
                                              const cellar_tier_ticket *ticket,
                                              const cellar_tier_key *key, cellar_err err,
                                              const cellar_tier_lease *lease, int64_t until_ms);
/* Let acquires look again that wait for another process: those of a key that has changed, of all
 * keys with hash 0. `due`: only if their wait is over; also release the leases that no acquire took
 * in time, or before their namespace was dropped. */
CELLAR_PRIVATE void cache_tier_lease_wake(struct cache_shared *h, uint64_t hash, bool due);
CELLAR_PRIVATE void cache_tier_lease_tick(cache_store *s); /* `due`, for all tables */
CELLAR_PRIVATE void cache_tier_lease_drop(cellar *c); /* `due`, for a namespace that is dropped */

/* Take the answer of a tier to a ticket of cellar_lease_acquire: lease.c. */
CELLAR_PRIVATE void cache_tier_answered(cache_store *s, const cellar_tier_ticket *ticket,
                                        const void *key, size_t len, cellar_err err,
                                        const void *value, size_t value_len,
                                        const cache_found *found);

#define CACHE_SHARED_CLAIMS 32u /* keys of one request for leases */

/* Ask for the values and leases of up to CACHE_SHARED_CLAIMS calls that LEAD, with one plan;
 * `silent`: ask nothing. Afterwards each LEADS, is ANSWERED, ELSEWHERE, or LOOKS; then
 * cache_shared_drop follows. Return true if the tier did not answer in time. */
CELLAR_PRIVATE bool cache_shared_lead_many(cache_call *const *calls, size_t count, bool silent);
/* Wait until one of the calls LOOKS or is ANSWERED, if all that are left are ELSEWHERE. */
CELLAR_PRIVATE void cache_shared_wait(cache_call *calls, size_t count);

#endif
