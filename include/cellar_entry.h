/* SPDX-License-Identifier: MIT
 *
 * cellar_entry: one entry in detail: read options, description, pins, updates, TTL classes. */
#ifndef CELLAR_ENTRY_H
#define CELLAR_ENTRY_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of entries and bits of cellar_entry_info.flags. */
enum { CELLAR_KIND_VALUE = 0, CELLAR_KIND_NEGATIVE = 1, CELLAR_KIND_ERROR = 2 };
enum { CELLAR_TIER_L1 = 1, CELLAR_TIER_L2 = 2 };
#define CELLAR_INFO_AGE_APPROX 1u /* age_ms is that of its segment: an upper bound, unless it was */
                                  /* moved in memory since: then at least how long ago that was   */
#define CELLAR_INFO_VERSION    2u /* version is set                                               */
#define CELLAR_INFO_STALE      4u /* past its time to live, in the stale window                   */
#define CELLAR_INFO_TAGGED     8u

/* What is known about an entry beside its bytes. Filled up to the caller's struct_size. */
typedef struct cellar_entry_info {
    size_t   struct_size;   /* set by cellar_entry_info_default()                                 */
    uint32_t kind;          /* CELLAR_KIND_...                                                    */
    uint32_t tier;          /* CELLAR_TIER_...: where it was found                                */
    uint32_t flags;         /* CELLAR_INFO_...                                                    */
    uint32_t user_flags;    /* as given to the set                                                */
    uint32_t hits;          /* 0..3: the eviction counter, a hint                                 */
    uint32_t cost_us;       /* as given to the set, rounded to 8 bits; 0 = none                   */
    uint64_t value_len;     /* bytes                                                              */
    uint64_t version;       /* with CELLAR_INFO_VERSION; unequal for any two writes of the key    */
                                  /* while the store is open; what came back from disk has a new
                                   * one */
    int64_t  age_ms;        /* since it was written, came back from disk, or a load found it not  */
                                  /* modified; INT64_MAX: on disk, which does not say             */
    int64_t  ttl_left_ms;   /* CELLAR_TTL_NONE = never; idle time counted                         */
    int64_t  stale_left_ms; /* to the end of the stale window; 0 = it has none                    */
    int64_t  idle_ms;       /* 0 = none                                                           */
    uint64_t reserved0;
} cellar_entry_info;
CELLAR_STRUCT(cellar_entry_info, reserved0);

#define CELLAR_GET_ALLOW_STALE 1u /* a value in its stale window is returned, as CELLAR_STALE     */
#define CELLAR_GET_PEEK    2u /* is no use: no counter, no idle time, no statistics               */
#define CELLAR_GET_WANT_VERSION 4u /* info.version is wanted: the first time costs one rewrite    */

typedef struct cellar_get_opts {
    size_t       struct_size; /* set by cellar_get_opts_default()                                 */
    cellar_entry_info *info;  /* filled from the entry whose bytes are returned; optional         */
    uint32_t     flags;       /* CELLAR_GET_...                                                   */
    uint32_t     reserved0;
    uint64_t     reserved1;
} cellar_get_opts;
CELLAR_STRUCT(cellar_get_opts, reserved1);

/* cellar_get with options: stale values, description, peek.
 * in:      as cellar_get; o NULL = cellar_get
 * out:     as cellar_get; *o->info
 * returns: as cellar_get; STALE (value copied) with CELLAR_GET_ALLOW_STALE; E_UNSUPPORTED (unknown
 *          flag), E_SPACE or E_NOMEM (a version was wanted and the rewrite found no room)
 * owns:    nothing changes hands
 * thread:  any
 * cost:    as cellar_get; with info O(1) more
 * example:
 *     cellar_get_opts o = cellar_get_opts_default();
 *     o.flags = CELLAR_GET_ALLOW_STALE;
 *     char buf[64];
 *     size_t len;
 *     cellar_err err = cellar_get_with(c, "k", 1, &o, buf, sizeof buf, &len);                    */
CELLAR_API cellar_err cellar_get_with(cellar *c, const void *key, size_t key_len,
                                      const cellar_get_opts *o, void *buf, size_t buf_cap,
                                      size_t *value_len);

/* cellar_get that is no use of the entry: eviction, idle time and statistics do not see it, and
 * what lies only on disk stays there.
 * in:      as cellar_get
 * out:     as cellar_get
 * returns: as cellar_get
 * owns:    nothing changes hands
 * thread:  any
 * cost:    as cellar_get
 * example:
 *     size_t len;
 *     cellar_peek(c, "k", 1, NULL, 0, &len);                                                     */
CELLAR_API cellar_err cellar_peek(cellar *c, const void *key, size_t key_len,
                                  void *buf, size_t buf_cap, size_t *value_len);

/* Describe an entry without reading its value.
 * in:      key; flags 0 or CELLAR_GET_WANT_VERSION; out->struct_size set
 * out:     *out; untouched unless OK, ABSENT or STALE
 * returns: OK, STALE (in its stale window), ABSENT, MISS; E_UNSUPPORTED (unknown flag), E_SPACE or
 *          E_NOMEM (a version was wanted and the rewrite found no room), E_INVAL, E_CLOSED
 * thread:  any; no use of the entry
 * cost:    as cellar_peek; with CELLAR_GET_WANT_VERSION the first time as cellar_set
 * example:
 *     cellar_entry_info info = cellar_entry_info_default();
 *     cellar_entry_info_get(c, "k", 1, 0, &info);                                                */
CELLAR_API cellar_err cellar_entry_info_get(cellar *c, const void *key, size_t key_len,
                                            uint32_t flags,
                                            cellar_entry_info *out);

/* A value read in place. Copyable; unpin one copy once. */
typedef struct cellar_pinned {
    const void *value;
    size_t      value_len;
    uint64_t    opaque[4]; /* zero = not pinned */
} cellar_pinned;

/* Read a value without copying it: its bytes stay where they are until cellar_unpin.
 * in:      key
 * out:     *out: value, value_len; zeroed unless OK
 * returns: OK, MISS, ABSENT; E_LIMIT (too many pins at once), E_INVAL, E_CLOSED
 * owns:    the bytes are borrowed until cellar_unpin(out), or until the store is closed. They do
 *          not change: a later set, delete or eviction leaves them in place
 * thread:  any; may be unpinned in another thread. For values from 1 KiB on, and for a short time:
 *          a pin keeps up to a segment (1 MiB) from being reused
 * cost:    two shared writes; no copy
 * example:
 *     cellar_pinned p;
 *     if (cellar_pin(c, "k", 1, &p) == CELLAR_OK) cellar_unpin(&p);                              */
CELLAR_API cellar_err cellar_pin(cellar *c, const void *key, size_t key_len, cellar_pinned *out);

/* Give a pin back.
 * in:      p from cellar_pin; NULL or zeroed is fine; zeroed by the call
 * thread:  any; a second unpin of a copy stops the program in debug builds
 * cost:    one shared write
 * example:
 *     cellar_pinned p = {0, 0, {0, 0, 0, 0}};
 *     cellar_unpin(&p);                                                                          */
CELLAR_API void cellar_unpin(cellar_pinned *p);

/* Bytes an update function writes its result to. */
typedef struct cellar_buf cellar_buf;

/* Append to an update's result.
 * in:      b of the running cellar_update; data may be NULL with len 0
 * returns: OK; E_NOMEM, E_TOOBIG (over max_value_bytes in all), E_INVAL. After the first failure
 *          each call fails with that code, and so does the update: nothing is changed
 * owns:    copied
 * thread:  the one that runs the update function
 * cost:    amortised O(len)
 * example: cellar_buf_append(out, "x", 1);                                                       */
CELLAR_API cellar_err cellar_buf_append(cellar_buf *b, const void *data, size_t len);

/* Set the length of an update's result and get at its bytes; new ones are zero.
 * in:      b of the running cellar_update; len in bytes
 * out:     *data, valid until the next call on b
 * returns: OK; E_NOMEM, E_TOOBIG, E_INVAL: as cellar_buf_append
 * owns:    borrowed until the next call on b or the end of the update function
 * thread:  the one that runs the update function
 * cost:    O(len)
 * example:
 *     void *p;
 *     cellar_buf_resize(out, 8, &p);                                                             */
CELLAR_API cellar_err cellar_buf_resize(cellar_buf *b, size_t len, void **data);

/* What an update function says: CELLAR_OK: store what is in out (nothing written = a zero-length
 * value); anything else: change nothing, cellar_update returns it. old is NULL when the key has no
 * live value. May run more than once; no lock is held. */
typedef cellar_err (*cellar_update_fn)(void *ctx, const void *old, size_t old_len,
                                       cellar_buf *out);

/* Compute a new value from the old one, atomically against every other writer of the key.
 * in:      key, fn; o as in cellar_set (CELLAR_ONLY_IF_PRESENT: fn is not called on a missing key;
 *          CELLAR_ONLY_IF_ABSENT, _VERSION and CELLAR_NEGATIVE are E_INVAL)
 * returns: OK (stored), MISS (with ONLY_IF_PRESENT), DISABLED, what fn returned; E_BUSY (64 rounds
 *          lost to other writers), E_TOOBIG, E_INVAL (of out, too: nothing changed); E_SPACE,
 *          E_NOMEM (when the new value could not be stored, the old one is gone as with cellar_set;
 *          when there was no working memory, nothing changed), E_LIMIT, E_IO (see "Disk tier"),
 *          E_RANGE, E_UNSUPPORTED, E_CLOSED
 * owns:    old is a private copy, valid while fn runs
 * thread:  any; fn runs with no lock held and may call the cache
 * cost:    a copy, fn, a compare and a set a round
 * example:
 *     cellar_update(c, "k", 1, append_line, "text", NULL);                                       */
CELLAR_API cellar_err cellar_update(cellar *c, const void *key, size_t key_len,
                                    cellar_update_fn fn, void *ctx, const cellar_set_opts *o);

/* Find a TTL class of this view by name, once; its number goes into cellar_set_opts.ttl_class.
 * in:      name, not NULL
 * out:     *class_number from 1; of the fallback class for an unknown name (counted:
 *          ttl_class_fallbacks)
 * returns: OK; MISS (the view has no classes; *class_number 0), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(classes)
 * example:
 *     uint32_t cls;
 *     cellar_ttl_class_find(v, "success", &cls);                                                 */
CELLAR_API cellar_err cellar_ttl_class_find(cellar *c, const char *name, uint32_t *class_number);

#ifdef __cplusplus
}
#endif
#endif
