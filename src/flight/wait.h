/* SPDX-License-Identifier: MIT
 *
 * wait: wait for the end of a flight. */
#ifndef FLIGHT_WAIT_H
#define FLIGHT_WAIT_H

#include "flight/types.h"

/* Wait for the flight and drop the ref of the waiter in every case. */
CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out);

/* Drop the ref of a waiter without waiting. */
CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f);

CELLAR_PRIVATE void flight_graph_reset(void); /* in a forked child */

#endif
