/* SPDX-License-Identifier: MIT
 *
 * Aim:    a refused open and a refused rule leave a text that names call, argument, rule and remedy.
 * Method: one wrong argument at a time; the text and the code are those of cellar_last_error. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/open_error.h"
#include "tests/support/limit_kit.h"

static cellar_error_info kept(void)
{
    cellar_error_info e = cellar_error_info_default();
    base_open_error_get(&e);
    return e;
}

/* Check that the last refusal has this code, begins with the call and contains `part`. */
static void refused(cellar_err got, cellar_err want, const char *call, const char *part)
{
    const cellar_error_info e = kept();
    T_EQ_I64(got, want);
    T_EQ_I64(e.code, want);
    const bool begins = strncmp(e.text, call, strlen(call)) == 0 &&
                        strncmp(e.text + strlen(call), ": ", 2) == 0;
    if (!T_CHECK(begins && strstr(e.text, part) != NULL)) {
        printf("# wanted \"%s: ... %s\", got \"%s\"\n", call, part, e.text);
    }
    T_CHECK(strlen(e.text) < sizeof e.text - 1); /* not cut off */
}

static void open_refused(const cellar_limiter_config *c, const cellar_rule *rules, uint32_t count,
                         cellar_err want, const char *part)
{
    cellar_limiter *l = NULL;
    const cellar_err got = cellar_limiter_open(c, rules, count, &l);
    refused(got, want, "cellar_limiter_open", part);
    if (!T_CHECK(l == NULL)) { cellar_limiter_close(l); }
}

static void rule_refused(cellar_rule r, cellar_err want, const char *part)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 5), r };
    const cellar_limiter_config c = kit_config();
    open_refused(&c, rules, 2, want, part);
    const cellar_error_info e = kept();
    T_CHECK(strstr(e.text, ": rule 1: ") != NULL);
}

T_CASE(each_broken_rule_is_named)
{
    const cellar_rule good = cellar_rule_token_bucket(10, KIT_S, 5);
    char name[80];
    memset(name, 'x', sizeof name);
    name[64] = '\0';
#define BROKEN(code, part, maker, change) \
    do { \
        cellar_rule r = maker; \
        change; \
        rule_refused(r, code, part); \
    } while (0)
    BROKEN(CELLAR_E_INVAL, "algorithm is unknown", good, r.algorithm = (cellar_algorithm)0);
    BROKEN(CELLAR_E_INVAL, "algorithm is unknown", good, r.algorithm = (cellar_algorithm)6);
    BROKEN(CELLAR_E_INVAL, "flags and reserved", good, r.flags = 8);
    BROKEN(CELLAR_E_INVAL, "flags and reserved", good, r.reserved0 = 1);
    BROKEN(CELLAR_E_INVAL, "flags and reserved", good, r.reserved1 = 1);
    BROKEN(CELLAR_E_INVAL, "CHARGE_DENIED and STRICT need", cellar_rule_sliding_log(5, KIT_S),
           r.flags = CELLAR_RULE_STRICT);
    BROKEN(CELLAR_E_INVAL, "burst needs a token bucket", cellar_rule_sliding_log(5, KIT_S),
           r.burst = 1);
    BROKEN(CELLAR_E_INVAL, "period_ns must be at least 1", good, r.period_ns = 0);
    BROKEN(CELLAR_E_INVAL, "period_ns must be 0", cellar_rule_concurrency(3), r.period_ns = 1);
    BROKEN(CELLAR_E_INVAL, "name must have 1..63", good, r.name = "");
    BROKEN(CELLAR_E_INVAL, "name must have 1..63", good, r.name = name);
    BROKEN(CELLAR_E_INVAL, "name must have 1..63", good, r.name = "caf\xc3\xa9");
    BROKEN(CELLAR_E_INVAL, "calendar must be 1..5", good, r.calendar = 1);
    BROKEN(CELLAR_E_INVAL, "calendar must be 1..5",
           cellar_rule_fixed_window(5, CELLAR_PER_DAY), r.calendar = 6);
    BROKEN(CELLAR_E_INVAL, "burst must be at least 1", good, r.burst = 0);
    BROKEN(CELLAR_E_INVAL, "burst of a strict", cellar_rule_token_bucket_strict(10, KIT_S, 11),
           (void)0);
    BROKEN(CELLAR_E_RANGE, "period_ns and ban_ns", good, r.period_ns = CELLAR_PERIOD_MAX_NS + 1);
    BROKEN(CELLAR_E_RANGE, "period_ns and ban_ns", good, r.ban_ns = CELLAR_PERIOD_MAX_NS + 1);
    BROKEN(CELLAR_E_RANGE, "64e9 a second", good, r.limit = 64 * KIT_S + 1);
    BROKEN(CELLAR_E_RANGE, "refill within 400 days", good, r.burst = UINT64_MAX);
    BROKEN(CELLAR_E_RANGE, "sliding log must be at most 4096", cellar_rule_sliding_log(5, KIT_S),
           r.limit = CELLAR_SLIDING_LOG_MAX + 1);
    BROKEN(CELLAR_E_RANGE, "2^20 - 1", cellar_rule_sliding_window(5, KIT_S), r.limit = 1u << 20);
    BROKEN(CELLAR_E_RANGE, "2^20 - 1", cellar_rule_concurrency(5), r.limit = 1u << 20);
    BROKEN(CELLAR_E_RANGE, "2^34 - 1", cellar_rule_fixed_window(5, CELLAR_PER_DAY),
           r.limit = UINT64_C(1) << 34);
#undef BROKEN
    const cellar_rule two[2] = { cellar_rule_concurrency(1), cellar_rule_concurrency(2) };
    open_refused(NULL, two, 2, CELLAR_E_INVAL, "rule 1: a limiter has at most one concurrency");
}

static int no_write(const void *bytes, size_t len, bool last, void *ctx)
{
    (void)bytes, (void)len, (void)last, (void)ctx;
    return 0;
}
static int no_read(void *buf, size_t buf_cap, size_t *len, void *ctx)
{
    (void)buf, (void)buf_cap, (void)ctx;
    *len = 0;
    return 0;
}

T_CASE(each_broken_option_is_named)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 5);
    const cellar_rule fixed = cellar_rule_fixed_window(5, CELLAR_PER_DAY);
#define BROKEN(code, part, change) \
    do { \
        cellar_limiter_config c = kit_config(); \
        change; \
        open_refused(&c, &rule, 1, code, part); \
    } while (0)
    BROKEN(CELLAR_E_INVAL, "cellar_limiter_config_default()", c.struct_size = 0);
    BROKEN(CELLAR_E_ABI, "cellar_limiter_config_default()", c.struct_size = sizeof c - 1);
    BROKEN(CELLAR_E_ABI, "another library", c.abi = CELLAR_ABI + 1);
    BROKEN(CELLAR_E_INVAL, "overflow must be", c.overflow = (cellar_overflow)3);
    BROKEN(CELLAR_E_INVAL, "set together", c.snapshot_write = no_write);
    BROKEN(CELLAR_E_INVAL, "set together", c.snapshot_read = no_read);
    BROKEN(CELLAR_E_INVAL, "snapshot_path excludes", c.snapshot_write = no_write;
           c.snapshot_read = no_read; c.snapshot_path = "/tmp/x");
    BROKEN(CELLAR_E_INVAL, "snapshot_interval_ms needs", c.snapshot_interval_ms = 1);
    BROKEN(CELLAR_E_INVAL, "snapshot_path must end", c.snapshot_path = "/tmp/");
    BROKEN(CELLAR_E_INVAL, "coarse_clock must be", c.coarse_clock = 2);
    BROKEN(CELLAR_E_INVAL, "coarse_clock excludes", c.coarse_clock = 1);
    BROKEN(CELLAR_E_INVAL, "max_permits must be", c.max_permits = (1u << 20) + 1);
    BROKEN(CELLAR_E_INVAL, "max_plans must be", c.max_plans = (1u << 20) + 1);
    BROKEN(CELLAR_E_INVAL, "max_overrides must be", c.max_overrides = (1u << 26) + 1);
    BROKEN(CELLAR_E_SPACE, "max_bytes is too small for one bucket", c.max_bytes = 4096);
    BROKEN(CELLAR_E_NOMEM, "lower it", c.max_bytes = UINT64_MAX);
    BROKEN(CELLAR_E_NOMEM, "lower it", c.max_bytes = UINT64_MAX / 4096);
    cellar_host_config h = cellar_host_config_default();
    BROKEN(CELLAR_E_INVAL, "cellar_host_config_default()", c.host = &h; h.struct_size = 1);
    h = cellar_host_config_default();
    h.free = (cellar_free_fn)(void (*)(void))abort;
    BROKEN(CELLAR_E_INVAL, "host.alloc and host.free", c.host = &h);
    h = cellar_host_config_default();
    h.log_level = (cellar_log_level)99;
    BROKEN(CELLAR_E_INVAL, "host.log_level", c.host = &h);
    h = cellar_host_config_default();
    h.name = "line\n";
    BROKEN(CELLAR_E_INVAL, "host.name", c.host = &h);
    struct { cellar_limiter_config c; uint64_t later; } newer = { kit_config(), 1 };
    newer.c.struct_size = sizeof newer;
    open_refused(&newer.c, &rule, 1, CELLAR_E_UNSUPPORTED, "a field that this library");
    cellar_limiter_config c = kit_config();
    c.clock_ns = NULL;
    c.coarse_clock = 1;
    const cellar_rule fast = cellar_rule_token_bucket(11000000, KIT_S, 5);
    open_refused(&c, &fast, 1, CELLAR_E_INVAL, "rule 0: coarse_clock needs");
    c = kit_config();
    c.zone = "Nowhere/Town";
    open_refused(&c, &fixed, 1, CELLAR_E_NOT_FOUND, "zone is unknown");
#undef BROKEN
}

T_CASE(missing_arguments_are_named)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 5);
    refused(cellar_limiter_open(NULL, &rule, 1, NULL), CELLAR_E_INVAL, "cellar_limiter_open",
            "out must not be NULL");
    open_refused(NULL, NULL, 1, CELLAR_E_INVAL, "rules must not be NULL");
    open_refused(NULL, &rule, 0, CELLAR_E_INVAL, "rule_count must be 1..7 (got 0)");
    open_refused(NULL, &rule, 8, CELLAR_E_INVAL, "rule_count must be 1..7 (got 8)");
    refused(cellar_limiter_check(NULL, "k", 1, 1, NULL), CELLAR_E_INVAL, "cellar_limiter_check",
            "l and key must not be NULL");
    cellar_limiter *l = NULL;
    T_EQ_I64(cellar_limiter_open(NULL, &rule, 1, &l), CELLAR_OK);
    refused(cellar_limiter_check(l, "k", 0, 1, NULL), CELLAR_E_INVAL, "cellar_limiter_check",
            "1..65,535 bytes (got 0)");
    cellar_limiter_close(l);
}

/* Each allocation of an open fails once: the text names what is missing. */
T_CASE(each_missing_memory_is_named)
{
    const cellar_rule rules[3] = { cellar_rule_fixed_window(5, CELLAR_PER_DAY),
                                   cellar_rule_sliding_log(5, KIT_S), cellar_rule_concurrency(5) };
    for (int file = 0; file < 2; file++) {
        cellar_limiter_config c = kit_config();
        c.zone = file != 0 ? "Europe/Berlin" : "+08:00";
        c.snapshot_path = file != 0 ? "build/limit-oom.snapshot" : NULL;
        c.snapshot_write = file != 0 ? NULL : no_write;
        c.snapshot_read = file != 0 ? NULL : no_read;
        unsigned failed = 0;
        for (uint64_t nth = 1;; nth++) {
            cellar_limiter *l = NULL;
            (void)base_fault_alloc_arm(nth, false);
            const cellar_err err = cellar_limiter_open(&c, rules, 3, &l);
            const bool armed = base_fault_alloc_arm(0, false) >= nth;
            if (err == CELLAR_OK) {
                cellar_limiter_close(l);
                if (!armed) { break; }
                continue;
            }
            failed++;
            if (err == CELLAR_E_NOT_FOUND && !armed) { break; } /* no zone files */
            refused(err, CELLAR_E_NOMEM, "cellar_limiter_open", "no ");
        }
        T_CHECK(failed >= 5 || file != 0); /* handle, zone, mapping, snapshot, fork */
    }
    unlink("build/limit-oom.snapshot");
}

T_CASE(rules_of_calls_are_named)
{
    const cellar_rule open_rules[2] = { cellar_rule_sliding_log(5, KIT_S),
                                        cellar_rule_sliding_window(9, KIT_S) };
    cellar_limiter *l = kit_open(open_rules, 2);
    cellar_rule r[2] = { open_rules[0], open_rules[1] };
    refused(cellar_limiter_rules_set(l, NULL, 0, NULL, r, 1), CELLAR_E_INVAL,
            "cellar_limiter_rules_set",
            "rule_count must be 2, as at the open (got 1)");
    refused(cellar_limiter_rules_set(l, NULL, 0, NULL, NULL, 2), CELLAR_E_INVAL,
            "cellar_limiter_rules_set",
            "rule_count must be 2");
    r[1].period_ns *= 2;
    refused(cellar_limiter_rules_set(l, "k", 1, NULL, r, 2), CELLAR_E_INVAL,
            "cellar_limiter_rules_set", "rule 1: period_ns of a sliding window");
    r[1] = open_rules[0];
    refused(cellar_limiter_rules_set(l, NULL, 0, "gold", r, 2), CELLAR_E_INVAL,
            "cellar_limiter_rules_set",
            "rule 1: algorithm and calendar");
    r[1] = open_rules[1];
    r[0].limit = 6;
    refused(kit_check_rules(l, "k", 1, 1, r, 2, NULL), CELLAR_E_RANGE, "cellar_limiter_check_with",
            "rule 0: limit of a sliding log must be at most that of the open");
    r[0].limit = CELLAR_SLIDING_LOG_MAX + 1;
    refused(kit_check_rules(l, "k", 1, 1, r, 2, NULL), CELLAR_E_RANGE, "cellar_limiter_check_with",
            "rule 0: limit of a sliding log must be at most 4096");
    refused(cellar_limiter_rules_set(l, NULL, 0, "", open_rules, 2), CELLAR_E_INVAL,
            "cellar_limiter_rules_set", "plan must have 1..63");
    kit_close(l);
}

T_CASE(user_limiter_names_its_arguments)
{
    cellar_limiter *l = NULL;
    const cellar_limiter_config c = kit_config();
    T_REQUIRE(cellar_user_limiter_open(&c, &l) == CELLAR_OK);
    refused(cellar_user_limiter_check(l, "u", 1, 5, 0, NULL), CELLAR_E_INVAL,
            "cellar_user_limiter_check", "window_s must be 1..34560000 (got 0)");
    refused(cellar_user_limiter_check(l, "u", 1, 5, 34560001, NULL), CELLAR_E_RANGE,
            "cellar_user_limiter_check", "(got 34560001)");
    refused(cellar_user_limiter_check(l, "u", 1, CELLAR_USER_LIMIT_MAX + 1, 1, NULL),
            CELLAR_E_RANGE, "cellar_user_limiter_check", "limit of a sliding log must be at most");
    kit_close(l);
}

T_CASE(calls_on_a_limiter_of_permits_name_the_call_to_use)
{
    cellar_limiter *l = kit_open1(cellar_rule_concurrency(2));
    cellar_limiter_ticket t, none;
    uint64_t wait_ns = 1;
    memset(&none, 0, sizeof none);
    memset(&t, 0xff, sizeof t);
    refused(cellar_limiter_check(l, "k", 1, 1, NULL), CELLAR_E_INVAL, "cellar_limiter_check",
            "use cellar_permit_acquire");
    refused(cellar_limiter_wait(l, "k", 1, 1, 0, NULL), CELLAR_E_INVAL, "cellar_limiter_wait",
            "use cellar_permit_acquire");
    refused(cellar_limiter_reserve(l, "k", 1, 1, 0, &t, &wait_ns, NULL), CELLAR_E_INVAL,
            "cellar_limiter_reserve", "use cellar_permit_acquire");
    T_CHECK(memcmp(&t, &none, sizeof t) == 0); /* an output of a call that failed */
    T_EQ_U64(wait_ns, 0);
    T_EQ_I64(cellar_limiter_commit(l, &t, 1), CELLAR_OK);
    kit_close(l);
}

T_CASE(calls_of_permits_name_their_arguments)
{
    const cellar_rule bucket = cellar_rule_token_bucket(10, KIT_S, 5);
    cellar_limiter *l = kit_open1(cellar_rule_concurrency(2)), *other = kit_open1(bucket);
    uint64_t token;
    refused(cellar_permit_acquire(l, NULL, 1, 1, &token, NULL), CELLAR_E_INVAL,
            "cellar_permit_acquire", "l and key must not be NULL");
    refused(cellar_permit_acquire(l, "k", 0, 1, &token, NULL), CELLAR_E_INVAL,
            "cellar_permit_acquire", "key must have 1..65,535 bytes (got 0)");
    refused(cellar_permit_acquire(l, "k", 1, -3, &token, NULL), CELLAR_E_INVAL,
            "cellar_permit_acquire", "hold_ms must be at least 1 (got -3)");
    refused(cellar_permit_acquire(l, "k", 1, 1, NULL, NULL), CELLAR_E_INVAL,
            "cellar_permit_acquire", "token must not be NULL");
    refused(cellar_permit_extend(l, "k", 1, 7, 0), CELLAR_E_INVAL, "cellar_permit_extend",
            "hold_ms must be at least 1 (got 0)");
    refused(cellar_permit_release(other, "k", 1, 7), CELLAR_E_INVAL, "cellar_permit_release",
            "the limiter has no concurrency rule: use cellar_limiter_check");
    kit_close(other);
    kit_close(l);
}

T_MAIN("limit_refusals")
