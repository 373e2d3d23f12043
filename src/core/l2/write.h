/* SPDX-License-Identifier: MIT
 *
 * write: store entries; log tombstones for changed keys. */
#ifndef L2_WRITE_H
#define L2_WRITE_H

#include "l2/types.h"

/* Store an entry as one record, as l2_put. */
CELLAR_PRIVATE cellar_err l2_put_record(l2 *d, const l2_key *k, const void *value, size_t value_len,
                                        const l2_meta *meta, const l2_current *current);

/* Store a record, as l2_put_record; a durable one finds a place in a full index if one can be
 * made. */
CELLAR_PRIVATE cellar_err l2_put_placed(l2 *d, const l2_key *k, const void *value, size_t len,
                                        const l2_meta *m, const l2_current *current);

typedef struct l2_again { /* a live record, and the state that was found live */
    const unsigned char *at; /* its bytes */
    const l2_rec *rec;
    uint64_t lsn;
    uint64_t count;          /* invalidations.count before the check of tags and patterns */
    const uint64_t *word;    /* words of its bunch before the check */
    uint32_t words;
} l2_again;
/* Append a live record again. IS_OLD, IS_INVALID: its bunch, its floor, or a tag or pattern changed
 * since; check it again. Else there is no room now. */
CELLAR_PRIVATE l2_took l2_put_again(l2 *d, const l2_key *k, const l2_again *a);

#endif
