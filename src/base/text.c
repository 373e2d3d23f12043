/* SPDX-License-Identifier: MIT
 *
 * text: see text.h. */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

BASE_SIZE_BEGIN

BASE_SPARE CELLAR_PRIVATE void base_text_add(base_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t room = t->len < t->cap ? t->cap - t->len : 0;
    const int n = vsnprintf(room != 0 ? t->buf + t->len : NULL, room, format, args);
    va_end(args);
    BASE_ASSERT(n >= 0);
    if (n > 0) { t->len += (size_t)n; }
}

BASE_SIZE_END
