/* SPDX-License-Identifier: MIT
 *
 * sync: locks with ranks, events, roles, threads.
 *
 * RANKS      One list for the whole library. A thread takes a lock only above every rank it holds
 *            (BASE_DEBUG aborts otherwise). A lock of equal rank is taken by sync_try, which never
 *            waits, or in ascending address order if the list says ORDERED.
 *            Clang's thread-safety analysis sees the rank tokens, which have no storage.
 * EVENT      A 32-bit word that the caller owns. The predicate is the word itself: no wake-up is
 *            lost.
 * ROLE       A word that a thread holds across allocations and calls of the disk: 0 free, 1 held,
 *            2 held with waiters. A role has no rank. Calls of the program could wait for a role of
 *            their own thread, so they are put off until the thread has none. */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

#include "base/atomic.h"
#include "base/futex.h"
#include "base/port.h"
#include "base/thread_record.h"

/* name, number (with gaps), ordered: 1 = locks of this rank are taken in ascending address order */
#define SYNC_RANKS(X) \
    X(NAMESPACE, 5, 0) X(LISTEN, 6, 0) X(MAINT, 8, 0) X(RESIZE, 9, 0) X(BLOOM, 10, 1) \
    X(L1_LANE, 20, 0) X(L1_STRIPE, 25, 0) X(L1_BUCKET, 30, 1) X(L1_SEG, 32, 0) \
    X(L1_PAGES, 34, 0) X(L1_BIG, 36, 0) X(L1_CELL, 37, 0) X(L1_CAP, 38, 0) \
    X(FLIGHT, 40, 0) X(GRAPH, 42, 0) X(WRITE_ORDER, 44, 0) X(L2_TOMBSTONE_LOCK, 50, 0) \
    X(L2_LOG, 60, 0) X(GLOB, 62, 0) X(L2_DEV, 64, 0) X(TAG, 66, 0) \
    X(SHADOW, 70, 0) \
    X(LIMIT, 80, 1) X(LIMIT_BUCKET, 81, 1) X(LOCK, 82, 0) X(LIMIT_SIDE, 83, 0) \
    X(QUEUE, 84, 0) X(LOCK_CHUNK, 85, 0) X(WHEEL, 86, 0) \
    X(BORROW, 89, 0) X(STATS, 90, 0) X(ERROR, 92, 0) X(LOG, 94, 0) X(SELF, 96, 0)

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
#define SYNC_UNCHECKED SYNC_ATTR(no_thread_safety_analysis)

#if BASE_DEBUG
CELLAR_PRIVATE void sync_rank_push(sync_rank r, const void *lock, bool tried);
CELLAR_PRIVATE void sync_rank_pop(sync_rank r, const void *lock);
/* Abort if this thread holds any ranked lock. Call before user code and waits. */
CELLAR_PRIVATE void sync_assert_none(void);
/* Abort if this thread holds a lock of one rank. Call before code that may enter the kernel. */
CELLAR_PRIVATE void sync_assert_not(sync_rank r);
#define SYNC_PUSH(r, l, t) sync_rank_push((r), (l), (t))
#define SYNC_POP(r, l) sync_rank_pop((r), (l))
#else
#define SYNC_PUSH(r, l, t) ((void)(r))
#define SYNC_POP(r, l) ((void)(r))
#define sync_assert_none() ((void)0)
#define sync_assert_not(r) ((void)(r))
#endif

BASE_INLINE void sync_lock_raw(sync_rank r, sync_lock *l)
{
    SYNC_PUSH(r, l, false);
    sync_bare_take(l);
}
BASE_INLINE bool sync_try_raw(sync_rank r, sync_lock *l)
{
    if (!base_cas_ar(&l->word, 0u, 1u)) { return false; }
    SYNC_PUSH(r, l, true);
    return true;
}
/* Take the lock or give up at deadline_ns. False: not taken. */
BASE_INLINE bool sync_until_raw(sync_rank r, sync_lock *l, uint64_t deadline_ns)
{
    if (!base_cas_ar(&l->word, 0u, 1u) && !sync_lock_until(l, deadline_ns)) { return false; }
    SYNC_PUSH(r, l, false);
    return true;
}
BASE_INLINE void sync_drop_raw(sync_rank r, sync_lock *l)
{
    SYNC_POP(r, l);
    sync_bare_drop(l);
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

/* Sleep while *word == expected, until woken or base_now_ns() >= deadline_ns (UINT64_MAX: no
 * limit). May return early; repeats on EINTR. Hold no ranked lock. False: time-out. */
CELLAR_PRIVATE bool sync_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns);

CELLAR_PRIVATE bool sync_role_try(_Atomic uint32_t *word);
/* Wait for the role and take it. Hold no ranked lock. */
CELLAR_PRIVATE void sync_role_take(_Atomic uint32_t *word);
/* Drop the role. If it is the last one of this thread, make the calls that were put off. Hold no
 * ranked lock. */
CELLAR_PRIVATE void sync_role_drop(_Atomic uint32_t *word);

typedef struct sync_late { /* a call that is put off */
    struct sync_late *next;
    void (*run)(struct sync_late *l);
} sync_late;
BASE_INLINE bool sync_has_role(void) { return base_thread_self()->roles != 0; }
/* Put a call off. This thread has a role. */
CELLAR_PRIVATE void sync_put_off(sync_late *l);

typedef struct base_thread { /* owned by the caller; must not move from start to join */
    uint64_t handle;          /* pthread_t, or the fiber */
    void (*fn)(void *);
    void *arg;
    char name[16];
    _Atomic uint32_t running; /* 1 from start until fn returned, or the thread ended in it */
} base_thread;

/* Start a named thread (name <= 15 bytes) with all signals blocked and a stack of `stack_bytes`, at
 * least 256 KiB. 0: the default of the process, at least 1 MiB, because callbacks run on the
 * thread. Return 0 or an errno. */
CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name, size_t stack_bytes);
/* Join a started thread, and return true, if it has ended. */
CELLAR_PRIVATE bool base_thread_try_join(base_thread *t);
/* Join a started thread. A second join does nothing. */
CELLAR_PRIVATE void base_thread_join(base_thread *t);

/* Run fn(ctx), then end(ctx), also if fn leaves by pthread_exit or is cancelled. */
CELLAR_PRIVATE void base_guarded(void (*fn)(void *), void (*end)(void *), void *ctx);

#endif
