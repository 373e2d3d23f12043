/* SPDX-License-Identifier: MIT
 *
 * figures: read one figure of a store by its name. */
#ifndef CELLAR_TESTS_FIGURES_H
#define CELLAR_TESTS_FIGURES_H

#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_observe.h"

#define OPENED_RESET 3u /* figure cellar_l2_opened: old contents discarded */

/* Return the metrics and, behind them, the dump: one of both has each figure. Valid until the next
 * call. */
T_INLINE const char *figures_text(cellar *c)
{
    static char text[1 << 18];
    size_t len = 0;
    T_REQUIRE(cellar_metrics_write(c, text, sizeof text, &len) == CELLAR_OK);
    T_REQUIRE(cellar_dump_write(c, text + len, sizeof text - len, &len) == CELLAR_OK);
    return text;
}

/* Return the value of the line that begins with `name` and a blank; -1: there is none. */
T_INLINE double figure_or_none(cellar *c, const char *name)
{
    char line[128];
    T_REQUIRE((size_t)snprintf(line, sizeof line, "\n%s ", name) < sizeof line);
    const char *at = strstr(figures_text(c), line);
    return at != NULL ? strtod(at + strlen(line), NULL) : -1;
}

/* Return the value of a line that must be there. */
T_INLINE uint64_t figure(cellar *c, const char *name)
{
    const double value = figure_or_none(c, name);
    if (value < 0) { printf("# no figure %s\n", name); }
    T_REQUIRE(value >= 0);
    return (uint64_t)value;
}

#endif
