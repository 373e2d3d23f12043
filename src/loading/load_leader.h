/* SPDX-License-Identifier: MIT
 *
 * load_leader: functions of load_leader.c for the files above it. */
#ifndef LOADING_LOAD_LEADER_H
#define LOADING_LOAD_LEADER_H

#include "cache/load_types.h"

/* Prepare the handle of a led flight. The loader may not run if the breaker refuses, or if the
 * source failed recently (ld->refused). */
CELLAR_PRIVATE void cache_lead_begin(struct cellar_load *ld, cache_call *call, flight *f);
CELLAR_PRIVATE void cache_lead_admit(struct cellar_load *ld);
/* Run the loader, or the bulk loader. */
CELLAR_PRIVATE void cache_lead_run(struct cellar_load *ld);
/* Return the verdict on return code and results of the loader. *code: for the caller, if it
 * failed. */
CELLAR_PRIVATE cellar_err cache_lead_verdict(const struct cellar_load *ld, int32_t *code);
/* Settle the load: report to the breaker, store the result or run the fallbacks, answer the call
 * and end the flight. Return the flags of the outcome. */
CELLAR_PRIVATE uint32_t cache_lead_settle(struct cellar_load *ld);
/* Report the verdict on an open pass of the breaker, once. */
CELLAR_PRIVATE void cache_lead_report(struct cellar_load *ld, cellar_err verdict);
/* Load the key of a led flight with all these steps. The flight has ended afterwards. */
CELLAR_PRIVATE void cache_lead(cache_call *call, flight *f);

#endif
