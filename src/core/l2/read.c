/* SPDX-License-Identifier: MIT
 *
 * read: find the record of a key and check everything before its value is served.
 *
 * PICTURE    hash48 -> word -> {slot: pinned, checked in place | disk: one read of the hinted size,
 *            or a copy from a mapping (mapped_read.c), or pieces} -> mark, check, kind, generation,
 *            key, TTL -> caller
 *            pieces of a long plain value: head and key | the rest, into the caller's buffer
 * INVARIANTS A value is served only if its check binds it to this store, epoch, segment and offset.
 *            Its key is equal byte by byte and its generation is the requested one. No tag or
 *            pattern invalidates it; a stale value is a miss, too. With a cipher it must also
 *            decrypt, and a compressed value must have its raw length. All else is a miss with a
 *            counter. A get reads once, plus once past the page cache for a record that does not
 *            verify. Pieces that fail or do not verify are read again, as one record.
 * PROTOCOL   Reader: slot.pins + 1, then read the segment's word again. Worker: store the word,
 *            then read the pins. All are seq_cst, so one of the two sees the other.
 *            A change is acknowledged after the word of each older record is gone. So a get that
 *            returns an old value began before that.
 * LOCKING    None.
 * SEE ALSO   value.c: values in parts. README.md, "Long values": measurements. */
#include "l2/types.h"

#include <errno.h>
#include <stddef.h>

#include "l2/codec.h"
#include "l2/control.h"
#include "l2/format.h"
#include "l2/health.h"
#include "l2/heartbeat.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/link.h"
#include "l2/mapped_read.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/tombstone_filter.h"

#define L2_GET_ROUNDS 64 /* retries while segments move or words change */
#define L2_GET_SLEEP_NS UINT64_C(200000) /* first sleep; each is longer by so much */
#define L2_STACK_BYTES 4864u /* a value of 4 KiB, with the rounding of a hint */
#define L2_LONG_BYTES ((uint32_t)32 << 10) /* a longer record is read in two pieces */
#define L2_LONG_FIRST (L2_RECORD_CHECK + 4096u) /* the first piece: head, key, some of the value */

typedef struct l2_step { /* result of the check of one record */
    bool other;    /* the record is of another key */
    bool copying;  /* another thread is still copying its value */
    uint64_t link; /* if `other`: lsn of the linked record; 0: none */
} l2_step;

/* Return a MISS that says nothing about the log. */
static cellar_err l2_unread(const l2_want *w)
{
    if (w->unread != NULL) { *w->unread = true; }
    return CELLAR_MISS;
}

/* Copy the value of `len` bytes, or the range of it: n bytes of the box. */
static bool l2_judge_copy(l2 *d, const l2_want *w, const l2_box *box, uint32_t n, uint32_t len)
{
    const bool packed = len != n;
    if (!w->range) {
        if (packed) { return l2_box_unpack(d, box, n, w->buf, len); }
        if (n > 0 && box->bytes != w->buf) { memcpy(w->buf, box->bytes, n); }
        return true;
    }
    if (w->offset >= len || w->buf_cap == 0) { return true; }
    const size_t bytes = BASE_MIN(w->buf_cap, len - (size_t)w->offset);
    unsigned char *whole = packed ? l2_alloc(d, len) : NULL;
    const bool right = !packed || (whole != NULL && l2_box_unpack(d, box, n, whole, len));
    if (right) { memcpy(w->buf, (packed ? whole : box->bytes) + w->offset, bytes); }
    if (whole != NULL) { base_free(d->cfg.account, BASE_MOD_L2, whole, len); }
    return right;
}

/* Check the fields of the key's record, then copy the value: n bytes of the box. */
static cellar_err l2_judge_value(l2 *d, const l2_want *w, const unsigned char *at, const l2_rec *r,
                                 uint64_t lsn, const l2_box *box, uint32_t n)
{
    l2_meta m;
    memset(&m, 0, offsetof(l2_meta, tags));
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r->ext * 8;
    if (!l2_ext_read(at + L2_RECORD_HEAD, (size_t)r->ext * 8, &m)) {
        l2_read_damaged(d);
        return CELLAR_MISS;
    }
    if (!l2_box_packed_right(d, r, &m)) { return CELLAR_MISS; }
    m.until_ms = r->expiry_wall_ms != 0 ? r->expiry_wall_ms - d->wall_offset_ms : BASE_NEVER_MS;
    m.deadline_ms = m.end_wall_ms <= 0               ? m.until_ms
                    : m.end_wall_ms < L2_WALL_END_MS ? m.end_wall_ms - d->wall_offset_ms
                                                     : BASE_NEVER_MS;
    m.addr = lsn;
    /* The floor comes last: rows of tags and patterns are forgotten once no older record counts,
     * while a reader may still hold bytes of a segment reclaimed since. */
    if (l2_tags_verdict(d, &m) != 0 || l2_globs_match(d, r->generation, lsn, false, key, r->klen) ||
        lsn < l2_floor(d)) {
        L2_COUNT(d, miss_invalid);
        return CELLAR_MISS;
    }
    const uint32_t len = m.raw_bytes != 0 ? m.raw_bytes : n;
    *w->value_len = m.part_id != 0 ? (size_t)m.part_total : len;
    const bool fits = w->range || *w->value_len <= w->buf_cap;
    if (fits && m.part_id == 0 && !l2_judge_copy(d, w, box, n, len)) { return CELLAR_MISS; }
    if (m.tag_count != 0) { memcpy(w->meta->tags, m.tag_fps, 8 * (size_t)m.tag_count); }
    m.tag_fps = NULL; /* valid only during this call */
    memcpy(w->meta, &m, offsetof(l2_meta, tags));
    if (!fits) { return CELLAR_E_BUFFER; }
    return m.kind != 0 ? CELLAR_ABSENT : CELLAR_OK;
}

CELLAR_PRIVATE bool l2_record_valid(l2 *d, const unsigned char *at, const l2_rec *r, uint64_t lsn,
                                    bool future)
{
    const size_t link = l2_link_bytes(r);
    const unsigned char *ext = at + L2_RECORD_HEAD + link;
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r->ext * 8;
    l2_meta m;
    memset(&m, 0, offsetof(l2_meta, tags));
    if (l2_rec_expired(d, r, future)) { return false; }
    if (r->generation != 0 && !l2_generation_used(d, r->generation)) { return false; }
    return lsn >= l2_floor(d) && l2_ext_read(ext, (size_t)r->ext * 8 - link, &m) &&
           !l2_tags_dead(d, &m) && !l2_globs_match(d, r->generation, lsn, false, key, r->klen);
}

/* Return true if the record is of the requested key. Otherwise fill w->step. */
static bool l2_judge_key(l2 *d, const l2_want *w, const unsigned char *at, const l2_rec *r,
                         uint64_t lsn)
{
    const unsigned char *ext = at + L2_RECORD_HEAD;
    if (r->kind != L2_KIND_CONTROL && r->klen == w->k->len && r->generation == w->k->generation &&
        memcmp(ext + (size_t)r->ext * 8, w->k->bytes, r->klen) == 0) {
        return true;
    }
    w->step->other = true;
    w->step->link = l2_link_bytes(r) != 0 ? l2_link_read(&d->form, ext, lsn) : 0;
    return false;
}

/* Check a record that verified; `value`: its bytes behind the key. */
static cellar_err l2_judge_whole(l2 *d, const l2_want *w, const unsigned char *at, const l2_rec *r,
                                 const unsigned char *value, uint64_t segseq, uint32_t off,
                                 bool future)
{
    if (!l2_judge_key(d, w, at, r, l2_lsn(d, segseq, off)) || r->kind != L2_KIND_PUT) {
        return CELLAR_MISS;
    }
    if (l2_rec_expired(d, r, future)) {
        L2_COUNT(d, miss_expired);
        return CELLAR_MISS;
    }
    l2_box box = { NULL, 0, value };
    uint32_t n = r->vlen;
    if (((r->form & L2_FORM_SEALED) != 0 || d->crypt.open != NULL) && /* before ext is used */
        !l2_box_open(d, r, at, w->buf, w->range ? 0 : w->buf_cap, &box, &n)) {
        return CELLAR_MISS;
    }
    const cellar_err err = l2_judge_value(d, w, at, r, l2_lsn(d, segseq, off), &box, n);
    l2_box_free(d, &box);
    return err;
}

/* Check the record at `at`, of which `avail` bytes exist. CONFLICT: it does not verify and `last`
 * is false. */
static cellar_err l2_judge(l2 *d, const l2_want *w, const unsigned char *at, uint32_t avail,
                           uint64_t segseq, uint32_t off, bool future, bool last)
{
    l2_rec r;
    const uint64_t end = (uint64_t)off + avail;
    const bool marked = l2_rec_marked(&d->form, at, segseq, off, (uint32_t)end, &r);
    if (marked && base_load_acq((const _Atomic uint32_t *)(const void *)at) == 0) {
        /* Incomplete at a process death. The index rebuild gave words to the records behind it. */
        w->step->other = true;
        return CELLAR_MISS;
    }
    if (!marked || !l2_rec_whole(&d->form, at, segseq, off, &r)) {
        if (!last) { return CELLAR_CONFLICT; }
        l2_read_damaged(d);
        return CELLAR_MISS;
    }
    return l2_judge_whole(d, w, at, &r, at + (r.bytes - r.vlen), segseq, off, future);
}

BASE_SIZE_BEGIN

/* Read a record again past the page cache, which may have a page from before the direct write of
 * the segment. */
static cellar_err l2_get_again(l2 *d, const l2_want *w, uint64_t segseq, uint32_t off, uint32_t n,
                               uint64_t at, bool future)
{
    const uint64_t from = at / L2_PAGE * L2_PAGE, end = base_round_up(at + n, L2_PAGE);
    const size_t bytes = (size_t)(end - from) + L2_PAGE;
    unsigned char *raw = l2_alloc(d, bytes);
    if (raw == NULL) { return l2_unread(w); }
    unsigned char *buf = raw + (L2_PAGE - (uintptr_t)raw % L2_PAGE);
    cellar_err err = CELLAR_MISS;
    L2_COUNT(d, reread);
    const int e = l2_read_counted(d, d->data_direct, buf, (size_t)(end - from), from);
    if (e == 0) {
        err = l2_judge(d, w, buf + (at - from), n, segseq, off, future, true);
    } else {
        if (e != EINTR) { l2_io_failed(d, "l2_read", d->data_direct, from, e); }
        L2_COUNT(d, miss_read);
        err = l2_unread(w);
    }
    base_free(d->cfg.account, BASE_MOD_L2, raw, bytes);
    return err;
}

/* Read a piece of a long record. If memory lacks a part of it, first request the `rest` bytes of
 * the record from `at` on, unless they are *asked for. */
static bool l2_read_piece(l2 *d, unsigned char *buf, uint32_t n, uint64_t at, uint32_t rest,
                          bool *asked)
{
    const uint32_t got = *asked ? 0 : (uint32_t)l2_read_now(d, buf, n, at);
    if (got == n) { return true; }
    if (!*asked) { l2_ahead(d, at + got, rest - got); }
    *asked = true;
    return l2_read_counted(d, d->data_file, buf + got, n - got, at + got) == 0;
}

/* Read a long value in two pieces: head and key, and the rest into the caller's buffer. Return
 * false if the record must be read as one: it is of another key, not plain, does not fit, or does
 * not verify. head: L2_LONG_FIRST bytes. */
static bool l2_read_long(l2 *d, const l2_want *w, uint64_t at, uint64_t segseq, uint32_t off,
                         uint32_t n, unsigned char *head, l2_rec *r)
{
    base_sum_parts sum;
    unsigned char *to = w->buf;
    bool none = false, *asked = w->cold != NULL ? w->cold : &none;
    if (!l2_read_piece(d, head, L2_LONG_FIRST, at, n, asked) ||
        !l2_rec_marked(&d->form, head, segseq, off, off + n, r) || r->kind != L2_KIND_PUT ||
        r->form != L2_FORM_PLAIN || r->vlen > w->buf_cap || r->bytes <= L2_LONG_FIRST ||
        r->bytes - r->vlen > L2_LONG_FIRST ||
        !l2_judge_key(d, w, head, r, l2_lsn(d, segseq, off))) {
        return false;
    }
    l2_rec_sum(&d->form, segseq, off, &sum);
    base_sum_add(&d->form.sum, &sum, head + L2_RECORD_CHECK, L2_LONG_FIRST - L2_RECORD_CHECK);
    const uint32_t in_head = L2_LONG_FIRST - (r->bytes - r->vlen); /* bytes of the value */
    const uint32_t rest = r->bytes - L2_LONG_FIRST;
    memcpy(to, head + L2_LONG_FIRST - in_head, in_head);
    BASE_POINT("l2.get_piece");
    if (!l2_read_piece(d, to + in_head, rest, at + L2_LONG_FIRST, rest, asked)) { return false; }
    base_sum_add(&d->form.sum, &sum, to + in_head, rest);
    return l2_rec_summed(&d->form, head, &sum);
}

BASE_SIZE_END

/* Read and check a record on disk. PENDING: the segment was reclaimed or moved, and its place may
 * hold another one. */
static cellar_err l2_get_disk(l2 *d, const l2_want *w, const l2_seg *g, uint64_t state,
                              uint32_t off, uint32_t bytes)
{
    unsigned char small[L2_STACK_BYTES] BASE_ALIGNED(8);
    unsigned char *buf = small;
    const uint32_t n = BASE_MIN(bytes, d->form.seg_bytes - off);
    const uint32_t place = base_load_acq(&g->place); /* release in l2_move_sealed */
    const uint64_t at = (uint64_t)place * d->form.seg_bytes + off;
    cellar_err err = CELLAR_MISS;
    l2_rec r;
    int e = 0;
    uint32_t have = n;
    const uint64_t since_ns = base_now_ns();
    const l2_step before = *w->step;
    /* The disk, or the worker's thread, stands still: only what the page cache has is read. */
    const bool stands = l2_standing(d);
    const bool pieces = n > L2_LONG_BYTES && !stands && !w->range && d->crypt.open == NULL &&
                        place >= base_load_rlx(&d->mapped.places) &&
                        l2_read_long(d, w, at, L2_SEG_SEQ(state), off, n, small, &r);
    /* A key and a link that did not verify lead nowhere. */
    if (!pieces) { *w->step = before; }
    if (!pieces && n > sizeof small) { buf = l2_alloc(d, n); }
    if (buf == NULL) { return l2_unread(w); }
    if (stands) {
        have = (uint32_t)l2_read_now(d, buf, n, at);
        e = have != 0 ? 0 : EINTR;
    } else if (!pieces && !l2_map_read(d, buf, n, place, at)) {
        e = l2_read_counted(d, d->data_file, buf, n, at);
        if (e == 0) { l2_map_note(d, at, n); }
    }
    l2_timed(d, STATS_OP_L2_READ, since_ns);
    if (base_load_acq(&g->place) != place || base_load_acq(&g->word) != state) {
        err = CELLAR_PENDING;
    } else if (e != 0) {
        if (e != EINTR) { l2_io_failed(d, "l2_read", d->data_file, at, e); }
        L2_COUNT(d, miss_read);
        err = l2_unread(w);
    } else {
        const bool future = base_load_rlx(&g->future) != 0;
        err = pieces ? l2_judge_whole(d, w, buf, &r, w->buf, L2_SEG_SEQ(state), off, future)
                     : l2_judge(d, w, buf, have, L2_SEG_SEQ(state), off, future, false);
        if (err == CELLAR_CONFLICT && stands) {
            err = l2_unread(w);
        } else if (err == CELLAR_CONFLICT) {
            err = l2_get_again(d, w, L2_SEG_SEQ(state), off, n, at, future);
            /* Between the two reads the segment may have moved and its old place may be used
             * again. */
            const bool same = base_load_acq(&g->place) == place && base_load_acq(&g->word) == state;
            if (err == CELLAR_MISS && !same) { err = CELLAR_PENDING; }
        }
    }
    if (buf != small) { base_free(d->cfg.account, BASE_MOD_L2, buf, n); }
    return err;
}

/* Check a record in a slot. While its value is being copied, only the key and the link of a linked
 * record are complete. */
static cellar_err l2_get_staged(l2 *d, const l2_want *w, const unsigned char *at, uint64_t word,
                                uint64_t segseq, uint32_t off, uint32_t kept_end)
{
    const uint32_t avail = BASE_MIN(l2_word_bytes(d, word), d->form.seg_bytes - off);
    l2_rec r;
    /* The head is read before the check is set: the reservation wrote it before the word. */
    if (base_load_acq((const _Atomic uint32_t *)(const void *)at) != 0) {
        return l2_judge(d, w, at, avail, segseq, off, false, true);
    }
    if (off < kept_end) { /* void: its process died */
        w->step->other = true;
        return CELLAR_MISS;
    }
    if ((word & L2_WORD_LINKED) != 0 && l2_rec_marked(&d->form, at, segseq, off, off + avail, &r)) {
        if (!l2_judge_key(d, w, at, &r, l2_lsn(d, segseq, off))) { return CELLAR_MISS; }
    }
    /* The copy that this record replaces may be acknowledged as durable. */
    w->step->copying = true;
    return CELLAR_PENDING;
}

/* Check the record of one word. PENDING: the segment moved, retry. */
static cellar_err l2_get_word(l2 *d, const l2_want *w, uint64_t word)
{
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    const uint32_t off = l2_word_off(d, word), bytes = l2_word_bytes(d, word);
    const uint64_t state = base_load_acq(&g->word);
    const uint64_t segseq = L2_SEG_SEQ(state);
    if (l2_lsn(d, segseq, off) < base_load_acq(&d->floor_lsn) ||
        l2_lsn(d, segseq, off) < base_load_acq(&d->leaving_lsn)) {
        return CELLAR_MISS;
    }
    if (L2_SEG_STATE(state) == L2_SEG_DISK) {
        if (base_load_acq(&d->disk) != L2_DISK_OK) {
            L2_COUNT(d, miss_read);
            return l2_unread(w);
        }
        return l2_get_disk(d, w, g, state, off, bytes);
    }
    if (L2_SEG_STATE(state) != L2_SEG_STAGE) { return CELLAR_PENDING; }
    l2_slot *s = &d->slot[L2_SEG_SLOT(state)];
    (void)base_add_sc(&s->pins, 1u);
    BASE_POINT("l2.pin");
    cellar_err err = CELLAR_PENDING;
    if (base_load_sc(&g->word) == state) {
        err = l2_get_staged(d, w, s->base + off, word, segseq, off, s->kept_end);
    }
    (void)base_sub_ar(&s->pins, 1u);
    if (base_sigbus_hit(d->guard)) { /* The bytes may have become zeros between check and copy. */
        l2_stage_lost(d);
        return CELLAR_MISS;
    }
    return err;
}

BASE_SIZE_BEGIN

/* Find the newest record of the key among all records of the bunch's words and their links. Two
 * words may lead to the same records, so records are visited newest first. partial: the index
 * rebuild runs. A link is not followed then: it may pass over a newer record of the key that the
 * index does not have yet. word: the `n` words, which it changes. PENDING: retry. */
static cellar_err l2_get_newest(l2 *d, const l2_want *w, uint64_t h48, bool partial, uint64_t *word,
                                uint32_t n)
{
    uint64_t lsn[L2_BUNCH_WORDS];
    for (uint32_t i = 0; i < n; i++) { lsn[i] = l2_word_lsn(d, word[i]); }
    for (;;) {
        uint32_t at = 0;
        for (uint32_t i = 1; i < n; i++) { at = lsn[i] > lsn[at] ? i : at; }
        if (n == 0 || lsn[at] == 0) { return CELLAR_MISS; }
        *w->step = (l2_step){ .other = false };
        const cellar_err err = l2_get_word(d, w, word[at]);
        if (err != CELLAR_MISS || !w->step->other) { return err; }
        /* Most absent keys end here, before the next read. */
        if (base_load_acq(&d->rebuilding) == 0 && !l2_filter_maybe(d, h48)) { return CELLAR_MISS; }
        const uint64_t link = w->step->link < lsn[at] ? w->step->link : 0;
        if (partial && link != 0) { return CELLAR_MISS; }
        word[at] = link != 0 ? l2_link_word(d, link) : 0;
        if (word[at] == L2_LINK_LOST) { return l2_unread(w); }
        lsn[at] = word[at] != 0 ? link : 0;
    }
}

/* Search the words of the bunch. A record may move meanwhile: words that change prove no miss. */
static cellar_err l2_get_linked(l2 *d, const l2_want *w, uint64_t h48, bool partial)
{
    uint64_t was[L2_BUNCH_WORDS], word[L2_BUNCH_WORDS];
    const uint32_t n = l2_index_all(d, h48, was);
    memcpy(word, was, n * sizeof *word);
    const cellar_err err = l2_get_newest(d, w, h48, partial, word, n);
    return err == CELLAR_MISS && !l2_bunch_same(d, h48, was, n) ? CELLAR_PENDING : err;
}

/* Wait for the thread that copies a value: about 100 ms at most in all rounds. */
static void l2_get_wait(int round)
{
    const int naps = round - L2_GET_ROUNDS / 2;
    BASE_POINT("l2.get_waits");
    if (naps < 0) {
        base_yield();
    } else {
        base_sleep_ns(L2_GET_SLEEP_NS * (uint64_t)(naps + 1));
    }
}

BASE_SIZE_END

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_indexed(l2 *d, uint64_t hash)
{
    const uint64_t h48 = l2_h48(hash);
    uint64_t word = l2_index_find(d, h48), before = 0;
    bool there = false;
    for (; word != before && !there; word = l2_index_find(d, h48)) { /* else the part moves now */
        BASE_POINT("l2.part_word");
        before = word;
        there = (word & L2_WORD_TWIN) != 0 || /* one of several: the read decides */
                ((word & L2_WORD_TOMB) == 0 &&
                 l2_word_lsn(d, word) >= BASE_MAX(base_load_acq(&d->floor_lsn), (uint64_t)1));
    }
    return there;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_record_ahead(l2 *d, uint64_t hash, bool look)
{
    unsigned char first;
    const uint64_t word = l2_index_find(d, l2_h48(hash));
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    if (word == 0 || L2_SEG_STATE(base_load_acq(&g->word)) != L2_SEG_DISK ||
        base_load_acq(&d->disk) != L2_DISK_OK || base_load_rlx(&d->reads_stuck) != 0) {
        return false;
    }
    const uint64_t place = base_load_acq(&g->place);
    const uint64_t at = place * d->form.seg_bytes + l2_word_off(d, word);
    if (look && l2_read_now(d, &first, 1, at) == 1) { return false; }
    l2_ahead(d, at, l2_word_bytes(d, word));
    return true;
}

CELLAR_PRIVATE cellar_err l2_read_record(l2 *d, const l2_want *wanted)
{
    l2_step step;
    l2_want w = *wanted;
    w.step = &step;
    const uint64_t h48 = l2_h48(w.k->hash);
    if (base_load_rlx(&d->broken) != 0 || l2_is_closed(d)) { return l2_unread(&w); }
    for (int round = 0; round < L2_GET_ROUNDS; round++) {
        const bool partial = base_load_acq(&d->rebuilding) != 0; /* before the look at the index */
        const uint64_t word = l2_index_find(d, h48);
        const bool more = (word & (L2_WORD_LINKED | L2_WORD_TWIN)) != 0;
        if (word == 0 || ((word & L2_WORD_TOMB) != 0 && !more)) {
            L2_COUNT(d, miss_word);
            if (partial) { L2_COUNT(d, miss_rebuild); }
            return CELLAR_MISS;
        }
        step = (l2_step){ .other = false };
        cellar_err err = CELLAR_MISS;
        if ((word & L2_WORD_TWIN) == 0) { err = l2_get_word(d, &w, word); }
        if (more && err == CELLAR_MISS && ((word & L2_WORD_TWIN) != 0 || step.other)) {
            err = l2_get_linked(d, &w, h48, partial);
        }
        if (err == CELLAR_PENDING) {
            if (step.copying) { l2_get_wait(round); }
            continue;
        }
        if (err != CELLAR_MISS || l2_index_find(d, h48) == word) {
            if (err == CELLAR_MISS && step.other) { L2_COUNT(d, miss_key); }
            if (err == CELLAR_MISS && partial) { L2_COUNT(d, miss_rebuild); }
            return err;
        }
    }
    return l2_unread(&w);
}
