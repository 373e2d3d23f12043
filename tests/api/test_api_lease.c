/* SPDX-License-Identifier: MIT
 *
 * Aim:    Leases and bulk loads: which caller gets the value, which waiters are called, order and
 *         status of items, refused calls. Any failed allocation leaves nothing behind.
 * Method: One thread drives the leases, with a second thread where a call must wait. Bulk loaders
 *         have prepared reports. The allocator of the test fails the n-th call. */
#include "tests/support/load_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

static _Atomic int told;
static cellar_lease a, b; /* of the case */

static void tell(void *ctx) { (void)ctx; atomic_fetch_add(&told, 1); }

static cellar_err begin(cellar *c, const char *key, cellar_lease *lease, char text[64])
{
    const cellar_subscriber w = { tell, NULL };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, key, strlen(key), NULL, &w, lease, &r);
    text[0] = '\0';
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        if (r.value_len != 0) { memcpy(text, r.value, r.value_len); }
        text[r.value_len] = '\0';
    }
    cellar_result_free(&r);
    return err;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c))

/* ---- leases ---- */

T_CASE_ON(lease_is_fulfilled_once, STORE)
{
    cellar_lease used;
    atomic_store(&told, 0);
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_PENDING);
    used = a;
    T_EQ_I64(cellar_lease_fulfill(c, &a, "value", 5, NULL), CELLAR_OK);
    T_CHECK(a.opaque[0] == 0 && a.opaque[1] == 0);
    T_EQ_I64(atomic_load(&told), 1);
    T_EQ_I64(cellar_lease_fulfill(c, &used, "again", 5, NULL), CELLAR_E_LEASE);
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_OK);
    T_EQ_STR(answer, "value");
    T_EQ_I64(atomic_load(&told), 1);
}

T_CASE_ON(invalidated_lease_serves_value_but_does_not_store_it, STORE)
{
    for (int how = 0; how < 3; how++) {
        T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
        if (how == 0) { (void)cellar_delete(c, "k", 1); }
        if (how == 1) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
        if (how == 2) { T_EQ_I64(cellar_set(c, "k", 1, "newer", 5, NULL), CELLAR_OK); }
        T_EQ_I64(cellar_lease_fulfill(c, &a, "late", 4, NULL), CELLAR_INVALIDATED);
        T_EQ_I64(begin(c, "k", &b, answer), how == 2 ? CELLAR_OK : CELLAR_LEASED);
        if (how == 2) { T_EQ_STR(answer, "newer"); } else { (void)cellar_lease_release(c, &b, 0); }
    }
}

typedef struct waiting {
    cellar *v;
    cellar_err err;
    pthread_t thread;
} waiting;

static void *wait_for_k(void *arg)
{
    waiting *w = arg;
    source s = SOURCE_INIT;
    char text[64];
    w->err = kit_load(w->v, "k", NULL, &s, text, NULL);
    T_EQ_I64(atomic_load(&s.calls), 0);
    return NULL;
}

/* The handles of a dropped namespace answer E_CLOSED, so no call can fulfill its leases. Its
 * waiters return immediately. */
T_CASE_ON(dropped_namespace_ends_its_leases, STORE)
{
    cellar *v = space_of(c, "v"), *other = space_of(c, "other");
    cellar_lease own;
    atomic_store(&told, 0);
    T_EQ_I64(begin(other, "k", &own, answer), CELLAR_LEASED);
    T_EQ_I64(begin(v, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(begin(v, "k", &b, answer), CELLAR_PENDING);
    waiting w = { .v = v };
    T_REQUIRE(pthread_create(&w.thread, NULL, wait_for_k, &w) == 0);
    do { kit_nap(); } while (store_stats(c).load_waiters < 2);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK); /* no time passes on this clock */
    T_EQ_I64(atomic_load(&told), 1);
    T_EQ_I64(pthread_join(w.thread, NULL), 0);
    T_EQ_I64(w.err, CELLAR_E_CLOSED);
    T_EQ_I64(cellar_lease_fulfill(v, &a, "late", 4, NULL), CELLAR_E_CLOSED);
    T_EQ_I64(begin(v, "k", &b, answer), CELLAR_E_CLOSED);
    /* of other namespaces: untouched */
    T_EQ_I64(cellar_lease_fulfill(other, &own, "mine", 4, NULL), CELLAR_OK);
    T_EQ_U64(store_stats(c).loads_running, 0);
}

T_CASE_ON(lease_of_stale_entry_serves_stale_value, STORE)
{
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, SET_OPTS(.ttl_ms = 100, .stale_ms = 10000)),
             CELLAR_OK);
    T_AFTER_I64(atomic_fetch_add(&kit_now_ms, 100), begin(c, "k", &a, answer), CELLAR_STALE);
    T_EQ_STR(answer, "old");
    T_CHECK(cellar_lease_held(&a)); /* this call has the lease of the refresh */
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_STALE);
    T_CHECK(!cellar_lease_held(&b));
    T_EQ_I64(cellar_lease_release(c, &a, 9), CELLAR_OK); /* failed: throttled */
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_STALE);
    T_CHECK(!cellar_lease_held(&a));
}

static cellar_err begin_with(cellar *c, const char *key, const cellar_load_opts *o, cellar_lease *l)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, key, strlen(key), o, NULL, l, &r);
    cellar_result_free(&r);
    return err;
}

static int64_t ttl_left(cellar *c)
{
    cellar_entry_info i = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(c, "k", 1, 0, &i);
    return err == CELLAR_OK || err == CELLAR_ABSENT ? i.ttl_left_ms : -1;
}

static cellar_err fallback_with_trace(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const unsigned char *trace = loader_info(ld).trace;
    (void)key, (void)key_len;
    if (trace == NULL) { return CELLAR_E_IO; }
    memcpy(ctx, trace, CELLAR_LOAD_TRACE_BYTES);
    return cellar_load_value(ld, "instead", 7);
}

/* The bytes of the caller change before the release; default value and trace are both kept. */
T_CASE_ON(fallback_of_released_lease_reads_copy_of_trace, STORE)
{
    static const cellar_bytes last = { "default", 7 };
    unsigned char trace[CELLAR_LOAD_TRACE_BYTES], want[CELLAR_LOAD_TRACE_BYTES];
    unsigned char seen[CELLAR_LOAD_TRACE_BYTES] = { 0 };
    memset(trace, 0x77, sizeof trace);
    memset(want, 0x77, sizeof want);
    cellar_load_opts o = { .struct_size = sizeof o, .trace = trace };
    o.fallback[0] = (cellar_fallback){ fallback_with_trace, seen };
    o.default_value = &last;
    T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
    memset(trace, 0, sizeof trace);
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
    T_EQ_MEM(seen, want, sizeof want);
    T_EQ_I64(begin_with(c, "k", NULL, &a), CELLAR_OK);
}

/* Report tags, which a store with a disk tier keeps as texts, and fail; succeed with a ctx. */
static cellar_err fallback_with_tags(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    static const cellar_bytes tags[2] = { { "first", 5 }, { "second", 6 } };
    (void)key, (void)key_len;
    T_EQ_I64(loader_tags(ld, tags, 2), CELLAR_OK);
    T_EQ_I64(loader_tags(ld, tags, 1), CELLAR_OK);
    return ctx == NULL ? CELLAR_E_IO : cellar_load_value(ld, "tagged", 6);
}

T_CASE(lease_keeps_its_options_while_fallbacks_set_tags)
{
    const cellar_bytes last = { "default", 7 };
    char value[8];
    size_t len;
    cellar *c;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4 << 20,
                     .config.l2_path = folder_of_case(), .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    closed_later(c);
    cellar_load_opts o = { .struct_size = sizeof o, .default_value = &last };
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX; i++) { o.fallback[i].fn = fallback_with_tags; }
    for (int last_works = 0; last_works < 2; last_works++) {
        if (last_works != 0) { o.fallback[CELLAR_FALLBACKS_MAX - 1].ctx = &told; }
        T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
        T_EQ_I64(cellar_get(c, "k", 1, value, sizeof value, &len), CELLAR_OK);
        T_EQ_MEM(value, last_works != 0 ? "tagged" : "default", last_works != 0 ? 6 : 7);
        T_EQ_I64(cellar_delete_by_tag(c, "first", 5, 0), CELLAR_OK);
        T_EQ_I64(cellar_get(c, "k", 1, value, sizeof value, &len),
                 last_works != 0 ? CELLAR_MISS : CELLAR_OK);
        (void)cellar_delete(c, "k", 1);
    }
}

/* An option of the fulfill wins over the option of the acquire; an unset one takes it from the
 * acquire. */
T_CASE_ON(fulfilled_lease_uses_options_of_its_acquire, STORE)
{
    cellar_set_opts so = cellar_set_opts_default();
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 500,
                           .negative_ttl_ms = 300, .jitter_pct = CELLAR_OFF };
    for (int how = 0; how < 5; how++) {
        static const int64_t left[5] = { 1000, 1000, 250, 300, -1 };
        const bool none = how >= 3;
        so.ttl_ms = how == 2 ? 250 : 0;
        so.flags = none ? CELLAR_NEGATIVE : 0;
        o.flags = how == 4 ? CELLAR_LOAD_NO_NEGATIVE : 0;
        T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(c, &a, "v", none ? 0 : 1, how == 0 ? NULL : &so), CELLAR_OK);
        if (!T_EQ_I64(ttl_left(c), left[how])) { printf("# way %d\n", how); }
        if (how < 3) {
            atomic_fetch_add(&kit_now_ms, left[how] + 499);
            T_EQ_I64(begin_with(c, "k", NULL, &a), CELLAR_STALE);
            T_EQ_I64(cellar_lease_release(c, &a, 0), CELLAR_OK);
        }
        (void)cellar_delete(c, "k", 1);
    }
    o.jitter_pct = 50; /* drawn from the jitter of the acquire */
    o.jitter_mode = CELLAR_JITTER_PLUS;
    int64_t most = 0;
    for (int i = 0; i < 50; i++) {
        T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(c, &a, "v", 1, NULL), CELLAR_OK);
        const int64_t left = ttl_left(c);
        T_CHECK(left >= 1000 && left <= 1500);
        if (left > most) { most = left; }
        atomic_fetch_add(&kit_now_ms, 1);
        (void)cellar_delete(c, "k", 1);
    }
    T_CHECK(most > 1250);
    o.flags = 0;
    so.ttl_ms = 0;
    so.flags = CELLAR_NEGATIVE; /* "absent" is not spread */
    for (int i = 0; i < 20; i++) {
        T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(c, &a, NULL, 0, &so), CELLAR_OK);
        T_EQ_I64(ttl_left(c), 300);
        (void)cellar_delete(c, "k", 1);
    }
}

T_CASE_ON(fulfilled_value_is_refreshed_early, STORE)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .eager_refresh_pct = 80,
                                 .jitter_pct = CELLAR_OFF };
    T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &a, "v", 1, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 799);
    T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_OK);
    T_CHECK(!cellar_lease_held(&a));
    atomic_fetch_add(&kit_now_ms, 1);
    T_EQ_I64(begin_with(c, "k", &o, &a), CELLAR_OK);
    T_CHECK(cellar_lease_held(&a));
    T_EQ_I64(cellar_lease_release(c, &a, 0), CELLAR_OK);
}

T_CASE_ON(lease_and_loading_thread_share_one_flight, STORE)
{
    source s = SOURCE_INIT;
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(kit_load(c, "k", LOAD_OPTS(.flags = CELLAR_LOAD_NO_WAIT), &s, answer, NULL),
             CELLAR_PENDING);
    T_EQ_I64(atomic_load(&s.calls), 0);
    T_EQ_I64(cellar_lease_fulfill(c, &a, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_I64(kit_load(c, "k", NULL, &s, answer, NULL), CELLAR_ABSENT);
}

static _Atomic int ended;

static void end_maintenance(void *c)
{
    T_EQ_I64(cellar_close(c), CELLAR_E_DEADLOCK);
    atomic_store(&ended, (int)cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 0));
}

T_CASE(subscriber_does_not_end_the_maintenance_thread_that_calls_it)
{
    cellar *c;
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 1 };
    T_REQUIRE(cellar_open(NULL, &c) == CELLAR_OK);
    const cellar_subscriber w = { end_maintenance, c };
    atomic_store(&ended, 1);
    for (;;) { /* until the second call comes before the first lease expires */
        T_EQ_I64(cellar_lease_acquire(c, "k", 1, &o, NULL, &a, &r), CELLAR_LEASED);
        const cellar_err err = cellar_lease_acquire(c, "k", 1, &o, &w, &b, &r);
        if (err == CELLAR_PENDING) { break; }
        T_REQUIRE(err == CELLAR_LEASED);
        (void)cellar_lease_release(c, &b, 0);
        o.hard_timeout_ms *= 2;
    }
    while (atomic_load(&ended) == 1) { (void)sched_yield(); } /* the lease expires */
    T_EQ_I64(atomic_load(&ended), CELLAR_E_BUSY);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 0), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE_ON(unsubscribed_waiter_is_not_called, STORE)
{
    atomic_store(&told, 0);
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_PENDING);
    const cellar_lease copy = b;
    T_EQ_I64(cellar_lease_unsubscribe(c, &b), CELLAR_OK);
    b = copy;
    T_EQ_I64(cellar_lease_unsubscribe(c, &b), CELLAR_E_LEASE);
    T_EQ_I64(cellar_lease_fulfill(c, &a, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(atomic_load(&told), 0);
}

/* A fulfill in the wrong namespace keeps the lease. */
T_CASE(fulfill_in_wrong_namespace_keeps_lease)
{
    cellar *c = closed_later(kit_open(4 << 20)), *v = space_of(c, "v");
    cellar *other = closed_later(kit_open(4 << 20));
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_PENDING);
    const cellar_lease lease = a, ticket = b;
    for (int i = 0; i < 2; i++) {
        cellar *w = i == 0 ? v : other;
        T_EQ_I64(cellar_lease_fulfill(w, &a, "v", 1, NULL), CELLAR_E_LEASE);
        T_EQ_I64(cellar_lease_release(w, &a, 5), CELLAR_E_LEASE);
        T_EQ_I64(cellar_lease_unsubscribe(w, &a), CELLAR_E_LEASE);
        T_EQ_I64(cellar_lease_fulfill(w, &b, "v", 1, NULL), CELLAR_E_LEASE);
    }
    T_EQ_I64(cellar_lease_unsubscribe(other, &b), CELLAR_E_LEASE);
    T_EQ_I64(cellar_lease_fulfill(c, &b, "v", 1, NULL), CELLAR_E_LEASE);
    T_EQ_I64(cellar_lease_unsubscribe(c, &a), CELLAR_E_LEASE);
    T_EQ_MEM(&a, &lease, sizeof a);
    T_EQ_MEM(&b, &ticket, sizeof b);
    T_CHECK(cellar_lease_held(&a) && !cellar_lease_held(&b)); /* b: the ticket of a PENDING */
    T_EQ_I64(cellar_lease_unsubscribe(c, &b), CELLAR_OK);
    T_EQ_U64(b.opaque[0] | b.opaque[1], 0);
    T_EQ_I64(cellar_lease_fulfill(c, &a, "v", 1, NULL), CELLAR_OK);
    T_EQ_U64(a.opaque[0] | a.opaque[1], 0);
}

/* A disabled namespace reads nothing; the first caller loads for itself. */
T_CASE_ON(lease_in_disabled_namespace_reads_and_stores_nothing, STORE)
{
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(begin(c, "k", &b, answer), CELLAR_PENDING);
    T_EQ_I64(cellar_lease_fulfill(c, &a, "new", 3, NULL), CELLAR_DISABLED);
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(c, &a, 42), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_OK);
    T_EQ_STR(answer, "old");
}

T_CASE_ON(bad_input_of_leases, STORE)
{
    cellar_result r = cellar_result_default();
    const cellar_subscriber no_fn = { NULL, NULL };
    const cellar_load_opts *o = LOAD_OPTS(.flags = CELLAR_LOAD_NO_JOIN);
    memset(&b, 0, sizeof b);
    REFUSALS("leases", INVAL(cellar_lease_acquire(NULL, "k", 1, NULL, NULL, &a, &r)),
             INVAL(cellar_lease_acquire(c, "", 0, NULL, NULL, &a, &r)),
             INVAL(cellar_lease_acquire(c, "k", 1, NULL, NULL, NULL, &r)),
             INVAL(cellar_lease_acquire(c, "k", 1, NULL, NULL, &a, NULL)),
             INVAL(cellar_lease_acquire(c, "k", 1, NULL, &no_fn, &a, &r)),
             INVAL(cellar_lease_acquire(c, "k", 1, o, NULL, &a, &r)),
             INVAL(cellar_lease_fulfill(NULL, &b, "v", 1, NULL)),
             INVAL(cellar_lease_fulfill(c, NULL, "v", 1, NULL)),
             INVAL(cellar_lease_release(NULL, &b, 0)), INVAL(cellar_lease_release(c, NULL, 0)),
             INVAL(cellar_lease_unsubscribe(NULL, &b)), INVAL(cellar_lease_unsubscribe(c, NULL)),
             { CELLAR_E_LEASE, cellar_lease_fulfill(c, &b, "v", 1, NULL) },
             { CELLAR_E_LEASE, cellar_lease_release(c, &b, 0) },
             { CELLAR_E_LEASE, cellar_lease_unsubscribe(c, &b) });
    T_EQ_I64(begin(c, "k", &a, answer), CELLAR_LEASED);
    cellar_lease forged = a;
    forged.opaque[1] ^= (uint64_t)1 << 40;
    REFUSALS("a lease", { CELLAR_E_LEASE, cellar_lease_fulfill(c, &forged, "v", 1, NULL) },
             INVAL(cellar_lease_fulfill(c, &a, "v", 1, SET_OPTS(.flags = CELLAR_ONLY_IF_ABSENT))),
             INVAL(cellar_lease_fulfill(c, &a, NULL, 1, NULL)),
             { CELLAR_E_TOOBIG, cellar_lease_fulfill(c, &a, answer, (size_t)CELLAR_VALUE_MAX, NULL) });
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
}

/* ---- bulk ---- */

typedef struct bulk {
    int calls;
    size_t keys;         /* keys of the last call */
    bool fail_b, none_c, skip_d, twice_e;
} bulk;

static cellar_err bulk_load(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    bulk *u = ctx;
    u->calls++;
    u->keys = count;
    REFUSALS("items", INVAL(cellar_load_value(ld, "x", 1)) /* none is selected */,
             INVAL(loader_value(ld, count, "x", 1)), INVAL(loader_value(ld, 0, NULL, 1)),
             INVAL(loader_absent(ld, count)), INVAL(loader_absent(NULL, 0)),
             INVAL(loader_fail(ld, count, 1)), INVAL(loader_fail(ld, 0, 0)));
    for (size_t i = 0; i < count; i++) {
        char value[16], key[8] = { 0 };
        memcpy(key, keys[i].data, keys[i].len < 7 ? keys[i].len : 7);
        snprintf(value, sizeof value, "<%s>", key);
        if (key[0] == 'b' && u->fail_b) {
            T_EQ_I64(loader_fail(ld, i, 99), CELLAR_OK);
        } else if (key[0] == 'c' && u->none_c) {
            T_EQ_I64(loader_absent(ld, i), CELLAR_OK);
        } else if (key[0] != 'd' || !u->skip_d) {
            T_EQ_I64(loader_value(ld, i, value, strlen(value)), CELLAR_OK);
            if (key[0] == 'e' && u->twice_e) {
                T_EQ_I64(loader_absent(ld, i), CELLAR_E_RESULT_TWICE);
            }
        }
    }
    return CELLAR_OK;
}

static cellar_load_item item(const char *key)
{
    return (cellar_load_item){ key, strlen(key), fresh_result(), CELLAR_OK, 0 };
}

static void check_item(cellar_load_item *it, cellar_err want, const char *value)
{
    T_EQ_I64(it->status, want);
    if (value != NULL) {
        T_EQ_U64(it->result->value_len, strlen(value));
        T_EQ_MEM(it->result->value, value, strlen(value));
    }
    cellar_result_free(it->result);
}

T_CASE(bad_input_of_bulk_loads)
{
    cellar *c = kit_open(4 << 20), *v = space_of(c, "v");
    bulk u = { 0 };
    cellar_lease lease = { { 0, 0 } };
    cellar_load_item it[3] = { item("a"), item("b"), item("a") };
    REFUSALS("bulk loads", INVAL(cellar_get_or_load_many(NULL, it, 1, NULL, bulk_load, &u)),
             INVAL(cellar_get_or_load_many(c, NULL, 1, NULL, bulk_load, &u)),
             { CELLAR_OK, cellar_get_or_load_many(c, NULL, 0, NULL, bulk_load, &u) },
             INVAL(cellar_get_or_load_many(c, it, 1, NULL, NULL, NULL)),
             INVAL(cellar_get_or_load_many(c, it, 1, LOAD_OPTS(.ttl_ms = -1), bulk_load, &u)));
    T_EQ_U64(u.calls, 0);
    it[0].key_len = 0; /* one bad item: the other items are served */
    it[2].key = NULL;
    T_EQ_I64(cellar_get_or_load_many(c, it, 3, NULL, bulk_load, &u), CELLAR_OK);
    T_EQ_U64(u.keys, 1);
    check_item(&it[0], CELLAR_E_INVAL, NULL);
    check_item(&it[1], CELLAR_OK, "<b>");
    check_item(&it[2], CELLAR_E_INVAL, NULL);
    kit_close(c);
    T_EQ_I64(cellar_get_or_load_many(v, it, 1, NULL, bulk_load, &u), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_lease_fulfill(v, &lease, "v", 1, NULL), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_lease_release(v, &lease, 0), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_lease_unsubscribe(v, &lease), CELLAR_E_CLOSED);
    T_EQ_U64(u.calls, 1);
}

T_CASE_ON(bulk_load_keeps_order_status_and_duplicates, STORE)
{
    bulk u = { .fail_b = true, .none_c = true, .skip_d = true, .twice_e = true };
    T_EQ_I64(cellar_set(c, "hit", 3, "there", 5, NULL), CELLAR_OK);
    cellar_load_item it[] = { item("a"), item("hit"), item("b"), item("a"), item("c"), item("d"),
                              item("e"), item("") };
    T_EQ_I64(cellar_get_or_load_many(c, it, 8, NULL, bulk_load, &u), CELLAR_OK);
    T_FIELDS(u, calls, 1, keys, 5);
    check_item(&it[0], CELLAR_OK, "<a>");
    check_item(&it[1], CELLAR_OK, "there");
    T_EQ_I64(it[2].result->loader_err, 99);
    check_item(&it[2], CELLAR_E_LOADER, NULL);
    check_item(&it[3], CELLAR_OK, "<a>");
    check_item(&it[4], CELLAR_ABSENT, NULL);
    check_item(&it[5], CELLAR_E_NO_RESULT, NULL);
    check_item(&it[6], CELLAR_E_RESULT_TWICE, NULL);
    check_item(&it[7], CELLAR_E_INVAL, NULL);
}

/* Equal keys of one call are one load. This also holds when the load fails or the call must not
 * wait. */
T_CASE_ON(bulk_load_requests_duplicate_keys_once, STORE)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_lease lease = { { 0, 0 } };
    cellar_result r = cellar_result_default();
    for (unsigned no_wait = 0; no_wait < 2; no_wait++) {
        bulk u = { .fail_b = true, .skip_d = true };
        cellar_load_item it[] = { item("b"), item("d"), item(no_wait ? "a1" : "a0"), item("b"),
                                  item("d"), item(no_wait ? "a1" : "a0"), item("b") };
        o.flags = no_wait ? CELLAR_LOAD_NO_WAIT : 0;
        T_EQ_I64(cellar_get_or_load_many(c, it, 7, &o, bulk_load, &u), CELLAR_OK);
        T_FIELDS(u, calls, 1, keys, 3);
        for (size_t i = 0; i < 7; i++) {
            if (i % 3 == 0) { T_EQ_I64(it[i].result->loader_err, 99); }
            check_item(&it[i], i % 3 == 0 ? CELLAR_E_LOADER : i % 3 == 1 ? CELLAR_E_NO_RESULT
                                                                         : CELLAR_OK, NULL);
        }
    }
    bulk other = { 0 }; /* no_wait: the result of another thread's load is not known yet */
    cellar_load_item it[] = { item("x"), item("y"), item("x") };
    T_EQ_I64(cellar_lease_acquire(c, "x", 1, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_get_or_load_many(c, it, 3, &o, bulk_load, &other), CELLAR_OK);
    check_item(&it[0], CELLAR_PENDING, NULL);
    check_item(&it[1], CELLAR_OK, "<y>");
    check_item(&it[2], CELLAR_PENDING, NULL);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "v", 1, NULL), CELLAR_OK);
}

T_CASE(bulk_load_runs_in_chunks)
{
    cellar *c = closed_later(kit_open(64 << 20));
    const size_t n = 10000;
    cellar_load_item *it = calloc(n, sizeof *it);
    cellar_result *result = calloc(n, sizeof *result);
    char (*key)[8] = calloc(n, sizeof *key);
    bulk u = { 0 };
    T_REQUIRE(it != NULL && result != NULL && key != NULL);
    for (size_t i = 0; i < n; i++) {
        snprintf(key[i], sizeof key[i], "%zu", i);
        it[i] = item(key[i]);
        result[i] = cellar_result_default();
        it[i].result = &result[i];
    }
    T_EQ_I64(cellar_get_or_load_many(c, it, n, NULL, bulk_load, &u), CELLAR_OK);
    T_EQ_I64(u.calls, 3); /* 4096 + 4096 + 1808 */
    T_EQ_U64(u.keys, n - 2 * 4096);
    for (size_t i = 0; i < n; i++) {
        char want[16];
        snprintf(want, sizeof want, "<%s>", key[i]);
        check_item(&it[i], CELLAR_OK, want);
    }
    free(it);
    free(result);
    free(key);
}

typedef struct cross { cellar *c; pthread_barrier_t both; } cross;

static cellar_err cross_load(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    cross *x = ctx;
    (void)pthread_barrier_wait(&x->both); /* both lead one key and wait for the other key */
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(loader_value(ld, i, keys[i].data, keys[i].len), CELLAR_OK);
    }
    return CELLAR_OK;
}

typedef struct crosser { cross *x; const char *keys[2]; } crosser;

static void *cross_main(void *arg)
{
    crosser *cr = arg;
    cellar_load_item it[] = { item(cr->keys[0]), item(cr->keys[1]) };
    T_EQ_I64(cellar_get_or_load_many(cr->x->c, it, 2, NULL, cross_load, cr->x), CELLAR_OK);
    check_item(&it[0], CELLAR_OK, cr->keys[0]);
    check_item(&it[1], CELLAR_OK, cr->keys[1]);
    return NULL;
}

/* Two bulk loads with disjoint and shared keys at the same time end, whichever thread leads a
 * key. */
T_CASE_ON(bulk_loads_that_lead_each_others_keys_end, STORE)
{
    for (int i = 0; i < 200 / KIT_SLOW; i++) {
        cross x = { .c = c };
        char own[2][8];
        snprintf(own[0], sizeof own[0], "a%d", i);
        snprintf(own[1], sizeof own[1], "b%d", i);
        crosser cr[2] = { { &x, { own[0], "shared" } }, { &x, { own[1], "shared" } } };
        T_REQUIRE(pthread_barrier_init(&x.both, NULL, 2) == 0);
        together(2, cross_main, cr, sizeof *cr);
        (void)pthread_barrier_destroy(&x.both);
        (void)cellar_delete(c, "shared", 6);
    }
}

static cellar_err quiet_bulk(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)ctx;
    for (size_t i = 0; i < count; i++) { (void)loader_value(ld, i, "v", 1); }
    return CELLAR_OK;
}

static cellar_err listener_got;

/* Load a key that the bulk load in this thread has not published yet. */
static void load_next_key(const cellar_event *e, void *ctx)
{
    cellar_load_item it = item("next");
    (void)e;
    cellar_load_opts o = { .struct_size = sizeof o, .wait_timeout_ms = 50 };
    T_EQ_I64(cellar_get_or_load_many(ctx, &it, 1, &o, quiet_bulk, NULL), CELLAR_OK);
    listener_got = (cellar_err)it.status;
    cellar_result_free(it.result);
}

T_CASE(listener_of_bulk_load_does_not_wait_for_it)
{
    cellar *c = NULL;
    uint64_t id = 0;
    settings cfg = settings_default();
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_set(c, "first", 5, "old", 3, NULL), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(REPLACED), load_next_key, c, &id), CELLAR_OK);
    cellar_load_item it[] = { item("first"), item("next") };
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH };
    T_EQ_I64(cellar_get_or_load_many(c, it, 2, &o, quiet_bulk, NULL), CELLAR_OK);
    check_item(&it[0], CELLAR_OK, "v");
    check_item(&it[1], CELLAR_OK, "v");
    T_EQ_I64(listener_got, CELLAR_E_DEADLOCK);
    kit_close(c);
}

/* ---- any allocation may fail ---- */

static struct { uint64_t calls, fail_at; int64_t live; } mem;

static void *mem_alloc(size_t size, void *ctx)
{
    (void)ctx;
    if (++mem.calls == mem.fail_at) { return NULL; }
    void *p = malloc(size);
    if (p != NULL) { mem.live++; }
    return p;
}

static void mem_free(void *p, size_t size, void *ctx)
{
    (void)ctx;
    if (p != NULL) {
        mem.live--;
        memset(p, 0x5A, size); /* a later read finds no old bytes */
    }
    free(p);
}

static cellar_err quiet_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    return ctx != NULL ? CELLAR_E_IO : cellar_load_value(ld, "v", 1);
}

/* Every code is allowed: the check is that nothing hangs, leaks or breaks. */
static void fault_run(void)
{
    cellar *c;
    cellar_lease lease, ticket;
    static char long_key[300];
    char text[64];
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2 << 20, .host.no_threads = 1,
                     .host.clock = kit_clock, .host.alloc = mem_alloc, .host.free = mem_free };
    if (settings_open(&cfg, &c) != CELLAR_OK) { return; }
    memset(long_key, 'l', sizeof long_key);
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 100000,
                           .error_ttl_ms = 100, .flags = CELLAR_LOAD_CTX_STATIC };
    const struct { const char *key; size_t len; void *fails; } call[] = {
        { "k", 1, NULL }, { "k", 1, NULL }, { long_key, sizeof long_key, NULL },
        { "fails", 5, &o }, { "k", 1, NULL },
    };
    for (size_t i = 0; i < sizeof call / sizeof call[0]; i++) {
        cellar_result r = cellar_result_default();
        (void)cellar_get_or_load(c, call[i].key, call[i].len, &o, quiet_load, call[i].fails, &r);
        cellar_result_free(&r);
        atomic_fetch_add(&kit_now_ms, 200);
        (void)cellar_tick(c, 1000, NULL);
    }
    if (begin(c, "lease", &lease, text) == CELLAR_LEASED) {
        (void)begin(c, "lease", &ticket, text);
        (void)cellar_lease_fulfill(c, &lease, "v", 1, NULL);
    }
    cellar_load_item it[] = { item("a"), item("b"), item("c") };
    T_EQ_I64(cellar_get_or_load_many(c, it, 3, NULL, quiet_bulk, NULL), CELLAR_OK);
    for (int i = 0; i < 3; i++) { cellar_result_free(it[i].result); }
    kit_close(c);
}

static unsigned lines_with_key;

static void take_line(cellar_log_level level, const char *module, cellar_err code, const char *text,
                      void *ctx)
{
    (void)level, (void)module, (void)code, (void)ctx;
    if (strstr(text, "key \"") == NULL) { return; }
    T_CHECK(strstr(text, "key \"kkkkkk") != NULL);
    lines_with_key++;
}

T_CASE(lease_without_memory_logs_its_key)
{
    static char key[200]; /* too long for a record that is kept */
    memset(key, 'k', sizeof key);
    for (uint64_t n = 1; n < 10; n++) {
        cellar *c;
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        settings cfg = { SETTINGS_SIZES, .host.no_threads = 1, .host.alloc = mem_alloc,
                         .host.free = mem_free, .host.log = take_line,
                         .host.log_level = CELLAR_LOG_DEBUG,
                         .host.log_keys = CELLAR_LOG_KEYS_FULL };
        memset(&mem, 0, sizeof mem);
        lines_with_key = 0;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        mem.fail_at = mem.calls + n;
        cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 100 };
        const cellar_err err = cellar_lease_acquire(c, key, sizeof key, &o, NULL, &lease, &r);
        T_CHECK(err == CELLAR_LEASED || err == CELLAR_E_NOMEM);
        T_EQ_U64(lines_with_key, 1);
        T_EQ_I64(cellar_lease_release(c, &lease, 0),
                 err == CELLAR_LEASED ? CELLAR_OK : CELLAR_E_LEASE);
        cellar_result_free(&r);
        T_AFTER_I64(kit_close(c), mem.live, 0);
    }
}

T_CASE(load_with_any_failed_allocation_stays_consistent)
{
    memset(&mem, 0, sizeof mem);
    T_AFTER_I64(fault_run(), mem.live, 0);
    const uint64_t calls = mem.calls;
    T_CHECK(calls > 20);
    for (uint64_t nth = 1; nth <= calls && !t_failed(); nth++) {
        mem.calls = 0;
        mem.fail_at = nth;
        T_AFTER_I64(fault_run(), mem.live, 0);
    }
    printf("# %llu allocations, each failed once\n", (unsigned long long)calls);
}

/* A release with an error is a failure, a fulfill is a success, a release without an error is no
 * verdict. */
T_CASE_ON(lease_asks_breaker_of_its_namespace, STORE)
{
    cellar_lease l, probe;
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 2,
                                 .half_open_successes = 1, .open_ms = 1000 };
    cellar *v = space_with(c, "v", SPACE_OPTS(.breaker = &bo));
    for (int i = 0; i < 5; i++) { /* released without an error: no verdict */
        T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(v, &l, 0), CELLAR_OK);
    }
    for (int i = 0; i < 2; i++) {
        T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(v, &l, 5), CELLAR_OK);
    }
    T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_E_BREAKER_OPEN);
    T_EQ_U64(l.opaque[0], 0);
    T_EQ_I64(begin_with(c, "a", NULL, &l), CELLAR_LEASED); /* the breaker of another namespace */
    T_EQ_I64(cellar_lease_fulfill(c, &l, "x", 1, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 1000);
    T_EQ_I64(begin_with(v, "a", NULL, &probe), CELLAR_LEASED); /* one probe is admitted */
    T_EQ_I64(begin_with(v, "b", NULL, &l), CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(cellar_lease_fulfill(v, &probe, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(begin_with(v, "b", NULL, &l), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(v, &l, "x", 1, NULL), CELLAR_OK);
}

/* A probe with a lease that is never fulfilled is a failure. A tick or a takeover of the lease
 * records it. */
T_CASE(lost_lease_is_recorded_as_breaker_failure)
{
    for (int how = 0; how < 3; how++) {
        cellar *c = closed_later(kit_open(4 << 20));
        cellar_lease l, probe;
        cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1,
                                     .half_open_successes = 1, .open_ms = 1000 };
        cellar *v = space_with(c, "v", SPACE_OPTS(.breaker = &bo,
                                                  .load = LOAD_OPTS(.hard_timeout_ms = 100)));
        T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_release(v, &l, 5), CELLAR_OK);
        T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_E_BREAKER_OPEN);
        atomic_fetch_add(&kit_now_ms, 1000);
        T_EQ_I64(begin_with(v, "a", NULL, &probe), CELLAR_LEASED);
        T_EQ_I64(begin_with(v, "b", NULL, &l), CELLAR_E_BREAKER_OPEN);
        /* the lease belongs to the generation before */
        if (how == 2) { T_EQ_I64(cellar_clear(v), CELLAR_OK); }
        atomic_fetch_add(&kit_now_ms, 100);
        if (how == 1) {
            /* the probe failed: the breaker opened again */
            T_EQ_I64(begin_with(v, "a", NULL, &l), CELLAR_E_BREAKER_OPEN);
        } else {
            T_AFTER_I64(kit_tick(c), begin_with(v, "b", NULL, &l), CELLAR_E_BREAKER_OPEN);
        }
        atomic_fetch_add(&kit_now_ms, 2000); /* at most twice as long */
        T_EQ_I64(begin_with(v, "b", NULL, &l), CELLAR_LEASED);
        /* too late; the failure is recorded once */
        T_EQ_I64(cellar_lease_fulfill(v, &probe, "x", 1, NULL), CELLAR_E_LEASE);
        T_EQ_I64(cellar_lease_fulfill(v, &l, "x", 1, NULL), CELLAR_OK);
        T_EQ_I64(begin_with(v, "c", NULL, &l), CELLAR_LEASED);
        T_EQ_I64(begin_with(v, "d", NULL, &probe), CELLAR_LEASED); /* the breaker is closed */
        T_EQ_I64(cellar_lease_release(v, &l, 0), CELLAR_OK);
        T_EQ_I64(cellar_lease_release(v, &probe, 0), CELLAR_OK);
        left_close();
    }
}

T_MAIN("api_lease")
