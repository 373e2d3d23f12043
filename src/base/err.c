/* SPDX-License-Identifier: MIT
 *
 * err: what happens when a fact that must hold does not.
 *
 * WALK       BASE_REQUIRE / BASE_ASSERT -> base_die -> [simulation: the run fails with its seed]
 *                                                   -> [debug: one line on stderr] -> abort
 * LIMITS     the release library never writes to the host's stderr: the sentence is left in
 *            base_died, which a debugger or a core file shows.
 * NOT HERE   error codes and their texts (include/cellar.h), log lines (log.c). */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#if BASE_SIM
#include "base/sim.h"

CELLAR_PRIVATE void base_die(const char *what, const char *file, int line)
{
    base_sim_fail("assertion failed: %s (%s:%d)", what, file, line);
    abort();
}

#else

/* Written once, just before abort; volatile so that the stores are not dropped. */
static struct base_death {
    const char *volatile what;
    const char *volatile file;
    volatile int line;
} base_died;

CELLAR_PRIVATE void base_die(const char *what, const char *file, int line)
{
    base_died.what = what;
    base_died.file = file;
    base_died.line = line;
#if BASE_DEBUG
    fprintf(stderr, "cellar: assertion failed: %s (%s:%d)\n", what, file, line);
    fflush(stderr);
#endif
    abort();
}

#endif
