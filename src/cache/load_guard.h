/* SPDX-License-Identifier: MIT
 *
 * load_guard: functions of load_guard.c for the files above it. */
#ifndef CACHE_LOAD_GUARD_H
#define CACHE_LOAD_GUARD_H

#include "cache/load_types.h"

/* Answer if the filter says that the source never had the key. Return true if the call is
 * answered. */
CELLAR_PRIVATE bool cache_filter_answers(cache_call *call);
/* Try the plain hit of a namespace with a filter. Return true with *err if the call is answered.
 * *audit: the load checks the filter. */
CELLAR_PRIVATE bool cache_guarded_hit(cellar *c, const void *key, size_t key_len,
                                      cellar_result *out, cellar_err *err, bool *audit);
/* Ask the breaker whether the loader may run. Report its verdict once. */
CELLAR_PRIVATE bool cache_guard_admit(struct cellar_load *ld);
CELLAR_PRIVATE void cache_guard_report(struct cellar_load *ld, cellar_err verdict);
/* Return whether the error concerns this call, not the source. */
CELLAR_PRIVATE bool cache_error_is_ours(int32_t code);

#endif
