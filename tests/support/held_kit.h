/* SPDX-License-Identifier: MIT
 *
 * held_kit: functions of the program wait for the test, and the test for them, by semaphores. */
#ifndef SUPPORT_HELD_KIT_H
#define SUPPORT_HELD_KIT_H

#include <semaphore.h>

#include "tests/support/many_threads.h"
#include "tests/support/t.h"

static sem_t began, go_on; /* a function has begun; it may go on */

T_INLINE void init_gates(void)
{
    T_REQUIRE(sem_init(&began, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
}

T_INLINE void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) { }
}

T_INLINE void wait_for_many(sem_t *sem, unsigned n)
{
    while (n-- > 0) { wait_for(sem); }
}

T_INLINE void post_many(sem_t *sem, unsigned n)
{
    while (n-- > 0) { T_REQUIRE(sem_post(sem) == 0); }
}

#endif
