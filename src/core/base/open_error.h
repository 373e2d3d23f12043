/* SPDX-License-Identifier: MIT
 *
 * open_error: why the last open of this process was refused: of a store, a limiter, a table of
 * locks, a pool or a batcher, or rules given to a limiter. cellar_last_error returns it for a
 * NULL handle. */
#ifndef BASE_OPEN_ERROR_H
#define BASE_OPEN_ERROR_H

#include "base/port.h"
#include "cellar.h"

#define BASE_ERROR_TEXT sizeof(((cellar_error_info *)0)->text)

/* Keep a refusal. The text names call, argument, rule and remedy. Return `code`. The caller holds
 * no lock: a fork may hold the one of this file while it waits for others. */
CELLAR_PRIVATE cellar_err base_open_fail(cellar_err code, int sys_errno, const char *format, ...)
    BASE_PRINTF(3, 4);
/* Keep a refusal of `call`: the text is "call: why". */
CELLAR_PRIVATE cellar_err base_refuse(cellar_err code, const char *call, const char *why);
/* Copy the kept refusal to `out`, except struct_size. */
CELLAR_PRIVATE void base_open_error_get(cellar_error_info *out);
/* Copy the option struct `src` of a caller as base_opts_in does, and keep the reason of a refusal.
 * `name` is the type of the struct. NULL leaves *dst as it is. */
CELLAR_PRIVATE cellar_err base_open_opts(void *dst, size_t known, const void *src,
                                         const char *call, const char *name);

/* Set *why to `rule` if it is broken, and return whether it is. */
BASE_INLINE bool base_broken(bool broken, const char *rule, const char **why)
{
    if (broken) { *why = rule; }
    return broken;
}

typedef struct base_rule {
    bool broken;
    const char *text;
} base_rule;

/* Return the text of the first rule that is broken; NULL: none. */
BASE_INLINE const char *base_rules_broken(const base_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].broken) { return rules[i].text; }
    }
    return NULL;
}
#define BASE_RULES_BROKEN(rules) base_rules_broken(rules, sizeof(rules) / sizeof(rules)[0])

#endif
