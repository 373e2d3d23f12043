/* SPDX-License-Identifier: MIT
 *
 * load_callers: threads that load a key at the same time, each with its result and its
 * duration. */
#ifndef SUPPORT_LOAD_CALLERS_H
#define SUPPORT_LOAD_CALLERS_H

#include "tests/support/load_kit.h"

static inline void wait_for(_Atomic int *what, int value)
{
    while (atomic_load(what) < value) { kit_nap(); }
}

typedef struct caller {
    pthread_t thread;
    cellar *c;
    source *s;
    const cellar_load_opts *o;
    const char *key;
    cellar_err err;
    cellar_result r;
    char text[64];
    double took_ms;
} caller;

static inline double clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline void *call_main(void *arg)
{
    caller *k = arg;
    const double from = clock_ms();
    k->err = kit_load(k->c, k->key, k->o, k->s, k->text, &k->r);
    k->took_ms = clock_ms() - from;
    return NULL;
}

static inline void start(caller *k, cellar *c, source *s, const cellar_load_opts *o,
                         const char *key)
{
    pthread_attr_t attr;
    *k = (caller){ .c = c, .s = s, .o = o, .key = key, .err = CELLAR_E_INVAL };
    T_REQUIRE(pthread_attr_init(&attr) == 0);
    T_REQUIRE(pthread_attr_setstacksize(&attr, (size_t)256 << 10) == 0);
    T_REQUIRE(pthread_create(&k->thread, &attr, call_main, k) == 0);
    (void)pthread_attr_destroy(&attr);
}

static inline void join(caller *k) { T_REQUIRE(pthread_join(k->thread, NULL) == 0); }

static inline cellar_stats figures(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    return st;
}

/* Wait until n calls have joined a load. */
static inline void wait_for_waiters(cellar *c, uint64_t n)
{
    while (figures(c).load_waiters < n) { kit_nap(); }
}

#endif
