/* SPDX-License-Identifier: MIT
 *
 * memory: blocks inside the budget of the store, and its clock.
 *
 * INVARIANTS A block remembers its allocator: before the first namespace is attached there is no
 *            budget to charge, and blocks come from malloc.
 *            Two long blocks wait for their next use, until remote_memory_rest: a new block of
 *            1 MiB faults in 256 pages. They stay charged.
 *            The clock before that is the one of a store without a clock of its own. The attach
 *            ends all proofs, so none of them counts by both clocks. */
#include <stdlib.h>
#include <time.h>

#include "remote/remote.h"

enum { REMOTE_LONG_BLOCK = 64 << 10 };

typedef struct remote_block {
    _Alignas(max_align_t) const cellar_tier_host *host; /* NULL: malloc */
    size_t size;                                        /* of the whole block */
} remote_block;

static void remote_block_free(cellar_remote *r, remote_block *b)
{
    if (b == NULL) { return; }
    atomic_fetch_sub_explicit(&r->bytes, b->size, memory_order_relaxed);
    if (b->host == NULL) {
        free(b);
    } else {
        b->host->release(b->host->ctx, b, b->size);
    }
}

/* Take a spare block of about this size; another one is freed. */
static remote_block *remote_block_take(cellar_remote *r, size_t size)
{
    for (size_t i = 0; i < REMOTE_SPARES && size >= REMOTE_LONG_BLOCK; i++) {
        remote_block *b = atomic_exchange(&r->spare[i], NULL);
        if (b != NULL && b->size >= size && b->size / 2 <= size) { return b; }
        remote_block_free(r, b);
    }
    return NULL;
}

CELLAR_PRIVATE void *remote_alloc(cellar_remote *r, size_t size)
{
    const cellar_tier_host *h = atomic_load_explicit(&r->host, memory_order_acquire);
    if (size > SIZE_MAX - sizeof(remote_block)) { return NULL; }
    const size_t all = size + sizeof(remote_block);
    remote_block *b = remote_block_take(r, all);
    if (b != NULL) { return b + 1; }
    b = h != NULL ? h->alloc(h->ctx, all) : malloc(all);
    if (b == NULL) { return NULL; }
    *b = (remote_block){ .host = h, .size = all };
    atomic_fetch_add_explicit(&r->bytes, all, memory_order_relaxed);
    return b + 1;
}

CELLAR_PRIVATE void remote_free(cellar_remote *r, void *p, size_t size)
{
    remote_block *b = p != NULL ? (remote_block *)p - 1 : NULL;
    (void)size;
    for (size_t i = 0; i < REMOTE_SPARES && b != NULL && b->size >= REMOTE_LONG_BLOCK; i++) {
        b = atomic_exchange(&r->spare[i], b);
    }
    remote_block_free(r, b);
}

CELLAR_PRIVATE void remote_memory_rest(void *remote)
{
    cellar_remote *r = remote;
    for (size_t i = 0; i < REMOTE_SPARES; i++) {
        remote_block_free(r, atomic_exchange(&r->spare[i], NULL));
    }
}

CELLAR_PRIVATE int64_t remote_now_ms(void *remote)
{
    const cellar_remote *r = remote;
    const cellar_tier_host *h = atomic_load_explicit(&r->host, memory_order_acquire);
    struct timespec t;
    if (h != NULL) { return h->now_ms(h->ctx); }
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
