/* SPDX-License-Identifier: MIT
 *
 * Aim:    any allocation of the guards may fail: filters, breakers, warm-up, memoized calls and
 *         write-through answer with a code, leave a whole store, and work when asked again.
 * Method: the n-th allocation after the store was opened fails once, for every n that is reached;
 *         then everything is done once more without a failure. */
#include "tests/load_kit.h"

#include "base/mem.h"

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

static cellar_err write_nothing(void *ctx, const void *key, size_t key_len, const void *value,
                                size_t value_len)
{
    (void)ctx;
    (void)key;
    (void)key_len;
    (void)value;
    (void)value_len;
    return CELLAR_OK;
}

static cellar_err next_number(void *ctx, cellar_bytes *key)
{
    uint32_t *n = ctx;
    if (*n == 200) { return CELLAR_MISS; }
    ++*n;
    *key = (cellar_bytes){ n, sizeof *n };
    return CELLAR_OK;
}

static bool fine(cellar_err err)
{
    return err == CELLAR_OK || err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE;
}

/* Everything once. With `must` each call succeeds. */
static void all_of_it(cellar *c, bool must)
{
    cellar_breaker *b = NULL;
    cellar_load_opts o = CELLAR_LOAD_OPTS_INIT;
    cellar_warm_opts w = CELLAR_WARM_OPTS_INIT;
    cellar_warm_report report = CELLAR_WARM_REPORT_INIT;
    cellar_result r = CELLAR_RESULT_INIT;
    static char text[700];
    const cellar_bytes last = { "last", 4 };
    uint32_t n = 0, key = 7;
    memset(text, 't', sizeof text - 1);
    cellar_err err = cellar_bloom_open(c, 100, 0.01);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK));
    if (err == CELLAR_OK) {
        err = cellar_bloom_feed(c, next_number, &n, NULL);
        T_CHECK(fine(err) && (!must || err == CELLAR_OK));
        if (err == CELLAR_OK) { /* E_LIMIT: it could not grow while it was fed */
            err = cellar_bloom_seal(c, 0);
            T_CHECK(err == CELLAR_OK || (!must && err == CELLAR_E_LIMIT));
        }
    }
    err = cellar_breaker_create(c, NULL, &b);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK) && (b != NULL) == (err == CELLAR_OK));
    o.breaker = b;
    o.default_value = &last;
    err = cellar_get_or_load(c, &key, sizeof key, &o, give_number, NULL, &r);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK));
    cellar_result_free(&r);
    n = 0;
    w.next = next_number;
    w.next_ctx = &n;
    w.fn = give_number;
    w.parallel = 1;
    err = cellar_warm(c, &w, &report);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK));
    T_EQ_U64(report.asked, report.hit + report.loaded + report.absent + report.failed +
                               report.skipped);
    T_EQ_I64(cellar_bloom_off(c, 1), CELLAR_OK); /* it knows nothing of memoized calls */
    err = CELLAR_MEMOIZE(c, "f", 1, NULL, give_text, NULL, &r, &text[0]);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK));
    cellar_result_free(&r);
    err = cellar_write_through(c, &key, sizeof key, text, 100, NULL, write_nothing, NULL);
    T_CHECK(fine(err) && (!must || err == CELLAR_OK));
    cellar_breaker_destroy(b);
}

static void any_refused_allocation_of_a_guard_is_a_code(void)
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

T_MAIN("fault_guard", T_CASE(any_refused_allocation_of_a_guard_is_a_code))
