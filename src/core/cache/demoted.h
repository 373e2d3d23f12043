/* SPDX-License-Identifier: MIT
 *
 * demoted: functions of demoted.c for the files above it. */
#ifndef CACHE_DEMOTED_H
#define CACHE_DEMOTED_H

#include "cache/types.h"

/* Keep the bytes of a long value that left memory, because the disk tier has no room for it now.
 * Do nothing if the list is full. Called in the hook of L1 that hands the entry over. */
CELLAR_PRIVATE void cache_demoted_keep(cache_store *s, const l1_left *what,
                                       const l2_key *k, const l2_meta *m);
/* Put the values of the list into the disk tier, until it has no room. One thread at a time. Return
 * whether the list has values and the call got on. */
CELLAR_PRIVATE bool cache_demoted_work(cache_store *s);
CELLAR_PRIVATE void cache_demoted_drop(cache_store *s); /* release all values of the list */

#endif
