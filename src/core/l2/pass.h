/* SPDX-License-Identifier: MIT
 *
 * pass: free the oldest segments: their live records are appended again, or leave the index. */
#ifndef L2_PASS_H
#define L2_PASS_H

#include "l2/types.h"

/* Pass the oldest segments if few are free. Return true if more is to do now. `working` is held. */
CELLAR_PRIVATE bool l2_pass_work(l2 *d);
/* Return true if the part with this key belongs to a value that a get finds. *e: the disk does not
 * answer, or a read of heads for the segment at `begin` failed for the first time: the part waits.
 * begin d->unread_lsn: no time is the first. `working` is held. */
CELLAR_PRIVATE bool l2_part_wanted(l2 *d, uint64_t begin, const unsigned char *key, int *e);

#endif
