/* SPDX-License-Identifier: MIT
 *
 * Aim:    The advisor of a running cache states the hit ratio of other budgets, for the store and
 *         for each namespace. It writes to cellar_advice_get and to the dump. It
 *         states nothing before it has seen enough; 0 never means "unknown". It can be switched
 *         off. Together with the record of cellar_why it takes at most 1.2 % of the budget.
 *         The first look at the hits of a store counts all of them.
 * Method: A skewed load (its hit ratio depends on the budget) runs with one namespace that always
 *         hits and one that never hits. Stores of half and twice the budget run the same load. The
 *         hash key is fixed, so that each run has the same sample. */
#include "tests/support/api_kit.h"
#include "tests/support/figures.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

#define ENTRIES 8000u
#define KEYS 60000u
#define ROUND 300000u
#define MIB ((uint64_t)1 << 20)
enum { HALF = 1, NOW = 3, TWICE = 5 };

static uint64_t seed;
static double drawn(void) /* 0..1 */
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) / 9007199254740992.0;
}

static settings config(uint64_t entries)
{
    static const uint8_t secret[32] = { 9 };
    settings cfg = api_config(16 * MIB);
    cfg.config.max_entries = entries;
    cfg.tuning.hash_key = secret;
    return cfg;
}

static cellar *open_store(uint64_t entries)
{
    const settings cfg = config(entries);
    return api_open_with(&cfg);
}

static void ask(cellar *v, uint64_t id)
{
    unsigned char buf[8];
    size_t len;
    if (cellar_get(v, &id, sizeof id, buf, sizeof buf, &len) == CELLAR_MISS) {
        T_EQ_I64(cellar_set(v, &id, sizeof id, buf, sizeof buf, NULL), CELLAR_OK);
    }
}

static void skewed(cellar *v, uint32_t requests)
{
    seed = 4711;
    for (uint32_t i = 0; i < requests; i++) {
        const double u = drawn();
        ask(v, (uint64_t)(u * u * u * KEYS));
    }
}

static cellar_err advise(cellar *c, int scope, cellar_advice *out)
{
    *out = cellar_advice_default();
    return cellar_advice_get(c, scope, out);
}

/* Return the hit ratio that the dump states for a scale of the budget; -1: none. The lines of the
 * store (namespace NULL) stand before those of the namespaces. */
static double told(cellar *c, const char *namespace, const char *scale)
{
    char words[80];
    const char *at = strstr(figures_text(c), "\nl1: ");
    if (namespace != NULL) {
        (void)snprintf(words, sizeof words, " \"%s\": generation", namespace);
        at = strstr(figures_text(c), words);
    }
    T_REQUIRE(at != NULL);
    const char *end = strstr(at, "\nnamespace ");
    (void)snprintf(words, sizeof words, "\n  at %sx the budget the hit ratio would be ", scale);
    at = strstr(at, words);
    return at != NULL && (end == NULL || at < end) ? strtod(at + strlen(words), NULL) / 100 : -1;
}

static bool near(double a, double b, double by) { return a <= b + by && a >= b - by; }

static double ratio_of(uint64_t entries)
{
    cellar *c = open_store(entries);
    skewed(c, ROUND);
    cellar_stats st = store_stats(c);
    api_shut(c);
    return st.hit_ratio;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(ENTRIES), api_shut(c))

T_CASE_ON(advice_states_hit_ratio_of_other_budgets, STORE)
{
    cellar_advice a;
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_PENDING);
    T_EQ_U64(a.requests, 0);
    T_CHECK(strstr(figures_text(c), "the hit ratio would be") == NULL); /* unknown, never 0 */
    skewed(c, 20000);
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_PENDING);
    T_CHECK(a.requests > 0 && a.requests < 512);
    skewed(c, ROUND - 20000);
    T_REQUIRE(advise(c, CELLAR_SCOPE_STORE, &a) == CELLAR_OK);
    T_CHECK(a.requests >= 512);
    static const uint32_t pct[CELLAR_ADVICE_COUNT] = { 25, 50, 71, 100, 141, 200, 400, 800 };
    T_EQ_MEM(a.budget_pct, pct, sizeof pct);
    T_CHECK(near(a.hit_ratio[NOW], a.hit_ratio_now, 1e-9));
    const double half = ratio_of(ENTRIES / 2), twice = ratio_of(ENTRIES * 2);
    printf("# half %.3f said %.3f, twice %.3f said %.3f\n", half, a.hit_ratio[HALF], twice,
           a.hit_ratio[TWICE]);
    T_CHECK(twice > half + .1); /* otherwise the two budgets cannot be told apart */
    T_CHECK(near(a.hit_ratio[HALF], half, .04));
    T_CHECK(near(a.hit_ratio[TWICE], twice, .04));
    T_CHECK(near(told(c, NULL, "2"), a.hit_ratio[TWICE], 6e-4));
    char line[80];
    snprintf(line, sizeof line, "at 2x the budget the hit ratio would be %.1f %% (now %.1f %%)",
             a.hit_ratio[TWICE] * 100, a.hit_ratio_now * 100);
    T_CHECK(strstr(figures_text(c), line) != NULL);
}

/* Misses of deleted keys, which no budget would have saved. */
T_CASE(unsampled_misses_count_at_every_budget)
{
    cellar_advice a;
    cellar *c = open_store(1000);
    for (uint64_t i = 0; i < 500000; i++) { /* the record has forgotten the first misses by then */
        const uint64_t id = i % 200;
        if (i % 3 == 0) { (void)cellar_delete(c, &id, sizeof id); }
        ask(c, id);
    }
    T_REQUIRE(advise(c, CELLAR_SCOPE_STORE, &a) == CELLAR_OK);
    T_CHECK(a.hit_ratio_now < .7 && a.hit_ratio_now > .6);
    for (unsigned i = NOW; i < CELLAR_ADVICE_COUNT; i++) {
        T_CHECK(near(a.hit_ratio[i], a.hit_ratio_now, 1e-9));
    }
    T_CHECK(a.hit_ratio[0] <= a.hit_ratio_now);
    T_CHECK(near(told(c, NULL, "2"), a.hit_ratio_now, 6e-4));
    api_shut(c);
}

static cellar_err loader(struct cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(l, key, len);
}

/* Where loads are timed, the dump states the time that each budget would save. */
T_CASE_ON(dump_states_time_saved_by_other_budgets, STORE)
{
    seed = 4711;
    for (uint32_t i = 0; i < ROUND / 3; i++) {
        const double u = drawn();
        const uint64_t id = (uint64_t)(u * u * u * KEYS);
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_get_or_load(c, &id, sizeof id, NULL, loader, NULL, &r), CELLAR_OK);
        cellar_result_free(&r);
    }
    const char *text = figures_text(c), *half = strstr(text, "at 0.5x the budget");
    const char *twice = strstr(text, "at 2x the budget");
    T_REQUIRE(half != NULL && twice != NULL);
    const char *more = strstr(half, " ms more in 1,000 gets\n");
    const char *less = strstr(twice, " ms less in 1,000 gets\n");
    T_CHECK(more != NULL && more < strchr(half, '\n'));
    T_CHECK(less != NULL && less < strchr(twice, '\n'));
}

T_CASE_ON(advice_is_separate_for_each_namespace, STORE)
{
    cellar_advice a, all;
    cellar *hot = space_with(c, "hot", NULL), *cold = space_with(c, "cold", NULL);
    cellar *mixed = space_with(c, "mixed", NULL), *rare = space_with(c, "rare", NULL);
    uint64_t fresh = 0;
    seed = 4711;
    for (uint32_t i = 0; i < ROUND; i++) {
        const double u = drawn();
        ask(mixed, (uint64_t)(u * u * u * KEYS));
        ask(hot, (uint64_t)(drawn() * 500));
        ask(cold, fresh++);
    }
    ask(rare, 1);
    T_REQUIRE(advise(hot, CELLAR_SCOPE_NAMESPACE, &a) == CELLAR_OK);
    T_CHECK(a.hit_ratio_now > .99 && a.hit_ratio[TWICE] > .99 && a.hit_ratio[HALF] > .9);
    T_REQUIRE(advise(cold, CELLAR_SCOPE_NAMESPACE, &a) == CELLAR_OK);
    T_CHECK(a.hit_ratio_now < .001 && a.hit_ratio[7] < .001);
    T_REQUIRE(advise(mixed, CELLAR_SCOPE_NAMESPACE, &a) == CELLAR_OK);
    T_CHECK(a.hit_ratio[HALF] + .05 < a.hit_ratio[NOW] &&
            a.hit_ratio[NOW] + .05 < a.hit_ratio[TWICE]);
    T_CHECK(near(told(c, "mixed", "0.5"), a.hit_ratio[HALF], 6e-4));
    T_REQUIRE(advise(mixed, CELLAR_SCOPE_STORE, &all) == CELLAR_OK);
    T_CHECK(near(all.hit_ratio_now, (a.hit_ratio_now + 1) / 3, .02));
    T_EQ_I64(advise(rare, CELLAR_SCOPE_NAMESPACE, &a), CELLAR_PENDING);
    T_CHECK(told(c, "rare", "2") < 0);
    /* A later namespace of the same name or place inherits nothing, and the others keep theirs. */
    T_EQ_I64(cellar_namespace_drop(c, "cold"), CELLAR_OK);
    close_now(cold);
    cold = space_with(c, "cold", NULL);
    T_EQ_I64(advise(cold, CELLAR_SCOPE_NAMESPACE, &a), CELLAR_PENDING);
    T_EQ_I64(advise(hot, CELLAR_SCOPE_NAMESPACE, &a), CELLAR_OK);
    T_CHECK(a.hit_ratio_now > .99);
    T_EQ_I64(advise(mixed, CELLAR_SCOPE_NAMESPACE, &a), CELLAR_OK);
    T_CHECK(a.hit_ratio[HALF] + .05 < a.hit_ratio[NOW]);
    T_EQ_I64(cellar_namespace_drop(c, "mixed"), CELLAR_OK);
    mixed = space_with(c, "mixed", NULL);
    T_EQ_I64(advise(mixed, CELLAR_SCOPE_NAMESPACE, &a), CELLAR_PENDING);
    T_EQ_U64(a.requests, 0);
}

/* The first 64 namespaces with requests have figures of their own; the sum of the store has all. */
T_CASE(namespaces_beyond_64_count_in_the_sum_only)
{
    cellar_advice a;
    cellar *c = open_store(1000), *v[70];
    for (unsigned i = 0; i < 70; i++) {
        v[i] = space_with(c, t_numbered("v", i), NULL);
        for (uint64_t id = 0; id < 50; id++) { ask(v[i], id); }
    }
    for (uint32_t i = 0; i < 60000; i++) {
        ask(v[69], i % 100);
        ask(v[3], i % 100);
    }
    T_EQ_I64(advise(v[3], CELLAR_SCOPE_NAMESPACE, &a), CELLAR_OK);
    T_EQ_I64(advise(v[69], CELLAR_SCOPE_NAMESPACE, &a), CELLAR_PENDING);
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_OK);
    api_shut(c);
}

/* Open a store without an advisor. */
static void unadvised(const settings *cfg)
{
    cellar_advice a;
    cellar *c = api_open_with(cfg);
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_E_UNSUPPORTED);
    api_shut(c);
}

T_CASE(advice_without_advisor_is_unsupported)
{
    cellar_advice a;
    settings cfg = config(ENTRIES);
    cfg.tuning.no_advisor = 1;
    cellar *c = api_open_with(&cfg);
    skewed(c, 30000);
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_E_UNSUPPORTED);
    T_CHECK(a.hit_ratio_now > 0);
    T_CHECK(strstr(figures_text(c), "the hit ratio would be") == NULL);
    T_CHECK(figure_or_none(c, "  advisor") < 0);
    api_shut(c);
    cfg = config(ENTRIES);
    cfg.config.eviction = CELLAR_EVICT_LRU; /* the advisor models only the adaptive policy */
    unadvised(&cfg);
    cfg = config(ENTRIES);
    cfg.config.memory_bytes = 16 * MIB - 1;
    unadvised(&cfg);
    c = open_store(999);
    T_EQ_I64(advise(c, CELLAR_SCOPE_STORE, &a), CELLAR_E_UNSUPPORTED);
    cellar_error_info why = error_info(c);
    T_CHECK(strstr(why.text, "1,000 entries") != NULL && strstr(why.text, "OBJECTS") != NULL);
    api_shut(c);
}

/* The bound holds for any budget; values of 100 bytes fill the record the most. */
T_CASE(advisor_and_why_take_at_most_1_2_percent_of_budget)
{
    static const uint64_t mib[] = { 1, 8, 16, 17, 24, 48, 100, 256, 1000 };
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        settings cfg = api_config(mib[i] * MIB);
        cfg.tuning.expected_entry_bytes = 108;
        cellar *c = api_open_with(&cfg);
        const double advisor = figure_or_none(c, "  advisor");
        const double why = figure_or_none(c, "  explain");
        const double pct = (advisor + why) * 100 / (double)(mib[i] * MIB);
        printf("# %4u MiB: advisor %.0f, why %.0f bytes: %.2f %%\n", (unsigned)mib[i], advisor,
               why, pct);
        T_CHECK(why > 0 && (advisor > 0) == (mib[i] >= 16));
        T_CHECK(pct <= 1.2);
        api_shut(c);
    }
}

/* A hot key is rarely among the sampled ones. All hits of the store count in its first look, at the
 * choice of the rule that guards what a loop finds inside. */
T_CASE(hot_key_outside_the_sample_keeps_the_first_rule)
{
    for (unsigned hits = 0; hits < 20; hits += 19) {
        cellar *c = open_store(ENTRIES);
        for (uint64_t id = 1; id < 3 * ENTRIES; id++) {
            for (unsigned i = 0; i < hits; i++) { ask(c, 0); }
            ask(c, id);
        }
        const uint64_t rule = figure(c, "cellar_l1_rule");
        printf("# %u of %u requests hit: rule %u\n", hits, hits + 1, (unsigned)rule);
        T_EQ_U64(rule, hits == 0 ? 1 : 0); /* guard, near */
        api_shut(c);
    }
}

T_ONE_THREAD;
T_MAIN("api_advice")
