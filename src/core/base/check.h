/* SPDX-License-Identifier: MIT
 *
 * check: assertions of two levels, and named places at which tests stop and kill.
 *
 *   BASE_REQUIRE(x)      Always on. A failure would corrupt memory or disk: ends the process.
 *   BASE_ASSERT(x)       BASE_DEBUG builds and all tests. No code in release.
 *   BASE_POINT("m.step") A step of a protocol: yield, stop or kill point of the simulation.
 *                        Elsewhere empty. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/port.h"

CELLAR_PRIVATE void base_die(const char *what, const char *file, int line)
    __attribute__((noreturn, cold));

#define BASE_REQUIRE(x) \
    (BASE_LIKELY(x) ? (void)0 : base_die(#x, __FILE__, __LINE__))
#if BASE_DEBUG
#define BASE_ASSERT(x) BASE_REQUIRE(x)
#else
#define BASE_ASSERT(x) ((void)sizeof(!(x)))
#endif

#if BASE_SIM
CELLAR_PRIVATE void base_sim_point(const char *name);
CELLAR_PRIVATE void base_sim_settle(void); /* write this fiber's waiting stores; no yield */
#define BASE_POINT(name) base_sim_point(name)
#else
#define BASE_POINT(name) ((void)0)
#define base_sim_settle() ((void)0)
#endif

#endif
