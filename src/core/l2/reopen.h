/* SPDX-License-Identifier: MIT
 *
 * reopen: open a closed tier, or remove the stall marker, once the disk answers. */
#ifndef L2_REOPEN_H
#define L2_REOPEN_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_reopen(l2 *d); /* `working` is held */

#endif
