/* SPDX-License-Identifier: MIT
 *
 * text: build text piece by piece in a caller's buffer, with the length rule of snprintf. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/port.h"

typedef struct base_text {
    char *buf;
    size_t cap; /* bytes of buf, the final 0 included; the 0 is written if cap > 0 */
    size_t len; /* bytes of all pieces, written or not; the text is cut if len >= cap */
} base_text;

BASE_SPARE CELLAR_PRIVATE void base_text_add(base_text *t, const char *format, ...)
    BASE_PRINTF(2, 3);
/* Add `n` bytes as they are. */
BASE_SPARE CELLAR_PRIVATE void base_text_put(base_text *t, const char *p, size_t n);

/* Add a size in the largest unit that divides it: 16M, 1000, 5G. */
BASE_SPARE CELLAR_PRIVATE void base_text_size(base_text *t, uint64_t bytes);

/* Return the value of a hexadecimal digit, -1 for any other byte. */
BASE_INLINE int base_hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') { return c - '0'; }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
/* Return the byte that two hexadecimal digits at p name, -1 if they are none. */
BASE_INLINE int base_hex_byte(const void *p)
{
    const unsigned char *digit = p;
    const int high = base_hex_digit(digit[0]), low = base_hex_digit(digit[1]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}
/* Return the length of the UTF-8 sequence at p, of `n` bytes; 0: invalid, overlong, or a surrogate,
 * or a 0 byte. */
BASE_SPARE CELLAR_PRIVATE size_t base_utf8_len(const unsigned char *p, size_t n);

/* Return the text of an errno of the disk; "system error" for any other. The text is static:
 * strerror is not thread-safe, and the two forms of strerror_r differ. */
BASE_SPARE CELLAR_PRIVATE const char *base_errno_text(int e);

#endif
