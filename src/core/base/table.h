/* SPDX-License-Identifier: MIT
 *
 * table: the only file that includes uthash. For keyed control tables, never for the index of L1.
 *            The macros of uthash are copied where they stand (900 bytes for an add); functions
 *            with the same effect serve tables that are rarely used.
 *
 * INVARIANTS Out of memory does not end the process (HASH_NONFATAL_OOM). The unkeyed default hash
 *            does not compile: only the *_BYHASHVALUE forms with the keyed hash of the store do.
 * PICTURE    uthash allocates through base_table_alloc and base_table_free. Each HASH_ macro stands
 *            behind BASE_TABLE_CHARGE, which names the charge, or in a function with the two
 *            parameters base_account *base_table_account, base_module base_table_module.
 * LOCKING    Allocations never call make_room, because tables change under their lock. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stddef.h>

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
#define BASE_TABLE_CHARGE(account, module) \
    base_account *base_table_account = (account); \
    const base_module base_table_module = (module)

/* HASH_FIND_BYHASHVALUE, HASH_ADD_KEYPTR_BYHASHVALUE and HASH_DELETE as calls. A table may be used
 * by these and by the macros. */
#define BASE_TABLE_FIND(hh, head, key, len, hash) \
    base_table_find(head, offsetof(__typeof__(*(head)), hh), key, len, hash)
#define BASE_TABLE_ADD(hh, head, key, len, hash, item) \
    ((head) = base_table_add(base_table_account, base_table_module, head, \
                             offsetof(__typeof__(*(head)), hh), key, len, hash, item))
#define BASE_TABLE_REMOVE(hh, head, item) \
    ((head) = base_table_remove(base_table_account, base_table_module, head, \
                                offsetof(__typeof__(*(head)), hh), item))

/* Return the item with a key, or NULL. `head`: the first item, NULL: an empty table. `at`: offset
 * of the handle in an item. */
CELLAR_PRIVATE void *base_table_find(const void *head, size_t at, const void *key, size_t len,
                                     unsigned hash);
/* Add an item. Return the first item of the table. Out of memory: the item is not in the table, and
 * `tbl` of its handle is NULL. */
CELLAR_PRIVATE void *base_table_add(base_account *a, base_module m, void *head, size_t at,
                                    const void *key, size_t len, unsigned hash, void *item);
/* Remove an item. Return the first item that is left, or NULL. */
CELLAR_PRIVATE void *base_table_remove(base_account *a, base_module m, void *head, size_t at,
                                       void *item);

CELLAR_PRIVATE void *base_table_alloc(base_account *a, base_module m, size_t bytes);
CELLAR_PRIVATE void base_table_free(base_account *a, base_module m, void *p, size_t bytes);

#endif
