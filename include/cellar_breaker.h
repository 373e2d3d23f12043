/* SPDX-License-Identifier: MIT
 *
 * cellar_breaker: circuit breakers for loads and for other calls.
 *
 * A breaker counts failures. When a service fails too often, the breaker opens: calls are refused
 * early, instead of waiting for a service that is down. After some time one probe may pass; a few
 * successes close the breaker. */
#ifndef CELLAR_BREAKER_H
#define CELLAR_BREAKER_H

#include "cellar_load.h"

#ifdef __cplusplus
extern "C" {
#endif

/* LOADS
 * A load asks the breaker of its options or of its namespace by itself. A failure is: the loader
 * failed, set no result, or ran longer than hard_timeout_ms. While the breaker is open, a load
 * returns a stale value, a fallback or E_BREAKER_OPEN. The calls of this header serve every other
 * kind of call that may fail. Metric cellar_breaker_state has the breakers of namespaces. The disk
 * tier has a breaker of its own: see FAILURES in cellar_l2.h. */

/* ---- Options --------------------------------------------------------------------------------- */

/* State of a breaker, in cellar_breaker_info.state. */
typedef enum cellar_breaker_state {
    CELLAR_BREAKER_CLOSED = 0,   /* calls pass */
    CELLAR_BREAKER_OPEN = 1,     /* calls are refused, for a time that doubles */
    CELLAR_BREAKER_HALF_OPEN = 2 /* one probe at a time passes; a few successes close it */
} cellar_breaker_state;

/* Outcome of a call that was allowed, for cellar_breaker_record. */
typedef enum cellar_breaker_outcome {
    CELLAR_BREAKER_SUCCESS = 0, /* the call succeeded */
    CELLAR_BREAKER_FAILURE = 1, /* the call failed */
    CELLAR_BREAKER_IGNORED = 2  /* cancelled, or not made: counts as neither */
} cellar_breaker_outcome;

/* When a breaker opens and closes: for cellar_breaker_create and
 * cellar_namespace_config.breaker. */
typedef struct cellar_breaker_config {
    size_t   struct_size; /* set by cellar_breaker_config_default()                               */
    uint32_t failure_pct; /* opens at this share of failed calls in 10 s. Range 1..100 percent.   */
                          /* Default 50                                                           */
    uint32_t min_calls;   /* calls in 10 s from which on failure_pct counts. Range 1..1,000,000.  */
                          /* Default 20                                                           */
    uint32_t consecutive_failures; /* also opens after this number of failures in a row.          */
                          /* Range 1..63. Default 5                                               */
    uint32_t half_open_successes;  /* successful probes that close it. Range 1..15. Default 3     */
    int64_t  open_ms;     /* open for a random time, up to this. Range 1..2^40 ms. Default 5,000  */
    int64_t  open_max_ms; /* open_ms doubles with each failed probe, 15 times at most, up to this.*/
                          /* Range open_ms..2^40 ms. Default 60,000, or open_ms where that is     */
                          /* longer                                                               */
} cellar_breaker_config;
CELLAR_STRUCT(cellar_breaker_config, open_max_ms);

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Create a circuit breaker for all calls of one service: while the service fails, calls are refused
 * early.
 * in:      c: the breaker uses clock, log and allocator of its store; o NULL = all defaults
 * out:     *out, NULL on failure
 * returns: OK; E_NOMEM (the system gave no memory)
 * owns:    the caller destroys *out with cellar_breaker_destroy, after the last load that names it;
 *          also after the store was closed
 * thread:  any
 * cost:    one allocation of about 250 bytes, not charged to the budget
 * example:
 *     cellar_breaker *b;
 *     if (cellar_breaker_create(c, NULL, &b) != CELLAR_OK) return 1;                             */
CELLAR_API cellar_err cellar_breaker_create(cellar *c, const cellar_breaker_config *o,
                                            cellar_breaker **out);

/* Destroy a breaker when no call uses it any more.
 * in:      b: the breaker; NULL is fine
 * owns:    b is freed: no load may name it any more
 * thread:  any; must not overlap other calls on the breaker
 * cost:    one free
 * example: cellar_breaker_destroy(NULL);                                                         */
CELLAR_API void cellar_breaker_destroy(cellar_breaker *b);

/* Ask before a call of the service whether it may be made.
 * in:      b: the breaker
 * out:     *pass: for cellar_breaker_record
 * returns: OK (make the call, then cellar_breaker_record); E_BREAKER_OPEN (do not make it)
 * owns:    a probe that is never recorded blocks the next one for open_max_ms
 * thread:  any
 * cost:    one clock reading and one load; no lock
 * example:
 *     uint32_t pass;
 *     if (cellar_breaker_allow(b, &pass) == CELLAR_OK) {
 *         const bool good = call_service();
 *         cellar_breaker_record(b, pass, good ? CELLAR_BREAKER_SUCCESS
 *                                             : CELLAR_BREAKER_FAILURE);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_breaker_allow(cellar_breaker *b, uint32_t *pass);

/* Record how a call ended that cellar_breaker_allow let pass.
 * in:      b: the breaker; pass from cellar_breaker_allow; outcome: success or failure of the call
 * returns: OK
 * thread:  any; when the breaker opens or closes, the log function runs in this call
 * cost:    one clock reading and one or two shared writes
 * example: cellar_breaker_record(b, pass, CELLAR_BREAKER_SUCCESS);                               */
CELLAR_API cellar_err cellar_breaker_record(cellar_breaker *b, uint32_t pass,
                                            cellar_breaker_outcome outcome);

/* Close a breaker and forget its recorded calls.
 * in:      b: the breaker
 * returns: OK
 * thread:  any
 * cost:    O(1)
 * example: cellar_breaker_reset(b);                                                              */
CELLAR_API cellar_err cellar_breaker_reset(cellar_breaker *b);

/* State and counters of a breaker: of cellar_breaker_info_get. Filled up to the caller's
 * struct_size. */
typedef struct cellar_breaker_info {
    size_t   struct_size;    /* set by cellar_breaker_info_default()                              */
    cellar_breaker_state state; /* whether calls pass                                             */
    uint32_t reserved0;      /* 0                                                                 */
    int64_t  retry_after_ms; /* time until a probe may pass; 0 when calls pass                    */
    uint64_t calls;          /* calls that were recorded, without IGNORED                         */
    uint64_t failures;       /* recorded calls that failed                                        */
    uint64_t rejects;        /* calls refused                                                     */
    uint64_t opens;          /* times it opened                                                   */
} cellar_breaker_info;
CELLAR_STRUCT(cellar_breaker_info, opens);

/* Read state and counters of a breaker.
 * in:      b: the breaker; out from cellar_breaker_info_default
 * out:     *out: state and counters of this moment
 * returns: OK
 * thread:  any
 * cost:    one clock reading
 * example:
 *     cellar_breaker_info i = cellar_breaker_info_default();
 *     cellar_breaker_info_get(b, &i);                                                            */
CELLAR_API cellar_err cellar_breaker_info_get(cellar_breaker *b, cellar_breaker_info *out);

#ifdef __cplusplus
}
#endif
#endif
