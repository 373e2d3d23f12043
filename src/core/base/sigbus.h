/* SPDX-License-Identifier: MIT
 *
 * sigbus: keep the process alive when another program truncates a mapped file. Opt-in per store. */
#ifndef BASE_SIGBUS_H
#define BASE_SIGBUS_H

#include "base/port.h"

#define BASE_SIGBUS_GUARDS 64u

/* Guard [map, map + bytes), whole pages: an access to a page that the file no longer has meets a
 * page of zeros, and base_sigbus_hit returns true. Return 0 and set *guard (>= 1), else an errno.
 * EAGAIN: all BASE_SIGBUS_GUARDS guards are in use. */
BASE_SPARE CELLAR_PRIVATE int base_sigbus_guard(void *map, size_t bytes, uint32_t *guard);
/* Release the guard before its range is unmapped. Guard 0: do nothing. */
BASE_SPARE CELLAR_PRIVATE void base_sigbus_release(uint32_t guard);
/* Return whether a page was missing. Every thread that has read its zeros sees true. */
BASE_SPARE CELLAR_PRIVATE bool base_sigbus_hit(uint32_t guard);
/* Unblock SIGBUS in the calling library thread while guards exist. Call at the thread's start, and
 * again when the thread started before the map that it touches was guarded. */
BASE_SPARE CELLAR_PRIVATE void base_sigbus_hear(void);

#endif
