/* SPDX-License-Identifier: MIT
 *
 * move: append the live records of the oldest segment again before its place is reclaimed.
 *
 * PICTURE    pass of the oldest segment, page by page of its footers:
 *                line -> word? -> record read, checked: live? -> counted -> next line
 *                below cfg.move_pct live: each live record appended (l2_put_again); last page
 *                    -> copies durable -> l2_reclaim
 *                above: an eighth of the segment is read and counted, then l2_reclaim; a value
 *                    that ends by this may make room: then the rest moves
 *            live bytes = those that the passes of the last round of the log counted, by
 *            generation, in 16 parts; at most those that the words of the index lead to
 * INVARIANTS The count is SUPER's or that of a survey: all segments passed, none reclaimed. A
 *            namespace that is cleared, changes its version or is dropped counts no more.
 *            A record is live if a get of its key returns it. It is appended only if the words of
 *            its bunch and the number of invalidations are those before the check, see
 *            l2_put_again. So no copy follows the delete, expiry or invalidation of its record.
 *            At KEEP and ALWAYS the copies are durable before the place of the old segment is free.
 *            Nothing moves during the index rebuild, nor while SUPER says CLEAN.
 *            After a segment that moved SUPER has the floor: its place is free in the next run.
 * LOCKING    Worker only. The tombstone lock of a record, then L2_LOG.
 * LIMITS     Records that cannot be read for 2 s are dropped. Stores of few places drop live
 *            records. So does one that deletes faster than the worker moves.
 * SEE ALSO   README.md, "Moves"; log.c for the slots that puts leave. */
#include "l2/steps.h"

#include "l2/control.h"
#include "l2/format.h"
#include "l2/health.h"
#include "l2/live.h"
#include "l2/index.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/slot.h"
#include "l2/superblock.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_MOVE_PLACES 12u   /* smaller stores drop the oldest segment */
#define L2_MOVE_SLOTS 4u     /* least slots left, see log.c: puts leave 3 */
#define L2_MOVE_LEAST ((uint32_t)64 << 10) /* bytes of one read: a quarter of a segment */
#define L2_MOVE_MOST ((uint32_t)1 << 20)
#define L2_MOVE_ROUNDS 3     /* checks of a record that changes meanwhile */
#define L2_MOVE_PATIENCE_MS 2000 /* of a segment with reads that fail */
#define L2_MOVE_STUCK 64u    /* rounds without progress at one record */
#define L2_MOVE_SHARE 8u     /* 1/8 of a segment that is dropped is read */
#define L2_MOVE_SAMPLES 64u   /* parts of a value that leaves the count: those stand for all */
#define L2_SURVEY_PLACES 256u /* smaller stores are read as a whole for their first count */

/* ---- the estimate ---- */

/* Return the slots that are left when passes with copies begin: an eighth of the places. */
static uint32_t l2_move_slots(const l2 *d)
{
    return BASE_MAX(d->places / L2_MOVE_SHARE, L2_MOVE_SLOTS);
}

/* Sum up what the words of the index lead to: once in a part of a round. The first call reads all
 * of them. */
static void l2_words_sum(l2 *d)
{
    l2_moves *m = &d->moves;
    const uint32_t most = L2_SHARDS * L2_ROUND, rest = L2_SHARDS - m->shard;
    if (d->places > most && m->summed && m->passed % (d->places / most) != 0) { return; }
    const uint32_t count = m->summed ? BASE_MIN(most / d->places + 1, rest) : rest;
    m->sum += l2_index_bytes_in(d, m->shard, count);
    m->shard += count;
    if (m->shard < L2_SHARDS) { return; }
    m->words = m->sum;
    m->sum = m->shard = 0;
    m->summed = true;
}

/* Count live bytes of the segment that is passed. */
static void l2_live_note(l2 *d, uint32_t generation, uint64_t bytes)
{
    l2_moves *m = &d->moves;
    if (generation != m->generation && m->live != 0) {
        l2_live_add(d, m->generation, m->live);
        m->live = 0;
    }
    m->generation = generation;
    m->live += bytes;
}

/* Count a segment that was passed. A round has the segments that the log has at least. */
static void l2_live_passed(l2 *d)
{
    l2_moves *m = &d->moves;
    const uint32_t round = d->places - l2_move_slots(d);
    l2_live_note(d, 0, 0);
    m->passed = m->passed + 1 < round ? m->passed + 1 : 0;
    const uint32_t part = (uint32_t)((uint64_t)m->passed * L2_ROUND / round);
    if (part != m->part) { l2_live_part(d, part); }
    l2_live_save(d);
}

/* Return the part of the round that counted the record at `lsn`; L2_ROUND: none. A copy was counted
 * when it was appended. */
static uint32_t l2_live_where(const l2 *d, uint64_t lsn)
{
    const uint32_t round = d->places - l2_move_slots(d);
    uint32_t back = 1; /* passes since then: one for each newer segment */
    for (uint32_t i = 0; i < d->nseg; i++) {
        const uint64_t w = base_load_acq(&d->seg[i].word);
        back += L2_SEG_USED(w) && L2_SEG_SEQ(w) > lsn / d->form.seg_bytes;
    }
    if (lsn == 0 || back >= round) { return L2_ROUND; }
    return (uint32_t)((uint64_t)((d->moves.passed + round - back) % round) * L2_ROUND / round);
}

/* Take the value of the last part out of the count. */
static void l2_live_less(l2 *d)
{
    const l2_moves *m = &d->moves;
    if (m->value_bytes == 0) { return; }
    const uint64_t parts = (m->value_bytes + m->value_step - 1) / m->value_step;
    const uint64_t n = BASE_MIN(parts, L2_MOVE_SAMPLES);
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t part = l2_live_where(d, l2_part_lsn(d, parts * i / n));
        if (part < L2_ROUND) { l2_live_take(d, m->value_generation, part, m->value_bytes / n); }
    }
}

/* Return the live bytes below which they move: a share of the size, at most 11/16 of the segments
 * beside the slots that are left. Above that a byte put costs three bytes written. */
static uint64_t l2_move_limit(const l2 *d)
{
    const bool shrinks = d->goal.on && d->goal.places < d->places;
    const uint64_t bytes = shrinks ? d->goal.bytes : d->super.l2_bytes;
    const uint64_t places = (shrinks ? d->goal.places : d->places) - L2_MOVE_SLOTS;
    const uint64_t room = places * (d->form.seg_bytes - L2_HEAD_BYTES - 2 * L2_PAGE);
    return BASE_MIN(bytes / 100 * d->cfg.move_pct, room / 16 * 11);
}

static void l2_moving_set(l2 *d, bool moving)
{
    sync_take(L2_LOG, &d->log_lock);
    d->moving = moving;
    sync_drop(L2_LOG, &d->log_lock);
}

/* ---- bytes of the segment ---- */

CELLAR_PRIVATE void l2_move_end(l2 *d)
{
    l2_moves *m = &d->moves;
    base_free(d->cfg.account, BASE_MOD_L2, m->raw, m->room);
    m->raw = m->buf = NULL;
    m->room = 0;
    m->bytes = 0;
}

/* Return `n` bytes of the segment at `off`, or NULL. *e: errno of the read, or 0. */
static const unsigned char *l2_move_read(l2 *d, uint32_t off, uint32_t n, int *e)
{
    l2_moves *m = &d->moves;
    *e = 0;
    if (m->bytes != 0 && off >= m->at && off + (uint64_t)n <= m->at + m->bytes) {
        return m->buf + (off - m->at);
    }
    const uint64_t at = off / L2_PAGE * L2_PAGE;
    const uint64_t need = base_round_up(off + (uint64_t)n, L2_PAGE) - at;
    const uint64_t window = base_clamp(d->form.seg_bytes / 4, L2_MOVE_LEAST, L2_MOVE_MOST);
    const uint64_t end = base_round_up(BASE_MIN(m->to, d->seg[m->seg].data_end), L2_PAGE);
    const uint64_t want = BASE_MAX(need, BASE_MIN(window, end > at ? end - at : 0));
    uint64_t kept = m->bytes != 0 && at >= m->at && at < m->at + m->bytes
                        ? m->at + m->bytes - at : 0;
    if (m->room < want + L2_PAGE) {
        l2_move_end(d);
        kept = 0;
        m->raw = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)want + L2_PAGE, NULL);
        if (m->raw == NULL) { return NULL; }
        m->room = (size_t)want + L2_PAGE;
        m->buf = m->raw + (L2_PAGE - (uintptr_t)m->raw % L2_PAGE);
    }
    if (kept != 0) { memmove(m->buf, m->buf + (at - m->at), (size_t)kept); }
    m->bytes = 0;
    l2_beat(d);
    const uint64_t from = (uint64_t)base_load_rlx(&d->seg[m->seg].place) * d->form.seg_bytes + at;
    *e = l2_read(d, d->data_direct, m->buf + kept, (size_t)(want - kept), from + kept);
    if (*e != 0) { return NULL; }
    L2_COUNT_BY(d, passed_bytes, want - kept);
    m->at = at;
    m->bytes = want;
    return m->buf + (off - at);
}

/* ---- one record ---- */

typedef struct l2_mover { /* one record, and the state before its check */
    const l2_entry *e;
    l2_again again;
    l2_key key;
    uint64_t word[L2_BUNCH_WORDS];
    bool exact;  /* a word of the bunch names the record */
    bool newest; /* and no other word names a newer one: a get looks at it first */
    bool many;   /* the bunch has, or had, other records */
} l2_mover;

/* Copy the words of the record's bunch. Return false if none can lead to the record. */
static bool l2_move_words(l2 *d, l2_mover *v)
{
    const uint64_t addr = ((uint64_t)d->moves.seg << d->seg_shift) + v->e->off / d->form.granule;
    v->again.count = base_load_sc(&d->invalidations.count);
    v->again.word = v->word;
    v->again.words = l2_index_all(d, v->e->h48, v->word);
    v->exact = v->many = false;
    uint64_t newest = 0;
    for (uint32_t i = 0; i < v->again.words; i++) {
        v->exact = v->exact || L2_WORD_ADDR(v->word[i]) == addr;
        v->many = v->many || (v->word[i] & (L2_WORD_LINKED | L2_WORD_TWIN)) != 0;
        newest = BASE_MAX(newest, l2_word_lsn(d, v->word[i]));
    }
    v->newest = v->exact && newest == l2_lsn(d, d->moves.segseq, v->e->off);
    return v->exact || v->many;
}

/* Return true if a get of the key finds the record in its bunch. *unread: that is unknown. */
static bool l2_move_found(l2 *d, const l2_mover *v, bool *unread)
{
    if (v->newest) { return true; }
    size_t len;
    l2_meta m;
    const l2_want w = { .k = &v->key, .value_len = &len, .meta = &m, .range = true,
                        .unread = unread };
    l2_beat(d); /* a read for a get gives up if the worker makes no progress */
    const cellar_err err = l2_read_record(d, &w);
    return (err == CELLAR_OK || err == CELLAR_ABSENT) && m.addr == v->again.lsn;
}

/* Return true if a read without a result is given up: reads of this segment have failed for long,
 * though the disk answers. */
static bool l2_move_unread(l2 *d)
{
    l2_moves *m = &d->moves;
    const int64_t now = base_now_ms(d->cfg.clock);
    const bool answers = base_load_rlx(&d->reads_stuck) == 0 && !l2_is_closed(d) &&
                         base_load_acq(&d->disk) == L2_DISK_OK;
    m->waits = true;
    if (m->failed_ms == 0) { m->failed_ms = now; }
    const bool over = answers && now - m->failed_ms >= L2_MOVE_PATIENCE_MS;
    if (over) {
        l2_lost(d, L2_LOST_unread, d->seg[m->seg].data_end);
    }
    return over;
}

/* Return true if nothing ended the record, nor the value that it is a part of. */
static bool l2_move_valid(l2 *d, const l2_mover *v, uint32_t *generation)
{
    const l2_rec *r = v->again.rec;
    const bool future = base_load_rlx(&d->seg[d->moves.seg].future) != 0;
    *generation = r->generation;
    return l2_record_valid(d, v->again.at, r, v->again.lsn, future) &&
           (r->generation != 0 || l2_part_wanted(d, v->key.bytes, v->key.len, generation));
}

/* End the value of a part in a segment that is dropped. If all others fit now, the rest of it
 * moves: many parts of other values lie between. */
static void l2_value_ends(l2 *d, const l2_mover *v)
{
    l2_moves *m = &d->moves;
    const uint64_t addr = ((uint64_t)m->seg << d->seg_shift) + v->e->off / d->form.granule;
    l2_live_less(d);
    l2_index_drop(d, v->e->h48, addr);
    m->value = 0; /* a value that lacks a part is not wanted */
    m->spared = l2_live_sum(d, d->moves.words) < l2_move_limit(d);
    m->to = m->spared ? 0 : m->to;
}

/* Check the record at `v->again.at`. If it is live, count it, and append it unless this pass drops
 * the segment. Return false to repeat later. */
static bool l2_move_checked(l2 *d, l2_mover *v)
{
    const bool copies = d->moves.copies_all;
    for (int round = 0; round < L2_MOVE_ROUNDS; round++) {
        uint32_t generation;
        bool unread = false;
        if (!l2_move_words(d, v)) { return true; }
        const bool live = l2_move_valid(d, v, &generation) && l2_move_found(d, v, &unread);
        if (unread) { return !copies || l2_move_unread(d); }
        if (!live) { return true; }
        const l2_took took = copies ? l2_put_again(d, &v->key, &v->again) : L2_TOOK;
        if (took == L2_TOOK) {
            d->moves.copies += copies;
            l2_live_note(d, generation, (uint64_t)v->e->bytes * d->moves.weight);
            if (!copies && d->moves.counted && v->again.rec->generation == 0) {
                l2_value_ends(d, v);
            }
            return true;
        }
        if (took != L2_IS_OLD && took != L2_IS_INVALID) { return false; }
    }
    return false;
}

/* Return false if the record cannot be moved now. */
static bool l2_move_record(l2 *d, const l2_entry *e)
{
    l2_moves *m = &d->moves;
    l2_mover v = { .e = e };
    l2_rec r;
    int err;
    if (e->kind != L2_KIND_PUT || !l2_move_words(d, &v)) { return true; }
    const unsigned char *at = l2_move_read(d, e->off, e->bytes, &err);
    if (at == NULL) { return !m->copies_all || (err != 0 && l2_move_unread(d)); } /* or no memory */
    if (!l2_rec_marked(&d->form, at, m->segseq, e->off, e->off + e->bytes, &r) ||
        r.kind != L2_KIND_PUT || !l2_rec_whole(&d->form, at, m->segseq, e->off, &r)) {
        return true; /* void or damaged */
    }
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r.ext * 8;
    v.key = (l2_key){ key, r.klen, r.generation, base_hash(&d->hash_key, r.generation, key,
                                                           r.klen) };
    v.again.at = at;
    v.again.rec = &r;
    v.again.lsn = l2_lsn(d, m->segseq, e->off);
    return l2_h48(v.key.hash) != e->h48 || l2_move_checked(d, &v);
}

/* ---- the oldest segment ---- */

static void l2_move_line(l2 *d, void *ctx, const l2_entry *e)
{
    bool *blocked = ctx;
    l2_moves *m = &d->moves;
    const bool over = e->off >= m->to && (m->seen || m->to == 0);
    if (over) { m->page = d->seg[m->seg].footer_pages; }
    if (*blocked || e->off < m->from || over) { return; }
    *blocked = !l2_move_record(d, e);
    m->seen = m->seen || e->kind == L2_KIND_PUT;
    m->from = *blocked ? e->off : e->off + 1;
    m->stuck = *blocked ? m->stuck + 1 : 0;
}

/* Begin with a segment. Choose the records to look at: all, or those of an eighth. */
static void l2_move_set(l2 *d, uint32_t seg, uint64_t segseq, bool all)
{
    l2_moves *m = &d->moves;
    const l2_seg *g = &d->seg[seg];
    m->on = true;
    m->seg = seg;
    m->segseq = segseq;
    m->page = m->from = m->stuck = 0;
    m->to = UINT32_MAX;
    m->weight = all ? 1 : L2_MOVE_SHARE;
    m->seen = m->spared = false;
    if (!all) { /* lines are spread evenly: those of the eighth begin in about this page */
        const uint32_t last = g->data_end - BASE_MIN(L2_MOVE_LEAST, g->data_end); /* of a part */
        const uint64_t at = base_mix64(segseq) % L2_MOVE_SHARE * last / L2_MOVE_SHARE;
        m->from = (uint32_t)(at / L2_PAGE * L2_PAGE);
        m->to = m->from + g->data_end / L2_MOVE_SHARE;
        m->page = (uint32_t)(at * g->footer_pages / (g->data_end + 1));
    }
    m->copies = 0;
    m->failed_ms = 0;
    m->bytes = 0;
}

/* Begin with the oldest segment, unless it cannot be reclaimed now. */
static void l2_move_begin(l2 *d)
{
    uint64_t w, next;
    const uint32_t seg = l2_seg_oldest(d, 0, &w, &next);
    if (seg == UINT32_MAX || next == UINT64_MAX) { return; }
    if (L2_SEG_STATE(w) != L2_SEG_DISK || l2_slot_of(d, seg, L2_SEG_SEQ(w)) != NULL) { return; }
    d->moves.copies_all = !d->moves.over;
    l2_move_set(d, seg, L2_SEG_SEQ(w), d->moves.copies_all);
}

/* Begin with the next segment that no pass has counted. After the last one the count is known. */
static void l2_survey_begin(l2 *d)
{
    l2_moves *m = &d->moves;
    uint64_t w, next;
    const uint32_t seg = l2_seg_oldest(d, m->segseq + 1, &w, &next);
    m->copies_all = false;
    m->counted = L2_SEG_STATE(w) != L2_SEG_DISK;
    if (!m->counted) { l2_move_set(d, seg, L2_SEG_SEQ(w), d->places < L2_SURVEY_PLACES); }
}

static bool l2_move_goes_on(const l2 *d)
{
    const l2_moves *m = &d->moves;
    const uint64_t w = base_load_acq(&d->seg[m->seg].word);
    return m->on && L2_SEG_STATE(w) == L2_SEG_DISK && L2_SEG_SEQ(w) == m->segseq;
}

/* Return true if the copies find no room: then the rest of the segment is dropped. */
static bool l2_move_lost(l2 *d)
{
    if (d->moves.stuck < L2_MOVE_STUCK) { return false; }
    sync_take(L2_LOG, &d->log_lock);
    const bool lost = l2_slots_left(d) == 0;
    sync_drop(L2_LOG, &d->log_lock);
    if (lost) {
        l2_lost(d, L2_LOST_room, d->seg[d->moves.seg].data_end);
    }
    return lost;
}

/* Pass the records of one footer page. Return false if one of them cannot be moved now. */
static bool l2_move_page(l2 *d)
{
    l2_moves *m = &d->moves;
    const l2_seg *g = &d->seg[m->seg];
    bool blocked = false;
    m->waits = false;
    m->value = 0;
    if (l2_foot_load(d, g, m->segseq, m->page)) {
        L2_COUNT_BY(d, passed_bytes, L2_PAGE);
        (void)l2_foot_each(d, g->data_end, false, l2_move_line, &blocked);
    } else if (m->copies_all) { /* given up: it is damaged, and its records are lost */
        blocked = !l2_move_unread(d);
        m->stuck += blocked;
    }
    m->page += !blocked;
    return !blocked;
}

/* Pass one footer page; after the last page reclaim the segment, unless it is only counted. Return
 * true if more is to do now. */
static bool l2_move_step(l2 *d)
{
    l2_moves *m = &d->moves;
    if (m->page < d->seg[m->seg].footer_pages) {
        const bool done = l2_move_page(d);
        if (!m->copies_all || !l2_move_lost(d)) {
            return done || (!m->waits && m->stuck < L2_MOVE_STUCK);
        }
    }
    if (m->copies > 0 && d->cfg.level != L2_DROP) {
        l2_disarm(d);
        if (l2_sync_file(d, d->stage_file) != 0) { return false; }
    }
    BASE_POINT("l2.moves_durable");
    if (m->spared) { /* it is passed once more */
        m->on = false;
        m->live = 0;
        return true;
    }
    if (m->counted && !l2_reclaim(d)) { return false; }
    if (m->counted && !m->copies_all) { l2_moving_set(d, false); }
    m->on = false;
    l2_live_passed(d);
    if (m->copies_all) { (void)l2_super_store(d); } /* else the next run has one slot less */
    return true;
}

/* ---- room ---- */

CELLAR_PRIVATE bool l2_move_may(const l2 *d)
{
    return d->cfg.move_pct != 0 && d->places >= L2_MOVE_PLACES;
}

/* Choose whether live records move: while less is known to be live than the limit. Puts leave slots
 * to copies until a segment was dropped. */
static void l2_move_choose(l2 *d)
{
    l2_moves *m = &d->moves;
    if (!m->summed) { l2_words_sum(d); }
    m->over = l2_live_sum(d, d->moves.words) >= l2_move_limit(d);
    if (!m->over) { l2_moving_set(d, true); }
}

CELLAR_PRIVATE bool l2_room_step(l2 *d)
{
    l2_moves *m = &d->moves;
    if (!l2_move_may(d) || base_load_acq(&d->rebuilding) != 0) { return l2_reclaim(d); }
    if (!m->on && m->counted) {
        l2_words_sum(d);
        l2_move_choose(d);
    }
    if (!l2_move_goes_on(d)) {
        const bool survey = !m->counted;
        m->on = false;
        if (survey) { l2_survey_begin(d); } else { l2_move_begin(d); }
        if (!m->on) { return survey; }
    }
    return l2_move_step(d);
}

CELLAR_PRIVATE bool l2_room_work(l2 *d)
{
    const bool may = l2_move_may(d), rebuilding = base_load_acq(&d->rebuilding) != 0;
    sync_take(L2_LOG, &d->log_lock);
    d->moving = d->moving && may;
    const bool soon = l2_slots_left(d) < l2_move_slots(d);
    const bool few = d->free_count < d->keep_free;
    sync_drop(L2_LOG, &d->log_lock);
    if (!may) { /* the store shrank meanwhile */
        d->moves.on = false;
    } else if (rebuilding) {
        return false;
    } else if (soon && !d->moves.on && d->moves.counted) {
        l2_move_choose(d);
    }
    sync_take(L2_LOG, &d->log_lock);
    const bool moving = d->moving;
    sync_drop(L2_LOG, &d->log_lock);
    const bool due = (moving ? soon : few) || d->moves.on;
    if (!due) { l2_move_end(d); }
    return due && l2_room_step(d);
}

BASE_SIZE_END
