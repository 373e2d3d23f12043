/* SPDX-License-Identifier: MIT
 *
 * two_clocks: a monotonic clock and a wall clock that are variables, for host.clock and wall_clock. */
#ifndef CELLAR_TESTS_TWO_CLOCKS_H
#define CELLAR_TESTS_TWO_CLOCKS_H

#include "cellar_admin.h"
#include "tests/support/t.h"

static int64_t mono_ms, wall_ms;

T_INLINE int64_t read_mono(void *ctx) { (void)ctx; return mono_ms; }

T_INLINE int64_t read_wall(void *ctx) { (void)ctx; return wall_ms; }

/* host.log: drop each line. */
T_INLINE void hear_nothing(cellar_log_level level, const char *module, cellar_err code,
                           const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)text, (void)ctx;
}

#endif
