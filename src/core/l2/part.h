/* SPDX-License-Identifier: MIT
 *
 * part: names of the parts of a long value, and whether they are there. */
#ifndef L2_PART_H
#define L2_PART_H

#include "l2/types.h"

#define L2_PART_KEY 18u

typedef struct l2_part {
    l2_key key;
    unsigned char bytes[L2_PART_KEY];
} l2_part;

/* Name the part `index` of the value `id`. h48: hash48 of its head. */
CELLAR_PRIVATE void l2_part_name(const l2 *d, uint64_t h48, uint64_t id, uint64_t index,
                                 l2_part *out);
/* Return true if the parts of the bytes from..end of a value are there. */
CELLAR_PRIVATE bool l2_parts_in(l2 *d, uint64_t h48, const l2_meta *head, uint64_t from,
                                uint64_t end);
/* Return true if all parts of a value are there. */
CELLAR_PRIVATE bool l2_parts_there(l2 *d, uint64_t h48, const l2_meta *head);

#endif
