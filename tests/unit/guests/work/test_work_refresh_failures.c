/* SPDX-License-Identifier: MIT
 *
 * Aim:    A failed refresh keeps the old value and backs off up to the interval. Changes of the
 *         program win over refreshes, and breakers bound the calls of the upstream. A row with a day
 *         end serves nothing of yesterday, wherever its zone, its load and its ticks put midnight.
 * Method: Both clocks are variables; the test calls cellar_tick, which runs the loads.
 *         The upstream fails when told to and acts in the middle of loads. */
#include "tests/support/refresh_kit.h"

/* ---- changes and failures ---- */

static void delete_it(const void *key, size_t len)
{
    T_EQ_I64(cellar_delete(c, key, len), CELLAR_OK);
}
static void set_it(const void *key, size_t len)
{
    T_EQ_I64(cellar_set(c, key, len, "newer", 5, NULL), CELLAR_OK);
}
static void read_it(const void *key, size_t len)
{
    char text[64];
    size_t n;
    (void)key, (void)len;
    T_EQ_I64(cellar_get(c, "k", 1, text, sizeof text, &n), CELLAR_OK);
    T_CHECK(n >= 1 && text[0] == '1'); /* the old value */
}

T_CASE_ON(refresh_delete_wins, ROWS)
{
    add("k", HOUR, 2 * HOUR);
    pass(HOUR, HOUR, NULL);
    T_CHECK(read_key("k")[0] == '1');
    up.during = read_it; /* the old value is served until the new one is stored */
    pass(HOUR, HOUR, NULL);
    T_CHECK(read_key("k")[0] == '2');
    up.during = delete_it;
    T_AFTER_STR(pass(HOUR, HOUR, NULL), read_key("k"), "");
    up.during = set_it;
    T_AFTER_STR(pass(HOUR, HOUR, NULL), read_key("k"), "newer");
    T_FIELDS(figures(), not_stored, 2, ok, 4);
}

T_CASE_ON(failure_keeps_the_old_value_and_backs_off, ROWS)
{
    cellar_refresh_opts o = opts(30 * SECOND);
    o.stale_ms = HOUR;
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", 10 * SECOND, &o), CELLAR_OK);
    T_AFTER_U64(pass(10 * SECOND, SECOND, NULL), up.calls, 1);
    up.down = true;
    pass(10 * SECOND, SECOND, NULL);
    T_CHECK(read_key("k")[0] == '1'); /* fresh: its TTL has not ended */
    const cellar_refresh_info info = row_of("k");
    T_CHECK(info.failed >= 2 && info.last_err == CELLAR_E_LOADER && info.keys_left == 1);
    T_CHECK(info.failed_age_ms >= 0 && info.failed_age_ms < 10 * SECOND);
    T_EQ_I64(info.ok_age_ms >= 10 * SECOND, 1);
    T_CHECK(strstr(logged, "2 refresh ") == logged && strstr(logged, "\"up\" failed") != NULL);
    pass(MINUTE, SECOND, NULL);
    T_EQ_STR(read_key("k"), ""); /* cellar_get takes no stale value */
    cellar_get_opts stale = { .struct_size = sizeof stale, .flags = CELLAR_GET_ALLOW_STALE };
    char text[64];
    size_t len;
    T_EQ_I64(cellar_get_with(c, "k", 1, &stale, text, sizeof text, &len), CELLAR_STALE);
    up.down = false;
    pass(2 * MINUTE, SECOND, NULL);
    T_CHECK(read_key("k")[0] != '\0');
    T_EQ_U64(row_of("k").keys_left, 0);
    T_EQ_U64(figures().missed, 0);
}

/* The source works again: the key that is left is tried within a second, not within the hour. */
T_CASE_ON(key_that_succeeds_ends_the_backing_off_of_its_row, ROWS)
{
    listed.keys[0] = "a";
    listed.keys[1] = "b";
    listed.count = 2;
    T_EQ_I64(add_pattern(r, c, "*", "many", HOUR, NULL), CELLAR_OK);
    up.down = true;
    while (row_of("*").failed < 24) { turn(tick()); }
    up.down = false;
    up.bad = 'b';
    int64_t wait_ms = tick();
    for (; row_of("*").ok == 0; wait_ms = tick()) { turn(wait_ms); }
    T_EQ_U64(row_of("*").keys_left, 1);
    T_CHECK(wait_ms <= SECOND);
}

/* A namespace that remembers failures: a failed refresh leaves no error in place of the value. */
T_CASE_ON(remembered_failures_leave_the_old_value, ROWS)
{
    cellar *ns;
    char text[64];
    size_t len;
    cellar_load_opts lo = { .struct_size = sizeof lo, .error_ttl_ms = MINUTE };
    cellar_namespace_config no = { .struct_size = sizeof no, .load = &lo };
    T_EQ_I64(cellar_namespace_open(c, "ns", &no, &ns), CELLAR_OK);
    const cellar_refresh_opts o = opts(HOUR);
    T_EQ_I64(cellar_refresh_add(r, ns, "k", 1, "up", MINUTE, &o), CELLAR_OK);
    pass(MINUTE, MINUTE, NULL);
    up.down = true;
    pass(10 * MINUTE, SECOND, NULL);
    T_CHECK(figures().failed > 5);
    T_EQ_I64(cellar_get(ns, "k", 1, text, sizeof text, &len), CELLAR_OK);
    up.down = false;
    const uint64_t ok = figures().ok;
    pass(3 * MINUTE, SECOND, NULL);
    T_CHECK(figures().ok > ok); /* no remembered failure stops a refresh */
    T_EQ_I64(cellar_refresh_remove(r, ns, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
}

T_CASE_ON(open_breaker_lets_only_probes_pass, ROWS)
{
    for (unsigned i = 0; i < 20; i++) { add(t_numbered("k", i), MINUTE, 2 * MINUTE); }
    T_AFTER_U64(pass(MINUTE, SECOND, NULL), up.calls, 20);
    up.down = true;
    pass(MINUTE, SECOND, NULL); /* 20 failures in 10 s open it */
    const uint64_t calls = up.calls;
    T_CHECK(figures().skipped_breaker > 0);
    pass(10 * MINUTE, SECOND, NULL); /* 20 rows ask each minute; probes only */
    T_CHECK(up.calls - calls < 140); /* a probe each 5.5 s at most, on average; 350 without */
    T_CHECK(figures().skipped_breaker > 200);
    up.down = false;
    pass(5 * MINUTE, SECOND, NULL);
    for (unsigned i = 0; i < 20; i++) {
        const char *key = t_numbered("k", i);
        T_CHECK(read_key(key)[0] != '\0');
        T_EQ_U64(row_of(key).keys_left, 0);
    }
}

/* A call of the program holds the key: its load comes first. */
T_CASE_ON(load_of_the_program_comes_first, ROWS)
{
    cellar_lease lease;
    cellar_result res = cellar_result_default();
    add("k", MINUTE, 2 * MINUTE);
    turn(row_of("k").next_ms - 1);
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &res), CELLAR_LEASED);
    T_AFTER_U64(pass(1, 1, NULL), figures().skipped_busy, 1);
    T_EQ_U64(up.calls, 0);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "given", 5, NULL), CELLAR_OK);
    T_EQ_STR(read_key("k"), "given");
    T_AFTER_U64(pass(2 * SECOND, SECOND, NULL), up.calls, 1); /* the row looks again */
    cellar_result_free(&res);
}

T_CASE_ON(disabled_namespace_is_not_refreshed, ROWS)
{
    add("k", MINUTE, 2 * MINUTE);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_AFTER_U64(pass(10 * MINUTE, MINUTE, NULL), up.calls, 0);
    T_EQ_U64(figures().skipped_off, 10);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_AFTER_U64(pass(MINUTE, MINUTE, NULL), up.calls, 1);
}

T_CASE_ON(short_ttl_is_reported, ROWS)
{
    add("fine", MINUTE, 2 * MINUTE);
    T_EQ_STR(logged, "");
    T_EQ_U64(figures().short_ttls, 0);
    add("brief", MINUTE, 2 * MINUTE - 1);
    T_CHECK(strstr(logged, "below twice its interval") != NULL);
    T_EQ_U64(figures().short_ttls, 1);
    T_EQ_U64(row_of("brief").flags, CELLAR_REFRESH_SHORT_TTL);
    T_EQ_U64(row_of("fine").flags, 0);
}

/* ---- days ---- */

static void no_value_of_yesterday(void)
{
    const char *text = read_key("daily");
    if (*text == '\0') { return; }
    T_EQ_I64(strtoll(strchr(text, ' '), NULL, 10) / DAY, wall_ms / DAY);
}

static void add_daily(int64_t interval_ms, int64_t ttl_ms, int64_t stale_ms)
{
    cellar_refresh_opts o = opts(ttl_ms);
    o.stale_ms = stale_ms;
    o.at = "00:00@UTC";
    T_EQ_I64(cellar_refresh_add(r, c, "daily", 5, "up", interval_ms, &o), CELLAR_OK);
}

/* Midnight passes inside the loader: its value is of yesterday. */
static void midnight_in_the_load(const void *key, size_t len)
{
    (void)key, (void)len;
    if (wall_ms % DAY > DAY - 2 * MINUTE) { turn(5 * MINUTE); }
}

T_CASE(refresh_midnight)
{
    open_all();
    add_daily(15 * MINUTE, 30 * MINUTE, 2 * HOUR);
    T_AFTER_U64(pass(3 * DAY, MINUTE, no_value_of_yesterday), figures().days, 3);
    T_CHECK(read_key("daily")[0] != '\0');
    T_EQ_U64(figures().ok, 3 * 96 + 3);
    close_all();

    open_all(); /* the upstream fails over midnight: nothing, rather than yesterday's value */
    add_daily(15 * MINUTE, 2 * DAY, 2 * DAY);
    pass(12 * HOUR - MINUTE, MINUTE, no_value_of_yesterday);
    T_CHECK(read_key("daily")[0] != '\0');
    up.down = true;
    T_AFTER_STR(pass(HOUR, MINUTE, no_value_of_yesterday), read_key("daily"), "");
    up.down = false;
    pass(20 * MINUTE, MINUTE, no_value_of_yesterday);
    T_CHECK(read_key("daily")[0] != '\0');
    close_all();

    open_all(); /* a load that lasts over midnight stores nothing, the run of the day does */
    add_daily(MINUTE, 2 * MINUTE, 0);
    up.during = midnight_in_the_load;
    T_AFTER_U64(pass(12 * HOUR + 30 * MINUTE, MINUTE, no_value_of_yesterday), figures().days, 1);
    T_CHECK(figures().not_stored >= 1);
    T_CHECK(read_key("daily")[0] != '\0');
    close_all();
}

/* What the program stored yesterday ends as well, also of a key that is listed for the first time,
 * and also if the list comes late. A load that began yesterday stores nothing. */
T_CASE(day_ends_what_the_program_stored)
{
    cellar_lease lease;
    cellar_result res = cellar_result_default();
    open_all();
    add_daily(6 * HOUR, 12 * HOUR, 0);
    cellar_refresh_opts o = opts(12 * HOUR);
    o.at = "00:00@UTC";
    T_EQ_I64(add_pattern(r, c, "new:*", "many", 6 * HOUR, &o), CELLAR_OK);
    T_EQ_I64(add_pattern(r, c, "late:*", "many", 6 * HOUR, &o), CELLAR_OK);
    pass(12 * HOUR - 1, HOUR, NULL);
    T_EQ_I64(cellar_set(c, "daily", 5, "yesterday", 9, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "new:1", 5, "yesterday", 9, NULL), CELLAR_OK);
    up.down = true;
    listed.keys[0] = "new:1";
    listed.count = 1;
    T_AFTER_STR(pass(1, 1, NULL), read_key("daily"), "");
    T_EQ_STR(read_key("new:1"), "");
    close_all();

    open_all();
    T_EQ_I64(add_pattern(r, c, "late:*", "many", 6 * HOUR, &o), CELLAR_OK);
    listed.fails = true;
    pass(12 * HOUR - 1, HOUR, NULL);
    T_EQ_I64(cellar_set(c, "late:1", 6, "yesterday", 9, NULL), CELLAR_OK);
    up.down = true;
    T_AFTER_STR(pass(1, 1, NULL), read_key("late:1"), "yesterday"); /* no list, no key */
    listed.fails = false;
    listed.keys[0] = "late:1";
    listed.count = 1;
    T_AFTER_STR(pass(6 * HOUR, MINUTE, NULL), read_key("late:1"), "");
    close_all();

    open_all();
    add_daily(6 * HOUR, 12 * HOUR, 0);
    T_AFTER_I64(pass(12 * HOUR - 1, HOUR, NULL), cellar_delete(c, "daily", 5), CELLAR_OK);
    T_EQ_I64(cellar_lease_acquire(c, "daily", 5, NULL, NULL, &lease, &res), CELLAR_LEASED);
    up.down = true;
    pass(1, 1, NULL);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "yesterday", 9, NULL), CELLAR_INVALIDATED);
    T_EQ_STR(read_key("daily"), "");
    cellar_result_free(&res);
    close_all();
}

/* No tick comes after midnight: the TTL has ended with the day, and so has the stale window. */
T_CASE_ON(late_refresher_serves_nothing_of_yesterday, ROWS)
{
    char text[64];
    size_t len;
    cellar_get_opts stale = { .struct_size = sizeof stale, .flags = CELLAR_GET_ALLOW_STALE };
    add_daily(15 * MINUTE, 2 * HOUR, 2 * HOUR);
    pass(12 * HOUR - 1, MINUTE, NULL);
    T_CHECK(read_key("daily")[0] != '\0');
    turn(1);
    T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), CELLAR_MISS);
}

/* The program loads a key while the row still fails: the next try keeps that value. */
T_CASE(next_try_of_a_day_deletes_nothing)
{
    open_all();
    add_daily(6 * HOUR, 12 * HOUR, 0);
    pass(12 * HOUR - 1, HOUR, no_value_of_yesterday);
    T_CHECK(read_key("daily")[0] != '\0');
    up.down = true;
    T_AFTER_STR(pass(1, 1, NULL), read_key("daily"), "");
    T_EQ_I64(cellar_set(c, "daily", 5, "today", 5, NULL), CELLAR_OK);
    pass(HOUR, MINUTE, NULL);
    T_CHECK(figures().failed > 2);
    T_EQ_STR(read_key("daily"), "today");
    close_all();

    cellar_refresh_loader_opts lo = cellar_refresh_loader_opts_default();
    cellar_refresh_opts o = opts(2 * DAY);
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    bo.open_ms = bo.open_max_ms = DAY;
    o.stale_ms = 2 * DAY;
    o.at = "00:00@UTC";
    open_all(); /* the breaker is open at midnight: all keys end nevertheless */
    T_EQ_I64(cellar_breaker_create(c, &bo, &lo.breaker), CELLAR_OK);
    T_EQ_I64(cellar_refresh_loader(r, c, "touchy", load, "upstream", &lo), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(r, c, "daily", 5, "touchy", 6 * HOUR, &o), CELLAR_OK);
    pass(12 * HOUR - 1, HOUR, NULL);
    uint32_t admitted;
    T_EQ_I64(cellar_breaker_allow(lo.breaker, &admitted), CELLAR_OK);
    T_EQ_I64(cellar_breaker_record(lo.breaker, admitted, CELLAR_BREAKER_FAILURE), CELLAR_OK);
    T_CHECK(read_key("daily")[0] != '\0');
    const uint64_t calls = up.calls;
    T_AFTER_U64(pass(1, 1, NULL), figures().skipped_breaker, 1);
    T_EQ_U64(up.calls, calls);
    char text[64];
    size_t len;
    cellar_get_opts stale = { .struct_size = sizeof stale, .flags = CELLAR_GET_ALLOW_STALE };
    T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), CELLAR_MISS);
    close_all();
    cellar_breaker_destroy(lo.breaker);
}

/* A step of the wall clock computes the time of day again. */
T_CASE_ON(days_follow_the_wall_clock, ROWS)
{
    add_daily(6 * HOUR, 12 * HOUR, 0);
    T_AFTER_U64(pass(DAY, HOUR, NULL), figures().days, 1);
    wall_ms += 3 * DAY; /* forward: what it jumped over runs once */
    T_AFTER_U64(tick(), figures().days, 2);
    T_EQ_U64(figures().clock_steps, 1);
    wall_ms -= 2 * DAY;
    T_AFTER_U64(tick(), figures().days, 2);
    T_AFTER_U64(pass(DAY, HOUR, NULL), figures().days, 3);
}

/* A worker reads the clocks, stops, and goes on after the timer of a row has fired. */
T_CASE_ON(row_that_fired_after_the_worker_read_the_clock_runs_later, ROWS)
{
    int64_t wait_ms;
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", MINUTE, NULL), CELLAR_OK);
    pass(2 * MINUTE, MINUTE, NULL);
    const uint64_t calls = up.calls;
    turn(MINUTE);
    readings_to_old = 2; /* the first is that of the timers */
    old_by_ms = MINUTE + 1;
    while (readings_to_old != 0) { (void)cellar_tick(r, 1, &wait_ms); }
    T_EQ_U64(up.calls, calls);
    mono_ms += old_by_ms;
    T_AFTER_U64(tick(), up.calls, calls + 1);
}

T_ONE_THREAD;
T_MAIN("work_refresh_failures")
