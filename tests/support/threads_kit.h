/* SPDX-License-Identifier: MIT
 *
 * threads_kit: a pool with threads on the clock of the system, and functions that wait for the test
 * by semaphores: no sleep decides anything. */
#ifndef SUPPORT_THREADS_KIT_H
#define SUPPORT_THREADS_KIT_H

#include "cellar_task.h"
#include "tests/support/held_kit.h"
#include "tests/support/task_calls.h"

static cellar_pool *p;
static cellar_pool_config config;
static atomic_uint runs, freed;

/* Begin with the defaults and so many workers. */
T_INLINE void open_with(uint32_t workers)
{
    config = cellar_pool_config_default();
    config.workers = workers;
    config.close_timeout_ms = 60000;
    config.block_timeout_ms = 3600000;
    init_gates();
    atomic_store(&runs, 0);
    atomic_store(&freed, 0);
}

T_INLINE void open_it(void) { T_REQUIRE(cellar_pool_open(&config, &p) == CELLAR_OK); }
T_INLINE void open_pool(uint32_t workers) { open_with(workers), open_it(); }
T_INLINE void close_it(void) { T_EQ_I64(cellar_pool_close(p), CELLAR_OK); }

/* Figures of a name; NULL: of the pool. */
T_INLINE cellar_pool_stats of_name(const char *name)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, name, &st), CELLAR_OK);
    T_EQ_U64(st.submitted + st.requeued + st.restored,
             st.ok + st.failed + st.cancelled + st.expired + st.live);
    return st;
}

T_INLINE cellar_pool_stats figures(void) { return of_name(NULL); }

T_INLINE void name_it(const char *name, cellar_task_fn fn, const cellar_task_opts *o)
{
    T_REQUIRE(cellar_task_register(p, name, fn, NULL, o) == CELLAR_OK);
}

#define WORKER(fn) T_WITHIN(fn, open_pool(1), close_it())

T_INLINE cellar_task_id submit(const char *name)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(cellar_task_submit(p, name, NULL, 0, NULL, &id), CELLAR_OK);
    return id;
}

T_INLINE cellar_verdict quick(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    atomic_fetch_add(&runs, 1);
    sem_post(&began);
    return cellar_verdict_ok();
}

T_INLINE cellar_verdict held(const cellar_task *t, void *ctx)
{
    const cellar_verdict v = quick(t, ctx);
    wait_for(&go_on);
    return v;
}

#endif
