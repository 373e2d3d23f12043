/* SPDX-License-Identifier: MIT
 *
 * Aim:    a change reaches values that another process loaded without a lease: the server has no
 *         key for them, so it reports no delete.
 * Method: two stores in this process stand for two processes; redis-server is real; a fence, never
 *         a pause, comes before each look. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/two_sides.h"

/* The ways to share a namespace, each with loads that have no lease. */
static cellar_remote_namespace_config way(int i)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    if (i == 1) { o.write = CELLAR_REMOTE_INVALIDATE; }
    if (i == 2) { o.values = CELLAR_REMOTE_RAW; }
    if (i == 3) { o.write = CELLAR_REMOTE_BEHIND; }
    return o;
}
enum { WAYS = 4 };

/* Limit the memory of the server: 1 byte or none. */
static void server_full(bool full)
{
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory %d", full) != NULL);
}

static cellar_err load_old(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "old", 3);
}

/* Load a key while the server is full: memory has the value, the server has not. */
static void side_load(const side *s, const char *key)
{
    cellar_result out = cellar_result_default();
    server_full(true);
    T_EQ_I64(cellar_get_or_load(s->users, key, strlen(key), NULL, load_old, NULL, &out), CELLAR_OK);
    server_full(false);
    cellar_result_free(&out);
    T_CHECK(side_has(s, key, "old"));
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:%s app:users:#x753a0a", key)), 0);
}

static void pattern_reaches_them(bool full)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        uint64_t deleted = 0;
        both_open(&o);
        side_load(&a, "u:1");
        side_load(&a, "v:1");
        side_load(&b, "u:1");
        side_load(&b, "u:\n");
        server_full(full);
        T_EQ_I64(cellar_delete_by_pattern(a.users, "u:*", 3, &deleted), CELLAR_OK);
        side_fence(&a);
        side_fence(&b);
        T_EQ_U64(deleted, 1);
        T_CHECK(side_has(&a, "u:1", NULL) && side_has(&a, "v:1", "old"));
        T_CHECK(side_has(&b, "u:1", NULL) && side_has(&b, "u:\n", NULL));
        both_close();
    }
}

T_CASE(pattern_delete_is_heard) { pattern_reaches_them(false); }
T_CASE(pattern_delete_of_a_full_server_is_heard) { pattern_reaches_them(true); }

static void change_of_a_full_server_is_heard(bool clear)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        both_open(&o);
        side_load(&b, "k");
        server_full(true);
        if (clear) {
            T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
        } else {
            T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_MISS); /* memory of a had no value */
            for (int n = 0; n < 1000 && side_stats(&a).journal_keys != 0; n++) { side_fence(&a); }
        }
        side_fence(&b);
        T_CHECK(side_has(&b, "k", NULL));
        both_close();
    }
}

T_CASE(delete_on_a_full_server_is_heard) { change_of_a_full_server_is_heard(false); }
T_CASE(clear_on_a_full_server_is_heard) { change_of_a_full_server_is_heard(true); }

/* Numbers of namespaces are few; each new tag would need more memory. */
T_CASE(full_server_takes_a_new_namespace_but_no_new_tag)
{
    cellar *orders;
    both_open(NULL);
    T_REQUIRE(cellar_namespace_open(a.store, "orders", NULL, &orders) == CELLAR_OK);
    server_full(true);
    T_CHECK(cellar_remote_attach(a.r, orders, NULL) == CELLAR_OK);
    T_CHECK(cellar_remote_fence(a.r, 10000) == CELLAR_OK && side_proven(&a));
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:~g:orders")), 1);
    T_EQ_I64(side_set_tagged(&a, "k", "v", "new"), CELLAR_DEFERRED);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:~t:new")), 0);
    T_CHECK(cellar_namespace_close(orders) == CELLAR_OK);
}

static cellar_err count(const side *s, const char *key, int64_t delta, int64_t *now)
{
    return cellar_increment(s->users, key, strlen(key), delta, 0, NULL, now);
}

/* The server refused the change and has the old value: it is not deleted later. */
T_CASE(refused_condition_keeps_the_value)
{
    int64_t now = 0;
    both_open(NULL);
    T_EQ_I64(count(&a, "n", 5, &now), CELLAR_OK);
    server_full(true);
    T_EQ_I64(count(&a, "n", 1, &now), CELLAR_E_SPACE);
    server_full(false);
    T_CHECK(engine_ask(&server, "LPUSH app:users:list x") != NULL);
    T_EQ_I64(count(&a, "list", 1, &now), CELLAR_E_TYPE);
    T_EQ_U64(side_stats(&a).deferred, 0);
    side_fence(&a);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:list")), 1);
    T_EQ_I64(count(&b, "n", 1, &now), CELLAR_OK);
    T_EQ_I64(now, 6);
    T_EQ_I64(count(&a, "n", 1, &now), CELLAR_OK);
    T_EQ_I64(now, 7);
}

/* Memory would keep the loaded value, and the server the old one. */
T_CASE(forced_refresh_on_a_full_server_is_not_kept)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        cellar_result out = cellar_result_default();
        if (o.write == CELLAR_REMOTE_INVALIDATE) { continue; } /* the server has no values */
        both_open(&o);
        T_EQ_I64(side_set(&b, "k", "new"), CELLAR_OK);
        for (int n = 0; n < 1000 && side_stats(&b).queue_entries != 0; n++) { side_fence(&b); }
        cellar_load_opts forced = { .struct_size = sizeof forced, .flags = CELLAR_LOAD_REFRESH };
        server_full(true);
        T_EQ_I64(cellar_get_or_load(a.users, "k", 1, &forced, load_old, NULL, &out), CELLAR_OK);
        server_full(false);
        cellar_result_free(&out);
        T_CHECK(side_has(&a, "k", "new") && side_has(&b, "k", "new"));
        both_close();
    }
}

static cellar_err acquired(const side *s, cellar_lease *lease, cellar_result *r)
{
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 10000 && err == CELLAR_PENDING; i++) {
        err = cellar_lease_acquire(s->users, "k", 1, NULL, NULL, lease, r);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    return err;
}

/* The request for a lease is a SET, which a full server refuses whether the key has a value. */
T_CASE(acquire_on_a_full_server_finds_the_value)
{
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    both_open(NULL);
    T_EQ_I64(side_set(&b, "k", "new"), CELLAR_OK);
    server_full(true);
    T_EQ_I64(acquired(&a, &lease, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 3);
    T_CHECK(r.value_len == 3 && memcmp(r.value, "new", 3) == 0);
    cellar_result_free(&r);
    server_full(false);
    T_CHECK(side_has(&a, "k", "new"));
}

T_CASE(acquire_on_a_full_server_loads_without_a_lease)
{
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    both_open(NULL);
    server_full(true);
    T_EQ_I64(acquired(&a, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(a.users, &lease, "old", 3, NULL), CELLAR_OK);
    server_full(false);
    T_CHECK(side_has(&a, "k", "old") && side_has(&b, "k", NULL));
    T_EQ_I64(side_set(&b, "k", "new"), CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_has(&a, "k", "new"));
}

T_MAIN("cellar_remote_unleased")
