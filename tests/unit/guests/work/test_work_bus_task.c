/* SPDX-License-Identifier: MIT
 *
 * Aim:    a member with a task name submits a task for each message. The final state of the task
 *         settles the message; a full or drained pool loses none.
 * Method: the clock is a variable; the test calls the ticks of bus and pool. After each step:
 *         copies == ended + live. The last case has threads. */
#include <stdatomic.h>

#include "base/fault.h"
#include "cellar_bus.h"
#include "cellar_task.h"
#include "tests/support/bus_send.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"

static cellar_bus *b;
static cellar_pool *p;
static cellar_pool_config config;
static cellar_host_config host;
static int64_t now_ms;
static char ran[64];
static cellar_verdict answer;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static cellar_verdict note(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const size_t n = strlen(ran);
    T_REQUIRE(t->payload_len == 1 && n + 1 < sizeof ran);
    ran[n] = *(const char *)t->payload;
    ran[n + 1] = '\0';
    T_CHECK(t->tag[0] == 'k');
    T_EQ_U64(t->trace[0], 7);
    return answer;
}

static cellar_bus_stats figures(void)
{
    cellar_bus_stats st = cellar_bus_stats_default();
    T_EQ_I64(cellar_bus_stats_get(b, &st), CELLAR_OK);
    T_EQ_U64(st.copies, st.acked + st.dropped_new + st.dropped_oldest + st.dropped_removed +
                            st.dead + st.expired + st.filtered + st.live);
    T_EQ_U64(st.live, st.waiting + st.delayed + st.held);
    return st;
}

static uint64_t tasks(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    T_EQ_I64(cellar_pool_stats_get(p, NULL, &st), CELLAR_OK);
    return st.live;
}

static cellar_bus_member *join(uint32_t prefetch)
{
    cellar_bus_member *m;
    cellar_bus_member_config o = { .struct_size = sizeof o, .pool = p, .task = "t",
                                   .prefetch = prefetch };
    T_REQUIRE(cellar_bus_join(b, "q", NULL, &o, &m) == CELLAR_OK);
    return m;
}

static void begin(void)
{
    host = cellar_host_config_default();
    config = cellar_pool_config_default();
    host.clock = read_clock;
    host.no_threads = 1;
    config.host = &host;
    config.close_timeout_ms = config.grace_ms = 1; /* of the clock of the system */
    now_ms = 1000000;
    ran[0] = '\0';
    answer = cellar_verdict_ok();
}

static void start(uint32_t ordered)
{
    cellar_bus_config bc = { .struct_size = sizeof bc, .host = &host, .close_timeout_ms = 1 };
    T_REQUIRE(cellar_pool_open(&config, &p) == CELLAR_OK);
    cellar_task_opts to = { .struct_size = sizeof to, .jitter = CELLAR_TASK_JITTER_NONE,
                            .max_attempts = 2, .base_ms = 3600000, .cap_ms = 3600000 };
    T_REQUIRE(cellar_task_register(p, "t", note, NULL, &to) == CELLAR_OK);
    T_REQUIRE(cellar_bus_open(&bc, &b) == CELLAR_OK);
    T_REQUIRE(cellar_bus_group_add(b, "dead", NULL, NULL) == CELLAR_OK);
    cellar_bus_group_config go = { .struct_size = sizeof go, .ordered = ordered,
                                   .dead_queue = "dead" };
    T_REQUIRE(cellar_bus_group_add(b, "q", NULL, &go) == CELLAR_OK);
    T_REQUIRE(cellar_bus_route(b, "#", "q", CELLAR_BUS_AMQP, true) == CELLAR_OK);
}

static void end(void)
{
    T_EQ_I64(cellar_bus_close(b), CELLAR_OK);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);
}

static void publish(const char *key, const char *bodies)
{
    cellar_bus_publish_opts o = { .struct_size = sizeof o, .trace[0] = 7 };
    for (; *bodies != '\0'; bodies++) {
        T_EQ_I64(cellar_bus_publish(b, key, bodies, 1, &o), CELLAR_OK);
    }
}

static void tick_bus(void)
{
    while (cellar_tick(b, 1000000, NULL) == CELLAR_PENDING) { }
    (void)figures();
}

static void tick_pool(void)
{
    while (cellar_tick(p, 1000000, NULL) == CELLAR_PENDING) { }
}

static void tick(void)
{
    for (int i = 0; i < 20; i++) {
        tick_bus();
        tick_pool();
    }
}

T_ALONE(a_success_acks_and_a_failure_rejects)
{
    begin();
    start(0);
    (void)join(0);
    publish("k", "ab");
    tick();
    T_EQ_STR(ran, "ab");
    T_EQ_U64(figures().acked, 2);
    answer = cellar_verdict_fail();
    publish("k", "c");
    tick();
    answer = cellar_verdict_cancelled();
    publish("k", "d");
    tick();
    T_EQ_STR(ran, "abcd");
    T_EQ_U64(figures().dead, 2);
    cellar_bus_member *m;
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_join(b, "dead", NULL, NULL, &m), CELLAR_OK);
    T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
    T_EQ_I64(got.dead, CELLAR_BUS_DEAD_REJECTED);
    T_EQ_STR(got.dead_queue, "q");
    end();
}

T_ALONE(a_task_that_waits_for_its_retry_keeps_its_message)
{
    begin();
    start(0);
    (void)join(0);
    publish("k", "a");
    answer = cellar_verdict_retry();
    tick();
    now_ms += 3599999; /* visibility_ms is 30,000 */
    tick();
    T_EQ_STR(ran, "a");
    T_EQ_U64(figures().held, 1);
    answer = cellar_verdict_ok();
    now_ms += 1;
    tick();
    T_EQ_STR(ran, "aa");
    T_EQ_U64(figures().acked, 1);
    T_EQ_U64(figures().delivered, 1);
    end();
}

T_ALONE(prefetch_bounds_the_tasks)
{
    begin();
    start(0);
    (void)join(2);
    publish("k", "abcde");
    tick_bus();
    T_EQ_U64(tasks(), 2);
    T_EQ_U64(figures().waiting, 3);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING);
    tick_bus();
    T_EQ_U64(tasks(), 2);
    tick();
    T_EQ_STR(ran, "abcde");
    T_EQ_U64(figures().acked, 5);
    end();
}

T_ALONE(an_ordered_group_has_one_task_of_a_key)
{
    begin();
    start(1);
    (void)join(8);
    publish("k.1", "ab");
    tick_bus();
    T_EQ_U64(tasks(), 1);
    publish("k.2", "x");
    tick_bus();
    T_EQ_U64(tasks(), 2);
    tick();
    T_EQ_STR(ran, "axb");
    T_EQ_U64(figures().acked, 3);
    end();
}

T_ALONE(a_full_pool_leaves_messages_in_the_group)
{
    begin();
    config.queue_cap = 2;
    start(0);
    (void)join(0);
    const unsigned char trace[CELLAR_TASK_TRACE_BYTES] = { 7 };
    cellar_submit_opts o = { .struct_size = sizeof o, .tag = "k", .trace = trace };
    T_EQ_I64(cellar_task_submit(p, "t", "1", 1, &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "t", "2", 1, &o, NULL), CELLAR_OK);
    publish("k", "a");
    tick_bus();
    publish("k", "bc"); /* they do not ask again */
    tick_bus();
    T_EQ_U64(figures().delivered, 1);
    T_EQ_U64(figures().held, 0);
    tick();
    T_EQ_STR(ran, "12");
    T_EQ_U64(figures().live, 3);
    now_ms += 99;
    tick();
    T_EQ_U64(figures().live, 3);
    now_ms += 1; /* a and b fit; their ends ask again for c */
    tick();
    T_EQ_STR(ran, "12abc");
    T_EQ_U64(figures().acked, 3);
    end();
}

T_ALONE(a_body_that_never_fits_is_rejected)
{
    begin();
    config.queue_bytes = 1;
    start(0);
    (void)join(0);
    T_EQ_I64(cellar_bus_publish(b, "k", "abcd", 4, NULL), CELLAR_OK);
    publish("k", "x");
    tick();
    T_EQ_STR(ran, "x");
    T_EQ_U64(figures().dead, 1);
    end();
}

T_ALONE(a_drain_of_the_pool_returns_messages)
{
    begin();
    start(0);
    (void)join(2);
    publish("k", "abc");
    tick_bus();
    cellar_drain_report r = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, &r), CELLAR_OK);
    T_EQ_U64(r.abandoned, 2);
    tick_bus();
    now_ms += 1000;
    tick_bus();
    T_EQ_U64(figures().waiting, 3);
    T_EQ_U64(figures().dead, 0);
    cellar_bus_member *m;
    cellar_bus_message got = cellar_bus_message_default();
    T_EQ_I64(cellar_bus_join(b, "q", NULL, NULL, &m), CELLAR_OK);
    for (const char *body = "abc"; *body != '\0'; body++) {
        T_EQ_I64(cellar_bus_take(m, 0, &got), CELLAR_OK);
        T_EQ_I64(*(const char *)got.body, *body);
        T_EQ_U64(got.attempt, 1); /* no delivery counts */
        T_EQ_I64(cellar_bus_settle(m, got.delivery, CELLAR_BUS_ACK, 0), CELLAR_OK);
    }
    end();
}

T_ALONE(a_member_that_leaves_returns_messages)
{
    begin();
    start(0);
    cellar_bus_member *m = join(2);
    publish("k", "abc");
    tick_bus();
    T_EQ_I64(cellar_bus_leave(m), CELLAR_OK);
    T_EQ_U64(figures().waiting, 3);
    T_EQ_U64(figures().members, 1); /* until its tasks end */
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_BUSY);
    tick();
    T_EQ_STR(ran, "ab");
    T_EQ_U64(figures().members, 0);
    T_EQ_U64(figures().late, 2);
    T_EQ_I64(cellar_bus_leave(join(0)), CELLAR_OK);
    (void)join(0);
    tick();
    T_EQ_STR(ran, "ababc");
    T_EQ_U64(figures().acked, 3);
    end();
}

T_ALONE(a_close_waits_for_tasks)
{
    begin();
    start(0);
    (void)join(1);
    publish("k", "ab");
    tick_bus();
    T_EQ_I64(cellar_bus_close(b), CELLAR_E_BUSY);
    T_EQ_U64(figures().held, 1);
    tick();
    T_EQ_STR(ran, "ab");
    end();
}

T_ALONE(tasks_of_a_journal_ack)
{
#ifndef CELLAR_WITH_SQLITE
    T_SKIP("this build has no SQLite");
    return;
#endif
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
    begin();
    t_folder(folder);
    snprintf(path, sizeof path, "%s/tasks", folder);
    config.journal_path = path;
    start(0);
    (void)join(2);
    publish("k", "abc");
    tick_bus();
    cellar_drain_report r = cellar_drain_report_default();
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_RUNNING, 0, &r), CELLAR_OK);
    T_EQ_U64(r.journaled, 2);
    T_EQ_U64(figures().acked, 2);
    T_EQ_U64(figures().waiting, 1);
    end();
    start(0);
    now_ms += 10;
    tick();
    T_EQ_STR(ran, "ab");
    end();
    t_wipe(folder);
}

T_ALONE(bad_options_are_refused)
{
    begin();
    start(0);
    cellar_bus_member *m;
    cellar_bus_member_config o = { .struct_size = sizeof o, .task = "t" };
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &m), CELLAR_E_INVAL);
    o.pool = p;
    o.task = NULL;
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &m), CELLAR_E_INVAL);
    o.task = "";
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &m), CELLAR_E_INVAL);
    o.task = "unknown";
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, &m), CELLAR_E_NOT_FOUND);
    T_CHECK(m == NULL);
    o.task = "t";
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &o, NULL), CELLAR_OK);
    publish("k", "a");
    tick_bus();
    T_EQ_U64(tasks(), 1);
    tick();
    end();
}

T_ALONE(without_memory_messages_wait)
{
    begin();
    start(0);
    cellar_bus_member *m = join(0);
    for (uint64_t nth = 1; nth <= 8; nth++) {
        ran[0] = '\0';
        publish("k", "a");
        (void)base_fault_alloc_arm(nth, false);
        tick_bus();
        (void)base_fault_alloc_arm(0, false);
        now_ms += 100;
        tick();
        T_EQ_STR(ran, "a");
        T_EQ_U64(figures().acked, nth);
    }
    T_EQ_I64(cellar_bus_settle(m, 1, CELLAR_BUS_ACK, 0), CELLAR_E_INVAL);
    end();
}

static _Atomic uint32_t count;

static cellar_verdict counts(const cellar_task *t, void *ctx)
{
    (void)ctx;
    const uint32_t n = atomic_fetch_add(&count, 1);
    return n % 5 == 0 ? cellar_verdict_fail()
           : t->attempt == 1 && n % 3 == 0 ? cellar_verdict_retry_after(0) : cellar_verdict_ok();
}

T_CASE(with_threads_each_message_ends_once)
{
    const uint32_t messages = 1500 / (T_COST > 1 ? 5 : 1);
    atomic_store(&count, 0);
    cellar_pool_config pc = { .struct_size = sizeof pc, .queue_cap = 8 }; /* often full */
    T_REQUIRE(cellar_pool_open(&pc, &p) == CELLAR_OK);
    T_REQUIRE(cellar_task_register(p, "t", counts, NULL, NULL) == CELLAR_OK);
    T_REQUIRE(cellar_bus_open(NULL, &b) == CELLAR_OK);
    T_REQUIRE(cellar_bus_group_add(b, "q", NULL, NULL) == CELLAR_OK);
    cellar_bus_member_config o = { .struct_size = sizeof o, .pool = p, .task = "t" };
    cellar_bus_member *m[3];
    for (uint32_t i = 0; i < 3; i++) {
        T_REQUIRE(cellar_bus_join(b, "q", NULL, &o, &m[i]) == CELLAR_OK);
    }
    for (uint32_t i = 0; i < messages; i++) {
        T_EQ_I64(bus_send(b, "q", "x", 1, NULL), CELLAR_OK);
        if (i == messages / 2) { T_EQ_I64(cellar_bus_leave(m[1]), CELLAR_OK); }
    }
    T_EQ_I64(cellar_bus_drain(b, 60000, NULL), CELLAR_OK);
    const cellar_bus_stats st = figures();
    T_EQ_U64(st.acked + st.dead, messages);
    T_EQ_U64(st.live, 0);
    end();
}

T_MAIN("work_bus_task")
