/* SPDX-License-Identifier: MIT
 *
 * dependencies: functions of dependencies.c for the files above it. */
#ifndef CACHE_DEPENDENCIES_H
#define CACHE_DEPENDENCIES_H

#include "cache/load_types.h"

CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_deps_close(cache_store *s);
/* Check whether a namespace with these options fits a store with or without dependencies. */
CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why);
/* Record a read, before and after it. No effect outside loaders of a namespace that tracks them. */
CELLAR_PRIVATE void cache_deps_note(cellar *c, const l1_key *k);
CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code);
/* Get the mark before the window of a change, and follow the dependants of the key after it. mark
 * 0: keep the dependencies of the key itself. No lock held. */
CELLAR_PRIVATE uint64_t cache_deps_mark(const cache_store *s);
CELLAR_PRIVATE void cache_deps_changed(cellar *c, const l1_key *k, uint64_t mark);
/* Return the earliest deadline of the dependencies of the key: its own upper bound. */
CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k);
/* Delete entries that depend on keys of this generation, or with 0 of all ended generations. */
CELLAR_PRIVATE void cache_deps_generation(cache_store *s, uint32_t generation);
/* Follow some delayed edges. Return true if more are left. */
CELLAR_PRIVATE bool cache_deps_tick(cache_store *s, uint64_t *removed);
CELLAR_PRIVATE void cache_deps_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT]);
CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s); /* NULL: no fault */
CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s);
/* Begin to record the reads of a loader for `keys` keys, which follow one by one. Return NULL if no
 * memory is left. */
CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c, size_t keys);
CELLAR_PRIVATE void cache_run_for(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_free(void *run);
/* Return whether the result may be stored. */
CELLAR_PRIVATE bool cache_run_sound(const cache_run *r, int64_t now_ms);
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r);
CELLAR_PRIVATE bool cache_run_has_read(const cache_run *r);
/* Add the tags of the keys read. Return the number of tags. */
CELLAR_PRIVATE uint32_t cache_run_tags(cache_run *r, uint64_t *fps, uint32_t count);
/* Update the deadlines and edges of the key, before and after its result is stored. `same`: the
 * value and its dependencies stayed. */
CELLAR_PRIVATE void cache_run_stores(cache_run *r, const l1_key *k);
CELLAR_PRIVATE void cache_run_stored(cache_run *r, const l1_key *k, bool same);

#endif
