/* SPDX-License-Identifier: MIT
 *
 * table: the one place that includes uthash. Keyed control tables only, never the hot index.
 *
 * Out of memory does not end the process (HASH_NONFATAL_OOM); the unkeyed default hash does not
 * compile, so that only the *_BYHASHVALUE forms with the store's keyed hash can be written.
 * uthash's own allocations go to base_table_alloc / base_table_free: charged to what
 * `base_table_account` (a base_account *) and `base_table_module` (a base_module) name at the
 * point of use: variables or parameters of the function that contains the HASH_ macro. They never
 * ask make_room, because tables change under their lock. */
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
