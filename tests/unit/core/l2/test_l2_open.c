/* SPDX-License-Identifier: MIT
 *
 * Aim:    a directory that is foreign, newer, damaged or in use is refused with its own code and
 *         stays as it was; one of an older format is emptied. An interrupted format is repeated.
 *         Sizes are kept.
 * Method: an in-memory disk, compared byte by byte; real files for locks and descriptors. */
#include "l2/segment.h"
#include "tests/support/folder.h"
#include "tests/support/log_kit.h"

#include <dirent.h>
#include <sys/stat.h>

static l2_dev cut;
static base_vfs cut_vfs;
static int sys_errno;

static void start(void)
{
    begin(L2_DROP);
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    vfs = l2_dev_vfs(&dev);
    cfg.vfs = &vfs;
}

static cellar_err open_it(void) { return l2_open(&cfg, &d, &sys_errno); }

/* Open the disk `cut` as a second store. */
static cellar_err open_cut(l2 **also)
{
    l2_config c = cfg;
    int e = 0;
    cut_vfs = l2_dev_vfs(&cut);
    c.vfs = &cut_vfs;
    return l2_open(&c, also, &e);
}

static void put_one(l2 *to, const char *key, const char *value)
{
    const uint32_t n = (uint32_t)strlen(key);
    const l2_key k = { key, n, GENERATION, base_hash(l2_hash_key(to), GENERATION, key, n) };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    T_EQ_I64(l2_put(to, &k, value, strlen(value), &m, NULL), CELLAR_OK);
}

static bool has(l2 *of, const char *key, const char *value)
{
    char buf[64];
    size_t len;
    l2_meta m;
    const uint32_t n = (uint32_t)strlen(key);
    const l2_key k = { key, n, GENERATION, base_hash(l2_hash_key(of), GENERATION, key, n) };
    return l2_get(of, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && len == strlen(value) &&
           memcmp(buf, value, len) == 0;
}

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

static void made(void)
{
    start();
    T_REQUIRE(open_it() == CELLAR_OK);
    put_one(d, "key", "value");
    l2_close(d);
}

static void gone(void) { l2_dev_fini(&dev); l2_dev_fini(&cut); }

#define STORE(fn) T_WITHIN(fn, start(), gone())
#define MADE(fn) T_WITHIN(fn, made(), gone())

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
    l2 *also = NULL;
    l2_dev_clone(&dev, &cut, NULL);
    T_EQ_I64(open_cut(&also), want);
    T_CHECK(also == NULL);
    same_files(&dev, &cut);
    T_EQ_U64(base_load_rlx(&account.used), 0);
}

static void seal_super(unsigned char *page)
{
    static const unsigned char no_secret[32] = { 'c', 'e', 'l', 'l', 'a', 'r' };
    base_sum_key key;
    base_sum_key_init(&key, no_secret);
    l2_w64(page + 4088, base_sum(&key, 0, page, 4088));
}

static unsigned char both[2 * L2_PAGE]; /* SUPER of `made` */

/* Set bytes of both copies in SUPER, with right checks. */
static void super_is(size_t at, unsigned char is, size_t n)
{
    l2_dev_file *super = l2_dev_find(&dev, "SUPER");
    memcpy(super->live, both, sizeof both);
    for (size_t i = 0; i < 2; i++) {
        memset(super->live + i * L2_PAGE + at, is, n);
        seal_super(super->live + i * L2_PAGE);
    }
}

T_CASE(foreign_newer_and_damaged_directories_are_refused)
{
    made();
    l2_dev_file *super = l2_dev_find(&dev, "SUPER");
    memcpy(both, super->live, sizeof both);
    for (size_t i = 0; i < 2; i++) { super->live[i * L2_PAGE] ^= 1; }
    refused_untouched(CELLAR_E_FOREIGN); /* no magic */
    memcpy(super->live, both, sizeof both);
    for (size_t i = 0; i < 2; i++) { super->live[i * L2_PAGE + 500] ^= 1; }
    refused_untouched(CELLAR_E_CORRUPT); /* both copies damaged */
    super_is(8, L2_MAJOR + 1, 1);
    refused_untouched(CELLAR_E_NEWER_FORMAT);
    static const size_t wild[] = { 192, 196, 200, 204, 236 }; /* impossible sizes */
    for (size_t n = 0; n < sizeof wild / sizeof wild[0]; n++) {
        super_is(wild[n], 0xff, 4);
        refused_untouched(CELLAR_E_CORRUPT);
    }
    static const size_t times[] = { 152, 160, 168, 216 }; /* impossible times */
    for (size_t n = 0; n < sizeof times / sizeof times[0]; n++) {
        super_is(times[n], 0x7f, 8);
        refused_untouched(CELLAR_E_CORRUPT);
    }
    super_is(212, 9, 2); /* unknown hash */
    refused_untouched(CELLAR_E_CORRUPT);
    super_is(10, 7, 1); /* a newer minor */
    T_EQ_I64(open_it(), CELLAR_OK);
    T_CHECK(has(d, "key", "value"));
    l2_close(d);
    gone();
    start();
    base_vfs_file *f;
    size_t done;
    T_REQUIRE(vfs.open(&dev, NULL, "letter.txt", BASE_VFS_CREATE, &f) == 0);
    T_EQ_I64(vfs.pwrite(&dev, f, "Dear", 4, 0, &done), 0);
    refused_untouched(CELLAR_E_FOREIGN);
    gone();
}

static uint32_t warned;

static void count_warnings(cellar_log_level level, const char *module, cellar_err code,
                           const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)ctx;
    warned += strstr(text, "of an older version") != NULL || strstr(text, "without SUPER") != NULL;
}

/* SUPER of an older version, beside its other files; such files without SUPER, which is gone or not
 * durable yet; a directory that lost SUPER alone. */
T_CASE(directory_of_an_older_format_or_without_super_begins_empty_with_a_warning)
{
    static const char *const old[] = { "META.0", "stage.buf", "index.snap" };
    for (int how = 0; how < 3; how++) {
        base_vfs_file *f;
        made();
        base_log_init(&lines, &clock_now, count_warnings, NULL, BASE_LOG_WARNING);
        warned = 0;
        memcpy(both, l2_dev_find(&dev, "SUPER")->live, sizeof both);
        super_is(8, 2, 1);
        if (how != 0) { T_EQ_I64(vfs.unlink(&dev, NULL, "SUPER"), 0); }
        for (size_t i = 0; i < 3 && how != 2; i++) {
            T_REQUIRE(vfs.open(&dev, NULL, old[i], BASE_VFS_CREATE, &f) == 0);
        }
        T_REQUIRE(open_it() == CELLAR_OK);
        T_EQ_U64(warned, 1);
        T_CHECK(!has(d, "key", "value"));
        for (size_t i = 0; i < 3; i++) { T_CHECK(l2_dev_find(&dev, old[i]) == NULL); }
        put_one(d, "key", "new");
        l2_close(d);
        T_REQUIRE(open_it() == CELLAR_OK);
        T_EQ_U64(warned, 1);
        T_CHECK(has(d, "key", "new"));
        l2_close(d);
        gone();
    }
}

T_CASE_ON(network_file_systems_are_refused_untouched, MADE)
{
    dev.remote = true;
    refused_untouched(CELLAR_E_UNSUPPORTED);
    cfg.allow_network = true;
    T_REQUIRE(open_it() == CELLAR_OK);
    l2_close(d);
}

static uint64_t cuts;

static void cut_here(void *ctx)
{
    for (int i = 0; i < 12; i++) {
        l2 *also = NULL;
        l2_dev_clone(&dev, &cut, i == 0 ? NULL : ctx);
        cuts++;
        if (!T_EQ_I64(open_cut(&also), CELLAR_OK)) { continue; }
        put_one(also, "a", "b");
        T_CHECK(has(also, "a", "b"));
        l2_close(also);
    }
}

T_CASE(an_interrupted_format_is_repeated)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    start();
    dev.hook = cut_here;
    dev.hook_ctx = &r;
    T_EQ_I64(open_it(), CELLAR_OK);
    dev.hook = NULL;
    l2_close(d);
    T_CHECK(cuts > 100);
    gone();
}

static void no_room(bool sticky)
{
    start();
    cfg.bytes = L2_BYTES_MIN * 2;
    cfg.memory_bytes = 64 << 20;
    cfg.seg_count = cfg.seg_bytes = 0;
    dev.fail_site = DEV_PREALLOCATE;
    dev.fail_errno = ENOSPC;
    dev.fail_at = 1;
    dev.fail_sticky = sticky;
}

T_CASE(a_full_disk_gives_a_smaller_store)
{
    no_room(false);
    T_EQ_I64(open_it(), CELLAR_OK);
    const uint64_t bytes = figures().file_bytes;
    T_CHECK(bytes < L2_BYTES_MIN * 2 * 4 / 5 && bytes >= L2_BYTES_MIN);
    put_one(d, "a", "b");
    l2_close(d);
    gone();
    no_room(true);
    T_EQ_I64(open_it(), CELLAR_E_IO);
    T_EQ_I64(sys_errno, ENOSPC);
    T_CHECK(l2_dev_find(&dev, "data.seg") == NULL);
    dev.fail_at = 0;
    T_EQ_I64(open_it(), CELLAR_OK); /* the format is repeated */
    l2_close(d);
    gone();
    start();
    cfg.seg_count = 0;
    cfg.bytes = L2_BYTES_MIN - 1;
    T_EQ_I64(open_it(), CELLAR_E_INVAL);
    gone();
}

static char folder[T_FOLDER_MAX];

static void real_begin(void)
{
    t_folder(folder);
    begin(L2_DROP);
    cfg.vfs = NULL;
    cfg.path = folder;
}

static void real_end(void) { t_wipe(folder); }

#define REAL(fn) T_WITHIN(fn, real_begin(), real_end())

/* ---- renaming a damaged directory ---- */

static char aside[T_FOLDER_MAX + 16];

static bool is_aside(uint32_t number)
{
    struct stat st;
    snprintf(aside, sizeof aside, "%s.bad.%u", folder, number);
    return stat(aside, &st) == 0;
}

/* Change both copies in SUPER. */
static void super_now(void (*damage)(unsigned char *page))
{
    unsigned char now[2 * L2_PAGE];
    char path[T_FOLDER_MAX + 16];
    snprintf(path, sizeof path, "%s/SUPER", folder);
    FILE *f = fopen(path, "r+");
    T_REQUIRE(f != NULL && fread(now, sizeof now, 1, f) == 1);
    for (size_t i = 0; i < 2; i++) { damage(now + i * L2_PAGE); }
    T_REQUIRE(fseek(f, 0, SEEK_SET) == 0 && fwrite(now, sizeof now, 1, f) == 1);
    fclose(f);
}

static void flip_a_bit(unsigned char *page) { page[100] ^= 4; }
static void no_magic(unsigned char *page) { page[0] ^= 4; }

static void of_another_version(unsigned char *page) { page[8]++; seal_super(page); }

T_CASE_ON(damaged_directories_are_renamed_on_request, REAL)
{
    unsigned char is[2 * L2_PAGE];
    char path[T_FOLDER_MAX + 40];
    T_REQUIRE(open_it() == CELLAR_OK);
    l2_close(d);
    super_now(flip_a_bit);
    T_EQ_I64(open_it(), CELLAR_E_CORRUPT); /* not without the option */
    T_CHECK(!is_aside(1));
    cfg.set_aside = true;
    for (uint32_t n = 1; n <= 9; n++) {
        T_REQUIRE(open_it() == CELLAR_OK);
        T_CHECK(figures().set_aside && is_aside(n) && !is_aside(n + 1));
        put_one(d, "key", "value");
        l2_close(d);
        T_REQUIRE(open_it() == CELLAR_OK); /* a normal store */
        T_CHECK(!figures().set_aside && has(d, "key", "value"));
        if (n == 9) { /* damaged while it is open: it stays in place */
            super_now(flip_a_bit);
            l2 *also = NULL;
            T_EQ_I64(l2_open(&cfg, &also, &sys_errno), CELLAR_E_BUSY);
            super_now(flip_a_bit);
        }
        l2_close(d);
        super_now(flip_a_bit);
    }
    T_EQ_I64(open_it(), CELLAR_E_CORRUPT); /* nine names are the limit */
    T_EQ_I64(sys_errno, EEXIST);
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
}

T_CASE(foreign_directories_are_never_renamed)
{
    void (*const how[])(unsigned char *page) = { of_another_version, no_magic };
    const cellar_err want[] = { CELLAR_E_NEWER_FORMAT, CELLAR_E_FOREIGN };
    for (int i = 0; i < 2; i++) {
        real_begin();
        cfg.set_aside = true;
        T_REQUIRE(open_it() == CELLAR_OK);
        l2_close(d);
        super_now(how[i]);
        T_EQ_I64(open_it(), want[i]);
        T_CHECK(!is_aside(1));
        real_end();
    }
    /* A directory that cannot be renamed is neither lost nor used. */
    real_begin();
    cfg.set_aside = true;
    T_REQUIRE(open_it() == CELLAR_OK);
    l2_close(d);
    super_now(flip_a_bit);
    (void)base_fault_io_arm("set_aside", EROFS, 1, true);
    T_EQ_I64(open_it(), CELLAR_E_CORRUPT);
    T_EQ_I64(sys_errno, EROFS);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    T_CHECK(!is_aside(1));
    real_end();
}

static int looks; /* number of times that another process holds the lock */

static int lock_looked_at(void *ctx, base_vfs_file *f)
{
    const base_vfs *system = base_vfs_system();
    (void)ctx;
    if (looks == 0) { return system->lock(system->ctx, f); }
    looks--;
    return EAGAIN;
}

static size_t open_files(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    T_REQUIRE(dir != NULL);
    while (readdir(dir) != NULL) { n++; }
    closedir(dir);
    return n;
}

T_CASE_ON(open_waits_for_an_inspection, REAL)
{
    const size_t files = open_files();
    vfs = *base_vfs_system();
    vfs.lock = lock_looked_at;
    cfg.vfs = &vfs;
    looks = 3;
    T_REQUIRE(open_it() == CELLAR_OK);
    T_EQ_I64(looks, 0);
    l2_close(d);
    looks = 1000; /* an inspection is shorter: a store has the lock */
    T_EQ_I64(open_it(), CELLAR_E_BUSY);
    T_EQ_U64(open_files(), files);
}

typedef struct identity { uint64_t device; int64_t born_ns; } identity; /* of data.seg */

/* Open after a process death. Return true if the contents count. */
static bool believed(identity was, identity found, bool other_boot)
{
    l2 *also = NULL;
    start();
    cfg.level = L2_KEEP;
    T_REQUIRE(open_it() == CELLAR_OK); /* makes the file */
    l2_close(d);
    l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    f->device = was.device;
    f->born_ns = was.born_ns;
    T_REQUIRE(open_it() == CELLAR_OK);
    put_one(d, "key", "value");
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    put_one(d, "more", "value");
    l2_discard(d);
    l2_dev_clone(&dev, &cut, NULL);
    f = l2_dev_find(&cut, "data.seg"); /* the same inode */
    f->device = found.device;
    f->born_ns = found.born_ns;
    if (other_boot) { cut.boot[15]++; }
    T_REQUIRE(open_cut(&also) == CELLAR_OK);
    const bool is = has(also, "key", "value");
    l2_close(also);
    gone();
    return is;
}

T_CASE(a_copy_with_the_same_inode_is_recognized)
{
    const identity known = { 5, 77 }, no_time = { 5, 0 };
    T_CHECK(believed(known, known, false));
    T_CHECK(!believed(known, (identity){ 6, 78 }, false)); /* on another file system */
    T_CHECK(!believed(known, (identity){ 5, 78 }, false)); /* from a backup after rm -r */
    T_CHECK(!believed(known, (identity){ 5, 78 }, true));
    /* Mounted again: some systems give another number. */
    T_CHECK(believed(known, (identity){ 6, 77 }, false));
    T_CHECK(!believed(no_time, (identity){ 6, 0 }, false));
    T_CHECK(believed(no_time, no_time, false));
    T_CHECK(believed(no_time, (identity){ 6, 0 }, true)); /* device numbers change with a boot */
    T_CHECK(believed(no_time, known, false)); /* of a newer system, or after an older one */
    T_CHECK(!believed(known, (identity){ 6, 0 }, false));
    T_CHECK(believed((identity){ 0, 0 }, (identity){ 6, 77 }, false));
}

/* Segments of l2_bytes 64 MiB and 16 GiB. */
T_CASE(budget_below_a_segment_and_a_half_opens_its_store)
{
    static const struct { uint32_t segment, budget; } rows[] = {
        { 1u << 20, 3u << 19 }, { 4u << 20, 3u << 20 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start();
        dev.flat = true;
        cfg.seg_bytes = rows[i].segment;
        cfg.memory_bytes = 64u << 20;
        T_REQUIRE(open_it() == CELLAR_OK);
        T_EQ_U64(d->room_max, 256u << 10);
        for (uint32_t n = 0; n < 2000; n++) { put_one(d, n == 0 ? "first" : "key", "value"); }
        put_one(d, "last", "value");
        (void)l2_tick(d, 0); /* it is written */
        l2_discard(d);
        dev.locked = false;
        cfg.memory_bytes = rows[i].budget;
        base_account_init(&account, rows[i].budget, NULL);
        T_REQUIRE(open_it() == CELLAR_OK);
        T_CHECK(has(d, "first", "value") && has(d, "key", "value") && has(d, "last", "value"));
        l2_close(d);
        gone();
    }
}

T_CASE_ON(first_work_of_a_new_store_syncs_nothing, STORE)
{
    cfg.level = L2_KEEP;
    T_REQUIRE(open_it() == CELLAR_OK);
    const uint32_t before = dev.calls[DEV_DATASYNC];
    (void)l2_tick(d, 0);
    T_EQ_U64(dev.calls[DEV_DATASYNC], before);
    l2_close(d);
}

T_ONE_THREAD;
T_MAIN("l2_open")
