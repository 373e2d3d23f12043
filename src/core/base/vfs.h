/* SPDX-License-Identifier: MIT
 *
 * vfs: the only way to the disk. Each call is a fault point, and a simulated device can replace it.
 * Calls repeat on EINTR; short transfers are reported as they are. */
#ifndef BASE_VFS_H
#define BASE_VFS_H

#include "base/fault.h"
#include "base/port.h"

typedef struct base_vfs_file base_vfs_file; /* owned by the vfs that opened it */

typedef struct base_vfs_stat {
    uint64_t size_bytes, allocated_bytes, inode, device;
    uint64_t free_bytes; /* of its file system, for this user */
    int64_t born_ns; /* wall time of its creation; 0: unknown to this file system */
    int64_t mtime_wall_ms;
    uint32_t mode, uid;
    uint32_t links;  /* 0: the file has no name left */
    uint32_t remote; /* 1: the file system belongs to another machine */
} base_vfs_stat;

#define BASE_VFS_CREATE 1u   /* O_CREAT, mode 0600 */
#define BASE_VFS_WRITE 2u    /* read and write; else read only */
#define BASE_VFS_EXCL 4u

#define BASE_VFS_PATH 4096u /* PATH_MAX */
#define BASE_VFS_ASIDE (BASE_VFS_PATH + 8u)

/* Operations on a mark outside the disk, one per store, that survives the process, not a reboot. */
typedef enum base_vfs_bell {
    BASE_VFS_BELL_MAKE, BASE_VFS_BELL_LOOK, BASE_VFS_BELL_REMOVE /* LOOK: 0 if the mark exists */
} base_vfs_bell;

/* Functions of a disk. All return 0 or a positive errno. *done counts bytes moved, also on
 * error. */
typedef struct base_vfs {
    /* Open a directory; create it (0700) if `create` and it is missing. Follow a symbolic link.
     * ELOOP: the link, or the directory behind it, belongs to another user. EMLINK: the chain of
     * links is too long. */
    int (*open_dir)(void *ctx, const char *path, bool create, base_vfs_file **out);
    /* Pass every name except "." and ".." to fn, in no order. */
    int (*list)(void *ctx, base_vfs_file *dir, void (*fn)(void *fn_ctx, const char *name),
                void *fn_ctx);
    int (*open)(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                base_vfs_file **out); /* openat, O_NOFOLLOW|O_CLOEXEC. Only regular files: else
                                       * ELOOP (a link), EISDIR, ENXIO */
    void (*close)(void *ctx, base_vfs_file *f);
    int (*preallocate)(void *ctx, base_vfs_file *f, uint64_t bytes);
    int (*pread)(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t offset, size_t *done);
    /* Read the bytes of the page cache, up to the first one that it lacks; do not wait. Return
     * their number. NULL: not supported. */
    size_t (*pread_now)(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t offset);
    /* Start to read bytes that will be needed soon; do not wait. NULL: not supported. */
    void (*ahead)(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes);
    /* Start to write bytes that pwrite has stored; do not wait. NULL: not supported. */
    void (*writeback)(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes);
    int (*pwrite)(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t offset,
                  size_t *done);
    /* Map the file readable, writable and shared. A forked child does not inherit the map. */
    int (*map_shared)(void *ctx, base_vfs_file *f, size_t bytes, void **out);
    void (*unmap)(void *ctx, void *p, size_t bytes);
    int (*datasync)(void *ctx, base_vfs_file *f);
    int (*sync_dir)(void *ctx, base_vfs_file *dir);
    int (*truncate)(void *ctx, base_vfs_file *f, uint64_t bytes);
    int (*rename)(void *ctx, base_vfs_file *dir, const char *from, const char *to);
    int (*unlink)(void *ctx, base_vfs_file *dir, const char *name);
    /* Rename the directory to path.bad.N, where N is the first free one of 1..9; `to` receives the
     * new name. EEXIST: none is free. NULL: not supported. For a symbolic link rename the
     * directory, not the link. */
    int (*set_aside)(void *ctx, const char *path, char to[BASE_VFS_ASIDE]);
    int (*lock)(void *ctx, base_vfs_file *f); /* OFD write lock, never waits: EAGAIN */
    int (*lock_shared)(void *ctx, base_vfs_file *f); /* OFD read lock, never waits: EAGAIN */
    /* Unlock before a close, so that a forked child with the file open does not keep the lock.
     * NULL: no locks. */
    void (*unlock)(void *ctx, base_vfs_file *f);
    int (*stat)(void *ctx, base_vfs_file *f, base_vfs_stat *out);
    int (*boot_id)(void *ctx, unsigned char out[16]);
    int (*bell)(void *ctx, const unsigned char id[16], base_vfs_bell how); /* never waits */
    void *ctx;
} base_vfs;

BASE_SPARE CELLAR_PRIVATE const base_vfs *base_vfs_system(void);

#endif
