/* SPDX-License-Identifier: MIT
 *
 * cellar_load: read through the cache with a loader, for one key, for many, or with a lease. */
#ifndef CELLAR_LOAD_H
#define CELLAR_LOAD_H

#include "cellar_entry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One load in progress, as its loader sees it. */
typedef struct cellar_load cellar_load;

/* Where a result came from. */
typedef enum cellar_source {
    CELLAR_SOURCE_NONE = 0,
    CELLAR_SOURCE_L1 = 1,                 /* memory */
    CELLAR_SOURCE_L2 = 2,                 /* disk */
    CELLAR_SOURCE_LOADED = 3,             /* the loader of this call */
    CELLAR_SOURCE_JOINED = 4,             /* the loader of another call */
    CELLAR_SOURCE_NEGATIVE = 5,           /* a negative entry */
    CELLAR_SOURCE_ERROR_ENTRY = 6,        /* a remembered error */
    CELLAR_SOURCE_STALE_SOFT_TIMEOUT = 7, /* stale: the load took longer than soft_timeout_ms */
    CELLAR_SOURCE_STALE_IF_ERROR = 8,     /* stale: the load failed */
    CELLAR_SOURCE_STALE_REVALIDATE = 9,   /* stale: a refresh runs */
    CELLAR_SOURCE_BLOOM = 10,             /* absent by the Bloom filter */
    CELLAR_SOURCE_FALLBACK = 11,
    CELLAR_SOURCE_DEFAULT = 12            /* default_value */
} cellar_source;

#define CELLAR_RESULT_NOT_STORED 1u /* loaded and delivered, not stored                          */
#define CELLAR_RESULT_INVALIDATED 2u /* because a delete, clear or newer set came in between     */
#define CELLAR_RESULT_REFRESHING 4u /* this call started a refresh in the background             */
#define CELLAR_RESULT_PINNED 8u /* value points to the entry in place; see CELLAR_LOAD_PIN       */

/* What a load-through read gives back. Set buf to have values that fit copied there: a hit then
 * allocates nothing. Presence is the code, never the pointer: an empty value is a value. */
typedef struct cellar_result {
    size_t      struct_size;    /* set by cellar_result_default()                                 */
    void       *buf;            /* in: room of the caller's, or NULL                              */
    size_t      buf_cap;        /* in: bytes at buf                                               */
    const void *value;          /* the bytes: at buf, or owned by this result                     */
    size_t      value_len;
    cellar_source source;
    uint32_t    flags;          /* CELLAR_RESULT_...                                              */
    uint32_t    user_flags;     /* as given to the set or by the loader                           */
    int32_t     loader_err;     /* what the loader returned or said, with E_LOADER                */
    int64_t     age_ms;         /* since it was stored; -1 = not known (plain hits do not ask)    */
    int64_t     ttl_left_ms;    /* CELLAR_TTL_NONE = never; 0 = stale; -1 = not known             */
    int64_t     retry_after_ms; /* with E_LOADER or STALE: no load will be tried before; 0 = none */
    uint64_t    version;        /* 0 = none                                                       */
    uint64_t    load_us;        /* how long the loader ran; 0 = it did not                        */
    uint64_t    opaque[4];
} cellar_result;
CELLAR_STRUCT(cellar_result, opaque);

#define CELLAR_LOAD_BYPASS         0x01u /* neither read nor store: ask the loader, alone         */
#define CELLAR_LOAD_REFRESH        0x02u /* do not read, but store                                */
#define CELLAR_LOAD_ONLY_IF_CACHED 0x04u /* never load: MISS                                      */
#define CELLAR_LOAD_NO_STORE       0x08u /* the result is delivered, not kept                     */
#define CELLAR_LOAD_NO_L2          0x10u /* not read from disk; what is loaded is not written     */
#define CELLAR_LOAD_NO_JOIN        0x20u /* loads of one key run side by side; first one is kept  */
#define CELLAR_LOAD_CTX_STATIC     0x40u /* ctx outlives every background load                    */
#define CELLAR_LOAD_PIN            0x80u /* a hit in memory is not copied: see cellar_result      */
#define CELLAR_LOAD_NO_NEGATIVE    0x100u /* "absent" is returned, not stored                     */
#define CELLAR_LOAD_NO_WAIT        0x200u /* PENDING instead of a wait for another call      */

#define CELLAR_LOAD_CTX_MAX 256u
#define CELLAR_FALLBACKS_MAX 3u

typedef struct cellar_breaker cellar_breaker; /* see "Circuit breakers" */

/* A loader asked when the first one gave nothing, and nothing stale is left: failed now, failed
 * lately and that is remembered, failed for the call this one waited for (whose fallbacks were
 * other functions), or not asked because the breaker is open. One caller of a key asks, the others
 * get what it brings. After the last one the default value stands in, also where a wait ended or a
 * limit was reached (E_TIMEOUT, E_LIMIT, E_NOMEM). Not with ONLY_IF_CACHED, and not in the place of
 * E_DEADLOCK and E_DEPTH. Kept for fallback_ttl_ms, in memory only; not kept where the failure is
 * remembered (error_ttl_ms) until later than that. */
typedef struct cellar_fallback {
    cellar_loader_fn fn; /* NULL: none */
    void         *ctx;
} cellar_fallback;

/* How to load. 0 everywhere = the view's default, then the store's, then what stands here. What is
 * out of range is E_INVAL, as is soft_timeout_ms over hard_timeout_ms, whichever of them is the
 * view's. */
typedef struct cellar_load_opts {
    size_t   struct_size;      /* set by cellar_load_opts_default()                               */
    int64_t  ttl_ms;           /* the view's default, else none; CELLAR_TTL_NONE = none           */
    int64_t  negative_ttl_ms;  /* of "none"; 60,000                                               */
    int64_t  error_ttl_ms;     /* how long a failure is remembered, doubled each time; off        */
    int64_t  error_ttl_max_ms; /* most it grows to; 60,000; at most 24 hours                      */
    int64_t  stale_ms;         /* window after the TTL in which an old value may be served; 0; at */
                               /* most 2^32 - 1                                                   */
    int64_t  retry_throttle_ms; /* pause after a failure while something stale is served; 30,000  */
    int64_t  soft_timeout_ms;  /* who holds something stale waits so long; 0 = not at all, as is  */
                               /* CELLAR_TTL_NONE in a view that has one                          */
    int64_t  hard_timeout_ms;  /* after it a waiter may take over; 30,000; at most 24 hours       */
    int64_t  wait_timeout_ms;  /* patience with another call's load; hard_timeout_ms              */
    int64_t  fallback_ttl_ms;  /* of fallback and default values; retry_throttle_ms               */
    uint32_t jitter_pct;       /* spreads TTLs; 10; 1..100, or CELLAR_OFF: none, as in the        */
    cellar_jitter jitter_mode; /* next four but this: with jitter_pct                             */
    uint32_t join_retries;     /* failures a joiner sees before it takes the error; 1; at most 8  */
    uint32_t leader_retries;   /* hard time-outs in a row that hand over; 2; at most 15           */
    uint32_t eager_refresh_pct; /* 1..99: refresh in the background past this share of the TTL    */
    uint32_t xfetch_beta_x100; /* refresh early at random, the likelier the dearer; 100 = 1.0; at */
                               /* most 100,000; not with eager_refresh_pct                        */
    uint32_t flags;            /* CELLAR_LOAD_...                                                 */
    uint32_t ctx_bytes;        /* 1..256: ctx is copied for background loads                      */
    void   *(*ctx_retain)(void *ctx);  /* both or neither: what it returns is the ctx of a        */
    void    (*ctx_release)(void *ctx); /* background load, and is released when that ended        */
    cellar_fallback fallback[CELLAR_FALLBACKS_MAX];
    const cellar_bytes *default_value; /* NULL: none; up to CELLAR_VALUE_MAX bytes                */
    cellar_breaker *breaker;           /* outlives the load; NULL: the view's                     */
} cellar_load_opts;
CELLAR_STRUCT(cellar_load_opts, breaker);

/* Read through the cache: the value of `key`, made by `fn` when it is not there. Whatever the
 * number of threads, one loader runs for a key; the others get its outcome. A delete, clear or
 * set during a load wins: the late result reaches those who wait, and is not stored.
 * in:      key; o NULL = the view's defaults; fn NULL = the view's loader (also with ONLY_IF_CACHED
 *          fn may be NULL); out->struct_size set, out->buf optional
 * out:     *out, also with negative codes
 * returns: OK; STALE (past its TTL, inside the stale window), ABSENT (the loader said "none", now
 *          or lately), MISS (ONLY_IF_CACHED), PENDING (NO_WAIT); E_LOADER (out->loader_err),
 *          E_NO_RESULT, E_RESULT_TWICE, E_TOOBIG (of the loaded value), E_TIMEOUT, E_DEADLOCK (the
 *          wait would never end, also across threads), E_DEPTH (over 16 loads inside each other),
 *          E_BREAKER_OPEN (breaker), E_LIMIT (max_flights, max_waiters), E_NOMEM, E_INVAL (also:
 *          an unknown flag), E_UNSUPPORTED (a field of a newer library), E_CLOSED
 * owns:    out->value is the caller's until cellar_result_free(out), also after the store is gone
 * thread:  any; fn runs in the calling thread (or, for background refreshes, in one of the store's
 *          or in cellar_tick) with no lock held. It may call the cache, load other keys, be
 *          cancelled (deferred) or end its thread: the load then passes to a waiter
 * cost:    hit: as cellar_get; a load: about half a microsecond beside the loader's own time and
 *          the set
 * example:
 *     cellar_result r = cellar_result_default();
 *     if (cellar_get_or_load(c, "k", 1, NULL, load_row, db, &r) == CELLAR_OK) use(r.value, 1);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_get_or_load(cellar *c, const void *key, size_t key_len,
                                         const cellar_load_opts *o, cellar_loader_fn fn, void *ctx,
                                         cellar_result *out);

/* Give back what a result owns; buf and buf_cap stay as they are, so that it can be used again.
 * in:      NULL and fresh results are fine
 * thread:  any, also after the store was closed
 * cost:    one shared write; the last one frees
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_result_free(&r);                                                                    */
CELLAR_API void cellar_result_free(cellar_result *r);

/* ---- what a loader says: exactly one result ---- */

/* The result is a copy of these bytes.
 * in:      load of the running loader; value may be NULL with value_len 0
 * returns: OK; E_RESULT_TWICE (there is one already: neither is kept), E_TOOBIG, E_NOMEM, E_INVAL
 * owns:    copied
 * thread:  the one that runs the loader
 * cost:    one allocation and a copy
 * example: cellar_load_value(load, "value", 5);                                                  */
CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len);

/* The result will be written in place: get room for it.
 * in:      value_len in bytes
 * out:     *value, writable until the loader returns; NULL on failure
 * returns: as cellar_load_value
 * owns:    borrowed until the loader returns
 * thread:  the one that runs the loader
 * cost:    one allocation
 * example:
 *     void *p;
 *     if (cellar_load_alloc(load, 3, &p) == CELLAR_OK) memcpy(p, "abc", 3);                      */
CELLAR_API cellar_err cellar_load_alloc(cellar_load *load, size_t value_len, void **value);

/* Return a growing buffer for a value of unknown size. Its content becomes the result when the
 * loader returns OK: see cellar_buf_append. A second call returns the same buffer.
 * in:      load of the running loader, not of a bulk loader
 * returns: the buffer; NULL: no memory, or the loader set another result. The load then fails, and
 *          cellar_buf_append to NULL is E_INVAL
 * thread:  the thread that runs the loader
 * cost:    one allocation, one more for each doubling; not charged to the budget
 * example: cellar_buf_append(cellar_load_buf(load), "abc", 3);                                   */
CELLAR_API cellar_buf *cellar_load_buf(cellar_load *load);

/* The result is this block, taken over.
 * in:      value not NULL; free_fn not NULL
 * returns: as cellar_load_value
 * owns:    free_fn(value, ctx) is called once, on every path, also when this call fails; with
 *          no lock held, in any thread, possibly after the store was closed
 * thread:  the one that runs the loader
 * cost:    one small allocation
 * example: cellar_load_take(load, block, 100, free_block, NULL);                                 */
CELLAR_API cellar_err cellar_load_take(cellar_load *load, void *value, size_t value_len,
                                       void (*free_fn)(void *value, void *ctx), void *ctx);

/* The result is that the source has nothing under this key.
 * in:      load of the running loader
 * returns: OK; E_RESULT_TWICE, E_INVAL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: cellar_load_absent(load);                                                             */
CELLAR_API cellar_err cellar_load_absent(cellar_load *load);

/* The result is that the old value (cellar_load_stale_value) still holds. Its time to live begins
 * anew; tags said (cellar_load_set_tags) take the place of those it has. One with tags that has
 * left, or was ended by one of them, meanwhile is delivered and not stored.
 * in:      load of the running loader
 * returns: OK; E_RESULT_TWICE, E_INVAL. Without an old value the load ends with E_NO_RESULT
 * thread:  the one that runs the loader
 * cost:    O(1); the entry is rewritten once
 * example: cellar_load_not_modified(load);                                                       */
CELLAR_API cellar_err cellar_load_not_modified(cellar_load *load);

#define CELLAR_FAIL_FINAL 1u /* no other caller need try: all who wait get this error */

/* Say why the load fails; the loader then returns a negative code.
 * in:      loader_err of the caller's choice, not 0; retry_after_ms: nobody asks again before (with
 *          error_ttl_ms, fallbacks or not, or something stale), 0..24 hours; flags
 *          CELLAR_FAIL_FINAL or 0
 * returns: OK; E_INVAL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: cellar_load_fail(load, 503, 2000, 0);                                                 */
CELLAR_API cellar_err cellar_load_fail(cellar_load *load, int32_t loader_err,
                                       int64_t retry_after_ms, uint32_t flags);

/* Options of this one result; each wins over the call's and the view's.
 * in:      load of the running loader; times as in cellar_load_opts but 0 too is taken as said:
 *          ttl_ms 0 = do not keep it; tags as in cellar_set_opts, replacing earlier ones
 * returns: OK; E_INVAL, E_RANGE
 * owns:    tags are copied
 * thread:  the one that runs the loader
 * cost:    O(1); tags: O(their bytes)
 * example: cellar_load_set_ttl(load, 5000);                                                      */
CELLAR_API cellar_err cellar_load_set_ttl(cellar_load *load, int64_t ttl_ms);
CELLAR_API cellar_err cellar_load_set_negative_ttl(cellar_load *load, int64_t ttl_ms);
CELLAR_API cellar_err cellar_load_set_stale(cellar_load *load, int64_t stale_ms);
CELLAR_API cellar_err cellar_load_set_tags(cellar_load *load, const cellar_bytes *tags,
                                           size_t tag_count);
CELLAR_API cellar_err cellar_load_set_cost(cellar_load *load, uint32_t cost_us);
CELLAR_API cellar_err cellar_load_set_user_flags(cellar_load *load, uint32_t user_flags);
CELLAR_API cellar_err cellar_load_set_no_store(cellar_load *load);

/* ---- what a loader may ask ---- */

/* The value that is about to be replaced: stale, or fresh when it is refreshed early.
 * in:      load of the running loader; user_flags optional
 * out:     *value and *value_len, or NULL and 0
 * returns: OK; MISS (there is none); E_INVAL
 * owns:    borrowed until the loader returns
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example:
 *     const void *old;
 *     size_t len;
 *     if (cellar_load_stale_value(load, &old, &len, NULL) == CELLAR_OK)
 *     cellar_load_not_modified(load); */
CELLAR_API cellar_err cellar_load_stale_value(cellar_load *load, const void **value,
                                              size_t *value_len,
                                              uint32_t *user_flags);

/* How many loads of this key were lost or failed before this one, in a row, as this call saw it.
 * in:      load of the running loader
 * returns: the number; 0 for NULL
 * thread:  the one that runs the loader
 * cost:    O(1)
 * example: if (cellar_load_attempt(load) > 2) cellar_load_fail(load, 1, 0, CELLAR_FAIL_FINAL);   */
CELLAR_API uint32_t cellar_load_attempt(const cellar_load *load);

/* How long until others may take over this load, in milliseconds.
 * in:      load of the running loader
 * returns: the time left, 0 when it is over
 * thread:  the one that runs the loader
 * cost:    a clock reading
 * example: int64_t left_ms = cellar_load_time_left_ms(load);                                     */
CELLAR_API int64_t cellar_load_time_left_ms(const cellar_load *load);

/* Is the result still wanted? 0 once it will not be stored and nobody but this call waits.
 * in:      load of the running loader
 * returns: 1 when the load was overtaken and nobody else waits, else 0
 * thread:  the one that runs the loader
 * cost:    one lock
 * example: if (cellar_load_cancelled(load)) return CELLAR_E_CANCELLED;                           */
CELLAR_API bool cellar_load_cancelled(const cellar_load *load);

/* ---- many keys ---- */

/* Report one key of a bulk load: its value, that there is none, or that it failed.
 * in:      load of the running bulk loader; index of the key; loader_err not 0
 * returns: OK; E_RESULT_TWICE (reported already: neither is kept), E_TOOBIG, E_NOMEM, E_INVAL
 * owns:    copied
 * thread:  the one that runs the loader
 * cost:    one allocation and a copy
 * example: cellar_load_item_value(load, 0, "value", 5);                                          */
CELLAR_API cellar_err cellar_load_item_value(cellar_load *load, size_t index, const void *value,
                                             size_t value_len);
CELLAR_API cellar_err cellar_load_item_absent(cellar_load *load, size_t index);
CELLAR_API cellar_err cellar_load_item_fail(cellar_load *load, size_t index, int32_t loader_err);

typedef struct cellar_load_item {
    const void   *key;
    size_t        key_len;
    cellar_result *result; /* as for cellar_get_or_load; from cellar_result_default() */
    cellar_err    status;  /* out: what cellar_get_or_load would have returned */
    uint32_t      reserved0; /* must be 0 */
} cellar_load_item;

/* Read many keys through the cache: one call of `fn` for all that are missing and that nobody else
 * is loading; at most 4,096 keys a loader call. Own loads run before others' are waited for.
 * in:      items (NULL with count 0), duplicates are fine; o as in cellar_get_or_load; fn NULL =
 *          the view's. Keys fn does not report get E_NO_RESULT, or its error; for each key that
 *          failed o's fallbacks are asked, one by one
 * out:     each item's result and status, in the caller's order
 * returns: OK (look at the items); E_INVAL, E_UNSUPPORTED (nothing done), E_CLOSED
 * owns:    each item's result is freed with cellar_result_free
 * thread:  as cellar_get_or_load; each item by itself is atomic, the batch is not
 * cost:    as cellar_get_many for what is there; one loader call for the rest
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_load_item it[1] = {{"a", 1, &r, CELLAR_OK, 0}};
 *     cellar_get_or_load_many(c, it, 1, NULL, load_rows, db);                                    */
CELLAR_API cellar_err cellar_get_or_load_many(cellar *c, cellar_load_item *items, size_t count,
                                              const cellar_load_opts *o, cellar_loader_many_fn fn,
                                              void *ctx);

/* ---- leases: the same without a waiting thread ---- */

/* The right, and the duty, to bring the value of a key. All zero = none. */
typedef struct cellar_lease {
    uint64_t opaque[2];
} cellar_lease;

/* Called once when a load that was PENDING has ended, in whatever thread ended it, with no lock
 * held; must not block. Then ask again: cellar_lease_acquire gives the value, or the lease. */
typedef struct cellar_subscriber {
    void (*fn)(void *ctx);
    void  *ctx;
} cellar_subscriber;

/* Read through the cache without a loader: who gets LEASED brings the value with
 * cellar_lease_fulfill; everybody else, threads in cellar_get_or_load included, gets that value.
 * in:      key, o as in cellar_get_or_load; waiter: whom to call when a PENDING load ends;
 *          optional. o's fallbacks and default value stand in where the breaker is open or a
 *          failure is remembered (then they are asked here) and where the lease is abandoned with
 *          an error
 * out:     *lease with LEASED, and with STALE when the refresh is this caller's; with PENDING and a
 *          waiter the ticket for cellar_lease_unsubscribe; else all zero. *out the value with OK
 *          and STALE
 * returns: OK, STALE, ABSENT; LEASED, PENDING; MISS (ONLY_IF_CACHED), E_LOADER (a remembered
 *          failure), E_BREAKER_OPEN (the view's breaker), E_TIMEOUT (leader_retries used up),
 *          E_LIMIT, E_NOMEM, E_INVAL (BYPASS, NO_STORE and NO_JOIN make no sense here; an
 *          unknown flag), E_UNSUPPORTED, E_CLOSED
 * owns:    out as in cellar_get_or_load; a lease ends with fulfill, release, or hard_timeout_ms
 *          later when somebody asks or cellar_tick runs. To the view's breaker fulfill is a
 *          success, release with an error a failure, the rest says nothing; o's breaker is not
 *          asked. The ctx of a fallback outlives the lease; the default value is copied
 * thread:  any; never waits, but for fallbacks
 * cost:    as cellar_get_or_load
 * example:
 *     cellar_lease lease;
 *     cellar_result r = cellar_result_default();
 *     if (cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r) == CELLAR_LEASED)
 *         cellar_lease_fulfill(c, &lease, "value", 5, NULL);                                     */
CELLAR_API cellar_err cellar_lease_acquire(cellar *c, const void *key, size_t key_len,
                                           const cellar_load_opts *o,
                                           const cellar_subscriber *subscriber,
                                           cellar_lease *lease, cellar_result *out);

/* Bring the value of a lease: store it, wake all who wait for it.
 * in:      lease from cellar_lease_acquire on this view; o as in cellar_set (TTL, stale window,
 *          tags, cost; CELLAR_NEGATIVE: there is none), no conditions, not CELLAR_DURABLE; NULL =
 *          the view's defaults. TTL, stale window and jitter it leaves open are those
 *          cellar_lease_acquire was given
 * out:     *lease is zeroed, unless with E_LEASE and the codes behind E_NOMEM: another view's lease
 *          is still of use there
 * returns: OK; INVALIDATED (waiters served, not stored: a delete, clear or newer set came first),
 *          DROPPED (waiters served, no room to store it), DISABLED (waiters served, the view is
 *          switched off); E_LEASE (unknown, expired, taken over or used), E_TOOBIG, E_NOMEM (the
 *          lease is abandoned with that code), E_INVAL, E_RANGE, E_UNSUPPORTED, E_CLOSED
 * owns:    the bytes are copied
 * thread:  any, not only the one that began
 * cost:    as cellar_set
 * example: cellar_lease_fulfill(c, &lease, "value", 5, NULL);                                    */
CELLAR_API cellar_err cellar_lease_fulfill(cellar *c, cellar_lease *lease, const void *value,
                                           size_t value_len, const cellar_set_opts *o);

/* Give a lease back without a value.
 * in:      loader_err 0: somebody else shall load; else the load failed: who waits gets something
 *          stale, or what the fallbacks of cellar_lease_acquire bring, its default value, or
 *          E_LOADER; error_ttl_ms, retry_throttle_ms and the like are cellar_lease_acquire's, too
 * out:     *lease as cellar_lease_fulfill leaves it
 * returns: OK; E_LEASE, E_INVAL, E_CLOSED
 * thread:  any; fallbacks run here, as a loader in cellar_get_or_load
 * cost:    one lock; waiters are called from here
 * example: cellar_lease_release(c, &lease, 0);                                                   */
CELLAR_API cellar_err cellar_lease_release(cellar *c, cellar_lease *lease, int32_t loader_err);

/* Take back a waiter given to cellar_lease_acquire.
 * in:      ticket from a PENDING cellar_lease_acquire
 * out:     *ticket is zeroed with OK
 * returns: OK (fn will not be called); E_LEASE (it was called or is about to be), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    one lock
 * example: cellar_lease_unsubscribe(c, &ticket);                                                 */
CELLAR_API cellar_err cellar_lease_unsubscribe(cellar *c, cellar_lease *ticket);

#ifdef __cplusplus
}
#endif
#endif
