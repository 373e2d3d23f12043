/* SPDX-License-Identifier: MIT
 *
 * fault: fault points of allocations and the disk, counts of live blocks; for tests. */
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
/* Return the errno with which the call at `site` ("pread", "datasync", ... as in base_vfs) must
 * fail now; 0: none; -1: transfer half of the bytes. Constant 0 in release. */
BASE_SPARE CELLAR_PRIVATE int base_fault_io(const char *site);
/* Fail the `nth` call from now at `site` (static text; NULL: any) with `error`, once or from then
 * on; nth 0 disarms. Return the number of matching calls since the last arming. Tests only. */
BASE_SPARE CELLAR_PRIVATE uint64_t base_fault_io_arm(const char *site, int error, uint64_t nth,
                                                     bool sticky);
#else
#define base_fault_alloc(site) ((void)(site), false)
#define base_fault_io(site) ((void)(site), 0)
#define base_live_add(bytes) ((void)0)
#define base_live_sub(bytes) ((void)0)
#endif

#endif
