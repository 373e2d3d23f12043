/* SPDX-License-Identifier: MIT
 *
 * breaker: stop calls to a failing source, and detect when the source works again.
 *
 * CALLS      Every call of the source asks for a pass and reports it:
 *     uint32_t pass;
 *     if (!breaker_admit(&b, now_ms, &pass)) ...               open: do not call
 *     outcome = call();
 *     change = breaker_report(&b, pass, BREAKER_FAILED, now_ms);
 *
 * Report every pass once. An unreported probe blocks a half-open breaker for open_max_ms. How it
 * works: breaker.c. */
#ifndef BREAKER_BREAKER_H
#define BREAKER_BREAKER_H

#include "base/atomic.h"
#include "base/port.h"

#define BREAKER_CELLS 10u

typedef enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN } breaker_state;
typedef enum breaker_outcome {
    BREAKER_WORKED, BREAKER_FAILED,
    BREAKER_SAID_NOTHING /* cancelled, absent, or not called: no verdict */
} breaker_outcome;
typedef enum breaker_change { BREAKER_SAME, BREAKER_OPENED, BREAKER_CLOSED_AGAIN } breaker_change;

typedef struct breaker_rule { /* valid if breaker_rule_ok */
    uint32_t failure_pct; /* share of failed calls in 10 s that opens it, 1..100 percent */
    uint32_t min_calls;   /* least calls in 10 s for failure_pct, 1..1,000,000 */
    uint32_t consecutive_failures; /* failures in a row that open it, 1..63 */
    uint32_t half_open_successes; /* successful probes that close it, 1..15 */
    int64_t open_ms;      /* first open time is drawn from 1..open_ms, in ms; at least 1 */
    int64_t open_max_ms;  /* upper bound of the doubled open time, ms; >= open_ms */
} breaker_rule;

typedef struct breaker {
    _Atomic uint64_t word; /* changed by CAS; layout in breaker.c */
    _Atomic uint64_t cell[BREAKER_CELLS]; /* {u24 second, u20 calls, u20 failures} */
    _Atomic uint64_t calls, failures, rejects, opens; /* relaxed, for statistics */
    breaker_rule rule;     /* constant */
    int64_t born_ms;       /* constant; times in `word` count from it */
} breaker;

CELLAR_PRIVATE bool breaker_rule_ok(const breaker_rule *r);
CELLAR_PRIVATE void breaker_init(breaker *b, const breaker_rule *r, int64_t now_ms);
/* Ask for a pass. Return false if the breaker is open. Else *pass goes to breaker_report. */
CELLAR_PRIVATE bool breaker_admit(breaker *b, int64_t now_ms, uint32_t *pass);
CELLAR_PRIVATE breaker_change breaker_report(breaker *b, uint32_t pass, breaker_outcome how,
                                             int64_t now_ms);
/* Close the breaker and clear its counters. Passes that are out still count. */
CELLAR_PRIVATE void breaker_reset(breaker *b);
CELLAR_PRIVATE breaker_state breaker_state_of(const breaker *b);
/* Return the ms until a probe may pass; 0 if the breaker is closed or a probe may pass now. */
CELLAR_PRIVATE int64_t breaker_wait_ms(const breaker *b, int64_t now_ms);

#endif
