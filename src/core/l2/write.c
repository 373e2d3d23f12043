/* SPDX-License-Identifier: MIT
 *
 * write: store entries; log tombstones for changed keys.
 *
 * PICTURE    put         tombstone lock {log lock {filter bits, then: stamp current? reserve}
 *                        memo cleared, word stored} -> copy -> check
 *            invalidate  filter: maybe? -> tombstone lock {memo: unknown? complete tombstone,
 *                        word removed, memo set}
 * PROTOCOL   A change raises its stamp, then reads the filter. A put sets its filter bits, then
 *            reads the stamp. All four steps are seq_cst. So either the put sees the change and is
 *            refused, or the change sees the bits. Then the change takes the tombstone lock after
 *            the put. So each put of an old value is followed by the tombstone of its change.
 * INVARIANTS A tombstone is complete before its word is removed and before the memo has it. One
 *            hold of the tombstone lock covers all three. While the filter is incomplete (index
 *            rebuild) each change leaves a tombstone and a tomb word, which hides older records.
 * LOCKING    L2_TOMBSTONE_LOCK, then L2_LOG or L2_SHARD. A put waits about 50 us for either, a
 *            change as long as the disk makes progress (stall.c). Marking the store DIRTY is I/O:
 *            the tombstone lock is dropped for it.
 * LIMITS     A value above half a segment is refused, and so is a key with a tombstone above
 *            that: no record of it exists.
 * SEE ALSO   admission.c: which entries are worth a write. README.md: cost of the filter check. */
#include "l2/types.h"

#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/control.h"
#include "l2/heartbeat.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/link.h"
#include "l2/log.h"
#include "l2/plan.h"
#include "l2/progress.h"
#include "l2/record.h"
#include "l2/stall.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"
#include "l2/write.h"

#define L2_TOMBSTONE_LOCK_ROUNDS 2000 /* of a put for its tombstone lock: about 50 us */
#define L2_END_ROUNDS 3

/* ---- tombstones ---- */

/* Store the tombstone's word in its bunch. No word stays if the bunch has nothing else. */
static SYNC_HOLDS(L2_TOMBSTONE_LOCK) void l2_tombstone_indexed(l2 *d, l2_tombstone_lock *g,
                                                               uint64_t h48, const l2_link *link,
                                                               bool rebuilding, uint64_t word)
{
    if (link->alone && !rebuilding) {
        l2_index_drop(d, h48, L2_WORD_ADDR(link->word));
    } else if (link->word != 0 || rebuilding) {
        (void)l2_index_link(d, h48, word, link->word); /* no place: no older record has one */
    }
    /* Another key of this hash48 may follow the link, or the index rebuild may find it. So its
     * changes must be logged. */
    if ((link->flags & L2_FLAG_LINKED) == 0 && !rebuilding) { l2_memo_note(g, h48); }
}

/* Log a tombstone, unless one is the newest record of the key. L2_TOOK; L2_IS_CLEAN: mark the store
 * DIRTY and retry; L2_IS_STALLED or FROZEN. */
static SYNC_HOLDS(L2_TOMBSTONE_LOCK) l2_took l2_tombstone_logged(l2 *d, l2_tombstone_lock *g,
                                                                 uint64_t h48, const l2_key *k)
{
    /* Read before the plan: words that the index rebuild adds later may lead to older records of
     * the key. */
    const bool rebuilding = base_load_acq(&d->rebuilding) != 0;
    l2_link link;
    l2_link_plan(d, h48, k, NULL, &link);
    if (link.known) {
        L2_COUNT(d, remembered);
        return L2_TOOK;
    }
    l2_rec r = { .kind = L2_KIND_TOMB, .klen = (uint16_t)k->len, .generation = k->generation,
                 .flags = link.flags };
    r.ext = (uint8_t)(l2_link_bytes(&r) / 8);
    r.bytes = L2_RECORD_HEAD + r.ext * 8u + r.klen;
    l2_spot at;
    const l2_took took = l2_reserve(d, L2_ROOM_KEEP, h48, &r, NULL, &at);
    if (took != L2_IS_CLEAN) { L2_COUNT(d, invalidated); }
    if (took == L2_IS_EMPTY) { return L2_TOOK; } /* all older records are below the floor */
    if (took != L2_TOOK) { return took; }
    unsigned char *to = at.at + L2_RECORD_HEAD;
    if (r.ext != 0) { l2_link_write(&d->form, to, l2_lsn(d, at.segseq, at.off), link.to); }
    memcpy(to + r.ext * 8u, k->bytes, k->len);
    BASE_POINT("l2.tombstone");
    l2_spot_done(d, &at);
    L2_COUNT(d, tombstones);
    uint64_t word = l2_word_make(d, at.seg, at.off, h48, r.bytes);
    word |= L2_WORD_TOMB | L2_WORD_FLAGS(r.flags);
    if (link.to != 0) { word |= link.word & L2_WORD_DURABLE; } /* perhaps of another key */
    l2_tombstone_indexed(d, g, h48, &link, rebuilding, word);
    return L2_TOOK;
}

CELLAR_PRIVATE l2_took l2_tombstone_try(l2 *d, const l2_key *k)
{
    const uint64_t h48 = l2_h48(k->hash);
    l2_tombstone_lock *g = l2_tombstone_lock_of(d, h48);
    l2_took took = L2_TOOK;
    if (!l2_tombstone_lock_take(d, g)) { return L2_IS_FROZEN; }
    BASE_POINT("l2.kill_lock");
    if (l2_memo_knows(g, h48)) {
        L2_COUNT(d, remembered);
    } else {
        took = l2_tombstone_logged(d, g, h48, k);
    }
    sync_drop(L2_TOMBSTONE_LOCK, &g->lock);
    return took;
}

CELLAR_PRIVATE void l2_invalidate(l2 *d, const l2_key *k)
{
    if (l2_rec_room(&d->form, L2_LINK_BYTES, k->len, 0) > d->room_max) { return; }
    if (base_load_rlx(&d->broken) == L2_BROKEN_STAGE) { return; } /* no open reads this log */
    const uint64_t h48 = l2_h48(k->hash);
    const l2_change c = { .hash = k->hash, .generation = k->generation, .len = k->len,
                          .kind = L2_KIND_TOMB };
    l2_owing owing = L2_NOT_OWED;
    l2_waiting w = { 0, 0 };
    while (owing == L2_NOT_OWED) {
        BASE_POINT("l2.kill_asks");
        if (base_load_acq(&d->rebuilding) == 0 && !l2_filter_maybe(d, h48)) {
            L2_COUNT(d, denied);
            return;
        }
        owing = l2_closed_over(d, &c, k->bytes);
        if (owing != L2_NOT_OWED) { return; }
        w.seen = base_load_acq(&d->room);
        const l2_took took = l2_tombstone_try(d, k);
        if (took == L2_TOOK) {
            l2_stage_look(d);
            return;
        }
        owing = l2_logged_else(d, took, &w, &c, k->bytes);
    }
}

/* ---- preparation of a put ---- */

SYNC_TRIES(L2_TOMBSTONE_LOCK)
static SYNC_UNCHECKED bool l2_tombstone_lock_try(l2_tombstone_lock *g)
{
    for (int i = 0; i < L2_TOMBSTONE_LOCK_ROUNDS; i++) {
        if (sync_try(L2_TOMBSTONE_LOCK, &g->lock)) { return true; }
        base_pause();
    }
    return false;
}

/* Reserve the record, link it to its bunch and store its word. The fields that a get needs to
 * follow the link are complete before the word is stored. */
static SYNC_HOLDS(L2_TOMBSTONE_LOCK) l2_took l2_put_linked(l2 *d, l2_tombstone_lock *g,
                                                           const l2_key *k,
                                                           const unsigned char *ext, l2_rec *r,
                                                           const l2_terms *terms, l2_spot *at)
{
    const uint64_t h48 = l2_h48(k->hash);
    const l2_room room = terms->lsn != 0 ? L2_ROOM_MOVE : L2_ROOM_PUT;
    l2_link link;
    l2_link_plan(d, h48, k, terms, &link);
    l2_rec one = *r;
    one.flags |= link.flags;
    one.ext = (uint8_t)(r->ext + l2_link_bytes(&one) / 8);
    one.bytes += l2_link_bytes(&one);
    const l2_took took = l2_reserve(d, room, h48, &one, terms, at);
    if (took != L2_TOOK) { return took; }
    l2_memo_forget(g, h48);
    if (l2_link_bytes(&one) != 0) {
        unsigned char *to = at->at + L2_RECORD_HEAD;
        l2_link_write(&d->form, to, l2_lsn(d, at->segseq, at->off), link.to);
        memcpy(to + L2_LINK_BYTES, ext, (size_t)r->ext * 8);
        memcpy(to + (size_t)one.ext * 8, k->bytes, k->len);
    }
    const uint64_t word = l2_word_make(d, at->seg, at->off, h48, one.bytes);
    at->lost = !l2_index_link(d, h48, word | L2_WORD_FLAGS(one.flags), link.word);
    *r = one;
    return L2_TOOK;
}

/* Write ext, key and value of a reserved record. A linked one has ext and key. */
static void l2_put_body(unsigned char *to, const l2_rec *r, const unsigned char *ext,
                        const void *key, const void *value)
{
    if (l2_link_bytes(r) == 0) {
        memcpy(to, ext, (size_t)r->ext * 8);
        memcpy(to + (size_t)r->ext * 8, key, r->klen);
    }
    if (r->vlen > 0) { memcpy(to + (size_t)r->ext * 8 + r->klen, value, r->vlen); }
}

CELLAR_PRIVATE l2_took l2_put_again(l2 *d, const l2_key *k, const l2_again *a)
{
    const uint64_t h48 = l2_h48(k->hash);
    const uint32_t link = l2_link_bytes(a->rec);
    const unsigned char *ext = a->at + L2_RECORD_HEAD + link;
    const unsigned char *key = a->at + L2_RECORD_HEAD + (size_t)a->rec->ext * 8;
    const l2_terms terms = { a->count, NULL, k->hash, a->lsn, 0 };
    l2_tombstone_lock *g = l2_tombstone_lock_of(d, h48);
    l2_rec r = *a->rec;
    l2_spot at = { .at = NULL };
    r.flags &= L2_FLAG_DURABLE;
    r.ext = (uint8_t)(r.ext - link / 8);
    r.bytes -= link;
    if (!l2_tombstone_lock_try(g)) { return L2_NO_ROOM; }
    l2_took took = L2_IS_OLD;
    if (l2_bunch_same(d, h48, a->word, a->words)) {
        took = l2_put_linked(d, g, k, ext, &r, &terms, &at);
    }
    sync_drop(L2_TOMBSTONE_LOCK, &g->lock);
    if (took != L2_TOOK) { return took; }
    BASE_POINT("l2.moved");
    l2_put_body(at.at + L2_RECORD_HEAD, &r, ext, key, key + r.klen);
    l2_spot_done(d, &at);
    L2_COUNT(d, moved);
    L2_COUNT_BY(d, moved_bytes, r.bytes);
    return L2_TOOK;
}

/* Reserve a put under the tombstone lock. OK: the caller fills `at`. EXISTS: an identical copy
 * exists. CONFLICT: there were invalidations meanwhile, perhaps of this entry. */
static cellar_err l2_put_locked(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                const l2_meta *m, const l2_terms *terms, l2_spot *at)
{
    const uint64_t h48 = l2_h48(k->hash), addr = l2_is_idle(m) ? 0 : m->addr;
    l2_tombstone_lock *g = l2_tombstone_lock_of(d, h48);
    cellar_err err = CELLAR_OK;
    l2_windows w;
    if (!l2_tombstone_lock_try(g)) {
        L2_COUNT(d, dropped);
        return CELLAR_DROPPED;
    }
    BASE_POINT("l2.put_lock");
    l2_filter_ahead(d, h48); /* l2_put_named writes the line under the log lock */
    if (!l2_is_current(terms)) { /* an early check; the decisive one follows with the reservation */
        err = L2_REFUSED;
        L2_COUNT(d, refused_stamp);
    } else if (l2_is_there(d, k->hash, addr)) {
        err = CELLAR_EXISTS;
        L2_COUNT(d, identical);
    } else if (!l2_budget_allows(d, r->bytes, &w)) {
        err = l2_put_refused(m, L2_WHY_BUDGET);
    } else {
        const l2_took took = l2_put_linked(d, g, k, ext, r, terms, at);
        if (took != L2_TOOK) { l2_budgets_back(d, &w, r->bytes); }
        if (took == L2_IS_INVALID) {
            err = CELLAR_CONFLICT;
        } else if (took == L2_IS_OLD) {
            err = L2_REFUSED;
            L2_COUNT(d, refused_stamp);
        } else if (took != L2_TOOK) {
            err = CELLAR_DROPPED;
            L2_COUNT(d, dropped);
            if (took == L2_IS_STALLED) { L2_COUNT(d, stalled); }
            if (took == L2_IS_CLEAN) { base_store_rel(&d->want_dirty, 1u); }
        }
    }
    sync_drop(L2_TOMBSTONE_LOCK, &g->lock);
    return err;
}

/* ---- put ---- */

/* Reserve the put; retry if invalidations arrive at the same time. */
static cellar_err l2_put_rounds(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                const l2_meta *m, const l2_current *current, l2_spot *at)
{
    for (int round = 0; round < L2_END_ROUNDS; round++) {
        const uint64_t count = base_load_sc(&d->invalidations.count);
        BASE_POINT("l2.put_noted");
        const bool dead = l2_tags_verdict(d, m) != 0;
        if (dead || l2_globs_match(d, k->generation, 0, true, k->bytes, k->len)) {
            L2_COUNT(d, refused_invalid);
            return dead ? L2_REFUSED : CELLAR_DROPPED; /* the pattern will be finished then */
        }
        const l2_terms terms = { count, current, k->hash, 0, m->older };
        const cellar_err err = l2_put_locked(d, k, ext, r, m, &terms, at);
        if (err == CELLAR_DROPPED && m->change && d->cfg.level == L2_DROP &&
            base_load_acq(&d->dirty) == L2_NOW_CLEAN) {
            l2_dirty_wait(d); /* the first change since a sync or an open */
        } else if (err != CELLAR_CONFLICT) {
            return err;
        }
    }
    L2_COUNT(d, dropped);
    return CELLAR_DROPPED;
}

CELLAR_PRIVATE cellar_err l2_put_record(l2 *d, const l2_key *k, const void *value, size_t value_len,
                                        const l2_meta *meta, const l2_current *current)
{
    unsigned char ext[L2_EXT_MAX];
    l2_rec r;
    l2_spot at = { .at = NULL };
    if (!l2_put_plan(d, k, value_len, meta, ext, &r)) { return L2_REFUSED; }
    if (!l2_put_used(d, k->hash, meta)) { return L2_REFUSED; }
    l2_box box = { NULL, 0, value };
    if ((d->crypt.seal != NULL || meta->pack) && l2_has_it(d, k->hash, meta)) {
        /* The check under the lock would find it, but after compression or encryption. */
        L2_COUNT(d, identical);
        return CELLAR_OK;
    }
    cellar_err err = L2_REFUSED;
    if (l2_put_boxed(d, k, meta, ext, &r, &box)) {
        err = l2_put_rounds(d, k, ext, &r, meta, current, &at);
    }
    if (err == CELLAR_OK) {
        BASE_POINT("l2.put_copy");
        BASE_ASSERT(at.at != NULL);
        l2_put_body(at.at + L2_RECORD_HEAD, &r, ext, k->bytes, box.bytes);
        l2_spot_done(d, &at);
        l2_stage_look(d);
        L2_COUNT_BY(d, put_bytes, r.bytes);
        if (at.lost) {
            err = l2_put_refused(meta, L2_WHY_INDEX); /* index.full counts it */
        } else if (meta->where != NULL) {
            *meta->where = l2_lsn(d, at.segseq, at.off);
        }
    } else if (err == CELLAR_DROPPED) {
        l2_worker_wake(d);
    }
    l2_box_free(d, &box);
    return err == CELLAR_EXISTS ? CELLAR_OK : err;
}
