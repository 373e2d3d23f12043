/* SPDX-License-Identifier: MIT
 *
 * Aim:    Wrong options, arguments and results of loads are codes with a reason and keep
 *         nothing.
 * Method: Each field of the options at and over its bounds; each unknown flag in every call;
 *         loaders that report wrong results. */
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))

/* ---- bad input ---- */

T_CASE_ON(bad_input_options_are_refused, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    const struct { size_t at; int64_t value; bool wide; } bad[] = {
#define WIDE(f, v) { offsetof(cellar_load_opts, f), (v), true }
#define NARROW(f, v) { offsetof(cellar_load_opts, f), (v), false }
        WIDE(ttl_ms, -1), WIDE(negative_ttl_ms, -1), WIDE(error_ttl_ms, -1),
        WIDE(error_ttl_max_ms, -1), WIDE(stale_ms, -1), WIDE(retry_throttle_ms, -1),
            WIDE(soft_timeout_ms, -1),
        WIDE(hard_timeout_ms, -1), WIDE(wait_timeout_ms, INT64_MIN), WIDE(fallback_ttl_ms, -1),
        WIDE(hard_timeout_ms, 86400001), WIDE(stale_ms, (int64_t)1 << 32), NARROW(jitter_pct, 101),
        WIDE(error_ttl_max_ms, 86400001), NARROW(xfetch_beta_x100, 100001), NARROW(flags, 0x1000),
        NARROW(jitter_mode, 3), NARROW(join_retries, 9), NARROW(leader_retries, 16),
        NARROW(eager_refresh_pct, 100),
        NARROW(ctx_bytes, 257), NARROW(flags, CELLAR_LOAD_BYPASS | CELLAR_LOAD_ONLY_IF_CACHED),
    };
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK); /* also refused on a hit */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cellar_load_opts o = cellar_load_opts_default();
        const uint32_t narrow = (uint32_t)bad[i].value;
        if (bad[i].wide) {
            memcpy((char *)&o + bad[i].at, &bad[i].value, 8);
        } else {
            memcpy((char *)&o + bad[i].at, &narrow, 4);
        }
        if (!T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL)) {
            printf("# row %zu\n", i);
        }
    }
    cellar_load_opts o = { .struct_size = sizeof o, .soft_timeout_ms = 500,
                           .hard_timeout_ms = 499 };
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    o = cellar_load_opts_default();
    o.eager_refresh_pct = 50;
    o.xfetch_beta_x100 = 100;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    o = cellar_load_opts_default();
    o.ctx_release = free;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    o = cellar_load_opts_default();
    o.struct_size = 0;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    T_EQ_I64(atomic_load(&s.calls), 0);
}

/* Where the header names a bound, the value at the bound is accepted and the next one refused. */
T_CASE_ON(bounds_of_load_options, STORE)
{
    source s = SOURCE_INIT;
    char text[64], key[16];
    const struct { size_t at; int64_t last; bool wide; } bound[] = {
        WIDE(error_ttl_max_ms, 86400000), WIDE(stale_ms, UINT32_MAX),
            WIDE(hard_timeout_ms, 86400000),
        NARROW(jitter_pct, 100), NARROW(jitter_mode, 2), NARROW(join_retries, 8),
        NARROW(leader_retries, 15), NARROW(eager_refresh_pct, 99), NARROW(xfetch_beta_x100, 100000),
        NARROW(flags, CELLAR_LOAD_NO_NEGATIVE | CELLAR_LOAD_NO_WAIT | CELLAR_LOAD_PIN),
        NARROW(ctx_bytes, CELLAR_LOAD_CTX_MAX),
        NARROW(flags, 0xfff & ~CELLAR_LOAD_ONLY_IF_CACHED),
    };
    for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++) {
        for (int past = 0; past < 2; past++) {
            cellar_load_opts o = cellar_load_opts_default();
            const int64_t v = past && bound[i].at == offsetof(cellar_load_opts, flags)
                                  ? 0x1000 : bound[i].last + past;
            const uint32_t narrow = (uint32_t)v;
            memcpy((char *)&o + bound[i].at, bound[i].wide ? (const void *)&v : &narrow,
                   bound[i].wide ? 8 : 4);
            cellar_result r = cellar_result_default();
            snprintf(key, sizeof key, "%zu", i);
            const cellar_err err = cellar_get_or_load(c, key, strlen(key), &o, source_load, &s, &r);
            cellar_result_free(&r);
            if (!T_EQ_I64(err, past ? CELLAR_E_INVAL : CELLAR_OK)) { printf("# row %zu\n", i); }
        }
    }
    T_EQ_I64(kit_load(c, "x", NULL, &s, text, NULL), CELLAR_OK);
}

T_CASE_ON(error_text_of_a_number_names_the_range_of_the_header, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    const struct { size_t at; const char *range; } row[] = {
#define RANGE(f, range) { offsetof(cellar_load_opts, f), #f " must be " range " or CELLAR_OFF" }
        RANGE(jitter_pct, "1..100"), RANGE(join_retries, "1..8"), RANGE(leader_retries, "1..15"),
        RANGE(eager_refresh_pct, "1..99"), RANGE(xfetch_beta_x100, "1..100,000"),
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        cellar_load_opts o = cellar_load_opts_default();
        cellar_error_info e = cellar_error_info_default();
        const uint32_t over = 100001;
        memcpy((char *)&o + row[i].at, &over, sizeof over);
        T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
        T_CHECK(strstr(e.text, row[i].range) != NULL);
    }
}

/* Flags of the namespace and of the call are combined; the rest of its options are the call's
 * where it has none. */
T_CASE(no_negative_of_a_namespace_joins_the_flags_of_a_call)
{
    cellar *c = kit_open(4 << 20), *v = NULL;
    source s = SOURCE_INIT;
    cellar_load_opts lo = cellar_load_opts_default(), o = cellar_load_opts_default();
    char text[64];
    lo.flags = CELLAR_LOAD_NO_NEGATIVE;
    cellar_namespace_config vo = { .struct_size = sizeof vo, .load = &lo };
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_OK);
    o.flags = CELLAR_LOAD_PIN;
    atomic_store(&s.say, SAY_NONE);
    T_EQ_I64(kit_load(v, "k", &o, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_I64(kit_load(v, "k", NULL, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&s.calls), 2); /* it is told, not stored */
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&s.calls), 3); /* the root has no such option */
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    kit_close(c);
}

static cellar_err never_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    T_CHECK(false);
    return CELLAR_E_IO;
}

static cellar_err never_memo(cellar_load *ld, const cellar_arg *args, size_t count, void *ctx)
{
    (void)args;
    return never_many(ld, NULL, count, ctx);
}

T_CASE_ON(unknown_flag_is_refused_by_every_call, STORE)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_load_opts o = cellar_load_opts_default();
    cellar_load_item item = { "k", 1, fresh_result(), CELLAR_OK, 0 };
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    CELLAR_ARGS(args, 7);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    for (uint32_t bit = CELLAR_LOAD_WAIT_DISK << 1; bit != 0; bit <<= 1) {
        o.flags = bit;
        T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &o, never_many, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &lease, &r), CELLAR_E_INVAL);
        T_EQ_I64(cellar_memoize(c, "f", 1, args, 1, &o, never_memo, NULL, &r), CELLAR_E_INVAL);
    }
    T_EQ_I64(atomic_load(&s.calls), 0);
}

/* soft_timeout_ms of one side and hard_timeout_ms of the other side, or the default: the code is
 * the same. */
T_CASE(soft_timeout_over_hard_timeout_is_refused)
{
    cellar *c = kit_open(4 << 20), *v = NULL;
    source s = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    char text[64];
    o.soft_timeout_ms = 30001; /* over the default of 30,000 */
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &lease, &r), CELLAR_E_INVAL);
    o.soft_timeout_ms = 30000;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, NULL), CELLAR_OK);
    cellar_namespace_config vo = { .struct_size = sizeof vo, .load = &lo };
    lo.soft_timeout_ms = 30001;
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_E_INVAL);
    lo.soft_timeout_ms = 500;
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_OK);
    o = cellar_load_opts_default();
    o.hard_timeout_ms = 499; /* below the namespace's soft timeout */
    T_EQ_I64(kit_load(v, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    o.soft_timeout_ms = CELLAR_TTL_NONE;
    T_EQ_I64(kit_load(v, "k", &o, &s, text, NULL), CELLAR_OK);
    o = cellar_load_opts_default();
    lo = cellar_load_opts_default();
    lo.hard_timeout_ms = 400;
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "v", &vo, &v), CELLAR_OK);
    o.soft_timeout_ms = 401; /* over the namespace's hard timeout */
    T_EQ_I64(kit_load(v, "k", &o, &s, text, NULL), CELLAR_E_INVAL);
    o.hard_timeout_ms = 401;
    T_EQ_I64(kit_load(v, "k", &o, &s, text, NULL), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(atomic_load(&s.calls), 2);
    kit_close(c);
}

T_CASE_ON(bad_input_arguments_are_refused, STORE)
{
    source s = SOURCE_INIT;
    cellar_result r = cellar_result_default(), bad = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(NULL, "k", 1, NULL, source_load, &s, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(c, NULL, 1, NULL, source_load, &s, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(c, "k", 0, NULL, source_load, &s, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(c, "k", 65536, NULL, source_load, &s, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, NULL, &s, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, source_load, &s, NULL), CELLAR_E_INVAL);
    bad.struct_size = 8;
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, source_load, &s, &bad), CELLAR_E_INVAL);
    bad.struct_size = sizeof bad;
    bad.buf_cap = 5;
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, source_load, &s, &bad), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_value(NULL, "", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_absent(NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_fail(NULL, 1, 0, 0), CELLAR_E_INVAL);
    T_EQ_I64(atomic_load(&s.calls), 0);
}

/* Each row sets one field that the result of a loader cannot have, beside a tag that stays unset. */
static void say_wrong_options(cellar_load *ld)
{
    static const cellar_bytes tags[2] = { { "tag", 3 }, { NULL, 3 } };
    const cellar_set_opts none = cellar_set_opts_default();
    cellar_set_opts row[17];
    uint64_t version;
    for (unsigned i = 0; i < 17; i++) {
        row[i] = none;
        row[i].tags = tags;
        row[i].tag_count = 1;
    }
    row[0].ttl_ms = -1;
    row[1].stale_ms = -1;
    row[2].tag_count = 2;
    row[3].tag_count = CELLAR_TAGS_MAX + 1;
    row[4].idle_ms = 1;
    row[5].max_age_ms = 1;
    row[6].if_version = 1;
    row[7].new_version = &version;
    row[8].ttl_class = 1;
    row[9].jitter_pct = 1;
    row[10].jitter_mode = CELLAR_JITTER_PLUS;
    row[11].flags = CELLAR_ONLY_IF_ABSENT;
    row[12].flags = CELLAR_KEEP_OLD_VALUE;
    row[13].flags = CELLAR_KEEP_TTL;
    row[14].flags = CELLAR_DURABLE;
    row[15].flags = CELLAR_NO_L2;
    row[16].struct_size = 4;
    for (unsigned i = 0; i < 17; i++) {
        if (!T_EQ_I64(cellar_load_opts_set(ld, &row[i]), CELLAR_E_INVAL)) {
            printf("# row %u\n", i);
        }
    }
    cellar_set_opts o = none;
    o.stale_ms = (int64_t)1 << 32;
    T_EQ_I64(cellar_load_opts_set(ld, &o), CELLAR_E_RANGE);
    T_EQ_I64(cellar_load_opts_set(ld, NULL), CELLAR_E_INVAL);
}

static cellar_err say_wrong_things(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    void *p = &p;
    (void)key, (void)key_len, (void)ctx;
    T_EQ_I64(cellar_load_value(ld, NULL, 3), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_take(ld, NULL, 3, source_free, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_take(ld, p, 3, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_fail(ld, 0, 0, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_fail(ld, 1, -1, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_fail(ld, 1, 86400001, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_fail(ld, 1, 0, 2), CELLAR_E_INVAL);
    say_wrong_options(ld);
    T_EQ_I64(loader_value(ld, 0, "v", 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_info_get(ld, NULL), CELLAR_E_INVAL);
    cellar_load_info i = { .struct_size = 4 };
    T_EQ_I64(cellar_load_info_get(ld, &i), CELLAR_E_INVAL);
    return cellar_load_value(ld, "right", 5);
}

T_CASE_ON(bad_input_of_a_loader_leaves_no_trace, STORE)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, say_wrong_things, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "right", 5);
    cellar_result_free(&r);
}

T_CASE_ON(bad_input_results_are_codes_and_keep_nothing, STORE)
{
    char text[64];
    const struct { int say; cellar_err want; } row[] = {
        { SAY_NOTHING, CELLAR_E_NO_RESULT }, { SAY_TWICE, CELLAR_E_RESULT_TWICE },
        { SAY_HUGE, CELLAR_E_TOOBIG }, { SAY_SAME, CELLAR_E_NO_RESULT },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        source s = SOURCE_INIT;
        atomic_store(&s.say, row[i].say);
        T_EQ_I64(kit_load(c, "k", NULL, &s, text, NULL), row[i].want);
        T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    }
}

T_MAIN("api_load_bad_input")
