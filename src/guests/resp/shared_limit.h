/* SPDX-License-Identifier: MIT
 *
 * shared_limit: limiters that processes share, on tables of the port. */
#ifndef RESP_SHARED_LIMIT_H
#define RESP_SHARED_LIMIT_H

#include "resp/command.h"

#define RESP_LIMIT_PART 16 /* of shared_bytes, for the tables of limiters */

typedef enum resp_limit_kind {
    RESP_LIMIT_BUCKET, RESP_LIMIT_WINDOW, RESP_LIMIT_LOG
} resp_limit_kind;

/* A request of the remote tier (limit.c there). */
typedef struct resp_limit_ask {
    resp_limit_kind kind;
    cellar_bytes name, key; /* of the limiter; of the caller */
    cellar_bytes id;        /* of the process; "": do not count the processes */
    int64_t want, least;    /* units, 1 to want */
    int64_t rule[2];        /* bucket: debt of a unit and largest debt, in 1/128 us. Window: s, 0:
                             * months; limit. Log: us; limit */
    int64_t more;           /* bucket: us within which the units may be there */
} resp_limit_ask;

/* Decide. out: units; us until they may be spent or, without units, until the least ones are there;
 * processes of the last 10 s, 0: not counted. False: an error was written. */
CELLAR_PRIVATE bool resp_limit_take(resp_client *c, const resp_limit_ask *q, int64_t out[3]);
/* Take the figures of the tables, and log what they lose. A tick calls it. */
CELLAR_PRIVATE void resp_limit_tick(cellar_resp *r);
CELLAR_PRIVATE void resp_limit_close(cellar_resp *r);

#endif
