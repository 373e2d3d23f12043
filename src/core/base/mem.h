/* SPDX-License-Identifier: MIT
 *
 * mem: the budget of a store, allocations outside the arena of L1, and address-space regions.
 *
 * BUDGET     used <= limit at every instant: charge first (compare-exchange, refused at the limit),
 *            allocate after; free first, uncharge after. used == sum of by_module. A refused charge
 *            calls `make_room` once if it is set (no ranked lock may be held) and tries again.
 *            `peak` is the highest `used` so far.
 * BLOCKS     base_alloc charges base_block_bytes(size), the bytes that the allocator takes. From
 *            BASE_MAP_BYTES on a block is its own mapping, so that freeing it returns the pages.
 *            Allocator: mimalloc (CELLAR_WITH_MIMALLOC), the malloc of the host, or its hooks.
 * REGIONS    Reserved once (PROT_NONE), made writable from the bottom as needed, given back by
 *            MADV_DONTNEED (reads zero), never unmapped before the end: a stale reader may read.
 * FAULTS     Every allocation, mapping and commit calls base_fault_alloc first (tests: n-th
 *            failure).
 * LEAKS      BASE_DEBUG counts live blocks and regions, so that a test can compare the counts. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/atomic.h"
#include "base/fault.h"
#include "base/port.h"

#define BASE_MODULES(X) \
    X(STORE, "store") X(INDEX, "index") X(OVERFLOW, "overflow") X(SEGMENT, "segment") \
    X(LOG_TABLE, "log_table") X(BIG, "big") X(OBJECT, "object") X(PIN, "pin") \
    X(GHOST, "ghost") X(SKETCH, "sketch") \
    X(SHADOW, "shadow") X(STATS, "stats") X(NAMESPACE, "namespace") X(TAG, "tag") \
    X(GLOB, "pattern") X(STAMP, "stamp") X(FLIGHT, "load") X(BLOOM, "bloom") X(WHY, "explain") \
    X(HOT, "hot") X(POLICY, "policy") X(L2_INDEX, "l2_index") \
    X(L2_BUFFER, "l2_buffer") X(L2, "l2") X(LISTEN, "listener") \
    X(LIMIT, "limiter") X(LOCK, "lock") X(ADVISOR, "advisor") X(HOST, "host")

typedef enum base_module {
#define BASE_X(name, text) BASE_MOD_##name,
    BASE_MODULES(BASE_X)
#undef BASE_X
    BASE_MOD_COUNT
} base_module;

#define BASE_MAP_BYTES ((size_t)256 << 10)

typedef struct base_alloc_hooks { /* all NULL: the built-in allocator */
    void *(*alloc)(size_t bytes, void *ctx);
    void (*free)(void *p, size_t bytes, void *ctx);
    void *ctx;
    const _Atomic uint32_t *wipe; /* NULL, or not 0: freed blocks are overwritten; as long as the
                                   * hooks */
} base_alloc_hooks;

/* Overwrite bytes that no thread reads; the compiler keeps these stores. */
CELLAR_PRIVATE void base_wipe(void *p, size_t bytes);
/* Return a copy of the hooks that may outlive their store, for a block of this moment. */
CELLAR_PRIVATE base_alloc_hooks base_hooks_keep(const base_alloc_hooks *h);

typedef struct base_account {
    _Atomic uint64_t used BASE_ALIGNED(BASE_PAD); /* bytes; relaxed CAS, never above limit */
    _Atomic uint64_t limit;     /* bytes; stored by base_account_limit */
    _Atomic uint32_t turn;      /* index of the `charging` cell for charges that begin now */
    _Atomic uint32_t charging[2]; /* charges between reading `limit` and their result */
    _Atomic uint64_t peak;      /* highest used; monotone */
    _Atomic uint64_t refused;   /* charges refused after make_room, too */
    _Atomic uint64_t by_module[BASE_MOD_COUNT]; /* bytes; sum == used at rest */
    bool (*make_room)(void *ctx, uint64_t bytes); /* NULL until the store is open */
    void *make_room_ctx;
    base_alloc_hooks hooks;     /* fixed at init */
} base_account;

CELLAR_PRIVATE void base_account_init(base_account *a, uint64_t limit_bytes,
                                      const base_alloc_hooks *hooks);
/* Store a new limit. `used` may exceed it until the caller has evicted; until then charges are
 * refused. After the return no charge uses the old limit. One caller at a time. */
CELLAR_PRIVATE void base_account_limit(base_account *a, uint64_t limit_bytes);
/* Charge `bytes` without calling make_room. Any lock may be held. False: refused. */
CELLAR_PRIVATE bool base_charge(base_account *a, base_module m, uint64_t bytes);
CELLAR_PRIVATE void base_uncharge(base_account *a, base_module m, uint64_t bytes);
/* Charge `bytes`; if refused, call make_room once and charge again. Hold no ranked lock. */
CELLAR_PRIVATE bool base_charge_room(base_account *a, base_module m, uint64_t bytes);

CELLAR_PRIVATE size_t base_block_bytes(const base_account *a, size_t bytes);
/* Allocate and charge a zeroed, 16-byte aligned block. May call make_room. NULL: refused by the
 * budget (*refused true; E_SPACE to callers) or by the system (false; E_NOMEM). refused: NULL is
 * accepted. */
CELLAR_PRIVATE void *base_alloc(base_account *a, base_module m, size_t bytes, bool *refused);
/* Free a block of base_alloc with the same `bytes`. NULL is accepted. */
CELLAR_PRIVATE void base_free(base_account *a, base_module m, void *p, size_t bytes);
/* Allocate like base_alloc without calling make_room. Any lock may be held. */
CELLAR_PRIVATE void *base_alloc_held(base_account *a, base_module m, size_t bytes, bool *refused);
/* Allocate without a charge: memory for callers, and the handle itself. Contents are undefined. h
 * NULL: the built-in allocator. */
CELLAR_PRIVATE void *base_alloc_raw(const base_alloc_hooks *h, size_t bytes);
CELLAR_PRIVATE void base_free_raw(const base_alloc_hooks *h, void *p, size_t bytes);
/* Allocate `len` bytes for cellar_free, which may come after the close of the store. h NULL: the
 * built-in allocator. */
CELLAR_PRIVATE unsigned char *base_block_new(const base_alloc_hooks *h, size_t len);
CELLAR_PRIVATE void base_block_free(void *block); /* NULL accepted */

typedef struct base_region {
    unsigned char *base; /* page aligned, BASE_HUGE if possible; NULL when not reserved */
    size_t reserved_bytes;
} base_region;

/* Reserve `want` bytes; halve the size until the system grants it, down to `least`. False: not
 * granted at all. */
CELLAR_PRIVATE bool base_region_reserve(base_region *r, size_t want, size_t least);
/* Make [offset, offset + bytes) readable and writable (page multiples). Fresh pages read zero. */
CELLAR_PRIVATE bool base_region_commit(base_region *r, size_t offset, size_t bytes);
/* Give the pages back; the range stays readable and reads zero. Partial pages at its ends are
 * zeroed and kept; only tests have segments that small. */
CELLAR_PRIVATE void base_region_discard(base_region *r, size_t offset, size_t bytes);
/* Advise transparent huge pages for the whole region, or forbid them. */
CELLAR_PRIVATE void base_region_huge(base_region *r, bool want);
/* Leave the whole region out of the children of a fork: they have a hole there. */
CELLAR_PRIVATE void base_region_keep(base_region *r);
/* Leave the whole region out of core dumps. False: the kernel refused. */
CELLAR_PRIVATE bool base_region_hide(base_region *r);
#define BASE_HUGE ((size_t)2 << 20)
/* Collapse the pages of one aligned BASE_HUGE range, all in use, into one huge page. False: not
 * done (fragmented memory). *never: this kernel cannot, or is set to have no huge pages. */
CELLAR_PRIVATE bool base_region_collapse(base_region *r, size_t offset, bool *never);
CELLAR_PRIVATE void base_region_release(base_region *r);

#endif
