/* SPDX-License-Identifier: MIT
 *
 * Aim:    shared limiters grant what their rules allow, hold units for hold_ms only, deny without
 *         the server, and follow their policy without it.
 * Method: two members in one process, on a server of the test. Rules refill so slowly that the
 *         speed of the machine does not matter, except where a case says so. */
#include "tests/support/share_kit.h"

static void limiter_close(void *l)
{
    left_drop(l);
    cellar_remote_limiter_close(l);
}

static cellar_remote_limiter *limiter_with(share *s, cellar_rule rule,
                                           const cellar_remote_limiter_config *o)
{
    cellar_remote_limiter *l;
    T_REQUIRE(cellar_remote_limiter_open(&s->r, &rule, o, &l) == CELLAR_OK);
    left_add(l, limiter_close);
    return l;
}

static cellar_remote_limiter *limiter(share *s, cellar_rule rule, int64_t hold_ms, uint32_t batch)
{
    const cellar_remote_limiter_config o = { .struct_size = sizeof o, .hold_ms = hold_ms,
                                             .batch = batch, .offline = CELLAR_REMOTE_LIMITER_DENY };
    return limiter_with(s, rule, &o);
}

/* Open a limiter of some units an hour, all of them as a burst. */
static cellar_remote_limiter *bucket(share *s, uint64_t units, uint32_t batch)
{
    return limiter(s, cellar_rule_token_bucket(units, CELLAR_HOUR_NS, units), 60000, batch);
}

static cellar_remote_limiter_stats stats_of(cellar_remote_limiter *l)
{
    cellar_remote_limiter_stats s = cellar_remote_limiter_stats_default();
    T_EQ_I64(cellar_remote_limiter_stats_get(l, &s), CELLAR_OK);
    return s;
}
static uint64_t admitted(cellar_remote_limiter *l, const char *key, uint64_t checks)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < checks; i++) {
        n += cellar_remote_limiter_check(l, key, strlen(key), 1, NULL) == CELLAR_OK;
    }
    return n;
}

T_CASE_ON(processes_share_one_burst, TWO_SHARES)
{
    cellar_remote_limiter *a = bucket(&one, 10, 1), *b = bucket(&two, 10, 1);
    T_EQ_U64(admitted(a, "k", 6) + admitted(b, "k", 6), 10);
    T_EQ_U64(admitted(a, "other", 20), 10);
    T_EQ_U64(admitted(a, "\xff\x01 #", 20), 10);
}

T_CASE_ON(denial_tells_the_wait_and_needs_no_server, TWO_SHARES)
{
    cellar_remote_limiter *l = bucket(&one, 5, 1);
    cellar_limiter_result x;
    T_EQ_U64(admitted(l, "k", 5), 5);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns > 600 * CELLAR_SECOND_NS && x.retry_after_ns <= CELLAR_HOUR_NS / 5);
    T_EQ_U64(x.limit, 5);
    T_EQ_U64(x.allowed + x.never, 0);
    const uint64_t calls = stats_of(l).calls;
    T_EQ_U64(admitted(l, "k", 1000), 0);
    T_EQ_U64(stats_of(l).calls, calls);
    T_EQ_U64(stats_of(l).denied, 1);
}

T_CASE_ON(cost_above_the_burst_never_passes, TWO_SHARES)
{
    cellar_remote_limiter *l = limiter(&one, cellar_rule_token_bucket(5, CELLAR_HOUR_NS, 5),
                                       60000, 0);
    cellar_remote_limiter *z = limiter(&one, cellar_rule_token_bucket(0, CELLAR_HOUR_NS, 5),
                                       60000, 0);
    cellar_limiter_result x;
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 6, &x), CELLAR_LIMITED);
    T_EQ_U64(x.never, 1);
    T_EQ_U64(x.retry_after_ns, CELLAR_NEVER_NS);
    T_EQ_I64(cellar_remote_limiter_check(z, "k", 1, 1, &x), CELLAR_LIMITED);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 0, &x), CELLAR_OK);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 3, &x), CELLAR_OK);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 3, &x), CELLAR_LIMITED);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 2, &x), CELLAR_OK);
    T_EQ_U64(stats_of(l).calls, 3);
}

/* A batch of 50 comes with the first check; the other 49 are spent here. */
T_CASE_ON(batch_is_spent_without_the_server, TWO_SHARES)
{
    cellar_remote_limiter *l = bucket(&one, 100, 50);
    cellar_limiter_result x;
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_OK);
    T_EQ_U64(x.remaining, 49);
    T_EQ_U64(admitted(l, "k", 49), 49);
    T_EQ_U64(stats_of(l).calls, 1);
    T_EQ_U64(admitted(l, "k", 60), 50);
    T_EQ_U64(stats_of(l).calls, 3);
    T_EQ_U64(stats_of(l).granted, 100);
}

/* The server grants at least half a batch, or says when to come back. */
T_CASE_ON(less_than_half_a_batch_is_a_denial, TWO_SHARES)
{
    cellar_remote_limiter *a = bucket(&one, 100, 90), *b = bucket(&two, 100, 50);
    T_EQ_U64(admitted(a, "k", 1), 1);
    T_EQ_U64(admitted(b, "k", 1), 0);
    cellar_limiter_result x;
    T_EQ_I64(cellar_remote_limiter_check(b, "k", 1, 1, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns > 14 * 36 * CELLAR_SECOND_NS);
    T_CHECK(x.retry_after_ns <= 15 * 36 * CELLAR_SECOND_NS);
    T_EQ_U64(admitted(a, "cost", 1), 1); /* the same for a cost of less than half a batch */
    T_EQ_I64(cellar_remote_limiter_check(b, "cost", 4, 20, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns > 14 * 36 * CELLAR_SECOND_NS);
}

/* Open a limiter of 200 units a second with a burst of 100. */
static cellar_remote_limiter *fast_bucket(share *s, int64_t hold_ms)
{
    return limiter(s, cellar_rule_token_bucket(200, CELLAR_SECOND_NS, 100), hold_ms, 50);
}

/* Check a fast bucket until a denial; it is then empty. */
static uint64_t admitted_until_denied(cellar_remote_limiter *l, uint64_t *wait_ms)
{
    cellar_limiter_result x;
    uint64_t n = 0;
    while (cellar_remote_limiter_check(l, "k", 1, 1, &x) == CELLAR_OK) { n++; }
    *wait_ms = x.retry_after_ns / 1000000;
    return n;
}
static uint64_t debt_of_k(void) /* in units of that rule */
{
    redisReply *r = engine_ask(&server, "GET ~app:limit:default:k");
    const char *debt = r != NULL && r->str != NULL ? strchr(r->str, ' ') : NULL;
    return debt != NULL ? strtoull(debt, NULL, 10) / 640000 : 0;
}

/* A denied process has its next batch granted for later. It asks for none meanwhile, and spends the
 * batch when the server would have granted it. */
T_CASE_ON(denied_process_has_units_for_later, TWO_SHARES)
{
    const int64_t from = share_now_ns();
    cellar_remote_limiter *l = fast_bucket(&one, 60000);
    uint64_t wait_ms;
    const uint64_t n = admitted_until_denied(l, &wait_ms);
    T_CHECK(n >= 100 && wait_ms > 0 && wait_ms <= 1000);
    const uint64_t calls = stats_of(l).calls;
    T_EQ_U64(stats_of(l).granted, n + 50);
    T_CHECK(debt_of_k() > 100);
    while (admitted(l, "k", 1) == 0) { engine_pause_ms(1); }
    T_CHECK(n + 50 <= 100 + 200 * (uint64_t)(share_now_ns() - from) / CELLAR_SECOND_NS);
    T_EQ_U64(admitted(l, "k", 49), 49);
    T_EQ_U64(stats_of(l).calls, calls);
    T_EQ_U64(stats_of(l).unused, 0);
}

T_CASE_ON(units_for_later_expire_and_return, TWO_SHARES)
{
    cellar_remote_limiter *a = fast_bucket(&one, 1000), *b = fast_bucket(&two, 60000);
    uint64_t wait_ms;
    (void)admitted_until_denied(a, &wait_ms);
    engine_pause_ms((int)wait_ms + 1001);
    const cellar_remote_limiter_stats before = stats_of(a);
    admitted(a, "k", 1);
    T_CHECK(stats_of(a).calls > before.calls);
    T_CHECK(stats_of(a).unused >= before.unused + 50);
    limiter_close(a);
    (void)admitted_until_denied(b, &wait_ms);
    limiter_close(b);
    T_CHECK(debt_of_k() <= 100);
}

/* A grant for later does not move when other costs are asked for meanwhile. */
T_CASE_ON(later_grant_bounds_all_costs, TWO_SHARES)
{
    cellar_remote_limiter *l = fast_bucket(&one, 60000);
    uint64_t wait_ms;
    const uint64_t n = admitted_until_denied(l, &wait_ms);
    const uint64_t fp = remote_check(one.r.share->seed, "k", 1) | 1;
    remote_limit_call c = { .l = l, .slot = remote_limit_find(l, fp) };
    const uint64_t denied = atomic_load(&c.slot->denied);
    c.now = remote_denied_until(denied) - 1;
    remote_slot_deny(&c, c.now + 5000, 70);
    T_EQ_U64(atomic_load(&c.slot->denied), denied);
    remote_slot_deny(&c, c.now, 1);
    T_EQ_U64(atomic_load(&c.slot->denied), denied);
    remote_slot_deny(&c, c.now + 5000, 1);
    T_EQ_I64(remote_denied_until(atomic_load(&c.slot->denied)), c.now + 5000);
    T_CHECK(n >= 100);
}

T_CASE_ON(unspent_units_return_at_close, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    cellar_remote_limiter *a = limiter(&one, rule, 60000, 80);
    T_EQ_U64(admitted(a, "k", 10), 10);
    limiter_close(a);
    cellar_remote_limiter *b = limiter(&two, rule, 60000, 1);
    T_EQ_U64(admitted(b, "k", 200), 90);
    limiter_close(b);
    T_EQ_U64(atomic_load(&one.r.counts.limit_unused), 70);
}

/* Units that would have been refilled meanwhile are not given back: the credit ends with the debt
 * that their grant left. */
T_CASE_ON(give_back_never_mints_units, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(1000, CELLAR_SECOND_NS, 100);
    cellar_remote_limiter *a = limiter(&one, rule, 60000, 80);
    T_EQ_U64(admitted(a, "k", 1), 1);
    engine_pause_ms(120); /* the debt of the grant ends after 80 ms */
    const char *const others = "9999999999999999 99999999999"; /* a debt that no time drains */
    engine_ask(&server, "SET ~app:limit:default:k %s", others);
    limiter_close(a);
    redisReply *r = engine_ask(&server, "GET ~app:limit:default:k");
    const char *const debt = r != NULL && r->str != NULL ? strchr(r->str, ' ') : NULL;
    T_CHECK(debt != NULL && strcmp(debt, strchr(others, ' ')) == 0);
}

/* A reply that arrives after hold_ms decides the call that asked. The rest of its batch is lost. */
T_CASE_ON(late_grant_is_spent_by_its_call_alone, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    cellar_remote_limiter *l = limiter(&one, rule, 400, 10);
    one.link.delay_ms = 405;
    for (uint64_t i = 1; i <= 3; i++) {
        T_EQ_U64(admitted(l, "k", 1), 1);
        T_EQ_U64(stats_of(l).calls, i);
        T_EQ_U64(stats_of(l).granted, 10 * i);
        T_EQ_U64(stats_of(l).unused, 9 * i);
    }
}

static time_t now_s(void) /* as the server reads it; time() may be behind */
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec;
}

/* Check the begin of the period in the word of a key. Limiters of a port have no key to read. */
static void period_is_that_of_the_calendar(uint32_t c, time_t from, time_t before)
{
    static const uint32_t seconds[] = { 60, 3600, 86400, 604800 };
    struct tm t;
    if (engine_is_port()) { return; }
    gmtime_r(&from, &t);
    T_CHECK(from <= before && t.tm_sec == 0);
    if (c < CELLAR_PER_MONTH) {
        T_CHECK(before - from < (time_t)seconds[c - 1]);
        T_EQ_I64((from + (c == CELLAR_PER_WEEK ? 3 * 86400 : 0)) % seconds[c - 1], 0);
        T_CHECK(c != CELLAR_PER_WEEK || t.tm_wday == 1);
    } else {
        T_CHECK(t.tm_mday == 1 && t.tm_hour == 0 && t.tm_min == 0 && before - from < 31 * 86400);
    }
}

T_CASE_ON(fixed_window_follows_the_calendar, TWO_SHARES)
{
    for (uint32_t c = CELLAR_PER_MINUTE; c <= CELLAR_PER_MONTH; c++) {
        char key[] = { (char)('0' + c), 'a', '\0' };
        cellar_remote_limiter *l =
            limiter(&one, cellar_rule_fixed_window(3, (cellar_calendar)c), 60000, 100);
        cellar_limiter_result x;
        time_t before, from;
        uint64_t more;
        cellar_err last;
        do { /* again if a minute has ended between */
            key[1]++;
            before = now_s();
            T_EQ_U64(admitted(l, key, 1), 1);
            const redisReply *word = engine_ask(&server, "GET ~app:limit:default:%s", key);
            from = word != NULL && word->str != NULL ? strtol(word->str, NULL, 10) : 0;
            more = admitted(l, key, 9);
            last = cellar_remote_limiter_check(l, key, 2, 1, &x);
        } while (now_s() / 60 != before / 60);
        period_is_that_of_the_calendar(c, from, before);
        T_EQ_U64(more, 2);
        T_EQ_I64(last, CELLAR_LIMITED);
        T_CHECK(x.retry_after_ns > 0 && x.retry_after_ns <= 31 * CELLAR_DAY_NS);
        limiter_close(l);
    }
}

T_CASE_ON(sliding_log_is_exact, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_sliding_log(4, CELLAR_HOUR_NS);
    cellar_remote_limiter *a = limiter(&one, rule, 60000, 1),
                          *b = limiter(&two, rule, 60000, 1);
    cellar_limiter_result x;
    T_EQ_U64(admitted(a, "k", 2) + admitted(b, "k", 1), 3);
    T_EQ_I64(cellar_remote_limiter_check(a, "k", 1, 2, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns > 3590 * CELLAR_SECOND_NS && x.retry_after_ns <= CELLAR_HOUR_NS);
    T_EQ_U64(admitted(b, "k", 2), 1);
    limiter_close(a);
    limiter_close(b);
    const cellar_rule fast = cellar_rule_sliding_log(3, 100 * CELLAR_SECOND_NS / 1000);
    cellar_remote_limiter *l = limiter(&one, fast, 60000, 1);
    cellar_err fourth = CELLAR_OK; /* admitted if the four took longer than the window */
    int64_t took_ms = 100;
    for (int i = 0; i < 20 && took_ms >= 100; i++) {
        const int64_t from = share_now_ns();
        T_EQ_U64(admitted(l, "fast", 3), 3);
        fourth = cellar_remote_limiter_check(l, "fast", 4, 1, &x);
        took_ms = (share_now_ns() - from) / 1000000;
        engine_pause_ms(110);
    }
    T_EQ_I64(fourth, CELLAR_LIMITED);
    T_EQ_U64(admitted(l, "fast", 3), 3);
}

/* Let each stamp of the log lie `us` later: the clock of the server was set back. */
static void age_log(const char *us)
{
    T_EQ_I64(engine_number(engine_ask(&server, "EVAL %s 1 ~app:limit:default:k %s",
        "local l,out=redis.call('GET',KEYS[1]),'' for i=1,#l,8 do "
        "out=out..struct.pack('>d',struct.unpack('>d',l,i)+ARGV[1]) end "
        "redis.call('SET',KEYS[1],out) return #out", us)), 4 * 8);
}

T_CASE_ON(stamps_beyond_the_window_are_forgotten, TWO_SHARES)
{
    cellar_limiter_result x;
    cellar_remote_limiter *l =
        limiter(&one, cellar_rule_sliding_log(4, 120 * CELLAR_SECOND_NS), 60000, 1);
    T_EQ_U64(admitted(l, "k", 4), 4);
    age_log("60000000"); /* within the window: they count until they are older than it */
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns <= 120 * CELLAR_SECOND_NS);
    limiter_close(l);
    engine_ask(&server, "DEL ~app:limit:default:k");
    l = limiter(&one, cellar_rule_sliding_log(4, 120 * CELLAR_SECOND_NS), 60000, 1);
    T_EQ_U64(admitted(l, "k", 4), 4);
    limiter_close(l); /* it knows that it was denied */
    age_log("600000000");
    l = limiter(&one, cellar_rule_sliding_log(4, 120 * CELLAR_SECOND_NS), 60000, 1);
    T_EQ_U64(admitted(l, "k", 9), 4);
    limiter_close(l);
    const redisReply *log = engine_ask(&server, "GET ~app:limit:default:k");
    T_CHECK(log != NULL && log->len == 4 * 8);

    char word[64];
    snprintf(word, sizeof word, "%lld 3", (long long)time(NULL) / 60 * 60 + 600);
    engine_ask(&server, "SET ~app:limit:default:k %s", word);
    l = limiter(&one, cellar_rule_fixed_window(3, CELLAR_PER_MINUTE), 60000, 1);
    T_EQ_U64(admitted(l, "k", 1), 1);
}

/* The server was ahead by 10 minutes when it noted the debt: a denied call lets the debt drain. */
T_CASE_ON(debt_drains_from_the_first_denial_when_the_clock_was_set_back, TWO_SHARES)
{
    cellar_limiter_result x;
    const cellar_rule rule = cellar_rule_token_bucket(4, CELLAR_HOUR_NS, 4);
    cellar_remote_limiter *l = limiter(&one, rule, 60000, 1);
    T_EQ_U64(admitted(l, "k", 4), 4);
    limiter_close(l);
    T_CHECK(engine_ask(&server, "EVAL %s 1 ~app:limit:default:k 600000000",
        "local at,debt=string.match(redis.call('GET',KEYS[1]),'^(%d+) (%d+)$') "
        "redis.call('SET',KEYS[1],string.format('%.0f %s',at+ARGV[1],debt)) return 1") != NULL);
    l = limiter(&one, rule, 60000, 1);
    T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_LIMITED);
    T_CHECK(x.retry_after_ns <= CELLAR_HOUR_NS / 4);
    T_EQ_I64(engine_number(engine_ask(&server, "EVAL %s 1 ~app:limit:default:k",
        "local at=string.match(redis.call('GET',KEYS[1]),'^(%d+) ') local t=redis.call('TIME') "
        "return tonumber(at)<=t[1]*1000000+t[2] and 1 or 0")), 1);
}

/* A call with the own id makes the server write the list of the processes. */
T_CASE_ON(process_is_announced_once_a_second, TWO_SHARES)
{
    cellar_remote_limiter *l = bucket(&one, 9, 1);
    l->start_ms -= 100000; /* it was opened 100 s ago */
    T_EQ_U64(admitted(l, "k", 1), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL ~app:members:limit:default")), 1);
    l->members_at += 60000; /* the machine may be slow */
    T_EQ_U64(admitted(l, "k", 1), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:members:limit:default")), 0);
    l->members_at -= 61000;
    T_EQ_U64(admitted(l, "k", 1), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:members:limit:default")), 1);
}

static uint64_t admitted_offline(cellar_remote_limiter_offline policy)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_remote_limiter_config o = cellar_remote_limiter_config_default();
    cellar_remote_limiter *a, *b;
    o.offline = policy;
    o.hold_ms = 20000; /* also the wait for the server, on a loaded machine */
    o.batch = 1;
    a = limiter_with(&one, rule, &o);
    b = limiter_with(&two, rule, &o);
    T_EQ_U64(admitted(a, "k", 1) + admitted(b, "k", 1), 2);
    T_EQ_U64(stats_of(b).processes, 2);
    engine_kill(&server);
    const uint64_t n = admitted(b, "k", 100);
    T_EQ_U64(stats_of(b).offline, 100);
    limiter_close(a);
    limiter_close(b);
    return n;
}
T_CASE(policy_decides_without_the_server)
{
    static const uint64_t want[] = { 5, 10, 0, 100 };
    for (int i = 0; i < 4; i++) {
        two_shares_open();
        T_EQ_U64(admitted_offline((cellar_remote_limiter_offline)i), want[i]);
        left_close();
    }
}

/* The local rule of an outage ends with the next proof of the link, not hold_ms later. */
T_CASE_ON(server_is_asked_again_once_the_link_is_proven, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    one.r.cfg.io_ms = 40;
    one.link.proven_ms = 5;
    cellar_remote_limiter *l = limiter(&one, rule, 60000, 1);
    engine_signal(&server, SIGSTOP);
    T_EQ_U64(admitted(l, "k", 5), 0);
    T_EQ_U64(stats_of(l).calls, 1);
    engine_signal(&server, SIGCONT);
    one.r.cfg.io_ms = 10000 * t_patience();
    T_EQ_U64(admitted(l, "k", 5), 0);
    T_EQ_U64(stats_of(l).calls, 1);
    one.link.proven_ms = 6;
    T_EQ_U64(admitted(l, "k", 5), 5);
}

/* A table of 4 slots and 100 keys: each key keeps its own burst. */
T_CASE_ON(full_table_keeps_keys_apart, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(4, CELLAR_HOUR_NS, 4);
    cellar_remote_limiter *l;
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .max_keys = 4, .hold_ms = 60000,
                                       .batch = 2 };
    l = limiter_with(&one, rule, &o);
    uint64_t n = 0;
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 100; i++) {
            char key[8];
            snprintf(key, sizeof key, "%d", i);
            n += admitted(l, key, 1);
        }
    }
    T_CHECK(n >= 200 && n <= 400); /* a batch of 2 is lost when its slot takes another key */
    T_EQ_U64(n + stats_of(l).unused, stats_of(l).granted);
    T_EQ_U64(stats_of(l).keys, 4);
    const uint64_t calls = stats_of(l).calls;
    T_REQUIRE(admitted(l, "new", 2) == 2);
    T_REQUIRE(stats_of(l).calls == calls + 1); /* the second unit is of the batch in the slot */
}

enum { CROWD = 4 };
typedef struct crowd {
    cellar_remote_limiter *l;
    atomic_int ready;
    atomic_uint_least64_t admitted;
} crowd;
static void *crowd_check_once(void *arg)
{
    crowd *c = arg;
    atomic_fetch_add(&c->ready, 1);
    while (atomic_load(&c->ready) < CROWD) { sched_yield(); }
    atomic_fetch_add(&c->admitted, admitted(c->l, "k", 1));
    return NULL;
}
/* Return whether one call of all threads asked the frozen server, for hold_ms, and its end decided
 * the checks of all. */
static bool one_asks_for_all(void)
{
    two_shares_open();
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    enum { HOLD_MS = 400 };
    pthread_t t[CROWD];
    one.r.cfg.io_ms = HOLD_MS;
    crowd c = { .l = limiter(&one, rule, HOLD_MS, 5) };
    engine_signal(&server, SIGSTOP);
    const int64_t from = share_now_ns();
    for (int i = 0; i < CROWD; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, crowd_check_once, &c) == 0);
    }
    for (int i = 0; i < CROWD; i++) { pthread_join(t[i], NULL); }
    const int64_t took_ms = (share_now_ns() - from) / 1000000;
    T_EQ_U64(atomic_load(&c.admitted), 0);
    T_EQ_U64(stats_of(c.l).offline, CROWD);
    const uint64_t attempts = stats_of(c.l).calls;
    engine_signal(&server, SIGCONT);
    limiter_close(c.l);
    left_close();
    return took_ms < HOLD_MS * 3 / 2 * (int64_t)t_patience() && attempts == 1; /* of one check */
}

/* A thread of a busy machine may come when hold_ms is over: the best of 20 counts. */
T_CASE(frozen_server_is_asked_for_one_of_many_threads)
{
    bool alone = false;
    for (int i = 0; i < 20 && !alone && !t_failed(); i++) { alone = one_asks_for_all(); }
    T_CHECK(alone);
}

static void *crowd_check(void *arg)
{
    crowd *c = arg;
    for (int i = 0; i < 400; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i % 12);
        atomic_fetch_add(&c->admitted, admitted(c->l, key, 1));
    }
    return NULL;
}
/* 8 threads, 12 keys, 8 slots: no unit is spent twice while slots change their keys. */
T_CASE_ON(threads_spend_each_unit_once, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    crowd c = { .l = NULL };
    pthread_t t[8];
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .max_keys = 8, .hold_ms = 60000,
                                       .batch = 7 };
    c.l = limiter_with(&one, rule, &o);
    for (int i = 0; i < 8; i++) { T_REQUIRE(pthread_create(&t[i], NULL, crowd_check, &c) == 0); }
    for (int i = 0; i < 8; i++) { pthread_join(t[i], NULL); }
    uint64_t left = 0;
    for (size_t i = 0; i < 8; i++) { left += remote_word_count(atomic_load(&c.l->slots[i].tokens)); }
    const cellar_remote_limiter_stats s = stats_of(c.l);
    T_EQ_U64(atomic_load(&c.admitted) + s.unused + left, s.granted);
    T_CHECK(s.granted <= 1200);
}

T_CASE_ON(each_failed_allocation_is_a_code, TWO_SHARES)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_remote_limiter *l;
    atomic_store(&share_fail_alloc, 1);
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &rule, NULL, &l), CELLAR_E_NOMEM);
    T_CHECK(l == NULL);
    l = limiter(&one, rule, 60000, 1);
    atomic_store(&share_fail_alloc, 1);
    T_EQ_U64(admitted(l, "k", 2), 1); /* the policy denies the first one; the second has memory */
    atomic_store(&share_fail_alloc, 0);
    limiter_close(l);
    share s;
    for (int i = 1; i <= 1; i++) {
        memset(&s, 0, sizeof s);
        atomic_store(&share_fail_alloc, i);
        T_EQ_I64(remote_share_open(&s.r), CELLAR_E_NOMEM);
    }
}

T_CASE_ON(bad_input_is_refused, TWO_SHARES)
{
    cellar_remote_limiter *l;
    const cellar_rule good = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    T_EQ_I64(cellar_remote_limiter_open(NULL, &good, NULL, &l), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_limiter_open(&one.r, NULL, NULL, &l), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &good, NULL, NULL), CELLAR_E_INVAL);
    cellar_rule bans = good;
    bans.ban_ns = CELLAR_HOUR_NS;
    const struct { cellar_rule rule; cellar_err want; const char *text; } rules[] = {
        { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 0), CELLAR_E_INVAL, "rule.burst" },
        { cellar_rule_token_bucket(10, 0, 1), CELLAR_E_INVAL, "period" },
        { cellar_rule_token_bucket_strict(10, CELLAR_HOUR_NS, 5), CELLAR_E_UNSUPPORTED, "strict" },
        { bans, CELLAR_E_UNSUPPORTED, "ban_ns" },
        { cellar_rule_sliding_window(10, CELLAR_HOUR_NS), CELLAR_E_UNSUPPORTED, "sliding log" },
        { cellar_rule_concurrency(10), CELLAR_E_UNSUPPORTED, "fixed window" },
        { cellar_rule_fixed_window(10, (cellar_calendar)6), CELLAR_E_INVAL, "calendar" },
        { cellar_rule_sliding_log(4097, CELLAR_HOUR_NS), CELLAR_E_RANGE, "4096" },
        { cellar_rule_token_bucket(UINT64_MAX, CELLAR_HOUR_NS, 10), CELLAR_E_RANGE, "10^9" },
        { cellar_rule_token_bucket(900000000, CELLAR_SECOND_NS, 10), CELLAR_E_RANGE, "10^6" },
        { cellar_rule_token_bucket(1, 400 * CELLAR_DAY_NS, 2), CELLAR_E_RANGE, "400 days" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        T_EQ_I64(cellar_remote_limiter_open(&one.r, &rules[i].rule, NULL, &l), rules[i].want);
        T_CHECK(l == NULL);
        cellar_error_info e = cellar_error_info_default();
        remote_call_failure(&e);
        T_EQ_I64(e.code, rules[i].want);
        if (strstr(e.text, rules[i].text) == NULL) { T_EQ_STR(e.text, rules[i].text); }
    }
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .name = "a:b" };
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &good, &o, &l), CELLAR_E_INVAL);
    o = cellar_remote_limiter_config_default();
    o.hold_ms = 60001;
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &good, &o, &l), CELLAR_E_RANGE);
    o = cellar_remote_limiter_config_default();
    o.batch = 4097;
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &good, &o, &l), CELLAR_E_RANGE);
    o.struct_size = 1;
    T_EQ_I64(cellar_remote_limiter_open(&one.r, &good, &o, &l), CELLAR_E_UNSUPPORTED);
    T_REQUIRE(cellar_remote_limiter_open(&one.r, &good, NULL, &l) == CELLAR_OK);
    T_EQ_I64(cellar_remote_limiter_check(l, "", 0, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_limiter_check(l, NULL, 1, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_limiter_check(NULL, "k", 1, 1, NULL), CELLAR_E_INVAL);
    limiter_close(l);
    cellar_remote_limiter_close(NULL);
}

/* A unit of a later grant would count in a window that has had its units. */
T_CASE_ON(check_that_stood_still_spends_no_later_unit, TWO_SHARES)
{
    cellar_remote_limiter *l = bucket(&one, 100, 50);
    cellar_limiter_result out;
    l->start_ms -= 1000; /* it was opened a second ago */
    T_EQ_U64(admitted(l, "k", 1), 1);
    remote_limit_call c = { .l = l, .key = "k", .key_len = 1, .cost = 1, .out = &out,
                            .fp = remote_check(one.r.share->seed, "k", 1) | 1 };
    c.slot = remote_limit_find(l, c.fp);
    T_REQUIRE(c.slot != NULL);
    const int64_t sent = remote_word_until(atomic_load(&c.slot->tokens)) - l->hold_ms;
    c.now = sent - 1;
    T_EQ_I64(remote_limit_spend(&c), CELLAR_MISS);
    c.now = sent;
    T_EQ_I64(remote_limit_spend(&c), CELLAR_OK);
}

/* Let a script that returns these numbers have the place of the one of token buckets. */
static void server_returns(long long granted, long long wait_us)
{
    char text[80];
    snprintf(text, sizeof text, "return {%lld,%lld,1,0}", granted, wait_us);
    const redisReply *digest = engine_ask(&server, "SCRIPT LOAD %s", text);
    T_REQUIRE(digest != NULL && digest->type == REDIS_REPLY_STRING);
    memcpy(one.r.sha[REMOTE_SCRIPT_BUCKET], digest->str, REMOTE_SHA1_TEXT);
}

/* Let other calls ask for all keys that have a place. */
static void take_all_places(cellar_remote_limiter *l)
{
    for (uint32_t i = 0; i < l->buckets * REMOTE_LIMIT_WAYS; i++) {
        atomic_store(&l->slots[i].fp, i + 1);
        l->cold[i].asking = 1;
    }
}

/* A batch has 50 units, and at most 1 s of them is granted ahead. */
T_CASE_ON(numbers_that_no_script_returns_are_refused, TWO_SHARES)
{
    static const struct {
        uint64_t cost;
        long long granted, wait_us;
        bool valid, no_place;
    } row[] = {
        { 1, 50, 0, true, false }, { 5, 5, 0, true, false }, { 60, 60, 0, true, false },
        { 1, 50, 1000000, true, false }, { 1, 0, 1LL << 53, true, false },
        { 5, 4, 0, false, false }, { 1, 51, 0, false, false }, { 1, 8192, 0, false, false },
        { 1, 1LL << 50, 0, false, false }, { 1, -1, 0, false, false },
        { 1, -1, 5, false, false }, { 1, 50, 1000001, false, false },
        { 60, 60, 5, false, false }, { 60, 61, 0, false, false },
        { 1, 0, 1LL << 54, false, false }, { 1, 50, 0, false, true }, { 1, 1, 5, false, true },
    };
    const cellar_rule rule = cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        cellar_remote_limiter *l = limiter(&one, rule, 60000, 50);
        cellar_limiter_result x;
        if (row[i].no_place) { take_all_places(l); }
        server_returns(row[i].granted, row[i].wait_us);
        const bool grant = row[i].valid && row[i].granted > 0 && row[i].wait_us == 0;
        T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, row[i].cost, &x),
                 grant ? CELLAR_OK : CELLAR_LIMITED);
        T_CHECK(x.remaining < 50);
        T_EQ_U64(stats_of(l).granted, row[i].valid ? (uint64_t)row[i].granted : 0);
        T_EQ_U64(stats_of(l).offline, row[i].valid ? 0 : 1);
        limiter_close(l);
    }
}

T_CASE_ON(check_in_a_callback_does_not_ask, TWO_SHARES)
{
    cellar_remote_limiter *l = bucket(&one, 100, 50);
    atomic_store(&share_inside, true);
    T_EQ_U64(admitted(l, "k", 1), 0); /* DENY */
    T_EQ_U64(stats_of(l).calls, 0);
    atomic_store(&share_inside, false);
    T_EQ_U64(admitted(l, "k", 50), 50);
    T_EQ_U64(stats_of(l).offline, 1);
}

T_MAIN("remote_limit")
