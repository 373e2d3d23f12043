/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_refresh: refresh entries on a schedule, so that reads find a fresh value without a load.
 *
 * CALL PATTERN
 *     #include "cellar_refresh.h"    // drop-in: part of "cellar_all.h"
 *     cellar_pool *p;
 *     if (cellar_pool_open(NULL, &p) != CELLAR_OK) return 1;
 *     cellar_refresh_loader(p, c, "rates", load_rates, client, NULL);
 *     cellar_refresh_opts o = cellar_refresh_opts_default();
 *     o.ttl_ms = 1200000;
 *     cellar_refresh_add(p, c, "rates:EUR", 9, "rates", 600000, &o);
 *     cellar_refresh_add_policies(p, c, NULL);
 *     cellar_pool_close(p);  // when the program ends: no load begins after it
 *
 * ROWS    A row refreshes one key, or all keys that a function of the program lists for a pattern.
 *         Its loads run one after another; rows run in parallel, higher priorities first.
 * LOADS   A refresh is a load with CELLAR_LOAD_REFRESH. Reads find the old value until the new one
 *         is stored. A delete, clear or newer set during the refresh wins. A key that a call of the
 *         program loads is skipped and looked at again: that load comes first.
 * TIMES   A row begins after hash(key) mod interval_ms, so equal intervals are spread. A failed key
 *         keeps its value and follows after a random time of up to 1 s * 2^n, at most interval_ms.
 *         Each loader has a breaker: while it is open, a row makes no load but probes.
 * RUNS    Loaders and listers run on the threads of the pool and in its ticks, max_parallel at a
 *         time. Each refresh that does not run is counted. See DAYS, IDLE ROWS, RESTRICTIONS. */
#ifndef CELLAR_REFRESH_H
#define CELLAR_REFRESH_H

#include "cellar_admin.h"
#include "cellar_breaker.h"
#include "cellar_load.h"
#include "cellar_task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

struct cellar_limiter; /* cellar_limit.h */

/* Limit of a row. */
#define CELLAR_REFRESH_KEYS_MAX 65536u   /* keys of a row                                         */

/* Keys of a row, for cellar_refresh_keys_add. The library makes them for the call of the lister. */
typedef struct cellar_refresh_keys cellar_refresh_keys;

/* Which row runs first, for cellar_refresh_opts.priority. Policy files have the same numbers. */
typedef enum cellar_refresh_priority {
    CELLAR_REFRESH_LOW = 1, /* last */
    CELLAR_REFRESH_MID = 2, /* default */
    CELLAR_REFRESH_HIGH = 3 /* first */
} cellar_refresh_priority;

/* List the keys of a pattern, for cellar_refresh_loader_opts.lister: call cellar_refresh_keys_add
 * for each.
 * in:      keys, for cellar_refresh_keys_add; pattern, terminated; ctx is lister_ctx
 * returns: OK: these are the keys of the row. Any other code: the keys of the last list are
 *          refreshed; without them the lister is tried again
 * owns:    keys and pattern are borrowed until the return. ctx lives until the pool is closed
 * thread:  a thread of the pool, or that of cellar_tick with no_threads; listers of several rows
 *          run at once. No lock is held. It may call the library, but not drain or close the pool
 * cost:    it may block: a thread of the pool waits
 * example:
 *     cellar_err list(cellar_refresh_keys *keys, const char *pattern,
 *                     void *db)
 *     {
 *         (void)pattern;
 *         for (size_t i = 0; i < project_count(db); i++) {
 *             cellar_refresh_keys_add(keys, project_key(db, i),
 *                                     strlen(project_key(db, i)));
 *         }
 *         return CELLAR_OK;
 *     }                                                                                          */
typedef cellar_err (*cellar_refresh_lister_fn)(cellar_refresh_keys *keys, const char *pattern,
                                               void *ctx);

/* Options of a loader, for cellar_refresh_loader. */
typedef struct cellar_refresh_loader_opts {
    size_t   struct_size;    /* set by cellar_refresh_loader_opts_default()                       */
    cellar_refresh_lister_fn lister; /* lists the keys of rows with a pattern. Default NULL: such */
                             /* rows are not refreshed                                            */
    void    *lister_ctx;     /* given to lister                                                   */
    cellar_breaker *breaker; /* outlives the pool. NULL: one of its own, which opens when         */
                             /* 90 % of 20 calls or more in 10 s, or 63 calls in a row, fail; one */
                             /* success closes it; it is open for up to 10 s                      */
    struct cellar_limiter *limiter; /* asked before each load, with the name of the loader as     */
                             /* key; outlives the pool. Default NULL: none                        */
} cellar_refresh_loader_opts;
CELLAR_STRUCT(cellar_refresh_loader_opts, limiter);

/* Options of a row, for cellar_refresh_add. */
typedef struct cellar_refresh_opts {
    size_t   struct_size;    /* set by cellar_refresh_opts_default()                              */
    int64_t  ttl_ms;         /* TTL of its values. From 1 ms. CELLAR_TTL_NONE: none.              */
                             /* Default 0: of the policy or the namespace                         */
    int64_t  negative_ttl_ms; /* TTL of "absent". From 1 ms. CELLAR_TTL_NONE: none. Default 0: of */
                             /* the policy or the namespace                                       */
    int64_t  stale_ms;       /* stale window. Range 1..2^32 - 1 ms. Default 0: of the policy or   */
                             /* the namespace                                                     */
    const char *at;          /* "00:00@Europe/Paris": see DAYS; with ttl_ms. Default NULL: none   */
    cellar_refresh_priority priority; /* which rows run first. Default MID                        */
    uint32_t stop_idle;      /* see IDLE ROWS. Range 1..1,000,000 intervals. Default 0: never     */
    uint32_t pattern;        /* 1: the key is a pattern, for the lister of the loader. Default 0  */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_refresh_opts;
CELLAR_STRUCT(cellar_refresh_opts, reserved0);

/* Bits of cellar_refresh_info.flags. */
#define CELLAR_REFRESH_UNCOVERED 1u /* nothing is refreshed: no such loader, no lister, or no key */
#define CELLAR_REFRESH_PATTERN   2u /* the key is a pattern                                       */
#define CELLAR_REFRESH_POLICY    4u /* from cellar_refresh_add_policies                           */
#define CELLAR_REFRESH_SHORT_TTL 8u /* ttl_ms is below 2 * interval_ms: one failure loses a value */
#define CELLAR_REFRESH_SLEEPS   16u /* see IDLE ROWS                                              */
#define CELLAR_REFRESH_RUNNING  32u /* its keys are being refreshed, or wait for a thread         */

/* Description of a row, of cellar_refresh_list. */
typedef struct cellar_refresh_info {
    size_t   struct_size;    /* bytes of this struct in the library                               */
    cellar  *c;              /* as given to cellar_refresh_add                                    */
    const void *key;         /* key or pattern; valid until the function returns                  */
    size_t   key_len;        /* bytes at key                                                      */
    const char *loader;      /* its name; valid until the function returns                        */
    int64_t  interval_ms;    /* time from one run to the next                                     */
    int64_t  ttl_ms;         /* 0: of the namespace                                               */
    int64_t  next_ms;        /* time until the next run; 0: now                                   */
    int64_t  ok_age_ms;      /* time since the last refresh that succeeded; -1: none              */
    int64_t  failed_age_ms;  /* time since the last refresh that failed; -1: none                 */
    uint64_t ok;             /* refreshes that loaded a value or "absent"                         */
    uint64_t failed;         /* refreshes that failed                                             */
    uint64_t skipped;        /* refreshes that did not run                                        */
    uint64_t keys;           /* keys of the row                                                   */
    uint64_t keys_left;      /* keys still to be refreshed in this run or the next try            */
    int32_t  last_err;       /* code of the last failure; 0: none                                 */
    cellar_refresh_priority priority; /* as given in the options                                  */
    uint32_t flags;          /* CELLAR_REFRESH_UNCOVERED ..                                       */
    uint32_t reserved0;      /* 0                                                                 */
} cellar_refresh_info;
CELLAR_STRUCT(cellar_refresh_info, reserved0);

/* Take one row of cellar_refresh_list.
 * in:      info: key, times and state of the row; ctx as given with the function
 * returns: true: go on. false: end the list
 * owns:    info and its texts are borrowed until the return
 * thread:  the thread that calls cellar_refresh_list, with no lock held. It may call every function
 *          on the pool but its drain and close. The function must not end its thread
 * cost:    it may block: no other call waits
 * example:
 *     bool print_row(const cellar_refresh_info *info, void *file)
 *     {
 *         fprintf(file, "%.*s %s\n", (int)info->key_len,
 *                 (const char *)info->key, info->loader);
 *         return true;
 *     }                                                                                          */
typedef bool (*cellar_refresh_list_fn)(const cellar_refresh_info *info, void *ctx);

/* Figures of the rows of a pool, of cellar_refresh_stats_get; cellar_metrics_write of the pool
 * prints the same. */
typedef struct cellar_refresh_stats {
    size_t   struct_size;    /* set by cellar_refresh_stats_default()                           */
    uint64_t ok;             /* refreshes that loaded a value or "absent"                         */
    uint64_t failed;         /* refreshes that failed; the old value stays                        */
    uint64_t skipped;        /* refreshes that did not run: the sum of the next six               */
    uint64_t skipped_breaker; /* the breaker of the loader was open                               */
    uint64_t skipped_limiter; /* the limiter of the loader denied it                              */
    uint64_t skipped_busy;   /* a call of the program loaded the key                              */
    uint64_t skipped_off;    /* runs of a row: the namespace was switched off                     */
    uint64_t skipped_idle;   /* runs of a row: no key was read; see IDLE ROWS                     */
    uint64_t skipped_uncovered; /* runs of a row: no loader, no lister or no key                  */
    uint64_t success_ppm;    /* ok / (ok + failed) in millionths; 1,000,000 before the first one  */
    uint64_t not_stored;     /* refreshes of `ok` without a stored value: a delete, clear or      */
                             /* newer set came first, or no room                                  */
    uint64_t days;           /* runs at the time `at` of a row                                    */
    uint64_t missed;         /* intervals that passed while the row still ran                     */
    uint64_t lists_failed;   /* listers that failed                                               */
    uint64_t late_ms;        /* sum over all runs: from the due time to the start of the run      */
    uint64_t late_max_ms;    /* largest time from the due time to the start of a run              */
    uint64_t runs;           /* runs of rows that began                                           */
    uint64_t short_ttls;     /* rows added with a TTL below 2 * interval_ms                       */
    uint64_t thread_ends;    /* loaders and listers that ended their thread                       */
    uint64_t rejected_limit; /* calls rejected by max_rows or by the limits of a key list         */
    uint64_t clock_steps;    /* steps of the wall clock by more than 1 s                          */
    uint64_t rows;           /* rows                                                              */
    uint64_t uncovered;      /* rows for which nothing is refreshed                               */
    uint64_t due;            /* rows that wait for a thread                                       */
    uint64_t running;        /* loads and listers that run                                        */
    uint64_t keys;           /* keys of all rows                                                  */
    uint64_t bytes;          /* bytes of memory of rows and loaders                               */
} cellar_refresh_stats;
CELLAR_STRUCT(cellar_refresh_stats, bytes);

/* ---- Loaders -------------------------------------------------------------------------------- */

/* Give a loader of the program a name, by which rows and loader= of a policy file call it.
 * in:      c: a handle of the store that its breaker belongs to; name of 1..64 bytes; fn as in
 *          cellar_get_or_load, for rows of objects as in cellar_object_get_or_load; ctx, given to
 *          fn; o NULL = defaults
 * returns: OK; EXISTS (the name has a loader: nothing changes), E_LIMIT (4,096 names of loaders),
 *          E_NOMEM (also: no thread), E_UNSUPPORTED (a limiter in a library built with
 *          CELLAR_OMIT_LIMIT)
 * owns:    ctx, lister_ctx, breaker and limiter must live until the pool is closed
 * thread:  any
 * cost:    two allocations, O(rows + loaders); the first name, group or loader of a pool starts its
 *          threads
 * example: cellar_refresh_loader(p, c, "rates", load_rates, client, NULL);                       */
CELLAR_API cellar_err cellar_refresh_loader(cellar_pool *p, cellar *c, const char *name,
                                            cellar_loader_fn fn, void *ctx,
                                            const cellar_refresh_loader_opts *o);

/* Add one key in a lister. A key that is added twice is loaded twice.
 * in:      keys of the running lister; key of 1..CELLAR_KEY_MAX bytes
 * returns: OK; E_LIMIT (CELLAR_REFRESH_KEYS_MAX keys, or 16 MiB: the key is left out), E_NOMEM
 * owns:    the bytes are copied
 * thread:  the thread that runs the lister
 * cost:    a copy
 * example: cellar_refresh_keys_add(keys, "project:7:stats", 15);                                 */
CELLAR_API cellar_err cellar_refresh_keys_add(cellar_refresh_keys *keys, const void *key,
                                              size_t key_len);

/* ---- Rows ----------------------------------------------------------------------------------- */

/* Refresh a key at an interval, or with option `pattern` all keys that the lister of the loader
 * lists for a pattern. The call loads nothing. The first refresh runs after a time below
 * interval_ms that depends on the key alone, so that the refreshes of many rows are spread. Load
 * the key once with cellar_get_or_load where a value is needed earlier.
 * in:      c: namespace of the key; key of 1..CELLAR_KEY_MAX bytes, or a pattern of
 *          1..CELLAR_PATTERN_MAX bytes; loader: a name of 1..64 bytes, which may get its loader
 *          later; interval_ms from 1 to 366 days; o NULL = defaults
 * returns: OK; EXISTS (the key has a row: nothing changes), E_LIMIT (max_rows of the pool, or
 *          4,096 names of loaders), E_NOMEM, E_NOT_FOUND (the time zone is unknown: install tzdata,
 *          or use an offset), E_CORRUPT (the zone file is damaged)
 * owns:    texts are copied. c must live until the row is removed or the pool is closed
 * thread:  any, also a loader
 * cost:    two allocations, O(loaders); with `at` reads the zone file
 * example: cellar_refresh_add(p, c, "rates:EUR", 9, "rates", 600000, NULL);                      */
CELLAR_API cellar_err cellar_refresh_add(cellar_pool *p, cellar *c, const void *key,
                                         size_t key_len, const char *loader, int64_t interval_ms,
                                         const cellar_refresh_opts *o);

/* Make a row of each policy rule of a namespace that has a refresh interval. Call it again after
 * the rules were loaded again: a row of an earlier call for c goes on if its rule is the same, and
 * is replaced or removed if not. A `key` rule without placeholder is a key, behind the prefix of
 * its section; any other rule needs a lister. A rule without loader= has an uncovered row. The call
 * waits for no load: one that runs for a row that was replaced or removed goes on, and stores
 * nothing.
 * in:      c: namespace
 * out:     *count rows made or kept; NULL is allowed
 * returns: OK (also with *count 0); E_LIMIT (max_rows of the pool, or 4,096 names of loaders),
 *          E_NOMEM, E_NOT_FOUND (the time zone is unknown: install tzdata, or use an offset),
 *          E_CORRUPT (the zone file is damaged). With these the rows made so far stay. A rule with
 *          the pattern of another row is left out
 * owns:    as cellar_refresh_add; c lives until the loads of all its rows have ended, removed ones
 *          too: until the pool is closed
 * thread:  any; a concurrent load of rules waits
 * cost:    O(rules + rows)
 * example: cellar_refresh_add_policies(p, c, NULL);                                              */
CELLAR_API cellar_err cellar_refresh_add_policies(cellar_pool *p, cellar *c, size_t *count);

/* Remove a row. No load of it begins from now on; the call waits for one that has begun.
 * in:      c and key or pattern as given to add
 * returns: OK; E_BUSY (the row is removed, but its load had not ended after close_timeout_ms of
 *          the pool: c must live on), E_NOT_FOUND (no row has this key)
 * owns:    OK: the pool no longer uses c for this row
 * thread:  any, also a loader: it does not wait for its own row
 * cost:    O(1), and the wait
 * example: cellar_refresh_remove(p, c, "rates:EUR", 9);                                          */
CELLAR_API cellar_err cellar_refresh_remove(cellar_pool *p, cellar *c, const void *key,
                                            size_t key_len);

/* Call a function for each row, in order of creation. Rows that come or go meanwhile may be in the
 * list or not.
 * in:      fn: called for each row; ctx: given to fn
 * returns: OK
 * owns:    ctx lives until the call has returned
 * thread:  any, also a loader; fn runs on the calling thread with no lock held
 * cost:    O(rows)
 * example: cellar_refresh_list(p, print_row, stdout);                                            */
CELLAR_API cellar_err cellar_refresh_list(cellar_pool *p, cellar_refresh_list_fn fn, void *ctx);

/* ---- Figures -------------------------------------------------------------------------------- */

/* Read the figures of the rows of a pool.
 * in:      out from cellar_refresh_stats_default
 * out:     *out: the figures of this moment
 * returns: OK
 * thread:  any
 * cost:    one short lock
 * example:
 *     cellar_refresh_stats st = cellar_refresh_stats_default();
 *     cellar_refresh_stats_get(p, &st);                                                          */
CELLAR_API cellar_err cellar_refresh_stats_get(cellar_pool *p, cellar_refresh_stats *out);

/* THREADS
 *   Rows share the workers of the pool with its tasks: as one more queue of weight 1, and at most
 *   max_parallel workers at a time. A second pool keeps them apart. A drain or a close of the pool
 *   ends its rows: no load begins after it, also if it returns E_BUSY.
 *
 * DAYS
 *   With `at` a row also runs at this time of each day in the zone: all its keys are deleted, then
 *   loaded. No value lives beyond the time, and a load that began before it is not stored after it.
 *   So a value of yesterday is not served today, also if the load fails. If the zone skips the
 *   time, the row runs at the first instant after the gap. TTLs of such a row have no jitter.
 *
 * IDLE ROWS
 *   A row with stop_idle n sleeps after n intervals in which none of its keys was read in memory.
 *   It still looks at its keys at each interval, and wakes when one was read or stored meanwhile.
 *   A read is a hit of a call that returns the value, without CELLAR_GET_PEEK. When the values have
 *   expired, cellar_get and the other calls that do not load only miss, and wake no row: a load
 *   (cellar_get_or_load, a lease) or a set does. With such reads alone leave stop_idle 0.
 *
 * RESTRICTIONS
 *   fork: in the child every call returns E_FORKED. A child that was forked inside a loader leaves
 *   it by _exit or exec.
 *   A loader must not leave by longjmp or a C++ exception. */

#ifdef __cplusplus
}
#endif

#endif
