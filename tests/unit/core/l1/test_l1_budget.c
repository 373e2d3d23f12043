/* SPDX-License-Identifier: MIT
 *
 * Aim:    the budget is a hard bound: charges never exceed it, and resident memory follows it.
 *         l1_open halves its reservation until the system grants it: a store works under a tight
 *         RLIMIT_AS, and a failed open leaves nothing behind.
 * Method: threads set values of 1 B to 8 MiB, skewed, over changing keys. A watcher reads the
 *         charges all the time and resident memory often. Sizes change in phases, because phases
 *         make allocators grow. Children with ever smaller limits open stores. */
#include "tests/support/l1_kit.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { WRITERS = 3, BIGGEST = 8 << 20 };

static struct {
    kit k;
    uint64_t until_ns, start_ns;
    unsigned char *bytes; /* BIGGEST of them, touched before the first measurement */
    _Atomic uint32_t stop, phase;
    _Atomic uint64_t over, samples, peak_rss, sets, failed;
} b;

static void watcher(void *arg)
{
    (void)arg;
    while (atomic_load(&b.stop) == 0) {
        for (unsigned i = 0; i < 2000; i++) {
            uint64_t used = kit_used(&b.k), limit = base_load_rlx(&b.k.account.limit);
            if (used > limit) { atomic_fetch_add(&b.over, 1); }
            atomic_fetch_add_explicit(&b.samples, 1, memory_order_relaxed);
            base_pause();
        }
        uint64_t rss = kit_rss_bytes();
        if (rss > atomic_load(&b.peak_rss)) { atomic_store(&b.peak_rss, rss); }
        base_sleep_ns(200000);
    }
}

/* Draw a size from one of twelve distributions: zipf-like tails, two sizes, one size, all large. */
static size_t size_by(unsigned law, kit_rng *r)
{
    uint64_t u = kit_next(r);
    switch (law % 12) {
    case 0: return 1 + kit_below(r, 100);
    case 1: return (size_t)1 << kit_below(r, 17);
    case 2: return kit_one_in(r, 2) ? 64 : 4096;
    case 3: return 1 + kit_below(r, 300000);
    case 4: return 1024;
    case 5: return 1 + kit_below(r, (uint64_t)1 << kit_below(r, 23));
    case 6: return kit_one_in(r, 100) ? BIGGEST : 200;
    case 7: return 255 + u % 3;
    case 8: return 8191 + u % 3;
    case 9: return 1 + kit_below(r, 2000);
    case 10: return 262140 + u % 9;
    default: return kit_one_in(r, 10) ? (size_t)kit_below(r, BIGGEST) : 1 + kit_below(r, 50);
    }
}

static void writer(void *arg)
{
    kit_rng r = {t_seed() * 3 + (uint64_t)(uintptr_t)arg};
    while (kit_time_left(b.until_ns) ||
           base_load_rlx(&b.k.account.peak) <= base_load_rlx(&b.k.account.limit) / 10 * 9) {
        unsigned law = (unsigned)((base_now_ns() - b.start_ns) * 24 / (b.until_ns - b.start_ns));
        for (unsigned i = 0; i < 20; i++) {
            kit_key key;
            l1_put_spec p =
                {.value = b.bytes, .value_len = size_by(law, &r), .deadline_ms = BASE_NEVER_MS,
                             .change = L1_CHANGE_SET};
            if (kit_one_in(&r, 10)) { p.deadline_ms = kit_now(&b.k) + (int64_t)kit_below(&r, 30); }
            if (kit_one_in(&r, 10)) { p.flags = L1_WANT_VERSION; }
            cellar_err err = l1_put(b.k.c, kit_key_of(&b.k, &key, 0, kit_below(&r, 200000)), &p);
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
            atomic_fetch_add_explicit(&b.sets, 1, memory_order_relaxed);
            if (err != CELLAR_OK) { atomic_fetch_add(&b.failed, 1); }
            if (kit_one_in(&r, 8)) { (void)kit_del(&b.k, kit_below(&r, 200000)); }
        }
        if (kit_one_in(&r, 64)) { (void)l1_tick(b.k.c, 1000); }
    }
}

T_CASE(charges_and_memory_stay_below_64_mib)
{
    const uint64_t budget = KIT_MIB(64);
    memset(&b, 0, sizeof b);
    b.bytes = malloc(BIGGEST);
    T_REQUIRE(b.bytes != NULL);
    memset(b.bytes, 0x5a, BIGGEST);
    kit_init(&b.k, budget, t_seed());
    kit_real_clock(&b.k);
    (void)kit_rss_bytes();
    uint64_t before = kit_rss_bytes();
    T_REQUIRE(kit_try_open(&b.k, NULL) == CELLAR_OK);
    b.start_ns = base_now_ns();
    b.until_ns = kit_deadline_ns(2500);
    kit_team team = {.n = 0}, watch = {.n = 0};
    kit_start(&watch, watcher, NULL);
    for (size_t i = 0; i < WRITERS; i++) { kit_start(&team, writer, (void *)i); }
    kit_join(&team);
    atomic_store(&b.stop, 1);
    kit_join(&watch);
    double growth = (double)(atomic_load(&b.peak_rss) - before) / (double)budget;
    printf("# %" PRIu64 " MiB: %" PRIu64 " sets, %" PRIu64 " without room, %" PRIu64
           " samples, account's peak %.4f, "
           "resident growth %.4f of the budget\n", budget >> 20, atomic_load(&b.sets),
           atomic_load(&b.failed),
           atomic_load(&b.samples), (double)base_load_rlx(&b.k.account.peak) / (double)budget,
           growth);
    T_EQ_U64(atomic_load(&b.over), 0);
    T_CHECK(base_load_rlx(&b.k.account.peak) <= budget);
    T_CHECK(base_load_rlx(&b.k.account.peak) > budget / 10 * 9);
    T_CHECK(atomic_load(&b.failed) * 200 <= atomic_load(&b.sets));
    if (KIT_SLOW == 1 && t_patience() == 1) { T_CHECK(growth <= 1.03); }
    kit_close(&b.k);
    free(b.bytes);
}

/* ---- address space --------------------------------------------------------------------------- */
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

T_CASE(open_below_least_budget_is_refused)
{
    kit k;
    kit_init(&k, 8192, t_seed());
    T_EQ_I64(kit_try_open(&k, NULL), CELLAR_E_INVAL);
    T_CHECK(k.c == NULL);
    T_EQ_U64(kit_used(&k), 0);
}

/* Other parts of the store charge the same budget. */
T_ALONE(make_room_evicts_for_other_modules)
{
    kit k;
    kit_open(&k, KIT_MIB(4), NULL);
    for (uint64_t id = 0; id < 40000; id++) { T_EQ_I64(kit_put(&k, id, id, 100), CELLAR_OK); }
    for (uint64_t bytes = 4096; bytes <= KIT_MIB(2); bytes *= 2) {
        T_CHECK(l1_make_room(k.c, bytes));
        T_CHECK(base_charge(&k.account, BASE_MOD_NAMESPACE, bytes));
        T_CHECK(kit_used(&k) <= KIT_MIB(4));
        base_uncharge(&k.account, BASE_MOD_NAMESPACE, bytes);
    }
    T_CHECK(!l1_make_room(k.c, KIT_MIB(5)));
    T_EQ_I64(kit_put(&k, 1, 1, 100), CELLAR_OK);
    kit_close(&k);
}

T_MAIN("l1_budget")
