/* SPDX-License-Identifier: MIT
 *
 * Aim:    a lease that the server gave to a caller that does not know it delays no other process.
 * Method: the server holds writes, or replies are cut, while a load asks for its lease. The lease
 *         ends by itself 31 s later: none of the tests waits so long. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/loader.h"
#include "tests/support/shared_side.h"

enum { WAIT_MS = 10000 };

static engine server;
static side a;

static cellar_err load(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    return ctx == NULL ? CELLAR_E_IO : cellar_load_value(l, ctx, strlen(ctx));
}

/* Load a key; value NULL: the loader fails. */
static cellar_err side_load(const side *s, const char *key, char *value)
{
    cellar_result out = cellar_result_default();
    const cellar_err err = cellar_get_or_load(s->users, key, strlen(key), NULL, load, value, &out);
    cellar_result_free(&out);
    return err;
}

/* Wait until the server has none of the keys that hold a lease. */
static bool no_lease(void)
{
    for (int i = 0; i < WAIT_MS; i += 2) {
        const long long n =
            engine_number(engine_ask(&server, "EXISTS app:users:k ~app:lease:users:k"));
        if (n == 0 && side_stats(&a).journal_keys == 0) { return true; }
        engine_pause_ms(2);
    }
    return false;
}

static cellar_remote_namespace_config way(int raw)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    o.values = raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE;
    return o;
}

T_CASE(lease_without_an_answer_is_released)
{
    char value[] = "v";
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = way(raw);
        cellar_remote_config ro = side_patient();
        ro.io_ms = 50;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, &o);
        side_fence(&a);
        T_CHECK(engine_ask(&server, "CLIENT PAUSE 60000 WRITE") != NULL);
        T_EQ_I64(side_load(&a, "k", value), CELLAR_OK);
        T_EQ_U64(side_stats(&a).journal_keys, 1);
        T_CHECK(engine_ask(&server, "CLIENT UNPAUSE") != NULL);
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_taken, 0);
        side_close(&a);
        engine_stop(&server);
    }
}

static cellar_err load_one(cellar_load *l, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)count;
    return loader_value(l, 0, ctx, strlen(ctx));
}

T_CASE(lease_of_many_keys_without_an_answer_is_released)
{
    char value[] = "v";
    cellar_remote_config ro = side_patient();
    ro.io_ms = 50;
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, NULL);
    side_fence(&a);
    T_CHECK(engine_ask(&server, "CLIENT PAUSE 60000 WRITE") != NULL);
    cellar_result out = cellar_result_default();
    cellar_load_item it = { "k", 1, &out, CELLAR_OK, 0 };
    T_EQ_I64(cellar_get_or_load_many(a.users, &it, 1, NULL, load_one, value), CELLAR_OK);
    T_EQ_I64(it.status, CELLAR_OK);
    cellar_result_free(&out);
    T_EQ_U64(side_stats(&a).journal_keys, 1);
    T_CHECK(engine_ask(&server, "CLIENT UNPAUSE") != NULL);
    T_CHECK(no_lease());
}

/* The server gives the lease; its reply and the connection are lost. */
T_CASE(lease_behind_a_lost_reply_is_released)
{
    char value[] = "v";
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = way(raw);
        byte_proxy p;
        T_REQUIRE(engine_start(&server, NULL));
        byte_proxy_open(&p, server.dir, server.socket);
        side_open(&a, p.path, NULL, &o);
        side_fence(&a);
        atomic_store(&p.line[0].way[1].left, raw ? 11 : 6); /* the reply of the get, and 1 byte */
        T_EQ_I64(side_load(&a, "k", value), CELLAR_OK);
        T_CHECK(no_lease());
        side_close(&a);
        byte_proxy_close(&p);
        engine_stop(&server);
    }
}

/* The loader fails while the server is away. */
static cellar_err load_beside_a_cut(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)l, (void)key, (void)key_len, (void)ctx;
    T_CHECK(engine_cut(&server, "normal") > 0);
    for (int i = 0; i < WAIT_MS && side_stats(&a).gaps == 0; i++) { engine_pause_ms(1); }
    return CELLAR_E_IO;
}

T_CASE(lease_of_a_failed_load_is_released_behind_a_gap)
{
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = way(raw);
        cellar_result out = cellar_result_default();
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, &o);
        side_fence(&a);
        T_CHECK(cellar_get_or_load(a.users, "k", 1, NULL, load_beside_a_cut, NULL, &out) < 0);
        cellar_result_free(&out);
        T_CHECK(no_lease());
        side_close(&a);
        engine_stop(&server);
    }
}

/* The refresh does not wait for its own lease. */
T_CASE(refresh_of_a_stale_value_has_one_lease)
{
    char value[] = "new";
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1, .stale_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, NULL);
    T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
    while (!side_has(&a, "k", NULL)) { engine_pause_ms(1); }
    T_EQ_I64(side_load(&a, "k", value), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "new"));
    T_EQ_U64(side_stats(&a).leases_taken, 1);
}

/* Acquire a lease of the host for `hold_ms`, and end no load with it. */
static void lease_unused(const side *s, int64_t hold_ms)
{
    cellar_lease lease;
    cellar_err err = CELLAR_PENDING;
    cellar_result r = cellar_result_default();
    const cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = hold_ms };
    for (int i = 0; i < WAIT_MS && err == CELLAR_PENDING; i++) {
        err = cellar_lease_acquire(s->users, "k", 1, &o, NULL, &lease, &r);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    T_EQ_I64(err, CELLAR_LEASED);
}

T_CASE(lease_of_a_host_that_nothing_fills_is_released)
{
    for (int drop = 0; drop < 2; drop++) {
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, NULL);
        side_fence(&a);
        lease_unused(&a, drop != 0 ? 60000 : 100);
        if (drop != 0) { T_EQ_I64(cellar_namespace_drop(a.store, "users"), CELLAR_OK); }
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_held, 0);
        side_close(&a);
        engine_stop(&server);
    }
}

T_CASE(empty_value_of_raw_is_stored)
{
    char value[] = "";
    const cellar_remote_namespace_config o = way(1);
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, &o);
    side_fence(&a);
    T_EQ_I64(side_load(&a, "k", value), CELLAR_OK);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:lease:users:k")), 0);
}

T_MAIN("cellar_remote_release")
