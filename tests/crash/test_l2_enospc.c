/* SPDX-License-Identifier: MIT
 *
 * Aim:    on a really full file system a store uses the existing room. If there is none, the open
 *         fails and leaves nothing that hinders the next open. A disk that fills up later costs
 *         neither stored entries nor correctness.
 * Method: a tmpfs of a few MiB in a child's own mount namespace; skipped if a process may have
 *         neither. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/log_kit.h"

static char mount_at[256], store[300];

static bool write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY);
    if (fd < 0) { return false; }
    const bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

/* Enter a new namespace as root, if the process is not root already. */
static bool apart(void)
{
    char map[64];
    const unsigned uid = (unsigned)getuid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) { return false; }
        snprintf(map, sizeof map, "0 %u 1", uid);
        if (!write_text("/proc/self/setgroups", "deny") ||
            !write_text("/proc/self/uid_map", map)) {
            return false;
        }
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool mounted(unsigned mib, bool again)
{
    char options[64];
    snprintf(options, sizeof options, "size=%um,mode=700", mib);
    return mount("tmpfs", mount_at, "tmpfs", again ? MS_REMOUNT : 0, options) == 0;
}

/* Run fn in a child with its own tmpfs. */
static void on_small_disk(unsigned mib, void (*fn)(void))
{
    const char *tmp = getenv("TMPDIR");
    snprintf(mount_at, sizeof mount_at, "%s/cellar-enospc-XXXXXX", tmp != NULL ? tmp : "/tmp");
    T_REQUIRE(mkdtemp(mount_at) != NULL);
    snprintf(store, sizeof store, "%s/store", mount_at);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        if (!apart() || !mounted(mib, false)) { _Exit(77); }
        fn();
        (void)fflush(NULL);
        _Exit(t_failed() ? 1 : 0);
    }
    int status = 0;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(rmdir(mount_at), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        T_SKIP("no mount of its own for a process");
        return;
    }
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static cellar_err open_here(uint64_t bytes, int *e)
{
    begin(L2_DROP);
    cfg.path = store;
    cfg.bytes = bytes;
    cfg.memory_bytes = (uint64_t)64 << 20;
    cfg.seg_bytes = cfg.seg_count = 0;
    const cellar_err err = l2_open(&cfg, &d, e);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    if (err == CELLAR_OK && !l2_namespace_find(d, "all", 3, &ns)) {
        T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
    }
    return err;
}

static void reopen_here(uint64_t bytes)
{
    int e = 0;
    l2_close(d);
    T_REQUIRE(open_here(bytes, &e) == CELLAR_OK);
}

static uint32_t stored_of(uint32_t keys)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < keys; i++) {
        const uint32_t got = look(i);
        T_CHECK(got == 0 || got == i + 1);
        found += got != 0;
    }
    return found;
}

static void fill_store(uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++) { T_EQ_I64(put_key(i, i + 1, false), CELLAR_OK); }
}

static uint64_t file_bytes(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st.file_bytes;
}

static void store_takes_what_there_is(void)
{
    int e = 0;
    T_REQUIRE(open_here((uint64_t)64 << 20, &e) == CELLAR_OK);
    T_CHECK(file_bytes() >= (8u << 20) && file_bytes() < (24u << 20));
    fill_store(8000);
    T_EQ_U64(stored_of(8000), 8000);
    reopen_here((uint64_t)64 << 20);
    T_EQ_U64(stored_of(8000), 8000);
    l2_close(d);
}

static void no_room_fails_the_open(void)
{
    int e = 0;
    T_EQ_I64(open_here((uint64_t)64 << 20, &e), CELLAR_E_IO);
    T_EQ_I64(e, ENOSPC);
    T_REQUIRE(mounted(90, true)); /* another process has made room */
    T_REQUIRE(open_here((uint64_t)64 << 20, &e) == CELLAR_OK);
    fill_store(500);
    T_EQ_U64(stored_of(500), 500);
    T_CHECK(file_bytes() > (60u << 20));
    l2_close(d);
}

/* Fill a file with all free bytes of the disk. */
static void fill_disk(const char *file)
{
    static const char zeros[65536];
    const int fd = open(file, O_WRONLY | O_CREAT, 0600);
    T_REQUIRE(fd >= 0);
    for (size_t n = sizeof zeros; n > 0; n /= 2) {
        while (write(fd, zeros, n) > 0) {}
    }
    close(fd);
}

static void disk_is_full_meanwhile(void)
{
    char file[400], name[24];
    const uint64_t bytes = (uint64_t)16 << 20;
    int n = 0, e = 0;
    T_REQUIRE(open_here(bytes, &e) == CELLAR_OK);
    fill_store(2000);
    snprintf(file, sizeof file, "%s/filler", mount_at);
    fill_disk(file);
    for (uint32_t i = 0; i < 300; i++) {
        const l2_namespace v = { 10 + i, 100 + i, 1 };
        n = snprintf(name, sizeof name, "a long name %u", i);
        T_EQ_I64(l2_namespace_set(d, &v, name, (size_t)n, NULL), CELLAR_OK);
    }
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_EQ_I64(l2_resize(d, 2 * bytes), CELLAR_E_SPACE);
    T_EQ_U64(stored_of(2000), 2000);
    end_one(7);
    T_EQ_I64(put_key(3, 4, true), CELLAR_OK);
    for (int run = 0; run < 3; run++) {
        T_EQ_U64(look(7), 0);
        T_EQ_U64(look(3), 4);
        T_EQ_U64(stored_of(2000), 1999);
        T_EQ_I64(l2_sync(d), CELLAR_OK);
        reopen_here(bytes);
        if (run == 1) { T_EQ_I64(unlink(file), 0); }
    }
    l2_namespace v;
    T_CHECK(l2_namespace_find(d, name, (size_t)n, &v) && v.generation == 399);
    l2_stats st;
    l2_stats_get(d, &st);
    T_EQ_U64(st.io_errors, 0);
    l2_close(d);
}

T_CASE(a_small_disk_gives_a_smaller_store)
{
    on_small_disk(24, store_takes_what_there_is);
}
T_CASE(a_full_disk_fails_the_open_and_a_later_open_works)
{
    on_small_disk(6, no_room_fails_the_open);
}
T_CASE(a_disk_that_fills_up_later_fails_no_sync)
{
    on_small_disk(20, disk_is_full_meanwhile);
}

T_ONE_THREAD;
T_MAIN("l2_enospc")
