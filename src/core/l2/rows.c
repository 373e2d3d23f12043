/* SPDX-License-Identifier: MIT
 *
 * rows: read the trailer and the rows of a full segment, or make its rows again. */
#include "l2/rows.h"

#include "l2/io.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/segment.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_trailer_find(l2 *d, uint64_t seq, l2_trailer *t)
{
    unsigned char at[L2_HEAD_BYTES];
    l2_head next;
    const uint64_t end = (seq + 1) * d->form.seg_bytes;
    sync_take(L2_LOG, &d->log_lock);
    const bool last = l2_seq_of(d, base_load_rlx(&d->tail)) == seq + 1 && d->last.seq == seq &&
                      d->last.data_end != 0;
    if (last) { *t = d->last; } /* the place of the next header may have one of a dead end */
    sync_drop(L2_LOG, &d->log_lock);
    if (last) { return true; }
    /* The header of the next segment, where there is one, tells the trailer of a dead end. */
    if (l2_log_read(d, at, sizeof at, end) == 0 && l2_head_read(&d->form, at, &next) &&
        next.seq == seq + 1 && next.before.seq == seq && next.before.data_end != 0) {
        *t = next.before;
        return true;
    }
    return l2_log_read(d, at, L2_TRAILER_BYTES, end - L2_TRAILER_BYTES) == 0 &&
           l2_trailer_read(&d->form, at, t) && t->seq == seq && t->full != 0;
}

CELLAR_PRIVATE void l2_row_of(const l2 *d, const unsigned char *at, const l2_rec *rec, l2_row *row)
{
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)rec->ext * 8, *value = key + rec->klen;
    row->generation = rec->generation;
    row->kind = rec->kind;
    row->hash = 0;
    if (rec->kind != L2_KIND_CONTROL) {
        row->hash = l2_mix(base_hash(&d->hash_key, rec->generation, key, rec->klen));
    } else if (rec->vlen >= 16 && (value[0] == L2_CTL_FLOOR || value[0] == L2_CTL_RUN)) {
        row->kind = value[0] == L2_CTL_FLOOR ? L2_ROW_FLOOR : L2_ROW_RUN;
        row->hash = l2_r64(value + 8);
    } else if (rec->vlen >= 16 && value[0] == L2_CTL_END) {
        row->kind = L2_KIND_TOMB;
        row->hash = l2_r64(value + 8);
    }
}

BASE_SIZE_END

CELLAR_PRIVATE int l2_rows_get(l2 *d, const l2_trailer *t, uint32_t index,
                               unsigned char page[L2_PAGE])
{
    const uint64_t begin = t->seq * d->form.seg_bytes;
    const int e = l2_log_read(d, page, L2_PAGE, begin + l2_rows_at(&d->form, index));
    return e == 0 && !l2_rows_ok(&d->form, page, t, index) ? EILSEQ : e;
}

CELLAR_PRIVATE bool l2_row_sane(const l2 *d, const l2_trailer *t, const l2_row *r)
{
    return r->off >= L2_HEAD_BYTES && (uint64_t)r->off + r->bytes <= t->data_end &&
           r->bytes <= d->room_max;
}

BASE_SIZE_BEGIN

/* Make the rows of a page again from their records, behind the last row that is known. */
static int l2_rows_walk(l2 *d, const l2_trailer *t, uint32_t index,
                        int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx)
{
    const uint64_t begin = t->seq * d->form.seg_bytes;
    const size_t most = BASE_MAX((size_t)d->room_max + L2_PAGE, (size_t)2 * L2_PAGE);
    const uint32_t first = index * L2_ROWS_PAGE, end = BASE_MIN(t->rows, first + L2_ROWS_PAGE);
    unsigned char *at = base_alloc(d->cfg.account, BASE_MOD_L2, most, NULL);
    int e = at != NULL ? 0 : ENOMEM;
    l2_row row = { .off = L2_HEAD_BYTES };
    while (index > 0 && e == 0 && l2_rows_get(d, t, index - 1, at) != 0) { index--; }
    if (index > 0 && e == 0) {
        l2_row_read(at + L2_ROW_FIRST + (size_t)(L2_ROWS_PAGE - 1) * L2_ROW_BYTES, &row);
        if (!l2_row_sane(d, t, &row)) { e = EILSEQ; }
    }
    for (uint32_t n = index * L2_ROWS_PAGE; n < end && e == 0; n++) {
        l2_rec r;
        l2_form f;
        row = (l2_row){ .off = row.off + row.bytes };
        l2_form_at(d, begin + row.off, &f);
        e = l2_log_read(d, at, L2_RECORD_HEAD, begin + row.off);
        if (e == 0 && !l2_rec_marked(&f, at, t->seq, row.off, t->data_end, &r)) { e = EILSEQ; }
        if (e == 0 && r.bytes > most) { e = EILSEQ; }
        if (e == 0) { e = l2_record_read(d, begin + row.off, at, r.bytes, &r); }
        if (e != 0) { break; }
        l2_row_of(d, at, &r, &row);
        row.bytes = l2_rec_room(&f, (size_t)r.ext * 8, r.klen, r.vlen);
        if (n >= first) { e = fn(d, ctx, &row); }
    }
    base_free(d->cfg.account, BASE_MOD_L2, at, at != NULL ? most : 0);
    return e;
}

BASE_SIZE_END

CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx)
{
    unsigned char page[L2_PAGE];
    const uint32_t first = index * L2_ROWS_PAGE, n = BASE_MIN(t->rows - first, L2_ROWS_PAGE);
    if (l2_rows_get(d, t, index, page) != 0) { return l2_rows_walk(d, t, index, fn, ctx); }
    int e = 0;
    for (uint32_t i = 0; i < n && e == 0; i++) {
        l2_row r;
        l2_row_read(page + L2_ROW_FIRST + (size_t)i * L2_ROW_BYTES, &r);
        e = l2_row_sane(d, t, &r) ? fn(d, ctx, &r) : EILSEQ;
    }
    return e;
}
