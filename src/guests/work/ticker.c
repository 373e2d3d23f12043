/* SPDX-License-Identifier: MIT
 *
 * ticker: see ticker.h. */
#include "work/ticker.h"

#include "base/clock.h"
#include "base/num.h"

BASE_SIZE_BEGIN

#define WORK_TRIES 16 /* of a reading of both clocks */

CELLAR_PRIVATE work_time work_now(const base_object *o)
{
    int64_t wall_ms, mono_ms = base_now_ms(&o->clock), before_ms;
    int tries = 0;
    do { /* a thread that stops between the readings must not see a step */
        before_ms = mono_ms;
        wall_ms = o->wall_clock != NULL ? o->wall_clock(o->clock.ctx) : base_wall_ms();
        mono_ms = base_now_ms(&o->clock);
    } while (mono_ms - before_ms > WORK_STEP_MS / 4 && ++tries < WORK_TRIES);
    return (work_time){ BASE_MAX(mono_ms, 0), BASE_MAX(wall_ms, 0) };
}

/* ---- the thread ---- */

CELLAR_PRIVATE void work_ticker_ring(work_ticker *t)
{
    (void)base_add_ar(&t->bell, 1u);
    sync_wake(&t->bell, 1);
}

static void work_ticker_main(void *arg)
{
    work_ticker *t = arg;
    for (;;) {
        const uint32_t bell = base_load_acq(&t->bell);
        if (base_load_acq(&t->stop) != 0) { return; }
        int64_t wait_ms;
        t->fire(t->object, &wait_ms);
        const int64_t most_ms = base_pool_mend(&t->pool) ? WORK_MEND_MS : WORK_LOOK_MS;
        const int64_t sleep_ms = BASE_MIN(wait_ms, most_ms);
        if (sleep_ms > 0) {
            (void)sync_wait(&t->bell, bell, base_now_ns() + (uint64_t)sleep_ms * 1000000u);
        }
    }
}

CELLAR_PRIVATE const char *work_ticker_init(work_ticker *t, uint32_t workers)
{
    base_object *o = t->object;
    t->pool.ctx = o;
    t->pool.account = &o->account;
    t->pool.max_jobs = UINT32_MAX;
    t->pool.stack_bytes = o->stack_bytes;
    t->pool.max_workers = o->no_threads ? 0 : workers;
    return base_object_forks(o, base_object_forked) ? NULL : "no memory for the fork handlers";
}

CELLAR_PRIVATE const char *work_ticker_start(work_ticker *t, const char *name)
{
    if (t->object->no_threads) { return NULL; }
    base_pool_room(&t->pool);
    if (t->pool.worker == NULL) { return "no memory for the workers"; }
    t->started = base_thread_start(&t->thread, work_ticker_main, t, name,
                                   t->pool.stack_bytes) == 0;
    return t->started ? NULL : "no thread: the system refused one";
}

CELLAR_PRIVATE cellar_err work_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    work_ticker *const t = &((work_ticked *)object)->ticker;
    const bool no_threads = t->object->no_threads;
    const uint64_t since_ns = base_now_ns();
    int64_t next_ms;
    bool left = false;
    do {
        t->fire(t->object, &next_ms);
        for (base_job *j; no_threads && !left && (j = base_pool_help(&t->pool)) != NULL;) {
            t->pool.run(t->object, j);
            left = base_now_ns() - since_ns >= budget_us * 1000;
        }
    } while (no_threads && !left && next_ms == 0);
    t->fire(t->object, &next_ms); /* a job may have armed a timer */
    left = next_ms == 0 || (no_threads && base_pool_mend(&t->pool));
    *wait_ms = left ? 0 : next_ms;
    return left ? CELLAR_PENDING : CELLAR_OK;
}

CELLAR_PRIVATE void work_ticker_stop(work_ticker *t)
{
    base_pool_stop(&t->pool, true);
    if (t->started) {
        base_store_rel(&t->stop, 1u);
        work_ticker_ring(t);
        base_thread_join(&t->thread);
    }
}

CELLAR_PRIVATE base_job *work_ticker_end(work_ticker *t)
{
    work_ticker_stop(t);
    base_job *left = base_pool_join(&t->pool);
    base_fork_unregister(&t->object->fork);
    return left;
}

BASE_SIZE_END
