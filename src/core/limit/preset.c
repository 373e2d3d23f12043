/* SPDX-License-Identifier: MIT
 *
 * preset: the limiter for users: check(user, limit, window) on a sliding log of 256 stamps.
 *
 * SEE ALSO   README.md in this folder: the faults of the program that it replaces. */
#include "base/open_error.h"
#include "limit/call.h"
#include "limit/table.h"

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
    const uint64_t most = CELLAR_PERIOD_MAX_NS / CELLAR_SECOND_NS;
    if (!limit_key_ok(l, user, user_len) || l->conc >= 0) { return CELLAR_E_INVAL; }
    if (window_s == 0 || window_s > most) {
        return base_open_fail(window_s == 0 ? CELLAR_E_INVAL : CELLAR_E_RANGE, 0,
                              "cellar_user_limiter_check: window_s must be 1..%llu (got %llu)",
                              (unsigned long long)most, (unsigned long long)window_s);
    }
    const cellar_rule rule = cellar_rule_sliding_log(limit, window_s * CELLAR_SECOND_NS);
    limit_op op = { .kind = LIMIT_TAKE, .cost = 1, .result = out };
    return limit_check_own(l, "cellar_user_limiter_check", limit_fp(l, user, user_len),
                           limit_now(l), &rule, 1, &op);
}

BASE_SIZE_END
