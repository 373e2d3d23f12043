/* SPDX-License-Identifier: MIT
 *
 * load_acquire: acquire the flight of a key, for calls, bulk loads, leases and refreshes. */
#ifndef LOADING_LOAD_ACQUIRE_H
#define LOADING_LOAD_ACQUIRE_H

#include "cache/load_types.h"

typedef enum cache_acquired {
    CACHE_ANSWERED, /* the call has its answer */
    CACHE_AGAIN,    /* look again */
    CACHE_LED,      /* *f: nothing has the value; load it, then cache_release */
    CACHE_JOINED,   /* *f: another call loads it; cache_join */
    CACHE_PENDING   /* another call loads it; a subscription belongs to its flight now */
} cache_acquired;

/* Return whether the tier is asked before the loader runs: there is no old value, or one of a
 * shared namespace that became stale before its time, at a gap of the tier. */
CELLAR_PRIVATE bool cache_asks_tier(const cache_call *call);
/* Acquire the flight of the key: enter it; as leader look a second time and into the tier.
 * `join`: wait for another call; else `sub` subscribes to its end (NULL: nothing does). */
CELLAR_PRIVATE cache_acquired cache_acquire(cache_call *call, flight_kind kind, bool join,
                                            flight_sub *sub, flight **f);
/* Enter the flight: the first step of cache_acquire. A refresh waits in a queue after it. */
CELLAR_PRIVATE flight_entry cache_enter(cache_call *call, flight_kind kind, bool join,
                                        flight_sub *sub, flight **f);
/* Look as leader: the second step. Return true if the call is answered; the flight has ended
 * then. */
CELLAR_PRIVATE bool cache_led(cache_call *call, flight *f);
/* End a led flight with its outcome. */
CELLAR_PRIVATE void cache_release(cache_call *call, flight *f, flight_outcome *o);
/* Return the end of the wait of this call, ms. */
CELLAR_PRIVATE int64_t cache_patience(cache_call *call);
/* Wait for a joined flight. Return true if the call is answered, false: look again. */
CELLAR_PRIVATE bool cache_join(cache_call *call, flight *f);

#endif
