/* SPDX-License-Identifier: MIT
 *
 * generation: functions of generation.c for the files above it. */
#ifndef CACHE_GENERATION_H
#define CACHE_GENERATION_H

#include "cache/types.h"

/* Give the namespace a living generation, with its cell and its quota. */
CELLAR_PRIVATE void cache_generation_take(cellar *v, uint32_t generation) SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE cache_generations *cache_generations_new(cache_store *s, uint32_t cells);
/* Take NAMESPACE when the namespace, which has none yet, finds a number and a cell: also for the
 * number that the disk has stored, unless memory is short. Return false, without NAMESPACE, if no
 * memory is left for any. */
CELLAR_PRIVATE bool cache_namespace_ready(const cellar *fresh) SYNC_UNCHECKED;
/* Mark a generation dead in every table: a hook may read an older one. */
CELLAR_PRIVATE void cache_generation_end(cache_store *s, uint32_t generation, cellar_cause cause)
    SYNC_HOLDS(NAMESPACE);
CELLAR_PRIVATE bool cache_namespace_is_named(const cellar *v); /* NAMESPACE; false while it is being
                                                           * created */
/* Return the next number with a free cell, which no stored number of the disk shares; 0: the half
 * is used up, call cache_numbers_end first. */
CELLAR_PRIVATE uint64_t cache_generation_draw(cache_store *s) SYNC_HOLDS(NAMESPACE);
/* Return whether no living generation has the cell of the number. */
CELLAR_PRIVATE bool cache_generation_is_free(const cache_store *s, uint64_t whole)
    SYNC_HOLDS(NAMESPACE);
/* Give the namespace a number that was drawn; entries of the old one end with `cause`. */
CELLAR_PRIVATE void cache_generation_begin(cellar *v, uint64_t whole, cellar_cause cause)
    SYNC_HOLDS(NAMESPACE);
/* Return whether a stored number is of the present half: entries of another one ended with it. */
CELLAR_PRIVATE bool cache_generation_is_near(const cache_store *s, uint64_t whole)
    SYNC_HOLDS(NAMESPACE);
/* End all entries of the store and begin the next half of the numbers, if this one is used up.
 * Listeners run inside; a listener may not call it. */
CELLAR_PRIVATE void cache_numbers_end(cache_store *s);
/* Return whether the half has a number left. Its last one, and the 0 of the root, are not drawn. */
CELLAR_PRIVATE bool cache_numbers_left(const cache_store *s) SYNC_HOLDS(NAMESPACE);
/* Return why a generation ended; CLEARED if the table has forgotten it. No lock. */
CELLAR_PRIVATE cellar_cause cache_generation_cause(const cache_store *s, uint32_t generation);
CELLAR_PRIVATE bool cache_generation_alive(const cache_store *s, uint32_t generation);

typedef struct cache_generation_info {
    cellar_cause dead_by; /* cause of the end, if the generation is dead */
    bool known;           /* the table still has the generation */
    bool dropped;         /* the namespace was dropped */
} cache_generation_info;

/* Find the namespace of a generation, with a ref. Return NULL if it is unknown or freed. */
CELLAR_PRIVATE cellar *cache_generation_namespace(cache_store *s, uint32_t generation,
                                                  cache_generation_info *info);
/* Make the key again with the new generation, after a veto because the namespace was cleared. */
CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k);

#endif
