/* SPDX-License-Identifier: MIT
 *
 * run: one operation on one key: find its slot, or make room for it. */
#ifndef LIMIT_RUN_H
#define LIMIT_RUN_H

#include "limit/types.h"

/* Run one operation. A GIVE returns PENDING, without effect, if the words differ from `seen`. */
CELLAR_PRIVATE cellar_err limit_run(cellar_limiter *l, uint64_t fp, uint64_t now_ns, limit_op *op);
/* Copy the words of a key, also BUSY or half written ones. Return false if the key
 * has no slot. */
CELLAR_PRIVATE bool limit_look(const cellar_limiter *l, uint64_t fp, limit_seen *out);

#endif
