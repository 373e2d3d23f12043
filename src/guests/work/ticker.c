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

static void work_ticker_main(void *arg)
{
    work_ticker *t = arg;
    for (;;) {
        const uint32_t bell = base_load_acq(&t->bell);
        if (base_load_acq(&t->stop) != 0) { return; }
        const int64_t sleep_ms = t->ticks->look(t->object);
        if (sleep_ms > 0) { (void)sync_wait(&t->bell, bell, base_until_ns(sleep_ms)); }
    }
}

CELLAR_PRIVATE bool work_ticker_start(work_ticker *t, const char *name)
{
    const base_object *o = t->object;
    t->started = base_thread_start(&t->thread, work_ticker_main, t, name, o->stack_bytes) == 0;
    return t->started;
}

CELLAR_PRIVATE cellar_err work_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    const work_ticks *const ticks = ((work_ticked *)object)->ticker.ticks;
    const bool no_threads = ((work_ticked *)object)->obj.no_threads;
    const uint64_t since_ns = base_now_ns();
    int64_t next_ms;
    bool left = false;
    do {
        ticks->fire(object, &next_ms);
        while (no_threads && !left && ticks->run(object)) {
            left = base_now_ns() - since_ns >= budget_us * 1000;
        }
    } while (no_threads && !left && next_ms == 0);
    ticks->fire(object, &next_ms); /* a job may have armed a timer */
    left = left || next_ms == 0 || (no_threads && ticks->ready(object));
    *wait_ms = left ? 0 : next_ms;
    return left ? CELLAR_PENDING : CELLAR_OK;
}

CELLAR_PRIVATE void work_ticker_stop(work_ticker *t)
{
    base_store_rel(&t->stop, 1u);
    work_ticker_ring(t);
    if (t->started) { base_thread_join(&t->thread); }
}

BASE_SIZE_END
