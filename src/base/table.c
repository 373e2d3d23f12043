/* SPDX-License-Identifier: MIT
 *
 * table: where uthash's memory comes from.
 *
 * INVARIANTS each byte is charged to the account and module named at the point of use, and returned
 *            with the size uthash gives back. A refused charge is NULL: HASH_NONFATAL_OOM leaves
 *            the element out of the table, and the caller sees that its hh.tbl is NULL.
 * LOCKING    tables change under their owner's lock, so nobody is asked to make room. */
#include "base/table.h"

CELLAR_PRIVATE void *base_table_alloc(base_account *a, base_module m, size_t bytes)
{
    return base_alloc_held(a, m, bytes, NULL);
}

CELLAR_PRIVATE void base_table_free(base_account *a, base_module m, void *p, size_t bytes)
{
    base_free(a, m, p, bytes);
}
