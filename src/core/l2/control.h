/* SPDX-License-Identifier: MIT
 *
 * control: log controls; apply a row to the table of namespaces. */
#ifndef L2_CONTROL_H
#define L2_CONTROL_H

#include "l2/log.h"
#include "l2/stall.h"

/* ---- control.c ---- */

#define L2_LSN_OWED UINT64_MAX
/* Log a control. Return its lsn, 0 if no older record is left to which it could apply, or
 * L2_LSN_OWED if the disk does not answer: then l2_invalidation_logged gets the lsn and `row`. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation, uint64_t row);
/* Try once to log a control. *lsn: its lsn after L2_TOOK, otherwise 0. */
CELLAR_PRIVATE l2_took l2_control_try(l2 *d, uint64_t h48, const unsigned char *value,
                                      uint32_t bytes, uint32_t generation, uint64_t *lsn);
typedef struct l2_waiting { /* a change that waits for room */
    uint32_t seen;     /* `room` before the last try */
    uint64_t since_ns; /* 0: the first try */
} l2_waiting;
/* Handle a result without a reservation. NOT_OWED: retry. */
CELLAR_PRIVATE l2_owing l2_logged_else(l2 *d, l2_took took, l2_waiting *w, const l2_change *c,
                                       const void *bytes);

/* ---- namespaces.c ---- */

/* Return true if a record above the floor with this generation is of the current one of a
 * namespace. Once false, it stays false. */
CELLAR_PRIVATE bool l2_generation_used(l2 *d, uint32_t generation);
/* Apply a row to the namespace table. Return false if memory is short. */
CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len);

/* ---- write.c ---- */

/* Try once to log a tombstone of a key. Any result except L2_TOOK: nothing is logged. */
CELLAR_PRIVATE l2_took l2_tombstone_try(l2 *d, const l2_key *k);

#endif
