/* SPDX-License-Identifier: MIT
 *
 * load_wait: functions of load_wait.c for the files above it. */
#ifndef CACHE_LOAD_WAIT_H
#define CACHE_LOAD_WAIT_H

#include "cache/load_types.h"

CELLAR_PRIVATE void cache_ask(cache_call *call, flight_kind kind, flight_ask *ask);
CELLAR_PRIVATE cellar_err cache_entry_failed(cache_call *call, flight_entry entry);
/* Wait for a joined flight. Return true if the call is answered, false: look again. */
CELLAR_PRIVATE bool cache_join(cache_call *call, flight_table *t, flight *f, uint64_t epoch);
/* Handle a failure of another flight, or a remembered one (source ERROR_ENTRY). `asked`: fallbacks
 * that the leader of that flight tried. Return true if the call is answered. False: run the own
 * fallbacks as leader of a flight (call->instead). */
CELLAR_PRIVATE bool cache_failure_heard(cache_call *call, cellar_err err, uint32_t source,
                                        uint32_t asked);
CELLAR_PRIVATE bool cache_has_stale(const cache_call *call);
/* Copy the default value. Return NULL if there is none or no memory is left. */
CELLAR_PRIVATE flight_bytes *cache_default_value(const cache_call *call);
/* Return a mix of the fallback functions, without ctx, which may differ per caller. 0: none. */
CELLAR_PRIVATE uint32_t cache_fallbacks_of(const cellar_load_opts *o);

#endif
