/* SPDX-License-Identifier: MIT
 *
 * logged: the last line of the log, for host.log. */
#ifndef SUPPORT_LOGGED_H
#define SUPPORT_LOGGED_H

#include <stdio.h>

#include "cellar_admin.h"
#include "tests/support/t.h"

static char logged[256]; /* level, module, code, text */

T_INLINE void keep_line(cellar_log_level level, const char *module, cellar_err code,
                        const char *text, void *ctx)
{
    (void)ctx;
    snprintf(logged, sizeof logged, "%d %s %d %s", (int)level, module, (int)code, text);
}

#endif
