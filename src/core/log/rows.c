/* SPDX-License-Identifier: MIT
 *
 * rows: read the trailer and the rows of a full segment. */
#include "l2/log.h"
#include "l2/recover.h"
#include "l2/segment.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_trailer_find(l2 *d, uint64_t seq, l2_trailer *t)
{
    unsigned char at[L2_HEAD_BYTES];
    l2_head next;
    const uint64_t end = (seq + 1) * d->form.seg_bytes;
    /* The header of the next segment, where there is one, tells the trailer of a dead end. */
    if (l2_log_read(d, at, sizeof at, end) == 0 && l2_head_read(&d->form, at, &next) &&
        next.seq == seq + 1 && next.before.seq == seq && next.before.data_end != 0) {
        *t = next.before;
        return true;
    }
    return l2_log_read(d, at, L2_TRAILER_BYTES, end - L2_TRAILER_BYTES) == 0 &&
           l2_trailer_read(&d->form, at, t) && t->seq == seq && t->full != 0;
}

CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx)
{
    unsigned char page[L2_PAGE];
    const uint32_t first = index * L2_ROWS_PAGE, n = BASE_MIN(t->rows - first, L2_ROWS_PAGE);
    const uint64_t begin = t->seq * d->form.seg_bytes;
    int e = l2_log_read(d, page, L2_PAGE, begin + l2_rows_at(&d->form, index));
    if (e == 0 && !l2_rows_ok(&d->form, page, t, index)) { e = EILSEQ; }
    for (uint32_t i = 0; i < n && e == 0; i++) {
        l2_row r;
        l2_row_read(page + L2_ROW_FIRST + (size_t)i * L2_ROW_BYTES, &r);
        if (r.off < L2_HEAD_BYTES || (uint64_t)r.off + r.bytes > t->data_end) { return EILSEQ; }
        e = fn(d, ctx, &r);
    }
    return e;
}

BASE_SIZE_END
