/* SPDX-License-Identifier: MIT
 *
 * pool: a queue of jobs and the threads that run them.
 *
 * PICTURE    push -> queue -> a worker, or the thread that helps while no worker runs
 * LOCKING    QUEUE for the queue and the array of workers, held alone. Jobs run without a lock.
 * COMPLETION The owner stops the pool, waits for the jobs that run, and joins.
 * LIMITS     max_jobs in the queue, max_workers threads. Jobs start workers one by one; workers
 *            stay until the join. The next push or mend replaces a worker that a job ended. */
#include "base/pool.h"

BASE_SIZE_BEGIN

SYNC_HOLDS(QUEUE) static base_job *base_pool_pop(base_pool *p)
{
    base_job *j = p->stopped ? NULL : p->first;
    if (j != NULL) {
        p->first = j->next;
        if (p->first == NULL) { p->last = NULL; }
        p->job_count--;
    }
    return j;
}

static void base_pool_main(void *arg)
{
    base_pool *p = arg;
    for (;;) {
        const uint32_t bell = base_load_acq(&p->bell);
        sync_take(QUEUE, &p->lock);
        const bool ends = p->stopped;
        base_job *j = base_pool_pop(p);
        sync_drop(QUEUE, &p->lock);
        if (j != NULL) {
            p->run(p->ctx, j);
        } else if (ends) {
            return;
        } else {
            (void)sync_wait(&p->bell, bell, UINT64_MAX);
        }
    }
}

/* Return the place of a worker that a job ended, else of one that was never started; NULL: all
 * run. */
SYNC_HOLDS(QUEUE) static base_thread *base_pool_place(base_pool *p)
{
    if (p->worker == NULL || p->starting || p->stopped) { return NULL; }
    for (uint32_t i = 0; i < p->worker_count; i++) {
        if (base_load_acq(&p->worker[i].running) == 0) { return &p->worker[i]; }
    }
    return p->worker_count < p->max_workers ? &p->worker[p->worker_count] : NULL;
}

CELLAR_PRIVATE void base_pool_room(base_pool *p)
{
    const size_t bytes = (size_t)p->max_workers * sizeof *p->worker;
    base_thread *array = base_alloc(p->account, BASE_MOD_STORE, bytes, NULL);
    sync_take(QUEUE, &p->lock);
    const bool kept = p->worker == NULL && !p->stopped;
    if (kept) { p->worker = array; }
    sync_drop(QUEUE, &p->lock);
    if (!kept) { base_free(p->account, BASE_MOD_STORE, array, bytes); }
}

static void base_pool_ring(base_pool *p, int32_t workers)
{
    (void)base_add_ar(&p->bell, 1u);
    sync_wake(&p->bell, workers);
}

/* Start one more worker, or replace one that a job ended, if no other thread starts one. `mend`:
 * only if jobs wait. Return true if jobs wait. */
static bool base_pool_more(base_pool *p, bool mend)
{
    sync_take(QUEUE, &p->lock);
    const bool left = p->first != NULL;
    base_thread *at = mend && !left ? NULL : base_pool_place(p);
    const bool again = at != NULL && at < &p->worker[p->worker_count];
    if (at != NULL) { p->starting = true; }
    sync_drop(QUEUE, &p->lock);
    if (at == NULL) { return left; }
    /* Destructors of the thread that ended may still run, and this may be one of them. */
    const bool free = !again || base_thread_try_join(at);
    const bool up = free && base_thread_start(at, base_pool_main, p, p->name, p->stack_bytes) == 0;
    sync_take(QUEUE, &p->lock);
    if (up && !again) { p->worker_count++; }
    p->starting = false;
    const bool awaited = p->stopped;
    sync_drop(QUEUE, &p->lock);
    if (awaited) { base_pool_ring(p, INT32_MAX); }
    return left;
}

CELLAR_PRIVATE bool base_pool_push(base_pool *p, base_job *j)
{
    sync_take(QUEUE, &p->lock);
    const bool room = p->job_count < p->max_jobs && !p->stopped;
    const bool first = room && p->worker == NULL && p->max_workers != 0;
    if (room) {
        j->next = NULL;
        if (p->last != NULL) { p->last->next = j; } else { p->first = j; }
        p->last = j;
        p->job_count++;
    }
    sync_drop(QUEUE, &p->lock);
    if (!room) { return false; }
    if (first) { base_pool_room(p); }
    (void)base_pool_more(p, false);
    base_pool_ring(p, 1);
    return true;
}

SYNC_HOLDS(QUEUE) static bool base_pool_runs(const base_pool *p)
{
    for (uint32_t i = 0; i < p->worker_count; i++) {
        if (base_load_acq(&p->worker[i].running) != 0) { return true; }
    }
    return false;
}

CELLAR_PRIVATE base_job *base_pool_help(base_pool *p)
{
    sync_take(QUEUE, &p->lock);
    base_job *j = base_pool_runs(p) ? NULL : base_pool_pop(p);
    sync_drop(QUEUE, &p->lock);
    return j;
}

CELLAR_PRIVATE bool base_pool_mend(base_pool *p) { return base_pool_more(p, true); }

CELLAR_PRIVATE void base_pool_stop(base_pool *p, bool stop)
{
    sync_take(QUEUE, &p->lock);
    p->stopped = stop;
    sync_drop(QUEUE, &p->lock);
    base_pool_ring(p, INT32_MAX);
}

/* Return the number of workers of a stopped pool. A worker that another one starts now may take the
 * place of one that is joined already: wait for its start. None begins after the stop. */
static uint32_t base_pool_settled(base_pool *p)
{
    for (;;) {
        const uint32_t bell = base_load_acq(&p->bell);
        sync_take(QUEUE, &p->lock);
        const bool starting = p->starting;
        const uint32_t n = p->worker_count;
        sync_drop(QUEUE, &p->lock);
        if (!starting) { return n; }
        (void)sync_wait(&p->bell, bell, UINT64_MAX);
    }
}

CELLAR_PRIVATE base_job *base_pool_join(base_pool *p)
{
    const uint32_t workers_started = base_pool_settled(p);
    for (uint32_t i = 0; i < workers_started; i++) { base_thread_join(&p->worker[i]); }
    sync_take(QUEUE, &p->lock);
    base_thread *workers = p->worker;
    base_job *left = p->first;
    p->worker = NULL;
    p->worker_count = p->job_count = 0;
    p->first = p->last = NULL;
    sync_drop(QUEUE, &p->lock);
    base_free(p->account, BASE_MOD_STORE, workers, (size_t)p->max_workers * sizeof *workers);
    return left;
}

BASE_SIZE_END
