/* SPDX-License-Identifier: MIT
 *
 * Aim:    a lease that the server gave to a caller that does not know it delays no other process.
 * Method: the server holds writes, or replies are cut, while a load asks for its lease. The lease
 *         ends by itself 31 s later: none of the tests waits so long. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { WAIT_MS = 10000 };

static engine server;
static side a;

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

/* The load is one of a key, of a RAW key, or a bulk load. */
T_CASE(lease_without_an_answer_is_released)
{
    for (int i = 0; i < 3; i++) {
        const cellar_remote_namespace_config o = way(i == 1);
        cellar_remote_config ro = side_patient();
        ro.io_ms = 50;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, &o);
        side_fence(&a);
        T_CHECK(engine_ask(&server, "CLIENT PAUSE 60000 WRITE") != NULL);
        T_EQ_I64((i == 2 ? side_load_many : side_load)(&a, "k", "v", 0), CELLAR_OK);
        T_EQ_U64(side_stats(&a).journal_keys, 1);
        T_CHECK(engine_ask(&server, "CLIENT UNPAUSE") != NULL);
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_taken, 0);
        left_close();
    }
}

/* The server gives the lease; its reply and the connection are lost. */
T_CASE(lease_behind_a_lost_reply_is_released)
{
    for (int raw = 0; raw < 2; raw++) {
        static byte_proxy p;
        const cellar_remote_namespace_config o = way(raw);
        T_REQUIRE(engine_start(&server, NULL));
        byte_proxy_open(&p, server.dir, server.socket);
        side_open(&a, p.path, NULL, &o);
        side_fence(&a);
        atomic_store(&p.line[0].way[1].left, raw ? 11 : 6); /* the reply of the get, and 1 byte */
        T_EQ_I64(side_load(&a, "k", "v", 0), CELLAR_OK);
        T_CHECK(no_lease());
        left_close();
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
        left_close();
    }
}

/* The refresh does not wait for its own lease. */
T_CASE(refresh_of_a_stale_value_has_one_lease)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1, .stale_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, NULL);
    T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
    while (!side_has(&a, "k", NULL)) { engine_pause_ms(1); }
    T_EQ_I64(side_load(&a, "k", "new", 0), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "new"));
    T_EQ_U64(side_stats(&a).leases_taken, 1);
}

T_CASE(lease_of_a_host_that_nothing_fills_is_released)
{
    for (int drop = 0; drop < 2; drop++) {
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, NULL);
        side_fence(&a);
        const cellar_load_opts o = { .struct_size = sizeof o,
                                     .hard_timeout_ms = drop != 0 ? 60000 : 100 };
        cellar_lease lease;
        T_EQ_I64(side_acquire(&a, "k", &o, &lease, NULL), CELLAR_LEASED);
        if (drop != 0) { T_EQ_I64(cellar_namespace_drop(a.store, "users"), CELLAR_OK); }
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_held, 0);
        left_close();
    }
}

T_CASE(empty_value_of_raw_is_stored)
{
    const cellar_remote_namespace_config o = way(1);
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, &o);
    side_fence(&a);
    T_EQ_I64(side_load(&a, "k", "", 0), CELLAR_OK);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:lease:users:k")), 0);
}

T_MAIN("cellar_remote_release")
