/* SPDX-License-Identifier: MIT
 *
 * Aim:    l1_open halves its reservation until the system grants it: a store works under a tight
 *         RLIMIT_AS; 200 stores are open at the same time; a failed open leaves nothing behind.
 * Method: children with ever smaller limits; stores of many budgets; read the stored bytes back. */
#include "tests/support/l1_kit.h"

#include <sys/resource.h>
#include <sys/wait.h>

static bool tools_need_the_space(void)
{
    if (KIT_SLOW == 1) { return false; }
    T_SKIP("sanitizers reserve terabytes themselves");
    return true;
}

static uint64_t address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (f == NULL || fscanf(f, "%lu", &pages) != 1) { pages = 0; }
    if (f != NULL) { fclose(f); }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void work(kit *k, uint64_t budget)
{
    uint64_t n = budget / 300, hits = 0;
    for (uint64_t id = 0; id < n; id++) {
        cellar_err err = kit_put(k, id, id, 100);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE);
    }
    for (uint64_t id = 0; id < n; id++) { hits += kit_has(k, id); }
    T_CHECK(hits > n / 3);
    T_CHECK(kit_used(k) <= budget);
}

/* Open in a child with at most `more` further bytes of address space. 0 opened, 1 refused, 2
 * error. */
static int open_within(uint64_t budget, uint64_t more)
{
    fflush(stdout);
    pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) {
        struct rlimit limit = {address_space() + more, address_space() + more};
        kit k;
        kit_init(&k, budget, t_seed());
        if (setrlimit(RLIMIT_AS, &limit) != 0) { _exit(2); }
        cellar_err err = kit_try_open(&k, NULL);
        if (err == CELLAR_OK) {
            work(&k, budget);
            kit_close(&k);
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            T_EQ_U64(kit_used(&k), 0);
            T_CHECK(k.c == NULL);
        }
        fflush(stdout);
        _exit(t_failed() != 0 ? 2 : err == CELLAR_OK ? 0 : 1);
    }
    int status = 0;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

T_CASE(open_halves_its_reservation)
{
    if (tools_need_the_space()) { return; }
    static const uint64_t budgets[] = {1, 4, 16, 64};
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        const uint64_t budget = KIT_MIB(budgets[i]);
        uint64_t least = 0;
        unsigned opened = 0, refused = 0;
        for (uint64_t more = KIT_MIB(4096); more >= KIT_KIB(256); more /= 2) {
            int got = open_within(budget, more);
            T_CHECK(got == 0 || got == 1);
            if (got == 0) { least = more; }
            opened += got == 0;
            refused += got == 1;
            T_CHECK(got == 1 || refused == 0); /* less space never helps */
        }
        printf("# %2" PRIu64 " MiB: opens within %" PRIu64
               " KiB of address space, %u refusals below\n", budgets[i],
               least >> 10, refused);
        T_CHECK(opened >= 3 && refused >= 1);
        T_CHECK(least <= budget * 4);
    }
}

static kit many[200];

static unsigned open_many(uint64_t budget)
{
    unsigned opened = 0;
    for (unsigned i = 0; i < 200; i++) {
        kit_init(&many[i], budget, t_seed() + i);
        cellar_err err = kit_try_open(&many[i], NULL);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        opened += err == CELLAR_OK;
        if (err != CELLAR_OK) { T_EQ_U64(kit_used(&many[i]), 0); }
    }
    return opened;
}

/* Check that each store holds its own entries and none of another. */
static void use_and_close_many(void)
{
    unsigned char buf[128];
    size_t len;
    for (unsigned i = 0; i < 200; i++) {
        for (uint64_t id = 0; many[i].c != NULL && id < 200; id++) {
            T_EQ_I64(kit_put(&many[i], id, id + i, 100), CELLAR_OK);
        }
    }
    for (unsigned i = 0; i < 200; i++) {
        for (uint64_t id = 0; many[i].c != NULL && id < 200; id++) {
            T_EQ_I64(kit_get(&many[i], id, buf, sizeof buf, &len), CELLAR_OK);
            T_CHECK(kit_is(buf, len, id, id + i));
        }
    }
    for (unsigned i = 0; i < 200; i++) {
        if (many[i].c != NULL) { kit_close(&many[i]); }
    }
}

T_CASE(two_hundred_stores_work_together)
{
    T_EQ_U64(open_many(KIT_MIB(2)), 200);
    use_and_close_many();
    if (t_patience() > 1) { return; } /* valgrind and qemu lack the address space */
    T_EQ_U64(open_many(KIT_MIB(64)), 200);
    use_and_close_many();
}

/* The first stores get all they ask for, later ones the rest, the last ones nothing. */
T_CASE(many_stores_share_little_address_space)
{
    if (tools_need_the_space()) { return; }
    struct rlimit before, limit;
    T_REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
    limit = before;
    limit.rlim_cur = address_space() + (rlim_t)KIT_MIB(4096);
    T_REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    unsigned opened = open_many(KIT_MIB(2));
    T_REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
    printf("# %u of 200 stores of 2 MiB within 4 GiB of address space\n", opened);
    T_CHECK(opened >= 15 && opened < 200);
    use_and_close_many();
}

T_ONE_THREAD;
T_MAIN("l1_reserve")
