/* SPDX-License-Identifier: MIT
 *
 * asleep: whether a thread of this process sleeps, for tests that act when others wait. */
#ifndef CELLAR_TESTS_ASLEEP_H
#define CELLAR_TESTS_ASLEEP_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int asleep_self(void) { return (int)syscall(SYS_gettid); }

/* tid: of asleep_self() in that thread; 0: not yet known, so awake. */
static inline bool asleep(int tid)
{
    char path[64], text[64] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *f = tid != 0 ? fopen(path, "r") : NULL;
    if (f == NULL) { return false; }
    const bool read = fgets(text, sizeof text, f) != NULL;
    (void)fclose(f);
    return read && strstr(text, ") S") != NULL;
}

#endif
