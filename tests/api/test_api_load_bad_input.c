/* SPDX-License-Identifier: MIT
 *
 * Aim:    Wrong options, arguments and results of loads are codes with a reason and keep
 *         nothing.
 * Method: Each field of the options at and over its bounds; each unknown flag in every call;
 *         loaders that report wrong results. */
#include "tests/support/load_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/spaces.h"

/* ---- bad input ---- */

T_CASE_ON(bad_input_options_are_refused, LOADS)
{
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
        memcpy((char *)&o + bad[i].at, bad[i].wide ? (const void *)&bad[i].value : &narrow,
               bad[i].wide ? 8 : 4);
        if (!T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_E_INVAL)) {
            printf("# row %zu\n", i);
        }
    }
    const cellar_load_opts pairs[] = {
        *LOAD_OPTS(.soft_timeout_ms = 500, .hard_timeout_ms = 499),
        *LOAD_OPTS(.eager_refresh_pct = 50, .xfetch_beta_x100 = 100),
        *LOAD_OPTS(.ctx_release = free), { .struct_size = 0 },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        T_EQ_I64(kit_load(c, "k", &pairs[i], &src, answer, NULL), CELLAR_E_INVAL);
    }
    T_EQ_I64(atomic_load(&src.calls), 0);
}

/* Where the header names a bound, the value at the bound is accepted and the next one refused. */
T_CASE_ON(bounds_of_load_options, LOADS)
{
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
            const cellar_err err = kit_load(c, t_numbered("", i), &o, &src, answer, NULL);
            if (!T_EQ_I64(err, past ? CELLAR_E_INVAL : CELLAR_OK)) { printf("# row %zu\n", i); }
        }
    }
    T_EQ_I64(kit_load(c, "x", NULL, &src, answer, NULL), CELLAR_OK);
}

T_CASE_ON(error_text_of_a_number_names_the_range_of_the_header, LOADS)
{
    const struct { size_t at; const char *range; } row[] = {
#define RANGE(f, range) { offsetof(cellar_load_opts, f), #f " must be " range " or CELLAR_OFF" }
        RANGE(jitter_pct, "1..100"), RANGE(join_retries, "1..8"), RANGE(leader_retries, "1..15"),
        RANGE(eager_refresh_pct, "1..99"), RANGE(xfetch_beta_x100, "1..100,000"),
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        cellar_load_opts o = cellar_load_opts_default();
        const uint32_t over = 100001;
        memcpy((char *)&o + row[i].at, &over, sizeof over);
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_E_INVAL);
        T_CHECK(strstr(error_text(c), row[i].range) != NULL);
    }
}

/* Flags of the namespace and of the call are combined; the rest of its options are the call's
 * where it has none. */
T_CASE_ON(no_negative_of_a_namespace_joins_the_flags_of_a_call, LOADS)
{
    const cellar_load_opts *o = LOAD_OPTS(.flags = CELLAR_LOAD_PIN);
    cellar *v = space_with(c, "v", SPACE_OPTS(.load = LOAD_OPTS(.flags = CELLAR_LOAD_NO_NEGATIVE)));
    atomic_store(&src.say, SAY_NONE);
    T_EQ_I64(kit_load(v, "k", o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(kit_load(v, "k", NULL, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 2); /* it is told, not stored */
    T_EQ_I64(kit_load(c, "k", o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(kit_load(c, "k", o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 3); /* the root has no such option */
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

T_CASE_ON(unknown_flag_is_refused_by_every_call, LOADS)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_load_item item = { "k", 1, fresh_result(), CELLAR_OK, 0 };
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    CELLAR_ARGS(args, 7);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    for (uint32_t bit = CELLAR_LOAD_WAIT_DISK << 1; bit != 0; bit <<= 1) {
        o.flags = bit;
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &o, never_many, NULL), CELLAR_E_INVAL);
        T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &lease, &r), CELLAR_E_INVAL);
        T_EQ_I64(cellar_memoize(c, "f", 1, args, 1, &o, never_memo, NULL, &r), CELLAR_E_INVAL);
    }
    T_EQ_I64(atomic_load(&src.calls), 0);
}

/* soft_timeout_ms of one side and hard_timeout_ms of the other side, or the default: the code is
 * the same. */
T_CASE_ON(soft_timeout_over_hard_timeout_is_refused, LOADS)
{
    static const struct { int64_t space_soft, space_hard, soft, hard; cellar_err want; } row[] = {
        { 0, 0, 30001, 0, CELLAR_E_INVAL }, /* over the default of 30,000 */
        { 0, 0, 30000, 0, CELLAR_OK },
        { 30001, 0, 0, 0, CELLAR_E_CONFIG }, /* stands for: no namespace */
        { 500, 0, 0, 499, CELLAR_E_INVAL }, /* below the namespace's soft timeout */
        { 500, 0, CELLAR_TTL_NONE, 499, CELLAR_OK },
        { 0, 400, 401, 0, CELLAR_E_INVAL }, /* over the namespace's hard timeout */
        { 0, 400, 401, 401, CELLAR_OK },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        cellar *v;
        const cellar_load_opts lo = *LOAD_OPTS(.soft_timeout_ms = row[i].space_soft,
                                               .hard_timeout_ms = row[i].space_hard);
        const cellar_load_opts o = *LOAD_OPTS(.soft_timeout_ms = row[i].soft,
                                              .hard_timeout_ms = row[i].hard);
        if (row[i].want == CELLAR_E_CONFIG) {
            T_EQ_I64(cellar_namespace_open(c, "v", SPACE_OPTS(.load = &lo), &v), CELLAR_E_INVAL);
            continue;
        }
        v = space_with(c, t_numbered("v", i), SPACE_OPTS(.load = &lo));
        if (row[i].want != CELLAR_OK) {
            T_EQ_I64(cellar_lease_acquire(v, "k", 1, &o, NULL, &lease, &r), row[i].want);
        }
        if (!T_EQ_I64(kit_load(v, "k", &o, &src, answer, NULL), row[i].want)) {
            printf("# row %zu\n", i);
        }
    }
    T_EQ_I64(atomic_load(&src.calls), 3);
}

T_CASE_ON(bad_input_arguments_are_refused, LOADS)
{
    cellar_result r = cellar_result_default(), half = { .struct_size = 8 };
    cellar_result no_buf = { .struct_size = sizeof no_buf, .buf_cap = 5 };
    REFUSALS("loads", INVAL(cellar_get_or_load(NULL, "k", 1, NULL, source_load, &src, &r)),
             INVAL(cellar_get_or_load(c, NULL, 1, NULL, source_load, &src, &r)),
             INVAL(cellar_get_or_load(c, "k", 0, NULL, source_load, &src, &r)),
             INVAL(cellar_get_or_load(c, "k", 65536, NULL, source_load, &src, &r)),
             INVAL(cellar_get_or_load(c, "k", 1, NULL, NULL, &src, &r)),
             INVAL(cellar_get_or_load(c, "k", 1, NULL, source_load, &src, NULL)),
             INVAL(cellar_get_or_load(c, "k", 1, NULL, source_load, &src, &half)),
             INVAL(cellar_get_or_load(c, "k", 1, NULL, source_load, &src, &no_buf)),
             INVAL(cellar_load_value(NULL, "", 0)), INVAL(cellar_load_absent(NULL)),
             INVAL(cellar_load_fail(NULL, 1, 0, 0)));
    T_EQ_I64(atomic_load(&src.calls), 0);
}

/* Each row sets one field that the result of a loader cannot have, beside a tag that stays unset. */
static void say_wrong_options(cellar_load *ld)
{
    static const cellar_bytes tags[2] = { { "tag", 3 }, { NULL, 3 } };
    uint64_t version;
#define WRONG(...) *SET_OPTS(.tags = tags, .tag_count = 1, __VA_ARGS__)
    const cellar_set_opts row[] = {
        WRONG(.ttl_ms = -1), WRONG(.stale_ms = -1), WRONG(.idle_ms = 1), WRONG(.max_age_ms = 1),
        WRONG(.if_version = 1), WRONG(.new_version = &version), WRONG(.ttl_class = 1),
        WRONG(.jitter_pct = 1), WRONG(.jitter_mode = CELLAR_JITTER_PLUS),
        WRONG(.flags = CELLAR_ONLY_IF_ABSENT), WRONG(.flags = CELLAR_KEEP_OLD_VALUE),
        WRONG(.flags = CELLAR_KEEP_TTL), WRONG(.flags = CELLAR_DURABLE),
        WRONG(.flags = CELLAR_NO_L2),
        *SET_OPTS(.tags = tags, .tag_count = 2), { .struct_size = 4, .tags = tags, .tag_count = 1 },
        *SET_OPTS(.tags = tags, .tag_count = CELLAR_TAGS_MAX + 1),
    };
    for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
        if (T_EQ_I64(cellar_load_opts_set(ld, &row[i]), CELLAR_E_INVAL)) { continue; }
        printf("# row %u\n", i);
    }
    REFUSALS("options", INVAL(cellar_load_opts_set(ld, NULL)),
             { CELLAR_E_RANGE, cellar_load_opts_set(ld, SET_OPTS(.stale_ms = (int64_t)1 << 32)) });
}

static cellar_err say_wrong_things(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    void *p = &p;
    cellar_load_info i = { .struct_size = 4 };
    (void)key, (void)key_len, (void)ctx;
    say_wrong_options(ld);
    REFUSALS("results", INVAL(cellar_load_value(ld, NULL, 3)),
             INVAL(cellar_load_take(ld, NULL, 3, source_free, NULL)),
             INVAL(cellar_load_take(ld, p, 3, NULL, NULL)), INVAL(cellar_load_fail(ld, 0, 0, 0)),
             INVAL(cellar_load_fail(ld, 1, -1, 0)), INVAL(cellar_load_fail(ld, 1, 86400001, 0)),
             INVAL(cellar_load_fail(ld, 1, 0, 2)), INVAL(loader_value(ld, 0, "v", 1)),
             INVAL(cellar_load_info_get(ld, NULL)), INVAL(cellar_load_info_get(ld, &i)));
    return cellar_load_value(ld, "right", 5);
}

T_CASE_ON(bad_input_of_a_loader_leaves_no_trace, LOADS)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, say_wrong_things, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "right", 5);
    cellar_result_free(&r);
}

T_CASE_ON(bad_input_results_are_codes_and_keep_nothing, LOADS)
{
    const struct { int say; cellar_err want; } row[] = {
        { SAY_NOTHING, CELLAR_E_NO_RESULT }, { SAY_TWICE, CELLAR_E_RESULT_TWICE },
        { SAY_HUGE, CELLAR_E_TOOBIG }, { SAY_SAME, CELLAR_E_NO_RESULT },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        source s = SOURCE_INIT;
        atomic_store(&s.say, row[i].say);
        T_EQ_I64(kit_load(c, "k", NULL, &s, answer, NULL), row[i].want);
        T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    }
}

T_MAIN("api_load_bad_input")
