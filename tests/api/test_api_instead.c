/* SPDX-License-Identifier: MIT
 *
 * Aim:    Fallbacks and default values where no single call waits for its own loader. A bulk load
 *         calls them for each failed key; a lease calls them when it is refused or released with an
 *         error. Waiters of the key get their result. A remembered failure, or a failed load of
 *         another thread, does not hide the fallbacks. Threads that exit inside a fallback:
 *         test_api_jump.c.
 * Method: Sources with prepared answers, on a clock of the test (load_kit.h). */
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

#include <pthread.h>

static const cellar_bytes last = { "default", 7 };

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))
#define STORE2(fn) T_WITH(fn, cellar *c, c, kit_open(8 << 20), kit_close(c))

/* ---- bulk ---- */

enum { A, B, C, D, KEYS };

typedef struct bulk {
    int calls;
    cellar_err returned;
} bulk;

/* a: a value, b: failed, c: absent, d: not reported. */
static cellar_err load_some(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    bulk *b = ctx;
    b->calls++;
    for (size_t i = 0; i < count; i++) {
        switch (*(const char *)keys[i].data) {
        case 'a': T_EQ_I64(loader_value(ld, i, "bulk", 4), CELLAR_OK); break;
        case 'b': T_EQ_I64(loader_fail(ld, i, 42), CELLAR_OK); break;
        case 'c': T_EQ_I64(loader_absent(ld, i), CELLAR_OK); break;
        default: break;
        }
    }
    return b->returned;
}

static void ask(cellar *c, const char *names, const cellar_load_opts *o, bulk *b,
                cellar_load_item it[KEYS])
{
    for (size_t i = 0; i < KEYS; i++) {
        it[i] = (cellar_load_item){ names + i, 1, fresh_result(), CELLAR_OK, 0 };
    }
    T_EQ_I64(cellar_get_or_load_many(c, it, strlen(names), o, load_some, b), CELLAR_OK);
}

static void is(cellar_load_item *it, cellar_err status, uint32_t from, const char *text)
{
    T_EQ_I64(it->status, status);
    T_EQ_U64(it->result->source, from);
    if (text != NULL) {
        T_EQ_U64(it->result->value_len, strlen(text));
        T_EQ_MEM(it->result->value, text, strlen(text));
    }
    cellar_result_free(it->result);
}

static cellar *inside_store;
static int cycles;

/* Knows b. While the fallback for b runs, this thread still leads the load of d. */
static cellar_err knows_b(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    source *s = ctx;
    T_EQ_U64(key_len, 1);
    atomic_fetch_add(&s->calls, 1);
    if (*(const char *)key != 'b') { return CELLAR_E_IO; }
    cellar_result r = cellar_result_default();
    cycles += cellar_get_or_load(inside_store, "d", 1, NULL, source_load, s, &r) ==
              CELLAR_E_DEADLOCK;
    cellar_result_free(&r);
    return cellar_load_value(ld, "second", 6);
}

T_CASE_ON(bulk_load_calls_fallbacks_for_each_failed_key, STORE2)
{
    inside_store = c;
    source f = SOURCE_INIT, never = SOURCE_INIT;
    bulk b = { 0, CELLAR_OK };
    cellar_load_item it[KEYS];
    cycles = 0;
    cellar_load_opts o = { .struct_size = sizeof o, .jitter_pct = CELLAR_OFF };
    o.fallback[0] = (cellar_fallback){ source_load, &never };
    o.fallback[1] = (cellar_fallback){ knows_b, &f };
    o.default_value = &last;
    o.fallback_ttl_ms = 500;
    atomic_store(&never.say, SAY_FAIL);
    ask(c, "abcd", &o, &b, it);
    T_EQ_I64(it[B].result->ttl_left_ms, 500);
    is(&it[A], CELLAR_OK, CELLAR_SOURCE_LOADED, "bulk");
    is(&it[B], CELLAR_OK, CELLAR_SOURCE_FALLBACK, "second");
    is(&it[C], CELLAR_ABSENT, CELLAR_SOURCE_LOADED, NULL);
    is(&it[D], CELLAR_OK, CELLAR_SOURCE_DEFAULT, "default");
    T_EQ_I64(cycles, 1);
    T_EQ_I64(atomic_load(&never.calls), 2);
    T_EQ_I64(atomic_load(&f.calls), 2);
    ask(c, "badc", &o, &b, it); /* all values are stored */
    T_EQ_I64(b.calls, 1);
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_L1, "second");
    is(&it[1], CELLAR_OK, CELLAR_SOURCE_L1, "bulk");
    is(&it[2], CELLAR_OK, CELLAR_SOURCE_L1, "default");
    is(&it[3], CELLAR_ABSENT, CELLAR_SOURCE_NEGATIVE, NULL);
    atomic_fetch_add(&kit_now_ms, 500);
    o.default_value = NULL;
    b.returned = CELLAR_E_IO;
    ask(c, "bd", &o, &b, it); /* the error text of the bulk loader */
    T_EQ_I64(it[1].result->loader_err, CELLAR_E_IO);
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_FALLBACK, "second");
    is(&it[1], CELLAR_E_LOADER, CELLAR_SOURCE_NONE, NULL);
    T_EQ_U64(store_stats(c).load_fallbacks, 3);
    T_EQ_U64(store_stats(c).loads_running, 0);
}

T_CASE_ON(bulk_load_behind_open_breaker_calls_fallbacks, STORE2)
{
    inside_store = c;
    cellar_breaker *breaker = NULL;
    source f = SOURCE_INIT;
    bulk b = { 0, CELLAR_E_IO };
    cellar_load_item it[KEYS];
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    T_EQ_I64(cellar_breaker_create(c, &bo, &breaker), CELLAR_OK);
    cellar_load_opts o = { .struct_size = sizeof o, .breaker = breaker };
    ask(c, "d", &o, &b, it);
    is(&it[0], CELLAR_E_LOADER, CELLAR_SOURCE_NONE, NULL);
    o.fallback[2] = (cellar_fallback){ knows_b, &f };
    ask(c, "bc", &o, &b, it);
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_FALLBACK, "second");
    is(&it[1], CELLAR_E_BREAKER_OPEN, CELLAR_SOURCE_NONE, NULL);
    o.default_value = &last;
    ask(c, "c", &o, &b, it);
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_DEFAULT, "default");
    T_EQ_I64(b.calls, 1);
    cellar_breaker_destroy(breaker);
}

/* ---- leases ---- */

static _Atomic int told;

static void tell(void *ctx) { (void)ctx; atomic_fetch_add(&told, 1); }

static cellar_err begin(cellar *c, const cellar_load_opts *o, cellar_lease *lease, char text[64],
                        uint32_t *from)
{
    const cellar_subscriber w = { tell, NULL };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, "k", 1, o, &w, lease, &r);
    text[0] = '\0';
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        if (r.value_len != 0) { memcpy(text, r.value, r.value_len); }
        text[r.value_len] = '\0';
    }
    if (from != NULL) { *from = r.source; }
    cellar_result_free(&r);
    return err;
}

static void *read_k(void *arg)
{
    void **a = arg;
    source s = SOURCE_INIT;
    T_EQ_I64(kit_load(a[0], "k", NULL, &s, a[1], a[2]), CELLAR_OK);
    T_EQ_I64(atomic_load(&s.calls), 0);
    return NULL;
}

T_CASE_ON(lease_released_with_error_calls_fallbacks, STORE)
{
    source f = SOURCE_INIT;
    cellar_lease a, b;
    cellar_result r = cellar_result_default();
    uint32_t from;
    char text[64], waited[64];
    void *args[3] = { c, waited, &r };
    pthread_t waits;
    atomic_store(&told, 0);
    cellar_load_opts o = { .struct_size = sizeof o, .jitter_pct = CELLAR_OFF };
    o.fallback[1] = (cellar_fallback){ source_load, &f };
    o.fallback_ttl_ms = 500;
    f.text = "instead";
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_LEASED);
    T_EQ_I64(begin(c, &o, &b, text, NULL), CELLAR_PENDING);
    T_REQUIRE(pthread_create(&waits, NULL, read_k, args) == 0);
    while (store_stats(c).load_waiters < 2) { kit_nap(); }
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
    T_EQ_I64(pthread_join(waits, NULL), 0);
    T_EQ_STR(waited, "instead");
    T_EQ_U64(r.source, CELLAR_SOURCE_JOINED);
    T_EQ_I64(atomic_load(&told), 1);
    T_EQ_I64(begin(c, &o, &b, text, &from), CELLAR_OK); /* stored, for this time */
    T_EQ_STR(text, "instead");
    T_EQ_U64(from, CELLAR_SOURCE_L1);
    atomic_fetch_add(&kit_now_ms, 500);
    T_EQ_I64(begin(c, &o, &b, text, NULL), CELLAR_LEASED);
    /* released without a failure: no fallback */
    T_EQ_I64(cellar_lease_release(c, &b, 0), CELLAR_OK);
    T_EQ_I64(atomic_load(&f.calls), 1);
    char copied[] = "default";
    const cellar_bytes mine = { copied, 7 };
    o.default_value = &mine;
    atomic_store(&f.say, SAY_FAIL);
    T_EQ_I64(begin(c, &o, &b, text, NULL), CELLAR_LEASED);
    memset(copied, 'x', 7);
    T_EQ_I64(cellar_lease_release(c, &b, 42), CELLAR_OK);
    T_EQ_I64(begin(c, NULL, &a, text, NULL), CELLAR_OK);
    T_EQ_STR(text, "default");
    T_EQ_U64(store_stats(c).load_fallbacks, 2);
}

T_CASE(options_kept_for_lease_are_freed_with_it)
{
    cellar *c = kit_open(4 << 20);
    source f = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_set_opts so = cellar_set_opts_default();
    cellar_lease a, b;
    char text[64];
    o.fallback[0] = (cellar_fallback){ source_load, &f };
    o.default_value = &last;
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &a, "brought", 7, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_LEASED);
    atomic_fetch_add(&kit_now_ms, 30000);
    kit_tick(c); /* the lease is forgotten */
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_E_LEASE);
    so.ttl_ms = 100; /* a stale value comes before any fallback */
    so.stale_ms = 100000;
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, &so), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 200);
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_STALE);
    T_CHECK(a.opaque[0] != 0);
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
    T_EQ_I64(begin(c, &o, &b, text, NULL), CELLAR_STALE);
    T_EQ_STR(text, "old");
    T_EQ_I64(atomic_load(&f.calls), 0);
    (void)cellar_delete(c, "k", 1);
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_LEASED); /* the close ends it */
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE_ON(refused_lease_calls_fallbacks_immediately, STORE)
{
    source f = SOURCE_INIT;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_lease a;
    uint32_t from;
    char text[64];
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    cellar_namespace_config vo = { .struct_size = sizeof vo, .breaker = &bo };
    f.text = "instead";
    atomic_store(&told, 0);
    cellar *v = space_with(c, "v", &vo);
    T_EQ_I64(begin(v, NULL, &a, text, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(v, &a, 42), CELLAR_OK);
    T_EQ_I64(begin(v, NULL, &a, text, NULL), CELLAR_E_BREAKER_OPEN);
    o.fallback[0] = (cellar_fallback){ source_load, &f };
    o.default_value = &last;
    o.fallback_ttl_ms = 500;
    o.jitter_pct = CELLAR_OFF;
    T_EQ_I64(begin(v, &o, &a, text, &from), CELLAR_OK);
    T_EQ_STR(text, "instead");
    T_EQ_U64(from, CELLAR_SOURCE_FALLBACK);
    T_CHECK(a.opaque[0] == 0 && a.opaque[1] == 0);
    T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK); /* no time passes, so the breaker stays open */
    atomic_store(&f.say, SAY_FAIL);
    T_EQ_I64(begin(v, &o, &a, text, &from), CELLAR_OK);
    T_EQ_STR(text, "default");
    T_EQ_U64(from, CELLAR_SOURCE_DEFAULT);
    T_EQ_I64(atomic_load(&told), 0);
}

/* ---- a failure that other calls received ---- */

/* Run one call with options on k; check the text and the source of its result. */
static cellar_err read_with(cellar *c, const cellar_load_opts *o, source *s, char text[64],
                            uint32_t *from)
{
    cellar_result r;
    const cellar_err err = kit_load(c, "k", o, s, text, &r);
    *from = r.source;
    if (r.source == CELLAR_SOURCE_DEFAULT || r.source == CELLAR_SOURCE_FALLBACK) {
        T_EQ_I64(err, CELLAR_OK);
        T_EQ_I64(r.loader_err, 0);
    }
    return err;
}

T_CASE_ON(remembered_failure_calls_fallbacks_and_default, STORE2)
{
    source s = SOURCE_INIT, f = SOURCE_INIT;
    cellar_load_opts plain = cellar_load_opts_default(), o = cellar_load_opts_default();
    char text[64];
    cellar_result r;
    uint32_t from;
    plain.error_ttl_ms = o.error_ttl_ms = 2000; /* a pause of 1,000 to 2,000 */
    o.jitter_pct = CELLAR_OFF;
    atomic_store(&s.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", &plain, &s, text, NULL), CELLAR_E_LOADER);
    o.default_value = &last;
    KIT_LOADS(c, "k", &o, &s, text, &r, "default");
    T_EQ_U64(r.source, CELLAR_SOURCE_DEFAULT);
    T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED);
    /* the failure is still remembered */
    T_EQ_I64(kit_load(c, "k", &plain, &s, text, &r), CELLAR_E_LOADER);
    T_EQ_U64(r.source, CELLAR_SOURCE_ERROR_ENTRY);
    o.fallback[1] = (cellar_fallback){ source_load, &f };
    o.fallback_ttl_ms = 10; /* shorter than the pause: the failure stays remembered */
    f.text = "instead";
    T_EQ_I64(read_with(c, &o, &s, text, &from), CELLAR_OK);
    T_EQ_STR(text, "instead");
    T_EQ_U64(from, CELLAR_SOURCE_FALLBACK);
    atomic_store(&f.say, SAY_FAIL);
    T_EQ_I64(read_with(c, &o, &s, text, &from), CELLAR_OK);
    T_EQ_U64(from, CELLAR_SOURCE_DEFAULT);
    o.default_value = NULL;
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_E_LOADER);
    T_EQ_I64(r.loader_err, CELLAR_E_IO);
    T_EQ_U64(r.source, CELLAR_SOURCE_ERROR_ENTRY);
    T_CHECK(r.retry_after_ms > 0);
    o.flags = CELLAR_LOAD_ONLY_IF_CACHED; /* calls no source */
    o.default_value = &last;
    T_EQ_I64(read_with(c, &o, &s, text, &from), CELLAR_E_LOADER);
    T_EQ_I64(atomic_load(&f.calls), 3);
    o.flags = 0;
    o.fallback_ttl_ms = 2000; /* not shorter: stored in place of the failure */
    atomic_store(&f.say, SAY_VALUE);
    T_EQ_I64(read_with(c, &o, &s, text, &from), CELLAR_OK);
    T_EQ_I64(read_with(c, &plain, &s, text, &from), CELLAR_OK);
    T_EQ_U64(from, CELLAR_SOURCE_L1);
    T_EQ_I64(atomic_load(&f.calls), 4);
    T_EQ_I64(atomic_load(&s.calls), 1);
    atomic_fetch_add(&kit_now_ms, 2000);
    atomic_store(&s.say, SAY_VALUE);
    T_EQ_I64(read_with(c, &o, &s, text, &from), CELLAR_OK);
    T_EQ_U64(from, CELLAR_SOURCE_LOADED);
    T_EQ_U64(store_stats(c).load_fallbacks, 4);
}

/* A remembered failure blocks loads until the time that the source named, even if a fallback
 * brought a value meanwhile. */
T_CASE_ON(fallback_does_not_shorten_retry_after, STORE2)
{
    source s = SOURCE_INIT, f = SOURCE_INIT;
    char text[64];
    cellar_result r;
    s.said_err = 503;
    s.retry_after_ms = 60000;
    f.text = "instead";
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 100, .fallback_ttl_ms = 500,
                           .jitter_pct = CELLAR_OFF };
    o.fallback[0] = (cellar_fallback){ source_load, &f };
    atomic_store(&s.say, SAY_FAIL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK);
        T_EQ_U64(r.source, CELLAR_SOURCE_FALLBACK);
        T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED);
        T_EQ_I64(atomic_load(&s.calls), 1);
        atomic_fetch_add(&kit_now_ms, 19000);
    }
    T_EQ_I64(atomic_load(&f.calls), 3);
    T_EQ_I64(kit_load(c, "k", NULL, &s, text, &r), CELLAR_E_LOADER);
    T_EQ_I64(r.loader_err, 503);
    T_EQ_I64(r.retry_after_ms, 3000);
    atomic_fetch_add(&kit_now_ms, 3000);
    atomic_store(&s.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK);
    T_EQ_U64(r.source, CELLAR_SOURCE_LOADED);
    /* Without a remembered failure the value is stored for the whole fallback_ttl_ms. */
    atomic_store(&s.say, SAY_FAIL);
    o.error_ttl_ms = 0;
    T_EQ_I64(kit_load(c, "other", &o, &s, text, &r), CELLAR_OK);
    T_EQ_I64(r.ttl_left_ms, 500);
    /* With jitter it is stored if its time reaches the end of the failure, which else stays. */
    o.error_ttl_ms = 100;
    o.fallback_ttl_ms = 60000;
    o.jitter_pct = 10;
    for (int mode = CELLAR_JITTER_MINUS; mode <= CELLAR_JITTER_PLUSMINUS; mode++) {
        const char key[2] = { (char)('0' + mode) };
        o.jitter_mode = (cellar_jitter)mode;
        T_EQ_I64(kit_load(c, key, &o, &s, text, &r), CELLAR_OK);
        T_EQ_U64(r.source, CELLAR_SOURCE_FALLBACK);
        const bool stored = r.flags == 0;
        T_CHECK(stored ? mode != CELLAR_JITTER_MINUS || r.ttl_left_ms == 60000
                       : mode != CELLAR_JITTER_PLUS && r.flags == CELLAR_RESULT_NOT_STORED);
        T_EQ_I64(kit_load(c, key, NULL, &s, text, &r), stored ? CELLAR_OK : CELLAR_E_LOADER);
        T_CHECK(!stored || r.ttl_left_ms >= 60000);
    }
    o.fallback_ttl_ms = CELLAR_TTL_NONE; /* jitter does not spread it */
    o.jitter_pct = 100;
    T_EQ_I64(kit_load(c, "lasting", &o, &s, text, &r), CELLAR_OK);
    T_EQ_I64(r.ttl_left_ms, CELLAR_TTL_NONE);
    T_EQ_U64(r.flags, 0);
    o.negative_ttl_ms = 60000; /* nor the time of an absent key */
    o.jitter_pct = 10;
    atomic_store(&f.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "absent", &o, &s, text, &r), CELLAR_ABSENT);
    T_EQ_I64(kit_load(c, "absent", NULL, &s, text, &r), CELLAR_ABSENT);
    atomic_store(&f.say, SAY_VALUE);
    /* A call with LOAD_REFRESH gets the value of a fallback; the old value stays for other
     * calls. */
    o.fallback_ttl_ms = 500;
    o.jitter_pct = CELLAR_OFF;
    o.stale_ms = 1000000;
    o.ttl_ms = 1000;
    atomic_store(&s.say, SAY_VALUE);
    s.text = "old";
    T_EQ_I64(kit_load(c, "stale", &o, &s, text, &r), CELLAR_OK);
    atomic_store(&s.say, SAY_FAIL);
    atomic_fetch_add(&kit_now_ms, 1000);
    o.flags = CELLAR_LOAD_REFRESH;
    T_EQ_I64(kit_load(c, "stale", &o, &s, text, &r), CELLAR_OK);
    T_EQ_U64(r.source, CELLAR_SOURCE_FALLBACK);
    o.flags = 0;
    T_EQ_I64(kit_load(c, "stale", &o, &s, text, &r), CELLAR_STALE);
    T_EQ_STR(text, "old");
    T_EQ_I64(r.retry_after_ms, 60000);
}

T_CASE_ON(fallback_does_not_shorten_error_ttl, STORE2)
{
    source s = SOURCE_INIT;
    char text[64];
    cellar_result r;
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 2000, .fallback_ttl_ms = 500,
                           .jitter_pct = CELLAR_OFF, .default_value = &last };
    atomic_store(&s.say, SAY_FAIL);
    for (int i = 0; i < 2; i++) { /* the pause is 1,000 ms at least */
        T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK);
        T_EQ_U64(r.source, CELLAR_SOURCE_DEFAULT);
        T_EQ_U64(r.flags, CELLAR_RESULT_NOT_STORED);
        T_EQ_I64(atomic_load(&s.calls), 1);
        atomic_fetch_add(&kit_now_ms, 900);
    }
    atomic_fetch_add(&kit_now_ms, 200);
    T_EQ_I64(kit_load(c, "k", &o, &s, text, &r), CELLAR_OK);
    T_EQ_I64(atomic_load(&s.calls), 2);
    o.fallback_ttl_ms = 2000; /* reaches the end of the failure */
    T_EQ_I64(kit_load(c, "other", &o, &s, text, &r), CELLAR_OK);
    T_EQ_U64(r.flags, 0);
    T_EQ_I64(r.ttl_left_ms, 2000);
}

T_CASE_ON(bulk_load_of_remembered_failure_calls_fallbacks, STORE2)
{
    inside_store = c;
    source f = SOURCE_INIT;
    bulk b = { 0, CELLAR_OK };
    cellar_load_item it[KEYS];
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 2000, .fallback_ttl_ms = 10,
                           .jitter_pct = CELLAR_OFF };
    ask(c, "bd", &o, &b, it);
    is(&it[0], CELLAR_E_LOADER, CELLAR_SOURCE_NONE, NULL);
    is(&it[1], CELLAR_E_NO_RESULT, CELLAR_SOURCE_NONE, NULL);
    o.fallback[0] = (cellar_fallback){ knows_b, &f };
    cycles = 0;
    /* the bulk loader is asked only for a, the fallback once for each key */
    ask(c, "badb", &o, &b, it);
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_FALLBACK, "second");
    is(&it[1], CELLAR_OK, CELLAR_SOURCE_LOADED, "bulk");
    is(&it[2], CELLAR_E_LOADER, CELLAR_SOURCE_ERROR_ENTRY, NULL);
    is(&it[3], CELLAR_OK, CELLAR_SOURCE_JOINED, "second");
    T_EQ_I64(b.calls, 2);
    T_EQ_I64(cycles, 0); /* inside the loader d is a failure, not a cycle with the own load */
    T_EQ_I64(atomic_load(&f.calls), 2);
    o.default_value = &last;
    ask(c, "dbd", &o, &b, it); /* the bulk loader has no key to load */
    is(&it[0], CELLAR_OK, CELLAR_SOURCE_DEFAULT, "default");
    is(&it[1], CELLAR_OK, CELLAR_SOURCE_FALLBACK, "second");
    is(&it[2], CELLAR_OK, CELLAR_SOURCE_JOINED, "default");
    T_EQ_I64(b.calls, 2);
    T_EQ_I64(atomic_load(&f.calls), 4);
    T_EQ_U64(store_stats(c).loads_running, 0);
}

T_CASE_ON(lease_of_remembered_failure_calls_fallbacks_immediately, STORE)
{
    source f = SOURCE_INIT;
    cellar_lease a;
    uint32_t from;
    char text[64];
    cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = 2000, .fallback_ttl_ms = 10 };
    T_EQ_I64(begin(c, &o, &a, text, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
    T_EQ_I64(begin(c, &o, &a, text, &from), CELLAR_E_LOADER);
    T_EQ_U64(from, CELLAR_SOURCE_ERROR_ENTRY);
    o.default_value = &last;
    T_EQ_I64(begin(c, &o, &a, text, &from), CELLAR_OK);
    T_EQ_STR(text, "default");
    f.text = "instead";
    o.fallback[2] = (cellar_fallback){ source_load, &f };
    T_EQ_I64(begin(c, &o, &a, text, &from), CELLAR_OK);
    T_EQ_STR(text, "instead");
    T_EQ_U64(from, CELLAR_SOURCE_FALLBACK);
    T_CHECK(a.opaque[0] == 0 && a.opaque[1] == 0);
    T_EQ_I64(atomic_load(&f.calls), 1);
}

typedef struct reader { /* one call in a thread */
    cellar *c;
    const cellar_load_opts *o;
    source *s;
    char text[64];
    cellar_result r;
    cellar_err err;
    pthread_t thread;
} reader;

static void *reader_main(void *arg)
{
    reader *d = arg;
    d->err = kit_load(d->c, "k", d->o, d->s, d->text, &d->r);
    return NULL;
}

enum { READERS = 8 };

/* One thread leads, the others wait; then the load fails finally. */
static void failing_in_front_of_readers(cellar *c, source *s, const cellar_load_opts *leads,
                                        const cellar_load_opts *o, reader d[READERS])
{
    atomic_store(&s->gate, 1);
    for (int i = 0; i < READERS; i++) {
        d[i] = (reader){ .c = c, .o = i == 0 ? leads : o, .s = s };
        T_REQUIRE(pthread_create(&d[i].thread, NULL, reader_main, &d[i]) == 0);
        while (atomic_load(&s->inside) == 0) { kit_nap(); }
    }
    while (store_stats(c).load_waiters < READERS - 1) { kit_nap(); }
    atomic_store(&s->gate, 0);
    for (int i = 0; i < READERS; i++) { T_EQ_I64(pthread_join(d[i].thread, NULL), 0); }
}

T_CASE_ON(waiter_of_failed_load_calls_its_own_fallbacks, STORE2)
{
    source s = SOURCE_INIT, f = SOURCE_INIT;
    cellar_load_opts none = cellar_load_opts_default(), o = cellar_load_opts_default();
    reader d[READERS];
    s.said_err = 42;
    s.fail_flags = CELLAR_FAIL_FINAL;
    atomic_store(&s.say, SAY_FAIL);
    o.default_value = &last;
    failing_in_front_of_readers(c, &s, &none, &o, d);
    T_EQ_I64(d[0].err, CELLAR_E_LOADER);
    for (int i = 1; i < READERS; i++) {
        T_EQ_I64(d[i].err, CELLAR_OK);
        T_EQ_STR(d[i].text, "default");
        T_EQ_U64(d[i].r.source, CELLAR_SOURCE_DEFAULT);
    }
    T_EQ_I64(atomic_load(&s.calls), 1);
    /* Fallbacks: one waiter calls them, the others get the value from that waiter or from the
     * cache. */
    f.text = "instead";
    o.fallback[0] = (cellar_fallback){ source_load, &f };
    failing_in_front_of_readers(c, &s, &none, &o, d);
    int asked = 0;
    for (int i = 1; i < READERS; i++) {
        T_EQ_I64(d[i].err, CELLAR_OK);
        T_EQ_STR(d[i].text, "instead");
        asked += d[i].r.source == CELLAR_SOURCE_FALLBACK;
    }
    T_EQ_I64(asked, 1);
    T_EQ_I64(atomic_load(&f.calls), 1);
    T_EQ_I64(atomic_load(&s.calls), 2);
    /* A fallback that the leader called in vain is not called by each waiter again. */
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    atomic_store(&f.say, SAY_FAIL);
    o.default_value = NULL;
    failing_in_front_of_readers(c, &s, &o, &o, d);
    for (int i = 0; i < READERS; i++) {
        T_EQ_I64(d[i].err, CELLAR_E_LOADER);
        T_EQ_I64(d[i].r.loader_err, 42);
    }
    T_EQ_I64(atomic_load(&f.calls), 2);
    T_EQ_I64(atomic_load(&s.calls), 3);
    /* A fallback that one waiter called in vain is not called again either, if the leader had
     * none. */
    failing_in_front_of_readers(c, &s, &none, &o, d);
    for (int i = 0; i < READERS; i++) {
        T_EQ_I64(d[i].err, CELLAR_E_LOADER);
        T_EQ_I64(d[i].r.loader_err, 42);
    }
    T_CHECK(atomic_load(&f.calls) >= 3 && atomic_load(&f.calls) < 2 + READERS);
    T_EQ_I64(atomic_load(&s.calls), 4);
}

T_CASE(waiter_past_its_timeout_gets_the_default)
{
    cellar *c = NULL;
    source s = SOURCE_INIT, f = SOURCE_INIT, other = SOURCE_INIT;
    cellar_load_opts none = cellar_load_opts_default(), o = cellar_load_opts_default();
    cellar_load_opts slow = cellar_load_opts_default();
    char text[64];
    cellar_result r;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8 << 20, .host.clock = kit_clock,
                     .host.no_threads = 1 };
    cfg.tuning.max_loads = cfg.tuning.max_load_waiters = 1;
    atomic_store(&kit_now_ms, 1000000);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    reader leads = { .c = c, .o = &none, .s = &s };
    atomic_store(&s.gate, 1);
    T_REQUIRE(pthread_create(&leads.thread, NULL, reader_main, &leads) == 0);
    while (atomic_load(&s.inside) == 0) { kit_nap(); }
    o.wait_timeout_ms = 1;
    o.default_value = &last;
    o.fallback[0] = (cellar_fallback){ source_load, &f };
    T_EQ_I64(kit_load(c, "full", NULL, &other, text, NULL), CELLAR_E_LIMIT);
    T_EQ_I64(kit_load(c, "full", &o, &other, text, &r), CELLAR_OK); /* too many flights */
    T_EQ_U64(r.source, CELLAR_SOURCE_DEFAULT);
    reader waits = { .c = c, .o = &o, .s = &other };
    T_REQUIRE(pthread_create(&waits.thread, NULL, reader_main, &waits) == 0);
    while (store_stats(c).load_waiters == 0) { kit_nap(); }
    T_EQ_I64(kit_load(c, "k", &slow, &other, text, NULL), CELLAR_E_LIMIT);
    T_EQ_I64(kit_load(c, "k", &o, &other, text, NULL), CELLAR_OK); /* too many waiters */
    T_EQ_STR(text, "default");
    atomic_fetch_add(&kit_now_ms, 2);
    T_EQ_I64(pthread_join(waits.thread, NULL), 0);
    T_EQ_I64(waits.err, CELLAR_OK);
    T_EQ_STR(waits.text, "default");
    T_EQ_U64(waits.r.source, CELLAR_SOURCE_DEFAULT);
    atomic_store(&s.gate, 0);
    T_EQ_I64(pthread_join(leads.thread, NULL), 0);
    T_EQ_I64(leads.err, CELLAR_OK);
    T_EQ_I64(atomic_load(&f.calls) + atomic_load(&other.calls), 0); /* fallbacks are slow */
    T_EQ_U64(store_stats(c).load_timeouts, 1);
    kit_close(c);
}

T_MAIN("api_instead")
