/* SPDX-License-Identifier: MIT
 *
 * Aim:    max_entries of a namespace: after each call the namespace has at most that many entries
 *         in memory. Entries of the same namespace make room, old unused ones first, with the cause
 *         "evicted". Other namespaces lose nothing. Each way in and out is counted.
 * Method: Each way to store, by hand. Threads that make each kind of change at once: sets of all
 *         forms, deletes, expiry, clears, bounds that change, namespaces that are dropped and
 *         reopened, a budget, a bound and a policy of the store that change. */
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/api_kit.h"
#include "tests/support/scan.h"
#include "tests/support/spaces.h"

#define OTHERS 300u

static cellar *open_bound(cellar *c, const char *name, uint32_t max)
{
    return space_with(c, name, SPACE_OPTS(.max_entries = max));
}

static uint64_t entries(cellar *v) { return space_stats(v).namespace_entries; }
static uint64_t evicted(cellar *v) { return space_stats(v).ended[CELLAR_CAUSE_EVICTED]; }
static const char *key_of(unsigned n) { return t_numbered("", n); }

static bool has(cellar *v, const char *key)
{
    return cellar_contains(v, key, strlen(key)) == CELLAR_OK;
}

static void put(cellar *v, const char *key) { T_EQ_I64(api_put(v, key, "value", NULL), CELLAR_OK); }

static void put_numbers(cellar *v, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) { put(v, key_of(i)); }
}

T_CASE(every_way_in_and_out_is_counted)
{
    cellar *c = closed_later(api_open(8u << 20)), *a = open_bound(c, "a", 0);
    cellar_set_opts brief = { .struct_size = sizeof brief, .ttl_ms = 10 };
    int64_t number;
    uint64_t many = 0;
    T_EQ_U64(entries(a), 0);
    T_EQ_I64(api_put(a, "k", "1", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "1", NULL), CELLAR_OK);
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(api_put(a, "k", "2", NULL), CELLAR_OK); /* in place */
    T_EQ_I64(api_put(a, "k", "a value of another length", NULL), CELLAR_OK);
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(cellar_set(a, "none", 4, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "n", 1, 5, 0, NULL, &number), CELLAR_OK);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "n", 1), CELLAR_MISS);
    T_EQ_I64(cellar_delete(a, "none", 4), CELLAR_MISS); /* a negative entry is removed */
    T_EQ_U64(entries(a), 1);
    T_EQ_I64(api_put(a, "short", "1", &brief), CELLAR_OK);
    T_EQ_I64(api_put(a, "again", "1", &brief), CELLAR_OK);
    T_EQ_I64(api_put(a, "count", "12345678", &brief), CELLAR_OK);
    T_AFTER_U64(atomic_fetch_add(&api_now_ms, 20), entries(a), 4); /* not yet reclaimed */
    T_EQ_I64(api_put(a, "again", "2", NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(a, "count", 5, 1, 0, NULL, &number), CELLAR_OK);
    T_EQ_I64(cellar_delete(a, "short", 5), CELLAR_MISS);
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(api_put(a, "short", "1", &brief), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 20);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(entries(a), 3);
    T_EQ_I64(cellar_delete_by_pattern(a, "a*", 2, &many), CELLAR_OK);
    T_EQ_U64(entries(a), 2);
    T_EQ_U64(entries(c), 1);
    const cellar_stats st = store_stats(c);
    T_CHECK(st.namespace_entries == 0 && st.entries == 3);
}

static uint64_t numbers(cellar *v, unsigned from, unsigned to)
{
    uint64_t n = 0;
    for (unsigned i = from; i < to; i++) { n += has(v, key_of(i)); }
    return n;
}

static cellar_err bound(cellar *v, int64_t max)
{
    return cellar_option_set(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, max);
}

static cellar_err load_it(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(load, key, key_len);
}

static cellar_err append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old != NULL) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "+", 1);
}

static void bulk_set(cellar *v, unsigned from)
{
    char key[64][16];
    cellar_set_item items[64];
    memset(items, 0, sizeof items);
    for (unsigned i = 0; i < 64; i++) {
        const int n = snprintf(key[i], sizeof key[i], "%u", from + i);
        items[i] = (cellar_set_item){ key[i], (size_t)n, "v", 1, CELLAR_OK, 0 };
    }
    size_t stored = 0;
    T_EQ_I64(cellar_set_many(v, items, 64, NULL, &stored), CELLAR_OK);
    T_EQ_U64(stored, 64);
}

static void load_one(cellar *v, const char *key)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(v, key, strlen(key), NULL, load_it, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
}

static void lease_one(cellar *v, const char *key)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(v, key, strlen(key), NULL, NULL, &lease, &r),
             CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(v, &lease, "leased", 6, NULL), CELLAR_OK);
    cellar_result_free(&r);
}

/* Store an entry under a new key in one of the ways. */
static void store_by(cellar *v, unsigned way, unsigned number)
{
    static const char *const names[] = { "i", "u", "l", "s", "t", "n" };
    const char *key = t_numbered(names[way], number);
    const size_t len = strlen(key);
    switch (way) {
    case 0: T_EQ_I64(cellar_increment(v, key, len, 1, 5, NULL, NULL), CELLAR_OK); break;
    case 1: T_EQ_I64(cellar_update(v, key, len, NULL, append, NULL), CELLAR_OK); break;
    case 2: load_one(v, key); break;
    case 3: lease_one(v, key); break;
    case 4:
        T_EQ_I64(api_put(v, key, "v", SET_OPTS(.ttl_ms = 5000, .flags = CELLAR_ONLY_IF_ABSENT)),
                 CELLAR_OK);
        break;
    default:
        T_EQ_I64(cellar_set(v, key, len, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    }
}

T_CASE(each_way_to_store_keeps_the_bound)
{
    cellar *c = closed_later(api_open(8u << 20)), *v = open_bound(c, "v", 10);
    put_numbers(c, 0, OTHERS);
    for (unsigned i = 0; i < 50; i++) {
        T_AFTER_U64(put(v, key_of(i)), entries(v), i < 10 ? i + 1 : 10);
        T_CHECK(has(v, key_of(i)));
    }
    for (unsigned i = 0; i < 90; i++) {
        T_AFTER_U64(store_by(v, i % 6, i), entries(v), 10);
    }
    bulk_set(v, 1000);
    T_EQ_U64(entries(v), 10);
    T_EQ_U64(numbers(c, 0, OTHERS), OTHERS);
    T_EQ_U64(evicted(c), 0);
}

T_CASE(old_unused_entries_leave_first)
{
    static const uint32_t policies[] = { CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_S3FIFO,
                                         CELLAR_EVICT_LRU, CELLAR_EVICT_FIFO };
    for (unsigned p = 0; p < 4; p++) {
        settings s = api_config(8u << 20);
        s.config.eviction = policies[p];
        cellar *c = closed_later(api_open_with(&s)), *v = open_bound(c, "v", 20);
        const bool fifo = policies[p] == CELLAR_EVICT_FIFO;
        put_numbers(v, 0, 20);
        for (unsigned i = 0; i < 5; i++) { T_EQ_STR(api_look(v, key_of(i)), "value"); } /* used */
        T_AFTER_U64(put_numbers(v, 20, 30), numbers(v, 0, 5), fifo ? 0 : 5);
        T_EQ_U64(numbers(v, 5, 15), fifo ? 5 : 0);
        T_EQ_U64(numbers(v, 15, 30), 15);
        T_AFTER_U64(put_numbers(v, 30, 35), numbers(v, 20, 35), 15);
        left_close();
    }
}

T_CASE(set_over_an_entry_is_a_use)
{
    for (int64_t p = CELLAR_EVICT_ADAPTIVE; p <= CELLAR_EVICT_FIFO; p++) {
        cellar *c = closed_later(api_open(8u << 20)), *v = open_bound(c, "v", 3);
        const bool fifo = p == CELLAR_EVICT_FIFO;
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_EVICTION, p), CELLAR_OK);
        put(v, "a");
        put(v, "b");
        put(v, "c");
        put(v, "a"); /* in place */
        put(v, "d");
        T_CHECK(has(v, fifo ? "b" : "a") && !has(v, fifo ? "a" : "b") && has(v, "d"));
        left_close();
    }
}

T_CASE(change_of_an_entry_evicts_nothing)
{
    cellar *c = closed_later(api_open(8u << 20)), *v = open_bound(c, "v", 3);
    put(v, "a");
    put(v, "b");
    put(v, "c");
    T_EQ_I64(api_put(v, "a", "in the place of the old value, but longer", NULL), CELLAR_OK);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 9000 };
    T_EQ_I64(api_put(v, "b", "v", &o), CELLAR_OK);
    T_EQ_I64(cellar_touch(v, "c", 1, 70000), CELLAR_OK);
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(api_put(v, "c", "v", &o), CELLAR_EXISTS);
    o.flags = CELLAR_ONLY_IF_PRESENT;
    T_EQ_I64(api_put(v, "d", "v", &o), CELLAR_MISS);
    T_EQ_U64(entries(v), 3);
    T_EQ_U64(evicted(v), 0);
    put(v, "d"); /* "c" is the oldest by its last set */
    T_CHECK(has(v, "a") && has(v, "b") && has(v, "d"));
    T_EQ_I64(cellar_delete(v, "a", 1), CELLAR_OK);
    T_AFTER_U64(put(v, "e"), evicted(v), 1);
}

T_CASE(bound_changes_at_run_time)
{
    cellar *c = closed_later(api_open(16u << 20)), *v = open_bound(c, "v", 100);
    cellar *w = open_bound(c, "w", 0);
    int64_t now = 0;
    put_numbers(v, 0, 100);
    put_numbers(w, 0, 5000);
    T_EQ_I64(bound(v, 10), CELLAR_OK);
    T_EQ_U64(entries(v), 10);
    T_EQ_U64(numbers(v, 90, 100), 10);
    T_EQ_I64(bound(v, 1000), CELLAR_OK);
    T_AFTER_U64(put_numbers(v, 100, 1200), entries(v), 1000);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
    T_EQ_I64(now, 1000);
    T_EQ_I64(bound(v, 0), CELLAR_OK);
    T_AFTER_U64(put_numbers(v, 0, 1200), entries(v), 1200);
    T_EQ_I64(bound(v, 700), CELLAR_OK); /* of entries that are there */
    T_EQ_U64(entries(v), 700);
    T_AFTER_U64(put_numbers(v, 2000, 2700), entries(v), 700);
    T_EQ_U64(numbers(v, 2650, 2700), 50);
    T_EQ_I64(bound(w, 400), CELLAR_OK);
    T_EQ_U64(entries(w), 400);
    T_EQ_I64(bound(c, 5), CELLAR_OK); /* of the root, which has none */
    T_AFTER_U64(put_numbers(c, 0, 50), entries(c), 5);
    T_EQ_U64(entries(v), 700);
    T_EQ_I64(bound(v, -1), CELLAR_E_INVAL);
    T_EQ_I64(bound(v, INT64_C(1) << 32), CELLAR_E_INVAL);
    T_EQ_I64(bound(v, UINT32_MAX), CELLAR_OK);
    T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
    T_EQ_I64(now, UINT32_MAX);
}

T_ALONE(first_bound_keeps_younger_entries)
{
    settings s = api_config(32u << 20);
    s.tuning.stripes = 4;
    cellar *c = closed_later(api_open_with(&s)), *v = open_bound(c, "v", 0);
    put_numbers(v, 0, 40000);
    T_EQ_I64(bound(v, 10000), CELLAR_OK);
    T_EQ_U64(entries(v), 10000);
    T_CHECK(numbers(v, 20000, 40000) >= 9900); /* eighths of the age of the store */
}

/* Set the bound once more when the first entry leaves for it: most are not in the list yet. */
typedef struct second { cellar *v; int64_t max; bool done; } second;

static void bound_again(const cellar_event *e, void *ctx)
{
    second *s = ctx;
    if (s->done || e->cause != CELLAR_CAUSE_EVICTED) { return; }
    s->done = true;
    T_EQ_I64(bound(s->v, s->max), CELLAR_OK);
    T_EQ_U64(entries(s->v), s->max);
}

T_CASE(bound_holds_when_a_call_returns_although_another_still_sets_it)
{
    static const int64_t then[] = { 50, 20, 80 };
    for (unsigned i = 0; i < 3; i++) {
        cellar *c = closed_later(api_open(8u << 20)), *v = open_bound(c, "v", 0);
        second s = { v, then[i], false };
        uint64_t id;
        put_numbers(v, 0, 400);
        T_EQ_I64(cellar_listener_add(v, 0, bound_again, &s, &id), CELLAR_OK);
        T_EQ_I64(bound(v, 50), CELLAR_OK);
        T_CHECK(s.done);
        T_EQ_U64(entries(v), then[i]);
        left_close();
    }
}

T_CASE(options_at_open_set_the_bound)
{
    settings s = api_config(8u << 20);
    s.config.root = SPACE_OPTS(.max_entries = 7);
    cellar *c = closed_later(api_open_with(&s)), *v = open_bound(c, "v", 50);
    T_AFTER_U64(put_numbers(c, 0, 30), entries(c), 7);
    put_numbers(v, 0, 100);
    cellar *again = open_bound(c, "v", 20); /* options replace those of before */
    T_EQ_U64(entries(v), 20);
    close_now(again);
    again = space_of(c, "v");
    T_AFTER_U64(put_numbers(again, 0, 100), entries(v), 20);
    close_now(again);
    again = open_bound(c, "v", 0);
    T_AFTER_U64(put_numbers(again, 0, 100), entries(v), 100);
}

static settings on_disk(const char *path)
{
    settings s = api_config(16u << 20);
    s.config.l2_path = path;
    s.config.l2_bytes = 64u << 20;
    return s;
}

T_CASE(evicted_entries_go_to_disk_and_come_back)
{
    settings s = on_disk(folder_of_case());
    s.tuning.max_namespaces = 2; /* with the root */
    cellar *c = closed_later(api_open_with(&s)), *v = open_bound(c, "v", 10);
    for (unsigned i = 0; i < 400; i++) { /* used in memory: worth its bytes on disk */
        if (i < 100) { put(v, key_of(i)); }
        T_EQ_STR(api_look(v, key_of(i % 100)), "value");
        T_CHECK(entries(v) <= 10);
    }
    T_CHECK(space_stats(v).hits_l2 > 250);
    close_now(v);
    close_now(c);
    c = closed_later(api_open_with(&s));
    v = open_bound(c, "v", 5); /* options are not on the disk */
    for (unsigned i = 0; i < 100; i++) {
        (void)api_look(v, key_of(i));
        T_CHECK(entries(v) <= 5);
    }
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    close_now(v);
    close_now(open_bound(c, "w", 5)); /* its evictions keep no namespace */
}

T_ALONE(bound_and_quota_of_the_root_hold_over_a_disk)
{
    const cellar_policy_rule quota = { .struct_size = sizeof quota, .kind = CELLAR_POLICY_SET,
                                       .quota_max_pct = 40 };
    settings s = on_disk(folder_of_case());
    s.config.root = SPACE_OPTS(.max_entries = 10, .l2_write = CELLAR_L2_WRITE_ON_SET);
    s.config.rules = &quota;
    s.config.rule_count = 1;
    for (unsigned life = 0; life < 3; life++) {
        cellar *c = api_open_with(&s);
        for (unsigned i = 0; i < 50; i++) {
            if (life == 0) { put(c, key_of(i)); }
            T_EQ_STR(api_look(c, key_of(i)), "value");
            T_CHECK(entries(c) <= 10);
        }
        T_EQ_U64(space_stats(c).quota_entries, 10);
        T_CHECK(space_stats(c).quota_max_bytes != 0);
        api_shut(c);
    }
}

/* ---- memory ---- */

static _Atomic int64_t allocations_left;

static void *some_memory(size_t bytes, void *ctx)
{
    (void)ctx;
    void *p = NULL;
    if (atomic_fetch_sub(&allocations_left, 1) <= 0) { return NULL; }
    return posix_memalign(&p, 16, bytes) == 0 ? p : NULL;
}

static void free_memory(void *p, size_t bytes, void *ctx) { (void)bytes, (void)ctx; free(p); }

T_CASE(refused_memory_is_a_code)
{
    settings s = api_config(4u << 20);
    s.host.alloc = some_memory;
    s.host.free = free_memory;
    atomic_store(&allocations_left, INT64_MAX);
    cellar *c = closed_later(api_open_with(&s)), *v = open_bound(c, "v", 0);
    put_numbers(v, 0, 1000);
    bool done = false;
    for (int64_t n = 0; !done && n < 100; n++) {
        int64_t now = -1;
        atomic_store(&allocations_left, n);
        const cellar_err err = bound(v, 600);
        atomic_store(&allocations_left, INT64_MAX);
        done = err == CELLAR_OK;
        T_CHECK(done || err == CELLAR_E_NOMEM);
        T_EQ_I64(cellar_option_get(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &now), CELLAR_OK);
        T_EQ_I64(now, done ? 600 : 0);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    }
    T_CHECK(done);
    T_EQ_U64(entries(v), 600);
    T_EQ_I64(bound(v, 100000), CELLAR_OK);
    atomic_store(&allocations_left, 0); /* no node for more: it evicts its own instead */
    put_numbers(v, 5000, 7000);
    T_CHECK(evicted(v) > 2000 && entries(v) < 2000);
    atomic_store(&allocations_left, INT64_MAX);
    T_AFTER_U64(put(v, key_of(8000)), numbers(v, 8000, 8001), 1);
}

/* ---- threads ---- */

typedef struct work { cellar *v; unsigned number; } work;

static void *fill(void *arg)
{
    const work *w = arg;
    for (unsigned i = 0; i < 100; i++) { put(w->v, key_of(w->number * 1000 + i)); }
    return NULL;
}

T_CASE(threads_that_fit_evict_nothing)
{
    for (unsigned round = 0; round < 20; round++) {
        cellar *c = closed_later(api_open(8u << 20)), *v = open_bound(c, "v", 400);
        work w[4] = { { v, 0 }, { v, 1 }, { v, 2 }, { v, 3 } };
        T_AFTER_U64(together(4, fill, w, sizeof w[0]), entries(v), 400);
        T_EQ_U64(evicted(v), 0);
        left_close();
    }
}

static uint64_t below(uint64_t *r, uint64_t n)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (*r >> 33) % n;
}

#define NAMESPACES 4u
#define THREADS 4u

typedef struct mix {
    cellar *root, *v[NAMESPACES]; /* bounds at the start: 20, none, 3 and a quota, 3 */
    unsigned seed;
} mix;

static char bytes[300000];

static cellar_err add_a_byte(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old_len > 1000) { return CELLAR_REMOVED; }
    if (old != NULL) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "+", 1);
}

static void hear(const cellar_event *e, void *ctx) { (void)e, (void)ctx; }

static void set_one(cellar *v, const char *key, size_t n, uint64_t *r)
{
    static const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = cellar_set_opts_default();
    const size_t len = below(r, 40) == 0 ? below(r, sizeof bytes) : below(r, 500);
    const uint64_t flag = below(r, 30);
    if (below(r, 3) == 0) { o.ttl_ms = 1 + (int64_t)below(r, 100); }
    if (below(r, 8) == 0) { o.idle_ms = 1000; }
    if (below(r, 8) == 0) {
        o.tags = &tag;
        o.tag_count = 1;
    }
    if (flag < 3) { o.flags = CELLAR_ONLY_IF_PRESENT; }
    if (flag >= 3 && flag < 6) { o.flags = CELLAR_ONLY_IF_ABSENT; }
    if (flag >= 6 && flag < 9) { o.flags = CELLAR_NEGATIVE; }
    if ((o.flags & CELLAR_NEGATIVE) != 0) {
        (void)cellar_set(v, key, n, NULL, 0, &o);
    } else {
        (void)cellar_set(v, key, n, bytes, len, below(r, 2) != 0 ? &o : NULL);
    }
}

static void change_one(cellar *v, const char *key, size_t n, uint64_t what, uint64_t *r)
{
    cellar_result got = cellar_result_default();
    cellar_pinned pin;
    int64_t number;
    char buf[64];
    size_t len;
    if (what < 8) {
        (void)cellar_delete(v, key, n);
    } else if (what < 10) {
        (void)cellar_increment(v, key, n, 1, 1, NULL, &number);
    } else if (what < 12) {
        (void)cellar_touch(v, key, n, below(r, 2) != 0 ? INT64_C(1) << 40 : 50);
    } else if (what < 14) {
        (void)cellar_get(v, key, n, buf, sizeof buf, &len);
    } else if (what < 16) {
        (void)cellar_update(v, key, n, NULL, add_a_byte, NULL);
    } else if (what == 16) {
        (void)cellar_get_or_load(v, key, n, NULL, load_it, NULL, &got);
        cellar_result_free(&got);
    } else if (what == 17) {
        if (cellar_pin(v, key, n, &pin) == CELLAR_OK) { cellar_unpin(&pin); }
    } else {
        set_one(v, key, n, r);
    }
}

/* Fill a namespace that other threads open and drop as well. */
static void come_and_go(cellar *root, uint64_t *r)
{
    cellar *v = NULL;
    const uint32_t max = 1 + (uint32_t)below(r, 10);
    if (cellar_namespace_open(root, "brief", SPACE_OPTS(.max_entries = max), &v) != CELLAR_OK) {
        return;
    }
    for (unsigned k = 0; k < 40; k++) { (void)cellar_set(v, &k, sizeof k, "v", 1, NULL); }
    if (below(r, 2) != 0) { (void)cellar_namespace_drop(root, "brief"); }
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

/* Change what holds for many keys. The first namespace keeps its bound. */
static void change_all(const mix *m, unsigned number, uint64_t what, uint64_t *r)
{
    cellar *v = m->v[number];
    const int64_t max = below(r, 3) == 0 ? 0 : 1 + (int64_t)below(r, 60);
    switch (what) {
    case 0: (void)cellar_clear(v); return;
    case 1:
    case 2:
    case 3:
        if (number == 0) { return; }
        T_EQ_I64(cellar_option_set(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, max), CELLAR_OK);
        return;
    case 4:
        (void)cellar_option_set(m->root, CELLAR_OPT_MEMORY_BYTES,
                                below(r, 2) != 0 ? 5 << 20 : 8 << 20);
        return;
    case 5:
        (void)cellar_option_set(m->root, CELLAR_OPT_MAX_ENTRIES, 150 * (int64_t)below(r, 2));
        return;
    case 6:
        (void)cellar_option_set(m->root, CELLAR_OPT_EVICTION, (int64_t)below(r, 4));
        return;
    case 7: (void)cellar_delete_by_tag(v, "t", 1, CELLAR_TAG_HARD); return;
    case 8: come_and_go(m->root, r); return;
    default: (void)cellar_tick(m->root, 200, NULL); return;
    }
}

static void *run(void *arg)
{
    const mix *m = arg;
    uint64_t r = t_seed() + m->seed;
    const uint64_t rounds = t_share(8000);
    for (uint64_t i = 0; i < rounds; i++) {
        char key[1500];
        const unsigned number = (unsigned)below(&r, NAMESPACES);
        size_t n = (size_t)snprintf(key, sizeof key, "%u", (unsigned)below(&r, 200));
        if (key[0] == '7') { /* in a block */
            memset(key + n, 'k', sizeof key - n);
            n = sizeof key;
        }
        if (below(&r, 100) == 0) { change_all(m, number, below(&r, 12), &r); }
        if (below(&r, 50) == 0) { atomic_fetch_add(&api_now_ms, 3); }
        change_one(m->v[number], key, n, below(&r, 60), &r);
    }
    return NULL;
}

static bool count_one(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint64_t *)ctx;
    return true;
}

/* Each namespace has at least what a scan finds, which leaves negative entries out, and all
 * together what the index has. */
static void counts_agree_at_rest(const mix *m)
{
    uint64_t sum = 0;
    (void)cellar_namespace_drop(m->root, "brief");
    while (cellar_tick(m->root, 100000, NULL) == CELLAR_PENDING) {}
    for (unsigned i = 0; i < NAMESPACES; i++) {
        uint64_t cursor = 0, n = 0;
        do {
            T_EQ_I64(cellar_scan(m->v[i], &cursor, SCAN(NULL, 0, 1u << 20), count_one, &n),
                     CELLAR_OK);
        } while (cursor != 0);
        T_CHECK(n <= entries(m->v[i]));
        sum += entries(m->v[i]);
    }
    T_EQ_U64(store_stats(m->root).entries, sum);
}

static void bounds_hold_at_rest(const mix *m)
{
    counts_agree_at_rest(m);
    if (!T_EQ_I64(cellar_integrity_check(m->root), CELLAR_OK)) {
        printf("# %s\n", error_text(m->root));
    }
    for (unsigned i = 0; i < NAMESPACES; i++) {
        int64_t max = 0;
        T_EQ_I64(cellar_option_get(m->v[i], CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &max), CELLAR_OK);
        T_CHECK(max == 0 || entries(m->v[i]) <= (uint64_t)max);
    }
}

static void run_threads(bool heard)
{
    static const char *const names[NAMESPACES] = { "a", "b", "c", "d" };
    static const uint32_t most[NAMESPACES] = { 20, 0, 3, 3 };
    mix m = { .root = closed_later(api_open(8u << 20)) };
    uint64_t id;
    for (unsigned i = 0; i < NAMESPACES; i++) {
        m.v[i] = space_with(m.root, names[i], SPACE_OPTS(.max_entries = most[i],
                                                         .quota_max_pct = i == 2 ? 30 : 0));
    }
    if (heard) { T_EQ_I64(cellar_listener_add(m.root, 0, hear, NULL, &id), CELLAR_OK); }
    for (unsigned round = 0; round < 3; round++) {
        mix of[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
            of[i] = m;
            of[i].seed = i + THREADS * round;
        }
        together(THREADS, run, of, sizeof of[0]);
        bounds_hold_at_rest(&m);
    }
}

/* Few keys, counts at rest beside a scan and the index, and the audit,
 * which compares the lists of namespaces with the index. Under ThreadSanitizer: no data race. */
T_CASE(all_changes_at_once_keep_the_bounds) { run_threads(false); }
T_CASE(all_changes_at_once_with_a_listener_keep_the_bounds) { run_threads(true); }

/* A set of 1 MiB into new pages faults in 256 of them. The entry that makes room leaves its own. */
T_ALONE(long_value_takes_the_pages_of_the_evicted_one)
{
    enum { BYTES = 1 << 20, SETS = 100 };
    cellar *c = closed_later(api_open(64u << 20)), *v = open_bound(c, "bound", 2);
    char *value = calloc(1, BYTES);
    struct rusage before, after;
    T_REQUIRE(value != NULL);
    for (unsigned i = 0; i < 2 * SETS; i++) {
        const unsigned key = i % 8;
        if (i == SETS) { (void)getrusage(RUSAGE_THREAD, &before); }
        T_EQ_I64(cellar_set(v, &key, sizeof key, value, BYTES, NULL), CELLAR_OK);
    }
    (void)getrusage(RUSAGE_THREAD, &after);
    T_CHECK(after.ru_minflt - before.ru_minflt < SETS * 16);
    T_EQ_U64(entries(v), 2);
    free(value);
}

T_MAIN("api_max_entries")
