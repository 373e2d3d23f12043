/* SPDX-License-Identifier: MIT
 *
 * breaker: stops calling what keeps failing, and finds out when it works again.
 *
 * CALL PATTERN
 *     uint32_t pass;
 *     if (!breaker_admit(&b, now_ms, &pass)) ...               open: do not call
 *     outcome = call();
 *     change = breaker_report(&b, pass, BREAKER_FAILED, now_ms);
 * Every pass is reported once; one that never is blocks a half-open breaker for open_max_ms. How it
 * works: breaker.c. */
#ifndef BREAKER_BREAKER_H
#define BREAKER_BREAKER_H

#include "base/atomic.h"
#include "base/port.h"

#define BREAKER_CELLS 10u

typedef enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN } breaker_state;
typedef enum breaker_outcome {
    BREAKER_WORKED, BREAKER_FAILED,
    BREAKER_SAID_NOTHING /* cancelled, absent, not called after all: no verdict */
} breaker_outcome;
typedef enum breaker_change { BREAKER_SAME, BREAKER_OPENED, BREAKER_CLOSED_AGAIN } breaker_change;

typedef struct breaker_rule { /* all in range: breaker_rule_ok */
    uint32_t failure_pct; /* 1..100: opens at this share of failed calls in 10 s, */
    uint32_t min_calls;   /* of at least so many; 1..1,000,000 */
    uint32_t consecutive_failures; /* 1..63: opens after so many failures in a row */
    uint32_t half_open_successes; /* 1..15: successful probes that close it */
    int64_t open_ms;      /* 1..: how long it stays open at first, drawn from 1..this */
    int64_t open_max_ms;  /* >= open_ms; doubled up to here */
} breaker_rule;

typedef struct breaker {
    _Atomic uint64_t word; /* see breaker.c; CAS */
    _Atomic uint64_t cell[BREAKER_CELLS]; /* {u24 second, u20 calls, u20 failures} */
    _Atomic uint64_t calls, failures, rejects, opens; /* relaxed, for people */
    breaker_rule rule;     /* constant */
    int64_t born_ms;       /* constant; times in `word` count from it */
} breaker;

CELLAR_PRIVATE bool breaker_rule_ok(const breaker_rule *r);
CELLAR_PRIVATE void breaker_init(breaker *b, const breaker_rule *r, int64_t now_ms);
/* False: open. Else *pass goes to breaker_report. */
CELLAR_PRIVATE bool breaker_admit(breaker *b, int64_t now_ms, uint32_t *pass);
CELLAR_PRIVATE breaker_change breaker_report(breaker *b, uint32_t pass, breaker_outcome how,
                                             int64_t now_ms);
/* Closed, as new; running passes still count. */
CELLAR_PRIVATE void breaker_reset(breaker *b);
CELLAR_PRIVATE breaker_state breaker_state_of(const breaker *b);
/* How long until a probe may pass, 0 when closed or when one may now. */
CELLAR_PRIVATE int64_t breaker_wait_ms(const breaker *b, int64_t now_ms);

#endif
