/* SPDX-License-Identifier: MIT
 *
 * load_leader: functions of load_leader.c for the files above it. */
#ifndef CACHE_LOAD_LEADER_H
#define CACHE_LOAD_LEADER_H

#include "cache/load_types.h"

/* Lead the flight: second look, tier, loader, store. Its ref is gone afterwards. */
CELLAR_PRIVATE void cache_lead(cache_call *call, flight_table *t, flight *f);
/* Look into the tier, unless there is none, the call excludes it, or the key changes now. Return
 * true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o);
/* Look a second time. Return true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight_outcome *o);

#endif
