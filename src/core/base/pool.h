/* SPDX-License-Identifier: MIT
 *
 * pool: threads that run queued jobs: started one by one with the jobs, replaced when a job ends
 * its thread. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/mem.h"
#include "base/sync.h"

typedef struct base_job { /* part of a struct of the owner */
    struct base_job *next; /* in the queue; lock of the pool */
} base_job;

typedef struct base_pool {
    void (*run)(void *ctx, base_job *j); /* runs one job, with no lock held; may end its thread */
    void *ctx;
    const char *name;          /* of the threads; static text, to 15 bytes */
    base_account *account;     /* of the array */
    uint32_t max_workers, max_jobs; /* constant */
    uint32_t stack_bytes;      /* of each worker; 0: the default of the process; constant */
    sync_lock lock;            /* rank QUEUE, held alone; guards this down to worker_count */
    base_job *first, *last;
    uint32_t job_count;
    bool stopped;              /* true: no worker starts, all workers end */
    bool starting;             /* true: a thread starts a worker */
    uint32_t worker_count;
    base_thread *worker;       /* array of max_workers, NULL until the first job; lock */
    _Atomic uint32_t bell;     /* futex word; + 1 wakes a worker */
} base_pool;

/* Make room for the workers, if there is none; the first push does it, too. Without memory the
 * array stays NULL. */
CELLAR_PRIVATE void base_pool_room(base_pool *p);
/* Queue a job, and start a worker if one is missing. False: the queue is full or stopped. The pool
 * outlives the call: the owner counts the callers. */
CELLAR_PRIVATE bool base_pool_push(base_pool *p, base_job *j);
/* Take the oldest job for the calling thread; NULL: none is left, or a worker will take it. */
CELLAR_PRIVATE base_job *base_pool_help(base_pool *p);
/* Replace a worker that a job ended if jobs wait. As base_pool_push for the owner. Return true if
 * jobs are left. */
CELLAR_PRIVATE bool base_pool_mend(base_pool *p);
/* Stop: nothing is queued or taken, and workers end after their job. Or take that back. */
CELLAR_PRIVATE void base_pool_stop(base_pool *p, bool stop);
/* Join the workers of a stopped pool and return the jobs left, as a chain. */
CELLAR_PRIVATE base_job *base_pool_join(base_pool *p);

#endif
