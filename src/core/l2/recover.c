/* SPDX-License-Identifier: MIT
 *
 * recover: find the end of the log and its live records at an open.
 *
 * PICTURE    headers -> newest segment of the run that SUPER names, last synced lsn
 *            -> records from there on (same boot: of the newest segment) up to the first one that
 *               is not whole: the end
 *            -> rows, newest segment first: words, FLOOR, runs, controls; down to the FLOOR, or to
 *               a hole
 *            -> controls, oldest first -> record that names a new random number: this run
 * INVARIANTS Of two rows of a key the first one counts, as it is newer. Tombstones have words until
 *            all rows are read, or until their shard is full: then they move to a set.
 *            All checks of a run contain its number. So nothing that lies behind an earlier end of
 *            the log is believed.
 *            A page of rows that is not readable is made again from its records, if their marks
 *            verify. Else the segment is a hole, and nothing older counts: an older record may have
 *            been replaced there. The mark of a damaged key verifies once in 65,536.
 * LOCKING    Only the open uses this file.
 * LIMITS     Rows of one segment in memory, and what `work` has of its records. */
#include "l2/recover.h"

#include "base/random.h"
#include "l2/control.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/namespaces.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/rows.h"
#include "l2/segment.h"

BASE_SIZE_BEGIN

#define L2_LIST_STEP 64u
#define L2_ROWS_AHEAD 8u /* slots of so many rows are requested before they are needed */

typedef struct l2_list { /* numbers, newest first */
    uint64_t *at;
    uint32_t count, cap;
} l2_list;

typedef struct l2_recovery {
    uint64_t at, have;       /* lsn and length of what d->work has of the log */
    unsigned char *rows;     /* of one segment that is walked; row_most rows */
    uint32_t row_most, row_count;
    uint64_t seq, number;    /* the log ends in this segment, in this run */
    uint32_t off;            /* 0: the segment has not begun */
    uint64_t newest;         /* highest number of any header */
    uint64_t synced;         /* lsn */
    bool met;                /* the walk has met the run that SUPER names */
    bool told;               /* a trailer tells the end: records before it are lost */
    uint64_t floor;
    l2_list controls;        /* lsns */
    l2_list runs;            /* pairs: number, lsn of the first record */
    l2_tombs tombs;          /* of shards that were full */
    bool spilled[L2_SHARDS]; /* all tombstones of this shard are there */
    bool marks;              /* the index has tombstones */
    uint32_t live_of, live;  /* a generation; bytes of its rows that are not in its sum yet */
    uint32_t generation;     /* newest one of a record */
    bool any, short_memory;
    bool hole;               /* what is below `floor` was not known to be replaced */
} l2_recovery;

static void l2_list_add(l2 *d, l2_recovery *r, l2_list *l, uint64_t n)
{
    if (l->count == l->cap) {
        const uint32_t cap = l->cap * 2 + L2_LIST_STEP;
        uint64_t *at = base_alloc(d->cfg.account, BASE_MOD_L2, cap * sizeof *at, NULL);
        if (at == NULL) {
            r->short_memory = true;
            return;
        }
        if (l->count != 0) { memcpy(at, l->at, l->count * sizeof *at); }
        base_free(d->cfg.account, BASE_MOD_L2, l->at, l->cap * sizeof *at);
        l->at = at;
        l->cap = cap;
    }
    l->at[l->count++] = n;
}

static void l2_list_free(l2 *d, l2_list *l)
{
    base_free(d->cfg.account, BASE_MOD_L2, l->at, l->cap * sizeof *l->at);
}

/* ---- the end of the log ---- */

/* Read the headers. *top: the newest segment of the run that SUPER names. */
static void l2_heads_read(l2 *d, l2_recovery *r, uint64_t *top)
{
    unsigned char at[L2_HEAD_BYTES];
    *top = d->super.born;
    r->synced = d->super.synced;
    const uint64_t seg = d->form.seg_bytes, had = d->ring[0].had / seg;
    for (uint64_t n = 0; n < had + d->ring[1].had / seg; n++) {
        l2_head h;
        const uint64_t i = n < had ? n : n - had;
        const l2_ring *ring = &d->ring[n < had ? 0 : 1];
        if (l2_read(d, base_load_acq(&ring->file), at, sizeof at, i * seg) != 0 ||
            !l2_head_read(&d->form, at, &h) ||
            h.seq % (base_load_acq(&ring->size) / seg) != i) {
            continue;
        }
        if (l2_ring_at(d, h.seq * seg) != ring) { continue; }
        r->newest = BASE_MAX(r->newest, h.seq);
        if (h.run != d->super.run || h.seq < d->super.born) { continue; }
        *top = BASE_MAX(*top, h.seq);
        r->synced = BASE_MAX(r->synced, h.synced);
    }
}

/* Return the bytes of a segment from `off` on: n, or all up to its end. `work` has them from the
 * begin of their page. A page that cannot be read is zeros. */
static const unsigned char *l2_seg_bytes(l2 *d, l2_recovery *r, uint64_t seq, uint32_t off,
                                         uint32_t n)
{
    const uint64_t lsn = seq * d->form.seg_bytes + off;
    if (lsn < r->at || lsn + n > r->at + r->have) {
        const uint32_t from = off / L2_PAGE * L2_PAGE;
        r->at = lsn - off + from;
        r->have = BASE_MIN(d->work_bytes, d->form.seg_bytes - from);
        (void)l2_log_read_pages(d, d->work, (size_t)r->have, r->at);
    }
    return d->work + (lsn - r->at);
}

/* Return the record at `off` of a segment. NULL: there is none that is whole. */
static const unsigned char *l2_seg_record(l2 *d, l2_recovery *r, const l2_form *f, uint64_t seq,
                                          uint32_t off, l2_rec *rec)
{
    const unsigned char *at = l2_seg_bytes(d, r, seq, off, L2_RECORD_HEAD);
    if (!l2_rec_parse(at, off, f->seg_bytes, rec) || rec->bytes > d->room_max) { return NULL; }
    at = l2_seg_bytes(d, r, seq, off, l2_rec_named(rec));
    if (!l2_rec_marked(f, at, seq, off, rec)) { return NULL; } /* before a sum of all bytes */
    at = l2_seg_bytes(d, r, seq, off, rec->bytes);
    return l2_rec_whole(f, at, seq, off, rec) ? at : NULL;
}

/* Walk the records of a segment. Return its rows, in r->rows. *off: end of the last whole record;
 * *number: the run of what would follow. */
static uint32_t l2_walk(l2 *d, l2_recovery *r, uint64_t seq, uint64_t *number, uint32_t *off)
{
    uint32_t n = 0;
    l2_form f = d->form;
    f.epoch = *number;
    *off = L2_HEAD_BYTES;
    r->met = r->met || f.epoch == d->super.run;
    while (n < r->row_most) {
        l2_rec rec;
        l2_row row = { .off = *off };
        const unsigned char *at = l2_seg_record(d, r, &f, seq, *off, &rec);
        if (at == NULL) { break; }
        l2_row_of(d, at, &rec, &row);
        row.bytes = l2_rec_room(&f, (size_t)rec.ext * 8, rec.klen, rec.vlen);
        if (row.kind == L2_ROW_RUN) { f.epoch = row.hash; }
        r->met = r->met || f.epoch == d->super.run;
        l2_row_write(r->rows + (size_t)n++ * L2_ROW_BYTES, &row);
        *off += row.bytes;
    }
    *number = f.epoch;
    return n;
}

/* Return true if a record of the last run lies behind the end of the log. In the same boot the file
 * has all that was written: then a page is lost, and what it replaced must not count. SUPER may be
 * older: its newer copy may be damaged. */
static bool l2_lost_behind(l2 *d, l2_recovery *r)
{
    l2_rec rec;
    l2_form f = d->form;
    uint32_t off = BASE_MAX(r->off, L2_HEAD_BYTES);
    bool found = false;
    f.epoch = r->number;
    for (; !found && off + L2_RECORD_HEAD < f.seg_bytes; off += f.granule) {
        found = l2_seg_record(d, r, &f, r->seq, off, &rec) != NULL;
    }
    return found;
}

/* Read the header of a segment. Return false if it is not there. */
static bool l2_seg_head(l2 *d, l2_recovery *r, uint64_t seq, l2_head *h)
{
    return l2_head_read(&d->form, l2_seg_bytes(d, r, seq, 0, L2_HEAD_BYTES), h) && h->seq == seq;
}

static int l2_row_take(l2 *d, void *ctx, const l2_row *row)
{
    l2_recovery *r = ctx;
    (void)d;
    l2_row_write(r->rows + (size_t)r->row_count++ * L2_ROW_BYTES, row);
    return 0;
}

/* Read the rows that a trailer names into r->rows. */
static int l2_rows_take(l2 *d, l2_recovery *r, const l2_trailer *t)
{
    l2_rows_walk w = { .made = 0 };
    int e = t->rows <= r->row_most ? 0 : EILSEQ;
    r->row_count = 0;
    for (uint32_t i = 0; i < l2_row_pages(t->rows) && e == 0; i++) {
        e = l2_rows_page(d, t, i, &w, l2_row_take, r);
    }
    L2_COUNT_BY(d, healed, w.made);
    return e;
}

typedef enum l2_ends { L2_ENDS_NOT, L2_ENDS_HERE, L2_ENDS_BEFORE } l2_ends;

/* Look at one segment: its rows are d->rows then, and r->off, r->number tell its end. BEFORE: it
 * has not begun. Synced records that a lost page took have rows, and are followed by others. */
static SYNC_UNCHECKED l2_ends l2_seg_look(l2 *d, l2_recovery *r, bool first)
{
    const uint64_t begin = r->seq * d->form.seg_bytes;
    l2_head h;
    l2_trailer t;
    r->told = false;
    const unsigned char *at = l2_seg_bytes(d, r, r->seq, d->form.seg_bytes - L2_TRAILER_BYTES,
                                           L2_TRAILER_BYTES);
    const bool trailer = l2_trailer_read(&d->form, at, &t) && t.seq == r->seq;
    const bool head = l2_seg_head(d, r, r->seq, &h);
    const bool sure = trailer && begin + t.data_end <= r->synced;
    const bool follows = head && (first || (h.run == r->number && h.before.seq + 1 == r->seq));
    uint64_t number = head ? h.run : first ? t.run : r->number;
    uint32_t rows = l2_walk(d, r, r->seq, &number, &r->off);
    /* Without its header a segment behind a full one begins with a record of the same run. */
    if (!follows && !sure && (head || first || rows == 0)) {
        r->off = 0;
        return L2_ENDS_BEFORE;
    }
    if (head) { d->last = h.before; }
    r->told = sure && r->off < t.data_end;
    if (r->told) {
        if (l2_rows_take(d, r, &t) != 0) { return L2_ENDS_BEFORE; }
        L2_COUNT(d, healed);
        rows = t.rows;
        r->off = t.data_end;
        number = t.run;
        r->met = r->met || number == d->super.run;
    }
    r->number = number;
    memcpy(d->rows, r->rows, (size_t)rows * L2_ROW_BYTES);
    d->row_count = rows;
    const bool full = trailer && t.full != 0 && t.run == number && t.rows == rows &&
                      t.data_end == r->off;
    if (full) {
        d->last = t;
        d->row_count = 0;
    }
    return full ? L2_ENDS_NOT : L2_ENDS_HERE;
}

/* Find where the log ends, from segment `from` on. Return false if it has no begin there, or ends
 * below what was synced, or written. In the same boot the run that SUPER names was written before
 * SUPER: without it data.seg is an older one. */
static bool l2_end_find(l2 *d, l2_recovery *r, uint64_t from, bool same_boot)
{
    l2_ends ends = L2_ENDS_NOT;
    for (r->seq = from; ends == L2_ENDS_NOT;) {
        ends = l2_seg_look(d, r, r->seq == from);
        if (ends == L2_ENDS_NOT) { r->seq++; }
    }
    const uint64_t end = r->seq * d->form.seg_bytes + r->off;
    const uint32_t kept = r->off % L2_PAGE; /* the log goes on in this page: no second read */
    memcpy(d->buf, l2_seg_bytes(d, r, r->seq, r->off - kept, kept), kept);
    return (ends == L2_ENDS_HERE || r->seq != from) && end >= r->synced &&
           !(same_boot && (!r->met || l2_lost_behind(d, r)));
}

BASE_SIZE_END

/* ---- rows ---- */

/* Add the live bytes that rows of one generation had. */
static void l2_live_flush(l2 *d, l2_recovery *r)
{
    l2_live_add(d, r->live_of, r->live);
    r->live = 0;
}

/* Store the word of a key that has none. Return false if there is no place for it. */
static SYNC_UNCHECKED bool l2_row_place(l2 *d, l2_recovery *r, const l2_row *row, uint64_t lsn)
{
    bool *spilled = &r->spilled[row->hash >> 56], room = l2_index_room(d, row->hash);
    const bool put = row->kind == L2_KIND_PUT;
    if (*spilled || !room) { /* what may move to the set */
        const uint32_t used = *spilled ? 0 : l2_shard_of(d, row->hash)->used;
        l2_tombs_reserve(d, &r->tombs, 1 + (uint64_t)used);
    }
    if (r->tombs.failed) { return false; }
    if (!put && (*spilled || !room)) {
        l2_tombs_add(&r->tombs, row->hash);
        return true;
    }
    if (!*spilled && !room) {
        l2_index_spill(d, row->hash, &r->tombs);
        *spilled = true;
        room = l2_index_room(d, row->hash);
    }
    if (!room) { return false; }
    l2_index_set(d, row->hash, lsn, put ? row->bytes : 0);
    r->marks = r->marks || !put;
    if (put && row->generation != r->live_of) {
        l2_live_flush(d, r);
        r->live_of = row->generation;
    }
    if (put) { r->live += l2_word_bytes(row->bytes); }
    return true;
}

static SYNC_UNCHECKED void l2_row_apply(l2 *d, l2_recovery *r, const l2_row *row, uint64_t lsn)
{
    if (row->kind == L2_ROW_FLOOR) { r->floor = BASE_MAX(r->floor, row->hash); }
    if (row->kind == L2_ROW_RUN) {
        l2_list_add(d, r, &r->runs, row->hash);
        l2_list_add(d, r, &r->runs, lsn + row->bytes);
    }
    if (lsn < r->floor) { return; }
    if (row->kind == L2_KIND_CONTROL) { l2_list_add(d, r, &r->controls, lsn); }
    if (row->kind > L2_KIND_TOMB) { return; }
    const bool named = row->generation != 0; /* parts and images have none */
    if (named && (!r->any || (int32_t)(row->generation - r->generation) > 0)) {
        r->generation = row->generation;
    }
    r->any = r->any || named;
    const bool first = l2_index_find(d, row->hash).lsn == 0 && !l2_tombs_has(&r->tombs, row->hash);
    if (first && !l2_row_place(d, r, row, lsn)) {
        (void)base_add_rlx(&d->index.full, (uint64_t)1);
        d->unplaced = BASE_MAX(d->unplaced, lsn + 1);
    }
}

static void l2_rows_apply(l2 *d, l2_recovery *r, const unsigned char *rows, uint32_t n,
                          uint64_t begin)
{
    while (n-- > 0) {
        l2_row row;
        if (n >= L2_ROWS_AHEAD) {
            l2_index_ahead(d, l2_r64(rows + (size_t)(n - L2_ROWS_AHEAD) * L2_ROW_BYTES));
        }
        l2_row_read(rows + (size_t)n * L2_ROW_BYTES, &row);
        l2_row_apply(d, r, &row, begin + row.off);
    }
    l2_live_flush(d, r);
}

/* Read the rows of a full segment into r->rows. Return false if it is a hole. */
static SYNC_UNCHECKED bool l2_rows_read(l2 *d, l2_recovery *r, uint64_t seq, l2_trailer *t)
{
    if (r->off == 0 && seq + 1 == r->seq) {
        *t = d->last; /* the place of the next header may have one of a dead end */
    } else if (!l2_trailer_find(d, seq, t)) {
        return false;
    }
    return l2_rows_take(d, r, t) == 0;
}

/* Return the oldest segment that can have a place while the log ends in segment `seq`. */
static uint64_t l2_seq_least(const l2 *d, uint64_t seq)
{
    const uint64_t seg = d->form.seg_bytes;
    const l2_ring *r = l2_ring_at(d, seq * seg), *older = r == d->ring ? &d->ring[1] : d->ring;
    const uint64_t n = base_load_acq(&r->size) / seg, first = base_load_acq(&r->first) / seg;
    uint64_t least = seq >= n ? seq - n + 1 : 1;
    if (first != 0 && least <= first && base_load_acq(&older->file) != NULL) {
        const uint64_t was = base_load_acq(&older->size) / seg;
        least = first > was ? first - was : 1;
    }
    return least;
}

/* Apply the rows of all segments below the end. Return the oldest segment that counts. */
static SYNC_UNCHECKED uint64_t l2_rows_all(l2 *d, l2_recovery *r)
{
    const uint64_t seg = d->form.seg_bytes;
    const uint64_t least = l2_seq_least(d, r->seq);
    uint64_t seq = r->seq;
    l2_rows_apply(d, r, d->rows, d->row_count, seq * seg);
    for (; seq > least && seq * seg > r->floor; seq--) {
        l2_trailer t;
        if (!l2_rows_read(d, r, seq - 1, &t)) { break; }
        l2_rows_apply(d, r, r->rows, t.rows, (seq - 1) * seg);
    }
    if (seq > least && seq * seg > r->floor) {
        L2_COUNT(d, holes);
        l2_lost(d, L2_LOST_damage, (seq - least) * seg);
        l2_floor_to(d, seq * seg);
        r->floor = seq * seg;
        r->hole = true;
    }
    return BASE_MAX(seq, l2_seq_of(d, r->floor));
}

BASE_SIZE_BEGIN

/* ---- runs and controls ---- */

/* Make d->run: the run of the oldest record, then those that the rows name. */
static bool l2_runs_make(l2 *d, l2_recovery *r, uint64_t oldest)
{
    unsigned char at[L2_HEAD_BYTES];
    l2_head h = { .run = r->number };
    const uint32_t n = r->runs.count / 2;
    d->run_cap = n + 2;
    d->run = base_alloc(d->cfg.account, BASE_MOD_L2, d->run_cap * sizeof *d->run, NULL);
    if (d->run == NULL) { return false; }
    if (l2_log_read(d, at, sizeof at, oldest * d->form.seg_bytes) != 0 ||
        !l2_head_read(&d->form, at, &h) || h.seq != oldest) {
        /* Without a RUN in this segment its trailer names the run. */
        const bool one = n == 0 || r->runs.at[2 * n - 1] >= (oldest + 1) * d->form.seg_bytes;
        l2_trailer t;
        h.run = one && l2_trailer_find(d, oldest, &t) ? t.run : r->number;
    }
    d->run[d->run_count++] = (l2_run){ oldest * d->form.seg_bytes, h.run };
    for (uint32_t i = n; i-- > 0;) {
        d->run[d->run_count++] = (l2_run){ r->runs.at[2 * i + 1], r->runs.at[2 * i] };
    }
    return true;
}

static bool l2_control_apply(l2 *d, const unsigned char *value, uint32_t bytes, uint64_t lsn)
{
    if (bytes < 16 || value[0] != L2_CTL_NAMESPACE) {
        return l2_invalidation_control(d, value, bytes, lsn);
    }
    const uint32_t len = value[1];
    if (len > L2_NAME_MAX || 16 + len > bytes) { return true; }
    const l2_namespace v = { .id = l2_r32(value + 4), .version = l2_r32(value + 12),
                             .generation = (uint64_t)value[3] << 32 | l2_r32(value + 8) };
    const bool named = value[2] != 0;
    if (!l2_namespace_apply(d, &v, named ? (const char *)value + 16 : NULL, named ? len : 0,
                            NULL)) {
        return false;
    }
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        if (named && l2_namespace_same(&d->namespace[i].v, &v)) { d->namespace[i].lsn = lsn; }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
    return true;
}

/* Apply the control at `lsn`; *pattern: leave it if it is one, and say so. One that cannot be read
 * is a hole: it may have ended what is older. */
static bool l2_control_at(l2 *d, l2_recovery *r, uint64_t lsn, bool *pattern)
{
    unsigned char at[L2_RECORD_HEAD + L2_CTL_BYTES_MAX + 8] BASE_ALIGNED(8);
    l2_rec rec;
    if (l2_record_read(d, lsn, at, sizeof at, &rec) != 0) {
        L2_COUNT(d, holes);
        l2_lost(d, L2_LOST_damage, lsn - base_load_acq(&d->head));
        r->floor = BASE_MAX(r->floor, lsn);
        r->hole = true;
        *pattern = false;
        return true;
    }
    *pattern = *pattern && at[L2_RECORD_HEAD] == L2_CTL_GLOB;
    return *pattern || l2_control_apply(d, at + L2_RECORD_HEAD, rec.vlen, lsn);
}

/* Apply the controls, oldest first, and then the patterns of generations that did not end. */
static bool l2_controls_apply(l2 *d, l2_recovery *r)
{
    l2_list *c = &r->controls;
    uint32_t patterns = c->count; /* these and what follows are left */
    for (uint32_t i = c->count; i-- > 0;) {
        const uint64_t lsn = c->at[i];
        bool pattern = true;
        if (!l2_control_at(d, r, lsn, &pattern)) { return false; }
        if (pattern) { c->at[--patterns] = lsn; }
    }
    for (uint32_t i = c->count; i-- > patterns;) {
        bool pattern = false;
        if (!l2_control_at(d, r, c->at[i], &pattern)) { return false; }
    }
    return true;
}

/* Ensure that no namespace gets a generation that a record has. */
static void l2_generation_seen(l2 *d, const l2_recovery *r)
{
    sync_take(L2_DEV, &d->namespace_lock);
    const uint32_t past = r->generation - (uint32_t)d->next_generation;
    if (r->any && (int32_t)past >= 0) { d->next_generation += (uint64_t)past + 1; }
    sync_drop(L2_DEV, &d->namespace_lock);
}

/* ---- this run ---- */

/* Append a control of the open, and write it. */
static int l2_open_control(l2 *d, uint32_t kind, uint8_t type, uint64_t word, uint64_t *end)
{
    unsigned char value[16] = { type };
    uint64_t lsn = 0;
    l2_took took;
    l2_w64(value + 8, word);
    do {
        took = l2_control_try(d, L2_USE_LAST, kind, word, value, sizeof value, &lsn, end);
    } while (took != L2_TOOK && l2_make_way(d, took, L2_NO_LIMIT_NS) == L2_TOOK);
    return took == L2_TOOK ? l2_flush(d, *end, L2_NO_LIMIT_NS) : ENOSPC;
}

/* End what is older than a hole, also for a later open that can read it. */
static int l2_hole_end(l2 *d, const l2_recovery *r)
{
    uint64_t end = 0;
    l2_index_cut(d, r->floor);
    const int e = l2_floor_put(d, r->floor, &end);
    if (e == 0) { base_store_rel(&d->header_floor, r->floor); }
    return e;
}

/* Begin an empty log, behind all numbers that were used. */
static int l2_begin_empty(l2 *d, const l2_recovery *r, uint64_t number)
{
    const uint64_t split = l2_seq_of(d, base_load_acq(&l2_ring_now(d)->first));
    const uint64_t seq = BASE_MAX(BASE_MAX(r->newest, d->super.born) + 1, split);
    const uint64_t begin = seq * d->form.seg_bytes;
    uint64_t end = 0;
    base_store_rel(&d->head, begin);
    d->form.epoch = number;
    base_free(d->cfg.account, BASE_MOD_L2, d->run, d->run_cap * sizeof *d->run);
    d->run_cap = 1;
    d->run = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *d->run, NULL);
    if (d->run == NULL) { return ENOMEM; }
    d->run[0] = (l2_run){ begin, number };
    d->run_count = 1;
    base_store_rel(&d->synced, begin);
    l2_log_begin(d, seq, 0);
    l2_floor_to(d, begin);
    base_store_rel(&d->header_floor, begin);
    return l2_open_control(d, L2_ROW_FLOOR, L2_CTL_FLOOR, begin, &end);
}

/* Let the log go on behind its last record: in the open segment, or in the next one if records of
 * that are lost. A later open walks no further than to those. */
static int l2_begin_behind(l2 *d, const l2_recovery *r)
{
    uint64_t begin;
    l2_log_begin(d, r->seq, r->off);
    const bool next = r->told && l2_segs_free(d, base_load_acq(&d->tail)) != 0;
    return next ? l2_next_synced(d, &begin) : 0;
}

/* Continue the log that was found. */
static SYNC_UNCHECKED int l2_begin_found(l2 *d, l2_recovery *r, bool same_boot, uint64_t number)
{
    uint64_t end = 0;
    const uint64_t least = l2_seq_least(d, r->seq);
    base_store_rel(&d->head, least * d->form.seg_bytes);
    base_store_rel(&d->tail, r->seq * d->form.seg_bytes + r->off);
    const uint64_t oldest = l2_rows_all(d, r);
    base_store_rel(&d->head, oldest * d->form.seg_bytes);
    if (r->marks) { l2_index_sweep(d, true); }
    l2_floor_to(d, r->floor);
    if (!r->hole) { base_store_rel(&d->header_floor, r->floor); }
    if (r->short_memory || !l2_runs_make(d, r, BASE_MIN(oldest, r->seq))) { return ENOMEM; }
    d->form.epoch = r->number;
    const uint64_t tail = r->seq * d->form.seg_bytes + r->off;
    base_store_rel(&d->synced, same_boot ? BASE_MIN(r->synced, tail) : tail);
    int e = l2_begin_behind(d, r);
    if (e != 0) { return e; }
    if (!l2_controls_apply(d, r)) { return ENOMEM; }
    if (d->invalidations.floor > r->floor) { /* a pattern for which there was no room */
        r->floor = d->invalidations.floor;
        r->hole = true;
        l2_floor_to(d, r->floor);
    }
    l2_live_check(d);
    l2_generation_seen(d, r);
    if (d->unplaced != 0) {
        l2_lost_entries(d, L2_LOST_index, base_load_rlx(&d->index.full), 0);
    }
    if (r->hole) { e = l2_hole_end(d, r); }
    if (e == 0) { e = l2_open_control(d, L2_ROW_RUN, L2_CTL_RUN, number, &end); }
    if (e != 0) { return e; }
    d->form.epoch = number;
    d->run[d->run_count++] = (l2_run){ end, number };
    return 0;
}

CELLAR_PRIVATE int l2_recover(l2 *d, bool alive, bool same_boot)
{
    l2_recovery r = { .row_most = d->form.seg_bytes / L2_PAGE * L2_ROWS_A_PAGE };
    base_account *a = d->cfg.account;
    const size_t rows = (size_t)r.row_most * L2_ROW_BYTES;
    uint64_t top = 0, number = 0;
    int e = ENOMEM;
    r.rows = base_alloc(a, BASE_MOD_L2, rows, NULL);
    if (r.rows != NULL && base_random_bytes(&number, sizeof number)) {
        l2_heads_read(d, &r, &top);
        const bool used = r.newest != 0;
        const uint64_t from = same_boot ? top : BASE_MIN(l2_seq_of(d, r.synced), top);
        const bool found = alive && used && l2_end_find(d, &r, from, same_boot);
        e = found ? l2_begin_found(d, &r, same_boot, number) : l2_begin_empty(d, &r, number);
        d->opened = found ? d->opened : used ? L2_OPENED_RESET : L2_OPENED_EMPTY;
        if (!found && used) { l2_lost(d, L2_LOST_open, l2_size(d)); }
    }
    l2_list_free(d, &r.controls);
    l2_list_free(d, &r.runs);
    l2_tombs_free(d, &r.tombs);
    base_free(a, BASE_MOD_L2, r.rows, rows);
    d->super.run = number;
    d->super.born = l2_seq_of(d, base_load_acq(&d->tail));
    d->super.synced = base_load_acq(&d->synced);
    return e;
}

BASE_SIZE_END
