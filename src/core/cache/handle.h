/* SPDX-License-Identifier: MIT
 *
 * handle: functions of handle.c for the files above it. */
#ifndef CACHE_HANDLE_H
#define CACHE_HANDLE_H

#include "cache/types.h"

CELLAR_PRIVATE void cache_store_hold(cache_store *s); /* adds one handle */
CELLAR_PRIVATE void cache_store_release(cache_store *s, uint32_t count);
CELLAR_PRIVATE bool cache_registry_add(cache_store *s);
/* Find the store of this handle, with a ref. Return NULL if the handle belongs to no open store. */
CELLAR_PRIVATE cache_store *cache_registry_find(const cellar *c);
CELLAR_PRIVATE void cache_shell_free(cache_store *s);
CELLAR_PRIVATE void cache_namespace_put(cache_store *s, uint32_t slot, cellar *v)
    SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE bool cache_page_room(cache_store *s, uint32_t slot);
/* Give `fresh` a slot, but no name. Return false with *err if all slots are taken or no memory is
 * left. */
CELLAR_PRIVATE bool cache_namespace_seat(cache_store *s, cellar *fresh, cellar_err *err);
CELLAR_PRIVATE void cache_namespace_free(cache_store *s, cellar *v);
/* Close one handle, but not the root. Return false if none was open. */
CELLAR_PRIVATE bool cache_handle_drop(cellar *c);
CELLAR_PRIVATE void cache_thread_ring(cache_store *s); /* wakes the thread: there is work */
CELLAR_PRIVATE void cache_namespaces_close(cache_store *s); /* frees all namespaces */
/* Add one ref. Return false if the last ref is already dropped. */
CELLAR_PRIVATE bool cache_namespace_hold(cellar *v);
/* Return the first namespace at *slot or behind it, and set *slot. Return NULL if there is none. */
CELLAR_PRIVATE cellar *cache_namespace_next(const cache_store *s, uint32_t *slot);
/* Return the namespace of a slot. The caller holds NAMESPACE, or the store closes. */
CELLAR_PRIVATE cellar *cache_namespace_at(const cache_store *s, uint32_t slot);
CELLAR_PRIVATE void cache_namespace_release(cellar *v); /* drops one ref; may free it */

#endif
