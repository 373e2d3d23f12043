/* SPDX-License-Identifier: MIT
 *
 * move: append the live records of the oldest segment again before its place is reclaimed.
 *
 * PICTURE    few slots left -> estimate: words of the index * share that was found live
 *                below cfg.move_pct of the size: oldest segment, page by page of its footers:
 *                    line -> word? -> record read, checked -> appended (l2_put_again) -> next line
 *                    last page -> copies durable -> l2_reclaim
 *                above: l2_reclaim
 * INVARIANTS A record is live if a get of its key returns it. It is appended only if the words of
 *            its class and the number of invalidations are those before the check, see
 *            l2_put_again. So no copy follows the delete, expiry or invalidation of its record.
 *            At KEEP and ALWAYS the copies are durable before the place of the old segment is free.
 *            Nothing moves during the index rebuild, nor while SUPER says CLEAN.
 *            After a segment that moved SUPER has the floor: its place is free in the next run.
 * LOCKING    Worker only. The tombstone lock of a record, then L2_LOG.
 * LIMITS     The share of live bytes is an estimate. Records that cannot be read for 2 s are
 *            dropped. Stores of few places drop live records. So does one that deletes faster than
 *            the worker moves.
 * SEE ALSO   README.md, "Moves"; log.c for the slots that puts leave. */
#include "l2/steps.h"

#include "l2/control.h"
#include "l2/format.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/superblock.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_MOVE_PLACES 12u   /* smaller stores drop the oldest segment */
#define L2_MOVE_SLOTS 4u     /* slots left, see log.c: puts leave 3 */
#define L2_MOVE_LEAST ((uint32_t)64 << 10) /* bytes of one read: a quarter of a segment */
#define L2_MOVE_MOST ((uint32_t)1 << 20)
#define L2_MOVE_ROUNDS 3     /* checks of a record that changes meanwhile */
#define L2_MOVE_PATIENCE_MS 2000 /* of a segment with reads that fail */
#define L2_MOVE_WAYS ((uint64_t)16 << 10)   /* ways of the index in one sample */
#define L2_MOVE_STUCK 64u    /* rounds without progress at one record */
#define L2_SAMPLE_NS UINT64_C(10000000) /* between two samples of a store that drops live records */
#define L2_SAMPLE_RECORDS 4u
#define L2_SHARE_ONE ((uint32_t)1 << 20)

/* ---- the estimate ---- */

/* Note whether bytes that a word leads to are live: an average over about `of` calls. */
static void l2_live_share_note(l2_moves *m, bool live, int32_t of)
{
    const int32_t now = (int32_t)m->live_share;
    m->live_share = (uint32_t)(now + ((live ? (int32_t)L2_SHARE_ONE : 0) - now) / of);
}

/* Sample the words of the index. The first estimate reads all of them. */
static void l2_live_estimate(l2 *d)
{
    l2_moves *m = &d->moves;
    const uint64_t ways = (uint64_t)d->index.buckets * L2_WAYS;
    uint32_t count = (uint32_t)base_clamp(L2_MOVE_WAYS / ways, 1, L2_SHARDS);
    if (!m->sampled) { count = L2_SHARDS; }
    const uint64_t bytes = l2_index_bytes_in(d, m->sample, count) * L2_SHARDS / count;
    m->sample = (m->sample + count) % L2_SHARDS;
    m->words = count == L2_SHARDS ? bytes : m->words - m->words / 8 + bytes / 8;
    if (!m->sampled) { m->live_share = L2_SHARE_ONE; }
    m->sampled = true;
    base_store_rlx(&d->live_bytes, m->words / 1024 * (m->live_share / (L2_SHARE_ONE / 1024)));
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
    const uint64_t want = BASE_MIN(BASE_MAX(need, window), d->form.seg_bytes - at);
    m->bytes = 0;
    if (m->room < want + L2_PAGE) {
        l2_move_end(d);
        m->raw = base_alloc(d->cfg.account, BASE_MOD_L2, (size_t)want + L2_PAGE, NULL);
        if (m->raw == NULL) { return NULL; }
        m->room = (size_t)want + L2_PAGE;
        m->buf = m->raw + (L2_PAGE - (uintptr_t)m->raw % L2_PAGE);
    }
    l2_beat(d);
    const uint64_t from = (uint64_t)base_load_rlx(&d->seg[m->seg].place) * d->form.seg_bytes + at;
    *e = l2_read(d, d->data_direct, m->buf, (size_t)want, from);
    if (*e != 0) { return NULL; }
    m->at = at;
    m->bytes = want;
    return m->buf + (off - at);
}

/* ---- one record ---- */

typedef struct l2_mover { /* one record, and the state before its check */
    const l2_entry *e;
    l2_again again;
    l2_key key;
    uint64_t word[L2_CLASS_WORDS];
    bool exact;  /* a word of the class names the record */
    bool newest; /* and no other word names a newer one: a get looks at it first */
    bool many;   /* the class has, or had, other records */
} l2_mover;

/* Copy the words of the record's class. Return false if none can lead to the record. */
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

/* Return true if a get of the key finds the record in its class. *unread: that is unknown. */
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
    return answers && now - m->failed_ms >= L2_MOVE_PATIENCE_MS;
}

/* Return true if nothing ended the record: expiry, namespace, tags, patterns, floors. */
static bool l2_move_valid(l2 *d, const l2_mover *v)
{
    const l2_rec *r = v->again.rec;
    const size_t link = l2_link_bytes(r);
    const unsigned char *ext = v->again.at + L2_RECORD_HEAD + link;
    const bool future = base_load_rlx(&d->seg[d->moves.seg].future) != 0;
    l2_meta m;
    memset(&m, 0, offsetof(l2_meta, tags));
    if (l2_rec_expired(d, r, future)) { return false; }
    if (r->generation == 0 ? !l2_part_wanted(d, v->key.bytes, v->key.len)
                           : !l2_generation_used(d, r->generation)) {
        return false;
    }
    return v->again.lsn >= l2_floor(d) && l2_ext_read(ext, (size_t)r->ext * 8 - link, &m) &&
           !l2_tags_dead(d, &m) &&
           !l2_globs_match(d, r->generation, v->again.lsn, false, v->key.bytes, v->key.len);
}

/* Check the record at `v->again.at`, then append it if it is live, and unless this is a sample.
 * Return false to repeat later. */
static bool l2_move_checked(l2 *d, l2_mover *v, bool sample)
{
    for (int round = 0; round < L2_MOVE_ROUNDS; round++) {
        if (!l2_move_words(d, v)) { return true; }
        bool unread = false;
        const bool live = l2_move_valid(d, v) && l2_move_found(d, v, &unread);
        if (unread) { return sample || l2_move_unread(d); }
        if (round == 0 && v->exact) { l2_live_share_note(&d->moves, live, sample ? 32 : 1024); }
        if (!live || sample) { return true; }
        const l2_took took = l2_put_again(d, &v->key, &v->again);
        if (took == L2_TOOK) {
            d->moves.copies++;
            return true;
        }
        if (took != L2_IS_OLD && took != L2_IS_INVALID) { return false; }
    }
    return false;
}

/* Return false if the record cannot be moved now. */
static bool l2_move_record(l2 *d, const l2_entry *e, bool sample)
{
    l2_moves *m = &d->moves;
    l2_mover v = { .e = e };
    l2_rec r;
    int err;
    if (e->kind != L2_KIND_PUT || !l2_move_words(d, &v)) { return true; }
    const unsigned char *at = l2_move_read(d, e->off, e->bytes, &err);
    if (at == NULL) { return sample || (err != 0 && l2_move_unread(d)); } /* or no memory */
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
    return l2_h48(v.key.hash) != e->h48 || l2_move_checked(d, &v, sample);
}

/* ---- the oldest segment ---- */

static void l2_move_line(l2 *d, void *ctx, const l2_entry *e)
{
    bool *blocked = ctx;
    l2_moves *m = &d->moves;
    if (*blocked || e->off < m->from) { return; }
    *blocked = !l2_move_record(d, e, false);
    m->from = *blocked ? e->off : e->off + 1;
    m->stuck = *blocked ? m->stuck + 1 : 0;
}

static void l2_sample_line(l2 *d, void *ctx, const l2_entry *e)
{
    uint32_t *most = ctx;
    if (*most == 0 || e->kind != L2_KIND_PUT || e->off < d->moves.from) { return; }
    --*most;
    (void)l2_move_record(d, e, true);
}

/* Begin with the oldest segment. Return false if it cannot be reclaimed now. */
static bool l2_move_begin(l2 *d)
{
    l2_moves *m = &d->moves;
    uint64_t next;
    const uint32_t seg = l2_seg_oldest(d, &next);
    if (seg == UINT32_MAX || next == UINT64_MAX) { return false; }
    const uint64_t w = base_load_acq(&d->seg[seg].word);
    if (L2_SEG_STATE(w) != L2_SEG_DISK || l2_seg_kept(d, seg, L2_SEG_SEQ(w))) { return false; }
    m->seg = seg;
    m->segseq = L2_SEG_SEQ(w);
    m->page = m->from = m->stuck = 0;
    m->last = false;
    m->copies = 0;
    m->failed_ms = 0;
    m->bytes = 0;
    return true;
}

static bool l2_move_goes_on(const l2 *d)
{
    const l2_moves *m = &d->moves;
    const uint64_t w = base_load_acq(&d->seg[m->seg].word);
    return m->on && L2_SEG_STATE(w) == L2_SEG_DISK && L2_SEG_SEQ(w) == m->segseq;
}

/* Return true if the moves must give up: deletes need the room, or the copies find none. */
static bool l2_move_lost(l2 *d)
{
    l2_moves *m = &d->moves;
    const bool stuck = m->stuck >= L2_MOVE_STUCK;
    sync_take(L2_LOG, &d->log_lock);
    const uint32_t left = l2_slots_left(d);
    bool lost = l2_room_ends(d) || (stuck && left == 0);
    sync_drop(L2_LOG, &d->log_lock);
    if (stuck && left == 1 && !lost) { /* the slot of the deletes */
        lost = m->last;
        m->last = true;
        m->stuck = 0;
    }
    return lost;
}

/* Move the records of one footer page; after the last page reclaim the segment. Return true if more
 * is to do now. */
static bool l2_move_step(l2 *d)
{
    l2_moves *m = &d->moves;
    const l2_seg *g = &d->seg[m->seg];
    if (m->page < g->footer_pages) {
        bool blocked = false;
        m->waits = false;
        if (l2_foot_load(d, g, m->segseq, m->page)) {
            (void)l2_foot_each(d, g->data_end, false, l2_move_line, &blocked);
        } else { /* given up: it is damaged, and its records are lost */
            blocked = !l2_move_unread(d);
            m->stuck += blocked;
        }
        m->page += !blocked;
        if (!l2_move_lost(d)) { return !blocked || (!m->waits && m->stuck < L2_MOVE_STUCK); }
    }
    if (m->copies > 0 && d->cfg.level != L2_DROP) {
        l2_disarm(d);
        if (l2_sync_file(d, d->stage_file) != 0) { return false; }
    }
    BASE_POINT("l2.moves_durable");
    l2_move_end(d);
    if (!l2_reclaim(d)) { return false; }
    m->on = false;
    (void)l2_super_store(d); /* else the next run has one slot less */
    return true;
}

/* Look at some records of the segment that goes: which share of the words leads to live ones. */
static void l2_move_sample(l2 *d)
{
    l2_moves *m = &d->moves;
    const uint64_t now_ns = base_now_ns();
    if (now_ns - m->sampled_ns < L2_SAMPLE_NS || !l2_move_begin(d)) { return; }
    m->sampled_ns = now_ns;
    const l2_seg *g = &d->seg[m->seg];
    uint32_t most = L2_SAMPLE_RECORDS;
    m->from = (uint32_t)(now_ns / L2_SAMPLE_NS % 8) * (g->data_end / 8);
    const uint32_t page = (uint32_t)((uint64_t)m->from * g->footer_pages / (g->data_end + 1));
    if (g->footer_pages > 0 && l2_foot_load(d, g, m->segseq, page)) {
        (void)l2_foot_each(d, g->data_end, false, l2_sample_line, &most);
    }
    l2_move_end(d);
}

/* ---- room ---- */

CELLAR_PRIVATE bool l2_move_may(const l2 *d)
{
    return d->cfg.move_pct != 0 && d->places >= L2_MOVE_PLACES;
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

CELLAR_PRIVATE bool l2_room_step(l2 *d)
{
    l2_moves *m = &d->moves;
    if (!l2_move_may(d) || base_load_acq(&d->rebuilding) != 0) { return l2_reclaim(d); }
    if (!m->on) {
        l2_live_estimate(d);
        const bool moving = base_load_rlx(&d->live_bytes) < l2_move_limit(d);
        sync_take(L2_LOG, &d->log_lock);
        d->moving = moving;
        sync_drop(L2_LOG, &d->log_lock);
        if (!moving) {
            l2_move_sample(d);
            return l2_reclaim(d);
        }
    }
    if (!l2_move_goes_on(d)) { m->on = l2_move_begin(d); }
    return m->on && l2_move_step(d);
}

CELLAR_PRIVATE bool l2_room_work(l2 *d)
{
    const bool may = l2_move_may(d);
    sync_take(L2_LOG, &d->log_lock);
    d->moving = d->moving && may;
    const uint32_t left = l2_slots_left(d);
    const bool few = d->moving ? left < L2_MOVE_SLOTS : d->free_count < d->keep_free;
    const bool ends = l2_room_ends(d);
    sync_drop(L2_LOG, &d->log_lock);
    if (!may) { /* the store shrank meanwhile */
        d->moves.on = false;
        l2_move_end(d);
    } else if (base_load_acq(&d->rebuilding) != 0) {
        return ends && l2_reclaim(d);
    }
    return (few || d->moves.on) && l2_room_step(d);
}

BASE_SIZE_END
