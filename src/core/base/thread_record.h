/* SPDX-License-Identifier: MIT
 *
 * thread_record: the record of a thread (base_thread_self), thread numbers, handlers at a fork.
 *
 * SELF       One record per thread, found by one thread-local load. No pthread_key: the record of a
 *            dead thread is found by its tid and reused. Index 0 is shared by all threads beyond
 *            BASE_THREAD_MAX: counters under it need atomic adds. */
#ifndef BASE_THREAD_RECORD_H
#define BASE_THREAD_RECORD_H

#include "base/atomic.h"
#include "base/port.h"
#include "base/random.h"

/* Locks beyond this number are counted, not checked. */
#if BASE_DEBUG
#define SYNC_HELD_MAX 80
#else
#define SYNC_HELD_MAX 1
#endif
#define BASE_THREAD_MAX 4096
#define BASE_LOADS_MAX 4 /* stores with a running load of one thread; more are not noted */
/* Own cache lines; under ThreadSanitizer an own page (base_record_init). */
#define BASE_THREAD_ALIGN (BASE_TSAN ? BASE_PAGE : BASE_PAD)

typedef struct base_thread_self {
    /* 1..BASE_THREAD_MAX-1: owned by this thread; 0: shared */
    uint32_t index BASE_ALIGNED(BASE_THREAD_ALIGN);
    _Atomic int32_t tid;      /* of the owner; written under the registration lock, 0: never used */
    uint32_t countdown;       /* samples: calls until the next one (stats) */
    uint32_t depth;           /* nested listener and loader calls */
    uint32_t in_tier;         /* nested calls of a shared tier, and of its host */
    uint32_t held_count;      /* BASE_DEBUG: ranked locks this thread holds */
    uint32_t noted_count;     /* BASE_DEBUG: entries of held[] (sync.h) */
    int64_t boot_offset_ms;   /* clock: BOOTTIME - MONOTONIC, largest value this thread has read */
    int64_t coarse_s, coarse_ns; /* clock: last coarse reading; ns -1: none yet */
    int64_t coarse_ms;        /* clock: store time of that reading */
    uint64_t count_from, count_span; /* clock: counter at the last reading; counts of the span */
    int64_t far_ms;           /* clock: cannot pass before the span ends; INT64_MAX: no proof */
    /* clock: store time at the counter's value ms_from, true for ms_counts counts; 0: none */
    int64_t ms_now;
    uint64_t ms_from, ms_counts;
    /* clock: an earlier reading and the counter after it; the last two rates, in counts per
     * 2^20 ns, 0: unknown */
    uint64_t pace_ns, pace_count, pace[2];
    base_rng rng;             /* for unpredictable choices: lane to steal from */
    uint64_t mine_tag;        /* stats: store and slot of `mine`; 0: none or shared record */
    void *mine;
    void *change_scopes;      /* innermost change of this thread; plain data, no destructor */
    void *leads;              /* guard: innermost flight this thread leads; links to outer ones */
    void *waits_for;          /* guard: flight this thread waits for; rank GRAPH */
    struct { const void *of; uint32_t count; } loads[BASE_LOADS_MAX]; /* cache: running loads of a
                               * store; count 0: free place. Not in the shared record */
    void *frees;              /* l1: innermost free_fn of an object. Not in the shared record */
    void *guards;             /* simulation: innermost base_run_callback */
    uint32_t roles;           /* roles this thread has (sync.h); 0 in the shared record */
    _Atomic uint32_t lane;    /* part of a log where this thread appends (l1); a hint */
    bool late_runs;           /* this thread runs `late` */
    bool hurries;             /* cache: no call of this thread waits for a disk that stands still.
                               * False in the shared record */
    void *late;               /* newest of the calls that were put off (sync.h), a ring */
#if BASE_ASAN
    uintptr_t stack_low, stack_high; /* bounds of the stack; 0, 0 until base_stack_bounds ran */
#endif
    struct { uint32_t rank; const void *lock; } held[SYNC_HELD_MAX];
} base_thread_record;

/* Return the record of this thread, never NULL. Under simulation: of the fiber. */
#if BASE_SIM
CELLAR_PRIVATE base_thread_record *base_sim_thread(void);
BASE_INLINE base_thread_record *base_thread_self(void) { return base_sim_thread(); }
#else
CELLAR_PRIVATE base_thread_record *base_thread_slow(void);
/* NULL until this thread's first call */
BASE_THREAD_DECLARE(base_thread_record *, base_thread_mine);
BASE_ALWAYS_INLINE base_thread_record *base_thread_self(void)
{
    base_thread_record *s = base_thread_mine;
    return BASE_LIKELY(s != NULL) ? s : base_thread_slow();
}
#endif
/* Return the number of records so far, the shared one included: an upper bound of every index in
 * use. Sequentially consistent: a thread raises it before its first other step (l1/pin_slots.c). */
CELLAR_PRIVATE uint32_t base_thread_count(void);

/* Return the tid of this thread. Only threads beyond BASE_THREAD_MAX call the kernel. */
CELLAR_PRIVATE int32_t base_thread_id_slow(void);
BASE_INLINE int32_t base_thread_id(void)
{
    const base_thread_record *self = base_thread_self();
    return BASE_LIKELY(self->index != 0) ? base_load_rlx(&self->tid) : base_thread_id_slow();
}
/* Return whether the process has no thread `tid`. False while a new thread has the same tid. */
CELLAR_PRIVATE bool base_thread_gone(int32_t tid);

/* What a child of a fork does first with an object of its parent: mark it, and close what the
 * parent must own alone. Locks of the object may be held by threads that the child lacks. ctx NULL:
 * the node is of the process, and every child runs it. */
typedef struct base_fork_node {
    struct base_fork_node *next, *prev;
    void (*child)(void *ctx);
    void *ctx;
    _Atomic bool listed; /* written under the lock of the records */
} base_fork_node;
/* Register a node. One of the process may be registered again. False: no memory. */
CELLAR_PRIVATE bool base_fork_register(base_fork_node *n);
CELLAR_PRIVATE void base_fork_unregister(base_fork_node *n);
/* Wait until no fork runs. A child that was forked before it sees what was written before it, or
 * none of it and the memory as it was: the kernel copies page by page. */
CELLAR_PRIVATE void base_fork_settle(void);

#endif
