/* SPDX-License-Identifier: MIT
 *
 * image: data of the cache under a name (Bloom filters of namespaces), in records of the log.
 *
 * PICTURE    head: bytes, note, sum, run | piece 0 | piece 1 | ..   records of generation 0
 *            key: 16 bytes that no part has, u32 which of the records, name
 * INVARIANTS Pieces of two saves in a row have different keys. So the head that is found belongs to
 *            its pieces, or the sum is wrong.
 *            An image is clean if a close wrote it, each run since then was closed (SUPER,
 *            clean_since), and its name was not opened since: the close of l2_image tells its head,
 *            and the end of a run that could not read a head tells SUPER.
 * LOCKING    `imaging` is a role: its holder opens one image, or saves all.
 * LIMITS     A quarter of the size, as a value. Images count for write limits. */
#include "l2/image.h"

#include "l2/log.h"
#include "l2/progress.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_IMAGE_TAG "image of a name:" /* 16 bytes: a part has 18 in all */
#define L2_IMAGE_TAG_LEN 16u
#define L2_IMAGE_KEY (L2_IMAGE_TAG_LEN + 4u + L2_IMAGE_NAME_MAX)
#define L2_IMAGE_HEAD 48u
#define L2_IMAGE_OTHER 0x80000000u /* the pieces of every second save */
#define L2_IMAGE_IS_HEAD UINT32_MAX
#define L2_IMAGE_PIECE 65536u
#define L2_IMAGE_BESIDE 512u /* head, extension and key of a record */
#define L2_IMAGE_TRIES 400   /* for room, 5 ms each */

typedef struct l2_image_head {
    uint64_t bytes, note[2], sum, opens; /* opens: number of the run that wrote it */
    uint32_t piece; /* bytes of each piece but the last */
    bool closing, other; /* a close wrote it; which pieces */
} l2_image_head;

struct l2_image { /* an image that is read */
    l2 *d;
    l2_image_head head;
    char name[L2_IMAGE_NAME_MAX];
    uint32_t len;
    uint64_t done, sum;
    size_t have, at;    /* bytes in buf; those that were taken */
    unsigned char *buf; /* one piece; NULL: no memory */
};

struct l2_images { /* a save */
    l2 *d;
    bool closing, full;
    l2_image_head head, was; /* was.bytes 0: the name had none */
    char name[L2_IMAGE_NAME_MAX];
    uint32_t len;
    size_t held;
    unsigned char *buf;
};

static uint32_t l2_piece_bytes(const l2 *d)
{
    return BASE_MIN(L2_IMAGE_PIECE, d->room_max) - L2_IMAGE_BESIDE - d->seal_bytes;
}

/* ---- records ---- */

/* Name a record of an image. */
static l2_key l2_image_key(const l2 *d, unsigned char at[L2_IMAGE_KEY], const char *name,
                           uint32_t len, uint32_t which)
{
    memcpy(at, L2_IMAGE_TAG, L2_IMAGE_TAG_LEN);
    l2_w32(at + L2_IMAGE_TAG_LEN, which);
    memcpy(at + L2_IMAGE_TAG_LEN + 4, name, len);
    l2_key k = { at, L2_IMAGE_TAG_LEN + 4 + len, 0, 0 };
    k.hash = base_hash(&d->hash_key, 0, at, k.len);
    return k;
}

static uint32_t l2_piece_name(const l2_image_head *h, uint64_t index)
{
    return (uint32_t)index | (h->other ? L2_IMAGE_OTHER : 0);
}

static bool l2_image_put(l2 *d, const char *name, uint32_t len, uint32_t which, const void *bytes,
                         size_t n)
{
    unsigned char at[L2_IMAGE_KEY];
    const l2_key k = l2_image_key(d, at, name, len, which);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; i < L2_IMAGE_TRIES && err == CELLAR_DROPPED && !l2_off(d); i++) {
        const uint32_t seen = l2_room_seen(d);
        if (l2_is_closed(d)) { break; }
        /* A try may append the piece. While a write hangs, deletes need that room. */
        if (!l2_stalled(d)) { err = l2_put_record(d, &k, bytes, n, &m, NULL); }
        if (err == CELLAR_DROPPED) { l2_room_wait(d, seen); }
    }
    return err == CELLAR_OK;
}

/* Read a record into buf, of cap bytes. Return its length; 0: there is none. */
static size_t l2_image_get(l2 *d, const char *name, uint32_t len, uint32_t which, void *buf,
                           size_t cap)
{
    unsigned char at[L2_IMAGE_KEY];
    const l2_key k = l2_image_key(d, at, name, len, which);
    size_t n = 0;
    l2_meta m;
    const l2_want w = { .k = &k, .buf = buf, .buf_cap = cap, .value_len = &n, .meta = &m };
    return l2_read_record(d, &w) == CELLAR_OK ? n : 0;
}

static void l2_image_end_record(l2 *d, const char *name, uint32_t len, uint32_t which)
{
    unsigned char at[L2_IMAGE_KEY];
    const l2_key k = l2_image_key(d, at, name, len, which);
    l2_invalidate(d, &k);
}

static bool l2_head_put(l2 *d, const char *name, uint32_t len, const l2_image_head *h)
{
    unsigned char at[L2_IMAGE_HEAD];
    l2_w64(at, h->bytes);
    l2_w64(at + 8, h->note[0]);
    l2_w64(at + 16, h->note[1]);
    l2_w64(at + 24, h->sum);
    l2_w64(at + 32, h->opens);
    l2_w32(at + 40, h->piece);
    l2_w32(at + 44, (h->closing ? 1u : 0u) | (h->other ? 2u : 0u));
    return l2_image_put(d, name, len, L2_IMAGE_IS_HEAD, at, sizeof at);
}

/* Read the head of an image. Return false if there is none. */
static bool l2_head_get(l2 *d, const char *name, uint32_t len, l2_image_head *h)
{
    unsigned char at[L2_IMAGE_HEAD] BASE_ALIGNED(8);
    *h = (l2_image_head){ .bytes = 0 };
    if (l2_image_get(d, name, len, L2_IMAGE_IS_HEAD, at, sizeof at) != sizeof at) { return false; }
    *h = (l2_image_head){ .bytes = l2_r64(at), .note = { l2_r64(at + 8), l2_r64(at + 16) },
                          .sum = l2_r64(at + 24), .opens = l2_r64(at + 32),
                          .piece = l2_r32(at + 40), .closing = (l2_r32(at + 44) & 1u) != 0,
                          .other = (l2_r32(at + 44) & 2u) != 0 };
    if (h->bytes != 0 && h->piece != 0 && h->piece <= L2_IMAGE_PIECE) { return true; }
    h->bytes = 0;
    return false;
}

static void l2_pieces_end(l2 *d, const char *name, uint32_t len, const l2_image_head *h)
{
    for (uint64_t i = 0; i * h->piece < h->bytes; i++) {
        l2_image_end_record(d, name, len, l2_piece_name(h, i));
    }
}

/* ---- names of this run ---- */

static l2_image_row *l2_image_find(l2 *d, const char *name, size_t len)
{
    for (uint32_t i = 0; i < d->image_count; i++) {
        if (d->image[i].len == len && memcmp(d->image[i].name, name, len) == 0) {
            return &d->image[i];
        }
    }
    return NULL;
}

/* Enter a name. Return NULL if memory is short. */
static l2_image_row *l2_image_enter(l2 *d, const char *name, uint32_t len)
{
    l2_image_row *row = l2_image_find(d, name, len);
    if (row != NULL) { return row; }
    if (d->image_count == d->image_cap) {
        const uint32_t cap = d->image_cap * 2 + 8;
        row = base_alloc(d->cfg.account, BASE_MOD_L2, cap * sizeof *row, NULL);
        if (row == NULL) { return NULL; }
        if (d->image_count != 0) { memcpy(row, d->image, d->image_count * sizeof *row); }
        base_free(d->cfg.account, BASE_MOD_L2, d->image, d->image_cap * sizeof *row);
        d->image = row;
        d->image_cap = cap;
    }
    row = &d->image[d->image_count++];
    memcpy(row->name, name, len);
    row->len = len;
    row->given = false;
    return row;
}

/* ---- reading ---- */

CELLAR_PRIVATE l2_image *l2_image_open(l2 *d, const char *name, size_t len)
{
    unsigned char at[L2_IMAGE_KEY];
    l2_image_head h;
    l2_image *im = NULL;
    sync_role_take(&d->imaging);
    const bool first = len <= L2_IMAGE_NAME_MAX && l2_image_find(d, name, len) == NULL;
    if (first && l2_head_get(d, name, (uint32_t)len, &h)) {
        im = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *im, NULL);
    }
    if (im == NULL) { /* one that cannot be read now lacks what this run adds */
        const bool there =
            first && l2_indexed(d, l2_image_key(d, at, name, (uint32_t)len, L2_IMAGE_IS_HEAD).hash);
        d->image_doubt = d->image_doubt || there;
        sync_role_drop(&d->imaging);
        return NULL;
    }
    *im = (l2_image){ .d = d, .head = h, .len = (uint32_t)len };
    memcpy(im->name, name, len);
    im->buf = base_alloc(d->cfg.account, BASE_MOD_L2, h.piece, NULL);
    return im;
}

CELLAR_PRIVATE bool l2_image_clean(const l2_image *im)
{
    return im->head.closing && im->head.opens >= im->d->super.clean_since;
}

CELLAR_PRIVATE const uint64_t *l2_image_note(const l2_image *im) { return im->head.note; }

/* Read the next piece. Return false for the last one if the sum over all is wrong. */
static bool l2_image_piece(l2_image *im)
{
    const l2_image_head *h = &im->head;
    const size_t want = (size_t)BASE_MIN((uint64_t)h->piece, h->bytes - im->done);
    im->at = im->have = 0;
    if (im->buf == NULL || want == 0 ||
        l2_image_get(im->d, im->name, im->len, l2_piece_name(h, im->done / h->piece), im->buf,
                     h->piece) != want) {
        return false;
    }
    im->have = want;
    im->sum = base_sum(&im->d->form.sum, im->sum, im->buf, want);
    return im->done + want < h->bytes || im->sum == h->sum;
}

CELLAR_PRIVATE bool l2_image_take(void *ctx, void *bytes, size_t len)
{
    l2_image *im = ctx;
    for (unsigned char *to = bytes; len > 0;) {
        if (im->at == im->have && !l2_image_piece(im)) { return false; }
        const size_t n = BASE_MIN(len, im->have - im->at);
        memcpy(to, im->buf + im->at, n);
        im->at += n;
        im->done += n;
        to += n;
        len -= n;
    }
    return true;
}

CELLAR_PRIVATE void l2_image_close(l2_image *im, bool used)
{
    l2 *d = im->d;
    if (used) {
        const bool was = im->head.closing;
        im->head.closing = false;
        const bool said = !was || l2_head_put(d, im->name, im->len, &im->head);
        if (l2_image_enter(d, im->name, im->len) == NULL || !said) { d->image_doubt = true; }
    }
    base_free(d->cfg.account, BASE_MOD_L2, im->buf, im->buf != NULL ? im->head.piece : 0);
    base_free(d->cfg.account, BASE_MOD_L2, im, sizeof *im);
    sync_role_drop(&d->imaging);
}

/* ---- saving ---- */

CELLAR_PRIVATE bool l2_image_begin(l2_images *to, const char *name, size_t len, uint64_t bytes,
                                   const uint64_t note[2])
{
    l2 *d = to->d;
    const uint64_t most = (uint64_t)base_load_acq(&d->places_seen) * d->form.seg_bytes / 4;
    to->full = to->full || bytes > most;
    if (to->buf == NULL || len > L2_IMAGE_NAME_MAX || bytes > most) { return false; }
    memcpy(to->name, name, len);
    to->len = (uint32_t)len;
    const bool any = l2_head_get(d, to->name, to->len, &to->was);
    to->head = (l2_image_head){ .note = { note[0], note[1] }, .opens = d->super.opens,
                                .piece = l2_piece_bytes(d), .closing = to->closing,
                                .other = any && !to->was.other };
    to->held = 0;
    return true;
}

static bool l2_image_flush(l2_images *to)
{
    l2_image_head *h = &to->head;
    const uint64_t index = (h->bytes - to->held) / h->piece;
    h->sum = base_sum(&to->d->form.sum, h->sum, to->buf, to->held);
    const bool put = l2_image_put(to->d, to->name, to->len, l2_piece_name(h, index), to->buf,
                                  to->held);
    to->full = to->full || !put;
    to->held = 0;
    return put;
}

CELLAR_PRIVATE bool l2_image_give(void *ctx, const void *bytes, size_t len)
{
    l2_images *to = ctx;
    for (const unsigned char *from = bytes; len > 0;) {
        if (to->held == to->head.piece && !l2_image_flush(to)) { return false; }
        const size_t n = BASE_MIN(len, to->head.piece - to->held);
        memcpy(to->buf + to->held, from, n);
        to->held += n;
        to->head.bytes += n;
        from += n;
        len -= n;
    }
    return true;
}

CELLAR_PRIVATE bool l2_image_end(l2_images *to, bool ok)
{
    l2 *d = to->d;
    const bool whole = ok && to->head.bytes != 0 && (to->held == 0 || l2_image_flush(to));
    BASE_POINT("l2.image_pieces");
    const bool put = whole && l2_head_put(d, to->name, to->len, &to->head);
    /* A piece that stays is replaced by the save after next. */
    if (!l2_stands_still(d)) { l2_pieces_end(d, to->name, to->len, put ? &to->was : &to->head); }
    l2_image_row *row = put ? l2_image_enter(d, to->name, to->len) : NULL;
    if (row != NULL) { row->given = true; }
    return put;
}

/* Remove the images of this run that were not given: their filters are gone. failed: one was not
 * stored, and those behind it were not given. Then all stay, as after a kill before the save. */
static void l2_images_end(l2 *d, bool failed)
{
    for (uint32_t i = 0; i < d->image_count; i++) {
        l2_image_head h;
        l2_image_row *row = &d->image[i];
        if (!failed && !row->given && l2_head_get(d, row->name, row->len, &h)) {
            l2_image_end_record(d, row->name, row->len, L2_IMAGE_IS_HEAD);
            l2_pieces_end(d, row->name, row->len, &h);
        }
        row->given = false;
    }
}

CELLAR_PRIVATE void l2_images_save(l2 *d, bool closing)
{
    if (d->cfg.images == NULL || l2_off(d) || l2_is_closed(d)) { return; }
    sync_role_take(&d->imaging);
    l2_images *to = base_alloc(d->cfg.account, BASE_MOD_L2, sizeof *to, NULL);
    if (to != NULL) {
        const uint32_t bytes = l2_piece_bytes(d);
        *to = (l2_images){ .d = d, .closing = closing };
        to->buf = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
        const bool memory = to->buf != NULL;
        if (memory) { d->cfg.images(d->cfg.images_ctx, to); }
        if (memory) { l2_images_end(d, to->full); }
        if (!memory || (to->full && !l2_stands_still(d))) {
            base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                     "no room for the Bloom filters of namespaces: raise l2_bytes");
        }
        base_free(d->cfg.account, BASE_MOD_L2, to->buf, memory ? bytes : 0);
        base_free(d->cfg.account, BASE_MOD_L2, to, sizeof *to);
    }
    sync_role_drop(&d->imaging);
}

CELLAR_PRIVATE void l2_images_close(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2, d->image, d->image_cap * sizeof *d->image);
}

BASE_SIZE_END
