/* SPDX-License-Identifier: MIT
 *
 * Aim:    Listeners receive each removal exactly once, with its cause and its bytes. They may call
 *         the cache. Unlisten ends the calls.
 * Method: Every value is its own number. Sets fill a ledger of live numbers and events empty it;
 *         the ledger is compared with the answers of the cache. A clock of this file. */
#include "tests/support/api_kit.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/folder.h"
#include "tests/support/rules.h"
#include "tests/support/settings.h"

#include <pthread.h>

static cellar *open_bytes(uint64_t bytes)
{
    settings cfg = api_config(bytes);
    cfg.tuning.max_value_bytes = 200000;
    return api_open_with(&cfg);
}

typedef struct heard {
    unsigned count[CELLAR_CAUSE_COUNT], total;
    char key[64], value[64];
    cellar *namespace;
    uint32_t kind, flags;
} heard;

static void note(const cellar_event *e, void *ctx)
{
    heard *h = ctx;
    h->count[e->cause]++;
    h->total++;
    h->namespace = e->ns;
    h->kind = e->kind;
    h->flags = e->user_flags;
    snprintf(h->key, sizeof h->key, "%.*s", (int)e->key_len, (const char *)e->key);
    snprintf(h->value, sizeof h->value, "%.*s", (int)e->value_len, (const char *)e->value);
}

/* Check for one event of this cause and these bytes since the last check. */
static void expect(heard *h, const char *cause, const char *key, const char *value)
{
    T_EQ_U64(h->total, 1);
    for (unsigned i = 0; i < CELLAR_CAUSE_COUNT; i++) {
        if (h->count[i] != 0) { T_EQ_STR(cellar_cause_name((cellar_cause)i), cause); }
    }
    T_EQ_STR(h->key, key);
    T_EQ_STR(h->value, value);
    memset(h, 0, sizeof *h);
}

static cellar_err plus(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old != NULL) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "+", 1);
}

T_CASE(each_removal_has_its_cause)
{
    cellar *c = open_bytes(4u << 20), *v;
    heard h;
    uint64_t id;
    static char big[300000];
    memset(&h, 0, sizeof h);
    T_EQ_I64(cellar_listener_add(c, 0, note, &h, &id), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    api_put(c, "k", "one", NULL);
    T_EQ_U64(h.total, 0); /* a first set removes nothing */
    api_put(c, "k", "two", NULL); /* in place */
    expect(&h, "replaced", "k", "one");
    api_put(c, "k", "much longer than before, so that it moves", NULL);
    expect(&h, "replaced", "k", "two");
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    expect(&h, "deleted", "k", "much longer than before, so that it moves");
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_MISS);
    T_EQ_U64(h.total, 0);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 50, .user_flags = 42 };
    api_put(v, "t", "timed", &o);
    atomic_fetch_add(&api_now_ms, 50);
    T_EQ_I64(cellar_get(v, "t", 1, NULL, 0, NULL), CELLAR_MISS);
    T_EQ_U64(h.total, 0); /* a read removes nothing */
    const uint64_t before = api_expired(c);
    T_EQ_I64(cellar_tick(c, 100000, NULL), CELLAR_OK);
    T_EQ_U64(api_expired(c), before + 1);
    T_CHECK(h.namespace == v);
    T_EQ_U64(h.flags, 42);
    expect(&h, "expired", "t", "timed");
    api_put(v, "t", "timed", &o);
    atomic_fetch_add(&api_now_ms, 50);
    api_put(v, "t", "next", NULL); /* over an expired entry */
    expect(&h, "expired", "t", "timed");
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(v, "t", 1, NULL, 0, &o), CELLAR_OK);
    expect(&h, "negative", "t", "next");
    api_put(v, "t", "value", NULL);
    T_EQ_U64(h.kind, CELLAR_KIND_NEGATIVE);
    expect(&h, "replaced", "t", "");
    T_EQ_I64(cellar_set(v, "t", 1, big, sizeof big, NULL), CELLAR_E_TOOBIG);
    expect(&h, "rejected", "t", "value");
    T_EQ_I64(cellar_update(v, "u", 1, NULL, plus, NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(v, "u", 1, NULL, plus, NULL), CELLAR_OK);
    expect(&h, "replaced", "u", "+");
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    expect(&h, "cleared", "u", "++");
    api_put(v, "b", "bumped", NULL);
    T_EQ_I64(cellar_version_set(v, 0, NULL), CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    expect(&h, "version", "b", "bumped");
    api_put(v, "d", "dropped", NULL);
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    T_CHECK(h.namespace == NULL);
    expect(&h, "cleared", "d", "dropped");
    T_EQ_I64(cellar_touch(c, "none", 4, 5), CELLAR_MISS);
    T_EQ_U64(h.total, 0);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
    api_put(c, "k", "one", NULL);
    api_put(c, "k", "two", NULL);
    T_EQ_U64(h.total, 0);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_bytes(4u << 20), api_shut(c))

T_CASE_ON(increment_reports_replace_and_touch_reports_nothing, STORE)
{
    heard h;
    uint64_t id;
    memset(&h, 0, sizeof h);
    T_EQ_I64(cellar_listener_add(c, 0, note, &h, &id), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, NULL), CELLAR_OK);
    T_EQ_U64(h.total, 0);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, NULL), CELLAR_OK);
    T_EQ_U64(h.count[CELLAR_CAUSE_REPLACED], 1);
    T_EQ_U64(h.total, 1);
    T_EQ_I64(cellar_touch(c, "n", 1, 1000), CELLAR_OK);
    cellar_entry_info i = cellar_entry_info_default();
    /* moves the record */
    T_EQ_I64(cellar_entry_info_get(c, "n", 1, CELLAR_GET_WANT_VERSION, &i), CELLAR_OK);
    T_EQ_U64(h.total, 1);
}

T_CASE(mask_and_namespace_select_events)
{
    cellar *c = open_bytes(4u << 20), *v, *w;
    heard all, deleted, only_v;
    uint64_t id[3];
    memset(&all, 0, sizeof all);
    memset(&deleted, 0, sizeof deleted);
    memset(&only_v, 0, sizeof only_v);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "w", NULL, &w), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, 0, note, &all, &id[0]), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DELETED), note, &deleted, &id[1]), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(v, 0, note, &only_v, &id[2]), CELLAR_OK);
    cellar *namespaces[3] = { c, v, w };
    for (int i = 0; i < 3; i++) {
        api_put(namespaces[i], "k", "1", NULL);
        api_put(namespaces[i], "k", "2", NULL);
        T_EQ_I64(cellar_delete(namespaces[i], "k", 1), CELLAR_OK);
    }
    T_EQ_U64(all.total, 6);
    T_EQ_U64(deleted.total, 3);
    T_EQ_U64(only_v.total, 2);
    T_CHECK(only_v.namespace == v);
    T_EQ_I64(cellar_listener_remove(c, id[1]), CELLAR_OK);
    uint64_t more[20];
    int n = 0;
    while (n < 20 && cellar_listener_add(c, 0, note, &all, &more[n]) == CELLAR_OK) { n++; }
    T_EQ_I64(n, 14); /* 16 at most */
    T_EQ_I64(cellar_listener_add(c, 0, note, &all, &more[n]), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_listener_remove(c, more[3]), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, 0, note, &all, &more[3]), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(w), CELLAR_OK);
    api_shut(c);
}

/* ---- ledger ---- */

typedef struct ledger {
    uint8_t alive[400000]; /* by value number */
    uint64_t ended[CELLAR_CAUSE_COUNT];
} ledger;

static void settle(const cellar_event *e, void *ctx)
{
    ledger *l = ctx;
    uint32_t number;
    T_CHECK(e->value_len >= sizeof number);
    memcpy(&number, e->value, sizeof number);
    if (T_CHECK(number < sizeof l->alive) && !T_EQ_U64(l->alive[number], 1)) {
        printf("# value %u ended by %s\n", number, cellar_cause_name(e->cause));
    }
    l->alive[number] = 0;
    l->ended[e->cause]++;
}

T_ALONE(each_removal_is_reported_exactly_once)
{
    enum { KEYS = 9000, OPS = 300000 };
    cellar *c = open_bytes(1u << 20);
    ledger *l = calloc(1, sizeof *l);
    static uint32_t current[KEYS];
    static unsigned char value[3000];
    uint64_t id, x = t_seed() | 1;
    uint32_t next = 1;
    T_REQUIRE(l != NULL);
    memset(current, 0, sizeof current);
    T_EQ_I64(cellar_listener_add(c, 0, settle, l, &id), CELLAR_OK);
    for (int i = 0; i < OPS; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t key = (uint32_t)(x >> 33) % KEYS;
        const unsigned what = (unsigned)(x >> 20) % 100;
        if (what < 55) {
            cellar_set_opts o = cellar_set_opts_default();
            const size_t len = 4 + (size_t)(x >> 45) % (what < 5 ? 2900 : 200);
            o.ttl_ms = what < 15 ? 1 + (int64_t)(x >> 40) % 3000 : 0;
            memcpy(value, &next, sizeof next);
            l->alive[next] = 1;
            const cellar_err err = cellar_set(c, &key, sizeof key, value, len, &o);
            if (!T_EQ_I64(err, CELLAR_OK)) { break; }
            current[key] = next++;
        } else if (what < 60) {
            (void)cellar_delete(c, &key, sizeof key);
            current[key] = 0;
        } else if (what < 98) {
            uint32_t got = 0;
            size_t len;
            const cellar_err err = cellar_get(c, &key, sizeof key, value, sizeof value, &len);
            memcpy(&got, value, sizeof got);
            if (err == CELLAR_OK) {
                if (!T_EQ_U64(got, current[key]) || !T_EQ_U64(l->alive[got], 1)) { break; }
            }
        } else if (what == 98) {
            atomic_fetch_add(&api_now_ms, 20);
        } else if (i % 50 == 0) {
            (void)cellar_tick(c, 50, NULL);
        }
    }
    /* A live value of the ledger hits, a removed one misses. */
    for (uint32_t key = 0; key < KEYS; key++) {
        cellar_entry_info info = cellar_entry_info_default();
        const cellar_err err = cellar_entry_info_get(c, &key, sizeof key, 0, &info);
        if (err == CELLAR_OK && !T_EQ_U64(l->alive[current[key]], 1)) { break; }
        if (current[key] != 0 && l->alive[current[key]] != 0 && err != CELLAR_OK) {
            /* live in the ledger but not served: only an expired entry before its reclaim */
            T_EQ_I64(err, CELLAR_MISS);
        }
    }
    atomic_fetch_add(&api_now_ms, 10000);
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) {}
    uint64_t alive = 0;
    for (uint32_t n = 1; n < next; n++) { alive += l->alive[n]; }
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.entries, alive);
    T_CHECK(l->ended[CELLAR_CAUSE_EVICTED] > 100);
    T_CHECK(l->ended[CELLAR_CAUSE_EXPIRED] > 100);
    T_CHECK(l->ended[CELLAR_CAUSE_REPLACED] > 100);
    T_CHECK(l->ended[CELLAR_CAUSE_DELETED] > 100);
    T_EQ_U64(st.ended[CELLAR_CAUSE_REPLACED], l->ended[CELLAR_CAUSE_REPLACED]);
    T_EQ_U64(st.ended[CELLAR_CAUSE_DELETED], l->ended[CELLAR_CAUSE_DELETED]);
    T_EQ_U64(st.ended[CELLAR_CAUSE_EVICTED], l->ended[CELLAR_CAUSE_EVICTED]);
    api_shut(c);
    free(l);
}

/* ---- listeners that call the cache ---- */

typedef struct actor {
    cellar *c;
    uint64_t id;
    unsigned calls, depth, deepest;
} actor;

static void set_again(const cellar_event *e, void *ctx)
{
    actor *a = ctx;
    a->calls++;
    if (++a->depth > a->deepest) { a->deepest = a->depth; }
    if (a->calls < 200) {
        (void)cellar_set(e->ns, e->key, e->key_len, "again", 5, NULL); /* a replace: one event */
        (void)cellar_set(e->ns, e->key, e->key_len, "and again", 9, NULL);
    }
    a->depth--;
}

static void leave(const cellar_event *e, void *ctx)
{
    actor *a = ctx;
    (void)e;
    a->calls++;
    /* from inside a listener: does not wait for itself */
    T_EQ_I64(cellar_listener_remove(a->c, a->id), CELLAR_OK);
}

T_CASE_ON(listeners_may_call_the_cache, STORE)
{
    actor a = { c, 0, 0, 0, 0 };
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_listener_add(c, 0, set_again, &a, &a.id), CELLAR_OK);
    api_put(c, "k", "1", NULL);
    api_put(c, "k", "2", NULL);
    T_CHECK(a.calls > 1);
    T_EQ_U64(a.deepest, 4);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.events_skipped > 0);
    T_EQ_I64(cellar_listener_remove(c, a.id), CELLAR_OK);
    a.calls = 0;
    T_EQ_I64(cellar_listener_add(c, 0, leave, &a, &a.id), CELLAR_OK);
    api_put(c, "k", "3", NULL);
    api_put(c, "k", "4", NULL);
    T_EQ_U64(a.calls, 1);
}

typedef struct slow {
    _Atomic int inside, release, done;
} slow;

static void wait_inside(const cellar_event *e, void *ctx)
{
    slow *s = ctx;
    (void)e;
    atomic_store(&s->inside, 1);
    while (!atomic_load(&s->release)) { usleep(100); }
    usleep(20000);
    atomic_store(&s->done, 1);
}

static void *replace_one(void *arg) { api_put(arg, "k", "2", NULL); return NULL; }

T_CASE_ON(unlisten_waits_for_running_listener, STORE)
{
    slow s = { 0, 0, 0 };
    uint64_t id;
    pthread_t t;
    api_put(c, "k", "1", NULL);
    T_EQ_I64(cellar_listener_add(c, 0, wait_inside, &s, &id), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, replace_one, c) == 0);
    while (!atomic_load(&s.inside)) { usleep(100); }
    atomic_store(&s.release, 1);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
    T_EQ_I64(atomic_load(&s.done), 1);
    pthread_join(t, NULL);
}

/* ---- listeners of a call that makes room ---- */

typedef struct room_call {
    cellar *c;
    cellar_err (*make)(cellar *c); /* evicts entries to make room for its own memory */
    unsigned evicted, calls;
} room_call;

static cellar_err makes_filter(cellar *c)
{
    const cellar_err err = bloom_size(c, 200000);
    return err == CELLAR_OK ? bloom_feed_none(c) : err;
}
static cellar_err makes_sync(cellar *c) { return cellar_sync(c); }
static cellar_err makes_policy(cellar *c)
{
    static char text[100000];
    size_t len = (size_t)snprintf(text, sizeof text, "[*]\n");
    for (unsigned i = 0; i < 1000; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "glob k%u* ttl=5m\n", i);
    }
    return rules_set(c, text, len, NULL, NULL);
}

static void make_again(const cellar_event *e, void *ctx)
{
    room_call *r = ctx;
    T_EQ_U64(e->key_len, 4);
    T_EQ_U64(e->value_len, 300);
    T_EQ_I64(((const char *)e->value)[299], ((const char *)e->key)[3]);
    r->evicted++;
    if (r->make != NULL && r->calls++ < 3) { (void)r->make(r->c); }
}

static uint64_t evictions(cellar *c)
{
    cellar_stats s = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &s), CELLAR_OK);
    return s.ended[CELLAR_CAUSE_EVICTED];
}

/* Charge all memory that is free, so that the next allocation evicts. */
static void charge_the_rest(const room_call *r)
{
    cellar *c = r->c;
    while (r->evicted == 0) { T_EQ_I64(cellar_memory_charge(c, 16384), CELLAR_OK); }
    cellar_stats s = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &s), CELLAR_OK);
    T_EQ_I64(cellar_memory_charge(c, (int64_t)(s.budget_bytes - s.used_bytes)), CELLAR_OK);
}

T_ALONE(listener_may_repeat_the_call_that_makes_room)
{
    static cellar_err (*const make[])(cellar *) = { makes_filter, makes_policy, makes_sync };
    char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
    for (size_t i = 0; i < sizeof make / sizeof make[0]; i++) {
        settings cfg = api_config(8u << 20);
        t_folder(folder);
        (void)snprintf(store, sizeof store, "%s/store", folder);
        if (make[i] == makes_sync) {
            cfg.config.l2_path = store;
            cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        }
        room_call r = { api_open_with(&cfg), NULL, 0, 0 };
        T_EQ_I64(bloom_size(r.c, 1000), CELLAR_OK);
        char value[300];
        uint64_t id;
        for (uint32_t k = 0; k < 40000; k++) {
            memset(value, (int)(k >> 24), sizeof value);
            const unsigned char key[4] = { (unsigned char)k, (unsigned char)(k >> 8),
                                           (unsigned char)(k >> 16), 'x' };
            value[299] = 'x';
            T_EQ_I64(cellar_set(r.c, key, sizeof key, value, sizeof value, NULL), CELLAR_OK);
        }
        const uint64_t before = evictions(r.c);
        T_EQ_I64(cellar_listener_add(r.c, CELLAR_CAUSE_BIT(EVICTED), make_again, &r, &id),
                 CELLAR_OK);
        charge_the_rest(&r);
        const unsigned charged = r.evicted;
        r.make = make[i];
        T_EQ_I64(make[i](r.c), CELLAR_OK);
        T_CHECK(r.evicted > charged);
        T_EQ_U64(r.evicted, evictions(r.c) - before); /* each event is delivered, once */
        api_shut(r.c);
        t_wipe(store);
        t_wipe(folder);
    }
}

T_MAIN("api_listen")
