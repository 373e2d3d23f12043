/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_batch: collect items into batches, for sources that take many items in one call.
 *
 * CALL PATTERN
 *     #include "cellar_batch.h"    // drop-in: part of "cellar_all.h"
 *     static cellar_err post(const cellar_batch *b, void *ctx)
 *     {
 *         return send_all(ctx, b->group, b->items, b->item_count) ? CELLAR_OK : CELLAR_E_IO;
 *     }
 *     cellar_batcher *b;
 *     if (cellar_batcher_open(NULL, post, client, &b) != CELLAR_OK) return 1;
 *     cellar_batch_add(b, "https://host/callback", text, text_len, NULL);
 *     cellar_batcher_close(b, NULL);
 *
 * BATCH   Items of one group, in the order of their adds. A group has at most one call of the flush
 *         function at a time, or `parallel` without an order; groups are flushed in parallel.
 * FLUSH   A group is flushed by the first of: max_items, max_bytes, linger_ms, more than max_groups
 *         groups, cellar_batcher_flush, cellar_batcher_drain.
 * FAILURE A batch fails if the flush function returns anything but CELLAR_OK. on_failure says what
 *         follows. A call that ends its thread by pthread_exit has failed with E_CANCELLED.
 * DONE    The done function of an item runs exactly once, with the verdict of the item.
 * LOSS    Items live in memory and end with the process. Each item that no flush took is counted.
 * RUNS    Flush and done functions run on threads with the default stack of the process or host
 *         option stack_bytes, or inside cellar_tick with no_threads. No lock is held. They
 *         may call every function on the batcher; drain and close return E_DEADLOCK there.
 * MORE    See RESTRICTIONS. */
#ifndef CELLAR_BATCH_H
#define CELLAR_BATCH_H

#include "cellar.h"
#include "cellar_admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------- */

/* Fixed limits. */
#define CELLAR_BATCH_KEY_MAX 1024u /* bytes of a group, and of a coalesce_key                     */
#define CELLAR_BATCH_ITEMS_MAX 65536u /* largest max_items                                        */

/* A handle: collects items and flushes them in batches. cellar_batcher_open makes it and
 * cellar_batcher_close ends it; cellar_namespace_batch makes one that the store ends. */
typedef struct cellar_batcher cellar_batcher;

/* What follows a failed batch, for cellar_batcher_config.on_failure. */
typedef enum cellar_batch_on_failure {
    CELLAR_BATCH_SPLIT_SINGLE = 0, /* each item in a call of its own; one that fails has FAILED   */
    CELLAR_BATCH_BISECT = 1, /* each half in a call of its own, halved again down to the items    */
                             /* that fail                                                         */
    CELLAR_BATCH_RETRY = 2   /* all items of the batch again after a delay, up to max_attempts    */
                             /* calls; later items of the group wait                              */
} cellar_batch_on_failure;

/* What an add does if the batcher is full, for cellar_batcher_config.on_full. */
typedef enum cellar_batch_on_full {
    CELLAR_BATCH_BLOCK = 0, /* waits up to block_timeout_ms. With no_threads: as ERROR            */
    CELLAR_BATCH_ERROR = 1  /* returns E_BUSY                                                     */
} cellar_batch_on_full;

/* Why a group was flushed, in cellar_batch.trigger. */
typedef enum cellar_batch_trigger {
    CELLAR_BATCH_BY_ITEMS = 1,  /* it has max_items items                                         */
    CELLAR_BATCH_BY_BYTES = 2,  /* its items reach max_bytes                                      */
    CELLAR_BATCH_BY_LINGER = 3, /* linger_ms or max_delay_ms passed                               */
    CELLAR_BATCH_BY_GROUPS = 4, /* more than max_groups groups; this one was the oldest           */
    CELLAR_BATCH_BY_FLUSH = 5,  /* cellar_batcher_flush                                           */
    CELLAR_BATCH_BY_DRAIN = 6   /* a drain or a close                                             */
} cellar_batch_trigger;

/* How an item ended, in cellar_batch_result.verdict. */
typedef enum cellar_batch_verdict {
    CELLAR_BATCH_OK = 0,       /* a call with the item succeeded                                  */
    CELLAR_BATCH_FAILED = 1,   /* its last call failed                                            */
    CELLAR_BATCH_REPLACED = 2, /* an item with the same coalesce_key came before its flush        */
    CELLAR_BATCH_ABANDONED = 3 /* the time of a drain was over                                    */
} cellar_batch_verdict;

/* One item of a batch. */
typedef struct cellar_batch_item {
    const void *data;        /* 16-byte aligned; NULL with len 0; valid until the function        */
                             /* returns                                                           */
    size_t   len;            /* bytes at data                                                     */
} cellar_batch_item;

/* A batch, for the flush function. */
typedef struct cellar_batch {
    size_t   struct_size;    /* bytes of this struct in the library                               */
    const char *group;       /* terminated; valid until the function returns, as items            */
    const cellar_batch_item *items; /* the items, in the order of their adds                      */
    size_t   item_count;     /* number of items, from 1                                           */
    size_t   bytes;          /* sum of the lengths                                                */
    cellar_batch_trigger trigger; /* why it is flushed                                            */
    uint32_t attempt;        /* calls with these items, this one included, by RETRY; else 1       */
} cellar_batch;
CELLAR_STRUCT(cellar_batch, attempt);

/* The end of an item, for its done function. */
typedef struct cellar_batch_result {
    size_t   struct_size;    /* bytes of this struct in the library                               */
    const void *data;        /* valid until the function returns                                  */
    size_t   len;            /* bytes at data                                                     */
    cellar_batch_verdict verdict; /* how the item ended                                           */
    int32_t  err;            /* OK; FAILED: what the last flush function returned                 */
    uint32_t calls;          /* calls of the flush function with this item                        */
    uint32_t reserved0;      /* 0                                                                 */
} cellar_batch_result;
CELLAR_STRUCT(cellar_batch_result, reserved0);

/* Send a batch, for cellar_batcher_open.
 * in:      batch: group and items to send; ctx as given with the function
 * returns: CELLAR_OK: all its items are done. Any other code: the batch failed, and on_failure says
 *          what follows; the code becomes `err` of the items that have FAILED
 * owns:    batch, group, items and data are borrowed until the return. ctx lives until the batcher
 *          is closed
 * thread:  a worker of the batcher, or the thread of cellar_tick or cellar_batcher_drain with
 *          no_threads; up to `workers` at once, of one group one or `parallel`. No lock is held. It
 *          may call every function on the batcher; drain and close return E_DEADLOCK
 * cost:    it may block; items of its group wait
 * example:
 *     cellar_err post(const cellar_batch *batch, void *client)
 *     {
 *         const bool sent = send_all(client, batch->group, batch->items,
 *                                    batch->item_count);
 *         return sent ? CELLAR_OK : CELLAR_E_IO;
 *     }                                                                                          */
typedef cellar_err (*cellar_batch_flush_fn)(const cellar_batch *batch, void *ctx);

/* Receive the end of an item, for cellar_batch_add_opts.done. It runs once for each accepted item.
 * in:      result: the item, its verdict and its code; ctx: done_ctx of the add
 * owns:    result and data are borrowed until the return. done_ctx lives until then
 * thread:  as cellar_batch_flush_fn; several at once, no lock is held. It may call what a flush
 *          function may
 * cost:    it should not block: the next flush waits
 * example:
 *     void done(const cellar_batch_result *result, void *job)
 *     {
 *         job_end(job, result->verdict == CELLAR_BATCH_OK, result->err);
 *     }                                                                                          */
typedef void (*cellar_batch_done_fn)(const cellar_batch_result *result, void *ctx);

/* Options of a batcher, for cellar_batcher_open and cellar_namespace_batch. */
typedef struct cellar_batcher_config {
    size_t   struct_size;    /* set by cellar_batcher_config_default()                            */
    const struct cellar_host_config *host; /* cellar_admin.h. NULL: all defaults. Used: name (""  */
                             /* counts as "batcher"), clock, alloc, free, log, log_level,         */
                             /* no_threads, stack_bytes                                           */
    uint64_t max_bytes;      /* longest sum of the lengths of a batch. Range 1 byte..4 GiB - 1.   */
                             /* Default 1 MiB                                                     */
    uint64_t queue_bytes;    /* bytes of all items that have not ended. From max_bytes.           */
                             /* Default 64 MiB, or max_bytes where that is more                   */
    int64_t  linger_ms;      /* time from the first item of a batch to its flush.                 */
                             /* Range 1 ms..366 days. Default 50                                  */
    int64_t  max_delay_ms;   /* not 0: each item starts linger_ms again, up to this time after    */
                             /* the first item. Range linger_ms..366 days. Default 0: not again   */
    int64_t  retry_base_ms;  /* RETRY: attempt n + 1 follows after a random time of up to         */
                             /* retry_base_ms * 2^(n - 1). Range 1 ms..366 days. Default 1,000    */
    int64_t  retry_cap_ms;   /* RETRY: longest such time. Range 1 ms..366 days. Default 600,000   */
    int64_t  block_timeout_ms; /* longest wait of an add with BLOCK. Range 1 ms..366 days.        */
                             /* Default 5,000                                                     */
    int64_t  close_timeout_ms; /* longest drain of a close. Range 1 ms..366 days. Default 5,000   */
    uint32_t max_items;      /* items of a batch. Range 1..CELLAR_BATCH_ITEMS_MAX. Default 100    */
    uint32_t queue_items;    /* items that have not ended. Range 1..2^32 - 1. Default 65,536      */
    uint32_t max_groups;     /* groups that collect items. Range 1..2^32 - 1. Default 4,096       */
    uint32_t max_attempts;   /* RETRY: calls with the same items. Range 1..2^32 - 1. Default 4    */
    uint32_t workers;        /* threads for flushes. Range 1..64. Default 4                       */
    cellar_batch_on_failure on_failure; /* what follows a failed batch. Default SPLIT_SINGLE      */
    cellar_batch_on_full on_full; /* what an add does if the batcher is full. Default BLOCK       */
    uint32_t parallel;       /* calls of one group at a time. Above 1 its items have no order,    */
                             /* and items with one coalesce_key may be in two calls. Range 1..64. */
                             /* Default 1                                                         */
} cellar_batcher_config;
CELLAR_STRUCT(cellar_batcher_config, parallel);

/* Options of cellar_batch_add. */
typedef struct cellar_batch_add_opts {
    size_t   struct_size;    /* set by cellar_batch_add_opts_default()                            */
    cellar_batch_done_fn done; /* receives the end of the item. Default NULL: none                */
    void    *done_ctx;       /* given to done                                                     */
    const void *coalesce_key; /* an item of the same group and key that no call has taken yet is  */
                             /* replaced, in its place. Default NULL: replaces none               */
    size_t   coalesce_key_len; /* bytes at coalesce_key. Range 1..CELLAR_BATCH_KEY_MAX with a     */
                             /* key; else 0                                                       */
} cellar_batch_add_opts;
CELLAR_STRUCT(cellar_batch_add_opts, coalesce_key_len);

/* What became of the items that had not ended when cellar_batcher_drain or cellar_batcher_close
 * was called. live == ok + failed + replaced + abandoned + still_running. */
typedef struct cellar_batch_report {
    size_t   struct_size;    /* set by cellar_batch_report_default()                              */
    uint64_t live;           /* items that had not ended at the call                              */
    uint64_t ok;             /* items that ended since, with the verdict OK                       */
    uint64_t failed;         /* items that ended since, with the verdict FAILED                   */
    uint64_t replaced;       /* items that ended since, with the verdict REPLACED                 */
    uint64_t abandoned;      /* items that ended since, with the verdict ABANDONED                */
    uint64_t still_running;  /* items that have not ended at the return                           */
} cellar_batch_report;
CELLAR_STRUCT(cellar_batch_report, still_running);

/* Figures of a batcher, of cellar_batcher_stats_get; cellar_metrics_write prints the same ones. */
typedef struct cellar_batcher_stats {
    size_t   struct_size;    /* set by cellar_batcher_stats_default()                             */
    uint64_t added;          /* == ok + failed + replaced + abandoned + items                     */
    uint64_t ok;             /* items that ended with the verdict OK                              */
    uint64_t failed;         /* items that ended with the verdict FAILED                          */
    uint64_t replaced;       /* items that ended with the verdict REPLACED                        */
    uint64_t abandoned;      /* items that ended with the verdict ABANDONED                       */
    uint64_t by_items;       /* batches with the trigger BY_ITEMS                                 */
    uint64_t by_bytes;       /* batches with the trigger BY_BYTES                                 */
    uint64_t by_linger;      /* batches with the trigger BY_LINGER                                */
    uint64_t by_groups;      /* batches with the trigger BY_GROUPS                                */
    uint64_t by_flush;       /* batches with the trigger BY_FLUSH                                 */
    uint64_t by_drain;       /* batches with the trigger BY_DRAIN                                 */
    uint64_t calls;          /* calls of the flush function                                       */
    uint64_t calls_failed;   /* calls of the flush function that failed                           */
    uint64_t splits;         /* failed batches that were split                                    */
    uint64_t retries;        /* failed batches that are tried again                               */
    uint64_t rejected;       /* adds refused because the batcher was full                         */
    uint64_t blocked;        /* adds that waited because the batcher was full                     */
    uint64_t thread_ends;    /* calls of the program's functions that ended their thread          */
    uint64_t items;          /* items that have not ended                                         */
    uint64_t item_bytes;     /* bytes of the items that have not ended                            */
    uint64_t groups;         /* groups with such items; with `parallel`, each call counts         */
    uint64_t bytes;          /* bytes of memory of the batcher                                    */
} cellar_batcher_stats;
CELLAR_STRUCT(cellar_batcher_stats, bytes);

/* ---- The batcher ---------------------------------------------------------------------------- */

/* Open a batcher: it collects items and hands them to `flush` in batches.
 * in:      cfg from cellar_batcher_config_default; NULL: all defaults;
 *          flush: sends the batches; ctx: given to flush
 * out:     *out is NULL on failure
 * returns: OK; E_NOMEM (no memory, or no thread). cellar_last_error of NULL has the reason of a
 *          refusal
 * owns:    the caller closes *out with cellar_batcher_close; ctx must live as long
 * thread:  any; a program may open several batchers
 * cost:    about 40 KiB; starts one thread, and workers with the first flushes
 * example:
 *     cellar_batcher *b;
 *     if (cellar_batcher_open(NULL, post, client, &b) != CELLAR_OK)
 *         return 1;                                                                              */
CELLAR_API cellar_err cellar_batcher_open(const cellar_batcher_config *cfg,
                                          cellar_batch_flush_fn flush, void *ctx,
                                          cellar_batcher **out);

/* Close a batcher: flush what it holds for close_timeout_ms at most, as cellar_batcher_drain does,
 * and free it.
 * in:      b; NULL is allowed
 * out:     *report: NULL is allowed
 * returns: OK; E_BUSY (a function of the program has not returned: nothing is freed, try again),
 *          E_DEADLOCK (called by such a function: nothing is done)
 * owns:    OK: b is freed
 * thread:  must not overlap other calls on the batcher but those of its functions
 * cost:    flushes what is left; joins the threads
 * example:
 *     if (cellar_batcher_close(b, NULL) == CELLAR_E_BUSY)
 *         puts("a flush still runs");                                                            */
CELLAR_API cellar_err cellar_batcher_close(cellar_batcher *b, cellar_batch_report *report);

/* Flush all items and wait until each has ended. From the call on, adds return E_CLOSED, and
 * retries follow without a delay. After timeout_ms, items without a verdict have ABANDONED, except
 * those of calls that run: the wait for these goes on for one second.
 * in:      timeout_ms: longest wait, from 0; report from cellar_batch_report_default, NULL is
 *          allowed
 * out:     *report: how many items ended, and how
 * returns: OK (no item is left); E_BUSY (still_running is not 0), E_DEADLOCK (called by a function
 *          of the batcher)
 * thread:  any; with no_threads the call runs the flushes
 * cost:    flushes what is left
 * example:
 *     cellar_batch_report r = cellar_batch_report_default();
 *     cellar_batcher_drain(b, 2000, &r);                                                         */
CELLAR_API cellar_err cellar_batcher_drain(cellar_batcher *b, int64_t timeout_ms,
                                           cellar_batch_report *report);

/* ---- Items ---------------------------------------------------------------------------------- */

/* Add an item to the batch of its group. The batcher sends it with the others of the group.
 * in:      group of up to CELLAR_BATCH_KEY_MAX bytes, NULL counts as ""; len from 0 to max_bytes;
 *          o NULL = defaults
 * returns: OK; E_TOOBIG (len is over max_bytes, or group or coalesce_key over
 *          CELLAR_BATCH_KEY_MAX), E_BUSY (the batcher is full, and on_full is ERROR), E_TIMEOUT
 *          (the batcher stayed full for block_timeout_ms), E_DEADLOCK (full, and called by a
 *          function of the batcher, which would wait for itself), E_CLOSED (the batcher is
 *          drained), E_NOMEM
 * owns:    data, group and key are copied. OK: done runs once. Else it does not run
 * thread:  any, also a function of the batcher
 * cost:    one allocation, one short lock
 * example: cellar_batch_add(b, url, json, json_len, NULL);                                       */
CELLAR_API cellar_err cellar_batch_add(cellar_batcher *b, const char *group, const void *data,
                                       size_t len, const cellar_batch_add_opts *o);

/* Flush a group, or all groups, now. The call does not wait for the flushes.
 * in:      group NULL: all of them
 * returns: OK; E_NOT_FOUND (the group has no items)
 * thread:  any, also a function of the batcher
 * cost:    one short lock; O(groups) for all
 * example: cellar_batcher_flush(b, NULL);                                                        */
CELLAR_API cellar_err cellar_batcher_flush(cellar_batcher *b, const char *group);

/* ---- Write behind --------------------------------------------------------------------------- */

/* One write of a key, for the source. */
typedef struct cellar_write {
    const void *key;         /* valid until the function returns, as value                        */
    size_t   key_len;        /* bytes at key                                                      */
    const void *value;       /* bytes of the value; NULL if the key was deleted                   */
    size_t   value_len;      /* bytes at value                                                    */
    uint32_t user_flags;     /* flags of the program, as given to the set                         */
    uint32_t deleted;        /* 1: the key was deleted                                            */
} cellar_write;

/* Write many keys to the source, for cellar_namespace_batch.
 * in:      writes, `count` of them, each key once; ctx as given with the function
 * returns: CELLAR_OK: the source has them all. Any other code: the batch failed, and on_failure
 *          says what follows
 * owns:    writes, keys and values are borrowed until the return. ctx lives until the store is
 *          closed
 * thread:  a thread of the batcher; with no_threads that of cellar_tick or of the close. One call
 *          runs at a time. No lock is held. It may use the cache, but not close the store
 * cost:    it may block; writes of the namespace wait in the queue
 * example:
 *     cellar_err write_rows(const cellar_write *writes, size_t count,
 *                           void *db)
 *     {
 *         return db_write(db, writes, count) ? CELLAR_OK : CELLAR_E_IO;
 *     }                                                                                          */
typedef cellar_err (*cellar_write_many_fn)(const cellar_write *writes, size_t count, void *ctx);

/* Receive a write that the source does not have, for cellar_namespace_batch. It runs once for each
 * write that failed for good.
 * in:      write: key and value that the source lacks; err, of the last call of the flush function,
 *          or E_TIMEOUT if a close had no time for it; ctx as given with the function
 * owns:    write is borrowed until the return
 * thread:  as cellar_write_many_fn
 * cost:    it should not block: the next flush waits
 * example:
 *     void lost(const cellar_write *write, cellar_err err, void *db)
 *     {
 *         (void)db;
 *         fprintf(stderr, "%zu bytes lost: %s\n", write->value_len,
 *                 cellar_strerror(err));
 *     }                                                                                          */
typedef void (*cellar_write_failed_fn)(const cellar_write *write, cellar_err err, void *ctx);

/* Write a namespace to its source in batches. Each set, update, increment and delete of a key takes
 * effect in the cache, waits in a queue, and reaches flush in a batch. Loaded values, touches,
 * negative entries, evictions, clears, deletes by tag or pattern and cellar_value_damaged are not
 * written.
 *   order    A later write of a key replaces the one that waits. The last write of a key reaches
 *            the source last. A call of flush has each key once; one call runs at a time.
 *   reads    Eviction loses no write: a get or a load that misses memory finds the write that
 *            waits, also after a clear, a delete by tag or pattern, a new version and
 *            cellar_value_damaged. A refresh finds it as well, and does not run its loader. While a
 *            delete waits, its key is ABSENT, and no load runs. A write past its TTL is not found
 *            while it waits; loads ask the source then. A touch or an idle time does not end a
 *            write that waits, and what a read brings back has no idle time.
 *   full     A write waits up to 1 second for room. After that the call returns E_IO, and the write
 *            did not happen: the entry is deleted, and an older write of the key that waits stays.
 *   failure  on_failure splits or repeats a failed batch. A write that fails for good is counted,
 *            given to `failed`, and its entry is deleted from the cache.
 *   close    Closing the store writes memory to the disk of other namespaces, then flushes for up
 *            to close_timeout_ms. The rest fails with E_TIMEOUT. If a function of the program has
 *            not returned a second later, the close leaves it: cellar_close returns as without the
 *            batcher, `failed` has each write that waited, and not those of that call. Then ctx,
 *            the functions of `host`, and memory and thread of the batcher live until the process
 *            ends. With no_threads the close runs flush itself, and waits for its return.
 * in:      ns without a disk tier (CELLAR_TIER_L1, or a store without l2_path), and open until the
 *          store closes or the namespace is dropped; cfg NULL: all defaults. max_items, linger_ms,
 *          max_delay_ms, on_failure, max_attempts, queue_items (keys) and queue_bytes (keys, values
 *          and about 150 bytes for each) apply; max_bytes, workers, parallel and on_full do not.
 *          failed NULL: none
 * out:     *out: the batcher, for its figures, cellar_batcher_flush and cellar_tick; with
 *          no_threads cellar_tick of the store runs the flushes, too. NULL is allowed
 * returns: OK; E_BUSY (a disk tier, or a batcher), E_LIMIT (4 tiers of the store), E_NOMEM. Unless
 *          OK nothing changed, and cellar_last_error of NULL has the reason
 * owns:    the store owns the batcher: do not drain or close it. ctx lives until the root is closed
 * thread:  any; the entries of the namespace are cleared. flush and failed run on a thread of the
 *          batcher, with no lock held. They may use the cache; they must not close the store
 * cost:    a write: two allocations, two short locks, a copy of the value. Sets of the other
 *          namespaces of the store cost as much as over a disk tier
 * example: cellar_namespace_batch(ns, NULL, write_rows, NULL, db, NULL);                         */
CELLAR_API cellar_err cellar_namespace_batch(cellar *ns, const cellar_batcher_config *cfg,
                                             cellar_write_many_fn flush,
                                             cellar_write_failed_fn failed, void *ctx,
                                             cellar_batcher **out);

/* ---- Figures -------------------------------------------------------------------------------- */

/* Read the figures of a batcher.
 * in:      out from cellar_batcher_stats_default
 * out:     *out: the figures of this moment
 * returns: OK
 * thread:  any
 * cost:    one short lock
 * example:
 *     cellar_batcher_stats st = cellar_batcher_stats_default();
 *     cellar_batcher_stats_get(b, &st);                                                          */
CELLAR_API cellar_err cellar_batcher_stats_get(cellar_batcher *b, cellar_batcher_stats *out);

/* RESTRICTIONS
 *   fork: in the child every call returns E_FORKED, except cellar_batcher_close, which does
 *   nothing. A child that was forked inside a function of the batcher leaves it by _exit or exec.
 *   Flush and done functions must not leave by longjmp or a C++ exception. */

#ifdef __cplusplus
}
#endif

#endif
