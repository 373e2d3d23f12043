/* SPDX-License-Identifier: MIT
 *
 * control: log a control; wait for the disk if a change cannot be logged now. */
#ifndef L2_CONTROL_H
#define L2_CONTROL_H

#include "l2/log.h"
#include "l2/types.h"

/* Log a control. Return its lsn, or 0 if no older record is left to which it could apply. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation);
/* Handle a result without a reservation. Return true if the change needs no record, false to
 * retry. */
CELLAR_PRIVATE bool l2_logged_else(l2 *d, l2_took took);

#endif
