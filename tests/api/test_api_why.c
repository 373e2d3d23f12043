/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_why reports the last event of a key, and UNKNOWN where it has no record.
 * Method: Each cause happens on a clock of this file. */
#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_admin.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

static int64_t now_ms;

static int64_t read_clock(void *ctx) { (void)ctx; return now_ms; }

static cellar *open_store(uint32_t no_explain)
{
    cellar *c = NULL;
    now_ms = 100000;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2u << 20, .host.no_threads = 1,
                     .host.clock = read_clock, .tuning.no_explain = no_explain };
    cellar_namespace_config root = { .struct_size = sizeof root, .exact_age = 1 };
    cfg.config.root = &root;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static cellar_err put(cellar *c, const char *key, int64_t ttl_ms)
{
    return cellar_set(c, key, strlen(key), "value", 5, SET_OPTS(.ttl_ms = ttl_ms));
}

static cellar_reason why(cellar *c, const char *key)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, key, strlen(key), &r), CELLAR_OK);
    return r;
}

static void gone_by(cellar *c, const char *key, cellar_cause cause, int64_t ago_ms)
{
    const cellar_reason r = why(c, key);
    T_EQ_U64(r.answer, CELLAR_WHY_GONE);
    T_EQ_STR(cellar_cause_name((cellar_cause)r.cause), cellar_cause_name(cause));
    T_CHECK(r.ago_ms >= ago_ms - 63 && r.ago_ms <= ago_ms + 63);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(0), shut(c))

T_CASE_ON(why_reports_each_cause, STORE)
{
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_I64(put(c, "k", 0), CELLAR_OK);
    T_AFTER_U64(now_ms += 500, why(c, "k").answer, CELLAR_WHY_LIVE);
    T_EQ_I64(why(c, "k").age_ms, 500);
    /* deleted */
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    now_ms += 2000;
    gone_by(c, "k", CELLAR_CAUSE_DELETED, 2000);
    T_EQ_I64(cellar_delete(c, "other", 5), CELLAR_MISS); /* no entry: nothing to record */
    T_EQ_U64(why(c, "other").answer, CELLAR_WHY_UNKNOWN);
    /* live again */
    T_EQ_I64(put(c, "k", 0), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE);
    /* expired, before the reclaim and after it */
    T_EQ_I64(put(c, "e", 1000), CELLAR_OK);
    now_ms += 3000;
    gone_by(c, "e", CELLAR_CAUSE_EXPIRED, 2000);
    T_EQ_I64(why(c, "e").ttl_ms, 1000);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    now_ms += 4000;
    gone_by(c, "e", CELLAR_CAUSE_EXPIRED, 4000);
    T_CHECK(why(c, "e").age_ms >= 2900);
    /* stale, negative */
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 10000 };
    T_EQ_I64(cellar_set(c, "s", 1, "x", 1, &o), CELLAR_OK);
    T_AFTER_U64(now_ms += 200, why(c, "s").answer, CELLAR_WHY_STALE);
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_U64(why(c, "n").answer, CELLAR_WHY_NEGATIVE);
    /* refused */
    static char big[2u << 20];
    T_EQ_I64(cellar_set(c, "b", 1, big, sizeof big, NULL), CELLAR_E_TOOBIG);
    gone_by(c, "b", CELLAR_CAUSE_REJECTED, 0);
}

T_CASE(why_reports_clear_and_version_increment)
{
    cellar *c = closed_later(open_store(0)), *v = space_of(c, "v");
    T_EQ_I64(put(v, "k", 0), CELLAR_OK);
    T_EQ_I64(put(c, "k", 0), CELLAR_OK);
    now_ms += 1000;
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    now_ms += 5000;
    gone_by(v, "k", CELLAR_CAUSE_CLEARED, 5000);
    T_EQ_U64(why(v, "never").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE); /* in another namespace */
    T_EQ_I64(put(v, "b", 0), CELLAR_OK);
    T_EQ_I64(cellar_version_set(v, 0, NULL), CELLAR_OK);
    gone_by(v, "b", CELLAR_CAUSE_VERSION, 0);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {} /* reclaimed: the record answers */
    gone_by(v, "b", CELLAR_CAUSE_VERSION, 0);
    gone_by(v, "k", CELLAR_CAUSE_CLEARED, 0);
}

T_CASE_ON(why_reports_never_seen_only_with_authoritative_filter, STORE)
{
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_NOT_IN_SOURCE);
    T_EQ_I64(put(c, "k", 0), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    gone_by(c, "k", CELLAR_CAUSE_DELETED, 0);
}

T_CASE(why_without_record_reports_only_live_entries)
{
    cellar *c = closed_later(open_store(1));
    T_EQ_I64(put(c, "k", 0), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
}

T_CASE(bad_input_of_why)
{
    cellar *c = open_store(0), *v = space_of(c, "v"), *d = NULL;
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(NULL, "k", 1, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_why(c, NULL, 1, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_why(c, "k", 0, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_why(c, "k", 1, NULL), CELLAR_E_INVAL);
    r.struct_size = 2;
    T_EQ_I64(cellar_why(c, "k", 1, &r), CELLAR_E_INVAL);
    r.struct_size = sizeof r;
    T_AFTER_I64(shut(c), cellar_why(v, "k", 1, &r), CELLAR_E_CLOSED);
    close_now(v);
    settings cfg = { SETTINGS_SIZES, .tuning.no_explain = 2 };
    T_EQ_I64(settings_open(&cfg, &d), CELLAR_E_INVAL);
}

T_ONE_THREAD;
T_MAIN("api_why")
