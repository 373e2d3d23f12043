/* SPDX-License-Identifier: MIT
 *
 * Aim:    another size keeps what is below half alive, by an open and by l2_resize; the files have
 *         the new size then. A death in each step: test_l2_resize. Records that are longer
 *         than a store of this memory would write move as well.
 * Method: 1,000 durable entries, then overwrites of one key until the log has gone round. The store
 *         has no thread: each tick makes some steps. SIZE_FACTOR=n multiplies all sizes. */
#include "base/check.h"
#include "l2/l2.h"
#include "l2/super.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/num.h"

#define KEYS 1000u
#define GENERATION 7u
#define MIB ((uint64_t)1 << 20)

static base_account account;
static base_log lines;
static base_clock clock_now;
static l2_config cfg;
static l2 *d;
static char path[T_FOLDER_MAX];
static uint64_t factor;

static int64_t now_ms(void *ctx) { (void)ctx; return 1000000; }

static l2_key key_of(const uint32_t *i)
{
    return (l2_key){ i, sizeof *i, GENERATION,
                     base_hash(l2_hash_key(d), GENERATION, i, sizeof *i) };
}

static void open_store(uint64_t mib)
{
    int e = 0;
    cfg.bytes = mib * factor * MIB;
    T_REQUIRE(l2_open(&cfg, &d, &e) == CELLAR_OK);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    if (!l2_namespace_find(d, "all", 3, &ns)) {
        T_EQ_I64(l2_namespace_set(d, &ns, "all", 3), CELLAR_OK);
    }
}

static void put(uint32_t i, size_t n)
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

static uint32_t found(void)
{
    unsigned char buf[200];
    uint32_t n = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const l2_key k = key_of(&i);
        size_t len = 0;
        l2_meta m;
        n += l2_get(d, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && m.user_flags == i;
    }
    return n;
}

static void begin(uint64_t mib)
{
    const char *said = getenv("SIZE_FACTOR");
    factor = said != NULL ? strtoull(said, NULL, 10) : 1;
    t_folder(path);
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    clock_now = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &clock_now, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &clock_now, .path = path,
                       .memory_bytes = 16 * MIB, .no_thread = true, .move_pct = 50 };
    open_store(mib);
    for (uint32_t i = 0; i < KEYS; i++) { put(i, 100); }
    for (uint64_t done = 0; done < mib * factor * MIB * 3 / 2; done += 32768) {
        put(KEYS, 32768);
        (void)l2_tick(d, 0);
    }
    T_EQ_U64(found(), KEYS);
}

static void finish(void)
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

static void has_size(uint64_t mib)
{
    const uint64_t bytes = mib * factor * MIB, is = file_bytes("data.seg");
    T_CHECK(is + file_bytes("SUPER") + file_bytes("LOCK") <= bytes && is > bytes - 2 * MIB);
    T_EQ_U64(file_bytes("data.new"), 0);
}

static const uint64_t pair[][2] = { { 64, 16 }, { 40, 24 }, { 16, 48 }, { 33, 60 } };

T_CASE(change_of_the_size_keeps_what_is_below_half_alive)
{
    for (size_t i = 0; i < 2 * sizeof pair / sizeof pair[0]; i++) {
        const uint64_t to = pair[i / 2][1];
        begin(pair[i / 2][0]);
        if (i % 2 == 0) { /* by an open */
            l2_discard(d);
            open_store(to);
            T_EQ_U64(found(), KEYS);
            while (l2_tick(d, 0)) {}
        } else {
            T_EQ_I64(l2_resize(d, to * factor * MIB), CELLAR_OK);
        }
        has_size(to);
        T_EQ_U64(found(), KEYS);
        l2_discard(d);
        open_store(to);
        T_EQ_U64(found(), KEYS);
        for (uint32_t n = 0; n < 500; n++) { /* the log goes round in the new file */
            put(KEYS, 65000);
            (void)l2_tick(d, 0);
        }
        T_EQ_U64(found(), KEYS);
        finish();
    }
}

T_CASE(entries_above_half_of_the_new_size_leave_the_oldest_first)
{
    uint32_t first = 0, last = 0;
    begin(40);
    for (uint32_t i = 0; i < KEYS * factor; i++) { put(KEYS + i, 15000); }
    T_EQ_I64(l2_resize(d, 16 * factor * MIB), CELLAR_OK);
    for (uint32_t i = 0; i < KEYS * factor; i++) {
        const uint32_t n = KEYS + i;
        const l2_key k = key_of(&n);
        if (l2_indexed(d, k.hash) && first == 0) { first = i; }
        last += l2_indexed(d, k.hash);
    }
    T_CHECK(first > KEYS * factor / 4 && last == KEYS * factor - first);
    finish();
}

T_CASE(refused_sizes_change_nothing)
{
    begin(16);
    T_EQ_I64(l2_resize(d, MIB), CELLAR_E_INVAL);
    T_EQ_I64(l2_resize(d, UINT64_C(1) << 60), CELLAR_E_RANGE);
    T_EQ_I64(l2_resize(d, 16 * factor * MIB), CELLAR_OK);
    has_size(16);
    T_EQ_U64(found(), KEYS);
    finish();
}

/* ---- less memory than the run before ---- */

#define LONG 64u
#define LONG_BYTES ((size_t)200 << 10)

/* Put long values into a new store, with a log that has room for them as single records. */
static void begin_long(l2_level level)
{
    t_folder(path);
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    clock_now = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &clock_now, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &clock_now, .path = path,
                       .memory_bytes = 64 * MIB, .no_thread = true, .move_pct = 50,
                       .level = level };
    factor = 1;
    open_store(64);
    for (uint32_t i = 0; i < LONG; i++) { put(i, LONG_BYTES); }
}

static uint32_t long_found(void)
{
    static unsigned char buf[LONG_BYTES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < LONG; i++) {
        const l2_key k = key_of(&i);
        size_t len = 0;
        l2_meta m;
        n += l2_get(d, &k, buf, sizeof buf, &len, &m) == CELLAR_OK && len == LONG_BYTES;
    }
    return n;
}

T_CASE(long_records_move_after_an_open_with_less_memory)
{
    static const uint64_t memory[] = { 4 * MIB, 16 * MIB };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        begin_long(L2_DROP);
        T_EQ_U64(long_found(), LONG);
        l2_close(d);
        cfg.memory_bytes = memory[i];
        open_store(64);
        for (uint32_t n = 0; n < 2 * 64 * 32; n++) { /* 2 rounds */
            put(LONG, 32768);
            (void)l2_tick(d, 0);
        }
        T_EQ_U64(long_found(), LONG);
        finish();
    }
}

static bool sync_fails;

static int failing_datasync(void *ctx, base_vfs_file *f)
{
    const bool fails = sync_fails;
    sync_fails = false;
    return fails ? EIO : base_vfs_system()->datasync(ctx, f);
}

T_CASE(long_records_are_verified_after_a_failed_sync_with_less_memory)
{
    begin_long(L2_DROP);
    (void)l2_tick(d, 0);
    l2_discard(d);
    base_vfs vfs = *base_vfs_system();
    vfs.datasync = failing_datasync;
    cfg.vfs = &vfs;
    cfg.memory_bytes = 4 * MIB;
    open_store(64);
    T_EQ_U64(long_found(), LONG);
    sync_fails = true;
    T_EQ_I64(l2_sync(d), CELLAR_E_IO);
    T_CHECK(!sync_fails);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_EQ_U64(long_found(), LONG);
    finish();
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

T_CASE(unsettle_reports_a_lost_page_while_super_is_stored)
{
    base_vfs vfs = *base_vfs_system();
    begin(16);
    l2_close(d);
    vfs.datasync = datasync_beside_a_store;
    cfg.vfs = &vfs;
    open_store(16);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    T_CHECK(d->settled != 0);
    page_lost = true;
    T_EQ_I64(l2_unsettle(d), EIO);
    T_CHECK(stored && d->settled != 0);
    page_lost = false;
    T_EQ_I64(l2_unsettle(d), 0);
    finish();
}

T_ONE_THREAD;
T_MAIN("log_resize")
