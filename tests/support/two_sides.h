/* SPDX-License-Identifier: MIT
 *
 * two_sides: two stores on one server, which stand for two processes. */
#ifndef CELLAR_TESTS_TWO_SIDES_H
#define CELLAR_TESTS_TWO_SIDES_H

#include "tests/support/shared_side.h"

static engine server;
static side a, b;

T_INLINE void both_fence(void)
{
    side_fence(&a); /* the generation exists: no end of all entries follows */
    side_fence(&b);
}

T_INLINE void both_open_with(const cellar_remote_config *ro,
                             const cellar_remote_namespace_config *o)
{
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, ro, o);
    side_open(&b, server.socket, ro, o);
    both_fence();
}

T_INLINE void both_open(const cellar_remote_namespace_config *o) { both_open_with(NULL, o); }

T_INLINE void both_close(void)
{
    side_close(&a);
    side_close(&b);
    engine_stop(&server);
}

#endif
