/* SPDX-License-Identifier: MIT
 *
 * ticker: the thread that fires the timers of a part, and the pool that runs what is due.
 *
 * WALK       thread: fire -> sleep until the next timer, at most WORK_LOOK_MS
 *            no thread: work_ticker_step fires and runs the jobs of the pool
 * INVARIANTS The thread reads the bell before `stop` and before it fires: a change that rings after
 *            it changed something is seen. */
#ifndef WORK_TICKER_H
#define WORK_TICKER_H

#include "base/pool.h"
#include "cellar.h"

#define WORK_LOOK_MS 500 /* longest sleep: bounds when a step of a clock is seen */
#define WORK_MEND_MS 20  /* the same while jobs wait for a worker */

typedef struct work_ticker {
    base_pool pool;
    /* Makes what is due jobs. *next_ms: time until the next timer, BASE_NEVER_MS without one; 0:
     * more is due now. ctx is that of the pool. No lock held. */
    void (*fire)(void *ctx, int64_t *next_ms);
    bool no_threads;       /* the program calls the step instead */
    base_thread thread;    /* not started with no_threads */
    _Atomic uint32_t bell; /* futex word; + 1 wakes the thread */
    _Atomic uint32_t stop; /* 1: the thread ends */
} work_ticker;

/* Make room for the workers and start the thread. Return NULL, or why it failed; base_pool_join
 * frees the room. */
CELLAR_PRIVATE const char *work_ticker_start(work_ticker *t, const char *name);
/* Let the thread look again. */
CELLAR_PRIVATE void work_ticker_ring(work_ticker *t);
/* Fire, and with no_threads run jobs for `budget_us`, at least one. *wait_ms, if not NULL: time
 * until the next step is due. Return PENDING if more is due now, else OK. */
CELLAR_PRIVATE cellar_err work_ticker_step(work_ticker *t, uint64_t budget_us, int64_t *wait_ms);
/* End the thread and join it. Not in a forked child. */
CELLAR_PRIVATE void work_ticker_end(work_ticker *t);

#endif
