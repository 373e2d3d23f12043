/* SPDX-License-Identifier: MIT
 *
 * each_allocation: a call during which each allocation fails in turn, until the call succeeds. */
#ifndef SUPPORT_EACH_ALLOCATION_H
#define SUPPORT_EACH_ALLOCATION_H

#include "base/fault.h"
#include "tests/support/t.h"

/* The statement behind it runs after each refusal, which is E_NOMEM. */
#define EACH_ALLOCATION_FAILS(err, call)                                        \
    for (uint64_t nth_ = 1; (void)base_fault_alloc_arm(nth_, false), (err) = (call), \
         (void)base_fault_alloc_arm(0, false), T_REQUIRE(nth_ < 200),           \
         (err) != CELLAR_OK && T_EQ_I64(err, CELLAR_E_NOMEM); nth_++)

#endif
