/* SPDX-License-Identifier: MIT
 *
 * cellar_warm: load many keys ahead; write to the source, then to the cache. */
#ifndef CELLAR_WARM_H
#define CELLAR_WARM_H

#include "cellar_load.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How to warm up. Either keys or next. */
typedef struct cellar_warm_opts {
    size_t   struct_size;         /* set by cellar_warm_opts_default()                            */
    const cellar_bytes *keys;     /* key_count of them                                            */
    size_t   key_count;
    cellar_next_key_fn next;      /* or: hands out one key after another, in the calling thread   */
    void    *next_ctx;
    const cellar_load_opts *load; /* NULL = the view's defaults; outlives the call                */
    cellar_loader_fn loader;      /* NULL with many NULL = the view's loader                      */
    cellar_loader_many_fn loader_many; /* instead of loader: many keys in one call                */
    void    *loader_ctx;          /* of loader or loader_many                                     */
    int64_t  timeout_ms;          /* how long it may take; 0 = no limit                           */
    uint32_t keys_per_s;          /* keys asked for in a second, up to 10^9; 0 = no limit         */
    uint32_t threads;             /* threads made for it, 0..64; 0 = in the calling thread        */
    uint32_t batch_keys;          /* keys of one bulk call, 1..4096; 0 = 256; 1 with fn           */
    uint32_t max_failure_pct;     /* 1..100: stops above this share of failures (of 20 or more);  */
                                  /* 0 = 100                                                      */
    uint32_t max_used_pct;        /* 1..100: stops when the budget is used so far; 0 = 90         */
    uint32_t reserved0;           /* must be 0                                                    */
} cellar_warm_opts;
CELLAR_STRUCT(cellar_warm_opts, reserved0);

/* keys == hits + loaded + absent + failed + skipped. Filled up to the caller's struct_size. */
typedef struct cellar_warm_report {
    size_t   struct_size; /* set by cellar_warm_report_default()                                  */
    uint64_t keys;        /* keys named                                                           */
    uint64_t hits;        /* were there already, or another caller was loading them               */
    uint64_t loaded;
    uint64_t absent;      /* the source has nothing                                               */
    uint64_t failed;
    uint64_t skipped;     /* it stopped before them                                               */
    uint64_t elapsed_ms;
    cellar_err stopped;   /* CELLAR_OK: not; E_TIMEOUT, E_SPACE (budget), E_LOADER (failures)     */
    uint32_t reserved0;
} cellar_warm_report;
CELLAR_STRUCT(cellar_warm_report, reserved0);

/* Load many keys before anybody asks. Ordinary loads: keys that are there are left alone, and who
 * asks for one meanwhile joins its load.
 * in:      o; out->struct_size set
 * out:     *out, also when it stopped early
 * returns: OK (look at the report); what next failed with; E_INVAL, E_UNSUPPORTED, E_NOMEM (no
 *          thread, no memory; what was loaded stays), E_CLOSED
 * thread:  any; fn runs in up to `parallel` threads at once; they are joined before it returns. One
 *          that fn ends stops it: E_LOADER, its key failed, what is left is skipped
 * cost:    a load for each key that is missing
 * example:
 *     cellar_warm_opts o = cellar_warm_opts_default();
 *     cellar_warm_report r = cellar_warm_report_default();
 *     o.keys = keys, o.key_count = 100, o.loader = load_row, o.threads = 4;
 *     cellar_warm(c, &o, &r);                                                                    */
CELLAR_API cellar_err cellar_warm(cellar *c, const cellar_warm_opts *o, cellar_warm_report *out);

/* Writes to the source: CELLAR_OK, or a negative code. No lock is held. */
typedef cellar_err (*cellar_writer_fn)(const void *key, size_t key_len, const void *value,
                                       size_t value_len, void *ctx);

/* Write to the source, then to the cache; when either fails the key is deleted from the cache, for
 * a failure of the source may hide a success.
 * in:      key, value, o as in cellar_set without conditions; fn, ctx
 * returns: OK; what fn failed with, or what cellar_set answered (the source has the value then; the
 *          cache has none); E_INVAL, E_RANGE, E_UNSUPPORTED, E_CLOSED (nothing done)
 * owns:    copied
 * thread:  any; fn may end its thread, then the key is deleted, too. Two writers of one key at one
 *          time may reach source and cache in different order: take a keyed lock around the call
 *          where that matters
 * cost:    fn, and a set
 * example: cellar_write_through(c, "k", 1, "v", 1, NULL, write_row, db);                         */
CELLAR_API cellar_err cellar_write_through(cellar *c, const void *key, size_t key_len,
                                           const void *value, size_t value_len,
                                           const cellar_set_opts *o, cellar_writer_fn fn,
                                           void *ctx);

#ifdef __cplusplus
}
#endif
#endif
