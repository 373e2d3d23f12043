/* SPDX-License-Identifier: MIT
 *
 * load_look: functions of load_look.c for the files above it. */
#ifndef LOADING_LOAD_LOOK_H
#define LOADING_LOAD_LOOK_H

#include "cache/load_types.h"

#define CACHE_LOOK_TRY 512u /* bytes tried for a value of unknown length */

/* Look into L1. Return OK (call->early: refresh?), STALE, ABSENT, E_LOADER (remembered error, no
 * retry yet), MISS, E_NOMEM or E_LIMIT. With OK and STALE call->old is set. */
CELLAR_PRIVATE cellar_err cache_look(cache_call *call);
/* Begin a round: look, and answer if the look suffices. Return true if the call is answered. */
CELLAR_PRIVATE bool cache_look_round(cache_call *call);
/* Look a second time, as the leader. Return true if that answers the call; `o` is for the
 * waiters. */
CELLAR_PRIVATE bool cache_second_look(cache_call *call, flight_outcome *o);
/* Look into the tier, unless there is none, the call excludes it, or the key changes now. Return
 * true if that answers the call; `o` is for the waiters. */
CELLAR_PRIVATE bool cache_tier_look(cache_call *call, flight_outcome *o);
/* Return whether the call may look into the tier. */
CELLAR_PRIVATE bool cache_tier_looks(const cache_call *call);
/* Answer with an entry of the tier: its value in `b`, which the call owns then; NULL: negative. */
CELLAR_PRIVATE void cache_tier_found(cache_call *call, const cache_tier_meta *m, flight_bytes *b,
                                     flight_outcome *o);
/* Handle a failure of another flight, or a remembered one (source ERROR_ENTRY). `asked`: fallbacks
 * that the leader of that flight tried. Return true if the call is answered. False: run the own
 * fallbacks as leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
/* Answer with the stale value, the default value or the error, if no source could be asked in
 * time. */
CELLAR_PRIVATE cellar_err cache_answer_in_vain(cache_call *call, cellar_err err);
CELLAR_PRIVATE bool cache_has_stale(const cache_call *call);
/* Copy the default value. Return NULL if there is none or no memory is left. */
CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call);
/* Return a mix of the fallback functions, without ctx, which may differ per caller. 0: none. */
CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cache_load_plan *p);

#endif
