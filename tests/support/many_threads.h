/* SPDX-License-Identifier: MIT
 *
 * many_threads: threads of a test that run the same function. */
#ifndef SUPPORT_MANY_THREADS_H
#define SUPPORT_MANY_THREADS_H

#include <pthread.h>
#include <stdint.h>

#include "tests/support/t.h"

T_INLINE void start_threads(pthread_t *t, unsigned n, void *(*fn)(void *arg), void *arg)
{
    for (unsigned i = 0; i < n; i++) { T_REQUIRE(pthread_create(&t[i], NULL, fn, arg) == 0); }
}

/* The argument of each is its number, from `first` on. */
T_INLINE void start_numbered(pthread_t *t, unsigned n, void *(*fn)(void *arg), uintptr_t first)
{
    for (unsigned i = 0; i < n; i++) { start_threads(&t[i], 1, fn, (void *)(first + i)); }
}

T_INLINE void join_threads(pthread_t *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++) { T_REQUIRE(pthread_join(t[i], NULL) == 0); }
}

#endif
