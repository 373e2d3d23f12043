/* SPDX-License-Identifier: MIT
 *
 * api_kit: helpers of the tests of public calls: a clock that the test turns, a store without
 * threads on it, keys and values as text. Public headers only, so that the tests also run against
 * dist/. */
#ifndef CELLAR_TESTS_API_KIT_H
#define CELLAR_TESTS_API_KIT_H

#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_admin.h"
#include "cellar_memo.h"
#include "cellar_warm.h"
#include "tests/support/settings.h"

#define API_START_MS 5000000

static _Atomic int64_t api_now_ms;

T_INLINE int64_t api_clock(void *ctx) { (void)ctx; return atomic_load(&api_now_ms); }

T_INLINE settings api_config(uint64_t budget_bytes)
{
    atomic_store(&api_now_ms, API_START_MS);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = budget_bytes, .host.clock = api_clock,
                     .host.no_threads = 1 };
    return cfg;
}

T_INLINE cellar *api_open_with(const settings *cfg)
{
    cellar *c = NULL;
    T_REQUIRE(settings_open(cfg, &c) == CELLAR_OK);
    return c;
}

/* Return how many entries of the store were reclaimed because they were due. */
T_INLINE uint64_t api_expired(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_REQUIRE(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    return st.ended[CELLAR_CAUSE_EXPIRED];
}

T_INLINE cellar *api_open(uint64_t budget_bytes)
{
    const settings cfg = api_config(budget_bytes);
    return api_open_with(&cfg);
}

T_INLINE void api_shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_INLINE cellar_err api_put(cellar *c, const char *key, const char *value,
                            const cellar_set_opts *o)
{
    return cellar_set(c, key, strlen(key), value, strlen(value), o);
}

/* Return "value", or the name of the code: "MISS", "ABSENT". Valid until the next call. */
T_INLINE const char *api_look(cellar *c, const char *key)
{
    static char text[256];
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), text, sizeof text - 1, &len);
    if (err != CELLAR_OK) { return cellar_code_name(err); }
    text[len] = '\0';
    return text;
}

#endif
