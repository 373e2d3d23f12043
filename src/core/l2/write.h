/* SPDX-License-Identifier: MIT
 *
 * write: store entries; log tombstones for changed keys; append live records again. */
#ifndef L2_WRITE_H
#define L2_WRITE_H

#include "l2/log.h"
#include "l2/types.h"

/* Store an entry as one record, as l2_put. */
CELLAR_PRIVATE cellar_err l2_put_record(l2 *d, const l2_key *k, const void *value, size_t value_len,
                                        const l2_meta *meta, const l2_current *current);
/* Append the live record of a row again: its bytes at `at`, which verified. count: as of the check
 * of its tags and patterns. L2_IS_OLD: the word leads elsewhere now. */
CELLAR_PRIVATE l2_took l2_put_again(l2 *d, const l2_row *row, uint64_t lsn,
                                    const unsigned char *at, const l2_rec *r, uint64_t count);

#endif
