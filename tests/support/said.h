/* SPDX-License-Identifier: MIT
 *
 * said: the log lines of a store, for tests that count lines. */
#ifndef CELLAR_TESTS_SAID_H
#define CELLAR_TESTS_SAID_H

#include <stdio.h>
#include <string.h>

#include "cellar_admin.h"
#include "tests/support/t.h"

static char said[8192];

T_INLINE void listen_to(cellar_log_level level, const char *module, cellar_err code,
                        const char *text, void *ctx)
{
    (void)ctx, (void)level, (void)module, (void)code;
    const size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

T_INLINE int lines_with(const char *text)
{
    int n = 0;
    for (const char *at = said; (at = strstr(at, text)) != NULL; at++) { n++; }
    return n;
}

#endif
