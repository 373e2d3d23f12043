/* SPDX-License-Identifier: MIT
 *
 * Aim:    Listeners receive each removal once, with its cause and bytes. They may call the cache.
 *         Unlisten ends the calls.
 * Method: Each kind of removal by hand, and listeners that repeat calls. A clock of this file. */
#include "tests/support/api_kit.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/rules.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

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
    cellar *c = closed_later(open_bytes(4u << 20)), *v = space_of(c, "v");
    heard h = { .total = 0 };
    uint64_t id;
    static char big[300000];
    T_EQ_I64(cellar_listener_add(c, 0, note, &h, &id), CELLAR_OK);
    T_AFTER_U64(api_put(c, "k", "one", NULL), h.total, 0); /* a first set removes nothing */
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
    T_EQ_I64(cellar_tick(c, UINT64_MAX, NULL), CELLAR_OK);
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
    T_AFTER_U64(api_put(v, "t", "value", NULL), h.kind, CELLAR_KIND_NEGATIVE);
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
    T_AFTER_U64(api_put(c, "k", "two", NULL), h.total, 0);
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_E_NOT_FOUND);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_bytes(4u << 20), api_shut(c))

T_CASE_ON(increment_reports_replace_and_touch_reports_nothing, STORE)
{
    heard h = { .total = 0 };
    uint64_t id;
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
    cellar *c = closed_later(open_bytes(4u << 20)), *v = space_of(c, "v"), *w = space_of(c, "w");
    heard all = { .total = 0 }, deleted = all, only_v = all;
    uint64_t id[3];
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
    T_EQ_I64(cellar_listener_add(c, 0, set_again, &a, &a.id), CELLAR_OK);
    api_put(c, "k", "1", NULL);
    api_put(c, "k", "2", NULL);
    T_CHECK(a.calls > 1);
    T_EQ_U64(a.deepest, 4);
    T_CHECK(store_stats(c).events_skipped > 0);
    T_EQ_I64(cellar_listener_remove(c, a.id), CELLAR_OK);
    a.calls = 0;
    T_EQ_I64(cellar_listener_add(c, 0, leave, &a, &a.id), CELLAR_OK);
    api_put(c, "k", "3", NULL);
    T_AFTER_U64(api_put(c, "k", "4", NULL), a.calls, 1);
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

/* Charge all memory that is free, so that the next allocation evicts. */
static void charge_the_rest(const room_call *r)
{
    cellar *c = r->c;
    while (r->evicted == 0) { T_EQ_I64(cellar_memory_charge(c, 16384), CELLAR_OK); }
    const cellar_stats s = store_stats(c);
    T_EQ_I64(cellar_memory_charge(c, (int64_t)(s.budget_bytes - s.used_bytes)), CELLAR_OK);
}

T_ALONE(listener_may_repeat_the_call_that_makes_room)
{
    static cellar_err (*const make[])(cellar *) = { makes_filter, makes_policy, makes_sync };
    const char *path = folder_of_case();
    for (size_t i = 0; i < sizeof make / sizeof make[0]; i++) {
        settings cfg = api_config(8u << 20);
        if (make[i] == makes_sync) {
            cfg.config.l2_path = path;
            cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        }
        room_call r = { api_open_with(&cfg), NULL, 0, 0 };
        T_EQ_I64(bloom_size(r.c, 1000), CELLAR_OK);
        static char value[300];
        uint64_t id;
        value[299] = 'x';
        for (uint32_t k = 0; k < 40000; k++) {
            const unsigned char key[4] = { (unsigned char)k, (unsigned char)(k >> 8), 0, 'x' };
            T_EQ_I64(cellar_set(r.c, key, sizeof key, value, sizeof value, NULL), CELLAR_OK);
        }
        const uint64_t before = store_stats(r.c).ended[CELLAR_CAUSE_EVICTED];
        T_EQ_I64(cellar_listener_add(r.c, CELLAR_CAUSE_BIT(EVICTED), make_again, &r, &id),
                 CELLAR_OK);
        charge_the_rest(&r);
        const unsigned charged = r.evicted;
        r.make = make[i];
        T_EQ_I64(make[i](r.c), CELLAR_OK);
        T_CHECK(r.evicted > charged);
        /* each event is delivered, once */
        T_EQ_U64(r.evicted, store_stats(r.c).ended[CELLAR_CAUSE_EVICTED] - before);
        api_shut(r.c);
    }
}

T_MAIN("api_listen")
