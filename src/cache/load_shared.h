/* SPDX-License-Identifier: MIT
 *
 * load_shared: functions of load_shared.c for the files above it. */
#ifndef CACHE_LOAD_SHARED_H
#define CACHE_LOAD_SHARED_H

#include "cache/load_acquire.h"

/* Ask the shared tier for the lease of a led flight. LED: the loader may run. Else the flight has
 * ended: ANSWERED, or AGAIN after a wait for another process. */
CELLAR_PRIVATE cache_acquired cache_shared_lead(cache_call *call, flight *f);
#endif
