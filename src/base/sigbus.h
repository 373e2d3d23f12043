/* SPDX-License-Identifier: MIT
 *
 * bus: a mapped file that another program cuts short ends no process whose host has asked. */
#ifndef BASE_SIGBUS_H
#define BASE_SIGBUS_H

#include "base/port.h"

#define BASE_BUS_GUARDS 64u

/* From now on a store into, or a load from, a page of [map, map + bytes) that its file does not
 * have any more meets a page of zeros, and base_bus_hit says so. Whole pages. 0 and *guard, from 1;
 * else an errno: EAGAIN: BASE_BUS_GUARDS are in use. */
BASE_SPARE CELLAR_PRIVATE int base_bus_guard(void *map, size_t bytes, uint32_t *guard);
/* Before it is unmapped; guard 0: nothing to do. forked: in a child, which has no such map. */
BASE_SPARE CELLAR_PRIVATE void base_bus_release(uint32_t guard, bool forked);
/* Has a page been missing? Seen by every thread that has met its zeros. */
BASE_SPARE CELLAR_PRIVATE bool base_bus_hit(uint32_t guard);
/* A thread of ours that is to live on, too: called at its start, and again by one that began before
 * the map it touches was guarded. */
BASE_SPARE CELLAR_PRIVATE void base_bus_hear(void);

#endif
