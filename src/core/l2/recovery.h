/* SPDX-License-Identifier: MIT
 *
 * recovery: load what the files prove after a restart, and drop everything else. */
#ifndef L2_RECOVERY_H
#define L2_RECOVERY_H

#include "l2/types.h"

/* Return the bytes that l2_recover charges to the budget until it returns. */
CELLAR_PRIVATE uint64_t l2_recover_bytes(const l2_super *s);
/* Load what the files hold into the tables. d->super is as read. alive false: the contents are
 * invalid. copy: SUPER was written for other files. */
CELLAR_PRIVATE cellar_err l2_recover(l2 *d, bool alive, bool same_boot, bool copy,
                                     const l2_stage_id *stage_was, int *sys_errno);

#endif
