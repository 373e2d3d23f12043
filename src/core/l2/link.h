/* SPDX-License-Identifier: MIT
 *
 * link: plan how a new record of a bunch refers to the records that the index names now. */
#ifndef L2_LINK_H
#define L2_LINK_H

#include "l2/types.h"

typedef struct l2_link { /* position of a new record in its bunch */
    uint64_t word; /* word that it replaces; 0: the bunch has none */
    uint64_t to;   /* lsn of its link target; 0: none */
    uint8_t flags; /* flags of the new record */
    bool alone;    /* `word` is of the same key, the bunch has nothing else */
    bool known;    /* the newest record of the key is a tombstone in a slot */
} l2_link;
/* Plan the link of a put or a tombstone, under the tombstone lock. terms: of the put; NULL: a
 * tombstone. */
CELLAR_PRIVATE void l2_link_plan(l2 *d, uint64_t h48, const l2_key *k, const l2_terms *terms,
                                 l2_link *out);
/* Return true if the bunch has exactly these words. */
CELLAR_PRIVATE bool l2_bunch_same(l2 *d, uint64_t h48, const uint64_t *word, uint32_t count);
/* Copy the first `n` bytes of the record at `off` of a segment in `state`; L2_RECORD_HEAD if its
 * check is 0. Return false if they cannot be read. */
CELLAR_PRIVATE bool l2_record_head(l2 *d, const l2_seg *g, uint64_t state, uint32_t off,
                                   unsigned char *head, uint32_t n);
/* Return the word of the record at `lsn`, with its size. 0: reclaimed, or incomplete at a process
 * death. LOST: it cannot be read, so it may be the newest record of any key. */
#define L2_LINK_LOST UINT64_MAX
CELLAR_PRIVATE uint64_t l2_link_word(l2 *d, uint64_t lsn);

#endif
