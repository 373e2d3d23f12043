/* SPDX-License-Identifier: MIT
 *
 * float_text: floats as text, whatever the locale of the process is.
 *
 * LOCKING    None. The C locale is put on for this thread alone, during the call.
 * LIMITS     A text has at most 5,119 bytes; a printed float has up to 4,950 digits. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/float_text.h"

/* Put this thread under the C locale. The C locale is static in libc: newlocale cannot fail. */
static locale_t base_locale_c(locale_t *own)
{
    *own = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *own != (locale_t)0 ? uselocale(*own) : (locale_t)0;
}

static void base_locale_back(locale_t own, locale_t before)
{
    if (own != (locale_t)0) {
        (void)uselocale(before);
        freelocale(own);
    }
}

CELLAR_PRIVATE bool base_float_read(const void *text, size_t len, long double *out)
{
    char copy[BASE_FLOAT_MAX];
    if (len == 0 || len >= sizeof copy) { return false; }
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (copy[0] == ' ' || (copy[0] >= '\t' && copy[0] <= '\r')) { return false; }
    locale_t own, before = base_locale_c(&own);
    char *end;
    errno = 0;
    const long double v = strtold(copy, &end);
    const int failed = errno;
    base_locale_back(own, before);
    if (end != copy + len || isnan(v)) { return false; }
    if (failed == ERANGE && (isinf(v) || v == 0)) { return false; }
    *out = v;
    return true;
}

CELLAR_PRIVATE size_t base_float_print(char buf[BASE_FLOAT_MAX], long double value)
{
    if (!isfinite(value)) { return 0; }
    locale_t own, before = base_locale_c(&own);
    const int printed = snprintf(buf, BASE_FLOAT_MAX, "%.17Lf", value);
    base_locale_back(own, before);
    if (printed <= 0 || printed >= BASE_FLOAT_MAX) { return 0; }
    size_t len = (size_t)printed;
    while (buf[len - 1] == '0') { len--; } /* ends at the point */
    if (buf[len - 1] == '.') { len--; }
    if (len == 2 && buf[0] == '-' && buf[1] == '0') {
        buf[0] = '0';
        len = 1;
    }
    return len;
}
