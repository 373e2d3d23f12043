/* SPDX-License-Identifier: MIT
 *
 * Aim:    each algorithm decides exactly as its definition says, call after call.
 * Method: random calls of every kind on a few keys with a turned clock, beside naive models that
 *         know nothing of words: a bucket that leaks (GCRA), lists of all admissions (log, counts,
 *         calendar). LIMIT_CALLS=n for longer runs. */
#include "tests/limit_kit.h"

enum { KEYS = 3, HISTORY = 1 << 15 };

/* ---- models: times in 1/64 ns as unsigned __int128 would be, here as two plain facts ---- */

typedef struct bucket { uint64_t debt, at_ns; } bucket; /* 1/64 ns owed at at_ns */
static uint64_t bucket_debt(const bucket *b, uint64_t now)
{
    const uint64_t leaked = (now - b->at_ns) * 64;
    return b->debt > leaked ? b->debt - leaked : 0;
}

typedef struct list { /* all admissions since the last reset, in order */
    uint64_t at[HISTORY], cost[HISTORY];
    size_t count;
} list;
static uint64_t list_sum(const list *l, uint64_t after, uint64_t upto)
{
    uint64_t n = 0;
    for (size_t i = l->count; i-- > 0 && l->at[i] > after;) {
        if (l->at[i] <= upto) { n += l->cost[i]; }
    }
    return n;
}
static void list_add(list *l, uint64_t now, uint64_t cost)
{
    if (l->count == HISTORY) {
        memmove(l->at, l->at + HISTORY / 2, sizeof l->at / 2);
        memmove(l->cost, l->cost + HISTORY / 2, sizeof l->cost / 2);
        l->count = HISTORY / 2;
    }
    l->at[l->count] = now;
    l->cost[l->count++] = cost;
}

static bucket buckets[KEYS];
static list *lists;

/* What the definition says about `cost` at `now`; takes it if `take`. */
static bool model(const cellar_rl_rule *r, size_t key, uint64_t now, uint64_t cost, bool take)
{
    if (r->limit == 0) { return false; }
    if (r->algorithm == CELLAR_RL_GCRA) {
        const uint64_t n = (r->flags & CELLAR_RL_CAPPED) != 0 ? r->limit - r->burst + 1 : r->limit;
        const uint64_t t = (r->period_ns * 64 + n - 1) / n;
        bucket *b = &buckets[key];
        const uint64_t debt = bucket_debt(b, now);
        if (cost > r->burst || debt + cost * t > r->burst * t) { return false; }
        if (take && cost > 0) { *b = (bucket){ debt + cost * t, now }; }
        return true;
    }
    if (cost > r->limit) { return false; }
    list *l = &lists[key];
    uint64_t used;
    if (r->algorithm == CELLAR_RL_SLIDING_LOG) {
        used = list_sum(l, now - r->period_ns, now);
        if (cost == 0) { used = 0; }
    } else if (r->algorithm == CELLAR_RL_SLIDING_COUNT) {
        const uint64_t start = now / r->period_ns * r->period_ns;
        const uint64_t previous = list_sum(l, start - r->period_ns - 1, start - 1);
        const double share = (double)(r->period_ns - (now - start)) / (double)r->period_ns;
        const uint64_t exact = (previous * (r->period_ns - (now - start)) + r->period_ns - 1) /
                               r->period_ns;
        T_CHECK((double)exact >= (double)previous * share - 1e-6 &&
                (double)exact < (double)previous * share + 1.001);
        used = exact + list_sum(l, start - 1, now);
    } else {
        const uint64_t minute = 60 * KIT_S; /* the kit's wall clock and ns run together */
        const uint64_t wall = atomic_load(&kit.wall_ms) * KIT_MS;
        const uint64_t into = wall % minute;
        used = list_sum(l, now - into - 1, now);
    }
    if (used + cost > r->limit) { return false; }
    if (take && cost > 0) { list_add(l, now, cost); }
    return true;
}

static uint64_t step_ns(uint64_t *rng, const cellar_rl_rule *r)
{
    const uint64_t w = r->period_ns != 0 ? r->period_ns : 60 * KIT_S;
    switch (kit_below(rng, 200)) {
    case 0: return w;
    case 1: return kit_below(rng, 3 * w);
    case 2: return w / (r->limit + 1);
    case 3: return 1;
    default: return kit_below(rng, w / (r->limit + 1) + 1);
    }
}

static void run(cellar_rl_rule rule, uint64_t calls)
{
    uint64_t rng = t_seed(), wrong = 0, yes = 0, no = 0;
    lists = calloc(KEYS, sizeof *lists);
    memset(buckets, 0, sizeof buckets);
    if (rule.algorithm == CELLAR_RL_FIXED) { /* whole ms, so that both clocks agree */
        atomic_store(&kit.now_ns, atomic_load(&kit.now_ns) / KIT_MS * KIT_MS);
    }
    cellar_limiter *l = kit_open1(rule);
    const uint64_t most = rule.algorithm == CELLAR_RL_GCRA ? rule.burst : rule.limit;
    for (uint64_t i = 0; i < calls && wrong == 0; i++) {
        char key[16];
        const size_t k = (size_t)kit_below(&rng, KEYS);
        const int len = snprintf(key, sizeof key, "key:%zu", k);
        if (kit_below(&rng, 3) == 0) {
            uint64_t ns = step_ns(&rng, &rule);
            if (rule.algorithm == CELLAR_RL_FIXED) { ns = ns / KIT_MS * KIT_MS; }
            kit_pass(ns);
        }
        const uint64_t now = kit_clock(NULL);
        const uint64_t cost = kit_below(&rng, 4) != 0 ? 1 : kit_below(&rng, most + 2);
        const uint64_t kind = kit_below(&rng, 40);
        if (kind == 0) {
            T_CHECK(cellar_rl_reset(l, key, (size_t)len, NULL) == CELLAR_OK);
            buckets[k] = (bucket){ 0, now };
            lists[k].count = 0;
            continue;
        }
        const bool take = kind > 4;
        cellar_rl_result r;
        const cellar_err got = take ? cellar_rl_check(l, key, (size_t)len, cost, &r)
                                    : cellar_rl_peek(l, key, (size_t)len, cost, &r);
        const bool want = model(&rule, k, now, cost, take);
        wrong += !T_CHECK(got == (want ? CELLAR_OK : CELLAR_LIMITED));
        wrong += !T_CHECK(r.allowed == want && r.now_ns == now);
        if (want) { yes++; } else { no++; }
        if (!want && r.never == 0 && kit_below(&rng, 8) == 0) { /* retry_after is right to 1 ns */
            T_CHECK(r.retry_after_ns > 0);
            if (rule.algorithm == CELLAR_RL_FIXED) { continue; }
            kit_pass(r.retry_after_ns - 1);
            wrong += !T_CHECK(cellar_rl_peek(l, key, (size_t)len, cost, NULL) == CELLAR_LIMITED);
            kit_pass(1);
            wrong += !T_CHECK(cellar_rl_peek(l, key, (size_t)len, cost, NULL) == CELLAR_OK);
        }
        if (want && take && kit_below(&rng, 8) == 0) { /* remaining is what still passes */
            wrong += !T_CHECK(!model(&rule, k, now, r.remaining + 1, false));
            wrong += !T_CHECK(r.remaining == 0 || model(&rule, k, now, r.remaining, false));
        }
        if (wrong > 0) {
            printf("# call %" PRIu64 ": key %zu cost %" PRIu64 " take %d want %d retry %" PRIu64
                   " remaining %" PRIu64 "\n", i, k, cost, take, want, r.retry_after_ns,
                   r.remaining);
        }
    }
    T_CHECK(yes > calls / 20 && no > calls / 20);
    kit_close(l);
    free(lists);
}

static uint64_t calls(void) { return t_env_u64("LIMIT_CALLS", 300000); }

static void limit_oracle_sequential_gcra(void)
{
    run(cellar_rl_gcra(10, KIT_S, 5), calls());
    run(cellar_rl_gcra(7, 13 * KIT_MS, 7), calls());
}
static void limit_oracle_sequential_capped(void)
{
    run(cellar_rl_rule_capped(10, KIT_S, 4), calls());
}
static void limit_oracle_sequential_log(void)
{
    run(cellar_rl_sliding_log(10, KIT_S), calls());
    run(cellar_rl_sliding_log(1, 7 * KIT_MS), calls());
}
static void limit_oracle_sequential_count(void)
{
    run(cellar_rl_sliding_count(20, KIT_S), calls());
}
static void limit_oracle_sequential_fixed(void)
{
    run(cellar_rl_fixed(30, CELLAR_RL_PER_MINUTE), calls());
}

T_MAIN("cellar_limit_oracle", T_CASE(limit_oracle_sequential_gcra),
       T_CASE(limit_oracle_sequential_capped), T_CASE(limit_oracle_sequential_log),
       T_CASE(limit_oracle_sequential_count), T_CASE(limit_oracle_sequential_fixed))
