/* SPDX-License-Identifier: MIT
 *
 * table: the only file that includes uthash. For keyed control tables, never for the hot index.
 *
 * INVARIANTS Out of memory does not end the process (HASH_NONFATAL_OOM). The unkeyed default hash
 *            does not compile: only the *_BYHASHVALUE forms with the keyed hash of the store do.
 * PICTURE    uthash allocates through base_table_alloc and base_table_free. Each HASH_ macro stands
 *            in a function with two variables or parameters that name the charge:
 *            base_account *base_table_account, base_module base_table_module.
 * LOCKING    Allocations never call make_room, because tables change under their lock. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include "base/mem.h"

#ifdef UTHASH_H
#error "include cellar.c in a file of its own: uthash.h was included before it"
#endif
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    _Static_assert(0, "use the _BYHASHVALUE forms with the keyed hash")
#define uthash_malloc(sz) base_table_alloc(base_table_account, base_table_module, sz)
#define uthash_free(ptr, sz) base_table_free(base_table_account, base_table_module, ptr, sz)
#include <uthash.h> /* amalgamate: external */

CELLAR_PRIVATE void *base_table_alloc(base_account *a, base_module m, size_t bytes);
CELLAR_PRIVATE void base_table_free(base_account *a, base_module m, void *p, size_t bytes);

#endif
