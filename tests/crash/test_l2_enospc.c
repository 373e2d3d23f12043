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

#include "tests/support/l2_kit.h"

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

static l2_kit kit;

static void kit_here(uint64_t bytes)
{
    l2_kit_init(&kit, NULL);
    kit.cfg.path = store;
    kit.cfg.bytes = bytes;
    kit.cfg.memory_bytes = (uint64_t)64 << 20;
    kit.cfg.seg_bytes = kit.cfg.seg_count = kit.cfg.stage_count = 0;
}

static uint32_t stored_of(uint32_t keys)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < keys; i++) {
        const uint32_t got = l2_kit_look(&kit, i, L2_KIT_GENERATION);
        T_CHECK(got == 0 || got == i + 1);
        found += got != 0;
    }
    return found;
}

static void fill_store(uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++) {
        T_EQ_I64(l2_kit_put(&kit, i, i + 1, L2_KIT_GENERATION), CELLAR_OK);
        if (i % 64 == 0) {
            while (l2_tick(kit.d, 1000)) {}
        }
    }
}

static void store_takes_what_there_is(void)
{
    kit_here((uint64_t)64 << 20);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_stats st = l2_kit_figures(&kit);
    T_CHECK(st.file_bytes >= (8u << 20) && st.file_bytes < (24u << 20));
    fill_store(8000);
    T_CHECK(stored_of(8000) > 7950);
    l2_close(kit.d);
    kit_here((uint64_t)64 << 20);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_CHECK(stored_of(8000) > 7950);
    l2_close(kit.d);
}

static void no_room_fails_the_open(void)
{
    kit_here((uint64_t)64 << 20);
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_IO);
    T_EQ_I64(kit.sys_errno, ENOSPC);
    T_REQUIRE(mounted(90, true)); /* another process has made room */
    kit_here((uint64_t)64 << 20);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    fill_store(500);
    T_EQ_U64(stored_of(500), 500);
    T_CHECK(l2_kit_figures(&kit).file_bytes > (60u << 20));
    l2_close(kit.d);
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

/* reserves: the file system has room for META. Otherwise syncs fail until the disk has room. */
static void disk_fills_up(bool reserves)
{
    char file[400], name[24];
    base_vfs plain = *base_vfs_system();
    plain.reserve = NULL;
    kit_here((uint64_t)16 << 20);
    if (!reserves) { kit.cfg.vfs = &plain; }
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    fill_store(2000);
    snprintf(file, sizeof file, "%s/filler", mount_at);
    fill_disk(file);
    for (uint32_t i = 0; i < 300; i++) { /* names that META has no room for, unless it is reserved */
        const l2_namespace v = { 10 + i, 100 + i, 1 };
        const int n = snprintf(name, sizeof name, "a long name %u", i);
        T_EQ_I64(l2_namespace_set(kit.d, &v, name, (size_t)n), CELLAR_OK);
    }
    T_EQ_I64(l2_sync(kit.d), reserves ? CELLAR_OK : CELLAR_E_IO);
    for (int i = 0; i < 200; i++) {
        kit.now_ms += 500;
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(stored_of(2000) == 2000 || !reserves);
    T_EQ_U64(l2_kit_figures(&kit).offs != 0, !reserves);
    const l2_key id = l2_kit_key(&kit, &(uint32_t){ 7 }, 4, L2_KIT_GENERATION);
    l2_invalidate(kit.d, &id);
    T_EQ_U64(l2_kit_look(&kit, 7, L2_KIT_GENERATION), 0);
    if (!reserves) { T_EQ_I64(unlink(file), 0); }
    for (int i = 0; i < 400 && l2_sync(kit.d) != CELLAR_OK; i++) {
        kit.now_ms += 500;
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    /* CLEAN: it must be marked DIRTY first */
    T_EQ_I64(l2_kit_put(&kit, 3, 4, L2_KIT_GENERATION), CELLAR_DROPPED);
    (void)l2_tick(kit.d, 1000);
    T_EQ_I64(l2_kit_put(&kit, 3, 4, L2_KIT_GENERATION), CELLAR_OK);
    T_EQ_U64(l2_kit_look(&kit, 3, L2_KIT_GENERATION), 4);
    l2_close(kit.d);
    if (reserves) { T_EQ_I64(unlink(file), 0); } /* LOCK and images have no room reserved */
    kit_here((uint64_t)16 << 20);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_EQ_U64(l2_kit_look(&kit, 7, L2_KIT_GENERATION), 0);
    T_EQ_U64(l2_kit_look(&kit, 3, L2_KIT_GENERATION), 4);
    l2_namespace v;
    T_CHECK(l2_namespace_find(kit.d, name, strlen(name), &v) && v.generation == 399);
    l2_close(kit.d);
}

static void disk_is_full_meanwhile(void) { disk_fills_up(true); }
static void disk_without_reserve_is_full_meanwhile(void) { disk_fills_up(false); }

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
T_CASE(a_sync_without_room_works_once_the_disk_has_room)
{
    on_small_disk(20, disk_without_reserve_is_full_meanwhile);
}

T_ONE_THREAD;
T_MAIN("l2_enospc")
