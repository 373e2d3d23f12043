/* SPDX-License-Identifier: MIT
 *
 * ticker: the thread that fires the timers of an object, and its ticks; both clocks.
 *
 * WALK       thread: fire -> sleep until the next timer, at most WORK_LOOK_MS
 *            no thread: work_tick fires and runs the jobs of the object
 * INVARIANTS The thread reads the bell before `stop` and before it fires: a change that rings after
 *            it changed something is seen. */
#ifndef WORK_TICKER_H
#define WORK_TICKER_H

#include "base/num.h"
#include "base/service.h"
#include "base/sync.h"
#include "cellar.h"

#define WORK_LOOK_MS 500 /* longest sleep: bounds when a step of a clock is seen */
#define WORK_MEND_MS 20  /* the same while jobs wait for a worker */
#define WORK_STEP_MS 1000 /* a larger move of the wall clock is a step */

/* A reading of both clocks. */
typedef struct work_time {
    int64_t mono_ms, wall_ms;
} work_time;

/* Read both clocks. They may be functions of the host: hold no lock. */
CELLAR_PRIVATE work_time work_now(const base_object *o);

/* Change a futex word, and wake `count` threads that sleep on it. */
BASE_INLINE void work_wake(_Atomic uint32_t *word, int32_t count)
{
    (void)base_add_ar(word, 1u);
    sync_wake(word, count);
}

/* Return the bound of the pause before the attempt after `attempt` ones. */
BASE_INLINE int64_t work_backoff_ms(int64_t base_ms, int64_t cap_ms, uint32_t attempt)
{
    for (; attempt > 1 && base_ms < cap_ms; attempt--) { base_ms = base_add_sat(base_ms, base_ms); }
    return BASE_MIN(base_ms, cap_ms);
}

typedef struct work_ticks { /* functions of an object; no lock held */
    /* Handle what is due. *next_ms: time until the next timer, BASE_NEVER_MS without one; 0: more
     * is due now. */
    void (*fire)(void *object, int64_t *next_ms);
    int64_t (*look)(void *object); /* the same, and mend the workers. Return ms to sleep */
    bool (*run)(void *object);     /* run one job on this thread. False: none is ready */
    bool (*ready)(void *object);   /* return whether one is */
} work_ticks;

typedef struct work_ticker {
    void *object;
    const work_ticks *ticks;
    base_thread thread;
    bool started;          /* false with no_threads */
    _Atomic uint32_t bell; /* futex word; + 1 wakes the thread */
    _Atomic uint32_t stop; /* 1: the thread ends */
} work_ticker;

typedef struct work_ticked {
    base_object obj;
    work_ticker ticker;
} work_ticked;

/* Start the thread. False: the system refused it. */
CELLAR_PRIVATE bool work_ticker_start(work_ticker *t, const char *name);
/* Let the thread look again. */
BASE_INLINE void work_ticker_ring(work_ticker *t) { work_wake(&t->bell, 1); }
/* Fire, and with no_threads run jobs for `budget_us`, at least one: the tick of an object that
 * begins as a work_ticked. *wait_ms: time until the next step is due. Return PENDING if more is due
 * now, else OK. */
CELLAR_PRIVATE cellar_err work_tick(void *object, uint64_t budget_us, int64_t *wait_ms);
#define WORK_TICKS(type) \
    _Static_assert(offsetof(type, ticker) == offsetof(work_ticked, ticker), "see work_tick")
/* End and join the thread. */
CELLAR_PRIVATE void work_ticker_stop(work_ticker *t);

#endif
