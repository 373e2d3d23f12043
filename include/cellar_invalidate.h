/* SPDX-License-Identifier: MIT
 *
 * cellar_invalidate: delete by tag, by pattern, by version; drop a namespace.
 *
 * cellar_delete removes one key, cellar_clear a whole namespace. The calls of this header remove
 * the entries between: those with a tag, those with a key of some form, those of an old version. */
#ifndef CELLAR_INVALIDATE_H
#define CELLAR_INVALIDATE_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* LATE WRITES
 * These calls and sets of other threads may run at the same time; this is what then holds. A get
 * that starts after one of these calls returns nothing that was set before the call, nor the
 * result of a load that began before it. Such a load still returns its result to its callers, with
 * CELLAR_RESULT_INVALIDATED. A set with tags that overlaps a delete by one of them counts as older:
 * it returns OK, and its key is a miss afterwards, also if the key had another value before. */

/* ---- Tags and patterns ----------------------------------------------------------------------- */

/* What cellar_delete_by_tag does to the entries that have the tag. */
typedef enum cellar_tag_mode {
    CELLAR_TAG_HARD = 0, /* entries with the tag are misses */
    CELLAR_TAG_SOFT = 1  /* entries with the tag are stale: loads return them while they refresh */
} cellar_tag_mode;

/* Invalidate every entry that has a tag, in all namespaces of the store: all pages of one product,
 * all entries of one user. The program gives the tags with each set or load. See LATE WRITES. With
 * CELLAR_TAG_HARD these entries are misses from now on. With CELLAR_TAG_SOFT they are stale: a load
 * returns the old value with STALE and refreshes it, and a get misses. Without memory the call does
 * not fail: it makes all entries that have tags misses, whatever the tag and the mode.
 * in:      c: any handle of the store; tag: 1..CELLAR_TAG_MAX bytes; one that no entry has is fine;
 *          mode: whether the entries become misses or stale
 * returns: OK (the entries are misses, or stale); E_IO (with sync ALWAYS: no read returns the
 *          entries any more, from memory or disk, but the disk did not confirm the delete, and a
 *          power cut may bring them back. Call again, or call cellar_sync, when the disk works. Of
 *          a shared server: see LOWER TIERS)
 * thread:  any; listeners receive TAG when the memory is reclaimed. On disk the call is in the log
 *          before it returns; a stale entry is not read from disk, nor written there
 * cost:    O(1) amortised, one lock, for any number of entries; see REMEMBERED TAGS
 * example: cellar_delete_by_tag(c, "user:17", 7, CELLAR_TAG_HARD);                               */
CELLAR_API cellar_err cellar_delete_by_tag(cellar *c, const void *tag, size_t tag_len,
                                           cellar_tag_mode mode);

/* GLOB PATTERNS
 * The grammar is that of Redis, over bytes; a pattern matches a whole key.
 *     *        any bytes, also none
 *     ?        one byte
 *     [abc]    one byte of the list
 *     [a-c]    one byte of the range
 *     [^abc]   one byte that is not in the list
 *     \c       the byte c itself
 * Any other byte is itself. A list ends at the first "]" that no backslash precedes and that ends
 * no range. "[]" matches nothing, "[^]" any byte. */

/* Delete the entries of this namespace with keys that match a pattern, such as "user:17:*"; stale
 * and negative entries, too. See GLOB PATTERNS and LATE WRITES. An entry set during the call may
 * stay or not. Tags are faster where the program knows beforehand what it will delete together.
 * in:      pattern of 1..CELLAR_PATTERN_MAX bytes
 * out:     *deleted the live values removed from memory, each counted once; keys that are only on
 *          disk are deleted, not counted; optional
 * returns: OK (the entries are deleted); E_NOMEM (no memory for the work: some entries may be
 *          deleted, call again), E_LIMIT (256 such calls run at once with a disk tier: call again),
 *          E_IO (deleted, but a tier below memory did not confirm it: see LOWER TIERS),
 *          E_UNSUPPORTED (a shared tier that knows no patterns)
 * thread:  any; no lock is held while matching, no other call waits, but for a change of a matching
 *          key that promises the disk (THROUGH, CELLAR_DURABLE): 1 s at most, then E_IO; listeners
 *          receive PATTERN
 * cost:    O(entries in memory); a pattern without wildcards: one delete. On disk one record in the
 *          log, and a match for each entry read until all older entries are reclaimed, or the
 *          namespace is cleared. With more than 256 patterns in namespaces that were not cleared
 *          since, the oldest one deletes all older entries of its namespace on disk
 * example: cellar_delete_by_pattern(c, "user:17:*", 9, NULL);                                    */
CELLAR_API cellar_err cellar_delete_by_pattern(cellar *c, const char *pattern, size_t pattern_len,
                                               uint64_t *deleted);

/* REMEMBERED TAGS
 * A deleted tag is remembered, and each read compares the entry with it. The store remembers
 * memory_bytes / 4,096 deleted tags exactly, rounded down to a power of two, 64 at least, 65,536 at
 * most. When the table is full, its oldest eighth is forgotten, and each entry with any tag that is
 * older becomes a miss. The call that does this walks the table; entries with tags may miss
 * meanwhile. A disk tier remembers 4,096 tags over a restart, as long as older entries are on
 * disk. */

/* ---- Versions and namespaces ----------------------------------------------------------------- */

/* Set the public version of a namespace, which invalidates all its entries, as cellar_clear does,
 * with cause VERSION. Use it when the program stores values in another form. The version may go
 * back, too: entries stored under an earlier version stay deleted.
 * in:      version: the new version; 0: one above the present one
 * out:     *now the version of the namespace, the new one with OK; optional
 * returns: OK (the version is set); E_RANGE (version 0, and the present one is 2^32 - 1), E_IO
 *          (done, but a tier below memory did not confirm it: see LOWER TIERS. After an error of a
 *          shared server memory has no entries, and the number stays as it was: call again)
 * thread:  any
 * cost:    O(1)
 * example: cellar_version_set(c, 0, NULL);                                                       */
CELLAR_API cellar_err cellar_version_set(cellar *c, uint32_t version, uint32_t *now);

/* Drop a namespace: its entries, its name, its counters. Open handles of it return E_CLOSED from
 * now on, and so do calls that wait for one of its leases. A call that waits for a running loader
 * gets its result. A shared server keeps the values: call cellar_clear before.
 * in:      c: any handle of the store; name of the namespace
 * returns: OK (the namespace is dropped); E_NOT_FOUND (the store has no namespace of this name),
 *          E_IO (dropped, but the disk did not confirm it: see LOWER TIERS)
 * owns:    until its handles are closed and its listeners removed, the namespace counts for
 *          max_namespaces
 * thread:  any; subscribers of its leases are called from here
 * cost:    O(1), and the loads in progress; eviction reclaims the entries first
 * example: cellar_namespace_drop(c, "session");                                                  */
CELLAR_API cellar_err cellar_namespace_drop(cellar *c, const char *name);

#ifdef __cplusplus
}
#endif
#endif
