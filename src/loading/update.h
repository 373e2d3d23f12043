/* SPDX-License-Identifier: MIT
 *
 * update: functions of update.c for the files above it. */
#ifndef LOADING_UPDATE_H
#define LOADING_UPDATE_H

#include "cache/load_types.h"

/* Copy the live value of L1 into `old`. Return OK, ABSENT, MISS, or the error of the read. */
CELLAR_PRIVATE cellar_err cache_update_look(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info);
/* Copy it from the tier if L1 has none. ABSENT is MISS. */
CELLAR_PRIVATE cellar_err cache_update_read(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info);
/* Remove the entry that `info` and `old` describe, if it is unchanged. `copy`: see CACHE_COPY. */
CELLAR_PRIVATE cellar_err cache_remove_same(cellar *c, l1_key *k, const l1_info *info,
                                            const cellar_buf *old, uint64_t if_version, bool copy);

#endif
