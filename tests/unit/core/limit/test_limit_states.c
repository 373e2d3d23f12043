/* SPDX-License-Identifier: MIT
 *
 * Aim:    each call gives a defined answer for a key in each state: unknown, used, banned, planned,
 *         banned and planned, reset, all reset.
 * Method: every form of limiter x every state x every call. The result starts full of 0xa5 and must
 *         be complete afterwards. A sanitizer sees reads of values that no rule wrote: an undefined
 *         bool shows as a trap of UBSan, any other value under valgrind or MSan. */
#include "tests/support/limit_kit.h"

enum { FORMS = 8, STATES = 8, CALLS = 18 };

typedef struct form {
    cellar_rule rule[3];
    uint32_t count;
    bool permits;
} form;

static form form_of(int number)
{
    form f = { { cellar_rule_token_bucket(10, KIT_S, 5), cellar_rule_sliding_log(4, KIT_S),
                 cellar_rule_concurrency(2) }, 1, false };
    switch (number) {
    case 0: break;
    case 1: f.rule[0] = cellar_rule_sliding_window(5, KIT_S); break;
    case 2: f.rule[0] = cellar_rule_fixed_window(5, CELLAR_PER_DAY); break;
    case 3: f.rule[0] = cellar_rule_sliding_log(5, KIT_S); break;
    case 4: f.count = 2; break;
    case 5: f.rule[0] = cellar_rule_concurrency(2); f.permits = true; break;
    case 6: f.count = 3; f.permits = true; break;
    default: /* each denial bans */
        f.count = 3;
        f.permits = true;
        f.rule[0].ban_ns = f.rule[1].ban_ns = KIT_S;
        f.rule[0].flags |= CELLAR_RULE_CHARGE_DENIED;
    }
    return f;
}

/* Bring the key "k" into a state. Return whether it is banned then. */
static bool reach(cellar_limiter *l, const form *f, int state)
{
    uint64_t token;
    const bool used = state != 0, banned = state == 2 || state == 4 || state >= 5;
    const bool planned = state == 3 || state == 4 || state == 7;
    if (used && f->permits) {
        T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    } else if (used) {
        T_CHECK(cellar_limiter_check(l, "k", 1, 1, NULL) == CELLAR_OK);
    }
    if (planned) {
        T_CHECK(cellar_limiter_rules_set(l, "k", 1, NULL, f->rule, f->count) == CELLAR_OK);
    }
    if (banned) { T_CHECK(cellar_limiter_ban(l, "k", 1, 10 * KIT_S) == CELLAR_OK); }
    if (state == 5 || state == 7) { T_CHECK(cellar_limiter_reset(l, "k", 1, NULL) == CELLAR_OK); }
    if (state == 6) { T_CHECK(cellar_limiter_reset(l, NULL, 0, NULL) == CELLAR_OK); }
    return state == 2 || state == 4;
}

/* Check that every field of a result was written. */
static bool is_complete(const form *f, const cellar_limiter_result *r, cellar_err err, bool banned)
{
    const bool admitted = err == CELLAR_OK;
    bool ok = r->allowed == admitted && r->would_deny == 0 && r->never == 0;
    ok = ok && r->now_ns == kit_clock(NULL) && r->limit <= 10 && r->remaining <= 5;
    ok = ok && r->reset_after_ns <= CELLAR_DAY_NS;
    if (!banned) { return ok && r->rule < f->count && admitted && r->retry_after_ns == 0; }
    ok = ok && !admitted && r->retry_after_ns == 10 * KIT_S;
    return ok && r->rule == CELLAR_RULE_BAN;
}

static bool count_entry(const cellar_limiter_entry *e, void *ctx)
{
    *(uint64_t *)ctx += e->rule_count >= 1 && e->rule_count <= 3 && e->overridden <= 1;
    return true;
}

/* The calls that fill a result; E_INVAL: this form of limiter has no such call. */
static cellar_err decide(cellar_limiter *l, const form *f, int call, cellar_limiter_result *r)
{
    const cellar_limiter_link link = { l, "k", 1, 1 };
    cellar_limiter_ticket t;
    uint64_t token, wait_ns;
    switch (call) {
    case 0: return cellar_limiter_check(l, "k", 1, 1, r);
    case 1: return kit_check_at(l, "k", 1, 1, kit_clock(NULL), r);
    case 2: return kit_check_rules(l, "k", 1, 1, f->rule, f->count, r);
    case 3: return kit_look(l, "k", 1, 1, r);
    case 4: return cellar_limiter_check_chain(&link, 1, r, NULL);
    case 5: return cellar_limiter_reserve(l, "k", 1, 1, 0, &t, &wait_ns, r);
    case 6: return cellar_limiter_wait(l, "k", 1, 1, 0, r);
    default: return cellar_permit_acquire(l, "k", 1, 1000, &token, r);
    }
}

/* The calls without a result. */
static void act(cellar_limiter *l, const form *f, int call)
{
    uint64_t seen = 0;
    cellar_limiter_stats s = cellar_limiter_stats_default();
    const cellar_err mine = f->permits ? CELLAR_E_NOT_OWNER : CELLAR_E_INVAL;
    switch (call) {
    case 8: T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -2), CELLAR_OK); break;
    case 9: T_EQ_I64(cellar_limiter_adjust(l, "k", 1, 2), CELLAR_OK); break;
    case 10: T_EQ_I64(cellar_limiter_ban(l, "k", 1, KIT_S), CELLAR_OK); break;
    case 11: T_EQ_I64(cellar_permit_release(l, "k", 1, 99), mine); break;
    case 12: T_EQ_I64(cellar_permit_extend(l, "k", 1, 99, 5), mine); break;
    case 13: T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, f->rule, f->count), CELLAR_OK);
        break;
    case 14: T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, f->rule, f->count), CELLAR_OK);
        break;
    case 15: T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, NULL, 0), CELLAR_OK); break;
    case 16: T_EQ_I64(cellar_limiter_reset(l, "k", 1, NULL), CELLAR_OK); break;
    default: T_EQ_I64(cellar_tick(l, 0, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_limiter_scan(l, count_entry, &seen), CELLAR_OK);
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    T_CHECK(seen == s.keys);
}

static void one_call(const form *f, int state, int call)
{
    cellar_limiter *l = kit_open(f->rule, f->count);
    const bool banned = reach(l, f, state);
    if (call >= 8) {
        act(l, f, call);
        kit_close(l);
        return;
    }
    cellar_limiter_result r;
    char text[400];
    memset(&r, 0xa5, sizeof r);
    const cellar_err err = decide(l, f, call, &r);
    if (call != 3 && (call == 7) != f->permits) {
        T_EQ_I64(err, CELLAR_E_INVAL);
    } else {
        const cellar_err no = call == 6 ? CELLAR_E_TIMEOUT : CELLAR_LIMITED;
        T_EQ_I64(err, banned ? no : CELLAR_OK);
        T_CHECK(is_complete(f, &r, err, banned));
        T_EQ_I64(cellar_limiter_headers_write(l, &r, 15, text, sizeof text, NULL), CELLAR_OK);
    }
    kit_close(l);
}

T_CASE(each_call_answers_for_a_key_in_each_state)
{
    for (int n = 0; n < FORMS; n++) {
        const form f = form_of(n);
        for (int state = 0; state < STATES; state++) {
            for (int call = 0; call < CALLS; call++) {
                if (t_failed()) { return; }
                one_call(&f, state, call);
                if (t_failed()) {
                    printf("# form %d, state %d, call %d\n", n, state, call);
                }
            }
        }
    }
}

/* A ban that a permit met is not longer afterwards, and writes nothing else. */
T_CASE(permit_of_a_banned_key_changes_nothing)
{
    const form f = form_of(7);
    cellar_limiter *l = kit_open(f.rule, f.count);
    cellar_limiter_result r;
    uint64_t token;
    T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    T_CHECK(cellar_limiter_ban(l, "k", 1, KIT_S / 2) == CELLAR_OK);
    for (int i = 0; i < 20; i++) {
        T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, &r) == CELLAR_LIMITED);
        T_CHECK(r.rule == CELLAR_RULE_BAN && r.retry_after_ns == KIT_S / 2 && token == 0);
    }
    kit_pass(KIT_S / 2);
    T_CHECK(cellar_permit_acquire(l, "k", 1, 1000, &token, NULL) == CELLAR_OK);
    kit_close(l);
}

T_ONE_THREAD;
T_MAIN("cellar_limit_states")
