/* SPDX-License-Identifier: MIT
 *
 * invalidations: invalidation of records by tag and by pattern, without a lookup of each record. */
#ifndef L2_INVALIDATIONS_H
#define L2_INVALIDATIONS_H

#include "l2/types.h"

/* Return the state of a record's tags according to the cache; 0: valid. */
CELLAR_PRIVATE int l2_tags_verdict(l2 *d, const l2_meta *m);

/* Return true if the tags are invalid according to the cache or to the table here. An open runs
 * the worker before the cache has the tags. */
CELLAR_PRIVATE bool l2_tags_dead(l2 *d, const l2_meta *m);
/* Return true if a pattern deletes this key's record at `lsn`. walking: only patterns in
 * progress. */
CELLAR_PRIVATE bool l2_globs_match(l2 *d, uint32_t generation, uint64_t lsn, bool walking,
                                   const void *key, size_t klen);
CELLAR_PRIVATE bool l2_invalidation_control(l2 *d, const unsigned char *value, uint32_t bytes,
                                            uint64_t lsn);
/* Forget rows that no older record needs. */
BASE_SPARE CELLAR_PRIVATE void l2_invalidation_forget(l2 *d);
CELLAR_PRIVATE void l2_invalidation_close(l2 *d);
CELLAR_PRIVATE void l2_invalidation_count(l2 *d, l2_stats *out);

#endif
