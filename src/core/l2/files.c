/* SPDX-License-Identifier: MIT
 *
 * files: make, open and close the files of the directory.
 *
 * INVARIANTS Files are made before SUPER names them. SUPER comes last, by rename.
 * LOCKING    Only the open and the close use these functions.
 * SEE ALSO   open.c: which directory is a store. */
#include "l2/files.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/geometry.h"
#include "l2/index_snapshot.h"
#include "l2/io.h"
#include "l2/mapped_read.h"
#include "l2/owner_images.h"
#include "l2/superblock.h"

BASE_SIZE_BEGIN

#define L2_FILL_BLOCK ((uint64_t)64 << 10)

CELLAR_PRIVATE int l2_file(l2 *d, const char *name, uint32_t flags, base_vfs_file **out)
{
    const int e = d->vfs->open(d->vfs->ctx, d->dir, name, flags, out);
    const bool misfit = e == ELOOP || e == EISDIR || e == ENXIO;
    if (misfit && d->cfg.refusal != NULL) { d->cfg.refusal->misfit = name; }
    return e;
}

CELLAR_PRIVATE void l2_file_close(l2 *d, base_vfs_file **f)
{
    if (*f != NULL) { d->vfs->close(d->vfs->ctx, *f); }
    *f = NULL;
}

/* ---- new files ---- */

CELLAR_PRIVATE int l2_super_make(l2 *d)
{
    base_vfs_file *f = NULL;
    int e = l2_file(d, "SUPER.new", BASE_VFS_CREATE | BASE_VFS_WRITE, &f);
    for (uint64_t i = 0; i < 2 && e == 0; i++) {
        d->super.serial = 2 + i;
        l2_super_write(d->page, &d->super);
        e = l2_write(d, f, d->page, L2_PAGE, (d->super.serial & 1) * L2_PAGE);
    }
    if (e == 0) { e = d->vfs->datasync(d->vfs->ctx, f); }
    l2_file_close(d, &f);
    if (e == 0) { e = d->vfs->rename(d->vfs->ctx, d->dir, "SUPER.new", "SUPER"); }
    if (e == 0) { e = d->vfs->sync_dir(d->vfs->ctx, d->dir); }
    return e;
}

/* Write zeros to a new stage, one block at a time. Where the page cache has large folios, a block
 * becomes one folio. Touching its pages and writing a segment from them then takes fewer steps. But
 * a sync writes the folio of each dirty byte: where the stage is synced, a block is a page. */
static int l2_stage_fill(l2 *d, base_vfs_file *stage)
{
    const uint64_t bytes = (uint64_t)d->super.nstage * d->super.seg_bytes;
    const uint64_t most = d->cfg.level == L2_DROP ? L2_FILL_BLOCK : L2_PAGE;
    const size_t block = (size_t)BASE_MIN(most, bytes);
    unsigned char *zeros = base_alloc(d->cfg.account, BASE_MOD_L2_STAGE, block, NULL);
    int e = zeros != NULL ? 0 : ENOMEM;
    for (uint64_t at = 0; at < bytes && e == 0; at += block) {
        e = l2_write(d, stage, zeros, (size_t)BASE_MIN(block, bytes - at), at);
    }
    base_free(d->cfg.account, BASE_MOD_L2_STAGE, zeros, block);
    return e;
}

CELLAR_PRIVATE int l2_format_files(l2 *d)
{
    base_vfs_file *stage = NULL, *data = NULL;
    l2_super *s = &d->super;
    const bool chosen = d->cfg.seg_count != 0;
    const uint64_t least = chosen ? s->nseg : L2_BYTES_MIN / 2 / s->seg_bytes;
    const uint64_t rest = chosen ? 0 : L2_REST_WORST;
    int e = l2_file(d, "stage.buf", BASE_VFS_CREATE | BASE_VFS_WRITE, &stage);
    if (e == 0) {
        e = d->vfs->preallocate(d->vfs->ctx, stage, (uint64_t)s->nstage * s->seg_bytes);
    }
    if (e == 0) { e = l2_stage_fill(d, stage); }
    if (e == 0) { e = l2_file(d, "data.seg", BASE_VFS_CREATE | BASE_VFS_WRITE, &data); }
    while (e == 0) {
        const uint64_t bytes = (uint64_t)s->nseg * s->seg_bytes;
        e = d->vfs->preallocate(d->vfs->ctx, data, bytes + rest);
        if (e == 0 && rest != 0) { e = d->vfs->truncate(d->vfs->ctx, data, bytes); }
        if ((e != ENOSPC && e != EDQUOT) || s->nseg - s->nseg / 4 < least || s->nseg < 4) { break; }
        s->nseg -= s->nseg / 4;
        e = d->vfs->truncate(d->vfs->ctx, data, 0);
    }
    l2_file_close(d, &stage);
    l2_file_close(d, &data);
    if (e != 0) { /* keep nothing on a disk that may be full */
        (void)d->vfs->unlink(d->vfs->ctx, d->dir, "stage.buf");
        (void)d->vfs->unlink(d->vfs->ctx, d->dir, "data.seg");
    }
    return e;
}

/* ---- open ---- */

static int l2_data_size(l2 *d)
{
    base_vfs_stat st;
    int e = d->vfs->stat(d->vfs->ctx, d->data_file, &st);
    const uint64_t want = (uint64_t)d->nseg * d->form.seg_bytes;
    if (e == 0 && st.size_bytes < want) {
        e = d->vfs->preallocate(d->vfs->ctx, d->data_file, want);
    } else if (e == 0 && st.size_bytes > want) { /* left by an interrupted resize */
        e = d->vfs->truncate(d->vfs->ctx, d->data_file, want);
    }
    return e;
}

CELLAR_PRIVATE bool l2_stage_is(const l2_stage_id *a, const l2_stage_id *b, bool same_boot)
{
    if (a->inode != b->inode || a->inode == 0) { return false; }
    if (a->born_ns != 0 && b->born_ns != 0) { return a->born_ns == b->born_ns; }
    return !same_boot || a->device == 0 || b->device == 0 || a->device == b->device;
}

/* Measure stage.buf. *whole: it has its full length. *kept: it is also the file that SUPER
 * names. */
static int l2_stage_size(l2 *d, bool same_boot, bool *whole, bool *kept)
{
    base_vfs_stat st;
    int e = d->vfs->stat(d->vfs->ctx, d->stage_file, &st);
    if (e != 0) { return e; }
    const uint64_t want = (uint64_t)d->nstage * d->form.seg_bytes;
    *whole = st.size_bytes >= want;
    if (!*whole) { /* An interrupted open must not leave a stage that looks whole. */
        d->super.stage.inode = 0;
        e = l2_super_store(d);
        if (e == 0) { e = d->vfs->preallocate(d->vfs->ctx, d->stage_file, want); }
    }
    const l2_stage_id found = { st.inode, st.device, st.born_ns };
    *kept = *whole && l2_stage_is(&d->super.stage, &found, same_boot);
    d->super.stage = found;
    return e;
}

static int l2_stage_map(l2 *d)
{
    d->map_bytes = (size_t)d->nstage * d->form.seg_bytes;
    if (!base_charge_room(d->cfg.account, BASE_MOD_L2_STAGE, d->map_bytes)) {
        d->map_bytes = 0;
        return ENOMEM;
    }
    void *map = NULL;
    int e = d->vfs->map_shared(d->vfs->ctx, d->stage_file, d->map_bytes, &map);
    d->map = map;
    if (e == 0 && d->cfg.sigbus) { e = base_sigbus_guard(map, d->map_bytes, &d->guard); }
    if (e == 0) { e = d->vfs->arm(d->vfs->ctx, d->stage_file, d->map, 0, d->map_bytes); }
    for (uint32_t i = 0; i < d->nstage && e == 0; i++) {
        d->slot[i].base = d->map + (size_t)i * d->form.seg_bytes;
    }
    return e;
}

/* Open a copy of META and reserve its blocks: a disk that fills up later fails no sync. */
static int l2_meta_file(l2 *d, const char *name, base_vfs_file **out)
{
    const int e = l2_file(d, name, BASE_VFS_WRITE | BASE_VFS_CREATE, out);
    if (e == 0 && d->vfs->reserve != NULL) {
        (void)d->vfs->reserve(d->vfs->ctx, *out, L2_META_WORST); /* else a write may fail */
    }
    return e;
}

CELLAR_PRIVATE int l2_files_open(l2 *d, bool same_boot, bool *whole, bool *kept)
{
    const uint32_t w = BASE_VFS_WRITE | BASE_VFS_CREATE;
    int e = l2_meta_file(d, "META.0", &d->meta[0]);
    if (e == 0) { e = l2_meta_file(d, "META.1", &d->meta[1]); }
    if (e == 0) { e = l2_file(d, "stage.buf", w, &d->stage_file); }
    if (e == 0) { e = l2_file(d, "data.seg", w, &d->data_file); }
    if (e == 0) { e = l2_data_size(d); }
    if (e == 0) { e = l2_file(d, "data.seg", BASE_VFS_WRITE | BASE_VFS_DIRECT, &d->data_direct); }
    if (e == 0) { e = l2_stage_size(d, same_boot, whole, kept); }
    if (e == 0) { e = l2_stage_map(d); }
    if (e == 0) { /* with the places that a resize will add */
        const l2_config *c = &d->cfg;
        l2_map_open(d, c->seg_count == 0 ? l2_places_in(c, &d->super, c->bytes) : 0);
    }
    return e;
}

/* ---- close ---- */

CELLAR_PRIVATE void l2_forked(l2 *d)
{
    base_vfs_file **files[] = { &d->meta[0], &d->meta[1], &d->data_direct, &d->data_file,
                                &d->stage_file, &d->super_file, &d->lock_file, &d->dir };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) { l2_file_close(d, files[i]); }
}

CELLAR_PRIVATE void l2_files_close(l2 *d)
{
    l2_images_fini(d);
    l2_snap_close(d);
    l2_map_close(d);
    base_sigbus_release(d->guard);
    if (d->map != NULL) { d->vfs->unmap(d->vfs->ctx, d->map, d->map_bytes); }
    if (d->map_bytes != 0) { base_uncharge(d->cfg.account, BASE_MOD_L2_STAGE, d->map_bytes); }
    d->guard = 0;
    d->map = NULL;
    d->map_bytes = 0;
    /* A child forked during an open or a close has a copy of the descriptor that stays open. */
    if (d->lock_file != NULL && d->vfs->unlock != NULL) {
        (void)d->vfs->truncate(d->vfs->ctx, d->lock_file, 0); /* no process holds it from now on */
        d->vfs->unlock(d->vfs->ctx, d->lock_file);
    }
    l2_forked(d);
}

BASE_SIZE_END
