/* SPDX-License-Identifier: MIT
 *
 * proof: whether memory may answer for a namespace that other processes change.
 *
 * A shared tier reports by `proven` up to which time it has heard of all changes. Behind that time
 * memory is silent, or its values are stale. The word holds a time and no flag: a process that was
 * suspended reads its clock before it reads a value. The clock is exact: the coarse one stands
 * still while a hypervisor stops the processor that keeps the time. */
#ifndef CACHE_PROOF_H
#define CACHE_PROOF_H

#include "cache/types.h"

/* Return whether memory must not answer now. Its values may still count as stale. */
BASE_INLINE bool cache_is_unproven(const cellar *c)
{
    if (BASE_LIKELY((base_load_rlx(&c->state) & CACHE_PROOF) == 0)) { return false; }
    const int64_t until_ms = base_load_rlx(&c->proven_ms);
    return until_ms != BASE_NEVER_MS && base_quick_ms(&c->store->clock) >= until_ms;
}

/* Return what `err`, the answer of memory without a proof, means to a call that takes stale
 * values. */
BASE_INLINE cellar_err cache_unproven_code(const cellar *c, cellar_err err)
{
    if (!c->proof_stale || (err != CELLAR_OK && err != CELLAR_STALE && err != CELLAR_E_BUFFER)) {
        return CELLAR_MISS;
    }
    return err == CELLAR_OK ? CELLAR_STALE : err;
}

#endif
