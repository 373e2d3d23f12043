/* SPDX-License-Identifier: MIT
 *
 * cellar_load: read through the cache with a loader, for one key, for many, or with a lease.
 *
 * A loader is a function of the program that fetches or computes a missing value. With
 * cellar_get_or_load the program asks the cache alone: the call returns the value that is there, or
 * runs the loader, stores its result and returns it. Other threads that want the same key wait for
 * that one run. */
#ifndef CELLAR_LOAD_H
#define CELLAR_LOAD_H

#include "cellar_entry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* LOADS
 * One loader runs for a missing key, on any number of threads. The call that runs it is the
 * leader; calls for the same key wait for its result. A delete, clear, newer set or version
 * change during the load wins: leader and waiters get the late result, the cache does not store
 * it (CELLAR_RESULT_INVALIDATED). So does a set, update or increment with ONLY_IF_PRESENT that
 * finds no value. After hard_timeout_ms, or when the leader's thread ends inside the loader, a
 * waiter leads the next load. All times are times of the store's clock (cellar_host_config.clock).
 *
 * In a namespace that is switched off a load reads nothing and stores nothing. It runs its loader,
 * or waits for one that runs, and returns the result; see DISABLED in cellar_admin.h. */

/* TIMES TO LIVE
 * The TTL of a loaded value is the first one that is set: by the loader (cellar_load_opts_set), by
 * ttl_ms of the call, a rule of its key (KEY POLICIES in cellar_admin.h), the namespace, the store.
 * ttl_max_ms of a rule bounds it. Then jitter_pct shortens it by up to 10 %. Idle times and classes
 * of TTL are for loaded values only if a rule sets them; a fulfilled lease has them as a set does.
 * "Absent" is remembered for negative_ttl_ms in the same order, 60 s by default; jitter_pct does
 * not spread it. Fallbacks: see FAILURES. */

/* STALE VALUES
 * Past its TTL a value stays readable for stale_ms. A load that finds it starts a refresh and
 * returns the value with STALE: after soft_timeout_ms, or at the first look if that is 0. If the
 * refresh fails, the value is served for retry_throttle_ms before the next try. Three options
 * refresh a value before its TTL passes: eager_refresh_pct, xfetch_beta_x100, and refresh_ms of a
 * rule (KEY POLICIES in cellar_admin.h). eager_refresh_pct needs the birth of the value: loads with
 * that option store it, sets only with exact_age; the disk does not keep it. xfetch_beta_x100 needs
 * its cost.
 *
 * A refresh runs in the background only if its ctx outlives the call: the loader of the
 * namespace, CELLAR_LOAD_CTX_STATIC, ctx_bytes or ctx_retain. Otherwise the call that finds the
 * value loads it in its own thread, and other calls return the stale value. Background loads run
 * in load_threads threads of the store, or in cellar_tick. These threads have the default stack of
 * the process, or host option stack_bytes. */

/* FAILURES
 * A load fails if its loader returns any code but OK, calls cellar_load_fail, or sets no result
 * or two. A stale value is returned instead, if there is one. Otherwise the fallbacks run, in
 * order. One caller of a key runs them, the others get their result. Fallbacks also run when the
 * breaker is open, when a remembered failure ends the load, and after a failed load of another
 * call that has other fallbacks.
 *
 * After the last fallback default_value is the result, also for E_TIMEOUT, E_LIMIT and E_NOMEM.
 * With ONLY_IF_CACHED, and for E_DEADLOCK and E_DEPTH, neither fallbacks nor default value are
 * used. Both are stored for fallback_ttl_ms, in memory only, unless the failure is remembered for
 * longer.
 *
 * With error_ttl_ms a failure is remembered, for half to all of that time, at random: meanwhile
 * loads fail with E_LOADER and no loader runs. The time doubles with each further failure. A
 * failure beside a stale value is not remembered: it holds for retry_throttle_ms, or until the
 * value ends. A loader that returns E_CANCELLED, E_DEADLOCK, E_TIMEOUT, E_LIMIT, E_DEPTH or
 * E_CLOSED is not remembered, and no failure for the breaker. Over a server error_ttl_ms and
 * fallback_ttl_ms end earlier as a rule: see LIMITS OF THE PROMISES in cellar_remote.h. */

/* RECURSION
 * A loader may load other keys. At 16 loads in each other the next one is E_DEPTH. A load is
 * E_DEADLOCK if its wait would never end: this thread loads the key already, or another thread
 * does, and waits for this thread.
 *
 * With CELLAR_LOAD_RECURSE (memoized recursion) such a load runs its loader instead. It waits for
 * no other load, and no call waits for it. Its value is stored as with CELLAR_LOAD_NO_JOIN, but
 * not in a namespace with a shared tier. Counter load_recursions. At 1,000 loads in each other the
 * next one is E_DEPTH. Each takes about 2 KiB of stack, and what its loader takes. Bulk loads and
 * leases ignore the flag. */

/* LEAVE A WAIT
 * A wait for the load of another call ends with that load, or after wait_timeout_ms. A signal does
 * not end it, and it is no cancellation point. A thread that may have to leave waits in pieces: it
 * sets wait_timeout_ms to a few milliseconds and no default_value, and after E_TIMEOUT it looks
 * whether to stop, or calls again. The load goes on for the other callers.
 *
 * A task of an event loop does not wait: cellar_lease_acquire with a subscriber returns PENDING.
 * When the task is cancelled, cellar_lease_unsubscribe withdraws it. The caller that runs the
 * loader leaves through the loader: it returns E_CANCELLED, which no error_ttl_ms remembers, and
 * one of the waiters loads next. Program: tests/examples/leave_wait.c. */

/* PINNED RESULTS
 * With CELLAR_LOAD_PIN a fresh hit in memory is not copied: `value` points to the entry, also
 * when `buf` is set, and CELLAR_RESULT_PINNED says so. The bytes do not change: a later set,
 * delete or eviction leaves them in place. cellar_result_free unpins them, and must be called
 * before the store is closed. ttl_left_ms is -1, and age_ms without exact_age; version is 0.
 *
 * The value is copied as usual when it is stale, on disk or just loaded, when all pins are in use
 * (PINS in cellar_entry.h), with eager_refresh_pct or xfetch_beta_x100, and when a policy wants it
 * refreshed now. Bulk loads and leases ignore the flag. */

/* ---- Results --------------------------------------------------------------------------------- */

/* Where a result came from. */
typedef enum cellar_source {
    CELLAR_SOURCE_NONE = 0,               /* no value */
    CELLAR_SOURCE_L1 = 1,                 /* memory */
    CELLAR_SOURCE_L2 = 2,                 /* disk, or another tier below memory */
    CELLAR_SOURCE_LOADED = 3,             /* the loader of this call */
    CELLAR_SOURCE_JOINED = 4,             /* the loader of another call */
    CELLAR_SOURCE_NEGATIVE = 5,           /* a negative entry */
    CELLAR_SOURCE_ERROR_ENTRY = 6,        /* a remembered error */
    CELLAR_SOURCE_STALE_SOFT_TIMEOUT = 7, /* stale: the load took longer than soft_timeout_ms */
    CELLAR_SOURCE_STALE_IF_ERROR = 8,     /* stale: the load failed */
    CELLAR_SOURCE_STALE_REVALIDATE = 9,   /* stale: a refresh runs */
    CELLAR_SOURCE_BLOOM = 10,             /* absent by the Bloom filter */
    CELLAR_SOURCE_FALLBACK = 11,          /* a fallback of the loader */
    CELLAR_SOURCE_DEFAULT = 12            /* default_value */
} cellar_source;

/* Bits of cellar_result.flags. */
#define CELLAR_RESULT_NOT_STORED  1u /* loaded and returned, not stored                           */
#define CELLAR_RESULT_INVALIDATED 2u /* not stored: a delete, clear or newer set came first       */
#define CELLAR_RESULT_REFRESHING  4u /* this call started a refresh in the background             */
#define CELLAR_RESULT_PINNED      8u /* value points to the entry; see PINNED RESULTS             */
#define CELLAR_RESULT_NOT_SHARED 16u /* the shared tier did not get it: others may load it, too   */

/* Result of a load. With buf set, a value that fits is copied there and a hit allocates nothing.
 * Presence is the code, never the pointer: an empty value is a value. A plain hit is a fresh value
 * in memory that was stored without idle time, stale window and tags. */
typedef struct cellar_result {
    size_t      struct_size;    /* set by cellar_result_default()                                 */
    void       *buf;            /* in: buffer of the caller; optional                             */
    size_t      buf_cap;        /* in: bytes at buf                                               */
    const void *value;          /* the bytes: at buf, owned by this result, or pinned; NULL       */
                                /* without a value                                                */
    size_t      value_len;      /* bytes at value                                                 */
    cellar_source source;       /* where the result came from                                     */
    uint32_t    flags;          /* CELLAR_RESULT_...                                              */
    uint32_t    user_flags;     /* as given to the set or by the loader; 0 without a value        */
    int32_t     loader_err;     /* code that the loader returned or reported, in each call that   */
                                /* led or joined the load; 0 unless the call returns E_LOADER     */
    int64_t     age_ms;         /* time since the value was stored or read from disk; -1 = not    */
                                /* known: plain and pinned hits of a namespace without exact_age, */
                                /* results of other calls                                         */
    int64_t     ttl_left_ms;    /* CELLAR_TTL_NONE = never expires; 0 = stale; -1 = not known, as */
                                /* for an entry that was just read from disk                      */
    int64_t     retry_after_ms; /* after E_LOADER or STALE: time until the next load may run; 0 = */
                                /* it may run now                                                 */
    uint64_t    version;        /* version of the entry, of a hit that has one; 0 = none or not   */
                                /* known                                                          */
    uint64_t    load_us;        /* time the loader took; 0 = it did not run                       */
    uint64_t    opaque[4];      /* words of the library                                           */
} cellar_result;
CELLAR_STRUCT(cellar_result, opaque);

/* ---- Options --------------------------------------------------------------------------------- */

/* Flags of cellar_load_opts: what a load reads, stores, waits for and copies. An unknown one is
 * E_INVAL. */
#define CELLAR_LOAD_BYPASS         0x01u  /* do not read, do not store, do not join another load  */
#define CELLAR_LOAD_REFRESH        0x02u  /* do not read: run the loader, store its result        */
#define CELLAR_LOAD_ONLY_IF_CACHED 0x04u  /* never load: MISS                                     */
#define CELLAR_LOAD_NO_STORE       0x08u  /* return the result, do not store it                   */
#define CELLAR_LOAD_NO_L2          0x10u  /* no read or write of the disk; other tiers are used   */
#define CELLAR_LOAD_NO_JOIN        0x20u  /* loads of one key in parallel; the first is stored    */
#define CELLAR_LOAD_CTX_STATIC     0x40u  /* ctx outlives every background load                   */
#define CELLAR_LOAD_PIN            0x80u  /* do not copy a hit in memory; see PINNED RESULTS      */
#define CELLAR_LOAD_NO_NEGATIVE    0x100u /* return ABSENT, do not store it                       */
#define CELLAR_LOAD_NO_WAIT        0x200u /* PENDING instead of a wait for another call           */
#define CELLAR_LOAD_RECURSE        0x400u /* in a loader: no E_DEPTH, no E_DEADLOCK; RECURSION    */
#define CELLAR_LOAD_WAIT_DISK      0x800u /* wait for a disk that stands still, 1 s at most       */

/* Limits of the options of a load. */
#define CELLAR_LOAD_CTX_MAX 256u          /* most ctx_bytes                                       */
#define CELLAR_LOAD_TRACE_BYTES 32u       /* bytes of the trace context                           */
#define CELLAR_FALLBACKS_MAX 3u           /* fallbacks of a load                                  */

/* A circuit breaker, which refuses loads while their source fails. cellar_breaker_create makes one,
 * cellar_breaker_destroy frees it, cellar_load_opts.breaker takes it. */
typedef struct cellar_breaker cellar_breaker;

/* A loader that runs when the first one failed, for cellar_load_opts.fallback; see FAILURES. */
typedef struct cellar_fallback {
    cellar_loader_fn fn; /* NULL = none */
    void         *ctx;   /* given to fn; lives until the load, or the lease, has ended */
} cellar_fallback;

/* Options of a load, for cellar_get_or_load, cellar_get_or_load_many, cellar_lease_acquire and
 * their kin. 0 = the value of the namespace, then of the store, then the default. A loader
 * overrides them with cellar_load_opts_set; flags of call and namespace are combined. In
 * cellar_namespace_config.load these must be 0: ttl_ms, negative_ttl_ms, stale_ms (the namespace
 * has fields of its own), fallback_ttl_ms, fallback, default_value, breaker, ctx_bytes,
 * ctx_retain, ctx_release, trace, result, and all flags but CELLAR_LOAD_NO_NEGATIVE. */
typedef struct cellar_load_opts {
    size_t   struct_size;       /* set by cellar_load_opts_default()                              */
    int64_t  ttl_ms;            /* TTL of the value. From 1 ms. CELLAR_TTL_NONE: none.            */
                                /* Default 0: see TIMES TO LIVE                                   */
    int64_t  negative_ttl_ms;   /* TTL of "absent". From 1 ms. CELLAR_TTL_NONE: none.             */
                                /* Default 60,000                                                 */
    int64_t  error_ttl_ms;      /* most time that a failure is remembered; it doubles with each   */
                                /* further failure, up to error_ttl_max_ms. From 1 ms.            */
                                /* Default 0: not remembered                                      */
    int64_t  error_ttl_max_ms;  /* longest such time. Range 1 ms..24 h. Default 60,000            */
    int64_t  stale_ms;          /* stale window after the TTL. Range 1..2^32 - 1 ms.              */
                                /* Default 0: none                                                */
    int64_t  retry_throttle_ms; /* pause after a failure while a stale value is served.           */
                                /* From 1 ms. Default 30,000                                      */
    int64_t  soft_timeout_ms;   /* maximum wait before a stale value is returned.                 */
                                /* Range 1 ms..hard_timeout_ms. Default 0: no wait.               */
                                /* CELLAR_TTL_NONE: no wait, also in a namespace that has one     */
    int64_t  hard_timeout_ms;   /* after it a waiter may take the load over. Range 1 ms..24 h.    */
                                /* Default 30,000                                                 */
    int64_t  wait_timeout_ms;   /* maximum wait for a load of another call; see LEAVE A WAIT.     */
                                /* From 1 ms. CELLAR_TTL_NONE: no limit. Default hard_timeout_ms  */
    int64_t  fallback_ttl_ms;   /* TTL of fallback and default values. From 1 ms.                 */
                                /* Default retry_throttle_ms                                      */
    uint32_t jitter_pct;        /* spreads TTLs of values. Range 1..100 percent or CELLAR_OFF.    */
                                /* Default 10                                                     */
    cellar_jitter jitter_mode;  /* direction in which jitter_pct spreads. Default MINUS           */
    uint32_t join_retries;      /* further loads that a waiter takes part in after a failed one,  */
                                /* before it returns the error. Range 1..8 or CELLAR_OFF. Default */
                                /* 1: the second failure is the answer                            */
    uint32_t leader_retries;    /* hard time-outs in a row before E_TIMEOUT. Range 1..15 or       */
                                /* CELLAR_OFF. Default 2                                          */
    uint32_t eager_refresh_pct; /* refresh past this share of the TTL. Range 1..99 percent or     */
                                /* CELLAR_OFF. Default 0: off                                     */
    uint32_t xfetch_beta_x100;  /* probabilistic early refresh (XFetch): expensive entries        */
                                /* refresh earlier; 100 = 1.0. Range 1..100,000 or CELLAR_OFF.    */
                                /* Default 0: off. Not with eager_refresh_pct                     */
    uint32_t flags;             /* bits CELLAR_LOAD_... Default 0: none                           */
    uint32_t ctx_bytes;         /* so many bytes at ctx are copied for a background load.         */
                                /* Range 1..CELLAR_LOAD_CTX_MAX (256) bytes. Default 0: not       */
                                /* copied                                                         */
    void   *(*ctx_retain)(void *ctx);  /* returns the ctx of a background load. It runs in the    */
                                /* call that starts the load, without a lock. Default NULL        */
    void    (*ctx_release)(void *ctx); /* releases what ctx_retain returned, once, when the load  */
                                /* has ended or is given up: in any thread, without a lock. With  */
                                /* ctx_retain                                                     */
    cellar_fallback fallback[CELLAR_FALLBACKS_MAX]; /* loaders for a failed load. Default: none;  */
                                /* see FAILURES                                                   */
    const cellar_bytes *default_value; /* value for a failed load, at most CELLAR_VALUE_MAX       */
                                /* bytes. Default NULL: none                                      */
    cellar_breaker *breaker;           /* outlives the load. NULL = that of the namespace         */
    const unsigned char *trace; /* CELLAR_LOAD_TRACE_BYTES for cellar_load_info. The library      */
                                /* never reads them. Copied. NULL = none                          */
    cellar_result *result;      /* from cellar_result_default(): receives loader_err, source,     */
                                /* flags and times of a load of an object; its value is NULL.     */
                                /* Loads of bytes ignore it. NULL = none                          */
} cellar_load_opts;
CELLAR_STRUCT(cellar_load_opts, result);

/* ---- One key --------------------------------------------------------------------------------- */

/* One load in progress, as its loader sees it. The library makes it for the call of the loader, and
 * frees it when the loader returns. */
typedef struct cellar_load cellar_load;

/* Return the value of a key; if it is missing, load it with `fn` and store it. On any number of
 * threads the loader of a key runs once at a time: see LOADS. A loaded value that the cache does
 * not keep is OK as well, with CELLAR_RESULT_NOT_STORED in out->flags. Reasons: no room (E_SPACE of
 * a set), a DENY rule, NO_STORE, a namespace that is switched off; a delete, clear or newer set
 * during the load, then with CELLAR_RESULT_INVALIDATED as well. A fallback or default_value is OK,
 * too, with source FALLBACK or DEFAULT.
 * in:      key; o: options, NULL = those of the namespace; fn: loads the key, NULL = loader of the
 *          namespace (not needed with ONLY_IF_CACHED); ctx: given to fn; out from
 *          cellar_result_default, or freed after its last use; out->buf optional
 * out:     *out, also with negative codes; out->buf behind the value is undefined, as in cellar_get
 * returns: OK (a value), STALE (a value past its TTL: see STALE VALUES), ABSENT (the loader or a
 *          fallback reported that the source has none, now or before), MISS (with ONLY_IF_CACHED:
 *          the cache has no value), PENDING (with NO_WAIT: another call loads the key, call again
 *          later);
 *          E_LOADER (the loader failed: out->loader_err is its code), E_NO_RESULT (the loader
 *          returned OK without a result), E_RESULT_TWICE (the loader set two results), E_TOOBIG
 *          (the loaded value is over max_value_bytes), E_TIMEOUT (another load took longer than
 *          wait_timeout_ms, or leader_retries are used up), E_DEADLOCK (the wait would never end,
 *          also across threads: see RECURSION), E_DEPTH (too many loads in each other: see
 *          RECURSION), E_BREAKER_OPEN (the breaker refuses loads while the source fails), E_LIMIT
 *          (max_loads or max_load_waiters is reached), E_NOMEM (no memory, also in memory_bytes)
 * owns:    the caller frees *out with cellar_result_free, before it serves the next call and after
 *          the last one; also after the store was closed unless it is pinned. ctx: STALE VALUES
 * thread:  any; fn runs in the calling thread, for background loads in a thread of the store or in
 *          cellar_tick, with no lock held. It may call the cache, load other keys, be cancelled
 *          (deferred) or end its thread
 * cost:    hit: as cellar_get. Load: about 0.5 us, the loader and a set
 * example:
 *     cellar_result r = cellar_result_default();
 *     const cellar_err err =
 *         cellar_get_or_load(c, "k", 1, NULL, load_row, db, &r);
 *     switch (err) {
 *     case CELLAR_OK:
 *     case CELLAR_STALE: use(r.value, r.value_len); break;
 *     case CELLAR_ABSENT: puts("the source has none"); break;
 *     default: printf("no value: %s, loader %d\n", cellar_strerror(err),
 *                     (int)r.loader_err);
 *     }
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_get_or_load(cellar *c, const void *key, size_t key_len,
                                         const cellar_load_opts *o, cellar_loader_fn fn, void *ctx,
                                         cellar_result *out);

/* Free what a result owns, or unpin it. Call it after each load, also after a failed one. buf and
 * buf_cap stay set: the struct serves the next call.
 * in:      r: the result; NULL and new results are fine; a second call does nothing
 * thread:  any, also after the store was closed unless the result is pinned
 * cost:    one shared write; the last result that shares the value frees it
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_result_free(&r);                                                                    */
CELLAR_API void cellar_result_free(cellar_result *r);

/* ---- In a loader: exactly one result, of a bulk loader one for each key ---------------------- */

/* Set a copy of these bytes as the result of the load. Most loaders end with this call.
 * in:      load: the running load; value may be NULL if value_len is 0
 * returns: OK (the value is the result); E_RESULT_TWICE (a second result: neither is used, the load
 *          fails), E_TOOBIG (the value is over max_value_bytes), E_NOMEM (the system gave no
 *          memory)
 * owns:    the bytes are copied
 * thread:  the thread that runs the loader
 * cost:    one allocation and a copy
 * example: cellar_load_value(load, "value", 5);                                                  */
CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len);

/* Return a growing buffer for a value of unknown size; its bytes are the result when the loader
 * returns OK. Fill it with cellar_buf_append, or with cellar_buf_resize in place. A second call
 * returns the same buffer. A buffer that is empty is replaced by another result.
 * in:      load: the running load
 * returns: the buffer, empty at first; NULL: no memory, or another result is set, and the load
 *          fails; or a bulk loader has selected no key. cellar_buf_append to NULL is E_INVAL
 * owns:    borrowed until the loader returns
 * thread:  the thread that runs the loader
 * cost:    one allocation, one more for each doubling; not charged to the budget
 * example: cellar_buf_append(cellar_load_buf(load), "abc", 3);                                   */
CELLAR_API cellar_buf *cellar_load_buf(cellar_load *load);

/* Report that the source has no value for this key. The cache remembers that for negative_ttl_ms,
 * and loads return ABSENT meanwhile.
 * in:      load: the running load
 * returns: OK (the result is set); E_RESULT_TWICE (the load has another result: neither is used,
 *          the load fails)
 * thread:  the thread that runs the loader
 * cost:    O(1)
 * example: cellar_load_absent(load);                                                             */
CELLAR_API cellar_err cellar_load_absent(cellar_load *load);

/* Flag of cellar_load_fail. */
#define CELLAR_FAIL_FINAL 1u /* waiters do not try again: all get this error */

/* Report why the load fails, with a code of the program. The load then fails, also if the loader
 * returns OK.
 * in:      load: the running load; loader_err of the caller's choice, not 0; retry_after_ms 0..24
 *          h: no load before that time, where error_ttl_ms is set or a stale value is served; flags
 *          0 or CELLAR_FAIL_FINAL
 * returns: OK (the load fails when the loader returns)
 * thread:  the thread that runs the loader
 * cost:    O(1)
 * example: cellar_load_fail(load, 503, 2000, 0);                                                 */
CELLAR_API cellar_err cellar_load_fail(cellar_load *load, int32_t loader_err,
                                       int64_t retry_after_ms, uint32_t flags);

/* Set this block as the result, and hand it over: for a value that is already in memory of its own.
 * in:      load: the running load; value: the block of value_len bytes, not NULL; free_fn: frees
 *          it, not NULL; ctx: given to free_fn
 * returns: OK; E_TOOBIG (the value is over max_value_bytes), E_NOMEM (the system gave no memory),
 *          E_RESULT_TWICE (the load has another result), E_INVAL (value or free_fn is NULL: the
 *          block stays the caller's)
 * owns:    the library calls free_fn(value, ctx) once, also when this call fails: in the thread
 *          that drops the value last, with no lock held, perhaps after the store was closed.
 *          free_fn must not block; ctx lives until it has run
 * thread:  the thread that runs the loader
 * cost:    one small allocation
 * example: cellar_load_take(load, block, 100, free_block, NULL);                                 */
CELLAR_API cellar_err cellar_load_take(cellar_load *load, void *value, size_t value_len,
                                       void (*free_fn)(void *value, void *ctx), void *ctx);

/* Report that the old value (cellar_load_info) is still valid, as after 304 of HTTP, and keep it as
 * the result. Its TTL starts again; tags of cellar_load_opts_set replace its tags. Its user_flags,
 * cost and weight stay.
 * in:      load: the running load
 * returns: OK; E_RESULT_TWICE (the load has another result: neither is used, the load fails).
 *          Without an old value the load fails with E_NO_RESULT. A value with tags that was evicted
 *          or invalidated meanwhile, or that a shared tier has, is returned, not stored
 * thread:  the thread that runs the loader
 * cost:    O(1); the entry is rewritten once
 * example: cellar_load_not_modified(load);                                                       */
CELLAR_API cellar_err cellar_load_not_modified(cellar_load *load);

/* ---- In a loader: options of the result ------------------------------------------------------ */

/* Set options of this one result, such as its TTL or tags; they override those of call and
 * namespace. A field that is 0 keeps what was set before.
 * in:      load: the running load; o: ttl_ms, stale_ms, cost_us, user_flags, weight_bytes, tags (in
 *          place of earlier ones), flags CELLAR_NO_STORE, and CELLAR_NEGATIVE: ttl_ms is that of
 *          "absent". All other fields 0
 * returns: OK (the value gets these options); E_RANGE (stale_ms is above 2^32 - 1), E_NOMEM (no
 *          memory for the tags).
 *          Unless OK nothing is set
 * owns:    tags are copied
 * thread:  the thread that runs the loader
 * cost:    O(1); tags: O(their bytes)
 * example:
 *     cellar_set_opts o = cellar_set_opts_default();
 *     o.ttl_ms = 5000;
 *     cellar_load_opts_set(load, &o);                                                            */
CELLAR_API cellar_err cellar_load_opts_set(cellar_load *load, const cellar_set_opts *o);

/* ---- In a loader: questions ------------------------------------------------------------------ */

/* A load as its loader sees it: of cellar_load_info_get. Filled up to the caller's struct_size. */
typedef struct cellar_load_info {
    size_t      struct_size;    /* set by cellar_load_info_default()                              */
    const void *stale_value;    /* the value that this load replaces: stale, or fresh when it is  */
                                /* refreshed early; with REFRESH one of memory alone              */
    size_t      stale_len;      /* bytes of `stale_value`                                         */
    const unsigned char *trace; /* of cellar_load_opts; NULL = none. A background load and the    */
                                /* fallbacks of a lease have a copy; a waiter has no part in it   */
    int64_t     time_left_ms;   /* time until a waiter may take over this load; 0 = it may now    */
    uint32_t    has_stale;      /* 1: there is a stale_value                                      */
    uint32_t    stale_user_flags; /* user_flags of `stale_value`, as given to its set             */
    uint32_t    attempt;        /* loads of this key, lost or failed in a row before this one, as */
                                /* this call saw them                                             */
    uint32_t    cancelled;      /* 1: the result will not be stored, and no other call waits for  */
                                /* it                                                             */
} cellar_load_info;
CELLAR_STRUCT(cellar_load_info, cancelled);

/* Describe the running load: the old value, the time left, whether the result is still wanted.
 * in:      load: the running load; out from cellar_load_info_default
 * out:     *out: old value, limits and state of the load
 * returns: OK (*out is filled)
 * owns:    stale_value and trace are borrowed until the loader returns
 * thread:  the thread that runs the loader
 * cost:    one clock reading, one lock
 * example:
 *     cellar_load_info i = cellar_load_info_default();
 *     cellar_load_info_get(load, &i);
 *     if (i.cancelled) return CELLAR_E_CANCELLED;                                                */
CELLAR_API cellar_err cellar_load_info_get(const cellar_load *load, cellar_load_info *out);

/* ---- Many keys ------------------------------------------------------------------------------- */

/* One key of cellar_get_or_load_many. */
typedef struct cellar_load_item {
    const void   *key;     /* in: 1..CELLAR_KEY_MAX bytes */
    size_t        key_len; /* in: bytes of `key` */
    cellar_result *result; /* as for cellar_get_or_load; from cellar_result_default() */
    cellar_err    status;  /* out: the code of cellar_get_or_load for this key */
    uint32_t      reserved0; /* must be 0 */
} cellar_load_item;

/* Return the values of many keys, and load the missing ones in bulk. `fn` gets all keys that are
 * missing and that no other call loads, at most 4,096 a call.
 * in:      items: the keys, each with a result (may be NULL if count is 0); equal keys are fine; o:
 *          options as in cellar_get_or_load; fn: loads the keys, NULL = loader_many of the
 *          namespace; ctx: given to fn. A key that fn does not report gets E_NO_RESULT, or the
 *          error of fn. For each key that failed the fallbacks run, one key after the other
 * out:     result and status of each item, in the caller's order; buf as in cellar_get_or_load
 * returns: OK (the status of each item has its code)
 * owns:    the caller frees the result of each item with cellar_result_free. ctx lives until the
 *          call has returned
 * thread:  as cellar_get_or_load; each item is atomic, the batch is not. The call runs its own
 *          loader before it waits for other loads
 * cost:    hits: as cellar_get_many. One loader call for the other keys
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_load_item it[1] = {{.key = "a", .key_len = 1, .result = &r}};
 *     cellar_get_or_load_many(c, it, 1, NULL, load_rows, db);
 *     if (it[0].status == CELLAR_OK || it[0].status == CELLAR_STALE)
 *         use(r.value, r.value_len);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_get_or_load_many(cellar *c, cellar_load_item *items, size_t count,
                                              const cellar_load_opts *o, cellar_loader_many_fn fn,
                                              void *ctx);

/* Select the key of a bulk load to which the next calls belong: they set its result and its
 * options, and describe its load. Before the first selection cellar_load_opts_set sets options of
 * all keys, and cellar_load_fail the failure of all keys without a result; other results are
 * E_INVAL.
 * in:      load: the running bulk load; index of the key, from 0
 * returns: OK (the key is selected); E_INVAL (no such key: none is selected)
 * owns:    another selection ends the buffer of cellar_load_buf; its bytes are the result
 * thread:  the thread that runs the loader
 * cost:    O(1)
 * example:
 *     cellar_load_select(load, 0);
 *     cellar_load_value(load, "value", 5);                                                       */
CELLAR_API cellar_err cellar_load_select(cellar_load *load, size_t index);

/* ---- Leases: loads without a waiting thread -------------------------------------------------- */

/* Exclusive permission to load one key, from cellar_lease_acquire; or the ticket of a subscriber.
 * cellar_lease_fulfill or cellar_lease_release ends it. All zero = none. */
typedef struct cellar_lease {
    uint64_t opaque[2];
} cellar_lease;

/* Return whether this caller holds the lease, and so has to load the key. That is so with LEASED,
 * and with a value that this caller refreshes.
 * in:      lease as cellar_lease_acquire or cellar_object_lease_acquire left it, not NULL
 * returns: true until cellar_lease_fulfill or _release has ended it; false for the ticket of
 *          a PENDING, and of zeros. A lease that was lost past hard_timeout_ms is not seen here
 * thread:  any
 * cost:    O(1); no call of the library
 * example:
 *     if (cellar_lease_held(&lease))
 *         cellar_lease_fulfill(c, &lease, "value", 5, NULL);
 * since:   0.3.0                                                                                 */
static inline bool cellar_lease_held(const cellar_lease *lease)
{
    return lease->opaque[1] >> 32 != 0;
}

/* Wake a caller that waits for a load, for cellar_lease_acquire. The library calls this function
 * once when the load behind a PENDING has ended. Then call cellar_lease_acquire again: it returns
 * the value or the lease.
 * owns:    the struct is copied. ctx lives until fn has returned, or cellar_lease_unsubscribe has
 *          returned OK
 * thread:  the thread that ends the load: that of a loader, of cellar_lease_fulfill or _release, of
 *          cellar_tick, of the store. No lock is held; fn may call the library
 * cost:    it must not block: the end of the load waits for it. Let it wake the caller
 * example: cellar_subscriber s = {wake_loop, loop};                                              */
typedef struct cellar_subscriber {
    void (*fn)(void *ctx); /* not NULL */
    void  *ctx;            /* given to fn */
} cellar_subscriber;

/* Return the value of a key, or the lease to load it: a load for event loops, which must not wait.
 * The holder of the lease loads the value and calls cellar_lease_fulfill. All other callers get
 * that value, threads in cellar_get_or_load included.
 * in:      key; o: options as in cellar_get_or_load, without CELLAR_LOAD_BYPASS,
 *          CELLAR_LOAD_NO_STORE and CELLAR_LOAD_NO_JOIN. Its fallbacks and default_value serve when
 *          the breaker is open or a failure is remembered (the fallbacks then run in this call),
 *          and when the lease is released with an error; subscriber: called when a PENDING load
 *          ends, never for the holder of the lease, which continues after its own fulfill; optional
 * out:     *lease with LEASED, and when this caller refreshes: with STALE, and with OK before the
 *          TTL passes; with PENDING and a subscriber the ticket for cellar_lease_unsubscribe; else
 *          all zero. *out the value with OK and STALE; its buf as in cellar_get_or_load
 * returns: OK (a value), STALE (a value past its TTL), ABSENT (the source is known to have none);
 *          LEASED (no value: this caller loads it), PENDING (another caller loads it: call again,
 *          or wait for the subscriber), MISS (with ONLY_IF_CACHED: the cache has no value, or
 *          memory none and a shared server may have one: it is not asked);
 *          E_LOADER (an earlier load failed, and its failure is remembered), E_BREAKER_OPEN (the
 *          breaker refuses loads while the source fails), E_TIMEOUT (leader_retries are used up),
 *          E_LIMIT (max_loads or max_load_waiters is reached), E_NOMEM (the system gave no memory,
 *          or memory_bytes has no room for the call itself)
 * owns:    out as in cellar_get_or_load. A lease ends with fulfill or release; past hard_timeout_ms
 *          with the next call for the key, or with cellar_tick. The ctx of a fallback outlives the
 *          lease; the default value is copied. Only the breaker of the namespace is used: fulfill
 *          is a success, release with an error and an expired lease are failures
 * thread:  any; waits for fallbacks only
 * cost:    as cellar_get_or_load
 * example:
 *     cellar_lease lease;
 *     cellar_result r = cellar_result_default();
 *     switch (cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r)) {
 *     case CELLAR_OK:
 *     case CELLAR_STALE: use(r.value, r.value_len); break;
 *     case CELLAR_PENDING: again_later(); break; // another caller loads
 *     default: break; // LEASED, ABSENT; below 0: an error
 *     }
 *     if (cellar_lease_held(&lease)) // LEASED, or with a value: refresh
 *         cellar_lease_fulfill(c, &lease, "value", 5, NULL);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *subscriber,
                                           cellar_lease *lease, cellar_result *out);

/* Store the loaded value of a lease, and wake all callers that wait for it.
 * in:      lease from cellar_lease_acquire on this namespace; value (may be NULL if value_len is
 *          0); o: options as in cellar_set (TTL, stale window, tags, cost; CELLAR_NEGATIVE:
 *          absent), without conditions and CELLAR_DURABLE; NULL = defaults. TTL, stale window and
 *          jitter that o leaves open are those given to cellar_lease_acquire
 * out:     *lease is zeroed, except with E_LEASE and refused arguments: a lease of another
 *          namespace stays usable there
 * returns: OK (stored); INVALIDATED (not stored: a delete, clear or newer set came first), DROPPED
 *          (not stored: no room, or a rule refused it), DISABLED (not stored: the namespace is
 *          switched off); E_LEASE (the lease is unknown, expired, taken over or used), E_RANGE
 *          (idle_ms or stale_ms is above 2^32 - 1: the lease is still held), E_TOOBIG (over
 *          max_value_bytes: the lease is released with that code), E_NOMEM (no memory: the lease is
 *          released with that code).
 *          With the outcomes waiters got the value
 * owns:    the bytes are copied
 * thread:  any, not only the one that acquired the lease
 * cost:    as cellar_set
 * example: cellar_lease_fulfill(c, &lease, "value", 5, NULL);                                    */
CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o);

/* Give a lease back without a value: the load failed, or this caller does not load.
 * in:      lease from cellar_lease_acquire on this namespace; loader_err 0: another caller loads
 *          the key. Else the load failed: waiters get a stale value, a fallback or the default
 *          value given to cellar_lease_acquire, or E_LOADER; error_ttl_ms and retry_throttle_ms of
 *          that call apply
 * out:     *lease as with cellar_lease_fulfill
 * returns: OK (the lease is released); E_LEASE (the lease is unknown, expired, taken over or used)
 * owns:    the lease ends
 * thread:  any; fallbacks run in this call, like a loader in cellar_get_or_load
 * cost:    one lock; subscribers are called from here
 * example: cellar_lease_release(c, &lease, 0);                                                   */
CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err);

/* Withdraw the subscriber given to cellar_lease_acquire, when its caller no longer waits.
 * in:      ticket from a PENDING cellar_lease_acquire
 * out:     *ticket is zeroed with OK
 * returns: OK (fn will not be called); E_LEASE (fn was called, or will be called soon)
 * owns:    OK: the library no longer uses ctx. E_LEASE: ctx lives until fn has returned
 * thread:  any
 * cost:    one lock
 * example: cellar_lease_unsubscribe(c, &ticket);                                                 */
CELLAR_API cellar_err cellar_lease_unsubscribe(cellar *c, cellar_lease *ticket);

#ifdef __cplusplus
}
#endif
#endif
