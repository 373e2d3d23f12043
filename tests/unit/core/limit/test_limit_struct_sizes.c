/* SPDX-License-Identifier: MIT
 *
 * Aim:    the structs of limiters follow the size rule of cellar.h.
 * Method: as test_api_struct_sizes.c. */
#include "cellar.h"
#include "cellar_limit.h"
#include "tests/support/struct_sizes.h"

static cellar_limiter *limiter;

static cellar_err use_config(void *p)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    cellar_limiter *l = NULL;
    cellar_err err = cellar_limiter_open((const cellar_limiter_config *)p, &rule, 1, &l);
    if (err == CELLAR_OK) cellar_limiter_close(l);
    return err;
}

T_CASE(config_of_every_size)
{
    cellar_limiter_config cfg = cellar_limiter_config_default();
    check_in("cellar_limiter_config", &cfg, sizeof cfg, FIRST, use_config);
}

static cellar_err use_check_opts(void *p)
{
    return cellar_limiter_check_with(limiter, "k", 1, 0, (const cellar_check_opts *)p, NULL);
}

T_CASE(check_opts_of_every_size)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &limiter) == CELLAR_OK);
    CHECK_IN(cellar_check_opts, cellar_check_opts_default(), use_check_opts);
    cellar_limiter_close(limiter);
}

/* A zeroed struct with struct_size is the default; abi 0 means that it is not checked. */
T_CASE(defaults_are_zero_and_a_size)
{
    cellar_limiter_config config, made_config = cellar_limiter_config_default();
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    T_EQ_I64(use_config(&config), CELLAR_OK);
    config.abi = CELLAR_ABI;
    T_CHECK(memcmp(&config, &made_config, sizeof config) == 0);
    config.abi = CELLAR_ABI + 1;
    T_EQ_I64(use_config(&config), CELLAR_E_ABI);
    cellar_check_opts check, made_check = cellar_check_opts_default();
    memset(&check, 0, sizeof check);
    check.struct_size = sizeof check;
    T_CHECK(memcmp(&check, &made_check, sizeof check) == 0);
    cellar_limiter_stats stats, made_stats = cellar_limiter_stats_default();
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    T_CHECK(memcmp(&stats, &made_stats, sizeof stats) == 0);
}

static cellar_err fill_stats(void *p)
{
    return cellar_limiter_stats_get(limiter, (cellar_limiter_stats *)p);
}

T_CASE(stats_end_where_the_caller_says)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_SECOND_NS, 20);
    T_REQUIRE(cellar_limiter_open(NULL, &rule, 1, &limiter) == CELLAR_OK);
    check_out("cellar_limiter_stats", sizeof(cellar_limiter_stats), fill_stats);
    cellar_limiter_close(limiter);
}

T_ONE_THREAD;
T_MAIN("limit_struct_sizes")
