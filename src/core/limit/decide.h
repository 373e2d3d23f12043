/* SPDX-License-Identifier: MIT
 *
 * decide: one operation on the words of one key: new values, verdict, result. */
#ifndef LIMIT_DECIDE_H
#define LIMIT_DECIDE_H

#include "limit/types.h"

typedef struct limit_call { /* one operation under way */
    limit_op *op;
    limit_head *head;
    limit_place place;
    uint64_t fp, asked_ns;  /* asked_ns: the reading of the caller */
    uint64_t banned_ns;     /* time left of a ban; 0: none */
    uint64_t ban_end;       /* one word: units at which a ban ended; 0: none */
    uint64_t ban_ns;        /* the denial bans the key for this time; 0: no */
    uint64_t over;          /* PEEK: permits with an ended hold */
    uint64_t first_ns;      /* PERMIT, PEEK: time until the first hold ends */
    uint64_t retry_ns;      /* denied: wait after which the call passes */
    uint64_t full_ns;       /* time until a slot of a full table is dead; 0: a slot was found */
    uint64_t state;         /* of the limiter, when the rules were loaded */
    uint32_t denied_by;     /* LIMIT_RULES: no rule */
    bool would_deny;
    bool keeps;             /* the words stay as they are */
    bool ready;             /* computed without a lock, but not stored */
    cellar_err err;
    limit_moment m;
    limit_verdict says[LIMIT_RULES];
    uint64_t word[LIMIT_RULES + 1]; /* as loaded */
    uint64_t next[LIMIT_RULES + 1]; /* values to store; a log changes with its cells */
    uint64_t stamp[LIMIT_RULES];    /* of a ticket, in units of the present origin; 0: none */
    uint64_t life, mine, losses, given; /* for a ticket, as loaded before the words */
} limit_call;

/* Run the operation on c->word: set err and next. `s`: the slot, for logs; NULL: a new key, which
 * gets no permit yet. */
CELLAR_PRIVATE void limit_compute(cellar_limiter *l, limit_call *c, limit_slot *s);
/* Store what limit_compute found. Return false if another call charged the word since. Caller holds
 * the bucket lock if `multi`. */
CELLAR_PRIVATE bool limit_store(cellar_limiter *l, limit_call *c, limit_slot *s);
/* Count the decision; fill result and ticket. Call it once, after the store. */
CELLAR_PRIVATE void limit_tell(cellar_limiter *l, limit_call *c, limit_slot *s);

#endif
