/* SPDX-License-Identifier: MIT
 *
 * log: append records to the buffer, and write the buffer to data.seg.
 *
 * PICTURE    buffer  |written|taken by the writer|whole records .. tail|free|
 *                    base                                            base + buf_bytes
 *            full segment: buffer written -> rows and trailer written -> header of the next
 *            one is the first of an empty buffer. The thread hands the full segment to the device.
 * PROTOCOL   append: L2_LOG {room? terms? copy, row, tail}
 *            write: `writing` {L2_LOG {claimed = tail; last page copied} -> pwrite -> L2_LOG
 *            {written = claimed, buffer moved to its begin}}
 *            The first write into a page fills it, with zeros behind the last record: else the
 *            kernel would read it first. A short one fills 16 KiB: the kernel takes and frees such
 *            pages as one. Not at ALWAYS: each sync would write them. Later ones write the new
 *            records alone.
 * INVARIANTS written <= claimed <= tail. A record below `claimed` counts as one that a kill keeps.
 *            One thread writes, in the order of the log: after a kill the file has a prefix of it.
 *            A segment begins only while its place is free: seq + 1 < head's + places; not so after
 *            lost bytes (resync.c). Most of the last free place, and `spare` others, are for FLOORs
 *            and the controls that FLOORs append again: else no other place becomes free.
 *            A write of over 100 ms makes the thread of the store the only writer, until 100 writes
 *            in a row were quick: callers wait for it, each with its limit. If it syncs or passes
 *            meanwhile, a caller that has waited for 100 ms writes.
 * LOCKING    L2_LOG for the buffer; `writing` for the file. No lock is held during a write.
 * LIMITS     A record has room_max bytes at most: half a segment, less than half the buffer. */
#include "l2/log.h"

#include "l2/io.h"
#include "l2/progress.h"
#include "l2/segment.h"
#include "l2/super.h"

#define L2_FLUSH_LOOK_NS UINT64_C(2000000)
#define L2_AWAKE 4 /* times sync_spins: pauses of a waiter before it sleeps */
#define L2_HANDED_BYTES ((uint64_t)256 << 10) /* to the device at once */
#define L2_BEHIND_MOST 16u /* full segments that wait for the thread to hand them over */
#define L2_AHEAD_MOST 128u /* segments that are free ahead of puts */

/* ---- append ---- */

/* Return true if one more record fits into the open segment, with its row. */
static SYNC_HOLDS(L2_LOG) bool l2_seg_fits(const l2 *d, uint64_t tail, uint32_t bytes)
{
    const uint64_t off = tail % d->form.seg_bytes;
    return d->row_count < d->row_cap &&
           off + bytes + (uint64_t)l2_row_pages(d->row_count + 1) * L2_PAGE <= d->form.seg_bytes;
}

CELLAR_PRIVATE uint64_t l2_segs_free(const l2 *d, uint64_t tail)
{
    const uint64_t next = l2_seq_of(d, tail) + 1;
    const l2_ring *r = l2_ring_at(d, next * d->form.seg_bytes);
    const uint64_t head = BASE_MAX(base_load_acq(&d->head), base_load_acq(&r->first));
    const uint64_t end = l2_seq_of(d, head) + l2_seq_of(d, base_load_acq(&r->size));
    return end > next ? end - next : 0;
}

/* Return how many segments puts leave free. */
static uint64_t l2_put_leaves(const l2 *d)
{
    const uint64_t part = l2_seq_of(d, l2_size(d)) / 16;
    return base_clamp(part, L2_PUT_LEAVES, L2_PUT_LEAVES + 1) + base_load_rlx(&d->spare);
}

/* Return true if a pass would be the first write since a state that a power cut leaves. Such a
 * state stays until a caller changes it, or finds no room to do so. */
static bool l2_is_settled(const l2 *d)
{
    return base_load_rlx(&d->settled) != 0 && base_load_rlx(&d->pressed) == 0 &&
           base_load_acq(&d->tail) == base_load_acq(&d->written);
}

CELLAR_PRIVATE bool l2_pass_due(const l2 *d)
{
    const uint64_t ahead = base_clamp(l2_seq_of(d, l2_size(d)) / 8, 1, L2_AHEAD_MOST);
    return l2_changes(d) ||
           (l2_segs_free(d, base_load_acq(&d->tail)) <= l2_put_leaves(d) + ahead &&
            !l2_is_settled(d));
}

/* Return how many segments a use leaves free. While the size changes puts leave half of the new
 * file to the live records of the old one. */
static uint64_t l2_use_leaves(const l2 *d, l2_use use)
{
    const uint64_t half = l2_changes(d) ? l2_seq_of(d, l2_size(d)) / 2 : 0;
    const uint64_t names = base_load_rlx(&d->spare);
    switch (use) {
    case L2_USE_PUT: return l2_put_leaves(d) + half;
    case L2_USE_KEEP: return L2_KEEP_LEAVES + names;
    case L2_USE_COPY: return names;
    case L2_USE_LAST: break;
    }
    return 0;
}

static SYNC_HOLDS(L2_LOG) void l2_append_here(l2 *d, const l2_record *r, uint64_t tail,
                                              uint32_t bytes)
{
    const uint32_t off = (uint32_t)(tail % d->form.seg_bytes);
    const uint64_t seq = l2_seq_of(d, tail);
    unsigned char *at = d->buf + (tail - d->base), *to = at + L2_RECORD_HEAD;
    l2_rec_begin(at, &r->rec);
    if (r->rec.ext != 0) { memcpy(to, r->ext, (size_t)r->rec.ext * 8); }
    to += (size_t)r->rec.ext * 8;
    if (r->rec.klen != 0) { memcpy(to, r->key, r->rec.klen); }
    to += r->rec.klen;
    if (r->rec.vlen != 0) { memcpy(to, r->value, r->rec.vlen); }
    memset(to + r->rec.vlen, 0, bytes - r->rec.bytes);
    l2_rec_end(&d->form, at, seq, off);
    const l2_row row = { r->hash, r->rec.generation, off, bytes, r->kind };
    l2_row_write(d->rows + (size_t)d->row_count++ * L2_ROW_BYTES, &row);
    if (base_load_rlx(&d->dirty_ns) == 0) { base_store_sc(&d->dirty_ns, base_now_ns()); }
    base_store_rel(&d->tail, tail + bytes);
}

CELLAR_PRIVATE l2_took l2_append(l2 *d, l2_use use, const l2_record *r, const l2_terms *terms,
                                 uint64_t *lsn)
{
    const uint32_t bytes = l2_rec_room(&d->form, (size_t)r->rec.ext * 8, r->rec.klen, r->rec.vlen);
    l2_took took = L2_TOOK;
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t tail = base_load_rlx(&d->tail);
    const uint64_t empty = l2_segs_free(d, tail), leaves = l2_use_leaves(d, use);
    const bool rest = (use == L2_USE_KEEP || use == L2_USE_COPY) && empty == leaves &&
                      (tail % d->form.seg_bytes + bytes > d->form.seg_bytes / L2_KEEP_PART ||
                       d->row_count >= d->row_cap / L2_KEEP_PART);
    if (use == L2_USE_PUT && l2_is_closed(d)) {
        took = L2_IS_CLOSED;
    } else if (terms != NULL && terms->invalidations != base_load_sc(&d->invalidations.count)) {
        took = L2_IS_INVALID;
    } else if (terms != NULL && (!l2_is_current(terms) || (terms->lsn != 0 &&
                                                           terms->lsn < l2_floor(d)))) {
        took = L2_IS_OLD;
    } else if (empty < leaves || rest) {
        took = L2_NO_ROOM; /* another use began the open segment */
    } else if (!l2_seg_fits(d, tail, bytes)) {
        took = empty > leaves ? L2_SEG_FULL : L2_NO_ROOM;
    } else if (tail + bytes - d->base > d->buf_bytes) {
        took = L2_BUF_FULL;
    } else {
        l2_append_here(d, r, tail, bytes);
        const bool again = use == L2_USE_LAST || use == L2_USE_COPY;
        if (!again) { base_store_rlx(&d->asked, base_load_rlx(&d->asked) + bytes); }
        *lsn = tail;
    }
    sync_drop(L2_LOG, &d->log_lock);
    if (took == L2_NO_ROOM && base_load_rlx(&d->settled) != 0) { /* see l2_is_settled */
        base_store_rlx(&d->pressed, 1u);
        l2_worker_wake(d);
    }
    return took;
}

CELLAR_PRIVATE bool l2_buffered(l2 *d, void *to, size_t n, uint64_t lsn)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t tail = base_load_rlx(&d->tail);
    const bool here = lsn >= d->base && lsn < tail;
    if (here) { memcpy(to, d->buf + (lsn - d->base), BASE_MIN(n, (size_t)(tail - lsn))); }
    sync_drop(L2_LOG, &d->log_lock);
    return here;
}

/* ---- write ---- */

CELLAR_PRIVATE int l2_out(l2 *d, const unsigned char *from, uint64_t n, uint64_t lsn)
{
    const l2_ring *r = l2_ring_at(d, lsn); /* `writing` keeps it */
    base_vfs_file *f = base_load_acq(&r->file);
    return n != 0 ? l2_write(d, f, from, (size_t)n, lsn % base_load_acq(&r->size)) : 0;
}

/* Note that records wait, after a write that failed: the worker tries again. */
static void l2_still_dirty(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    if (base_load_rlx(&d->dirty_ns) == 0) { base_store_sc(&d->dirty_ns, base_now_ns()); }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Return the lsn up to which a write that ends at `end` fills the file with zeros: rows of the
 * segment may follow. */
static SYNC_HOLDS(L2_LOG) uint64_t l2_fill_end(const l2 *d, uint64_t end)
{
    const uint64_t rows = l2_rows_at(&d->form, l2_row_pages(d->row_count) - 1);
    const size_t block = d->cfg.level == L2_ALWAYS ? L2_PAGE : L2_FILL;
    return BASE_MIN(base_round_up(end, block), end - end % d->form.seg_bytes + rows);
}

/* Write the buffer up to its last whole record. The caller holds `writing`. */
static int l2_write_buf(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t written = base_load_rlx(&d->written), end = base_load_rlx(&d->tail);
    const uint64_t last = end & ~(uint64_t)(L2_PAGE - 1);
    const uint64_t from = written < d->filled ? written : written & ~(uint64_t)(L2_PAGE - 1);
    const unsigned char *at = d->buf + (from - d->base);
    /* Other threads store behind `end` meanwhile: a page that is written whole is a copy. */
    const bool within = end <= d->filled, many = end - from > L2_FILL / 2;
    const uint64_t straight = within ? end - from : many ? last - from : 0;
    const uint64_t fill = within ? end : many ? base_round_up(end, L2_PAGE) : l2_fill_end(d, end);
    const uint64_t copied = fill - from - straight;
    unsigned char *copy = d->page + (from + straight) % L2_PAGE; /* the kernel copies quicker so */
    if (copied != 0) {
        memcpy(copy, at + straight, (size_t)(end - from - straight));
        memset(copy + (end - from - straight), 0, (size_t)(fill - end));
    }
    base_store_rel(&d->claimed, end);
    base_store_rlx(&d->dirty_ns, (uint64_t)0);
    sync_drop(L2_LOG, &d->log_lock);
    BASE_POINT("l2.claimed");
    int e = base_load_rlx(&d->settled) != 0 ? l2_unsettle(d) : 0;
    if (e == 0) { e = l2_out(d, at, straight, from); }
    if (e == 0) { e = l2_out(d, copy, copied, from + straight); }
    if (!within || e != 0) { d->filled = e == 0 ? fill : 0; }
    if (e != 0) {
        l2_still_dirty(d);
        return e;
    }
    BASE_POINT("l2.written");
    sync_take(L2_LOG, &d->log_lock);
    base_store_rel(&d->written, end);
    const uint64_t tail = base_load_rlx(&d->tail), kept = end & ~(uint64_t)(L2_PAGE - 1);
    if (tail - d->base > d->buf_bytes / 2) {
        memmove(d->buf, d->buf + (kept - d->base), (size_t)(tail - kept));
        d->base = kept;
    }
    sync_drop(L2_LOG, &d->log_lock);
    return 0;
}

/* Return true if the caller may write, and wait for the disk as long as that takes. */
static bool l2_may_write(const l2 *d)
{
    return base_load_rlx(&d->slow) == 0 || !d->threaded || base_load_acq(&d->stop) != 0 ||
           base_load_rlx(&d->writer) == base_thread_self();
}

CELLAR_PRIVATE uint64_t l2_put_wait(const l2 *d) { return l2_may_write(d) ? L2_STALLED_NS : 0; }

CELLAR_PRIVATE void l2_writing_drop(l2 *d)
{
    sync_role_drop(&d->writing);
    (void)base_add_sc(&d->flushed, 1u); /* seq_cst, as in l2_flush_wait: one sees the other */
    if (base_load_sc(&d->flush_waits) != 0) { sync_wake(&d->flushed, INT32_MAX); }
}

static void l2_flush_wait(l2 *d, uint32_t seen, uint64_t upto, uint64_t until_ns)
{
    for (int i = sync_spins() * L2_AWAKE; i > 0; i--) { /* most writes take 2 us */
        base_pause();
        if (base_load_acq(&d->flushed) != seen) { return; }
    }
    (void)base_add_sc(&d->flush_waits, 1u);
    if (base_load_sc(&d->flushed) == seen && base_load_acq(&d->written) < upto) {
        (void)sync_wait(&d->flushed, seen, until_ns);
    }
    (void)base_sub_ar(&d->flush_waits, 1u);
}

CELLAR_PRIVATE int l2_flush(l2 *d, uint64_t upto, uint64_t wait_ns)
{
    uint64_t since_ns = 0; /* 0: no wait yet */
    upto = BASE_MIN(upto, base_load_acq(&d->tail)); /* another thread may have written all */
    while (base_load_acq(&d->written) < upto) {
        const uint32_t seen = base_load_acq(&d->flushed);
        uint64_t now = since_ns != 0 ? base_now_ns() : 0;
        const bool late = since_ns != 0 && now - since_ns >= L2_STALLED_NS;
        const bool may = wait_ns == L2_NO_LIMIT_NS || l2_may_write(d) || late;
        if (may && sync_role_try(&d->writing)) {
            const int e = base_load_acq(&d->written) < upto ? l2_write_buf(d) : 0;
            l2_writing_drop(d);
            if (e != 0) { return e; }
            continue;
        }
        if (!may && since_ns == 0) { l2_worker_wake(d); }
        if (since_ns == 0) { since_ns = now = base_now_ns(); }
        if (now - since_ns >= wait_ns) { return ETIMEDOUT; }
        l2_flush_wait(d, seen, upto, now + L2_FLUSH_LOOK_NS);
    }
    return 0;
}

/* Write rows and trailer of the open segment. No thread appends: it is full for all. Without rows
 * it has a trailer, too: a walk of an open ends at a segment without one. */
static int l2_write_rows(l2 *d, const l2_trailer *t)
{
    const uint64_t begin = t->seq * d->form.seg_bytes;
    int e = 0;
    for (uint32_t i = BASE_MAX(l2_row_pages(t->rows), 1u); i-- > 0 && e == 0;) { /* 0 comes last */
        const uint32_t first = i * L2_ROWS_PAGE, n = BASE_MIN(t->rows - first, L2_ROWS_PAGE);
        memset(d->page, 0, L2_PAGE);
        memcpy(d->page + L2_ROW_FIRST, d->rows + (size_t)first * L2_ROW_BYTES,
               (size_t)n * L2_ROW_BYTES);
        l2_rows_close(&d->form, d->page, t, i);
        if (i == 0) { l2_trailer_write(&d->form, d->page + L2_PAGE - L2_TRAILER_BYTES, t); }
        e = l2_out(d, d->page, L2_PAGE, begin + l2_rows_at(&d->form, i));
    }
    return e;
}

/* Write zeros into the place of segment `seq` if it has none yet: then a sync of records changes no
 * metadata. In single pages: one dirty page of a larger folio counts as all of it. */
static void l2_place_zero(l2 *d, uint64_t seq)
{
    const uint64_t begin = seq * d->form.seg_bytes;
    const l2_ring *r = l2_ring_at(d, begin);
    const bool used = begin - base_load_acq(&r->first) >= base_load_acq(&r->size);
    const uint32_t end = d->form.seg_bytes - d->form.seg_bytes / 64; /* rows fill their pages */
    int e = used ? EEXIST : 0;
    memset(d->page, 0, L2_PAGE);
    for (uint32_t off = 0; off < end && e == 0; off += L2_PAGE) {
        e = l2_out(d, d->page, L2_PAGE, begin + off);
    }
}

/* Begin segment `seq`. It has no record yet. synced: lsn for its header. */
static SYNC_HOLDS(L2_LOG) void l2_seg_begin(l2 *d, uint64_t seq, uint64_t synced)
{
    const l2_head h = { seq, d->form.epoch, synced, d->last };
    const uint64_t begin = seq * d->form.seg_bytes;
    l2_head_write(&d->form, d->buf, &h);
    d->row_count = 0;
    d->base = begin;
    base_store_rel(&d->claimed, begin);
    base_store_rel(&d->written, begin);
    base_store_rel(&d->tail, begin + L2_HEAD_BYTES);
    base_store_rel(&d->sealed_seq, seq);
}

CELLAR_PRIVATE void l2_hand_over(l2 *d, uint64_t seq, _Atomic uint64_t *since_ns)
{
    const uint64_t begin = seq * d->form.seg_bytes;
    const l2_ring *r = l2_ring_at(d, begin);
    base_vfs_file *f = base_load_acq(&r->file);
    if (d->vfs->writeback == NULL || f == NULL) { return; }
    const uint64_t at = begin % base_load_acq(&r->size);
    for (uint64_t n = 0, piece; n < d->form.seg_bytes; n += piece) {
        piece = BASE_MIN(d->form.seg_bytes - n, L2_HANDED_BYTES);
        if (since_ns != NULL) { base_store_rlx(since_ns, base_now_ns()); }
        d->vfs->writeback(d->vfs->ctx, f, at + n, piece);
    }
}

/* Return how many full segments below `seq` the thread has not handed over. */
static uint64_t l2_behind(const l2 *d, uint64_t seq)
{
    return seq - BASE_MIN(base_load_rlx(&d->flushed_seq), seq);
}

/* Finish a segment as l2_seal. over: if no place is free, the next segment takes the oldest one. */
static int l2_seal_over(l2 *d, uint64_t seq, uint64_t synced, bool over)
{
    l2_trailer t = { .seq = seq, .run = d->form.epoch, .full = 1 };
    if (l2_seq_of(d, base_load_acq(&d->tail)) != seq) { return 0; }
    if (base_load_acq(&d->doubt) != 0) { return EIO; } /* the file of the next one is not known */
    /* The append that found this segment full may have seen an older head. */
    if (!over && l2_segs_free(d, base_load_acq(&d->tail)) == 0) { return ENOSPC; }
    sync_take(L2_LOG, &d->log_lock);
    d->row_cap = 0; /* the segment is full for every record */
    t.rows = d->row_count;
    t.data_end = (uint32_t)(base_load_rlx(&d->tail) % d->form.seg_bytes);
    sync_drop(L2_LOG, &d->log_lock);
    int e = base_load_acq(&d->written) < base_load_acq(&d->tail) ? l2_write_buf(d) : 0;
    if (e == 0) { e = l2_write_rows(d, &t); }
    if (e == 0 && d->cfg.level != L2_DROP && l2_behind(d, seq) >= L2_BEHIND_MOST) {
        l2_hand_over(d, seq, &d->write_ns); /* a disk that is slower than puts slows them here */
        base_store_rlx(&d->write_ns, (uint64_t)0);
    }
    if (e == 0 && d->cfg.level == L2_ALWAYS) { l2_place_zero(d, seq + 1); }
    BASE_POINT("l2.sealed");
    sync_take(L2_LOG, &d->log_lock);
    d->row_cap = d->form.seg_bytes / L2_PAGE * L2_ROWS_A_PAGE;
    if (e == 0) {
        d->last = t;
        l2_seg_begin(d, seq + 1, synced);
    }
    sync_drop(L2_LOG, &d->log_lock);
    if (e == 0) {
        L2_COUNT(d, sealed);
        L2_COUNT_BY(d, sealed_bytes, d->form.seg_bytes);
    }
    return e;
}

CELLAR_PRIVATE int l2_seal(l2 *d, uint64_t seq, uint64_t synced)
{
    return l2_seal_over(d, seq, synced, false);
}

CELLAR_PRIVATE int l2_rows_now(l2 *d)
{
    l2_trailer t = { .run = d->form.epoch };
    int e = l2_flush(d, base_load_acq(&d->tail), L2_NO_LIMIT_NS);
    sync_role_take(&d->writing);
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t tail = base_load_rlx(&d->tail);
    t.seq = l2_seq_of(d, tail);
    t.data_end = (uint32_t)(tail % d->form.seg_bytes);
    t.rows = d->row_count;
    sync_drop(L2_LOG, &d->log_lock);
    if (e == 0) { e = l2_write_rows(d, &t); }
    l2_writing_drop(d);
    return e;
}

/* Return true if `seq` is the open segment, and has no room for the longest record. */
static bool l2_seg_is_full(l2 *d, uint64_t seq)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t tail = base_load_rlx(&d->tail);
    const bool full = l2_seq_of(d, tail) == seq && !l2_seg_fits(d, tail, d->room_max);
    sync_drop(L2_LOG, &d->log_lock);
    return full;
}

/* Begin the segment behind `seq`, or wait for the thread that does, wait_ns at most. */
static int l2_next(l2 *d, uint64_t seq, uint64_t wait_ns)
{
    const uint64_t since_ns = base_now_ns();
    int e = 0;
    while (e == 0 && l2_seg_is_full(d, seq)) { /* another thread may have begun the next one */
        const uint32_t seen = base_load_acq(&d->flushed);
        const uint64_t past_ns = base_now_ns() - since_ns;
        const bool may = l2_may_write(d) || past_ns >= L2_STALLED_NS;
        if (may && sync_role_try(&d->writing)) {
            e = l2_seal(d, seq, base_load_acq(&d->synced));
            l2_writing_drop(d);
            continue;
        }
        base_store_rel(&d->full_seq, seq + 1);
        if (!may) { l2_worker_wake(d); }
        if (past_ns >= wait_ns) { return ETIMEDOUT; }
        l2_flush_wait(d, seen, UINT64_MAX, base_now_ns() + L2_FLUSH_LOOK_NS);
    }
    if (l2_pass_due(d) || l2_behind(d, seq) >= L2_BEHIND_MOST / 4) { l2_worker_wake(d); }
    return e;
}

CELLAR_PRIVATE l2_took l2_make_way(l2 *d, l2_took took, uint64_t wait_ns)
{
    const uint64_t written = base_load_acq(&d->written);
    int e = EAGAIN;
    if (took == L2_SEG_FULL) { e = l2_next(d, l2_seq_of(d, base_load_acq(&d->tail)), wait_ns); }
    if (took == L2_BUF_FULL) { e = l2_flush(d, written + 1, wait_ns); }
    return e == 0 ? L2_TOOK : took == L2_SEG_FULL || took == L2_BUF_FULL ? L2_NO_ROOM : took;
}

CELLAR_PRIVATE void l2_slow_writes(l2 *d)
{
    const uint64_t seq = l2_seq_of(d, base_load_acq(&d->tail));
    if (base_load_rlx(&d->slow) == 0) { return; }
    if (base_load_acq(&d->full_seq) == seq + 1) { (void)l2_next(d, seq, 0); }
    (void)l2_flush(d, base_load_acq(&d->tail), 0);
}

CELLAR_PRIVATE int l2_next_synced(l2 *d, uint64_t *begin)
{
    sync_role_take(&d->writing);
    const uint64_t seq = l2_seq_of(d, base_load_acq(&d->tail));
    const uint64_t next = (seq + 1) * d->form.seg_bytes;
    const int e = l2_seal_over(d, seq, next, !l2_changes(d));
    l2_writing_drop(d);
    if (e == 0) { *begin = next; }
    return e;
}

CELLAR_PRIVATE SYNC_UNCHECKED void l2_log_begin(l2 *d, uint64_t seq, uint32_t off)
{
    d->row_cap = d->form.seg_bytes / L2_PAGE * L2_ROWS_A_PAGE;
    if (off == 0) {
        l2_seg_begin(d, seq, base_load_acq(&d->synced));
        return;
    }
    const uint64_t tail = seq * d->form.seg_bytes + off;
    d->base = tail & ~(uint64_t)(L2_PAGE - 1);
    base_store_rel(&d->claimed, tail);
    base_store_rel(&d->written, tail);
    base_store_rel(&d->tail, tail);
    base_store_rel(&d->sealed_seq, seq);
}

/* ---- sync ---- */

CELLAR_PRIVATE int l2_sync_now(l2 *d)
{
    const uint64_t written = base_load_acq(&d->written);
    int e = 0;
    BASE_POINT("l2.commit");
    for (int i = 0; i < 2 && e == 0; i++) {
        base_vfs_file *f = base_load_acq(&d->ring[i].file); /* `syncing` keeps it */
        if (f != NULL) { e = l2_datasync(d, f); }
    }
    L2_COUNT(d, commits);
    if (e == 0) {
        base_store_rel(&d->synced, written);
        return 0;
    }
    base_store_rel(&d->resync, 1u); /* a later sync may not report the error */
    return e;
}

/* Sync as the holder of `syncing`. */
static int l2_sync_led(l2 *d, uint64_t upto)
{
    if (base_load_acq(&d->resync) != 0) { return EIO; }
    if (base_load_acq(&d->synced) >= upto) { return 0; } /* most often after a wait */
    const int e = l2_flush(d, upto, L2_NO_LIMIT_NS);
    return e == 0 ? l2_sync_now(d) : e;
}

CELLAR_PRIVATE int l2_sync_to(l2 *d, uint64_t upto, uint64_t wait_ns)
{
    uint64_t until_ns = 0, seen = 0;
    for (;;) {
        const uint64_t synced = base_load_acq(&d->synced);
        if (synced >= upto) { return 0; }
        if (sync_role_try(&d->syncing)) {
            const int e = l2_sync_led(d, upto);
            sync_role_drop(&d->syncing);
            return e;
        }
        if (base_load_acq(&d->resync) != 0) { return EIO; }
        const uint64_t now = base_now_ns();
        if (until_ns == 0 || synced != seen) { until_ns = now + wait_ns; }
        if (now >= until_ns) { return ETIMEDOUT; }
        seen = synced;
        (void)base_cas_ar(&d->syncing, 1u, 2u); /* as sync_role_take: a thread waits */
        (void)sync_wait(&d->syncing, 2u, until_ns);
    }
}
