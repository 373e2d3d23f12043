/* SPDX-License-Identifier: MIT
 *
 * cellar_entry: one entry in detail: reads with options, descriptions, pins, conditional deletes,
 * updates, TTL classes.
 *
 * Use this header when the calls of cellar.h say too little: how old is the entry, which version
 * has it, may a long value be read in place, how is a value changed without a race. */
#ifndef CELLAR_ENTRY_H
#define CELLAR_ENTRY_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What an entry holds: in cellar_entry_info, cellar_scan_entry and cellar_event. */
typedef enum cellar_kind {
    CELLAR_KIND_VALUE = 0,    /* bytes */
    CELLAR_KIND_NEGATIVE = 1, /* known to be absent */
    CELLAR_KIND_ERROR = 2,    /* remembered error of a loader */
    CELLAR_KIND_OBJECT = 3    /* cellar_object.h */
} cellar_kind;

/* Bits of cellar_entry_info.flags. */
#define CELLAR_INFO_AGE_APPROX 1u /* age of the segment: an upper bound; a lower one if it moved  */
#define CELLAR_INFO_VERSION    2u /* version is set                                               */
#define CELLAR_INFO_STALE      4u /* past its TTL, in its stale window                            */
#define CELLAR_INFO_TAGGED     8u /* the entry has tags                                           */

/* Description of an entry, of cellar_get_with and cellar_entry_info_get. Filled up to the caller's
 * struct_size. */
typedef struct cellar_entry_info {
    size_t   struct_size;   /* set by cellar_entry_info_default()                                 */
    cellar_kind kind;       /* value, negative entry, remembered error or object                  */
    cellar_tier tier;       /* where it was found                                                 */
    uint32_t flags;         /* CELLAR_INFO_...                                                    */
    uint32_t user_flags;    /* flags of the program, as given to the set                          */
    uint32_t hits;          /* 0..3: the eviction counter, a hint                                 */
    uint32_t cost_us;       /* time to make the value, as given to the set, rounded to 8 bits. 0  */
                            /* = none                                                             */
    uint64_t value_len;     /* bytes                                                              */
    uint64_t version;       /* version of the entry, set with CELLAR_INFO_VERSION; differs for    */
                            /* any two writes of the key while the store is open; an entry read   */
                            /* from disk has a new one                                            */
    int64_t  age_ms;        /* time since the entry was written, read from disk, or found not     */
                            /* modified; INT64_MAX: on disk, age not stored                       */
    int64_t  ttl_left_ms;   /* idle time included; CELLAR_TTL_NONE = never expires                */
    int64_t  stale_left_ms; /* time to the end of the stale window; 0 = none                      */
    int64_t  idle_ms;       /* maximum time without use; 0 = none                                 */
} cellar_entry_info;
CELLAR_STRUCT(cellar_entry_info, idle_ms);

/* Flags of cellar_get_opts; cellar_entry_info_get takes WANT_VERSION and TAKE_HITS. */
#define CELLAR_GET_ALLOW_STALE  1u /* return a value in its stale window, with STALE              */
#define CELLAR_GET_PEEK         2u /* do not count the read as a use; the disk keeps its entry   */
#define CELLAR_GET_WANT_VERSION 4u /* OK has info.version; the first time rewrites the entry      */
#define CELLAR_GET_MEMORY       8u /* look in memory, in no other tier; a MISS is not counted     */
#define CELLAR_GET_TAKE_HITS   16u /* of cellar_entry_info_get: then begin info.hits again at 0   */

/* Options of cellar_get_with. */
typedef struct cellar_get_opts {
    size_t       struct_size; /* set by cellar_get_opts_default()                                 */
    cellar_entry_info *info;  /* describes the entry of the returned bytes; optional              */
    uint32_t     flags;       /* bits CELLAR_GET_... Default 0: none                              */
    uint32_t     reserved0;   /* must be 0                                                        */
} cellar_get_opts;
CELLAR_STRUCT(cellar_get_opts, reserved0);

/* Copy a value as cellar_get does, with options: accept a stale value, describe the entry, do not
 * count the read, or look in memory alone. The last is for a caller that holds a lock of its own:
 * it asks memory first, and after a MISS releases the lock and calls cellar_get.
 * in:      key; o: options, NULL = as cellar_get; buf_cap in bytes, 0 asks for the size (buf may be
 *          NULL)
 * out:     *value_len as in cellar_get; buf behind the value is undefined; *o->info: describes the
 *          entry; unchanged with MISS
 * returns: OK (buf has the value), STALE (with CELLAR_GET_ALLOW_STALE: buf has a value past its
 *          TTL), MISS (no value that the flags allow), ABSENT (a negative entry: the source has
 *          none); E_BUFFER (the value does not fit: *value_len is its length), E_LIMIT (a long
 *          value, and other threads use all slots for copies: call again). With
 *          CELLAR_GET_WANT_VERSION also E_SPACE (no room to give the entry a version), E_NOMEM (no
 *          memory to do so), E_BUSY (64 tries lost to other writers: call again)
 * thread:  any
 * cost:    as cellar_get; O(1) more with info
 * example:
 *     cellar_get_opts o = cellar_get_opts_default();
 *     o.flags = CELLAR_GET_ALLOW_STALE;
 *     char buf[64];
 *     size_t len;
 *     const cellar_err err =
 *         cellar_get_with(c, "k", 1, &o, buf, sizeof buf, &len);
 *     if (err == CELLAR_OK || err == CELLAR_STALE) use(buf, len);                                */
CELLAR_API cellar_err cellar_get_with(cellar *c, const void *key, size_t key_len,
                                      const cellar_get_opts *o, void *buf, size_t buf_cap,
                                      size_t *value_len);

/* Describe an entry without its value: age, time left, version, tier. The call does not update
 * recency, idle time or statistics.
 * in:      key; flags: CELLAR_GET_WANT_VERSION, CELLAR_GET_TAKE_HITS, or 0; out from
 *          cellar_entry_info_default
 * out:     *out; unchanged unless OK, ABSENT or STALE. With TAKE_HITS `hits` is set in any case,
 *          also of an entry in memory that has expired
 * returns: OK (a live value), STALE (a value in its stale window), ABSENT (a negative entry: the
 *          source has none), MISS (the key has no entry). With CELLAR_GET_WANT_VERSION also
 *          E_SPACE (no room to give the entry a version), E_NOMEM (no memory to do so), E_BUSY (64
 *          tries lost to other writers: call again)
 * thread:  any
 * cost:    as cellar_contains; with CELLAR_GET_WANT_VERSION the first time as cellar_set
 * example:
 *     cellar_entry_info info = cellar_entry_info_default();
 *     if (cellar_entry_info_get(c, "k", 1, 0, &info) == CELLAR_OK)
 *         printf("%lld ms left\n", (long long)info.ttl_left_ms);                                 */
CELLAR_API cellar_err cellar_entry_info_get(cellar *c, const void *key, size_t key_len,
                                            uint32_t flags, cellar_entry_info *out);

/* PINS
 * A pin keeps a value in place while the program reads it without a copy. A store has 192 pins on
 * up to 4 processors. Each doubling of the processors doubles them, to 3,072. cellar_pin,
 * cellar_reserve, CELLAR_LOAD_PIN and, while it copies, cellar_get_range take one. When all are in
 * use, these calls return E_LIMIT, and CELLAR_LOAD_PIN copies. A get has slots of its own for the
 * copy of a long value, a third as many: E_LIMIT of a get means that these are in use as well.
 *
 * A pin ends with cellar_unpin, in any thread, or with the close of the store. It does not end with
 * its thread: pins that an ended thread left stay valid and in use until another thread unpins
 * them. */

/* A value read in place, from cellar_pin or cellar_reserve; cellar_unpin ends it. The struct may be
 * copied; unpin one copy once. */
typedef struct cellar_pinned {
    const void *value;     /* the bytes, at any address */
    size_t      value_len; /* bytes at value */
    uint64_t    opaque[4]; /* zero = not pinned */
} cellar_pinned;

/* Pin a value: read it in place, without a copy. This is for long values, such as pages that are
 * sent from the cache.
 * in:      key
 * out:     *out: value, at any address: read numbers with memcpy; value_len; zeroed unless OK
 * returns: OK (the value is pinned), MISS (the key has no live value), ABSENT (a negative entry:
 *          the source has none); E_LIMIT (all pins are in use: unpin values; see PINS)
 * owns:    the bytes are borrowed until cellar_unpin, or until the store is closed. They do not
 *          change: a later set, delete or eviction leaves them in place
 * thread:  any; another thread may unpin. Use pins for values from 1 KiB and for a short time: a
 *          pin keeps up to a segment (1 MiB) from reuse
 * cost:    two shared writes; no copy
 * example:
 *     cellar_pinned p;
 *     if (cellar_pin(c, "k", 1, &p) == CELLAR_OK) {
 *         use(p.value, p.value_len);
 *         cellar_unpin(&p);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_pin(cellar *c, const void *key, size_t key_len, cellar_pinned *out);

/* Release a pin: the memory of the value may be used again.
 * in:      p from cellar_pin or cellar_reserve of a store that is open; NULL or zeroed is fine;
 *          zeroed by the call. After the close of the store the pin must not be used: it names
 *          memory that is freed
 * thread:  any, not only the one that pinned; a second unpin of a copy stops the program in debug
 *          builds
 * cost:    one shared write
 * example:
 *     cellar_pinned p = {0, 0, {0, 0, 0, 0}};
 *     cellar_unpin(&p);                                                                          */
CELLAR_API void cellar_unpin(cellar_pinned *p);

/* Copy a part of a value, such as a range that a client of HTTP asked for. A value that only the
 * disk has is not brought into memory; that of another tier is. Over 256 KiB or half a segment
 * (cellar_l2.h, SIZES) the disk reads parts of 64 KiB, else the whole.
 * in:      key; offset of the first byte; buf_cap 0 with buf NULL asks for the length
 * out:     *total, the length of the value; buf: its bytes from offset on, min(buf_cap, *total -
 *          offset) of them, none from the end on; buf is undefined unless the call returns OK
 * returns: OK (buf has the part, *total the length), MISS (the key has no live value), ABSENT (a
 *          negative entry: the source has none); E_LIMIT (all pins are in use: unpin values; see
 *          PINS)
 * thread:  any; two ranges of one value may be of two versions if it is changed between the calls
 * cost:    memory: two shared writes and the copy; disk: the parts that the range touches
 * example:
 *     char part[4096];
 *     size_t total;
 *     const cellar_err err =
 *         cellar_get_range(c, "k", 1, 8192, part, 4096, &total);
 *     if (err == CELLAR_OK && total > 8192)
 *         use(part, total - 8192 < 4096 ? total - 8192 : 4096);                                  */
CELLAR_API cellar_err cellar_get_range(cellar *c, const void *key, size_t key_len, uint64_t offset,
                                       void *buf, size_t buf_cap, size_t *total);

/* Reserve the memory of a large value. Fill the memory, then set a key to exactly these bytes: the
 * entry takes them without a copy. A value of up to 256 KiB may be copied, as any other value is.
 * in:      c: any handle of the store; value_len from 1 to max_value_bytes
 * out:     *out: value_len bytes at value, at any address, undefined, writable until the set;
 *          zeroed unless OK
 * returns: OK (the memory is reserved); E_SPACE (no room, although entries were evicted for it, as
 *          for a set), E_NOMEM (the system gave no memory), E_LIMIT (all pins are in use: unpin
 *          values; see PINS), E_TOOBIG (value_len is over max_value_bytes).
 *          No value of a key changes: the set that takes the bytes has its own codes
 * owns:    the caller calls cellar_unpin: after the set, which makes the bytes those of the entry,
 *          or without one, which frees them
 * thread:  any; one thread at a time stores or unpins it
 * cost:    as the allocation of a set; no copy
 * example:
 *     cellar_pinned p;
 *     if (cellar_reserve(c, len, &p) == CELLAR_OK) {
 *         if (read_all(fd, (void *)p.value, len))
 *             cellar_set(c, "k", 1, p.value, len, NULL);
 *         cellar_unpin(&p);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_reserve(cellar *c, size_t value_len, cellar_pinned *out);

/* Options of cellar_delete_with. */
typedef struct cellar_delete_opts {
    size_t   struct_size;    /* set by cellar_delete_opts_default()                               */
    uint64_t if_version;     /* delete only this version, a cellar_entry_info.version. From 1.    */
                             /* Default 0: any version                                            */
    void   **old_value;      /* receives the deleted value and a zero byte; optional              */
    size_t  *old_value_len;  /* receives the length of old_value; required with it                */
} cellar_delete_opts;
CELLAR_STRUCT(cellar_delete_opts, old_value_len);

/* Delete an entry with options: only if it has a given version, or with the old value as a result.
 * With these a program takes an entry out of the cache, for one caller alone.
 * in:      key; o: options, NULL = as cellar_delete
 * out:     *o->old_value and *o->old_value_len; NULL and 0 unless OK
 * returns: OK (a live value was deleted), MISS (no live value; without if_version a negative entry
 *          is deleted as well), CONFLICT (the entry has another version: nothing changed); E_NOMEM
 *          (no memory for old_value: nothing changed), E_BUSY (64 rounds lost to other writers:
 *          call again), E_LIMIT (a long value, and other threads use all slots for copies: call
 *          again), E_IO (deleted, but a tier below memory did not confirm it: see LOWER TIERS),
 *          E_TIMEOUT (the disk did not read the entry, and nothing changed: see LOWER TIERS)
 * owns:    the caller frees *o->old_value with cellar_free, also after the store was closed
 * thread:  any; the value returned is the value deleted, against every other writer
 * cost:    as cellar_delete; with old_value one allocation and one copy more
 * example:
 *     void *old;
 *     size_t len;
 *     cellar_delete_opts o = cellar_delete_opts_default();
 *     o.old_value = &old, o.old_value_len = &len;
 *     if (cellar_delete_with(c, "k", 1, &o) == CELLAR_OK) cellar_free(old);                      */
CELLAR_API cellar_err cellar_delete_with(cellar *c, const void *key, size_t key_len,
                                         const cellar_delete_opts *o);

/* A growing buffer: the result of an update function, or of a loader (cellar_load_buf). The library
 * makes it and frees it. */
typedef struct cellar_buf cellar_buf;

/* Append bytes to a growing buffer, inside an update function or a loader.
 * in:      b: the buffer of the running update function or loader; data may be NULL if len is 0
 * returns: OK (appended); E_NOMEM (no memory for the buffer), E_TOOBIG (over max_value_bytes in
 *          all), E_RESULT_TWICE (the load has another result).
 *          After the first failure each call fails with that code. An update then changes nothing
 *          and returns the code; a load fails with it
 * owns:    the bytes are copied
 * thread:  the thread that runs the update function or the loader
 * cost:    amortised O(len)
 * example: cellar_buf_append(b, "x", 1);                                                         */
CELLAR_API cellar_err cellar_buf_append(cellar_buf *b, const void *data, size_t len);

/* Set the length of a growing buffer and return its bytes, to write them in place. New bytes are
 * zero.
 * in:      b: the buffer of the running update function or loader; len: new length, in bytes
 * out:     *data, valid until the next call on b
 * returns: OK (*data has len bytes); E_NOMEM (the system gave no memory), E_TOOBIG (the value is
 *          over max_value_bytes),
 *          E_RESULT_TWICE (the load has another result).
 *          After the first failure each call fails with that code, as in cellar_buf_append
 * owns:    borrowed until the next call on b, or until the function returns
 * thread:  the thread that runs the update function or the loader
 * cost:    O(len)
 * example:
 *     void *p;
 *     cellar_buf_resize(b, 8, &p);                                                               */
CELLAR_API cellar_err cellar_buf_resize(cellar_buf *b, size_t len, void **data);

/* Compute a new value from the old one. The program writes this function and gives it to
 * cellar_update, which may run it several times in one call, each time with the value of that
 * moment.
 * in:      old and old_len, the live value; NULL and 0 without one; ctx as given with the function
 * out:     out, empty at each start: cellar_buf_append, cellar_buf_resize. Without a byte the new
 *          value is empty
 * returns: OK: the bytes of out are stored. REMOVED: the entry is removed, as by cellar_delete. Any
 *          other code: nothing changes, and cellar_update returns that code
 * owns:    old is a copy of this call, and out is its buffer: both are borrowed until the return
 * thread:  the thread that calls cellar_update; several such calls run it at once. No lock is held;
 *          it may call the library, but not end its thread
 * cost:    it may block, but then another writer may come first, and it runs again
 * example:
 *     cellar_err append_line(const void *old, size_t old_len,
 *                            cellar_buf *out, void *line)
 *     {
 *         cellar_buf_append(out, old, old_len);
 *         return cellar_buf_append(out, line, strlen(line));
 *     }                                                                                          */
typedef cellar_err (*cellar_update_fn)(const void *old, size_t old_len, cellar_buf *out,
                                       void *ctx);

/* Change a value by a function, atomically: no other write of the key comes between the read and
 * the write. Use it to append to a list, or to change a field of a record. Tags and user_flags of a
 * live value stay, unless `o` has tags or user_flags that replace them, or CELLAR_REPLACE. The TTL
 * is that of `o`, and max_age_ms starts again. With CELLAR_KEEP_TTL both stay as they are.
 * in:      key; o: options as in cellar_set. With CELLAR_ONLY_IF_PRESENT fn does not run for a
 *          missing key. CELLAR_ONLY_IF_ABSENT, _VERSION and CELLAR_NEGATIVE are E_INVAL;
 *          fn, a cellar_update_fn: appends the new value to its buffer and returns OK; REMOVED
 *          removes the entry, any other code changes nothing; ctx: given to fn
 * returns: OK (stored), REMOVED (fn removed the entry), MISS (with ONLY_IF_PRESENT the key has no
 *          value; or REMOVED of fn, and no entry was there), DISABLED (the namespace is switched
 *          off);
 *          E_DENIED (a DENY rule matches the key), E_LIMIT (the tags of `o` and those of a rule are
 *          more than 16 together; over 16 in `o` alone are E_INVAL),
 *          E_UNSUPPORTED (with CELLAR_DURABLE: no disk tier that syncs, or a NO_L2 rule matches the
 *          key);
 *          E_TOOBIG (the value is over max_value_bytes, or its weight over half of memory_bytes),
 *          E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system gave no memory);
 *          E_BUSY (64 rounds lost to other writers: call again), E_RANGE (idle_ms or stale_ms is
 *          above 2^32 - 1), E_IO (a tier below memory does not have the value: see LOWER TIERS),
 *          E_TIMEOUT (the disk did not read the entry: fn did not run, and nothing changed).
 *          Any other code is that of fn: nothing changed. What an error leaves of the old value is
 *          in CALLS THAT STORE of cellar.h: refused by a rule it stays
 * owns:    ctx lives until the call has returned
 * thread:  any; fn runs in this thread
 * cost:    a copy, fn, a comparison and a set in each round
 * example:
 *     // append_line, a cellar_update_fn, adds its ctx to the old value:
 *     //     cellar_buf_append(out, old, old_len);
 *     //     return cellar_buf_append(out, line, strlen(line));
 *     cellar_update(c, "k", 1, NULL, append_line, "text");                                       */
CELLAR_API cellar_err cellar_update(cellar *c, const void *key, size_t key_len,
                                    const cellar_set_opts *o, cellar_update_fn fn, void *ctx);

/* Find a TTL class of this namespace by its name, for cellar_set_opts.ttl_class.
 * in:      name of the class, terminated
 * out:     *class_number from 1; for an unknown name the fallback class (counter
 *          ttl_class_fallbacks)
 * returns: OK (*class_number is set); MISS (the namespace has no classes; *class_number is 0)
 * thread:  any
 * cost:    O(classes)
 * example:
 *     uint32_t cls;
 *     cellar_ttl_class_find(c, "success", &cls);                                                 */
CELLAR_API cellar_err cellar_ttl_class_find(cellar *c, const char *name, uint32_t *class_number);

/* Report a value that the program cannot decode. The call removes the entry if it still has these
 * bytes, so that the next load replaces it, and counts it in decode_errors of the namespace.
 * in:      key; bytes, len: the value as it was read
 * returns: OK (removed), MISS (no value, or another one, which stays); E_NOMEM (the system gave no
 *          memory), E_BUSY (64 reads of a value that grew each time: call again), E_IO (removed,
 *          but a tier below memory did not confirm it: see LOWER TIERS), E_TIMEOUT (the disk did
 *          not read the entry, and nothing changed)
 * thread:  any; a value that replaces the damaged one during the call stays
 * cost:    a copy, a comparison and a delete
 * example: if (!decode(buf, len)) { cellar_value_damaged(c, "k", 1, buf, len); }                 */
CELLAR_API cellar_err cellar_value_damaged(cellar *c, const void *key, size_t key_len,
                                           const void *bytes, size_t len);

#ifdef __cplusplus
}
#endif
#endif
