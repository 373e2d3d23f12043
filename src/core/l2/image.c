/* SPDX-License-Identifier: MIT
 *
 * image: write and read images: named bytes in a file, with a head and a checksum.
 *
 * PICTURE    begin -> give, give .. -> end        |head|bytes, zeros|head|bytes, zeros|
 *            head  -> take, take ..
 * FORMAT     little-endian, in units of 512 bytes, zeros between
 *            0 u32 magic  4 u32 1: whole  8 u64 bytes  16 u64 note[2]  32 u64 sum
 *            40 u32 name_len  44 u32 0  48 name  504 u64 check (seed: open, lsn, offset),
 *            then the bytes; sum: keyed, over pieces of 64 KiB, each with the sum before it
 * INVARIANTS The head is written last. The last piece is returned only after the sum over all
 *            pieces was compared. An image is bound to its position, to one run and to the lsn at
 *            which a close ended that run (0: no close).
 * LOCKING    None: its user has the file.
 * SEE ALSO   owner_images.c: bloom.snap; index_snapshot.c: index.snap, with one image. */
#include "l2/image.h"

#include "l2/format.h"
#include "l2/io.h"

BASE_SIZE_BEGIN

#define L2_IMAGE_MAGIC 0x69324c43u
#define L2_IMAGE_CHECK (L2_IMAGE_HEAD - 8)
#define L2_IMAGE_SEED UINT64_C(0x696d616765)

/* ---- heads ---- */

static uint64_t l2_image_check(const l2_form *f, const unsigned char *head, uint64_t life,
                               uint64_t lsn, uint64_t at)
{
    const uint64_t seed = base_mix64(base_mix64(life ^ L2_IMAGE_SEED) ^ lsn) ^ at;
    return base_sum(&f->sum, seed, head, L2_IMAGE_CHECK);
}

CELLAR_PRIVATE void l2_image_head_close(const l2_form *f, unsigned char head[L2_IMAGE_HEAD],
                                        uint64_t life, uint64_t lsn, uint64_t at)
{
    l2_w64(head + L2_IMAGE_CHECK, l2_image_check(f, head, life, lsn, at));
}

CELLAR_PRIVATE bool l2_image_head_ok(const l2_form *f, const unsigned char head[L2_IMAGE_HEAD],
                                     uint64_t life, uint64_t lsn, uint64_t at)
{
    return l2_r64(head + L2_IMAGE_CHECK) == l2_image_check(f, head, life, lsn, at);
}

CELLAR_PRIVATE bool l2_image_head_read(const l2_form *f, const unsigned char head[L2_IMAGE_HEAD],
                                       uint64_t life, uint64_t lsn, uint64_t at, uint64_t length,
                                       l2_image_row *row)
{
    if (length - at < L2_IMAGE_HEAD || l2_r32(head) != L2_IMAGE_MAGIC ||
        !l2_image_head_ok(f, head, life, lsn, at)) {
        return false;
    }
    *row = (l2_image_row){ .at = at, .bytes = l2_r64(head + 8), .sum = l2_r64(head + 32),
                           .note = { l2_r64(head + 16), l2_r64(head + 24) },
                           .name_len = l2_r32(head + 40), .whole = l2_r32(head + 4) == 1 };
    if (row->name_len > L2_IMAGE_NAME_MAX || row->bytes == 0 ||
        row->bytes > length - at - L2_IMAGE_HEAD) {
        return false;
    }
    memcpy(row->name, head + 48, row->name_len);
    return true;
}

/* ---- reading ---- */

CELLAR_PRIVATE bool l2_image_piece(l2_image *im)
{
    const uint64_t left = im->row.bytes - im->done;
    im->have = (size_t)BASE_MIN(left, L2_IMAGE_PIECE);
    im->at = 0;
    if (im->have == 0 || im->buf == NULL ||
        l2_read(im->d, im->file, im->buf, im->have,
                im->row.at + L2_IMAGE_HEAD + im->done) != 0) {
        return false;
    }
    im->sum = base_sum(&im->d->form.sum, im->sum, im->buf, im->have);
    return im->have != left || im->sum == im->row.sum;
}

CELLAR_PRIVATE bool l2_image_take(void *ctx, void *bytes, size_t len)
{
    l2_image *im = ctx;
    unsigned char *to = bytes;
    while (len > 0) {
        if (im->at == im->have && !l2_image_piece(im)) {
            im->have = im->at = 0;
            return false;
        }
        const size_t n = BASE_MIN(len, im->have - im->at);
        memcpy(to, im->buf + im->at, n);
        im->at += n;
        im->done += n;
        to += n;
        len -= n;
    }
    return true;
}

/* ---- writing ---- */

CELLAR_PRIVATE bool l2_image_begin(l2_images *to, const char *name, size_t len, uint64_t bytes,
                                   const uint64_t note[2])
{
    if (to->measure) {
        to->need += L2_IMAGE_HEAD + base_round_up(bytes, L2_IMAGE_HEAD);
        return false;
    }
    if (to->e != 0 || to->count == L2_NAMESPACES_MAX || len > L2_IMAGE_NAME_MAX) { return false; }
    to->done = to->sum = 0;
    to->held = 0;
    to->whole = true;
    memcpy(to->note, note, sizeof to->note);
    memcpy(to->name, name, len);
    to->name_len = (uint32_t)len; /* <= L2_IMAGE_NAME_MAX */
    return true;
}

static bool l2_image_flush(l2_images *to)
{
    unsigned char *piece = to->buf + L2_IMAGE_HEAD;
    const size_t n = (size_t)base_round_up(to->held, L2_IMAGE_HEAD);
    const uint64_t at = to->at + L2_IMAGE_HEAD + to->done - to->held;
    to->sum = base_sum(&to->d->form.sum, to->sum, piece, to->held);
    memset(piece + to->held, 0, n - to->held);
    if (at + n > to->limit) {
        to->full = true;
        return false;
    }
    to->e = l2_write_as(to->d, to->file, piece, n, at, false);
    to->held = 0;
    return to->e == 0;
}

CELLAR_PRIVATE bool l2_image_give(void *ctx, const void *bytes, size_t len)
{
    l2_images *to = ctx;
    const unsigned char *from = bytes;
    while (len > 0) {
        if (to->held == L2_IMAGE_PIECE && !l2_image_flush(to)) { return false; }
        const size_t n = BASE_MIN(len, L2_IMAGE_PIECE - to->held);
        memcpy(to->buf + L2_IMAGE_HEAD + to->held, from, n);
        to->held += n;
        to->done += n;
        from += n;
        len -= n;
    }
    return true;
}

CELLAR_PRIVATE bool l2_image_end(l2_images *to, bool ok)
{
    if (!ok || to->done == 0 || (to->held > 0 && !l2_image_flush(to))) { return false; }
    unsigned char *head = to->buf;
    memset(head, 0, L2_IMAGE_HEAD);
    l2_w32(head, L2_IMAGE_MAGIC);
    l2_w32(head + 4, to->whole ? 1u : 0u);
    l2_w64(head + 8, to->done);
    l2_w64(head + 16, to->note[0]);
    l2_w64(head + 24, to->note[1]);
    l2_w64(head + 32, to->sum);
    l2_w32(head + 40, to->name_len);
    memcpy(head + 48, to->name, to->name_len);
    l2_image_head_close(&to->d->form, head, to->life, to->lsn, to->at);
    to->e = l2_write_as(to->d, to->file, head, L2_IMAGE_HEAD, to->at, false);
    if (to->e != 0) { return false; }
    to->at += L2_IMAGE_HEAD + base_round_up(to->done, L2_IMAGE_HEAD);
    to->count++;
    return true;
}

CELLAR_PRIVATE int l2_image_publish(l2_images *to, const char *from, const char *name)
{
    const l2 *d = to->d;
    BASE_POINT("l2.images_written");
    int e = L2_DISK(d, datasync, to->file);
    if (e == 0) { e = L2_DISK(d, rename, d->dir, from, name); }
    BASE_POINT("l2.images_named");
    return e == 0 ? L2_DISK(d, sync_dir, d->dir) : e;
}

BASE_SIZE_END
