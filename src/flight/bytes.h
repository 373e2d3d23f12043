/* SPDX-License-Identifier: MIT
 *
 * bytes: a loaded value with several holders. */
#ifndef FLIGHT_BYTES_H
#define FLIGHT_BYTES_H

#include "flight/types.h"

/* Allocate shared bytes with one ref, for a value of `len` bytes (new) or around the block `p`
 * (give). Not charged to the budget: callers own them. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len);
CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx);
BASE_INLINE flight_bytes *flight_bytes_ref(flight_bytes *b)
{
    if (b != NULL) { (void)base_add_rlx(&b->refs, 1u); }
    return b;
}
CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b); /* NULL is allowed */

#endif
