/* SPDX-License-Identifier: MIT
 *
 * text: text in pieces into a caller's buffer, as snprintf would with all of it at once. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/port.h"

typedef struct base_text {
    char *buf;
    size_t cap; /* with the ending 0, which is there from the first piece on if cap > 0 */
    size_t len; /* of all pieces, also of what did not fit: cut when len >= cap */
} base_text;

BASE_SPARE CELLAR_PRIVATE void base_text_add(base_text *t, const char *format, ...)
    BASE_PRINTF(2, 3);

/* Return what an errno of the disk means; "system error" for any other. Static text: strerror is
 * not safe in threads, and the two forms of strerror_r differ. */
BASE_SPARE CELLAR_PRIVATE const char *base_errno_text(int e);

#endif
