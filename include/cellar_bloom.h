/* SPDX-License-Identifier: MIT
 *
 * cellar_bloom: a Bloom filter over the keys that exist in the source.
 *
 * Unstable until 1.0: names and meanings may change. */
#ifndef CELLAR_BLOOM_H
#define CELLAR_BLOOM_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* STATES
 * The Bloom filter of a namespace knows the keys of its source (the database behind the cache).
 * Eviction, expiry, delete and clear remove no key from the filter. Its states:
 *     OFF            cellar_bloom_open -> OBSERVING
 *     OBSERVING      each stored value adds its key; lookups are only counted.
 *                    cellar_bloom_feed with all keys, cellar_bloom_activate -> AUTHORITATIVE
 *     AUTHORITATIVE  an unknown key is absent: a get misses without reading the disk, a load
 *                    returns ABSENT without a loader call. Any doubt -> OBSERVING, and a log line
 *
 * The program must add a new key to the source first, then to the cache or with
 * cellar_bloom_add. One of 1,024 rejected loads runs the loader as a check; a value found ends
 * the state AUTHORITATIVE. While most lookups are rejected, gets ask the filter before memory:
 * the key of a negative entry is then a MISS.
 *
 * A filter is made for expected_keys keys. With more keys it still denies none of them, but more
 * absent keys pass: of a filter for 1 %, 12 % at twice and 57 % at 4 times expected_keys. From
 * there on it is OBSERVING (doubt FULL). To rebuild a filter that has outgrown, open a larger one
 * beside it, feed and activate it; the old filter answers meanwhile.
 *
 * Filters are part of the budget: 10 bits a key at 1 %. The namespace option bloom
 * CELLAR_BLOOM_OBSERVING opens a filter of 1,000,000 keys at 1 % with the namespace. */

/* REOPEN
 * With a disk tier, cellar_sync and the root close write the filters to bloom.snap, except those
 * of hidden namespaces and of tier L1. A namespace opened later under the same name gets its
 * filter back. It is AUTHORITATIVE if it was so at the close and the directory is unchanged.
 * After a kill or a power cut, or in a copy, it is OBSERVING with its keys, and doubt is
 * RESTORED. A damaged filter is OBSERVING and empty. Keys that came into the source while the
 * store was closed, or open without its disk tier, must be added with cellar_bloom_add before
 * the filter is used, or the filter dropped.
 *
 * Filters beyond the space beside the entries (about a segment, 512 KiB to 8 MiB) take up to a
 * quarter of l2_bytes, and the oldest entries leave. Larger filters are not written; the log says
 * so. A clear, a version change and another l2_bytes keep the filter, a drop removes it. */

/* ---- Build a filter -------------------------------------------------------------------------- */

/* Why a filter is no longer AUTHORITATIVE. */
typedef enum cellar_bloom_doubt {
    CELLAR_BLOOM_DOUBT_NONE = 0,
    CELLAR_BLOOM_DOUBT_FOUND = 1,   /* the source had a key that the filter does not know */
    CELLAR_BLOOM_DOUBT_FULL = 2,    /* more than 4 times expected_keys keys */
    CELLAR_BLOOM_DOUBT_RESTORED = 4 /* read after a kill, a power cut, or from a copy */
} cellar_bloom_doubt;

/* What cellar_bloom_drop removes. */
typedef enum cellar_bloom_part {
    CELLAR_BLOOM_PENDING = 0, /* the second filter, which is not active yet */
    CELLAR_BLOOM_ALL = 1      /* both filters; the state is OFF */
} cellar_bloom_part;

/* Open a filter; if there is one, open a second filter beside it. The first one answers until
 * cellar_bloom_activate replaces it by the second.
 * status:  unstable until 1.0
 * in:      expected_keys 1..2^40; false_positive_rate 0.0001..0.5, 0 = 0.01
 * returns: OK; E_BUSY (a second filter exists), E_SPACE (budget), E_NOMEM (nothing changed)
 * thread:  any
 * cost:    the memory of the filter, charged before the return
 * example: cellar_bloom_open(c, 1000000, 0.01);                                                  */
CELLAR_API cellar_err cellar_bloom_open(cellar *c, uint64_t expected_keys,
                                        double false_positive_rate);

/* Add every key of the source to the newest filter: the keys in the cache, then those of `next`.
 * Values stored meanwhile add their keys themselves.
 * status:  unstable until 1.0
 * in:      next, called until it returns another code than OK; ctx
 * out:     *count the keys added, those in the cache included; optional
 * returns: OK (complete: call cellar_bloom_activate); the negative code of next; E_INVAL (no
 *          filter, or a key of wrong length), E_BUSY (another feed of the namespace runs), E_NOMEM.
 *          After a failure feed again
 * thread:  any, one feed of a namespace at a time
 * cost:    a scan of the namespace, then about 0.1 us a key
 * example:
 *     uint64_t count;
 *     if (cellar_bloom_feed(c, next_row, db, &count) == CELLAR_OK) cellar_bloom_activate(c, 0);  */
CELLAR_API cellar_err cellar_bloom_feed(cellar *c, cellar_next_key_fn next, void *ctx,
                                        uint64_t *count);

#define CELLAR_BLOOM_EMPTY_SOURCE 1u /* the source is empty: feed only the keys in the cache */

/* Declare the newest filter complete: it is AUTHORITATIVE from now on.
 * status:  unstable until 1.0
 * in:      flags 0 or CELLAR_BLOOM_EMPTY_SOURCE
 * returns: OK; E_INVAL (no complete feed since it was opened or doubted), E_LIMIT (over 4
 *          times its expected_keys: open a larger one), E_BUSY, E_NOMEM
 * thread:  any
 * cost:    O(1); with CELLAR_BLOOM_EMPTY_SOURCE a scan of the namespace
 * example: cellar_bloom_activate(c, CELLAR_BLOOM_EMPTY_SOURCE);                                  */
CELLAR_API cellar_err cellar_bloom_activate(cellar *c, uint32_t flags);

/* ---- Use a filter ---------------------------------------------------------------------------- */

/* Add a key that came into the source, but not through this cache.
 * status:  unstable until 1.0
 * in:      key
 * returns: OK; MISS (no filter)
 * thread:  any
 * cost:    one lock of sixteen, one cache line
 * example: cellar_bloom_add(c, "k", 1);                                                          */
CELLAR_API cellar_err cellar_bloom_add(cellar *c, const void *key, size_t key_len);

/* Ask the filter for a key.
 * status:  unstable until 1.0
 * in:      key
 * returns: OK (may exist, or no filter), ABSENT (does not exist), MISS (not added, but the filter
 *          is OBSERVING)
 * thread:  any; updates no counter
 * cost:    one cache line
 * example: if (cellar_bloom_check(c, "k", 1) == CELLAR_ABSENT) puts("not in the source");        */
CELLAR_API cellar_err cellar_bloom_check(cellar *c, const void *key, size_t key_len);

/* State and figures of a filter. Filled up to the caller's struct_size. */
typedef struct cellar_bloom_info {
    size_t   struct_size;   /* set by cellar_bloom_info_default()                                 */
    cellar_bloom_state state;
    cellar_bloom_doubt doubt; /* why it is not AUTHORITATIVE any more                             */
    uint32_t filling;       /* 1: a second filter exists                                          */
    uint32_t outgrown;      /* 1: more keys than expected_keys: rebuild it                        */
    uint64_t expected_keys; /* as opened                                                          */
    uint64_t keys;          /* different keys added, estimated by the bits they changed           */
    uint64_t bytes;         /* both filters                                                       */
    uint64_t rejects;       /* lookups answered with "absent"                                     */
    uint64_t check_loads;   /* loader calls that check it                                         */
    uint64_t unknown_keys_found; /* values found under keys that it did not know                  */
    uint64_t doubts;        /* times it stopped being AUTHORITATIVE                               */
    double   false_positive_rate; /* as opened                                                    */
} cellar_bloom_info;
CELLAR_STRUCT(cellar_bloom_info, false_positive_rate);

/* Read state and figures of the filter.
 * status:  unstable until 1.0
 * in:      out->struct_size set
 * out:     *out; state CELLAR_BLOOM_OFF without a filter
 * returns: OK
 * thread:  any
 * cost:    O(threads that ever used the namespace)
 * example:
 *     cellar_bloom_info i = cellar_bloom_info_default();
 *     cellar_bloom_info_get(c, &i);                                                              */
CELLAR_API cellar_err cellar_bloom_info_get(cellar *c, cellar_bloom_info *out);

/* Drop a filter and free its memory.
 * status:  unstable until 1.0
 * in:      part
 * returns: OK
 * thread:  any
 * cost:    O(bytes of the filter)
 * example: cellar_bloom_drop(c, CELLAR_BLOOM_ALL);                                               */
CELLAR_API cellar_err cellar_bloom_drop(cellar *c, cellar_bloom_part part);

#ifdef __cplusplus
}
#endif
#endif
