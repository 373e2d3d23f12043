/* SPDX-License-Identifier: MIT
 *
 * stat: copy the counters of the store for the cache.
 *
 * LOCKING    None: counters are relaxed, tables are read through their atomic copies. */
#include "l2/invalidations.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/types.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_stats_get(l2 *d, l2_stats *out)
{
    memset(out, 0, sizeof *out);
#define L2_X(name) out->name = base_load_rlx(&d->n.name);
    L2_COUNTERS(L2_X)
#undef L2_X
    out->opened = d->opened;
    out->set_aside = d->set_aside;
    out->invalidated += out->denied;
    l2_invalidation_count(d, out);
    out->segments_live = l2_segs_used(d);
    out->segments_free = l2_segs_free(d, base_load_acq(&d->tail));
    for (int i = 0; i < 2; i++) {
        if (base_load_acq(&d->ring[i].file) == NULL) { continue; }
        out->file_bytes += base_load_acq(&d->ring[i].size);
    }
    out->file_bytes += (uint64_t)L2_SUPER_PAGES * L2_PAGE;
    out->log_bytes = out->segments_live * d->form.seg_bytes;
    out->entries = base_load_rlx(&d->index.words);
    out->index_full = base_load_rlx(&d->index.full);
#define L2_X(name, text) out->lost_##name = base_load_rlx(&d->lost_entries[L2_LOST_##name]);
    L2_LOSSES(L2_X)
#undef L2_X
    out->live_bytes = l2_live(d);
    out->bytes_today = base_load_rlx(&d->day.used);
    const uint32_t disk = base_load_acq(&d->disk);
    out->off = disk != L2_DISK_OK;
    out->trying = disk == L2_DISK_TRYING;
    out->broken = base_load_acq(&d->broken) != 0;
    out->dirty = base_load_acq(&d->synced) != base_load_acq(&d->tail);
    out->empty = l2_is_closed(d);
}

BASE_SIZE_END
