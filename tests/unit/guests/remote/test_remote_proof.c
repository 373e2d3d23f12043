/* SPDX-License-Identifier: MIT
 *
 * Aim:    memory answers with no value that another client has replaced longer than proof_ms ago,
 *         when the server or one connection stands still. A process that stands still itself:
 *         test_remote_attack, test_remote_attack_late.
 * Method: a side behind a proxy that freezes what the server sends on one connection; another client
 *         sets the key meanwhile. The same with TRUST must answer with the old value. */
#include "tests/support/two_sides.h"

enum { PROOF_MS = 200 };

static void proof_open(cellar_remote_offline offline)
{
    const cellar_remote_config ro = { .struct_size = sizeof ro, .proof_ms = PROOF_MS };
    const cellar_remote_namespace_config o = { .struct_size = sizeof o, .offline = offline,
                                               .values = CELLAR_REMOTE_RAW };
    T_REQUIRE(engine_start(&server, NULL));
    byte_proxy_open(&proxy, server.dir, server.socket);
    side_open(&a, proxy.path, &ro, &o);
    bool has = false;
    for (int i = 0; i < 1000 && !has; i++) { /* the proof may end between */
        T_CHECK(engine_ask(&server, "SET app:users:k 1") != NULL);
        (void)cellar_remote_fence(a.r, 10000);
        has = side_has(&a, "k", "1");
    }
    T_CHECK(has);
}

/* Freeze what the server sends on connection `line` and on all later ones, or not. */
static void proof_freeze(uint32_t line, bool on)
{
    atomic_store(&proxy.fresh.way[1].frozen, on);
    atomic_store(&proxy.line[line].way[1].frozen, on);
    for (uint32_t i = 2; i < BYTE_PROXY_LINES; i++) {
        atomic_store(&proxy.line[i].way[1].frozen, on);
    }
}

/* One of both connections brings the invalidations. */
T_CASE(frozen_line_answers_nothing_old)
{
    bool trusted_is_old = false;
    for (uint32_t i = 0; i < 4 || (i < 20 && !trusted_is_old); i++) {
        const bool trusts = i >= 2;
        uint64_t late = 0;
        proof_open(trusts ? CELLAR_REMOTE_TRUST : CELLAR_REMOTE_MISS);
        proof_freeze(i % 2, true);
        T_CHECK(engine_ask(&server, "SET app:users:k 2") != NULL);
        const int64_t set_ms = engine_now_ms();
        while (engine_now_ms() < set_ms + 4 * PROOF_MS) {
            const bool counts = engine_now_ms() > set_ms + PROOF_MS; /* before the get */
            late += side_has(&a, "k", "1") && counts;
        }
        T_CHECK(trusts || late == 0);
        trusted_is_old = trusted_is_old || (trusts && late > 0);
        proof_freeze(i % 2, false);
        left_close();
    }
    T_CHECK(trusted_is_old);
}

T_CASE(frozen_server_ends_the_proof)
{
    proof_open(CELLAR_REMOTE_MISS);
    engine_signal(&server, SIGSTOP);
    engine_pause_ms(2 * PROOF_MS);
    for (int i = 0; i < 100; i++) { T_CHECK(side_has(&a, "k", NULL)); }
    engine_signal(&server, SIGCONT);
    T_CHECK(side_proven(&a));
    bool has = false;
    for (int i = 0; i < 20000 && !has; i++) {
        engine_pause_ms(1);
        has = side_has(&a, "k", "1");
    }
    T_CHECK(has);
}

T_MAIN("cellar_remote_proof")
