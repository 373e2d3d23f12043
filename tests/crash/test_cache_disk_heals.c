/* SPDX-License-Identifier: MIT
 *
 * Aim:    Errors and delays of calls of the disk lose no acknowledged entry and restore no old one,
 *         if the disk works again before the next open. test_l2_fault fails every call.
 * Method: A child opens a store with threads and stores entries. Then one kind of call fails once,
 *         twice, in a burst or until the disk heals, or it stands still for 700 ms. Meanwhile the
 *         child overwrites, deletes, reads from disk, changes the size of the store and saves a
 *         Bloom filter. Then either the disk heals, and the child waits for a good sync (THROUGH)
 *         or save, finds each entry, and is killed or closes the store. Or the call is bad until
 *         the process has ended. The parent opens the store and compares. Another case: the calls
 *         of the open are bad, and the next open finds each entry. Each level of sync, each mode.
 *         The calls of the disk are functions of this test. HEALS=n: n runs of each case. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_bloom.h"
#include "cellar_l2.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/folder.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"
#include "tests/support/versioned.h"

#define KEYS 100u
#define BYTES 7000u

typedef enum call { SYNC, WRITE, WRITE_SUPER, READ, TRUNCATE, RENAME, CALLS } call;
static const char *const call_names[] = { "fdatasync", "pwrite", "pwrite of SUPER", "pread",
                                          "ftruncate", "rename" };

/* ---- the disk ---- */

typedef struct entry { /* in shared memory; of the last call */
    uint32_t version; /* 0: deleted */
    uint32_t sure;    /* 1: acknowledged; 0: this version or none */
} entry;

static entry *now; /* of KEYS entries, and one that says whether a call was bad */

static struct {
    _Atomic int call;   /* which call is bad; CALLS: none */
    _Atomic int left;   /* bad calls to come */
    _Atomic int stands; /* 1: it stands still, 0: it fails */
} bad = { CALLS, 0, 0 };

/* Return true if the call fails now. Stand still before that if the disk does. */
static bool call_fails(call c)
{
    if (atomic_load(&bad.call) != (int)c || atomic_fetch_sub(&bad.left, 1) <= 0) { return false; }
    now[KEYS].sure = 1; /* met */
    if (atomic_load(&bad.stands) == 0) { return true; }
    (void)usleep(700000);
    return false;
}

static bool is_super(int fd)
{
    char name[32], path[400];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(name, path, sizeof path);
    return n > 6 && memcmp(path + n - 6, "/SUPER", 6) == 0;
}

int fdatasync(int fd)
{
    if (call_fails(SYNC)) { errno = EIO; return -1; }
    return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
    const struct iovec from = { (void *)(uintptr_t)buf, n };
    if (call_fails(is_super(fd) ? WRITE_SUPER : WRITE)) { errno = EIO; return -1; }
    return pwritev(fd, &from, 1, at);
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    const struct iovec to = { buf, n };
    if (call_fails(READ)) { errno = EIO; return -1; }
    return preadv(fd, &to, 1, at);
}

int ftruncate(int fd, off_t bytes)
{
    if (call_fails(TRUNCATE)) { errno = EIO; return -1; }
    return (int)syscall(SYS_ftruncate, fd, bytes);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (call_fails(RENAME)) { errno = EIO; return -1; }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

/* ---- one life ---- */

typedef struct run {
    cellar_l2_write write;
    cellar_l2_sync sync;
    call call;
    int times;
    bool stands, kill;
    bool late; /* the call is bad until the process has ended */
} run;

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];

/* Return NULL if the store does not open. */
static cellar *try_open(const run *r)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = 2 * CELLAR_L2_BYTES_MIN, .l2.write = r->write,
                     .l2.sync = r->sync, .l2.sync_interval_ms = 20, .l2.retry_ms = 20,
                     .l2.retry_max_ms = 20, .l2.min_ttl_ms = 0 };
    return settings_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

static cellar *open_it(const run *r)
{
    cellar *c = try_open(r);
    T_REQUIRE(c != NULL);
    return c;
}

static void set_key(cellar *c, uint32_t key, uint32_t version)
{
    unsigned char value[BYTES];
    versioned_fill(value, sizeof value, key, version);
    now[key] = (entry){ version, 0 };
    const cellar_err err = cellar_set(c, &key, sizeof key, value, sizeof value, NULL);
    now[key].sure = err == CELLAR_OK;
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO);
}

/* A get may miss until the tier knows that the disk answers: look again for 5 s. */
static uint32_t look_for(cellar *c, uint32_t key)
{
    uint32_t got = versioned_look(c, key, BYTES);
    for (uint32_t i = 0; i < 250 && got == 0 && now[key].version != 0; i++) {
        (void)usleep(20000);
        got = versioned_look(c, key, BYTES);
    }
    return got;
}

static void change_all(cellar *c, uint32_t version)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        if (k % 10 == 3) {
            now[k] = (entry){ 0, 1 };
            const cellar_err err = cellar_delete(c, &k, sizeof k);
            T_CHECK(err >= CELLAR_OK || err == CELLAR_E_IO);
        } else if (k % 3 != 0) {
            set_key(c, k, version);
        }
    }
}

/* Change the size of the store, read all keys and save a Bloom filter. */
static void use_the_disk(cellar *c, uint32_t version)
{
    const int64_t bytes = (int64_t)CELLAR_L2_BYTES_MIN * (version % 2 == 0 ? 1 : 2);
    const cellar_err err = cellar_option_set(c, CELLAR_OPT_L2_BYTES, bytes);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_BUSY);
    for (uint32_t k = 0; k < KEYS; k++) {
        const uint32_t got = versioned_look(c, k, BYTES);
        T_CHECK(got == 0 || got == now[k].version);
    }
    (void)cellar_sync(c);
}

/* Write everything to disk, and wait until that has succeeded. */
static void settle(cellar *c, const run *r)
{
    uint64_t missed = 0;
    cellar_err err = CELLAR_E_IO;
    for (int i = 0; i < 1000 && err != CELLAR_OK; i++) {
        err = r->write == CELLAR_L2_WRITE_THROUGH ? cellar_sync(c) : cellar_save(c, &missed);
        if (err != CELLAR_OK) { (void)usleep(10000); }
    }
    T_EQ_I64(err, CELLAR_OK);
}

static void disk_is_bad(const run *r)
{
    atomic_store(&bad.stands, r->stands);
    atomic_store(&bad.left, r->times);
    atomic_store(&bad.call, (int)r->call);
}

static void child(const run *r, bool opens)
{
    cellar *c = open_it(r);
    if (r->call == RENAME) { T_EQ_I64(bloom_size(c, 1000), CELLAR_OK); }
    for (uint32_t k = 0; k < KEYS; k++) { /* the disk of the machine may stand still, too */
        do { set_key(c, k, 1); } while (now[k].sure == 0);
    }
    settle(c, r);
    if (r->call == READ) { /* all entries are on disk alone */
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        c = open_it(r);
    }
    if (!opens) { disk_is_bad(r); }
    for (uint32_t version = 2; version < 4; version++) {
        if (r->call >= READ) { use_the_disk(c, version); }
        change_all(c, version);
        (void)cellar_sync(c);
    }
    if (!r->late) {
        atomic_store(&bad.call, CALLS);
        settle(c, r);
        for (uint32_t k = 0; k < KEYS; k++) {
            if (now[k].sure != 0 && !T_EQ_U64(look_for(c, k), now[k].version)) { break; }
        }
    }
    if (!r->kill) {
        const cellar_err err = cellar_close(c);
        T_CHECK(err == CELLAR_OK || (r->late && err == CELLAR_DROPPED));
    }
    (void)fflush(stdout);
    if (t_failed()) { _exit(1); }
    (void)kill(getpid(), SIGKILL);
}

/* Compare all keys. Without THROUGH a late error may lose what no save has covered. A late error of
 * writes may lose all: changes that no file has make the next open begin empty. So may one of syncs,
 * if changes wait for them: at ALWAYS each one; at MANUAL the first one behind a sync waits until
 * SUPER is on the device. */
static void compare(cellar *c, const run *r)
{
    uint32_t lost = 0, old = 0;
    const bool waits = (r->call == SYNC && r->sync != CELLAR_L2_SYNC_PERIODIC) ||
                       (r->call == WRITE_SUPER && r->sync == CELLAR_L2_SYNC_MANUAL);
    const uint32_t most = r->late && r->write != CELLAR_L2_WRITE_THROUGH ? 1 : UINT32_MAX;
    for (uint32_t k = 0; k < KEYS; k++) {
        const uint32_t want = now[k].version;
        const bool must = want != 0 && want <= most && now[k].sure != 0 && lost == 0 &&
                          !(r->late && (r->call == WRITE || waits));
        const uint32_t got = must ? look_for(c, k) : versioned_look(c, k, BYTES);
        old += got != 0 && got != want;
        lost += got == 0 && must;
    }
    T_EQ_U64(old, 0);
    T_EQ_U64(lost, 0);
    if (t_failed()) {
        printf("# write %d, sync %d, %s, %d times, stands %d, kill %d, late %d\n", r->write,
               r->sync, call_names[r->call], r->times, r->stands, r->kill, r->late);
    }
}

/* Leave the data file longer than the store, as a change of size that a kill has interrupted. */
static void leave_longer(void)
{
    char data[T_FOLDER_MAX + 24];
    struct stat st;
    (void)snprintf(data, sizeof data, "%s/data.seg", store);
    T_REQUIRE(stat(data, &st) == 0);
    T_EQ_I64(truncate(data, st.st_size + (1 << 20)), 0);
}

/* opens: the call is bad during an open after the life, not during the life. */
static void one(const run *r, bool opens)
{
    int status = 0;
    t_folder(folder);
    (void)snprintf(store, sizeof store, "%s/store", folder);
    memset(now, 0, (KEYS + 1) * sizeof *now);
    (void)fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { child(r, opens); }
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (opens) {
        if (r->call == TRUNCATE) { leave_longer(); }
        disk_is_bad(r);
        cellar *bad_one = try_open(r);
        if (bad_one != NULL) {
            (void)versioned_look(bad_one, 0, BYTES);
            (void)cellar_close(bad_one);
        }
        atomic_store(&bad.call, CALLS);
        T_CHECK(r->call != TRUNCATE || now[KEYS].sure == 1);
    }
    cellar *c = open_it(r);
    compare(c, r);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

typedef enum kind { ERRORS, STALLS, OPENS } kind;

static void runs(uint32_t count, kind of)
{
    static const int times[] = { 1, 2, 20, 1000000 };
    static const cellar_l2_write modes[] = { CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_WRITE_ON_SET,
                                             CELLAR_L2_WRITE_THROUGH, CELLAR_L2_WRITE_THROUGH };
    base_rng rng;
    uint32_t met[CALLS] = { 0 };
    base_rng_seed(&rng, t_seed());
    const uint32_t first = (uint32_t)base_rng_below(&rng, CALLS);
    count = (uint32_t)t_env_u64("HEALS", count);
    now = mmap(NULL, (KEYS + 1) * sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
               -1, 0);
    T_REQUIRE(now != MAP_FAILED);
    for (uint32_t i = 0; i < count && !t_failed(); i++) {
        const uint64_t n = base_rng_below(&rng, 1u << 20);
        const run r = { .write = modes[n / 2 % 4], .sync = (cellar_l2_sync)(i % 3),
                        .call = (call)((first + i / 3) % CALLS),
                        .times = of == STALLS ? 1 : times[n / 8 % 4],
                        .stands = of == STALLS, .kill = n % 2 != 0,
                        .late = of == ERRORS && n / 32 % 3 == 0 };
        one(&r, of == OPENS);
        met[r.call] += now[KEYS].sure;
    }
    printf("# %u runs, with a bad call in:", count);
    for (uint32_t i = 0; i < CALLS; i++) { printf(" %s %u;", call_names[i], met[i]); }
    printf("\n");
    T_EQ_I64(munmap(now, (KEYS + 1) * sizeof *now), 0);
}

T_CASE(errors_of_any_call_lose_no_entry_once_the_disk_heals)
{
    runs((uint32_t)t_share(72), ERRORS);
}

T_CASE(stalls_of_any_call_lose_no_entry) { runs((uint32_t)t_share(36), STALLS); }

T_CASE(errors_of_an_open_lose_no_entry) { runs((uint32_t)t_share(36), OPENS); }

T_MAIN("cache_disk_heals")
