/* SPDX-License-Identifier: MIT
 *
 * Aim:    CELLAR.TASKS, CELLAR.SCHED and CELLAR.REFRESH list what the program has, in parts of
 *         bounded size, and change nothing.
 * Method: conversations with a port that has a pool without threads. */
#include "tests/support/port_kit.h"
#include "tests/support/schedule_kit.h"

#include "cellar_work.h"

static resp_kit k;
static cellar_pool *pool;

static int64_t wall(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000) + api_clock(NULL);
}

static void with_work(cellar_resp_config *o)
{
    cellar_host_config host = { .struct_size = sizeof host, .clock = api_clock, .no_threads = 1 };
    cellar_pool_config p = cellar_pool_config_default();
    p.host = &host;
    p.wall_clock = wall;
    T_REQUIRE(cellar_pool_open(&p, &pool) == CELLAR_OK);
    o->pool = pool;
    o->writable = 0;
}

static void work_begin(void) { rk_open_on(&k, api_open(8 << 20), with_work); }

static void work_end(void)
{
    rk_close(&k);
    T_EQ_I64(cellar_pool_close(pool), CELLAR_OK);
}

#define WORK(fn) T_WITHIN(fn, work_begin(), work_end())

static cellar_verdict fails(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    return cellar_verdict_fail();
}

static void submit(const char *name, const char *tag)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .tag = tag, .priority = 7 };
    T_EQ_I64(cellar_task_submit(pool, name, "secret", 6, &o, NULL), CELLAR_OK);
}

/* Return how often the reply to a line has a text. */
static int count_in(const char *line, const char *word)
{
    int n = 0;
    for (const char *at = rk_line(&k, line); (at = strstr(at, word)) != NULL; at++) { n++; }
    return n;
}

static bool has(const char *line, const char *text)
{
    const bool yes = count_in(line, text) > 0;
    if (!yes) { printf("# %s: no %s in %s\n", line, text, k.text); }
    return yes;
}

T_CASE_ON(tasks_are_listed_by_state_name_and_tag, WORK)
{
    T_EQ_STR(rk_line(&k, "CELLAR.TASKS"), "[0 []]");
    T_EQ_I64(cellar_task_register(pool, "mail", fails, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_register(pool, "scan", fails, NULL, NULL), CELLAR_OK);
    submit("mail", "first");
    while (cellar_tick(pool, 1000, NULL) == CELLAR_PENDING) {}
    submit("mail", "second");
    submit("scan", "second");
    T_EQ_I64(count_in("CELLAR.TASKS", "queued"), 2);
    T_EQ_I64(count_in("CELLAR.TASKS", "failed"), 1);
    T_CHECK(has("CELLAR.TASKS", "priority :7"));
    T_EQ_I64(count_in("CELLAR.TASKS", "secret"), 0); /* payloads are not shown */
    T_EQ_I64(count_in("CELLAR.TASKS 0 STATE FAILED", "first"), 1);
    T_EQ_I64(count_in("CELLAR.TASKS 0 STATE FAILED", "second"), 0);
    T_EQ_I64(count_in("CELLAR.TASKS 0 NAME mail TAG second COUNT 5", " state "), 1);
    T_EQ_STR(rk_line(&k, "CELLAR.TASKS 0 NAME mai"), "[0 []]");
}

T_CASE_ON(list_of_250_tasks_continues_at_its_cursor, WORK)
{
    char request[64], cursor[32] = "0";
    T_EQ_I64(cellar_task_register(pool, "later", fails, NULL, NULL), CELLAR_OK);
    for (int i = 0; i < 250; i++) { submit("later", "x"); }
    int seen = 0, calls = 0;
    do {
        (void)snprintf(request, sizeof request, "CELLAR.TASKS %s COUNT 60", cursor);
        seen += count_in(request, " state ");
        T_REQUIRE(sscanf(k.text, "[%31[0-9]", cursor) == 1);
    } while (strcmp(cursor, "0") != 0 && ++calls < 20);
    T_EQ_I64(seen, 250);
}

static void job(const cellar_task *f, void *ctx) { (void)f, (void)ctx; }

T_CASE_ON(schedules_are_listed_in_parts, WORK)
{
    for (uint64_t i = 0; i < 5; i++) {
        T_EQ_I64(schedule_every(pool, t_numbered("job", i), 60000, job, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_schedule_pause(pool, "job3", true), CELLAR_OK);
    T_CHECK(has("CELLAR.SCHED 0 COUNT 2", "[2 [[name job0 kind every "));
    T_EQ_I64(count_in("CELLAR.SCHED 0 COUNT 2", "[name "), 2);
    T_CHECK(has("CELLAR.SCHED 2 COUNT 2", "[4 ["));
    T_CHECK(has("CELLAR.SCHED 2 COUNT 2", "next_ms :-1")); /* paused */
    T_EQ_I64(count_in("CELLAR.SCHED 2 COUNT 2", "[name "), 2);
    T_CHECK(has("CELLAR.SCHED 4 COUNT 2", "[0 ["));
    T_EQ_I64(count_in("CELLAR.SCHED 4 COUNT 2", "[name "), 1);
    T_CHECK(has("CELLAR.SCHED 0 COUNT 5", "[0 ["));
    T_EQ_I64(count_in("CELLAR.SCHED 0 COUNT 5", "[name "), 5);
    T_EQ_STR(rk_line(&k, "CELLAR.SCHED 18446744073709551615"), "[0 []]");
    T_EQ_STR(rk_line(&k, "CELLAR.TASKS 18446744073709551615"), "[0 []]");
}

static cellar_err load(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(l, "v", 1);
}

T_CASE_ON(refreshes_are_listed_in_resp3, WORK)
{
    const cellar_refresh_opts o = { .struct_size = sizeof o, .pattern = 1 };
    T_EQ_I64(cellar_refresh_loader(pool, k.store, "rates", load, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(pool, k.store, "EUR", 3, "rates", 60000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(pool, k.store, "x:*", 3, "none", 60000, &o), CELLAR_OK);
    port_pass(60000);
    while (cellar_tick(pool, 1000, NULL) == CELLAR_PENDING) {}
    (void)rk_line(&k, "HELLO 3");
    T_CHECK(has("CELLAR.REFRESH", "[0 [{key EUR "));
    T_CHECK(has("CELLAR.REFRESH", "ok :1") && has("CELLAR.REFRESH", "flags uncovered pattern"));
    T_EQ_I64(count_in("CELLAR.REFRESH 1 COUNT 1", "key EUR"), 0);
    T_EQ_I64(count_in("CELLAR.REFRESH 1 COUNT 1", "key x:*"), 1);
}

T_CASE_ON(wrong_words_are_refused, WORK)
{
#define NONE "-ERR no task has such a state, name or tag"
    static const char *const talk[][2] = {
        { "CELLAR.TASKS x", "-ERR invalid cursor" },
        { "CELLAR.TASKS 0 COUNT", "-ERR syntax error" },
        { "CELLAR.TASKS 0 COUNT x", "-ERR value is not an integer or out of range" },
        { "CELLAR.TASKS 0 COUNT 0", "-ERR COUNT must be 1..1000" },
        { "CELLAR.TASKS 0 COUNT 1001", "-ERR COUNT must be 1..1000" },
        { "CELLAR.TASKS 0 STATE odd", NONE },
        { "CELLAR.SCHED 0 STATE queued", "-ERR syntax error" },
        { "CELLAR.REFRESH -", "-ERR invalid cursor" },
        { "CELLAR.REFRESH 0 1", "-ERR syntax error" },
    };
    const rc_word zero[] = { { "CELLAR.TASKS", 12 }, { "0", 1 }, { "NAME", 4 }, { "a\0b", 3 } };
    char name[66] = "";
    RK_TALK(&k, talk);
    memset(name, 'n', sizeof name - 1);
    T_EQ_STR(rk_words(&k, zero, 4), NONE);
    T_EQ_STR(rk(&k, "CELLAR.TASKS", "0", "STATE", "", NULL), NONE);
    T_EQ_STR(rk(&k, "CELLAR.TASKS", "0", "NAME", name, NULL), NONE);
}

T_CASE(port_without_the_part_says_so)
{
    static const char *const talk[][2] = {
        { "CELLAR.TASKS", "-ERR the port was opened without a pool" },
        { "CELLAR.SCHED", "-ERR the port was opened without a pool" },
        { "CELLAR.REFRESH", "-ERR the port was opened without a pool" },
    };
    rk_open(&k, true);
    RK_TALK(&k, talk);
}

T_ONE_THREAD;
T_MAIN("resp_work")
