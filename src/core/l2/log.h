/* SPDX-License-Identifier: MIT
 *
 * log: reserve records in the open slot. */
#ifndef L2_LOG_H
#define L2_LOG_H

#include "l2/types.h"

typedef enum l2_room { L2_ROOM_PUT, L2_ROOM_MOVE, L2_ROOM_KEEP, L2_ROOM_FLOOR } l2_room;
typedef struct l2_spot { /* a reserved record; the slot's writers count it */
    l2_slot *slot;
    unsigned char *at;
    uint64_t segseq;
    uint32_t seg, off, era;
    bool lost; /* the index had no place for its word */
} l2_spot;
typedef enum l2_took {
    L2_TOOK, L2_NO_ROOM, L2_IS_CLEAN, L2_IS_EMPTY, L2_IS_STALLED, L2_IS_FROZEN, L2_IS_INVALID,
    L2_IS_OLD
} l2_took;
BASE_INLINE bool l2_is_current(const l2_terms *t)
{
    const l2_current *c = t->current;
    return c == NULL || c->is == NULL || c->is(c->ctx, t->hash, c->stamp);
}
/* Reserve a record: write its head and its footer line. The caller writes the body, then calls
 * l2_rec_end and l2_spot_done. terms: NULL unless the record is a put. A put gives up if the lock
 * is busy. Its filter bits are set when it has its place. Results without a reservation:
 * - L2_IS_CLEAN: the caller must mark the store dirty first.
 * - L2_NO_ROOM: a KEEP record waits for the worker.
 * - L2_IS_EMPTY: all older records were dropped, and nothing was stored since.
 * - L2_IS_STALLED, L2_IS_FROZEN: the disk does not answer.
 * - L2_IS_INVALID, L2_IS_OLD: a tag or pattern, or a change of the key, invalidated the put. */
CELLAR_PRIVATE l2_took l2_reserve(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                                  const l2_terms *terms, l2_spot *out);
CELLAR_PRIVATE void l2_spot_done(l2 *d, l2_spot *s);
/* Store the mark of a run that continues in a slot of an earlier run. SUPER is stored next. */
CELLAR_PRIVATE void l2_run_mark(l2 *d);
CELLAR_PRIVATE void l2_floor_to(l2 *d, uint64_t lsn); /* everything below `lsn` is dead */
/* Drop all stored records; log the floor if an open slot has room for it. */
CELLAR_PRIVATE void l2_empty(l2 *d);
/* Log a FLOOR in the open slot: all older records are dead. */
CELLAR_PRIVATE void l2_overflow(l2 *d) SYNC_HOLDS(L2_LOG);
/* Return the slots that can still be opened: READY ones, and one for each free place. */
CELLAR_PRIVATE uint32_t l2_slots_left(const l2 *d) SYNC_HOLDS(L2_LOG);
/* Return a lower bound of the lsn of the next record. A READY slot already has its number. */
CELLAR_PRIVATE uint64_t l2_log_end(const l2 *d) SYNC_HOLDS(L2_LOG);

#endif
