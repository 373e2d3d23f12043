/* SPDX-License-Identifier: MIT
 *
 * Aim:    Any allocation of the guards may fail. Filters, breakers, warm-up, memoized calls,
 *         write-through, and fallbacks of bulk loads and leases return a code, leave a consistent
 *         store, and work in the next call.
 * Method: The n-th allocation after the open fails once, for every n that is reached. Then
 *         everything runs once more without a failure. */
#include "tests/support/bloom_kit.h"
#include "tests/support/load_kit.h"

#include "base/mem.h"
#include "tests/support/settings.h"

static cellar_err give_number(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(ld, key, key_len);
}

static cellar_err give_text(cellar_load *ld, const cellar_arg *args, size_t count, void *ctx)
{
    (void)ctx;
    T_EQ_U64(count, 1);
    return cellar_load_value(ld, args[0].as.bytes.data, 4);
}

static cellar_err write_nothing(const void *key, size_t key_len, const void *value,
                                size_t value_len, void *ctx)
{
    (void)ctx;
    (void)key;
    (void)key_len;
    (void)value;
    (void)value_len;
    return CELLAR_OK;
}

static cellar_err next_number(cellar_bytes *key, void *ctx)
{
    uint32_t *n = ctx;
    if (*n == 200) { return CELLAR_MISS; }
    ++*n;
    *key = (cellar_bytes){ n, sizeof *n };
    return CELLAR_OK;
}

/* Judge the code of a call. Return whether it is OK: with `must` it has to be. */
static bool fine(cellar_err err, bool must)
{
    T_CHECK(err == CELLAR_OK || (!must && (err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE)));
    return err == CELLAR_OK;
}

/* Run everything once. With `must` each call succeeds. */
static void all_of_it(cellar *c, bool must)
{
    cellar_breaker *b = NULL;
    cellar_warm_report report = cellar_warm_report_default();
    cellar_result r = cellar_result_default();
    static char text[700];
    const cellar_bytes last = { "last", 4 };
    uint32_t n = 0, key = 7;
    memset(text, 't', sizeof text - 1);
    if (fine(bloom_size(c, 100), must)) {
        (void)fine(cellar_bloom_feed(c, next_number, &n, NULL), must);
        n = 0; /* a second set beside it */
        (void)fine(cellar_bloom_feed(c, next_number, &n, NULL), must);
    }
    const bool created = fine(cellar_breaker_create(c, NULL, &b), must);
    T_EQ_U64(created, b != NULL);
    cellar_load_opts o = { .struct_size = sizeof o, .breaker = b, .default_value = &last };
    (void)fine(cellar_get_or_load(c, &key, sizeof key, &o, give_number, NULL, &r), must);
    cellar_result_free(&r);
    n = 0;
    cellar_warm_opts w = { .struct_size = sizeof w, .next = next_number, .next_ctx = &n,
                           .loader = give_number, .threads = 1 };
    (void)fine(cellar_warm(c, &w, &report), must);
    T_EQ_U64(report.keys, report.hits + report.loaded + report.absent + report.failed +
                               report.skipped);
    /* the filter lacks the keys of memoized calls */
    T_EQ_I64(bloom_size(c, 0), CELLAR_OK);
    (void)fine(CELLAR_MEMOIZE(c, "f", 1, NULL, give_text, NULL, &r, &text[0]), must);
    cellar_result_free(&r);
    (void)fine(cellar_write_through(c, &key, sizeof key, text, 100, NULL, write_nothing, NULL),
               must);
    cellar_breaker_destroy(b);
}

T_CASE(failed_allocation_of_guard_returns_code)
{
    uint64_t nth = 0, seen = 1;
    for (nth = 1; nth <= seen && nth < 2000; nth++) {
        cellar *c = kit_open(4 << 20);
        (void)base_fault_alloc_arm(nth, false);
        all_of_it(c, false);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (nth == 1) { seen = calls; }
        all_of_it(c, true);
        kit_close(c);
    }
    printf("# %" PRIu64 " allocations failed, one at a time\n", nth - 1);
    T_CHECK(nth > 10);
}

/* ---- fallbacks ---- */

/* Reports a, fails the other keys. */
static cellar_err load_a(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    cellar_err err = CELLAR_OK;
    (void)ctx;
    for (size_t i = 0; i < count && err == CELLAR_OK; i++) {
        err = *(const char *)keys[i].data == 'a' ? loader_value(ld, i, "bulk", 4)
                                                  : loader_fail(ld, i, 42);
    }
    return err;
}

/* Knows b and l; other keys get the default. */
static cellar_err load_b(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const char first = *(const char *)key;
    (void)key_len;
    (void)ctx;
    return first == 'b' || first == 'l' ? cellar_load_value(ld, "second", 6) : CELLAR_E_IO;
}

/* The result is a value that was brought for the key, or no value and a code. */
static void is_whole(cellar_err err, cellar_result *r, const char *mine, const char *instead)
{
    if (err == CELLAR_OK) {
        const bool is_mine = r->value_len == strlen(mine) &&
                             memcmp(r->value, mine, r->value_len) == 0;
        const bool is_instead = r->value_len == strlen(instead) &&
                                memcmp(r->value, instead, r->value_len) == 0;
        T_CHECK(is_mine || is_instead);
    } else {
        T_CHECK(err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE || err == CELLAR_E_LOADER);
    }
    cellar_result_free(r);
}

static void waited(void *ctx) { ++*(int *)ctx; }

static void fallbacks_in_bulk(cellar *c, const cellar_load_opts *o, bool must)
{
    static const char names[] = "abc";
    static const char *const brought[] = { "bulk", "second", "default" };
    cellar_load_item it[3];
    for (size_t i = 0; i < 3; i++) {
        it[i] = (cellar_load_item){ names + i, 1, fresh_result(), CELLAR_OK, 0 };
    }
    const cellar_err err = cellar_get_or_load_many(c, it, 3, o, load_a, NULL);
    T_EQ_I64(err, CELLAR_OK);
    for (size_t i = 0; i < 3; i++) {
        if (must) { T_EQ_I64(it[i].status, CELLAR_OK); }
        is_whole(it[i].status, it[i].result, brought[i], must ? brought[i] : "default");
    }
}

/* Fail a lease with a waiter: the waiter is called and then acquires. */
static void fallbacks_of_a_lease(cellar *c, const cellar_load_opts *o, bool must)
{
    cellar_lease lease, ticket;
    cellar_result r = cellar_result_default();
    int told = 0;
    const cellar_subscriber w = { waited, &told };
    cellar_err err = cellar_lease_acquire(c, "l", 1, o, NULL, &lease, &r);
    T_CHECK(err == CELLAR_LEASED || (!must && err == CELLAR_E_NOMEM));
    cellar_result_free(&r);
    if (err != CELLAR_LEASED) { return; }
    err = cellar_lease_acquire(c, "l", 1, o, &w, &ticket, &r);
    T_CHECK(err == CELLAR_PENDING || (!must && err == CELLAR_E_NOMEM));
    cellar_result_free(&r);
    const bool waits = err == CELLAR_PENDING;
    T_EQ_I64(cellar_lease_release(c, &lease, 42), CELLAR_OK); /* with any amount of memory */
    T_EQ_I64(told, waits);
    err = cellar_lease_acquire(c, "l", 1, o, NULL, &lease, &r);
    if (must) { T_EQ_I64(err, CELLAR_OK); }
    if (err == CELLAR_LEASED) { /* the value could not be stored */
        T_EQ_I64(cellar_lease_release(c, &lease, 0), CELLAR_OK);
        cellar_result_free(&r);
    } else {
        is_whole(err, &r, "second", must ? "second" : "default");
    }
}

T_CASE(failed_allocation_of_fallback_leaves_nothing)
{
    static const cellar_bytes last = { "default", 7 };
    const uint64_t blocks = base_live_blocks(), bytes = base_live_bytes();
    uint64_t nth, seen = 1, failed = 0;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .fallback_ttl_ms = 500 };
    o.fallback[0] = (cellar_fallback){ load_b, NULL };
    o.default_value = &last;
    o.trace = (const unsigned char *)"a trace context of thirty-two bytes";
    for (nth = 1; nth <= seen && nth < 2000 && !t_failed(); nth++) {
        for (int on = 0; on < 2; on++) { /* fail once; fail from there on */
            cellar *c = kit_open(2 << 20);
            (void)base_fault_alloc_arm(nth, on != 0);
            fallbacks_in_bulk(c, &o, false);
            fallbacks_of_a_lease(c, &o, false);
            failed += base_fault_alloc_site() != NULL;
            const uint64_t calls = base_fault_alloc_arm(0, false);
            if (on == 0 && calls > seen) { seen = calls; }
            atomic_fetch_add(&kit_now_ms, 100000); /* all stored results have expired */
            fallbacks_in_bulk(c, &o, true);
            fallbacks_of_a_lease(c, &o, true);
            kit_close(c);
            T_EQ_U64(base_live_blocks(), blocks);
            T_EQ_U64(base_live_bytes(), bytes);
        }
    }
    printf("# %" PRIu64 " allocations, %" PRIu64 " runs in which one failed\n", nth - 1, failed);
    T_CHECK(failed > 10);
}

T_MAIN("fault_guard")
