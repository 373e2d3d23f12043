/* SPDX-License-Identifier: MIT
 *
 * load: functions of load.c for the files above it. */
#ifndef CACHE_LOAD_H
#define CACHE_LOAD_H

#include "cache/load_types.h"

/* Begin a round: look, and answer if the look suffices. Return true if the call is answered.
 * `notes`: record the read for a loader of this thread. */
CELLAR_PRIVATE bool cache_look_round(cache_call *call, bool notes);

#endif
