/* SPDX-License-Identifier: MIT
 *
 * Aim:    a directory that is foreign, newer, damaged or in use is refused with its own code and
 *         stays as it was. An interrupted format is repeated. Sizes are kept. A forked child drops
 *         its files.
 * Method: an in-memory disk, compared byte by byte; real files for locks, forks and links. */
#include "cli/directory.c"
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>

static l2_dev dev, cut;
static l2_kit kit, other;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void put_one(l2_kit *k, const char *key, const char *value)
{
    const l2_key id = l2_kit_key(k, key, strlen(key), 3);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    T_EQ_I64(l2_put(k->d, &id, value, strlen(value), &m, NULL), CELLAR_OK);
}

static bool has(l2_kit *k, const char *key, const char *value)
{
    char buf[64];
    size_t len;
    l2_meta m;
    const l2_key id = l2_kit_key(k, key, strlen(key), 3);
    return l2_get(k->d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK && len == strlen(value) &&
           memcmp(buf, value, len) == 0;
}

static void made(void)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    put_one(&kit, "key", "value");
    l2_close(kit.d);
    kit.d = NULL;
}

static void gone(void)
{
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
}

static void same_files(const l2_dev *a, const l2_dev *b)
{
    for (int i = 0; i < DEV_FILES; i++) {
        T_EQ_STR(a->file[i].name, b->file[i].name);
        T_EQ_U64(a->file[i].size, b->file[i].size);
        if (a->file[i].size > 0 && a->file[i].size == b->file[i].size) {
            T_EQ_MEM(a->file[i].live, b->file[i].live, a->file[i].size);
        }
    }
}

static void refused_untouched(cellar_err want)
{
    l2_dev_clone(&dev, &cut, NULL);
    l2_kit_init(&other, &cut);
    T_EQ_I64(l2_kit_open(&other), want);
    T_CHECK(other.d == NULL);
    same_files(&dev, &cut);
    T_EQ_U64(base_load_rlx(&other.account.used), 0);
}

static void seal_super(unsigned char *page)
{
    static const unsigned char no_secret[32] = { 'c', 'e', 'l', 'l', 'a', 'r' };
    base_sum_key key;
    base_sum_key_init(&key, no_secret);
    l2_w64(page + 4088, base_sum(&key, 0, page, 4088));
}

T_CASE(foreign_newer_and_damaged_directories_are_refused)
{
    made();
    l2_dev_file *super = l2_dev_find(&dev, "SUPER");
    unsigned char both[8192];
    memcpy(both, super->live, sizeof both);
    for (int i = 0; i < 2; i++) { super->live[4096 * i] ^= 1; }
    refused_untouched(CELLAR_E_FOREIGN); /* no magic */
    memcpy(super->live, both, sizeof both);
    for (int i = 0; i < 2; i++) { super->live[4096 * i + 500] ^= 1; }
    refused_untouched(CELLAR_E_CORRUPT); /* both copies damaged */
    memcpy(super->live, both, sizeof both);
    static const struct { size_t at; unsigned char is; } other_format[] = {
        { 8, 1 }, { 8, 9 }, { 24, 9 }, { 32, 9 }, { 228, 9 }, { 230, 9 } /* major, bits, algorithms */
    };
    for (size_t n = 0; n < sizeof other_format / sizeof other_format[0]; n++) {
        memcpy(super->live, both, sizeof both);
        for (size_t i = 0; i < 2; i++) {
            super->live[4096 * i + other_format[n].at] = other_format[n].is;
            seal_super(super->live + 4096 * i);
        }
        refused_untouched(CELLAR_E_NEWER_FORMAT);
    }
    memcpy(super->live, both, sizeof both);
    for (int i = 0; i < 2; i++) { /* a compatible addition, a newer minor */
        super->live[4096 * i + 10] = 7;
        super->live[4096 * i + 16] = 1;
        seal_super(super->live + 4096 * i);
    }
    T_EQ_I64(l2_kit_open(&kit), CELLAR_OK);
    l2_kit_warm(&kit);
    T_CHECK(has(&kit, "key", "value"));
    l2_close(kit.d);
    kit.d = NULL;
    memcpy(super->live, both, sizeof both);
    static const size_t wild[] = { 144, 148, 152, 156, 136, 140 }; /* impossible sizes */
    for (size_t n = 0; n < sizeof wild / sizeof wild[0]; n++) {
        memcpy(super->live, both, sizeof both);
        for (size_t i = 0; i < 2; i++) {
            memset(super->live + 4096 * i + wild[n], 0xff, 4);
            seal_super(super->live + 4096 * i);
        }
        refused_untouched(CELLAR_E_CORRUPT);
    }
    static const size_t times[] = { 176, 184, 192 }; /* impossible times */
    for (size_t n = 0; n < sizeof times / sizeof times[0]; n++) {
        memcpy(super->live, both, sizeof both);
        for (size_t i = 0; i < 2; i++) {
            l2_w64(super->live + 4096 * i + times[n], (uint64_t)INT64_MAX);
            seal_super(super->live + 4096 * i);
        }
        refused_untouched(CELLAR_E_CORRUPT);
    }
    gone();
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    base_vfs_file *f;
    size_t done;
    T_REQUIRE(kit.vfs.open(&dev, NULL, "letter.txt", BASE_VFS_CREATE, &f) == 0);
    T_EQ_I64(kit.vfs.pwrite(&dev, f, "Dear", 4, 0, &done), 0);
    l2_dev_init(&cut);
    refused_untouched(CELLAR_E_FOREIGN);
    gone();
}

static uint64_t cuts;

T_CASE(network_file_systems_are_refused_untouched)
{
    made();
    dev.remote = true;
    refused_untouched(CELLAR_E_UNSUPPORTED);
    kit.cfg.allow_network = true;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_close(kit.d);
    kit.d = NULL;
    gone();
}

/* The check is right: an attacker with write access can make one. */
T_CASE(places_that_never_existed_cost_nothing)
{
    made();
    l2_dev_file *super = l2_dev_find(&dev, "SUPER");
    for (size_t i = 0; i < 2; i++) {
        l2_w32(super->live + 4096 * i + 148, 1u << 24);
        seal_super(super->live + 4096 * i);
    }
    const uint32_t reads = dev.calls[DEV_PREAD];
    T_EQ_I64(l2_kit_open(&kit), CELLAR_OK);
    T_EQ_U64(kit.d->super.nseg, 1024);
    T_CHECK(base_load_rlx(&kit.account.used) < 1u << 20);
    T_CHECK(dev.calls[DEV_PREAD] - reads < 2200);
    l2_kit_warm(&kit);
    T_CHECK(has(&kit, "key", "value"));
    l2_close(kit.d);
    kit.d = NULL;
    gone();
}

static int (*whole_stat)(void *ctx, base_vfs_file *f, base_vfs_stat *out);

/* Report fewer allocated bytes than the length, like a file with holes. */
static int holes_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    const int e = whole_stat(ctx, f, out);
    out->allocated_bytes = out->size_bytes / 16;
    return e;
}

/* Records after holes are not cut off because larger tables are requested. */
T_CASE(places_in_holes_are_kept)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_bytes = 16384;
    kit.cfg.seg_count = 0;
    kit.cfg.bytes = 32u << 20;
    kit.cfg.memory_bytes = 64u << 20;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint32_t places = kit.d->places;
    T_CHECK(places > 1800);
    l2_close(kit.d);
    kit.cfg.avg_object_bytes = 32;
    whole_stat = kit.vfs.stat;
    kit.vfs.stat = holes_stat;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_EQ_U64(kit.d->places, places);
    l2_close(kit.d);
    kit.d = NULL;
    gone();
}

static void cut_here(void *ctx)
{
    base_rng *r = ctx;
    for (int i = 0; i < 12; i++) {
        l2_dev_look(&dev);
        l2_dev_clone(&dev, &cut, i == 0 ? NULL : r);
        l2_kit_init(&other, &cut);
        cuts++;
        if (T_EQ_I64(l2_kit_open(&other), CELLAR_OK)) {
            l2_kit_warm(&other);
            put_one(&other, "a", "b");
            T_CHECK(has(&other, "a", "b"));
            l2_close(other.d);
        }
        other.d = NULL;
    }
}

T_CASE(an_interrupted_format_is_repeated)
{
    base_rng r;
    base_rng_seed(&r, t_.seed);
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    dev.hook = cut_here;
    dev.hook_ctx = &r;
    T_EQ_I64(l2_kit_open(&kit), CELLAR_OK);
    dev.hook = NULL;
    l2_close(kit.d);
    printf("# %" PRIu64 " cuts\n", cuts);
    T_CHECK(cuts > 100);
    gone();
}

T_CASE(a_full_disk_gives_a_smaller_store)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    kit.cfg.bytes = L2_BYTES_MIN * 2;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.seg_count = kit.cfg.stage_count = kit.cfg.seg_bytes = 0;
    dev.fail_site = DEV_PREALLOCATE;
    dev.fail_errno = ENOSPC;
    dev.fail_at = 2; /* the first call is for the stage */
    T_EQ_I64(l2_kit_open(&kit), CELLAR_OK);
    l2_stats st;
    l2_stats_get(kit.d, &st);
    T_CHECK(st.file_bytes < L2_BYTES_MIN * 2 * 4 / 5 && st.file_bytes >= L2_BYTES_MIN);
    put_one(&kit, "a", "b");
    l2_close(kit.d);
    gone();
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.bytes = L2_BYTES_MIN * 2;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.seg_count = kit.cfg.stage_count = kit.cfg.seg_bytes = 0;
    dev.fail_site = DEV_PREALLOCATE;
    dev.fail_errno = ENOSPC;
    dev.fail_at = 2;
    dev.fail_sticky = true;
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_IO);
    T_EQ_I64(kit.sys_errno, ENOSPC);
    T_CHECK(l2_dev_find(&dev, "stage.buf") == NULL && l2_dev_find(&dev, "data.seg") == NULL);
    dev.fail_at = 0;
    T_EQ_I64(l2_kit_open(&kit), CELLAR_OK); /* the format is repeated */
    l2_close(kit.d);
    kit.cfg.bytes = L2_BYTES_MIN - 1;
    gone();
    l2_dev_init(&dev);
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_INVAL);
    gone();
}

static char folder[T_FOLDER_MAX];

static void real_begin(void)
{
    t_folder(folder);
    l2_kit_init(&kit, NULL);
    kit.cfg.path = folder;
}

static void real_end(void) { t_wipe(folder); }

/* ---- renaming a damaged directory ---- */

static char aside[T_FOLDER_MAX + 16];

static bool is_aside(uint32_t number)
{
    struct stat st;
    snprintf(aside, sizeof aside, "%s.bad.%u", folder, number);
    return stat(aside, &st) == 0;
}

/* Change both copies in SUPER. */
static void super_now(void (*change)(unsigned char *page))
{
    unsigned char both[2 * L2_PAGE];
    char path[T_FOLDER_MAX + 16];
    snprintf(path, sizeof path, "%s/SUPER", folder);
    FILE *f = fopen(path, "r+");
    T_REQUIRE(f != NULL && fread(both, sizeof both, 1, f) == 1);
    for (size_t i = 0; i < 2; i++) { change(both + i * L2_PAGE); }
    T_REQUIRE(fseek(f, 0, SEEK_SET) == 0 && fwrite(both, sizeof both, 1, f) == 1);
    fclose(f);
}

static void flip_a_bit(unsigned char *page) { page[100] ^= 4; }
static void no_magic(unsigned char *page) { page[0] ^= 4; }

static void of_another_version(unsigned char *page)
{
    page[8]++;
    seal_super(page);
}

T_CASE(damaged_directories_are_renamed_on_request)
{
    unsigned char is[2 * L2_PAGE];
    char path[T_FOLDER_MAX + 40];
    real_begin();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_close(kit.d);
    super_now(flip_a_bit);
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_CORRUPT); /* not without the option */
    T_CHECK(!is_aside(1));
    kit.cfg.set_aside = true;
    for (uint32_t n = 1; n <= 9; n++) {
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_CHECK(l2_kit_figures(&kit).set_aside && is_aside(n) && !is_aside(n + 1));
        l2_kit_warm(&kit);
        put_one(&kit, "key", "value");
        l2_close(kit.d);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); /* a normal store */
        l2_kit_warm(&kit);
        T_CHECK(!l2_kit_figures(&kit).set_aside && has(&kit, "key", "value"));
        if (n == 9) { /* damaged while it is open: it stays in place */
            super_now(flip_a_bit);
            l2_kit_init(&other, NULL);
            other.cfg.path = folder;
            other.cfg.set_aside = true;
            T_EQ_I64(l2_kit_open(&other), CELLAR_E_BUSY);
            super_now(flip_a_bit);
        }
        l2_close(kit.d);
        super_now(flip_a_bit);
    }
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_CORRUPT); /* nine names are the limit */
    T_EQ_I64(kit.sys_errno, EEXIST);
    T_CHECK(is_aside(1));
    snprintf(path, sizeof path, "%s/SUPER", aside);
    FILE *f = fopen(path, "r");
    T_REQUIRE(f != NULL && fread(is, sizeof is, 1, f) == 1);
    fclose(f);
    l2_super s; /* unchanged: flipped back, it is valid */
    T_EQ_I64(l2_super_read(is, &s), CELLAR_E_CORRUPT);
    flip_a_bit(is);
    T_EQ_I64(l2_super_read(is, &s), CELLAR_OK);
    for (uint32_t n = 1; n <= 9; n++) {
        T_CHECK(is_aside(n));
        t_wipe(aside);
    }
    real_end();
}

T_CASE(foreign_directories_are_never_renamed)
{
    void (*const change[])(unsigned char *page) = { of_another_version, no_magic };
    const cellar_err want[] = { CELLAR_E_NEWER_FORMAT, CELLAR_E_FOREIGN };
    for (int i = 0; i < 2; i++) {
        real_begin();
        kit.cfg.set_aside = true;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        l2_close(kit.d);
        super_now(change[i]);
        T_EQ_I64(l2_kit_open(&kit), want[i]);
        T_CHECK(!is_aside(1));
        real_end();
    }
    /* A directory that cannot be renamed is neither lost nor used. */
    real_begin();
    kit.cfg.set_aside = true;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_close(kit.d);
    super_now(flip_a_bit);
    (void)base_fault_io_arm("set_aside", EROFS, 1, true);
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_CORRUPT);
    T_EQ_I64(kit.sys_errno, EROFS);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    T_CHECK(!is_aside(1));
    real_end();
}

static int looks; /* number of times that another process holds the lock */

static int lock_looked_at(void *ctx, base_vfs_file *f)
{
    const base_vfs *vfs = base_vfs_system();
    if (looks > 0) {
        looks--;
        return EAGAIN;
    }
    (void)ctx;
    return vfs->lock(vfs->ctx, f);
}

T_CASE(inspect_keeps_no_store_out)
{
    directory_report r;
    int e;
    real_begin();
    kit.vfs = *base_vfs_system();
    kit.vfs.lock = lock_looked_at;
    kit.cfg.vfs = &kit.vfs;
    looks = 3;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_EQ_I64(looks, 0);
    const directory_how how = { .path = folder };
    T_EQ_I64(directory_inspect(&how, &r, &e), CELLAR_E_BUSY);
    l2_close(kit.d);
    looks = 1000; /* an inspection is shorter: a store has the lock */
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_BUSY);
    T_EQ_I64(directory_inspect(&how, &r, &e), CELLAR_OK);
    real_end();
}

static size_t open_files(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    T_REQUIRE(d != NULL);
    while (readdir(d) != NULL) { n++; }
    closedir(d);
    return n;
}

T_CASE(a_second_open_is_busy)
{
    real_begin();
    const size_t files = open_files();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    put_one(&kit, "a", "b");
    l2_kit_init(&other, NULL);
    other.cfg.path = folder;
    T_EQ_I64(l2_kit_open(&other), CELLAR_E_BUSY);
    int told[2];
    T_REQUIRE(pipe(told) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        l2_forked(kit.d); /* the child's copy of the lock must not outlive the parent's store */
        other.cfg.path = folder;
        const bool busy = l2_kit_open(&other) == CELLAR_E_BUSY;
        if (write(told[1], "x", 1) != 1) { _exit(2); }
        pause();
        _exit(busy ? 0 : 1);
    }
    char x;
    T_EQ_I64(read(told[0], &x, 1), 1); /* the child has dropped its files and has tried */
    T_EQ_I64(close(told[0]), 0);
    T_EQ_I64(close(told[1]), 0);
    T_CHECK(has(&kit, "a", "b"));
    l2_close(kit.d);
    kit.d = NULL;
    T_EQ_U64(open_files(), files);
    cellar_err err = CELLAR_E_BUSY;
    for (int i = 0; i < 6000 && err == CELLAR_E_BUSY; i++) {
        err = l2_kit_open(&other);
        if (err == CELLAR_E_BUSY) { usleep(10000); }
    }
    T_EQ_I64(err, CELLAR_OK);
    if (err == CELLAR_OK) {
        l2_kit_warm(&other);
        T_CHECK(has(&other, "a", "b"));
        l2_close(other.d);
    }
    T_REQUIRE(pid > 0);
    T_EQ_I64(kill(pid, SIGKILL), 0);
    T_EQ_I64(waitpid(pid, NULL, 0), pid);
    real_end();
}

T_CASE(impossible_paths_are_refused)
{
    real_begin();
    char path[300], target[300];
    snprintf(path, sizeof path, "%s/file", folder);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fclose(f);
    kit.cfg.path = path;
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_IO);
    T_EQ_I64(kit.sys_errno, ENOTDIR);
    T_EQ_I64(unlink(path), 0);
    snprintf(path, sizeof path, "%s/link", folder);
    snprintf(target, sizeof target, "%s", folder);
    T_REQUIRE(symlink(target, path) == 0);
    /* the link is followed, and the link itself is a foreign file */
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_FOREIGN);
    T_EQ_I64(unlink(path), 0);
    snprintf(path, sizeof path, "%s/no/such", folder);
    T_EQ_I64(l2_kit_open(&kit), CELLAR_E_IO);
    T_EQ_I64(kit.sys_errno, ENOENT);
    real_end();
}

T_CASE(a_copied_directory_is_used_only_when_clean)
{
    made();
    l2_dev_clone(&dev, &cut, NULL); /* closed, then copied: other inodes */
    for (int i = 0; i < DEV_FILES; i++) { cut.file[i].ino += 100; }
    l2_kit_init(&other, &cut);
    T_EQ_I64(l2_kit_open(&other), CELLAR_OK);
    l2_kit_warm(&other);
    T_CHECK(has(&other, "key", "value"));
    l2_kit_kill(&other);
    for (int i = 0; i < DEV_FILES; i++) { cut.file[i].ino += 100; }
    cut.locked = false; /* copied while in use: its log may be torn anywhere */
    T_EQ_I64(l2_kit_open(&other), CELLAR_OK);
    l2_kit_warm(&other);
    T_CHECK(!has(&other, "key", "value"));
    l2_close(other.d);
    gone();
}

/* Open after a process death with the given identity of stage.buf. Return true if its contents
 * count. */
static bool believed(uint64_t device, int64_t born_ns, uint64_t found_device, int64_t found_born_ns,
                     bool other_boot)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 6;
    kit.cfg.level = L2_KEEP;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK); /* makes the file */
    l2_close(kit.d);
    l2_dev_file *f = l2_dev_find(&dev, "stage.buf");
    f->device = device;
    f->born_ns = born_ns;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    put_one(&kit, "key", "value");
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    put_one(&kit, "more", "value");
    l2_kit_kill(&kit);
    l2_dev_clone(&dev, &cut, NULL);
    f = l2_dev_find(&cut, "stage.buf"); /* the same inode */
    f->device = found_device;
    f->born_ns = found_born_ns;
    if (other_boot) { cut.boot[15]++; }
    l2_kit_init(&other, &cut);
    other.cfg.seg_count = 6;
    other.cfg.level = L2_KEEP;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    l2_kit_warm(&other);
    const bool is = has(&other, "key", "value");
    l2_close(other.d);
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
    return is;
}

T_CASE(a_copy_with_the_same_inode_is_recognized)
{
    T_CHECK(believed(5, 77, 5, 77, false));
    T_CHECK(!believed(5, 77, 6, 78, false)); /* on another file system */
    T_CHECK(!believed(5, 77, 5, 78, false)); /* restored from a backup after rm -r */
    T_CHECK(!believed(5, 77, 5, 78, true));
    T_CHECK(believed(5, 77, 6, 77, false)); /* mounted again: some systems give another number */
    T_CHECK(!believed(5, 0, 6, 0, false)); /* unknown creation time */
    T_CHECK(believed(5, 0, 5, 0, false));
    T_CHECK(believed(5, 0, 6, 0, true)); /* device numbers change with a boot */
    T_CHECK(believed(5, 0, 5, 77, false)); /* of a newer system, or after an older one */
    T_CHECK(!believed(5, 77, 6, 0, false));
    T_CHECK(believed(0, 0, 6, 77, false));
}

T_ONE_THREAD;
/* Put keys from 0 on into many segments, kill the store, open it again. Return their number. */
static uint32_t killed_with_segments(l2_level level)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 60;
    kit.cfg.level = level;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    uint32_t keys = 0;
    while (kit.d->newest_segseq < 50) {
        T_REQUIRE(keys < 20000);
        (void)l2_kit_put(&kit, keys++, 1, L2_KIT_GENERATION);
        (void)l2_tick(kit.d, 1000);
    }
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    return keys;
}

static uint32_t looked_at(uint32_t keys)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < keys; i++) { found += l2_kit_look(&kit, i, L2_KIT_GENERATION) == 1; }
    return found;
}

/* Each round of the worker has a sync. The index rebuild must not take one round for each segment. */
T_CASE(rebuild_is_not_bound_to_syncs)
{
    (void)killed_with_segments(L2_KEEP);
    const uint64_t before = l2_kit_figures(&kit).barriers;
    while (l2_kit_figures(&kit).rebuilding) {
        kit.now_ms += 1000; /* the next sync is due */
        (void)l2_tick(kit.d, 1);
    }
    T_CHECK(l2_kit_figures(&kit).barriers - before < 20);
    l2_kit_end(&kit, &dev);
}

/* A get finds the lines of the segments read so far. A get of a key that may be in the others is
 * counted. */
T_CASE(get_during_the_rebuild_finds_what_was_read)
{
    const uint32_t keys = killed_with_segments(L2_DROP);
    kit.d->sort.due_ns = UINT64_MAX;
    T_EQ_U64(looked_at(keys), 0);
    T_EQ_U64(l2_kit_figures(&kit).miss_rebuild, keys);
    uint32_t before = 0;
    for (uint32_t part = 1; part < 4; part++) {
        while (kit.d->order_at < part * 10) { T_CHECK(l2_rebuild_step(kit.d)); }
        kit.d->sort.due_ns = 0;
        T_CHECK(l2_rebuild_step(kit.d));
        T_EQ_U64(kit.d->order_at, part * 10);
        kit.d->sort.due_ns = UINT64_MAX;
        const uint64_t missed = l2_kit_figures(&kit).miss_rebuild;
        const uint32_t found = looked_at(keys);
        T_CHECK(found > before && found < keys);
        T_EQ_U64(l2_kit_figures(&kit).miss_rebuild - missed, keys - found);
        before = found;
    }
    T_CHECK(!l2_ready(kit.d, 0));
    base_store_rel(&kit.d->disk, (uint32_t)L2_DISK_OFF);
    T_CHECK(!l2_ready(kit.d, INT64_MAX)); /* it does not wait for a disk that is off */
    base_store_rel(&kit.d->disk, (uint32_t)L2_DISK_OK);
    T_CHECK(l2_ready(kit.d, INT64_MAX));
    const uint64_t missed = l2_kit_figures(&kit).miss_rebuild;
    T_CHECK(looked_at(keys) > before);
    T_EQ_U64(l2_kit_look(&kit, UINT32_MAX, L2_KIT_GENERATION), 0);
    T_EQ_U64(l2_kit_figures(&kit).miss_rebuild, missed);
    l2_kit_end(&kit, &dev);
}

/* A sync drops the puts that come meanwhile. Without a slot in reserve the first work would sync. */
T_CASE(first_work_of_a_new_store_syncs_nothing)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.level = L2_KEEP;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint32_t before = dev.calls[DEV_DATASYNC];
    (void)l2_tick(kit.d, 0);
    T_EQ_U64(dev.calls[DEV_DATASYNC], before);
    put_one(&kit, "key", "value");
    T_CHECK(has(&kit, "key", "value"));
    l2_close(kit.d);
    l2_dev_fini(&dev);
}

T_MAIN("l2_open")
