/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store that changes its size stays valid after a crash or a failed call at any step, and
 *         beside other threads. It keeps what is below half alive, by an open and by l2_resize; the
 *         files have the new size then. Records that are longer than a store of this memory would
 *         write move as well. Addresses reach 4 TiB.
 * Method: a small store on an in-memory disk, opened after a process death or a power cut in front
 *         of each call; entries and threads on real files; a sparse disk. SIZE_FACTOR=n multiplies
 *         the sizes of real files. */
#define DEV_WRITES 400
#include "l2/progress.h"
#include "l2/segment.h"
#include "l2/super.h"
#include "tests/support/folder.h"
#include "tests/support/log_kit.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static base_rng rng;

static void start(l2_level level, uint32_t segments)
{
    begin(level);
    base_rng_seed(&rng, t_seed());
    cfg.seg_count = segments;
    l2_dev_init(&dev);
    open_on(&dev);
}

static void end(void)
{
    l2_close(d);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
}

static void some_changes(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        change_key((uint32_t)base_rng_below(&rng, KEYS), i % 7 == 3, i % 3 == 0);
        if (i % 4 == 0) { (void)l2_tick(d, 0); }
    }
}

static void synced_now(void) { T_EQ_I64(l2_sync(d), CELLAR_OK); synced = ensured = changes; }

/* As l2_resize, to any number of segments. */
static cellar_err resize_to(uint32_t segments)
{
    d->goal = (l2_goal){ .bytes = (uint64_t)segments * 65536, .nseg = segments, .on = true };
    base_store_rel(&d->goal_over, (uint32_t)CELLAR_PENDING);
    for (uint32_t i = 0; i < 1000 && base_load_acq(&d->goal_over) == CELLAR_PENDING; i++) {
        (void)l2_tick(d, 0);
        ms += 1000;
    }
    return (cellar_err)base_load_acq(&d->goal_over);
}

static void has_size(uint32_t segments)
{
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    T_REQUIRE(f != NULL);
    T_EQ_U64(f->size, (uint64_t)segments * 65536);
    T_CHECK(l2_dev_find(&dev, "data.new") == NULL);
}

/* ---- crashes ---- */

static uint32_t cuts;
static bool power;

static void cut_here(void *ctx)
{
    l2 *living = d;
    const uint32_t now = changes;
    const int64_t at_ms = ms;
    (void)ctx;
    for (int i = 0; i < 1 + power; i++) {
        l2_dev_clone(&dev, &other, i == 0 ? NULL : &rng);
        cuts++;
        open_on(&other);
        T_CHECK(moment(i == 0 ? ensured : synced) != UINT32_MAX);
        l2_discard(d);
    }
    d = living;
    vfs = l2_dev_vfs(&dev);
    changes = now;
    ms = at_ms;
}

static void interrupted(l2_level level)
{
    power = level != L2_DROP;
    start(level, 30);
    some_changes(4000);
    synced_now();
    some_changes(50);
    dev.hook = cut_here;
    T_EQ_I64(resize_to(14), CELLAR_OK);
    l2_discard(d);
    cfg.seg_count = 20; /* now by an open */
    open_on(&dev);
    while (l2_tick(d, 0)) {}
    T_EQ_I64(resize_to(20), CELLAR_OK);
    cut_here(NULL);
    dev.hook = NULL;
    has_size(20);
    T_EQ_U64(moment(changes), changes);
    end();
}

T_ALONE(a_resize_interrupted_anywhere_leaves_a_valid_store)
{
    cuts = 0;
    interrupted(L2_DROP);
    interrupted(L2_KEEP);
    interrupted(L2_ALWAYS);
    printf("# %u cuts\n", cuts);
    T_CHECK(cuts > 200);
}

/* ---- each call fails ---- */

T_ALONE(a_resize_with_any_failing_call_leaves_a_valid_store)
{
    static const int sites[] = { DEV_OPEN, DEV_PREALLOCATE, DEV_PREAD, DEV_PWRITE, DEV_DATASYNC,
                                 DEV_TRUNCATE, DEV_RENAME, DEV_SYNC_DIR };
    uint64_t failed = 0;
    for (size_t s = 0; s < sizeof sites / sizeof sites[0]; s++) {
        bool met = true;
        for (uint32_t n = 1; met && n < 60; n++) {
            const uint32_t to = n % 4 < 2 ? 12 : 26;
            start(L2_DROP, 20);
            some_changes(1200);
            dev.fail_site = sites[s];
            dev.fail_errno = n % 2 == 0 ? EIO : ENOSPC;
            dev.fail_at = n;
            const cellar_err err = resize_to(to);
            met = dev.fail_at == 0;
            dev.fail_at = 0;
            failed += err != CELLAR_OK;
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_SPACE);
            ms += 1000000; /* the disk may be off for a while */
            (void)l2_tick(d, 0);
            T_EQ_U64(moment(changes), changes);
            T_EQ_I64(resize_to(to), CELLAR_OK);
            has_size(to);
            cfg.seg_count = to;
            l2_discard(d);
            open_on(&dev);
            T_CHECK(moment(ensured) != UINT32_MAX);
            end();
        }
    }
    T_CHECK(failed >= 5);
}

T_CASE(resize_on_a_full_disk_keeps_the_size)
{
    start(L2_DROP, 20);
    some_changes(1200);
    dev.fail_site = DEV_PREALLOCATE;
    dev.fail_errno = ENOSPC;
    dev.fail_at = 1;
    T_EQ_I64(resize_to(26), CELLAR_E_SPACE);
    has_size(20);
    T_EQ_U64(moment(changes), changes);
    end();
}

/* The process died before data.new got its name: the next open gives the name. */
T_CASE(open_that_names_the_new_file_survives_a_power_cut)
{
    start(L2_KEEP, 20);
    some_changes(1200);
    dev.fail_site = DEV_RENAME;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
    T_EQ_I64(resize_to(12), CELLAR_E_IO);
    T_CHECK(l2_dev_find(&dev, "data.new") != NULL);
    synced_now();
    l2_discard(d);
    cfg.seg_count = 12;
    open_on(&dev);
    has_size(12);
    l2_dev_pick(&dev, &other, 0);
    l2_discard(d);
    open_on(&other);
    T_EQ_U64(moment(changes), changes);
    end();
}

static bool current_once;

static bool is_once(void *ctx, uint64_t hash, uint64_t stamp)
{
    const bool is = current_once;
    (void)ctx, (void)hash, (void)stamp;
    current_once = false;
    return is;
}

/* Begin a segment for a put, which is refused then: its key has changed. */
static void begin_empty_segment(void)
{
    const uint32_t i = KEYS;
    const l2_key k = key_of(&i);
    const l2_current current = { is_once, NULL, 1 };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    unsigned char bytes[BYTES] = { 0 };
    do {
        current_once = true;
    } while (l2_put(d, &k, bytes, sizeof bytes, &m, &current) == CELLAR_OK);
    T_EQ_U64(base_load_acq(&d->tail) % d->form.seg_bytes, L2_HEAD_BYTES);
}

/* An open after a power cut walks through the segments from the last sync that a header names. */
T_CASE(power_cut_behind_a_turn_in_an_empty_segment_keeps_what_is_synced)
{
    start(L2_ALWAYS, 20);
    some_changes(1200);
    synced_now();
    ms += 61000; /* SUPER is stored */
    (void)l2_tick(d, 0);
    begin_empty_segment();
    d->goal = (l2_goal){ .bytes = (uint64_t)26 * 65536, .nseg = 26, .on = true };
    (void)l2_tick(d, 0);
    T_CHECK(l2_dev_find(&dev, "data.new") != NULL);
    for (uint32_t i = 0; i < 30; i++) { change_key(i, false, true); }
    synced_now();
    l2_dev_pick(&dev, &other, 0);
    l2_discard(d);
    open_on(&other);
    T_EQ_U64(moment(0), changes);
    end();
}

/* ---- what another size keeps, on real files ---- */

#define ENTRIES 1000u
#define MIB ((uint64_t)1 << 20)

static char path[T_FOLDER_MAX];
static uint64_t factor; /* of all sizes */

static void sized_open(uint64_t mib)
{
    int e = 0;
    cfg.bytes = mib * factor * MIB;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    if (!l2_namespace_find(d, "all", 3, &ns)) {
        T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
    }
}

static void put_bytes(uint32_t i, size_t n)
{
    static unsigned char value[(size_t)256 << 10];
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = i, .durable = true };
    cellar_err err = CELLAR_DROPPED;
    for (int tries = 0; tries < 1000 && err == CELLAR_DROPPED; tries++) {
        err = l2_put(d, &k, value, n, &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(d, 1000); }
    }
    T_REQUIRE(err == CELLAR_OK);
}

static uint32_t entries_found(void)
{
    unsigned char buf[200];
    uint32_t n = 0;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        const l2_key k = key_of(&i);
        size_t len = 0;
        l2_meta m;
        n += l2_get(d, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && m.user_flags == i;
    }
    return n;
}

/* Prepare a store on real files. */
static void sized_start(l2_level level, uint64_t memory_bytes)
{
    begin(level);
    t_folder(path);
    cfg.path = path;
    cfg.vfs = NULL;
    cfg.memory_bytes = memory_bytes;
    cfg.seg_bytes = cfg.seg_count = 0;
    factor = t_env_u64("SIZE_FACTOR", 1);
}

/* Put the entries, and overwrite one key until the log has gone round. */
static void sized_begin(uint64_t mib)
{
    sized_start(L2_DROP, 16 * MIB);
    sized_open(mib);
    for (uint32_t i = 0; i < ENTRIES; i++) { put_bytes(i, 100); }
    for (uint64_t done = 0; done < mib * factor * MIB * 3 / 2; done += 32768) {
        put_bytes(ENTRIES, 32768);
        (void)l2_tick(d, 0);
    }
    T_EQ_U64(entries_found(), ENTRIES);
}

static void sized_end(void)
{
    l2_close(d);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    t_wipe(path);
}

/* Return the bytes of a file of the store; 0: there is none. */
static uint64_t file_bytes(const char *name)
{
    char file[T_FOLDER_MAX + 24];
    struct stat st;
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    return stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void files_have(uint64_t mib)
{
    const uint64_t bytes = mib * factor * MIB, is = file_bytes("data.seg");
    T_CHECK(is + file_bytes("SUPER") + file_bytes("LOCK") <= bytes && is > bytes - 2 * MIB);
    T_EQ_U64(file_bytes("data.new"), 0);
}

static const uint64_t pair[][2] = { { 64, 16 }, { 40, 24 }, { 16, 48 }, { 33, 60 } };

T_ALONE(change_of_the_size_keeps_what_is_below_half_alive)
{
    for (size_t i = 0; i < 2 * sizeof pair / sizeof pair[0]; i++) {
        const uint64_t to = pair[i / 2][1];
        sized_begin(pair[i / 2][0]);
        if (i % 2 == 0) { /* by an open */
            l2_discard(d);
            sized_open(to);
            T_EQ_U64(entries_found(), ENTRIES);
            while (l2_tick(d, 0)) {}
        } else {
            T_EQ_I64(l2_resize(d, to * factor * MIB), CELLAR_OK);
        }
        files_have(to);
        T_EQ_U64(entries_found(), ENTRIES);
        l2_discard(d);
        sized_open(to);
        T_EQ_U64(entries_found(), ENTRIES);
        for (uint32_t n = 0; n < 500; n++) { /* the log goes round in the new file */
            put_bytes(ENTRIES, 65000);
            (void)l2_tick(d, 0);
        }
        T_EQ_U64(entries_found(), ENTRIES);
        sized_end();
    }
}

T_ALONE(entries_above_half_of_the_new_size_leave_the_oldest_first)
{
    uint32_t first = 0, kept = 0;
    sized_begin(40);
    for (uint32_t i = 0; i < ENTRIES * factor; i++) { put_bytes(ENTRIES + i, 15000); }
    T_EQ_I64(l2_resize(d, 16 * factor * MIB), CELLAR_OK);
    for (uint32_t i = 0; i < ENTRIES * factor; i++) {
        const uint32_t n = ENTRIES + i;
        const l2_key k = key_of(&n);
        if (l2_indexed(d, k.hash) && first == 0) { first = i; }
        kept += l2_indexed(d, k.hash);
    }
    T_CHECK(first > ENTRIES * factor / 4 && kept == ENTRIES * factor - first);
    sized_end();
}

/* ---- less memory than the run before ---- */

#define LONGS 64u
#define LONG_BYTES ((size_t)200 << 10)

/* Put long values into a new store, with a log that has room for them as single records. */
static void begin_long(void)
{
    sized_start(L2_DROP, 64 * MIB);
    factor = 1;
    sized_open(64);
    for (uint32_t i = 0; i < LONGS; i++) { put_bytes(i, LONG_BYTES); }
}

static uint32_t long_found(void)
{
    static unsigned char buf[LONG_BYTES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < LONGS; i++) {
        const l2_key k = key_of(&i);
        size_t len = 0;
        l2_meta m;
        n += l2_get(d, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && len == LONG_BYTES;
    }
    return n;
}

T_ALONE(long_records_move_after_an_open_with_less_memory)
{
    static const uint64_t memory[] = { 4 * MIB, 16 * MIB };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        begin_long();
        T_EQ_U64(long_found(), LONGS);
        l2_close(d);
        cfg.memory_bytes = memory[i];
        sized_open(64);
        for (uint32_t n = 0; n < 2 * 64 * 32; n++) { /* 2 rounds */
            put_bytes(LONGS, 32768);
            (void)l2_tick(d, 0);
        }
        T_EQ_U64(long_found(), LONGS);
        sized_end();
    }
}

static bool sync_fails;

static int failing_datasync(void *ctx, base_vfs_file *f)
{
    const bool fails = sync_fails;
    sync_fails = false;
    return fails ? EIO : base_vfs_system()->datasync(ctx, f);
}

T_ALONE(long_records_are_verified_after_a_failed_sync_with_less_memory)
{
    begin_long();
    (void)l2_tick(d, 0);
    l2_discard(d);
    vfs = *base_vfs_system();
    vfs.datasync = failing_datasync;
    cfg.vfs = &vfs;
    cfg.memory_bytes = 4 * MIB;
    sized_open(64);
    T_EQ_U64(long_found(), LONGS);
    sync_fails = true;
    T_EQ_I64(l2_sync(d), CELLAR_E_IO);
    T_CHECK(!sync_fails);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_EQ_U64(long_found(), LONGS);
    sized_end();
}

static bool page_lost, stored;
static base_vfs_file *told;

/* The device lost a page of SUPER: the system says so once for each descriptor. Meanwhile the other
 * role stores a copy. */
static int datasync_beside_a_store(void *ctx, base_vfs_file *f)
{
    if (!page_lost) { return base_vfs_system()->datasync(ctx, f); }
    if (!stored) {
        stored = true;
        T_EQ_I64(l2_super_store(d), EIO);
    }
    const bool again = f == told;
    told = f;
    return again ? 0 : EIO;
}

T_ALONE(unsettle_reports_a_lost_page_while_super_is_stored)
{
    sized_begin(16);
    l2_close(d);
    vfs = *base_vfs_system();
    vfs.datasync = datasync_beside_a_store;
    cfg.vfs = &vfs;
    sized_open(16);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_CHECK(d->settled != 0);
    page_lost = true;
    T_EQ_I64(l2_unsettle(d), EIO);
    T_CHECK(stored && d->settled != 0);
    page_lost = false;
    T_EQ_I64(l2_unsettle(d), 0);
    sized_end();
}

/* ---- under load, on real files ---- */

#define READERS 3u
static _Atomic uint32_t over;
static _Atomic uint64_t found;

static void *reads(void *arg)
{
    uint64_t x = *(const uint32_t *)arg + 1;
    while (atomic_load(&over) == 0) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t key = (uint32_t)(x >> 33) % KEYS;
        const uint32_t got = look(key);
        T_CHECK(got == 0 || got == 1 + key % 3);
        if (got != 0) { (void)atomic_fetch_add(&found, 1); }
        if ((x >> 60) == 0) {
            const l2_key k = key_of(&key);
            l2_invalidate(d, &k);
            (void)put_once(key, 1 + key % 3, false);
        }
    }
    return NULL;
}

T_CASE(readers_and_writers_continue_during_a_resize)
{
    pthread_t t[READERS];
    uint32_t id[READERS];
    l2_stats st;
    sized_start(L2_DROP, 1 * MIB);
    cfg.seg_bytes = 65536;
    cfg.no_thread = false;
    sized_open(L2_BYTES_MIN / MIB);
    for (uint32_t i = 0; i < KEYS; i++) { (void)put_once(i, 1 + i % 3, false); }
    atomic_store(&over, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        id[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, reads, &id[i]) == 0);
    }
    while (atomic_load(&found) < 100 && !t_failed()) { usleep(1000); } /* all readers are active */
    for (uint32_t n = 0; n < 6; n++) {
        T_EQ_I64(l2_resize(d, L2_BYTES_MIN + (n % 2 == 0 ? n << 20 : 0)), CELLAR_OK);
    }
    atomic_store(&over, 1);
    for (uint32_t i = 0; i < READERS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    l2_stats_get(d, &st);
    T_EQ_U64(st.io_errors, 0); /* a file that goes during a read is no error */
    sized_end();
}

/* ---- 4 TiB, mostly sparse ---- */

#define BIG_PAGES 65536u
static struct {
    uint64_t number[BIG_PAGES]; /* page number + 1; 0: free */
    unsigned char *bytes[BIG_PAGES];
    uint64_t size;
} big;

static unsigned char *big_page(uint64_t number, bool make)
{
    size_t i = (size_t)(base_mix64(number) % BIG_PAGES);
    while (big.number[i] != 0 && big.number[i] != number + 1) { i = (i + 1) % BIG_PAGES; }
    if (big.number[i] == 0 && make) {
        big.number[i] = number + 1;
        big.bytes[i] = calloc(1, L2_PAGE);
        T_REQUIRE(big.bytes[i] != NULL);
    }
    return big.bytes[i];
}

static bool is_big(base_vfs_file *f)
{
    return strcmp(((l2_dev_file *)(void *)f)->name, "data.seg") == 0;
}

/* Copy between pages and memory: into `to`, or from `from`. */
static void big_copy(unsigned char *to, const unsigned char *from, size_t n, uint64_t off)
{
    for (size_t at = 0, part; at < n; at += part) {
        const size_t in = (size_t)((off + at) % L2_PAGE);
        part = BASE_MIN(L2_PAGE - in, n - at);
        unsigned char *page = big_page((off + at) / L2_PAGE, from != NULL);
        if (from != NULL) { memcpy(page + in, from + at, part); }
        if (to != NULL && page != NULL) { memcpy(to + at, page + in, part); }
        if (to != NULL && page == NULL) { memset(to + at, 0, part); }
    }
}

static int big_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off, size_t *done)
{
    if (!is_big(f)) { return l2_dev_pread(ctx, f, buf, n, off, done); }
    *done = off < big.size ? (size_t)BASE_MIN((uint64_t)n, big.size - off) : 0;
    big_copy(buf, NULL, *done, off);
    return 0;
}

static int big_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t off,
                      size_t *done)
{
    if (!is_big(f)) { return l2_dev_pwrite(ctx, f, buf, n, off, done); }
    T_CHECK(off + n <= big.size);
    big_copy(NULL, buf, n, off);
    *done = n;
    return 0;
}

static int big_preallocate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    if (!is_big(f)) { return l2_dev_preallocate(ctx, f, bytes); }
    big.size = BASE_MAX(big.size, bytes);
    return 0;
}

static int big_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    const int e = l2_dev_stat(ctx, f, out);
    if ((void *)f != (void *)dev.boot && is_big(f)) { out->size_bytes = big.size; }
    return e;
}

static void big_open(void)
{
    int e = 0;
    dev.locked = false;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
}

/* Let the next open begin the log in the last segments of the file. */
static void begins_at_the_end(uint64_t segments)
{
    l2_dev_file *f = l2_dev_find(&dev, "SUPER");
    for (size_t i = 0; i < 2; i++) {
        l2_super s;
        T_REQUIRE(l2_super_read(f->live + i * L2_PAGE, &s) == CELLAR_OK);
        s.born = segments - 3;
        l2_super_write(f->live + i * L2_PAGE, &s);
    }
}

#define LONG ((size_t)60000)

static void big_check(uint32_t keys)
{
    static unsigned char buf[LONG];
    for (uint32_t i = 0; i < keys; i++) {
        size_t n = 0;
        l2_meta m;
        const l2_key k = key_of(&i);
        const bool there = l2_get(d, &k, buf, sizeof buf, &n, &m) == CELLAR_OK;
        T_CHECK(there == (i % 5 != 4));
        T_CHECK(!there || (n == LONG && m.user_flags == i));
    }
}

T_ALONE(addresses_reach_4_tib)
{
    static unsigned char value[LONG];
    const uint64_t segments = ((uint64_t)4 << 40) / (8 << 20) - 1;
    const uint32_t keys = 500; /* 30 MB: behind the end of the file the log goes on at its begin */
    begin(L2_DROP);
    l2_dev_init(&dev);
    dev.flat = true;
    vfs = l2_dev_vfs(&dev);
    vfs.pread = big_pread;
    vfs.pwrite = big_pwrite;
    vfs.preallocate = big_preallocate;
    vfs.stat = big_stat;
    vfs.ahead = NULL;
    cfg.vfs = &vfs;
    cfg.bytes = (uint64_t)4 << 40;
    cfg.memory_bytes = (uint64_t)64 << 20;
    cfg.seg_bytes = 8 << 20;
    cfg.seg_count = (uint32_t)segments; /* the last addresses of 36 bits */
    big_open();
    T_EQ_U64(d->form.granule, 64);
    T_EQ_U64(big.size, segments * (8 << 20));
    l2_close(d);
    begins_at_the_end(segments);
    big_open();
    for (uint32_t i = 0; i < keys; i++) {
        const l2_key k = key_of(&i);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = i };
        T_EQ_I64(l2_put(d, &k, value, LONG, &m, NULL), CELLAR_OK);
        if (i % 5 == 4) { l2_invalidate(d, &k); }
    }
    T_CHECK(l2_seq_of(d, base_load_acq(&d->tail)) > segments);
    big_check(keys);
    (void)l2_tick(d, 0);
    l2_discard(d);
    big_open();
    big_check(keys);
    T_EQ_I64(l2_resize(d, (uint64_t)5 << 40), CELLAR_E_RANGE);
    l2_close(d);
    big_open();
    big_check(keys);
    l2_close(d);
    l2_dev_fini(&dev);
    for (size_t i = 0; i < BIG_PAGES; i++) { free(big.bytes[i]); }
    memset(&big, 0, sizeof big);
}

T_MAIN("l2_resize")
