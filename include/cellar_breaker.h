/* SPDX-License-Identifier: MIT
 *
 * cellar_breaker: circuit breakers for loads and for other calls. */
#ifndef CELLAR_BREAKER_H
#define CELLAR_BREAKER_H

#include "cellar_load.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stops calling what keeps failing. CLOSED: calls pass; OPEN: they do not, for a time that doubles;
 * HALF_OPEN: one probe at a time passes, and a few that work close it. Loads ask the breaker of
 * their options or of their view by themselves; these calls are for everything else. A view's is in
 * the metrics (cellar_breaker_state); the disk tier has its own: fail_errors of cellar_l2_opts. */
typedef enum cellar_breaker_state {
    CELLAR_BREAKER_CLOSED = 0,
    CELLAR_BREAKER_OPEN = 1,
    CELLAR_BREAKER_HALF_OPEN = 2
} cellar_breaker_state;

typedef enum cellar_breaker_outcome {
    CELLAR_BREAKER_SUCCESS = 0,
    CELLAR_BREAKER_FAILURE = 1,
    CELLAR_BREAKER_IGNORED = 2
} cellar_breaker_outcome;

/* When a breaker opens and closes. 0 everywhere = what stands here. */
typedef struct cellar_breaker_opts {
    size_t   struct_size; /* set by cellar_breaker_opts_default()                                 */
    uint32_t failure_pct; /* opens at this share of failed calls in 10 s, 1..100; 50              */
    uint32_t min_calls;   /* of at least so many, 1..1,000,000; 20                                */
    uint32_t consecutive_failures; /* opens after so many failures in a row, 1..63; 5             */
    uint32_t half_open_successes; /* probes that must work to close it, 1..15; 3                  */
    int64_t  open_ms;     /* stays open for a random time up to this; 5,000                       */
    int64_t  open_max_ms; /* doubled with each failed probe up to this; 60,000, or open_ms; from  */
                          /* open_ms to 2^40                                                      */
} cellar_breaker_opts;
CELLAR_STRUCT(cellar_breaker_opts, open_max_ms);

/* Make a breaker, to be shared by all calls of one thing that may fail.
 * in:      a handle whose store lends clock, log and allocator; o NULL = all defaults
 * out:     *out, or NULL on failure
 * returns: OK; E_INVAL (a number out of range), E_UNSUPPORTED, E_NOMEM, E_CLOSED
 * owns:    the caller destroys it with cellar_breaker_destroy, also after the store was closed, and
 *          after the last load that names it
 * thread:  any
 * cost:    one allocation of about 250 bytes, not charged to the budget
 * example:
 *     cellar_breaker *b;
 *     if (cellar_breaker_create(c, NULL, &b) != CELLAR_OK) return 1;                             */
CELLAR_API cellar_err cellar_breaker_create(cellar *c, const cellar_breaker_opts *o,
                                            cellar_breaker **out);

/* Free a breaker.
 * in:      NULL is fine
 * thread:  any; nobody uses it any more
 * cost:    one free
 * example: cellar_breaker_destroy(NULL);                                                         */
CELLAR_API void cellar_breaker_destroy(cellar_breaker *b);

/* May the call be made?
 * in:      a breaker
 * out:     *pass, for cellar_breaker_record
 * returns: OK; E_BREAKER_OPEN (do not call), E_INVAL
 * owns:    every OK is followed by one cellar_breaker_record; a probe that never is holds the
 *          others back for open_max_ms
 * thread:  any
 * cost:    a clock reading and one load; no lock
 * example:
 *     uint32_t pass;
 *     if (cellar_breaker_allow(b, &pass) == CELLAR_OK) call_it(b, pass);                         */
CELLAR_API cellar_err cellar_breaker_allow(cellar_breaker *b, uint32_t *pass);

/* How did the call end?
 * in:      pass from cellar_breaker_allow; outcome CELLAR_BREAKER_SUCCESS, _FAILURE or _IGNORED
 *          (cancelled, not made after all)
 * returns: OK; E_INVAL
 * thread:  any; when it opens or closes, the log callback runs here
 * cost:    a clock reading and one or two shared writes
 * example: cellar_breaker_record(b, pass, CELLAR_BREAKER_SUCCESS);                               */
CELLAR_API cellar_err cellar_breaker_record(cellar_breaker *b, uint32_t pass,
                                            cellar_breaker_outcome outcome);

/* Close a breaker by hand, and forget what it has seen.
 * in:      a breaker
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    O(1)
 * example: cellar_breaker_reset(b);                                                              */
CELLAR_API cellar_err cellar_breaker_reset(cellar_breaker *b);

/* State and counters of a breaker. Filled up to the caller's struct_size. */
typedef struct cellar_breaker_info {
    size_t   struct_size;    /* set by cellar_breaker_info_default()                              */
    cellar_breaker_state state;
    uint32_t reserved0;
    int64_t  retry_after_ms; /* until a probe may pass; 0 when calls may                          */
    uint64_t calls;          /* reported, without those that gave no verdict                      */
    uint64_t failures;       /* of them                                                           */
    uint64_t rejects;        /* not let through                                                   */
    uint64_t opens;          /* times it opened                                                   */
} cellar_breaker_info;
CELLAR_STRUCT(cellar_breaker_info, opens);

/* Read state and counters.
 * in:      out->struct_size set
 * out:     *out
 * returns: OK; E_INVAL
 * thread:  any
 * cost:    a clock reading
 * example:
 *     cellar_breaker_info i = cellar_breaker_info_default();
 *     cellar_breaker_info_get(b, &i);                                                            */
CELLAR_API cellar_err cellar_breaker_info_get(cellar_breaker *b, cellar_breaker_info *out);

#ifdef __cplusplus
}
#endif
#endif
