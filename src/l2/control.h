/* SPDX-License-Identifier: MIT
 *
 * control: log controls; apply a row to the table of namespaces. */
#ifndef L2_CONTROL_H
#define L2_CONTROL_H

#include "l2/log.h"

/* ---- control.c ---- */

/* Log a control. Return its lsn, or 0 if no older record is left to which it could apply. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation);
/* Handle a result without a reservation. Return true if the change needs no record, false to
 * retry. */
CELLAR_PRIVATE bool l2_logged_else(l2 *d, l2_took took);

/* ---- namespaces.c ---- */

/* Apply a row to the namespace table. Return false if memory is short. */
CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len);

#endif
