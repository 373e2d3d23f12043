/* SPDX-License-Identifier: MIT
 *
 * vfs: the disk through POSIX and Linux calls, each one a fault point.
 *
 * PICTURE    caller -> base_vfs table -> fault point of that name -> system call
 * INVARIANTS No call is a cancellation point. Every call returns 0 or a positive errno. *done
 *            counts the bytes moved, also on error. No descriptor survives exec.
 *            A name is one path component below an open directory; a link with that name is not
 *            followed. A path of open_dir or set_aside may be a symbolic link, if the link and the
 *            directory behind it belong to this user or to root: another user must not choose where
 *            the files lie.
 *            A call beyond the limit of file size (RLIMIT_FSIZE) is EFBIG and raises no SIGXFSZ.
 *            A limit that another thread lowers during that call may raise it.
 * LOCKING    None. A base_vfs_file belongs to its opener; pread and pwrite of one file may overlap.
 * LIMITS     A lock never waits (EAGAIN). It belongs to the open file, not to the process: a second
 *            open of the file in this process is refused, too. After a failed datasync its bytes
 *            count as lost: Linux reports success to a repeated call. close() is not repeated on
 *            EINTR: Linux has closed.
 *            Files are opened with O_NOATIME, which the file of another user refuses.
 * SEE ALSO   README.md in this folder: the cost of access times. */
#include "base/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"

BASE_SIZE_BEGIN

struct base_vfs_file {
    int fd;      /* owned */
};

/* Return the armed error of a call that moves no bytes: a short transfer (-1) counts as none. */
static int base_vfs_faulted(const char *site)
{
    int e = base_fault_io(site);
    return e > 0 ? e : 0;
}

static int base_vfs_wrap(int fd, base_vfs_file **out)
{
    base_vfs_file *f = base_alloc_raw(NULL, sizeof *f);
    if (f == NULL) {
        base_fd_close(fd);
        return ENOMEM;
    }
    f->fd = fd;
    *out = f;
    return 0;
}

/* ---- paths ---- */

#define BASE_VFS_LINKS 8u  /* longest chain of links */

/* Return whether a link or directory of this owner may decide where files of this process lie. */
static bool base_vfs_trusts(const struct stat *s)
{
    return s->st_uid == geteuid() || s->st_uid == 0;
}

/* Read the symbolic link at `path`. Owner and text come from one descriptor, so that they belong
 * together even if the link is replaced. *n 0: `path` is no link, or does not exist. ELOOP: the
 * link belongs to another user. */
static int base_vfs_read_link(const char *path, char to[BASE_VFS_PATH], size_t *n)
{
    struct stat s;
    *n = 0;
    const int fd = base_fd_open(AT_FDCWD, path, O_PATH | O_NOFOLLOW);
    if (fd < 0) { return 0; } /* the next call on `path` returns the error */
    int e = fstat(fd, &s) != 0 ? errno : 0;
    if (e == 0 && S_ISLNK(s.st_mode)) {
        const ssize_t got = readlinkat(fd, "", to, BASE_VFS_PATH);
        e = got < 0 ? errno : base_vfs_trusts(&s) ? 0 : ELOOP;
        *n = e == 0 ? (size_t)got : 0;
    }
    base_fd_close(fd);
    return e;
}

/* Copy `path` to `real`; while `real` names a symbolic link, replace it by the link's target.
 * *links: number of links. EMLINK: more than BASE_VFS_LINKS. */
static int base_vfs_follow(const char *path, char real[BASE_VFS_PATH], unsigned *links)
{
    char to[BASE_VFS_PATH];
    const char *from = path;
    size_t keep = 0, n = strlen(path);
    for (*links = 0; n != 0; (*links)++) {
        if (*links > BASE_VFS_LINKS) { return EMLINK; }
        if (keep + n >= BASE_VFS_PATH) { return ENAMETOOLONG; }
        memcpy(real + keep, from, n);
        n += keep;
        while (n > 1 && real[n - 1] == '/') { n--; } /* the kernel follows "link/" */
        real[n] = '\0';
        const int e = base_vfs_read_link(real, to, &n);
        if (e != 0) { return e; }
        if (n == 0) { return 0; }
        from = to;
        const char *slash = to[0] == '/' ? NULL : strrchr(real, '/');
        keep = slash != NULL ? (size_t)(slash - real) + 1 : 0;
    }
    return ENOENT; /* empty path */
}

static int base_vfs_open_dir(void *ctx, const char *path, bool create, base_vfs_file **out)
{
    char real[BASE_VFS_PATH];
    unsigned links;
    struct stat s;
    (void)ctx;
    *out = NULL;
    int e = base_vfs_faulted("open_dir");
    if (e == 0) { e = base_vfs_follow(path, real, &links); }
    if (e != 0) { return e; }
    if (create && mkdir(real, 0700) != 0 && errno != EEXIST) { return errno; }
    int fd;
    do {
        fd = base_fd_open(AT_FDCWD, real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) { return errno; }
    if (links != 0) { e = fstat(fd, &s) != 0 ? errno : base_vfs_trusts(&s) ? 0 : ELOOP; }
    if (e == 0) { return base_vfs_wrap(fd, out); }
    base_fd_close(fd);
    return e;
}

static int base_vfs_list(void *ctx, base_vfs_file *dir,
                         void (*fn)(void *fn_ctx, const char *name), void *fn_ctx)
{
    (void)ctx;
    int e = base_vfs_faulted("list");
    if (e != 0) { return e; }
    /* A second descriptor: fdopendir takes it over and moves its position. */
    const int fd = base_fd_open(dir->fd, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) { return errno; }
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        e = errno;
        base_fd_close(fd);
        return e;
    }
    const int cancel = base_cancel_off();
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL) { break; }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            fn(fn_ctx, entry->d_name);
        }
    }
    e = errno;
    (void)closedir(d);
    base_cancel_set(cancel);
    return e;
}

static int base_vfs_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                         base_vfs_file **out)
{
    (void)ctx;
    *out = NULL;
    BASE_ASSERT(strchr(name, '/') == NULL);
    int e = base_vfs_faulted("open");
    if (e != 0) { return e; }
    /* O_NONBLOCK: do not wait for the other end of a FIFO with that name. */
    int how = O_NOFOLLOW | O_NONBLOCK | O_NOATIME;
    how |= (flags & BASE_VFS_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & BASE_VFS_CREATE) != 0) { how |= O_CREAT; }
    if ((flags & BASE_VFS_EXCL) != 0) { how |= O_EXCL; }
    int fd;
    for (;;) {
        fd = base_fd_open(dir->fd, name, how);
        if (fd >= 0) { break; }
        if (errno == EPERM && (how & O_NOATIME) != 0) {
            how &= ~(O_NOATIME | O_EXCL); /* foreign file, or a server changed its owner */
        } else if (errno != EINTR) {
            return errno;
        }
    }
    struct stat s;
    e = fstat(fd, &s) != 0 ? errno : S_ISREG(s.st_mode) ? 0 : S_ISDIR(s.st_mode) ? EISDIR : ENXIO;
    if (e == 0) { return base_vfs_wrap(fd, out); }
    base_fd_close(fd);
    return e;
}

static void base_vfs_close(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    if (f == NULL) { return; }
    base_fd_close(f->fd);
    base_free_raw(NULL, f, sizeof *f);
}

/* ---- the limit of file size ---- */

typedef struct base_vfs_hush {
    sigset_t limit, before;
    bool pending; /* the host blocks SIGXFSZ and one is pending */
} base_vfs_hush;

/* Block SIGXFSZ in this thread. The kernel sends it to the writing thread, with EFBIG. */
static void base_vfs_hush_begin(base_vfs_hush *h)
{
    sigset_t now;
    sigemptyset(&h->limit);
    sigaddset(&h->limit, SIGXFSZ);
    (void)pthread_sigmask(SIG_BLOCK, &h->limit, &h->before);
    h->pending = sigismember(&h->before, SIGXFSZ) == 1 && sigpending(&now) == 0 &&
                 sigismember(&now, SIGXFSZ) == 1;
}

/* Consume the SIGXFSZ of a call that failed with `error`, and restore the signal mask. */
static void base_vfs_hush_end(const base_vfs_hush *h, int error)
{
    const struct timespec at_once = { 0, 0 };
    if (error == EFBIG && !h->pending) {
        const int cancel = base_cancel_off();
        while (sigtimedwait(&h->limit, NULL, &at_once) < 0 && errno == EINTR) {}
        base_cancel_set(cancel);
    }
    (void)pthread_sigmask(SIG_SETMASK, &h->before, NULL);
}

static int base_vfs_preallocate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    (void)ctx;
    int e = base_vfs_faulted("preallocate");
    if (e != 0) { return e; }
    if (bytes > INT64_MAX) { return EFBIG; }
    base_vfs_hush hush;
    base_vfs_hush_begin(&hush);
    const int cancel = base_cancel_off();
    do {
        e = fallocate(f->fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    } while (e == EINTR);
    /* Not supported by the file system: libc writes the blocks one by one. */
    if (e == EOPNOTSUPP || e == ENOSYS) {
        do { e = posix_fallocate(f->fd, 0, (off_t)bytes); } while (e == EINTR);
    }
    base_cancel_set(cancel);
    base_vfs_hush_end(&hush, e);
    return e;
}

/* Return the armed error of a read or write. An injected short transfer halves *n. */
static int base_vfs_transfer_fault(const char *site, size_t *n, uint64_t offset)
{
    int e = base_fault_io(site);
    if (e > 0) { return e; }
    if (e < 0) { *n /= 2; }
    return offset > INT64_MAX ? EINVAL : 0;
}

static int base_vfs_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t offset,
                          size_t *done)
{
    (void)ctx;
    *done = 0;
    int e = base_vfs_transfer_fault("pread", &n, offset);
    if (e != 0) { return e; }
    ssize_t got;
    do {
        got = base_fd_pread(f->fd, buf, n, offset);
    } while (got < 0 && errno == EINTR);
    if (got < 0) { return errno; }
    *done = (size_t)got;
    return 0;
}

static size_t base_vfs_pread_now(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t offset)
{
    (void)ctx;
    if (offset > INT64_MAX) { return 0; }
#if defined(RWF_NOWAIT)
    const struct iovec to = { buf, n };
    const int cancel = base_cancel_off();
    const ssize_t got = preadv2(f->fd, &to, 1, (off_t)offset, RWF_NOWAIT);
    base_cancel_set(cancel);
    return got > 0 ? (size_t)got : 0;
#else /* musl before 1.2.5 */
    (void)f, (void)buf, (void)n;
    return 0;
#endif
}

static void base_vfs_writeback(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes)
{
    (void)ctx;
#ifdef SYNC_FILE_RANGE_WRITE
    const int cancel = base_cancel_off();
    (void)sync_file_range(f->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
    base_cancel_set(cancel);
#else
    (void)f, (void)offset, (void)bytes; /* a sync writes them */
#endif
}

static void base_vfs_ahead(void *ctx, base_vfs_file *f, uint64_t offset, uint64_t bytes)
{
    (void)ctx;
    if (offset > INT64_MAX || bytes > INT64_MAX - offset) { return; }
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED); /* only advice */
}

static int base_vfs_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n,
                           uint64_t offset, size_t *done)
{
    (void)ctx;
    *done = 0;
    int e = base_vfs_transfer_fault("pwrite", &n, offset);
    if (e != 0) { return e; }
    struct rlimit most; /* one call for the two of the mask */
    const bool near = getrlimit(RLIMIT_FSIZE, &most) != 0 || offset + n > most.rlim_cur;
    base_vfs_hush hush;
    if (near) { base_vfs_hush_begin(&hush); }
    ssize_t put;
    do {
        put = base_fd_pwrite(f->fd, buf, n, offset);
    } while (put < 0 && errno == EINTR);
    e = put < 0 ? errno : 0;
    if (near) { base_vfs_hush_end(&hush, e); }
    *done = put < 0 ? 0 : (size_t)put;
    return e;
}

static int base_vfs_map_shared(void *ctx, base_vfs_file *f, size_t bytes, void **out)
{
    (void)ctx;
    *out = NULL;
    int e = base_vfs_faulted("map_shared");
    if (e != 0) { return e; }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (p == MAP_FAILED) { return errno; }
    if (madvise(p, bytes, MADV_DONTFORK) != 0) {
        e = errno;
        (void)munmap(p, bytes);
        return e;
    }
    *out = p;
    return 0;
}

static void base_vfs_unmap(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    if (p == NULL) { return; }
    int r = munmap(p, bytes);
    BASE_ASSERT(r == 0);
    (void)r;
}

static int base_vfs_sync(const base_vfs_file *f, const char *site, int (*sync)(int fd))
{
    int e = base_vfs_faulted(site);
    if (e != 0) { return e; }
    const int cancel = base_cancel_off();
    do { e = sync(f->fd) == 0 ? 0 : errno; } while (e == EINTR);
    base_cancel_set(cancel);
    return e;
}

static int base_vfs_datasync(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    return base_vfs_sync(f, "datasync", fdatasync);
}

static int base_vfs_sync_dir(void *ctx, base_vfs_file *dir)
{
    (void)ctx;
    return base_vfs_sync(dir, "sync_dir", fsync);
}

static int base_vfs_truncate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    (void)ctx;
    int e = base_vfs_faulted("truncate");
    if (e != 0) { return e; }
    if (bytes > INT64_MAX) { return EFBIG; }
    base_vfs_hush hush;
    base_vfs_hush_begin(&hush);
    do { e = ftruncate(f->fd, (off_t)bytes) == 0 ? 0 : errno; } while (e == EINTR);
    base_vfs_hush_end(&hush, e);
    return e;
}

static int base_vfs_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    (void)ctx;
    int e = base_vfs_faulted("rename");
    if (e != 0) { return e; }
    return renameat(dir->fd, from, dir->fd, to) == 0 ? 0 : errno;
}

static int base_vfs_unlink(void *ctx, base_vfs_file *dir, const char *name)
{
    (void)ctx;
    int e = base_vfs_faulted("unlink");
    if (e != 0) { return e; }
    return unlinkat(dir->fd, name, 0) == 0 ? 0 : errno;
}

static int base_vfs_set_aside(void *ctx, const char *path, char to[BASE_VFS_ASIDE])
{
    char from[BASE_VFS_PATH];
    unsigned links;
    (void)ctx;
    int e = base_vfs_faulted("set_aside");
    if (e == 0) { e = base_vfs_follow(path, from, &links); }
    if (e != 0) { return e; }
    const size_t n = strlen(from);
    memcpy(to, from, n);
    memcpy(to + n, ".bad.1", sizeof ".bad.1");
    for (int i = 1; i <= 9; i++) {
        struct stat s;
        to[n + 5] = (char)('0' + i);
        if (lstat(to, &s) == 0) { continue; }
        /* rename replaces at most an empty directory. */
        return errno != ENOENT ? errno : rename(from, to) == 0 ? 0 : errno;
    }
    return EEXIST;
}

static int base_vfs_lock_as(base_vfs_file *f, short type)
{
    int e = base_vfs_faulted("lock");
    if (e != 0) { return e; }
    struct flock whole = { .l_type = type, .l_whence = SEEK_SET }; /* l_pid 0: required by OFD */
    e = fcntl(f->fd, F_OFD_SETLK, &whole) == 0 ? 0 : errno;
    return e == EACCES ? EAGAIN : e;
}

static int base_vfs_lock(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    return base_vfs_lock_as(f, F_WRLCK);
}

static int base_vfs_lock_shared(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    return base_vfs_lock_as(f, F_RDLCK);
}

static void base_vfs_unlock(void *ctx, base_vfs_file *f)
{
    struct flock whole = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
    (void)ctx;
    (void)fcntl(f->fd, F_OFD_SETLK, &whole);
}

/* Return whether a file system belongs to another machine. Magic numbers of statfs(2): NFS, SMB
 * (three), AFS, Coda, Ceph, 9p, OCFS2, GFS2. */
static bool base_vfs_remote(uint32_t type)
{
    static const uint32_t remote[] = { 0x6969u, 0x517bu, 0xff534d42u, 0xfe534d42u, 0x5346414fu,
                                       0x73757245u, 0x00c36400u, 0x01021997u, 0x7461636fu,
                                       0x01161970u };
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
        if (type == remote[i]) { return true; }
    }
    return false;
}

static int64_t base_vfs_born_ns(int fd)
{
#ifdef STATX_BTIME
    struct statx s = { .stx_mask = 0 }; /* initialized for MemorySanitizer */
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &s) == 0 && (s.stx_mask & STATX_BTIME) != 0) {
        return (int64_t)s.stx_btime.tv_sec * 1000000000 + (int64_t)s.stx_btime.tv_nsec;
    }
#else
    (void)fd;
#endif
    return 0;
}

static int base_vfs_stat_file(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    (void)ctx;
    int e = base_vfs_faulted("stat");
    if (e != 0) { return e; }
    struct stat s;
    struct statfs fs;
    if (fstat(f->fd, &s) != 0) { return errno; }
    if (fstatfs(f->fd, &fs) != 0) { return errno; }
    *out = (base_vfs_stat){ .size_bytes = (uint64_t)s.st_size,
                            .allocated_bytes = (uint64_t)s.st_blocks * 512,
                            .free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize,
                            .inode = (uint64_t)s.st_ino,
                            .device = (uint64_t)s.st_dev,
                            .born_ns = base_vfs_born_ns(f->fd),
                            .mtime_wall_ms = (int64_t)s.st_mtim.tv_sec * 1000 +
                                             (int64_t)s.st_mtim.tv_nsec / 1000000,
                            .mode = (uint32_t)s.st_mode,
                            .uid = (uint32_t)s.st_uid,
                            .links = (uint32_t)BASE_MIN(s.st_nlink, UINT32_MAX),
                            .remote = base_vfs_remote((uint32_t)fs.f_type) ? 1u : 0u };
    return 0;
}

/* Read the boot id; the kernel writes it as 8-4-4-4-12 hexadecimal digits. */
static int base_vfs_boot_id(void *ctx, unsigned char out[16])
{
    (void)ctx;
    int e = base_vfs_faulted("boot_id");
    if (e != 0) { return e; }
    char text[40] = "";
    size_t len, digits = 0;
    e = base_fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof text - 1, &len);
    if (e != 0) { return e; }
    memset(out, 0, 16);
    for (const char *c = text; *c != '\0' && digits < 32; c++) {
        int v = base_hex_digit((unsigned char)*c);
        if (v < 0) { continue; }
        out[digits / 2] = (unsigned char)((unsigned)out[digits / 2] << 4 | (unsigned)v);
        digits++;
    }
    return digits == 32 ? 0 : EIO;
}

/* Return whether a bell file counts. Every user can create files in /dev/shm, so only a file of
 * this user or of root counts. For root every file counts: root may open the store of another
 * user. */
static bool base_vfs_bell_ours(const struct stat *s)
{
    return base_vfs_trusts(s) || geteuid() == 0;
}

static int base_vfs_bell_file(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    char path[64] = "/dev/shm/cellar-";
    size_t n = strlen(path);
    (void)ctx;
    int e = base_vfs_faulted("bell");
    if (e != 0) { return e; }
    for (int i = 0; i < 16; i++) {
        path[n++] = "0123456789abcdef"[id[i] >> 4];
        path[n++] = "0123456789abcdef"[id[i] & 15];
    }
    path[n] = '\0';
    if (how == BASE_VFS_BELL_REMOVE) { return unlink(path) == 0 ? 0 : errno; }
    struct stat s;
    if (how == BASE_VFS_BELL_LOOK) { /* needs no descriptor */
        if (lstat(path, &s) != 0) { return errno; }
        return base_vfs_bell_ours(&s) ? 0 : ENOENT;
    }
    const int fd = base_fd_open(AT_FDCWD, path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) { return errno; }
    e = fstat(fd, &s) != 0 ? errno : base_vfs_bell_ours(&s) ? 0 : EPERM;
    base_fd_close(fd);
    return e;
}

CELLAR_PRIVATE const base_vfs *base_vfs_system(void)
{
    static const base_vfs system = {
        .open_dir = base_vfs_open_dir, .list = base_vfs_list, .open = base_vfs_open,
        .close = base_vfs_close,
        .preallocate = base_vfs_preallocate, .pread = base_vfs_pread,
        .pread_now = base_vfs_pread_now, .ahead = base_vfs_ahead,
        .writeback = base_vfs_writeback, .pwrite = base_vfs_pwrite,
        .map_shared = base_vfs_map_shared, .unmap = base_vfs_unmap,
        .datasync = base_vfs_datasync, .sync_dir = base_vfs_sync_dir,
        .truncate = base_vfs_truncate, .rename = base_vfs_rename, .unlink = base_vfs_unlink,
        .set_aside = base_vfs_set_aside,
        .lock = base_vfs_lock, .lock_shared = base_vfs_lock_shared,
        .unlock = base_vfs_unlock, .stat = base_vfs_stat_file,
        .boot_id = base_vfs_boot_id, .bell = base_vfs_bell_file,
        .ctx = NULL,
    };
    return &system;
}

BASE_SIZE_END
