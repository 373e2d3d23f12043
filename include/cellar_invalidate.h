/* SPDX-License-Identifier: MIT
 *
 * cellar_invalidate: delete by tag, by pattern, by version; drop a namespace. */
#ifndef CELLAR_INVALIDATE_H
#define CELLAR_INVALIDATE_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CELLAR_DEPENDENCIES_MAX 64u /* keys that one loader call may read where they are noted */

typedef enum cellar_tag_mode {
    CELLAR_TAG_HARD = 0, /* entries with the tag are misses */
    CELLAR_TAG_SOFT = 1  /* entries with the tag are stale: loads return them while they refresh */
} cellar_tag_mode;

/* End every entry that carries a tag, in all views of the store, whatever their number. What was
 * set, or began to be loaded, before the call is not returned by a get that starts after it; a tag
 * need not be in use.
 * in:      any handle of the store; tag of 1..CELLAR_TAG_MAX bytes; mode CELLAR_TAG_...
 * returns: OK; E_IO (see "Disk tier"), E_INVAL, E_CLOSED. Never fails for want of memory: then all
 *          tagged entries end
 * thread:  any; listeners hear TAG when the memory is reclaimed. With a disk tier the call is in
 *          its log before it returns; from there a stale entry is not served, nor written to it
 * cost:    O(1) amortised, one lock of its own; memory / 4,096 tags, 64 to 65,536, are remembered
 *          exactly, after that the oldest eighth goes, and with it each tagged entry that is older;
 *          the call that does this goes through the table, older tagged entries may miss meanwhile.
 *          Over a restart of a disk tier: 4,096 tags, as long as older entries lie there
 * example: cellar_delete_by_tag(c, "user:17", 7, CELLAR_TAG_HARD);                               */
CELLAR_API cellar_err cellar_delete_by_tag(cellar *c, const void *tag, size_t tag_len,
                                           cellar_tag_mode mode);

/* Delete this view's entries whose keys match a glob (Redis' grammar), stale ones and negative ones
 * too. What was set, or began to be loaded, before the call is not returned by a get that starts
 * after it; what is set meanwhile may go or stay.
 * in:      pattern of 1..CELLAR_PATTERN_MAX bytes
 * out:     *deleted, unless NULL: live values removed from memory, none counted twice. Keys that
 *          are only on disk end, too, and are in no count
 * returns: OK; E_INVAL, E_NOMEM (call again), E_LIMIT (disk tier: 256 such calls at once),
 *          E_IO (see "Disk tier"), E_UNSUPPORTED (a tier of the host's that knows no patterns),
 *          E_CLOSED
 * thread:  any; no lock is held while matching, no other caller is stopped; listeners hear PATTERN
 * cost:    O(entries in memory); a pattern without wildcards: one delete. With a disk tier one
 *          record in its log, and a match for each entry read from there until all that is older is
 *          reclaimed; of more than 256 patterns the oldest ends all entries on disk before it
 * example: cellar_delete_by_pattern(c, "user:17:*", 9, NULL);                                    */
CELLAR_API cellar_err cellar_delete_by_pattern(cellar *c, const char *pattern, size_t pattern_len,
                                               uint64_t *deleted);

/* Raise the view's public version by one: as cellar_clear, with cause VERSION.
 * in:      the view
 * out:     *version the new public version; optional
 * returns: OK; E_RANGE (version would pass 2^32 - 1), E_IO (see "Disk tier"), E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example: cellar_version_increment(v, NULL);                                                    */
CELLAR_API cellar_err cellar_version_increment(cellar *c, uint32_t *version);

/* Set the view's public version, also backwards: what was stored under it before stays dead.
 * in:      version from 1
 * returns: OK; E_IO (see "Disk tier"), E_INVAL (0), E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example: cellar_version_set(v, 3);                                                             */
CELLAR_API cellar_err cellar_version_set(cellar *c, uint32_t version);

/* Forget a view: its entries, its name, its counters.
 * in:      any handle of the store, the view's name
 * returns: OK; E_NOT_FOUND, E_IO (see "Disk tier"), E_INVAL, E_CLOSED. Open handles of it answer
 *          E_CLOSED from now on, and so do calls that wait for a lease of it; who waits for a
 *          loader that runs gets its result. Until they are closed it keeps its place among
 *          max_views
 * thread:  any; waiters of its leases (cellar_lease_acquire) are called from here
 * cost:    O(1) and the loads that are open: dead bytes are reclaimed first by eviction
 * example: cellar_namespace_drop(c, "session");                                                  */
CELLAR_API cellar_err cellar_namespace_drop(cellar *c, const char *name);

/* ---- Dependencies ----------------------------------------------------------------------------
 *
 * In a store opened with `deps`, the loaders of a view with `deps` are watched: each key of the
 * same store they read (get, get_with, peek, exists, meta, dup, pin, get_many, loads of one key or
 * many, begin), in whatever view, present or not. From then on the loaded value ends when such a
 * key does or changes: by set, update, incr, delete, pattern, tag, clear, bump, drop of its view, a
 * cellar_touch that brings its end nearer, or by a load that replaces a value, or that finds it not
 * modified and gives it a nearer end or tags it had not. It also lives no longer than any of them
 * was to live when it was read, an idle time counted as if nobody used it any more; cellar_touch
 * does not carry it beyond that. A load that finds it not modified adds what it reads.
 * What was made of it ends with it, and so on. cellar_why, listeners and counters call that
 * DEPENDENCY. A pattern with a wildcard ends all that was made of a view that lies on a disk.
 *
 * When the call that changes a key returns, up to 256 values in up to 8 steps are gone, and no
 * load that had read it is stored; what is beyond goes with the next ticks (cellar_dependencies_due
 * counts it). Keys that are evicted end nobody. Not watched: scans, what cellar_increment and
 * cellar_update see, other threads of the loader, and who holds a lease.
 *
 * A result is delivered, but not stored, when what it was made of cannot be noted: more than
 * CELLAR_DEPENDENCIES_MAX keys, no place in the table (1 % of the budget; counted, limit
 * "dependencies"), no memory, or a value read that is itself not stored. Keys read by a bulk loader
 * count for each of its keys.
 *
 * With a disk tier what was made of other keys lies there like the rest, and ends there, too. But
 * what it was made of is known only as long as the store is open: opened again, it does not serve
 * it, and loads anew. A full table ends first what lies on the disk alone. */

#ifdef __cplusplus
}
#endif
#endif
