/* SPDX-License-Identifier: MIT
 *
 * Aim:    Absent keys cannot evict values. Negative entries and remembered errors hold at most an
 *         eighth of the budget, under every eviction policy and with a bound of entries. Negative
 *         entries that are read often stay.
 * Method: A store full of values, then a flood of absent keys many times its size. Afterwards a
 *         lookup of each key counts the rest. */
#include "tests/support/figures.h"
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

static const uint32_t rules[] = { CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_S3FIFO, CELLAR_EVICT_LRU,
                                  CELLAR_EVICT_FIFO };
enum { RULES = sizeof rules / sizeof rules[0] };
#define BYTES ((8 << 20) / (t_reduced() ? 4 : 1))
#define FIT (BYTES / 160)

static cellar *open_store(uint32_t rule, uint64_t max_entries)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = (uint64_t)BYTES,
                     .config.max_entries = max_entries, .config.eviction = rule,
                     .tuning.stripes = 4, .host.no_threads = 1, .host.clock = kit_clock };
    atomic_store(&kit_now_ms, 1000000);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static size_t name(char key[24], char of, int i)
{
    return (size_t)snprintf(key, 24, "%c%08d", of, i);
}

static int count(cellar *c, char of, int n, cellar_err what)
{
    char key[24];
    int found = 0;
    for (int i = 0; i < n; i++) {
        const size_t len = name(key, of, i);
        found += peek(c, key, len, NULL, 0, NULL) == what;
    }
    return found;
}

static void fill(cellar *c, int n)
{
    char key[24], value[100] = { 0 };
    for (int i = 0; i < n; i++) {
        const size_t len = name(key, 'v', i);
        T_EQ_I64(cellar_set(c, key, len, value, sizeof value, NULL), CELLAR_OK);
    }
}

/* Each load reports absent; every tenth time one of ten hot keys is loaded as well. */
static void flood(cellar *c, int from, int n, int *loads)
{
    char key[24];
    source s = SOURCE_INIT, hot = SOURCE_INIT;
    char text[64];
    atomic_store(&s.say, SAY_NONE);
    atomic_store(&hot.say, SAY_NONE);
    for (int i = from; i < from + n; i++) {
        (void)name(key, 'n', i);
        T_EQ_I64(kit_load(c, key, NULL, &s, text, NULL), CELLAR_ABSENT);
        if (i % 10 == 0) {
            (void)name(key, 'h', i / 10 % 10);
            T_EQ_I64(kit_load(c, key, NULL, &hot, text, NULL), CELLAR_ABSENT);
        }
        if (i % 2000 == 0) { T_CHECK(figure(c, "cellar_absent_bytes") <= BYTES / 8); }
    }
    *loads = atomic_load(&hot.calls);
}

static void flooded(uint32_t rule, uint64_t max_entries)
{
    cellar *c = open_store(rule, max_entries);
    const int fit = max_entries != 0 ? (int)max_entries : FIT;
    int hot;
    fill(c, 2 * fit);
    const int before = count(c, 'v', 2 * fit, CELLAR_E_BUFFER);
    flood(c, 0, 10 * fit, &hot);
    const int values = count(c, 'v', 2 * fit, CELLAR_E_BUFFER);
    const int absent = count(c, 'n', 10 * fit, CELLAR_ABSENT);
    const uint64_t entries = figure(c, "cellar_absent_entries");
    printf("# rule %u%s: %d values, then %d; %d absent keys known, %d bytes; %d loads of hot ones, "
           "%d not kept\n", rule, max_entries != 0 ? ", by entries" : "", before, values, absent,
           (int)figure(c, "cellar_absent_bytes"), hot,
           (int)figure(c, "cellar_absent_rejected_total"));
    T_CHECK(values * 100 >= before * 75);
    T_CHECK((uint64_t)absent <= entries && entries <= (uint64_t)absent + 10);
    if (max_entries != 0) { T_CHECK(entries <= max_entries / 8); }
    T_CHECK(absent >= fit / 20); /* some absent keys stay, too */
    kit_close(c);
}

T_CASE(negative_entries_hold_at_most_an_eighth)
{
    for (size_t i = 0; i < RULES; i++) {
        flooded(rules[i], 0);
        flooded(rules[i], 4000);
    }
}

/* Negative entries with long keys among thousands of very small values: a new negative entry that
 * finds no negative victim is not stored. The value that it replaces is not served either. */
T_CASE(negative_entry_without_victim_is_not_stored)
{
    cellar *c = closed_later(open_store(CELLAR_EVICT_ADAPTIVE, 0));
    char key[240];
    uint64_t refused = 0, loads_refused = 0;
    memset(key, 'x', sizeof key);
    cellar_set_opts none = { .struct_size = sizeof none, .flags = CELLAR_NEGATIVE };
    for (int i = 0; i < BYTES / 4 / (int)sizeof key; i++) {
        (void)name(key, 'n', i);
        T_EQ_I64(cellar_set(c, key, sizeof key, "", 0, &none), CELLAR_OK);
    }
    for (int i = 0; i < BYTES / 40; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, "", 0, NULL), CELLAR_OK);
    }
    for (int i = BYTES / 2; i < BYTES / 2 + BYTES / 2 / (int)sizeof key; i++) {
        (void)name(key, 'n', i);
        const bool had = i % 2 == 0;
        if (had) { T_EQ_I64(cellar_set(c, key, sizeof key, "old", 3, NULL), CELLAR_OK); }
        const cellar_err err = cellar_set(c, key, sizeof key, "", 0, &none);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
        refused += err == CELLAR_E_SPACE;
        const cellar_err now = cellar_get(c, key, sizeof key, NULL, 0, NULL);
        T_EQ_I64(now, err == CELLAR_OK ? CELLAR_ABSENT : CELLAR_MISS);
        if (err == CELLAR_E_SPACE) { /* a load still returns its answer */
            source s = SOURCE_INIT;
            cellar_result r = cellar_result_default();
            atomic_store(&s.say, SAY_NONE);
            T_EQ_I64(cellar_get_or_load(c, key, sizeof key, NULL, source_load, &s, &r),
                     CELLAR_ABSENT);
            loads_refused += (r.flags & CELLAR_RESULT_NOT_STORED) != 0;
            cellar_result_free(&r);
        }
        if (i % 2000 == 0) { T_CHECK(figure(c, "cellar_absent_bytes") <= BYTES / 8); }
    }
    printf("# %d sets and %d loads not kept\n", (int)refused, (int)loads_refused);
    T_CHECK(refused > 0 && loads_refused > 0);
    T_EQ_U64(figure(c, "cellar_absent_rejected_total"), refused + loads_refused);
}

/* An entry changes between negative, remembered error and value; the audit counts. */
T_CASE(entry_changes_between_value_and_negative)
{
    cellar *c = closed_later(open_store(CELLAR_EVICT_ADAPTIVE, 0));
    char key[24], text[64];
    uint64_t rng = 7;
    cellar_set_opts none = cellar_set_opts_default(), dear = cellar_set_opts_default();
    none.flags = CELLAR_NEGATIVE;
    dear.cost_us = 1000;
    for (int i = 0; i < 4000; i++) {
        rng = rng * UINT64_C(6364136223846793005) + 1;
        const int what = (int)(rng >> 60) % 6;
        const size_t len = name(key, 'k', (int)(rng >> 40) % 50);
        source s = SOURCE_INIT;
        atomic_store(&s.say, what == 4 ? SAY_FAIL : SAY_NONE);
        switch (what) {
        case 0: T_EQ_I64(cellar_set(c, key, len, "", 0, &none), CELLAR_OK); break;
        case 1: T_EQ_I64(cellar_set(c, key, len, "", 0, &dear), CELLAR_OK); break;
        case 2: T_EQ_I64(cellar_set(c, key, len, "value", 5, NULL), CELLAR_OK); break;
        case 3: (void)cellar_delete(c, key, len); break;
        default: (void)kit_load(c, key, LOAD_OPTS(.error_ttl_ms = 1000), &s, text, NULL); break;
        }
        if (i % 500 == 0) {
            T_AFTER_I64(atomic_fetch_add(&kit_now_ms, 700), cellar_integrity_check(c), CELLAR_OK);
        }
    }
}

T_ONE_THREAD;
T_MAIN("api_negative")
