/* SPDX-License-Identifier: MIT
 *
 * child: a function of the test in a forked child. */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <sys/wait.h>

#include "tests/support/t.h"

/* Run `fn` in the child that fork made, and return its exit status; 99: it was killed. */
T_INLINE int in_child(pid_t child, int (*fn)(void))
{
    int status = -1;
    T_REQUIRE(child >= 0);
    if (child == 0) { _exit(fn()); }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) { }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

#endif
