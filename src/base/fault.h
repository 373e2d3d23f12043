/* SPDX-License-Identifier: MIT
 *
 * fault: fault points of allocations, and counts of live blocks; both for tests (BASE_DEBUG). */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/port.h"

#if BASE_DEBUG
/* Return whether this allocation must fail because a test armed it. Release: constant false. */
CELLAR_PRIVATE bool base_fault_alloc(const char *site);
/* Fail call number `nth` (1 = next) once, or from then on if `sticky`; 0 disarms. Return the number
 * of calls since the last arming. Process-wide, tests only. */
CELLAR_PRIVATE uint64_t base_fault_alloc_arm(uint64_t nth, bool sticky);
/* Return the site of the last failed call; NULL: none since the last arming. */
CELLAR_PRIVATE const char *base_fault_alloc_site(void);
/* Count the live blocks (base_alloc, base_alloc_raw) and regions of the process. Tests only. */
CELLAR_PRIVATE uint64_t base_live_blocks(void);
CELLAR_PRIVATE uint64_t base_live_bytes(void); /* requested bytes; regions count as 0 */
CELLAR_PRIVATE void base_live_add(size_t bytes);
CELLAR_PRIVATE void base_live_sub(size_t bytes);
#else
BASE_INLINE bool base_fault_alloc(const char *site)
{
    (void)site;
    return false;
}
#endif

#endif
