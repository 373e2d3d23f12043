/* SPDX-License-Identifier: MIT
 *
 * cellar_bloom: a Bloom filter over the keys that exist in the source.
 *
 * Requests for keys that exist nowhere, such as those of a scanner, each run a loader. A filter
 * that knows all keys of the source answers most of them from memory. Set bloom_keys of the
 * namespace, then call cellar_bloom_feed. */
#ifndef CELLAR_BLOOM_H
#define CELLAR_BLOOM_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* STATES
 * The Bloom filter of a namespace knows the keys of its source (the database behind the cache).
 * Eviction, expiry, delete and clear remove no key from the filter. Its states:
 *     OFF            bloom_keys -> OBSERVING
 *     OBSERVING      each stored value adds its key; lookups are only counted.
 *                    cellar_bloom_feed with all keys -> AUTHORITATIVE
 *     AUTHORITATIVE  an unknown key is absent: a get misses without reading the disk, a load
 *                    returns ABSENT without a loader call, but for one of 1,024, which checks
 *                    the filter. Any doubt -> OBSERVING, and a log line
 *
 * The program must add a new key to the source first, then to the cache or with
 * cellar_bloom_add. A value that a check finds ends the state AUTHORITATIVE. While most lookups
 * are rejected, gets ask the filter before memory: the key of a negative entry is then a MISS.
 *
 * A filter is made for bloom_keys keys: an option of the namespace, and CELLAR_OPT_BLOOM_KEYS at
 * run time. With more keys it still denies none of them, but more absent keys pass: of a filter
 * for 1 %, 12 % at twice and 57 % at 4 times bloom_keys. From there on it is OBSERVING (doubt
 * FULL). To rebuild a filter that has outgrown, set more bloom_keys and feed: the old filter
 * answers until the feed is complete. bloom_keys 0 at run time drops the filter.
 *
 * Filters are part of the budget: 10 bits a key at 1 %. */

/* REOPEN
 * With a disk tier, cellar_sync and the root close write the filters there, except those of hidden
 * namespaces and of tier L1. A namespace opened later under the same name gets its filter back. It
 * is AUTHORITATIVE if it was so at the close and the directory is unchanged. After a kill or a
 * power cut, or in a copy, it is OBSERVING with its keys, and doubt is RESTORED. A damaged filter
 * is OBSERVING and empty, or OFF. Keys that came into the source while the store was closed, or
 * open without its disk tier, must be added with cellar_bloom_add before the filter is used, or the
 * filter fed again, or dropped.
 *
 * A filter lies in the log as an entry of the namespace would: in parts, under a key that no
 * namespace has. It takes a quarter of l2_bytes at most; a larger one is not written, and the log
 * says so. A clear, a version change and another l2_bytes keep the filter. A drop removes it, from
 * the disk with the next cellar_sync, save or close. */

/* ---- Build a filter -------------------------------------------------------------------------- */

/* State of a filter, in cellar_bloom_info.state; see STATES. */
typedef enum cellar_bloom_state {
    CELLAR_BLOOM_OFF = 0,          /* no filter */
    CELLAR_BLOOM_OBSERVING = 1,    /* collects keys, and rejects none */
    CELLAR_BLOOM_AUTHORITATIVE = 2 /* rejects the keys that it does not know */
} cellar_bloom_state;

/* Why a filter is no longer AUTHORITATIVE, in cellar_bloom_info.doubt. */
typedef enum cellar_bloom_doubt {
    CELLAR_BLOOM_DOUBT_NONE = 0,    /* no doubt */
    CELLAR_BLOOM_DOUBT_FOUND = 1,   /* the source had a key that the filter does not know */
    CELLAR_BLOOM_DOUBT_FULL = 2,    /* more than 4 times expected_keys keys */
    CELLAR_BLOOM_DOUBT_RESTORED = 4 /* read after a kill, a power cut, or from a copy */
} cellar_bloom_doubt;

/* Add every key of the source to the filter, which is AUTHORITATIVE then: from now on a key that it
 * does not know is answered without a load. The keys in memory come first, then those of `next`. It
 * must read the source as it is after the call began: a key that came before may be nowhere else.
 * Values stored meanwhile add their keys themselves. An AUTHORITATIVE or full filter, or one with
 * another bloom_keys, is rebuilt: a second filter is filled beside it and replaces it at the end.
 * Until then, and after a failure, the old filter answers.
 * in:      next, called until it returns another code than OK. MISS at the first call says that
 *          the source is empty; ctx, given to next
 * out:     *count the keys added, those in memory included: a key in both counts twice; optional
 * returns: OK (the filter is AUTHORITATIVE); E_INVAL (the namespace has no filter, or next returned
 *          a key of wrong length), E_BUSY (another feed of the namespace runs, or a doubt came up
 *          meanwhile), E_LIMIT (over 4 times bloom_keys: set more), E_SPACE (memory_bytes has no
 *          room for the second filter), E_NOMEM (the system gave no memory).
 *          A negative code of next ends the call, which returns it. After a failure feed again
 * owns:    ctx lives until the call has returned
 * thread:  any, one feed of a namespace at a time
 * cost:    a scan of the namespace, then about 0.1 us a key; the memory of a second filter,
 *          charged during a rebuild
 * example:
 *     cellar_namespace_config o = cellar_namespace_config_default();
 *     o.bloom_keys = 1000000;
 *     if (cellar_namespace_open(c, "users", &o, &users) != CELLAR_OK)
 *         return 1;
 *     cellar_bloom_feed(users, next_row, db, NULL);                                              */
CELLAR_API cellar_err cellar_bloom_feed(cellar *c, cellar_next_key_fn next, void *ctx,
                                        uint64_t *count);

/* ---- Use a filter ---------------------------------------------------------------------------- */

/* Add a key to the filter that came into the source, but not through this cache.
 * in:      key
 * returns: OK; MISS (the namespace has no filter)
 * thread:  any
 * cost:    one lock of sixteen, one cache line
 * example: cellar_bloom_add(c, "k", 1);                                                          */
CELLAR_API cellar_err cellar_bloom_add(cellar *c, const void *key, size_t key_len);

/* Ask the filter whether the source may have a key.
 * in:      key
 * returns: OK (the source may have it, or there is no filter), ABSENT (the source does not have
 *          it), MISS (the key was not added, but the filter is OBSERVING)
 * thread:  any; updates no counter
 * cost:    one cache line
 * example:
 *     if (cellar_bloom_check(c, "k", 1) == CELLAR_ABSENT)
 *         puts("not in the source");                                                             */
CELLAR_API cellar_err cellar_bloom_check(cellar *c, const void *key, size_t key_len);

/* State and figures of a filter: of cellar_bloom_info_get. Filled up to the caller's
 * struct_size. */
typedef struct cellar_bloom_info {
    size_t   struct_size;   /* set by cellar_bloom_info_default()                                 */
    cellar_bloom_state state; /* what it does with unknown keys                                   */
    cellar_bloom_doubt doubt; /* why it is not AUTHORITATIVE any more                             */
    uint32_t filling;       /* 1: a feed fills a second filter                                    */
    uint32_t outgrown;      /* 1: more keys than expected_keys: rebuild it                        */
    uint64_t expected_keys; /* bloom_keys when it was made                                        */
    uint64_t keys;          /* different keys added, estimated by the bits they changed           */
    uint64_t bytes;         /* both filters                                                       */
    uint64_t rejects;       /* lookups answered with "absent"                                     */
    uint64_t check_loads;   /* loader calls that check it                                         */
    uint64_t unknown_keys_found; /* values found under keys that it did not know                  */
    uint64_t doubts;        /* times it stopped being AUTHORITATIVE                               */
    double   false_positive_rate; /* bloom_fpr_ppm when it was made, as a share                   */
} cellar_bloom_info;
CELLAR_STRUCT(cellar_bloom_info, false_positive_rate);

/* Read state and figures of the filter.
 * in:      out from cellar_bloom_info_default
 * out:     *out; state CELLAR_BLOOM_OFF without a filter
 * returns: OK
 * thread:  any
 * cost:    O(threads that ever used the namespace)
 * example:
 *     cellar_bloom_info i = cellar_bloom_info_default();
 *     cellar_bloom_info_get(c, &i);                                                              */
CELLAR_API cellar_err cellar_bloom_info_get(cellar *c, cellar_bloom_info *out);

#ifdef __cplusplus
}
#endif
#endif
