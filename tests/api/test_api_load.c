/* SPDX-License-Identifier: MIT
 *
 * Aim:    Loading as one caller sees it: results, negative entries, remembered errors, stale
 *         windows, early refresh, options, refused calls.
 * Method: A source with prepared answers, a clock that the test turns, counted loader calls.
 *         Threads only in cases about threads (storms: test_load_storm, test_load_timeouts). */
#include "tests/support/figures.h"
#include "tests/support/load_kit.h"
#include "tests/support/spaces.h"

/* 1 s fresh, then stale until a load in the background. */
static const cellar_load_opts refreshing = {
    .struct_size = sizeof refreshing, .ttl_ms = 1000, .stale_ms = 100000,
    .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC,
};

/* ---- values ---- */

T_CASE_ON(first_call_loads_and_second_hits, LOADS)
{
    KIT_LOADS(c, "k", NULL, &src, answer, &res, "1");
    T_FIELDS(res, source, CELLAR_SOURCE_LOADED, ttl_left_ms, CELLAR_TTL_NONE);
    KIT_LOADS(c, "k", NULL, &src, answer, &res, "1");
    T_EQ_U64(res.source, CELLAR_SOURCE_L1);
    T_EQ_I64(atomic_load(&src.calls), 1);
}

T_CASE_ON(value_reported_in_three_ways_is_the_same, LOADS)
{
    const int ways[] = { SAY_VALUE, SAY_RESERVE, SAY_GIVE };
    const char *keys[] = { "a", "b", "c" };
    src.text = "some bytes";
    for (int i = 0; i < 3; i++) {
        atomic_store(&src.say, ways[i]);
        KIT_LOADS(c, keys[i], NULL, &src, answer, NULL, "some bytes");
        KIT_LOADS(c, keys[i], NULL, &src, answer, NULL, "some bytes");
    }
    T_EQ_I64(atomic_load(&src.calls), 3);
    T_EQ_I64(atomic_load(&src.frees), 1);
}

/* A result outlives its entry and its store. */
T_CASE(result_outlives_entry_and_store)
{
    cellar *c = kit_open(4 << 20);
    source s = SOURCE_INIT;
    cellar_result r = cellar_result_default();
    s.text = "kept";
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, source_load, &s, &r), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_AFTER_U64(kit_close(c), r.value_len, 4);
    T_EQ_MEM(r.value, "kept", 4);
    cellar_result_free(&r);
    cellar_result_free(&r);
    cellar_result_free(NULL);
}

static cellar_err write_five(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)ctx;
    return cellar_buf_append(out, "\5\0\0\0\0\0\0\0", 8);
}

typedef struct writer {
    cellar *c;
    int how;
} writer;

/* Read 4, which becomes 5 at once; then change the cached value if there is one. */
static cellar_err load_four(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const uint64_t four = 4, five = 5;
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    int64_t now = 0;
    const writer *w = ctx;
    T_EQ_I64(w->how == 0   ? cellar_set(w->c, key, key_len, &five, sizeof five, &o)
             : w->how == 1 ? cellar_increment(w->c, key, key_len, 1, 0, &o, &now)
                           : cellar_update(w->c, key, key_len, &o, write_five, NULL), CELLAR_MISS);
    return cellar_load_value(ld, &four, sizeof four);
}

T_CASE_ON(change_of_a_present_value_that_finds_none_ends_a_load, LOADS)
{
    for (int how = 0; how < 3; how++) {
        writer w = { c, how };
        T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load_four, &w, &res), CELLAR_OK);
        T_CHECK((res.flags & CELLAR_RESULT_INVALIDATED) != 0);
        cellar_result_free(&res);
        T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    }
    T_EQ_U64(figure(c, "cellar_conditions_unmet_total{namespace=\"\"}"), 1); /* of the set */
}

/* ---- the defects of the programs before us ---- */

/* Seed: a real value "NULL" was read as none; with none disabled the caller got the text. */
T_CASE_ON(seed_null_string, LOADS)
{
    src.text = "NULL";
    KIT_LOADS(c, "k", NULL, &src, answer, NULL, "NULL");
    KIT_LOADS(c, "k", NULL, &src, answer, NULL, "NULL");
    T_EQ_I64(atomic_load(&src.calls), 1);
}

/* Seed: the empty text was never a hit. */
T_CASE_ON(seed_empty_value, LOADS)
{
    src.text = "";
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_OK);
    T_FIELDS(res, value_len, 0, source, CELLAR_SOURCE_L1);
    T_EQ_I64(atomic_load(&src.calls), 1);
}

/* Seed: the second caller of an absent row got the text that stood for it. */
T_CASE_ON(seed_negative_is_not_data, LOADS)
{
    char buf[16];
    size_t len = 99;
    atomic_store(&src.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_ABSENT);
    T_EQ_U64(res.source, CELLAR_SOURCE_LOADED);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_ABSENT);
    T_EQ_U64(res.source, CELLAR_SOURCE_NEGATIVE);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len), CELLAR_ABSENT);
    T_EQ_U64(len, 0);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, SET_OPTS(.flags = CELLAR_ONLY_IF_ABSENT)), CELLAR_OK);
    atomic_store(&src.say, SAY_VALUE);
    KIT_LOADS(c, "k", NULL, &src, answer, NULL, "v");
    T_EQ_I64(atomic_load(&src.calls), 1);
}

/* Seed: a TTL of 1 became 0 in half of all draws, and the value was thrown away. */
T_CASE_ON(seed_zero_ttl, LOADS)
{
    const cellar_load_opts *o = LOAD_OPTS(.ttl_ms = 1, .jitter_pct = 100);
    for (int i = 0; i < 2000 && !t_failed(); i++) {
        const char *key = t_numbered("k", (uint64_t)i);
        T_EQ_I64(kit_load(c, key, o, &src, answer, &res), CELLAR_OK);
        T_FIELDS(res, flags, 0, ttl_left_ms, 1);
        T_EQ_I64(kit_load(c, key, o, &src, answer, NULL), CELLAR_OK);
        T_EQ_I64(atomic_load(&src.calls), i + 1);
        atomic_fetch_add(&kit_now_ms, 1);
        T_EQ_I64(cellar_contains(c, key, strlen(key)), CELLAR_MISS);
    }
}

/* Seed: a store that failed lost the loaded value. */
T_CASE(seed_store_failure)
{
    cellar *c = closed_later(store_of_loads(1 << 20));
    cellar_result r = cellar_result_default();
    static char value[500001];
    cellar_pinned pin;
    memset(value, 'v', sizeof value - 1);
    T_EQ_I64(cellar_set(c, "other", 5, value, sizeof value - 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_pin(c, "other", 5, &pin), CELLAR_OK); /* the budget does not hold two of them */
    src.text = value;
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, source_load, &src, &r), CELLAR_OK);
    T_FIELDS(r, flags, CELLAR_RESULT_NOT_STORED, value_len, sizeof value - 1);
    T_EQ_MEM(r.value, value, sizeof value - 1);
    cellar_result_free(&r);
    cellar_unpin(&pin);
    src.text = "small";
    src.no_store = true;
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, CELLAR_RESULT_NOT_STORED);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
}

/* The namespace has a stale window, and neither a set nor a loader with CELLAR_TTL_NONE has. */
T_CASE_ON(stale_window_of_none_ends_the_value_with_its_ttl, LOADS)
{
    cellar_set_opts o = cellar_set_opts_default();
    cellar *v = space_with(c, "n", SPACE_OPTS(.default_ttl_ms = 100, .stale_ms = 1000));
    const cellar_load_opts cached = *LOAD_OPTS(.flags = CELLAR_LOAD_ONLY_IF_CACHED);
    src.stale_ms = o.stale_ms = CELLAR_TTL_NONE;
    T_EQ_I64(cellar_set(v, "set", 3, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_set(v, "stale", 5, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(kit_load(v, "loaded", NULL, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 200);
    T_EQ_I64(kit_load(v, "set", &cached, &src, answer, NULL), CELLAR_MISS);
    T_EQ_I64(kit_load(v, "stale", &cached, &src, answer, NULL), CELLAR_STALE);
    T_EQ_I64(kit_load(v, "loaded", &cached, &src, answer, NULL), CELLAR_MISS);
}

/* ---- negative entries, errors ---- */

T_CASE_ON(negative_entry_has_its_own_ttl, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .jitter_pct = CELLAR_OFF,
                           .negative_ttl_ms = 500 };
    atomic_store(&src.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_ABSENT);
    atomic_fetch_add(&kit_now_ms, 499);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 1);
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 2);
    src.negative_ttl_ms = 10;
    T_EQ_I64(kit_load(c, "own", &o, &src, answer, NULL), CELLAR_ABSENT);
    atomic_fetch_add(&kit_now_ms, 10);
    T_EQ_I64(kit_load(c, "own", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 4);
    o.flags |= CELLAR_LOAD_NO_NEGATIVE;
    T_EQ_I64(kit_load(c, "not", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(kit_load(c, "not", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(atomic_load(&src.calls), 6);
}

/* A refresh with an absent result removes the old value, whether or not the negative entry is
 * kept. */
T_CASE_ON(absent_result_removes_old_value, LOADS)
{
    for (uint32_t no_negative = 0; no_negative < 2; no_negative++) {
        const char *key = no_negative ? "a" : "b";
        const uint32_t flags = CELLAR_LOAD_REFRESH | (no_negative ? CELLAR_LOAD_NO_NEGATIVE : 0);
        T_EQ_I64(cellar_set(c, key, 1, "old", 3, NULL), CELLAR_OK);
        atomic_store(&src.say, SAY_NONE);
        T_EQ_I64(kit_load(c, key, LOAD_OPTS(.flags = flags), &src, answer, NULL), CELLAR_ABSENT);
        char buf[8];
        T_EQ_I64(cellar_get(c, key, 1, buf, sizeof buf, NULL),
                 no_negative ? CELLAR_MISS : CELLAR_ABSENT);
    }
}

/* Load a key that has a value on disk only, with a source that says `say`. Return what a get says
 * then. */
static cellar_err get_after(int say, uint32_t flags, cellar_l2_write write)
{
    char text[64];
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20,
                     .config.l2_path = folder_of_case(), .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .host.no_threads = 1, .host.clock = kit_clock, .l2.write = write };
    source s = SOURCE_INIT;
    cellar *c;
    atomic_store(&s.say, say);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    kit_close(c);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(kit_load(c, "k", LOAD_OPTS(.flags = flags, .error_ttl_ms = 100), &s, text, NULL),
             say == SAY_NONE ? CELLAR_ABSENT : CELLAR_E_LOADER);
    const cellar_err got = cellar_get(c, "k", 1, text, sizeof text, NULL);
    kit_close(c);
    left_close();
    return got;
}

/* Faulty sequence: with NO_NEGATIVE an old value that was only on disk stayed there. */
T_CASE(absent_result_removes_old_value_from_disk)
{
    const uint32_t flags = CELLAR_LOAD_NO_NEGATIVE;
    T_EQ_I64(get_after(SAY_NONE, flags | CELLAR_LOAD_REFRESH, 0), CELLAR_MISS);
    T_EQ_I64(get_after(SAY_NONE, flags | CELLAR_LOAD_NO_L2, 0), CELLAR_MISS);
}

/* Faulty sequence: a remembered error ended the value on disk. */
T_CASE(failed_refresh_leaves_value_on_disk)
{
    for (int write = 0; write <= CELLAR_L2_WRITE_THROUGH; write++) {
        const cellar_l2_write when = (cellar_l2_write)write;
        T_EQ_I64(get_after(SAY_FAIL, CELLAR_LOAD_REFRESH, when), CELLAR_OK);
        T_EQ_I64(get_after(SAY_FAIL, CELLAR_LOAD_NO_L2, when), CELLAR_OK);
    }
}

T_CASE_ON(loader_error_is_returned_and_kept_only_on_request, LOADS)
{
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_E_LOADER);
    T_EQ_I64(res.loader_err, CELLAR_E_IO);
    src.said_err = 503;
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_E_LOADER);
    T_EQ_I64(res.loader_err, 503);
    T_EQ_I64(atomic_load(&src.calls), 2);
    atomic_store(&src.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_OK);
}

T_CASE_ON(remembered_errors_back_off_until_success, LOADS)
{
    char buf[8];
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 100, .error_ttl_max_ms = 400 };
    atomic_store(&src.say, SAY_FAIL);
    src.said_err = 7;
    const int64_t most[] = { 100, 200, 400, 400, 400 };
    for (int i = 0; i < 5; i++) {
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_E_LOADER);
        T_EQ_I64(atomic_load(&src.calls), i + 1);
        T_CHECK(res.retry_after_ms >= most[i] / 2 && res.retry_after_ms <= most[i] + 1);
        const int64_t pause = res.retry_after_ms;
        T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
        atomic_fetch_add(&kit_now_ms, pause - 1);
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_E_LOADER);
        T_FIELDS(res, source, CELLAR_SOURCE_ERROR_ENTRY, loader_err, 7, retry_after_ms, 1);
        atomic_fetch_add(&kit_now_ms, 1);
    }
    T_EQ_I64(atomic_load(&src.calls), 5);
    src.retry_after_ms = 5000;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_E_LOADER);
    T_EQ_I64(res.retry_after_ms, 5000);
    atomic_fetch_add(&kit_now_ms, 4999);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_E_LOADER);
    T_EQ_I64(atomic_load(&src.calls), 6);
    /* A remembered error does not hide a later set. */
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    KIT_LOADS(c, "k", &o, &src, answer, &res, "v");
}

/* ---- stale ---- */

T_CASE_ON(stale_is_served_when_loader_fails, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 100000,
                           .retry_throttle_ms = 2000, .jitter_pct = CELLAR_OFF };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_STALE);
    T_EQ_STR(answer, "1");
    T_FIELDS(res, source, CELLAR_SOURCE_STALE_IF_ERROR, retry_after_ms, 2000);
    T_EQ_STR(src.old, "1");
    T_EQ_I64(atomic_load(&src.calls), 2);
    /* past the window there is nothing to serve */
    atomic_fetch_add(&kit_now_ms, 100000);
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_E_LOADER);
    T_EQ_U64(store_stats(c).stale_hits, 1);
}

/* Check what a loader knows about its load; then delete its key. */
static void read_info(source *s, cellar_load *ld)
{
    const bool again = atomic_load(&s->calls) > 1;
    cellar_load_info i = loader_info(ld);
    T_EQ_U64(i.has_stale, again);
    if (again) { T_EQ_MEM(i.stale_value, "1", i.stale_len); }
    T_FIELDS(i, stale_len, again ? 1 : 0, stale_user_flags, again ? 7 : 0, attempt, again ? 0 : 1);
    T_FIELDS(i, time_left_ms, 500, cancelled, 0);
    T_EQ_I64(cellar_load_opts_set(ld, SET_OPTS(.user_flags = 7)), CELLAR_OK);
    if (!again) { return; }
    T_EQ_I64(cellar_delete(s->arg, "k", 1), CELLAR_MISS); /* no live value */
    T_EQ_U64(loader_info(ld).cancelled, 1);
}

T_CASE_ON(loader_reads_old_value_attempts_and_cancellation, LOADS)
{
    cellar_lease lost;
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 100000,
                           .jitter_pct = CELLAR_OFF, .hard_timeout_ms = 500 };
    src.during = read_info;
    src.arg = c;
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &lost, &r), CELLAR_LEASED);
    atomic_fetch_add(&kit_now_ms, 500);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(atomic_load(&src.calls), 2);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
}

T_CASE_ON(stale_is_served_while_refresh_waits, LOADS)
{
    cellar_load_opts o = refreshing;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    for (int i = 0; i < 5; i++) {
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_STALE);
        T_EQ_STR(answer, "1");
        T_EQ_U64(res.source, CELLAR_SOURCE_STALE_REVALIDATE);
        T_EQ_U64(res.flags, i == 0 ? CELLAR_RESULT_REFRESHING : 0);
    }
    T_EQ_I64(atomic_load(&src.calls), 1);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 2);
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "2");
    T_EQ_U64(store_stats(c).refreshes, 1);
}

static void note_trace(source *s, cellar_load *ld)
{
    const unsigned char *trace = loader_info(ld).trace;
    unsigned char *seen = s->arg;
    seen[0] = trace != NULL;
    if (trace != NULL) { memcpy(seen + 1, trace, CELLAR_LOAD_TRACE_BYTES); }
}

static cellar_err load_traced(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys;
    note_trace(ctx, ld);
    for (size_t i = 0; i < count; i++) { (void)loader_value(ld, i, "x", 1); }
    return CELLAR_OK;
}

/* A trace of zeros is a trace: only NULL is none. */
T_CASE_ON(loader_reads_trace_of_its_call, LOADS)
{
    unsigned char seen[1 + CELLAR_LOAD_TRACE_BYTES] = { 7 }, trace[CELLAR_LOAD_TRACE_BYTES] = { 0 };
    cellar_load_opts o = cellar_load_opts_default();
    src.during = note_trace;
    src.arg = seen;
    T_EQ_I64(kit_load(c, "none", NULL, &src, answer, NULL), CELLAR_OK);
    T_EQ_U64(seen[0], 0);
    T_EQ_I64(kit_load(c, "also none", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_U64(seen[0], 0);
    o.trace = trace;
    T_EQ_I64(kit_load(c, "zero", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_U64(seen[0], 1);
    T_EQ_MEM(seen + 1, trace, sizeof trace);
    memset(trace, 0xa5, sizeof trace);
    cellar_result r = cellar_result_default();
    cellar_load_item it[1] = { { "many", 4, &r, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_get_or_load_many(c, it, 1, &o, load_traced, &src), CELLAR_OK);
    T_EQ_I64(it[0].status, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_MEM(seen + 1, trace, sizeof trace);
}

/* The bytes of the caller change before the background load runs. */
T_CASE_ON(background_load_reads_copy_of_trace, LOADS)
{
    unsigned char seen[1 + CELLAR_LOAD_TRACE_BYTES] = { 0 };
    unsigned char trace[CELLAR_LOAD_TRACE_BYTES], want[CELLAR_LOAD_TRACE_BYTES];
    cellar_load_opts o = refreshing;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    src.during = note_trace;
    src.arg = seen;
    atomic_fetch_add(&kit_now_ms, 1000);
    memset(trace, 0x3c, sizeof trace);
    memset(want, 0x3c, sizeof want);
    o.trace = trace;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_STALE);
    memset(trace, 0, sizeof trace);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 2);
    T_EQ_U64(seen[0], 1);
    T_EQ_MEM(seen + 1, want, sizeof want);
    o.trace = NULL; /* and a job without one has none */
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_STALE);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 3);
    T_EQ_U64(seen[0], 0);
}

/* An entry deleted before its queued refresh: the refresh is dropped, the source is not called, no
 * value comes back. */
T_CASE_ON(delete_before_queued_refresh_drops_refresh, LOADS)
{
    cellar_load_opts o = refreshing;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_STALE);
    (void)cellar_delete(c, "k", 1);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 1);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
}

T_CASE_ON(not_modified_extends_ttl_only, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 100000,
                           .jitter_pct = CELLAR_OFF };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    for (int i = 0; i < 3; i++) {
        atomic_fetch_add(&kit_now_ms, 1500);
        atomic_store(&src.say, SAY_SAME);
        KIT_LOADS(c, "k", &o, &src, answer, &res, "1");
        T_FIELDS(res, ttl_left_ms, 1000, source, CELLAR_SOURCE_LOADED);
        atomic_fetch_add(&kit_now_ms, 999);
        T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    }
    T_EQ_I64(atomic_load(&src.calls), 4);
    /* nothing old: an error, nothing is kept */
    T_EQ_I64(kit_load(c, "none", &o, &src, answer, NULL), CELLAR_E_NO_RESULT);
    T_EQ_I64(cellar_contains(c, "none", 4), CELLAR_MISS);
}

/* ---- early refresh ---- */

T_CASE_ON(eager_refresh_starts_past_its_percentage, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .eager_refresh_pct = 80,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 799);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, 0);
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, CELLAR_RESULT_REFRESHING);
    T_EQ_STR(answer, "1");
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, 0);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 2);
    KIT_LOADS(c, "k", &o, &src, answer, &res, "2");
    T_EQ_I64(res.ttl_left_ms, 1000);
}

T_CASE_ON(value_that_was_not_modified_is_refreshed_early, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .eager_refresh_pct = 80,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_REFRESH };
    T_EQ_I64(cellar_set(c, "k", 1, "1", 1, NULL), CELLAR_OK);
    atomic_store(&src.say, SAY_SAME);
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "1");
    o.flags = 0;
    atomic_fetch_add(&kit_now_ms, 799);
    T_AFTER_I64(kit_load(c, "k", &o, &src, answer, NULL), atomic_load(&src.calls), 1);
    atomic_fetch_add(&kit_now_ms, 1);
    T_AFTER_I64(kit_load(c, "k", &o, &src, answer, NULL), atomic_load(&src.calls), 2);
}

/* ---- flags ---- */

T_CASE_ON(flags_bypass_refresh_and_restrict_to_cache, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_ONLY_IF_CACHED };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_MISS);
    T_EQ_I64(atomic_load(&src.calls), 0);
    o.flags = CELLAR_LOAD_BYPASS;
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "1");
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    o.flags = CELLAR_LOAD_NO_STORE;
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
    o.flags = CELLAR_LOAD_NO_JOIN;
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "3");
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    o.flags = CELLAR_LOAD_REFRESH;
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "4");
    o.flags = CELLAR_LOAD_ONLY_IF_CACHED;
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "4");
}

T_CASE_ON(namespaces_have_their_own_loader_and_defaults, LOADS)
{
    cellar_result r = cellar_result_default();
    cellar *v = space_with(c, "v", SPACE_OPTS(.loader = source_load, .loader_ctx = &src,
                                              .load = LOAD_OPTS(.jitter_pct = CELLAR_OFF),
                                              .default_ttl_ms = 1000, .stale_ms = 5000));
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, NULL, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, NULL, NULL, &r), CELLAR_OK);
    T_EQ_I64(r.ttl_left_ms, 1000);
    cellar_result_free(&r);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(cellar_get_or_load(v, "k", 1, NULL, NULL, NULL, &r), CELLAR_STALE);
    T_EQ_U64(r.flags, CELLAR_RESULT_REFRESHING); /* the namespace's loader outlives the call */
    cellar_result_free(&r);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 2);
}

/* ---- loads inside loads ---- */

static void load_itself(source *s, cellar_load *ld)
{
    source inner = SOURCE_INIT;
    char text[64];
    (void)ld;
    T_EQ_I64(kit_load(s->arg, "k", NULL, &inner, text, NULL), CELLAR_E_DEADLOCK);
    T_EQ_I64(atomic_load(&inner.calls), 0);
}

T_CASE_ON(load_of_own_key_in_loader_is_refused, LOADS)
{
    src.during = load_itself;
    src.arg = c;
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, NULL), CELLAR_OK);
    T_EQ_U64(store_stats(c).load_deadlocks, 1);
}

typedef struct tower { cellar *c; int level, deepest; cellar_err last; } tower;

static cellar_err load_deeper(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    tower *t = ctx;
    cellar_result r = cellar_result_default();
    (void)key, (void)key_len;
    t->level++;
    t->deepest = t->level > t->deepest ? t->level : t->deepest;
    const cellar_err err = cellar_get_or_load(t->c, &t->level, sizeof t->level, NULL, load_deeper,
                                              t, &r);
    cellar_result_free(&r);
    t->level--;
    if (err != CELLAR_OK) {
        t->last = err;
        return cellar_load_value(ld, "floor", 5);
    }
    return cellar_load_value(ld, "up", 2);
}

T_CASE_ON(loads_nest_sixteen_deep, LOADS)
{
    tower t = { c, 0, 0, CELLAR_OK };
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, &t.level, sizeof t.level, NULL, load_deeper, &t, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_FIELDS(t, deepest, 16, last, CELLAR_E_DEPTH);
}

/* ---- probabilistic early refresh ---- */

static cellar_err load_dear(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    ++*(int *)ctx;
    T_EQ_I64(loader_cost(ld, 1u << 20), CELLAR_OK); /* exact in 8 bits: 1,048.576 ms */
    return cellar_load_value(ld, key, key_len);
}

static int dear_calls(cellar *c, const cellar_load_opts *o, uint32_t first, uint32_t count)
{
    int calls = 0;
    for (uint32_t i = first; i < first + count; i++) {
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_get_or_load(c, &i, sizeof i, o, load_dear, &calls, &r), CELLAR_OK);
        cellar_result_free(&r);
    }
    return calls;
}

/* A hit with `left` to its deadline refreshes with probability e^-(left / (beta x cost)),
 * independent of earlier hits: each key is read once. The case fails outside 6 sigma. The table's 7
 * bits of a logarithm and whole milliseconds move the rate by less than 1 %. */
T_CASE(xfetch_refreshes_at_its_expected_rate)
{
    static const struct { int64_t left_ms; uint32_t beta; double rate; } row[] = {
        { 1049, 100, 0.3677 }, { 2097, 100, 0.1353 }, { 3146, 100, 0.0498 },
        { 1049, 200, 0.6064 }, { 524, 50, 0.3679 }, { 25000, 100, 0.0 },
    };
    static const uint32_t COUNT = 4000;
    cellar *c = closed_later(kit_open(16u << 20));
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .jitter_pct = CELLAR_OFF };
    for (uint32_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        o.xfetch_beta_x100 = row[i].beta;
        T_EQ_I64(dear_calls(c, &o, i * COUNT, COUNT), COUNT);
        atomic_fetch_add(&kit_now_ms, o.ttl_ms - row[i].left_ms);
        const double early = dear_calls(c, &o, i * COUNT, COUNT), p = row[i].rate;
        const double off = early - COUNT * p, most = COUNT * p * 0.01 + 1;
        const double sigma2 = COUNT * p * (1 - p), beyond = (off < 0 ? -off : off) - most;
        printf("# %lld ms left, beta %.2f: %.4f of hits refreshed, %.4f expected\n",
               (long long)row[i].left_ms, row[i].beta / 100.0, early / COUNT, p);
        T_CHECK(p > 0 ? beyond <= 0 || beyond * beyond <= 36 * sigma2 : early == 0);
    }
}

/* ---- jitter ---- */

/* 100,000 entries set within one second, TTL 60 s, 10 % shorter. Each bucket of 120 ms of their
 * deadlines, except the edges, holds the count of an even spread, within 5 sigma. */
T_CASE(jitter_spreads_expiry_evenly)
{
    cellar *c = closed_later(kit_open(64 << 20));
    static unsigned bucket[200];
    const int64_t from = 54000;
    const unsigned entries = 100000 / KIT_SLOW;
    const int64_t began = atomic_load(&kit_now_ms);
    source s = SOURCE_INIT;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000 };
    s.text = "v";
    memset(bucket, 0, sizeof bucket);
    for (uint32_t i = 0; i < entries; i++) {
        char buf[8];
        cellar_result r = { .struct_size = sizeof r, .buf = buf, .buf_cap = sizeof buf };
        atomic_store(&kit_now_ms, began + (int64_t)i * 1000 / entries);
        T_EQ_I64(cellar_get_or_load(c, &i, sizeof i, &o, source_load, &s, &r), CELLAR_OK);
        const int64_t end = atomic_load(&kit_now_ms) + r.ttl_left_ms - began;
        T_CHECK(r.ttl_left_ms >= 54000 && r.ttl_left_ms <= 60000);
        const int64_t at = (end - from) / 120;
        if (at >= 0 && at < 200) { bucket[at]++; }
    }
    /* deadlines are spread over 6 s of draw + 1 s of setting: full height from 1 s to 6 s */
    const double mean = entries * 120.0 / 6001.0;
    unsigned worst = 0;
    for (unsigned i = 9; i < 49; i++) {
        const double off = bucket[i] > mean ? bucket[i] - mean : mean - bucket[i];
        if (off * off > 25 * mean) {
            printf("# bucket %u: %u, expected %.0f\n", i, bucket[i], mean);
            worst = i;
        }
    }
    T_EQ_U64(worst, 0);
}

/* The same hash key, key and time give the same draw. */
T_CASE(jitter_repeats_with_the_secret)
{
    uint8_t secret[32] = { 7 };
    int64_t left[2][2];
    for (int i = 0; i < 2; i++) {
        cellar *c;
        settings cfg = { SETTINGS_SIZES, .tuning.hash_key = secret, .host.clock = kit_clock,
                         .host.no_threads = 1 };
        cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 3600000,
                               .jitter_mode = CELLAR_JITTER_PLUS, .jitter_pct = 50 };
        atomic_store(&kit_now_ms, 5000);
        memset(&src, 0, sizeof src);
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        T_EQ_I64(kit_load(c, "a", &o, &src, answer, &res), CELLAR_OK);
        left[i][0] = res.ttl_left_ms;
        T_CHECK(left[i][0] >= 3600000 && left[i][0] <= 5400000);
        T_EQ_I64(kit_load(c, "b", &o, &src, answer, &res), CELLAR_OK);
        left[i][1] = res.ttl_left_ms;
        kit_close(c);
    }
    T_EQ_I64(left[0][0], left[1][0]);
    T_EQ_I64(left[0][1], left[1][1]);
    T_CHECK(left[0][0] != left[0][1]);
}

/* While a stale value is served, a failure blocks loads for retry_throttle_ms, then one load tries
 * again. A success ends the throttle. */
T_CASE_ON(failed_refresh_is_throttled, LOADS)
{
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .jitter_pct = CELLAR_OFF,
                           .stale_ms = 1000000, .retry_throttle_ms = 700 };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 100);
    atomic_store(&src.say, SAY_FAIL);
    for (int tries = 2; tries < 5; tries++) {
        for (int i = 0; i < 8; i++) {
            T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_STALE);
            T_EQ_STR(answer, "1");
            T_EQ_I64(atomic_load(&src.calls), tries);
            T_FIELDS(res, source, CELLAR_SOURCE_STALE_IF_ERROR, retry_after_ms, 700 - i * 99);
            atomic_fetch_add(&kit_now_ms, i < 7 ? 99 : 7);
        }
    }
    atomic_store(&src.say, SAY_VALUE);
    KIT_LOADS(c, "k", &o, &src, answer, NULL, "5");
    atomic_fetch_add(&kit_now_ms, 100);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK); /* no throttle is left */
    T_EQ_STR(answer, "6");
}

/* ---- the log ---- */

static char logged[4096];

static void take_line(cellar_log_level level, const char *module, cellar_err code, const char *text,
                      void *ctx)
{
    (void)ctx;
    const size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%d %s %d: %s\n", level, module, code, text);
}

static bool was_logged(const char *line)
{
    const bool found = strstr(logged, line) != NULL;
    if (!found) { printf("# not in the log: %s# but: %s", line, logged); }
    logged[0] = '\0';
    atomic_fetch_add(&kit_now_ms, 1001); /* equal lines are logged once a second */
    return found;
}

static cellar *open_with_log(uint32_t level)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4 << 20, .host.no_threads = 1,
                     .host.clock = kit_clock, .host.log = take_line, .host.log_level = level,
                     .host.log_keys = CELLAR_LOG_KEYS_NONE };
    logged[0] = '\0';
    atomic_store(&kit_now_ms, 1000000);
    memset(&src, 0, sizeof src);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return closed_later(c);
}

static cellar_err load_none_of_them(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                    void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    return CELLAR_E_IO;
}

T_CASE(failing_loader_logs_warning_at_default_level)
{
    cellar *c = open_with_log(CELLAR_LOG_DEFAULT);
    cellar_load_item item = { .key = "b", .key_len = 1, .result = fresh_result() };
    T_EQ_I64(kit_load(c, "a", NULL, &src, answer, NULL), CELLAR_OK);
    T_EQ_STR(logged, "");
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, NULL), CELLAR_E_LOADER);
    T_CHECK(was_logged("2 loader -17: a loader failed (its code: -13)\n"));
    atomic_store(&src.say, SAY_NOTHING);
    T_EQ_I64(kit_load(c, "l", NULL, &src, answer, NULL), CELLAR_E_NO_RESULT);
    T_CHECK(was_logged("2 loader -18: "));
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, NULL, load_none_of_them, NULL), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_E_LOADER);
    T_CHECK(was_logged("2 loader -17: "));
    cellar_result_free(item.result);
}

T_CASE(loads_bulk_gets_and_refreshes_are_logged_like_gets)
{
    cellar *c = open_with_log(CELLAR_LOG_DEBUG);
    char buf[64];
    cellar_load_item item = { .key = "k", .key_len = 1, .result = fresh_result() };
    cellar_get_item two[2] = { { .key = "k", .key_len = 1, .buf = buf, .buf_cap = 64 },
                               { .key = "none", .key_len = 4, .buf = buf, .buf_cap = 64 } };
    cellar_get_opts go = cellar_get_opts_default();
    void *copy;
    size_t len;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .stale_ms = 60000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_CHECK(was_logged("3 load 1: miss\n"));
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_CHECK(was_logged("4 load 0: hit\n"));
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, NULL), CELLAR_OK);
    T_CHECK(was_logged("4 load 0: hit\n"));
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, NULL, load_none_of_them, NULL), CELLAR_OK);
    T_CHECK(was_logged("4 load 0: hit\n"));
    cellar_result_free(item.result);
    T_EQ_I64(cellar_get_many(c, two, 2, NULL), CELLAR_OK);
    T_CHECK(was_logged("3 get_many 1: 1 hits, 1 misses\n"));
    T_EQ_I64(cellar_get_many(c, two, 1, NULL), CELLAR_OK);
    T_CHECK(was_logged("4 get_many 0: 1 hits, 0 misses\n"));
    T_EQ_I64(cellar_get_with(c, "none", 4, &go, buf, 64, &len), CELLAR_MISS);
    T_CHECK(was_logged("3 get 1: miss\n"));
    T_EQ_I64(cellar_get_alloc(c, "k", 1, &copy, &len), CELLAR_OK);
    T_CHECK(was_logged("4 get 0: hit\n"));
    cellar_free(copy);
    cellar_pinned pin;
    T_EQ_I64(cellar_pin(c, "k", 1, &pin), CELLAR_OK);
    T_CHECK(was_logged("4 get 0: hit\n"));
    cellar_unpin(&pin);
    atomic_fetch_add(&kit_now_ms, 60000);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_STALE);
    T_CHECK(was_logged("4 load 3: hit\n"));
    kit_tick(c);
    T_CHECK(was_logged("3 refresh 0: refreshed\n"));
}

static int64_t clock_of_7_ms_a_reading(void *ctx)
{
    return atomic_fetch_add((_Atomic int64_t *)ctx, 7);
}
static cellar_err ask_time_left(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    for (int i = 0; i < 100; i++) { T_CHECK(loader_info(load).time_left_ms >= 0); }
    T_EQ_I64(loader_info(load).time_left_ms, 0);
    return cellar_load_value(load, "v", 1);
}

/* Faulty sequence: the clock passes the end of the load while the call computes the rest. */
T_CASE(time_left_of_load_is_never_negative)
{
    _Atomic int64_t now = 1000;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .host.no_threads = 1, .host.clock = clock_of_7_ms_a_reading,
                     .host.clock_ctx = &now };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (o.hard_timeout_ms = 100; o.hard_timeout_ms < 107; o.hard_timeout_ms++) {
        (void)cellar_get_or_load(c, &o.hard_timeout_ms, 1, &o, ask_time_left, NULL, &r);
        cellar_result_free(&r);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void tick_in_event(const cellar_event *e, void *ctx)
{
    T_EQ_I64(cellar_tick(ctx, 1000, NULL), CELLAR_OK);
    T_EQ_U64(e->key_len, 1);
}

T_CASE_ON(tick_of_a_listener_runs_no_loader, LOADS)
{
    uint64_t id;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 100000,
                           .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_CTX_STATIC };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, 0, tick_in_event, c, &id), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_STALE);
    T_EQ_I64(cellar_set(c, "x", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "x", 1), CELLAR_OK);
    T_EQ_I64(atomic_load(&src.calls), 1);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
    T_AFTER_I64(kit_tick(c), atomic_load(&src.calls), 2);
}

T_ONE_THREAD;
T_MAIN("api_load")
