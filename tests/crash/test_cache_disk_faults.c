/* SPDX-License-Identifier: MIT
 *
 * Aim:    A disk fault from outside leaves a store that continues in memory and logs the fault in
 *         words. The store uses the disk again where that is possible: mounted read-only, directory
 *         removed, no free descriptor, a path that cannot be written.
 * Method: Real files below TMPDIR. A fault that needs a mount or another user is injected
 *         (base_fault_io). */
#include "tests/support/disk_store.h"
#include "tests/support/figures.h"
#include "tests/support/said.h"
#include "tests/support/t.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/vfs.h"
#include "cellar.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"
#include "tests/support/toy_cipher.h"

#define KEYS 150u

static cellar_namespace_config each_set;

static void begin(void) { store_begin(); said[0] = '\0'; }

static void end(void) { (void)base_fault_io_arm(NULL, 0, 0, false); store_end(); }

static settings config(void)
{
    each_set = cellar_namespace_config_default();
    each_set.l2_write = CELLAR_L2_WRITE_ON_SET;
    settings cfg = { SETTINGS_SIZES, .config.root = &each_set, .config.memory_bytes = 8u << 20,
                     .config.max_entries = 64, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .host.log = listen_to, .host.no_threads = 1 };
    return cfg;
}

static void work(cellar *c, int64_t ms)
{
    now_ms += ms;
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
}

static cellar *open_it(void)
{
    const settings cfg = config();
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    work(c, 0);
    return c;
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static cellar_err put(cellar *c, uint32_t key, uint32_t version)
{
    char buf[4000];
    memset(buf, (int)('a' + (key + version) % 26), sizeof buf);
    memcpy(buf, &version, sizeof version);
    return cellar_set(c, &key, sizeof key, buf, sizeof buf, NULL);
}

/* Return the version of the key; 0: a miss. */
static uint32_t look(cellar *c, uint32_t key)
{
    char buf[4000];
    size_t len = 0;
    uint32_t version = 0;
    if (cellar_get(c, &key, sizeof key, buf, sizeof buf, &len) != CELLAR_OK) { return 0; }
    T_EQ_U64(len, sizeof buf);
    memcpy(&version, buf, sizeof version);
    T_EQ_I64(buf[3999], 'a' + (key + version) % 26);
    return version;
}

static void put_all(cellar *c, uint32_t version)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        T_EQ_I64(put(c, i, version), CELLAR_OK);
        if (i % 20 == 0) { work(c, 0); }
    }
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

/* Each write fails with EROFS, reads work: errors -> breaker -> memory alone -> retry -> disk
 * again. */
T_CASE_ON(read_only_mount_leaves_memory_until_disk_recovers, STORE)
{
    cellar *c = open_it();
    put_all(c, 1);
    shut(c);
    c = open_it();
    const uint32_t gone = 7;
    (void)base_fault_io_arm("pwrite", EROFS, 1, true);
    T_CHECK(cellar_delete(c, &gone, sizeof gone) >= CELLAR_OK);
    T_EQ_U64(look(c, 30), 1); /* from disk */
    for (uint32_t n = 0; n < 40 && figure(c, "cellar_l2_off") == 0; n++) {
        put_all(c, 2 + n);
        T_EQ_U64(look(c, KEYS - 1), 2 + n); /* from memory */
        work(c, 200);
    }
    T_EQ_U64(figure(c, "cellar_l2_off"), 1);
    T_CHECK(figure(c, "cellar_l2_errors_total") >= 8);
    T_EQ_I64(lines_with("the disk fails"), 1);
    T_EQ_I64(put(c, 5, 99), CELLAR_OK);
    T_EQ_U64(look(c, 5), 99);
    (void)base_fault_io_arm(NULL, 0, 0, false); /* mounted read-write again */
    for (uint32_t n = 0; n < 70 && figure(c, "cellar_l2_off") != 0; n++) { work(c, 1000); }
    T_EQ_U64(figure(c, "cellar_l2_off"), 0);
    T_EQ_I64(lines_with("the disk works again"), 1);
    put_all(c, 50);
    T_CHECK(cellar_delete(c, &gone, sizeof gone) >= CELLAR_OK);
    shut(c);
    c = open_it();
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(c, i), i == gone ? 0 : 50); }
    shut(c);
}

/* Each kind of failed call logs one line a second, with file, place and cause. */
T_CASE_ON(failed_disk_call_logs_an_error, STORE)
{
    cellar *c = open_it();
    put_all(c, 1);
    shut(c);
    settings cfg = config();
    cfg.host.log_level = CELLAR_LOG_ERROR;
    cfg.l2.fail_errors = 64;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    work(c, 0);
    T_EQ_STR(said, "");
    (void)base_fault_io_arm("pread", EIO, 1, true);
    for (uint32_t i = 0; i < 20; i++) { T_EQ_U64(look(c, i), 0); }
    T_EQ_I64(lines_with("read of data.seg at byte "), 1);
    T_EQ_I64(lines_with("failed: input or output error (errno 5)\n"), 1);
    now_ms += 1000;
    T_EQ_U64(look(c, 30), 0);
    T_EQ_I64(lines_with("(errno 5) (and 19 more)"), 1);
    (void)put(c, 1000, 3); /* something to write */
    (void)base_fault_io_arm("pwrite", ENOSPC, 1, true);
    T_CHECK(cellar_sync(c) != CELLAR_OK);
    T_EQ_I64(lines_with("write of "), 1);
    T_EQ_I64(lines_with("failed: no space left on the disk"), 1);
    (void)base_fault_io_arm("datasync", EIO, 1, true);
    T_CHECK(cellar_sync(c) != CELLAR_OK);
    T_EQ_I64(lines_with("sync of "), 1);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    shut(c);
}

/* Each read of an open fails once: all entries are found. */
T_CASE_ON(open_tries_a_failed_read_again, STORE)
{
    cellar *c = open_it();
    put_all(c, 1);
    shut(c);
    for (uint64_t nth = 1, seen = 1; nth <= seen; nth++) {
        (void)base_fault_io_arm("pread", EIO, nth, false);
        c = open_it();
        seen = base_fault_io_arm(NULL, 0, 0, false);
        T_EQ_U64(figure(c, "cellar_l2_errors_total"), 0);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(c, i), 1); }
        shut(c);
    }
}

T_CASE_ON(removed_directory_leaves_memory_until_next_open, STORE)
{
    cellar *c = open_it();
    put_all(c, 1);
    t_wipe(store);
    T_EQ_I64(put(c, 1000, 3), CELLAR_OK);
    work(c, 2000);
    T_EQ_U64(figure(c, "cellar_l2_off"), 2);
    T_EQ_I64(lines_with("until the next open"), 1);
    T_EQ_U64(look(c, 1000), 3);
    for (uint32_t i = 0; i < KEYS; i++) { T_CHECK(look(c, i) <= 1); }
    put_all(c, 2);
    T_EQ_U64(look(c, KEYS - 1), 2);
    T_CHECK(cellar_sync(c) != CELLAR_OK); /* it must not report that anything is safe */
    shut(c);
    c = open_it();
    T_EQ_U64(figure(c, "cellar_l2_off"), 0);
    T_EQ_U64(look(c, 5), 0);
    put_all(c, 4);
    shut(c);
    c = open_it();
    T_EQ_U64(look(c, 5), 4);
    shut(c);
}

/* An open tier opens no further file. */
T_CASE_ON(open_tier_works_without_free_descriptors, STORE)
{
    cellar *c = open_it();
    struct rlimit was, none;
    T_REQUIRE(getrlimit(RLIMIT_NOFILE, &was) == 0);
    none = was;
    none.rlim_cur = 0;
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    put_all(c, 1);
    const uint32_t gone = 9;
    T_CHECK(cellar_delete(c, &gone, sizeof gone) >= CELLAR_OK);
    work(c, 2000);
    const cellar_err synced = cellar_sync(c);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(c, i), i == gone ? 0 : 1); }
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &was) == 0);
    T_EQ_I64(synced, CELLAR_OK);
    T_EQ_U64(figure(c, "cellar_l2_errors_total"), 0);
    T_EQ_U64(figure(c, "cellar_l2_off"), 0);
    shut(c);
    c = open_it();
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(c, i), i == gone ? 0 : 1); }
    shut(c);
}

static void expect_words(const settings *cfg, cellar_err code, const char *words)
{
    cellar *c = NULL;
    cellar_error_info e = cellar_error_info_default();
    settings may = *cfg;
    T_EQ_I64(settings_open(cfg, &c), code);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    T_CHECK(strncmp(e.text, "cellar_open: ", 13) == 0 && strstr(e.text, words) != NULL);
    may.l2.optional = 1;
    T_REQUIRE(settings_open(&may, &c) == CELLAR_OK); /* memory alone */
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_I64(e.code, code);
    T_CHECK(strncmp(e.text, "the disk tier is off: ", 22) == 0 && strstr(e.text, words) != NULL);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+");
    T_REQUIRE(f != NULL);
    T_EQ_I64(fseek(f, at, SEEK_SET), 0);
    const int was = fgetc(f);
    T_EQ_I64(fseek(f, at, SEEK_SET), 0);
    T_CHECK(fputc(was ^ 1, f) != EOF && fclose(f) == 0);
}

/* Set a later version in both copies of SUPER, or restore SUPER. */
static void super_of_a_newer_library(const char *path, bool newer)
{
    static unsigned char was[8192];
    static const unsigned char no_secret[32] = { 'c', 'e', 'l', 'l', 'a', 'r' };
    unsigned char now[8192];
    base_sum_key key;
    FILE *f = fopen(path, "r+");
    T_REQUIRE(f != NULL);
    if (newer) { T_EQ_U64(fread(was, 1, sizeof was, f), sizeof was); }
    memcpy(now, was, sizeof now);
    base_sum_key_init(&key, no_secret);
    for (size_t at = 0; newer && at < sizeof now; at += 4096) {
        now[at + 8]++; /* its major version */
        const uint64_t sum = base_sum(&key, 0, now + at, 4088);
        for (size_t i = 0; i < 8; i++) { now[at + 4088 + i] = (unsigned char)(sum >> 8 * i); }
    }
    rewind(f);
    T_CHECK(fwrite(now, 1, sizeof now, f) == sizeof now && fclose(f) == 0);
}

/* A directory in use, one of another format, a damaged one, one of another program: each has its
 * code and its text. */
T_CASE_ON(refused_directory_states_its_cause, STORE)
{
    char path[400], name[420];
    settings cfg = config();
    cellar *c = open_it();
    snprintf(name, sizeof name, "in use by a store of this process %lld:", (long long)getpid());
    expect_words(&cfg, CELLAR_E_BUSY, name);
    cellar *second = NULL;
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(settings_open(&cfg, &second), CELLAR_E_BUSY);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    T_CHECK(strstr(e.text, ": use another directory, or l2.optional for a tool that runs twice at "
                           "the same time") != NULL);
    T_EQ_I64(put(c, 1, 1), CELLAR_OK);
    shut(c);
    snprintf(name, sizeof name, "%s/SUPER", cfg.config.l2_path);
    super_of_a_newer_library(name, true);
    expect_words(&cfg, CELLAR_E_NEWER_FORMAT, "newer version of cellar");
    super_of_a_newer_library(name, false);
    c = open_it();
    T_EQ_U64(look(c, 1), 1); /* nothing was destroyed */
    shut(c);
    cfg.l2.on_damage = CELLAR_L2_REFUSE;
    flip(name, 100);
    flip(name, 4196);
    expect_words(&cfg, CELLAR_E_CORRUPT, "damaged");
    flip(name, 0);
    flip(name, 4096);
    expect_words(&cfg, CELLAR_E_FOREIGN, "not of a disk tier");
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    cfg.config.l2_path = path;
    expect_words(&cfg, CELLAR_E_IO, "too long");
}

/* A link, a folder or a FIFO in place of a file is named. No open follows it or waits. */
T_CASE(link_folder_or_fifo_in_place_of_a_file_is_named)
{
    static const char *const names[] = { "SUPER", "data.seg", "LOCK" };
    char name[420], away[420], words[80];
    for (size_t i = 0; i < 3 * sizeof names / sizeof names[0]; i++) {
        begin();
        settings cfg = config();
        shut(open_it());
        snprintf(name, sizeof name, "%s/%s", store, names[i / 3]);
        snprintf(away, sizeof away, "%s/away", folder);
        T_REQUIRE(rename(name, away) == 0);
        T_REQUIRE((i % 3 == 0   ? symlink(away, name)
                   : i % 3 == 1 ? mkdir(name, 0700) : mkfifo(name, 0600)) == 0);
        snprintf(words, sizeof words, "link, folder or FIFO in place of its file %s:",
                 names[i / 3]);
        expect_words(&cfg, CELLAR_E_IO, words);
        T_REQUIRE(remove(name) == 0 && remove(away) == 0);
        end();
    }
}

/* By default damage stops no open. One line of level ERROR names the old directory. */
T_CASE_ON(damaged_directory_is_set_aside_and_named, STORE)
{
    char name[420];
    settings cfg = config();
    cellar *c = open_it();
    T_EQ_I64(put(c, 1, 1), CELLAR_OK);
    shut(c);
    snprintf(name, sizeof name, "%s/SUPER", cfg.config.l2_path);
    for (int n = 1; n <= 10; n++) {
        flip(name, 100);
        flip(name, 4196);
        said[0] = '\0';
        if (n == 10) { break; }
        cfg.host.log_level = CELLAR_LOG_ERROR;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        T_EQ_U64(look(c, 1), 0);
        char line[500], bad[420];
        snprintf(bad, sizeof bad, "%s.bad.%d", cfg.config.l2_path, n);
        snprintf(line, sizeof line, "l2_path is damaged: the directory was renamed to %s, ", bad);
        T_EQ_I64(lines_with(line), 1);
        T_EQ_I64(lines_with("\n"), 1);
        shut(c);
    }
    expect_words(&cfg, CELLAR_E_CORRUPT, "l2_path.bad.1 to .9 exist");
    for (int n = 1; n <= 9; n++) {
        snprintf(name, sizeof name, "%s.bad.%d", cfg.config.l2_path, n);
        t_wipe(name);
    }
}

/* SUPER is made after data.seg, by rename. So a directory without it is no store yet. */
T_CASE_ON(directory_without_its_superblock_opens_empty, STORE)
{
    char name[420];
    cellar *c = open_it();
    T_EQ_I64(put(c, 1, 1), CELLAR_OK);
    shut(c);
    snprintf(name, sizeof name, "%s/SUPER", store);
    T_REQUIRE(remove(name) == 0);
    c = open_it();
    T_EQ_U64(look(c, 1), 0);
    T_EQ_I64(put(c, 2, 2), CELLAR_OK);
    shut(c);
    c = open_it();
    T_EQ_U64(look(c, 1), 0);
    T_EQ_U64(look(c, 2), 2);
    shut(c);
}

T_CASE(failed_tier_open_states_its_cause)
{
    static const struct {
        const char *site;
        int error;
        const char *words;
    } why[] = {
        { "open_dir", EACCES, "l2_path may not be read and written" },
        { "open", EACCES, "l2_path may not be read and written" },
        { "open", EROFS, "read-only file system" },
        { "open_dir", ENOTDIR, "l2_path is not a directory" },
        { "open_dir", ENOENT, "mkdir of l2_path failed with ENOENT: its folder must" },
        { "open", EMFILE, "no file descriptor is left" },
        { "open_dir", ELOOP, "the link l2_path or its target has another owner" },
        { "open_dir", EMLINK, "more than 8 symbolic links" },
        { "preallocate", ENOSPC, "no room on the disk" },
        { "preallocate", EFBIG, "limit of file size (RLIMIT_FSIZE)" },
        { "datasync", EIO, "E_IO" },
    };
    for (size_t i = 0; i < sizeof why / sizeof why[0]; i++) {
        begin();
        settings cfg = config();
        cellar *c = NULL;
        (void)base_fault_io_arm(why[i].site, why[i].error, 1, true);
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_IO);
        cfg.l2.optional = 1;
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK); /* memory alone */
        cellar_error_info e = cellar_error_info_default();
        T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
        T_EQ_I64(e.code, CELLAR_E_IO);
        T_EQ_I64(e.sys_errno, why[i].error);
        T_CHECK(strstr(e.text, why[i].words) != NULL);
        T_EQ_I64(lines_with(why[i].words), 1); /* logged once */
        T_EQ_I64(put(c, 1, 1), CELLAR_OK);
        T_EQ_U64(look(c, 1), 1);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        (void)base_fault_io_arm(NULL, 0, 0, false);
        c = open_it(); /* nothing of the fault remains */
        T_EQ_I64(cellar_sync(c), CELLAR_OK);
        shut(c);
        end();
    }
}

T_ONE_THREAD;
/* Return the number of a text such as "16M" or "1000". */
static uint64_t size_of(const char *text)
{
    static const char units[] = "kMG";
    char *unit;
    const uint64_t n = strtoull(text, &unit, 10);
    const char *at = *unit != '\0' ? strchr(units, *unit) : NULL;
    return at != NULL ? n << (10 * (at - units + 1)) : n;
}

/* Return the budget that the error text of a refused open names; 0 if it names none. */
static uint64_t asked_for(settings *cfg, uint64_t memory_bytes)
{
    cellar *c = NULL;
    cellar_error_info e = cellar_error_info_default();
    cfg->config.memory_bytes = memory_bytes;
    if (!T_CHECK(settings_open(cfg, &c) < CELLAR_OK)) { return 0; }
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    char least[16] = "", l2_bytes[16] = "", got[16] = "";
    int end = 0;
    T_EQ_I64(sscanf(e.text, "cellar_open: memory_bytes must be at least %15s for l2_bytes %15s "
                            "(got %15[^)])%n", least, l2_bytes, got, &end), 3);
    T_EQ_STR(e.text + end, "");
    T_EQ_U64(size_of(l2_bytes), cfg->config.l2_bytes);
    T_EQ_U64(size_of(got), memory_bytes);
    return size_of(least);
}

T_CASE_ON(too_small_budget_for_tier_names_sufficient_budget, STORE)
{
    static const uint64_t budgets[] = { 5u << 18, 1u << 20 };
    settings cfg = config();
    cellar *c = NULL;
    cfg.config.max_entries = 0;
    cfg.config.l2_bytes = 2 * CELLAR_L2_BYTES_MIN;
    cfg.config.memory_bytes = 64u << 20;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK); /* its segments and records keep their sizes */
    shut(c);
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        const uint64_t least = asked_for(&cfg, budgets[i]);
        cfg.config.memory_bytes = least;
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
        T_EQ_I64(put(c, 1, 1), CELLAR_OK);
        shut(c);
        (void)asked_for(&cfg, least - least / 8); /* it names at most an eighth too much */
    }
    cfg.config.memory_bytes = 1u << 20;
    expect_words(&cfg, CELLAR_E_NOMEM, "memory_bytes must be at least");
}

/* Between the budgets that the tables of the disk refuse and those that suffice are some that the
 * tables of memory refuse: these name a sufficient one as well. */
T_CASE_ON(each_refused_budget_names_sufficient_budget, STORE)
{
    settings cfg = config();
    cellar *c = NULL;
    cfg.config.max_entries = 0;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    cfg.tuning.expected_entry_bytes = 64;
    cfg.config.memory_bytes = 64u << 20;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
    shut(c);
    for (uint64_t budget = 1u << 20; !t_failed(); budget += 4096) {
        cfg.config.memory_bytes = budget;
        if (settings_open(&cfg, &c) == CELLAR_OK) { break; }
        cfg.config.memory_bytes = asked_for(&cfg, budget);
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
        shut(c);
    }
    shut(c);
}

/* The segment sizes that cellar.h names, for new directories. */
T_CASE(value_over_half_a_segment_is_not_rejected)
{
    static const struct { uint64_t l2, memory, segment; } rows[] = {
        { 16u << 20, 16u << 20, 512u << 10 }, { 32u << 20, 16u << 20, 1u << 20 },
        { 32u << 20, 8u << 20, 512u << 10 }, { 32u << 20, 1u << 20, 64u << 10 } };
    static char value[1u << 20];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin();
        settings cfg = config();
        cellar *c = NULL;
        cfg.config.l2_bytes = rows[i].l2;
        cfg.config.memory_bytes = rows[i].memory;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        work(c, 0);
        const size_t half = (size_t)rows[i].segment / 2;
        T_EQ_I64(cellar_set(c, "fits", 4, value, half - 200, NULL), CELLAR_OK);
        T_EQ_U64(figure(c, "cellar_l2_rejected_size_total"), 0);
        T_EQ_I64(cellar_set(c, "over", 4, value, half, NULL), CELLAR_OK);
        T_EQ_U64(figure(c, "cellar_l2_rejected_size_total"), 0); /* in parts */
        shut(c);
        end();
    }
}

T_CASE_ON(symbolic_link_as_l2_path_opens_its_target, STORE)
{
    char link[sizeof folder + 8];
    (void)snprintf(link, sizeof link, "%s/link", folder);
    T_REQUIRE(symlink("store", link) == 0);
    settings cfg = config();
    cellar *c = NULL, *second = NULL;
    cfg.config.l2_path = link;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    work(c, 0);
    T_EQ_I64(put(c, 1, 1), CELLAR_OK);
    cfg.config.l2_path = store;
    T_EQ_I64(settings_open(&cfg, &second), CELLAR_E_BUSY);
    shut(c);
    c = open_it();
    T_EQ_U64(look(c, 1), 1);
    shut(c);
    T_EQ_I64(unlink(link), 0);
}

T_CASE_ON(file_size_limit_below_l2_bytes_returns_code, STORE)
{
    struct rlimit was, low;
    settings cfg = config();
    cellar *c = NULL;
    T_REQUIRE(getrlimit(RLIMIT_FSIZE, &was) == 0);
    low = was;
    low.rlim_cur = 1 << 20;
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
    expect_words(&cfg, CELLAR_E_IO, "l2_bytes is above the process's limit of file size");
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &was) == 0);
    cfg.l2.close_ms = 1;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    work(c, 0);
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0); /* lowered while the store is open */
    for (uint32_t round = 1; round < 30; round++) {
        for (uint32_t k = 0; k < KEYS; k++) { T_EQ_I64(put(c, k, round), CELLAR_OK); }
        work(c, 100);
    }
    T_CHECK(figure(c, "cellar_l2_errors_total") > 0);
    T_EQ_U64(look(c, KEYS - 1), 29);
    T_EQ_I64(cellar_close(c), CELLAR_DROPPED); /* the disk is off for longer than l2.close_ms */
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &was) == 0);
}

static _Atomic time_t ahead_s; /* of the clock of the system; all threads read it */

int clock_gettime(clockid_t id, struct timespec *now)
{
    const int failed = (int)syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_MONOTONIC) { now->tv_sec += ahead_s; }
    return failed;
}

static int slow_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                     const void *in, size_t in_len, void *out, void *ctx)
{
    ahead_s += 60;
    return toy_seal(nonce, aad, aad_len, in, in_len, out, ctx);
}

T_CASE_ON(close_that_is_late_behind_its_last_entry_drops_none, STORE)
{
    uint64_t key = 1;
    cellar_l2_cipher slow = { .struct_size = sizeof slow, .ctx = &key, .seal = slow_seal,
                              .open = toy_open, .overhead_bytes = sizeof(uint64_t) };
    settings cfg = config();
    cellar *c = NULL;
    cfg.config.root = NULL; /* written by the close */
    cfg.l2.cipher = &slow;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(put(c, 1, 1), CELLAR_OK);
    T_EQ_I64(ahead_s, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK); /* l2.close_ms: 5 s */
    T_EQ_I64(ahead_s, 60);
    ahead_s = 0;
}

T_MAIN("cache_disk_faults")
