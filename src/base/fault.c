/* SPDX-License-Identifier: MIT
 *
 * fault: tests make the n-th allocation fail, and count live blocks.
 *
 * LOCKING    Plain C11 atomics, not those of base/atomic.h: these words are no yield points. */
#include "base/fault.h"

#include <stdatomic.h>

#include "base/check.h"

#if BASE_DEBUG
static struct base_fault_state {
    _Atomic uint64_t seen;      /* calls since last armed */
    _Atomic uint64_t nth;       /* call that fails; 0: none */
    _Atomic bool sticky;        /* all later calls fail, too */
    const char *_Atomic site;   /* of the last failure; static text */
    _Atomic uint64_t blocks;    /* live blocks and regions */
    _Atomic uint64_t bytes;     /* requested bytes of live blocks */
} base_fault_state;

CELLAR_PRIVATE bool base_fault_alloc(const char *site)
{
    BASE_POINT(site);
    uint64_t call = atomic_fetch_add(&base_fault_state.seen, 1) + 1;
    uint64_t nth = atomic_load(&base_fault_state.nth);
    if (nth == 0 || call < nth) { return false; }
    if (call > nth && !atomic_load(&base_fault_state.sticky)) { return false; }
    atomic_store(&base_fault_state.site, site);
    return true;
}

CELLAR_PRIVATE uint64_t base_fault_alloc_arm(uint64_t nth, bool sticky)
{
    atomic_store(&base_fault_state.nth, 0);
    uint64_t seen = atomic_exchange(&base_fault_state.seen, 0);
    atomic_store(&base_fault_state.sticky, sticky);
    atomic_store(&base_fault_state.site, (const char *)NULL);
    atomic_store(&base_fault_state.nth, nth);
    return seen;
}

CELLAR_PRIVATE const char *base_fault_alloc_site(void)
{
    return atomic_load(&base_fault_state.site);
}

CELLAR_PRIVATE uint64_t base_live_blocks(void) { return atomic_load(&base_fault_state.blocks); }
CELLAR_PRIVATE uint64_t base_live_bytes(void) { return atomic_load(&base_fault_state.bytes); }

CELLAR_PRIVATE void base_live_add(size_t bytes)
{
    atomic_fetch_add(&base_fault_state.blocks, 1);
    atomic_fetch_add(&base_fault_state.bytes, bytes);
}

CELLAR_PRIVATE void base_live_sub(size_t bytes)
{
    uint64_t blocks = atomic_fetch_sub(&base_fault_state.blocks, 1);
    uint64_t before = atomic_fetch_sub(&base_fault_state.bytes, bytes);
    BASE_ASSERT(blocks >= 1);
    BASE_ASSERT(before >= bytes);
}
#endif
