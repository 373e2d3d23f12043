/* SPDX-License-Identifier: MIT
 *
 * Aim:    what a second reading of the limiters asked for: calls that take nothing change nothing,
 *         and the bounds and edges of the contract hold where two rules of it meet.
 * Method: a clock the test turns; full tables, foreign tickets, bans, windows longer than the
 *         rule's; permits and bans that no call asks for again; clocks that leap; the figures of
 *         the limiter tell what was forgotten. */
#include "limit/calendar.h"
#include "tests/support/limit_kit.h"

static cellar_limiter_stats figures(cellar_limiter *l)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    return s;
}

enum { BUCKET, LOG, WINDOW, CALENDAR, FORMS };

/* n units in a long time. */
static cellar_rule rule_of(int form, uint64_t n)
{
    const uint64_t year = 400 * CELLAR_DAY_NS;
    switch (form) {
    case BUCKET: return cellar_rule_token_bucket(n, year, n);
    case LOG: return cellar_rule_sliding_log(n, year);
    case WINDOW: return cellar_rule_sliding_window(n, year);
    default: return cellar_rule_fixed_window(n, CELLAR_PER_MONTH);
    }
}

/* Live keys until the table is full of them. */
static void fill(cellar_limiter *l)
{
    for (uint64_t k = 0; figures(l).live_evicted < 100; k++) {
        for (int i = 0; i < 512; i++, k++) {
            T_EQ_I64(cellar_limiter_check(l, &k, sizeof k, 5, NULL), CELLAR_OK);
        }
    }
}

/* A check of cost 0 takes nothing: no key may be forgotten for it. */
T_CASE(check_of_cost_0_evicts_no_key)
{
    for (int n = 0; n < 5; n++) { /* the last one has several rules */
        const cellar_rule rules[2] = { rule_of(n % FORMS, 10),
                                       cellar_rule_token_bucket(1000, CELLAR_DAY_NS, 1000) };
        cellar_limiter *l = kit_open(rules, n < FORMS ? 1 : 2);
        fill(l);
        const cellar_limiter_stats before = figures(l);
        for (uint64_t k = 0; k < 20000; k++) {
            const uint64_t key[2] = { k, 1 };
            T_EQ_I64(cellar_limiter_check(l, key, sizeof key, 0, NULL), CELLAR_OK);
            T_EQ_I64(kit_look(l, key, sizeof key, 1, NULL), CELLAR_OK);
            T_EQ_I64(cellar_limiter_adjust(l, key, sizeof key, -1), CELLAR_OK);
            T_EQ_I64(cellar_limiter_adjust(l, key, sizeof key, 0), CELLAR_OK);
        }
        T_FIELDS(figures(l), live_evicted, before.live_evicted, keys, before.keys);
        kit_close(l);
    }
}

/* The same by reserve, and by a ticket committed for the reserved cost. */
T_CASE(tickets_of_cost_0_evict_no_key)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10),
                                   cellar_rule_token_bucket(1000, CELLAR_DAY_NS, 1000) };
    for (uint32_t count = 1; count <= 2; count++) {
        cellar_limiter *l = kit_open(rules, count);
        fill(l);
        const cellar_limiter_stats before = figures(l);
        for (uint64_t k = 0; k < 5000; k++) {
            const uint64_t key[2] = { k, 2 };
            cellar_limiter_ticket t;
            T_EQ_I64(cellar_limiter_reserve(l, key, sizeof key, 0, 0, &t, NULL, NULL), CELLAR_OK);
            T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_OK);
            T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_E_TICKET_USED);
        }
        T_FIELDS(figures(l), live_evicted, before.live_evicted, keys, before.keys);
        kit_close(l);
    }
}

/* The windows of a user limiter are longer than the second of its open: no user is dropped before
 * the longest window is over, however many other users come. */
T_CASE(long_windows_survive_a_flood)
{
    const cellar_limiter_config cfg = kit_config();
    cellar_limiter *l = NULL;
    T_REQUIRE(cellar_user_limiter_open(&cfg, &l) == CELLAR_OK);
    for (int i = 0; i < 5; i++) {
        T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_OK);
    }
    for (uint64_t s = 0; s < 59; s++) {
        kit_pass(KIT_S);
        for (uint64_t k = 0; k < 40; k++) {
            const uint64_t key[2] = { s, k };
            T_EQ_I64(cellar_user_limiter_check(l, key, sizeof key, 5, 1, NULL), CELLAR_OK);
        }
        T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_LIMITED);
    }
    T_CHECK(figures(l).live_evicted > 0); /* the table was full: all count as live for a minute */
    kit_pass(KIT_S);
    T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 60, NULL), CELLAR_OK);
    kit_close(l);
}

/* Four rewrites bring a slot's colour back; resets and plans count alike. */
T_CASE(tickets_end_with_a_reset_whatever_came_between)
{
    for (uint32_t wide = 0; wide < 2; wide++) {
        const cellar_rule rules[2] = { cellar_rule_token_bucket(1, KIT_S, 10),
                                          cellar_rule_token_bucket(1, KIT_S, 10) };
        cellar_limiter *l = kit_open(rules, 1 + wide);
        cellar_limiter_ticket t;
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 10, 0, &t, NULL, NULL), CELLAR_OK);
        (void)cellar_limiter_reset(l, "k", 1, NULL);
        T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, rules, 1 + wide), CELLAR_OK);
        T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, NULL, 0), CELLAR_OK);
        (void)cellar_limiter_reset(l, "k", 1, NULL);
        T_EQ_U64(kit_admit(l, "k", 20), 10);
        (void)cellar_limiter_commit(l, &t, 0);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        kit_close(l);
    }
}

/* Deny all for a moment, and back: what was used stays used. */
T_CASE(a_limit_of_0_for_a_while_forgets_nothing)
{
    for (int form = 0; form < FORMS; form++) {
        const cellar_rule rule = rule_of(form, 10);
        cellar_limiter *l = kit_open1(rule);
        cellar_rule none = rule;
        none.limit = 0;
        T_EQ_U64(kit_admit(l, "k", 20), 10);
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &none, 1), CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &rule, 1), CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, &none, 1), CELLAR_OK);
        T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, NULL, 0), CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        kit_close(l);
    }
}

/* Permits end with their hold. Their records, and the slots of keys that no call asks for any
 * more, then serve other calls. */
T_CASE(lost_permits_do_not_fill_the_tables)
{
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_concurrency(2);
    cellar_limiter *l = NULL;
    uint64_t token;
    c.max_permits = 100;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t k = 0; k < 100; k++) {
            const uint64_t key[2] = { round, k };
            T_EQ_I64(cellar_permit_acquire(l, key, sizeof key, 1000, &token, NULL), CELLAR_OK);
        }
        T_EQ_I64(cellar_permit_acquire(l, "one more", 8, 1000, &token, NULL), CELLAR_E_LIMIT);
        kit_pass(2 * KIT_S);
    }
    T_CHECK(cellar_tick(l, 0, NULL) == CELLAR_OK);
    T_EQ_U64(figures(l).permits, 0);
    T_EQ_U64(figures(l).permits_expired, 500);
    kit_close(l);
    c.max_permits = 30000; /* now the slots: all of them */
    c.max_bytes = 2u << 20;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    const uint64_t slots = figures(l).slots;
    T_REQUIRE(slots < 30000);
    for (uint64_t k = 0; k < 3 * slots; k++) {
        if (k % 5000 == 0) { kit_pass(2 * KIT_S); }
        const cellar_err e = cellar_permit_acquire(l, &k, sizeof k, 1000, &token, NULL);
        if (!T_EQ_I64(e, CELLAR_OK)) { break; }
    }
    T_EQ_U64(figures(l).live_evicted, 0); /* no key with a live permit was evicted */
    kit_close(l);
}

static bool keep_entry(const cellar_limiter_entry *e, void *ctx)
{
    memcpy(ctx, e, sizeof *e);
    return true;
}

/* Fault: a peek, and a scan, counted permits that had ended until a permit was acquired, or a tick
 * came. */
T_CASE(peek_and_scan_count_no_permit_with_an_ended_hold)
{
    const cellar_rule rules[2] = { cellar_rule_concurrency(2),
                                   cellar_rule_token_bucket(9, KIT_S, 9) };
    for (uint32_t count = 1; count <= 2; count++) {
        cellar_check_opts o = { .struct_size = sizeof o, .flags = CELLAR_CHECK_PEEK };
        cellar_limiter_result r;
        cellar_limiter_entry seen;
        uint64_t token[2];
        cellar_limiter *l = kit_open(rules, count);
        T_EQ_I64(cellar_permit_acquire(l, "k", 1, 2000, &token[0], NULL), CELLAR_OK);
        T_EQ_I64(cellar_permit_acquire(l, "k", 1, 1000, &token[1], NULL), CELLAR_OK);
        T_EQ_I64(kit_look(l, "k", 1, 1, &r), CELLAR_LIMITED);
        T_EQ_U64(r.retry_after_ns, KIT_S);
        o.now_ns = cellar_limiter_now(l) + KIT_S; /* ends no permit */
        T_EQ_I64(cellar_limiter_check_with(l, "k", 1, 1, &o, &r), CELLAR_OK);
        T_EQ_U64(r.remaining, 1);
        T_EQ_I64(kit_look(l, "k", 1, 1, NULL), CELLAR_LIMITED);
        kit_pass(2 * KIT_S);
        T_EQ_I64(kit_look(l, "k", 1, 1, &r), CELLAR_OK);
        T_EQ_U64(r.remaining, 2);
        T_EQ_I64(cellar_limiter_scan(l, keep_entry, &seen), CELLAR_OK);
        T_EQ_U64(seen.remaining[0], 2);
        T_EQ_U64(figures(l).permits_expired, 0); /* without effect */
        T_EQ_I64(cellar_permit_acquire(l, "k", 1, 1000, &token[0], NULL), CELLAR_OK);
        T_EQ_U64(figures(l).permits_expired, 2);
        kit_close(l);
    }
}

/* Fault: a record that another ban took had what its own ban left. */
T_CASE(ended_ban_without_a_record_leaves_one_unit)
{
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 5);
    cellar_limiter *l = NULL;
    c.max_overrides = 1;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_I64(cellar_limiter_ban(l, "a", 1, 10 * KIT_S), CELLAR_OK);
    kit_pass(20 * KIT_S);
    T_EQ_I64(cellar_limiter_ban(l, "b", 1, 10 * KIT_S), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "a", 5), 1);
    kit_close(l);
}

/* A ban is state, also of a key without a slot. */
T_CASE(reset_tells_that_a_key_was_banned)
{
    cellar_limiter *l = kit_open1(cellar_rule_token_bucket(10, KIT_S, 5));
    for (int all = 0; all < 2; all++) {
        bool existed = false;
        T_EQ_I64(cellar_limiter_ban(l, "k", 1, 10 * KIT_S), CELLAR_OK);
        const char *key = all != 0 ? NULL : "k";
        T_EQ_I64(cellar_limiter_reset(l, key, all == 0, &existed), CELLAR_OK);
        T_CHECK(existed);
        T_EQ_I64(cellar_limiter_reset(l, key, all == 0, &existed), CELLAR_OK);
        T_CHECK(!existed);
    }
    kit_close(l);
}

/* An ended ban leaves one unit. The next ban takes its record, not the units that it took. */
T_CASE(ban_after_an_ended_one_leaves_one_unit)
{
    for (int charge = 0; charge < 2; charge++) {
        cellar_limiter *l = kit_open1(cellar_rule_token_bucket(10, KIT_S, 5));
        T_EQ_I64(cellar_limiter_ban(l, "k", 1, 10 * KIT_S), CELLAR_OK);
        kit_pass(10 * KIT_S);
        T_EQ_I64(cellar_limiter_ban(l, "k", 1, 100 * KIT_MS), CELLAR_OK);
        if (charge != 0) { T_EQ_I64(cellar_limiter_adjust(l, "k", 1, 5), CELLAR_OK); }
        kit_pass(charge != 0 ? 499 * KIT_MS : 99 * KIT_MS); /* 1 - 5: 4 units are missing */
        T_EQ_U64(kit_admit(l, "k", 5), 0);
        kit_pass(KIT_MS);
        T_EQ_U64(kit_admit(l, "k", 5), 1);
        kit_close(l);
    }
}

/* Expired bans give their records to new ones. */
T_CASE(old_bans_do_not_fill_the_table)
{
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = cellar_rule_fixed_window(10, CELLAR_PER_DAY);
    cellar_limiter *l = NULL;
    c.max_overrides = 50;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    for (uint64_t round = 0; round < 4; round++) {
        for (uint64_t k = 0; k < 50; k++) {
            const uint64_t key[2] = { round, k };
            (void)cellar_limiter_check(l, key, sizeof key, 1, NULL);
            T_EQ_I64(cellar_limiter_ban(l, key, sizeof key, KIT_S), CELLAR_OK);
            T_EQ_I64(cellar_limiter_check(l, key, sizeof key, 1, NULL), CELLAR_LIMITED);
        }
        T_EQ_I64(cellar_limiter_ban(l, "one more", 8, KIT_S), CELLAR_E_LIMIT);
        kit_pass(2 * KIT_S);
    }
    T_EQ_I64(cellar_limiter_rules_set(l, "gold", 4, NULL, &rule, 1), CELLAR_OK);
    for (uint64_t k = 0; k < 50; k++) { /* their slots know it */
        const uint64_t key[2] = { 3, k };
        T_EQ_I64(cellar_limiter_check(l, key, sizeof key, 1, NULL), CELLAR_OK);
    }
    kit_close(l);
}

/* What a dry run would have denied was not charged: its ticket gives nothing back. */
T_CASE(tickets_of_a_dry_run_give_nothing_back)
{
    for (int form = 0; form < FORMS; form++) {
        cellar_rule rule = rule_of(form, 10);
        rule.flags |= CELLAR_RULE_DRY_RUN;
        cellar_limiter *l = kit_open1(rule);
        cellar_limiter_ticket t;
        cellar_limiter_result r;
        T_EQ_U64(kit_admit(l, "k", 10), 10);
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 5, 0, &t, NULL, &r), CELLAR_OK);
        T_EQ_U64(r.would_deny, 1);
        T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_OK);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, &r), CELLAR_OK);
        T_EQ_U64(r.would_deny, 1);
        kit_close(l);
    }
}

/* A clock that leaps by decades: everything is paid, no call waits for old times. */
T_CASE(leaps_of_the_clock_leave_no_debts)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                      cellar_rule_sliding_log(10, KIT_S) };
    for (uint32_t count = 1; count <= 2; count++) {
        for (uint64_t years = 1; years < 290; years += 3) {
            atomic_store(&kit.now_ns, UINT64_C(1000000000000));
            cellar_limiter *l = kit_open(rules, count);
            kit_pass(years * 77 * KIT_S);
            T_EQ_U64(kit_admit(l, "k", 20), 10);
            atomic_fetch_add(&kit.now_ns, years * 365 * CELLAR_DAY_NS);
            if (!T_EQ_U64(kit_admit(l, "k", 20), 10)) { printf("# %" PRIu64 " years\n", years); }
            T_EQ_U64(kit_admit(l, "new", 20), 10);
            kit_close(l);
        }
    }
    atomic_store(&kit.now_ns, UINT64_C(1000000000000));
}

/* Moving the origin keeps every stamp of a log. */
T_CASE(a_log_outlives_a_new_origin)
{
    cellar_limiter *l = kit_open1(cellar_rule_sliding_log(10, 30 * CELLAR_DAY_NS));
    for (uint64_t day = 0; day < 1300; day++) { /* three times 1.14 years */
        T_EQ_U64(kit_admit(l, "k", 1), day % 30 < 10);
        T_CHECK(cellar_tick(l, 0, NULL) == CELLAR_OK);
        kit_pass(CELLAR_DAY_NS);
        if (t_failed()) {
            printf("# day %" PRIu64 "\n", day);
            break;
        }
    }
    kit_close(l);
}

/* A charge that is refunded makes no room that was not there before, however full the log was; and
 * what was charged on top goes over a restart of the ring's numbers, too. */
T_CASE(refunds_of_a_charge_mint_nothing)
{
    for (uint64_t over = 1; over < 40; over += 3) {
        cellar_limiter *l = kit_open1(cellar_rule_sliding_log(10, KIT_S));
        for (int i = 0; i < 10; i++) {
            T_EQ_I64(kit_check(l, "k", 1), 1);
            kit_pass(KIT_MS);
        }
        T_EQ_I64(cellar_limiter_adjust(l, "k", 1, (int64_t)over), CELLAR_OK);
        kit_pass(KIT_MS);
        T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -(int64_t)over), CELLAR_OK);
        T_EQ_U64(kit_admit(l, "k", 20), 0);
        T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -2), CELLAR_OK); /* and that is credit */
        T_EQ_U64(kit_admit(l, "k", 20), 2);
        kit_pass(KIT_S);
        T_EQ_U64(kit_admit(l, "k", 20), 10);
        kit_close(l);
    }
    cellar_limiter *l = kit_open1(cellar_rule_sliding_log(10, KIT_S));
    cellar_limiter_ticket t; /* by tickets: one committed too high, one cancelled */
    T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 5, 0, &t, NULL, NULL), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 20), 5);
    T_EQ_I64(cellar_limiter_adjust(l, "k", 1, 3), CELLAR_OK);
    T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 20), 2); /* 5 + 3 of 10 */
    kit_close(l);
}

/* A log counts what it ever wrote in 39 bits; rounds later its stamps are still in order. */
T_CASE(a_log_goes_round_in_its_numbers)
{
    for (uint64_t n = 1; n < 30; n += 3) {
        cellar_limiter *l = kit_open1(cellar_rule_sliding_log(n, KIT_S));
        uint64_t at[8192], count = 0, rng = t_seed();
        T_EQ_I64(kit_check(l, "k", 1), 1);
        T_EQ_I64(cellar_limiter_reset(l, "k", 1, NULL), CELLAR_OK);
        for (uint32_t i = 0; i < l->regions * l->region_buckets * LIMIT_WAYS; i++) {
            limit_slot *s = limit_slot_at(l, i / LIMIT_WAYS, i % LIMIT_WAYS);
            if (base_load_rlx(&s->fp) == 0) { continue; }
            const uint64_t w = base_load_rlx(limit_word_at(s, 0));
            base_store_rlx(limit_word_at(s, 0),
                           limit_word((((uint64_t)1 << 39) - 40) << 22, w));
        }
        for (int i = 0; i < 400; i++) {
            cellar_limiter_ticket t;
            const uint64_t now = kit_clock(NULL);
            uint64_t in_window = 0;
            for (uint64_t k = count; k-- > 0 && at[k] + KIT_S > now;) { in_window++; }
            const cellar_err e = cellar_limiter_reserve(l, "k", 1, 1, 0, &t, NULL, NULL);
            if (!T_EQ_I64(e, in_window < n ? CELLAR_OK : CELLAR_LIMITED)) { break; }
            if (e == CELLAR_OK && kit_below(&rng, 5) == 0) {
                T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_OK);
            } else if (e == CELLAR_OK) {
                at[count++] = now;
            }
            kit_pass(kit_below(&rng, 2 * KIT_S / n));
        }
        kit_close(l);
    }
}

static uint64_t used_of(cellar_limiter *l, const char *key, uint64_t limit)
{
    cellar_limiter_result r;
    T_EQ_I64(kit_look(l, key, strlen(key), 0, &r), CELLAR_OK);
    return limit - r.remaining;
}

/* The counts of a key that nothing charges come back with their limit, whatever came between. */
T_CASE(counts_outlast_changes_of_rules)
{
    const cellar_rule window = cellar_rule_sliding_window(100, CELLAR_DAY_NS);
    const cellar_rule quota = cellar_rule_fixed_window(100, CELLAR_PER_MONTH);
    const cellar_rule bucket = cellar_rule_token_bucket(1000, KIT_S, 1000);
    static const uint64_t limits[4] = { 101, 7, 333, 1 };
    for (int form = 0; form < 3; form++) {
        cellar_rule a[2] = { form == 0 ? window : quota, bucket }, b[2] = { a[0], bucket };
        const uint32_t count = form == 2 ? 2 : 1;
        cellar_limiter *l = kit_open(a, count);
        T_EQ_U64(kit_admit(l, "one", 1), 1);
        T_EQ_U64(kit_admit(l, "some", 37), 37);
        for (int i = 0; i < 400; i++) { /* there, there again, and back */
            b[0].limit = limits[i % 4];
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
            b[0].limit = limits[i / 100];
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, a, count), CELLAR_OK);
            T_EQ_I64(cellar_limiter_rules_set(l, "some", 4, NULL, b, count), CELLAR_OK);
            T_EQ_I64(cellar_limiter_rules_set(l, "some", 4, NULL, NULL, 0), CELLAR_OK);
            if (t_failed()) { break; }
        }
        T_EQ_U64(used_of(l, "one", 100), 1);
        T_EQ_U64(used_of(l, "some", 100), 37);
        /* A charge stores the share in units of its rule, rounded up once: 1 of 100 is 4 of 333. */
        b[0].limit = 333;
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
        T_EQ_U64(used_of(l, "one", 333), 4);
        T_EQ_U64(used_of(l, "some", 333), 124);
        T_EQ_U64(kit_admit(l, "one", 1), 1);
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, a, count), CELLAR_OK);
        T_EQ_U64(used_of(l, "one", 100), 2);
        T_EQ_U64(used_of(l, "some", 100), 37);
        /* The charge of a plan counts in units of its limit; without the plan they are a share. */
        b[0].limit = 10;
        T_EQ_I64(cellar_limiter_rules_set(l, "some", 4, NULL, b, count), CELLAR_OK);
        T_EQ_U64(used_of(l, "some", 10), 4);
        T_EQ_U64(kit_admit(l, "some", 9), 6);
        T_EQ_I64(cellar_limiter_rules_set(l, "some", 4, NULL, NULL, 0), CELLAR_OK);
        T_EQ_U64(used_of(l, "some", 100), 100);
        /* The base of 333 goes with 202: the walk made 5 of 333 shares, which are 4 of 203. */
        for (uint64_t n = 201; n <= 203; n++) {
            b[0].limit = n;
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
        }
        T_EQ_U64(used_of(l, "one", 203), 4);
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, a, count), CELLAR_OK);
        T_EQ_U64(used_of(l, "one", 100), 2);
        kit_close(l);
    }
}

/* The faulty sequence: the limit walks by up to 2 %, each change rounds up, and after 1,000 changes
 * a key that used 10 of 100 has used 80. */
T_CASE(share_stays_within_a_unit_while_the_limit_walks)
{
    static const uint64_t limits[] = { 100, 1000, 97, 700000 };
    uint64_t draw = 88172645463325252u;
    for (int form = 0; form < 8; form++) {
        const uint64_t most = limits[form / 2];
        cellar_rule r = form % 2 == 0 ? cellar_rule_sliding_window(most, CELLAR_DAY_NS)
                                      : cellar_rule_fixed_window(most, CELLAR_PER_MONTH);
        const uint64_t used[] = { 1, most / 10, most - 1 };
        const char *const key[] = { "one", "some", "most" };
        cellar_limiter *l = kit_open(&r, 1);
        for (int k = 0; k < 3; k++) {
            T_EQ_I64(cellar_limiter_check(l, key[k], strlen(key[k]), used[k], NULL), CELLAR_OK);
        }
        for (int i = 0; i < 1000 && !t_failed(); i++) {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            const uint64_t step = most / 50 + 1;
            r.limit = BASE_MIN(BASE_MAX(r.limit + draw % (2 * step + 1), most / 2 + step) - step,
                               most);
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &r, 1), CELLAR_OK);
            for (int k = 0; k < 3; k++) {
                const uint64_t share = (used[k] * r.limit + most - 1) / most;
                const uint64_t is = used_of(l, key[k], r.limit);
                T_CHECK(is == share || is == BASE_MIN(share + 1, r.limit));
            }
        }
        kit_close(l);
    }
}

/* A limit of 0 has no units: a charge makes a share one unit, not 72,000. */
T_CASE(share_under_a_limit_of_0_is_one_unit)
{
    cellar_rule r = cellar_rule_sliding_window(100, CELLAR_DAY_NS);
    cellar_limiter *l = kit_open(&r, 1);
    T_EQ_U64(kit_admit(l, "kept", 10), 10);
    T_EQ_U64(kit_admit(l, "more", 10), 10);
    static const uint64_t limits[] = { 90, 80, 0 };
    for (int i = 0; i < 3; i++) {
        r.limit = limits[i];
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &r, 1), CELLAR_OK);
    }
    T_EQ_I64(cellar_limiter_adjust(l, "more", 4, 1), CELLAR_OK);
    r.limit = 100;
    T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &r, 1), CELLAR_OK);
    T_EQ_U64(used_of(l, "kept", 100), 10);
    T_EQ_U64(used_of(l, "more", 100), 2);
    kit_close(l);
}

enum { TICKET_KEYS = 40, TICKET_EVENTS = 6 };

/* Charge other keys, and reset them, give them plans, or return their tickets in another order. */
static void ticket_others(cellar_limiter *l, int event)
{
    cellar_limiter_ticket t[2];
    for (uint64_t k = 0; k < (event == 5 ? 20 : 3000); k++) {
        T_EQ_I64(cellar_limiter_adjust(l, &k, sizeof k, 1), CELLAR_OK);
        if (event == 1) { T_EQ_I64(cellar_limiter_reset(l, &k, sizeof k, NULL), CELLAR_OK); }
        if (event != 5) { continue; }
        for (int i = 0; i < 2; i++) {
            T_EQ_I64(cellar_limiter_reserve(l, &k, sizeof k, 3, 0, &t[i], NULL, NULL), CELLAR_OK);
        }
        for (int i = 0; i < 2; i++) { T_EQ_I64(cellar_limiter_commit(l, &t[i], 0), CELLAR_OK); }
    }
}

/* What happens to other keys, and rules that return, take nothing from a ticket. */
T_CASE(tickets_outlast_what_happens_to_other_keys)
{
    for (int n = 0; n < FORMS * TICKET_EVENTS; n++) {
        const int form = n / TICKET_EVENTS, event = n % TICKET_EVENTS;
        const cellar_rule rule = rule_of(form, 20), other = rule_of(form, 10);
        cellar_limiter_config c = kit_config();
        cellar_limiter *l = NULL;
        cellar_limiter_ticket t[TICKET_KEYS];
        c.max_bytes = event == 0 ? 64u << 10 : 128u << 10; /* 0: full, others are evicted */
        T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
        for (uint64_t k = 0; k < TICKET_KEYS; k++) {
            const uint64_t key[2] = { k, 1 };
            T_EQ_I64(cellar_limiter_check(l, key, sizeof key, 9, NULL), CELLAR_OK);
            T_EQ_I64(cellar_limiter_reserve(l, key, sizeof key, 5, 0, &t[k], NULL, NULL),
                     CELLAR_OK);
        }
        ticket_others(l, event);
        if (event == 3) {
            T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &rule, 1), CELLAR_OK);
        } else if (event == 4) {
            if (form != BUCKET) {
                T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &other, 1), CELLAR_OK);
                T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, &rule, 1), CELLAR_OK);
            }
            kit_pass(CELLAR_SECOND_NS);
            T_EQ_I64(cellar_tick(l, 0, NULL), CELLAR_OK);
        }
        for (uint64_t k = 0; k < TICKET_KEYS; k++) {
            const uint64_t key[2] = { k, 1 };
            cellar_limiter_result r;
            T_EQ_I64(cellar_limiter_commit(l, &t[k], 0), CELLAR_OK);
            T_EQ_I64(kit_look(l, key, sizeof key, 0, &r), CELLAR_OK);
            T_EQ_U64(r.remaining, 11);
        }
        if (event == 0) { T_CHECK(figures(l).live_evicted > 0); }
        if (t_failed()) { printf("# form %d, event %d\n", form, event); }
        kit_close(l);
    }
}

/* A ticket gives back, or says that its charge is gone; a share of a window in units of today. */
T_CASE(tickets_of_lost_charges_say_so)
{
    for (int form = 0; form < FORMS; form++) {
        const cellar_rule rule = rule_of(form, 20), half = rule_of(form, 10);
        cellar_limiter_result r;
        cellar_limiter_ticket t;
        cellar_limiter *l = kit_open1(rule);
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 5, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_reset(l, "k", 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 12, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_INVALIDATED);
        T_EQ_U64(used_of(l, "k", 20), 12);
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 8, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, &half, 1), CELLAR_OK);
        const cellar_err want = form == BUCKET ? CELLAR_INVALIDATED : CELLAR_OK;
        T_EQ_I64(cellar_limiter_commit(l, &t, 0), want);
        T_EQ_I64(kit_look(l, "k", 1, 0, &r), CELLAR_OK);
        T_EQ_U64(r.remaining, form == BUCKET || form == LOG ? 0 : 4); /* a log has units, no shares */
        kit_close(l);
    }
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = rule_of(0, 20);
    cellar_limiter *l = NULL;
    cellar_limiter_ticket t;
    c.max_bytes = 64u << 10;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 1, 0, &t, NULL, NULL), CELLAR_OK);
    for (uint64_t k = 0; k < 40000; k++) { (void)cellar_limiter_check(l, &k, sizeof k, 20, NULL); }
    T_EQ_U64(used_of(l, "k", 20), 0); /* it was evicted */
    T_EQ_I64(cellar_limiter_commit(l, &t, 0), CELLAR_INVALIDATED);
    kit_close(l);
}

/* Without losses more keys have tickets than a region remembers. */
T_CASE(tickets_of_many_keys_come_back)
{
    static cellar_limiter_ticket t[1000];
    cellar_limiter_config c = kit_config();
    const cellar_rule rule = rule_of(0, 20);
    cellar_limiter *l = NULL;
    c.max_bytes = 128u << 10;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    for (uint64_t k = 0; k < 1000; k++) {
        T_EQ_I64(cellar_limiter_reserve(l, &k, sizeof k, 20, 0, &t[k], NULL, NULL), CELLAR_OK);
    }
    for (uint64_t k = 0; k < 1000; k++) {
        T_EQ_I64(cellar_limiter_commit(l, &t[k], 7), CELLAR_OK);
        T_EQ_I64(kit_look(l, &k, sizeof k, 13, NULL), CELLAR_OK);
        T_EQ_I64(kit_look(l, &k, sizeof k, 14, NULL), CELLAR_LIMITED);
    }
    kit_close(l);
}

/* Fault: a denied call charged nothing if its key had no slot, as after a restart. */
T_CASE(denied_calls_of_a_new_key_charge)
{
    cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 1),
                             cellar_rule_token_bucket(1, KIT_S, 5) };
    rules[1].flags = CELLAR_RULE_CHARGE_DENIED;
    cellar_limiter *l = kit_open(rules, 2);
    cellar_limiter_result r;
    for (int i = 0; i < 3; i++) { /* above the burst of the first rule */
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 2, &r), CELLAR_LIMITED);
        T_EQ_U64(r.never, 1);
    }
    T_EQ_I64(kit_look(l, "k", 1, 1, &r), CELLAR_LIMITED);
    T_EQ_U64(r.retry_after_ns, 2 * KIT_S);
    kit_close(l);
}

/* ---- denials ---- */

/* A random rule: bans, charges of denied calls, dry runs. */
static cellar_rule random_rule(uint64_t *rng)
{
    const uint64_t n = 1 + kit_below(rng, 5), w = (1 + kit_below(rng, 50)) * 100 * KIT_MS;
    const uint64_t form = kit_below(rng, 5), flags = kit_below(rng, 4);
    cellar_rule r = form == 0   ? cellar_rule_sliding_log(n, w)
                    : form == 1 ? cellar_rule_sliding_window(n, w)
                    : form == 2 ? cellar_rule_fixed_window(n, CELLAR_PER_MINUTE)
                                : cellar_rule_token_bucket(n, w, 1 + kit_below(rng, 5));
    if (form > 2 && flags == 1) { r.flags = CELLAR_RULE_CHARGE_DENIED; }
    if (flags == 2) { r.flags = CELLAR_RULE_DRY_RUN; }
    if (flags == 3) { r.ban_ns = kit_below(rng, 20) * KIT_S; }
    return r;
}

/* Pass time. A fixed window follows the wall clock, which has whole ms. */
static void pass(uint64_t ns)
{
    const uint64_t now = atomic_fetch_add(&kit.now_ns, ns) + ns;
    atomic_store(&kit.wall_ms, UINT64_C(1767225600000) + now / KIT_MS);
}

/* Fault: the wait of a denial was that of one rule before its charge. The ban of another rule, the
 * end of the first permit and the charge of the denied call itself were left out. A client that
 * waited as it was told was denied, and with CHARGE_DENIED charged again each time. */
T_CASE(a_denied_call_passes_after_the_wait_that_it_was_told)
{
    uint64_t rng = t_seed();
    pass(0); /* other cases have left another wall clock */
    for (uint64_t n = t_share(2000); n > 0; n--) {
        cellar_rule rules[4];
        const uint32_t count = 1 + (uint32_t)kit_below(&rng, 3);
        const bool permits = kit_below(&rng, 2) == 0;
        uint64_t most = 3;
        for (uint32_t i = 0; i < count; i++) {
            rules[i] = random_rule(&rng);
            most = BASE_MIN(most, rules[i].burst != 0 ? rules[i].burst : rules[i].limit);
        }
        if (permits) { rules[count] = cellar_rule_concurrency(1 + kit_below(&rng, 3)); }
        cellar_limiter *l = kit_open(rules, count + permits);
        for (int k = 0; k < 40; k++) {
            cellar_limiter_result r;
            uint64_t token;
            const uint64_t cost = permits ? 1 : 1 + kit_below(&rng, most);
            const cellar_err err =
                permits ? cellar_permit_acquire(l, "k", 1, 1 + (int64_t)kit_below(&rng, 9000),
                                                &token, &r)
                        : cellar_limiter_check(l, "k", 1, cost, &r);
            if (err != CELLAR_LIMITED) {
                pass(kit_below(&rng, 3) * 100 * KIT_MS);
                continue;
            }
            pass(r.retry_after_ns);
            T_EQ_I64(kit_look(l, "k", 1, cost, &r), CELLAR_OK);
        }
        kit_close(l);
    }
}

/* Fault: a token bucket of a dry run made calls wait for its units. */
T_CASE(a_dry_run_makes_no_call_wait)
{
    cellar_rule rules[2] = { cellar_rule_token_bucket(1, KIT_S, 1),
                             cellar_rule_token_bucket(100, KIT_S, 100) };
    rules[0].flags = CELLAR_RULE_DRY_RUN;
    for (uint32_t count = 1; count <= 2; count++) {
        cellar_limiter *l = kit_open(rules, count);
        cellar_limiter_ticket t;
        cellar_limiter_result r;
        uint64_t wait_ns;
        for (uint32_t i = 0; i < 3; i++) {
            T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 1, KIT_S * 9, &t, &wait_ns, &r), CELLAR_OK);
            T_EQ_U64(wait_ns, 0);
            T_EQ_U64(r.would_deny, i > 0);
        }
        kit_close(l);
    }
}

T_ONE_THREAD;
T_MAIN("cellar_limit_review")
