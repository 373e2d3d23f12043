/* SPDX-License-Identifier: MIT
 *
 * pass: free the oldest segments: their live records are appended again, or leave the index.
 *
 * PICTURE    below half alive: rows -> word leads here? record valid? -> appended again
 *            then, and above half immediately: FLOOR written -> words that lead here removed
 *            -> PERIODIC, ALWAYS: sync -> head moves on
 * INVARIANTS A word leaves the index only behind a newer record, a tombstone, or a FLOOR that is
 *            written. Else a later delete finds nothing and logs nothing, and the next open finds
 *            the record.
 *            The sum of live bytes counts what expired, what tags and patterns ended, and parts of
 *            values that are over. So above half each pass looks at records of up to 64 segments,
 *            and takes the share of dead bytes that it finds from the sum. Above 40 % a round
 *            without a pass does so once an unused value was refused.
 *            Long records leave gaps, so copies may need as much room as they free. If callers
 *            had less than 1/16 of the size during a round of passes, passes drop records.
 *            A place is used again only when its FLOOR, and so each copy, is durable (PERIODIC and
 *            ALWAYS): one sync for a batch.
 * LOCKING    `working`. Records are read without locks.
 * SEE ALSO   write.c: l2_put_again. control.c: the FLOOR; namespaces that hold. */
#include "l2/pass.h"

#include <stddef.h>

#include "l2/control.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/namespaces.h"
#include "l2/part.h"
#include "l2/plan.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/rows.h"
#include "l2/segment.h"
#include "l2/super.h"
#include "l2/write.h"

#define L2_BATCH_MOST 64u
#define L2_LOOKS 64u /* segments of one estimate */
#define L2_LOOK_POINTS 4u /* in a segment */
#define L2_UNREAD_NS UINT64_C(60000000000) /* a segment that cannot be read waits so long */
#define L2_OWNER_BYTES 4096u /* of a head of a value in parts, unless its key is long */

typedef struct l2_pass { /* one segment */
    l2_trailer t;
    uint64_t begin;  /* its lsn */
    uint64_t at, have; /* offset and length of what `work` has of it */
    bool looks;      /* at some records alone */
    bool full;       /* no room for a copy */
    bool got;        /* a read succeeded */
    uint64_t lost, lost_bytes; /* records with a word that cannot be read; their bytes */
    int e;           /* a read failed */
} l2_pass;

/* ---- copies ---- */

/* Return true if what cannot be read waits: the disk may answer again. */
static bool l2_unread_waits(l2 *d)
{
    const uint64_t now = base_now_ns();
    if (d->unread_ns == 0) { d->unread_ns = now; }
    return now - d->unread_ns < L2_UNREAD_NS;
}

CELLAR_PRIVATE bool l2_part_wanted(l2 *d, uint64_t begin, const unsigned char *key, int *e)
{
    unsigned char small[L2_OWNER_BYTES] BASE_ALIGNED(8), *at = small;
    uint64_t h48 = 0;
    l2_rec r;
    l2_meta m;
    const uint64_t id = l2_r64(key);
    if (id == d->want_id) { return d->want_it; }
    if (id == d->unread_id) { return false; }
    memcpy(&h48, key + 8, 6);
    l2_shard *s = l2_shard_of(d, h48 << 16);
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const l2_word w = l2_index_find48(d, h48);
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    memset(&m, 0, offsetof(l2_meta, tags));
    const bool head = w.lsn != 0 && w.bytes <= L2_NAMED_MOST; /* it has no value */
    const size_t more = head && w.bytes > sizeof small ? w.bytes : 0;
    if (more != 0) { at = base_alloc(d->cfg.account, BASE_MOD_L2, more, NULL); }
    if (at == NULL) { return true; } /* not known */
    const int read = head ? l2_record_read(d, w.lsn, at, w.bytes, &r) : ENODATA;
    const bool fails = read != 0 && read != ENODATA && read != EILSEQ;
    const bool first = d->unread_lsn != begin;
    const bool found = read == 0 && l2_ext_read(at + L2_RECORD_HEAD, (size_t)r.ext * 8, &m) &&
                       m.part_id == id && l2_record_valid(d, at, &r, w.lsn) &&
                       l2_parts_there(d, h48, &m);
    if (more != 0) { base_free(d->cfg.account, BASE_MOD_L2, at, more); }
    if (fails && (first || l2_standing(d) || base_load_acq(&d->disk) != L2_DISK_OK)) {
        d->unread_lsn = begin;
        *e = read;
        return false;
    }
    if (fails) { d->unread_id = id; } /* each look would read it again */
    d->want_id = id;
    d->want_it = found;
    return found;
}

/* Read the record of a row into `work`. Return NULL if it cannot be read, or does not verify. */
static const unsigned char *l2_pass_record(l2 *d, l2_pass *p, const l2_row *row, l2_rec *r)
{
    const uint64_t seq = l2_seq_of(d, p->begin);
    if (row->off < p->at || row->off + row->bytes > p->at + p->have) {
        const uint64_t n = BASE_MIN((uint64_t)d->work_bytes, p->t.data_end - row->off);
        p->at = row->off;
        p->e = l2_log_read_pages(d, d->work, (size_t)n, p->begin + row->off);
        /* The disk answers: these pages are lost. */
        if (p->got && base_load_acq(&d->disk) == L2_DISK_OK && !l2_standing(d)) { p->e = 0; }
        p->got = p->e == 0;
        p->have = p->got ? n : 0;
        L2_COUNT_BY(d, passed_bytes, n);
    }
    const unsigned char *at = d->work + (row->off - p->at);
    l2_form f;
    l2_form_at(d, p->begin + row->off, &f);
    return row->bytes <= p->have &&
                   l2_rec_parse(at, row->off, row->off + row->bytes, r) &&
                   l2_rec_whole(&f, at, seq, row->off, r)
               ? at
               : NULL;
}

/* Return true if a get finds the record. false: it is dead, or p->e. */
static bool l2_pass_alive(l2 *d, l2_pass *p, const unsigned char *at, const l2_rec *r, uint64_t lsn)
{
    if (!l2_record_valid(d, at, r, lsn)) { return false; }
    const bool part = r->generation == 0 && r->klen == L2_PART_KEY;
    return !part || l2_part_wanted(d, p->looks ? d->unread_lsn : p->begin,
                                   at + L2_RECORD_HEAD + (size_t)r->ext * 8, &p->e);
}

/* Return the record of a row that has a word. NULL: it is dead, or p->e. */
static const unsigned char *l2_pass_valid(l2 *d, l2_pass *p, const l2_row *row, l2_rec *r)
{
    const unsigned char *at = l2_pass_record(d, p, row, r);
    if (p->e == 0 && at == NULL) {
        p->lost++;
        p->lost_bytes += row->bytes;
    }
    return p->e == 0 && at != NULL && l2_pass_alive(d, p, at, r, p->begin + row->off) ? at : NULL;
}

/* Read head, extensions and key of a record into `work`. Return false if there is none, or p->e. */
static bool l2_look_at(l2 *d, l2_pass *p, const l2_row *row, l2_rec *r)
{
    const uint64_t lsn = p->begin + row->off;
    size_t has = 0, needs = BASE_MIN(row->bytes, L2_OWNER_BYTES);
    l2_form f;
    l2_form_at(d, lsn, &f);
    for (; has < needs; needs = l2_rec_named(r)) {
        has = needs;
        p->e = l2_log_read(d, d->work, has, lsn);
        L2_COUNT_BY(d, passed_bytes, has);
        if (p->e != 0 || !l2_rec_parse(d->work, row->off, row->off + row->bytes, r)) {
            return false;
        }
    }
    return l2_rec_marked(&f, d->work, l2_seq_of(d, p->begin), row->off, r);
}

/* Note the words that points of the segment hit, and which of them are dead. The points have equal
 * distances, so long records count as often as their bytes say. */
static int l2_row_look(l2 *d, void *ctx, const l2_row *row)
{
    l2_pass *p = ctx;
    l2_rec r;
    const uint64_t step = d->form.seg_bytes / L2_LOOK_POINTS, lsn = p->begin + row->off;
    const uint64_t from = row->off + base_mix64(p->begin + base_load_rlx(&d->n.reclaimed)) % step;
    const uint64_t bytes = ((from + row->bytes) / step - from / step) * step;
    if (bytes == 0 || row->kind != L2_KIND_PUT || !l2_indexed_at(d, row->hash, lsn)) { return 0; }
    /* A namespace that was cleared left the sum as a whole. */
    if (row->generation != 0 && !l2_generation_used(d, row->generation)) { return 0; }
    const bool alive = l2_look_at(d, p, row, &r) && l2_pass_alive(d, p, d->work, &r, lsn);
    if (p->e != 0) { return p->e; }
    d->looked += bytes;
    d->dead += alive ? 0 : bytes;
    return 0;
}

static int l2_row_move(l2 *d, void *ctx, const l2_row *row)
{
    l2_pass *p = ctx;
    const uint64_t lsn = p->begin + row->off;
    l2_took took = L2_IS_INVALID;
    if (row->kind != L2_KIND_PUT || !l2_indexed_at(d, row->hash, lsn)) { return 0; }
    while (took == L2_IS_INVALID) {
        l2_rec r;
        const uint64_t count = base_load_sc(&d->invalidations.count);
        const unsigned char *at = l2_pass_valid(d, p, row, &r);
        if (at == NULL) { return p->e; }
        took = l2_put_again(d, row, lsn, at, &r, count);
        if (took == L2_BUF_FULL || took == L2_SEG_FULL) {
            if (l2_make_way(d, took, L2_WAIT_NS) != L2_TOOK) { return EAGAIN; }
            took = L2_IS_INVALID;
        }
    }
    p->full = p->full || (took != L2_TOOK && took != L2_IS_OLD);
    return p->full ? ENOSPC : 0;
}

/* ---- words ---- */

static int l2_row_drop(l2 *d, void *ctx, const l2_row *row)
{
    const l2_pass *p = ctx;
    const uint64_t lsn = p->begin + row->off;
    if (row->kind != L2_KIND_PUT) { return 0; }
    l2_shard *s = l2_shard_of(d, row->hash);
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const l2_word w = l2_index_find(d, row->hash);
    if (w.lsn == lsn) {
        l2_index_drop(d, row->hash);
        l2_live_take(d, row->generation, w.bytes);
    }
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    return 0;
}

/* Call fn for the rows of a segment. all: also behind a page that fails. Return 0, or the first
 * error. */
static int l2_pass_rows(l2 *d, l2_pass *p, uint64_t seq, bool all,
                        int (*fn)(l2 *d, void *ctx, const l2_row *r))
{
    *p = (l2_pass){ .begin = seq * d->form.seg_bytes, .looks = fn == l2_row_look };
    unsigned char at[L2_TRAILER_BYTES];
    int e = 0;
    if (!l2_trailer_find(d, seq, &p->t)) {
        e = l2_log_read(d, at, sizeof at, p->begin + d->form.seg_bytes - sizeof at);
        if (e == 0 && !l2_trailer_find(d, seq, &p->t)) { e = EILSEQ; } /* the read is no cause */
        if (e != 0) { return e; }
    }
    l2_rows_walk w = { .made = 0 };
    for (uint32_t i = 0; (all || e == 0) && i < l2_row_pages(p->t.rows); i++) {
        const int page = l2_rows_page(d, &p->t, i, &w, fn, p);
        if (e == 0) { e = page; }
    }
    return e;
}

/* ---- segments ---- */

/* Append the live records of the segments first.. again, as long as there is room. Return how many
 * segments are done. The first one is, also without room: else no segment becomes free. */
static uint64_t l2_pass_move(l2 *d, uint64_t first, uint64_t n)
{
    l2_pass p = { .full = false };
    uint64_t done = 0;
    /* For FLOORs and the controls that they append: no room becomes free during the move. */
    const uint64_t leaves = base_load_rlx(&d->spare) + (l2_changes(d) ? 1 : 0);
    do {
        const int e = l2_pass_rows(d, &p, first + done, false, l2_row_move);
        const bool read = e == 0 || p.full || e == EILSEQ;
        if (e == EAGAIN || (!read && l2_unread_waits(d))) { return done; } /* EAGAIN: of writes */
        d->unread_ns = 0;
        if (p.full && done != 0) { return done; } /* there is room for it after the FLOOR */
        if (p.lost != 0) { l2_lost_entries(d, L2_LOST_unread, p.lost, p.lost_bytes); }
        done++;
        if (e != 0) { break; }
    } while (done < n && l2_segs_free(d, base_load_acq(&d->tail)) > leaves);
    if (p.full) { l2_lost(d, L2_LOST_room, d->form.seg_bytes); }
    return done;
}

/* Return true if the sum of live bytes is so high that puts refuse unused values. */
static bool l2_sum_is_high(const l2 *d)
{
    return base_load_rlx(&d->live_bytes) > l2_size(d) / 100 * L2_UNUSED_PCT;
}

/* Estimate the share of dead bytes, for passes and for puts of unused values. At least one sealed
 * segment exists. Looks of an earlier pass do not count: much may have ended since. */
static void l2_pass_look(l2 *d, uint64_t first)
{
    const uint64_t span = base_load_acq(&d->sealed_seq) - first, n = BASE_MIN(span, L2_LOOKS);
    const uint64_t shift = base_mix64(base_load_rlx(&d->n.reclaimed)) % span;
    l2_live_check(d);
    d->looked_seq = first + span;
    d->looked = d->dead = 0;
    for (uint64_t i = 0; i < n; i++) { /* evenly over the log: what ends together lies together */
        l2_pass p;
        (void)l2_pass_rows(d, &p, first + (i * span / n + shift) % span, false, l2_row_look);
    }
    base_store_rlx(&d->live_dead, (uint32_t)BASE_MIN(d->dead / (d->looked / 256 + 1), 256));
}

/* Return true if less than the share of cfg is alive. */
static bool l2_pass_moves(l2 *d, uint64_t first)
{
    const uint64_t share = l2_size(d) / 100 * d->cfg.move_pct;
    uint64_t live = base_load_rlx(&d->live_bytes);
    if (live < share || share == 0) {
        d->looked_seq = 0;
        base_store_rlx(&d->live_dead, 0u);
        return live < share;
    }
    l2_pass_look(d, first);
    live = base_load_rlx(&d->live_bytes);
    const uint64_t dead = base_load_rlx(&d->live_dead); /* of 256 */
    /* The estimate may be too high by an eighth: needless copies cost writes, and room of puts. */
    return live / 256 * (256 - dead) < share + (dead != 0 ? share / 8 : 0);
}

/* Return false if a round of passes made no room for callers. Copies may need as much room as they
 * free: long records leave gaps. */
static bool l2_pass_gains(l2 *d)
{
    const uint64_t size = l2_size(d), asked = base_load_rlx(&d->asked);
    const bool round = d->passed >= l2_seq_of(d, size);
    if (d->passed == 0 || (round && asked - d->passed_asked >= size / 16)) {
        d->passed = 0;
        d->passed_asked = asked;
        return true;
    }
    return !round || l2_changes(d);
}

/* Pass the oldest segments, `n` at most. Return false if that is not possible now. */
static bool l2_pass_oldest(l2 *d, uint64_t n)
{
    const uint64_t head = base_load_acq(&d->head), first = l2_seq_of(d, head);
    l2_pass p;
    const bool syncs = d->cfg.level != L2_DROP;
    n = BASE_MIN(n, base_load_acq(&d->sealed_seq) - first);
    if (n == 0 || (syncs && base_load_acq(&d->resync) != 0)) { return false; }
    base_store_rel(&d->passing, (first + n) * d->form.seg_bytes); /* before a look for a head */
    if (l2_pass_gains(d) && l2_pass_moves(d, first)) { n = l2_pass_move(d, first, n); }
    BASE_POINT("l2.passed");
    const uint64_t end = (first + n) * d->form.seg_bytes;
    if (n == 0 || l2_floor_write(d, end) != 0) { return false; }
    d->passed += n;
    BASE_POINT("l2.floored");
    bool whole = true;
    for (uint64_t i = 0; i < n; i++) {
        whole = l2_pass_rows(d, &p, first + i, true, l2_row_drop) == 0 && whole;
    }
    if (!whole) {
        l2_index_cut(d, end);
        l2_lost(d, L2_LOST_unread, d->form.seg_bytes);
    }
    if (syncs && l2_sync_to(d, base_load_acq(&d->tail), L2_NO_LIMIT_NS) != 0) { return false; }
    if (syncs && !l2_walk_above(d, end)) { return false; }
    base_store_rel(&d->head, end);
    base_store_rlx(&d->moved_ns, base_now_ns());
    l2_invalidation_forget(d);
    L2_COUNT_BY(d, reclaimed, n);
    l2_room_made(d);
    return true;
}

CELLAR_PRIVATE bool l2_pass_work(l2 *d)
{
    d->want_id = 0;
    if (!l2_pass_due(d)) {
        const uint64_t refused = base_load_rlx(&d->n.refused_unused);
        const uint64_t first = l2_seq_of(d, base_load_acq(&d->head));
        d->passed = 0;
        if (refused != base_load_rlx(&d->refused) && l2_sum_is_high(d) &&
            base_load_acq(&d->sealed_seq) > BASE_MAX(first, d->looked_seq)) {
            base_store_rlx(&d->refused, refused);
            l2_pass_look(d, first);
        }
        return false;
    }
    return l2_pass_oldest(d, base_clamp(l2_seq_of(d, l2_size(d)) / 16, 1, L2_BATCH_MOST));
}
