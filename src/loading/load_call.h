/* SPDX-License-Identifier: MIT
 *
 * load_call: functions of load_call.c for the files above it. */
#ifndef LOADING_LOAD_CALL_H
#define LOADING_LOAD_CALL_H

#include "cache/call.h"
#include "cache/load_types.h"

CELLAR_PRIVATE void cache_call_begin(cache_call *call, cellar *c, const cache_load_plan *p,
                                     const void *key, size_t key_len);
/* Begin a call for a flight. A clear may have ended its generation. */
CELLAR_PRIVATE void cache_call_of(cache_call *call, cellar *c, const cache_load_plan *p, flight *f);
/* Answer with the value in `old`. */
CELLAR_PRIVATE void cache_answer_old(cache_call *call, uint32_t source);
CELLAR_PRIVATE cellar_err cache_answer(cache_call *call, cellar_err code, uint32_t source);
/* Answer a failure: with the stale value, if the call has one. */
CELLAR_PRIVATE cellar_err cache_answer_failed(cache_call *call, cellar_err code);
CELLAR_PRIVATE void cache_call_forget(cache_call *call); /* drops `old` */
CELLAR_PRIVATE bool cache_result_bad(const cellar_result *out);
/* Count the call in `loading`, without cancellation until its end. Return false if the store
 * closes. Without memory for flights the call is answered. */
CELLAR_PRIVATE bool cache_call_enter(cache_call *call);
/* Fill the result, count the call, and record its read. Return its answer. */
CELLAR_PRIVATE cellar_err cache_call_end(cache_call *call, cellar_result *out);
/* Return the flights of the store, created at the first load. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *cache_flights(cache_store *s);
CELLAR_PRIVATE bool cache_load_begin(cellar *c); /* false: the store closes */
CELLAR_PRIVATE void cache_load_end(cache_store *s); /* s may be freed after it */
CELLAR_PRIVATE uint32_t cache_loads_mine(const cache_store *s); /* running calls of this thread */

/* Return the CELLAR_RESULT_ flags of an outcome. */
BASE_INLINE uint32_t cache_result_flags(uint32_t outcome)
{
    return ((outcome & FLIGHT_NOT_STORED) != 0 ? CELLAR_RESULT_NOT_STORED : 0u) |
           ((outcome & FLIGHT_OVERTAKEN) != 0 ? CELLAR_RESULT_INVALIDATED : 0u) |
           ((outcome & FLIGHT_NOT_SHARED) != 0 ? CELLAR_RESULT_NOT_SHARED : 0u);
}

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

/* Try the plain hit of a key. `k` is set in any case. */
BASE_ALWAYS_INLINE cellar_err cache_hit_plain(cellar *c, l1_key *k, const void *key, size_t key_len,
                                              cellar_result *out)
{
    size_t len;
    cache_key(c, k, key, key_len);
    const cellar_err err = l1_get(c->l1, k, out->buf, out->buf_cap, &len, L1_NOT_DUE);
    if (err == CELLAR_OK) {
        cache_hit_out(out, len);
        stats_add(cache_mine(c), STATS_HIT_L1, 1);
    }
    return err;
}

#endif
