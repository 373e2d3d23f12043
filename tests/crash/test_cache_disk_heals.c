/* SPDX-License-Identifier: MIT
 *
 * Aim:    Errors and delays of writes and syncs lose no acknowledged entry and restore no old one,
 *         if the disk works again before the process ends. test_l2_fault fails every call.
 * Method: A child opens a store with threads and stores entries. Then one kind of call fails once,
 *         twice, in a burst or until the disk heals, or it stands still for 700 ms. Meanwhile the
 *         child overwrites and deletes. After that it waits for a good sync (ON_SET: save), and is
 *         killed or closes the store. The parent opens the store and compares. Each level of sync, ON_SET and
 *         THROUGH. The calls of the disk are functions of this test. HEALS=n: n runs of each case. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_l2.h"
#include "tests/support/folder.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#define KEYS 100u
#define BYTES 700u

typedef enum call { SYNC, WRITE, WRITE_SUPER, CALLS } call;
static const char *const call_names[] = { "fdatasync", "pwrite", "pwrite of SUPER" };

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

/* ---- one life ---- */

typedef struct run {
    cellar_l2_write write;
    cellar_l2_sync sync;
    call call;
    int times;
    bool stands, kill;
} run;

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];

static cellar *open_it(const run *r)
{
    settings cfg = settings_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = 8u << 20;
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = 2 * CELLAR_L2_BYTES_MIN;
    cfg.l2.write = r->write;
    cfg.l2.sync = r->sync;
    cfg.l2.sync_interval_ms = 20;
    cfg.l2.retry_ms = 20;
    cfg.l2.retry_max_ms = 20;
    cfg.l2.min_ttl_ms = 0;
    cfg.l2.required = 1;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_l2_ready(c, CELLAR_TTL_NONE), CELLAR_OK);
    return c;
}

static void set_key(cellar *c, uint32_t key, uint32_t version)
{
    unsigned char value[BYTES];
    memset(value, (int)(key + version), sizeof value);
    memcpy(value, &version, sizeof version);
    now[key] = (entry){ version, 0 };
    const cellar_err err = cellar_set(c, &key, sizeof key, value, sizeof value, NULL);
    now[key].sure = err == CELLAR_OK;
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO);
}

/* Return the version of the key; 0: a miss. */
static uint32_t look(cellar *c, uint32_t key)
{
    unsigned char value[BYTES];
    size_t len = 0;
    uint32_t version = 0;
    if (cellar_get(c, &key, sizeof key, value, sizeof value, &len) != CELLAR_OK) { return 0; }
    memcpy(&version, value, sizeof version);
    T_CHECK(len == BYTES && value[BYTES - 1] == (unsigned char)(key + version));
    return version;
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

static void child(const run *r)
{
    cellar *c = open_it(r);
    uint64_t missed = 0;
    for (uint32_t k = 0; k < KEYS; k++) { /* the disk of the machine may stand still, too */
        do { set_key(c, k, 1); } while (now[k].sure == 0);
    }
    while (cellar_sync(c) != CELLAR_OK) { (void)usleep(10000); }
    atomic_store(&bad.stands, r->stands);
    atomic_store(&bad.left, r->times);
    atomic_store(&bad.call, (int)r->call);
    for (uint32_t version = 2; version < 4; version++) {
        change_all(c, version);
        (void)cellar_sync(c);
    }
    atomic_store(&bad.call, CALLS);
    cellar_err err = CELLAR_E_IO;
    for (int i = 0; i < 1000 && err != CELLAR_OK; i++) {
        err = r->write == CELLAR_L2_WRITE_ON_SET ? cellar_save(c, &missed) : cellar_sync(c);
        if (err != CELLAR_OK) { (void)usleep(10000); }
    }
    T_EQ_I64(err, CELLAR_OK);
    if (!r->kill) { T_EQ_I64(cellar_close(c), CELLAR_OK); }
    (void)fflush(stdout);
    if (t_failed()) { _exit(1); }
    (void)kill(getpid(), SIGKILL);
}

static void one(const run *r)
{
    int status = 0;
    t_folder(folder);
    (void)snprintf(store, sizeof store, "%s/store", folder);
    memset(now, 0, (KEYS + 1) * sizeof *now);
    (void)fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { child(r); }
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cellar *c = open_it(r);
    uint32_t lost = 0, old = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        const uint32_t got = look(c, k);
        old += got != 0 && got != now[k].version;
        lost += got == 0 && now[k].version != 0 && now[k].sure != 0;
    }
    T_EQ_U64(old, 0);
    T_EQ_U64(lost, 0);
    if (t_failed()) {
        printf("# write %d, sync %d, %s, %d times, stands %d, kill %d\n", r->write, r->sync,
               call_names[r->call], r->times, r->stands, r->kill);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

static void runs(uint32_t count, bool stands)
{
    static const int times[] = { 1, 2, 20, 1000000 };
    base_rng rng;
    uint32_t met = 0;
    base_rng_seed(&rng, t_seed());
    const char *wanted = getenv("HEALS");
    if (wanted != NULL) { count = (uint32_t)atoi(wanted); }
    now = mmap(NULL, (KEYS + 1) * sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(now != MAP_FAILED);
    for (uint32_t i = 0; i < count && !t_failed(); i++) {
        const uint64_t n = base_rng_below(&rng, 1u << 20);
        const run r = { .write = n / 2 % 2 == 0 ? CELLAR_L2_WRITE_ON_SET : CELLAR_L2_WRITE_THROUGH,
                        .sync = (cellar_l2_sync)(i % 3), .call = (call)(i / 3 % CALLS),
                        .times = stands ? 1 : times[n / 4 % 4], .stands = stands,
                        .kill = n % 2 != 0 };
        one(&r);
        met += now[KEYS].sure;
    }
    printf("# a call was bad in %u of %u runs\n", met, count);
    T_EQ_I64(munmap(now, (KEYS + 1) * sizeof *now), 0);
}

static void errors_of_any_call_lose_no_entry_once_the_disk_heals(void)
{
    runs((uint32_t)t_share(72), false);
}

static void stalls_of_any_call_lose_no_entry(void) { runs((uint32_t)t_share(24), true); }

T_MAIN("cache_disk_heals", T_CASE(errors_of_any_call_lose_no_entry_once_the_disk_heals),
       T_CASE(stalls_of_any_call_lose_no_entry))
