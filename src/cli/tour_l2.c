/* SPDX-License-Identifier: MIT
 *
 * tour_l2: check what the disk tier keeps after a close, and after a kill during writes.
 *
 * WALK       close   answers of the tour -> a store with a disk tier -> close -> reopen with empty
 *                    memory -> get each answer and compare
 *            kill    child: sets and deletes in its own store; it counts each returned call in
 *                    shared memory -> SIGKILL after 20,000 -> reopen -> verify
 * INVARIANTS After the kill a counted set has its bytes or is missing; a counted delete is a miss.
 *            A set may be missing: if the disk is slower than the writer, it drops writes.
 * LIMITS     One temporary folder of 48 MiB below TMPDIR, removed at the end. Without folder or
 *            room the tour prints that and goes on. Without a boot id (no /proc) the killed store
 *            starts empty; this is printed and is no finding. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/vfs.h"
#include "cli/cli.h"
#include "cli/tour_l2.h"
#include "cellar.h"
#include "cellar_l2.h"
#include "cellar_observe.h"

#define SURVIVE_VALUE 256u
#define SURVIVE_ACKS 20000u
#define SURVIVE_EACH 5u /* one operation in 5 is a delete */
#define SURVIVE_PATIENCE_NS UINT64_C(5000000000)
#define SURVIVE_DISK ((uint64_t)48 << 20)
#define SURVIVE_MEMORY ((uint64_t)32 << 20)

typedef struct tour_l2_shared { /* between parent and child */
    _Atomic uint32_t acked;     /* number of operations that have returned */
} tour_l2_shared;

static void tour_l2_wipe(const char *folder)
{
    char path[600];
    DIR *d = opendir(folder);
    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.') { continue; }
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        (void)unlink(path);
    }
    if (d != NULL) { (void)closedir(d); }
}

/* namespace NULL: no store */
typedef struct tour_l2_store { cellar *root, *namespace; } tour_l2_store;

static tour_l2_store tour_l2_open(const char *folder, uint32_t mode)
{
    cellar_config cfg = cellar_config_default();
    cellar_namespace_opts o = cellar_namespace_opts_default();
    tour_l2_store s = { NULL, NULL };
    cfg.memory_bytes = SURVIVE_MEMORY;
    cfg.l2_path = folder;
    cfg.l2_bytes = SURVIVE_DISK;
    cellar_l2_opts disk = cellar_l2_opts_default();
    disk.required = 1;
    cfg.l2 = &disk;
    o.l2_write = (cellar_l2_write)mode;
    if (cellar_open(&cfg, &s.root) != CELLAR_OK) { return (tour_l2_store){ NULL, NULL }; }
    if (cellar_namespace_open(s.root, "tour", &o, &s.namespace) == CELLAR_OK) { return s; }
    (void)cellar_close(s.root);
    return (tour_l2_store){ NULL, NULL };
}

static void tour_l2_close(tour_l2_store s)
{
    (void)cellar_close(s.namespace);
    (void)cellar_close(s.root);
}

/* Wait until the index has read the oldest key, at most a second. Before that a get misses. */
static void tour_l2_wait(cellar *v, const void *key, size_t key_len)
{
    for (int i = 0; i < 200; i++) {
        const struct timespec pause = { 0, 5000000 };
        unsigned char value[SURVIVE_VALUE];
        size_t len;
        if (cellar_get(v, key, key_len, value, sizeof value, &len) == CELLAR_OK) { return; }
        nanosleep(&pause, NULL);
    }
}

/* ---- closed and reopened ---- */

/* Close and reopen a store with the answers of `from`. Return false if the disk cannot be used. */
static bool tour_l2_closed(cellar *from, const cli_files *files, const char *folder,
                           tour_l2_result *r)
{
    unsigned char value[SURVIVE_VALUE], back[SURVIVE_VALUE];
    size_t len, back_len;
    tour_l2_store s = tour_l2_open(folder, CELLAR_L2_WRITE_ON_EVICTION);
    if (s.namespace == NULL) { return false; }
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->file[i].path;
        if (cellar_get(from, path, strlen(path), value, sizeof value, &len) != CELLAR_OK) {
            continue;
        }
        (void)cellar_set(s.namespace, path, strlen(path), value, len, NULL);
    }
    tour_l2_close(s);
    s = tour_l2_open(folder, CELLAR_L2_WRITE_ON_EVICTION);
    if (s.namespace == NULL) { return false; }
    if (files->count > 0) {
        const char *path = files->file[0].path;
        tour_l2_wait(s.namespace, path, strlen(path));
    }
    const uint64_t start = cli_clock_ns();
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->file[i].path;
        if (cellar_get(from, path, strlen(path), value, sizeof value, &len) != CELLAR_OK) {
            continue;
        }
        r->asked++;
        if (cellar_get(s.namespace, path, strlen(path), back, sizeof back, &back_len) !=
            CELLAR_OK) {
            continue;
        }
        r->hits++;
        r->different += back_len != len || memcmp(value, back, len) != 0;
    }
    r->get_ns = r->asked > 0 ? (cli_clock_ns() - start) / r->asked : 0;
    cellar_stats st = cellar_stats_default();
    if (cellar_stats_get(s.root, CELLAR_SCOPE_STORE, &st) == CELLAR_OK) {
        r->from_disk = st.hits_l2;
    }
    tour_l2_close(s);
    return true;
}

/* ---- killed ---- */

static void tour_l2_fill(unsigned char value[SURVIVE_VALUE], uint32_t n)
{
    for (uint32_t i = 0; i < SURVIVE_VALUE; i++) { value[i] = (unsigned char)(n * 31 + i * 7); }
    memcpy(value, &n, sizeof n);
}

/* Return whether operation n is a delete, of key n - 3. Other operations set key n. */
static bool tour_l2_deletes(uint32_t n) { return n % SURVIVE_EACH == SURVIVE_EACH - 1; }

static int tour_l2_child(const char *folder, tour_l2_shared *shared)
{
    unsigned char value[SURVIVE_VALUE];
    cellar *const v = tour_l2_open(folder, CELLAR_L2_WRITE_ON_SET).namespace;
    if (v == NULL) { return 1; }
    for (uint32_t n = 0;; n++) {
        const uint32_t key = tour_l2_deletes(n) ? n - 3 : n;
        tour_l2_fill(value, n);
        const cellar_err err = tour_l2_deletes(n)
                                   ? cellar_delete(v, &key, sizeof key)
                                   : cellar_set(v, &key, sizeof key, value, sizeof value, NULL);
        if (err < 0) { return 1; }
        /* release: acquire in tour_l2_killed */
        atomic_store_explicit(&shared->acked, n + 1, memory_order_release);
    }
}

static void tour_l2_verify(cellar *v, uint32_t acked, tour_l2_result *r)
{
    unsigned char value[SURVIVE_VALUE], want[SURVIVE_VALUE];
    size_t len;
    for (uint32_t n = 0; n < acked; n++) {
        if (tour_l2_deletes(n)) {
            r->deleted++;
            continue;
        }
        const cellar_err err = cellar_get(v, &n, sizeof n, value, sizeof value, &len);
        /* The kill may have cut the delete of this key. */
        const bool dead = n % SURVIVE_EACH == 1 && n + 3 < acked;
        if (err != CELLAR_OK) { continue; }
        tour_l2_fill(want, n);
        r->risen += dead;
        r->found += !dead;
        r->wrong += len != sizeof want || memcmp(value, want, sizeof want) != 0;
    }
    r->acked = acked;
}

/* Kill a store and verify it. Return false without memory or processes; set *used if the disk could
 * be used. */
static bool tour_l2_killed(const char *folder, tour_l2_result *r, bool *used)
{
    tour_l2_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) { return false; }
    fflush(stdout); /* else the child prints the buffer again */
    const pid_t child = fork();
    if (child == 0) { _exit(tour_l2_child(folder, shared)); }
    int status = 0;
    pid_t ended = 0;
    const uint64_t until = cli_clock_ns() + SURVIVE_PATIENCE_NS;
    while (child > 0 && ended == 0 && cli_clock_ns() < until &&
           atomic_load_explicit(&shared->acked, memory_order_acquire) < SURVIVE_ACKS) {
        const struct timespec pause = { 0, 500000 };
        nanosleep(&pause, NULL);
        ended = waitpid(child, &status, WNOHANG);
    }
    if (child > 0 && ended == 0) {
        (void)kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    }
    const uint32_t acked = atomic_load_explicit(&shared->acked, memory_order_acquire);
    (void)munmap(shared, sizeof *shared);
    const uint64_t start = cli_clock_ns();
    tour_l2_store s = { NULL, NULL };
    if (child > 0 && ended == 0) { s = tour_l2_open(folder, CELLAR_L2_WRITE_ON_SET); }
    *used = s.namespace != NULL;
    if (s.namespace == NULL) { return child > 0; }
    r->open_ns = cli_clock_ns() - start;
    const uint32_t first = 0;
    tour_l2_wait(s.namespace, &first, sizeof first);
    const base_vfs *v = base_vfs_system();
    unsigned char boot[16];
    r->no_boot_id = v->boot_id(v->ctx, boot) != 0;
    tour_l2_verify(s.namespace, acked, r);
    tour_l2_close(s);
    return true;
}

bool tour_l2_run(cellar *store, const cli_files *files, tour_l2_result *r)
{
    const char *tmp = getenv("TMPDIR");
    char folder[300];
    memset(r, 0, sizeof *r);
    const int n = snprintf(folder, sizeof folder, "%s/cellar-tour-XXXXXX",
                           tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof folder || mkdtemp(folder) == NULL) {
        r->skipped = "no temporary folder can be made; set TMPDIR";
        return true;
    }
    bool used = tour_l2_closed(store, files, folder, r), fine = true;
    tour_l2_wipe(folder);
    if (used) { fine = tour_l2_killed(folder, r, &used); }
    tour_l2_wipe(folder);
    (void)rmdir(folder);
    if (!used) { r->skipped = "the temporary folder has no room; set TMPDIR"; }
    return fine;
}
