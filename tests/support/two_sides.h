/* SPDX-License-Identifier: MIT
 *
 * two_sides: two stores on one server, which stand for two processes. */
#ifndef CELLAR_TESTS_TWO_SIDES_H
#define CELLAR_TESTS_TWO_SIDES_H

#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

static engine server;
static byte_proxy proxy; /* of both_open_far: its data connection is line 0 */
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

/* The same with `a` behind the proxy; ro: of `a`. */
T_INLINE void both_open_far(const cellar_remote_config *ro,
                            const cellar_remote_namespace_config *o)
{
    T_REQUIRE(engine_start(&server, NULL));
    for (int i = 0;; i++) { /* until the first attempt has its answers in time */
        T_REQUIRE(i < 20);
        byte_proxy_open(&proxy, server.dir, server.socket);
        side_open(&a, proxy.path, ro, o);
        if (atomic_load(&proxy.lines) == 2) { break; }
        side_close(&a);
        byte_proxy_close(&proxy);
    }
    side_open(&b, server.socket, NULL, o);
    both_fence();
}

/* A case with both sides in the default mode: T_CASE_ON(name, BOTH_SIDES). */
#define BOTH_SIDES(fn) T_WITHIN(fn, both_open(NULL), left_close())

#endif
