/* SPDX-License-Identifier: MIT
 *
 * ticker: see ticker.h. */
#include "work/ticker.h"

#include "base/clock.h"
#include "base/num.h"

BASE_SIZE_BEGIN

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
        t->fire(t->pool.ctx, &wait_ms);
        const int64_t most_ms = base_pool_mend(&t->pool) ? WORK_MEND_MS : WORK_LOOK_MS;
        const int64_t sleep_ms = BASE_MIN(wait_ms, most_ms);
        if (sleep_ms > 0) {
            (void)sync_wait(&t->bell, bell, base_now_ns() + (uint64_t)sleep_ms * 1000000u);
        }
    }
}

CELLAR_PRIVATE const char *work_ticker_start(work_ticker *t, const char *name)
{
    if (t->no_threads) { return NULL; }
    base_pool_room(&t->pool);
    if (t->pool.worker == NULL) { return "no memory for the workers"; }
    const bool started = base_thread_start(&t->thread, work_ticker_main, t, name,
                                           t->pool.stack_bytes) == 0;
    return started ? NULL : "no thread: the system refused one";
}

CELLAR_PRIVATE cellar_err work_ticker_step(work_ticker *t, uint64_t budget_us, int64_t *wait_ms)
{
    const uint64_t since_ns = base_now_ns();
    int64_t next_ms;
    bool left = false;
    do {
        t->fire(t->pool.ctx, &next_ms);
        for (base_job *j; t->no_threads && !left && (j = base_pool_help(&t->pool)) != NULL;) {
            t->pool.run(t->pool.ctx, j);
            left = base_now_ns() - since_ns >= budget_us * 1000;
        }
    } while (t->no_threads && !left && next_ms == 0);
    t->fire(t->pool.ctx, &next_ms); /* a job may have armed a timer */
    left = next_ms == 0 || (t->no_threads && base_pool_mend(&t->pool));
    *wait_ms = left ? 0 : next_ms;
    return left ? CELLAR_PENDING : CELLAR_OK;
}

CELLAR_PRIVATE void work_ticker_end(work_ticker *t)
{
    base_store_rel(&t->stop, 1u);
    work_ticker_ring(t);
    if (!t->no_threads) { base_thread_join(&t->thread); }
}

BASE_SIZE_END
