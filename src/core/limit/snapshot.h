/* SPDX-License-Identifier: MIT
 *
 * snapshot: debts over a restart. */
#ifndef LIMIT_SNAPSHOT_H
#define LIMIT_SNAPSHOT_H

#include "limit/types.h"

/* Read the snapshot, if the limiter has one. A refusal sets *why. */
CELLAR_PRIVATE cellar_err limit_persist_open(cellar_limiter *l, const cellar_limiter_config *cfg,
                                             const char **why);
CELLAR_PRIVATE size_t limit_persist_bytes(const cellar_limiter *l,
                                          const cellar_limiter_config *cfg);
CELLAR_PRIVATE void limit_persist_close(cellar_limiter *l);
CELLAR_PRIVATE cellar_err limit_persist_tick(cellar_limiter *l, uint64_t now_ns);

#endif
