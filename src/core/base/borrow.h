/* SPDX-License-Identifier: MIT
 *
 * borrow: bytes that a program borrows. With CELLAR_DEBUG_PINS they are a block of malloc, so that
 * sanitizers and valgrind find a use after the end; else they are the bytes themselves. */
#ifndef BASE_BORROW_H
#define BASE_BORROW_H

#include "base/port.h"

#ifdef CELLAR_DEBUG_PINS
/* Return a copy of the bytes that `owner` lends; without memory the bytes. */
CELLAR_PRIVATE const void *base_borrow(const void *owner, const void *bytes, size_t len);
/* Free a copy; NULL: all copies of the owner. */
CELLAR_PRIVATE void base_borrow_end(const void *owner, const void *copy);
#else
BASE_ALWAYS_INLINE const void *base_borrow(const void *owner, const void *bytes, size_t len)
{
    (void)owner, (void)len;
    return bytes;
}
BASE_ALWAYS_INLINE void base_borrow_end(const void *owner, const void *copy)
{
    (void)owner, (void)copy;
}
#endif

#endif
