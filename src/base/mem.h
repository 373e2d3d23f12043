/* SPDX-License-Identifier: MIT
 *
 * mem: the one account of a store, every allocation outside L1's arena, and address-space regions.
 *
 * ACCOUNT    used <= limit at every instant: charge first (compare-exchange, refused at the limit),
 *            allocate after; free first, uncharge after. used == sum of by_module. When a charge is
 *            refused and `make_room` is set, it is asked once (no ranked lock may be held then),
 *            then the charge is tried again. `peak` is the highest `used` seen.
 * BLOCKS     base_alloc charges base_block_bytes(size): what the allocator really takes. From
 *            BASE_MAP_BYTES on a block is its own mapping, so that freeing it returns the pages.
 *            mimalloc when compiled with CELLAR_WITH_MIMALLOC, the host's malloc, or its hooks.
 * REGIONS    reserved once (PROT_NONE), made writable from the bottom as needed, given back by
 *            MADV_DONTNEED (reads zero), never unmapped before the end: stale readers may look.
 * FAULTS     every allocation, mapping and commit asks base_fault_alloc first (tests: n-th
 *            failure).
 * LEAKS      BASE_DEBUG counts live blocks and regions, so that a test can compare before and
 *            after. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/atomic.h"
#include "base/port.h"

#define BASE_MODULES(X) \
    X(STORE, "store") X(INDEX, "index") X(OVERFLOW, "overflow") X(SEGMENT, "segment") \
    X(LOG_TABLE, "log_table") X(BIG, "big") X(PIN, "pin") X(GHOST, "ghost") X(SKETCH, "sketch") \
    X(SHADOW, "shadow") X(STATS, "stats") X(VIEW, "view") X(TAG, "tag") X(GLOB, "glob") \
    X(STAMP, "stamp") X(FLIGHT, "flight") X(BLOOM, "bloom") X(WHY, "why") X(DEPS, "deps") \
    X(HOT, "hot") X(POLICY, "policy") X(L2_INDEX, "l2_index") X(L2_STAGE, "l2_stage") \
    X(L2_FILTER, "l2_filter") X(L2, "l2") X(LISTEN, "listen") X(LIMIT, "limit") X(LOCK, "lock") \
    X(ADVISOR, "advisor")

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
} base_alloc_hooks;

typedef struct base_account {
    _Atomic uint64_t used BASE_ALIGNED(BASE_PAD); /* bytes; relaxed CAS, never above limit */
    _Atomic uint64_t limit;     /* bytes; stored by base_account_limit */
    _Atomic uint32_t turn;      /* which of `charging` those who begin now count in */
    _Atomic uint32_t charging[2]; /* charges between reading `limit` and their result */
    _Atomic uint64_t peak;      /* highest used; monotone */
    _Atomic uint64_t refused;   /* charges refused for good */
    _Atomic uint64_t by_module[BASE_MOD_COUNT]; /* bytes; sum == used at rest */
    bool (*make_room)(void *ctx, uint64_t bytes); /* NULL until the store is open */
    void *make_room_ctx;
    base_alloc_hooks hooks;     /* fixed at init */
} base_account;

CELLAR_PRIVATE void base_account_init(base_account *a, uint64_t limit_bytes,
                                      const base_alloc_hooks *hooks);
/* Stores the new limit; used may be above it until the caller has evicted: growth is refused. No
 * charge that went by the old limit is still to come when it returns. One caller at a time. */
CELLAR_PRIVATE void base_account_limit(base_account *a, uint64_t limit_bytes);
/* Never asks make_room; any lock may be held. */
CELLAR_PRIVATE bool base_charge(base_account *a, base_module m, uint64_t bytes);
CELLAR_PRIVATE void base_uncharge(base_account *a, base_module m, uint64_t bytes);
/* base_charge, then make_room once, then base_charge again; no ranked lock held. */
CELLAR_PRIVATE bool base_charge_room(base_account *a, base_module m, uint64_t bytes);

CELLAR_PRIVATE size_t base_block_bytes(const base_account *a, size_t bytes);
/* NULL: refused by the account (E_SPACE to callers) or by the system (E_NOMEM); *refused tells
 * which and may be NULL. Contents are zero. 16-byte aligned. May ask make_room. */
CELLAR_PRIVATE void *base_alloc(base_account *a, base_module m, size_t bytes, bool *refused);
/* `bytes` as given to base_alloc; NULL is accepted. */
CELLAR_PRIVATE void base_free(base_account *a, base_module m, void *p, size_t bytes);
/* base_alloc that never asks make_room: any lock may be held. */
CELLAR_PRIVATE void *base_alloc_held(base_account *a, base_module m, size_t bytes, bool *refused);
/* Not charged: for memory handed to callers and the handle itself. Contents undefined. h NULL: the
 * built-in allocator. */
CELLAR_PRIVATE void *base_alloc_raw(const base_alloc_hooks *h, size_t bytes);
CELLAR_PRIVATE void base_free_raw(const base_alloc_hooks *h, void *p, size_t bytes);

typedef struct base_region {
    unsigned char *base; /* page aligned, BASE_HUGE if possible; NULL when not reserved */
    size_t reserved_bytes;
} base_region;

/* Reserve `want` bytes, halved until the system grants it, at least `least`. False: not even
 * that. */
CELLAR_PRIVATE bool base_region_reserve(base_region *r, size_t want, size_t least);
/* Make [offset, offset + bytes) readable and writable (page multiples); fresh pages read zero. */
CELLAR_PRIVATE bool base_region_commit(base_region *r, size_t offset, size_t bytes);
/* Give the pages back; the range stays readable and reads zero. Parts of pages at its ends (only
 * tests have segments that small) are zeroed and kept. */
CELLAR_PRIVATE void base_region_discard(base_region *r, size_t offset, size_t bytes);
/* Touch the pages now (MADV_POPULATE_WRITE, else one write per page of the zero it holds; only for
 * ranges nobody uses yet). */
BASE_SPARE CELLAR_PRIVATE void base_region_populate(base_region *r, size_t offset, size_t bytes);
/* Advise transparent huge pages for the whole region, or forbid them. */
CELLAR_PRIVATE void base_region_huge(base_region *r, bool want);
#define BASE_HUGE ((size_t)2 << 20)
/* Put the pages of one aligned BASE_HUGE range, all of them in use, into one huge page now, from
 * this thread. False: not done (fragmented memory); *never: this kernel cannot. */
CELLAR_PRIVATE bool base_region_collapse(base_region *r, size_t offset, bool *never);
CELLAR_PRIVATE void base_region_release(base_region *r);

#if BASE_DEBUG
/* True: this allocation must fail now (a test armed it). Constant false in release. */
CELLAR_PRIVATE bool base_fault_alloc(const char *site);
/* Fail call number `nth` (1 = next) once, or from it on when `sticky`; 0 disarms. Returns the
 * number of calls seen since it was last armed. Process-wide, tests only. */
CELLAR_PRIVATE uint64_t base_fault_alloc_arm(uint64_t nth, bool sticky);
/* Site of the call that failed last; NULL: none since it was last armed. */
CELLAR_PRIVATE const char *base_fault_alloc_site(void);
/* Blocks (base_alloc, base_alloc_raw) and regions of this process that live now. Tests only. */
CELLAR_PRIVATE uint64_t base_live_blocks(void);
CELLAR_PRIVATE uint64_t base_live_bytes(void); /* as asked for; regions count as 0 */
CELLAR_PRIVATE void base_live_add(size_t bytes);
CELLAR_PRIVATE void base_live_sub(size_t bytes);
#else
BASE_INLINE bool base_fault_alloc(const char *site)
{
    (void)site;
    return false;
}
#endif

#endif
