/* SPDX-License-Identifier: MIT
 *
 * table: the allocator of uthash.
 *
 * INVARIANTS Each byte is charged to the budget and module that the point of use names, and freed
 *            with the size that uthash passes. A refused charge is NULL: HASH_NONFATAL_OOM leaves
 *            the element out of the table, and the caller finds hh.tbl == NULL.
 * LOCKING    Tables change under the lock of their owner, so make_room is never called. */
#include "base/table.h"

CELLAR_PRIVATE void *base_table_alloc(base_account *a, base_module m, size_t bytes)
{
    return base_alloc_held(a, m, bytes, NULL);
}

CELLAR_PRIVATE void base_table_free(base_account *a, base_module m, void *p, size_t bytes)
{
    base_free(a, m, p, bytes);
}
