/* SPDX-License-Identifier: MIT
 *
 * Aim:    No interleaving of checks, takeovers of slots, moves, resets, rule changes, tickets and
 *         permits admits more than the algorithm's bound, or denies a key that its own history
 *         lets pass. Scenarios catch the mistakes that can be switched on in src/core/limit
 *         ("limit.*").
 * Method: A few fibers with random calls on few keys in a table of few slots, and a clock that any
 *         of them turns. Every admission is recorded with the reading its decision used and with
 *         the event clock of its call. At the end:
 *         bound    of each key, between two resets of it: units admitted with readings in [a, b]
 *                  are at most burst + (b - a) / T, for every pair
 *         needless a denial is checked against everything that may have been admitted before it
 *                  ended: if even that leaves room, the denial had no reason */
#include "tests/concurrency/sim/scenarios.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "limit/calendar.h"
#include "tests/support/limit_audit.h"

enum { RL_KEYS = 16, RL_EVENTS = 512, RL_T_NS = 100 };

typedef struct rl_event {
    uint32_t key, start, end; /* event clock */
    uint64_t now_ns;
    bool admitted, undone;    /* undone: given back, it counts as never taken */
    bool full;                /* denied because no slot was free: nothing is owed */
} rl_event;

static struct rl {
    cellar_limiter *l;
    _Atomic uint64_t now_ns;
    uint32_t clock, count, resets;
    uint64_t burst, step_ns;  /* parameters of the bound */
    bool denies_more;         /* denials have other reasons as well: not checked */
    rl_event event[RL_EVENTS];
    struct { uint32_t key, start, end; } reset[64];
} rl;

static uint64_t rl_clock(void *ctx) { (void)ctx; return base_load_acq(&rl.now_ns); }

static uint8_t rl_layout; /* of keys over buckets: part of the hash key */

static void rl_key(uint32_t key, char *out) { snprintf(out, 8, "key%u", key); }

/* Open a limiter with one region of so many buckets. Calm begins, until rl_start. */
static void rl_open_at(const cellar_rule *rules, uint32_t count, uint32_t buckets,
                       cellar_limiter_clock_fn wall_ms)
{
    const uint8_t hash_key[32] = { 1, rl_layout };
    base_sim_calm(true);
    memset(&rl, 0, sizeof rl);
    base_store_rel(&rl.now_ns, UINT64_C(5000000000));
    cellar_limiter_config c = cellar_limiter_config_default();
    c.max_bytes = 256u << 10;
    c.max_overrides = 8;
    c.max_plans = 2;
    c.max_permits = 16;
    c.clock_ns = rl_clock;
    c.wall_ms = wall_ms;
    c.hash_key = hash_key;
    c.overflow = CELLAR_OVERFLOW_DENY_NEW;
    BASE_SIM_CHECK(cellar_limiter_open(&c, rules, count, &rl.l) == CELLAR_OK);
    rl.burst = rules[0].burst;
    rl.step_ns = RL_T_NS;
    rl.l->regions = 1;
    rl.l->region_buckets = buckets;
    base_store_rel(&rl.l->state, (uint64_t)1);
}

static void rl_open(const cellar_rule *rules, uint32_t count, uint32_t buckets)
{
    rl_open_at(rules, count, buckets, NULL);
}

/* End the calm, and start so many callers; each knows its number. */
static void rl_start(uint32_t callers, void (*fn)(void *))
{
    base_sim_calm(false);
    for (uintptr_t i = 0; i < callers; i++) { base_sim_spawn("caller", fn, (void *)i); }
}

static void rl_note(uint32_t key, uint32_t start, const cellar_limiter_result *r)
{
    BASE_SIM_CHECK(rl.count < RL_EVENTS);
    const bool full = r->allowed == 0 && r->remaining > 0;
    const rl_event e = { key, start, ++rl.clock, r->now_ns, r->allowed != 0, false, full };
    rl.event[rl.count++] = e;
    base_sim_note("key%u at %llu: %s", key, (unsigned long long)(r->now_ns % 1000000),
                  r->allowed ? "yes" : "no");
}

static void rl_check(uint32_t key)
{
    char name[8];
    cellar_limiter_result r;
    rl_key(key, name);
    const uint32_t start = ++rl.clock;
    const cellar_err e = cellar_limiter_check(rl.l, name, strlen(name), 1, &r);
    BASE_SIM_CHECK(e == CELLAR_OK || e == CELLAR_LIMITED);
    rl_note(key, start, &r);
}

/* Reserve a unit of the key. Return the number of its event, and whether it was admitted. */
static uint32_t rl_reserve(uint32_t key, cellar_limiter_ticket *t, bool *admitted)
{
    char name[8];
    cellar_limiter_result r;
    rl_key(key, name);
    const uint32_t start = ++rl.clock;
    const cellar_err e = cellar_limiter_reserve(rl.l, name, strlen(name), 1, 0, t, NULL, &r);
    BASE_SIM_CHECK(e == CELLAR_OK || e == CELLAR_LIMITED);
    rl_note(key, start, &r);
    *admitted = e == CELLAR_OK;
    return rl.count - 1;
}

static void rl_reset(uint32_t key)
{
    char name[8];
    rl_key(key, name);
    const uint32_t start = ++rl.clock, i = rl.resets++;
    BASE_SIM_CHECK(i < 64);
    rl.reset[i].key = key;
    rl.reset[i].start = start;
    rl.reset[i].end = UINT32_MAX;
    BASE_SIM_CHECK(cellar_limiter_reset(rl.l, name, strlen(name), NULL) == CELLAR_OK);
    rl.reset[i].end = ++rl.clock;
    base_sim_note("key%u reset", key);
}

static void rl_pass(uint64_t ns) { (void)base_add_ar(&rl.now_ns, ns); }

/* Could a reset of the key lie between the two calls' decisions? */
static bool rl_reset_between(const rl_event *a, const rl_event *b)
{
    const uint32_t from = a->start < b->start ? a->start : b->start;
    const uint32_t to = a->end > b->end ? a->end : b->end;
    for (uint32_t i = 0; i < rl.resets; i++) {
        if (rl.reset[i].key == a->key && rl.reset[i].start < to && rl.reset[i].end > from) {
            return true;
        }
    }
    return false;
}

static void rl_check_bound(uint32_t a, uint32_t b)
{
    const rl_event *x = &rl.event[a], *y = &rl.event[b];
    if (!x->admitted || x->undone || !y->admitted || y->undone || x->key != y->key ||
        x->now_ns > y->now_ns || rl_reset_between(x, y)) {
        return;
    }
    uint64_t n = 0;
    for (uint32_t i = 0; i < rl.count; i++) {
        const rl_event *e = &rl.event[i];
        if (e->key == x->key && e->admitted && !e->undone && e->now_ns >= x->now_ns &&
            e->now_ns <= y->now_ns && !rl_reset_between(x, e) && !rl_reset_between(e, y)) {
            n++;
        }
    }
    const uint64_t most = rl.burst + (y->now_ns - x->now_ns) / rl.step_ns;
    if (n > most) {
        base_sim_fail("key%u: %llu admitted within %llu ns, at most %llu", x->key,
                      (unsigned long long)n, (unsigned long long)(y->now_ns - x->now_ns),
                      (unsigned long long)most);
    }
}

static void rl_check_bounds(void)
{
    for (uint32_t a = 0; a < rl.count; a++) {
        for (uint32_t b = 0; b < rl.count; b++) { rl_check_bound(a, b); }
    }
}

/* Was the key reset between the two, for certain? Then `a` owes nothing any more. */
static bool rl_forgiven(const rl_event *a, const rl_event *d)
{
    for (uint32_t i = 0; i < rl.resets; i++) {
        if (rl.reset[i].key == a->key && rl.reset[i].start > a->end &&
            rl.reset[i].end < d->start) {
            return true;
        }
    }
    return false;
}

/* Return the most the key can owe when the denial was decided: some admission found it idle, and
 * every admission that may have come after that one, and before the denial ended, is added. */
static void rl_check_needless(const rl_event *d)
{
    uint64_t debt = 0;
    for (uint32_t i = 0; i < rl.count; i++) {
        const rl_event *first = &rl.event[i];
        uint64_t n = 0;
        if (first->key != d->key || !first->admitted || first->start >= d->end ||
            rl_forgiven(first, d)) {
            continue;
        }
        for (uint32_t k = 0; k < rl.count; k++) {
            const rl_event *e = &rl.event[k];
            n += e->key == d->key && e->admitted && e->start < d->end && e->end >= first->start &&
                 !rl_forgiven(e, d);
        }
        const uint64_t tat = first->now_ns + n * rl.step_ns;
        if (tat > d->now_ns && tat - d->now_ns > debt) { debt = tat - d->now_ns; }
    }
    if (debt + rl.step_ns <= rl.burst * rl.step_ns) {
        base_sim_fail("key%u denied without need: owes %llu ns of %llu", d->key,
                      (unsigned long long)debt, (unsigned long long)(rl.burst * rl.step_ns));
    }
}

static void rl_end(void)
{
    const char *why = "";
    base_sim_join_all();
    base_sim_calm(true);
    if (!limit_audit(rl.l, &why)) { base_sim_fail("audit: %s", why); }
    rl_check_bounds();
    for (uint32_t a = 0; a < rl.count; a++) {
        const bool asked = !rl.event[a].admitted && !rl.event[a].full && !rl.denies_more;
        if (asked) { rl_check_needless(&rl.event[a]); }
    }
    cellar_limiter_close(rl.l);
}

/* ---- two keys for one slot, which dies by time and by reset ---- */

static void rl_swap_fiber(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < 8; i++) {
        switch (base_sim_below(8)) {
        case 0: rl_pass(RL_T_NS * (1 + base_sim_below(3))); break;
        case 1: rl_reset((uint32_t)base_sim_below(2)); break;
        case 2: base_sim_hold(1 + base_sim_below(12)); break;
        default: rl_check(base_sim_below(3) == 0 ? 1 - me % 2 : me % 2); break;
        }
    }
}

static void rl_fill(uint32_t slots)
{
    for (uint32_t k = 8; k < 8 + slots; k++) { /* never dead again: debts of weeks */
        char name[8];
        rl_key(k, name);
        BASE_SIM_CHECK(cellar_limiter_adjust(rl.l, name, strlen(name), 1u << 30) == CELLAR_OK);
    }
}

static void rl_swap(const cellar_rule *rules, uint32_t count, uint32_t filled)
{
    rl_open(rules, count, 1);
    rl_fill(filled);
    rl_start(4, rl_swap_fiber);
    rl_end();
}
static void rl_swap_one(uint32_t filled)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 1 + base_sim_below(2));
    rl_swap(&rule, 1, filled);
}
SIM_SCENARIO(limit_slot, "two keys take turns in the only slot left") { rl_swap_one(3); }
SIM_SCENARIO(limit_swap, "two keys in two slots: no denial without need either") { rl_swap_one(2); }

/* ---- moves: fourteen keys in four buckets, no key may be lost ---- */

static uint64_t rl_move_pass; /* long: keys die, and others are moved into their slots */
static void rl_move_fiber(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < 10; i++) {
        rl_check(i % 2 == 0 ? me * 4 + (uint32_t)base_sim_below(4) : (uint32_t)base_sim_below(14));
        if (base_sim_below(8) == 0) { rl_pass(rl_move_pass); }
    }
}

static void rl_move(const cellar_rule *rules, uint32_t count, uint64_t pass_ns)
{
    rl_move_pass = pass_ns;
    rl_layout = (uint8_t)base_sim_below(256);
    rl_open(rules, count, 4);
    rl_layout = 0;
    for (uint32_t k = 0; k < 9; k++) { rl_check(k); }
    rl_start(4, rl_move_fiber);
    rl_end();
}
SIM_SCENARIO(limit_move, "keys move to their other bucket while they are charged")
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 2);
    rl_move(&rule, 1, base_sim_below(2) == 0 ? 1 : RL_T_NS);
}

/* ---- changing rules, plans, bans ---- */

SIM_FIBER(rl_change_fiber)
{
    for (int i = 0; i < 3; i++) { /* the same rate under another burst and back */
        const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, i % 2 == 0 ? 2 : 4);
        BASE_SIM_CHECK(cellar_limiter_rules_set(rl.l, NULL, 0, NULL, &rule, 1) == CELLAR_OK);
    }
}
static void rl_user_fiber(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < 8; i++) {
        rl_check(me % 2);
        if (base_sim_below(6) == 0) { rl_pass(RL_T_NS / 2); }
    }
}
SIM_SCENARIO(limit_rules, "rules change while keys are charged: no charge is lost")
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 4);
    rl_open(&rule, 1, 2);
    rl.denies_more = true; /* the smaller burst denies more */
    base_sim_spawn("changer", rl_change_fiber, NULL);
    rl_start(3, rl_user_fiber);
    /* A debt keeps its share: what drains from the smaller bucket in a while is twice as much in
     * the larger one. */
    rl.step_ns = RL_T_NS / 2;
    rl.burst = 4 + 1;
    rl_end();
}

/* Rules with the same numbers: every charge must survive the change exactly. */
SIM_FIBER(rl_same_fiber)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 3);
    for (int i = 0; i < 3; i++) {
        BASE_SIM_CHECK(cellar_limiter_rules_set(rl.l, NULL, 0, NULL, &rule, 1) == CELLAR_OK);
        BASE_SIM_CHECK(cellar_limiter_rules_set(rl.l, "key0", 4, NULL, &rule, 1) == CELLAR_OK);
        BASE_SIM_CHECK(cellar_limiter_rules_set(rl.l, "key0", 4, NULL, NULL, 0) == CELLAR_OK);
    }
}
SIM_SCENARIO(limit_same, "the same rules again and again, plans come and go")
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 3);
    rl_open(&rule, 1, 2);
    base_sim_spawn("changer", rl_same_fiber, NULL);
    rl_start(3, rl_user_fiber);
    rl_end();
}

/* ---- tickets: a take that is returned later may deny others meanwhile ---- */

static void rl_tickets(uint64_t burst, void (*fn)(void *))
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, burst);
    rl_open(&rule, 1, 2);
    rl.denies_more = true;
    rl_start(3, fn);
    rl_end();
}

static void rl_ticket_fiber(void *arg)
{
    const uint32_t key = (uint32_t)(uintptr_t)arg % 2;
    for (int i = 0; i < 6; i++) {
        cellar_limiter_ticket t;
        bool admitted;
        if (base_sim_below(2) == 0) { rl_pass(base_sim_below(3 * RL_T_NS)); }
        if (base_sim_below(3) != 0) {
            rl_check(key);
            continue;
        }
        const uint32_t mine = rl_reserve(key, &t, &admitted);
        if (!admitted || base_sim_below(4) == 0) { continue; }
        if (base_sim_below(2) == 0) { rl_pass(base_sim_below(3 * RL_T_NS)); }
        BASE_SIM_CHECK(cellar_limiter_commit(rl.l, &t, 0) == CELLAR_OK);
        rl.event[mine].undone = true;
    }
}
SIM_SCENARIO(limit_ticket, "takes given back sooner and later mint nothing")
{
    rl_tickets(2, rl_ticket_fiber);
}

/* Resets end tickets: one of before gives nothing back, however they meet. */
SIM_FIBER(rl_lost_fiber)
{
    for (int i = 0; i < 8; i++) {
        cellar_limiter_ticket t;
        bool admitted;
        if (base_sim_below(4) == 0) { rl_reset(0); }
        const uint32_t mine = rl_reserve(0, &t, &admitted);
        if (!admitted || base_sim_below(2) == 0) { continue; }
        const cellar_err back = cellar_limiter_commit(rl.l, &t, 0);
        BASE_SIM_CHECK(back == CELLAR_OK || back == CELLAR_INVALIDATED);
        rl.event[mine].undone = back == CELLAR_OK;
    }
}
SIM_SCENARIO(limit_ticket_lost, "a ticket of before a reset gives nothing back")
{
    rl_tickets(3, rl_lost_fiber);
}

/* Several of one key taken at a time, returned in any order. */
SIM_FIBER(rl_tickets_fiber)
{
    cellar_limiter_ticket t[2];
    uint32_t at[2];
    bool out[2] = { false, false };
    for (int i = 0; i < 8; i++) {
        const uint64_t which = base_sim_below(2);
        rl_pass(base_sim_below(RL_T_NS));
        if (base_sim_below(4) == 0) {
            rl_check(0);
        } else if (out[which]) {
            BASE_SIM_CHECK(cellar_limiter_commit(rl.l, &t[which], 0) == CELLAR_OK);
            rl.event[at[which]].undone = true;
            out[which] = false;
        } else {
            at[which] = rl_reserve(0, &t[which], &out[which]);
        }
    }
}
SIM_SCENARIO(limit_tickets, "tickets of one key given back in any order mint nothing")
{
    rl_tickets(3, rl_tickets_fiber);
}

/* ---- a rate that does not divide: T is rounded up ---- */

SIM_FIBER(rl_rate_fiber)
{
    for (int i = 0; i < 24; i++) {
        for (int k = 0; k < 6; k++) { rl_check(0); }
        rl_pass(1);
    }
}
SIM_SCENARIO(limit_rate, "43 in 10 ns: rounding makes the rate lower, never higher")
{
    const cellar_rule rule = cellar_rule_token_bucket(43, 10, 10);
    rl_open(&rule, 1, 2);
    rl_start(1, rl_rate_fiber);
    base_sim_join_all();
    base_sim_calm(true);
    uint64_t n = 0; /* T = 15 of 640 units a period */
    for (uint32_t i = 0; i < rl.count; i++) { n += rl.event[i].admitted; }
    const uint64_t span_ns = rl.event[rl.count - 1].now_ns - rl.event[0].now_ns;
    if (n > 10 + span_ns * 64 / 15) { base_sim_fail("%llu admitted", (unsigned long long)n); }
    cellar_limiter_close(rl.l);
}

/* ---- wide slots: a bucket and a log in one, two keys in two slots ---- */

static void rl_swap_two(uint32_t filled)
{
    /* The log is the same bound in another form: 1 in a period of T. */
    const cellar_rule rules[2] = { cellar_rule_token_bucket(1, RL_T_NS, 1),
                                      cellar_rule_sliding_log(1, RL_T_NS) };
    rl_swap(rules, 2, filled);
}
SIM_SCENARIO(limit_wide, "two rules in one slot that two keys share in turns") { rl_swap_two(3); }
SIM_SCENARIO(limit_wide_two, "two rules, two keys, two slots: no denial without need")
{
    rl_swap_two(2);
}

/* ---- wide slots move: fourteen keys in four buckets, words and rings go with them ---- */

SIM_SCENARIO(limit_wide_move, "wide slots move to their other bucket while they are charged")
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(1, RL_T_NS, 2),
                                      cellar_rule_sliding_log(64, RL_T_NS) }; /* it never denies */
    rl_move(rules, 2, base_sim_below(4) == 0 ? 1 : 2 * RL_T_NS);
}

/* ---- a key loses its only slot and comes back to it while it is being denied ---- */

SIM_FIBER(rl_denied_fiber)
{
    for (int i = 0; i < 12; i++) { rl_check(0); }
}
SIM_FIBER(rl_back_fiber)
{
    /* the slot belongs to the key, to the other with all debt, to the key */
    for (int i = 0; i < 6; i++) {
        rl_reset(0);
        for (int k = 0; k < 3; k++) { rl_check(1); }
        rl_reset(1);
        rl_check(0);
    }
}
SIM_SCENARIO(limit_wide_back, "the words of one key deny no other key")
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(1, RL_T_NS, 3),
        cellar_rule_token_bucket(1, RL_T_NS, 3) };
    rl_open(rules, 2, 1);
    rl_fill(3);
    base_sim_spawn("other", rl_back_fiber, NULL);
    rl_start(2, rl_denied_fiber);
    rl_end();
}

/* ---- calendars: a minute admits its limit, from every call and however late ---- */

enum { RL_MINUTE_LIMIT = 2 };
static const uint64_t rl_wall_0 = UINT64_C(1767225600000); /* a full minute */

static uint64_t rl_wall(void *ctx)
{
    return rl_wall_0 + (rl_clock(ctx) - UINT64_C(5000000000)) / 1000000;
}
static uint64_t rl_minute(void) { return (rl_wall(NULL) - rl_wall_0) / 60000; }

static struct { uint32_t key; uint64_t from, to; bool admitted; } rl_day[RL_EVENTS];

SIM_FIBER(rl_calendar_fiber)
{
    for (int i = 0; i < 12; i++) {
        char name[8];
        if (base_sim_below(3) == 0) {
            rl_pass((1 + base_sim_below(30)) * CELLAR_SECOND_NS);
            continue;
        }
        const uint32_t key = (uint32_t)base_sim_below(5), n = rl.count++;
        BASE_SIM_CHECK(n < RL_EVENTS);
        rl_key(key, name);
        rl_day[n].key = key;
        rl_day[n].admitted = false;
        rl_day[n].from = rl_minute();
        const cellar_err e = cellar_limiter_check(rl.l, name, strlen(name), 1, NULL);
        rl_day[n].to = rl_minute();
        BASE_SIM_CHECK(e == CELLAR_OK || e == CELLAR_LIMITED);
        rl_day[n].admitted = e == CELLAR_OK;
        base_sim_note("key%u in minutes %u to %u: %s", key, (unsigned)rl_day[n].from,
                      (unsigned)rl_day[n].to, e == CELLAR_OK ? "yes" : "no");
    }
}
SIM_SCENARIO(limit_calendar, "a minute admits its limit, however late the call")
{
    const cellar_rule rule = cellar_rule_fixed_window(RL_MINUTE_LIMIT, CELLAR_PER_MINUTE);
    rl_open_at(&rule, 1, 1, rl_wall);
    rl_start(3, rl_calendar_fiber);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t a = 0; a < rl.count; a++) {
        uint64_t n = 0;
        for (uint32_t b = 0; b < rl.count; b++) { /* those that are certainly in a's minute */
            n += rl_day[b].admitted && rl_day[b].key == rl_day[a].key &&
                 rl_day[b].from == rl_day[a].from && rl_day[b].to == rl_day[a].from;
        }
        if (n > RL_MINUTE_LIMIT) {
            base_sim_fail("key%u: %u in minute %u", rl_day[a].key, (unsigned)n,
                          (unsigned)rl_day[a].from);
        }
    }
    cellar_limiter_close(rl.l);
}

/* A log alone: each denial has N stamps of its window behind it. */
SIM_FIBER(rl_log_fiber)
{
    for (int i = 0; i < 8; i++) {
        rl_check(0);
        rl_pass(base_sim_below(RL_T_NS));
    }
}
SIM_SCENARIO(limit_log, "a log of three: never four in a window, never a needless denial")
{
    const cellar_rule rule = cellar_rule_sliding_log(3, 2 * RL_T_NS);
    rl_open(&rule, 1, 1);
    rl_start(3, rl_log_fiber);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t i = 0; i < rl.count; i++) {
        const rl_event *e = &rl.event[i];
        uint64_t in_window = 0, at_most = 0;
        for (uint32_t k = 0; k < rl.count; k++) {
            const rl_event *o = &rl.event[k];
            if (!o->admitted || o->now_ns + 2 * RL_T_NS <= e->now_ns) { continue; }
            in_window += o->now_ns <= e->now_ns;
            at_most += o->start < e->end; /* also later stamps: time in a log never goes back */
        }
        if (e->admitted && in_window > 3) { base_sim_fail("%llu in one window",
                                                          (unsigned long long)in_window); }
        if (!e->admitted && at_most < 3) {
            base_sim_fail("denied with %llu in the window", (unsigned long long)at_most);
        }
    }
    cellar_limiter_close(rl.l);
}

/* ---- permits ---- */

static struct { uint32_t out, most; } permits;
SIM_FIBER(rl_permit_fiber)
{
    for (int i = 0; i < 5; i++) {
        uint64_t token;
        if (cellar_permit_acquire(rl.l, "db", 2, 1000, &token, NULL) != CELLAR_OK) { continue; }
        permits.out++;
        BASE_SIM_CHECK(permits.out <= 2);
        base_sim_hold(1 + base_sim_below(4));
        permits.out--;
        BASE_SIM_CHECK(cellar_permit_release(rl.l, "db", 2, token) == CELLAR_OK);
        BASE_SIM_CHECK(cellar_permit_release(rl.l, "db", 2, token) == CELLAR_E_NOT_OWNER);
    }
}
SIM_SCENARIO(limit_permits, "two permits, four fibers that take one")
{
    const cellar_rule rule = cellar_rule_concurrency(2);
    memset(&permits, 0, sizeof permits);
    rl_open(&rule, 1, 1);
    rl_start(4, rl_permit_fiber);
    rl_end();
}

/* ---- chains: the site admits only for a user ---- */

static cellar_limiter *rl_site;
static void rl_chain_fiber(void *arg)
{
    const uint32_t me = (uint32_t)(uintptr_t)arg;
    char name[8];
    rl_key(me % 2, name);
    for (int i = 0; i < 5; i++) {
        const cellar_limiter_link both[2] = { { rl.l, name, strlen(name), 1 },
            { rl_site, "s", 1, 1 } };
        cellar_limiter_result r;
        const uint32_t start = ++rl.clock;
        const cellar_err e = cellar_limiter_check_chain(both, 2, &r, NULL);
        if (e == CELLAR_OK) { rl_note(me % 2, start, &r); } /* time stands still: two clocks */
    }
}
SIM_SCENARIO(limit_chain, "user and site: neither is ever over its bound")
{
    const cellar_rule rule = cellar_rule_token_bucket(1, RL_T_NS, 2);
    const cellar_rule site = cellar_rule_token_bucket(1, RL_T_NS, 3);
    rl_open(&site, 1, 2);
    rl_site = rl.l;
    const uint64_t now = base_load_acq(&rl.now_ns);
    rl_open(&rule, 1, 2);
    base_store_rel(&rl.now_ns, now);
    rl_start(3, rl_chain_fiber);
    base_sim_join_all();
    base_sim_calm(true);
    rl_check_bounds();
    for (uint32_t a = 0; a < rl.count; a++) { rl.event[a].key = 0; } /* now the site's bound */
    rl.burst = 3;
    rl_check_bounds();
    cellar_limiter_close(rl_site);
    cellar_limiter_close(rl.l);
}
