/* SPDX-License-Identifier: MIT
 *
 * left: what a case opened and did not close is closed after it, the newest first.
 *
 * USE        An open of a kit calls left_add, its close left_drop. What a case leaves to this list is
 *            static, or on the heap. Any thread may open and close. */
#ifndef CELLAR_TESTS_LEFT_H
#define CELLAR_TESTS_LEFT_H

#include <pthread.h>

#include "tests/support/t.h"

static struct left {
    void *what;
    void (*close)(void *what);
} left_all[256];
static size_t left_count;
static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;

T_INLINE void left_add(void *what, void (*close)(void *what))
{
    T_REQUIRE(pthread_mutex_lock(&left_lock) == 0);
    const bool room = left_count < sizeof left_all / sizeof left_all[0];
    if (room) { left_all[left_count++] = (struct left){ what, close }; }
    (void)pthread_mutex_unlock(&left_lock);
    T_REQUIRE(room);
}

/* Take `what` off the list; NULL: the newest. Without it `close` is NULL. */
T_INLINE struct left left_take(const void *what)
{
    struct left l = { NULL, NULL };
    T_REQUIRE(pthread_mutex_lock(&left_lock) == 0);
    for (size_t i = left_count; i-- > 0;) {
        if (what != NULL && left_all[i].what != what) { continue; }
        l = left_all[i];
        memmove(&left_all[i], &left_all[i + 1], (left_count - i - 1) * sizeof left_all[0]);
        left_count--;
        break;
    }
    (void)pthread_mutex_unlock(&left_lock);
    return l;
}

T_INLINE void left_drop(const void *what) { (void)left_take(what); }

T_INLINE void left_close(void)
{
    for (struct left l = left_take(NULL); l.close != NULL; l = left_take(NULL)) { l.close(l.what); }
}
T_AFTER_EACH(left_close);

#endif
