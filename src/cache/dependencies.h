/* SPDX-License-Identifier: MIT
 *
 * dependencies: functions of dependencies.c for the files above it. */
#ifndef CACHE_DEPENDENCIES_H
#define CACHE_DEPENDENCIES_H

#include "cache/load_types.h"

/* Record a read, before and after it. No effect outside loaders of a namespace that tracks them. */
CELLAR_PRIVATE void cache_deps_note(cellar *c, const l1_key *k);
CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code);

/* Begin to record the reads of a loader. Return NULL if no memory is left. */
CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c);
/* Return the run with one more ref, for flight_notes_set; cache_run_drop drops it. */
CELLAR_PRIVATE void *cache_run_share(cache_run *r);
CELLAR_PRIVATE void cache_run_drop(void *run);
CELLAR_PRIVATE void cache_run_reads(cache_run *r, bool open); /* the loader begins, or returned */
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r);
/* Return whether a call since `epoch` may use the result: no tag changed that was noted before. */
CELLAR_PRIVATE bool cache_run_fits(const cache_run *r, uint64_t epoch);
/* Add the dependencies of bytes that the loader found not modified. */
CELLAR_PRIVATE void cache_run_keeps(cache_run *r, const uint64_t *tags, uint32_t count);
typedef enum cache_run_verdict {
    CACHE_RUN_SOUND,   /* the tags are complete in the load */
    CACHE_RUN_UNSOUND, /* a read was not recorded, or has expired: the result is not stored */
    CACHE_RUN_ENDED    /* a key that was read has changed: the same */
} cache_run_verdict;
/* Add the tags of the keys read to those of the load. */
CELLAR_PRIVATE cache_run_verdict cache_run_settle(cache_run *r, struct cellar_load *ld);

#endif
