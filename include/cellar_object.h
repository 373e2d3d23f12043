/* SPDX-License-Identifier: MIT
 *
 * cellar_object: entries that are objects of the program: open files, compiled patterns, parsed
 * settings, anything behind a pointer.
 *
 * The cache stores the pointer and calls free_fn when nothing uses the object any more. A reader
 * holds the object while it works with it.
 *
 * CALL PATTERN
 *     cellar_object_config oc = cellar_object_config_default();
 *     cellar_namespace_config o = cellar_namespace_config_default();
 *     oc.free_fn = close_file;  // a cellar_object_free_fn
 *     o.object = &oc;
 *     cellar_namespace_open(store, "files", &o, &files);
 *     if (cellar_object_set(files, path, len, f, 4096, NULL) != CELLAR_OK) fclose(f);
 *     cellar_held held;
 *     if (cellar_object_acquire(files, path, len, &held) == CELLAR_OK) {
 *         send(held.object);
 *         cellar_object_release(&held);
 *     } */
#ifndef CELLAR_OBJECT_H
#define CELLAR_OBJECT_H

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_observe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* OBJECTS
 * A namespace holds objects or bytes, as its first open says; the root may hold objects. Of an
 * object the charge stands for the length of a value: it counts in memory_bytes with key and 70
 * to 140 bytes, and is the weight of the entry for eviction. Each call that tells of an entry
 * gives it as value_len, with `value` NULL and the kind CELLAR_KIND_OBJECT. Options of sets and
 * loads, tags, patterns, versions, policies, scans and listeners work as for bytes.
 *
 * Calls that copy, store, pin, reserve or change bytes are CELLAR_E_TYPE in a namespace of objects;
 * cellar_set with CELLAR_NEGATIVE stores a negative entry there. Calls of this header are
 * CELLAR_E_TYPE elsewhere. Objects stay in memory: no disk, no shared tier. */

/* HOLDS
 * A hold keeps its object through every end of the entry, also through cellar_close. One object has
 * up to 2^32 - 2^16 holds. Any thread may release a hold. The struct may be moved; one of its
 * copies is released. While the store is open, the release of another copy does nothing and counts
 * in release_errors. It is not found out if the object has further holds, and this one came from a
 * retain, a load or a lease, or from an acquire of a thread with seven other holds. */

/* FREE
 * free_fn runs exactly once for each accepted object: when its entry is gone and the last hold is
 * released, in the thread that releases or removes last, without locks. It may block and call the
 * library, but not close its store, and it must return. Objects that end inside a free_fn of the
 * store are freed when it returns, and count in memory_bytes until then: in a full store calls of
 * a free_fn may be E_SPACE, E_NOMEM or E_BUSY. `why` is the cause of the end of the entry;
 * CELLAR_CAUSE_NONE: the object never was an entry.
 *
 * Objects of expired, cleared and dropped entries are freed by the set or the tick that reclaims
 * the entry: all of them by the next cellar_tick that returns OK, except those in a part of the log
 * that another thread keeps. cellar_close frees what has no hold with CELLAR_CAUSE_CLOSED, the last
 * release what has one. At exit without a close, and in a child of a fork, free_fn never runs; in
 * the child a release does nothing.
 *
 * Objects count in memory_bytes until they are freed. If only held ones are left, sets are
 * CELLAR_E_SPACE, and a lowered budget is CELLAR_E_BUSY. */

/* Free an object, for cellar_object_config.free_fn. The program writes this function. It runs once
 * for each object that the store took; see FREE.
 * in:      object and charge, as given to the store; why the entry ended, CELLAR_CAUSE_NONE: there
 *          was no entry; ctx as given with the function
 * owns:    the object is the program's again. ctx lives until the last object is freed
 * thread:  the thread that removes the entry or releases its last hold; several at once for
 *          different objects. No lock is held. It may call the library, but not close its store,
 *          and it must return
 * cost:    it may block; the set, release or tick that ends the object waits
 * example:
 *     void close_file(void *object, size_t charge, cellar_cause why,
 *                     void *ctx)
 *     {
 *         (void)charge, (void)why, (void)ctx;
 *         fclose(object);
 *     }                                                                                          */
typedef void (*cellar_object_free_fn)(void *object, size_t charge, cellar_cause why, void *ctx);

/* What a namespace of objects needs; in cellar_namespace_config.object, fixed when the namespace is
 * created. */
typedef struct cellar_object_config {
    size_t struct_size;            /* set by cellar_object_config_default()                       */
    cellar_object_free_fn free_fn; /* frees objects that have ended; not NULL                     */
    void  *ctx;                    /* given to free_fn; lives until the last object is freed      */
} cellar_object_config;
CELLAR_STRUCT(cellar_object_config, ctx);

/* A hold of an object, from cellar_object_acquire, cellar_object_retain and the loads of objects.
 * cellar_object_release ends it. Zeroed: none. */
typedef struct cellar_held {
    void    *object; /* as given to the set; NULL: no hold */
    size_t   charge; /* bytes charged for the object */
    uint64_t opaque[3];
} cellar_held;

/* Store an object under a key, or replace the object that the key has.
 * in:      key; object: a pointer of the program, not NULL; charge: bytes that count for it, 0 to
 *          half of memory_bytes; o: options as in cellar_set, without CELLAR_NEGATIVE
 * returns: OK (stored); EXISTS (with ONLY_IF_ABSENT: the key has an object), MISS (with
 *          ONLY_IF_PRESENT: the key has no object), CONFLICT (with ONLY_IF_VERSION: the key has no
 *          object of that version), DISABLED (the namespace is switched off);
 *          E_TYPE (the namespace holds bytes), E_DENIED (a DENY rule matches the key), E_LIMIT
 *          (tags of call and rule are more than 16 together), E_TOOBIG (charge is over half of
 *          memory_bytes), E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM (the system
 *          gave no memory), E_BUSY (the namespace was cleared 64 times during the call: call
 *          again), E_RANGE (idle_ms or stale_ms is above 2^32 - 1).
 *          What an error leaves of the old object is in CALLS THAT STORE of cellar.h
 * owns:    OK: the store frees the object with free_fn. Any other code: it stays with the caller
 * thread:  any; atomic per key
 * cost:    like cellar_set; free_fn of what it replaces or evicts
 * example:
 *     if (cellar_object_set(c, "k", 1, f, 4096, NULL) != CELLAR_OK)
 *         fclose(f);                                                                             */
CELLAR_API cellar_err cellar_object_set(cellar *c, const void *key, size_t key_len, void *object,
                                        size_t charge, const cellar_set_opts *o);

/* Hold the object of a key: it stays usable until the hold is released, also if its entry ends.
 * in:      key
 * out:     *out, zeroed unless OK
 * returns: OK (*out holds the object), MISS (the key has no live object), ABSENT (a negative entry:
 *          the source has none); E_TYPE (the namespace holds bytes), E_LIMIT (the object has 2^32 -
 *          2^16 holds)
 * owns:    one cellar_object_release for each OK
 * thread:  any; no lock on a hit
 * cost:    like cellar_get without the copy
 * example:
 *     cellar_held held;
 *     if (cellar_object_acquire(c, "k", 1, &held) == CELLAR_OK) {
 *         send(held.object);
 *         cellar_object_release(&held);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_object_acquire(cellar *c, const void *key, size_t key_len,
                                            cellar_held *out);

/* Hold an object once more, for example to hand it to another thread.
 * in:      held: a hold that is not released
 * out:     *out, another hold of the same object; zeroed unless OK
 * returns: OK; E_LIMIT (the object has 2^32 - 2^16 holds)
 * owns:    one cellar_object_release for each OK
 * thread:  any; after cellar_close, too
 * cost:    one atomic step
 * example: cellar_object_retain(&held, &for_thread);                                             */
CELLAR_API cellar_err cellar_object_retain(const cellar_held *held, cellar_held *out);

/* Release a hold and zero its struct. NULL and a zeroed struct are accepted.
 * in:      held: the hold
 * owns:    the last release frees the object if its entry is gone
 * thread:  any; after cellar_close, too
 * cost:    one atomic step; free_fn
 * example: cellar_object_release(&held);                                                         */
CELLAR_API void cellar_object_release(cellar_held *held);

/* Hold the object of a key; if it is missing, make it with a loader and store it.
 * in:      key; o: options, NULL = those of the namespace; default_value is E_UNSUPPORTED; fn:
 *          makes the object and reports it with cellar_load_object, NULL = loader of the namespace
 *          (not needed with ONLY_IF_CACHED); ctx: given to fn
 * out:     *out: the hold, with OK and STALE; else zeroed; *o->result, if it is set: loader_err of
 *          E_LOADER, source, flags (INVALIDATED: held, not stored), times
 * returns: OK (an object), STALE (an object past its TTL: see STALE VALUES), ABSENT (the loader or
 *          a fallback reported that there is none), MISS (with ONLY_IF_CACHED: the cache has no
 *          object), PENDING (with NO_WAIT: another call loads the key, call again later);
 *          E_LOADER (the loader failed: loader_err of *o->result is its code), E_NO_RESULT (the
 *          loader returned OK without a result), E_RESULT_TWICE (the loader set two results),
 *          E_TOOBIG (charge is over half of memory_bytes), E_TIMEOUT (another load took longer than
 *          wait_timeout_ms, or leader_retries are used up), E_DEADLOCK (the wait would never end:
 *          see RECURSION), E_DEPTH (too many loads in each other: see RECURSION), E_BREAKER_OPEN
 *          (the breaker refuses loads), E_LIMIT (max_loads, max_load_waiters or the number of holds
 *          is reached), E_SPACE, E_NOMEM (no memory, also in memory_bytes), E_TYPE (it has bytes)
 * owns:    one cellar_object_release for each OK and STALE. ctx: as cellar_get_or_load
 * thread:  any; waits for the loader
 * cost:    a hit: like cellar_object_acquire
 * example:
 *     cellar_held held;
 *     const cellar_err err = cellar_object_get_or_load(
 *         c, path, len, NULL, open_file, NULL, &held);
 *     switch (err) {
 *     case CELLAR_OK:
 *     case CELLAR_STALE: send(held.object); break; // past its TTL
 *     default: break; // ABSENT: none; below 0: an error
 *     }
 *     cellar_object_release(&held); // does nothing to a zeroed one                              */
CELLAR_API cellar_err cellar_object_get_or_load(cellar *c, const void *key, size_t key_len,
                                                const cellar_load_opts *o, cellar_loader_fn fn,
                                                void *ctx, cellar_held *out);

/* Hold the object of a key, or take the lease to load it: for event loops, which must not wait.
 * in:      key; o: as in cellar_object_get_or_load, without CELLAR_LOAD_BYPASS,
 *          CELLAR_LOAD_NO_STORE and CELLAR_LOAD_NO_JOIN; subscriber: as cellar_lease_acquire
 * out:     *lease: as cellar_lease_acquire; *out: the hold, with OK and STALE; else zeroed;
 *          *o->result: as in cellar_object_get_or_load
 * returns: OK (an object), STALE (an object past its TTL), ABSENT (the source is known to have
 *          none); LEASED (no object: this caller makes it), PENDING (another caller makes it: call
 *          again, or wait for the subscriber), MISS (with ONLY_IF_CACHED: the cache has no object);
 *          E_LOADER (an earlier load failed, and its failure is remembered), E_BREAKER_OPEN (the
 *          breaker refuses loads), E_TIMEOUT (leader_retries are used up), E_LIMIT (max_loads,
 *          max_load_waiters or the number of holds is reached), E_NOMEM (the system gave no
 *          memory, or memory_bytes has no room for the call itself), E_TYPE (the namespace holds
 *          bytes)
 * owns:    one cellar_object_release for each OK and STALE; the lease
 * thread:  any; never waits
 * cost:    as cellar_lease_acquire
 * example:
 *     cellar_lease lease;
 *     cellar_held held;
 *     const cellar_err err = cellar_object_lease_acquire(
 *         c, "k", 1, NULL, NULL, &lease, &held);
 *     switch (err) {
 *     case CELLAR_OK:
 *     case CELLAR_STALE: send(held.object); break;
 *     default: break; // LEASED, ABSENT; PENDING: again; below 0: an error
 *     }
 *     // LEASED, or with an object
 *     if (cellar_lease_held(&lease)) load_and_fulfill(&lease);
 *     cellar_object_release(&held); // does nothing to a zeroed one                              */
CELLAR_API cellar_err cellar_object_lease_acquire(cellar *c, const void *key, size_t key_len,
                                                  const cellar_load_opts *o,
                                                  const cellar_subscriber *subscriber,
                                                  cellar_lease *lease, cellar_held *out);

/* Store the object of a lease, and wake all callers that wait for it.
 * in:      lease: of cellar_object_lease_acquire; object, not NULL; charge and o as in
 *          cellar_object_set, without conditions
 * returns: OK (stored); INVALIDATED (not stored: a delete, clear or newer set came first), DROPPED
 *          (not stored: no room, or a rule refused it), DISABLED (not stored: the namespace is
 *          switched off); E_LEASE (the lease is unknown, expired, taken over or used), E_RANGE
 *          (idle_ms or stale_ms is above 2^32 - 1), E_TOOBIG (charge is over half of memory_bytes:
 *          the lease is released with that code), E_SPACE (memory has no room for it: see NO ROOM;
 *          the lease is released with that code), E_NOMEM (no memory: the lease is released with
 *          that code), E_TYPE (the namespace holds bytes)
 * owns:    a negative code: the object stays with the caller. Else the store frees it, also if it
 *          is not stored: those that waited for the lease get it
 * thread:  any
 * cost:    as cellar_lease_fulfill
 * example:
 *     if (cellar_object_lease_fulfill(c, &lease, f, 4096, NULL) < 0)
 *         fclose(f);                                                                             */
CELLAR_API cellar_err cellar_object_lease_fulfill(cellar *c, cellar_lease *lease, void *object,
                                                  size_t charge, const cellar_set_opts *o);

/* Report an object as the result of a loader.
 * in:      load: the running load; object, not NULL; charge as in cellar_object_set
 * returns: OK; E_TOOBIG (charge is over half of memory_bytes), E_SPACE (memory has no room for it:
 *          see NO ROOM), E_NOMEM (the system gave no memory), E_RESULT_TWICE (the load has another
 *          result), E_TYPE (the namespace holds bytes)
 * owns:    the store takes the object and frees it, also when the call fails. With E_TYPE, E_INVAL
 *          and E_FORKED the object stays with the caller
 * thread:  the thread that runs the loader
 * cost:    no copy
 * example: return cellar_load_object(load, f, 4096);                                             */
CELLAR_API cellar_err cellar_load_object(cellar_load *load, void *object, size_t charge);

#ifdef __cplusplus
}
#endif
#endif
