/* SPDX-License-Identifier: MIT
 *
 * each_call: all calls on the handle of a store or namespace, for a handle that each of them
 * refuses: NULL, a closed one, one of the parent process. */
#ifndef TESTS_SUPPORT_EACH_CALL_H
#define TESTS_SUPPORT_EACH_CALL_H

#include "cellar.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_load.h"
#include "cellar_object.h"
#include "cellar_observe.h"
#include "cellar_warm.h"
#include "tests/support/settings.h"

#define NOT_CALLED T_CHECK(false && "a refused call must not call back")

static cellar_err never_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)load, (void)key, (void)key_len, (void)ctx;
    NOT_CALLED;
    return CELLAR_E_INVAL;
}

static cellar_err never_load_many(cellar_load *load, const cellar_bytes *keys, size_t n, void *ctx)
{
    (void)load, (void)keys, (void)n, (void)ctx;
    NOT_CALLED;
    return CELLAR_E_INVAL;
}

static cellar_err never_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)out, (void)ctx;
    NOT_CALLED;
    return CELLAR_OK;
}

static cellar_err never_write(const void *key, size_t key_len, const void *value, size_t value_len,
                              void *ctx)
{
    (void)key, (void)key_len, (void)value, (void)value_len, (void)ctx;
    NOT_CALLED;
    return CELLAR_OK;
}

static cellar_err never_key(cellar_bytes *key, void *ctx)
{
    (void)key, (void)ctx;
    NOT_CALLED;
    return CELLAR_MISS;
}

static bool never_scan(const cellar_scan_entry *e, void *ctx)
{
    (void)e, (void)ctx;
    return NOT_CALLED;
}

static bool never_list(const char *name, const cellar_stats *st, void *ctx)
{
    (void)name, (void)st, (void)ctx;
    return NOT_CALLED;
}

static bool never_rule(const cellar_policy_rule *r, void *ctx)
{
    (void)r, (void)ctx;
    return NOT_CALLED;
}

static void never_listen(const cellar_event *e, void *ctx) { (void)e, (void)ctx, (void)NOT_CALLED; }

#define REFUSES(call) T_EQ_I64((call), want)

static void calls_on_entries_are(cellar *c, cellar_err want)
{
    char buf[16];
    size_t n = 0;
    int64_t now = 0;
    void *value = NULL;
    cellar_pinned pin;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_item get = { .key = "k", .key_len = 1, .buf = buf, .buf_cap = sizeof buf };
    cellar_set_item set = { .key = "k", .key_len = 1, .value = "v", .value_len = 1 };
    cellar_delete_item del = { .key = "k", .key_len = 1 };
    const cellar_get_opts with = cellar_get_opts_default();
    REFUSES(cellar_get(c, "k", 1, buf, sizeof buf, &n));
    REFUSES(cellar_get_str(c, "k", buf, sizeof buf));
    REFUSES(cellar_get_alloc(c, "k", 1, &value, &n));
    T_CHECK(value == NULL);
    REFUSES(cellar_get_with(c, "k", 1, &with, buf, sizeof buf, &n));
    REFUSES(peek(c, "k", 1, buf, sizeof buf, &n));
    REFUSES(cellar_get_range(c, "k", 1, 0, buf, sizeof buf, &n));
    REFUSES(cellar_get_many(c, &get, 1, NULL));
    REFUSES(cellar_entry_info_get(c, "k", 1, 0, &info));
    REFUSES(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info));
    REFUSES(cellar_pin(c, "k", 1, &pin));
    REFUSES(cellar_reserve(c, 5000, &pin));
    REFUSES(cellar_set(c, "k", 1, "w", 1, NULL));
    REFUSES(cellar_set_str(c, "k", "w", 0));
    REFUSES(cellar_set_many(c, &set, 1, NULL, NULL));
    REFUSES(cellar_touch(c, "k", 1, 1000));
    REFUSES(cellar_increment(c, "n", 1, 1, 0, NULL, &now));
    REFUSES(cellar_update(c, "k", 1, NULL, never_update, NULL));
    REFUSES(cellar_write_through(c, "k", 1, "w", 1, NULL, never_write, NULL));
    REFUSES(cellar_delete(c, "k", 1));
    REFUSES(cellar_delete_with(c, "k", 1, NULL));
    REFUSES(cellar_delete_many(c, &del, 1, NULL));
    REFUSES(cellar_value_damaged(c, "k", 1, "v", 1));
}

static void calls_that_load_are(cellar *c, cellar_err want)
{
    cellar_lease lease = { { 0 } };
    cellar_held held;
    cellar_breaker *breaker = NULL;
    cellar_bloom_info filter = cellar_bloom_info_default();
    cellar_result r = cellar_result_default();
    cellar_load_item item = { .key = "k", .key_len = 1, .result = &r };
    REFUSES(cellar_get_or_load(c, "k", 1, NULL, never_load, NULL, &r));
    REFUSES(cellar_get_or_load_many(c, &item, 1, NULL, never_load_many, NULL));
    REFUSES(cellar_object_set(c, "k", 1, &held, 1, NULL));
    REFUSES(cellar_object_acquire(c, "k", 1, &held));
    REFUSES(cellar_object_get_or_load(c, "k", 1, NULL, never_load, NULL, &held));
    REFUSES(cellar_object_lease_acquire(c, "k", 1, NULL, NULL, &lease, &held));
    REFUSES(cellar_object_lease_fulfill(c, &lease, &held, 1, NULL));
    REFUSES(cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r));
    REFUSES(cellar_lease_fulfill(c, &lease, "v", 1, NULL));
    REFUSES(cellar_lease_release(c, &lease, 0));
    REFUSES(cellar_lease_unsubscribe(c, &lease));
    REFUSES(cellar_bloom_add(c, "k", 1));
    REFUSES(cellar_bloom_check(c, "k", 1));
    REFUSES(cellar_bloom_feed(c, never_key, NULL, NULL));
    REFUSES(cellar_bloom_info_get(c, &filter));
    REFUSES(cellar_breaker_create(c, NULL, &breaker));
}

static void calls_on_stores_are(cellar *c, cellar_err want)
{
    uint64_t count = 0, cursor = 0, id = 0;
    uint32_t number = 0;
    int64_t option = 0;
    size_t n = 0;
    char text[64];
    cellar *other = NULL;
    cellar_stats stats = cellar_stats_default();
    cellar_latency latency = cellar_latency_default();
    cellar_advice advice = cellar_advice_default();
    cellar_reason reason = cellar_reason_default();
    cellar_hot_key hot;
    REFUSES(cellar_namespace_open(c, "new", NULL, &other));
    REFUSES(cellar_namespace_drop(c, "v"));
    REFUSES(cellar_namespace_list(c, never_list, NULL));
    REFUSES(cellar_ttl_class_find(c, "x", &number));
    REFUSES(cellar_clear(c));
    REFUSES(cellar_version_set(c, 0, NULL));
    REFUSES(cellar_version_set(c, 2, &number));
    REFUSES(cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_HARD));
    REFUSES(cellar_delete_by_pattern(c, "*", 1, &count));
    REFUSES(cellar_scan(c, &cursor, NULL, never_scan, NULL));
    REFUSES(cellar_listener_add(c, 0, never_listen, NULL, &id));
    REFUSES(cellar_listener_remove(c, 1));
    REFUSES(cellar_sync(c));
    REFUSES(cellar_save(c, &count));
    REFUSES(cellar_stats_get(c, CELLAR_SCOPE_STORE, &stats));
    REFUSES(cellar_latency_get(c, CELLAR_OP_GET_HIT, &latency));
    REFUSES(cellar_advice_get(c, CELLAR_SCOPE_STORE, &advice));
    REFUSES(cellar_hot_keys(c, CELLAR_SCOPE_STORE, &hot, 1, &n));
    REFUSES(cellar_why(c, "k", 1, &reason));
    REFUSES(cellar_metrics_write(c, text, sizeof text, &n));
    REFUSES(cellar_stats_json(c, text, sizeof text, &n));
    REFUSES(cellar_dump_write(c, text, sizeof text, &n));
    REFUSES(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 4 << 20));
    REFUSES(cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &option));
    REFUSES(cellar_policy_set(c, NULL, 0));
    REFUSES(cellar_policy_list(c, never_rule, NULL));
    REFUSES(cellar_memory_charge(c, 1));
    REFUSES(cellar_tick(c, 1000, NULL));
    REFUSES(cellar_integrity_check(c));
}

/* All but cellar_contains and the calls that end the handle. */
static void each_call_is(cellar *c, cellar_err want)
{
    calls_on_entries_are(c, want);
    calls_that_load_are(c, want);
    calls_on_stores_are(c, want);
}

#endif
