/* SPDX-License-Identifier: MIT
 *
 * change: what set, delete and the rewriting calls share (change.c). */
#ifndef L1_CHANGE_H
#define L1_CHANGE_H

#include "l1/types.h"

typedef enum l1_done { L1_DONE, L1_APPEND, L1_AGAIN } l1_done;

/* The old bytes of an overwritten entry, for the report to the listener. */
typedef struct l1_overwritten {
    l1_left left;
    uint64_t fps[L1_TAG_MAX];
    unsigned char value[L1_SMALL_COPY];
} l1_overwritten;

/* Return whether a plain get answers: with a value or with "known to be absent". */
BASE_INLINE bool l1_is_fresh(l1_gone o) { return o == L1_GONE_VALUE || o == L1_GONE_NEGATIVE; }

/* Ask the commit hook. *stamp gets its stamp, else 0. */
CELLAR_PRIVATE bool l1_commit(l1 *c, const l1_key *k, l1_change change, uint64_t *stamp);
/* Classify the entry that a change meets, under its lock, as a get would, tags included. To a
 * condition, an entry that no get returns is absent. A remembered error counts as a negative
 * entry. */
CELLAR_PRIVATE l1_gone l1_look_old(l1 *c, bool found, const l1_slot *slot);
CELLAR_PRIVATE void l1_save_old(l1 *c, const l1_key *k, const l1_slot *slot, l1_overwritten *old);
/* Find the record of a key, and its segment; NULL: there is none. A key of length 0: as for
 * l1_rec_is. Its bucket is free again at the return: the record may move or end. q: NULL, or its
 * queue, and `busy` is raised: until the caller lowers it the bytes stay those of the record. */
CELLAR_PRIVATE l1_seg *l1_find_now(l1 *c, const l1_key *k, l1_slot *slot, unsigned *q);

#endif
