/* SPDX-License-Identifier: MIT
 *
 * Aim:    CELLAR.TASKS, CELLAR.SCHED and CELLAR.REFRESH list what the program has, in parts of
 *         bounded size, and change nothing.
 * Method: a port on a socket file, with a pool without threads. */
#include "tests/support/port_kit.h"
#include "tests/support/schedule_kit.h"

#include "cellar_work.h"

static struct work {
    cellar_pool *pool;
} work;

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
    T_REQUIRE(cellar_pool_open(&p, &work.pool) == CELLAR_OK);
    o->pool = work.pool;
    o->writable = 0;
}

static void pool_left(void)
{
    if (work.pool != NULL) { T_EQ_I64(cellar_pool_close(work.pool), CELLAR_OK); }
    work.pool = NULL;
}
T_AFTER_EACH(pool_left); /* behind the port */

static cellar_verdict fails(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    return cellar_verdict_fail();
}

static void submit(const char *name, const char *tag)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .tag = tag, .priority = 7 };
    T_EQ_I64(cellar_task_submit(work.pool, name, "secret", 6, &o, NULL), CELLAR_OK);
}

static int count_of(const char *word)
{
    int n = 0;
    for (const char *at = port_heard; (at = strstr(at, word)) != NULL; at++) { n++; }
    return n;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

#define LIST_OF(cursor_len, cursor, count) \
    "*2\r\n$" cursor_len "\r\n" cursor "\r\n*" count "\r\n"

T_CASE(tasks_are_listed_by_state_name_and_tag)
{
    port_begin_with(with_work);
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nCELLAR.TASKS\r\n"), "+PONG\r\n" LIST_OF("1", "0", "0"));
    T_EQ_I64(cellar_task_register(work.pool, "mail", fails, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_register(work.pool, "scan", fails, NULL, NULL), CELLAR_OK);
    submit("mail", "first");
    while (cellar_tick(work.pool, 1000, NULL) == CELLAR_PENDING) {}
    submit("mail", "second");
    submit("scan", "second");
    (void)ask(fd, "CELLAR.TASKS\r\n");
    T_EQ_I64(count_of("$6\r\nqueued\r\n"), 2);
    T_EQ_I64(count_of("$6\r\nfailed\r\n"), 1);
    T_CHECK(strstr(port_heard, "$8\r\npriority\r\n:7\r\n") != NULL);
    T_CHECK(strstr(port_heard, "secret") == NULL); /* payloads are not shown */
    (void)ask(fd, "CELLAR.TASKS 0 STATE FAILED\r\n");
    T_EQ_I64(count_of("$5\r\nfirst\r\n"), 1);
    T_EQ_I64(count_of("second"), 0);
    (void)ask(fd, "CELLAR.TASKS 0 NAME mail TAG second COUNT 5\r\n");
    T_EQ_I64(count_of("$5\r\nstate\r\n"), 1);
    T_EQ_STR(ask(fd, "CELLAR.TASKS 0 NAME mai\r\n"), LIST_OF("1", "0", "0"));
}

T_CASE(list_of_250_tasks_continues_at_its_cursor)
{
    port_begin_with(with_work);
    const int fd = peer();
    char request[64], cursor[32] = "0";
    T_EQ_I64(cellar_task_register(work.pool, "later", fails, NULL, NULL), CELLAR_OK);
    for (int i = 0; i < 250; i++) { submit("later", "x"); }
    int seen = 0, calls = 0;
    do {
        (void)snprintf(request, sizeof request, "CELLAR.TASKS %s COUNT 60\r\n", cursor);
        (void)ask(fd, request);
        seen += count_of("$5\r\nstate\r\n");
        T_REQUIRE(sscanf(port_heard, "*2\r\n$%*d\r\n%31[0-9]", cursor) == 1);
    } while (strcmp(cursor, "0") != 0 && ++calls < 20);
    T_EQ_I64(seen, 250);
}

static void job(const cellar_task *f, void *ctx) { (void)f, (void)ctx; }

T_CASE(schedules_are_listed_in_parts)
{
    port_begin_with(with_work);
    const int fd = peer();
    char name[8];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "job%d", i);
        T_EQ_I64(schedule_every(work.pool, name, 60000, job, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_schedule_pause(work.pool, "job3", true), CELLAR_OK);
    T_CHECK(begins(ask(fd, "CELLAR.SCHED 0 COUNT 2\r\n"), LIST_OF("1", "2", "2")));
    T_CHECK(strstr(port_heard, "*18\r\n$4\r\nname\r\n$4\r\njob0\r\n$4\r\nkind\r\n$5\r\nevery\r\n") !=
            NULL);
    T_CHECK(begins(ask(fd, "CELLAR.SCHED 2 COUNT 2\r\n"), LIST_OF("1", "4", "2")));
    T_CHECK(strstr(port_heard, "$7\r\nnext_ms\r\n:-1\r\n") != NULL); /* paused */
    T_CHECK(begins(ask(fd, "CELLAR.SCHED 4 COUNT 2\r\n"), LIST_OF("1", "0", "1")));
    T_CHECK(begins(ask(fd, "CELLAR.SCHED 0 COUNT 5\r\n"), LIST_OF("1", "0", "5")));
    T_EQ_STR(ask(fd, "CELLAR.SCHED 18446744073709551615\r\n"), LIST_OF("1", "0", "0"));
    T_EQ_STR(ask(fd, "CELLAR.TASKS 18446744073709551615\r\n"), LIST_OF("1", "0", "0"));
}

static cellar_err load(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(l, "v", 1);
}

T_CASE(refreshes_are_listed_in_resp3)
{
    port_begin_with(with_work);
    const int fd = peer();
    T_EQ_I64(cellar_refresh_loader(work.pool, port_store, "rates", load, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(work.pool, port_store, "EUR", 3, "rates", 60000, NULL),
             CELLAR_OK);
    cellar_refresh_opts o = { .struct_size = sizeof o, .pattern = 1 };
    T_EQ_I64(cellar_refresh_add(work.pool, port_store, "x:*", 3, "none", 60000, &o),
             CELLAR_OK);
    port_pass(60000);
    while (cellar_tick(work.pool, 1000, NULL) == CELLAR_PENDING) {}
    (void)ask(fd, "HELLO 3\r\n");
    T_CHECK(begins(ask(fd, "CELLAR.REFRESH\r\n"),
                   LIST_OF("1", "0", "2") "%13\r\n$3\r\nkey\r\n$3\r\nEUR\r\n"));
    T_CHECK(strstr(port_heard, "$2\r\nok\r\n:1\r\n") != NULL);
    T_CHECK(strstr(port_heard, "$5\r\nflags\r\n$17\r\nuncovered pattern\r\n") != NULL);
    (void)ask(fd, "CELLAR.REFRESH 1 COUNT 1\r\n");
    T_EQ_I64(count_of("$3\r\nEUR\r\n"), 0);
    T_EQ_I64(count_of("$3\r\nx:*\r\n"), 1);
}

T_CASE(wrong_words_are_refused)
{
    static const struct { const char *request, *reply; } rows[] = {
        { "CELLAR.TASKS x", "-ERR invalid cursor" },
        { "CELLAR.TASKS 0 COUNT", "-ERR syntax error" },
        { "CELLAR.TASKS 0 COUNT x", "-ERR value is not an integer or out of range" },
        { "CELLAR.TASKS 0 COUNT 0", "-ERR COUNT must be 1..1000" },
        { "CELLAR.TASKS 0 COUNT 1001", "-ERR COUNT must be 1..1000" },
        { "CELLAR.TASKS 0 STATE odd", "-ERR no task has such a state, name or tag" },
        { "CELLAR.TASKS 0 STATE \"\"", "-ERR no task has such a state, name or tag" },
        { "CELLAR.TASKS 0 NAME \"a\\x00b\"", "-ERR no task has such a state, name or tag" },
        { "CELLAR.SCHED 0 STATE queued", "-ERR syntax error" },
        { "CELLAR.REFRESH -", "-ERR invalid cursor" },
        { "CELLAR.REFRESH 0 1", "-ERR syntax error" },
    };
    char request[128], reply[128], name[70] = "";
    port_begin_with(with_work);
    const int fd = peer();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)snprintf(request, sizeof request, "%s\r\n", rows[i].request);
        (void)snprintf(reply, sizeof reply, "%s\r\n", rows[i].reply);
        T_EQ_STR(ask(fd, request), reply);
    }
    memset(name, 'n', 65);
    (void)snprintf(request, sizeof request, "CELLAR.TASKS 0 NAME %s\r\n", name);
    T_EQ_STR(ask(fd, request), "-ERR no task has such a state, name or tag\r\n");
}

T_CASE(port_without_the_part_says_so)
{
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "CELLAR.TASKS\r\nCELLAR.SCHED\r\nCELLAR.REFRESH\r\n"),
             "-ERR the port was opened without a pool\r\n"
             "-ERR the port was opened without a pool\r\n"
             "-ERR the port was opened without a pool\r\n");
}

T_ONE_THREAD;
T_MAIN("resp_work")
