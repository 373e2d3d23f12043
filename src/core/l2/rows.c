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

CELLAR_PRIVATE bool l2_rows_unread(const l2 *d, uint64_t seq)
{
    return base_load_rlx(&d->unread_rows) == seq;
}

CELLAR_PRIVATE int l2_rows_get(l2 *d, const l2_trailer *t, uint32_t index,
                               unsigned char page[L2_PAGE])
{
    const uint64_t begin = t->seq * d->form.seg_bytes;
    const int e = l2_log_read(d, page, L2_PAGE, begin + l2_rows_at(&d->form, index));
    if (e != 0) { base_store_rlx(&d->unread_rows, t->seq); }
    return e == 0 && !l2_rows_ok(&d->form, page, t, index) ? EILSEQ : e;
}

/* Return true if a row lies among the records of its segment. */
static bool l2_row_sane(const l2 *d, const l2_trailer *t, const l2_row *r)
{
    return r->off >= L2_HEAD_BYTES && (uint64_t)r->off + r->bytes <= t->data_end &&
           r->bytes <= d->room_max;
}

BASE_SIZE_BEGIN

/* Return the number of the run behind the last row of a walk: a row said it, the open has made all
 * runs, or no row said another one than the header. 0: not known. */
static uint64_t l2_rows_run(l2 *d, const l2_trailer *t, const l2_rows_walk *w)
{
    const uint64_t begin = t->seq * d->form.seg_bytes;
    unsigned char at[L2_HEAD_BYTES];
    l2_head h;
    l2_form f;
    if (w->run != 0) { return w->run; }
    l2_form_at(d, begin + w->last.off + w->last.bytes, &f);
    if (d->run_count != 0) { return f.epoch; }
    return l2_log_read(d, at, sizeof at, begin) == 0 && l2_head_read(&d->form, at, &h) &&
                   h.seq == t->seq ? h.run : 0;
}

/* Read head, extensions and key of the record at `off`, of a control also its value. at:
 * L2_NAMED_MOST bytes. The value of a put may be lost. */
static int l2_rows_record(l2 *d, const l2_form *f, const l2_trailer *t, uint32_t off,
                          unsigned char *at, l2_rec *r)
{
    const uint64_t lsn = t->seq * f->seg_bytes + off;
    int e = l2_log_read(d, at, L2_RECORD_HEAD, lsn);
    if (e != 0) { return e; }
    if (!l2_rec_parse(at, off, t->data_end, r) || r->bytes > d->room_max) { return EILSEQ; }
    const bool put = r->kind == L2_KIND_PUT;
    const uint32_t n = put ? l2_rec_named(r) : r->bytes;
    if (n > L2_NAMED_MOST) { return EILSEQ; }
    e = l2_log_read(d, at + L2_RECORD_HEAD, n - L2_RECORD_HEAD, lsn + L2_RECORD_HEAD);
    const bool right = put ? l2_rec_marked(f, at, t->seq, off, r)
                           : l2_rec_whole(f, at, t->seq, off, r);
    return e == 0 && !right ? EILSEQ : e;
}

CELLAR_PRIVATE uint32_t l2_rows_make(l2 *d, const l2_trailer *t, l2_rows_walk *w, l2_row *row,
                                     uint32_t n, int *e)
{
    unsigned char *at = base_alloc(d->cfg.account, BASE_MOD_L2, L2_NAMED_MOST, NULL);
    l2_form f = d->form;
    uint32_t off = w->last.off + w->last.bytes, i = 0;
    *e = at == NULL ? ENOMEM : off == 0 ? EILSEQ : 0;
    if (*e == 0) { f.epoch = l2_rows_run(d, t, w); }
    for (; i < n && *e == 0 && off != t->data_end; i++) {
        l2_rec r;
        *e = l2_rows_record(d, &f, t, off, at, &r);
        if (*e != 0) { break; }
        row[i].off = off;
        l2_row_of(d, at, &r, &row[i]);
        row[i].bytes = l2_rec_room(&f, (size_t)r.ext * 8, r.klen, r.vlen);
        off += row[i].bytes;
        if (row[i].kind == L2_ROW_RUN) { f.epoch = row[i].hash; }
    }
    w->made += i == n;
    base_free(d->cfg.account, BASE_MOD_L2, at, at != NULL ? L2_NAMED_MOST : 0);
    return i;
}

BASE_SIZE_END

/* Read n rows of a page. Return how many are right. */
static uint32_t l2_rows_load(l2 *d, const l2_trailer *t, const unsigned char *page,
                             const l2_rows_walk *w, l2_row *row, uint32_t n)
{
    uint32_t off = w->last.off + w->last.bytes, i = 0;
    for (; i < n; i++) {
        l2_row_read(page + L2_ROW_FIRST + (size_t)i * L2_ROW_BYTES, &row[i]);
        if (!l2_row_sane(d, t, &row[i]) || (off != 0 && row[i].off != off)) { break; }
        off = row[i].off + row[i].bytes;
    }
    return i;
}

CELLAR_PRIVATE int l2_rows_page(l2 *d, const l2_trailer *t, uint32_t index, l2_rows_walk *w,
                                int (*fn)(l2 *d, void *ctx, const l2_row *r), void *ctx)
{
    unsigned char page[L2_PAGE];
    l2_row row[L2_ROWS_PAGE];
    const uint32_t want = BASE_MIN(t->rows - index * L2_ROWS_PAGE, L2_ROWS_PAGE);
    int e = 0;
    if (index == 0) { w->last = (l2_row){ .off = L2_HEAD_BYTES }; }
    const bool unread = l2_rows_unread(d, t->seq);
    uint32_t n = unread ? l2_rows_make(d, t, w, row, want, &e) : 0;
    if (n < want && l2_rows_get(d, t, index, page) == 0) {
        n = l2_rows_load(d, t, page, w, row, want);
        e = n == want ? 0 : EILSEQ;
    } else if (n < want && !unread) {
        n = l2_rows_make(d, t, w, row, want, &e);
    }
    if (n < want && e == 0) { e = EILSEQ; }
    w->last = n == want ? row[n - 1] : (l2_row){ .off = 0 };
    const bool ends = index + 1 == l2_row_pages(t->rows);
    if (e == 0 && ends && w->last.off + w->last.bytes != t->data_end) {
        return EILSEQ; /* records of an earlier use of the place */
    }
    for (uint32_t i = 0; i < n; i++) {
        const int failed = fn(d, ctx, &row[i]);
        if (failed != 0) { return failed; }
        if (row[i].kind == L2_ROW_RUN) { w->run = row[i].hash; }
    }
    return e;
}
