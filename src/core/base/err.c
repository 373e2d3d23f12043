/* SPDX-License-Identifier: MIT
 *
 * err: end the process when an assertion fails.
 *
 * PICTURE    BASE_REQUIRE / BASE_ASSERT -> base_die -> [simulation: the run fails with its seed]
 *                                                   -> [debug: one line on stderr] -> abort
 * LIMITS     The release library never writes to stderr of the host. It stores the failed
 *            condition in base_died, which a debugger or a core file shows.
 * SEE ALSO   include/cellar.h: error codes and their texts. log.c: log lines. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#if BASE_SIM
#include "base/sim_hooks.h"

CELLAR_PRIVATE void base_die(const char *what, const char *file, int line)
{
    base_sim_fail("assertion failed: %s (%s:%d)", what, file, line);
    abort();
}

#else

/* Written once, before abort. Volatile: the compiler must keep the stores. */
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
