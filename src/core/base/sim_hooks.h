/* SPDX-License-Identifier: MIT
 *
 * sim_hooks: what base calls in place of the system under BASE_SIM.
 *
 * The simulation driver (tests/concurrency/sim/driver.c) defines these functions, those of
 * base/atomic.h and base/check.h, and base_sim_thread of base/thread_record.h. */
#ifndef BASE_SIM_HOOKS_H
#define BASE_SIM_HOOKS_H

#include "base/sync.h"

#if BASE_SIM

/* Fail the run. Does not return. */
CELLAR_PRIVATE void base_sim_fail(const char *format, ...) BASE_PRINTF(1, 2)
    __attribute__((noreturn, cold));
/* End the fiber inside user code, like a cancelled thread: guards run from the inside out. The
 * outermost base_run_callback, the scenario's own, returns. */
CELLAR_PRIVATE void base_sim_leave(void) __attribute__((noreturn));
CELLAR_PRIVATE uint64_t base_sim_random(void);
CELLAR_PRIVATE int64_t base_sim_now_ms(void);
CELLAR_PRIVATE uint64_t base_sim_now_ns(void);
CELLAR_PRIVATE int64_t base_sim_wall_ms(void);
CELLAR_PRIVATE bool base_sim_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                                  const char *point);
CELLAR_PRIVATE void base_sim_wake(_Atomic uint32_t *word, int count);
CELLAR_PRIVATE void base_sim_sleep(uint64_t ns);
CELLAR_PRIVATE int base_sim_thread_start(base_thread *t, const char *name);
CELLAR_PRIVATE void base_sim_thread_join(base_thread *t);
CELLAR_PRIVATE bool base_sim_thread_gone(int32_t tid); /* fiber number + 1 */

#endif
#endif
