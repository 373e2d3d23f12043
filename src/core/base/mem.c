/* SPDX-License-Identifier: MIT
 *
 * mem: the budget of a store, and every allocation outside the arena of L1.
 *
 * PICTURE    base_alloc -> charge (make_room once, charge again) -> fault point -> block
 *                block:  hooks of the store | own mapping from 256 KiB on | malloc or mimalloc
 *            base_free  -> free the block -> uncharge
 * INVARIANTS used <= limit at every instant. After the limit was lowered, no charge succeeds until
 *            `used` is below it. used == sum of by_module at rest. A block is charged with
 *            base_block_bytes(bytes), a pure function, so that free needs no header.
 * LOCKING    Atomics only. `used` moves by compare-exchange. Relaxed order would keep the bound;
 *            acquire-release keeps "free first, uncharge after" true for the next charge. Lowering
 *            the limit waits for charges that have read the old limit (found by `sim l1_resize`).
 * LIMITS     glibc's malloc adds 8 bytes and rounds up to 16, at least 32. A smaller remainder that
 *            malloc leaves in a block is not counted. Hooks are charged like glibc.
 * SEE ALSO   pages.c: address-space regions. table.c: tables of uthash. README.md: why the charge
 *            does not ask malloc_usable_size. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/num.h"
#include "base/sync.h"

#if defined(CELLAR_WITH_MIMALLOC)
#include <mimalloc.h>
#define BASE_MALLOC(n) mi_malloc(n)
#define BASE_ZALLOC(n) mi_zalloc(n)
#define BASE_MFREE(p) mi_free(p)
#else
#define BASE_MALLOC(n) malloc(n)
#define BASE_ZALLOC(n) calloc(1, n)
#define BASE_MFREE(p) free(p)
#endif

/* ---- the budget ---- */

CELLAR_PRIVATE void base_account_init(base_account *a, uint64_t limit_bytes,
                                      const base_alloc_hooks *hooks)
{
    memset(a, 0, sizeof *a);
    base_store_rlx(&a->limit, limit_bytes);
    if (hooks != NULL) {
        BASE_REQUIRE((hooks->alloc == NULL) == (hooks->free == NULL));
        a->hooks = *hooks;
    }
}

/* Store the new limit. Wait for charges that have read the old one: they may still raise `used`.
 * Charges that begin now count in the other cell, so the wait lasts a few instructions. It is
 * bounded because in a forked child the charges of the parent's threads never finish. */
CELLAR_PRIVATE void base_account_limit(base_account *a, uint64_t limit_bytes)
{
    base_store_sc(&a->limit, limit_bytes);
    uint32_t old = base_load_rlx(&a->turn);
    base_store_sc(&a->turn, old ^ 1u);
    for (unsigned i = 0; i < 10000 && base_load_sc(&a->charging[old]) != 0; i++) {
        if (i < 64) { base_pause(); } else { base_yield(); }
    }
}

static void base_account_peak(base_account *a, uint64_t used)
{
    uint64_t peak = base_load_rlx(&a->peak);
    while (peak < used && !base_cas_ar(&a->peak, peak, used)) { peak = base_load_rlx(&a->peak); }
}

static bool base_account_take(base_account *a, base_module m, uint64_t bytes)
{
    const uint64_t hint = base_load_rlx(&a->limit);
    if (bytes > hint) { return false; }
    /* The count precedes the read of `limit`, both seq_cst: either base_account_limit waits for
     * this charge, or this charge reads the new limit. */
    _Atomic uint32_t *mine = &a->charging[base_load_rlx(&a->turn) & 1u];
    base_add_sc(mine, 1u);
    bool granted = false;
    while (!granted) {
        uint64_t limit = base_load_sc(&a->limit);
        uint64_t used = base_load_rlx(&a->used);
        if (used > limit || bytes > limit - used) { break; }
        granted = base_cas_ar(&a->used, used, used + bytes);
        if (granted) {
            (void)base_add_rlx(&a->by_module[m], bytes);
            base_account_peak(a, used + bytes);
        }
    }
    base_sub_ar(mine, 1u);
    return granted;
}

CELLAR_PRIVATE bool base_charge(base_account *a, base_module m, uint64_t bytes)
{
    BASE_ASSERT(m < BASE_MOD_COUNT);
    if (BASE_LIKELY(base_account_take(a, m, bytes))) { return true; }
    (void)base_add_rlx(&a->refused, (uint64_t)1);
    return false;
}

CELLAR_PRIVATE void base_uncharge(base_account *a, base_module m, uint64_t bytes)
{
    BASE_ASSERT(m < BASE_MOD_COUNT);
    uint64_t mine = base_sub_rlx(&a->by_module[m], bytes);
    uint64_t used = base_sub_ar(&a->used, bytes);
    BASE_ASSERT(mine >= bytes);
    BASE_ASSERT(used >= bytes);
    (void)mine;
    (void)used;
}

CELLAR_PRIVATE bool base_charge_room(base_account *a, base_module m, uint64_t bytes)
{
    BASE_ASSERT(m < BASE_MOD_COUNT);
    if (BASE_LIKELY(base_account_take(a, m, bytes))) { return true; }
    if (a->make_room != NULL) {
        sync_assert_none();
        if (a->make_room(a->make_room_ctx, bytes) && base_account_take(a, m, bytes)) {
            return true;
        }
    }
    (void)base_add_rlx(&a->refused, (uint64_t)1);
    return false;
}

/* ---- blocks ---- */

CELLAR_PRIVATE void base_wipe(void *p, size_t bytes)
{
    memset(p, 0, bytes);
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* Overwrite a block before it is freed, if a value of a hidden namespace may be in it. */
BASE_INLINE void base_block_wipe(const base_alloc_hooks *h, void *p, size_t bytes)
{
    if (BASE_UNLIKELY(h->wipe != NULL && base_load_rlx(h->wipe) != 0)) { base_wipe(p, bytes); }
}

CELLAR_PRIVATE base_alloc_hooks base_hooks_keep(const base_alloc_hooks *h)
{
    static const _Atomic uint32_t always = 1;
    const bool wipes = h->wipe != NULL && base_load_rlx(h->wipe) != 0;
    return (base_alloc_hooks){ h->alloc, h->free, h->ctx, wipes ? &always : NULL };
}

static bool base_block_is_map(const base_alloc_hooks *h, size_t bytes)
{
    return h->alloc == NULL && bytes >= BASE_MAP_BYTES;
}

CELLAR_PRIVATE size_t base_block_bytes(const base_account *a, size_t bytes)
{
    if (bytes > SIZE_MAX - BASE_PAGE) { return SIZE_MAX; } /* above every limit */
    if (base_block_is_map(&a->hooks, bytes)) { return (size_t)base_round_up(bytes, BASE_PAGE); }
#if defined(CELLAR_WITH_MIMALLOC)
    if (a->hooks.alloc == NULL) { return mi_good_size(bytes); }
#endif
    return BASE_MAX((size_t)base_round_up(bytes + 8, 16), (size_t)32);
}

static void *base_map_take(size_t bytes)
{
    void *p = mmap(NULL, (size_t)base_round_up(bytes, BASE_PAGE), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void base_map_drop(void *p, size_t bytes)
{
    bytes = (size_t)base_round_up(bytes, BASE_PAGE);
    if (BASE_LIKELY(munmap(p, bytes) == 0)) { return; }
    /* munmap would split a merged mapping, and the process has reached the system's limit of
     * mappings. The pages are freed, only the addresses are lost. Pages that mlockall keeps are
     * unlocked first. If the limit forbids that, too, they are lost until the process ends. */
    if (madvise(p, bytes, MADV_DONTNEED) != 0) {
        (void)munlock(p, bytes);
        (void)madvise(p, bytes, MADV_DONTNEED);
    }
}

/* Allocate a block without charging it: zeroed, large ones as a mapping; `raw`: with undefined
 * contents, always by the allocator. NULL: the system has no memory. */
BASE_NOINLINE static void *base_block_take(const base_alloc_hooks *h, size_t bytes, bool raw)
{
    if (base_fault_alloc(raw ? "base.alloc_raw" : "base.alloc")) { return NULL; }
    void *p;
    if (h->alloc != NULL) {
        p = h->alloc(bytes, h->ctx);
        if (p != NULL && !raw) { memset(p, 0, bytes); }
    } else if (raw) {
        p = BASE_MALLOC(bytes);
    } else {
        p = base_block_is_map(h, bytes) ? base_map_take(bytes) : BASE_ZALLOC(bytes);
    }
    if (p != NULL) { base_live_add(bytes); }
    return p;
}

BASE_NOINLINE static void base_block_drop(const base_alloc_hooks *h, void *p, size_t bytes,
                                          bool raw)
{
    const bool mapped = h->alloc == NULL && !raw && base_block_is_map(h, bytes);
    base_sim_settle();
    base_live_sub(bytes);
    if (!mapped) { base_block_wipe(h, p, bytes); } /* the kernel does it for a mapping */
    if (h->alloc != NULL) {
        h->free(p, bytes, h->ctx);
    } else if (mapped) {
        base_map_drop(p, bytes);
    } else {
        BASE_MFREE(p);
    }
}

static void *base_alloc_charged(base_account *a, base_module m, size_t bytes, bool *refused,
                                bool may_ask)
{
    BASE_ASSERT(bytes > 0);
    uint64_t charge = base_block_bytes(a, bytes);
    bool ok = may_ask ? base_charge_room(a, m, charge) : base_charge(a, m, charge);
    if (refused != NULL) { *refused = !ok; }
    if (!ok) { return NULL; }
    void *p = base_block_take(&a->hooks, bytes, false);
    if (p == NULL) { base_uncharge(a, m, charge); }
    return p;
}

CELLAR_PRIVATE void *base_alloc(base_account *a, base_module m, size_t bytes, bool *refused)
{
    return base_alloc_charged(a, m, bytes, refused, true);
}

CELLAR_PRIVATE void *base_alloc_held(base_account *a, base_module m, size_t bytes, bool *refused)
{
    return base_alloc_charged(a, m, bytes, refused, false);
}

CELLAR_PRIVATE void base_free(base_account *a, base_module m, void *p, size_t bytes)
{
    if (p == NULL) { return; }
    base_block_drop(&a->hooks, p, bytes, false);
    base_uncharge(a, m, base_block_bytes(a, bytes));
}

/* ---- memory of callers: blocks of any size come from the allocator, never from a mapping ---- */

static const base_alloc_hooks base_no_hooks;

CELLAR_PRIVATE void *base_alloc_raw(const base_alloc_hooks *h, size_t bytes)
{
    return base_block_take(h != NULL ? h : &base_no_hooks, bytes, true);
}

CELLAR_PRIVATE void base_free_raw(const base_alloc_hooks *h, void *p, size_t bytes)
{
    if (p != NULL) { base_block_drop(h != NULL ? h : &base_no_hooks, p, bytes, true); }
}

/* The head of a block: what its free needs. */
typedef struct base_block_head {
    base_alloc_hooks hooks; /* copy: the store may be closed when the block is freed */
    size_t bytes;           /* size of the whole block */
} base_block_head;
#define BASE_BLOCK_HEAD ((sizeof(base_block_head) + 15) & ~(size_t)15)

CELLAR_PRIVATE unsigned char *base_block_new(const base_alloc_hooks *h, size_t len)
{
    const base_alloc_hooks *of = h != NULL ? h : &base_no_hooks;
    const base_block_head head = { base_hooks_keep(of), BASE_BLOCK_HEAD + len };
    unsigned char *block = base_alloc_raw(of, head.bytes);
    if (block == NULL) { return NULL; }
    memcpy(block, &head, sizeof head);
    return block + BASE_BLOCK_HEAD;
}

CELLAR_PRIVATE void base_block_free(void *block)
{
    base_block_head head;
    if (block == NULL) { return; }
    memcpy(&head, (unsigned char *)block - BASE_BLOCK_HEAD, sizeof head);
    base_free_raw(&head.hooks, (unsigned char *)block - BASE_BLOCK_HEAD, head.bytes);
}
