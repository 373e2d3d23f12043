/* SPDX-License-Identifier: MIT
 *
 * run: one operation on one key: find its slot, or make room for it. */
#ifndef LIMIT_RUN_H
#define LIMIT_RUN_H

#include "limit/types.h"

/* Run one operation. A GIVE returns INVALIDATED if the charge of its ticket was lost. */
CELLAR_PRIVATE cellar_err limit_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns, limit_op *op);
/* Write what ended bans left into the words of their keys, and drop their records, of the next
 * `looks` records. The caller holds no lock. */
CELLAR_PRIVATE void limit_bans_settle(cellar_limiter *l, uint64_t now_ns, uint32_t looks);
/* Settle ended bans if there is no room for a new record. */
CELLAR_PRIVATE void limit_bans_room(cellar_limiter *l);

#endif
