/* SPDX-License-Identifier: MIT
 *
 * Aim:    A store that was killed finds each entry on disk as soon as its open returns. An open
 *         waits open_ready_ms for the index, whatever the disk does; then reads may miss, each of
 *         them is counted, and cellar_l2_ready waits for the rest.
 * Method: A child writes through and is killed. The reads of the disk, of all threads or of those
 *         of the store, are held or slowed down by a function in place of pread. */
#include "tests/support/disk_store.h"
#include "tests/support/figures.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_l2.h"
#include "cellar_observe.h"

#define KEYS 2000u

/* Long enough that most entries are in sealed segments: those of the last slot need no read. */
typedef struct padded { uint32_t key; char rest[252]; } padded;

static _Atomic bool held; /* reads of other threads than `opener` wait */
static _Atomic bool slow; /* each read takes longer than the shortest open_ready_ms */
static pthread_t opener;

static int64_t real_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    const struct iovec to = { buf, n };
    const int64_t until_ms = real_ms() + 2;
    while (atomic_load(&slow) && real_ms() < until_ms) {}
    while (atomic_load(&held) && !pthread_equal(pthread_self(), opener)) { (void)usleep(100); }
    return preadv(fd, &to, 1, at);
}

static settings config(bool threads)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = 4 * CELLAR_L2_BYTES_MIN,
                     .l2.write = CELLAR_L2_WRITE_THROUGH, .l2.open_ready_ms = CELLAR_TTL_NONE,
                     .host.clock = read_clock, .host.no_threads = !threads };
    return cfg;
}

static uint32_t found(cellar *c)
{
    uint32_t n = 0;
    padded value;
    size_t len;
    for (uint32_t k = 0; k < KEYS; k++) {
        n += cellar_get(c, &k, sizeof k, &value, sizeof value, &len) == CELLAR_OK && value.key == k;
    }
    return n;
}

/* Write all keys and die. */
static void live_once(bool threads)
{
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) {
        const settings cfg = config(threads);
        cellar *c = NULL;
        if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
        for (uint32_t k = 0; k < KEYS; k++) {
            const padded value = { .key = k };
            if (cellar_set(c, &k, sizeof k, &value, sizeof value, NULL) != CELLAR_OK) { _exit(2); }
        }
        (void)raise(SIGKILL);
    }
    int status = 0;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_CASE(killed_store_finds_every_entry_when_its_open_returns)
{
    for (int threads = 0; threads < 2; threads++) {
        store_begin();
        live_once(threads != 0);
        const settings cfg = config(threads != 0);
        cellar *c = NULL;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        T_EQ_I64(cellar_l2_ready(c, 0), CELLAR_OK);
        T_EQ_U64(found(c), KEYS);
        T_EQ_U64(figure(c, "cellar_l2_rebuild_misses_total"), 0);
        shut(c);
    }
}

T_CASE(open_returns_while_the_disk_holds_the_rebuild)
{
    store_begin();
    live_once(true);
    settings cfg = config(true);
    cfg.l2.open_ready_ms = 1;
    cellar *c = NULL;
    opener = pthread_self();
    atomic_store(&held, true);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK); /* a watchdog ends an open that hangs */
    T_EQ_I64(cellar_l2_ready(c, 0), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_l2_ready(c, 5), CELLAR_E_TIMEOUT);
    const uint32_t known = found(c); /* those of the last slot */
    T_CHECK(known < KEYS / 2);
    T_EQ_U64(figure(c, "cellar_l2_rebuild_misses_total"), KEYS - known);
    atomic_store(&held, false);
    T_EQ_I64(cellar_l2_ready(c, CELLAR_TTL_NONE), CELLAR_OK);
    T_EQ_U64(found(c), KEYS);
    uint32_t none = KEYS;
    T_EQ_I64(cellar_contains(c, &none, sizeof none), CELLAR_MISS);
    T_EQ_U64(figure(c, "cellar_l2_rebuild_misses_total"), KEYS - known);
    shut(c);
}

/* Without threads the open reads the index itself. Ticks, or cellar_l2_ready, read the rest. */
T_ALONE(tick_returns_pending_while_disk_has_work)
{
    for (int ready = 0; ready < 2; ready++) {
        store_begin();
        live_once(false);
        settings cfg = config(false);
        cfg.l2.open_ready_ms = 1;
        cellar *c = NULL;
        atomic_store(&slow, true);
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        atomic_store(&slow, false);
        cellar_stats st = cellar_stats_default();
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        T_EQ_U64(st.l2_rebuilding, 1);
        T_EQ_U64(figure(c, "cellar_l2_index_rebuilding"), 1);
        T_EQ_I64(cellar_l2_ready(c, 0), CELLAR_E_TIMEOUT);
        uint32_t pending = 0;
        while (ready == 0 && cellar_tick(c, 0, NULL) == CELLAR_PENDING) { pending++; }
        T_CHECK(pending > 0 || ready != 0);
        T_EQ_I64(cellar_l2_ready(c, ready != 0 ? CELLAR_TTL_NONE : 0), CELLAR_OK);
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        T_EQ_U64(st.l2_rebuilding, 0);
        T_EQ_U64(figure(c, "cellar_l2_index_rebuilding"), 0);
        T_EQ_U64(found(c), KEYS);
        shut(c);
    }
}

T_CASE(ready_refuses_what_it_cannot_wait_for)
{
    store_begin();
    settings cfg = config(false);
    cfg.config.l2_path = NULL;
    cfg.config.l2_bytes = 0;
    cfg.l2.write = CELLAR_L2_WRITE_DEFAULT;
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_l2_ready(c, 0), CELLAR_DISABLED);
    T_EQ_I64(cellar_l2_ready(c, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_l2_ready(NULL, 0), CELLAR_E_INVAL);
    cellar *ns = NULL;
    T_EQ_I64(cellar_namespace_open(c, "n", NULL, &ns), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_l2_ready(ns, 0), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    store_end();
}

T_MAIN("api_ready")
