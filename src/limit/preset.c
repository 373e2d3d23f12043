/* SPDX-License-Identifier: MIT
 *
 * preset: a limiter for users as the documents behind cellar call it: check(user, limit, window).
 *
 * PICTURE    a sliding log of at most 256 stamps a user; limit and window come with each call.
 * WHY A LOG  The program it stands in for counted calls in the present second: 20 passed at a
 *            limit of 10 in 60 ms, over the boundary. Its reset deleted a key that did not carry
 *            the second, so the user stayed denied. And it incremented a missing counter, then
 *            set it to 1: sixteen first calls at once all passed. Here the state of a user is
 *            one slot: no window ever holds more than the limit, reset empties that slot, and a
 *            decision is one step. */
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
