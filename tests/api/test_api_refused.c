/* SPDX-License-Identifier: MIT
 *
 * Aim:    Where the machine does not grant 1 GiB, a store of 1 GiB opens and works with less, or
 *         fails with a code. Its answers are right, and it continues when there is more memory.
 * Method: Children under RLIMIT_AS (address space) and RLIMIT_DATA. RLIMIT_DATA refuses private
 *         memory when it becomes writable, as vm.overcommit_memory=2 does for the whole machine. On
 *         a machine with that setting every test of the suite is such a test. */
#include "tests/support/t.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

#define VALUE 1000u
enum { NOT_HERE = 77 };
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
    if (!limit_is(what, &all) || !leave(what, more)) { return NOT_HERE; }
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

static void in_a_child(enum scarce what, uint64_t more, bool must_open)
{
    if (T_COST > 1) {
        T_SKIP("a sanitizer ends the program where malloc says no");
        return;
    }
    if (t_patience() > 1) {
        T_SKIP("valgrind and qemu keep memory of their own");
        return;
    }
    fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { _exit(a_gib_with(what, more, must_open)); }
    int status = 0;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) {
        T_SKIP("the limit cannot be set");
        return;
    }
    T_EQ_I64(WEXITSTATUS(status), 0);
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

T_MAIN("api_refused")
