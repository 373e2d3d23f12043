/* SPDX-License-Identifier: MIT
 *
 * told: what calls report of a store, a namespace or an entry, in one expression. */
#ifndef TESTS_SUPPORT_TOLD_H
#define TESTS_SUPPORT_TOLD_H

#include "cellar_entry.h"
#include "cellar_observe.h"
#include "tests/support/t.h"

T_INLINE cellar_stats stats_in(cellar *c, cellar_scope scope)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, scope, &st), CELLAR_OK);
    return st;
}

T_INLINE cellar_stats store_stats(cellar *c) { return stats_in(c, CELLAR_SCOPE_STORE); }

T_INLINE cellar_stats space_stats(cellar *c) { return stats_in(c, CELLAR_SCOPE_NAMESPACE); }

/* Return the description of a live entry. */
T_INLINE cellar_entry_info entry_info(cellar *c, const void *key, size_t len)
{
    cellar_entry_info i = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, key, len, 0, &i), CELLAR_OK);
    return i;
}

T_INLINE cellar_entry_info key_info(cellar *c, const char *key)
{
    return entry_info(c, key, strlen(key));
}

/* Return the last error of a handle; NULL: of calls without one. */
T_INLINE cellar_error_info error_info(cellar *c)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    return e;
}

/* Return its text. Valid until the next call. */
T_INLINE const char *error_text(cellar *c)
{
    static cellar_error_info e;
    e = error_info(c);
    return e.text;
}

#endif
