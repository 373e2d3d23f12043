/* SPDX-License-Identifier: MIT
 *
 * preset: the limiter for users: check(user, limit, window) on a sliding log of 256 stamps.
 *
 * SEE ALSO   README.md in this folder: the faults of the program that it replaces. */
#include "limit/limit_int.h"

BASE_SIZE_BEGIN

CELLAR_API cellar_err cellar_user_limiter_open(const cellar_limiter_config *cfg,
                                               cellar_limiter **out)
{
    const cellar_rule rule = cellar_rule_sliding_log(CELLAR_USER_LIMIT_MAX, CELLAR_SECOND_NS);
    return cellar_limiter_open(cfg, &rule, 1, out);
}

CELLAR_API cellar_err cellar_user_limiter_check(cellar_limiter *l, const void *user,
                                                size_t user_len, uint64_t limit, uint64_t window_s,
                                                cellar_limiter_result *out)
{
    if (window_s == 0) { return CELLAR_E_INVAL; }
    if (window_s > CELLAR_PERIOD_MAX_NS / CELLAR_SECOND_NS) { return CELLAR_E_RANGE; }
    const cellar_rule rule = cellar_rule_sliding_log(limit, window_s * CELLAR_SECOND_NS);
    cellar_check_opts o = cellar_check_opts_default();
    o.rules = &rule;
    o.rule_count = 1;
    return cellar_limiter_check_with(l, user, user_len, 1, &o, out);
}

BASE_SIZE_END
