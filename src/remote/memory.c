/* SPDX-License-Identifier: MIT
 *
 * memory: blocks inside the budget of the store, and its clock.
 *
 * INVARIANTS A block remembers its allocator: before the first namespace is attached there is no
 *            budget to charge, and blocks come from malloc.
 *            The clock before that is the one of a store without a clock of its own. The attach
 *            ends all proofs, so none of them counts by both clocks. */
#include <stdlib.h>
#include <time.h>

#include "remote/remote.h"

typedef union remote_block {
    const cellar_tier_host *host; /* NULL: malloc */
    max_align_t align;
} remote_block;

CELLAR_PRIVATE void *remote_alloc(cellar_remote *r, size_t size)
{
    const cellar_tier_host *h = atomic_load_explicit(&r->host, memory_order_acquire);
    if (size > SIZE_MAX - sizeof(remote_block)) { return NULL; }
    const size_t all = size + sizeof(remote_block);
    remote_block *b = h != NULL ? h->alloc(h->ctx, all) : malloc(all);
    if (b == NULL) { return NULL; }
    b->host = h;
    atomic_fetch_add_explicit(&r->bytes, size, memory_order_relaxed);
    return b + 1;
}

CELLAR_PRIVATE void remote_free(cellar_remote *r, void *p, size_t size)
{
    if (p == NULL) { return; }
    remote_block *b = (remote_block *)p - 1;
    const cellar_tier_host *h = b->host;
    atomic_fetch_sub_explicit(&r->bytes, size, memory_order_relaxed);
    if (h == NULL) {
        free(b);
    } else {
        h->release(h->ctx, b, size + sizeof *b);
    }
}

CELLAR_PRIVATE int64_t remote_now_ms(const cellar_remote *r)
{
    const cellar_tier_host *h = atomic_load_explicit(&r->host, memory_order_acquire);
    struct timespec t;
    if (h != NULL) { return h->now_ms(h->ctx); }
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
