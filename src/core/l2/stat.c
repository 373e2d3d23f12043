/* SPDX-License-Identifier: MIT
 *
 * stat: copy the counters of the store for the cache.
 *
 * LOCKING    None: counters are relaxed, tables are read through their atomic copies. */
#include "l2/types.h"

#include "l2/health.h"
#include "l2/invalidations.h"
#include "l2/live.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l2_stats_get(l2 *d, l2_stats *out)
{
    memset(out, 0, sizeof *out);
#define L2_X(name) out->name = base_load_rlx(&d->n.name);
    L2_COUNTERS(L2_X)
#undef L2_X
    out->opened = d->opened;
    out->set_aside = d->set_aside;
    out->mapped_reads = base_load_rlx(&d->mapped.done);
    out->mapped_bytes = base_load_rlx(&d->mapped.lost) == 0 ? d->mapped.bytes : 0;
    out->invalidated += out->denied + out->remembered;
    l2_invalidation_count(d, out);
    const uint32_t nseg = base_load_acq(&d->nseg_seen), places = base_load_acq(&d->places_seen);
    out->segments_live = l2_segs_used(d);
    for (uint32_t i = 0; i < nseg; i++) {
        const uint32_t state = L2_SEG_STATE(base_load_acq(&d->seg[i].word));
        out->segments_free += state == L2_SEG_FREE;
        out->bad_places += state == L2_SEG_BAD;
    }
    out->file_bytes = ((uint64_t)places + d->nstage) * d->form.seg_bytes + 2 * L2_PAGE +
                      base_load_rlx(&d->image_bytes);
    out->log_bytes = out->segments_live * d->form.seg_bytes;
    out->entries = base_load_rlx(&d->index.words);
    out->index_slots = (uint64_t)d->index.buckets * L2_SHARDS * L2_WAYS;
    out->index_full = base_load_rlx(&d->index.full);
#define L2_X(name, text) out->lost_##name = base_load_rlx(&d->lost_entries[L2_LOST_##name]);
    L2_LOSSES(L2_X)
#undef L2_X
    out->live_bytes = base_load_rlx(&d->live_bytes);
    out->rebuilding = base_load_acq(&d->rebuilding) != 0;
    out->bytes_today = base_load_rlx(&d->day.used);
    const uint32_t disk = base_load_acq(&d->disk);
    out->off = disk != L2_DISK_OK;
    out->trying = disk == L2_DISK_TRYING;
    out->broken = base_load_acq(&d->broken) != 0;
    out->dirty = base_load_acq(&d->dirty) == L2_NOW_DIRTY;
    out->empty = base_load_rlx(&d->emptied) != 0; /* no lock: its holder may wait for the disk */
}

BASE_SIZE_END
