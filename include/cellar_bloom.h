/* SPDX-License-Identifier: MIT
 *
 * cellar_bloom: a Bloom filter over the keys that exist in the source. */
#ifndef CELLAR_BLOOM_H
#define CELLAR_BLOOM_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A view may have a Bloom filter over the keys that exist in its *source* (the database behind the
 * cache). Eviction, expiry, delete and clear remove nothing from it. It is
 *     OFF            cellar_bloom_open ->
 *     OBSERVING      every stored value adds its key; it never decides, only counts
 *                    cellar_bloom_feed with all keys of the source; then cellar_bloom_activate ->
 *     AUTHORITATIVE  what it does not know is absent: a get misses without reading the disk tier, a
 *                    load answers ABSENT without a flight. Any doubt -> OBSERVING, with a log line
 * Contract of the owner: a new key goes to the source first, then into the cache (or through
 * cellar_bloom_add). One in 1,024 denied loads is made all the same; a value found ends authority.
 * While most look-ups of a view end "never", gets ask the filter before memory: a negative entry's
 * key is then a MISS. The view option bloom CELLAR_BLOOM_OBSERVING opens a filter of 1,000,000
 * keys at 1 % with the view. Filters are part of the budget: 10 bits a key at 1 %.
 * With the disk tier cellar_sync and the root's cellar_close write the filters of all views (not of
 * secret or no_l2 ones) to bloom.snap in its directory, and a view opened later has its filter
 * again, under the same name: AUTHORITATIVE if it was so at a close and nothing has happened to the
 * directory since; OBSERVING with its bits, and DOUBT_IMAGE, after a kill, a power cut, or in a
 * copy; OBSERVING, empty, if its part of the file is damaged. Whatever came into the source while
 * the store was not open, or open without its disk, the owner announces with cellar_bloom_add
 * before he relies on it, or he gives the filter up with cellar_bloom_drop. Filters that need more
 * room than is left beside the entries (about a segment, 512 KiB to 8 MiB) take up to a quarter of
 * l2_bytes, whose oldest entries go; what is larger still is not kept: see the log. A clear, a bump
 * and another l2_bytes change nothing, a dropped view's filter is gone. */
typedef enum cellar_bloom_doubt {
    CELLAR_BLOOM_DOUBT_NONE = 0,
    CELLAR_BLOOM_DOUBT_FOUND = 1,   /* the source had a key that the filter does not know */
    CELLAR_BLOOM_DOUBT_FULL = 2,    /* more keys than the filter can hold */
    CELLAR_BLOOM_DOUBT_NOMEM = 3,   /* no memory to grow */
    CELLAR_BLOOM_DOUBT_RESTORED = 4 /* read back after a kill, a power cut, or from a copy */
} cellar_bloom_doubt;

typedef enum cellar_bloom_part {
    CELLAR_BLOOM_PENDING = 0, /* only the second filter, which is not active yet */
    CELLAR_BLOOM_ALL = 1
} cellar_bloom_part;

/* Begin a filter, or, when there is one, begin a second of this size beside it: the first goes on
 * answering until cellar_bloom_activate puts the second in its place.
 * in:      expected_keys 1..2^40; false_positive_rate .0001 to .5; 0 = .01. It grows
 *          to 15 times expected_keys; then, and when it cannot grow, it only observes
 * returns: OK; E_INVAL, E_BUSY (a second filter is being filled already), E_SPACE (budget),
 *          E_NOMEM (nothing changed), E_CLOSED
 * thread:  any, while everything else goes on
 * cost:    the filter's memory, charged at once
 * example: cellar_bloom_open(c, 1000000, 0.01);                                                  */
CELLAR_API cellar_err cellar_bloom_open(cellar *c, uint64_t expected_keys,
                                        double false_positive_rate);

/* Add every key of the source to the newest filter: first those the cache holds, then what `next`
 * hands out. What is stored meanwhile adds itself.
 * in:      next, called until it does not answer CELLAR_OK; ctx
 * out:     *count the keys added, those of the cache included; optional
 * returns: OK (complete: cellar_bloom_activate may follow); what next failed with; E_INVAL (no
 *          filter, or a key of 0 or over 65,535 bytes came), E_BUSY (another feed of the view
 *          runs), E_NOMEM, E_CLOSED. After a failure feed again
 * thread:  any, one feed of a view at a time
 * cost:    a scan of the view, then about 0.1 us a key
 * example:
 *     uint64_t count;
 *     if (cellar_bloom_feed(c, next_row, db, &count) == CELLAR_OK) cellar_bloom_activate(c, 0);  */
CELLAR_API cellar_err cellar_bloom_feed(cellar *c, cellar_next_key_fn next, void *ctx,
                                        uint64_t *count);

/* the source is empty now: nothing to feed but the cached keys */
#define CELLAR_BLOOM_EMPTY_SOURCE 1u

/* Declare the set of keys complete: the newest filter answers from now on, with authority.
 * in:      flags 0 or CELLAR_BLOOM_EMPTY_SOURCE
 * returns: OK; E_INVAL (not fed to the end since it was opened or doubted), E_LIMIT (more keys came
 *          than it was opened for: open a larger one), E_UNSUPPORTED, E_BUSY, E_NOMEM, E_CLOSED
 * thread:  any
 * cost:    O(1); with CELLAR_BLOOM_EMPTY_SOURCE a scan of the view
 * example: cellar_bloom_activate(c, CELLAR_BLOOM_EMPTY_SOURCE);                                  */
CELLAR_API cellar_err cellar_bloom_activate(cellar *c, uint32_t flags);

/* Announce a key that came into the source and not through this cache.
 * in:      key
 * returns: OK; MISS (there is no filter); E_INVAL, E_CLOSED
 * thread:  any
 * cost:    one lock of sixteen, one line
 * example: cellar_bloom_add(c, "k", 1);                                                          */
CELLAR_API cellar_err cellar_bloom_add(cellar *c, const void *key, size_t key_len);

/* What does the filter say of a key?
 * in:      key
 * returns: OK (may exist, or there is no filter), ABSENT (does not, with authority), MISS (it was
 *          not added, but the filter only observes); E_INVAL, E_CLOSED
 * thread:  any; no counter
 * cost:    one line of memory a layer
 * example: if (cellar_bloom_check(c, "k", 1) == CELLAR_ABSENT) puts("never was");                */
CELLAR_API cellar_err cellar_bloom_check(cellar *c, const void *key, size_t key_len);

/* Give a filter up.
 * in:      part
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    its memory goes back
 * example: cellar_bloom_drop(c, CELLAR_BLOOM_ALL);                                              */
CELLAR_API cellar_err cellar_bloom_drop(cellar *c, cellar_bloom_part part);

/* State and figures of a view's filter. Filled up to the caller's struct_size. */
typedef struct cellar_bloom_info {
    size_t   struct_size;   /* set by cellar_bloom_info_default()                                 */
    cellar_bloom_state state;
    cellar_bloom_doubt doubt; /* why it is not believed any more            */
    uint32_t filling;       /* 1: a second filter is being filled                                 */
    uint32_t layers;        /* 1..4: how often it grew                                            */
    uint64_t expected_keys; /* as it was opened                                                   */
    uint64_t keys;          /* different ones added, by the bits they changed                     */
    uint64_t bytes;         /* both filters                                                       */
    uint64_t rejects;       /* look-ups it ended                                                  */
    uint64_t check_loads;   /* loads made to check it                                             */
    uint64_t unknown_keys_found; /* values found under keys it did not know                       */
    uint64_t doubts;        /* times it stopped being believed                                    */
    double   false_positive_rate; /* as it was opened                                             */
} cellar_bloom_info;
CELLAR_STRUCT(cellar_bloom_info, false_positive_rate);

/* Read state and figures of the view's filter.
 * in:      out->struct_size set
 * out:     *out; state CELLAR_BLOOM_OFF when there is none
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(threads that ever used the view)
 * example:
 *     cellar_bloom_info i = cellar_bloom_info_default();
 *     cellar_bloom_info_get(c, &i);                                                              */
CELLAR_API cellar_err cellar_bloom_info_get(cellar *c, cellar_bloom_info *out);

#ifdef __cplusplus
}
#endif
#endif
