/* SPDX-License-Identifier: MIT
 *
 * directory: report what a directory holds and what the next open would serve, without any change.
 *
 * PICTURE    files, opened for reading -> layer: writes stay in memory, reads see them
 *                -> the normal recovery on the layer -> its tables -> report
 *            So "live" is what the next open on this machine finds, by the same code.
 * PROTOCOL   both copies of SUPER -> trailers, counted: they size the index -> l2_open, index
 *            rebuild -> footers of each segment; with verify or a record callback: each record,
 *            too. bloom.snap: heads; with verify: all bytes.
 * INVARIANTS No file is opened for writing, created, unlinked or renamed.
 *            Damage is a failed check, or a hole that recovery finds in the log. Leftovers of a
 *            process death (an incomplete record, an unsealed slot, half a seal) are no damage.
 * LOCKING    A shared lock on LOCK, for a moment before and after: no store is open, and none is
 *            kept out. A store opened meanwhile gives E_BUSY. `force` takes no lock; writes of a
 *            running store may look like damage.
 * LIMITS     About 12 bytes of memory per record, and twice the slots of stage.buf. Without verify
 *            a footer line decides: records that expired, or were cleared or invalidated, count as
 *            live. The index here has a place for each record.
 *            Recovery here ignores index.snap (l2/index_snapshot.c). An open that uses index.snap
 *            also serves a segment with a damaged footer, and omits segments reclaimed shortly
 *            before the close.
 * SEE ALSO   l2/look.h: the format. l2/README.md: why recovery runs here instead of a second
 *            reader of the format. */
#include "cli/directory.h"

#include <errno.h>

#include "base/vfs.h"
#include "l2/types.h"

#define LAYER_FILES 12u

/* ---- the layer ---- */

typedef struct layer_patch {
    struct layer_patch *next; /* newer */
    uint32_t file;
    uint64_t off;
    size_t n;
    unsigned char bytes[];
} layer_patch;

typedef struct layer_file {
    char name[16];
    base_vfs_file *under; /* NULL: the file does not exist */
    uint64_t real_bytes, size_bytes, inode, device;
    int64_t born_ns;
    void *map;
    size_t map_bytes;
} layer_file;

typedef struct layer {
    base_account account;
    const base_vfs *under;
    base_vfs_file *dir;
    layer_file file[LAYER_FILES];
    uint32_t files;
    layer_patch *oldest, *newest;
} layer;

static layer_file *layer_of(base_vfs_file *f) { return (layer_file *)(void *)f; }

static int layer_dir(void *ctx, const char *path, bool create, base_vfs_file **out)
{
    layer *y = ctx;
    (void)path;
    (void)create;
    *out = (base_vfs_file *)(void *)y; /* an opaque handle */
    return 0;
}

typedef struct layer_names {
    void (*fn)(void *ctx, const char *name);
    void *ctx;
} layer_names;

/* Hide index.snap, so that the open on the layer reads all footers. */
static void layer_name(void *ctx, const char *name)
{
    const layer_names *n = ctx;
    if (strcmp(name, "index.snap") != 0) { n->fn(n->ctx, name); }
}

static int layer_list(void *ctx, base_vfs_file *dir, void (*fn)(void *fn_ctx, const char *name),
                      void *fn_ctx)
{
    layer *y = ctx;
    layer_names n = { fn, fn_ctx };
    (void)dir;
    return y->under->list(y->under->ctx, y->dir, layer_name, &n);
}

static int layer_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                      base_vfs_file **out)
{
    layer *y = ctx;
    (void)dir;
    for (uint32_t i = 0; i < y->files; i++) {
        if (strcmp(y->file[i].name, name) == 0) {
            *out = (base_vfs_file *)(void *)&y->file[i];
            return 0;
        }
    }
    if (y->files == LAYER_FILES || strlen(name) >= sizeof y->file[0].name) { return EINVAL; }
    layer_file *f = &y->file[y->files];
    memset(f, 0, sizeof *f);
    int e = y->under->open(y->under->ctx, y->dir, name, 0, &f->under);
    if (e == ENOENT && (flags & BASE_VFS_CREATE) != 0) { e = 0; }
    if (e == 0 && f->under != NULL) {
        base_vfs_stat st = { 0 };
        e = y->under->stat(y->under->ctx, f->under, &st);
        f->real_bytes = f->size_bytes = e == 0 ? st.size_bytes : 0;
        f->inode = st.inode;
        f->device = st.device;
        f->born_ns = st.born_ns;
        if (e != 0) { y->under->close(y->under->ctx, f->under); }
    }
    if (e != 0) { return e; }
    memcpy(f->name, name, strlen(name));
    y->files++;
    *out = (base_vfs_file *)(void *)f;
    return 0;
}

static void layer_close(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f; /* layer_end closes all files */
}

static int layer_grow(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    layer_file *f = layer_of(file);
    (void)ctx;
    f->size_bytes = BASE_MAX(f->size_bytes, bytes);
    return 0;
}

static int layer_truncate(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    (void)ctx;
    layer_of(file)->size_bytes = bytes;
    return 0;
}

static int layer_read_real(layer *y, layer_file *f, unsigned char *to, size_t n,
                           uint64_t at)
{
    size_t got = 0;
    memset(to, 0, n);
    if (f->under == NULL || at >= f->real_bytes) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, f->real_bytes - at);
    while (got < n) {
        size_t done = 0;
        const int e = y->under->pread(y->under->ctx, f->under, to + got, n - got, at + got, &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e != 0) { return e; }
        if (done == 0) { return 0; } /* The file became shorter: zeros. */
    }
    return 0;
}

static int layer_pread(void *ctx, base_vfs_file *file, void *buf, size_t n, uint64_t at,
                       size_t *done)
{
    layer *y = ctx;
    layer_file *f = layer_of(file);
    *done = 0;
    if (at >= f->size_bytes) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, f->size_bytes - at);
    const int e = layer_read_real(y, f, buf, n, at);
    if (e != 0) { return e; }
    for (const layer_patch *p = y->oldest; p != NULL; p = p->next) {
        if (p->file != (uint32_t)(f - y->file) || p->off >= at + n || p->off + p->n <= at) {
            continue;
        }
        const uint64_t from = BASE_MAX(p->off, at), to = BASE_MIN(p->off + p->n, at + n);
        memcpy((unsigned char *)buf + (from - at), p->bytes + (from - p->off), (size_t)(to - from));
    }
    *done = n;
    return 0;
}

static int layer_pwrite(void *ctx, base_vfs_file *file, const void *buf, size_t n, uint64_t at,
                        size_t *done)
{
    layer *y = ctx;
    layer_file *f = layer_of(file);
    *done = 0;
    layer_patch *p = base_alloc(&y->account, BASE_MOD_L2, sizeof *p + n, NULL);
    if (p == NULL) { return ENOMEM; }
    p->next = NULL;
    p->file = (uint32_t)(f - y->file); /* less than LAYER_FILES */
    p->off = at;
    p->n = n;
    memcpy(p->bytes, buf, n);
    if (y->newest != NULL) { y->newest->next = p; } else { y->oldest = p; }
    y->newest = p;
    f->size_bytes = BASE_MAX(f->size_bytes, at + n);
    *done = n;
    return 0;
}

static int layer_map(void *ctx, base_vfs_file *file, size_t bytes, void **out)
{
    layer *y = ctx;
    layer_file *f = layer_of(file);
    *out = NULL;
    if (f->map == NULL) {
        f->map = base_alloc(&y->account, BASE_MOD_L2, bytes, NULL);
        if (f->map == NULL) { return ENOMEM; }
        f->map_bytes = bytes;
        const int e = layer_read_real(y, f, f->map, bytes, 0);
        if (e != 0) { return e; }
    }
    *out = f->map;
    return 0;
}

static void layer_unmap(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    (void)p;
    (void)bytes; /* layer_end frees the map */
}

static int layer_arm(void *ctx, base_vfs_file *f, void *map, size_t off, size_t bytes)
{
    (void)ctx;
    (void)f;
    (void)map;
    (void)off;
    (void)bytes;
    return 0;
}

static int layer_nothing(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f;
    return 0;
}

static int layer_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    (void)ctx;
    (void)dir;
    (void)from;
    (void)to;
    return EROFS; /* Only a format renames, and a directory without SUPER is not opened. */
}

static int layer_unlink(void *ctx, base_vfs_file *dir, const char *name)
{
    (void)ctx;
    (void)dir;
    (void)name;
    return EROFS;
}

static int layer_stat(void *ctx, base_vfs_file *file, base_vfs_stat *out)
{
    const layer_file *f = layer_of(file);
    memset(out, 0, sizeof *out);
    if ((void *)file == ctx) { return 0; } /* the directory */
    *out = (base_vfs_stat){ .size_bytes = f->size_bytes, .inode = f->inode, .device = f->device,
                            .born_ns = f->born_ns, .links = 1 };
    return 0;
}

static int layer_boot_id(void *ctx, unsigned char out[16])
{
    const layer *y = ctx;
    return y->under->boot_id(y->under->ctx, out);
}

/* Look for the stall marker that the next open would find. */
static int layer_marker(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    const layer *y = ctx;
    if (how != BASE_VFS_BELL_LOOK) { return EROFS; }
    return y->under->bell != NULL ? y->under->bell(y->under->ctx, id, how) : ENOSYS;
}

static base_vfs layer_vfs(layer *y)
{
    return (base_vfs){ .open_dir = layer_dir, .list = layer_list, .open = layer_open,
        .close = layer_close, .preallocate = layer_grow, .pread = layer_pread,
        .pwrite = layer_pwrite, .map_shared = layer_map, .unmap = layer_unmap,
        .arm = layer_arm, .datasync = layer_nothing, .sync_dir = layer_nothing,
        .truncate = layer_truncate, .rename = layer_rename, .unlink = layer_unlink,
        .lock = layer_nothing, .lock_shared = layer_nothing, .stat = layer_stat,
        .boot_id = layer_boot_id, .bell = layer_marker, .ctx = y };
}

/* Return the bytes of all files on disk. */
static uint64_t layer_bytes(const layer *y)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < y->files; i++) { n += y->file[i].real_bytes; }
    return n;
}

static void layer_end(layer *y)
{
    while (y->oldest != NULL) {
        layer_patch *p = y->oldest;
        y->oldest = p->next;
        base_free(&y->account, BASE_MOD_L2, p, sizeof *p + p->n);
    }
    for (uint32_t i = 0; i < y->files; i++) {
        layer_file *f = &y->file[i];
        base_free(&y->account, BASE_MOD_L2, f->map, f->map_bytes);
        if (f->under != NULL) { y->under->close(y->under->ctx, f->under); }
    }
}

static int layer_peek(layer *y, const char *name, void *buf, size_t n, uint64_t at)
{
    base_vfs_file *f = NULL;
    size_t done = 0;
    int e = layer_open(y, NULL, name, 0, &f);
    if (e == 0) { e = layer_pread(y, f, buf, n, at, &done); }
    return e != 0 ? e : done < n ? ENODATA : 0;
}

#include "l2/look.h"

/* Read both copies of SUPER; *s is the valid one with the higher serial. */
static cellar_err look_super(layer *y, unsigned char *page, l2_super *s, directory_report *out,
                             int *sys_errno)
{
    cellar_err worst = CELLAR_E_FOREIGN;
    bool any = false, newer = false;
    for (uint32_t i = 0; i < 2; i++) {
        l2_super one;
        const int e = layer_peek(y, "SUPER", page, L2_PAGE, (uint64_t)i * L2_PAGE);
        if (e != 0 && e != ENODATA) { *sys_errno = e; }
        const cellar_err err = e == 0 ? l2_super_read(page, &one) : CELLAR_E_FOREIGN;
        out->super[i] = err;
        newer = newer || err == CELLAR_E_NEWER_FORMAT;
        if (err != CELLAR_E_FOREIGN) { worst = err; }
        if (err == CELLAR_OK && (!any || one.serial > s->serial)) {
            *s = one;
            any = true;
        }
    }
    if (*sys_errno == ENOENT) { return CELLAR_E_FOREIGN; } /* no store in this directory */
    if (*sys_errno != 0) { return CELLAR_E_IO; }
    if (newer) { return CELLAR_E_NEWER_FORMAT; }
    return any ? CELLAR_OK : worst;
}

/* Check that no store has the directory open. The lock is dropped, so no store is kept out. */
static cellar_err look_lock(const layer *y, int *sys_errno)
{
    base_vfs_file *f = NULL;
    int e = y->under->open(y->under->ctx, y->dir, "LOCK", 0, &f);
    if (e == ENOENT || y->under->lock_shared == NULL) { e = 0; }
    if (f != NULL && y->under->lock_shared != NULL) {
        e = y->under->lock_shared(y->under->ctx, f);
    }
    if (f != NULL) { y->under->close(y->under->ctx, f); }
    *sys_errno = e;
    return e == 0 ? CELLAR_OK : e == EAGAIN ? CELLAR_E_BUSY : CELLAR_E_IO;
}

cellar_err directory_inspect(const directory_how *how, directory_report *out, int *sys_errno)
{
    memset(out, 0, sizeof *out);
    *sys_errno = 0;
    layer y;
    memset(&y, 0, sizeof y);
    base_account_init(&y.account, UINT64_MAX / 2, NULL);
    y.under = how->vfs != NULL ? how->vfs : base_vfs_system();
    const int e = y.under->open_dir(y.under->ctx, how->path, false, &y.dir);
    if (e != 0) {
        *sys_errno = e;
        return CELLAR_E_IO;
    }
    l2_super s;
    memset(&s, 0, sizeof s);
    uint64_t records = 0;
    unsigned char *page = base_alloc(&y.account, BASE_MOD_L2, L2_PAGE, NULL);
    cellar_err err = page != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    if (err == CELLAR_OK && !how->force) { err = look_lock(&y, sys_errno); }
    if (err == CELLAR_OK) { err = look_super(&y, page, &s, out, sys_errno); }
    if (err == CELLAR_OK) { look_identity(&s, out); }
    if (err == CELLAR_OK && !how->head) {
        look_places(&y, page, &s, out, &records);
        look_sizes(&y, &s, out);
        err = look_open(&y, &s, records, how, out, sys_errno);
    }
    /* A store opened the directory meanwhile: the findings may mix two states. */
    if (err == CELLAR_OK && !how->force) { err = look_lock(&y, sys_errno); }
    base_free(&y.account, BASE_MOD_L2, page, L2_PAGE);
    layer_end(&y);
    y.under->close(y.under->ctx, y.dir);
    return err;
}

uint64_t directory_damage(const directory_report *r)
{
    uint64_t n = r->files_short + r->holes + r->pages_healed + r->read_errors +
                 r->records_damaged + r->segments_damaged + r->images_damaged;
    for (int i = 0; i < 2; i++) { n += r->super[i] != CELLAR_OK; }
    return n;
}
