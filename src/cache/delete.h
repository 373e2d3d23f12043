/* SPDX-License-Identifier: MIT
 *
 * delete: functions of delete.c for the files above it. */
#ifndef CACHE_DELETE_H
#define CACHE_DELETE_H

#include "cache/types.h"

CELLAR_PRIVATE cellar_err cache_del(cellar *c, l1_key *k);
/* Delete the entry if it meets the L1_IF_ flags of `only_if`. Else change nothing and return their
 * code. */
CELLAR_PRIVATE cellar_err cache_del_if(cellar *c, l1_key *k, const l1_put_spec *only_if);
/* Delete one key of a delete by pattern. `by` is the number of cache_why_act. */
CELLAR_PRIVATE cellar_err cache_del_matched(cellar *c, l1_key *k, uint32_t by);

#endif
