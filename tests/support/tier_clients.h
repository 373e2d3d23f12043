/* SPDX-License-Identifier: MIT
 *
 * tier_clients: two stores that are two clients of one server in memory (shared_kit.h), on a
 * clock that the test turns. Each has one namespace with a table of cellar_tier_attach. */
#ifndef SUPPORT_TIER_CLIENTS_H
#define SUPPORT_TIER_CLIENTS_H

#include <pthread.h>
#include <sched.h>

#include "tests/support/t.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "tests/support/settings.h"
#include "tests/support/shared_kit.h"

static shared_server server;
static shared_client one, two;
static cellar *root[2], *ns[2]; /* of the two clients */
static int64_t now_ms; /* atomic where threads run */
static unsigned heard[CELLAR_CAUSE_COUNT];

static inline int64_t read_clock(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&now_ms, __ATOMIC_SEQ_CST);
}

static inline void hear(const cellar_event *e, void *ctx) { (void)ctx; heard[e->cause]++; }

static inline settings plain(void)
{
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.clock = read_clock,
                   .host.no_threads = 1 };
    return s;
}

static inline cellar *open_store(unsigned i, const settings *s)
{
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    T_EQ_I64(settings_open(s, &root[i]), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(root[i], "users", &o, &ns[i]), CELLAR_OK);
    return ns[i];
}

static inline void make_clients(void)
{
    now_ms = 1000000;
    memset(heard, 0, sizeof heard);
    shared_server_init(&server);
    shared_client_init(&one, &server);
    shared_client_init(&two, &server);
}

static inline void attach_both(void)
{
    const settings s = plain();
    T_EQ_I64(cellar_tier_attach(open_store(0, &s), &one.table), CELLAR_OK);
    T_EQ_I64(cellar_tier_attach(open_store(1, &s), &two.table), CELLAR_OK);
}

static inline void begin(void) { make_clients(); attach_both(); }

static inline void end(void)
{
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(cellar_namespace_close(ns[i]), CELLAR_OK);
        T_EQ_I64(cellar_close(root[i]), CELLAR_OK);
    }
    T_EQ_U64(one.closes + two.closes, 2);
}

static inline void sets(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

/* Check the value of a key; NULL: a miss. */
static inline void has(cellar *c, const char *key, const char *want)
{
    char buf[64] = "";
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf - 1, &len);
    T_EQ_I64(err, want != NULL ? CELLAR_OK : CELLAR_MISS);
    if (want != NULL) { T_EQ_STR(buf, want); }
}

/* Check whether memory has the key. */
static inline bool in_memory(cellar *c, shared_client *m, const char *key)
{
    char buf[64];
    const unsigned gets = m->gets;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf, NULL);
    return err == CELLAR_OK && m->gets == gets;
}

static const char *act;
static inline void outside(shared_client *m, const char *call)
{
    if (strncmp(call, "get", 3) != 0 || act == NULL) { return; }
    const char *what = act;
    act = NULL;
    if (strcmp(what, "set") == 0) { sets(ns[0], "k", "new"); }
    if (strcmp(what, "set 1") == 0) { sets(ns[0], "1", "new"); }
    if (strcmp(what, "own 1") == 0) { sets(ns[1], "1", "new"); }
    if (strcmp(what, "delete 1") == 0) { (void)cellar_delete(ns[0], "1", 1); }
    if (strcmp(what, "pattern") == 0) {
        (void)cellar_delete_by_pattern(ns[1], "*", 1, NULL);
    }
    if (strcmp(what, "delete") == 0) { (void)cellar_delete(ns[0], "k", 1); }
    if (strcmp(what, "clear") == 0) { (void)cellar_clear(ns[0]); }
    if (strcmp(what, "tag") == 0) {
        (void)cellar_delete_by_tag(ns[0], "t", 1, CELLAR_TAG_HARD);
    }
    if (strcmp(what, "ended") == 0) { m->host->ended(m->host->ctx, 0); }
    if (strcmp(what, "own") == 0) { sets(ns[1], "k", "new"); }
    if (strcmp(what, "close") == 0) { T_EQ_I64(cellar_namespace_close(ns[1]), CELLAR_OK); }
}

static inline cellar_get_item item_of(const char *key, char *buf, size_t cap)
{
    return (cellar_get_item){ .key = key, .key_len = strlen(key), .buf = buf, .buf_cap = cap };
}

static inline cellar_err load_during_set(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    sets(ns[0], "k", "theirs");
    return cellar_load_value(ld, "loaded before", 13);
}

static inline cellar_err load_fails(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_fail(ld, 1, 0, 0);
}

static inline void end_softly(void) { two.host->ended(two.host->ctx, CELLAR_TAG_SOFT); }

/* Read the key of the second client, with stale values allowed. */
static inline cellar_err read_stale(const char *want)
{
    char buf[8] = "";
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
    const cellar_err err = cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf - 1, NULL);
    if (want != NULL) { T_EQ_STR(buf, want); }
    return err;
}

/* Load "k" by a client, check the code and the value (NULL: any), and free the result. Return what
 * it tells beside its value. */
static inline cellar_result loaded(unsigned i, const cellar_load_opts *o, cellar_loader_fn fn,
                                   void *ctx, cellar_err want, const char *value)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[i], "k", 1, o, fn, ctx, &r), want);
    if (value != NULL && T_EQ_U64(r.value_len, strlen(value))) {
        T_EQ_MEM(r.value, value, r.value_len);
    }
    const cellar_result rest = r;
    cellar_result_free(&r);
    return rest;
}

/* Start a thread, and wait for its end. */
static inline pthread_t beside(void *(*fn)(void *arg), void *arg)
{
    pthread_t t;
    T_REQUIRE(pthread_create(&t, NULL, fn, arg) == 0);
    return t;
}
static inline void joined(pthread_t t) { T_EQ_I64(pthread_join(t, NULL), 0); }

#define CLIENTS(fn) T_WITHIN(fn, begin(), end())

static unsigned loads[2]; /* runs of the loader, by client; atomic */
static bool waits;        /* the loader waits until the other client has asked for the lease */

static inline unsigned asked_leases(void)
{
    pthread_mutex_lock(&server.lock);
    const unsigned asked = one.leases + two.leases;
    pthread_mutex_unlock(&server.lock);
    return asked;
}

static inline cellar_err load_counted(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    __atomic_add_fetch(&loads[(intptr_t)ctx], 1, __ATOMIC_SEQ_CST);
    while (waits && asked_leases() < 2) { sched_yield(); }
    return cellar_load_value(ld, "v", 1);
}

/* Let another process, the second client, hold the lease of a key for `ms`. */
static inline cellar_tier_lease hold_lease(const char *key, int64_t ms)
{
    const cellar_tier_key k = { key, strlen(key), 0 };
    cellar_tier_entry e;
    cellar_tier_lease l;
    memset(&e, 0, sizeof e);
    T_EQ_I64(shared_lease(&two, &k, ms, &e, &l), CELLAR_LEASED);
    return l;
}

static inline void begin_leases(void)
{
    begin();
    waits = false;
    loads[0] = loads[1] = 0;
}

static inline void *pass_time(void *arg)
{
    while (asked_leases() < 2) { sched_yield(); } /* hold_lease was the first */
    __atomic_add_fetch(&now_ms, *(const int64_t *)arg, __ATOMIC_SEQ_CST);
    return NULL;
}

#endif
