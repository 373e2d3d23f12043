/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of the header about the process: fork at any time, use before main and at
 *         exit, little address space, threads with their signals blocked. Where the machine does
 *         not grant 1 GiB, a store of 1 GiB opens and works with less, or fails with a code. Its
 *         answers are right, and it continues when there is more memory.
 * Method: Children report by their exit code; a watchdog alarm ends a hung child. RLIMIT_DATA
 *         refuses private memory when it becomes writable, as vm.overcommit_memory=2 does for the
 *         whole machine: there every test of the suite is such a test. */
#include "tests/support/t.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

static cellar *open_bytes(uint64_t bytes, uint32_t no_threads)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = bytes, .host.no_threads = no_threads };
    return settings_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* ---- before main, at exit ---- */

static cellar *early;
static cellar_err early_err[3];

__attribute__((constructor)) static void before_main(void)
{
    early = open_bytes(1u << 20, 1);
    early_err[0] = early != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    early_err[1] = cellar_set(early, "k", 1, "early", 5, NULL);
    /* One get in some dozens is timed, and the first timed get allocates its histogram. It happens
     * here and not in the case below, which counts blocks. */
    for (int i = 0; i < 4096; i++) {
        char buf[8];
        (void)cellar_get(early, "k", 1, buf, sizeof buf, NULL);
    }
}

T_CASE(store_opened_before_main_works)
{
    char buf[8];
    T_EQ_I64(early_err[0], CELLAR_OK);
    T_EQ_I64(early_err[1], CELLAR_OK);
    T_EQ_I64(cellar_get(early, "k", 1, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_MEM(buf, "early", 5);
}

static cellar *late; /* of the child */

static void close_late(void)
{
    if (cellar_set(late, "k", 1, "v", 1, NULL) != CELLAR_OK) { _exit(20); }
    if (cellar_close(late) != CELLAR_OK) { _exit(21); }
    if (cellar_close(late) != CELLAR_E_CLOSED) { _exit(22); } /* a second close is harmless */
}

T_CASE(store_closed_at_exit_works)
{
    fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) {
        late = open_bytes(1u << 20, 1);
        atexit(close_late);
        exit(0);
    }
    int status = 0;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status));
    T_EQ_I64(WEXITSTATUS(status), 0);
}

/* ---- address space ---- */

static const char sanitizer = T_TSAN ? 't' : T_COST > 1 ? 'a' : '\0';

/* Runs in a child with a limit of its own; skipped under the sanitizers in `but`. */
static void with_less(int (*run)(void), const char *limit, const char *but)
{
    if (sanitizer != '\0' && strchr(but, sanitizer) != NULL) {
        T_SKIP("the sanitizer itself needs more");
        return;
    }
    if (t_patience() > 1) {
        T_SKIP("valgrind and qemu keep memory of their own");
        return;
    }
    fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { _exit(run()); }
    int status = 0;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        T_SKIP(limit);
        return;
    }
    T_EQ_I64(WEXITSTATUS(status), 0);
}

/* Limit the data of this process: pages are promised before use, as with vm.overcommit_memory=2.
 * Reserved addresses cost nothing; a page that becomes writable may be refused. */
static bool promise_at_most(uint64_t more)
{
    unsigned long long now = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*s %*s %*s %*s %*s %llu", &now) != 1) { return false; }
    fclose(f);
    const struct rlimit limit = { (rlim_t)(now * 4096 + more), RLIM_INFINITY };
    if (setrlimit(RLIMIT_DATA, &limit) != 0) { return false; }
    void *p = mmap(NULL, 2 * more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) { return false; }
    const bool refused = mprotect(p, 2 * more, PROT_READ | PROT_WRITE) != 0;
    munmap(p, 2 * more);
    return refused; /* since Linux 4.7 */
}

/* Check that each set succeeds and each hit is right. Return 0, or the number of the failed
 * check. */
static int fill_and_read(cellar *c, uint32_t keys, uint32_t *found)
{
    static unsigned char value[3000], buf[3000];
    *found = 0;
    for (uint32_t i = 0; i < keys; i++) {
        memcpy(value, &i, sizeof i);
        if (cellar_set(c, &i, sizeof i, value, 8 + i % 2900, NULL) != CELLAR_OK) { return 3; }
    }
    for (uint32_t i = 0; i < keys; i++) {
        size_t len = 0;
        if (cellar_get(c, &i, sizeof i, buf, sizeof buf, &len) != CELLAR_OK) { continue; }
        if (len != 8 + i % 2900 || memcmp(buf, &i, sizeof i) != 0) { return 4; }
        ++*found;
    }
    return cellar_integrity_check(c) == CELLAR_OK ? 0 : 5;
}

static int with_memory_promised_first(void)
{
    uint32_t found = 0;
    int rc;
    if (!promise_at_most(24u << 20)) { return 77; }
    cellar *c = open_bytes(16u << 20, 1); /* stays within its budget: nothing is refused */
    if (c == NULL) { return 2; }
    for (int i = 0; i < 2; i++) {
        if ((rc = fill_and_read(c, 40000, &found)) != 0) { return 10 + rc; }
    }
    if (found < 16 * 60 * 10486 / 1500 || cellar_close(c) != CELLAR_OK) { return 6; } /* 60 % */
    /* all 120,000 entries would fit, but the limit leaves only a tenth of the budget */
    c = open_bytes(256u << 20, 1);
    if (c == NULL) { return 7; }
    if ((rc = fill_and_read(c, 120000, &found)) != 0) { return 20 + rc; }
    /* It evicts instead. */
    if (found < 5000 || found > 24 * 1048576 / 1457 || cellar_clear(c) != CELLAR_OK) { return 8; }
    /* The system refuses segments, not the budget: a few may go beside the dead entries. */
    if ((rc = fill_and_read(c, 1000, &found)) != 0 || found < 995) { return 30 + rc; }
    return cellar_close(c) == CELLAR_OK ? 0 : 9;
}

T_ALONE(memory_is_committed_before_use)
{
    with_less(with_memory_promised_first, "RLIMIT_DATA counts no mappings here", "ta");
}

/* ---- 1 GiB where the machine grants less ---- */

#define VALUE 1000u
enum scarce { SPACE, MEMORY };

/* Return a line of /proc/self/status, in bytes. */
static uint64_t held(const char *name)
{
    char line[200];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) { return 0; }
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtoull(line + strlen(name) + 1, NULL, 10);
        }
    }
    fclose(f);
    return (uint64_t)kib << 10;
}

static bool limit_is(enum scarce what, struct rlimit *out)
{
    return (what == SPACE ? getrlimit(RLIMIT_AS, out) : getrlimit(RLIMIT_DATA, out)) == 0;
}

static bool limit_be(enum scarce what, const struct rlimit *limit)
{
    return (what == SPACE ? setrlimit(RLIMIT_AS, limit) : setrlimit(RLIMIT_DATA, limit)) == 0;
}

/* Set the soft limit to the held bytes plus `more`; it may be raised again. */
static bool leave(enum scarce what, uint64_t more)
{
    struct rlimit limit;
    const uint64_t now = held(what == SPACE ? "VmSize:" : "VmData:");
    if (now == 0 || !limit_is(what, &limit)) { return false; }
    const bool all = now + more > SIZE_MAX; /* 32 bits have fewer addresses */
    limit.rlim_cur = all ? RLIM_INFINITY : (rlim_t)(now + more);
    return limit_be(what, &limit);
}

/* Byte i is key * 31 + i, copied from a table of all numbers: a loop here took most of the test's
 * time. */
static void fill(unsigned char *value, uint32_t key)
{
    static unsigned char row[256 + VALUE];
    if (row[1] == 0) {
        for (uint32_t i = 0; i < sizeof row; i++) { row[i] = (unsigned char)i; }
    }
    memcpy(value, row + (key * 31 & 255), VALUE);
}

/* Set keys from..to; look up each and one earlier key. Return 0, or the number of the failed
 * check. */
static int use(cellar *c, uint32_t from, uint32_t to, uint32_t *refused)
{
    unsigned char value[VALUE], got[VALUE];
    size_t len;
    for (uint32_t key = from; key < to; key++) {
        fill(value, key);
        const cellar_err err = cellar_set(c, &key, sizeof key, value, VALUE, NULL);
        if (err != CELLAR_OK && err != CELLAR_E_NOMEM && err != CELLAR_E_SPACE) { return 10; }
        *refused += err != CELLAR_OK;
        for (uint32_t k = key, turn = 0; turn < 2; turn++, k = key / 2) {
            const cellar_err is = cellar_get(c, &k, sizeof k, got, sizeof got, &len);
            if (is == CELLAR_MISS) { continue; }
            if (is != CELLAR_OK || len != VALUE) { return 11; }
            fill(value, k);
            if (memcmp(value, got, VALUE) != 0) { return 12; }
            if (k == key && err != CELLAR_OK) { return 13; } /* a refused value misses */
        }
    }
    return cellar_integrity_check(c) == CELLAR_OK ? 0 : 14;
}

/* Set 200 MB of values where `more` bytes are left. `must_open`: the address space is
 * sufficient. */
static int a_gib_with(enum scarce what, uint64_t more, bool must_open)
{
    cellar_stats st = cellar_stats_default();
    struct rlimit all;
    cellar *c = NULL;
    uint32_t refused = 0;
    const uint64_t fits = more / 4 < UINT64_C(190000) * VALUE ? more / 4 / VALUE : 190000;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = UINT64_C(1) << 30,
                     .host.no_threads = 1 };
    if (!limit_is(what, &all) || !leave(what, more)) { return 77; }
    const cellar_err err = settings_open(&cfg, &c);
    if (err != CELLAR_OK) { return c == NULL && err == CELLAR_E_NOMEM && !must_open ? 0 : 2; }
    const int wrong = use(c, 0, 200000, &refused);
    if (wrong != 0) { return wrong; }
    if (cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK) { return 3; }
    if (st.used_bytes > more + (8u << 20)) { return 4; } /* otherwise the limit had no effect */
    if (st.entries < fits) { return 5; } /* the granted memory is used */
    if (!limit_be(what, &all)) { return 6; }
    refused = 0;
    const int later = use(c, 200000, 260000, &refused);
    if (later != 0) { return later + 10; }
    if (refused != 0) { return 7; }
    return cellar_close(c) == CELLAR_OK ? 0 : 8;
}

static struct { enum scarce what; uint64_t more; bool must_open; } less;

static int with_less_of_it(void) { return a_gib_with(less.what, less.more, less.must_open); }

static void in_a_child(enum scarce what, uint64_t more, bool must_open)
{
    less.what = what;
    less.more = more;
    less.must_open = must_open;
    with_less(with_less_of_it, "the limit cannot be set", "ta");
}

/* Less than the store prefers to reserve: 8 times the budget for each of five areas. */
T_CASE(open_of_1_gib_in_smaller_address_space_works)
{
    in_a_child(SPACE, UINT64_C(18) << 30, true);
    in_a_child(SPACE, UINT64_C(12) << 30, true);
    in_a_child(SPACE, UINT64_C(4) << 30, true);
}

T_CASE(open_of_1_gib_in_too_little_address_space_works_or_fails_with_code)
{
    in_a_child(SPACE, 300u << 20, false);
    in_a_child(SPACE, 2u << 20, false);
}

T_CASE(memory_refused_at_commit_returns_code)
{
    in_a_child(MEMORY, 64u << 20, true);
}

/* ---- threads, signals, descriptors ---- */

/* Return the blocked signals of the thread named cellar-upkeep, from /proc; 0 if it is not
 * there. */
static uint64_t upkeep_blocked(void)
{
    uint64_t blocked = 0;
    DIR *d = opendir("/proc/self/task");
    if (d == NULL) { return 0; }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[300], line[200];
        bool ours = false;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL) { continue; }
        while (fgets(line, sizeof line, f) != NULL) {
            if (strncmp(line, "Name:\tcellar-upkeep", 19) == 0) { ours = true; }
            if (ours && strncmp(line, "SigBlk:", 7) == 0) {
                blocked = strtoull(line + 7, NULL, 16);
            }
        }
        fclose(f);
    }
    closedir(d);
    return blocked;
}

T_CASE(maintenance_thread_is_named_and_blocks_signals)
{
    cellar *c = open_bytes(1u << 20, 0);
    T_REQUIRE(c != NULL);
    uint64_t blocked = 0;
    /* the thread names itself when it first runs */
    for (int i = 0; i < 120000 && blocked == 0; i++) {
        blocked = upkeep_blocked();
        usleep(500);
    }
    const int some[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGCHLD, SIGPIPE };
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        T_CHECK((blocked >> (some[i] - 1) & 1) == 1);
    }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 0), CELLAR_OK);
    /* the thread has ended; /proc forgets it later */
    for (int i = 0; i < 120000 && blocked != 0; i++) {
        blocked = upkeep_blocked();
        usleep(500);
    }
    T_EQ_U64(blocked, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) { return 0; }
    while (readdir(d) != NULL) { n++; }
    closedir(d);
    return n;
}

T_CASE(open_store_holds_no_descriptor)
{
    const unsigned before = open_descriptors();
    cellar *c = open_bytes(8u << 20, 0);
    T_REQUIRE(c != NULL);
    for (int i = 0; i < 1000; i++) { (void)cellar_set(c, &i, sizeof i, "x", 1, NULL); }
    T_EQ_U64(open_descriptors(), before);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(open_descriptors(), before);
}

static _Atomic unsigned ticks;

static void on_tick(int sig) { (void)sig; atomic_fetch_add(&ticks, 1); }

T_CASE(signal_at_any_moment_does_no_harm)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_tick; /* without SA_RESTART: calls see EINTR */
    T_REQUIRE(sigaction(SIGALRM, &sa, NULL) == 0);
    const struct itimerval every = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
    cellar *c = open_bytes(4u << 20, 0);
    T_REQUIRE(c != NULL && setitimer(ITIMER_REAL, &every, NULL) == 0);
    char buf[32];
    for (uint32_t i = 0; i < 400000 || atomic_load(&ticks) < 50; i++) {
        const uint32_t key = i % 5000;
        if (!T_EQ_I64(cellar_set(c, &key, sizeof key, &i, sizeof i, NULL), CELLAR_OK)) { break; }
        const cellar_err err = cellar_get(c, &key, sizeof key, buf, sizeof buf, NULL);
        if (!T_EQ_I64(err, CELLAR_OK) || !T_EQ_MEM(buf, &i, sizeof i)) { break; }
    }
    T_REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
    T_CHECK(atomic_load(&ticks) >= 50);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_MAIN("api_process")
