/* SPDX-License-Identifier: MIT
 *
 * vfs: the only way to the disk; each call is a fault point and can be replaced by a simulated
 * device. EINTR is looped inside; short transfers are reported as they are. */
#ifndef BASE_VFS_H
#define BASE_VFS_H

#include "base/port.h"

typedef struct base_vfs_file base_vfs_file; /* owned by the vfs that opened it */

typedef struct base_vfs_stat {
    uint64_t size_bytes, allocated_bytes, inode, device;
    int64_t born_ns; /* wall time at which it was made; 0: not said by this file system */
    int64_t mtime_wall_ms;
    uint32_t mode, uid;
    uint32_t links;  /* 0: no name leads to it any more */
    uint32_t remote; /* 1: the file system belongs to another machine */
} base_vfs_stat;

#define BASE_VFS_CREATE 1u   /* O_CREAT, mode 0600 */
#define BASE_VFS_WRITE 2u    /* read and write; else read only */
#define BASE_VFS_DIRECT 4u   /* O_DIRECT where the file system has it; see base_vfs_file_direct */
#define BASE_VFS_EXCL 8u

/* A mark outside the disk, one for each store, that outlives the process but not the machine. */
typedef enum base_vfs_bell {
    BASE_VFS_BELL_MAKE, BASE_VFS_BELL_LOOK, BASE_VFS_BELL_REMOVE /* LOOK: 0, or why not */
} base_vfs_bell;

/* All return 0 or a positive errno; *done counts bytes moved, also on error. */
typedef struct base_vfs {
    /* Open a directory; make it (0700) if `create` and there is none. A symbolic link is followed.
     * ELOOP: the link, or the directory behind it, belongs to another user. EMLINK: too many. */
    int (*open_dir)(void *ctx, const char *path, bool create, base_vfs_file **out);
    /* Every name in it but "." and "..", in no order. */
    int (*list)(void *ctx, base_vfs_file *dir, void (*fn)(void *fn_ctx, const char *name),
                void *fn_ctx);
    int (*open)(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                base_vfs_file **out); /* openat, O_NOFOLLOW|O_CLOEXEC */
    void (*close)(void *ctx, base_vfs_file *f);
    int (*preallocate)(void *ctx, base_vfs_file *f, uint64_t bytes);
    int (*pread)(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t offset, size_t *done);
    /* These bytes will be asked for: begins to read them, waits for none of them. NULL: cannot. */
    void (*ahead)(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes);
    int (*pwrite)(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t offset,
                  size_t *done);
    /* Readable and writable, shared with the file; a forked child does not get it. */
    int (*map_shared)(void *ctx, base_vfs_file *f, size_t bytes, void **out);
    /* Readable only, bytes as the file has them, perhaps more than it has; nothing is read ahead;
     * a forked child does not get it. NULL: cannot be done. */
    int (*map_read)(void *ctx, base_vfs_file *f, size_t bytes, void **out);
    void (*unmap)(void *ctx, void *p, size_t bytes); /* of either kind */
    /* Touch the pages of [offset, offset + bytes), so that stores into them do not wait for the
     * disk and a full one is an error here instead of a signal there. Contents stay, also while
     * others store. */
    int (*arm)(void *ctx, base_vfs_file *f, void *map, size_t offset, size_t bytes);
    /* Bytes of [offset, offset + bytes), whole pages inside the file, are zeros; their blocks stay,
     * and what was stored there and is not on the disk yet need not get there, also where it was
     * stored through a mapping. Behind an error each page holds zeros or any bytes it ever had,
     * and blocks may be gone: XFS gives them back and takes others. NULL, EOPNOTSUPP: cannot be
     * done, nothing was. */
    int (*zero)(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes);
    int (*datasync)(void *ctx, base_vfs_file *f);
    int (*sync_dir)(void *ctx, base_vfs_file *dir);
    int (*truncate)(void *ctx, base_vfs_file *f, uint64_t bytes);
    int (*rename)(void *ctx, base_vfs_file *dir, const char *from, const char *to);
    int (*unlink)(void *ctx, base_vfs_file *dir, const char *name);
    /* The directory's name becomes path.bad.N, N the first of 1..9 that is free: *number. EEXIST:
     * none is. NULL: cannot be done. Behind a symbolic link the directory is renamed, not the
     * link. */
    int (*set_aside)(void *ctx, const char *path, uint32_t *number);
    int (*lock)(void *ctx, base_vfs_file *f); /* OFD write lock, never waits: EAGAIN */
    int (*lock_shared)(void *ctx, base_vfs_file *f); /* OFD read lock, the same */
    /* Before a close: a forked child that has the file open does not hold the lock. NULL: none. */
    void (*unlock)(void *ctx, base_vfs_file *f);
    int (*stat)(void *ctx, base_vfs_file *f, base_vfs_stat *out);
    int (*boot_id)(void *ctx, unsigned char out[16]);
    int (*bell)(void *ctx, const unsigned char id[16], base_vfs_bell how); /* never waits */
    void *ctx;
} base_vfs;

BASE_SPARE CELLAR_PRIVATE const base_vfs *base_vfs_system(void);
/* Does the file bypass the page cache? */
BASE_SPARE CELLAR_PRIVATE bool base_vfs_file_direct(const base_vfs_file *f);
#if BASE_DEBUG
/* errno with which the call at `site` ("pread", "datasync", ... as in base_vfs) must fail now, 0:
 * none; -1: a short transfer (half of it), only where bytes move. Constant 0 in release. */
BASE_SPARE CELLAR_PRIVATE int base_fault_io(const char *site);
/* Fail the `nth` call from now at `site` (NULL: at any) with `error`, once or from then on; nth 0
 * disarms. Returns the number of matching calls seen since it was last armed. Tests only. */
BASE_SPARE CELLAR_PRIVATE uint64_t base_fault_io_arm(const char *site, int error, uint64_t nth,
                                                     bool sticky);
#else
BASE_INLINE int base_fault_io(const char *site)
{
    (void)site;
    return 0;
}
#endif

#endif
