/* SPDX-License-Identifier: MIT
 *
 * resync: store the bytes since the last good sync again after a sync failed.
 *
 * PICTURE    sync fails -> no sync counts -> holder of `working`: bytes read and written again,
 *            records and rows verified -> sync -> syncs count
 *            some do not verify -> new segment {FLOOR} -> sync -> words removed, older places free
 * INVARIANTS After a failed sync the kernel may drop the bytes and report success next time. So no
 *            sync counts until all bytes since the last good one were written again.
 *            The header of the new segment says that all below is synced. So an open looks for no
 *            record in the damaged range, and finds the FLOOR.
 *            An open after a kill in the same boot writes them again: a sync may have failed.
 * LOCKING    `working` and `syncing`; `writing` for each piece, and for the open segment.
 * LIMITS     A range that cannot be read leaves all as it is: no sync counts. An open leaves such a
 *            page alone: it has read the rows there, or what is older than a hole does not count.
 *            If no place is free for the FLOOR, it takes that of the oldest segment. No record of
 *            that segment comes back. While the size changes the place may be that of a newer
 *            segment. Then no sync counts until changes without room close the tier (stall.c), and
 *            the tier begins empty.
 * SEE ALSO   health.c: the tier is switched off if syncs fail often. */
#include "l2/resync.h"

#include "l2/control.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/rows.h"
#include "l2/segment.h"
#include "l2/super.h"

BASE_SIZE_BEGIN

typedef struct l2_span { /* bytes from..end of the log, and a segment with some of them */
    uint64_t from, end, begin;
} l2_span;

/* Write the bytes of a span again. An open has the rows of all records there: it leaves a page that
 * cannot be read as it is. */
static int l2_span_write(l2 *d, const l2_span *s)
{
    int e = 0;
    uint64_t at = s->from & ~(uint64_t)(L2_PAGE - 1), n, most = d->work_bytes;
    for (; at < s->end && e == 0; at += n) {
        const uint64_t seg_end = (l2_seq_of(d, at) + 1) * d->form.seg_bytes;
        n = BASE_MIN(BASE_MIN(base_round_up(s->end, L2_PAGE), seg_end) - at, most);
        sync_role_take(&d->writing); /* no other thread writes these pages meanwhile */
        const int unread = l2_log_read(d, d->work, (size_t)n, at);
        e = unread == 0 ? l2_out(d, d->work, n, at) : unread;
        l2_writing_drop(d);
        if (unread != 0 && base_load_rlx(&d->ready) == 0) { /* page by page, up to the bad one */
            most = n > L2_PAGE ? L2_PAGE : d->work_bytes;
            n = n > L2_PAGE ? 0 : n;
            e = 0;
        }
    }
    return e;
}

/* Verify the record of a row. One that is outside the span, or below the floor, need not. */
static int l2_row_holds(l2 *d, void *ctx, const l2_row *row)
{
    const l2_span *s = ctx;
    const uint64_t lsn = s->begin + row->off;
    l2_rec r;
    if (lsn + row->bytes <= s->from || lsn >= s->end || lsn < l2_floor(d)) { return 0; }
    return row->bytes <= d->work_bytes ? l2_record_read(d, lsn, d->work, row->bytes, &r) : EILSEQ;
}

/* Verify the open segment by its rows in memory. The caller holds `writing`: it stays open. */
static int l2_open_holds(l2 *d, l2_span *s)
{
    int e = 0;
    bool any = true;
    for (uint32_t i = 0; e == 0 && any; i++) {
        l2_row row = { .off = 0 };
        sync_take(L2_LOG, &d->log_lock);
        any = i < d->row_count;
        if (any) { l2_row_read(d->rows + (size_t)i * L2_ROW_BYTES, &row); }
        sync_drop(L2_LOG, &d->log_lock);
        if (any) { e = l2_row_holds(d, s, &row); }
    }
    return e;
}

static int l2_full_holds(l2 *d, l2_span *s)
{
    l2_trailer t;
    unsigned char page[L2_PAGE];
    l2_rows_walk w = { .made = 0 };
    int e = l2_trailer_find(d, l2_seq_of(d, s->begin), &t) ? 0 : EILSEQ;
    for (uint32_t i = 0; e == 0 && i < l2_row_pages(t.rows); i++) {
        e = l2_rows_get(d, &t, i, page); /* these bytes are verified, too */
        if (e == 0) { e = l2_rows_page(d, &t, i, &w, l2_row_holds, s); }
    }
    return e;
}

/* Verify what a segment has of a span. */
static int l2_seg_holds(l2 *d, l2_span *s)
{
    unsigned char at[L2_HEAD_BYTES];
    l2_head h;
    if (s->from <= s->begin) { /* its header is in the span */
        const int e = l2_log_read(d, at, sizeof at, s->begin);
        if (e != 0) { return e; }
        if (!l2_head_read(&d->form, at, &h) || h.seq != l2_seq_of(d, s->begin)) { return EILSEQ; }
    }
    sync_role_take(&d->writing);
    const bool open = l2_seq_of(d, base_load_acq(&d->tail)) == l2_seq_of(d, s->begin);
    const int e = open ? l2_open_holds(d, s) : 0;
    l2_writing_drop(d);
    return open ? e : l2_full_holds(d, s);
}

/* End all that is older than d->lost_lsn: a FLOOR says so, and is synced. */
static void l2_lost_end(l2 *d)
{
    const uint64_t lsn = d->lost_lsn, head = base_load_acq(&d->head);
    l2_lost(d, L2_LOST_sync, lsn - head);
    L2_COUNT(d, emptied);
    L2_COUNT(d, holes);
    l2_index_cut(d, lsn);
    base_store_rel(&d->head, lsn);
    base_store_rlx(&d->moved_ns, base_now_ns());
    l2_invalidation_forget(d);
    L2_COUNT_BY(d, reclaimed, (lsn - head) / d->form.seg_bytes);
    l2_room_made(d);
    d->lost_lsn = 0;
}

/* Write the bytes again and verify them. */
static int l2_span_verify(l2 *d)
{
    const uint64_t least = BASE_MAX(d->lost_lsn, base_load_acq(&d->head));
    l2_span s = { .from = BASE_MAX(base_load_acq(&d->synced), least),
                  .end = base_load_acq(&d->written) };
    int e = l2_span_write(d, &s);
    s.begin = l2_seq_of(d, s.from) * d->form.seg_bytes;
    for (; s.begin < s.end && e == 0; s.begin += d->form.seg_bytes) { e = l2_seg_holds(d, &s); }
    return e;
}

CELLAR_PRIVATE void l2_span_again(l2 *d)
{
    const uint64_t synced = base_load_acq(&d->synced);
    const l2_span s = { .from = BASE_MAX(synced, base_load_acq(&d->head)),
                        .end = base_load_acq(&d->written) };
    if (l2_span_write(d, &s) != 0) { base_store_rel(&d->resync, 1u); }
}

CELLAR_PRIVATE int l2_resync(l2 *d)
{
    uint64_t end;
    if (base_load_acq(&d->resync) == 0) { return 0; }
    if (base_load_acq(&d->disk) != L2_DISK_OK) { return EIO; }
    sync_role_take(&d->syncing);
    int e = l2_span_verify(d);
    if ((e == EILSEQ || d->lost_lsn != 0) && l2_is_closed(d)) {
        l2_index_sweep(d, false);
        base_store_rel(&d->head, l2_seq_of(d, base_load_acq(&d->tail)) * d->form.seg_bytes);
    }
    if (e == EILSEQ) {
        const uint64_t oldest = base_load_acq(&d->head) + d->form.seg_bytes;
        const bool free = l2_segs_free(d, base_load_acq(&d->tail)) != 0;
        e = free || l2_walk_above(d, oldest) ? l2_next_synced(d, &d->lost_lsn) : EIO;
        if (e == 0) { l2_live_none(d); } /* puts behind it count from now on */
    }
    if (e == 0 && d->lost_lsn > base_load_acq(&d->header_floor)) {
        e = l2_floor_put(d, d->lost_lsn, &end);
        if (e == 0) { base_store_rel(&d->header_floor, d->lost_lsn); }
    }
    if (e == 0) { e = l2_sync_now(d); }
    if (e == 0) {
        base_store_rel(&d->resync, 0u);
        if (d->lost_lsn != 0) { l2_lost_end(d); }
    }
    sync_role_drop(&d->syncing);
    return e;
}

BASE_SIZE_END
