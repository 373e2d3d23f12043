/* SPDX-License-Identifier: MIT
 *
 * sync: make the whole store durable, and end a store for good. */
#ifndef L2_SYNC_H
#define L2_SYNC_H

#include "l2/types.h"

CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing);

#endif
