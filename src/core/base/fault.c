/* SPDX-License-Identifier: MIT
 *
 * fault: tests make the n-th allocation or disk call fail, and count live blocks.
 *
 * LOCKING    Plain C11 atomics, not those of base/atomic.h: these words are no yield points. */
#include "base/fault.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"

#if BASE_DEBUG
typedef struct base_fault { /* makes a call fail */
    _Atomic uint64_t seen; /* calls since last armed */
    _Atomic uint64_t nth;  /* call that fails; 0: none */
    _Atomic bool sticky;   /* all later calls fail, too */
} base_fault;

static struct base_fault_state {
    base_fault alloc, io;
    const char *_Atomic site; /* of the last failed allocation; static text */
    const char *_Atomic io_site; /* NULL: any */
    _Atomic int io_error;
    _Atomic uint64_t blocks;  /* live blocks and regions */
    _Atomic uint64_t bytes;   /* requested bytes of live blocks */
} base_fault_state;

static bool base_fault_due(base_fault *f)
{
    const uint64_t call = atomic_fetch_add(&f->seen, 1) + 1, nth = atomic_load(&f->nth);
    return nth != 0 && (call == nth || (call > nth && atomic_load(&f->sticky)));
}

static uint64_t base_fault_disarm(base_fault *f)
{
    atomic_store(&f->nth, 0);
    return atomic_exchange(&f->seen, 0);
}

static void base_fault_arm(base_fault *f, uint64_t nth, bool sticky)
{
    atomic_store(&f->sticky, sticky);
    atomic_store(&f->nth, nth);
}

CELLAR_PRIVATE bool base_fault_alloc(const char *site)
{
    BASE_POINT(site);
    if (!base_fault_due(&base_fault_state.alloc)) { return false; }
    atomic_store(&base_fault_state.site, site);
    return true;
}

CELLAR_PRIVATE uint64_t base_fault_alloc_arm(uint64_t nth, bool sticky)
{
    const uint64_t seen = base_fault_disarm(&base_fault_state.alloc);
    atomic_store(&base_fault_state.site, (const char *)NULL);
    base_fault_arm(&base_fault_state.alloc, nth, sticky);
    return seen;
}

CELLAR_PRIVATE int base_fault_io(const char *site)
{
    struct base_fault_state *s = &base_fault_state;
    BASE_POINT(site);
    const char *wanted = atomic_load(&s->io_site);
    if (wanted != NULL && strcmp(wanted, site) != 0) { return 0; }
    return base_fault_due(&s->io) ? atomic_load(&s->io_error) : 0;
}

CELLAR_PRIVATE uint64_t base_fault_io_arm(const char *site, int error, uint64_t nth, bool sticky)
{
    struct base_fault_state *s = &base_fault_state;
    const uint64_t seen = base_fault_disarm(&s->io);
    atomic_store(&s->io_site, site);
    atomic_store(&s->io_error, error);
    base_fault_arm(&s->io, nth, sticky);
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
