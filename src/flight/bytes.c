/* SPDX-License-Identifier: MIT
 *
 * bytes: a loaded value with several holders; the last one frees it. Not charged to the budget. */
#include "flight/bytes.h"

#define FLIGHT_BYTES_HEAD ((sizeof(flight_bytes) + 15) & ~(size_t)15)

CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len)
{
    size_t bytes;
    if (!base_size_add(FLIGHT_BYTES_HEAD, len, &bytes)) { return NULL; }
    flight_bytes *b = base_alloc_raw(hooks, bytes);
    if (b == NULL) { return NULL; }
    memset(b, 0, sizeof *b);
    base_store_rlx(&b->refs, 1u);
    b->len = len;
    b->data = (unsigned char *)b + FLIGHT_BYTES_HEAD;
    b->block_bytes = bytes;
    b->hooks = base_hooks_keep(hooks);
    return b;
}

CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx)
{
    flight_bytes *b = flight_bytes_new(hooks, 0);
    if (b == NULL) { return NULL; }
    b->data = p;
    b->len = len;
    b->free_fn = free_fn;
    b->free_ctx = free_ctx;
    return b;
}

CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b)
{
    if (b == NULL || base_sub_ar(&b->refs, 1u) != 1) { return; }
    sync_assert_none();
    if (b->free_fn != NULL) { b->free_fn(b->data, b->free_ctx); }
    const base_alloc_hooks hooks = b->hooks;
    base_free_raw(&hooks, b, b->block_bytes);
}
