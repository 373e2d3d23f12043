/* SPDX-License-Identifier: MIT
 *
 * Aim:    the structs of locks follow the size rule of cellar.h.
 * Method: as test_api_struct_sizes.c. */
#include "cellar_lock.h"
#include "tests/support/struct_sizes.h"

static cellar_locks *locks;

static cellar_err use_locks_config(void *p)
{
    cellar_locks *t = NULL;
    cellar_err err = cellar_locks_open((const cellar_locks_config *)p, &t);
    if (err == CELLAR_OK) cellar_locks_close(t);
    return err;
}

static cellar_err use_lock_opts(void *p)
{
    cellar_lock lk;
    cellar_err err = cellar_lock_acquire(locks, "k", 1, (const cellar_lock_opts *)p, &lk);
    return err == CELLAR_OK ? cellar_lock_release(locks, &lk) : err;
}

T_CASE(config_of_every_size)
{
    cellar_locks_config lc = cellar_locks_config_default();
    check_in("cellar_locks_config", &lc, sizeof lc, FIRST, use_locks_config);
}

T_CASE(lock_opts_of_every_size)
{
    T_REQUIRE(cellar_locks_open(NULL, &locks) == CELLAR_OK);
    CHECK_IN(cellar_lock_opts, cellar_lock_opts_default(), use_lock_opts);
    cellar_locks_close(locks);
}

static cellar_err fill_lock(void *p)
{
    return cellar_lock_info_get(locks, "held", 4, (cellar_lock_info *)p);
}
static cellar_err fill_locks(void *p)
{
    return cellar_locks_stats_get(locks, (cellar_locks_stats *)p);
}

T_CASE(structs_handed_out_end_where_the_caller_says)
{
    cellar_lock lk;
    T_REQUIRE(cellar_locks_open(NULL, &locks) == CELLAR_OK);
    T_REQUIRE(cellar_lock_acquire(locks, "held", 4, NULL, &lk) == CELLAR_OK);
    check_out("cellar_lock_info", sizeof(cellar_lock_info), fill_lock);
    check_out("cellar_locks_stats", sizeof(cellar_locks_stats), fill_locks);
    T_EQ_I64(cellar_lock_release(locks, &lk), CELLAR_OK);
    cellar_locks_close(locks);
}

#define DEFAULT_IS_ZERO(type)                                                                      \
    do {                                                                                           \
        const type made = type##_default();                                                        \
        type zero;                                                                                 \
        memset(&zero, 0, sizeof zero);                                                             \
        zero.struct_size = sizeof zero;                                                            \
        T_CHECK(memcmp(&made, &zero, sizeof zero) == 0);                                           \
    } while (0)

T_CASE(defaults_are_zero_and_a_size)
{
    DEFAULT_IS_ZERO(cellar_locks_config);
    DEFAULT_IS_ZERO(cellar_lock_opts);
    DEFAULT_IS_ZERO(cellar_lock_info);
    DEFAULT_IS_ZERO(cellar_locks_stats);
}

T_MAIN("lock_struct_sizes")
