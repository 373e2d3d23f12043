/* SPDX-License-Identifier: MIT
 *
 * Aim:    Findings of reviews of the public calls stay fixed: ticks report remaining work, ended[]
 *         agrees with listeners, scans end with their namespace, budgets too small to serve, times
 *         and versions of other entries are not used.
 * Method: One case for each finding; public calls only, a clock of this file, small stores. */
#include "cellar_lock.h"
#include "tests/support/api_kit.h"
#include "tests/support/scan.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

static cellar_err put_id(cellar *c, uint32_t id, size_t len, const cellar_set_opts *o)
{
    static const char bytes[1000];
    return cellar_set(c, &id, sizeof id, bytes, len, o);
}

static int64_t ttl_left(cellar *c, const char *key)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, key, strlen(key), 0, &i) >= 0 ? i.ttl_left_ms : -1;
}

static uint64_t entries(cellar *c)
{
    const cellar_stats st = store_stats(c);
    return st.entries;
}

static uint64_t ended(cellar *c, int scope, cellar_cause cause)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, scope, &st), CELLAR_OK);
    return st.ended[cause];
}

typedef struct heard {
    uint64_t count[CELLAR_CAUSE_COUNT];
    cellar *namespace, *tick;
    cellar_err said;
} heard;

static void note(const cellar_event *e, void *ctx)
{
    heard *h = ctx;
    h->count[e->cause]++;
    h->namespace = e->ns;
}

/* ---- ticks ---- */

/* A tick returns OK exactly when nothing due is left, and OK comes with any time budget. */
T_CASE(tick_returns_ok_when_nothing_is_due)
{
    static const uint64_t budget_us[] = { 0, 1, 100, UINT64_MAX };
    for (size_t b = 0; b < sizeof budget_us / sizeof budget_us[0]; b++) {
        cellar *c = api_open(8u << 20);
        cellar_set_opts o = cellar_set_opts_default();
        /* every third entry stays, so that a pass has survivors */
        for (uint32_t i = 0; i < 6000; i++) {
            o.ttl_ms = i % 3 == 0 ? 100000 : 50;
            T_EQ_I64(put_id(c, i, 40, &o), CELLAR_OK);
        }
        T_EQ_I64(cellar_tick(c, budget_us[b], NULL), CELLAR_OK); /* nothing is due */
        atomic_fetch_add(&api_now_ms, 50);
        uint64_t calls = 0;
        cellar_err err = CELLAR_PENDING;
        for (; err == CELLAR_PENDING && calls < 20000; calls++) {
            err = cellar_tick(c, budget_us[b], NULL);
        }
        T_EQ_I64(err, CELLAR_OK);
        T_EQ_U64(api_expired(c), 4000);
        T_EQ_U64(entries(c), 2000);
        if (budget_us[b] == 0) { T_CHECK(calls > 10); }
        atomic_fetch_add(&api_now_ms, 100000); /* the deadlines of the survivors were kept */
        while (cellar_tick(c, budget_us[b], NULL) == CELLAR_PENDING) {}
        T_EQ_U64(entries(c), 0);
        for (uint32_t i = 0; i < 3000; i++) { T_EQ_I64(put_id(c, i, 40, NULL), CELLAR_OK); }
        T_EQ_I64(cellar_clear(c), CELLAR_OK);
        while (cellar_tick(c, budget_us[b], NULL) == CELLAR_PENDING) {}
        T_EQ_U64(entries(c), 0);
        api_shut(c);
    }
}

static void tick_inside(const cellar_event *e, void *ctx)
{
    heard *h = ctx;
    h->count[e->cause]++;
    while ((h->said = cellar_tick(h->tick, 0, NULL)) == CELLAR_PENDING) {}
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(2u << 20), api_shut(c))

T_CASE_ON(tick_inside_listener_returns, STORE)
{
    heard h = { .tick = c };
    uint64_t id;
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 50 };
    T_EQ_I64(cellar_listener_add(c, 0, tick_inside, &h, &id), CELLAR_OK);
    for (uint32_t i = 0; i < 300; i++) { T_EQ_I64(put_id(c, i, 10, &o), CELLAR_OK); }
    atomic_fetch_add(&api_now_ms, 50);
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(h.count[CELLAR_CAUSE_EXPIRED], 300);
    T_EQ_I64(h.said, CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "a", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "b", NULL), CELLAR_OK); /* also inside the listener of a set */
    T_EQ_U64(h.count[CELLAR_CAUSE_REPLACED], 1);
}

/* ---- listeners and counters ---- */

T_CASE(drop_reports_entries_to_listeners_of_namespace)
{
    cellar *c = closed_later(api_open(2u << 20)), *v = space_of(c, "v");
    heard h = { .namespace = c };
    uint64_t id;
    T_EQ_I64(cellar_listener_add(v, 0, note, &h, &id), CELLAR_OK);
    for (uint32_t i = 0; i < 100; i++) { T_EQ_I64(put_id(v, i, 10, NULL), CELLAR_OK); }
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    close_now(v);
    cellar *w = space_of(c, "v"); /* another namespace of this name */
    T_EQ_I64(api_put(w, "k", "a", NULL), CELLAR_OK);
    T_EQ_I64(api_put(w, "k", "b", NULL), CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(h.count[CELLAR_CAUSE_CLEARED], 100);
    T_EQ_U64(h.count[CELLAR_CAUSE_REPLACED], 0);
    T_CHECK(h.namespace == NULL);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
}

/* Entries of forgotten generations are counted. */
T_CASE(entries_of_forgotten_generations_are_counted)
{
    cellar *c = closed_later(api_open(8u << 20)), *v = space_of(c, "v");
    heard own = { .namespace = NULL }, all = { .namespace = NULL };
    uint64_t id;
    T_EQ_I64(cellar_listener_add(v, 0, note, &own, &id), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, 0, note, &all, &id), CELLAR_OK);
    for (uint32_t i = 0; i < 500; i++) {
        T_EQ_I64(put_id(v, i, 10, NULL), CELLAR_OK);
        T_EQ_I64(cellar_clear(v), CELLAR_OK);
    }
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    const cellar_stats st = store_stats(c);
    T_EQ_U64(all.count[CELLAR_CAUSE_CLEARED], 500);
    T_EQ_U64(own.count[CELLAR_CAUSE_CLEARED] + st.events_skipped, 500);
    T_CHECK(own.count[CELLAR_CAUSE_CLEARED] >= 32);
    T_EQ_U64(st.ended[CELLAR_CAUSE_CLEARED], 500);
}

static void every_way(cellar *v)
{
    cellar_set_opts o = cellar_set_opts_default(), none = cellar_set_opts_default();
    int64_t n;
    o.ttl_ms = 50;
    none.flags = CELLAR_NEGATIVE;
    api_put(v, "a", "1", &o);
    api_put(v, "b", "1", &o);
    api_put(v, "c", "1", &o);
    atomic_fetch_add(&api_now_ms, 50);
    /* over an expired entry */
    T_EQ_I64(api_put(v, "a", "a longer one than before", NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(v, "b", 1), CELLAR_MISS);
    T_EQ_I64(cellar_increment(v, "c", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_increment(v, "c", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_increment(v, "c", 1, INT64_MAX, 0, NULL, &n), CELLAR_E_RANGE);
    T_EQ_I64(cellar_set(v, "a", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(cellar_set(v, "a", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(api_put(v, "a", "value", NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(v, "n", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(cellar_delete(v, "n", 1), CELLAR_MISS);
    T_EQ_I64(cellar_set(v, "n", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(cellar_increment(v, "n", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_delete(v, "n", 1), CELLAR_OK);
}

T_CASE(ended_counts_match_listener_events)
{
    for (int told = 0; told < 2; told++) {
        cellar *c = api_open(2u << 20), *v;
        heard h = { .namespace = NULL };
        uint64_t id;
        v = space_of(c, "v");
        if (told == 1) { T_EQ_I64(cellar_listener_add(c, 0, note, &h, &id), CELLAR_OK); }
        every_way(v);
        static const uint64_t want[CELLAR_CAUSE_COUNT] = {
            [CELLAR_CAUSE_EXPIRED] = 3, [CELLAR_CAUSE_REPLACED] = 4, [CELLAR_CAUSE_DELETED] = 2,
            [CELLAR_CAUSE_NEGATIVE] = 2 };
        for (unsigned i = 1; i < CELLAR_CAUSE_COUNT; i++) {
            T_EQ_U64(ended(v, CELLAR_SCOPE_NAMESPACE, (cellar_cause)i), want[i]);
            if (told == 1) { T_EQ_U64(h.count[i], want[i]); }
        }
        close_now(v);
        api_shut(c);
    }
}

static uint64_t full_entries(uint64_t bytes, bool told)
{
    cellar *c = api_open(bytes);
    heard h = { .namespace = NULL };
    uint64_t id;
    if (told) { T_EQ_I64(cellar_listener_add(c, 0, note, &h, &id), CELLAR_OK); }
    const uint32_t n = (uint32_t)(bytes / 40);
    for (uint32_t i = 0; i < n; i++) { T_EQ_I64(put_id(c, i, 100, NULL), CELLAR_OK); }
    const uint64_t kept = entries(c);
    if (told) { T_EQ_U64(kept + h.count[CELLAR_CAUSE_EVICTED], n); }
    api_shut(c);
    return kept;
}

T_CASE(listener_does_not_reduce_entry_count)
{
    static const uint64_t bytes[] = { 1u << 20, 8u << 20 };
    for (int i = 0; i < 2; i++) {
        const uint64_t quiet = full_entries(bytes[i], false), told = full_entries(bytes[i], true);
        printf("# %" PRIu64 " MiB: %" PRIu64 " entries, %" PRIu64 " with a listener\n",
               bytes[i] >> 20, quiet, told);
        T_CHECK(told * 10 >= quiet * 9 && told * 10 <= quiet * 11);
    }
}

/* ---- scans ---- */

typedef struct walk {
    cellar *root, *namespace;
    int how; /* 0 drop, 1 close, 2 clear */
    unsigned seen;
} walk;

static bool end_namespace(const cellar_scan_entry *e, void *ctx)
{
    walk *w = ctx;
    (void)e;
    if (w->seen++ != 0) { return true; }
    if (w->how == 0) { T_EQ_I64(cellar_namespace_drop(w->root, "v"), CELLAR_OK); }
    if (w->how == 1) { close_now(w->namespace); }
    if (w->how == 2) { T_EQ_I64(cellar_clear(w->namespace), CELLAR_OK); }
    return true;
}

T_CASE(scan_of_dropped_namespace_ends)
{
    for (int how = 0; how < 3; how++) {
        cellar *c = api_open(2u << 20);
        walk w = { .root = c, .how = how };
        uint64_t cursor = 0;
        w.namespace = space_of(c, "v");
        for (uint32_t i = 0; i < 2000; i++) {
            T_EQ_I64(put_id(w.namespace, i, 4, NULL), CELLAR_OK);
        }
        T_EQ_I64(cellar_scan(w.namespace, &cursor, SCAN(NULL, 0, 100000), end_namespace, &w),
                 CELLAR_OK);
        T_EQ_U64(w.seen, 1);
        if (how == 2) { T_EQ_U64(cursor, 0); } /* the rest of the namespace is empty */
        if (how != 1) { close_now(w.namespace); }
        api_shut(c);
    }
}

/* ---- budgets ---- */

T_CASE(lowered_budget_still_stores_small_values)
{
    static const unsigned from_mib[] = { 8, 64, 512, 1024 };
    static const unsigned to_kib[] = { 1024, 2048, 3072, 4096, 8192 };
    unsigned refused = 0;
    for (size_t f = 0; f < sizeof from_mib / sizeof from_mib[0]; f++) {
        for (size_t t = 0; t < sizeof to_kib / sizeof to_kib[0]; t++) {
            const int64_t from = (int64_t)from_mib[f] << 20, to = (int64_t)to_kib[t] << 10;
            if (to >= from) { continue; }
            cellar *c = api_open((uint64_t)from);
            for (uint32_t i = 0; i < 5000; i++) { T_EQ_I64(put_id(c, i, 60, NULL), CELLAR_OK); }
            const uint64_t before = entries(c);
            int64_t now = 0;
            const cellar_err err = cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, to);
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_RANGE);
            if (to >= from / 128 + (2 << 20)) { T_EQ_I64(err, CELLAR_OK); } /* as documented */
            T_EQ_I64(cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &now), CELLAR_OK);
            T_EQ_I64(now, err == CELLAR_OK ? to : from);
            if (err != CELLAR_OK) {
                T_EQ_U64(entries(c), before); /* nothing changed */
                refused++;
            }
            for (uint32_t i = 0; i < 1000; i++) {
                if (!T_EQ_I64(put_id(c, 100000 + i, 40, NULL), CELLAR_OK)) { break; }
            }
            api_shut(c);
        }
    }
    T_CHECK(refused > 0);
}

T_CASE(shrink_blocked_by_pins_succeeds_after_unpin)
{
    enum { PINS = 200 };
    static const char big[100000];
    cellar *c = closed_later(api_open(32u << 20));
    static cellar_pinned pin[PINS];
    unsigned pins = 0;
    for (uint32_t i = 0; i < PINS; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, big, sizeof big, NULL), CELLAR_OK);
        if (cellar_pin(c, &i, sizeof i, &pin[pins]) == CELLAR_OK) { pins++; }
    }
    T_CHECK(pins > 100);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 4 << 20), CELLAR_E_BUSY);
    while (pins > 0) { cellar_unpin(&pin[--pins]); }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 4 << 20), CELLAR_OK);
    const cellar_stats st = store_stats(c);
    T_EQ_U64(st.budget_bytes, 4u << 20);
    T_CHECK(st.used_bytes <= st.budget_bytes);
}

/* ---- times, conditions, lengths ---- */

T_CASE_ON(keep_ttl_ignores_negative_and_expired_entries, STORE)
{
    cellar_set_opts keep = cellar_set_opts_default(), none = cellar_set_opts_default();
    keep.flags = CELLAR_KEEP_TTL;
    keep.ttl_ms = 5000;
    none.flags = CELLAR_NEGATIVE;
    none.ttl_ms = 100;
    T_EQ_I64(cellar_set(c, "k", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "v", &keep), CELLAR_OK); /* a negative entry counts as absent */
    T_EQ_I64(ttl_left(c, "k"), 5000);
    T_AFTER_I64(atomic_fetch_add(&api_now_ms, 1000), api_put(c, "k", "w", &keep), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 4000);
    atomic_fetch_add(&api_now_ms, 4000); /* over an expired entry: the call's own TTL applies */
    T_EQ_I64(api_put(c, "k", "x", &keep), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 5000);
    none.flags |= CELLAR_KEEP_TTL;
    /* over a value: the TTL of the value applies */
    T_EQ_I64(cellar_set(c, "k", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "k"), 5000);
}

T_CASE_ON(keep_ttl_in_batch_applies_per_key, STORE)
{
    T_EQ_I64(api_put(c, "a", "1", SET_OPTS(.ttl_ms = 100, .idle_ms = 70)), CELLAR_OK);
    cellar_set_opts keep = { .struct_size = sizeof keep, .flags = CELLAR_KEEP_TTL, .ttl_ms = 9000 };
    cellar_set_item it[] = { { "a", 1, "2", 1, CELLAR_OK, 0 }, { "b", 1, "2", 1, CELLAR_OK, 0 },
                             { "a", 1, "3", 1, CELLAR_OK, 0 }, { "c", 1, "2", 1, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_set_many(c, it, 4, &keep, NULL), CELLAR_OK);
    T_EQ_I64(ttl_left(c, "a"), 70);
    T_EQ_I64(ttl_left(c, "b"), 9000);
    T_EQ_I64(ttl_left(c, "c"), 9000);
}

T_CASE_ON(version_from_before_clear_never_matches, STORE)
{
    uint64_t old[64], v;
    cellar_set_opts o = cellar_set_opts_default(), then = cellar_set_opts_default();
    for (unsigned i = 0; i < 64; i++) {
        o.new_version = &old[i];
        T_EQ_I64(api_put(c, "k", "before", &o), CELLAR_OK);
        T_EQ_I64(cellar_clear(c), CELLAR_OK);
        o.new_version = &v;
        for (unsigned again = 0; again <= i % 3; again++) { api_put(c, "k", "after", &o); }
        for (unsigned j = 0; j <= i; j++) {
            then.flags = CELLAR_ONLY_IF_VERSION;
            then.if_version = old[j];
            T_EQ_I64(api_put(c, "k", "never", &then), CELLAR_CONFLICT);
        }
    }
}

T_CASE_ON(miss_sets_length_to_zero, STORE)
{
    cellar_get_opts g = cellar_get_opts_default();
    char buf[16];
    T_EQ_I64(api_put(c, "k", "value", SET_OPTS(.ttl_ms = 50)), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 50);
    for (int cap = 0; cap <= 16; cap += 16) {
        size_t len = 77;
        T_EQ_I64(peek(c, "k", 1, buf, (size_t)cap, &len), CELLAR_MISS);
        T_EQ_U64(len, 0);
        len = 77;
        T_EQ_I64(cellar_get(c, "k", 1, buf, (size_t)cap, &len), CELLAR_MISS);
        T_EQ_U64(len, 0);
        cellar_entry_info info = cellar_entry_info_default();
        g.info = &info;
        len = 77;
        T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, (size_t)cap, &len), CELLAR_MISS);
        T_EQ_U64(len, 0);
        cellar_get_item it = { "k", 1, buf, (size_t)cap, 77, CELLAR_OK, 0 };
        T_EQ_I64(cellar_get_many(c, &it, 1, NULL), CELLAR_OK);
        T_FIELDS(it, status, CELLAR_MISS, value_len, 0);
    }
}

T_CASE_ON(stale_window_follows_idle_expiry, STORE)
{
    T_EQ_I64(api_put(c, "k", "v",
                     SET_OPTS(.ttl_ms = 1000, .stale_ms = 500, .idle_ms = 300)), CELLAR_OK);
    const cellar_entry_info i = key_info(c, "k");
    T_EQ_I64(i.ttl_left_ms, 300);
    const int64_t left = i.stale_left_ms;
    T_EQ_I64(left, 800);
    cellar_get_opts g = cellar_get_opts_default();
    g.flags = CELLAR_GET_ALLOW_STALE | CELLAR_GET_PEEK;
    char buf[8];
    size_t len;
    atomic_fetch_add(&api_now_ms, left - 1); /* it is served exactly as long as it reports */
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, sizeof buf, &len), CELLAR_STALE);
    atomic_fetch_add(&api_now_ms, 1);
    T_EQ_I64(cellar_get_with(c, "k", 1, &g, buf, sizeof buf, &len), CELLAR_MISS);
}

T_CASE_ON(disabled_namespace_still_refuses_bad_items, STORE)
{
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    cellar_set_item it[] = { { "a", 1, "1", 1, CELLAR_OK, 0 }, { NULL, 1, "1", 1, CELLAR_OK, 0 },
                             { "a", 0, "1", 1, CELLAR_OK, 0 }, { "a", 1, NULL, 1, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_set_many(c, it, 4, NULL, NULL), CELLAR_OK);
    T_EQ_I64(it[0].status, CELLAR_DISABLED);
    for (int i = 1; i < 4; i++) { T_EQ_I64(it[i].status, CELLAR_E_INVAL); }
}

T_CASE_ON(negative_set_with_age_bound_is_refused, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE, .max_age_ms = 100 };
    T_EQ_I64(cellar_set(c, "k", 1, NULL, 0, &o), CELLAR_E_INVAL);
    o.idle_ms = 50; /* a negative entry has no idle time that the age could bound */
    T_EQ_I64(cellar_set(c, "k", 1, NULL, 0, &o), CELLAR_E_INVAL);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS);
}

T_ONE_THREAD;
/* Of a store without threads, and of a table of locks. */
T_CASE(tick_says_when_the_next_one_is_due)
{
    cellar *c = closed_later(api_open(8u << 20));
    cellar_locks *t = NULL;
    int64_t wait_ms = -1;
    T_EQ_I64(cellar_tick(c, UINT64_MAX, &wait_ms), CELLAR_OK);
    T_EQ_I64(wait_ms, 500); /* nothing is due: the longest wait */
    T_EQ_I64(put_id(c, 1, 40, SET_OPTS(.ttl_ms = 300)), CELLAR_OK);
    T_EQ_I64(cellar_tick(c, UINT64_MAX, &wait_ms), CELLAR_OK);
    T_CHECK(wait_ms >= 1 && wait_ms <= 300);
    T_REQUIRE(cellar_locks_open(NULL, &t) == CELLAR_OK);
    T_EQ_I64(cellar_tick(t, 0, &wait_ms), CELLAR_OK);
    T_EQ_I64(wait_ms, 1000);
    char text[4096];
    T_EQ_I64(cellar_stats_json(t, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "{\"metrics\":[") == text);
    cellar_locks_close(t);
}

T_MAIN("api_review")
