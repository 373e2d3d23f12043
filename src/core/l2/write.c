/* SPDX-License-Identifier: MIT
 *
 * write: store entries; log tombstones for changed keys; append live records again.
 *
 * PICTURE    put         shard {log lock {stamp current? append} word stored}
 *                        -> durable, or it replaces a record: written before the return
 *            invalidate  shard {no word: nothing; tombstone, word removed} -> written
 *            move        shard {word still leads here? append, word stored}
 * PROTOCOL   A change raises its stamp, then takes the lock of the shard. A put reads the stamp
 *            under it. So the put sees the change and is refused, or the change finds the word.
 * INVARIANTS The index has each record that the next open could find, of keys that no newer record
 *            or tombstone ends. So a change without a word logs nothing. Where the index was full
 *            at the open, each change logs until the log has passed the records that have no word.
 *            After a kill a record never comes back once a newer one, or its end, was acknowledged:
 *            those are written before their call returns (l2_ensure), also where the older one is
 *            not written yet. A write may take it alone, or what it replaces may be written.
 * LOCKING    L2_TOMBSTONE_LOCK of the shard, then L2_LOG. No thread waits for the disk with either.
 * LIMITS     A full shard refuses further keys.
 * SEE ALSO   plan.c: what a put stores. stall.c: a disk that does not answer. */
#include "l2/write.h"

#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/control.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/live.h"
#include "l2/plan.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/stall.h"

#define L2_END_ROUNDS 3
#define L2_PLACE_TRIES 8 /* entries that are looked at for a place */
#define L2_WAY_ROUNDS 64 /* of a put for a buffer or segment that is full */

/* ---- tombstones ---- */

/* Log a tombstone if the index has the key. *end: all below must be written. */
static l2_took l2_tombstone(l2 *d, const l2_key *k, uint64_t *end)
{
    const uint64_t hash = l2_mix(k->hash);
    l2_shard *s = l2_shard_of(d, hash);
    unsigned char value[16] = { L2_CTL_END };
    l2_record r = { .rec = { .kind = L2_KIND_TOMB, .klen = (uint16_t)k->len,
                             .generation = k->generation, .bytes = L2_RECORD_HEAD + k->len },
                    .kind = L2_KIND_TOMB, .hash = hash, .key = k->bytes, .value = value };
    if (r.rec.bytes > d->room_max) { /* no put has such a key: the hash alone is logged */
        l2_w64(value + 8, hash);
        r.rec = (l2_rec){ .kind = L2_KIND_CONTROL, .vlen = sizeof value,
                          .bytes = L2_RECORD_HEAD + sizeof value };
    }
    uint64_t lsn = 0;
    l2_took took = L2_TOOK;
    *end = 0;
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    BASE_POINT("l2.kill_lock");
    const l2_word w = l2_index_find(d, hash);
    const bool logs = w.lsn != 0 || l2_lacks_words(d);
    if (logs) { took = l2_append(d, L2_USE_KEEP, &r, NULL, &lsn); }
    if (logs && took == L2_TOOK) {
        if (w.lsn != 0) {
            l2_index_drop(d, hash);
            l2_live_take(d, k->generation, w.bytes);
        }
        s->ended = lsn + l2_rec_room(&d->form, 0, r.rec.klen, r.rec.vlen);
    }
    *end = s->ended; /* without a word, too: that of another thread may not be written */
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    if (took == L2_TOOK) {
        L2_COUNT_BY(d, tombstones, logs);
        L2_COUNT_BY(d, invalidated, logs);
        L2_COUNT_BY(d, denied, !logs);
    }
    return took;
}

CELLAR_PRIVATE void l2_invalidate(l2 *d, const l2_key *k)
{
    l2_waiting w = { 0, 0 };
    uint64_t end = 0;
    while (!l2_is_closed(d) && base_load_rlx(&d->broken) == 0) {
        w.seen = l2_room_seen(d);
        const l2_took took = l2_tombstone(d, k, &end);
        if (took == L2_TOOK) {
            l2_ensure(d, end);
            return;
        }
        if (!l2_wait(d, took, &w)) { return; }
    }
}

/* Return true if no kill, at ALWAYS no power cut, takes what is below `lsn`. */
static bool l2_is_kept(const l2 *d, uint64_t lsn)
{
    return base_load_acq(d->cfg.level == L2_ALWAYS ? &d->synced : &d->written) >= lsn;
}

CELLAR_PRIVATE bool l2_nothing(const l2 *d, uint64_t hash)
{
    l2 *own = (l2 *)(uintptr_t)d; /* the lock of the shard alone changes */
    const uint64_t mixed = l2_mix(hash);
    l2_shard *s = l2_shard_of(own, mixed);
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const bool none = l2_index_find(own, mixed).lsn == 0 && l2_is_kept(own, s->ended);
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    return none && !l2_lacks_words(d) && !l2_is_closed(d); /* a closed tier lost its words */
}

/* ---- put ---- */

typedef struct l2_put_at { /* result of an append */
    uint64_t lsn, end;
    bool ensure; /* it replaces a record */
} l2_put_at;

/* Read a record up to its key. Return true if its entry may give its place up: it is not
 * durable, neither a part nor an image, and its key is not longer than a page. */
static bool l2_is_ordinary(l2 *d, const l2_word *w, l2_rec *r)
{
    unsigned char at[L2_PAGE] BASE_ALIGNED(8);
    const uint32_t off = (uint32_t)(w->lsn % d->form.seg_bytes), rest = d->form.seg_bytes - off;
    const uint32_t n = BASE_MIN(BASE_MIN(w->bytes, rest), (uint32_t)sizeof at);
    l2_form f;
    const bool read = l2_buffered(d, at, n, w->lsn) ||
                      (l2_standing(d) ? l2_log_read_now(d, at, n, w->lsn)
                                      : l2_log_read(d, at, n, w->lsn) == 0);
    if (!read || !l2_rec_parse(at, off, d->form.seg_bytes, r) || l2_rec_named(r) > n) {
        return false;
    }
    l2_form_at(d, w->lsn, &f);
    return l2_rec_marked(&f, at, l2_seq_of(d, w->lsn), off, r) && r->kind == L2_KIND_PUT &&
           (r->flags & L2_FLAG_DURABLE) == 0 && r->generation != 0;
}

/* Log the end of the entry with this word, and remove the word. Until that is written, a change
 * without a word waits for it (ended). */
static l2_took l2_entry_end(l2 *d, uint64_t hash, uint64_t lsn, uint32_t generation)
{
    unsigned char value[16] = { L2_CTL_END };
    l2_shard *s = l2_shard_of(d, hash);
    uint64_t at = 0, end = 0;
    l2_took took = L2_TOOK;
    l2_w64(value + 8, hash);
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const l2_word w = l2_index_find(d, hash);
    if (w.lsn == lsn) {
        took = l2_control_try(d, L2_USE_KEEP, L2_KIND_TOMB, hash, value, sizeof value, &at, &end);
        if (took == L2_TOOK) {
            s->ended = end;
            l2_index_drop(d, hash);
            l2_live_take(d, generation, w.bytes);
        }
    }
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    if (took == L2_TOOK && end != 0) {
        if (base_load_rlx(&d->lost_entries[L2_LOST_index]) == 0) {
            l2_lost_entries(d, L2_LOST_index, 1, w.bytes); /* one line */
        } else {
            (void)base_add_rlx(&d->lost_entries[L2_LOST_index], (uint64_t)1);
        }
    }
    return took;
}

/* End an ordinary entry: its shard has a place for the key then. Return NO_PLACE if there is none,
 * and NO_ROOM if the log has no room for its end. */
static l2_took l2_place_free(l2 *d, uint64_t hash)
{
    l2_shard *s = l2_shard_of(d, hash);
    uint64_t other = 0, after = 0;
    for (int i = 0; i < L2_PLACE_TRIES; i++) {
        l2_rec r;
        sync_take(L2_TOMBSTONE_LOCK, &s->lock);
        const l2_word w = l2_index_near(d, hash, after, &other);
        sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
        if (w.lsn == 0) { break; }
        after = w.lsn;
        if (!l2_is_ordinary(d, &w, &r)) { continue; }
        l2_took took = l2_entry_end(d, other, w.lsn, r.generation);
        while (took != L2_TOOK && l2_make_way(d, took, l2_put_wait(d)) == L2_TOOK) {
            took = l2_entry_end(d, other, w.lsn, r.generation);
        }
        return took == L2_TOOK ? L2_TOOK : L2_NO_ROOM;
    }
    return L2_NO_PLACE;
}

/* Append a put and store its word. */
static l2_took l2_put_once(l2 *d, const l2_record *r, const l2_terms *terms, l2_put_at *out)
{
    l2_shard *s = l2_shard_of(d, r->hash);
    const uint32_t bytes = r->rec.bytes;
    l2_took took = L2_IS_OLD;
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    BASE_POINT("l2.put_lock");
    const l2_word w = l2_index_find(d, r->hash);
    const bool room = w.lsn != 0 || l2_index_room(d, r->hash);
    if (room) { took = l2_append(d, L2_USE_PUT, r, terms, &out->lsn); }
    if (room && took == L2_TOOK) {
        out->end = out->lsn + (uint64_t)base_round_up(bytes, d->form.granule);
        if (w.lsn != 0) { l2_live_take(d, r->rec.generation, w.bytes); }
        l2_index_set(d, r->hash, out->lsn, bytes);
        l2_live_add(d, r->rec.generation, l2_word_bytes(bytes));
        out->ensure = w.lsn != 0 || l2_lacks_words(d) || !l2_is_kept(d, s->ended);
    }
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    return room ? took : L2_NO_PLACE;
}

/* Append a put; make way as often as needed. */
static l2_took l2_put_tries(l2 *d, const l2_record *r, const l2_terms *terms, l2_put_at *out)
{
    l2_took took = l2_put_once(d, r, terms, out);
    for (int i = 0; i < L2_WAY_ROUNDS; i++) {
        if (took == L2_NO_PLACE) {
            took = l2_place_free(d, r->hash);
            if (took != L2_TOOK) { break; }
        } else if (took != L2_BUF_FULL && took != L2_SEG_FULL) {
            return took;
        } else if (l2_make_way(d, took, l2_put_wait(d)) != L2_TOOK) {
            return L2_NO_ROOM;
        }
        took = l2_put_once(d, r, terms, out);
    }
    return took;
}

static cellar_err l2_put_dropped(l2 *d)
{
    L2_COUNT(d, dropped);
    l2_worker_wake(d);
    return CELLAR_DROPPED;
}

/* Append a put, unless a tag or pattern ended it; retry if invalidations arrive meanwhile. */
static cellar_err l2_put_rounds(l2 *d, const l2_key *k, const l2_record *r, const l2_meta *m,
                                const l2_current *current, l2_put_at *out)
{
    for (int round = 0; round < L2_END_ROUNDS; round++) {
        const uint64_t count = base_load_sc(&d->invalidations.count);
        BASE_POINT("l2.put_noted");
        const bool dead = l2_tags_verdict(d, m) != 0;
        if (dead || l2_globs_match(d, k->generation, 0, true, k->bytes, k->len)) {
            L2_COUNT(d, refused_invalid);
            return dead ? L2_REFUSED : CELLAR_DROPPED; /* the pattern will be finished then */
        }
        if (l2_has_it(d, k->hash, m)) {
            L2_COUNT(d, identical);
            return CELLAR_EXISTS;
        }
        l2_windows w;
        if (!l2_budget_allows(d, r->rec.bytes, &w)) { return l2_put_refused(m, L2_WHY_BUDGET); }
        const l2_terms terms = { count, current, k->hash, 0 };
        const l2_took took = l2_put_tries(d, r, &terms, out);
        if (took == L2_TOOK) { return CELLAR_OK; }
        l2_budgets_back(d, &w, r->rec.bytes);
        if (took == L2_IS_OLD) {
            L2_COUNT(d, refused_stamp);
            return L2_REFUSED;
        }
        if (took == L2_NO_PLACE) {
            (void)base_add_rlx(&d->index.full, (uint64_t)1);
            return l2_put_refused(m, L2_WHY_INDEX);
        }
        if (took != L2_IS_INVALID) { break; }
    }
    return l2_put_dropped(d);
}

/* Write what a put requires, before it returns. */
static cellar_err l2_put_written(l2 *d, const l2_meta *m, const l2_put_at *at)
{
    if (at->ensure) { l2_ensure(d, at->end); }
    if (m->durable) { /* what relies on the stall marker is not */
        const uint64_t wait_ns = at->ensure ? 0 : L2_WAIT_NS;
        if (l2_flush(d, at->end, wait_ns) != 0) { return l2_put_dropped(d); }
        if (!l2_all_written(d)) { return l2_put_dropped(d); } /* the next open begins empty */
    } else if (at->end - base_load_acq(&d->written) >= L2_WRITE_BYTES) {
        (void)l2_flush(d, at->end, 0);
    } else if (base_load_sc(&d->asleep) != 0) {
        l2_worker_wake(d); /* it writes the buffer in 10 ms */
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err l2_put_record(l2 *d, const l2_key *k, const void *value, size_t value_len,
                                        const l2_meta *meta, const l2_current *current)
{
    unsigned char ext[L2_EXT_MAX];
    l2_record r = { .kind = L2_KIND_PUT, .hash = l2_mix(k->hash), .ext = ext, .key = k->bytes };
    l2_put_at at = { 0, 0, false };
    if (!l2_put_plan(d, k, value_len, meta, ext, &r.rec)) { return L2_REFUSED; }
    if (!l2_put_used(d, k->hash, meta)) { return L2_REFUSED; }
    l2_box box = { NULL, 0, value };
    if ((d->crypt.seal != NULL || meta->pack) && l2_has_it(d, k->hash, meta)) {
        L2_COUNT(d, identical); /* known without compression or encryption */
        return CELLAR_OK;
    }
    cellar_err err = L2_REFUSED;
    if (l2_put_boxed(d, k, meta, ext, &r.rec, &box)) {
        r.value = box.bytes;
        err = l2_put_rounds(d, k, &r, meta, current, &at);
    }
    l2_box_free(d, &box);
    if (err == CELLAR_OK) {
        L2_COUNT_BY(d, put_bytes, r.rec.bytes);
        err = l2_put_written(d, meta, &at);
        if (err == CELLAR_OK && meta->where != NULL) { *meta->where = l2_addr_of(at.lsn, &r.rec); }
    }
    return err == CELLAR_EXISTS ? CELLAR_OK : err;
}

/* ---- move ---- */

CELLAR_PRIVATE l2_took l2_put_again(l2 *d, const l2_row *row, uint64_t lsn,
                                    const unsigned char *at, const l2_rec *r, uint64_t count)
{
    const unsigned char *ext = at + L2_RECORD_HEAD, *key = ext + (size_t)r->ext * 8;
    const l2_record again = { .rec = *r, .hash = row->hash, .kind = L2_KIND_PUT, .ext = ext,
                              .key = key, .value = key + r->klen };
    const l2_terms terms = { count, NULL, 0, lsn };
    l2_shard *s = l2_shard_of(d, row->hash);
    uint64_t to = 0;
    l2_took took = L2_IS_OLD;
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const l2_word w = l2_index_find(d, row->hash);
    const bool here = w.lsn == lsn && lsn >= l2_floor(d);
    if (here) { took = l2_append(d, L2_USE_COPY, &again, &terms, &to); }
    if (here && took == L2_TOOK) { l2_index_set(d, row->hash, to, w.bytes); }
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    if (took != L2_TOOK) { return took; }
    BASE_POINT("l2.moved");
    L2_COUNT(d, moved);
    L2_COUNT_BY(d, moved_bytes, r->bytes);
    return L2_TOOK;
}
