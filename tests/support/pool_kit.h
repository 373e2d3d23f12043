/* SPDX-License-Identifier: MIT
 *
 * pool_kit: a pool that the test drives by ticks, on two clocks that are variables. */
#ifndef CELLAR_TESTS_POOL_KIT_H
#define CELLAR_TESTS_POOL_KIT_H

#include "cellar_task.h"
#include "tests/support/t.h"
#include "tests/support/two_clocks.h"

static cellar_pool *p;
static cellar_pool_config config;
static cellar_host_config host;

T_INLINE void defaults(void)
{
    host = cellar_host_config_default();
    config = cellar_pool_config_default();
    host.clock = read_mono;
    host.no_threads = 1;
    config.host = &host;
    config.close_timeout_ms = 1; /* of the clock of the system */
    config.grace_ms = 1;
    config.wall_clock = read_wall;
    mono_ms = 1000000;
    wall_ms = INT64_C(1700000000000);
}

T_INLINE void open_it(void) { T_REQUIRE(cellar_pool_open(&config, &p) == CELLAR_OK); }

T_INLINE cellar_pool_stats figures(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.requeued,
             st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

T_INLINE void close_it(void)
{
    (void)figures();
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
    p = NULL;
}

T_INLINE int64_t tick(void)
{
    int64_t wait_ms;
    while (cellar_tick(p, 1000, &wait_ms) == CELLAR_PENDING) { T_EQ_I64(wait_ms, 0); }
    return wait_ms;
}

T_INLINE int64_t pass(int64_t ms)
{
    mono_ms += ms;
    wall_ms += ms;
    return tick();
}

#endif
