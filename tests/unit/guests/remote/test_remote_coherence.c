/* SPDX-License-Identifier: MIT
 *
 * Aim:    no memory keeps an old value, whatever the order of replies, invalidations, own writes
 *         and lost connections.
 * Method: three processes with pauses between a reply and its store; each round ends with a fence,
 *         then each key in memory is compared with the server. The mutants of this test
 *         (test_remote_coherence_*.c) run the same and must keep old values. T_SCALE=n: n times the
 *         rounds. */
#include "tests/support/coherence_run.h"

static uint32_t scale(void)
{
    const char *const text = getenv("T_SCALE");
    return text != NULL && atol(text) > 0 ? (uint32_t)atol(text) : 1;
}

T_CASE(race_of_processes_leaves_no_old_value)
{
    static engine server;
    run *r = run_all(&server, 210 * scale(), 800, false);
    T_REQUIRE(r != NULL);
    T_EQ_U64(r->stale, 0);
    T_CHECK(r->checked > 10000);
}

T_CASE(lost_connections_leave_no_old_value)
{
    static engine server;
    run *r = run_all(&server, 60 * scale(), 300, true);
    T_REQUIRE(r != NULL);
    T_EQ_U64(r->stale, 0);
    T_CHECK(r->cut >= RUN_CUTS);
}

T_MAIN("cellar_remote_coherence")
