/* SPDX-License-Identifier: MIT
 *
 * Aim:    what holds when there are more keys than slots, more threads than cores, and no memory:
 *         the heavy user stays bounded, no window is above its bound, nothing is allocated later.
 * Method: turned clock for floods; real threads whose admissions are recorded with the reading each
 *         decision used, and a window anchored at every one of them; the n-th allocation fails.
 *         LIMIT_FLOOD=keys and LIMIT_CHECKS=n for the full sizes (100000000, 1000000000). */
#include <pthread.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "tests/limit_kit.h"

/* ---- key explosion ---- */

/* The thread sanitizer takes fifty times as long for each. */
static uint64_t flood_keys(void)
{
    return t_env_u64("LIMIT_FLOOD", BASE_TSAN ? 250000 : 4000000);
}

/* Heavy users at `rate` a second each beside a flood of keys that come once; the table has room for
 * `bytes`. Returns the largest number admitted to one heavy user. */
static uint64_t flood(cellar_rl_rule rule, uint64_t bytes, uint32_t heavy, double heavy_per_s,
                      uint64_t flood_per_s, uint64_t total, uint64_t *wrongly)
{
    cellar_rl_config c = kit_config();
    cellar_limiter *l;
    c.max_bytes = bytes;
    T_REQUIRE(cellar_rl_open(&c, &rule, 1, &l) == CELLAR_OK);
    uint64_t *got = calloc(heavy, sizeof *got);
    const uint64_t blocks = base_live_blocks(), step_ns = KIT_S / flood_per_s;
    const uint64_t every = (uint64_t)((double)flood_per_s / (heavy_per_s * heavy));
    uint32_t next = 0;
    *wrongly = 0;
    for (uint64_t i = 0; i < total; i++) {
        const uint64_t key[2] = { i, 0x666c6f6f64 };
        *wrongly += cellar_rl_check(l, key, sizeof key, 1, NULL) != CELLAR_OK;
        kit_pass(0);
        atomic_fetch_add(&kit.now_ns, step_ns);
        if (i % every != 0) { continue; }
        const uint64_t user[2] = { next, 0x7573657200 };
        got[next] += cellar_rl_check(l, user, sizeof user, 1, NULL) == CELLAR_OK;
        next = next + 1 < heavy ? next + 1 : 0;
    }
    T_EQ_U64(base_live_blocks(), blocks); /* nothing was allocated */
    uint64_t most = 0;
    for (uint32_t i = 0; i < heavy; i++) { most = got[i] > most ? got[i] : most; }
    free(got);
    kit_close(l);
    return most;
}

static void limit_explosion_short_debts(void)
{
    /* 10/s burst 10, 1000 users at 20/s, 5 M new keys a second; full size: 100 M, 16 MB. */
    const uint64_t total = flood_keys(), per_s = 5000000;
    const uint64_t scale = 100000000 / (total < 1000000 ? 1000000 : total);
    uint64_t wrongly;
    const uint64_t most = flood(cellar_rl_gcra(10, KIT_S, 10), (16u << 20) / scale,
                                1000 / (uint32_t)scale, 20, per_s / scale, total, &wrongly);
    const double seconds = (double)total / (double)(per_s / scale);
    printf("# heavy admitted %" PRIu64 " of %.0f, wrongly denied %" PRIu64 "\n", most,
           10 + 10 * seconds, wrongly);
    T_CHECK((double)most <= 1.1 * (10 + 10 * seconds));
    T_EQ_U64(wrongly, 0);
}

static void limit_explosion_long_debts(void)
{
    /* 10/min burst 10, 200 abusers at 1/s, every slot live and 94 % of the keys too many. */
    const uint64_t total = flood_keys() / 5, scale = 20000000 / (total < 200000 ? 200000 : total);
    uint64_t wrongly;
    const uint64_t most = flood(cellar_rl_gcra(10, CELLAR_RL_MINUTE, 10), (16u << 20) / scale,
                                200 / (uint32_t)scale, 1, 500000 / scale, total, &wrongly);
    const double seconds = (double)total / (double)(500000 / scale);
    const double bound = 10 + seconds / 6;
    printf("# abusers admitted %" PRIu64 " of %.1f, wrongly denied %" PRIu64 "\n", most, bound,
           wrongly);
    T_CHECK((double)most <= 1.1 * bound + 1);
    T_EQ_U64(wrongly, 0);
}

static void limit_fill(void)
{
    const cellar_rl_rule rule = cellar_rl_gcra(1, CELLAR_RL_DAY, 10);
    cellar_rl_config c = kit_config();
    c.max_bytes = 4u << 20;
    cellar_limiter *l;
    T_REQUIRE(cellar_rl_open(&c, &rule, 1, &l) == CELLAR_OK);
    cellar_rl_stats s = CELLAR_RL_STATS_INIT;
    T_CHECK(cellar_rl_stats_get(l, &s) == CELLAR_OK && s.bytes <= c.max_bytes);
    uint64_t n = 0, before = 0;
    const uint64_t steps[3] = { s.slots * 50 / 100, s.slots * 75 / 100, s.slots * 94 / 100 };
    for (int i = 0; i < 3; i++) {
        const uint64_t from = n;
        for (; n < steps[i]; n++) { (void)cellar_rl_check(l, &n, sizeof n, 1, NULL); }
        T_CHECK(cellar_rl_stats_get(l, &s) == CELLAR_OK);
        printf("# up to %" PRIu64 " of %" PRIu64 " slots: %" PRIu64 " live replaced\n", n, s.slots,
               s.live_evicted - before);
        if (i < 2) { T_EQ_U64(s.live_evicted, 0); }
        if (i == 2) { T_CHECK((s.live_evicted - before) * 50 < n - from + steps[1]); }
        before = s.live_evicted;
    }
    kit_close(l);
}

static void policies_of_a_full_table(void)
{
    const cellar_rl_rule rules[2] = { cellar_rl_gcra(1, CELLAR_RL_DAY, 10),
                                      cellar_rl_sliding_log(10, CELLAR_RL_DAY) };
    for (uint32_t policy = 0; policy < 3; policy++) {
        for (uint32_t wide = 0; wide < 2; wide++) {
            cellar_rl_config c = kit_config();
            c.max_bytes = 64u << 10;
            c.overflow = policy;
            cellar_limiter *l;
            T_REQUIRE(cellar_rl_open(&c, &rules[wide], 1, &l) == CELLAR_OK);
            cellar_rl_stats s = CELLAR_RL_STATS_INIT;
            T_CHECK(cellar_rl_stats_get(l, &s) == CELLAR_OK);
            uint64_t denied = 0;
            for (uint64_t n = 0; n < 3 * s.slots; n++) {
                denied += cellar_rl_check(l, &n, sizeof n, 1, NULL) == CELLAR_LIMITED;
            }
            T_CHECK(cellar_rl_stats_get(l, &s) == CELLAR_OK);
            T_CHECK((policy == CELLAR_RL_DENY_NEW) == (denied > 0));
            T_EQ_U64(s.overflow_denied, denied);
            T_CHECK((policy == CELLAR_RL_ALLOW_NEW) == (s.overflow_allowed > 0));
            T_CHECK((policy == CELLAR_RL_LEAST_LOSS) == (s.live_evicted > 0));
            kit_close(l);
        }
    }
}

/* ---- windows, from real threads ---- */

enum { WIN_THREADS = 16, WIN_MAX = 1 << 17 };

static struct win {
    cellar_limiter *l;
    uint64_t checks, seed;
    _Atomic uint64_t count[4]; /* admissions of each key */
    uint64_t *at[4];
} win;

static void *win_work(void *arg)
{
    uint64_t rng = win.seed + (uint64_t)(uintptr_t)arg * 977;
    for (uint64_t i = 0; i < win.checks; i++) {
        const uint64_t k = kit_below(&rng, 4);
        const char key[2] = { 'w', (char)('0' + k) };
        cellar_rl_result r;
        if (cellar_rl_check(win.l, key, 2, 1, &r) == CELLAR_OK) {
            const uint64_t n = atomic_fetch_add(&win.count[k], 1);
            if (n < WIN_MAX) { win.at[k][n] = r.now_ns; }
        }
        if (i % 64 == 0) {
            const uint64_t jump = kit_below(&rng, 64) == 0 ? 3 * KIT_MS : kit_below(&rng, 20000);
            atomic_fetch_add(&kit.now_ns, jump);
        }
    }
    return NULL;
}

static int win_order(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Most units admitted in any window (t - w, t]. */
static uint64_t win_worst(uint64_t *at, uint64_t n, uint64_t w)
{
    uint64_t worst = 0, from = 0;
    qsort(at, n, sizeof *at, win_order);
    for (uint64_t i = 0; i < n; i++) {
        while (at[from] + w <= at[i]) { from++; }
        if (i - from + 1 > worst) { worst = i - from + 1; }
    }
    return worst;
}

static void window_run(cellar_rl_rule rule, uint64_t bound)
{
    pthread_t t[WIN_THREADS];
    memset(&win, 0, sizeof win);
    win.l = kit_open1(rule);
    win.checks = t_env_u64("LIMIT_CHECKS", BASE_TSAN ? 200000 : 1600000) / WIN_THREADS / 5;
    win.seed = t_seed();
    for (int k = 0; k < 4; k++) { win.at[k] = malloc(WIN_MAX * sizeof(uint64_t)); }
    for (uintptr_t i = 0; i < WIN_THREADS; i++) {
        T_REQUIRE(!pthread_create(&t[i], NULL, win_work, (void *)i));
    }
    for (int i = 0; i < WIN_THREADS; i++) { pthread_join(t[i], NULL); }
    for (int k = 0; k < 4; k++) {
        const uint64_t n = atomic_load(&win.count[k]);
        const uint64_t worst = win_worst(win.at[k], n < WIN_MAX ? n : WIN_MAX, rule.period_ns);
        T_CHECK(n > bound);
        if (!T_CHECK(worst <= bound)) {
            printf("# algorithm %u: %" PRIu64 " in one window, bound %" PRIu64 "\n", rule.algorithm,
                   worst, bound);
        }
        free(win.at[k]);
    }
    kit_close(win.l);
}

static void limit_window_checker(void)
{
    const uint64_t w = KIT_MS;
    window_run(cellar_rl_gcra(50, w, 50), 99);
    window_run(cellar_rl_rule_capped(50, w, 20), 50);
    window_run(cellar_rl_sliding_log(50, w), 50);
    window_run(cellar_rl_sliding_count(50, w), 99);
    window_run(cellar_rl_gcra(50, w, 7), 7 + 50 - 1);
}

/* ---- chains from many threads ---- */

static struct { cellar_limiter *users, *site; _Atomic uint64_t yes, by_user[4]; } chain;
static void *chain_work(void *arg)
{
    uint64_t rng = t_seed() + (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 4000; i++) {
        const uint64_t k = kit_below(&rng, 4);
        const cellar_rl_link both[2] = { { chain.users, &k, sizeof k, 1 },
                                         { chain.site, "site", 4, 1 } };
        if (cellar_rl_check_chain(both, 2, NULL, NULL) == CELLAR_OK) {
            atomic_fetch_add(&chain.yes, 1);
            atomic_fetch_add(&chain.by_user[k], 1);
        }
    }
    return NULL;
}
static void limit_chain_never_over(void)
{
    pthread_t t[8];
    memset(&chain, 0, sizeof chain);
    chain.users = kit_open1(cellar_rl_gcra(1, CELLAR_RL_HOUR, 300)); /* time stands still */
    chain.site = kit_open1(cellar_rl_gcra(1, CELLAR_RL_HOUR, 1000));
    for (uintptr_t i = 0; i < 8; i++) {
        T_REQUIRE(!pthread_create(&t[i], NULL, chain_work, (void *)i));
    }
    for (int i = 0; i < 8; i++) { pthread_join(t[i], NULL); }
    T_CHECK(atomic_load(&chain.yes) <= 1000);
    for (int k = 0; k < 4; k++) { T_CHECK(atomic_load(&chain.by_user[k]) <= 300); }
    /* What was taken back is there again: all that passed is all that is missing. */
    uint64_t left = 0;
    while (cellar_rl_check(chain.site, "site", 4, 1, NULL) == CELLAR_OK) { left++; }
    T_EQ_U64(left + atomic_load(&chain.yes), 1000);
    kit_close(chain.users);
    kit_close(chain.site);
}

/* ---- everything at once: only that nothing breaks ---- */

static cellar_limiter *storm;
static void *storm_work(void *arg)
{
    uint64_t rng = t_seed() + (uint64_t)(uintptr_t)arg * 31;
    const cellar_rl_rule rules[2] = { cellar_rl_gcra(100, KIT_S, 50),
                                      cellar_rl_sliding_log(40, KIT_S) };
    for (int i = 0; i < 6000; i++) {
        const uint64_t key = kit_below(&rng, 600);
        cellar_rl_ticket ticket;
        switch (kit_below(&rng, 40)) {
        case 0: T_CHECK(cellar_rl_reset(storm, &key, 8, NULL) == CELLAR_OK); break;
        case 1: (void)cellar_rl_override(storm, &key, 8, rules, 2); break;
        case 2: (void)cellar_rl_override(storm, &key, 8, NULL, 0); break;
        case 3: (void)cellar_rl_penalize(storm, &key, 8, KIT_MS); break;
        case 4: (void)cellar_rl_charge(storm, &key, 8, 3); break;
        case 5: T_CHECK(cellar_rl_tick(storm) == CELLAR_OK); break;
        case 6: atomic_fetch_add(&kit.now_ns, kit_below(&rng, 20 * KIT_MS)); break;
        case 7:
            if (i % 16 == 0) { T_CHECK(cellar_rl_rules_set(storm, rules, 2) == CELLAR_OK); }
            break;
        case 8: case 9: case 10:
            if (cellar_rl_reserve(storm, &key, 8, 2, 0, &ticket, NULL, NULL) == CELLAR_OK) {
                T_CHECK(cellar_rl_settle(storm, &ticket, kit_below(&rng, 4)) == CELLAR_OK);
            }
            break;
        default: (void)cellar_rl_check(storm, &key, 8, 1, NULL); break;
        }
    }
    return NULL;
}
static void every_call_beside_every_other(void)
{
    const cellar_rl_rule rules[2] = { cellar_rl_gcra(100, KIT_S, 50),
                                      cellar_rl_sliding_log(40, KIT_S) };
    cellar_rl_config c = kit_config();
    pthread_t t[8];
    c.max_bytes = 256u << 10;
    c.max_overrides = 40;
    T_REQUIRE(cellar_rl_open(&c, rules, 2, &storm) == CELLAR_OK);
    for (uintptr_t i = 0; i < 8; i++) {
        T_REQUIRE(!pthread_create(&t[i], NULL, storm_work, (void *)i));
    }
    for (int i = 0; i < 8; i++) { pthread_join(t[i], NULL); }
    T_CHECK(cellar_rl_reset_all(storm) == CELLAR_OK);
    kit_close(storm);
}

/* ---- memory, fork ---- */

static void any_allocation_at_opening_can_fail(void)
{
    const cellar_rl_rule rules[2] = { cellar_rl_fixed(5, CELLAR_RL_PER_DAY),
                                      cellar_rl_concurrency(5) };
    cellar_rl_config c = kit_config();
    c.zone = "Europe/Berlin";
    c.snapshot_path = "build/limit-oom.snapshot";
    const uint64_t blocks = base_live_blocks();
    bool opened = false;
    for (uint64_t nth = 1; nth < 40 && !opened; nth++) {
        cellar_limiter *l = (cellar_limiter *)&c;
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err e = cellar_rl_open(&c, rules, 2, &l);
        (void)base_fault_alloc_arm(0, false);
        opened = e == CELLAR_OK;
        if (opened) {
            T_CHECK(nth > 4);
            cellar_rl_close(l);
        } else {
            T_CHECK(l == NULL && (e == CELLAR_E_NOMEM || e == CELLAR_E_NOT_FOUND));
        }
        T_EQ_U64(base_live_blocks(), blocks);
    }
    T_CHECK(opened);
    unlink("build/limit-oom.snapshot");
}

static void a_forked_child_has_its_own_quota(void)
{
    for (uint32_t count = 1; count <= 2; count++) {
        const cellar_rl_rule rules[2] = { cellar_rl_gcra(1, CELLAR_RL_DAY, 10),
                                          cellar_rl_sliding_log(10, CELLAR_RL_DAY) };
        cellar_limiter *l = kit_open(rules, count);
        T_EQ_U64(kit_admit(l, "k", 4), 4);
        fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) {
            T_EQ_U64(kit_admit(l, "k", 20), 6);
            T_EQ_U64(kit_admit(l, "new", 20), 10);
            kit_close(l);
            _exit(t_failed());
        }
        int status = 1;
        T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        T_EQ_U64(kit_admit(l, "k", 20), 6);
        kit_close(l);
    }
}

T_MAIN("cellar_limit_table", T_CASE(limit_explosion_short_debts),
       T_CASE(limit_explosion_long_debts), T_CASE(limit_fill), T_CASE(policies_of_a_full_table),
       T_CASE(limit_window_checker), T_CASE(limit_chain_never_over),
       T_CASE(every_call_beside_every_other), T_CASE(any_allocation_at_opening_can_fail),
       T_CASE(a_forked_child_has_its_own_quota))
