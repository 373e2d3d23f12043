/* SPDX-License-Identifier: MIT
 *
 * Aim:    what holds when there are more keys than slots, and more threads than cores:
 *         the heavy user stays bounded, no window is above its bound, nothing is allocated later.
 * Method: turned clock for floods, from one thread and from eight; real threads; their decisions
 *         are recorded with the reading each used: a window is anchored at every admission, buckets are
 *         replayed in the order their arrival times tell, and a denial must be one that the
 *         definition gives at a moment between its call and its return.
 *         LIMIT_FLOOD=keys and LIMIT_CHECKS=n for the full sizes (100000000, 1000000000). */
#include <pthread.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "tests/support/limit_kit.h"

static cellar_limiter_stats figures(cellar_limiter *l)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    return s;
}

/* Run a function in n threads, with their numbers. */
static void in_threads(uint32_t n, void *(*work)(void *number))
{
    pthread_t t[64];
    for (uintptr_t i = 0; i < n; i++) {
        T_REQUIRE(!pthread_create(&t[i], NULL, work, (void *)i));
    }
    for (uint32_t i = 0; i < n; i++) { pthread_join(t[i], NULL); }
}

/* ---- key explosion ---- */

/* The thread sanitizer takes fifty times as long for each. */
static uint64_t flood_keys(void)
{
    return t_env_u64("LIMIT_FLOOD", BASE_TSAN ? 250000 : t_share(4000000));
}

enum { FLOOD_THREADS = 8 };

static struct flood {
    cellar_limiter *l;
    uint64_t total, step_ns, every; /* new keys; ns between two; of them to one heavy call */
    uint32_t heavy, threads;
    _Atomic uint64_t *got, next, wrongly;
} flood_;

/* Thread n's share of the flood; all threads share the heavy users. */
static void *flood_work(void *arg)
{
    struct flood *f = &flood_;
    for (uint64_t i = (uint64_t)(uintptr_t)arg; i < f->total; i += f->threads) {
        const uint64_t key[2] = { i, 0x666c6f6f64 };
        if (cellar_limiter_check(f->l, key, sizeof key, 1, NULL) != CELLAR_OK) {
            atomic_fetch_add(&f->wrongly, 1);
        }
        atomic_fetch_add(&kit.now_ns, f->step_ns);
        if (i % f->every != 0) { continue; }
        const uint64_t n = atomic_fetch_add(&f->next, 1) % f->heavy;
        const uint64_t user[2] = { n, 0x7573657200 };
        if (cellar_limiter_check(f->l, user, sizeof user, 1, NULL) == CELLAR_OK) {
            atomic_fetch_add(&f->got[n], 1);
        }
    }
    return NULL;
}

/* Heavy users at `heavy_per_s` each beside a flood of keys that come once; the table has room for
 * `bytes`. Returns the largest number admitted to one heavy user. */
static uint64_t flood(cellar_rule rule, uint64_t bytes, uint32_t heavy, double heavy_per_s,
                      uint64_t flood_per_s, uint64_t total, uint32_t threads)
{
    cellar_limiter_config c = kit_config();
    memset(&flood_, 0, sizeof flood_);
    c.max_bytes = bytes;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &flood_.l) == CELLAR_OK);
    flood_.got = calloc(heavy, sizeof *flood_.got);
    flood_.heavy = heavy;
    flood_.total = total;
    flood_.step_ns = KIT_S / flood_per_s;
    flood_.every = (uint64_t)((double)flood_per_s / (heavy_per_s * heavy));
    if (flood_.every % threads == 0) { flood_.every++; } /* each thread its share of heavy calls */
    (void)base_fault_alloc_arm(UINT64_MAX, false);
    flood_.threads = threads;
    in_threads(threads, flood_work);
    T_EQ_U64(base_fault_alloc_arm(0, false), 0); /* no call allocated */
    T_EQ_U64(atomic_load(&flood_.wrongly), 0);
    uint64_t most = 0;
    for (uint32_t i = 0; i < heavy; i++) {
        const uint64_t got = atomic_load(&flood_.got[i]);
        most = got > most ? got : most;
    }
    free(flood_.got);
    kit_close(flood_.l);
    return most;
}

static void short_debts(uint32_t threads, uint64_t total)
{
    /* 10/s burst 10, 1000 users at 20/s, 5 M new keys a second; full size: 100 M, 16 MB. */
    const uint64_t per_s = 5000000, scale = 100000000 / (total < 1000000 ? 1000000 : total);
    const uint64_t most = flood(cellar_rule_token_bucket(10, KIT_S, 10), (16u << 20) / scale,
                                1000 / (uint32_t)scale, 20, per_s / scale, total, threads);
    const double seconds = (double)total / (double)(per_s / scale);
    printf("# %" PRIu32 " threads: heavy admitted %" PRIu64 " of %.0f\n", threads, most,
           10 + 10 * seconds);
    T_CHECK((double)most <= 1.1 * (10 + 10 * seconds));
    T_CHECK(most >= 10);
}
T_CASE(limit_explosion_short_debts)
{
    short_debts(1, flood_keys());
    short_debts(FLOOD_THREADS, flood_keys() / 2);
}

static void long_debts(uint32_t threads, uint64_t total)
{
    /* 10/min burst 10, 200 abusers at 1/s, every slot live and 94 % of the keys too many. */
    const uint64_t scale = 20000000 / (total < 200000 ? 200000 : total);
    const uint64_t most = flood(cellar_rule_token_bucket(10, CELLAR_MINUTE_NS, 10),
                                (16u << 20) / scale,
                                200 / (uint32_t)scale, 1, 500000 / scale, total, threads);
    const double bound = 10 + (double)total / (double)(500000 / scale) / 6;
    printf("# %" PRIu32 " threads: abusers admitted %" PRIu64 " of %.1f\n", threads, most, bound);
    T_CHECK((double)most <= 1.1 * bound);
    T_CHECK(most >= 10);
}
T_CASE(limit_explosion_long_debts)
{
    long_debts(1, flood_keys() / 5);
    long_debts(FLOOD_THREADS, flood_keys() / 5);
}

T_ALONE(table_filled_to_94_percent_replaces_few_live_keys)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_DAY_NS, 10);
    cellar_limiter_config c = kit_config();
    c.max_bytes = 4u << 20;
    cellar_limiter *l;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    cellar_limiter_stats s = figures(l);
    T_CHECK(s.bytes <= c.max_bytes);
    uint64_t n = 0, before = 0;
    const uint64_t steps[3] = { s.slots * 50 / 100, s.slots * 75 / 100, s.slots * 94 / 100 };
    for (int i = 0; i < 3; i++) {
        const uint64_t from = n;
        for (; n < steps[i]; n++) { (void)cellar_limiter_check(l, &n, sizeof n, 1, NULL); }
        s = figures(l);
        printf("# up to %" PRIu64 " of %" PRIu64 " slots: %" PRIu64 " live replaced\n", n, s.slots,
               s.live_evicted - before);
        if (i < 2) { T_EQ_U64(s.live_evicted, 0); }
        if (i == 2) { T_CHECK((s.live_evicted - before) * 50 < n - from + steps[1]); }
        before = s.live_evicted;
    }
    kit_close(l);
}

T_ALONE(policies_of_a_full_table)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(1, CELLAR_DAY_NS, 10),
                                      cellar_rule_sliding_log(10, CELLAR_DAY_NS) };
    for (uint32_t policy = 0; policy < 3; policy++) {
        for (uint32_t wide = 0; wide < 2; wide++) {
            cellar_limiter_config c = kit_config();
            c.max_bytes = 64u << 10;
            c.overflow = policy;
            cellar_limiter *l;
            T_REQUIRE(cellar_limiter_open(&c, &rules[wide], 1, &l) == CELLAR_OK);
            uint64_t denied = 0;
            const uint64_t slots = figures(l).slots;
            T_EQ_I64(cellar_limiter_ban(l, "k", 1, 1), CELLAR_OK);
            kit_pass(1);
            for (uint64_t n = 0; n < 3 * slots; n++) {
                denied += cellar_limiter_check(l, &n, sizeof n, 1, NULL) == CELLAR_LIMITED;
            }
            /* Fault: what an ended ban left let a refund be denied, and counted. */
            T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -1), CELLAR_OK);
            const cellar_limiter_stats s = figures(l);
            T_CHECK((policy == CELLAR_OVERFLOW_DENY_NEW) == (denied > 0));
            T_EQ_U64(s.overflow_denied, denied);
            T_CHECK((policy == CELLAR_OVERFLOW_ALLOW_NEW) == (s.overflow_allowed > 0));
            T_CHECK((policy == CELLAR_OVERFLOW_LEAST_LOSS) == (s.live_evicted > 0));
            kit_close(l);
        }
    }
}

/* ---- windows, from real threads ---- */

enum { WIN_THREADS = 64, WIN_KEYS = 4, WIN_ROUND = 1 << 10 };

/* One decision. Whatever took effect before it had `begin` <= its `end`; whatever has an `end`
 * below its `begin` did. */
typedef struct win_call {
    uint64_t begin, end, at, reset, tat; /* tat: at + reset, in ns */
    uint32_t key;
    bool yes;
} win_call;

static struct win {
    cellar_limiter *l;
    uint64_t checks, seed; /* of each thread, in this round */
    _Atomic uint64_t ended;
    win_call *call; /* those of thread 0, of thread 1, .. */
} win;

static void *win_work(void *arg)
{
    const uintptr_t me = (uintptr_t)arg;
    uint64_t rng = win.seed + (uint64_t)me * 977;
    for (uint64_t i = 0; i < win.checks; i++) {
        const uint32_t k = (uint32_t)kit_below(&rng, WIN_KEYS);
        const char key[2] = { 'w', (char)('0' + k) };
        cellar_limiter_result r;
        const uint64_t begin = atomic_load(&win.ended);
        const bool yes = cellar_limiter_check(win.l, key, 2, 1, &r) == CELLAR_OK;
        win.call[me * win.checks + i] = (win_call){ begin, atomic_fetch_add(&win.ended, 1), r.now_ns,
                                      r.reset_after_ns, r.now_ns + r.reset_after_ns, k, yes };
        if (i % 64 == 0) {
            const uint64_t jump = kit_below(&rng, 64) == 0 ? 3 * KIT_MS : kit_below(&rng, 20000);
            atomic_fetch_add(&kit.now_ns, jump);
        }
    }
    return NULL;
}

static int win_by_at(const void *a, const void *b)
{
    const win_call *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}
static int win_by_tat(const void *a, const void *b)
{
    const win_call *x = a, *y = b;
    return x->tat < y->tat ? -1 : x->tat > y->tat;
}

/* Most units admitted in any window (t - w, t] that ends at an admission; c: by `at`. */
static uint64_t win_worst(const win_call *c, uint64_t n, uint64_t w)
{
    uint64_t worst = 0, from = 0;
    for (uint64_t i = 0; i < n; i++) {
        while (c[from].at + w <= c[i].at) { from++; }
        if (i - from + 1 > worst) { worst = i - from + 1; }
    }
    return worst;
}

/* A bucket's times of arrival rise with every admission: they are the order the limiter chose.
 * Replayed, each must be what the definition says; returns how many are not. */
static uint64_t win_replay(const cellar_rule *r, win_call *c, uint64_t n, uint64_t *tat)
{
    const uint64_t rate = (r->flags & CELLAR_RULE_STRICT) != 0 ? r->limit - r->burst + 1 : r->limit;
    const uint64_t t = (r->period_ns * 64 + rate - 1) / rate, reach = r->burst * t;
    uint64_t v = 0, bad = 0;
    qsort(c, (size_t)n, sizeof *c, win_by_tat);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t now = c[i].at * 64;
        v = (v > now ? v : now) + t;
        tat[i] = v;
        bad += v - now > reach || (v - now + 63) / 64 != c[i].reset;
        bad += i > 0 && c[i].end < c[i - 1].begin;
    }
    return bad;
}

/* A denial saw the bucket after admission k: it must exist, not be in the future nor long gone,
 * and the definition must deny there. */
static bool win_bucket_denies(const cellar_rule *r, const win_call *d, const win_call *c,
                              const uint64_t *tat, uint64_t n)
{
    const uint64_t rate = (r->flags & CELLAR_RULE_STRICT) != 0 ? r->limit - r->burst + 1 : r->limit;
    const uint64_t t = (r->period_ns * 64 + rate - 1) / rate;
    uint64_t lo = 0, hi = n;
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        if (tat[mid] + 63 < d->tat * 64) { lo = mid + 1; } else { hi = mid; }
    }
    return lo < n && tat[lo] <= d->tat * 64 && c[lo].begin <= d->end &&
           (lo + 1 == n || c[lo + 1].end >= d->begin) && tat[lo] - d->at * 64 + t > r->burst * t;
}

/* A log may deny only where `limit` admissions that can have come before are in the window. */
static bool win_log_denies(const cellar_rule *r, const win_call *d, const win_call *c,
                           uint64_t n)
{
    uint64_t lo = 0, hi = n, before = 0;
    while (lo < hi) { /* the first one inside */
        const uint64_t mid = lo + (hi - lo) / 2;
        if (c[mid].at + r->period_ns <= d->at) { lo = mid + 1; } else { hi = mid; }
    }
    for (; lo < n && before < r->limit; lo++) { before += c[lo].begin <= d->end; }
    return before >= r->limit;
}

/* `of`: the calls that asked for one key, thread after thread. */
static void window_key(const cellar_rule *r, uint64_t bound, const win_call *const *of,
                       uint64_t count)
{
    const bool log = r->algorithm == CELLAR_RULE_SLIDING_LOG;
    win_call *c = malloc((size_t)count * sizeof *c);
    uint64_t *tat = malloc((size_t)count * sizeof *tat), n = 0, bad = 0, over = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (of[i]->yes) { c[n++] = *of[i]; }
    }
    qsort(c, (size_t)n, sizeof *c, win_by_at);
    const uint64_t worst = win_worst(c, n, r->period_ns);
    if (r->algorithm == CELLAR_RULE_TOKEN_BUCKET) { over = win_replay(r, c, n, tat); }
    for (uint64_t i = 0; i < count && r->algorithm != CELLAR_RULE_SLIDING_WINDOW; i++) {
        if (of[i]->yes) { continue; }
        bad += log ? !win_log_denies(r, of[i], c, n) : !win_bucket_denies(r, of[i], c, tat, n);
    }
    T_CHECK(n >= bound && n < WIN_THREADS * win.checks / WIN_KEYS * 3 / 2);
    T_EQ_U64(bad, 0);  /* denied where the definition admits */
    T_EQ_U64(over, 0); /* admitted otherwise than in the order of the replay */
    if (!T_CHECK(worst <= bound)) {
        printf("# algorithm %u: %" PRIu64 " in one window, bound %" PRIu64 "\n", r->algorithm,
               worst, bound);
    }
    free(c);
    free(tat);
}

static void window_keys(const cellar_rule *r, uint64_t bound)
{
    const uint64_t all = WIN_THREADS * win.checks;
    const win_call **of = malloc((size_t)all * sizeof *of);
    T_REQUIRE(of != NULL);
    for (uint32_t k = 0; k < WIN_KEYS; k++) {
        uint64_t count = 0;
        for (uint64_t i = 0; i < all; i++) {
            if (win.call[i].key == k) { of[count++] = &win.call[i]; }
        }
        window_key(r, bound, of, count);
    }
    free(of);
}

static void window_round(cellar_rule rule, uint64_t bound)
{
    win.l = kit_open1(rule);
    win.call = calloc(WIN_THREADS * (size_t)win.checks, sizeof *win.call);
    T_REQUIRE(win.call != NULL);
    in_threads(WIN_THREADS, win_work);
    window_keys(&rule, bound);
    free(win.call);
    kit_close(win.l);
}

static void window_run(cellar_rule rule, uint64_t bound)
{
    memset(&win, 0, sizeof win);
    const uint64_t checks = t_env_u64("LIMIT_CHECKS", BASE_TSAN ? 100000 : t_share(20000000)) / 5;
    const uint64_t rounds = checks / WIN_THREADS / WIN_ROUND + 1;
    win.checks = checks / WIN_THREADS / rounds;
    for (uint64_t i = 0; i < rounds; i++) {
        win.seed = t_seed() + i * 7919;
        window_round(rule, bound);
    }
}

T_CASE(limit_window_checker)
{
    const uint64_t w = KIT_MS;
    window_run(cellar_rule_token_bucket(50, w, 50), 99);
    window_run(cellar_rule_token_bucket_strict(50, w, 20), 50);
    window_run(cellar_rule_sliding_log(50, w), 50);
    window_run(cellar_rule_sliding_window(50, w), 99);
    window_run(cellar_rule_token_bucket(50, w, 7), 7 + 50 - 1);
}

/* ---- chains from many threads ---- */

static struct { cellar_limiter *users, *site; _Atomic uint64_t yes, by_user[4]; } chain;
static void *chain_work(void *arg)
{
    uint64_t rng = t_seed() + (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 4000; i++) {
        const uint64_t k = kit_below(&rng, 4);
        const cellar_limiter_link both[2] = { { chain.users, &k, sizeof k, 1 },
                                         { chain.site, "site", 4, 1 } };
        if (cellar_limiter_check_chain(both, 2, NULL, NULL) == CELLAR_OK) {
            atomic_fetch_add(&chain.yes, 1);
            atomic_fetch_add(&chain.by_user[k], 1);
        }
    }
    return NULL;
}
T_CASE(limit_chain_never_over)
{
    memset(&chain, 0, sizeof chain);
    /* time stands still */
    chain.users = kit_open1(cellar_rule_token_bucket(1, CELLAR_HOUR_NS, 300));
    chain.site = kit_open1(cellar_rule_token_bucket(1, CELLAR_HOUR_NS, 1000));
    in_threads(8, chain_work);
    T_CHECK(atomic_load(&chain.yes) <= 1000);
    for (int k = 0; k < 4; k++) { T_CHECK(atomic_load(&chain.by_user[k]) <= 300); }
    /* What was taken back is there again: all that passed is all that is missing. */
    uint64_t left = 0;
    while (cellar_limiter_check(chain.site, "site", 4, 1, NULL) == CELLAR_OK) { left++; }
    T_EQ_U64(left + atomic_load(&chain.yes), 1000);
    kit_close(chain.users);
    kit_close(chain.site);
}

/* ---- everything at once: only that nothing breaks ---- */

static cellar_limiter *storm;
static void *storm_work(void *arg)
{
    uint64_t rng = t_seed() + (uint64_t)(uintptr_t)arg * 31;
    const cellar_rule rules[2] = { cellar_rule_token_bucket(100, KIT_S, 50),
                                      cellar_rule_sliding_log(40, KIT_S) };
    for (int i = 0; i < 6000; i++) {
        const uint64_t key = kit_below(&rng, 600);
        cellar_limiter_ticket ticket;
        switch (kit_below(&rng, 40)) {
        case 0: T_CHECK(cellar_limiter_reset(storm, &key, 8, NULL) == CELLAR_OK); break;
        case 1: (void)cellar_limiter_rules_set(storm, &key, 8, NULL, rules, 2); break;
        case 2: (void)cellar_limiter_rules_set(storm, &key, 8, NULL, NULL, 0); break;
        case 3: (void)cellar_limiter_ban(storm, &key, 8, KIT_MS); break;
        case 4: (void)cellar_limiter_adjust(storm, &key, 8, 3); break;
        case 5: T_CHECK(cellar_tick(storm, 0, NULL) == CELLAR_OK); break;
        case 6: atomic_fetch_add(&kit.now_ns, kit_below(&rng, 20 * KIT_MS)); break;
        case 7:
            if (i % 16 == 0) {
                T_CHECK(cellar_limiter_rules_set(storm, NULL, 0, NULL, rules, 2) == CELLAR_OK);
            }
            break;
        case 8: case 9: case 10:
            if (cellar_limiter_reserve(storm, &key, 8, 2, 0, &ticket, NULL, NULL) == CELLAR_OK) {
                const cellar_err e = cellar_limiter_commit(storm, &ticket, kit_below(&rng, 4));
                T_CHECK(e == CELLAR_OK || e == CELLAR_INVALIDATED); /* another thread reset it */
            }
            break;
        default: (void)cellar_limiter_check(storm, &key, 8, 1, NULL); break;
        }
    }
    return NULL;
}
T_CASE(every_call_beside_every_other)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(100, KIT_S, 50),
                                      cellar_rule_sliding_log(40, KIT_S) };
    cellar_limiter_config c = kit_config();
    c.max_bytes = 256u << 10;
    c.max_overrides = 40;
    T_REQUIRE(cellar_limiter_open(&c, rules, 2, &storm) == CELLAR_OK);
    in_threads(8, storm_work);
    T_CHECK(cellar_limiter_reset(storm, NULL, 0, NULL) == CELLAR_OK);
    kit_close(storm);
}

/* ---- fork ---- */

T_CASE(a_forked_child_is_refused_and_takes_nothing)
{
    for (uint32_t count = 1; count <= 2; count++) {
        const cellar_rule rules[2] = { cellar_rule_token_bucket(1, CELLAR_DAY_NS, 10),
                                          cellar_rule_sliding_log(10, CELLAR_DAY_NS) };
        cellar_limiter *l = kit_open(rules, count);
        T_EQ_U64(kit_admit(l, "k", 4), 4);
        fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) {
            T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, NULL), CELLAR_E_FORKED);
            T_EQ_I64(cellar_limiter_check(l, "new", 3, 1, NULL), CELLAR_E_FORKED);
            cellar_limiter_close(l);
            _exit(t_failed());
        }
        int status = 1;
        T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        T_EQ_U64(kit_admit(l, "k", 20), 6);
        kit_close(l);
    }
}

T_MAIN("cellar_limit_table")
