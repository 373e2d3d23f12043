/* SPDX-License-Identifier: MIT
 *
 * zones: time zones of the tree, so that a newer tzdata changes nothing. */
#ifndef SUPPORT_ZONES_H
#define SUPPORT_ZONES_H

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/t.h"

T_INLINE void zones_of_the_tree(void)
{
    static char dir[PATH_MAX + 40];
    T_REQUIRE(getcwd(dir, PATH_MAX) != NULL);
    strcat(dir, "/tests/data/zoneinfo");
    T_REQUIRE(setenv("TZDIR", dir, 1) == 0);
}

#endif
