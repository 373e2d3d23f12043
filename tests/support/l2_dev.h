/* SPDX-License-Identifier: MIT
 *
 * l2_dev: an in-memory disk for tests of l2, with process deaths, power cuts and failing calls.
 *
 * PICTURE    file = live bytes (what calls see)
 *                   durable bytes (as of its last datasync)
 *                   writes since then, with their bytes
 *            process death -> all live bytes
 *            power cut     -> durable bytes + any subset of the writes, in any order, torn at
 *                             512 bytes; of names and sizes any prefix of unsynced changes
 *            failed sync   -> a page without a later write is never durable
 * USE        l2_dev_init; l2_dev_vfs gives l2_config.vfs. l2_dev_clone makes the disk that a crash
 *            leaves now. `flat`, set before, halves the work if only process deaths follow.
 *            l2_dev_pick makes the disk that a bit mask selects. l2_kit.h has small stores on
 *            such a disk.
 * LIMITS     One thread. The room of a file grows with its first uses. */
#ifndef TESTS_L2_DEV_H
#define TESTS_L2_DEV_H

#include <errno.h>

#include "base/num.h"
#include "base/random.h"
#include "base/vfs.h"
#include "tests/support/t.h"

#define DEV_FILES 12
#define DEV_SECTOR 512u
#ifndef DEV_WRITES
#define DEV_WRITES 24 /* writes of a file that a power cut may lose */
#endif

typedef struct l2_dev_write { uint32_t off, len; unsigned char *bytes; } l2_dev_write;

typedef struct l2_dev_file {
    char name[16], durable_name[16]; /* "": no such name */
    unsigned char *live, *durable;
    size_t room, size, durable_size;
    uint64_t ino, device;
    int64_t born_ns;
    l2_dev_write write[DEV_WRITES];
    uint32_t writes;
    unsigned char *lost; /* bytes at a failed sync; pages not written since count as clean */
} l2_dev_file;

typedef struct l2_dev {
    l2_dev_file file[DEV_FILES];
    uint64_t next_ino;
    uint64_t dir_ino;         /* of the directory */
    unsigned char boot[16];
    bool locked, bell, remote;
    uint32_t stale;           /* number of reads that flip a bit of their 40th byte */
    uint64_t bad_at, bad_end; /* reads of these bytes fail, in each file */
    uint64_t read_at, read_n; /* of the last read */
    uint64_t ahead_at, ahead_n;   /* of the last prefetch */
    uint64_t aheads, ahead_reads; /* prefetches; prefetches that were read */
    bool flat;                /* no power cut follows: durable bytes are not kept */
    unsigned char bell_id[16]; /* store of the marker */
    uint64_t fold;            /* state that selects writes that are durable early */
    uint32_t calls[24];       /* by site */
    int fail_site, fail_errno;
    uint64_t fail_at;         /* the n-th call at the site fails; 0: none */
    bool fail_sticky;
    void (*hook)(void *ctx);  /* called before each durable change */
    void *hook_ctx;
} l2_dev;

enum { DEV_OPEN_DIR, DEV_LIST, DEV_OPEN, DEV_PREALLOCATE, DEV_PREAD, DEV_PWRITE,
       DEV_DATASYNC, DEV_SYNC_DIR, DEV_TRUNCATE, DEV_RENAME, DEV_UNLINK, DEV_LOCK, DEV_STAT,
       DEV_BOOT_ID, DEV_BELL, DEV_SITES };

T_INLINE int l2_dev_fault(l2_dev *v, int site)
{
    v->calls[site]++;
    if (v->fail_at == 0 || (v->fail_site != site && v->fail_site != -1)) { return 0; }
    if (v->fail_at > 1) {
        v->fail_at--;
        return 0;
    }
    if (!v->fail_sticky) { v->fail_at = 0; }
    return v->fail_errno;
}

T_INLINE void l2_dev_hook(l2_dev *v)
{
    if (v->hook != NULL) { v->hook(v->hook_ctx); }
}

T_INLINE void l2_dev_room(l2_dev_file *f, size_t n)
{
    if (n <= f->room) { return; }
    const size_t room = (n + 65535) & ~(size_t)65535;
    void *a = NULL, *b = NULL;
    T_REQUIRE(posix_memalign(&a, 4096, room) == 0 && posix_memalign(&b, 4096, room) == 0);
    memset(a, 0, room);
    memset(b, 0, room);
    if (f->live != NULL) {
        memcpy(a, f->live, f->size);
        memcpy(b, f->durable, f->durable_size);
    }
    free(f->live);
    free(f->durable);
    f->live = a;
    f->durable = b;
    f->room = room;
}

T_INLINE void l2_dev_forget(l2_dev_file *f)
{
    for (uint32_t i = 0; i < f->writes; i++) { free(f->write[i].bytes); }
    f->writes = 0;
}

T_INLINE void l2_dev_fini(l2_dev *v)
{
    for (int i = 0; i < DEV_FILES; i++) {
        l2_dev_forget(&v->file[i]);
        free(v->file[i].live);
        free(v->file[i].lost);
        free(v->file[i].durable);
    }
    memset(v, 0, sizeof *v);
}

/* ---- the vfs ---- */

T_INLINE l2_dev_file *l2_dev_find(l2_dev *v, const char *name)
{
    for (int i = 0; i < DEV_FILES; i++) {
        if (v->file[i].name[0] != '\0' && strcmp(v->file[i].name, name) == 0) {
            return &v->file[i];
        }
    }
    return NULL;
}

T_INLINE int l2_dev_open_dir(void *ctx, const char *path, bool create, base_vfs_file **out)
{
    (void)path;
    (void)create;
    *out = (base_vfs_file *)(void *)((l2_dev *)ctx)->boot; /* not the address of a file */
    return l2_dev_fault(ctx, DEV_OPEN_DIR);
}

T_INLINE int l2_dev_list(void *ctx, base_vfs_file *dir, void (*fn)(void *, const char *), void *arg)
{
    l2_dev *v = ctx;
    (void)dir;
    const int e = l2_dev_fault(v, DEV_LIST);
    for (int i = 0; i < DEV_FILES && e == 0; i++) {
        if (v->file[i].name[0] != '\0') { fn(arg, v->file[i].name); }
    }
    return e;
}

T_INLINE int l2_dev_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                         base_vfs_file **out)
{
    l2_dev *v = ctx;
    (void)dir;
    *out = NULL;
    const int e = l2_dev_fault(v, DEV_OPEN);
    if (e != 0) { return e; }
    l2_dev_file *f = l2_dev_find(v, name);
    if (f == NULL && (flags & BASE_VFS_CREATE) == 0) { return ENOENT; }
    for (int i = 0; i < DEV_FILES && f == NULL; i++) {
        if (v->file[i].name[0] == '\0') { f = &v->file[i]; }
    }
    T_REQUIRE(f != NULL);
    if (f->name[0] == '\0') {
        l2_dev_hook(v);
        snprintf(f->name, sizeof f->name, "%s", name);
        f->ino = ++v->next_ino;
        f->size = 0;
    }
    *out = (base_vfs_file *)(void *)f;
    return 0;
}

T_INLINE void l2_dev_close(void *ctx, base_vfs_file *file)
{
    l2_dev *v = ctx;
    const l2_dev_file *f = (const l2_dev_file *)(void *)file;
    if ((void *)file == (void *)v->boot || f == NULL) { return; }
    if (strcmp(f->name, "LOCK") == 0) { v->locked = false; }
}

T_INLINE int l2_dev_preallocate(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    l2_dev_file *f = (l2_dev_file *)(void *)file;
    const int e = l2_dev_fault(ctx, DEV_PREALLOCATE);
    if (e != 0) { return e; }
    l2_dev_hook(ctx);
    l2_dev_room(f, (size_t)bytes);
    if (bytes > f->size) {
        memset(f->live + f->size, 0, (size_t)bytes - f->size);
        f->size = (size_t)bytes;
    }
    return 0;
}

T_INLINE int l2_dev_pread(void *ctx, base_vfs_file *file, void *buf, size_t n, uint64_t off,
                          size_t *done)
{
    l2_dev *v = ctx;
    const l2_dev_file *f = (const l2_dev_file *)(void *)file;
    *done = 0;
    const int e = l2_dev_fault(ctx, DEV_PREAD);
    if (e > 0) { return e; }
    if (off < v->bad_end && off + n > v->bad_at) { return EIO; }
    if (off >= f->size) { return 0; }
    *done = BASE_MIN(n, f->size - (size_t)off);
    if (e < 0) { *done = *done / 2 & ~(size_t)7; }
    memcpy(buf, f->live + off, *done);
    v->read_at = off;
    v->read_n = n;
    if (v->ahead_n > 0 && off == v->ahead_at) { v->ahead_reads++; }
    if (v->stale > 0 && *done > 40) {
        v->stale--;
        ((unsigned char *)buf)[40] ^= 1;
    }
    return 0;
}

T_INLINE void l2_dev_ahead(void *ctx, base_vfs_file *file, uint64_t off, uint64_t bytes)
{
    l2_dev *v = ctx;
    T_REQUIRE(off + bytes <= ((const l2_dev_file *)(void *)file)->size);
    v->ahead_at = off;
    v->ahead_n = bytes;
    v->aheads++;
}

/* Make some of many unsynced writes durable, in any order. */
T_INLINE void l2_dev_fold(l2_dev *v, l2_dev_file *f)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->writes; i++) {
        l2_dev_write *w = &f->write[i];
        v->fold = v->fold * UINT64_C(6364136223846793005) + 1442695040888963407u;
        if ((v->fold >> 60 & 1) != 0 && f->writes - i + kept > DEV_WRITES / 4) {
            memcpy(f->durable + w->off, w->bytes, w->len);
            free(w->bytes);
        } else {
            f->write[kept++] = *w;
        }
    }
    if (kept == f->writes) { /* all kept: the oldest becomes durable */
        memcpy(f->durable + f->write[0].off, f->write[0].bytes, f->write[0].len);
        free(f->write[0].bytes);
        memmove(&f->write[0], &f->write[1], (kept - 1) * sizeof f->write[0]);
        kept--;
    }
    f->writes = kept;
}

/* Pages of a range are dirty again. */
T_INLINE void l2_dev_stored(l2_dev_file *f, size_t off, size_t bytes)
{
    for (size_t at = off / 4096 * 4096; f->lost != NULL && at < off + bytes && at < f->room;
         at += 4096) {
        f->lost[at] = (unsigned char)~f->live[at];
    }
}

T_INLINE int l2_dev_pwrite(void *ctx, base_vfs_file *file, const void *buf, size_t n, uint64_t off,
                           size_t *done)
{
    l2_dev *v = ctx;
    l2_dev_file *f = (l2_dev_file *)(void *)file;
    *done = 0;
    const int e = l2_dev_fault(ctx, DEV_PWRITE);
    if (e > 0) { return e; }
    l2_dev_hook(ctx);
    if (e < 0) { n = n / 2 & ~(size_t)(DEV_SECTOR - 1); }
    l2_dev_room(f, (size_t)off + n);
    if (off > f->size) { memset(f->live + f->size, 0, (size_t)off - f->size); }
    memcpy(f->live + off, buf, n);
    f->size = BASE_MAX(f->size, (size_t)off + n);
    l2_dev_stored(f, (size_t)off, n);
    *done = n;
    if (v->flat) { return 0; }
    if (f->writes == DEV_WRITES) { l2_dev_fold(v, f); }
    l2_dev_write *w = &f->write[f->writes++];
    *w = (l2_dev_write){ (uint32_t)off, (uint32_t)n, malloc(n + 1) };
    T_REQUIRE(w->bytes != NULL);
    memcpy(w->bytes, buf, n);
    return 0;
}

/* Handle a failed sync like the kernel: the pages are clean now, whatever the disk has. */
T_INLINE void l2_dev_lose(l2_dev_file *f)
{
    if (f->room == 0) { return; } /* nothing was stored */
    unsigned char *was = f->lost, *now = malloc(f->room);
    T_REQUIRE(now != NULL);
    memcpy(now, f->live, f->room);
    for (size_t at = 0; at < f->size; at += 4096) { /* durable pages stay durable */
        if (memcmp(f->durable + at, f->live + at, 4096) == 0) { now[at] = (unsigned char)~now[at]; }
    }
    f->lost = now;
    free(was);
    l2_dev_forget(f);
}

T_INLINE int l2_dev_datasync(void *ctx, base_vfs_file *file)
{
    l2_dev_file *f = (l2_dev_file *)(void *)file;
    const int e = l2_dev_fault(ctx, DEV_DATASYNC);
    l2_dev_hook(ctx);
    if (((l2_dev *)ctx)->flat) { return e; }
    if (e != 0) {
        l2_dev_lose(f);
        return e;
    }
    for (size_t at = 0; at < f->size; at += 4096) {
        const size_t n = BASE_MIN((size_t)4096, f->size - at);
        if (f->lost == NULL || memcmp(f->lost + at, f->live + at, n) != 0) {
            memcpy(f->durable + at, f->live + at, n);
        }
    }
    f->durable_size = f->size;
    l2_dev_forget(f);
    return 0;
}

T_INLINE int l2_dev_sync_dir(void *ctx, base_vfs_file *dir)
{
    l2_dev *v = ctx;
    (void)dir;
    const int e = l2_dev_fault(v, DEV_SYNC_DIR);
    l2_dev_hook(v);
    for (int i = 0; i < DEV_FILES && e == 0; i++) {
        memcpy(v->file[i].durable_name, v->file[i].name, sizeof v->file[i].name);
    }
    return e;
}

T_INLINE int l2_dev_truncate(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    l2_dev_file *f = (l2_dev_file *)(void *)file;
    const int e = l2_dev_fault(ctx, DEV_TRUNCATE);
    if (e == 0 && bytes < f->size) { f->size = (size_t)bytes; }
    return e;
}

T_INLINE int l2_dev_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    l2_dev *v = ctx;
    (void)dir;
    const int e = l2_dev_fault(v, DEV_RENAME);
    if (e != 0) { return e; }
    l2_dev_hook(v);
    l2_dev_file *f = l2_dev_find(v, from), *old = l2_dev_find(v, to);
    if (f == NULL) { return ENOENT; }
    if (old != NULL) { old->name[0] = '\0'; }
    snprintf(f->name, sizeof f->name, "%s", to);
    return 0;
}

T_INLINE int l2_dev_unlink(void *ctx, base_vfs_file *dir, const char *name)
{
    (void)dir;
    const int e = l2_dev_fault(ctx, DEV_UNLINK);
    l2_dev_hook(ctx);
    l2_dev_file *f = l2_dev_find(ctx, name);
    if (e == 0 && f != NULL) { f->name[0] = '\0'; }
    return e != 0 ? e : f != NULL ? 0 : ENOENT;
}

T_INLINE int l2_dev_lock(void *ctx, base_vfs_file *f)
{
    l2_dev *v = ctx;
    const int e = l2_dev_fault(v, DEV_LOCK);
    if (e != 0) { return e; }
    if (strcmp(((const l2_dev_file *)(void *)f)->name, "LOCK") != 0) { return 0; }
    if (v->locked) { return EAGAIN; }
    v->locked = true;
    return 0;
}

T_INLINE int l2_dev_lock_shared(void *ctx, base_vfs_file *f)
{
    l2_dev *v = ctx;
    (void)f;
    const int e = l2_dev_fault(v, DEV_LOCK);
    return e != 0 ? e : v->locked ? EAGAIN : 0;
}

T_INLINE int l2_dev_stat(void *ctx, base_vfs_file *file, base_vfs_stat *out)
{
    const l2_dev_file *f = (const l2_dev_file *)(void *)file;
    const int e = l2_dev_fault(ctx, DEV_STAT);
    memset(out, 0, sizeof *out);
    out->remote = ((l2_dev *)ctx)->remote;
    if ((void *)file == (void *)((l2_dev *)ctx)->boot) {
        out->inode = ((l2_dev *)ctx)->dir_ino;
        return e;
    }
    out->size_bytes = f->size;
    out->inode = f->ino;
    out->device = f->device;
    out->born_ns = f->born_ns;
    out->links = f->name[0] != '\0';
    return e;
}

T_INLINE int l2_dev_boot_id(void *ctx, unsigned char out[16])
{
    const int e = l2_dev_fault(ctx, DEV_BOOT_ID);
    memcpy(out, ((l2_dev *)ctx)->boot, 16);
    return e;
}

T_INLINE int l2_dev_bell(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    l2_dev *v = ctx;
    const int e = l2_dev_fault(v, DEV_BELL);
    if (e != 0) { return e; }
    if (how == BASE_VFS_BELL_MAKE) { memcpy(v->bell_id, id, 16); }
    const bool is = (v->bell || how == BASE_VFS_BELL_MAKE) && memcmp(v->bell_id, id, 16) == 0;
    if (is) { v->bell = how != BASE_VFS_BELL_REMOVE; }
    return is ? 0 : ENOENT;
}

/* For l2_tags_known: ignore each tag. */
T_INLINE void l2_dev_no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx, (void)fp, (void)hard, (void)soft;
}

T_INLINE void l2_dev_init(l2_dev *v) { memset(v, 0, sizeof *v); v->boot[0] = 1; }

T_INLINE base_vfs l2_dev_vfs(l2_dev *v)
{
    return (base_vfs){ .open_dir = l2_dev_open_dir, .list = l2_dev_list, .open = l2_dev_open,
        .close = l2_dev_close, .preallocate = l2_dev_preallocate, .pread = l2_dev_pread,
        .ahead = l2_dev_ahead, .pwrite = l2_dev_pwrite, .datasync = l2_dev_datasync,
        .sync_dir = l2_dev_sync_dir,
        .truncate = l2_dev_truncate, .rename = l2_dev_rename, .unlink = l2_dev_unlink,
        .lock = l2_dev_lock, .lock_shared = l2_dev_lock_shared, .stat = l2_dev_stat,
        .boot_id = l2_dev_boot_id, .bell = l2_dev_bell, .ctx = v };
}

/* ---- crashes ---- */

T_INLINE void l2_dev_apply(unsigned char *to, const l2_dev_write *w, uint64_t keep)
{
    for (uint32_t at = 0; at < w->len; at += DEV_SECTOR) {
        if ((keep >> (at / DEV_SECTOR % 64) & 1) == 0) { continue; }
        const size_t n = BASE_MIN(DEV_SECTOR, w->len - at);
        memcpy(to + w->off + at, w->bytes + at, n);
    }
}

/* Choose the sectors of a write that arrive: often all or none, else any. */
T_INLINE uint64_t l2_dev_mask(base_rng *r)
{
    const uint64_t how = base_rng_below(r, 8);
    if (how < 3) { return UINT64_MAX; }
    if (how < 6) { return 0; }
    return base_rng_next(r);
}

/* Copy everything except the files. */
T_INLINE void l2_dev_begin(const l2_dev *v, l2_dev *to, bool kill)
{
    to->next_ino = v->next_ino;
    to->dir_ino = v->dir_ino;
    memcpy(to->boot, v->boot, 16);
    to->locked = false;
    to->fail_at = 0;
    to->hook = NULL;
    to->remote = v->remote;
    to->bell = v->bell && kill;
    memcpy(to->bell_id, v->bell_id, 16);
    if (!kill) { to->boot[15]++; }
}

/* Copy a file: its present state, or its synced state. Return the bytes copied. */
T_INLINE size_t l2_dev_copy(const l2_dev_file *f, l2_dev_file *c, bool live)
{
    l2_dev_forget(c);
    c->ino = f->ino;
    c->device = f->device;
    c->born_ns = f->born_ns;
    if (f->room > 0) { l2_dev_room(c, f->room); }
    memcpy(c->name, live ? f->name : f->durable_name, sizeof c->name);
    c->size = live ? f->size : f->durable_size;
    if (f->room == 0) { return 0; }
    const size_t held = BASE_MAX(f->size, f->durable_size); /* no reader goes beyond */
    memcpy(c->live, live ? f->live : f->durable, held);
    return held;
}

T_INLINE void l2_dev_settle(l2_dev *to, l2_dev_file *c, size_t held)
{
    memcpy(c->durable_name, c->name, sizeof c->name);
    c->durable_size = c->size;
    if (!to->flat && held > 0) { memcpy(c->durable, c->live, held); }
}

/* A rename arrives as a whole: the file that it replaced has lost its name then. */
T_INLINE void l2_dev_names(const l2_dev *v, l2_dev *to)
{
    for (int i = 0; i < DEV_FILES; i++) {
        l2_dev_file *f = l2_dev_find(to, to->file[i].name);
        if (f == NULL || f == &to->file[i]) { continue; }
        const bool first = strcmp(v->file[f - to->file].name, f->name) == 0;
        l2_dev_file *gone = first ? &to->file[i] : f;
        gone->name[0] = gone->durable_name[0] = '\0';
    }
}

/* Make the disk that a crash leaves now. r NULL: a process death, nothing is lost; else a power
 * cut. `to` is initialized, or an earlier result. Its memory is reused. */
T_INLINE void l2_dev_clone(const l2_dev *v, l2_dev *to, base_rng *r)
{
    l2_dev_begin(v, to, r == NULL);
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *f = &v->file[i];
        l2_dev_file *c = &to->file[i];
        const bool new_names = r == NULL || base_rng_below(r, 2) != 0;
        const size_t held = l2_dev_copy(f, c, r == NULL);
        if (new_names) { memcpy(c->name, f->name, sizeof c->name); }
        if (r != NULL && held > 0) {
            if (base_rng_below(r, 2) != 0) { c->size = f->size; }
            for (uint32_t n = f->writes; n > 0; n--) { /* in any order */
                l2_dev_apply(c->live, &f->write[base_rng_below(r, f->writes)], l2_dev_mask(r));
            }
        }
        l2_dev_settle(to, c, held);
    }
    l2_dev_names(v, to);
}

/* ---- all disks that a power cut can leave ---- */

/* Loose parts arrive or not, each by itself: a write, the new name and size of a file. */
T_INLINE bool l2_dev_name_differs(const l2_dev_file *f)
{
    return strcmp(f->name, f->durable_name) != 0 || f->size != f->durable_size;
}

/* Return the number of loose parts. */
T_INLINE uint32_t l2_dev_loose_count(const l2_dev *v)
{
    uint32_t n = 0;
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *f = &v->file[i];
        n += f->writes + l2_dev_name_differs(f);
    }
    return n;
}

/* Make the disk on which the parts with a set bit have arrived. Overlapping writes keep their
 * order. */
T_INLINE void l2_dev_pick(const l2_dev *v, l2_dev *to, uint64_t arrived)
{
    l2_dev_begin(v, to, false);
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *f = &v->file[i];
        l2_dev_file *c = &to->file[i];
        const size_t held = l2_dev_copy(f, c, false);
        if (l2_dev_name_differs(f)) {
            if ((arrived & 1) != 0) {
                memcpy(c->name, f->name, sizeof c->name);
                c->size = f->size;
            }
            arrived >>= 1;
        }
        for (uint32_t n = 0; n < f->writes; n++, arrived >>= 1) {
            if ((arrived & 1) != 0) { l2_dev_apply(c->live, &f->write[n], UINT64_MAX); }
        }
        l2_dev_settle(to, c, held);
    }
    l2_dev_names(v, to);
}

#endif
