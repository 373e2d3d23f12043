/* SPDX-License-Identifier: MIT
 *
 * control: log controls, and the FLOOR. */
#ifndef L2_CONTROL_H
#define L2_CONTROL_H

#include "l2/log.h"
#include "l2/stall.h"

/* Log a control. Return its lsn, or 0 if the tier is closed: no older record is left to which it
 * could apply. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, const unsigned char *value, uint32_t bytes);
/* Append a control once. *end: its end. */
CELLAR_PRIVATE l2_took l2_control_try(l2 *d, l2_use use, uint32_t kind, uint64_t hash,
                                      const unsigned char *value, uint32_t bytes, uint64_t *lsn,
                                      uint64_t *end);
/* Serve no record below `lsn` any more. */
CELLAR_PRIVATE void l2_floor_to(l2 *d, uint64_t lsn);
/* Open the closed tier. If the control of a namespace is below `lsn` or not logged, or if one was
 * dropped, return false and leave it closed. A namespace that changes later finds the tier open. */
CELLAR_PRIVATE bool l2_namespaces_open(l2 *d, uint64_t lsn);
/* Append the control of the next namespace below `lsn` again. Return 0 if there is none; EAGAIN; or
 * ENOSPC. */
CELLAR_PRIVATE int l2_namespace_again(l2 *d, uint64_t lsn);
/* Append a FLOOR: no record below `lsn` counts any more. It is written, and synced at ALWAYS, when
 * the call returns 0. Namespaces that hold are appended before. `working` is held. */
CELLAR_PRIVATE int l2_floor_write(l2 *d, uint64_t lsn);
/* Append a FLOOR as l2_floor_write, without a sync. *end: end of the FLOOR. */
CELLAR_PRIVATE int l2_floor_put(l2 *d, uint64_t lsn, uint64_t *end);

#endif
