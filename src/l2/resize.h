/* SPDX-License-Identifier: MIT
 *
 * resize: add or remove places of data.seg while the store runs. */
#ifndef L2_RESIZE_H
#define L2_RESIZE_H

#include "l2/types.h"

/* Reserve and commit the rows of segments. Return false if memory is short. */
CELLAR_PRIVATE bool l2_rows_open(l2 *d, uint64_t rows);
CELLAR_PRIVATE void l2_rows_close(l2 *d);
CELLAR_PRIVATE bool l2_resize_work(l2 *d); /* one step towards the goal; true: more steps follow */
/* End the resize: restore keep_free and the mapping. */
CELLAR_PRIVATE void l2_goal_over(l2 *d, cellar_err result);

#endif
