/* SPDX-License-Identifier: MIT
 *
 * sync: locks with ranks, events, threads, fork, and the record of a thread (base_thread_self).
 *
 * RANKS      One list for the whole library. A thread takes a lock only above every rank it holds
 *            (BASE_DEBUG aborts otherwise). A lock of equal rank is taken by sync_try, which never
 *            waits, or in ascending address order if the list says ORDERED.
 * LOCK       4 bytes: 0 free, 1 held, 2 held with sleepers. Spins 64 times, then waits on a futex.
 *            Clang's thread-safety analysis sees the rank tokens, which have no storage.
 * EVENT      A 32-bit word that the caller owns. The predicate is the word itself: no wake-up is
 *            lost.
 * SELF       One record per thread, found by one thread-local load. No pthread_key: the record of a
 *            dead thread is found by its tid and reused. Index 0 is shared by all threads beyond
 *            BASE_THREAD_MAX: counters under it need atomic adds. */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

#include "base/atomic.h"
#include "base/port.h"
#include "base/random.h"

/* name, number (with gaps), ordered: 1 = locks of this rank are taken in ascending address order */
#define SYNC_RANKS(X) \
    X(NAMESPACE, 5, 0) X(LISTEN, 6, 0) X(MAINT, 8, 0) X(RESIZE, 9, 0) X(BLOOM, 10, 1) \
    X(L1_STRIPE, 20, 0) X(L1_BUCKET, 30, 1) X(L1_SEG, 32, 0) X(L1_PAGES, 34, 0) X(L1_BIG, 36, 0) \
    X(FLIGHT, 40, 0) X(GRAPH, 42, 0) X(TURN, 44, 0) X(L2_TOMBSTONE_LOCK, 50, 0) X(L2_LOG, 60, 0) \
    X(L2_SHARD, 62, 0) X(L2_DEV, 64, 0) X(TAG, 66, 0) X(GLOB, 68, 0) X(DEPS, 69, 0) \
    X(SHADOW, 70, 0) X(HOT, 72, 0) \
    X(LIMIT, 80, 1) X(LIMIT_BUCKET, 81, 1) X(LOCK, 82, 0) X(LIMIT_SIDE, 83, 0) \
    X(QUEUE, 84, 0) X(LOCK_CHUNK, 85, 0) X(WHEEL, 86, 0) X(BUS, 88, 0) \
    X(STATS, 90, 0) X(ERROR, 92, 0) X(LOG, 94, 0) X(SELF, 96, 0)

typedef enum sync_rank {
#define SYNC_X(name, number, ordered) SYNC_RANK_##name = (number),
    SYNC_RANKS(SYNC_X)
#undef SYNC_X
    SYNC_RANK_NONE = 0
} sync_rank;

#if defined(__clang__) && !defined(SYNC_NO_ANALYSIS)
#define SYNC_ATTR(x) __attribute__((x))
#else
#define SYNC_ATTR(x)
#endif
typedef struct SYNC_ATTR(capability("rank")) sync_token { char unused; } sync_token;
#define SYNC_X(name, number, ordered) extern sync_token sync_token_##name;
SYNC_RANKS(SYNC_X)
#undef SYNC_X
#define SYNC_GUARDED(r) SYNC_ATTR(guarded_by(sync_token_##r))
#define SYNC_HOLDS(r) SYNC_ATTR(requires_capability(sync_token_##r))
#define SYNC_TAKES(r) SYNC_ATTR(acquire_capability(sync_token_##r))
#define SYNC_DROPS(r) SYNC_ATTR(release_capability(sync_token_##r))
#define SYNC_TRIES(r) SYNC_ATTR(try_acquire_capability(true, sync_token_##r))
#define SYNC_FREE_OF(r) SYNC_ATTR(locks_excluded(sync_token_##r))
#define SYNC_UNCHECKED SYNC_ATTR(no_thread_safety_analysis)

typedef struct sync_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held, sleepers; acquire in take, release in drop */
} sync_lock;

CELLAR_PRIVATE void sync_lock_slow(sync_lock *l);
CELLAR_PRIVATE bool sync_lock_until(sync_lock *l, uint64_t deadline_ns);
CELLAR_PRIVATE void sync_wake_slow(sync_lock *l);
BASE_SPARE CELLAR_PRIVATE void sync_rank_push(sync_rank r, const void *lock, bool tried);
BASE_SPARE CELLAR_PRIVATE void sync_rank_pop(sync_rank r, const void *lock);
#if BASE_DEBUG
#define SYNC_PUSH(r, l, t) sync_rank_push((r), (l), (t))
#define SYNC_POP(r, l) sync_rank_pop((r), (l))
#else
#define SYNC_PUSH(r, l, t) ((void)0)
#define SYNC_POP(r, l) ((void)0)
#endif
/* Abort in BASE_DEBUG if this thread holds any ranked lock. Call before user code and waits. */
CELLAR_PRIVATE void sync_assert_none(void);
/* Abort in BASE_DEBUG if this thread holds a lock of one rank. Call before code that may
 * enter the kernel. */
CELLAR_PRIVATE void sync_assert_not(sync_rank r);

BASE_INLINE void sync_lock_raw(sync_rank r, sync_lock *l)
{
    SYNC_PUSH(r, l, false);
    if (BASE_UNLIKELY(!base_cas_ar(&l->word, 0u, 1u))) { sync_lock_slow(l); }
    (void)r;
}
BASE_INLINE bool sync_try_raw(sync_rank r, sync_lock *l)
{
    if (!base_cas_ar(&l->word, 0u, 1u)) { return false; }
    SYNC_PUSH(r, l, true);
    (void)r;
    return true;
}
/* Take the lock or give up at deadline_ns. False: not taken. */
BASE_INLINE bool sync_until_raw(sync_rank r, sync_lock *l, uint64_t deadline_ns)
{
    if (!base_cas_ar(&l->word, 0u, 1u) && !sync_lock_until(l, deadline_ns)) { return false; }
    SYNC_PUSH(r, l, false);
    (void)r;
    return true;
}
BASE_INLINE void sync_drop_raw(sync_rank r, sync_lock *l)
{
    SYNC_POP(r, l);
    (void)r;
    if (BASE_UNLIKELY(base_xchg_ar(&l->word, 0u) == 2u)) { sync_wake_slow(l); }
}
#define SYNC_X(name, number, ordered) \
    BASE_INLINE void sync_take_##name(sync_lock *l) SYNC_TAKES(name) SYNC_UNCHECKED; \
    BASE_INLINE void sync_take_##name(sync_lock *l) { sync_lock_raw(SYNC_RANK_##name, l); } \
    BASE_INLINE bool sync_try_##name(sync_lock *l) SYNC_TRIES(name) SYNC_UNCHECKED; \
    BASE_INLINE bool sync_try_##name(sync_lock *l) { return sync_try_raw(SYNC_RANK_##name, l); } \
    BASE_INLINE bool sync_until_##name(sync_lock *l, uint64_t ns) SYNC_TRIES(name) SYNC_UNCHECKED; \
    BASE_INLINE bool sync_until_##name(sync_lock *l, uint64_t ns) \
    { \
        return sync_until_raw(SYNC_RANK_##name, l, ns); \
    } \
    BASE_INLINE void sync_drop_##name(sync_lock *l) SYNC_DROPS(name) SYNC_UNCHECKED; \
    BASE_INLINE void sync_drop_##name(sync_lock *l) { sync_drop_raw(SYNC_RANK_##name, l); }
SYNC_RANKS(SYNC_X)
#undef SYNC_X
#define sync_take(r, l) sync_take_##r(l)
#define sync_try(r, l) sync_try_##r(l)
#define sync_until(r, l, deadline_ns) sync_until_##r(l, deadline_ns)
#define sync_drop(r, l) sync_drop_##r(l)
/* Free the lock in a forked child: its holder does not exist there. */
BASE_INLINE void sync_reset(sync_lock *l) { base_store_rel(&l->word, 0u); }

/* Sleep while *word == expected, until woken or base_now_ns() >= deadline_ns (UINT64_MAX: no
 * limit). May return early; repeats on EINTR. Hold no ranked lock. False: time-out. */
CELLAR_PRIVATE bool sync_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns);
CELLAR_PRIVATE void sync_wake(_Atomic uint32_t *word, int count); /* INT_MAX: all */
CELLAR_PRIVATE void base_yield(void);
CELLAR_PRIVATE void base_sleep_ns(uint64_t ns);

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
    uint32_t held_count;      /* BASE_DEBUG: ranked locks this thread holds */
    uint32_t noted_count;     /* BASE_DEBUG: entries of held[] */
    bool forking;             /* inside fork handlers: ranks are not checked */
    int64_t boot_offset_ms;   /* clock: BOOTTIME - MONOTONIC, largest value this thread has read */
    int64_t coarse_s, coarse_ns; /* clock: last coarse reading; ns -1: none yet */
    int64_t coarse_ms;        /* clock: store time of that reading */
    uint64_t count_from, count_span; /* clock: counter at the last reading; counts of the span */
    int64_t far_ms;           /* clock: cannot pass before the span ends; INT64_MAX: no proof */
    base_rng rng;             /* for unpredictable choices: stripe to steal from */
    uint64_t mine_tag;        /* stats: store and slot of `mine`; 0: none or shared record */
    void *mine;
    void *load_frames;        /* innermost load frame of this thread; plain data, no destructor */
    void *handing;            /* innermost hand-over of this thread (l1); plain data, too */
    uint64_t tags_read;       /* cache: born of the tags of the entry read last; 0: it had none */
    void *leads;              /* guard: innermost flight this thread leads; links to outer ones */
    void *waits_for;          /* guard: flight this thread waits for; rank GRAPH */
    struct { const void *of; uint32_t count; } loads[BASE_LOADS_MAX]; /* cache: running loads of a
                               * store; count 0: free place. Not in the shared record */
    void *guards;             /* simulation: innermost base_callout */
    uintptr_t stack_low, stack_high; /* bounds of the stack; 0, 0 until base_stack_bounds ran */
    struct { sync_rank rank; const void *lock; } held[SYNC_HELD_MAX];
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
 * use. */
BASE_SPARE CELLAR_PRIVATE uint32_t base_thread_count(void);

typedef struct base_thread { /* owned by the caller; must not move from start to join */
    uint64_t handle;          /* pthread_t, or the fiber */
    void (*fn)(void *);
    void *arg;
    char name[16];
    _Atomic uint32_t running; /* 1 from start until fn returned */
} base_thread;

/* Start a named thread (name <= 15 bytes) with all signals blocked and a 256 KiB stack. Return 0 or
 * an errno. */
CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name);
CELLAR_PRIVATE void base_thread_join(base_thread *t);

/* Return the tid of this thread. Only threads beyond BASE_THREAD_MAX call the kernel. */
CELLAR_PRIVATE int32_t base_thread_id_slow(void);
BASE_INLINE int32_t base_thread_id(void)
{
    const base_thread_record *self = base_thread_self();
    return BASE_LIKELY(self->index != 0) ? base_load_rlx(&self->tid) : base_thread_id_slow();
}
/* Return whether the process has no thread `tid`. False while a new thread has the same tid. */
CELLAR_PRIVATE bool base_thread_gone(int32_t tid);
/* Run fn(ctx), then end(ctx), also if fn leaves by pthread_exit or is cancelled. */
CELLAR_PRIVATE void base_guarded(void (*fn)(void *), void (*end)(void *), void *ctx);
/* ---- user code that may leave without a return (user_callback.c) ---- */

/* Switch cancellation off for this thread. Return the former state for base_cancel_set. */
CELLAR_PRIVATE int base_cancel_off(void);
CELLAR_PRIVATE void base_cancel_set(int state);
/* Run fn(arg) with the cancel state `cancel`, and switch cancellation off after it. If the thread
 * ends inside fn (pthread_exit, deferred cancel), left(arg) runs and the call does not return. */
CELLAR_PRIVATE void base_callout(void (*fn)(void *), void (*left)(void *), void *arg, int cancel);
/* Return whether a longjmp has abandoned the stack frame at `at`. True only if it lies below `now`,
 * a frame of the running function, and both lie on the initial stack of the thread. */
CELLAR_PRIVATE bool base_frame_is_gone(base_thread_record *self, uintptr_t at, uintptr_t now);

/* Handlers of one store at a fork: `prepare` takes its ranked locks, `parent` drops them, `child`
 * resets them. The process calls pthread_atfork once, at the first registration. */
typedef struct base_fork_node {
    struct base_fork_node *next, *prev;
    void (*prepare)(void *ctx);
    void (*parent)(void *ctx);
    void (*child)(void *ctx);
    void *ctx;
} base_fork_node;
CELLAR_PRIVATE bool base_fork_register(base_fork_node *n);
CELLAR_PRIVATE void base_fork_unregister(base_fork_node *n);
/* Count the forks between the process that loaded the library and this one. */
BASE_SPARE CELLAR_PRIVATE uint32_t base_fork_generation(void);
CELLAR_PRIVATE unsigned base_cpu_count(void);

#endif
