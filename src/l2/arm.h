/* SPDX-License-Identifier: MIT
 *
 * arm: touch the pages of the stage that the next records need, so that callers do not wait for
 * them. */
#ifndef L2_ARM_H
#define L2_ARM_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_disarm(l2 *d); /* call it before a sync of the stage */
CELLAR_PRIVATE void l2_arm_work(l2 *d);

#endif
