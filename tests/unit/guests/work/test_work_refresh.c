/* SPDX-License-Identifier: MIT
 *
 * Aim:    rows refresh their keys on schedule: reads find the old value until the new one is
 *         stored, failures keep it and back off, days end where the zone says, nothing is skipped
 *         uncounted. Changes of the program win over refreshes. Breakers bound the calls of the
 *         upstream.
 * Method: both clocks are variables; the test calls cellar_tick, which runs the loads. The loader
 *         is an upstream of the test: it fails by a generator or when told to, and acts in the
 *         middle of loads. */
#include "base/fault.h"
#include "cellar_limit.h"
#include "cellar_object.h"
#include "cellar_observe.h"
#include "tests/support/refusals.h"
#include "tests/support/same_metrics.h"
#include "tests/support/struct_sizes.h"
#include "tests/support/zones.h"
#include "tests/support/rules.h" /* before refresh_kit.h: its `c` shadows parameters */
#include "tests/support/refresh_kit.h"

T_ONE_THREAD;

/* ---- the table of the seed ---- */

static const char s4_rules[] =
    "[*]\nset negative=60s refresh=1h\n"
    "key projects:list:{scope} ttl=2h refresh=1h loader=projects_list priority=low stale=1h\n"
    "key project:{id}:info ttl=2h refresh=1h loader=project_info priority=low stale=1h\n"
    "key project:{id}:stats ttl=1h refresh=30m loader=project_stats priority=mid stale=1h\n"
    "key project:{id}:daily_stats ttl=30m refresh=15m loader=daily_stats priority=mid "
    "at=00:00@+08:00 stale=1h\n"
    "key project:{id}:leaderboard:{type} ttl=1h refresh=30m loader=leaderboard priority=mid "
    "stale=1h\n"
    "key project:{id}:topics ttl=10m refresh=5m loader=topics priority=high stale=1h\n";

static const struct s4_row {
    const char *pattern, *loader, *key;
    int64_t interval_ms, ttl_ms;
} s4[] = {
    { "projects:list:{scope}", "projects_list", "projects:list:ongoing", HOUR, 2 * HOUR },
    { "project:{id}:info", "project_info", "project:7:info", HOUR, 2 * HOUR },
    { "project:{id}:stats", "project_stats", "project:7:stats", 30 * MINUTE, HOUR },
    { "project:{id}:daily_stats", "daily_stats", "project:7:daily_stats", 15 * MINUTE,
      30 * MINUTE },
    { "project:{id}:leaderboard:{type}", "leaderboard", "project:7:leaderboard:points",
      30 * MINUTE, HOUR },
    { "project:{id}:topics", "topics", "project:7:topics", 5 * MINUTE, 10 * MINUTE }
};
enum { S4_ROWS = sizeof s4 / sizeof s4[0] };

static cellar_err list_s4(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    const struct s4_row *row = ctx;
    T_EQ_STR(pattern, row->pattern);
    return cellar_refresh_keys_add(keys, row->key, strlen(row->key));
}

static void add_s4_loader(const struct s4_row *row)
{
    cellar_refresh_loader_opts o = { .struct_size = sizeof o, .lister = list_s4,
                                     .lister_ctx = (void *)(uintptr_t)row };
    T_EQ_I64(cellar_refresh_loader(r, c, row->loader, load, "upstream", &o), CELLAR_OK);
}

static void open_s4(void)
{
    size_t rows;
    open_all();
    T_REQUIRE(rules_set(c, s4_rules, sizeof s4_rules - 1, NULL, NULL) == CELLAR_OK);
    T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
    T_EQ_U64(rows, S4_ROWS);
}

static uint64_t reads, late_reads, empty_reads;

/* Read each key as a page does: a value is there, and not older than its TTL and stale window. */
static void read_s4(void)
{
    for (size_t i = 0; i < S4_ROWS; i++) {
        char text[64];
        size_t len;
        cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
        const cellar_err err = cellar_get_with(c, s4[i].key, strlen(s4[i].key), &o, text,
                                               sizeof text - 1, &len);
        reads++;
        late_reads += err == CELLAR_STALE;
        const int64_t day_ms = (wall_ms + 8 * HOUR) % DAY; /* a new day waits for its first load */
        empty_reads += err != CELLAR_OK && err != CELLAR_STALE && (i != 3 || day_ms > 5 * MINUTE);
        if (err != CELLAR_OK && err != CELLAR_STALE) { continue; }
        text[len] = '\0';
        const int64_t age_ms = wall_ms - strtoll(strchr(text, ' '), NULL, 10);
        T_CHECK(age_ms <= s4[i].ttl_ms + s4[i].ttl_ms / 10 + HOUR);
    }
}

T_CASE(refresh_s4_table)
{
    open_s4();
    for (size_t i = 0; i < S4_ROWS; i++) { add_s4_loader(&s4[i]); }
    pass(HOUR, MINUTE, NULL); /* each row has run */
    const uint64_t calls = up.calls;
    up.fail_pct = 30;
    reads = late_reads = empty_reads = 0;
    const cellar_refresh_stats before = figures();
    pass(23 * HOUR, MINUTE, read_s4);
    const cellar_refresh_stats st = figures();
    T_CHECK(reads > 23 * 60 * S4_ROWS && empty_reads == 0);
    T_CHECK(late_reads < reads / 100); /* an open breaker may outlast a short TTL */
    T_EQ_U64(st.ok - before.ok, up.calls - calls - up.failed);
    T_EQ_U64(st.failed, up.failed);
    T_CHECK(up.failed > (up.calls - calls) / 5 && up.failed < (up.calls - calls) * 2 / 5);
    const double ratio = (double)st.ok / (double)(st.ok + st.failed);
    T_CHECK(st.success_ppm <= (uint64_t)(ratio * 1e6) + 1 &&
            st.success_ppm + 1 >= (uint64_t)(ratio * 1e6));
    T_EQ_U64(st.days, 1); /* midnight in Shanghai is 16:00 UTC */
    up.fail_pct = 0;
    up.down = true; /* the table outlives its source for TTL and stale window */
    empty_reads = late_reads = 0;
    pass(65 * MINUTE, MINUTE, read_s4);
    T_CHECK(late_reads > 0);
    T_EQ_U64(empty_reads, 0);
    close_all();
}

/* S4:280-284: jobs were configured and never added. Here each row runs, or says that it cannot. */
T_CASE(seed_refresh_every_row_runs)
{
    open_s4();
    for (size_t i = 0; i < S4_ROWS; i++) {
        if (i == 1 || i == 2) { continue; } /* info and stats */
        add_s4_loader(&s4[i]);
    }
    T_EQ_U64(figures().uncovered, 2);
    for (size_t i = 0; i < S4_ROWS; i++) {
        const cellar_refresh_info info = row_of(s4[i].pattern);
        T_EQ_U64((info.flags & CELLAR_REFRESH_UNCOVERED) != 0, i == 1 || i == 2);
        T_EQ_U64((info.flags & CELLAR_REFRESH_POLICY) != 0, 1);
        T_FIELDS(info, interval_ms, s4[i].interval_ms, ttl_ms, s4[i].ttl_ms);
        T_EQ_STR(info.loader, s4[i].loader);
        T_EQ_I64(info.priority, i < 2 ? CELLAR_REFRESH_LOW : i == 5 ? CELLAR_REFRESH_HIGH
                                                                    : CELLAR_REFRESH_MID);
    }
    pass(2 * HOUR, MINUTE, NULL);
    T_CHECK(figures().skipped_uncovered >= 2 + 4);
    T_CHECK(strstr(logged, "not covered") != NULL || logged[0] != '\0');
    add_s4_loader(&s4[1]);
    add_s4_loader(&s4[2]);
    T_EQ_U64(figures().uncovered, 0);
    pass(HOUR, MINUTE, NULL);
    for (size_t i = 0; i < S4_ROWS; i++) {
        T_CHECK(row_of(s4[i].pattern).ok > 0);
        T_CHECK(read_key(s4[i].key)[0] != '\0');
    }
    close_all();
}

/* S4:182-196: all interval jobs began together. */
T_CASE(seed_refresh_phases_spread)
{
    unsigned in_minute[60] = { 0 };
    int64_t first[60];
    for (int round = 0; round < 2; round++) {
        open_all();
        for (unsigned i = 0; i < 60; i++) {
            const char *key = t_numbered("row:", i);
            add(key, HOUR, 2 * HOUR);
            const int64_t next_ms = row_of(key).next_ms;
            T_CHECK(next_ms >= 0 && next_ms < HOUR);
            if (round == 0) {
                in_minute[next_ms / MINUTE]++;
                first[i] = next_ms;
            }
            T_EQ_I64(next_ms, first[i]); /* the same in every process */
        }
        close_all();
    }
    unsigned used = 0;
    for (int i = 0; i < 60; i++) {
        T_CHECK(in_minute[i] < 8);
        used += in_minute[i] != 0;
    }
    T_CHECK(used > 25);
}

/* S4:226: `if data:` took an empty list for a miss, and asked again. */
T_CASE(seed_refresh_empty_is_a_value)
{
    char buf[8];
    size_t len;
    for (int round = 0; round < 2; round++) {
        open_all();
        up.empty = round == 0;
        up.absent = round == 1;
        cellar_refresh_opts o = opts(2 * HOUR);
        o.negative_ttl_ms = 2 * HOUR;
        T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", HOUR, &o), CELLAR_OK);
        T_AFTER_U64(pass(HOUR, HOUR, NULL), up.calls, 1);
        for (int i = 0; i < 100; i++) {
            T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len),
                     round == 0 ? CELLAR_OK : CELLAR_ABSENT);
        }
        T_EQ_U64(up.calls, 1);
        T_FIELDS(figures(), ok, 1, success_ppm, 1000000);
        close_all();
    }
}

/* ---- order, lists, idle rows ---- */

/* Rows that became due together run by priority, and a long row lets a higher one pass. */
T_CASE_ON(higher_priorities_run_first, ROWS)
{
    static const char *const keys[] = { "l1", "m1", "h1", "h2", "m2", "l2" };
    for (size_t i = 0; i < 6; i++) {
        cellar_refresh_opts o = opts(2 * HOUR);
        o.priority = keys[i][0] == 'l' ? CELLAR_REFRESH_LOW
                     : keys[i][0] == 'm' ? 0 : CELLAR_REFRESH_HIGH;
        T_EQ_I64(cellar_refresh_add(r, c, keys[i], 2, "up", HOUR, &o), CELLAR_OK);
    }
    turn(HOUR);
    T_AFTER_STR(tick(), up.order, "hhmmll");
    T_EQ_U64(figures().runs, 6);
    T_CHECK(figures().late_max_ms > 0 && figures().late_max_ms <= (uint64_t)HOUR);
    T_CHECK(figures().late_ms >= figures().late_max_ms);
    char text[16384], line[128];
    T_EQ_I64(cellar_metrics_write(r, text, sizeof text, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "cellar_refresh_late_seconds_count{pool=\"pool\"} 6\n") != NULL);
    T_CHECK(strstr(text, "le=\"0.001\"} 0\n") != NULL); /* all of them begin minutes late */
    const unsigned long long late_ms = figures().late_ms;
    snprintf(line, sizeof line,
             "cellar_refresh_late_seconds_sum{pool=\"pool\"} %llu.%03llu\n",
             late_ms / 1000, late_ms % 1000);
    T_CHECK(strstr(text, line) != NULL);
}

T_CASE_ON(keys_of_a_pattern_come_from_its_lister, ROWS)
{
    listed.keys[0] = "k:1";
    listed.keys[1] = "k:2";
    listed.count = 2;
    const cellar_refresh_opts o = opts(2 * HOUR);
    T_EQ_I64(add_pattern(r, c, "k:*", "many", HOUR, &o), CELLAR_OK);
    T_AFTER_STR(pass(HOUR, HOUR, NULL), listed.pattern, "k:*");
    T_EQ_U64(up.calls, 2);
    T_FIELDS(row_of("k:*"), keys, 2, flags, CELLAR_REFRESH_PATTERN);
    listed.keys[1] = "k:3"; /* keys come and go */
    T_AFTER_U64(pass(HOUR, HOUR, NULL), up.calls, 4);
    T_CHECK(read_key("k:3")[0] != '\0');
    listed.fails = true; /* the keys of the last list are refreshed */
    T_AFTER_U64(pass(HOUR, HOUR, NULL), up.calls, 6);
    T_FIELDS(figures(), lists_failed, 1, keys, 2 + 0);
    listed.fails = false;
    listed.count = 0;
    T_AFTER_U64(pass(HOUR, HOUR, NULL), up.calls, 6);
    T_EQ_U64(row_of("k:*").flags, CELLAR_REFRESH_PATTERN | CELLAR_REFRESH_UNCOVERED);
    T_EQ_U64(figures().uncovered, 1);
    listed.count = 1;
    T_AFTER_U64(pass(HOUR, HOUR, NULL), figures().uncovered, 0);
}

static cellar_err list_too_many(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    cellar_err err = CELLAR_OK;
    (void)pattern, (void)ctx;
    for (uint32_t i = 0; i <= CELLAR_REFRESH_KEYS_MAX; i++) {
        err = cellar_refresh_keys_add(keys, &i, sizeof i);
        T_EQ_I64(err, i < CELLAR_REFRESH_KEYS_MAX ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_I64(cellar_refresh_keys_add(keys, "", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_refresh_keys_add(keys, NULL, 1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_refresh_keys_add(NULL, "k", 1), CELLAR_E_INVAL);
    return CELLAR_E_LIMIT;
}

T_CASE_ON(list_over_its_limit_is_counted, ROWS)
{
    cellar_refresh_loader_opts o = { .struct_size = sizeof o, .lister = list_too_many };
    T_EQ_I64(cellar_refresh_loader(r, c, "flood", load, "upstream", &o), CELLAR_OK);
    T_EQ_I64(add_pattern(r, c, "*", "flood", HOUR, NULL), CELLAR_OK);
    while (figures().lists_failed == 0) { turn(tick()); }
    T_FIELDS(figures(), rejected_limit, 1, keys, 0);
    T_EQ_U64(up.calls, 0);
    const uint64_t failed = figures().lists_failed;
    pass(2 * SECOND, SECOND, NULL); /* without keys the lister is tried again */
    T_CHECK(figures().lists_failed > failed);
}

T_CASE_ON(row_without_reads_sleeps_until_a_read, ROWS)
{
    cellar_refresh_opts o = opts(150 * SECOND);
    o.stop_idle = 3;
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", MINUTE, &o), CELLAR_OK);
    pass(MINUTE, MINUTE, NULL);
    for (int i = 0; i < 10; i++) { /* read: it never sleeps */
        T_CHECK(read_key("k")[0] != '\0');
        pass(MINUTE, MINUTE, NULL);
    }
    T_EQ_U64(up.calls, 11);
    pass(10 * MINUTE, MINUTE, NULL);
    T_EQ_U64(up.calls, 11 + 2); /* the third look without a read sends it to sleep */
    T_EQ_U64(row_of("k").flags, CELLAR_REFRESH_SLEEPS);
    T_CHECK(figures().skipped_idle >= 7);
    T_EQ_STR(read_key("k"), ""); /* its TTL has ended: the program loads it */
    T_EQ_I64(cellar_set(c, "k", 1, "loaded", 6, NULL), CELLAR_OK);
    T_AFTER_U64(pass(MINUTE, MINUTE, NULL), up.calls, 14);
    T_EQ_U64(row_of("k").flags, 0);
}

static bool sleeps_after_a_minute(void)
{
    pass(MINUTE, MINUTE, NULL);
    return (row_of("k").flags & CELLAR_REFRESH_SLEEPS) != 0;
}

T_CASE_ON(only_reads_that_hit_wake_a_row, ROWS)
{
    cellar_result res = cellar_result_default();
    cellar_pinned pinned;
    cellar_refresh_opts o = opts(20 * MINUTE);
    char text[64];
    size_t len;
    cellar_get_opts peek = { .struct_size = sizeof peek, .flags = CELLAR_GET_PEEK };
    o.stop_idle = 1;
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", MINUTE, &o), CELLAR_OK);
    pass(MINUTE, MINUTE, NULL);
    T_CHECK(sleeps_after_a_minute());
    T_EQ_I64(cellar_get_with(c, "k", 1, &peek, text, sizeof text, &len), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    T_CHECK(sleeps_after_a_minute());
    T_CHECK(read_key("k")[0] != '\0');
    T_CHECK(!sleeps_after_a_minute());
    T_CHECK(sleeps_after_a_minute());
    T_EQ_I64(cellar_pin(c, "k", 1, &pinned), CELLAR_OK);
    cellar_unpin(&pinned);
    T_CHECK(!sleeps_after_a_minute());
    T_AFTER_STR(pass(30 * MINUTE, MINUTE, NULL), read_key("k"), "");
    T_CHECK(sleeps_after_a_minute());
    T_EQ_I64(cellar_get_or_load(c, "k", 1, NULL, load, "upstream", &res), CELLAR_OK);
    cellar_result_free(&res);
    T_CHECK(!sleeps_after_a_minute());
}

/* Fault: a load took the reads of the value that it replaced: the row slept beside them. */
T_CASE_ON(read_before_a_load_keeps_its_row_awake, ROWS)
{
    cellar_refresh_opts o = opts(HOUR);
    o.stop_idle = 1;
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", MINUTE, &o), CELLAR_OK);
    pass(MINUTE, MINUTE, NULL);
    T_CHECK(read_key("k")[0] != '\0');
    up.down = true;
    for (int i = 0; i < 100 && up.failed == 0; i++) { turn(tick()); }
    up.down = false;
    T_CHECK(read_key("k")[0] != '\0');
    T_CHECK(!sleeps_after_a_minute()); /* the second try loads, then comes the look */
    T_CHECK(sleeps_after_a_minute());
}

static void load_takes_40_s(const void *key, size_t len)
{
    (void)key, (void)len;
    turn(40 * SECOND);
}

/* A run of four keys takes longer than the interval: it goes on, and the last key has its turn. */
T_CASE_ON(run_longer_than_its_interval_ends, ROWS)
{
    static const char *const keys[] = { "a", "b", "c", "d" };
    memcpy(listed.keys, keys, sizeof keys);
    listed.count = 4;
    T_EQ_I64(add_pattern(r, c, "*", "many", MINUTE, NULL), CELLAR_OK);
    up.during = load_takes_40_s;
    while (up.calls < 8) {
        int64_t wait_ms;
        if (cellar_tick(r, 0, &wait_ms) == CELLAR_OK) { turn(wait_ms); }
    }
    T_EQ_I64(strncmp(up.order, "abcdabcd", 8), 0);
    T_EQ_U64(figures().missed, 1);
}

/* A denied row waits as long as the limiter says, and asks once then. An open breaker ends a run
 * with its first key. */
T_CASE(denied_runs_end_early)
{
    const cellar_rule rule = cellar_rule_token_bucket(1, UINT64_C(300) * CELLAR_SECOND_NS, 1);
    cellar_limiter_config lc = cellar_limiter_config_default();
    cellar_refresh_loader_opts lo = cellar_refresh_loader_opts_default();
    static const char *const keys[] = { "a", "b", "c", "d" };
    lc.clock_ns = limit_ns;
    open_all();
    T_EQ_I64(cellar_limiter_open(&lc, &rule, 1, &lo.limiter), CELLAR_OK);
    T_EQ_I64(cellar_refresh_loader(r, c, "slow", load, "upstream", &lo), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(r, c, "x", 1, "slow", HOUR, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(r, c, "y", 1, "slow", HOUR, NULL), CELLAR_OK);
    turn(HOUR);
    T_AFTER_U64(tick(), up.calls, 1);
    T_AFTER_U64(pass(299 * SECOND, SECOND, NULL), up.calls, 1);
    T_AFTER_U64(pass(2 * SECOND, SECOND, NULL), up.calls, 2);
    T_EQ_U64(figures().skipped_limiter, 1);
    close_all();
    cellar_limiter_close(lo.limiter);

    open_all();
    cellar_breaker_config bo = { .struct_size = sizeof bo, .consecutive_failures = 1 };
    bo.open_ms = bo.open_max_ms = DAY;
    lo = cellar_refresh_loader_opts_default();
    lo.lister = list;
    lo.lister_ctx = "lister";
    memcpy(listed.keys, keys, sizeof keys);
    listed.count = 4;
    up.down = true;
    T_EQ_I64(cellar_breaker_create(c, &bo, &lo.breaker), CELLAR_OK);
    T_EQ_I64(cellar_refresh_loader(r, c, "touchy", load, "upstream", &lo), CELLAR_OK);
    T_EQ_I64(add_pattern(r, c, "*", "touchy", HOUR, NULL), CELLAR_OK);
    turn(HOUR);
    T_AFTER_U64(tick(), up.calls, 1); /* the first key opens it, the second one ends the run */
    T_EQ_U64(figures().skipped_breaker, 1);
    T_EQ_U64(row_of("*").keys_left, 4);
    close_all();
    cellar_breaker_destroy(lo.breaker);
}

/* ---- rows and loaders ---- */

static bool stop_list(const cellar_refresh_info *info, void *ctx)
{
    (void)info;
    ++*(int *)ctx;
    return false;
}

static void remove_all_in_list_keys(const cellar_refresh_info *info)
{
    T_EQ_I64(cellar_refresh_remove(r, info->c, info->key, info->key_len), CELLAR_OK);
}
static bool remove_listed(const cellar_refresh_info *info, void *ctx)
{
    (void)ctx;
    remove_all_in_list_keys(info);
    return true;
}

static void remove_self(const void *key, size_t len)
{
    T_EQ_I64(cellar_refresh_remove(r, c, key, len), CELLAR_OK);
    T_EQ_I64(cellar_pool_close(r), CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_refresh_add(r, c, "other", 5, "up", MINUTE, NULL), CELLAR_OK);
}

T_CASE_ON(rows_come_and_go, ROWS)
{
    cellar *ns;
    cellar_namespace_config no = cellar_namespace_config_default();
    int n = 0;
    T_EQ_I64(cellar_namespace_open(c, "ns", &no, &ns), CELLAR_OK);
    add("k", MINUTE, HOUR);
    T_EQ_I64(cellar_refresh_add(r, c, "k", 1, "up", HOUR, NULL), CELLAR_EXISTS);
    T_EQ_I64(cellar_refresh_add(r, ns, "k", 1, "up", HOUR, NULL), CELLAR_OK);
    T_EQ_I64(row_of("k").interval_ms, HOUR); /* the second one of that key */
    T_EQ_U64(figures().rows, 2);
    T_EQ_I64(cellar_refresh_list(r, stop_list, &n), CELLAR_OK);
    T_EQ_I64(n, 1);
    T_EQ_I64(cellar_refresh_remove(r, ns, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_refresh_remove(r, ns, "k", 1), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    up.during = remove_self; /* a loader removes its own row */
    pass(MINUTE, MINUTE, NULL);
    up.during = NULL;
    T_EQ_U64(up.calls, 1);
    T_AFTER_STR(pass(2 * MINUTE, MINUTE, NULL), up.last, "other");
    T_EQ_I64(cellar_refresh_list(r, remove_listed, NULL), CELLAR_OK);
    T_EQ_U64(figures().rows, 0);
    const uint64_t calls = up.calls;
    T_AFTER_U64(pass(HOUR, HOUR, NULL), up.calls, calls);
    T_EQ_I64(tick(), INT64_MAX);
    T_EQ_I64(cellar_refresh_loader(r, c, "up", load, NULL, NULL), CELLAR_EXISTS);
}

static cellar_verdict tick_in_task(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    turn(MINUTE);
    (void)cellar_tick(r, 1000, NULL);
    T_EQ_U64(up.calls, 1);
    return cellar_verdict_ok();
}

static void remove_self_quickly(const void *key, size_t len)
{
    T_EQ_I64(cellar_refresh_remove(r, c, key, len), CELLAR_OK);
}

/* Fault: a loader waited for its own row if a task had called the tick that ran the loader. */
T_CASE_ON(loader_in_a_tick_of_a_task_removes_its_row, ROWS)
{
    T_EQ_I64(cellar_task_register(r, "tick", tick_in_task, NULL, NULL), CELLAR_OK);
    add("k", MINUTE, HOUR);
    up.during = remove_self_quickly;
    T_EQ_I64(cellar_task_submit(r, "tick", NULL, 0, NULL, NULL), CELLAR_OK);
    (void)tick();
    T_EQ_U64(up.calls, 1);
}

T_CASE_ON(reload_replaces_the_rows_of_policies, ROWS)
{
    static const char one[] = "[*]\nset prefix=app\nkey top refresh=5m ttl=10m loader=up\n"
                              "glob many:* refresh=5m loader=many\nkey bare:{id} refresh=5m\n"
                              "key none:{id} ttl=5m\ndeny *token*\n";
    static const char two[] = "[*]\nkey top refresh=7m ttl=20m loader=up\n";
    size_t rows;
    T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
    T_EQ_U64(rows, 0); /* no rules yet */
    T_EQ_I64(rules_set(c, one, sizeof one - 1, NULL, NULL), CELLAR_OK);
    add("other", MINUTE, HOUR);
    T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
    T_EQ_U64(rows, 3);
    T_EQ_U64(row_of("app:top").flags, CELLAR_REFRESH_POLICY); /* the key behind its prefix */
    T_EQ_U64(row_of("many:*").flags, CELLAR_REFRESH_POLICY | CELLAR_REFRESH_PATTERN);
    T_EQ_U64(row_of("bare:{id}").flags,
             CELLAR_REFRESH_POLICY | CELLAR_REFRESH_PATTERN | CELLAR_REFRESH_UNCOVERED);
    pass(5 * MINUTE, MINUTE, NULL);
    T_CHECK(read_key("app:top")[0] != '\0');
    T_EQ_I64(rules_set(c, two, sizeof two - 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
    T_EQ_U64(rows, 1);
    T_EQ_U64(figures().rows, 2);
    T_EQ_I64(row_of("top").interval_ms, 7 * MINUTE);
    T_EQ_I64(row_of("other").interval_ms, MINUTE);
}

/* The rules are loaded each 25 s, and `turn` changes with each load. */
T_CASE(row_of_an_unchanged_rule_keeps_its_instants)
{
    uint64_t calls[2];
    size_t rows;
    for (int again = 0; again < 2; again++) {
        open_all();
        for (int i = 0; i < 48; i++) {
            char text[400];
            const int len = snprintf(text, sizeof text,
                                     "[*]\nkey a1 refresh=1m ttl=3m loader=up\n"
                                     "key a2 refresh=1m ttl=3m loader=up priority=high\n"
                                     "key a1 refresh=2m ttl=4m loader=up\n"
                                     "key a3 refresh=1m ttl=3m loader=up at=23:00@UTC\n"
                                     "glob no%d:* refresh=1m ttl=3m loader=up\n", i);
            if (i == 0 || again != 0) {
                T_EQ_I64(rules_set(c, text, (size_t)len, NULL, NULL), CELLAR_OK);
                T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
                T_EQ_U64(rows, 4); /* a1 has one row, of the first rule */
                T_EQ_U64(figures().rows, 4);
                T_EQ_I64(row_of("a1").interval_ms, MINUTE);
            }
            pass(25 * SECOND, 5 * SECOND, NULL);
        }
        calls[again] = up.calls;
        T_EQ_U64(row_of("a2").ok, 20);
        close_all();
    }
    T_EQ_U64(calls[0], 60);
    T_EQ_U64(calls[1], calls[0]);
}

T_CASE_ON(row_of_a_changed_rule_is_replaced, ROWS)
{
    static const char *const rule[] = {
        "key a refresh=1m ttl=3m loader=up", "key a refresh=2m ttl=3m loader=up",
        "key a refresh=2m ttl=4m loader=up", "key a refresh=2m ttl=4m loader=other",
        "key a refresh=2m ttl=4m loader=other priority=high",
        "key a refresh=2m ttl=4m loader=other priority=high at=23:00@UTC",
        "key a refresh=2m ttl=4m loader=other priority=high at=22:00@UTC",
        "glob a refresh=2m ttl=4m loader=other priority=high at=22:00@UTC",
    };
    T_EQ_I64(cellar_refresh_loader(r, c, "other", load, "upstream", NULL), CELLAR_OK);
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        char text[200];
        size_t rows;
        const int len = snprintf(text, sizeof text, "[*]\n%s\n", rule[i]);
        for (int twice = 0; twice < 2; twice++) {
            T_EQ_I64(rules_set(c, text, (size_t)len, NULL, NULL), CELLAR_OK);
            T_EQ_I64(cellar_refresh_add_policies(r, c, &rows), CELLAR_OK);
            T_EQ_U64(rows, 1);
            T_EQ_U64(figures().rows, 1);
            const uint64_t ok = row_of("a").ok;
            const bool pattern = (row_of("a").flags & CELLAR_REFRESH_PATTERN) != 0;
            if (!T_CHECK(twice && !pattern ? ok > 0 : ok == 0)) { printf("# rule %zu\n", i); }
            pass(2 * MINUTE, MINUTE, NULL);
        }
    }
}

T_CASE(pool_has_65536_rows_in_two_namespaces)
{
    cellar_host_config h;
    cellar_pool_config cfg = config_of(&h);
    cellar *other;
    cfg.max_rows = 65536;
    open_store(NULL);
    T_REQUIRE(cellar_namespace_open(c, "other", NULL, &other) == CELLAR_OK);
    T_REQUIRE(cellar_pool_open(&cfg, &r) == CELLAR_OK);
    for (unsigned i = 0; i < 65536; i++) {
        const char *key = t_numbered("k", i / 2);
        T_REQUIRE(cellar_refresh_add(r, i % 2 == 0 ? c : other, key, strlen(key), "up", HOUR,
                                     NULL) == CELLAR_OK);
    }
    T_EQ_I64(cellar_refresh_add(r, c, "more", 4, "up", HOUR, NULL), CELLAR_E_LIMIT);
    T_EQ_U64(figures().rejected_limit, 1);
    T_EQ_I64(cellar_refresh_add(r, other, "k77", 3, "up", HOUR, NULL), CELLAR_EXISTS);
    for (unsigned i = 0; i < 32768; i++) {
        const char *key = t_numbered("k", i);
        T_REQUIRE(cellar_refresh_remove(r, other, key, strlen(key)) == CELLAR_OK);
    }
    T_EQ_I64(cellar_refresh_remove(r, other, "k77", 3), CELLAR_E_NOT_FOUND);
    T_CHECK(row_of("k77").c == c);
    T_EQ_U64(figures().rows, 32768);
    T_EQ_I64(cellar_pool_close(r), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(other), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    wall_ms = 0;
}

/* ---- memory, arguments, figures ---- */

T_CASE(every_missing_memory_is_a_code)
{
    static const char rules[] = "[*]\nkey a:{n} refresh=5m loader=many at=00:00@Europe/Berlin\n";
    zones_of_the_tree();
    for (uint64_t nth = 1;; nth++) {
        cellar_host_config h;
        const cellar_pool_config cfg = config_of(&h);
        open_store(NULL);
        T_REQUIRE(rules_set(c, rules, sizeof rules - 1, NULL, NULL) == CELLAR_OK);
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err opened = cellar_pool_open(&cfg, &r);
        bool failed = opened != CELLAR_OK, armed = true;
        if (opened == CELLAR_OK) {
            cellar_refresh_loader_opts lo = { .struct_size = sizeof lo, .lister = list,
                                              .lister_ctx = "lister" };
            listed.keys[0] = "a:1";
            listed.count = 1;
            const cellar_err err[] = {
                cellar_refresh_loader(r, c, "up", load, "upstream", NULL),
                cellar_refresh_loader(r, c, "many", load, "upstream", &lo),
                cellar_refresh_add(r, c, "k", 1, "up", MINUTE, NULL),
                add_pattern(r, c, "p", "many", MINUTE, NULL),
                cellar_refresh_add_policies(r, c, NULL)
            };
            for (size_t i = 0; i < sizeof err / sizeof err[0]; i++) {
                T_CHECK(err[i] == CELLAR_OK || err[i] == CELLAR_E_NOMEM);
                failed |= err[i] != CELLAR_OK;
            }
            pass(10 * MINUTE, MINUTE, NULL);
            const cellar_refresh_stats st = figures();
            failed |= st.failed + st.lists_failed + st.not_stored != 0;
            armed = base_fault_alloc_arm(0, false) >= nth;
            T_CHECK(failed || st.uncovered == 0);
            T_EQ_I64(cellar_pool_close(r), CELLAR_OK);
        } else {
            T_EQ_I64(opened, CELLAR_E_NOMEM);
        }
        (void)base_fault_alloc_arm(0, false);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        wall_ms = 0;
        if (!armed && !failed) { break; }
        T_REQUIRE(nth < 2000);
    }
}

static cellar_err add_row(const char *key, size_t len, const char *loader, int64_t interval_ms,
                          cellar_refresh_opts o)
{
    o.struct_size = sizeof o;
    return cellar_refresh_add(r, c, key, len, loader, interval_ms, &o);
}

T_CASE_ON(bad_arguments_are_refused, ROWS)
{
    static char longer[CELLAR_KEY_MAX + 2];
    static char name[CELLAR_NAME_MAX + 2];
    const cellar_refresh_opts none = opts(0);
    memset(longer, 'k', sizeof longer - 1);
    memset(name, 'n', sizeof name - 1);
#define ROW(...) add_row("k", 1, "up", MINUTE, (cellar_refresh_opts){ __VA_ARGS__ })
#define PATTERN(of, len) \
    INVAL(add_row(of, len, "up", MINUTE, (cellar_refresh_opts){ .pattern = 1 }))
    REFUSALS("rows", INVAL(cellar_refresh_add(NULL, c, "k", 1, "up", MINUTE, NULL)),
             INVAL(cellar_refresh_add(r, NULL, "k", 1, "up", MINUTE, NULL)),
             INVAL(add_row(NULL, 1, "up", MINUTE, none)),
             INVAL(add_row("k", 0, "up", MINUTE, none)),
             INVAL(add_row(longer, sizeof longer - 1, "up", MINUTE, none)),
             INVAL(add_row("k", 1, NULL, MINUTE, none)), INVAL(add_row("k", 1, "", MINUTE, none)),
             INVAL(add_row("k", 1, name, MINUTE, none)), INVAL(add_row("k", 1, "up", 0, none)),
             INVAL(add_row("k", 1, "up", -1, none)),
             INVAL(add_row("k", 1, "up", 366 * DAY + 1, none)), PATTERN(NULL, 1), PATTERN("", 0),
             PATTERN(longer, sizeof longer - 1), PATTERN("a\0b", 3));
    REFUSALS("options", INVAL(ROW(.ttl_ms = -1)), INVAL(ROW(.negative_ttl_ms = -1)),
             INVAL(ROW(.stale_ms = -1)), INVAL(ROW(.stale_ms = INT64_C(1) << 32)),
             INVAL(ROW(.priority = (cellar_refresh_priority)4)), INVAL(ROW(.stop_idle = 1000001)),
             INVAL(ROW(.pattern = 2)), INVAL(ROW(.at = "00:00@UTC")),
             INVAL(ROW(.ttl_ms = HOUR, .at = "")), INVAL(ROW(.ttl_ms = HOUR, .at = "24:00@UTC")),
             INVAL(ROW(.ttl_ms = HOUR, .at = "12:60@UTC")),
             INVAL(ROW(.ttl_ms = HOUR, .at = "1x:00@UTC")),
             INVAL(ROW(.ttl_ms = HOUR, .at = "00:00")), INVAL(ROW(.ttl_ms = HOUR, .at = longer)),
             { CELLAR_E_NOT_FOUND, ROW(.ttl_ms = HOUR, .at = "00:00@No/Where") });
    REFUSALS("calls", INVAL(cellar_refresh_add_policies(NULL, c, NULL)),
             INVAL(cellar_refresh_add_policies(r, NULL, NULL)),
             INVAL(cellar_refresh_loader(NULL, c, "x", load, NULL, NULL)),
             INVAL(cellar_refresh_loader(r, c, "", load, NULL, NULL)),
             INVAL(cellar_refresh_loader(r, c, name, load, NULL, NULL)),
             INVAL(cellar_refresh_loader(r, c, "x", NULL, NULL, NULL)),
             INVAL(cellar_refresh_remove(NULL, c, "k", 1)),
             INVAL(cellar_refresh_remove(r, NULL, "k", 1)),
             INVAL(cellar_refresh_remove(r, c, NULL, 1)),
             { CELLAR_E_NOT_FOUND, cellar_refresh_remove(r, c, "k", 1) },
             INVAL(cellar_refresh_list(NULL, find_row, NULL)),
             INVAL(cellar_refresh_list(r, NULL, NULL)),
             INVAL(cellar_refresh_stats_get(NULL, NULL)), INVAL(cellar_refresh_stats_get(r, NULL)));
    size_t rows = 7;
    T_EQ_I64(cellar_refresh_add_policies(r, NULL, &rows), CELLAR_E_INVAL);
    T_CHECK(rows == 0 && figures().rows == 0);
}

T_CASE_ON(metrics_have_the_success_ratio, ROWS)
{
    add("k", MINUTE, HOUR);
    pass(3 * MINUTE, MINUTE, NULL);
    up.down = true;
    while (figures().failed == 0) { turn(tick()); }
    const char *text = metrics_of(r);
    T_CHECK(strstr(text, "cellar_refresh_jobs_total{pool=\"pool\",result=\"ok\"} 3\n"));
    T_CHECK(strstr(text, "result=\"failed\"} 1\n") != NULL);
    T_CHECK(strstr(text, "cellar_refresh_success_ratio{pool=\"pool\"} 0.750000\n") != NULL);
    T_CHECK(strstr(text, "cellar_refresh_due{pool=\"pool\"} 0\n") != NULL);
}

static cellar_err use_opts(void *p)
{
    const cellar_err err = cellar_refresh_add(r, c, "k", 1, "up", MINUTE,
                                              (const cellar_refresh_opts *)p);
    if (err == CELLAR_OK) { T_EQ_I64(cellar_refresh_remove(r, c, "k", 1), CELLAR_OK); }
    return err;
}
static cellar_err use_loader(void *p)
{
    const cellar_err err = cellar_refresh_loader(r, c, "up", load, NULL,
                                                 (const cellar_refresh_loader_opts *)p);
    return err == CELLAR_EXISTS ? CELLAR_OK : err;
}
static cellar_err fill_stats(void *p) { return cellar_refresh_stats_get(r, p); }

T_CASE_ON(structs_follow_the_size_rule, ROWS)
{
    CHECK_IN(cellar_refresh_opts, cellar_refresh_opts_default(), use_opts);
    CHECK_IN(cellar_refresh_loader_opts, cellar_refresh_loader_opts_default(), use_loader);
    check_out("cellar_refresh_stats", sizeof(cellar_refresh_stats), fill_stats);
}

static void free_number(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why;
    ++*(unsigned *)ctx;
}

static cellar_err load_number(cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    up.calls++;
    return cellar_load_object(l, ctx, 100);
}

T_CASE(objects_are_refreshed_as_values)
{
    unsigned frees = 0;
    cellar *things;
    cellar_held h;
    const cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_number,
                                      .ctx = &frees };
    const cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    open_all();
    T_EQ_I64(cellar_refresh_loader(r, c, "things", load_number, &up, NULL), CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &things) == CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(r, things, "k", 1, "things", MINUTE, NULL), CELLAR_OK);
    pass(3 * MINUTE, SECOND, NULL);
    T_CHECK(up.calls >= 3);
    T_EQ_U64(figures().failed, 0);
    T_EQ_U64(frees, up.calls - 1); /* each run replaces the object */
    T_EQ_I64(cellar_object_acquire(things, "k", 1, &h), CELLAR_OK);
    T_CHECK(h.object == &up);
    cellar_object_release(&h);
    T_EQ_I64(cellar_refresh_remove(r, things, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(things), CELLAR_OK);
    close_all();
    T_EQ_U64(frees, up.calls);
}

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

/* The TTL ends before midnight. The stale window, of the row or the namespace, ends there. */
T_CASE(stale_window_ends_with_the_day)
{
    for (int64_t own_ms = 0; own_ms <= 2 * DAY; own_ms += 2 * DAY) {
        char text[64];
        size_t len;
        cellar_get_opts stale = { .struct_size = sizeof stale, .flags = CELLAR_GET_ALLOW_STALE };
        open_all();
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_STALE_MS, DAY), CELLAR_OK);
        add_daily(6 * HOUR, SECOND, own_ms);
        pass(12 * HOUR - 1, MINUTE, NULL);
        T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), CELLAR_STALE);
        turn(1);
        T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), CELLAR_MISS);
        close_all();
    }
}


static cellar_err sets_times(cellar_load *l, const void *key, size_t len, void *own)
{
    T_EQ_I64(cellar_load_opts_set(l, own), CELLAR_OK);
    return cellar_load_value(l, key, len);
}

/* Times of a rule and of the loader end there, too. A short window of the loader stays. */
T_CASE(times_of_rule_and_loader_end_with_the_day)
{
    static const char rules[] = "[*]\nkey daily ttl=1s stale=1d\n";
    static const cellar_set_opts own[] = {
        { .struct_size = sizeof own[0], .ttl_ms = 0 },
        { .struct_size = sizeof own[0], .ttl_ms = SECOND, .stale_ms = DAY },
        { .struct_size = sizeof own[0], .ttl_ms = DAY },
        { .struct_size = sizeof own[0], .stale_ms = MINUTE } };
    static const cellar_err last[] = { CELLAR_STALE, CELLAR_STALE, CELLAR_OK, CELLAR_MISS };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        char text[64];
        size_t len;
        cellar_get_opts stale = { .struct_size = sizeof stale, .flags = CELLAR_GET_ALLOW_STALE };
        cellar_refresh_opts o = opts(SECOND);
        o.at = "00:00@UTC";
        o.stale_ms = i == 3 ? DAY : 0;
        open_all();
        T_REQUIRE(rules_set(c, rules, sizeof rules - 1, NULL, NULL) == CELLAR_OK);
        T_EQ_I64(cellar_refresh_loader(r, c, "own", sets_times, (void *)(uintptr_t)&own[i], NULL),
                 CELLAR_OK);
        T_EQ_I64(cellar_refresh_add(r, c, "daily", 5, "own", 6 * HOUR, &o), CELLAR_OK);
        pass(12 * HOUR - 1, MINUTE, NULL);
        T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), last[i]);
        turn(1);
        T_EQ_I64(cellar_get_with(c, "daily", 5, &stale, text, sizeof text, &len), CELLAR_MISS);
        close_all();
    }
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

T_MAIN("work_refresh")
