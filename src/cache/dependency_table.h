/* SPDX-License-Identifier: MIT
 *
 * dependency_table: functions of dependency_table.c for the files above it. */
#ifndef CACHE_DEPENDENCY_TABLE_H
#define CACHE_DEPENDENCY_TABLE_H

#include "cache/tier.h"
#include "cache/types.h"

#define CACHE_DEP_NAMESPACES 16u
#define CACHE_DEP_HEAD 3u    /* CACHE_TIER_TAG_OF_LIFE, bound, born */
#define CACHE_DEP_KEY 1u     /* bit of a tag: of a key; else of a namespace: */
#define CACHE_DEP_ANY 2u     /* raised by each change in it; without the bit by its end only */

_Static_assert(BASE_TAGS_MAX == 1 + CELLAR_TAGS_MAX + CACHE_DEP_HEAD + CELLAR_DEPENDENCIES_MAX +
                                    CACHE_DEP_NAMESPACES, "tags of one entry");

CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg);
CELLAR_PRIVATE void cache_deps_close(cache_store *s);
/* Check whether a namespace with these options fits a store with or without dependencies. */
CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why);
/* Invalidate what depends on a key, in its window or after it; or on any key of a generation. */
CELLAR_PRIVATE void cache_deps_changed(cache_store *s, uint64_t hash, uint32_t generation);
CELLAR_PRIVATE void cache_deps_generation(cache_store *s, uint32_t generation);
/* Return the earliest deadline of the dependencies of the key: its own upper bound. */
CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k);
/* Return the index of the dependencies in the tags of an entry; count: it has none. */
CELLAR_PRIVATE uint32_t cache_deps_from(const uint64_t *tags, uint32_t count);
/* Return whether no dependency of this list has changed. The store has dependencies. */
CELLAR_PRIVATE bool cache_deps_valid(const cache_store *s, const uint64_t *tags, uint32_t count);
/* Return what identifies a value by its tags: a number of its own with dependencies, 1 with other
 * tags, 0 without. */
CELLAR_PRIVATE uint64_t cache_deps_identity(const uint64_t *tags, uint32_t count);
CELLAR_PRIVATE uint64_t cache_deps_epoch(const cache_store *s); /* 0: none are tracked */
/* Draw the next epoch. The store has dependencies. */
CELLAR_PRIVATE uint64_t cache_deps_draw(cache_store *s);
CELLAR_PRIVATE uint64_t cache_deps_watched(const cache_store *s);
CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s); /* NULL: no fault */
CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s);
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s);

/* Return the tag of a key, and of the end of a namespace. */
BASE_INLINE uint64_t cache_dep_key(uint64_t hash)
{
    return base_mix64(hash ^ CACHE_TIER_TAG_OF_LIFE) | CACHE_DEP_KEY;
}
BASE_INLINE uint64_t cache_dep_namespace(uint32_t generation)
{
    return base_mix64(generation ^ CACHE_TIER_TAG_OF_LIFE) & ~(uint64_t)3;
}

/* Return the epoch of the last change of a tag. A record that moves meanwhile is newer than each
 * value with its old tag. */
CELLAR_PRIVATE uint64_t cache_dep_epoch(const cache_store *s, uint64_t tag);
/* Watch a tag: the next change raises it. Return its epoch; 0: the table has no room for it. */
CELLAR_PRIVATE uint64_t cache_dep_watch(cache_store *s, uint64_t tag, bool force);

#endif
