/* SPDX-License-Identifier: MIT
 *
 * charge: functions of charge.c for the files above it. */
#ifndef STORE_CHARGE_H
#define STORE_CHARGE_H

#include "cache/types.h"

/* Uncharge what the host did not: the store ends. */
CELLAR_PRIVATE void cache_charge_end(cache_store *s);

#endif
