/* SPDX-License-Identifier: MIT
 *
 * owner_images: keep images (Bloom filters of namespaces) in bloom.snap, one per name.
 *
 * PICTURE    save: cache gives image after image -> bloom.new -> synced, renamed to bloom.snap
 *            open: heads of bloom.snap -> rows; opening a name returns its image once
 *            An image that no name has opened is copied unchanged into the next file.
 * FORMAT     little-endian, in units of 512 bytes, zeros between
 *            file   0 u32 magic  4 u32 version  8 u64 number of the open  16 u64 lsn (0: no close)
 *                   24 u64 length  32 u32 images  504 u64 check
 *            images follow: image.c
 * INVARIANTS An image is clean (nothing is missing) only if a close wrote the file and SUPER is
 *            CLEAN at its lsn. No run has begun since, and the directory is no copy. SUPER counts
 *            the opens durably before a run acknowledges anything.
 *            A process death or a power cut during a save leaves the old file if both have room
 *            (LIMITS), else none.
 * LOCKING    `imaging` has no rank, because it is held during I/O: by a save, and from the opening
 *            of an image to its end. Its holder may take NAMESPACE and L2_DEV. The worker
 *            continues.
 * LIMITS     All files together fit into l2_bytes plus one segment. A save that needs more drops
 *            the oldest segments of the log, at most a quarter. If old and new file together do not
 *            fit, the old one is removed first. A larger image is not kept. A resize restores the
 *            places.
 * SEE ALSO   bloom/filter.c: contents of an image; store/bloom_persist.c: use of clean images. */
#include "l2/owner_images.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/geometry.h"
#include "l2/image.h"
#include "l2/io.h"
#include "l2/progress.h"
#include "l2/steps.h"

BASE_SIZE_BEGIN

#define L2_IMAGES_MAGIC 0x49324c43u /* "CL2I" */
#define L2_IMAGES_VERSION 1u

/* ---- rows ---- */

static void l2_image_rows_free(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2, d->image, d->image_cap * sizeof *d->image);
    d->image = NULL;
    d->image_count = d->image_cap = 0;
}

static void l2_image_file_close(l2 *d)
{
    if (d->image_file != NULL) { d->vfs->close(d->vfs->ctx, d->image_file); }
    d->image_file = NULL;
    base_store_rlx(&d->image_bytes, (uint64_t)0);
}

CELLAR_PRIVATE void l2_images_fini(l2 *d)
{
    l2_image_file_close(d);
    l2_image_rows_free(d);
}

/* ---- open ---- */

static bool l2_images_rows(l2 *d, uint32_t count, uint64_t length, uint64_t life, uint64_t lsn)
{
    d->image = base_alloc(d->cfg.account, BASE_MOD_L2, count * sizeof *d->image, NULL);
    if (d->image == NULL) { return false; }
    d->image_cap = count;
    uint64_t at = L2_IMAGE_HEAD;
    while (d->image_count < count) {
        l2_image_row *row = &d->image[d->image_count];
        unsigned char head[L2_IMAGE_HEAD];
        if (at >= length || l2_read(d, d->image_file, head, sizeof head, at) != 0 ||
            !l2_image_head_read(&d->form, head, life, lsn, at, length, row)) {
            return false;
        }
        at += L2_IMAGE_HEAD + base_round_up(row->bytes, L2_IMAGE_HEAD);
        d->image_count++;
    }
    return true;
}

CELLAR_PRIVATE void l2_images_open(l2 *d, bool clean)
{
    unsigned char head[L2_IMAGE_HEAD];
    base_vfs_stat st = { 0 };
    int e = L2_DISK(d, open, d->dir, "bloom.snap", 0, &d->image_file);
    if (e == ENOENT) { return; }
    if (e == 0) { e = L2_DISK(d, stat, d->image_file, &st); }
    if (e == 0) { e = l2_read(d, d->image_file, head, sizeof head, 0); }
    bool ok = e == 0 && l2_r32(head) == L2_IMAGES_MAGIC && l2_r32(head + 4) == L2_IMAGES_VERSION;
    const uint64_t life = ok ? l2_r64(head + 8) : 0, lsn = ok ? l2_r64(head + 16) : 0;
    ok = ok && l2_image_head_ok(&d->form, head, life, lsn, 0) &&
         l2_r64(head + 24) <= st.size_bytes && l2_r32(head + 32) > 0 &&
         l2_r32(head + 32) <= L2_NAMESPACES_MAX;
    if (ok) { ok = l2_images_rows(d, l2_r32(head + 32), l2_r64(head + 24), life, lsn); }
    d->image_clean = clean && lsn != 0 && lsn == d->super.clean_lsn && life + 1 == d->super.opens;
    base_store_rlx(&d->image_bytes, st.size_bytes);
    d->image_bad = !ok;
    if (!ok) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e,
                 "bloom.snap is damaged or cannot be read: %u Bloom filters are usable",
                 (unsigned)d->image_count);
    }
}

/* ---- reading one image ---- */

static l2_image_row *l2_image_find(l2 *d, const char *name, size_t len)
{
    for (uint32_t i = 0; i < d->image_count; i++) {
        if (d->image[i].name_len == len && memcmp(d->image[i].name, name, len) == 0) {
            return &d->image[i];
        }
    }
    return NULL;
}

CELLAR_PRIVATE l2_image *l2_image_open(l2 *d, const char *name, size_t len)
{
    sync_role_take(&d->imaging);
    const l2_image_row *row = l2_image_find(d, name, len);
    if (row == NULL) {
        sync_role_drop(&d->imaging);
        return NULL;
    }
    l2_image *im = &d->image_now;
    *im = (l2_image){ .d = d, .file = d->image_file, .row = *row,
                      .clean = row->whole && d->image_clean };
    /* NULL: l2_image_take returns false */
    im->buf = base_alloc(d->cfg.account, BASE_MOD_L2, L2_IMAGE_PIECE, NULL);
    return im;
}

CELLAR_PRIVATE bool l2_image_clean(const l2_image *im) { return im->clean; }

CELLAR_PRIVATE const uint64_t *l2_image_note(const l2_image *im) { return im->row.note; }

CELLAR_PRIVATE uint32_t l2_images_damaged(l2 *d)
{
    uint32_t n = 0;
    unsigned char *piece = base_alloc(d->cfg.account, BASE_MOD_L2, L2_IMAGE_PIECE, NULL);
    for (uint32_t i = 0; i < d->image_count; i++) {
        l2_image im = { .d = d, .file = d->image_file, .row = d->image[i], .buf = piece };
        bool ok = true;
        while (ok && im.done < im.row.bytes) {
            ok = l2_image_piece(&im);
            im.done += im.have;
        }
        n += !ok;
    }
    base_free(d->cfg.account, BASE_MOD_L2, piece, piece != NULL ? L2_IMAGE_PIECE : 0);
    return n;
}

CELLAR_PRIVATE void l2_image_close(l2_image *im, bool used)
{
    l2 *d = im->d;
    base_free(d->cfg.account, BASE_MOD_L2, im->buf, im->buf != NULL ? L2_IMAGE_PIECE : 0);
    l2_image_row *row = l2_image_find(d, im->row.name, im->row.name_len);
    if (used && row != NULL) { *row = d->image[--d->image_count]; }
    sync_role_drop(&d->imaging);
}

/* ---- saving ---- */

/* Copy the images that no name has opened in this run. They are as clean as before. */
static void l2_images_carry(l2 *d, l2_images *to)
{
    for (uint32_t i = 0; i < d->image_count; i++) {
        l2_image_row *row = &d->image[i];
        const uint64_t at = to->at;
        row->next_at = 0;
        if (!l2_image_begin(to, row->name, row->name_len, row->bytes, row->note)) { continue; }
        to->whole = row->whole && d->image_clean;
        unsigned char *piece = to->buf + L2_IMAGE_HEAD + L2_IMAGE_PIECE;
        l2_image from = { .d = d, .file = d->image_file, .row = *row, .buf = piece };
        bool ok = true;
        while (ok && from.done < row->bytes) {
            ok = l2_image_piece(&from) && l2_image_give(to, piece, from.have);
            from.done += from.have;
        }
        if (l2_image_end(to, ok)) { row->next_at = at; }
    }
}

/* Replace the file. Rows point into the new file; rows without a copy there are removed. */
static void l2_images_adopt(l2 *d, base_vfs_file *f, uint64_t bytes)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->image_count; i++) {
        if (d->image[i].next_at == 0) { continue; }
        d->image[kept] = d->image[i];
        d->image[kept++].at = d->image[i].next_at;
    }
    d->image_count = kept;
    l2_image_file_close(d);
    d->image_file = f;
    base_store_rlx(&d->image_bytes, bytes);
}

static int l2_images_finish(l2 *d, l2_images *to)
{
    unsigned char *head = to->buf;
    memset(head, 0, L2_IMAGE_HEAD);
    l2_w32(head, L2_IMAGES_MAGIC);
    l2_w32(head + 4, L2_IMAGES_VERSION);
    l2_w64(head + 8, to->life);
    l2_w64(head + 16, to->lsn);
    l2_w64(head + 24, to->at);
    l2_w32(head + 32, to->count);
    l2_image_head_close(&d->form, head, to->life, to->lsn, 0);
    const int e = l2_write_as(d, to->file, head, L2_IMAGE_HEAD, 0, false);
    return e == 0 ? l2_image_publish(to, "bloom.new", "bloom.snap") : e;
}

/* Remove bloom.snap. */
static int l2_images_none(l2 *d)
{
    if (d->image_file == NULL) { return 0; }
    const int e = L2_DISK(d, unlink, d->dir, "bloom.snap");
    l2_images_adopt(d, NULL, 0);
    return e;
}

/* Return the bytes that bloom.snap may have, see LIMITS. */
static uint64_t l2_images_room(l2 *d)
{
    l2_worker_take(d); /* a resize may be running */
    const uint64_t rest = L2_REST_WORST + ((uint64_t)d->places + d->nstage) * d->form.seg_bytes +
                          l2_snap_kept(&d->cfg, &d->super, d->super.l2_bytes);
    const uint64_t most = d->super.l2_bytes + d->form.seg_bytes;
    l2_worker_drop(d);
    return BASE_MAX(most > rest ? most - rest : 0, (uint64_t)d->form.seg_bytes);
}

/* Return the bytes that all images need with their heads; 0: there are no images. */
static uint64_t l2_images_need(l2 *d)
{
    l2_images to = { .d = d, .measure = true };
    d->cfg.images(d->cfg.images_ctx, &to);
    for (uint32_t i = 0; i < d->image_count; i++) {
        const l2_image_row *row = &d->image[i];
        (void)l2_image_begin(&to, row->name, row->name_len, row->bytes, row->note);
    }
    return to.need;
}

/* Drop places of the log for the images, see LIMITS. If that fails, the save reports images that it
 * cannot keep. */
static void l2_images_make_room(l2 *d, uint64_t need)
{
    l2_worker_take(d);
    const uint64_t bytes = d->super.l2_bytes, all = l2_places_in(&d->cfg, &d->super, bytes);
    const uint64_t old = BASE_MAX(base_load_rlx(&d->image_bytes), need);
    uint64_t to = l2_places_beside(&d->cfg, &d->super, bytes, need + old + L2_IMAGE_HEAD);
    if (to < all - all / 4) { to = l2_places_beside(&d->cfg, &d->super, bytes, need); }
    /* A running resize goes first, because this one would replace its goal. */
    const bool gives = !d->goal.on && to < d->places && to >= all - all / 4 &&
                       to >= d->nstage + L2_RESIZE_LEAST;
    l2_worker_drop(d);
    if (!gives) { return; }
    const cellar_err err = l2_resize_to(d, (uint32_t)to, bytes); /* below places */
    if (err != CELLAR_OK) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", (int)err,
                 "no room for the Bloom filters of namespaces: raise l2_bytes");
    }
}

static bool l2_images_wanted(l2 *d)
{
    return d->cfg.images != NULL && base_load_acq(&d->broken) == 0 &&
           base_load_acq(&d->disk) == L2_DISK_OK;
}

CELLAR_PRIVATE void l2_images_reserve(l2 *d)
{
    if (!l2_images_wanted(d)) { return; }
    sync_role_take(&d->imaging);
    const uint64_t need = l2_images_need(d);
    if (need != 0) { l2_images_make_room(d, need); }
    sync_role_drop(&d->imaging);
}

static int l2_images_make(l2 *d, l2_images *to)
{
    int e = L2_DISK(d, open, d->dir, "bloom.new", BASE_VFS_CREATE | BASE_VFS_WRITE,
                    &to->file);
    if (e == 0) { e = L2_DISK(d, truncate, to->file, 0); }
    if (e == 0) {
        d->cfg.images(d->cfg.images_ctx, to);
        l2_images_carry(d, to);
        e = to->e;
    }
    if (e == 0 && to->count > 0) { e = l2_images_finish(d, to); }
    if (e == 0 && to->count > 0) {
        l2_images_adopt(d, to->file, to->at);
        return 0;
    }
    if (to->file != NULL) { d->vfs->close(d->vfs->ctx, to->file); }
    (void)L2_DISK(d, unlink, d->dir, "bloom.new");
    return e == 0 ? l2_images_none(d) : e;
}

CELLAR_PRIVATE void l2_images_save(l2 *d, bool closing)
{
    if (!l2_images_wanted(d)) { return; }
    /* a close has called it before SUPER was marked CLEAN */
    if (!closing) { l2_images_reserve(d); }
    sync_role_take(&d->imaging);
    l2_images to = { .d = d, .at = L2_IMAGE_HEAD, .need = l2_images_need(d),
                     .life = d->super.opens, .lsn = closing ? d->super.clean_lsn : 0,
                     .limit = l2_images_room(d) };
    int e = to.need == 0 ? l2_images_none(d) : 0;
    /* Old and new file do not fit together: unlink the old file. Its rows stay readable. */
    if (to.need > 0 && to.need + base_load_rlx(&d->image_bytes) + L2_IMAGE_HEAD > to.limit &&
        d->image_file != NULL) {
        e = L2_DISK(d, unlink, d->dir, "bloom.snap");
    }
    if (to.need > 0 && e == 0) {
        to.buf = base_alloc(d->cfg.account, BASE_MOD_L2, L2_IMAGE_HEAD + 2 * L2_IMAGE_PIECE, NULL);
        e = to.buf != NULL ? l2_images_make(d, &to) : ENOMEM;
        base_free(d->cfg.account, BASE_MOD_L2, to.buf, L2_IMAGE_HEAD + 2 * L2_IMAGE_PIECE);
    }
    sync_role_drop(&d->imaging);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e,
                 "the Bloom filters of namespaces were not saved");
    } else if (to.full) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "no room on disk for a namespace's Bloom filter: raise l2_bytes");
    }
}

BASE_SIZE_END
