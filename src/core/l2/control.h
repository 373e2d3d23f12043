/* SPDX-License-Identifier: MIT
 *
 * control: log controls; apply a row to the table of namespaces. */
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

/* ---- namespaces.c ---- */

/* Return true if a record above the floor with this generation is of the current one of a
 * namespace. Once false, it stays false. */
CELLAR_PRIVATE bool l2_generation_used(l2 *d, uint32_t generation);
/* Apply a row to the namespace table. Return false if memory is short. */
CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len);

#endif
