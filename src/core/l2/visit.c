/* SPDX-License-Identifier: MIT
 *
 * visit: pass the entries that a get would find, in the order of the log.
 *
 * PICTURE    position -> rows of its segment (open: in memory) -> the word leads here? -> key of
 *            the record -> l2_get -> fn
 * INVARIANTS A record is passed if the get of its key returns this record. So a key is passed once.
 *            A key that is put again meanwhile is passed later, at the end of the log.
 * LOCKING    L2_LOG for rows in memory. fn runs without locks.
 *            A disk that does not answer for the moment ends the visit: E_BUSY, and *at stays.
 * LIMITS     Records that cannot be read, and those of a page of rows that is lost and cannot be
 *            made again, are passed over: E_IO. */
#include "l2/codec.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/rows.h"
#include "l2/segment.h"

#define L2_VISIT_MARKS ((uint64_t)1 << 20) /* marks; several times the segments of a store */

BASE_SIZE_BEGIN

typedef struct l2_visit_page { /* rows from a position on */
    l2_row row[L2_ROWS_PAGE];
    uint32_t count;
    uint32_t from;     /* offset of the first row that is wanted */
    uint64_t begin;    /* lsn of the segment */
    uint64_t next;     /* position behind these rows */
    bool end;          /* the log ends behind them */
    bool lost;         /* entries that may be read later were passed over */
    unsigned char value[L2_VISIT_VALUE];
    unsigned char head[L2_NAMED_MOST] BASE_ALIGNED(8);
} l2_visit_page;

static int l2_visit_keep(l2 *d, void *ctx, const l2_row *row)
{
    l2_visit_page *p = ctx;
    (void)d;
    if (row->off >= p->from && p->count < L2_ROWS_PAGE) { p->row[p->count++] = *row; }
    return 0;
}

/* Take the rows of the open segment. Return false if it is another one by now. */
static bool l2_visit_open(l2 *d, l2_visit_page *p)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t tail = base_load_rlx(&d->tail);
    const bool here = l2_seq_of(d, tail) == l2_seq_of(d, p->begin);
    uint32_t i = 0;
    for (; here && i < d->row_count && p->count < L2_ROWS_PAGE; i++) {
        l2_row row;
        l2_row_read(d->rows + (size_t)i * L2_ROW_BYTES, &row);
        (void)l2_visit_keep(d, p, &row);
    }
    p->end = here && i == d->row_count;
    sync_drop(L2_LOG, &d->log_lock);
    p->next = p->end ? tail : p->begin;
    return here;
}

/* Return the last page of rows that verifies and begins at `from` or below; else 0. */
static uint32_t l2_visit_first(l2 *d, const l2_trailer *t, uint32_t from)
{
    unsigned char page[L2_PAGE];
    uint32_t least = 0, above = l2_row_pages(t->rows);
    while (above - least > 1) {
        const uint32_t half = least + (above - least) / 2;
        uint32_t i = half;
        l2_row r = { .off = UINT32_MAX };
        while (i < above && l2_rows_get(d, t, i, page) != 0 && !l2_rows_unread(d, t->seq)) { i++; }
        if (l2_rows_unread(d, t->seq)) { return 0; }
        if (i < above) { l2_row_read(page + L2_ROW_FIRST, &r); }
        if (r.off <= from) {
            least = i;
        } else {
            above = half;
        }
    }
    return least;
}

/* Make rows again from the record at `from` on: a position is the end of one. */
static bool l2_visit_make(l2 *d, l2_visit_page *p, const l2_trailer *t)
{
    int e;
    l2_rows_walk w = { .last = { .off = BASE_MAX(p->from, L2_HEAD_BYTES) } };
    p->count = l2_rows_make(d, t, &w, p->row, L2_ROWS_PAGE, &e);
    if (p->count == 0) { return false; }
    const l2_row *last = &p->row[p->count - 1];
    const uint32_t end = last->off + last->bytes;
    if (end != t->data_end) { p->next = p->begin + end; }
    return true;
}

/* Take rows of a full segment: of the first page that has a wanted one. Return 0 or an errno. */
static int l2_visit_full(l2 *d, l2_visit_page *p)
{
    l2_trailer t;
    l2_rows_walk w = { .made = 0 };
    int e = 0;
    p->next = p->begin + d->form.seg_bytes;
    if (!l2_trailer_find(d, l2_seq_of(d, p->begin), &t)) { return EILSEQ; }
    uint32_t i = l2_rows_unread(d, t.seq) ? 0 : l2_visit_first(d, &t, p->from);
    if (l2_rows_unread(d, t.seq) && l2_visit_make(d, p, &t)) { return 0; }
    for (; i < l2_row_pages(t.rows) && p->count == 0; i++) {
        const int page = l2_rows_page(d, &t, i, &w, l2_visit_keep, p);
        e = page != 0 ? page : e;
        if (p->count != 0 && i + 1 < l2_row_pages(t.rows)) {
            const l2_row *last = &p->row[p->count - 1];
            p->next = p->begin + last->off + last->bytes;
        }
    }
    return e;
}

static void l2_visit_rows(l2 *d, uint64_t at, l2_visit_page *p)
{
    at = BASE_MAX(at, BASE_MAX(l2_floor(d), base_load_acq(&d->head)));
    const uint64_t seq = l2_seq_of(d, at), open = l2_seq_of(d, base_load_acq(&d->tail));
    p->count = 0;
    p->end = false;
    p->begin = seq * d->form.seg_bytes;
    p->from = (uint32_t)(at - p->begin);
    p->next = at;
    if (seq > open) {
        p->end = true;
    } else if (seq < open || !l2_visit_open(d, p)) {
        const int e = l2_visit_full(d, p);
        /* a pass moves what lives, then the head: the end of the log has it */
        p->lost = p->lost || (e != 0 && p->begin >= base_load_acq(&d->head));
    } else if (!p->end && p->count != 0) {
        const l2_row *last = &p->row[p->count - 1];
        p->next = p->begin + last->off + last->bytes;
    }
}

/* Return whether the disk does not answer now: a get misses, and finds the entry later. */
static bool l2_visit_silent(const l2 *d)
{
    return base_load_acq(&d->disk) == L2_DISK_OK && l2_standing(d);
}

/* Pass one row. OK: go on; CELLAR_E_CLOSED: fn ended the scan; E_BUSY, E_NOMEM. */
static cellar_err l2_visit_row(l2 *d, l2_visit_page *p, const l2_row *row, l2_visit_fn fn,
                               void *ctx)
{
    const uint64_t lsn = p->begin + row->off;
    const uint32_t n = BASE_MIN(row->bytes, (uint32_t)L2_NAMED_MOST);
    l2_form f;
    l2_rec r;
    if (!l2_indexed_at(d, row->hash, lsn)) { return CELLAR_OK; }
    if (l2_visit_silent(d)) { return CELLAR_E_BUSY; }
    const int e = l2_buffered(d, p->head, n, lsn) ? 0 : l2_log_read(d, p->head, n, lsn);
    l2_form_at(d, lsn, &f);
    p->lost = p->lost || e != 0;
    if (e != 0 || !l2_rec_parse(p->head, row->off, row->off + row->bytes, &r) ||
        l2_rec_named(&r) > n || !l2_rec_marked(&f, p->head, l2_seq_of(d, lsn), row->off, &r)) {
        return CELLAR_OK;
    }
    l2_key k = { p->head + L2_RECORD_HEAD + (size_t)r.ext * 8, r.klen, row->generation, 0 };
    k.hash = base_hash(&d->hash_key, row->generation, k.bytes, k.len);
    size_t len = 0;
    l2_meta m;
    const cellar_err err = l2_get(d, &k, p->value, sizeof p->value, &len, &m);
    const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    if (err == CELLAR_E_NOMEM) { return err; }
    if (!there && l2_visit_silent(d)) { return CELLAR_E_BUSY; }
    p->lost = p->lost || err == CELLAR_E_TIMEOUT || (!there && l2_off(d));
    if (!there || m.addr != l2_addr_of(lsn, &r)) { return CELLAR_OK; }
    return fn(ctx, &k, err != CELLAR_E_BUFFER ? p->value : NULL, len, &m) ? CELLAR_OK
                                                                          : CELLAR_E_CLOSED;
}

CELLAR_PRIVATE cellar_err l2_visit(l2 *d, uint32_t generation, uint64_t *at, uint32_t count,
                                   l2_visit_fn fn, void *ctx)
{
    l2_visit_page *p = l2_alloc(d, sizeof *p);
    if (p == NULL) { return CELLAR_E_NOMEM; }
    cellar_err err = CELLAR_OK;
    p->end = p->lost = false;
    for (uint32_t left = count; left > 0 && err == CELLAR_OK && !p->end && !l2_is_closed(d);) {
        err = l2_visit_silent(d) ? CELLAR_E_BUSY : CELLAR_OK;
        if (err != CELLAR_OK) { break; } /* a scan would wait for the read of its rows */
        l2_visit_rows(d, *at, p);
        left -= BASE_MIN(left, BASE_MAX(p->count, 1u));
        for (uint32_t i = 0; i < p->count && err == CELLAR_OK; i++) {
            const l2_row *row = &p->row[i];
            if (row->kind != L2_KIND_PUT || row->generation != generation) { continue; }
            err = l2_visit_row(d, p, row, fn, ctx);
            if (err != CELLAR_OK) { p->next = p->begin + row->off; }
            if (err == CELLAR_E_CLOSED) { p->next += row->bytes; }
        }
        *at = p->next;
    }
    const bool end = p->end || l2_is_closed(d), lost = p->lost;
    base_free(d->cfg.account, BASE_MOD_L2, p, sizeof *p);
    if (lost) { return CELLAR_E_IO; }
    if (err == CELLAR_E_CLOSED) { return CELLAR_OK; }
    return err == CELLAR_OK && end ? CELLAR_MISS : err;
}

CELLAR_PRIVATE uint32_t l2_visit_mark(const l2 *d, uint64_t at)
{
    return (uint32_t)(l2_seq_of(d, at) % L2_VISIT_MARKS);
}

CELLAR_PRIVATE uint64_t l2_visit_from(l2 *d, uint32_t mark)
{
    const uint64_t newest = l2_seq_of(d, base_load_acq(&d->tail));
    const uint64_t back = (newest - mark) % L2_VISIT_MARKS;
    return (newest - BASE_MIN(back, newest)) * d->form.seg_bytes;
}

BASE_SIZE_END
