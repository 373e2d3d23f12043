/* SPDX-License-Identifier: MIT
 *
 * Aim:    the budget is a hard bound: charges never exceed it, resident memory follows it, and
 *         payload fills at least three fifths of even the smallest budget.
 * Method: threads set values of 1 B to 8 MiB, skewed, over changing keys. A watcher reads the
 *         charges all the time and resident memory often. Sizes change in phases, because phases
 *         make allocators grow. Then stores of 1 MiB hold values of many sizes. */
#include "tests/support/l1_kit.h"

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

static void storm(uint64_t budget, uint64_t ms, bool resident)
{
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
    b.until_ns = kit_deadline_ns(ms);
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
    if (resident && KIT_SLOW == 1 && t_patience() == 1) { T_CHECK(growth <= 1.03); }
    kit_close(&b.k);
    free(b.bytes);
}

T_CASE(charges_and_memory_stay_below_64_mib) { storm(KIT_MIB(64), 2500, true); }
T_CASE(charges_stay_below_40_mib) { storm(KIT_MIB(40), 800, false); }

/* ---- the least budget ------------------------------------------------------------------------ */
T_ALONE(payload_fills_most_of_one_mib)
{
    static const size_t sizes[] = {50,   100,  200,  500,  1000, 1800, 2100, 2500,  3900,
                                   4100, 5450, 7900, 8000, 8200, 9000, 12300, 30000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        kit k;
        kit_open(&k, KIT_MIB(1), NULL);
        const size_t len = sizes[i];
        uint64_t n = KIT_MIB(3) / (len + 16), payload = 0;
        for (uint64_t id = 0; id < n; id++) {
            T_EQ_I64(kit_put(&k, id, id, len), CELLAR_OK);
            T_CHECK(kit_used(&k) <= KIT_MIB(1));
        }
        for (uint64_t id = 0; id < n; id++) { payload += kit_has(&k, id) ? len + 16 : 0; }
        printf("# values of %5zu: %.1f %% of 1 MiB is payload\n", len,
               (double)payload * 100 / (double)KIT_MIB(1));
        T_CHECK(payload * 100 >= KIT_MIB(1) * 60);
        kit_close(&k);
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
