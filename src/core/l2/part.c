/* SPDX-License-Identifier: MIT
 *
 * part: names of the parts of a long value, and whether they are there.
 *
 * SEE ALSO   value.c: what a part is. */
#include "l2/part.h"

#include "l2/record.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_part_name(const l2 *d, uint64_t h48, uint64_t id, uint64_t index,
                                 l2_part *out)
{
    l2_w64(out->bytes, id);
    memcpy(out->bytes + 8, &h48, 6);
    l2_w32(out->bytes + 14, (uint32_t)index);
    out->key = (l2_key){ out->bytes, L2_PART_KEY, 0, 0 };
    out->key.hash = base_hash(&d->hash_key, 0, out->bytes, L2_PART_KEY);
}

/* Return true if the parts of the bytes from..end of a value are there. */
CELLAR_PRIVATE bool l2_parts_in(l2 *d, uint64_t h48, const l2_meta *head, uint64_t from,
                                uint64_t end)
{
    l2_part part;
    bool there = true;
    for (uint64_t i = from / head->part_bytes; i * head->part_bytes < end && there; i++) {
        l2_part_name(d, h48, head->part_id, i, &part);
        there = l2_indexed(d, part.key.hash);
    }
    return there;
}

CELLAR_PRIVATE bool l2_parts_there(l2 *d, uint64_t h48, const l2_meta *head)
{
    return l2_parts_in(d, h48, head, 0, head->part_total);
}

BASE_SIZE_END
