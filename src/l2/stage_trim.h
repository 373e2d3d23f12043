/* SPDX-License-Identifier: MIT
 *
 * stage_trim: zero pages of stage.buf after their segment is in data.seg, so that the kernel skips
 * them. */
#ifndef L2_STAGE_TRIM_H
#define L2_STAGE_TRIM_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_trim_work(l2 *d); /* periodic; worker only */
/* Zero all of the stage that its next sync need not write. No thread appends. */
CELLAR_PRIVATE void l2_trim_all(l2 *d);

#endif
