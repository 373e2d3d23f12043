/* SPDX-License-Identifier: MIT
 *
 * live: segments in use; live bytes of each namespace, as passes of the log count them.
 *
 * LOCKING    L2_DEV (`namespace_lock`).
 * SEE ALSO   move.c: passes; namespaces.c: the table. */
#include "l2/live.h"

BASE_SIZE_BEGIN


CELLAR_PRIVATE uint32_t l2_segs_used(const l2 *d)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < base_load_acq(&d->nseg_seen); i++) {
        n += L2_SEG_USED(base_load_acq(&d->seg[i].word));
    }
    return n;
}

CELLAR_PRIVATE void l2_live_add(l2 *d, uint32_t generation, uint64_t bytes)
{
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        l2_namespace_row *v = &d->namespace[i];
        if ((uint32_t)v->v.generation == generation) { v->live[d->moves.part] += bytes; }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE void l2_live_take(l2 *d, uint32_t generation, uint32_t part, uint64_t bytes)
{
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        l2_namespace_row *v = &d->namespace[i];
        if ((uint32_t)v->v.generation != generation) { continue; }
        v->live_before -= BASE_MIN(bytes, v->live_before);
        v->live[part] -= BASE_MIN(bytes, v->live[part]);
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE void l2_live_part(l2 *d, uint32_t part)
{
    d->moves.part = part;
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        d->namespace[i].live[part] = 0;
        if (part == 0) { d->namespace[i].live_before = 0; }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

static uint64_t l2_live_of(const l2_namespace_row *v)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < L2_ROUND; i++) { n += v->live[i]; }
    return BASE_MAX(n, v->live_before);
}

CELLAR_PRIVATE uint64_t l2_live_sum(l2 *d, uint64_t most)
{
    uint64_t n = 0;
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) { n += l2_live_of(&d->namespace[i]); }
    n = BASE_MIN(n, most);
    base_store_rlx(&d->live_bytes, n);
    sync_drop(L2_DEV, &d->namespace_lock);
    return n;
}

CELLAR_PRIVATE void l2_live_save(l2 *d)
{
    uint64_t least = L2_PAGE;
    uint32_t rows = 0;
    memset(d->super.live, 0, sizeof d->super.live);
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        least += l2_live_of(&d->namespace[i]) / L2_LIVE_ROWS;
    }
    for (uint32_t i = 0; i < d->namespace_count && rows < L2_LIVE_ROWS; i++) {
        const uint64_t n = l2_live_of(&d->namespace[i]);
        if (n < least) { continue; }
        d->super.live[rows].generation = (uint32_t)d->namespace[i].v.generation;
        d->super.live[rows++].pages = (uint32_t)(n / L2_PAGE); /* l2_bytes is 4 TiB at most */
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE void l2_live_load(l2 *d)
{
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        for (uint32_t n = 0; n < L2_LIVE_ROWS; n++) {
            if (d->super.live[n].generation == (uint32_t)d->namespace[i].v.generation) {
                d->namespace[i].live_before = (uint64_t)d->super.live[n].pages * L2_PAGE;
                d->moves.counted = true;
            }
        }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
    (void)l2_live_sum(d, UINT64_MAX);
}

CELLAR_PRIVATE void l2_live_forget(l2 *d, l2_namespace_row *row)
{
    (void)d;
    memset(row->live, 0, sizeof row->live);
    row->live_before = 0;
}

CELLAR_PRIVATE void l2_live_none(l2 *d)
{
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) { l2_live_forget(d, &d->namespace[i]); }
    base_store_rlx(&d->live_bytes, (uint64_t)0);
    sync_drop(L2_DEV, &d->namespace_lock);
}

BASE_SIZE_END
