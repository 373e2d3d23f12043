/* SPDX-License-Identifier: MIT
 *
 * Aim:    Memory that the host charges counts in the one budget: entries make room for it, and the
 *         budget holds.
 * Method: A store of 8 MiB without threads, full of entries. */
#include "tests/support/api_kit.h"
#include "tests/support/said.h"
#include "tests/support/told.h"

#define MIB (INT64_C(1) << 20)

static cellar *full_store(void)
{
    static const char value[1000];
    cellar *c = api_open(8 * MIB);
    for (int i = 0; i < 20000; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    return c;
}

#define FULL(fn) T_WITH(fn, cellar *c, c, full_store(), api_shut(c))

T_CASE_ON(charge_evicts_entries_and_the_budget_holds, FULL)
{
    const uint64_t before = store_stats(c).entries;
    T_EQ_I64(cellar_memory_charge(c, 4 * MIB), CELLAR_OK);
    T_CHECK(store_stats(c).entries < before * 3 / 4);
    T_CHECK(store_stats(c).used_bytes <= 8 * MIB && store_stats(c).used_bytes >= 4 * MIB);
    T_EQ_I64(cellar_memory_charge(c, 8 * MIB), CELLAR_E_SPACE);
    T_EQ_I64(cellar_memory_charge(c, INT64_MAX), CELLAR_E_SPACE);
    T_EQ_I64(cellar_memory_charge(c, INT64_MIN), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memory_charge(c, -(4 * MIB + 1)), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memory_charge(c, -MIB), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(c, -(3 * MIB)), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(c, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memory_charge(c, 0), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(NULL, 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_memory_charge(NULL, -1), CELLAR_E_INVAL);
}

T_CASE(close_gives_back_the_rest)
{
    cellar *c = full_store(), *v;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(v, MIB), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(v, MIB), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_memory_charge(v, -MIB), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_memory_charge(c, -(MIB / 2)), CELLAR_OK); /* of any handle */
    api_shut(c); /* asserts that the account is empty */
}

T_CASE_ON(budget_below_the_charge_is_refused, FULL)
{
    int64_t budget = 0;
    T_EQ_I64(cellar_memory_charge(c, 5 * MIB), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (int64_t)(4 * MIB)), CELLAR_E_RANGE);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &budget), CELLAR_OK);
    T_EQ_I64(budget, 8 * MIB); /* nothing changed */
    T_EQ_I64(cellar_memory_charge(c, -(5 * MIB)), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (int64_t)(4 * MIB)), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "k", "v", 0), CELLAR_OK);
    T_CHECK(store_stats(c).used_bytes <= 4 * MIB);
}

/* The segment of the entry may be evicted to make room for its own copy with a version. */
T_CASE(version_in_a_store_without_room_copies_no_evicted_value)
{
    static const char value[8192];
    settings cfg = api_config(MIB);
    cfg.tuning.stripes = 1;
    cellar *c = api_open_with(&cfg);
    T_EQ_I64(cellar_memory_charge(c, MIB * 7 / 8), CELLAR_OK);
    for (uint32_t key = 0; key < 200; key++) {
        cellar_entry_info info = cellar_entry_info_default();
        (void)cellar_set(c, &key, sizeof key, value, 1100 + key * 1237 % 5000, NULL);
        const cellar_err err =
            cellar_entry_info_get(c, &key, sizeof key, CELLAR_GET_WANT_VERSION, &info);
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_E_SPACE);
    }
    api_shut(c);
}

/* ---- weights ---- */

static cellar_err weigh(cellar *c, int key, uint64_t weight, uint32_t flags)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.weight_bytes = weight;
    o.flags = flags;
    const bool negative = (flags & CELLAR_NEGATIVE) != 0;
    if (negative) { o.ttl_ms = 1000; }
    return cellar_set(c, &key, sizeof key, negative ? NULL : "12345678", negative ? 0 : 8, &o);
}

static bool holds(uint64_t used, uint64_t before, uint64_t weight)
{
    const uint64_t slack = MIB; /* segments and the index come and go */
    return used + slack >= before + weight && used <= before + weight + slack;
}

T_CASE(weight_evicts_as_bytes_of_values_do)
{
    static const char value[10000];
    uint64_t entries[2] = { 0 };
    for (unsigned real = 0; real < 2; real++) {
        cellar *c = api_open(16 * MIB);
        for (int i = 0; i < 10000; i++) {
            T_EQ_I64(real ? cellar_set(c, &i, sizeof i, value, sizeof value, NULL)
                          : weigh(c, i, sizeof value, 0), CELLAR_OK);
            if (i % 1000 == 0) { T_CHECK(store_stats(c).used_bytes <= 16 * MIB); }
        }
        T_CHECK(store_stats(c).used_bytes <= 16 * MIB && store_stats(c).used_bytes >= 14 * MIB);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
        entries[real] = store_stats(c).entries;
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (int64_t)(8 * MIB)), CELLAR_OK);
        T_CHECK(store_stats(c).used_bytes <= 8 * MIB && store_stats(c).entries >= entries[real] / 3);
        for (int i = 0; i < 1000; i++) { T_EQ_I64(cellar_set(c, &i, 4, "v", 1, NULL), CELLAR_OK); }
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
        api_shut(c); /* asserts that the account is empty */
    }
    T_CHECK(entries[0] > entries[1] * 95 / 100 && entries[0] < entries[1] * 112 / 100);
}

static cellar_err append(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    return cellar_buf_append(out, old, len);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(64 * MIB), api_shut(c))
#define STORE2(fn) T_WITH(fn, cellar *c, c, api_open(16 * MIB), api_shut(c))

T_CASE_ON(weight_ends_with_its_entry, STORE)
{
    int64_t sum = 0;
    int key = 1;
    T_EQ_I64(weigh(c, 0, 0, 0), CELLAR_OK);
    const uint64_t before = store_stats(c).used_bytes;
    for (int round = 0; round < 2; round++) { /* of the same size, of another one */
        T_EQ_I64(weigh(c, key, (uint64_t)(8 * MIB), 0), CELLAR_OK);
        T_EQ_I64(weigh(c, key, (uint64_t)((8 - 4 * round) * MIB), 0), CELLAR_OK);
        T_CHECK(holds(store_stats(c).used_bytes, before, (uint64_t)((8 - 4 * round) * MIB)));
    }
    T_EQ_I64(cellar_touch(c, &key, sizeof key, 60000), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, &key, sizeof key, 1, 0, NULL, &sum), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 4 * MIB));
    T_EQ_I64(weigh(c, key, 8 * MIB, CELLAR_ONLY_IF_ABSENT), CELLAR_EXISTS);
    T_EQ_I64(weigh(c, 2, 8 * MIB, CELLAR_ONLY_IF_PRESENT), CELLAR_MISS);
    T_CHECK(holds(store_stats(c).used_bytes, before, 4 * MIB));
    T_EQ_I64(cellar_update(c, &key, sizeof key, NULL, append, NULL), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 0));
    T_EQ_I64(weigh(c, key, 8 * MIB, 0), CELLAR_OK);
    T_EQ_I64(cellar_set(c, &key, sizeof key, "12345678", 8, NULL), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 0));
    T_EQ_I64(weigh(c, key, 8 * MIB, 0), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 0));
    const uint64_t empty = store_stats(c).used_bytes;
    T_EQ_I64(weigh(c, key, MIB / 16, CELLAR_NEGATIVE), CELLAR_OK);
    T_CHECK(store_stats(c).used_bytes >= empty + MIB / 16);
    atomic_fetch_add(&api_now_ms, 2000);
    T_EQ_I64(cellar_tick(c, UINT64_MAX, NULL), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 0));
    T_EQ_I64(weigh(c, key, 8 * MIB, 0), CELLAR_OK);
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_I64(cellar_tick(c, UINT64_MAX, NULL), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 0));
}

T_CASE_ON(weight_above_half_of_the_budget_is_too_big, STORE2)
{
    int key = 1;
    T_EQ_I64(weigh(c, key, 7 * MIB, 0), CELLAR_OK);
    T_EQ_I64(weigh(c, key, 8 * MIB + 1, CELLAR_KEEP_OLD_VALUE), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_contains(c, &key, sizeof key), CELLAR_OK);
    T_EQ_I64(weigh(c, key, UINT64_MAX, 0), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_contains(c, &key, sizeof key), CELLAR_MISS);
    cellar_error_info why = error_info(c);
    T_CHECK(strstr(why.text, "weight_bytes must be at most half of memory_bytes") != NULL);
    const cellar_set_opts o = { .struct_size = sizeof o, .weight_bytes = 8 * MIB + 1 };
    int64_t now;
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, &o, &now), CELLAR_E_TOOBIG); /* a new counter */
    T_CHECK(strstr(error_info(c).text, "cellar_increment: weight_bytes must") != NULL);
    T_EQ_U64(store_stats(c).write_errors, 3);
    T_EQ_I64(weigh(c, key, 3 * MIB, CELLAR_NEGATIVE), CELLAR_E_SPACE); /* above their eighth */
    T_CHECK(store_stats(c).used_bytes < 4 * MIB);
}

static void load_weighs(cellar_load *load, uint64_t weight)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.weight_bytes = weight;
    T_EQ_I64(cellar_load_opts_set(load, &o), CELLAR_OK);
}

static cellar_err load_heavy(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    load_weighs(load, 4 * MIB);
    return cellar_load_value(load, "value", 5);
}

T_CASE_ON(loaded_and_leased_values_have_weights, STORE)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    cellar_set_opts o = cellar_set_opts_default();
    const uint64_t before = store_stats(c).used_bytes;
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load_heavy, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_CHECK(holds(store_stats(c).used_bytes, before, 4 * MIB));
    T_EQ_I64(cellar_lease_acquire(c, "l", 1, NULL, NULL, &lease, &r), CELLAR_LEASED);
    cellar_result_free(&r);
    o.weight_bytes = 8 * MIB;
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "value", 5, &o), CELLAR_OK);
    T_CHECK(holds(store_stats(c).used_bytes, before, 12 * MIB));
}

/* The condition is judged before memory is freed for the weight. */
T_CASE_ON(refused_set_with_a_weight_evicts_nothing, STORE2)
{
    static const char value[100000];
    for (int i = 0; i < 400; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    T_EQ_I64(weigh(c, 400, 0, 0), CELLAR_OK);
    const uint64_t entries = store_stats(c).entries;
    T_EQ_I64(weigh(c, 400, 4 * MIB, CELLAR_ONLY_IF_ABSENT), CELLAR_EXISTS);
    T_EQ_I64(weigh(c, 401, 4 * MIB, CELLAR_ONLY_IF_PRESENT), CELLAR_MISS);
    T_EQ_U64(store_stats(c).entries, entries);
}

/* ctx: the store, filled so that the entry is evicted; NULL: it stays. */
static cellar_err load_same(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    static const char value[1000];
    (void)key, (void)key_len;
    for (int i = 1000; ctx != NULL && i < 60000; i++) {
        T_EQ_I64(cellar_set(ctx, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    return cellar_load_not_modified(load);
}

static cellar_err load_none(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    load_weighs(load, MIB / 16);
    return cellar_load_absent(load);
}

/* The end of the entry "k" gives its weight back; a page of the index may come beside it. */
static void gives_back(cellar *c, uint64_t weight)
{
    const uint64_t used = store_stats(c).used_bytes;
    (void)cellar_delete(c, "k", 1);
    T_CHECK(used - store_stats(c).used_bytes + 8192 >= weight);
}

T_CASE(weight_cost_and_idle_time_stay_with_a_value_that_is_not_modified)
{
    for (int evicted = 0; evicted < 2; evicted++) {
        cellar *c = api_open(16 * MIB);
        cellar_result r = cellar_result_default();
        cellar_load_opts lo = cellar_load_opts_default();
        cellar_set_opts o = cellar_set_opts_default();
        o.weight_bytes = 6 * MIB;
        o.ttl_ms = o.idle_ms = 60000;
        o.cost_us = 4096;
        lo.flags = CELLAR_LOAD_REFRESH;
        T_EQ_I64(cellar_set(c, "k", 1, "value", 5, &o), CELLAR_OK);
        T_EQ_I64(cellar_get_or_load(c, "k", 1, &lo, load_same, evicted ? c : NULL, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_FIELDS(key_info(c, "k"), idle_ms, 60000, cost_us, 4096);
        gives_back(c, 6 * MIB);
        api_shut(c);
    }
}

T_CASE_ON(loaded_absence_has_a_weight, STORE)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load_none, NULL, &r), CELLAR_ABSENT);
    cellar_result_free(&r);
    gives_back(c, MIB / 16);
}

/* With small entries the history of evicted keys takes a fifth of the budget. */
T_CASE(shrink_beside_a_charge_makes_the_history_smaller)
{
    settings cfg = api_config(16 * MIB);
    cfg.tuning.expected_entry_bytes = 16;
    cellar *c = api_open_with(&cfg);
    T_EQ_I64(cellar_memory_charge(c, 6 * MIB), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (int64_t)(8 * MIB)), CELLAR_OK);
    T_CHECK(store_stats(c).used_bytes <= 8 * MIB);
    T_EQ_I64(cellar_set(c, "k", 1, "value", 5, NULL), CELLAR_OK);
    api_shut(c);
}

T_CASE_ON(store_that_pins_keep_above_its_budget_is_consistent, STORE2)
{
    static const char value[100000];
    static cellar_pinned pin[100];
    for (int i = 0; i < 100; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_pin(c, &i, sizeof i, &pin[i]), CELLAR_OK);
    }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (int64_t)(4 * MIB)), CELLAR_E_BUSY);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    for (int i = 0; i < 100; i++) { cellar_unpin(&pin[i]); }
    T_EQ_I64(cellar_tick(c, UINT64_MAX, NULL), CELLAR_OK);
    T_CHECK(store_stats(c).used_bytes <= 4 * MIB);
}

T_CASE(fewer_stripes_than_wanted_are_shown)
{
    static const struct { uint64_t memory; uint64_t max_entries; uint32_t wanted, got; } rows[] = {
        { 64 * MIB, 0, 16, 16 }, { 4 * MIB, 0, 1024, 8 }, { 64 * MIB, 256, 64, 4 },
        { 16 * MIB, 0, 64, 16 }, { 4 * MIB, 0, 0, 8 }, /* the default is no wish */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char dump[16384], line[64];
        size_t len;
        said[0] = '\0';
        settings cfg = api_config(rows[i].memory);
        cfg.config.max_entries = rows[i].max_entries;
        cfg.tuning.stripes = rows[i].wanted;
        cfg.host.log = listen_to;
        cellar *c = api_open_with(&cfg);
        T_EQ_U64(store_stats(c).stripes, rows[i].got);
        T_EQ_I64(lines_with("tuning.stripes"), rows[i].got < rows[i].wanted);
        snprintf(line, sizeof line, ", %u stripes,", (unsigned)rows[i].got);
        T_EQ_I64(cellar_dump_write(c, dump, sizeof dump, &len), CELLAR_OK);
        T_CHECK(strstr(dump, line) != NULL);
        api_shut(c);
    }
}

T_ONE_THREAD;
T_MAIN("api_charge")
