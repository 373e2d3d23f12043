/* SPDX-License-Identifier: MIT
 *
 * cellar_limit: rate limiters that never over-admit, and keyed locks with leases.
 *
 * Both stand alone: no store is needed, each has a memory bound of its own, no thread is started.
 *
 * CALL PATTERN
 *     #include "cellar_limit.h"
 *     cellar_limiter *l;
 *     const cellar_rl_rule per_user = cellar_rl_gcra(100, CELLAR_RL_SECOND, 20);
 *     if (cellar_rl_open(NULL, &per_user, 1, &l) != CELLAR_OK) return 1;
 *     cellar_rl_result r;
 *     switch (cellar_rl_check(l, "user:7", 6, 1, &r)) {
 *     case CELLAR_OK: serve();                                    break;
 *     case CELLAR_LIMITED: refuse(r.retry_after_ns);              break;
 *     default: an argument was wrong                              break; }
 *     cellar_rl_close(l);
 *
 * ALGORITHMS  N = limit, W = period, b = burst, T = ceil(W / N) in 1/64 ns. Windows are half open,
 *             (t - W, t]; bounds count units of cost, not calls.
 *     GCRA            token bucket: at most b + ceil(W / T) - 1 units in any window of length W;
 *                     with b = N that is 2N - 1, not N
 *     capped GCRA     at most N in any window, always; lasting rate (N - b + 1) / W
 *     SLIDING_LOG     at most N in any window, always, and never a needless denial; 8 bytes a unit
 *     SLIDING_COUNT   about N; at worst 2N - 1 (N at the end of a window, then linear)
 *     FIXED           at most N a calendar minute, hour, day, week or month of a time zone; 2N
 *                     around a boundary, by definition
 *     CONCURRENCY     at most N permits alive at any instant, each with a lease
 * KEYS        Limiters do not store keys but 63-bit fingerprints, hashes keyed with a secret of the
 *             limiter: two of n live keys share a bucket with probability about n^2 / 2^64 (5e-8
 *             for a million). Locks compare keys in full.
 * MEMORY      max_bytes, taken when the limiter is opened; no allocation after that. A limiter with
 *             one rule of GCRA, SLIDING_COUNT or FIXED takes 16 bytes a key. Too many keys: the one
 *             that loses least is forgotten, and it is counted.
 * THREADS     every call from any thread, close excepted. A check of a known key of a limiter with
 *             one rule takes no lock; other paths take short ones.
 * CLOCK       monotonic nanoseconds decide; the wall clock is looked at for calendar quotas only.
 *             While the machine sleeps no time passes: quotas refill later, never earlier. Bounds
 *             hold over the readings that decisions used (`now_ns` of the result).
 * FORK        the child has its own copy, and so its own quota: parent and child together may admit
 *             twice. Snapshots are detached in the child; locks of the parent are E_FORKED there.
 */
#ifndef CELLAR_LIMIT_H
#define CELLAR_LIMIT_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rate limiters -------------------------------------------------------------------------- */

#define CELLAR_RL_RULES_MAX    7u       /* rules of one limiter                                  */
#define CELLAR_RL_CHAIN_MAX    8u       /* limiters of one chain                                 */
#define CELLAR_RL_LOG_MAX      4096u    /* largest limit of SLIDING_LOG                          */
#define CELLAR_RL_NAME_MAX     63u      /* bytes of a rule's, plan's or limiter's name           */
#define CELLAR_RL_NEVER        UINT64_MAX
#define CELLAR_RL_SECOND       UINT64_C(1000000000)
#define CELLAR_RL_MINUTE       (60 * CELLAR_RL_SECOND)
#define CELLAR_RL_HOUR         (60 * CELLAR_RL_MINUTE)
#define CELLAR_RL_DAY          (24 * CELLAR_RL_HOUR)
#define CELLAR_RL_PERIOD_MAX   (400 * CELLAR_RL_DAY)

enum { CELLAR_RL_GCRA = 1, CELLAR_RL_SLIDING_LOG = 2, CELLAR_RL_SLIDING_COUNT = 3,
       CELLAR_RL_FIXED = 4, CELLAR_RL_CONCURRENCY = 5 };
enum { CELLAR_RL_PER_MINUTE = 1, CELLAR_RL_PER_HOUR = 2, CELLAR_RL_PER_DAY = 3,
       CELLAR_RL_PER_WEEK = 4, CELLAR_RL_PER_MONTH = 5 };        /* weeks are ISO: from Monday    */
enum { CELLAR_RL_DRY_RUN = 1,  /* computed and charged as if real, never denies (would_deny)      */
       CELLAR_RL_STRICT = 2,   /* denied calls charge too, to at most 2 * b * T (GCRA)            */
       CELLAR_RL_CAPPED = 4 }; /* GCRA whose windows never hold more than N                       */
enum { CELLAR_RL_LEAST_LOSS = 0, CELLAR_RL_DENY_NEW = 1, CELLAR_RL_ALLOW_NEW = 2 };

/* One rule. Made by the functions below; fields they leave 0 may be set afterwards. */
typedef struct cellar_rl_rule {
    uint32_t algorithm; /* CELLAR_RL_GCRA ...                                                     */
    uint32_t flags;     /* CELLAR_RL_DRY_RUN ...                                                  */
    uint64_t limit;     /* N; 0 denies everything                                                 */
    uint64_t period_ns; /* W, 1..CELLAR_RL_PERIOD_MAX; 0 for FIXED and CONCURRENCY                */
    uint64_t burst;     /* b of GCRA, from 1; 0 for all others                                    */
    uint64_t ban_ns;    /* a denial also bans the key for so long; 0: no                          */
    uint32_t calendar;  /* CELLAR_RL_PER_... of FIXED, else 0                                     */
    uint32_t reserved;  /* 0                                                                      */
    const char *name;   /* in header lines and metrics; copied; NULL = "default"; printable ASCII */
    uint64_t reserved1; /* 0                                                                      */
} cellar_rl_rule;

static inline cellar_rl_rule cellar_rl_make_(uint32_t algorithm, uint64_t limit, uint64_t period_ns)
{
    cellar_rl_rule r;
    r.algorithm = algorithm;
    r.flags = 0;
    r.limit = limit;
    r.period_ns = period_ns;
    r.burst = 0;
    r.ban_ns = 0;
    r.calendar = 0;
    r.reserved = 0;
    r.name = 0;
    r.reserved1 = 0;
    return r;
}
/* Token bucket of `burst` tokens that fills at `limit` a period. */
static inline cellar_rl_rule cellar_rl_gcra(uint64_t limit, uint64_t period_ns, uint64_t burst)
{
    cellar_rl_rule r = cellar_rl_make_(CELLAR_RL_GCRA, limit, period_ns);
    r.burst = burst;
    return r;
}
/* Token bucket slowed down so far that no window of a period ever holds more than `limit`. */
static inline cellar_rl_rule cellar_rl_rule_capped(uint64_t limit, uint64_t period_ns,
                                                   uint64_t burst)
{
    cellar_rl_rule r = cellar_rl_gcra(limit, period_ns, burst);
    r.flags = CELLAR_RL_CAPPED;
    return r;
}
static inline cellar_rl_rule cellar_rl_sliding_log(uint64_t limit, uint64_t period_ns)
{
    return cellar_rl_make_(CELLAR_RL_SLIDING_LOG, limit, period_ns);
}
static inline cellar_rl_rule cellar_rl_sliding_count(uint64_t limit, uint64_t period_ns)
{
    return cellar_rl_make_(CELLAR_RL_SLIDING_COUNT, limit, period_ns);
}
static inline cellar_rl_rule cellar_rl_fixed(uint64_t limit, uint32_t calendar)
{
    cellar_rl_rule r = cellar_rl_make_(CELLAR_RL_FIXED, limit, 0);
    r.calendar = calendar;
    return r;
}
static inline cellar_rl_rule cellar_rl_concurrency(uint64_t limit)
{
    return cellar_rl_make_(CELLAR_RL_CONCURRENCY, limit, 0);
}

/* ---- Keyed locks ---------------------------------------------------------------------------- */

/* CALL PATTERN
 *     cellar_locks *t;
 *     cellar_lock lk;
 *     cellar_locks_open(NULL, &t);
 *     if (cellar_lock_acquire(t, "order:7", 7, NULL, &lk) == CELLAR_OK) {
 *         store_write(order, lk.fence);                   the store refuses smaller fences
 *         if (cellar_lock_release(t, &lk) == CELLAR_E_LOST) ...   the work outlived its lease
 *     }
 *     cellar_locks_close(t);
 *
 * OWNERS   A key has one owner at a time, by lease time. Whoever works longer than its lease has
 *          lost the lock and learns it from valid, extend and release (CELLAR_E_LOST), and the
 *          table's watcher hears of it. What lies outside the process is protected by the fence: it
 *          rises with every owner of a key, so a store that refuses fences smaller than the highest
 *          it has seen is never written by a former owner.
 * TOKENS   Only the owner's handle releases and extends; a handle may be copied and handed to other
 *          threads, unless the lock is THREAD_BOUND. A wrong handle changes nothing.
 * QUEUE    First come, first served: a release hands the lock to the longest waiter directly. With
 *          `barging` a running thread may take it first, which saves a wake-up a transfer.
 * LEASES   end exactly, when they are shorter than a second or the table has a clock of the
 *          caller's; longer ones up to 20 ms late, never early.
 * CLOCK    milliseconds that include suspend; the caller's own for tests.
 * FENCES   begin at the wall clock when the table is opened. A wall clock set back across a restart
 *          breaks their order over the restart: keep stats.fence_max and give it as fence_start.
 * FORK     the child has an empty table of its own; handles of the parent are CELLAR_E_FORKED. */

#define CELLAR_LOCK_NOTE_MAX 23u
#define CELLAR_LOCK_MANY_MAX 64u
enum { CELLAR_LOCK_THREAD_BOUND = 1, /* only this thread releases; its end ends the lock          */
       CELLAR_LOCK_NO_LEASE = 2 };   /* no lease; only with THREAD_BOUND                          */

typedef struct cellar_locks cellar_locks; /* a table of locks */

/* An owner's handle. All zero: not an owner. */
typedef struct cellar_lock {
    uint32_t stripe, record; /* where the lock is */
    uint64_t fence;          /* this owner's number: above all earlier ones of its key */
} cellar_lock;

typedef enum cellar_lock_lost {
    CELLAR_LOCK_EXPIRED = 1,   /* its lease ended while it was held */
    CELLAR_LOCK_OWNER_DIED = 2 /* THREAD_BOUND, and its thread is gone */
} cellar_lock_lost;

/* A lock was lost: its owner held it for held_ms. `key` is readable during the call. */
typedef void (*cellar_lock_watch_fn)(void *ctx, const void *key, size_t key_len, uint64_t fence,
                                     int64_t held_ms, cellar_lock_lost cause);
/* Runs under a lock; see cellar_lock_with. */
typedef cellar_err (*cellar_lock_fn)(void *ctx, const cellar_lock *lk);

/* What a table is opened with. Zero everywhere = defaults. */
typedef struct cellar_locks_config {
    size_t   struct_size;    /* set by CELLAR_LOCKS_CONFIG_INIT                                   */
    uint64_t max_locks;      /* keys held or waited for; 0 = 65,536; at most 2^24                 */
    uint64_t max_bytes;      /* bound of everything; 0 = 32 MiB; least 256 KiB                    */
    uint64_t fence_start;    /* all fences are above it; 0 = by the wall clock; below 2^61        */
    const char *name;        /* label in metrics, copied; NULL = "locks"; 1..64 bytes             */
    cellar_clock_fn clock;   /* NULL = the system's                                               */
    void    *clock_ctx;
    uint32_t barging;        /* 1: a release does not hand over, see QUEUE                        */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_locks_config;
CELLAR_NO_TAIL_PADDING(cellar_locks_config, reserved0);
#define CELLAR_LOCKS_CONFIG_INIT { sizeof(cellar_locks_config), 0, 0, 0, 0, 0, 0, 0, 0 }

/* How a lock is taken. Set by CELLAR_LOCK_OPTS_INIT; times in milliseconds. */
typedef struct cellar_lock_opts {
    size_t   struct_size;
    int64_t  wait_ms;        /* 30,000; 0 = do not wait; INT64_MAX = for ever                     */
    int64_t  lease_ms;       /* 30,000; from 1; not looked at with NO_LEASE                       */
    const char *note;        /* NULL, or 0..CELLAR_LOCK_NOTE_MAX bytes for cellar_lock_holder     */
    uint32_t flags;          /* CELLAR_LOCK_...                                                   */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_lock_opts;
CELLAR_NO_TAIL_PADDING(cellar_lock_opts, reserved0);
#define CELLAR_LOCK_OPTS_INIT { sizeof(cellar_lock_opts), 30000, 30000, 0, 0, 0 }

/* Who holds a key. */
typedef struct cellar_lock_info {
    size_t   struct_size;    /* set by CELLAR_LOCK_INFO_INIT                                      */
    uint64_t fence;
    int64_t  held_ms;        /* since it was acquired                                             */
    int64_t  lease_left_ms;  /* INT64_MAX: no lease                                               */
    uint64_t waiters;
    int32_t  owner_tid;      /* the thread that acquired it                                       */
    uint32_t flags;          /* CELLAR_LOCK_...                                                   */
    char     note[CELLAR_LOCK_NOTE_MAX + 1]; /* the owner's                                       */
} cellar_lock_info;
CELLAR_NO_TAIL_PADDING(cellar_lock_info, note);
#define CELLAR_LOCK_INFO_INIT { sizeof(cellar_lock_info), 0, 0, 0, 0, 0, 0, { 0 } }

/* Figures of a table; the same as cellar_locks_metrics_write tells. */
typedef struct cellar_locks_stats {
    size_t   struct_size;    /* set by CELLAR_LOCKS_STATS_INIT                                    */
    uint64_t acquired;       /* times a lock got an owner                                         */
    uint64_t handed_over;    /* of them to a waiter                                               */
    uint64_t waits;          /* calls that had to wait                                            */
    uint64_t timeouts;       /* of them without success                                           */
    uint64_t busy;           /* calls that would not wait                                         */
    uint64_t deadlocks;      /* refused: the thread waits for itself                              */
    uint64_t expired;        /* leases that ended while held                                      */
    uint64_t owner_died;     /* owners whose thread ended                                         */
    uint64_t lost;           /* extends and releases that came too late                           */
    uint64_t not_owner;      /* releases and extends by a wrong handle                            */
    uint64_t refused_limit;  /* acquisitions refused: max_locks                                   */
    uint64_t refused_memory; /* acquisitions refused: max_bytes, or no memory                     */
    uint64_t records;        /* keys in the table now                                             */
    uint64_t held;           /* of them held                                                      */
    uint64_t waiting;        /* threads that wait now                                             */
    uint64_t bytes;          /* charged now                                                       */
    uint64_t fence_max;      /* no fence given out so far is above it                             */
} cellar_locks_stats;
CELLAR_NO_TAIL_PADDING(cellar_locks_stats, fence_max);
#define CELLAR_LOCKS_STATS_INIT { sizeof(cellar_locks_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
    0, 0, 0, 0, 0 }

/* Open a table of locks.
 * in:      cfg from CELLAR_LOCKS_CONFIG_INIT; NULL = all defaults
 * out:     *out, or NULL on failure
 * returns: OK; E_INVAL, E_UNSUPPORTED (field of a newer header), E_SPACE (max_bytes too small for
 *          the table itself), E_NOMEM (memory, address space, the kernel's random numbers)
 * owns:    the caller closes *out with cellar_locks_close
 * thread:  any; several tables side by side are fine
 * cost:    one allocation of about 60 KiB, address space of 200 bytes a lock; starts no thread
 * example:
 *     cellar_locks *t;
 *     if (cellar_locks_open(NULL, &t) != CELLAR_OK) return 1;                                    */
CELLAR_API cellar_err cellar_locks_open(const cellar_locks_config *cfg, cellar_locks **out);

/* End a table. Locks still held are forgotten, without a word to the watcher.
 * in:      a table no other call uses or waits in; NULL is fine
 * thread:  not beside other calls on the table
 * cost:    O(locks held)
 * example: cellar_locks_close(t);                                                                */
CELLAR_API void cellar_locks_close(cellar_locks *t);

/* Become the owner of a key; wait in line for it if somebody else is.
 * in:      key of 1..CELLAR_KEY_MAX bytes; o NULL = 30 s of waiting, 30 s of lease
 * out:     *out the owner's handle; zero unless OK
 * returns: OK; E_BUSY (wait_ms 0, and somebody holds it), E_TIMEOUT (deadline), E_DEADLOCK (this
 *          thread holds the key THREAD_BOUND), E_LIMIT (max_locks), E_SPACE (max_bytes), E_NOMEM,
 *          E_INVAL (lease_ms below 1, NO_LEASE without THREAD_BOUND), E_UNSUPPORTED
 * thread:  any; sleeps while it waits, holding nothing; not a cancellation point
 * cost:    uncontended and held not long ago: no lock, one compare-exchange; else one short lock,
 *          one allocation now and then
 * example:
 *     cellar_lock_opts o = CELLAR_LOCK_OPTS_INIT;
 *     o.wait_ms = 2000;
 *     o.lease_ms = 5000;
 *     cellar_lock lk;
 *     if (cellar_lock_acquire(t, "order:7", 7, &o, &lk) != CELLAR_OK) return 1;                  */
CELLAR_API cellar_err cellar_lock_acquire(cellar_locks *t, const void *key, size_t key_len,
                                          const cellar_lock_opts *o, cellar_lock *out);

/* The same without waiting, whatever wait_ms says.
 * returns: as cellar_lock_acquire; E_BUSY also where it would be E_DEADLOCK
 * thread:  any; never waits for an owner
 * cost:    as an uncontended cellar_lock_acquire
 * example: if (cellar_lock_try(t, "order:7", 7, NULL, &lk) == CELLAR_E_BUSY) return 0;           */
CELLAR_API cellar_err cellar_lock_try(cellar_locks *t, const void *key, size_t key_len,
                                      const cellar_lock_opts *o, cellar_lock *out);

/* Let a lease end `lease_ms` from now, later or earlier than before.
 * in:      lease_ms from 1
 * returns: OK; E_LOST (the lease was over: nothing revives it), E_NOT_OWNER (no owner's handle; or
 *          THREAD_BOUND by another thread), E_FORKED, E_INVAL
 * thread:  any that has the handle
 * cost:    one short lock
 * example: if (cellar_lock_extend(t, &lk, 30000) != CELLAR_OK) stop_working();                   */
CELLAR_API cellar_err cellar_lock_extend(cellar_locks *t, const cellar_lock *lk, int64_t lease_ms);

/* Give the lock back; the longest waiter gets it.
 * in:      an owner's handle, or any other: nothing happens then
 * out:     *lk is zero after OK
 * returns: OK; E_LOST (the lease ended before; somebody else may own it, and keeps it),
 *          E_NOT_OWNER (never acquired, released already, or THREAD_BOUND by another thread),
 *          E_FORKED, E_INVAL
 * thread:  any that has the handle
 * cost:    without waiters: no lock, one compare-exchange
 * example: if (cellar_lock_release(t, &lk) == CELLAR_E_LOST) undo();                             */
CELLAR_API cellar_err cellar_lock_release(cellar_locks *t, cellar_lock *lk);

/* Does this handle still own its lock?
 * returns: OK; E_LOST, E_NOT_OWNER, E_FORKED, E_INVAL as cellar_lock_release
 * thread:  any
 * cost:    no lock, no shared write
 * example: while (cellar_lock_valid(t, &lk) == CELLAR_OK) work_a_little();                       */
CELLAR_API cellar_err cellar_lock_valid(cellar_locks *t, const cellar_lock *lk);

/* Who holds this key?
 * in:      out from CELLAR_LOCK_INFO_INIT
 * out:     *out, only when OK
 * returns: OK; MISS (nobody), E_INVAL, E_UNSUPPORTED
 * thread:  any; the answer may be old when it arrives
 * cost:    one short lock
 * example:
 *     cellar_lock_info info = CELLAR_LOCK_INFO_INIT;
 *     if (cellar_lock_holder(t, "order:7", 7, &info) == CELLAR_OK) puts(info.note);              */
CELLAR_API cellar_err cellar_lock_holder(cellar_locks *t, const void *key, size_t key_len,
                                         cellar_lock_info *out);

/* Be told of every lock that is lost, exactly once each: by the call that finds out (an acquire of
 * the same key, a late release, cellar_locks_tick), in its thread, with no lock held.
 * in:      fn NULL: no longer
 * returns: OK; E_INVAL
 * thread:  any; a call under way may still go to the watcher before
 * cost:    one short lock
 * example: cellar_locks_watch(t, on_lost, NULL);                                                 */
CELLAR_API cellar_err cellar_locks_watch(cellar_locks *t, cellar_lock_watch_fn fn, void *ctx);

/* Run `fn` as the owner of a key: acquire, fn, release. pthread_exit and cancellation inside fn
 * release as well; longjmp out of it is not allowed.
 * in:      as cellar_lock_acquire; fn
 * returns: what acquire said if not OK; what fn returned if not OK; else what release said: E_LOST
 *          when fn outlived the lease
 * thread:  any; fn runs with no internal lock held and may take other keys
 * cost:    acquire and release
 * example: if (cellar_lock_with(t, "order:7", 7, NULL, pay, &order) == CELLAR_E_LOST) undo();    */
CELLAR_API cellar_err cellar_lock_with(cellar_locks *t, const void *key, size_t key_len,
                                       const cellar_lock_opts *o, cellar_lock_fn fn, void *ctx);

/* Become the owner of several keys, or of none of them. Keys are taken in byte order, so that calls
 * of this function never wait for each other in a circle.
 * in:      count 1..CELLAR_LOCK_MANY_MAX different keys; one deadline (wait_ms) for all of them;
 *          each lease begins when its key is taken
 * out:     out[i] belongs to keys[i]; all zero unless OK
 * returns: as cellar_lock_acquire, of the key that failed; E_INVAL also for equal keys; E_LOST when
 *          the first leases ended while the last key was waited for
 * thread:  any; sleeps while it waits, owning the keys taken so far
 * cost:    as so many cellar_lock_acquire
 * example:
 *     const cellar_bytes keys[2] = { { "account:1", 9 }, { "account:2", 9 } };
 *     cellar_lock lk[2];
 *     if (cellar_lock_acquire_many(t, keys, 2, NULL, lk) != CELLAR_OK) return 1;                 */
CELLAR_API cellar_err cellar_lock_acquire_many(cellar_locks *t, const cellar_bytes *keys,
                                               size_t count, const cellar_lock_opts *o,
                                               cellar_lock *out);

/* Give several locks back.
 * in:      count 1..CELLAR_LOCK_MANY_MAX handles
 * returns: OK; else the first code that was not OK; all are tried
 * thread:  as cellar_lock_release
 * cost:    as so many cellar_lock_release
 * example: cellar_lock_release_many(t, lk, 2);                                                   */
CELLAR_API cellar_err cellar_lock_release_many(cellar_locks *t, cellar_lock *lk, size_t count);

/* Look after the table: report locks that were lost and that nobody asks for, forget keys nobody
 * holds, give memory back. Nothing depends on it but that; call it each second or so.
 * out:     *lost_count locks found lost; optional
 * returns: OK; E_INVAL
 * thread:  any; the watcher is called in this thread
 * cost:    O(keys in the table), one stripe of 64 locked at a time
 * example: cellar_locks_tick(t, NULL);                                                           */
CELLAR_API cellar_err cellar_locks_tick(cellar_locks *t, uint64_t *lost_count);

/* Figures of the table as they are now.
 * in:      out from CELLAR_LOCKS_STATS_INIT
 * returns: OK; E_INVAL
 * thread:  any; exact when no other call runs
 * cost:    O(keys in the table)
 * example:
 *     cellar_locks_stats s = CELLAR_LOCKS_STATS_INIT;
 *     cellar_locks_stats_get(t, &s);                                                             */
CELLAR_API cellar_err cellar_locks_stats_get(cellar_locks *t, cellar_locks_stats *out);

#ifndef CELLAR_OMIT_TEXT
/* The same figures as Prometheus text, into the caller's buffer.
 * in:      cap bytes at buf, 0 asks for the size (buf may be NULL)
 * out:     *len the full size, without the ending 0 that follows when it fits; optional
 * returns: OK (text complete and 0-terminated), E_BUFFER, E_INVAL
 * thread:  any
 * cost:    as cellar_locks_stats_get; no allocation
 * example:
 *     char text[8192];
 *     if (cellar_locks_metrics_write(t, text, sizeof text, NULL) == CELLAR_OK) puts(text);       */
CELLAR_API cellar_err cellar_locks_metrics_write(cellar_locks *t, char *buf, size_t cap,
                                                 size_t *len);
#endif

#ifdef __cplusplus
}
#endif
#endif
