/* SPDX-License-Identifier: MIT
 *
 * layer: a disk over the files of a directory: writes stay in memory, reads see them.
 *
 * INVARIANTS No file is opened for writing, created, unlinked or renamed.
 * LOCKING    None: one thread has the layer. Locks of files are granted, and lock nothing.
 * LIMITS     A read looks at all that was written. */
#include "cli/layer.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"

layer_file *layer_of(base_vfs_file *f) { return (layer_file *)(void *)f; }

static int layer_dir(void *ctx, const char *path, bool create, base_vfs_file **out)
{
    layer *y = ctx;
    (void)path;
    (void)create;
    *out = (base_vfs_file *)(void *)y; /* an opaque handle */
    return 0;
}

static int layer_list(void *ctx, base_vfs_file *dir, void (*fn)(void *fn_ctx, const char *name),
                      void *fn_ctx)
{
    layer *y = ctx;
    (void)dir;
    return y->under->list(y->under->ctx, y->dir, fn, fn_ctx);
}

int layer_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
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

static int layer_nothing(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f;
    return 0;
}

/* Rename a file in memory, at the end of a change of the size. */
static int layer_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    layer *y = ctx;
    base_vfs_file *f = NULL;
    const int e = layer_open(y, dir, from, 0, &f);
    if (e != 0 || layer_of(f)->under == NULL) { return e != 0 ? e : ENOENT; }
    for (uint32_t i = 0; i < y->files; i++) {
        if (strcmp(y->file[i].name, to) == 0) { y->file[i].name[0] = '\0'; }
    }
    memcpy(layer_of(f)->name, to, strlen(to) + 1);
    return 0;
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
    const layer *y = ctx;
    const layer_file *f = layer_of(file);
    if ((void *)file == ctx) { /* the directory: the name of the stall marker has its identity */
        const int e = y->under->stat(y->under->ctx, y->dir, out);
        out->remote = 0;
        return e;
    }
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

base_vfs layer_vfs(layer *y)
{
    return (base_vfs){ .open_dir = layer_dir, .list = layer_list, .open = layer_open,
        .close = layer_close, .preallocate = layer_grow, .pread = layer_pread,
        .pwrite = layer_pwrite, .datasync = layer_nothing, .sync_dir = layer_nothing,
        .truncate = layer_truncate, .rename = layer_rename, .unlink = layer_unlink,
        .lock = layer_nothing, .lock_shared = layer_nothing, .stat = layer_stat,
        .boot_id = layer_boot_id, .bell = layer_marker, .ctx = y };
}

uint64_t layer_bytes(const layer *y)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < y->files; i++) { n += y->file[i].real_bytes; }
    return n;
}

void layer_end(layer *y)
{
    while (y->oldest != NULL) {
        layer_patch *p = y->oldest;
        y->oldest = p->next;
        base_free(&y->account, BASE_MOD_L2, p, sizeof *p + p->n);
    }
    for (uint32_t i = 0; i < y->files; i++) {
        layer_file *f = &y->file[i];
        if (f->under != NULL) { y->under->close(y->under->ctx, f->under); }
    }
}

int layer_peek(layer *y, const char *name, void *buf, size_t n, uint64_t at)
{
    base_vfs_file *f = NULL;
    size_t done = 0;
    int e = layer_open(y, NULL, name, 0, &f);
    if (e == 0) { e = layer_pread(y, f, buf, n, at, &done); }
    return e != 0 ? e : done < n ? ENODATA : 0;
}
