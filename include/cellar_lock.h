/* SPDX-License-Identifier: MIT
 *
 * cellar_lock: keyed locks with holds and fencing tokens, inside one process.
 *
 * A keyed lock lets one thread at a time work on the thing that its key names, such as an order.
 *
 * CALL PATTERN
 *     #include "cellar_lock.h"    // drop-in: part of "cellar.h"
 *     cellar_locks *t;
 *     cellar_lock lk;
 *     if (cellar_locks_open(NULL, &t) != CELLAR_OK) return 1;
 *     if (cellar_lock_acquire(t, "order:7", 7, NULL, &lk) == CELLAR_OK) {
 *         store_write(order, lk.fence);                        // the store rejects smaller fences
 *         if (cellar_lock_release(t, &lk) == CELLAR_E_LOST) undo();     // the hold had expired
 *     }
 *     cellar_locks_close(t);
 *
 * OWNER   A key has at most one owner at a time, for a hold time. After that the lock is lost:
 *         check, extend and release return CELLAR_E_LOST, and the watcher gets one report.
 * FENCE   The fencing token of a key rises with each owner. A store outside the process that
 *         rejects fences below the highest one it has seen is never written by a former owner.
 * HANDLE  Only the handle of the owner releases and extends. A handle may be copied and passed
 *         to other threads, unless the lock is THREAD_BOUND. A wrong handle changes nothing.
 * QUEUE   First come, first served: a release passes the lock to the longest waiter. With
 *         `barging` a running thread may take the lock first, which saves a wake-up.
 * MEMORY  A table has a memory bound of its own, needs no store and starts no thread.
 * MORE    See RESTRICTIONS. */
#ifndef CELLAR_LOCK_H
#define CELLAR_LOCK_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* Limits of the calls of this header. */
#define CELLAR_LOCK_NOTE_MAX 23u     /* bytes of a note                                           */
#define CELLAR_LOCK_MANY_MAX 64u     /* locks of one cellar_lock_acquire_many                     */

/* Flags of one lock: cellar_lock_opts.flags. */
#define CELLAR_LOCK_THREAD_BOUND 1u  /* only this thread releases; the end of the thread frees it */
#define CELLAR_LOCK_NO_END       2u  /* no hold time; only together with THREAD_BOUND             */
#define CELLAR_LOCK_NO_WAIT      4u  /* E_BUSY in place of a wait for another owner               */

/* A table of locks. cellar_locks_open makes it, cellar_locks_close frees it. Every call of this
 * header takes it from any thread. */
typedef struct cellar_locks cellar_locks;

/* Handle of an owner, from cellar_lock_acquire. It holds no memory, and may be copied: a copy that
 * comes after the release owns nothing. All zero: not an owner. */
typedef struct cellar_lock {
    uint64_t opaque;
    uint64_t fence;          /* fencing token: above those of all earlier owners of the key       */
} cellar_lock;
typedef char cellar_lock_is_frozen[sizeof(cellar_lock) == 16 ? 1 : -1];

/* Why a lock is lost, for the watcher. */
typedef enum cellar_lock_lost {
    CELLAR_LOCK_LOST_EXPIRED = 1,   /* the hold time ended while the lock was held                */
    CELLAR_LOCK_LOST_OWNER_DIED = 2 /* the thread of a THREAD_BOUND lock ended                    */
} cellar_lock_lost;

/* Receive the report of one lost lock; set by cellar_locks_watch.
 * in:      key: valid until the function returns; its bytes are not terminated;
 *          fence: that of the lost owner; held_ms: time since the owner acquired the lock;
 *          cause: why it is lost; ctx of cellar_locks_watch
 * owns:    ctx stays that of the program: see cellar_locks_watch
 * thread:  that of the call that found the lost lock: an acquire of the same key, a late release,
 *          a tick. Several at a time, with no internal lock held: the function may block, and may
 *          call the table, except its close. The key may have its next owner already
 * cost:    the call that runs it waits for it
 * example:
 *     void report(const void *key, size_t key_len, uint64_t fence,
 *                 int64_t held_ms, cellar_lock_lost cause, void *file)
 *     {
 *         const bool expired = cause == CELLAR_LOCK_LOST_EXPIRED;
 *         fprintf(file, "%.*s: %s, %lld ms, fence %llu\n", (int)key_len,
 *                 (const char *)key, expired ? "expired" : "owner died",
 *                 (long long)held_ms, (unsigned long long)fence);
 *     }                                                                                          */
typedef void (*cellar_lock_watch_fn)(const void *key, size_t key_len, uint64_t fence,
                                     int64_t held_ms, cellar_lock_lost cause, void *ctx);

/* Options of a table, for cellar_locks_open. Start from cellar_locks_config_default(). */
typedef struct cellar_locks_config {
    size_t   struct_size;    /* set by cellar_locks_config_default()                              */
    uint64_t max_locks;      /* keys held or waited for. Range 1..2^24. Default 0: 65,536         */
    uint64_t max_bytes;      /* all memory of the table. Range 256 KiB..2^64 - 1 bytes.           */
                             /* Default 0: 32 MiB                                                 */
    uint64_t fence_start;    /* all fences are above it. Range 0..2^61 - 1. Default 0: from the   */
                             /* wall clock                                                        */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name (""  */
                             /* counts as "locks"), clock                                         */
    uint32_t barging;        /* 1: a running thread may take a released lock first; see QUEUE.    */
                             /* Default 0                                                         */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_locks_config;
CELLAR_STRUCT(cellar_locks_config, reserved0);

/* Options of one lock, for cellar_lock_acquire. Start from cellar_lock_opts_default(). */
typedef struct cellar_lock_opts {
    size_t   struct_size;    /* set by cellar_lock_opts_default()                                 */
    int64_t  wait_timeout_ms; /* longest wait for the lock. Range 1..INT64_MAX ms, which is no    */
                             /* limit. Default 0: 30,000. Not used with CELLAR_LOCK_NO_WAIT       */
    int64_t  hold_ms;        /* hold time, from the acquire. Range 1..INT64_MAX ms. Default 0:    */
                             /* 30,000. Not used with NO_END                                      */
    const char *note;        /* text for cellar_lock_info_get, 0..CELLAR_LOCK_NOTE_MAX bytes,     */
                             /* copied. Default NULL: none                                        */
    uint32_t flags;          /* CELLAR_LOCK_THREAD_BOUND, _NO_END, _NO_WAIT. Default 0            */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_lock_opts;
CELLAR_STRUCT(cellar_lock_opts, reserved0);

/* Description of a held lock, from cellar_lock_info_get. Start from cellar_lock_info_default(). */
typedef struct cellar_lock_info {
    size_t   struct_size;    /* set by cellar_lock_info_default()                                 */
    uint64_t fence;          /* fencing token of the owner                                        */
    int64_t  held_ms;        /* time since the owner acquired the lock                            */
    int64_t  hold_left_ms;   /* time until the hold ends; INT64_MAX: no hold time                 */
    uint64_t waiters;        /* threads in the queue                                              */
    int32_t  owner_tid;      /* thread that acquired the lock                                     */
    uint32_t flags;          /* CELLAR_LOCK_THREAD_BOUND, _NO_END                                 */
    char     note[CELLAR_LOCK_NOTE_MAX + 1]; /* as given to the acquire; terminated               */
} cellar_lock_info;
CELLAR_STRUCT(cellar_lock_info, note);

/* Figures of a table, from cellar_locks_stats_get; cellar_metrics_write prints the same ones. Start
 * from cellar_locks_stats_default(). Counts begin at the open. */
typedef struct cellar_locks_stats {
    size_t   struct_size;    /* set by cellar_locks_stats_default()                               */
    uint64_t acquired;       /* locks that got an owner                                           */
    uint64_t handed_over;    /* of these: passed on to a waiter                                   */
    uint64_t waits;          /* calls that waited                                                 */
    uint64_t timeouts;       /* of these: ended without the lock                                  */
    uint64_t busy;           /* calls with NO_WAIT that found an owner                            */
    uint64_t deadlocks;      /* calls rejected because the thread would wait for itself           */
    uint64_t rejected_limit; /* calls rejected by max_locks                                       */
    uint64_t rejected_memory; /* calls rejected by max_bytes or lack of memory                    */
    uint64_t expired;        /* holds that ended while the lock was held                          */
    uint64_t owner_died;     /* owners of THREAD_BOUND locks that ended with their thread         */
    uint64_t lost;           /* extends and releases after the lock was lost                      */
    uint64_t not_owner;      /* extends and releases with a wrong handle                          */
    uint64_t records;        /* keys in the table                                                 */
    uint64_t held;           /* of these: held                                                    */
    uint64_t waiting;        /* threads that wait                                                 */
    uint64_t bytes;          /* bytes charged to the table                                        */
    uint64_t fence_max;      /* upper bound of all fences so far                                  */
} cellar_locks_stats;
CELLAR_STRUCT(cellar_locks_stats, fence_max);

/* ---- One lock ------------------------------------------------------------------------------- */

/* Open a table of locks. A program needs one for all its keys.
 * in:      cfg from cellar_locks_config_default; NULL: all defaults
 * out:     *out is NULL on failure
 * returns: OK; E_SPACE (max_bytes is too small for the table itself: raise it, or lower max_locks),
 *          E_NOMEM (memory, address space or random numbers of the kernel). cellar_last_error of
 *          NULL has the reason of each
 * owns:    the caller closes *out with cellar_locks_close. cfg is copied; the context of its clock
 *          lives until then
 * thread:  any; a program may open several tables
 * cost:    one allocation of 75 to 300 KiB (with 2^17 locks and more, 1 byte for each besides), and
 *          address space of 140 bytes for each possible lock
 * example:
 *     cellar_locks *t;
 *     if (cellar_locks_open(NULL, &t) != CELLAR_OK) return 1;                                    */
CELLAR_API cellar_err cellar_locks_open(const cellar_locks_config *cfg, cellar_locks **out);

/* Close a table. Locks that are still held end without a report to the watcher.
 * in:      t; NULL is allowed
 * owns:    t is freed. Handles of its locks are invalid: no call may get them
 * thread:  must not overlap other calls on the table, acquires that wait among them
 * cost:    O(locks held)
 * example: cellar_locks_close(t);                                                                */
CELLAR_API void cellar_locks_close(cellar_locks *t);

/* Acquire the lock of a key. Wait in the queue while another owner holds the lock. A lock is not
 * recursive: a thread that acquires a key twice waits for itself, until the hold of the first one
 * ends or the wait does; only for THREAD_BOUND locks the call tells.
 * in:      key 1..CELLAR_KEY_MAX bytes;
 *          o from cellar_lock_opts_default; NULL: wait 30 s, hold time 30 s
 * out:     *out is the handle; all zero on any code but OK
 * returns: OK;
 *          E_BUSY (NO_WAIT: the lock is held), E_TIMEOUT (the call waited for wait_timeout_ms in
 *          vain);
 *          E_DEADLOCK (without NO_WAIT: this thread holds the key THREAD_BOUND);
 *          E_LIMIT (max_locks; while other threads acquire, some locks early, because the table
 *          shares out its room in lots of 16);
 *          E_SPACE (max_bytes of the table is used up), E_NOMEM;
 *          E_INVAL (also: a negative time, a longer note, NO_END without THREAD_BOUND)
 * owns:    the caller releases *out. Without a release the lock ends with its hold, or with the
 *          thread of its owner if it is THREAD_BOUND
 * thread:  any; sleeps while it waits, with no internal lock held; no cancellation point, and no
 *          call ends the wait early
 * cost:    free lock of a recent key: no lock, one compare-exchange; else one short lock,
 *          sometimes one allocation
 * example:
 *     cellar_lock_opts o = cellar_lock_opts_default();
 *     o.wait_timeout_ms = 2000;
 *     o.hold_ms = 5000;
 *     cellar_lock lk;
 *     if (cellar_lock_acquire(t, "order:7", 7, &o, &lk) != CELLAR_OK)
 *         return 1;                                                                              */
CELLAR_API cellar_err cellar_lock_acquire(cellar_locks *t, const void *key, size_t key_len,
                                          const cellar_lock_opts *o, cellar_lock *out);

/* Give a lock more time: its hold ends `hold_ms` from now, which may be earlier than before.
 * in:      lk: the handle of the owner; hold_ms: new hold in ms, from 1
 * returns: OK; E_LOST (the hold had ended; nothing revives it: acquire the key again), E_NOT_OWNER
 *          (not the handle of the owner, or THREAD_BOUND to another thread)
 * owns:    the caller still releases lk
 * thread:  any
 * cost:    one short lock
 * example: if (cellar_lock_extend(t, &lk, 30000) != CELLAR_OK) stop_working();                   */
CELLAR_API cellar_err cellar_lock_extend(cellar_locks *t, const cellar_lock *lk, int64_t hold_ms);

/* Release a lock. The longest waiter becomes the next owner.
 * in:      lk: the handle of the owner; any other handle changes nothing
 * out:     *lk is all zero after OK
 * returns: OK; E_LOST (the hold had ended: undo the work, another owner may have begun),
 *          E_NOT_OWNER (all zero, as after a release, never acquired, or THREAD_BOUND to another
 *          thread). A copy of a released handle is E_NOT_OWNER, and E_LOST when the key has had
 *          another owner or has left the table, as by a tick
 * owns:    after OK and E_LOST the handle owns nothing
 * thread:  any
 * cost:    no waiters: no lock, one compare-exchange
 * example: if (cellar_lock_release(t, &lk) == CELLAR_E_LOST) undo();                             */
CELLAR_API cellar_err cellar_lock_release(cellar_locks *t, cellar_lock *lk);

/* Test whether a handle still owns its lock. The hold may end right after the return.
 * in:      lk: a handle of cellar_lock_acquire
 * returns: OK (it owns the lock); E_LOST (the hold has ended), E_NOT_OWNER (never acquired, or
 *          released: see cellar_lock_release)
 * owns:    the caller still releases lk
 * thread:  any, also another one than the owner of a THREAD_BOUND lock
 * cost:    no lock, no shared write
 * example: while (cellar_lock_check(t, &lk) == CELLAR_OK) work_a_little();                       */
CELLAR_API cellar_err cellar_lock_check(cellar_locks *t, const cellar_lock *lk);

/* ---- Several locks -------------------------------------------------------------------------- */

/* Acquire the locks of several keys, or none of them. The call takes the keys in byte order, so two
 * such calls never wait for each other in a circle.
 * in:      keys, count: 1..CELLAR_LOCK_MANY_MAX different keys;
 *          o as cellar_lock_acquire; wait_timeout_ms is one limit for all keys; each hold begins
 *          when its key is taken
 * out:     out: the handle of each key, in the order of keys; all zero on any code but OK
 * returns: OK; E_BUSY (NO_WAIT: a lock is held), E_TIMEOUT (the call waited for wait_timeout_ms in
 *          vain), E_DEADLOCK (without NO_WAIT: this thread holds a key THREAD_BOUND), E_LOST (a
 *          hold ended while the call waited for a later key: raise hold_ms), E_LIMIT (max_locks is
 *          reached), E_SPACE (max_bytes of the table is used up), E_NOMEM, E_INVAL (also: two equal
 *          keys).
 *          Unless OK the call has released the keys that it took
 * owns:    the caller releases each handle, with cellar_lock_release_many or one by one
 * thread:  any; sleeps while it waits, and owns the keys taken so far
 * cost:    as one cellar_lock_acquire for each key
 * example:
 *     const cellar_bytes keys[2] = { { "account:1", 9 },
 *                                    { "account:2", 9 } };
 *     cellar_lock locks[2];
 *     if (cellar_lock_acquire_many(t, keys, 2, NULL, locks) != CELLAR_OK)
 *         return 1;                                                                              */
CELLAR_API cellar_err cellar_lock_acquire_many(cellar_locks *t, const cellar_bytes *keys,
                                               size_t count, const cellar_lock_opts *o,
                                               cellar_lock *out);

/* Release several locks. The call tries every handle.
 * in:      lk, count: 1..CELLAR_LOCK_MANY_MAX handles
 * out:     lk: each handle as by cellar_lock_release
 * returns: OK; else the first code of cellar_lock_release that was not OK
 * owns:    as cellar_lock_release
 * thread:  any
 * cost:    as one cellar_lock_release for each handle
 * example: cellar_lock_release_many(t, locks, 2);                                                */
CELLAR_API cellar_err cellar_lock_release_many(cellar_locks *t, cellar_lock *lk, size_t count);

/* ---- The table ------------------------------------------------------------------------------ */

/* Describe the lock that an owner holds on a key.
 * in:      key 1..CELLAR_KEY_MAX bytes; out from cellar_lock_info_default
 * out:     *out, only with OK
 * returns: OK (also a lost lock that no call has found yet: hold_left_ms 0); MISS (the key has no
 *          owner)
 * thread:  any; the description may be out of date when the call returns
 * cost:    one short lock
 * example:
 *     cellar_lock_info info = cellar_lock_info_default();
 *     if (cellar_lock_info_get(t, "order:7", 7, &info) == CELLAR_OK)
 *         puts(info.note);                                                                       */
CELLAR_API cellar_err cellar_lock_info_get(cellar_locks *t, const void *key, size_t key_len,
                                           cellar_lock_info *out);

/* Set the watcher, which receives one report of each lost lock. The call that finds the lost lock
 * runs the watcher, in its own thread: an acquire of the same key, a late release, or a tick. A
 * table starts no thread: without cellar_tick (cellar_admin.h) a lock of a key that no call asks
 * for is never reported.
 * in:      fn: see cellar_lock_watch_fn; NULL: no watcher from now on;
 *          ctx: given to fn
 * returns: OK
 * owns:    fn and ctx stay those of the program. The table uses them until the next
 *          cellar_locks_watch or the close. A call of the table that runs in another thread may
 *          still use the former ones until that call has returned: end or wait for those threads
 *          before ctx is freed
 * thread:  any
 * cost:    one short lock
 * example: cellar_locks_watch(t, on_lost, NULL);                                                 */
CELLAR_API cellar_err cellar_locks_watch(cellar_locks *t, cellar_lock_watch_fn fn, void *ctx);

/* Read the figures of a table: locks held, waits, lost locks, memory.
 * in:      out from cellar_locks_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any; exact while no other call runs
 * cost:    O(keys in the table)
 * example:
 *     cellar_locks_stats s = cellar_locks_stats_default();
 *     cellar_locks_stats_get(t, &s);                                                             */
CELLAR_API cellar_err cellar_locks_stats_get(cellar_locks *t, cellar_locks_stats *out);

/* RESTRICTIONS
 * close     cellar_locks_close must not overlap other calls on the table.
 * fork      The child has no table: calls return E_FORKED, and a close does nothing. Locks of the
 *           parent stay held.
 * restart   The first fence comes from the wall clock, and is above those of the tables that this
 *           process has closed. If the wall clock was set back across a restart, fences can fall.
 *           To prevent that, save fence_max of the figures and pass it as fence_start.
 * clock     Times are milliseconds, including the time the machine is suspended. Holds below one
 *           second, and holds on a clock of the program, end exactly. Longer holds end up to
 *           64 ms late, never early. A wait sleeps until its deadline, and no longer. A waiter
 *           reads a clock of the program every 10 ms. */

#ifdef __cplusplus
}
#endif
#endif
