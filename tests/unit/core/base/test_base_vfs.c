/* SPDX-License-Identifier: MIT
 *
 * Aim:    the calls of the disk do what vfs.h says, each can be made to fail, no descriptor leaks,
 *         links and second openers are refused.
 * Method: a folder under TMPDIR; the plain use of each function; every site failed once with a
 *         plain use before and after; descriptors counted. */
#include "tests/support/t.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vfs.h"

static char folder[256];
static const base_vfs *vfs;
static base_vfs_file *dir;

static size_t open_files(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) { return 0; }
    while (readdir(d) != NULL) { n++; }
    closedir(d);
    return n;
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/cellar-vfs-XXXXXX", tmp != NULL ? tmp : "/tmp");
    T_REQUIRE(mkdtemp(folder) != NULL);
    vfs = base_vfs_system();
    T_REQUIRE(vfs->open_dir(vfs->ctx, folder, false, &dir) == 0);
}

static void end(void)
{
    static const char *const names[] = { "a", "b", "c", "link" };
    for (int i = 0; i < 4; i++) { (void)vfs->unlink(vfs->ctx, dir, names[i]); }
    vfs->close(vfs->ctx, dir);
    T_EQ_I64(rmdir(folder), 0);
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(file_returns_written_bytes, STORE)
{
    base_vfs_file *f;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    char text[] = "0123456789", back[16] = "";
    size_t done = 99;
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, text, 10, 5, &done), 0);
    T_EQ_U64(done, 10);
    T_EQ_I64(vfs->pread(vfs->ctx, f, back, 16, 5, &done), 0);
    T_EQ_U64(done, 10);
    T_EQ_MEM(back, text, 10);
    T_EQ_I64(vfs->pread(vfs->ctx, f, back, 16, 100, &done), 0); /* beyond the end */
    T_EQ_U64(done, 0);
    T_EQ_I64(vfs->pread(vfs->ctx, f, back, 1, UINT64_MAX, &done), EINVAL);
    base_vfs_stat s;
    T_EQ_I64(vfs->stat(vfs->ctx, f, &s), 0);
    T_EQ_U64(s.size_bytes, 15);
    T_EQ_U64(s.mode & 0777, 0600);
    T_EQ_U64(s.uid, getuid());
    T_CHECK(s.inode != 0 && s.mtime_wall_ms > INT64_C(1500000000000));
    T_CHECK(s.device != 0);
    T_CHECK(s.born_ns == 0 || s.born_ns / 1000000 <= s.mtime_wall_ms);
    T_EQ_I64(vfs->preallocate(vfs->ctx, f, 1 << 16), 0);
    T_EQ_I64(vfs->stat(vfs->ctx, f, &s), 0);
    T_EQ_U64(s.size_bytes, 1 << 16);
    T_CHECK(s.allocated_bytes >= 1 << 16);
    T_EQ_I64(vfs->preallocate(vfs->ctx, f, UINT64_MAX), EFBIG);
    T_EQ_I64(vfs->truncate(vfs->ctx, f, 4096), 0);
    T_EQ_I64(vfs->truncate(vfs->ctx, f, UINT64_MAX), EFBIG);
    errno = EIO; /* of an older call */
    T_EQ_I64(vfs->datasync(vfs->ctx, f), 0);
    T_EQ_I64(vfs->sync_dir(vfs->ctx, dir), 0);
    vfs->close(vfs->ctx, f);
    vfs->close(vfs->ctx, NULL);
    T_EQ_I64(vfs->rename(vfs->ctx, dir, "a", "b"), 0);
    T_EQ_I64(vfs->open(vfs->ctx, dir, "a", 0, &f), ENOENT);
    T_CHECK(f == NULL);
    T_REQUIRE(vfs->open(vfs->ctx, dir, "b", 0, &f) == 0);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, text, 1, 0, &done), EBADF); /* read only */
    vfs->close(vfs->ctx, f);
    T_EQ_I64(vfs->open(vfs->ctx, dir, "b", BASE_VFS_CREATE | BASE_VFS_EXCL, &f), EEXIST);
    T_EQ_I64(vfs->unlink(vfs->ctx, dir, "b"), 0);
    T_EQ_I64(vfs->unlink(vfs->ctx, dir, "b"), ENOENT);
}

static int refusing; /* error of each fallocate; 0: none */

int fallocate(int fd, int mode, off_t from, off_t bytes)
{
    (void)mode;
    errno = refusing != 0 ? refusing : posix_fallocate(fd, from, bytes);
    return errno != 0 ? -1 : 0;
}

T_CASE_ON(file_system_without_fallocate_allocates_the_blocks, STORE)
{
    base_vfs_file *f;
    base_vfs_stat s;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    for (uint64_t i = 1; i <= 2; i++) {
        refusing = i == 1 ? EOPNOTSUPP : ENOSYS;
        T_EQ_I64(vfs->preallocate(vfs->ctx, f, i << 16), 0);
        T_CHECK(vfs->stat(vfs->ctx, f, &s) == 0 && s.allocated_bytes >= i << 16);
    }
    refusing = 0;
    vfs->close(vfs->ctx, f);
}

T_CASE_ON(maps_share_their_bytes, STORE)
{
    base_vfs_file *f;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    T_REQUIRE(vfs->preallocate(vfs->ctx, f, 8 * 4096) == 0);
    void *map;
    T_REQUIRE(vfs->map_shared(vfs->ctx, f, 8 * 4096, &map) == 0);
    unsigned char *p = map;
    p[5] = 7;
    unsigned char back = 0;
    size_t done;
    T_EQ_U64(vfs->pread_now(vfs->ctx, f, &back, 1, UINT64_MAX), 0);
    T_EQ_I64(vfs->map_shared(vfs->ctx, f, 0, &map), EINVAL);
    map = p;
    T_EQ_I64(vfs->pread(vfs->ctx, f, &back, 1, 5, &done), 0);
    T_EQ_U64(back, 7);
    vfs->ahead(vfs->ctx, f, 0, 4096);
    vfs->ahead(vfs->ctx, f, UINT64_MAX, 1); /* invalid offset: ignored */
    vfs->ahead(vfs->ctx, f, 1, INT64_MAX);
    vfs->unmap(vfs->ctx, map, 8 * 4096);
    vfs->unmap(vfs->ctx, NULL, 0);
    vfs->close(vfs->ctx, f);
}

T_CASE_ON(links_and_other_openers_are_refused, STORE)
{
    base_vfs_file *f, *g;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    char path[300], other[300];
    snprintf(path, sizeof path, "%s/link", folder);
    T_REQUIRE(symlink("a", path) == 0);
    T_EQ_I64(vfs->open(vfs->ctx, dir, "link", BASE_VFS_WRITE, &g), ELOOP);
    T_EQ_I64(vfs->lock(vfs->ctx, f), 0);
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_WRITE, &g) == 0);
    T_EQ_I64(vfs->lock(vfs->ctx, g), EAGAIN);
    vfs->close(vfs->ctx, f);
    T_EQ_I64(vfs->lock(vfs->ctx, g), 0);
    const pid_t child = fork(); /* inherits and keeps all descriptors */
    if (child == 0) {
        for (;;) { pause(); }
    }
    vfs->unlock(vfs->ctx, g);
    vfs->close(vfs->ctx, g);
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_WRITE, &g) == 0);
    T_EQ_I64(vfs->lock(vfs->ctx, g), 0);
    vfs->close(vfs->ctx, g);
    T_CHECK(child > 0 && kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    snprintf(other, sizeof other, "%s/sub", folder);
    T_EQ_I64(vfs->open_dir(vfs->ctx, other, false, &g), ENOENT);
    T_REQUIRE(vfs->open_dir(vfs->ctx, other, true, &g) == 0);
    struct stat s;
    T_CHECK(stat(other, &s) == 0 && (s.st_mode & 0777) == 0700);
    vfs->close(vfs->ctx, g);
    rmdir(other);
}

/* Return the inode that open_dir opens for `path`; 0: none, *e is the error. */
static uint64_t opened_by(const char *path, bool create, int *e)
{
    base_vfs_file *d = NULL;
    base_vfs_stat s = { .inode = 0 };
    *e = vfs->open_dir(vfs->ctx, path, create, &d);
    if (*e == 0) { T_EQ_I64(vfs->stat(vfs->ctx, d, &s), 0); }
    vfs->close(vfs->ctx, d);
    return s.inode;
}

T_CASE_ON(open_dir_follows_links_of_this_user, STORE)
{
    char sub[300], link[300], path[301], too_long[BASE_VFS_PATH + 1] = "";
    struct stat s;
    int e;
    memset(too_long, 'x', BASE_VFS_PATH);
    T_CHECK(opened_by(too_long, true, &e) == 0 && e == ENAMETOOLONG);
    T_CHECK(opened_by("/", false, &e) != 0);
    snprintf(sub, sizeof sub, "%s/sub", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    T_REQUIRE(symlink("sub", link) == 0);
    T_EQ_U64(opened_by(link, false, &e), 0); /* dangling link */
    T_EQ_I64(e, ENOENT);
    const uint64_t made = opened_by(link, true, &e);
    T_EQ_I64(e, 0);
    T_CHECK(lstat(sub, &s) == 0 && S_ISDIR(s.st_mode) && s.st_ino == made);
    T_EQ_U64(opened_by(link, true, &e), made);
    snprintf(path, sizeof path, "%s/", link);
    T_EQ_U64(opened_by(path, true, &e), made);
    T_REQUIRE(unlink(link) == 0 && symlink(sub, link) == 0); /* absolute target */
    T_EQ_U64(opened_by(link, false, &e), made);
    snprintf(path, sizeof path, "%s/b", folder);
    T_REQUIRE(symlink("link", path) == 0); /* a link to a link */
    T_EQ_U64(opened_by(path, false, &e), made);
    T_REQUIRE(unlink(link) == 0 && symlink("b", link) == 0); /* a cycle of two links */
    T_EQ_U64(opened_by(path, false, &e), 0);
    T_EQ_I64(e, EMLINK);
    snprintf(path, sizeof path, "%s/a", folder);
    T_REQUIRE(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    T_REQUIRE(unlink(link) == 0 && symlink("a", link) == 0);
    T_EQ_U64(opened_by(link, true, &e), 0);
    T_EQ_I64(e, ENOTDIR);
    T_EQ_I64(rmdir(sub), 0);
}

T_CASE_ON(open_dir_follows_a_chain_of_8_links, STORE)
{
    char path[300], name[2] = "1", to[2] = ".";
    int e;
    for (; *name <= '9'; *to = (*name)++) { /* link n is the first of a chain of n */
        snprintf(path, sizeof path, "%s/%s", folder, name);
        T_REQUIRE(symlink(to, path) == 0);
        (void)opened_by(path, false, &e);
        T_EQ_I64(e, *name <= '8' ? 0 : EMLINK);
    }
    while (--*name > '0') { T_EQ_I64(vfs->unlink(vfs->ctx, dir, name), 0); }
}

T_CASE_ON(open_dir_refuses_links_and_targets_of_another_user, STORE)
{
    char sub[300], link[300];
    int e;
    if (geteuid() != 0) {
        T_SKIP("needs root to make links of another user");
        return;
    }
    snprintf(sub, sizeof sub, "%s/sub", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    T_REQUIRE(mkdir(sub, 0777) == 0 && symlink("sub", link) == 0);
    T_REQUIRE(lchown(link, 12345, 12345) == 0);
    T_EQ_U64(opened_by(link, true, &e), 0);
    T_EQ_I64(e, ELOOP);
    T_CHECK(opened_by(sub, true, &e) != 0);
    T_REQUIRE(lchown(link, 0, 0) == 0 && chown(sub, 12345, 12345) == 0);
    T_EQ_U64(opened_by(link, true, &e), 0);
    T_EQ_I64(e, ELOOP);
    T_CHECK(opened_by(sub, true, &e) != 0); /* named directly */
    T_REQUIRE(chmod(folder, 0777) == 0);
    const pid_t pid = fork();
    if (pid == 0) { /* root's link is trusted; that user may lack access to TMPDIR */
        if (chdir(folder) != 0 || seteuid(12345) != 0) { _exit(2); }
        _exit(opened_by("link", true, &e) != 0 ? 0 : 1);
    }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    T_EQ_I64(rmdir(sub), 0);
}

T_CASE_ON(set_aside_renames_the_directory_behind_a_link, STORE)
{
    char sub[300], link[300], bad[310];
    char to[BASE_VFS_ASIDE] = "";
    struct stat s;
    snprintf(sub, sizeof sub, "%s/sub", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(bad, sizeof bad, "%s.bad.1", sub);
    T_REQUIRE(mkdir(sub, 0700) == 0 && symlink("sub", link) == 0);
    T_EQ_I64(vfs->set_aside(vfs->ctx, link, to), 0);
    T_EQ_STR(to, bad);
    T_CHECK(lstat(link, &s) == 0 && S_ISLNK(s.st_mode));
    T_CHECK(lstat(sub, &s) != 0 && errno == ENOENT);
    T_EQ_I64(rmdir(bad), 0);
    T_EQ_I64(vfs->set_aside(vfs->ctx, sub, to), ENOENT);
}

static int xfsz_seen;
static void see_xfsz(int number) { (void)number; xfsz_seen++; }

/* A counting handler shows that no SIGXFSZ arrives; its default action would end the process. */
T_CASE_ON(write_above_the_file_size_limit_returns_efbig, STORE)
{
    struct rlimit was, low;
    struct sigaction see = { .sa_handler = see_xfsz }, before;
    sigset_t set, now;
    char byte = 1;
    size_t done;
    base_vfs_file *f;
    xfsz_seen = 0;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    T_EQ_I64(vfs->preallocate(vfs->ctx, f, 2 << 20), 0);
    T_REQUIRE(sigaction(SIGXFSZ, &see, &before) == 0 && getrlimit(RLIMIT_FSIZE, &was) == 0);
    low = was;
    low.rlim_cur = 1 << 20;
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, &byte, 1, 1 << 20, &done), EFBIG); /* inside the file */
    T_EQ_U64(done, 0);
    T_EQ_I64(vfs->preallocate(vfs->ctx, f, 3 << 20), EFBIG);
    T_EQ_I64(vfs->truncate(vfs->ctx, f, 3 << 20), EFBIG);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, &byte, 1, (1 << 20) - 1, &done), 0);
    T_EQ_I64(vfs->truncate(vfs->ctx, f, 1), 0);
    T_EQ_I64(xfsz_seen, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    T_EQ_I64(pthread_sigmask(SIG_BLOCK, &set, NULL), 0); /* blocked by the host, and pending */
    raise(SIGXFSZ);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, &byte, 1, 1 << 20, &done), EFBIG);
    T_CHECK(sigpending(&now) == 0 && sigismember(&now, SIGXFSZ) == 1);
    T_EQ_I64(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    T_EQ_I64(xfsz_seen, 1);
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &was) == 0 && sigaction(SIGXFSZ, &before, NULL) == 0);
    vfs->close(vfs->ctx, f);
}

T_CASE_ON(boot_has_one_id, STORE)
{
    unsigned char id[16], again[16];
    T_EQ_I64(vfs->boot_id(vfs->ctx, id), 0);
    T_EQ_I64(vfs->boot_id(vfs->ctx, again), 0);
    T_EQ_MEM(id, again, 16);
    char want[40] = "", got[40];
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
    T_CHECK(read(fd, want, 36) == 36 && close(fd) == 0);
    for (int i = 0, n = 0; i < 16; i++) {
        n += snprintf(got + n, sizeof got - (size_t)n, i > 3 && i < 11 && i % 2 == 0 ? "-%02x" : "%02x",
                      id[i]);
    }
    T_EQ_STR(got, want);
}

/* Read "a" and return whether its access time stays 4 days old: relatime alone would update it. */
static bool reading_leaves_its_time(void)
{
    char path[300], byte;
    snprintf(path, sizeof path, "%s/a", folder);
    struct timespec times[2] = { { time(NULL) - 4 * 86400, 0 }, { 0, UTIME_OMIT } };
    T_REQUIRE(utimensat(AT_FDCWD, path, times, 0) == 0);
    base_vfs_file *f;
    size_t done = 0;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", 0, &f) == 0);
    T_EQ_I64(vfs->pread(vfs->ctx, f, &byte, 1, 0, &done), 0);
    T_EQ_U64(done, 1);
    vfs->close(vfs->ctx, f);
    struct stat s;
    T_REQUIRE(stat(path, &s) == 0);
    return s.st_atim.tv_sec == times[0].tv_sec;
}

T_CASE_ON(read_does_not_update_the_access_time, STORE)
{
    base_vfs_file *f;
    size_t done = 0;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE | BASE_VFS_EXCL,
                        &f) == 0);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, "x", 1, 0, &done), 0);
    T_CHECK(reading_leaves_its_time());
    vfs->close(vfs->ctx, f);
}

/* O_NOATIME is refused on such a file; the open must succeed without it. */
T_CASE_ON(file_of_another_user_is_readable, STORE)
{
    if (geteuid() != 0) {
        T_SKIP("needs root to become another user");
        return;
    }
    base_vfs_file *f;
    size_t done = 0;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, "x", 1, 0, &done), 0);
    vfs->close(vfs->ctx, f);
    char path[300];
    snprintf(path, sizeof path, "%s/a", folder);
    T_REQUIRE(chmod(folder, 0755) == 0 && chmod(path, 0644) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        char byte = 0;
        if (seteuid(54321) != 0) { _exit(1); }
        if (vfs->open(vfs->ctx, dir, "a", 0, &f) != 0) { _exit(2); }
        if (vfs->pread(vfs->ctx, f, &byte, 1, 0, &done) != 0 || byte != 'x') { _exit(3); }
        vfs->close(vfs->ctx, f);
        if (vfs->open(vfs->ctx, dir, "a", BASE_VFS_WRITE, &f) != EACCES) { _exit(4); }
        if (vfs->open(vfs->ctx, dir, "b", BASE_VFS_CREATE, &f) != EACCES) { _exit(5); }
        _exit(0);
    }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
}

/* A user with write access to the folder must not be able to block an open. */
T_CASE_ON(open_of_a_fifo_fails_without_a_wait, STORE)
{
    base_vfs_file *f = NULL;
    char path[300];
    snprintf(path, sizeof path, "%s/c", folder);
    T_REQUIRE(mkfifo(path, 0600) == 0);
    (void)alarm(20);
    T_EQ_I64(vfs->open(vfs->ctx, dir, "c", 0, &f), ENXIO);
    T_EQ_I64(vfs->open(vfs->ctx, dir, "c", BASE_VFS_WRITE | BASE_VFS_CREATE, &f), ENXIO);
    T_CHECK(f == NULL);
    (void)alarm(0);
}

/* Make the id unique: /dev/shm is shared, and the same test may run twice at a time. */
static void doorbell_of_this_process(unsigned char id[16])
{
    const uint32_t pid = (uint32_t)getpid();
    memcpy(id + 12, &pid, sizeof pid);
}

/* A bell without read permission exists, too, for example one of another user. */
T_CASE(bell_of_another_user_is_ignored)
{
    unsigned char id[16] = { 0xce, 0x11, 0xa8, 1 };
    doorbell_of_this_process(id);
    struct stat st;
    if (geteuid() != 0 || stat("/dev/shm", &st) != 0 || (st.st_mode & S_IWOTH) == 0) {
        T_SKIP("needs root to become two other users, and a world-writable /dev/shm");
        return;
    }
    T_EQ_I64(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_MAKE), 0);
    const pid_t pid = fork();
    if (pid == 0) { /* a bell of root counts */
        if (seteuid(54321) != 0 || vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK) != 0) { _exit(1); }
        (void)!seteuid(0);
        (void)vfs->bell(vfs->ctx, id, BASE_VFS_BELL_REMOVE);
        if (seteuid(12345) != 0 || vfs->bell(vfs->ctx, id, BASE_VFS_BELL_MAKE) != 0) { _exit(2); }
        if (vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK) != 0) { _exit(3); }
        (void)!seteuid(0);
        if (vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK) != 0) { _exit(4); }
        if (seteuid(54321) != 0) { _exit(5); }
        if (vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK) != ENOENT) { _exit(6); }
        if (vfs->bell(vfs->ctx, id, BASE_VFS_BELL_MAKE) == 0) { _exit(7); }
        _exit(0);
    }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    T_EQ_I64(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_REMOVE), 0);
}

T_CASE_ON(bell_that_cannot_be_opened_exists, STORE)
{
    unsigned char id[16] = { 0xce, 0x11, 0xa4 };
    char path[64] = "/dev/shm/cellar-";
    doorbell_of_this_process(id);
    for (size_t i = 0; i < sizeof id; i++) { snprintf(path + 16 + 2 * i, 3, "%02x", id[i]); }
    if (symlink("nowhere", path) != 0) {
        T_SKIP("no /dev/shm here");
        return;
    }
    T_EQ_I64(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK), 0);
    T_CHECK(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_MAKE) != 0);
    T_EQ_I64(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_REMOVE), 0);
    T_EQ_I64(vfs->bell(vfs->ctx, id, BASE_VFS_BELL_LOOK), ENOENT);
}

static void count_name(void *ctx, const char *name)
{
    T_CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    ++*(unsigned *)ctx;
}

T_CASE_ON(list_returns_every_name, STORE)
{
    base_vfs_file *f;
    unsigned names = 0;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    vfs->close(vfs->ctx, f);
    T_REQUIRE(vfs->open(vfs->ctx, dir, "b", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    vfs->close(vfs->ctx, f);
    for (int i = 0; i < 2; i++) { /* each call starts at the beginning */
        names = 0;
        T_EQ_I64(vfs->list(vfs->ctx, dir, count_name, &names), 0);
        T_EQ_U64(names, 2);
    }
}

/* Use every call once. Return the first error, or 0. */
static int use_all(void)
{
    base_vfs_file *d = NULL, *f = NULL;
    void *map = NULL;
    char text[8] = "abcdefg";
    size_t done;
    base_vfs_stat s;
    unsigned char id[16];
    unsigned names = 0;
    int e = vfs->open_dir(vfs->ctx, folder, true, &d);
    if (e == 0) { e = vfs->open(vfs->ctx, d, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f); }
    if (e == 0) { e = vfs->lock(vfs->ctx, f); }
    if (e == 0) { e = vfs->preallocate(vfs->ctx, f, 4096); }
    if (e == 0) { e = vfs->pwrite(vfs->ctx, f, text, 8, 0, &done); }
    if (e == 0) { e = vfs->pread(vfs->ctx, f, text, 8, 0, &done); }
    if (e == 0) { e = vfs->map_shared(vfs->ctx, f, 4096, &map); }
    if (e == 0) { e = vfs->datasync(vfs->ctx, f); }
    if (e == 0) { e = vfs->stat(vfs->ctx, f, &s); }
    if (e == 0) { e = vfs->truncate(vfs->ctx, f, 4096); }
    if (e == 0) { e = vfs->rename(vfs->ctx, d, "a", "c"); }
    if (e == 0) { e = vfs->unlink(vfs->ctx, d, "c"); }
    if (e == 0) { e = vfs->sync_dir(vfs->ctx, d); }
    if (e == 0) { e = vfs->boot_id(vfs->ctx, id); }
    if (e == 0) { e = vfs->list(vfs->ctx, d, count_name, &names); }
    vfs->unmap(vfs->ctx, map, 4096);
    vfs->close(vfs->ctx, f);
    vfs->close(vfs->ctx, d);
    return e;
}

T_CASE_ON(each_armed_disk_call_fails, STORE)
{
    static const char *const sites[] = { "open_dir", "open", "lock", "preallocate", "pwrite",
        "pread", "map_shared", "datasync", "stat", "truncate", "rename", "unlink", "sync_dir",
        "boot_id", "list" };
    size_t files = open_files();
    T_EQ_I64(use_all(), 0);
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        (void)base_fault_io_arm(sites[i], ENOSPC, 1, false);
        T_EQ_I64(use_all(), ENOSPC);
        T_EQ_I64(use_all(), 0);
        T_CHECK(base_fault_io_arm(NULL, 0, 0, false) >= 2);
        T_EQ_U64(open_files(), files);
    }
    (void)base_fault_io_arm(NULL, EIO, 1, false); /* any site: count them */
    T_EQ_I64(use_all(), EIO);
    (void)base_fault_io_arm(NULL, EIO, 1000, false);
    T_EQ_I64(use_all(), 0);
    T_EQ_U64(base_fault_io_arm(NULL, 0, 0, false), sizeof sites / sizeof sites[0]);
    for (uint64_t nth = 1; nth <= 15; nth++) { /* every call from the n-th on */
        (void)base_fault_io_arm(NULL, EIO, nth, true);
        T_EQ_I64(use_all(), EIO);
        T_EQ_I64(use_all(), EIO);
    }
    (void)base_fault_io_arm(NULL, 0, 0, false);
    for (uint64_t nth = 1; nth <= 2; nth++) { /* memory of the handle */
        (void)base_fault_alloc_arm(nth, false);
        T_EQ_I64(use_all(), ENOMEM);
        (void)base_fault_alloc_arm(0, false);
        T_EQ_U64(open_files(), files);
    }
}

T_CASE_ON(short_transfer_is_reported, STORE)
{
    base_vfs_file *f;
    T_REQUIRE(vfs->open(vfs->ctx, dir, "a", BASE_VFS_CREATE | BASE_VFS_WRITE, &f) == 0);
    char text[8] = "abcdefg";
    size_t done = 0;
    (void)base_fault_io_arm("pwrite", -1, 1, false);
    T_EQ_I64(vfs->pwrite(vfs->ctx, f, text, 8, 0, &done), 0);
    T_EQ_U64(done, 4);
    (void)base_fault_io_arm("pread", -1, 1, false);
    T_EQ_I64(vfs->pread(vfs->ctx, f, text, 4, 0, &done), 0);
    T_EQ_U64(done, 2);
    (void)base_fault_io_arm("truncate", -1, 1, false); /* no bytes move: no effect */
    T_EQ_I64(vfs->truncate(vfs->ctx, f, 1), 0);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    vfs->close(vfs->ctx, f);
}

/* A program with a closed standard input gets descriptor 0 for its folder. */
T_CASE_ON(open_dir_takes_descriptor_0, STORE)
{
    int e;
    const int kept = dup(0);
    T_CHECK(close(0) == 0 && opened_by(folder, false, &e) != 0);
    T_EQ_I64(e, 0);
    T_CHECK(dup2(kept, 0) == 0 && close(kept) == 0);
}

T_MAIN("base_vfs")
