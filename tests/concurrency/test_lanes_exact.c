/* SPDX-License-Identifier: MIT
 *
 * Aim:    what a store promises of its bounds and figures holds beside sixteen writers as it does
 *         with one: bounds of entries, the fill of the budget, the estimate for other
 *         budgets, the cause of an end, and that a clear hides what was set before it.
 * Method: sixteen threads request skewed keys and set those that miss, until the case stops them or
 *         each has made its requests. The case looks meanwhile. Under TSan there are eight: the
 *         case gets the processor ten times as often, and all run beside each other as before. */
#include "tests/support/api_kit.h"
#include "tests/support/many_threads.h"
#include "tests/support/t.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"

enum { WRITERS = T_TSAN ? 8 : 16, VALUE = 100 };
#define MIB ((uint64_t)1 << 20)
#define REFUSED_AFTER_NS 1000000000u

/* `requests` for each writer; 0: until `stop`. New keys alone if `fresh`. */
typedef struct crowd {
    cellar *c;
    uint64_t keys, requests;
    bool fresh;
    unsigned writers;
    _Atomic unsigned number; /* of writers that began */
    _Atomic int stop;
    pthread_t t[WRITERS];
} crowd;

static const char value[VALUE];

/* Set a key that misses. A set is refused only after it waited 1 s for sets that hold the places of
 * a bound: those may have no processor for so long. */
static void ask(cellar *c, uint64_t id)
{
    char buf[VALUE];
    size_t len;
    if (cellar_get(c, &id, sizeof id, buf, sizeof buf, &len) == CELLAR_MISS) {
        const uint64_t from_ns = base_now_ns();
        const cellar_err err = cellar_set(c, &id, sizeof id, value, sizeof value, NULL);
        if (err != CELLAR_E_SPACE || base_now_ns() - from_ns < REFUSED_AFTER_NS) {
            T_EQ_I64(err, CELLAR_OK);
        }
    }
}

/* Cubes of even draws: the hit ratio depends on the budget. */
static uint64_t skewed(base_rng *r, uint64_t keys)
{
    const double u = (double)base_rng_below(r, 1u << 30) / (1u << 30);
    return (uint64_t)(u * u * u * (double)keys);
}

static void *request_on(void *arg)
{
    crowd *w = arg;
    const unsigned self = atomic_fetch_add(&w->number, 1u);
    base_rng r;
    base_rng_seed(&r, t_seed() + self);
    for (uint64_t i = 0; w->requests != 0 ? i < w->requests : atomic_load(&w->stop) == 0; i++) {
        ask(w->c, w->fresh ? i * w->writers + self : skewed(&r, w->keys));
    }
    return NULL;
}

static void crowd_begin(crowd *w)
{
    start_threads(w->t, w->writers, request_on, w);
}

static void crowd_end(crowd *w)
{
    atomic_store(&w->stop, 1);
    join_threads(w->t, w->writers);
}

static cellar_stats figures_of(cellar *c, cellar_scope scope)
{
    cellar_stats s = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, scope, &s), CELLAR_OK);
    return s;
}

/* Return the looks above the bound. A look beside writers adds what each of them has stored and
 * removed, one after the other: it may count an entry that is gone already, but rarely. */
static unsigned looks_above(cellar *part, int64_t most, unsigned looks)
{
    unsigned above = 0;
    for (unsigned i = 0; i < looks; i++) {
        above += figures_of(part, CELLAR_SCOPE_NAMESPACE).namespace_entries > (uint64_t)most;
    }
    return above;
}

T_CASE(bounds_of_entries_hold_beside_writers)
{
    enum { LOOKS = 10 };
    cellar *c = api_open(8 * MIB), *part;
    cellar_namespace_config n = { .struct_size = sizeof n, .max_entries = 200 };
    T_REQUIRE(cellar_namespace_open(c, "part", &n, &part) == CELLAR_OK);
    crowd store = {.c = c, .keys = 40000, .writers = WRITERS / 2 };
    crowd bound = {.c = part, .keys = 4000, .writers = WRITERS / 2 };
    base_rng r;
    base_rng_seed(&r, t_seed());
    crowd_begin(&store);
    crowd_begin(&bound);
    while (looks_above(part, 0, 1) == 0) { (void)sched_yield(); } /* until the writers run */
    const uint64_t rounds = 1 + t_share(400) / T_COST;
    uint64_t above = 0;
    int64_t most = 0, all = 0;
    for (uint64_t i = 0; i < rounds && !t_failed(); i++) {
        most = 5 + (int64_t)base_rng_below(&r, 200);
        set_entries_bound(part, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, most);
        above += looks_above(part, most, LOOKS);
        all = 300 + (int64_t)base_rng_below(&r, 10000);
        set_entries_bound(c, CELLAR_OPT_MAX_ENTRIES, all);
    }
    crowd_end(&bound);
    crowd_end(&store);
    printf("# %" PRIu64 " of %" PRIu64 " looks above the bound\n", above, rounds * LOOKS);
    T_CHECK(above <= 2 + rounds * LOOKS / 100);
    T_EQ_U64(looks_above(part, most, 1), 0);
    T_CHECK(figures_of(c, CELLAR_SCOPE_STORE).entries <= (uint64_t)all);
    T_CHECK(figures_of(c, CELLAR_SCOPE_STORE).entries != 0);
    T_EQ_I64(cellar_namespace_close(part), CELLAR_OK);
    api_shut(c);
}

/* Return the entries of a store that `writers` have filled beyond its budget with new keys. */
static uint64_t filled_by(unsigned writers)
{
    enum { BUDGET = T_TSAN ? 2 : 8, KEYS = 11250 * BUDGET };
    cellar *c = api_open(BUDGET * MIB);
    crowd w = {.c = c, .fresh = true, .writers = writers, .requests = KEYS / writers };
    crowd_begin(&w);
    for (unsigned i = 0; i < 100; i++) {
        T_CHECK(figures_of(c, CELLAR_SCOPE_STORE).used_bytes <= BUDGET * MIB);
    }
    crowd_end(&w);
    const cellar_stats s = figures_of(c, CELLAR_SCOPE_STORE);
    T_CHECK(s.ended[CELLAR_CAUSE_EVICTED] != 0);
    api_shut(c);
    return s.entries;
}

T_CASE(writers_together_fill_the_budget_as_one_does)
{
    const uint64_t one = filled_by(1), all = filled_by(WRITERS);
    printf("# %" PRIu64 " entries by one, %" PRIu64 " by %u\n", one, all, WRITERS);
    T_CHECK(all >= one - one / 20 && all <= one + one / 20);
}

/* ---- figures ---- */

enum { ENTRIES = 8000, KEYS = 60000, REQUESTS = 300000 };

static cellar *run_at(uint64_t entries)
{
    static const uint8_t secret[32] = { 9 }; /* each run has the same sample */
    settings cfg = api_config(16 * MIB);
    cfg.config.max_entries = entries;
    cfg.tuning.hash_key = secret;
    cellar *c = api_open_with(&cfg);
    crowd w = {.c = c, .keys = KEYS, .writers = WRITERS, .requests = REQUESTS / WRITERS };
    crowd_begin(&w);
    crowd_end(&w);
    return c;
}

static double ratio_at(uint64_t entries)
{
    cellar *c = run_at(entries);
    const double ratio = figures_of(c, CELLAR_SCOPE_STORE).hit_ratio;
    api_shut(c);
    return ratio;
}

/* The shadow caches hold a sample: one run in fifty is .04 off. Half and twice the budget are .2
 * apart. */
static bool near(double a, double b) { return a - b < .08 && b - a < .08; }

T_CASE(advice_of_writers_together_is_as_near_as_of_one)
{
    if (T_TSAN) {
        T_SKIP("a million requests for a ratio: the other cases make the same calls");
        return;
    }
    cellar *c = run_at(ENTRIES);
    cellar_advice a = cellar_advice_default();
    T_REQUIRE(cellar_advice_get(c, CELLAR_SCOPE_STORE, &a) == CELLAR_OK);
    const double half = ratio_at(ENTRIES / 2), twice = ratio_at(ENTRIES * 2);
    printf("# half %.3f said %.3f, now %.3f said %.3f, twice %.3f said %.3f\n", half,
           a.hit_ratio[1], a.hit_ratio_now, a.hit_ratio[3], twice, a.hit_ratio[5]);
    T_CHECK(near(a.hit_ratio[3], a.hit_ratio_now));
    T_CHECK(twice > half + .16); /* otherwise the two budgets cannot be told apart */
    T_CHECK(near(a.hit_ratio[1], half) && near(a.hit_ratio[5], twice));
    api_shut(c);
}

/* Count an answer about a key that `cause` has ended for sure, if the set before found it live.
 * Evictions by others may come first, and their records may replace this one. */
static void count_cause(cellar *c, const char *key, cellar_cause cause, uint64_t *known)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, key, strlen(key), &r), CELLAR_OK);
    if (r.answer == CELLAR_WHY_UNKNOWN) { return; }
    T_EQ_U64(r.answer, CELLAR_WHY_GONE);
    T_CHECK(r.cause == cause || (r.cause == CELLAR_CAUSE_EVICTED && cause != CELLAR_CAUSE_DELETED));
    *known += r.cause == cause;
}

T_CASE(causes_are_right_beside_writers)
{
    cellar *c = api_open(4 * MIB), *part;
    T_REQUIRE(cellar_namespace_open(c, "part", NULL, &part) == CELLAR_OK);
    crowd w = {.c = c, .keys = 100000, .writers = WRITERS };
    cellar_set_opts brief = { .struct_size = sizeof brief, .ttl_ms = 100 };
    const uint64_t rounds = 10 + t_share(2000) / T_COST;
    uint64_t known = 0;
    crowd_begin(&w);
    for (uint64_t i = 0; i < rounds; i++) {
        char key[32];
        const int len = snprintf(key, sizeof key, "key %" PRIu64, i);
        T_EQ_I64(cellar_set(c, key, (size_t)len, value, sizeof value, NULL), CELLAR_OK);
        if (cellar_delete(c, key, (size_t)len) == CELLAR_OK) {
            count_cause(c, key, CELLAR_CAUSE_DELETED, &known);
        }
        T_EQ_I64(cellar_set(part, key, (size_t)len, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_clear(part), CELLAR_OK);
        T_EQ_I64(cellar_contains(part, key, (size_t)len), CELLAR_MISS); /* set here alone */
        count_cause(part, key, CELLAR_CAUSE_CLEARED, &known);
        T_EQ_I64(cellar_set(c, key, (size_t)len, value, sizeof value, &brief), CELLAR_OK);
        atomic_fetch_add(&api_now_ms, 200);
        count_cause(c, key, CELLAR_CAUSE_EXPIRED, &known);
    }
    crowd_end(&w);
    printf("# %" PRIu64 " of %" PRIu64 " causes known\n", known, 3 * rounds);
    T_CHECK(known > rounds);
    for (uint64_t id = 0; id < w.keys; id++) {
        cellar_reason r = cellar_reason_default();
        T_EQ_I64(cellar_why(c, &id, sizeof id, &r), CELLAR_OK);
        T_EQ_I64(r.answer == CELLAR_WHY_LIVE,
                 cellar_contains(c, &id, sizeof id) == CELLAR_OK);
    }
    /* The records of dead generations leave: nothing of the namespace stays. */
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(figures_of(part, CELLAR_SCOPE_NAMESPACE).namespace_entries, 0);
    T_EQ_I64(cellar_namespace_close(part), CELLAR_OK);
    api_shut(c);
}

T_MAIN("lanes_exact")
