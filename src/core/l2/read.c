/* SPDX-License-Identifier: MIT
 *
 * read: find the record of a key and check everything before its value is served.
 *
 * PICTURE    hash -> word -> {in the buffer: a copy | in data.seg: one read of its size} -> mark,
 *            check, kind, generation, key, TTL -> tags, patterns, floor -> caller
 * INVARIANTS A value is served only if its check binds it to this store, its run and its lsn. Its
 *            key is equal byte by byte and its generation is the requested one. With a cipher it
 *            must also decrypt, and a compressed value must have its raw length. All else is a miss
 *            with a counter.
 * PROTOCOL   No pins: the place of a record may be used again during the read. Then the check
 *            fails, and the word, which was changed before, leads elsewhere: the read begins again.
 * LOCKING    The lock of the shard for the word, L2_LOG for the buffer.
 * SEE ALSO   value.c: values in parts. */
#include "l2/read.h"

#include <stddef.h>

#include "l2/codec.h"
#include "l2/health.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/namespaces.h"
#include "l2/progress.h"
#include "l2/record.h"

#define L2_GET_ROUNDS 64
#define L2_STACK_BYTES 4864u /* a value of 4 KiB, rounded up */

/* Return MISS or E_NOMEM, which says nothing about the log. */
static cellar_err l2_unread(const l2_want *w, cellar_err err)
{
    if (w->unread != NULL) { *w->unread = true; }
    return err;
}

CELLAR_PRIVATE void l2_form_at(const l2 *d, uint64_t lsn, l2_form *out)
{
    uint32_t i = d->run_count;
    *out = d->form;
    while (i > 1 && d->run[i - 1].lsn > lsn) { i--; }
    if (i != 0) { out->epoch = d->run[i - 1].number; }
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
    m.addr = l2_addr_of(lsn, r);
    /* The floor and the end of the generation come last: rows of tags and patterns are forgotten
     * once no older record counts, while a reader may still hold the bytes. */
    if (l2_tags_verdict(d, &m) != 0 ||
        l2_globs_match(d, r->generation, lsn, false, key, r->klen) ||
        l2_generation_over(d, r->generation)) {
        L2_COUNT(d, miss_invalid);
        return CELLAR_MISS;
    }
    if (lsn < l2_floor(d)) { return CELLAR_PENDING; } /* it may have moved: the word tells */
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

CELLAR_PRIVATE bool l2_record_valid(l2 *d, const unsigned char *at, const l2_rec *r, uint64_t lsn)
{
    const unsigned char *ext = at + L2_RECORD_HEAD, *key = ext + (size_t)r->ext * 8;
    l2_meta m;
    memset(&m, 0, offsetof(l2_meta, tags));
    const bool ended = l2_rec_expired(d, r) || !l2_ext_read(ext, (size_t)r->ext * 8, &m) ||
                       l2_tags_dead(d, &m) ||
                       l2_globs_match(d, r->generation, lsn, false, key, r->klen);
    /* last, as in l2_judge_value */
    return !ended && lsn >= l2_floor(d) &&
           (r->generation == 0 || l2_generation_used(d, r->generation));
}

/* Check a record that verified. */
static cellar_err l2_judge(l2 *d, const l2_want *w, const unsigned char *at, const l2_rec *r,
                           uint64_t lsn)
{
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r->ext * 8;
    if (r->kind != L2_KIND_PUT || r->klen != w->k->len || r->generation != w->k->generation ||
        memcmp(key, w->k->bytes, r->klen) != 0) {
        return CELLAR_MISS;
    }
    if (l2_rec_expired(d, r)) {
        L2_COUNT(d, miss_expired);
        return CELLAR_MISS;
    }
    l2_box box = { NULL, 0, key + r->klen };
    uint32_t n = r->vlen;
    if (((r->form & L2_FORM_SEALED) != 0 || d->crypt.open != NULL) && /* before ext is used */
        !l2_box_open(d, r, at, w->buf, w->range ? 0 : w->buf_cap, &box, &n)) {
        return box.block_bytes != 0 ? l2_unread(w, CELLAR_E_NOMEM) : CELLAR_MISS;
    }
    const cellar_err err = l2_judge_value(d, w, at, r, lsn, &box, n);
    l2_box_free(d, &box);
    return err;
}

CELLAR_PRIVATE int l2_record_read(l2 *d, uint64_t lsn, unsigned char *buf, uint32_t bytes,
                                  l2_rec *r)
{
    const uint32_t off = (uint32_t)(lsn % d->form.seg_bytes);
    const uint32_t n = BASE_MIN(bytes, d->form.seg_bytes - off);
    l2_form f;
    const bool written = lsn + n <= base_load_acq(&d->written);
    if (written || !l2_buffered(d, buf, n, lsn)) {
        const bool asks = base_load_acq(&d->disk) == L2_DISK_OK && !l2_standing(d);
        const int e = asks ? l2_log_read(d, buf, n, lsn) : EIO;
        if (e != 0 && (asks || !l2_log_read_now(d, buf, n, lsn))) { return e; }
    }
    l2_form_at(d, lsn, &f);
    const uint64_t seq = l2_seq_of(d, lsn);
    return l2_rec_parse(buf, off, off + n, r) && l2_rec_whole(&f, buf, seq, off, r) ? 0 : EILSEQ;
}

CELLAR_PRIVATE l2_word l2_word_now(l2 *d, uint64_t hash)
{
    l2_shard *s = l2_shard_of(d, hash);
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const l2_word w = l2_index_find(d, hash);
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    return w;
}

CELLAR_PRIVATE bool l2_indexed_at(l2 *d, uint64_t hash, uint64_t lsn)
{
    return l2_word_now(d, hash).lsn == lsn;
}

CELLAR_PRIVATE bool l2_indexed(l2 *d, uint64_t hash)
{
    const uint64_t mixed = l2_mix(hash);
    uint64_t seen = 0;
    for (;;) {
        const l2_word w = l2_word_now(d, mixed);
        if (w.lsn >= l2_floor(d) || w.lsn == seen) { return w.lsn != 0 && w.lsn != seen; }
        seen = w.lsn; /* a pass moves a record, then raises the floor: the next word tells */
    }
}

/* Read the record of one word. PENDING: it did not verify. */
static cellar_err l2_get_word(l2 *d, const l2_want *w, l2_word word)
{
    unsigned char small[L2_STACK_BYTES] BASE_ALIGNED(8), *buf = small;
    cellar_err err = CELLAR_PENDING;
    l2_rec r;
    if (word.bytes > sizeof small) { buf = l2_alloc(d, word.bytes); }
    if (buf == NULL) { return l2_unread(w, CELLAR_E_NOMEM); }
    const int e = l2_record_read(d, word.lsn, buf, word.bytes, &r);
    if (e == 0) {
        err = l2_judge(d, w, buf, &r, word.lsn);
    } else if (e != EILSEQ && e != ENODATA) { /* ENODATA: the file of its ring is gone */
        L2_COUNT(d, miss_read);
        err = l2_unread(w, CELLAR_MISS);
    }
    if (buf != small) { base_free(d->cfg.account, BASE_MOD_L2, buf, word.bytes); }
    return err;
}

CELLAR_PRIVATE bool l2_record_ahead(l2 *d, uint64_t hash, bool look)
{
    unsigned char first;
    const l2_word w = l2_word_now(d, l2_mix(hash));
    if (w.lsn == 0 || w.lsn + w.bytes > base_load_acq(&d->written) || d->vfs->ahead == NULL ||
        base_load_acq(&d->disk) != L2_DISK_OK || l2_standing(d)) {
        return false;
    }
    uint64_t at = 0;
    base_vfs_file *f = l2_ring_take(d, w.lsn, &at);
    const bool asks = f != NULL && !(look && d->vfs->pread_now != NULL &&
                                     d->vfs->pread_now(d->vfs->ctx, f, &first, 1, at) == 1);
    if (asks) { d->vfs->ahead(d->vfs->ctx, f, at, w.bytes); }
    l2_ring_drop(d);
    return asks;
}

CELLAR_PRIVATE cellar_err l2_read_record(l2 *d, const l2_want *w)
{
    const uint64_t hash = l2_mix(w->k->hash);
    uint64_t seen = 0;
    if (base_load_rlx(&d->broken) != 0 || l2_is_closed(d)) { return l2_unread(w, CELLAR_MISS); }
    for (int round = 0; round < L2_GET_ROUNDS; round++) {
        const l2_word word = l2_word_now(d, hash);
        const bool below = word.lsn < l2_floor(d); /* a pass moves, then raises the floor */
        if (word.lsn == 0 || (below && word.lsn == seen)) {
            return CELLAR_MISS;
        }
        if (below) {
            seen = word.lsn;
            continue;
        }
        if (word.lsn == seen) { /* the same word again: its record is damaged */
            l2_read_damaged(d);
            return CELLAR_MISS;
        }
        BASE_POINT("l2.get_word");
        const cellar_err err = l2_get_word(d, w, word);
        if (err != CELLAR_PENDING) { return err; }
        seen = word.lsn;
    }
    return l2_unread(w, CELLAR_MISS);
}
