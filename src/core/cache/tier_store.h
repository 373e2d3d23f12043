/* SPDX-License-Identifier: MIT
 *
 * tier_store: functions of tier_store.c for the files above it. */
#ifndef CACHE_TIER_STORE_H
#define CACHE_TIER_STORE_H

#include "cache/types.h"

/* Promise of a change that is stored in the tier before the call returns. */
typedef enum cache_promise {
    CACHE_LATER,   /* none: the entry is written when it leaves memory */
    CACHE_TRY,     /* CELLAR_L2_WRITE_ON_SET: one put, which may be dropped */
    CACHE_THROUGH, /* CELLAR_L2_WRITE_THROUGH: E_IO unless the tier has the entry or must not
                    * have it */
    CACHE_DURABLE, /* CELLAR_DURABLE: like THROUGH, but a refused entry is E_IO, too */
    CACHE_ASKED    /* a shared tier makes the change, and decides */
} cache_promise;

/* Result of one try. */
typedef enum cache_stored {
    CACHE_STORED,   /* OK */
    CACHE_NO_ROOM,  /* no room now */
    CACHE_GONE,     /* the entry left memory before it could be read back */
    CACHE_UNWANTED, /* the entry must not be stored: flag, tags, error, stale */
    CACHE_SHORT,    /* less than l2.min_ttl_ms is left */
    CACHE_REFUSED   /* too large, over the write budget, not sealed, or the tier is off */
} cache_stored;

/* Return the promise of a change in this namespace, before the change begins. */
CELLAR_PRIVATE cache_promise cache_promise_of(const cellar *c, bool durable);
#define CACHE_NOT_ON_DISK L1_ADDR_NEVER /* l2_addr of an entry that must never be written to disk */

/* Store a change in the tier as its ordered write, or delete the key there; see change.c. Return
 * OK, E_IO of a queue, or CACHE_LACKING. */
CELLAR_PRIVATE cellar_err cache_tier_store(cellar *c, const l1_key *k, const l1_put_spec *p,
                                           cache_promise promise, cache_ordered *t);
/* Put the entry that memory has into the tier, which must have stamps, and note its copy. Any
 * thread; changes of the key go on. NO_ROOM: offer it again with the same `progress`. */
CELLAR_PRIVATE cache_stored cache_tier_offer(cellar *c, const l1_key *k, cache_progress *progress);

#endif
