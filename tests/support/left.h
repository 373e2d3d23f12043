/* SPDX-License-Identifier: MIT
 *
 * left: what a case opened and did not close is closed after it, the newest first.
 *
 * USE        An open of a kit calls left_add, its close left_drop. What a case leaves to this list is
 *            static, or on the heap. Opens of one process happen in one thread. */
#ifndef CELLAR_TESTS_LEFT_H
#define CELLAR_TESTS_LEFT_H

#include "tests/support/t.h"

static struct left {
    void *what;
    void (*close)(void *what);
} left_all[256];
static size_t left_count;

T_INLINE void left_add(void *what, void (*close)(void *what))
{
    T_REQUIRE(left_count < sizeof left_all / sizeof left_all[0]);
    left_all[left_count++] = (struct left){ what, close };
}

T_INLINE void left_drop(const void *what)
{
    for (size_t i = left_count; i-- > 0;) {
        if (left_all[i].what != what) { continue; }
        memmove(&left_all[i], &left_all[i + 1], (left_count - i - 1) * sizeof left_all[0]);
        left_count--;
        return;
    }
}

T_INLINE void left_close(void)
{
    while (left_count > 0) {
        const struct left l = left_all[left_count - 1];
        left_drop(l.what);
        l.close(l.what);
    }
}
T_AFTER_EACH(left_close);

#endif
