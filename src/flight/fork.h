/* SPDX-License-Identifier: MIT
 *
 * fork: flights over a fork of the process. */
#ifndef FLIGHT_FORK_H
#define FLIGHT_FORK_H

#include "flight/types.h"

CELLAR_PRIVATE void flight_fork_prepare(flight_table *t);
CELLAR_PRIVATE void flight_fork_parent(flight_table *t);
CELLAR_PRIVATE void flight_fork_child(flight_table *t);

#endif
