/* SPDX-License-Identifier: MIT
 *
 * footer: read the footer lines of a sealed segment. */
#ifndef L2_FOOTER_H
#define L2_FOOTER_H

#include "l2/types.h"

/* Read footer page `index` of a segment on disk into d->page, repaired if necessary. */
CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index);
/* Call `fn` for each line of the page in d->page. Return false if its distances are impossible. */
CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);

#endif
