/* SPDX-License-Identifier: MIT
 *
 * float_text: floats as text, whatever the locale of the process is. */
#ifndef BASE_FLOAT_TEXT_H
#define BASE_FLOAT_TEXT_H

#include "base/port.h"

#define BASE_FLOAT_MAX 5120 /* bytes of the longest text, final zero included */

/* Read a float of any form that strtold knows, "inf" and hexadecimal digits included. Return false
 * for blanks, NaN, an empty text, a text of BASE_FLOAT_MAX bytes, and beyond the range. */
BASE_SPARE CELLAR_PRIVATE bool base_float_read(const void *text, size_t len, long double *out);

/* Print a float with up to 17 digits after the point, without trailing zeros and without exponent.
 * Return the length; 0 for a number that is not finite. */
BASE_SPARE CELLAR_PRIVATE size_t base_float_print(char buf[BASE_FLOAT_MAX], long double value);

#endif
