/* SPDX-License-Identifier: MIT
 *
 * live: the sum of live bytes, and what of it each generation has.
 *
 * INVARIANTS A put adds the rounded bytes of its word, and takes those of the word that it
 *            replaces; deletes and passes take. A generation that is over takes all that it has at
 *            once; what its words take later finds nothing. A put that comes while a clear is
 *            logged counts until passes look at the sum (l2_live_check).
 * LOCKING    None: atomic sums.
 * LIMITS     Generations that are equal modulo L2_LIVE_SLOTS - 1 share a sum. */
#include "l2/live.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint32_t l2_segs_used(const l2 *d)
{
    return (uint32_t)(l2_seq_of(d, base_load_acq(&d->tail)) -
                      l2_seq_of(d, base_load_acq(&d->head)) + 1);
}

CELLAR_PRIVATE void l2_live_add(l2 *d, uint32_t generation, uint32_t bytes)
{
    (void)base_add_rlx(&d->live_of[l2_live_slot(generation)], (uint64_t)bytes);
    (void)base_add_rlx(&d->live_bytes, (uint64_t)bytes);
}

/* Take `bytes` at most, as much as there are. */
static void l2_live_less(l2 *d, _Atomic uint64_t *of, uint64_t bytes)
{
    uint64_t has = base_load_rlx(of);
    while (has != 0 && !base_cas_ar(of, has, has - BASE_MIN(has, bytes))) {
        has = base_load_rlx(of);
    }
    (void)base_sub_rlx(&d->live_bytes, BASE_MIN(has, bytes));
}

CELLAR_PRIVATE void l2_live_take(l2 *d, uint32_t generation, uint32_t bytes)
{
    l2_live_less(d, &d->live_of[l2_live_slot(generation)], bytes);
}

static void l2_live_over(l2 *d, uint32_t slot) { l2_live_less(d, &d->live_of[slot], UINT64_MAX); }

CELLAR_PRIVATE void l2_live_forget(l2 *d, l2_namespace_row *row)
{
    const uint32_t generation = (uint32_t)row->v.generation;
    if (generation != 0) { l2_live_over(d, l2_live_slot(generation)); } /* 0: a new name */
}

CELLAR_PRIVATE void l2_live_check(l2 *d)
{
    bool used[L2_LIVE_SLOTS] = { true }; /* parts and images */
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        used[l2_live_slot((uint32_t)d->namespace[i].v.generation)] = true;
    }
    for (uint32_t i = 0; i < L2_LIVE_SLOTS; i++) {
        if (!used[i] && base_load_rlx(&d->live_of[i]) != 0) { l2_live_over(d, i); }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE void l2_live_none(l2 *d)
{
    for (uint32_t i = 0; i < L2_LIVE_SLOTS; i++) { l2_live_over(d, i); }
    base_store_rlx(&d->live_dead, 0u);
}

BASE_SIZE_END
