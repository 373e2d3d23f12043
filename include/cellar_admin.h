/* SPDX-License-Identifier: MIT
 *
 * cellar_admin: options that change at run time, maintenance, checks. */
#ifndef CELLAR_ADMIN_H
#define CELLAR_ADMIN_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Options that can change while the store runs: name, number, scope, unit, help. */
#define CELLAR_OPTIONS(X) \
    X(MEMORY_BYTES, 1, STORE, "bytes", "the budget; shrinking evicts until it holds") \
    X(MAX_ENTRIES, 2, STORE, "entries", "second bound; 0 = none; shrinking evicts, too") \
    X(EVICTION, 3, STORE, "CELLAR_EVICT_...", "eviction rule for what comes next") \
    X(LOG_LEVEL, 4, STORE, "CELLAR_LOG_...", "least important level that is reported") \
    X(MAINTENANCE_THREAD, 5, STORE, "0 or 1", "maintenance thread") \
    X(DEFAULT_TTL_MS, 6, VIEW, "ms", "default time to live; 0 = the store's") \
    X(NEGATIVE_TTL_MS, 7, VIEW, "ms", "time to live of negative entries; 0 = the store's") \
    X(IDLE_MS, 8, VIEW, "ms", "default idle time; 0 = the store's") \
    X(MAX_AGE_MS, 9, VIEW, "ms", "default bound of entries with idle time; 0 = the store's") \
    X(STALE_MS, 10, VIEW, "ms", "default stale window; 0 = the store's") \
    X(L2_BYTES, 11, STORE, "bytes", "all files of the disk tier; 0 = there is none")

typedef enum cellar_option {
#define CELLAR_OPTION_ENUM(name, number, scope, unit, help) CELLAR_OPT_##name = number,
    CELLAR_OPTIONS(CELLAR_OPTION_ENUM)
#undef CELLAR_OPTION_ENUM
} cellar_option;

/* Change an option of the store, or of this view, at run time.
 * in:      any handle of the store, for VIEW options the view; value in the option's unit
 * returns: OK; E_INVAL (unknown option, value out of range), E_RANGE (nothing changed: budget
 *          beyond the address space reserved at open, or too small for tables and segments made
 *          for the budget at open; 1/128 of that and 2 MiB are enough), E_UNSUPPORTED, E_NOMEM
 *          (thread), E_BUSY (the budget could not be reached because of pins; it is in force for
 *          what comes), E_FORKED, E_CLOSED. L2_BYTES, nothing lost but the oldest entries: E_RANGE
 *          (too little for segments of this store's size, or over 16 times that of the open),
 *          E_SPACE (the disk is full), E_IO, E_BUSY (another resize), E_UNSUPPORTED (no disk tier)
 * thread:  any; changes of one option from several threads: one of them wins
 * cost:    shrinking the budget or MAX_ENTRIES evicts, in rounds, before it returns; L2_BYTES:
 *          shrinking reads and writes what lies beyond the new end; the rest is O(1)
 * example: cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 32 << 20);                              */
CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value);

/* Read an option as it is in force: for VIEW options after the store's defaults are applied.
 * in:      as cellar_option_set
 * out:     *value
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any
 * cost:    O(1)
 * example:
 *     int64_t bytes;
 *     cellar_option_get(c, CELLAR_OPT_MEMORY_BYTES, &bytes);                                     */
CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value);

/* Switch a view off and on. Off: gets miss, sets and increments answer DISABLED and store nothing,
 * deletes and clears still work, so that switching on again serves nothing old.
 * in:      on 0 or 1
 * returns: OK; E_INVAL, E_CLOSED
 * thread:  any; calls already running end as they began
 * cost:    O(1)
 * example: cellar_enable(v, 0);                                                                  */
CELLAR_API cellar_err cellar_enable(cellar *c, int on);

/* Do due background work: expiry without traffic, pages committed ahead, index contraction; with
 * no_threads also that of the disk tier: what waits to be written, warm-up, room. The maintenance
 * thread, and that of the disk tier, do the same; with no_threads the host calls this.
 * in:      any handle of the store; budget_us 0 = one bounded step
 * out:     *expired the entries this call freed because they were due; optional
 * returns: OK (nothing that was due at the call is left), PENDING (the time ran out, or another
 *          thread is at it: call again; each call gets on); E_INVAL, E_CLOSED. Inside a listener
 *          OK also when a tick is under way, which may be the listener's own
 * thread:  any; listeners run from here too
 * cost:    up to budget_us, one bounded step over it at most: 64 entries or dead blocks, or a huge
 *          page, for which the kernel copies 2 MiB (see huge_pages)
 * example: while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}                               */
CELLAR_API cellar_err cellar_tick(cellar *c, uint64_t budget_us, uint64_t *expired);

/* Walk every structure of the store and check every invariant: for tests and for doubt.
 * in:      any handle of the store
 * returns: OK; E_CORRUPT (cellar_last_error says what), E_INVAL, E_CLOSED
 * thread:  any, but exact only while no other thread writes (the maintenance thread is stopped
 *          meanwhile); in a forked child also what the parent's threads left half done counts
 * cost:    O(everything); holds one stripe's lock at a time
 * example: if (cellar_integrity_check(c) != CELLAR_OK) abort();                                  */
CELLAR_API cellar_err cellar_integrity_check(cellar *c);

/* Which source the library was built from: version and commit.
 * returns: static text
 * thread:  any, also signal handlers
 * cost:    O(1)
 * example: puts(cellar_source_id());                                                             */
CELLAR_API const char *cellar_source_id(void);

#ifdef __cplusplus
}
#endif
#endif
