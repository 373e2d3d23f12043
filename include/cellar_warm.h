/* SPDX-License-Identifier: MIT
 *
 * cellar_warm: load many keys ahead; write to the source, then to the cache.
 *
 * cellar_warm fills a cache before its first requests. cellar_write_through keeps source and cache
 * together when the program writes. */
#ifndef CELLAR_WARM_H
#define CELLAR_WARM_H

#include "cellar_load.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Warm ------------------------------------------------------------------------------------ */

/* Options of cellar_warm. Set either keys or next. */
typedef struct cellar_warm_opts {
    size_t   struct_size;         /* set by cellar_warm_opts_default()                            */
    const cellar_bytes *keys;     /* key_count keys. NULL: next                                   */
    size_t   key_count;           /* keys at keys. From 0. Default 0                              */
    cellar_next_key_fn next;      /* returns the keys, instead of keys; called in the calling     */
                                  /* thread                                                       */
    void    *next_ctx;            /* given to next                                                */
    const cellar_load_opts *load; /* options of the loads. NULL = those of the namespace          */
    cellar_loader_fn loader;      /* loads one key. NULL with loader_many NULL = loader of the    */
                                  /* namespace                                                    */
    cellar_loader_many_fn loader_many; /* loads many keys in one call; instead of loader          */
    void    *loader_ctx;          /* given to loader or loader_many                               */
    int64_t  timeout_ms;          /* longest time of the call. From 1 ms. Default 0: no limit     */
    uint32_t keys_per_s;          /* keys a second. Range 1..1,000,000,000. Default 0: no limit   */
    uint32_t threads;             /* threads that load, with the default stack of the process.    */
                                  /* Range 1..64. Default 0: the calling thread                   */
    uint32_t batch_keys;          /* keys of a bulk call. Range 1..4,096. Default 256; 1 with     */
                                  /* loader                                                       */
    uint32_t max_failure_pct;     /* stop above this share of failures, from 20 keys on. Range    */
                                  /* 1..100 percent. Default 100                                  */
    uint32_t max_used_pct;        /* stop when this share of the budget is used. Range 1..100     */
                                  /* percent. Default 90                                          */
    uint32_t reserved0;           /* must be 0                                                    */
} cellar_warm_opts;
CELLAR_STRUCT(cellar_warm_opts, reserved0);

/* Report of cellar_warm: keys == hits + loaded + absent + failed + skipped. Filled up to the
 * caller's struct_size. */
typedef struct cellar_warm_report {
    size_t   struct_size; /* set by cellar_warm_report_default()                                  */
    uint64_t keys;        /* keys given                                                           */
    uint64_t hits;        /* keys in the cache, or loaded by another call                         */
    uint64_t loaded;      /* keys that a loader of this call loaded                               */
    uint64_t absent;      /* the source has no value                                              */
    uint64_t failed;      /* keys with a failed load                                              */
    uint64_t skipped;     /* keys left when it stopped                                            */
    uint64_t elapsed_ms;  /* duration of the call                                                 */
    cellar_err stopped;   /* OK = it did not stop early; E_TIMEOUT, E_SPACE (max_used_pct),       */
                          /* E_LOADER (max_failure_pct, or a loader ended its thread), E_CLOSED   */
    uint32_t reserved0;
} cellar_warm_report;
CELLAR_STRUCT(cellar_warm_report, reserved0);

/* Load many keys before they are requested, for example after a start, so that the first callers
 * find them. The loads are those of cellar_get_or_load: keys in the cache are not loaded, and other
 * calls wait for these loads.
 * in:      o: keys, loader and limits of the warming; out->struct_size set
 * out:     *out, also when it stopped early
 * returns: OK (the report says what was loaded); E_NOMEM (no thread or no memory: loaded entries
 *          stay).
 *          A negative code of next ends the call, which returns it. cellar_last_error tells of the
 *          loads and of their options
 * owns:    keys, next_ctx and loader_ctx live until the call has returned
 * thread:  any; the loader runs in up to o->threads threads, which end before the return. If the
 *          loader ends a thread, its key counts as failed and the rest is skipped
 * cost:    one load for each missing key; blocks of malloc, freed before the return
 * example:
 *     cellar_warm_opts o = cellar_warm_opts_default();
 *     cellar_warm_report r = cellar_warm_report_default();
 *     o.keys = keys, o.key_count = 100, o.loader = load_row, o.threads = 4;
 *     if (cellar_warm(c, &o, &r) == CELLAR_OK)
 *         printf("%llu loaded\n", (unsigned long long)r.loaded);                                 */
CELLAR_API cellar_err cellar_warm(cellar *c, const cellar_warm_opts *o, cellar_warm_report *out);

/* ---- Write through --------------------------------------------------------------------------- */

/* Write a key to the source, for cellar_write_through. The program writes this function.
 * in:      key and value as given to cellar_write_through; ctx as given with the function
 * returns: OK: the source has the value. Any other code, also a positive one: the write failed or
 *          may have failed; cellar_write_through deletes the key and returns the code
 * owns:    key and value are borrowed until the return
 * thread:  the thread that calls cellar_write_through; several at once, also for one key. No lock
 *          is held. It may call the library, be cancelled (deferred) or end its thread
 * cost:    it may block: no other call waits
 * example:
 *     cellar_err write_row(const void *key, size_t key_len,
 *                          const void *value, size_t value_len, void *db)
 *     {
 *         const bool done = db_put(db, key, key_len, value, value_len);
 *         return done ? CELLAR_OK : CELLAR_E_IO;
 *     }                                                                                          */
typedef cellar_err (*cellar_writer_fn)(const void *key, size_t key_len, const void *value,
                                       size_t value_len, void *ctx);

/* Write a value to the source, then to the cache, so that readers find the new value in both.
 * Unless both return OK, the call deletes the key from the cache: a failed write to the source may
 * have happened, and a set that was denied or switched off would leave the old value.
 * in:      key, value, o: as in cellar_set, without conditions and CELLAR_NEGATIVE;
 *          fn: writes the value to the source; ctx: given to fn
 * returns: OK (source and cache have the value); DISABLED (the namespace is switched off);
 *          E_DENIED (a DENY rule matches the key), E_LIMIT (tags of call and rule are more than 16
 *          together), E_UNSUPPORTED (with CELLAR_DURABLE: no disk tier that syncs, or a NO_L2 rule
 *          matches the key), E_TOOBIG (the value is over max_value_bytes, or its weight over half
 *          of memory_bytes), E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system
 *          gave no memory), E_BUSY (the namespace was cleared 64 times during the call), E_IO (a
 *          tier below memory does not have the value: see LOWER TIERS);
 *          E_RANGE (idle_ms or stale_ms is above 2^32 - 1: nothing done, fn did not run).
 *          Any other code is that of fn: the set did not run. After the codes of the set the source
 *          has the value, the cache has none. cellar_last_error tells of the set, of the delete,
 *          and of options that no set accepts
 * owns:    the bytes are copied. ctx lives until the call has returned
 * thread:  any; if fn ends its thread, the key is deleted as well. Two writers of one key may reach
 *          source and cache in different order: hold a keyed lock (cellar_lock.h) against that
 * cost:    fn and a set
 * example: cellar_write_through(c, "k", 1, "v", 1, NULL, write_row, db);                         */
CELLAR_API cellar_err cellar_write_through(cellar *c, const void *key, size_t key_len,
                                           const void *value, size_t value_len,
                                           const cellar_set_opts *o, cellar_writer_fn fn,
                                           void *ctx);

#ifdef __cplusplus
}
#endif
#endif
