/* SPDX-License-Identifier: MIT
 *
 * admission: write budgets, and the filter that keeps unused entries off a disk that is full. */
#ifndef L2_ADMISSION_H
#define L2_ADMISSION_H

#include "l2/types.h"

CELLAR_PRIVATE uint32_t l2_seen_in(uint64_t memory_bytes, uint64_t objects); /* words of it */
CELLAR_PRIVATE bool l2_seen_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_seen_close(l2 *d);
/* Return true if the key was noted recently. Note the key. */
CELLAR_PRIVATE bool l2_seen_again(l2 *d, uint64_t h48);
/* Count `bytes` against the write budgets; *w: windows that counted. Return false if a budget
 * refuses. */
CELLAR_PRIVATE bool l2_budget_allows(l2 *d, uint64_t bytes, l2_windows *w);
/* Refund `bytes` that were not written. */
CELLAR_PRIVATE void l2_budgets_back(l2 *d, const l2_windows *w, uint64_t bytes);

#endif
