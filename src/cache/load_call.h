/* SPDX-License-Identifier: MIT
 *
 * load_call: functions of load_call.c for the files above it. */
#ifndef CACHE_LOAD_CALL_H
#define CACHE_LOAD_CALL_H

#include "cache/load_types.h"

CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const void *key, size_t key_len);
/* Look into L1. Return OK (call->early: refresh?), STALE, ABSENT, E_LOADER (remembered error, no
 * retry yet), MISS, E_NOMEM or E_LIMIT. With OK and STALE call->old is set. */
CELLAR_PRIVATE cellar_err cache_look(cache_call *call);
/* Answer with the value in `old`. */
CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source);
CELLAR_PRIVATE cellar_err cache_answer(cache_call *call, cellar_err code, uint32_t source);
/* Answer a failure: with the stale value, if the call has one. */
CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code);
CELLAR_PRIVATE void cache_call_forget(cache_call *call); /* drops `old` */
CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out);
CELLAR_PRIVATE cellar_err cache_call_out(cache_call *call, cellar_result *out);
CELLAR_PRIVATE void cache_call_count(cache_call *call);
/* Record the read of a key that this call answers. */
CELLAR_PRIVATE void cache_call_seen(cache_call *call);
/* Return the flights of the store, created at the first load. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s);
CELLAR_PRIVATE bool cache_load_begin(cellar *c); /* false: the store closes */
CELLAR_PRIVATE void cache_load_end(cache_store *s); /* s may be freed after it */
CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s); /* running calls of this thread */

/* Fill the result of a plain hit: only the bytes are known. */
BASE_ALWAYS_INLINE void cache_hit_out(cellar_result *out, size_t len)
{
    out->value = out->buf;
    out->value_len = len;
    out->source = CELLAR_SOURCE_L1;
    out->flags = 0;
    out->user_flags = 0;
    out->loader_err = 0;
    out->age_ms = out->ttl_left_ms = -1;
    out->retry_after_ms = 0;
    out->version = 0;
    out->load_us = 0;
    out->opaque[0] = 0;
}

#endif
