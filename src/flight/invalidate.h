/* SPDX-License-Identifier: MIT
 *
 * invalidate: what a change of a key does to its flights, inside the window of its bucket. */
#ifndef FLIGHT_INVALIDATE_H
#define FLIGHT_INVALIDATE_H

#include "flight/table.h"

BASE_INLINE bool flight_any(const flight_table *t, uint64_t hash)
{
    return base_load_sc(&flight_shard_of(t, hash)->count) != 0;
}
CELLAR_PRIVATE void flight_invalidate(flight_table *t, const flight_key *key);
/* Invalidate all flights of the key except `but`, outside a window. */
CELLAR_PRIVATE void flight_invalidate_others(flight_table *t, const flight_key *key,
                                             const flight *but);
/* Invalidate all flights of generation `generation` with a matching key. No lock is held while
 * `match` runs. Flights that begin during the call may stay. */
CELLAR_PRIVATE void flight_invalidate_match(flight_table *t, uint32_t generation,
                                          bool (*match)(void *ctx, const void *key, size_t len),
                                          void *ctx);
/* Unlink the flight of the publisher. `key->bytes` is the pointer of flight_key_of and names the
 * flight. Return false if the flight was invalidated. */
CELLAR_PRIVATE bool flight_may_publish(flight_table *t, const flight_key *key);

CELLAR_PRIVATE bool flight_is_detached(flight_table *t, flight *f, bool *alone);
/* Return whether the key is being loaded. Set *start_ms to the start of that load. */
CELLAR_PRIVATE bool flight_since(flight_table *t, const flight_key *key, int64_t *start_ms);
CELLAR_PRIVATE bool flight_audit(flight_table *t);

#endif
