/* SPDX-License-Identifier: MIT
 *
 * Aim:    the writes of a namespace reach its source in batches: the last write of each key, in
 *         order, and none is lost by eviction, a clear or a failed batch. Reads find the writes
 *         that wait. A write that fails for good leaves no entry.
 * Method: the source is an array; a clock that the test turns; the test ticks. After random writes
 *         of threads, cache and source are compared. Each allocation fails once. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/random.h"
#include "cellar_batch.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "tests/support/child.h"
#include "tests/support/folder.h"
#include "tests/support/held_kit.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t now_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

/* ---- a source ---- */

enum { KEYS = 64 };
static struct row { bool there; char text[32]; } row[KEYS];
static char calls[4096];  /* "k1=v,-k2;" of each call */
static unsigned call_count, write_count, fail_calls;
static bool fifth_fails;  /* each fifth call */
static const char *bad;   /* batches with this key fail; NULL: none */
static char failures[256];
static int32_t failed_err;
static cellar *store, *ns;
static cellar_batcher *batcher;

static size_t number_of(const char *key) { return (size_t)strtoul(key + 1, NULL, 10); }

static cellar_err write_rows(const cellar_write *w, size_t count, void *ctx)
{
    bool fails = fail_calls > 0 || (fifth_fails && call_count % 5 == 4);
    T_EQ_STR(ctx, "source");
    T_CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        char text[80];
        T_CHECK(w[i].key_len < 8 && w[i].value_len < 32);
        T_CHECK((w[i].value == NULL) == (w[i].deleted != 0));
        snprintf(text, sizeof text, "%s%s%.*s%s%.*s", i > 0 ? "," : "", w[i].deleted ? "-" : "",
                 (int)w[i].key_len, (const char *)w[i].key, w[i].deleted ? "" : "=",
                 (int)w[i].value_len, w[i].deleted ? "" : (const char *)w[i].value);
        if (strlen(calls) + sizeof text < sizeof calls) { strcat(calls, text); }
        fails |= bad != NULL && strlen(bad) == w[i].key_len &&
                 memcmp(bad, w[i].key, w[i].key_len) == 0;
    }
    if (strlen(calls) + 2 < sizeof calls) { strcat(calls, fails ? "!" : ";"); }
    call_count++;
    if (fail_calls > 0) { fail_calls--; }
    if (fails) { return CELLAR_E_IO; }
    for (size_t i = 0; i < count; i++) {
        char key[8] = "";
        memcpy(key, w[i].key, w[i].key_len);
        struct row *r = &row[number_of(key) % KEYS];
        r->there = w[i].deleted == 0;
        snprintf(r->text, sizeof r->text, "%.*s", (int)w[i].value_len,
                 w[i].deleted ? "" : (const char *)w[i].value);
        write_count++;
    }
    return CELLAR_OK;
}

static void write_failed(const cellar_write *w, cellar_err err, void *ctx)
{
    char text[16];
    (void)ctx;
    snprintf(text, sizeof text, "%.*s ", (int)w->key_len, (const char *)w->key);
    if (strlen(failures) + sizeof text < sizeof failures) { strcat(failures, text); }
    failed_err = (int32_t)err;
}

static const cellar_host_config host = { .struct_size = sizeof host, .clock = read_clock,
                                         .no_threads = 1 };

/* Open a store with a namespace that batches its writes. */
static void begin_with(cellar_batcher_config cfg)
{
    memset(row, 0, sizeof row);
    calls[0] = failures[0] = '\0';
    call_count = write_count = fail_calls = 0;
    bad = NULL;
    failed_err = 0;
    now_ms = 1000000;
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.clock = read_clock,
                   .host.no_threads = 1 };
    T_REQUIRE(settings_open(&s, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "rows", NULL, &ns) == CELLAR_OK);
    cfg.host = &host;
    T_EQ_I64(cellar_namespace_batch(ns, &cfg, write_rows, write_failed, "source", &batcher),
             CELLAR_OK);
}

static void begin(void) { begin_with(cellar_batcher_config_default()); }

static void end(void)
{
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    T_EQ_I64(cellar_close(store), CELLAR_OK);
}

#define WRITES(fn) T_WITHIN(fn, begin(), end())

static void set(const char *key, const char *value)
{
    T_EQ_I64(cellar_set(ns, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

/* Return the value of a key as a string; "" for none. */
static const char *value_of(const char *key)
{
    static char text[64];
    size_t len = 0;
    const cellar_err err = cellar_get(ns, key, strlen(key), text, sizeof text - 1, &len);
    text[err == CELLAR_OK ? len : 0] = '\0';
    return text;
}

static void flush(void)
{
    T_EQ_I64(cellar_batcher_flush(batcher, NULL), CELLAR_OK);
    while (cellar_tick(batcher, 1000000, NULL) == CELLAR_PENDING) {}
}

/* Run what is due after `ms`. */
static void pass(int64_t ms)
{
    now_ms += ms;
    while (cellar_tick(store, 1000, NULL) == CELLAR_PENDING) {}
}

static uint64_t items_of(void)
{
    cellar_batcher_stats st = cellar_batcher_stats_default();
    T_EQ_I64(cellar_batcher_stats_get(batcher, &st), CELLAR_OK);
    return st.items;
}

/* ---- what is written ---- */

T_CASE_ON(last_write_of_each_key_is_written_once, WRITES)
{
    set("k1", "a");
    set("k2", "b");
    set("k1", "c");
    T_EQ_STR(value_of("k1"), "c");
    T_EQ_U64(call_count, 0);
    T_AFTER_STR(pass(50), calls, "k1=c,k2=b;");
    set("k1", "d");
    T_AFTER_STR(flush(), calls, "k1=c,k2=b;k1=d;");
    T_EQ_U64(items_of(), 0);
}

static cellar_err append_x(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    (void)cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, "x", 1);
}

static cellar_err remove_it(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)out, (void)ctx;
    return CELLAR_REMOVED;
}

T_CASE_ON(every_call_that_writes_a_key_is_written, WRITES)
{
    void *old = NULL;
    size_t old_len = 0;
    set("k1", "a");
    T_EQ_I64(cellar_update(ns, "k1", 2, NULL, append_x, NULL), CELLAR_OK);
    T_AFTER_STR(flush(), row[1].text, "ax");
    int64_t number = 0;
    T_EQ_I64(cellar_increment(ns, "k2", 2, 5, 7, NULL, &number), CELLAR_OK);
    cellar_set_item items[2] = { { .key = "k3", .key_len = 2, .value = "m", .value_len = 1 },
                                 { .key = "k4", .key_len = 2, .value = "n", .value_len = 1 } };
    T_EQ_I64(cellar_set_many(ns, items, 2, NULL, NULL), CELLAR_OK);
    flush();
    T_EQ_MEM(row[2].text, &number, 1);
    T_EQ_STR(row[3].text, "m");
    T_EQ_STR(row[4].text, "n");
    calls[0] = '\0';
    T_EQ_I64(cellar_delete(ns, "k1", 2), CELLAR_OK);
    T_EQ_I64(cellar_delete(ns, "k9", 2), CELLAR_MISS); /* the source may have it */
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &old,
                             .old_value_len = &old_len };
    T_EQ_I64(cellar_delete_with(ns, "k3", 2, &d), CELLAR_OK);
    cellar_free(old);
    T_EQ_I64(cellar_update(ns, "k4", 2, NULL, remove_it, NULL), CELLAR_REMOVED);
    T_AFTER_STR(flush(), calls, "-k1,-k9,-k3,-k4;");
}

static cellar_err load_text(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    ++*(unsigned *)ctx;
    return cellar_load_value(ld, "loaded", 6);
}

static char got[16]; /* by the last load_key */

/* Get a key, or load it. Return the code; *loads counts loads. */
static cellar_err load_key(const char *key, uint32_t flags, unsigned *loads)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(ns, key, strlen(key), &o, load_text, loads, &r);
    snprintf(got, sizeof got, "%.*s", (int)r.value_len,
             r.value != NULL ? (const char *)r.value : "");
    cellar_result_free(&r);
    return err;
}

/* Loads, touches, negative entries, refused and conditional writes that did not happen, clears,
 * tags, patterns and evictions. */
T_CASE_ON(nothing_else_is_written, WRITES)
{
    unsigned loads = 0;
    cellar_result r = cellar_result_default();
    const cellar_bytes tag = { "t", 1 };
    uint64_t removed = 0;
    T_EQ_I64(load_key("k1", 0, &loads), CELLAR_OK);
    T_EQ_I64(cellar_touch(ns, "k1", 2, 5000), CELLAR_OK);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(ns, "k2", 2, NULL, 0, &o), CELLAR_OK);
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(cellar_set(ns, "k1", 2, "x", 1, &o), CELLAR_EXISTS);
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(ns, "k3", 2, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(ns, &lease, "l", 1, NULL), CELLAR_OK);
    T_EQ_U64(items_of(), 0);
    o = cellar_set_opts_default();
    o.tags = &tag;
    o.tag_count = 1;
    T_EQ_I64(cellar_set(ns, "k4", 2, "v", 1, &o), CELLAR_OK);
    set("k5", "w");
    flush();
    calls[0] = '\0';
    T_EQ_I64(cellar_delete_by_tag(ns, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(ns, "k*", 2, &removed), CELLAR_OK);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    flush();
    T_AFTER_STR(pass(100000), calls, "");
    T_EQ_U64(loads, 1);
    T_CHECK(row[4].there && row[5].there);
}

/* ---- reads ---- */

/* Push every entry out of memory. */
static void evict_all(void)
{
    static char big[32768];
    for (unsigned i = 0; i < 512; i++) {
        const char *key = t_numbered("filler ", i);
        T_EQ_I64(cellar_set(store, key, strlen(key), big, sizeof big, NULL), CELLAR_OK);
    }
}

T_CASE_ON(evicted_write_is_found_and_written, WRITES)
{
    set("k1", "a");
    set("k2", "b");
    T_AFTER_STR(evict_all(), value_of("k1"), "a");
    evict_all();
    unsigned loads = 0;
    T_EQ_I64(load_key("k2", 0, &loads), CELLAR_OK);
    T_EQ_STR(got, "b");
    T_EQ_U64(loads, 0);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK); /* ends entries, not writes */
    T_EQ_STR(value_of("k1"), "a");
    T_EQ_I64(cellar_value_damaged(ns, "k1", 2, "a", 1), CELLAR_OK);
    T_EQ_STR(value_of("k1"), "a");
    T_AFTER_STR(flush(), row[1].text, "a");
    T_EQ_STR(row[2].text, "b");
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    T_EQ_STR(value_of("k1"), "");
}

static char big[8192]; /* too long for the queue */

static void change_in_between(const cellar_event *e, void *ctx)
{
    const unsigned which = *(const unsigned *)ctx;
    static unsigned loads;
    cellar_set_opts o = cellar_set_opts_default();
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    uint64_t removed = 0;
    (void)e;
    switch (which) {
    case 0: T_EQ_I64(cellar_delete_by_pattern(ns, "k1", 2, NULL), CELLAR_OK); break;
    case 1: T_EQ_I64(cellar_delete_by_pattern(ns, "k*", 2, &removed), CELLAR_OK); break;
    case 2: T_EQ_I64(cellar_touch(ns, "k1", 2, 5000), CELLAR_OK); break;
    case 3:
        o.flags = CELLAR_NEGATIVE;
        o.ttl_ms = 1;
        T_EQ_I64(cellar_set(ns, "k1", 2, NULL, 0, &o), CELLAR_OK);
        break;
    case 4: T_EQ_I64(cellar_set(ns, "k1", 2, big, sizeof big, NULL), CELLAR_E_IO); break;
    default:
        lo.flags = CELLAR_LOAD_REFRESH;
        lo.ttl_ms = which == 5 ? 1 : 0;
        T_EQ_I64(cellar_get_or_load(ns, "k1", 2, &lo, load_text, &loads, &r), CELLAR_OK);
        cellar_result_free(&r);
    }
}

/* A change that is no write, or a write that fails, may overtake a write between memory and the
 * queue. */
T_CASE(write_is_queued_after_a_newer_change_of_memory)
{
    for (unsigned which = 0; which < 7; which++) {
        uint64_t id = 0;
        cellar_batcher_config cfg = { .struct_size = sizeof cfg, .queue_bytes = sizeof big };
        begin_with(cfg);
        set("k1", "a");
        T_EQ_I64(cellar_listener_add(ns, CELLAR_CAUSE_BIT(REPLACED),
                                     change_in_between, &which, &id), CELLAR_OK);
        set("k1", "b");
        T_EQ_I64(cellar_listener_remove(ns, id), CELLAR_OK);
        now_ms += 2;
        T_EQ_STR(value_of("k1"), "b");
        T_AFTER_STR(flush(), calls, "k1=b;");
        end();
    }
}

static void end_in_between(const cellar_event *e, void *ctx)
{
    unsigned *const which = ctx, now = *which;
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    (void)e;
    *which = 9; /* once */
    switch (now) {
    case 0: T_EQ_I64(cellar_clear(ns), CELLAR_OK); break;
    case 1: now_ms += 10; break;
    case 2: T_EQ_I64(cellar_set(ns, "k1", 2, NULL, 0, &o), CELLAR_OK); break;
    case 3: T_EQ_I64(cellar_delete_by_tag(ns, "t", 1, CELLAR_TAG_HARD), CELLAR_OK); break;
    default: break;
    }
}

/* The sum of an increment goes into the queue, whatever memory has of the key by then. */
T_CASE(increment_that_ends_before_it_is_queued_is_written)
{
    const cellar_bytes tag = { "t", 1 };
    for (unsigned i = 0; i < 4; i++) {
        unsigned which = i;
        uint64_t id = 0;
        int64_t number = 0;
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 5, .stale_ms = 50, .tags = &tag,
                              .tag_count = 1 };
        begin();
        T_EQ_I64(cellar_increment(ns, "k1", 2, 0, 7, &o, &number), CELLAR_OK);
        flush();
        T_EQ_I64(cellar_listener_add(ns, CELLAR_CAUSE_BIT(REPLACED), end_in_between, &which, &id),
                 CELLAR_OK);
        T_EQ_I64(cellar_increment(ns, "k1", 2, 1, 7, &o, &number), CELLAR_OK);
        T_EQ_I64(cellar_listener_remove(ns, id), CELLAR_OK);
        T_EQ_I64(number, 8);
        flush();
        T_CHECK(row[1].there);
        T_EQ_I64(row[1].text[0], 8);
        end();
    }
}

/* A load while the delete waits would bring the value back. */
T_CASE(delete_of_negative_entry_is_written)
{
    for (unsigned with = 0; with < 2; with++) {
        cellar_delete_opts o = cellar_delete_opts_default();
        void *old = NULL;
        size_t old_len = 0;
        cellar_set_opts negative = { .struct_size = sizeof negative, .flags = CELLAR_NEGATIVE };
        o.old_value = &old, o.old_value_len = &old_len;
        begin();
        set("k1", "a");
        T_EQ_I64(cellar_set(ns, "k1", 2, NULL, 0, &negative), CELLAR_OK);
        T_EQ_I64(cellar_delete_with(ns, "k1", 2, with != 0 ? &o : NULL), CELLAR_MISS);
        T_EQ_STR(value_of("k1"), "");
        T_AFTER_STR(flush(), calls, "-k1;");
        end();
    }
}

T_CASE_ON(deleted_key_is_absent_until_its_delete_is_written, WRITES)
{
    unsigned loads = 0;
    set("k1", "a");
    T_AFTER_I64(flush(), cellar_delete(ns, "k1", 2), CELLAR_OK);
    T_EQ_I64(load_key("k1", 0, &loads), CELLAR_ABSENT);
    T_EQ_U64(loads, 0);
    flush();
    T_CHECK(!row[1].there);
    pass(1000);
    T_EQ_I64(load_key("k1", 0, &loads), CELLAR_OK);
    T_EQ_U64(loads, 1);
    set("k1", "b"); /* a set after a delete that waits replaces it */
    T_EQ_I64(cellar_delete(ns, "k1", 2), CELLAR_OK);
    set("k1", "c");
    calls[0] = '\0';
    T_AFTER_STR(flush(), calls, "k1=c;");
}

T_CASE_ON(no_load_brings_back_what_a_waiting_write_replaces, WRITES)
{
    static const uint32_t flags[] = { CELLAR_LOAD_NO_L2, CELLAR_LOAD_REFRESH };
    unsigned loads = 0;
    for (unsigned i = 0; i < 4; i++) { /* with the entry in memory, and without */
        set("k1", "a");
        if (i < 2) { T_EQ_I64(cellar_clear(ns), CELLAR_OK); }
        T_EQ_I64(load_key("k1", flags[i % 2], &loads), CELLAR_OK);
        T_EQ_STR(got, "a");
        T_EQ_I64(cellar_delete(ns, "k1", 2), CELLAR_OK);
        if (i < 2) { T_EQ_I64(cellar_clear(ns), CELLAR_OK); }
        T_EQ_I64(load_key("k1", flags[i % 2], &loads), CELLAR_ABSENT);
    }
    set("k1", "b");
    T_AFTER_STR(flush(), value_of("k1"), "b");
    T_EQ_U64(loads, 0);
    T_EQ_I64(load_key("k1", CELLAR_LOAD_REFRESH, &loads), CELLAR_OK); /* nothing waits */
    T_EQ_STR(got, "loaded");
}

T_CASE_ON(early_refresh_does_not_overtake_a_waiting_write, WRITES)
{
    unsigned loads = 0;
    const cellar_set_opts times = { .struct_size = sizeof times, .ttl_ms = 1000 };
    const cellar_load_opts o = { .struct_size = sizeof o, .eager_refresh_pct = 1, .ttl_ms = 1000 };
    cellar_namespace_config exact = { .struct_size = sizeof exact, .exact_age = 1 };
    cellar *again = NULL;
    T_EQ_I64(cellar_namespace_open(store, "rows", &exact, &again), CELLAR_OK);
    T_EQ_I64(cellar_set(ns, "k1", 2, "a", 1, &times), CELLAR_OK);
    for (unsigned i = 0; i < 2; i++) {
        cellar_result r = cellar_result_default();
        now_ms += 400;
        if (i == 1) { flush(); }
        T_EQ_I64(cellar_get_or_load(ns, "k1", 2, &o, load_text, &loads, &r), CELLAR_OK);
        T_EQ_U64(r.value_len, i == 0 ? 1 : 6);
        cellar_result_free(&r);
        T_EQ_U64(loads, i);
    }
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
}

static cellar_err load_touches(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_touch(ns, key, len, 1000), CELLAR_OK);
    return cellar_load_value(ld, "loaded", 6);
}

T_CASE_ON(refresh_goes_on_beside_a_touch, WRITES)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH };
    cellar_result r = cellar_result_default();
    set("k1", "a");
    flush();
    T_EQ_I64(cellar_get_or_load(ns, "k1", 2, &o, load_touches, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags, 0);
    cellar_result_free(&r);
    T_EQ_STR(value_of("k1"), "loaded");
}

T_CASE_ON(write_that_a_read_brings_back_keeps_tags_stale_window_and_cost, WRITES)
{
    const cellar_bytes tags[2] = { { "t", 1 }, { "other", 5 } };
    const cellar_set_opts o = { .struct_size = sizeof o, .tags = tags, .tag_count = 2,
                                .ttl_ms = 1000, .stale_ms = 60000, .cost_us = 5000000 };
    const cellar_set_opts keeps = { .struct_size = sizeof keeps, .flags = CELLAR_KEEP_TTL,
                                    .tags = tags, .tag_count = 2, .cost_us = 5000000 };
    uint64_t costs[3];
    for (unsigned i = 0; i < 3; i++) {
        cellar_entry_info info = cellar_entry_info_default();
        T_EQ_I64(cellar_set(ns, "k1", 2, "a", 1, &o), CELLAR_OK);
        T_EQ_I64(cellar_set(ns, "k1", 2, "b", 1, &keeps), CELLAR_OK);
        if (i != 0) { T_AFTER_STR(evict_all(), value_of("k1"), "b"); }
        T_EQ_I64(cellar_entry_info_get(ns, "k1", 2, 0, &info), CELLAR_OK);
        T_EQ_I64(info.stale_left_ms, 61000);
        costs[i] = info.cost_us;
        T_AFTER_STR(flush(), value_of("k1"), "b");
        T_EQ_I64(cellar_delete_by_tag(ns, tags[i % 2].data, tags[i % 2].len, CELLAR_TAG_HARD),
                 CELLAR_OK);
        T_EQ_STR(value_of("k1"), "");
    }
    T_CHECK(costs[0] != 0 && costs[1] == costs[0] && costs[2] == costs[0]);
}

/* A load reads the source while the write waits past its TTL: the end of the write ends the entry
 * of that load. */
T_CASE(write_past_its_ttl_ends_what_a_load_stored)
{
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .linger_ms = 10000 };
    begin_with(cfg);
    unsigned loads = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100 };
    T_EQ_I64(cellar_set(ns, "k1", 2, "a", 1, &o), CELLAR_OK);
    now_ms += 200;
    T_EQ_STR(value_of("k1"), "");
    T_EQ_I64(load_key("k1", 0, &loads), CELLAR_OK);
    T_EQ_STR(value_of("k1"), "loaded");
    T_AFTER_STR(flush(), row[1].text, "a");
    T_EQ_STR(value_of("k1"), "");
    end();
}

/* ---- failures ---- */

T_CASE_ON(failed_batch_is_split_and_bad_write_leaves_no_entry, WRITES)
{
    bad = "k2";
    set("k1", "a");
    set("k2", "b");
    set("k3", "c");
    T_AFTER_STR(flush(), calls, "k1=a,k2=b,k3=c!k1=a;k2=b!k3=c;");
    T_EQ_STR(failures, "k2 ");
    T_EQ_I64(failed_err, CELLAR_E_IO);
    T_EQ_STR(value_of("k1"), "a");
    T_EQ_STR(value_of("k2"), "");
    cellar_batcher_stats st = cellar_batcher_stats_default();
    T_EQ_I64(cellar_batcher_stats_get(batcher, &st), CELLAR_OK);
    T_FIELDS(st, failed, 1, ok, 2);
}

/* A full queue: the call returns E_IO, the older write of the key is still served and written. */
T_CASE(write_without_room_does_not_happen)
{
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .queue_items = 2,
                                  .on_failure = CELLAR_BATCH_RETRY };
    cfg.retry_base_ms = cfg.retry_cap_ms = 1000000;
    begin_with(cfg);
    fail_calls = 1;
    set("k1", "a");
    flush(); /* in hand, waits for its retry */
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    T_EQ_STR(value_of("k1"), "a");
    set("k1", "b");
    T_EQ_I64(cellar_set(ns, "k3", 2, "x", 1, NULL), CELLAR_E_IO);
    T_EQ_STR(value_of("k3"), "");
    T_EQ_I64(cellar_delete(ns, "k4", 2), CELLAR_E_IO);
    set("k1", "c"); /* replaces a write that waits */
    T_EQ_STR(value_of("k1"), "c");
    end(); /* a close retries without a delay */
    T_EQ_STR(calls, "k1=a!k1=a;k1=c;");
}

static void set_once_more(const cellar_event *e, void *ctx)
{
    (void)e, (void)ctx;
    set("k1", "b");
}

/* The listener runs outside the turn of the key. */
T_CASE(queue_bytes_bound_values_and_a_listener_may_write_a_lost_key)
{
    uint64_t id = 0;
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .max_bytes = 1, /* not used */
                                  .queue_bytes = sizeof big };
    begin_with(cfg);
    set("k2", "a");
    T_EQ_I64(cellar_set(ns, "k2", 2, big, sizeof big, NULL), CELLAR_E_IO);
    T_EQ_STR(value_of("k2"), "a"); /* the write before it still waits */
    T_EQ_I64(cellar_listener_add(ns, CELLAR_CAUSE_BIT(DELETED), set_once_more, NULL, &id),
             CELLAR_OK);
    T_EQ_I64(cellar_set(ns, "k1", 2, big, sizeof big, NULL), CELLAR_E_IO);
    T_EQ_STR(value_of("k1"), "b");
    T_AFTER_STR(flush(), calls, "k2=a,k1=b;");
    end();
}

/* ---- a flush that does not return ---- */

static int hang_in[2], hang_out[2]; /* pipes: flush runs; flush may return */
static unsigned lost_count;

static cellar_err hang(const cellar_write *w, size_t count, void *ctx)
{
    char byte = 'x';
    (void)w, (void)count, (void)ctx;
    T_REQUIRE(write(hang_in[1], &byte, 1) == 1);
    T_REQUIRE(read(hang_out[0], &byte, 1) == 1);
    return CELLAR_OK;
}

static void lost(const cellar_write *w, cellar_err err, void *ctx)
{
    (void)ctx;
    T_EQ_I64(err, CELLAR_E_TIMEOUT);
    T_CHECK(w->key_len == 2 && w->value_len == 1);
    lost_count++;
}

/* In a child: batcher and thread stay until the process ends. */
static void close_beside_a_flush(void)
{
    cellar_batcher_config cfg = cellar_batcher_config_default();
    cellar_batcher_stats st = cellar_batcher_stats_default();
    char byte;
    cfg.linger_ms = cfg.close_timeout_ms = 1;
    T_REQUIRE(cellar_open(NULL, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "rows", NULL, &ns) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_batch(ns, &cfg, hang, lost, NULL, &batcher) == CELLAR_OK);
    set("k0", "v");
    T_REQUIRE(read(hang_in[0], &byte, 1) == 1);
    for (unsigned i = 0; i < 10; i++) { set(t_numbered("k", i), "w"); }
    T_EQ_I64(cellar_close(store), CELLAR_OK);
    T_EQ_U64(lost_count, 10);
    T_REQUIRE(write(hang_out[1], &byte, 1) == 1);
    do { /* the thread of the function ends its item, and calls nothing of the program */
        (void)sched_yield();
        (void)cellar_batcher_stats_get(batcher, &st);
    } while (st.items > 10);
    T_EQ_U64(lost_count, 10);
}

/* The faulty sequence: a flush that takes 20 s, and a close with close_timeout_ms 500 took 20 s. */
T_CASE(close_leaves_a_flush_that_does_not_return)
{
    T_REQUIRE(pipe(hang_in) == 0 && pipe(hang_out) == 0);
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        close_beside_a_flush();
        /* By contract the thread is not joined. TSan reports that at an exit. */
        if (!t_failed()) { (void)raise(SIGKILL); }
        _exit(1);
    }
    int status = 0;
    T_REQUIRE(waitpid(child, &status, 0) == child);
    T_EQ_I64(status, SIGKILL);
    for (int i = 0; i < 2; i++) { T_CHECK(close(hang_in[i]) == 0 && close(hang_out[i]) == 0); }
}

static cellar_err end_process(const cellar_write *w, size_t count, void *ctx)
{
    (void)w, (void)count, (void)ctx;
    _exit(0);
}

static void open_with_disk(const char *path, bool threads)
{
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = path,
                   .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.close_ms = CELLAR_TTL_NONE,
                   .host.no_threads = !threads };
    T_REQUIRE(settings_open(&s, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "other", NULL, &ns) == CELLAR_OK);
}

static char disk_path[T_FOLDER_MAX];

static int close_in_child(void)
{
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = &host };
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    cellar *rows;
    open_with_disk(disk_path, false);
    T_REQUIRE(cellar_namespace_open(store, "rows", &o, &rows) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_batch(rows, &cfg, end_process, NULL, NULL, NULL) == CELLAR_OK);
    for (uint32_t i = 0; i < 1000; i++) {
        T_REQUIRE(cellar_set(ns, &i, sizeof i, "value", 5, NULL) == CELLAR_OK);
    }
    T_REQUIRE(cellar_set(rows, "k1", 2, "v", 1, NULL) == CELLAR_OK);
    (void)cellar_close(store);
    return 1;
}

/* The faulty sequence: the close waited for a flush, a service manager killed the process, and the
 * disk lacked the entries of other namespaces. */
T_CASE(disk_has_the_memory_before_a_close_flushes)
{
    t_folder(disk_path);
    T_EQ_I64(in_child(fork(), close_in_child), 0);
    open_with_disk(disk_path, true);
    unsigned there = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        there += cellar_contains(ns, &i, sizeof i) == CELLAR_OK;
    }
    T_EQ_U64(there, 1000);
    end();
    t_wipe(disk_path);
}

T_CASE_ON(dropped_namespace_writes_what_waits, WRITES)
{
    set("k1", "a");
    T_EQ_I64(cellar_namespace_drop(store, "rows"), CELLAR_OK);
    T_AFTER_STR(pass(100), row[1].text, "a");
}

static void *half_a_host(size_t size, void *ctx)
{
    (void)size, (void)ctx;
    return NULL;
}

T_CASE_ON(bad_input_is_refused, WRITES)
{
    cellar_batcher_config cfg = cellar_batcher_config_default();
    cellar_batcher *b = batcher;
    T_EQ_I64(cellar_set(store, "kept", 4, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_namespace_batch(NULL, NULL, write_rows, NULL, NULL, &b), CELLAR_E_INVAL);
    T_CHECK(b == NULL);
    T_EQ_I64(cellar_namespace_batch(store, NULL, NULL, NULL, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_namespace_batch(ns, NULL, write_rows, NULL, NULL, &b), CELLAR_E_BUSY);
    cfg.max_items = CELLAR_BATCH_ITEMS_MAX + 1;
    T_EQ_I64(cellar_namespace_batch(store, &cfg, write_rows, NULL, NULL, &b), CELLAR_E_INVAL);
    cellar_host_config half = { .struct_size = sizeof half, .log_level = (cellar_log_level)9 };
    cellar_batcher_config other = { .struct_size = sizeof other, .host = &half };
    T_EQ_I64(cellar_namespace_batch(store, &other, write_rows, NULL, NULL, &b), CELLAR_E_INVAL);
    half.log_level = CELLAR_LOG_DEFAULT;
    half.alloc = half_a_host; /* without free */
    T_EQ_I64(cellar_namespace_batch(store, &other, write_rows, NULL, NULL, &b), CELLAR_E_INVAL);
    cfg.max_items = 1;
    cfg.workers = 65;
    T_EQ_I64(cellar_namespace_batch(store, &cfg, write_rows, NULL, NULL, &b), CELLAR_E_INVAL);
    T_EQ_I64(cellar_contains(store, "kept", 4), CELLAR_OK);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_DURABLE };
    T_EQ_I64(cellar_set(ns, "k1", 2, "v", 1, &o), CELLAR_E_UNSUPPORTED);
    cellar *closed = NULL;
    T_EQ_I64(cellar_namespace_open(store, "x", NULL, &closed), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(store, "x"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_batch(closed, NULL, write_rows, NULL, NULL, &b), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(closed), CELLAR_OK);
}

/* ---- functions of the program ---- */

static unsigned exits_left, sets_left;

static cellar_err exit_in_flush(const cellar_write *w, size_t count, void *ctx)
{
    if (exits_left > 0) {
        exits_left--;
        pthread_exit(NULL);
    }
    return write_rows(w, count, ctx);
}

static void exit_in_failed(const cellar_write *w, cellar_err err, void *ctx)
{
    write_failed(w, err, ctx);
    pthread_exit(NULL);
}

static void *tick_until_exit(void *arg)
{
    flush();
    return arg;
}

/* The thread ends inside flush, then inside `failed`: the write has failed, and nothing leaks. */
T_CASE(functions_that_end_their_thread_lose_nothing)
{
    const uint64_t blocks = base_live_blocks();
    pthread_t thread;
    begin();
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = &host };
    cellar *other = NULL;
    T_REQUIRE(cellar_namespace_open(store, "exits", NULL, &other) == CELLAR_OK);
    T_EQ_I64(cellar_namespace_batch(other, &cfg, exit_in_flush, exit_in_failed, "source", &batcher),
             CELLAR_OK);
    exits_left = 1;
    T_EQ_I64(cellar_set(other, "k1", 2, "a", 1, NULL), CELLAR_OK);
    for (int i = 0; i < 3; i++) { /* exits in flush, in failed, and ends */
        T_REQUIRE(pthread_create(&thread, NULL, tick_until_exit, NULL) == 0);
        T_REQUIRE(pthread_join(thread, NULL) == 0);
    }
    T_EQ_STR(failures, "k1 ");
    T_EQ_I64(failed_err, CELLAR_E_CANCELLED);
    T_EQ_I64(cellar_contains(other, "k1", 2), CELLAR_MISS);
    T_EQ_U64(items_of(), 0);
    T_EQ_I64(cellar_set(other, "k2", 2, "b", 1, NULL), CELLAR_OK);
    T_AFTER_STR(flush(), row[2].text, "b");
    T_EQ_I64(cellar_namespace_close(other), CELLAR_OK);
    end();
    T_EQ_U64(base_live_blocks(), blocks);
}

static cellar_err set_in_flush(const cellar_write *w, size_t count, void *ctx)
{
    if (sets_left > 0) { /* the same key, and another one */
        sets_left--;
        T_EQ_I64(cellar_set(ns, "k1", 2, "newer", 5, NULL), CELLAR_OK);
        T_EQ_I64(cellar_delete(ns, "k7", 2), CELLAR_MISS);
        T_EQ_STR(value_of("k1"), "newer");
    }
    return write_rows(w, count, ctx);
}

T_CASE_ON(flush_function_may_write_the_namespace, WRITES)
{
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = &host };
    T_REQUIRE(cellar_namespace_open(store, "sets", NULL, &ns) == CELLAR_OK);
    T_EQ_I64(cellar_namespace_batch(ns, &cfg, set_in_flush, NULL, "source", &batcher), CELLAR_OK);
    sets_left = 1;
    set("k1", "old");
    flush();
    T_AFTER_STR(flush(), calls, "k1=old;k1=newer,-k7;");
}

static void *take_block(size_t size, void *ctx)
{
    (void)ctx;
    return malloc(size);
}
static void give_block(void *block, size_t size, void *ctx) /* a use of it after that crashes */
{
    (void)ctx;
    if (block != NULL) { memset(block, 0x5A, size); }
    free(block);
}

static cellar_err write_nowhere(const cellar_write *w, size_t count, void *ctx)
{
    (void)w, (void)count, (void)ctx;
    return CELLAR_OK;
}

T_CASE(eviction_in_a_close_uses_no_closed_queue)
{
    char path[T_FOLDER_MAX], value[4000] = "";
    const cellar_host_config own = { .struct_size = sizeof own, .clock = read_clock,
                                    .alloc = take_block, .free = give_block, .no_threads = 1 };
    cellar_stats st = cellar_stats_default();
    t_folder(path);
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = path,
                   .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                   .host.no_threads = 1 };
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = &own };
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    T_REQUIRE(settings_open(&s, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "rows", &o, &ns) == CELLAR_OK);
    T_REQUIRE(cellar_set(store, "k", 1, "v", 1, NULL) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_batch(ns, &cfg, write_nowhere, NULL, NULL, &batcher) == CELLAR_OK);
    for (uint32_t i = 0; i < 4000; i++) {
        T_REQUIRE(cellar_set(ns, &i, sizeof i, value, sizeof value, NULL) == CELLAR_OK);
        if (i % 100 == 99) { flush(); }
    }
    T_REQUIRE(cellar_stats_get(store, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(store, (int64_t)(st.budget_bytes - st.used_bytes)), CELLAR_OK);
    end();
    t_wipe(path);
}

static int writes_in_child(void)
{
    const bool ok = cellar_set(ns, "k1", 2, "child", 5, NULL) == CELLAR_E_FORKED &&
                    cellar_delete(ns, "k1", 2) == CELLAR_E_FORKED &&
                    cellar_batcher_flush(batcher, NULL) == CELLAR_E_FORKED && call_count == 0;
    return ok ? 0 : 1;
}

T_CASE_ON(forked_child_writes_nothing, WRITES)
{
    set("k1", "a");
    T_EQ_I64(in_child(fork(), writes_in_child), 0);
    T_AFTER_STR(flush(), calls, "k1=a;");
}

/* ---- faults and random operations ---- */

/* Each write either happens in cache and source, or in none of them. `on`: all allocations fail
 * from the nth on. */
static void failed_allocations(bool on)
{
    const uint64_t blocks = base_live_blocks();
    uint64_t seen = 1, failed = 0;
    for (uint64_t nth = 1; nth <= seen && nth < 300; nth++) {
        begin();
        char want[8][8] = { "" };
        (void)base_fault_alloc_arm(nth, on);
        for (unsigned i = 0; i < 8; i++) {
            const char value[] = { 'v', (char)('0' + i), '\0' };
            const cellar_err err = cellar_set(ns, t_numbered("k", i), 2, value, 2, NULL);
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_NOMEM);
            if (err == CELLAR_OK) { memcpy(want[i], value, sizeof value); }
            failed += err != CELLAR_OK;
        }
        while (cellar_tick(batcher, 1000000, NULL) == CELLAR_PENDING) {}
        flush();
        const uint64_t count = base_fault_alloc_arm(0, false);
        if (nth == 1) { seen = count; }
        for (unsigned i = 0; i < 8; i++) {
            T_EQ_STR(row[i].text, want[i]);
            T_EQ_STR(value_of(t_numbered("k", i)), want[i]);
        }
        end();
        T_EQ_U64(base_live_blocks(), blocks);
    }
    printf("# %u allocations, %u writes failed\n", (unsigned)seen, (unsigned)failed);
    T_CHECK(seen > 5 && failed > 2);
}

T_CASE(failed_allocation_loses_no_write)
{
    failed_allocations(false);
    failed_allocations(true);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 3000 / T_COST };
static void *write_keys(void *arg)
{
    base_rng rng;
    base_rng_seed(&rng, t_seed() + (uint64_t)(uintptr_t)arg);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char value[16];
        const char *key = t_numbered("k", base_rng_below(&rng, 6));
        snprintf(value, sizeof value, "%u.%u", (unsigned)(uintptr_t)arg, i);
        if (base_rng_below(&rng, 8) == 0) {
            const cellar_err err = cellar_delete(ns, key, 2);
            T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        } else {
            T_EQ_I64(cellar_set(ns, key, 2, value, strlen(value), NULL), CELLAR_OK);
        }
        if (base_rng_below(&rng, 64) == 0) { T_EQ_I64(cellar_clear(ns), CELLAR_OK); }
        size_t len;
        char read[64];
        (void)cellar_get(ns, key, 2, read, sizeof read, &len);
    }
    return NULL;
}

/* After all writes the source has what the cache has, for every key that the cache has. */
T_CASE(threads_leave_the_same_values_in_cache_and_source)
{
    pthread_t thread[THREADS];
    memset(row, 0, sizeof row);
    calls[0] = '\0';
    call_count = fail_calls = 0;
    bad = NULL;
    fifth_fails = true; /* one call runs at a time: the source needs no lock */
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20 };
    T_REQUIRE(settings_open(&s, &store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(store, "rows", NULL, &ns) == CELLAR_OK);
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .linger_ms = 1, .max_items = 3,
                                  .close_timeout_ms = 60000,
                                  .on_failure = CELLAR_BATCH_RETRY, .max_attempts = 100 };
    cfg.retry_base_ms = cfg.retry_cap_ms = 1;
    T_EQ_I64(cellar_namespace_batch(ns, &cfg, write_rows, NULL, "source", &batcher), CELLAR_OK);
    for (uintptr_t i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, write_keys, (void *)i) == 0);
    }
    join_threads(thread, THREADS);
    char text[6][64];
    for (unsigned k = 0; k < 6; k++) {
        snprintf(text[k], sizeof text[k], "%s", value_of(t_numbered("k", k)));
    }
    end();
    for (unsigned k = 0; k < 6; k++) {
        if (text[k][0] != '\0') { T_EQ_STR(row[k].text, text[k]); }
    }
    fifth_fails = false;
}

T_MAIN("work_behind")
