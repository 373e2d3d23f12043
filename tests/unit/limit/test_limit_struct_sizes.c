/* SPDX-License-Identifier: MIT
 *
 * Aim:    the structs of limiters follow the size rule of cellar.h.
 * Method: as test_api_struct_sizes.c. */
#include "cellar.h"
#include "cellar_limit.h"
#include "tests/support/struct_sizes.h"

static cellar_limiter *limiter;

static cellar_err use_rl_config(void *p)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    cellar_limiter *l = NULL;
    cellar_err err = cellar_limiter_open((const cellar_limiter_config *)p, &rule, 1, &l);
    if (err == CELLAR_OK) cellar_limiter_close(l);
    return err;
}

static void config_of_every_size(void)
{
    cellar_limiter_config rl = cellar_limiter_config_default();
    check_in("cellar_limiter_config", &rl, sizeof rl, offsetof(cellar_limiter_config, abi) +
             sizeof rl.abi,
             use_rl_config);
}

static cellar_err fill_rl_stats(void *p)
{
    return cellar_limiter_stats_get(limiter, (cellar_limiter_stats *)p);
}

static void stats_end_where_the_caller_says(void)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &limiter) == CELLAR_OK);
    check_out("cellar_limiter_stats", sizeof(cellar_limiter_stats), fill_rl_stats);
    cellar_limiter_close(limiter);
}

T_MAIN("limit_struct_sizes", T_CASE(config_of_every_size), T_CASE(stats_end_where_the_caller_says))
