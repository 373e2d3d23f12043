/* SPDX-License-Identifier: MIT
 *
 * refusals: a table of calls and their codes.
 *
 * USE  REFUSALS("rows", INVAL(cellar_close_it(NULL)), { CELLAR_E_RANGE, cellar_put(c, -1) }); */
#ifndef SUPPORT_REFUSALS_H
#define SUPPORT_REFUSALS_H

#include "cellar.h"
#include "tests/support/t.h"

typedef struct refusal {
    cellar_err want, got;
} refusal;

T_INLINE void check_refusals(const char *file, int line, const char *of, const refusal *row,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (t_eq_i64(row[i].got, row[i].want, file, line, of)) { continue; }
        printf("# call %zu of %s\n", i, of);
    }
}

#define REFUSALS(of, ...)                                                          \
    do {                                                                           \
        const refusal row_[] = { __VA_ARGS__ };                                    \
        check_refusals(__FILE__, __LINE__, of, row_, sizeof row_ / sizeof *row_);  \
    } while (0)
#define INVAL(call) { CELLAR_E_INVAL, (call) }

#endif
